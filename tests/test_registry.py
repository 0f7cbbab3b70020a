"""A registry finds what was registered and lists it when asked in vain."""

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
