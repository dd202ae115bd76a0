"""The slope of a function of one number at 0, with its uncertainty, from a handful of values.

A whole tensor is checked by moving along one random direction: ``phi(t) = f(x + t d)`` has the slope ``<grad f, d>``.
An error e in the gradient changes it by ``<e, d>``, whose size is about the norm of e whatever the number of entries.

Next: ``check`` compares the slope with the analytic one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np  # for the host's random numbers alone

from mlp_xp._lib.namespace import device_kwargs
from mlp_xp._lib.typing import Array, Namespace

# Steps as powers of epsilon, from a fifth to 1e-8 in float64. Far apart, so that three of them reach from truncation to
# rounding, and a kink between two of them is outside of the next. The rest are for functions that change on a far finer
# scale than their argument: there, differences drift apart from step to step until a step is finer than that scale.
_POWERS = (0.04, 0.115, 0.19, 0.27, 0.345, 0.42, 0.495, 0.57, 0.645, 0.72, 0.795, 0.87, 0.945, 1.02, 1.095, 1.17, 1.245)
_USUAL = 7
_FIRST = (1, 2, 3)
_MOST = 4

# Of a difference of two values with noise sigma, extrapolated: six standard deviations.
_NOISE_MARGIN = 6.0

# Relative uncertainty at which more values would add nothing that matters.
_SHARP = 1e-9


class Slope(NamedTuple):
    """value: the derivative at 0; uncertainty: a bound on its error; kink: the part of that owed to a kink near 0."""

    value: float
    uncertainty: float
    kink: float


class _Difference(NamedTuple):
    """Of phi at -h, 0 and h: the slope over both sides, and by how much the right one exceeds the left."""

    step: float
    slope: float
    bend: float


def directional_slope(
    phi: Callable[[float], float], value: float, noise: float, epsilon: float, finest: float = 0.0
) -> Slope:
    """``phi'(0)`` by two-sided differences, extrapolated (Richardson), with steps that adapt to noise and kinks.

    Args:
        phi: called at 6 or 8 points.
        value: phi(0).
        noise: the standard deviation of phi's rounding error.
        epsilon: of the dtype in which phi computes.
        finest: no smaller step is taken.

    Any three neighbouring steps give two extrapolated slopes. For a smooth function they agree to the error of the
    coarser one; where a kink or a jump in curvature lies between the steps they do not. A kink nearer than the smallest
    step shows as a bend that does not shrink with the step. Larger steps are added where rounding dominates, smaller
    ones where the disagreement does, and the three steps with the least uncertainty win. Three steps that finer ones
    contradict are off by that much; where the finest contradict each other more than coarser ones do, nothing is known.

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
        if bent > rounding:
            if finer >= _USUAL or epsilon ** _POWERS[finer] < finest:
                return best
            measure(finer)
        else:
            if coarser < 0:
                return best
            measure(coarser)


def _drifting(ladder: Sequence[_Difference], noise: float) -> bool:
    """Whether the slopes drift apart from step to step, by more than rounding: they settle at a finer step, if at all.

    Where they have settled once and drift apart later, the noise is larger than was measured.
    """
    gaps = [(abs(fine.slope - coarse.slope), _NOISE_MARGIN * noise / fine.step) for coarse, fine in pairwise(ladder)]
    # where phi is not defined so far from 0 either, only finer steps can tell
    return not any(last <= max(0.5 * before, rounding) for (before, _), (last, rounding) in pairwise(gaps))


_Candidate: TypeAlias = tuple[Slope, float, float]


