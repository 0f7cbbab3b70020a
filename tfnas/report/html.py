"""The report as one self-contained HTML page."""

import base64
import html
import json
import statistics
import struct
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfnas import artifacts
from tfnas.fields import Fields
from tfnas.report import files
from tfnas.report import plots
from tfnas.report import style
from tfnas.report import summary
from tfnas.report import workdir as workdirs
from tfnas.report.summary import Table
from tfnas.report.workdir import WITH_TABLE
from tfnas.report.workdir import Run
from tfnas.results import Measurement

_SLOWEST = 8
# What the tiles repeat from the headline table: its columns by their start.
_TILES = (
    "accuracy TFLite int8",
    "measured",
    "size int8",
    "shared-weight",
    "predicted cost",
    "params",
    "MAdds",
)


def write(workdir: str | Path) -> Path:
    """Writes `report.html` and `plots/*.png` into a workdir.

    Args:
        workdir: The workdir of `tfnas-run` or of a single search. Sections
            without data are left out.

    Returns:
        The path of the page.

    Raises:
        ArtifactError: If the result is missing, or a file is unreadable.
    """
    run = workdirs.read(workdir)
    pictures: dict[str, bytes] = {}
    for name, draw in plots.PLOTS.items():
        png = plots.render(draw, run)
        if png is not None:
            pictures[name] = png
            artifacts.write_bytes(run.path / "plots" / f"{name}.png", png)
    path = run.path / "report.html"
    artifacts.write_text(path, page(run, pictures))
    return path


def page(run: Run, pictures: Mapping[str, bytes]) -> str:
    """Returns the whole page as text.

    Args:
        run: What to show.
        pictures: PNGs by their names in `plots.PLOTS`.
    """
    parts = [
        _header(run),
        *(_verdict(verdict) for verdict in summary.verdicts(run)),
        _tiles(run),
        _headline(run),
        _files(run),
        _accuracy_latency(pictures),
        _architecture(run, pictures),
        _predicted_measured(run, pictures),
        _search(pictures),
        _training(pictures),
        _export(run),
        _lut(run),
        _environment(run),
    ]
    title = html.escape(f"tfnas: {run.algorithm} in {run.space}")
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{style.CSS}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _header(run: Run) -> str:
    facts = [f"seed {run.seed}"]
    if run.target is not None:
        facts.insert(0, f"target {summary.cost(run.target, run.unit)}")
    if run.lut:
        facts.append(f"{len(run.lut.rows)} operators measured")
    if run.baseline:
        facts.append(f"{len(run.baseline)} random architectures scored")
    chips = "".join(f"<span>{html.escape(fact)}</span>" for fact in facts)
    title = html.escape(f"{run.algorithm} in {run.space}")
    return (
        '<header><div class="eyebrow">tfnas report</div>'
        f'<h1>{title}</h1><div class="facts">{chips}</div></header>'
    )


def _verdict(verdict: summary.Verdict) -> str:
    kind = "verdict good" if verdict.good else "verdict"
    return f'<p class="{kind}">{html.escape(verdict.text)}</p>'


def _tiles(run: Run) -> str:
    table = summary.headline(run)
    figures = dict(zip(table.titles, table.rows[0], strict=True))
    return '<div class="tiles">{}</div>'.format(
        "".join(
            f'<div class="tile"><span>{html.escape(title)}</span>'
            f"<b>{html.escape(figure)}</b></div>"
            for title, figure in figures.items()
            if title.startswith(_TILES)
        )
    )


def _headline(run: Run) -> str:
    note = (
        "Accuracy is on the test set, which no search saw. The error is that "
        "of the prediction; negative is too low."
        if run.networks
        else "The networks are not derived yet: accuracy is that of the shared "
        "weights on validation images."
    )
    table = _table(summary.headline(run), "headline")
    return _section("Searched against random", note, table)


def _files(run: Run) -> str:
    found = files.of_result(run)
    if not found:
        return ""
    inside = "\n".join(str(path.relative_to(run.path)) for path in found)
    typed = "\n".join(files.next_commands(run))
    return _section(
        "Files",
        "In the workdir, the network found. The models carry labels and "
        "normalisation: programs need not be told how to feed them.",
        f"<pre>{html.escape(inside)}</pre><p>What to type next:</p>"
        f"<pre>{html.escape(typed)}</pre>",
    )


def _accuracy_latency(pictures: Mapping[str, bytes]) -> str:
    return _section(
        "Accuracy against cost",
        "Every architecture scored with the same shared weights: what the "
        "search would have derived after each epoch, and random ones.",
        _image(pictures, "accuracy_latency"),
    )


def _architecture(run: Run, pictures: Mapping[str, bytes]) -> str:
    note = (
        "Input on the left. Taller boxes are wider (the number on top is the "
        "width), darker ones have larger kernels; e is the expansion, s2 "
        "halves the resolution below."
    )
    if run.lut:
        note += " The small figures are the table's milliseconds."
    return _section("Architecture", note, _image(pictures, "architecture"))


def _predicted_measured(run: Run, pictures: Mapping[str, bytes]) -> str:
    table_nets = [m for m in run.measurements if m.role == WITH_TABLE]
    derived = [m for m in run.measurements if m.role != WITH_TABLE]
    note = (
        _bias("of the derived networks", derived)
        + _bias("of networks measured with the table", table_nets)
        + "Negative is predicted too low."
    )
    rows = [
        (
            f"{m.role} {m.arch_id[:8]}",
            m.dtype,
            summary.latency(m.predicted_ms),
            summary.latency(m.measured_ms),
            summary.signed_percent(m.error),
        )
        for m in run.measurements
    ]
    titles = ("network", "dtype", "predicted", "measured", "error")
    picture = _image(pictures, "predicted_measured")
    table = _table(Table(titles, tuple(rows)), "narrow") if rows else ""
    return _section(
        "Predicted against measured",
        note,
        f'<div class="beside">{picture}{table}</div>' if rows else "",
    )


