"""Networks published as files, their presets, and the table of all."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

import tfnas
from tests import programs
from tfnas import applications
from tfnas import data
from tfnas import export
from tfnas import spaces
from tfnas.applications import listing
from tfnas.applications import publishing
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

LABELS = [f"class {i}" for i in range(10)]


@pytest.fixture(scope="module")
def arch():
    """A searched network that builds in a second."""
    return spaces.get("densenas_mbv2@32").sample(0)


@pytest.fixture(scope="module")
def model(arch):
    keras.utils.set_random_seed(3)
    return tfnas.build_model(arch)


@pytest.fixture
def published(request, arch, model, tmp_path):
    """A published network, with a name of its own for each test."""
    name = f"net_{abs(hash(request.node.name))}"
    return applications.publish(
        tmp_path, name, arch, model, "digits", mean=(1, 2, 3), std=(4, 5, 6),
        labels=LABELS, data="digits", top1=87.5, function=f"Net{name}",
    )


def test_published_network_is_registered_with_all_that_it_needs(
    published, arch, model
):
    entry = applications.register_file(published)
    assert entry.name in applications.names()
    assert (entry.mean, entry.std) == ((1, 2, 3), (4, 5, 6))
    assert applications.class_names(entry.name, "digits") == tuple(LABELS)
    assert entry.function in dir(applications)
    with pytest.raises(ConfigError, match=r"\['digits'\]"):
        applications.class_names(entry.name, "imagenet")
    net = getattr(applications, entry.function)(
        weights="digits", classifier_activation=None
    )
    image = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    np.testing.assert_array_equal(net(image), model(image))
    with pytest.raises(ConfigError, match="a name of its own"):
        applications.register_file(published)


def test_published_network_is_in_the_table(published):
    applications.register_file(published)
    row = next(r for r in listing.table() if r.name == published.stem)
    assert row.presets == {"digits": 87.5}
    assert row.latency_ms is None  # nobody timed it
    assert "digits (87.5 %)" in listing.markdown([row])


def test_network_can_have_several_presets(published, arch, model):
    again = {"mean": (1, 2, 3), "std": (4, 5, 6),
             "function": f"Net{published.stem}"}
    applications.publish(
        published.parent, published.stem, arch, model, "more", **again
    )
    entry = applications.register_file(published)
    assert sorted(entry.presets) == ["digits", "more"]
    with pytest.raises(ConfigError) as error:
        applications.get(published.stem, weights="imagenet")
    assert "there are: ['digits', 'more']" in str(error.value)
    other = spaces.get("densenas_mbv2@32").sample(1)
    with pytest.raises(ConfigError, match="another network"):
        applications.publish(
            published.parent, published.stem, other,
            tfnas.build_model(other), "x", **again,
        )


def test_replaced_weights_are_refused_unread(published):
    entry = applications.register_file(published)
    path = entry.presets["digits"].path
    content = bytearray(open(path, "rb").read())
    content[len(content) // 2] ^= 1
    open(path, "wb").write(content)
    with pytest.raises(ArtifactError, match="damaged or replaced"):
        applications.get(entry.name, weights="digits")


def test_wrong_number_of_labels_is_refused(published, arch, model, tmp_path):
    with pytest.raises(ConfigError, match="must name 10 classes"):
        applications.publish(
            tmp_path, "net", arch, model, labels=LABELS[:9]
        )
    value = json.loads(published.read_text())
    value["presets"]["digits"]["labels"] = LABELS[:9]
    published.write_text(json.dumps(value))
    with pytest.raises(ConfigError, match="must name 10 classes"):
        applications.register_file(published)
    assert published.stem not in applications.names()
    with pytest.raises(ConfigError, match="must name 10 classes"):
        applications.register("my_labels", arch, "w.npz", labels=LABELS[:9])


def test_model_of_another_network_is_not_published(arch, tmp_path):
    other = applications.from_arch(arch, classes=4)
    with pytest.raises(ArtifactError, match="made from network"):
        applications.publish(tmp_path, "net", arch, other)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("mean"),
        lambda v: v.update(presets=[]),
        lambda v: v.update(format="tfnas-application/9"),
        lambda v: v["presets"]["digits"].pop("sha256"),
        lambda v: v["presets"]["digits"].update(file="gone.npz"),
        lambda v: v["arch"].update(classes=-1),
        lambda v: v.update(std="abc"),
    ],
)
def test_damaged_description_is_refused(published, change):
    value = json.loads(published.read_text())
    change(value)
    published.write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match=published.name):
        applications.register_file(published)


def test_weights_outside_the_folder_are_out_of_reach(published):
    value = json.loads(published.read_text())
    value["presets"]["digits"]["file"] = "../../etc/passwd"
    published.write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match="there is no"):
        applications.register_file(published)


def test_what_the_package_ships_is_whole():
    for path in publishing.SHIPPED.glob("*.json"):
        entry = applications.APPLICATIONS.get(path.stem)
        for preset in entry.presets.values():
            preset.read()  # its hash is checked
    small = applications.APPLICATIONS.get("tfnas_small")
    assert small.presets["cifar10"].top1 > 80
    assert not applications.APPLICATIONS.get("densenas_a").presets


def test_shipped_weights_reach_what_the_table_says(shared_data):
    entry = applications.APPLICATIONS.get("tfnas_small")
    images = data.load(
        {"name": f"npz:{shared_data}/cifar10/cifar10_small.npz",
         "image_size": 32, "mean": entry.mean, "std": entry.std}
    ).test
    net = applications.TFNASSmall(weights="cifar10")
    top1 = 100 * export.accuracy(net, images)
    # 1,000 of the 8,000 images: three standard errors.
    assert top1 == pytest.approx(entry.presets["cifar10"].top1, abs=3.5)


def test_table_lists_every_application_with_its_figures():
    rows = {row.name: row for row in listing.table()}
    assert set(rows) == set(applications.names())
    a = rows["densenas_a"]
    assert (a.function, a.params, a.madds) == (
        "DenseNASA", 4_767_920, 251_334_416,
    )
    assert a.top1 == 73.1
    assert a.latency_ms and a.latency_ms > 0
    value = listing.measured()
    assert value["date"] and value["device"]["cpu"]
    assert value["runtime"]["tflite"]["version"]


def test_table_comes_by_one_command_without_tensorflow(published):
    done = programs.run("tfnas.applications", published)
    assert done.returncode == 0, done.stderr
    assert "| `DenseNASA` | 4,767,920 | 251,334,416 | 73.1 % |" in done.stdout
    assert f"Net{published.stem}" in done.stdout
    script = (
        "import sys, tfnas.applications\n"
        "assert 'tensorflow' not in sys.modules\n"
        "assert 'keras' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no 'MobileNetV9'"):
        _ = applications.MobileNetV9
