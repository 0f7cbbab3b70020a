"""What tfnas-run made, damaged: made anew and said, or refused by name.

Never a wrong figure or network with exit code 0.
"""

import random
import shutil

import pytest

from tests import damage
from tests import tiny_runs
from tfnas import artifacts
from tfnas import spaces
from tfnas import whole_run

# Each of these is damaged in every way, the others in one way.
PRODUCTS = ("model.keras", "model_float32.tflite", "model_int8.tflite",
            "derived/result.json", "bench/bench.json")
# Written anew each time, or read by nobody.
UNREAD = ("report.html", "plots", "tensorboard", "reference.tflite",
          "arch.json", "checkpoints")


@pytest.fixture(scope="module")
def finished(program, tmp_path_factory):
    """A folder with a table and a finished run, and how to run it again."""
    folder = tmp_path_factory.mktemp("runs")
    tiny_runs.write_table(folder / "lut.json", tiny_runs.space())
    words = [
        "run", *tiny_runs.make_flags(run__bench_rounds=3), "--lut=lut.json",
        "--workdir=run",
    ]
    done = program(*words, folder=folder)
    assert done.code == 0, done.errors
    return folder, words


def cases(workdir):
    """Yields names of files and what happens to them."""
    ways = list(damage.KINDS)
    for number, name in enumerate(damage.files(workdir)):
        kind = name.rpartition("/")[2]
        if name.startswith("derived") and kind == "result.json":
            kind = "derived/result.json" if "train" not in name else kind
        whole = kind in PRODUCTS or name in PRODUCTS
        for way in ways if whole else [ways[number % len(ways)]]:
            yield name, way


def networks(workdir):
    """Returns what a run says of its networks, and their files."""
    found = {}
    for path in sorted(workdir.glob("derived/*/result.json")):
        result = artifacts.read_json(path, "tfnas-derived/1", sealed=True)
        for name, digest in result.pop("files").items():
            assert artifacts.sha256(path.parent / name) == digest
            if name.endswith(".tflite"):  # a .keras holds the time
                found[path.parent.name, name] = digest
        found[path.parent.name] = result
    return found


def check(done, folder, before, what):
    """Checks a run after damage."""
    assert "Traceback" not in done.errors, (what, done.errors)
    if done.code:
        assert done.code == 2, what
        last = done.errors.strip().splitlines()[-1]
        assert "error: " in last and "run" in last, (what, last)
        return False
    workdir = folder / "run"
    assert networks(workdir) == networks(before), what
    search = (workdir / "search" / "result.json").read_bytes()
    assert search == (before / "search" / "result.json").read_bytes(), what
    bench = artifacts.read_json(workdir / "bench" / "bench.json", sealed=True)
    for model in bench["models"]:
        assert artifacts.sha256(workdir / model["file"]) == model["sha256"]
    return True


@pytest.mark.slow
def test_damaged_file_is_made_anew_or_named(program, finished):
    folder, words = finished
    before = folder / "before"
    shutil.copytree(folder / "run", before)
    tried = refused = 0
    for name, way in cases(before):
        shutil.rmtree(folder / "run")
        shutil.copytree(before, folder / "run")
        path = folder / "run" / name
        damage.KINDS[way](path, random.Random(f"{way} {name}"))
        done = program(*words, folder=folder)
        what = f"{way} {name}"
        tried += 1
        if not check(done, folder, before, what):
            refused += 1
        elif not any(part in name for part in UNREAD):
            said = "warning" in done.errors
            assert said or (way == "gone" and name.endswith(".json")), what
    assert tried >= 90
    assert refused < tried / 3


@pytest.fixture
def net(tmp_path):
    """A network whose files are made up, but for what vouches for them."""
    arch = spaces.get("densenas_mbv2@32").sample(0)
    folder = tmp_path / "run" / "derived" / arch.id
    made = whole_run.Net(arch, "searched", folder)
    for name in ("model.keras", "model_float32.tflite", "model_int8.tflite"):
        artifacts.write_bytes(made.folder / name, name.encode())
    return made


def write_result(net, config, **fields):
    files = {p.name: artifacts.sha256(p) for p in net.folder.glob("model*")}
    artifacts.write_json(
        net.folder / "result.json",
        {"format": "tfnas-derived/1", "arch_id": net.arch.id, "files": files,
         "config_sha256": artifacts.config_digest(config), **fields},
        sealed=True,
    )


CONFIG = {"seed": 0, "train": {"lr": 0.1}}


def test_whole_network_is_believed(net, capfd):
    write_result(net, CONFIG)
    assert whole_run._is_whole(CONFIG, net)
    assert not capfd.readouterr().err


@pytest.mark.parametrize("way", damage.KINDS)
@pytest.mark.parametrize(
    "name", ["model.keras", "model_float32.tflite", "model_int8.tflite",
             "result.json"],
)
def test_damaged_network_is_not_believed(net, capfd, name, way):
    write_result(net, CONFIG)
    damage.KINDS[way](net.folder / name, random.Random(0))
    assert not whole_run._is_whole(CONFIG, net)
    said = capfd.readouterr().err
    assert name in said or (name, way) == ("result.json", "gone")


def test_network_of_another_config_or_arch_is_not_believed(net, capfd):
    write_result(net, CONFIG)
    assert not whole_run._is_whole({**CONFIG, "seed": 1}, net)
    assert "config_sha256" in capfd.readouterr().err
    write_result(net, CONFIG, arch_id="0" * 12)
    assert not whole_run._is_whole(CONFIG, net)
    assert "arch_id" in capfd.readouterr().err


def test_other_files_than_were_measured_are_measured_anew(net, capfd):
    path = net.folder / "bench.json"
    models = [
        {"sha256": artifacts.sha256(net.file(dtype)), "spread": 0, "rounds": 1}
        for dtype in whole_run.DTYPES
    ]
    value = {"format": "tfnas-bench/1", "models": models,
             "config_sha256": artifacts.config_digest(CONFIG)}
    artifacts.write_json(path, value, sealed=True)
    assert whole_run._is_measured(path, CONFIG, [net])
    assert not capfd.readouterr().err
    net.file("int8").write_bytes(b"another one")
    assert not whole_run._is_measured(path, CONFIG, [net])
    assert "other files were measured" in capfd.readouterr().err
