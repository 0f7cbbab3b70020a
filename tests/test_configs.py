"""Configs are found by path and by name, overridden, and own workdirs."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

import tfnas
from tfnas import artifacts
from tfnas import config_files
from tfnas.data import fields
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
    assert config_files.load(spec).search.epochs == 3
    assert config_files.load(spec.removesuffix(":local")).search.epochs == 100


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
        (["--config=tiny", "--config.=3"], "no such field"),
        (["--config=tiny:absent"], "configs/tiny.py:8: KeyError: 'absent'"),
    ],
)
def test_wrong_use_of_the_flag_says_what_is_wrong(folder, args, message):
    done = _run(*args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_config_in_python_is_that_of_the_flag(folder):
    config = tfnas.config("tiny:local", {"search.epochs": 7}, target_ms=2)
    assert config.to_dict() == {
        "search": {"epochs": 7, "sizes": (32, 64)}, "target_ms": 2.0,
    }
    assert config.is_locked
    nested = tfnas.config("tiny:local", {"search": {"epochs": 7}}, target_ms=2)
    assert nested.to_dict() == config.to_dict()
    assert tfnas.config("tiny").to_dict() == config_files.load("tiny").to_dict()


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"search.epoch": 7}, "near ones are search.epochs, "),
        ({"epochs": 7}, "near ones are search.epochs, .* Received: epochs$"),
        ({"search": {"epoch": 7}}, "search.epochs, .* Received: search.epoch$"),
        ({"target_sm": 2.0}, "near ones are target_ms, "),
        ({"search.epochs": "x"}, "`search.epochs` must be of type int. Rec"),
        ({"search": 3}, "`search` must be a section. Received: search=3$"),
        ({"search.epochs.more": 3}, "no such field"),
    ],
)
def test_wrong_field_is_refused_in_a_line(folder, overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        tfnas.config("tiny:local", overrides)
    assert "\n" not in str(caught.value)


def test_damaged_config_file_is_named(folder):
    path = pathlib.Path("configs/tiny.py")
    for text in ("def get_config(:", "nothing = 1", "get_config = dict"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"configs/tiny\.py"):
            config_files.load("tiny")


def test_workdir_of_another_config_names_the_field(folder):
    artifacts.claim_workdir("run", config_files.load("tiny:local"))
    artifacts.claim_workdir("run", config_files.load("tiny:local"))
    with pytest.raises(ConfigError, match="search.epochs: 3 there, 100 here"):
        artifacts.claim_workdir("run", config_files.load("tiny"))


OWN = '''
"""A config that says little of its data."""

from ml_collections import config_dict


def get_config(name="digits"):
    config = config_dict.ConfigDict()
    config.data = config_dict.ConfigDict({"name": name, "image_size": 32})
    config.data.classes = None
    config.data.std = 64.0
    config.side = config.data.get_ref("image_size")
    return config
'''
FLAGS = {
    "mean": ("123.7,116.3,103.5", [123.7, 116.3, 103.5]),
    "std": ("127", 127),
    "channels": ("1", 1),
    "image_size": ("48,64", [48, 64]),
    "max_bad": ("3", 3),
    "exif_rotation": ("false", False),
    "check_images": ("false", False),
    "classes": ("5", 5),
    "class_seed": ("7", 7),
    "split_list": ("list.json", "list.json"),
    "limit_train": ("9", 9),
}


@pytest.mark.parametrize("spec", ["tiny", "densenas_mbv2:local"])
def test_every_field_of_the_data_can_be_set(folder, spec):
    pathlib.Path("configs/tiny.py").write_text(OWN)
    if spec != "tiny":
        spec = f"{ROOT}/configs/{spec.replace(':', '.py:')}"
    words = [f"--config.data.{k}={text}" for k, (text, _) in FLAGS.items()]
    done = _run(f"--config={spec}", *words)
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    expected = {name: value for name, (_, value) in FLAGS.items()}
    assert expected.items() <= config["data"].items()
    assert config.get("side", [48, 64]) == [48, 64]  # it refers to the other


def test_fields_that_a_config_leaves_out_are_null(folder):
    pathlib.Path("configs/tiny.py").write_text(OWN)
    section = config_files.load("tiny").data
    assert set(section) == set(fields.IMAGE_FIELDS)
    given = {"name": "digits", "image_size": 32, "std": 64.0}
    assert {k: v for k, v in section.items() if v is not None} == given
    assert set(config_files.load("tiny:ptb:folder").data) - set(given) == (
        set(fields.TEXT_FIELDS) - set(given) | {"classes"}
    )


def test_shipped_configs_have_known_fields_only():
    for path in sorted(ROOT.glob("configs/[!_]*.py")):
        section = config_files.load(str(path)).get("data", {})
        assert section is None or not set(section) - set(
            {**fields.IMAGE_FIELDS, **fields.TEXT_FIELDS}
        )


def test_unknown_field_of_the_data_is_refused_by_name(folder):
    text = OWN.replace("config.data.std", "config.data.colour")
    pathlib.Path("configs/tiny.py").write_text(text)
    done = _run("--config=tiny")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 2  # and where to find help
    assert "tiny.py: `data` has" in done.stderr
    assert "Received: colour" in done.stderr
    done = _run("--config=tiny", "--config.data.colours=3")
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_workdir_from_before_a_field_goes_on(folder):
    pathlib.Path("configs/tiny.py").write_text(OWN)
    config = config_files.load("tiny")
    old = {"data": {"name": "digits", "image_size": 32, "std": 64.0}}
    artifacts.claim_workdir("run", {**old, "side": 32})
    artifacts.claim_workdir("run", config)
    with config.unlocked():
        config.data.channels = 1
    with pytest.raises(ConfigError, match="channels: absent there, 1 here"):
        artifacts.claim_workdir("run", config)


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
            "import sys; from tfnas import config_files\n"
            "for name in sys.argv[1:]: print(config_files.find(name))"
        ]
        + names,
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert found == [str(site / f"tfnas/configs/{n}.py") for n in names]
