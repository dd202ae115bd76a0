"""Single entries: analytic against numeric value, each numeric one from the step that makes it surest.

For small tensors, for those who ask for every entry, and to find out where a tensor is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from mlp_xp._namespace import beside, settled
from mlp_xp._typing import Array
from mlp_xp.gradcheck.differences import central_differences
from mlp_xp.gradcheck.problem import Problem, scale_of

# An entry whose uncertainty is below this share of its value is resolved; no smaller step is tried for it.
_RESOLVED = 1e-5

# Of a difference of two values with noise sigma, extrapolated over two steps: six standard deviations are one false
# alarm in 10^9 entries.
_NOISE_MARGIN = 6.0

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

    chosen = xp.asarray(list(positions), dtype=xp.int32, **beside(x))
    analytic = xp.take(xp.reshape(gradient, (-1,)), chosen, axis=0)
    numeric = xp.zeros_like(analytic)
    uncertainty = xp.full(analytic.shape, math.inf, dtype=x.dtype, **beside(x))
    widest = math.cbrt(problem.epsilon) * xp.maximum(xp.abs(x), scale_of(xp, x) * xp.ones_like(x))
    for scale in _STEP_SCALES:
        step = scale * widest
        near, far = settled(
            central_differences(xp, along, x, step, positions, vectorized),
            central_differences(xp, along, x, 2.0 * step, positions, vectorized),
        )
        # Richardson: the errors of the two are 1 : 4, so a third of their difference more cancels both
        estimate = near + (near - far) / 3.0
        step_taken = xp.take(xp.reshape(step, (-1,)), chosen, axis=0)
        disagreement, rounding = xp.abs(near - far), _NOISE_MARGIN * problem.noise / step_taken
        surer = disagreement + rounding < uncertainty
        numeric = xp.where(surer, estimate, numeric)
        uncertainty = xp.where(surer, disagreement + rounding, uncertainty)
        resolved = uncertainty <= _RESOLVED * (xp.abs(analytic) + xp.abs(numeric))
        # a smaller step helps where the two quotients disagree, at a kink or a sharp bend; against rounding it does not
        if bool(xp.all(resolved | (disagreement <= rounding))):
            break
    return Entries(list(positions), analytic, numeric, uncertainty + analytic_rounding)
