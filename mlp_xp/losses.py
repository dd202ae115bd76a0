"""Criteria: how far the logits are from the targets, each with its derivative worked out by hand.

A criterion is ``criterion(logits, targets, weights) -> (loss, pullback)``: logits (n, k), floating targets (n, k),
weights (n,) that sum to 1. It sums over the outputs and averages over the batch; only the logits are differentiated.

To add a criterion, write one function at the end: its loss, its pullback, and what else its record holds.

Before: ``criterion`` says what a record holds. Next: ``mlp`` puts a network in front of the logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from mlp_xp._lib.arguments import check_alike, check_device
from mlp_xp._lib.namespace import device_kwargs, is_floating, namespace
from mlp_xp._lib.typing import Array, Namespace, Op, Pullback
from mlp_xp.criterion import ANY, takes, weights_in_range
from mlp_xp.criterion import CRITERIA as CRITERIA
from mlp_xp.criterion import Criterion as Criterion
from mlp_xp.criterion import check_target_values as check_target_values
from mlp_xp.criterion import check_targets as check_targets
from mlp_xp.criterion import criterion_named as criterion_named
from mlp_xp.criterion import of_any_range as of_any_range
from mlp_xp.criterion import targets_and_weights as targets_and_weights
from mlp_xp.ops import Cost, Primitive, log1p_exp, logistic, op_from

# --- probabilities -----------------------------------------------------------------------------------------------


def exp_and_total(xp: Namespace, z: Array) -> tuple[Array, Array, Array]:
    """``z - max z``, its exponential, and the sum of that over the last axis: what softmax and its logarithm share."""
    shifted = z - xp.max(z, axis=-1, keepdims=True)  # softmax does not change, and no exponent is positive
    exps = xp.exp(shifted)
    return shifted, exps, xp.sum(exps, axis=-1, keepdims=True)


def _softmax(xp: Namespace, z: Array) -> Array:
    _, exps, total = exp_and_total(xp, z)
    return exps / total


def softmax(z: Array) -> Array:
    """``exp z_j / sum_k exp z_k`` over the last axis: (n, k) -> (n, k), at any magnitude.

    Args:
        z: real floating logits (..., k).

    Returns:
        Probabilities, in the shape of ``z``; they sum to 1 over the last axis.

    Raises:
        ValueError: for an array without a last axis, or with an empty one.
        TypeError: for an array that is not real floating.

    >>> import numpy as np
    >>> softmax(np.asarray([[1000.0, 1000.0]])).tolist()
    [[0.5, 0.5]]
    """
    xp = namespace(z, names=("z",))
    check_alike(xp, ("z",), (z,))
    if not z.ndim or z.shape[-1] == 0:
        raise ValueError(f"z must have shape (..., k) with k >= 1, got {tuple(z.shape)}")
    return _softmax(xp, z)


def sigmoid(z: Array) -> Array:
    """``1 / (1 + exp(-z))``, elementwise, at any magnitude. The differentiable op is ``mlp_xp.ops.sigmoid``.

    Args:
        z: real floating, any shape.

    Returns:
        The values, in the shape of ``z``.

    Raises:
        TypeError: for an array that is not real floating.

    >>> import numpy as np
    >>> sigmoid(np.asarray([0.0, 1000.0])).tolist()
    [0.5, 1.0]
    """
    xp = namespace(z, names=("z",))
    check_alike(xp, ("z",), (z,))
    return logistic(xp, z)


def cross_entropy(p: Array, y: Array) -> Array:
    """``-1/n sum_i log p[i, y_i]``, or ``-1/n sum_ij y_ij log p_ij`` for soft targets: (n, k), (n,) or (n, k) -> 0-d.

    Exactly the mean of ``-log`` of the given probabilities: where the true class has probability 0 the loss is ``inf``.
    Training goes from the logits instead (``objective``), where nothing was rounded to 0.

    Args:
        p: probabilities (n, k), k >= 2.
        y: integer labels (n,), or floating targets (n, k) of the same dtype.

    Returns:
        The loss, 0-d, in the dtype of ``p``.

    Raises:
        ValueError: for shapes that do not fit, and on NumPy for labels or probabilities out of range, for which the
            loss is NaN elsewhere.
        TypeError: for dtypes or libraries that differ.

    >>> import numpy as np
    >>> round(float(cross_entropy(np.asarray([[0.5, 0.5], [0.1, 0.9]]), np.asarray([0, 1]))), 6)
    0.399254
    """
    xp = namespace(p, y, names=("p", "y"))
    if p.ndim != 2 or p.shape[0] == 0 or p.shape[1] < 2:
        raise ValueError(f"p must have shape (n, k) with n >= 1 and k >= 2 classes, got {tuple(p.shape)}")
    if not is_floating(xp, p.dtype):
        raise TypeError(f"p must be floating, got {p.dtype}")
    check_device("y", y, p, "p")
    targets, weights = targets_and_weights(xp, y, p)
    weights = weights_in_range(xp, "p", p, (0.0, 1.0), "; logits go to objective", weights)
    zero = p <= 0
    log_p = xp.log(xp.where(zero, xp.ones_like(p), p))
    infinity = xp.full((), math.inf, dtype=p.dtype, **device_kwargs(p))
    # 0 log 0 = 0; elsewhere -log 0 = inf, written down rather than computed, which would warn
    surprise = xp.where(zero, infinity, -log_p)
    return xp.sum(weights[:, None] * (targets * xp.where(targets == 0, xp.zeros_like(p), surprise)))


# --- criteria ----------------------------------------------------------------------------------------------------


def _exp(xp: Namespace, logits: Array) -> Array:
    return xp.exp(logits)


def _most_probable(xp: Namespace, logits: Array, k: int) -> Array:
    """Class numbers (n,)."""
    return xp.argmax(logits, axis=-1)


def _each_label(xp: Namespace, logits: Array, k: int) -> Array:
    """0 or 1 for each output, (n, k); (n,) where k is 1."""
    labels = xp.astype(logits > 0, xp.__array_namespace_info__().default_dtypes()["indexing"])
    return labels[..., 0] if k == 1 else labels


def _criterion(**belonging: Any) -> Callable[[Primitive], Op]:
    """Make a primitive an op, and enter its record, with what belongs to it, in the table."""

    def enter(primitive: Primitive) -> Op:
        record = Criterion(primitive.__name__, primitive, **belonging)
        op = op_from(primitive, partial(_rows_of, record))
        CRITERIA[record.name] = vars(op)["record"] = record
        return op

    return enter


def _rows_of(
    criterion: Criterion, xp: Namespace, logits: Array, targets: Array, weights: Array
) -> tuple[Array, Array, Array]:
    """The arguments of a criterion's op, once they are known to fit; see ``targets_and_weights`` for NaN weights."""
    share = criterion.outputs_per_target
    if logits.ndim < 2 or logits.shape[-1] == 0 or logits.shape[-1] % share:
        each = f", {share} logits for each target" if share > 1 else ""
        raise ValueError(f"logits must have shape (n, k), k >= 1{each}, got {tuple(logits.shape)}")
    n, k = logits.shape[-2], logits.shape[-1] // share
    for name, array, expected in (("targets", targets, (n, k)), ("weights", weights, (n,))):
        if array.shape != expected:
            follows = f"{expected} to follow logits {tuple(logits.shape)}"
            raise ValueError(f"{name} must have shape {follows}, got {tuple(array.shape)}")
    if criterion.targets != ANY:
        weights = weights_in_range(xp, "targets", targets, criterion.targets, takes(criterion), weights)
    return logits, targets, weights


