"""Layers of other libraries in our own words: normalisation, attention, recurrence, convolution, gates.

Each function draws one problem: the layer's output meets random weights ``c``, so that the loss is ``sum(c * output)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from families_common import Drawn, logistic, softmax

Random = np.random.Generator


def dense(random: Random) -> Drawn:
    """``tanh(x W + b)`` with up to a thousand weights (torch.nn.Linear)."""
    n, p, q = int(random.integers(2, 6)), int(random.integers(1, 40)), int(random.integers(1, 25))

    def value(xp: Any, data: Any, W: Any, b: Any) -> Any:
        x, c = data
        return xp.sum(c * xp.tanh(x @ W + b))

    def gradient(xp: Any, data: Any, W: Any, b: Any) -> Any:
        x, c = data
        dz = c * (1.0 - xp.tanh(x @ W + b) ** 2)
        return xp.matrix_transpose(x) @ dz, xp.sum(dz, axis=0)

    params = {"W": random.normal(size=(p, q)) / p**0.5, "b": random.normal(size=q)}
    return Drawn(value, gradient, params, (random.normal(size=(n, p)), random.normal(size=(n, q))))


def standardised(xp: Any, x: Any, axis: int) -> tuple[Any, Any]:
    """``(x - mean) / sqrt(var + eps)`` along an axis, and ``1 / sqrt(var + eps)``."""
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    scale = 1.0 / xp.sqrt(xp.mean(centred**2, axis=axis, keepdims=True) + 1e-5)
    return centred * scale, scale


def batch_norm(random: Random) -> Drawn:
    """``gamma (x - mean) / sqrt(var + eps) + beta`` over the batch, in training (torch.nn.BatchNorm1d)."""
    n, d = int(random.integers(4, 7)), int(random.integers(2, 5))

    def value(xp: Any, data: Any, x: Any, gamma: Any, beta: Any) -> Any:
        return xp.sum(data[0] * (gamma * standardised(xp, x, 0)[0] + beta))

    def gradient(xp: Any, data: Any, x: Any, gamma: Any, beta: Any) -> Any:
        (c,) = data
        y, scale = standardised(xp, x, 0)
        dy = c * gamma
        dx = scale * (dy - xp.mean(dy, axis=0) - y * xp.mean(dy * y, axis=0))
        return dx, xp.sum(c * y, axis=0), xp.sum(c, axis=0)

    params = {"x": random.normal(size=(n, d)), "gamma": random.uniform(0.5, 1.5, d), "beta": random.normal(size=d)}
    return Drawn(value, gradient, params, (random.normal(size=(n, d)),))


def layer_norm(random: Random) -> Drawn:
    """Every row to mean 0 and variance 1, then ``gamma y + beta`` (torch.nn.LayerNorm)."""
    n, d = int(random.integers(2, 5)), int(random.integers(3, 7))

    def value(xp: Any, data: Any, x: Any, gamma: Any, beta: Any) -> Any:
        return xp.sum(data[0] * (gamma * standardised(xp, x, -1)[0] + beta))

    def gradient(xp: Any, data: Any, x: Any, gamma: Any, beta: Any) -> Any:
        (c,) = data
        y, scale = standardised(xp, x, -1)
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


def rms_norm(random: Random) -> Drawn:
    """``gamma x / sqrt(mean x^2 + eps)``, rows by themselves (torch.nn.RMSNorm)."""
    n, d = int(random.integers(2, 5)), int(random.integers(2, 7))

    def scale(xp: Any, x: Any) -> Any:
        return 1.0 / xp.sqrt(xp.mean(x**2, axis=-1, keepdims=True) + 1e-6)

    def value(xp: Any, data: Any, x: Any, gamma: Any) -> Any:
        return xp.sum(data[0] * gamma * x * scale(xp, x))

    def gradient(xp: Any, data: Any, x: Any, gamma: Any) -> Any:
        (c,) = data
        s = scale(xp, x)
        y, dy = x * s, c * gamma
        return s * (dy - y * xp.mean(dy * y, axis=-1, keepdims=True)), xp.sum(c * y, axis=0)

    params = {"x": random.normal(size=(n, d)), "gamma": random.uniform(0.5, 1.5, d)}
    return Drawn(value, gradient, params, (random.normal(size=(n, d)),))


def group_norm(random: Random) -> Drawn:
    """Channels (n, 2 groups, k) to mean 0 and variance 1 in each group (torch.nn.GroupNorm)."""
    n, k = int(random.integers(1, 4)), int(random.integers(3, 5))

    def normalised(xp: Any, x: Any) -> tuple[Any, Any]:
        return standardised(xp, xp.reshape(x, (n, 2, k)), -1)

    def value(xp: Any, data: Any, x: Any, gamma: Any, beta: Any) -> Any:
        y = xp.reshape(normalised(xp, x)[0], (n, 2 * k))
        return xp.sum(data[0] * (y * gamma + beta))

    def gradient(xp: Any, data: Any, x: Any, gamma: Any, beta: Any) -> Any:
        (c,) = data
        y, scale = normalised(xp, x)
        dy = xp.reshape(c * gamma, (n, 2, k))
        dx = scale * (dy - xp.mean(dy, axis=-1, keepdims=True) - y * xp.mean(dy * y, axis=-1, keepdims=True))
        return xp.reshape(dx, (n, 2 * k)), xp.sum(c * xp.reshape(y, (n, 2 * k)), axis=0), xp.sum(c, axis=0)

    d = 2 * k
    params = {"x": random.normal(size=(n, d)), "gamma": random.uniform(0.5, 1.5, d), "beta": random.normal(size=d)}
    return Drawn(value, gradient, params, (random.normal(size=(n, d)),))


def gru_step(random: Random) -> Drawn:
    """One step of a gated recurrent unit, ``h' = (1 - z) n + z h`` (torch.nn.GRUCell)."""
    n, d, h = int(random.integers(2, 5)), int(random.integers(1, 4)), int(random.integers(1, 4))

    def gates(xp: Any, x: Any, before: Any, W: Any, U: Any, b: Any) -> tuple[Any, ...]:
        a, e = x @ W + b, before @ U
        r, z = logistic(xp, a[:, :h] + e[:, :h]), logistic(xp, a[:, h : 2 * h] + e[:, h : 2 * h])
        return r, z, e[:, 2 * h :], xp.tanh(a[:, 2 * h :] + r * e[:, 2 * h :])

    def value(xp: Any, data: Any, W: Any, U: Any, b: Any) -> Any:
        x, before, c = data
        _, z, _, new = gates(xp, x, before, W, U, b)
        return xp.sum(c * ((1.0 - z) * new + z * before))

    def gradient(xp: Any, data: Any, W: Any, U: Any, b: Any) -> Any:
        x, before, c = data
        r, z, e, new = gates(xp, x, before, W, U, b)
        dnew = c * (1.0 - z) * (1.0 - new**2)
        dr, dz = dnew * e * r * (1.0 - r), c * (before - new) * z * (1.0 - z)
        da, de = xp.concat((dr, dz, dnew), axis=1), xp.concat((dr, dz, dnew * r), axis=1)
        return xp.matrix_transpose(x) @ da, xp.matrix_transpose(before) @ de, xp.sum(da, axis=0)

    params = {
        "W": random.normal(size=(d, 3 * h)),
        "U": random.normal(size=(h, 3 * h)),
        "b": random.normal(size=3 * h),
    }
    return Drawn(value, gradient, params, (random.normal(size=(n, d)), *random.normal(size=(2, n, h))))


