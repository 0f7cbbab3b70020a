"""What ran a model: no time counts without the program's word for it.

A GPU flag that the program does not know, a delegate that takes nothing, a
library that is not there: all of them end in a clean run on the CPU, with a
time. What the programs say about it is read here (LiteRT of August 2026, and
TensorFlow Lite since 2018).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from android_bench.options import CPU
from android_bench.options import Options
from android_bench.result_file import Delegations
from tfnas.errors import DeviceError

NONE = "none"
UNKNOWN = "unknown"
# Delegates by what they are called: the runtime's name for them in lines and
# files, or the program's own in sentences.
_DELEGATES = (
    ("xnnpack", re.compile("xnnpack", re.IGNORECASE)),
    ("ynnpack", re.compile("ynnpack", re.IGNORECASE)),
    ("nnapi", re.compile("nnapi", re.IGNORECASE)),
    ("npu", re.compile("dispatch|npu|qnn|hexagon|edgetpu|neuron", re.I)),
    ("gpu", re.compile(
        "gpu|drift|opencl|opengl|metal|vulkan|(^|_)(cl|gl)$", re.I
    )),
)
# Releases before 2021 say `Applied`.
_APPLIED = re.compile(
    r"^(?:Explicitly a|A)pplied (\S+) delegate, and the model graph will be "
    r"(completely|partially) executed(?:.*?w/ (\d+) delegate kernels)?"
)
_NOTHING = re.compile(
    r"^Though (\S+) delegate is (?:explicitly )?applied, the model graph "
    r"will not be executed"
)
_REPLACING = re.compile(
    r"^Replacing (\d+) out of (\d+) node\(s\) with delegate \((.+)\) node, "
    r"yielding (\d+) partitions"
)
# Being made is not yet taking anything.
_CREATED = re.compile(
    r"^Created TensorFlow Lite (?:(\S+) )?delegate for (\w+)"
)
# TFLite's GPU delegate, before it takes what it can.
_SPLIT = re.compile(
    r"^(?:First )?(\d+|No) operations will run on the GPU, and (?:the "
    r"remaining|all) (\d+) (?:operations will run )?on the CPU"
)
_UNCONSUMED = re.compile(r"^Unconsumed cmdline flags: (.+)")
# Lines that end the hope for a backend, whatever the time is.
_MISSING = (
    ("nnapi", re.compile("^Couldn't load NNAPI support library")),
    ("npu", re.compile("^No usable Dispatch runtime found")),
    ("npu", re.compile("^You should provide the `?DispatchLibraryDir`?")),
    ("npu", re.compile("^Failed to (load|apply) compiler plugin")),
    ("ynnpack", re.compile("^enable_ynnpack was ignored")),
)
_UNSUPPORTED = re.compile(
    r"^(\w+) (?:acceleration is unsupported|(?:CPU )?accelerator "
    r"(?:could not be loaded|is disabled))"
)
# What the runtime says when it takes a delegate's nodes out again.
_UNDONE = re.compile(
    "^Restored original execution plan|^Disallowed CPU fallback detected|"
    "^Node number .* failed to (prepare|invoke)"
)
_API = re.compile(r"^Initialized (OpenCL|OpenGL)-based API")
_WEBGPU = re.compile("^Create WebGPU environment")
# LiteRT 2's delegates carry it in their names.
_INTERFACES = {
    "CL": "OpenCL", "OPENGL": "OpenGL", "WEBGPU": "WebGPU",
    "VULKAN": "Vulkan", "METAL": "Metal",
}
_LITERT = re.compile(rf"\bLITERT_({'|'.join(_INTERFACES)})\b")
_FALL_BACK = "Falling back to OpenGL"
# Said of parts that stay on the CPU; how many these are is said elsewhere.
_LACKING = re.compile(
    "^(Following|Next) operations are not supported by GPU delegate"
)
_MOST_NODES = 10**7
_PART = "a part stays on the CPU"
_LEAVE = "allow it with --allow_partial"


@dataclasses.dataclass(frozen=True)
class Proof:
    """What ran a model, and how we know.

    Args:
        asked: What was to run it; see `Options.asked`.
        ran: What did: a backend with its interface (`"gpu (OpenGL)"`),
            `"none"` for the runtime's own kernels, or `"unknown"`.
        proven: Whether the program says so.
        sentence: Its words.
        nodes: Operators that the delegate runs; `None` where unknown.
        of_nodes: Operators of the model.
        pieces: Parts of the model that these make.

    Raises:
        ValueError: for numbers that no model has.
    """

    asked: str
    ran: str
    proven: bool
    sentence: str
    nodes: int | None = None
    of_nodes: int | None = None
    pieces: int | None = None

    def __post_init__(self) -> None:
        for text in (self.asked, self.ran, self.sentence):
            if not isinstance(text, str):
                raise TypeError(f"expected a text: {text!r}")
        if not isinstance(self.proven, bool):
            raise TypeError(f"expected true or false: {self.proven!r}")
        for count in (self.nodes, self.of_nodes, self.pieces):
            if count is None:
                continue
            if type(count) is not int or not 0 <= count <= _MOST_NODES:
                raise ValueError(f"impossible number of operators: {count}")
        if self.nodes is not None and self.of_nodes is not None:
            if self.nodes > self.of_nodes:
                raise ValueError(
                    f"impossible number of operators: {self.nodes} of "
                    f"{self.of_nodes}"
                )

    @property
    def backend(self) -> str:
        """What ran, for a table: rows of equal words may be merged."""
        half = " fp16" if self.asked.endswith(" fp16") else ""
        if self.proven:
            return f"{self.ran}{half}"
        return f"{self.asked} (unproven)"


@dataclasses.dataclass(frozen=True)
class _Claim:
    """What the program says about one backend."""

    backend: str
    sentence: str
    nodes: int | None = None
    of_nodes: int | None = None
    pieces: int | None = None
    whole: bool = False

    @property
    def settled(self) -> bool:
        """Whether it says how much ran there."""
        return self.nodes is not None or self.pieces is not None

    @property
    def nothing(self) -> bool:
        return not self.whole and 0 in (self.nodes, self.pieces)

    @property
    def ran(self) -> bool:
        return self.settled and not self.nothing


def judge(
    lines: Sequence[str],
    options: Options,
    source: str,
    details: Delegations | None = None,
    enforced: bool = False,
    errors: Sequence[str] = (),
) -> Proof:
    """Returns what ran a model.

    Args:
        lines: What the program printed, without its prefixes.
        options: What was asked.
        source: What ran, for messages.
        details: The program's file about it, if it wrote one.
        enforced: Whether the program was told to end rather than leave an
            operator to the CPU, in a flag that it knows.
        errors: Lines that it called errors.

    Raises:
        DeviceError: when something else ran than what was asked, or only a
            part without leave; the message quotes the program.
    """
    for line in lines:
        if found := _UNCONSUMED.match(line):
            raise _refusal(
                source, options, line,
                f"the program does not know {found[1]}, and ran without",
            )
        for backend, pattern in _MISSING:
            if backend == options.delegate and pattern.match(line):
                raise _refusal(source, options, line, "it is not there")
        missing = _UNSUPPORTED.match(line)
        if missing and _backend_of(missing[1]) == options.delegate:
            raise _refusal(source, options, line, "it is not there")
        if _UNDONE.match(line):
            raise _refusal(source, options, line, "it failed")
    _check_errors(lines, errors, options, source)
    claims = _claims(lines, details)
    try:
        proof = _weigh(claims, options, source, enforced)
    except ValueError as error:
        raise DeviceError(
            f"{source}: expected what ran the model. Received: {error}"
        ) from error
    return dataclasses.replace(proof, ran=_with_interface(proof, lines))


def _refusal(
    source: str, options: Options, line: str, why: str, advice: str = ""
) -> DeviceError:
    said = f" The program said: {line[:300]!r}"
    hint = f" ({advice})" if advice else ""
    return DeviceError(
        f"{source}: expected to run on {options.asked}; {why}{hint}.{said}"
    )


def _check_errors(
    lines: Sequence[str],
    errors: Sequence[str],
    options: Options,
    source: str,
) -> None:
    """Refuses a run with errors, but for those of an excused fall-back."""
    if options.delegate == "gpu" and any(
        line.startswith(_FALL_BACK) for line in lines
    ):
        return  # from one interface of the GPU to the other
    for line in errors:
        if not _LACKING.match(line):
            raise _refusal(source, options, line, "it failed")


def made(line: str) -> str | None:
    """Returns the delegate that a line says was made, if it says so."""
    found = _CREATED.match(line)
    return (found[1] or found[2]) if found else None


def _backend_of(delegate: str) -> str:
    for backend, pattern in _DELEGATES:
        if pattern.search(delegate):
            return backend
    return UNKNOWN


def _claims(
    lines: Sequence[str], details: Delegations | None
) -> dict[str, _Claim]:
    """Returns what is said about each backend, the surest word last."""
    claims: dict[str, _Claim] = {}
    for line in lines:
        if delegate := made(line):
            backend = _backend_of(delegate)
            claims.setdefault(backend, _Claim(backend, line))
        elif _API.match(line) or _WEBGPU.match(line):
            claims.setdefault("gpu", _Claim("gpu", line))
        elif _LACKING.match(line):
            claims["gpu"] = _Claim("gpu", line)
        elif found := _SPLIT.match(line):
            there = 0 if found[1] == "No" else int(found[1])
            of_nodes = there + int(found[2])
            claims["gpu"] = _Claim("gpu", line, there, of_nodes)
    for claim in _replaced(lines):
        claims[claim.backend] = claim
    for line in lines:
        if found := _APPLIED.match(line):
            claim = _Claim(
                _backend_of(found[1]), line, pieces=int(found[3] or 1),
                whole=found[2] == "completely",
            )
        elif found := _NOTHING.match(line):
            claim = _Claim(_backend_of(found[1]), line, nodes=0, pieces=0)
        else:
            continue
        counted = claims.get(claim.backend)
        if counted and counted.nodes is not None and claim.pieces:
            claim = dataclasses.replace(
                claim, nodes=counted.nodes, of_nodes=counted.of_nodes
            )
        claims[claim.backend] = claim
    return {**claims, **_detailed(details)} if details else claims


def _replaced(lines: Sequence[str]) -> list[_Claim]:
    """Reads the runtime's own lines, one a subgraph and delegate."""
    found = [(m, line) for line in lines if (m := _REPLACING.match(line))]
    claims = []
    for backend in dict.fromkeys(_backend_of(m[3]) for m, _ in found):
        own = [(m, x) for m, x in found if _backend_of(m[3]) == backend]
        nodes = sum(int(m[1]) for m, _ in own)
        of_nodes = sum(int(m[2]) for m, _ in own)
        # Partitions count what stays outside as well.
        pieces = sum(
            (int(m[4]) + 1) // 2 if m[1] != m[2] else int(m[4])
            for m, _ in own
        )
        whole = 0 < nodes == of_nodes
        claims.append(
            _Claim(backend, own[0][1], nodes, of_nodes, pieces, whole)
        )
    return claims


