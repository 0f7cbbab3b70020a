"""The programs in `examples/` run as they stand."""

import pathlib

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.slow
def test_finetune_ends_in_a_file_and_an_answer(program, tmp_path):
    rng = np.random.default_rng(0)
    for half, number in (("train", 8), ("val", 2)):
        for name, level in (("dark", 40), ("light", 200)):
            folder = tmp_path / "photos" / half / name
            folder.mkdir(parents=True)
            for i in range(number):
                pixels = rng.normal(level, 20, (96, 96, 3)).clip(0, 255)
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / f"{i}.jpg")
    done = program(
        ROOT / "examples" / "finetune.py", "photos", "photos/val/dark/0.jpg",
        "--epochs=1", "--size=32", folder=tmp_path,
    )
    assert done.code == 0, done.errors
    assert (tmp_path / "classifier_int8.tflite").stat().st_size > 4e5
    *_, answer = done.output.splitlines()
    assert "'dark'" in answer and "'light'" in answer
