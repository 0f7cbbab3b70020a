"""RandAugment (Cubuk et al. 2020) from the image layers of Keras.

`keras.layers.RandAugment` itself is not used, for two reasons: it draws from a
generator with a state, so an image would look different in a resumed epoch;
and it computes all its operations on every image to keep one. Here the choice
and the direction come from the `draws` of an image, and only what was chosen
is computed: by a Keras layer whose range is one value, where Keras has the
operation as the paper means it, else by a line of ours.
"""

import functools
import math
from collections.abc import Callable

import keras
import tensorflow as tf

from tfnas.data import colour
from tfnas.data.channels import OPAQUE

STEPS = 2
DRAWS = 2 * STEPS
_MAGNITUDE = 9 / 10
_SHEAR = 0.3 * _MAGNITUDE
_SHIFT = 0.3 * _MAGNITUDE  # of the side; 100 of 331 pixels in the paper
_ANGLE = math.radians(30) * _MAGNITUDE
_ENHANCE = 0.9 * _MAGNITUDE
_BITS = 4
_THRESHOLD = 256 * (1 - _MAGNITUDE)
_FILL = 128.0

NAMES = (
    "identity", "auto_contrast", "equalize", "solarize", "posterize", "color",
    "contrast", "brightness", "sharpness", "rotate", "shear_x", "shear_y",
    "translate_x", "translate_y",
)
_MOVES = NAMES[NAMES.index("rotate") :]


def apply(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Applies two random operations to each image.

    Args:
        images: float32 (batch, height, width, 1, 3 or 4), from 0 to 255.
        draws: (batch, DRAWS), from 0 to 1.

    Returns:
        The same shape and range.
    """
    operations = make(tuple(images.shape[1:]))

    def augment(pair):
        image, row = pair
        for step in range(STEPS):
            number = row[2 * step] * len(NAMES)
            number = tf.minimum(tf.cast(number, tf.int32), len(NAMES) - 1)
            sign = tf.where(row[2 * step + 1] < 0.5, -1.0, 1.0)
            image = operations(image, number, sign)
        return image

    return tf.map_fn(
        augment,
        (images, draws),
        fn_output_signature=tf.TensorSpec(images.shape[1:]),
    )


def make(
    shape: tuple[int, int, int],
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function that applies one operation to an image.

    It takes an image, float32 from 0 to 255, the number of the operation in
    `NAMES`, and a sign, -1 or 1, for operations that have two directions.
    Grey images become what they would as RGB; opacity moves with the pixels.

    Args:
        shape: height, width and channels of the images.
    """
    held = layers()
    functions = {
        "identity": lambda image, sign: image,
        "auto_contrast": held["auto_contrast"],
        "equalize": held["equalize"],
        "solarize": lambda image, sign: tf.where(
            image < _THRESHOLD, image, 255 - image
        ),
        "posterize": held["posterize"],
        "color": lambda image, sign: colour.blend(
            colour.grey(image), image, 1 + sign * _ENHANCE
        ),
        "contrast": lambda image, sign: colour.blend(
            colour.mean_grey(image), image, 1 + sign * _ENHANCE
        ),
        "brightness": lambda image, sign: colour.blend(
            0.0, image, 1 + sign * _ENHANCE
        ),
        "sharpness": lambda image, sign: tf.cond(
            sign > 0,
            lambda: held["sharper"](image, sign),
            lambda: held["softer"](image, sign),
        ),
    }
    assert (*functions, *_MOVES) == NAMES

    def operation(image, number, sign):
        branches: list[Callable[[], tf.Tensor]] = [
            functools.partial(function, image, sign)
            for function in functions.values()
        ]
        branches.append(
            lambda: _move(image, number - len(functions), sign, _FILL)
        )
        result = tf.switch_case(tf.minimum(number, len(functions)), branches)
        return tf.ensure_shape(result, (*shape[:2], 3))

    return _of_channels(operation, shape[2])


def _of_channels(
    operation: Callable[..., tf.Tensor], channels: int
) -> Callable[..., tf.Tensor]:
    """Returns an operation on RGB as one on images of other channels."""

    def on_grey(image, number, sign):
        colours = tf.image.grayscale_to_rgb(image)
        return operation(colours, number, sign)[..., :1]

    def on_rgba(image, number, sign):
        first_move = len(NAMES) - len(_MOVES)
        opacity = image[..., 3:]
        moved = tf.cond(
            number < first_move,
            lambda: opacity,
            lambda: _move(opacity, number - first_move, sign, OPAQUE),
        )
        colours = operation(image[..., :3], number, sign)
        return tf.concat([colours, moved], -1)

    return {1: on_grey, 3: operation, 4: on_rgba}[channels]


@functools.cache
def layers() -> dict[str, Callable[..., tf.Tensor]]:
    """Returns the operations that are Keras layers.

    Layers have a variable for their seed, even if nothing reads it, so the
    first call has to come from outside of a graph.
    """

    def run(layer: keras.Layer, image: tf.Tensor, sign: tf.Tensor):
        images = image[None]
        # Its range is one value, so that the seed decides nothing.
        done = layer.get_random_transformation(images, seed=0)
        return layer.transform_images(images, done)[0]

    sharper, softer = (
        # Keras calls 0.5 what leaves an image as it is.
        keras.layers.RandomSharpness((half, half), seed=0, dtype="float32")
        for half in ((1 + _ENHANCE) / 2, (1 - _ENHANCE) / 2)
    )
    held = {
        "auto_contrast": keras.layers.AutoContrast(dtype="float32"),
        "equalize": keras.layers.Equalization(dtype="float32"),
        "posterize": keras.layers.RandomPosterization(
            (_BITS, _BITS), seed=0, dtype="float32"
        ),
        "sharper": sharper,
        "softer": softer,
    }
    return {
        name: functools.partial(run, layer) for name, layer in held.items()
    }


def _move(
    image: tf.Tensor, number: tf.Tensor, sign: tf.Tensor, fill: float
) -> tf.Tensor:
    """Rotates, shears or shifts.

    Args:
        image: float32 (height, width, channels).
        number: of the operation in `_MOVES`.
        sign: -1 or 1.
        fill: what comes from outside.
    """
    height, width = image.shape[:2]
    # Where the pixel (x, y) comes from: (a x + b y + c, d x + e y + f), with
    # the middle of the image where it is, but for shifts.
    zero, one = tf.zeros(()), tf.ones(())
    angle, shear = sign * _ANGLE, sign * _SHEAR
    right, down = sign * _SHIFT * width, sign * _SHIFT * height
    rows = tf.stack([
        [tf.cos(angle), -tf.sin(angle), zero, tf.sin(angle), tf.cos(angle),
         zero],
        [one, shear, zero, zero, one, zero],
        [one, zero, zero, shear, one, zero],
        [one, zero, right, zero, one, zero],
        [one, zero, zero, zero, one, down],
    ])
    a, b, c, d, e, f = tf.unstack(rows[number], num=6)
    x, y = (width - 1) / 2, (height - 1) / 2
    c += x * (1 - a - b * (y / x))
    f += y * (1 - d * (x / y) - e)
    return keras.ops.image.affine_transform(
        image,
        tf.stack([a, b, c, d, e, f, zero, zero]),
        interpolation="bilinear",
        fill_mode="constant",
        fill_value=float(fill),
    )
