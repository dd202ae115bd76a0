"""The same questions at other points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np  # on the host alone: random numbers

from mlp_xp._lib.namespace import namespace
from mlp_xp._lib.typing import Array
from mlp_xp.gradcheck.evidence import Point, Probe, gradient_at, probe, resolution
from mlp_xp.gradcheck.local import moved, random_direction
from mlp_xp.gradcheck.report import WRONG

# Points nearby have other kinks and the same bugs: by how much to scale the parameters, and how far to move them.
_ASIDE = ((1.0, 0.03), (1.0, 0.03), (1.0, 0.1))


# Where a mistake would still be on the same side of most kinks.
_CLOSE_BY = (1e-3, 1e-4)


# Where rounding hides a gradient, because units are saturated or because it vanishes on its way through small weights,
# the same formula can be judged where neither is so.
_AFAR = ((0.25, 0.2), (4.0, 0.2), (0.06, 0.2), (16.0, 0.2))


# Far enough for what was kept of another point to be wrong there.
_FAR, _ELSEWHERE = 0.1, 3


def recheck_elsewhere(
    here: Point,
    grad: Callable[..., Any],
    arrays: tuple[Array, ...],
    groups: Sequence[tuple[int, ...]],
    probes: Sequence[Sequence[Probe]],
    random: np.random.Generator,
) -> tuple[dict[int, list[Probe]], set[int]]:
    """Probes at another point, for those groups of arrays that are in doubt here and not there; and what is not wrong.

    A bug is there at every point; the trouble of a kink or of a subgradient is gone a step aside, that of a saturated
    unit or a vanishing gradient further away. What is wrong here and right nearby is cleared; what can't be resolved
    here and can be there is judged there. What is wrong here and nowhere nearby, though nothing clears it, is not wrong
    beyond doubt: those groups come second. But a mistake in a few entries may be gone nearby with the branch that they
    took: what is wrong along any direction, here and close by, is not cleared.
    """
    doubtful = {g for g, mine in enumerate(probes) if any(p.wrong for p in mine) or resolution(mine) > WRONG}
    cleared: dict[int, list[Probe]] = {}
    unconfirmed = {g for g, mine in enumerate(probes) if any(p.wrong for p in mine)}
    for attempt, (factor, distance) in enumerate((*_ASIDE, *_AFAR)):
        if attempt == len(_ASIDE):  # what is wrong here must be right nearby: far away another branch may be taken
            doubtful = {g for g in doubtful if not any(p.wrong for p in probes[g])}
        if not doubtful:
            break
        there = _point_aside(here, grad, arrays, factor, distance, attempt, random)
        if there is None:
            continue
        for g in sorted(doubtful):
            again = probe(there, groups[g], random)
            # an error as large as the one seen here must be visible there, or whatever a pass must be able to see
            gap = max((p.gap for p in probes[g] if p.wrong), default=None)
            if resolution(again) <= (WRONG if gap is None else gap) and (
                gap is None or not any(p.wrong for p in again)
            ):
                doubtful.remove(g)
                if gap is not None and _confirmed(here, grad, arrays, groups[g], random):
                    unconfirmed.discard(g)
                else:
                    cleared[g] = again
            elif _wrong_throughout(again):
                unconfirmed.discard(g)
    return cleared, unconfirmed - cleared.keys()


def _point_aside(
    here: Point,
    grad: Callable[..., Any],
    arrays: tuple[Array, ...],
    factor: float,
    distance: float,
    attempt: int,
    random: np.random.Generator,
) -> Point | None:
    """Function and gradient at another point; None beyond the function's domain."""
    xp = namespace(*arrays)
    there = tuple(factor * (x + distance * random_direction(xp, x, random)) for x in arrays)
    problem = moved(here.problem, there, attempt)
    return gradient_at(problem, grad, there, random) if math.isfinite(problem.value) else None


def _wrong_throughout(probes: Sequence[Probe]) -> bool:
    """Whether an error shows as one does: in any random direction, or in one of the entries."""
    return (any if probes[0].entry else all)(p.wrong for p in probes)


def _confirmed(
    here: Point,
    grad: Callable[..., Any],
    arrays: tuple[Array, ...],
    group: tuple[int, ...],
    random: np.random.Generator,
) -> bool:
    """Whether what is wrong here is so along other directions too, and at a point close by."""
    if not _wrong_throughout(probe(here, group, random)):
        return False
    close_by = (_point_aside(here, grad, arrays, 1.0, distance, 0, random) for distance in _CLOSE_BY)
    return any(there is not None and _wrong_throughout(probe(there, group, random)) for there in close_by)


def wrong_elsewhere(
    here: Point, grad: Callable[..., Any], arrays: tuple[Array, ...], random: np.random.Generator
) -> bool:
    """Whether a gradient that is right here is wrong at another point, and at every other that is tried."""
    everything = range(len(arrays))
    for attempt in range(_ELSEWHERE):
        there_arrays = tuple(x + _FAR * random_direction(namespace(x), x, random) for x in arrays)
        problem = moved(here.problem, there_arrays, attempt, like_here=attempt == 0)
        if not math.isfinite(problem.value):
            return False  # beyond the function's domain
        there = gradient_at(problem, grad, there_arrays, random)
        if not any(p.wrong for p in probe(there, everything, random, 1)):
            return False
    return True