def conv2d(random: Random) -> Drawn:
    """A 2 x 2 convolution over an image by patches, stride 1, then tanh (torch.nn.Conv2d)."""
    rows, columns, outputs = int(random.integers(3, 5)), int(random.integers(3, 5)), int(random.integers(1, 4))
    corners = [(i, j) for i in range(rows - 1) for j in range(columns - 1)]
    index = np.asarray([(i + a) * columns + j + b for i, j in corners for a in (0, 1) for b in (0, 1)])
    read = np.asarray(index[:, None] == np.arange(rows * columns), dtype=np.float64)
    places = len(corners)

    def output(xp: Any, index: Any, image: Any, kernel: Any) -> tuple[Any, Any]:
        patches = xp.reshape(xp.take(xp.reshape(image, (rows * columns,)), index, axis=0), (places, 4))
        return patches, xp.tanh(patches @ kernel)

    def value(xp: Any, data: Any, image: Any, kernel: Any) -> Any:
        c, index, _ = data
        return xp.sum(c * output(xp, index, image, kernel)[1])

    def gradient(xp: Any, data: Any, image: Any, kernel: Any) -> Any:
        c, index, read = data
        patches, y = output(xp, index, image, kernel)
        dz = c * (1.0 - y**2)
        dimage = xp.reshape(dz @ xp.matrix_transpose(kernel), (places * 4,)) @ read
        return xp.reshape(dimage, (rows, columns)), xp.matrix_transpose(patches) @ dz

    params = {"image": random.normal(size=(rows, columns)), "kernel": random.normal(size=(4, outputs))}
    return Drawn(value, gradient, params, (random.normal(size=(places, outputs)), index, read))


