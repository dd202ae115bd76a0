"""How good a network is on rows that it did not learn from: the data loss, and the score that fits the criterion.

Before: ``dataset``. Next: ``loop`` evaluates after each epoch.
"""

from typing import Any

from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.losses import Criterion, criterion_named
from mlp_xp.metrics import accuracy, r2
from mlp_xp.mlp import PredictOptions, objective, predict
from mlp_xp.train.dataset import rows_of

# Rows that are evaluated at a time: what the network keeps of each must not outgrow memory.
_CHUNK = 2**14


def evaluate(
    xp: Namespace, X: Array | Any, y: Array, params: Params, options: PredictOptions, wants_score: bool = True
) -> tuple[float, float | None]:
    """The data loss, and the share of right labels or R^2, over all rows, chunk by chunk.

    Args:
        xp: the namespace of ``params``.
        X: (n, d_in), an array, or a scipy sparse matrix in CSR format.
        y: (n,) or (n, k).
        params: W1, b1, W2, b2, ...
        options: activation and criterion.
        wants_score: whether the score is computed.

    Returns:
        The loss without penalties, and the score: None where it is not wanted, or where the criterion has none for
        such targets.
    """
    n = X.shape[0]
    loss, outputs = 0.0, []
    for low in range(0, n, _CHUNK):
        rows = slice(low, min(low + _CHUNK, n))
        part, targets = rows_of(xp, X, params[0], rows), rows_of(xp, y, params[0], rows)
        loss += float(objective(part, targets, *params, **options)) * part.shape[0]
        if wants_score:
            outputs.append(predict(part, *params, **options))
    if not wants_score:
        return loss / n, None
    criterion = criterion_named(options.get("criterion", "softmax_cross_entropy"))
    return loss / n, _score(xp, criterion, y, xp.concat(outputs), params[0])


def _score(xp: Namespace, criterion: Criterion, y: Array, predicted: Array, like: Array) -> float | None:
    """The criterion's metric, where it is defined for such targets."""
    if predicted.shape != y.shape:
        return None
    if criterion.metric == "accuracy" and y.ndim == 1:
        return float(accuracy(xp, xp.astype(y, predicted.dtype), predicted, like))
    if criterion.metric == "r2" and y.ndim == 2:
        return float(r2(xp, y, predicted))
    return None
