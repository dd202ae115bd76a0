"""The network on array libraries that are not backends: MLX, which has no ``device=``, and ndonnx, which traces.

Both compute what NumPy computes. MLX has float64 on its CPU alone, and its functions are of float32's precision, which
is what is compared. ndonnx makes a graph of a step, which onnxruntime runs. The loop and the estimators don't work on
them: MLX refuses ``device=``, with which new arrays are made, and arrays of ndonnx have no length to go through.
"""

from __future__ import annotations

import numpy as np
import pytest
import textbook

import mlp_xp as mx

pytestmark = pytest.mark.only("mlx", "ndonnx")

# sums of at most 6 terms, a few functions one after the other, each within a few roundings of float32
RTOL = 32 * float(np.finfo(np.float32).eps)

OPTIONS = {
    "sigmoid": {},
    "penalties, smoothing": {"activation": "relu", "l2": 0.1, "l1": 0.1, "label_smoothing": 0.1},
    "dropout": {"activation": "gelu", "dropout": 0.2, "seed": 3},
    "squared error": {"activation": "tanh", "criterion": "squared_error"},
}


def on_host():
    batch = (textbook.batch(), *textbook.parameters())
    X, *params = (array.astype(np.float32) for array in batch)
    return X, textbook.labels().astype(np.int32), params


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_step_is_that_of_numpy(put, host, options):
    X, y, params = on_host()
    loss, stepped = mx.train_step(X, y, *params, lr=0.5, **options)
    ours, theirs = mx.train_step(put(X), put(y), *map(put, params), lr=0.5, **options)
    for expected, array in zip((loss, *stepped), (ours, *theirs), strict=True):
        np.testing.assert_allclose(host(array), expected, rtol=RTOL, atol=RTOL)


def test_forward_backward_and_predictions_are_those_of_numpy(put, host):
    X, y, params = on_host()
    p, cache = mx.forward(X, *params)
    there, its_cache = mx.forward(put(X), *map(put, params))
    np.testing.assert_allclose(host(there), p, rtol=RTOL)
    np.testing.assert_array_equal(host(mx.predict(put(X), *map(put, params))), mx.predict(X, *params))
    for expected, array in zip(mx.backward(cache, y), mx.backward(its_cache, put(y)), strict=True):
        np.testing.assert_allclose(host(array), expected, rtol=RTOL, atol=RTOL)


@pytest.mark.only("ndonnx")
def test_a_step_becomes_a_graph_that_onnxruntime_runs(xp):
    import onnxruntime

    X, y, params = on_host()
    inputs = dict(zip(("X", "y", "W1", "b1", "W2", "b2"), (X, y, *params), strict=True))
    traced = {k: xp.argument(shape=v.shape, dtype=getattr(xp, v.dtype.name)) for k, v in inputs.items()}
    loss, stepped = mx.train_step(*traced.values(), lr=0.5)
    model = xp.build(traced, dict(zip(("loss", "W1_", "b1_", "W2_", "b2_"), (loss, *stepped), strict=True)))
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    loss, stepped = mx.train_step(X, y, *params, lr=0.5)
    for expected, array in zip((loss, *stepped), found, strict=True):
        np.testing.assert_allclose(array, expected, rtol=RTOL, atol=RTOL)
