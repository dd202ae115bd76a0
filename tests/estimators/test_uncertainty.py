"""Regressors that say how sure they are: quantiles, a standard deviation, and losses that outliers do not bend."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from estimator_problems import numbers, two_numbers
from sklearn.base import clone
from sklearn.linear_model import HuberRegressor, QuantileRegressor
from sklearn.metrics import make_scorer, mean_pinball_loss
from sklearn.utils.estimator_checks import check_estimator

import mlp_xp as mx
from mlp_xp.estimators import MLPRegressor, load
from mlp_xp.losses import criterion_named

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LOSSES = {
    "absolute_error": {},
    "huber": {"delta": 0.5},
    "quantile": {"quantile": (0.1, 0.5, 0.9)},
    "gaussian": {},
}
QUICK = {"hidden_layer_sizes": 6, "max_iter": 4, "random_state": 0}


def noisy(n, seed):
    """``y = sin 3x`` with normal noise whose standard deviation grows from 0.1 to 0.5; mean and deviation besides."""
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, size=n)
    mean, deviation = np.sin(3 * x), 0.3 + 0.2 * x
    return x[:, None], mean + deviation * random.normal(size=n), mean, deviation


LONG = {
    "hidden_layer_sizes": 16, "activation": "tanh", "random_state": 0, "learning_rate_init": 0.02,
    "learning_rate": "cosine", "max_iter": 60, "n_iter_no_change": 100, "alpha": 0.0,
}  # fmt: skip


# --- what they learn -------------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    "options", [{"loss": "gaussian"}, {"loss": "quantile", "quantile": [0.05, 0.5, 0.95]}], ids=str
)
def test_nine_of_ten_new_targets_lie_between_the_quantiles_5_and_95_percent(options):
    X, y, mean, _ = noisy(4000, seed=1)
    model = MLPRegressor(**options, **LONG).fit(X, y)
    X, y, mean, _ = noisy(4000, seed=2)
    low, middle, high = model.predict_quantiles(X, [0.05, 0.5, 0.95]).T
    inside = np.mean((low <= y) & (y <= high))
    # The share of n new targets in an interval of 90% has the standard deviation sqrt(0.9 * 0.1 / n); what was learned
    # from as many rows errs by as much again. Four standard deviations of the difference.
    assert abs(inside - 0.9) <= 4 * math.sqrt(2 * 0.9 * 0.1 / len(y))
    # half of them on both halves of x: the width follows the noise
    assert np.mean((high - low)[X[:, 0] > 0.5]) > 1.8 * np.mean((high - low)[X[:, 0] < -0.5])  # 2.67 is the truth
    assert abs(np.mean(y <= middle) - 0.5) <= 4 * math.sqrt(2 * 0.25 / len(y))
    assert np.sqrt(np.mean((model.predict(X) - mean) ** 2)) < 0.1 * np.std(mean)


@pytest.mark.only("numpy")
def test_the_standard_deviation_is_that_of_the_noise():
    X, y, *_ = noisy(4000, seed=1)
    model = MLPRegressor("gaussian", **LONG).fit(X, y)
    X, _, mean, deviation = noisy(1000, seed=3)
    predicted, std = model.predict(X, return_std=True)
    np.testing.assert_array_equal(predicted, model.predict(X))
    # 16 units tell a line's slope and offset, learned from 4000 rows: one part in sqrt(2 * 4000 / 16) and to spare
    assert np.sqrt(np.mean((std / deviation - 1.0) ** 2)) < 4 / math.sqrt(2 * 4000 / 16)
    assert np.sqrt(np.mean((predicted - mean) ** 2)) < 0.1


@pytest.mark.only("numpy")
def test_a_linear_network_is_scikit_learns_quantile_regression_and_huber_regression():
    X, y = numbers()
    linear = {"hidden_layer_sizes": (), "alpha": 0.0, "random_state": 0, "learning_rate": "cosine", "max_iter": 600}
    linear |= {"learning_rate_init": 0.05, "n_iter_no_change": 1000, "batch_size": 150}
    ours = MLPRegressor("quantile", quantile=0.8, **linear).fit(X, y)
    theirs = QuantileRegressor(quantile=0.8, alpha=0.0).fit(X, y)
    lowest, reached = (mean_pinball_loss(y, model.predict(X), alpha=0.8) for model in (theirs, ours))
    assert lowest <= reached <= 1.005 * lowest  # a linear program's optimum; steps of a falling rate end near it
    # Huber's regression also learns a scale s: its loss is ours with delta = epsilon s
    theirs = HuberRegressor(epsilon=1.35, alpha=0.0, max_iter=1000, tol=1e-10).fit(X, y)
    ours = MLPRegressor("huber", delta=1.35 * theirs.scale_, **{**linear, "solver": "lbfgs"}).fit(X, y)
    np.testing.assert_allclose(ours.coefs_[0][:, 0], theirs.coef_, atol=1e-3)
    np.testing.assert_allclose(ours.intercepts_[0], theirs.intercept_, atol=1e-3)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile"])
def test_outliers_do_not_bend_it(loss):
    X, y = numbers()
    spoiled, clean = y + 100.0 * (np.arange(150) % 15 == 0), np.arange(150) % 15 != 0
    options = {"max_iter": 300, "random_state": 0, "learning_rate_init": 0.01}
    robust, square = (MLPRegressor(name, **options).fit(X, spoiled) for name in (loss, "squared_error"))
    assert np.mean(np.abs(robust.predict(X) - y)[clean]) < 0.5 * np.mean(np.abs(square.predict(X) - y)[clean])


# --- shapes and numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [1, 2])
def test_predictions_are_those_of_the_networks_outputs(put, host, targets):
    X, y = numbers() if targets == 1 else two_numbers()
    X, y = X[:40], y[:40]
    shape = (40,) if targets == 1 else (40, 2)
    model = MLPRegressor("gaussian", **QUICK).fit(put(X), put(y))
    logits = host(mx.predict(put(X), *model._params(), activation="relu", criterion="squared_error"))
    mean, std = logits[:, :targets].reshape(shape), np.exp(logits[:, targets:]).reshape(shape)
    predicted, spread = map(host, model.predict(put(X), return_std=True))
    np.testing.assert_allclose(predicted, mean, rtol=1e-13)
    np.testing.assert_allclose(spread, std, rtol=1e-13)
    quantiles = host(model.predict_quantiles(put(X), 0.975))
    assert quantiles.shape == (*shape, 1)
    np.testing.assert_allclose(quantiles[..., 0], mean + 1.959963984540054 * std, rtol=1e-13)
    assert host(model.predict_quantiles(put(X))).shape == (*shape, 3)
    assert model.n_outputs_ == 2 * targets

    model = MLPRegressor("quantile", quantile=[0.1, 0.6], **QUICK).fit(put(X), put(y))
    logits = host(mx.predict(put(X), *model._params(), activation="relu", criterion="squared_error"))
    expected = np.sort(np.stack([logits[:, :targets], logits[:, targets:]], axis=-1), axis=-1)
    quantiles = host(model.predict_quantiles(put(X)))
    assert quantiles.shape == (*shape, 2)
    np.testing.assert_allclose(quantiles, expected.reshape(*shape, 2), rtol=1e-13)
    np.testing.assert_array_equal(host(model.predict(put(X))), quantiles[..., 1])
    np.testing.assert_array_equal(host(model.predict_quantiles(put(X), 0.1)), quantiles[..., :1])


@pytest.mark.only("numpy")
@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_the_mean_over_targets_and_quantiles(loss, targets):
    X, y = numbers() if targets == 1 else two_numbers()
    y = y.reshape(150, targets)
    model = MLPRegressor(loss, **LOSSES[loss], **{**QUICK, "batch_size": 150, "max_iter": 1, "alpha": 0.0})
    model.set_params(learning_rate_init=1e-300).fit(
        X, y[:, 0] if targets == 1 else y
    )  # the loss is that of the step before it moved
    z = mx.predict(X, *model._params(), activation="relu", criterion="squared_error")
    gap = np.abs(z - np.concatenate([y] * (z.shape[1] // targets), axis=1))
    expected = {
        "absolute_error": lambda: np.mean(gap),
        "huber": lambda: np.mean(np.where(gap <= 0.5, gap**2 / 2, 0.5 * (gap - 0.25))),
        "quantile": lambda: np.mean(
            [mean_pinball_loss(y, part, alpha=q) for q, part in zip((0.1, 0.5, 0.9), np.split(z, 3, 1), strict=True)]
        ),
        "gaussian": lambda: np.mean(
            z[:, targets:] + 0.5 * ((y - z[:, :targets]) / np.exp(z[:, targets:])) ** 2 + 0.5 * np.log(2 * np.pi)
        ),
    }[loss]()
    assert model.loss_ == pytest.approx(expected, rel=1e-12)
    assert model.loss_curve_ == [model.loss_]


@pytest.mark.only("numpy")
def test_lbfgs_reports_the_same_mean():
    X, y = two_numbers()
    options = {"solver": "lbfgs", "max_iter": 3, "hidden_layer_sizes": 4, "random_state": 0, "alpha": 0.0}
    model = MLPRegressor("gaussian", **options).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    density = -np.log(std) - 0.5 * ((y - mean) / std) ** 2 - 0.5 * np.log(2 * np.pi)
    assert model.loss_ == pytest.approx(-np.mean(density), rel=1e-12)


# --- what belongs to an estimator ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_a_copy_predicts_the_same(backend, put, host, loss, tmp_path):
    X, y = numbers()
    model = MLPRegressor(loss, **LOSSES[loss], **QUICK).fit(put(X[:40]), put(y[:40]))
    model.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.get_params() == model.get_params()
    assert criterion_named(loaded._criterion()).name == criterion_named(model._criterion()).name
    if backend == "dpnp":  # whose arrays have no pickle: a file is the way
        with pytest.raises(TypeError, match="no default __reduce__"):
            pickle.dumps(model)
    pickled = model if backend == "dpnp" else pickle.loads(pickle.dumps(model))
    model.set_params(loss="squared_error", quantile=0.5)  # of the next fit: what was learned stays
    for again, place in ((loaded, np.asarray), (pickled, put), (model, put)):
        np.testing.assert_allclose(host(again.predict(place(X[:9]))), host(model.predict(put(X[:9]))), rtol=1e-12)
        if loss in ("quantile", "gaussian"):
            ours, theirs = (host(each.predict_quantiles(at(X[:9]))) for each, at in ((again, place), (model, put)))
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("loss", LOSSES)
def test_going_on_stopping_early_and_checking_gradients_work(loss):
    X, y = numbers()
    model = MLPRegressor(loss, **LOSSES[loss], **QUICK, early_stopping=True, check_gradients=True).fit(X, y)
    assert model.gradient_report_.ok
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_losses_) == 4
    scorer = make_scorer(mean_pinball_loss, greater_is_better=False)
    clone(model).set_params(scoring=scorer).fit(X, y)
    whole = MLPRegressor(loss, **LOSSES[loss], **{**QUICK, "max_iter": 3}).fit(X, y)
    parts = MLPRegressor(loss, **LOSSES[loss], **QUICK)
    for _ in range(3):
        parts.partial_fit(X, y)
    assert parts.predict(X).shape == whole.predict(X).shape == (150,)
    assert math.isfinite(parts.score(X, y))


@pytest.mark.only("numpy")
def test_check_estimator_passes_where_a_target_has_two_outputs():
    # one of the checks wants an R^2 of 0.5, which asks for a larger rate than the default
    model = MLPRegressor("gaussian", 20, learning_rate_init=0.02, max_iter=100)
    for result in check_estimator(model, on_fail=None, on_skip=None):
        assert result["status"] != "failed", (result["check_name"], result["exception"])


# --- what is refused -------------------------------------------------------------------------------------------------


def fitted(loss="squared_error", **options):
    X, y = numbers()
    return MLPRegressor(loss, **{**QUICK, **options}).fit(X[:20], y[:20])


X = numbers()[0][:20]
REFUSED = {
    "std without": (
        lambda: fitted().predict(X, return_std=True),
        "return_std needs a loss that learns a standard deviation, 'gaussian', or an ensemble, got 'squared_error'",
    ),
    "std of quantiles": (lambda: fitted("quantile").predict(X, return_std=True), "or an ensemble, got 'quantile'"),
    "quantiles without": (
        lambda: fitted("huber").predict_quantiles(X),
        "predict_quantiles needs a loss that learns quantiles, 'quantile' or 'gaussian', got 'huber'",
    ),
    "another quantile": (
        lambda: fitted("quantile", quantile=[0.1, 0.9]).predict_quantiles(X, [0.5]),
        r"quantiles must be of those that were learned, \(0.1, 0.9\), got 0.5",
    ),
    "levels that fall": (lambda: fitted("quantile", quantile=[0.9, 0.1]), "in ascending order, got 0.9, 0.1"),
    "no level": (lambda: fitted("quantile", quantile=[]), "quantile must be at least one level, got none"),
    "percent": (lambda: fitted("quantile", quantile=[5, 95]), "a level of quantile must be .* below 1, got 5"),
    "a level of 1": (lambda: fitted("quantile", quantile=1.0), "The 'quantile' parameter .* Got 1.0 instead"),
    "delta": (lambda: fitted("huber", delta=-1.0), "The 'delta' parameter .* Got -1.0 instead"),
    "criterion": (
        lambda: fitted("gaussian", criterion=mx.losses.absolute_error),
        "criterion must take one output for each target, with a loss that does, got .* with loss='gaussian'",
    ),
    "criterion of two": (
        lambda: fitted(criterion=mx.losses.gaussian),
        "criterion must take one output for each target, with a loss that does",
    ),
    "another loss": (
        lambda: fitted("gaussian", warm_start=True).set_params(loss="huber").fit(X, X[:, 0]),
        "loss='huber' takes 1 outputs for each target, and the network was fitted with 2; fit a new one",
    ),
}  # fmt: skip


@pytest.mark.only("numpy")
@pytest.mark.parametrize("slip", REFUSED)
def test_slips_are_refused_in_one_sentence(slip):
    call, words = REFUSED[slip]
    with pytest.raises(ValueError, match=words) as error:
        call()
    assert "\n" not in str(error.value)
    assert str(error.value).count(". ") <= 1  # scikit-learn's own are two


@pytest.mark.only("numpy")
def test_a_regressor_from_before_the_losses_had_a_record_predicts_as_it_did():
    for loss in ("squared_error", "poisson"):
        X, y = numbers()
        model = MLPRegressor(loss, **QUICK).fit(X, y)
        before = model.predict(X)
        del model._learned_by
        np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.only("numpy")
def test_mapie_takes_a_fitted_regressor_and_holds_its_promise():
    regression = pytest.importorskip("mapie.regression", reason="MAPIE is not installed in this session")
    X, y, *_ = noisy(3000, seed=5)
    model = MLPRegressor(**{**LONG, "max_iter": 10}).fit(X[:1000], y[:1000])
    wrapped = regression.SplitConformalRegressor(model, confidence_level=0.9, prefit=True)
    _, interval = wrapped.conformalize(X[1000:2000], y[1000:2000]).predict_interval(X[2000:])
    inside = np.mean((interval[:, 0, 0] <= y[2000:]) & (y[2000:] <= interval[:, 1, 0]))
    assert abs(inside - 0.9) <= 4 * math.sqrt(2 * 0.9 * 0.1 / 1000)  # of 1000 rows here, and 1000 there
