"""An architecture drawn as a row of boxes, wide blocks as tall boxes."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.patches import Patch

from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ArtifactError
from tfnas.fields import printable
from tfnas.report import palette

_PER_ROW = 16
_ROW_INCHES = 2.35
_TOP, _BOTTOM = 1.6, -1.75  # of a row, in box widths


@dataclasses.dataclass(frozen=True)
class Box:
    """One block as it is drawn.

    Args:
        block: The block.
        resolution: Its output without the channels.
        latency_ms: Its share of the network's latency, None if unknown.
    """

    block: Block
    resolution: tuple[int, ...]
    latency_ms: float | None

    @property
    def kernel(self) -> int | None:
        """The kernel size, None for operators without one."""
        kernel = self.block.attrs.get("k")
        return kernel if isinstance(kernel, int) else None


def boxes(arch: Arch, lut: LatencyTable | None) -> list[Box]:
    """Returns the blocks of an architecture as they are drawn.

    Args:
        arch: Any architecture; its operators need not be registered.
        lut: The latency table of the device, if there is one.

    Returns:
        One box for each block.
    """
    drawn = []
    resolution = arch.input_shape[:-1]
    latencies = _latencies(arch, lut)
    for block, latency_ms in zip(arch.blocks, latencies, strict=True):
        # Every operator pads so that a stride of two halves, rounded up.
        resolution = tuple(math.ceil(n / block.stride) for n in resolution)
        if block.op in ("classifier", "pooled_conv"):
            resolution = tuple(1 for _ in resolution)
        drawn.append(Box(block, resolution, latency_ms))
    return drawn


def _latencies(arch: Arch, lut: LatencyTable | None) -> list[float | None]:
    unknown: list[float | None] = [None] * len(arch.blocks)
    if lut is None:
        return unknown
    try:
        shapes = ops.shapes(arch)
    except ArtifactError:  # an operator that this version does not know
        return unknown
    return [
        lut.block_ms(block, shape)
        if lut.block_keys(block, shape) and lut.knows(block, shape)
        else None
        for block, shape in zip(arch.blocks, shapes, strict=False)
    ]


def draw(
    archs: Sequence[tuple[str, Arch]], lut: LatencyTable | None
) -> Figure:
    """Draws architectures below each other.

    Args:
        archs: Pairs of a title and an architecture.
        lut: The latency table of the device, if there is one.

    Returns:
        The figure; long networks go on in a further row.
    """
    lines: list[tuple[str, list[Box]]] = []
    for title, arch in archs:
        drawn = boxes(arch, lut)
        lines += [
            ("" if start else title, drawn[start : start + _PER_ROW])
            for start in range(0, len(drawn), _PER_ROW)
        ]
    columns = max(6, *(len(line) for _, line in lines))
    figure = Figure(
        figsize=(0.68 * columns + 0.3, _ROW_INCHES * len(lines) + 0.35),
        layout="constrained",
    )
    grid = figure.subplots(len(lines), 1, squeeze=False)
    for axes, (title, line) in zip(grid[:, 0], lines, strict=True):
        _draw_line(axes, title, line, columns)
    _legend(figure, [box for _, line in lines for box in line])
    return figure


def _draw_line(axes: Axes, title: str, line: list[Box], columns: int) -> None:
    axes.set(xlim=(-0.55, columns - 0.45), ylim=(_BOTTOM, _TOP))
    axes.axis("off")
    axes.set_title(title)
    axes.plot([-0.5, len(line) - 0.5], [0, 0], color=palette.PALE, zorder=1)
    for start, end in _runs([box.resolution for box in line]):
        _resolution(axes, start, end, line[start].resolution)
    for position, box in enumerate(line):
        _draw_box(axes, position, box)


def _draw_box(axes: Axes, x: float, box: Box) -> None:
    face, ink = _colors(box.kernel)
    height = _height(box.block.out_channels)
    axes.add_patch(
        FancyBboxPatch(
            (x - 0.4, -height / 2), 0.8, height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=face, edgecolor="white", linewidth=0.8, zorder=2,
        )
    )
    axes.text(
        x, 0, _label(box), color=ink, fontsize=6.5, ha="center", va="center",
        zorder=3, linespacing=1.3,
    )
    axes.text(
        x, height / 2 + 0.06, str(box.block.out_channels), fontsize=7.5,
        ha="center", va="bottom", fontweight="bold",
    )
    if box.block.stride > 1:
        axes.text(
            x, -height / 2 - 0.06, f"s{box.block.stride}", fontsize=7,
            ha="center", va="top", color=palette.STRIDE, fontweight="bold",
        )
    if box.latency_ms is not None:
        axes.text(
            x, _BOTTOM + 0.33, f"{box.latency_ms:.3f}", fontsize=6.5,
            ha="center", va="bottom", color=palette.SOFT,
        )


def _label(box: Box) -> str:
    name = printable(box.block.op)
    lines = [name if len(name) <= 10 else name[:9] + "…"]
    if box.kernel is not None:
        lines.append(f"k{box.kernel}")
    expansion = box.block.attrs.get("e")
    if isinstance(expansion, (int, float)):
        lines[-1] += f" e{expansion:g}"
    return "\n".join(lines)


def _resolution(
    axes: Axes, start: int, end: int, resolution: tuple[int, ...]
) -> None:
    axes.plot(
        [start - 0.42, end - 0.58], [_BOTTOM + 0.3] * 2, color=palette.PALE,
        linewidth=2, solid_capstyle="butt",
    )
    axes.text(
        (start + end - 1) / 2, _BOTTOM + 0.22, "×".join(map(str, resolution)),
        fontsize=7, ha="center", va="top", color=palette.SOFT,
    )


def _legend(figure: Figure, drawn: list[Box]) -> None:
    kernels = {box.kernel for box in drawn}
    handles = [
        Patch(
            color=_colors(kernel)[0],
            label=f"kernel {kernel}" if kernel else "no kernel",
        )
        for kernel in sorted(kernels, key=lambda k: k or math.inf)
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))


def _colors(kernel: int | None) -> tuple[str, str]:
    drawn = [k for k in palette.KERNELS if k <= (kernel or 0)]
    return palette.KERNELS[max(drawn)] if drawn else palette.NO_KERNEL


def _runs(values: Sequence[Any]) -> list[tuple[int, int]]:
    """Returns the spans [start, end) of equal neighbours."""
    cuts = [i for i in range(1, len(values)) if values[i] != values[i - 1]]
    return list(zip([0, *cuts], [*cuts, len(values)], strict=True))


def _height(width: int) -> float:
    """Returns a box height that grows with the logarithm of the width."""
    return min(2.7, 0.62 + 0.27 * max(0.0, math.log2(width / 8)))
