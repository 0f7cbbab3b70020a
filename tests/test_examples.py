"""The programs in `examples/` run as they stand, and the docs show them."""

import json
import os
import pathlib
import re
import signal

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import programs
from tfnas import artifacts
from tfnas import config_files
from tfnas import measuring
from tfnas import ops
from tfnas import spaces
from tfnas import stopping
from tfnas.arch import Arch
from tfnas.cost.counting import count
from tfnas.cost.lattice import LatticeCosts
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError
from tfnas.search import runner
from tfnas.train.loop import Loop
from tfnas.train.stage import Stage

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
LINE = "tests.line_space.Line"
TINY = {
    "data.limit_train": 64, "data.limit_test": 16, "search.batch_size": 8,
    "search.random_archs": 1,
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Programs that find the examples, as the docs say: by PYTHONPATH."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{EXAMPLES}{os.pathsep}{ROOT}")
        server = programs.Server(tmp_path_factory.mktemp("programs"))
    yield server
    server.close()


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """Lets this process find them, too."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


def flags(fields):
    return [f"--config.{name}={value}" for name, value in fields.items()]


def test_the_page_shows_the_files():
    page = (ROOT / "docs" / "extending.md").read_text()
    shown = re.findall(
        r"^`examples/(\w+\.py)`:$\n+^```python$\n(.*?)^```$", page, re.M | re.S
    )
    assert [name for name, _ in shown] == [
        "new_operator.py", "new_space.py", "new_search.py",
        "new_search_config.py", "new_device.py",
    ]
    for name, code in shown:
        assert code == (EXAMPLES / name).read_text(), name


def test_the_spine_is_as_long_as_the_page_says():
    page = (ROOT / "docs" / "architecture.md").read_text()
    spine = re.search(r"^## The spine$(.*?)^## ", page, re.M | re.S)[1]
    paths = re.findall(r"^\| `(tfnas/[\w/]+\.py)` \|", spine, re.M)
    assert paths[0] == "tfnas/spaces/dense.py"
    assert paths[-1] == "tfnas/report/html.py"
    lines = sum(len((ROOT / p).read_text().splitlines()) for p in paths)
    assert lines <= 3400
    readme = (ROOT / "README.md").read_text().partition("## Where to read")[2]
    assert re.findall(r"`(tfnas/[\w/]+\.py)`", readme) == paths


def test_a_new_operator_is_counted_built_and_timed(program):
    done = program(EXAMPLES / "new_operator.py")
    assert done.code == 0, done.errors
    # Of 16 channels 16 more are made: 1x1, then 5x5 depthwise, with
    # a scale and an offset each.
    params = 16 * 16 + 2 * 16 + 25 * 16 + 2 * 16
    madds = 16 * 16 * (16 * 16 + 25 * 16)
    row = rf"ghost k=5 +16x16x32 +1 +{params} +{madds / 1e3:.1f} k\n"
    assert re.search(row, done.output)
    whole = params + (27 * 16 + 2 * 16) + (32 * 10 + 10)
    assert f"parameters {whole:,}," in done.output
    assert f"parameters in Keras: {whole}\n" in done.output
    assert "key: ghost|act=relu|k=5|s=1|16x16x16>16x16x32\n" in done.output
    found = re.findall(r"^(float32|int8): ([\d.]+) ms$", done.output, re.M)
    assert len(found) == 2 and all(float(ms) > 0 for _, ms in found)


def test_a_new_space_holds_what_its_links_say():
    space = spaces.get("new_space.Fork")
    # Two blocks of four options, or one of six; three of four, or skipped.
    assert space.num_choices == (4 * 4 + 2 * 3) * 5**3
    costs = LatticeCosts.from_madds(space)
    for seed in range(20):
        arch = space.sample(seed)
        assert space.decode(space.encode(arch)).id == arch.id
        cost = costs.cost(space.route(arch))
        assert cost == pytest.approx(count(arch).madds / 1e6)


def test_a_new_space_is_searched_derived_and_exported(program, tmp_path):
    workdir = tmp_path / "search"
    tiny = {
        **TINY, "search.epochs": 2, "search.arch_update_epoch": 1,
        "search.val_start_epoch": 1, "search.top_archs": 1,
    }
    done = program(
        "search", "--config=densenas_mbv2:local", "--space=new_space.Fork",
        "--target_madds=3e6", f"--workdir={workdir}", *flags(tiny),
    )
    assert done.code == 0, done.errors
    result = json.loads((workdir / "result.json").read_text())
    assert result["archs"][0]["cost"] == pytest.approx(3, rel=0.03)
    done = program(
        "derive", f"--workdir={workdir}", "--target_madds=1.5e6",
        "--allow_imports", f"--output={tmp_path}/a.json",
    )
    assert done.code == 0, done.errors
    madds = count(Arch.load(tmp_path / "a.json")).madds
    assert madds == pytest.approx(1.5e6, rel=0.03)
    done = program(
        "export", f"--arch={tmp_path}/a.json", "--quantize=int8",
        "--data=digits", f"--output={tmp_path}/a.tflite",
    )
    assert done.code == 0, done.errors
    assert (tmp_path / "a.tflite").stat().st_size > 1e4


def make_search(**fields):
    """Returns TuNAS in a space of three networks."""
    config = config_files.config(
        str(EXAMPLES / "new_search_config.py"),
        {**TINY, "space": LINE, "search.epochs": 2,
         "search.arch_from_epoch": 1, "search.top_archs": 1, **fields},
    )
    return runner.make_search(config, progress=False)[0]


def test_the_gradient_of_a_new_search_is_that_of_the_mean_reward():
    """`sum p (R - b) grad(log p) = grad(sum p R)` over all networks."""
    search = make_search(target_madds=2e5)
    (table,) = search.net.arch.ops
    table.assign([[0.3, -0.2, 0.5]])
    search.mean_reward.assign(0.7)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(8, 32, 32, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, 10, 8), tf.int32)
    logits = table.numpy()[0].astype(float)
    p = np.exp(logits) / np.exp(logits).sum()
    summed, rewards = 0.0, []
    for op in range(3):
        network = (tf.constant([[op]], tf.int32),)
        with tf.GradientTape() as tape:
            value = table.read_value()
            tape.watch(value)
            found = search.arch_objective(
                images, labels, network, [value, search.net.arch.paths]
            )
            loss = tf.reduce_mean(found.losses)
        summed += p[op] * tape.gradient(loss, value).numpy()[0]
        cost = search.costs.row("block")[op] + search.costs.fixed
        accuracy = found.sums["accuracy"].numpy().mean()
        rewards.append(accuracy - 0.5 * abs(cost / 0.2 - 1))
        assert found.sums["reward"].numpy().mean() == pytest.approx(
            rewards[-1], abs=1e-5
        )
    mean = p @ rewards
    np.testing.assert_allclose(summed, -p * (rewards - mean), atol=1e-5)


def run_stopped(folder, search, step=None):
    """Runs a search; a signal comes in its n-th step."""
    take, taken = Loop._take, []

    def counted(self, phase, iterator, number):
        taken.append(number)
        if len(taken) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(self, phase, iterator, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_take", counted)
        Stage(folder, search, search.loop, {}).run("test")


def test_a_new_search_that_was_stopped_ends_the_same(tmp_path):
    whole, stopped, other = (make_search() for _ in range(3))
    run_stopped(tmp_path / "a", whole)
    # Of 7 weight steps, 7 more, and 2 architecture steps: within the second.
    with stopping.handled(), pytest.raises(stopping.Stopped):
        run_stopped(tmp_path / "b", stopped, step=10)
    run_stopped(tmp_path / "b", other)
    assert other.state() == whole.state()
    for name, group in whole.variables().items():
        for one, two in zip(group, other.variables()[name], strict=True):
            np.testing.assert_array_equal(one.numpy(), two.numpy())
    logs = [artifacts.read_jsonl(tmp_path / n / "log.jsonl") for n in "ab"]
    one, two = ([{**r, "time_s": 0} for r in log] for log in logs)
    assert one == two


def test_a_new_search_is_found_by_its_path(program, tmp_path):
    words = [
        f"--config={EXAMPLES}/new_search_config.py", f"--space={LINE}",
        f"--workdir={tmp_path}",
        *flags({**TINY, "search.epochs": 2, "search.arch_from_epoch": 1}),
    ]
    done = program("search", *words)
    assert done.code == 0, done.errors
    assert "new_search.build in tests.line_space.Line" in done.output
    model = json.loads((tmp_path / "result.json").read_text())["archs"][0]
    assert 0 <= model["score"] <= 1
    again = program("search", *words)
    assert again.code == 0 and again.output == done.output
    refused = program(
        "search", words[0], "--space=new_space.Fork",
        f"--workdir={tmp_path / 'fork'}",
    )
    assert refused.code == 2
    assert "Received: space='new_space.Fork'" in refused.errors


def test_a_new_device_measures_a_table(program, tmp_path):
    path = tmp_path / "board.json"
    done = program(
        "lut", f"--space={LINE}", "--device=new_device.Board", "--rounds=4",
        "--nets=3", "--nostrict", f"--lut={path}",
    )
    assert done.code == 0, done.errors
    table = LatencyTable.load(path)
    assert table.header["device"]["name"] == "board"
    keys = spaces.get(LINE).lut_keys()
    assert set(keys) <= set(table.rows)
    assert ops.lut_key(*next(spaces.get(LINE).blocks())) in table.rows
    assert all(0 < table.rows[key].latency_ms < 10 for key in keys)


def test_a_device_of_ones_own_gets_what_stands_after_the_colon():
    board = measuring.get_device("new_device.Board:ssh pi 'a b'")
    assert board.command == ["ssh", "pi", "a b"]
    with pytest.raises(DeviceError, match="^false: expected an answer"):
        measuring.get_device("new_device.Board:false").describe()
    with pytest.raises(ConfigError, match="PYTHONPATH.*'new_device.Gone'"):
        measuring.get_device("new_device.Gone")


@pytest.mark.slow
def test_finetune_ends_in_a_file_and_an_answer(program, tmp_path):
    rng = np.random.default_rng(0)
    for half, number in (("train", 8), ("val", 2)):
        for name, level in (("dark", 40), ("light", 200)):
            folder = tmp_path / "photos" / half / name
            folder.mkdir(parents=True)
            for i in range(number):
                pixels = rng.normal(level, 20, (96, 96, 3)).clip(0, 255)
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / f"{i}.jpg")
    done = program(
        EXAMPLES / "finetune.py", "photos", "photos/val/dark/0.jpg",
        "--epochs=1", "--size=32", folder=tmp_path,
    )
    assert done.code == 0, done.errors
    assert (tmp_path / "classifier_int8.tflite").stat().st_size > 4e5
    *_, answer = done.output.splitlines()
    assert "'dark'" in answer and "'light'" in answer
