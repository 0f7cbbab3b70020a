"""Feature maps of a network at named places."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from tfnas import derive
from tfnas import keras_settings
from tfnas import ops
from tfnas.applications import builder
from tfnas.applications.entry import Application
from tfnas.applications.entry import find
from tfnas.arch import Arch
from tfnas.errors import ConfigError

_LARGE = 4096  # a side that all strides divide


def endpoints(arch: Arch) -> dict[str, str]:
    """Names the layers that end each resolution of a network.

    Args:
        arch: The network.

    Returns:
        `"stride_2"`, `"stride_4"` and so on, to the name of the layer that
        gives the last feature map of that stride: `get_layer(name).output`.
    """
    large = (_LARGE, _LARGE, arch.input_shape[-1])
    shapes = ops.shapes(dataclasses.replace(arch, input_shape=large))
    found = {}
    for i, block in enumerate(arch.blocks[: builder.body_length(arch)]):
        graph = ops.lower(block, shapes[i])
        if graph.live:
            stride = _LARGE // graph.output_shape[0]
            prefix = derive.layer_prefix(i, block.op)
            found[f"stride_{stride}"] = f"{prefix}_{graph.output}"
    return found


@keras_settings.pinned()
def feature_extractor(
    network: str | Arch | Application,
    endpoints: Sequence[str] | None = None,
    weights: str | os.PathLike | None = None, input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None, name: str | None = None,
) -> Any:
    """Builds a model that gives feature maps, for detectors and the like.

    Args:
        network: Name of an application, an entry, or a searched network.
        endpoints: Names of the maps, such as `("stride_8", "stride_16")`;
            all of them by default.
        weights: As `build` has it.
        input_tensor: As `build` has it.
        input_shape: As `build` has it.
        name: Name of the model.

    Returns:
        A functional `keras.Model` from images to a dict of feature maps
        `(batch, height, width, channels)` by endpoint. What no map needs is
        not part of it.

    Raises:
        ConfigError: for an unknown endpoint (the message lists those that
            exist), and as `build` does.
        ArtifactError: as `build` does.

    Example:
        >>> maps = feature_extractor("densenas_a", ("stride_8",))(images)
        >>> maps["stride_8"].shape
    """
    import keras

    entry = find(network)
    body = builder.build(
        entry, include_top=False, weights=weights, input_tensor=input_tensor,
        input_shape=input_shape,
    )
    layers = _layers(entry.get_arch())
    wanted = tuple(layers if endpoints is None else endpoints)
    if not wanted or not set(wanted) <= set(layers):
        raise ConfigError(
            f"{entry.name}: `endpoints` must be some of {[*layers]}. "
            f"Received: {wanted}"
        )
    maps = {key: body.get_layer(layers[key]).output for key in wanted}
    return keras.Model(body.input, maps, name=name or entry.name)


_layers = endpoints  # the argument of one name hides the function
