"""Losses of other libraries in our own words, most of them a weighted mean over rows of a linear model's errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from families_common import Drawn, log_sum_exp, logistic, mean, one_hot, shares, softmax, softplus

Random = np.random.Generator


def linear_model(random: Random, outputs: int = 0) -> tuple[dict[str, Any], Any, Any, int]:
    """Weights and bias, inputs X (n, p), weights of rows (n,), and n."""
    n, p = int(random.integers(4, 10)), int(random.integers(1, 5))
    shape = (p, outputs) if outputs else (p,)
    params = {"w": random.normal(size=shape), "b": random.normal(size=(outputs,) if outputs else (1,))}
    return params, random.normal(size=(n, p)), random.uniform(0.2, 2.0, n), n


def huber(random: Random) -> Drawn:
    """``r^2 / 2`` where |r| < 1, else ``|r| - 1/2``, weighted rows (torch.nn.HuberLoss)."""
    params, X, weights, n = linear_model(random)

    def value(xp: Any, data: Any, w: Any, b: Any) -> Any:
        X, y, rows = data
        r = X @ w + b - y
        return mean(xp, rows, xp.where(xp.abs(r) < 1.0, 0.5 * r**2, xp.abs(r) - 0.5))

    def gradient(xp: Any, data: Any, w: Any, b: Any) -> Any:
        X, y, rows = data
        r = X @ w + b - y
        dr = shares(xp, rows) * xp.where(xp.abs(r) < 1.0, r, xp.sign(r))
        return dr @ X, xp.sum(dr, keepdims=True)

    return Drawn(value, gradient, params, (X, 2.0 * random.normal(size=n), weights))


def smoothed_cross_entropy(random: Random) -> Drawn:
    """``logsumexp(z) - <t, z>`` with smoothed labels t (torch.nn.CrossEntropyLoss(label_smoothing=0.1))."""
    classes = int(random.integers(2, 5))
    params, X, weights, n = linear_model(random, classes)
    t = 0.9 * one_hot(random.integers(0, classes, n), classes) + 0.1 / classes

    def value(xp: Any, data: Any, w: Any, b: Any) -> Any:
        X, t, rows = data
        z = X @ w + b
        return mean(xp, rows, log_sum_exp(xp, z)[:, 0] - xp.sum(t * z, axis=-1))

    def gradient(xp: Any, data: Any, w: Any, b: Any) -> Any:
        X, t, rows = data
        dz = shares(xp, rows)[:, None] * (softmax(xp, X @ w + b) - t)
        return xp.matrix_transpose(X) @ dz, xp.sum(dz, axis=0)

    return Drawn(value, gradient, params, (X, t, weights))


def focal(random: Random) -> Drawn:
    """``-(1 - p)^2 log p`` of the true class of two (torchvision.ops.sigmoid_focal_loss)."""
    params, X, weights, n = linear_model(random)
    signs = random.choice([-1.0, 1.0], n)

    def value(xp: Any, data: Any, w: Any, b: Any) -> Any:
        X, signs, rows = data
        m = signs * (X @ w + b)
        return mean(xp, rows, logistic(xp, -m) ** 2 * softplus(xp, -m))

    def gradient(xp: Any, data: Any, w: Any, b: Any) -> Any:
        X, signs, rows = data
        m = signs * (X @ w + b)
        q = logistic(xp, -m)  # 1 - p
        dm = -2.0 * q**2 * (1.0 - q) * softplus(xp, -m) - q**3
        dz = shares(xp, rows) * signs * dm
        return dz @ X, xp.sum(dz, keepdims=True)

    return Drawn(value, gradient, params, (X, signs, weights))


def gaussian_nll(random: Random) -> Drawn:
    """``(log v + (y - m)^2 / v) / 2`` with v = exp(s), mean and log variance linear (torch.nn.GaussianNLLLoss)."""
    params, X, weights, n = linear_model(random)
    params = {"w": params["w"], "b": params["b"], "s": 0.5 * random.normal(size=params["w"].shape)}

    def value(xp: Any, data: Any, w: Any, b: Any, s: Any) -> Any:
        X, y, rows = data
        log_v = X @ s
        return 0.5 * mean(xp, rows, log_v + (y - X @ w - b) ** 2 * xp.exp(-log_v))

    def gradient(xp: Any, data: Any, w: Any, b: Any, s: Any) -> Any:
        X, y, rows = data
        log_v = X @ s
        r = (X @ w + b - y) * xp.exp(-log_v)
        dm, dv = shares(xp, rows) * r, 0.5 * shares(xp, rows) * (1.0 - r**2 * xp.exp(log_v))
        return dm @ X, xp.sum(dm, keepdims=True), dv @ X

    return Drawn(value, gradient, params, (X, random.normal(size=n), weights))


def cox_partial_likelihood(random: Random) -> Drawn:
    """``-sum_events(z_i - log sum_{t_j >= t_i} exp z_j)`` of survival times (lifelines, scikit-survival)."""
    params, X, _, n = linear_model(random)
    times, events = random.permutation(n), np.asarray(random.random(n) < 0.7, dtype=np.float64)
    events[0] = 1.0
    at_risk = np.asarray(times[None, :] >= times[:, None], dtype=np.float64)

    def value(xp: Any, data: Any, w: Any) -> Any:
        X, events, at_risk = data
        z = X @ w
        return -xp.sum(events * (z - xp.log(at_risk @ xp.exp(z))))

    def gradient(xp: Any, data: Any, w: Any) -> Any:
        X, events, at_risk = data
        e = xp.exp(X @ w)
        dz = e * ((events / (at_risk @ e)) @ at_risk) - events
        return (dz @ X,)

    return Drawn(value, gradient, {"w": params["w"]}, (X, events, at_risk))


FAMILIES = (huber, smoothed_cross_entropy, focal, gaussian_nll, cox_partial_likelihood)
