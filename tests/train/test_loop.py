"""The training loop: it learns, one seed is one run, its records are right, and it refuses bad data."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import pickle
import re
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
import scipy.sparse
import textbook
from array_api_compat import array_namespace
from marks import EAGER

import mlp_xp as mx
from mlp_xp import optim, schedules
from mlp_xp.dropout import uniform
from mlp_xp.train import Diverged, Epoch, Interrupted, is_sparse, train
from mlp_xp.train import evaluate as evaluate_module
from mlp_xp.train.dataset import Dataset, shares_of
from mlp_xp.train.evaluate import evaluate

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


@pytest.mark.only("numpy")
@pytest.mark.parametrize("counts", [(7, 5, 6), (2, 11), (4,)], ids=str)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_ranks_take_all_their_rows_in_parts_of_about_one_size(counts, accumulate):
    for rank, steps in itertools.product(range(len(counts)), (1, 2, 4)):
        parts = [shares_of(counts, r, steps, accumulate)[0] for r in range(rank + 1)]
        sizes = [[span.stop - span.start for span in spans] for spans in parts]
        assert [row for span in parts[rank] for row in range(counts[rank])[span]] == list(range(counts[rank]))
        assert (len(parts[rank]), max(sizes[rank]) - min(sizes[rank]) <= 1) == (steps * accumulate, True)
        before = [sum(sum(each[step * accumulate :][:accumulate]) for each in sizes[:rank]) for step in range(steps)]
        assert shares_of(counts, rank, steps, accumulate)[1] == before


def test_epochs_are_numbered_and_timed_and_hand_back_the_parameters(data, params, host):
    epochs = list(train(*data, params, **SGD, epochs=3, batch_size=4))
    assert [epoch.last.number for epoch in epochs] == [1, 2, 3]
    assert 0 < epochs[0].last.seconds < epochs[1].last.seconds < epochs[2].last.seconds
    assert all(isinstance(epoch.last.loss, float) for epoch in epochs)
    assert all(epoch.last.val_loss is None and epoch.last.val_score is None for epoch in epochs)
    assert [a.shape for a in epochs[-1].params] == [a.shape for a in params]
    assert not same(host, epochs[0].params, epochs[1].params)


def test_the_caller_may_stop_after_any_epoch(data, params):
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
    """Two steps an epoch, at a rate of 0: the losses tell which seeds the masks had."""
    X, y, theirs = textbook.batch(2), np.asarray([1, 0]), textbook.parameters()
    still = {"optimizer": optim.sgd(), "lr": 0.0, "batch_size": 1, "shuffle": False, "seed": 5}
    epochs = list(train(put(X), put(y), tuple(map(put, theirs)), **still, epochs=3, dropout=0.5))
    for epoch in epochs:
        first = int(np.random.default_rng((5, epoch.last.number)).integers(2**31))
        rows = [(X[i : i + 1], y[i : i + 1]) for i in (0, 1)]
        losses = [textbook.objective(*row, *theirs, dropout=0.5, seed=first + i) for i, row in enumerate(rows)]
        np.testing.assert_allclose(epoch.last.loss, np.mean(losses), rtol=1e-13)
    assert len({epoch.last.loss for epoch in epochs}) == 3


@EAGER
def test_after_each_step_hidden_units_are_within_the_limit(data, params, host):
    """Two steps of plain descent, each followed by the constraint, written out."""
    (epoch,) = train(*data, params, **SGD, epochs=1, batch_size=3, shuffle=False, max_norm=0.7)
    expected = textbook.parameters()
    for rows in (slice(0, 3), slice(3, 6)):
        grads = textbook.gradients(textbook.batch()[rows], textbook.labels()[rows], *expected)
        W1, *rest = [p - 0.5 * g for p, g in zip(expected, grads, strict=True)]
        norms = np.linalg.norm(W1, axis=0)
        assert norms.max() > 0.7
        expected = [W1 * np.minimum(1.0, 0.7 / norms), *rest]
    for ours, theirs in zip(epoch.params, expected, strict=True):
        assert textbook.relative_error(host(ours), theirs) <= 1e-13


def shaken(X, seed, first):
    """A transform, which can be compiled: other inputs in each step."""
    return X + uniform(array_namespace(X), X.shape, seed, 0, X, first)


@EAGER
def test_a_transform_changes_the_inputs_of_each_step_and_no_others(xp, data, params, put, host):
    seeds = []

    def noting(X, seed, first):
        seeds.append(seed)
        return shaken(X, seed, first)

    options = {**SGD, "shuffle": False, "seed": 5, "dropout": 0.3}
    (epoch,) = train(*data, params, **options, epochs=1, batch_size=4, transform=noting, validation=data)
    first = int(np.random.default_rng((5, 1)).integers(2**31))
    assert seeds == [first, first + 1]  # those of the dropout masks
    X, y = data
    parts = [(shaken(X[:4, :], first, None), y[:4]), (shaken(X[4:, :], first + 1, None), y[4:])]
    del options["shuffle"]
    (other,) = train(parts, None, params, **options, epochs=1, validation=data)
    assert_there(host, epoch.params, [host(p) for p in other.params])
    assert epoch.last.val_loss == pytest.approx(other.last.val_loss, rel=1e-13)  # of the inputs as they are


@pytest.mark.parametrize("criterion", textbook.CRITERIA)
def test_validation_is_the_data_loss_and_the_share_of_right_labels(data, put, criterion):
    X, y = textbook.batch(), textbook.labels()
    theirs = textbook.parameters(textbook.widths_for(criterion, textbook.SIZES))
    params = tuple(map(put, theirs))
    options = {"criterion": criterion, "activation": "tanh"}
    (epoch,) = train(
        *data, params, optimizer=optim.sgd(), lr=0.0, epochs=1, validation=data, l2=0.5, dropout=0.5, **options
    )
    # without the penalty and the dropout; a rate of 0 left the parameters where they were
    np.testing.assert_allclose(epoch.last.val_loss, textbook.objective(X, y, *theirs, **options), rtol=1e-13)
    if criterion == "softmax_cross_entropy":
        predicted = textbook.logits(X, *theirs, activation="tanh").argmax(-1)
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
        X = textbook.batch().copy()
        X[4, 2] = bad
        with pytest.raises(ValueError, match="X must be finite"):
            next(train(put(X), put(textbook.labels()), params, **SGD, epochs=1))


@pytest.mark.parametrize("label", [-1, 3])
def test_one_label_out_of_range_is_found_on_every_backend(put, params, label):
    y = textbook.labels().copy()
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


# --- the learning rate, batches, penalties -----------------------------------------------------------------------


def stepped_by_hand(rows_of_steps, rates, **options):
    """Plain gradient descent on these rows in turn: the parameters, and the objective of each step before it."""
    X, y, params, losses = textbook.batch(), textbook.labels(), textbook.parameters(), []
    weight = options.pop("sample_weight", None)
    for rows, rate in zip(rows_of_steps, rates, strict=True):
        here = {**options, **({} if weight is None else {"sample_weight": weight[rows]})}
        losses.append(textbook.objective(X[rows], y[rows], *params, **here))
        grads = textbook.gradients(X[rows], y[rows], *params, **here)
        params = [p - rate * g for p, g in zip(params, grads, strict=True)]
    return params, losses


def assert_there(host, ours, theirs, close=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        assert textbook.relative_error(host(a), b) <= close


def test_a_schedule_is_asked_at_every_step_how_far_training_has_come(data, params, host):
    asked = []

    def schedule(progress):
        asked.append(progress)
        return np.float64(0.1 * (1 + progress.step))  # a scalar of NumPy, which must not widen anything

    epochs = list(train(*data, params, optimizer=optim.sgd(), lr=schedule, epochs=2, batch_size=4, shuffle=False))
    assert [progress[:3] for progress in asked] == [(0, 4, 0), (1, 4, 0), (2, 4, 6), (3, 4, 6)]
    assert asked[0].losses == []
    assert asked[3].losses == [epochs[0].last.loss]
    assert [epoch.last.lr for epoch in epochs] == [pytest.approx(0.2), pytest.approx(0.4)]
    assert [epoch.last.steps for epoch in epochs] == [2, 4]
    first, last = np.arange(4), np.arange(4, 6)  # without shuffling
    there, losses = stepped_by_hand([first, last] * 2, [0.1, 0.2, 0.3, 0.4])
    assert_there(host, epochs[-1].params, there)
    np.testing.assert_allclose(epochs[-1].last.loss, (4 * losses[2] + 2 * losses[3]) / 6, rtol=1e-12)


def test_the_caller_may_give_the_order(data, params, host):
    asked = []

    def order(number):
        asked.append(number)
        return [5, 4, 3, 2, 1, 0] if number == 1 else np.asarray([0, 0, 1, 1, 2, 2])

    *_, epoch = train(*data, params, **SGD, epochs=2, batch_size=4, order=order)
    rows = [np.asarray(r) for r in ([5, 4, 3, 2], [1, 0], [0, 0, 1, 1], [2, 2])]
    assert asked == [1, 2]
    assert_there(host, epoch.params, stepped_by_hand(rows, [0.5] * 4)[0])


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint64"])
def test_an_order_may_be_of_integers_of_any_width(data, params, host, kind):
    rows = np.asarray([5, 3, 1, 0, 2, 4])
    (ours,), (theirs,) = (
        train(*data, params, **SGD, epochs=1, batch_size=4, order=lambda number, each=each: each)
        for each in (rows.astype(kind), rows)
    )
    assert same(host, ours.params, theirs.params)


@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 1, 2, 3, 4, 6], [-1, 1, 2, 3, 4, 5], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]])
def test_an_order_must_be_of_rows_that_are_there(data, params, rows):
    with pytest.raises(ValueError, match=r"order\(1\) must be 6 row numbers from 0 to 5, got"):
        next(train(*data, params, **SGD, epochs=1, order=lambda number: rows))


@pytest.mark.parametrize("weighted", [False, True])
def test_alpha_is_divided_by_the_rows_or_their_weight(data, params, put, host, weighted):
    """The last batch is smaller, so its penalty is larger: ``alpha / 2S`` is ``l2 / 2`` with l2 = alpha / S."""
    w, alpha = textbook.row_weights() + 1, 0.7
    options = {"sample_weight": put(w)} if weighted else {}
    (epoch,) = train(*data, params, **SGD, epochs=1, batch_size=4, shuffle=False, alpha=alpha, **options)
    X, y, there, total, penalty = textbook.batch(), textbook.labels(), textbook.parameters(), 0.0, 0.0
    for rows in (np.arange(4), np.arange(4, 6)):
        here = {"l2": alpha / (np.sum(w[rows]) if weighted else len(rows))}
        penalty += len(rows) * here["l2"] / 2 * sum(np.sum(W**2) for W in there[::2])
        if weighted:
            here["sample_weight"] = w[rows]
        total += len(rows) * textbook.objective(X[rows], y[rows], *there, **here)
        grads = textbook.gradients(X[rows], y[rows], *there, **here)
        there = [p - 0.5 * g for p, g in zip(there, grads, strict=True)]
    np.testing.assert_allclose((epoch.last.loss, epoch.last.penalty), (total / 6, penalty / 6), rtol=1e-12)
    assert_there(host, epoch.params, there)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("weighted", [False, True])
def test_alpha_is_scikit_learns(data, params, weighted):
    from sklearn.neural_network import MLPClassifier

    X, y = data
    w, targets, alpha = textbook.row_weights() + 1, textbook.one_hot(y, 3), 0.7
    theirs = MLPClassifier(activation="logistic", alpha=alpha)
    theirs.coefs_, theirs.intercepts_ = ([p.copy() for p in params[start::2]] for start in (0, 1))
    theirs.n_layers_, theirs.out_activation_, theirs.loss, total = 3, "softmax", "log_loss", 0.0
    for rows in (slice(0, 4), slice(4, 6)):
        weight = w[rows] if weighted else None
        batch, empty = X[rows], lambda: [None, None]
        loss, *grads = theirs._backprop(batch, targets[rows], weight, [batch, None, None], empty(), empty(), empty())
        total += loss * len(batch)
        for held, moved in zip((theirs.coefs_, theirs.intercepts_), grads, strict=True):
            held[:] = [p - 0.5 * g for p, g in zip(held, moved, strict=True)]
    options = {"sample_weight": w} if weighted else {}
    (epoch,) = train(X, y, params, **SGD, epochs=1, batch_size=4, shuffle=False, alpha=alpha, **options)
    np.testing.assert_allclose(epoch.last.loss, total / 6, rtol=1e-13)
    for start, held in ((0, theirs.coefs_), (1, theirs.intercepts_)):
        for a, b in zip(epoch.params[start::2], held, strict=True):
            assert textbook.relative_error(a, b) <= 1e-13


def test_gradients_are_clipped_to_the_norm_of_all_with_the_penalty(data, params, host):
    (epoch,) = train(*data, params, **SGD, epochs=1, batch_size=6, shuffle=False, alpha=0.6, clip_norm=0.01)
    theirs = textbook.batch(), textbook.labels(), *textbook.parameters()
    grads = textbook.gradients(*theirs, l2=0.1)
    scale = 0.01 / np.sqrt(sum(np.sum(g**2) for g in grads))
    assert scale < 1
    assert_there(host, epoch.params, [p - 0.5 * scale * g for p, g in zip(theirs[2:], grads, strict=True)])


@pytest.mark.parametrize("make", ["csr_matrix", "coo_array"])
def test_a_sparse_matrix_is_as_good_as_a_dense_one(data, params, put, host, make):
    sparse = getattr(scipy.sparse, make)(textbook.batch())
    assert is_sparse(sparse)
    assert not is_sparse(SimpleNamespace(toarray=sparse.toarray))
    assert not is_sparse(SimpleNamespace(nnz=sparse.nnz))
    options = {
        **SGD,
        "epochs": 2,
        "batch_size": 4,
        "validation": 0.34,
        "sample_weight": put(textbook.row_weights() + 1),
    }
    ours, theirs = (list(train(X, data[1], params, **options)) for X in (sparse, data[0]))
    for a, b in zip(ours, theirs, strict=True):
        assert a.last[:6] == b.last[:6]
        assert same(host, a.params, b.params)
    # and as a validation set beside dense rows, and the other way round
    (a,), (b,) = (
        train(X, data[1], params, **SGD, epochs=1, batch_size=4, validation=(held, data[1]))
        for X, held in ((sparse, data[0]), (data[0], sparse))
    )
    assert a.last[:6] == b.last[:6]


def test_a_batch_may_be_larger_than_the_data(data, params, host):
    (large,), (whole,) = (train(*data, params, **SGD, epochs=1, batch_size=size) for size in (100, 6))
    assert large.last.steps == 1
    assert same(host, large.params, whole.params)


@pytest.mark.parametrize("right", [True, False])
def test_the_data_may_be_one_row(params, put, right):
    X, theirs = textbook.batch(1), textbook.parameters()
    predicted = textbook.logits(X, *theirs).argmax(-1)
    y = predicted if right else (predicted + 1) % 3
    there = put(X), put(y)
    (epoch,) = train(*there, params, optimizer=optim.sgd(), lr=0.0, epochs=1, validation=there)
    assert epoch.last.val_score == float(right)
    expected = textbook.objective(X, y, *theirs)
    np.testing.assert_allclose((epoch.last.loss, epoch.last.val_loss), expected, rtol=1e-13)


# --- validation --------------------------------------------------------------------------------------------------


def test_a_share_of_the_rows_is_held_out_by_the_seed(put, params):
    """The rows are told apart by their first column; the learning rate is 0, so the losses tell which they were."""
    X, y, w, here = textbook.batch(), textbook.labels(), textbook.row_weights() + 1, textbook.parameters()
    still = {"optimizer": optim.sgd(), "lr": 0.0, "epochs": 1, "batch_size": 4, "shuffle": False}
    found = []
    for seed in (0, 0, 1):
        (epoch,) = train(put(X), put(y), params, **still, validation=1 / 3, seed=seed, sample_weight=put(w))
        held = np.sort(np.random.default_rng((seed, 0)).permutation(6)[:2])
        kept = np.setdiff1d(np.arange(6), held)  # disjoint, in their old order, with their weights
        np.testing.assert_allclose(epoch.last.val_loss, textbook.objective(X[held], y[held], *here), rtol=1e-13)
        there = textbook.objective(X[kept], y[kept], *here, sample_weight=w[kept])
        np.testing.assert_allclose(epoch.last.loss, there, rtol=1e-13)
        found.append(epoch.last[:5])
    assert found[0] == found[1] != found[2]


def test_the_rows_that_are_left_are_taken_in_the_seeded_order(put, params, host):
    X, y = textbook.batch(), textbook.labels()
    kept = np.setdiff1d(np.arange(6), np.random.default_rng((3, 0)).permutation(6)[:2])
    runs = [
        list(train(put(X[rows]), put(y[rows]), params, **SGD, epochs=2, batch_size=2, seed=3, validation=share))[-1]
        for rows, share in ((slice(None), 1 / 3), (kept, None))
    ]
    for ours, theirs in zip(*(run.params for run in runs), strict=True):
        assert textbook.relative_error(host(ours), host(theirs)) <= 1e-13


def squared(epochs_of, put, targets, outputs):
    """The score of a network whose outputs are ``outputs``: identity, a weight of 1."""
    return evaluate(
        epochs_of, put(outputs), put(targets), (put(np.eye(outputs.shape[1])), put(np.zeros(outputs.shape[1]))),
        {"criterion": "squared_error"},
    )[1]  # fmt: skip


def test_the_score_of_squared_error_is_r_squared(xp, put):
    y = textbook.soft_targets(6, 2)
    p = y + 0.1 * textbook.batch(6, 2)
    expected = np.mean(1 - np.sum((y - p) ** 2, 0) / np.sum((y - y.mean(0)) ** 2, 0))
    assert squared(xp, put, y, p) == pytest.approx(expected, rel=1e-13)


@pytest.mark.only("numpy")
def test_the_score_is_r2_score(xp, put):
    from sklearn.metrics import r2_score

    y = textbook.soft_targets(6, 2)
    constant = y * [1.0, 0.0] + [0.0, 3.0]
    for targets in (y, constant):
        for outputs in (targets.copy(), targets + 0.5, targets[::-1].copy(), 0 * targets + 3.0):
            assert squared(xp, put, targets, outputs) == pytest.approx(r2_score(targets, outputs), rel=1e-12, abs=1e-13)


def test_evaluating_in_chunks_is_evaluating_at_once(xp, data, params, monkeypatch):
    whole = evaluate(xp, *data, params, {})
    monkeypatch.setattr(evaluate_module, "_CHUNK", 4)
    np.testing.assert_allclose(evaluate(xp, *data, params, {}), whole, rtol=1e-14)


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("columns", "rows"), [(1, 2**14), (256, 2**14), (1024, 2**12), (2**21, 2)])
def test_at_most_so_many_rows_and_numbers_are_evaluated_at_once(columns, rows):
    parts = evaluate_module.parts_of(Dataset(np.broadcast_to(np.zeros(1), (40_000, columns)), np.zeros(40_000)))
    assert (parts[0].start, parts[0].stop, parts[-1].stop) == (0, rows, 40_000)
    assert all(a.stop == b.start for a, b in itertools.pairwise(parts))
    assert {part.stop - part.start for part in parts[:-1]} == {rows}


def test_soft_targets_have_a_loss_and_no_score(xp, data, params, put, host):
    X, t = textbook.batch(), textbook.soft_targets()
    validation = put(X), put(t)
    for criterion in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
        (epoch,) = train(*data, params, **SGD, epochs=1, validation=validation, criterion=criterion)
        expected = textbook.objective(X, t, *map(host, epoch.params), criterion=criterion)
        np.testing.assert_allclose(epoch.last.val_loss, expected, rtol=1e-13)
        assert epoch.last.val_score is None
    assert evaluate_module.evaluate_each(xp, Dataset(*validation), params, {})[1] is None


def test_a_score_that_is_not_wanted_is_none(xp, data, params):
    loss, score = evaluate(xp, *data, params, {})
    assert score is not None
    assert evaluate(xp, *data, params, {}, wants_score=False) == (loss, None)


def test_labels_of_any_width_are_compared(xp, put):
    """Labels of 8 bits against predictions of 64 bits: the logits are the one-hot rows, but for one row."""
    y, identity = np.asarray([0, 1, 2, 2, 1, 0]), (put(np.eye(3)), put(np.zeros(3)))
    X = put(textbook.one_hot(np.asarray([0, 1, 2, 2, 1, 1]), 3))
    for dtype in (xp.int8, xp.int64):
        assert evaluate(xp, X, put(y, dtype), identity, {})[1] == pytest.approx(5 / 6, rel=1e-15)


def scored(values):
    """Options of a run whose epochs get these scores in turn."""
    it = iter(values)
    return {**SGD, "batch_size": 6, "epochs": len(values), "score": lambda params: next(it)}


def test_a_run_may_watch_the_validation_loss_alone(data, params, put, host):
    X, y = textbook.batch(), np.asarray([0, 1, 2, 0, 1, 2])
    options = {**SGD, "epochs": 30, "lr": 0.5, "validation": (put(X), put(y)), "patience": 1, "tol": 1e-3}
    epochs = list(train(*data, params, **options, score="loss"))
    losses = [textbook.objective(X, y, *map(host, epoch.params)) for epoch in epochs]
    np.testing.assert_allclose([epoch.last.val_loss for epoch in epochs], losses, rtol=1e-12)
    assert {epoch.last.val_score for epoch in epochs} == {None}
    assert epochs[-1].best is epochs[int(np.argmin(losses))].params
    same = train(*data, params, **options, score=lambda p: -textbook.objective(X, y, *map(host, p)))
    assert len(list(same)) == len(epochs) < 30


@pytest.mark.only("numpy")
def test_a_score_is_a_function_or_the_loss(data, params):
    with pytest.raises(TypeError, match=r"score must be a function such as lambda params: 0\.5, got .los."):
        next(train(*data, params, **SGD, epochs=1, score="los"))


def test_patience_ends_a_run_and_the_best_parameters_are_those_of_the_best_epoch(data, params, host):
    epochs = list(train(*data, params, **scored([1, 2, 3, 2, 3, 2.5, 9]), patience=1, tol=1e-9))
    assert [epoch.last.val_score for epoch in epochs] == [1, 2, 3, 2, 3]  # more than one without improvement
    assert all(type(epoch.last.val_score) is float for epoch in epochs)
    assert epochs[-1].best is epochs[2].params
    assert [epoch.best is epoch.params for epoch in epochs] == [True, True, True, False, False]
    assert list(train(*data, epochs[-1], **scored([9] * 9), patience=1, tol=1e-9)) == []  # the run is over


def test_a_little_improvement_does_not_count_but_is_the_best(data, params):
    epochs = list(train(*data, params, **scored([1.0, 1.01, 1.02, 1.03]), patience=1, tol=0.1))
    assert len(epochs) == 3
    assert epochs[-1].best is epochs[-1].params


def test_a_score_that_is_nan_is_no_improvement(data, params):
    nan = math.nan
    epochs = list(train(*data, params, **scored([nan, nan, 1, nan, nan, 2, 3]), patience=1))
    assert [math.isnan(epoch.last.val_score) for epoch in epochs] == [True, True]
    epochs = list(train(*data, params, **scored([nan, 1, nan, nan, 2]), patience=1))
    assert len(epochs) == 4
    assert epochs[0].best is epochs[0].params  # until a score is a number, the last epoch is the best
    assert all(epoch.best is epochs[1].params for epoch in epochs[1:])


@pytest.mark.parametrize("watched", ["loss", "val_loss", "val_score"])
def test_what_is_watched_is_the_score_else_the_validation_loss_else_the_loss(data, params, watched):
    options = {"loss": {}, "val_loss": {"validation": data, "criterion": "sigmoid_cross_entropy"}}
    options["val_score"] = {"validation": data}
    (epoch,) = train(*data, params, **SGD, epochs=1, **options[watched])
    number = getattr(epoch.last, watched)
    assert epoch.last.watched == (-number if watched == "val_score" else number)


def test_callbacks_are_called_in_turn_before_the_caller_sees_the_epoch(data, params):
    seen = []
    callbacks = [lambda epoch: seen.append(("first", epoch)), lambda epoch: seen.append(("second", epoch))]
    for epoch in train(*data, params, **SGD, epochs=2, callbacks=callbacks):
        assert [name for name, _ in seen] == ["first", "second"] * epoch.last.number
        assert all(given is epoch for _, given in seen[-2:])


@pytest.mark.parametrize(
    ("answer", "epochs"), [(True, 2), (np.True_, 2), (1, 4), (None, 4), ("yes", 4), (np.False_, 4)]
)
def test_the_epoch_of_a_callback_that_returns_true_is_the_last(data, params, answer, epochs):
    callbacks = [lambda epoch: answer if epoch.last.number == 2 else None, lambda epoch: False]
    assert len(list(train(*data, params, **SGD, epochs=4, callbacks=callbacks))) == epochs


# --- going on, and being interrupted -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_a_run_that_goes_on_from_an_epoch_is_the_run_that_never_stopped(data, params, put, host, name):
    """An epoch keeps all that the next one needs: parameters, best, optimizer, schedule, masks, patience."""
    options = {
        "epochs": 3, "optimizer": optim.OPTIMIZERS[name](), "lr": schedules.warm_up(schedules.cosine(0.1), 3),
        "batch_size": 4, "dropout": 0.3, "patience": 1, "tol": 0.01, "alpha": 0.1, "validation": data, "seed": 3,
    }  # fmt: skip
    whole = list(train(*data, params, **options))
    epoch = whole[0]
    # through the host, as a file would take them
    kept = [tuple(put(host(a)) for a in arrays) for arrays in epoch[1:4]]
    rest = list(train(*data, Epoch(epoch.history, *kept), **options))
    assert len(rest) == len(whole) - 1 > 0
    for ours, theirs in zip(rest, whole[1:], strict=True):
        assert [record._replace(seconds=0.0) for record in ours.history] == [
            record._replace(seconds=0.0) for record in theirs.history
        ]
        for arrays, others in zip(ours[1:4], theirs[1:4], strict=True):
            assert same(host, arrays, others)
    assert rest[-1].last.seconds > epoch.last.seconds


def test_a_run_that_has_made_its_epochs_makes_none(data, params):
    (epoch,) = train(*data, params, **SGD, epochs=1)
    assert list(train(*data, epoch, **SGD, epochs=1)) == []


def test_going_on_takes_the_optimizer_of_the_run(data, params):
    (epoch,) = train(*data, params, **SGD, epochs=1)
    with pytest.raises(ValueError, match=r"takes its optimizer: the Epoch's is sgd, got adam, beta1=0.9, beta2=0.999$"):
        next(train(*data, epoch, epochs=2, optimizer=optim.adam()))
    with pytest.raises(ValueError, match="the state of this one is 9 arrays, that of the Epoch 0"):
        next(train(*data, epoch._replace(optimizer=""), epochs=2, optimizer=optim.adam()))


def remembering(optimizer, kept):
    """``optimizer``, which appends the parameters of each step to ``kept``."""

    def update(*arguments):
        params, state = optimizer.update(*arguments)
        kept.append(params)
        return params, state

    return optim.Optimizer(optimizer.init, update)


@pytest.mark.parametrize("step", [1, 2, 6])
def test_an_interrupt_keeps_what_the_last_step_made(data, params, host, step):
    kept = [params]

    def op(z):
        if len(kept) == step:
            raise KeyboardInterrupt
        return mx.ops.tanh(z)

    options = {"lr": 0.1, "epochs": 4, "batch_size": 2}
    with pytest.raises(Interrupted, match="training was interrupted") as caught:
        list(train(*data, params, **options, optimizer=remembering(optim.adam(), kept), activation=op))
    assert same(host, caught.value.params, kept[-1])
    assert isinstance(caught.value, KeyboardInterrupt)


@pytest.mark.parametrize("where", ["callback", "score", "schedule"])
def test_an_interrupt_between_two_epochs_keeps_it_as_well(data, params, host, where):
    kept = []

    def interrupted(*arguments):
        if len(kept) == 2:
            raise KeyboardInterrupt
        return 0.5

    options = {
        "callback": {"callbacks": [interrupted]},
        "score": {"score": interrupted},
        "schedule": {"lr": interrupted},
    }
    with pytest.raises(Interrupted) as caught:
        list(train(*data, params, epochs=4, optimizer=remembering(optim.sgd(), kept), **options[where]))
    assert same(host, caught.value.params, kept[1])


# --- losses that are not finite ----------------------------------------------------------------------------------

LOUD = pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value")
LINEAR = {"criterion": "squared_error", "activation": "identity", "optimizer": optim.sgd()}


def diverged(*arguments, **options):
    """The epochs before a run diverged, and what was raised."""
    epochs = []
    with pytest.raises(Diverged) as caught:
        epochs.extend(iter_into(epochs, train(*arguments, **{**LINEAR, **options})))
    assert isinstance(caught.value, FloatingPointError)
    return epochs, caught.value


def iter_into(epochs, run):
    for epoch in run:
        epochs.append(epoch)
    return ()


@LOUD
def test_inputs_that_are_too_large_are_named(data, params, put, host):
    _, error = diverged(put(textbook.batch() * 1e200), data[1], params, epochs=3, lr=0.1)
    assert str(error).startswith("the loss is not finite at step 1 of 1 in epoch 1: the inputs reach ")
    assert str(error).endswith("e+200: standardise them")
    assert same(host, error.params, params)
    _, error = diverged(scipy.sparse.csr_array(textbook.batch() * 1e200), data[1], params, epochs=3, lr=0.1)
    assert "the inputs reach" in str(error)


@LOUD
def test_parameters_that_are_too_large_to_begin_with_are_named(data, params, host):
    large = tuple(p * 1e200 for p in params)
    _, error = diverged(*data, large, epochs=3, lr=0.1)
    expected = "at step 1 of 1 in epoch 1: the parameters that it starts from reach 1.2e+200: start from smaller ones"
    assert str(error) == f"the loss is not finite {expected}"
    assert same(host, error.params, large)


@LOUD
@pytest.mark.parametrize("step", [0, 1, 2, 3, 4])
def test_a_rate_that_is_too_large_is_named_and_the_last_good_parameters_kept(data, params, host, step):
    """Three steps an epoch. The loss after the bad step is not finite; kept are the parameters before that epoch."""
    rates = [1e-3] * 9
    rates[step] = 1e200
    epochs, error = diverged(*data, params, epochs=3, lr=lambda progress: rates[progress.step], batch_size=2)
    number, position = divmod(step + 1, 3)
    assert str(error).startswith(f"the loss is not finite at step {position + 1} of 3 in epoch {number + 1}: ")
    assert "the learning rate, 1e+200, is too large; or clip the gradients with clip_norm" in str(error)
    # those before the epoch of the bad step
    assert same(host, error.params, epochs[0].params if step >= 3 else params)


@LOUD
def test_a_last_step_to_infinity_is_seen(put, params, host):
    """Every loss is finite, but the parameters after the last step are not: training must not return them."""
    X, y = put(100 * textbook.batch()), put(textbook.soft_targets())
    epochs, error = diverged(X, y, params, epochs=1, lr=1.7e308, batch_size=6)
    assert str(error).startswith("the parameters are not finite at the end of epoch 1: the learning rate, 1.7e+308")
    assert epochs == []
    assert same(host, error.params, params)


def test_the_parameters_at_the_start_must_be_finite(data, params):
    with pytest.raises(ValueError, match="the parameters must be finite, got NaN or infinity"):
        next(train(*data, (*params[:3], params[3] * math.nan), **SGD, epochs=1))


# --- transfers to the host ---------------------------------------------------------------------------------------

TO_HOST = ("__float__", "__int__", "__bool__", "__index__", "__array__", "item", "tolist", "cpu", "numpy")


@pytest.fixture
def moved(data, backend, monkeypatch):
    """A list that grows with each array that is moved to the host or waited for."""
    calls, kind = [], type(data[0])
    if backend == "array_api_strict":  # array-api-compat calls bool() to find out whether it is lazy
        monkeypatch.setattr("mlp_xp._lib.namespace.is_lazy_array", lambda array: False)

    inside = []  # a method that another one calls moves nothing more: PyTorch's __array__ calls numpy

    def counted(name, method):
        def call(*arguments, **options):
            calls.extend([] if inside else [name])
            inside.append(name)
            try:
                return method(*arguments, **options)
            finally:
                inside.pop()

        return call

    # on Dask all the others call compute
    for name in ("compute",) if backend == "dask" else TO_HOST:
        if hasattr(kind, name):
            monkeypatch.setattr(kind, name, counted(name, getattr(kind, name)))
    return calls


@pytest.mark.only("torch", "jax", "dask", "array_api_strict")
def test_nothing_comes_to_the_host_inside_an_epoch(data, params, put, moved):
    weight = put(textbook.row_weights() + 1)
    options = {"sample_weight": weight, "alpha": 0.1, "clip_norm": 1.0, "dropout": 0.3, "validation": data}
    moved.clear()
    list(zip(range(1), train(*data, params, epochs=1, batch_size=2, **options), strict=False))
    assert moved  # the counting works
    per_epoch = []
    for batch_size in (6, 2):
        ends = [len(moved) for _ in train(*data, params, epochs=3, batch_size=batch_size, **options)]
        assert ends[2] - ends[1] == ends[1] - ends[0]
        per_epoch.append(ends[1] - ends[0])
    # whatever the number of steps: two losses, penalty, score, and whether all is finite
    assert per_epoch[0] == per_epoch[1] <= 5


# --- one seed, one run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_the_compiler_gets_one_pure_step_of_arrays(xp, data, params, put, host, weighted):
    calls, compilers = [], []

    def compiler(step):
        compilers.append(step)

        def compiled(*arguments):
            calls.append(arguments)
            return step(*arguments)

        return compiled

    weight = {"sample_weight": put(np.arange(1.0, 7.0))} if weighted else {}
    options = {"epochs": 2, "batch_size": 4, "alpha": 0.1, "clip_norm": 1.0, "dropout": 0.25, **weight}
    *_, eager = train(*data, params, **options)
    *_, compiled = train(*data, params, **options, compile=compiler)
    assert len(compilers) == 1
    assert len(calls) == 4
    for *_, batch, rate, seed in calls:
        assert (batch.weight is not None) is weighted
        assert batch.rows.ndim == 1
        assert rate.shape == seed.shape == ()
        assert rate.dtype == params[0].dtype
    assert_there(host, compiled.params, [host(p) for p in eager.params])
    for record, theirs in zip(compiled.history, eager.history, strict=True):
        assert (record.loss, record.penalty) == pytest.approx((theirs.loss, theirs.penalty), rel=1e-13)
        assert (record.number, record.lr, record.steps) == (theirs.number, theirs.lr, theirs.steps)


@pytest.mark.only("jax")
def test_jax_traces_a_step_once_for_each_size_of_batch(data, params, host):
    import jax

    traced = []

    def compiler(step):
        def counted(*arguments):
            traced.append(arguments[3].rows.shape[0])
            return step(*arguments)

        return jax.jit(counted)

    options = {"epochs": 3, "batch_size": 4, "dropout": 0.25, "alpha": 0.1, "lr": schedules.cosine(0.1)}
    options |= {"input_dropout": 0.2, "max_norm": 0.8, "transform": shaken}
    *_, eager = train(*data, params, **options)
    *_, compiled = train(*data, params, **options, compile=compiler)
    assert traced == [4, 2]
    assert_there(host, compiled.params, [host(p) for p in eager.params])


@pytest.mark.only("torch")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
def test_torch_compiles_a_step_whole(data, params, host):
    import torch

    options = {"epochs": 2, "batch_size": 4, "dropout": 0.25, "alpha": 0.1, "lr": schedules.cosine(0.1)}
    options |= {"input_dropout": 0.2, "max_norm": 0.8, "transform": shaken}
    *_, eager = train(*data, params, **options)
    # the test is about the graph; aot_eager runs it without a C++ compiler
    whole = functools.partial(torch.compile, fullgraph=True, backend="aot_eager")
    *_, compiled = train(*data, params, **options, compile=whole)
    assert_there(host, compiled.params, [host(p) for p in eager.params])


def by_hand(X, y, w, X_val, y_val, *, epochs, batch_size, seed, dropout, schedule):
    """The loop in plain NumPy, with Adam from its paper, in the documented order of random numbers.

    Epoch k draws from ``default_rng((seed, k))``, first the seed of its first mask, then the order of the rows.
    """
    params, n, t = textbook.parameters(), len(X), 0
    m, v = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    curve = []
    for number in range(1, epochs + 1):
        random, total = np.random.default_rng((seed, number)), 0.0
        first_mask, order = int(random.integers(2**31)), random.permutation(n)
        for position, low in enumerate(range(0, n, batch_size)):
            rows = order[low : low + batch_size]
            options = {"sample_weight": w[rows], "dropout": dropout, "seed": (first_mask + position) % 2**31}
            total += len(rows) * textbook.objective(X[rows], y[rows], *params, **options)
            g = textbook.gradients(X[rows], y[rows], *params, **options)
            lr = schedule(t)
            t += 1
            m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
            v = [0.999 * a + 0.001 * b**2 for a, b in zip(v, g, strict=True)]
            params = [
                p - lr * a / (1 - 0.9**t) / (np.sqrt(b / (1 - 0.999**t)) + 1e-8)
                for p, a, b in zip(params, m, v, strict=True)
            ]
        score = np.mean(textbook.logits(X_val, *params).argmax(-1) == y_val)
        curve.append((total / n, textbook.objective(X_val, y_val, *params), score))
    return curve, params


def test_one_seed_is_one_run_on_every_backend(put, host):
    """Against NumPy's run and the loop by hand: differences in rounding grow a little with every step."""
    random = np.random.default_rng(8)
    X, y, w = random.standard_normal((6, 4)), random.integers(0, 3, 6), random.random(6) + 0.5
    X_val, y_val = textbook.batch(), textbook.labels()
    options = {"epochs": 5, "batch_size": 4, "seed": 11, "dropout": 0.3}

    def run(put):
        return list(
            train(
                put(X), put(y), tuple(put(p) for p in textbook.parameters()), **options, lr=schedules.cosine(0.05),
                sample_weight=put(w), validation=(put(X_val), put(y_val)),
            )
        )  # fmt: skip

    def curve(epochs):
        return [(epoch.last.loss, epoch.last.val_loss, epoch.last.val_score) for epoch in epochs]

    ours, numpys = run(put), run(np.asarray)
    theirs, there = by_hand(
        X, y, w, X_val, y_val, **options, schedule=lambda t: 0.05 * (1 + math.cos(math.pi * t / 10)) / 2
    )
    np.testing.assert_allclose(curve(ours), curve(numpys), rtol=1e-10)
    np.testing.assert_allclose(curve(ours), theirs, rtol=1e-10)
    assert_there(host, ours[-1].params, there, 1e-10)


