"""A seed that not everything takes is refused before anything is written."""

import pytest

FLAGS = {
    "data": ["split", "--output=a.json"],
    "export": ["--model=a.keras", "--output=a.tflite"],
    "run": ["--config=densenas_mbv2:local"],
    "search": ["--config=densenas_mbv2:local"],
    "train": ["--config=densenas_mbv2:local", "--arch=a.json"],
    "tune": ["--config=tune:local", "--arch=a.json"],
}
CONFIGS = [
    ("run", "densenas_mbv2:local", "seed", []),
    ("search", "autoshrink_cnn:local", "search.op_seed", []),
    ("train", "densenas_mbv2:local", "seed", ["--arch=a.json"]),
    ("tune", "tune:local", "seed", ["--arch=tfnas_small"]),
]


@pytest.mark.parametrize("seed", [-1, 2**31, 10**30, "x"])
@pytest.mark.parametrize("name", FLAGS)
def test_every_program_refuses_a_seed_out_of_range(
    program, name, seed, tmp_path
):
    done = program(name, *FLAGS[name], f"--seed={seed}", folder=tmp_path)
    assert done.code == 2
    assert done.errors.startswith(f"error: flag --seed={seed}: ")
    assert "Traceback" not in done.errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, config, field, args", CONFIGS)
def test_a_seed_of_a_config_is_refused_before_anything_is_written(
    program, name, config, field, args, tmp_path
):
    done = program(
        name, f"--config={config}", f"--config.{field}={2**31}",
        "--workdir=work", *args, folder=tmp_path,
    )
    assert done.code == 2
    assert f"error: `config.{field}` must be an integer" in done.errors
    assert "Traceback" not in done.errors
    assert not list(tmp_path.iterdir())
