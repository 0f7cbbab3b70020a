"""Spaces as lattices: nodes, and links with rows of candidate blocks.

A lattice is what costs, derivations and supernets share. A chain is a line of
links; DenseNAS' blocks are nodes that its head layers link, with the stack
layers of a block as links in series. A network is a `Route` through it.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops.graph import Shape
from tfnas.spaces.base import Space

# From the first node to the last: the number of each link, and of its option.
Route = tuple[tuple[int, int], ...]
_MAX_CHARS = 4096
_NAME = re.compile(r"[^|\s]+")


@dataclasses.dataclass(frozen=True)
class Link:
    """What leads from one node to a later one.

    Args:
        name: Unique in its lattice; it names costs and weights. That of a
            fixed chain names its blocks, joined by `+`.
        source: A node. Nodes are any values that sort the data's way.
        to: A later node.
        options: The candidates, each a chain of blocks, mostly of one.
        shape: Shape of the input, without the batch.
        searched: Whether an op of it is looked for; else it has one option.
        weighed: Whether paths are looked for here: of the weighed links that
            leave a node a network takes one.
    """

    name: str
    source: Any
    to: Any
    options: tuple[tuple[Block, ...], ...]
    shape: Shape
    searched: bool = True
    weighed: bool = False

    @classmethod
    def fixed(
        cls, name: str, source: Any, to: Any, blocks: Iterable[Block],
        shape: Shape, weighed: bool = False,
    ) -> Link:
        """Returns a link that is one chain of blocks."""
        return cls(name, source, to, (tuple(blocks),), shape, False, weighed)

    def blocks(self, option: int) -> Iterator[tuple[Block, Shape]]:
        """Yields the blocks of an option with their input shapes."""
        *first, last = self.options[option]
        shape = self.shape
        for block in first:
            yield block, shape
            shape = ops.lower(block, shape).output_shape
        yield last, shape


@dataclasses.dataclass(frozen=True)
class Lattice:
    """Links between nodes; each network leads from the first to the last.

    Args:
        links: In any order, which is that of costs and weights.
    """

    links: tuple[Link, ...]

    @functools.cached_property
    def nodes(self) -> tuple[Any, ...]:
        """All nodes, first to last."""
        return tuple(sorted({n for k in self.links for n in (k.source, k.to)}))

    @functools.cached_property
    def incoming(self) -> dict[Any, list[int]]:
        """Numbers of the links into each node, from the nearest node first."""
        return {
            node: sorted(
                (i for i, k in enumerate(self.links) if k.to == node),
                key=lambda i: self.links[i].source, reverse=True,
            )
            for node in self.nodes
        }

    @functools.cached_property
    def outgoing(self) -> dict[Any, list[int]]:
        """Numbers of the links out of each node, to the nearest node first."""
        return {
            node: sorted(
                (i for i, k in enumerate(self.links) if k.source == node),
                key=lambda i: self.links[i].to,
            )
            for node in self.nodes
        }

    @functools.cached_property
    def searched(self) -> list[int]:
        """Numbers of the searched links."""
        return [i for i, link in enumerate(self.links) if link.searched]

    @functools.cached_property
    def weighed(self) -> list[int]:
        """Numbers of the weighed links, by source and where they lead."""
        return [
            i for node in self.nodes for i in self.outgoing[node]
            if self.links[i].weighed
        ]

    @functools.cached_property
    def common(self) -> list[int]:
        """Numbers of the links that every network takes as they are."""
        before = {self.nodes[0]: 1}
        for node in self.nodes[1:]:
            before[node] = sum(
                before[self.links[i].source] for i in self.incoming[node]
            )
        after = {self.nodes[-1]: 1}
        for node in reversed(self.nodes[:-1]):
            after[node] = sum(
                after[self.links[i].to] for i in self.outgoing[node]
            )
        return [
            i for i, link in enumerate(self.links)
            if not link.searched and not link.weighed
            and before[link.source] * after[link.to] == after[self.nodes[0]]
        ]

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def find(self, name: str) -> int:
        """Returns the number of the link of a name."""
        return self._numbers[name]

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {link.name: i for i, link in enumerate(self.links)}

    def blocks(self) -> Iterator[tuple[Block, Shape]]:
        """Yields the blocks of all options with their input shapes."""
        for link in self.links:
            for option in range(len(link.options)):
                yield from link.blocks(option)


def _kept(option: tuple[Block, ...]) -> tuple[Block, ...]:
    return tuple(block for block in option if block.op != "skip")


class LatticeSpace(Space):
    """A space whose networks are the routes through a lattice.

    A new one has to say no more than its `links`: every gradient search then
    runs on it. Text is a word for each choice on the way, joined by `|`:
    the number of the option, after the name of the link where several leave
    a node, as in `2|head1_3.0|4`.
    """

    @abc.abstractmethod
    def links(self) -> Iterable[Link]:
        """Yields the links of the lattice; see `checked`."""

    @functools.cached_property
    def lattice(self) -> Lattice:
        """The space as nodes and links, checked."""
        lattice = checked(self, self.links())
        if all(
            len(out) < 2 and all(len(lattice.links[i].options) < 2 for i in out)
            for out in lattice.outgoing.values()
        ):
            raise ConfigError(
                f"space `{self.name}`: expected something to choose, options "
                "of a link or links that leave a node. Received: one network"
            )
        return lattice

    def supernet_links(self) -> Iterable[Link]:
        """Yields the links as a supernet has them, of the same names."""
        return self.lattice.links

    def has_affine(self, link: str, norm: str) -> bool:
        """Says whether a norm of the supernet has scale and offset.

        Args:
            link: Name of the link.
            norm: Name of the layer in its block.
        """
        del link, norm
        return False

    @property
    def random_bias(self) -> bool:
        """Whether the supernet's classifier starts with a random bias."""
        return False

    @property
    def num_choices(self) -> int:
        """Number of routes; unlike ones may make one network."""
        lattice = self.lattice
        ways = {lattice.nodes[-1]: 1}
        for node in reversed(lattice.nodes[:-1]):
            out = [lattice.links[i] for i in lattice.outgoing[node]]
            ways[node] = sum(len(k.options) * ways[k.to] for k in out)
        return ways[lattice.nodes[0]]

    def from_route(self, route: Route) -> Arch:
        """Returns the network of a route: its blocks, without skips."""
        links = self.lattice.links
        blocks = [b for i, k in route for b in _kept(links[i].options[k])]
        return Arch(tuple(blocks), self.input_shape, self.classes, self.name)

    def route(self, arch: Arch) -> Route:
        """Returns a route that makes a network.

        Raises:
            ArtifactError: when the space does not contain the network.
        """
        lattice = self.lattice
        last = lattice.nodes[-1]
        left: list[tuple[Any, int, Route]] = [(lattice.nodes[0], 0, ())]
        seen = set()  # many routes may come to the same node and block
        while left:
            node, done, route = left.pop()
            if (node, done) in seen:
                continue
            seen.add((node, done))
            if node == last and self.from_route(route).id == arch.id:
                return route
            for i in reversed(lattice.outgoing[node]):
                link = lattice.links[i]
                for k, option in reversed(list(enumerate(link.options))):
                    end = done + len(_kept(option))
                    if arch.blocks[done:end] == _kept(option):
                        left.append((link.to, end, (*route, (i, k))))
        raise ArtifactError(
            f"space `{self.name}` does not contain this network. "
            f"Received: arch={arch.id}, space={arch.space!r}"
        )

    def contains(self, arch: Arch) -> bool:
        """Says whether a route of the space makes this very network."""
        try:
            self.route(arch)
        except ArtifactError:
            return False
        return True

    def sample(self, seed: int) -> Arch:
        """Draws a network: at each node a link, on each link an option."""
        rng = np.random.default_rng(seed)
        return self.from_route(self._walk(self.lattice.nodes[0], {}, rng))

    def _walk(
        self, node: Any, known: Mapping[Any, Route], rng: np.random.Generator
    ) -> Route:
        """Goes on at random, to the last node or one with a known rest."""
        lattice = self.lattice
        route: Route = ()
        while lattice.outgoing[node]:
            if node in known:
                return route + known[node]
            i = int(rng.choice(lattice.outgoing[node]))
            k = int(rng.integers(len(lattice.links[i].options)))
            route, node = (*route, (i, k)), lattice.links[i].to
        return route

    def random_neighbor(self, arch: Arch, seed: int) -> Arch:
        """Draws one choice anew; a detour comes back as soon as it can."""
        rng, route = np.random.default_rng(seed), self.route(arch)
        links, outgoing = self.lattice.links, self.lattice.outgoing
        moves = [
            (at, (i, k))
            for at, step in enumerate(route)
            for i in outgoing[links[step[0]].source]
            for k in range(len(links[i].options))
            if (i, k) != step
        ]
        at, new = moves[int(rng.integers(len(moves)))]
        known = {
            links[i].source: route[n:] for n, (i, _) in enumerate(route)
        }
        rest = self._walk(links[new[0]].to, known, rng)
        return self.from_route((*route[:at], new, *rest))

    def encode(self, arch: Arch) -> str:
        """Writes the word of each choice of a network, joined by `|`."""
        choices = [
            (self._words(self.lattice.links[step[0]].source), step)
            for step in self.route(arch)
        ]
        return "|".join(words[s] for words, s in choices if len(words) > 1)

    def _words(self, node: Any) -> dict[tuple[int, int], str]:
        """Returns the word of each way to leave a node."""
        out = self.lattice.outgoing[node]
        links = [(i, self.lattice.links[i]) for i in out]
        return {
            (i, k): f"{link.name}.{k}" if len(out) > 1 else f"{k}"
            for i, link in links
            for k in range(len(link.options))
        }

    def decode(self, text: str) -> Arch:
        """Reads what `encode` writes.

        Raises:
            ArtifactError: naming the word, and what could stand there.
        """
        given = text[:_MAX_CHARS].strip().split("|")
        route: Route = ()
        node, place = self.lattice.nodes[0], 1
        while words := self._words(node):
            step = next(iter(words))
            if len(words) > 1:
                word = given.pop(0).strip() if given else ""
                found = [s for s, known in words.items() if known == word]
                if not found:
                    raise ArtifactError(
                        f"space `{self.name}`: expected one of "
                        f"{', '.join(words.values())[:400]} as word "
                        f"{place}. Received: {word[:80]!r}"
                    )
                step, place = found[0], place + 1
            route, node = (*route, step), self.lattice.links[step[0]].to
        if given:
            raise ArtifactError(
                f"space `{self.name}`: expected the end after "
                f"{len(route)} links. Received: {'|'.join(given)[:80]!r}"
            )
        return self.from_route(route)

    def blocks(self) -> Iterator[tuple[Block, Shape]]:
        """Yields the blocks of all options with their input shapes."""
        yield from self.lattice.blocks()


