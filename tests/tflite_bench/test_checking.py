"""What a delegate leaves out of a file is found, explained and timed."""

import json
import pathlib

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.programs import run
from tests.tflite_bench.test_interpreter import freed
from tflite_bench import asking
from tflite_bench import backends
from tflite_bench import checking
from tflite_bench import profile
from tflite_bench.cutting import Cut
from tflite_bench.cutting import Cutter
from tflite_bench.flatbuffer import ModelBuilder
from tfnas import tflite_packing
from tfnas.errors import ArtifactError
from tfnas.lowering.emitter import Quantization

SCALE = Quantization((0.05,), 3)
OTHER = Quantization((0.02,), -4)
UNIT = Quantization((1 / 256,), -128)
SHAPE = (1, 8, 8, 16)


def _conv(made, source, name, dtype, scale):
    """Adds a 1x1 convolution of 16 channels; returns what it gives."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-90, 90, (16, 1, 1, 16)).astype(dtype)
    whole = dtype == "int8"
    kernel = made.constant(
        f"{name}_w", weights.shape, dtype, lambda: weights,
        Quantization((0.01,) * 16) if whole else None,
    )
    kind = "int32" if whole else "float32"
    bias = made.constant(
        f"{name}_b", (16,), kind, lambda: np.zeros(16, kind),
        Quantization((0.0005,) * 16) if whole else None,
    )
    output = made.tensor(name, SHAPE, dtype, scale)
    made.op("CONV_2D", [source, kernel, bias], [output], padding="same")
    return output


def network(path, code="RELU", dtype="int8", out=SCALE, **attrs):
    """Writes convolution, an operator, convolution."""
    made = ModelBuilder()
    before, after = (SCALE, out) if dtype == "int8" else (None, None)
    image = made.tensor("image", SHAPE, dtype, before)
    first = _conv(made, image, "first", dtype, before)
    middle = made.tensor("middle", SHAPE, dtype, after)
    made.op(code, [first], [middle], **attrs)
    last = _conv(made, middle, "last", dtype, before)
    path.write_bytes(made.finish([image], [last]))
    return path


def pool(path, code, dtype, out=SCALE):
    return network(path, code, dtype, out, padding="same", window="3x3")


@pytest.mark.parametrize(
    "code, out, attrs",
    [
        ("RELU", SCALE, {}), ("HARD_SWISH", OTHER, {}),
        ("SOFTMAX", UNIT, {"beta": 1}),
    ],
)
def test_what_int8_leaves_out_is_named_explained_and_timed(
    tmp_path, code, out, attrs
):
    path = network(tmp_path / "a.tflite", code, out=out, **attrs)
    found = checking.check(path, runs=5)
    assert [op.code for op in found.operators] == ["CONV_2D", code, "CONV_2D"]
    assert [op.piece for op in found.operators] == [1, None, 2]
    assert [op.delegated for op in found.operators] == [True, False, True]
    assert found.pieces == 2
    (left,) = found.left_out
    assert left.why.startswith(f"XNNPACK has no int8 kernel of {code} ")
    assert left.why.endswith("in float32 it takes the same")
    assert (left.output, left.shape, left.kind) == ("middle", SHAPE, "int8")
    assert 0 <= left.cost_ms <= found.total_ms
    assert "ai-edge-litert" in found.source
    # Another part of the runtime says the same.
    outside = {time.index for time in profile.profile(path, 1)} - {None}
    assert outside == {left.index}


def test_a_float_part_of_an_int8_file_is_seen_as_such(tmp_path):
    made = ModelBuilder()
    image = made.tensor("image", SHAPE, "int8", SCALE)
    whole = made.tensor("whole", SHAPE, "float32")
    curved = made.tensor("curved", SHAPE, "float32")
    back = made.tensor("back", SHAPE, "int8", SCALE)
    made.op("DEQUANTIZE", [image], [whole])
    made.op("ELU", [whole], [curved])
    made.op("QUANTIZE", [curved], [back])
    last = _conv(made, back, "last", "int8", SCALE)
    path = tmp_path / "a.tflite"
    path.write_bytes(made.finish([image], [last]))
    found = checking.check(path, runs=0)
    assert [op.kind for op in found.operators] == [
        "int8 to float32", "float32", "float32 to int8", "int8"
    ]
    assert found.pieces == 1 and not found.left_out


def test_a_depthwise_convolution_of_dynamic_range_is_left_out(tmp_path):
    made = ModelBuilder()
    image = made.tensor("image", SHAPE, "float32")
    kernel = made.constant(
        "kernel", (1, 3, 3, 16), "int8",
        lambda: np.ones((1, 3, 3, 16), np.int8),
        Quantization((0.01,) * 16, axis=3),
    )
    bias = made.constant(
        "bias", (16,), "float32", lambda: np.zeros(16, np.float32)
    )
    output = made.tensor("output", SHAPE, "float32")
    made.op("DEPTHWISE_CONV_2D", [image, kernel, bias], [output], version=6,
            padding="same")
    path = tmp_path / "a.tflite"
    path.write_bytes(made.finish([image], [output]))
    (left,) = checking.check(path, runs=0).operators
    assert left.kind == "float32 with int8 weights" and not left.delegated
    assert "no kernel of DEPTHWISE_CONV_2D for float32 with int8" in left.why


@pytest.mark.parametrize(
    "code, dtype, taken",
    [
        ("AVERAGE_POOL_2D", "int8", False), ("MAX_POOL_2D", "int8", True),
        ("AVERAGE_POOL_2D", "float32", True),
    ],
)
def test_pools_are_asked_for_and_not_looked_up(tmp_path, code, dtype, taken):
    path = pool(tmp_path / "a.tflite", code, dtype)
    found = checking.check(path, runs=0)
    assert found.operators[1].delegated == taken
    assert found.pieces == (1 if taken else 2)
    assert found.operators[1].cost_ms is None and found.total_ms is None


def test_a_file_that_the_delegate_refuses_whole_names_the_culprit(tmp_path):
    path = pool(tmp_path / "a.tflite", "MAX_POOL_2D", "int8", OTHER)
    found = checking.check(path, runs=2)
    assert found.pieces == 0 and len(found.left_out) == 3
    assert "failed to delegate MAX_POOL_2D node #1" in found.remark
    first, culprit, last = (op.why for op in found.operators)
    assert first == last == "XNNPACK refuses the whole file"
    assert "only where the scales" in culprit


def test_the_pieces_are_those_that_the_runtime_lists(tmp_path):
    """Written for every operator alone, and for all of them together."""
    made = ModelBuilder()
    x = image = made.tensor("image", SHAPE, "int8", SCALE)
    for i in range(4):
        y = _conv(made, x, f"conv{i}", "int8", SCALE)
        z = made.tensor(f"relu{i}", SHAPE, "int8", SCALE)
        made.op("RELU", [y], [z])
        x = made.tensor(f"sum{i}", SHAPE, "int8", SCALE)
        made.op("ADD", [y, z], [x])
    path = tmp_path / "a.tflite"
    path.write_bytes(made.finish([image], [x]))
    found = checking.check(path, runs=0)
    taken = [op.delegated for op in found.operators]
    assert taken == [True, False, True] * 4
    nodes = asking._open(path.read_bytes(), {})._get_ops_details()
    assert found.pieces == len(nodes) - len(taken) == 5
    edges = [(node["inputs"], node["outputs"]) for node in nodes[: len(taken)]]
    edges = [[list(filter(lambda i: i >= 0, x)) for x in e] for e in edges]
    by_rule = checking.partition(taken, edges)
    assert by_rule == [op.piece for op in found.operators]


def test_operators_that_nothing_reads_are_not_forgotten(tmp_path):
    made = ModelBuilder()
    image = made.tensor("image", SHAPE, "float32")
    first = _conv(made, image, "first", "float32", None)
    _conv(made, first, "unread", "float32", None)
    path = tmp_path / "a.tflite"
    path.write_bytes(made.finish([image], [first]))
    found = checking.check(path, runs=0)
    assert [op.delegated for op in found.operators] == [True, True]


def test_a_cut_operator_computes_what_it_does_in_its_file(tmp_path):
    path = network(tmp_path / "a.tflite")
    content = path.read_bytes()
    cutter = Cutter(content, str(path))
    assert cutter.codes == ["CONV_2D", "RELU", "CONV_2D"]
    whole = asking._open(content, {})
    image = np.random.default_rng(1).integers(-128, 128, SHAPE, np.int8)
    x = image
    for i in range(3):
        one = asking._open(cutter.cut(i), {})
        one.set_tensor(one.get_input_details()[0]["index"], x)
        one.invoke()
        x = one.get_tensor(one.get_output_details()[0]["index"])
    whole.set_tensor(whole.get_input_details()[0]["index"], image)
    whole.invoke()
    expected = whole.get_tensor(whole.get_output_details()[0]["index"])
    np.testing.assert_array_equal(x, expected)
    assert expected.std() > 1
    assert cutter.cut(1, Cut.in_one_scale) is None  # they have one


def test_free_sizes_are_run_as_asked_for(tmp_path):
    path = network(tmp_path / "a.tflite")
    freed(path, [-1, 8, 8, 16])
    found = checking.check(path, runs=2, free_sizes=[(4, 8, 8, 16)])
    assert found.operators[1].shape == (4, 8, 8, 16)
    assert found.free_dims_run_as == {"image": [4, 8, 8, 16]}


# Other backends


@pytest.mark.parametrize(
    "backend, dtype, taken",
    [
        ("gpu", "float32", True), ("gpu", "int8", True),
        ("coreml", "float32", True), ("coreml", "int8", False),
        ("nnapi", "float32", None),
    ],
)
def test_of_other_backends_a_table_says_what_its_source_says(
    tmp_path, backend, dtype, taken
):
    path = network(tmp_path / "a.tflite", "HARD_SWISH", dtype)
    found = checking.check(path, backend)
    assert {op.delegated for op in found.operators} == {taken}
    assert found.pieces == {True: 1, False: 0, None: None}[taken]
    assert "commit" in found.source and "table" in found.source
    assert all(taken or op.why for op in found.operators)
    assert all(op.cost_ms is None for op in found.operators)


@pytest.mark.parametrize(
    "known, taken",
    [
        ({}, True),
        ({"options": {"depthMultiplier": 2}}, False),
        ({"options": {"depthMultiplier": 2}, "channels": 1}, True),
        ({"code": "ARG_MAX"}, False),
        ({"code": "STRIDED_SLICE", "options": {"newAxisMask": 1}}, False),
        ({"kind": "int16"}, None),
    ],
)
def test_conditions_of_the_gpu_are_checked(known, taken):
    usual = {
        "code": "DEPTHWISE_CONV_2D", "kind": "float32", "given": ["float32"],
        "channels": 8, "options": {},
    }
    found, why = backends.judge("gpu", {**usual, **known})
    assert found is taken
    assert (why is None) == (taken is True)


# The program


def test_the_list_is_printed_and_written(tmp_path):
    path, out = network(tmp_path / "a.tflite"), tmp_path / "a.json"
    done = run("tflite_bench", "--check", path, f"--json={out}", "--rounds=5")
    assert done.returncode == 0, done.stderr
    first, *rows = done.stdout.splitlines()
    assert first.startswith(
        f"{path}: 2 of 3 operators run in xnnpack, in 2 pieces; the others "
    )
    assert "RELU" in rows[3] and "XNNPACK has no int8 kernel" in rows[3]
    value = json.loads(out.read_text())
    assert value["format"] == "tflite-check/1"
    (model,) = value["models"]
    assert model["pieces"] == 2
    assert [op["code"] for op in model["operators"]] == [
        "CONV_2D", "RELU", "CONV_2D"
    ]


def changed(path, **fields):
    """Gives the second operator of a file other fields of its code."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    for name, value in fields.items():
        setattr(model.operatorCodes[1], name, value)
    path.write_bytes(tflite_packing.pack(model))


