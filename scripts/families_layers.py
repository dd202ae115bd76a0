"""Layers of other libraries in our own words: normalisation, attention, recurrence, convolution, gates.

Each function draws one problem: the layer's output meets random weights ``c``, so that the loss is ``sum(c * output)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from families_common import Drawn, logistic, softmax

Random = np.random.Generator


def batch_norm(random: Random) -> Drawn:
    """``gamma (x - mean) / sqrt(var + eps) + beta`` over the batch, in training (torch.nn.BatchNorm1d)."""
    n, d = int(random.integers(4, 7)), int(random.integers(2, 5))

    def normalised(xp: Any, x: Any) -> tuple[Any, Any]:
        centred = x - xp.mean(x, axis=0)
        scale = 1.0 / xp.sqrt(xp.mean(centred**2, axis=0) + 1e-5)
        return centred * scale, scale

    def value(xp: Any, data: Any, x: Any, gamma: Any, beta: Any) -> Any:
        return xp.sum(data[0] * (gamma * normalised(xp, x)[0] + beta))

    def gradient(xp: Any, data: Any, x: Any, gamma: Any, beta: Any) -> Any:
        (c,) = data
        y, scale = normalised(xp, x)
        dy = c * gamma
        dx = scale * (dy - xp.mean(dy, axis=0) - y * xp.mean(dy * y, axis=0))
        return dx, xp.sum(c * y, axis=0), xp.sum(c, axis=0)

    params = {"x": random.normal(size=(n, d)), "gamma": random.uniform(0.5, 1.5, d), "beta": random.normal(size=d)}
    return Drawn(value, gradient, params, (random.normal(size=(n, d)),))


def layer_norm(random: Random) -> Drawn:
    """Every row to mean 0 and variance 1, then ``gamma y + beta`` (torch.nn.LayerNorm)."""
    n, d = int(random.integers(2, 5)), int(random.integers(3, 7))

    def normalised(xp: Any, x: Any) -> tuple[Any, Any]:
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        scale = 1.0 / xp.sqrt(xp.mean(centred**2, axis=-1, keepdims=True) + 1e-5)
        return centred * scale, scale

    def value(xp: Any, data: Any, x: Any, gamma: Any, beta: Any) -> Any:
        return xp.sum(data[0] * (gamma * normalised(xp, x)[0] + beta))

    def gradient(xp: Any, data: Any, x: Any, gamma: Any, beta: Any) -> Any:
        (c,) = data
        y, scale = normalised(xp, x)
        dy = c * gamma
        dx = scale * (dy - xp.mean(dy, axis=-1, keepdims=True) - y * xp.mean(dy * y, axis=-1, keepdims=True))
        return dx, xp.sum(c * y, axis=0), xp.sum(c, axis=0)

    params = {"x": random.normal(size=(n, d)), "gamma": random.uniform(0.5, 1.5, d), "beta": random.normal(size=d)}
    return Drawn(value, gradient, params, (random.normal(size=(n, d)),))


def attention(random: Random) -> Drawn:
    """``softmax(q k' / sqrt(d) + mask) v`` with a causal mask (torch's scaled_dot_product_attention)."""
    n, d, e = int(random.integers(2, 6)), int(random.integers(1, 5)), int(random.integers(1, 4))
    mask = np.where(np.tri(n) > 0, 0.0, -30.0)  # exp(-30) is as good as 0, and finite in every dtype

    def weights(xp: Any, q: Any, k: Any, mask: Any) -> Any:
        return softmax(xp, q @ xp.matrix_transpose(k) / d**0.5 + mask)

    def value(xp: Any, data: Any, q: Any, k: Any, v: Any) -> Any:
        return xp.sum(data[0] * (weights(xp, q, k, data[1]) @ v))

    def gradient(xp: Any, data: Any, q: Any, k: Any, v: Any) -> Any:
        c, mask = data
        p = weights(xp, q, k, mask)
        dp = c @ xp.matrix_transpose(v)
        ds = p * (dp - xp.sum(p * dp, axis=-1, keepdims=True)) / d**0.5
        return ds @ k, xp.matrix_transpose(ds) @ q, xp.matrix_transpose(p) @ c

    params = {"q": random.normal(size=(n, d)), "k": random.normal(size=(n, d)), "v": random.normal(size=(n, e))}
    return Drawn(value, gradient, params, (random.normal(size=(n, e)), mask))


def lstm_step(random: Random) -> Drawn:
    """One step of a long short-term memory, gates in the order input, forget, cell, output (torch.nn.LSTMCell)."""
    n, d, h = int(random.integers(2, 5)), int(random.integers(1, 4)), int(random.integers(1, 4))

    def gates(xp: Any, x: Any, before: Any, W: Any, U: Any, b: Any) -> tuple[Any, ...]:
        z = x @ W + before @ U + b
        i, f, o = (logistic(xp, z[:, k * h : (k + 1) * h]) for k in (0, 1, 3))
        return i, f, xp.tanh(z[:, 2 * h : 3 * h]), o

    def value(xp: Any, data: Any, W: Any, U: Any, b: Any) -> Any:
        x, before, cell, c = data
        i, f, g, o = gates(xp, x, before, W, U, b)
        return xp.sum(c * o * xp.tanh(f * cell + i * g))

    def gradient(xp: Any, data: Any, W: Any, U: Any, b: Any) -> Any:
        x, before, cell, c = data
        i, f, g, o = gates(xp, x, before, W, U, b)
        t = xp.tanh(f * cell + i * g)
        dcell = c * o * (1.0 - t**2)
        parts = (
            dcell * g * i * (1.0 - i),
            dcell * cell * f * (1.0 - f),
            dcell * i * (1.0 - g**2),
            c * t * o * (1.0 - o),
        )
        dz = xp.concat(parts, axis=1)
        return xp.matrix_transpose(x) @ dz, xp.matrix_transpose(before) @ dz, xp.sum(dz, axis=0)

    params = {
        "W": random.normal(size=(d, 4 * h)),
        "U": random.normal(size=(h, 4 * h)),
        "b": random.normal(size=4 * h),
    }
    data = (
        random.normal(size=(n, d)),
        random.normal(size=(n, h)),
        random.normal(size=(n, h)),
        random.normal(size=(n, h)),
    )
    return Drawn(value, gradient, params, data)


def conv1d(random: Random) -> Drawn:
    """A convolution along one axis by patches, ``y[p, o] = sum_ik x[i, p + k] w[i, k, o] + b[o]`` (torch.nn.Conv1d)."""
    c_in, length, k, c_out = 2, int(random.integers(5, 9)), int(random.integers(1, 4)), int(random.integers(1, 4))
    places = length - k + 1
    index = (np.arange(places)[:, None] + np.arange(k)).ravel()  # which column of x each patch reads
    back = np.asarray(index[:, None] == np.arange(length), dtype=np.float64)

    def patches(xp: Any, x: Any, index: Any) -> Any:
        columns = xp.reshape(xp.take(x, index, axis=1), (c_in, places, k))
        return xp.reshape(xp.permute_dims(columns, (1, 0, 2)), (places, c_in * k))

    def value(xp: Any, data: Any, x: Any, w: Any, b: Any) -> Any:
        c, index, _ = data
        return xp.sum(c * (patches(xp, x, index) @ xp.reshape(w, (c_in * k, c_out)) + b))

    def gradient(xp: Any, data: Any, x: Any, w: Any, b: Any) -> Any:
        c, index, back = data
        flat = xp.reshape(w, (c_in * k, c_out))
        dcolumns = xp.reshape(c @ xp.matrix_transpose(flat), (places, c_in, k))
        dx = xp.reshape(xp.permute_dims(dcolumns, (1, 0, 2)), (c_in, places * k)) @ back
        dw = xp.reshape(xp.matrix_transpose(patches(xp, x, index)) @ c, (c_in, k, c_out))
        return dx, dw, xp.sum(c, axis=0)

    params = {
        "x": random.normal(size=(c_in, length)),
        "w": random.normal(size=(c_in, k, c_out)),
        "b": random.normal(size=c_out),
    }
    return Drawn(value, gradient, params, (random.normal(size=(places, c_out)), index, back))


def embedding(random: Random) -> Drawn:
    """Rows of a table by index, an index more than once, then tanh (torch.nn.Embedding)."""
    rows, d, n = int(random.integers(3, 6)), int(random.integers(1, 4)), int(random.integers(4, 9))
    index = random.integers(0, rows, n)

    def value(xp: Any, data: Any, table: Any) -> Any:
        c, index, _ = data
        return xp.sum(c * xp.tanh(xp.take(table, index, axis=0)))

    def gradient(xp: Any, data: Any, table: Any) -> Any:
        c, index, chosen = data
        y = xp.tanh(xp.take(table, index, axis=0))
        return (xp.matrix_transpose(chosen) @ (c * (1.0 - y**2)),)

    chosen = np.asarray(index[:, None] == np.arange(rows), dtype=np.float64)
    return Drawn(value, gradient, {"table": random.normal(size=(rows, d))}, (random.normal(size=(n, d)), index, chosen))


FAMILIES = (batch_norm, layer_norm, attention, lstm_step, conv1d, embedding)
