"""The report: what it shows, what it says, what it survives."""

import json
import re
import subprocess
import sys

import pytest

from tfnas import report
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ArtifactError
from tfnas.report import diagram

PLOTS = {
    "accuracy_latency",
    "architecture",
    "predicted_measured",
    "search_curves",
    "training",
}
HOSTILE = "<script>alert('x')</script>\x1b[31m $\\frac{ \"&"


def _edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def _edit_derived(workdir, role, change):
    for path in workdir.glob("derived/*/result.json"):
        if json.loads(path.read_text())["role"] == role:
            _edit(path, change)


def _sections(page):
    return re.findall("<h2>(.*?)</h2>", page)


def _words(text):
    return " ".join(text.split())


def test_run_has_every_section_and_plot(run_workdir):
    path = report.write(run_workdir)
    assert path == run_workdir / "report.html"
    page = path.read_text()
    assert _sections(page) == [
        "Searched against random",
        "Accuracy against cost",
        "Architecture",
        "Predicted against measured",
        "Search",
        "Training the derived networks",
        "Export",
        "Latency table",
        "Environment",
    ]
    plots = {p.stem: p.read_bytes() for p in run_workdir.glob("plots/*.png")}
    assert set(plots) == PLOTS
    assert all(png.startswith(b"\x89PNG") for png in plots.values())
    for text in ("98.33%", "0.856 ms", "-7.0%", "262.9 kB", "2.21.0", "digits"):
        assert text in page


def test_page_is_self_contained(run_workdir):
    page = report.write(run_workdir).read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == len(PLOTS)
    assert all(s.startswith("data:image/png;base64,") for s in sources)
    assert not re.search("https?://|<script|<link|@import|url\\(", page)


def test_strings_from_files_are_escaped(run_workdir):
    def poison(value):
        for name in ("algorithm", "space", "seed"):
            value[name] = HOSTILE
        value["versions"][HOSTILE] = HOSTILE

    def poison_arch(arch):
        arch["blocks"][1]["op"] = HOSTILE

    def poison_bench(bench):
        bench["device"][HOSTILE] = HOSTILE
        for model in bench["models"]:
            model["role"] = model["dtype"] = HOSTILE

    _edit(run_workdir / "search" / "result.json", poison)
    _edit(run_workdir / "config.json", lambda v: v.update({HOSTILE: HOSTILE}))
    _edit(run_workdir / "bench" / "bench.json", poison_bench)
    _edit_derived(
        run_workdir,
        "random",
        lambda v: v.update(role=HOSTILE, tflite_ops={"int8": {HOSTILE: 1}}),
    )
    for path in [*run_workdir.glob("derived/*/arch.json")]:
        _edit(path, poison_arch)
        own = Arch.load(path).id
        result = path.with_name("result.json")
        _edit(result, lambda v, own=own: v.update(arch_id=own))
        path.parent.rename(path.parent.with_name(own))
    page = report.write(run_workdir).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page + report.terminal_table(run_workdir)


def test_search_alone_shows_what_it_has(search_workdir):
    page = report.write(search_workdir).read_text()
    assert _sections(page) == [
        "Searched against random",
        "Accuracy against cost",
        "Architecture",
        "Search",
        "Environment",
    ]
    assert "shared-weight accuracy" in report.terminal_table(search_workdir)


@pytest.mark.parametrize(
    ("missing", "section"),
    [
        ("lut/table.json", "Latency table"),
        ("bench/bench.json", None),
        ("search/log.jsonl", None),
        ("config.json", None),
        ("derived/*/train/log.jsonl", "Training the derived networks"),
        ("derived/*/arch.json", "Architecture"),
        ("derived/*/result.json", "Export"),
    ],
)
def test_missing_file_leaves_its_section_out(run_workdir, missing, section):
    for path in run_workdir.glob(missing):
        path.unlink()
    page = report.write(run_workdir).read_text()
    assert len(_sections(page)) >= 6
    assert section not in _sections(page)
    report.terminal_table(run_workdir)


def test_barest_result_is_enough_even_of_operators_of_others(tmp_path):
    arch = Arch((Block("theirs", 3, 4), Block("classifier", 4, 10)), (8, 8, 3),
                10)
    archs = [{"id": arch.id, "arch": arch.to_json(), "cost": 1}]
    value = {"format": "tfnas-result/1", "archs": archs, "baseline": []}
    (tmp_path / "result.json").write_text(json.dumps(value))
    page = report.write(tmp_path).read_text()
    assert [p.stem for p in tmp_path.glob("plots/*")] == ["architecture"]
    assert page.count("<img") == 1
    assert "no random baseline" in report.terminal_table(tmp_path)


