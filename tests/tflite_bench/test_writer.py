"""What the writer writes is what the converter makes of the Keras layers."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from tests.tflite_bench import graphs
from tflite_bench import writer
from tflite_bench.convert import convert_model
from tfnas import ops
from tfnas import spaces

OP_NAMES = {
    value: name
    for name, value in vars(schema.BuiltinOperator).items()
    if isinstance(value, int)
}
# A key for every form of every op.
KEYS = (
    "conv|act=relu6|k=3|pad=sym|s=2|8x8x3>4x4x4",
    "conv|act=linear|k=1|pad=sym|s=1|8x8x3>8x8x4",
    "conv|act=relu|k=3|pad=same|s=2|8x8x3>4x4x4",
    "mbconv|act=relu6|e=6|k=5|pad=sym|s=2|8x8x4>4x4x6",
    "mbconv|act=relu|e=3|k=3|pad=same|s=1|8x8x4>8x8x4",
    "mbconv|act=relu6|e=1|k=3|pad=sym|s=1|8x8x4>8x8x6",
    "basic|pad=sym|s=2|8x8x4>4x4x6",
    "basic|pad=sym|s=1|8x8x4>8x8x4",
    "bottleneck|pad=sym|s=2|wide_input=1|8x8x16>4x4x24",
    "bottleneck|pad=sym|s=1|wide_input=0|8x8x24>8x8x24",
    "classifier|s=1|4x4x8>10",
)


def signature(content):
    """The graph of a file as nested tuples, from the output backwards.

    Names and the numbers of constants are left out, and so is the padding
    of 1x1 windows, which pads nothing either way.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    producers = {
        output: operator
        for operator in graph.operators
        for output in operator.outputs
    }

    def tensor(index):
        it = graph.tensors[index]
        shape = () if it.shape is None else tuple(map(int, it.shape))
        channels = 0
        if it.quantization is not None and it.quantization.scale is not None:
            channels = len(it.quantization.scale)
        data = model.buffers[it.buffer].data
        kind = "constant" if data is not None and len(data) else "input"
        if index in producers:
            kind = operator(producers[index])
        return kind, shape, int(it.type), channels

    def operator(it):
        code = model.operatorCodes[it.opcodeIndex]
        name = OP_NAMES[code.builtinCode]
        options = dict(vars(it.builtinOptions)) if it.builtinOptions else {}
        if name == "CONV_2D":
            kernel = graph.tensors[it.inputs[1]].shape
            if kernel[1] == kernel[2] == 1:
                options["padding"] = None
        inputs = tuple(tensor(i) for i in it.inputs)
        return name, code.version, tuple(sorted(options.items())), inputs

    return tuple(tensor(i) for i in graph.outputs)


def keras_model(key):
    block, shape = ops.parse_lut_key(key)
    image = keras.Input(batch_shape=(1, *shape))
    return keras.Model(image, ops.build(block, shape, keras, "b")(image))


def run(content, seed=0):
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    (target,) = interpreter.get_output_details()
    image = np.random.default_rng(seed).standard_normal(source["shape"])
    if source["dtype"] == np.int8:
        scale, zero = source["quantization"]
        image = np.clip(np.round(image / scale) + zero, -128, 127)
    interpreter.set_tensor(source["index"], image.astype(source["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])


def test_there_is_a_key_for_every_op():
    assert {key.split("|")[0] for key in KEYS} == set(ops.names()) - {"skip"}


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("key", KEYS)
def test_the_graph_of_an_op_is_the_converters(key, dtype):
    converted = convert_model(keras_model(key), dtype)
    assert signature(writer.write_key(key, dtype)) == signature(converted)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("make", graphs.ALL)
def test_the_graph_of_other_layers_is_the_converters(make, dtype):
    graph, model = make(keras)
    written = writer.write_graphs([graph], dtype, 0)
    assert signature(written) == signature(convert_model(model, dtype))


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_the_graph_of_a_network_is_the_converters(dtype):
    space = spaces.get("densenas_resnet@32")
    arch = space.sample(0)
    x = image = keras.Input(batch_shape=(1, *arch.input_shape))
    for i, block in enumerate(arch.blocks):
        x = ops.build(block, x.shape[1:], keras, f"b{i}")(x)
    converted = convert_model(keras.Model(image, x), dtype)
    assert signature(writer.write_arch(arch, dtype)) == signature(converted)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("space", ["densenas_mbv2@32", "densenas_resnet@32"])
def test_a_network_computes_numbers_that_vary(space, dtype):
    content = writer.write_arch(spaces.get(space).sample(1), dtype)
    logits, others = run(content, seed=1), run(content, seed=2)
    assert logits.shape == (1, 10)
    assert np.isfinite(logits).all()
    assert len(np.unique(logits)) > 5
    assert (logits != others).any()
    if dtype == "int8":
        assert np.mean(np.abs(logits.astype(int)) > 120) < 0.5


def test_equal_keys_give_equal_files():
    assert writer.write_key(KEYS[3], "int8") == writer.write_key(
        KEYS[3], "int8"
    )


def test_copies_stand_in_series():
    key = "basic|pad=sym|s=1|8x8x4>8x8x4"
    ops_of = [
        len(
            schema.ModelT.InitFromPackedBuf(
                writer.write_key(key, "float32", copies), 0
            ).subgraphs[0].operators
        )
        for copies in (1, 5)
    ]
    assert ops_of[1] == 5 * ops_of[0]


def test_a_layer_without_direct_form_is_refused():
    graph = ops.Graph((8, 8, 4))
    graph.norm("input", "norm", {"eps": 1e-3, "momentum": 0.9, "affine": True})
    with pytest.raises(writer.UnsupportedNode, match="must follow a conv"):
        writer.write_graphs([graph], "int8", 0)
