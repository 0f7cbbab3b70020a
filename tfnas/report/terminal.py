"""The headline table for a terminal."""

import textwrap
from pathlib import Path

from tfnas import text_table
from tfnas.report import files
from tfnas.report import html
from tfnas.report import summary
from tfnas.report import workdir as workdirs


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
    titles, *lines = zip(table.titles, *table.rows, strict=True)
    sentences = [
        textwrap.fill(
            f"{'+' if verdict.good else '!'} {verdict.text}", text_table.WIDTH
        )
        for verdict in summary.verdicts(run)
    ]
    return "\n".join([text_table.layout(titles, lines), "", *sentences])


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
