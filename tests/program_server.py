"""Starts programs from a process that has imported what they need already.

    python -m tests.program_server [MODULE]

An import takes seconds, a fork takes none. Reads a job a line from standard
input, {"program", "args", "folder", "output", "errors", "facts"}, runs it in a
child and answers with its exit code. A program is a module with `entry` or the
path of a script. Without MODULE the children have TensorFlow and know the tiny
space; else they have that module, and TensorFlow if they import it themselves:
the file `facts` says so.
"""

import importlib
import json
import os
import runpy
import sys
import time
import traceback
import types

from tests import collector


def run(job):
    """Becomes the program of a job; returns its exit code."""
    start = time.process_time()
    code = _run(job)
    with open(job["facts"], "w") as file:
        seconds = time.process_time() - start
        json.dump(["tensorflow" in sys.modules, seconds], file)
    return code


def _run(job):
    # A program started by its name is in a script of its own.
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.modules["__main__"].__spec__ = None
    os.chdir(job["folder"])
    for name, number in (("output", 1), ("errors", 2)):
        with open(job[name], "w") as file:
            os.dup2(file.fileno(), number)
    sys.argv = [job["program"], *job["args"]]
    try:
        if job["program"].endswith(".py"):
            runpy.run_path(job["program"], run_name="__main__")
        else:
            importlib.import_module(job["program"]).entry()
        return 0
    except SystemExit as end:
        return end.code or 0
    except BaseException:  # a program that crashes must not take us along
        traceback.print_exc()
    return 1


def _prepare():
    """Imports TensorFlow and what most programs import with it."""
    import tensorflow as tf

    from tests import tiny_runs

    for module in ("tfnas.export", "tfnas.search", "tfnas.train.retrain"):
        importlib.import_module(module)
    tf.config.list_physical_devices()  # it speaks of those that are not there
    tiny_runs.space()


def main():
    """Serves until standard input ends."""
    if sys.argv[1:]:
        importlib.import_module(sys.argv[1])
    else:
        _prepare()
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
