"""The network of an estimator: its activations, and its way to another device."""

from __future__ import annotations

import pytest
from estimator_problems import iris
from marks import EAGER

import mlp_xp as mx
from mlp_xp.estimators import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@EAGER
def test_any_activation_or_one_per_layer(put, backend):
    X, y = iris()
    for activation in ("gelu", ["silu", "softplus"], mx.ops.elu, [mx.ops.leaky_relu, "tanh"]):
        layers = {"hidden_layer_sizes": (3, 2) if isinstance(activation, list) else (3,), "activation": activation}
        checked = backend != "dask"  # thousands of evaluations of tiny graphs; the next test has its share
        model = MLPClassifier(**layers, max_iter=2, random_state=0, check_gradients=checked).fit(put(X), put(y))
        assert not checked or model.gradient_report_.ok, model.gradient_report_


def test_a_fitted_estimator_moves_to_another_device(xp, put, device, backend):
    if backend not in ("torch", "array_api_strict", "numpy"):
        pytest.skip("the library places its arrays by itself")
    X, y = iris()
    model = MLPClassifier(max_iter=2, random_state=0).fit(put(X), put(y))
    elsewhere = {"torch": "cpu", "numpy": "cpu"}.get(backend) or xp.Device("CPU_DEVICE")
    model.to(elsewhere)
    assert model.predict(xp.asarray(X, device=elsewhere)).shape == (150,)
