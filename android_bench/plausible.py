"""Figures that a phone cannot have shown, whatever its program printed.

A GPU that nobody waited for, a clock that stands still, a phone that did
something else meanwhile: the output is whole, and the time is wrong.
"""

from __future__ import annotations

import dataclasses

from ai_edge_litert import schema_py_generated as schema

from android_bench.output import Report
from android_bench.output import Summary
from tfnas import tflite_packing
from tfnas.errors import ArtifactError
from tfnas.errors import DeviceError

# Twice what the memory of a phone of 2026 gives; caches of its CPU give more
# only for weights that fit.
MAX_BYTES_PER_S = 200e9
MAX_MEAN_OVER_MEDIAN = 3.0
_STANDS_STILL = 5  # runs of one length, each of at least
_TICKS_US = 100.0
_SLACK_S = 0.05
# They read some rows of a table, not all of it.
_LOOKUPS = (
    schema.BuiltinOperator.GATHER,
    schema.BuiltinOperator.GATHER_ND,
    schema.BuiltinOperator.EMBEDDING_LOOKUP,
)


class Busy(DeviceError):
    """The phone did something else meanwhile; another run may be better."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a run of a model has to do at least.

    Args:
        operators: Number of its operators.
        weight_bytes: What it must read of its constants.
        runtime: Version of TensorFlow Lite that knows all its operators, as
            the converter wrote it; `None` where it did not.
    """

    operators: int
    weight_bytes: int
    runtime: str | None = None


def contents(data: bytes, source: str) -> Contents:
    """Reads a `.tflite` file.

    Args:
        data: Its content.
        source: Its name, for messages.

    Raises:
        ArtifactError: when it is no such file.
    """
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))
        graph = model.subgraphs[0]
        codes = list(
            map(tflite_packing.operator_number, model.operatorCodes or [])
        )
        operators = graph.operators or []
        read, same = set[int](), dict[int, int]()
        for op in operators:
            given = () if op.inputs is None else op.inputs
            inputs = [i for i in given if i >= 0]
            code = codes[op.opcodeIndex]
            if code == schema.BuiltinOperator.DEQUANTIZE:
                # Of a constant it is one itself, and may be looked up in.
                same[op.outputs[0]] = inputs[0]
            elif code not in _LOOKUPS:
                read.update(inputs)
        buffers = {graph.tensors[same.get(i, i)].buffer for i in read}
        size_bytes = sum(_size_bytes(model.buffers[i]) for i in buffers)
        return Contents(len(operators), size_bytes, _runtime(model))
    # A broken flatbuffer raises whatever its bytes lead to.
    except Exception as error:
        raise ArtifactError(
            f"{source}: expected a .tflite file. Received: one that cannot "
            f"be read ({type(error).__name__}: {error})"
        ) from error


def _runtime(model: schema.ModelT) -> str | None:
    for entry in model.metadata or ():
        if entry.name == b"min_runtime_version":
            data = bytes(model.buffers[entry.buffer].data)
            return data.rstrip(b"\0").decode()
    return None


def _size_bytes(buffer: schema.BufferT) -> int:
    data = 0 if buffer.data is None else len(buffer.data)
    return max(data, int(buffer.size or 0))  # `size`: kept behind the model


def check(
    report: Report, source: str, model: Contents | None = None
) -> None:
    """Refuses figures that cannot be.

    Args:
        report: What a benchmark program showed.
        source: What ran, for messages.
        model: What the model holds, where it is known.

    Raises:
        Busy: when the mean is far from the median.
        DeviceError: for a clock that stands still, or a model that ran
            faster than its weights can be read.
    """
    runs = report.inference
    for series in filter(None, (report.warm_up, runs)):
        if _stands_still(series):
            raise DeviceError(
                f"{source}: expected runs of different lengths. Received: "
                f"{series.count} runs of {series.min_us:g} us each, as of a "
                "clock that stands still"
            )
    if model and model.weight_bytes:
        bytes_per_s = model.weight_bytes / (runs.min_us / 1e6)
        if bytes_per_s > MAX_BYTES_PER_S:
            raise DeviceError(
                f"{source}: expected at most {MAX_BYTES_PER_S / 1e9:g} GB/s "
                f"of weights to be read. Received: {model.weight_bytes} "
                f"bytes in {runs.min_us:g} us, {bytes_per_s / 1e9:.0f} GB/s, "
                "as of a processor that nobody waits for"
            )
    if runs.median_us and runs.avg_us > MAX_MEAN_OVER_MEDIAN * runs.median_us:
        raise Busy(
            f"{source}: expected a mean within {MAX_MEAN_OVER_MEDIAN:g} times "
            f"the median. Received: {runs.avg_us:g} us beside "
            f"{runs.median_us:g} us, as of a busy phone"
        )


def check_clock(report: Report, source: str, elapsed_s: float) -> None:
    """Refuses a phone whose clock runs faster than ours.

    Args:
        report: What a benchmark program showed.
        source: What ran, for messages.
        elapsed_s: How long the whole process took, by our clock.

    Raises:
        DeviceError: when its runs took longer than the whole process.
    """
    total_s = sum(
        series.count * series.avg_us / 1e6
        for series in (report.warm_up, report.inference)
        if series
    )
    if total_s > elapsed_s * 1.1 + _SLACK_S:
        raise DeviceError(
            f"{source}: expected runs that fit into {elapsed_s:.2f} s, which "
            f"the program took. Received: {total_s:.2f} s of runs, as of a "
            "clock that jumped"
        )


def _stands_still(series: Summary) -> bool:
    return (
        series.count >= _STANDS_STILL
        and series.max_us is not None
        and series.min_us >= _TICKS_US
        and series.min_us == series.max_us
    )
