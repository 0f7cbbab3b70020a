"""What the writer writes is what the converter makes of the Keras layers."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from tests.tflite_bench import graphs
from tflite_bench import convert
from tflite_bench import writer
from tflite_bench.convert import convert_model
from tfnas import ops
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.arch import Block

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
    "mbconv_se|act=relu|e=3|k=3|pad=sym|s=2|8x8x8>4x4x16",
    "mbconv_se|act=hard_swish|e=6|k=5|pad=same|s=1|8x8x8>8x8x8",
    "mbconv_se_narrow|act=relu|e=3|k=3|pad=sym|s=2|8x8x8>4x4x16",
    "mbconv_se|act=hard_swish|e=1|k=7|pad=sym|s=1|8x8x8>8x8x16",
    "basic|pad=sym|s=2|8x8x4>4x4x6",
    "basic|pad=sym|s=1|8x8x4>8x8x4",
    "bottleneck|pad=sym|s=2|wide_input=1|8x8x16>4x4x24",
    "bottleneck|pad=sym|s=1|wide_input=0|8x8x24>8x8x24",
    "nasbench_cell|cell=3.2.4.1.3.2|s=1|8x8x8>8x8x8",
    "nasbench_cell|cell=1.1.1.1.1.1|s=1|8x8x8>8x8x8",
    "nasbench_cell|cell=4.4.4.4.4.4|s=1|8x8x8>8x8x8",
    "nasbench_cell|cell=0.0.0.0.0.0|s=1|8x8x8>8x8x8",
    "nasbench_cell|cell=1.4.1.1.4.1|s=1|8x8x8>8x8x8",  # x + pool, pool + x
    "nasbench_cell|cell=3.4.0.2.0.4|s=1|8x8x8>8x8x8",  # an edge to nowhere
    "nasbench_cell|cell=0.0.1.4.2.3|s=1|8x8x8>8x8x8",  # edges from nowhere
    "nasbench_cell|cell=4.3.3.1.3.0|s=1|8x8x8>8x8x8",  # a pool, then ReLU
    "nasbench_down|pad=sym|s=2|8x8x4>4x4x6",
    "nasbench_down|pad=same|s=2|8x8x4>4x4x6",
    "norm_act|act=relu|s=1|8x8x4>8x8x4",
    "norm_act|act=linear|s=1|8x8x4>8x8x4",
    "concat|copies=2|s=1|8x8x4>8x8x8",
    "shrink_cell|act=relu|b=1|f=4|graph=sep.sep.conv.sep:0-1.0-2.0-3.1-2|"
    "inner=relu|pad=same|residual=1|s=2|8x8x6>4x4x8",
    "shrink_cell|act=relu|b=1|f=4|graph=sep.sep.conv.sep:0-1.0-2.0-3.1-2.1-3"
    ".2-3|inner=relu|pad=same|residual=1|s=2|8x8x6>4x4x4",
    "shrink_cell|act=swish|b=1|f=4|graph=sep.sep.conv.sep:0-1.0-2.0-3.1-2|"
    "inner=relu|pad=same|residual=1|s=1|8x8x8>8x8x8",
    "shrink_cell|act=relu|b=2|f=8|graph=sep.conv:0-1|"
    "inner=swish|pad=same|residual=1|s=1|8x8x6>8x8x4",
    "shrink_cell|act=linear|b=1|f=4|graph=sep.sep:0-1|"
    "inner=relu|pad=same|residual=0|s=1|8x8x6>8x8x4",
    "shrink_cell|act=relu|b=1|f=1|graph=conv:|"
    "inner=relu|pad=same|residual=0|s=2|8x8x6>4x4x6",
    "shrink_cell|act=relu|b=1|f=1|graph=conv:|"
    "inner=relu|pad=same|residual=1|s=1|8x8x6>8x8x6",
    "pooled_conv|act=hard_swish|s=1|4x4x8>1x1x16",
    "pooled_conv|act=linear|s=1|4x4x8>1x1x16",
    "cell|act=relu6|cell=2.0.0.5.1.5.1.1.5|e=6"
    "|large_kernel=dense|merge=channel_gate|pad=sym|s=1|8x8x4>8x8x4",
    "cell|act=relu6|cell=0.1.1.2.2.5.1.2.3|e=1"
    "|large_kernel=dense|merge=channel_gate|pad=sym|s=2|8x8x4>4x4x6",
    "cell|act=relu6|cell=1.1.1.3.5.5.1.3.5|e=3"
    "|large_kernel=dense|merge=hadamard|pad=sym|s=1|8x8x4>8x8x6",
    "cell|act=relu6|cell=2.0.0.7.5.2.1.2.5|e=6"
    "|large_kernel=dense|merge=channel_gate|pad=sym|s=2|8x8x4>4x4x6",
    "cell|act=relu6|cell=2.0.0.9.1.2.1.1.2|e=6"
    "|large_kernel=dilated|merge=channel_gate|pad=sym|s=1|8x8x4>8x8x4",
    "cell|act=relu6|cell=2.1.0.7.5.2.1.2.2|e=6"
    "|large_kernel=dilated|merge=channel_gate|pad=sym|s=2|8x8x4>4x4x6",
    "cell|act=relu6|cell=2.0.0.9.1.2.1.1.2|e=6"
    "|large_kernel=dilated|merge=channel_gate|pad=sym|s=2|8x8x4>4x4x6",
    "classifier|s=1|4x4x8>10",
    "classifier|s=1|1x1x8>10",
    "rnn_cell|graph=tanh:|s=1|6>8",
    "rnn_edge|act=identity|s=1|8>8",
    "rnn_edge|act=relu|s=1|8>8",
    "rnn_edge|act=sigmoid|s=1|8>8",
    "rnn_edge|act=tanh|s=1|8>8",
    "decoder|s=1|8>20",
)
# Left to the converter.
INDIRECT = (
    "embedding|s=1|words=20|35>8",
    "rnn_cell|graph=tanh.tanh.relu:0-1.0-2|s=1|8>8",
)


def signature(content):
    """The operators of a file, numbered backwards from the output.

    Names and the numbers of constants are left out, and so is the padding
    of 1x1 windows, which pads nothing either way.
    """
    rows, numbers = [], {}
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    producers = {
        output: operator
        for operator in graph.operators
        for output in operator.outputs
    }

    def tensor(index):
        if index < 0:
            return "absent"
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
        if id(it) in numbers:
            return numbers[id(it)]
        code = model.operatorCodes[it.opcodeIndex]
        name = OP_NAMES[code.builtinCode]
        options = dict(vars(it.builtinOptions)) if it.builtinOptions else {}
        if name == "CONV_2D":
            kernel = graph.tensors[it.inputs[1]].shape
            if kernel[1] == kernel[2] == 1:
                options["padding"] = None
        inputs = tuple(tensor(i) for i in it.inputs)
        rows.append((name, code.version, sorted(options.items()), inputs))
        return numbers.setdefault(id(it), len(numbers))

    outputs = [tensor(i) for i in graph.outputs]
    return rows, outputs


def keras_model(key):
    block, shape = ops.parse_lut_key(key)
    return convert.keras_model([block], shape)


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
    keys = KEYS + INDIRECT
    assert {key.split("|")[0] for key in keys} == set(ops.names()) - {"skip"}


def _first_of_each_op():
    """A key of each op in both types; the other forms are slow tests."""
    quick = {key.split("|")[0]: key for key in reversed(KEYS)}.values()
    return [
        pytest.param(key, marks=() if key in quick else pytest.mark.slow)
        for key in KEYS
    ]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("key", _first_of_each_op())
def test_the_graph_of_an_op_is_the_converters(key, dtype):
    converted = convert_model(keras_model(key), dtype)
    written = writer.write_key(key, dtype, lower="none")
    assert signature(written) == signature(converted)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("make", graphs.ALL)
def test_the_graph_of_other_layers_is_the_converters(make, dtype):
    graph, model = make(keras)
    written = writer.write_graphs([graph], dtype, 0, "none")
    assert signature(written) == signature(convert_model(model, dtype))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize(
    "arch",
    [
        spaces.get("densenas_resnet@32").sample(0),
        spaces.get("mobilenetv3@32").decode("1,1,0,0," * 2 + "1,1,0,0"),
    ],
    ids=lambda arch: arch.space,
)
def test_the_graph_of_a_network_is_the_converters(arch, dtype):
    x = image = keras.Input(batch_shape=(1, *arch.input_shape))
    for i, block in enumerate(arch.blocks):
        x = ops.build(block, x.shape[1:], keras, f"b{i}")(x)
    converted = convert_model(keras.Model(image, x), dtype)
    written = writer.write_arch(arch, dtype, "none")
    assert signature(written) == signature(converted)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("cell", ["3.2.4.1.3.2", "1.0.3.0.0.1", "0.0.0.4.0.0"])
def test_the_graph_of_cells_in_series_is_the_converters(cell, dtype):
    attrs = {"cell": cell}
    blocks = (
        Block("conv", 3, 4, attrs={"k": 3, "act": "linear"}),
        Block("nasbench_cell", 4, 4, attrs=attrs),
        Block("nasbench_down", 4, 8, 2),
        Block("nasbench_cell", 8, 8, attrs=attrs),
        Block("norm_act", 8, 8),
        Block("classifier", 8, 10),
    )
    arch = Arch(blocks, (8, 8, 3), 10)
    x = image = keras.Input(batch_shape=(1, *arch.input_shape))
    for i, block in enumerate(arch.blocks):
        x = ops.build(block, x.shape[1:], keras, f"b{i}")(x)
    converted = convert_model(keras.Model(image, x), dtype)
    written = writer.write_arch(arch, dtype, "none")
    assert signature(written) == signature(converted)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize(
    "space", ["densenas_mbv2@32", "densenas_resnet@32", "mobilenetv3@32"]
)
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


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("key", INDIRECT)
def test_what_is_refused_goes_through_the_converter(key, dtype):
    with pytest.raises(writer.UnsupportedNode, match="average|embed"):
        writer.write_key(key, dtype)
    content = convert_model(keras_model(key), dtype)
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    for source in interpreter.get_input_details():
        zeros = np.zeros(source["shape"], source["dtype"])
        interpreter.set_tensor(source["index"], zeros)
    interpreter.invoke()
