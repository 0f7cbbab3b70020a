"""Images that nobody looked at first are named where they stop a pass."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tests.data import pictures
from tests.data import record_files
from tfnas import data
from tfnas.data import blame
from tfnas.errors import ArtifactError
from tfnas.train import distribute
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase

PNG = pictures.encode(pictures.noise(), "PNG")
JPEG = pictures.encode(pictures.noise(), "JPEG")
BAD = {
    "half.png": PNG[: len(PNG) // 2],
    "half.jpg": JPEG[: len(JPEG) // 2],
    "half.gif": pictures.encode(pictures.noise(), "GIF")[:700],
    "text.jpg": b"<html>not found</html>",
}


def _set(tmp_path, bad, content):
    """A set whose last image but one to train with is bad, and its path."""
    root = pictures.write(tmp_path / "set", {"0.png": PNG, "1.jpg": JPEG})
    path = root / "train" / "bee" / f"0_{bad}"
    path.write_bytes(content)
    return {"name": f"folder:{root}", "check_images": False}, path


def _evaluate(split, strategy):
    loop = Loop(distribute.strategy(strategy), progress=False)
    return loop.run(
        Phase(
            "test", split, 2,
            lambda images, labels, draw, values: Objective(
                tf.reduce_mean(images, (1, 2, 3))
            ),
            lambda draw: [], bn_groups=None,
        ), 0,
    )


def _within(split):
    with blame.bad_image(split):
        for _ in split.batches(2, seed=0, epoch=0, augment="flip"):
            pass


USES = {
    "arrays": lambda split: split.arrays(),
    "representative": lambda split: split.representative(9, seed=0),
    "batches": _within,
    "loop": lambda split: _evaluate(split, "default"),
    "mirrored": lambda split: _evaluate(split, "mirrored"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "channels", [1, pytest.param(4, marks=pytest.mark.slow)]
)
def test_every_pass_names_the_image_that_ends_it(tmp_path, use, channels):
    config, path = _set(tmp_path, "half.png", BAD["half.png"])
    loaded = data.load({**config, "channels": channels})
    with pytest.raises(ArtifactError) as caught:
        USES[use](loaded.train)
    assert str(caught.value).startswith(f"{path}: damaged or unknown form of")
    assert "\n" not in str(caught.value)
    assert len(loaded.test.arrays()[1]) == 4  # the other half is fine


@pytest.mark.parametrize("bad", BAD)
def test_whatever_is_wrong_with_an_image_is_said(tmp_path, bad):
    config, path = _set(tmp_path, bad, BAD[bad])
    with pytest.raises(ArtifactError, match=f"^{path}: .*(damag|no picture)"):
        data.load(config).train.arrays()


def test_an_image_that_is_removed_meanwhile_is_named(tmp_path):
    config, path = _set(tmp_path, "good.png", PNG)
    loaded = data.load({**config, "check_images": True})
    os.remove(path)
    with pytest.raises(ArtifactError, match=f"^{path}: no longer there"):
        loaded.train.arrays()


def test_images_of_another_split_are_not_blamed(tmp_path):
    config, path = _set(tmp_path, "half.png", BAD["half.png"])
    train = data.load(config).train
    bad = [
        i for i in range(len(train))
        if train.images.name(int(train.indices[i])) == str(path)
    ]
    others = train.subset(np.setdiff1d(np.arange(len(train)), bad))
    assert len(bad) == 1 and len(others.arrays()[1]) == 4
    with pytest.raises(tf.errors.InvalidArgumentError, match="not of images"):
        with blame.bad_image(others):
            raise tf.errors.InvalidArgumentError(None, None, "not of images")


def test_records_are_named_by_their_number(tmp_path):
    record_files.write(tmp_path / "train-0", [PNG, JPEG, b"x", PNG], [0, 1] * 2)
    record_files.write(tmp_path / "val-0", [PNG, PNG], [0, 1])
    config = {"name": f"tfrecord:{tmp_path}/*-0", "check_images": False}
    with pytest.raises(ArtifactError, match=r"train-0:2: no picture"):
        data.load(config).train.arrays()


def test_a_set_in_memory_and_a_text_have_no_image_to_blame():
    for split in (data.load({"name": "digits"}).train, object()):
        with pytest.raises(tf.errors.UnknownError):
            with blame.bad_image(split):
                raise tf.errors.UnknownError(None, None, "the disk is gone")
