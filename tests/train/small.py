"""A network of a stem, a block and a classifier, trained with any options."""

from tests import tiny_runs
from tfnas import data
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.spaces import net_config
from tfnas.train import distribute
from tfnas.train import recipe
from tfnas.train import run_state
from tfnas.train.loop import Loop
from tfnas.train.retrain import Retraining


def arch(classes=10):
    """Returns the network, for images of 32 px."""
    space = tiny_runs.space()
    blocks = (
        space.stem()[0],
        space.head(0, 1, "mbconv_k3_t3"),
        net_config.tail_block(tiny_runs.SPEC.widths[1], 16),
        Block("classifier", 16, classes),
    )
    return Arch(blocks, (32, 32, 3), classes, None)


def config(**options):
    """Returns a micro config: 32 images, 2 epochs of 2 steps."""
    made = tiny_runs.make_config(
        data__limit_train=32, data__limit_test=20, train__augment="none",
        train__lr=0.05,
    )
    with made.train.unlocked():
        made.train.update({**recipe.DEFAULTS, **options})
    return made


def training(strategy="default", **options):
    """Returns a training that has not begun."""
    made = config(**options)
    run_state.start(made.seed)
    loop = Loop(distribute.strategy(strategy), made.seed, progress=False)
    return Retraining(arch(), data.load(made.data), loop, made.train)
