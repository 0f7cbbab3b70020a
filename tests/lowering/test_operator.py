"""The key of an operator says all of it and can be read back."""

import pytest

from tests.tflite_bench.test_writer import KEYS
from tflite_bench import operators
from tflite_bench import writer
from tfnas import ops
from tfnas import spaces
from tfnas.errors import ArtifactError
from tfnas.lowering import networks
from tfnas.lowering import operator
from tfnas.lowering.rewritings import BACKENDS


def _keys(key, dtype, lower):
    return networks.block_operator_keys(*ops.parse_lut_key(key), dtype, lower)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("lower", BACKENDS)
def test_a_file_holds_the_operators_that_were_foretold(dtype, lower):
    for key in KEYS:
        content = writer.write_key(key, dtype, lower=lower)
        found = [op.key for op in operators.read(content, dtype)]
        assert found == _keys(key, dtype, lower), key


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("lower", BACKENDS)
def test_an_operator_is_read_back_and_written_alone(dtype, lower):
    keys = {k for key in KEYS for k in _keys(key, dtype, lower)}
    assert len(keys) > 100
    for key in keys:
        assert operator.parse(key).key == key
        assert operator.is_operator_key(key)
        content = writer.write_key(key, dtype)
        assert [op.key for op in operators.read(content, dtype)] == [key]


def test_copies_of_an_operator_stand_in_series():
    key = "ADD|1x4x4x8;1x4x4x8>1x4x4x8"
    assert operator.parse(key).repeats
    content = writer.write_key(key, "int8", 3)
    assert [op.key for op in operators.read(content, "int8")] == [key] * 3


def test_keys_of_blocks_are_no_keys_of_operators():
    assert not any(map(operator.is_operator_key, KEYS))


@pytest.mark.parametrize("space", ["densenas_mbv2@32", "densenas_resnet@32"])
def test_a_network_is_the_sum_of_its_blocks(space):
    arch = spaces.get(space).sample(3)
    blocks = zip(arch.blocks, ops.shapes(arch), strict=False)
    alone = [
        key
        for block, shape in blocks if ops.lut_key(block, shape)
        for key in networks.block_operator_keys(block, shape, "int8")
    ]
    assert networks.operator_keys(arch, "int8") == alone


def test_the_cells_of_a_benchmark_share_few_operators():
    space = spaces.get("nasbench201")
    keys = networks.space_operator_keys(space, "int8")
    assert len(keys) < 50
    for seed in range(40):
        assert set(networks.operator_keys(space.sample(seed), "int8")) <= set(
            keys
        )


@pytest.mark.slow
def test_no_cell_of_the_benchmark_has_another_operator():
    space = spaces.get("nasbench201")
    keys = set(networks.space_operator_keys(space, "int8"))
    for number in range(5**6):
        codes = [number // 5**i % 5 for i in range(6)]
        found = networks.operator_keys(space.from_codes(codes), "int8")
        assert set(found) <= keys, codes


@pytest.mark.parametrize(
    "text",
    [
        "", "RELU", "RELU|1x2", "RELU|1x2>", "relu|1x2>1x2",
        "RELU|1x2>1x2>1x2", "RELU|a|1x2>1x2", "RELU|a=1|a=2|1x2>1x2",
        "RELU|1x2;[2:1]>1x2", "RELU|1xx2>1x2", "RELU|int7:1x2>1x2",
        "RELU|(1x2>1x2", "RELU|-1x2>1x2"
    ],
)
def test_other_text_is_no_key(text):
    with pytest.raises(ArtifactError, match="looks like"):
        operator.parse(text)
