"""One page, its plots and a terminal table from a workdir.

The report reads files only: it trains, measures and decides nothing.

Example:
    >>> path = tfnas.report.write("runs/first")
    >>> print(tfnas.report.terminal_table("runs/first"))
"""

from tfnas.report.html import write
from tfnas.report.terminal import next_steps
from tfnas.report.terminal import publish
from tfnas.report.terminal import terminal_table

__all__ = ["next_steps", "publish", "terminal_table", "write"]
