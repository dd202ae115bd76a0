"""A gradient against slopes of its function along random directions.

Along a direction the function has a slope, and the gradient predicts it. The two may differ by the uncertainty of the
slope (truncation, rounding, kinks) and by the rounding of the gradient; if they differ by more, the gradient is wrong.
All of that is measured, no tolerance is fixed: where the textbook would ask for 1e-5, a smooth function in float64 is
usually resolved to 1e-9.

Before: ``local`` measures slopes. Next: ``elsewhere`` asks again at other points, ``verdict`` judges.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np  # on the host alone: indices

from mlp_xp._lib.namespace import namespace
from mlp_xp._lib.typing import Array
from mlp_xp.gradcheck.arrays import flat_positions, from_host, inner, largest, like, norm, random_direction, scale_of
from mlp_xp.gradcheck.contract import leaf_flaw
from mlp_xp.gradcheck.forms import Arrays, Flat
from mlp_xp.gradcheck.local import Directions, LocalFunction, slope_along

# Random directions for each array, and for all together.
_DIRECTIONS = 2

# The uncertainty of a slope is an estimate from a few values: only three times as much refuses a gradient.
MARGIN = 3.0

# The rounding of a gradient: what it differs by between points a few units in the last place apart, times a margin, and
# some roundings of the products that are summed here.
_NEIGHBOURS, _NEIGHBOUR_MARGIN, _ROUNDINGS = 2, 5.0, 20.0

# The rounding of a gradient that was computed in a coarser dtype than the function, relative to the largest gradient.
_FLOOR_ROUNDINGS = 50.0

# The share of a gradient that float32 may lose where terms cancel: right ones were seen to lose a thousandth.
_COARSE = 1e-2


class LocalGradient(NamedTuple):
    """A gradient function at a point, beside the function that it should be the gradient of.

    flat: function and gradient at the point, in the parameters' own dtypes.
    local: the function at the point, in the reference dtype.
    gradient: at the point, in the reference dtype.
    neighbours: the gradient a few units in the last place aside, twice: what changes there is rounding.
    epsilon: the machine epsilon of the dtype in which ``gradient`` was computed.
    floor: the rounding of a slope that no neighbour shows, where that dtype is coarser than the reference.
    finest: within this distance a coarser dtype does not know on which side of a kink the point is.
    """

    flat: Flat
    local: LocalFunction
    gradient: Arrays
    neighbours: tuple[Arrays, ...]
    epsilon: float
    floor: float
    finest: float


def gradient_at(flat: Flat, local: LocalFunction, random: np.random.Generator) -> LocalGradient:
    """The gradient at ``flat.arrays``, which is the point of ``local``, and how much of it is rounding.

    If grad computes in the reference dtype too, the formula is judged there; ``lost_precision`` then compares with what
    grad returns in the parameters' own dtypes.
    """
    exact = _in_reference(flat, local)
    at = flat.arrays if exact is None else local.point
    xp = namespace(*at)
    epsilon = max(float(xp.finfo(x.dtype).eps) for x in at)

    def gradient(*point: Array) -> Arrays:
        return tuple(like(g, x) for g, x in zip(flat.grad(*point), local.point, strict=True))

    own = gradient(*at) if exact is None else exact
    neighbours = tuple(
        gradient(*(x * (1.0 + 2.0 * epsilon * from_host(xp, random.integers(-1, 2, x.shape), x)) for x in at))
        for _ in range(_NEIGHBOURS)
    )
    # a saturated unit's slope is a small difference of large numbers: its error is proportional to what flows past it
    sizes = [norm(local.xp, g * scale_of(local.xp, x)) for g, x in zip(own, local.point, strict=True)]
    coarser = _FLOOR_ROUNDINGS * epsilon if epsilon > local.epsilon else 0.0
    return LocalGradient(flat, local, own, neighbours, epsilon, coarser * max(sizes), coarser)


def _in_reference(flat: Flat, local: LocalFunction) -> Arrays | None:
    """The gradient in the reference dtype, if that is another and ``grad`` computes in it."""
    if all(x.dtype == there.dtype for x, there in zip(flat.arrays, local.point, strict=True)):
        return None
    try:
        gradient = flat.grad(*local.point)
    except Exception:  # grad may be written for one dtype or one library, and raise anything for another
        return None
    return gradient if not any(map(leaf_flaw, local.point, gradient)) else None


class Probe(NamedTuple):
    """One direction: the slope that the gradient predicts, the slope that the function has, and what lies between.

    analytic: the predicted slope.
    numeric: the measured slope.
    tolerance: how far the two may differ.
    size: the norm of the gradient in the scale of the direction; an error of that relative size changes the slope by
        about as much.
    kink: the part of the slope's uncertainty that is owed to a kink.
    entry: the index of the entry that was moved, where only one was.
    """

    analytic: float
    numeric: float
    tolerance: float
    size: float
    kink: float
    entry: tuple[int, ...] | None = None

    @property
    def wrong(self) -> bool:
        """Whether the two slopes differ by more than is allowed."""
        return not abs(self.analytic - self.numeric) <= self.tolerance

    @property
    def resolution(self) -> float:
        """The smallest relative error that would have been seen; 0 if f does not change and the gradient agrees.

        At a kink that is even on both sides f changes although its slope is 0: nothing would have been seen.
        """
        size = max(self.size, abs(self.numeric))
        return self.tolerance / size if size else math.inf if self.kinked else 0.0

    @property
    def kinked(self) -> bool:
        """Whether most of the tolerance is owed to a kink."""
        return MARGIN * self.kink > 0.5 * self.tolerance

    @property
    def gap(self) -> float:
        """The error as a share of the whole gradient."""
        size = max(self.size, abs(self.numeric))
        return abs(self.analytic - self.numeric) / size if size else 0.0

    @property
    def relative_error(self) -> float:
        """``|a - n| / (|a| + |n|)`` of the two slopes."""
        size = abs(self.analytic) + abs(self.numeric)
        return abs(self.analytic - self.numeric) / size if size else 0.0


class Evidence(NamedTuple):
    """All that was measured along directions. Group i moves array i alone, the last group moves all arrays together.

    here: function and gradient at the point.
    groups: the positions of the arrays that each group moves.
    probes: of each group, at the point.
    aside: group -> probes at another point, for a group that is in doubt at the point and not there.
    unconfirmed: groups that are wrong at the point, and nowhere nearby.
    """

    here: LocalGradient
    groups: Sequence[Sequence[int]]
    probes: Sequence[Sequence[Probe]]
    aside: dict[int, list[Probe]]
    unconfirmed: set[int]

    def deciding(self, group: int) -> Sequence[Probe]:
        """The probes of ``group`` by which it is judged: at another point if the point itself leaves a doubt."""
        return self.aside.get(group, self.probes[group])


def gather(flat: Flat, local: LocalFunction, random: np.random.Generator) -> Evidence:
    """What is measured at ``flat.arrays``, the point of ``local``: each array moved by itself, then all together."""
    here = gradient_at(flat, local, random)
    everything = tuple(range(len(here.gradient)))
    groups = [*((i,) for i in everything), everything]
    # the second direction across all arrays is taken at another point, where nothing was computed before
    probes = [probe(here, group, random, _DIRECTIONS if len(group) == 1 else 1) for group in groups]
    return Evidence(here, groups, probes, {}, set())


def probe(
    here: LocalGradient, group: Sequence[int], random: np.random.Generator, count: int = _DIRECTIONS
) -> list[Probe]:
    """``count`` random directions that move the arrays of ``group``, or each entry of an array with no more entries."""
    xp, point = here.local.xp, here.local.point
    if len(group) == 1 and 0 < (size := math.prod(point[group[0]].shape)) <= count:
        return [_of_entry(here, group[0], position) for position in range(size)]
    full = [i for i in group if 0 not in point[i].shape]
    return [_along(here, {i: random_direction(xp, point[i], random) for i in full}) for _ in range(count)]


def _of_entry(here: LocalGradient, leaf: int, position: int) -> Probe:
    """The probe that moves one entry, at the flat ``position``, in the scale of its array."""
    xp, x = here.local.xp, here.local.point[leaf]
    direction = scale_of(xp, x) * xp.astype(flat_positions(xp, x) == position, x.dtype)
    return _along(here, {leaf: direction}, tuple(int(i) for i in np.unravel_index(position, x.shape)))


def _along(here: LocalGradient, directions: Directions, entry: tuple[int, ...] | None = None) -> Probe:
    """The probe along one direction, which may move only one ``entry``."""
    xp = here.local.xp
    if not directions:  # no entry could be wrong
        return Probe(0.0, 0.0, 0.0, 0.0, 0.0)
    slope = slope_along(here.local, directions, here.finest)

    def predicted(gradient: Arrays) -> float:
        return sum(inner(xp, gradient[i], d) for i, d in directions.items())

    analytic = predicted(here.gradient)
    # the error of one entry is measured against the whole array too: it may be a zero among others
    scales = {i: d if entry is None else xp.max(xp.abs(d)) for i, d in directions.items()}
    size = math.hypot(*(norm(xp, here.gradient[i] * scale) for i, scale in scales.items()))
    scatter = max(abs(predicted(gradient) - analytic) for gradient in here.neighbours)
    tolerance = MARGIN * slope.uncertainty + _rounding(here, scatter, size, here.floor)
    if here.local.noise == 0.0 and slope.value == 0.0 and analytic != 0.0:
        tolerance = math.inf  # f is 0 all around, by its nature or by underflow: no one can tell which
    return Probe(analytic, slope.value, tolerance, size, slope.kink, entry)


def entry_rounding(here: LocalGradient, leaf: int) -> float:
    """How far rounding may move one entry of the gradient of array ``leaf``."""
    xp, gradient = here.local.xp, here.gradient[leaf]
    scatter = max(largest(xp, neighbour[leaf] - gradient) for neighbour in here.neighbours)
    floor = here.floor / float(scale_of(xp, here.local.point[leaf]))
    return _rounding(here, scatter, largest(xp, gradient), floor)


def _rounding(here: LocalGradient, scatter: float, size: float, floor: float) -> float:
    """The rounding of a number of this ``size`` that differs by ``scatter`` between neighbouring points."""
    return _NEIGHBOUR_MARGIN * scatter + _ROUNDINGS * here.epsilon * size + floor


def resolution(probes: Sequence[Probe]) -> float:
    """The best resolution of random directions, or the worst of single entries."""
    return (min if probes[0].entry is None else max)(probe.resolution for probe in probes)


def lost_precision(here: LocalGradient, own: Sequence[Array]) -> Iterator[str]:
    """For each array a sentence if its gradient in the parameters' dtype, ``own``, is far from the one judged, or "".

    Either terms cancel in that dtype or the function is wrong in it: from outside no one can tell which.
    """
    xp = here.local.xp
    epsilon = max(float(namespace(x).finfo(x.dtype).eps) for x in here.flat.arrays)
    scales = [float(scale_of(xp, x)) for x in here.local.point]
    sizes = [scale * norm(xp, g) for scale, g in zip(scales, here.gradient, strict=True)]
    allowed = _FLOOR_ROUNDINGS * epsilon * max(sizes)
    for mine, judged, scale, size in zip(own, here.gradient, scales, sizes, strict=True):
        gap = scale * norm(xp, like(mine, judged) - judged)
        share = gap / size if size else math.inf
        far = not gap <= max(allowed, _COARSE * size)
        lost = f"right in {judged.dtype}, but {share:.1g} of its size away from that in {mine.dtype}"
        yield lost if far else ""
