"""The list of a search's images: made, read back, followed, refused."""

import json

import numpy as np
import pytest
import tensorflow as tf  # noqa: F401  decodes the images
from PIL import Image

from tfnas import artifacts
from tfnas import data
from tfnas.data import split_list
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def folder(tmp_path):
    """Three classes of 5 images to train and 1 to test."""
    for half, count in (("train", 5), ("val", 1)):
        for label, name in enumerate(CLASSES):
            place = tmp_path / "set" / half / name
            place.mkdir(parents=True)
            for number in range(count):
                color = (100 * label, 20 * number, 0)
                Image.new("RGB", (40, 40), color).save(place / f"{number}.png")
    return tmp_path / "set"


def _make(folder, kept=(0, 2), fraction=0.6, seed=None):
    name = f"folder:{folder}"
    source = data.find({"name": name})
    return data.SplitList.of(
        name, source.class_names, source.train, np.array(kept), fraction, seed
    )


def test_without_a_seed_the_first_images_train_the_weights(folder):
    made = _make(folder)
    assert made.classes == ("ant", "cat")
    assert made.weights == tuple(
        f"{name}/{i}.png" for name in ("ant", "cat") for i in range(3)
    )
    assert made.arch == tuple(
        f"{name}/{i}.png" for name in ("ant", "cat") for i in (3, 4)
    )


def test_a_seed_draws_as_many_others_of_each_class(folder):
    first, again, other = (_make(folder, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    for made in (first, other):
        assert not set(made.weights) & set(made.arch)
        assert set(made.weights + made.arch) == {
            f"{name}/{i}.png" for name in ("ant", "cat") for i in range(5)
        }
        assert sum(name.startswith("ant") for name in made.weights) == 3


def test_list_reads_back_as_it_was_written(folder, tmp_path):
    made = _make(folder, seed=3)
    made.save(tmp_path / "split.json")
    assert data.SplitList.load(tmp_path / "split.json") == made
    held = json.loads((tmp_path / "split.json").read_text())
    assert held["format"] == "tfnas-split/1"


def test_search_follows_the_list(folder, tmp_path):
    made = _make(folder, seed=3)
    made.save(tmp_path / "split.json")
    config = {
        "name": f"folder:{folder}", "split_list": str(tmp_path / "split.json"),
        "classes": 2, "mean": 0, "std": 1,
    }
    loaded = data.load(config)
    assert loaded.class_names == ("ant", "cat")
    assert len(loaded.train) == 10 and len(loaded.test) == 2
    for part, names in zip(
        loaded.search_splits(0.5, 9), (made.weights, made.arch), strict=True
    ):
        images, labels = part.arrays()
        # Red tells the class, green the number of the file.
        seen = {
            (f"{CLASSES[round(red / 100)]}/{round(green / 20)}.png", label)
            for (red, green, _), label in zip(
                images[:, 16, 16], labels.tolist(), strict=True
            )
        }
        assert seen == {(n, int(n.startswith("cat"))) for n in names}


def test_unreadable_image_of_the_list_is_left_out(folder, tmp_path, caplog):
    _make(folder).save(tmp_path / "split.json")
    (folder / "train" / "ant" / "1.png").write_bytes(b"")
    config = {
        "name": f"folder:{folder}", "split_list": str(tmp_path / "split.json")
    }
    weights, arch = data.load(config).search_splits()
    assert (len(weights), len(arch)) == (5, 4)
    assert weights.arrays()[1].tolist() == [0, 0, 1, 1, 1]
    assert "ant/1.png: empty" in caplog.text


def test_images_in_memory_are_listed_by_number(tmp_path):
    source = data.find({"name": "digits"})
    made = data.SplitList.of(
        "digits", source.class_names, source.train, np.array([3, 7]), 0.8, 0
    )
    made.save(tmp_path / "split.json")
    config = {"name": "digits", "split_list": str(tmp_path / "split.json")}
    loaded = data.load(config)
    assert loaded.class_names == ("3", "7")
    weights, arch = loaded.search_splits()
    assert len(weights) + len(arch) == len(loaded.train)
    labels = source.train.labels
    assert len(loaded.train) == np.isin(labels, [3, 7]).sum()
    number = int(made.arch[0])
    assert np.array_equal(
        loaded.train.images.array[arch.indices[0]],
        data.load({"name": "digits"}).train.images.array[number],
    )


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"classes": 3}, "must be null beside.*2 classes.*classes=3"),
        ({"class_seed": 0}, "must be null beside.*class_seed=0"),
        ({"limit_train": 2}, "label.* 0, 1; is `limit_train` too small"),
    ],
)
def test_fields_that_contradict_the_list_are_refused(
    folder, tmp_path, fields, message
):
    _make(folder).save(tmp_path / "split.json")
    path = str(tmp_path / "split.json")
    config = {"name": f"folder:{folder}", "split_list": path, **fields}
    with pytest.raises(ConfigError, match=message):
        data.load(config)


