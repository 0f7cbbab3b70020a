"""SIGTERM and Ctrl-C end a program in good order, a second one at once."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from tfnas import stopping

PROGRAM = '''
"""Works in steps."""

import contextlib
import time

from absl import flags

from tfnas import cli
from tfnas import stopping

_STEPS = flags.DEFINE_bool("steps", True, "Whether the work is in steps.")


def main(argv):
    deferred = stopping.deferred() if _STEPS.value else contextlib.nullcontext()
    with deferred:
        try:
            print("begun", flush=True)
            while True:
                end = time.monotonic() + LENGTH
                while time.monotonic() < end:
                    time.sleep(0.01)
                print("step", flush=True)
                stopping.check()
        finally:
            print("saved", flush=True)


cli.run(main)
'''


@pytest.fixture
def start(tmp_path):
    def run(*words, length=0.3):
        path = tmp_path / "a program.py"
        path.write_text(PROGRAM.replace("LENGTH", str(length)))
        process = subprocess.Popen(
            [sys.executable, path, *words], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        assert process.stdout.readline() == "begun\n"
        return process

    return run


@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_step_is_finished_and_the_command_printed(start, number, code):
    process = start()
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert output == "step\nsaved\n"
    assert f"stopped by {number.name}. To go on:\n" in errors
    assert errors.rstrip().endswith("'a program.py'")
    assert "Traceback" not in errors


def test_work_without_steps_ends_at_once(start):
    process = start("--nosteps", length=60)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, output) == (143, "saved\n")
    assert "'a program.py' --nosteps" in errors


def test_second_ctrl_c_leaves_at_once(start):
    process = start(length=60)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        process.stderr.readline()  # it has been seen
        process.stderr.readline()
    assert process.wait(timeout=10) == -signal.SIGINT  # 130 in a shell


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.deferred():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGINT)
            stopping.check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_handle_no_signals():
    handlers = []

    def work():
        with stopping.deferred():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
