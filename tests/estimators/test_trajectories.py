"""The estimators learn what scikit-learn's learn, number by number, and keep its contract."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from estimator_problems import assert_same, iris, numbers, several_labels, two_classes, two_numbers
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import load_iris

from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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


CHECKS = """
import os, sys, warnings
from unittest import SkipTest
warnings.simplefilter("ignore")
from sklearn.utils import estimator_checks
from mlp_xp.estimators import MLPClassifier, MLPRegressor
bad, passed, arrays = [], 0, 0
for estimator in (MLPClassifier(max_iter=100), MLPRegressor(max_iter=100), MLPRegressor(max_iter=100, solver="lbfgs")):
    for result in estimator_checks.check_estimator(estimator, on_fail=None, on_skip=None):
        passed += result["status"] == "passed"
        arrays += result["status"] == "passed" and "array_api" in result["check_name"]
        about = "array_api" in result["check_name"] or "does not have a decision_function" in str(result["exception"])
        if result["status"] in ("failed", "xfail") or (result["status"] == "skipped" and not about):
            bad.append((type(estimator).__name__, result["check_name"], repr(result["exception"])[:300]))
# those of other arrays look at shapes and dtypes alone; here the values are NumPy's too, with sample weights
libraries = estimator_checks.yield_namespace_device_dtype_combinations() if "SCIPY_ARRAY_API" in os.environ else ()
for where in libraries:
    for estimator in (MLPClassifier(max_iter=20), MLPRegressor(max_iter=20)):
        try:
            estimator_checks.check_array_api_input(
                type(estimator).__name__, estimator, *where, check_values=True, check_sample_weight=True
            )
            arrays += 1
        except SkipTest:  # a library or a device that is not here
            pass
        except Exception as error:
            bad.append((type(estimator).__name__, *where, repr(error)[:300]))
print(f"{passed} passed, {arrays} with other arrays, {len(bad)} failed", *bad, sep="\\n")
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
    arrays = int(done.stdout.split(" passed, ")[1].split()[0])
    # for each estimator: NumPy, array-api-strict on two devices, torch in two dtypes; each with and without values
    assert arrays >= ((25 if backend == "torch" else 15) if whole else 0), done.stdout


@pytest.mark.only("numpy")
def test_attributes_are_scikit_learns_and_more():
    X, y = iris()
    for options in ({}, {"solver": "lbfgs"}, {"early_stopping": True}):
        attributes = vars(theirs.MLPClassifier(max_iter=2, **options).fit(X, y))
        public = {name for name in attributes if name.endswith("_") and not name.startswith("_")}
        assert public <= set(vars(MLPClassifier(max_iter=2, **options).fit(X, y)))


@pytest.mark.only("numpy")
def test_estimators_work_in_pipelines_searches_and_pickles():
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
            MLPClassifier(max_iter=60, random_state=0)
            .set_fit_request(sample_weight=True)
            .set_score_request(sample_weight=True)
        )
        search = GridSearchCV(routed, {"alpha": [1.0]}, cv=2).fit(X, y, sample_weight=np.ones(len(y)))
        assert search.best_score_ > 0.7  # a constant scores a third
