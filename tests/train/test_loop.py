"""The training loop: it learns, one seed is one run, its records are right, and it refuses bad data."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import scipy.sparse
import textbook

import mlp_xp as mx
from mlp_xp import optim, schedules
from mlp_xp.train import Diverged, Epoch, Interrupted, is_sparse, train
from mlp_xp.train import evaluate as evaluate_module
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


@pytest.mark.parametrize("criterion", textbook.CRITERIA)
def test_validation_is_the_data_loss_and_the_share_of_right_labels(data, params, put, criterion):
    X, y = textbook.batch(), textbook.labels()
    options = {"criterion": criterion, "activation": "tanh"}
    (epoch,) = train(
        *data, params, optimizer=optim.sgd(), lr=0.0, epochs=1, validation=data, l2=0.5, dropout=0.5, **options
    )
    # without the penalty and the dropout; a rate of 0 left the parameters where they were
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


def test_soft_targets_have_a_loss_and_no_score(data, params, put, host):
    X, t = textbook.batch(), textbook.soft_targets()
    validation = put(X), put(t)
    for criterion in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
        (epoch,) = train(*data, params, **SGD, epochs=1, validation=validation, criterion=criterion)
        expected = textbook.objective(X, t, *map(host, epoch.params), criterion=criterion)
        np.testing.assert_allclose(epoch.last.val_loss, expected, rtol=1e-13)
        assert epoch.last.val_score is None


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
        assert [record[:-1] for record in ours.history] == [record[:-1] for record in theirs.history]
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

    def counted(name, method):
        def call(*arguments, **options):
            calls.append(name)
            return method(*arguments, **options)

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
    *_, eager = train(*data, params, **options)
    *_, compiled = train(*data, params, **options, compile=compiler)
    assert traced == [4, 2]
    assert_there(host, compiled.params, [host(p) for p in eager.params])


@pytest.mark.only("torch")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
def test_torch_compiles_a_step_whole(data, params, host):
    import torch

    options = {"epochs": 2, "batch_size": 4, "dropout": 0.25, "alpha": 0.1, "lr": schedules.cosine(0.1)}
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
    refused(ValueError, r"^one network is trained at a time", X, y, tuple(p[None, ...] for p in params))
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
