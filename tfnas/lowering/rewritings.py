"""Which operators are written another way, for which types, and why.

A delegate has kernels for some forms of an operator only. What it lacks runs
many times slower, and splits the file into pieces. Each rewriting says the
same in operators that the delegate has.
"""

from __future__ import annotations

import dataclasses

from tfnas.errors import ConfigError

BACKENDS = ("xnnpack", "none")
MAX_TAPS = 25  # of a window that XNNPACK has fast depthwise kernels for
# How a file computes: as `tfnas.export.to_tflite` calls it, but for float32.
_FLOATS = ("float32", "float16")
_INTEGERS = ("int8",)
_BOTH = (*_FLOATS, *_INTEGERS)
_ALL = (*_BOTH, "dynamic")  # what holds no weights is the same in `dynamic`


@dataclasses.dataclass(frozen=True)
class Rewriting:
    """One operator, and what says the same.

    Args:
        pattern: What a model has.
        writing: What the file has instead.
        types: The types of files that it makes faster.
        gain_float32: Time of the pattern by time of the writing, measured
            on one operator of a usual size; `None` where not applied.
        gain_int8: The same in int8.
        size: Of the map that the gains were measured on.
    """

    pattern: str
    writing: str
    types: tuple[str, ...]
    gain_float32: float | None = None
    gain_int8: float | None = None
    size: str = "28x28x96"


# The gains are of LiteRT 2.3.0 with XNNPACK on an x86-64 with AVX-512
# and AMX, measured by `benchmarks/lowering.py`.
XNNPACK: dict[str, Rewriting] = {
    "depthwise_rows": Rewriting(
        "depthwise convolution of more than 25 taps",
        "depthwise convolutions over some rows of the kernel each, summed",
        _ALL, 7.2, 36.0,
    ),
    "hard_swish": Rewriting(
        "hard swish",
        "relu6(x + 3) * x, then times 1/6",
        (*_INTEGERS, "int16x8"), None, 40.0,
    ),
    "lone_relu": Rewriting(
        "ReLU or ReLU6 that nothing before takes in",
        "1x1 max pool with the activation",
        _INTEGERS, None, 289.0,
    ),
    "average_pool": Rewriting(
        "average pool of at most 25 taps",
        "depthwise convolution with equal weights; where it pads, times a "
        "constant map that makes up for it",
        _INTEGERS, None, 4.7,
    ),
    "halving_pool": Rewriting(
        "average pool of 2x2 and stride 2 on even sides",
        "bilinear resize between the centres",
        _INTEGERS, None, 8.4,
    ),
    "grouped": Rewriting(
        "convolution of as many groups as channels (7x7)",
        "depthwise convolution, over its rows where it has many taps",
        _ALL, 7.2, 33.0,
    ),
    "pixel_pool": Rewriting(
        "average pool of 1x1",
        "1x1 depthwise convolution with weights of 1",
        _ALL, 5.1, 8.8,
    ),
    "depthwise_map": Rewriting(
        "depthwise convolution of more than 25 taps over its whole map",
        "product with the kernel, then mean",
        _ALL, 14.0, 146.0, "7x7x960",
    ),
    "depth_multiplier": Rewriting(
        "depthwise convolution with a depth multiplier, before a convolution",
        "concatenation of the input with itself, plain depthwise "
        "convolution; the other convolution takes the channels in that order",
        _BOTH, 2.3, 22.0,
    ),
    "layer_norm": Rewriting(
        "squared difference, as in a layer normalisation",
        "product of the difference with itself",
        _INTEGERS, None, 5.6,
    ),
    "prelu": Rewriting(
        "PReLU with slopes of at most 1",
        "slope * x + relu((1 - slope) * x)",
        _INTEGERS, None, 14.0,
    ),
    "abs": Rewriting(
        "absolute value",
        "leaky ReLU of slope -1",
        _INTEGERS, None, 64.0,
    ),
    "strided_slice": Rewriting(
        "slice of every n-th row and column",
        "1x1 depthwise convolution of stride n with weights of 1",
        _ALL, 28.0, 12.0,
    ),
    "patches": Rewriting(
        "slices of every n-th row and column, concatenated",
        "space to depth",
        _ALL, 36.0, 93.0,
    ),
    "reflect_pad": Rewriting(
        "mirrored border",
        "slices of a row or a column each, concatenated",
        _ALL, 39.0, 151.0,
    ),
    "large_max_pool": Rewriting(
        "max pool of more than 25 taps",
        "max pools of one column and of one row",
        _ALL, 4.8, 4.4,
    ),
    "transposed": Rewriting(
        "transposed convolution of 2x2 and stride 2",
        "1x1 convolution, then depth to space",
        _ALL, 2.1, 8.8,
    ),
}


def check_backend(backend: str) -> str:
    """Returns the name of a backend.

    Raises:
        ConfigError: when there is no such backend.
    """
    if backend not in BACKENDS:
        raise ConfigError(
            f"Expected lowering {' or '.join(BACKENDS)}. "
            f"Received: {backend!r}"
        )
    return backend


def applies(name: str, dtype: str, backend: str) -> bool:
    """Says whether files of a type are written so for a backend.

    Args:
        name: A rewriting, one of `XNNPACK`.
        dtype: How the file computes: `"float32"`, `"float16"`, `"dynamic"`,
            `"int8"` or `"int16x8"`.
        backend: One of `BACKENDS`.
    """
    return check_backend(backend) != "none" and dtype in XNNPACK[name].types


def row_parts(height: int, width: int) -> list[tuple[int, int]]:
    """Splits the rows of a kernel so that each part is a fast window.

    Args:
        height: Rows of the kernel.
        width: Columns; at most `MAX_TAPS`.

    Returns:
        First row and number of rows of each part.
    """
    most = max(1, MAX_TAPS // width)
    return [
        (first, min(most, height - first)) for first in range(0, height, most)
    ]
