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


def pinball(random: Random) -> Drawn:
    """``max(q r, (q - 1) r)`` of the residual, the loss of the quantile q (scikit-learn's QuantileRegressor)."""
    params, X, weights, n = linear_model(random)
    q = float(random.uniform(0.1, 0.9))

    def value(xp: Any, data: Any, w: Any, b: Any) -> Any:
        X, y, rows = data
        r = y - X @ w - b
        return mean(xp, rows, xp.where(r > 0, q * r, (q - 1.0) * r))

    def gradient(xp: Any, data: Any, w: Any, b: Any) -> Any:
        X, y, rows = data
        r = y - X @ w - b
        dz = -shares(xp, rows) * xp.where(r > 0, q + 0.0 * r, q - 1.0 + 0.0 * r)
        return dz @ X, xp.sum(dz, keepdims=True)

    return Drawn(value, gradient, params, (X, 2.0 * random.normal(size=n), weights))


def poisson_nll(random: Random) -> Drawn:
    """``exp(z) - y z`` of counts y (torch.nn.PoissonNLLLoss)."""
    params, X, weights, n = linear_model(random)
    params = {name: 0.5 * p for name, p in params.items()}

    def value(xp: Any, data: Any, w: Any, b: Any) -> Any:
        X, y, rows = data
        z = X @ w + b
        return mean(xp, rows, xp.exp(z) - y * z)

    def gradient(xp: Any, data: Any, w: Any, b: Any) -> Any:
        X, y, rows = data
        dz = shares(xp, rows) * (xp.exp(X @ w + b) - y)
        return dz @ X, xp.sum(dz, keepdims=True)

    return Drawn(value, gradient, params, (X, random.poisson(2.0, n).astype(np.float64), weights))


def kl_of_gaussians(random: Random) -> Drawn:
    """``(mu^2 + exp(s) - s - 1) / 2``: a variational autoencoder's distance to the standard normal (Kingma)."""
    shape = tuple(int(k) for k in random.integers(1, 5, 2))

    def value(xp: Any, data: Any, mu: Any, s: Any) -> Any:
        return 0.5 * mean(xp, data[0], mu**2 + xp.exp(s) - s - 1.0)

    def gradient(xp: Any, data: Any, mu: Any, s: Any) -> Any:
        w = shares(xp, data[0])
        return w * mu, 0.5 * w * (xp.exp(s) - 1.0)

    params = {"mu": random.normal(size=shape), "s": random.normal(size=shape)}
    return Drawn(value, gradient, params, (random.uniform(0.2, 2.0, shape),))


def triplet(random: Random) -> Drawn:
    """``max(|a - p|^2 - |a - n|^2 + margin, 0)`` of each row (torch.nn.TripletMarginLoss)."""
    n, d = int(random.integers(3, 7)), int(random.integers(1, 4))

    def slack(xp: Any, a: Any, p: Any, q: Any) -> Any:
        return xp.sum((a - p) ** 2, axis=-1) - xp.sum((a - q) ** 2, axis=-1) + 4.0

    def value(xp: Any, data: Any, a: Any, p: Any, q: Any) -> Any:
        s = slack(xp, a, p, q)
        return mean(xp, data[0], xp.where(s > 0, s, 0.0 * s))

    def gradient(xp: Any, data: Any, a: Any, p: Any, q: Any) -> Any:
        s = slack(xp, a, p, q)
        w = 2.0 * (shares(xp, data[0]) * xp.where(s > 0, xp.ones_like(s), xp.zeros_like(s)))[:, None]
        return w * (q - p), w * (p - a), w * (a - q)

    names = ("anchor", "positive", "negative")
    params = {name: random.normal(size=(n, d)) for name in names}
    return Drawn(value, gradient, params, (random.uniform(0.2, 2.0, n),))


def contrastive(random: Random) -> Drawn:
    """``logsumexp_j(x_i . y_j / T) - x_i . y_i / T``: pairs told apart (InfoNCE of CLIP)."""
    n, d = int(random.integers(2, 6)), int(random.integers(1, 5))

    def value(xp: Any, data: Any, x: Any, y: Any) -> Any:
        w, temperature, eye = data
        z = x @ xp.matrix_transpose(y) / temperature
        return mean(xp, w, log_sum_exp(xp, z)[:, 0] - xp.sum(eye * z, axis=-1))

    def gradient(xp: Any, data: Any, x: Any, y: Any) -> Any:
        w, temperature, eye = data
        dz = shares(xp, w)[:, None] * (softmax(xp, x @ xp.matrix_transpose(y) / temperature) - eye) / temperature
        return dz @ y, xp.matrix_transpose(dz) @ x

    params = {"x": random.normal(size=(n, d)), "y": random.normal(size=(n, d))}
    return Drawn(value, gradient, params, (random.uniform(0.2, 2.0, n), np.asarray(0.7), np.eye(n)))


