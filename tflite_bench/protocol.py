"""How a model is timed on a machine that does other things too.

Rounds, not repetitions: every round visits all models in a new random order,
so that each samples the same states of the machine. A visit runs the model
once to warm the caches, then a few times, and keeps the fastest. A run may get
a new input: some kernels are faster on numbers that they have seen. One core,
one thread, no garbage collection.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from tfnas.errors import ConfigError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_WARM_UPS = 2
_RUNS = 4
_RUNS_OF_LONG = 2
_LONG_MS = 5.0


@dataclasses.dataclass
class Visits:
    """The visits of one model.

    Args:
        cpu_ms: Fastest run of each visit in CPU time of the thread.
        wall_ms: Fastest run of each visit by the wall clock.
        switches: Involuntary context switches meanwhile.
    """

    cpu_ms: list[float] = dataclasses.field(default_factory=list)
    wall_ms: list[float] = dataclasses.field(default_factory=list)
    switches: int = 0


def measure(
    runs: Sequence[Callable[[], None]],
    rounds: int,
    seed: int = 0,
    pin: bool = True,
    refresh: Sequence[Callable[[], None]] | None = None,
) -> list[Visits]:
    """Times functions in interleaved rounds.

    Args:
        runs: Each runs one model once.
        rounds: Visits of each.
        seed: Of the order of the visits.
        pin: Whether to stay on one core.
        refresh: Each gives a model a new input; not timed.

    Raises:
        ConfigError: when there are no rounds.
    """
    if rounds < 1:
        raise ConfigError(
            f"Expected at least 1 round. Received: rounds={rounds}"
        )
    rng = np.random.default_rng(seed)
    visits = [Visits() for _ in runs]
    renew = refresh or [_nothing] * len(runs)
    with _quiet(pin):
        repeats = [_repeats(run) for run in runs]
        for _ in range(rounds):
            for i in rng.permutation(len(runs)):
                _visit(runs[i], renew[i], repeats[i], visits[i])
    return visits


def _nothing() -> None:
    pass


def _repeats(run: Callable[[], None]) -> int:
    for _ in range(_WARM_UPS):
        start = time.thread_time_ns()
        run()
        cpu_ms = (time.thread_time_ns() - start) / 1e6
    return _RUNS_OF_LONG if cpu_ms > _LONG_MS else _RUNS


def _visit(
    run: Callable[[], None], renew: Callable[[], None], repeats: int,
    visits: Visits,
) -> None:
    renew()
    run()
    switches = _switches()
    cpu_ns, wall_ns = [], []
    for _ in range(repeats):
        renew()
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        run()
        cpu_ns.append(time.thread_time_ns() - cpu)
        wall_ns.append(time.perf_counter_ns() - wall)
    visits.switches += _switches() - switches
    visits.cpu_ms.append(min(cpu_ns) / 1e6)
    visits.wall_ms.append(min(wall_ns) / 1e6)


def _switches() -> int:
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


@contextlib.contextmanager
def _quiet(pin: bool) -> Iterator[None]:
    """Keeps to one core and holds the garbage collector off."""
    pin = pin and hasattr(os, "sched_setaffinity")
    before = os.sched_getaffinity(0) if pin else set()
    collecting = gc.isenabled()
    gc.disable()
    if pin:
        os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        if pin:
            os.sched_setaffinity(0, before)
        if collecting:
            gc.enable()
