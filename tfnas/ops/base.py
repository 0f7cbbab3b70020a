"""What an op is, the table of ops, and the keys of latency tables."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Shape
from tfnas.registry import Registry

ACTIVATIONS = ("linear", "relu", "relu6", "swish", "hard_swish")
PADDINGS = ("sym", "same")
# Inference folds the normalisation into the convolution before it, so these
# change nothing that a table measures.
_NOT_TIMED = ("norm",)
_SIZE = "[1-9][0-9]{0,6}"
_SHAPE = f"{_SIZE}(?:x{_SIZE}x{_SIZE})?"
_KEY = re.compile(
    rf"([a-z_]+)((?:\|[a-z_]+=[^|=]+)*)\|({_SHAPE})>({_SHAPE})"
)
_INT = re.compile("[0-9]{1,9}")


class Op:
    """An operator: its attributes and the graph it stands for.

    Subclasses set the class attributes and write `lower`; nothing else about
    an op is said anywhere else.

    Attributes:
        name: Registered name.
        strides: Strides that a block of this op may have.
        rank: Dimensions of its input: 3 for images, 1 for vectors.
        attrs: Attribute name to its legal values, or to a pattern of legal
            text; those of `norm` are the batch-norm settings of `NORM`.
        defaults: Attributes that may be left out, also in part for `norm`.
    """

    name: str = ""
    strides: tuple[int, ...] = (1, 2)
    rank: int = 3
    attrs: Mapping[str, Any] = {}
    defaults: Mapping[str, Any] = {}

    def attributes(self, block: Block) -> dict[str, Any]:
        """Returns the block's attributes, checked and with defaults.

        Raises:
            ArtifactError: for unknown, missing or illegal attributes.
        """
        unknown = sorted(set(block.attrs) - set(self.attrs))
        if unknown:
            raise ArtifactError(
                f"op `{self.name}` has the attributes {sorted(self.attrs)}. "
                f"Received: {unknown}"
            )
        values = {**self.defaults, **block.attrs}
        for name, legal in self.attrs.items():
            if name == "norm":
                given = block.attrs.get(name, {})
                values[name] = _norm(self.name, self.defaults[name], given)
            elif name not in values or not _is_in(values[name], legal):
                raise ArtifactError(
                    f"op `{self.name}`: attribute `{name}` must be "
                    f"{_legal(legal)}. Received: {values.get(name)!r}"
                )
        return values

    def lower(self, block: Block, in_shape: Shape) -> Graph:
        """Returns the graph of primitive layers that the block stands for.

        Args:
            block: A block of this op.
            in_shape: `(height, width, channels)` of its input.
        """
        raise NotImplementedError(self.name)

    def input_channels(self, block: Block) -> int:
        """Returns the width of the tensor that the block takes."""
        return block.in_channels

    def parts(
        self, block: Block, in_shape: Shape
    ) -> list[tuple[Block, Shape]]:
        """Returns simpler blocks, with their inputs, that cost as much.

        Tables of spaces with too many blocks to measure hold the parts.
        """
        return [(block, in_shape)]

    def from_key(
        self, in_shape: Shape, out_shape: Shape, stride: int,
        attrs: dict[str, Any],
    ) -> Block:
        """Returns the block that a latency-table key stands for."""
        return Block(
            self.name, in_shape[-1], out_shape[-1], stride, attrs=attrs
        )


# Batch normalisation; the momentum is the weight of the old average, as in
# Keras.
NORM = {"eps": 1e-3, "momentum": 0.9, "affine": True}


def _is_in(value: Any, legal: Any) -> bool:
    if isinstance(legal, re.Pattern):
        return isinstance(value, str) and bool(legal.fullmatch(value))
    return type(value) in (int, str) and value in legal


def _legal(legal: Any) -> str:
    if isinstance(legal, re.Pattern):
        return f"text of the form {legal.pattern}"
    return f"one of {[*legal]}"


def _norm(op: str, default: Mapping[str, Any], given: Any) -> dict[str, Any]:
    norm = {**default, **given} if isinstance(given, Mapping) else {}
    ok = set(norm) == set(NORM) and type(norm["affine"]) is bool
    ok = ok and all(type(norm[k]) in (int, float) for k in ("eps", "momentum"))
    if not ok or not (norm["eps"] > 0 and 0 <= norm["momentum"] <= 1):
        raise ArtifactError(
            f"op `{op}`: attribute `norm` must be an object with `eps` (> 0), "
            "`momentum` (0..1) and `affine` (true or false). "
            f"Received: {given!r}"
        )
    return norm


_OPS: Registry[Op] = Registry("op")
names = _OPS.names
get = _OPS.get


def register(op: type[Op]) -> type[Op]:
    """Class decorator that puts an op into the table of ops."""
    _OPS.register(op.name, op())
    return op


def make_divisible(width: float, divisor: int = 8) -> int:
    """Rounds a width to a multiple, never down by more than a tenth.

    Source: Sandler et al. 2018 (MobileNetV2), the released code.

    Args:
        width: Any positive number of channels.
        divisor: What the result is a multiple of.
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def lower(block: Block, in_shape: Shape) -> Graph:
    """Returns the graph of primitive layers of a block.

    Args:
        block: Any registered op's block.
        in_shape: `(height, width, channels)` of its input, or `(width,)`.

    Raises:
        ArtifactError: for an unknown op, an illegal stride, illegal
            attributes, or an input of another width than the block states.
    """
    if block.op not in _OPS:
        raise ArtifactError(
            f"Unknown op. Expected one of: {', '.join(names())}. "
            f"Received: op={block.op!r}"
        )
    op = get(block.op)
    if block.stride not in op.strides:
        raise ArtifactError(
            f"op `{block.op}` has a stride in {op.strides}. "
            f"Received: stride={block.stride!r}"
        )
    width = op.input_channels(block)
    if len(in_shape) != op.rank or in_shape[-1] != width:
        expected = f"(height, width, {width})" if op.rank == 3 else (width,)
        raise ArtifactError(
            f"op `{block.op}` takes {expected}. "
            f"Received: in_shape={tuple(in_shape)}"
        )
    return op.lower(block, tuple(in_shape))


