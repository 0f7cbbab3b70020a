"""Typed access to the fields of a JSON object that came from a file."""

import sys
from typing import Any
from typing import NoReturn

from tfnas.errors import ArtifactError


class Fields:
    """A JSON object whose fields are checked when they are asked for.

    A missing field and `null` are the same thing: the value is not known.

    Args:
        values: The decoded JSON value, expected to be an object.
        where: What errors call it: the path and the fields walked so far.
    """

    def __init__(self, values: Any, where: str):
        if not isinstance(values, dict):
            raise ArtifactError(
                f"{where}: expected a JSON object. "
                f"Received: a {type(values).__name__}"
            )
        self.values = values
        self.where = where

    def number(self, name: str) -> float | None:
        """Returns a number, or None if it is missing or not finite."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._refuse(name, "a number", value)
        # Compared, not converted: JSON integers may exceed every float.
        return float(value) if abs(value) <= sys.float_info.max else None

    def text(self, name: str) -> str:
        """Returns a string without control characters, "" if missing."""
        value = self.values.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            self._refuse(name, "a string", value)
        return printable(value)

    def sequence(self, name: str) -> list[Any]:
        """Returns a list, an empty one if it is missing."""
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self._refuse(name, "a list", value)
        return value

    def section(self, name: str) -> "Fields":
        """Returns the object in a field, an empty one if it is missing."""
        value = self.values.get(name)
        where = f'{self.where}: field "{name}"'
        return Fields({} if value is None else value, where)

    def sections(self, name: str) -> list["Fields"]:
        """Returns the objects of a list, an empty one if it is missing."""
        return [
            Fields(value, f'{self.where}: field "{name}[{index}]"')
            for index, value in enumerate(self.sequence(name))
        ]

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
                inner = Fields(value, self.where).flat()
                leaves |= {f"{name}.{k}": text for k, text in inner.items()}
            elif value is not None:
                leaves[name] = printable(str(value))
        return leaves

    def _refuse(self, name: str, expected: str, value: Any) -> NoReturn:
        raise ArtifactError(
            f'{self.where}: field "{name}": expected {expected}. '
            f"Received: {name}={value!r}"
        )


def printable(text: str) -> str:
    """Returns the text with control characters replaced by `?`."""
    return "".join(c if c.isprintable() else "?" for c in text)
