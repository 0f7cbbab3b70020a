"""Tables of text that fit a screen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Sequence

WIDTH = 80
UNKNOWN = "-"


def layout(
    titles: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1
) -> str:
    """Returns a table: a line of titles, a rule, and a line for each row.

    Args:
        titles: One for each column.
        rows: The cells; a table that is wider than `WIDTH` has its widest
            column cut.
        left: How many of the first columns are of words; the others are of
            numbers and end at the right.

    Example:

    ```python
    print(layout(["op", "params"], [["conv", "464"], ["mbconv", "12"]]))
    # op      params
    # --------------
    # conv       464
    # mbconv      12
    ```
    """
    columns = list(zip(titles, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    spare = WIDTH - sum(widths) - 2 * (len(widths) - 1)
    if spare < 0:
        widest = widths.index(max(widths))
        widths[widest] += spare
    lines = []
    for cells in zip(*columns, strict=True):
        texts = [
            fit(cell, width).ljust(width) if i < left
            else fit(cell, width).rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join(texts).rstrip())
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:]])


def fit(text: str, width: int = WIDTH) -> str:
    """Returns a text, cut to a width."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def amount(value: float | None) -> str:
    """Returns a count in four digits or so: `251.3 M`, `48.2 k`, `960`."""
    if value is None:
        return UNKNOWN
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"


def power_of_ten(value: int | None) -> str:
    """Returns how large a number is: `15,625` or `10^18.3`."""
    if value is None:
        return UNKNOWN
    return f"{value:,}" if value < 1e6 else f"10^{math.log10(value):.1f}"


def sides(shape: Sequence[int]) -> str:
    """Returns a shape as `224x224x3`."""
    return "x".join(map(str, shape))
