"""Where a signal stopped a unit, so that it goes on in its middle.

A unit is a few passes over the data, with decisions between them. To go on
inside of one it is run again from its start: passes that had come to their
end give what they gave, with the variables as they left them, and the last
one goes on from its step. So what is decided between passes is decided once
more, from the same values. It is exact where nothing but the variables that
are saved is changed by a pass that trains; who promises that says so by
`Work.goes_on_within`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas import artifacts
from tfnas.errors import ArtifactError
from tfnas.train import checkpoint

FORMAT = "tfnas-middle/1"
_MOST_PASSES = 4  # whose variables are kept in memory
_DTYPES = {"float32": tf.float32, "int64": tf.int64}

Sums = dict[str, tf.Tensor]


class Middle:
    """The passes of the unit at hand.

    Args:
        folder: Where to save them; made when it is needed.
        variables: Named groups of variables, those of the checkpoints.
        exact: Whether a unit may be gone on with inside. If not, all of this
            does nothing.
    """

    def __init__(
        self, folder: pathlib.Path, variables: Mapping[str, Sequence[Any]],
        exact: bool,
    ):
        self._folder, self._exact = folder, exact
        self._variables = [v for group in variables.values() for v in group]
        self._bundle = checkpoint.bundle(variables)
        self.begin()

    def begin(self) -> None:
        """Forgets the passes of the unit before."""
        self._replayed: list[dict[str, Any]] = []
        self._resumed: dict[str, Any] | None = None
        self._finished: list[dict[str, Any]] = []
        self._snapshots: list[list[np.ndarray]] = []
        self._possible = self._exact
        self._now: tuple[Mapping[str, int], int, Sequence] | None = None

    def on_pass_begin(
        self, steps: dict[str, int], trains: bool
    ) -> tuple[Any, int, list[Sums | None]]:
        """Begins a pass.

        Args:
            steps: Steps done so far of each phase; put right where the pass
                was begun before.
            trains: Whether all that the pass changes is saved.

        Returns:
            What the pass has come to if it has ended already, else `None`;
            the steps that it has taken, and its sums.
        """
        self._now = None
        if self._replayed:
            number = len(self._finished)
            made = self._replayed.pop(0)
            self._read(number)
            self._end(made)
            steps.update(made["steps"])
            return made["means"], 0, []
        self._possible = self._possible and trains
        if self._resumed is None:
            return None, 0, []
        made, self._resumed = self._resumed, None
        self._read(len(self._finished))
        steps.update(made["steps"])
        return None, made["taken"], [_tensors(s) for s in made["sums"]]

    def on_step_end(
        self, steps: Mapping[str, int], taken: int,
        sums: Sequence[Sums | None],
    ) -> None:
        """Notes where the pass is."""
        self._now = (steps, taken, sums)

    def on_pass_end(self, steps: Mapping[str, int], means: Any) -> None:
        """Ends a pass."""
        self._end({"steps": dict(steps), "means": means})

    def _end(self, made: dict[str, Any]) -> None:
        self._now = None
        self._possible = self._possible and len(self._finished) < _MOST_PASSES
        if not self._possible:
            self._snapshots = []
            return
        self._finished.append(made)
        self._snapshots.append([v.numpy() for v in self._variables])

    def save(self, of: str) -> bool:
        """Saves where the unit is, if it can be gone on with from there.

        Args:
            of: Name of the checkpoint that the unit began with.

        Returns:
            Whether it was saved.
        """
        if not self._possible or self._now is None:
            return False
        self.drop()
        self._folder.mkdir(parents=True)
        steps, taken, sums = self._now
        self._bundle.write(self._name(len(self._snapshots)))
        for number, values in enumerate(self._snapshots):
            for variable, value in zip(self._variables, values, strict=True):
                variable.assign(value)
            self._bundle.write(self._name(number))
        files = {p.name: artifacts.sha256(p) for p in self._folder.iterdir()}
        artifacts.write_json(
            self._folder / "manifest.json",
            {
                "format": FORMAT,
                "of": of,
                "files": files,
                "finished": self._finished,
                "resumed": {
                    "steps": dict(steps), "taken": taken,
                    "sums": [_plain(s) for s in sums],
                },
            },
            sealed=True,
        )
        return True

    def load(self, of: str | None) -> None:
        """Makes the unit go on where it was saved.

        Args:
            of: Name of the checkpoint that was restored. What was saved in
                another unit does not count.
        """
        self.begin()
        path = self._folder / "manifest.json"
        if not (self._exact and path.exists()):
            return
        try:
            value = artifacts.read_json(path, FORMAT, sealed=True)
            if value["of"] != of:
                return
            for name, expected in value["files"].items():
                if artifacts.sha256(self._folder / name) != expected:
                    raise ArtifactError(f"{self._folder / name}: damaged")
        except ArtifactError as error:
            artifacts.warn(f"{error}. The unit is begun anew")
            return
        self._replayed, self._resumed = value["finished"], value["resumed"]

    def drop(self) -> None:
        """Removes what was saved."""
        if self._folder.exists():
            checkpoint.remove(self._folder)

    def _name(self, number: int) -> str:
        return str(self._folder / f"pass-{number}")

    def _read(self, number: int) -> None:
        self._bundle.read(self._name(number)).assert_consumed()


def _plain(sums: Sums | None) -> dict[str, Any] | None:
    """Returns sums as JSON; floats of 32 bits are exact in it."""
    if sums is None:
        return None
    return {k: [v.dtype.name, v.numpy().item()] for k, v in sums.items()}


def _tensors(sums: Mapping[str, Any] | None) -> Sums | None:
    if sums is None:
        return None
    return {k: tf.constant(v, _DTYPES[name]) for k, (name, v) in sums.items()}