def max_pool(random: Random) -> Drawn:
    """The largest of every window of k (torch.nn.MaxPool1d)."""
    windows, k = int(random.integers(2, 5)), int(random.integers(2, 4))

    def value(xp: Any, data: Any, x: Any) -> Any:
        return xp.sum(data[0] * xp.max(xp.reshape(x, (windows, k)), axis=-1) ** 2)

    def gradient(xp: Any, data: Any, x: Any) -> Any:
        (c,) = data
        rows = xp.reshape(x, (windows, k))
        top = xp.max(rows, axis=-1, keepdims=True)
        slope = xp.where(rows == top, 2.0 * c[:, None] * top, xp.zeros_like(rows))
        return (xp.reshape(slope, (windows * k,)),)

    return Drawn(value, gradient, {"x": random.normal(size=windows * k)}, (random.normal(size=windows),))


def average_pool(random: Random) -> Drawn:
    """The mean of every window of 3 at a stride of 1, then its exponential (torch.nn.AvgPool1d)."""
    length = int(random.integers(4, 9))
    band = np.asarray([[i <= j < i + 3 for j in range(length)] for i in range(length - 2)], dtype=np.float64)

    def value(xp: Any, data: Any, x: Any) -> Any:
        c, _ = data
        return xp.sum(c * xp.exp((x[:-2] + x[1:-1] + x[2:]) / 3.0))

    def gradient(xp: Any, data: Any, x: Any) -> Any:
        c, band = data
        return ((c * xp.exp(band @ x / 3.0)) @ band / 3.0,)

    return Drawn(value, gradient, {"x": random.normal(size=length)}, (random.normal(size=length - 2), band))


def bilinear(random: Random) -> Drawn:
    """``x_n' W y_n`` of each row (torch.nn.Bilinear)."""
    n, p, q = (int(k) for k in random.integers(1, 5, 3))

    def value(xp: Any, data: Any, x: Any, W: Any, y: Any) -> Any:
        return xp.sum(data[0] * xp.sum((x @ W) * y, axis=-1))

    def gradient(xp: Any, data: Any, x: Any, W: Any, y: Any) -> Any:
        c = data[0][:, None]
        return c * (y @ xp.matrix_transpose(W)), xp.matrix_transpose(x) @ (c * y), c * (x @ W)

    params = {"x": random.normal(size=(n, p)), "W": random.normal(size=(p, q)), "y": random.normal(size=(n, q))}
    return Drawn(value, gradient, params, (random.normal(size=n),))


def swiglu(random: Random) -> Drawn:
    """``silu(x W) * (x V)``: a gated linear unit (LLaMA)."""
    n, p, q = int(random.integers(2, 5)), int(random.integers(1, 4)), int(random.integers(1, 4))

    def value(xp: Any, data: Any, W: Any, V: Any) -> Any:
        x, c = data
        a = x @ W
        return xp.sum(c * a * logistic(xp, a) * (x @ V))

    def gradient(xp: Any, data: Any, W: Any, V: Any) -> Any:
        x, c = data
        a = x @ W
        s = logistic(xp, a)
        da = c * (x @ V) * s * (1.0 + a * (1.0 - s))
        return xp.matrix_transpose(x) @ da, xp.matrix_transpose(x) @ (c * a * s)

    params = {"W": random.normal(size=(p, q)), "V": random.normal(size=(p, q))}
    return Drawn(value, gradient, params, (random.normal(size=(n, p)), random.normal(size=(n, q))))


def mixture_of_experts(random: Random) -> Drawn:
    """``sum_e softmax(x G)_e tanh(x W)_e``: every expert has one output (Switch Transformers)."""
    n, p, e = int(random.integers(2, 5)), int(random.integers(1, 4)), int(random.integers(2, 5))

    def value(xp: Any, data: Any, G: Any, W: Any) -> Any:
        x, c = data
        return xp.sum(c * xp.sum(softmax(xp, x @ G) * xp.tanh(x @ W), axis=-1))

    def gradient(xp: Any, data: Any, G: Any, W: Any) -> Any:
        x, c = data
        p, y = softmax(xp, x @ G), xp.tanh(x @ W)
        dgate = c[:, None] * p * (y - xp.sum(p * y, axis=-1, keepdims=True))
        return xp.matrix_transpose(x) @ dgate, xp.matrix_transpose(x) @ (c[:, None] * p * (1.0 - y**2))

    params = {"G": random.normal(size=(p, e)), "W": random.normal(size=(p, e))}
    return Drawn(value, gradient, params, (random.normal(size=(n, p)), random.normal(size=n)))


