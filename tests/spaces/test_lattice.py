"""A space that is no more than its links is a whole space."""

import collections

import numpy as np
import pytest

from tfnas import spaces
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.cost.counting import count
from tfnas.cost.expected import ExpectedCost
from tfnas.cost.lattice import LatticeCosts
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.spaces.lattice import LatticeSpace
from tfnas.spaces.lattice import Link

_CONV = {"act": "relu6", "pad": "sym", "norm": {
    "eps": 1e-3, "momentum": 0.9, "affine": True}}


def conv(width, to, stride=1, k=3):
    return Block("conv", width, to, stride, 0, {"k": k, **_CONV})


def mbconv(width, to, stride=1, k=3, e=2):
    return Block("mbconv", width, to, stride, 0, {"k": k, "e": e, **_CONV})


class Forked(LatticeSpace):
    """A stem, a fork of one long way and one short, a mixed layer, a tail.

    0 > 1 > 2 > 4 with a fixed block between 2 and 4, 0 > 1 > 4, 4 > 5 > 6.
    """

    def __init__(self):
        super().__init__("forked", (8, 8, 3), 5)

    def links(self):
        kernels = [(mbconv(8, 8, 2, k),) for k in (3, 5)]
        yield Link.fixed("stem", 0, 1, [conv(3, 8)], (8, 8, 3))
        yield Link("long", 1, 2, tuple(kernels), (8, 8, 8), weighed=True)
        yield Link.fixed("extra", 2, 4, [conv(8, 8, k=1)], (4, 4, 8))
        short = [(mbconv(8, 8, 2, 3, e),) for e in (1, 3, 4)]
        yield Link("short", 1, 4, tuple(short), (8, 8, 8), weighed=True)
        row = ((mbconv(8, 8),), (Block("skip", 8, 8),))
        yield Link("last", 4, 5, row, (4, 4, 8))
        tail = [conv(8, 16, k=1), Block("classifier", 16, 5)]
        yield Link.fixed("tail+classifier", 5, 6, tail, (4, 4, 8))


SPACE = Forked()
# By hand: 2 x 2 on the long way, 3 x 2 on the short one.
NETWORKS = 10


def every():
    """All networks, drawn until no new one comes."""
    found = {SPACE.sample(seed).id: SPACE.sample(seed) for seed in range(200)}
    assert len(found) == NETWORKS
    return list(found.values())


def test_every_network_has_its_route_and_its_text():
    texts = set()
    for arch in every():
        assert SPACE.from_route(SPACE.route(arch)).id == arch.id
        assert SPACE.contains(arch)
        text = SPACE.encode(arch)
        assert SPACE.decode(f" {text} ").id == arch.id
        texts.add(text)
    assert len(texts) == NETWORKS
    assert "short.2|1" in texts


def test_skips_leave_no_block():
    lengths = collections.Counter(len(arch.blocks) for arch in every())
    # Stem, way, tail, classifier; an extra block; the last layer.
    assert lengths == {4: 3, 5: 3 + 2, 6: 2}


@pytest.mark.parametrize(
    "text, word",
    [
        ("", "word 1. Received: ''"), ("long.0", "word 2"),
        ("long.2|0", "long.0, long.1, short.0"), ("0|0", "word 1"),
        ("long.0|0|0", "the end after"), ("long.0|x", "0, 1 as word 2"),
        ("long.0|-1", "word 2"),
    ],
)
def test_a_text_that_names_no_route_is_refused(text, word):
    with pytest.raises(ArtifactError) as caught:
        SPACE.decode(text)
    assert word in str(caught.value)


def test_a_network_of_another_kind_is_refused():
    arch = every()[0]
    other = Arch(arch.blocks[:-1], arch.input_shape, arch.classes, "forked")
    assert not SPACE.contains(other)
    with pytest.raises(ArtifactError, match="does not contain this network"):
        SPACE.route(other)


class Ladder(LatticeSpace):
    """30 equal layers that may be left out: 2 ** 30 routes, 31 networks."""

    def __init__(self):
        super().__init__("ladder", (8, 8, 3), 5)

    def links(self):
        yield Link.fixed("stem", 0, 1, [conv(3, 8)], (8, 8, 3))
        row = ((conv(8, 8),), (Block("skip", 8, 8),))
        for i in range(1, 31):
            yield Link(f"layer{i}", i, i + 1, row, (8, 8, 8))
        last = [Block("classifier", 8, 5)]
        yield Link.fixed("classifier", 31, 32, last, (8, 8, 8))


def test_many_routes_to_one_network_are_one_search():
    ladder = Ladder()
    stem, layer, last = conv(3, 8), conv(8, 8), Block("classifier", 8, 5)
    other = conv(8, 8, k=5)
    for layers, inside in (
        ((layer,) * 15, True), ((layer,) * 31, False),
        ((*(layer,) * 14, other), False),
    ):
        arch = Arch((stem, *layers, last), (8, 8, 3), 5, "ladder")
        assert ladder.contains(arch) is inside


def test_a_neighbour_differs_in_one_choice():
    for arch in every():
        for seed in range(10):
            near = SPACE.random_neighbor(arch, seed)
            assert SPACE.contains(near)
            a, b = (SPACE.encode(x).split("|") for x in (arch, near))
            assert (a[0] != b[0]) + (a[1] != b[1]) == 1


def test_costs_add_up_and_reach_from_the_cheapest_to_the_dearest():
    costs = LatticeCosts.from_madds(SPACE)
    found = []
    for arch in every():
        found.append(costs.cost(SPACE.route(arch)))
        assert found[-1] == pytest.approx(count(arch).madds / 1e6)
    assert costs.reachable() == (min(found), max(found))


