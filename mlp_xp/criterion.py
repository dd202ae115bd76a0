"""What a criterion is: its record, and the targets and weights that it takes.

``targets_and_weights`` makes targets and weights from what a caller has: labels, smoothing, sample weights.

Before: ``ops``. Next: ``losses`` has the criteria and enters them in the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from mlp_xp._lib.namespace import device_kwargs, is_floating, is_integral, is_numpy, scalar_like
from mlp_xp._lib.typing import Array, Namespace, Op, Pullback
from mlp_xp.ops import Cost, Primitive, op_from, record_named

# --- the record --------------------------------------------------------------------------------------------------


def _as_they_are(xp: Namespace, logits: Array, k: int) -> Array:
    return logits


def is_column(xp: Namespace, logits: Array, j: int) -> Array:
    """(k,), true at j."""
    here: Array = xp.arange(logits.shape[-1], **device_kwargs(logits)) == j
    return here


def alone(xp: Namespace, slope: Array, j: int) -> Array:
    """``slope`` (n, k) at j, 0 elsewhere: an output that depends on its own logit alone."""
    return xp.where(is_column(xp, slope, j), slope, xp.zeros_like(slope))  # a product with 0 would make inf NaN


def _own_slopes(xp: Namespace, logits: Array, j: int) -> Array:
    return alone(xp, xp.ones_like(logits), j)


ANY = (-math.inf, math.inf)
"""The range of targets that may be any numbers."""


class Criterion(NamedTuple):
    """A criterion with all that belongs to it.

    name: as the option ``criterion`` takes it.
    loss: ``loss(xp, logits, targets, weights) -> (loss, pullback)``.
    outputs: ``outputs(xp, logits, k)``, what ``forward`` returns for logits (n, k), (n, k).
    slopes: ``slopes(xp, logits, j)``, the derivative of output j by each logit of its row, (n, k); None where the
        outputs are the logits themselves.
    decide: ``decide(xp, logits, k)``, what ``predict`` returns, (n,) or (n, targets); the ``prediction`` from the
        outputs for None.
    metric: the score that belongs to it: "accuracy" of labels, "r2" of numbers, or None.
    probabilities: whether its outputs are probabilities.
    quantity, unit: what the loss measures, and in which unit, for pictures.
    outputs_per_target: how many logits belong to one target. Logits and outputs are so many blocks of columns, each
        with a column for every target.
    targets: the smallest and the largest target that it takes.
    curvature: ``curvature(xp, logits, targets, weights) -> product``, where ``product(dz)`` is the second derivative of
        the loss by the logits times ``dz``; None where nobody gave it.
    smoothing: whether label smoothing is defined.
    label_loss: ``loss`` for targets that are known to sum to 1 in each row, where that saves arithmetic.
    levels: of the quantiles that the blocks of its outputs are; empty where they are something else.
    scale: whether its outputs are means and standard deviations.
    family: its name without a parameter, such as "huber" of "huber(2.0)"; empty for an op of the caller's own.
    cost: per logit, labels given for softmax, else a look at the range of the targets included; ``kept`` counts the
        targets. None for an op of the caller's own.
    """

    name: str
    loss: Primitive
    outputs: Callable[[Namespace, Array, int], Array] = _as_they_are
    decide: Callable[[Namespace, Array, int], Array] | None = None
    metric: Literal["accuracy", "r2"] | None = None
    probabilities: bool = False
    quantity: str = "loss"
    unit: str = ""
    outputs_per_target: int = 1
    smoothing: bool = False
    label_loss: Primitive | None = None
    cost: Cost | None = None
    targets: tuple[float, float] = ANY
    curvature: Callable[[Namespace, Array, Array, Array], Callable[[Array], Array]] | None = None
    slopes: Callable[[Namespace, Array, int], Array] | None = None
    levels: tuple[float, ...] = ()
    scale: bool = False
    family: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        # by its name, so that a copy is the record of the table; a caller's own goes by its fields
        known = CRITERIA.get(self.name) is self
        return (criterion_named, (self.name,)) if known else (Criterion, tuple(self))

    def decision(self, xp: Namespace, logits: Array, k: int) -> Array:
        """What ``predict`` returns for logits (n, k); k is said since a library that only traces may not know it."""
        if self.decide is not None:
            return self.decide(xp, logits, k)
        return self.prediction(self.outputs(xp, logits, k), k)

    def output_slopes(self, xp: Namespace, logits: Array, j: int) -> Array:
        """The derivative of output j by the logits of its row, (n, k)."""
        if self.slopes is None and self.outputs is not _as_they_are:
            raise ValueError(f"the outputs of criterion {self.name} must have slopes to be differentiated, got None")
        return (self.slopes or _own_slopes)(xp, logits, j)

    def prediction(self, outputs: Array, k: int) -> Array:
        """One number for each target from outputs (n, k): of several, the mean, or the quantile nearest to the median.

        Of two quantiles that are as near it is the lower one.
        """
        if not (self.levels or self.scale):
            return outputs
        nearest = min(range(len(self.levels)), key=lambda i: abs(self.levels[i] - 0.5), default=0)
        return blocks(outputs, k, self.outputs_per_target)[nearest]


CRITERIA: dict[str, Criterion] = {}
"""Name -> record of every criterion; ``losses`` enters them."""


class Parametrised:
    """A criterion with a parameter, such as ``huber(2.0)``, as an op; it is copied, compared and printed by its record.

    A class, since a function that is made in a call can't be pickled.
    """

    def __init__(self, record: Criterion) -> None:
        self.record, self.__name__ = record, record.name
        self._op = op_from(record.loss, partial(rows_that_fit, record))

    def __call__(self, logits: Array, targets: Array, weights: Array) -> tuple[Array, Pullback]:
        return self._op(logits, targets, weights)

    def __reduce__(self) -> tuple[Any, ...]:
        return Parametrised, (self.record,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parametrised) and self.__name__ == other.__name__

    def __hash__(self) -> int:
        return hash(self.__name__)

    def __repr__(self) -> str:
        return f"mlp_xp.losses.{self.__name__}"


def criterion_named(name_or_op: str | Op) -> Criterion:
    """The record of a criterion; see ``record_named``. That of a caller's op has the logits for its outputs."""
    if isinstance(name_or_op, Parametrised):
        return name_or_op.record
    return record_named("criterion", CRITERIA, name_or_op, Criterion)


