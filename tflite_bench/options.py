"""Attributes of operators, as keys have them and as the schema has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_PADDINGS = {"same": schema.Padding.SAME, "valid": schema.Padding.VALID}
_ACTIVATIONS = {
    name.lower(): value
    for name, value in vars(schema.ActivationFunctionType).items()
    if isinstance(value, int)
}
# An attribute to the two fields that hold it, rows before columns.
_PAIRS = {
    "stride": ("strideH", "strideW"),
    "dilation": ("dilationHFactor", "dilationWFactor"),
    "window": ("filterHeight", "filterWidth"),
}
_FIELD_OF_PAIR = {
    field: (name, i)
    for name, fields in _PAIRS.items() for i, field in enumerate(fields)
}
# Shapes say the first; the others are about numbers, not about time.
_UNTOLD = ("depthMultiplier", "quantizedBiasType", "potScaleInt16")
_ALIKE = {
    "MAX_POOL_2D": "pool2d", "AVERAGE_POOL_2D": "pool2d",
    "L2_POOL_2D": "pool2d", "MEAN": "reducer", "SUM": "reducer",
    "REDUCE_MAX": "reducer", "REDUCE_MIN": "reducer",
    "REDUCE_PROD": "reducer", "REDUCE_ANY": "reducer",
    "REDUCE_ALL": "reducer", "MAXIMUM": "maximumminimum",
    "MINIMUM": "maximumminimum", "L2_NORMALIZATION": "l2norm",
}
_CLASSES = {
    name.removesuffix("OptionsT").lower(): made
    for name, made in vars(schema).items() if name.endswith("OptionsT")
}
_DEFAULTS = {"padding": "valid", "dilation": "1x1", "stride": "1x1"}


def to_schema(code: str, attrs: Mapping[str, Any]) -> Any:
    """Returns the options of an operator; `None` if it has none.

    Args:
        code: Its name in TFLite.
        attrs: As in `Operator`.

    Raises:
        ValueError: when the operator has no such attribute.
    """
    name = _ALIKE.get(code, code.replace("_", "").lower())
    if name not in _CLASSES:
        if attrs:
            raise ValueError(f"{code} has no attributes. Received: {attrs}")
        return None
    options = _CLASSES[name]()
    fields = vars(options)
    given = {**_DEFAULTS, **attrs}
    for attr, value in given.items():
        if attr == "padding" and "padding" in fields:
            options.padding = _PADDINGS[value]
        elif attr == "act":
            options.fusedActivationFunction = _ACTIVATIONS[value]
        elif attr in _PAIRS:
            for field, side in zip(_PAIRS[attr], value.split("x"), strict=True):
                if field in fields:
                    setattr(options, field, int(side))
        elif attr in fields:
            setattr(options, attr, _parsed(value, fields[attr]))
        elif attr in attrs:
            raise ValueError(f"{code} has no attribute. Received: {attr}")
    if "depthMultiplier" in fields:
        options.depthMultiplier = 1
    return options


def kind(options: Any) -> int:
    """Returns the number of a kind of options in the schema."""
    return getattr(
        schema.BuiltinOptions, type(options).__name__.removesuffix("T")
    )


def from_schema(options: Any) -> dict[str, str]:
    """Returns the attributes of options; those of no effect are left out."""
    if options is None:
        return {}
    usual = vars(type(options)())
    found: dict[str, str] = {}
    pairs: dict[str, dict[int, int]] = {}
    for field, value in vars(options).items():
        if field in _UNTOLD:
            continue
        if field == "padding":
            found["padding"] = {v: k for k, v in _PADDINGS.items()}[value]
        elif field == "fusedActivationFunction":
            act = {v: k for k, v in _ACTIVATIONS.items()}[value]
            found |= {} if act == "none" else {"act": act}
        elif field in _FIELD_OF_PAIR:
            name, i = _FIELD_OF_PAIR[field]
            pairs.setdefault(name, {})[i] = value
        elif _text(value) != _text(usual[field]):
            found[field] = _text(value)
    for name, sides in pairs.items():
        found[name] = f"{sides[0]}x{sides[1]}"
    if found.get("dilation") == "1x1":
        del found["dilation"]
    return found


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple, np.ndarray)):
        return ".".join(str(int(v)) for v in value)
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    return "" if value is None else str(value)


def _parsed(text: Any, usual: Any) -> Any:
    """Returns the value of a field that holds what `usual` is like."""
    text = str(text)
    if usual is None:
        return [int(n) for n in text.split(".")]
    if isinstance(usual, bool):
        return text == "1"
    return type(usual)(float(text)) if isinstance(usual, float) else int(text)
