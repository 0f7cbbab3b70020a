"""What is known of delegates that are not on this machine.

Each says only what its source does; the rest is unknown, and the device
itself has the last word (`android-bench --delegate=gpu`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tflite_bench.cutting import Cut


@dataclasses.dataclass(frozen=True)
class Backend:
    """What is known of a delegate.

    Args:
        source: Where from, with its version.
        takes: Operators that it takes.
        kinds: What these compute with, where it takes them; nothing where
            that is not known to matter.
        lists_all: Whether the source lists all that it takes.
        refuses_kinds: Whether the source says that it takes no others.
        remark: What else the source says.
    """

    source: str
    takes: frozenset[str] = frozenset()
    kinds: tuple[str, ...] = ()
    lists_all: bool = False
    refuses_kinds: bool = False
    remark: str | None = None


_GPU = """
    ABS ADD ADD_N ATAN2 AVERAGE_POOL_2D BATCH_MATMUL CAST CEIL CONCATENATION
    CONV_2D COS CUMSUM DENSIFY DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV
    DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP FLOOR FLOOR_DIV
    FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER GREATER_EQUAL HARD_SWISH
    LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGISTIC LSTM MAXIMUM
    MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD
    PADV2 POW PRELU QUANTIZE REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6
    RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SELECT
    SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE
    SQUARED_DIFFERENCE STABLEHLO_CLAMP STRIDED_SLICE SUB SUM TANH TILE
    TRANSPOSE TRANSPOSE_CONV
"""
_CORE_ML = """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D
    FULLY_CONNECTED HARD_SWISH LOGISTIC MAX_POOL_2D MIRROR_PAD MUL PAD PADV2
    RELU RELU6 RELU_N1_TO_1 RESIZE_BILINEAR SOFTMAX TANH TRANSPOSE_CONV
"""
_BACKENDS = {
    "gpu": Backend(
        "tensorflow/lite/tools/versioning/gpu_compatibility.cc at commit "
        "03a5e4e, and gpu_advanced.md at 021bfd4",
        frozenset(_GPU.split()),
        ("float32", "float16", "int8", "uint8", "float32 with int8 weights"),
        lists_all=True,
        remark="it computes in float: 8-bit files run there only where the "
        "program allows quantized models",
    ),
    "coreml": Backend(
        "tensorflow/lite/delegates/coreml/README.md at commit 323e5b4, and "
        "the Core ML page of LiteRT's documentation",
        frozenset(_CORE_ML.split()), ("float32", "float16"),
        refuses_kinds=True,
    ),
    "nnapi": Backend(
        "tensorflow/lite/g3doc/android/delegates/nnapi.md at commit a91e4cb",
        remark="deprecated and no longer supported; what it takes is up to "
        "the driver of each phone",
    ),
}
NAMES = tuple(_BACKENDS)
_REFLECT = schema.MirrorPadMode.REFLECT


def source(backend: str) -> str:
    """Returns where it is known from what a backend takes."""
    return f"a table of facts, not by asking it ({_BACKENDS[backend].source})"


def remark(backend: str) -> str | None:
    """Returns what else is known of a backend."""
    return _BACKENDS[backend].remark


def fact(cut: Cut) -> dict[str, Any]:
    """Returns what backends look at in an operator, as a JSON value."""
    options = getattr(cut.operator, "builtinOptions", None)
    fields = {} if options is None else vars(options)
    fed = cut.fed()
    shape = cut.tensors[fed[0]].shape if fed else []
    return {
        "code": cut.name,
        "kind": cut.kinds(),
        "given": [cut.kind(i) for i in fed],
        "channels": shape[-1] if shape else 1,
        "options": {
            name: value for name, value in fields.items()
            if isinstance(value, (bool, int, float))
        },
    }


def judge(
    backend: str, known: Mapping[str, Any]
) -> tuple[bool | None, str | None]:
    """Says whether a backend takes an operator.

    Args:
        backend: One of `NAMES`.
        known: What `fact` says of the operator.

    Returns:
        Whether it does, `None` where that is unknown; and why it does not,
        or why that is unknown.
    """
    told, code, kind = _BACKENDS[backend], known["code"], known["kind"]
    if not told.takes:
        return None, "unknown: no source lists what it takes"
    floats = kind.split(" to ")
    if not all(each in told.kinds for each in floats) and not _is_choice(kind):
        if told.refuses_kinds:
            return False, f"its documentation names {told.kinds[0]} only"
        return None, f"unknown: its sources say nothing of {kind}"
    if code not in told.takes:
        if told.lists_all:
            return False, f"{code} is not among the operators that it checks"
        return None, f"unknown: its source does not list {code}"
    if backend == "gpu" and (reason := _refused_by_gpu(known)):
        return False, reason
    return True, None


def _is_choice(kind: str) -> bool:
    """Says whether an operator computes with counts and choices too."""
    return any(word in kind for word in ("int32", "int64", "bool"))


def _refused_by_gpu(known: Mapping[str, Any]) -> str | None:
    """Returns what its check has against an operator that it knows."""
    code, options = known["code"], known["options"]
    if (
        code == "DEPTHWISE_CONV_2D"
        and options.get("depthMultiplier", 1) > 1
        and known["channels"] > 1
    ):
        return "a depth multiplier on several channels"
    if code == "STRIDED_SLICE":
        for name in ("ellipsisMask", "newAxisMask", "shrinkAxisMask"):
            if options.get(name):
                return f"STRIDED_SLICE with {name}"
    if code == "SOFTMAX" and options.get("beta", 1) != 1:
        return "SOFTMAX with a beta other than 1"
    if code == "MIRROR_PAD" and options.get("mode") != _REFLECT:
        return "MIRROR_PAD of another mode than reflect"
    if code == "DEQUANTIZE" and "int16" in known["given"]:
        return "DEQUANTIZE of int16"
    return None

