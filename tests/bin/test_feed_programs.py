"""However a model wants to be fed, its figure is Keras' own, or it is refused.

The classes are three shades: on another scale, or with another order of the
classes, a network that tells them apart is wrong nearly everywhere.
"""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.bin import shades
from tests.bin.shades import NAMES
from tests.bin.shades import SIDE
from tests.tiny_runs import ROOT
from tfnas import artifacts
from tfnas import data
from tfnas import export
from tfnas import model_files
from tfnas.errors import ConfigError
from tfnas.feed import Feed

L = keras.layers
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with pictures in three shades, as class folders."""
    return shades.write(tmp_path_factory.mktemp("feed"))


@pytest.fixture(scope="module")
def pixels(place):
    """Test pixels (n, side, side, 3) in 0..255, and their labels."""
    set_ = _load(place)
    images, labels = set_.test.arrays()
    return images * np.array(set_.std, "f") + np.array(set_.mean, "f"), labels


def _load(place, **fields):
    return data.load(
        {"name": f"folder:{place}/shades", "image_size": SIDE, **fields}
    )


@pytest.fixture(scope="module")
def usual(place):
    """A network that was trained on pixels in the scale of the data."""
    images, labels = _load(place).train.arrays()
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = L.GlobalAveragePooling2D()(image)
    x = L.BatchNormalization(momentum=0.8, name="norm")(x)
    x = L.Dense(16, "tanh", name="hidden")(x)
    model = keras.Model(image, L.Dense(3, name="scores")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss)
    model.fit(images, labels, epochs=40, batch_size=24, verbose=0)
    return model


def _on_scale(usual, place, mean, std):
    """Returns the network for pixels in another scale.

    It starts with a mean over pixels and a normalisation, so that the same
    training on that scale ends with these statistics.
    """
    set_, model = _load(place), keras.models.clone_model(usual)
    model.set_weights(usual.get_weights())
    norm = model.get_layer("norm")
    factor = np.array(set_.std) / std
    shift = (np.array(set_.mean) - mean) / std
    norm.moving_mean.assign(norm.moving_mean * factor + shift)
    norm.moving_variance.assign(norm.moving_variance * factor**2)
    return model


@pytest.fixture(scope="module")
def networks_by_scale(place, usual):
    return {
        "usual": usual, "bytes": _on_scale(usual, place, 0, 1),
        "unit": _on_scale(usual, place, 0, 255),
    }


def _share(model, images, labels, batch_size=48):
    """Returns Keras' own accuracy."""
    answers = model.predict(images, batch_size=batch_size, verbose=0)
    return float(np.mean(np.argmax(answers, -1) == labels))


def _evaluate(program, place, *models, args=()):
    done = program(
        "evaluate", f"--data=folder:{place}/shades",
        *(f"--model={name}" for name in models), *args, folder=place,
    )
    assert done.code == 0, done.errors
    rows = done.output.splitlines()[-len(models):]
    return [float(row.split()[1]) / 100 for row in rows], done.output


def _judge(place, *models, given=None, output=None):
    """Does what `tfnas-evaluate` does, in this process.

    Returns:
        The accuracies, and what is said of the files.
    """
    shares, said = [], []
    for name in models:
        network = export.load_classifier(place / name)
        set_ = export.fit(network, _load(place), given, output=output)
        said += export.remarks(network, set_)
        shares.append(export.accuracy(network, set_.test))
    return shares, "\n".join(said)


def _error(done):
    """Returns the one line of a refusal."""
    assert done.code == 2, done.output
    # Beside it TensorFlow may say what it thinks of this machine.
    (line,) = re.findall("^error: .*", done.errors, re.MULTILINE)
    assert "Traceback" not in done.errors
    return line


def _convert(model, batch=None):
    """Converts as a stranger does, without any of our metadata."""
    shape = (batch, *model.input_shape[1:])
    run = tf.function(lambda x: model(x)).get_concrete_function(
        tf.TensorSpec(shape, model.inputs[0].dtype)
    )
    return tf.lite.TFLiteConverter.from_concrete_functions([run]).convert()