def blocks(columns: Array, k: int, count: int) -> list[Array]:
    """The k columns of logits or outputs (..., k) as ``count`` blocks, one for each output of a target."""
    width = k // count
    return [columns[..., width * i : width * (i + 1)] for i in range(count)]


def check_width(criterion: Criterion, d_out: int) -> None:
    """Raise unless a network with so many outputs has all that the criterion takes for each target."""
    if d_out % (share := criterion.outputs_per_target):
        raise ValueError(
            f"d_out must be a multiple of {share}, the outputs of each target for {criterion.name}, got {d_out}"
        )


# --- targets -----------------------------------------------------------------------------------------------------


def targets_and_weights(
    xp: Namespace,
    y: Array,
    outputs: Array,
    sample_weight: Array | None = None,
    label_smoothing: float = 0.0,
    criterion: Criterion | None = None,
    trusted: bool = False,
) -> tuple[Array, Array]:
    """Floating targets (n, k) and weights (n,) that sum to 1, for ``outputs`` (..., n, k), in their dtype.

    Sample weights (m, n), one row for each of m networks, become weights (m, n) whose rows sum to 1.
    Integer labels (n,) become one-hot rows (0/1 when k is 1), smoothed to ``(1 - s) one_hot + s / k``. A label out of
    range, or a target that the criterion does not take, raises on NumPy. Elsewhere a look at the values would wait for
    the device: such a row gets weight NaN, which reaches the loss and every gradient of this library's. Without a
    criterion the targets may be any numbers, one for each output.

    ``trusted`` says that targets and weights were looked at before, so that no step needs to look again.
    """
    criterion = criterion or CRITERIA["softmax_cross_entropy"]
    n, k = outputs.shape[-2], outputs.shape[-1] // criterion.outputs_per_target
    dtype = outputs.dtype
    place = device_kwargs(outputs)
    if sample_weight is None:
        weights = xp.full((n,), 1.0 / n, dtype=dtype, **place)
    else:
        _check_sample_weight(xp, sample_weight, outputs)
        if not (trusted or is_numpy(xp)):  # on NumPy a negative weight has raised
            sample_weight = xp.where(sample_weight >= 0, sample_weight, scalar_like(xp, math.nan, sample_weight))
        total = xp.sum(sample_weight, axis=-1, keepdims=True)
        # total - total is NaN where the sum is infinite: all rows would weigh nothing, and the loss would be 0
        weights = sample_weight / (total + (total - total))
    if not check_targets(xp, criterion, y, n, outputs.shape[-1], dtype):
        targets = y
        if criterion.targets != ANY and not trusted:
            weights = weights_in_range(xp, "y", y, criterion.targets, _takes(criterion), weights)
    else:
        classes = max(k, 2)
        if classes > 127 and xp.iinfo(y.dtype).max < classes:  # 8-bit labels of more classes than 8 bits can count
            y = xp.astype(y, xp.int32)
        hit = y[:, None] == xp.arange(classes, dtype=y.dtype, **place)
        if not (trusted or is_numpy(xp)):
            weights = xp.where(xp.any(hit, axis=-1), weights, scalar_like(xp, math.nan, weights))
        elif not trusted and xp.count_nonzero(hit) != n:
            check_target_values(xp, criterion, y, outputs.shape[-1])
        targets = xp.astype(hit if k > 1 else hit[:, 1:], dtype)
    if label_smoothing:
        targets = (1.0 - label_smoothing) * targets + label_smoothing / k
    return targets, weights


