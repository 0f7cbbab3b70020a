"""A registry finds what was registered and lists it when asked in vain."""

import collections

import pytest

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
