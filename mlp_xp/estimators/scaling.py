"""Standardisation inside an estimator: mean and deviation of X, and of y for a regressor, learned and kept with it.

Before: ``data`` has checked the rows. Next: ``base`` learns from standardised rows, ``network`` predicts with them.
"""

import math
from typing import Any, NamedTuple, cast

import numpy as np  # for sparse matrices, which are on the host
from sklearn.utils.sparsefuncs import inplace_csr_column_scale, mean_variance_axis

from mlp_xp._lib.namespace import namespace, persisted
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.train.dataset import Dataset, is_sparse

# Of its mean, the deviation of a constant column that rounding leaves: in units of epsilon, for sums of many rows.
_CONSTANT = 10.0


class Scaling(NamedTuple):
    """``(X - X_mean) / X_scale``, and for the numbers that a regressor learns ``(y - y_mean) / y_scale``.

    X_mean, X_scale: (d_in,), in the library and the dtype of X; None where X is not scaled.
    y_mean, y_scale: (d_out,); None where y is not scaled.
    """

    X_mean: Array | None
    X_scale: Array | None
    y_mean: Array | None = None
    y_scale: Array | None = None

    def inputs(self, X: Any) -> Any:
        """X (n, d_in), dense or sparse, as the network takes it."""
        if self.X_mean is None or self.X_scale is None:
            return X
        if is_sparse(X):  # whose mean is 0 here
            X = X.copy()
            inplace_csr_column_scale(X, 1.0 / cast(Any, self.X_scale))
            return X
        return (X - self.X_mean) / self.X_scale

    def dataset(self, data: Dataset) -> Dataset:
        """Rows to learn from, or to judge by, as the network takes them."""
        y = data.y if self.y_mean is None or self.y_scale is None else (data.y - self.y_mean) / self.y_scale
        return data._replace(X=self.inputs(data.X), y=y)

    def outputs(self, values: Array) -> Array:
        """Numbers that the network predicts, (n, d_out) or (k, n, d_out), in the units of y."""
        return values if self.y_mean is None else self.widths(values) + self.y_mean

    def widths(self, values: Array) -> Array:
        """Differences of such numbers, as standard deviations are, in the units of y."""
        return values if self.y_scale is None else values * self.y_scale

    def folded(self, params: Params) -> Params:
        """The parameters W1, b1, ... of a network that takes X and gives y as they are, each with one output a target.

        ``((X - m) / s) W + b = X (W / s) + (b - (m / s) W)``, and so at the other end.
        """
        W, b, *rest = params
        if self.X_mean is not None and self.X_scale is not None:
            W, b = W / self.X_scale[:, None], b - (self.X_mean / self.X_scale) @ W
        *rest, W, b = W, b, *rest
        return *rest, self.widths(W), self.outputs(b)


def learned_from(data: Dataset, of_y: bool, together: bool) -> Scaling:
    """The scaling of these rows; a row counts as its weight says.

    A column that is constant is not divided. That of a sparse X is not centred either: it would not stay sparse.

    Args:
        data: the rows to learn from.
        of_y: whether y is scaled too.
        together: whether all columns of X have one mean and one deviation, as pixels do.

    Raises:
        ValueError: the numbers are so large that their deviation overflows.
    """
    weight = data.weight
    if is_sparse(data.X):
        weights = None if weight is None else np.asarray(weight, dtype=data.X.dtype)
        mean, variance = mean_variance_axis(data.X, axis=0, weights=weights)
        if together:
            variance = np.full_like(variance, np.mean(variance + mean**2) - np.mean(mean) ** 2)
        scale = np.where(variance > 0, np.sqrt(variance), 1.0).astype(data.X.dtype)
        found: list[Any] = [np.zeros_like(scale), scale]
    else:
        found = [*_mean_and_deviation(namespace(data.X), data.X, weight, together)]
    if of_y:
        found += _mean_and_deviation(namespace(data.y), data.y, weight, together=False)
    xp = namespace(found[0])
    for name, deviation in (("X", found[1]), ("y", found[-1])):
        if not bool(xp.all(xp.isfinite(deviation))):
            raise ValueError(
                f"{name} must have a deviation that {deviation.dtype} can hold to be standardised; scale it"
            )
    return Scaling(*persisted(*found))


def _mean_and_deviation(xp: Namespace, values: Array, weight: Array | None, together: bool) -> tuple[Array, Array]:
    """The weighted mean and the standard deviation of each column, 1 for a constant one: (n, k) -> (k,), (k,)."""
    shares = None if weight is None else (weight / xp.sum(weight))[:, None]

    def mean_of(each: Array) -> Array:
        mean = _sum(xp, each) / each.shape[0] if shares is None else _sum(xp, each * shares)
        return xp.zeros_like(mean) + xp.mean(mean) if together else mean

    mean = mean_of(values)
    mean = mean + mean_of(values - mean)  # which rounds in units of the deviation, not of the mean
    rest = values - mean
    # in units of the largest one, whose square can't overflow
    unit = xp.max(xp.abs(rest), axis=0)
    unit = xp.where(unit > 0, unit, xp.ones_like(unit))
    unit = xp.zeros_like(unit) + xp.max(unit) if together else unit
    part = rest / unit
    deviation = unit * xp.sqrt(mean_of(part * part))
    constant = deviation <= _CONSTANT * xp.finfo(values.dtype).eps * xp.abs(mean)
    return mean, xp.where(constant, xp.ones_like(deviation), deviation)


def _sum(xp: Namespace, each: Array) -> Array:
    """The sum over the rows, (n, k) -> (k,), in two stages of about √n terms: n in a row would lose n ε in float32."""
    side = math.isqrt(each.shape[0])
    square = xp.reshape(each[: side * side, :], (side, side, each.shape[1]))
    return xp.sum(xp.sum(square, axis=1), axis=0) + xp.sum(each[side * side :, :], axis=0)
