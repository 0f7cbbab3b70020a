"""The plots of a report, as matplotlib figures without global state."""

import io
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfnas.report import diagram
from tfnas.report import palette
from tfnas.report.workdir import Record
from tfnas.report.workdir import Run

DPI = 160
_UNITS = {"ms": "latency (ms)", "madds_m": "MAdds (millions)"}
_PHASES = {
    "weights": "weights",
    "arch": "architecture",
    "valid": "validation",
    "train": "training",
    "test": "test",
}


def render(draw: Callable[[Run], Figure | None], run: Run) -> bytes | None:
    """Draws one plot in the report's style.

    Args:
        draw: One of the functions of `PLOTS`.
        run: The run to show.

    Returns:
        A PNG, or None if the run has nothing for this plot.
    """
    with matplotlib.rc_context(palette.STYLE):
        figure = draw(run)
        if figure is None:
            return None
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=DPI)
        return png.getvalue()


def accuracy_latency(run: Run) -> Figure | None:
    """Draws every scored architecture by its predicted cost."""
    scored = {
        c.arch.id: (c.cost, c.score)
        for c in (*run.baseline, *run.archs)
        if c.score is not None
    }
    if not scored:
        return None
    figure, (axes,) = _figure(1, width=10.6, height=4.3)
    _history_points(figure, axes, run)
    _scatter(
        axes, scored, [c.arch.id for c in run.baseline], "random baseline",
        color="none", s=42, edgecolor=palette.RANDOM, linewidth=1.4, zorder=3,
    )
    front = sorted(scored[name] for name in run.pareto if name in scored)
    if len(front) > 1:
        axes.plot(
            *zip(*front, strict=True), color=palette.SOFT, linewidth=1.2,
            drawstyle="steps-post", label="Pareto front", zorder=2,
        )
    trained = [net.arch_id for net in run.networks if net.role == "random"]
    _scatter(
        axes, scored, trained, "random, trained", marker="D", s=80, zorder=4,
        color=palette.RANDOM, edgecolor="white",
    )
    _scatter(
        axes, scored, [run.archs[0].arch.id], "searched", marker="*", s=300,
        zorder=5, color=palette.SEARCHED, edgecolor="white",
    )
    if run.target is not None:
        axes.axvline(run.target, label="target", **palette.TARGET_LINE)
    axes.set_xlabel(f"predicted {_unit(run)}")
    axes.set_ylabel("accuracy with shared weights (%)")
    axes.margins(0.06)
    axes.yaxis.set_major_formatter(_as_percent)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _history_points(figure: Figure, axes: Axes, run: Run) -> None:
    derived = [
        (entry["cost"], entry["accuracy"], entry["epoch"])
        for entry in run.history
        if None not in (entry["cost"], entry["accuracy"], entry["epoch"])
    ]
    if not derived:
        return
    cost, accuracy, epoch = zip(*derived, strict=True)
    axes.plot(cost, accuracy, color=palette.PALE, linewidth=0.8, zorder=1)
    points = axes.scatter(
        cost, accuracy, c=epoch, cmap=palette.EPOCHS, s=30, zorder=3,
        label="derived, by epoch",
    )
    if len(set(epoch)) > 1:
        beside = axes.inset_axes((1.03, 0.12, 0.15, 0.03))
        bar = figure.colorbar(points, cax=beside, orientation="horizontal")
        bar.set_label("epoch")
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.set_xticks([min(epoch), max(epoch)])


def search_curves(run: Run) -> Figure | None:
    """Draws loss and accuracy of the phases, and cost against the target."""
    losses = _by_phase(run.log, "loss")
    accuracies = _by_phase(run.log, "accuracy")
    costs = {
        label: [
            (entry["epoch"], entry[name])
            for entry in run.history
            if entry["epoch"] is not None and entry[name] is not None
        ]
        for name, label in (("expected_cost", "expected"), ("cost", "derived"))
    }
    panels = [bool(losses), bool(accuracies), any(costs.values())]
    if not any(panels):
        return None
    figure, axes = _figure(sum(panels), 3.5 * sum(panels), height=3.1)
    remaining = iter(axes)
    if losses:
        _curves(next(remaining), "loss", losses)
    if accuracies:
        _curves(next(remaining), "accuracy", accuracies)
    if any(costs.values()):
        _cost_curve(next(remaining), costs, run)
    return figure


