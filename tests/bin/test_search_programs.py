"""tfnas-search, tfnas-derive and tfnas-train, from the command line."""

import re
import shlex

import keras
import numpy as np
import pytest

from tests import tiny_runs
from tfnas import artifacts
from tfnas import data
from tfnas import export
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.cost.lut import LatencyTable

TARGET_MS = 0.9


def error(done):
    """Returns the message that a refused command ends with."""
    assert done.code == 2, done.errors
    assert "Traceback" not in done.errors
    return re.search(r"^error: (.*)\Z", done.errors, re.M | re.S)[1]


@pytest.fixture(scope="module")
def runs(program, tmp_path_factory):
    """A folder with a table, a finished search, a network, a training."""
    folder = tmp_path_factory.mktemp("runs")
    tiny_runs.write_table(folder / "lut.json", tiny_runs.space())
    flags = tiny_runs.make_flags()
    common = ["--lut=lut.json", f"--target_ms={TARGET_MS}"]
    done = {
        "search": program(
            "search", *flags, *common, "--workdir=search", folder=folder
        ),
        "derive": program(
            "derive", "--workdir=search", "--output=a.json", folder=folder
        ),
        "train": program(
            "train", *flags, "--arch=a.json", "--init_from=search",
            "--workdir=train", folder=folder,
        ),
    }
    for name, result in done.items():
        assert result.code == 0, (name, result.errors)
    return folder, done


def test_search_prints_its_result_beside_random_networks(runs):
    folder, done = runs
    _, title, _, *rows, note = done["search"].output.splitlines()
    assert title.split()[:4] == ["role", "network", "ms", "score"]
    value = artifacts.read_json(folder / "search" / "result.json")
    found = value["archs"] + value["baseline"]
    assert [row.split()[0] for row in rows] == [f["role"] for f in found]
    assert [row.split()[1] for row in rows] == [f["id"] for f in found]
    assert note == (
        "score: shared weights, on the architecture split. "
        "Result: search/result.json"
    )


def test_progress_counts_the_steps_of_all_phases(runs):
    # Weights 3 * 4, arch 2 * 2, valid 2, scores of at most 4 networks 4 * 2.
    assert re.search(r"search: +\d+%.* 2[46]/26 \[", runs[1]["search"].errors)
    assert re.search(r"train: 100%.* 14/14 \[", runs[1]["train"].errors)


def test_named_flags_are_in_the_saved_config(runs):
    config = artifacts.read_json(runs[0] / "search" / "config.json")
    assert config["lut"]["path"] == "lut.json"
    assert config["target_ms"] == TARGET_MS
    assert config["space"] == tiny_runs.SPACE


def test_derive_writes_the_network_of_the_target(runs):
    folder, done = runs
    arch = Arch.load(folder / "a.json")
    latency_ms = LatencyTable.load(folder / "lut.json").latency_ms(arch)
    assert latency_ms == pytest.approx(TARGET_MS, rel=0.05)
    assert done["derive"].output.startswith(
        f"a.json: {arch.id}, {latency_ms:.4g} ms predicted, "
    )


def test_derive_takes_another_target(runs, program):
    folder, _ = runs
    done = program(
        "derive", "--workdir=search", "--output=b.json", "--target_ms=0.5",
        folder=folder,
    )
    assert done.code == 0, done.errors
    table = LatencyTable.load(folder / "lut.json")
    latency_ms = table.latency_ms(Arch.load(folder / "b.json"))
    assert latency_ms == pytest.approx(0.5, rel=0.05)


def test_train_saves_the_model_that_it_tested(runs):
    folder, done = runs
    accuracy = artifacts.read_json(folder / "train" / "result.json")["accuracy"]
    said, following = done["train"].output.splitlines()
    assert said == f"train/model.keras: test accuracy {accuracy:.4f}"
    assert following == (
        "next: tfnas-export --model=train/model.keras --quantize=int8 "
        "--data=digits --output=train/model_int8.tflite"
    )
    model = keras.models.load_model(folder / "train" / "model.keras")
    images, labels = data.load(tiny_runs.make_config().data).test.arrays()
    answers = model.predict(images, verbose=0).argmax(1)
    assert np.mean(answers == labels) == pytest.approx(accuracy)


def test_same_commands_again_change_nothing(runs, program):
    folder, done = runs
    before = {
        path: path.read_bytes()
        for stage in ("search", "train")
        for path in (folder / stage).rglob("*.json*")
    }
    flags = tiny_runs.make_flags()
    again = program(
        "search", *flags, "--lut=lut.json", f"--target_ms={TARGET_MS}",
        "--workdir=search", folder=folder,
    )
    assert again.output == done["search"].output
    assert {path: path.read_bytes() for path in before} == before


def search_flags(*words):
    return ["search", *tiny_runs.make_flags(), "--workdir=new", *words]


def train_flags(*words, **fields):
    return ["train", *tiny_runs.make_flags(**fields), "--workdir=new", *words]


