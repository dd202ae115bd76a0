"""How much of a function's value is rounding: without it, no difference quotient can be judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np  # for the host's random numbers alone

from mlp_xp._namespace import beside
from mlp_xp._typing import Array, Namespace

_POINTS = 9


def evaluation_noise(
    xp: Namespace, f: Callable[..., Any], params: Sequence[Array], value: float, epsilon: float, seed: int
) -> float:
    """The standard deviation of f's rounding error near ``params``, at least ``epsilon * |value|``.

    Takes nine equispaced points on a short line from ``params``. There a smooth function's differences of high order
    vanish, and what is left is noise: ``sigma_k^2 = (k!)^2 / (2k)! mean (D^k f)^2``.

    Args:
        f: f(*params) -> 0-d; called eight times.
        params: the point.
        value: f there.
        epsilon: of the dtype in which f computes.
        seed: of the line's direction.

    Source: Moré and Wild, Estimating computational noise, SIAM J. Sci. Comput. 33, 2011.
    """
    random = np.random.default_rng(seed)
    # the step is many units in the last place, yet its fourth power is far below epsilon
    step = epsilon ** (2 / 3)
    line = [
        step * xp.asarray(random.choice([-1.0, 1.0], p.shape), dtype=p.dtype, **beside(p))
        * xp.maximum(xp.abs(p), xp.ones_like(p))
        for p in params
    ]  # fmt: skip
    values = [value]
    for k in range(1, _POINTS):
        values.append(float(f(*(p + float(k) * d for p, d in zip(params, line, strict=True)))))
    differences = np.diff(np.asarray(values), n=3)
    levels = []
    for order in range(4, 7):
        differences = np.diff(differences)
        levels.append(math.factorial(order) ** 2 / math.factorial(2 * order) * float(np.mean(differences**2)))
    return max(math.sqrt(max(levels)), epsilon * abs(value))