# --- what is refused ---------------------------------------------------------------------------------------------

REFUSED = {
    "half an epoch": ({"epochs": 1.5}, TypeError, "epochs must be a whole number, got 1.5"),
    "half a row": ({"batch_size": 2.5}, TypeError, "batch_size must be a whole number, got 2.5"),
    "a negative seed": ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
    "a negative alpha": ({"alpha": -1.0}, ValueError, "alpha must be at least 0 and finite, got -1.0"),
    "a norm of 0": ({"clip_norm": 0.0}, ValueError, "clip_norm must be positive, got 0.0"),
    "a limit of 0": ({"max_norm": 0}, ValueError, "max_norm must be positive, got 0"),
    "a limit in words": ({"max_norm": "c"}, TypeError, "max_norm must be a number, got 'c'"),
    "no inputs left": ({"input_dropout": 1.0}, ValueError, "input_dropout must be at least 0 and below 1, got 1.0"),
    "a transform by its name": (
        {"transform": "shift"},
        TypeError,
        "transform must be a function such as lambda X, seed",
    ),
    "a transform that drops a row": (
        {"transform": lambda X, seed, first: X[1:, :]},
        ValueError,
        "transform must return an array like X, ",
    ),
    "a transform without a result": (
        {"transform": lambda X, seed, first: None},
        ValueError,
        "transform must return an array like X, ",
    ),
    "negative patience": ({"patience": -1}, ValueError, "patience must be at least 0 and finite, got -1"),
    "a tol of NaN": ({"patience": 1, "tol": math.nan}, ValueError, "tol must be at least 0 and finite, got nan"),
    "a rate by its name": ({"lr": "adaptive"}, TypeError, "lr must be a number, got 'adaptive'"),
    "a schedule that goes below 0": ({"lr": lambda progress: -1.0}, ValueError, "lr must be at least 0 and finite"),
    "all rows held out": ({"validation": 1.0}, ValueError, "validation must be a share that leaves rows on both sides"),
    "no rows held out": ({"validation": 0.01}, ValueError, "validation must be a share that leaves rows on both sides"),
    "NaN rows held out": ({"validation": math.nan}, ValueError, "validation must be a share that leaves rows on both"),
    "a validation by its name": ({"validation": "auto"}, TypeError, "validation must be a pair (X, y) or a share of"),
}


