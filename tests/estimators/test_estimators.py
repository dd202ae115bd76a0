"""The estimators against scikit-learn's own, on every backend, and what scikit-learn does not have."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import textbook
from array_api_compat import array_namespace
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import mlp_xp as mx
from mlp_xp import schedules
from mlp_xp.estimators import MLPClassifier, MLPRegressor, load

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# From the same start and the same batches only the order of a few roundings differs, and a few dozen steps carry it on.
SAME = 1e-9


def standardised(X):
    return (X - X.mean(0)) / X.std(0)


def iris():
    X, y = load_iris(return_X_y=True)
    return standardised(X), y


def two_classes():
    X, y = iris()
    return X[:100], y[:100]


def several_labels():
    X, y = make_multilabel_classification(80, 6, n_classes=3, random_state=0)
    return standardised(X), y


def numbers():
    X, y = load_diabetes(return_X_y=True)
    return standardised(X)[:150], y[:150] / 100.0


def two_numbers():
    X, y = numbers()
    return X, np.stack([y, np.sqrt(y)], axis=1)


def apart(ours, sklearns):
    return max(
        float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
        for a, b in zip(ours.coefs_ + ours.intercepts_, sklearns.coefs_ + sklearns.intercepts_, strict=True)
    )


SETTINGS = {
    "the defaults": {},
    "two layers of tanh": {"hidden_layer_sizes": (7, 5), "activation": "tanh"},
    "logistic, whose initial values are smaller": {"activation": "logistic"},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "identity": {"activation": "identity", "hidden_layer_sizes": 6},
    "small batches, the last one smaller": {"batch_size": 32},
    "no shuffling": {"shuffle": False, "batch_size": 32},
    "much penalty": {"alpha": 10.0, "batch_size": 32},
    "other constants of Adam": {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    "SGD": {"solver": "sgd"},
    "SGD, momentum without Nesterov": {"solver": "sgd", "nesterovs_momentum": False},
    "SGD without momentum": {"solver": "sgd", "momentum": 0.0},
    "SGD, invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.05, "power_t": 0.2},
    "SGD, adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.03, "max_iter": 40},
    "converged": {"tol": 0.1, "n_iter_no_change": 2, "max_iter": 60},
    "stopped early": {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 40, "validation_fraction": 0.2},
    "stopped early, SGD, adaptive": {
        "early_stopping": True, "solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "max_iter": 30,
    },
    "L-BFGS": {"solver": "lbfgs", "max_iter": 12, "alpha": 0.1},
}  # fmt: skip


# with several outputs scikit-learn gives L-BFGS the mean over them as the function and the gradient of their sum
TRAJECTORIES = [
    (problem, setting)
    for problem in (iris, two_classes, several_labels, numbers, two_numbers)
    for setting in SETTINGS
    if (problem, setting) != (two_numbers, "L-BFGS")
]


def assert_same(ours, sklearns, X):
    assert apart(ours, sklearns) <= SAME
    assert ours.n_iter_ == sklearns.n_iter_
    assert ours.n_layers_ == sklearns.n_layers_
    assert ours.n_outputs_ == sklearns.n_outputs_
    assert ours.out_activation_ == sklearns.out_activation_
    assert ours.n_features_in_ == sklearns.n_features_in_
    np.testing.assert_allclose(ours.loss_, sklearns.loss_, rtol=SAME)
    if ours.solver != "lbfgs":
        assert ours.t_ == sklearns.t_
        np.testing.assert_allclose(ours.loss_curve_, sklearns.loss_curve_, rtol=SAME)
        for name in ("best_loss_", "best_validation_score_", "validation_scores_"):
            mine, its = getattr(ours, name), getattr(sklearns, name)
            assert (mine is None) == (its is None), name
            if its is not None:
                np.testing.assert_allclose(mine, its, rtol=SAME, err_msg=name)
    np.testing.assert_allclose(ours.predict(X), sklearns.predict(X), rtol=SAME)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("problem", "setting"), TRAJECTORIES)
def test_the_trajectory_is_scikit_learns(problem, setting, weighted):
    X, y = problem()
    options = {"max_iter": 12, "random_state": 5, **SETTINGS[setting]}
    weight = np.random.default_rng(0).uniform(0.2, 2.0, len(X)) if weighted else None
    kind = "MLPRegressor" if y.dtype.kind == "f" else "MLPClassifier"
    sklearns = getattr(theirs, kind)(**options).fit(X, y, sample_weight=weight)
    ours = {"MLPRegressor": MLPRegressor, "MLPClassifier": MLPClassifier}[kind](**options)
    ours.fit(X, y, sample_weight=weight)
    assert_same(ours, sklearns, X)
    if kind == "MLPClassifier":
        np.testing.assert_allclose(ours.predict_proba(X), sklearns.predict_proba(X), rtol=1e-6, atol=1e-12)
        np.testing.assert_array_equal(ours.classes_, sklearns.classes_)


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
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
def test_partial_fit_and_warm_start_go_on_as_scikit_learns_do(solver, schedule):
    X, y = iris()
    options = {"solver": solver, "learning_rate": schedule, "random_state": 5, "max_iter": 4, "n_iter_no_change": 1}
    ours, sklearns = MLPClassifier(**options, tol=0.05), theirs.MLPClassifier(**options, tol=0.05)
    for rows in (slice(0, 80), slice(40, 150), slice(0, 150), slice(0, 150)):
        for model in (ours, sklearns):
            model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        assert_same(ours, sklearns, X)
    ours, sklearns = MLPClassifier(**options, warm_start=True), theirs.MLPClassifier(**options, warm_start=True)
    for _ in range(3):
        assert_same(ours.fit(X, y), sklearns.fit(X, y), X)


@pytest.mark.only("numpy")
def test_a_sparse_matrix_is_what_it_is_when_dense():
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


# --- scikit-learn's contract -----------------------------------------------------------------------------------------

CHECKS = """
import sys, warnings
warnings.simplefilter("ignore")
from sklearn.utils.estimator_checks import check_estimator
from mlp_xp.estimators import MLPClassifier, MLPRegressor, load
bad, passed, arrays = [], 0, 0
for estimator in (MLPClassifier(max_iter=100), MLPRegressor(max_iter=100), MLPRegressor(max_iter=100, solver="lbfgs")):
    for result in check_estimator(estimator, on_fail=None, on_skip=None):
        passed += result["status"] == "passed"
        arrays += result["status"] == "passed" and "array_api" in result["check_name"]
        if result["status"] in ("failed", "xfail"):
            bad.append((type(estimator).__name__, result["check_name"], repr(result["exception"])[:300]))
