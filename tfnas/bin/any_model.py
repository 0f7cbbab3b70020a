"""What a model of no search space takes, from a table of operators.

The file is cut into the operators that the runtime runs. Those that the table
lacks are measured first and stay in it.
"""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from tflite_bench import build
from tflite_bench import interpreter
from tflite_bench import operators
from tflite_bench.device import Device
from tfnas import artifacts
from tfnas.cost.calibration import calibrate
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut_fields import LEAST_NETS
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

_IMAGES = 8  # to calibrate on; they change no latency
_SHOWN = 5


def read_keys(
    path: str | os.PathLike, table: LatencyTable,
    image_size: tuple[int, int] | None = None,
) -> list[str]:
    """Returns the operators of a model as keys of a table, with repeats.

    Args:
        path: A `.tflite` file of fixed sizes, or a `.keras` file, which is
            exported first as the table's models were.
        table: A table of operators.
        image_size: Height and width for a `.keras` model of free size.

    Raises:
        ArtifactError: when the file is damaged, of another type than the
            table, or holds what keys cannot tell.
        ConfigError: when the table is not one of operators.
    """
    if table.entries != "operators":
        raise ConfigError(
            f"{table.source}: a model of no space needs a table of operators; "
            "measure one with tfnas-lut --entries=operators. "
            f"Received: entries={table.entries!r}"
        )
    if pathlib.Path(path).suffix == ".keras":
        content = _exported(path, table, image_size)
    else:
        content = interpreter.read_file(path)
    return _keys(content, table, str(path))


def _exported(
    path: str | os.PathLike, table: LatencyTable,
    image_size: tuple[int, int] | None,
) -> bytes:
    from tfnas import export

    model = export.load_keras(path)
    images = None
    if table.dtype == "int8":
        shape = export.tracing.image_shape_of(model, image_size)
        images = np.random.default_rng(0).standard_normal(
            (_IMAGES, *shape), np.float32
        )
    return export.to_tflite(
        model, "int8" if table.dtype == "int8" else "none", images,
        image_size=image_size, lower=table.lowering,
    )


def _keys(content: bytes, table: LatencyTable, source: str) -> list[str]:
    try:
        found = operators.read(content, table.dtype)
    except Exception as error:  # whatever a damaged buffer may raise
        raise ArtifactError(
            f"{source}: expected a whole .tflite of built-in operators. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    for op in found:
        for operand in (*op.computed, *op.outputs):
            if min(operand.shape, default=1) < 1:
                raise ArtifactError(
                    f"{source}: expected tensors of fixed sizes. Received: "
                    f"{op.code} with {operand}"
                )
    own = sum(not op.outputs[0].dtype for op in found)
    if 2 * own < len(found):
        kinds = collections.Counter(op.outputs[0].dtype for op in found)
        raise ArtifactError(
            f"{source}: expected a model in {table.dtype}, as the table "
            f"{table.source} is; measure one with tfnas-lut --dtype. "
            f"Received: {len(found) - own} of {len(found)} operators in "
            f"{', '.join(kind for kind in kinds if kind)}"
        )
    return [op.key for op in found]


def complete(
    table: LatencyTable, keys: Sequence[str], device: Device,
    path: str | os.PathLike, rounds: int = 25,
) -> LatencyTable:
    """Measures what a table lacks, and writes it down there.

    Args:
        table: A table of operators.
        keys: Of operators.
        device: The table's own.
        path: Of the table.
        rounds: Least number of rounds of each new row.

    Returns:
        The table with rows for all of them.

    Raises:
        ArtifactError: when the device is not the table's.
        ConfigError: when an operator cannot be timed alone.
        DeviceError: when the device fails.
    """
    missing = table.missing_keys(keys)
    if not missing:
        return table
    job = build.Job(
        tuple(missing), (), table.dtype, rounds, False, "operators",
        table.lowering,
    )
    beside = f"{path}.more"
    artifacts.write_json(beside, build.build(job, device, beside))
    merged = table.merge(LatencyTable.load(beside))
    if len(merged.networks) >= LEAST_NETS:
        merged = calibrate(merged)
    merged.save(path)
    for name in (beside, f"{beside}.journal.jsonl"):
        pathlib.Path(name).unlink(missing_ok=True)
    return merged


def refuse_missing(table: LatencyTable, keys: Sequence[str]) -> None:
    """Raises a `ConfigError` that lists the operators without a row."""
    missing = table.missing_keys(keys)
    if missing:
        more = len(missing) - _SHOWN
        raise ConfigError(
            f"{table.source}: {len(missing)} of {len(set(keys))} operators "
            "have no row; measure them with --measure. Received: "
            + ", ".join(missing[:_SHOWN])
            + (f" and {more} more" if more > 0 else "")
        )


