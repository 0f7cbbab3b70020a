"""Runs a module of ours in a process of its own.

The runtime is native code that a stranger's file can crash. Such a process
takes one job, a JSON object, and answers with one JSON value.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError
from tfnas.errors import RuntimeCrash
from tfnas.errors import TfnasError

# `-m` looks into the current folder first: it must be one of ours.
_HOME = pathlib.Path(__file__).parents[1]
_KINDS = {
    kind.__name__: kind for kind in (ArtifactError, ConfigError, DeviceError)
}


def call(
    module: str,
    job: dict[str, Any],
    source: str,
    doing: str,
    timeout_s: float | None = None,
) -> Any:
    """Returns what a module answers to a job.

    Args:
        module: Its name; it ends in `answer(work)`.
        job: What its `work` is given.
        source: The files it runs, for messages.
        doing: What it does with them, for messages: `"timing it"`.
        timeout_s: The longest it may take; `None` for any time.

    Raises:
        TfnasError: of the kind that `work` raised.
        RuntimeCrash: when the process crashes, fails or takes too long.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            cwd=_HOME,
            input=json.dumps({**job, "folder": os.getcwd()}),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeCrash(
            f"{source}: the runtime took more than {timeout_s:g} s while "
            f"{doing}"
        ) from error
    if done.returncode:
        raise RuntimeCrash.of_process(
            source, doing, done.returncode, done.stderr
        )
    reply = json.loads(done.stdout)
    if "kind" in reply:
        raise _KINDS.get(reply["kind"], RuntimeCrash)(reply["error"])
    return reply["answer"]


def answer(work: Callable[[dict[str, Any]], Any]) -> None:
    """Does the job that `call` sent to this process.

    Args:
        work: Gets the job and returns a JSON value.
    """
    job = json.load(sys.stdin)
    os.chdir(job["folder"])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the runtime prints is no answer
    try:
        reply = {"answer": work(job)}
    except TfnasError as error:
        reply = {"kind": type(error).__name__, "error": str(error)}
    answers.write(json.dumps(reply))
    answers.close()