def test_the_expected_cost_is_the_mean_over_all_networks():
    costs, lattice = LatticeCosts.from_madds(SPACE), SPACE.lattice
    names = ("long", "short", "last")
    p = dict(zip(names, ([0.3, 0.7], [0.2, 0.5, 0.3], [0.4, 0.6]), strict=True))
    ways = {"long": 0.1, "short": 0.9}
    mean = 0.0
    for arch in every():
        route, odds = SPACE.route(arch), 1.0
        for i, k in route:
            name = lattice.links[i].name
            odds *= ways.get(name, 1.0) * (p[name][k] if name in p else 1.0)
        mean += odds * costs.cost(route)
    expected = ExpectedCost(costs, [[lattice.find(n)] for n in names])
    rows = [(None, np.array([p[n]], np.float32)) for n in names]
    paths = np.array(
        [ways[lattice.links[i].name] for i in lattice.weighed], np.float32
    )
    assert float(expected(rows, paths)) == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize(
    "name", ["densenas_mbv2@32", "densenas_resnet@32", "proxyless_mbconv"]
)
def test_lattices_of_published_spaces_hold_their_networks(name):
    space = spaces.get(name)
    for seed in range(5):
        arch = space.sample(seed)
        assert space.from_route(space.route(arch)).id == arch.id
    assert set(space.lattice.common) >= {0}


_ROW = ((mbconv(8, 8),), (mbconv(8, 8, k=5),))
_STEM = Link.fixed("stem", 0, 1, [conv(3, 8)], (8, 8, 3))


def link(name, source, to, options=_ROW, shape=(8, 8, 8), **kwargs):
    return Link(name, source, to, options, shape, **kwargs)


def end(source, to, classes=5):
    return Link.fixed(
        "end", source, to, [Block("classifier", 8, classes)], (8, 8, 8)
    )


class Given(LatticeSpace):
    """A space of given links."""

    def __init__(self, *links):
        super().__init__("given", (8, 8, 3), 5)
        self._given = links

    def links(self):
        return self._given


def test_a_line_is_taken():
    assert Given(_STEM, link("a", 1, 2), end(2, 3)).num_choices == 2


@pytest.mark.parametrize(
    "links, told",
    [
        ([], "expected links. Received: none"),
        (["a"], "expected links (see `Link`). Received: a"),
        ([_STEM, end(1, 2)], "expected something to choose"),
        (
            [_STEM, link("a", 1, 2), link("a", 2, 3), end(3, 4)],
            "link a: expected names of its own",
        ),
        (
            [_STEM, link("a+b", 1, 2), end(2, 3)],
            "link a+b: expected one name, without `+`",
        ),
        (
            [Link.fixed("a", 0, 1, [conv(3, 8), conv(8, 8)], (8, 8, 3))],
            "link a: expected 2 names joined by `+`",
        ),
        ([_STEM, link("a|b", 1, 2), end(2, 3)], "Received: 'a|b'"),
        ([_STEM, link("", 1, 2), end(2, 3)], "Received: ''"),
        ([_STEM, link(3, 1, 2), end(2, 3)], "Received: 3"),
        (
            [_STEM, link("a", 1, 3), link("b", 2, 3), end(3, 4)],
            "link b: expected a link into its first node, 2. Received: none",
        ),
        (
            [_STEM, link("a", 1, 2, weighed=True),
             link("b", 1, 3, weighed=True), end(3, 4)],
            "link a: expected a link out of its last node, 2. Received: none",
        ),
        (
            [_STEM, link("a", 1, 2), link("b", 2, 1), end(2, 3)],
            "link b: expected a link to a later node. Received: 2 to 1",
        ),
        (
            [_STEM, link("a", 1, "x"), end("x", "y")],
            "link a: expected a link to a later node. Received: 1 to 'x'",
        ),
        (
            [_STEM, link("a", "x", "y"), end("y", "z")],
            "expected nodes of one kind",
        ),
        ([_STEM, link("a", 1, 2, ()), end(2, 3)], "link a: expected options"),
        (
            [_STEM, link("a", 1, 2, (_ROW[0], ())), end(2, 3)],
            "link a: expected options",
        ),
        (
            [_STEM, link("a", 1, 2, searched=False), end(2, 3)],
            "link a: expected one option, as it is not searched. Received: 2",
        ),
        (
            [_STEM, link("a", 1, 2, weighed=True), link("b", 1, 2), end(2, 3)],
            "link b: expected a weighed link, as others leave 1",
        ),
        (
            [_STEM, link("a", 1, 2, (_ROW[0], (mbconv(8, 8, 2),))), end(2, 3)],
            "link a: expected one shape at node 2. Received: (4, 4, 8) and "
            "(8, 8, 8)",
        ),
        (
            [_STEM, link("a", 1, 2, shape=(4, 4, 8)), end(2, 3)],
            "link a: expected an input of the shape (8, 8, 8). "
            "Received: (4, 4, 8)",
        ),
        (
            [_STEM, link("a", 1, 2, ((mbconv(9, 8),),)), end(2, 3)],
            "link a: op `mbconv` takes (height, width, 9)",
        ),
        (
            [_STEM, link("a", 1, 2), end(2, 3, classes=7)],
            "link end: expected a classifier of 5 classes at its end",
        ),
    ],
)
def test_what_is_no_lattice_is_told_by_its_link(links, told):
    with pytest.raises(ConfigError) as caught:
        Given(*links).sample(0)
    message = str(caught.value)
    assert message.startswith("space `given`")
    assert told in message and "\n" not in message
