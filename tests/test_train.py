"""The training loop: it learns, it repeats itself, it records what it says, and it stops at bad data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import textbook

import mlp_xp as mx
from mlp_xp import optim
from mlp_xp.train import train

SGD = {"optimizer": optim.sgd(), "lr": 0.5}


@pytest.fixture
def data(put):
    return put(textbook.batch()), put(textbook.labels())


@pytest.fixture
def params(put):
    return tuple(put(p) for p in textbook.parameters())


def same(host, first, second):
    return all(np.array_equal(host(a), host(b)) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("make", [optim.sgd, optim.momentum, optim.adam])
def test_the_loss_falls(data, params, make):
    losses = [epoch.last.loss for epoch in train(*data, params, optimizer=make(), lr=0.1, epochs=8, batch_size=3)]
    assert losses[-1] < 0.9 * losses[0]


def test_one_full_batch_is_one_training_step(data, params, host):
    (epoch,) = train(*data, params, **SGD, epochs=1, batch_size=6)
    theirs = textbook.batch(), textbook.labels(), *textbook.parameters()
    np.testing.assert_allclose(epoch.last.loss, textbook.objective(*theirs), rtol=1e-14)
    for a, p, g in zip(epoch.params, theirs[2:], textbook.gradients(*theirs), strict=True):
        assert textbook.relative_error(host(a), p - 0.5 * g) <= 1e-13


@pytest.mark.parametrize("batch_size", [2, 4])
def test_minibatches_take_every_row_once_in_the_seeded_order(data, params, host, batch_size):
    (epoch,) = train(*data, params, **SGD, epochs=1, batch_size=batch_size, seed=3)
    X, y, expected = textbook.batch(), textbook.labels(), textbook.parameters()
    random = np.random.default_rng((3, 1))
    random.integers(2**31)  # the seed of the epoch's dropout masks
    order, total = random.permutation(6), 0.0
    for start in range(0, 6, batch_size):  # the last one takes what is left
        rows = order[start : start + batch_size]
        total += len(rows) * textbook.objective(X[rows], y[rows], *expected)
        grads = textbook.gradients(X[rows], y[rows], *expected)
        expected = [p - 0.5 * g for p, g in zip(expected, grads, strict=True)]
    np.testing.assert_allclose(epoch.last.loss, total / 6, rtol=1e-13)
    for a, b in zip(epoch.params, expected, strict=True):
        assert textbook.relative_error(host(a), b) <= 1e-12


def test_epochs_are_numbered_and_timed_and_hand_back_the_parameters(data, params, host):
    epochs = list(train(*data, params, **SGD, epochs=3, batch_size=4))
    assert [epoch.last.number for epoch in epochs] == [1, 2, 3]
    assert 0 < epochs[0].last.seconds < epochs[1].last.seconds < epochs[2].last.seconds
    assert all(isinstance(epoch.last.loss, float) for epoch in epochs)
    assert all(epoch.last.val_loss is None and epoch.last.val_score is None for epoch in epochs)
    assert [a.shape for a in epochs[-1].params] == [a.shape for a in params]
    assert not same(host, epochs[0].params, epochs[1].params)


def test_the_caller_may_stop_whenever_he_likes(data, params):
    for epoch in train(*data, params, **SGD, epochs=10**9):
        if epoch.last.number == 2:
            break
    assert epoch.last.number == 2


def test_one_seed_is_one_run_and_another_seed_another(data, params, host):
    def run(seed):
        (epoch,) = train(*data, params, **SGD, epochs=1, batch_size=2, seed=seed, dropout=0.4)
        return epoch

    first, again, other = run(1), run(1), run(2)
    assert first.last.loss == again.last.loss
    assert same(host, first.params, again.params)
    assert not same(host, first.params, other.params)


def test_dropout_masks_advance_with_every_step(put, host):
    """On one row again and again only the mask can differ."""
    X, y, params = put(textbook.batch(1)), put([1]), tuple(put(p) for p in textbook.parameters())
    still = {"optimizer": optim.sgd(), "lr": 0.0}
    losses = [epoch.last.loss for epoch in train(X, y, params, **still, epochs=6, dropout=0.5)]
    assert len(set(losses)) > 1


@pytest.mark.parametrize("criterion", textbook.CRITERIA)
def test_validation_is_the_data_loss_and_the_share_of_right_labels(data, params, put, criterion):
    X, y = textbook.batch(), textbook.labels()
    options = {"criterion": criterion, "activation": "tanh"}
    (epoch,) = train(
        *data, params, optimizer=optim.sgd(), lr=0.0, epochs=1, validation=data, l2=0.5, dropout=0.5, **options
    )
    # without the penalty and the dropout; sgd(0) left the parameters where they were
    np.testing.assert_allclose(
        epoch.last.val_loss, textbook.objective(X, y, *textbook.parameters(), **options), rtol=1e-13
    )
    if criterion == "softmax_cross_entropy":
        predicted = textbook.logits(X, *textbook.parameters(), activation="tanh").argmax(-1)
        assert epoch.last.val_score == np.mean(predicted == y)
    else:
        assert epoch.last.val_score is None


def test_sample_weights_follow_their_rows(data, params, put, host):
    w = textbook.row_weights() + 1
    (epoch,) = train(*data, params, **SGD, epochs=1, batch_size=6, sample_weight=put(w))
    theirs = textbook.batch(), textbook.labels(), *textbook.parameters()
    np.testing.assert_allclose(epoch.last.loss, textbook.objective(*theirs, sample_weight=w), rtol=1e-14)


def test_nothing_is_mutated(data, params, host):
    before = [host(a).copy() for a in (*data, *params)]
    list(train(*data, params, optimizer=optim.adam(), lr=0.1, epochs=2, batch_size=4, dropout=0.3))
    for array, copied in zip((*data, *params), before, strict=True):
        np.testing.assert_array_equal(host(array), copied)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_run_that_diverges_says_so(data, params):
    steep = {"optimizer": optim.sgd(), "lr": 1e200}
    with pytest.raises(
        FloatingPointError, match=r"not finite at step 1 of 1 in epoch 2: the learning rate, 1e\+200, is too"
    ):
        list(train(*data, params, **steep, epochs=20, criterion="squared_error", activation="identity"))


def test_one_bad_number_among_the_data_is_found_on_every_backend(put, params):
    for bad in (math.nan, math.inf, -math.inf):
        X = textbook.batch()
        X[4, 2] = bad
        with pytest.raises(ValueError, match="X must be finite"):
            next(train(put(X), put(textbook.labels()), params, **SGD, epochs=1))


@pytest.mark.parametrize("label", [-1, 3])
def test_one_label_out_of_range_is_found_on_every_backend(put, params, label):
    y = textbook.labels()
    y[4] = label
    with pytest.raises(ValueError, match="y must hold labels 0 to 2, got labels"):
        next(train(put(textbook.batch()), put(y), params, **SGD, epochs=1))


def test_float32_stays_float32(xp, put):
    X, y = put(textbook.batch(), xp.float32), put(textbook.labels())
    params = tuple(put(p, xp.float32) for p in textbook.parameters())
    for make in (optim.sgd, optim.momentum, optim.adam):
        (epoch,) = train(X, y, params, optimizer=make(), lr=0.1, epochs=1, batch_size=4)
        assert all(p.dtype == xp.float32 for p in epoch.params)


@pytest.mark.only("dask")
@pytest.mark.parametrize("make", [optim.sgd, optim.adam])
def test_a_dask_graph_does_not_grow_with_the_steps(data, params, make):
    sizes = [
        max(len(p.dask) for p in epoch.params)
        for epoch in train(*data, params, optimizer=make(), lr=0.1, epochs=4, batch_size=3)
    ]
    assert sizes[-1] == sizes[0] <= 4  # each parameter is one computed chunk


def test_it_learns_what_a_linear_model_cannot(put, host):
    """The exclusive or: four points that no line divides."""
    X, y = np.asarray([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.asarray([0, 1, 1, 0])
    params = tuple(put(p) for p in textbook.parameters((2, 8, 2)))
    *_, epoch = train(put(X), put(y), params, optimizer=optim.adam(), lr=0.1, epochs=60, activation="tanh")
    assert epoch.last.loss < 0.1
    assert host(mx.predict(put(X), *epoch.params, activation="tanh")).tolist() == y.tolist()
