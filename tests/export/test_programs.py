"""tfnas-export and tfnas-evaluate, from the command line."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.export.networks import random_network
from tfnas import spaces

ROOT = pathlib.Path(__file__).parents[2]

CONFIG = """
from ml_collections import config_dict


def get_config():
    limit = config_dict.placeholder(int)
    data = {"name": "digits", "image_size": 64, "limit_test": limit}
    return config_dict.ConfigDict({"data": data})
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A folder with a trained model's file, an arch, and an int8 export."""
    path = tmp_path_factory.mktemp("export")
    random_network("densenas_resnet@32", seed=1).save(path / "a.keras")
    spaces.get("densenas_resnet@32").sample(seed=0).save(path / "a.json")
    done = _run(
        path,
        "export",
        "--model=a.keras",
        "--quantize=int8",
        "--data=digits",
        "--output=a.tflite",
    )
    assert done.returncode == 0, done.stderr
    (path / "export.txt").write_text(done.stdout)
    return path


def _run(folder, program, *args):
    return subprocess.run(
        [sys.executable, "-m", f"tfnas.bin.{program}", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_export_prints_one_line_of_facts(workdir):
    (line,) = (workdir / "export.txt").read_text().splitlines()
    size_bytes = (workdir / "a.tflite").stat().st_size
    assert line.startswith(f"a.tflite: {size_bytes:,} bytes, ")
    assert "in 1 delegate node;" in line
    assert re.search(
        r"differ from Keras by at most \d\.\d+, "
        r"argmax agrees on \d+\.\d % of 100 digits test images$",
        line,
    )


def test_arch_exports_without_any_data(workdir):
    done = _run(workdir, "export", "--arch=a.json", "--output=b.tflite")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("agrees on 100.0 % of 100 random images\n")


def test_evaluate_measures_both_files_on_the_same_images(workdir):
    models = ["--model=a.keras", "--model=a.tflite"]
    (workdir / "config.py").write_text(CONFIG)
    done = _run(
        workdir,
        "evaluate",
        *models,
        "--config=config.py",
        "--config.data.limit_test=50",
    )
    assert done.returncode == 0, done.stderr
    title, *rows = (line.split() for line in done.stdout.splitlines())
    assert title == ["model", "accuracy", "images"]
    assert [row[0] for row in rows] == ["a.keras", "a.tflite"]
    assert [row[-1] for row in rows] == ["50", "50"]


def test_damaged_model_is_bad_input(workdir):
    content = (workdir / "a.keras").read_bytes()
    (workdir / "half.keras").write_bytes(content[: len(content) // 2])
    done = _run(workdir, "evaluate", "--model=half.keras", "--data=digits")
    assert done.returncode == 2
    assert "error: half.keras: not a readable Keras model" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "program, args, message",
    [
        ("export", ["--output=c.tflite"], "must have a value other than None"),
        ("export", ["--model=a.keras"], "--output"),
        (
            "export",
            ["--model=a.keras", "--arch=a.json", "--output=c.tflite"],
            "Exactly one of (model, arch)",
        ),
        (
            "export",
            ["--arch=a.json", "--output=c.tflite", "--quantize=int4"],
            "<none|float16|dynamic|int8>",
        ),
        ("evaluate", ["--data=digits"], "--model"),
    ],
)
def test_wrong_flags_are_bad_usage(workdir, program, args, message):
    done = _run(workdir, program, *args)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (workdir / "c.tflite").exists()
