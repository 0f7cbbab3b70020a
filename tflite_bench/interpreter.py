"""Loads a `.tflite` file into one of the runtimes."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pathlib
import time
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
_IDENTIFIER = b"TFL3"


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

    Attributes:
        load_ms: Wall time of loading.
        ops: Operators in order. With a delegate those it took stay listed,
            followed by one `DELEGATE` for each part it runs.
        delegate_nodes: Number of those parts.

    Raises:
        ArtifactError: when the file is missing, no `.tflite`, truncated,
            has dynamic shapes or needs an operator that the runtime lacks.
        ConfigError: when the runtime is not installed, or there are fewer
            cores than threads.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        runtime: str = "litert",
        threads: int = 1,
        xnnpack: bool = True,
    ):
        self.path = str(path)
        check_threads(threads)
        content = _read(path)
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
        self._allocate()
        self.load_ms = (time.perf_counter() - start) * 1e3
        self.ops = tuple(
            op["op_name"] for op in self._interpreter._get_ops_details()
        )
        self.delegate_nodes = self.ops.count("DELEGATE")
        self.invoke = self._interpreter.invoke
        self._fill()

    def _allocate(self) -> None:
        for tensor in self._interpreter.get_input_details():
            shape = tensor["shape_signature"].tolist()
            if -1 in shape:
                raise ArtifactError(
                    f"{self.path}: expected inputs of fixed shape. Received: "
                    f"{tensor['name']} with {shape}"
                )
        try:
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{self.path}: this runtime cannot run it: {error}"
            ) from error

    def _fill(self) -> None:
        rng = np.random.default_rng(0)
        for tensor in self._interpreter.get_input_details():
            dtype, shape = tensor["dtype"], tensor["shape"]
            if dtype == np.float32:
                value = rng.standard_normal(shape, np.float32)
            elif dtype in (np.int8, np.uint8):
                limits = np.iinfo(dtype)
                value = rng.integers(limits.min, limits.max, shape, dtype)
            else:  # indices and states: 0 is always legal
                value = np.zeros(shape, dtype)
            self._interpreter.set_tensor(tensor["index"], value)


def check_threads(threads: int) -> None:
    """Raises a `ConfigError` unless there are as many cores as threads."""
    if not 1 <= threads <= cores():
        raise ConfigError(
            f"Expected 1 to {cores()} threads, the number of cores. "
            f"Received: threads={threads}"
        )


def _read(path: str | os.PathLike) -> bytes:
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    if content[4:8] != _IDENTIFIER:
        raise ArtifactError(
            f"{path}: expected a .tflite file. Received: {len(content)} bytes "
            f"that begin with {content[:8]!r}"
        )
    return content
