"""Time of each operator inside a model, as the runtime itself sees it.

Goes through the C interface of LiteRT, the only one that gives it. That runs
in a process of its own: the interface belongs to one version of the library,
and a mistake there is a crash.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from tflite_bench import apart
from tfnas.errors import ConfigError
from tfnas.errors import DeviceError

_TIMEOUT_S = 600
_CPU = 1
_MAX_RANK = 8
_WRITE = 1
# Types of elements, as the library numbers them.
_FLOAT32, _UINT8, _INT8 = 1, 3, 9
_SAMPLES = 16  # of what goes in; they take turns
_RUN_ORDER = re.compile(r"=+ Run Order =+\n(.*?)\n\n", re.DOTALL)
_HEADER = re.compile(r"\[([^\]]+)\]")
_OUTSIDE = re.compile(r"\[(?!Delegate\])\w+\]:(\d+)$")


@dataclasses.dataclass(frozen=True)
class OpTime:
    """One operator of a model.

    Args:
        kind: What the runtime made of it.
        mean_ms: Mean wall time of a run, of whole microseconds each.
        index: The place in the file of an operator outside the delegate;
            `None` inside, where the runtime counts otherwise.
    """

    kind: str
    mean_ms: float
    index: int | None = None


class _Layout(ctypes.Structure):
    """A shape, as the library has it."""

    _fields_ = [
        ("rank_and_flags", ctypes.c_uint32),
        ("dimensions", ctypes.c_int32 * _MAX_RANK),
        ("strides", ctypes.c_uint32 * _MAX_RANK),
    ]


class _TensorType(ctypes.Structure):
    """A type of elements and a shape, as the library has them."""

    _fields_ = [
        ("element", ctypes.c_int32),
        ("layout", _Layout),
        ("spare", ctypes.c_byte * 256),  # in case the library has more
    ]


def profile(
    path: str | os.PathLike,
    runs: int = 50,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> list[OpTime]:
    """Profiles a model with LiteRT and XNNPACK on one thread.

    Args:
        path: The `.tflite` file.
        runs: Number of runs to take the mean of.
        shapes: The shape of each input whose sizes are free, by its name.

    Returns:
        The operators in the order they run.

    Raises:
        ConfigError: when LiteRT is not installed.
        DeviceError: when LiteRT refuses, or says what we cannot read.
        RuntimeCrash: when the process crashes or takes too long.
    """
    job = {"path": str(path), "runs": runs, "shapes": dict(shapes or {})}
    text = apart.call(
        "tflite_bench.profile", job, str(path), "timing its operators",
        _TIMEOUT_S,
    )
    return parse(text)


def parse(text: str) -> list[OpTime]:
    """Reads the summary that the runtime prints.

    Raises:
        DeviceError: when it does not look as expected.
    """
    found = _RUN_ORDER.search(text)
    header, *rows = found[1].splitlines() if found else ["", ""]
    names = _HEADER.findall(header)
    try:
        kind, mean_ms = names.index("node type"), names.index("avg ms")
        cells = [re.split(r"\s{2,}|\t", row.strip()) for row in rows]
        times = [
            OpTime(row[kind], float(row[mean_ms]), _place(row[-1]))
            for row in cells
        ]
    except (ValueError, IndexError) as error:
        raise DeviceError(
            "Expected a table with the columns [node type] and [avg ms]. "
            f"Received: {text[:300]!r}"
        ) from error
    return times


def _place(name: str) -> int | None:
    found = _OUTSIDE.search(name)
    return None if found is None else int(found[1])


class _Library:
    """The calls that a profile needs; each answers with a status."""

    def __init__(self) -> None:
        try:
            import ai_edge_litert
        except ImportError as error:
            raise ConfigError(
                "Expected the Python package ai-edge-litert to be installed."
            ) from error
        folder = pathlib.Path(next(iter(ai_edge_litert.__path__)))
        self._library = ctypes.CDLL(str(folder / "libLiteRt.so"))

    def __getattr__(self, name: str) -> Callable[..., None]:
        function = getattr(self._library, f"LiteRt{name}", None)
        if function is None:
            raise DeviceError(f"This LiteRT has no function LiteRt{name}.")

        def call(*args: Any) -> None:
            status = function(*args)
            if status:
                raise DeviceError(
                    f"LiteRt{name} failed with status {status}."
                )

        return call

    def made(
        self, name: str, *args: Any, mode: int | None = None
    ) -> ctypes.c_void_p:
        """Returns what a function hands out.

        Args:
            name: The function.
            *args: What it takes before the place to hand it out to.
            mode: What it takes after that, if anything.
        """
        handle = ctypes.c_void_p()
        last = () if mode is None else (ctypes.c_int(mode),)
        getattr(self, name)(*args, ctypes.byref(handle), *last)
        return handle


def summary(path: str, runs: int, shapes: Mapping[str, list[int]]) -> str:
    """Returns the runtime's own summary of some runs of a model."""
    lite = _Library()
    environment = lite.made("CreateEnvironment", 0, None)
    model = lite.made("CreateModelFromFile", environment, path.encode())
    compiled = lite.made(
        "CreateCompiledModel", environment, model, _options(lite)
    )
    signature = lite.made("GetModelSignature", model, ctypes.c_size_t(0))
    _resize(lite, compiled, signature, shapes)
    inputs, outputs = (
        _buffers(lite, environment, compiled, signature, side)
        for side in ("Input", "Output")
    )
    fillers = _fillers(lite, signature, inputs)
    profiler = lite.made("CompiledModelGetProfiler", compiled)

    def run(number: int) -> None:
        for fill in fillers:
            fill(number)
        lite.RunCompiledModel(
            compiled, ctypes.c_size_t(0),
            ctypes.c_size_t(len(inputs)), inputs,
            ctypes.c_size_t(len(outputs)), outputs,
        )

    run(0)
    lite.StartProfiler(profiler)
    for number in range(runs):
        run(number)
    lite.StopProfiler(profiler)
    text = lite.made("GetProfileSummary", profiler, compiled)
    return ctypes.string_at(text.value or 0).decode()


