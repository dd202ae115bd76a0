"""Dropout masks: equal on every backend, of the right rate and scale, shared by forward and backward, uncorrelated."""

from __future__ import annotations

import numpy as np
import pytest
import textbook
from marks import EAGER

import mlp_xp as mx
from mlp_xp import dropout
from mlp_xp.dropout import dropout_mask

# a standard normal number is larger once in 10^5 masks; the seeds are fixed, so a pass stays a pass
Z_SCORE = 4.5


def mask(xp, put, host, shape, rate, seed, layer=1):
    return host(dropout_mask(xp, shape, rate, seed, layer, put(np.zeros(1))))


@pytest.mark.parametrize(
    ("rate", "seed", "layer"), [(0.5, 0, 1), (0.25, 1, 2), (0.9, 2**31 - 1, 1), (0.1, 65536, 3), (1e-9, 7, 1)]
)
def test_one_seed_gives_the_same_mask_on_every_backend(xp, put, host, rate, seed, layer):
    ours = mask(xp, put, host, (16, 32), rate, seed, layer)
    np.testing.assert_allclose(ours, textbook.dropout_mask(16, 32, rate, seed, layer), rtol=4e-16)  # of 1 / (1 - rate)


@pytest.mark.only("numpy", "torch", "jax", "cupy", "dpnp")
def test_masks_agree_beyond_the_first_65536_positions(xp, put, host):
    ours = mask(xp, put, host, (300, 256), 0.5, 3)  # the upper 16 bits of a position are no longer 0
    np.testing.assert_array_equal(ours[-40:], textbook.dropout_mask(300, 256, 0.5, 3, 1)[-40:])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_units_are_dropped_at_the_rate_and_the_rest_scaled_to_keep_the_mean(xp, put, host, rate):
    ours = mask(xp, put, host, (256, 128), rate, 5)
    np.testing.assert_allclose(np.unique(ours), [0.0, 1.0 / (1.0 - rate)], rtol=4e-16)
    deviation = (np.mean(ours == 0) - rate) / np.sqrt(rate * (1 - rate) / ours.size)
    assert abs(deviation) < Z_SCORE


def correlation(a, b):
    """The z-score of the correlation of two masks at rate 1/2, which are +-1 after centring."""
    return np.sum((a - 1) * (b - 1)) / np.sqrt(a.size)


def test_masks_are_uncorrelated_along_rows_and_columns_and_between_neighbouring_seeds_and_layers(xp, put, host):
    shape = (256, 128)
    masks = {(seed, layer): mask(xp, put, host, shape, 0.5, seed, layer) for seed in (0, 1, 2) for layer in (1, 2)}
    one = masks[0, 1]
    scores = {f"rows {lag} apart": correlation(one[lag:], one[:-lag]) for lag in (1, 2, 4, 8, 64)}
    scores |= {f"columns {lag} apart": correlation(one[:, lag:], one[:, :-lag]) for lag in (1, 2, 4, 8, 64)}
    scores |= {f"{a} and {b}": correlation(masks[a], masks[b]) for a in masks for b in masks if a < b}
    scores["transposed"] = correlation(one[:128], one[:128].T) / np.sqrt(2)  # each pair is counted twice
    # the sums over rows and over columns vary as those of independent numbers: chi-square, standardised
    for axis, name in ((0, "columns"), (1, "rows")):
        counts = np.sum(one - 1, axis=axis) ** 2 / one.shape[axis]
        scores[f"even {name}"] = (np.sum(counts) - counts.size) / np.sqrt(2 * counts.size)
    for name, score in scores.items():
        assert abs(score) < Z_SCORE, name


def test_layers_and_seeds_differ(put, host):
    # inputs of zero, all parameters 1: the first hidden units are 1, after dropout they are the mask
    X, params = put(np.zeros((6, 4))), [put(np.ones_like(p)) for p in textbook.parameters((4, 5, 5))]
    options = {"activation": "identity", "criterion": "squared_error", "dropout": 0.5}
    first, _ = mx.forward(X, *params, seed=1, **options)
    again, _ = mx.forward(X, *params, seed=1, **options)
    other, _ = mx.forward(X, *params, seed=2, **options)
    np.testing.assert_array_equal(host(first), host(again))
    assert np.any(host(first) != host(other))
    # each output is 1 + the row's sum over the mask
    expected = 1 + textbook.dropout_mask(6, 5, 0.5, 1, 1).sum(axis=1)
    np.testing.assert_array_equal(host(first), np.repeat(expected[:, None], 5, axis=1))
    # a second hidden layer gets a mask of its own, which multiplies these numbers
    X, params = put(np.zeros((6, 4))), [put(np.ones_like(p)) for p in textbook.parameters((4, 5, 5, 5))]
    deep, _ = mx.forward(X, *params, seed=1, **options)
    theirs = 1 + expected * textbook.dropout_mask(6, 5, 0.5, 1, 2).sum(axis=1)
    np.testing.assert_array_equal(host(deep), np.repeat(theirs[:, None], 5, axis=1))
    assert np.any(theirs != 1 + expected * textbook.dropout_mask(6, 5, 0.5, 1, 1).sum(axis=1))


