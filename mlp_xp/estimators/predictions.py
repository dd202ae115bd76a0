"""What a regressor says of its outputs: a number for each target, its standard deviation, its quantiles.

Pure functions of what ``forward`` returns, (n, k), and of the criterion that the network learned by.

Before: ``losses`` says what the outputs are. Next: ``regressor`` returns these to the caller.
"""

from collections.abc import Sequence

from scipy.special import ndtri

from mlp_xp._lib.arguments import shortened
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.criterion import Criterion, blocks

_USUAL = (0.05, 0.5, 0.95)


def deviation(outputs: Array, criterion: Criterion, k: int) -> Array:
    """The standard deviation of each target, (n, targets).

    Raises:
        ValueError: for a criterion that learns none.
    """
    if not criterion.scale:
        learned = criterion.family or criterion.name
        raise ValueError(f"return_std needs a loss that learns a standard deviation, 'gaussian', got {learned!r}")
    return blocks(outputs, k, 2)[1]


def quantiles(
    xp: Namespace, outputs: Array, criterion: Criterion, k: int, levels: Sequence[float] | None = None
) -> Array:
    """Quantiles of each target, (n, targets, levels).

    Args:
        xp: the namespace of ``outputs``.
        outputs: (n, k).
        criterion: by which the network learned.
        k: the number of outputs.
        levels: in ascending order; None stands for those that were learned, or 0.05, 0.5 and 0.95 where the outputs
            are a distribution.

    Raises:
        ValueError: for a criterion that learns none, or levels that were not learned.
    """
    if criterion.scale:
        mean, scale = blocks(outputs, k, 2)
        # the quantile function of the standard normal distribution, of numbers on the host
        return xp.stack([mean + float(ndtri(level)) * scale for level in levels or _USUAL], axis=-1)
    known = criterion.levels
    if not known:
        learned = criterion.family or criterion.name
        needed = "a loss that learns quantiles, 'quantile' or 'gaussian'"
        raise ValueError(f"predict_quantiles needs {needed}, got {learned!r}")
    columns = dict(zip(known, blocks(outputs, k, len(known)), strict=True))
    for level in levels or ():
        if level not in columns:
            raise ValueError(f"quantiles must be of those that were learned, {shortened(known)}, got {level}")
    return xp.stack([columns[level] for level in levels or known], axis=-1)
