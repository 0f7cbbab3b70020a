"""Language models small enough for tests, texts for them, and their truth."""

import itertools

import numpy as np

from tfnas.ops.masked_dag import MaskedDag
from tfnas.ops.recurrent import LanguageParts
from tfnas.ops.recurrent import read_cell

WIDTH, WORDS, STEPS = 8, 20, 5
# All activations, a skipped node number, two leaves, one of them behind node
# 0 alone.
CELL = "relu.tanh.relu.sigmoid.identity:0-1.0-4.1-2.1-3.2-3"


def make_arch(cell=CELL, width=WIDTH, words=WORDS):
    """Returns a language model with a cell given as text."""
    return LanguageParts(read_cell(cell), words, width, STEPS).arch()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTS = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "identity": lambda x: x,
}


def cell_step(dag: MaskedDag, kernels, x, h, mask_x=1.0, mask_h=1.0):
    """One time step as the paper's formulas say it, edge by edge.

    `kernels` has the input kernel under `None` and one for each edge.
    """
    width = h.shape[-1]
    product = np.concatenate([x * mask_x, h * mask_h], -1) @ kernels[None]
    c, z = product[:, :width], product[:, width:]
    states = {0: h + sigmoid(c) * (np.tanh(z) - h)}
    has_child = set()
    for j in range(1, len(dag.ops)):
        arriving = []
        for i in range(j):
            if (i, j) in dag.edges and i in states:
                product = (states[i] * mask_h) @ kernels[i, j]
                c, z = product[:, :width], product[:, width:]
                new = ACTS[dag.ops[j]](z)
                arriving.append(
                    states[i] + sigmoid(c) * (new - states[i])
                )
                has_child.add(i)
        if arriving:
            states[j] = sum(arriving) / len(arriving)
    leaves = [s for node, s in states.items() if node not in has_child]
    return sum(leaves) / len(leaves)


def kernels_of(layer):
    """Returns the kernels of a layer as `cell_step` wants them."""
    edges = {
        tuple(map(int, name.split("_")[1:])): np.array(kernel)
        for name, kernel in layer.edge_kernels.items()
    }
    return {None: np.array(layer.input_kernel), **edges}


def write_text(folder, sentences=(300, 60, 60), seed=0):
    """Writes a text of a small grammar; returns the folder's data name.

    A verb follows every noun and tells its number, so there is something to
    learn.
    """
    rng = np.random.default_rng(seed)
    nouns = [("cat", "purrs"), ("dogs", "bark"), ("bird", "sings")]
    folder.mkdir(parents=True, exist_ok=True)
    for part, number in zip(
        ("train", "valid", "test"), sentences, strict=True
    ):
        lines = []
        for _ in range(number):
            picks = rng.integers(0, len(nouns), rng.integers(1, 4))
            words = itertools.chain.from_iterable(
                ("the", *nouns[pick]) for pick in picks
            )
            lines.append(" " + " ".join(words) + " \n")
        (folder / f"{part}.txt").write_text("".join(lines))
    return f"ptb:{folder}"
