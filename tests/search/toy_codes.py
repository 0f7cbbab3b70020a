"""Spaces of codes without networks, for searches that never build one."""

import functools

import numpy as np

from tfnas.spaces.coded import CodedSpace


class ToyCodes(CodedSpace):
    """A space of codes.

    Args:
        legal: `(length, codes)` table of what a position may have.
        alphabets: Sizes of the alphabets.
        alphabet_of: Alphabet of each position; all have the first by default.
    """

    def __init__(self, legal, alphabets=None, alphabet_of=None):
        super().__init__("toy", (8, 8, 3), 10)
        self.legal = np.array(legal, bool)
        length, width = self.legal.shape
        self.alphabets = tuple(alphabets or (width,))
        self.alphabet_of = np.array(alphabet_of or [0] * length)

    def codes(self, arch):
        raise NotImplementedError

    def from_codes(self, codes):
        raise NotImplementedError

    def blocks(self):
        raise NotImplementedError


@functools.cache
def plain(length=6, ops=5):
    """The shape of NAS-Bench-201: any op at any of six positions."""
    return ToyCodes(np.ones((length, ops)))


@functools.cache
def mixed():
    """The shape of the mobile space with resolutions, made small.

    Position 0 has three codes of its own alphabet; of the others, positions
    1 and 2 may not have code 0.
    """
    legal = np.ones((5, 4))
    legal[0, 3] = 0
    legal[1:3, 0] = 0
    return ToyCodes(legal, alphabets=(3, 4), alphabet_of=[0, 1, 1, 1, 1])
