"""Operators: build, parameters, multiply-adds and LUT key, declared together.

An op says once, as a small graph of primitive layers, what it computes
(`lower`); counts, the Keras layers, the latency-table key and the direct
`.tflite` writer are all derived from that graph.

Example:
    >>> block = tfnas.spaces.get("nasbench_macro").sample(seed=0).blocks[0]
    >>> tfnas.ops.lower(block, (32, 32, 3)).output_shape
    (32, 32, 32)
"""

from tfnas.ops import cell as _cell  # noqa: F401  (registers ops)
from tfnas.ops import conv as _conv  # noqa: F401
from tfnas.ops import dag as _dag  # noqa: F401
from tfnas.ops import mobile as _mobile  # noqa: F401
from tfnas.ops import nasbench201 as _nasbench201  # noqa: F401
from tfnas.ops import recurrent as _recurrent  # noqa: F401
from tfnas.ops import residual as _residual  # noqa: F401
from tfnas.ops.base import Op
from tfnas.ops.base import get
from tfnas.ops.base import lower
from tfnas.ops.base import lut_key
from tfnas.ops.base import names
from tfnas.ops.base import parse_lut_key
from tfnas.ops.base import parts
from tfnas.ops.base import shapes
from tfnas.ops.graph import Graph
from tfnas.ops.graph import Node
from tfnas.ops.layers import build

__all__ = [
    "Graph",
    "Node",
    "Op",
    "build",
    "get",
    "lower",
    "lut_key",
    "names",
    "parse_lut_key",
    "parts",
    "shapes",
]
