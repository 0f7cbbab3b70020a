"""What the README shows in Python runs as it stands there."""

import pathlib
import re

import keras
import pytest

import tfnas

README = pathlib.Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def blocks():
    """The code under "In Python", block by block."""
    section = re.search(
        r"^## In Python$(.*?)^## ", README.read_text(), re.MULTILINE | re.DOTALL
    )
    return re.findall(r"^```python$\n(.*?)^```$", section[1], re.M | re.S)


def test_search_in_four_lines(blocks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = [line for line in blocks[0].split("\n") if line]
    assert lines.pop(0) == "import tfnas" and len(lines) == 4
    names = {}
    exec(blocks[0], names)
    result, model = names["result"], names["model"]
    assert isinstance(model, keras.Model)
    assert model.name == f"tfnas_{result.best.arch.id}"
    assert 0.2 < result.best.score <= 1  # of ten classes
    assert len(result.baseline) >= 1
    assert result.best.arch.id in capsys.readouterr().out
    saved = tfnas.SearchResult.load("runs/first/result.json")
    assert saved.archs == result.archs


def test_spaces_and_networks_say_what_they_are(
    blocks, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    names = {"tfnas": tfnas}
    exec(blocks[1], names)
    said = capsys.readouterr().out
    assert names["arch"].id in said
    for name in tfnas.spaces.names():
        assert f"\n{name} " in said
