"""``ensemble=k``: k networks learn in one fit, each as it would alone, and speak as one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from estimator_problems import SAME, iris, numbers, several_labels, two_classes, two_numbers
from marks import EAGER
from scipy.special import expit, softmax
from scipy.stats import norm
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

import mlp_xp as mx
from mlp_xp._lib import files
from mlp_xp.estimators import MLPClassifier, MLPRegressor, load

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

K = 3
OPTIONS = {"hidden_layer_sizes": (5,), "max_iter": 6, "random_state": 0, "batch_size": 40}


def members(model):
    """The parameters of each network."""
    return [[p[i] for p in model._params()] for i in range(K)]


def soft():
    X, y = iris()
    return X, (np.eye(3)[y] + 0.1) / 1.3


# --- each network learns as it would alone ---------------------------------------------------------------------------

RUNS = {
    "adam": {},
    "momentum, adaptive": {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1, "tol": 0.05,
                           "n_iter_no_change": 1, "max_iter": 60},
    "cosine with dropout": {"learning_rate": "cosine", "dropout": 0.3, "clip_norm": 0.5},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.2},
    "an early end": {"tol": 0.05, "n_iter_no_change": 1, "max_iter": 40},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 40, "learning_rate_init": 0.05},
    "a scorer": {"early_stopping": True, "scoring": "neg_log_loss", "n_iter_no_change": 2, "max_iter": 30},
    "the loss": {"early_stopping": True, "scoring": "loss", "n_iter_no_change": 2, "tol": 0.02, "max_iter": 30},
    "weights": {"class_weight": {1: 3.0}, "label_smoothing": 0.1},
    "standardised": {"standardise": True, "alpha": 1.0},
}  # fmt: skip


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", RUNS)
def test_the_first_network_is_the_one_that_learns_alone(name):
    X, y = iris()
    options = {**OPTIONS, **RUNS[name]}
    several, alone = (MLPClassifier(**options, ensemble=k).fit(X, y) for k in (K, 1))
    for ours, its in zip(members(several)[0], alone._params(), strict=True):
        np.testing.assert_allclose(ours, its, rtol=SAME, atol=SAME)
    own = [record.members[0] for record in several._history if record.members[0].number == record.number]
    assert len(own) == alone.n_iter_
    np.testing.assert_allclose([each.loss for each in own], alone.loss_curve_, rtol=SAME)
    assert len(several.loss_curve_) == several.n_iter_ == max(m.number for m in several._history[-1].members)


@pytest.mark.only("numpy")
def test_each_network_is_a_run_of_its_own():
    X, y = iris()
    model = MLPClassifier(**{**OPTIONS, "max_iter": 1}, shuffle=False, ensemble=K).fit(X, y)
    first = MLPClassifier(**{**OPTIONS, "max_iter": 1}, shuffle=False, ensemble=K)
    begun = first.fit(X, y, callbacks=[lambda epoch: True])
    for after, again in zip(members(model), members(begun), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(after, again, strict=True))
    weights = [each[0] for each in members(model)]
    assert min(np.abs(a - b).max() for i, a in enumerate(weights) for b in weights[:i]) > 0.1
    # one Adam step moves each number by the rate, so that weights further apart began apart
    alike = MLPClassifier(**OPTIONS, ensemble=K).fit(X, y)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(alike.coefs_, MLPClassifier(**OPTIONS, ensemble=K).fit(X, y).coefs_, strict=True)
    )


# --- they speak as one -----------------------------------------------------------------------------------------------

TARGETS = {"classes": iris, "two classes": two_classes, "several labels": several_labels, "probabilities": soft}


@pytest.mark.parametrize("name", ["classes", *(pytest.param(name, marks=EAGER) for name in [*TARGETS][1:])])
def test_probabilities_are_the_mean_of_the_networks(put, host, name):
    X, y = TARGETS[name]()
    model = MLPClassifier(**OPTIONS, ensemble=K).fit(put(X), put(y))
    probability = softmax if model.out_activation_ == "softmax" else expit
    options = {"axis": -1} if model.out_activation_ == "softmax" else {}
    logits = host(mx.forward(put(X), *model._params(), activation="relu", criterion="squared_error")[0])
    mean = probability(logits, **options).mean(axis=0)
    expected = np.concatenate([1 - mean, mean], axis=1) if name == "two classes" else mean
    np.testing.assert_allclose(host(model.predict_proba(put(X))), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(host(model.predict_log_proba(put(X))), np.log(expected), rtol=1e-12, atol=1e-14)
    decided = (expected > 0.5).astype(int) if name == "several labels" else expected.argmax(axis=1)
    np.testing.assert_array_equal(host(model.predict(put(X))), decided)


@pytest.mark.only("numpy")
def test_a_logarithm_stays_exact_where_probabilities_round_to_0():
    X, y = two_classes()
    model = MLPClassifier(**{**OPTIONS, "hidden_layer_sizes": ()}, ensemble=2).fit(X, y)
    model._learned((np.zeros((2, 4, 1)), np.asarray([[-800.0], [-900.0]])))
    np.testing.assert_allclose(model.predict_log_proba(X[:1]), [[0.0, -800.0 - math.log(2)]], rtol=1e-15)


SPREAD = {
    "one number": (numbers, {}),
    "two numbers": (two_numbers, {"standardise": True}),
    "gaussian": (numbers, {"loss": "gaussian", "standardise": True}),
    "gaussian, two numbers": (two_numbers, {"loss": "gaussian"}),
    "quantiles": (two_numbers, {"loss": "quantile", "quantile": (0.1, 0.5, 0.8), "standardise": True}),
}


@EAGER
@pytest.mark.parametrize("name", SPREAD)
def test_a_regressor_says_the_mean_and_the_spread_of_its_networks(put, host, name):
    make, options = SPREAD[name]
    X, y = make()
    model = MLPRegressor(**OPTIONS, **options, ensemble=K).fit(put(X), put(y))
    values, deviations, quantiles = [], [], []
    for i in range(K):  # one network of it alone
        one = clone(model).set_params(ensemble=1, max_iter=1).fit(put(X), put(y))
        one._learned(tuple(p[i, ...] for p in model._params()))
        values.append(host(one.predict(put(X))))
        if "gaussian" in name:
            deviations.append(host(one.predict(put(X), return_std=True)[1]))
        if name == "quantiles":
            quantiles.append(host(one.predict_quantiles(put(X))))
    value, std = (host(each) for each in model.predict(put(X), return_std=True))
    np.testing.assert_allclose(value, np.mean(values, axis=0), rtol=1e-12, atol=1e-12)
    within = np.mean(np.square(deviations), axis=0) if deviations else 0.0
    np.testing.assert_allclose(std, np.sqrt(np.var(values, axis=0) + within), rtol=1e-10, atol=1e-12)
    if name == "quantiles":
        np.testing.assert_allclose(host(model.predict_quantiles(put(X))), np.mean(quantiles, axis=0), rtol=1e-12)
    if name == "gaussian":
        expected = np.stack([norm(value, std).ppf(level) for level in (0.2, 0.9)], axis=-1)
        np.testing.assert_allclose(host(model.predict_quantiles(put(X), [0.2, 0.9])), expected, rtol=1e-12)


@EAGER
def test_the_last_hidden_layers_stand_side_by_side(put, host):
    X, y = iris()
    model = MLPClassifier(**OPTIONS, ensemble=K).fit(put(X), put(y))
    features = host(model.transform(put(X)))
    assert features.shape == (150, 5 * K) == (150, len(model.get_feature_names_out()))
    for i, (W, b) in enumerate(zip(host(model.coefs_[0]), host(model.intercepts_[0]), strict=True)):
        np.testing.assert_allclose(features[:, 5 * i : 5 * i + 5], np.maximum(X @ W + b, 0), atol=1e-12)


# --- with the rest of an estimator -----------------------------------------------------------------------------------


@EAGER
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_saved_ensemble_goes_on(xp, put, host, device, tmp_path, kind):
    X, y = iris()
    X, y = put(X), put(y if kind is MLPClassifier else y / 2.0)
    model = kind(**OPTIONS, ensemble=K, validation_fraction=0.2, early_stopping=True).fit(X, y)
    model.set_params(early_stopping=False).save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors", xp, device)
    assert again._history == model._history
    for each in (again, model):
        each.partial_fit(X, y).partial_fit(X, y)
    np.testing.assert_array_equal(host(again.transform(X)), host(model.transform(X)))


@pytest.mark.only("numpy")
def test_a_run_that_was_stopped_is_resumed_to_the_last_bit(tmp_path):
    X, y = iris()
    options, path = {**OPTIONS, "ensemble": K, "tol": 0.05, "n_iter_no_change": 1}, tmp_path / "state"
    MLPClassifier(**{**options, "max_iter": 3}).fit(X, y, checkpoint=path)
    resumed = MLPClassifier(**{**options, "max_iter": 40}).fit(X, y, checkpoint=path, resume=True)
    whole = MLPClassifier(**{**options, "max_iter": 40}).fit(X, y)
    assert all(np.array_equal(a, b) for a, b in zip(resumed._params(), whole._params(), strict=True))
    assert resumed.n_iter_ == whole.n_iter_ < 40


@pytest.mark.only("numpy")
def test_a_checkpoint_of_before_a_parameter_was_added_is_of_its_default(tmp_path):
    X, y = iris()
    path, options = tmp_path / "state", {"hidden_layer_sizes": (4,), "random_state": 0}
    MLPClassifier(**options, max_iter=3).fit(X, y, checkpoint=path)
    arrays, header = files.read(path, "checkpoint")
    for name in ("folds", "ensemble", "clip_norm"):
        del header["config"]["settings"][name]
    files.write(path, "checkpoint", arrays, header)
    resumed = MLPClassifier(**options, max_iter=6).fit(X, y, checkpoint=path, resume=True)
    whole = MLPClassifier(**options, max_iter=6).fit(X, y)
    assert all(np.array_equal(a, b) for a, b in zip(resumed._params(), whole._params(), strict=True))
    files.write(path, "checkpoint", arrays, header)
    with pytest.raises(ValueError, match=r"another configuration: settings.clip_norm must be 1.0, got null$"):
        MLPClassifier(**options, clip_norm=1.0).fit(X, y, checkpoint=path, resume=True)


@pytest.mark.only("numpy")
def test_early_stopping_keeps_the_best_of_each_network():
    X, y = iris()
    options = {**OPTIONS, "early_stopping": True, "n_iter_no_change": 3, "max_iter": 60, "learning_rate_init": 0.05}
    model = MLPClassifier(**options, ensemble=K).fit(X, y)
    bests = [max(record.members[i].val_score for record in model._history) for i in range(K)]
    np.testing.assert_allclose(model.best_validation_score_, np.mean(bests))
    assert len(model.validation_scores_) == model.n_iter_


@pytest.mark.only("numpy")
def test_a_network_that_diverges_is_said():
    X, y = numbers()
    with pytest.raises(ValueError, match=r"Solver produced non-finite.* network"):
        MLPRegressor(**{**OPTIONS, "max_iter": 50}, solver="sgd", learning_rate_init=5.0, ensemble=K).fit(X, 10 * y)


@pytest.mark.only("numpy")
def test_several_networks_are_better_than_one():
    X, y = load_some_digits()
    options = {"hidden_layer_sizes": (16,), "max_iter": 30, "random_state": 0, "standardise": True}
    one, ten = (
        cross_val_score(MLPClassifier(**options, ensemble=k), X, y, cv=3, scoring="neg_log_loss").mean()
        for k in (1, 10)
    )
    assert ten > one


def load_some_digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X[:600], y[:600]
