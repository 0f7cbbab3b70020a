"""tfnas-export and tfnas-evaluate, from the command line."""

import re

import keras
import pytest

from tests.export import networks
from tests.export.networks import random_network
from tfnas import artifacts
from tfnas import data
from tfnas import export
from tfnas import spaces

CONFIG = """
from ml_collections import config_dict


def get_config():
    limit = config_dict.placeholder(int)
    data = {"name": "digits", "image_size": 64, "limit_test": limit}
    return config_dict.ConfigDict({"data": data})
"""


@pytest.fixture(scope="module")
def run(program):
    """Returns `f(folder, name, *args)`, which runs a program in a folder."""
    return lambda folder, name, *args: program(name, *args, folder=folder)


@pytest.fixture(scope="module")
def workdir(run, tmp_path_factory):
    """A folder with a trained model's file, an arch, and an int8 export."""
    path = tmp_path_factory.mktemp("export")
    random_network("densenas_resnet@32", seed=1).save(path / "a.keras")
    spaces.get("densenas_resnet@32").sample(seed=0).save(path / "a.json")
    done = run(
        path,
        "export",
        "--model=a.keras",
        "--quantize=int8",
        "--data=digits",
        "--output=a.tflite",
    )
    assert done.code == 0, done.errors
    (path / "export.txt").write_text(done.output)
    return path


