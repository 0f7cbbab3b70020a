"""A seed is one that everything takes, or it is refused at once."""

import os
import subprocess
import sys

import pytest

from tests import tiny_runs
from tfnas import seeds
from tfnas.errors import ConfigError


@pytest.mark.parametrize("seed", [-1, "x"])
@pytest.mark.parametrize("module", ["android_bench", "tflite_bench"])
def test_both_benches_refuse_a_seed_out_of_range(module, seed, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", module, "a.tflite", f"--seed={seed}"],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tiny_runs.ROOT)},
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: flag --seed={seed}: ")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [0, 1, seeds.MAX])
def test_seeds_in_range_pass(value):
    seeds.check(value, "seed")


@pytest.mark.parametrize("value", [-1, seeds.MAX + 1, 0.0, True, None, "1"])
def test_what_is_no_seed_is_named(value):
    with pytest.raises(ConfigError, match="`seed` must be an integer of 0 to"):
        seeds.check(value, "seed")
