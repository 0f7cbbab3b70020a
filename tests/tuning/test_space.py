"""What may be tuned, as the section `tune` says it."""

import pytest
from ml_collections import config_dict

from tfnas import config_files
from tfnas.errors import ConfigError
from tfnas.tuning import space


def config(**tune):
    train = {
        "epochs": 9, "lr": 0.1, "weight_decay": 1e-4, "label_smoothing": 0.0,
        "dropout": 0.0, "augment": "none", "batch_size": 32,
        "recipe": "standard",
    }
    return config_dict.ConfigDict({"train": train, "tune": tune})


def test_a_config_without_the_section_has_the_defaults():
    bare = config()
    del bare.tune
    assert space.settings(bare) == space.DEFAULTS


def test_fields_that_are_given_replace_the_defaults():
    made = space.settings(
        config(tuner="random", space={"lr": {"min": 0.1, "max": 0.2}})
    )
    assert made["tuner"] == "random"
    assert made["space"] == {"lr": {"min": 0.1, "max": 0.2}}
    assert made["trials"] == space.DEFAULTS["trials"]


def test_ranges_become_keras_tuners():
    made = space.settings(
        config(
            space={
                "lr": {"min": 0.01, "max": 0.1, "log": True},
                "dropout": {"min": 0.0, "max": 0.4},
                "batch_size": {"min": 16, "max": 64, "step": 16},
                "augment": {"choices": ("none", "flip")},
            }
        )
    )
    found = {
        hp.name: hp.get_config()
        for hp in space.hyperparameters(made["space"]).space
    }
    assert found["lr"]["sampling"] == "log"
    assert (found["lr"]["min_value"], found["lr"]["max_value"]) == (0.01, 0.1)
    assert found["batch_size"]["step"] == 16
    assert found["batch_size"]["max_value"] == 64
    assert isinstance(found["batch_size"]["max_value"], int)
    assert list(found["augment"]["values"]) == ["none", "flip"]


@pytest.mark.parametrize("variant", ["imagenet", "local"])
def test_the_config_that_ships_is_right(variant):
    made = config_files.load(f"tune:{variant}")
    assert space.settings(made)["tuner"] == "hyperband"


@pytest.mark.parametrize(
    "tune, message",
    [
        ({"trails": 3}, r"has the fields .*Received: \['trails'\]"),
        ({"tuner": "grid"}, r"`tune.tuner` must be one of .*'grid'"),
        ({"trials": 0}, r"`tune.trials` must be an integer, at least 1"),
        ({"factor": 1}, r"`tune.factor` must be an integer, at least 2"),
        ({"split": 1.0}, r"`tune.split` must be a number between 0 and 1"),
        ({"space": {}}, r"`tune.space` must name a field"),
        ({"space": {"rate": {"min": 0.1, "max": 0.2}}}, r"tune\.space\.rate"),
        ({"space": {"epochs": {"min": 1, "max": 2}}}, r"but \('epochs'"),
        ({"space": {"lr": 0.1}}, r"must be a table of .*Received: 0.1"),
        ({"space": {"lr": {"min": 0.2, "max": 0.1}}}, r"`min` < `max`"),
        ({"space": {"lr": {"min": 0.1}}}, r"`min` < `max`"),
        ({"space": {"lr": {"min": 0.1, "max": 0.2, "base": 2}}}, r"base"),
        ({"space": {"lr": {"min": 0.0, "max": 1.0, "log": True}}}, r"above 0"),
        ({"space": {"lr": {"min": 0.1, "max": 1.0, "step": 0.1}}}, r"whole"),
        ({"space": {"lr": {"choices": (0.1, "a")}}}, r"of one type"),
        ({"space": {"lr": {"min": -1.0, "max": 0.1}}}, r"`train.lr` must be"),
        ({"space": {"dropout": {"choices": (0.1, 1.0)}}}, r"`train.dropout`"),
        ({"space": {"lr": {"choices": ("high",)}}}, r"`train.lr` takes float"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused_by_its_place(tune, message):
    made = config(**tune)
    with pytest.raises(ConfigError, match=message):
        space.settings(made)
