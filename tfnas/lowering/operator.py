"""One operator of a runtime as a value, and its key in latency tables.

The key says all that a latency depends on, in one line that can be read back:
the operator's name in TFLite, its attributes in alphabetical order, then what
it takes and gives. Tensors are computed (`1x32x32x16`), weights of any value
(`(16x3x3x16)`), or numbers that matter (`[4x2:0 0 1 1 1 1 0 0]`); `-` is an
input that is left out. A type other than the file's own stands before:
`int32:(16)`. For example

    CONV_2D|act=relu|pad=same|stride=1x1|1x32x32x16;(16x3x3x16);int32:(16)>
    1x32x32x16

on one line.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Mapping
from collections.abc import Sequence

from tfnas.errors import ArtifactError

TYPES = (
    "float32", "float16", "float64", "int8", "uint8", "int16", "int32",
    "int64", "bool",
)
_MAX_NUMBERS = 256  # of a constant whose values are told

_SIZES = r"(?:scalar|\d{1,9}(?:x\d{1,9}){0,7})"
_OPERAND = re.compile(
    rf"(?:({'|'.join(TYPES)}):)?"
    rf"(?:({_SIZES})|\(({_SIZES})\)|\[({_SIZES}):((?:-?\d+(?: |(?=\])))*)\])"
)
_KEY = re.compile(
    r"([A-Z][A-Z0-9_]*)((?:\|[A-Za-z_]+=[^|=;>]*)*)\|([^|=>]*)>([^|=>]+)"
)
_ABSENT = "-"


@dataclasses.dataclass(frozen=True)
class Operand:
    """A tensor that an operator takes or gives.

    Args:
        shape: With the batch; `()` for a single number.
        dtype: Its type, where that is not the file's own.
        constant: Whether the file holds its values.
        numbers: Those values, in order, where they say what is computed.
    """

    shape: tuple[int, ...]
    dtype: str = ""
    constant: bool = False
    numbers: tuple[int, ...] | None = None

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.shape)) or "scalar"
        if self.numbers is not None:
            sizes = f"[{sizes}:{' '.join(map(str, self.numbers))}]"
        elif self.constant:
            sizes = f"({sizes})"
        return f"{self.dtype}:{sizes}" if self.dtype else sizes


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator.

    Args:
        code: Its name in TFLite, such as `CONV_2D`.
        attrs: Pairs of name and value as text, in alphabetical order.
        inputs: What it takes; `None` where an input is left out.
        outputs: What it gives.
    """

    code: str
    attrs: tuple[tuple[str, str], ...]
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand, ...]

    @property
    def key(self) -> str:
        """The operator in one line; `parse` reads it back."""
        fields = [f"{name}={value}" for name, value in self.attrs]
        inputs, outputs = (
            ";".join(_ABSENT if x is None else str(x) for x in operands)
            for operands in (self.inputs, self.outputs)
        )
        return "|".join([self.code, *fields, f"{inputs}>{outputs}"])

    @property
    def grouped(self) -> bool:
        """Whether it is a convolution in groups."""
        if self.code != "CONV_2D" or self.inputs[0] is None:
            return False
        return _weights_of(self.inputs).shape[3] != self.inputs[0].shape[3]

    @property
    def repeats(self) -> bool:
        """Whether it can take what it gives."""
        return bool(self.computed) and self.computed[0] == self.outputs[0]

    @property
    def computed(self) -> tuple[Operand, ...]:
        """The inputs that are no constants."""
        return tuple(x for x in self.inputs if x and not x.constant)


def value(shape: tuple[int, ...], dtype: str = "") -> Operand:
    """Returns a tensor that is computed."""
    return Operand(tuple(shape), dtype)


def weights(shape: tuple[int, ...], dtype: str = "") -> Operand:
    """Returns a constant whose values change no latency."""
    return Operand(tuple(shape), dtype, True)


def numbers(
    shape: tuple[int, ...], values: tuple[int, ...], dtype: str = ""
) -> Operand:
    """Returns a constant whose values say what is computed.

    Long ones, such as the indices of a table, are told by their shape.
    """
    if len(values) > _MAX_NUMBERS:
        return weights(shape, dtype)
    return Operand(tuple(shape), dtype, True, tuple(int(v) for v in values))


