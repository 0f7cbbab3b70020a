"""Small pictures, folders of them, and what a network should see of them."""

import io

import numpy as np
from PIL import ExifTags
from PIL import Image
from PIL import ImageOps

# Of a picture of 48 x 64 the network sees 7/8, so nothing is resized.
WIDE, SEEN = (64, 48), (42, 56)
_BOX = (4, 3, 60, 45)


def noise(mode="RGB", size=WIDE, seed=0):
    """Coarse noise: no crop and no turn of it looks like another."""
    shape = (6, 6, len(Image.new(mode, (1, 1)).getbands()))
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    image = Image.frombytes(mode, (6, 6), pixels.tobytes())
    return image.resize(size, Image.Resampling.BICUBIC)


def encode(image, kind, **options):
    """Returns a picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned_by(turn):
    """Returns EXIF data that ask for this turn."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    return exif


def write(root, files, classes=("ant", "bee")):
    """Writes class folders; every class has the same files in both halves."""
    for half in ("train", "val"):
        for name in classes:
            place = root / half / name
            place.mkdir(parents=True, exist_ok=True)
            for file, content in files.items():
                (place / file).write_bytes(content)
    return root


def truth(content, channels=3, rotate=True, box=_BOX):
    """Returns what Pillow sees in the part that the network sees."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        if rotate:
            image = ImageOps.exif_transpose(image)
        image = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
        pixels = np.asarray(image.crop(box), float)
    return pixels if channels > 1 else pixels[..., None]
