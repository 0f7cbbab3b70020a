"""Accuracy, measured the same way for Keras models and `.tflite` files."""

from typing import Any

import numpy as np
from tqdm import tqdm

from tfnas.data import Dataset
from tfnas.data import Split
from tfnas.data import blame
from tfnas.export import feeding
from tfnas.export.classifiers import as_classifier


def accuracy(
    model: Any, split: Split | Dataset, batch_size: int = 256,
    output: str | None = None,
) -> float:
    """Returns the share of images that a network puts into their class.

    Args:
        model: a Keras model, the bytes of a `.tflite`, or a `Classifier`.
        split: the images and their labels, scaled as the network takes them;
            where the network itself says how it wants to be fed, they are
            scaled so. Of a `Dataset` the test images are taken, and the
            scores are matched with the classes by name.
        batch_size: images read at once; it changes no result.
        output: name of the output of the scores, where there are several.

    Returns:
        A number from 0 to 1.

    Raises:
        ConfigError: if the images have another shape than the network takes,
            or other classes.
    """
    classifier = as_classifier(model)
    if isinstance(split, Dataset):
        split = feeding.fit(
            classifier, split, output=output, guess=False
        ).test
    else:
        classes = int(split.labels.max(initial=0)) + 1
        classifier.select(output, classes)
        split = feeding.scaled_split(split, classifier.feed)
    batches = split.batches(batch_size, seed=0, epoch=0, shuffle=False)
    right = 0
    progress = tqdm(
        batches.as_numpy_iterator(),
        desc="evaluate",
        total=split.num_batches(batch_size),
        unit="batch",
        leave=False,
        disable=None,  # shown on a terminal only
    )
    with blame.bad_image(split):
        for images, labels in progress:
            predicted = np.argmax(classifier.predict(images), axis=-1)
            right += int(np.sum(predicted == labels))
    return right / len(split)
