"""Criteria: how far the logits are from the targets, each with its derivative worked out by hand.

A criterion is ``criterion(logits, targets, weights) -> (loss, pullback)``: logits (n, k), floating targets (n, k),
weights (n,) that sum to 1. It sums over the outputs and averages over the batch; only the logits are differentiated.

To add a criterion, write one function at the end: its loss, its pullback, and what else its record holds. One with a
parameter is a function of the parameter that returns the record.

Before: ``criterion`` says what a record holds. Next: ``mlp`` puts a network in front of the logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, wraps
from itertools import pairwise
from typing import Any, ParamSpec, cast

from mlp_xp._lib.arguments import check_alike, check_device, check_number, check_positive
from mlp_xp._lib.namespace import device_kwargs, is_floating, namespace, scalar_like
from mlp_xp._lib.typing import Array, Namespace, Op, Pullback
from mlp_xp.criterion import CRITERIA as CRITERIA
from mlp_xp.criterion import Criterion as Criterion
from mlp_xp.criterion import Parametrised, alone, blocks, is_column, rows_that_fit, weights_in_range
from mlp_xp.criterion import check_target_values as check_target_values
from mlp_xp.criterion import check_targets as check_targets
from mlp_xp.criterion import criterion_named as criterion_named
from mlp_xp.criterion import targets_and_weights as targets_and_weights
from mlp_xp.criterion import weight_shapes as weight_shapes
from mlp_xp.ops import Cost, Primitive, largest_exponent, log1p_exp, logistic, op_from

# --- probabilities -----------------------------------------------------------------------------------------------


def exp_and_total(xp: Namespace, z: Array) -> tuple[Array, Array, Array]:
    """``z - max z``, its exponential, and the sum of that over the last axis: what softmax and its logarithm share."""
    shifted = z - xp.max(z, axis=-1, keepdims=True)  # softmax does not change, and no exponent is positive
    exps = xp.exp(shifted)
    return shifted, exps, xp.sum(exps, axis=-1, keepdims=True)


def _softmax(xp: Namespace, z: Array, k: int = 0) -> Array:
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


def _exp(xp: Namespace, logits: Array, k: int) -> Array:
    return xp.exp(logits)


def _logistic(xp: Namespace, logits: Array, k: int) -> Array:
    return logistic(xp, logits)


def _most_probable(xp: Namespace, logits: Array, k: int) -> Array:
    """Class numbers (n,)."""
    return xp.argmax(logits, axis=-1)


def _each_label(xp: Namespace, logits: Array, k: int) -> Array:
    """0 or 1 for each output, (n, k); (n,) where k is 1."""
    labels = xp.astype(logits > 0, xp.__array_namespace_info__().default_dtypes()["indexing"])
    return labels[..., 0] if k == 1 else labels


def _exp_slopes(xp: Namespace, logits: Array, j: int) -> Array:
    return alone(xp, xp.exp(logits), j)


def _logistic_slopes(xp: Namespace, logits: Array, j: int) -> Array:
    return alone(xp, logistic(xp, logits) * logistic(xp, -logits), j)  # 1 - s(z) would cancel


def _softmax_slopes(xp: Namespace, logits: Array, j: int) -> Array:
    """``p_j (1 - p_j)`` at j, ``-p_j p_i`` elsewhere; 1 - p_j is the sum of the others, so that it does not cancel."""
    p, here = _softmax(xp, logits), is_column(xp, logits, j)
    others = xp.where(here, xp.zeros_like(p), p)
    return p[..., j : j + 1] * xp.where(here, xp.sum(others, axis=-1, keepdims=True), -others)


def _criterion(**belonging: Any) -> Callable[[Primitive], Op]:
    """Make a primitive an op, and enter its record, with what belongs to it, in the table."""

    def enter(primitive: Primitive) -> Op:
        record = Criterion(primitive.__name__, primitive, family=primitive.__name__, **belonging)
        op = op_from(primitive, partial(rows_that_fit, record))
        CRITERIA[record.name] = vars(op)["record"] = record
        return op

    return enter


Parameters = ParamSpec("Parameters")


def _family(record_of: Callable[Parameters, Criterion]) -> Callable[Parameters, Parametrised]:
    """Make a function ``record_of(parameter)`` return an op, and enter the record of its default in the table."""

    @wraps(record_of)
    def make(*args: Parameters.args, **named: Parameters.kwargs) -> Parametrised:
        return Parametrised(record_of(*args, **named))

    name, default = record_of.__name__, cast(Callable[[], Criterion], record_of)()
    CRITERIA[name] = vars(make)["record"] = default._replace(name=name)  # ``criterion=huber`` means "huber"
    return make


def _named(primitive: Primitive, *parameters: float) -> Primitive:
    """``primitive`` with its first argument, the parameters, filled in; its name says them."""
    bound = partial(primitive, parameters)
    bound.__name__ = f"{primitive.__name__.strip('_')}({', '.join(map(repr, parameters))})"  # type: ignore[attr-defined]
    return bound


def _mean(xp: Namespace, losses: Array, weights: Array) -> Array:
    """The mean loss, 0-d or (k,): of losses (n,) or (k, n), by weights (n,), or (k, n) of their own for k networks."""
    return losses @ weights if weights.ndim == 1 else xp.sum(losses * weights, axis=-1)


def _per_row(weights: Array, dloss: float | Array) -> Array:
    """The cotangent of each row's loss, ready to multiply logits: (n,) or (k, n), () or (k,) -> (n, 1) or (k, n, 1)."""
    return (weights * (dloss if isinstance(dloss, float) else dloss[..., None]))[..., None]


