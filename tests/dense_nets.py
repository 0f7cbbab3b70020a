"""Tiny dense spaces, and truths about them found by enumeration.

The enumerations follow the definitions (all paths, all assignments of ops),
so that they share nothing with the recurrences and dynamic programs of tfnas.
"""

import dataclasses
import itertools

import numpy as np

from tfnas.cost.lattice import LatticeCosts
from tfnas.search.derivation import Likelihood
from tfnas.spaces.dense import DenseChoice
from tfnas.spaces.dense import DenseSpace
from tfnas.spaces.dense_specs import SPECS

# Four searchable blocks, two of which reach the tail:
# 0 > 1 2, 1 > 2 3 4, 2 > 3 4, 3 > 4 tail, 4 > tail.
_SHAPE = dict(
    input_size=16,
    classes=5,
    resolutions=(16, 8, 8, 4, 4),
    stages=(0, 1, 1, 2, 2, 3),
    layers=(0, 1, 2, 1, 0),
)
MBV2 = dataclasses.replace(
    SPECS["densenas_mbv2@32"],
    widths=(8, 12, 16, 20, 24),
    last_dim=40,
    head_ops=("mbconv_k3_t3", "mbconv_k5_t3", "mbconv_k3_t6"),
    stack_ops=("mbconv_k3_t3", "mbconv_k5_t6", "skip_connect"),
    **_SHAPE,
)
RESNET = dataclasses.replace(
    SPECS["densenas_resnet@32"],
    widths=(32, 12, 16, 20, 24),
    last_dim=40,
    **_SHAPE,
)
BOTTLENECK = dataclasses.replace(
    RESNET,
    head_ops=("bottle_neck",),
    stack_ops=("bottle_neck", "skip_connect"),
)


@dataclasses.dataclass(frozen=True)
class Tables:
    """Costs of a dense space by place, as the enumerations read them.

    Args:
        input_cost: Of the stem, and beside all operators.
        heads: `(source, to)` to the costs of the head ops.
        stacks: Block to its layers' costs.
        tails: Last block of a path to the cost of the tail.
        fc: Of a classifier that all paths share.
    """

    input_cost: float
    heads: dict
    stacks: dict
    tails: dict
    fc: float


@dataclasses.dataclass(frozen=True)
class Probabilities:
    """Probabilities by place: of `paths`, `heads` and `stacks`."""

    paths: dict
    heads: dict
    stacks: dict


def space(spec=MBV2, name="tiny"):
    """Returns the space of a spec."""
    return DenseSpace(name, spec)


def tables(space, costs):
    """Returns costs of a lattice by place."""
    spec, lattice = space.spec, costs.lattice
    fc = costs.row("classifier")[0] if "classifier" in lattice else 0.0
    return Tables(
        costs.base + costs.row(space.stem_name)[0],
        {
            (b, to): costs.row(f"head{b}_{to}")
            for b, to in links(spec) if to != spec.tail
        },
        {
            b: tuple(costs.row(f"stack{b}_{j}") for j in range(n))
            for b, n in enumerate(spec.layers)
        },
        {b: costs.row(f"tail{b}")[0] for b in spec.incoming(spec.tail)},
        fc,
    )


def lattice_costs(space, tables):
    """Returns the costs by place as those of the space's lattice."""
    rows = {space.stem_name: (tables.input_cost,), "classifier": (tables.fc,)}
    for (b, to), row in tables.heads.items():
        rows[f"head{b}_{to}"] = tuple(row)
    for b, layers_ in tables.stacks.items():
        for j, row in enumerate(layers_):
            rows[f"stack{b}_{j}"] = tuple(row)
    for b, cost in tables.tails.items():
        shared = "classifier" in space.lattice
        rows[f"tail{b}"] = (cost if shared else cost + tables.fc,)
    lattice = space.lattice
    rows = tuple(rows[link.name] for link in lattice.links)
    return LatticeCosts(lattice, rows, "ms")


def likelihood(space, p):
    """Returns probabilities by place as those of the space's lattice."""
    lattice, spec = space.lattice, space.spec
    options = {
        lattice.find(f"head{b}_{to}"): row for (b, to), row in p.heads.items()
    }
    options |= {
        lattice.find(f"stack{b}_{j}"): row for (b, j), row in p.stacks.items()
    }
    paths = [p.paths[link] for link in links(spec)]
    return Likelihood.of(lattice, options, paths)


