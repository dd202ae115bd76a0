"""The slope of a function of one number at 0, with its uncertainty, from a handful of noisy values.

A whole array is checked by moving along one random direction: ``phi(t) = f(x + t d)`` has the slope ``<grad f, d>``.
An error e in the gradient changes it by ``<e, d>``, whose size is about the norm of e whatever the number of entries.

``directional_slope`` measures the slope, ``evaluation_noise`` the rounding error of the values that it rests on.

Next: ``local`` applies both to a function at a point.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np  # on the host alone: values of phi

# Steps as powers of epsilon. The first seven go from a fifth to 1e-8 in float64, far apart: three of them reach from
# truncation to rounding, and a kink between two of them lies outside the finer one. The rest are for functions that
# change on a far finer scale than their argument: their differences drift apart until a step is finer than that scale.
_POWERS = (0.04, 0.115, 0.19, 0.27, 0.345, 0.42, 0.495, 0.57, 0.645, 0.72, 0.795, 0.87, 0.945, 1.02, 1.095, 1.17, 1.245)
_FIRST = (1, 2, 3)
_MOST = 4

# The rounding of an extrapolated difference of two values with noise sigma, in units of sigma / h: about six standard
# deviations.
_NOISE_MARGIN = 6.0

# A bend that is larger by this factor has grown: neighbouring steps are 15 times apart, and far beyond the scale of a
# function its bend goes like 1 / h.
_GROWN = 1.5

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
    """From phi at -h, 0 and h.

    slope: the two-sided one.
    bend: the right-hand slope minus the left-hand one.
    size: the larger of the two values.
    """

    step: float
    slope: float
    bend: float
    size: float


_Measure: TypeAlias = Callable[[float], _Difference]
"""The difference of phi for a step."""


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

    Where noise is large, as in float32, eight more steps are taken, and curves are fitted through all.

    Args:
        phi: called at 6 or 8 points, at more where differences drift apart, and at 16 more where noise is large. It may
            be NaN where f is not defined.
        value: phi(0).
        noise: the standard deviation of phi's rounding error.
        epsilon: the machine epsilon of the dtype in which phi computes.
        finest: no smaller step is taken.

    Returns:
        The slope. Its error stays below the uncertainty for nearly all smooth functions, and below three times the
        uncertainty for nearly all with kinks or stairs too. A bend that only values nearer than the finest step would
        show is not part of it.

    Source: Ridders, Accurate computation of F'(x) and F'(x) F''(x), Advances in Engineering Software 4, 1982, for the
    tableau; the kink term and the choice among the fits are this project's.
    """
    measure = functools.partial(_difference, phi, value)
    slope, ladder = _by_ladder(measure, noise, epsilon, finest)
    size = max(abs(value), *(d.size for d in ladder if math.isfinite(d.size)), 0.0)
    sharp = noise <= _NOISY * size or slope.uncertainty <= _SHARP_FOR_NOISY * abs(slope.value)
    if sharp or not math.isfinite(slope.uncertainty) or not any(d.slope or d.bend for d in ladder):
        return slope
    fitted = _by_fits([*ladder, *_more(measure, noise, slope, ladder, finest)], noise)
    return min((slope, *fitted), key=lambda candidate: candidate.uncertainty)


def _difference(phi: Callable[[float], float], value: float, h: float) -> _Difference:
    right, left = phi(h), phi(-h)
    return _Difference(h, (right - left) / (2.0 * h), (right - 2.0 * value + left) / h, max(abs(right), abs(left)))


# --- three steps -------------------------------------------------------------------------------------------------


def _by_ladder(measure: _Measure, noise: float, epsilon: float, finest: float) -> tuple[Slope, list[_Difference]]:
    """The slope by the best three neighbouring steps, and all differences that were taken, coarse to fine."""
    differences = {rung: measure(epsilon ** _POWERS[rung]) for rung in _FIRST}
    while True:
        ladder = [differences[rung] for rung in sorted(differences)]
        candidates = [_from_three(*three, noise) for three in zip(ladder, ladder[1:], ladder[2:], strict=False)]
        best, bent, rounding = min(_contradicted(candidates), key=lambda candidate: candidate[0].uncertainty)
        finer, coarser = max(differences) + 1, min(differences) - 1
        if _drifting(ladder, noise):
            if finer == len(_POWERS) or epsilon ** _POWERS[finer] < finest:
                return best._replace(uncertainty=math.inf), ladder
            rung = finer
        elif len(ladder) >= _MOST or best.uncertainty <= _SHARP * abs(best.value):
            return best, ladder
        else:
            rung = finer if bent > rounding else coarser
            if rung == finer and epsilon ** _POWERS[finer] < finest:
                return best, ladder
        differences[rung] = measure(epsilon ** _POWERS[rung])


