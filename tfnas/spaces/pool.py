"""A space of only those networks that a table has trained."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.spaces.coded import CodedSpace
from tfnas.spaces.coded import Codes

_NEAR = 8  # neighbours at least


class Pool(CodedSpace):
    """Some networks of a space, among which a search may choose.

    A table of 5,138 of some hundred thousand million networks answers hardly
    any question: what one edit makes is not in it. So every codes stand for
    the nearest that are in the pool, by the number of positions that differ,
    and the neighbours of a network are the nearest others.

    Args:
        space: The space of the networks.
        members: Their codes.

    Raises:
        ConfigError: when there is none.

    Example:
        >>> pool = Pool(space, [(0, 0, 0), (2, 1, 0), (2, 1, 1)])
        >>> pool.canonical((2, 0, 0))
        (0, 0, 0)
    """

    def __init__(self, space: CodedSpace, members: Sequence[Codes]):
        super().__init__(space.name, space.input_shape, space.classes)
        if not members:
            raise ConfigError(
                f"a pool of `{space.name}` holds at least one network. "
                "Received: none"
            )
        self.space, self.entries = space, space.entries
        self.alphabets, self.alphabet_of = space.alphabets, space.alphabet_of
        self.legal = space.legal
        self._members = sorted(set(map(tuple, map(space.canonical, members))))
        self._rows = np.array(self._members, np.int16)
        self._known = {codes: row for row, codes in enumerate(self._members)}
        self._nearest = functools.cache(self._find_nearest)
        self._near = functools.cache(self._find_near)

    def members(self) -> list[Codes]:
        """Returns the codes of all networks of the pool, sorted."""
        return list(self._members)

    def _distances(self, codes: Codes) -> np.ndarray:
        return (self._rows != np.array(codes, np.int16)).sum(1)

    def _find_nearest(self, codes: Codes) -> Codes:
        return self._members[int(self._distances(codes).argmin())]

    def _find_near(self, codes: Codes) -> tuple[Codes, ...]:
        distances = self._distances(codes)
        distances[distances == 0] = self.length + 1  # itself
        last = min(_NEAR, len(distances) - 1) - 1
        most = np.sort(distances)[last] if last >= 0 else 0
        rows = np.flatnonzero(distances <= most)
        return tuple(self._members[row] for row in rows)

    def canonical(self, codes: Sequence[int]) -> Codes:
        """Returns the codes of the nearest network of the pool."""
        codes = self.space.canonical(codes)
        return codes if codes in self._known else self._nearest(codes)

    def edited(self, codes: Codes, edits: Iterable[tuple[int, int]]) -> Codes:
        """Returns the network nearest to what edits make, but itself.

        A few edits seldom lead nearer to another network of the pool; they
        say in which direction to go.
        """
        changed = list(codes)
        for position, code in edits:
            changed[position] = code
        distances = self._distances(self.space.canonical(changed))
        if len(distances) > 1:
            distances[self._known[codes]] = self.length + 1
        return self._members[int(distances.argmin())]

    def sample_codes(self, rng: np.random.Generator) -> Codes:
        """Draws a network; all of the pool are equally likely."""
        return self._members[int(rng.integers(len(self._members)))]

    def neighbors(self, codes: Sequence[int]) -> list[Codes]:
        """Returns the nearest others: eight, and those as near as the last."""
        return list(self._near(self.canonical(codes)))

    def codes(self, arch: Arch) -> Codes:
        """Returns the canonical codes of a network of the pool.

        Raises:
            ArtifactError: when the pool does not hold the network.
        """
        return self._require(self.space.codes(arch))

    def from_codes(self, codes: Sequence[int]) -> Arch:
        """Returns a network of the pool.

        Raises:
            ArtifactError: for codes that are not in the pool.
        """
        codes = self.space.canonical(self.check_codes(codes))
        return self.space.from_codes(self._require(codes))

    def _require(self, codes: Codes) -> Codes:
        if codes not in self._known:
            raise ArtifactError(
                f"the pool holds {len(self._members)} networks of "
                f"`{self.name}`, but not this one. Received: codes={codes}"
            )
        return codes

    def blocks(self) -> Iterator[tuple[Block, tuple[int, ...]]]:
        """Yields the blocks of the whole space."""
        return self.space.blocks()

    def pieces(self) -> Iterator[tuple[list[Block], tuple[int, ...]]]:
        """Yields the chains of blocks of the whole space."""
        return self.space.pieces()
