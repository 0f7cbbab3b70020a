"""What was trained here is judged alike in every form."""

import pytest

from tests.bin import shades
from tests.bin.shades import SIDE
from tests.export import networks
from tests.tiny_runs import ROOT
from tfnas import artifacts
from tfnas import derive


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with pictures in three shades, as class folders."""
    return shades.write(tmp_path_factory.mktemp("feed"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "scale",
    [
        pytest.param([], marks=pytest.mark.slow),
        ["mean=0", "std=1"],
        pytest.param(
            ["mean=120,110,100", "std=60,50,40"], marks=pytest.mark.slow
        ),
    ],
)
def test_what_tfnas_train_made_is_judged_alike_everywhere(
    program, place, tmp_path, scale
):
    fields = [f"--config.data.{field}" for field in scale]
    arch = derive.with_classes(networks.SMALL, 3)
    arch.save(tmp_path / "arch.json")
    done = program(
        "train", f"--config={ROOT}/configs/densenas.py:local",
        "--arch=arch.json", f"--config.data.name=folder:{place}/shades",
        f"--config.data.image_size={SIDE}", "--config.train.epochs=4",
        "--config.train.batch_size=12", *fields, "--workdir=run",
        folder=tmp_path,
    )
    assert done.code == 0, done.errors
    assert "next: tfnas-export --model=run/model.keras" in done.output
    trained = artifacts.read_json(tmp_path / "run" / "result.json")
    for quantize in ("none", "int8"):
        done = program(
            "export", "--model=run/model.keras", f"--quantize={quantize}",
            f"--data=folder:{place}/shades", "--rounds=0", "--max_drop=100",
            f"--output={quantize}.tflite", folder=tmp_path,
        )
        assert done.code == 0, done.errors
    done = program(
        "evaluate", f"--data=folder:{place}/shades",
        "--model=run/model.keras", "--model=none.tflite",
        "--model=int8.tflite", folder=tmp_path,
    )
    assert done.code == 0, done.errors
    shares = [float(row.split()[1]) for row in done.output.splitlines()[-3:]]
    expected = round(100 * trained["accuracy"], 2)
    assert shares[:2] == pytest.approx([expected] * 2, abs=0.006)
    report = artifacts.read_json(tmp_path / "int8.report.json")
    assert shares[2] == pytest.approx(
        100 * report["accuracy"]["file"], abs=0.006
    )
    assert "does not say" not in done.output