def _mean(xp: Namespace, losses: Array, weights: Array) -> Array:
    """The mean loss, 0-d or (k,): of losses (n,) or (k, n), by weights (n,), or (k, n) of their own for k networks."""
    return losses @ weights if weights.ndim == 1 else xp.sum(losses * weights, axis=-1)


def _per_row(weights: Array, dloss: Array) -> Array:
    """The cotangent of each row's loss, ready to multiply logits: (n,) or (k, n), () or (k,) -> (n, 1) or (k, n, 1)."""
    return (weights * dloss[..., None])[..., None]


def _softmax_loss(
    xp: Namespace, logits: Array, targets: Array, weights: Array, mass: float | None = None
) -> tuple[Array, Pullback]:
    """Softmax cross-entropy; ``mass`` is the sum of each row of targets, where it is known."""
    shifted, exps, total = exp_and_total(xp, logits)
    losses = xp.sum(targets * (xp.log(total) - shifted), axis=-1)

    def pullback(dloss: Array) -> tuple[Array]:
        masses = xp.sum(targets, axis=-1, keepdims=True) if mass is None else mass
        return ((exps * (masses / total) - targets) * _per_row(weights, dloss),)

    return _mean(xp, losses, weights), pullback


@_criterion(
    outputs=_softmax, decide=_most_probable, metric="accuracy", probabilities=True, quantity="cross-entropy",
    unit="nats", smoothing=True, label_loss=partial(_softmax_loss, mass=1.0), cost=Cost(8, 3, 2),
)  # fmt: skip
def softmax_cross_entropy(xp: Namespace, logits: Array, targets: Array, weights: Array) -> tuple[Array, Pullback]:
    """``-sum_i w_i sum_j t_ij log softmax(z)_ij``: (n, k), (n, k), (n,) -> 0-d.

    With one-hot targets and equal weights the pullback is the textbook's ``(p - one_hot(y)) / n``. Targets need not sum
    to 1: ``dz = w (p sum(t) - t)``.

    Args:
        logits: (n, k), real floating.
        targets: (n, k), of the same dtype.
        weights: (n,), of the same dtype; they sum to 1.

    Returns:
        The loss, 0-d, and its pullback, ``dloss -> (dlogits,)``.

    >>> import numpy as np, mlp_xp as mx
    >>> logits, targets, weights = np.zeros((1, 2)), np.asarray([[0.0, 1.0]]), np.ones(1)
    >>> loss, pullback = mx.losses.softmax_cross_entropy(logits, targets, weights)
    >>> round(float(loss), 6), pullback(np.asarray(1.0))[0].tolist()
    (0.693147, [[0.5, -0.5]])
    """
    return _softmax_loss(xp, logits, targets, weights)


