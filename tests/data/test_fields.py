"""The section `data`: what it may hold, and what nonsense is told."""

import pytest

from tfnas import data
from tfnas.data import fields
from tfnas.errors import ConfigError


def _load(**changes):
    return data.load({"name": "digits", "limit_train": 20, **changes})


@pytest.mark.parametrize(
    "size, shape",
    [(16, (16, 16)), ([24, 32], (24, 32)), ((8, 9), (8, 9)), (None, (32, 32))],
)
def test_image_size_is_one_number_or_two(size, shape):
    assert _load(image_size=size).image_shape == (*shape, 3)


@pytest.mark.parametrize(
    "field, values",
    [
        ("image_size",
         (0, -5, 7, (32, 7), (1, 2, 3), (32,), (), "32", "big", 32.5, True)),
        ("channels", (0, 2, 5, -1, "grey", 3.0, True)),
        ("mean", ((1, 2), "bright", float("nan"), (1, 2, None), {}, [])),
        ("std", (0, -1, (1, 1, 0), float("inf"), "wide")),
        ("max_bad", (-1, "few", 1.5)),
        ("check_images", (1, "yes")),
        ("exif_rotation", (0, "no")),
        ("classes", ("some",)),
        ("split_list", (3,)),
    ],
)
def test_nonsense_is_one_line_that_names_the_field(field, values):
    for value in values:
        with pytest.raises(ConfigError, match=f"`{field}` must") as caught:
            _load(**{field: value})
        assert f"Received: {field}=" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 2**31, 10**30])
def test_seed_of_the_classes_is_one_that_everything_takes(seed):
    with pytest.raises(ConfigError, match=f"`class_seed` must .*: {seed}$"):
        _load(classes=3, class_seed=seed)
    assert len(_load(classes=3, class_seed=2**31 - 1).class_names) == 3


def test_mean_of_three_does_not_fit_one_channel():
    with pytest.raises(ConfigError, match=r"`mean` must be a number\. "):
        _load(channels=1, mean=(1, 2, 3))
    with pytest.raises(ConfigError, match="one for each of 4 channels"):
        _load(channels=4, mean=(1, 2, 3))


def test_unknown_fields_are_refused_by_name():
    with pytest.raises(ConfigError, match="exif_rotation.*: colour, image_siz"):
        _load(image_siz=32, colour="grey")


def test_name_is_needed():
    with pytest.raises(ConfigError, match="name=None"):
        data.load({"image_size": 32})


def test_null_means_the_default():
    nothing = dict.fromkeys(set(fields.IMAGE_FIELDS) - {"name"})
    assert fields.read({"name": "digits", **nothing}) == fields.read(
        {"name": "digits"}
    )
