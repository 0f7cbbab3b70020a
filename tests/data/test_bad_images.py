"""What becomes of image files that are broken or of an unusual form."""

import io
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL import ImageChops

from tests.data import record_files
from tests.data.pictures import encode
from tests.data.pictures import noise
from tfnas import data
from tfnas.data import augment as augmentation
from tfnas.data import augment_words
from tfnas.data import decoding
from tfnas.data import pipeline
from tfnas.errors import ArtifactError


def _noise(mode="RGB", size=(60, 60)):
    return noise(mode, size)


JPEG = encode(_noise(), "JPEG", quality=95)
PNG = encode(_noise(), "PNG")


def _grey_16_bits():
    values = np.linspace(0, 65535, 60 * 60).reshape(60, 60)
    return Image.fromarray(values.astype(np.uint16))


def _frames():
    first = _noise()
    return {"save_all": True, "append_images": [ImageChops.invert(first)]}


# File and the image that it should be read as.
READ = {
    "cmyk.jpg": (
        encode(_noise("CMYK"), "JPEG", quality=100),
        lambda file: Image.open(file).convert("RGB"),
    ),
    "grey.jpg": (
        encode(_noise("L"), "JPEG", quality=95),
        lambda file: Image.open(file).convert("RGB"),
    ),
    "16_bits.png": (
        encode(_grey_16_bits(), "PNG"),
        lambda file: Image.fromarray(
            (np.asarray(Image.open(file)) >> 8).astype(np.uint8)
        ).convert("RGB"),
    ),
    "animated.png": (encode(_noise(), "PNG", **_frames()), lambda _: _noise()),
    "palette.png": (
        encode(_noise().quantize(16), "PNG"),
        lambda file: Image.open(file).convert("RGB"),
    ),
    "alpha.png": (
        encode(_noise("RGBA"), "PNG"),
        lambda file: Image.open(file).convert("RGB"),
    ),
    "png_named.jpg": (PNG, Image.open),
    "animated.gif.jpg": (
        encode(_noise().quantize(64), "GIF", **_frames()),
        lambda file: Image.open(file).convert("RGB"),
    ),
    "picture.webp.png": (encode(_noise(), "WEBP"), Image.open),
}

