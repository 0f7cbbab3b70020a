"""Every form of picture becomes the pixels that Pillow shows."""

import functools
import io
import os

import numpy as np
import pytest
from PIL import Image

from tests.data import pictures
from tests.data import record_files
from tfnas import data
from tfnas.data import augment as augmentation
from tfnas.data import augment_words
from tfnas.data import decoding
from tfnas.data import files
from tfnas.data import pipeline

OPTIONS = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True, "exact": True}}
CONFIG = {"image_size": pictures.SEEN, "mean": 0, "std": 1, "max_bad": 0}


def _seen(name, count, **fields):
    """What the network sees of the first images of the test half."""
    images, _ = data.load({"name": name, **CONFIG, **fields}).test.arrays()
    assert len(images) == 2 * count
    return images[:count]


def _seen_by_name(root, contents, **fields):
    pictures.write(root, contents)
    images = _seen(f"folder:{root}", len(contents), **fields)
    return dict(zip(sorted(contents), images, strict=True))


def _written_as(suffix):
    """A file of that suffix, or None where Pillow only reads its form."""
    kind = Image.registered_extensions()[suffix]
    for mode in ("RGB", "L", "1"):
        try:
            return pictures.encode(pictures.noise().convert(mode), kind)
        except (KeyError, OSError, ValueError):
            continue
    return None


def test_each_suffix_that_pillow_can_write_is_used(tmp_path):
    contents = {
        f"picture{suffix.upper()}": _written_as(suffix)
        # The two have sizes of their own.
        for suffix in files.suffixes() - {".icns", ".ico"}
    }
    contents = {name: file for name, file in contents.items() if file}
    common = "jpg jpeg jfif jpe png webp bmp tif tiff gif jp2 ppm tga"
    names = {f"picture.{suffix.upper()}" for suffix in common.split()}
    assert names <= set(contents) and len(contents) > 25
    for name, image in _seen_by_name(tmp_path, contents).items():
        error = np.abs(image - pictures.truth(contents[name])).max()
        assert error < 0.01, (name, error)


def test_of_16_bits_the_upper_8_are_seen(tmp_path):
    values = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    contents = {
        kind: pictures.encode(Image.fromarray(values), kind)
        for kind in ("TIFF", "PPM", "PNG")
    }
    contents = {f"{kind}.png": file for kind, file in contents.items()}
    expected = (values >> 8)[3:45, 4:60, None]
    for channels in (1, 3):
        seen = _seen_by_name(tmp_path, contents, channels=channels)
        for name, image in seen.items():
            assert np.all(image == expected), name


def _frames(kind):
    later = [pictures.noise(seed=seed) for seed in (1, 2)]
    return pictures.encode(
        pictures.noise(), kind, save_all=True, append_images=later
    )


def _clear(kind, mode):
    """A picture of which some pixels show what is behind it."""
    image = pictures.noise("LA" if mode == "LA" else "RGBA")
    if mode == "P":
        image = image.quantize(16, Image.Quantize.FASTOCTREE)
    if kind == "WEBP":
        image = image.convert("RGBA")
    return pictures.encode(image, kind, **OPTIONS.get(kind, {}))


@functools.cache
def _unusual():
    rgb, grey = pictures.noise(), pictures.noise("L")
    clear = {
        f"clear_{mode}.{kind}": _clear(kind, mode)
        for kind in ("PNG", "WEBP", "TIFF")
        for mode in ("RGBA", "LA", "P")
    }
    return {
        "palette.gif": pictures.encode(rgb.quantize(16), "GIF"),
        "animated.gif": _frames("GIF"),
        "animated.webp": _frames("WEBP"),
        "animated.png": _frames("PNG"),
        "pages.tif": _frames("TIFF"),
        "palette.png": pictures.encode(rgb.quantize(16), "PNG"),
        "one_bit.png": pictures.encode(grey.convert("1"), "PNG"),
        "one_bit.tif": pictures.encode(grey.convert("1"), "TIFF"),
        "cmyk.tif": pictures.encode(pictures.noise("CMYK"), "TIFF"),
        "grey.webp": pictures.encode(grey, "WEBP", lossless=True),
        "grey.jpg": pictures.encode(grey, "JPEG"),
        "progressive.jpg": pictures.encode(
            rgb, "JPEG", progressive=True, subsampling=2
        ),
        **clear,
    }


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_unusual_forms_are_seen_as_pillow_shows_them(tmp_path, channels):
    contents = _unusual()
    seen = _seen_by_name(
        tmp_path, {name.lower(): file for name, file in contents.items()},
        channels=channels,
    )
    for name, content in contents.items():
        expected = pictures.truth(content, channels)
        # Pillow counts the brightness of a palette once, of its colours.
        error = np.abs(seen[name.lower()] - expected).max()
        assert error <= (1 if channels == 1 else 0), name


def test_pictures_without_opacity_are_opaque(tmp_path):
    content = {"a.jpg": pictures.encode(pictures.noise(), "JPEG")}
    image = _seen_by_name(tmp_path, content, channels=4)["a.jpg"]
    assert np.all(image[..., 3] == 255)


