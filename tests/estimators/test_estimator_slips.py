"""What a caller may get wrong has one clear sentence, and warnings point at the caller's line."""

from __future__ import annotations

import inspect
import math
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from estimator_problems import apart, iris, numbers
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import log_loss, make_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mlp_xp as mx
from mlp_xp.estimators import MLPClassifier, MLPRegressor

V, T = ValueError, TypeError
NAN, INF = float("nan"), float("inf")


@pytest.fixture
def good(put):
    """Right data, and ``fit`` of a classifier or a regressor; each row spoils one of them."""
    (X, y), (features, targets) = iris(), numbers()

    X, y, features, targets = map(put, (X, y, features, targets))

    def fit(X=X, y=y, sample_weight=None, **options):
        of_fit = {
            name: options.pop(name) for name in ("eval_set", "callbacks", "checkpoint", "resume") if name in options
        }
        options = {"hidden_layer_sizes": 3, "max_iter": 1, "random_state": 0, **options}
        return MLPClassifier(**options).fit(X, y, sample_weight, **of_fit)

    def regress(X=features, y=targets, sample_weight=None, **options):
        return MLPRegressor(hidden_layer_sizes=3, max_iter=1, **options).fit(X, y, sample_weight)

    return SimpleNamespace(X=X, y=y, put=put, fit=fit, regress=regress)


