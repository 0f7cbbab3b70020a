"""A process that runs one `.tflite` file for somebody else.

    python -m tfnas.tflite_worker

A stranger's file can crash the runtime; here it takes nobody along. Messages
are frames in both directions: the length of a JSON object, the object, and
the arrays that its field `arrays` describes, as raw bytes. The first request
brings the file. Each is answered by what was asked for, or by `error` and
its `kind`; `tfnas.export.apart` asks.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from collections.abc import Sequence
from typing import IO
from typing import Any

import numpy as np

_LENGTH = struct.Struct("<I")
_MAX_HEADER_BYTES = 64 << 20
_NUMBERS = "biufc"  # the kinds of types that travel as they are


def send(
    stream: IO[bytes], header: dict[str, Any], arrays: Sequence[np.ndarray] = ()
) -> None:
    """Writes a frame.

    Args:
        stream: Where to.
        header: Any JSON object without a field `arrays`.
        arrays: Arrays of numbers.
    """
    kinds = [(array.dtype.str, array.shape) for array in arrays]
    text = json.dumps({**header, "arrays": kinds}).encode()
    stream.write(_LENGTH.pack(len(text)) + text)
    for array in arrays:
        stream.write(array.tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Returns the header and the arrays of the next frame.

    Raises:
        EOFError: when the stream ends before the frame does.
    """
    (size,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    if size > _MAX_HEADER_BYTES:
        raise EOFError(f"a header of {size} bytes")
    header = json.loads(_read(stream, size))
    arrays = []
    for name, shape in header.pop("arrays"):
        dtype = np.dtype(name)
        count = int(np.prod(shape, dtype=np.int64))
        content = _read(stream, count * dtype.itemsize)
        arrays.append(np.frombuffer(content, dtype).reshape(shape))
    return header, arrays


def _read(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError(f"{len(content)} of {size} bytes")
    return content


class _Runner:
    """The interpreter of one file, and what it answers to each request."""

    def __init__(self, blob: bytes, threads: int):
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(
            model_content=blob, num_threads=threads
        )
        self._interpreter.allocate_tensors()

    def describe(self) -> dict[str, Any]:
        """Returns what goes in and out, and the names in its signature."""
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        return {
            "inputs": [_details(tensor) for tensor in inputs],
            "outputs": [_details(tensor) for tensor in outputs],
            "signature": self._signature(
                {tensor["index"] for tensor in inputs},
                {tensor["index"] for tensor in outputs},
            ),
        }

    def _signature(self, inputs: set[int], outputs: set[int]) -> Any:
        """Returns the first signature that speaks of these tensors."""
        # The public list leaves out which tensor a name belongs to.
        for names in self._interpreter._get_full_signature_list().values():
            if (
                set(names["inputs"].values()) <= inputs
                and set(names["outputs"].values()) <= outputs
            ):
                return {side: names[side] for side in ("inputs", "outputs")}
        return None

    def resize(self, position: int, shape: Sequence[int]) -> None:
        """Gives an input another shape."""
        tensor = self._interpreter.get_input_details()[position]
        self._interpreter.resize_tensor_input(tensor["index"], shape)
        self._interpreter.allocate_tensors()

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the outputs that belong to these inputs."""
        tensors = self._interpreter.get_input_details()
        if len(tensors) != len(arrays):
            raise ValueError(
                f"Expected {len(tensors)} inputs. Received: {len(arrays)}"
            )
        for tensor, array in zip(tensors, arrays, strict=True):
            self._interpreter.set_tensor(tensor["index"], array)
        self._interpreter.invoke()
        return [
            self._interpreter.get_tensor(tensor["index"])
            for tensor in self._interpreter.get_output_details()
        ]


def _details(tensor: dict[str, Any]) -> dict[str, Any]:
    dtype = np.dtype(tensor["dtype"])
    if dtype.kind not in _NUMBERS:
        raise ValueError(
            "Expected numbers as inputs and outputs. Received: "
            f"{tensor['name']} of type {dtype.name}"
        )
    scale, zero_point = tensor["quantization"]
    return {
        "name": tensor["name"],
        "index": int(tensor["index"]),
        "shape": tensor["shape"].tolist(),
        "shape_signature": tensor["shape_signature"].tolist(),
        "dtype": dtype.name,
        "quantization": [float(scale), int(zero_point)],
        "scales": len(tensor["quantization_parameters"]["scales"]),
    }


def _answer(
    runner: _Runner | None, request: dict[str, Any], arrays: list[np.ndarray]
) -> tuple[_Runner, dict[str, Any], list[np.ndarray]]:
    """Does what a request asks for; the first one makes the runner."""
    if runner is None:
        runner = _Runner(arrays[0].tobytes(), request["threads"])
        return runner, runner.describe(), []
    if request["do"] == "resize":
        runner.resize(request["position"], request["shape"])
        return runner, runner.describe(), []
    return runner, {}, runner.run(arrays)


def main() -> None:
    """Answers until the input ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the runtime prints is no answer
    # Ctrl-C reaches both processes; the other one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    runner = None
    while True:
        try:
            request, arrays = receive(requests)
        except EOFError:
            return
        try:
            runner, header, outputs = _answer(runner, request, arrays)
        except ImportError as error:
            header, outputs = {"error": str(error), "kind": "import"}, []
        except Exception as error:  # the file's fault, whatever it is
            text = " ".join(str(error).split()) or type(error).__name__
            header, outputs = {"error": text, "kind": "model"}, []
        try:
            send(answers, header, outputs)
        except BrokenPipeError:
            return


if __name__ == "__main__":
    main()
