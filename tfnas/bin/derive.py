"""Derives a network from a search, at its target or at another one.

    tfnas-derive --workdir=runs/search --target_ms=15 --output=a.json

Works any time after the first epoch, also while the search runs: the newest
checkpoint is read. Of a search without a target the published rule derives
(most probable path, likeliest ops), unless one is given here. AutoShrink
keeps the graph of every round: `--step=12` is that after twelve, `--step=0`
the complete one, and `--space=autoshrink_cnn` puts the cell that was found
on small images into the network for large ones.
"""

from absl import flags

from tfnas import cli
from tfnas import spaces
from tfnas.bin import options

_WORKDIR = options.define_workdir()
_OUTPUT = flags.DEFINE_string(
    "output", None, "Where to write the network, a JSON file.", required=True
)
_CLASSES = flags.DEFINE_integer(
    "classes", None, "Classes of the network, where it is to be trained on "
    "more of them than the search saw.", lower_bound=2,
)
_STEP = flags.DEFINE_integer(
    "step", None, "Number of rounds after which to take the graph of a "
    "search that shrinks one.", lower_bound=0,
)
_SPACE = flags.DEFINE_string(
    "space", None, "Space to build the network in, where it is not that of "
    "the search: autoshrink_cnn for a cell found in autoshrink_cnn@32, say.",
)
options.define_target()
options.define_allow_imports()


def main(argv: list[str]) -> None:
    """Derives and writes the network."""
    del argv
    config = options.saved_config(_WORKDIR.value)
    target = options.target(config)
    if _SPACE.value is not None:
        spaces.get(_SPACE.value)
    cli.load_tensorflow()
    from tfnas.cost.counting import count
    from tfnas.cost.objective import check_target
    from tfnas.derive import with_classes
    from tfnas.search import runner

    search = runner.open_search(config, _WORKDIR.value)
    unit = "M multiply-adds" if config.lut.path is None else "ms"
    if target is None:
        target = search.target
    else:
        check_target(target, search.reachable(), unit)
    if _STEP.value is None:
        arch = search.derive(target)
    else:
        arch = search.at_step(_STEP.value)
    cost = search.cost(arch)
    if _SPACE.value is not None:
        text = spaces.get(config.space).encode(arch)
        arch = _in_channels(arch.input_shape[-1], _SPACE.value).decode(text)
    if _CLASSES.value is not None:
        arch = with_classes(arch, _CLASSES.value)
    arch.save(_OUTPUT.value)
    counts = count(arch)
    print(
        f"{_OUTPUT.value}: {arch.id}, {cost:.4g} {unit} "
        f"predicted, {counts.params:,} parameters, {counts.madds:,} "
        "multiply-adds"
    )


def _in_channels(channels: int, name: str) -> spaces.Space:
    """Returns a space in its own image size, for images of some channels."""
    space = spaces.get(name)
    *size, own = space.input_shape
    if own == channels or not size:  # without a size it is a text's
        return space
    return spaces.get(name, input_shape=(*size, channels))


def entry() -> None:
    """Runs the program `tfnas-derive`."""
    cli.run(main)


if __name__ == "__main__":
    entry()
