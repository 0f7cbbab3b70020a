"""Fine-tuning for int8, pruning and clustering of trained networks.

The model-optimization toolkit works on legacy Keras only, so a network is
rebuilt there from its `Arch` and takes the weights over by the names of its
layers. Nothing else imports `tf_keras` or the toolkit; it takes seconds.

    tuned = qat.quantize_aware(model, arch, dataset)
    blob = qat.to_int8(tuned)
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfnas import keras_settings
from tfnas.arch import Arch
from tfnas.cli import quiet
from tfnas.data import Dataset
from tfnas.data import blame
from tfnas.derive import apply_blocks
from tfnas.derive import build_model
from tfnas.derive import require_fit
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.export.fine_tuning import FineTuning
from tfnas.export.fine_tuning import copy_weights
from tfnas.export.fine_tuning import environment_kept
from tfnas.export.fine_tuning import take_weights_back
from tfnas.export.inspection import require_int8
from tfnas.export.placement import IMAGE
from tfnas.export.placement import Placement
from tfnas.export.placement import place
from tfnas.export.tflite import check_io
from tfnas.export.tflite import run_converter

_CALIBRATION_IMAGES = 256
_CALIBRATION_BATCH = 32
_MOMENTUM = 0.9
_UPDATES = 50  # of the mask while a network is pruned
# The toolkit neither prunes nor clusters depthwise kernels.
_WIDE = ("Conv2D", "Dense")


with environment_kept(), quiet():
    import tensorflow_model_optimization as tfmot
    import tf_keras

# Legacy Keras reads the same `keras.json`.
_pinned = keras_settings.pinned(keras, tf_keras)


@_pinned
def quantize_aware(
    model: Any, arch: Arch, dataset: Dataset,
    settings: FineTuning | None = None,
) -> Any:
    """Trains a network on while its tensors are rounded to int8.

    The ranges of the activations are seen on some hundred training images,
    before and once more after; batch norms keep their statistics; the weights
    learn to live with the rounding.

    Args:
        model: The trained Keras model.
        arch: Its architecture.
        dataset: The images that it was trained on.
        settings: How to train; `None` is `FineTuning()`.

    Returns:
        A `tf_keras` model whose outputs are those of the int8 file, for
        `to_int8`.

    Raises:
        ConfigError: when the model is not of this architecture, the images
            do not fit, or the network has layers that only post-training
            quantization knows (`nasbench201`).
        Diverged: when the loss is no longer finite.
    """
    settings = settings or FineTuning()
    placement = place(arch)
    twin = _twin(model, arch, dataset, rounded=True)
    images = dataset.train.representative(_CALIBRATION_IMAGES, settings.seed)
    quantized = _rounded(twin, placement, images)
    _fit(quantized, dataset, settings, [])
    # The weights have moved, and the ranges with them.
    take_weights_back(quantized, twin)
    return _rounded(twin, placement, images)


def _rounded(twin: Any, placement: Placement, images: np.ndarray) -> Any:
    """Returns a copy of a network that rounds, in ranges seen on images."""
    api = tfmot.quantization.keras
    observed = _observe(twin, list(placement.groups), images)
    ranges = {}
    for group in set(placement.groups.values()):
        members = [n for n, g in placement.groups.items() if g == group]
        low = min(0.0, *(observed[n][0] for n in members))
        high = max(1e-6, *(observed[n][1] for n in members))
        ranges[group] = placement.fixed.get(group, (low, high))

    def annotate(layer: Any) -> Any:
        config = _Rounding()
        if layer.name in placement.groups:
            config = _Rounding(*ranges[placement.groups[layer.name]])
        return api.quantize_annotate_layer(layer, config)

    with quiet(), api.quantize_scope({"_Rounding": _Rounding}):
        # A layer belongs to one wrapper: the twin keeps its own.
        copy = tf_keras.models.clone_model(twin)
        copy.set_weights(twin.get_weights())
        annotated = tf_keras.models.clone_model(copy, clone_function=annotate)
        quantized = api.quantize_apply(annotated, _AsAnnotated())
    for layer in quantized.layers:
        inner = getattr(layer, "layer", layer)
        if isinstance(inner, tf_keras.layers.BatchNormalization):
            inner.trainable = False
    return quantized


@_pinned
def to_int8(quantized: Any, io: str | None = None) -> bytes:
    """Converts a model of `quantize_aware` to the content of a `.tflite`.

    Args:
        quantized: The model.
        io: What the file takes and gives: `"int8"` (also `None`), or
            `"float32"`.

    Raises:
        ConfigError: when `io` is something else.
        ExportError: when the file would not be int8 from end to end.
    """
    io = check_io("int8", io)

    @tf.function(autograph=False)
    def logits(image):
        return {"logits": quantized(image, training=False)}

    shape = quantized.input_shape[1:]
    with quiet():
        traced = logits.get_concrete_function(
            tf.TensorSpec((1, *shape), tf.float32, name="image")
        )
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [traced], quantized
        )
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.as_dtype(io)
        converter.inference_output_type = tf.as_dtype(io)
        blob = run_converter(converter)
    require_int8(blob, float_io=io == "float32")
    return blob


@_pinned
def prune(
    model: Any, arch: Arch, dataset: Dataset, sparsity: float = 0.5,
    settings: FineTuning | None = None,
) -> Any:
    """Trains a network on while its smallest weights become zero.

    The share of zeros grows polynomially over the first two thirds of the
    steps. Kernels of depthwise convolutions stay dense.

    Args:
        model: The trained Keras model.
        arch: Its architecture.
        dataset: The images that it was trained on.
        sparsity: Share of zeros of every pruned kernel, below 1.
        settings: How to train; `None` is `FineTuning()`.

    Returns:
        A Keras model with sparse weights: its file is smaller compressed.

    Raises:
        ConfigError: when the sparsity is out of range, the model is not of
            this architecture, or the images do not fit.
        Diverged: when the loss is no longer finite.
    """
    if not 0 < sparsity < 1:
        raise ConfigError(
            "`sparsity` must be between 0 and 1. "
            f"Received: sparsity={sparsity}"
        )
    settings = settings or FineTuning()
    twin = _twin(model, arch, dataset)
    steps = settings.steps(dataset)
    end = max(1, 2 * steps // 3)
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        0.0, sparsity, begin_step=0, end_step=end,
        frequency=max(1, end // _UPDATES),
    )

    def wrap(layer: Any) -> Any:
        if type(layer).__name__ not in _WIDE:
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(
            layer, pruning_schedule=schedule
        )

    pruned = tf_keras.models.clone_model(twin, clone_function=wrap)
    _fit(
        pruned, dataset, settings, [tfmot.sparsity.keras.UpdatePruningStep()]
    )
    return _back(tfmot.sparsity.keras.strip_pruning(pruned), arch)


@_pinned
def cluster(
    model: Any, arch: Arch, dataset: Dataset, clusters: int = 32,
    settings: FineTuning | None = None,
) -> Any:
    """Trains a network on while the weights of a layer share few values.

    Kernels of depthwise convolutions are trained on as they are.

    Args:
        model: The trained Keras model.
        arch: Its architecture.
        dataset: The images that it was trained on.
        clusters: Number of values in a kernel, 2 at least.
        settings: How to train; `None` is `FineTuning()`.

    Returns:
        A Keras model with few values: its file is smaller compressed.

    Raises:
        ConfigError: when there are too few clusters, the model is not of
            this architecture, or the images do not fit.
        Diverged: when the loss is no longer finite.
    """
    if clusters < 2:
        raise ConfigError(
            f"`clusters` must be at least 2. Received: clusters={clusters}"
        )
    api = tfmot.clustering.keras
    twin = _twin(model, arch, dataset)

    def wrap(layer: Any) -> Any:
        if type(layer).__name__ not in _WIDE:
            return layer
        return api.cluster_weights(
            layer, number_of_clusters=clusters,
            cluster_centroids_init=api.CentroidInitialization.LINEAR,
        )

    clustered = tf_keras.models.clone_model(twin, clone_function=wrap)
    _fit(clustered, dataset, settings or FineTuning(), [])
    return _back(api.strip_clustering(clustered), arch)


def _twin(
    model: Any, arch: Arch, dataset: Dataset, rounded: bool = False
) -> Any:
    """Rebuilds a network in legacy Keras, with its weights.

    With `rounded` it has a layer more, where the image will be rounded.
    """
    require_fit(arch, dataset.image_shape, dataset.classes)
    if not rounded:
        twin = build_model(arch, tf_keras)
    else:
        image = tf_keras.Input(arch.input_shape, name="image")
        x = tf_keras.layers.Activation("linear", name=IMAGE)(image)
        x = apply_blocks(arch, len(arch.blocks), x, tf_keras)
        twin = tf_keras.Model(image, x, name=f"tfnas_{arch.id}")
    copy_weights(model, twin, arch)
    return twin


def _back(twin: Any, arch: Arch) -> keras.Model:
    """Returns the network in Keras with the weights of its twin."""
    model = build_model(arch)
    copy_weights(twin, model, arch)
    return model


def _fit(
    model: Any, dataset: Dataset, settings: FineTuning, callbacks: list[Any]
) -> None:
    """Trains a model of legacy Keras on the training images."""
    total = settings.steps(dataset)
    schedule = tf_keras.optimizers.schedules.CosineDecay(settings.lr, total)
    model.compile(
        tf_keras.optimizers.SGD(schedule, _MOMENTUM, nesterov=True),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    bar = tqdm(
        total=total, desc="fine-tune", unit="step", leave=False,
        disable=None if settings.progress else True,  # on a terminal only
    )
    advance = tf_keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: bar.update()
    )
    with bar:
        for epoch in range(settings.epochs):
            batches = dataset.train.batches(
                settings.batch_size, seed=settings.seed, epoch=epoch,
                augment=settings.augment,
            )
            with blame.bad_image(dataset.train):
                history = model.fit(
                    batches, verbose=0, callbacks=[*callbacks, advance]
                )
            (loss,) = history.history["loss"]
            if not np.isfinite(loss):
                raise Diverged(
                    "Expected a finite loss while fine-tuning; try a smaller "
                    f"`lr`. Received: loss={loss}, lr={settings.lr}"
                )


def _observe(
    twin: Any, names: list[str], images: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Returns the least and the greatest value that layers give.

    Both are means over batches, so that no single image sets them.
    """
    outputs = [twin.get_layer(name).output for name in names]
    probe = tf_keras.Model(twin.input, outputs)

    @tf.function(autograph=False)
    def extremes(batch):
        values = tf.nest.flatten(probe(batch, training=False))
        return tf.stack(
            [[tf.reduce_min(v), tf.reduce_max(v)] for v in values]
        )

    size = min(_CALIBRATION_BATCH, len(images))
    batches = len(images) // size
    means = np.mean(
        [
            extremes(tf.constant(batch))
            for batch in np.split(images[: batches * size], batches)
        ],
        axis=0,
    )
    return {
        name: (float(low), float(high))
        for name, (low, high) in zip(names, means, strict=True)
    }


