"""How much of a function's value is rounding: without it, no difference quotient can be judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np  # for the host's random numbers alone

from mlp_xp._namespace import beside
from mlp_xp._typing import Array, Namespace
from mlp_xp.gradcheck.sizes import scale_of

_POINTS = 9

# The step as powers of epsilon: many units in the last place, yet its fourth power is far below epsilon. Where nine
# values do not differ at all they lie on one stair of a function that was rounded on the way: a wider step is taken.
_POWERS = (2 / 3, 1 / 2, 1 / 3)


def evaluation_noise(
    xp: Namespace, f: Callable[..., float], params: Sequence[Array], value: float, epsilon: float, seed: int
) -> float:
    """The standard deviation of f's rounding error near ``params``, at least ``epsilon * |value|``.

    Where f does not change at all, it is ``|value|``: all of it may be one stair of something that rounds on the way.

    Takes nine equispaced points on a short line from ``params``. There a smooth function's differences of high order
    vanish, and what is left is noise: ``sigma_k^2 = (k!)^2 / (2k)! mean (D^k f)^2``.

    Args:
        f: f(*params) -> float; called eight times, or sixteen or more where it is flat.
        params: the point.
        value: f there.
        epsilon: of the dtype in which f computes.
        seed: of the line's direction.

    Source: Moré and Wild, Estimating computational noise, SIAM J. Sci. Comput. 33, 2011.
    """
    random = np.random.default_rng(seed)
    signs = [xp.asarray(random.choice([-1.0, 1.0], p.shape), dtype=p.dtype, **beside(p)) for p in params]
    line = [
        sign * xp.maximum(xp.abs(p), scale_of(xp, p) * xp.ones_like(p)) for sign, p in zip(signs, params, strict=True)
    ]
    for power in _POWERS:
        step = epsilon**power
        values = [value]
        for k in range(1, _POINTS):
            values.append(f(*(p + (k * step) * d for p, d in zip(params, line, strict=True))))
        deviation = _deviation(np.asarray(values))
        if deviation:
            return max(deviation, epsilon * abs(value))
    return abs(value)


def _deviation(values: np.ndarray) -> float:
    size = float(np.max(np.abs(values)))  # divided out: squares of values of 1e200 or 1e-200 are no numbers
    if not 0.0 < size < math.inf:
        return size
    differences = np.diff(values / size, n=3)
    levels = []
    for order in range(4, 7):
        differences = np.diff(differences)
        levels.append(math.factorial(order) ** 2 / math.factorial(2 * order) * float(np.mean(differences**2)))
    return size * math.sqrt(max(levels))