def _bias(of: str, measurements: Sequence[Measurement]) -> str:
    errors = [m.error for m in measurements if m.error is not None]
    if not errors:
        return ""
    return (
        f"Bias {of}: {summary.signed_percent(statistics.mean(errors))} on "
        f"average of {len(errors)}, from {summary.signed_percent(min(errors))} "
        f"to {summary.signed_percent(max(errors))}. "
    )


def _search(pictures: Mapping[str, bytes]) -> str:
    return _section(
        "Search",
        "Weight steps train the shared weights, architecture steps move the "
        "choice. The expected cost is that of the whole distribution, the "
        "derived one that of its best path.",
        _image(pictures, "search_curves"),
    )


def _training(pictures: Mapping[str, bytes]) -> str:
    return _section(
        "Training the derived networks",
        "The same recipe for the searched and the random network. Dashed: "
        "training images.",
        _image(pictures, "training"),
    )


def _export(run: Run) -> str:
    rows = []
    for net in run.networks:
        ops = net.tflite_ops.get("int8", {})
        parity, agreement = net.parity_max_abs, net.argmax_agreement_int8
        if not ops and parity is None and agreement is None:
            continue
        operators = sorted(ops.items(), key=lambda item: -item[1])
        rows.append(
            (
                f"{net.role} {net.arch_id[:8]}",
                summary.UNKNOWN if parity is None else f"{parity:.1e}",
                summary.percent(agreement),
                summary.count(net.delegate_nodes),
                ", ".join(f"{name} {n:.0f}" for name, n in operators),
            )
        )
    titles = (
        "network",
        "Keras - TFLite float, largest difference",
        "int8 agrees with float",
        "delegate nodes",
        "operators of the int8 file",
    )
    table = _table(Table(titles, tuple(rows)), "wrap") if rows else ""
    return _section(
        "Export",
        "One delegate node means that the whole network runs in one piece.",
        table,
    )


def _lut(run: Run) -> str:
    if run.lut is None:
        return ""
    ordered = sorted(run.lut.rows.items(), key=lambda item: item[1].latency_ms)
    latencies = [row.latency_ms for _, row in ordered]
    spreads = [row.spread for _, row in ordered]
    facts = {
        "rows": f"{len(ordered)}",
        "fastest": summary.latency(latencies[0]),
        "median": summary.latency(statistics.median(latencies)),
        "slowest": summary.latency(latencies[-1]),
        "median spread": summary.percent(statistics.median(spreads)),
        "largest spread": summary.percent(max(spreads)),
        "calibration": "none: sums of rows read low",
        **_flat(run.lut.header),
    }
    if run.lut.calibration:
        fit = run.lut.calibration
        facts["calibration"] = (
            f"{fit.scale:.3f} x sum {1000 * fit.bias_ms:+.1f} us, from "
            f"{fit.nets} networks, residual {fit.residual_percent:.1f}%"
        )
    slowest = tuple(
        (key, summary.latency(row.latency_ms), summary.percent(row.spread))
        for key, row in ordered[: -_SLOWEST - 1 : -1]
    )
    return _section(
        "Latency table",
        "Every operator of the space, measured on the device: all that the "
        "search knows of it. The spread is between odd and even rounds.",
        _facts(facts)
        + "<details><summary>The slowest operators</summary>"
        + _table(Table(("operator", "latency", "spread"), slowest), "narrow")
        + "</details>",
    )


def _environment(run: Run) -> str:
    config = ""
    if run.config is not None:
        text = json.dumps(run.config, indent=2, ensure_ascii=False)
        config = (
            "<details><summary>config.json</summary>"
            f"<pre>{html.escape(text)}</pre></details>"
        )
    known = _flat(run.lut.header) if run.lut else {}
    bench = {k: v for k, v in run.bench.items() if known.get(k) != v}
    facts = {"seed": run.seed, **run.versions, **bench}
    return _section(
        "Environment",
        "The same seed, versions and table give the same architecture.",
        _facts(facts) + config,
    )


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    return Fields(dict(values), "header").flat()


def _section(title: str, note: str, content: str) -> str:
    """Returns a section, or nothing if there is no content."""
    if not content:
        return ""
    return (
        f"<section><h2>{html.escape(title)}</h2><p>{html.escape(note)}</p>"
        f"{content}</section>"
    )


def _image(pictures: Mapping[str, bytes], name: str) -> str:
    if name not in pictures:
        return ""
    png = pictures[name]
    # The header of a PNG holds its width; the page shows it at 100 dpi.
    (pixels,) = struct.unpack(">I", png[16:20])
    width = round(pixels * 100 / plots.DPI)
    data = base64.b64encode(png).decode("ascii")
    label = name.replace("_", " ")
    return (
        f'<div class="scroll"><img alt="{label}" width="{width}" '
        f'src="data:image/png;base64,{data}"></div>'
    )


def _table(table: Table, kind: str) -> str:
    head = "".join(f"<th>{html.escape(title)}</th>" for title in table.titles)
    rows = "".join(
        "<tr>{}</tr>".format(
            "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        )
        for row in table.rows
    )
    return (
        f'<div class="scroll"><table class="{kind}"><tr>{head}</tr>{rows}'
        "</table></div>"
    )


def _facts(facts: Mapping[str, str]) -> str:
    entries = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd></div>"
        for name, text in facts.items()
    )
    return f"<dl>{entries}</dl>"
