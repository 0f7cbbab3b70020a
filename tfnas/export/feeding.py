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
from tfnas.export.metadata import PLAIN
from tfnas.feed import Feed
from tfnas.leading_scale import RANGES
from tfnas.leading_scale import Statistics
from tfnas.leading_scale import statistics

DATA = "the data set"
_IMAGES = 64  # that show what the data are like
_MUCH = 0.2  # of accuracy


def feed_of(dataset: Dataset) -> Feed:
    """Returns how a network that is trained on a data set wants to be fed."""
    height, width, channels = dataset.image_shape
    return Feed(
        dataset.mean, dataset.std, (height, width), channels,
        tuple(dataset.class_names), feeds.LOGITS,
    )


def fit(
    classifier: Classifier, dataset: Dataset, given: Feed | None = None,
    stated: Feed | None = None, output: str | None = None, guess: bool = True,
) -> Dataset:
    """Returns a data set as a network wants it.

    Args:
        classifier: The network; its `feed` is complete after this.
        dataset: Images of the size and the channels that it takes.
        given: What is known better than the file knows, by flags say.
        stated: What a config states of the data: it is for files that are
            silent, and comes before what these imply.
        output: Name of the output of the scores, where there are several.
        guess: Whether a network that does not say its scale is fed as it
            implies. Else one that implies another than the data set has is
            refused.

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
    feed = feed.filled(classifier.typed()).filled(stated or Feed())
    data = feed_of(dataset)
    if feed.mean is None and feed.std is None:
        implied = classifier.implied(data, statistics(dataset.train))
        if not guess and implied.mean and implied.std:
            raise ConfigError(
                f"{classifier.source}: {implied.said_by['mean']} (mean "
                f"{feeds.words(implied.mean)}, std "
                f"{feeds.words(implied.std)}). Received: {dataset.name} "
                f"scaled by {_words(data)}; load it as the network takes it, "
                "or say `feed` or give a `Split`, which is taken as it is"
            )
        feed = feed.filled(implied)
    if classifier.has_scores:
        places = _places(classifier, feed, dataset)
        feed = feed.filled(Feed(labels=data.labels).by(DATA))
        dataset = _in_order(dataset, feed, places)
    feed = feed.filled(
        dataclasses.replace(data, labels=None, scores=classifier.kind).by(DATA)
    )
    classifier.feed = _whole(feed, channels, classifier.source)
    dataset = scaled(dataset, classifier.feed)
    if classifier.has_scores:
        classifier.settle(dataset.train)
    return dataset


def complete(classifier: Classifier, known: Feed) -> None:
    """Completes what is known of a network as far as that goes without data.

    Args:
        classifier: The network; its `feed` is set.
        known: What flags and its file say.

    Raises:
        ConfigError: when the scale does not fit the channels, or the labels
            the scores.
    """
    feed = known.filled(classifier.typed())
    if feed.mean is None and feed.std is None:
        own = Feed(image_size=known.image_size)
        feed = feed.filled(classifier.implied(own, Statistics()))
    feed = _whole(feed, classifier.input_shape[-1], classifier.source)
    if feed.labels is not None and classifier.classes:
        _check_number(classifier, feed.labels)
    classifier.feed = feed.filled(Feed(scores=classifier.kind))


def _words(feed: Feed) -> str:
    assert feed.mean is not None and feed.std is not None
    return f"mean {feeds.words(feed.mean)}, std {feeds.words(feed.std)}"


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
    _check_number(classifier, feed.labels)
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


def _check_number(classifier: Classifier, labels: Sequence[str]) -> None:
    if len(labels) != classifier.classes:
        raise ConfigError(
            f"{classifier.source}: Expected {classifier.classes} labels, one "
            f"for each class. Received: {len(labels)} labels: "
            f"{feeds.listing(labels)}"
        )


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
            f"channels. Received: {name}={','.join(f'{v:g}' for v in values)}"
        )
    return tuple(float(v) for v in np.broadcast_to(values, channels))


def _whole(feed: Feed, channels: int, source: str) -> Feed:
    """Returns the same facts with one number for each channel."""
    mean, std = (
        None if values is None
        else per_channel(name, values, channels, source)
        for name, values in (("mean", feed.mean), ("std", feed.std))
    )
    return dataclasses.replace(feed, mean=mean, std=std)


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


def remarks(classifier: Classifier, dataset: Dataset | None) -> list[str]:
    """Returns what has to be said of how a network was fed.

    What the file itself says, or a flag, needs no words.

    Args:
        classifier: After `fit`.
        dataset: The data; `None` where none are at hand.
    """
    feed = classifier.feed
    taken, flags = [], []
    lines = [f"{classifier.source}: {note}" for note in classifier.notes]
    who = {feed.said_by.get("mean", ""), feed.said_by.get("std", "")}
    if feed.mean is None or feed.std is None:
        return lines
    if DATA in who:
        taken.append(_words(feed))
        flags += ["--mean", "--std"]
    elif unusual := sorted(who - set(PLAIN)):
        lines.append(
            f"{classifier.source}: scaled by {_words(feed)}, by "
            + " and ".join(unusual)
        )
    if dataset is None:
        return lines
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


def better_scale(
    classifier: Classifier, dataset: Dataset, share: float
) -> str | None:
    """Returns a remark where another scale than the data's does far better.

    It is for files that say nothing and imply nothing, as when their scale
    was folded into the first layer. Nothing is chosen by it: the labels of
    the images are not there to choose by.

    Args:
        classifier: After `fit`.
        dataset: As `fit` returned it.
        share: The accuracy as it was fed.
    """
    feed = classifier.feed
    if not feed.mean or DATA != feed.said_by.get("mean"):
        return None
    count = len(dataset.test)
    picks = np.linspace(0, count - 1, min(count, _IMAGES)).astype(int)
    some, best = dataset.test.subset(picks), (share + _MUCH, "")
    for name, (mean, std) in RANGES.items():
        if len(mean) not in (1, dataset.image_shape[-1]):
            continue
        split = scaled_split(some, Feed(mean, std))
        images, labels = split.arrays()
        found = np.argmax(classifier.predict(images), axis=-1) == labels
        scale = f"--mean={','.join(f'{v:g}' for v in mean)} --std="
        scale += ",".join(f"{v:g}" for v in std)
        best = max(best, (float(np.mean(found)), f"{scale} ({name})"))
    if not best[1]:
        return None
    return (
        f"{classifier.source}: ! with {best[1]}, {100 * best[0]:.0f} % of "
        f"{len(picks)} test images would be right: which scale is this "
        "network's?"
    )