print(f"{passed} passed, of these {arrays} with other arrays, {len(bad)} failed", *bad, sep="\\n")
sys.exit(bool(bad) or passed < 100)
"""


@pytest.mark.only("numpy", "torch")
def test_check_estimator_passes_with_nothing_expected_to_fail(backend):
    """Scikit-learn's own array API checks are among them: on array-api-strict, and on torch in its session."""
    # to look at what came, its array API checks call numpy.from_dlpack as it is since NumPy 2.1
    whole = np.lib.NumpyVersion(np.__version__) >= "2.1.0"
    environment = {**os.environ, **({"SCIPY_ARRAY_API": "1"} if whole else {})}
    done = subprocess.run([sys.executable, "-c", CHECKS], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    arrays = int(done.stdout.split("of these ")[1].split()[0])
    assert arrays >= ((3 if backend == "torch" else 1) if whole else 0), done.stdout


@pytest.mark.only("numpy")
def test_parameters_are_scikit_learns_and_then_some():
    for ours, sklearns in ((MLPClassifier, theirs.MLPClassifier), (MLPRegressor, theirs.MLPRegressor)):
        mine, its = ours().get_params(), sklearns().get_params()
        assert {name: mine[name] for name in its} == its
        assert set(mine) > set(its)


@pytest.mark.only("numpy")
def test_attributes_are_scikit_learns_and_then_some():
    X, y = iris()
    for options in ({}, {"solver": "lbfgs"}, {"early_stopping": True}):
        attributes = vars(theirs.MLPClassifier(max_iter=2, **options).fit(X, y))
        public = {name for name in attributes if name.endswith("_") and not name.startswith("_")}
        assert public <= set(vars(MLPClassifier(max_iter=2, **options).fit(X, y)))


@pytest.mark.only("numpy")
def test_it_behaves_in_pipelines_and_searches():
    import sklearn
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = load_iris(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), MLPClassifier(max_iter=60, random_state=0))
    assert cross_val_score(model, X, y, cv=3).mean() > 0.85
    search = GridSearchCV(model, {"mlpclassifier__alpha": [1e-4, 1.0]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.7
    assert list(search.best_estimator_[-1].feature_names_in_) == list(X.columns)
    copy = clone(MLPClassifier(dropout=0.25, activation=["relu", "tanh"]))
    assert (copy.dropout, copy.activation) == (0.25, ["relu", "tanh"])
    X = X.to_numpy()
    fitted = MLPClassifier(max_iter=5, random_state=0).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))
    again = pickle.loads(pickle.dumps(fitted.partial_fit(X, y))).partial_fit(X, y)
    assert again.t_ == fitted.t_ + 150
    with sklearn.config_context(enable_metadata_routing=True):
        routed = (
            MLPClassifier(max_iter=3, random_state=0)
            .set_fit_request(sample_weight=True)
            .set_score_request(sample_weight=True)
        )
        search = GridSearchCV(routed, {"alpha": [1.0]}, cv=2).fit(X, y, sample_weight=np.ones(len(y)))
        assert search.best_score_ > 0.0


