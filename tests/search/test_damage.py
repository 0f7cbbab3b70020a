"""A search whose files are damaged ends as an undisturbed one, or says why.

Never does it start again without a word, and never is what it gives another
network or another figure.
"""

import random
import shutil

import pytest

from tests import damage
from tests.search import tiny_queries
from tfnas import artifacts
from tfnas.errors import TfnasError
from tfnas.search import query
from tfnas.search import run_search

UNITS = 8
DONE = 5  # of the search in the middle


class Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    tables = tiny_queries.write_tables(tmp_path_factory.mktemp("tables"))
    return tiny_queries.make_config(tables, "random")


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("searches") / "finished"
    run_search(config, folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def middle(config, tmp_path_factory):
    """A search that was killed after some of its units."""
    folder = tmp_path_factory.mktemp("searches") / "middle"
    run_unit = query.QuerySearch.run_unit

    def die(self, unit):
        if unit == DONE:
            raise Killed
        return run_unit(self, unit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query.QuerySearch, "run_unit", die)
        with pytest.raises(Killed):
            run_search(config, folder, progress=False)
    return folder


def log(workdir):
    records = artifacts.read_jsonl(workdir / "log.jsonl")
    return [{k: v for k, v in r.items() if k != "time_s"} for r in records]


def outcome(config, folder):
    """Runs a search.

    Returns:
        The units it did, or the error that it ended with.
    """
    done = []
    run_unit = query.QuerySearch.run_unit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            query.QuerySearch, "run_unit",
            lambda self, unit: done.append(unit) or run_unit(self, unit),
        )
        try:
            run_search(config, folder, progress=False)
        except (TfnasError, OSError) as error:
            return error
    return done


def check(found, folder, finished, first, said, what):
    """Checks that it is the undisturbed result, or refused by name."""
    if isinstance(found, Exception):
        assert str(folder) in str(found), f"{what}: {found}"
        assert "\n" not in str(found) or "config.json" in what, what
        return
    assert (folder / "result.json").read_bytes() == (
        finished / "result.json"
    ).read_bytes(), what
    assert log(folder) == log(finished), what
    assert found == list(range(UNITS))[min(found, default=UNITS) :], what
    # At most one unit more than was left, and that is said.
    assert min(found, default=UNITS) >= first - 1, what
    if min(found, default=UNITS) < first:
        assert "warning" in said, what


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow] if slow else [])
        for kind, slow in [
            ("gone", False), ("emptied", True), ("cut", False),
            ("flipped", False), ("garbage", True), ("a folder", False),
        ]
    ],
)
@pytest.mark.parametrize("state", ["middle", "finished"])
def test_damaged_file_is_mended_or_named(
    request, config, finished, tmp_path, capfd, state, kind
):
    workdir, first = request.getfixturevalue(state), UNITS
    if state == "middle":
        first = DONE
    names = damage.files(workdir)
    assert len(names) >= 12
    for name, folder in damage.copies(workdir, tmp_path, names, kind):
        found = outcome(config, folder)
        said = capfd.readouterr().err
        check(found, folder, finished, first, said, f"{kind} {name}")
        # Boards show points that we never read back, and a result that is
        # not there yet is no damage.
        quiet = "tensorboard" in name or "epoch-" in name
        quiet = quiet or (name, kind) == ("result.json", "gone")
        assert isinstance(found, Exception) or quiet or "warning" in said, name


@pytest.mark.parametrize("state", ["middle", "finished"])
def test_lost_folder_is_mended_or_named(
    request, config, finished, tmp_path, capfd, state
):
    workdir = request.getfixturevalue(state)
    for name in ("checkpoints", "tensorboard"):
        folder = shutil.copytree(workdir, tmp_path / name)
        shutil.rmtree(folder / name)
        found = outcome(config, folder)
        said = capfd.readouterr().err
        first = DONE if state == "middle" else UNITS
        check(found, folder, finished, first, said, name)
        lost = (name, state) == ("checkpoints", "middle")
        assert isinstance(found, Exception) == lost
        if lost:
            assert "rm -r" in str(found)


