"""Networks of scikit-learn and PyTorch, in and out: predictions are equal, and nothing is shared."""

from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pytest
import textbook
from kinds_of_targets import KINDS, targets
from sklearn import neural_network as theirs
from sklearn.datasets import load_iris

import mlp_xp as mx
from mlp_xp import convert
from mlp_xp.losses import CRITERIA

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SIZES = (4, 5, 6, 3)


def close(dtype):
    """Two ways to round some ten operations differ by a few eps."""
    return 64 * float(np.finfo(dtype).eps)


def iris(dtype="float64"):
    X, y = load_iris(return_X_y=True)
    return ((X - X.mean(0)) / X.std(0)).astype(dtype), y


# --- scikit-learn ----------------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_a_network_of_sklearns_goes_in_and_out_again(activation, kind, dtype):
    (X, _), y = iris(dtype), targets(kind, *iris())
    options = {"hidden_layer_sizes": (5, 4), "activation": activation, "max_iter": 3, "random_state": 0}
    classifies = kind in ("names", "two numbers", "labels")
    options |= {} if classifies else {"loss": "poisson" if kind == "counts" else "squared_error"}
    model = (theirs.MLPClassifier if classifies else theirs.MLPRegressor)(**options).fit(X, y)
    params, found = convert.from_sklearn(model)
    assert all(p.dtype == dtype for p in params)
    made, _ = mx.forward(X, *params, **found)
    back = convert.to_sklearn(*params, classes=model.classes_ if kind in ("names", "two numbers") else None, **found)
    assert back.predict(X).tolist() == model.predict(X).tolist()
    if classifies:
        expected = model.predict_proba(X)
        np.testing.assert_allclose(made, expected[:, -made.shape[1] :], rtol=0, atol=close(dtype))
        np.testing.assert_array_equal(back.predict_proba(X), expected)
        assert back.classes_.tolist() == model.classes_.tolist()
    else:
        np.testing.assert_allclose(made, model.predict(X).reshape(150, -1), rtol=close(dtype), atol=close(dtype))
    back.coefs_[0][:] = 0.0
    assert params[0].any()
    assert model.coefs_[0].any()


@pytest.mark.only("numpy")
def test_a_softmax_of_two_is_one_sigmoid_there():
    X, params = textbook.batch(), textbook.parameters((4, 5, 2))
    model = convert.to_sklearn(*params, classes=["no", "yes"], activation="tanh")
    np.testing.assert_allclose(model.predict_proba(X), mx.predict_proba(X, *params, activation="tanh"), rtol=1e-13)
    assert pickle.loads(pickle.dumps(model)).predict(X).tolist() == model.predict(X).tolist()


def test_parameters_of_any_library_go_to_sklearn(put, host):
    X, params = textbook.batch(), textbook.parameters(SIZES)
    model = convert.to_sklearn(*map(put, params), activation="tanh", criterion=mx.losses.squared_error)
    ours = mx.predict(put(X), *map(put, params), activation="tanh", criterion="squared_error")
    np.testing.assert_allclose(model.predict(X), host(ours), rtol=1e-13)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("criterion", [mx.losses.quantile(0.9), mx.losses.huber(2.0), "absolute_error"], ids=str)
def test_a_criterion_whose_outputs_are_its_logits_becomes_a_regressor(criterion):
    X, params = textbook.batch(), textbook.parameters(SIZES)
    model = convert.to_sklearn(*params, activation="tanh", criterion=criterion)
    ours = mx.predict(X, *params, activation="tanh", criterion=criterion)
    np.testing.assert_allclose(model.predict(X), ours, rtol=1e-13)


# --- PyTorch ---------------------------------------------------------------------------------------------------------


# poisson's exp is no module of PyTorch's
CRITERIA_THERE = [name for name, record in CRITERIA.items() if record.slopes is None or "cross_entropy" in name]


@pytest.mark.only("torch")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", textbook.ACTIVATIONS)
@pytest.mark.parametrize("criterion", CRITERIA_THERE)
def test_a_network_goes_to_torch_and_back(put, host, xp, activation, criterion, dtype):
    import torch

    X, *params = (put(a, getattr(xp, dtype)) for a in (textbook.batch(), *textbook.parameters(SIZES)))
    before, options = torch.get_rng_state(), {"activation": activation, "criterion": criterion}
    model = convert.to_torch(*params, **options)
    assert torch.equal(torch.get_rng_state(), before)  # nothing was drawn
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    made, outputs = model(X).detach(), mx.forward(X, *params, **options)[0]
    assert made.dtype == X.dtype
    np.testing.assert_allclose(made, outputs, rtol=close(dtype), atol=close(dtype))
    back, found = convert.from_torch(model)
    assert found["activation"] == activation
    for given, returned in zip(params, back, strict=True):
        np.testing.assert_array_equal(returned, given)
    np.testing.assert_allclose(mx.forward(X, *back, **found)[0], outputs, rtol=close(dtype), atol=close(dtype))
    with torch.no_grad():
        model[0].weight.zero_()  # nothing is shared
    assert bool(back[0].any())
    assert bool(params[0].any())
    of_host = convert.to_torch(*map(host, params), **options)
    np.testing.assert_array_equal(of_host(X).detach(), made)


def sequentials(nn):
    square, tanh = nn.Linear(4, 4), nn.Tanh()
    return {
        "dropout and flat rows": nn.Sequential(
            nn.Flatten(), nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(5, 3), nn.Softmax(dim=1)
        ),
        "an activation for each layer": nn.Sequential(
            nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 5), nn.SiLU(), nn.Linear(5, 6), nn.ELU(), nn.Linear(6, 2),
            nn.Sigmoid(),
        ),
        "within another, without biases, without an activation": nn.Sequential(
            nn.Sequential(nn.Linear(4, 6, bias=False), nn.Identity(), nn.LeakyReLU()), nn.Linear(6, 5), nn.Linear(5, 2)
        ),
        "one layer": nn.Sequential(nn.Linear(4, 2)),
        "modules that stand in two places": nn.Sequential(square, tanh, nn.Sequential(square, tanh), nn.Linear(4, 2)),
    }  # fmt: skip