# --- any array -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "numbers"])
def test_every_library_gives_the_network_that_numpy_gives(xp, put, host, kind, solver):
    problem = {"classes": iris, "two classes": two_classes, "labels": several_labels, "numbers": numbers}[kind]
    X, y = problem()
    options = {"max_iter": 3, "solver": solver, "hidden_layer_sizes": (8,), "random_state": 2, "alpha": 0.1}
    if solver == "adam":
        options |= {"early_stopping": True, "dropout": 0.2}
    make = MLPRegressor if kind == "numbers" else MLPClassifier
    ours, on_host = make(**options).fit(put(X), put(y)), make(**options).fit(X, y)
    for a, b in zip(ours.coefs_ + ours.intercepts_, on_host.coefs_ + on_host.intercepts_, strict=True):
        assert array_namespace(a) is xp
        np.testing.assert_allclose(host(a), b, rtol=1e-9, atol=1e-12)
    for method in ("predict", "predict_proba", "predict_log_proba") if make is MLPClassifier else ("predict",):
        result = getattr(ours, method)(put(X))
        assert array_namespace(result) is xp
        np.testing.assert_allclose(host(result), getattr(on_host, method)(X), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(ours.score(put(X), put(y)), on_host.score(X, y), rtol=1e-9)


def test_targets_and_weights_follow_x(xp, put, host):
    X, y = iris()
    weight = np.random.default_rng(0).uniform(0.2, 2.0, len(X))
    model = MLPClassifier(max_iter=3, random_state=0).fit(put(X), y, sample_weight=weight)
    expected = MLPClassifier(max_iter=3, random_state=0).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(host(model.coefs_[0]), expected.coefs_[0], rtol=1e-9, atol=1e-12)
    names = np.asarray(["setosa", "versicolor", "virginica"])[y]
    model = MLPClassifier(max_iter=3, random_state=0).fit(put(X), names)
    predicted = model.predict(put(X))
    assert isinstance(predicted, np.ndarray)
    assert set(predicted) <= set(names)
    assert model.score(put(X), names) > 0.2


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
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden_layer_sizes": -1}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes must be > 0, got"),
        ({"hidden_layer_sizes": (2.5,)}, r"hidden_layer_sizes must be whole numbers, got \[2.5\]"),
        ({"class_weight": {0: -1.0, 1: 1.0, 2: 1.0}}, "class_weight must not be negative, got -1"),
        ({"activation": "rellu"}, "activation"),
        ({"solver": "newton"}, "solver"),
        ({"dropout": 1.0}, "dropout"),
        ({"learning_rate": "cosin"}, "learning_rate"),
        ({"alpha": -1}, "alpha"),
        ({"solver": "lbfgs", "dropout": 0.5}, "dropout needs a stochastic solver"),
        ({"activation": ["relu", "tanh"]}, "one per hidden layer"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "validation set is too small|test_size"),
    ],
)
def test_bad_parameters_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        MLPClassifier(max_iter=2, **options).fit(*iris())


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
def test_solver_and_early_stopping_may_change_between_fits():
    X, y = iris()
    model = MLPClassifier(max_iter=2, warm_start=True, random_state=0, solver="lbfgs").fit(X, y)
    model.set_params(solver="adam").fit(X, y)
    assert len(model.loss_curve_) == 2
    model.set_params(early_stopping=True).fit(X, y)
    assert len(model.validation_scores_) == 2
    model.set_params(early_stopping=False).fit(X, y)
    model.set_params(solver="sgd").partial_fit(X, y)  # which begins with a state of its own
    alike = MLPClassifier(max_iter=2, random_state=0, solver="sgd", warm_start=True).fit(X, y)
    assert len(model._state) == len(alike._state)


