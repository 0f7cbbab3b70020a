"""Class folders, and what bad ones are told."""

import pytest
import tensorflow as tf  # noqa: F401  decodes the images
from PIL import Image

from tfnas import data
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError


@pytest.fixture
def photos(tmp_path):
    """Two classes of 4 images to train and 1 to test, as PNG files."""
    for half, count in (("train", 4), ("val", 1)):
        for name in ("ant", "bee"):
            folder = tmp_path / half / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (40, 50), (number, 0, 0))
                image.save(folder / f"{number}.png")
    return tmp_path


def test_folder_labels_follow_sorted_class_names(photos):
    (photos / "train" / "ant" / "notes.txt").write_text("no image")
    (photos / "train" / "ant" / "._0.png").write_text("left by a system")
    (photos / "train" / ".cache").mkdir()
    loaded = data.load({"name": f"folder:{photos}"})
    assert loaded.class_names == ("ant", "bee")
    assert loaded.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert loaded.test.labels.tolist() == [0, 1]
    assert loaded.mean == pytest.approx((123.675, 116.28, 103.53))


def _spoil(folder, count):
    """Cuts off the end of some images."""
    for path in sorted(folder.iterdir())[:count]:
        path.write_bytes(path.read_bytes()[:60])


def test_unreadable_images_are_named_and_skipped(photos, caplog):
    _spoil(photos / "train" / "ant", 1)
    (photos / "train" / "bee" / "0.png").write_bytes(b"")
    loaded = data.load({"name": f"folder:{photos}"})
    assert loaded.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert "2 unreadable" in caplog.text
    assert "ant/0.png" in caplog.text and "bee/0.png" in caplog.text


def test_too_many_unreadable_images_are_an_error(photos):
    _spoil(photos / "train" / "ant", 3)
    with pytest.raises(ArtifactError, match="max_bad=2.*: 3\n.*ant/0.png"):
        data.load({"name": f"folder:{photos}", "max_bad": 2})


def test_class_without_a_readable_image_is_named(photos):
    _spoil(photos / "train" / "ant", 4)
    with pytest.raises(ArtifactError, match="none of ant"):
        data.load({"name": f"folder:{photos}"})


def test_missing_folder_is_named():
    with pytest.raises(ConfigError, match="name=folder:nowhere"):
        data.load({"name": "folder:nowhere"})


def test_folder_without_val_is_refused(tmp_path, photos):
    (photos / "val").rename(photos / "test")
    with pytest.raises(ArtifactError, match="val: expected a folder"):
        data.load({"name": f"folder:{photos}"})


def test_empty_folder_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(ArtifactError, match=r"train: .*\(empty\)"):
        data.load({"name": f"folder:{tmp_path}"})


def test_single_class_is_refused(tmp_path):
    (tmp_path / "train" / "ant").mkdir(parents=True)
    with pytest.raises(ArtifactError, match=r"at least 2 .*1 \(ant\)"):
        data.load({"name": f"folder:{tmp_path}"})


def test_class_folders_without_images_are_refused(tmp_path):
    for name in ("train/ant", "train/bee", "val/ant", "val/bee"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(ArtifactError, match="0 images, none of ant, bee"):
        data.load({"name": f"folder:{tmp_path}"})


def test_folder_with_unknown_test_class_is_refused(photos):
    (photos / "val" / "bee").rename(photos / "val" / "wasp")
    (photos / "val" / "bee").mkdir()
    with pytest.raises(ArtifactError, match="val: .*classes of train.*wasp"):
        data.load({"name": f"folder:{photos}"})
