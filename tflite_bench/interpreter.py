"""Loads a `.tflite` file into one of the runtimes."""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

# Name -> its package, and the module with its interpreter.
_RUNTIMES = {
    "litert": ("ai-edge-litert", "ai_edge_litert.interpreter"),
    "tflite_runtime": ("tflite-runtime", "tflite_runtime.interpreter"),
    "tf": ("tensorflow", "tensorflow"),
}
RUNTIMES = tuple(_RUNTIMES)


def cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def version(runtime: str) -> dict[str, str]:
    """Returns the package and the version of a runtime.

    Raises:
        ConfigError: when it is not installed.
    """
    package, _ = _RUNTIMES[runtime]
    try:
        return {
            "name": package,
            "version": importlib.metadata.version(package),
        }
    except importlib.metadata.PackageNotFoundError as error:
        raise _not_installed(runtime) from error


def load_runtime(runtime: str) -> tuple[Any, Any]:
    """Returns the interpreter class of a runtime and its resolver types.

    Raises:
        ConfigError: when the runtime is not installed.
    """
    try:
        module = importlib.import_module(_RUNTIMES[runtime][1])
    except ImportError as error:
        raise _not_installed(runtime) from error
    if runtime == "tf":
        lite = module.lite
        return lite.Interpreter, lite.experimental.OpResolverType
    return module.Interpreter, module.OpResolverType


def _not_installed(runtime: str) -> ConfigError:
    return ConfigError(
        f"Expected the Python package {_RUNTIMES[runtime][0]} to be "
        f"installed. Received: runtime={runtime!r}"
    )


