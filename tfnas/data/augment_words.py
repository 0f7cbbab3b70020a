"""The words that an augmentation is made of; `augment` does what they say."""

from tfnas.errors import ConfigError

CROPS = ("resized_crop", "large_crop", "scale_crop", "random_crop", "pad_crop")
WORDS = (*CROPS, "flip", "randaugment", "jitter", "hue", "erase")


def parse(text: str) -> frozenset[str]:
    """Reads the name of an augmentation, e.g. "pad_crop+flip".

    Args:
        text: "none", or words joined by "+", of which one crop:
            `resized_crop`: a random part of 0.08 to 1 of the area, with an
                aspect ratio of 3/4 to 4/3, resized (DenseNAS, ProxylessNAS);
            `large_crop`: the same of 0.75 to 1 of the area (ShrinkCNN);
            `scale_crop`: a random part with the size of the network, after
                scaling the shorter side to 256/224 to 480/224 of that size
                (DenseNAS' alternative);
            `random_crop`: the same with 256/224 always (DenseNAS' weak
                augmentation for last epochs);
            `pad_crop`: a random crop after padding by an eighth of the size
                (CIFAR);
            `flip`: mirrored left to right, one time in two;
            `randaugment`: two random operations of RandAugment at magnitude
                9 of 10; see `rand_augment`;
            `jitter`: brightness, contrast and saturation, each times 0.6 to
                1.4, in that order;
            `hue`: hue shifted by up to a tenth of the circle; with `jitter`,
                the strong colour distortion of ProxylessNAS;
            `erase`: one time in two, a rectangle of 0.02 to 0.4 of the area
                becomes noise (ShrinkCNN).
            Grey has no saturation and no hue: those leave it as it is.
            Opacity follows where pixels go, and nothing else changes it.

    Raises:
        ConfigError: if a word is unknown or two crops are asked for.
    """
    words = frozenset(text.split("+")) - {"none"}
    if not words <= set(WORDS) or len(words & set(CROPS)) > 1:
        raise ConfigError(
            f'`augment` must be "none" or some of {", ".join(WORDS)} joined '
            f'by "+", with one kind of crop. Received: augment={text!r}'
        )
    return words
