"""``standardise=True`` is scikit-learn's ``StandardScaler`` before the network, and after it for a regressor."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse
from estimator_problems import SAME, apart, iris, numbers, two_numbers
from sklearn import neural_network as theirs
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_wine
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlp_xp import losses
from mlp_xp.estimators import MLPClassifier, MLPRegressor
from mlp_xp.estimators.scaling import learned_from
from mlp_xp.train import Dataset

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

OPTIONS = {"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0}


def wine():
    """13 columns, from 0.1 to 1,680."""
    return load_wine(return_X_y=True)


def prices():
    """Targets around a million."""
    X, y = load_diabetes(return_X_y=True)
    return X * 100.0 + 7.0, 1e6 + 1e5 * (y - y.mean()) / y.std()


# --- what it computes ------------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_classifier_is_that_behind_a_scaler(solver, weighted):
    X, y = wine()
    weight = 1.0 + np.arange(len(y)) % 3 if weighted else None
    ours = MLPClassifier(**OPTIONS, solver=solver, standardise=True).fit(X, y, weight)
    scaler = StandardScaler().fit(X, sample_weight=weight)
    sklearns = theirs.MLPClassifier(**OPTIONS, solver=solver).fit(scaler.transform(X), y, weight)
    assert apart(ours, sklearns) <= SAME
    np.testing.assert_allclose(ours.predict_proba(X), sklearns.predict_proba(scaler.transform(X)), rtol=SAME)
    np.testing.assert_allclose(ours.scaling_.X_mean, scaler.mean_, rtol=1e-12)  # sums of 178 numbers
    np.testing.assert_allclose(ours.scaling_.X_scale, scaler.scale_, rtol=1e-12)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("several", [False, True])
def test_a_regressor_is_that_between_two_scalers(several):
    X, y = prices()
    y = np.stack([y, np.sqrt(y)], axis=1) if several else y
    ours = MLPRegressor(**OPTIONS, standardise=True).fit(X, y)
    sklearns = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), theirs.MLPRegressor(**OPTIONS)), transformer=StandardScaler()
    ).fit(X, y)
    assert apart(ours, sklearns.regressor_[-1]) <= SAME
    np.testing.assert_allclose(ours.predict(X), sklearns.predict(X), rtol=SAME)
    np.testing.assert_allclose(ours.score(X, y), sklearns.score(X, y), rtol=SAME)


@pytest.mark.only("numpy")
def test_prices_around_a_million_are_learned_at_the_default_rate():
    X, y = prices()
    plain, scaled = (MLPRegressor(random_state=0, standardise=each).fit(X, y) for each in (False, True))
    assert plain.score(X, y) < 0 < 0.6 < scaled.score(X, y)


def test_the_numbers_are_those_of_numpy_on_every_backend(xp, put, host):
    X, y = wine()
    model = MLPClassifier(**OPTIONS, standardise=True).fit(put(X), put(y))
    expected = MLPClassifier(**OPTIONS, standardise=True).fit(X, y)
    np.testing.assert_allclose(host(model.predict_proba(put(X))), expected.predict_proba(X), rtol=SAME)
    X, y = (each[:60] for each in prices())
    single = MLPRegressor(**OPTIONS, standardise=True).fit(put(X, xp.float32), put(y, xp.float32))
    assert all(each.dtype == xp.float32 for each in single.scaling_)
    expected = MLPRegressor(**OPTIONS, standardise=True).fit(X, y)
    # targets of 1e6 are 0.06 apart in float32, and their deviation is 1e5
    np.testing.assert_allclose(host(single.predict(put(X, xp.float32))), expected.predict(X), rtol=1e-4)


@pytest.mark.only("numpy")
def test_a_sparse_x_is_divided_and_not_centred():
    X = scipy.sparse.random(80, 6, 0.3, format="csr", random_state=0) @ scipy.sparse.diags(
        [1.0, 10.0, 1e3, 1.0, 1.0, 5.0]
    )
    X = scipy.sparse.csr_matrix(X)
    before, y = X.copy(), np.arange(80) % 2
    model = MLPClassifier(**OPTIONS, standardise=True).fit(X, y)
    assert abs(X - before).nnz == 0
    scaler = StandardScaler(with_mean=False).fit(X)
    sklearns = theirs.MLPClassifier(**OPTIONS).fit(scaler.transform(X), y)
    assert apart(model, sklearns) <= SAME
    np.testing.assert_allclose(model.predict_proba(X), sklearns.predict_proba(scaler.transform(X)), rtol=SAME)
    np.testing.assert_allclose(model.predict_proba(X.toarray()), model.predict_proba(X), rtol=SAME)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("sparse", [False, True])
def test_together_all_columns_have_one_mean_and_one_deviation(sparse):
    X, y = wine()
    few = np.median(X) > X
    X = np.where(few, 0.0, X)
    given = scipy.sparse.csr_matrix(X) if sparse else X
    model = MLPClassifier(**OPTIONS, standardise="together").fit(given, y)
    mean = 0.0 if sparse else X.mean()
    np.testing.assert_allclose(model.scaling_.X_mean, np.full(13, mean), rtol=1e-12)
    np.testing.assert_allclose(model.scaling_.X_scale, np.full(13, X.std()), rtol=1e-12)
    assert apart(model, theirs.MLPClassifier(**OPTIONS).fit((X - mean) / X.std(), y)) <= SAME


# --- where a scale is hard to say ------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_constant_columns_are_not_divided():
    X, y = iris()
    constant = [np.zeros(150), np.full(150, 3.7), np.full(150, 1e15 / 3.0), np.full(150, 1e-300)]
    model = MLPClassifier(**OPTIONS, standardise=True).fit(np.column_stack([X, *constant]), y)
    assert model.scaling_.X_scale[4:].tolist() == [1.0] * 4
    assert np.isfinite(model.predict_proba(np.column_stack([X, *constant]))).all()
    same = MLPRegressor(**OPTIONS, standardise=True).fit(X, np.full(150, 5.0))
    np.testing.assert_allclose(same.predict(X), 5.0, atol=2.0)
    assert same.scaling_.y_scale.tolist() == [1.0]


@pytest.mark.only("numpy")
def test_very_large_and_very_small_numbers_have_their_deviation():
    X, y = iris()
    factors = np.asarray([1e200, 1e-200, 1.0, 1e300])
    model, expected = (MLPClassifier(**OPTIONS, standardise=True).fit(each, y) for each in (X * factors, X))
    np.testing.assert_allclose(model.scaling_.X_scale, expected.scaling_.X_scale * factors, rtol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X * factors), expected.predict_proba(X), rtol=SAME)
    with pytest.raises(ValueError, match="X must have a deviation that float64 can hold to be standardised; scale it"):
        MLPClassifier(**OPTIONS, standardise=True).fit(np.where(np.arange(4) == 2, 1.7e308, X), y)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("options", [{"loss": "poisson"}, {"criterion": losses.poisson}])
def test_counts_stay_counts(options):
    X, _ = numbers()
    y = np.random.default_rng(0).poisson(np.exp(X[:, 0]))
    model = MLPRegressor(**{**OPTIONS, "max_iter": 100, "learning_rate_init": 0.02}, standardise=True, **options).fit(
        X, y
    )
    assert model.scaling_.y_mean is None
    if "loss" in options:
        assert model.predict(X).min() > 0
        assert model.score(X, y) > 0.3


def test_many_rows_with_a_large_mean_are_not_lost_in_float32(xp, put, host):
    n = 300_000
    t = np.random.default_rng(0).normal(size=n)
    X = np.stack([2000.0 + 10.0 * t, 1e6 + 100.0 * t, np.full(n, 0.1)], axis=1).astype(np.float32)
    weight = put(np.ones(n, dtype=np.float32))
    for each in (None, weight):
        scaling = learned_from([Dataset(put(X), put(X), each)], of_y=False, together=False)
        # in units of the deviation: a mean is as exact as float32 can have it, 6e-8 of 1e6, and a deviation is
        mean, scale = X.astype(float).mean(0), X.astype(float).std(0)
        np.testing.assert_allclose(host(scaling.X_mean), mean, rtol=2 * np.finfo(np.float32).eps)
        np.testing.assert_allclose(host(scaling.X_scale)[:2], scale[:2], rtol=1e-3)
        assert host(scaling.X_scale)[2] == 1.0


# --- with the rest of an estimator -----------------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_only_rows_that_are_learned_from_decide_the_scale():
    X, y = numbers()
    outlier, weight = X.copy(), np.ones(len(y))
    outlier[3], weight[3] = 1e9, 0.0
    expected = MLPRegressor(**OPTIONS, standardise=True).fit(np.delete(X, 3, 0), np.delete(y, 3))
    assert apart(MLPRegressor(**OPTIONS, standardise=True).fit(outlier, y, weight), expected) <= SAME
    judged = MLPRegressor(**OPTIONS, standardise=True).fit(X, y, eval_set=(X[:20] + 1e3, y[:20]))
    assert apart(judged, MLPRegressor(**OPTIONS, standardise=True).fit(X, y)) == 0.0


@pytest.mark.only("numpy")
def test_scores_of_validation_rows_are_in_the_units_of_y():
    X, y = prices()
    seen = []

    def error(truth, predicted):
        seen.append(truth)
        return mean_absolute_error(truth, predicted)

    options = {**OPTIONS, "early_stopping": True, "scoring": make_scorer(error, greater_is_better=False)}
    model = MLPRegressor(**options, standardise=True).fit(X, y)
    assert 1e4 < -model.validation_scores_[-1] < 1e6
    assert np.isin(np.round(seen[0], 3), np.round(y, 3)).all()
    held_out = MLPRegressor(**OPTIONS, standardise=True, scoring=options["scoring"]).fit(
        X, y, eval_set=(X[:50], y[:50])
    )
    np.testing.assert_allclose(
        held_out._history[-1].val_score, -mean_absolute_error(y[:50], held_out.predict(X[:50])), rtol=SAME
    )


@pytest.mark.only("numpy")
def test_later_calls_keep_the_scale_of_the_first(tmp_path):
    X, y = wine()
    model = MLPClassifier(**OPTIONS, standardise=True).partial_fit(X[::2], y[::2], classes=[0, 1, 2])
    scaling = StandardScaler().fit(X[::2])
    same = MLPClassifier(**OPTIONS).partial_fit(scaling.transform(X[::2]), y[::2], classes=[0, 1, 2])
    for rows in (slice(0, 50), slice(50, 178)):
        model.partial_fit(X[rows], y[rows])
        same.partial_fit(scaling.transform(X[rows]), y[rows])
    assert apart(model, same) <= SAME
    model.set_params(standardise=False, warm_start=True).fit(X, y)  # what was learned is in those units
    assert apart(model, same.set_params(warm_start=True).fit(scaling.transform(X), y)) <= SAME
    model.set_params(warm_start=False).fit(X, y)
    assert model.scaling_ is None


def test_a_saved_model_keeps_its_scale(xp, put, host, device, tmp_path):
    X, y = prices()
    X, y = put(X[:60]), put(y[:60])
    model = MLPRegressor(**OPTIONS, standardise=True).fit(X, y)
    model.save(tmp_path / "model.safetensors")
    again = MLPRegressor.load(tmp_path / "model.safetensors", xp=xp, device=device)
    np.testing.assert_array_equal(host(again.predict(X)), host(model.predict(X)))
    np.testing.assert_array_equal(host(again.partial_fit(X, y).predict(X)), host(model.partial_fit(X, y).predict(X)))


@pytest.mark.only("numpy")
def test_a_checkpoint_goes_on_with_the_same_scale(tmp_path):
    X, y = wine()
    options, path = {**OPTIONS, "standardise": True}, tmp_path / "state"
    MLPClassifier(**{**options, "max_iter": 2}).fit(X, y, checkpoint=path)
    resumed = MLPClassifier(**options).fit(X, y, checkpoint=path, resume=True)
    assert apart(resumed, MLPClassifier(**options).fit(X, y)) == 0.0


@pytest.mark.only("numpy")
def test_no_second_user_of_the_data_sees_them_scaled():
    X, y = prices()
    X0, y0 = X.copy(), y.copy()
    model = MLPRegressor(**OPTIONS, standardise=True, check_gradients=True).fit(X, y)
    np.testing.assert_array_equal(X, X0)
    np.testing.assert_array_equal(y, y0)
    assert model.gradient_report_.ok
    assert math.isfinite(model.loss_)


@pytest.mark.only("torch")
def test_a_model_moves_with_its_scale(put):
    X, y = (put(each) for each in two_numbers())
    model = MLPRegressor(**OPTIONS, standardise=True).fit(X, y).to("meta")
    assert {each.device.type for each in model.scaling_} == {"meta"}


# --- columns of categories -------------------------------------------------------------------------------------------


def categories(n=90):
    """Two columns of 0 and 1, one of numbers, one of 0, 1 and 2, and one that is 1 in all rows."""
    random = np.random.default_rng(3)
    X = random.integers(0, 2, (n, 2)), 5.0 + random.normal(size=(n, 1)), np.arange(n)[:, None] % 3, np.ones((n, 1))
    return np.concatenate(X, axis=1), np.arange(n) % 2


@pytest.mark.only("numpy")
@pytest.mark.parametrize("sparse", [False, True])
def test_columns_of_0_and_1_stay_as_they_are(sparse):
    X, y = categories()
    weight = 1.0 + np.arange(len(y)) % 3
    given = scipy.sparse.csr_matrix(X) if sparse else X
    ours = MLPClassifier(**OPTIONS, standardise=True).fit(given, y, weight)
    scaler = ColumnTransformer(
        [("kept", "passthrough", [0, 1]), ("scaled", StandardScaler(with_mean=not sparse), [2, 3]),
         ("ones", "passthrough", [4])]
    )  # fmt: skip
    # scikit-learn hands no weights through a ColumnTransformer: a row comes as often as it weighs
    scaler.fit(np.repeat(X, weight.astype(int), axis=0))
    assert apart(ours, theirs.MLPClassifier(**OPTIONS).fit(scaler.transform(X), y, weight)) <= SAME
    np.testing.assert_array_equal(ours.scaling_.X_scale[[0, 1, 4]], 1.0)


def test_whether_a_column_is_one_of_categories_is_decided_over_all_parts(put, host):
    X, _ = categories()
    low = X.copy()
    low[-1, 0] = 0.5  # one number in the last part
    parts = [Dataset(put(low[rows]), put(np.zeros(30))) for rows in (slice(30), slice(30, 60), slice(60, 90))]
    scaling = learned_from(parts, of_y=False, together=False)
    np.testing.assert_allclose(host(scaling.X_mean)[[0, 2, 3]], low.mean(0)[[0, 2, 3]], rtol=1e-14)
    np.testing.assert_allclose(host(scaling.X_scale)[[0, 2, 3]], low.std(0)[[0, 2, 3]], rtol=1e-13)
    assert host(scaling.X_mean)[[1, 4]].tolist() == [0.0, 0.0]
    assert host(scaling.X_scale)[[1, 4]].tolist() == [1.0, 1.0]


@pytest.mark.only("numpy")
def test_targets_of_0_and_1_are_numbers_and_together_has_one_scale():
    X, y = categories()
    model = MLPRegressor(**OPTIONS, standardise=True).fit(X, y)
    np.testing.assert_allclose((model.scaling_.y_mean[0], model.scaling_.y_scale[0]), (0.5, 0.5), rtol=1e-12)
    together = MLPClassifier(**OPTIONS, standardise="together").fit(X, y).scaling_
    np.testing.assert_allclose(together.X_scale, np.full(5, X.std()), rtol=1e-12)
