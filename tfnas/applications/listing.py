"""What the applications cost and what they reach, as one table."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

from tfnas import artifacts
from tfnas.applications.entry import APPLICATIONS
from tfnas.cost.counting import count

LATENCY_FORMAT = "tfnas-application-latency/1"
# Written by `benchmarks/applications.py`.
LATENCY = pathlib.Path(__file__).parent / "latency.json"


@dataclasses.dataclass(frozen=True)
class Row:
    """One application.

    Attributes:
        name: Its name in `tfnas.applications.get`.
        function: The function that builds it; empty where there is none.
        input_shape: `(height, width, channels)` it was made for.
        classes: Width of the logits.
        params: Trainable parameters.
        madds: Multiply-adds at that input shape.
        top1: Top-1 accuracy on ImageNet in percent that the authors
            published; none of it was measured here.
        latency_ms: Of its int8 model, as we measured it; see `measured`.
        presets: Accuracy in percent that each preset has, by its name.
    """

    name: str
    function: str
    input_shape: tuple[int, ...]
    classes: int
    params: int
    madds: int
    top1: float | None
    latency_ms: float | None
    presets: dict[str, float | None]


def table() -> list[Row]:
    """Returns a row for each application, in the order of their names."""
    return [_row(name) for name in APPLICATIONS.names()]


def _row(name: str) -> Row:
    entry = APPLICATIONS.get(name)
    arch = entry.get_arch()
    counts = count(arch)
    # A figure counts for the very network that was timed.
    figure = measured()["networks"].get(arch.id, {})
    return Row(
        name, entry.function, arch.input_shape, arch.classes, counts.params,
        counts.madds, entry.top1, figure.get("latency_ms"),
        {key: preset.top1 for key, preset in entry.presets.items()},
    )


@functools.cache
def measured() -> dict[str, Any]:
    """Returns the latencies that were measured, and where.

    Returns:
        An object with `date`, `device`, `runtime`, `statistic`, `clock`,
        `rounds`, and `networks`: from the id of each to its `name`,
        `latency_ms`, `spread` and `delegate_nodes`.

    Raises:
        ArtifactError: when the file is damaged.
    """
    return artifacts.read_json(LATENCY, LATENCY_FORMAT)


def markdown(rows: list[Row]) -> str:
    """Returns the table as text, with where the latencies come from."""
    lines = [
        "| application | parameters | multiply-adds | top-1 (the authors') "
        "| int8, ms | presets |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        top1 = "" if row.top1 is None else f"{row.top1:.1f} %"
        ms = "" if row.latency_ms is None else f"{row.latency_ms:.2f}"
        presets = ", ".join(
            key if value is None else f"{key} ({value:.1f} %)"
            for key, value in row.presets.items()
        )
        lines.append(
            f"| `{row.function or row.name}` | {row.params:,} "
            f"| {row.madds:,} | {top1} | {ms} | {presets} |"
        )
    return "\n".join([*lines, "", _source(measured())])


def _source(value: dict[str, Any]) -> str:
    device, runtime = value["device"], value["runtime"]
    tflite = runtime["tflite"]
    return (
        f"Latencies: ours, of int8 models with random weights, on "
        f"{device['cpu']} ({tflite['name']} {tflite['version']}, "
        f"{runtime['threads']} thread, {runtime['delegate']}, clock "
        f"{value['clock']}, {value['statistic']} of {value['rounds']} "
        f"rounds), {value['date']}. Accuracies on ImageNet are the authors'; "
        "ours are those of the presets."
    )