class Model:
    """A model that is ready to run, with random inputs in place.

    Args:
        path: The `.tflite` file.
        runtime: One of `RUNTIMES`.
        threads: Threads of the runtime.
        xnnpack: Whether the XNNPACK delegate takes what it can.
        free_sizes: Shapes for inputs that leave some of their sizes free;
            each such input takes the first that fits it. A batch alone that
            is free is 1 without being asked for. With `None`, files that
            leave any size free are refused.

    Attributes:
        load_ms: Wall time of loading.
        inputs: Name, shape, type and `free`, whether the file leaves a size
            free, of each input as it is run.
        ops: Operators in order. With a delegate those it took stay listed,
            followed by one `DELEGATE` for each part it runs.
        delegate_nodes: Number of those parts.
        whole: Whether a delegate runs all of it, in one part.

    Raises:
        ArtifactError: when the file is missing, no `.tflite`, truncated,
            leaves a size free that nobody gave, takes other things than
            numbers, or needs an operator that the runtime lacks.
        ConfigError: when the runtime is not installed, or there are fewer
            cores than threads.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        runtime: str = "litert",
        threads: int = 1,
        xnnpack: bool = True,
        free_sizes: Sequence[Sequence[int]] | None = None,
    ):
        self.path = str(path)
        check_threads(threads)
        content = read_file(path)
        make, resolvers = load_runtime(runtime)
        resolver = (
            resolvers.AUTO
            if xnnpack
            else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        start = time.perf_counter()
        try:
            self._interpreter = make(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=resolver,
            )
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{path}: the runtime cannot load it (damaged, truncated, or "
                f"an operator it lacks): {error}"
            ) from error
        self._allocate(free_sizes)
        self.load_ms = (time.perf_counter() - start) * 1e3
        details = self._interpreter._get_ops_details()
        self.ops = tuple(op["op_name"] for op in details)
        self.delegate_nodes = self.ops.count("DELEGATE")
        self.whole = self._is_whole(details)
        self.invoke = self._interpreter.invoke
        self._fill()

    def _allocate(self, free_sizes: Sequence[Sequence[int]] | None) -> None:
        try:
            for tensor in self._interpreter.get_input_details():
                if -1 in tensor["shape_signature"]:
                    self._interpreter.resize_tensor_input(
                        tensor["index"], self._sized(tensor, free_sizes)
                    )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{self.path}: this runtime cannot run it: {error}"
            ) from error

    def _sized(
        self,
        tensor: dict[str, Any],
        free_sizes: Sequence[Sequence[int]] | None,
    ) -> list[int]:
        """Returns the shape that an input with free sizes is run with."""
        signature = tensor["shape_signature"].tolist()
        if free_sizes is None:
            raise ArtifactError(
                f"{self.path}: expected inputs of fixed shape. Received: "
                f"{tensor['name']} with {signature}"
            )
        for shape in free_sizes:
            if fits(shape, signature):
                return list(shape)
        if -1 not in signature[1:]:
            return [1, *signature[1:]]
        wanted = ["1", *("N" if n < 0 else str(n) for n in signature[1:])]
        raise ArtifactError(
            f"{self.path}: expected sizes for what the file leaves free: "
            f"--input_shape={'x'.join(wanted)} with numbers for N. "
            f"Received: {tensor['name']} with {signature}"
        )

    def _is_whole(self, details: Sequence[dict[str, Any]]) -> bool:
        if self.delegate_nodes != 1:
            return False
        (part,) = (op for op in details if op["op_name"] == "DELEGATE")
        given, read = (
            {tensor["index"] for tensor in tensors}
            for tensors in (
                self._interpreter.get_input_details(),
                self._interpreter.get_output_details(),
            )
        )
        return given <= set(part["inputs"]) and read <= set(part["outputs"])

    def refresh(self) -> None:
        """Gives other random numbers to the inputs, where that matters.

        The runtime's own kernels are faster on numbers that they have seen;
        those of the delegate are not.
        """
        if not self.whole:
            self._renew()

    def draw(self) -> list[np.ndarray]:
        """Gives other random numbers to the inputs, and returns them all."""
        self._renew()
        return [
            self._interpreter.get_tensor(tensor["index"])
            for tensor in self._interpreter.get_input_details()
        ]

    def answer(self) -> list[np.ndarray]:
        """Runs once, and returns the outputs."""
        self.invoke()
        return [
            self._interpreter.get_tensor(tensor["index"])
            for tensor in self._interpreter.get_output_details()
        ]

    def _renew(self) -> None:
        for index, shape, noise in self._random:
            size = math.prod(shape)
            start = int(self._rng.integers(len(noise) - size + 1))
            self._interpreter.set_tensor(
                index, noise[start : start + size].reshape(shape)
            )

    def _fill(self) -> None:
        self._rng = np.random.default_rng(0)
        self._random: list[tuple[int, tuple[int, ...], np.ndarray]] = []
        self.inputs = []
        for tensor in self._interpreter.get_input_details():
            dtype, shape = np.dtype(tensor["dtype"]), tensor["shape"]
            if dtype.kind not in "biufc":
                raise ArtifactError(
                    f"{self.path}: expected inputs of numbers. Received: "
                    f"{tensor['name']} of type {dtype.name}"
                )
            if dtype.kind == "f" or dtype in (np.int8, np.uint8) or (
                dtype == np.int16 and tensor["quantization"][0]
            ):
                self._random.append((
                    tensor["index"], tuple(shape.tolist()),
                    _noise(dtype, int(shape.prod())),
                ))
            else:  # indices and states: 0 is always legal
                self._interpreter.set_tensor(
                    tensor["index"], np.zeros(shape, dtype)
                )
            self.inputs.append(
                {
                    "name": tensor["name"],
                    "shape": shape.tolist(),
                    "dtype": dtype.name,
                    "free": -1 in tensor["shape_signature"],
                }
            )
        self._renew()


_POOLS: dict[np.dtype, np.ndarray] = {}  # random numbers that models share
_SPARE = 4096  # how many more there are than an input takes


def _noise(dtype: np.dtype, size: int) -> np.ndarray:
    """Returns more than `size` random numbers of a type."""
    if len(_POOLS.get(dtype, ())) < size + _SPARE:
        rng, enough = np.random.default_rng(0), 2 * size + _SPARE
        if dtype.kind == "f":
            made = rng.standard_normal(enough, np.float32).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            # The least may stand for 0, which some operators refuse.
            made = rng.integers(limits.min + 1, limits.max, enough, dtype)
        _POOLS[dtype] = made
    return _POOLS[dtype]


def fits(shape: Sequence[int], signature: Sequence[int]) -> bool:
    """Says whether a shape fills the free sizes (-1) of a signature."""
    return len(shape) == len(signature) and all(
        free in (-1, size)
        for size, free in zip(shape, signature, strict=True)
    )


def check_threads(threads: int) -> None:
    """Raises a `ConfigError` unless there are as many cores as threads."""
    if not 1 <= threads <= cores():
        raise ConfigError(
            f"Expected 1 to {cores()} threads, the number of cores. "
            f"Received: threads={threads}"
        )


def read_file(path: str | os.PathLike) -> bytes:
    """Returns the content of a `.tflite` file.

    Raises:
        ArtifactError: when it cannot be read, or begins as another file.
    """
    from tfnas.tflite_packing import IDENTIFIER  # takes time to load

    path = pathlib.Path(path)
    if path.exists() and not path.is_file():
        raise ArtifactError(f"{path}: expected a regular file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    if content[4:8] != IDENTIFIER:
        raise ArtifactError(
            f"{path}: expected a .tflite file. Received: {len(content)} bytes "
            f"that begin with {content[:8]!r}"
        )
    return content
