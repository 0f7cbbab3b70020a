"""A workdir as `tfnas-run` leaves it, with plausible invented numbers."""

import json
import math
import random

import pytest

from tfnas import ops
from tfnas.arch import Arch
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut_fields import LutRow
from tfnas.cost.lut_fields import MeasuredNet

# (op, width, stride, stage, kernel, expansion)
SEARCHED = [
    ("conv", 16, 1, 0, 3, None),
    ("mbconv", 16, 1, 1, 3, 1),
    ("mbconv", 24, 2, 2, 5, 6),
    ("mbconv", 40, 2, 3, 7, 6),
    ("mbconv", 40, 1, 3, 3, 3),
    ("mbconv", 64, 1, 4, 5, 3),
    ("mbconv", 64, 1, 4, 3, 6),
    ("mbconv", 96, 2, 5, 7, 6),
    ("mbconv", 96, 1, 5, 5, 3),
    ("conv", 320, 1, 6, 1, None),
    ("classifier", 10, 1, 7, None, None),
]
RANDOM = [
    ("conv", 16, 1, 0, 3, None),
    ("mbconv", 16, 1, 1, 3, 1),
    ("mbconv", 32, 2, 2, 3, 6),
    ("mbconv", 48, 2, 3, 3, 6),
    ("mbconv", 48, 1, 3, 5, 6),
    ("mbconv", 96, 2, 4, 3, 3),
    ("conv", 320, 1, 6, 1, None),
    ("classifier", 10, 1, 7, None, None),
]
VERSIONS = {
    "python": "3.11.7",
    "tensorflow": "2.21.0",
    "keras": "3.15.0",
    "numpy": "2.2.6",
    "tfnas": "0.1.0",
}
DEVICE = {"name": "host", "cpu": "Example CPU @ 2.00GHz", "cores": 2}
RUNTIME = {
    "tflite": {"name": "ai_edge_litert", "version": "2.3.0"},
    "threads": 1,
    "delegate": "xnnpack",
    "dtype": "int8",
}


def arch_json(rows, size=32, space="densenas_mbv2@32"):
    """Returns the JSON of an architecture from rows as above."""
    blocks, width = [], 3
    for op, out, stride, stage, kernel, expansion in rows:
        block = {"op": op, "in": width, "out": out, "stride": stride}
        block |= {"stage": stage}
        block |= {} if kernel is None else {"k": kernel}
        block |= {} if expansion is None else {"e": expansion}
        blocks.append(block)
        width = out
    return {
        "format": "tfnas-arch/1",
        "space": space,
        "input_shape": [size, size, 3],
        "classes": rows[-1][1],
        "blocks": blocks,
    }


def write_json(path, value):
    """Writes a JSON file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_log(path, records):
    """Writes JSON lines and the folders above them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records))


def _entry(arch, role, cost, score, epoch):
    return {
        "id": Arch.from_json(arch).id,
        "arch": arch,
        "cost": cost,
        "score": score,
        "params": 182_426,
        "madds": 11_403_264,
        "epoch": epoch,
        "role": role,
    }


def _front(entries):
    front, best = [], 0.0
    for entry in sorted(entries, key=lambda e: e["cost"]):
        if entry["score"] > best:
            front.append(entry["id"])
            best = entry["score"]
    return front


def write_search(stage):
    """Writes the workdir of a search that hit its target of 0.8 ms."""
    rng = random.Random(0)
    searched, drawn = arch_json(SEARCHED), arch_json(RANDOM)
    archs = [_entry(searched, "searched", 0.796, 0.912, 11)]
    baseline = [_entry(drawn, "random", 0.803, 0.871, None)]
    for i in range(9):
        width = 24 + 8 * i
        rows = [*RANDOM[:5], ("mbconv", width, 2, 4, 5, 3), *RANDOM[6:]]
        cost = 0.55 + 0.05 * i + 0.02 * rng.random()
        score = 0.80 + 0.08 * cost + 0.03 * rng.random()
        baseline.append(_entry(arch_json(rows), "random", cost, score, None))
    history = [
        {
            "epoch": epoch,
            "arch_id": f"{epoch:012x}",
            "cost": 0.8 + 0.35 * math.exp(-(epoch - 3) / 3) * rng.random(),
            "expected_cost": 0.8 + 0.4 * math.exp(-(epoch - 4) / 3),
            "loss": 2.1 * math.exp(-epoch / 6) + 0.3,
            "accuracy": 0.91 - 0.25 * math.exp(-(epoch - 3) / 3),
        }
        for epoch in range(4, 12)
    ]
    log = []
    for epoch in range(12):
        for phase in ("weights", "arch", "valid"):
            if phase != "weights" and epoch < 4:
                continue
            for step in range(1 if phase == "valid" else 4):
                done = epoch + step / 4 + (0.4 if phase == "arch" else 0)
                noise = 0.05 * rng.random()
                record = {"phase": phase, "epoch": epoch, "step": step}
                record["loss"] = 2.3 * math.exp(-done / 5) + 0.25 + noise
                record["accuracy"] = 0.95 - 0.85 * math.exp(-done / 4) - noise
                log.append(record | {"time_s": 3.0 * done})
    write_json(
        stage / "result.json",
        {
            "format": "tfnas-result/1",
            "algorithm": "densenas",
            "space": "densenas_mbv2@32",
            "seed": 0,
            "versions": VERSIONS,
            "unit": "ms",
            "target": 0.8,
            "archs": archs,
            "baseline": baseline,
            "pareto": _front([*archs, *baseline]),
            "history": history,
        },
    )
    config = {"space": {"name": "densenas_mbv2@32"}, "data": {"name": "digits"}}
    write_json(stage / "config.json", config | {"seed": 0})
    write_log(stage / "log.jsonl", log)
    return archs[0], baseline[0]


