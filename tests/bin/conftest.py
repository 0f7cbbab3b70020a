"""The fixture `program`, which runs a program of tfnas in a process."""

import json
import os
import subprocess
import sys
import types

import pytest

from tests import tiny_runs


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """Returns `f(name, *args, folder)` to exit code, output and errors."""
    logs = tmp_path_factory.mktemp("programs")
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bin.program_server"],
        cwd=tiny_runs.ROOT,
        # As the programs set it before they import TensorFlow.
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout.readline() == "ready\n"

    def run(name, *args, folder=logs):
        job = {
            "program": name,
            "args": args,
            "folder": str(folder),
            "output": str(logs / "output.txt"),
            "errors": str(logs / "errors.txt"),
        }
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return types.SimpleNamespace(
            code=code,
            output=(logs / "output.txt").read_text(),
            errors=(logs / "errors.txt").read_text(),
        )

    yield run
    server.stdin.close()
    server.wait()
