"""Spaces whose architectures are integer vectors of one length."""

from __future__ import annotations

import abc
import itertools
import math
import operator
import re
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.arch import Arch
from tfnas.errors import ArtifactError
from tfnas.spaces.base import Space

Codes = tuple[int, ...]
_MAX_CHARS = 4096
_FEW = 20_000
_CODE = re.compile("[0-9]{1,3}")


class CodedSpace(Space):
    """A space in which one integer per position makes an architecture.

    A subclass sets the attributes and writes `codes`, `from_codes` and
    `blocks`; where unlike codes make one network it also writes `canonical`.

    Attributes:
        alphabets: Sizes of the alphabets, such as `(10,)`.
        alphabet_of: `(length,)`: which alphabet a position uses.
        legal: `(length, max(alphabets))`: which codes a position may have.
    """

    alphabets: tuple[int, ...]
    alphabet_of: np.ndarray
    legal: np.ndarray

    @abc.abstractmethod
    def codes(self, arch: Arch) -> Codes:
        """Returns the canonical codes of an architecture.

        Raises:
            ArtifactError: when the space does not contain the architecture.
        """

    @abc.abstractmethod
    def from_codes(self, codes: Sequence[int]) -> Arch:
        """Returns the architecture of legal codes, canonical or not.

        Raises:
            ArtifactError: for codes that `check_codes` refuses.
        """

    @property
    def length(self) -> int:
        """Number of positions of an architecture's codes."""
        return len(self.alphabet_of)

    def check_codes(self, codes: Sequence[Any]) -> Codes:
        """Returns the codes as a tuple of integers.

        Raises:
            ArtifactError: for a wrong length, a code that is no integer, one
                outside its alphabet, or one not legal at its position.
        """
        if len(codes) != self.length:
            raise ArtifactError(
                f"space `{self.name}` has {self.length} codes. "
                f"Received: {len(codes)} codes, {repr(codes)[:200]}"
            )
        for position, code in enumerate(codes):
            choices = np.flatnonzero(self.legal[position]).tolist()
            is_int = isinstance(code, int | np.integer)
            if not is_int or isinstance(code, bool) or code not in choices:
                raise ArtifactError(
                    f"space `{self.name}`: the code at position {position} "
                    f"must be one of {choices}. Received: {code!r}"
                )
        return tuple(operator.index(code) for code in codes)

    def canonical(self, codes: Sequence[int]) -> Codes:
        """Returns the one form of all legal codes that make one network."""
        return tuple(codes)

    def edited(self, codes: Codes, edits: Iterable[tuple[int, int]]) -> Codes:
        """Returns the canonical codes after edits; `codes` stay as they are.

        Args:
            codes: Canonical codes.
            edits: `(position, code)` pairs, applied in order.
        """
        changed = list(codes)
        for position, code in edits:
            changed[position] = code
        return self.canonical(changed)

    def equivalence(self, codes: Sequence[int]) -> Hashable:
        """Returns a key that is equal for networks that compute the same."""
        return self.canonical(codes)

    def members(self) -> list[Codes] | None:
        """Returns all canonical codes, sorted; `None` where they are many.

        Many are more than 20,000 codes, canonical or not.
        """
        rows = [np.flatnonzero(row).tolist() for row in self.legal]
        if math.prod(map(len, rows)) > _FEW:
            return None
        return sorted(set(map(self.canonical, itertools.product(*rows))))

    @property
    def num_choices(self) -> int:
        """Number of networks; of codes where these are many."""
        few = self.members()
        if few is None:
            return math.prod(int(row.sum()) for row in self.legal)
        return len(few)

    def sample_codes(self, rng: np.random.Generator) -> Codes:
        """Draws canonical codes; each legal code of a position is as likely.

        Args:
            rng: The stream to draw from.
        """
        return self.canonical(
            [int(rng.choice(np.flatnonzero(row))) for row in self.legal]
        )

    def neighbors(self, codes: Sequence[int]) -> list[Codes]:
        """Returns all canonical codes that one edit makes, each once.

        An edit sets one position to another legal code. Edits that change
        nothing after `canonical` are left out.
        """
        found = {
            self.canonical([*codes[:i], int(code), *codes[i + 1 :]])
            for i, row in enumerate(self.legal)
            for code in np.flatnonzero(row)
        }
        return sorted(found - {self.canonical(codes)})

    def sample(self, seed: int) -> Arch:
        """Draws an architecture; see `sample_codes`."""
        return self.from_codes(self.sample_codes(np.random.default_rng(seed)))

    def random_neighbor(self, arch: Arch, seed: int) -> Arch:
        """Draws one of the architecture's `neighbors`, all equally likely."""
        near = self.neighbors(self.codes(arch))
        rng = np.random.default_rng(seed)
        return self.from_codes(near[int(rng.integers(len(near)))])

    def contains(self, arch: Arch) -> bool:
        """Says whether codes of the space make this very network."""
        try:
            return self.from_codes(self.codes(arch)).id == arch.id
        except ArtifactError:
            return False

    def encode(self, arch: Arch) -> str:
        """Writes an architecture as its codes, joined by commas."""
        return ",".join(map(str, self.codes(arch)))

    def decode(self, text: str) -> Arch:
        """Reads an architecture from codes joined by commas.

        Raises:
            ArtifactError: for anything but legal codes.
        """
        return self.from_codes(self.parse_codes(text))

    def parse_codes(self, text: str) -> Codes:
        """Reads legal codes joined by commas, with or without spaces.

        Raises:
            ArtifactError: for text of another form, or illegal codes.
        """
        codes = parse_integers(text)
        if codes is None:
            raise ArtifactError(
                f"space `{self.name}` writes an architecture as "
                f"{self.length} integers joined by commas. "
                f"Received: {text[:200]!r}"
            )
        return self.check_codes(codes)


def parse_integers(text: str) -> Codes | None:
    """Reads small integers joined by commas, with or without spaces.

    Returns:
        The integers, or `None` for text of another form.
    """
    if len(text) > _MAX_CHARS:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(map(_CODE.fullmatch, parts)):
        return None
    return tuple(map(int, parts))