def _drifting(ladder: Sequence[_Difference], noise: float) -> bool:
    """Whether the slopes still drift apart from step to step by more than rounding: then only a finer step can tell.

    Slopes that have settled once and drift apart at finer steps do not count: there the noise is larger than measured.
    Slopes agree by chance, though, where the bend grows with every finer step, beyond noise: the bend of a smooth
    function shrinks with the step, and that of a kink stays.
    """
    if all(
        abs(fine.bend) > _GROWN * abs(coarse.bend) + _NOISE_MARGIN * noise / fine.step
        for coarse, fine in pairwise(ladder)
    ):
        return True
    gaps = [(abs(fine.slope - coarse.slope), _NOISE_MARGIN * noise / fine.step) for coarse, fine in pairwise(ladder)]
    # NaN counts as drifting: where phi is not defined so far from 0, only finer steps can tell
    return not any(last <= max(0.5 * before, rounding) for (before, _), (last, rounding) in pairwise(gaps))


_Candidate: TypeAlias = tuple[Slope, float, float]
"""The slope from three steps; how much of its uncertainty is disagreement; how much is rounding."""


def _contradicted(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """``candidates``, coarse to fine; each as uncertain as its distance, beyond rounding, from any finer one."""

    def widened(position: int) -> _Candidate:
        slope, bent, rounding = candidates[position]
        gap = max(abs(slope.value - s.value) - r for s, _, r in candidates[position:])
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


# --- fits --------------------------------------------------------------------------------------------------------

# Noise above this share of the values is worth more steps, unless the slope is known so sharply all the same.
_NOISY, _SHARP_FOR_NOISY = 1e-10, 1e-6

# The further steps: from three times the widest that is of use, but no farther than the scale of the argument itself,
# down by this ratio, which is no power of that between the usual ones.
_MORE, _WIDER, _FARTHEST, _RATIO = 8, 3.0, 1.0, 1.5

# A fit leaves out at least two degrees of freedom, by which its noise is seen, and has at most four terms.
_LEFT_OUT, _TERMS = 2, 4

# The uncertainty of a fit: three standard deviations; what the next term changes, at least half of what it may by
# chance; a quarter of the bend that noise may hide, since a kink of that bend changes the slope by half of it at most.
# Last, the standard deviations by which a bend or a single difference stands out.
_DEVIATIONS, _NEXT_TERM, _HIDDEN_BEND, _STANDS_OUT = 3.0, 0.5, 0.25, 4.0


class _Fit(NamedTuple):
    """A curve through the differences of some steps.

    slope: the slope at 0.
    deviation: the standard deviation of that.
    kink: the bend at 0 beyond noise.
    hidden: the standard deviation of the bend.
    missed: how far the slope of any single step is off the curve, beyond noise.
    """

    slope: float
    deviation: float
    kink: float
    hidden: float
    missed: float


def _more(
    measure: _Measure, noise: float, slope: Slope, ladder: Sequence[_Difference], finest: float
) -> list[_Difference]:
    """Differences for further steps, the widest of them where the function is about to leave its tangent."""
    of_use = [
        d.step
        for d in ladder
        if abs(d.slope - slope.value) <= max(0.5 * abs(slope.value), _NOISE_MARGIN * noise / d.step)
    ]
    top = min(_FARTHEST, _WIDER * max(of_use, default=ladder[-1].step))
    return [measure(h) for h in (top / _RATIO**k for k in range(_MORE)) if h >= finest]


def _by_fits(differences: Sequence[_Difference], noise: float) -> list[Slope]:
    """A slope from each fit: of the finest steps up to any, with 1 to 3 terms, each with the next term to compare.

    As in ``_contradicted``, a fit is as uncertain as its distance, beyond noise, from those of finer steps.
    """
    usable = sorted(d for d in differences if math.isfinite(d.slope))
    slopes: list[Slope] = []
    finer: list[_Fit] = []
    for count, _ in enumerate(usable, 1):
        fits = [_fit(usable[:count], terms, noise) for terms in range(1, min(_TERMS, count - _LEFT_OUT) + 1)]
        for fit, longer in pairwise(fits):
            gap = max((abs(fit.slope - other.slope) - _DEVIATIONS * other.deviation for other in finer), default=0.0)
            truncation = max(abs(fit.slope - longer.slope), _NEXT_TERM * longer.deviation)
            own = _DEVIATIONS * fit.deviation + truncation + _HIDDEN_BEND * fit.hidden
            slopes.append(Slope(fit.slope, max(own, gap, fit.missed) + fit.kink, fit.kink))
        finer += fits[1:]
    return slopes


def _fit(differences: Sequence[_Difference], terms: int, noise: float) -> _Fit:
    """``s h + c h^3 + ...``, so many terms, through half of ``phi(h) - phi(-h)``; the bend from the other half of phi.

    What is left of either half is noise, or a sign that the curve is not of this kind, as at a kink.
    """
    steps = np.asarray([d.step for d in differences])
    top = float(steps[-1])
    h = steps / top  # and values in units of noise: squares of 1e200 are no numbers
    odd = _least_squares(h, steps * [d.slope / noise for d in differences], (1, 3, 5, 7)[:terms])
    even = _least_squares(h, steps * [d.bend / noise for d in differences], (1, 2, 4)[: terms + 1])
    single = math.sqrt(0.5)  # the noise of half a difference of two values
    # what is left of the even half is not halved: half of a kink is in either, and this one shows it the sooner
    deviation = max(single, odd.spread, even.spread) * float(np.linalg.norm(odd.weights))
    # of the sum of two values less twice the same third one
    hidden = math.hypot(math.sqrt(2.0) * float(np.linalg.norm(even.weights)), 2.0 * float(np.sum(even.weights)))
    kink = max(0.0, abs(even.first) - _STANDS_OUT * hidden)
    missed = max(0.0, float(np.max((np.abs(odd.left) - _STANDS_OUT * single) / h)))
    return _Fit(*(noise / top * x for x in (odd.first, deviation, kink, hidden, missed)))


class _Combination(NamedTuple):
    """first: the coefficient of the first power, and ``weights``, those of the values in it.

    left: what the powers do not explain, and ``spread``, the standard deviation of the values as seen from that.
    """

    first: float
    weights: np.ndarray
    left: np.ndarray
    spread: float


def _least_squares(h: np.ndarray, values: np.ndarray, powers: Sequence[int]) -> _Combination:
    """``values`` as a sum of ``powers`` of h."""
    columns = np.stack([h**power for power in powers], axis=1)
    inverse = np.linalg.pinv(columns)
    coefficients = inverse @ values
    left = values - columns @ coefficients
    freedom = len(h) - len(powers)
    spread = float(np.linalg.norm(left)) / math.sqrt(freedom) if freedom else 0.0
    return _Combination(float(coefficients[0]), inverse[0], left, spread)


# --- noise -------------------------------------------------------------------------------------------------------

# A line: nine points from 0 to one side, so that a kink at 0 itself, as of relu at a zero, is not within.
_POINTS = 9

# Where they lie, in units of the spacing. Rounded to a grid at regular distances, a straight line may stay a straight
# line: at equal distances one time in eight. Square roots of primes have no common measure.
_PLACES = np.arange(_POINTS) + np.modf(np.sqrt([0, 2, 3, 5, 7, 11, 13, 17, 19]))[0]

# Spacings as powers of epsilon, negative ones to the left. Fine: many units in the last place, yet over nine points a
# smooth function is straight. Wide: as far apart as the usual steps, which cross stairs that the fine points do not
# reach. To the other side, so that one kink does not lie within both. Between: tells stairs from kinks, which the fine
# side does not have. Widest: for stairs of half precision inside a function of float64.
_FINE, _WIDE, _BETWEEN, _WIDEST = (1.0, 2 / 3), (-1.0, 0.27), (1.0, 0.385), (-1.0, 0.115)

# Points that are farther apart than this are too far for functions to look smooth. Where epsilon is so coarse, the fine
# points cross all stairs.
_TOO_WIDE = 0.02

# Two estimates of one noise agree within this factor: each has three degrees of freedom or more.
_ALIKE = 4.0

# The share of the wide noise that the points between must show, too. A kink would leave a sixty-fourth.
_REMAINING = 1 / 8

# A function with a slope may have kinks, and change by some times more than its slope tells; not by so many times.
_STEEP = 16.0

# So few of the eight changes from point to point are single stairs, too few to tell how high stairs are. So are more of
# them if the noise is above this share of the mean change.
_FEW, _WIDE_STAIRS = 2, 0.1

# Noise of a wide line this many times as large as that of the fine one is that of stairs. So is noise of this share of
# the value, an eighth of what rounding it to float32 leaves: of a steep function the fine line crosses stairs, too.
_HIGH, _COARSER = 16.0, 2.0**-29

# A curve of higher order than a straight line stands out of the noise by this factor.
_CURVED = 16.0


class Noise(NamedTuple):
    """The rounding error of a function.

    sigma: its standard deviation.
    flat: whether no value differed from another.
    stairs: whether it is that of coarser numbers on the way: it is large, or shows over a wide line alone.
    """

    sigma: float
    flat: bool
    stairs: bool = False


def evaluation_noise(phi: Callable[[float], float], value: float, epsilon: float) -> Noise:
    """The standard deviation of phi's rounding error near 0, at least ``epsilon * |value|``.

    Nine values on a line are the sum of a smooth function and of noise. The smooth part has next to nothing in common
    with polynomials of high degree, orthonormal on the line; noise has as much with each of them. So what is equally
    large from some degree on is noise.

    The noise is that of a spacing. A function that computes one step in float32 is smooth or constant between
    neighbouring values of float32, and jumps there. So a fine line is taken and a wide one. The larger noise counts,
    unless it is kinks or a fast wave. Of kinks a line between shows less; a fast wave is a curve on the fine line.

    Args:
        phi: called at 16 points; at 24 where the wide line shows more noise than the fine one, or where phi hardly
            changes; at 8 if epsilon is so coarse that the fine line is wide. A line with a value that is not finite is
            left out.
        value: phi(0).
        epsilon: the machine epsilon of the dtype in which phi computes.

    Returns:
        The noise. If no value differed from another, ``flat`` is true and ``sigma`` is ``|value|``: the whole value may
        be one stair of a function that rounds on the way.

    Source: Moré and Wild, Estimating computational noise, SIAM J. Sci. Comput. 33, 2011, for the noise of a line; the
    choice among lines is this project's.
    """
    line = functools.partial(_line, phi, value, epsilon)
    least = epsilon * abs(value)
    fine = line(*_FINE)
    wide = line(*_WIDE) if epsilon ** _WIDE[1] <= _TOO_WIDE else fine
    found = _of_two_lines(line, value, fine, wide, least)
    coarse = found.sigma > max(least, _COARSER * abs(value)) and wide is not fine
    return found._replace(stairs=found.flat or coarse or found.sigma > _HIGH * max(fine.sigma, least))


def _of_two_lines(line: Callable[..., _Line], value: float, fine: _Line, wide: _Line, least: float) -> Noise:
    """The larger noise of the two lines, unless the wide one shows kinks or a fast wave."""
    sigma = max(fine.sigma, least)
    if not fine.seen:
        return (
            Noise(max(sigma, wide.sigma), False)
            if wide.changes > _FEW
            else _of_wide_stairs(line, value, (fine, wide), least)
        )
    if max(fine.changes, wide.changes) <= _FEW:
        return _of_wide_stairs(line, value, (fine, wide), least)
    if wide.sigma <= _ALIKE * sigma:
        # stairs that the fine line crosses the wide one crosses too: else it was a kink
        kinked = wide.changes > 0 and fine.sigma > _ALIKE * wide.sigma
        return Noise(max(least if kinked else sigma, wide.sigma), False)
    if fine.curved:
        return Noise(sigma, False)
    if not wide.decays and wide.sigma > _STEEP * fine.steepness * wide.spacing:
        return _of_wide_stairs(line, value, (fine, wide), least)
    between = line(*_BETWEEN)
    if between.decays:
        return Noise(sigma, False)
    noisy = not wide.decays and between.sigma >= _REMAINING * wide.sigma
    return Noise(max(sigma, between.sigma, wide.sigma if noisy else 0.0), False)


class _Line(NamedTuple):
    """Nine values on a line.

    spacing: between neighbours, about.
    seen: whether all values are finite; the rest means nothing if not.
    sigma: their noise.
    changes: how many of them differ from the one before.
    decays: whether their parts fall with the degree up to the highest: a curve, and no noise to be seen.
    curved: whether they are a curve, above noise.
    steepness: the largest mean slope that a function of such values may have.
    """

    spacing: float
    seen: bool = False
    sigma: float = 0.0
    changes: int = 0
    decays: bool = False
    curved: bool = False
    steepness: float = math.inf


def _of_wide_stairs(line: Callable[..., _Line], value: float, lines: Sequence[_Line], least: float) -> Noise:
    """The noise of a function that jumps, if need be by a line on which it jumps more often."""
    _, wide = lines
    sigma = max(least, *(x.sigma for x in lines))
    if wide.changes > _FEW and sigma < _WIDE_STAIRS * wide.steepness * wide.spacing:
        return Noise(sigma, False)
    widest = line(*_WIDEST)
    if not any(x.changes for x in (*lines, widest)):
        flat = any(x.seen for x in (*lines, widest))
        return Noise(abs(value) if flat else least, flat)
    return Noise(sigma if widest.decays else max(sigma, widest.sigma), False)


def _line(phi: Callable[[float], float], value: float, epsilon: float, sign: float, power: float) -> _Line:
    """Nine values of phi, ``epsilon^power`` apart, to the side of ``sign``."""
    spacing = epsilon**power
    values = np.asarray([value, *(phi(sign * float(place) * spacing) for place in _PLACES[1:])])
    size = float(np.max(np.abs(values)))
    if not math.isfinite(size):
        return _Line(spacing)
    # divided out: squares of 1e200 or of 1e-200 are no numbers
    shares = values / size if size else values
    jumps = np.abs(np.diff(shares))
    jumps = jumps[jumps > 0.0]
    parts = np.abs(_polynomials(_PLACES) @ shares)
    # of a kink before the first point all but phi(0) lies on one side, at any spacing
    sigma = min(_deviation(shares), _deviation(shares[1:]))
    stairs = 0 < len(jumps) < _POINTS - 2
    if stairs:  # single ones, whose rounding error is uniform
        sigma = max(sigma, float(np.median(jumps)) / math.sqrt(12.0))
    steepness = size * (float(np.ptp(shares)) + 2.0 * epsilon) / (float(_PLACES[-1]) * spacing)
    return _Line(
        spacing,
        seen=True,
        sigma=size * sigma if len(jumps) else 0.0,
        changes=len(jumps),
        decays=not stairs and bool(parts[5] > 3.0 * parts[6] > 9.0 * max(parts[7:])),
        curved=bool(max(parts[2:4]) > _CURVED * max(_rms(parts[4:]), epsilon)),
        steepness=steepness,
    )


def _deviation(values: np.ndarray) -> float:
    """The root mean square of the three highest parts, and of those below that are no larger than chance allows."""
    parts = np.abs(_polynomials(_PLACES[-len(values) :]) @ values)
    first = len(parts) - 3
    while first > 3 and parts[first - 1] <= _ALIKE * _rms(parts[first:]):
        first -= 1
    return _rms(parts[first:])


def _rms(x: np.ndarray) -> float:
    return math.sqrt(float(np.mean(x * x)))


def _polynomials(places: np.ndarray) -> np.ndarray:
    """The values at ``places`` of polynomials of degree 0 and up, orthonormal there: (degree, place)."""
    return np.linalg.qr(np.vander(places / _PLACES[-1], increasing=True))[0].T
