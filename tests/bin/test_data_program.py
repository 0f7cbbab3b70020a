"""`tfnas-data`: lists are written, records are packed and read back."""

import io
import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import tiny_runs
from tests.data import pictures
from tests.data import record_files
from tests.train import small
from tfnas import artifacts
from tfnas import data
from tfnas.data import packing
from tfnas.errors import ArtifactError

CLASSES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of 6 images to train and 2 to test, JPEG and PNG."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for half, count in (("train", 6), ("val", 2)):
        for name in CLASSES:
            place = root / half / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (5, 5, 3), np.uint8)
                image = Image.fromarray(pixels).resize((50, 40))
                suffix = "png" if number == 1 else "jpg"
                image.save(place / f"{number}.{suffix}")
    return root


@pytest.fixture(scope="module")
def run(program):
    """Runs `tfnas-data` and says what it printed."""

    def started(*args, code=0, folder):
        done = program("data", *args, folder=folder)
        assert done.code == code, done.errors
        return done.errors if code else done.output

    return started


@pytest.fixture(scope="module")
def packed(run, folder, tmp_path_factory):
    """A folder with a list of two classes, and the records of its images."""
    where = tmp_path_factory.mktemp("packed")
    said = run(
        "split", f"--data=folder:{folder}", "--classes=2", "--fraction=0.7",
        "--output=split.json", folder=where,
    )
    assert "2 classes, 8 images for the weights, 4 for the arch" in said
    said = run(
        "pack", f"--data=folder:{folder}", "--split_list=split.json",
        "--output=records", "--images_per_file=5", folder=where,
    )
    assert "12 training and 4 test images" in said
    assert "tfrecord:records/*.tfrecord" in said
    return where


def test_split_names_the_first_images_of_the_first_classes(packed):
    made = data.SplitList.load(packed / "split.json")
    assert made.classes == ("ant", "bee")
    assert made.weights == (
        "ant/0.jpg", "ant/1.png", "ant/2.jpg", "ant/3.jpg",
        "bee/0.jpg", "bee/1.png", "bee/2.jpg", "bee/3.jpg",
    )
    assert made.arch == ("ant/4.jpg", "ant/5.jpg", "bee/4.jpg", "bee/5.jpg")


def test_split_takes_seeds_and_class_lists(run, folder, tmp_path):
    name = f"--data=folder:{folder}"
    for seed in (1, 2):
        run(
            "split", name, "--classes=2", "--class_seed=5", f"--seed={seed}",
            f"--output={seed}.json", folder=tmp_path,
        )
    (tmp_path / "classes.txt").write_text("cat\nant\n")
    run(
        "split", name, "--class_list=classes.txt", "--output=listed.json",
        folder=tmp_path,
    )
    first, second, listed = (
        data.SplitList.load(tmp_path / f"{stem}.json")
        for stem in ("1", "2", "listed")
    )
    assert first.classes == second.classes and first.weights != second.weights
    assert listed.classes == ("ant", "cat")


