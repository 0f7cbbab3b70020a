"""Where the pixels of a set are kept, and what a source hands over."""

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

IMAGENET_MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)
IMAGENET_STD = (255 * 0.229, 255 * 0.224, 255 * 0.225)


class Pixels:
    """Images in memory, shared by all splits of them.

    Args:
        array: uint8 (images, height, width, 1, 3 or 4).
    """

    def __init__(self, array: np.ndarray):
        self.array = array

    @functools.cached_property
    def tensor(self) -> "tf.Tensor":
        """The array as a tensor in host memory."""
        import tensorflow as tf

        with tf.device("CPU:0"):
            return tf.constant(self.array)


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """Image files that are read while they are used.

    Attributes:
        read: takes the number of an image, a tensor, and returns the bytes of
            its file; counts the images that `Part.read` gave.
        orientations: how each is to be turned, 1 to 8 as in EXIF, for JPEG and
            PNG files; None where nobody has looked.
        name: takes the number of an image and returns what it is called.
    """

    read: "Callable[[tf.Tensor], tf.Tensor]"
    orientations: np.ndarray | None = None
    name: Callable[[int], str] = str


Images = Pixels | Encoded


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """The training or the test half of a set, before its images are read.

    Attributes:
        labels: label of every image that there is.
        read: takes the indices of the images that are wanted and returns
            those images with their indices (fewer, if some are unreadable).
        own_names: name of every image, each once, where the set has names.
    """

    labels: np.ndarray
    read: Callable[[np.ndarray], tuple[Images, np.ndarray]]
    own_names: Sequence[str] | None = None

    @property
    def names(self) -> Sequence[str]:
        """Name of every image; its number, where the set has no names."""
        if self.own_names is not None:
            return self.own_names
        return [str(index) for index in range(len(self.labels))]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A set as found: the names of its classes and its two halves.

    Attributes:
        class_names: name of each label.
        train: the training half.
        test: the test half.
        mean: of red, green and blue on the 0 to 255 scale, unless configured.
        std: of red, green and blue on the 0 to 255 scale, unless configured.
        all_tested: whether a class without a test image is an error.
        untested: whether there may be no test image at all.
        remark: what to add where images are missing, such as the files that
            were left out.
    """

    class_names: tuple[str, ...]
    train: Part
    test: Part
    mean: tuple[float, ...] = (127.5,) * 3
    std: tuple[float, ...] = (127.5,) * 3
    all_tested: bool = False
    untested: bool = False
    remark: str = ""


def part_of(array: np.ndarray, labels: np.ndarray) -> Part:
    """Returns images in memory as half of a set.

    Args:
        array: uint8 (images, height, width[, 1, 3 or 4]).
        labels: one for each.
    """
    if array.ndim == 3:
        array = array[..., None]
    return Part(labels, lambda picks: (Pixels(array[picks]), picks))
