"""Models load with one delegate, or fail with a message that helps."""

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tflite_bench import interpreter
from tflite_bench import writer
from tflite_bench.device import HostDevice
from tflite_bench.footprint import footprint
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

KEY = "mbconv|act=relu6|e=3|k=3|pad=sym|s=1|8x8x8>8x8x8"


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "block.tflite"
    path.write_bytes(writer.write_key(KEY, "int8"))
    return path


def rewritten(path, change):
    """The file with one thing changed in its graph."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    change(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_the_delegate_takes_the_whole_graph(model_file):
    model = interpreter.Model(model_file)
    assert model.delegate_nodes == 1
    assert model.ops[:-1] == ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD")
    assert model.load_ms > 0
    model.invoke()


def test_without_delegate_there_is_none(model_file):
    assert interpreter.Model(model_file, xnnpack=False).delegate_nodes == 0


def test_the_host_says_where_its_numbers_come_from(model_file):
    device = HostDevice()
    assert device.describe()["runtime"]["tflite"]["name"] == "ai-edge-litert"
    assert device.describe() == HostDevice().describe()
    first, second = device.measure([str(model_file)] * 2, rounds=4)
    assert len(first.samples_ms) == len(second.wall_ms) == 4
    assert first.delegate_nodes == 1
    assert 0 < first.latency_ms < 10
    assert first.spread >= 0


def test_footprint_is_that_of_the_model(model_file, tmp_path):
    big = tmp_path / "big.tflite"
    big.write_bytes(
        writer.write_key(
            "conv|act=relu6|k=3|pad=sym|s=1|8x8x1024>8x8x1024", "float32"
        )
    )
    small, large = footprint(model_file), footprint(big)
    assert large.peak_bytes - small.peak_bytes > big.stat().st_size
    assert small.load_ms > 0


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\0" * 64])
def test_other_files_are_named_and_refused(content, tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="a.tflite: expected a .tflite"):
        interpreter.Model(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_truncated_files_are_refused(model_file, share):
    content = model_file.read_bytes()
    model_file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtifactError, match="block.tflite: .*truncated"):
        interpreter.Model(model_file)
    with pytest.raises(ArtifactError, match="truncated"):
        footprint(model_file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="b.tflite: No such file"):
        interpreter.Model(tmp_path / "b.tflite")


def test_an_operator_that_the_runtime_lacks_is_named(model_file):
    def change(model):
        model.operatorCodes[0].version = 99

    with pytest.raises(ArtifactError, match="block.tflite.*lacks.*CONV_2D"):
        interpreter.Model(rewritten(model_file, change))


def freed(path, signature):
    """The file with sizes of its input left free."""

    def change(model):
        (index,) = model.subgraphs[0].inputs
        tensor = model.subgraphs[0].tensors[index]
        tensor.shapeSignature = np.array(signature, np.int32)
        tensor.shape = np.maximum(tensor.shapeSignature, 1)

    return rewritten(path, change)


def test_dynamic_shapes_are_refused(model_file):
    freed(model_file, [-1, 8, 8, 8])
    with pytest.raises(ArtifactError, match=r"fixed shape.*\[-1, 8, 8, 8\]"):
        interpreter.Model(model_file)


@pytest.mark.parametrize(
    "signature, given, shape",
    [
        ([-1, 8, 8, 8], [], [1, 8, 8, 8]),
        ([-1, 8, 8, 8], [[3, 8, 8, 8]], [3, 8, 8, 8]),
        ([-1, 8, 8, 8], [[3, 9, 8, 8]], [1, 8, 8, 8]),
        ([1, -1, -1, 8], [[1, 8], [1, 6, 10, 8]], [1, 6, 10, 8]),
        ([-1, -1, -1, 8], [[2, 12, 10, 8]], [2, 12, 10, 8]),
    ],
)
def test_free_sizes_are_what_was_asked_for(
    model_file, signature, given, shape
):
    model = interpreter.Model(freed(model_file, signature), free_sizes=given)
    model.invoke()
    (tensor,) = model.inputs
    assert tensor["shape"] == shape and tensor["free"]
    (output,) = model._interpreter.get_output_details()
    assert output["shape"].tolist() == shape


def test_a_size_that_nobody_gave_is_asked_for(model_file):
    freed(model_file, [-1, -1, -1, 8])
    with pytest.raises(ArtifactError, match="--input_shape=1xNxNx8 with"):
        interpreter.Model(model_file, free_sizes=[[1, 8, 8, 7]])


@pytest.mark.parametrize(
    "dtype, distinct",
    [("float16", True), ("int16", False), ("int64", False), ("bool", False)],
)
def test_inputs_of_any_number_are_filled(tmp_path, dtype, distinct):
    path = tmp_path / "cast.tflite"
    path.write_bytes(cast_from(dtype))
    model = interpreter.Model(path)
    model.invoke()
    (tensor,) = model._interpreter.get_input_details()
    values = model._interpreter.get_tensor(tensor["index"])
    assert values.dtype == dtype == model.inputs[0]["dtype"]
    assert (len(set(values.ravel().tolist())) > 1) == distinct
    assert np.isfinite(values.astype(np.float64)).all()


def test_inputs_of_text_are_refused(tmp_path):
    path = tmp_path / "text.tflite"
    path.write_bytes(cast_from("string"))
    with pytest.raises(ArtifactError, match="text.tflite: .*type bytes"):
        interpreter.Model(path)


def cast_from(dtype):
    """A model that gives its input of this type as float32."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    graph.tensors = [schema.TensorT(), schema.TensorT()]
    kinds = (getattr(schema.TensorType, dtype.upper()), 0)
    for i, (tensor, kind) in enumerate(
        zip(graph.tensors, kinds, strict=True)
    ):
        tensor.shape, tensor.type, tensor.name = [1, 9], kind, f"t{i}"
    operator, code = schema.OperatorT(), schema.OperatorCodeT()
    operator.inputs, operator.outputs = [0], [1]
    code.builtinCode = code.deprecatedBuiltinCode = (
        schema.BuiltinOperator.CAST
    )
    code.version = 1
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [1]
    if dtype == "string":  # no operator casts text
        graph.operators, graph.outputs = [], [0]
    model.version, model.subgraphs = 3, [graph]
    model.operatorCodes, model.buffers = [code], [schema.BufferT()]
    builder = flatbuffers.Builder(1 << 10)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_times_are_the_same_in_a_process_of_its_own(model_file):
    device = HostDevice()
    (near,) = device.measure([str(model_file)], 10)
    (apart_,) = device.measure_apart([str(model_file)], 10)
    assert len(apart_.samples_ms) == 10
    assert apart_.delegate_nodes == near.delegate_nodes
    # The machine may be busy: what is wrong by a unit is off by more.
    assert 0.1 < apart_.latency_ms / near.latency_ms < 10


