"""``folds=True``: each network of an ensemble holds out a part of its own of the rows, and none is lost."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import scipy.sparse
from estimator_problems import SAME, iris, numbers, several_labels, two_classes
from sklearn.metrics import make_scorer, median_absolute_error
from sklearn.model_selection import StratifiedKFold

from mlp_xp.estimators import MLPClassifier, MLPRegressor, load

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

K = 3
OPTIONS = {
    "hidden_layer_sizes": (5,), "max_iter": 6, "random_state": 0, "batch_size": 40, "learning_rate_init": 0.05,
    "early_stopping": True, "n_iter_no_change": 1, "ensemble": K,
}  # fmt: skip
NOTHING = 1e-30  # what a row weighs that shall change no number and yet keep its place in a batch


# --- each network learns as it would alone ---------------------------------------------------------------------------


def assert_as_alone(kind, X, y, options, weight=None):
    """Network i is that of a fit whose weights are next to nothing in part i and whose ``eval_set`` is that part.

    Whole weights of the rows that are held out are rows of ``eval_set`` that come so often.
    """
    options = {**OPTIONS, **options, "shuffle": False}  # an order is drawn after the parts
    model = kind(**options, folds=True).fit(X, y, weight)
    ends = []
    for i in range(K):
        own = np.ones(len(y)) if weight is None else weight
        held = np.repeat(np.flatnonzero(model.folds_ == i), own[model.folds_ == i].astype(int))
        scaled = np.where(model.folds_ == i, NOTHING * own, own)
        alone = kind(**options).fit(X, y, scaled, eval_set=(X[held], y[held]))
        for ours, its in zip(model._params(), alone._params(), strict=True):
            np.testing.assert_allclose(ours[i], its[i], rtol=SAME, atol=SAME)
        ours, its = (
            [(r.members[i].loss, r.members[i].val_loss, r.members[i].val_score or 0.0) for r in each._history]
            for each in (model, alone)
        )
        ends.append(model._history[-1].members[i].number)
        np.testing.assert_allclose(ours[: ends[-1]], its[: ends[-1]], rtol=SAME, atol=SAME)
    assert model.n_iter_ == max(ends)
    return ends


LABELS = {
    "a score": {"scoring": None},
    "the loss": {"scoring": "loss"},
    "a scorer": {"scoring": "balanced_accuracy"},
    "an adaptive rate": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "scoring": "loss", "alpha": 1.0},
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("options", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("make", [iris, two_classes, several_labels])
def test_a_network_learns_as_one_to_which_its_part_is_the_validation_set(options, make):
    X, y = make()
    if make is several_labels and options["scoring"] == "balanced_accuracy":
        options = {**options, "scoring": "f1_macro"}
    assert_as_alone(MLPClassifier, X, y, {"max_iter": 30, "tol": 0.01, **options})


@pytest.mark.only("numpy")
@pytest.mark.parametrize("scoring", ["loss", None])
def test_weights_count_in_learning_and_in_judging(scoring):
    X, y = numbers()
    weight = 1.0 + np.arange(len(y)) % 3
    ends = assert_as_alone(MLPRegressor, X, y, {"scoring": scoring, "max_iter": 30, "tol": 0.01}, weight)
    assert min(ends) < max(ends)  # a network was frozen while another went on
    X, y = iris()
    options = {**OPTIONS, "folds": True, "scoring": scoring}
    of_classes = MLPClassifier(**options, class_weight={1: 2.0}).fit(X, y)
    of_rows = MLPClassifier(**options).fit(X, y, 1.0 + (y == 1))
    assert all(np.array_equal(a, b) for a, b in zip(of_classes._params(), of_rows._params(), strict=True))
    assert of_classes.validation_scores_ == of_rows.validation_scores_


def test_the_networks_are_those_of_numpy_on_every_backend(put, host, backend):
    X, y = iris()
    X, y = X[::2], y[::2]
    weight = 1.0 + np.arange(75) % 3
    options = {**OPTIONS, "max_iter": 3, "folds": True, "scoring": "loss", "batch_size": 25, "standardise": True}
    expected = MLPClassifier(**options).fit(X, y, weight)
    if backend == "jax":  # a compiled step takes a tenth of the time of all its operations compiled one by one
        options["compile"] = importlib.import_module("jax").jit
    model = MLPClassifier(**options).fit(put(X), put(y), put(weight))
    for ours, its in zip(model._params(), expected._params(), strict=True):
        np.testing.assert_allclose(host(ours), its, rtol=SAME, atol=SAME)
    np.testing.assert_allclose(model.validation_scores_, expected.validation_scores_, rtol=SAME)
    np.testing.assert_array_equal(model.folds_, expected.folds_)


@pytest.mark.only("numpy")
def test_targets_are_judged_in_their_own_units():
    X, y = numbers()
    scorer = make_scorer(median_absolute_error, greater_is_better=False)
    model = MLPRegressor(**OPTIONS, folds=True, standardise=True, scoring=scorer).fit(100 * X, 1e6 + y)
    for i, member in enumerate(model._history[0].members):
        part = model.folds_ == i
        assert 0.0 < -member.val_score < 2 * np.abs(y[part] - np.median(y[part])).max()


# --- how the rows are dealt ------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"], [3, 5, 9], ["a", "b", "c", "d"]])
def test_every_class_is_dealt_as_evenly_as_stratified_folds_deal_it(k, labels):
    X = np.random.default_rng(0).normal(size=(83, 2))
    y = np.asarray(labels)[np.minimum(np.arange(83) // 30, len(labels) - 1)]
    model = MLPClassifier(**{**OPTIONS, "ensemble": k, "max_iter": 1}, folds=True).fit(X, y)
    assert np.ptp(np.bincount(model.folds_)) <= 1
    theirs = [test for _, test in StratifiedKFold(k, shuffle=True, random_state=0).split(X, y)]
    for label in labels:
        expected = sorted((y[test] == label).sum() for test in theirs)
        assert sorted((y[model.folds_ == i] == label).sum() for i in range(k)) == expected


@pytest.mark.only("numpy")
def test_parts_are_drawn_and_rows_that_weigh_nothing_are_in_none():
    X, y = numbers()
    weight = np.ones(len(y))
    weight[:50] = 0.0
    one, same, other = (MLPRegressor(**{**OPTIONS, "random_state": seed}, folds=True) for seed in (0, 0, 1))
    one.fit(X, y, weight), same.fit(X, y, weight), other.fit(X, y)
    assert (one.folds_[:50] == -1).all()
    np.testing.assert_array_equal(np.bincount(one.folds_[50:]), [34, 33, 33])
    np.testing.assert_array_equal(one.folds_, same.folds_)
    assert (np.diff(other.folds_) != np.diff(other.folds_)[0]).any()
    assert (one.folds_ != other.folds_)[50:].any()


# --- with the rest of an estimator -----------------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize("scoring", ["loss", "accuracy"])
def test_a_run_in_folds_is_resumed_to_the_last_bit(tmp_path, scoring):
    X, y = iris()
    options, path = {**OPTIONS, "folds": True, "scoring": scoring, "dropout": 0.1}, tmp_path / "state"
    MLPClassifier(**{**options, "max_iter": 3}).fit(X, y, checkpoint=path)
    resumed = MLPClassifier(**{**options, "max_iter": 60}).fit(X, y, checkpoint=path, resume=True)
    whole = MLPClassifier(**{**options, "max_iter": 60}).fit(X, y)
    assert all(np.array_equal(a, b) for a, b in zip(resumed._params(), whole._params(), strict=True))
    assert resumed.validation_scores_ == whole.validation_scores_
    assert 3 < resumed.n_iter_ == whole.n_iter_ < 60
    with pytest.raises(ValueError, match=r"another configuration: settings\.folds must be false, got true"):
        MLPClassifier(**{**options, "folds": False}).fit(X, y, checkpoint=path, resume=True)


@pytest.mark.only("numpy")
def test_folds_go_with_sparse_rows_files_and_a_check_of_gradients(tmp_path):
    X, y = iris()
    X = np.where(X < 0.0, 0.0, X)
    options = {**OPTIONS, "folds": True, "check_gradients": True}
    sparse, dense = (MLPClassifier(**options).fit(each, y) for each in (scipy.sparse.csr_matrix(X), X))
    assert dense.gradient_report_.ok
    np.testing.assert_allclose(sparse.predict_proba(X), dense.predict_proba(X), rtol=SAME)
    dense.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.folds is True
    np.testing.assert_array_equal(again.predict_proba(X), dense.predict_proba(X))


REFUSED = {
    "one network": ({"ensemble": 1}, {}, "folds needs an ensemble of at least 2 networks, .*, got ensemble=1"),
    "no early end": ({"early_stopping": False}, {}, "folds needs early_stopping=True: each network stops by the part"),
    "lbfgs": ({"solver": "lbfgs"}, {}, "folds needs a stochastic solver, got lbfgs"),
    "rows of its own": ({}, {"eval_set": iris()}, "folds needs eval_set=None: each network is judged on the part"),
    "going on": ({"warm_start": True}, {}, "folds needs warm_start=False: another fit deals the rows anew"),
    "more parts than pairs": ({"ensemble": 76}, {}, "folds needs at least 2 rows for each of the 76 networks, got 150"),
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("options", "given", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_folds_is_refused(options, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        MLPClassifier(**{**OPTIONS, **options}, folds=True).fit(*iris(), **given)


@pytest.mark.only("numpy")
def test_rows_that_come_one_part_at_a_time_have_no_folds():
    X, y = iris()
    model = MLPClassifier(**OPTIONS, folds=True)
    with pytest.raises(ValueError, match="folds needs fit, which sees all rows at once, got partial_fit"):
        model.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="folds needs fit, which sees all rows at once, got fit_batches"):
        model.fit_batches([(X, y)])
