"""A space of three networks: a line with one place to fill."""

from tfnas.arch import Block
from tfnas.spaces.lattice import LatticeSpace
from tfnas.spaces.lattice import Link


class Line(LatticeSpace):
    """Stem, one block of three kernel sizes, classifier."""

    def __init__(self, classes=None, input_shape=None):
        super().__init__(
            f"{__name__}.Line", input_shape or (32, 32, 3), classes or 10
        )

    def links(self):
        height, width, channels = self.input_shape
        half = (-(-height // 2), -(-width // 2), 8)
        stem = Block("conv", channels, 8, 2, attrs={"k": 3})
        row = [Block("mbconv", 8, 8, attrs={"k": k, "e": 2}) for k in (3, 5, 7)]
        yield Link.fixed("stem", 0, 1, [stem], self.input_shape)
        yield Link("block", 1, 2, tuple((block,) for block in row), half)
        yield Link.fixed(
            "classifier", 2, 3, [Block("classifier", 8, self.classes)], half
        )
