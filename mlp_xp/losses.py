"""Criteria: how far the logits are from the targets, each with its derivative worked out by hand.

A criterion is ``criterion(logits, targets, weights) -> (loss, pullback)``: logits (n, k), floating targets (n, k),
weights (n,) that sum to 1. It sums over the outputs and averages over the batch; only the logits are differentiated.
``targets_and_weights`` makes the second and third from what a caller has: labels, smoothing, sample weights.

Before: ``ops``. Next: ``mlp`` puts a network in front of the logits.
"""

from __future__ import annotations

from mlp_xp._lib.namespace import device_kwargs, is_floating, is_integral, is_numpy, namespace
from mlp_xp._lib.typing import Array, Namespace, Op, Pullback
from mlp_xp.ops import Rule, log1p_exp, logistic, public

# --- probabilities -----------------------------------------------------------------------------------------------


def exp_and_total(xp: Namespace, z: Array) -> tuple[Array, Array, Array]:
    """``z - max z``, its exponential, and the sum of that over the last axis: what softmax and its logarithm share."""
    shifted = z - xp.max(z, axis=-1, keepdims=True)  # softmax does not change, and no exponent is positive
    exps = xp.exp(shifted)
    return shifted, exps, xp.sum(exps, axis=-1, keepdims=True)


def softmax(z: Array) -> Array:
    """``exp z_j / sum_k exp z_k`` over the last axis: (n, k) -> (n, k), at any magnitude."""
    _, exps, total = exp_and_total(namespace(z, names=("z",)), z)
    return exps / total


def sigmoid(z: Array) -> Array:
    """``1 / (1 + exp(-z))``, elementwise, at any magnitude. The differentiable op is ``mlp_xp.ops.sigmoid``."""
    return logistic(namespace(z, names=("z",)), z)


def cross_entropy(p: Array, y: Array) -> Array:
    """``-1/n sum_i log p[i, y_i]``, or ``-1/n sum_ij y_ij log p_ij`` for soft targets: (n, k), (n,) or (n, k) -> 0-d.

    Exactly the mean of ``-log`` of the given probabilities: where the true class has probability 0 the loss is ``inf``.
    Training goes from the logits instead (``objective``), where nothing was rounded to 0.

    Args:
        p: probabilities (n, k), k >= 2.
        y: integer labels (n,), or floating targets (n, k) of the same dtype.

    Raises:
        ValueError: for shapes that do not fit, or labels out of range.
        TypeError: for dtypes or libraries that differ.
    """
    xp = namespace(p, y, names=("p", "y"))
    if p.ndim != 2 or p.shape[0] == 0 or p.shape[1] < 2:
        raise ValueError(f"p must have shape (n, k) with n >= 1 and k >= 2 classes, got {tuple(p.shape)}")
    if not is_floating(xp, p.dtype):
        raise TypeError(f"p must be floating, got {p.dtype}")
    targets, weights = targets_and_weights(xp, y, p)
    zero = p == 0
    log_p = xp.log(xp.where(zero, xp.ones_like(p), p))
    infinity = xp.full((), float("inf"), dtype=p.dtype, **device_kwargs(p))
    # 0 log 0 = 0; elsewhere -log 0 = inf, written down rather than computed, which would warn
    surprise = xp.where(zero, infinity, -log_p)
    return xp.sum(weights[:, None] * (targets * xp.where(targets == 0, xp.zeros_like(p), surprise)))


# --- targets -----------------------------------------------------------------------------------------------------


def targets_and_weights(
    xp: Namespace,
    y: Array,
    outputs: Array,
    sample_weight: Array | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Array, Array]:
    """Floating targets (n, k) and weights (n,) that sum to 1, in the dtype of ``outputs`` (..., n, k).

    Integer labels (n,) become one-hot rows (0/1 when k is 1), smoothed to ``(1 - s) one_hot + s / k``. A label out of
    range raises on NumPy; elsewhere, where looking would wait for the device, its row gets weight NaN, which reaches
    the loss and every gradient.
    """
    n, k = outputs.shape[-2:]
    dtype = outputs.dtype
    place = device_kwargs(outputs)
    if sample_weight is None:
        weights = xp.full((n,), 1.0 / n, dtype=dtype, **place)
    else:
        _check_sample_weight(xp, sample_weight, outputs)
        weights = sample_weight / xp.sum(sample_weight)
    if y.dtype == dtype or not is_integral(xp, y.dtype):
        _check_floating_targets(xp, y, n, k, dtype)
        targets = y
    else:
        if y.shape != (n,):
            raise ValueError(f"integer y must be labels of shape (n,) = ({n},), got {tuple(y.shape)}")
        classes = max(k, 2)
        if classes > 127 and xp.iinfo(y.dtype).max < classes:  # 8-bit labels of more classes than 8 bits can count
            y = xp.astype(y, xp.int32)
        hit = y[:, None] == xp.arange(classes, dtype=y.dtype, **place)
        if not is_numpy(xp):
            weights = xp.where(xp.any(hit, axis=-1), weights, weights * float("nan"))
        elif xp.count_nonzero(hit) != n:
            raise ValueError(f"y must hold labels 0 to {classes - 1}, got labels {xp.min(y)} to {xp.max(y)}")
        targets = xp.astype(hit if k > 1 else hit[:, 1:], dtype)
    if label_smoothing:
        targets = (1.0 - label_smoothing) * targets + label_smoothing / k
    return targets, weights


