"""A cell that is shrunk and picked from its trail, from the command line."""

import re

import pytest

from tests import tiny_runs
from tfnas import artifacts
from tfnas import spaces
from tfnas.arch import Arch

# Three edges, of which one goes after two candidates.
FLAGS = [
    f"--config={tiny_runs.ROOT}/configs/autoshrink_cnn.py:local",
    *(
        f"--config.{name}={value}"
        for name, value in {
            "data.limit_train": 60,
            "search.workers": 1,
            "search.nodes": 3,
            "search.candidates": 2,
            "search.keep_fraction": 0.5,
            "search.random_archs": 1,
            "search.training.epochs": 1,
        }.items()
    ),
]


@pytest.fixture(scope="module")
def run(program, tmp_path_factory):
    """The folder of a finished search, and a function to start programs."""
    folder = tmp_path_factory.mktemp("shrink")

    def start(name, *args):
        return program(name, *args, folder=folder)

    done = start("search", *FLAGS, "--workdir=search")
    assert done.code == 0, done.errors
    return folder, start


def test_the_result_holds_the_trail(run):
    value = artifacts.read_json(run[0] / "search" / "result.json")
    (record,) = value["history"]
    assert len(record["candidates"]) == 2
    assert record["edges"] in (1, 2)
    assert [f["role"] for f in value["baseline"]] == ["random"]
    assert value["unit"] == "madds_m"


def derive(run, *args):
    done = run[1]("derive", "--workdir=search", "--output=a.json", *args)
    assert done.code == 0, done.errors
    return Arch.load(run[0] / "a.json")


def test_any_graph_of_the_trail_can_be_derived(run):
    value = artifacts.read_json(run[0] / "search" / "result.json")
    space = spaces.get("autoshrink_cnn@32")
    graphs = [space.encode(derive(run, f"--step={i}")) for i in (0, 1)]
    assert graphs[0].endswith(":0-1.0-2.1-2")
    assert graphs[1] == value["history"][0]["graph"]
    assert space.encode(derive(run)) == graphs[1]


def test_a_cell_moves_to_the_network_for_large_images(run):
    arch = derive(run, "--step=0", "--space=autoshrink_cnn", "--classes=1000")
    assert (arch.input_shape, arch.classes) == ((224, 224, 3), 1000)
    small = spaces.get("autoshrink_cnn@32").encode(derive(run, "--step=0"))
    assert spaces.get("autoshrink_cnn", 1000).encode(arch) == small


def test_a_step_that_was_not_taken_is_refused(run):
    done = run[1]("derive", "--workdir=search", "--output=b.json", "--step=2")
    assert done.code == 2
    assert re.search(r"`step` must be in 0..1.*Received: 2", done.errors)
    assert not (run[0] / "b.json").exists()


def test_workers_are_for_searches_that_train_each_candidate(run):
    flags = tiny_runs.make_flags()
    done = run[1]("search", *flags, "--workdir=other", "--workers=2")
    assert done.code == 2
    assert "--workers is for configs with `search.workers`" in done.errors
    done = run[1]("search", *FLAGS, "--workdir=search", "--workers=2")
    assert "search.workers: 1 there, 2 here" in done.errors
