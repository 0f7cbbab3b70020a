"""Programs end with 0 (done, help), 1 (failed) or 2 (bad usage or input)."""

import os
import subprocess
import sys

import pytest

import tfnas

PROGRAM = '''
"""Greets, or fails in the way it is told to."""

from absl import app
from absl import flags

from tfnas import cli
from tfnas.errors import ArtifactError
from tfnas.errors import RuntimeCrash

_FAIL = flags.DEFINE_enum(
    "fail", "no",
    ["no", "input", "usage", "disk", "crash", "pipe", "bug"],
    "How to fail.",
)


def main(argv):
    if _FAIL.value == "input":
        raise ArtifactError("a.json: field 'op'")
    if _FAIL.value == "usage":
        raise app.UsageError("these two flags exclude each other")
    if _FAIL.value == "disk":
        raise OSError(28, "No space left on device", "a.json")
    if _FAIL.value == "crash":
        raise RuntimeCrash("a.tflite: the runtime crashed with SIGSEGV")
    if _FAIL.value == "pipe":
        raise BrokenPipeError(32, "Broken pipe")
    if _FAIL.value == "bug":
        raise ZeroDivisionError
    print("hello", argv[1:])


def entry():
    cli.run(main, words=WORDS)


if __name__ == "__main__":
    entry()
'''


@pytest.fixture
def run_program(tmp_path):
    def run(*args, words=False):
        path = tmp_path / "program.py"
        path.write_text(PROGRAM.replace("WORDS", str(words)))
        return subprocess.run(
            [sys.executable, path, *args], capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize(
    "args, code, stderr",
    [
        ([], 0, ""),
        (["--fail=input"], 2, "error: a.json: field 'op'\n"),
        (["--fail=usage"], 2, "error: these two flags exclude each other\n"),
        (["--fail=disk"], 1, "error: [Errno 28] No space left on device"),
        (["--fail=crash"], 1, "error: a.tflite: the runtime crashed with"),
        (["--fail=nonsense"], 2, "error: flag --fail=nonsense"),
        (["--nonsense"], 2, "error: Unknown command line flag"),
        (["word"], 2, "error: Expected flags only. Received: word\n"),
    ],
)
def test_exit_code_and_message(run_program, args, code, stderr):
    done = run_program(*args)
    assert done.returncode == code
    assert done.stderr.startswith(stderr)
    assert "Traceback" not in done.stderr


def test_bug_keeps_its_traceback(run_program):
    done = run_program("--fail=bug")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("flag", ["--help", "--helpshort", "--helpfull"])
def test_help_is_a_success(run_program, flag):
    done = run_program(flag)
    assert done.returncode == 0
    assert "Greets, or fails" in done.stdout
    assert "How to fail." in done.stdout


def test_help_is_the_same_under_an_installed_name(run_program, tmp_path):
    run_program()
    done = subprocess.run(
        [sys.executable, "-c", "import program; program.entry()", "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert "Greets, or fails" in done.stdout
    assert "How to fail." in done.stdout


def test_version_needs_no_flag(run_program):
    done = run_program("--version")
    assert done.returncode == 0
    assert done.stdout == f"program.py {tfnas.__version__}\n"


@pytest.mark.parametrize("args", [["a"], ["a"] * 20_000, ["--helpfull"]])
def test_a_reader_that_leaves_ends_it_quietly(run_program, tmp_path, args):
    run_program(words=True)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", *args],
        stdout=writer, stderr=subprocess.PIPE, text=True,
    )
    os.close(writer)
    # absl itself is content where nobody reads the help.
    assert done.returncode == 141 or "--helpfull" in args
    assert done.stderr == ""


def test_other_broken_pipes_are_said(run_program):
    done = run_program("--fail=pipe")
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 32] Broken pipe\n"


def test_words_reach_a_program_that_takes_them(run_program):
    done = run_program("a.tflite", "b.tflite", words=True)
    assert done.returncode == 0
    assert done.stdout == "hello ['a.tflite', 'b.tflite']\n"
