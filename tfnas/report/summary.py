"""What the numbers of a run say: the headline table and its verdict."""

import dataclasses
import math

from tfnas.errors import ArtifactError
from tfnas.report.workdir import Network
from tfnas.report.workdir import Run
from tfnas.results import Found

# The precisions of a derived network, in the order of the loop.
PRECISIONS = {
    "keras": "Keras float",
    "float32": "TFLite float",
    "int8": "TFLite int8",
}
# Networks whose costs differ by less than this count as equally fast.
SAME_LATENCY = 0.05
# A machine whose speed changes by less than this counts as steady.
_STEADY = 0.03
UNKNOWN = "-"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text: one title for each column, one row per network."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One sentence about the search; `good` if it speaks for the search."""

    good: bool
    text: str


def percent(fraction: float | None, digits: int = 2) -> str:
    """Returns 0.9722 as `97.22%`."""
    if fraction is None:
        return UNKNOWN
    return f"{100 * fraction:.{digits}f}%"


def signed_percent(fraction: float | None) -> str:
    """Returns -0.061 as `-6.1%`."""
    return UNKNOWN if fraction is None else f"{100 * fraction:+.1f}%"


def latency(latency_ms: float | None) -> str:
    """Returns a latency in ms, to the microsecond."""
    return UNKNOWN if latency_ms is None else f"{latency_ms:.3f} ms"


def count(value: float | None) -> str:
    """Returns a count as `251.33 M`, `48.2 k` or `960`."""
    if value is None:
        return UNKNOWN
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value / 1e3:.1f} k" if value >= 1e3 else f"{value:.0f}"


def size(size_bytes: float | None) -> str:
    """Returns a file size in kB (1000 bytes) or MB."""
    return UNKNOWN if size_bytes is None else f"{count(size_bytes)}B"


def cost(value: float | None, unit: str) -> str:
    """Returns the cost of a search in its unit."""
    if unit == "ms" or value is None:
        return latency(value)
    return count(value * 1e6) if unit == "madds_m" else f"{value:.4g} {unit}"


def headline(run: Run) -> Table:
    """Returns the table of the searched against the random networks.

    After a search alone, without derived networks, it shows the result and
    the best random architecture that costs no more.
    """
    columns = _derived_columns(run) if run.networks else _search_columns(run)
    known = [c for c in columns if any(text != UNKNOWN for text in c[1:])]
    titles, *rows = zip(*known, strict=True)
    return Table(titles, tuple(rows))


def _derived_columns(run: Run) -> list[list[str]]:
    nets = run.networks
    latencies = [run.latency(net) for net in nets]
    dtype = next((f" ({m.dtype})" for m in latencies if m.dtype), "")
    return [
        ["network", *(f"{net.role} {net.arch_id[:8]}" for net in nets)],
        *(
            [f"accuracy {title}", *(percent(n.accuracy.get(p)) for n in nets)]
            for p, title in PRECISIONS.items()
        ),
        [f"predicted{dtype}", *(latency(m.predicted_ms) for m in latencies)],
        [f"measured{dtype}", *(latency(m.measured_ms) for m in latencies)],
        ["error", *(signed_percent(m.error) for m in latencies)],
        ["size float", *(size(n.size_bytes.get("float32")) for n in nets)],
        ["size int8", *(size(n.size_bytes.get("int8")) for n in nets)],
        ["params", *(count(n.params) for n in nets)],
        ["MAdds", *(count(n.madds) for n in nets)],
    ]


def _search_columns(run: Run) -> list[list[str]]:
    shown = [run.archs[0]]
    rivals = _affordable(run)
    if rivals:
        shown.append(max(rivals, key=lambda c: c.score or 0))
    return [
        ["network", *(f"{c.role} {c.arch.id[:8]}" for c in shown)],
        ["shared-weight accuracy", *(percent(c.score) for c in shown)],
        ["predicted cost", *(cost(c.cost, run.unit) for c in shown)],
        ["params", *(count(_counts(c, "params")) for c in shown)],
        ["MAdds", *(count(_counts(c, "madds")) for c in shown)],
    ]


def _counts(found: Found, name: str) -> float | None:
    try:
        return getattr(found.counts, name)
    except ArtifactError:  # of operators that another package registers
        return None


def verdicts(run: Run) -> list[Verdict]:
    """Returns what the numbers say about the search against chance."""
    found = [v for v in (_trained(run), _shared(run)) if v is not None]
    found = found or [
        Verdict(
            False,
            "There is no random baseline here, so nothing shows whether the "
            "search beats chance.",
        )
    ]
    machine = _machine(run)
    return found if machine is None else [*found, machine]


