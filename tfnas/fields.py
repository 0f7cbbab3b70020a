"""Checked reading of what came from a file: one way, and one message.

A value that is not as it must be is an error that names the file and the
field, says what the value must be, and shows it, never at length.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NoReturn

from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

# What a value must be, in words, and whether it is.
Rule = tuple[str, Callable[[Any], bool]]

_MAX_SHOWN = 80  # characters of a wrong value


def check_is_config(config: Any) -> None:
    """Refuses what is no config, such as the name of one.

    Raises:
        ConfigError: with how to make one.
    """
    if not hasattr(config, "copy_and_resolve_references"):
        raise ConfigError(
            "expected a config, as `tfnas.config(\"densenas_mbv2:local\")` "
            f"returns. Received: {shown(config)}"
        )


def shown(value: Any) -> str:
    """Returns a wrong value as messages show it."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def printable(text: str) -> str:
    """Returns the text with control characters replaced by `?`."""
    return "".join(c if c.isprintable() else "?" for c in text)


def is_number(value: Any) -> bool:
    """Says whether a value is a finite number, which no boolean is."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        # Compared, not converted: JSON integers may exceed every float.
        and abs(value) <= sys.float_info.max
    )


def is_whole(
    value: Any, low: float = -math.inf, high: float = math.inf
) -> bool:
    """Says whether a value is an integer of a range, both ends in it."""
    return type(value) is int and low <= value <= high


def whole(low: int, high: int | None = None) -> Rule:
    """Returns the rule of integers from `low` on, or to `high`."""
    if high is None:
        text = f"an integer, at least {low}"
        return text, lambda v: is_whole(v, low)
    return f"an integer in {low}..{high}", lambda v: is_whole(v, low, high)


def one_of(names: Collection[Any]) -> Rule:
    """Returns the rule of values that are one of these."""
    text = f"one of {names}"
    if len(names) < 3:
        text = " or ".join(map(repr, names))
    # 1.0 and True are no 1.
    return text, lambda v: any(
        type(v) is type(name) and v == name for name in names
    )


def optional(rule: Rule) -> Rule:
    """Returns a rule for a value that may be null, or not there."""
    return f"{rule[0]}, or null", lambda v: v is None or rule[1](v)


NUMBER: Rule = ("a number", is_number)
POSITIVE: Rule = ("a number above 0", lambda v: is_number(v) and v > 0)
NOT_NEGATIVE: Rule = ("a number, at least 0", lambda v: (
    is_number(v) and v >= 0
))
SHARE: Rule = ("a number from 0 to 1", lambda v: is_number(v) and 0 <= v <= 1)
BELOW_1: Rule = ("a number from 0 to below 1", lambda v: (
    is_number(v) and 0 <= v < 1
))
THERE: Rule = ("there", lambda v: v is not None)
BOOL: Rule = ("true or false", lambda v: isinstance(v, bool))
STRING: Rule = ("a string", lambda v: isinstance(v, str))
TEXT: Rule = ("a text", lambda v: isinstance(v, str) and bool(v))
LIST: Rule = ("a list", lambda v: isinstance(v, list))
FILLED: Rule = ("a list, not empty", lambda v: isinstance(v, list) and bool(v))
OBJECT: Rule = ("an object", lambda v: isinstance(v, dict))


def check_section(
    section: Mapping[str, Any], rules: Mapping[str, Rule], name: str
) -> None:
    """Checks the fields of a config's section that have a rule.

    Args:
        section: The section; a field that it leaves out is not looked at.
        rules: The rule of each field.
        name: Of the section, for the message.

    Raises:
        ConfigError: for the first field that is wrong.
    """
    for field, (expected, is_right) in rules.items():
        if field in section and not is_right(section[field]):
            raise ConfigError(
                f"`{name}.{field}` must be {expected}. "
                f"Received: {name}.{field}={shown(section[field])}"
            )


class Fields:
    """A JSON object whose fields are checked when they are asked for.

    `need` and `each` want a value by a rule. To the others a missing field
    and `null` are the same thing: the value is not known.

    Args:
        values: The decoded JSON value, expected to be an object.
        source: What errors call it: the file.
        path: The fields walked so far, such as `"archs[0]"`.

    Raises:
        ArtifactError: when it is no object, as all methods do when a field
            is not as it must be.

    Example:
        >>> fields = Fields({"n": 3, "names": ["a"]}, "list.json")
        >>> fields.need("n", whole(1)), fields.each("names", TEXT)
        (3, ('a',))
    """

    def __init__(self, values: Any, source: str, path: str = ""):
        self.source, self.path = source, path
        if not isinstance(values, dict):
            place = f"field `{path}`" if path else "its content"
            raise ArtifactError(
                f"{source}: {place} must be an object. "
                f"Received: {shown(values)}"
            )
        self.values = values

    def refuse(self, name: str, expected: str, value: Any) -> NoReturn:
        """Raises the error of a field, or of one within it (`"row[3]"`)."""
        raise ArtifactError(
            f"{self.source}: field `{self._place(name)}` must be {expected}. "
            f"Received: {shown(value)}"
        )

    def _place(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def need(self, name: str, rule: Rule) -> Any:
        """Returns the value of a field, which must follow a rule."""
        value = self.values.get(name)
        if not rule[1](value):
            self.refuse(name, rule[0], value)
        return value

    def each(self, name: str, rule: Rule) -> tuple[Any, ...]:
        """Returns the items of a list, not empty, that all follow a rule."""
        items = self.need(name, FILLED)
        for i, item in enumerate(items):
            if not rule[1](item):
                self.refuse(f"{name}[{i}]", rule[0], item)
        return tuple(items)

    def only(self, names: Collection[str]) -> None:
        """Refuses fields of other names."""
        for name in sorted(self.values.keys() - set(names)):
            self.refuse(name, f"one of {names}", name)

    def number(self, name: str) -> float | None:
        """Returns a number, or None if it is missing or not finite."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(name, "a number", value)
        return float(value) if is_number(value) else None

    def text(self, name: str) -> str:
        """Returns a string without control characters, "" if missing."""
        value = self.values.get(name, "")
        if not isinstance(value, str | None):
            self.refuse(name, "a text", value)
        return printable(value or "")

    def sequence(self, name: str) -> list[Any]:
        """Returns a list, an empty one if it is missing."""
        return self.need(name, optional(LIST)) or []

    def section(self, name: str) -> Fields:
        """Returns the object in a field, an empty one if it is missing."""
        value = self.values.get(name)
        return self.within(name, {} if value is None else value)

    def sections(self, name: str) -> Iterator[Fields]:
        """Yields the objects of a list, none if it is missing."""
        for i, value in enumerate(self.sequence(name)):
            yield self.within(f"{name}[{i}]", value)

    def within(self, name: str, value: Any) -> Fields:
        """Returns an object that stands at some place within this one."""
        return Fields(value, self.source, self._place(name))

    def numbers(self, name: str) -> dict[str, float]:
        """Returns the known numbers of an object of numbers."""
        section = self.section(name)
        known = {key: section.number(key) for key in section.values}
        return {
            printable(key): value
            for key, value in known.items()
            if value is not None
        }

    def flat(self) -> dict[str, str]:
        """Returns every known leaf as text under its dotted name."""
        leaves: dict[str, str] = {}
        for key, value in self.values.items():
            name = printable(key)
            if isinstance(value, dict):
                inner = Fields(value, self.source).flat()
                leaves |= {f"{name}.{k}": text for k, text in inner.items()}
            elif value is not None:
                leaves[name] = printable(str(value))
        return leaves
