"""Which images belong to which part: chosen by label, never by content."""

import numpy as np

from tfnas.errors import ConfigError


def choose_classes(
    available: int, classes: int | None, class_seed: int | None
) -> np.ndarray:
    """Returns the sorted labels of the classes to use.

    Args:
        available: number of classes in the set.
        classes: how many to use; None for all.
        class_seed: None takes the first ones, a number draws them with that
            seed.

    Raises:
        ConfigError: if fewer than 2 or more than `available` are asked for.
    """
    if classes is None:
        return np.arange(available)
    if not 2 <= classes <= available:
        raise ConfigError(
            f"`classes` must be between 2 and {available}, the number of "
            f"classes in the data. Received: classes={classes}"
        )
    if class_seed is None:
        return np.arange(classes)
    rng = np.random.default_rng(class_seed)
    return np.sort(rng.choice(available, classes, replace=False))


def rank_in_class(labels: np.ndarray) -> np.ndarray:
    """Returns, for every image, how many of its class come before it."""
    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = np.arange(len(members))
    return ranks


def select(
    labels: np.ndarray, classes: np.ndarray, limit: int | None
) -> np.ndarray:
    """Returns the sorted indices of a balanced part of a set.

    Args:
        labels: label of every image.
        classes: the labels to keep.
        limit: how many images at most, the first ones of every class in equal
            numbers; None for all.

    Raises:
        ConfigError: if `limit` is not positive.
    """
    kept = np.flatnonzero(np.isin(labels, classes))
    if limit is None:
        return kept
    if limit < 1:
        raise ConfigError(
            "`limit_train` and `limit_test` must be at least 1 or null. "
            f"Received: {limit}"
        )
    by_rank = np.lexsort((labels[kept], rank_in_class(labels[kept])))
    return np.sort(kept[by_rank[:limit]])


def split_by_class(
    labels: np.ndarray, fraction: float, seed: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Splits a set in two, every class by the same fraction.

    The images of each class are shuffled; the first `floor(fraction * n)` of
    its n images go to the first part.

    Args:
        labels: label of every image.
        fraction: share of the first part, between 0 and 1.
        seed: another seed gives another split of the same sizes; None does
            not shuffle.

    Returns:
        Sorted indices of the first and of the second part.

    Raises:
        ConfigError: if a class would be missing from either part.
    """
    first, second = [], []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        cut = int(fraction * len(members))
        if not 0 < cut < len(members):
            raise ConfigError(
                "Both parts of a split need an image of every class. "
                f"Received: fraction={fraction}, and label {label} has "
                f"{len(members)} image(s)"
            )
        if seed is not None:
            rng = np.random.default_rng([seed, label])
            members = rng.permutation(members)
        first.append(members[:cut])
        second.append(members[cut:])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))