def checked(space: LatticeSpace, links: Iterable[Link]) -> Lattice:
    """Returns the lattice of links that lead through a space.

    Raises:
        ConfigError: naming the first link that cannot be as it is.
    """
    lattice, names = Lattice(tuple(links)), set[str]()
    if not lattice.links:
        raise _refusal(space, None, "links", "none")
    for link in lattice.links:
        rule = _rule_of(link, names)
        if rule:
            raise _refusal(space, getattr(link, "name", None), *rule)
    try:
        nodes, outgoing = lattice.nodes, lattice.outgoing
    except TypeError as error:
        raise _refusal(
            space, None, "nodes of one kind, which sort", error
        ) from error
    shapes = {nodes[0]: {space.input_shape}}
    for node in nodes[:-1]:
        for i in outgoing[node]:
            link = lattice.links[i]
            rule = _rule_of_place(lattice, link, shapes)
            if rule:
                raise _refusal(space, link.name, *rule)
            try:
                ends = {_output(link, k) for k in range(len(link.options))}
            except ArtifactError as error:
                raise ConfigError(
                    f"space `{space.name}`, link {link.name}: {error}"
                ) from error
            both = ends | shapes.setdefault(link.to, ends)
            if len(both) > 1:
                raise _refusal(
                    space, link.name, f"one shape at node {link.to!r}",
                    " and ".join(map(str, sorted(both))),
                )
    (shape,) = shapes[nodes[-1]]
    if shape != (space.classes,):
        end = lattice.links[lattice.incoming[nodes[-1]][0]]
        raise _refusal(
            space, end.name, f"a classifier of {space.classes} classes at "
            "its end", f"an output of the shape {shape}",
        )
    return lattice


