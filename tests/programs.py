"""Programs, in a process of their own: from its start, or forked."""

import json
import os
import pathlib
import subprocess
import sys
import types

ROOT = pathlib.Path(__file__).parents[1]


def run(module, *args):
    """Runs `python -m module` and returns the finished process."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, args)],
        capture_output=True,
        text=True,
    )


class Server:
    """Programs of tfnas in processes that have TensorFlow from the start.

    Args:
        folder: where the programs run that are not told where, and where
            what they print is kept.
    """

    def __init__(self, folder):
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.program_server"],
            cwd=ROOT,
            # As the programs set it before they import TensorFlow.
            env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"

    def __call__(self, name, *args, folder=None):
        """Returns the exit code, the output and the errors of a program.

        Args:
            name: `search` is tfnas-search; a path is a script.
            *args: its words.
            folder: where it runs.
        """
        output, errors = self._folder / "output", self._folder / "errors"
        job = {
            "program": str(name),
            "args": [str(arg) for arg in args],
            "folder": str(folder or self._folder),
            "output": str(output),
            "errors": str(errors),
        }
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return types.SimpleNamespace(
            code=code, output=output.read_text(), errors=errors.read_text()
        )

    def close(self):
        """Ends the process that forks."""
        self._process.stdin.close()
        self._process.wait()
