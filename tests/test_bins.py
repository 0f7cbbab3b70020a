"""Every program answers for help at once, and refuses what it cannot read."""

import pathlib
import subprocess
import sys

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PROGRAMS = PROJECT["scripts"]
TAKE_WORDS = {"android-bench", "tfnas-import-weights", "tflite-bench"}

# What an installed script does; TensorFlow must not be imported on the way.
START = """
import importlib, sys
module, entry = sys.argv.pop(1).split(":")
try:
    getattr(importlib.import_module(module), entry)()
finally:
    assert "tensorflow" not in sys.modules, "imported TensorFlow"
"""


def _start(program, *args):
    return subprocess.run(
        [sys.executable, "-c", START, PROGRAMS[program], *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_comes_without_tensorflow(program):
    done = _start(program, "--helpshort")
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_unknown_flag_is_bad_usage(program):
    done = _start(program, "--no_such_flag=1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", sorted(set(PROGRAMS) - TAKE_WORDS))
def test_extra_word_is_bad_usage(program):
    done = _start(program, "word")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