@pytest.mark.slow
def test_silent_files_get_the_scale_of_the_data_and_it_is_said(
    program, place, pixels, networks_by_scale
):
    model, (images, labels) = networks_by_scale["usual"], pixels
    set_ = _load(place)
    expected = _share(
        model, (images - np.array(set_.mean)) / np.array(set_.std), labels
    )
    assert expected > 0.7
    model.save(place / "usual.keras")
    (place / "usual.tflite").write_bytes(_convert(model))
    (place / "fours.tflite").write_bytes(_convert(model, 4))
    shares, said = _evaluate(
        program, place, "usual.keras", "usual.tflite", "fours.tflite"
    )
    assert shares == pytest.approx([expected] * 3, abs=1e-4)
    assert said.count("does not say how it wants to be fed") == 3
    assert "mean 123.675, 116.28, 103.53" in said


@pytest.mark.parametrize(
    "scale", ["bytes", pytest.param("unit", marks=pytest.mark.slow)]
)
def test_flags_know_better_and_files_of_ours_know_themselves(
    program, place, pixels, networks_by_scale, scale
):
    model, (images, labels) = networks_by_scale[scale], pixels
    std = 255.0 if scale == "unit" else 1.0
    expected = _share(model, images / std, labels)
    model.save(place / "own.keras")
    (wrong,), hint = _evaluate(program, place, "own.keras")
    # The scale that would do better is named, and not taken.
    assert (f"--mean=0 --std={std:g}" in hint) == (wrong + 0.2 < expected)
    config = [
        f"--config={ROOT}/configs/densenas.py:local", "--config.data.mean=0",
        f"--config.data.std={std}",
    ]
    (stated,), said = _evaluate(program, place, "own.keras", args=config)
    assert stated == pytest.approx(expected, abs=1e-4) and "mean" not in said
    (right,), said = _evaluate(
        program, place, "own.keras", args=["--mean=0", f"--std={std}"]
    )
    assert right == pytest.approx(expected, abs=1e-4) and wrong < right
    assert "mean" not in said
    feed = Feed(mean=(0.0,), std=(std,), labels=NAMES)
    model_files.save_model(model, place / "said.keras", feed)
    for name, quantize in (("float", "none"), ("int8", "int8")):
        blob = export.to_tflite(model, quantize, images / std, feed=feed)
        (place / f"said_{name}.tflite").write_bytes(blob)
    shares, said = _judge(
        place, "said.keras", "said_float.tflite", "said_int8.tflite"
    )
    assert shares[:2] == pytest.approx([expected] * 2, abs=1e-4)
    assert shares[2] == pytest.approx(expected, abs=0.05)
    assert "does not say" not in said


def _on_bytes(model, place):
    """Returns a network of uint8 pixels that scales them itself."""
    set_ = _load(place)
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    scale = L.Normalization(mean=set_.mean, variance=np.square(set_.std))
    return keras.Model(image, model(scale(image)))


def test_networks_of_bytes_get_bytes(
    program, place, pixels, networks_by_scale
):
    images, labels = pixels
    raw = _on_bytes(networks_by_scale["usual"], place)
    expected = _share(raw, np.round(images).astype(np.uint8), labels)
    assert expected > 0.7
    raw.save(place / "raw.keras")
    (place / "raw.tflite").write_bytes(_convert(raw))
    shares, said = _judge(place, "raw.keras", "raw.tflite")
    assert shares == pytest.approx([expected] * 2, abs=1e-4)
    assert "its uint8 input" in said
    done = program(
        "export", "--model=raw.keras", "--quantize=int8", "--rounds=0",
        f"--data=folder:{place}/shades", "--output=raw8.tflite",
        "--max_drop=10", folder=place,
    )
    assert done.code == 0, done.errors
    report = artifacts.read_json(place / "raw8.report.json")
    assert report["accuracy"]["keras"] == pytest.approx(expected, abs=1e-4)
    (share,), _ = _judge(place, "raw8.tflite")
    assert share == pytest.approx(report["accuracy"]["file"], abs=1e-4)


def test_a_network_that_rescales_gets_pixels(place, pixels, usual):
    images, labels = pixels
    model = _on_scale(usual, place, 127.5, 127.5)
    image = keras.Input((SIDE, SIDE, 3))
    whole = keras.Model(image, model(L.Rescaling(1 / 127.5, -1)(image)))
    expected = _share(whole, images, labels)
    assert expected > 0.7
    whole.save(place / "rescales.keras")
    (place / "rescales.tflite").write_bytes(_convert(whole))
    (share, again), said = _judge(place, "rescales.keras", "rescales.tflite")
    assert [share, again] == pytest.approx([expected] * 2, abs=1e-4)
    assert "pixels of 0 to 255" in said


