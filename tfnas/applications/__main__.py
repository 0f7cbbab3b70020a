"""Prints what the applications cost and what they reach.

    python -m tfnas.applications [FILE.json ...]

The files are networks that `tfnas.applications.publish` wrote.
"""

from tfnas import cli
from tfnas.applications import listing
from tfnas.applications import publishing


def main(argv: list[str]) -> None:
    """Prints the table."""
    for path in argv[1:]:
        publishing.register_file(path)
    print(listing.markdown(listing.table()))


if __name__ == "__main__":
    cli.run(main, words=True)