def _softmax_loss(
    xp: Namespace, logits: Array, targets: Array, weights: Array, labels: bool = False
) -> tuple[Array, Pullback]:
    """Softmax cross-entropy; ``labels`` says that each row of targets sums to 1."""
    shifted, exps, total = exp_and_total(xp, logits)
    masses, logs = 1.0 if labels else xp.sum(targets, axis=-1, keepdims=True), xp.log(total)
    # sum_j t_j (log total - shifted_j), whose difference would be an array more
    losses = (logs if labels else masses * logs)[..., 0] - xp.sum(targets * shifted, axis=-1)

    def pullback(dloss: float | Array) -> tuple[Array]:
        slope = exps / total - targets if labels else exps * (masses / total) - targets
        return (slope * _per_row(weights, dloss),)

    return _mean(xp, losses, weights), pullback


def _softmax_curvature(xp: Namespace, logits: Array, targets: Array, weights: Array) -> Callable[[Array], Array]:
    """``w sum(t) p (v - sum(p v))``: the slope is ``w (p sum(t) - t)``, and softmax moves by ``p (v - sum(p v))``."""
    p = _softmax(xp, logits)
    scaled = p * (weights[..., None] * xp.sum(targets, axis=-1, keepdims=True))
    return lambda dz: scaled * (dz - xp.sum(p * dz, axis=-1, keepdims=True))


