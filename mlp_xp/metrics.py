"""How good predictions are: accuracy and R^2, each one number, computed on the device of the predictions.

Before: ``mlp`` predicts. Next: ``train`` and ``estimators`` report these scores and stop by them.
"""

import math
from typing import Any

from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.ranks import ALONE, Ranks, mean


def accuracy(
    xp: Namespace, y: Array, predicted: Array, like: Array, weight: Array | None = None, ranks: Ranks = ALONE
) -> Array:
    """``sum_i w_i [y_i = predicted_i] / sum_i w_i``: labels (n,) or (n, k) -> 0-d.

    A row of k labels is right when all of them are.

    Args:
        xp: the namespace of the arrays.
        y: true labels (n,) or (n, k).
        predicted: predicted labels, of the shape of ``y``.
        like: an array with the floating dtype of the result.
        weight: (n,) weights of that dtype; None stands for equal weights.
        ranks: which have rows of their own; the score is that of all rows.

    Returns:
        The share of the weight that is on right rows, 0-d, from 0 to 1.

    >>> import numpy as np
    >>> float(accuracy(np, np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0]), np.array(0.0)))
    0.75
    """
    right = xp.astype(y == predicted, like.dtype)
    if right.ndim == 2:
        right = xp.min(right, axis=1)
    whole: Any = right.shape[0] if weight is None else xp.sum(weight)
    (share,) = mean(ranks, whole, xp.sum(right if weight is None else right * weight) / whole)
    return share


def r2(xp: Namespace, y: Array, predicted: Array, weight: Array | None = None, ranks: Ranks = ALONE) -> Array:
    """``1 - sum_i w_i (y_i - predicted_i)^2 / sum_i w_i (y_i - mean y)^2``, the mean over the columns: (n, k) -> 0-d.

    A column of equal targets has the score 1 if its prediction is exact, else 0.

    Args:
        xp: the namespace of the arrays.
        y: true targets (n, k), floating.
        predicted: predicted targets (n, k) of the same dtype.
        weight: (n,) weights of that dtype; None stands for equal weights.
        ranks: which have rows of their own; the score is that of all rows.

    Returns:
        The score, 0-d: 1 for exact predictions, 0 for the mean of the targets, and less for worse ones.

    >>> import numpy as np
    >>> y = np.array([[1.0], [2.0], [3.0]])
    >>> float(r2(np, y, y)), float(r2(np, y, np.full((3, 1), 2.0)))
    (1.0, 0.0)
    """
    weights = xp.ones_like(y[:, 0]) if weight is None else weight
    weighted, whole = ranks.total((weights @ y, xp.sum(weights)))
    middle = weighted / whole
    wrong, spread = weights @ ((y - predicted) * (y - predicted)), weights @ ((y - middle) * (y - middle))
    wrong, spread = ranks.total((wrong, spread))
    flat = spread == 0.0
    share = wrong / xp.where(flat, xp.ones_like(spread), spread)
    scores = 1.0 - xp.where(flat, xp.astype(wrong > 0.0, y.dtype), share)
    return xp.sum(scores) / math.prod(scores.shape)