def _cost_curve(axes: Axes, costs: dict[str, list[tuple]], run: Run) -> None:
    marks = {"expected": "o-", "derived": "o"}
    colors = {
        "expected": palette.PHASES["arch"],
        "derived": palette.SEARCHED,
    }
    for label, points in costs.items():
        if points:
            axes.plot(
                *zip(*points, strict=True), marks[label], label=label,
                color=colors[label], markersize=3.5,
            )
    if run.target is not None:
        axes.axhline(run.target, label="target", **palette.TARGET_LINE)
    _finish(axes, f"predicted {_unit(run)}")


def training(run: Run) -> Figure | None:
    """Draws how the derived networks trained, one colour for each role."""
    fields = [
        field
        for field in ("loss", "accuracy")
        if any(_by_phase(net.log, field) for net in run.networks)
    ]
    if not fields:
        return None
    figure, panels = _figure(len(fields), 5.3 * len(fields), height=3.1)
    for axes, field in zip(panels, fields, strict=True):
        for net in run.networks:
            for phase, points in _by_phase(net.log, field).items():
                axes.plot(
                    *zip(*points, strict=True),
                    "--" if phase == "train" else "-",
                    color=palette.role(net.role),
                    linewidth=1.0 if phase == "train" else 2.0,
                    label=f"{net.role}, {_PHASES[phase]}",
                )
        _finish(axes, field)
    return figure


def predicted_measured(run: Run) -> Figure | None:
    """Draws the predicted against the measured latency of whole networks."""
    known = [m for m in run.measurements if m.error is not None]
    if not known:
        return None
    figure, (axes,) = _figure(1, width=5.0, height=4.2)
    ends = [ms for m in known for ms in (m.predicted_ms, m.measured_ms) if ms]
    low, high = 0.85 * min(ends), 1.12 * max(ends)
    axes.fill_between(
        [low, high], [0.9 * low, 0.9 * high], [1.1 * low, 1.1 * high],
        color="#f1f5f9", linewidth=0, label="within 10%",
    )
    axes.plot([low, high], [low, high], label="exact", **palette.TARGET_LINE)
    markers = {"int8": "o", "float32": "s"}
    for role, dtype in dict.fromkeys((m.role, m.dtype) for m in known):
        chosen = [m for m in known if (m.role, m.dtype) == (role, dtype)]
        axes.scatter(
            [m.measured_ms or 0 for m in chosen],
            [m.predicted_ms or 0 for m in chosen],
            s=64, color=palette.role(role), edgecolor="white", zorder=3,
            marker=markers.get(dtype, "^"), label=f"{role}, {dtype}",
        )
    axes.set(xlim=(low, high), ylim=(low, high))
    axes.set_xlabel("measured latency (ms)")
    axes.set_ylabel("predicted latency (ms)")
    axes.legend(loc="upper left")
    return figure


def architectures(run: Run) -> Figure | None:
    """Draws the networks as diagrams, the searched one first."""
    drawn = [
        (f"{net.role} {net.arch.id}", net.arch)
        for net in run.networks or run.archs[:1]
        if net.arch is not None
    ]
    return diagram.draw(drawn, run.lut) if drawn else None


# File name in plots/ -> what draws it.
PLOTS: dict[str, Callable[[Run], Figure | None]] = {
    "accuracy_latency": accuracy_latency,
    "architecture": architectures,
    "search_curves": search_curves,
    "training": training,
    "predicted_measured": predicted_measured,
}


def _figure(
    panels: int, width: float, height: float
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [figure.add_subplot(1, panels, i + 1) for i in range(panels)]


def _unit(run: Run) -> str:
    return _UNITS.get(run.unit, run.unit)


def _as_percent(fraction: float, position: float) -> str:
    del position
    return f"{100 * fraction:g}"


def _scatter(
    axes: Axes,
    scored: dict[str, tuple],
    names: Iterable[str],
    label: str,
    **style: Any,
) -> None:
    points = [scored[name] for name in names if name in scored]
    if points:
        axes.scatter(*zip(*points, strict=True), label=label, **style)


def _by_phase(
    log: Iterable[Record], field: str
) -> dict[str, list[tuple[float, float]]]:
    """Returns the points (progress, value) of each phase that has some."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for record in log:
        value = getattr(record, field)
        if value is not None and record.phase in _PHASES:
            curves.setdefault(record.phase, []).append((record.progress, value))
    return curves


def _curves(axes: Axes, field: str, curves: dict[str, list[tuple]]) -> None:
    for phase, points in curves.items():
        # A single point would be an invisible line.
        axes.plot(
            *zip(*points, strict=True), "o-" if len(points) < 16 else "-",
            label=_PHASES[phase], color=palette.PHASES[phase], markersize=3.5,
        )
    _finish(axes, field)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(
        MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    )
    if title == "accuracy":
        axes.set_title("accuracy (%)")
        axes.yaxis.set_major_formatter(_as_percent)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
