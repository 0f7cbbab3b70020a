"""Searches a network under a latency table or multiply-adds.

    tfnas-search --config=configs/densenas_mbv2.py --lut=host.json \\
        --target_ms=20 --workdir=runs/search

Without `--lut` the cost is multiply-adds (`--target_madds`). A search that
was killed goes on when the same command is given again.
"""

from absl import flags

from tfnas import cli
from tfnas.bin import checks
from tfnas.bin import configs
from tfnas.bin import options

_CONFIG = configs.define_config()
_WORKDIR = options.define_workdir()
options.define_target()
options.define_overrides()
flags.DEFINE_integer(
    "workers", None, "Networks trained side by side, in searches that train "
    "each candidate. The result is the same for any number.", lower_bound=1,
)


def main(argv: list[str]) -> None:
    """Runs the search and prints what it found."""
    del argv
    config = options.merge(_CONFIG.value)
    checks.search(config, _WORKDIR.value)
    cli.load_tensorflow()
    from tfnas import search
    from tfnas.search.evaluate import EVALUATORS

    result = search.run_search(config, _WORKDIR.value)
    result.summary()
    scores = EVALUATORS.get(config.search.get("evaluator", "supernet"))
    print(f"score: {scores.meaning}. Result: {_WORKDIR.value}/result.json")


def entry() -> None:
    """Runs the program `tfnas-search`."""
    cli.run(main)


if __name__ == "__main__":
    entry()
