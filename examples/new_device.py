"""A new device: a board that a command of yours reaches, over SSH say.

    PYTHONPATH=examples tfnas-lut --space=densenas_mbv2@32 --lut=board.json \\
        "--device=new_device.Board:ssh pi .venv/bin/python new_device.py"

The command starts this file on the board, where tflite_bench is installed with
a runtime; a job goes there as JSON, and the answer comes back. Without a
command it is a process of this machine.
"""

import base64
import dataclasses
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

from tflite_bench.device import HostDevice
from tflite_bench.device import Measurement
from tfnas.errors import DeviceError


class Board:
    """The board as a `tflite_bench.device.Device`."""

    def __init__(self, command=""):
        self.command = shlex.split(command) or [sys.executable, __file__]

    def describe(self):
        return self._ask({})

    def measure(self, paths, rounds, seed=0):
        files = [pathlib.Path(path).read_bytes() for path in paths]
        job = {
            "models": [base64.b64encode(file).decode() for file in files],
            "rounds": rounds, "seed": seed,
        }
        return [Measurement(**found) for found in self._ask(job)]

    def _ask(self, job):
        done = subprocess.run(
            self.command, input=json.dumps(job), capture_output=True, text=True
        )
        if done.returncode:
            raise DeviceError(
                f"{shlex.join(self.command)}: expected an answer. Received: "
                f"{done.stderr[-400:] or done.returncode}"
            )
        return json.loads(done.stdout)


def answer(job):
    """Does a job; this runs on the board."""
    device = HostDevice()
    if not job:
        found = device.describe()
        return {**found, "device": {**found["device"], "name": "board"}}
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, model in enumerate(job["models"]):
            paths.append(pathlib.Path(folder) / f"{i}.tflite")
            paths[-1].write_bytes(base64.b64decode(model))
        measured = device.measure(
            [str(path) for path in paths], job["rounds"], job["seed"]
        )
    return [dataclasses.asdict(m) for m in measured]


if __name__ == "__main__":
    print(json.dumps(answer(json.load(sys.stdin))))