def test_missing_images_and_classes_are_counted_and_named(folder, tmp_path):
    _make(folder).save(tmp_path / "split.json")
    config = {
        "name": f"folder:{folder}", "split_list": str(tmp_path / "split.json")
    }
    (folder / "train" / "ant" / "1.png").unlink()
    with pytest.raises(ArtifactError, match="1 missing, ant/1.png"):
        data.load(config)
    with pytest.raises(ArtifactError, match="2 classes.*2 missing, ant, cat"):
        data.load({**config, "name": "digits"})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "tfnas-split/2"}, 'field "format"'),
        ({"weights": []}, "`weights` must be a list, not empty"),
        ({"arch": "ant/3.png"}, "`arch` must be a list"),
        ({"arch": [3]}, r"`arch\[0\]` must be a string"),
        ({"classes": None}, "`classes` must be a list"),
        ({"arch": ["ant/0.png"]}, "`weights` and `arch`.*ant/0.png, 2 times"),
        ({"classes": ["ant", "ant"]}, "`classes` must name each once"),
        ({"seed": "x"}, "`seed` must be an integer, .* or null"),
        ({"fraction": None}, "`fraction` must be a number"),
    ],
)
def test_damaged_list_is_refused(folder, tmp_path, change, message):
    path = tmp_path / "split.json"
    _make(folder).save(path)
    artifacts.write_json(path, artifacts.read_json(path) | change)
    with pytest.raises(ArtifactError, match=message):
        data.SplitList.load(path)


def test_image_of_another_class_is_refused(folder, tmp_path):
    path = tmp_path / "split.json"
    _make(folder).save(path)
    held = artifacts.read_json(path)
    held["arch"].append("bee/0.png")
    artifacts.write_json(path, held)
    config = {"name": f"folder:{folder}", "split_list": str(path)}
    with pytest.raises(ArtifactError, match="bee/0.png of others"):
        data.load(config)


def test_class_without_images_cannot_be_listed(folder):
    for path in (folder / "train" / "cat").iterdir():
        path.unlink()
    with pytest.raises(ArtifactError, match="none of cat"):
        _make(folder)


def test_class_with_one_image_cannot_be_split(folder):
    for path in list((folder / "train" / "cat").iterdir())[1:]:
        path.unlink()
    with pytest.raises(ConfigError, match="label 2 has 1 image"):
        _make(folder)


def test_class_lists_are_read_and_checked(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xef\xbb\xbfcat\r\nC# minor\r\n\r\n")
    assert split_list.read_classes(str(path)) == ("cat", "C# minor")
    for text in ("", "cat\n", "cat\ncat\nant\n", "cat\n\nant\n"):
        path.write_text(text)
        with pytest.raises(ArtifactError, match="classes.txt: expected"):
            split_list.read_classes(str(path))


def test_imagenet100_is_the_first_hundred_in_sorted_order(shared_data):
    names = split_list.read_classes("imagenet100")
    index = artifacts.read_json(shared_data / "imagenet_class_index.json")
    everything = sorted(wnid for wnid, _ in index.values())
    assert len(everything) == 1000
    assert list(names) == everything[:100]
