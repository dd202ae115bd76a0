"""What a regressor says of its logits: a number for each target, its standard deviation, its quantiles.

Pure functions of the logits, of the criterion that the network learned by, and of the units of y. An ensemble speaks as
one: its networks are a mixture of equal parts.

Before: ``losses`` says what the outputs are. Next: ``regressor`` returns these to the caller.
"""

from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import ndtri

from mlp_xp._lib.arguments import shortened
from mlp_xp._lib.namespace import namespace
from mlp_xp._lib.typing import Array
from mlp_xp.criterion import Criterion, blocks
from mlp_xp.estimators.scaling import Scaling

_USUAL = (0.05, 0.5, 0.95)


class Prediction(NamedTuple):
    """What is said of n rows, in the units of y.

    value: (n, targets).
    std: the standard deviation, (n, targets); None where neither the criterion nor an ensemble says one.
    quantiles: those that the criterion learned, (n, targets, levels); None where it learned none.
    """

    value: Array
    std: Array | None
    quantiles: Array | None


def prediction_from(logits: Array, criterion: Criterion, k: int, scaling: Scaling | None) -> Prediction:
    """The prediction of a network, or of an ensemble.

    The value of an ensemble is the mean m of its networks' m_i, its variance that of the mixture: the mean of
    ``(m_i - m)^2``, and of the s_i^2 where the networks have standard deviations s_i. Its quantiles are the means.

    Args:
        logits: (n, k), or (networks, n, k).
        criterion: by which the network learned.
        k: the number of outputs; a library that only traces may not know it.
        scaling: whose units of y are those of the prediction; None where y was learned as it is.

    Source: Lakshminarayanan et al., Simple and scalable predictive uncertainty estimation using deep ensembles, 2017.
    """
    xp, scaling = namespace(logits), scaling or Scaling(None, None)
    outputs = criterion.outputs(xp, logits, k)
    parts = blocks(outputs, k, criterion.outputs_per_target)
    value = scaling.outputs(criterion.prediction(outputs, k))
    std = scaling.widths(parts[1]) if criterion.scale else None
    quantiles = xp.stack([scaling.outputs(each) for each in parts], axis=-1) if criterion.levels else None
    if logits.ndim == 2:
        return Prediction(value, std, quantiles)
    mean = xp.mean(value, axis=0)
    apart = value - mean
    variance = xp.mean(apart * apart if std is None else apart * apart + std * std, axis=0)
    return Prediction(mean, xp.sqrt(variance), None if quantiles is None else xp.mean(quantiles, axis=0))


def deviation(made: Prediction, criterion: Criterion) -> Array:
    """The standard deviation of each target, (n, targets).

    Raises:
        ValueError: for one network that learned none.
    """
    if made.std is None:
        learned = criterion.family or criterion.name
        needed = "a loss that learns a standard deviation, 'gaussian', or an ensemble"
        raise ValueError(f"return_std needs {needed}, got {learned!r}")
    return made.std


def quantiles_of(made: Prediction, criterion: Criterion, levels: Sequence[float] | None = None) -> Array:
    """Quantiles of each target, (n, targets, levels).

    Args:
        made: the prediction.
        criterion: by which the network learned.
        levels: in ascending order; None stands for those that were learned, or 0.05, 0.5 and 0.95 where the outputs
            are a distribution.

    Raises:
        ValueError: for a criterion that learns none, or levels that were not learned.
    """
    xp = namespace(made.value)
    if criterion.scale and made.std is not None:
        # the quantile function of the standard normal distribution, of numbers on the host
        return xp.stack([made.value + float(ndtri(level)) * made.std for level in levels or _USUAL], axis=-1)
    if made.quantiles is None:
        learned = criterion.family or criterion.name
        needed = "a loss that learns quantiles, 'quantile' or 'gaussian'"
        raise ValueError(f"predict_quantiles needs {needed}, got {learned!r}")
    places = {level: position for position, level in enumerate(criterion.levels)}
    for level in levels or ():
        if level not in places:
            known = shortened(criterion.levels)
            raise ValueError(f"quantiles must be of those that were learned, {known}, got {level}")
    return xp.stack([made.quantiles[..., places[level]] for level in levels or criterion.levels], axis=-1)