@_criterion(
    outputs=_softmax, decide=_most_probable, metric="accuracy", probabilities=True, quantity="cross-entropy",
    unit="nats", smoothing=True, label_loss=partial(_softmax_loss, labels=True),
    cost=Cost(7, 3, 2, second=12, peaks=(5, 2)), slopes=_softmax_slopes, curvature=_softmax_curvature,
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
    outputs=_logistic, decide=_each_label, metric="accuracy", probabilities=True, quantity="cross-entropy", unit="nats",
    cost=Cost(16, 16, 1, second=16, peaks=(6, 4), in_place=1), targets=(0.0, 1.0), slopes=_logistic_slopes,
    curvature=_sigmoid_curvature,
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

    def pullback(dloss: float | Array) -> tuple[Array]:
        # s(z) - t = (1 - t) s(z) - t s(-z), which keeps the tails
        slope = (1.0 - targets) * logistic(xp, logits) - targets * logistic(xp, -logits)
        return (slope * _per_row(weights, dloss),)

    return _mean(xp, losses, weights), pullback


def _squared_curvature(xp: Namespace, logits: Array, targets: Array, weights: Array) -> Callable[[Array], Array]:
    """``w v``."""
    return lambda dz: weights[..., None] * dz


@_criterion(
    metric="r2", quantity="half squared error", unit="(unit of y)²", cost=Cost(3, 1, 1, second=1, peaks=(3, 1)),
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
    outputs=_exp, metric="r2", quantity="half Poisson deviance", unit="unit of y", targets=(0.0, math.inf),
    cost=Cost(9, 2, 1, second=4, peaks=(6, 2), in_place=1), slopes=_exp_slopes, curvature=_poisson_curvature,
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
    rates = xp.exp(logits)
    log_targets = xp.log(xp.where(targets == 0, xp.ones_like(targets), targets))  # 0 log 0 = 0
    losses = xp.sum(rates - targets + targets * (log_targets - logits), axis=-1)
    return _mean(xp, losses, weights), lambda dloss: ((rates - targets) * _per_row(weights, dloss),)


# --- criteria of numbers whose outliers, quantiles or spread matter ------------------------------------------------


def _tilted(
    xp: Namespace, logits: Array, targets: Array, weights: Array, above: float | Array, below: float | Array
) -> tuple[Array, Pullback]:
    """``above (z - t)`` where the output is too large, ``below (t - z)`` where it is too small."""
    gap = logits - targets
    # gap - gap is 0, or NaN for a target that is NaN, whose slope would be 0
    slope = above * xp.astype(gap > 0, gap.dtype) - below * xp.astype(gap < 0, gap.dtype) + (gap - gap)
    return _mean(xp, xp.sum(gap * slope, axis=-1), weights), lambda dloss: (slope * _per_row(weights, dloss),)


def _flat(xp: Namespace, logits: Array, targets: Array, weights: Array) -> Callable[[Array], Array]:
    """0 almost everywhere: the loss is made of straight lines."""
    return xp.zeros_like


@_criterion(
    metric="r2", quantity="absolute error", unit="unit of y", cost=Cost(10, 1, 1, peaks=(5, 1)), curvature=_flat
)
def absolute_error(xp: Namespace, logits: Array, targets: Array, weights: Array) -> tuple[Array, Pullback]:
    """``sum_i w_i sum_j |z_ij - t_ij|``: (n, k), (n, k), (n,) -> 0-d; its outputs estimate medians.

    The pullback is ``w sign(z - t)``, with sign(0) = 0.

    Args:
        logits: (n, k), real floating.
        targets: (n, k), of the same dtype.
        weights: (n,), of the same dtype; they sum to 1.

    Returns:
        The loss, 0-d, and its pullback, ``dloss -> (dlogits,)``.

    >>> import numpy as np, mlp_xp as mx
    >>> logits, targets, weights = np.zeros((1, 3)), np.asarray([[0.0, 1.0, -3.0]]), np.ones(1)
    >>> loss, pullback = mx.losses.absolute_error(logits, targets, weights)
    >>> float(loss), pullback(np.asarray(1.0))[0].tolist()
    (4.0, [[0.0, -1.0, 1.0]])
    """
    return _tilted(xp, logits, targets, weights, 1.0, 1.0)


def _held(xp: Namespace, gap: Array, delta: float) -> Array:
    """``gap`` held between -delta and delta; NaN stays NaN."""
    return xp.maximum(xp.minimum(gap, scalar_like(xp, delta, gap)), scalar_like(xp, -delta, gap))


def _huber(
    parameters: tuple[float], xp: Namespace, logits: Array, targets: Array, weights: Array
) -> tuple[Array, Pullback]:
    gap = logits - targets
    slope = _held(xp, gap, *parameters)
    # c (g - c/2), c the gap g held: g^2/2 within delta, else delta (|g| - delta/2)
    losses = xp.sum(slope * (gap - 0.5 * slope), axis=-1)
    return _mean(xp, losses, weights), lambda dloss: (slope * _per_row(weights, dloss),)


def _huber_curvature(
    delta: float, xp: Namespace, logits: Array, targets: Array, weights: Array
) -> Callable[[Array], Array]:
    """``w v`` where the error is below delta, else 0."""
    gap = logits - targets
    bend = xp.astype(xp.abs(gap) < delta, gap.dtype) * weights[..., None]
    return lambda dz: bend * dz


@_family
def huber(delta: float = 1.0) -> Criterion:
    """``sum_i w_i sum_j h(z_ij - t_ij)``, ``h(g) = g^2/2`` for ``|g| <= delta``, else ``delta (|g| - delta/2)``.

    The pullback is ``w clip(z - t, -delta, delta)``: no row pulls with more than delta.

    Args:
        delta: the error at which a square turns into a straight line, positive, in the unit of y.

    Returns:
        The criterion: (n, k), (n, k), (n,) -> 0-d, and its pullback.

    Raises:
        ValueError, TypeError: for a delta that is no positive number.

    >>> import numpy as np, mlp_xp as mx
    >>> logits, targets, weights = np.zeros((1, 2)), np.asarray([[1.0, 5.0]]), np.ones(1)
    >>> loss, pullback = mx.losses.huber(2.0)(logits, targets, weights)
    >>> float(loss), pullback(np.asarray(1.0))[0].tolist()
    (8.5, [[-1.0, -2.0]])

    Source: Huber, Robust estimation of a location parameter, 1964.
    """
    delta = check_positive("delta", delta)
    loss = _named(_huber, delta)
    return Criterion(
        loss.__name__, loss, metric="r2", quantity="Huber loss", unit="(unit of y)²", family="huber",
        cost=Cost(7, 1, 1, second=5, peaks=(5, 1)), curvature=partial(_huber_curvature, delta),
    )  # fmt: skip


def _quantile(
    levels: tuple[float, ...], xp: Namespace, logits: Array, targets: Array, weights: Array
) -> tuple[Array, Pullback]:
    if len(levels) == 1:
        return _tilted(xp, logits, targets, weights, 1.0 - levels[0], levels[0])
    place = {"dtype": logits.dtype, **device_kwargs(logits)}
    below = xp.concat([xp.full((targets.shape[-1],), level, **place) for level in levels])  # one for each column
    return _tilted(xp, logits, xp.concat([targets] * len(levels), axis=-1), weights, 1.0 - below, below)


def _in_order(levels: tuple[float, ...], xp: Namespace, logits: Array, k: int) -> Array:
    """The quantiles of each row and target in ascending order.

    Outputs that were learned apart may cross. Sorted, they are nowhere further from the true quantiles in the mean:
    Chernozhukov, Fernández-Val and Galichon, Quantile and probability curves without crossing, 2010.
    """
    ordered = xp.sort(xp.stack(blocks(logits, k, len(levels)), axis=-1), axis=-1)
    return xp.concat([ordered[..., i] for i in range(len(levels))], axis=-1)


def _ordered_slopes(levels: tuple[float, ...], xp: Namespace, logits: Array, j: int) -> Array:
    """1 at the logit that is quantile j of its row and target; where several are equal, each has its share."""
    k = logits.shape[-1]
    width = k // len(levels)
    targets = cast(Any, xp.arange(k, **device_kwargs(logits))) % width
    value = _in_order(levels, xp, logits, k)[..., j : j + 1]
    chosen = xp.astype((logits == value) & (targets == j % width), logits.dtype)
    return chosen / xp.sum(chosen, axis=-1, keepdims=True)


def check_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Levels of quantiles as Python numbers. Raise unless they lie between 0 and 1 and ascend."""
    numbers = tuple(check_number("a level of quantile", level, 0.0, 1.0) for level in levels)
    if any(low >= high for low, high in pairwise((0.0, *numbers))):
        came = ", ".join(map(str, numbers))
        raise ValueError(f"quantile must be levels between 0 and 1 in ascending order, got {came}")
    return numbers


@_family
def quantile(*levels: float) -> Criterion:
    """``sum_i w_i sum_j max(q (t - z), (1 - q) (z - t))_ij``, the pinball loss: outputs are quantiles.

    The pullback is ``w (1 - q)`` where ``z > t``, ``-w q`` where ``z < t``, and 0 where they are equal: a row that is
    met exactly pulls nowhere. Each level takes one output of each target: logits are (n, levels k), all targets of the
    first level first. ``forward`` returns the quantiles in ascending order, ``predict`` those (n, k) of the level that
    is nearest to 0.5.

    Args:
        levels: between 0 and 1, in ascending order; the median without any.

    Returns:
        The criterion: (n, levels k), (n, k), (n,) -> 0-d, and its pullback.

    Raises:
        ValueError, TypeError: for levels that are not such numbers.

    >>> import numpy as np, mlp_xp as mx
    >>> logits, targets, weights = np.asarray([[0.0, 2.0]]), np.asarray([[1.0]]), np.ones(1)
    >>> loss, pullback = mx.losses.quantile(0.25, 0.75)(logits, targets, weights)
    >>> float(loss), pullback(np.asarray(1.0))[0].tolist()
    (0.5, [[-0.25, 0.25]])

    Source: Koenker and Bassett, Regression quantiles, 1978.
    """
    levels = check_levels(levels) or (0.5,)
    loss = _named(_quantile, *levels)
    record = Criterion(
        loss.__name__, loss, metric="r2", quantity="pinball loss", unit="unit of y", outputs_per_target=len(levels),
        cost=Cost(10, 1, 1, peaks=(5, 1)), curvature=_flat, levels=levels, family="quantile",
    )  # fmt: skip
    if len(levels) == 1:  # the outputs are the logits
        return record
    return record._replace(outputs=partial(_in_order, levels), slopes=partial(_ordered_slopes, levels))


_LOG_ROOT_2_PI = 0.5 * math.log(2.0 * math.pi)


def _standardised(xp: Namespace, logits: Array, targets: Array) -> tuple[Array, Array, Array]:
    """``log s``, ``1/s`` and ``(t - m) / s`` from the two blocks ``m`` and ``log s`` of the logits."""
    mean, log_scale = blocks(logits, logits.shape[-1], 2)
    # held where 1/s would overflow, so that 0/s stays 0: s is then below the smallest normal number
    inverse = xp.exp(xp.minimum(-log_scale, scalar_like(xp, largest_exponent(xp, logits.dtype), logits)))
    return log_scale, inverse, (targets - mean) * inverse


def _mean_and_scale(xp: Namespace, logits: Array, k: int) -> Array:
    mean, log_scale = blocks(logits, k, 2)
    return xp.concat([mean, xp.exp(log_scale)], axis=-1)


def _mean_and_scale_slopes(xp: Namespace, logits: Array, j: int) -> Array:
    k = logits.shape[-1]
    return alone(xp, xp.ones_like(logits) if j < k // 2 else xp.exp(logits), j)


def _gaussian_curvature(xp: Namespace, logits: Array, targets: Array, weights: Array) -> Callable[[Array], Array]:
    """``w [[1/s^2, 2 u/s], [2 u/s, 2 u^2]] v`` of each target, ``u = (t - m) / s``."""
    _, inverse, u = _standardised(xp, logits, targets)
    row = weights[..., None]
    of_mean, mixed, of_scale = row * inverse * inverse, row * (2.0 * u * inverse), row * (2.0 * u * u)

    def product(dz: Array) -> Array:
        dm, ds = blocks(dz, dz.shape[-1], 2)
        return xp.concat([of_mean * dm + mixed * ds, mixed * dm + of_scale * ds], axis=-1)

    return product


@_criterion(
    outputs=_mean_and_scale, metric="r2", quantity="negative log-likelihood", unit="nats",
    outputs_per_target=2, cost=Cost(5, 3, 1, second=9, peaks=(3, 2)), slopes=_mean_and_scale_slopes,
    curvature=_gaussian_curvature, scale=True,
)  # fmt: skip
def gaussian(xp: Namespace, logits: Array, targets: Array, weights: Array) -> tuple[Array, Pullback]:
    """``sum_i w_i sum_j log s_ij + u_ij^2/2 + log(2 pi)/2``, ``u = (t - m) / s``: (n, 2 k), (n, k), (n,) -> 0-d.

    The negative log-likelihood of normal distributions. Logits are the means m, then the logarithms of the standard
    deviations s; the pullback is ``w (-u/s, 1 - u^2)``. ``forward`` returns m, then s; ``predict`` m.

    The second output is log s since log s stands in the loss: nothing is rounded on the way there, however large. A
    log-variance would overflow ``1/s^2`` where ``u`` is still finite. A softplus would need its logarithm.

    Args:
        logits: (n, 2 k), real floating.
        targets: (n, k), of the same dtype.
        weights: (n,), of the same dtype; they sum to 1.

    Returns:
        The loss, 0-d, and its pullback, ``dloss -> (dlogits,)``.

    >>> import numpy as np, mlp_xp as mx
    >>> logits, targets, weights = np.zeros((1, 2)), np.asarray([[2.0]]), np.ones(1)
    >>> loss, pullback = mx.losses.gaussian(logits, targets, weights)
    >>> round(float(loss), 6), pullback(np.asarray(1.0))[0].tolist()
    (2.918939, [[-2.0, -3.0]])

    Source: Nix and Weigend, Estimating the mean and variance of the target probability distribution, 1994.
    """
    log_scale, inverse, u = _standardised(xp, logits, targets)
    losses = xp.sum(log_scale + 0.5 * (u * u) + _LOG_ROOT_2_PI, axis=-1)

    def pullback(dloss: float | Array) -> tuple[Array]:
        return (xp.concat([-u * inverse, 1.0 - u * u], axis=-1) * _per_row(weights, dloss),)

    return _mean(xp, losses, weights), pullback
