"""Conversion of a Keras model to a `.tflite` file."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfnas.cli import quiet
from tfnas.data import Dataset
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import ExportError
from tfnas.export import tracing
from tfnas.export.calibration import true_ranges
from tfnas.export.classifiers import KerasClassifier
from tfnas.export.feeding import fit
from tfnas.export.inspection import require_integers
from tfnas.export.lowering import lower as lower_for
from tfnas.export.lowering.proof import doubt
from tfnas.export.lowering.scales import bring_together
from tfnas.export.metadata import Metadata
from tfnas.export.metadata import with_metadata
from tfnas.export.rewriting import integer_form
from tfnas.export.runtime import open_interpreter
from tfnas.feed import Feed
from tfnas.lowering.rewritings import check_backend

QUANTIZE = ("none", "float16", "dynamic", "int8", "int16x8")
# What a file that computes in integers may take and give; its own first.
IO = {"int8": ("int8", "float32"), "int16x8": ("int16", "float32")}
_IMAGES = 200  # of a data set, to calibrate on
_NO_OPERATOR = re.compile(r"'tf\.(\w+)' op is neither a custom op")


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A `.tflite` file and how it was made.

    Args:
        blob: The content of the file.
        lowering: `backend`, for which the operators were written; `applied`,
            the name of each rewriting to how often it is in the file; and
            `plain_because`, why the file has none although there were some
            to apply, or `None`.
    """

    blob: bytes
    lowering: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Kind:
    """How a file computes, and the images that show its ranges."""

    quantize: str
    io: str
    batches: list[np.ndarray]

    @property
    def integers(self) -> bool:
        return self.quantize in IO

    @property
    def dtype(self) -> str:
        return "float32" if self.quantize == "none" else self.quantize


def to_tflite(
    model: Any,
    quantize: str = "none",
    representative: Any = None,
    io: str | None = None,
    image_size: tuple[int, int] | None = None,
    feed: Feed | None = None,
    lower: str = "xnnpack",
) -> bytes:
    """Converts a Keras model to the content of a `.tflite` file.

    See `convert`, which also says how the operators were written.

    Returns:
        The bytes of the file.

    Example:
        >>> photos = tfnas.data.load({"name": "folder:photos"})
        >>> blob = to_tflite(model, "int8", photos)
        >>> read_feed(blob).labels == photos.class_names
        True
    """
    made = convert(
        model, quantize, representative, io, image_size, feed, lower
    )
    return made.blob


def convert(
    model: Any,
    quantize: str = "none",
    representative: Any = None,
    io: str | None = None,
    image_size: tuple[int, int] | None = None,
    feed: Feed | None = None,
    lower: str = "xnnpack",
) -> Conversion:
    """Converts a Keras model to a `.tflite` file, in a device's operators.

    The file takes as many images at a time as the model does, or one where
    that is free: `image`, `(batch, height, width, channels)`. It gives
    `logits`, or, where the model has several outputs, each by the name of its
    key or of the layer that gives it.

    A model that computes or takes anything but float32 is converted from a
    copy in float32 (see `tracing.float32_copy`); an image of integers becomes
    one of float32 that takes the same numbers.

    Args:
        model: a functional or Sequential Keras model of one image.
        quantize: `"none"`; `"float16"` stores the weights in half the space;
            `"dynamic"` stores them as int8 and computes partly in float;
            `"int8"` computes in int8 from end to end; `"int16x8"` in int16
            with int8 weights: what is lost then is the rounding of the
            weights alone. It is slow where a device has no kernels for it,
            and without lowering TFLite cannot do it to a hard swish.
        representative: for `"int8"` and `"int16x8"`, images as the network
            will see them (normalised): an array `(n, height, width,
            channels)`, or an iterable of images, of batches, or of (batch,
            labels). Some hundred are enough. A `Dataset` gives 200 of its
            training images, and the facts of `feed` that are not given.
        io: for these two, what the file takes and gives: the integers that
            it computes in, `"int8"` or `"int16"` (also `None`), or
            `"float32"` for programs that know nothing of quantization.
        image_size: Height and width of the images, which a model of free
            size needs.
        feed: How the model wants to be fed, which the file is to say: the
            scale of the pixels and the names of the classes.
        lower: What the operators are written for, one of
            `tfnas.lowering.rewritings.BACKENDS`. What `"xnnpack"` has no fast
            kernels for is written in operators that it has; such a file is
            kept if the delegate loads it and its answers are right (see
            `lowering.proof.doubt`), else the plain one is made. `"none"`
            leaves the operators to the converter.

    Returns:
        The file, and which operators were written another way.

    Raises:
        ConfigError: if `quantize`, `io` or `lower` is unknown, or
            `representative` is missing, empty or of another shape than the
            model's input, or a `Dataset` of other classes, or scaled as the
            model's own first operations contradict.
        ExportError: if the model does not take one image, a weight is not
            finite, `image_size` is missing or not the model's, or the model
            cannot be converted, or not wholly to integers.
    """
    if isinstance(representative, Dataset):
        network = KerasClassifier(model, feed=feed, need_scores=False)
        fitted = fit(network, representative, guess=False)
        feed = dataclasses.replace(network.feed, said_by={})
        image_size = image_size or representative.image_shape[:2]
        representative = fitted.train.representative(_IMAGES, seed=0)
    check_choice("quantize", quantize, QUANTIZE)
    check_backend(lower)
    integers = quantize in IO
    io = check_io(quantize, io) if integers else "float32"
    shape = tracing.image_shape_of(model, image_size)
    tracing.require_finite(model)
    batches: list[np.ndarray] = []
    if integers:
        images = _calibration_images(representative, shape, quantize)
        # What is seen twice to fill the last batch changes no range.
        batches = tracing.in_batches(
            np.stack(images), tracing.image_input(model).batch or 1
        )
    with quiet():
        traced = tracing.trace(tracing.float32_copy(model), image_size)
    made = _convert(traced, _Kind(quantize, io, batches), lower)
    if feed is not None:
        said = Metadata.of(feed, quantize=quantize)
        blob = with_metadata(made.blob, said)
        made = dataclasses.replace(made, blob=blob)
    return made


