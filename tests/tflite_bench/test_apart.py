"""What becomes of a process that runs a stranger's file."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tflite_bench import apart
from tflite_bench import writer
from tfnas.errors import ArtifactError
from tfnas.errors import RuntimeCrash

KEY = "mbconv|act=relu6|e=3|k=3|pad=sym|s=1|8x8x8>8x8x8"


def _call(how, timeout_s=60.0):
    return apart.call(
        "tests.tflite_bench.dying", {"how": how}, "a.tflite", "timing",
        timeout_s,
    )


@pytest.mark.parametrize(
    "how, message",
    [
        ("SIGSEGV", "crashed with SIGSEGV while timing"),
        ("SIGABRT", "crashed with SIGABRT while timing"),
        ("SIGKILL", "crashed with SIGKILL (out of memory?) while timing"),
        ("bug", "ended with status 1 while timing; it said: ZeroDivision"),
    ],
)
def test_a_crash_is_one_line_and_exit_code_1(how, message):
    with pytest.raises(RuntimeCrash) as caught:
        _call(how)
    assert str(caught.value).startswith(f"a.tflite: the runtime {message}")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_hang_ends_after_the_limit():
    with pytest.raises(RuntimeCrash, match="more than 2 s while timing"):
        _call("hang", 2.0)


def test_a_refusal_keeps_its_kind():
    with pytest.raises(ArtifactError, match="^a.tflite: refused$"):
        _call("refuse")


def test_what_is_printed_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _call("talk") == {"folder": str(tmp_path)}


def _children(pid):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(
    not os.path.exists("/proc/self/stat"), reason="needs /proc"
)
def test_a_program_whose_runtime_crashes_says_so(tmp_path):
    path = tmp_path / "block.tflite"
    path.write_bytes(writer.write_key(KEY, "float32"))
    with subprocess.Popen(
        [sys.executable, "-m", "tflite_bench", path, "--rounds=10000000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as program:
        children, seen = [], set()
        while program.poll() is None and len(seen) < 2:
            children = _children(program.pid)
            seen.update(children)
            time.sleep(0.01)
        for child in children:  # the second one, which times
            os.kill(child, signal.SIGSEGV)
        output, errors = program.communicate()
    assert program.returncode == 1
    assert errors.startswith(f"error: {path}: the runtime crashed with SIGSEG")
    assert len(errors.splitlines()) == 1 and not output