def test_network_that_is_not_the_one_of_its_id_is_refused(search_workdir):
    def change(result):
        result["archs"][0]["arch"]["blocks"][1]["k"] = 7

    _edit(search_workdir / "result.json", change)
    with pytest.raises(ArtifactError, match=r"archs\[0\].id` must be that of"):
        report.write(search_workdir)


def test_architecture_of_another_network_is_refused(run_workdir):
    path, other = sorted(run_workdir.glob("derived/*/arch.json"))
    path.write_text(other.read_text())
    with pytest.raises(ArtifactError, match="arch_id` must be that of its"):
        report.write(run_workdir)


def test_no_result_is_refused_by_name(tmp_path):
    with pytest.raises(ArtifactError, match="result.json"):
        report.write(tmp_path)
    (tmp_path / "search").mkdir()
    with pytest.raises(ArtifactError, match="search.result.json"):
        report.terminal_table(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("search/result.json", {"format": "tfnas-result/9"}, "format"),
        ("search/result.json", {"archs": []}, "archs"),
        ("search/result.json", {"archs": [7]}, "archs.0."),
        ("search/result.json", {"target": "fast"}, "target"),
        ("bench/bench.json", {"models": {}}, "models"),
        ("lut/table.json", {"rows": []}, "rows"),
        ("derived/*/result.json", {"arch_id": "0" * 12}, "arch_id"),
        ("derived/*/result.json", {"params": -1}, "params"),
        (
            "derived/*/result.json", {"accuracy": {"int8": 7.0}},
            "accuracy.int8",
        ),
        (
            "derived/*/result.json", {"tflite_ops": {"int8": {"ADD": -1}}},
            "tflite_ops.int8.ADD",
        ),
        (
            "bench/bench.json", {"models": [{
                "measured_ms": -1, "spread": 0, "rounds": 1,
            }]}, r"models\[0\].measured_ms",
        ),
    ],
)
def test_wrong_field_is_named(run_workdir, file, change, named):
    path = min(run_workdir.glob(file))
    _edit(path, lambda value: value.update(change))
    with pytest.raises(ArtifactError, match=f"{re.escape(str(path))}.*{named}"):
        report.write(run_workdir)
    assert not (run_workdir / "report.html").exists()


def test_says_that_the_search_won(run_workdir):
    page = report.write(run_workdir).read_text()
    for text in (page, _words(report.terminal_table(run_workdir))):
        assert (
            "The searched network beats a random network of the same measured "
            "latency."
        ) in text
        assert "98.33% against 96.67% (TFLite int8)" in text
    assert 'class="verdict good"' in page


def test_says_that_the_search_gained_nothing(run_workdir):
    equal = {"keras": 0.99, "float32": 0.9861, "int8": 0.9833}
    _edit_derived(run_workdir, "random", lambda v: v.update(accuracy=equal))
    page = report.write(run_workdir).read_text()
    for text in (page, _words(report.terminal_table(run_workdir))):
        assert (
            "The search gained nothing here: a random network of the same "
            "measured latency is as good or better."
        ) in text
        assert "98.33% against 98.33% (TFLite int8)" in text


def test_says_that_there_is_no_clear_winner(run_workdir):
    mixed = {"keras": 0.99, "float32": 0.97, "int8": 0.97}
    _edit_derived(run_workdir, "random", lambda v: v.update(accuracy=mixed))
    text = _words(report.terminal_table(run_workdir))
    assert "No clear winner" in text
    assert "as good or better in 1 of 3 comparisons" in text


def test_says_that_the_lead_is_within_chance(run_workdir):
    for role in ("searched", "random"):
        _edit_derived(run_workdir, role, lambda v: v.update(test_images=360))
    text = _words(report.terminal_table(run_workdir))
    # 2 sqrt((0.9833 * 0.0167 + 0.9667 * 0.0333) / 360) = 0.0232
    assert "360 test images cannot tell this lead from chance" in text
    assert "it is 1.66 points, two standard errors are 2.32" in text