def _machine(run: Run) -> Verdict | None:
    """Says whether the machine changed between the table and the networks."""
    if run.slowdown is None:
        return None
    off = run.slowdown - 1
    if abs(off) <= _STEADY:
        return Verdict(
            True,
            "The machine was as fast beside the networks as beside the table "
            f"({signed_percent(off)} for the reference block).",
        )
    return Verdict(
        False,
        "The reference block took "
        f"{signed_percent(off)} beside the networks against beside the "
        "table: about so much of the error is the machine's, not the "
        "table's.",
    )


def _trained(run: Run) -> Verdict | None:
    """Compares the test accuracy of the trained networks."""
    searched = next((n for n in run.networks if n.role == "searched"), None)
    if searched is None:
        return None
    rivals = [n for n in run.networks if n.role == "random"]
    shared = [
        p
        for p in PRECISIONS
        if all(p in net.accuracy for net in (searched, *rivals))
    ]
    if not rivals or not shared:
        return None
    # What ships decides: the last precision is int8 where there is one.
    rival = max(rivals, key=lambda net: net.accuracy[shared[-1]])
    name = _rival_name(run, searched, rival, len(rivals))
    figures = ", ".join(
        f"{percent(searched.accuracy[p])} against "
        f"{percent(rival.accuracy[p])} ({PRECISIONS[p]})"
        for p in shared
    )
    wins = [p for p in shared if searched.accuracy[p] > rival.accuracy[p]]
    if not wins:
        return Verdict(
            False,
            f"The search gained nothing here: {name} is as good or better. "
            f"Test accuracy, searched against random: {figures}.",
        )
    if len(wins) < len(shared):
        return Verdict(
            False,
            f"No clear winner: {name} is as good or better in "
            f"{len(shared) - len(wins)} of {len(shared)} comparisons. "
            f"Test accuracy, searched against random: {figures}.",
        )
    noise = _noise(searched, rival, shared[-1])
    return Verdict(
        not noise,
        f"The searched network beats {name}. "
        f"Test accuracy, searched against random: {figures}.{noise}",
    )


def _rival_name(
    run: Run, searched: Network, rival: Network, rivals: int
) -> str:
    article = "a" if rivals == 1 else f"the best of {rivals}"
    noun = "random network" + ("s" if rivals > 1 else "")
    ours, theirs = run.latency(searched), run.latency(rival)
    if ours.measured_ms and theirs.measured_ms:
        ratio = theirs.measured_ms / ours.measured_ms - 1
        kind = "measured"
    elif ours.predicted_ms and theirs.predicted_ms:
        ratio = theirs.predicted_ms / ours.predicted_ms - 1
        kind = "predicted"
    else:
        return f"{article} {noun}"
    if abs(ratio) <= SAME_LATENCY:
        return f"{article} {noun} of the same {kind} latency"
    pace = "slower" if ratio > 0 else "faster"
    return (
        f"{article} {noun} ({percent(abs(ratio), 0)} {pace} than it, {kind})"
    )


def _noise(searched: Network, rival: Network, precision: str) -> str:
    """Returns a warning if the test set is too small for the lead."""
    images = searched.test_images
    if not images:
        return ""
    ours, theirs = searched.accuracy[precision], rival.accuracy[precision]
    variance = (ours * (1 - ours) + theirs * (1 - theirs)) / images
    noise = 2 * math.sqrt(variance)
    if ours - theirs >= noise:
        return ""
    return (
        f" But {images:.0f} test images cannot tell this lead from chance: "
        f"in {PRECISIONS[precision]} it is {100 * (ours - theirs):.2f} points, "
        f"two standard errors are {100 * noise:.2f}."
    )


def _affordable(run: Run) -> list[Found]:
    """Returns the scored baseline that is about as cheap as the result."""
    limit = run.archs[0].cost * (1 + SAME_LATENCY)
    scored = [c for c in run.baseline if c.score is not None]
    return [c for c in scored if c.cost <= limit]


def _shared(run: Run) -> Verdict | None:
    """Compares the scores that the shared weights gave."""
    score = run.archs[0].score
    if score is None or not run.baseline:
        return None
    rivals = _affordable(run)
    if not rivals:
        return Verdict(
            False,
            f"All {len(run.baseline)} random architectures cost more than the "
            "searched one, so their scores do not compare.",
        )
    as_good = sum((c.score or 0) >= score for c in rivals)
    return Verdict(
        as_good == 0,
        f"With the shared weights, {as_good or 'none'} of {len(rivals)} random "
        f"architectures that cost the same (within {SAME_LATENCY:.0%}) or less "
        f"score as high as the searched one: {percent(score)} on validation "
        "images.",
    )
