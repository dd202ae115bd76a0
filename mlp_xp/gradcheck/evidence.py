"""What a run measures about a gradient, as numbers: nothing here judges.

Along a direction d the function has a slope, and the gradient predicts it: ``<grad, d>``. A ``Probe`` holds both, and
how far they may differ by the uncertainty of the slope (truncation, rounding, kinks) and by the rounding of the
gradient. All of that is measured, no tolerance is fixed: where the textbook would ask for 1e-5, a smooth function in
float64 is usually resolved to 1e-9.

Before: ``local`` measures slopes. Next: ``judge`` weighs the numbers, ``elsewhere`` gathers more where it is in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np  # on the host alone: indices

from mlp_xp._lib.namespace import namespace
from mlp_xp._lib.typing import Array
from mlp_xp.gradcheck.arrays import (
    dtype_name,
    flat_positions,
    from_host,
    inner,
    largest,
    like,
    norm,
    random_direction,
    scale_of,
    scales_of,
)
from mlp_xp.gradcheck.contract import leaf_flaw
from mlp_xp.gradcheck.forms import Arrays, Flat
from mlp_xp.gradcheck.local import MARGIN, Directions, LocalFunction, slope_along

# Random directions for each array, and how many more where these leave a doubt.
_DIRECTIONS, MORE_DIRECTIONS = 2, 4

# The rounding of a gradient: what it differs by between points some units in the last place apart, which is several
# times what half a unit does, and some roundings of the products that are summed here. The point itself is left out: if
# a gradient is wrong there alone, its neighbours agree with each other.
_NEIGHBOURS, _ROUNDINGS = 3, 20.0

# So many roundings of coarser numbers, which constants or f hold on the way, are no error of a gradient.
_COARSE_ROUNDINGS = 10.0

# Numbers of several units that are moved in one scale round by more; an error in one of them changes far more.
_AS_ONE = 2.0**20

# The rounding of a gradient that was computed in a coarser dtype than the function, relative to the largest gradient.
_FLOOR_ROUNDINGS = 50.0

# Noise of so many roundings of the value is that of steps: f rounds on the way, or counts.
_STEPPED = 1e4

# An error so many times as large as a kink is none of its doing.
_SEVERAL = 30.0


# --- a gradient at a point ---------------------------------------------------------------------------------------


class LocalGradient(NamedTuple):
    """A gradient function at a point, beside the function that it should be the gradient of.

    flat: function and gradient at the point, in the parameters' own dtypes.
    local: the function at the point, in the reference dtype.
    gradient: at the point, in the reference dtype.
    neighbours: the gradient a few units in the last place aside: what changes there is rounding.
    epsilon: the machine epsilon of the dtype in which ``gradient`` was computed.
    own: what grad returns in the parameters' own dtypes; ``gradient`` where it was computed in them.
    own_neighbours: of ``own``.
    own_epsilon: the machine epsilon of the coarsest of those dtypes.
    floor: the rounding of a slope that no neighbour shows, where the dtype of grad is coarser than the reference.
    finest: within this distance a coarser dtype does not know on which side of a kink the point is.
    """

    flat: Flat
    local: LocalFunction
    gradient: Arrays
    neighbours: tuple[Arrays, ...]
    epsilon: float
    own: Arrays
    own_neighbours: tuple[Arrays, ...]
    own_epsilon: float
    floor: float
    finest: float

    @property
    def coarse(self) -> bool:
        """Whether the parameters' own dtype is coarser than that in which ``gradient`` was computed."""
        return self.own_epsilon > self.epsilon