def test_says_when_the_random_network_is_not_as_fast(run_workdir):
    def slow(bench):
        for model in bench["models"]:
            if model["role"] == "random":
                model["measured_ms"] *= 1.2

    _edit(run_workdir / "bench" / "bench.json", slow)
    text = _words(report.terminal_table(run_workdir))
    assert "a random network (23% slower than it, measured)" in text


def test_says_how_many_random_architectures_score_as_high(search_workdir):
    def raise_scores(result):
        for entry in result["baseline"]:
            entry["score"] += 0.05

    path = search_workdir / "result.json"
    result = json.loads(path.read_text())
    searched = result["archs"][0]
    cheap = [
        entry["score"]
        for entry in result["baseline"]
        if entry["cost"] <= 1.05 * searched["cost"]
    ]
    before = _words(report.terminal_table(search_workdir))
    assert f"none of {len(cheap)} random architectures" in before
    _edit(path, raise_scores)
    as_good = sum(score + 0.05 >= searched["score"] for score in cheap)
    assert as_good > 0
    after = _words(report.terminal_table(search_workdir))
    assert f"{as_good} of {len(cheap)} random architectures" in after


def test_page_and_terminal_say_where_the_files_are_and_what_to_type(
    run_workdir
):
    assert report.next_steps(run_workdir) == ""
    result = json.loads((run_workdir / "search" / "result.json").read_text())
    folder = run_workdir / "derived" / result["archs"][0]["id"]
    for name in ("model.keras", "model_int8.tflite"):
        (folder / name).touch()
    said = report.next_steps(run_workdir)
    assert f"  {folder / 'model_int8.tflite'}" in said.splitlines()
    assert f"tfnas-evaluate --data=digits --model={folder}" in said
    page = report.write(run_workdir).read_text()
    assert "Files" in _sections(page)
    assert f"derived/{folder.name}/model.keras" in page
    assert f"tflite-bench {folder / 'model_int8.tflite'}" in page


def test_terminal_table_fits_eighty_columns(run_workdir):
    lines = report.terminal_table(run_workdir).splitlines()
    assert max(map(len, lines)) <= 80
    titles = [line.split("  ")[0] for line in lines]
    for title in (
        "accuracy Keras float",
        "accuracy TFLite float",
        "accuracy TFLite int8",
        "predicted (int8)",
        "measured (int8)",
        "error",
        "size float",
        "size int8",
        "params",
        "MAdds",
    ):
        assert title in titles


def test_diagram_halves_the_resolution_and_prices_the_blocks(run_workdir):
    arch = Arch.load(next(run_workdir.glob("derived/*/arch.json")))
    lut = LatencyTable.load(run_workdir / "lut" / "table.json")
    drawn = diagram.boxes(arch, lut)
    assert [box.resolution[0] for box in drawn[:4]] == [32, 32, 16, 8]
    assert drawn[-1].resolution == (1, 1)
    total_ms = sum(box.latency_ms for box in drawn)
    assert total_ms == pytest.approx(lut.latency_ms(arch))


def test_diagram_draws_long_networks_of_unknown_ops():
    blocks = tuple(
        Block("fold_in_time", 8 << i // 8, 8 << (i + 1) // 8, 1, 0, {"k": [3]})
        for i in range(40)
    )
    arch = Arch(blocks, (225, 225, 8), 10)
    figure = diagram.draw([("net", arch)], None)
    boxes = [len(axes.patches) for axes in figure.axes]
    assert boxes == [16, 16, 8]


def test_program_writes_the_page_without_tensorflow(run_workdir):
    code = (
        "import sys\n"
        "from tfnas.bin import report\n"
        "assert 'matplotlib' not in sys.modules\n"
        "try:\n"
        "    report.entry()\n"
        "finally:\n"
        "    assert 'tensorflow' not in sys.modules\n"
        "    assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"--workdir={run_workdir}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(run_workdir / "report.html") in done.stdout
    assert "The searched network beats" in done.stdout


@pytest.mark.parametrize(
    "bench_ms, text",
    [(0.101, "as fast beside the networks"), (0.115, "took +15.0% beside")],
)
def test_the_report_tells_a_slower_machine_from_a_wrong_table(
    run_workdir, bench_ms, text
):
    path = run_workdir / "bench" / "bench.json"
    bench = json.loads(path.read_text())
    bench["reference"] = {"table_ms": 0.1, "bench_ms": bench_ms}
    path.write_text(json.dumps(bench))
    assert text in " ".join(report.terminal_table(run_workdir).split())
