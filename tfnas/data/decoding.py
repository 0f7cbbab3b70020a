"""From the bytes of an image file to pixels.

JPEG and PNG files are decoded by TensorFlow, whatever their names; all others
by Pillow, and PNG files with their opacity, of which TensorFlow makes 15 where
nothing shows through 4 bits. What is too large is refused by its header.
"""

from __future__ import annotations

import io
import threading
import warnings

import numpy as np
from PIL import ExifTags
from PIL import Image

from tfnas.data import files
from tfnas.data.channels import OPAQUE

MAX_PIXELS = 128_000_000
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_FORMS = {JPEG: "JPEG", PNG: "PNG"}
# One of these is in every JPEG or PNG that can be turned.
_TURNED = {
    JPEG: (b"Exif\0\0", b"tiff:Orientation"),
    PNG: (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp"),
}
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACK = {6: 8, 8: 6}  # the others undo themselves
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_OPENING = threading.Lock()


class Refused(Exception):
    """An image file that is not read; says why."""


def check_pixels(width: int, height: int) -> None:
    """Refuses an image of too many pixels.

    Raises:
        Refused: if there are more than `MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise Refused(
            f"{width}x{height} pixels; at most {MAX_PIXELS} are decoded"
        )


def opened(data: bytes) -> Image.Image:
    """Opens an image file with Pillow, header only.

    Raises:
        Refused: if it has too many pixels.
        Exception: whatever Pillow raises on other files.
    """
    # Pillow warns of fewer pixels than ours. Filters belong to all threads.
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=files.formats())
        except Image.DecompressionBombError as error:
            raise Refused(
                f"far more than {MAX_PIXELS} pixels: {error}"
            ) from error
    check_pixels(*image.size)
    return image


def form(data: bytes) -> str:
    """Returns the name of an image file's form, such as "JPEG"."""
    if kind := _by_tensorflow(data):
        return kind
    with opened(data) as image:
        return image.format or "unknown"


def _by_tensorflow(data: bytes) -> str | None:
    found = (name for magic, name in _FORMS.items() if data.startswith(magic))
    return next(found, None)


def orientation(data: bytes) -> int:
    """Returns how a JPEG or PNG file is to be turned, 1 to 8 as in EXIF.

    Args:
        data: the whole file. For files of other forms, and where the EXIF
            data are damaged, it is 1: as it is.
    """
    for magic, marks in _TURNED.items():
        if data.startswith(magic) and any(mark in data for mark in marks):
            try:
                with opened(data) as image:
                    return _orientation_or_1(image)
            except Exception:  # the decoder says what is wrong
                return 1
    return 1


def _orientation(image: Image.Image) -> int:
    found = image.getexif().get(ExifTags.Base.Orientation, 1)
    return found if found in range(1, 9) else 1


def by_pillow(data: bytes, channels: int, rotate: bool) -> np.ndarray:
    """Decodes a file with Pillow: of an animation, the first image.

    Args:
        data: the whole file.
        channels: 4 for RGB and opacity, else RGB alone.
        rotate: whether to turn the image as its EXIF data say.

    Returns:
        uint8 (height, width, 3 or 4).

    Raises:
        Refused: if it has too many pixels, or such of unknown range.
        Exception: whatever Pillow raises.
    """
    with opened(data) as image:
        before = _orientation_or_1(image)
        image.load()
        after = _orientation_or_1(image)
        if rotate:
            image = _turned(image, after)
        elif after != before:  # Pillow turns TIFF files by itself
            image = _turned(image, _BACK.get(before, before))
        return _eight_bits(image, channels)


def _orientation_or_1(image: Image.Image) -> int:
    try:
        return _orientation(image)
    except Exception:  # damaged EXIF data spoil no pixel
        return 1


def _turned(image: Image.Image, turn: int) -> Image.Image:
    return image if turn == 1 else image.transpose(_TRANSPOSE[turn])


def _eight_bits(image: Image.Image, channels: int) -> np.ndarray:
    if image.mode.startswith("I;16") or (
        image.mode == "I" and image.format == "PPM"  # 16 bits there
    ):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        image = Image.fromarray(grey)
    if image.mode in ("I", "F"):
        raise Refused(
            f"pixels of 32 bits, whose range is not known (mode {image.mode})"
        )
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    if channels == 4 and _has_opacity(image):
        return np.asarray(image.convert("RGBA"))
    colours = np.asarray(image.convert("RGB"))
    if channels < 4:
        return colours
    opaque = np.full((*colours.shape[:2], 1), OPAQUE, np.uint8)
    return np.concatenate([colours, opaque], axis=-1)


def _has_opacity(image: Image.Image) -> bool:
    try:
        return bool(image.has_transparency_data)
    except Exception:  # Pillow counts on a palette that some forms leave out
        return False


def look(data: bytes, channels: int = 3) -> tuple[str | None, int]:
    """Decodes an image file once, with the decoder that training uses.

    Of JPEG and PNG files it reads CMYK as RGB, 16 bits as 8, and of an
    animated PNG the image that programs without animation show.

    Args:
        data: the whole file.
        channels: that training wants.

    Returns:
        What is wrong with it, or None, and its `orientation`.
    """
    import tensorflow as tf

    if what := files.size_problem(len(data)):
        return what, 1
    kind = _by_tensorflow(data)
    try:
        if kind is None or (kind == "PNG" and channels == 4):
            by_pillow(data, channels, True)
            return None, 1
        opened(data).close()
        _decode_once(data, kind)
    except Refused as error:
        return str(error), 1
    except (OSError, SyntaxError, tf.errors.InvalidArgumentError) as error:
        return _damage(data, kind, error), 1
    except Exception as error:
        return f"{_damage(data, kind, error)} ({type(error).__name__})", 1
    return None, orientation(data)


def _decode_once(data: bytes, kind: str) -> None:
    import tensorflow as tf

    if kind == "PNG":
        tf.io.decode_png(data, channels=3)
    else:
        # At an eighth of the size: quick, yet every byte is visited.
        tf.io.decode_jpeg(data, channels=3, ratio=8)


def _damage(data: bytes, kind: str | None, error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError) and kind is None:
        return f"no picture that can be read: starts with {data[:6]!r}"
    named = kind or "a picture"
    return f"damaged or unknown form of {named}, {len(data)} bytes"
