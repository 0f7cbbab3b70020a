"""What became of a network on its way to a `.tflite`, as one JSON."""

from __future__ import annotations

import collections
import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfnas.data import Split
from tfnas.errors import ExportError
from tfnas.export.classifiers import TFLiteClassifier
from tfnas.export.clipping import clipped_tensors
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
        (see `LayerError`), in the order they run; how many operators could
        not be compared; and the tensors that are clipped (see `Clipped`).
        `accuracy_missing`, `parity_missing`, `layers_missing` and
        `clipped_missing` say in one line why there is none.

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
        "layers_left_out": 0, "clipped": [],
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
    try:
        report["clipped"] = [
            dataclasses.asdict(each)
            for each in clipped_tensors(blob, images[:_LAYER_IMAGES])
        ]
    except Exception as error:
        report["clipped_missing"] = reason_of(error)
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


def check_pieces(report: Mapping[str, Any], max_pieces: int) -> None:
    """Refuses a file that the delegate runs in too many pieces.

    Args:
        report: A report with `pieces` and `operators`.
        max_pieces: How many there may be; one that the delegate takes
            nothing of is refused too.

    Raises:
        ExportError: when there are more; the message says what stands
            between them, or why nobody knows.
    """
    pieces = report["pieces"]
    if pieces is not None and 1 <= pieces <= max_pieces:
        return
    said = f"{pieces} pieces" if pieces else "none that it takes"
    if pieces is None:
        said = f"an unknown number ({report['operators_missing']})"
    outside = collections.Counter(op["code"] for op in _left_out(report))
    between = ", ".join(f"{code} {n}" for code, n in outside.most_common())
    raise ExportError(
        f"Expected a file of at most {max_pieces} "
        f"piece{'s' * (max_pieces != 1)} for XNNPACK. Received: {said}"
        + (f"; outside are {between}" if between else "")
        + "; nothing is written"
    )


def _left_out(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [op for op in report.get("operators", ()) if not op["delegated"]]


def format_report(report: Mapping[str, Any]) -> str:
    """Returns a report as a table, and in lines below it what stands out.

    These are how the operators were written, where they run, and the layers
    that lose most.
    """
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
    for name in ("accuracy", "parity", "layers", "operators"):
        if reason := report.get(f"{name}_missing"):
            lines.append(f"no {name}: {reason}")
    lines += _lowering_lines(report.get("lowering"))
    lines += _placement_lines(report)
    lines += _clipped_lines(report)
    worst = sorted(report["layers"], key=lambda row: -row["added"])[:_WORST]
    if worst:
        lines.append("error of layers, relative; those that add most:")
    lines += [_layer_line(row) for row in worst]
    if left_out := report.get("layers_left_out"):
        lines.append(f"  ({left_out} operators are no layer's output)")
    return "\n".join(lines)


def _lowering_lines(lowering: Mapping[str, Any] | None) -> list[str]:
    """Returns how the operators were written, if that is known."""
    if lowering is None:
        return []
    if because := lowering["plain_because"]:
        return [f"operators as in the model: {because}"]
    if lowering["backend"] == "none":
        return ["operators as in the model"]
    applied = [f"{name} {n}" for name, n in lowering["applied"].items()]
    said = ", ".join(applied) or "nothing to change"
    return [f"operators for {lowering['backend']}: {said}"]


def _placement_lines(report: Mapping[str, Any]) -> list[str]:
    """Returns in how many pieces the file runs, and what runs outside."""
    operators, pieces = report.get("operators"), report.get("pieces")
    if not operators or pieces is None:
        return []
    outside = _left_out(report)
    ran = len(operators) - len(outside)
    lines = [
        f"XNNPACK runs {ran} of {len(operators)} operators, in {pieces} "
        f"piece{'s' * (pieces != 1)}" + (":" if outside else "")
    ]
    groups: dict[tuple[str, str], list[float | None]] = {}
    for op in outside:
        groups.setdefault((op["code"], op["why"]), []).append(op["cost_ms"])
    for (code, why), costs in list(groups.items())[:_WORST]:
        known = [cost for cost in costs if cost is not None]
        cost = f"{sum(known):.3f} ms" if len(known) == len(costs) else "? ms"
        lines.append(f"  outside {len(costs)} x {code}, {cost}: {why}")
    if len(groups) > _WORST:
        lines.append(f"  outside {len(groups) - _WORST} other kinds")
    return lines


def _clipped_lines(report: Mapping[str, Any]) -> list[str]:
    """Returns a warning for each tensor that is clipped."""
    lowered = (report.get("lowering") or {}).get("backend") == "xnnpack"
    lines = []
    for each in report.get("clipped", ())[:_WORST]:
        remedy = "a convolution between the two gives it one of its own"
        if each["mended"] and not lowered:
            remedy = "--lower=xnnpack gives it one of its own"
        lines.append(
            f"warning: {100 * each['share']:.1f} % of {each['tensor']} are "
            f"clipped, as {each['pool']} and {each['join']} behind it have "
            f"one range; {remedy}"
        )
    return lines


def _layer_line(row: Mapping[str, Any]) -> str:
    name = " + ".join([*row.get("fused", ()), row["layer"]])
    return (
        f"  {name:<40} {row['op']:<20}{row['relative_rmse']:>8.4f}"
        f"  (adds {row['added']:.4f})"
    )
