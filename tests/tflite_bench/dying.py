"""A process of `tflite_bench.apart` that ends in the way it is told to."""

import os
import signal
import time

from tflite_bench import apart
from tfnas.errors import ArtifactError


def _work(job):
    if job["how"] == "refuse":
        raise ArtifactError("a.tflite: refused")
    if job["how"] == "hang":
        time.sleep(600)
    if job["how"] == "bug":
        raise ZeroDivisionError
    if job["how"] == "talk":
        print("what the runtime prints")
        return {"folder": os.getcwd()}
    os.kill(os.getpid(), getattr(signal, job["how"]))


if __name__ == "__main__":
    apart.answer(_work)
