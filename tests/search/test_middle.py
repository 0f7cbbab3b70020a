"""Work that a signal stopped in the middle of a unit goes on in there.

It ends with the bits of work that was not disturbed, and no step is done
twice.
"""

import os
import signal

import numpy as np
import pytest

from tests import chain_nets
from tests.search import tiny_search
from tests.search import tiny_supernets
from tests.train import small
from tfnas import artifacts
from tfnas import stopping
from tfnas.errors import Diverged
from tfnas.train.loop import Loop
from tfnas.train.stage import Stage

WORKS = {
    "densenas": lambda: tiny_search.make_search(images=(28, 12)),
    "proxyless": lambda: chain_nets.make_proxyless(
        images=(4 * chain_nets.BATCH,) * 2
    ),
    "elastic": tiny_supernets.make_training,
    "retrain": lambda: small.training(ema_decay=0.9, mixup_alpha=0.2),
}


def run(folder, work, taken, stop_after=None):
    """Runs work and notes its steps; a signal comes in the n-th of them."""
    take, before = Loop._take, len(taken)

    def counted(self, phase, iterator, number):
        taken.append((phase.name, number))
        if len(taken) - before == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(self, phase, iterator, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_take", counted)
        Stage(folder, work, work.loop, {}).run("test")


def outcome(folder, work):
    log = artifacts.read_jsonl(folder / "log.jsonl")
    values = [v.numpy() for group in work.variables().values() for v in group]
    return [{**r, "time_s": 0} for r in log], work.state(), values


def assert_same(one, two):
    assert one[:2] == two[:2]
    for a, b in zip(one[2], two[2], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "name",
    [
        "retrain",
        pytest.param("densenas", marks=pytest.mark.slow),
        pytest.param("proxyless", marks=pytest.mark.slow),
        pytest.param("elastic", marks=pytest.mark.slow),
    ],
)
def test_stopped_at_any_step_ends_with_the_same_bits(name, tmp_path):
    work, whole = WORKS[name](), []
    run(tmp_path / "whole", work, whole)
    expected = outcome(tmp_path / "whole", work)
    folder, taken = tmp_path / "stopped", []
    for stop in (2, max(2, len(whole) // 3), None):
        work = WORKS[name]()
        if stop is None:
            run(folder, work, taken)
        else:
            with pytest.raises(stopping.Stopped):
                run(folder, work, taken, stop)
            assert (folder / "checkpoints" / "middle").is_dir()
    assert not (folder / "checkpoints" / "middle").exists()
    assert_same(outcome(folder, work), expected)
    # What had no end is done again; what trains is never done twice.
    trained = {name for name, number in work.loop.steps.items() if number}
    steps = [step for step in taken if step[0] in trained]
    assert steps == [step for step in whole if step[0] in trained]


def stopped(folder):
    """Leaves a training that was stopped in the middle of an epoch."""
    work = WORKS["retrain"]()
    with pytest.raises(stopping.Stopped):
        run(folder, work, [], 1)
    assert (folder / "checkpoints" / "middle").is_dir()


@pytest.mark.parametrize("name", ["manifest.json", "pass-0.index"])
def test_damaged_middle_begins_the_unit_anew(name, tmp_path, capfd):
    whole = WORKS["retrain"]()
    run(tmp_path / "whole", whole, [])
    stopped(tmp_path / "damaged")
    path = tmp_path / "damaged" / "checkpoints" / "middle" / name
    path.write_bytes(path.read_bytes().replace(b"e", b"f"))
    work, taken = WORKS["retrain"](), []
    run(tmp_path / "damaged", work, taken)
    assert taken[0] == ("train", 0)
    said = capfd.readouterr().err
    assert str(path) in said and "begun anew" in said
    assert_same(
        outcome(tmp_path / "damaged", work), outcome(tmp_path / "whole", whole)
    )


def test_bad_numbers_are_not_saved_in_the_middle(tmp_path):
    work = WORKS["retrain"]()
    with pytest.MonkeyPatch.context() as patch:
        take = Loop._take

        def poison(self, phase, iterator, number):
            sums = take(self, phase, iterator, number)
            work.model.variables[0].value.assign_add(
                np.full(work.model.variables[0].shape, np.nan, np.float32)
            )
            os.kill(os.getpid(), signal.SIGTERM)
            return sums

        patch.setattr(Loop, "_take", poison)
        with pytest.raises(stopping.Stopped):
            Stage(tmp_path, work, work.loop, {}).run("test")
    assert not (tmp_path / "checkpoints" / "middle").exists()


def test_bad_numbers_after_the_middle_leave_it_behind(tmp_path):
    def diverge(self, *rest):
        raise Diverged("made up")

    stopped(tmp_path)
    work = WORKS["retrain"]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_take", diverge)
        with pytest.raises(Diverged, match="made up"):
            Stage(tmp_path, work, work.loop, {}).run("test")
    assert not (tmp_path / "checkpoints" / "middle").exists()
