"""A device whose times are known."""

import os
import zlib

import numpy as np

from tflite_bench import build
from tflite_bench.device import Measurement

CALL_MS = 0.1
STEADY = ("0000.tflite", "0001.tflite")  # the call, the reference block


class FakeDevice:
    """Times a model by the size of its file, with little noise.

    Args:
        slow: Visit number to a factor on all its times.
        slow_with: A model file; visits with it take 1.3 times as long.
        die_at: The visit that fails, as when the process is killed.
        noise: Of all models but the call and the reference block.
        name: Of the device.
    """

    def __init__(
        self, slow=None, slow_with=None, die_at=None, noise=0.002, name="fake"
    ):
        self.slow = slow or {}
        self.slow_with = slow_with
        self.die_at = die_at
        self.noise = noise
        self.name = name
        self.visits = 0
        self.rounds = 0

    def describe(self):
        return {
            "device": {"name": self.name, "cpu": "fake cpu"},
            "runtime": {
                "tflite": {"name": "fake", "version": "1"},
                "threads": 1,
                "delegate": "none",
            },
            "batch": 1,
            "statistic": "p10",
            "clock": "wall",
        }

    def measure(self, paths, rounds, seed=0):
        if self.visits == self.die_at:
            raise KeyboardInterrupt
        factor = self.slow.get(self.visits, 1.0)
        names = [os.path.basename(path) for path in paths]
        if self.slow_with in names:
            factor *= 1.3
        self.visits += 1
        self.rounds += rounds * len(paths)
        result = []
        for path, name in zip(paths, names, strict=True):
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
            scale = 0.002 if name in STEADY else self.noise
            noise = np.exp(rng.normal(0, scale, rounds))
            ms = tuple((expected_ms(path) * factor * noise).tolist())
            result.append(Measurement(ms, ms))
        return result


def expected_ms(path):
    return CALL_MS + os.path.getsize(path) / 1e6


def call_ms(tmp_path):
    """What the model that computes nothing takes."""
    path = tmp_path / "call.tflite"
    path.write_bytes(build.writer.write_call("int8"))
    return expected_ms(path)
