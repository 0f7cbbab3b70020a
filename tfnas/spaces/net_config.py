"""DenseNAS' published text form of a network, read and written.

Rows `[[in, out], head_op, [stack_op, ...], layers, stride]` joined by `|`;
the last row of a MobileNetV2 net is `[[in, last_dim], 'conv1_1']`; a line
`net_type: mbv2` or `net_type: res` may follow (section 9.1 of the release's
conventions). The text is parsed as a literal and never evaluated.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from typing import Any

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.spaces.dense_specs import NORM_MBV2
from tfnas.spaces.dense_specs import NORM_RES

_MBCONV = re.compile(r"mbconv_k([0-9]{1,2})_t([0-9]{1,2})")
_MAX_CHARS = 1 << 16
_RES_OPS = {"basic_block": "basic", "bottle_neck": "bottleneck"}
_OP_NAMES = {
    "basic": "basic_block", "bottleneck": "bottle_neck", "skip": "skip_connect"
}
_STEM_OF_BOTTLENECK = 32
# All that the literal parser raises on text that is no literal.
_NO_LITERAL = (
    ValueError, TypeError, SyntaxError, MemoryError, RecursionError
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: a head op that changes the width, then stack ops.

    Args:
        in_channels: Width before.
        out_channels: Width after.
        head: Published name of the head op.
        stack: Published names of the stack ops.
        stride: Stride of the head op.
    """

    in_channels: int
    out_channels: int
    head: str
    stack: tuple[str, ...] = ()
    stride: int = 1


def _fail(where: str, expected: str, received: Any) -> ArtifactError:
    return ArtifactError(
        f"net_config {where}: expected {expected}. "
        f"Received: {repr(received)[:200]}"
    )


def _literal(text: str, index: int) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except _NO_LITERAL as e:
        raise _fail(f"row {index}", "a Python literal", text.strip()) from e


def _is_op(name: Any) -> bool:
    return isinstance(name, str) and (
        name in (*_RES_OPS, "skip_connect") or bool(_MBCONV.fullmatch(name))
    )


def _row(value: Any, index: int) -> Row:
    where = f"row {index}"
    if not isinstance(value, list) or len(value) not in (2, 5):
        raise _fail(where, "a list of 5 values (or 2, the last)", value)
    widths = value[0]
    ok = isinstance(widths, list) and len(widths) == 2
    if not ok or not all(type(w) is int and 0 < w < 65536 for w in widths):
        raise _fail(where, "[in_channels, out_channels]", widths)
    if len(value) == 2:
        if value[1] != "conv1_1":
            raise _fail(where, "'conv1_1' in the last row", value[1])
        return Row(widths[0], widths[1], head="conv1_1")
    _, head, stack, _, stride = value
    if not isinstance(stack, list):
        raise _fail(where, "a list of stack ops", stack)
    for name in (head, *stack):
        if not _is_op(name):
            raise _fail(where, "the name of an op", name)
    if type(stride) is not int or stride not in (1, 2):
        raise _fail(where, "stride 1 or 2 as the last value", stride)
    return Row(widths[0], widths[1], head, tuple(stack), stride)


def net_type_of(rows: list[Row]) -> str:
    """Returns `"mbv2"` for rows that end with a 1x1 tail, else `"res"`."""
    return "mbv2" if rows[-1].head == "conv1_1" else "res"


def parse(text: str) -> tuple[str, list[Row]]:
    """Reads the text form.

    Args:
        text: A net_config, or the content of a net_config file.

    Returns:
        The net type, `"mbv2"` or `"res"`, and the rows.

    Raises:
        ArtifactError: naming the row and what is wrong with it.
    """
    if len(text) > _MAX_CHARS:
        raise _fail("text", f"at most {_MAX_CHARS} characters", len(text))
    lines = [line.strip() for line in text.strip().splitlines()]
    stated = [x for x in lines if x.startswith("net_type:")]
    body = "".join(x for x in lines if not x.startswith("net_type:"))
    rows = [
        _row(_literal(part, i), i) for i, part in enumerate(body.split("|"))
    ]
    net_type = net_type_of(rows)
    for line in stated:
        if line.partition(":")[2].strip() != net_type:
            raise _fail("text", f"`net_type: {net_type}`", line)
    for i, (before, row) in enumerate(zip(rows, rows[1:], strict=False), 1):
        if before.out_channels != row.in_channels:
            raise _fail(
                f"row {i}", f"in_channels {before.out_channels}",
                row.in_channels,
            )
    if any(row.head == "conv1_1" for row in rows[:-1]):
        raise _fail("text", "'conv1_1' in the last row only", body)
    return net_type, rows


