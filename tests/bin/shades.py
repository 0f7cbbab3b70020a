"""Class folders with pictures in three shades of grey."""

import numpy as np
from PIL import Image

NAMES = ("coal", "fog", "snow")
SHADES = (70, 120, 170)
SIDE = 16


def write(folder):
    """Writes `shades/train` and `shades/val`; returns the folder."""
    rng = np.random.default_rng(0)
    for half, number in (("train", 24), ("val", 16)):
        for name, shade in zip(NAMES, SHADES, strict=True):
            where = folder / "shades" / half / name
            where.mkdir(parents=True)
            for i in range(number):
                level = rng.normal(shade, 18)
                pixels = rng.normal(level, 8, (SIDE, SIDE, 3)).clip(0, 255)
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(where / f"{i}.png")
    return folder