def flips(config, finished, workdirs, scratch, capfd, number, seed):
    """Flips single bits at random."""
    draw = random.Random(seed)
    for _ in range(number):
        workdir, first = draw.choice(workdirs)
        name = draw.choice(
            [n for n in damage.files(workdir) if "tensorboard" not in n]
        )
        folder = shutil.copytree(workdir, scratch / "copy")
        bit = draw.randrange(8 * max(1, (folder / name).stat().st_size))
        damage.flip(folder / name, bit)
        found = outcome(config, folder)
        said = capfd.readouterr().err
        check(found, folder, finished, first, said, f"{name} bit {bit}")
        shutil.rmtree(folder)


def test_flipped_bits_never_change_the_outcome(
    config, finished, middle, tmp_path, capfd
):
    workdirs = [(middle, DONE), (finished, UNITS)]
    flips(config, finished, workdirs, tmp_path, capfd, 40, seed=1)


@pytest.mark.slow
def test_a_thousand_flipped_bits_never_change_the_outcome(
    config, finished, middle, tmp_path, capfd
):
    workdirs = [(middle, DONE), (finished, UNITS)]
    flips(config, finished, workdirs, tmp_path, capfd, 1000, seed=2)


def other(config):
    changed = config.copy_and_resolve_references()
    changed.seed += 1
    return changed


@pytest.mark.parametrize("state", ["middle", "finished"])
def test_without_config_json_no_other_settings_are_taken(
    request, config, tmp_path, state
):
    workdir = request.getfixturevalue(state)
    folder = shutil.copytree(workdir, tmp_path / "copy")
    (folder / "config.json").unlink()
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    found = outcome(other(config), folder)
    assert isinstance(found, TfnasError) and "other settings" in str(found)
    assert before == {
        p: p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_result_of_other_settings_is_refused(config, finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "copy")
    artifacts.write_json(
        folder / "config.json", artifacts.read_json(folder / "config.json")
        | {"seed": config.seed + 1},
    )
    found = outcome(other(config), folder)
    assert "config_sha256" in str(found) and "result.json" in str(found)


def test_checkpoint_of_other_settings_is_refused(config, middle, tmp_path):
    folder = shutil.copytree(middle, tmp_path / "copy")
    artifacts.write_json(
        folder / "config.json", artifacts.read_json(folder / "config.json")
        | {"seed": config.seed + 1},
    )
    found = outcome(other(config), folder)
    assert "config_sha256" in str(found) and "state.json" in str(found)


def edited(finished, tmp_path, **fields):
    folder = shutil.copytree(finished, tmp_path / "copy")
    value = artifacts.read_json(folder / "result.json")
    artifacts.write_json(folder / "result.json", value | fields, sealed=True)
    return folder


def test_result_without_networks_is_made_anew(
    config, finished, tmp_path, capfd
):
    folder = edited(finished, tmp_path, archs=[])
    assert outcome(config, folder) == []
    assert "expected a network" in capfd.readouterr().err
    assert (folder / "result.json").read_bytes() == (
        finished / "result.json"
    ).read_bytes()


def test_network_of_another_id_is_not_believed(
    config, finished, tmp_path, capfd
):
    archs = artifacts.read_json(finished / "result.json")["archs"]
    archs[0]["arch"]["blocks"][0]["out"] += 1
    folder = edited(finished, tmp_path, archs=archs)
    assert outcome(config, folder) == []
    said = capfd.readouterr().err
    assert "field `archs[0].id` must be that of the network" in said


def test_workdir_of_an_older_version_goes_on(config, middle, tmp_path):
    folder = shutil.copytree(middle, tmp_path / "copy")
    for path in folder.glob("checkpoints/epoch-*"):
        (path / "log.jsonl").unlink()
        state = artifacts.read_json(path / "state.json")
        del state["config_sha256"]
        artifacts.write_json(path / "state.json", state)
        manifest = artifacts.read_json(path / "manifest.json")
        del manifest["epoch"], manifest["files"]["log.jsonl"]
        manifest["files"]["state.json"] = artifacts.sha256(path / "state.json")
        artifacts.write_json(path / "manifest.json", manifest)
    assert outcome(config, folder) == list(range(DONE, UNITS))
