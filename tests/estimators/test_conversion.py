"""Estimators of scikit-learn's and PyTorch's networks, and back: predictions are equal, and training goes on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from estimator_problems import SAME, iris
from kinds_of_targets import KINDS, targets
from sklearn import neural_network as theirs

from mlp_xp.estimators import MLPClassifier, MLPRegressor, load

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# two ways to round a few dozen operations in float64
CLOSE = 1e-13


def same_predictions(ours, model, X):
    if hasattr(model, "predict_proba"):
        assert ours.predict(X).tolist() == model.predict(X).tolist()
        np.testing.assert_allclose(ours.predict_proba(X), model.predict_proba(X), rtol=0, atol=CLOSE)
        assert ours.classes_.tolist() == model.classes_.tolist()
    else:
        np.testing.assert_allclose(ours.predict(X), model.predict(X), rtol=CLOSE, atol=CLOSE)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("kind", KINDS)
def test_sklearns_estimator_goes_in_and_out_and_training_goes_on(kind, tmp_path):
    X, y = iris()[0], targets(kind, *iris())
    options = {"hidden_layer_sizes": (5, 4), "activation": "tanh", "solver": "sgd", "max_iter": 3, "random_state": 0}
    if kind in ("names", "two numbers", "labels"):
        model, ours = theirs.MLPClassifier(**options, momentum=0.0).fit(X, y), MLPClassifier
    else:
        loss = "poisson" if kind == "counts" else "squared_error"
        model, ours = theirs.MLPRegressor(loss=loss, **options, momentum=0.0).fit(X, y), MLPRegressor
    estimator = ours.from_sklearn(model)
    same_predictions(estimator, model, X)
    assert {name: estimator.get_params()[name] for name in model.get_params()} == model.get_params()
    assert estimator.loss_curve_ == model.loss_curve_
    estimator.save(tmp_path / "model")
    same_predictions(load(tmp_path / "model"), model, X)
    back = estimator.to_sklearn()
    assert back.get_params() == model.get_params()
    assert (back.loss_curve_, back.n_iter_, back.t_) == (model.loss_curve_, model.n_iter_, model.t_)
    same_predictions(back, model, X)
    estimator.partial_fit(X, y)  # with sgd that remembers nothing, what follows is the same in all three
    back.partial_fit(X, y)
    model.partial_fit(X, y)
    for a, b in zip([*estimator.coefs_, *back.coefs_], 2 * model.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=SAME)


@pytest.mark.only("numpy")
def test_what_sklearn_has_no_word_for_stays_behind():
    X, y = iris()
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = MLPClassifier((5,), max_iter=2, solver="adamw", dropout=0.1, learning_rate="cosine", random_state=3)
    back = model.fit(frame, y).to_sklearn()
    assert (back.solver, back.learning_rate, back.random_state) == ("adam", "constant", 3)
    assert back.feature_names_in_.tolist() == list("abcd")
    same_predictions(model, back, frame)
    soft = MLPClassifier((5,), max_iter=2, random_state=0).fit(X, 0.8 * np.eye(2)[y % 2] + 0.1)
    same_predictions(soft, soft.to_sklearn(), X)


@pytest.mark.only("numpy")
def test_an_estimator_of_the_other_kind_is_refused():
    X, y = iris()
    with pytest.raises(TypeError, match="model must be a MLPRegressor of scikit-learn, got MLPClassifier"):
        MLPRegressor.from_sklearn(theirs.MLPClassifier(max_iter=1).fit(X, y))
    with pytest.raises(TypeError, match="model must be a fitted MLPClassifier or MLPRegressor, got MLPClassifier"):
        MLPClassifier.from_sklearn(theirs.MLPClassifier())


@pytest.mark.only("torch")
@pytest.mark.parametrize("kind", KINDS[:-1])
def test_an_estimator_goes_to_torch_and_back(put, host, kind):
    X, y = put(iris()[0]), targets(kind, *iris())
    network = MLPClassifier if kind in ("names", "two numbers", "labels") else MLPRegressor
    model = network(hidden_layer_sizes=(5, 4), activation=["gelu", "elu"], max_iter=2, random_state=0).fit(X, y)
    sequential = model.to_torch()
    made = sequential(X).detach()
    if network is MLPRegressor:
        np.testing.assert_allclose(host(made), host(model.predict(X)).reshape(150, -1), rtol=CLOSE, atol=CLOSE)
        again = MLPRegressor.from_torch(sequential)
        np.testing.assert_allclose(host(again.predict(X)), host(model.predict(X)), rtol=CLOSE, atol=CLOSE)
    else:
        expected = host(model.predict_proba(X))
        np.testing.assert_allclose(host(made), expected[:, -made.shape[1] :], rtol=0, atol=CLOSE)
        again = MLPClassifier.from_torch(sequential, classes=None if kind == "labels" else model.classes_)
        np.testing.assert_allclose(host(again.predict_proba(X)), expected, rtol=0, atol=CLOSE)
        assert again.predict(X).tolist() == model.predict(X).tolist()
        if kind != "labels":  # whose logits could be a softmax's
            logits = MLPClassifier.from_torch(sequential[:-1], classes=model.classes_)
            np.testing.assert_allclose(host(logits.predict_proba(X)), expected, rtol=0, atol=CLOSE)
    before = sequential[0].weight.detach().clone()
    again.partial_fit(X, y)
    assert bool((sequential[0].weight == before).all())  # nothing is shared
    assert bool((before != again.coefs_[0].T).any())


@pytest.mark.only("torch")
def test_a_sequential_that_is_no_such_estimator_is_refused():
    from torch import nn

    for call, words in [
        (lambda: MLPClassifier.from_torch(nn.Sequential(nn.Linear(4, 3)), classes=list("ab")), "must be 3 names"),
        (lambda: MLPClassifier.from_torch(nn.Sequential(nn.Linear(4, 3)), classes=list("cba")), "in sorted order"),
        (lambda: MLPClassifier.from_torch(nn.Sequential(nn.Linear(4, 1), nn.Softmax(-1))), "at least two outputs"),
        (lambda: MLPRegressor.from_torch(nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))), "numbers for outputs"),
        (lambda: MLPRegressor.from_torch(nn.Sequential(nn.Linear(4, 3)), classes=list("abc")), "no classes, got"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.only("numpy")
@pytest.mark.parametrize("hidden", [(), (5,)])
@pytest.mark.parametrize("kind", KINDS)
def test_what_standardises_inside_predicts_the_same_elsewhere(kind, hidden):
    X, y = iris()[0] * [1.0, 10.0, 100.0, 0.1] + 50.0, targets(kind, *iris())
    options = {"hidden_layer_sizes": hidden, "max_iter": 3, "random_state": 0, "standardise": True}
    if kind in ("names", "two numbers", "labels"):
        model = MLPClassifier(**options).fit(X, y)
    else:
        model = MLPRegressor(loss="poisson" if kind == "counts" else "squared_error", **options).fit(X, y)
    assert model.scaling_ is not None
    same_predictions(model.to_sklearn(), model, X)
    if kind == "counts":  # PyTorch has no exp
        return
    torch = pytest.importorskip("torch")
    outputs = model.to_torch()(torch.from_numpy(X)).detach().numpy()
    expected = model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
    expected = expected[:, 1:] if kind == "two numbers" else expected.reshape(len(X), -1)
    np.testing.assert_allclose(outputs, expected, rtol=CLOSE, atol=CLOSE)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("options", [{"loss": "absolute_error"}, {"loss": "huber"}, {"loss": "quantile"}])
def test_a_robust_loss_predicts_the_same_elsewhere(options, standardise):
    X, y = iris()[0], targets("numbers", *iris())
    model = MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, standardise=standardise, **options).fit(X, y)
    same_predictions(model.to_sklearn(), model, X)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("options", [{"loss": "gaussian"}, {"loss": "quantile", "quantile": [0.1, 0.9]}])
@pytest.mark.parametrize(("way", "library"), [("to_sklearn", "scikit-learn"), ("to_torch", "PyTorch")])
def test_several_outputs_of_a_target_are_refused(options, way, library):
    X, y = iris()[0], targets("numbers", *iris())
    model = MLPRegressor(hidden_layer_sizes=(5,), max_iter=1, standardise=True, **options).fit(X, y)
    sentence = f"^a model of {library} has one output for each target, got loss='{options['loss']}'$"
    with pytest.raises(ValueError, match=sentence):
        getattr(model, way)()
