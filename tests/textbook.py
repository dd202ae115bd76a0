"""The network over again, in plain NumPy and straight from the formulae: what the tests compare the library with.

Nothing here comes from mlp_xp. Derivatives are taken by the complex step, ``Im f(x + i h) / h``: with h = 1e-30 nothing
is subtracted and the truncation error, h^2, vanishes, so they are right to rounding and owe nothing to anybody's
backward pass (Squire and Trapp, Using complex variables to estimate derivatives of real functions, 1998).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

STEP = 1e-30


def _erf(z: np.ndarray) -> np.ndarray:
    """``erf(x + i h) = erf(x) + i h erf'(x)`` for an h whose square is nothing."""
    real = np.vectorize(math.erf, otypes=[float])(z.real)
    return real + 1j * z.imag * (2.0 / math.sqrt(math.pi)) * np.exp(-(z.real**2))


ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1.0 / (1.0 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.where(z.real > 0, z, 0.0),
    "leaky_relu": lambda z: np.where(z.real > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z.real > 0, z, np.exp(z) - 1.0),
    "silu": lambda z: z / (1.0 + np.exp(-z)),
    "softplus": lambda z: np.log(1.0 + np.exp(z)),
    "gelu": lambda z: z * 0.5 * (1.0 + _erf(z / math.sqrt(2.0))),
}

CRITERIA = {
    "softmax_cross_entropy": lambda z, t: -np.sum(t * np.log(np.exp(z) / np.sum(np.exp(z), -1, keepdims=True)), -1),
    "sigmoid_cross_entropy": lambda z, t: np.sum(np.log(1.0 + np.exp(z)) - t * z, -1),
    "squared_error": lambda z, t: 0.5 * np.sum((z - t) ** 2, -1),
    "poisson": lambda z, t: np.sum(np.exp(z) - t + t * (np.log(np.where(t > 0, t, 1.0)) - z), -1),
}


def one_hot(y: np.ndarray, k: int) -> np.ndarray:
    return np.eye(max(k, 2))[y][:, -1:] if k == 1 else np.eye(k)[y]


def dropout_mask(rows: int, columns: int, rate: float, seed: int, layer: int) -> np.ndarray:
    """The mask with Python's unbounded ints: a Feistel network of four rounds on two 16-bit halves, twice."""

    def scramble(left: int, right: int, keys: tuple[int, int]) -> tuple[int, int]:
        for turn, multiplier in enumerate((0x6A1D, 0x4E35, 0x59B5, 0x7A6B)):
            product = (right ^ keys[turn % 2]) * multiplier
            left, right = right, left ^ ((product ^ (product >> 15)) % 2**16)
        return left, right

    keys = scramble(seed % 2**16, seed // 2**16, ((0x3C6E + layer) % 2**16, 0x1F83))
    mask = np.empty(rows * columns)
    for position in range(rows * columns):
        left, right = scramble(position % 2**16, position // 2**16, keys)
        mask[position] = 0.0 if left * 2**15 + right // 2 < rate * 2**31 else 1.0 / (1.0 - rate)
    return mask.reshape(rows, columns)


def logits(X: np.ndarray, *params: np.ndarray, activation: Any = "sigmoid", masks: Any = None) -> np.ndarray:
    z = X @ params[0] + params[1]
    hidden = len(params) // 2 - 1
    names = [activation] * hidden if isinstance(activation, str) else activation
    for layer in range(hidden):
        a = ACTIVATIONS[names[layer]](z)
        if masks is not None:
            a = a * masks[layer]
        z = a @ params[2 * layer + 2] + params[2 * layer + 3]
    return z


def objective(
    X: np.ndarray,
    y: np.ndarray,
    *params: np.ndarray,
    activation: Any = "sigmoid",
    criterion: str = "softmax_cross_entropy",
    l2: float = 0.0,
    l1: float = 0.0,
    label_smoothing: float = 0.0,
    sample_weight: np.ndarray | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> Any:
    n, k = X.shape[0], params[-1].shape[-1]
    masks = None
    if dropout:
        masks = [dropout_mask(n, b.shape[0], dropout, seed, i) for i, b in enumerate(params[1:-2:2], start=1)]
    z = logits(X, *params, activation=activation, masks=masks)
    t = one_hot(y, k) if y.ndim == 1 else y
    t = (1.0 - label_smoothing) * t + label_smoothing / k
    w = np.ones(n) if sample_weight is None else sample_weight
    loss = np.sum(w * CRITERIA[criterion](z, t)) / np.sum(w)
    for W in params[::2]:
        loss = loss + l2 / 2 * np.sum(W**2) + l1 * np.sum(np.where(W.real > 0, W, -W))
    return loss


def gradients(X: np.ndarray, y: np.ndarray, *params: np.ndarray, **options: Any) -> list[np.ndarray]:
    """Every partial derivative of ``objective``, each by its own complex step."""
    grads = [np.empty(p.shape) for p in params]
    for position, grad in enumerate(grads):
        for index in np.ndindex(grad.shape):
            moved = [p.astype(complex) for p in params]
            moved[position][index] += 1j * STEP
            grad[index] = objective(X, y, *moved, **options).imag / STEP
    return grads


# One small problem for many tests: on JAX every new shape is compiled again. Every bias is away from 0, every
# pre-activation from the kinks.
N, SIZES = 6, (4, 5, 3)


def batch(n: int = N, d_in: int = SIZES[0]) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, d_in))


def parameters(sizes: tuple[int, ...] = SIZES, seed: int = 2) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = [shape for d_in, d_out in pairwise(sizes) for shape in ((d_in, d_out), (d_out,))]
    return [random.standard_normal(shape) / math.sqrt(shape[0]) for shape in shapes]


def labels(n: int = N, k: int = SIZES[-1]) -> np.ndarray:
    return np.random.default_rng(3).integers(0, max(k, 2), n)


def soft_targets(n: int = N, k: int = SIZES[-1]) -> np.ndarray:
    """Rows of numbers in 0 ... 1 that do not sum to 1."""
    return np.random.default_rng(4).random((n, k))


def row_weights(n: int = N) -> np.ndarray:
    """Weights that do not sum to 1, one of them 0."""
    return np.arange(float(n))


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """``max |a - b| / max |b|``: how far two tensors are apart."""
    assert ours.shape == theirs.shape
    scale = np.max(np.abs(theirs))
    return float(np.max(np.abs(ours - theirs)) / (scale if scale else 1.0))
