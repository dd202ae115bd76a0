"""Criteria: how far the logits are from the targets, each with its derivative worked out by hand.

A criterion is ``criterion(logits, targets, weights) -> (loss, pullback)``: logits (n, k), floating targets (n, k),
weights (n,) that sum to 1. It sums over the outputs and averages over the batch; only the logits are differentiated.
``targets_and_weights`` makes targets and weights from what a caller has: labels, smoothing, sample weights.

To add a criterion, write one function at the end: its loss, its pullback, and what else its record holds.

Before: ``ops``. Next: ``mlp`` puts a network in front of the logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from mlp_xp._lib.arguments import check_alike, check_device
from mlp_xp._lib.namespace import device_kwargs, is_floating, is_integral, is_numpy, namespace, scalar_like
from mlp_xp._lib.typing import Array, Namespace, Op, Pullback
from mlp_xp.ops import Cost, Primitive, log1p_exp, logistic, op_from, record_named

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
    weights = _weights_in_range(xp, "p", p, (0.0, 1.0), "; logits go to objective", weights)
    zero = p <= 0
    log_p = xp.log(xp.where(zero, xp.ones_like(p), p))
    infinity = xp.full((), math.inf, dtype=p.dtype, **device_kwargs(p))
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
    criterion: Criterion | None = None,
) -> tuple[Array, Array]:
    """Floating targets (n, k) and weights (n,) that sum to 1, for ``outputs`` (..., n, k), in their dtype.

    Integer labels (n,) become one-hot rows (0/1 when k is 1), smoothed to ``(1 - s) one_hot + s / k``. A label out of
    range, or a target that the criterion does not take, raises on NumPy. Elsewhere a look at the values would wait for
    the device: such a row gets weight NaN, which reaches the loss and every gradient of this library's. Without a
    criterion the targets may be any numbers, one for each output.
    """
    criterion = criterion or CRITERIA["softmax_cross_entropy"]
    n, k = outputs.shape[-2], outputs.shape[-1] // criterion.outputs_per_target
    dtype = outputs.dtype
    place = device_kwargs(outputs)
    if sample_weight is None:
        weights = xp.full((n,), 1.0 / n, dtype=dtype, **place)
    else:
        _check_sample_weight(xp, sample_weight, outputs)
        if not is_numpy(xp):  # on NumPy a negative weight has raised
            sample_weight = xp.where(sample_weight >= 0, sample_weight, scalar_like(xp, math.nan, sample_weight))
        total = xp.sum(sample_weight)
        # total - total is NaN where the sum is infinite: all rows would weigh nothing, and the loss would be 0
        weights = sample_weight / (total + (total - total))
    if not check_targets(xp, criterion, y, n, outputs.shape[-1], dtype):
        targets = y
        if criterion.targets != _ANY:
            weights = _weights_in_range(xp, "y", y, criterion.targets, _takes(criterion), weights)
    else:
        classes = max(k, 2)
        if classes > 127 and xp.iinfo(y.dtype).max < classes:  # 8-bit labels of more classes than 8 bits can count
            y = xp.astype(y, xp.int32)
        hit = y[:, None] == xp.arange(classes, dtype=y.dtype, **place)
        if not is_numpy(xp):
            weights = xp.where(xp.any(hit, axis=-1), weights, scalar_like(xp, math.nan, weights))
        elif xp.count_nonzero(hit) != n:
            check_target_values(xp, criterion, y, outputs.shape[-1])
        targets = xp.astype(hit if k > 1 else hit[:, 1:], dtype)
    if label_smoothing:
        targets = (1.0 - label_smoothing) * targets + label_smoothing / k
    return targets, weights


def check_targets(
    xp: Namespace, criterion: Criterion, y: Array, n: int, d_out: int, dtype: object, which: str = ""
) -> bool:
    """Whether ``y`` holds labels. Raise unless it is integer (n,), or (n, k) of ``dtype``, k targets a row."""
    if y.dtype == dtype or not is_integral(xp, y.dtype):
        _check_floating_targets(xp, y, n, d_out // criterion.outputs_per_target, dtype, which)
        return False
    if y.shape != (n,):
        hint = _about_integers(criterion)
        raise ValueError(f"integer {which}y must be labels of shape (n,) = ({n},), got {tuple(y.shape)}{hint}")
    return True


def check_target_values(xp: Namespace, criterion: Criterion, y: Array, d_out: int, which: str = "") -> None:
    """Raise ``ValueError`` for labels or floating targets that the criterion does not take.

    This looks at every value, which waits for the device.

    Args:
        xp: the namespace of ``y``.
        criterion: the record, which has the range of its targets.
        y: integer labels, or floating targets without NaN.
        d_out: how many outputs the network has; floating targets don't ask for it.
        which: stands before the name y in the message, such as "validation ".
    """
    if is_integral(xp, y.dtype):
        classes = max(d_out // criterion.outputs_per_target, 2)
        first, last = int(xp.min(y)), int(xp.max(y))
        if first < 0 or last >= classes:
            labels = f"labels 0 to {classes - 1}, got labels {first} to {last}"
            raise ValueError(f"{which}y must hold {labels}{_about_integers(criterion)}")
        return
    if criterion.targets != _ANY:
        _check_range(xp, f"{which}y", y, criterion.targets, _takes(criterion))


def of_any_range(criterion: Criterion) -> Criterion:
    """The criterion for targets whose range was looked at already: not every step needs to look again."""
    return criterion._replace(targets=_ANY)


def _about_integers(criterion: Criterion) -> str:
    """The end of a sentence about integers that are no labels, for a criterion of numbers."""
    return "" if criterion.decide else "; integers are labels: counts and other numbers must be floating, (n, d_out)"


def _takes(criterion: Criterion) -> str:
    """The end of a sentence about targets out of range."""
    return f" for {criterion.name}; squared_error takes any number"


def _check_range(xp: Namespace, name: str, array: Array, between: tuple[float, float], hint: str) -> None:
    """Raise ``ValueError`` for a number outside of a range; NaN passes, and makes the loss NaN."""
    low, high = _rounded(xp, array, between)
    smallest, largest = float(xp.min(array)), float(xp.max(array))
    if smallest < low or largest > high:
        end = f"at least {between[0]:g}" if high == math.inf else f"in {between[0]:g} ... {between[1]:g}"
        raise ValueError(f"{name} must be {end}{hint}, got {smallest if smallest < low else largest}")


def _rounded(xp: Namespace, array: Array, between: tuple[float, float]) -> tuple[float, float]:
    """The ends of a bounded range, eight roundings further out: a share may be a sum of shares, in float32 once."""
    low, high = between
    if math.inf in (-low, high):
        return between
    slack = 8.0 * high * max(float(xp.finfo(dtype).eps) for dtype in (array.dtype, xp.float32))
    return low - slack, high + slack


def _weights_in_range(
    xp: Namespace, name: str, array: Array, between: tuple[float, float], hint: str, weights: Array
) -> Array:
    """``weights``, NaN for each row of ``array`` with a number out of range; on NumPy such a number raises."""
    low, high = between
    if is_numpy(xp):
        # to count takes half the time of min and max; what is not inside may be NaN or a rounding
        inside = array >= low if high == math.inf else (array >= low) & (array <= high)
        if xp.count_nonzero(inside) == math.prod(array.shape):
            return weights
        _check_range(xp, name, array, between, hint)
    low, high = _rounded(xp, array, between)
    outside = (array < low) | (array > high) | (array != array)
    # a constant and not weights * NaN, whose derivative by a weight would be NaN everywhere
    return xp.where(xp.any(outside, axis=-1), scalar_like(xp, math.nan, weights), weights)


def _check_sample_weight(xp: Namespace, sample_weight: Array, outputs: Array) -> None:
    n, dtype = outputs.shape[-2], outputs.dtype
    if sample_weight.shape != (n,):
        raise ValueError(f"sample_weight must have shape (n,) = ({n},), got {tuple(sample_weight.shape)}")
    if sample_weight.dtype != dtype:
        raise TypeError(f"sample_weight must have the dtype of X, {dtype}, got {sample_weight.dtype}")
    if is_numpy(xp):
        if not xp.min(sample_weight) >= 0:
            raise ValueError(f"sample_weight must not be negative or NaN, got {float(xp.min(sample_weight))}")
        if not 0 < (total := xp.sum(sample_weight)) < math.inf:
            must = "must not sum to zero" if total == 0 else "must be finite, and so must be their sum"
            raise ValueError(f"sample_weight {must}, got a sum of {float(total)}")


def _check_floating_targets(xp: Namespace, y: Array, n: int, k: int, dtype: object, which: str) -> None:
    if not is_floating(xp, y.dtype):
        raise TypeError(f"{which}y must be integer labels (n,) or floating targets (n, d_out), got dtype {y.dtype}")
    if y.shape != (n, k):
        hint = "; class labels must be integers" if y.ndim == 1 else ""
        raise ValueError(
            f"floating {which}y must be targets of shape (n, d_out) = ({n}, {k}), got {tuple(y.shape)}{hint}"
        )
    if y.dtype != dtype:
        raise TypeError(f"floating {which}y must have the dtype of X, {dtype}, got {y.dtype}")


# --- criteria ----------------------------------------------------------------------------------------------------


def _as_they_are(xp: Namespace, logits: Array) -> Array:
    return logits


def _exp(xp: Namespace, logits: Array) -> Array:
    return xp.exp(logits)


def _most_probable(xp: Namespace, logits: Array, k: int) -> Array:
    """Class numbers (n,)."""
    return xp.argmax(logits, axis=-1)


def _each_label(xp: Namespace, logits: Array, k: int) -> Array:
    """0 or 1 for each output, (n, k); (n,) where k is 1."""
    labels = xp.astype(logits > 0, xp.__array_namespace_info__().default_dtypes()["indexing"])
    return labels[..., 0] if k == 1 else labels


_ANY = (-math.inf, math.inf)


class Criterion(NamedTuple):
    """A criterion with all that belongs to it.

    name: as the option ``criterion`` takes it.
    loss: ``loss(xp, logits, targets, weights) -> (loss, pullback)``.
    outputs: ``outputs(xp, logits)``, what ``forward`` returns, (n, k).
    decide: ``decide(xp, logits, k)``, what ``predict`` returns, (n,) or (n, k); the outputs for None.
    metric: the score that belongs to it: "accuracy" of labels, "r2" of numbers, or None.
    probabilities: whether its outputs are probabilities.
    quantity, unit: what the loss measures, and in which unit, for pictures.
    outputs_per_target: how many logits belong to one target.
    targets: the smallest and the largest target that it takes.
    curvature: ``curvature(xp, logits, targets, weights) -> product``, where ``product(dz)`` is the second derivative of
        the loss by the logits times ``dz``; None where nobody gave it.
    smoothing: whether label smoothing is defined.
    label_loss: ``loss`` for targets that are known to sum to 1 in each row, where that saves arithmetic.
    cost: per logit, labels given for softmax, else a look at the range of the targets included; ``kept`` counts the
        targets. None for an op of the caller's own.
    """

    name: str
    loss: Primitive
    outputs: Callable[[Namespace, Array], Array] = _as_they_are
    decide: Callable[[Namespace, Array, int], Array] | None = None
    metric: Literal["accuracy", "r2"] | None = None
    probabilities: bool = False
    quantity: str = "loss"
    unit: str = ""
    outputs_per_target: int = 1
    smoothing: bool = False
    label_loss: Primitive | None = None
    cost: Cost | None = None
    targets: tuple[float, float] = _ANY
    curvature: Callable[[Namespace, Array, Array, Array], Callable[[Array], Array]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # by its name, so that a copy is the record of the table; a caller's own goes by its fields
        known = CRITERIA.get(self.name) is self
        return (criterion_named, (self.name,)) if known else (Criterion, tuple(self))

    def decision(self, xp: Namespace, logits: Array, k: int) -> Array:
        """What ``predict`` returns for logits (n, k); k is said since a library that only traces may not know it."""
        return self.outputs(xp, logits) if self.decide is None else self.decide(xp, logits, k)


CRITERIA: dict[str, Criterion] = {}
"""Name -> record of every criterion."""


def criterion_named(name_or_op: str | Op) -> Criterion:
    """The record of a criterion; see ``record_named``. That of a caller's op has the logits for its outputs."""
    return record_named("criterion", CRITERIA, name_or_op, Criterion)


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
    if criterion.targets != _ANY:
        weights = _weights_in_range(xp, "targets", targets, criterion.targets, _takes(criterion), weights)
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