def check_targets(
    xp: Namespace, criterion: Criterion, y: Array, n: int, d_out: int, dtype: object, which: str = ""
) -> bool:
    """Whether ``y`` holds labels. Raise unless it is integer (n,), or (n, k) of ``dtype``, k targets a row."""
    check_width(criterion, d_out)
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
    if criterion.targets != ANY:
        _check_range(xp, f"{which}y", y, criterion.targets, _takes(criterion))


def _about_integers(criterion: Criterion) -> str:
    """The end of a sentence about integers that are no labels, for a criterion of numbers."""
    floats = "; integers are labels: counts and other numbers must be floating, (n, d_out)"
    return "" if criterion.metric == "accuracy" else floats


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


def weights_in_range(
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


def rows_that_fit(
    criterion: Criterion, xp: Namespace, logits: Array, targets: Array, weights: Array
) -> tuple[Array, Array, Array]:
    """The arguments of a criterion's op, once they are known to fit; see ``targets_and_weights`` for NaN weights."""
    share = criterion.outputs_per_target
    if logits.ndim < 2 or logits.shape[-1] == 0 or logits.shape[-1] % share:
        each = f", {share} logits for each target" if share > 1 else ""
        raise ValueError(f"logits must have shape (n, k), k >= 1{each}, got {tuple(logits.shape)}")
    n, k = logits.shape[-2], logits.shape[-1] // share
    networks = logits.shape[:-2]  # each of which may have a row of weights
    for name, array, expected in (("targets", targets, [(n, k)]), ("weights", weights, [(n,), (*networks, n)])):
        if array.shape not in expected:
            shapes = " or ".join(map(str, dict.fromkeys(expected)))
            raise ValueError(
                f"{name} must have shape {shapes} to follow logits {tuple(logits.shape)}, got {tuple(array.shape)}"
            )
    if criterion.targets != ANY:
        weights = weights_in_range(xp, "targets", targets, criterion.targets, _takes(criterion), weights)
    return logits, targets, weights


def _check_sample_weight(xp: Namespace, sample_weight: Array, outputs: Array) -> None:
    n, dtype = outputs.shape[-2], outputs.dtype
    if sample_weight.shape not in ((n,), (*outputs.shape[:-2], n)):
        raise ValueError(
            f"sample_weight must have {weight_shapes(n, outputs.shape[:-2])}, got {tuple(sample_weight.shape)}"
        )
    if sample_weight.dtype != dtype:
        raise TypeError(f"sample_weight must have the dtype of X, {dtype}, got {sample_weight.dtype}")
    if is_numpy(xp):
        if not xp.min(sample_weight) >= 0:
            raise ValueError(f"sample_weight must not be negative or NaN, got {float(xp.min(sample_weight))}")
        totals = xp.sum(sample_weight, axis=-1)
        least, most = (xp.min(totals), xp.max(totals)) if totals.ndim else (totals, totals)
        if not (least > 0 and most < math.inf):
            total = least if least == 0 else most
            must = "must not sum to zero" if total == 0 else "must be finite, and so must be their sum"
            raise ValueError(f"sample_weight {must}, got a sum of {float(total)}")


def weight_shapes(n: int, networks: tuple[int, ...]) -> str:
    """Which shapes weights of n rows may have, for a message; ``networks`` is (k,) for k of them, else ()."""
    return f"shape (n,) = ({n},)" + (f" or (k, n) = ({networks[0]}, {n})" if networks else "")


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