def test_forward_and_backward_share_the_mask(put, host):
    X, params = textbook.batch(), textbook.parameters((4, 5, 3))
    options = {"dropout": 0.5, "seed": 9}
    _, (_, _, dW2, _) = mx.loss_and_grads(put(X), put(textbook.labels()), *map(put, params), **options)
    theirs = textbook.gradients(X, textbook.labels(), *params, **options)
    assert textbook.relative_error(host(dW2), theirs[2]) <= 1e-13
    # a unit that is dropped in every row learns nothing in either layer; the others do
    rate = 0.8
    dropped = np.all(textbook.dropout_mask(6, 5, rate, 9, 1) == 0, axis=0)
    assert dropped.sum() == 2
    _, grads = mx.loss_and_grads(put(X), put(textbook.labels()), *map(put, params), dropout=rate, seed=9)
    np.testing.assert_array_equal(np.all(host(grads[0]) == 0, axis=0), dropped)
    np.testing.assert_array_equal(np.all(host(grads[2]) == 0, axis=1), dropped)


@EAGER
def test_dropout_of_inputs_is_the_network_on_masked_inputs(put, host):
    """With the other masks as they are: the loss, its gradient, that of each row, a second derivative, and forward."""
    X, y, params = textbook.batch(), put(textbook.labels()), tuple(map(put, textbook.parameters()))
    masked = X * textbook.dropout_mask(6, 4, 0.4, 9, 0)
    options = {"activation": "tanh", "dropout": 0.3, "seed": 9}
    along = tuple(map(put, textbook.parameters(seed=5)))
    results = [
        (*mx.loss_and_grads(put(at), y, *params, **options, **more)[1],
         *mx.per_example_grads(put(at), y, *params, **options, **more),
         *mx.hvp(put(at), y, *params, vectors=along, **options, **more),
         mx.forward(put(at), *params, dropout=0.3, seed=9, **more)[0])
        for at, more in ((X, {"input_dropout": 0.4}), (masked, {}))
    ]  # fmt: skip
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(host(ours), host(theirs), rtol=1e-13, atol=1e-14)


@pytest.mark.only("numpy")
def test_over_all_seeds_inputs_keep_their_mean():
    # inputs of 1 through a network that sums them: n masks of one seed after the other
    ones, params = np.ones((64, 50)), (np.eye(50), np.zeros(50))
    options = {"criterion": "squared_error", "input_dropout": 0.2}
    outputs = np.stack([mx.forward(ones, *params, seed=seed, **options)[0] for seed in range(20)])
    deviation = np.sqrt(0.2 / 0.8 / outputs.size)  # of a mean of numbers that are 0 or 1 / 0.8
    assert abs(outputs.mean() - 1.0) < Z_SCORE * deviation
    assert not np.array_equal(outputs[0], outputs[1])


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_random_numbers_are_uniform_and_those_of_a_part_of_the_batch_are_a_part(xp, put, host, seed):
    like = put(np.zeros(1))
    ours = host(dropout.uniform(xp, (40, 50), seed, 0, like))
    assert (ours.min() >= 0.0, ours.max() < 1.0) == (True, True)
    assert abs(ours.mean() - 0.5) < Z_SCORE * np.sqrt(1 / 12 / ours.size)
    counts = np.histogram(ours, bins=16, range=(0, 1))[0]
    assert np.sum((counts - 125) ** 2 / 125) < 15 + Z_SCORE * np.sqrt(2 * 15)  # chi-square of 15 degrees of freedom
    part = dropout.uniform(xp, (10, 50), seed, 0, like, put(np.asarray(30, dtype=np.int32)))
    np.testing.assert_array_equal(host(part), ours[30:])
    other = host(dropout.uniform(xp, (40, 50), seed, 1, like))
    assert abs(np.sum((ours - 0.5) * (other - 0.5)) * 12 / np.sqrt(ours.size)) < Z_SCORE
    with pytest.raises(ValueError, match=r"^stream must be at most 32767, got 32768$"):
        dropout.uniform(xp, (2, 2), seed, 2**15, like)


def test_a_seed_may_be_an_array(xp, put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), [put(p) for p in textbook.parameters()]
    for seed in (0, 2**31 - 1):
        expected = host(mx.objective(X, y, *params, dropout=0.5, seed=seed))
        for form in (put(seed, xp.int32), put(seed, xp.int64), np.int64(seed)):
            assert host(mx.objective(X, y, *params, dropout=0.5, seed=form)) == expected


def test_without_dropout_the_seed_changes_nothing(put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), [put(p) for p in textbook.parameters()]
    assert host(mx.objective(X, y, *params, seed=4)) == host(mx.objective(X, y, *params))


def test_predictions_do_not_drop(put, host):
    X, params = put(textbook.batch()), [put(p) for p in textbook.parameters()]
    p, _ = mx.forward(X, *params)
    np.testing.assert_array_equal(host(p), host(mx.predict_proba(X, *params)))
