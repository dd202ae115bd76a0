"""The solvers that take all rows at once: newton-cg reaches the minima that other implementations reach."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from estimator_problems import iris, numbers
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from mlp_xp import losses
from mlp_xp.estimators import MLPClassifier, MLPRegressor, data

# Where the gradient is below g, a minimum of curvature c at least is nearer than g / c; both sides stop near 1e-8.
NEAR = 1e-5

CONVEX = {"hidden_layer_sizes": (), "solver": "newton-cg", "alpha": 1.0, "tol": 1e-9, "random_state": 0}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("weighted", [False, True])
def test_a_network_without_hidden_layers_is_scikit_learns_logistic_regression(weighted):
    X, y = iris()
    weight = 1.0 + np.arange(150.0) % 3 if weighted else None
    ours = MLPClassifier(**CONVEX).fit(X, y, weight)
    # their penalty is ||W||^2 / (2 C) beside the sum of the losses, ours alpha / 2 ||W||^2
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(X, y, weight)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=NEAR)


@pytest.mark.only("numpy")
def test_a_regression_without_hidden_layers_is_ridge(monkeypatch):
    X, y = numbers()
    ours, theirs = MLPRegressor(**CONVEX).fit(X, y), Ridge(alpha=1.0).fit(X, y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=NEAR)
    monkeypatch.setattr(data, "_CHUNK", 400)  # forty rows at a time
    sparse = MLPRegressor(**CONVEX).fit(scipy.sparse.csr_matrix(X), y)
    np.testing.assert_allclose(sparse.predict(X), theirs.predict(X), atol=NEAR)


def test_it_learns_with_a_hidden_layer(xp, put, host):
    X, y = (each[::3] for each in iris())
    heard = []
    model = MLPClassifier(4, "tanh", solver="newton-cg", alpha=0.1, max_iter=8, tol=1e-9, random_state=0)
    with pytest.warns(
        ConvergenceWarning, match=r"newton-cg failed to converge after 8 iteration.*Increase max_iter, or"
    ):
        model.fit(put(X), put(y), callbacks=[lambda epoch: heard.append(epoch.last.loss)])
    assert (model.n_iter_, len(heard)) == (8, 8)
    assert heard == sorted(heard, reverse=True)
    assert model.score(put(X), put(y)) > 0.95


@pytest.mark.only("numpy")
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
def test_numbers_that_overflow_bring_one_sentence(solver):
    """No warning of NumPy's comes first: pytest would raise it."""
    X, y = iris()
    with pytest.warns(ConvergenceWarning, match="rounding hides which step lowers the loss. Scale the data") as caught:
        MLPClassifier(4, solver=solver, random_state=0).fit(1e200 * X, y)
    assert len(caught) == 1


SAID = {
    "dropout": ({"dropout": 0.5}, {}, "dropout needs a stochastic solver: newton-cg can't minimise"),
    "an ensemble": ({"ensemble": 2}, {}, "an ensemble needs a stochastic solver, newton-cg searches for one network"),
    "an eval_set": ({}, {"eval_set": iris()}, "eval_set needs a stochastic solver: newton-cg has no epochs"),
    "a loss without a second derivative": (
        {"criterion": lambda z, t, w: losses.squared_error(z, t, w)}, {}, "has no second derivative here: give the op"
    ),
}  # fmt: skip


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", SAID)
def test_what_it_can_not_do_has_one_sentence(name):
    settings, options, said = SAID[name]
    with pytest.raises(ValueError, match=said):
        MLPClassifier(4, solver="newton-cg", **settings).fit(*iris(), **options)
    assert not hasattr(MLPClassifier(solver="newton-cg"), "partial_fit")