def op_tables(lattice):
    """Returns the numbers of the links of heads, and of stack layers."""
    return [
        [i for i in lattice.searched if lattice.links[i].weighed is weighed]
        for weighed in (True, False)
    ]


def links(spec):
    """Returns all connections, sources and destinations ascending."""
    return [(b, to) for b in range(spec.tail) for to in spec.outgoing(b)]


def layers(spec):
    """Returns all stack layers as `(block, layer)`, ascending."""
    return [(b, j) for b in range(spec.tail) for j in range(spec.layers[b])]


def paths(spec):
    """Returns all paths as tuples of blocks from 0 to the tail."""
    done, growing = [], [(0,)]
    while growing:
        path = growing.pop()
        if path[-1] == spec.tail:
            done.append(path)
        growing += [(*path, to) for to in spec.outgoing(path[-1])]
    return sorted(done)


def softmax(x):
    """Returns the softmax over the last axis."""
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def probabilities(spec, seed):
    """Returns random probabilities of all choices of a space."""
    rng = np.random.default_rng(seed)
    p = Probabilities({}, {}, {})
    for b in range(spec.tail):
        out = spec.outgoing(b)
        values = softmax(rng.normal(size=len(out))).tolist()
        for to, value in zip(out, values, strict=True):
            p.paths[b, to] = value
            if to != spec.tail:
                p.heads[b, to] = softmax(rng.normal(size=len(spec.head_ops)))
    for key in layers(spec):
        p.stacks[key] = softmax(rng.normal(size=len(spec.stack_ops)))
    return p


def expected_cost(spec, costs, links_p, heads_p, stacks_p):
    """Mean cost of a random walk from the stem to the tail, op by op.

    Args:
        spec: A `DenseSpec`.
        costs: `Tables`.
        links_p: Probability of each connection, by `(source, to)`.
        heads_p: Weights of all head ops, by `(source, to)`.
        stacks_p: Weights of all stack ops, by `(block, layer)`.
    """
    total = 0.0
    for path in paths(spec):
        walk = list(itertools.pairwise(path))
        cost = costs.tails[path[-2]]
        for link in walk[:-1]:
            cost = cost + np.dot(heads_p[link], costs.heads[link])
        for b in path[1:-1]:
            for j, row in enumerate(costs.stacks[b]):
                cost = cost + np.dot(stacks_p[b, j], row)
        total = total + np.prod([links_p[link] for link in walk]) * cost
    return costs.input_cost + total + costs.fc


def integer_costs(spec, seed, high=60):
    """Returns random whole-number costs; layers of one block cost the same."""
    rng = np.random.default_rng(seed)

    def row(ops, skip_free):
        values = rng.integers(1, high, len(ops))
        if skip_free:
            values[ops.index("skip_connect")] = 0
        return tuple(float(v) for v in values)

    return Tables(
        float(rng.integers(1, high)),
        {
            link: row(spec.head_ops, False)
            for link in links(spec)
            if link[1] != spec.tail
        },
        {
            b: (row(spec.stack_ops, True),) * spec.layers[b]
            for b in range(spec.tail)
        },
        {b: float(rng.integers(1, high)) for b in spec.incoming(spec.tail)},
        float(rng.integers(1, high)),
    )


def assignments(spec, costs, p):
    """Yields (choice, log probability, cost) of every choice of every op.

    Choices that differ in where their skips are come more than once.
    """
    for path in paths(spec):
        walk = list(itertools.pairwise(path))
        rows = [
            (spec.head_ops, costs.heads[link], p.heads[link])
            for link in walk[:-1]
        ]
        rows += [
            (spec.stack_ops, costs.stacks[b][j], p.stacks[b, j])
            for b in path[1:-1]
            for j in range(spec.layers[b])
        ]
        base = costs.input_cost + costs.tails[path[-2]] + costs.fc
        log = sum(np.log(p.paths[link]) for link in walk)
        for ops in itertools.product(*[range(len(row[0])) for row in rows]):
            names = iter([row[0][i] for row, i in zip(rows, ops, strict=True)])
            heads = tuple(next(names) for _ in path[1:-1])
            stacks = tuple(
                tuple(
                    name
                    for name in [next(names) for _ in range(spec.layers[b])]
                    if name != "skip_connect"
                )
                for b in path[1:-1]
            )
            yield (
                DenseChoice(path[1:-1], heads, stacks),
                log
                + sum(
                    np.log(row[2][i]) for row, i in zip(rows, ops, strict=True)
                ),
                base
                + sum(row[1][i] for row, i in zip(rows, ops, strict=True)),
            )
