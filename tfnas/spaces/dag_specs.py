"""The numbers around the cells of AutoShrink's convolutional networks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

DRAW_SEED = 5  # the release seeds its draw of operations so
_BASE_FILTERS = 16
_STEM_FILTERS = 32


@dataclasses.dataclass(frozen=True)
class ShrinkSpec:
    """What surrounds the cell: stem, stages, head, activations.

    Args:
        input_size: Side of the square input image.
        classes: Default width of the logits.
        stem_stride: Stride of the 3x3 stem convolution.
        scales: Width of each stage's nodes, in units of 16 filters.
        replicates: Cells of each stage.
        pools: Stride of each stage's first cell.
        channel_scale: Factor of the stem's and the nodes' widths.
        head_filters: Width of the 1x1 convolution before the pool; 0: none.
        eps: Of the batch normalisations.
        momentum: Of the batch normalisations.
        nodes: Default number of nodes, the input included.
        act: Activation of the network.
        inner: Activation inside linear separable convolutions; see
            `tfnas.ops.dag.ShrinkCell`.
        residual: 1 where cells have shortcuts, else 0.
        bottleneck: Factor by which residual cells divide their width.
    """

    input_size: int
    classes: int
    stem_stride: int
    scales: tuple[float, ...]
    replicates: tuple[int, ...]
    pools: tuple[int, ...]
    channel_scale: float
    head_filters: int
    eps: float
    momentum: float
    nodes: int = 8
    act: str = "relu"
    inner: str = "relu"
    residual: int = 1
    bottleneck: int = 1

    @functools.cached_property
    def norm(self) -> dict[str, Any]:
        """Batch normalisation, as blocks state it."""
        return {"eps": self.eps, "momentum": self.momentum, "affine": True}

    @property
    def cell_attrs(self) -> dict[str, Any]:
        """Attributes that all cells share."""
        return {
            "act": self.act, "inner": self.inner, "residual": self.residual,
            "b": self.bottleneck, "pad": "same", "norm": dict(self.norm),
        }

    @property
    def stem(self) -> tuple[int, int, int]:
        """Filters, kernel size and stride of the stem."""
        filters = 4 * round(_STEM_FILTERS * self.channel_scale / 4)
        return filters, 3, self.stem_stride

    def cells(self) -> Iterator[tuple[int, int, int]]:
        """Yields stage (from 1), `f` and stride of each cell.

        The width of stage s is `max(round(int(16 * s) / 4), 1) * 4`, halves
        rounded to even.
        """
        for i, scale in enumerate(self.scales):
            base = int(_BASE_FILTERS * scale * self.channel_scale)
            filters = max(round(base / 4), 1) * 4
            for cell in range(self.replicates[i]):
                yield i + 1, filters, 1 if cell else self.pools[i]

    def filters_of(self, filters: int) -> int:
        """Returns the width of a node of a cell of width `f`."""
        return max(filters // self.bottleneck, 1) if self.residual else filters


_IMAGENET = ShrinkSpec(
    input_size=224,
    classes=1001,  # with a background class 0
    stem_stride=2,
    scales=(0.5, 1, 2, 4, 8),
    replicates=(1, 3, 4, 6, 4),
    pools=(1, 2, 2, 2, 2),
    channel_scale=1.4,
    head_filters=1280,
    eps=1e-3,
    momentum=0.999,
)
SPECS = {
    # The cells of ShrinkCNN-A (relu) and ShrinkCNN-B (swish).
    "autoshrink_cnn": _IMAGENET,
    "autoshrink_cnn_swish": dataclasses.replace(_IMAGENET, act="swish"),
    # The proxy on which the published search trains.
    "autoshrink_cnn@32": ShrinkSpec(
        input_size=32,
        classes=10,
        stem_stride=1,
        scales=(1, 2, 4),
        replicates=(1, 1, 1),
        pools=(1, 2, 2),
        channel_scale=1.0,
        head_filters=0,
        eps=1e-5,
        momentum=0.9,
    ),
}
# The graph of ShrinkCNN-A and -B.
SHRINK_CNN = "sep.sep.sep.sep.conv:0-1.0-2.0-3.0-4.1-3.2-4"
