"""What lies in folders and is no picture: named, counted, never opened."""

import contextlib
import os
import pathlib
import shutil
import socket
import tempfile
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data import pictures
from tests.data import record_files
from tfnas import artifacts
from tfnas import data
from tfnas.data import decoding
from tfnas.data import files
from tfnas.errors import ArtifactError

PNG = pictures.encode(pictures.noise(), "PNG")
JPEG = pictures.encode(pictures.noise(), "JPEG")
NOBODY = 65534


@pytest.fixture
def folder(tmp_path):
    """Two classes of 2 images to train and 2 to test."""
    return pictures.write(tmp_path / "set", {"0.png": PNG, "1.jpg": JPEG})


def _header(width, height):
    """The start of a PNG file that promises so many pixels."""
    sides = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header = PNG[:16] + sides + PNG[24:29]
    return header + zlib.crc32(header[12:29]).to_bytes(4, "big") + PNG[33:]


def _jpeg_header(width, height):
    """A JPEG file that promises so many pixels."""
    start = JPEG.index(b"\xff\xc0") + 5
    sides = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return JPEG[:start] + sides + JPEG[start + 4 :]


@pytest.mark.parametrize("check", [True, False])
def test_only_regular_files_are_opened(folder, tmp_path, caplog, check):
    place = folder / "train" / "ant"
    os.mkfifo(place / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as end:
        with _within(place):  # the path of a socket has to be short
            end.bind("socket.jpg")
    (place / "zero.jpg").symlink_to("/dev/zero")
    (place / "linked_pipe.jpg").symlink_to("pipe.jpg")
    (place / "nowhere.jpg").symlink_to("absent.jpg")
    (place / "loop.jpg").symlink_to("loop.jpg")
    (place / "fine.jpg").symlink_to("1.jpg")
    (place / "folder.jpg").mkdir()
    (folder / "train" / "cat").symlink_to("cat")
    config = {"name": f"folder:{folder}", "check_images": check, "max_bad": 0}
    loaded = data.load(config)
    assert len(loaded.train) == 5
    images, _ = loaded.train.arrays()
    assert images.shape == (5, 32, 32, 3)
    assert caplog.text.count("\n") == 1
    for part in (
        "pipe.jpg (a named pipe)", "socket.jpg (a socket)",
        "zero.jpg (a link to a device)",
        "linked_pipe.jpg (a link to a named pipe)",
        "nowhere.jpg (a link to nowhere)",
        "loop.jpg (a link that leads to itself)", "1 in folders",
        "cat (a link that leads to itself)",
    ):
        assert part in caplog.text
    assert "fine.jpg" not in caplog.text


@contextlib.contextmanager
def _within(place):
    before = os.getcwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


def test_pipe_among_records_and_as_npz_is_named(tmp_path, caplog):
    for half in ("train", "val"):
        record_files.write(tmp_path / f"{half}-0", [PNG] * 2, [0, 1])
        os.mkfifo(tmp_path / f"{half}-1")
    assert len(data.load({"name": f"tfrecord:{tmp_path}/*"}).train) == 2
    assert "train-1 (a named pipe)" in caplog.text
    with pytest.raises(ArtifactError, match="regular.*val-1 .a named pipe"):
        data.load({"name": f"npz:{tmp_path}/val-1"})


def test_a_pipe_in_the_place_of_a_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(OSError, match="no regular file"):
        files.read(str(tmp_path / "a.jpg"))


@pytest.mark.parametrize("check", [True, False])
def test_a_file_over_the_limit_is_that_files_fault(folder, caplog, check):
    path = folder / "train" / "ant" / "large.jpg"
    with open(path, "wb") as file:
        file.truncate(files.MAX_FILE_BYTES + 1)
    (folder / "val" / "bee" / "empty.png").touch()
    config = {"name": f"folder:{folder}", "check_images": check}
    loaded = data.load(config)
    assert len(loaded.train) == len(loaded.test) == 4
    assert f"at most {files.MAX_FILE_BYTES} are read" in caplog.text
    assert "empty.png: empty" in caplog.text
    with pytest.raises(ArtifactError, match="max_bad=0 .*: 1\n.*large.jpg"):
        data.load({**config, "max_bad": 0})


@pytest.mark.parametrize(
    "content", [_header(20_000, 20_000), _jpeg_header(20_000, 20_000)],
    ids=["png", "jpeg"],
)
def test_400_megapixels_are_refused_by_their_header(folder, content):
    what, _ = decoding.look(content)
    assert str(decoding.MAX_PIXELS) in what and "pixels" in what
    (folder / "train" / "ant" / "0.png").write_bytes(content)
    loaded = data.load({"name": f"folder:{folder}", "check_images": False})
    with pytest.raises(Exception, match=f"{decoding.MAX_PIXELS} pixels"):
        loaded.train.arrays()


def test_a_gif_of_far_too_many_pixels_is_refused():
    gif = pictures.encode(pictures.noise("L"), "GIF")
    sides = (20_000).to_bytes(2, "little")
    assert "pixels" in decoding.look(gif[:6] + sides * 2 + gif[10:])[0]


@pytest.mark.filterwarnings("error")
def test_photos_of_108_megapixels_are_read_and_warn_of_nothing():
    image = Image.new("1", (12_000, 9_000))
    for kind in ("PNG", "TIFF"):
        options = {"compression": "group4"} if kind == "TIFF" else {}
        content = pictures.encode(image, kind, **options)
        decoding.opened(content).close()
        assert decoding.orientation(content) == 1


def test_the_filters_of_warnings_stay_as_they_were():
    before = list(warnings.filters)
    decoding.opened(PNG)
    assert warnings.filters == before


NAMES = [b"caf\xe9", b"cafe\\xe9", "café".encode(), "日本".encode(), b"a\nb"]


def test_names_of_any_encoding_are_read_and_distinct(tmp_path):
    root = os.fsencode(tmp_path) + b"/se\xe9t"
    for half in (b"train", b"val"):
        for name in NAMES:
            place = os.path.join(root, half, name)
            os.makedirs(place)
            for file in (b"\xff\xfe.png", b"0.jpg", b"\\xff\\xfe.png"):
                path = pathlib.Path(os.fsdecode(os.path.join(place, file)))
                path.write_bytes(JPEG if file == b"0.jpg" else PNG)
    loaded = data.load({"name": f"folder:{os.fsdecode(root)}", "max_bad": 0})
    assert len(loaded.train) == 15
    assert loaded.train.arrays()[0].shape == (15, 32, 32, 3)
    assert len(set(loaded.class_names)) == len(NAMES)
    assert {"café", "日本", "cafe\\xe9", "caf\\xe9", "a\\nb"} == set(
        loaded.class_names
    )
    source = data.find({"name": f"folder:{os.fsdecode(root)}"})
    names = source.train.names
    assert len(set(names)) == 15
    assert all(name.encode() and name.count("\n") == 0 for name in names)


def test_printable_names_stay_distinct():
    raw = [os.fsdecode(b"a\xe9"), "a\\xe9", "plain"]
    assert files.printable_names(raw) == ["a\\xe9 (2)", "a\\xe9", "plain"]


def test_split_list_and_records_of_odd_names(program, tmp_path):
    place = os.fsencode(tmp_path) + b"/s\xe9t"
    for half in (b"train", b"val"):
        for name in (b"\xe9", b"b"):
            os.makedirs(os.path.join(place, half, name))
            for i in range(2):
                path = os.path.join(place, half, name, b"%d\xff.png" % i)
                pathlib.Path(os.fsdecode(path)).write_bytes(PNG)
    for command in (
        ["split", "--output=split.json", "--fraction=0.5"],
        ["pack", "--output=records", "--split_list=split.json"],
    ):
        done = program(
            "data", *command, f"--data=folder:{os.fsdecode(place)}",
            folder=tmp_path,
        )
        assert done.code == 0, done.errors
    made = artifacts.read_json(tmp_path / "split.json")
    assert made["classes"] == ["b", "\\xe9"]
    loaded = data.load({
        "name": f"tfrecord:{tmp_path}/records/*.tfrecord",
        "split_list": str(tmp_path / "split.json"),
    })
    assert len(loaded.train.arrays()[0]) == 4


@contextlib.contextmanager
def _as_nobody():
    """Root may read everything; an ordinary user may not."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared_folder():
    """A set in a folder that every user can reach."""
    root = pathlib.Path(tempfile.mkdtemp())
    root.chmod(0o755)
    yield pictures.write(root, {"0.png": PNG, "1.png": PNG})
    shutil.rmtree(root)


@pytest.mark.parametrize("place", ["train", "val/bee"])
def test_an_unreadable_folder_is_one_line(shared_folder, place):
    (shared_folder / place).chmod(0o000)
    with _as_nobody(), pytest.raises(ArtifactError) as caught:
        data.load({"name": f"folder:{shared_folder}"})
    (shared_folder / place).chmod(0o755)
    message = str(caught.value)
    assert f"{shared_folder / place}: expected" in message
    assert "Permission denied" in message and "\n" not in message


def test_an_unreadable_file_is_that_files_fault(shared_folder, caplog):
    (shared_folder / "train" / "ant" / "0.png").chmod(0o000)
    with _as_nobody():
        loaded = data.load({"name": f"folder:{shared_folder}"})
    assert loaded.train.labels.tolist() == [0, 1, 1]
    assert "ant/0.png: Permission denied" in caplog.text


def _empty(folder, half, name):
    for path in (folder / half / name).iterdir():
        path.unlink()


@pytest.mark.parametrize(
    "half, word", [("train", "training"), ("val", "test")]
)
@pytest.mark.parametrize("how", ["absent", "unreadable", "other"])
def test_a_class_without_pictures_is_named(folder, half, word, how):
    _empty(folder, half, "bee")
    if how == "unreadable":
        for number in range(2):
            (folder / half / "bee" / f"{number}.jpg").write_bytes(b"x")
    elif how == "other":
        (folder / half / "bee" / "0.heic").write_bytes(b"x")
    with pytest.raises(ArtifactError) as caught:
        data.load({"name": f"folder:{folder}"})
    message = str(caught.value)
    assert f"{word} images of every class. Received: 2 images" in message
    assert "none of bee" in message and "\n" not in message
    assert ("1 .heic" in message) == (how == "other")


def test_classes_that_are_not_used_need_no_pictures(folder):
    for half in ("train", "val"):
        (folder / half / "cat").mkdir()
    assert data.load({"name": f"folder:{folder}", "classes": 2}).classes == 2
    with pytest.raises(ArtifactError, match="none of cat"):
        data.load({"name": f"folder:{folder}"})


def test_a_limit_may_leave_classes_untested(folder):
    loaded = data.load({"name": f"folder:{folder}", "limit_test": 1})
    assert loaded.test.labels.tolist() == [0]


def test_a_folder_without_a_readable_picture_is_one_line(folder):
    for path in folder.rglob("*.*"):
        path.write_bytes(b"<html>")
    for max_bad in (0, 10):
        with pytest.raises(ArtifactError) as caught:
            data.load({"name": f"folder:{folder}", "max_bad": max_bad})
        message = str(caught.value)
        assert f"{folder / 'train'}: expected images that can be" in message
        assert "4 unreadable, the first is" in message and "\n" not in message


def test_without_a_check_a_bad_picture_ends_the_reading(folder):
    (folder / "train" / "ant" / "0.png").write_bytes(b"<html>")
    loaded = data.load({"name": f"folder:{folder}", "check_images": False})
    with pytest.raises(ArtifactError, match="ant/0.png: no picture that can"):
        loaded.train.arrays()


def test_whatever_pillow_raises_is_that_files_fault(folder, caplog):
    rng = np.random.default_rng(0)
    good = pictures.encode(pictures.noise(), "TIFF", compression="tiff_lzw")
    place = folder / "train" / "ant"
    for number in range(30):
        spoilt = bytearray(good)
        for at in rng.integers(4, len(good), 20):
            spoilt[at] = rng.integers(256)
        (place / f"spoilt{number}.tif").write_bytes(bytes(spoilt))
    loaded = data.load({"name": f"folder:{folder}", "max_bad": 30})
    assert 4 <= len(loaded.train) < 34
    assert len(loaded.train.arrays()[0]) == len(loaded.train)
