"""Tables from a name to an object: operators, spaces, searches, presets."""

from typing import Generic
from typing import TypeVar

from tfnas.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of named objects of one kind.

    Args:
        kind: what the objects are, in the singular, for the error messages.

    Example:
        >>> spaces = Registry("search space")
        >>> spaces.register("tiny", object())
        >>> spaces.names()
        ('tiny',)
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._table: dict[str, T] = {}

    def register(self, name: str, value: T) -> T:
        """Adds `value` under `name` and returns it.

        Raises:
            ValueError: if the name is taken.
        """
        if name in self._table:
            raise ValueError(
                f"Each {self.kind} needs a name of its own. "
                f"Received: name={name!r}"
            )
        self._table[name] = value
        return value

    def get(self, name: str) -> T:
        """Returns the object called `name`.

        Raises:
            ConfigError: if there is none; the message lists the known names.
        """
        if name not in self._table:
            raise ConfigError(
                f"Unknown {self.kind}. Expected one of: "
                f"{', '.join(self.names())}. Received: name={name!r}"
            )
        return self._table[name]

    def names(self) -> tuple[str, ...]:
        """Returns all names, sorted."""
        return tuple(sorted(self._table))

    def __contains__(self, name: str) -> bool:
        return name in self._table