def shapes(arch: Arch) -> list[Shape]:
    """Returns the input shape of every block, then the network's output."""
    result = [arch.input_shape]
    for i, block in enumerate(arch.blocks):
        try:
            result.append(_output_shape(block, result[-1]))
        except ArtifactError as e:
            raise ArtifactError(f"arch {arch.id}, blocks[{i}]: {e}") from e
    return result


# Searches price thousands of networks that are made of the same blocks.
@functools.lru_cache(maxsize=1 << 12)
def _output_shape(block: Block, in_shape: Shape) -> Shape:
    return lower(block, in_shape).output_shape


@functools.lru_cache(maxsize=1 << 12)
def lut_key(block: Block, in_shape: Shape) -> str | None:
    """Returns the latency-table key of a block at an input shape.

    The key is invertible to a block (`parse_lut_key`): op, attributes in
    alphabetical order with the stride as `s`, then the shapes, for example
    `mbconv|act=relu6|e=6|k=5|pad=sym|s=1|28x28x40>28x28x40`.

    Returns:
        The key, or `None` for a block that computes nothing and costs 0.
    """
    graph = lower(block, in_shape)
    if not graph.live:
        return None
    values = {"s": block.stride, **get(block.op).attributes(block)}
    fields = [
        f"{k}={v}" for k, v in sorted(values.items()) if k not in _NOT_TIMED
    ]
    sizes = ">".join(
        "x".join(map(str, shape)) for shape in (in_shape, graph.output_shape)
    )
    return "|".join([block.op, *fields, sizes])


def parts(block: Block, in_shape: Shape) -> list[tuple[Block, Shape]]:
    """Returns the blocks that stand for a block in a latency table.

    Args:
        block: Any registered op's block.
        in_shape: `(height, width, channels)` of its input.

    Returns:
        The parts with their input shapes; most ops are their only part.
    """
    lower(block, in_shape)
    return get(block.op).parts(block, tuple(in_shape))


def parse_lut_key(key: str) -> tuple[Block, Shape]:
    """Returns the block and the input shape that a key stands for.

    Attributes may come in any order, so that keys written by hand work.

    Raises:
        ArtifactError: when the text is no key of a registered op.
    """
    match = _KEY.fullmatch(key)
    if not match or match[1] not in _OPS:
        raise ArtifactError(
            "A latency-table key looks like `op|k=3|s=1|28x28x40>28x28x40`, "
            f"with op one of {', '.join(names())}. Received: {key!r}"
        )
    pairs = [field.split("=") for field in match[2].split("|")[1:]]
    attrs: dict[str, Any] = {
        name: int(value) if _INT.fullmatch(value) else value
        for name, value in pairs
    }
    in_shape, out_shape = (
        tuple(int(n) for n in size.split("x")) for size in match.groups()[2:]
    )
    try:
        block = get(match[1]).from_key(
            in_shape, out_shape, attrs.pop("s", 1), attrs
        )
        expected = lut_key(block, in_shape)
    except ArtifactError as e:
        raise ArtifactError(f"latency-table key {key!r}: {e}") from e
    if expected is None:
        raise ArtifactError(
            f"latency-table key {key!r}: a block that computes nothing has "
            "no row"
        )
    if sorted(expected.split("|")) != sorted(key.split("|")):
        raise ArtifactError(
            f"latency-table key: expected {expected!r}, attributes in any "
            f"order. Received: {key!r}"
        )
    return block, in_shape
