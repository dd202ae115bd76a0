"""What comes into an estimator: arrays of any library, sparse matrices, weights, and what is refused."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import scipy.sparse
from estimator_problems import SAME, apart, iris
from sklearn.exceptions import NotFittedError

from mlp_xp._lib.namespace import namespace
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


# --- tensors with a past ---------------------------------------------------------------------------------------------


def with_a_past(kind, tensor):
    """A tensor of PyTorch that autograd follows."""
    import torch

    if kind == "an encoder's output":
        return torch.tanh(tensor @ torch.eye(tensor.shape[-1]).to(tensor).requires_grad_())
    return torch.nn.Parameter(tensor) if kind == "a parameter" else tensor.requires_grad_()


def alike(one, other):
    return all(
        bool((a == b).all())
        for a, b in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    )


@pytest.mark.only("torch")
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("kind", ["an encoder's output", "a parameter", "a leaf"])
@pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor])
def test_what_is_learned_from_a_tensor_with_a_past_has_none(put, tmp_path, make, kind, solver):
    X, labels = iris()
    weight = with_a_past("a parameter", put(np.linspace(0.5, 1.5, 150)))
    y = put(labels) if make is MLPClassifier else with_a_past(kind, put(X[:, :2]))
    X = with_a_past(kind, put(X))
    options = {"max_iter": 3, "random_state": 0, "solver": solver}
    rows = {} if solver == "lbfgs" else {"eval_set": (X, y)}
    model = make(**options).fit(X, y, weight, **rows)
    plain = make(**options).fit(X.detach(), y.detach(), weight.detach())
    assert alike(model, plain)
    if solver != "lbfgs":
        model.partial_fit(X, y, weight)
    assert not any(a.requires_grad for a in (*model.coefs_, *model.intercepts_, *(model._state or ())))
    assert alike(copy.deepcopy(model), model)
    assert alike(pickle.loads(pickle.dumps(model)), model)
    model.save(tmp_path / "model")
    assert make.load(tmp_path / "model", xp=namespace(X)).n_iter_ == model.n_iter_
    assert math.isfinite(model.score(X, y, weight))
    assert model.predict(X).shape[0] == 150


@pytest.mark.only("torch")
def test_the_validation_score_of_tensors_with_a_past_is_that_of_plain_ones(put):
    X, y = iris()
    options = {"max_iter": 3, "random_state": 0, "early_stopping": True, "scoring": "neg_log_loss"}
    model = MLPClassifier(**options).fit(with_a_past("a leaf", put(X)), put(y))
    assert model.validation_scores_ == MLPClassifier(**options).fit(put(X), put(y)).validation_scores_


@pytest.mark.only("torch")
def test_predictions_stay_differentiable_in_x(put, host):
    X, _ = iris()
    target = X[:, 0] - 2.0 * X[:, 1]
    model = MLPRegressor(hidden_layer_sizes=8, activation="tanh")
    model.set_params(max_iter=3, random_state=0).fit(put(X), put(target))
    rows = with_a_past("a leaf", put(X[:5]))
    model.predict(rows).sum().backward()
    step = 1e-6  # error of the central difference: step^2 and 1e-16 / step, both below 1e-9
    for column in range(4):
        shift = step * np.eye(4)[column]
        slope = (model.predict(put(X[:5] + shift)) - model.predict(put(X[:5] - shift))) / (2 * step)
        np.testing.assert_allclose(host(rows.grad[:, column]), host(slope), atol=1e-8)


# --- weights at the edges of a dtype ---------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_rows_whose_weight_is_0_in_the_dtype_of_x_are_left_out(xp, put, host, solver):
    X, y = iris()
    weight = np.where(np.arange(150) % 3 == 0, 1e-60, 1.0)  # float32 has no number between 0 and 1e-45
    options = {"max_iter": 5, "random_state": 0, "solver": solver}
    ours = MLPClassifier(**options).fit(put(X, xp.float32), put(y), put(weight))
    kept = weight == 1.0
    without = MLPClassifier(**options).fit(put(X[kept], xp.float32), put(y[kept]), put(weight[kept]))
    np.testing.assert_array_equal(host(ours.coefs_[0]), host(without.coefs_[0]))


@pytest.mark.only("torch", "jax")
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_targets_and_weights_in_a_dtype_that_numpy_lacks_are_learned_from(xp, put, host, kind):
    X, y = iris()
    y, weight = np.asarray(y > 0, dtype=float), 1.0 + np.asarray(y, dtype=float)  # exact in 8 bits
    options = {"max_iter": 3, "random_state": 0}

    def fitted(dtype):
        targets, weights = put(y, dtype), put(weight, dtype)
        model = kind(**options).fit(put(X), targets, weights, eval_set=(put(X), targets))
        return model, model.score(put(X), targets, weights)

    (model, score), (expected, same) = fitted(xp.bfloat16), fitted(xp.float64)
    assert score == same
    assert all(np.array_equal(host(a), host(b)) for a, b in zip(model.coefs_, expected.coefs_, strict=True))
