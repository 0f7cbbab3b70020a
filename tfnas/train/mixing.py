"""Mixup and cutmix: training images made of two.

The examples of a batch are mixed in pairs of neighbours, whose order is random
anyway: each pair gives two new examples, one with the shares exchanged. What
is drawn depends on seed, step and the place in the whole batch, so that any
number of replicas that hold an even number of examples mixes alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

# Streams of a step's seed; dropout has those of the replicas' numbers.
_FIRST, _SECOND, _KIND, _CENTRE = range(1_000_001, 1_000_005)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """A batch for the network, and what its examples are made of.

    Args:
        images: `(batch, height, width, channels)`.
        labels: `(batch,)` integers: of the first image of each example.
        others: `(batch,)` integers: of the second one.
        share: `(batch,)` share of the first image; `None` where nothing was
            mixed.
    """

    images: tf.Tensor
    labels: tf.Tensor
    others: tf.Tensor
    share: tf.Tensor | None = None

    def blend(self, score: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Returns a score of each example, `(batch,)`.

        Args:
            score: `f(labels)` to the score of each example; those by both
                labels are averaged, weighted with their shares.
        """
        first = score(self.labels)
        if self.share is None:
            return first
        return self.share * first + (1 - self.share) * score(self.others)


class Mixing:
    """Mixes the images of a batch in pairs.

    Mixup (Zhang et al., ICLR 2018) takes a weighted sum of two images; cutmix
    (Yun et al., ICCV 2019) puts a rectangle of one into the other. The share
    of an image comes from Beta(alpha, alpha); cutmix counts the pixels that
    are left. With both, each pair is mixed one way or the other, as likely.

    Args:
        mixup_alpha: Of mixup, 0 for none.
        cutmix_alpha: Of cutmix, 0 for none.
        batch_size: Examples of a whole batch, over all replicas.
    """

    def __init__(
        self, mixup_alpha: float, cutmix_alpha: float, batch_size: int
    ):
        self.mixup_alpha, self.cutmix_alpha = mixup_alpha, cutmix_alpha
        self.pairs = -(-batch_size // 2)

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, step_seed: tf.Tensor
    ) -> Mixture:
        """Mixes a replica's part of a batch.

        Args:
            images: `(batch, height, width, channels)`, normalised or not.
            labels: `(batch,)` integers.
            step_seed: Seed and number of the step, `(2,)`.
        """
        if not (self.mixup_alpha or self.cutmix_alpha):
            return Mixture(images, labels, labels)
        count = tf.shape(labels)[0]
        places = tf.range(count)
        # The last of an odd number is its own partner.
        partners = tf.minimum(tf.bitwise.bitwise_xor(places, 1), count - 1)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        pairs = (replica * count + places - places % 2) // 2
        weights = self._weights(step_seed, pairs, images.shape[1:3])
        mixed = weights * images + (1 - weights) * tf.gather(images, partners)
        return Mixture(
            mixed, labels, tf.gather(labels, partners),
            tf.reduce_mean(weights, axis=(1, 2, 3)),
        )

    def _weights(
        self, step_seed: tf.Tensor, pairs: tf.Tensor, size: tuple[int, int]
    ) -> tf.Tensor:
        """Returns the weight of each pixel of the first image.

        The weights of the two examples of a pair are equal: the other
        example has the other image as its first one.
        """
        ones = tf.ones((1, *size, 1))
        if not self.cutmix_alpha:
            share = self._shares(self.mixup_alpha, step_seed)
            return tf.gather(share, pairs)[:, None, None, None] * ones
        share = self._shares(self.cutmix_alpha, step_seed)
        centre = self._uniform(step_seed, _CENTRE, 2)
        kept = 1 - rectangle(
            tf.gather(share, pairs), tf.gather(centre, pairs), size
        )
        if not self.mixup_alpha:
            return kept
        share = self._shares(self.mixup_alpha, step_seed)
        summed = tf.gather(share, pairs)[:, None, None, None] * ones
        cut = self._uniform(step_seed, _KIND, 1) < 0.5
        return tf.where(tf.gather(cut, pairs)[:, :, None, None], kept, summed)

    def _shares(self, alpha: float, step_seed: tf.Tensor) -> tf.Tensor:
        """Draws Beta(alpha, alpha) for every pair of the whole batch."""
        # In float64: values of a small alpha are below the least float32.
        first, second = (
            tf.random.stateless_gamma(
                (self.pairs,), _stream(step_seed, number),
                tf.constant(alpha, tf.float64), dtype=tf.float64,
            )
            for number in (_FIRST, _SECOND)
        )
        share = tf.math.divide_no_nan(first, first + second)
        return tf.cast(share, tf.float32)

    def _uniform(
        self, step_seed: tf.Tensor, number: int, width: int
    ) -> tf.Tensor:
        return tf.random.stateless_uniform(
            (self.pairs, width), _stream(step_seed, number)
        )


def _stream(step_seed: tf.Tensor, number: int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(step_seed, number)


def rectangle(
    share: tf.Tensor, centre: tf.Tensor, size: tuple[int, int]
) -> tf.Tensor:
    """Returns 1 in the rectangle that cutmix replaces, else 0.

    Its sides are `sqrt(1 - share)` of the image's, rounded down, and what is
    outside the image is cut off.

    Args:
        share: `(batch,)` share of the image that should be left.
        centre: `(batch, 2)` row and column of the middle, from [0, 1).
        size: Height and width of the image.

    Returns:
        `(batch, height, width, 1)` float32.
    """
    sides = []
    for axis, length in enumerate(size):
        side = tf.cast(tf.sqrt(1 - share) * length, tf.int32)
        middle = tf.cast(centre[:, axis] * length, tf.int32)
        start = (middle - side // 2)[:, None]
        places = tf.range(length)[None]
        sides.append((places >= start) & (places < start + side[:, None]))
    rows, columns = sides
    inside = rows[:, :, None] & columns[:, None, :]
    return tf.cast(inside, tf.float32)[..., None]
