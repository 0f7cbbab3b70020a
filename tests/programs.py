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
    """Programs in processes that have TensorFlow from the start.

    Args:
        folder: where the programs run that are not told where, and where
            what they print is kept.
        module: the only one that the processes have from the start, instead
            of TensorFlow.
    """

    def __init__(self, folder, module=None):
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.program_server"]
            + ([] if module is None else [module]),
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
        """Returns what became of a program.

        Args:
            name: `search` is tfnas-search; a name with dots is a module, one
                with slashes a script.
            *args: its words.
            folder: where it runs.

        Returns:
            `code`, `output`, `errors`, whether it has TensorFlow, and the
            CPU time in `seconds`.
        """
        output, errors, facts = (
            self._folder / name for name in ("output", "errors", "facts")
        )
        job = {
            "program": str(name) if "." in str(name) else f"tfnas.bin.{name}",
            "args": [str(arg) for arg in args],
            "folder": str(folder or self._folder),
            "output": str(output),
            "errors": str(errors),
            "facts": str(facts),
        }
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        tensorflow, seconds = json.loads(facts.read_text())
        return types.SimpleNamespace(
            code=code, output=output.read_text(), errors=errors.read_text(),
            tensorflow=tensorflow, seconds=seconds,
        )

    def close(self):
        """Ends the process that forks."""
        self._process.stdin.close()
        self._process.wait()
