"""More evidence where the first leaves a doubt: along more directions, and at other points.

A real bug fails everywhere, a kink only here; and where rounding hides a gradient, another point may show it.

Before: ``judge`` says which evidence could still change a verdict. Next: ``entries``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np  # on the host alone: random numbers

from mlp_xp._lib.namespace import namespace
from mlp_xp.gradcheck.arrays import distance, random_direction
from mlp_xp.gradcheck.evidence import MORE_DIRECTIONS, Evidence, LocalGradient, asked, gradient_at, probe
from mlp_xp.gradcheck.judge import FAR, contradicted, wanted
from mlp_xp.gradcheck.kinks import of_several, one_sided
from mlp_xp.gradcheck.local import moved


class _Move(NamedTuple):
    """The parameters are displaced by a distance, in their scales and in random directions, and scaled by a factor."""

    factor: float
    distance: float


# Points nearby have other kinks and the same bugs.
_NEARBY = (_Move(1.0, 0.03), _Move(1.0, 0.03), _Move(1.0, 0.1))

# Rounding hides a gradient where units are saturated, or where it vanishes on its way through small weights. The same
# formula can be judged at points where neither is so.
_AWAY = (_Move(0.25, 0.2), _Move(4.0, 0.2), _Move(0.06, 0.2), _Move(16.0, 0.2))

# At these distances a mistake is still on the same side of most kinks.
_CLOSE = (_Move(1.0, 1e-3), _Move(1.0, 1e-4))

# One-sided slopes are taken along so many entries of all arrays together.
_COORDINATES = 16

# How far to move so that a gradient that is right at params alone is wrong.
_FAR = _Move(1.0, 0.1)


def look_further(evidence: Evidence, random: np.random.Generator) -> Evidence:
    """``evidence`` with all that ``wanted`` asks for."""
    here, groups = evidence.here, evidence.groups
    found, room = list(evidence.found), _COORDINATES
    for leaf, findings in enumerate(found[:-1]):
        if any(probe.tied for probe in findings.here):
            sides = one_sided(here, leaf, random, room)
            room -= min(room, len(sides))
            found[leaf] = findings._replace(sides=sides)
    sided = {leaf: findings.sides for leaf, findings in enumerate(found[:-1])}
    found[-1] = found[-1]._replace(sides=of_several(here, sided, random))
    for g, findings in enumerate(found):
        if wanted(findings) == "more":
            found[g] = findings._replace(more=probe(here, groups[g], random, MORE_DIRECTIONS))
    for attempt, move in enumerate((*_NEARBY, *_AWAY)):
        doubtful = [g for g, findings in enumerate(found) if wanted(findings) == "elsewhere"]
        if not doubtful:
            break
        there = _gradient_there(here, move, attempt, random)
        for g in doubtful:  # a point where f or grad is not defined tells nothing
            again = probe(there, groups[g], random) if there else ()
            found[g] = found[g]._replace(elsewhere=(*found[g].elsewhere, again))
    doubtful = [g for g, findings in enumerate(found) if wanted(findings) == "close"]
    points = [_gradient_there(here, move, 0, random) for move in _CLOSE] if doubtful else []
    for g in doubtful:
        close = tuple(probe(there, groups[g], random) for there in points if there)
        found[g] = found[g]._replace(close=close or ((),))
    return evidence._replace(found=tuple(found))


def look_far(evidence: Evidence, random: np.random.Generator) -> Evidence:
    """``evidence`` with probes at other points, until one shows a gradient that is right there."""
    here, far, frozen = evidence.here, [], True
    for attempt in range(FAR):
        there = _gradient_there(here, _FAR, attempt, random, same_noise=attempt == 0)
        if there is None:
            return evidence
        far.append(probe(there, evidence.groups[-1], random, 1))
        frozen = frozen and distance(here.local.xp, there.gradient, here.gradient) == 0.0
        if not contradicted(far[-1], 1):
            break
    return evidence._replace(far=tuple(far), frozen=frozen)


def _gradient_there(
    here: LocalGradient, move: _Move, seed: int, random: np.random.Generator, same_noise: bool = False
) -> LocalGradient | None:
    """Function and gradient at the parameters after a ``move``, or None where one of them is not defined."""
    arrays = tuple(
        move.factor * (x + move.distance * random_direction(namespace(x), x, random)) for x in here.flat.arrays
    )
    local = moved(here.local, arrays, seed, same_noise)
    flat = here.flat._replace(arrays=arrays)
    own = asked(flat, local, arrays) if math.isfinite(local.value) else None
    return None if own is None else gradient_at(flat, local, own, random)
