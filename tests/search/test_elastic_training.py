"""Shared weights are trained as the schedule says, and survive kills."""

import numpy as np
import pytest
import tensorflow as tf

from configs import ase_nas_mobilenetv3
from tests import elastic_nets
from tests.search import tiny_supernets
from tests.search.tiny_supernets import SPACE
from tests.search.tiny_supernets import make_config
from tests.search.tiny_supernets import make_training
from tests.search.tiny_supernets import phase
from tests.train import toy
from tfnas import artifacts
from tfnas import spaces
from tfnas.errors import ConfigError
from tfnas.search import elastic_training
from tfnas.search.elastic_training import read_schedule
from tfnas.train.stage import Stage


class Killed(BaseException):
    """Stands for a SIGKILL."""


def test_the_published_schedule_shrinks_step_by_step():
    config = ase_nas_mobilenetv3.get_config().search.supernet
    schedule = read_schedule(config, spaces.get("mobilenetv3"))
    found = [
        (s.name, s.first, s.choices.kernels, s.choices.depths,
         s.choices.expansions, s.sorted_for)
        for s in schedule
    ]
    k, d = (3, 5, 7), (2, 3, 4)
    assert found == [
        ("full", 0, (7,), (4,), (6,), ()),
        ("kernel", 180, k, (4,), (6,), ()),
        ("depth1", 300, k, (3, 4), (6,), ()),
        ("depth2", 325, k, d, (6,), ()),
        ("expand1", 445, k, d, (4, 6), (6,)),
        ("expand2", 470, k, d, (3, 4, 6), (4, 6)),
    ]
    assert sum(s.epochs for s in schedule) == 590


