"""Writes `report.html` and `plots/` into a workdir and prints its summary.

    tfnas-report --workdir=runs/demo
"""

from absl import flags

from tfnas import cli

_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Directory of a tfnas-run or of a single search; the report goes there.",
    required=True,
)


def main(argv: list[str]) -> None:
    """Writes the report."""
    del argv
    # matplotlib takes a second to load, which --help should not.
    from tfnas import report

    print(report.publish(_WORKDIR.value))


def entry() -> None:
    """Runs the program `tfnas-report`."""
    cli.run(main)


if __name__ == "__main__":
    entry()