def weight_norm(random: Random) -> Drawn:
    """``x (g v / |v|)``, a column of v for each output, then tanh (torch.nn.utils.weight_norm)."""
    n, p, q = int(random.integers(2, 5)), int(random.integers(2, 5)), int(random.integers(1, 4))

    def value(xp: Any, data: Any, v: Any, g: Any) -> Any:
        x, c = data
        return xp.sum(c * xp.tanh(x @ (g * v / xp.sqrt(xp.sum(v**2, axis=0)))))

    def gradient(xp: Any, data: Any, v: Any, g: Any) -> Any:
        x, c = data
        length = xp.sqrt(xp.sum(v**2, axis=0))
        unit = v / length
        dw = xp.matrix_transpose(x) @ (c * (1.0 - xp.tanh(x @ (g * unit)) ** 2))
        dg = xp.sum(dw * unit, axis=0)
        return g / length * (dw - unit * dg), dg

    params = {"v": random.normal(size=(p, q)), "g": random.uniform(0.5, 2.0, q)}
    return Drawn(value, gradient, params, (random.normal(size=(n, p)), random.normal(size=(n, q))))


def lora(random: Random) -> Drawn:
    """``tanh(x (W + A B))`` with W fixed and A B of low rank (peft)."""
    n, p, q, r = int(random.integers(2, 5)), int(random.integers(2, 5)), int(random.integers(2, 5)), 1

    def value(xp: Any, data: Any, A: Any, B: Any) -> Any:
        x, W, c = data
        return xp.sum(c * xp.tanh(x @ (W + A @ B)))

    def gradient(xp: Any, data: Any, A: Any, B: Any) -> Any:
        x, W, c = data
        dW = xp.matrix_transpose(x) @ (c * (1.0 - xp.tanh(x @ (W + A @ B)) ** 2))
        return dW @ xp.matrix_transpose(B), xp.matrix_transpose(A) @ dW

    params = {"A": random.normal(size=(p, r)), "B": random.normal(size=(r, q))}
    data = random.normal(size=(n, p)), random.normal(size=(p, q)), random.normal(size=(n, q))
    return Drawn(value, gradient, params, data)


def prelu(random: Random) -> Drawn:
    """``x`` where positive, else ``a x``, a slope for each column (torch.nn.PReLU)."""
    n, d = int(random.integers(2, 6)), int(random.integers(1, 5))

    def value(xp: Any, data: Any, x: Any, a: Any) -> Any:
        return xp.sum(data[0] * xp.where(x > 0, x, a * x))

    def gradient(xp: Any, data: Any, x: Any, a: Any) -> Any:
        (c,) = data
        return c * xp.where(x > 0, xp.ones_like(x), a + 0.0 * x), xp.sum(c * xp.where(x > 0, 0.0 * x, x), axis=0)

    params = {"x": random.normal(size=(n, d)), "a": random.uniform(0.1, 0.4, d)}
    return Drawn(value, gradient, params, (random.normal(size=(n, d)),))


def gelu(random: Random) -> Drawn:
    """``x (1 + tanh(k (x + 0.044715 x^3))) / 2`` of ``X W + b`` (torch.nn.GELU("tanh"))."""
    n, p, q, k = int(random.integers(2, 5)), int(random.integers(1, 4)), int(random.integers(1, 4)), 0.7978845608028654

    def value(xp: Any, data: Any, W: Any, b: Any) -> Any:
        X, c = data
        z = X @ W + b
        return 0.5 * xp.sum(c * z * (1.0 + xp.tanh(k * (z + 0.044715 * z**3))))

    def gradient(xp: Any, data: Any, W: Any, b: Any) -> Any:
        X, c = data
        z = X @ W + b
        t = xp.tanh(k * (z + 0.044715 * z**3))
        dz = 0.5 * c * (1.0 + t + z * (1.0 - t**2) * k * (1.0 + 0.134145 * z**2))
        return xp.matrix_transpose(X) @ dz, xp.sum(dz, axis=0)

    params = {"W": random.normal(size=(p, q)), "b": random.normal(size=q)}
    return Drawn(value, gradient, params, (random.normal(size=(n, p)), random.normal(size=(n, q))))


FAMILIES = (
    dense,
    batch_norm,
    layer_norm,
    rms_norm,
    group_norm,
    attention,
    lstm_step,
    gru_step,
    conv1d,
    conv2d,
    max_pool,
    average_pool,
    embedding,
    bilinear,
    swiglu,
    gelu,
    prelu,
    mixture_of_experts,
    weight_norm,
    lora,
)
