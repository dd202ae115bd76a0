"""How good a network is on rows that it did not learn from: the data loss, and the score that fits the criterion.

Before: ``dataset``. Next: ``loop`` evaluates after each epoch.
"""

from typing import Any, cast

from mlp_xp._lib.namespace import in_dtype, spans
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.losses import Criterion, criterion_named
from mlp_xp.metrics import accuracy, r2
from mlp_xp.mlp import PredictOptions, objective, predict
from mlp_xp.ranks import ALONE, Ranks, sums_of
from mlp_xp.train.dataset import Dataset, taken, targets_of
from mlp_xp.train.epoch import ensemble_size
from mlp_xp.train.members import numbers

# Rows that are evaluated at a time: what the network keeps of each must not outgrow memory; and numbers of X, whose
# rows may have to be copied.
_CHUNK, _NUMBERS = 2**14, 2**23


def parts_of(data: Dataset) -> list[slice]:
    """The parts of the rows of ``data`` that are evaluated one after the other."""
    return spans(data.n, max(data.X.shape[1], _NUMBERS // _CHUNK), _NUMBERS)


def evaluate(
    xp: Namespace, X: Array | Any, y: Array, params: Params, options: PredictOptions, wants_score: bool = True
) -> tuple[float, float | None]:
    """The data loss, and the share of right labels or R^2, of one network over all rows, chunk by chunk.

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
    losses, scores = evaluate_each(xp, Dataset(X, y), params, options, wants_score)
    return losses[0], None if scores is None else scores[0]


def evaluate_each(
    xp: Namespace,
    data: Dataset,
    params: Params,
    options: PredictOptions,
    wants_score: bool = True,
    ranks: Ranks = ALONE,
) -> tuple[list[float], list[float] | None]:
    """As ``evaluate``, of one network or of k together: lists with an entry for each.

    Rows may have weights (n,), each of them positive: loss and score are means by them. Where there are several
    ``ranks`` they are means over the rows of all.
    """
    count = ensemble_size(params)
    losses, total, outputs = [0.0] * (count or 1), 0.0, []
    for X, targets, weight, *_ in taken(xp, data, params[0], parts_of(data)):
        part = in_dtype(xp, X, params[0].dtype)  # rows may be floats of 16 bits, parameters float32
        (means,) = numbers(xp, objective(part, targets, *params, **options, sample_weight=weight))
        share = float(part.shape[0] if weight is None else xp.sum(weight))
        losses, total = [loss + mean * share for loss, mean in zip(losses, means, strict=True)], total + share
        if wants_score:
            outputs.append(predict(part, *params, **options))
    *losses, total = sums_of(ranks, params[0], *losses, total)
    losses = [loss / total for loss in losses]
    if not wants_score:
        return losses, None
    criterion = criterion_named(options.get("criterion", "softmax_cross_entropy"))
    predicted = xp.concat(outputs, axis=0 if count is None else 1)
    each = [predicted] if count is None else xp.unstack(predicted)
    scores = [_score(xp, criterion, data, one, params[0], ranks) for one in each]
    return losses, None if None in scores else cast(list[float], scores)


def _score(
    xp: Namespace, criterion: Criterion, data: Dataset, predicted: Array, like: Array, ranks: Ranks
) -> float | None:
    """The criterion's metric, where it is defined for such targets."""
    y, weight = targets_of(xp, data, like)
    if predicted.shape != y.shape:
        return None
    if criterion.metric == "accuracy" and y.ndim == 1:
        return float(accuracy(xp, xp.astype(y, predicted.dtype), predicted, like, weight, ranks))
    if criterion.metric == "r2" and y.ndim == 2:
        return float(r2(xp, y, predicted, weight, ranks))
    return None
