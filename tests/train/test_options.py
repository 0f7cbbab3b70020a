"""Options of a recipe: off they are not there, on they do what they say."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.train import small
from tests.train import toy
from tfnas import artifacts
from tfnas import data
from tfnas.derive import build_model
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.supernets.base import one_by_one
from tfnas.train import losses
from tfnas.train import precision
from tfnas.train import recipe
from tfnas.train import retrain
from tfnas.train import schedules
from tfnas.train.optimizers import SGD
from tfnas.train.optimizers import AdamW


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The file of an untrained network, of other weights than the student."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    keras.utils.set_random_seed(7)
    build_model(small.arch()).save(path)
    return str(path)


def all_options(teacher):
    return {
        "optimizer": "adamw", "lr": 0.01, "ema_decay": 0.7, "dropout": 0.2,
        "mixup_alpha": 0.2, "cutmix_alpha": 1.0, "precision": "mixed_float16",
        "teacher": teacher, "teacher_temperature": 2.0, "distill_weight": 0.4,
    }


def step_values(work):
    """Takes the steps of an epoch one by one; yields all variables."""
    model = [v.value for v in work.model.variables]
    for batch in work._train.split.batches(
        work.config.batch_size, seed=0, epoch=0
    ):
        step = work.loop._take(
            work._train, iter([batch]), work.loop.steps.setdefault("train", 0)
        )
        yield step, [v.numpy() for v in model]


# Averages of weights.


def test_the_average_is_that_of_weights_and_statistics_by_hand():
    work = small.training(ema_decay=0.35)
    truth = [v.numpy().astype(np.float64) for v in work.model.variables]
    names = [v.path for v in work.model.variables]
    assert any("moving_variance" in name for name in names)
    # 2 steps, then 2 again: decays 2/11, 3/12, 4/13, 0.35.
    for t, (_, values) in enumerate(
        [*step_values(work), *step_values(work)], start=1
    ):
        decay = min(0.35, (1 + t) / (10 + t))
        truth = [
            decay * a + (1 - decay) * v
            for a, v in zip(truth, values, strict=True)
        ]
    for name, ours, wanted in zip(
        names, work._average.averages, truth, strict=True
    ):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-6,
                                   err_msg=name)


def test_averaged_weights_are_tested_and_left_behind():
    work = small.training(ema_decay=0.5, epochs=2, test_every=1)
    raw = None
    for epoch in range(2):
        work._train_epoch(epoch)
        raw = [v.numpy() for v in work.model.variables]
        averages = [v.numpy() for v in work._average.averages]
        work._swap()
        (record,) = work._test_epoch(epoch)
        if epoch == 0:
            work._swap()
            for v, wanted in zip(work.model.variables, raw, strict=True):
                np.testing.assert_array_equal(v.numpy(), wanted)
    again = small.training(ema_decay=0.5, epochs=2, test_every=1)
    (_, _), (_, last) = again.run_unit(0), again.run_unit(1)
    assert last["accuracy"] == record["accuracy"]
    for v, wanted, other in zip(
        again.model.variables, averages, raw, strict=True
    ):
        np.testing.assert_array_equal(v.numpy(), wanted)
        assert not np.array_equal(wanted, other)


# Distillation.


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_is_hintons(temperature):
    rng = np.random.default_rng(0)
    theirs, ours = rng.normal(size=(2, 5, 7)) * 4
    p, q = softmax(theirs / temperature), softmax(ours / temperature)
    expected = -(temperature**2) * (p * np.log(q)).sum(-1)
    found = losses.distillation(
        tf.constant(theirs), tf.constant(ours), temperature
    )
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("ending", ["logits", "softmax", "softmax layer"])
def test_the_loss_is_part_labels_part_teacher(ending, teacher, tmp_path):
    model = keras.models.load_model(teacher)
    path = tmp_path / "t.keras"
    output = model.output
    if ending == "softmax":
        output = keras.layers.Activation("softmax")(output)
    elif ending == "softmax layer":
        output = keras.layers.Softmax()(output)
    keras.Model(model.input, output).save(path)
    options = {"teacher_temperature": 2.0, "distill_weight": 0.3,
               "label_smoothing": 0.1}
    work = small.training(teacher=str(path), **options)
    images, labels = next(iter(work._test.split.batches(16, seed=0, epoch=0)))
    student = np.array(work.model(images, training=True))
    work = small.training(teacher=str(path), **options)
    draw = tf.constant([0, 0], tf.int64)
    found = work._objective(images, labels, draw, []).losses

    target = 0.9 * np.eye(10)[labels.numpy()] + 0.01
    hard = -(target * np.log(softmax(student))).sum(-1)
    p = softmax(np.array(model(images)) / 2)
    soft = -4 * (p * np.log(softmax(student / 2))).sum(-1)
    np.testing.assert_allclose(found, 0.7 * hard + 0.3 * soft, rtol=1e-4)


def test_a_teacher_gets_images_of_its_own_size_and_scale(tmp_path):
    image = keras.Input((16, 16, 3))
    mean = keras.layers.GlobalAveragePooling2D()(image)
    dense = keras.layers.Dense(10, kernel_initializer="ones")
    keras.Model(image, dense(mean)).save(tmp_path / "mean.keras")
    work = small.training(
        teacher=str(tmp_path / "mean.keras"), teacher_mean=0.0,
        teacher_std=1.0,
    )
    split = work._train.split
    images, _ = next(iter(split.batches(4, seed=0, epoch=0, shuffle=False)))
    pixels = images.numpy() * np.array(split.std) + np.array(split.mean)
    sums = pixels.mean((1, 2)).sum(-1)
    answer = np.array(work._teacher(images))
    assert pixels.max() > 200
    # Antialiasing weighs the rows at the edges otherwise.
    np.testing.assert_allclose(
        answer, np.broadcast_to(sums[:, None], (4, 10)), rtol=0.02
    )


def test_a_teacher_does_not_learn(teacher, tmp_path):
    work = small.training(teacher=teacher)
    before = work._teacher.model.get_weights()
    work.run_unit(0)
    for one, two in zip(
        before, work._teacher.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def _dense(inputs, outputs):
    image = keras.Input(inputs)
    x = keras.layers.Flatten()(image)
    return keras.Model(image, keras.layers.Dense(outputs)(x))


@pytest.mark.parametrize(
    "model, received",
    [
        (lambda: _dense((32, 32, 3), 7), r"10 classes.*\(None, 7\)"),
        (lambda: _dense((32, 32, 1), 10), r"input_shape=\(None, 32, 32, 1\)"),
        (lambda: _dense((12,), 10), r"input_shape=\(None, 12\)"),
        (
            lambda: keras.Sequential(
                [keras.Input((32, 32, 3)), keras.layers.Conv2D(10, 1)]
            ),
            r"output_shape=\(None, 32, 32, 10\)",
        ),
    ],
)
def test_a_teacher_of_something_else_is_refused(model, received, tmp_path):
    path = tmp_path / "t.keras"
    model().save(path)
    with pytest.raises(ConfigError, match=f"train.teacher.*{received}"):
        small.training(teacher=str(path))


def test_a_refused_teacher_leaves_the_workdir_free(tmp_path):
    with pytest.raises(ArtifactError, match=r"absent\.keras"):
        train(tmp_path / "run", teacher=str(tmp_path / "absent.keras"))
    assert not (tmp_path / "run").exists()


# Precision.


@pytest.mark.parametrize(
    "name",
    [
        "mixed_float16",
        pytest.param("mixed_bfloat16", marks=pytest.mark.slow),
    ],
)
def test_layers_compute_in_16_bits_and_the_model_stays_float32(
    name, tmp_path
):
    work = small.training(precision=name, lr=0.2)
    seen = []
    convolution = next(
        x for x in work.model.layers if isinstance(x, keras.layers.Conv2D)
    )
    call = type(convolution).call

    def spy(x):
        seen.append(x.dtype.name)
        return call(convolution, x)

    convolution.call = spy
    first = work._train_epoch(0)
    for epoch in range(1, 8):
        (last,) = work._train_epoch(epoch)
    del convolution.call
    expected = name.removeprefix("mixed_")
    assert set(seen) == {expected}
    assert last["loss"] < first[0]["loss"]
    assert {v.dtype for v in work.model.variables} == {"float32"}
    work._test_epoch(0)
    retrain.save_model(work.model, tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    assert {x.compute_dtype for x in loaded.layers} == {"float32"}
    assert {type(x).__module__.split(".")[0] for x in loaded.layers} == {
        "keras"
    }
    images, labels = work._test.split.arrays()
    accuracy = (loaded.predict(images, verbose=0).argmax(1) == labels).mean()
    assert accuracy == pytest.approx(work.accuracy)


def test_mixed_precision_gives_gradients_near_those_of_float32():
    values = {}
    for name in recipe.PRECISIONS:
        work = small.training(precision=name, lr=0.01, momentum=0.0)
        before = [v.numpy() for v in work.model.trainable_variables]
        next(step_values(work))
        after = [v.numpy() for v in work.model.trainable_variables]
        values[name] = np.concatenate(
            [(b - a).ravel() for a, b in zip(before, after, strict=True)]
        )
    truth = values["float32"]
    for name, limit in (("mixed_float16", 0.05), ("mixed_bfloat16", 0.3)):
        error = np.linalg.norm(values[name] - truth) / np.linalg.norm(truth)
        assert 0 < error < limit, name


def test_a_scaled_loss_changes_no_step_and_finds_its_scale():
    variable = tf.Variable([1.0, -2.0])
    optimizer = precision.scaled(
        SGD(schedules.constant(0.5), momentum=0.5), "mixed_float16"
    )
    optimizer.build([variable])
    scale = 2.0**15

    @tf.function(autograph=False)
    def run(gradient):
        optimizer.apply(
            one_by_one([variable]), [variable.read_value()], [gradient],
            tf.constant(0, tf.int64),
        )

    def step(gradient):
        assert float(optimizer.loss_scale()) == scale
        run(scale * tf.constant(gradient))

    step([2.0, 1.0])
    np.testing.assert_allclose(variable, [0.0, -2.5])
    step([float("inf"), 1.0])  # changes neither weights nor momentum
    np.testing.assert_allclose(variable, [0.0, -2.5])
    scale /= 2
    step([0.0, float("nan")])
    scale /= 2
    step([0.0, 0.0])  # momentum alone: 0.5 * (2, 1) * 0.5
    np.testing.assert_allclose(variable, [-0.5, -2.75])
    optimizer.finite_steps.assign(1999.0)
    step([0.0, 0.0])
    scale *= 2
    assert float(optimizer.loss_scale()) == scale
    assert float(optimizer.finite_steps) == 0


def test_only_float16_needs_a_scaled_loss():
    optimizer = SGD(schedules.constant(0.1))
    for name in ("float32", "mixed_bfloat16"):
        assert precision.scaled(optimizer, name) is optimizer


# AdamW.


@pytest.mark.parametrize("decay_vectors", [True, False])
def test_adamw_is_keras_adamw(decay_vectors):
    rng = np.random.default_rng(0)
    start = [rng.normal(size=s).astype(np.float32) for s in ((3, 4), (5,))]
    ours = [tf.Variable(x) for x in start]
    theirs = [keras.Variable(x, name=f"v{i}") for i, x in enumerate(start)]
    optimizer = AdamW(
        schedules.constant(0.1), 0.8, 0.95, 1e-3, 0.2, decay_vectors
    )
    optimizer.build(ours)
    reference = keras.optimizers.AdamW(
        0.1, weight_decay=0.2, beta_1=0.8, beta_2=0.95, epsilon=1e-3
    )
    reference.build(theirs)
    if not decay_vectors:
        reference.exclude_from_weight_decay(var_list=[theirs[1]])
    for number in range(5):
        gradients = [
            tf.constant(rng.normal(size=x.shape), tf.float32) for x in start
        ]
        optimizer.apply(
            one_by_one(ours), [v.read_value() for v in ours], gradients,
            tf.constant(number, tf.int64),
        )
        reference.apply(gradients, theirs)
    for one, two in zip(ours, theirs, strict=True):
        # Keras adds epsilon before it corrects the bias: another small term.
        np.testing.assert_allclose(one, two.numpy(), atol=5e-3)


def test_adamw_is_its_closed_form():
    rng = np.random.default_rng(1)
    variable = tf.Variable(rng.normal(size=(2, 3)), dtype=tf.float32)
    w, m, v = variable.numpy().astype(np.float64), 0.0, 0.0
    optimizer = AdamW(schedules.constant(0.1), 0.8, 0.95, 0.3, 0.2)
    optimizer.build([variable])
    for t in range(1, 5):
        g = rng.normal(size=(2, 3))
        optimizer.apply(
            one_by_one([variable]), [variable.read_value()],
            [tf.constant(g, tf.float32)], tf.constant(t - 1, tf.int64),
        )
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        root = np.sqrt(v / (1 - 0.95**t)) + 0.3
        w = w - 0.1 * (m / (1 - 0.8**t) / root + 0.2 * w)
        np.testing.assert_allclose(variable, w, atol=1e-6)


# All together.


class Killed(BaseException):
    """Stands for a SIGKILL."""


def train(workdir, **options):
    """Returns the final variables and the test accuracy."""
    config = small.config(**options)
    model, accuracy = retrain.retrain(
        small.arch(), config, workdir, data.load(config.data), progress=False
    )
    return [v.numpy() for v in model.variables], accuracy


def test_with_all_options_killed_is_undisturbed(
    teacher, tmp_path, monkeypatch
):
    options = {**all_options(teacher), "epochs": 2, "test_every": 1}
    expected, accuracy = train(tmp_path / "whole", **options)
    run_unit = retrain.Retraining.run_unit

    def die(self, unit):
        if unit:
            raise Killed
        return run_unit(self, unit)

    with monkeypatch.context() as patch:
        patch.setattr(retrain.Retraining, "run_unit", die)
        with pytest.raises(Killed):
            train(tmp_path / "killed", **options)
    values, again = train(tmp_path / "killed", **options)
    assert again == accuracy
    for value, wanted in zip(values, expected, strict=True):
        assert np.isfinite(wanted).all()
        np.testing.assert_array_equal(value, wanted)


def test_with_all_options_a_step_is_traced_once(teacher):
    work = small.training(**all_options(teacher), epochs=2, test_every=1)
    for epoch in range(2):
        work.run_unit(epoch)
    assert work.loop.traces("train") == work.loop.traces("test") == 1


@pytest.mark.slow  # without options: tests/train/test_retrain.py
def test_with_all_options_devices_end_with_equal_copies(teacher):
    work = small.training(
        "mirrored", **all_options(teacher), epochs=2, test_every=1
    )
    for epoch in range(2):
        work.run_unit(epoch)
    for group in work.variables().values():
        for variable in group:
            first, second = toy.copies(work.loop.strategy, variable)
            np.testing.assert_array_equal(first, second, variable.name)


def test_another_teacher_under_the_same_name_is_refused(teacher, tmp_path):
    path = tmp_path / "t.keras"
    path.write_bytes(open(teacher, "rb").read())
    train(tmp_path / "run", teacher=str(path), epochs=1)
    keras.utils.set_random_seed(8)
    build_model(small.arch()).save(path)
    with pytest.raises(ConfigError, match="teacher"):
        train(tmp_path / "run", teacher=str(path), epochs=1)


# Off, or wrong.


def test_a_bad_value_leaves_the_workdir_free(tmp_path):
    with pytest.raises(ConfigError, match="ema_decay"):
        train(tmp_path / "run", ema_decay=2.0)
    assert not (tmp_path / "run").exists()


def test_options_that_are_off_change_no_bit(tmp_path):
    config = small.config()
    with config.train.unlocked():
        for name in recipe.DEFAULTS:
            del config.train[name]
    model, _ = retrain.retrain(
        small.arch(), config, tmp_path / "without", data.load(config.data),
        progress=False,
    )
    values, _ = train(tmp_path / "off")
    for value, wanted in zip(values, model.variables, strict=True):
        np.testing.assert_array_equal(value, wanted.numpy())
    record = artifacts.read_jsonl(tmp_path / "off" / "log.jsonl")[0]
    assert record["phase"] == "train"
