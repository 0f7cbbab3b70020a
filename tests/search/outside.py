"""A space, an evaluator and a search that no file of tfnas knows of."""

from tfnas.arch import Arch
from tfnas.search import builders
from tfnas.search.evaluate import Evaluator
from tfnas.search.query import Strategy
from tfnas.spaces.nasbench201 import NasBench201Space


def few(classes=None, input_shape=None):
    """Returns a space under a name of its own."""
    return NasBench201Space(f"{__name__}.few", classes, input_shape)


class FirstOp(Evaluator):
    """Likes the ops of a cell that come late in the list."""

    meaning = "what the first op is"

    def __init__(self):
        self.space = few()

    def score(self, arch: Arch) -> float:
        return self.space.codes(arch)[0] / 10


class CountUp(Strategy):
    """Asks for one code after the other."""

    def __init__(self, space, limit):
        self.space, self.limit = space, limit
        self.told = []

    def ask(self):
        number = len(self.told)
        return self.space.canonical((number % 5, *[3] * 5))

    def tell(self, codes, score, cost):
        self.told.append((codes, score))

    def best(self):
        return max(self.told, key=lambda told: told[1])

    def state(self):
        return {"told": self.told}

    def restore(self, state):
        self.told = [(tuple(codes), score) for codes, score in state["told"]]


def build(setting):
    """Makes the search that a config describes."""
    return builders.build(
        setting, lambda space, limit, search, seed: CountUp(space, limit)
    )
