"""What comes into an estimator: arrays of any library, sparse matrices, weights, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse
from estimator_problems import SAME, apart, iris
from sklearn.exceptions import NotFittedError

from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.only("numpy")
def test_a_sparse_matrix_gives_the_network_of_its_dense_form():
    X, y = iris()
    X = np.where(X > 0.5, X, 0.0)
    weight = np.random.default_rng(0).uniform(0.2, 2.0, len(X))
    for options in ({}, {"early_stopping": True}, {"solver": "lbfgs"}, {"shuffle": False}):
        options = {"max_iter": 5, "random_state": 1, "batch_size": 40, **options}
        dense = MLPClassifier(**options).fit(X, y, weight)
        for kind in (scipy.sparse.csr_matrix, scipy.sparse.csc_array):
            sparse = MLPClassifier(**options).fit(kind(X), y, weight)
            assert apart(sparse, dense) <= SAME
            np.testing.assert_allclose(sparse.predict_proba(kind(X)), dense.predict_proba(X), rtol=1e-9)


def test_targets_and_weights_follow_x(xp, put, host):
    X, y = iris()
    weight = np.random.default_rng(0).uniform(0.2, 2.0, len(X))
    model = MLPClassifier(max_iter=3, random_state=0).fit(put(X), y, sample_weight=weight)
    expected = MLPClassifier(max_iter=3, random_state=0).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(host(model.coefs_[0]), expected.coefs_[0], rtol=1e-9, atol=1e-12)
    names = np.asarray(["setosa", "versicolor", "virginica"])[y]
    options = {"max_iter": 40, "learning_rate_init": 0.01, "random_state": 0}
    model = MLPClassifier(**options).fit(put(X), names)
    predicted = model.predict(put(X))
    assert isinstance(predicted, np.ndarray)
    np.testing.assert_array_equal(predicted, MLPClassifier(**options).fit(X, names).predict(X))
    assert model.score(put(X), names) == np.mean(predicted == names) > 0.9  # a constant scores a third


def test_float32_stays_float32(xp, put):
    X, y = iris()
    model = MLPClassifier(max_iter=2, random_state=0, early_stopping=True).fit(put(X, xp.float32), put(y))
    assert all(a.dtype == xp.float32 for a in (*model.coefs_, *model.intercepts_))
    assert model.predict_proba(put(X, xp.float32)).dtype == xp.float32
    whole = MLPClassifier(max_iter=2, random_state=0).fit(put(np.round(X).astype(np.int64)), put(y))
    assert xp.isdtype(whole.coefs_[0].dtype, "real floating")


@pytest.mark.only("torch", "jax", "dask", "array_api_strict")
def test_arrays_of_another_library_than_in_fit_are_refused(put):
    X, y = iris()
    fitted = MLPClassifier(max_iter=2).fit(put(X), put(y))
    with pytest.raises(ValueError, match=r"MLPClassifier.predict\(\) must use the same namespace and the same device"):
        fitted.predict(X)
    with pytest.raises(ValueError, match="must use the same namespace"):
        MLPClassifier(max_iter=2).fit(X, y).predict_proba(put(X))


BAD_X = {
    "NaN": (lambda X: X * math.nan, "Input X contains NaN"),
    "infinity": (lambda X: X * math.inf, "Input X contains (NaN or )?infinity"),
    "one row too short": (lambda X: X[:100, :], "inconsistent numbers of samples"),
    "one axis": (lambda X: X[:, 0], "Expected 2D array, got 1D array instead"),
    "no rows": (lambda X: X[:0, :], r"0 sample\(s\)"),
    "no columns": (lambda X: X[:, :0], r"0 feature\(s\)"),
}


@pytest.mark.parametrize("name", BAD_X)
def test_bad_input_is_refused_as_scikit_learn_refuses_it(put, name):
    spoil, sentence = BAD_X[name]
    X, y = iris()
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=sentence):
        MLPClassifier(max_iter=2).fit(spoil(put(X)), put(y))
    fitted = MLPClassifier(max_iter=2).fit(put(X), put(y))
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 4 features as input"):
        fitted.predict(put(X)[:, :3])


@pytest.mark.only("numpy")
def test_bad_targets_and_weights_are_refused_in_one_sentence():
    X, y = iris()
    for wrong, sentence in (
        (None, "requires y to be passed, but the target y is None"),
        (X[:, 0], "Unknown label type"),
        (y[:10], "inconsistent numbers of samples"),
    ):
        with pytest.raises(ValueError, match=sentence):
            MLPClassifier(max_iter=2).fit(X, wrong)
    for weight, sentence in (
        (-np.ones(150), "must not be negative, got -1"),
        (np.zeros(150), "must not be zero for every sample"),
        (np.ones(3), r"sample_weight.shape == \(3,\), expected \(150,\)"),
    ):
        with pytest.raises(ValueError, match=sentence):
            MLPClassifier(max_iter=2).fit(X, y, weight)
    with pytest.raises(ValueError, match="y must hold numbers, got dtype <U"):
        MLPRegressor(max_iter=2).fit(X, y.astype(str))
    with pytest.raises(ValueError, match=r"Classes with too few members are: \['rare'\]"):
        MLPClassifier(early_stopping=True).fit(X[:4], ["a", "a", "a", "rare"])
    with pytest.raises(ValueError, match="eval_set needs a stochastic solver"):
        MLPClassifier(solver="lbfgs").fit(X, y, eval_set=(X, y))
    several = np.eye(int(y.max()) + 1, dtype=int)[y]
    with pytest.raises(ValueError, match=r"y must be one class for each sample, .* got multilabel-indicator"):
        MLPClassifier(max_iter=1).fit(X, y, eval_set=(X, several))
    with pytest.raises(ValueError, match=r"y must be 0 and 1 for each label, .* got multiclass"):
        MLPClassifier(max_iter=1).fit(X, several, eval_set=(X, y))
    with pytest.raises(NotFittedError):
        MLPClassifier().predict(X)
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPClassifier(solver="lbfgs").partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        MLPClassifier(early_stopping=True).partial_fit(X, y, classes=[0, 1, 2])
    fitted = MLPClassifier(max_iter=2, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="same classes as in the previous call"):
        fitted.fit(X[:100], y[:100])
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        MLPClassifier().partial_fit(X[:100], y[:100], classes=[0, 1]).partial_fit(X, y)


@pytest.mark.only("numpy")
def test_a_sample_of_weight_zero_is_left_out():
    X, y = iris()
    weight = np.where(np.arange(150) % 3 == 0, 0.0, 1.0)
    without = MLPClassifier(max_iter=5, random_state=0).fit(X[weight > 0], y[weight > 0], np.ones(100))
    assert apart(MLPClassifier(max_iter=5, random_state=0).fit(X, y, weight), without) <= SAME
