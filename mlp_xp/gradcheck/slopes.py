"""The slope of a function of one number at 0, with its uncertainty, from a handful of noisy values.

A whole array is checked by moving along one random direction: ``phi(t) = f(x + t d)`` has the slope ``<grad f, d>``.
An error e in the gradient changes it by ``<e, d>``, whose size is about the norm of e whatever the number of entries.

``directional_slope`` measures the slope, ``evaluation_noise`` the rounding error of the values that it rests on.

Next: ``local`` applies both to a function at a point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np  # on the host alone: values of phi

# Steps as powers of epsilon. The usual ones go from a fifth to 1e-8 in float64, far apart: three of them reach from
# truncation to rounding, and a kink between two of them lies outside the finer one. The rest are for functions that
# change on a far finer scale than their argument: their differences drift apart until a step is finer than that scale.
_POWERS = (0.04, 0.115, 0.19, 0.27, 0.345, 0.42, 0.495, 0.57, 0.645, 0.72, 0.795, 0.87, 0.945, 1.02, 1.095, 1.17, 1.245)
_USUAL = 7
_FIRST = (1, 2, 3)
_MOST = 4

# The rounding of an extrapolated difference of two values with noise sigma, in units of sigma / h: about six standard
# deviations.
_NOISE_MARGIN = 6.0

# At this relative uncertainty more values would add nothing that matters.
_SHARP = 1e-9


class Slope(NamedTuple):
    """The slope of a function of one number at 0.

    value: the derivative; at a kink the mean of those on its two sides.
    uncertainty: a bound on its error.
    kink: the part of that bound owed to a kink.
    exact: whether it is free of truncation.
    tied: whether something that f compares is equal at the point: f may have another derivative on the other side.
    """

    value: float
    uncertainty: float
    kink: float
    exact: bool = False
    tied: bool = False


class _Difference(NamedTuple):
    """From phi at -h, 0 and h: the two-sided slope, and the bend: the right-hand slope minus the left-hand one."""

    step: float
    slope: float
    bend: float


def directional_slope(
    phi: Callable[[float], float], value: float, noise: float, epsilon: float, finest: float = 0.0
) -> Slope:
    """``phi'(0)`` by two-sided differences, extrapolated (Richardson), with steps that adapt to noise and kinks.

    Any three neighbouring steps give two extrapolated slopes. For a smooth function these agree to the error of the
    coarser one; if a kink or a jump in curvature lies between the steps, they do not. A kink nearer than the smallest
    step shows as a bend that does not shrink with the step. Larger steps are added where rounding dominates, smaller
    ones where the disagreement dominates, and the three steps with the least uncertainty win. If finer steps disagree
    with them beyond rounding, the disagreement is added to the uncertainty. If the finest steps disagree with each
    other more than coarser ones do, the uncertainty is infinite.

    Args:
        phi: called at 6 or 8 points, at more where differences drift apart.
        value: phi(0).
        noise: the standard deviation of phi's rounding error.
        epsilon: the machine epsilon of the dtype in which phi computes.
        finest: no smaller step is taken.

    Source: Ridders, Accurate computation of F'(x) and F'(x) F''(x), Advances in Engineering Software 4, 1982, for the
    tableau; the kink term is this project's.
    """
    differences: dict[int, _Difference] = {}

    def measure(rung: int) -> None:
        h = epsilon ** _POWERS[rung]
        right, left = phi(h), phi(-h)
        differences[rung] = _Difference(h, (right - left) / (2.0 * h), (right - 2.0 * value + left) / h)

    for rung in _FIRST:
        measure(rung)
    while True:
        ladder = [differences[rung] for rung in sorted(differences)]
        candidates = [_from_three(*three, noise) for three in zip(ladder, ladder[1:], ladder[2:], strict=False)]
        best, bent, rounding = min(_contradicted(candidates), key=lambda candidate: candidate[0].uncertainty)
        finer, coarser = max(differences) + 1, min(differences) - 1
        if _drifting(ladder, noise):
            if finer == len(_POWERS) or epsilon ** _POWERS[finer] < finest:
                return best._replace(uncertainty=math.inf)
            measure(finer)
            continue
        if len(ladder) >= _MOST or best.uncertainty <= _SHARP * abs(best.value):
            return best
        rung = finer if bent > rounding else coarser
        if rung not in range(_USUAL) or (rung == finer and epsilon ** _POWERS[finer] < finest):
            return best
        measure(rung)


def _drifting(ladder: Sequence[_Difference], noise: float) -> bool:
    """Whether the slopes still drift apart from step to step by more than rounding: then only a finer step can tell.

    Slopes that have settled once and drift apart at finer steps do not count: there the noise is larger than measured.
    """
    gaps = [(abs(fine.slope - coarse.slope), _NOISE_MARGIN * noise / fine.step) for coarse, fine in pairwise(ladder)]
    # NaN counts as drifting: where phi is not defined so far from 0, only finer steps can tell
    return not any(last <= max(0.5 * before, rounding) for (before, _), (last, rounding) in pairwise(gaps))


_Candidate: TypeAlias = tuple[Slope, float, float]
"""The slope from three steps; how much of its uncertainty is disagreement; how much is rounding."""


def _contradicted(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """``candidates``, coarse to fine; each as uncertain as its distance, beyond rounding, from any finer one."""

    def widened(position: int) -> _Candidate:
        slope, bent, rounding = candidates[position]
        gap = max((abs(slope.value - s.value) - r for s, _, r in candidates[position + 1 :]), default=0.0)
        return slope._replace(uncertainty=max(slope.uncertainty, gap)), max(bent, gap - rounding), rounding

    return [widened(position) for position in range(len(candidates))]


def _from_three(coarse: _Difference, middle: _Difference, fine: _Difference, noise: float) -> _Candidate:
    """The slope that three steps give."""
    steps = pairwise((coarse, middle, fine))
    first, second = (b.slope + (b.slope - a.slope) / ((a.step / b.step) ** 2 - 1.0) for a, b in steps)
    rounding = _NOISE_MARGIN * noise / fine.step
    # the bend of a smooth function is h phi'': proportional to the step
    kink = max(0.0, abs(fine.bend - middle.bend * fine.step / middle.step) - 4.0 * noise / fine.step)
    bent = abs(first - second) + kink
    bent = bent if math.isfinite(bent) else math.inf
    return Slope(second, bent + rounding, kink), bent, rounding


# --- noise -------------------------------------------------------------------------------------------------------

_POINTS = 9

# The step as powers of epsilon: many units in the last place, yet its fourth power is far below epsilon. Nine values
# that do not differ at all lie on one stair of a function that rounds on the way: then a wider step is taken.
_NOISE_POWERS = (2 / 3, 1 / 2, 1 / 3)


def evaluation_noise(phi: Callable[[float], float], value: float, epsilon: float) -> tuple[float, bool]:
    """The standard deviation of phi's rounding error near 0, at least ``epsilon * |value|``.

    On nine equispaced points of a short line, a smooth function's differences of high order vanish. The rest is noise:
    ``sigma_k^2 = (k!)^2 / (2k)! mean (D^k phi)^2``. If phi does not change at all, the result is ``|value|``: the whole
    value may be one stair of a function that rounds on the way.

    Args:
        phi: called at 8 points, at 16 or 24 where it is flat.
        value: phi(0).
        epsilon: the machine epsilon of the dtype in which phi computes.

    Source: Moré and Wild, Estimating computational noise, SIAM J. Sci. Comput. 33, 2011.
    """
    for power in _NOISE_POWERS:
        step = epsilon**power
        deviation = _deviation(np.asarray([value, *(phi(k * step) for k in range(1, _POINTS))]))
        if deviation:
            return max(deviation, epsilon * abs(value)), False
    return abs(value), True


def _deviation(values: np.ndarray) -> float:
    """The largest ``sigma_k`` of orders 4 to 6."""
    size = float(np.max(np.abs(values)))  # divided out: squares of 1e200 or of 1e-200 are no numbers
    if not 0.0 < size < math.inf:
        return size
    shares = (
        math.factorial(k) ** 2 / math.factorial(2 * k) * float(np.mean(np.diff(values / size, n=k) ** 2))
        for k in range(4, 7)
    )
    return size * math.sqrt(max(shares))
