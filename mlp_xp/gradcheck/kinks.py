"""A gradient at kinks, beside the slopes of its function on the two sides.

At a kink a function has no derivative, and a gradient function chooses one: relu'(0) is 0, 1/2 or 1, the gradient of
``max`` goes to the first of the greatest entries or to all in equal parts. Every such choice is right. What no choice
gives is wrong, such as 5 for ``|x|`` at 0. Along a random direction through many kinks the two can hardly be told
apart; along one coordinate they can.

Source: Clarke, Optimization and Nonsmooth Analysis, 1983, for gradients that a choice at each kink gives.

Before: ``dual`` decides ties, ``evidence`` has gradient and function at a point. Next: the judge weighs the sides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np  # on the host alone: random numbers, a few slopes

from mlp_xp._lib.namespace import namespace, to_host
from mlp_xp._lib.typing import Array
from mlp_xp.gradcheck.arrays import flat_positions, from_host, inner, largest, scale_of
from mlp_xp.gradcheck.evidence import LocalGradient
from mlp_xp.gradcheck.local import LocalFunction, along_duals

# A two-level design of so many slopes gives the effect of each of up to seven ties by itself.
_RUNS = 8

# Where more ties than that share a column, their effects may cancel in it: this many times what their squares suggest.
_SHARED = 2.0

# What f rounds on the way its slopes round too: a quarter of a unit aside, six standard deviations of its noise. And
# some roundings of the sums in a gradient.
_NOISE, _ROUNDINGS = 24.0, 20.0


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


# --- the judgement -----------------------------------------------------------------------------------------------

Finding: TypeAlias = tuple[Literal["fail", "inconclusive", ""], int | None, str]
"""A verdict, the position that it is about (None: several, or nothing), and a sentence."""


def impossible(sides: Sequence[Sides]) -> Finding:
    """Whether no choice at the kinks gives this gradient; ``("", None, "")`` if nothing speaks against it.

    What no choice gives fails where the two sides differ. What some choice gives along a coordinate, though neither
    side does, is inconclusive, and so is what differs from two sides that agree: ``relu(x) - relu(-x)`` is x, and
    relu'(0) = 0 gives it a slope of 0. Several coordinates together speak only against what no choice gives, and fail
    only if all of them bend one way, as those of a convex function do.

    >>> impossible([Sides(3, 5.0, -1.0, 1.0, (-1.0, 1.0), 1e-12)])
    ('fail', 3, 'at a kink, the slopes on the two sides are -1 and 1; the gradient has 5')
    >>> impossible([Sides(3, 0.0, -1.0, 1.0, (), 1e-12)])
    ('', None, '')
    """
    bends = {each.bend for each in sides if each.position is not None} - {0}
    found: Finding = ("", None, "")
    for each in sides:
        if not each.outside(each.left, each.right):
            continue
        beyond, together = each.outside(each.left, each.right, *each.branches), each.position is None
        if beyond and each.bend and not (together and len(bends) > 1):
            return "fail", each.position, _sentence(each)
        if not found[0] and (beyond or not together):
            found = ("inconclusive", each.position, f"{_sentence(each)}: another choice at the ties, or an error")
    return found


def _sentence(sides: Sides) -> str:
    left, right, analytic = (f"{slope:.6g}" for slope in (sides.left, sides.right, sides.analytic))
    slopes = f"slopes on the two sides are {left} and {right}" if sides.bend else f"slope on both sides is {right}"
    verb = "has" if sides.position is not None else "predicts"
    where = "" if sides.position is not None else " of several entries together"
    return f"at a kink{where}, the {slopes}; the gradient {verb} {analytic}"


# --- the measurement ---------------------------------------------------------------------------------------------


def one_sided(here: LocalGradient, leaf: int, random: np.random.Generator, limit: int) -> tuple[Sides, ...]:
    """The sides along coordinates of array ``leaf`` that have a kink, and along all of these together.

    One slope by duals if nothing ties; else at most ``2 log2(size) + 2`` to find each coordinate, three for it and the
    same for all together, and eight more for each of these where the gradient lies on neither side nor between.

    Args:
        here: a gradient at a point.
        leaf: the position of the array.
        random: draws the coordinates, if there are more than ``limit``.
        limit: at most so many coordinates.

    Returns:
        At most ``limit + 1``; the last is of all together, if there are several. Empty if f does not take duals, or if
        nothing ties.
    """
    if here.local.exact != "dual numbers":
        return ()
    positions = _tied_positions(here.local, leaf, random, limit)
    alone = [each for k in positions if (each := _sides(here, leaf, {k: 1.0}, k, random)) is not None]
    if len(alone) < 2:
        return tuple(alone)
    # in random parts, that of each entry so large that it changes f about as much as another: units may differ
    together = {
        int(each.position or 0): random.uniform(0.5, 1.5) / (max(abs(each.left), abs(each.right)) or 1.0)
        for each in alone
    }
    joint = _sides(here, leaf, together, None, random)
    return (*alone, *([] if joint is None else [joint]))


def _tied_positions(local: LocalFunction, leaf: int, random: np.random.Generator, limit: int) -> list[int]:
    """Flat positions of entries of array ``leaf`` whose move decides a tie; found by halving, sorted."""
    xp, x = local.xp, local.point[leaf]
    flat, size = flat_positions(xp, x), math.prod(x.shape)
    # all of one sign, and no two equal: no tie of entries moved together stays one
    whole = from_host(xp, random.uniform(0.5, 1.5, x.shape), x)
    blocks, found = [(0, size)] if size else [], list[int]()
    while blocks and len(found) < limit:
        low, high = blocks.pop()
        slope = along_duals(local, {leaf: whole * xp.astype((flat >= low) & (flat < high), x.dtype)})
        if slope is None or not slope.ties:
            continue
        if high - low == 1:
            found.append(low)
            continue
        middle = (low + high) // 2
        blocks += random.permutation([(low, middle), (middle, high)]).tolist()
    return sorted(found)


def _sides(
    here: LocalGradient, leaf: int, weights: Mapping[int, float], position: int | None, random: np.random.Generator
) -> Sides | None:
    """The sides along the coordinates of ``weights``, each moved by its weight; None if f does not take duals there."""
    xp, local, x = here.local.xp, here.local, here.local.point[leaf]
    moved = np.zeros(math.prod(x.shape))
    moved[list(weights)] = list(weights.values())
    direction = from_host(xp, moved.reshape(x.shape), x)
    right, left = (along_duals(local, {leaf: direction}, sign) for sign in (1.0, -1.0))
    if right is None or left is None:
        return None
    analytic = inner(xp, here.gradient[leaf], direction)
    size = max(largest(xp, here.gradient[leaf]) * sum(weights.values()), abs(right.slope), abs(left.slope))
    in_value = (_NOISE * local.noise + here.floor) / float(scale_of(xp, x)) * sum(weights.values())
    tolerance = in_value + _ROUNDINGS * max(here.epsilon, local.epsilon) * size
    sides = Sides(position, analytic, left.slope, right.slope, (), tolerance)
    if not sides.outside(left.slope, right.slope):
        return sides
    return sides._replace(branches=_branches(local, leaf, direction, random))


def _branches(local: LocalFunction, leaf: int, direction: Array, random: np.random.Generator) -> tuple[float, ...]:
    """The lowest and the highest slope along ``direction`` that any choice at the ties gives.

    Each tie is decided one way or the other, which changes the slope by an effect: the slope is its middle and, of each
    tie, half the effect more or less. Eight slopes by a two-level design give seven effects, and these the range. A tie
    behind another, as in a network of several layers, shows up in columns that no tie has, and widens the range too.

    Source: Plackett and Burman, The design of optimum multifactorial experiments, Biometrika 33, 1946.
    """
    columns: dict[tuple[int, int], tuple[int, int]] = {}
    runs = (along_duals(local, {leaf: direction}, choose=_chooser(run, columns, random)) for run in range(_RUNS))
    slopes = [math.nan if run is None else run.slope for run in runs]
    if not all(map(math.isfinite, slopes)):
        return -math.inf, math.inf  # a branch leads out of f's domain: nothing is known of it
    effects = [abs(sum(_sign(run, k) * slope for run, slope in enumerate(slopes))) / _RUNS for k in range(1, _RUNS)]
    shared = len(columns) / (_RUNS - 1)
    reach = sum(effects) * (_SHARED * math.sqrt(shared) if shared > 1.0 else 1.0)
    middle = sum(slopes) / _RUNS
    return middle - reach, middle + reach


def _sign(run: int, column: int) -> int:
    """The entry of a Walsh-Hadamard matrix: the sign of ``column`` in ``run``."""
    return -1 if (run & column).bit_count() % 2 else 1


def _chooser(
    run: int, columns: dict[tuple[int, int], tuple[int, int]], random: np.random.Generator
) -> Callable[[Any], Any]:
    """``choose`` of a ``DualNamespace`` for one run of the design.

    Args:
        run: its number.
        columns: (which comparison, which entry of it) -> the column of this tie, and a sign; grows as ties turn up.
        random: draws signs where a column is taken, so that effects that share it are not all added up.
    """
    calls = itertools.count()

    def choose(tied: Array) -> Array:
        mask = to_host(tied)
        call, holds = next(calls), np.zeros(mask.size, dtype=bool)
        for entry in np.flatnonzero(mask).tolist():
            number = len(columns)
            sign = 1 if number < _RUNS - 1 else int(random.choice([-1, 1]))
            column, sign = columns.setdefault((call, entry), (1 + number % (_RUNS - 1), sign))
            holds[entry] = sign * _sign(run, column) > 0
        return from_host(namespace(tied), holds.reshape(mask.shape), tied)

    return choose
