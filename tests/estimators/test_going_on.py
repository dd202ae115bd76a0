"""``partial_fit`` and ``warm_start`` go on from what was learned: its schedule, its dtype, its library."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from estimator_problems import SAME, apart, iris, numbers, two_numbers
from sklearn import neural_network as theirs
from sklearn.exceptions import NotFittedError

from mlp_xp import losses, schedules
from mlp_xp._lib.namespace import device_of, kind_of
from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FLOAT32 = 1e-4  # a hundred steps of Adam, each rounded to float32, whose epsilon is 1.2e-7


def passes(model, X, y, count):
    """``count`` calls of ``partial_fit`` on all rows."""
    classes = {"classes": [0, 1, 2]} if isinstance(model, MLPClassifier) else {}
    for _ in range(count):
        model.partial_fit(X, y, **classes)
    return model


# --- a schedule ------------------------------------------------------------------------------------------------------

PLANNED = {
    "cosine": {"learning_rate": "cosine"},
    "cosine of SGD": {"learning_rate": "cosine", "solver": "sgd"},
    "warm-up, then cosine": {"learning_rate": "cosine", "warmup_steps": 40},
    "a line to 0": {"learning_rate": lambda progress: 0.03 * (1.0 - progress.step / progress.steps)},
    "decay by steps": {"learning_rate": schedules.step_decay(0.03, 50)},
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", PLANNED)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_passes_of_partial_fit_follow_the_schedule_of_one_fit(kind, name):
    X, y = iris() if kind is MLPClassifier else numbers()
    options = {"learning_rate_init": 0.03, "max_iter": 60, "random_state": 0, "batch_size": 50, "shuffle": False}
    options |= {"n_iter_no_change": math.inf, **PLANNED[name]}
    together = kind(**options).fit(X, y)
    assert apart(passes(kind(**options), X, y, 60), together) <= SAME
    assert together.loss_ < 0.2 * together.loss_curve_[0]


@pytest.mark.only("numpy")
@pytest.mark.parametrize("options", [{}, {"solver": "sgd", "dropout": 0.3, "clip_norm": 0.1}, {"ensemble": 2}])
def test_batches_that_are_accumulated_make_the_steps_of_one_large_batch(options):
    X, y = iris()
    options = {"learning_rate": "cosine", "max_iter": 10, "random_state": 0, "alpha": 0.1, **options}
    small, large = {"batch_size": 20, "accumulate": 2}, {"batch_size": 40}
    ours, theirs = (MLPClassifier(**options, **sizes).fit(X, y) for sizes in (small, large))
    assert apart(ours, theirs) <= SAME
    assert (
        apart(passes(MLPClassifier(**options, **small), X, y, 3), passes(MLPClassifier(**options, **large), X, y, 3))
        <= SAME
    )
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)


def recorded(schedule):
    """The schedule, and the list of what it returned."""
    rates = []

    def recording(progress):
        rates.append(schedule(progress))
        return rates[-1]

    return recording, rates


@pytest.mark.only("numpy")
def test_the_cosine_of_partial_fit_is_its_closed_form_and_ends_at_max_iter():
    X, y = iris()
    schedule, rates = recorded(schedules.cosine(0.1))
    model = MLPClassifier(learning_rate=schedule, max_iter=20, batch_size=50, random_state=0)
    passes(model, X, y, 25)
    t = np.arange(75) / 60  # three steps in each of 20 planned passes
    expected = np.where(t < 1, 0.05 * (1 + np.cos(np.pi * t)), 0.0)
    planned = rates[:60]
    np.testing.assert_allclose(planned, expected[:60], rtol=1e-12)
    # a pass beyond the plan is planned as the last one
    assert len(rates) == 75
    assert max(rates[60:]) < 0.001


@pytest.mark.only("numpy")
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_batches_of_different_sizes_count_the_steps_that_were_made(kind):
    X, y = iris() if kind is MLPClassifier else numbers()
    seen = []

    def schedule(progress):
        seen.append((progress.step, progress.steps))
        return 0.01

    model = kind(learning_rate=schedule, max_iter=4, batch_size=20, random_state=0)
    for rows in (100, 40, 150, 20):  # 5, 2, 8 and 1 steps
        passes(model, X[:rows], y[:rows], 1)
    # what is left is planned with as many steps as the pass has: 4 passes of 5, then 5 + 3 of 2, 7 + 2 of 8, 15 + 1
    planned = [20] * 5 + [5 + 3 * 2] * 2 + [7 + 2 * 8] * 8 + [15 + 1]
    assert seen == list(zip(range(16), planned, strict=True))


@pytest.mark.only("numpy")
def test_one_pass_of_partial_fit_is_one_epoch_for_callbacks_and_the_progress_bar(capsys):
    X, y = iris()
    model = MLPClassifier(max_iter=60, learning_rate="cosine", progress=True, random_state=0)
    passes(model, X, y, 2)
    assert capsys.readouterr().out.count("1/1") == 2
    assert (model.n_iter_, len(model.loss_curve_), model.t_) == (1, 2, 300)


@pytest.mark.only("numpy")
def test_lbfgs_in_between_leaves_no_epochs_to_the_plan_of_partial_fit():
    X, y = iris()
    schedule, rates = recorded(schedules.cosine(0.1))
    model = MLPClassifier(solver="lbfgs", max_iter=5, warm_start=True, random_state=0).fit(X, y)
    model.set_params(solver="adam", learning_rate=schedule).partial_fit(X, y)
    assert rates == [0.1]


# --- a dtype ---------------------------------------------------------------------------------------------------------

LATER = {
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "whole numbers": lambda X: np.round(X).astype(np.int64),
    "bool": lambda X: X > 0,
    "a list": lambda X: X.tolist(),
    "a sparse matrix of float32": lambda X: scipy.sparse.csr_matrix(X.astype(np.float32)),
    "a data frame of float32": lambda X: pd.DataFrame(X.astype(np.float32)),
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", LATER)
def test_later_rows_of_another_dtype_are_learned_from_as_scikit_learn_learns_from_them(name):
    X, y = iris()
    options, later = {"random_state": 0, "batch_size": 50, "max_iter": 5}, LATER[name](X)
    ours, sklearns = MLPClassifier(**options), theirs.MLPClassifier(**options)
    for model in (ours, sklearns):
        model.partial_fit(X, y, classes=[0, 1, 2]).partial_fit(later, y).partial_fit(X, y)
    assert apart(ours, sklearns) <= SAME
    for model in (ours, sklearns):
        model.set_params(warm_start=True).fit(later, y)
    assert apart(ours, sklearns) <= SAME
    assert {a.dtype for a in ours.coefs_ + ours.intercepts_} == {np.dtype(np.float64)}


@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_what_was_learned_in_float32_stays_float32(xp, put, host, method):
    X, y = iris()
    options = {"random_state": 0, "max_iter": 5, "warm_start": True}
    model = MLPClassifier(**options).fit(put(X, xp.float32), put(y))
    wider = MLPClassifier(**options).fit(put(X), put(y))
    for later in (put(X), put(np.round(X).astype(np.int64)), put(X, xp.float32)):
        getattr(model, method)(later, put(y))
        getattr(wider, method)(put(host(later), xp.float64), put(y))
    assert all(a.dtype == xp.float32 for a in (*model.coefs_, *model.intercepts_))
    assert model.predict_proba(put(X)).dtype == xp.float32
    np.testing.assert_allclose(host(model.predict_proba(put(X))), host(wider.predict_proba(put(X))), atol=FLOAT32)


@pytest.mark.parametrize("kind", ["float32", "int64", "float64"])
def test_validation_rows_of_another_dtype_are_judged_as_they_are(xp, put, kind):
    X, y = iris()
    options = {"max_iter": 3, "random_state": 0}
    whole = np.round(X)  # the same numbers in each of these dtypes
    model = MLPClassifier(**options).fit(put(X), put(y), eval_set=(put(whole, getattr(xp, kind)), put(y)))
    same = MLPClassifier(**options).fit(put(X), put(y), eval_set=(put(whole), put(y)))
    assert model.validation_losses_ == same.validation_losses_


@pytest.mark.only("numpy")
def test_a_later_number_too_large_for_the_learned_dtype_is_refused(recwarn):
    X, y = iris()
    model = MLPClassifier(max_iter=1, warm_start=True).fit(X.astype(np.float32), y)
    with pytest.raises(ValueError, match=r"infinity or a value too large for dtype\('float32'\)"):
        model.fit(X * 1e39, y)


# --- other than in the first call ------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_later_targets_of_another_width_are_refused(method):
    (X, y), (_, several) = numbers(), two_numbers()
    model = MLPRegressor(max_iter=1, warm_start=True).fit(X, y)
    with pytest.raises(
        ValueError, match="y must have 1 numbers for each sample, as the y that was learned from, got 2"
    ):
        getattr(model, method)(X, several)
    with pytest.raises(ValueError, match="y must have 1 numbers for each sample"):
        MLPRegressor(max_iter=1).fit(X, y, eval_set=(X, several))
    assert model.set_params(warm_start=False).fit(X, several).n_outputs_ == 2


FOREIGN = {
    "a list": (lambda X: X.tolist(), r"Got list, fitted on \w+ of \w+; .*asarray\(X\) converts"),
    "an array of NumPy": (lambda X: X, r"Got ndarray of numpy, fitted on \w+ of \w+; .*asarray\(X\) converts"),
    "a data frame": (pd.DataFrame, r"Got DataFrame, .*asarray\(X.to_numpy\(\)\) converts"),
    "a sparse matrix": (scipy.sparse.csr_matrix, r"Got csr_matrix, .*asarray\(X.toarray\(\)\) converts"),
}


@pytest.mark.only("torch", "jax", "dask", "array_api_strict")
@pytest.mark.parametrize("name", FOREIGN)
def test_what_numpy_holds_is_refused_by_what_was_learned_elsewhere_in_one_sentence(put, name):
    X, y = iris()
    make, sentence = FOREIGN[name]
    model = MLPClassifier(max_iter=1, warm_start=True).fit(put(X), put(y))
    calls = {
        r"Inputs passed to MLPClassifier.fit\(\)": lambda: model.fit(make(X), y),
        r"Inputs passed to MLPClassifier.partial_fit\(\)": lambda: model.partial_fit(make(X), y),
        r"Inputs passed to MLPClassifier.predict\(\)": lambda: model.predict(make(X)),
        "The arrays of eval_set": lambda: model.fit(put(X), put(y), eval_set=(make(X), y)),
    }
    for what, call in calls.items():
        with pytest.raises(ValueError, match=f"{what} must use the same namespace and the same device .*{sentence}"):
            call()


@pytest.mark.only("torch", "jax", "array_api_strict")
def test_arrays_on_another_device_are_refused_with_the_remedy(xp, put, elsewhere):
    X, y = iris()
    moved = xp.asarray(X, device=elsewhere)
    model = MLPClassifier(max_iter=1).fit(put(X), put(y))
    for method in (model.predict, lambda X: model.partial_fit(X, y)):
        with pytest.raises(ValueError, match=r"move one of them, the estimator with to\(device\)") as raised:
            method(moved)
        kinds = [f"{kind_of(each)} on {device_of(each)}" for each in (moved, put(X))]
        assert "Got {}, fitted on {};".format(*kinds) in str(raised.value)


@pytest.mark.only("numpy")
def test_nothing_is_said_of_rows_that_come_as_they_came():
    X, y = iris()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = passes(MLPClassifier(), pd.DataFrame(X, columns=list("abcd")), y, 2)
    assert list(model.feature_names_in_) == list("abcd")


def raises(*arguments):
    """A criterion, callback or the like that fails."""
    raise ValueError("on purpose")


def doubled(logits, targets, weights):
    """Squared error, whose gradient is twice too large."""
    loss, pullback = losses.squared_error(logits, targets, weights)
    return loss, lambda dloss: pullback(2.0 * dloss)


FAILURES = {
    "lbfgs with dropout": ({"solver": "lbfgs", "dropout": 0.5}, {}),
    "a schedule that gives no number": ({"learning_rate": lambda progress: "fast"}, {}),
    "a schedule that raises": ({"learning_rate": raises}, {}),
    "a criterion that raises": ({"criterion": raises}, {}),
    "what compile returns": ({"compile": lambda step: None}, {}),
    "a loss that is not finite": ({"solver": "sgd", "learning_rate_init": 1e300, "batch_size": 10}, {}),
    "wrong gradients": ({"criterion": doubled, "check_gradients": True}, {}),
    "class_weight": ({"class_weight": {"x": 1.0}}, {}),
    "hidden_layer_sizes": ({"hidden_layer_sizes": (3, 0)}, {}),
    "activation": ({"activation": ["relu", "relu", "relu"]}, {}),
    "validation": ({"early_stopping": True, "validation_fraction": 0.0}, {}),
    "eval_set": ({}, {"eval_set": (np.zeros((3, 9)), np.zeros(3))}),
    "sample_weight": ({}, {"sample_weight": -np.ones(150)}),
    "X": ({}, {"X": np.full((150, 2), math.nan)}),
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("failure", FAILURES)
def test_a_fit_that_fails_leaves_the_model_as_it_was(failure):
    X, y = iris()
    settings, options = FAILURES[failure]
    model = MLPClassifier(5, max_iter=3, random_state=0).fit(X, y + 10)
    expected, names = model.predict_proba(X), set(vars(model))
    model.set_params(**settings)
    with pytest.raises((ValueError, TypeError)):
        model.fit(**{"X": X[:, :2], "y": np.asarray(["a", "b"])[y % 2], **options})
    model.set_params(**MLPClassifier(5).get_params())  # how to predict is among the settings
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    assert model.classes_.tolist() == [10, 11, 12]
    assert set(vars(model)) == names
    begun = MLPClassifier(**{"hidden_layer_sizes": 5, **settings})
    with pytest.raises((ValueError, TypeError)):
        begun.fit(**{"X": X, "y": y, **options})
    with pytest.raises(NotFittedError):
        begun.predict(X)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("kept", ["no checkpoint", "a checkpoint of other data"])
def test_a_fit_that_can_not_resume_leaves_the_model_as_it_was(tmp_path, kept):
    X, y = iris()
    options = {"hidden_layer_sizes": 5, "max_iter": 3, "random_state": 0}
    model = MLPClassifier(**options).fit(X, y + 10)
    expected = model.predict_proba(X)
    if kept == "a checkpoint of other data":
        MLPClassifier(**options).fit(X + 1.0, y, checkpoint=tmp_path / "kept")
    for each in (model, begun := MLPClassifier(**options)):
        with pytest.raises((ValueError, FileNotFoundError)):
            each.fit(X[:, :2], y % 2, checkpoint=tmp_path / "kept", resume=True)
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    assert (model.classes_.tolist(), model.n_iter_, len(model.loss_curve_)) == ([10, 11, 12], 3, 3)
    with pytest.raises(NotFittedError):
        begun.predict(X)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("failing", [{"learning_rate": raises}, {"criterion": raises}])
def test_a_later_fit_that_fails_leaves_the_curves_and_the_optimizer_as_they_were(failing):
    X, y = iris()
    model, same = (MLPClassifier(5, random_state=0, max_iter=4, warm_start=True).fit(X, y) for _ in range(2))
    curve = model.loss_curve_
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match="on purpose"):
            getattr(model.set_params(**failing), method)(X, y)
    assert curve is model.loss_curve_
    model.set_params(learning_rate="constant", criterion=None)
    assert apart(model.partial_fit(X, y), same.partial_fit(X, y)) == 0.0


@pytest.mark.only("numpy")
def test_a_fit_that_fails_after_an_epoch_keeps_what_that_epoch_learned():
    X, y = iris()
    model = MLPClassifier(5, random_state=0).fit(X, y)
    one_epoch = MLPClassifier(5, max_iter=1, random_state=0).fit(X[:, :2], y % 2)
    with pytest.raises(ValueError, match="on purpose"):
        model.fit(X[:, :2], y % 2, callbacks=[lambda epoch: len(epoch.history) == 2 and raises()])
    assert (model.n_iter_, model.classes_.tolist()) == (1, [0, 1])
    assert apart(model, one_epoch) == 0.0


WATCHED = {
    "the loss": {},
    "a validation score": {"early_stopping": True},
    "a rate in steps of 1e-5": {"learning_rate_init": 1e-5},
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("watched", WATCHED)
def test_each_fit_of_a_warm_start_adapts_its_rate_anew_as_in_scikit_learn(watched):
    random = np.random.RandomState(0)
    X = random.randn(80, 4)
    y = (X[:, 0] + 0.3 * random.randn(80) > 0).astype(int)
    options = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.05, "tol": 1e-2, "max_iter": 200}
    options |= {"n_iter_no_change": 3, "warm_start": True, "random_state": 1, **WATCHED[watched]}
    models = [MLPClassifier(6, **options), theirs.MLPClassifier((6,), **options)]
    rates = [options["learning_rate_init"], options["learning_rate_init"], 0.5, 0.02]
    for position, rate in enumerate(rates):
        ours, sklearns = (model.set_params(learning_rate_init=rate).fit(X, y) for model in models)
        assert ours.n_iter_ == sklearns.n_iter_
        if watched == "a validation score" and position:
            break  # theirs writes the later epochs over the best weights that it kept
        assert apart(ours, sklearns) <= SAME


@pytest.mark.only("numpy")
def test_a_schedule_hears_of_the_losses_since_its_optimizer_began():
    X, y = iris()
    heard = []

    def schedule(progress):
        heard.append(len(progress.losses))
        return 0.01

    model = MLPClassifier(learning_rate=schedule, max_iter=3, batch_size=150, warm_start=True, random_state=0)
    model.fit(X, y).fit(X, y).partial_fit(X, y)
    assert heard == [0, 1, 2, 0, 1, 2, 3]


@pytest.mark.only("numpy")
def test_a_first_partial_fit_that_fails_may_be_tried_again():
    X, y = iris()
    model = MLPClassifier(5, random_state=0)
    with pytest.raises(ValueError, match="contains NaN"):
        model.partial_fit(X * math.nan, y, classes=[0, 1])
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert model.partial_fit(X, y, classes=[0, 1, 2]).classes_.tolist() == [0, 1, 2]