def test_records_are_packed_byte_for_byte_in_several_files(packed, folder):
    files = sorted(os.listdir(packed / "records"))
    assert files == [
        "classes.json", "config.json",
        *(f"train-0000{i}-of-00003.tfrecord" for i in range(3)),
        "val-00000-of-00001.tfrecord",
    ]
    seen = {}
    for path in (packed / "records").glob("train-*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            name = feature["image/filename"].bytes_list.value[0].decode()
            content = feature["image/encoded"].bytes_list.value[0]
            assert content == (folder / "train" / name).read_bytes()
            label = feature["image/class/label"].int64_list.value[0]
            assert name.startswith(CLASSES[label])
            text = feature["image/class/text"].bytes_list.value[0].decode()
            assert text == CLASSES[label]
            kind = feature["image/format"].bytes_list.value[0]
            assert kind == (b"PNG" if name.endswith("png") else b"JPEG")
            seen[name] = label
    assert len(seen) == 12


def _by_pixels(split):
    images, labels = split.arrays()
    return sorted(
        (image.tobytes(), label)
        for image, label in zip(images, labels.tolist(), strict=True)
    )


def test_list_gives_the_same_split_of_folder_and_records(packed, folder):
    split_list = str(packed / "split.json")
    ours, theirs = (
        data.load({"name": name, "split_list": split_list})
        for name in (
            f"folder:{folder}", f"tfrecord:{packed}/records/*.tfrecord"
        )
    )
    assert ours.class_names == theirs.class_names == ("ant", "bee")
    assert _by_pixels(ours.test) == _by_pixels(theirs.test)
    for mine, other in zip(
        ours.search_splits(), theirs.search_splits(), strict=True
    ):
        assert _by_pixels(mine) == _by_pixels(other)


def test_interrupted_pack_goes_on_where_it_stopped(run, folder, tmp_path):
    args = ("pack", f"--data=folder:{folder}", "--images_per_file=4")
    run(*args, "--output=whole", folder=tmp_path)
    run(*args, "--output=broken", folder=tmp_path)
    broken = tmp_path / "broken"
    # As a kill leaves it: the second file half written, no list of classes.
    kept = broken / "train-00000-of-00005.tfrecord"
    before = kept.stat().st_mtime_ns
    (broken / "classes.json").unlink()
    for path in broken.glob("*.tfrecord"):
        if path != kept:
            path.rename(path.with_name(f".{path.name}.7.tmp"))
    name = f"tfrecord:{broken}/*.tfrecord"
    with pytest.raises(ArtifactError, match="again goes on. Received: no "):
        _load_or_explain(name, broken)
    run(*args, "--output=broken", folder=tmp_path)
    assert kept.stat().st_mtime_ns == before
    whole = {p.name: p.read_bytes() for p in (tmp_path / "whole").iterdir()}
    for file, content in whole.items():
        assert (broken / file).read_bytes() == content


def _load_or_explain(name, folder):
    # A test file is there, or it would be missed first.
    hidden = next(folder.glob(".val-00000*"))
    hidden.rename(folder / "val-00000-of-00002.tfrecord")
    try:
        return data.load({"name": name})
    finally:
        (folder / "val-00000-of-00002.tfrecord").unlink()


def test_missing_file_of_packed_records_is_noticed(run, folder, tmp_path):
    run(
        "pack", f"--data=folder:{folder}", "--output=records",
        "--images_per_file=4", folder=tmp_path,
    )
    (tmp_path / "records" / "train-00001-of-00005.tfrecord").unlink()
    with pytest.raises(ArtifactError, match="'train': 18.*'train': 14.*missi"):
        data.load({"name": f"tfrecord:{tmp_path}/records/*.tfrecord"})


@pytest.mark.parametrize(
    "content, message",
    [
        ({"classes": "ant"}, "`classes` must be a list"),
        ({"classes": ["ant"]}, "a name for every label. Received: 1 names"),
        ({"format": "tfnas-classes/9"}, 'field "format"'),
    ],
)
def test_damaged_class_names_are_refused(packed, tmp_path, content, message):
    records = tmp_path / "records"
    records.mkdir()
    for path in (packed / "records").iterdir():
        (records / path.name).write_bytes(path.read_bytes())
    path = records / "classes.json"
    artifacts.write_json(path, artifacts.read_json(path) | content)
    with pytest.raises(ArtifactError, match=message):
        data.load({"name": f"tfrecord:{records}/*.tfrecord"})


def test_pixels_in_memory_are_packed_without_loss(run, tmp_path):
    run("pack", "--data=digits", "--output=digits", folder=tmp_path)
    packed = data.load(
        {"name": f"tfrecord:{tmp_path}/digits/*.tfrecord", "limit_test": 10}
    )
    assert packed.class_names == tuple("0123456789")
    digits = data.load({"name": "digits"})
    assert len(packed.train) == len(digits.train)
    source = data.find({"name": f"tfrecord:{tmp_path}/digits/*.tfrecord"})
    names = source.test.names
    assert len(names) == len(digits.test)
    read, _ = source.test.read(np.arange(9))
    for row in range(9):
        pixels = np.asarray(Image.open(io.BytesIO(packing.file_of(read, row))))
        original = digits.test.images.array[int(names[row]), ..., 0]
        assert np.array_equal(pixels, original)


def test_unreadable_images_are_left_out_up_to_a_limit(run, folder, tmp_path):
    bad = tmp_path / "set"
    for half in ("train", "val"):
        for name in CLASSES:
            (bad / half / name).mkdir(parents=True)
            for path in (folder / half / name).iterdir():
                (bad / half / name / path.name).write_bytes(path.read_bytes())
    path = bad / "train" / "bee" / "0.jpg"
    path.write_bytes(path.read_bytes()[:200])
    args = ("pack", f"--data=folder:{bad}", "--output=records")
    errors = run(*args, "--max_bad=0", code=2, folder=tmp_path)
    assert "max_bad=0" in errors and "bee/0.jpg: damaged" in errors
    assert not (tmp_path / "records").exists()
    assert "17 training and 6 test" in run(*args, folder=tmp_path)


def test_folder_of_another_set_is_not_packed_into(run, packed, folder):
    errors = run(
        "pack", f"--data=folder:{folder}", "--output=records", code=2,
        folder=packed,
    )
    assert "a new --output" in errors and "images.train: 12 there" in errors


@pytest.mark.parametrize(
    "args, message",
    [
        ((), "Expected one of split, pack before the flags"),
        (("mix",), "Expected one of split, pack.*Received: mix"),
        (("split", "pack"), "Received: split pack"),
        (("split", "--max_bad=1"), "--max_bad, for pack"),
        (("pack", "--seed=1"), "--seed, for split"),
        (("split", "--classes=1"), "classes"),
        (("split", "--classes=11"), "between 2 and 10.*classes=11"),
        (("split", "--class_seed=1"), "class_seed=1 alone"),
        (("split", "--classes=2", "--class_list=imagenet100"), "both"),
        (("split", "--class_list=imagenet100"), "100 missing, n01440764"),
        (("split", "--class_list=no.txt"), "no.txt: No such file"),
        (("split", "--fraction=1"), "an image of every class"),
        (("pack", "--split_list=no.json"), "no.json: No such file"),
    ],
)
def test_bad_usage_is_explained(run, tmp_path, args, message):
    errors = run(*args, "--data=digits", "--output=x", code=2, folder=tmp_path)
    assert re.search(message, errors), errors
    assert not os.listdir(tmp_path)


def test_text_is_refused(run, tmp_path):
    errors = run(
        "pack", "--data=ptb:x", "--output=x", code=2, folder=tmp_path
    )
    assert "needs images" in errors


def test_search_goes_by_the_list_and_notices_another(program, run, tmp_path):
    run(
        "split", "--data=digits", "--classes=3", "--fraction=0.5", "--seed=0",
        "--output=split.json", folder=tmp_path,
    )
    path = tmp_path / "split.json"
    args = (
        f"--workdir={tmp_path / 'search'}",
        *tiny_runs.make_flags(data__split_list=path, search__epochs=1),
    )
    done = program("search", *args)
    assert done.code == 0, done.errors
    result = artifacts.read_json(tmp_path / "search" / "result.json")
    digest = artifacts.sha256(path)
    assert digest in json.dumps(result)
    artifacts.write_json(path, artifacts.read_json(path) | {"seed": 1})
    done = program("search", *args)
    assert done.code == 2
    assert digest in done.errors and "split_list" in done.errors


def test_a_training_ends_with_one_line_on_an_unreadable_image(
    program, tmp_path
):
    png = pictures.encode(pictures.noise(), "PNG")
    root = pictures.write(tmp_path / "set", {"0.png": png, "1.png": png})
    bad = root / "train" / "bee" / "1.png"
    bad.write_bytes(png[: len(png) // 2])
    small.arch(2).save(tmp_path / "a.json")
    done = program(
        "train", f"--config={tiny_runs.ROOT}/configs/densenas.py:local",
        "--arch=a.json", "--workdir=run", f"--config.data.name=folder:{root}",
        "--config.data.check_images=false", "--config.train.batch_size=2",
        "--config.train.epochs=1", folder=tmp_path,
    )
    assert done.code == 2, done.errors
    said = [x for x in done.errors.splitlines() if x.startswith("error")]
    assert said == [
        f"error: {bad}: damaged or unknown form of PNG, {len(png) // 2} bytes"
    ]
    assert "Traceback" not in done.errors


def test_a_seed_of_classes_out_of_range_is_bad_input(program, tmp_path):
    small.arch(2).save(tmp_path / "a.json")
    done = program(
        "train", f"--config={tiny_runs.ROOT}/configs/densenas.py:local",
        "--arch=a.json", "--workdir=run", "--config.data.classes=2",
        "--config.data.class_seed=-1", folder=tmp_path,
    )
    assert done.code == 2
    assert "`class_seed` must be an integer of 0 to" in done.errors


def test_packed_records_are_checked_again_where_opacity_is_read(
    packed, tmp_path, caplog
):
    # Packing looks at colours; other files may be damaged in their opacity.
    files = list((packed / "records").iterdir())
    for path in files:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").unlink()
    png = pictures.encode(pictures.noise("RGBA"), "PNG")
    record_files.write(
        tmp_path / "train-x.tfrecord", [png, png[: len(png) // 2]], [0, 1]
    )
    config = {"name": f"tfrecord:{tmp_path}/*.tfrecord"}
    count = len(data.load(config).train)
    assert "unreadable" not in caplog.text
    seen = data.load({**config, "channels": 4})
    assert len(seen.train) == count - 1
    assert "train-x.tfrecord:1: damaged" in caplog.text
    images, _ = seen.train.arrays()
    assert images.shape[-1] == 4
    trusted = data.load({**config, "channels": 4, "check_images": False})
    assert len(trusted.train) == count