@pytest.mark.parametrize(("options", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_bad_arguments_get_one_clear_sentence(data, params, options, error, words):
    with pytest.raises(error) as caught:
        next(train(*data, params, **{"epochs": 1, **options}))
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_bad_data_is_refused_before_the_first_step(xp, data, params, put):
    """The validation set too: before the first step, not after the first epoch."""
    X, y = data

    def refused(error, words, *arguments, **options):
        with pytest.raises(error, match=words):
            next(train(*arguments, **SGD, epochs=1, callbacks=[pytest.fail], **options))

    refused(
        ValueError, r"^W1 must have shape \(3, d_out\) to follow X \(6, 3\)", X, y, params, validation=(X[:, :3], y)
    )
    refused(ValueError, r"^validation X must have shape", X, y, params, validation=(X[0, ...], y))
    refused(ValueError, r"^validation y must have one row for each of the 6", X, y, params, validation=(X, y[:2]))
    mixed = (params[0][None, ...], *params[1:])
    refused(ValueError, r"^either all parameters or none must have a leading axis", X, y, mixed)
    refused(ValueError, r"^the parameters must be W1, b1, W2, b2", X, y, ())
    bad = textbook.batch().copy()
    bad[1, 1] = math.inf
    refused(ValueError, "^X must be finite", scipy.sparse.coo_array(bad), y, params)
    refused(ValueError, "^validation X must be finite", X, y, params, validation=(scipy.sparse.lil_array(bad), y))
    refused(ValueError, r"^W1 must have shape \(3, d_out\)", scipy.sparse.csr_array(bad[:, :3]), y, params)
    refused(ValueError, "^X must have at least one row", scipy.sparse.csr_array((0, 4)), y[:0], params)
    refused(TypeError, "^X must be floating", scipy.sparse.csr_array(np.eye(6, 4, dtype=np.int64)), y, params)


@pytest.mark.only("torch", "jax", "dask", "array_api_strict")
def test_a_validation_set_of_another_library_is_refused(data, params):
    with pytest.raises(TypeError, match="all arrays must come from one array library, but validation X is of numpy"):
        next(train(*data, params, **SGD, epochs=1, validation=(textbook.batch(), textbook.labels())))


@pytest.mark.only("numpy")
@pytest.mark.parametrize("which", [0, 1])
def test_a_validation_set_beside_arrays_of_numpy_is_of_numpy(data, params, which):
    other = [*data]
    other[which] = array_api_strict.asarray(other[which])
    with pytest.raises(TypeError, match="all arrays must come from one array library, but validation X is of "):
        next(train(*data, params, **SGD, epochs=1, validation=tuple(other)))
    with pytest.raises(TypeError, match="all arrays must come from one array library"):
        next(train(*other, params, **SGD, epochs=1))


# --- options are Python numbers ----------------------------------------------------------------------------------

NUMBERS = {
    "epochs": (2, np.uint8(2)),
    "batch_size": (6, np.uint8(6)),
    "seed": (5, np.int64(5)),
    "alpha": (0.25, np.float64(0.25)),
    "clip_norm": (0.5, np.float64(0.5)),
    "lr": (0.125, np.float64(0.125)),
    "l2": (0.25, np.float64(0.25)),
    "l1": (0.25, np.float64(0.25)),
    "dropout": (0.25, np.float64(0.25)),
    "input_dropout": (0.25, np.float64(0.25)),
    "max_norm": (0.75, np.float64(0.75)),
    "label_smoothing": (0.125, np.float64(0.125)),
    "validation": (0.5, np.float64(0.5)),
    "patience": (2, np.uint8(2)),
    "tol": (0.5, np.float64(0.5)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_an_option_of_numpys_is_the_option_of_pythons_to_the_last_bit(xp, put, host, name):
    """In float32, which a scalar of float64 would widen."""
    python, numpys = NUMBERS[name]
    data, y = put(textbook.batch(), xp.float32), put(textbook.labels())
    start = tuple(put(p, xp.float32) for p in textbook.parameters())
    options = {"epochs": 2, "optimizer": optim.sgd(), "lr": 0.125, "patience": 2}
    ours, theirs = (list(train(data, y, start, **{**options, name: value})) for value in (numpys, python))
    assert len(ours) == len(theirs)
    assert all(p.dtype == xp.float32 for p in ours[-1].params)
    assert same(host, ours[-1].params, theirs[-1].params)
    assert [record._replace(seconds=0) for record in ours[-1].history] == [
        record._replace(seconds=0) for record in theirs[-1].history
    ]
    assert {type(number) for record in ours[-1].history for number in record[:-1]} <= {int, float, type(None)}


@pytest.mark.only("numpy")
def test_more_steps_than_eight_bits_count_do_not_bend_the_cosine(data, params):
    """100 epochs of 3 steps: ``np.uint8(100) * 3`` would be 44."""
    options = {"optimizer": optim.sgd(), "lr": schedules.cosine(0.1), "batch_size": 2}
    *_, epoch = train(*data, params, **options, epochs=np.uint8(100))
    expected = [0.05 * (1 + math.cos(math.pi * (3 * number + 2) / 300)) for number in range(100)]
    np.testing.assert_allclose([record.lr for record in epoch.history], expected, rtol=1e-12)


# --- epochs of different lengths ---------------------------------------------------------------------------------


def of_changing_length(data, params, lengths, **options):
    """One run, an epoch of each length in turn; what the schedule was told at each step, and the last epoch."""
    told, here = [], params
    schedule = options.pop("lr")
    for number, rows in enumerate(lengths, start=1):
        part = [array[:rows, ...] for array in data]
        options["lr"] = lambda progress: told.append(progress) or schedule(progress)
        (here,) = itertools.islice(train(*part, here, epochs=len(lengths), **options), 1)
        assert here.last.number == number
    return told, here


def test_a_cosine_falls_to_0_over_epochs_of_any_length(data, params):
    """What is planned is what was made and what is left at the length of this epoch: never the end before the end."""
    lengths = (6, 1, 2, 6, 3, 5)
    options = {"optimizer": optim.sgd(), "batch_size": 2, "shuffle": False}
    told, last = of_changing_length(data, params, lengths, lr=schedules.cosine(0.5), **options)
    steps = [-(-rows // 2) for rows in lengths]
    assert [record.steps for record in last.history] == list(itertools.accumulate(steps))
    assert [progress.step for progress in told] == list(range(sum(steps)))  # each step is counted once
    seen = [sum(lengths[:number]) for number, count in enumerate(steps) for _ in range(count)]
    assert [progress.rows for progress in told] == seen
    planned = [sum(steps[:number]) + (len(lengths) - number) * count for number, count in enumerate(steps)]
    assert [progress.steps for progress in told] == [
        each for each, n in zip(planned, steps, strict=True) for _ in range(n)
    ]
    rates = [schedules.cosine(0.5)(progress) for progress in told]
    assert rates[0] == 0.5
    assert all(0.0 < rate <= 0.5 for rate in rates)
    total = sum(steps)  # the last epoch is planned exactly
    expected = [0.25 * (1 + math.cos(math.pi * t / total)) for t in range(total - steps[-1], total)]
    np.testing.assert_allclose(rates[-steps[-1] :], expected, rtol=1e-13)


def test_a_rate_of_seen_rows_counts_the_rows_that_were_seen(data, params):
    _, last = of_changing_length(
        data, params, (6, 2, 3), lr=schedules.inverse_scaling(0.5, 1.0), optimizer=optim.sgd(), batch_size=6
    )
    assert [record.lr for record in last.history] == [0.5, 0.5 / 7, 0.5 / 9]
    assert last.rows == 11


def test_an_epoch_that_counted_no_rows_had_as_many_as_this_one(data, params):
    """An epoch of an older version."""
    (epoch,) = train(*data, params, **SGD, epochs=1)
    *_, last = train(
        *data, epoch._replace(rows=0), optimizer=optim.sgd(), lr=schedules.inverse_scaling(0.5, 1.0), epochs=2
    )
    assert (last.last.lr, last.rows) == (0.5 / 7, 12)


# --- tensors with a past -----------------------------------------------------------------------------------------

PASTS = ("X", "y", "validation", "sample_weight", "params", "module", "epoch", "all")


@pytest.mark.only("torch")
@pytest.mark.parametrize("where", PASTS)
def test_what_is_learned_from_tensors_with_a_past_has_none(data, params, put, where):
    """From an encoder's output: the learned tensors hang in no graph, and are those of tensors without one."""
    import torch

    t, weight = put(textbook.soft_targets()), put(textbook.row_weights() + 1)
    options = {"epochs": 3, "batch_size": 4, "optimizer": optim.momentum(), "lr": 0.1}

    def past(name, tensor):
        """The output of something that is differentiated; a leaf of a module for parameters."""
        if where == "module" and name == "params":
            return torch.nn.Parameter(tensor.clone())
        return tensor.clone().requires_grad_() * 1.0 if where in (name, "all") else tensor

    def run(past):
        here = tuple(past("params", p) for p in params)
        if where in ("epoch", "all"):
            (kept,) = itertools.islice(train(data[0], t, params, **options), 1)
            here = kept._replace(
                **{name: tuple(past("epoch", a) for a in getattr(kept, name)) for name in ("params", "best", "state")}
            )
        held = past("validation", data[0]), past("validation", t)
        weights = past("sample_weight", weight)
        return list(train(past("X", data[0]), past("y", t), here, validation=held, sample_weight=weights, **options))

    ours, theirs = run(past), run(lambda name, tensor: tensor)
    for epoch, other in zip(ours, theirs, strict=True):
        arrays = (*epoch.params, *epoch.best, *epoch.state)
        assert all(type(a) is torch.Tensor and not a.requires_grad and a.grad_fn is None for a in arrays)
        assert all(torch.equal(a, b) for a, b in zip(arrays, (*other.params, *other.best, *other.state), strict=True))
        assert epoch.last._replace(seconds=0) == other.last._replace(seconds=0)


@pytest.mark.only("torch")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
def test_sparse_tensors_are_refused_with_the_remedy(data, params):
    for sparse in (data[0].to_sparse(), data[0].to_sparse_csr()):
        with pytest.raises(
            TypeError, match=r"^X must be a dense array, got a sparse one \(torch.sparse_...\); make it dense first$"
        ):
            next(train(sparse, data[1], params, epochs=1))
    with pytest.raises(TypeError, match=r"^validation X must be a dense array"):
        next(train(*data, params, epochs=1, validation=(data[0].to_sparse(), data[1])))


# --- a state knows its optimizer ---------------------------------------------------------------------------------

OTHERS = {
    "rmsprop under momentum": (optim.rmsprop(), optim.momentum(), "the Epoch's is rmsprop, got momentum"),
    "momentum under nesterov": (optim.momentum(), optim.nesterov(), "the Epoch's is momentum, got nesterov"),
    "a velocity that has the rate in it": (
        optim.momentum(lr_in_velocity=True), optim.momentum(), "the Epoch's is momentum, lr in velocity, got momentum"),
    "a mean under a velocity": (
        optim.rmsprop(centered=True), optim.rmsprop(momentum=0.9),
        "the Epoch's is rmsprop, centered, got rmsprop, momentum"),
    "adam under adamw": (optim.adam(), optim.adamw(), "the Epoch's is adam, beta1=0.9, beta2=0.999, got adamw"),
    "adam with another beta": (optim.adam(0.5), optim.adam(), "the Epoch's is adam, beta1=0.5, beta2=0.999, got adam"),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "words"), OTHERS.values(), ids=OTHERS)
def test_a_state_is_not_taken_for_that_of_another_optimizer(data, params, before, after, words):
    (epoch,) = train(*data, params, optimizer=before, lr=0.1, epochs=1)
    assert epoch.optimizer == before.name
    with pytest.raises(ValueError, match=f"^to go on from an Epoch takes its optimizer: {re.escape(words)}"):
        next(train(*data, epoch, optimizer=after, lr=0.1, epochs=2))


def test_a_state_of_other_shapes_or_dtypes_is_refused(xp, data, params, put):
    (epoch,) = train(*data, params, optimizer=optim.momentum(), lr=0.1, epochs=1)
    first, *rest = epoch.state
    spoiled = {
        r"array 0 of its state must be float64 \(4, 5\), got float64 \(5, 4\)": (put(np.zeros((5, 4))), *rest),
        r"array 0 of its state must be float64 \(4, 5\), got float32 \(4, 5\)": (
            put(np.zeros((4, 5)), xp.float32),
            *rest,
        ),
        r"array 3 of its state must be float64 \(3,\), got float64 \(1,\)": (first, *rest[:-1], put(np.zeros(1))),
        "the state of this one is 4 arrays, that of the Epoch 3": (first, *rest[:-1]),
    }
    for name in ("momentum", ""):  # named or not
        for words, state in spoiled.items():
            with pytest.raises(ValueError, match=words):
                next(train(*data, epoch._replace(state=state, optimizer=name), optimizer=optim.momentum(), epochs=2))


@pytest.mark.only("torch", "jax", "dask", "array_api_strict")
def test_a_state_of_another_library_is_refused(data, params, host):
    (epoch,) = train(*data, params, optimizer=optim.momentum(), lr=0.1, epochs=1)
    with pytest.raises(TypeError, match=r"W1 is of .* and array 0 of the state of numpy"):
        next(train(*data, epoch._replace(state=tuple(map(host, epoch.state))), optimizer=optim.momentum(), epochs=2))


def test_a_pair_of_the_callers_own_goes_on_from_a_state_of_its_shapes(data, params, host):
    """Nobody knows what such a state means but the caller: momentum wrapped, and the run that never stopped."""
    options = {"lr": 0.1, "batch_size": 4}
    *_, whole = train(*data, params, optimizer=optim.momentum(), epochs=3, **options)
    own = optim.Optimizer(*optim.momentum())
    (epoch,) = train(*data, params, optimizer=own, epochs=1, **options)
    assert epoch.optimizer == ""
    (second,) = train(*data, epoch, optimizer=optim.momentum(), epochs=2, **options)
    (third,) = train(*data, second, optimizer=own, epochs=3, **options)
    assert same(host, third.params, whole.params)


# --- what is pickled ---------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize("kind", [Diverged, Interrupted])
def test_an_error_of_the_loop_keeps_its_parameters_when_it_is_copied(data, params, kind):
    """A pool of processes pickles what is raised in it."""
    error = kind("it is not finite", params) if kind is Diverged else kind(params)
    error.add_note("in fold 3")
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (type(again), str(again), again.__notes__) == (kind, str(error), ["in fold 3"])
        assert same(np.asarray, again.params, params)


@pytest.mark.only("jax")
def test_jax_compiles_a_step_of_a_pickled_optimizer_and_schedule(data, params, host):
    import jax

    optimizer, schedule = pickle.loads(pickle.dumps((optim.adam(), schedules.warm_up(schedules.cosine(0.1), 2))))
    options = {"epochs": 2, "batch_size": 3}
    *_, ours = train(*data, params, **options, optimizer=optimizer, lr=schedule, compile=jax.jit)
    *_, theirs = train(*data, params, **options, optimizer=optim.adam(), lr=schedules.warm_up(schedules.cosine(0.1), 2))
    assert_there(host, ours.params, [host(p) for p in theirs.params])


# --- what makes a loss overflow ----------------------------------------------------------------------------------

RATE = "the learning rate, {}, is too large; or clip the gradients with clip_norm"
CAUSES = {
    "large inputs": ({"X": 1e5}, "the inputs reach 1.3e+05: standardise them"),
    "large targets": ({"y": 1e9}, "the targets reach 9.8e+08: scale the target"),
    "huge targets": ({"y": 1e200}, "the targets reach 9.8e+199: scale the target"),
    "both, the inputs more": ({"X": 1e9, "y": 1e5}, "the inputs reach 1.3e+09: standardise them"),
    "both, the targets more": ({"X": 1e5, "y": 1e9}, "the targets reach 9.8e+08: scale the target"),
    "large parameters": (
        {"params": 1e6, "activation": "identity"},
        "the parameters that it starts from reach 1.2e+06: start from smaller ones"),
    "huge parameters": ({"params": 1e200}, "the parameters that it starts from reach 1.2e+200: start from smaller"),
    "a large rate": ({"lr": 1e10}, RATE.format("1e+10")),
    "a rate too large for these data": ({"lr": 5.0, "X": 20.0}, RATE.format("5")),
    "a rate that a schedule made large": (
        {"lr": lambda progress: 10.0**progress.step}, "the learning rate, 1e+18, is too large"),
    "a large rate beside years": ({"lr": 1e10, "X": 2e3}, RATE.format("1e+10")),
    "large l2": ({"l2": 1e10}, "the penalty l2, 1e+10, is too large"),
    "huge l2": ({"l2": 1e308}, "the penalty l2, 1e+308, is too large"),
    "huge l1": ({"l1": 1e308}, "the penalty l1, 1e+308, is too large"),
    "a large rate beside a penalty that the rows share": ({"lr": 5e9, "alpha": 1e10}, RATE.format("5e+09")),
    "large alpha": ({"alpha": 1e10}, "the penalty alpha, 1e+10, is too large"),
    "a large rate beside a small penalty": ({"lr": 1e10, "l2": 1e-3}, RATE.format("1e+10")),
    "an activation of NaN": (
        {"activation": lambda z: (z * math.nan, lambda dy: (dy,))},
        "no step was made yet: activation and criterion give no finite loss for these inputs and parameters"),
}  # fmt: skip


def assert_cause(put, X, options, words):
    """A run on ``X`` whose data, parameters or options are these times as large diverges for this reason."""
    options = dict(options)
    X = X * options.pop("X", 1.0)
    y = put(textbook.soft_targets() * options.pop("y", 1.0))
    scale = options.pop("params", 1.0)
    start = tuple(put(p * scale) for p in textbook.parameters())
    _, error = diverged(X, y, start, **{"epochs": 400, "lr": 0.1, "activation": "relu", **options})
    what, _, cause = str(error).partition(": ")
    assert re.fullmatch(r"the (loss is|parameters are) not finite at .* epoch \d+", what)
    assert cause.startswith(words)


@LOUD
@pytest.mark.parametrize(("options", "words"), CAUSES.values(), ids=CAUSES)
def test_the_likely_cause_of_an_overflow_is_named(put, options, words):
    assert_cause(put, put(textbook.batch()), options, words)


@LOUD
@pytest.mark.only("numpy")
@pytest.mark.parametrize(("options", "words"), CAUSES.values(), ids=CAUSES)
def test_the_likely_cause_of_an_overflow_is_named_for_sparse_data(put, options, words):
    assert_cause(put, scipy.sparse.csr_array(textbook.batch()), options, words)


@LOUD
def test_labels_are_names_and_not_large_targets(put):
    """2000 classes: what diverges is the rate."""
    y, start = np.asarray([0, 1, 1999, 1998, 7, 1500]), textbook.parameters((4, 5, 2000))
    _, error = diverged(put(textbook.batch()), put(y), tuple(map(put, start)), epochs=20, lr=1e10)
    assert str(error).endswith(RATE.format("1e+10"))


@LOUD
def test_parameters_that_a_run_made_large_are_not_those_that_it_starts_from(data, params):
    """A run that goes on epoch by epoch: its rate is too large, whatever the parameters have become."""
    here = params
    for number in range(1, 400):
        try:
            (here,) = train(*data, here, **{**LINEAR, "lr": 1e10}, epochs=number)
        except Diverged as caught:
            error = caught
            break
    assert number > 2
    assert str(error).endswith(RATE.format("1e+10"))


# --- targets that a criterion does not take ----------------------------------------------------------------------

INTEGERS = "; integers are labels: counts and other numbers must be floating, (n, d_out)"
NOT_TAKEN = {
    "negative counts": ("poisson", [[-1.0]], "y must be at least 0 for poisson"),
    "a probability beyond 1": ("sigmoid_cross_entropy", [[1.5]], "y must be in 0 ... 1 for sigmoid_cross_entropy"),
    "a negative probability": ("sigmoid_cross_entropy", [[-0.5]], "y must be in 0 ... 1 for sigmoid_cross_entropy"),
    "integer counts": ("poisson", [7], "y must hold labels 0 to 2, got labels 0 to 7" + INTEGERS),
    "integers for numbers": ("squared_error", [-7], "y must hold labels 0 to 2, got labels -7 to 2" + INTEGERS),
    "integer counts in a column": ("poisson", [[7]], "y must be labels of shape (n,) = (6,), got (6, 1)" + INTEGERS),
}


@pytest.mark.parametrize(("criterion", "value", "words"), NOT_TAKEN.values(), ids=NOT_TAKEN)
@pytest.mark.parametrize("which", ["", "validation "])
def test_targets_that_a_criterion_does_not_take_are_refused_before_the_first_step(
    data, params, put, criterion, value, words, which
):
    """On every backend, and in the rows that are held out too."""
    value, labels = np.asarray(value), textbook.labels()
    bad = labels.copy() if value.dtype.kind == "i" else textbook.soft_targets()
    bad = np.tile(value, (6, 1)) if value.ndim == 2 and value.dtype.kind == "i" else bad.copy()
    bad[1] = value[0]
    given = {"validation": (data[0], put(bad))} if which else {}
    with pytest.raises(ValueError, match=re.escape(words.replace("y must", f"{which}y must"))) as caught:
        next(
            train(
                data[0], data[1] if which else put(bad), params, epochs=1, criterion=criterion,
                callbacks=[pytest.fail], **given,
            )
        )  # fmt: skip
    assert "\n" not in str(caught.value)


def test_targets_that_a_criterion_takes_are_taken(data, params, put):
    t = textbook.soft_targets()
    for criterion, targets in (("poisson", 1e3 * t), ("sigmoid_cross_entropy", t), ("squared_error", -1e2 * t)):
        list(train(data[0], put(targets), params, epochs=1, criterion=criterion, validation=0.5))


def test_a_validation_set_that_does_not_fit_is_refused_before_the_first_step(xp, data, params, put):
    X, t = data[0], put(textbook.soft_targets())

    def refused(error, words, held, **options):
        with pytest.raises(error, match=words):
            next(train(X, t, params, **SGD, epochs=1, callbacks=[pytest.fail], validation=held, **options))

    refused(ValueError, r"^floating validation y must be targets of shape .* \(6, 3\), got \(6, 2\)", (X, t[:, :2]))
    refused(TypeError, "^floating validation y must have the dtype of X", (X, put(textbook.soft_targets(), xp.float32)))
    refused(TypeError, r"^validation must be a pair \(X, y\) or a share of the rows, got a tuple of 3", (X, t, t))
    refused(TypeError, r"^validation must be a pair \(X, y\) or a share of the rows, got \[", [X, t][:0])
    refused(TypeError, "^sample_weight must have the dtype of X", None, sample_weight=put(np.ones(6), xp.float32))
    refused(TypeError, "^sample_weight must have the dtype of X", None, sample_weight=put(np.ones(6, dtype=int)))
    shape = r"^sample_weight must have shape \(n,\) = \(6,\), got \(6, 1\)"
    refused(ValueError, shape, None, sample_weight=put(np.ones((6, 1))))


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_a_weight_that_is_negative_or_not_finite_is_refused(data, params, put, weight):
    weights = textbook.row_weights() + 1
    weights[3] = weight
    with pytest.raises(ValueError, match=r"^sample_weight must be finite and at least 0"):
        next(train(*data, params, epochs=1, sample_weight=put(weights)))


@pytest.mark.only("numpy")
@pytest.mark.parametrize("make", [np.matrix, np.ma.masked_array], ids=["matrix", "masked"])
@pytest.mark.parametrize("which", ["X", "y", "validation", "sample_weight", "W1", "state"])
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_matrices_and_masked_arrays_are_refused(data, params, make, which):
    (epoch,) = train(*data, params, epochs=1)
    arrays = {"X": data[0], "y": textbook.soft_targets(), "sample_weight": np.ones(6), "validation": data[0]}
    arrays |= {"W1": params[0], "state": epoch.state[1]}
    arrays[which] = make(arrays[which])
    held = arrays["validation"], data[1]
    start = epoch._replace(
        params=(arrays["W1"], *params[1:]), state=(epoch.state[0], arrays["state"], *epoch.state[2:])
    )
    with pytest.raises(TypeError, match=r"must be an array, got a (matrix|masked one)"):
        next(train(arrays["X"], arrays["y"], start, epochs=2, validation=held, sample_weight=arrays["sample_weight"]))


# --- slips -------------------------------------------------------------------------------------------------------


def test_parameters_may_be_a_list(data, params, host):
    (ours,), (theirs,) = (train(*data, kind(params), **SGD, epochs=1) for kind in (list, tuple))
    assert type(ours.params) is tuple
    assert same(host, ours.params, theirs.params)


def test_callbacks_may_be_any_iterable_of_functions(data, params):
    seen = []
    list(train(*data, params, **SGD, epochs=2, callbacks=(each for each in [seen.append])))
    assert [epoch.last.number for epoch in seen] == [1, 2]


def test_a_callback_may_answer_with_an_array(data, params, put):
    """``loss < 0.1`` of any library; an array of more entries is no answer."""
    yes = put([1.0])[0] > 0
    assert len(list(train(*data, params, **SGD, epochs=4, callbacks=[lambda epoch: yes]))) == 1
    for no in (put([1.0])[0] < 0, put([1.0]) > 0, put([1.0])[0]):
        assert len(list(train(*data, params, **SGD, epochs=2, callbacks=[lambda epoch, no=no: no]))) == 2


@pytest.mark.parametrize("answer", [None, "good", (0.5, 0.5)], ids=str)
def test_a_score_must_be_a_number(data, params, answer):
    with pytest.raises(TypeError, match=r"^score\(params\) must return a number, got "):
        next(train(*data, params, epochs=1, score=lambda params: answer))


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, "array"])
def test_a_score_may_be_a_number_of_any_library(data, params, put, kind):
    value = put(0.5) if kind == "array" else kind(0.5)
    (epoch,) = train(*data, params, epochs=1, score=lambda params: value)
    assert (epoch.last.val_score, type(epoch.last.val_score)) == (0.5, float)


@pytest.mark.only("torch", "jax")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_loss_of_many_rows_is_summed_in_float32(xp, put, dtype):
    narrow, n = getattr(xp, dtype), 70_000  # more than float16 can count
    X, y = put(np.zeros((n, 1)), narrow), put(np.arange(n) % 2)
    params = (put(np.zeros((1, 2)), narrow), put(np.zeros(2), narrow))
    (epoch,) = train(X, y, params, epochs=1, lr=0.0, batch_size=n // 10, optimizer=optim.sgd())
    # log 2 in the dtype of the network, whose losses are means of n / 10 rows
    assert epoch.last.loss == pytest.approx(math.log(2.0), rel=4 * float(xp.finfo(narrow).eps))


@pytest.mark.only("numpy")
def test_a_plan_that_is_shorter_than_its_warm_up_learns(data, params):
    schedule = schedules.warm_up(schedules.cosine(0.1), 1000)
    *_, epoch = train(*data, params, epochs=3, lr=schedule, optimizer=optim.sgd())
    assert epoch.last.lr == pytest.approx(0.1 * (epoch.last.steps - 1) / 1000)
    assert not np.array_equal(epoch.params[0], params[0])