@_criterion(
    outputs=logistic, decide=_each_label, metric="accuracy", probabilities=True, quantity="cross-entropy", unit="nats",
    cost=Cost(16, 16, 2), targets=(0.0, 1.0),
)  # fmt: skip
def sigmoid_cross_entropy(xp: Namespace, logits: Array, targets: Array, weights: Array) -> tuple[Array, Pullback]:
    """``-sum_i w_i sum_j t_ij log s(z_ij) + (1 - t_ij) log s(-z_ij)``, s the sigmoid: (n, k), (n, k), (n,) -> 0-d.

    The pullback is ``w (s(z) - t)``.

    Args:
        logits: (n, k), real floating.
        targets: (n, k), of the same dtype.
        weights: (n,), of the same dtype; they sum to 1.

    Returns:
        The loss, 0-d, and its pullback, ``dloss -> (dlogits,)``.

    >>> import numpy as np, mlp_xp as mx
    >>> logits, targets, weights = np.zeros((1, 2)), np.asarray([[0.0, 1.0]]), np.ones(1)
    >>> loss, pullback = mx.losses.sigmoid_cross_entropy(logits, targets, weights)
    >>> round(float(loss), 6), pullback(np.asarray(1.0))[0].tolist()
    (1.386294, [[0.5, -0.5]])
    """
    above, rest = log1p_exp(xp, logits)
    # -log s(z) = max(-z, 0) + rest and -log s(-z) = max(z, 0) + rest: no difference of large numbers
    losses = xp.sum(rest + targets * (above - logits) + (1.0 - targets) * above, axis=-1)

    def pullback(dloss: Array) -> tuple[Array]:
        # s(z) - t = (1 - t) s(z) - t s(-z), which keeps the tails
        slope = (1.0 - targets) * logistic(xp, logits) - targets * logistic(xp, -logits)
        return (slope * _per_row(weights, dloss),)

    return _mean(xp, losses, weights), pullback


@_criterion(metric="r2", quantity="half squared error", unit="(unit of y)²", cost=Cost(3, 1, 1))
def squared_error(xp: Namespace, logits: Array, targets: Array, weights: Array) -> tuple[Array, Pullback]:
    """``sum_i w_i 1/2 sum_j (z_ij - t_ij)^2``: (n, k), (n, k), (n,) -> 0-d. The pullback is ``w (z - t)``.

    Args:
        logits: (n, k), real floating.
        targets: (n, k), of the same dtype.
        weights: (n,), of the same dtype; they sum to 1.

    Returns:
        The loss, 0-d, and its pullback, ``dloss -> (dlogits,)``.

    >>> import numpy as np, mlp_xp as mx
    >>> logits, targets, weights = np.zeros((1, 2)), np.asarray([[0.0, 1.0]]), np.ones(1)
    >>> loss, pullback = mx.losses.squared_error(logits, targets, weights)
    >>> round(float(loss), 6), pullback(np.asarray(1.0))[0].tolist()
    (0.5, [[0.0, -1.0]])
    """
    difference = logits - targets
    losses = 0.5 * xp.sum(difference * difference, axis=-1)
    return _mean(xp, losses, weights), lambda dloss: (difference * _per_row(weights, dloss),)


@_criterion(
    outputs=_exp, metric="r2", quantity="half Poisson deviance", unit="unit of y", cost=Cost(8, 2, 2),
    targets=(0.0, math.inf),
)  # fmt: skip
def poisson(xp: Namespace, logits: Array, targets: Array, weights: Array) -> tuple[Array, Pullback]:
    """``sum_i w_i sum_j exp(z_ij) - t_ij + t_ij (log t_ij - z_ij)``: (n, k), (n, k), (n,) -> 0-d, half the deviance.

    Outputs are rates, ``exp z``, targets counts, ``t >= 0``. The pullback is ``w (exp(z) - t)``.

    Args:
        logits: (n, k), real floating.
        targets: (n, k), of the same dtype.
        weights: (n,), of the same dtype; they sum to 1.

    Returns:
        The loss, 0-d, and its pullback, ``dloss -> (dlogits,)``.

    >>> import numpy as np, mlp_xp as mx
    >>> logits, targets, weights = np.zeros((1, 2)), np.asarray([[0.0, 1.0]]), np.ones(1)
    >>> loss, pullback = mx.losses.poisson(logits, targets, weights)
    >>> round(float(loss), 6), pullback(np.asarray(1.0))[0].tolist()
    (1.0, [[1.0, 0.0]])
    """
    rates, zero = xp.exp(logits), targets == 0
    log_targets = xp.log(xp.where(zero, xp.ones_like(targets), targets))  # 0 log 0 = 0
    losses = xp.sum(rates - targets + targets * (log_targets - logits), axis=-1)
    return _mean(xp, losses, weights), lambda dloss: ((rates - targets) * _per_row(weights, dloss),)
