"""The textbook's two-layer network in plain NumPy, as most people write it: forward, backward, a step, a check.

Nothing here comes from mlp_xp. ``benchmark_sides`` times it, ``structure`` shows it to the gradient checker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def problem(size: tuple[int, ...], dtype: str) -> tuple[Array, Array, Array, Array, Array, Array]:
    """``X, y, W1, b1, W2, b2`` of the size (n, d_in, d_h, d_out), the same at every call."""
    n, d_in, d_h, d_out = size
    random, kind = np.random.default_rng(0), np.dtype(dtype).type
    X, y = random.random((n, d_in), kind), random.integers(0, d_out, n)
    W1, W2 = (random.standard_normal(shape, kind) * kind(shape[0] ** -0.5) for shape in ((d_in, d_h), (d_h, d_out)))
    return X, y, W1, np.zeros(d_h, kind), W2, np.zeros(d_out, kind)


def sigmoid(z: Array) -> Array:
    """``1 / (1 + exp(-z))``, elementwise."""
    a: Array = 1 / (1 + np.exp(-z))
    return a


def softmax(z: Array) -> Array:
    """``exp(z) / sum(exp(z))`` of each row."""
    e: Array = np.exp(z - np.max(z, axis=1, keepdims=True))
    p: Array = e / np.sum(e, axis=1, keepdims=True)
    return p


def forward(X: Array, W1: Array, b1: Array, W2: Array, b2: Array) -> tuple[Array, dict[str, Array]]:
    """Probabilities (n, d_out), and what ``backward`` needs."""
    z1 = X @ W1 + b1
    a1 = sigmoid(z1)
    z2 = a1 @ W2 + b2
    p = softmax(z2)
    return p, {"X": X, "a1": a1, "p": p}


def cross_entropy(p: Array, y: Array) -> Any:
    """The mean of ``-log p`` of the labels."""
    return -np.mean(np.log(p[np.arange(len(y)), y]))


def backward(cache: dict[str, Array], y: Array, W2: Array) -> tuple[Array, Array, Array, Array]:
    """``(dW1, db1, dW2, db2)`` of the mean cross-entropy."""
    X, a1, p = cache["X"], cache["a1"], cache["p"]
    n = len(y)
    dz2 = p.copy()
    dz2[np.arange(n), y] -= 1
    dz2 /= n
    dW2 = a1.T @ dz2
    db2 = np.sum(dz2, axis=0)
    da1 = dz2 @ W2.T
    dz1 = da1 * a1 * (1 - a1)
    dW1 = X.T @ dz1
    db1 = np.sum(dz1, axis=0)
    return dW1, db1, dW2, db2


def train_step(X: Array, y: Array, W1: Array, b1: Array, W2: Array, b2: Array, lr: float) -> Any:
    """One step of gradient descent, in place; returns the loss before it."""
    p, cache = forward(X, W1, b1, W2, b2)
    loss = cross_entropy(p, y)
    dW1, db1, dW2, db2 = backward(cache, y, W2)
    W1 -= lr * dW1
    b1 -= lr * db1
    W2 -= lr * dW2
    b2 -= lr * db2
    return loss


def adam(params: list[Array], lr: float, epsilon: float) -> Callable[[Array, Array], Any]:
    """A function that makes one step of Adam on ``X, y``, in place, and returns the loss before it."""
    means, squares, t = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params], 0

    def step(X: Array, y: Array) -> Any:
        nonlocal t
        t += 1
        p, cache = forward(X, *params)
        for w, g, m, v in zip(params, backward(cache, y, params[2]), means, squares, strict=True):
            m += (1 - 0.9) * (g - m)
            v += (1 - 0.999) * (g * g - v)
            w -= lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + epsilon)
        return cross_entropy(p, y)

    return step


def differences_agree(X: Array, y: Array, *params: Array, step: float = 1e-5) -> bool:
    """Whether ``backward`` agrees with central differences, entry by entry, to the errors of both in float64."""
    analytic = backward(forward(X, *params)[1], y, params[2])
    worst = 0.0
    for array, gradient in zip(params, analytic, strict=True):
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + step
            above = cross_entropy(forward(X, *params)[0], y)
            array[index] = kept - step
            below = cross_entropy(forward(X, *params)[0], y)
            array[index] = kept
            worst = max(worst, abs((above - below) / (2 * step) - gradient[index]))
    # truncation is about step^2 = 1e-10, rounding about eps / step = 2e-11, of a loss of size 1
    return worst < 1e-8
