"""Grey oblong images from the search to the trained network."""

import keras
import numpy as np
import pytest

from tests import tiny_runs
from tests.cost.lut_tables import make_table
from tfnas import artifacts
from tfnas import data
from tfnas import spaces
from tfnas.arch import Arch

SHAPE = (24, 32, 1)
GREY = ["--config.data.channels=1", "--config.data.image_size=24,32"]
# Two nodes; one edge goes after two candidates.
SHRINK = [
    f"--config={tiny_runs.ROOT}/configs/autoshrink_cnn.py:local",
    *GREY,
    "--config.data.limit_train=60",
    "--config.data.limit_test=20",
    "--config.search.workers=1",
    "--config.search.nodes=3",
    "--config.search.candidates=2",
    "--config.search.keep_fraction=0.5",
    "--config.search.random_archs=1",
    "--config.search.training.epochs=1",
]


@pytest.fixture(scope="module")
def start(program, tmp_path_factory):
    """Starts programs in a folder of their own; they have to end well."""
    folder = tmp_path_factory.mktemp("grey")

    def run(name, *args):
        done = program(name, *args, folder=folder)
        assert done.code == 0, done.errors
        return folder

    return run


@pytest.mark.slow
def test_gradient_search_and_training_of_grey_oblong_images(start):
    tiny_runs.space()
    space = spaces.get(tiny_runs.SPACE, 10, SHAPE)
    flags = [*tiny_runs.make_flags(), *GREY]
    folder = start("search", *flags, "--target_madds=300000", "--workdir=dense")
    start("derive", "--workdir=dense", "--output=a.json")
    arch = Arch.load(folder / "a.json")
    assert arch.input_shape == SHAPE
    assert make_table(space.lut_keys()).predict(arch)
    start("train", *flags, "--arch=a.json", "--workdir=train")
    model = keras.models.load_model(folder / "train" / "model.keras")
    assert model.input_shape == (None, *SHAPE)
    result = artifacts.read_json(folder / "train" / "result.json")
    images, labels = data.load({
        "name": "digits", "channels": 1, "image_size": SHAPE[:2],
        "limit_test": tiny_runs.FIELDS["data.limit_test"],
    }).test.arrays()
    right = model.predict(images, verbose=0).argmax(-1) == labels
    assert result["accuracy"] == pytest.approx(np.mean(right))


@pytest.mark.slow
def test_shrinking_for_grey_oblong_images(start):
    folder = start("search", *SHRINK, "--workdir=shrink")
    start("derive", "--workdir=shrink", "--output=b.json")
    assert Arch.load(folder / "b.json").input_shape == SHAPE


def test_a_table_is_made_for_grey_oblong_images(start):
    folder = start(
        "lut", f"--space={tiny_runs.SPACE}", "--image_size=24,32",
        "--channels=1", "--classes=5", "--rounds=2", "--nets=0",
        "--lut=grey.json", "--strict=false",
    )
    rows = artifacts.read_json(folder / "grey.json")["rows"]
    assert set(rows) == set(spaces.get(tiny_runs.SPACE, 5, SHAPE).lut_keys())


@pytest.mark.parametrize("size", ["4x8", "1,2,3", "-8", "x"])
def test_a_table_of_nonsense_sizes_is_refused(program, size):
    done = program(
        "lut", f"--space={tiny_runs.SPACE}", f"--image_size={size}",
        "--lut=grey.json",
    )
    assert done.code == 2 and "Traceback" not in done.errors
    assert "Received: --image_size=" in done.errors