@pytest.mark.only("numpy")
def test_a_run_that_diverges_while_it_is_scores_restores_the_best():
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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint64])
def test_unsigned_labels_come_back(put, host, dtype):
    X, y = iris()
    model = MLPClassifier(max_iter=20, learning_rate_init=0.01, random_state=0).fit(put(X), y.astype(dtype))
    predicted = host(model.predict(put(X)))
    assert predicted.dtype.kind in "iu"
    assert np.mean(predicted == y) == model.score(put(X), y) > 0.8


def test_labels_that_were_sparse_come_back_sparse_on_the_host(put, backend, tmp_path):
    X, y = several_labels()
    sparse = scipy.sparse.csr_matrix(y)
    model = MLPClassifier(max_iter=2, random_state=0).fit(put(X), sparse)
    alike = MLPClassifier(max_iter=2, random_state=0).fit(put(X), y)
    assert model.score(put(X), y) == alike.score(put(X), y)
    if backend == "numpy":
        model.save(tmp_path / "model")
        sklearns = theirs.MLPClassifier(max_iter=2, random_state=0).fit(X, sparse).predict(X)
        for predicted in (model.predict(X), load(tmp_path / "model").predict(X)):
            assert type(predicted) is type(sklearns)
            np.testing.assert_array_equal(predicted.toarray(), sklearns.toarray())


@pytest.mark.only("numpy")
def test_a_sample_of_no_weight_is_none():
    X, y = iris()
    weight = np.where(np.arange(150) % 3 == 0, 0.0, 1.0)
    without = MLPClassifier(max_iter=5, random_state=0).fit(X[weight > 0], y[weight > 0], np.ones(100))
    assert apart(MLPClassifier(max_iter=5, random_state=0).fit(X, y, weight), without) <= SAME


# --- what scikit-learn does not have ---------------------------------------------------------------------------------


def test_class_weights_are_sample_weights(put, host):
    X, y = iris()
    by_class = {0: 1.0, 1: 3.0, 2: 0.5}
    options = {"max_iter": 3, "random_state": 0}
    ours = MLPClassifier(class_weight=by_class, **options).fit(put(X), put(y))
    same = MLPClassifier(**options).fit(X, y, sample_weight=np.vectorize(by_class.get)(y))
    np.testing.assert_allclose(host(ours.coefs_[0]), same.coefs_[0], rtol=1e-9, atol=1e-12)
    lopsided = np.concatenate([np.arange(50, 100), np.arange(100, 105)])
    shares = []
    for class_weight in ("balanced", None):
        model = MLPClassifier(class_weight=class_weight, max_iter=150, random_state=0).fit(X[lopsided], y[lopsided])
        shares.append(np.mean(model.predict(X[lopsided]) == 2))
    assert shares[0] > shares[1]