def _softmax_curvature(xp: Namespace, logits: Array, targets: Array, weights: Array) -> Callable[[Array], Array]:
    """``w sum(t) p (v - sum(p v))``: the slope is ``w (p sum(t) - t)``, and softmax moves by ``p (v - sum(p v))``."""
    p = _softmax(xp, logits)
    scaled = p * (weights[..., None] * xp.sum(targets, axis=-1, keepdims=True))
    return lambda dz: scaled * (dz - xp.sum(p * dz, axis=-1, keepdims=True))


@_criterion(
    outputs=_softmax, decide=_most_probable, metric="accuracy", probabilities=True, quantity="cross-entropy",
    unit="nats", smoothing=True, label_loss=partial(_softmax_loss, mass=1.0), cost=Cost(8, 3, 2, second=12),
    curvature=_softmax_curvature,
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


def _sigmoid_curvature(xp: Namespace, logits: Array, targets: Array, weights: Array) -> Callable[[Array], Array]:
    """``w s(z) s(-z) v``, whatever the targets are."""
    bend = logistic(xp, logits) * logistic(xp, -logits) * weights[..., None]
    return lambda dz: bend * dz


@_criterion(
    outputs=logistic, decide=_each_label, metric="accuracy", probabilities=True, quantity="cross-entropy", unit="nats",
    cost=Cost(16, 16, 2, second=16), targets=(0.0, 1.0), curvature=_sigmoid_curvature,
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


def _squared_curvature(xp: Namespace, logits: Array, targets: Array, weights: Array) -> Callable[[Array], Array]:
    """``w v``."""
    return lambda dz: weights[..., None] * dz


@_criterion(
    metric="r2", quantity="half squared error", unit="(unit of y)²", cost=Cost(3, 1, 1, second=1),
    curvature=_squared_curvature,
)  # fmt: skip
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


def _poisson_curvature(xp: Namespace, logits: Array, targets: Array, weights: Array) -> Callable[[Array], Array]:
    """``w exp(z) v``."""
    bend = xp.exp(logits) * weights[..., None]
    return lambda dz: bend * dz


@_criterion(
    outputs=_exp, metric="r2", quantity="half Poisson deviance", unit="unit of y", cost=Cost(8, 2, 2, second=4),
    targets=(0.0, math.inf), curvature=_poisson_curvature,
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
