"""Which entries of a wrong tensor to compare one by one: all of a small one; of a large one a sample, and the guilty.

Blocks of rows, then of columns, are halved as long as a direction within them shows an error, so that one wrong entry
among a hundred thousand is found with some dozens of slopes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np  # on the host alone: random numbers, indices

from mlp_xp._namespace import beside
from mlp_xp._typing import Array
from mlp_xp.gradcheck.problem import Problem, random_direction, slope_along

_MARGIN = 3.0

# Entry by entry, a plain f is called four times for each; this many are looked at without asking further.
_SAMPLE = 200

# Rows, and entries in each, that are followed to the end.
_GUILTY = 4


def wrong_positions(problem: Problem, leaf: int, gradient: Array, rounding: float, limit: int, seed: int) -> list[int]:
    """Flat positions in array ``leaf``, worth comparing with differences.

    Args:
        gradient: in the reference dtype.
        rounding: of one of its entries.
        limit: a tensor with no more entries than this is taken whole.
        seed: of the sample of a larger one.
    """
    size = math.prod(gradient.shape)
    if size <= limit:
        return list(range(size))
    random = np.random.default_rng(seed)
    chosen = set(random.choice(size, min(_SAMPLE, limit), replace=False).tolist())
    columns = size // gradient.shape[0]
    shows = _block_test(problem, leaf, gradient, rounding, random)
    for row in _halve(shows, range(0, size + 1, columns)):
        chosen.update(_halve(shows, range(row, row + columns + 1)))
    return sorted(chosen)


def _block_test(
    problem: Problem, leaf: int, gradient: Array, rounding: float, random: np.random.Generator
) -> Callable[[int, int], bool]:
    """Whether the entries at flat positions low to high, moved together, show an error."""
    xp, x = problem.xp, problem.point[leaf]
    flat = xp.reshape(xp.arange(math.prod(x.shape), dtype=xp.int32, **beside(x)), x.shape)
    whole = random_direction(xp, x, random)

    def shows(low: int, high: int) -> bool:
        inside = xp.astype((flat >= low) & (flat < high), x.dtype)
        direction = whole * inside
        slope = slope_along(problem, {leaf: direction})
        expected = float(xp.sum(gradient * direction))
        allowed = _MARGIN * slope.uncertainty + rounding * float(xp.sqrt(xp.sum(direction * direction)))
        return abs(expected - slope.value) > allowed

    return shows


def _halve(shows: Callable[[int, int], bool], edges: range) -> list[int]:
    """The first few of the blocks between neighbouring ``edges`` that show an error: their lower edges."""
    found: list[int] = []
    blocks = [(0, len(edges) - 1)]
    while blocks and len(found) < _GUILTY:
        low, high = blocks.pop()
        if not shows(edges[low], edges[high]):
            continue
        if high - low == 1:
            found.append(edges[low])
        else:
            middle = (low + high) // 2
            blocks += [(middle, high), (low, middle)]
    return found