def _detailed(details: Delegations) -> dict[str, _Claim]:
    claims: dict[str, _Claim] = {}
    for delegate, nodes in details.taken.items():
        backend = _backend_of(delegate)
        pieces = details.pieces[delegate]
        claims[backend] = _Claim(
            backend,
            f"{delegate} replaces {nodes} of {details.nodes} operators",
            nodes, details.nodes, pieces, nodes == details.nodes,
        )
    if not claims:
        claims[NONE] = _Claim(
            NONE, "no operator is replaced by a delegate", 0, details.nodes, 0
        )
    return claims


def _weigh(
    claims: dict[str, _Claim],
    options: Options,
    source: str,
    enforced: bool,
) -> Proof:
    """Holds what is said against what was asked."""
    others = [
        claim
        for backend, claim in claims.items()
        if backend not in (options.delegate, NONE) and claim.ran
    ]
    if options.delegate == NONE:
        return _without_delegate(claims, others, options, source)
    claim = claims.get(options.delegate)
    if claim is not None and claim.settled:
        return _of_claim(claim, others, options, source)
    if NONE in claims:
        return _nothing(claims[NONE], options, source)
    if claim and _LACKING.match(claim.sentence) and not options.allow_partial:
        raise _refusal(source, options, claim.sentence, _PART, _LEAVE)
    on_cpu = [claims[name] for name in CPU if name in claims]
    if enforced and (claim or not on_cpu):
        # A delegate of another name may be the backend's own.
        said = claim or (others[0] if others else None)
        if said and said.backend not in (options.delegate, UNKNOWN):
            raise _refusal(source, options, said.sentence, "another ran")
        flag = "the program was to end if an operator stays on the CPU"
        return Proof(
            options.asked, options.delegate, True,
            said.sentence if said else flag,
            *((said.nodes, said.of_nodes, said.pieces) if said else ()),
        )
    for said in [*others, *([] if options.on_cpu else on_cpu)]:
        raise _refusal(source, options, said.sentence, "another ran")
    return Proof(
        options.asked, UNKNOWN, False,
        "the program does not say what ran the model",
    )


