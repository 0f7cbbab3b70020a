"""The page on int8 says what the code does."""

import pathlib

from tfnas.lowering.rewritings import XNNPACK

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "int8.md"


def test_each_rewriting_stands_there_with_its_gains():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("| ")
    ]
    for name, rewriting in XNNPACK.items():
        gains = [
            "-" if gain is None or dtype not in rewriting.types else f"{gain:g}"
            for dtype, gain in (
                ("float32", rewriting.gain_float32),
                ("int8", rewriting.gain_int8),
            )
        ]
        row = [rewriting.pattern, rewriting.writing, *gains, rewriting.size]
        assert row in rows, name
