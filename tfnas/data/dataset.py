"""A data set as training and searching see it."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from tfnas.data import augment_words
from tfnas.data import blame
from tfnas.data.images import Images
from tfnas.data.split import split_by_class

if TYPE_CHECKING:
    import tensorflow as tf

# Names of the random streams of an epoch.
_ORDER, _AUGMENT, _AUGMENT_LATER = 0, 1, 2


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Some images of a set, in a fixed order, with their labels.

    Attributes:
        images: all images of the underlying set, in memory or read when used.
        labels: label of each of those.
        indices: which of them belong to this split.
        size: height and width that the network sees.
        mean: per channel, on the 0 to 255 scale.
        std: per channel, on the 0 to 255 scale.
        exif_rotation: whether image files are turned as their EXIF data say.
    """

    images: Images
    labels: np.ndarray
    indices: np.ndarray
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    exif_rotation: bool = True

    @property
    def channels(self) -> int:
        """Number of channels that the network sees: 1, 3 or 4."""
        return len(self.mean)

    def __len__(self) -> int:
        return len(self.indices)

    def num_batches(self, batch_size: int, drop_remainder: bool = False) -> int:
        """Returns the number of batches in an epoch."""
        whole, rest = divmod(len(self), batch_size)
        return whole + bool(rest and not drop_remainder)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        augment: str = "none",
        start: int = 0,
        shuffle: bool = True,
        drop_remainder: bool = False,
    ) -> "tf.data.Dataset":
        """Returns the batches of one epoch.

        Order and augmentation depend on nothing but the arguments, and what
        becomes of an image does not depend on its batch: an epoch that goes on
        at `start` gives, bit for bit, what it would have given.

        Args:
            batch_size: images in a batch (over all replicas).
            seed: not negative.
            epoch: not negative; every epoch has an order of its own.
            augment: "none" or e.g. "pad_crop+flip"; see `augment_words.parse`.
            start: the first batch to give.
            shuffle: whether to shuffle; else the order is that of the set.
            drop_remainder: whether to leave out a last smaller batch.

        Returns:
            A data set of normalised images, float32 (batch, height, width,
            channels), and labels, int32 (batch,). It can be distributed by any
            strategy. An image that cannot be read is met while it is used,
            as an error of TensorFlow; within `blame.bad_image(split)` it is
            an ArtifactError that names the image.

        Raises:
            ConfigError: if `augment` has an unknown word.
        """
        from tfnas.data import augment as augmentation
        from tfnas.data import pipeline

        words = augment_words.parse(augment)
        order = np.arange(len(self))
        if shuffle:
            rng = np.random.default_rng([seed, epoch, _ORDER])
            order = rng.permutation(order)
        draws = augmentation.draw(
            len(self), words,
            ([seed, epoch, _AUGMENT], [seed, epoch, _AUGMENT_LATER]),
        )
        rows = order[start * batch_size :]
        # No smaller batch at the end: then the batch size is known to graphs.
        drop = drop_remainder or len(self) % batch_size == 0
        return pipeline.build(
            self.images, self.labels, self.indices[rows], draws[rows], words,
            self.size, self.mean, self.std, self.exif_rotation, batch_size,
            drop,
        )

    def representative(self, n: int, seed: int) -> np.ndarray:
        """Returns some images, e.g. to calibrate a quantizer.

        Args:
            n: how many; at most the size of the split are given.
            seed: another seed draws others.

        Returns:
            float32 (n, height, width, channels), normalised, not augmented.

        Raises:
            ArtifactError: naming an image that cannot be read.
        """
        batch = self.batches(min(n, len(self)), seed=seed, epoch=0)
        with blame.bad_image(self):
            images, _ = next(iter(batch.as_numpy_iterator()))
        return images

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns all images, normalised and in order, and their labels.

        Meant for sets that fit in memory as float32.

        Raises:
            ArtifactError: naming an image that cannot be read.
        """
        batches = self.batches(256, seed=0, epoch=0, shuffle=False)
        with blame.bad_image(self):
            images, labels = zip(*batches.as_numpy_iterator(), strict=True)
        return np.concatenate(images), np.concatenate(labels)

    def subset(self, positions: np.ndarray) -> "Split":
        """Returns a split of the images at some positions of this one."""
        return dataclasses.replace(self, indices=self.indices[positions])


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images to train on and images to test on.

    Attributes:
        name: as in the configuration.
        class_names: name of each label.
        image_shape: (height, width, channels), as the network sees them.
        train: the training images.
        test: the test images; no search ever looks at them.
        mean: per channel, on the 0 to 255 scale.
        std: per channel, on the 0 to 255 scale.
        parts: positions in `train` of the images for the weights of a search
            and of those for the architecture, where a split list names them.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    parts: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def search_splits(
        self, fraction: float = 0.8, seed: int = 0
    ) -> tuple[Split, Split]:
        """Splits the training images for a search.

        A set with a split list is split as that says, whatever the arguments.

        Args:
            fraction: share of every class that trains the weights.
            seed: another seed gives another split of the same sizes.

        Returns:
            The split that trains the weights and the one that trains (or
            scores) the architecture; they share no image.

        Raises:
            ConfigError: if a class has too few images.
        """
        if self.parts is not None:
            weights, arch = self.parts
            return self.train.subset(weights), self.train.subset(arch)
        labels = self.train.labels[self.train.indices]
        weights, arch = split_by_class(labels, fraction, seed)
        return self.train.subset(weights), self.train.subset(arch)