def _without_delegate(
    claims: dict[str, _Claim],
    others: Sequence[_Claim],
    options: Options,
    source: str,
) -> Proof:
    applied = [
        claim for name, claim in claims.items() if name not in (NONE, UNKNOWN)
    ]
    for claim in [*others, *applied]:
        if not claim.nothing:
            raise _refusal(
                source, options, claim.sentence, "a delegate was applied"
            )
    known = claims.get(NONE)
    return Proof(
        options.asked, NONE, known is not None,
        known.sentence if known else "the program names no delegate",
        0 if known else None, known.of_nodes if known else None,
        0 if known else None,
    )


def _of_claim(
    claim: _Claim,
    others: Sequence[_Claim],
    options: Options,
    source: str,
) -> Proof:
    if claim.nothing:
        return _nothing(claim, options, source)
    for other in others:
        if other.backend not in (*CPU, UNKNOWN):
            raise _refusal(
                source, options, other.sentence, "another ran beside it"
            )
    if not claim.whole and not options.on_cpu and not options.allow_partial:
        raise _refusal(source, options, claim.sentence, _PART, _LEAVE)
    names = [claim.backend]
    if options.on_cpu:  # one CPU delegate may leave operators to the next
        names += [x.backend for x in others if x.backend != UNKNOWN]
    return Proof(
        options.asked, "+".join(sorted(names)), True, claim.sentence,
        claim.nodes, claim.of_nodes, claim.pieces,
    )


def _nothing(claim: _Claim, options: Options, source: str) -> Proof:
    """What it means that the asked delegate takes no operator."""
    if not (options.on_cpu and options.allow_partial):
        raise _refusal(
            source, options, claim.sentence, "nothing ran there",
            _LEAVE if options.on_cpu else "",
        )
    return Proof(
        options.asked, NONE, True, claim.sentence, 0, claim.of_nodes, 0
    )


def _with_interface(proof: Proof, lines: Sequence[str]) -> str:
    """Adds which of the GPU's interfaces it was."""
    if proof.ran != "gpu":
        return proof.ran
    found = [m[1] for line in lines if (m := _API.match(line))]
    if not found and (named := _LITERT.search(proof.sentence)):
        found = [_INTERFACES[named[1]]]
    if not found and any(line.startswith(_FALL_BACK) for line in lines):
        found = ["OpenGL"]
    if not found and any(map(_WEBGPU.match, lines)):
        found = ["WebGPU"]
    return f"gpu ({found[-1]})" if found else proof.ran