@pytest.mark.parametrize(
    "words, message",
    [
        (
            search_flags("--lut=lut.json", "--target_ms=1000"),
            r"range \d\S*\.\.\d\S* ms\. Received: 1000 ms",
        ),
        (
            search_flags("--target_madds=1"),
            r"range \S+\.\.\S+ M multiply-adds",
        ),
        (search_flags("--target_ms=1"), "`target_ms` needs a latency table"),
        (search_flags("--lut=none.json"), "none.json: No such file"),
        (search_flags("--lut=half.json"), "half.json: not valid JSON"),
        (search_flags("--space=dense"), "tiny@32.*Received: name='dense'"),
        (
            search_flags("--strategy=multiworker"),
            "`multiworker` needs the environment variable TF_CONFIG",
        ),
        (
            search_flags("--config.data.name=folder:absent"),
            "Expected a folder. Received: name=folder:absent",
        ),
        (search_flags("--config.data.image_size=7"), "at least 8"),
        (
            ["search", *tiny_runs.make_flags(), "--workdir=search"],
            r"(?s)search with\n  lut.path: lut.json there, None here\n"
            rf"  target_ms: {TARGET_MS} there, None here",
        ),
        (
            ["derive", "--workdir=search", "--output=c.json",
             "--target_ms=1000"],
            r"range \d\S*\.\.\d\S* ms\. Received: 1000 ms",
        ),
        (
            ["derive", "--workdir=search", "--output=c.json",
             "--target_madds=1"],
            "takes --target_ms. Received: --target_madds=1",
        ),
        (
            ["derive", "--workdir=absent", "--output=c.json"],
            "absent/config.json: No such file",
        ),
        (
            ["derive", "--workdir=train", "--output=c.json"],
            "must be that of a search",
        ),
        (train_flags("--arch=half.json"), "half.json: not valid JSON"),
        (train_flags("--arch=lut.json"), 'lut.json: field .?"?format'),
        (
            train_flags("--arch=a.json", data__image_size=40),
            r"\(32, 32, 3\) of 10 classes. Received: \(40, 40, 3\)",
        ),
        (
            train_flags("--arch=a.json", data__classes=4),
            r"10 classes. Received: .*, 4 classes",
        ),
        (
            train_flags("--arch=other.json", "--init_from=search"),
            "space `tiny@32`",
        ),
        (
            [*train_flags("--arch=a.json"), "--workdir=train"],
            r"inherited: True there, False here",
        ),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    runs, program, words, message
):
    folder, _ = runs
    text = (folder / "lut.json").read_text()
    (folder / "half.json").write_text(text[: len(text) // 2])
    spaces.get("densenas_mbv2@32").sample(0).save(folder / "other.json")
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    done = program(*words, folder=folder)
    assert re.search(message, error(done)), done.errors
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.slow
def test_whole_loop_runs_and_again_changes_nothing(runs, program):
    folder, _ = runs
    words = [
        "run", *tiny_runs.make_flags(run__bench_rounds=3), "--lut=lut.json",
        "--workdir=loop",
    ]
    done = program(*words, folder=folder)
    assert done.code == 0, done.errors
    assert "The whole report: loop/report.html" in done.output
    nets = [path.name for path in (folder / "loop" / "derived").iterdir()]
    found = artifacts.read_json(folder / "loop" / "search" / "result.json")
    best = found["archs"][0]["id"]
    assert len(nets) == 2 and best in nets
    _check_files_say_how_they_are_fed(folder, program, done.output, best)
    files = [p for p in (folder / "loop").rglob("*.*") if p.is_file()]
    kept = [p for p in files if p.suffix in (".json", ".jsonl", ".tflite")]
    before = {path: path.read_bytes() for path in kept}
    again = program(*words, folder=folder)
    assert again.code == 0, again.errors
    assert again.output == done.output
    assert {path: path.read_bytes() for path in kept} == before


def _check_files_say_how_they_are_fed(folder, program, said, best):
    """Types what the run says is next, and compares with its own figures."""
    derived = folder / "loop" / "derived" / best
    digits = data.load({"name": "digits"})
    for name in ("model_float32.tflite", "model_int8.tflite"):
        held = export.read_metadata((derived / name).read_bytes())
        assert (held.labels, held.arch_id) == (digits.class_names, best)
        assert (held.mean, held.std) == (digits.mean, digits.std)
    (command,) = [
        line.strip() for line in said.splitlines() if "tfnas-evaluate" in line
    ]
    config = [f"--config={tiny_runs.CONFIG}", "--config.data.limit_test=30"]
    done = program(
        "evaluate", *shlex.split(command)[1:], *config, folder=folder
    )
    assert done.code == 0, done.errors
    title, *rows = done.output.splitlines()
    assert title.split() == ["model", "accuracy", "images"]
    expected = artifacts.read_json(derived / "result.json")["accuracy"]
    shares = [float(row.split()[1]) / 100 for row in rows]
    assert shares == pytest.approx(list(expected.values()), abs=6e-5)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--target_madds=1"], "`target_madds` is for searches without"),
        (["--strategy=multiworker"], "works on one machine"),
        (["--config.run.random_networks=0"], "at least 1.* 2 and 0"),
        (["--config.data.name=folder:absent"], "Received: name=folder:absent"),
        (["--target_ms=1000"], r"range \S+ ms\. Received: 1000 ms"),
        (["--lut=few.json"], r"no row for \d+ operator"),
    ],
)
def test_whole_loop_refuses_at_once_what_cannot_work(
    runs, program, few_rows, words, message
):
    folder, _ = runs
    done = program(
        "run", *tiny_runs.make_flags(), "--lut=lut.json", "--workdir=new",
        *words, folder=folder,
    )
    assert re.search(message, error(done)), done.errors
    assert not (folder / "new").exists()


@pytest.fixture
def few_rows(runs):
    """Writes `few.json`, a table that misses rows; returns their keys."""
    folder, _ = runs
    value = artifacts.read_json(folder / "lut.json")
    missing = sorted(value["rows"])[::5]
    for key in missing:
        del value["rows"][key]
    artifacts.write_json(folder / "few.json", value)
    return missing


def test_every_missing_row_is_listed(runs, program, few_rows):
    folder, _ = runs
    done = program(*search_flags("--lut=few.json"), folder=folder)
    head, *listing = error(done).splitlines()
    assert head.endswith(f"has no row for {len(few_rows)} operator(s):")
    assert [line.strip() for line in listing] == few_rows
    assert not (folder / "new").exists()
