"""``fit`` and ``partial_fit``: on every library, with validation rows, callbacks, checkpoints, and to a bad end."""

from __future__ import annotations

import importlib
import pickle

import numpy as np
import pytest
from array_api_compat import array_namespace
from estimator_problems import apart, iris, numbers, several_labels, two_classes, two_numbers
from marks import EAGER
from sklearn.base import clone

import mlp_xp as mx
from mlp_xp import schedules
from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    ("kind", "solver"),
    [
        pytest.param(kind, solver, marks=() if (kind, solver) in (("classes", "adam"), ("numbers", "lbfgs")) else EAGER)
        for kind in ("classes", "two classes", "labels", "numbers")
        for solver in ("adam", "sgd", "lbfgs")
    ],
)
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


@EAGER
def test_wrong_gradients_are_found_before_training(put):
    def careless(z):
        value, _ = mx.ops.tanh(z)
        return value, lambda dy: (dy,)  # the derivative is omitted

    with pytest.raises(ValueError, match="the gradients of this network are wrong, nothing was trained"):
        MLPClassifier(2, careless, max_iter=2, check_gradients=True).fit(*map(put, iris()))


def test_an_eval_set_gives_curves_of_validation(put):
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
def test_options_that_scikit_learn_lacks_learn(options):
    X, y = iris()
    options = {"learning_rate_init": 0.01, **options}
    model = MLPClassifier(max_iter=60, random_state=0, **options).fit(X, y)
    assert model.score(X, y) > 0.9
    again = MLPClassifier(max_iter=60, random_state=0, **options).fit(X, y)
    assert apart(model, again) == 0.0


@pytest.mark.only("numpy", "jax")
def test_partial_fits_compile_once_until_a_setting_changes(put, backend):
    X, y = iris()
    made, traced = [], []
    fast = importlib.import_module("jax").jit if backend == "jax" else lambda step: step

    def compiler(step):
        def seen(*arguments):
            traced.append(step)
            return step(*arguments)

        made.append(step)
        return fast(seen)

    def learned(model, *rates):
        for rate in rates:
            model.set_params(alpha=rate).partial_fit(put(X), y, classes=[0, 1, 2])
        return model

    options = {"hidden_layer_sizes": (3,), "random_state": 0, "batch_size": 150}
    model = learned(MLPClassifier(**options, compile=compiler), 0.1, 0.1, 0.1)
    assert (len(made), len({*traced})) == (1, 1)
    assert len(traced) == (1 if backend == "jax" else 3)
    assert apart(model, learned(MLPClassifier(**options), 0.1, 0.1, 0.1)) <= 1e-6
    learned(model, 0.2)
    assert len(made) == 2  # a penalty is part of the step
    again = pickle.loads(pickle.dumps(learned(model.set_params(compile=None), 0.2)))
    assert apart(model, again) == 0.0
    learned(clone(model).set_params(compile=compiler), 0.2)
    assert len(made) == 3  # another estimator has a step of its own


@pytest.mark.only("jax")
def test_a_compiled_step_learns_the_same(put, tmp_path):
    X, y = iris()
    options = {"max_iter": 3, "random_state": 0, "tol": 0.0}
    eager = MLPClassifier(**options).fit(put(X), y)
    compiled = clone(MLPClassifier(**options, compile=True)).fit(put(X), y)
    assert apart(eager, compiled) <= 1e-12
    compiled.save(tmp_path / "model")
    assert MLPClassifier.load(tmp_path / "model").compile is None


@pytest.mark.only("numpy")
def test_where_nothing_compiles_a_sentence_says_so_and_a_checkpoint_does_not_know(tmp_path):
    X, y = iris()
    options = {"random_state": 0, "dropout": 0.2, "tol": 0.0}
    with pytest.warns(UserWarning, match="^the step is not compiled: numpy has no compiler$") as said:
        MLPClassifier(**options, max_iter=2, compile=True).fit(X, y, checkpoint=tmp_path / "run")
    assert [warning.filename for warning in said if "compiled" in str(warning.message)] == [__file__]
    resumed = MLPClassifier(**options, max_iter=4).fit(X, y, checkpoint=tmp_path / "run", resume=True)
    assert apart(resumed, MLPClassifier(**options, max_iter=4).fit(X, y)) == 0.0
    with pytest.warns(UserWarning, match="^nothing is compiled: lbfgs makes no training step$"):
        MLPClassifier(solver="lbfgs", max_iter=2, compile=True).fit(X, y)


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

    options = {"batch_size": 50, "learning_rate_init": 0.03, "random_state": 0}
    model = MLPClassifier(activation=interrupted, max_iter=100, **options)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, y)
    assert model.n_iter_ == 2
    stopped = [coef.copy() for coef in model.coefs_]
    at_epoch_2 = MLPClassifier(activation="relu", max_iter=2, **options).fit(X, y)
    assert not np.array_equal(stopped[0], at_epoch_2.coefs_[0])  # one step further
    assert model.score(X, y) > 0.8  # a constant scores a third


@pytest.mark.only("numpy")
def test_a_loss_that_overflows_names_the_step_and_keeps_good_parameters():
    X, y = numbers()
    model = MLPRegressor(solver="sgd", learning_rate_init=1e6, max_iter=50, random_state=0)
    sklearns = "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
    own = r"preprocessed\. Here the loss is not finite at step 1 of 1 in epoch"
    with pytest.raises(ValueError, match=f"{sklearns}{own}"):
        model.fit(X, y)
    assert all(np.all(np.isfinite(coef)) for coef in model.coefs_)
    with pytest.raises(ValueError, match=r"the inputs reach \d.*: standardise them"):
        MLPRegressor(solver="sgd", max_iter=50, random_state=0).fit(X * 1e150, y)


@pytest.mark.only("numpy", "torch", "jax", "array_api_strict", "cupy", "dpnp")
@pytest.mark.parametrize("scoring", ["balanced_accuracy", "neg_log_loss", "r2"])
def test_a_scorer_judges_on_the_host_what_is_learned_on_a_device(put, scoring):
    X, y = iris()
    options = {"max_iter": 3, "random_state": 0, "early_stopping": True, "scoring": scoring}
    make = MLPRegressor if scoring == "r2" else MLPClassifier
    here, there = make(**options).fit(X, y), make(**options).fit(put(X), put(y))
    np.testing.assert_allclose(there.validation_scores_, here.validation_scores_, rtol=1e-9)