def _convert(traced: Any, kind: _Kind, backend: str) -> Conversion:
    """Writes a file for a backend, or a plain one if that is no good."""

    def conversion(
        blob: bytes, applied: dict[str, int], because: str | None = None
    ) -> Conversion:
        return Conversion(
            blob,
            {
                "backend": backend, "applied": applied,
                "plain_because": because,
            },
        )

    try:
        with quiet():
            lowered, applied = lower_for(traced, kind.dtype, backend)
    except Exception as error:  # a graph of operators not met before
        reason = tracing.reason_of(error)
        return conversion(_write(traced, kind), {}, reason)
    plain = functools.cache(lambda: _write(traced, kind))
    try:
        blob = _write(lowered, kind) if applied else plain()
    except (ExportError, ArtifactError) as error:
        if not applied:
            raise
        because: str | None = tracing.reason_of(error)
    else:
        if kind.quantize == "int8" and backend != "none":
            blob, far = bring_together(blob)
            applied |= {"far_scales": far} if far else {}
        if not applied:
            return conversion(blob, applied)
        because = doubt(blob, traced, kind.quantize, kind.batches, plain)
        if because is None:
            return conversion(blob, applied)
    return conversion(plain(), {}, because)


def _write(traced: Any, kind: _Kind) -> bytes:
    """Converts a traced function to a file that runs."""
    with quiet():
        if kind.integers:
            traced = integer_form(traced)
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [traced], tf.Module()
        )
        if kind.quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind.quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if kind.integers:
            converter.representative_dataset = lambda: (
                [batch] for batch in kind.batches
            )
            converter.target_spec.supported_ops = [_ops_set(kind.quantize)]
            converter.inference_input_type = tf.as_dtype(kind.io)
            converter.inference_output_type = tf.as_dtype(kind.io)
        with true_ranges() if kind.integers else contextlib.nullcontext():
            blob = run_converter(converter)
    _require_runnable(blob)
    if kind.integers:
        activations = IO[kind.quantize][0]
        require_integers(blob, activations, float_io=kind.io == "float32")
    return blob


def _ops_set(quantize: str) -> Any:
    if quantize == "int8":
        return tf.lite.OpsSet.TFLITE_BUILTINS_INT8
    sets = tf.lite.OpsSet
    return sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8


def check_io(quantize: str, io: str | None) -> str:
    """Returns what a file of integers takes and gives.

    Args:
        quantize: One of `IO`.
        io: The type, or `None` for the integers it computes in.

    Raises:
        ConfigError: when such a file cannot take the type.
    """
    choices = IO[quantize]
    check_choice("io", choices[0] if io is None else io, choices)
    return io or choices[0]


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises a `ConfigError` unless `value` is one of the choices."""
    if value not in choices:
        raise ConfigError(
            f"`{name}` must be one of {', '.join(choices)}. "
            f"Received: {name}={value!r}"
        )


def run_converter(converter: Any) -> bytes:
    """Returns the content of a `.tflite` file.

    Raises:
        ExportError: when the model cannot be converted.
    """
    try:
        return converter.convert()
    except Exception as error:  # the converter's own class is private
        raise ExportError(
            f"TFLite cannot hold this model: {_reason(str(error))}"
        ) from error


def _require_runnable(blob: bytes) -> None:
    """Makes sure that the runtime has a kernel for all that is in a file.

    Raises:
        ExportError: when it has not, as for some operators in int16.
    """
    interpreter = open_interpreter(blob)
    (given,) = interpreter.get_input_details()
    image = np.zeros(given["shape"], given["dtype"])
    try:
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise ExportError(
            "TFLite cannot run what it makes of this model: "
            f"{tracing.reason_of(error)}"
        ) from error


def _reason(text: str) -> str:
    """Returns in one line what pages of the converter say."""
    if lacking := dict.fromkeys(_NO_OPERATOR.findall(text)):
        return f"it has no operator for {', '.join(lacking)}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.partition("error: ")[2] for line in lines]
    found = dict.fromkeys(error for error in errors if error)
    return "; ".join(found) or (lines[0] if lines else "no reason given")


def _calibration_images(
    representative: Any, shape: tuple[int, ...], quantize: str
) -> list[np.ndarray]:
    if representative is None:
        raise ConfigError(
            f"{quantize} needs `representative` images, which show the range "
            "of every tensor. Received: representative=None"
        )
    images = [
        image
        for batch in _batches(representative)
        for image in _checked(batch, shape)
    ]
    if not images:
        raise ConfigError(
            "`representative` must hold at least one image. Received: none"
        )
    return images


def _batches(representative: Iterable[Any]) -> Iterator[np.ndarray]:
    for item in representative:
        images = item[0] if isinstance(item, tuple) else item
        images = np.asarray(images, np.float32)
        yield images[None] if images.ndim == 3 else images


def _checked(batch: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if batch.shape[1:] != shape:
        raise ConfigError(
            f"`representative` must hold images of shape {shape}. "
            f"Received: shape={batch.shape[1:]}"
        )
    if not np.isfinite(batch).all():
        raise ConfigError(
            "`representative` must hold finite numbers. "
            "Received: NaN or infinity"
        )
    return batch