def _turned(kind, turn):
    """A file that is 48 x 64 once it is turned."""
    size = pictures.WIDE if turn < 5 else pictures.WIDE[::-1]
    return pictures.encode(
        pictures.noise(size=size), kind, exif=pictures.turned_by(turn),
        **OPTIONS.get(kind, {}),
    )


@functools.cache
def _all_turns():
    return {
        f"{kind}{turn}.jpg": _turned(kind, turn)
        for kind in ("JPEG", "PNG", "TIFF", "WEBP") for turn in range(1, 9)
    }


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("container", ["folder", "tfrecord"])
def test_exif_rotation_is_applied_whatever_the_container(
    tmp_path, container, check
):
    contents = _all_turns()
    if container == "folder":
        pictures.write(tmp_path, contents)
        name = f"folder:{tmp_path}"
    else:
        labels = [0] * len(contents) + [1] * len(contents)
        for half in ("train", "val"):
            record_files.write(
                tmp_path / half, [*contents.values()] * 2, labels
            )
        name = f"tfrecord:{tmp_path}/*"
    images = _seen(name, len(contents), check_images=check)
    for image, (name, content) in zip(images, contents.items(), strict=True):
        error = np.abs(image - pictures.truth(content)).max()
        assert error < 0.01, (name, error)


def test_exif_rotation_can_be_off(tmp_path):
    contents = {
        name: file for name, file in _all_turns().items() if name[-5] in "1234"
    }
    seen = _seen_by_name(tmp_path, contents, exif_rotation=False)
    for name, image in seen.items():
        stored = pictures.noise().crop((4, 3, 60, 45))
        error = np.abs(image - np.asarray(stored, float)).max()
        assert error < (60 if "JPEG" in name else 0.01), (name, error)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_tiff_is_turned_once_or_not_at_all(turn):
    size = pictures.WIDE if turn < 5 else pictures.WIDE[::-1]
    content = _turned("TIFF", turn)
    stored = np.asarray(pictures.noise(size=size))
    assert np.array_equal(decoding.by_pillow(content, 3, False), stored)
    # Pillow turns the same pixels in a PNG only when it is asked to.
    png = _turned("PNG", turn)
    shown = pictures.truth(png, box=(0, 0, *pictures.WIDE))
    assert np.array_equal(decoding.by_pillow(content, 3, True), shown)


@pytest.mark.parametrize("augment", ["resized_crop+flip", "scale_crop"])
def test_random_parts_of_a_turned_jpeg_are_those_of_the_upright(
    tmp_path, augment
):
    jpeg = pictures.encode(
        pictures.noise(size=(133, 87)), "JPEG", exif=pictures.turned_by(6)
    )
    upright = Image.fromarray(decoding.by_pillow(jpeg, 3, True))
    png = pictures.encode(upright, "PNG")
    root = pictures.write(tmp_path, {"0.jpg": jpeg, "1.png": png})
    config = {"name": f"folder:{root}", "image_size": (40, 24)}
    split, words = data.load(config).train, augment_words.parse(augment)
    draws = augmentation.draw(30, words, ([0], [1]))
    turned, plain = (
        next(iter(pipeline.build(
            split.images, split.labels, which, draws, words, split.size,
            split.mean, split.std, split.exif_rotation, 30, True,
        )))[0]
        for which in (np.full(30, 0), np.full(30, 1))
    )
    assert np.array_equal(turned, plain)


def test_damaged_exif_data_spoil_no_picture():
    bad = b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x01" * 20
    content = pictures.encode(pictures.noise(), "JPEG", exif=bad)
    assert decoding.look(content) == (None, 1)


@pytest.mark.parametrize(
    "content, what",
    [
        (pictures.encode(pictures.noise().convert("F"), "TIFF"), "mode F"),
        (pictures.encode(pictures.noise().convert("I"), "TIFF"), "mode I"),
    ],
)
def test_pixels_without_a_known_range_are_refused(content, what):
    assert what in decoding.look(content)[0]


def test_the_case_of_a_folder_of_mixed_suffixes(tmp_path, caplog):
    jpeg = pictures.encode(pictures.noise(), "JPEG")
    contents = {f"{i}{end}": jpeg for i, end in enumerate((".jpg", ".JFIF"))}
    others = {"notes.txt": b"", "b.TXT": b"", "photo.heic": b"x", "noend": b""}
    pictures.write(tmp_path, {**contents, **others, ".DS_Store": b""})
    os.mkdir(tmp_path / "train" / "ant" / "more")
    loaded = data.load({"name": f"folder:{tmp_path}"})
    assert len(loaded.train) == 4
    assert caplog.text.count("\n") == 1
    for part in ("8 .txt", "4 .heic", "4 without a suffix", "1 in folders"):
        assert part in caplog.text
    assert "DS_Store" not in caplog.text


def test_forms_that_pillow_hands_to_other_programs_are_no_pictures():
    assert not {".eps", ".ps", ".wmf", ".h5", ".mpg", ".pdf"} & files.suffixes()
    eps = pictures.encode(pictures.noise(), "EPS")
    assert "no picture" in decoding.look(eps)[0]
    assert Image.open(io.BytesIO(eps)).format == "EPS"
