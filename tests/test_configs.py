"""Configs are found by path and by name, overridden, and own workdirs."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from tfnas import artifacts
from tfnas.bin import configs
from tfnas.errors import ConfigError

ROOT = pathlib.Path(__file__).parents[1]

CONFIG = '''
"""A small config."""

from ml_collections import config_dict


def get_config(variant="full"):
    epochs = {"full": 100, "local": 3}[variant]
    return config_dict.ConfigDict(
        {
            "search": {"epochs": epochs, "sizes": (32, 64)},
            "target_ms": config_dict.placeholder(float),
        }
    )
'''

PROGRAM = '''
"""Prints its config."""

from tfnas import cli
from tfnas.bin import configs

_CONFIG = configs.define_config()


def main(argv):
    print(_CONFIG.value.to_json())


cli.run(main)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with one config file, and nothing installed."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.py").write_text(CONFIG)
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    return tmp_path


def _run(*args):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "program.py", *args],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.mark.parametrize("spec", ["configs/tiny.py:local", "tiny:local"])
def test_path_and_name_mean_the_same(folder, spec):
    assert configs.load(spec).search.epochs == 3
    assert configs.load(spec.removesuffix(":local")).search.epochs == 100


def test_overrides_are_typed_and_merged(folder):
    overrides = ["--config.search.epochs=7", "--config.target_ms=2"]
    done = _run("--config=tiny:local", *overrides)
    assert json.loads(done.stdout) == {
        "search": {"epochs": 7, "sizes": [32, 64]},
        "target_ms": 2.0,
    }


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "--config must have a value"),
        (["--config=absent"], "one of these names:"),
        (["--config=configs/absent.py"], "there is no such config file"),
        (["--config=tiny", "--config.search.epoch=7"], "--config.search.epoch"),
        (["--config=tiny", "--config.search.epochs=x"], "invalid literal"),
        (["--config=tiny:absent"], "configs/tiny.py:8: KeyError: 'absent'"),
    ],
)
def test_wrong_use_of_the_flag_says_what_is_wrong(folder, args, message):
    done = _run(*args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_damaged_config_file_is_named(folder):
    path = pathlib.Path("configs/tiny.py")
    for text in ("def get_config(:", "nothing = 1", "get_config = dict"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"configs/tiny\.py"):
            configs.load("tiny")


def test_workdir_of_another_config_names_the_field(folder):
    artifacts.claim_workdir("run", configs.load("tiny:local"))
    artifacts.claim_workdir("run", configs.load("tiny:local"))
    with pytest.raises(ConfigError, match="search.epochs: 3 there, 100 here"):
        artifacts.claim_workdir("run", configs.load("tiny"))


def test_wheel_holds_configs_and_data(tmp_path):
    """Configs work by name where only the wheel is installed."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("tfnas", "tflite_bench", "android_bench", "configs"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        + ["--no-build-isolation", "--wheel-dir", tmp_path, source],
        check=True,
    )
    (wheel,) = tmp_path.glob("tfnas-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)

    inside = {str(path.relative_to(site)) for path in site.rglob("*.*")}
    expected = {"tfnas/data/digits.npz"}
    for name in ("tfnas", "tflite_bench", "android_bench"):
        modules = (ROOT / name).rglob("*.py")
        expected |= {str(path.relative_to(ROOT)) for path in modules}
    assert expected <= inside
    assert not any(name.startswith("tests") for name in inside)

    names = sorted(path.stem for path in ROOT.glob("configs/[!_]*.py"))
    found = subprocess.run(
        [sys.executable, "-c"]
        + [
            "import sys; from tfnas.bin import configs\n"
            "for name in sys.argv[1:]: print(configs.find(name))"
        ]
        + names,
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert found == [str(site / f"tfnas/configs/{n}.py") for n in names]