# name -> the call, the error, words of its sentence
ROWS = {
    # options of the estimators; those with a range are refused in scikit-learn's words
    "widths in a string": (lambda g: g.fit(hidden_layer_sizes="100"), V, "'hidden_layer_sizes' parameter of MLPClassifier must be"),
    "rows that are a text": (lambda g: g.fit(X="rows"), V, "X must be an array, got 'rows'"),
    "rows that are a number": (lambda g: g.fit(X=10**80), V, "X must be an array, got 1000"),
    "a width in a string": (lambda g: g.fit(hidden_layer_sizes=["100"]), V, "hidden_layer_sizes must be whole numbers, got ['100']"),
    "a width that is no whole number": (lambda g: g.fit(hidden_layer_sizes=[2.0]), V, "must be whole numbers, got [2.0]"),
    "a width that is True": (lambda g: g.fit(hidden_layer_sizes=[True]), V, "hidden_layer_sizes must be whole numbers, got [True]"),
    "dates": (lambda g: g.fit(X=np.zeros((150, 2), "datetime64[D]")), T, "X must hold numbers, got datetime64[D]; make numbers"),
    "spans of time": (lambda g: g.regress(X=np.zeros((150, 2), "timedelta64[s]")), T, "X must hold numbers, got timedelta64[s]"),
    "widths of widths": (lambda g: g.fit(hidden_layer_sizes=[[3]]), V, "hidden_layer_sizes must be whole numbers, got [[3]]"),
    "no widths": (lambda g: g.fit(hidden_layer_sizes=None), V, "'hidden_layer_sizes' parameter of MLPClassifier must be"),
    "an activation by number": (lambda g: g.fit(activation=[5]), T, "activation must be a name or an op, got 5"),
    "an activation that is None": (lambda g: g.fit(activation=[None]), T, "activation must be a name or an op, got None"),
    "no activations": (lambda g: g.fit(activation=[]), V, "one per hidden layer (1), got 0"),
    "a misspelt activation in a list": (lambda g: g.fit(activation=["rellu"]), V, "did you mean 'relu'?"),
    "the values of an activation": (lambda g: g.fit(activation=mx.sigmoid), T, "the op is mlp_xp.ops.sigmoid"),
    "a criterion by name": (lambda g: g.fit(criterion="x"), V, "'criterion' parameter of MLPClassifier must be None or a callable"),
    "a criterion without a pullback": (lambda g: g.fit(criterion=lambda z, t, w: z), T, "must return (value, pullback)"),
    "a compiler by its name": (lambda g: g.fit(compile="jit"), V, "'compile' parameter of MLPClassifier must be None, "),
    "a random state in a string": (lambda g: g.fit(random_state="abc"), V, "'random_state' parameter of MLPClassifier must be"),
    "a NumPy generator": (lambda g: g.fit(random_state=np.random.default_rng(0)), V, "'random_state' parameter"),
    "a negative seed": (lambda g: g.fit(random_state=-1), V, "'random_state' parameter of MLPClassifier must be"),
    "a rate beyond the largest float": (lambda g: g.fit(learning_rate_init=10**400), V, "learning_rate_init must be at least 0 and finite, got inf"),
    "a warm-up beyond the largest float": (lambda g: g.fit(warmup_steps=10**400), V, "warmup_steps must be at least 0 and finite, got inf"),
    "patience beyond the largest float": (lambda g: g.fit(n_iter_no_change=10**400, ensemble=2, solver="sgd", learning_rate="adaptive"), V, "n_iter_no_change must be at least 0 and finite, got inf"),
    "a penalty beyond the largest float": (lambda g: g.fit(alpha=10**400, solver="lbfgs"), V, "alpha must be at least 0 and finite, got inf"),
    "a schedule that gives no number": (lambda g: g.fit(learning_rate=lambda progress: None), T, "lr must be a number, got None"),
    "epochs that are a float": (lambda g: g.fit(max_iter=2.0), V, "'max_iter' parameter of MLPClassifier must be an int"),
    "a batch size in a string": (lambda g: g.fit(batch_size="200"), V, "'batch_size' parameter of MLPClassifier must be"),
    "an unknown scorer": (lambda g: g.fit(scoring="acuracy"), V, "'acuracy' is not a valid scoring value"),
    "a scorer that gives a dict": (
        lambda g: g.fit(scoring=lambda *a: {"a": 1}, early_stopping=True), T, "scoring must give one number, got {'a': 1}"),
    "a score that is NaN in each epoch": (
        lambda g: g.fit(scoring=lambda *a: NAN, early_stopping=True), V, "early_stopping needs a validation score that is finite"),
    "R^2 of one validation row": (
        lambda g: MLPRegressor(early_stopping=True, max_iter=3).fit(*numbers(), eval_set=[a[:1] for a in numbers()]), V,
        "early_stopping needs a validation score that is finite"),
    "another library's word for solver": (
        lambda g: MLPClassifier(optimizer="adam"), T, "unexpected keyword argument 'optimizer'; did you mean 'solver'?"),
    "another library's word for the rate": (lambda g: MLPRegressor(lr=0.1), T, "'lr'; did you mean 'learning_rate_init'?"),
    "a misspelt parameter": (lambda g: MLPRegressor(momentun=0.1), T, "'momentun'; did you mean 'momentum'?"),
    # options of fit
    "a callback without its list": (lambda g: g.fit(callbacks=print), T, "callbacks must be a list of functions, got a function; write [function]"),
    "callbacks that can't be called": (lambda g: g.fit(callbacks=[1]), T, "callbacks must be a list of functions, got [1]"),
    "a checkpoint that is no path": (lambda g: g.fit(checkpoint=1), T, "checkpoint must be the path of a file, got 1"),
    "resume that is a string": (lambda g: g.fit(checkpoint="a", resume="yes"), T, "resume must be True or False, got 'yes'"),
    "resume without a checkpoint": (lambda g: g.fit(resume=True), V, "resume needs a checkpoint to go on from"),
    "resume without a seed": (
        lambda g: g.fit(checkpoint="a", resume=True, random_state=None), V, "resume needs a random_state that is a whole number, to draw as that run did, got NoneType"),
    "resume with a generator": (
        lambda g: g.fit(checkpoint="a", resume=True, random_state=np.random.RandomState(0)), V, "got RandomState"),
    "validation rows without targets": (lambda g: g.fit(eval_set=g.X), V, "eval_set must be a pair (X, y), got a"),
    "a share as eval_set": (lambda g: g.fit(eval_set=0.2), V, "eval_set must be a pair (X, y), got a float"),
    "validation rows with weights": (lambda g: g.fit(eval_set=(g.X, g.y, g.y)), V, "must be a pair (X, y), got a tuple of 3"),
    "two validation sets": (lambda g: g.fit(eval_set=[(g.X, g.y)] * 2), V, "eval_set must be one pair (X, y), got 2 pairs"),
    "no validation set": (lambda g: g.fit(eval_set=[]), V, "eval_set must be a pair (X, y), got a list of 0"),
    "validation rows of another width": (lambda g: g.fit(eval_set=(g.X[:, :3], g.y)), V, "X has 3 features, but MLPClassifier is expecting 4"),
    # data
    "a matrix": (lambda g: g.fit(np.matrix(iris()[0]), iris()[1]), T, "X must be an array, got a matrix, whose * is @"),
    "masked rows": (lambda g: g.fit(np.ma.masked_greater(iris()[0], 2), iris()[1]), T, "X must be an array, got a masked one; fill what is masked"),
    "masked rows to predict": (lambda g: g.fit().predict(np.ma.masked_greater(iris()[0], 2)), T, "X must be an array, got a masked one"),
    "masked validation rows": (lambda g: g.fit(eval_set=(np.ma.masked_greater(iris()[0], 2), g.y)), T, "X must be an array, got a masked one"),
    "masked targets": (lambda g: g.regress(y=np.ma.masked_greater(numbers()[1], 2)), T, "y must be an array, got a masked one"),
    "masked targets to score": (
        lambda g: g.regress().score(g.put(numbers()[0]), np.ma.masked_greater(numbers()[1], 2)), T, "y must be an array, got a masked one"),
    "targets in a matrix": (lambda g: g.regress(y=np.matrix(numbers()[1]).T), T, "y must be an array, got a matrix"),
    "masked weights": (lambda g: g.fit(sample_weight=np.ma.masked_equal(np.ones(150), 2)), T, "sample_weight must be an array, got a masked one"),
    "weights in a matrix": (lambda g: g.fit(sample_weight=np.matrix(np.ones(150))), T, "sample_weight must be an array, got a matrix"),
    "sparse targets of a regressor": (
        lambda g: g.regress(y=scipy.sparse.csr_matrix(numbers()[1][:, None])), T, "Sparse data was passed for y, but dense data is required"),
    "weights by name": (lambda g: g.fit(sample_weight="balanced"), T, "got 'balanced'; what weighs classes is class_weight"),
    "a weight for one class of several labels": (
        lambda g: g.fit(y=g.put(np.eye(3, dtype=int)[iris()[1]]), class_weight={0: 2.0}), V,
        "class_weight of several labels must be 'balanced', got a dict",
    ),
    "a score beside nothing": (lambda g: g.fit().score(g.X, None), V, "y must hold the targets, got None"),
    "weights of classes": (lambda g: g.regress(sample_weight={0: 2.0}), T, "got {0: 2.0}; what weighs classes is class_weight"),
    "a weight that is infinite": (lambda g: g.fit(sample_weight=np.r_[INF, np.ones(149)]), V, "Input sample_weight contains infinity"),
    "a weight that is NaN": (lambda g: g.fit(sample_weight=np.r_[NAN, np.ones(149)]), V, "Input sample_weight contains NaN"),
    "weights whose sum overflows": (lambda g: g.fit(sample_weight=np.full(150, 1e308)), V, "sample_weight must not exceed 1.8e+308 in sum, the largest float64, got 1.0e+308; scale it"),
    "weights that vanish": (lambda g: g.fit(sample_weight=np.full(150, 1e-320)), V, "the weights must not be zero for every sample, got at most 1.0e-320"),
    "weights that vanish, lbfgs": (lambda g: g.fit(sample_weight=np.full(150, 1e-320), solver="lbfgs"), V, "must not be zero for every sample"),
    "targets too large for X": (
        lambda g: g.regress(g.put(numbers()[0].astype(np.float32)), numbers()[1] * 1e39), V, "y must not exceed 3.4e+38, the largest float32, got"),
    "validation targets too large for X": (
        lambda g: MLPRegressor(max_iter=1).fit(*(a.astype(np.float32) for a in numbers()), eval_set=(numbers()[0], numbers()[1] * 1e39)), V,
        "y of eval_set must not exceed 3.4e+38, the largest float32, got"),
}  # fmt: skip


