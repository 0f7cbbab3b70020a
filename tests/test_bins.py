"""Every program answers for help at once, and refuses what it cannot read.

Without TensorFlow, which takes seconds to import.
"""

import collections
import pathlib

import pytest

import tfnas
from tests import programs

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = PROJECT["scripts"]
TAKE_WORDS = {"android-bench", "tfnas-import-weights", "tflite-bench"}

MBV2 = f"--config={ROOT}/configs/densenas_mbv2.py:local"
QUERIES = f"--config={ROOT}/configs/ase_nas_nasbench201.py"
CELLS = f"--config={ROOT}/configs/autospace_cells.py:local"
RECIPE = f"--config={ROOT}/configs/densenas.py:local"
TUNE = f"--config={ROOT}/configs/tune.py:local"
NEW = "--workdir=new"

# Program, its words, and what its one line of errors says.
MISTAKES = [
    ("tfnas-search", [MBV2, NEW, "--target_ms=5"], "needs a latency table"),
    ("tfnas-search", [MBV2, NEW, "--space=moon"], "Unknown space"),
    ("tfnas-search", [MBV2, NEW, "--space=mobilenetv3@32"], "with a lattice"),
    ("tfnas-search", [MBV2, NEW, "--lut=gone.json"], "gone.json"),
    ("tfnas-search", [MBV2, NEW, "--lut=bad.json"], "bad.json"),
    (
        "tfnas-search", [MBV2, NEW, "--config.algorithm=luck"],
        "Unknown search algorithm. Expected one of",
    ),
    ("tfnas-search", [MBV2, "--workdir=bad.json"], "is a file"),
    ("tfnas-search", [MBV2, "--workdir=old"], "Expected a new --workdir"),
    (
        "tfnas-search", [MBV2, NEW, "--config.data.name=folder:gone"],
        "Expected a folder",
    ),
    ("tfnas-search", [MBV2, NEW, "--config.data.name=npz:gone"], "gone"),
    (
        "tfnas-search", [MBV2, NEW, "--config.data.name=tfrecord:gone/*"],
        "start with train",
    ),
    ("tfnas-search", [MBV2, NEW, "--config.data.name=moon"], "`name` must be"),
    ("tfnas-search", [MBV2, NEW, "--config.data.image_size=7"], "`image_size`"),
    ("tfnas-search", [MBV2, NEW, "--config.search.batch_size=0"], "at least 1"),
    ("tfnas-search", [MBV2, NEW, "--config.search.augment=moon"], "`augment`"),
    ("tfnas-search", [MBV2, NEW, "--config.search.epochs=x"], "epochs=x"),
    ("tfnas-search", [MBV2, NEW, "--config.search.epoch=3"], "search.epoch"),
    ("tfnas-search", [MBV2, NEW, "--seed=-1"], "seed"),
    ("tfnas-search", ["--config=moon", NEW], "one of these names"),
    ("tfnas-search", [RECIPE, NEW], "one without"),
    ("tfnas-search", [QUERIES, NEW], "`search.table`"),
    ("tfnas-search", [QUERIES, NEW, "--config.search.table=gone.npz"], "gone"),
    ("tfnas-run", [MBV2, NEW, "--target_madds=5"], "without a latency table"),
    ("tfnas-run", [MBV2, NEW, "--space=moon"], "Unknown space"),
    ("tfnas-run", [CELLS, NEW], "one without train, run"),
    ("tfnas-run", [MBV2, NEW, "--device=moon"], "Expected device"),
    ("tfnas-run", [MBV2, NEW, "--lut=gone.json"], "gone.json"),
    ("tfnas-run", [MBV2, "--workdir=old"], "Expected a new --workdir"),
    (
        "tfnas-run", [MBV2, NEW, "--config.data.name=folder:gone"],
        "Expected a folder",
    ),
    ("tfnas-train", [RECIPE, NEW, "--arch=moon"], "`--arch` must be"),
    ("tfnas-train", [RECIPE, NEW, "--arch=bad.json"], "bad.json"),
    (
        "tfnas-train",
        [RECIPE, NEW, "--arch=densenas_a", "--config.train.augment=moon"],
        "`augment`",
    ),
    (
        "tfnas-train", [RECIPE, NEW, "--arch=densenas_a", "--init_from=gone"],
        "gone/config.json",
    ),
    (
        "tfnas-train",
        [RECIPE, NEW, "--arch=shrink_rnn", "--config.data.name=ptb:gone"],
        "`name` must be ptb",
    ),
    ("tfnas-train", [CELLS, NEW, "--arch=densenas_a"], "one without train"),
    ("tfnas-tune", [TUNE, NEW, "--arch=moon"], "`--arch` must be"),
    (
        "tfnas-tune",
        [TUNE, NEW, "--arch=densenas_a", "--config.tune.tuner=moon"],
        "`tune.tuner`",
    ),
    ("tfnas-derive", ["--workdir=gone", "--output=a.json"], "gone/config.json"),
    ("tfnas-derive", ["--workdir=old", "--output=a.json"], "that of a search"),
    ("tfnas-evaluate", ["--model=gone.keras", "--data=digits"], "gone.keras"),
    ("tfnas-evaluate", ["--model=bad.keras", "--data=digits"], "Keras model"),
    ("tfnas-evaluate", ["--model=bad.tflite", "--data=digits"], "a .tflite"),
    ("tfnas-evaluate", ["--model=bad.json", "--data=digits"], "ends in .keras"),
    (
        "tfnas-evaluate",
        ["--model=bad.tflite", "--data=digits", "--std=0"], "above 0",
    ),
    ("tfnas-export", ["--arch=gone.json", "--output=a.tflite"], "gone.json"),
    ("tfnas-export", ["--model=bad.keras", "--output=a.tflite"], "bad.keras"),
    (
        "tfnas-export",
        ["--model=bad.keras", "--output=a.tflite", "--labels=gone.txt"],
        "gone.txt",
    ),
    ("tfnas-data", ["split", "--data=folder:gone", "--output=a"], "a folder"),
    ("tfnas-data", ["cut", "--data=digits", "--output=a.json"], "split, pack"),
    ("tfnas-lut", ["--space=moon", "--lut=a.json"], "Unknown space"),
    ("tfnas-lut", ["--mode=show", "--lut=gone.json"], "gone.json"),
    (
        "tfnas-lut", ["--space=densenas_mbv2", "--lut=a", "--device=moon"],
        "Expected device",
    ),
    ("tfnas-report", ["--workdir=gone"], "gone"),
    (
        "tfnas-import-weights",
        ["gone.pt", "--from=densenas", "--application=densenas_a",
         "--output=a.npz"],
        "gone.pt",
    ),
    ("tflite-bench", ["gone.tflite"], "gone.tflite"),
    ("tflite-bench", ["bad.tflite"], "a .tflite"),
    ("android-bench", ["gone.tflite"], "--binary"),
]
OF = collections.defaultdict(list)
for _program, *_rest in MISTAKES:
    OF[_program].append(_rest)