@pytest.mark.only("torch")
@pytest.mark.parametrize("which", range(5))
def test_outputs_of_a_sequential_are_those_of_forward(which):
    import torch

    torch.manual_seed(0)
    model = list(sequentials(torch.nn).values())[which].eval()
    X = torch.tensor(textbook.batch(), dtype=torch.float32)
    params, options = convert.from_torch(model)
    outputs, _ = mx.forward(X, *params, **options)
    np.testing.assert_allclose(outputs, model(X).detach(), rtol=close("float32"), atol=close("float32"))
    again = convert.to_torch(*params, **options)
    np.testing.assert_allclose(again(X).detach(), model(X).detach(), rtol=close("float32"), atol=close("float32"))


@pytest.mark.only("torch")
def test_a_layer_without_a_counterpart_is_refused_by_its_name():
    from torch import nn

    first, last = nn.Linear(4, 5), nn.Linear(5, 3)
    for layers, words in [
        ([first, nn.BatchNorm1d(5), nn.ReLU(), last], "got BatchNorm1d(5, eps=1e-05"),
        ([first, nn.Sequential(nn.GELU(approximate="tanh")), last], "got GELU(approximate='tanh') as layer 1.0"),
        ([first, nn.LeakyReLU(0.2), last], "got LeakyReLU(negative_slope=0.2) as layer 1"),
        ([first, nn.ReLU(), nn.Tanh(), last], "got Tanh() as layer 2"),
        ([nn.ReLU(), first], "got ReLU() as layer 0"),
        ([first, nn.Softmax(dim=0)], "got Softmax(dim=0) as layer 1"),
        ([first, nn.Flatten()], "got Flatten(start_dim=1, end_dim=-1) as layer 1"),
        ([first, nn.Softmax(dim=1), last], "sequential must end with a Linear layer"),
        ([first, nn.ReLU()], "a Softmax or a Sigmoid at most after it, got relu"),
        ([], "a Softmax or a Sigmoid at most after it, got no layer"),
    ]:
        with pytest.raises(ValueError, match=r"^sequential must ") as caught:
            convert.from_torch(nn.Sequential(*copy.deepcopy(layers)))
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


# --- what is refused -------------------------------------------------------------------------------------------------


def own(z):
    return z * z, lambda dy: (2.0 * z * dy,)


P = textbook.parameters(SIZES)
WRONG = {
    "no network": (lambda: convert.from_sklearn(3), "model must be a fitted MLPClassifier or MLPRegressor, got 3"),
    "not fitted": (lambda: convert.from_sklearn(theirs.MLPClassifier()), "model must be a fitted MLPClassifier or"),
    "an activation": (
        lambda: convert.to_sklearn(*P, activation="gelu"),
        "activation must be one of identity, sigmoid, tanh, relu in all layers for scikit-learn, got ['gelu', 'gelu']",
    ),
    "two activations": (lambda: convert.to_sklearn(*P, activation=["tanh", "relu"]), "got ['tanh', 'relu']"),
    "one class": (lambda: convert.to_sklearn(*P[:-2], P[-2][:, :1], P[-1][:1]), "two classes apart, or more"),
    "classes in another order": (lambda: convert.to_sklearn(*P, classes=list("cab")), "3 names in sorted order, got"),
    "too few classes": (lambda: convert.to_sklearn(*P, classes=list("ab")), "must be 3 names in sorted order, got"),
    "classes of numbers": (
        lambda: convert.to_sklearn(*P, classes=list("abc"), criterion="squared_error"), "classes belong to a cross-"),
    "several networks": (
        lambda: convert.to_sklearn(*(np.stack([p, p]) for p in P)), "one network, got parameters with a leading axis"),
    "parameters that do not chain": (lambda: convert.to_sklearn(*P[2:4], *P[:2]), "W2 must have shape (6, d_out) to"),
    "an option": (lambda: convert.to_sklearn(*P, activaton="tanh"), "did you mean 'activation'?"),
    "no parameters": (lambda: convert.to_sklearn(), "in pairs, got 0 arrays"),
    "an op": (lambda: convert.to_sklearn(*P, activation=own), "no counterpart of an op of your own, got activation"),
}  # fmt: skip


@pytest.mark.only("numpy")
@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_converted_gets_one_sentence(wrong):
    call, words = WRONG[wrong]
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.only("torch")
def test_what_torch_lacks_gets_one_sentence():
    import torch

    for call, words in [
        (lambda: convert.to_torch(*P, criterion="poisson"), "criterion='squared_error' gives its logits"),
        (lambda: convert.to_torch(*P, activation=own), "PyTorch has no counterpart of an op of your own"),
        (lambda: convert.to_torch(*(np.stack([p, p]) for p in P)), "a model of PyTorch is one network, got"),
        (lambda: convert.from_torch(torch.nn.Linear(2, 3)), "must be a torch.nn.Sequential, got Linear"),
    ]:
        with pytest.raises((ValueError, TypeError), match=words):
            call()


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("library", "extra"), [("torch", "torch"), ("sklearn.neural_network", "sklearn")])
def test_without_the_library_the_message_says_what_to_install(monkeypatch, library, extra):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'mlp_xp\[{extra}\]'"):
        (convert.to_torch if library == "torch" else convert.to_sklearn)(*P)