@pytest.mark.only("numpy")
def test_smoothed_and_soft_targets_are_the_same_thing():
    X, y = iris()
    options = {"max_iter": 5, "random_state": 0}
    smooth = MLPClassifier(label_smoothing=0.3, **options).fit(X, y)
    soft = MLPClassifier(**options).fit(X, 0.7 * np.eye(3)[y] + 0.1)
    assert apart(soft, smooth) <= SAME
    np.testing.assert_array_equal(soft.classes_, [0, 1, 2])
    np.testing.assert_array_equal(soft.predict(X), smooth.predict(X))
    X, y = two_classes()
    binary = MLPClassifier(label_smoothing=0.2, max_iter=400, learning_rate_init=0.01, random_state=0).fit(X, y)
    assert 0.02 < binary.predict_proba(X).min() < 0.15  # it is asked to be nine tenths sure


def test_any_activation_or_one_per_layer(put, backend):
    X, y = iris()
    for activation in ("gelu", ["silu", "softplus"], mx.ops.elu, [mx.ops.leaky_relu, "tanh"]):
        layers = {"hidden_layer_sizes": (3, 2) if isinstance(activation, list) else (3,), "activation": activation}
        checked = backend != "dask"  # thousands of evaluations of tiny graphs; the next test has its share
        model = MLPClassifier(**layers, max_iter=2, random_state=0, check_gradients=checked).fit(put(X), put(y))
        assert not checked or model.gradient_report_.ok, model.gradient_report_


def test_wrong_gradients_are_found_before_training(put):
    def careless(z):
        value, _ = mx.ops.tanh(z)
        return value, lambda dy: (dy,)  # the derivative is omitted

    with pytest.raises(ValueError, match="the gradients of this network are wrong, nothing was trained"):
        MLPClassifier(2, careless, max_iter=2, check_gradients=True).fit(*map(put, iris()))


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


def test_a_validation_set_of_ones_own_gives_curves(put):
    X, y = iris()
    model = MLPClassifier(max_iter=6, random_state=0).fit(
        put(X[::2]), put(y[::2]), eval_set=(put(X[1::2]), put(y[1::2]))
    )
    assert len(model.validation_losses_) == 6
    assert model.validation_losses_[-1] < model.validation_losses_[0]
    model.set_params(early_stopping=True, scoring="neg_log_loss", max_iter=4)
    model.fit(X[::2], y[::2], eval_set=(X[1::2], y[1::2]))
    np.testing.assert_allclose(model.validation_scores_, [-loss for loss in model.validation_losses_], rtol=1e-12)


def test_a_validation_set_takes_the_dtype_of_x_and_may_lack_classes(xp, put):
    X, y = iris()
    model = MLPClassifier(max_iter=2, random_state=0, warm_start=True)
    for _ in range(2):
        model.fit(put(X, xp.float32), put(y), eval_set=(put(X[:50]), put(y[:50])))
    assert len(model.validation_losses_) == 4


@pytest.mark.only("numpy")
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("problem", [iris, two_classes, several_labels])
def test_a_scorer_is_given_labels_whatever_the_targets_are(problem, label_smoothing):
    X, y = problem()
    options = {"max_iter": 3, "random_state": 0, "early_stopping": True, "label_smoothing": label_smoothing}
    by_name = MLPClassifier(scoring="accuracy", **options).fit(X, y)
    assert by_name.validation_scores_ == MLPClassifier(**options).fit(X, y).validation_scores_
    if problem is iris:
        soft = 0.9 * np.eye(3)[y] + 0.1 / 3
        for learned, judged in ((soft, y), (y, soft)):
            model = MLPClassifier(**options).fit(X, learned, eval_set=(X, judged))
            again = MLPClassifier(scoring="accuracy", **options).fit(X, learned, eval_set=(X, judged))
            assert model.validation_scores_ == again.validation_scores_
        by_name = MLPClassifier(scoring="accuracy", **options).fit(X, soft)
        assert by_name.validation_scores_ == MLPClassifier(**options).fit(X, soft).validation_scores_


