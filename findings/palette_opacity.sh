#!/usr/bin/env bash
# A PNG of a palette without transparency is opaque. Guess before the run:
# tf.io.decode_png(channels=4) gives 255 everywhere, whatever the bits of a
# pixel. Seen (tensorflow 2.21.0): with 1, 2 and 4 bits the opacity is 1, 3 and
# 15 of 255, so the picture is all but invisible; with 8 bits, or with a
# transparent entry in the palette, it is right. Pillow 12.0.0 says 255.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet \
    tensorflow==2.21.0 pillow==12.0.0
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - 2> log.txt <<'PYTHON'
import importlib.metadata
import io

import numpy as np
import tensorflow as tf
from PIL import Image

for name in ("tensorflow", "pillow"):
    print(name, importlib.metadata.version(name))
seen = {}
for colours in (2, 3, 16, 200):
    picture = Image.new("P", (4, 4))
    picture.putpalette([level for i in range(colours) for level in (i, i, i)])
    picture.putdata([i % colours for i in range(16)])
    held = io.BytesIO()
    picture.save(held, "PNG")
    bits = held.getvalue()[24]
    opacity = tf.io.decode_png(held.getvalue(), channels=4).numpy()[..., 3]
    pillow = np.asarray(Image.open(held).convert("RGBA"))[..., 3]
    assert (pillow == 255).all()
    (seen[bits],) = np.unique(opacity).tolist()
    print(f"{bits} bits a pixel: opacity {seen[bits]}, Pillow 255")
assert seen == {1: 1, 2: 3, 4: 15, 8: 255}, "this has changed: look again"
print("as found")
PYTHON
