"""A benchmark program on a phone: put there, asked what it is, and run."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from android_bench import binary
from android_bench import output
from android_bench import plausible
from android_bench import programs
from android_bench import result_file
from android_bench import verdict
from android_bench.options import Options
from android_bench.plausible import Contents
from android_bench.programs import Program
from android_bench.verdict import Proof
from android_bench.workspace import Workspace
from tfnas import artifacts
from tfnas.errors import DeviceError

_LIBRARY = "libLiteRt.so"
_BINARY = "benchmark"
_FIGURES = "figures.pb"
_DETAILS = "details.pb"
# TensorFlow Lite carries its version as a text of its own.
_VERSION = re.compile(rb"\0([12]\.[0-9]{1,2}\.[0-9]{1,2}(?:-rc[0-9])?)\0")
_TRIES = 3  # of a run on a phone that is busy
_PROGRAMS: dict[str, Program] = {}  # by sha256; the same on every phone


@dataclasses.dataclass(frozen=True)
class Tool:
    """A benchmark program: one of the official two, or our own runner.

    Our own runner (`android_bench/native`) needs the LiteRT library, which
    is taken from beside it, under the name `libLiteRt.so`.

    Args:
        binary: The program, for the phone's processor.
        options: What it is told.
        timeout_s: How long one process may take.

    Raises:
        ArtifactError: when the program cannot be read.
    """

    binary: str | os.PathLike
    options: Options = Options()
    timeout_s: float = 180

    @property
    def library(self) -> pathlib.Path | None:
        """The runner's library, or `None` for the official programs."""
        library = pathlib.Path(self.binary).with_name(_LIBRARY)
        return library if library.exists() else None

    @functools.cached_property
    def sha256(self) -> str:
        """The identity of the program."""
        return artifacts.sha256(self.binary)

    def describe(self) -> dict[str, Any]:
        """Returns the `runtime` of a latency table, with what is asked."""
        runtime = {
            "tflite": {
                "name": pathlib.Path(self.binary).name,
                "sha256": self.sha256,
                "version": self.version,
            },
            "threads": self.options.threads,
            "delegate": self.options.asked,
            "runs": self.options.num_runs,
        }
        if self.library:
            runtime["library_sha256"] = artifacts.sha256(self.library)
        if self.options.flags:
            runtime["flags"] = list(self.options.flags)
        if self.options.files:
            runtime["files"] = {
                pathlib.Path(file).name: artifacts.sha256(file)
                for file in self.options.files
            }
        return runtime

    @functools.cached_property
    def version(self) -> str:
        """The version of TensorFlow Lite in it, or `"unknown"`."""
        path = self.library or pathlib.Path(self.binary)
        found = set(_VERSION.findall(path.read_bytes()))
        return found.pop().decode() if len(found) == 1 else "unknown"

    def install(self, workspace: Workspace) -> None:
        """Copies the program into a folder on the phone.

        Raises:
            ArtifactError: when it is for another processor.
        """
        binary.check_fits(self.binary, workspace.adb)
        files: dict[str, str | os.PathLike] = {_BINARY: self.binary}
        if self.library:
            files[_LIBRARY] = self.library
        for file in self.options.files:
            files[pathlib.Path(file).name] = file
        workspace.put(files)
        workspace.make_executable(_BINARY)

    def program(self, workspace: Workspace) -> Program:
        """Returns which program it is: it is asked, once.

        What lists no flags is asked each time: it may be a script, which
        can start another program by then.

        Raises:
            DeviceError: when it is none that we know.
        """
        known = _PROGRAMS.get(self.sha256)
        if known is None or known.guessed:
            words = [workspace.path(_BINARY), programs.HELP]
            done = workspace.run(words, self.timeout_s)
            text = f"{done.stdout}\n{done.stderr}"
            _PROGRAMS[self.sha256] = programs.identify(text, f"{self.binary}")
        return _PROGRAMS[self.sha256]

    @property
    def kind(self) -> str:
        """Which program it is, once `program` has asked it."""
        return _PROGRAMS[self.sha256].kind

    @property
    def _once(self) -> Tool:
        """The same program, told to run a model once."""
        options = dataclasses.replace(
            self.options, num_runs=1, warmup_runs=0
        )
        return dataclasses.replace(self, options=options)

    def prove(
        self,
        workspace: Workspace,
        model: str,
        source: str,
        contents: Contents | None = None,
        mask: str | None = None,
    ) -> Proof:
        """Runs a model once, and returns what ran it.

        Args:
            workspace: Where the program and the model are.
            model: Name of the model there.
            source: Name of the model here, for messages.
            contents: What the model holds, where it is known.
            mask: Cores to stay on, for `taskset`.

        Raises:
            DeviceError: when something else ran than what was asked.
            TimedOut: when it does not end in time.
        """
        program = self.program(workspace)
        path = workspace.path(_DETAILS)
        extra = program.details_to(path)
        profiled = program.kind == programs.RUNNER and contents
        if profiled:
            extra = program.profiling()
        report = self._once._report(
            workspace, program, model, source, mask, extra
        )
        details = None
        if profiled and contents:
            details = _profiled(report, contents)
        elif extra and (data := workspace.take(_DETAILS)) is not None:
            details = result_file.delegations(data, source)
        return self._judge(program, report, source, details)

    def run(
        self,
        workspace: Workspace,
        model: str,
        source: str,
        mask: str | None = None,
        extra: Sequence[str] = (),
        contents: Contents | None = None,
    ) -> output.Report:
        """Runs one process on the phone.

        Args:
            workspace: Where the program and the model are.
            model: Name of the model there.
            source: Name of the model here, for messages.
            mask: Cores to stay on, for `taskset`.
            extra: Further flags.
            contents: What the model holds, where it is known.

        Raises:
            DeviceError: when it fails, prints what we cannot read or cannot
                believe, or ran something else than what was asked.
            TimedOut: when it does not end in time.
        """
        program = self.program(workspace)
        figures = program.figures_to(workspace.path(_FIGURES))
        for left in reversed(range(_TRIES)):
            report = self._report(
                workspace, program, model, source, mask, [*figures, *extra]
            )
            # What an unknown backend did is for `prove` to say.
            proof = self._judge(program, report, source)
            if figures and report.inference.median_us is None:
                report = self._complete(workspace, report, source)
            try:
                plausible.check(report, source, contents)
            except plausible.Busy:
                if not left:
                    raise
            else:
                break
        return dataclasses.replace(report, proof=proof)

    def answer(
        self,
        workspace: Workspace,
        model: str,
        source: str,
        inputs: Sequence[str],
        shapes: Sequence[str],
        output_name: str,
        mask: str | None = None,
    ) -> None:
        """Runs a model once on given inputs, and has its outputs written.

        Args:
            workspace: Where the program and the model are.
            model: Name of the model there.
            source: Name of the model here, for messages.
            inputs: Names of the files there, one an input, in their order.
            shapes: The shape of each, as `"1,224,224,3"`.
            output_name: Name of the file for the outputs.
            mask: Cores to stay on, for `taskset`.

        Raises:
            ConfigError: when the program cannot write outputs.
            DeviceError: when it fails, or something else ran.
        """
        program = self.program(workspace)
        files = [workspace.path(name) for name in inputs]
        extra = program.answering(
            files, shapes, workspace.path(output_name)
        )
        report = self._once._report(
            workspace, program, model, source, mask, extra
        )
        self._judge(program, report, source)

    def extra(self, workspace: Workspace, name: str) -> list[str]:
        """Returns the flags of a further run: `"profile"`, `"memory"`."""
        if name == "memory":
            return ["--report_peak_memory_footprint=true"]
        return self.program(workspace).profiling()

    def _complete(
        self, workspace: Workspace, report: output.Report, source: str
    ) -> output.Report:
        """Adds what a program writes to its file of figures alone."""
        data = workspace.take(_FIGURES)
        if data is None:
            return report
        return output.complete(
            report, result_file.figures(data, source), source
        )

    def _judge(
        self,
        program: Program,
        report: output.Report,
        source: str,
        details: result_file.Delegations | None = None,
    ) -> Proof:
        words = program.words(self.options)
        return verdict.judge(
            report.lines, self.options, source, details,
            "--require_full_delegation=true" in words, report.errors,
        )

    def _report(
        self,
        workspace: Workspace,
        program: Program,
        model: str,
        source: str,
        mask: str | None,
        extra: Sequence[str],
    ) -> output.Report:
        """Runs one process, and reads what it prints."""
        folder = workspace.path("").rstrip("/")
        options = [*program.words(self.options), *self.options.flags]
        # Where an NPU's libraries look for each other, and for their DSP's.
        places = ("LD_LIBRARY_PATH", "ADSP_LIBRARY_PATH")
        found = [f"{name}={folder}" for name in places]
        words = [
            *(["env", *found] if self.options.files else []),
            *(["taskset", mask] if mask else []),
            workspace.path(_BINARY),
            f"--graph={workspace.path(model)}",
            *(word.replace("{folder}", folder) for word in options),
            *extra,
        ]
        if self.library:
            words.append(f"--library={workspace.path(_LIBRARY)}")
        done = workspace.run(words, self.timeout_s)
        if done.returncode:
            raise DeviceError(
                f"{source}: the benchmark program ended with "
                f"{done.returncode} on {workspace.adb.serial}: {done.tail}"
            )
        return output.parse(done.stdout, source, done.stderr)


def _profiled(
    report: output.Report, contents: Contents
) -> result_file.Delegations | None:
    """Returns who runs what by our runner's profile, in the order it runs.

    What is inside of a delegate is called `Delegate/...` there, whichever
    delegate it is; a line of the library says which one it has made.
    """
    inside = [op.kind.startswith("Delegate/") for op in report.ops]
    made = [name for name in map(verdict.made, report.lines) if name]
    if not inside or len(set(made)) != 1:
        return None
    pieces = sum(now for now, _ in itertools.groupby(inside))
    taken = max(contents.operators - inside.count(False), 0)
    if not pieces:
        return result_file.Delegations(contents.operators, {}, {})
    return result_file.Delegations(
        contents.operators, {made[0]: taken}, {made[0]: pieces}
    )
