"""Searches, spaces and evaluators are found by name, or by dotted path."""

import os
import subprocess
import sys

import pytest

from tests.search import outside
from tests.tiny_runs import ROOT
from tfnas import artifacts
from tfnas import config_files
from tfnas import spaces
from tfnas.bin import options
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.search import SEARCHES
from tfnas.search import builders
from tfnas.search.evaluate import EVALUATORS
from tfnas.search.evaluate import Evaluator


def test_every_name_leads_to_what_it_names():
    assert all(callable(SEARCHES.get(name)) for name in SEARCHES.names())
    for name in EVALUATORS.names():
        kind = EVALUATORS.get(name)
        assert issubclass(kind, Evaluator)
        assert kind.meaning != Evaluator.meaning
    for name in builders.STRATEGIES.names():
        assert callable(builders.STRATEGIES.get(name))
        assert SEARCHES.get(name) is builders.build


def test_only_the_algorithm_that_runs_is_loaded():
    script = (
        "import sys\n"
        "from tfnas.search import SEARCHES\n"
        "SEARCHES.check('densenas')\n"
        "SEARCHES.get('random')\n"
        "for heavy in ('tensorflow', 'tfnas.search.densenas'):\n"
        "    assert heavy not in sys.modules, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_a_space_of_another_package_is_named_by_its_path():
    assert spaces.get("tests.search.outside.few", 7).classes == 7


@pytest.mark.parametrize(
    "name", ["tests.search.outside.gone", "tests.gone.build"]
)
def test_a_path_that_leads_nowhere_is_refused(name):
    with pytest.raises(ConfigError, match=f"PYTHONPATH.*Received: '{name}'"):
        SEARCHES.get(name)


def program(name, *words):
    return subprocess.run(
        [sys.executable, "-m", f"tfnas.bin.{name}", *words],
        capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
def test_a_search_of_another_package_runs_and_is_derived(tmp_path):
    here = outside.__name__
    done = program(
        "search", "--config=guided:local", f"--workdir={tmp_path}",
        f"--config.algorithm={here}.build", f"--space={here}.few",
        f"--config.search.evaluator={here}.FirstOp",
        "--config.search.queries=7", "--config.data.name=none",
        "--target_madds=1e9", "--config.search.tolerance=0.99",
    )
    assert done.returncode == 0, done.stderr
    assert "score: what the first op is. Result:" in done.stdout
    words = [f"--workdir={tmp_path}", f"--output={tmp_path}/a.json"]
    refused = program("derive", *words)
    assert refused.returncode == 2
    assert f"--allow_imports. Received: algorithm='{here}.build'" in (
        refused.stderr
    )
    done = program("derive", *words, "--allow_imports")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "field, value, told",
    [
        ("space", 3, "`space` must be a text. Received: 3"),
        ("algorithm", ["x"], "`algorithm` must be a text. Received: ['x']"),
        ("search", 4, "`search` must be an object. Received: 4"),
        ("search", {"evaluator": 7}, "`search.evaluator` must be a text"),
        ("lut", 3, "`lut` must be an object. Received: 3"),
        ("data", None, "`data` must be an object. Received: None"),
    ],
)
def test_a_damaged_config_of_a_workdir_is_told_by_its_field(
    field, value, told, tmp_path
):
    whole = {
        "algorithm": "guided", "space": "proxyless_mbconv@32", "data": {},
        "search": {}, "lut": {},
    }
    path = tmp_path / "config.json"
    artifacts.write_json(path, {**whole, field: value})
    with pytest.raises(ArtifactError) as caught:
        options.saved_config(str(tmp_path))
    assert str(caught.value).startswith(f"{path}: field {told}")


def test_configs_name_what_there_is():
    for path in sorted(ROOT.glob("configs/[!_]*.py")):
        config = config_files.load(str(path))
        if "search" in config:
            SEARCHES.check(config.algorithm)
            EVALUATORS.check(config.search.get("evaluator", "supernet"))
