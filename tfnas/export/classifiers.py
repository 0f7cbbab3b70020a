"""Networks from images to scores of classes, whatever runs them."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfnas import leading_scale
from tfnas.data import Split
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import ExportError
from tfnas.export import metadata
from tfnas.export import scores
from tfnas.export import tflite_scale
from tfnas.export import tracing
from tfnas.export.apart import ApartInterpreter
from tfnas.export.runtime import THREADS
from tfnas.export.runtime import named_outputs
from tfnas.export.runtime import open_interpreter
from tfnas.feed import Feed
from tfnas.leading_scale import Statistics

_CHUNK = 256  # images that a Keras model sees at once, for memory
_IMAGES = 64  # that show what a score is like
_ANY_SIZE = 64  # of images, where the network takes any

Shape = tuple[int | None, int | None, int]


class Classifier(abc.ABC):
    """A network from images to one score for each class.

    Attributes:
        input_shape: `(height, width, channels)` of an image; height and width
            are `None` where any will do.
        classes: Number of scores; 0 while it is not known which of several
            outputs holds them (see `select`).
        has_scores: Whether any output can hold them.
        notes: What must be said of the file, though it runs.
        feed: How the network itself says that it wants to be fed.
        source: Its name, for messages.
    """

    input_shape: Shape
    classes: int
    has_scores: bool = True
    notes: tuple[str, ...] = ()
    feed: Feed = Feed()
    source: str = "model"

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns the scores of some images.

        Args:
            images: float32 `(n, height, width, channels)`, normalised.

        Returns:
            float32 `(n, classes)`; of a network of one score, which tells
            two classes apart, those of both.

        Raises:
            ConfigError: if the images have another shape.
        """
        images = np.asarray(images, np.float32)
        tracing.require_shape(images.shape[1:], self.input_shape)
        return self._logits(images)

    def select(self, output: str | None, classes: int) -> None:
        """Chooses the output that holds the scores, where there are several.

        Args:
            output: Its name; `None` for the one with a score for each class.
            classes: Number of classes.

        Raises:
            ConfigError: when there is no such output, or several.
        """
        if output is not None:
            raise ConfigError(
                f"{self.source}: has one output. Received: output={output}"
            )

    def typed(self) -> Feed:
        """Returns the scale that the type of the input leaves no doubt of."""
        return Feed()

    def implied(self, own: Feed, pixels: Statistics) -> Feed:
        """Returns the scale that the network implies without saying it.

        Args:
            own: How the images of the data set are scaled, and the size that
                they have.
            pixels: What they are like.
        """
        return Feed()

    @property
    def kind(self) -> str | None:
        """What the scores are: logits or probabilities; `None` if unknown."""
        return None

    def settle(self, split: Split) -> None:
        """Decides what a single score means, where nothing says it.

        Args:
            split: Images to look at, scaled as the network takes them.
        """
        del split  # most scores say it themselves

    @abc.abstractmethod
    def _logits(self, images: np.ndarray) -> np.ndarray:
        """Returns the scores of images that have the right shape."""


class _Chooser(Classifier):
    """A network of several outputs, one of which holds the scores."""

    _outputs: scores.Outputs

    def select(self, output: str | None, classes: int) -> None:
        """Chooses the output that holds the scores; see `Classifier`."""
        self._outputs.select(output, classes)
        self.classes = self._outputs.classes

    @property
    def kind(self) -> str | None:
        """What the scores are: logits or probabilities; `None` if unknown."""
        return self._outputs.kind if self.has_scores else None

    def settle(self, split: Split) -> None:
        """Decides what a single score means; see `Classifier`."""
        if self._outputs.is_unclear:
            images = split.representative(_IMAGES, seed=0)
            self.notes = (
                *self.notes, self._outputs.settle(self._given(images))
            )

    def _logits(self, images: np.ndarray) -> np.ndarray:
        return self._outputs.both(self._given(images))

    @abc.abstractmethod
    def _given(self, images: np.ndarray) -> np.ndarray:
        """Returns what the chosen output gives for images."""


