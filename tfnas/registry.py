"""Tables from a name to an object: operators, spaces, searches, presets.

Some tables also take a dotted path for a name, `my_package.my_module.thing`,
and import it: nothing of tfnas is edited to add a thing of your own. Names that
come from files other than a user's config are no paths: see `is_path`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any
from typing import Generic
from typing import NoReturn
from typing import TypeVar

from tfnas.errors import ConfigError

T = TypeVar("T")


def is_path(name: str) -> bool:
    """Says whether a name is the dotted path of something to import."""
    parts = name.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def _kind(value: Any) -> str:
    return type(value).__name__


class Registry(Generic[T]):
    """A table of named objects of one kind.

    Args:
        kind: what the objects are, in the singular, for the error messages.
        paths: dotted paths of objects by their names. Each is imported when
            it is first asked for.
        imports: whether a dotted path is a name, too.

    Example:
        >>> spaces = Registry("search space", {"counts": "collections.Counter"})
        >>> spaces.register("tiny", object())
        >>> spaces.names()
        ('counts', 'tiny')
    """

    def __init__(
        self, kind: str, paths: Mapping[str, str] | None = None,
        imports: bool = False,
    ):
        self.kind, self._imports = kind, imports
        self._table: dict[str, T] = {}
        self._paths = dict(paths or {})

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
        """Returns the object called `name`, or the one of that dotted path.

        Raises:
            ConfigError: if there is none; the message lists the known names.
        """
        self.check(name)
        if name not in self._table:
            self._table[name] = self._load(self._paths.get(name, name))
        return self._table[name]

    def check(self, name: str) -> None:
        """Refuses what is neither a known name nor a path; imports nothing.

        Raises:
            ConfigError: with the known names.
        """
        if name not in self and not (self._imports and is_path(name)):
            raise ConfigError(
                f"Unknown {self.kind}. Expected one of: "
                f"{', '.join(self.names())}. Received: name={name!r}"
            )

    def make(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Calls the object called `name`.

        Raises:
            ConfigError: if there is none, or it is not made for that.
        """
        make: Any = self.get(name)
        try:
            if inspect.isbuiltin(make):
                raise TypeError("a function of Python's own")
            inspect.signature(make).bind(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"Expected the path of what makes a {self.kind} of "
                f"{', '.join([*map(_kind, args), *kwargs])}. "
                f"Received: {name!r} ({error})"
            ) from error
        return make(*args, **kwargs)

    def refuse(self, name: str, made: Any) -> NoReturn:
        """Raises the error of a path that makes something else."""
        raise ConfigError(
            f"Expected the path of what makes a {self.kind}. "
            f"Received: {name!r}, which makes a {_kind(made)}"
        )

    def _load(self, path: str) -> Any:
        module, _, attribute = path.rpartition(".")
        cause: BaseException
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ModuleNotFoundError, AttributeError) as error:
            reason, cause = str(error), error
        except (Exception, SystemExit) as error:  # its own code runs
            said = str(error).partition("\n")[0]
            reason, cause = f"{_kind(error)} in it: {said}", error
        raise ConfigError(
            f"Expected the path of a {self.kind} that Python finds (see "
            f"PYTHONPATH). Received: {path!r} ({reason})"
        ) from cause

    def names(self) -> tuple[str, ...]:
        """Returns all names, sorted."""
        return tuple(sorted({*self._paths, *self._table}))

    def __contains__(self, name: str) -> bool:
        return name in self._table or name in self._paths
