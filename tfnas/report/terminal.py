"""The headline table for a terminal."""

import textwrap
from pathlib import Path

from tfnas.report import files
from tfnas.report import html
from tfnas.report import summary
from tfnas.report import workdir as workdirs

_WIDTH = 80


def publish(workdir: str | Path) -> str:
    """Writes the page; returns what a terminal shows of the run.

    Args:
        workdir: The workdir of `tfnas-run` or of a single search.

    Raises:
        ArtifactError: If the result is missing, or a file is unreadable.
    """
    path = html.write(workdir)
    return (
        f"{terminal_table(workdir)}\nThe whole report: {path}\n"
        f"{next_steps(workdir)}"
    )


def terminal_table(workdir: str | Path) -> str:
    """Returns the headline table and what it says about the search.

    The networks stand side by side, one figure a line.

    Args:
        workdir: The workdir of `tfnas-run` or of a single search.

    Returns:
        The text, without a newline at its end.

    Raises:
        ArtifactError: If the result is missing, or a file is unreadable.
    """
    run = workdirs.read(workdir)
    table = summary.headline(run)
    columns = [table.titles, *table.rows]
    widths = [max(map(len, column)) for column in columns]
    lines = [_line(cells, widths) for cells in zip(*columns, strict=True)]
    rule = "-" * (sum(widths) + 3 * len(table.rows))
    sentences = [
        textwrap.fill(f"{'+' if verdict.good else '!'} {verdict.text}", _WIDTH)
        for verdict in summary.verdicts(run)
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule, *sentences])


def next_steps(workdir: str | Path) -> str:
    """Returns where the files of the result lie, and what to type next.

    Args:
        workdir: The workdir of `tfnas-run` or of a single search.

    Returns:
        The text, a path or a command a line; empty while there are none.

    Raises:
        ArtifactError: If the result is missing, or a file is unreadable.
    """
    return files.text(workdirs.read(workdir))


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    title, *values = cells
    padded = [title.ljust(widths[0])]
    padded += [v.rjust(w) for v, w in zip(values, widths[1:], strict=True)]
    return "   ".join(padded)
