"""Mixup and cutmix: pixels and labels agree, whatever the devices."""

import numpy as np
import pytest
import tensorflow as tf

from tfnas.train import distribute
from tfnas.train import mixing
from tfnas.train.mixing import Mixing

SEED = np.array([3, 11], np.int64)


def batch(count, size=8):
    """Returns images whose every pixel is 1 + their place, and labels."""
    values = np.arange(1, count + 1, dtype=np.float32)
    shape = (count, size, size, 3)
    images = np.broadcast_to(values[:, None, None, None], shape)
    return tf.constant(images), tf.range(count) * 10


def mixed(mixup, cutmix, count=64, seed=SEED, size=8):
    """Returns the mixture of a batch as arrays."""
    images, labels = batch(count, size)
    result = Mixing(mixup, cutmix, count)(images, labels, seed)
    return [np.array(x) for x in (
        result.images, result.labels, result.others, result.share
    )]


def partner(count):
    """Pairs of neighbours: 0 1, 2 3, and so on."""
    return np.minimum(np.arange(count) ^ 1, count - 1)


def test_without_alphas_nothing_is_touched():
    images, labels = batch(4)
    result = Mixing(0.0, 0.0, 4)(images, labels, SEED)
    assert result.images is images and result.share is None
    assert result.blend(lambda y: y) is labels


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_is_the_sum_of_a_pair_with_the_shares_of_its_labels(alpha):
    images, labels, others, share = mixed(alpha, 0.0)
    own = np.arange(1, 65)
    expected = share * own + (1 - share) * own[partner(64)]
    np.testing.assert_allclose(
        images, np.broadcast_to(expected[:, None, None, None], images.shape),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(labels, 10 * np.arange(64))
    np.testing.assert_array_equal(others, labels[partner(64)])
    np.testing.assert_array_equal(share, share[partner(64)])
    assert len(set(share)) == 32  # every pair has its own


def test_shares_are_beta_distributed():
    for alpha in (0.2, 1.0, 4.0):
        *_, share = mixed(alpha, 0.0, count=8000, size=1)
        # Variance of Beta(a, a): 1 / (4 * (2 a + 1)).
        assert share.mean() == pytest.approx(0.5, abs=0.03)
        assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_cutmix_puts_a_rectangle_of_the_other_image_into_each():
    images, _, _, share = mixed(0.0, 1.0)
    own = np.arange(1, 65)
    assert len(set(share)) > 10
    for i, image in enumerate(images[..., 0]):
        inside = image == own[partner(64)][i]
        assert (inside | (image == own[i])).all()
        rows, columns = np.nonzero(inside)
        if len(rows):
            box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            assert box == inside.sum()
        assert share[i] == pytest.approx(1 - inside.mean(), abs=1e-6)


def test_the_rectangle_has_the_sides_of_the_paper():
    cases = [(0.75, (0.5, 0.5)), (0.75, (0.0, 0.99)), (0.0, (0.3, 0.6)),
             (1.0, (0.5, 0.5)), (0.36, (0.9, 0.1))]
    share, centre = (np.array(x, np.float32) for x in zip(*cases, strict=True))
    found = mixing.rectangle(tf.constant(share), tf.constant(centre), (12, 20))
    for mask, s, (row, column) in zip(
        found.numpy()[..., 0], share, centre, strict=True
    ):
        expected = np.zeros((12, 20))
        height, width = (int(np.sqrt(1 - s) * n) for n in (12, 20))
        top = int(row * 12) - height // 2
        left = int(column * 20) - width // 2
        expected[max(top, 0): max(top + height, 0),
                 max(left, 0): max(left + width, 0)] = 1
        np.testing.assert_array_equal(mask, expected)


def test_with_both_each_pair_is_mixed_one_way_or_the_other():
    images, _, _, share = mixed(1.0, 1.0, count=400)
    flat = np.ptp(images, axis=(1, 2, 3)) == 0
    np.testing.assert_array_equal(flat, flat[partner(400)])
    assert 0.35 < flat.mean() < 0.75  # some rectangles are empty, or all
    own = np.arange(1, 401)
    mean = share * own + (1 - share) * own[partner(400)]
    np.testing.assert_allclose(images.mean((1, 2, 3)), mean, rtol=1e-5)


def test_the_last_of_an_odd_number_stays_as_it_is():
    for alphas in ((1.0, 0.0), (0.0, 1.0)):
        images, labels, others, _ = mixed(*alphas, count=7)
        np.testing.assert_allclose(images[6], 7.0, rtol=1e-6)
        assert labels[6] == others[6] == 60


def test_a_smaller_last_batch_is_mixed_as_the_start_of_a_whole_one():
    images, labels = batch(8)
    whole, part = (
        Mixing(1.0, 1.0, 8)(images[:n], labels[:n], SEED) for n in (8, 6)
    )
    np.testing.assert_array_equal(whole.images[:6], part.images)
    np.testing.assert_array_equal(whole.share[:6], part.share)


def test_seed_and_step_decide_about_what_is_drawn():
    seeds = [[3, 11], [3, 11], [3, 12], [4, 11]]
    shares = [
        mixed(1.0, 0.0, seed=tf.constant(s, tf.int64))[3] for s in seeds
    ]
    np.testing.assert_array_equal(shares[0], shares[1])
    assert not np.isin(shares[2], shares[0]).any()
    assert not np.isin(shares[3], shares[0]).any()


@pytest.mark.parametrize("alphas", [(0.5, 0.0), (0.0, 1.0), (0.5, 1.0)])
def test_two_devices_mix_as_one_does(alphas):
    strategy = distribute.strategy("mirrored")
    images, labels = batch(8)
    mix = Mixing(*alphas, 8)

    def halves(context):
        i = context.replica_id_in_sync_group
        return images[4 * i: 4 * i + 4], labels[4 * i: 4 * i + 4]

    parts = strategy.experimental_distribute_values_from_function(halves)
    run = tf.function(
        lambda: strategy.run(
            lambda pair: (lambda m: (m.images, m.others, m.share))(
                mix(*pair, SEED)
            ),
            (parts,),
        )
    )
    one = mix(images, labels, SEED)
    for whole, halved in zip(
        (one.images, one.others, one.share), run(), strict=True
    ):
        pieces = strategy.experimental_local_results(halved)
        np.testing.assert_array_equal(whole, np.concatenate(pieces))


def test_a_score_is_weighted_with_the_shares():
    mixture = mixing.Mixture(
        None, tf.constant([1, 2]), tf.constant([5, 7]), tf.constant([0.25, 1.0])
    )
    score = mixture.blend(lambda y: tf.cast(y, tf.float32) ** 2)
    np.testing.assert_allclose(score, [0.25 * 1 + 0.75 * 25, 4.0])