def test_range_of_a_strangers_int8_input_says_its_scale(
    place, pixels, networks_by_scale
):
    images, labels = pixels
    model = networks_by_scale["unit"]
    (place / "range.tflite").write_bytes(
        export.to_tflite(model, "int8", images / 255)
    )
    (share,), said = _judge(place, "range.tflite")
    expected = _share(model, images / 255, labels)
    assert share == pytest.approx(expected, abs=0.05) and "int8 image" in said


def _stock(model, images, **settings):
    """Converts with the stock converter, quantized after training."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [image[None]] for image in images.astype(np.float32)
    )
    for name, value in settings.items():
        setattr(converter.target_spec, name, value)
    return converter.convert()


def test_stock_quantized_files_with_float_ends_say_their_scale(
    place, pixels, networks_by_scale
):
    images, labels = pixels
    model = networks_by_scale["unit"]
    expected = _share(model, images / 255, labels)
    (place / "ends.tflite").write_bytes(_stock(model, images / 255))
    set_ = _load(place)
    image = keras.Input((SIDE, SIDE, 3))
    scale = L.Normalization(mean=set_.mean, variance=np.square(set_.std))
    whole = keras.Model(image, networks_by_scale["usual"](scale(image)))
    halves = _share(whole, images, labels)
    (place / "halves.tflite").write_bytes(
        _stock(whole, images, supported_types=[tf.float16])
    )
    shares, said = _judge(place, "ends.tflite", "halves.tflite")
    assert shares == pytest.approx([expected, halves], abs=0.05)
    assert "the range of its int8 image" in said
    assert "its first operations, for pixels of 0 to 255" in said


def test_a_guess_stays_a_guess_in_the_file_that_is_made_of_it(
    program, place, networks_by_scale
):
    image = keras.Input((SIDE, SIDE, 3))
    scaled = L.Rescaling(1 / 255)(image)
    whole = keras.Model(image, networks_by_scale["unit"](scaled))
    whole.save(place / "guess.keras")
    done = program(
        "export", "--model=guess.keras", "--output=guess.tflite",
        "--rounds=0", folder=place,
    )
    assert done.code == 0, done.errors
    assert "by its first operations, for pixels of 0 to 255" in done.output
    held = export.read_metadata((place / "guess.tflite").read_bytes())
    assert held.mean == (0.0,) * 3 and "first operations" in held.scale_by
    _, said = _judge(place, "guess.tflite")
    assert "its metadata, which have it from its first operations" in said
    done = program(
        "export", "--model=guess.keras", "--output=told.tflite",
        "--rounds=0", "--mean=0", "--std=1", folder=place,
    )
    held = export.read_metadata((place / "told.tflite").read_bytes())
    assert held.scale_by is None and "first operations" not in done.output


def test_data_that_contradict_a_network_in_memory_are_refused(
    place, networks_by_scale
):
    image = keras.Input((SIDE, SIDE, 3))
    scaled = L.Rescaling(1 / 255)(image)
    whole = keras.Model(image, networks_by_scale["unit"](scaled))
    usual, right = _load(place), _load(place, mean=0, std=1)
    for use in (export.accuracy, lambda m, d: export.to_tflite(m, "int8", d)):
        with pytest.raises(ConfigError, match="for pixels of 0 to 255.*load"):
            use(whole, usual)
        use(whole, right)
    # As it is, by an explicit word.
    feed = Feed(usual.mean, usual.std)
    blob = export.to_tflite(whole, "int8", usual, feed=feed)
    held = export.read_metadata(blob)
    assert held.mean == usual.mean and held.labels == NAMES


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--output=same.keras", "--model=same.keras"], "for both"),
        (["--output=a.tflite", "--report=a.tflite"], "for both"),
        (["--output=."], "a folder"),
        (["--output=a.tflite", "--report=same.keras/r.json"], "is a file"),
        (["--output=a.tflite", "--mean=1,2"], "Received: mean=1,2"),
        (["--output=a.tflite", "--scores=top"], "expected an output"),
    ],
)
def test_exports_that_cannot_be_written_lose_nothing(
    program, place, networks_by_scale, flags, words
):
    networks_by_scale["usual"].save(place / "same.keras")
    before = (place / "same.keras").read_bytes()
    done = program(
        "export", "--model=same.keras", "--rounds=0", *flags, folder=place
    )
    assert words in _error(done)
    assert (place / "same.keras").read_bytes() == before
    assert not (place / "a.tflite").exists()
    assert not (place / "a.report.json").exists()


def _in_order(model, order):
    """Returns the network with its scores in another order."""
    image = keras.Input((SIDE, SIDE, 3))
    x = model.get_layer("hidden")
    body = keras.Model(model.input, x.output)
    last = model.get_layer("scores")
    head = L.Dense(3)
    new = keras.Model(image, head(body(image)))
    kernel, bias = last.get_weights()
    head.set_weights([kernel[:, order], bias[order]])
    return new


def test_classes_are_matched_by_name(
    program, place, pixels, networks_by_scale
):
    images, labels = pixels
    expected = _share(networks_by_scale["bytes"], images, labels)
    other = _in_order(networks_by_scale["bytes"], [2, 0, 1])
    feed = Feed((0.0,), (1.0,), labels=("snow", "coal", "fog"))
    model_files.save_model(other, place / "order.keras", feed)
    blob = export.to_tflite(other, feed=feed)
    (place / "order.tflite").write_bytes(blob)
    (place / "order.txt").write_text("snow\ncoal\nfog\n", "utf-8-sig")
    other.save(place / "silent.keras")
    shares, _ = _evaluate(program, place, "order.keras", "order.tflite")
    assert shares == pytest.approx([expected] * 2, abs=1e-4)
    scale = ["--mean=0", "--std=1"]
    (share,), _ = _evaluate(
        program, place, "silent.keras", args=[*scale, "--labels=order.txt"]
    )
    assert share == pytest.approx(expected, abs=1e-4)
    (wrong,), _ = _judge(
        place, "silent.keras", given=Feed((0.0,), (1.0,))
    )
    assert wrong < 0.6 < expected
    # An export knows the order too, and keeps it in the file.
    done = program(
        "export", "--model=order.keras", "--rounds=0", "--max_drop=1",
        f"--data=folder:{place}/shades", "--output=again.tflite",
        folder=place,
    )
    assert done.code == 0, done.errors
    report = artifacts.read_json(place / "again.report.json")
    assert report["accuracy"]["keras"] == pytest.approx(expected, abs=1e-4)
    found = export.read_metadata((place / "again.tflite").read_bytes())
    assert found.labels == feed.labels and found.mean == (0.0,) * 3


@pytest.mark.parametrize(
    "labels, words",
    [
        ("coal,fog,frost", "the model lacks snow; the data lack frost"),
        ("coal,fog", "2 labels"),
        pytest.param("coal,fog,snow,ice", "4 labels", marks=pytest.mark.slow),
        pytest.param("coal,coal,snow", "lacks fog", marks=pytest.mark.slow),
    ],
)
def test_other_classes_are_refused_in_one_line(
    program, place, networks_by_scale, labels, words
):
    networks_by_scale["usual"].save(place / "usual.keras")
    (place / "labels.txt").write_text("\n".join(labels.split(",")))
    for args in (["evaluate"], ["export", "--output=no.tflite"]):
        done = program(
            *args, "--model=usual.keras", f"--data=folder:{place}/shades",
            "--labels=labels.txt", folder=place,
        )
        line = _error(done)
        assert line.startswith("error: usual.keras: ") and words in line
        assert "coal" in line
    assert not list(place.glob("no.*"))


def test_one_of_several_outputs_is_chosen_by_size_or_by_name(
    program, place, pixels, networks_by_scale
):
    images, labels = pixels
    model = networks_by_scale["bytes"]
    hidden = model.get_layer("hidden").output
    two = keras.Model(model.input, [model.output, hidden])
    same = keras.Model(
        model.input,
        {"wrong": L.Dense(3, name="w")(hidden), "right": model.output},
    )
    expected = _share(model, images, labels)
    feed = Feed((0.0,), (1.0,))
    for name, network in (("two", two), ("same", same)):
        model_files.save_model(network, place / f"{name}.keras", feed)
        blob = export.to_tflite(network, feed=feed)
        (place / f"{name}.tflite").write_bytes(blob)
    shares, _ = _judge(place, "two.keras", "two.tflite")
    assert shares == pytest.approx([expected] * 2, abs=1e-4)
    names = ("same.keras", "same.tflite")
    shares, _ = _evaluate(program, place, *names, args=["--scores=right"])
    assert shares == pytest.approx([expected] * 2, abs=1e-4)
    for name in names:
        with pytest.raises(ConfigError, match="--scores=NAME") as error:
            _judge(place, name)
        assert "right" in str(error.value) and "wrong" in str(error.value)


def test_one_score_tells_two_classes_apart(program, place, pixels):
    images, labels = pixels
    level = images.mean((1, 2, 3))
    for activation in ("sigmoid", None, "hard_sigmoid"):
        image = keras.Input((SIDE, SIDE, 3))
        head = L.Dense(1, activation)
        x = head(L.GlobalAveragePooling2D()(image))
        model = keras.Model(image, x)
        head.set_weights([np.full((3, 1), 0.1 / 3), np.array([-12.0])])
        for network in (model, export.to_tflite(model)):
            classifier = export.as_classifier(network)
            classifier.settle(_load(place, mean=0, std=1).test)
            answers = classifier.predict(images)
            assert answers.shape == (len(images), 2)
            np.testing.assert_array_equal(
                np.argmax(answers, -1), level > 120.0
            )


@pytest.mark.slow
def test_any_image_size_and_any_batch(
    program, place, pixels, networks_by_scale
):
    images, labels = pixels
    model = networks_by_scale["bytes"]
    free = keras.models.clone_model(
        model, keras.Input((None, None, 3), name="image")
    )
    fours = keras.models.clone_model(
        model, keras.Input(batch_shape=(5, SIDE, SIDE, 3), name="image")
    )
    expected, names = _share(model, images, labels), []
    for name, network in (("free", free), ("fives", fours)):
        network.set_weights(model.get_weights())
        network.save(place / f"{name}.keras")
        names.append(f"{name}.keras")
    (place / "free.tflite").write_bytes(_convert(free))
    args = ["--mean=0", "--std=1", f"--image_size={SIDE}"]
    shares, _ = _evaluate(program, place, *names, "free.tflite", args=args)
    assert shares == pytest.approx([expected] * 3, abs=1e-4)
    _, said = _evaluate(program, place, "free.keras", args=args[:2])
    assert "an image size of 32x32" in said
    done = program(
        "export", "--model=fives.keras", "--quantize=int8", "--mean=0",
        "--std=1", f"--data=folder:{place}/shades", "--output=fives.tflite",
        "--rounds=2", folder=place,
    )
    assert done.code == 0, done.errors
    (share,), _ = _judge(place, "fives.tflite")
    report = artifacts.read_json(place / "fives.report.json")
    assert share == pytest.approx(report["accuracy"]["file"], abs=1e-4)
    done = program(
        "evaluate", "--model=fives.keras", f"--data=folder:{place}/shades",
        "--image_size=24", folder=place,
    )
    assert "16x16" in _error(done)


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--mean=dark", "--mean takes numbers"),
        ("--mean=1,2", "one mean, or one for each of 3 channels"),
        ("--std=0", "--std must be above 0"),
        ("--std=nan", "--std takes numbers"),
        ("--image_size=0", "--image_size"),
        ("--labels=absent.txt", "absent.txt"),
        ("--scores=top", "expected an output of scores"),
    ],
)
def test_wrong_flags_are_one_line(
    program, place, networks_by_scale, flag, words
):
    networks_by_scale["usual"].save(place / "usual.keras")
    done = program(
        "evaluate", "--model=usual.keras", f"--data=folder:{place}/shades",
        flag, folder=place,
    )
    assert words in _error(done)


def test_metadata_of_another_model_or_damaged_ones_are_named(
    program, place, networks_by_scale
):
    blob = export.to_tflite(networks_by_scale["usual"], feed=Feed(labels=NAMES))
    for old, new, words in (
        (b'"snow"', b'"snow', "metadata"),
        (b'"mean": null', b'"mean": "a "', "mean"),
        (b'"std": null', b'"std": [0] ', "std"),
    ):
        assert blob.count(old) == 1
        (place / "bad.tflite").write_bytes(
            blob.replace(old, new.ljust(len(old)))
        )
        done = program(
            "evaluate", "--model=bad.tflite",
            f"--data=folder:{place}/shades", folder=place,
        )
        assert _error(done).startswith("error: bad.tflite: ")
        assert words in _error(done)
