"""Tables of NAS-Bench-201 are checked, and answer in our units."""

import itertools

import numpy as np
import pytest

import tfnas
from tfnas import spaces
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.spaces import nasbench201
from tfnas.spaces.nasbench201_table import DATASETS
from tfnas.spaces.nasbench201_table import SIGNALS
from tfnas.spaces.nasbench201_table import DeviceTable
from tfnas.spaces.nasbench201_table import NasBench201Table

ROWS = 15_625
DEVICES = ["pixel3", "raspi4", "titan_256"]


@pytest.fixture(scope="module")
def arrays():
    """A table of made-up numbers, in an order of its own."""
    rng = np.random.default_rng(0)
    cells = np.array(list(itertools.product(range(5), repeat=6)), np.uint8)
    shape = (ROWS, 3)
    return {
        "op_names": np.array(
            ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3",
             "avg_pool_3x3"]
        ),
        "dataset_names": np.array(["cifar10", "cifar100", "ImageNet16-120"]),
        "ops": rng.permutation(cells),
        "params": rng.integers(70_000, 1_600_000, shape, np.int32),
        "macs": rng.integers(7 << 20, 1 << 28, shape, np.int64),
        **{
            name: rng.uniform(10, 95, shape).astype(np.float32)
            for name in SIGNALS
        },
        "train_time_200ep_s": rng.uniform(1e3, 1e4, shape).astype(np.float32),
    }  # fmt: skip