@pytest.mark.only("numpy")
def test_losses_of_training_and_validation_are_on_one_scale():
    for X, y in (numbers(), two_numbers(), iris(), several_labels()):
        make = MLPRegressor if y.dtype.kind == "f" else MLPClassifier
        model = make(solver="sgd", learning_rate_init=1e-12, max_iter=1, alpha=0.0).fit(X, y, eval_set=(X, y))
        np.testing.assert_allclose(model.validation_losses_, model.loss_curve_, rtol=1e-6)  # a step of 1e-12 apart


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    "options",
    [
        {"solver": "adamw", "weight_decay": 0.1},
        {"solver": "rmsprop"},
        {"learning_rate": "cosine", "warmup_steps": 5},
        {"learning_rate": schedules.step_decay(0.01, 30)},
        {"clip_norm": 0.1},
        {"dropout": 0.3},
    ],
)
def test_what_else_there_is_learns(options):
    X, y = iris()
    options = {"learning_rate_init": 0.01, **options}
    model = MLPClassifier(max_iter=60, random_state=0, **options).fit(X, y)
    assert model.score(X, y) > 0.9
    again = MLPClassifier(max_iter=60, random_state=0, **options).fit(X, y)
    assert apart(model, again) == 0.0


@pytest.mark.only("numpy")
def test_ctrl_c_keeps_what_was_learned():
    X, y = iris()
    calls = 0

    def interrupted(z):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return mx.ops.relu(z)

    model = MLPClassifier(activation=interrupted, batch_size=50, max_iter=100, random_state=0)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, y)
    assert model.n_iter_ == 2
    stopped = [coef.copy() for coef in model.coefs_]
    at_epoch_2 = MLPClassifier(activation="relu", batch_size=50, max_iter=2, random_state=0).fit(X, y)
    assert not np.array_equal(stopped[0], at_epoch_2.coefs_[0])  # one step further
    assert model.score(X, y) > 0.0


@pytest.mark.only("numpy")
def test_a_loss_that_overflows_names_the_step_and_keeps_good_parameters():
    X, y = numbers()
    model = MLPRegressor(solver="sgd", learning_rate_init=1e6, max_iter=50, random_state=0)
    with pytest.raises(
        ValueError, match="non-finite parameter weights: the loss is not finite at step 1 of 1 in epoch"
    ):
        model.fit(X, y)
    assert all(np.all(np.isfinite(coef)) for coef in model.coefs_)
    with pytest.raises(ValueError, match=r"the inputs reach \d.*: standardise them"):
        MLPRegressor(solver="sgd", max_iter=50, random_state=0).fit(X * 1e150, y)


def test_it_moves_to_another_device(xp, put, device, backend):
    if backend not in ("torch", "array_api_strict", "numpy"):
        pytest.skip("the library places its arrays by itself")
    X, y = iris()
    model = MLPClassifier(max_iter=2, random_state=0).fit(put(X), put(y))
    elsewhere = {"torch": "cpu", "numpy": "cpu"}.get(backend) or xp.Device("CPU_DEVICE")
    model.to(elsewhere)
    assert model.predict(xp.asarray(X, device=elsewhere)).shape == (150,)


@pytest.mark.only("numpy")
def test_scikit_learns_callbacks_are_called_and_may_stop():
    pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 and newer have callbacks")
    seen = []

    class Watch:
        def setup(self, estimator, context):
            seen.append("setup")

        def teardown(self, estimator, context):
            seen.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            seen.append(f"begin {context.task_name}")

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            seen.append(f"end {context.task_name}")
            if context.task_name == "epoch":
                assert fitted_estimator.predict(iris()[0]).shape == (150,)
                return context.task_id == 3
            return False

    model = MLPClassifier(max_iter=10, random_state=0).set_callbacks(Watch()).fit(*iris())
    assert model.n_iter_ == 4
    assert seen[:3] == ["setup", "begin fit", "begin epoch"]
    assert seen.count("begin epoch") == seen.count("end epoch") == 4
    assert seen[-1] == "teardown"
    seen.clear()
    model.set_params(tol=1e9, n_iter_no_change=1).fit(*iris())  # it converges: no epoch is begun that does not end
    assert model.n_iter_ == 3
    assert seen.count("begin epoch") == seen.count("end epoch") == 3
    seen.clear()
    model.partial_fit(*iris()).partial_fit(*iris())
    assert seen == ["setup", "begin fit", "begin epoch", "end epoch", "end fit", "teardown"] * 2
    seen.clear()
    MLPClassifier(solver="lbfgs", max_iter=2).set_callbacks(Watch()).fit(*iris())
    assert seen == ["setup", "begin fit", "end fit", "teardown"]


