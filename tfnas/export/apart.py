"""A `.tflite` file that runs in a process of its own.

The runtime is native code, and a file that nobody has tried before can crash
it. Here that ends a process that does nothing else, and arrives as an error.
"""

from __future__ import annotations

import os
import pathlib
import selectors
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from typing import IO
from typing import Any

import numpy as np

from tfnas import tflite_worker
from tfnas.artifacts import PathLike
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import RuntimeCrash

TIMEOUT_S = 600.0
_WORKER = "tfnas.tflite_worker"
# `-m` looks into the current folder first: it must be one of ours.
_HOME = pathlib.Path(__file__).parents[2]
_TAIL_BYTES = 4096


class ApartInterpreter:
    """A `.tflite` model in a process of its own, which ends with this object.

    Args:
        model: the file, or its content.
        source: its name, for error messages; the path by default.
        threads: how many of them run the model.
        timeout_s: the longest that loading, resizing or one run may take.

    Attributes:
        pid: of the process.
        inputs: what an interpreter says of each input, as plain values:
            `name`, `index`, `shape`, `shape_signature` (-1 where the size is
            free), `dtype` (its name), `quantization` (scale and zero point)
            and `scales`, how many there are.
        outputs: the same of each output.
        signature: `inputs` and `outputs` of the first signature, name to
            index of the tensor; None if there is none.

    Raises:
        ArtifactError: if the file is missing or the runtime refuses it.
        ConfigError: if the runtime is not installed.
        RuntimeCrash: if the runtime crashes on it or hangs.
    """

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    signature: dict[str, dict[str, int]] | None

    def __init__(
        self,
        model: PathLike | bytes,
        source: str | None = None,
        threads: int = 1,
        timeout_s: float = TIMEOUT_S,
    ):
        if isinstance(model, bytes):
            blob, name = model, "model"
        else:
            blob, name = _read(model), str(model)
        self.source = source or name
        self._timeout_s = timeout_s
        self._noise: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", _WORKER],
            cwd=_HOME,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
        )
        self.pid = self._process.pid
        self._answers = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._answers.register(self._process.stdout, selectors.EVENT_READ)
        self._end = weakref.finalize(
            self, _end, self._process, self._noise, self._answers
        )
        try:
            self._describe(
                "loading",
                {"do": "load", "threads": threads},
                [np.frombuffer(blob, np.uint8)],
            )
        except BaseException:
            self.close()
            raise

    def resize(self, shape: Sequence[int], position: int = 0) -> None:
        """Gives an input another shape; `inputs` and `outputs` follow.

        Args:
            shape: the whole new shape.
            position: of the input in `inputs`.

        Raises:
            ArtifactError: if the model cannot be run so.
            RuntimeCrash: see `run`.
        """
        shape = [int(size) for size in shape]
        request = {"do": "resize", "position": position, "shape": shape}
        self._describe(f"taking the shape {shape}", request)

    def run(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """Runs the model once.

        Args:
            *arrays: an array for each input, of its shape and type.

        Returns:
            The outputs, in the order of `outputs`.

        Raises:
            ArtifactError: if the runtime refuses.
            RuntimeCrash: if it crashes, or takes longer than it may.
        """
        return self._ask("running", {"do": "run"}, arrays)[1]

    def close(self) -> None:
        """Ends the process."""
        self._end()

    def __enter__(self) -> ApartInterpreter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _describe(
        self,
        doing: str,
        request: dict[str, Any],
        arrays: Sequence[np.ndarray] = (),
    ) -> None:
        answer, _ = self._ask(doing, request, arrays)
        self.inputs, self.outputs = answer["inputs"], answer["outputs"]
        self.signature = answer["signature"]

    def _ask(
        self,
        doing: str,
        request: dict[str, Any],
        arrays: Sequence[np.ndarray] = (),
    ) -> tuple[dict[str, Any], list[np.ndarray]]:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        late = False
        try:
            tflite_worker.send(process.stdin, request, arrays)
            # The process reads all of a request before the runtime works,
            # and the runtime is done when it begins to answer.
            if not self._answers.select(self._timeout_s):
                late = True
                process.kill()
            answer, results = tflite_worker.receive(process.stdout)
        except (OSError, EOFError, ValueError) as error:
            raise self._crash(doing, late) from error
        if "error" not in answer:
            return answer, results
        if answer["kind"] == "import":
            raise ConfigError(
                "Expected the Python package ai-edge-litert to be installed. "
                f"Received: {answer['error']}"
            )
        raise ArtifactError(
            f"{self.source}: the runtime refused it while {doing} (damaged, "
            f"or not made for this runtime?): {answer['error']}"
        )

    def _crash(self, doing: str, late: bool) -> RuntimeCrash:
        """Returns the error that says how the process ended."""
        if self._noise.closed:
            return RuntimeCrash(f"{self.source}: its process was closed")
        self._process.kill()  # in case it only closed its pipes
        code = self._process.wait()
        noise = _tail(self._noise)
        self.close()
        if late:
            return RuntimeCrash(
                f"{self.source}: the runtime took more than "
                f"{self._timeout_s:g} s while {doing}"
            )
        return RuntimeCrash.of_process(self.source, doing, code, noise)


def _read(path: PathLike) -> bytes:
    path = pathlib.Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ArtifactError(f"{path}: expected a regular file")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error


def _tail(noise: IO[bytes]) -> str:
    """Returns the last that was written to standard error."""
    noise.seek(max(noise.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
    return noise.read().decode(errors="replace")


def _end(process: subprocess.Popen[bytes], *opened: Any) -> None:
    process.kill()
    process.wait()
    for stream in (*opened, process.stdin, process.stdout):
        try:
            stream.close()
        except OSError:  # what was still to be written has no reader
            pass
