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


@pytest.mark.only("numpy", "torch", "jax", "array_api_strict", "dpnp")
def test_a_fitted_estimator_moves_to_the_device_of_a_name_and_is_read_there(xp, put, backend, elsewhere, tmp_path):
    X, y = iris()
    model = MLPClassifier(max_iter=2, random_state=0).fit(put(X), put(y))
    model.save(tmp_path / "model")
    name = {"array_api_strict": "CPU_DEVICE", "dpnp": "opencl"}.get(backend, "cpu")
    there = xp.asarray(X, device=elsewhere) if backend in ("jax", "array_api_strict") else xp.asarray(X)
    for moved in (model.to(name), MLPClassifier.load(tmp_path / "model", xp, name)):
        assert moved.predict(there).shape == (150,)
