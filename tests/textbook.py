"""The network in plain NumPy, straight from the formulae: the tests compare the library with it.

Nothing here comes from mlp_xp. Derivatives are complex steps, ``Im f(x + i h) / h``: nothing is subtracted, and with
h = 1e-30 the truncation error, of the order of h^2, vanishes. They are right to rounding and need no backward pass.

Source: Squire and Trapp, Using complex variables to estimate derivatives of real functions, 1998.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

STEP = 1e-30


def _erf(z: Array) -> Array:
    """``erf(x + i h) = erf(x) + i h erf'(x)`` for an h whose square is below rounding."""
    real: Array = np.vectorize(math.erf, otypes=[float])(z.real)
    value: Array = real + 1j * z.imag * (2.0 / math.sqrt(math.pi)) * np.exp(-(z.real**2))
    return value


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
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


def _size(gap: Array) -> Array:
    """``|gap|``, for a complex step."""
    size: Array = np.where(gap.real > 0, gap, -gap)
    return size


def _negative_log_density(z: Array, t: Array) -> Any:
    """``-log`` of ``exp(-(t - m)^2 / (2 s^2)) / sqrt(2 pi s^2)``, of ``m`` and ``log s``."""
    mean, log_scale = np.split(z, 2, -1)
    variance = np.exp(log_scale) ** 2
    return 0.5 * (t - mean) ** 2 / variance + 0.5 * np.log(2.0 * np.pi * variance)


# (z, t) -> the loss of each row
CRITERIA: dict[str, Callable[[Any, Any], Any]] = {
    "softmax_cross_entropy": lambda z, t: -np.sum(t * np.log(np.exp(z) / np.sum(np.exp(z), -1, keepdims=True)), -1),
    "sigmoid_cross_entropy": lambda z, t: np.sum(np.log(1.0 + np.exp(z)) - t * z, -1),
    "squared_error": lambda z, t: 0.5 * np.sum((z - t) ** 2, -1),
    "poisson": lambda z, t: np.sum(np.exp(z) - t + t * (np.log(np.where(t > 0, t, 1.0)) - z), -1),
    "absolute_error": lambda z, t: np.sum(_size(z - t), -1),
    "huber": lambda z, t: np.sum(np.where(_size(z - t).real <= 1.0, 0.5 * (z - t) ** 2, _size(z - t) - 0.5), -1),
    "quantile": lambda z, t: np.sum(0.5 * _size(z - t), -1),
    "gaussian": lambda z, t: np.sum(_negative_log_density(z, t), -1),
}

# the criteria that take more than one output of the network for each target
OUTPUTS_PER_TARGET = {"gaussian": 2}


