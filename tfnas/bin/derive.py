"""Derives a network from a search, at its target or at another one.

    tfnas-derive --workdir=runs/search --target_ms=15 --output=a.json

Works any time after the first epoch, also while the search runs: the newest
checkpoint is read. Of a search without a target the published rule derives
(most probable path, likeliest ops), unless one is given here.
"""

from absl import flags

from tfnas import cli
from tfnas.bin import options

_WORKDIR = options.define_workdir()
_OUTPUT = flags.DEFINE_string(
    "output", None, "Where to write the network, a JSON file.", required=True
)
_CLASSES = flags.DEFINE_integer(
    "classes", None, "Classes of the network, where it is to be trained on "
    "more of them than the search saw.", lower_bound=2,
)
options.define_target()


def main(argv: list[str]) -> None:
    """Derives and writes the network."""
    del argv
    cli.load_tensorflow()
    from tfnas.cost.counting import count
    from tfnas.cost.objective import check_target
    from tfnas.derive import with_classes
    from tfnas.search import runner

    config = options.saved_config(_WORKDIR.value)
    target = options.target(config)
    search = runner.open_search(config, _WORKDIR.value)
    unit = "M multiply-adds" if config.lut.path is None else "ms"
    if target is None:
        target = search.target
    else:
        check_target(target, search.reachable(), unit)
    arch = search.derive(target)
    cost = search.cost(arch)
    if _CLASSES.value is not None:
        arch = with_classes(arch, _CLASSES.value)
    arch.save(_OUTPUT.value)
    counts = count(arch)
    print(
        f"{_OUTPUT.value}: {arch.id}, {cost:.4g} {unit} "
        f"predicted, {counts.params:,} parameters, {counts.madds:,} "
        "multiply-adds"
    )


def entry() -> None:
    """Runs the program `tfnas-derive`."""
    cli.run(main)


if __name__ == "__main__":
    entry()
