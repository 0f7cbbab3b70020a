"""tfnas-train, -evaluate and -export of a language model."""

import re

import numpy as np
import pytest

from tests import language_models as lm
from tests import tiny_runs
from tfnas import artifacts
from tfnas import export
from tfnas.arch import Arch
from tfnas.ops.recurrent import language_parts

FIELDS = {
    "train.width": 40,
    "train.epochs": 2,
    "train.batch_size": 4,
    "train.valid_batch_size": 3,
    "data.limit_train": 60,
    "data.limit_valid": 20,
    "data.limit_test": 20,
}


@pytest.fixture(scope="module")
def runs(program, tmp_path_factory):
    """A folder with a text, a trained language model and its exports."""
    folder = tmp_path_factory.mktemp("language")
    lm.write_text(folder / "text", (60, 20, 20))
    lm.make_arch().save(folder / "cell.json")
    done = {"train": program("train", *flags(), folder=folder)}
    for quantize in ("none", "dynamic"):
        done[quantize] = program(
            "export", "--model=train/model.keras", f"--quantize={quantize}",
            f"--output=train/{quantize}.tflite", "--data=ptb:text",
            folder=folder,
        )
    for name, result in done.items():
        assert result.code == 0, (name, result.errors)
    return folder, done


def flags(*words, **fields):
    """Returns the flags of tfnas-train."""
    changes = {**FIELDS, **{k.replace("__", "."): v
                            for k, v in fields.items()}}
    return [
        f"--config={tiny_runs.ROOT}/configs/shrink_rnn.py:local",
        "--config.data.name=ptb:text", "--arch=cell.json", "--workdir=train",
        *(f"--config.{k}={v}" for k, v in changes.items()), *words,
    ]


def error(done):
    """Returns the message that a refused command ends with."""
    assert done.code == 2, done.errors
    assert "Traceback" not in done.errors
    return re.search(r"^error: (.*)\Z", done.errors, re.M | re.S)[1]


def test_train_fits_the_cell_to_the_text_and_says_the_perplexity(runs):
    folder, done = runs
    parts = language_parts(Arch.load(folder / "train" / "arch.json"))
    assert (parts.words, parts.width) == (8, 40)
    assert parts.cell.encode() == lm.CELL
    result = artifacts.read_json(folder / "train" / "result.json")
    assert done["train"].output == (
        "train/model.keras: perplexity {test:.2f} on the test text, "
        "{valid:.2f} on the one that chose the weights\n"
    ).format(**result["perplexity"])


def test_export_prints_how_far_fifty_steps_are_from_keras(runs):
    folder, done = runs
    (line,) = done["none"].output.splitlines()
    size_bytes = (folder / "train" / "none.tflite").stat().st_size
    assert line.startswith(f"train/none.tflite: {size_bytes:,} bytes, ")
    assert re.search(
        r"by at most \d\S+, argmax agrees on 100.0 % of 50 ptb:text test "
        r"words in a row$", line,
    )
    assert (folder / "train" / "dynamic.tflite").stat().st_size < size_bytes


def test_evaluate_measures_all_files_on_the_same_text(runs, program):
    folder, _ = runs
    names = ["train/model.keras", "train/none.tflite", "train/dynamic.tflite"]
    done = program(
        "evaluate", *(f"--model={n}" for n in names), "--data=ptb:text",
        folder=folder,
    )
    assert done.code == 0, done.errors
    title, *rows = (line.split() for line in done.output.splitlines())
    assert title == ["model", "perplexity", "words"]
    assert [row[0] for row in rows] == names
    result = artifacts.read_json(folder / "train" / "result.json")
    expected = result["perplexity"]["test"]
    found = [float(row[1]) for row in rows]
    np.testing.assert_allclose(found[:2], expected, atol=0.006)
    assert found[2] == pytest.approx(expected, rel=0.05)


def test_an_architecture_is_exported_with_random_weights(runs, program):
    folder, _ = runs
    done = program(
        "export", "--arch=cell.json", "--output=random.tflite", folder=folder
    )
    assert done.code == 0, done.errors
    assert done.output.endswith("of 50 random words in a row\n")
    assert export.load_language_model(folder / "random.tflite").words == 20


@pytest.mark.parametrize(
    "words, message",
    [
        (["train", *flags("--workdir=new", data__name="ptb:absent")],
         "ptb:<dir>.*Received: name=ptb:absent"),
        (["train", *flags("--workdir=new", data__name="digits")],
         "ptb:<dir>.*Received: name=digits"),
        (["train", *flags("--workdir=new", train__batch_size=9999)],
         "the train text must have.*batch_size=9999"),
        (["train", *flags("--workdir=new", "--init_from=train")],
         "trained from scratch"),
        (["train", *flags(train__lr=1.0)], r"train.lr: 20.0 there, 1.0 here"),
        (["evaluate", "--model=train/model.keras", "--data=digits"],
         "expected one image"),
        (["evaluate", "--model=cell.json", "--data=ptb:text"],
         "cell.json: expected a file that ends in"),
        (["evaluate", "--model=random20.tflite", "--data=ptb:text"],
         "expected a network of 8 words.*words=20"),
        (["export", "--model=train/model.keras", "--quantize=int8",
          "--output=new.tflite"], "none, float16, dynamic"),
        (["export", "--arch=cell.json", "--data=ptb:text",
          "--output=new.tflite"], "expected a text of 20 words.*with 8"),
    ],
)
def test_bad_input_is_refused(runs, program, words, message):
    folder, _ = runs
    model = folder / "random20.tflite"
    if not model.exists():
        done = program(
            "export", "--arch=cell.json", f"--output={model}", folder=folder
        )
        assert done.code == 0
    assert re.search(message, error(program(*words, folder=folder)), re.S)
    assert not (folder / "new").exists()