def write_lut(path):
    """Writes a latency table with a row for every operator of both nets."""
    rows, networks = {}, []
    for arch in map(Arch.from_json, map(arch_json, (SEARCHED, RANDOM))):
        for block, shape in zip(arch.blocks, ops.shapes(arch), strict=False):
            pixels = shape[0] * shape[1]
            rows[ops.lut_key(block, shape)] = LutRow(
                latency_ms=0.01 + 3e-6 * pixels * block.out_channels,
                spread=0.01 + 0.0001 * block.out_channels,
                n=25,
            )
    for i in range(1, 5):
        arch = Arch.from_json(arch_json([*SEARCHED[: 2 * i], *SEARCHED[-2:]]))
        for block, shape in zip(arch.blocks, ops.shapes(arch), strict=False):
            rows.setdefault(ops.lut_key(block, shape), LutRow(0.02, 0.01, 25))
        sum_ms = LatencyTable({}, rows).latency_ms(arch)
        networks.append(MeasuredNet(arch, sum_ms * (1.05 + i / 80), 0.01, 25))
    header = {
        "unit": "ms",
        "device": DEVICE,
        "runtime": RUNTIME,
        "batch": 1,
        "statistic": "p10 over rounds",
        "clock": "thread_cpu",
        "entries": "isolated",
        "rounds": 25,
        "date": "2026-01-01",
        "tool": {"name": "tflite_bench", "sha256": 64 * "0"},
        "conditions": {"load_average": 0.4},
    }
    LatencyTable(header, rows, networks=tuple(networks)).save(path)


def _write_derived(folder, entry, accuracy, predicted_ms):
    write_json(folder / "arch.json", entry["arch"])
    write_json(
        folder / "result.json",
        {
            "format": "tfnas-derived/1",
            "arch_id": entry["id"],
            "role": entry["role"],
            "params": entry["params"],
            "madds": entry["madds"],
            "predicted_ms": predicted_ms,
            "accuracy": accuracy,
            "argmax_agreement_int8": 0.9917,
            "parity_max_abs": 3.8e-6,
            "size_bytes": {"float32": 735_212, "int8": 262_920},
            "tflite_ops": {
                "int8": {
                    "CONV_2D": 18,
                    "DEPTHWISE_CONV_2D": 8,
                    "PAD": 3,
                    "ADD": 4,
                    "MEAN": 1,
                    "FULLY_CONNECTED": 1,
                }
            },
            "delegate_nodes": 1,
            "test_images": 10_000,
        },
    )
    log = []
    for epoch in range(20):
        for phase, gap in (("train", 0.01), ("test", 0.0)):
            fit = accuracy["keras"] + gap - 0.6 * math.exp(-(epoch + 1) / 4)
            record = {"phase": phase, "epoch": epoch, "step": 40 * epoch}
            log.append(record | {"loss": 2.3 - 2.2 * fit, "accuracy": fit})
    write_log(folder / "train" / "log.jsonl", log)


@pytest.fixture
def search_workdir(tmp_path):
    """The workdir of a search alone."""
    write_search(tmp_path)
    return tmp_path


@pytest.fixture
def run_workdir(tmp_path):
    """The workdir of the whole loop; the search beat the random network."""
    searched, drawn = write_search(tmp_path / "search")
    write_lut(tmp_path / "lut" / "table.json")
    better = {"keras": 0.9861, "float32": 0.9861, "int8": 0.9833}
    worse = {"keras": 0.9694, "float32": 0.9694, "int8": 0.9667}
    models = []
    for entry, accuracy, bias in (
        (searched, better, 0.93),
        (drawn, worse, 0.915),
    ):
        folder = tmp_path / "derived" / entry["id"]
        _write_derived(folder, entry, accuracy, entry["cost"])
        for dtype, factor in (("int8", 1.0), ("float32", 1.9)):
            predicted = entry["cost"] if dtype == "int8" else None
            models.append(
                {
                    "arch_id": entry["id"],
                    "role": entry["role"],
                    "dtype": dtype,
                    "predicted_ms": predicted,
                    "measured_ms": factor * entry["cost"] / bias,
                    "spread": 0.012,
                    "rounds": 25,
                    "file": f"derived/{entry['id']}/model_{dtype}.tflite",
                }
            )
    bench = {"format": "tfnas-bench/1", "device": DEVICE, "runtime": RUNTIME}
    write_json(tmp_path / "bench" / "bench.json", bench | {"models": models})
    config = {"seed": 0, "data": {"name": "digits"}}
    write_json(tmp_path / "config.json", config)
    return tmp_path