def widths_for(criterion: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes whose last one counts targets, with so many outputs as the criterion takes for them."""
    return (*sizes[:-1], sizes[-1] * OUTPUTS_PER_TARGET.get(criterion, 1))


def one_hot(y: Array, k: int) -> Array:
    """Labels (n,) as targets (n, k); a single output takes the labels 0 and 1 themselves."""
    targets: Array = np.eye(max(k, 2))[y][:, -1:] if k == 1 else np.eye(k)[y]
    return targets


def scramble(left: int, right: int, keys: tuple[int, int]) -> tuple[int, int]:
    """A Feistel network of four rounds on two 16-bit halves."""
    for turn, multiplier in enumerate((0x6A1D, 0x4E35, 0x59B5, 0x7A6B)):
        product = (right ^ keys[turn % 2]) * multiplier
        left, right = right, left ^ ((product ^ (product >> 15)) % 2**16)
    return left, right


def random_bits(row: int, columns: int, chosen: Iterable[int], seed: int, number: int) -> list[int]:
    """31 random bits for each of the ``chosen`` columns of a row, computed with Python's unbounded ints.

    ``number`` is that of a layer, or 2^15 more than that of a stream.
    """
    height = -(-(2**31) // columns) - 1  # the rows of a block: as many as have fewer than 2^31 entries
    block, start = row // height, row % height * columns
    keys = scramble(seed % 2**16, seed // 2**16, ((0x3C6E + number) % 2**16, 0x1F83))
    moved, still = (scramble(each % 2**16, each // 2**16, keys) for each in (block, 0))
    keys = keys[0] ^ moved[0] ^ still[0], keys[1] ^ moved[1] ^ still[1]
    halves = [scramble((start + column) % 2**16, (start + column) // 2**16, keys) for column in chosen]
    return [left * 2**15 + right // 2 for left, right in halves]


def dropout_mask(rows: int, columns: int, rate: float, seed: int, layer: int, first: int = 0) -> Array:
    """The mask of the rows after ``first`` others, computed with Python's unbounded ints."""
    bits = [random_bits(first + row, columns, range(columns), seed, layer) for row in range(rows)]
    return np.asarray([[0.0 if b < rate * 2**31 else 1.0 / (1.0 - rate) for b in row] for row in bits])


def logits(X: Array, *params: Array, activation: Any = "sigmoid", masks: Any = None) -> Array:
    """The output (n, d_out) of the last affine layer; ``masks`` holds one mask per hidden layer, or is None."""
    z: Array = X @ params[0] + params[1]
    hidden = len(params) // 2 - 1
    names = [activation] * hidden if isinstance(activation, str) else activation
    for layer in range(hidden):
        a = ACTIVATIONS[names[layer]](z)
        if masks is not None:
            a = a * masks[layer]
        z = a @ params[2 * layer + 2] + params[2 * layer + 3]
    return z


def objective(
    X: Array,
    y: Array,
    *params: Array,
    activation: Any = "sigmoid",
    criterion: str = "softmax_cross_entropy",
    l2: float = 0.0,
    l1: float = 0.0,
    label_smoothing: float = 0.0,
    sample_weight: Array | None = None,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    seed: int = 0,
) -> Any:
    """``sum_i w_i l_i / sum_i w_i + l2/2 sum ||W||^2 + l1 sum |W|``; its options mean what they do in the library."""
    n, k = X.shape[0], params[-1].shape[-1] // OUTPUTS_PER_TARGET.get(criterion, 1)
    masks = None
    if dropout:
        masks = [dropout_mask(n, b.shape[0], dropout, seed, i) for i, b in enumerate(params[1:-2:2], start=1)]
    if input_dropout:
        X = X * dropout_mask(n, X.shape[1], input_dropout, seed, 0)
    z = logits(X, *params, activation=activation, masks=masks)
    t = one_hot(y, k) if y.ndim == 1 else y
    t = (1.0 - label_smoothing) * t + label_smoothing / k
    w = np.ones(n) if sample_weight is None else sample_weight
    loss = np.sum(w * CRITERIA[criterion](z, t)) / np.sum(w)
    for W in params[::2]:
        loss = loss + l2 / 2 * np.sum(W**2) + l1 * np.sum(np.where(W.real > 0, W, -W))
    return loss


def gradients(X: Array, y: Array, *params: Array, **options: Any) -> list[Array]:
    """Every partial derivative of ``objective``, each by a complex step of its own."""
    grads: list[Array] = [np.empty(p.shape) for p in params]
    for position, grad in enumerate(grads):
        for index in np.ndindex(grad.shape):
            moved = [p.astype(complex) for p in params]
            moved[position][index] += 1j * STEP
            grad[index] = objective(X, y, *moved, **options).imag / STEP
    return grads


# One small problem for many tests, since JAX compiles every new shape again. No bias is 0, and no pre-activation lies
# at a kink. The arrays are read-only, as those of the fixture ``put`` are: a test that changes one takes a copy.
N, SIZES = 6, (4, 5, 3)


def read_only(array: Array) -> Array:
    """``array`` itself, which can no longer be written into."""
    array.flags.writeable = False
    return array


def batch(n: int = N, d_in: int = SIZES[0]) -> Array:
    """``X``: (n, d_in)."""
    return read_only(np.random.default_rng(1).standard_normal((n, d_in)))


def parameters(sizes: tuple[int, ...] = SIZES, seed: int = 2) -> list[Array]:
    """``[W1, b1, W2, b2, ...]`` of these sizes."""
    random = np.random.default_rng(seed)
    shapes = [shape for d_in, d_out in pairwise(sizes) for shape in ((d_in, d_out), (d_out,))]
    return [read_only(random.standard_normal(shape) / math.sqrt(shape[0])) for shape in shapes]


def labels(n: int = N, k: int = SIZES[-1]) -> Array:
    """``y``: (n,) labels of k classes; 0 and 1 for a single output."""
    return read_only(np.random.default_rng(3).integers(0, max(k, 2), n))


def soft_targets(n: int = N, k: int = SIZES[-1]) -> Array:
    """Rows (n, k) of numbers in 0 ... 1 that do not sum to 1."""
    return read_only(np.random.default_rng(4).random((n, k)))


def row_weights(n: int = N) -> Array:
    """Weights (n,) that do not sum to 1, one of them 0."""
    return read_only(np.arange(float(n)))


def relative_error(ours: Array, theirs: Array) -> float:
    """``max |a - b| / max |b|``, for tensors of one shape."""
    assert ours.shape == theirs.shape
    scale = np.max(np.abs(theirs))
    return float(np.max(np.abs(ours - theirs)) / (scale if scale else 1.0))