def _check_sample_weight(xp: Namespace, sample_weight: Array, outputs: Array) -> None:
    n, dtype = outputs.shape[-2], outputs.dtype
    if sample_weight.shape != (n,):
        raise ValueError(f"sample_weight must have shape (n,) = ({n},), got {tuple(sample_weight.shape)}")
    if sample_weight.dtype != dtype:
        raise TypeError(f"sample_weight must have the dtype of X, {dtype}, got {sample_weight.dtype}")
    if is_numpy(xp):
        if not xp.min(sample_weight) >= 0:
            raise ValueError(f"sample_weight must not be negative or NaN, got {float(xp.min(sample_weight))}")
        if not xp.sum(sample_weight) > 0:
            raise ValueError("sample_weight must not sum to zero")


def _check_floating_targets(xp: Namespace, y: Array, n: int, k: int, dtype: object) -> None:
    if not is_floating(xp, y.dtype):
        raise TypeError(f"y must be integer labels (n,) or floating targets (n, d_out), got dtype {y.dtype}")
    if y.shape != (n, k):
        hint = "; class labels must be integers" if y.ndim == 1 else ""
        raise ValueError(f"floating y must be targets of shape (n, d_out) = ({n}, {k}), got {tuple(y.shape)}{hint}")
    if y.dtype != dtype:
        raise TypeError(f"floating y must have the dtype of X, {dtype}, got {y.dtype}")


# --- criteria ----------------------------------------------------------------------------------------------------


def _per_row(weights: Array, dloss: Array) -> Array:
    """The cotangent of each row's loss, ready to multiply logits: (n,), () or (k,) -> (n, 1) or (k, n, 1)."""
    return (weights * dloss[..., None])[..., None]


def _softmax_cross_entropy(
    xp: Namespace, logits: Array, targets: Array, weights: Array, mass: Array | float | None = None
) -> tuple[Array, Pullback]:
    """``-sum_i w_i sum_j t_ij log softmax(z)_ij``: (n, k), (n, k), (n,) -> 0-d.

    With one-hot targets and equal weights the pullback is the textbook's ``(p - one_hot(y)) / n``. Targets need not sum
    to 1: ``dz = w (p sum(t) - t)``; where that ``mass``, sum(t), is known it need not be computed.
    """
    shifted, exps, total = exp_and_total(xp, logits)
    losses = xp.sum(targets * (xp.log(total) - shifted), axis=-1)

    def pullback(dloss: Array) -> tuple[Array]:
        known = xp.sum(targets, axis=-1, keepdims=True) if mass is None else mass
        return ((exps * (known / total) - targets) * _per_row(weights, dloss),)

    return losses @ weights, pullback


def _sigmoid_cross_entropy(xp: Namespace, logits: Array, targets: Array, weights: Array) -> tuple[Array, Pullback]:
    """``-sum_i w_i sum_j t_ij log s(z_ij) + (1 - t_ij) log s(-z_ij)``, s the sigmoid: (n, k), (n, k), (n,) -> 0-d.

    The pullback is ``w (s(z) - t)``.
    """
    above, rest = log1p_exp(xp, logits)
    # -log s(z) = max(-z, 0) + rest and -log s(-z) = max(z, 0) + rest: no difference of large numbers
    losses = xp.sum(rest + targets * (above - logits) + (1.0 - targets) * above, axis=-1)

    def pullback(dloss: Array) -> tuple[Array]:
        # s(z) - t = (1 - t) s(z) - t s(-z), which keeps the tails
        slope = (1.0 - targets) * logistic(xp, logits) - targets * logistic(xp, -logits)
        return (slope * _per_row(weights, dloss),)

    return losses @ weights, pullback


def _squared_error(xp: Namespace, logits: Array, targets: Array, weights: Array) -> tuple[Array, Pullback]:
    """``sum_i w_i 1/2 sum_j (z_ij - t_ij)^2``: (n, k), (n, k), (n,) -> 0-d. The pullback is ``w (z - t)``."""
    difference = logits - targets
    losses = 0.5 * xp.sum(difference * difference, axis=-1)
    return losses @ weights, lambda dloss: (difference * _per_row(weights, dloss),)


def _poisson(xp: Namespace, logits: Array, targets: Array, weights: Array) -> tuple[Array, Pullback]:
    """``sum_i w_i sum_j exp(z_ij) - t_ij + t_ij (log t_ij - z_ij)``: (n, k), (n, k), (n,) -> 0-d, half the deviance.

    Outputs are rates, ``exp z``, targets counts, ``t >= 0``. The pullback is ``w (exp(z) - t)``.
    """
    rates, zero = xp.exp(logits), targets == 0
    log_targets = xp.log(xp.where(zero, xp.ones_like(targets), targets))  # 0 log 0 = 0
    losses = xp.sum(rates - targets + targets * (log_targets - logits), axis=-1)
    return losses @ weights, lambda dloss: ((rates - targets) * _per_row(weights, dloss),)


CRITERIA: dict[str, Rule] = {
    "softmax_cross_entropy": _softmax_cross_entropy,
    "sigmoid_cross_entropy": _sigmoid_cross_entropy,
    "squared_error": _squared_error,
    "poisson": _poisson,
}
"""Name -> rule of every criterion."""

softmax_cross_entropy: Op = public(_softmax_cross_entropy)
sigmoid_cross_entropy: Op = public(_sigmoid_cross_entropy)
squared_error: Op = public(_squared_error)
poisson: Op = public(_poisson)
