"""Searches that are killed at random instants end as undisturbed ones.

Half of them get SIGKILL, half SIGTERM, which saves first. Takes an hour.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests import language_models
from tests import tiny_runs

KILLS = int(os.environ.get("TFNAS_KILLS", "10"))  # of each search

COMMANDS = {
    "densenas_mbv2": {
        "data.limit_train": 70, "data.limit_test": 30, "search.epochs": 4,
        "search.arch_update_epoch": 1, "search.val_start_epoch": 2,
        "search.batch_size": 16, "search.random_archs": 2,
    },
    "autospace_cells": {
        "data.limit_train": 200, "search.warmup_epochs": 1,
        "search.rounds": 2, "search.steps": 6, "search.random_archs": 1,
    },
    "proxyless_autospace": {
        "data.limit_train": 200, "search.warmup_epochs": 2,
        "search.epochs": 3, "search.random_archs": 2,
    },
    "ase_nas_mobilenetv3": {
        "data.limit_train": 200, "search.queries": 8,
        "search.unit_queries": 2, "search.supernet.all.epochs": 3,
    },
    "autoshrink_cnn": {
        "data.limit_train": 100, "search.workers": 1, "search.nodes": 4,
        "search.candidates": 2, "search.random_archs": 1,
        "search.training.epochs": 1,
    },
    "autoshrink_rnn": {
        "data.limit_train": 120, "data.limit_valid": 30,
        "data.limit_test": 30, "search.nodes": 3, "search.candidates": 2,
        "search.random_archs": 1, "search.training.epochs": 1,
    },
}


@pytest.fixture
def start(tmp_path):
    """Starts a search in a workdir; returns the process."""

    def run(name, workdir):
        words = [f"--config={tiny_runs.ROOT}/configs/{name}.py:local"]
        words += [f"--config.{k}={v}" for k, v in COMMANDS[name].items()]
        if name == "autoshrink_rnn":
            text = tmp_path / "text"
            if not text.exists():
                text.mkdir()
                language_models.write_text(text)
            words.append(f"--config.data.name=ptb:{text}")
        return subprocess.Popen(
            [sys.executable, "-m", "tfnas.bin.search", *words,
             f"--workdir={tmp_path / workdir}"],
            cwd=tiny_runs.ROOT, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )

    return run


def finish(process):
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return errors


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_random_instants_ends_with_the_same_bytes(
    name, start, tmp_path
):
    begin = time.monotonic()
    finish(start(name, "whole"))
    seconds = time.monotonic() - begin
    seed = int.from_bytes(os.urandom(2), "big")
    draw, killed = random.Random(seed), 0
    for number in range(KILLS):
        process = start(name, "killed")
        how = draw.choice([signal.SIGKILL, signal.SIGTERM])
        try:
            # Some die while they start, some get on.
            process.communicate(timeout=draw.uniform(0.1, 0.8) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
            process.communicate()
            assert process.returncode in (-9, 143), (seed, number)
            killed += 1
        else:
            assert process.returncode == 0, (seed, number)
            os.remove(tmp_path / "killed" / "result.json")
    errors = finish(start(name, "killed"))
    assert "damaged" not in errors and "lost" not in errors, seed
    assert killed >= KILLS // 3, seed
    assert (tmp_path / "killed" / "result.json").read_bytes() == (
        tmp_path / "whole" / "result.json"
    ).read_bytes(), seed
    left = [p.name for p in (tmp_path / "killed").iterdir()]
    assert not [name for name in left if ".tmp" in name or "lock" in name]


@pytest.mark.slow
def test_of_two_equal_searches_one_works(start, tmp_path):
    whole = start("autoshrink_cnn", "whole")
    finish(whole)
    for number in range(int(os.environ.get("TFNAS_PAIRS", "20"))):
        workdir = f"pair{number}"
        pair = [start("autoshrink_cnn", workdir) for _ in range(2)]
        said = [process.communicate()[1] for process in pair]
        codes = sorted(process.returncode for process in pair)
        assert codes == [0, 2], said
        loser = said[[p.returncode for p in pair].index(2)]
        winner = pair[[p.returncode for p in pair].index(0)]
        assert f"process {winner.pid} of host" in loser, loser
        assert (tmp_path / workdir / "result.json").read_bytes() == (
            tmp_path / "whole" / "result.json"
        ).read_bytes()