def make(
    code: str, attrs: Mapping[str, object],
    inputs: Sequence[Operand | None], outputs: Sequence[Operand],
) -> Operator:
    """Returns an operator without attributes that change nothing."""
    told = {name: str(value) for name, value in attrs.items()}
    window = told.get("window")
    if code in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        window = "x".join(map(str, _weights_of(inputs).shape[1:3]))
    if window == "1x1":
        told.pop("padding", None)
    return Operator(
        code, tuple(sorted(told.items())), tuple(inputs), tuple(outputs)
    )


def _weights_of(inputs: Sequence[Operand | None]) -> Operand:
    found = inputs[1]
    if found is None or len(found.shape) != 4:
        raise ValueError(f"Expected a kernel. Received: {found}")
    return found


@dataclasses.dataclass(frozen=True)
class Call:
    """An operator in a network.

    Args:
        operator: What is computed.
        inputs: Numbers of the tensors it takes.
        outputs: Numbers of the tensors it gives.
    """

    operator: Operator
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def fold_pads(calls: Sequence[Call], read: Sequence[int]) -> list[Operator]:
    """Makes one operator of a pad and the convolution that alone takes it.

    XNNPACK does so, and the pad is free: 11.3 us alone in int8, 12.6 us the
    convolution, 12.7 us both (LiteRT 2.3.0, x86-64, 32x32x16).

    Args:
        calls: In the order they run.
        read: The tensors that are read at the end.

    Returns:
        The operators; one that pads has the attribute `pads`: rows above and
        below, columns left and right.
    """
    uses = collections.Counter(x for call in calls for x in call.inputs)
    uses.update(read)
    takers = {call.inputs[0]: call for call in calls if call.inputs}
    pads: dict[int, Operator] = {}
    found: list[Operator] = []
    for call in calls:
        made = call.operator
        (given, *_) = call.outputs
        if made.code == "PAD" and uses[given] == 1 and given in takers:
            if _takes_pad(takers[given].operator) and _pads_a_map(made):
                pads[given] = made
                continue
        if call.inputs and call.inputs[0] in pads:
            pad = pads[call.inputs[0]]
            attrs = {**dict(made.attrs), "pads": _amounts(pad)}
            inputs = (pad.inputs[0], *made.inputs[1:])
            made = make(made.code, attrs, inputs, made.outputs)
        found.append(made)
    return found


def _takes_pad(op: Operator) -> bool:
    return (
        op.code in ("CONV_2D", "DEPTHWISE_CONV_2D")
        and dict(op.attrs).get("padding", "valid") == "valid"
    )


def _pads_a_map(pad: Operator) -> bool:
    told = pad.inputs[1].numbers if pad.inputs[1] else None
    return told is not None and len(told) == 8 and not any(
        (*told[:2], *told[6:])
    )


def _amounts(pad: Operator) -> str:
    assert pad.inputs[1] is not None and pad.inputs[1].numbers is not None
    return ".".join(map(str, pad.inputs[1].numbers[2:6]))


def is_operator_key(text: str) -> bool:
    """Says whether a key is one of an operator, not of a block.

    The keys of blocks (`tfnas.ops.lut_key`) begin in lower case.
    """
    return text[:1].isupper()


def parse(key: str) -> Operator:
    """Returns the operator that a key stands for.

    Raises:
        ArtifactError: when the text is no key of an operator.
    """
    match = _KEY.fullmatch(key)
    if not match:
        raise _no_key(key)
    code, fields, taken, given = match.groups()
    attrs = tuple(
        (name, text)
        for name, _, text in (f.partition("=") for f in fields.split("|")[1:])
    )
    inputs = tuple(
        None if text == _ABSENT else _operand(text, key)
        for text in taken.split(";") if text
    )
    outputs = tuple(_operand(text, key) for text in given.split(";"))
    found = Operator(code, tuple(sorted(attrs)), inputs, outputs)
    if len(dict(attrs)) < len(attrs):
        raise _no_key(key)
    return found


def _operand(text: str, key: str) -> Operand:
    match = _OPERAND.fullmatch(text)
    if not match:
        raise _no_key(key)
    dtype, computed, held, told, values = match.groups()
    sizes = computed or held or told
    shape = () if sizes == "scalar" else tuple(map(int, sizes.split("x")))
    if told is None:
        return Operand(shape, dtype or "", held is not None)
    read = tuple(map(int, values.split()))
    if len(read) != math.prod(shape):
        raise _no_key(key)
    return Operand(shape, dtype or "", True, read)


def _no_key(key: str) -> ArtifactError:
    return ArtifactError(
        "The key of an operator looks like "
        "`RELU6|1x28x28x40>1x28x28x40`: name, attributes, inputs > outputs. "
        f"Received: {key[:200]!r}"
    )
