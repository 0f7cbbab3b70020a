"""A new space for every gradient search: its links, and nothing else.

    PYTHONPATH=examples tfnas-search --config=densenas_mbv2:local \\
        --space=new_space.Fork --target_madds=2e6 --workdir=runs/fork

A fork (two blocks, or one wider one), then a line of layers that may be
skipped. Costs, derivation at a target, supernet and text follow from `links`.
"""

from tfnas.arch import Block
from tfnas.spaces.lattice import LatticeSpace
from tfnas.spaces.lattice import Link


class Fork(LatticeSpace):
    """Nodes are numbered: 0 the image, 1 the fork, 3 where it ends."""

    def __init__(self, classes=None, input_shape=None):
        super().__init__(
            "new_space.Fork", input_shape or (32, 32, 3), classes or 10
        )

    def links(self):
        rows, columns, channels = self.input_shape
        half, quarter = (
            (-(-rows // n), -(-columns // n)) for n in (2, 4)
        )
        stem = [Block("conv", channels, 16, 2, attrs={"k": 3})]
        yield Link.fixed("stem", 0, 1, stem, self.input_shape)
        yield Link("deep", 1, 2, mbconvs(16, 24, 2), (*half, 16), weighed=True)
        yield Link("deeper", 2, 3, mbconvs(24, 32), (*quarter, 24))
        yield Link(
            "wide", 1, 3, mbconvs(16, 32, 2, expansions=(4, 6, 8)),
            (*half, 16), weighed=True,
        )
        layer = (*mbconvs(32, 32), (Block("skip", 32, 32),))
        for node in range(3, 6):
            yield Link(f"layer{node}", node, node + 1, layer, (*quarter, 32))
        last = [
            Block("conv", 32, 64, attrs={"k": 1}),
            Block("classifier", 64, self.classes),
        ]
        yield Link.fixed("tail+classifier", 6, 7, last, (*quarter, 32))


def mbconvs(width, to, stride=1, kernels=(3, 5), expansions=(3, 6)):
    """Returns the candidates of a link, each a chain of one block."""
    return tuple(
        (Block("mbconv", width, to, stride, attrs={"k": k, "e": e}),)
        for k in kernels for e in expansions
    )