class KerasClassifier(_Chooser):
    """A Keras model, its attribute `model`.

    Args:
        model: A model of one image input; one of its outputs or all of them
            are `(batch, classes)`.
        source: Its name, for messages.
        feed: How it says that it wants to be fed.
        need_scores: Whether a model without such an output is refused; else
            its `classes` are 0.

    Raises:
        ExportError: if it is another kind of model.
    """

    def __init__(
        self, model: Any, source: str = "model", feed: Feed | None = None, *,
        need_scores: bool = True,
    ):
        self.source, self.feed = source, feed or Feed()
        image = tracing.image_input(model, source)
        self.input_shape = (image.height, image.width, image.channels)
        self._batch, self._dtype = image.batch, image.dtype
        self.model = model  # the traced function does not keep it alive
        self._run = tf.function(
            lambda images: tf.nest.flatten(model(images, training=False)),
            autograph=False,
        ).get_concrete_function(
            tf.TensorSpec((image.batch, *self.input_shape), image.dtype)
        )
        self._outputs = scores.Outputs(
            tracing.output_names(model),
            [tuple(t.shape) for t in model.outputs],
            [scores.kind_of_tensor(t) for t in self._run.outputs], source,
            need_scores,
        )
        self.classes = self._outputs.classes
        self.has_scores = self._outputs.any

    def typed(self) -> Feed:
        """Returns that of whole numbers; see `Classifier`."""
        return leading_scale.of_type(self._dtype)

    def implied(self, own: Feed, pixels: Statistics) -> Feed:
        """Returns what the first operations say; see `Classifier`."""
        height, width, channels = self.input_shape
        size = own.image_size or (_ANY_SIZE, _ANY_SIZE)
        return leading_scale.of_keras(
            self.model, (height or size[0], width or size[1], channels), own,
            pixels,
        )

    def _given(self, images: np.ndarray) -> np.ndarray:
        number = self._outputs.chosen
        given = _as_type(images, self._dtype)
        found = []
        chunks = (
            np.split(given, range(_CHUNK, len(given), _CHUNK))
            if self._batch is None else tracing.in_batches(given, self._batch)
        )
        for chunk in chunks:
            outputs = self._run(tf.constant(chunk))
            found.append(np.asarray(tf.cast(outputs[number], tf.float32)))
        return np.concatenate(found)[: len(images)]


class TFLiteClassifier(_Chooser):
    """A `.tflite` model, run by LiteRT; integers are converted at both ends.

    Args:
        blob: Content of a `.tflite` file of one image input; one of its
            outputs or all of them are `(batch, classes)`.
        source: Its name, for messages.
        apart: Whether it runs in a process of its own, so that a crash of the
            runtime is an error like any other.

    Raises:
        ArtifactError: if the bytes are no model that can be run, or what it
            says of itself is damaged or does not fit it.
        ExportError: if the model has other inputs or outputs.
    """

    def __init__(
        self, blob: bytes, source: str = "model", *, apart: bool = False
    ):
        self.source, self._blob = source, blob
        make = ApartInterpreter if apart else _Interpreter
        self._runtime: _Runtime = make(blob, source, THREADS)
        inputs = self._runtime.inputs
        shapes = [_signature(t) for t in (*inputs, *self._runtime.outputs)]
        if len(inputs) != 1 or len(shapes[0]) != 4:
            raise ExportError(
                f"{source}: expected one image as input and logits as output. "
                f"Received: shapes={shapes}"
            )
        batch, *size, channels = (n if n > 0 else None for n in shapes[0])
        if channels is None or not np.issubdtype(
            np.dtype(inputs[0]["dtype"]), np.number
        ):
            raise ExportError(
                f"{source}: expected an image of numbers, its channels last. "
                f"Received: {inputs[0]['dtype']} {shapes[0]}"
            )
        self.input_shape = (size[0], size[1], channels)
        self._batch = batch or 1
        self._outputs = scores.Outputs(
            _output_names(self._runtime), shapes[1:],
            scores.kinds_of_file(blob), source,
        )
        self.classes = self._outputs.classes
        self.feed = self._read_feed()
        if unset := scores.unset_variables(blob):
            self.notes = (
                f"it reads {unset} variables that it never sets: its weights "
                "are not in it, and its answers mean nothing",
            )

    def _read_feed(self) -> Feed:
        feed = metadata.read_feed(self._blob, self.source, self._outputs.chosen)
        labels, channels = feed.labels, self.input_shape[-1]
        widths = self._outputs.widths
        if labels is not None and len(labels) not in widths:
            raise ArtifactError(
                f"{self.source}: expected metadata with a label for each of "
                f"{' or '.join(map(str, widths))} classes. Received: "
                f"{len(labels)} labels; are they those of another model?"
            )
        for name in ("mean", "std"):
            values = getattr(feed, name)
            if values is not None and len(values) not in (1, channels):
                raise ArtifactError(
                    f"{self.source}: expected metadata with one {name} for "
                    f"each of {channels} channels. Received: {len(values)}; "
                    "are they those of another model?"
                )
        return feed

    def select(self, output: str | None, classes: int) -> None:
        """Chooses the output that holds the scores; see `Classifier`."""
        before = self._outputs.chosen
        super().select(output, classes)
        if self._outputs.chosen != before:
            self.feed = self._read_feed()

    def typed(self) -> Feed:
        """Returns that of whole numbers; see `Classifier`."""
        (given,) = self._runtime.inputs
        scale, _ = given["quantization"]
        dtype = np.dtype(given["dtype"]).name
        return Feed() if scale else leading_scale.of_type(dtype)

    def implied(self, own: Feed, pixels: Statistics) -> Feed:
        """Returns what range and first operators say; see `Classifier`."""
        (given,) = self._runtime.inputs
        dtype, (scale, zero) = np.dtype(given["dtype"]), given["quantization"]
        if dtype.kind in "iu":
            return tflite_scale.of_range(scale, zero, dtype.name, own, pixels)
        return tflite_scale.of_operators(
            self._blob, own, pixels, self.source
        )

    def _given(self, images: np.ndarray) -> np.ndarray:
        number, shape = self._outputs.chosen, images.shape[1:]
        (given,) = self._runtime.inputs
        wanted = (self._batch, *shape)
        if tuple(map(int, given["shape"])) != wanted:
            self._runtime.resize(wanted)
        found = []
        for chunk in tracing.in_batches(images, self._batch):
            outputs = self._runtime.run(
                quantize(chunk, self._runtime.inputs[0])
            )
            details = self._runtime.outputs[number]
            found.append(dequantize(outputs[number], details))
        return np.concatenate(found)[: len(images)]


