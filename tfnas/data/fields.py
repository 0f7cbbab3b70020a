"""The fields of the section `data` of a config: the one list of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas import seeds
from tfnas.data.text import is_text
from tfnas.errors import ConfigError

_MIN_IMAGE_SIZE = 8  # spaces say what more they need
CHANNELS = (1, 3, 4)


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of the section.

    Attributes:
        kind: of its value; `object` for a number or several.
        default: what null and a field that is left out mean.
    """

    kind: type
    default: Any = None


IMAGE_FIELDS = {
    "name": Field(str),
    "image_size": Field(object, 32),
    "channels": Field(int, 3),
    "classes": Field(int),
    "class_seed": Field(int),
    "limit_train": Field(int),
    "limit_test": Field(int),
    "mean": Field(object),
    "std": Field(object),
    "split_list": Field(str),
    "max_bad": Field(int, 10),
    "check_images": Field(bool, True),
    "exif_rotation": Field(bool, True),
}
TEXT_FIELDS = {
    "name": Field(str),
    "limit_train": Field(int),
    "limit_valid": Field(int),
    "limit_test": Field(int),
}
_ALL = {**TEXT_FIELDS, **IMAGE_FIELDS}


def of(name: str | None) -> dict[str, Field]:
    """Returns the fields that a set or a text of that name has."""
    return TEXT_FIELDS if name is not None and is_text(name) else IMAGE_FIELDS


def check_names(config: Mapping[str, Any]) -> None:
    """Refuses fields that there are not.

    Raises:
        ConfigError: naming them.
    """
    unknown = sorted(set(config) - set(_ALL))
    if unknown:
        raise ConfigError(
            f"`data` has the fields {', '.join(_ALL)}. "
            f"Received: {', '.join(map(str, unknown))}"
        )


@dataclasses.dataclass(frozen=True)
class Settings:
    """A section `data` that was read and found right.

    Attributes:
        name: of the set, e.g. "folder:imagenet".
        image_size: height and width that the network sees.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and opacity).
        classes: how many to use, or None for all.
        class_seed: that draws them, or None for the first ones.
        limit_train: how many training images at most, or None.
        limit_test: how many test images at most, or None.
        mean: as configured, or None for that of the set.
        std: as configured, or None for that of the set.
        split_list: a file of images to use, or None.
        max_bad: how many unreadable images are skipped.
        check_images: whether to look for those first.
        exif_rotation: whether to turn images as their EXIF data say.
    """

    name: str
    image_size: tuple[int, int] = (32, 32)
    channels: int = 3
    classes: int | None = None
    class_seed: int | None = None
    limit_train: int | None = None
    limit_test: int | None = None
    mean: Any = None
    std: Any = None
    split_list: str | None = None
    max_bad: int = 10
    check_images: bool = True
    exif_rotation: bool = True


def read(config: Mapping[str, Any]) -> Settings:
    """Reads the section of a set of images; see `tfnas.data.load`.

    Raises:
        ConfigError: if a field is unknown or has a value that it cannot have.
    """
    check_names(config)
    values = {
        name: _value(field, config.get(name), name)
        for name, field in IMAGE_FIELDS.items()
    }
    if values["name"] is None:
        raise ConfigError(
            "`name` must say where the images are. Received: name=None"
        )
    if values["channels"] not in CHANNELS:
        raise ConfigError(
            f"`channels` must be one of {', '.join(map(str, CHANNELS))}. "
            f"Received: channels={values['channels']}"
        )
    if values["max_bad"] < 0:
        raise ConfigError(
            "`max_bad` must not be negative. "
            f"Received: max_bad={values['max_bad']}"
        )
    if values["class_seed"] is not None:
        seeds.check(values["class_seed"], "class_seed")
    values["image_size"] = _image_size(values["image_size"])
    return Settings(**values)


def _value(field: Field, value: Any, name: str) -> Any:
    if value is None:
        return field.default
    if field.kind is int and _is_integer(value):
        return int(value)
    if field.kind is bool and isinstance(value, (bool, np.bool_)):
        return bool(value)
    if field.kind is str and isinstance(value, str) or field.kind is object:
        return value
    words = {int: "an integer", bool: "true or false", str: "text"}
    raise ConfigError(
        f"`{name}` must be {words[field.kind]}. Received: {name}={value!r}"
    )


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _image_size(value: Any) -> tuple[int, int]:
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(
        _is_integer(side) and side >= _MIN_IMAGE_SIZE for side in pair
    ):
        raise ConfigError(
            "`image_size` must be a number of pixels, or two: height and "
            f"width, each at least {_MIN_IMAGE_SIZE}. "
            f"Received: image_size={value}"
        )
    return int(pair[0]), int(pair[1])


def per_channel(
    value: Any, field: str, default: tuple[float, ...]
) -> tuple[float, ...]:
    """Returns the mean or the deviation of each channel.

    Args:
        value: a number, or one for each channel; None for the default.
        field: "mean" or "std".
        default: of each channel.

    Raises:
        ConfigError: if it is something else, or a deviation is not above 0.
    """
    if value is None:
        return default
    try:
        numbers = [float(number) for number in np.ravel(value)]
    except (TypeError, ValueError):
        numbers = []
    above = field == "std"
    if (
        len(numbers) not in (1, len(default))
        or not all(map(math.isfinite, numbers))
        or (above and min(numbers) <= 0)
        or isinstance(value, str)
    ):
        channels = len(default)
        each = f" or one for each of {channels} channels" * (channels > 1)
        raise ConfigError(
            f"`{field}` must be a number{each}{', above 0' * above}. "
            f"Received: {field}={value}"
        )
    return tuple(np.broadcast_to(numbers, len(default)).tolist())
