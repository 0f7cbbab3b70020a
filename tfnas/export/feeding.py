"""Feeds a network what it wants: the one place where facts become images.

What is given by hand comes first; then what the file says; then what its
types and first operations imply; the data set's own scale is the last resort.
The labels of the images are put into the order of the scores, by the names of
the classes; data that only number their classes have no names to compare.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfnas import feed as feeds
from tfnas.data import Dataset
from tfnas.data import Split
from tfnas.errors import ConfigError
from tfnas.export.classifiers import Classifier
from tfnas.feed import Feed

_SCALE = ("mean", "std")
DATA = "the data set"
# What these say needs no words.
_PLAIN = ("a flag", "itself", "its metadata")


def feed_of(dataset: Dataset) -> Feed:
    """Returns how a network that is trained on a data set wants to be fed."""
    height, width, channels = dataset.image_shape
    return Feed(
        dataset.mean, dataset.std, (height, width), channels,
        tuple(dataset.class_names), feeds.LOGITS,
    )


def fit(
    classifier: Classifier, dataset: Dataset, given: Feed | None = None,
    output: str | None = None, guess: bool = True,
) -> Dataset:
    """Returns a data set as a network wants it.

    Args:
        classifier: The network; its `feed` is complete after this.
        dataset: Images of the size and the channels that it takes.
        given: What is known better than the file knows, by flags say.
        output: Name of the output of the scores, where there are several.
        guess: Whether a network that does not say its scale is asked what it
            implies, before that of the data is taken.

    Returns:
        The same images, scaled as the network takes them, and their labels in
        the order of its scores.

    Raises:
        ConfigError: when network and data do not fit together; the message
            has both sides.
    """
    channels = dataset.image_shape[-1]
    if classifier.input_shape[-1] != channels:
        raise ConfigError(
            f"{classifier.source}: expected images of "
            f"{classifier.input_shape[-1]} channels. Received: {channels}"
        )
    if classifier.has_scores:
        classifier.select(output, len(dataset.class_names))
    feed = (given or Feed()).filled(classifier.feed)
    data = feed_of(dataset)
    if feed.mean is None or feed.std is None:
        feed = feed.filled(classifier.implied(data, guess))
    if classifier.has_scores:
        places = _places(classifier, feed, dataset)
        feed = feed.filled(Feed(labels=data.labels).by(DATA))
        dataset = _in_order(dataset, feed, places)
    feed = feed.filled(
        dataclasses.replace(data, labels=None, scores=classifier.kind).by(DATA)
    )
    assert feed.mean is not None and feed.std is not None
    feed = dataclasses.replace(
        feed, mean=per_channel("mean", feed.mean, channels, classifier.source),
        std=per_channel("std", feed.std, channels, classifier.source),
    )
    classifier.feed = feed
    return scaled(dataset, feed)


def _places(
    classifier: Classifier, feed: Feed, dataset: Dataset
) -> tuple[int, ...]:
    """Returns the place of each class of the data among the scores."""
    names = tuple(dataset.class_names)
    if feed.labels is None:
        if classifier.classes != len(names):
            raise ConfigError(
                f"{classifier.source}: expected a network of {len(names)} "
                f"classes, as {dataset.name} has ({feeds.listing(names)}). "
                f"Received: classes={classifier.classes}"
            )
        return tuple(range(len(names)))
    if len(feed.labels) != classifier.classes:
        raise ConfigError(
            f"{classifier.source}: Expected {classifier.classes} labels, one "
            f"for each class. Received: {len(feed.labels)} labels: "
            f"{feeds.listing(feed.labels)}"
        )
    places = feeds.order_of(
        feed.labels, names, classifier.source, dataset.name
    )
    if set(names).isdisjoint(feed.labels):
        classifier.notes = (
            *classifier.notes,
            f"{dataset.name} numbers its classes and does not name them; "
            f"taken in the order of the labels: {feeds.listing(feed.labels)}",
        )
    return places


def _in_order(
    dataset: Dataset, feed: Feed, places: tuple[int, ...]
) -> Dataset:
    assert feed.labels is not None
    moved = np.array(places)
    train, test = (
        dataclasses.replace(split, labels=moved[split.labels])
        for split in (dataset.train, dataset.test)
    )
    return dataclasses.replace(
        dataset, class_names=feed.labels, train=train, test=test
    )


def per_channel(
    name: str, values: Sequence[float], channels: int, source: str
) -> tuple[float, ...]:
    """Returns a scale with one number for each channel.

    Raises:
        ConfigError: when there are neither one nor as many as channels.
    """
    if len(values) not in (1, channels):
        raise ConfigError(
            f"{source}: expected one {name}, or one for each of {channels} "
            f"channels. Received: {name}={feeds.words(values)}"
        )
    return tuple(float(v) for v in np.broadcast_to(values, channels))


def scaled(dataset: Dataset, feed: Feed) -> Dataset:
    """Returns the same images in the scale of a network."""
    assert feed.mean is not None and feed.std is not None
    return dataclasses.replace(
        dataset, mean=feed.mean, std=feed.std,
        train=scaled_split(dataset.train, feed),
        test=scaled_split(dataset.test, feed),
    )


def scaled_split(split: Split, feed: Feed) -> Split:
    """Returns images in the scale that a network says; else as they are."""
    if feed.mean is None or feed.std is None:
        return split
    size = len(split.mean)
    return dataclasses.replace(
        split, mean=per_channel("mean", feed.mean, size, "feed"),
        std=per_channel("std", feed.std, size, "feed"),
    )


def remarks(classifier: Classifier, dataset: Dataset) -> list[str]:
    """Returns what has to be said of how a network was fed.

    What the file itself says, or a flag, needs no words.

    Args:
        classifier: After `fit`.
        dataset: The data.
    """
    feed = classifier.feed
    assert feed.mean is not None and feed.std is not None
    scale = f"mean {feeds.words(feed.mean)}, std {feeds.words(feed.std)}"
    taken, flags = [], []
    lines = [f"{classifier.source}: {note}" for note in classifier.notes]
    who = feed.said_by.get("mean", "")
    if who == DATA:
        taken.append(scale)
        flags += ["--mean", "--std"]
    elif who not in _PLAIN:
        lines.append(f"{classifier.source}: scaled by {scale}, by {who}")
    if feed.said_by.get("labels") == DATA:
        taken.append("the order of the classes")
        flags.append("--labels")
    if None in classifier.input_shape:
        height, width, _ = dataset.image_shape
        if feed.said_by.get("image_size") == DATA:
            taken.append(f"an image size of {height}x{width}")
            flags.append("--image_size")
    if taken:
        lines.append(
            f"{classifier.source}: the file does not say how it wants to be "
            f"fed; taken from {dataset.name}: {'; '.join(taken)} "
            f"({', '.join(flags)} say otherwise)"
        )
    return lines
