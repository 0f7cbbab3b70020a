"""What is known of how a model wants to be fed, and who said it."""

import math

import pytest

from tfnas import feed as feeds
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.feed import Feed

FILE = Feed(mean=(127.5,), std=(127.5,), labels=("cat", "dog"))


def test_silent_fields_are_filled_and_the_speaker_is_kept():
    known = FILE.by("its metadata").filled(
        Feed(mean=(0.0,), channels=3, scores="logits").by("the data")
    )
    assert (known.mean, known.channels) == ((127.5,), 3)
    assert known.said_by == {
        "mean": "its metadata", "std": "its metadata",
        "labels": "its metadata", "channels": "the data",
        "scores": "the data",
    }
    assert known.image_size is None


def test_facts_come_back_from_json():
    whole = Feed(
        (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (48, 64), 3, ("a", "b"),
        "probabilities",
    )
    assert feeds.from_json(whole.to_json(), "file") == whole
    assert Feed().to_json() == {}
    assert feeds.from_json({}, "file") == Feed()


@pytest.mark.parametrize(
    "record",
    [
        {"mean": "0"}, {"mean": []}, {"mean": [None]}, {"mean": [True]},
        {"mean": [math.nan]}, {"std": [0.0]}, {"std": [-1]},
        {"mean": [1, 2], "std": [1, 2]}, {"mean": [1, 2, 3], "std": [1] * 4},
        {"mean": [1, 2, 3], "std": [1], "channels": 1},
        {"image_size": 32}, {"image_size": [32, 0]}, {"image_size": [3.5, 2]},
        {"channels": 2}, {"channels": True}, {"labels": "cat"},
        {"labels": []}, {"labels": [1, 2]}, {"scores": "softmax"},
        ["not", "an", "object"],
    ],
)
def test_records_that_say_nonsense_are_refused_by_name(record):
    with pytest.raises(ArtifactError, match="a.keras"):
        feeds.from_json(record, "a.keras")


def test_classes_are_matched_by_name():
    places = feeds.order_of(("owl", "cat", "dog"), ("cat", "dog", "owl"),
                            "m", "d")
    assert places == (1, 2, 0)


def test_data_that_only_number_their_classes_have_no_names():
    names = ("nought", "one", "two")
    assert feeds.order_of(names, ("0", "1", "2"), "m", "d") == (0, 1, 2)
    assert feeds.order_of(("2", "0", "1"), ("0", "1", "2"), "m", "d") == (
        1, 2, 0
    )
    with pytest.raises(ConfigError, match="lacks 1"):
        feeds.order_of(("0", "one", "2"), ("0", "1", "2"), "m", "d")


@pytest.mark.parametrize(
    "labels",
    [("cat", "dog"), ("cat", "dog", "emu"), ("cat", "cat", "dog"),
     ("cat", "dog", "owl", "emu")],
)
def test_other_classes_are_refused_with_both_lists(labels):
    with pytest.raises(ConfigError) as caught:
        feeds.order_of(labels, ("cat", "dog", "owl"), "a.tflite", "folder:x")
    message = str(caught.value)
    assert "a.tflite" in message and "folder:x: cat, dog, owl" in message
    assert ", ".join(labels) in message and "\n" not in message
