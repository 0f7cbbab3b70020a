"""A registry finds what was registered and lists it when asked in vain."""

import collections

import pytest

from tfnas import spaces
from tfnas.errors import ConfigError
from tfnas.registry import Registry


@pytest.fixture
def fruits():
    registry = Registry("fruit")
    registry.register("pear", 2)
    registry.register("apple", 1)
    return registry


def test_registered_objects_are_found(fruits):
    assert fruits.get("pear") == 2
    assert fruits.names() == ("apple", "pear")
    assert "apple" in fruits and "plum" not in fruits


def test_unknown_name_lists_the_known_ones(fruits):
    message = (
        "Unknown fruit. Expected one of: apple, pear. Received: name='plum'"
    )
    with pytest.raises(ConfigError) as failure:
        fruits.get("plum")
    assert str(failure.value) == message


def test_name_is_taken_once(fruits):
    with pytest.raises(ValueError, match="Received: name='apple'"):
        fruits.register("apple", 3)
    assert fruits.get("apple") == 1


def test_known_paths_are_imported_when_they_are_asked_for():
    shapes = Registry("shape", {"count": "collections.Counter", "no": "a.b"})
    assert shapes.names() == ("count", "no") and "no" in shapes
    assert shapes.get("count") is collections.Counter
    with pytest.raises(ConfigError, match="path of a shape.*Received: 'a.b'"):
        shapes.get("no")


def test_only_a_table_that_says_so_imports_what_it_does_not_know(fruits):
    own = Registry("shape", imports=True)
    assert own.get("collections.Counter") is collections.Counter
    own.check("my_package.thing")  # nothing is imported
    for name in ("Counter", "space@32.json", "../a.b", ".x", ""):
        with pytest.raises(ConfigError, match="Unknown shape"):
            own.check(name)
    with pytest.raises(ConfigError, match="Unknown fruit"):
        fruits.get("collections.Counter")


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Modules of a user that fail, and one that does not."""
    for name, text in {
        "tfnas_raises": "raise KeyError('gone\\nand more')",
        "tfnas_no_python": "def f(:",
        "tfnas_exits": "import sys; sys.exit(3)",
        "tfnas_own": "three = 3\ndef make(classes=None): return classes",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    "path, told",
    [
        ("tfnas_raises.x", "KeyError in it: 'gone"),
        ("tfnas_no_python.x", "SyntaxError in it: invalid syntax"),
        ("tfnas_exits.x", "SystemExit in it: 3"),
        ("tfnas_own.three", "3 is not a callable object"),
        ("os.path.join", "missing a required argument: 'a'"),
        ("os.system", "Expected the path of what makes a shape of classes"),
        ("math.sqrt", "a function of Python's own"),
    ],
)
def test_a_path_to_what_makes_nothing_is_refused_in_a_line(
    broken, path, told
):
    own = Registry("shape", imports=True)
    with pytest.raises(ConfigError) as caught:
        own.make(path, classes=1)
    message = str(caught.value)
    assert told in message and repr(path) in message
    assert "\n" not in message


def test_what_a_path_makes_is_made(broken):
    own = Registry("shape", imports=True)
    assert own.make("tfnas_own.make", classes=4) == 4


@pytest.mark.parametrize("path", ["tfnas_own.make", "collections.Counter"])
def test_a_space_is_asked_whether_it_is_one(broken, path):
    with pytest.raises(ConfigError, match="makes a space"):
        spaces.get(path)