def to_block(
    name: str, in_channels: int, out_channels: int, stride: int = 1,
    stage: int = 0,
) -> Block:
    """Returns the block of an op by its published name."""
    match = _MBCONV.fullmatch(name)
    if match:
        attrs = {
            "k": int(match[1]), "e": int(match[2]), "act": "relu6",
            "pad": "sym", "norm": NORM_MBV2,
        }
        return Block(
            "mbconv", in_channels, out_channels, stride, stage, attrs
        )
    if name == "skip_connect":
        return Block("skip", in_channels, out_channels, stride, stage)
    attrs = {"pad": "sym", "norm": NORM_RES}
    if name == "bottle_neck":
        attrs["wide_input"] = int(in_channels != _STEM_OF_BOTTLENECK)
    return Block(
        _RES_OPS[name], in_channels, out_channels, stride, stage, attrs
    )


def op_name(block: Block) -> str:
    """Returns the published name of a block's op."""
    if block.op == "mbconv":
        attrs = ops.get("mbconv").attributes(block)
        return f"mbconv_k{attrs['k']}_t{attrs['e']}"
    if block.op not in _OP_NAMES:
        raise _fail("writer", f"one of {['mbconv', *_OP_NAMES]}", block.op)
    return _OP_NAMES[block.op]


def stem_block(
    net_type: str, image_channels: int, width: int, stride: int
) -> Block:
    """Returns the 3x3 stem convolution of a derived network."""
    norm = NORM_MBV2 if net_type == "mbv2" else NORM_RES
    attrs = {"k": 3, "act": "relu6", "pad": "sym", "norm": norm}
    return Block("conv", image_channels, width, stride, 0, attrs)


def tail_block(width: int, last_dim: int, stage: int = 0) -> Block:
    """Returns the 1x1 convolution that ends a MobileNetV2 net."""
    attrs = {"k": 1, "act": "relu6", "pad": "sym", "norm": NORM_MBV2}
    return Block("conv", width, last_dim, 1, stage, attrs)


def to_arch(
    net_type: str, rows: list[Row], input_shape: tuple[int, ...],
    classes: int, stem_stride: int,
) -> Arch:
    """Returns the network of the rows (section 9.2).

    Args:
        net_type: `"mbv2"` or `"res"`.
        rows: The rows in order.
        input_shape: `(height, width, channels)`.
        classes: Width of the logits.
        stem_stride: Stride of the stem convolution.

    Returns:
        An `Arch` outside any space. Its ops are not looked at: see `check`.
    """
    blocks = [
        stem_block(
            net_type, input_shape[-1], rows[0].in_channels, stem_stride
        )
    ]
    for stage, row in enumerate(rows, 1):
        if row.head == "conv1_1":
            blocks.append(
                tail_block(row.in_channels, row.out_channels, stage)
            )
            continue
        blocks.append(
            to_block(
                row.head, row.in_channels, row.out_channels, row.stride, stage
            )
        )
        for name in row.stack:
            blocks.append(
                to_block(name, row.out_channels, row.out_channels, 1, stage)
            )
    wide = rows[-1].head == "bottle_neck" or "bottle_neck" in rows[-1].stack
    width = rows[-1].out_channels * (4 if wide else 1)
    blocks.append(Block("classifier", width, classes, 1, len(rows) + 1))
    return Arch(tuple(blocks), tuple(input_shape), classes)


def check(arch: Arch) -> None:
    """Checks that the ops of a network that `to_arch` made fit together.

    Raises:
        ArtifactError: naming the row whose op is unknown or does not fit.
    """
    shape = arch.input_shape
    for block in arch.blocks:
        try:
            shape = ops.lower(block, shape).output_shape
        except ArtifactError as e:
            row = block.stage - 1  # `to_arch` numbers the rows from stage 1
            raise ArtifactError(f"net_config row {row}: {e}") from e


def to_rows(arch: Arch) -> list[Row]:
    """Returns the rows of a network, such that `to_arch` gives it back.

    Raises:
        ArtifactError: when the text form cannot express the network.
    """
    groups: dict[int, list[Block]] = {}
    for block in arch.blocks[1:-1]:
        groups.setdefault(block.stage, []).append(block)
    rows = []
    for head, *stack in groups.values():
        name = "conv1_1" if head.op == "conv" else op_name(head)
        rows.append(
            Row(
                head.in_channels, head.out_channels, name,
                tuple(op_name(b) for b in stack), head.stride,
            )
        )
    if not rows or arch.id != _rebuilt(arch, rows).id:
        raise ArtifactError(
            "A net_config states op names, widths and strides: everything "
            "else must be as published. "
            f"Received: arch={arch.id}, space={arch.space!r}"
        )
    return rows


def _rebuilt(arch: Arch, rows: list[Row]) -> Arch:
    return to_arch(
        net_type_of(rows), rows, arch.input_shape, arch.classes,
        arch.blocks[0].stride,
    )


def write(rows: list[Row]) -> str:
    """Returns the text form of the rows."""
    parts: list[list[Any]] = []
    for row in rows:
        widths = [row.in_channels, row.out_channels]
        if row.head == "conv1_1":
            parts.append([widths, row.head])
        else:
            stack = list(row.stack)
            parts.append([widths, row.head, stack, len(stack), row.stride])
    return "|".join(map(repr, parts))
