"""Situations in which gradient checkers are fooled, for every family of functions, with right and wrong gradients.

    case = build_case(Request("huber", "one entry's units", "float64", False, 0))
    report = mlp_xp.gradcheck(case.f, case.grad, case.params, case.names)

A situation takes a right problem of ``gradient_families`` and changes the point, the units, the precision or the
domain; for a wrong case it damages the gradient, visibly in the dtype in question. All numbers follow from the request.

Next: ``gradcheck_situations`` shows the cases to this project's checker and to others.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import families_models
import numpy as np
import situations_points as points
import situations_precision as precision
import situations_pullbacks as pullbacks
from gradient_cases import Case, Request
from gradient_families import FAMILIES


class Situation(NamedTuple):
    """How cases are made, make(random, family, dtype, right), in which dtypes and for which families."""

    make: Callable[..., Case | None]
    dtypes: tuple[str, ...]
    families: tuple[str, ...] = tuple(FAMILIES)


CURVES = tuple(family.__name__ for family in families_models.FAMILIES)
UNITLESS = tuple(name for name in FAMILIES if name not in CURVES)  # all parameters are about 1
BOTH = ("float64", "float32")
SITUATIONS: dict[str, Situation] = {
    "damaged": Situation(points.damaged, BOTH),
    "wrong here": Situation(points.wrong_here, BOTH, UNITLESS),
    "wrong elsewhere": Situation(points.wrong_elsewhere, BOTH, UNITLESS),
    "each entry's units": Situation(points.units("each entry"), BOTH, UNITLESS),
    "one entry's units": Situation(points.units("one entry"), BOTH, UNITLESS),
    "each array's units": Situation(points.units("each array"), BOTH, UNITLESS),
    "natural units": Situation(points.natural_units, BOTH, CURVES),
    "small entries": Situation(points.small_entries, BOTH, UNITLESS),
    "domain": Situation(points.domain, BOTH),
    "zero gradient": Situation(points.zero, BOTH),
    "straight through": Situation(points.flat, BOTH, UNITLESS),
    "float32 data": Situation(precision.closure, ("float32",)),
    "float32 only": Situation(precision.only, ("float32",)),
    "float32 branch": Situation(precision.branch, ("float32",)),
    "stairs": Situation(precision.stairs, ("float64",)),
    "low precision": Situation(precision.low, ("bfloat16", "float16"), UNITLESS),
    "raw memory": Situation(pullbacks.pullback, BOTH),
}


def build_case(request: Request) -> Case | None:
    """The case of a request; None where the situation makes no sense for the family, such as a zero in a logarithm."""
    named = f"{request.family}/{request.situation}/{request.dtype}/{request.right}"
    random = np.random.default_rng([request.seed, zlib.crc32(named.encode())])
    make = SITUATIONS[request.situation].make
    with np.errstate(all="ignore"):
        for _ in range(10):
            try:
                case = make(random, request.family, request.dtype, request.right)
            except (np.linalg.LinAlgError, RuntimeError):
                # no such point: a matrix of zeros has no inverse, and torch has no inverse in bfloat16
                continue
            if case is not None:
                return case
    return None


def requests(
    seeds: range, situations: Sequence[str] = (), families: Sequence[str] = (), rights: Sequence[bool] = (False, True)
) -> list[Request]:
    """One request for each seed, situation, dtype and truth; the families of a situation take turns."""
    asked = []
    for seed in seeds:
        for k, (name, situation) in enumerate(SITUATIONS.items()):
            chosen = [family for family in situation.families if not families or family in families]
            if chosen and (not situations or name in situations):
                family = chosen[(seed + 7 * k) % len(chosen)]
                asked += [Request(family, name, dtype, right, seed) for dtype in situation.dtypes for right in rights]
    return asked
