"""What became of a network on its way to a `.tflite`, as one JSON."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas.data import Split
from tfnas.errors import ExportError
from tfnas.export.classifiers import TFLiteClassifier
from tfnas.export.evaluate import accuracy
from tfnas.export.inspection import describe
from tfnas.export.layer_error import compare_layers
from tfnas.export.parity import parity
from tfnas.export.tracing import reason_of

FORMAT = "tfnas-export/1"
_LAYER_IMAGES = 16
_WORST = 5


def make_report(
    model: Any, float32: bytes, blob: bytes, images: np.ndarray,
    test: Split | None = None, output: str | None = None,
) -> dict[str, Any]:
    """Compares a `.tflite` with the float network that it was made from.

    A diagnosis that fails stops nothing: it is missing, and the report says
    why.

    Args:
        model: The Keras model, as it was trained.
        float32: Content of its float file.
        blob: Content of the file to report on.
        images: Images to compare tensors on, normalised.
        test: The images to count right answers on, if there are any.
        output: Name of the output that says the class, where there are
            several.

    Returns:
        Plain JSON: sizes in bytes, as they are and compressed; accuracies and
        the drop in percentage points, if there are test images; the
        difference of the outputs; the operators; the error of each layer
        (see `LayerError`), in the order they run; and how many operators
        could not be compared. `accuracy_missing`, `parity_missing` and
        `layers_missing` say in one line why there is none.

    Raises:
        ConfigError: If the test images do not fit the network.
    """
    described = describe(blob)
    sizes = {"float32": len(float32), "file": described.pop("size_bytes")}
    compressed = {
        "float32": len(zlib.compress(float32)), "file": len(zlib.compress(blob))
    }
    report = {
        "format": FORMAT, "size_bytes": sizes, "compressed_bytes": compressed,
        "accuracy": None, "parity": None, **described, "layers": [],
        "layers_left_out": 0,
    }
    if test is not None:
        try:
            report["accuracy"] = _accuracies(model, blob, test, output)
        except ExportError as error:  # it is no classifier
            report["accuracy_missing"] = reason_of(error)
    try:
        report["parity"] = dataclasses.asdict(
            parity(model, blob, images, output)
        )
    except Exception as error:
        report["parity_missing"] = reason_of(error)
    try:
        compared = compare_layers(
            model, blob, images[:_LAYER_IMAGES], float32
        )
    except Exception as error:
        report["layers_missing"] = reason_of(error)
    else:
        report["layers_left_out"] = compared.left_out
        report["layers"] = [
            {**dataclasses.asdict(layer), "sqnr_db": layer.sqnr_db}
            for layer in compared.errors
        ]
    return report


def _accuracies(
    model: Any, blob: bytes, test: Split, output: str | None
) -> dict[str, Any]:
    keras_share = accuracy(model, test, output=output)
    file_share = accuracy(TFLiteClassifier(blob), test, output=output)
    return {
        "keras": keras_share,
        "file": file_share,
        "drop_points": 100 * (keras_share - file_share),
        "test_images": len(test),
    }


def check_drop(report: Mapping[str, Any], max_drop: float) -> None:
    """Refuses a file that lost too much.

    Args:
        report: A report with accuracies.
        max_drop: Percentage points that may be lost.

    Raises:
        ExportError: when more was lost, the message has both accuracies; or
            when the report has none.
    """
    shares = report["accuracy"]
    if shares is None:
        reason = report.get("accuracy_missing", "no test images")
        raise ExportError(
            f"Expected an accuracy to judge a loss of {max_drop:g} points by. "
            f"Received: none ({reason}); nothing is written"
        )
    if shares["drop_points"] > max_drop:
        raise ExportError(
            f"Expected a loss of at most {max_drop:g} points of accuracy. "
            f"Received: {100 * shares['keras']:.2f} % of the float network, "
            f"{100 * shares['file']:.2f} % of the file, on "
            f"{shares['test_images']} test images; nothing is written"
        )


def format_report(report: Mapping[str, Any]) -> str:
    """Returns a report as a table and the layers that lose most."""
    rows = [("", "float", "file", "")]
    for name, field in (
        ("bytes", "size_bytes"), ("compressed", "compressed_bytes")
    ):
        before, after = report[field]["float32"], report[field]["file"]
        rows.append(
            (name, f"{before:,}", f"{after:,}", f"{after / before:.2f} x")
        )
    if shares := report["accuracy"]:
        rows.append(
            ("accuracy", f"{100 * shares['keras']:.2f} %",
             f"{100 * shares['file']:.2f} %",
             f"{-shares['drop_points']:+.2f} points")
        )
    if latency := report.get("latency"):
        before, after = latency["float32_ms"], latency["file_ms"]
        rows.append(
            ("latency", f"{before:.3f} ms", f"{after:.3f} ms",
             f"{latency['speedup']:.2f} x as fast")
        )
    lines = [
        f"{name:<11}{before:>14}{after:>14}  {note}".rstrip()
        for name, before, after, note in rows
    ]
    for name in ("accuracy", "parity", "layers"):
        if reason := report.get(f"{name}_missing"):
            lines.append(f"no {name}: {reason}")
    worst = sorted(report["layers"], key=lambda row: -row["added"])[:_WORST]
    if worst:
        lines.append("error of layers, relative; those that add most:")
    lines += [_layer_line(row) for row in worst]
    if left_out := report.get("layers_left_out"):
        lines.append(f"  ({left_out} operators are no layer's output)")
    return "\n".join(lines)


def _layer_line(row: Mapping[str, Any]) -> str:
    name = " + ".join([*row.get("fused", ()), row["layer"]])
    return (
        f"  {name:<40} {row['op']:<20}{row['relative_rmse']:>8.4f}"
        f"  (adds {row['added']:.4f})"
    )