def distillation(random: Random) -> Drawn:
    """``T^2 KL(t || softmax(z / T))`` against a teacher's t (Hinton)."""
    n, k = int(random.integers(1, 5)), int(random.integers(2, 6))
    teacher = random.dirichlet(np.ones(k), n) + 1e-3
    teacher /= teacher.sum(axis=1, keepdims=True)

    def value(xp: Any, data: Any, z: Any) -> Any:
        t, rows = data
        return 4.0 * mean(xp, rows, xp.sum(t * (xp.log(t) + log_sum_exp(xp, z / 2.0) - z / 2.0), axis=-1))

    def gradient(xp: Any, data: Any, z: Any) -> Any:
        t, rows = data
        total = xp.sum(t, axis=-1, keepdims=True)
        return (2.0 * shares(xp, rows)[:, None] * (total * softmax(xp, z / 2.0) - t),)

    return Drawn(value, gradient, {"z": 2.0 * random.normal(size=(n, k))}, (teacher, random.uniform(0.2, 2.0, n)))


def cosine_similarity(random: Random) -> Drawn:
    """``1 - a . b / (|a| |b|)`` of each row (torch.nn.CosineEmbeddingLoss)."""
    n, d = int(random.integers(1, 5)), int(random.integers(2, 6))

    def parts(xp: Any, a: Any, b: Any) -> tuple[Any, ...]:
        la, lb = (xp.sqrt(xp.sum(x**2, axis=-1, keepdims=True)) for x in (a, b))
        return a / la, b / lb, la, lb

    def value(xp: Any, data: Any, a: Any, b: Any) -> Any:
        ua, ub, _, _ = parts(xp, a, b)
        return mean(xp, data[0], 1.0 - xp.sum(ua * ub, axis=-1))

    def gradient(xp: Any, data: Any, a: Any, b: Any) -> Any:
        ua, ub, la, lb = parts(xp, a, b)
        w, cos = shares(xp, data[0])[:, None], xp.sum(ua * ub, axis=-1, keepdims=True)
        return w * (cos * ua - ub) / la, w * (cos * ub - ua) / lb

    params = {"a": random.normal(size=(n, d)), "b": random.normal(size=(n, d))}
    return Drawn(value, gradient, params, (random.uniform(0.2, 2.0, n),))


def ordinal(random: Random) -> Drawn:
    """Cumulative logits: ``-log(s(t_k - z) - s(t_(k-1) - z))`` with ordered thresholds (statsmodels, mord)."""
    params, X, weights, n = linear_model(random)
    classes = 4
    t = np.cumsum(random.uniform(0.5, 1.5, classes - 1)) - 2.0
    y = random.integers(0, classes, n)
    above, below = one_hot(y, classes)[:, : classes - 1], one_hot(y, classes)[:, 1:]

    def edges(xp: Any, X: Any, above: Any, below: Any, w: Any, t: Any) -> tuple[Any, ...]:
        s = logistic(xp, t[None, :] - (X @ w)[:, None])
        has_top = xp.sum(above, axis=-1)
        top = xp.sum(above * s, axis=-1) + (1.0 - has_top)
        return s, top - xp.sum(below * s, axis=-1)

    def value(xp: Any, data: Any, w: Any, t: Any) -> Any:
        X, above, below, rows = data
        return -mean(xp, rows, xp.log(edges(xp, X, above, below, w, t)[1]))

    def gradient(xp: Any, data: Any, w: Any, t: Any) -> Any:
        X, above, below, rows = data
        s, p = edges(xp, X, above, below, w, t)
        dedge = (-shares(xp, rows) / p)[:, None] * (above - below) * s * (1.0 - s)
        return -xp.sum(dedge, axis=-1) @ X, xp.sum(dedge, axis=0)

    return Drawn(value, gradient, {"w": 0.5 * params["w"], "thresholds": t}, (X, above, below, weights))


def dice(random: Random) -> Drawn:
    """``1 - 2 sum(p t) / (sum p + sum t)`` of probabilities p, the loss of segmentation (MONAI)."""
    n = int(random.integers(3, 10))
    t = np.asarray(np.arange(n) % 2, dtype=np.float64)

    def value(xp: Any, data: Any, z: Any) -> Any:
        (t,) = data
        p = logistic(xp, z)
        return 1.0 - 2.0 * xp.sum(p * t) / (xp.sum(p) + xp.sum(t))

    def gradient(xp: Any, data: Any, z: Any) -> Any:
        (t,) = data
        p = logistic(xp, z)
        total = xp.sum(p) + xp.sum(t)
        return (-2.0 * (t / total - xp.sum(p * t) / total**2) * p * (1.0 - p),)

    return Drawn(value, gradient, {"z": random.normal(size=n)}, (t,))


FAMILIES = (
    huber,
    pinball,
    smoothed_cross_entropy,
    focal,
    gaussian_nll,
    poisson_nll,
    kl_of_gaussians,
    triplet,
    contrastive,
    distillation,
    cosine_similarity,
    ordinal,
    dice,
    cox_partial_likelihood,
)
