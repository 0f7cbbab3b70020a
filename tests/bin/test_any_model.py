"""A model of no space is predicted from the operators it is made of."""

import keras
import numpy as np
import pytest

from tests import programs
from tests.cost.lut_tables import HEADER
from tests.cost.lut_tables import make_table
from tflite_bench import operators
from tflite_bench import writer
from tflite_bench.device import HostDevice
from tfnas import artifacts
from tfnas import export
from tfnas import spaces
from tfnas.bin import any_model
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

OPERATORS = {**HEADER, "entries": "operators"}


@pytest.fixture(scope="module")
def arch():
    return spaces.get("mobilenetv3@32").sample(2)


@pytest.fixture
def table():
    return make_table(["RELU6|1x1x1x1>1x1x1x1"], header=OPERATORS)


def test_the_keys_of_a_file_are_those_of_its_network(arch, table, tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(writer.write_arch(arch, "int8"))
    assert any_model.read_keys(path, table) == table.keys_of(arch)


def test_what_lacks_is_measured_and_kept(arch, tmp_path):
    path, model = tmp_path / "table.json", tmp_path / "a.tflite"
    model.write_bytes(writer.write_arch(arch, "int8"))
    device = HostDevice()
    known = ["ADD|1x4x4x8;1x4x4x8>1x4x4x8"]
    table = _built(known, device, path)
    keys = any_model.read_keys(model, table)
    with pytest.raises(ConfigError, match="have no row; measure them"):
        any_model.refuse_missing(table, keys)
    made = any_model.complete(table, keys, device, path, rounds=2)
    assert set(made.rows) == {*known, *keys}
    assert made.rows[known[0]] == table.rows[known[0]]
    assert LatencyTable.load(path).rows == made.rows
    total = sum(made.rows[key].latency_ms for key in keys)
    assert made.predict_keys(keys).latency_ms == pytest.approx(total)
    assert any_model.complete(made, keys, device, path) is made
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.tflite", "table.json", "table.json.journal.jsonl",
    ]


def _built(keys, device, path):
    from tflite_bench import build

    job = build.Job(tuple(keys), (), "int8", 2, False, "operators")
    artifacts.write_json(path, build.build(job, device, path, False))
    return LatencyTable.load(path)


def test_a_strange_model_is_cut_into_operators(table, tmp_path):
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(image)
    a, b = keras.layers.PReLU()(x), keras.layers.MaxPooling2D(2, 1, "same")(x)
    x = keras.layers.Concatenate()([a, b])
    x = keras.layers.Reshape((64, 16))(x)
    x = keras.layers.LayerNormalization()(x)
    x = keras.layers.Dense(10, activation="softmax")(x)
    model = keras.Model(image, keras.ops.mean(x, axis=1))
    path = tmp_path / "m.keras"
    model.save(path)
    keys = any_model.read_keys(path, table)
    blob = export.to_tflite(
        model, "int8", np.random.default_rng(0).normal(size=(8, 16, 16, 3))
    )
    assert keys == [op.key for op in operators.read(blob, "int8")]
    for key in set(keys):  # each of them runs alone
        file = tmp_path / "op.tflite"
        file.write_bytes(writer.write_key(key, "int8"))
        HostDevice().measure([str(file)], 1)


def test_a_table_of_blocks_says_what_to_measure(arch, tmp_path):
    with pytest.raises(ConfigError, match="table of operators.*--entries"):
        any_model.read_keys(tmp_path / "a.tflite", make_table(["a"]))


def test_another_type_is_refused(arch, table, tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(writer.write_arch(arch, "float32"))
    with pytest.raises(ArtifactError, match="expected a model in int8"):
        any_model.read_keys(path, table)


@pytest.mark.parametrize("content", [b"", b"1234TFL3", b"1234TFL3" * 20])
def test_a_damaged_file_is_refused(content, table, tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="a.tflite: expected a"):
        any_model.read_keys(path, table)


def test_the_program_predicts_a_model(arch, tmp_path):
    path, model = tmp_path / "table.json", tmp_path / "a.tflite"
    model.write_bytes(writer.write_arch(arch, "int8"))
    _built(["ADD|1x4x4x8;1x4x4x8>1x4x4x8"], HostDevice(), path)
    flags = ["--mode=predict", f"--lut={path}", f"--model={model}"]
    refused = programs.run("tfnas.bin.lut", *flags, "--nomeasure")
    assert refused.returncode == 2 and "have no row" in refused.stderr
    done = programs.run("tfnas.bin.lut", *flags, "--rounds=2")
    assert done.returncode == 0, done.stderr
    assert f"{model}: " in done.stdout and " ms" in done.stdout