def _refusal(
    space: Space, link: Any, expected: str, received: Any
) -> ConfigError:
    where = "" if link is None else f", link {link!s:.80}"
    return ConfigError(
        f"space `{space.name}`{where}: expected {expected}. "
        f"Received: {received!s:.200}"
    )


def _rule_of(link: Any, names: set[str]) -> tuple[str, Any] | None:
    """Returns what is expected of a link alone, and what it has instead."""
    if not isinstance(link, Link):
        return "links (see `Link`)", link
    if not isinstance(link.name, str) or not _NAME.fullmatch(link.name):
        return "a name without spaces and `|`", repr(link.name)
    rows = link.options
    if not rows or not all(
        isinstance(row, tuple) and row
        and all(isinstance(block, Block) for block in row)
        for row in rows
    ):
        return "options, each a tuple of blocks", rows
    if not link.searched and len(rows) > 1:
        return "one option, as it is not searched", len(rows)
    own = link.name.split("+")
    if not link.searched and len(own) != len(rows[0]):
        return f"{len(rows[0])} names joined by `+`, one a block", link.name
    if link.searched and len(own) > 1:
        return "one name, without `+`, as it is searched", link.name
    taken = names.intersection(own) or len({*own}) < len(own)
    names.update(own)
    if "" in own or taken:
        return "names of its own", link.name
    if not _before(link.source, link.to):
        return "a link to a later node", f"{link.source!r} to {link.to!r}"
    return None