@pytest.mark.parametrize("threads", [0, 1024])
def test_more_threads_than_cores_are_refused(model_file, threads):
    with pytest.raises(ConfigError, match=f"threads={threads}"):
        interpreter.Model(model_file, threads=threads)
    with pytest.raises(ConfigError, match=f"threads={threads}"):
        HostDevice(threads=threads)


def test_a_runtime_that_is_not_installed_is_named(model_file, monkeypatch):
    packages = {"litert": ("no-such-package", "no_such_package")}
    monkeypatch.setattr(interpreter, "_RUNTIMES", packages)
    with pytest.raises(ConfigError, match="no-such-package.*'litert'"):
        interpreter.Model(model_file)
    with pytest.raises(ConfigError, match="no-such-package"):
        HostDevice().describe()


def test_numbers_are_new_where_the_runtime_s_own_kernels_see_them(tmp_path):
    """The delegate takes the sum, and leaves a lone int8 ReLU."""
    fresh = {}
    for key in ("ADD|1x4x4x8;1x4x4x8>1x4x4x8", "RELU|1x4x4x8>1x4x4x8"):
        path = tmp_path / "op.tflite"
        path.write_bytes(writer.write_key(key, "int8"))
        model = interpreter.Model(path)
        (first, *_) = model._interpreter.get_input_details()
        before = model._interpreter.get_tensor(first["index"])
        model.refresh()
        after = model._interpreter.get_tensor(first["index"])
        fresh[key[:4]] = bool((before != after).any()), model.whole
    assert fresh == {"ADD|": (False, True), "RELU": (True, False)}
