"""Units of work of a long benchmark, each written down when it is done."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable

from tfnas import artifacts


class Journal:
    """Units that are done, one file each; the others are run.

    Args:
        folder: Where the files are.
        limit: Units to run before the program ends; `None` is no limit.
    """

    def __init__(self, folder: pathlib.Path, limit: int | None):
        self._folder, self._left = folder, limit

    def unit(self, name: str, run: Callable[[], dict]) -> dict:
        """Returns the figures of a unit, from its file if it is done."""
        path = self._folder / f"{name}.json"
        if not path.exists():
            self.spend()
            artifacts.write_json(path, run())
        return artifacts.read_json(path)

    def spend(self) -> None:
        """Takes one of the units that are left; ends the program at 0."""
        if self._left == 0:
            print("enough for now; the same command goes on")
            sys.exit(0)
        if self._left is not None:
            self._left -= 1
