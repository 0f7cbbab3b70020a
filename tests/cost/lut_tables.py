"""Latency tables made up for tests."""

from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut import LutRow

HEADER = {
    "unit": "ms",
    "device": {"name": "bench", "cpu": "test cpu"},
    "runtime": {
        "tflite": {"name": "ai-edge-litert", "version": "2.3.0"},
        "threads": 1,
        "delegate": "xnnpack",
        "dtype": "int8",
        "lowering": "xnnpack",
    },
    "batch": 1,
    "statistic": "p10",
    "clock": "thread_cpu",
    "entries": "isolated",
    "rounds": 25,
    "date": "2025-01-01T00:00:00+00:00",
    "tool": {"name": "tflite_bench", "sha256": "0" * 64},
    "conditions": {},
}


def make_table(keys, **changes):
    """A table in which the i-th key takes (i + 1) / 100 ms."""
    rows = {key: LutRow((i + 1) / 100, 0.01, 25) for i, key in enumerate(keys)}
    return LatencyTable(**{"header": HEADER, "rows": rows, **changes})
