"""``MLPRegressor``: several targets, the Poisson loss, a criterion of one's own, R^2."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.optimize
import textbook
from estimator_problems import SAME, apart, assert_same, iris, numbers, two_numbers
from sklearn import neural_network as theirs
from sklearn.exceptions import ConvergenceWarning

from mlp_xp.estimators import MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.only("numpy")
def test_lbfgs_with_several_outputs_goes_where_scipy_goes_with_the_textbooks_gradient():
    X, y = two_numbers()
    weight = np.random.default_rng(0).uniform(0.2, 2.0, len(X))
    options = {"hidden_layer_sizes": (3,), "activation": "tanh", "random_state": 5, "solver": "lbfgs", "alpha": 0.1}
    start = MLPRegressor(**{**options, "solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1}).fit(X, y)
    first = [array for pair in zip(start.coefs_, start.intercepts_, strict=True) for array in pair]
    ends = np.cumsum([array.size for array in first])[:-1]
    terms = {
        "activation": "tanh", "criterion": "squared_error", "l2": 0.1 / weight.sum(), "sample_weight": weight,
    }  # fmt: skip

    def value_and_gradient(vector):
        params = [part.reshape(array.shape) for part, array in zip(np.split(vector, ends), first, strict=True)]
        gradients = textbook.gradients(X, y, *params, **terms)
        return textbook.objective(X, y, *params, **terms), np.concatenate([g.ravel() for g in gradients])

    together = np.concatenate([array.ravel() for array in first])
    limits = {"maxiter": 10, "gtol": 1e-4}
    found = scipy.optimize.minimize(value_and_gradient, together, jac=True, method="L-BFGS-B", options=limits)
    ours = MLPRegressor(**options, max_iter=10).fit(X, y, sample_weight=weight)
    weights = np.split(found.x, ends)[::2]
    penalty = 0.5 * terms["l2"] * sum(np.sum(W * W) for W in weights)
    # what is reported is the mean over the two outputs, what is minimised their sum
    np.testing.assert_allclose(ours.loss_, (found.fun - penalty) / 2 + penalty, rtol=SAME)
    np.testing.assert_allclose(ours.coefs_[0], found.x[: ends[0]].reshape(first[0].shape), rtol=1e-6)


@pytest.mark.only("numpy")
def test_the_poisson_loss_is_scikit_learns():
    X, y = numbers()
    options = {"loss": "poisson", "max_iter": 12, "random_state": 5, "alpha": 0.5}
    assert_same(MLPRegressor(**options).fit(X, y), theirs.MLPRegressor(**options).fit(X, y), X)
    with pytest.raises(ValueError, match="needs targets y >= 0, got -1"):
        MLPRegressor(**options).fit(X, np.minimum(y, -1.0))


@pytest.mark.only("numpy")
def test_early_stopping_restores_the_best_of_a_run_that_diverges():
    X, y = iris()
    options = {"activation": "identity", "solver": "sgd", "learning_rate_init": 1, "max_iter": 20, "random_state": 0}
    model = MLPRegressor(**options, early_stopping=True)
    with pytest.warns(ConvergenceWarning, match="Training stopped: the loss is not finite at step .*learning rate"):
        model.fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sklearns = theirs.MLPRegressor(**options, early_stopping=True).fit(X, y)
    assert apart(model, sklearns) <= SAME
    scores = model.validation_scores_
    assert math.isnan(scores[-1])
    assert len(scores) == len(model.loss_curve_) == len(model.validation_losses_)
    np.testing.assert_allclose(scores, sklearns.validation_scores_[: len(scores)], rtol=1e-6)


@pytest.mark.only("numpy")
def test_a_criterion_of_ones_own():
    def absolute(logits, targets, weights):
        gap = logits - targets
        return np.sum(np.abs(gap), axis=1) @ weights, lambda d: (np.sign(gap) * (weights * d)[:, None],)

    X, y = numbers()
    y = y + 100.0 * (np.arange(150) % 15 == 0)  # outliers, to which the squared error bends
    robust = MLPRegressor(criterion=absolute, max_iter=300, random_state=0, learning_rate_init=0.01).fit(X, y)
    square = MLPRegressor(max_iter=300, random_state=0, learning_rate_init=0.01).fit(X, y)
    inside = np.arange(150) % 15 != 0
    assert np.mean(np.abs(robust.predict(X) - y)[inside]) < 0.5 * np.mean(np.abs(square.predict(X) - y)[inside])


@pytest.mark.only("numpy")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.0}, {"batch_size": 10}])
def test_targets_too_large_for_the_learning_rate_are_named_as_the_cause(dtype, options):
    X, y = numbers()
    model = MLPRegressor(solver="sgd", learning_rate_init=0.1, random_state=0, **options)
    with pytest.raises(ValueError, match=r"preprocessed\. Here .*the targets reach .*: scale the target"):
        model.fit(X.astype(dtype), 1e12 * y)
