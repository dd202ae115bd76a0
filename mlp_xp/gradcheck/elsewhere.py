"""Doubtful arrays, checked again at other points: a real bug fails everywhere, a kink only here.

Before: ``evidence``. Next: ``verdict``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np  # on the host alone: random numbers

from mlp_xp._lib.namespace import namespace
from mlp_xp.gradcheck.arrays import random_direction
from mlp_xp.gradcheck.evidence import Evidence, LocalGradient, Probe, gradient_at, probe, resolution
from mlp_xp.gradcheck.local import moved
from mlp_xp.gradcheck.report import WRONG

# Points nearby have other kinks and the same bugs. A move is a factor by which to scale the parameters, and how far to
# displace them.
_ASIDE = ((1.0, 0.03), (1.0, 0.03), (1.0, 0.1))

# At these distances a mistake is still on the same side of most kinks.
_CLOSE_BY = ((1.0, 1e-3), (1.0, 1e-4))

# Rounding hides a gradient where units are saturated, or where it vanishes on its way through small weights. The same
# formula can be judged at points where neither is so.
_AFAR = ((0.25, 0.2), (4.0, 0.2), (0.06, 0.2), (16.0, 0.2))

# How far, and how often, to move so that a gradient cached at another point is wrong.
_FAR, _ELSEWHERE = (1.0, 0.1), 3


def recheck_elsewhere(evidence: Evidence, random: np.random.Generator) -> Evidence:
    """``evidence`` with what other points say of the groups of arrays that are in doubt at this one.

    A group that is wrong here and right nearby is cleared. A group that can't be resolved here is judged at another
    point where it can be, further away if need be. A group that is wrong here and at none of the points nearby, though
    nothing clears it, stays unconfirmed. But a mistake in a few entries may be gone nearby together with the branch
    that they took: a group that is wrong along any direction, both here and close by, is confirmed, not cleared.
    """
    here, groups, probes, *_ = evidence
    wrong = {g for g, mine in enumerate(probes) if any(p.wrong for p in mine)}
    unconfirmed, doubtful = set(wrong), wrong | {g for g, mine in enumerate(probes) if resolution(mine) > WRONG}
    aside: dict[int, list[Probe]] = {}
    for attempt, move in enumerate((*_ASIDE, *_AFAR)):
        if attempt == len(_ASIDE):  # a wrong group must be right nearby: far away f may take another branch
            doubtful -= wrong
        if not doubtful:
            break
        there = _gradient_there(here, move, attempt, random)
        if there is None:
            continue
        for g in sorted(doubtful):
            again = probe(there, groups[g], random)
            if _clears(again, probes[g]):
                doubtful.remove(g)
                if g in wrong and _confirmed(here, groups[g], random):
                    unconfirmed.discard(g)
                else:
                    aside[g] = again
            elif _wrong_throughout(again):
                unconfirmed.discard(g)
    return evidence._replace(aside=aside, unconfirmed=unconfirmed - aside.keys())


def _clears(again: Sequence[Probe], doubted: Sequence[Probe]) -> bool:
    """Whether probes at another point end the doubt: they are right and would have seen an error as large."""
    gaps = [p.gap for p in doubted if p.wrong]
    if not gaps:
        return resolution(again) <= WRONG
    return resolution(again) <= max(gaps) and not any(p.wrong for p in again)


def _confirmed(here: LocalGradient, group: Sequence[int], random: np.random.Generator) -> bool:
    """Whether a wrong group is wrong along other directions too, here and at a point close by."""
    if not _wrong_throughout(probe(here, group, random)):
        return False
    close_by = (_gradient_there(here, move, 0, random) for move in _CLOSE_BY)
    return any(there is not None and _wrong_throughout(probe(there, group, random)) for there in close_by)


def _wrong_throughout(probes: Sequence[Probe]) -> bool:
    """Whether all random directions are wrong, or any of the single entries."""
    return (all if probes[0].entry is None else any)(p.wrong for p in probes)


def wrong_elsewhere(here: LocalGradient, random: np.random.Generator) -> bool:
    """Whether a gradient that is right here is wrong at every one of a few other points."""
    for attempt in range(_ELSEWHERE):
        there = _gradient_there(here, _FAR, attempt, random, same_noise=attempt == 0)
        if there is None or not any(p.wrong for p in probe(there, range(len(here.gradient)), random, 1)):
            return False
    return True


def _gradient_there(
    here: LocalGradient, move: tuple[float, float], seed: int, random: np.random.Generator, same_noise: bool = False
) -> LocalGradient | None:
    """Function and gradient at the parameters after a ``move``, or None beyond the function's domain.

    The parameters are displaced by a distance, in their scale and in random directions, and multiplied by a factor.
    """
    factor, distance = move
    arrays = tuple(factor * (x + distance * random_direction(namespace(x), x, random)) for x in here.flat.arrays)
    local = moved(here.local, arrays, seed, same_noise)
    return gradient_at(here.flat._replace(arrays=arrays), local, random) if math.isfinite(local.value) else None