@pytest.fixture(scope="module")
def trained(workdir):
    """A folder with a network that tells digits apart, and its arch."""
    folder = workdir / "trained"
    digits = data.load({"name": "digits", "image_size": 16})
    model = networks.random_weights(networks.SMALL)
    model.compile(
        keras.optimizers.Adam(0.02),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(*digits.train.arrays(), epochs=8, verbose=0)
    assert export.accuracy(model, digits.test) > 0.4
    folder.mkdir()
    model.save(folder / "model.keras")
    networks.SMALL.save(folder / "arch.json")
    return folder


def test_export_prints_one_line_of_facts_and_a_table(workdir):
    line, *table = (workdir / "export.txt").read_text().splitlines()
    words = [row.split()[0] for row in table[1:5]]
    assert words == ["bytes", "compressed", "accuracy", "latency"]
    size_bytes = (workdir / "a.tflite").stat().st_size
    assert line.startswith(f"a.tflite: {size_bytes:,} bytes, ")
    assert "in 1 delegate node;" in line
    assert re.search(
        r"differ from Keras by at most \d\.\d+, "
        r"argmax agrees on \d+\.\d % of 100 digits test images$",
        line,
    )


def test_export_leaves_a_report(workdir):
    report = artifacts.read_json(
        workdir / "a.report.json", format="tfnas-export/1"
    )
    size_bytes = (workdir / "a.tflite").stat().st_size
    assert report["size_bytes"]["file"] == size_bytes
    assert report["accuracy"]["test_images"] > 300
    assert report["latency"]["file_ms"] > 0
    assert report["quantize"] == "int8"
    assert len(report["layers"]) == sum(report["ops"].values())


def test_report_says_where_operators_run_and_how_they_were_written(workdir):
    report = artifacts.read_json(workdir / "a.report.json")
    assert report["pieces"] == report["delegate_nodes"] == 1
    codes = [op["code"] for op in report["operators"]]
    assert sorted(codes) == sorted(
        code for code, n in report["ops"].items() for _ in range(n)
    )
    assert all(op["delegated"] for op in report["operators"])
    assert report["lowering"]["backend"] == "xnnpack"
    text = (workdir / "export.txt").read_text()
    assert f"XNNPACK runs {len(codes)} of {len(codes)} operators, in 1" in text
    assert "operators for xnnpack: " in text


def test_file_of_too_many_pieces_is_not_written(run, workdir):
    networks.random_weights(networks.SMALL).save(workdir / "small.keras")
    done = run(
        workdir, "export", "--model=small.keras", "--quantize=int16x8",
        "--data=digits", "--max_pieces=1", "--rounds=0", "--lower=none",
        "--output=pieces.tflite",
    )
    assert done.code == 2
    (line,) = done.errors.splitlines()
    assert "Expected a file of at most 1 piece for XNNPACK" in line
    assert "none that it takes; outside are CONV_2D" in line
    assert not list(workdir.glob("pieces*"))


def test_file_carries_labels_normalisation_and_the_networks_id(workdir):
    found = export.read_metadata((workdir / "a.tflite").read_bytes())
    digits = data.load({"name": "digits"})
    assert found.labels == digits.class_names
    assert (found.mean, found.std) == (digits.mean, digits.std)
    assert found.arch_id == spaces.get("densenas_resnet@32").sample(1).id
    assert (found.inputs, found.outputs) == (("image",), ("logits",))


def test_fine_tuned_file_is_int8_and_takes_labels_of_a_file(run, trained):
    labels = [f"digit {i}" for i in range(10)]
    (trained / "labels.txt").write_text("\n".join(labels))
    done = run(
        trained, "export", "--model=model.keras", "--quantize=int8",
        "--data=digits", "--fine_tune=qat", "--epochs=1", "--lr=1e-4",
        "--labels=labels.txt", "--max_drop=5", "--rounds=0",
        "--output=qat.tflite", "--report=qat.json",
    )
    assert done.code == 0, done.errors
    blob = (trained / "qat.tflite").read_bytes()
    export.require_int8(blob)
    found = export.read_metadata(blob)
    assert found.labels == tuple(labels)
    assert found.arch_id == networks.SMALL.id
    report = artifacts.read_json(trained / "qat.json")
    assert report["fine_tune"] == "qat" and "latency" not in report


def test_file_that_lost_too_much_is_not_written(run, trained):
    done = run(
        trained, "export", "--model=model.keras", "--data=digits",
        "--fine_tune=prune", "--sparsity=0.98", "--epochs=1", "--lr=1e-9",
        "--max_drop=1.0", "--rounds=0", "--output=lost.tflite",
    )
    assert done.code == 2
    assert re.search(
        r"at most 1 points.*\d+\.\d\d % of the float network, "
        r"\d+\.\d\d % of the file", done.errors,
    )
    assert not list(trained.glob("lost*"))


def test_arch_exports_without_any_data(run, workdir):
    done = run(workdir, "export", "--arch=a.json", "--output=b.tflite")
    assert done.code == 0, done.errors
    line = done.output.splitlines()[0]
    assert line.endswith("agrees on 100.0 % of 100 random images")


def test_evaluate_measures_both_files_on_the_same_images(run, workdir):
    models = ["--model=a.keras", "--model=a.tflite"]
    (workdir / "config.py").write_text(CONFIG)
    done = run(
        workdir,
        "evaluate",
        *models,
        "--config=config.py",
        "--config.data.limit_test=50",
    )
    assert done.code == 0, done.errors
    *remarks, title, first, second = done.output.splitlines()
    rows = [first.split(), second.split()]
    assert title.split() == ["model", "accuracy", "images"]
    assert [row[0] for row in rows] == ["a.keras", "a.tflite"]
    assert [row[-1] for row in rows] == ["50", "50"]
    # Keras' own file does not say how it wants to be fed, and the .tflite
    # knows that it was made of such a one.
    silent, told = remarks
    assert silent.startswith("a.keras: the file does not say")
    assert "mean 127.5, std 127.5" in silent and "--mean" in silent
    assert told == (
        "a.tflite: scaled by mean 127.5, std 127.5, by its metadata, which "
        "have it from the data set"
    )


def test_damaged_model_is_bad_input(run, workdir):
    content = (workdir / "a.keras").read_bytes()
    (workdir / "half.keras").write_bytes(content[: len(content) // 2])
    done = run(workdir, "evaluate", "--model=half.keras", "--data=digits")
    assert done.code == 2
    assert "error: half.keras: not a readable Keras model" in done.errors
    assert "Traceback" not in done.errors


@pytest.mark.parametrize(
    "name, args, message",
    [
        ("export", ["--output=c.tflite"], "--model or --arch"),
        ("export", ["--model=a.keras"], "--output"),
        (
            "export",
            ["--arch=a.json", "--output=c.tflite", "--fine_tune=qat",
             "--quantize=int8", "--data=digits"],
            "trained --model and --data",
        ),
        (
            "export",
            ["--model=a.keras", "--output=c.tflite", "--fine_tune=qat",
             "--quantize=float16", "--data=digits"],
            "--quantize=int8, which is what qat",
        ),
        (
            "export",
            ["--model=a.keras", "--output=c.tflite", "--io=float32"],
            "int8 or int16x8 for --io",
        ),
        (
            "export",
            ["--model=a.keras", "--output=c.tflite", "--max_drop=1"],
            "--data, to measure",
        ),
        (
            "export",
            ["--arch=a.json", "--output=c.tflite", "--quantize=int4"],
            "<none|float16|dynamic|int8|int16x8>",
        ),
        (
            "export",
            ["--arch=a.json", "--output=c.tflite", "--max_pieces=0"],
            "--max_pieces=0",
        ),
        (
            "export",
            ["--arch=a.json", "--output=c.tflite", "--lower=tpu"],
            "<xnnpack|none>",
        ),
        (
            "export",
            ["--model=a.keras", "--output=c.tflite", "--fine_tune=qat",
             "--quantize=int8", "--data=digits", "--lower=xnnpack"],
            "no --lower: what qat",
        ),
        ("evaluate", ["--data=digits"], "--model"),
    ],
)
def test_wrong_flags_are_bad_usage(run, workdir, name, args, message):
    done = run(workdir, name, *args)
    assert done.code == 2
    assert message in done.errors
    assert not (workdir / "c.tflite").exists()


def test_labels_of_the_wrong_number_are_bad_input(run, workdir):
    (workdir / "three.txt").write_text("a\nb\nc\n")
    done = run(
        workdir, "export", "--model=a.keras", "--labels=three.txt",
        "--output=c.tflite",
    )
    assert done.code == 2
    assert "Expected 10 labels" in done.errors and "3 labels" in done.errors
    assert not (workdir / "c.tflite").exists()


def test_network_of_unknown_arch_is_not_tuned(run, workdir):
    done = run(
        workdir, "export", "--model=a.keras", "--fine_tune=prune",
        "--data=digits", "--output=c.tflite",
    )
    assert done.code == 2
    assert "Expected arch.json beside the model, or --arch" in done.errors