@pytest.fixture(scope="module", params=SCRIPTS)
def script(request, tmp_path_factory):
    """Returns the name of a program, and `f(*args)` that runs it."""
    module, _ = SCRIPTS[request.param].split(":")
    folder = tmp_path_factory.mktemp(request.param)
    for name, content in (
        ("bad.json", "{"), ("bad.keras", "x"), ("bad.tflite", "x" * 99)
    ):
        (folder / name).write_text(content)
    (folder / "old").mkdir()
    (folder / "old" / "config.json").write_text('{"search": {}}')
    server = programs.Server(folder, module)
    yield request.param, lambda *args: server(module, *args)
    server.close()


def test_help_and_version_come_at_once(script):
    name, run = script
    done = run("--helpshort")
    assert done.code == 0, done.errors
    assert "--" in done.output and "--[no]version" in done.output
    version = run("--version")
    assert version.code == 0
    assert version.output.endswith(f" {tfnas.__version__}\n")
    assert not done.tensorflow and not version.tensorflow


def test_wrong_usage_is_refused(script):
    name, run = script
    wrong = ["--no_such_flag=1"] + ["word"] * (name not in TAKE_WORDS)
    for word in wrong:
        done = run(word)
        assert done.code == 2
        assert done.errors.startswith("error: ")
        assert "Traceback" not in done.errors


def test_mistakes_are_answered_in_a_line_without_tensorflow(script):
    name, run = script
    assert OF[name], f"no mistake of {name} is tried"
    for args, message in OF[name]:
        done = run(*args)
        told = f"{name} {' '.join(args)}: {done.errors}"
        assert done.code == 2, told
        first, *rest = done.errors.splitlines()
        assert first.startswith("error: ") and message in first, told
        # Where to find help, or which settings a folder has.
        assert not rest or rest == ["Try --helpshort."] or "new --w" in first
        assert not done.tensorflow, told
        assert done.seconds < 2, told