def gradient_at(flat: Flat, local: LocalFunction, own: Arrays, random: np.random.Generator) -> LocalGradient:
    """The gradient at ``flat.arrays``, which is the point of ``local``, and how much of it is rounding.

    If grad computes in the reference dtype too, the formula is judged there, and ``own``, what it returns in the
    parameters' own dtypes, is compared with that.
    """
    own_epsilon = max(float(namespace(x).finfo(x.dtype).eps) for x in flat.arrays)
    own_neighbours = _neighbours(flat, local, flat.arrays, own_epsilon, random)
    own = tuple(like(g, x) for g, x in zip(own, local.point, strict=True))
    exact = _in_reference(flat, local) if own_epsilon > local.epsilon else None
    epsilon = own_epsilon if exact is None else local.epsilon
    gradient = own if exact is None else exact
    neighbours = own_neighbours if exact is None else _neighbours(flat, local, local.point, epsilon, random)
    # a saturated unit's slope is a small difference of large numbers: its error is proportional to what flows past it
    coarser = _FLOOR_ROUNDINGS * epsilon if epsilon > local.epsilon else 0.0
    sizes = [norm(local.xp, g * scales_of(local.xp, x)) for g, x in zip(gradient, local.point, strict=True)]
    floor = coarser * max(sizes)
    return LocalGradient(flat, local, gradient, neighbours, epsilon, own, own_neighbours, own_epsilon, floor, coarser)


def asked(flat: Flat, local: LocalFunction, at: Arrays) -> Arrays | None:
    """``flat.grad(*at)`` in the reference dtype; None where it raises, or is not finite."""
    gradient = flat.f.tried(lambda: flat.grad(*at), None)
    if gradient is None or any(map(leaf_flaw, at, gradient)):
        return None
    return tuple(like(g, x) for g, x in zip(gradient, local.point, strict=True))


def _neighbours(
    flat: Flat, local: LocalFunction, at: Arrays, epsilon: float, random: np.random.Generator
) -> tuple[Arrays, ...]:
    """The gradient at points a few units in the last place aside of ``at``, where it is defined."""
    xp = namespace(*at)
    near = (
        tuple(x * (1.0 + epsilon * from_host(xp, _units(random, x.shape), x)) for x in at) for _ in range(_NEIGHBOURS)
    )
    return tuple(g for g in (asked(flat, local, point) for point in near) if g is not None)


