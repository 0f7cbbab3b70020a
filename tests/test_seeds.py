"""A seed is one that everything takes, or it is refused at once."""

import os
import subprocess
import sys

import pytest

from tests import tiny_runs
from tfnas import seeds
from tfnas.errors import ConfigError

FLAGS = {
    "android_bench": ["a.tflite"],
    "tflite_bench": ["a.tflite"],
    "tfnas.bin.data": ["split", "--output=a.json"],
    "tfnas.bin.export": ["--model=a.keras", "--output=a.tflite"],
    "tfnas.bin.run": ["--config=densenas_mbv2:local"],
    "tfnas.bin.search": ["--config=densenas_mbv2:local"],
    "tfnas.bin.train": ["--config=densenas_mbv2:local", "--arch=a.json"],
    "tfnas.bin.tune": ["--config=tune:local", "--arch=a.json"],
}
CONFIGS = [
    ("tfnas.bin.run", "densenas_mbv2:local", "seed", []),
    ("tfnas.bin.search", "autoshrink_cnn:local", "search.op_seed", []),
    ("tfnas.bin.train", "densenas_mbv2:local", "seed", ["--arch=a.json"]),
    ("tfnas.bin.tune", "tune:local", "seed", ["--arch=tfnas_small"]),
]


def _run(module, *args, folder):
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, args)],
        cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tiny_runs.ROOT)},
    )


@pytest.mark.parametrize("seed", [-1, 2**31, 10**30, "x"])
@pytest.mark.parametrize("module", FLAGS)
def test_every_program_refuses_a_seed_out_of_range(module, seed, tmp_path):
    done = _run(module, *FLAGS[module], f"--seed={seed}", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: flag --seed={seed}: ")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module, config, field, args", CONFIGS)
def test_a_seed_of_a_config_is_refused_before_anything_is_written(
    module, config, field, args, tmp_path
):
    done = _run(
        module, f"--config={config}", f"--config.{field}={2**31}",
        "--workdir=work", *args, folder=tmp_path,
    )
    assert done.returncode == 2
    assert f"error: `config.{field}` must be an integer" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [0, 1, seeds.MAX])
def test_seeds_in_range_pass(value):
    seeds.check(value, "seed")


@pytest.mark.parametrize("value", [-1, seeds.MAX + 1, 0.0, True, None, "1"])
def test_what_is_no_seed_is_named(value):
    with pytest.raises(ConfigError, match="`seed` must be an integer of 0 to"):
        seeds.check(value, "seed")
