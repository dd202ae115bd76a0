"""The displays: what is drawn of an estimator's curves and weights, on any backend."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn import neural_network as theirs
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mlp_xp as mx
from mlp_xp.estimators import ImportanceDisplay, LossCurveDisplay, MLPClassifier, MLPRegressor, WeightsDisplay
from mlp_xp.train import train

matplotlib = pytest.importorskip("matplotlib", reason="the sessions without the command have none")
matplotlib.use("Agg")
plt = importlib.import_module("matplotlib.pyplot")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def _figures_are_closed():
    yield
    plt.close("all")


def iris():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), y


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_losses_scores_and_the_best_epoch_of_an_estimator(put):
    X, y = map(put, iris())
    model = MLPClassifier(8, max_iter=4, early_stopping=True, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator(model, learning_rate=True)
    assert display.ax_.get_ylabel() == "cross-entropy (nats)"
    np.testing.assert_array_equal(display.line_.get_xydata(), list(enumerate(model.loss_curve_, 1)))
    np.testing.assert_array_equal(display.validation_line_.get_ydata(), model.validation_losses_)
    assert display.score_ax_.get_ylabel() == "validation\naccuracy (%)"
    np.testing.assert_array_equal(display.score_line_.get_ydata(), [100 * score for score in model.validation_scores_])
    best = int(np.argmax(model.validation_scores_)) + 1
    assert legend(display.ax_) == ["training, with penalty", "validation", f"best epoch: {best}"]
    np.testing.assert_array_equal(display.best_.get_xydata(), [[best, model.validation_losses_[best - 1]]])
    np.testing.assert_array_equal(display.rate_line_.get_ydata(), [0.001] * 4)
    assert (display.rate_ax_.get_ylabel(), display.rate_ax_.get_xlabel()) == ("learning rate", "epoch")
    tops = [axes.get_position().y1 for axes in (display.ax_, display.score_ax_, display.rate_ax_)]
    assert tops == sorted(tops, reverse=True)


@pytest.mark.only("numpy")
def test_curves_that_an_estimator_lacks_are_not_drawn():
    X, y = iris()
    figure, (left, right) = plt.subplots(1, 2)
    model = MLPRegressor(max_iter=3, alpha=0.0, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator(model, ax=left)
    assert (display.ax_, display.figure_) == (left, figure)
    assert display.ax_.get_ylabel() == "half squared error\n(unit of y)²"
    assert display.ax_.get_xlabel() == "epoch"
    assert legend(left) == ["training", "best epoch: 3"]
    assert (display.validation_line_, display.score_ax_, display.rate_ax_) == (None, None, None)
    assert display.plot(right).ax_ is right
    model.set_params(warm_start=True).fit(X, y, eval_set=(X, y))  # of three epochs in six: which, is not known
    assert LossCurveDisplay.from_estimator(model).validation_line_ is None
    with pytest.raises(ValueError, match="known of 3 epochs, those of the last fit, not of 6"):
        LossCurveDisplay.from_estimator(model, learning_rate=True)
    with pytest.raises(ValueError, match="needs an epoch of a stochastic solver, got solver='lbfgs'"):
        LossCurveDisplay.from_estimator(MLPRegressor(solver="lbfgs", max_iter=2).fit(X, y))
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(MLPRegressor())
    sklearns = theirs.MLPRegressor(max_iter=3, early_stopping=True).fit(X, y)
    assert LossCurveDisplay.from_estimator(sklearns).score_ax_.get_ylabel() == "validation R²"


def test_the_curves_of_a_loop_of_ones_own(xp, device, put):
    X, y = map(put, iris())
    params = mx.init_params((4, 5, 3), xp=xp, dtype=xp.float64, device=device)
    *_, last = train(X, y, params, epochs=3, validation=0.2, alpha=0.1)
    display = LossCurveDisplay.from_history(last.history, loss_name="cross-entropy (nats)")
    np.testing.assert_array_equal(display.line_.get_ydata(), [record.loss for record in last.history])
    np.testing.assert_array_equal(display.validation_line_.get_ydata(), [record.val_loss for record in last.history])
    np.testing.assert_array_equal(display.score_line_.get_ydata(), [record.val_score for record in last.history])
    assert legend(display.ax_)[0] == "training, with penalty"
    diverged = last.history[0]._replace(loss=float("nan"), val_loss=None, val_score=None)
    assert LossCurveDisplay.from_history([diverged]).best_ is None
    with pytest.raises(ValueError, match="at least one epoch, got none"):
        LossCurveDisplay.from_history([])


def test_weights_are_images_or_a_heat_map(put, host):
    X, y = map(put, iris())
    model = MLPClassifier(5, max_iter=2, random_state=0).fit(X, y)
    weight = host(model.coefs_[0])
    display = WeightsDisplay.from_estimator(model)
    np.testing.assert_array_equal(display.image_.get_array(), weight)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("hidden unit", "input")
    display = WeightsDisplay.from_estimator(model, image_shape=(2, 2))
    drawn = np.ma.filled(display.image_.get_array(), np.nan)
    np.testing.assert_array_equal(np.sort(drawn[np.isfinite(drawn)]), np.sort(weight, axis=None))
    assert display.ax_.get_title() == "first-layer weights: all 5 hidden units, largest norm first"
    with pytest.raises(ValueError, match=r"image_shape must be of 4 inputs, got \(3, 2\)"):
        WeightsDisplay.from_estimator(model, image_shape=(3, 2))
    with pytest.raises(TypeError, match=r"image_shape must be \(height, width\), got 4"):
        WeightsDisplay.from_estimator(model, image_shape=4)
    with pytest.raises(ValueError, match="feature_names must be of 4 inputs, got 1 names"):
        WeightsDisplay(model.coefs_[0], feature_names=["one"])


def test_importance_is_the_mean_slope_times_the_deviation(put, host):
    X, y = map(put, iris())
    X = X * put([1.0, 2.0, 3.0, 4.0])
    model = MLPClassifier(5, "tanh", max_iter=2, random_state=0).fit(X, y)
    slopes = [host(mx.input_gradients(X, *model._params(), output=j, activation="tanh")) for j in range(3)]
    expected = np.mean(np.abs(slopes), axis=(0, 1)) * host(X).std(axis=0)
    display = ImportanceDisplay.from_estimator(model, X)
    np.testing.assert_allclose(display.importances, expected, rtol=1e-12)
    one = ImportanceDisplay.from_estimator(model, X, output=-1).importances
    np.testing.assert_allclose(one, np.mean(np.abs(slopes[-1]), axis=0) * host(X).std(axis=0), rtol=1e-12)
    largest_first = [bar.get_width() for bar in display.bars_]
    np.testing.assert_array_equal(largest_first, np.sort(display.importances)[::-1])
    linear = MLPRegressor("squared_error", (), max_iter=2, random_state=0).fit(X, host(X)[:, 0])
    weight = np.abs(host(linear.coefs_[0])[:, 0])  # the closed form
    drawn = ImportanceDisplay.from_estimator(linear, X).importances
    np.testing.assert_allclose(drawn, weight * host(X).std(axis=0), rtol=1e-12)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_importance_finds_the_inputs_that_matter_as_permutation_importance_does(kind):
    """Five inputs of different units: the first two decide, the others are noise."""
    random = np.random.default_rng(0)
    X = random.normal(size=(400, 5))
    t = np.sin(X[:, 0]) + 0.5 * X[:, 1]
    names = ["first", "second", "noise 1", "noise 2", "noise 3"]
    frame = pd.DataFrame(X * [1.0, 100.0, 10.0, 0.1, 1.0], columns=names)
    network = MLPClassifier if kind == "classes" else MLPRegressor
    model = make_pipeline(
        StandardScaler(), network(hidden_layer_sizes=(16,), alpha=1.0, solver="lbfgs", random_state=0)
    )
    y = np.where(t > 0, "yes", "no") if kind == "classes" else t
    model.fit(frame, y)
    display = ImportanceDisplay.from_estimator(model, frame)
    assert [text.get_text() for text in display.ax_.get_yticklabels()][:2] == names[:2]
    assert min(display.importances[:2]) > 3.0 * max(display.importances[2:])
    theirs = permutation_importance(model, frame, y, n_repeats=3, random_state=0).importances_mean
    assert np.argsort(-display.importances)[:2].tolist() == np.argsort(-theirs)[:2].tolist() == [0, 1]


@pytest.mark.only("numpy")
def test_importance_of_sparse_rows_in_several_parts(monkeypatch):
    X, y = iris()
    model = MLPClassifier(5, max_iter=2, random_state=0).fit(X, y)
    whole = ImportanceDisplay.from_estimator(model, X).importances
    monkeypatch.setattr("mlp_xp.estimators.data._CHUNK", 4 * 40)  # forty rows at a time
    parts = ImportanceDisplay.from_estimator(model, csr_matrix(X)).importances
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


@pytest.mark.only("numpy")
def test_importance_of_sklearns_own_network():
    X, y = iris()
    model = theirs.MLPRegressor(hidden_layer_sizes=(5,), activation="identity", max_iter=3, random_state=0).fit(X, y)
    weight = (model.coefs_[0] @ model.coefs_[1])[:, 0]  # without a bend one product of matrices
    display = ImportanceDisplay.from_estimator(model, X)
    np.testing.assert_allclose(display.importances, np.abs(weight) * X.std(axis=0), rtol=1e-12)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"standardise": True}, {"ensemble": 2}, {"loss": "gaussian", "standardise": True, "ensemble": 2},
        {"loss": "quantile", "quantile": (0.1, 0.5), "standardise": True}, {"loss": "poisson", "standardise": True},
    ],
)  # fmt: skip
def test_importance_is_of_what_is_predicted_in_the_units_of_y(options, several):
    X, _ = iris()
    X = X * [1.0, 10.0, 100.0, 0.1] + 5.0
    y = 1e3 * X[:, :2] if several else 1e3 * X[:, 0]
    y = y - y.min()
    model = MLPRegressor(hidden_layer_sizes=(5,), activation="tanh", max_iter=2, random_state=0, **options).fit(X, y)
    step = 1e-5 * X.std(axis=0)
    pairs = [[model.predict(X + sign * step * (np.arange(4) == j)) for sign in (1, -1)] for j in range(4)]
    changes = np.asarray([np.mean(np.abs(above - below), axis=0) for above, below in pairs]) / 2e-5
    expected = changes.mean(axis=1) if several else changes
    # differences of a step of 1e-5 round to 1e-16 / 1e-5, and bend by the square of the step
    np.testing.assert_allclose(ImportanceDisplay.from_estimator(model, X).importances, expected, rtol=1e-6)
    if several:
        one = ImportanceDisplay.from_estimator(model, X, output=1).importances
        if options.get("loss") != "quantile":  # whose first columns are the lowest quantile
            np.testing.assert_allclose(one, changes[:, 1], rtol=1e-6)


@pytest.mark.only("numpy")
def test_importance_for_an_ensemble_of_classifiers_is_of_its_mean_probability():
    X, y = iris()
    model = MLPClassifier(5, "tanh", max_iter=2, ensemble=3, standardise=True, random_state=0).fit(X, y)
    step = 1e-5 * X.std(axis=0)
    pairs = [[model.predict_proba(X + sign * step * (np.arange(4) == j)) for sign in (1, -1)] for j in range(4)]
    expected = [np.mean(np.abs(above - below)) / 2e-5 for above, below in pairs]
    np.testing.assert_allclose(ImportanceDisplay.from_estimator(model, X).importances, expected, rtol=1e-6)


@pytest.mark.only("numpy")
def test_a_loss_of_standardised_numbers_says_so():
    X, y = iris()
    named = [
        LossCurveDisplay.from_estimator(kind(max_iter=2, standardise=True, **options).fit(X, y)).loss_name
        for kind, options in ((MLPRegressor, {}), (MLPRegressor, {"loss": "poisson"}), (MLPClassifier, {}))
    ]
    assert named == ["half squared error (standardised)", "half Poisson deviance (unit of y)", "cross-entropy (nats)"]


@pytest.mark.only("numpy")
def test_importance_without_rows_or_outputs_is_refused():
    X, y = iris()
    model = MLPClassifier(5, max_iter=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="X must have at least two rows, whose deviation is taken, got 1"):
        ImportanceDisplay.from_estimator(model, X[:1])
    with pytest.raises(ValueError, match=r"output must be 0 ... 2, or -1 for the last, got 3"):
        ImportanceDisplay.from_estimator(model, X, output=3)
    with pytest.raises(ValueError, match="feature_names must be of 4 inputs, got 1 names"):
        ImportanceDisplay.from_estimator(model, X, feature_names=["one"])
    many = ImportanceDisplay(np.arange(100.0)).plot()
    assert len(many.bars_) == 30
    assert many.ax_.get_ylabel() == "input, the first 30 of 100"


@pytest.mark.only("numpy")
def test_weights_have_the_names_of_features_and_classes():
    data = load_iris(as_frame=True)
    names = data.target_names[data.target]
    model = MLPClassifier((), max_iter=2, random_state=0).fit(data.data, names)
    display = WeightsDisplay.from_estimator(model, ax=plt.subplots()[1])
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == list(data.data.columns)
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["setosa", "versicolor", "virginica"]
    assert display.ax_.get_xlabel() == "class"
    display = WeightsDisplay.from_estimator(model, image_shape=(2, 2))
    assert display.ax_.get_title() == "first-layer weights: all 3 classes"
    assert [text.get_text() for text in display.ax_.texts] == ["setosa", "versicolor", "virginica"]
    binary = MLPClassifier((), max_iter=2, random_state=0).fit(data.data[:100], names[:100])
    assert WeightsDisplay.from_estimator(binary).column_names == ["versicolor"]
    wide = WeightsDisplay(np.ones((100, 3)), feature_names=[str(i) for i in range(100)]).plot()
    assert len(wide.ax_.get_yticklabels()) == 25  # every fourth


@pytest.mark.only("numpy")
def test_matplotlib_is_needed_to_draw_and_not_before():
    code = (
        "import sys; sys.modules['matplotlib'] = None; from mlp_xp.estimators import LossCurveDisplay\n"
        "LossCurveDisplay(training_loss=[1.0]).plot()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    sentence = "ImportError: LossCurveDisplay.plot needs matplotlib: pip install 'mlp_xp[cli]'"
    assert done.stderr.splitlines()[-1] == sentence


@pytest.mark.only("numpy")
def test_the_network_of_a_pipeline_or_a_search_is_drawn():
    data = load_iris(as_frame=True)
    model = MLPClassifier(5, max_iter=3, early_stopping=True, random_state=0)
    framed = StandardScaler().set_output(transform="pandas")
    pipeline = make_pipeline(framed, model).fit(data.data, data.target)
    fitted = pipeline[-1]
    others = [
        GridSearchCV(model, {"alpha": [0.1]}, cv=2),
        GridSearchCV(make_pipeline(framed, model), {"mlpclassifier__alpha": [0.1]}, cv=2),
        make_pipeline(framed, GridSearchCV(model, {"alpha": [0.1]}, cv=2)),
        TunedThresholdClassifierCV(make_pipeline(framed, model), cv=2),
    ]
    targets = [data.target] * 3 + [data.target == 1]
    networks = [
        lambda search: search.best_estimator_,
        lambda search: search.best_estimator_[-1],
        lambda search: search[-1].best_estimator_,
        lambda tuned: tuned.estimator_[-1],
    ]
    cases = [(pipeline, fitted)]
    for other, y, network in zip(others, targets, networks, strict=True):
        other.fit(data.data, y)
        cases.append((other, network(other)))
    for whole, network in cases:
        curve = LossCurveDisplay.from_estimator(whole)
        np.testing.assert_array_equal(curve.line_.get_ydata(), network.loss_curve_)
        weights = WeightsDisplay.from_estimator(whole)
        np.testing.assert_array_equal(weights.weight, network.coefs_[0])
        assert list(weights.feature_names) == list(data.data.columns)


@pytest.mark.only("numpy")
def test_a_score_that_is_the_loss_is_drawn_once():
    X, y = iris()
    model = MLPClassifier(8, max_iter=5, early_stopping=True, scoring="loss", learning_rate_init=0.3, random_state=0)
    display = LossCurveDisplay.from_estimator(model.fit(X, y))
    assert display.score_ax_ is None
    best = int(np.argmin(model.validation_losses_)) + 1
    np.testing.assert_array_equal(display.best_.get_xydata(), [[best, model.validation_losses_[best - 1]]])


@pytest.mark.only("numpy")
def test_what_has_no_fitted_network_is_refused_by_the_displays():
    X, y = iris()
    for display in (LossCurveDisplay, WeightsDisplay):
        for unfitted in (make_pipeline(MLPClassifier()), GridSearchCV(MLPClassifier(), {"alpha": [0.1]})):
            with pytest.raises(NotFittedError, match="not fitted yet"):
                display.from_estimator(unfitted)
        for kind, other in (
            ("Pipeline", make_pipeline(LinearRegression()).fit(X, y)),
            ("LinearRegression", LinearRegression().fit(X, y)),
            ("ndarray", X),
            ("NoneType", None),
            ("GridSearchCV", GridSearchCV(MLPClassifier(max_iter=1), {"alpha": [0.1]}, refit=False, cv=2).fit(X, y)),
        ):
            sentence = f"{display.__name__} needs a fitted network, or a pipeline or a search of one, got {kind}"
            with pytest.raises(TypeError, match=sentence):
                display.from_estimator(other)
