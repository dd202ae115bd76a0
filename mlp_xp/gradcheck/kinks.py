"""A gradient at kinks, beside the slopes of its function on the two sides.

At a kink a function has no derivative, and a gradient function chooses one: relu'(0) is 0, 1/2 or 1, the gradient of
``max`` goes to the first of the greatest entries or to all in equal parts. Every such choice is right. What no choice
gives is wrong, such as 5 for ``|x|`` at 0. Along a random direction through many kinks the two can hardly be told
apart; along one coordinate they can.

Source: Clarke, Optimization and Nonsmooth Analysis, 1983, for gradients that a choice at each kink gives.

Before: ``dual`` decides ties, ``evidence`` has gradient and function at a point. Next: ``judge`` weighs the sides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np  # on the host alone: random numbers, a few slopes

from mlp_xp._lib.namespace import namespace, to_host
from mlp_xp._lib.typing import Array
from mlp_xp.gradcheck.arrays import flat_positions, from_host, inner, largest, scale_of
from mlp_xp.gradcheck.evidence import LocalGradient, Sides, constant_rounding
from mlp_xp.gradcheck.local import Directions, LocalFunction, along_duals

# A two-level design of so many slopes gives the effect of each of up to seven ties by itself.
_RUNS = 8

# Where more ties than that share a column, their effects may cancel in it: this many times what their squares suggest.
_SHARED = 2.0

# What f rounds on the way its slopes round too: a quarter of a unit aside, six standard deviations of its noise. And
# some roundings of the sums in a gradient.
_NOISE, _ROUNDINGS = 24.0, 20.0


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
    alone = [each for k in positions if (each := _sides(here, {leaf: {k: 1.0}}, k, random)) is not None]
    return (*alone, *_joint(here, {leaf: alone}, random))


def of_several(
    here: LocalGradient, sides: Mapping[int, Sequence[Sides]], random: np.random.Generator
) -> tuple[Sides, ...]:
    """The ``sides`` of each array, by its position, and those along the coordinates of all these arrays together.

    Each array may have a right gradient by itself, and all together none: that of ``max(x, y)`` where x is y goes to
    one of the two, or to both in parts. Empty unless several arrays have coordinates with a kink.
    """
    alone = {leaf: [each for each in found if each.position is not None] for leaf, found in sides.items()}
    alone = {leaf: found for leaf, found in alone.items() if found}
    if len(alone) < 2:
        return ()
    return (*(each for found in alone.values() for each in found), *_joint(here, alone, random))


def _joint(here: LocalGradient, alone: Mapping[int, Sequence[Sides]], random: np.random.Generator) -> tuple[Sides, ...]:
    """The sides along all coordinates of ``alone`` together; empty if there is only one."""
    if sum(map(len, alone.values())) < 2:
        return ()
    # in random parts, that of each entry so large that it changes f about as much as another: units may differ
    weights = {
        leaf: {
            int(each.position or 0): random.uniform(0.5, 1.5) / (max(abs(each.left), abs(each.right)) or 1.0)
            for each in found
        }
        for leaf, found in alone.items()
    }
    joint = _sides(here, weights, None, random)
    return () if joint is None else (joint,)


def _tied_positions(local: LocalFunction, leaf: int, random: np.random.Generator, limit: int) -> list[int]:
    """Flat positions of entries of array ``leaf`` whose move decides a tie; found by halving, sorted."""
    xp, x = local.xp, local.point[leaf]
    flat, size = flat_positions(xp, x), math.prod(x.shape)
    # all of one sign, and no two equal: no tie of entries moved together stays one
    whole = from_host(xp, random.random(x.shape), x)
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
    here: LocalGradient,
    weights: Mapping[int, Mapping[int, float]],
    position: int | None,
    random: np.random.Generator,
) -> Sides | None:
    """The sides along the coordinates of ``weights``, by array and flat position, each moved by its weight.

    None if f does not take duals there.
    """
    xp, local = here.local.xp, here.local
    directions = {leaf: _weighted(local.point[leaf], parts) for leaf, parts in weights.items()}
    right, left = (along_duals(local, directions, sign) for sign in (1.0, -1.0))
    if right is None or left is None:
        return None
    analytic = sum(inner(xp, here.gradient[leaf], d) for leaf, d in directions.items())
    moved = {leaf: sum(parts.values()) for leaf, parts in weights.items()}
    predicted = sum(largest(xp, here.gradient[leaf]) * far for leaf, far in moved.items())
    size = max(predicted, abs(right.slope), abs(left.slope))
    in_scales = sum(far / float(scale_of(xp, local.point[leaf])) for leaf, far in moved.items())
    in_value = (_NOISE * local.noise + here.floor) * in_scales
    constants = sum(largest(xp, constant_rounding(here, leaf)) * far for leaf, far in moved.items())
    tolerance = in_value + constants + _ROUNDINGS * max(here.epsilon, local.epsilon) * size
    sides = Sides(position, analytic, left.slope, right.slope, (), tolerance)
    if not sides.outside(left.slope, right.slope):
        return sides
    return sides._replace(branches=_branches(local, directions, random))


def _weighted(x: Array, parts: Mapping[int, float]) -> Array:
    """An array like ``x``: the numbers of ``parts`` at their flat positions, else zeros."""
    moved = np.zeros(math.prod(x.shape))
    moved[list(parts)] = list(parts.values())
    return from_host(namespace(x), moved.reshape(x.shape), x)


def _branches(local: LocalFunction, directions: Directions, random: np.random.Generator) -> tuple[float, ...]:
    """The lowest and the highest slope along ``directions`` that any choice at the ties gives.

    Each tie is decided one way or the other, which changes the slope by an effect: the slope is its middle and, of each
    tie, half the effect more or less. Eight slopes by a two-level design give seven effects, and these the range. A tie
    behind another, as in a network of several layers, shows up in columns that no tie has, and widens the range too.

    Source: Plackett and Burman, The design of optimum multifactorial experiments, Biometrika 33, 1946.
    """
    columns: dict[tuple[int, int], tuple[int, int]] = {}
    runs = (along_duals(local, directions, choose=_chooser(run, columns, random)) for run in range(_RUNS))
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