def _contradicted(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """``candidates``, from coarse to fine, each at least as uncertain as finer ones differ from it beyond rounding."""

    def widened(position: int) -> _Candidate:
        slope, bent, rounding = candidates[position]
        gap = max((abs(slope.value - s.value) - r for s, _, r in candidates[position + 1 :]), default=0.0)
        return slope._replace(uncertainty=max(slope.uncertainty, gap)), max(bent, gap - rounding), rounding

    return [widened(position) for position in range(len(candidates))]


def _from_three(
    coarse: _Difference, middle: _Difference, fine: _Difference, noise: float
) -> tuple[Slope, float, float]:
    """The slope that three steps give; how much of its uncertainty is disagreement, and how much rounding."""
    steps = pairwise((coarse, middle, fine))
    first, second = (b.slope + (b.slope - a.slope) / ((a.step / b.step) ** 2 - 1.0) for a, b in steps)
    rounding = _NOISE_MARGIN * noise / fine.step
    # of a smooth function the bend is h phi'': in proportion to the step
    kink = max(0.0, abs(fine.bend - middle.bend * fine.step / middle.step) - 4.0 * noise / fine.step)
    bent = abs(first - second) + kink
    if not math.isfinite(bent):
        bent = math.inf
    return Slope(second, bent + rounding, kink), bent, rounding


# --- mlp_xp/gradcheck/noise.py
_POINTS = 9

# The step as powers of epsilon: many units in the last place, yet its fourth power is far below epsilon. Where nine
# values do not differ at all they lie on one stair of a function that was rounded on the way: a wider step is taken.
_NOISE_POWERS = (2 / 3, 1 / 2, 1 / 3)


def evaluation_noise(
    xp: Namespace, f: Callable[..., float], params: Sequence[Array], value: float, epsilon: float, seed: int
) -> float:
    """The standard deviation of f's rounding error near ``params``, at least ``epsilon * |value|``.

    Where f does not change at all, it is ``|value|``: all of it may be one stair of something that rounds on the way.

    Takes nine equispaced points on a short line from ``params``. There a smooth function's differences of high order
    vanish, and what is left is noise: ``sigma_k^2 = (k!)^2 / (2k)! mean (D^k f)^2``.

    Args:
        f: f(*params) -> float; called eight times, or sixteen or more where it is flat.
        params: the point.
        value: f there.
        epsilon: of the dtype in which f computes.
        seed: of the line's direction.

    Source: Moré and Wild, Estimating computational noise, SIAM J. Sci. Comput. 33, 2011.
    """
    random = np.random.default_rng(seed)
    signs = [xp.asarray(random.choice([-1.0, 1.0], p.shape), dtype=p.dtype, **device_kwargs(p)) for p in params]
    line = [
        sign * xp.maximum(xp.abs(p), scale_of(xp, p) * xp.ones_like(p)) for sign, p in zip(signs, params, strict=True)
    ]
    for power in _NOISE_POWERS:
        step = epsilon**power
        values = [value]
        for k in range(1, _POINTS):
            values.append(f(*(p + (k * step) * d for p, d in zip(params, line, strict=True))))
        deviation = _deviation(np.asarray(values))
        if deviation:
            return max(deviation, epsilon * abs(value))
    return abs(value)


def _deviation(values: np.ndarray) -> float:
    size = float(np.max(np.abs(values)))  # divided out: squares of values of 1e200 or 1e-200 are no numbers
    if not 0.0 < size < math.inf:
        return size
    differences = np.diff(values / size, n=3)
    levels = []
    for order in range(4, 7):
        differences = np.diff(differences)
        levels.append(math.factorial(order) ** 2 / math.factorial(2 * order) * float(np.mean(differences**2)))
    return size * math.sqrt(max(levels))


# --- mlp_xp/gradcheck/sizes.py
def norm(xp: Namespace, x: Array) -> float:
    """``sqrt(sum x^2)``."""
    if not math.prod(x.shape):
        return 0.0
    largest = _largest(xp, x)
    share = x / largest
    return float(largest) * math.sqrt(float(xp.sum(share * share)))


def scale_of(xp: Namespace, x: Array) -> Array:
    """The root mean square of ``x``, 0-d; 1 where that is 0."""
    if not math.prod(x.shape):
        return xp.sum(xp.ones_like(x)) + 1.0
    largest = _largest(xp, x)
    share = x / largest
    mean = xp.sqrt(xp.sum(share * share) / math.prod(x.shape))
    return xp.where(mean > 0.0, largest * mean, xp.ones_like(mean))


def _largest(xp: Namespace, x: Array) -> Array:
    """``max |x|``, 0-d; 1 where that is 0."""
    largest = xp.max(xp.abs(x))
    return xp.where(largest > 0.0, largest, xp.ones_like(largest))