# File and what it is said to be.
REFUSED = {
    "empty.jpg": (b"", "empty"),
    "half.gif.jpg": (encode(_noise(), "GIF")[:900], "damaged"),
    "half.webp": (encode(_noise(), "WEBP")[:300], "damaged"),
    "text.jpg": (b"<html>not found</html>", "no picture that can be read"),
    "header_only.jpg": (JPEG[:3], "form of JPEG, 3 bytes"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "damaged"),
    "half.png": (PNG[: len(PNG) // 2], "damaged"),
    "cut_at_the_end.png": (PNG[:-20], "damaged"),
    "flipped_bit.png": (
        PNG[:100] + bytes([PNG[100] ^ 1]) + PNG[101:], "damaged"
    ),
}


@pytest.fixture
def folder(tmp_path):
    """Two classes of 2 images to train and 1 to test."""
    for half, count in (("train", 2), ("val", 1)):
        for name in ("ant", "bee"):
            place = tmp_path / half / name
            place.mkdir(parents=True)
            for number in range(count):
                _noise().save(place / f"{number}.png")
    return tmp_path


def _middle(image):
    """What the network sees of an image of 60 x 60, without resizing."""
    return np.asarray(image.crop((4, 4, 56, 56)), float)


@pytest.mark.parametrize("name", READ)
def test_unusual_image_is_read_as_it_looks(folder, name):
    content, truth = READ[name]
    assert decoding.look(content) == (None, 1)
    (folder / "val" / "ant" / "0.png").unlink()
    (folder / "val" / "ant" / name).write_bytes(content)
    config = {
        "name": f"folder:{folder}", "image_size": 52, "mean": 0, "std": 1
    }
    images, labels = data.load(config).test.arrays()
    assert labels.tolist() == [0, 1]
    expected = _middle(truth(io.BytesIO(content)))
    # Pillow and TensorFlow round differently on the way from CMYK.
    tolerance = 2 if name == "cmyk.jpg" else 0.01
    assert np.abs(images[0] - expected).max() < tolerance


@pytest.mark.parametrize("name", REFUSED)
def test_bad_image_is_named_and_skipped(folder, caplog, name):
    content, what = REFUSED[name]
    path = folder / "train" / "ant" / name
    path.write_bytes(content)
    loaded = data.load({"name": f"folder:{folder}"})
    assert loaded.train.labels.tolist() == [0, 0, 1, 1]
    images, _ = loaded.train.arrays()
    assert images.shape == (4, 32, 32, 3)
    assert f"1 unreadable image(s) skipped:\n  {path}: " in caplog.text
    assert what in caplog.text


def _icon(png):
    """A PNG of 128 x 128 as an icon of Apple holds it."""
    entry = b"ic07" + (8 + len(png)).to_bytes(4, "big") + png
    return b"icns" + (8 + len(entry)).to_bytes(4, "big") + entry


def test_palette_that_pillow_loses_has_no_opacity(folder):
    """An icon has the mode of a palette, but Pillow keeps no palette."""
    content = _icon(encode(_noise(size=(128, 128)).quantize(16), "PNG"))
    for name in ("ant", "bee"):
        (folder / "val" / name / "0.png").write_bytes(content)
    config = {"name": f"folder:{folder}", "mean": 0, "std": 1}
    three, four = (
        data.load({**config, "channels": channels}).test.arrays()[0]
        for channels in (3, 4)
    )
    assert np.array_equal(four[..., :3], three)
    assert np.allclose(four[..., 3], 255)


def test_image_of_far_too_many_pixels_is_refused_undecoded():
    size = (60_000).to_bytes(4, "big")
    header = PNG[:16] + size + size + PNG[24:29]
    crc = zlib.crc32(header[12:29]).to_bytes(4, "big")
    assert "pixels" in decoding.look(header + crc + PNG[33:])[0]


@pytest.mark.parametrize("augment", ["none", "resized_crop+flip"])
def test_decoding_a_part_gives_what_decoding_the_whole_gives(folder, augment):
    # The same pixels as a PNG, which is always decoded whole. The noise has
    # much colour, so that the edge of a part of a JPEG would be seen.
    content = encode(_noise(size=(133, 87)), "JPEG", quality=60)
    Image.open(io.BytesIO(content)).save(folder / "train" / "ant" / "0.png")
    (folder / "train" / "ant" / "1.png").write_bytes(content)
    config = {"name": f"folder:{folder}", "image_size": 40}
    split, words = data.load(config).train, augment_words.parse(augment)
    draws = augmentation.draw(30, words, ([0], [1]))
    png, jpeg = (
        next(iter(pipeline.build(
            split.images, split.labels, which, draws, words, split.size,
            split.mean, split.std, split.exif_rotation, 30, True,
        )))
        for which in (np.full(30, 0), np.full(30, 1))
    )
    assert np.array_equal(png[0], jpeg[0])


def _records(folder, files):
    """Training records of some files, two classes in turn, and a test set."""
    labels = [number % 2 for number in range(len(files))]
    record_files.write(folder / "train-0", files, labels)
    record_files.write(folder / "val-0", [PNG, PNG], [0, 1])
    return {"name": f"tfrecord:{folder}/*-0", "max_bad": 2}


def test_bad_images_in_records_are_named_and_skipped(tmp_path, caplog):
    bad = REFUSED["half.jpg"][0]
    config = _records(tmp_path, [JPEG, PNG, bad, JPEG, b"GIF89a", PNG])
    loaded = data.load(config)
    assert loaded.train.labels.tolist() == [0, 1, 1, 1]
    images, labels = loaded.train.arrays()
    assert images.shape == (4, 32, 32, 3) and labels.tolist() == [0, 1, 1, 1]
    assert "2 unreadable" in caplog.text
    assert "train-0:2: damaged" in caplog.text
    assert "train-0:4: no picture that can be read" in caplog.text
    assert "starts with b'GIF89a'" in caplog.text


def test_too_many_bad_images_in_records_are_an_error(tmp_path):
    config = _records(tmp_path, [JPEG, PNG, b"x", b"y", b"z", PNG])
    with pytest.raises(ArtifactError, match="max_bad=2 .*: 3\n  train-0:2"):
        data.load(config)


def test_record_that_is_no_example_is_refused(tmp_path):
    config = _records(tmp_path, [JPEG, PNG])
    with tf.io.TFRecordWriter(str(tmp_path / "train-0")) as writer:
        writer.write(b"\xff\xff\xff")
    with pytest.raises(ArtifactError, match="train-0: .*tf.train.Example"):
        data.load(config)
