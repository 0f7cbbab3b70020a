"""Starts programs from a process that has imported TensorFlow already.

    python -m tests.program_server

An import takes seconds, a fork takes none. Reads a job a line from standard
input, {"program", "args", "folder", "output", "errors"}, runs it in a child
and answers with its exit code. A program is a name in `tfnas.bin` or the path
of a script. The children know the tiny space.
"""

import importlib
import json
import os
import runpy
import sys
import traceback

import tensorflow as tf

from tests import collector
from tests import tiny_runs


def run(job):
    """Becomes the program of a job; returns its exit code."""
    os.chdir(job["folder"])
    for name, number in (("output", 1), ("errors", 2)):
        with open(job[name], "w") as file:
            os.dup2(file.fileno(), number)
    sys.argv = [job["program"], *job["args"]]
    try:
        if job["program"].endswith(".py"):
            runpy.run_path(job["program"], run_name="__main__")
        else:
            importlib.import_module(f"tfnas.bin.{job['program']}").entry()
        return 0
    except SystemExit as end:
        return end.code or 0
    except BaseException:  # a program that crashes must not take us along
        traceback.print_exc()
    return 1


def main():
    """Serves until standard input ends."""
    for module in ("tfnas.export", "tfnas.search", "tfnas.train.retrain"):
        importlib.import_module(module)
    tf.config.list_physical_devices()  # it speaks of those that are not there
    tiny_runs.space()
    collector.spare()
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = run(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
