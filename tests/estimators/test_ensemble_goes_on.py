"""An ensemble goes on learning as one network does, and what can't go on says so in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_problems import apart, iris, numbers

from mlp_xp import losses
from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.only("numpy"), pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

OPTIONS = {"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0}


def test_partial_fit_never_ends_for_any_network():
    X, y = numbers()
    options = {**OPTIONS, "tol": 10.0, "n_iter_no_change": 1}  # nothing is an improvement
    one, three = MLPRegressor(**options), MLPRegressor(**options, ensemble=3)
    for _ in range(6):
        one.partial_fit(X, y)
        three.partial_fit(X, y)
    assert len(three.loss_curve_) == len(one.loss_curve_) == 6
    np.testing.assert_array_equal(three.coefs_[0][0], one.coefs_[0])


def test_partial_fit_goes_on_with_networks_that_ended_apart():
    X, y = numbers()
    model = MLPRegressor(**{**OPTIONS, "max_iter": 100}, ensemble=3, solver="sgd", tol=0.02, n_iter_no_change=1)
    model.fit(X, y)
    assert len({record.number for record in model._history[-1].members}) > 1
    for _ in range(2):
        before = model.coefs_[0]
        model.partial_fit(X, y)
        assert (np.abs(model.coefs_[0] - before).max((1, 2)) > 0).all()


@pytest.mark.parametrize("way", ["fit", "partial_fit"])
@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 2)])
def test_another_number_of_networks_takes_a_new_fit(before, after, way):
    X, y = iris()
    model = MLPClassifier(**OPTIONS, ensemble=before, warm_start=True).fit(X, y)
    coefs = model.coefs_[0]
    with pytest.raises(
        ValueError, match=f"^ensemble must be {before}, as in the first fit, got {after}; fit a new one$"
    ):
        getattr(model.set_params(ensemble=after), way)(X, y)
    assert model.coefs_[0] is coefs
    assert apart(model.set_params(warm_start=False).fit(X, y), MLPClassifier(**OPTIONS, ensemble=after).fit(X, y)) == 0


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ({}, {"standardise": True}, "standardise must be False, as in the first fit; fit a new one"),
        (
            {"standardise": True}, {"loss": "poisson"},
            "the network was fitted with y standardised, which loss='poisson' is not to be; fit a new one",
        ),
        (
            {"standardise": True}, {"criterion": losses.squared_error},
            "the network was fitted with y standardised, which a criterion of its own is not to be; fit a new one",
        ),
    ],
)  # fmt: skip
def test_other_units_of_y_take_a_new_fit(before, after, sentence):
    X, y = numbers()
    model = MLPRegressor(**OPTIONS, warm_start=True, **before).fit(X, y)
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        model.set_params(**after).fit(X, y)
    model.set_params(warm_start=False).fit(X, y)
