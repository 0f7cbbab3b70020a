"""Rounds visit every model; the core and the collector are given back."""

import gc
import os
import time

import pytest

from tflite_bench import protocol
from tfnas.errors import ConfigError


def spin(ms):
    def run():
        end = time.thread_time_ns() + ms * 1e6
        while time.thread_time_ns() < end:
            pass

    return run


def test_every_round_visits_every_model_in_a_new_order():
    calls = []
    runs = [lambda i=i: calls.append(i) for i in range(3)]
    visits = protocol.measure(runs, rounds=4)
    assert [len(v.cpu_ms) for v in visits] == [4, 4, 4]
    assert [len(v.wall_ms) for v in visits] == [4, 4, 4]
    # Two warm-ups each, then visits of one discarded and four timed runs.
    visited = calls[6::5]
    rounds = [tuple(visited[i : i + 3]) for i in range(0, 12, 3)]
    assert all(sorted(r) == [0, 1, 2] for r in rounds)
    assert len(set(rounds)) > 1


def test_equal_seeds_give_equal_orders():
    def order(seed):
        calls = []
        runs = [lambda i=i: calls.append(i) for i in range(5)]
        protocol.measure(runs, 3, seed)
        return calls

    assert order(1) == order(1) != order(2)


def test_times_are_those_of_the_fastest_run_of_a_visit():
    delays = iter([0] * 2 + [9, 9, 9, 1, 9] + [9, 3, 9, 9, 9])
    visits = protocol.measure([lambda: spin(next(delays))()], 2)
    assert visits[0].cpu_ms == [
        pytest.approx(1, abs=0.3), pytest.approx(3, abs=0.3)
    ]


def test_cpu_time_leaves_out_what_others_do():
    visits = protocol.measure([lambda: time.sleep(0.002)], 2)
    assert max(visits[0].cpu_ms) < 0.5
    assert min(visits[0].wall_ms) > 1.9


def test_core_and_collector_are_given_back_even_after_an_error():
    before = os.sched_getaffinity(0)
    seen = []

    def fail():
        seen.append((os.sched_getaffinity(0), gc.isenabled()))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        protocol.measure([fail], 1)
    assert len(seen[0][0]) == 1
    assert seen[0][1] is False
    assert os.sched_getaffinity(0) == before
    assert gc.isenabled()


def test_no_rounds_are_refused():
    with pytest.raises(ConfigError, match="rounds=0"):
        protocol.measure([lambda: None], 0)