@pytest.mark.only("numpy", "torch", "array_api_strict")  # few of these look at the library
@pytest.mark.parametrize(("call", "error", "words"), ROWS.values(), ids=ROWS)
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of NumPy, for a matrix
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_slip_gets_one_clear_sentence(good, call, error, words):
    with pytest.raises(error, match=re.escape(words)) as caught:
        call(good)
    assert isinstance(caught.value, error)
    assert "\n" not in str(caught.value)


@pytest.mark.only("torch")
@pytest.mark.parametrize("kind", ["to_sparse_coo", "to_sparse_csr", "to_sparse_csc"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Sparse .* is in beta:UserWarning")
def test_sparse_tensors_are_refused_in_one_sentence(put, kind):
    X, y = map(put, iris())
    sparse = getattr(X, kind)()
    sentence = r"X must be a dense array, got a sparse one \(torch.sparse_...\); make it dense first"
    fitted = MLPClassifier(3, max_iter=1).fit(X, y)
    for call in (
        lambda: MLPClassifier().fit(sparse, y),
        lambda: fitted.predict(sparse),
        lambda: fitted.partial_fit(sparse, y),
        lambda: MLPClassifier().fit(X, y, eval_set=(sparse, y)),
    ):
        with pytest.raises(TypeError, match=sentence):
            call()
    with pytest.raises(TypeError, match="y must be a dense array"):
        MLPRegressor().fit(X, put(iris()[0]).to_sparse())


@pytest.mark.only("jax")
def test_sparse_arrays_of_jax_are_refused_in_one_sentence(put):
    from jax.experimental import sparse

    X, y = map(put, iris())
    with pytest.raises(TypeError, match=r"X must be a dense array, got a sparse one \(BCOO\)"):
        MLPClassifier().fit(sparse.BCOO.fromdense(X), y)


# --- what is taken as it is meant ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_one_validation_set_may_come_in_a_list_as_libraries_of_trees_take_it(put):
    X, y = map(put, iris())
    options = {"max_iter": 3, "random_state": 0}
    plain = MLPClassifier(**options).fit(X, y, eval_set=(X, y))
    for eval_set in ([(X, y)], ((X, y),), [[X, y]], [X, y]):
        assert MLPClassifier(**options).fit(X, y, eval_set=eval_set).validation_losses_ == plain.validation_losses_


@pytest.mark.only("numpy")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_two_validation_rows_in_lists_are_one_validation_set():
    X, y = iris()
    rows, labels = X[[0, 70]].tolist(), y[[0, 70]].tolist()
    plain = MLPClassifier(max_iter=2, random_state=0).fit(X, y, eval_set=(X[[0, 70]], y[[0, 70]]))
    for eval_set in ((rows, labels), [rows, labels], [(rows, labels)]):
        again = MLPClassifier(max_iter=2, random_state=0).fit(X, y, eval_set=eval_set)
        assert again.validation_losses_ == plain.validation_losses_


NUMBERS = {
    "max_iter": (np.uint8(200), 200), "batch_size": (np.uint8(100), 100), "n_iter_no_change": (np.int8(10), 10),
    "hidden_layer_sizes": (np.asarray([5, 4], dtype=np.uint8), (5, 4)), "learning_rate_init": (np.float64(0.01), 0.01),
    "dropout": (np.float64(0.5), 0.5), "alpha": (np.float64(0.1), 0.1), "clip_norm": (np.float64(1.0), 1.0),
    "tol": (np.float64(0.01), 0.01), "momentum": (np.float32(0.5), 0.5), "beta_1": (np.float32(0.5), 0.5),
    "epsilon": (np.float64(1e-3), 1e-3), "warmup_steps": (np.int8(120), 120), "weight_decay": (np.float64(0.1), 0.1),
    "power_t": (np.float32(0.5), 0.5), "label_smoothing": (np.float64(0.25), 0.25), "max_fun": (np.int16(30000), 30000),
    "accumulate": (np.int8(100), 100),
}  # fmt: skip


@pytest.mark.only("numpy", "torch", "jax", "array_api_strict")  # Dask's arrays are NumPy's
@pytest.mark.only("numpy", "torch")  # the numbers are Python's before a library sees them
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_numpys_scalars_are_python_numbers_to_the_estimators(xp, put, name):
    X, y = iris()
    given, meant = NUMBERS[name]
    solver = {"momentum": "sgd", "power_t": "sgd", "weight_decay": "adamw", "max_fun": "lbfgs"}.get(name, "adam")
    rate = {"power_t": "invscaling", "max_iter": "cosine"}.get(name, "constant")
    options = {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 0, "solver": solver, "learning_rate": rate}
    ours, plain = (
        MLPClassifier(**{**options, name: value}).fit(put(X, xp.float32), put(y)) for value in (given, meant)
    )
    assert all(a.dtype == xp.float32 for a in (*ours.coefs_, *ours.intercepts_))
    assert (ours.loss_, ours.n_iter_) == (plain.loss_, plain.n_iter_)
    assert type(ours.loss_) is float


# --- warnings --------------------------------------------------------------------------------------------------------


def interrupted(epoch):
    raise KeyboardInterrupt


WARNINGS = {
    "not converged": (lambda X, y: MLPClassifier(max_iter=1).fit(X, y), ConvergenceWarning),
    "not converged, lbfgs": (lambda X, y: MLPClassifier(solver="lbfgs", max_iter=1).fit(X, y), ConvergenceWarning),
    "clipped": (lambda X, y: MLPClassifier(batch_size=500).partial_fit(X, y, classes=[0, 1, 2]), UserWarning),
    "interrupted": (lambda X, y: MLPClassifier().fit(X, y, callbacks=[interrupted]), UserWarning),
    "interrupted, lbfgs": (lambda X, y: MLPClassifier(solver="lbfgs").fit(X, y, callbacks=[interrupted]), UserWarning),
    "a column": (lambda X, y: MLPClassifier().partial_fit(X, y[:, None], classes=[0, 1, 2]), DataConversionWarning),
    "in a pipeline": (
        lambda X, y: make_pipeline(StandardScaler(), MLPClassifier(max_iter=1)).fit(X, y), ConvergenceWarning),
    "in a search": (
        lambda X, y: GridSearchCV(MLPClassifier(max_iter=1), {"alpha": [0.1]}, cv=2).fit(X, y), ConvergenceWarning),
    "in cross-validation": (
        lambda X, y: cross_val_score(make_pipeline(MLPClassifier(max_iter=1)), X, y, cv=2), ConvergenceWarning),
}  # fmt: skip


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", WARNINGS)
def test_a_warning_points_at_the_line_of_the_caller(name):
    call, category = WARNINGS[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*iris())
    assert caught
    line = inspect.getsourcelines(call)[1]
    for each in caught:
        assert each.category is category
        assert (each.filename, line <= each.lineno <= line + 1) == (__file__, True)


@pytest.mark.only("numpy")
def test_a_run_that_diverged_warns_at_the_line_of_the_caller():
    X, y = iris()
    options = {"activation": "identity", "solver": "sgd", "learning_rate_init": 1, "random_state": 0}
    with pytest.warns(ConvergenceWarning, match="Training stopped") as caught:
        MLPRegressor(**options, early_stopping=True, max_iter=20).fit(X, y)
    assert {each.filename for each in caught} == {__file__}


# --- a scorer --------------------------------------------------------------------------------------------------------

SCORERS = {
    "of probabilities": "neg_log_loss",
    "of classes": "accuracy",
    "made from a metric": make_scorer(log_loss, response_method="predict_proba", greater_is_better=False),
    "a function": lambda estimator, X, y: estimator.score(X, y) + 0.0 * estimator.n_features_in_,
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("rows", ["held out", "given"])
def test_a_scorer_of_a_data_frame_sees_a_fitted_estimator_and_nothing_warns(name, rows):
    X, y = iris()
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    options = {"max_iter": 40, "tol": math.inf, "n_iter_no_change": 3, "random_state": 0, "scoring": SCORERS[name]}
    options |= {"tol": 1e9, "early_stopping": rows == "held out"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = MLPClassifier(**options).fit(frame, y, eval_set=None if rows == "held out" else (frame, y))
        plain = MLPClassifier(**options).fit(X, y, eval_set=None if rows == "held out" else (X, y))
    assert apart(ours, plain) == 0.0
    assert ours.validation_losses_ == plain.validation_losses_
    assert ours.validation_scores_ == plain.validation_scores_
    assert list(ours.feature_names_in_) == ["a", "b", "c", "d"]


@pytest.mark.only("numpy")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_scorer_sees_the_parameters_of_its_epoch_and_changes_nothing():
    X, y = iris()
    seen = []

    def scorer(estimator, X, y):
        seen.append((estimator, estimator.coefs_[0].copy()))
        estimator.coefs_ = None  # of its own copy
        return 0.0

    after = []
    model = MLPClassifier(max_iter=3, random_state=0, scoring=scorer)
    model.fit(X, y, eval_set=(X, y), callbacks=[lambda epoch: after.append(epoch.params[0])])
    assert all(estimator is not model for estimator, _ in seen)
    for (_, scored), now in zip(seen, after, strict=True):
        np.testing.assert_array_equal(scored, now)
    np.testing.assert_array_equal(model.coefs_[0], after[-1])


# --- callbacks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("answer", [True, np.True_])
def test_a_callback_that_returns_true_ends_training_of_every_solver_and_nothing_warns(put, solver, answer):
    X, y = map(put, iris())
    model = MLPClassifier(solver=solver, max_iter=50, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X, y, callbacks=[lambda epoch: "go on", lambda epoch: answer if epoch.last.number == 3 else None])
    assert model.n_iter_ == 3
    assert model.predict(X).shape == (150,)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_one_weight_for_all_rows_is_a_number_of_any_kind(put, host):
    X, y = map(put, iris())
    options = {"max_iter": 2, "random_state": 0}
    plain = host(MLPClassifier(**options).fit(X, y, sample_weight=2.0).coefs_[0])
    for weight in (2, np.float32(2.0), np.asarray(2.0), put(2.0), np.full(150, 2)):
        np.testing.assert_array_equal(host(MLPClassifier(**options).fit(X, y, sample_weight=weight).coefs_[0]), plain)