@pytest.mark.parametrize(
    "config, message",
    [
        (make_config(phases={}, ), None),
        (make_config(distill="both"), "distill` must be one of .*'both'"),
        (make_config(distill="in_place"), r"sandwich .*\['full', 'all'\]"),
        (
            make_config({"all": phase(kernels=(3, 9))}),
            r"`search\.supernet\.all\.kernels` must be some of \(3, 5, 7\)",
        ),
        (make_config({"all": phase(epochs=0)}), "`epochs` >= 1"),
        (make_config({"all": phase(subnets=0)}), "Received: 1 and 0"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(config, message):
    if message is None:
        config.phases, message = (), "must name a phase"
    with pytest.raises(ConfigError, match=message):
        make_training(config)


def test_a_phase_without_a_section_is_refused():
    config = make_config()
    config.phases = ("full", "width")
    with pytest.raises(ConfigError, match="no `search.supernet.width`"):
        read_schedule(config, SPACE)


def log_softmax(logits):
    logits = logits - logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize(
    "distill",
    ["none", pytest.param("teacher", marks=pytest.mark.slow), "in_place"],
)
def test_the_loss_is_the_sum_over_subnets(distill):
    phases = {"all": phase(sandwich=True)}
    training = make_training(make_config(phases, distill=distill))
    net, x = training.net, tf.constant(elastic_nets.images())
    elastic_nets.randomise(net)
    for teacher, v in zip(training._teacher, net.variables, strict=False):
        teacher.assign(v * 0.9)
    labels = np.arange(8) % 4
    draw = training.phases[0].draw(tf.constant(3, tf.int64))

    def logits(codes, variables):
        values = [v.read_value() for v in variables]
        return net(x, tf.constant(codes), values)[0].numpy()

    values = [v.read_value() for v in net.variables]
    found = training._objective(True, x, tf.constant(labels), draw, values)
    outputs = [logits(codes, net.variables) for codes in draw.numpy()]
    # The true class has 0.9, each of the three wrong ones a third of 0.1.
    target = np.full((8, 4), 0.1 / 3)
    target[np.arange(8), labels] = 0.9
    total = 0.0
    for i, output in enumerate(outputs):
        hard = -(target * log_softmax(output)).sum(1)
        if distill == "none" or distill == "in_place" and not i:
            total += hard
            continue
        soft = outputs[0]
        if distill == "teacher":
            soft = logits(net.largest, training._teacher)
        weights = np.exp(log_softmax(soft))
        learnt = -(weights * log_softmax(output)).sum(1)
        total += learnt if distill == "in_place" else hard + 0.5 * learnt
    np.testing.assert_allclose(found.losses, total, rtol=1e-4)
    right = np.mean([o.argmax(1) == labels for o in outputs], 0)
    np.testing.assert_allclose(found.sums["accuracy"], right, rtol=1e-6)


def test_a_gradient_at_once_is_the_gradient():
    w, unused = tf.constant([[1.0, 2.0], [-1.0, 0.5]]), tf.constant([3.0])
    x = tf.constant(elastic_nets.images()[:, 0, 0, :2])

    def function(values):
        logits = x @ values[0]
        return tf.reduce_sum(logits**3, 1), logits

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([w, unused])
        loss, logits = elastic_training._gradient_at_once(
            function, [w, unused]
        )
        mean, plain = (
            tf.reduce_sum(v) / 5 for v in (loss, function([w])[0])
        )
    np.testing.assert_allclose(mean, plain, rtol=1e-6)
    found, of_unused = tape.gradient(mean, [w, unused])
    np.testing.assert_allclose(found, tape.gradient(plain, w), rtol=1e-5)
    assert of_unused.numpy().tolist() == [0.0]
    assert tape.gradient(logits, w) is None or not np.any(
        tape.gradient(logits, w)
    )


def outcome(training):
    return [v.numpy() for group in training.variables().values() for v in group]


@pytest.mark.slow
def test_killed_inside_the_second_phase_ends_the_same(tmp_path, monkeypatch):
    results = []
    for name, kill in (("whole", False), ("killed", True), ("killed", False)):
        training = make_training()
        run_unit = training.run_unit

        def stop(unit, run_unit=run_unit, kill=kill, training=training):
            if kill and unit == 1:
                training._begin(1)  # sorts, and sets the teacher
                raise Killed
            return run_unit(unit)

        monkeypatch.setattr(training, "run_unit", stop)
        stage = Stage(tmp_path / name, training, training.loop, {})
        if kill:
            with pytest.raises(Killed):
                stage.run("supernet")
            continue
        stage.run("supernet")
        log = artifacts.read_jsonl(tmp_path / name / "log.jsonl")
        results.append((log, training))
    (one, whole), (two, resumed) = results
    for a, b in zip(one, two, strict=True):
        assert {**a, "time_s": 0} == {**b, "time_s": 0}
    assert [r["stretch"] for r in one] == ["full", "all"]
    for a, b in zip(outcome(whole), outcome(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert whole.loop.traces("supernet_full") == 1
    assert whole.loop.traces("supernet_all") == 1


def test_a_phase_begins_with_the_best_channels_and_no_momentum(monkeypatch):
    seen = []
    monkeypatch.setattr(
        elastic_training, "sort_channels",
        lambda net, trained: seen.append(trained),
    )
    training = make_training()
    for slot in training.variables()["weight_slots"]:
        slot.assign(tf.ones(slot.shape))
    training._begin(0)
    assert not seen
    training._begin(1)
    assert seen == [[3, 6, 9]]  # the codes of e = 6
    slots = training.variables()["weight_slots"]
    assert all(not slot.numpy().any() for slot in slots)
    for teacher, v in zip(
        training.variables()["teacher"], training.net.variables, strict=True
    ):
        np.testing.assert_array_equal(teacher, v)


def distance(one, two):
    """Largest difference of weights, relative to each variable's size."""
    return max(
        np.abs(a - b).max() / (np.abs(a).max() + 1e-2)
        for a, b in zip(outcome(one), outcome(two), strict=True)
    )


@pytest.mark.slow
def test_two_devices_train_as_one_with_two_norm_groups():
    """Up to rounding, which now and then turns a ReLU on or off."""
    phases = {"all": phase()}
    for seed in (0, 1, 2):
        one = make_training(make_config(phases, bn_groups=2), seed=seed)
        two = make_training(make_config(phases), "mirrored", seed)
        for training in (one, two):
            training.run_unit(0)
        for v in two.net.variables:
            first, second = toy.copies(two.loop.strategy, v)
            np.testing.assert_array_equal(first, second, v.name)
        assert two.loop.traces("supernet_all") == 1
        if distance(one, two) < 1e-5:
            return
    pytest.fail("two devices differ from one with every seed")


def test_epochs_belong_to_phases():
    phases = {"one": phase(epochs=2), "two": phase(), "three": phase()}
    training = make_training(make_config(phases), examples=32)
    assert training.units == 4
    assert [training.number_of(u) for u in range(4)] == [0, 0, 1, 2]
    assert [training.is_last(u) for u in range(4)] == [False, True, True, True]
    assert training.unit_steps(0) == 32 // tiny_supernets.BATCH
