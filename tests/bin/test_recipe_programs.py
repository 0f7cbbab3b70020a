"""Configs that train published networks, and how `--arch` names these."""

import pytest

from tests import tiny_runs
from tfnas import applications
from tfnas import artifacts
from tfnas import config_files
from tfnas.arch import Arch
from tfnas.bin import archs
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops.recurrent import is_language_model
from tfnas.train import recipe

NAMES = ("densenas", "autospace", "ase_nas", "shrink_cnn", "modern")
SEARCHES = {
    "densenas_mbv2": "densenas", "densenas_resnet": "densenas",
    "proxyless_autospace": "autospace", "ase_nas_mobilenetv3": "ase_nas",
}


def load(name, variant="imagenet"):
    return config_files.load(f"{tiny_runs.ROOT}/configs/{name}.py:{variant}")


@pytest.mark.parametrize(
    "name, published",
    [
        # The authors' releases, and those of ProxylessNAS and Once-for-All.
        ("densenas", {
            "epochs": 240, "batch_size": 1024, "lr": 0.5, "min_lr": 1e-5,
            "momentum": 0.9, "nesterov": False, "weight_decay": 4e-5,
            "decay_vectors": True, "label_smoothing": 0.1, "dropout": 0.0,
            "warmup_epochs": 0, "ema_decay": 0.0,
            "augment": "resized_crop+flip",
        }),
        ("autospace", {
            "epochs": 300, "batch_size": 256, "lr": 0.05, "min_lr": 0.0,
            "momentum": 0.9, "nesterov": True, "weight_decay": 4e-5,
            "decay_vectors": False, "label_smoothing": 0.1, "dropout": 0.1,
            "augment": "resized_crop+flip+jitter+hue",
        }),
        ("ase_nas", {
            "epochs": 180, "momentum": 0.9, "nesterov": True,
            "weight_decay": 3e-5, "warmup_epochs": 5, "label_smoothing": 0.1,
        }),
        ("shrink_cnn", {
            "recipe": "shrink_cnn", "epochs": 300, "warmup_epochs": 10,
            "batch_size": 256, "lr": 0.1, "decay": 0.9, "momentum": 0.9,
            "epsilon": 1.0, "l2": 4e-5, "ema_decay": 0.999,
            "label_smoothing": 0.1,
        }),
    ],
)
def test_recipes_are_the_published_ones(name, published):
    config = load(name)
    assert config.data.image_size == 224 and config.data.classes is None
    for field, value in published.items():
        assert config.train[field] == value, field


@pytest.mark.parametrize("name", [*NAMES, *SEARCHES])
def test_every_recipe_makes_sense_and_offers_every_option(name):
    for variant in ("imagenet", "local"):
        config = load(name, variant)
        recipe.check(config.train)
        offered = set(recipe.DEFAULTS)
        if config.train.recipe == "shrink_cnn":  # its optimizer is its own
            offered -= {"optimizer", "nesterov", "beta1", "beta2",
                        "decay_vectors"}
        elif config.train.optimizer == "adamw":
            assert config.train.momentum == 0.9
        assert offered <= set(config.train)
        assert config.train.teacher is None
        if name != "modern":
            assert not (config.train.mixup_alpha or config.train.cutmix_alpha)
        assert load(name, "local").data.name == "digits"
    with pytest.raises(ConfigError, match="'local'. Received: 'absent'"):
        load(name, "absent")


def test_options_take_typed_overrides():
    config = load("densenas").copy_and_resolve_references()
    config.update_from_flattened_dict(
        {"train.teacher": "t.keras", "train.teacher_mean": 0.0,
         "train.precision": "mixed_float16", "train.ema_decay": 0.99}
    )
    recipe.check(config.train)
    with pytest.raises(TypeError):
        config.train.ema_decay = "much"


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_retrains_by_the_recipe_of_its_networks(search):
    for variant in ("imagenet", "local"):
        ours = load(SEARCHES[search], variant).train
        assert dict(load(search, variant).train) == dict(ours)


def test_shared_parts_are_no_config():
    with pytest.raises(ConfigError, match="names: ase_nas, .*shrink_rnn") as e:
        config_files.find("_images")
    assert str(e.value).count("_images") == 1  # what was received


@pytest.mark.parametrize("name", applications.names())
def test_arch_takes_the_name_of_every_published_network(name):
    arch = archs.get(name, 7, (64, 64, 3))
    assert (arch.classes, arch.input_shape) == (7, (64, 64, 3))
    entry = applications.APPLICATIONS.get(name)
    assert archs.get(name) == entry.get_arch()


def test_arch_takes_shrink_rnn():
    assert is_language_model(archs.get("shrink_rnn"))


def test_arch_takes_a_file_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arch = tiny_runs.space().sample(0)
    for path in ("a.json", "densenas_a"):  # a file comes first
        arch.save(path)
        assert archs.get(path, 5, (40, 40, 3)) == Arch.load(path) == arch
    with pytest.raises(ArtifactError, match=r"absent\.json"):
        archs.get("absent.json")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        ConfigError, match="densenas_a, .*shrink_rnn. Received: --arch=resnet"
    ):
        archs.get("resnet")


@pytest.mark.slow
def test_a_published_network_is_trained_with_one_command(program, tmp_path):
    fields = {"data.limit_train": 40, "data.limit_test": 20,
              "train.epochs": 1, "train.batch_size": 20}
    done = program(
        "train", f"--config={tiny_runs.ROOT}/configs/densenas.py:local",
        "--arch=densenas_a", "--workdir=run",
        *(f"--config.{k}={v}" for k, v in fields.items()), folder=tmp_path,
    )
    assert done.code == 0, done.errors
    assert (tmp_path / "run" / "model.keras").exists()
    claimed = artifacts.read_json(tmp_path / "run" / "config.json")
    assert claimed["arch"]["classes"] == 10
    assert claimed["arch"]["input_shape"] == [32, 32, 3]


def test_bad_options_are_bad_usage(program, tmp_path):
    config = f"--config={tiny_runs.ROOT}/configs/densenas.py:local"
    for words, message in (
        (["--arch=densenas_z"], "--arch=densenas_z"),
        (["--arch=densenas_a", "--config.train.ema_decay=1.5"],
         "train.ema_decay=1.5"),
        (["--arch=densenas_a", "--config.train.teacher=absent.keras"],
         "absent.keras: there is no such file"),
        (["--arch=densenas_a", "--config.train.ema_decay=much"], "much"),
    ):
        done = program(
            "train", config, "--workdir=run", *words, folder=tmp_path
        )
        assert done.code == 2, done.errors
        assert message in done.errors
        assert "Traceback" not in done.errors
        assert not (tmp_path / "run").exists()
