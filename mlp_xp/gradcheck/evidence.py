"""A gradient against slopes of its function: along random directions, with what may lie between the two, all measured.

Along a direction the function has a slope and the gradient a prediction of it. They may differ by the uncertainty of
the slope (truncation, rounding and kinks) and by the rounding of the gradient; by more, and the gradient is wrong.
Nothing is compared with a constant: where the textbook would ask for 1e-5, a smooth function in float64 is usually
resolved to 1e-9.

Before: ``problem`` measures slopes. Next: ``verdict`` judges by them, ``check`` calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np  # on the host alone: random numbers

from mlp_xp._lib.namespace import device_kwargs, namespace
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.contract import leaf_flaw
from mlp_xp.gradcheck.local import Problem, like, random_direction, slope_along
from mlp_xp.gradcheck.slopes import norm, scale_of

DIRECTIONS = 2

# The uncertainty of a slope is an estimate from a few values: what is refused exceeds it threefold.
MARGIN = 3.0

# Rounding of the gradient: as seen between points a few units in the last place apart; and never less than some
# roundings of the products summed here.
_NEIGHBOURS, _NEIGHBOUR_MARGIN, _ROUNDINGS = 2, 5.0, 20.0

# Where a gradient was computed in a coarser dtype than the function, its rounding relative to the largest gradient.
_FLOOR_ROUNDINGS = 50.0

# And the share of a gradient that float32 may lose where terms cancel: right ones were seen to lose a thousandth.
_COARSE = 1e-2


class Probe(NamedTuple):
    """One direction: what the gradient predicts, what the function does, what is allowed between them.

    size is the norm of the gradient in the scale of the direction: an error of that relative size changes the slope by
    about as much. entry is that which was moved, where it was but one.
    """

    analytic: float
    numeric: float
    tolerance: float
    size: float
    kink: float
    entry: tuple[int, ...] | None = None

    @property
    def wrong(self) -> bool:
        """Whether the two differ by more than is allowed."""
        return not abs(self.analytic - self.numeric) <= self.tolerance

    @property
    def resolution(self) -> float:
        """The smallest relative error that would have been seen; 0 where f does not change, and the gradient agrees.

        At a kink that is even on both sides f changes, though its slope is 0: there nothing would have been seen.
        """
        size = max(self.size, abs(self.numeric))
        return self.tolerance / size if size else math.inf if self.kinked else 0.0

    @property
    def kinked(self) -> bool:
        """Whether most of what is allowed is owed to a kink."""
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


class Point(NamedTuple):
    """Function and gradient at one point.

    problem: the function.
    gradient: in the reference dtype.
    neighbours: the same a few units in the last place aside: what changes there is rounding.
    epsilon: of the dtype in which ``gradient`` was computed.
    floor: the rounding of a slope that no neighbour shows, where that dtype is not the reference's.
    finest: within this distance a coarser dtype does not know on which side of a kink it is.
    """

    problem: Problem
    gradient: tuple[Array, ...]
    neighbours: tuple[tuple[Array, ...], ...]
    epsilon: float
    floor: float
    finest: float

    @property
    def in_reference(self) -> bool:
        """Whether the gradient was computed in the reference dtype."""
        return self.epsilon == self.problem.epsilon


def gradient_at(
    problem: Problem, grad: Callable[..., Any], arrays: tuple[Array, ...], random: np.random.Generator
) -> Point:
    """The gradient at ``arrays``, which are the problem's point in the parameters' own dtype, and how much is rounding.

    Where grad computes in the reference dtype too, the formula is judged there, and ``lost_precision`` compares what
    it returns in the parameters' own. Neighbouring points show its rounding.
    """
    exact = None
    if any(x.dtype != there.dtype for x, there in zip(arrays, problem.point, strict=True)):
        exact = _in_reference(problem, grad)
    at = arrays if exact is None else problem.point
    xp = namespace(*at)
    epsilon = max(float(xp.finfo(x.dtype).eps) for x in at)

    def gradient(*point: Array) -> tuple[Array, ...]:
        return tuple(like(g, x) for g, x in zip(grad(*point), problem.point, strict=True))

    def neighbour(x: Array) -> Array:
        return x * (
            1.0 + 2.0 * epsilon * xp.asarray(random.integers(-1, 2, x.shape), dtype=x.dtype, **device_kwargs(x))
        )

    own = gradient(*at) if exact is None else exact
    neighbours = tuple(gradient(*map(neighbour, at)) for _ in range(_NEIGHBOURS))
    # a saturated unit's slope is a small difference of large numbers: wrong in proportion to what flows past it
    sizes = [norm(problem.xp, g * scale_of(problem.xp, x)) for g, x in zip(own, problem.point, strict=True)]
    coarser = _FLOOR_ROUNDINGS * epsilon if epsilon > problem.epsilon else 0.0
    return Point(problem, own, neighbours, epsilon, coarser * max(sizes), coarser)


def lost_precision(here: Point, arrays: tuple[Array, ...], own: tuple[Array, ...]) -> list[str]:
    """For each array a sentence where its gradient, in the parameters' dtype, is far from where it was judged, or "".

    Whether terms cancel there or the function is wrong in that dtype alone, no one can tell from outside.
    """
    xp = here.problem.xp
    epsilon = max(float(namespace(x).finfo(x.dtype).eps) for x in arrays)
    scales = [float(scale_of(xp, x)) for x in here.problem.point]
    sizes = [scale * norm(xp, g) for scale, g in zip(scales, here.gradient, strict=True)]
    allowed = _FLOOR_ROUNDINGS * epsilon * max(sizes)
    sentences = []
    for x, mine, judged, scale, size in zip(arrays, own, here.gradient, scales, sizes, strict=True):
        gap = scale * norm(xp, like(mine, judged) - judged)
        share = gap / size if size else math.inf
        far = not gap <= max(allowed, _COARSE * size)
        sentences.append(
            f"right in {judged.dtype}, but {share:.1g} of its size away from that in {x.dtype}" if far else ""
        )
    return sentences


def _in_reference(problem: Problem, grad: Callable[..., Any]) -> tuple[Array, ...] | None:
    """The gradient in the reference dtype, where ``grad`` computes in it."""
    try:
        gradient = grad(*problem.point)
    except Exception:  # whatever a function raises that was written for one dtype or one library
        return None
    return gradient if not any(map(leaf_flaw, problem.point, gradient)) else None


def probe(here: Point, group: Sequence[int], random: np.random.Generator, count: int = DIRECTIONS) -> list[Probe]:
    """Directions that move the arrays of ``group``: random ones, or the entries of an array that has so few."""
    xp, point = here.problem.xp, here.problem.point
    return [_along(here, directions, entry) for directions, entry in _directions(xp, point, group, random, count)]


def _directions(
    xp: Namespace, point: Sequence[Array], group: Sequence[int], random: np.random.Generator, count: int
) -> Iterator[tuple[Mapping[int, Array], tuple[int, ...] | None]]:
    """Each with the index of the entry, where it moves but one."""
    sizes = {i: math.prod(point[i].shape) for i in group}
    if len(group) == 1 and sizes[group[0]] <= count:
        x = point[group[0]]
        flat = xp.reshape(xp.arange(sizes[group[0]], dtype=xp.int32, **device_kwargs(x)), x.shape)
        for position in range(sizes[group[0]]):
            index = tuple(int(i) for i in np.unravel_index(position, x.shape))
            yield {group[0]: scale_of(xp, x) * xp.astype(flat == position, x.dtype)}, index
        return
    for _ in range(count):
        yield {i: random_direction(xp, point[i], random) for i in group if sizes[i]}, None


def _along(here: Point, directions: Mapping[int, Array], entry: tuple[int, ...] | None) -> Probe:
    xp = here.problem.xp
    if not directions:  # there is nothing to be wrong
        return Probe(0.0, 0.0, 0.0, 0.0, 0.0)
    slope = slope_along(here.problem, directions, here.finest)

    def along(gradient: tuple[Array, ...]) -> float:
        return sum(float(xp.sum(gradient[i] * d)) for i, d in directions.items())

    analytic = along(here.gradient)
    # of one entry too the error is measured against the whole array: it may be a zero among others
    scales = {i: d if entry is None else xp.max(xp.abs(d)) for i, d in directions.items()}
    size = math.hypot(*(norm(xp, here.gradient[i] * scale) for i, scale in scales.items()))
    scatter = max((abs(along(gradient) - analytic) for gradient in here.neighbours), default=0.0)
    rounding = _NEIGHBOUR_MARGIN * scatter + _ROUNDINGS * here.epsilon * size + here.floor
    tolerance = MARGIN * slope.uncertainty + rounding
    if here.problem.noise == 0.0 and slope.value == 0.0 and analytic != 0.0:
        tolerance = math.inf  # f is zero all around: whether by its nature or by rounding, no one can tell
    return Probe(analytic, slope.value, tolerance, size, slope.kink, entry)


def entry_rounding(here: Point, leaf: int) -> float:
    """How far rounding may move one entry of a gradient."""
    xp, gradient = here.problem.xp, here.gradient[leaf]
    scatter = max((float(xp.max(xp.abs(neighbour[leaf] - gradient))) for neighbour in here.neighbours), default=0.0)
    floor = here.floor / float(scale_of(xp, here.problem.point[leaf]))
    return _NEIGHBOUR_MARGIN * scatter + _ROUNDINGS * here.epsilon * float(xp.max(xp.abs(gradient))) + floor


def resolution(probes: Sequence[Probe]) -> float:
    """Of random directions the best one counts, of single entries the worst; 0 where there was nothing to move."""
    resolutions = [probe.resolution for probe in probes]
    if not resolutions:
        return 0.0
    return min(resolutions) if probes[0].entry is None else max(resolutions)