def _units(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Two to eight units of either sign: no entry stays, and entries that are equal hardly stay so."""
    places = 3 * np.arange(math.prod(shape)).reshape(shape) + random.integers(7)
    return random.choice([-1.0, 1.0], shape) * (2 + places % 7)


def _in_reference(flat: Flat, local: LocalFunction) -> Arrays | None:
    """The gradient at the point of ``local`` in the reference dtype, or None if grad does not compute in it."""
    try:
        gradient = flat.grad(*local.point)
    except Exception:  # grad may be written for one dtype or one library, and raise anything for another
        return None
    return gradient if not any(map(leaf_flaw, local.point, gradient)) else None


# --- probes --------------------------------------------------------------------------------------------------------


class Probe(NamedTuple):
    """One direction: the slope that the gradient predicts, the slope that the function has, and what lies between.

    analytic: the predicted slope.
    numeric: the measured slope.
    tolerance: how far the two may differ.
    size: the norm of the gradient in the scale of the direction; an error of that relative size changes the slope by
        about as much.
    kink: the part of the slope's uncertainty that is owed to a kink.
    entry: the index of the entry that was moved, where only one was.
    exact: whether the measured slope is free of truncation.
    tied: whether something that f compares is equal at the point.
    as_one: whether numbers of several units were moved in one scale: the probe may refuse a gradient, not resolve one.
    """

    analytic: float
    numeric: float
    tolerance: float
    size: float
    kink: float = 0.0
    entry: tuple[int, ...] | None = None
    exact: bool = False
    tied: bool = False
    as_one: bool = False

    @property
    def wrong(self) -> bool:
        """Whether the two slopes differ by more than is allowed."""
        return abs(self.analytic - self.numeric) > self.tolerance

    @property
    def kinked(self) -> bool:
        """Whether most of the tolerance is owed to a kink, or a branch hangs on a tie."""
        return self.tied or MARGIN * self.kink > 0.5 * self.tolerance

    @property
    def at_kink(self) -> bool:
        """Whether what differs may be owed to a kink: a branch hangs on a tie, or the error is not far beyond the kink.

        Several kinks of either sign may hide behind the one that is seen.
        """
        return self.tied or abs(self.analytic - self.numeric) <= _SEVERAL * self.kink

    @property
    def scale(self) -> float:
        """The size of the gradient along this direction, by itself or by the function."""
        return max(self.size, abs(self.numeric))

    @property
    def gap(self) -> float:
        """The error as a share of the whole gradient."""
        return abs(self.analytic - self.numeric) / self.scale if self.scale else 0.0

    @property
    def relative_error(self) -> float:
        """``|a - n| / (|a| + |n|)`` of the two slopes."""
        size = abs(self.analytic) + abs(self.numeric)
        return abs(self.analytic - self.numeric) / size if size else 0.0


def probe(
    here: LocalGradient, group: Sequence[int], random: np.random.Generator, count: int = _DIRECTIONS
) -> tuple[Probe, ...]:
    """``count`` random directions that move the arrays of ``group``, or each entry of an array with no more entries.

    Where the magnitudes of an array spread over orders, its entries are moved by their own sizes. An entry may be small
    by accident, though, and not by its unit: where duals give slopes, such an array is also moved as a whole.
    """
    xp, point = here.local.xp, here.local.point
    if len(group) == 1 and 0 < (size := math.prod(point[group[0]].shape)) <= _DIRECTIONS:
        stretch = 1.0 if count == _DIRECTIONS else float(random.uniform(0.5, 1.0))
        return tuple(_of_entry(here, group[0], position, stretch) for position in range(size))
    full = [i for i in group if 0 not in point[i].shape]
    found = [along(here, {i: random_direction(xp, point[i], random) for i in full}) for _ in range(count)]
    if here.local.exact == "dual numbers" and len(full) == len(group) == 1:
        x = point[full[0]]
        if scales_of(xp, x).shape != ():
            found.append(along(here, {full[0]: random_direction(xp, x, random, scale_of(xp, x))}, as_one=True))
    return tuple(found)


def _of_entry(here: LocalGradient, leaf: int, position: int, stretch: float) -> Probe:
    """The probe that moves one entry, at the flat ``position``, in its scale."""
    xp, x = here.local.xp, here.local.point[leaf]
    scales = stretch * scales_of(xp, x)
    direction = scales * xp.astype(flat_positions(xp, x) == position, x.dtype)
    # the error of one entry is measured against the whole array: it may be a zero among others
    found = along(here, {leaf: direction}, norm(xp, here.gradient[leaf] * scales))
    return found._replace(entry=tuple(int(i) for i in np.unravel_index(position, x.shape)))


def along(here: LocalGradient, directions: Directions, size: float | None = None, as_one: bool = False) -> Probe:
    """The probe along one direction.

    Args:
        size: of the gradient in the scale of the direction, if the direction does not show it.
        as_one: whether numbers of several units are moved too far for any difference to tell.
    """
    xp, local = here.local.xp, here.local
    if not directions:  # no entry could be wrong
        return Probe(0.0, 0.0, 0.0, 0.0)
    slope = slope_along(local, directions, here.finest, confirm=not as_one)

    def predicted(gradient: Arrays) -> float:
        return sum(inner(xp, gradient[i], d) for i, d in directions.items())

    analytic = predicted(here.gradient)
    size = size or math.hypot(*(norm(xp, here.gradient[i] * d) for i, d in directions.items()))
    scatter = _range([predicted(gradient) for gradient in here.neighbours])
    # what f rounds to on the way grad may round to as well
    roundings = max(_ROUNDINGS * here.epsilon, _COARSE_ROUNDINGS * local.stairs)
    tolerance = MARGIN * slope.uncertainty + scatter + roundings * size + here.floor
    if here.coarse:
        scatter = _range([predicted(gradient) for gradient in here.own_neighbours])
        # constants of the parameters' dtype, such as weights of rows that grad divides by their sum, are rounded in it
        tolerance += scatter + _COARSE_ROUNDINGS * here.own_epsilon * size
    if local.flat and slope.value == 0.0 and analytic != 0.0 and not (slope.exact and local.value):
        tolerance = math.inf  # f does not change at all: by its nature, or by a stair that hides its slope
    if as_one:
        tolerance += _AS_ONE * here.epsilon * size
    if not math.isfinite(slope.value) or math.isnan(tolerance):
        tolerance = math.inf
    return Probe(analytic, slope.value, tolerance, size, slope.kink, None, slope.exact, slope.tied, as_one)


def _range(values: Sequence[float]) -> float:
    return max(values, default=0.0) - min(values, default=0.0)


def entry_rounding(here: LocalGradient, leaf: int) -> Array:
    """How far rounding may move each entry of the gradient of array ``leaf``: 0-d, or in its shape."""
    scatter, size, scales = _largest(here, leaf, here.neighbours, here.gradient)
    return (scatter + _ROUNDINGS * here.epsilon * size + here.floor) / scales


def constant_rounding(here: LocalGradient, leaf: int) -> Array:
    """How far constants that were rounded to coarser numbers may move each entry, as ``entry_rounding``."""
    scatter, size, scales = _largest(here, leaf, here.own_neighbours, here.own)
    own = scatter + _COARSE_ROUNDINGS * here.own_epsilon * size if here.coarse else 0.0
    return (own + _COARSE_ROUNDINGS * here.local.stairs * size) / scales


def _largest(
    here: LocalGradient, leaf: int, neighbours: tuple[Arrays, ...], gradient: Arrays
) -> tuple[float, float, Array]:
    """Of array ``leaf``: how far ``neighbours`` differ, and the largest entry, in the array's scales; and these."""
    xp, scales = here.local.xp, scales_of(here.local.xp, here.local.point[leaf])
    pairs = combinations((g[leaf] for g in neighbours), 2)
    scatter = max((largest(xp, (a - b) * scales) for a, b in pairs), default=0.0)
    return scatter, largest(xp, gradient[leaf] * scales), scales


# --- the parameters' own dtype ---------------------------------------------------------------------------------------


class Own(NamedTuple):
    """What grad returns in the parameters' own dtype, beside the gradient that is judged, of one array.

    dtype: its name.
    judged: the name of the dtype that is judged.
    share: the distance of the two, as a share of the gradient; 0 where they were computed in one dtype.
    rounding: the share that rounding explains, as seen between neighbouring points.
    factor: the factor by which the one is the other, if it is one within the share.
    rest: the part of the distance that no common factor explains, 0 to 1.
    """

    dtype: str = ""
    judged: str = ""
    share: float = 0.0
    rounding: float = 0.0
    factor: float = 1.0
    rest: float = 1.0


def own_dtype(here: LocalGradient, leaf: int) -> Own:
    """How far what grad returns for array ``leaf`` in the parameters' own dtype is from what is judged."""
    xp, judged, own = here.local.xp, here.gradient[leaf], here.own[leaf]
    if not here.coarse or 0 in judged.shape:
        return Own()
    scales = [scales_of(xp, x) for x in here.local.point]
    a, b = own * scales[leaf], judged * scales[leaf]
    distance, size = norm(xp, a - b), norm(xp, b)
    largest_flow = max(norm(xp, g * scale) for g, scale in zip(here.gradient, scales, strict=True))
    pairs = combinations((g[leaf] for g in here.own_neighbours), 2)
    scatter = max((norm(xp, (g - h) * scales[leaf]) for g, h in pairs), default=0.0)
    allowed = scatter + _FLOOR_ROUNDINGS * here.own_epsilon * largest_flow
    if not size:
        return Own(dtype_name(here.flat.arrays[leaf]), dtype_name(judged), 0.0 if distance <= allowed else math.inf)
    factor = inner(xp, a, b) / size**2
    rest = norm(xp, a - factor * b) / distance if distance else 1.0
    return Own(dtype_name(here.flat.arrays[leaf]), dtype_name(judged), distance / size, allowed / size, factor, rest)


# --- all of it -------------------------------------------------------------------------------------------------------


class Sides(NamedTuple):
    """A gradient and the slopes on the two sides of a kink, along one coordinate or along several together.

    position: of the coordinate in its array, flat; None for several together.
    analytic: the slope that the gradient predicts; along a coordinate, its entry there.
    left, right: the slopes of the function before and behind the point.
    branches: the lowest and the highest slope that any choice at the ties gives, each tie by itself. Empty if the
        gradient lies between left and right, since it was not asked for.
    tolerance: of rounding alone, since these slopes are exact.
    """

    position: int | None
    analytic: float
    left: float
    right: float
    branches: tuple[float, ...]
    tolerance: float

    def outside(self, *slopes: float) -> bool:
        """Whether the gradient lies neither between ``slopes`` nor at one of them."""
        return not min(slopes) - self.tolerance <= self.analytic <= max(slopes) + self.tolerance

    @property
    def bend(self) -> int:
        """1 if the slope grows from left to right, as that of |x| does, -1 if it falls, 0 if the two agree."""
        jump = self.right - self.left
        return 0 if abs(jump) <= self.tolerance else int(math.copysign(1.0, jump))


class Worst(NamedTuple):
    """What single entries of an array show, each compared with its own difference.

    excess: the largest error beyond its uncertainty, as a share of ``|a| + |n|`` of its entry.
    seen: whether any error stands out of its uncertainty at all.
    fine: whether the differences were taken in float64, or in anything as fine.
    resolution: the norm of what they may be off by, as a share of the norm of the gradient.
    """

    excess: float
    seen: bool
    fine: bool
    resolution: float


class Findings(NamedTuple):
    """All that was measured about a group of arrays, one array or all together.

    here: probes at params.
    epsilon: of the coarsest dtype that the gradient, or the slopes, were computed in.
    own: the parameters' own dtype.
    stepped: whether f changes in steps, far above the rounding of its value, or did not change at all.
    more: further probes at params.
    close: probes at points so close that most kinks stay on their side.
    elsewhere: probes at other points, each a tuple.
    sides: one-sided slopes along entries where f has a kink.
    worst: what single entries show, if they were compared.
    """

    here: tuple[Probe, ...]
    epsilon: float = 2.0**-52
    own: Own = Own()
    stepped: bool = False
    more: tuple[Probe, ...] = ()
    close: tuple[tuple[Probe, ...], ...] = ()
    elsewhere: tuple[tuple[Probe, ...], ...] = ()
    sides: tuple[Sides, ...] = ()
    worst: Worst | None = None


class Evidence(NamedTuple):
    """All that was measured. Group i moves array i alone, the last group moves all arrays together.

    here: function and gradient at params.
    groups: the positions of the arrays that each group moves.
    found: what was measured about each group.
    far: for each of a few other points, where nothing was computed before, the probes that move all arrays together.
    frozen: whether the gradient there was that of params again.
    """

    here: LocalGradient
    groups: tuple[tuple[int, ...], ...]
    found: tuple[Findings, ...]
    far: tuple[tuple[Probe, ...], ...] = ()
    frozen: bool = False


def gather(here: LocalGradient, random: np.random.Generator) -> Evidence:
    """What is measured at params in any case: each array moved by itself, then all together."""
    everything = tuple(range(len(here.gradient)))
    groups = (*((i,) for i in everything), everything)
    local, epsilon = here.local, max(here.local.epsilon, here.own_epsilon)
    stepped = local.flat or local.noise > _STEPPED * local.epsilon * abs(local.value)
    # the second direction across all arrays is taken at another point, where nothing was computed before
    found = (
        Findings(probe(here, group, random, _DIRECTIONS if len(group) == 1 else 1), epsilon, own, stepped)
        for group, own in zip(groups, (*(own_dtype(here, i) for i in everything), Own()), strict=True)
    )
    return Evidence(here, groups, tuple(found))