@pytest.fixture(scope="module")
def latencies():
    rng = np.random.default_rng(1)
    return {
        "device_names": np.array(DEVICES),
        "latency_ms": rng.uniform(0.1, 40, (ROWS, 3)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def path(arrays, tmp_path_factory):
    return _saved(tmp_path_factory.mktemp("table") / "t.npz", arrays)


@pytest.fixture(scope="module")
def latency_path(latencies, tmp_path_factory):
    return _saved(tmp_path_factory.mktemp("latency") / "l.npz", latencies)


def _saved(path, arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("column, dataset", enumerate(DATASETS))
def test_a_network_gets_the_numbers_of_its_row(path, arrays, column, dataset):
    table = NasBench201Table.load(path, dataset)
    for row in (0, 77, ROWS - 1):
        codes = arrays["ops"][row].tolist()
        arch = table.space.from_codes(codes)
        assert table.row(codes) == row
        for signal in SIGNALS:
            percent = arrays[signal][row, column]
            assert 100 * table.accuracy(arch, signal) == pytest.approx(percent)
        assert table.params[row] == arrays["params"][row, column]
        assert table.madds[row] == arrays["macs"][row, column]


def test_a_query_takes_its_share_of_the_time_of_200_epochs(path, arrays):
    table = NasBench201Table.load(path)
    arch = table.space.from_codes(arrays["ops"][5])
    seconds = float(arrays["train_time_200ep_s"][5, 0])
    assert table.query_s(arch, "val_acc_200ep") == pytest.approx(seconds)
    assert table.query_s(arch, "val_acc_12ep") == pytest.approx(
        0.06 * seconds
    )


@pytest.mark.parametrize(
    "dataset, classes, side",
    [("cifar10", 10, 32), ("cifar100", 100, 32), ("ImageNet16-120", 120, 16)],
)
def test_a_table_knows_the_networks_it_measured(path, dataset, classes, side):
    space = NasBench201Table.load(path, dataset).space
    assert (space.classes, space.input_shape) == (classes, (side, side, 3))


def test_networks_of_another_data_set_are_refused(path):
    table = NasBench201Table.load(path, "cifar100")
    arch = spaces.get("nasbench201").sample(0)
    with pytest.raises(ArtifactError, match="of 100 classes.*of 10 classes"):
        table.accuracy(arch, "val_acc_12ep")


def test_unknown_names_are_refused_with_the_known_ones(path):
    with pytest.raises(ConfigError, match="cifar10, cifar100, ImageNet16"):
        NasBench201Table.load(path, "imagenet")
    table = NasBench201Table.load(path)
    for ask in (table.accuracy, table.query_s):
        with pytest.raises(ConfigError, match="val_acc_12ep, val_acc_200ep"):
            ask(table.space.sample(0), "accuracy")


def _one_nan(array):
    return np.where(np.arange(len(array))[:, None] == 3, np.nan, array)


@pytest.mark.parametrize(
    "name, change, problem",
    [
        ("ops", None, "is missing"),
        ("val_acc_12ep", None, "is missing"),
        ("ops", lambda a: a[:-1], "(15624, 6)"),
        ("ops", lambda a: a[:, :5], "(15625, 5)"),
        ("ops", lambda a: a.astype(float), "must be integers"),
        ("ops", lambda a: a + 1, "must lie in 0..4"),
        ("ops", lambda a: np.maximum(a, 1), "each of the 15625 cells once"),
        ("test_acc_200ep", lambda a: a[:100], "(100, 3)"),
        ("test_acc_200ep", lambda a: a[:, 0], "of shape (15625,)"),
        ("test_acc_200ep", lambda a: a.astype(int), "floating-point"),
        ("test_acc_200ep", _one_nan, "must lie in 0..100"),
        ("val_acc_200ep", lambda a: 100 * a, "must lie in 0..100"),
        ("train_time_200ep_s", lambda a: -a, "must lie in 0..inf"),
        ("params", lambda a: a.astype(str), "must be integers"),
        ("macs", lambda a: a * 0, "must lie in 1..inf"),
        ("op_names", lambda a: a[::-1], "must be ['none', "),
        ("dataset_names", lambda a: a[:2], "must be ['cifar10', "),
        ("dataset_names", lambda a: np.arange(3), "must be text"),
    ],
)
def test_a_wrong_array_is_named_with_its_file(
    arrays, tmp_path, name, change, problem
):
    changed = dict(arrays)
    if change is None:
        del changed[name]
    else:
        changed[name] = change(changed[name])
    path = _saved(tmp_path / "wrong.npz", changed)
    with pytest.raises(ArtifactError) as error:
        NasBench201Table.load(path)
    assert f'{path}: array "{name}" ' in str(error.value)
    assert problem in str(error.value)


def test_missing_and_truncated_files_are_refused(
    path, latency_path, tmp_path
):
    table = NasBench201Table.load(path)
    loads = [
        (path, NasBench201Table.load),
        (latency_path, lambda p: DeviceTable.load(p, "pixel3", table)),
    ]
    for whole, load in loads:
        content = whole.read_bytes()
        torn = tmp_path / "torn.npz"
        for size in (0, 100, len(content) // 2, len(content) - 1):
            torn.write_bytes(content[:size])
            with pytest.raises(ArtifactError, match="torn.npz"):
                load(torn)
        with pytest.raises(ArtifactError, match="absent.npz"):
            load(tmp_path / "absent.npz")


def test_a_device_costs_what_was_measured_on_it(path, latency_path, latencies):
    table = NasBench201Table.load(path, "ImageNet16-120")
    cost = DeviceTable.load(latency_path, "raspi4", table)
    assert cost.unit == "ms"
    for classes in (10, 100):
        space = spaces.get("nasbench201", classes)
        arch = space.sample(1)
        row = table.row(space.codes(arch))
        assert cost.cost(arch) == float(latencies["latency_ms"][row, 1])


def test_a_device_refuses_what_was_not_measured(path, latency_path):
    table = NasBench201Table.load(path)
    with pytest.raises(ConfigError, match="pixel3, raspi4, titan_256.*pixel9"):
        DeviceTable.load(latency_path, "pixel9", table)
    cost = DeviceTable.load(latency_path, "pixel3", table)
    small = spaces.get("nasbench201", 120, (16, 16, 3)).sample(0)
    with pytest.raises(ArtifactError, match="measured with images"):
        cost.cost(small)
    with pytest.raises(ArtifactError, match="`nasbench201` has one cell"):
        cost.cost(spaces.get("densenas_mbv2@32").sample(0))


@pytest.mark.parametrize(
    "name, change, problem",
    [
        ("device_names", None, "is missing"),
        ("device_names", lambda a: a[:2], "must be floating-point numbers"),
        ("latency_ms", lambda a: a[1:], "(15624, 3)"),
        ("latency_ms", lambda a: a.astype(int), "floating-point"),
        ("latency_ms", lambda a: a * 0, "must lie in"),
        ("latency_ms", _one_nan, "must lie in"),
    ],
)
def test_wrong_latencies_are_named_with_their_file(
    path, latencies, tmp_path, name, change, problem
):
    changed = dict(latencies)
    if change is None:
        del changed[name]
    else:
        changed[name] = change(changed[name])
    wrong = _saved(tmp_path / "wrong.npz", changed)
    with pytest.raises(ArtifactError) as error:
        DeviceTable.load(wrong, "pixel3", NasBench201Table.load(path))
    assert str(wrong) in str(error.value)
    assert problem in str(error.value)


@pytest.fixture(scope="module")
def published(shared_data):
    return shared_data / "nasbench201" / "nasbench201.npz"


def _table(path, dataset="cifar10"):
    return NasBench201Table.load(path, dataset)


@pytest.mark.parametrize("dataset", DATASETS)
def test_our_counts_are_those_of_the_published_table(published, dataset):
    table = _table(published, dataset)
    counted = {}
    for row, codes in enumerate(table.codes.tolist()):
        convolutions = codes.count(2), codes.count(3)
        if convolutions not in counted:
            counted[convolutions] = tfnas.count(table.space.from_codes(codes))
        counts = counted[convolutions]
        assert counts.params == table.params[row]
        assert counts.madds == table.madds[row]
    assert len(counted) == 28


def test_recorded_parameters_are_ours_but_for_the_150_known_rows(published):
    table = _table(published)
    with np.load(published) as npz:
        recorded = npz["params_recorded_cifar10"]
    assert (recorded != table.params).sum() == 150


@pytest.mark.parametrize(
    "dataset, signal, row, percent",
    [
        ("cifar10", "test_acc_200ep", 6111, 94.373),
        ("cifar100", "test_acc_200ep", 9930, 73.513),
        ("ImageNet16-120", "test_acc_200ep", 857, 47.311),
        ("cifar10", "val_acc_200ep", 6111, 91.607),
        ("cifar100", "val_acc_200ep", 9930, 73.493),
        ("ImageNet16-120", "val_acc_200ep", 10676, 46.733),
    ],
)
def test_the_best_networks_are_the_published_ones(
    published, dataset, signal, row, percent
):
    values = _table(published, dataset).accuracies[signal]
    assert int(values.argmax()) == row
    assert 100 * values[row] == pytest.approx(percent, abs=1e-3)


def test_architecture_0_is_the_benchmarks(published):
    table = _table(published)
    assert nasbench201.write(table.codes[0].tolist()) == (
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+"
        "|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    )
    assert table.params[0] == 129_306


def test_equivalent_cells_are_those_of_the_published_table(published):
    table = _table(published)
    with np.load(published) as npz:
        topologies = npz["topology_id"].tolist()
    ours = [table.space.equivalence(c) for c in table.codes.tolist()]
    pairs = set(zip(ours, topologies, strict=True))
    assert len(pairs) == len(set(ours)) == len(set(topologies)) == 6_466


def test_connected_cells_take_at_least_a_millisecond_on_a_phone(published):
    table = _table(published)
    device = DeviceTable.load(
        published.parent / "latency_nb201.npz", "pixel3", table
    )
    latencies = {True: [], False: []}
    for codes, latency_ms in device.latencies_ms.items():
        latencies[nasbench201.is_connected(codes)].append(latency_ms)
    assert min(latencies[True]) > 1
    assert sum(x < 0.1 for x in latencies[False]) == 202
