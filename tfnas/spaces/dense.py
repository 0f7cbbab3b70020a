"""Densely connected blocks to choose a path through (DenseNAS).

A network is a path through the blocks, one head op for each block on it and
up to `layers` stack ops. Source: Fang et al., "Densely Connected Search Space
for More Flexible Neural Architecture Search", CVPR 2020, section 3.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.spaces import net_config
from tfnas.spaces.base import image_shape
from tfnas.spaces.base import register
from tfnas.spaces.dense_specs import SPECS
from tfnas.spaces.dense_specs import DenseSpec
from tfnas.spaces.lattice import LatticeSpace
from tfnas.spaces.lattice import Link
from tfnas.spaces.lattice import Route
from tfnas.spaces.net_config import Row


@dataclasses.dataclass(frozen=True)
class DenseChoice:
    """The choices that make one network of a dense space.

    Args:
        path: Searchable blocks on the path in order, stem and tail excluded.
        heads: Published op name of each block's head layer.
        stacks: Published op names of each block's stack layers, skips
            dropped.
    """

    path: tuple[int, ...]
    heads: tuple[str, ...]
    stacks: tuple[tuple[str, ...], ...]


class DenseSpace(LatticeSpace):
    """A densely connected space.

    Args:
        name: Key of `SPECS`.
        spec: The space's numbers.
        classes: Width of the logits; defaults to the spec's.
        input_shape: `(height, width, channels)`; defaults to the spec's
            square RGB image.

    Raises:
        ConfigError: when the image is too small for the strides.
    """

    def __init__(
        self,
        name: str,
        spec: DenseSpec,
        classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
    ):
        stride = spec.input_size // spec.resolutions[-1]
        super().__init__(
            name, image_shape(name, input_shape, spec.input_size, stride),
            spec.classes if classes is None else classes,
        )
        self.spec = spec
        if spec.net_type == "res":
            # Their weights do not stay in the cache from block to block.
            self.entries = "chain"

    @functools.cached_property
    def num_paths(self) -> tuple[int, ...]:
        """Number of paths from each block to the tail."""
        ways = [0] * self.spec.tail + [1]
        for b in reversed(range(self.spec.tail)):
            ways[b] = sum(ways[to] for to in self.spec.outgoing(b))
        return tuple(ways)

    def to_arch(self, choice: DenseChoice) -> Arch:
        """Returns the network that a set of choices makes."""
        spec = self.spec
        rows = []
        if spec.net_type == "mbv2":
            rows.append(Row(spec.widths[0], spec.widths[0], "mbconv_k3_t1"))
        source = 0
        for to, head, stack in zip(
            choice.path, choice.heads, choice.stacks, strict=True
        ):
            rows.append(
                Row(
                    spec.widths[source], spec.widths[to], head, stack,
                    spec.stride(source, to),
                )
            )
            source = to
        if spec.net_type == "mbv2":
            rows.append(Row(spec.widths[source], spec.last_dim, "conv1_1"))
        arch = net_config.to_arch(
            spec.net_type, rows, self.input_shape, self.classes,
            spec.stem_stride,
        )
        return dataclasses.replace(arch, space=self.name)

    def to_choice(self, arch: Arch) -> DenseChoice:
        """Returns the choices that make a network of this space.

        Raises:
            ArtifactError: when the space does not contain the network.
        """
        rows = net_config.to_rows(arch)
        if self.spec.net_type == "mbv2":
            rows = rows[1:-1]
        widths = self.spec.widths
        if not rows or any(r.out_channels not in widths[1:] for r in rows):
            raise ArtifactError(
                f"space `{self.name}` has blocks of the widths {widths}. "
                f"Received: {[r.out_channels for r in rows]}"
            )
        choice = DenseChoice(
            tuple(widths.index(r.out_channels) for r in rows),
            tuple(r.head for r in rows),
            tuple(r.stack for r in rows),
        )
        path = (0, *choice.path, self.spec.tail)
        ok = all(
            b in self.spec.outgoing(a)
            for a, b in zip(path, path[1:], strict=False)
        )
        ok = ok and set(choice.heads) <= set(self.spec.head_ops)
        ok = ok and all(
            len(stack) <= self.spec.layers[b]
            and set(stack) <= set(self.spec.stack_ops) - {"skip_connect"}
            for b, stack in zip(choice.path, choice.stacks, strict=True)
        )
        if not ok or self.to_arch(choice).id != arch.id:
            raise ArtifactError(
                f"space `{self.name}` does not contain this network. "
                f"Received: {net_config.write(rows)}"
            )
        return choice

    def encode(self, arch: Arch) -> str:
        """Writes a network, also one outside the space, as a net_config.

        Raises:
            ArtifactError: when a net_config cannot express the network.
        """
        rows = net_config.to_rows(arch)
        self._check_net_type(net_config.net_type_of(rows))
        return net_config.write(rows)

    def _check_net_type(self, net_type: str) -> None:
        if net_type != self.spec.net_type:
            raise ArtifactError(
                f"space `{self.name}` has net_type {self.spec.net_type!r}. "
                f"Received: net_type={net_type!r}"
            )

    def decode(self, text: str) -> Arch:
        """Reads a net_config.

        Widths and tails outside the space are read too (published nets of
        earlier revisions have them); `arch.space` is then `None`.

        Raises:
            ArtifactError: naming the row and what is wrong with it.
        """
        net_type, rows = net_config.parse(text)
        self._check_net_type(net_type)
        arch = net_config.to_arch(
            net_type, rows, self.input_shape, self.classes,
            self.spec.stem_stride,
        )
        net_config.check(arch)
        named = dataclasses.replace(arch, space=self.name)
        return named if self.contains(named) else arch

    def sample(self, seed: int) -> Arch:
        """Draws a network.

        Every path is equally likely, and so is every op of each layer on it.
        """
        rng = np.random.default_rng(seed)
        path, block = [], 0
        while True:
            to = np.array(self.spec.outgoing(block))
            ways = np.array([float(self.num_paths[t]) for t in to])
            block = int(rng.choice(to, p=ways / ways.sum()))
            if block == self.spec.tail:
                break
            path.append(block)
        return self.to_arch(
            DenseChoice(
                tuple(path),
                tuple(str(rng.choice(self.spec.head_ops)) for _ in path),
                tuple(self._draw_stack(b, rng) for b in path),
            )
        )

    def _draw_stack(
        self, block: int, rng: np.random.Generator
    ) -> tuple[str, ...]:
        drawn = rng.choice(self.spec.stack_ops, self.spec.layers[block])
        return tuple(str(op) for op in drawn if op != "skip_connect")

    def random_neighbor(self, arch: Arch, seed: int) -> Arch:
        """Changes one op, adds or drops one layer, or reroutes one block."""
        rng = np.random.default_rng(seed)
        choice = self.to_choice(arch)
        moves = [*self._op_moves(choice), *self._path_moves(choice, rng)]
        return self.to_arch(moves[int(rng.integers(len(moves)))])

    def _op_moves(self, choice: DenseChoice) -> Iterator[DenseChoice]:
        replace = dataclasses.replace
        ops = [op for op in self.spec.stack_ops if op != "skip_connect"]
        for i, block in enumerate(choice.path):
            for op in self.spec.head_ops:
                heads = (*choice.heads[:i], op, *choice.heads[i + 1 :])
                if heads != choice.heads:
                    yield replace(choice, heads=heads)
            stack = choice.stacks[i]
            new = {
                (*stack[:j], *(x for x in [op] if x), *stack[j + 1 :])
                for j in range(len(stack))
                for op in (*ops, "")
            }
            if len(stack) < self.spec.layers[block]:
                new |= {(*stack, op) for op in ops}
            for option in sorted(new - {stack}):
                stacks = (*choice.stacks[:i], option, *choice.stacks[i + 1 :])
                yield replace(choice, stacks=stacks)

    def _path_moves(
        self, choice: DenseChoice, rng: np.random.Generator
    ) -> Iterator[DenseChoice]:
        """Yields choices with one block more, less or another one."""
        spec = self.spec
        old = dict(
            zip(
                choice.path, zip(choice.heads, choice.stacks, strict=True),
                strict=True,
            )
        )
        ends = (0, *choice.path, spec.tail)
        paths = set()
        for i in range(1, len(ends)):
            for b in spec.outgoing(ends[i - 1]):
                paths.add((*ends[:i], b, *ends[i:]))
                paths.add((*ends[:i], b, *ends[i + 1 :]))
            paths.add((*ends[:i], *ends[i + 1 :]))
        for path in sorted(paths - {ends}):
            linked = all(
                b in spec.outgoing(a)
                for a, b in zip(path, path[1:], strict=False)
            )
            if not linked or path[-1] != spec.tail:
                continue
            chosen = [
                old.get(b)
                or (str(rng.choice(spec.head_ops)), self._draw_stack(b, rng))
                for b in path[1:-1]
            ]
            yield DenseChoice(
                path[1:-1],
                tuple(head for head, _ in chosen),
                tuple(stack for _, stack in chosen),
            )

    def shape(self, block: int) -> tuple[int, ...]:
        """Shape of the output of a block of the space, without the batch."""
        spec = self.spec
        scale = spec.input_size // spec.resolutions[block]
        height, width, _ = self.input_shape
        return (
            math.ceil(height / scale), math.ceil(width / scale),
            spec.tensor_width(block),
        )

    def stem(self) -> list[Block]:
        """The stem and, in the MobileNetV2 form, the fixed block."""
        spec, width = self.spec, self.spec.widths[0]
        stem = net_config.stem_block(
            spec.net_type, self.input_shape[-1], width, spec.stem_stride
        )
        if spec.net_type == "res":
            return [stem]
        fixed = net_config.to_block("mbconv_k3_t1", width, width, stage=1)
        return [stem, fixed]

    def head(self, source: int, to: int, op: str) -> Block:
        """The block of a head op on the connection of two blocks."""
        widths = self.spec.widths
        return net_config.to_block(
            op, widths[source], widths[to], self.spec.stride(source, to)
        )

    def stack(self, block: int, op: str) -> Block:
        """The block of a stack op of a block of the space."""
        width = self.spec.widths[block]
        if op == "skip_connect":
            width = self.spec.tensor_width(block)
        return net_config.to_block(op, width, width)

    def tail(self, block: int) -> list[Block]:
        """What follows when `block` is the last of the path."""
        spec, width = self.spec, self.spec.tensor_width(block)
        if spec.net_type == "res":
            return [Block("classifier", width, self.classes)]
        return [
            net_config.tail_block(width, spec.last_dim),
            Block("classifier", spec.last_dim, self.classes),
        ]

    def links(self) -> Iterator[Link]:
        """Yields the links; nodes are `(block, stack layers done)`.

        They are in the order of the published parameters: `stem`, `head0_1`
        by source and destination, `stack1_0` by block and layer, `tail6` by
        the nearest block, and in the MobileNetV2 form `classifier`.
        """
        spec, layers = self.spec, self.spec.layers
        yield Link.fixed(
            self.stem_name, (-1, 0), (0, 0), self.stem(), self.input_shape
        )
        for b in range(spec.tail):
            for to in spec.outgoing(b):
                if to != spec.tail:
                    row = tuple((self.head(b, to, op),) for op in spec.head_ops)
                    yield Link(
                        f"head{b}_{to}", (b, layers[b]), (to, 0), row,
                        self.shape(b), weighed=True,
                    )
        for b in range(spec.tail):
            row = tuple((self.stack(b, op),) for op in spec.stack_ops)
            for j in range(layers[b]):
                yield Link(
                    f"stack{b}_{j}", (b, j), (b, j + 1), row, self.shape(b)
                )
        for b in spec.incoming(spec.tail):
            first, *rest = self.tail(b)
            yield Link.fixed(
                f"tail{b}", (b, layers[b]), (spec.tail, 0), [first],
                self.shape(b), weighed=True,
            )
        if rest:  # the same after every tail
            shape = (*self.shape(spec.tail - 1)[:2], spec.last_dim)
            yield Link.fixed(
                "classifier", (spec.tail, 0), (spec.tail, 1), rest, shape
            )

    @property
    def stem_name(self) -> str:
        """Name of the link before the first block."""
        return "stem" if self.spec.net_type == "res" else "stem+fixed"

    def supernet_links(self) -> Iterator[Link]:
        """Yields the published supernet's links.

        In the ResNet form its stem has ReLU where derived networks have
        ReLU6, and its tail the 1x1 convolution that they do not have.
        """
        spec = self.spec
        if spec.net_type == "mbv2":
            yield from self.links()
            return
        for link in self.links():
            (block, *_), *_ = link.options
            if link.name == "stem":
                block = _with(block, act="relu")
                link = dataclasses.replace(link, options=((block,),))
            elif link.weighed and not link.searched:
                block = net_config.tail_block(block.in_channels, spec.last_dim)
                block = _with(block, norm=net_config.NORM_RES)
                link = dataclasses.replace(link, options=((block,),))
            yield link
        classifier = Block("classifier", spec.last_dim, self.classes)
        shape = (*self.shape(spec.tail - 1)[:2], spec.last_dim)
        yield Link.fixed(
            "classifier", (spec.tail, 0), (spec.tail, 1), [classifier], shape
        )

    def has_affine(self, link: str, norm: str) -> bool:
        """Says which norms of the published supernet have scale and offset.

        The ResNet form's stem, the fixed block's projection, and inner ones
        of bottlenecks but for their shortcut.
        """
        if link == "stem":
            return self.random_bias
        if link == "fixed":
            return norm == "project_bn"
        bottleneck = "bottle_neck" in self.spec.stack_ops
        inner = not link.startswith("tail")
        return inner and bottleneck and norm != "shortcut_bn"

    @property
    def random_bias(self) -> bool:
        """Says yes for the ResNet form, as published."""
        return self.spec.net_type == "res"

    def from_route(self, route: Route) -> Arch:
        """Returns the network of a route; skips are dropped."""
        path: list[int] = []
        heads: list[str] = []
        stacks: list[tuple[str, ...]] = []
        for i, k in route:
            link = self.lattice.links[i]
            if link.searched and link.weighed:
                path.append(link.to[0])
                heads.append(self.spec.head_ops[k])
                stacks.append(())
            elif link.searched and self.spec.stack_ops[k] != "skip_connect":
                stacks[-1] += (self.spec.stack_ops[k],)
        return self.to_arch(
            DenseChoice(tuple(path), tuple(heads), tuple(stacks))
        )

    def route(self, arch: Arch) -> Route:
        """Returns the route of a network; skips come last in a block.

        Raises:
            ArtifactError: when the space does not contain the network.
        """
        spec, choice = self.spec, self.to_choice(arch)
        steps, source = [(self.stem_name, 0)], 0
        for block, head, stack in zip(
            choice.path, choice.heads, choice.stacks, strict=True
        ):
            steps.append((f"head{source}_{block}", spec.head_ops.index(head)))
            skips = ("skip_connect",) * (spec.layers[block] - len(stack))
            steps += [
                (f"stack{block}_{j}", spec.stack_ops.index(op))
                for j, op in enumerate((*stack, *skips))
            ]
            source = block
        steps.append((f"tail{source}", 0))
        if spec.net_type == "mbv2":
            steps.append(("classifier", 0))
        return tuple((self.lattice.find(name), k) for name, k in steps)


def _with(block: Block, **attrs: Any) -> Block:
    return dataclasses.replace(block, attrs={**block.attrs, **attrs})


def _register(name: str, spec: DenseSpec) -> None:
    register(
        name,
        lambda classes=None, input_shape=None: DenseSpace(
            name, spec, classes, input_shape
        ),
    )


for _name, _spec in SPECS.items():
    _register(_name, _spec)