def _fillers(
    lite: _Library, signature: Any, buffers: Any
) -> list[Callable[[int], None]]:
    """Returns what puts other numbers into each input for each run.

    The runtime's own kernels are faster on numbers that they have just seen.
    Indices and states stay 0, which is always legal.
    """
    rng = np.random.default_rng(0)
    fillers: list[Callable[[int], None]] = []
    for i, buffer in enumerate(buffers):
        tensor = lite.made(
            "GetSignatureInputTensorByIndex", signature, ctypes.c_size_t(i)
        )
        kind, size = _TensorType(), ctypes.c_size_t()
        lite.GetRankedTensorType(tensor, ctypes.byref(kind))
        lite.GetTensorBufferPackedSize(
            ctypes.c_void_p(buffer), ctypes.byref(size)
        )
        samples = [
            _sample(rng, kind.element, size.value) for _ in range(_SAMPLES)
        ]
        fillers.append(functools.partial(_fill, lite, buffer, samples))
    return fillers


def _sample(
    rng: np.random.Generator, element: int, size_bytes: int
) -> np.ndarray:
    """Returns so many bytes of random numbers of a type."""
    if element == _FLOAT32:
        return rng.standard_normal(size_bytes // 4, np.float32).view(np.uint8)
    if element in (_INT8, _UINT8):
        return rng.integers(0, 256, size_bytes, np.uint8)
    return np.zeros(size_bytes, np.uint8)


def _fill(
    lite: _Library, buffer: int, samples: Sequence[np.ndarray], number: int
) -> None:
    """Copies one of the samples into a buffer."""
    sample = samples[number % len(samples)]
    place = lite.made(
        "LockTensorBuffer", ctypes.c_void_p(buffer), mode=_WRITE
    )
    ctypes.memmove(place, sample.ctypes.data, sample.nbytes)
    lite.UnlockTensorBuffer(ctypes.c_void_p(buffer))


def _options(lite: _Library) -> ctypes.c_void_p:
    """Options for the CPU, with the profiler on."""
    options = lite.made("CreateOptions")
    lite.SetOptionsHardwareAccelerators(options, _CPU)
    # The library frees the text itself, so it must come from malloc.
    libc = ctypes.CDLL(None)
    libc.strdup.restype = ctypes.c_void_p
    text = ctypes.c_void_p(libc.strdup(b"enable_profiling = true"))
    profiling = lite.made(
        "CreateOpaqueOptions", b"runtime_options_string", text,
        ctypes.cast(libc.free, ctypes.c_void_p),
    )
    lite.AddOpaqueOptions(options, profiling)
    return options


def _count(lite: _Library, signature: Any, side: str) -> int:
    """Returns how many inputs or outputs there are."""
    count = ctypes.c_size_t()
    getattr(lite, f"GetNumSignature{side}s")(signature, ctypes.byref(count))
    return count.value


def _resize(
    lite: _Library, compiled: Any, signature: Any, shapes: Mapping[str, Any]
) -> None:
    """Gives inputs whose sizes are free their shapes."""
    for i in range(_count(lite, signature, "Input") if shapes else 0):
        index = ctypes.c_size_t(i)
        tensor = lite.made("GetSignatureInputTensorByIndex", signature, index)
        name = lite.made("GetTensorName", tensor).value
        shape = shapes.get(ctypes.string_at(name or 0).decode())
        if shape is not None:
            lite.CompiledModelResizeInputTensor(
                compiled, ctypes.c_size_t(0), index,
                (ctypes.c_int * len(shape))(*shape),
                ctypes.c_size_t(len(shape)),
            )


def _layouts(lite: _Library, compiled: Any, side: str, count: int) -> Any:
    """Returns the shapes that all inputs or outputs have once resized."""
    layouts = (_Layout * count)()
    if side == "Output":
        lite.GetCompiledModelOutputTensorLayouts(
            compiled, ctypes.c_size_t(0), ctypes.c_size_t(count), layouts,
            ctypes.c_bool(True),
        )
        return layouts
    for i, layout in enumerate(layouts):
        lite.GetCompiledModelInputTensorLayout(
            compiled, ctypes.c_size_t(0), ctypes.c_size_t(i),
            ctypes.byref(layout),
        )
    return layouts


def _buffers(
    lite: _Library, environment: Any, compiled: Any, signature: Any, side: str
) -> Any:
    """Returns the buffers of all inputs or outputs as a C array."""
    count = _count(lite, signature, side)
    layouts = _layouts(lite, compiled, side, count)
    buffers = (ctypes.c_void_p * count)()
    for i in range(count):
        index = ctypes.c_size_t(i)
        tensor = lite.made(
            f"GetSignature{side}TensorByIndex", signature, index
        )
        kind = _TensorType()
        lite.GetRankedTensorType(tensor, ctypes.byref(kind))
        kind.layout = layouts[i]
        wanted = lite.made(
            f"GetCompiledModel{side}BufferRequirements", compiled,
            ctypes.c_size_t(0), index,
        )
        buffers[i] = lite.made(
            "CreateManagedTensorBufferFromRequirements", environment,
            ctypes.byref(kind), wanted,
        )
    return buffers


def _summarise(job: dict[str, Any]) -> str:
    try:
        return summary(job["path"], job["runs"], job["shapes"])
    except DeviceError as error:
        raise DeviceError(f"{job['path']}: {error}") from error


if __name__ == "__main__":
    apart.answer(_summarise)