def _before(source: Any, to: Any) -> bool:
    try:
        return bool(source < to)
    except TypeError:
        return False


def _rule_of_place(
    lattice: Lattice, link: Link, shapes: Mapping[Any, set[Shape]]
) -> tuple[str, Any] | None:
    """Returns what is expected of a link among others, and what there is."""
    if link.source not in shapes:
        return f"a link into its first node, {link.source!r}", "none"
    if link.to != lattice.nodes[-1] and not lattice.outgoing[link.to]:
        return f"a link out of its last node, {link.to!r}", "none"
    if not link.weighed and len(lattice.outgoing[link.source]) > 1:
        return f"a weighed link, as others leave {link.source!r}", "a fixed one"
    if {tuple(link.shape)} != shapes[link.source]:
        (shape,) = shapes[link.source]
        return f"an input of the shape {shape}", tuple(link.shape)
    return None


def _output(link: Link, option: int) -> Shape:
    *_, (block, shape) = link.blocks(option)
    return ops.lower(block, shape).output_shape


def require(space: Space) -> LatticeSpace:
    """Returns a space that has a lattice.

    Raises:
        ConfigError: for any other.
    """
    if not isinstance(space, LatticeSpace):
        raise ConfigError(
            "a gradient search takes spaces with a lattice, such as "
            f"densenas_mbv2. Received: space={space.name!r}"
        )
    return space
