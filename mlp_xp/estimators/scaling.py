"""Standardisation inside an estimator: mean and deviation of X, and of y for a regressor, learned and kept with it.

Before: ``data`` has checked the rows. Next: ``base`` learns from standardised rows, ``network`` predicts with them.
"""

import math
from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple, cast

import numpy as np  # on the host: sparse matrices, and the moments of columns
from sklearn.utils.sparsefuncs import inplace_csr_column_scale, mean_variance_axis

from mlp_xp._lib.namespace import in_dtype, namespace, placement_of, to_host, wide_dtype
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.ranks import ALONE, Ranks, gathered
from mlp_xp.train.dataset import Dataset, is_sparse
from mlp_xp.train.source import Rows, is_source

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
        """X (n, d_in), dense, sparse or a source, as the network takes it."""
        if self.X_mean is None or self.X_scale is None:
            return X
        if is_source(X):
            return Rows(X, X.dtype, self.inputs)
        if is_sparse(X):  # whose mean is 0 here
            X = X.copy()
            inplace_csr_column_scale(X, 1.0 / cast(Any, self.X_scale))
            return X
        # of floats of 16 bits in float32, for 1 beside a mean of 3000 is lost in float16
        return in_dtype(namespace(X), (_wide(X) - self.X_mean) / self.X_scale, X.dtype)

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


def learned_from(parts: Iterable[Dataset], of_y: bool, together: bool, ranks: Ranks = ALONE) -> Scaling:
    """The scaling of these rows; a row counts as its weight says.

    A column of X that holds only 0 and 1, as those of categories do, stays as it is, unless all have one scale
    together. A column that is constant is not divided. That of a sparse X is not centred: it would not stay sparse.

    Args:
        parts: the rows to learn from, in one part or in several.
        of_y: whether y is scaled too.
        together: whether all columns of X have one mean and one deviation, as pixels do.
        ranks: which have parts of their own.

    Raises:
        ValueError: the numbers are so large that their deviation overflows.
    """
    moments: list[Any] = [None, None]
    places: list[Any] = [None, None]
    sparse = False
    for X, y, weight, _ in parts:
        sparse = sparse or is_sparse(X)
        for position, values in enumerate((_wide(X), y) if of_y else (_wide(X),)):
            moments[position] = joined(moments[position], _moments_of(values, weight))
            places[position] = placement_of(values)
    of_ranks = zip(*gathered(ranks, places[0].put(np.zeros(1)), moments), strict=True)
    moments = [None if each[0] is None else reduce(joined, each) for each in of_ranks]
    found: list[Array] = []
    for name, each, place in zip("Xy"[: 1 + of_y], moments, places, strict=False):
        mean, deviation = each.mean, each.deviation
        if name == "X" and together:
            mean, deviation = _of_all_columns(each)
        elif name == "X":
            mean, deviation = np.where(each.binary, 0.0, mean), np.where(each.binary, 1.0, deviation)
        constant = deviation <= _CONSTANT * place.xp.finfo(place.dtype).eps * np.abs(mean)
        mean, deviation = place.put_all(mean, np.where(constant, 1.0, deviation))
        if not bool(place.xp.all(place.xp.isfinite(deviation))):
            limit = f"a deviation that {deviation.dtype} can hold"
            raise ValueError(f"{name} must have {limit} to be standardised; scale it")
        found += [mean * 0.0 if sparse and name == "X" else mean, deviation]
    return Scaling(*found)


def _wide(X: Any) -> Any:
    """``X``; floats of 16 bits, which can't hold a sum of many, as float32."""
    if is_sparse(X):
        return X
    xp = namespace(X)
    return in_dtype(xp, X, wide_dtype(xp, X.dtype))


class Moments(NamedTuple):
    """Moments of the columns of rows, in float64 on the host.

    weight: of the rows, without weights their number; (k,) where not each row counts in each column.
    mean, deviation: (k,).
    binary: (k,), whether each number of a column is 0 or 1.
    """

    weight: Any
    mean: Any
    deviation: Any
    binary: Any


def _moments_of(values: Any, weight: Array | None) -> Moments:
    """The weighted moments of each column of (n, k)."""
    total = float(values.shape[0] if weight is None else namespace(weight).sum(weight))
    if is_sparse(values):
        weights = None if weight is None else np.asarray(weight, dtype=values.dtype)
        mean, variance = mean_variance_axis(values, axis=0, weights=weights)
        others = values.indices[(values.data != 0) & (values.data != 1)]
        binary = np.bincount(others, minlength=values.shape[1]) == 0
        return Moments(total, mean.astype(np.float64), np.sqrt(variance, dtype=np.float64), binary)
    xp = namespace(values)
    shares = None if weight is None else (weight / xp.sum(weight))[:, None]

    def mean_of(each: Array) -> Array:
        return _sum(xp, each) / each.shape[0] if shares is None else _sum(xp, each * shares)

    mean = mean_of(values)
    mean = mean + mean_of(values - mean)  # which rounds in units of the deviation, not of the mean
    rest = values - mean
    # in units of the largest one, whose square can't overflow
    unit = xp.max(xp.abs(rest), axis=0)
    unit = xp.where(unit > 0, unit, xp.ones_like(unit))
    part = rest / unit
    deviation = unit * xp.sqrt(mean_of(part * part))
    binary = to_host(xp.all((values == 0) | (values == 1), axis=0))
    return Moments(total, to_host(mean).astype(np.float64), to_host(deviation).astype(np.float64), binary)


def _sum(xp: Namespace, each: Array) -> Array:
    """The sum over the rows, (n, k) -> (k,), in two stages of about √n terms: n in a row would lose n ε in float32."""
    side = math.isqrt(each.shape[0])
    square = xp.reshape(each[: side * side, :], (side, side, each.shape[1]))
    return xp.sum(xp.sum(square, axis=1), axis=0) + xp.sum(each[side * side :, :], axis=0)


def joined(first: Moments | None, other: Moments) -> Moments:
    """The moments of the rows of both, without a difference of large sums.

    Source: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979.
    """
    if first is None:
        return other
    total = first.weight + other.weight
    share = np.broadcast_to(other.weight / np.where(total > 0, total, 1.0), other.mean.shape)
    gap = other.mean - first.mean
    parts = np.stack([first.deviation, other.deviation, gap])
    deviation = _root_of_squares(parts, np.stack([1.0 - share, share, share * (1.0 - share)]))
    return Moments(total, first.mean + share * gap, deviation, first.binary & other.binary)


def _of_all_columns(each: Moments) -> tuple[Any, Any]:
    """One mean and one deviation for all columns, (k,) each."""
    like, mean = np.ones_like(each.mean), np.mean(each.mean)
    parts = np.concatenate([each.deviation, each.mean - mean])
    return mean * like, _root_of_squares(parts[:, None], np.asarray(1.0 / len(like))) * like


def _root_of_squares(parts: Any, shares: Any) -> Any:
    """``sqrt(sum_i shares_i parts_i^2)`` over the first axis; no square overflows."""
    unit = np.max(np.abs(parts), axis=0)
    unit = np.where(unit > 0, unit, 1.0)
    return unit * np.sqrt(np.sum(shares * (parts / unit) ** 2, axis=0))
