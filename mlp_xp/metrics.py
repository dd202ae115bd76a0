"""How good predictions are, one number, computed where they are: accuracy and R^2.

Before: ``mlp`` predicts. Next: ``train`` and ``estimators`` judge by it.
"""

from __future__ import annotations

import math

from mlp_xp._lib.typing import Array, Namespace


def accuracy(xp: Namespace, y: Array, predicted: Array, like: Array, weight: Array | None = None) -> Array:
    """``sum_i w_i [y_i = predicted_i] / sum_i w_i``, a row of several labels right when all are: (n,) or (n, k) -> 0-d.

    Args:
        y, predicted: labels.
        like: an array whose dtype the result takes.
        weight: (n,) of that dtype; 1 for each row when None.
    """
    right = xp.astype(y == predicted, like.dtype)
    if right.ndim == 2:
        right = xp.min(right, axis=1)
    return xp.sum(right) / right.shape[0] if weight is None else xp.sum(right * weight) / xp.sum(weight)


def r2(xp: Namespace, y: Array, predicted: Array, weight: Array | None = None) -> Array:
    """``1 - sum_i w_i (y_i - predicted_i)^2 / sum_i w_i (y_i - mean y)^2``, the mean over the columns: (n, k) -> 0-d.

    Of a column that does not vary it is 1 where the prediction is exact, else 0.
    """
    weights = xp.ones_like(y[:, 0]) if weight is None else weight
    mean = (weights @ y) / xp.sum(weights)
    wrong, spread = weights @ ((y - predicted) * (y - predicted)), weights @ ((y - mean) * (y - mean))
    flat = spread == 0.0
    share = wrong / xp.where(flat, xp.ones_like(spread), spread)
    scores = 1.0 - xp.where(flat, xp.astype(wrong > 0.0, y.dtype), share)
    return xp.sum(scores) / math.prod(scores.shape)