@pytest.mark.only("numpy")
def test_it_says_what_it_does(capsys):
    X, y = iris()
    MLPClassifier(max_iter=2, verbose=True, random_state=0).fit(X, y)
    ours = capsys.readouterr().out
    theirs.MLPClassifier(max_iter=2, verbose=True, random_state=0).fit(X, y)
    assert ours == capsys.readouterr().out
    MLPClassifier(max_iter=2, progress=True, random_state=0).fit(X, y)
    assert "2/2" in capsys.readouterr().out
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        MLPClassifier(max_iter=2).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLPClassifier(max_iter=300, tol=0.5, n_iter_no_change=2).fit(X, y)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [iris, two_classes, several_labels, two_numbers])
def test_a_saved_model_is_the_same_model_in_any_library(xp, put, host, device, tmp_path, problem):
    X, y = problem()
    make = MLPRegressor if y.dtype.kind == "f" else MLPClassifier
    layers = {"hidden_layer_sizes": (6, 5), "activation": ["relu", mx.ops.tanh]}
    model = make(**layers, max_iter=3, random_state=0, early_stopping=make is MLPClassifier)
    model.fit(put(X), put(y)).save(tmp_path / "model.safetensors")
    again = make.load(tmp_path / "model.safetensors", xp, device)
    np.testing.assert_array_equal(host(again.predict(put(X))), host(model.predict(put(X))))
    assert again.loss_curve_ == model.loss_curve_
    on_host = make.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(on_host.predict(X), host(model.predict(put(X))), rtol=1e-9)
    np.testing.assert_allclose(on_host.score(X, y), model.score(put(X), put(y)), rtol=1e-9)
    on_host.set_params(early_stopping=False)
    resumed = model.set_params(early_stopping=False).partial_fit(put(X), put(y))
    for a, b in zip(on_host.partial_fit(X, y).coefs_, resumed.coefs_, strict=True):
        np.testing.assert_allclose(a, host(b), rtol=1e-9, atol=1e-12)


@pytest.mark.only("jax")
def test_a_compiled_step_learns_the_same(put, tmp_path):
    import jax

    X, y = iris()
    options = {"max_iter": 3, "random_state": 0, "tol": 0.0}
    eager = MLPClassifier(**options).fit(put(X), y)
    compiled = clone(MLPClassifier(**options, compile=jax.jit)).fit(put(X), y)
    assert apart(eager, compiled) <= 1e-12
    compiled.save(tmp_path / "model")
    assert MLPClassifier.load(tmp_path / "model").compile is None


@pytest.mark.only("numpy")
def test_strings_and_weights_of_classes_come_back_and_functions_are_refused(tmp_path):
    X, y = iris()
    names = np.asarray(["setosa", "versicolor", "virginica"])[y]
    model = MLPClassifier(
        max_iter=3, random_state=np.random.RandomState(0), class_weight={"setosa": 2.0, "virginica": 1.0}
    )
    model.fit(X, names).save(tmp_path / "model")
    again = MLPClassifier.load(tmp_path / "model")
    assert list(again.predict(X)) == list(model.predict(X))
    assert again.class_weight == {"setosa": 2.0, "virginica": 1.0}
    assert again.random_state is None
    assert load(tmp_path / "model").get_params() == again.get_params()
    with pytest.raises(ValueError, match="model must be a model of MLPRegressor, got one of MLPClassifier"):
        MLPRegressor.load(tmp_path / "model")
    with pytest.raises(NotFittedError):
        MLPClassifier().save(tmp_path / "other")
    model.set_params(learning_rate=schedules.cosine(0.1)).fit(X, names)
    with pytest.raises(TypeError, match=r"learning_rate can't be saved, it is function.*what was learned stays"):
        model.save(tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert list(MLPClassifier.load(tmp_path / "model").predict(X)) == list(again.predict(X))
