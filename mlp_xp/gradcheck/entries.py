"""Single entries: analytic against numeric value, each numeric one from the step that makes it surest.

For small tensors, for those who ask for every entry, and to find out where a tensor is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np  # on the host alone: indices

from mlp_xp._namespace import beside, settled
from mlp_xp._typing import Array, Namespace
from mlp_xp.gradcheck.differences import difference_quotients
from mlp_xp.gradcheck.problem import Problem
from mlp_xp.gradcheck.report import RIGHT, WRONG
from mlp_xp.gradcheck.sizes import scale_of

# An entry whose uncertainty is below this share of its value is resolved; no smaller step is tried for it.
_RESOLVED = 1e-5

# Of a difference of two values with noise sigma, extrapolated over two steps: six standard deviations are one false
# alarm in 10^9 entries.
_NOISE_MARGIN = 6.0

# More entries than this are looked at with one value of f each first, and with four only where that leaves a doubt.
_MANY = 1_000

# Where a kink lies between the points of a stencil, a smaller one leaves it outside.
_STEP_SCALES = (1.0, 1 / 32, 1 / 1024)


class Entries(NamedTuple):
    """Flat positions in a tensor, and for each of them both values and how far the numeric one may be off."""

    positions: list[int]
    analytic: Array
    numeric: Array
    uncertainty: Array


def compare_entries(
    problem: Problem, leaf: int, gradient: Array, analytic_rounding: float, positions: Sequence[int], vectorized: bool
) -> Entries:
    """The entries of ``gradient``, in the reference dtype, at ``positions`` against differences of f.

    Args:
        leaf: which array of the problem's point.
        analytic_rounding: of the analytic entries, absolute.
        vectorized: whether f takes a leading axis on one array at a time.
    """
    xp, x = problem.xp, problem.point[leaf]

    def along(moved: Array) -> Any:
        arrays = (*problem.point[:leaf], moved, *problem.point[leaf + 1 :])
        return problem.f(*arrays, width=moved.shape[0] if vectorized else 1)

    analytic = _taken(xp, gradient, positions)
    widest = math.cbrt(problem.epsilon) * xp.maximum(xp.abs(x), scale_of(xp, x) * xp.ones_like(x))
    if len(positions) <= _MANY:
        numeric, uncertainty = _two_sided(problem, along, x, analytic, widest, positions, vectorized)
        return Entries(list(positions), analytic, numeric, uncertainty + analytic_rounding)
    (numeric,) = settled(difference_quotients(xp, along, x, widest, positions, vectorized, problem.value))
    # how much of a one-sided quotient is curvature no one can tell from it alone, but a gradient that agrees with it to
    # the textbook's bound has not come by that by chance
    rounding = _NOISE_MARGIN * problem.noise / _taken(xp, widest, positions)
    gap, scale = xp.abs(analytic - numeric), xp.abs(analytic) + xp.abs(numeric)
    doubtful = (gap > RIGHT * scale + rounding) | (rounding > WRONG * scale)
    again = [i for i in range(len(positions)) if bool(doubtful[i])]
    uncertainty = gap + rounding + analytic_rounding
    if again:
        guilty = [positions[i] for i in again]
        sharper, sharply = _two_sided(problem, along, x, _taken(xp, gradient, guilty), widest, guilty, vectorized)
        numeric, uncertainty = _put(xp, numeric, again, sharper), _put(xp, uncertainty, again, sharply)
    return Entries(list(positions), analytic, numeric, uncertainty)


def _two_sided(
    problem: Problem,
    along: Callable[[Array], Any],
    x: Array,
    analytic: Array,
    widest: Array,
    positions: Sequence[int],
    vectorized: bool,
) -> tuple[Array, Array]:
    """The entries' numeric values and uncertainties, each from the pair of steps that makes it surest."""
    xp = problem.xp
    numeric = xp.zeros_like(analytic)
    uncertainty = xp.full(analytic.shape, math.inf, dtype=x.dtype, **beside(x))
    for scale in _STEP_SCALES:
        step = scale * widest
        near, far = settled(
            difference_quotients(xp, along, x, step, positions, vectorized),
            difference_quotients(xp, along, x, 2.0 * step, positions, vectorized),
        )
        # Richardson: the errors of the two are 1 : 4, so a third of their difference more cancels both
        estimate = near + (near - far) / 3.0
        disagreement, rounding = xp.abs(near - far), _NOISE_MARGIN * problem.noise / _taken(xp, step, positions)
        surer = disagreement + rounding < uncertainty
        numeric = xp.where(surer, estimate, numeric)
        uncertainty = xp.where(surer, disagreement + rounding, uncertainty)
        resolved = uncertainty <= _RESOLVED * (xp.abs(analytic) + xp.abs(numeric))
        # a smaller step helps where the two quotients disagree, at a kink or a sharp bend; against rounding it does not
        if bool(xp.all(resolved | (disagreement <= rounding))):
            break
    return numeric, uncertainty


def _taken(xp: Namespace, x: Array, positions: Sequence[int]) -> Array:
    return xp.take(xp.reshape(x, (-1,)), xp.asarray(list(positions), dtype=xp.int32, **beside(x)), axis=0)


def _put(xp: Namespace, x: Array, places: Sequence[int], values: Array) -> Array:
    """``x`` with ``values`` at ``places``, in ascending order."""
    inside = np.zeros(x.shape[0], dtype=np.int32)
    inside[list(places)] = 1
    order = xp.asarray(np.maximum(np.cumsum(inside) - 1, 0), dtype=xp.int32, **beside(x))
    return xp.where(xp.asarray(inside, **beside(x)) > 0, xp.take(values, order, axis=0), x)
