"""Tables of trained networks: read whole, drawn from, refused by name."""

import numpy as np
import pytest

from tests.search import tiny_tables
from tfnas import artifacts
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.spaces.trained_tables import TrainedTable


def write(folder, **arrays):
    path = folder / "table.npz"
    artifacts.write_npz(path, **arrays)
    return path


@pytest.fixture(scope="module")
def macro(tmp_path_factory):
    folder = tmp_path_factory.mktemp("macro")
    path = write(folder, **tiny_tables.macro_arrays())
    return TrainedTable.load(path, "nasbench_macro")


def test_rows_of_one_network_are_one_network(macro):
    assert len(macro.trainings) == 3969
    assert set(macro.trainings) == set(macro.space.members())
    codes = (1, 2, 0, 2, 0, 2, 1, 0)
    row = (tiny_tables.MACRO == macro.space.canonical(codes)).all(1).argmax()
    mean = tiny_tables.macro_mean()[row] / 100
    assert macro.mean(macro.space.canonical(codes)) == pytest.approx(mean)


def test_a_seed_draws_one_training_and_always_the_same(macro):
    codes = macro.space.members()[1234]
    drawn = [macro.draw(codes, seed) for seed in range(200)]
    assert drawn == [macro.draw(codes, seed) for seed in range(200)]
    counts = [drawn.count(value) for value in macro.trainings[codes]]
    assert sum(counts) == 200 and min(counts) > 40


def test_draws_of_networks_are_independent(macro):
    drawn = {
        macro.trainings[codes].index(macro.draw(codes, 7))
        for codes in macro.space.members()[:40]
    }
    assert drawn == {0, 1, 2}


def test_a_network_of_two_rows_has_two_trainings(tmp_path):
    arrays = tiny_tables.accel_arrays()
    for name in tiny_tables.CHOICES:
        arrays[name][1] = arrays[name][0]
    arrays["val_top1"][:2] = 50, 60
    path = write(tmp_path, **arrays)
    table = TrainedTable.load(path, "accel_nasbench")
    twice = [t for t in table.trainings.values() if t == (0.5, 0.6)]
    assert len(twice) == 1
    assert {table.space.length, *map(len, table.trainings)} == {28}


def test_an_unknown_network_is_refused(macro):
    with pytest.raises(ArtifactError, match="table.npz: expected one of its"):
        macro.mean((0, 0, 0, 0, 1, 0, 0, 0))  # not canonical


def test_a_space_without_a_table_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nasbench_macro, accel_nasbench"):
        TrainedTable.load(tmp_path / "table.npz", "mobilenetv3")


def changed(array, value):
    array = array.copy()
    array[5, 3] = value
    return array


@pytest.mark.parametrize(
    "name, change, problem",
    [
        ("codes", lambda a: a[:-1], "6560"),
        ("codes", lambda a: changed(a, 3), "lie in 0..2"),
        ("codes", lambda a: a.astype(np.float32), "integers"),
        ("codes", lambda a: np.vstack([a[:1], a[:-1]]), "6561 codes once"),
        ("test_acc", lambda a: a[:, :2], "shape"),
        ("test_acc", lambda a: a + 60, "lie in 0..100"),
        ("test_acc", lambda a: a * np.nan, "lie in 0..100"),
    ],
)
def test_a_wrong_table_of_macro_is_refused_by_array(
    tmp_path, name, change, problem
):
    arrays = tiny_tables.macro_arrays()
    path = write(tmp_path, **{**arrays, name: change(arrays[name])})
    with pytest.raises(ArtifactError) as error:
        TrainedTable.load(path, "nasbench_macro")
    assert f'{path}: array "{name}"' in str(error.value)
    assert problem in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, change, problem",
    [
        ("kernel", lambda a: a[:100], "100"),
        ("kernel", lambda a: changed(a, 4), r"must hold [3, 5] only"),
        ("expansion", lambda a: changed(a, 255), "Received: 255"),
        ("squeeze_excite", lambda a: changed(a, 2), "[0, 1] only"),
        ("depth", lambda a: changed(a, 4), "row 5"),
        ("depth", lambda a: changed(a, 0), "Received: 0"),
        ("val_top1", lambda a: a + 90, "lie in 0..100"),
    ],
)
def test_a_wrong_table_of_accel_is_refused_by_array(
    tmp_path, name, change, problem
):
    arrays = tiny_tables.accel_arrays()
    path = write(tmp_path, **{**arrays, name: change(arrays[name])})
    with pytest.raises(ArtifactError) as error:
        TrainedTable.load(path, "accel_nasbench")
    assert f'{path}: array "{name}"' in str(error.value)
    assert problem in str(error.value) and "\n" not in str(error.value)


def test_a_missing_array_is_named(tmp_path):
    arrays = tiny_tables.accel_arrays()
    del arrays["depth"]
    path = write(tmp_path, **arrays)
    with pytest.raises(ArtifactError, match='array "depth" is missing'):
        TrainedTable.load(path, "accel_nasbench")
