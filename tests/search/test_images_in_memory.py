"""A search of images in memory is that of a file of them, and goes on."""

import pytest

import tfnas
from tests import tiny_runs
from tfnas import artifacts
from tfnas import data
from tfnas.errors import ConfigError
from tfnas.results import Derived
from tfnas.search import run_search

FIELDS = {"search__epochs": 2, "search__val_start_epoch": 1}


class Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.fixture(scope="module")
def pair():
    """Seventy digits."""
    train = data.load({"name": "digits", "limit_train": 70}).train
    return train.images.array, train.labels


@pytest.fixture(scope="module")
def config():
    """A search by multiply-adds whose own images are not there."""
    return tiny_runs.make_config(**FIELDS, data__name="npz:absent.npz")


@pytest.fixture(scope="module")
def done(pair, config, tmp_path_factory):
    """The workdir of a search of them that was killed and went on."""
    workdir = tmp_path_factory.mktemp("memory")
    append, lines = artifacts.append_jsonl, []

    def die_in_the_second_epoch(*args, **kwargs):
        lines.append(args)
        if len(lines) > 2:
            raise Killed
        append(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "append_jsonl", die_in_the_second_epoch)
        with pytest.raises(Killed):
            run_search(config, workdir, progress=False, data=pair)
    assert (workdir / "checkpoints").is_dir()
    as_floats = (pair[0] / 255, pair[1])
    return workdir, run_search(config, workdir, progress=False, data=as_floats)


def test_it_finds_what_a_search_of_a_file_of_them_finds(
    pair, config, done, tmp_path
):
    path = tmp_path / "digits.npz"
    images, labels = pair
    artifacts.write_npz(
        path, x_train=images, y_train=labels, x_test=images[:9],
        y_test=labels[:9],
    )
    named = tiny_runs.make_config(**FIELDS, data__name=f"npz:{path}")
    expected = run_search(named, tmp_path / "run", progress=False)
    _, found = done
    assert found.archs == expected.archs
    assert found.baseline == expected.baseline
    assert found.history == expected.history


def test_its_workdir_refuses_other_images(pair, config, done):
    workdir, result = done
    images, labels = pair
    assert run_search(config, workdir, data=pair) == result
    for other in ((images[::-1], labels[::-1]), None):
        with pytest.raises(ConfigError, match="data.name: arrays:.* there"):
            run_search(config, workdir, data=other)


def test_the_whole_loop_asks_for_images_to_test_on(pair, config, tmp_path):
    with pytest.raises(ConfigError, match="must have images to test on"):
        tfnas.run(config, tmp_path / "run", data=pair)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.slow
def test_the_whole_loop_trains_and_tests_on_them(pair, config, tmp_path):
    config = config.copy_and_resolve_references()
    config.lut.path = tiny_runs.write_table(
        tmp_path / "lut.json", tiny_runs.space()
    )
    config.run.bench_rounds = 3
    test = tuple(values[:13] for values in pair)
    result = tfnas.run(
        config, tmp_path / "run", progress=False, data=(pair, test)
    )
    derived = Derived.load(
        tmp_path / f"run/derived/{result.best.arch.id}/result.json"
    )
    assert derived.test_images == 13
    with pytest.raises(ConfigError, match="data.name: arrays:.* there"):
        tfnas.run(config, tmp_path / "run", progress=False, data=(pair, pair))