class _Runtime(Protocol):
    """What runs a `.tflite`, here or in a process of its own."""

    inputs: Any
    outputs: Any
    signature: Any

    def resize(self, shape: Sequence[int]) -> None: ...

    def run(self, array: np.ndarray) -> list[np.ndarray]: ...


class _Interpreter:
    """A `.tflite` in this process, called as one in a process of its own."""

    def __init__(self, blob: bytes, source: str, threads: int):
        self._held = open_interpreter(blob, source, threads=threads)
        self._source = source
        self.signature = {"outputs": named_outputs(self._held)}
        self._describe()

    def _describe(self) -> None:
        self.inputs = self._held.get_input_details()
        self.outputs = self._held.get_output_details()

    def resize(self, shape: Sequence[int]) -> None:
        try:
            self._held.resize_tensor_input(self.inputs[0]["index"], shape)
            self._held.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{self._source}: the runtime refused the shape {shape}: "
                f"{error}"
            ) from error
        self._describe()

    def run(self, array: np.ndarray) -> list[np.ndarray]:
        self._held.set_tensor(self.inputs[0]["index"], array)
        self._held.invoke()
        return [self._held.get_tensor(t["index"]) for t in self.outputs]


def as_classifier(model: Any) -> Classifier:
    """Returns a Keras model, or the bytes of a `.tflite`, as a classifier."""
    if isinstance(model, Classifier):
        return model
    if isinstance(model, bytes):
        return TFLiteClassifier(model)
    return KerasClassifier(model)


def _signature(tensor: Any) -> tuple[int, ...]:
    """Returns a shape, with -1 for what is free."""
    shape = tensor["shape_signature"]
    return tuple(map(int, tensor["shape"] if len(shape) == 0 else shape))


def _output_names(runtime: _Runtime) -> list[str]:
    """Returns what the signature calls the outputs, or the file does."""
    named = (runtime.signature or {}).get("outputs", {})
    names = {index: name for name, index in named.items()}
    return [names.get(t["index"], t["name"]) for t in runtime.outputs]


def _as_type(values: np.ndarray, dtype: str) -> np.ndarray:
    """Returns numbers as another type; integers are rounded and clipped."""
    if dtype == "bfloat16":
        return tf.cast(values, tf.bfloat16)
    if np.dtype(dtype).kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(values), limits.min, limits.max).astype(dtype)


def quantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Returns real numbers as the type of a tensor holds them.

    Args:
        values: float32.
        details: What an interpreter says of the tensor.
    """
    dtype = np.dtype(details["dtype"]).name
    scale, zero_point = details["quantization"]
    if not scale:
        return _as_type(values, dtype)
    return _as_type(np.round(values / scale) + zero_point, dtype)


def dequantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Returns the real numbers that a tensor holds; see `quantize`."""
    scale, zero_point = details["quantization"]
    if not scale:
        return values.astype(np.float32)
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