class _Kernel(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds a kernel symmetrically, with a scale for each output channel.

    A dense kernel has one scale, as the converter wants it.

    Args:
        layer: Class name of its layer.
    """

    def __init__(self, layer: str):
        self._layer = layer

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict:
        return {}

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        shape = inputs.shape
        if self._layer == "DepthwiseConv2D":  # the channels go last
            inputs = tf.reshape(inputs, (*shape[:2], 1, shape[2]))
        whole = self._layer == "Dense"
        axes = None if whole else list(range(len(inputs.shape) - 1))
        top = tf.reduce_max(tf.abs(inputs), axes)
        top = tf.stop_gradient(tf.maximum(top, 1e-8))
        fake_quant = tf.quantization.fake_quant_with_min_max_vars
        if not whole:
            per_channel = "fake_quant_with_min_max_vars_per_channel"
            fake_quant = getattr(tf.quantization, per_channel)
        rounded = fake_quant(inputs, -top, top, num_bits=8, narrow_range=True)
        return tf.reshape(rounded, shape)

    def get_config(self) -> dict[str, Any]:
        return {"layer": self._layer}


class _FixedRange(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds a tensor to 256 levels of a range."""

    def __init__(self, low: float, high: float):
        self._low, self._high = low, high

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict:
        return {}

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        return tf.quantization.fake_quant_with_min_max_args(
            inputs, self._low, self._high, num_bits=8
        )

    def get_config(self) -> dict[str, Any]:
        return {"low": self._low, "high": self._high}


# Layer class to the attribute that holds its kernel.
_KERNELS = {
    "Conv2D": "kernel",
    "Dense": "kernel",
    "DepthwiseConv2D": "depthwise_kernel",
}


class _Rounding(tfmot.quantization.keras.QuantizeConfig):
    """What is rounded in a layer: its kernel if it has one, and its output.

    Args:
        low: Lower end of the output's range; `None` leaves the output.
        high: Upper end.
    """

    def __init__(self, low: float | None = None, high: float | None = None):
        self._low, self._high = low, high

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple]:
        kind = type(layer).__name__
        if kind not in _KERNELS:
            return []
        return [(getattr(layer, _KERNELS[kind]), _Kernel(kind))]

    def get_activations_and_quantizers(self, layer: Any) -> list[tuple]:
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: list) -> None:
        for weight in quantize_weights:
            setattr(layer, _KERNELS[type(layer).__name__], weight)

    def set_quantize_activations(
        self, layer: Any, quantize_activations: list
    ) -> None:
        pass

    def get_output_quantizers(self, layer: Any) -> list:
        if self._low is None or self._high is None:
            return []
        return [_FixedRange(self._low, self._high)]

    def get_config(self) -> dict[str, Any]:
        return {"low": self._low, "high": self._high}


class _AsAnnotated(
    tfmot.quantization.keras.default_8bit.Default8BitQuantizeScheme
):
    """Rounds what is annotated and looks for no patterns of its own."""

    def get_layout_transformer(self) -> Any:
        return _NoTransform()


class _NoTransform(tfmot.quantization.keras.QuantizeLayoutTransform):
    def apply(self, model: Any, layer_quantize_map: dict) -> tuple[Any, dict]:
        return model, layer_quantize_map