CUSTOM = {
    "builtinCode": 32, "deprecatedBuiltinCode": 32, "customCode": b"MyOp"
}


@pytest.mark.parametrize("flags", [["--check"], []])
@pytest.mark.parametrize(
    "fields, named",
    [
        (CUSTOM, "operator MyOp (number 1 of the file)"),
        ({"version": 99}, "version 99 of operator RELU"),
    ],
)
def test_operators_that_the_runtime_lacks_are_named_in_one_line(
    tmp_path, flags, fields, named
):
    path = network(tmp_path / "a.tflite")
    changed(path, **fields)
    done = run("tflite_bench", *flags, path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {path}: ") and named in line
    assert "convert the model to built-in operators only" in line


def test_damaged_files_are_refused_in_one_line(tmp_path):
    path = network(tmp_path / "a.tflite")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="damaged") as caught:
        checking.check(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "args, message",
    [
        (["--check"], "Expected one .tflite file"),
        (["--check", "--seed=1", "a"], "no --seed with --check"),
        (["--check", "--num_threads=1", "a"], "no --num_threads"),
        (["--check", "--noxnnpack", "a"], "no --xnnpack"),
        (["--check", "--profile", "a"], "no --profile"),
        (["--check", "--backend=gpu", "--rounds=3", "a"], "--backend=gpu"),
        (["--backend=gpu", "a"], "--backend needs --check"),
        (["--check", "--backend=tpu", "a"], "<xnnpack|gpu|coreml|nnapi>"),
        (["--check", "missing.tflite"], "missing.tflite: No such file"),
    ],
)
def test_flags_that_change_nothing_are_refused(args, message):
    done = run("tflite_bench", *args)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_crash_while_operators_are_tried_is_no_crash_of_the_check(
    tmp_path, monkeypatch
):
    """Each kind is tried by itself then, and the others keep their reason."""
    path = network(tmp_path / "a.tflite")
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[2]))
    monkeypatch.setattr(checking, "_ASK", "tests.tflite_bench.crashing")
    (left,) = checking.check(path, runs=0).left_out
    assert left.why == "unknown: the runtime crashes when it is tried"
