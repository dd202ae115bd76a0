"""What a wrong gradient looks like, in words, as far as its numbers alone can tell."""

from __future__ import annotations

import math

from mlp_xp._typing import Array, Namespace

# How closely a pattern must explain the gradient: well above the noise of a difference, well below a coincidence.
_CLOSE = 1e-3


def diagnose(xp: Namespace, analytic: Array, numeric: Array, wrong: int) -> str:
    """The pattern that ``analytic`` shows beside ``numeric``: both in the shape of the parameter, or flat samples.

    Args:
        analytic, numeric: the two gradients.
        wrong: in how many entries they differ beyond the noise.
    """
    true_square = float(xp.sum(numeric * numeric))
    if float(xp.sum(analytic * analytic)) == 0.0:
        return "the gradient is zero everywhere"
    if true_square > 0.0:
        factor = float(xp.sum(analytic * numeric)) / true_square
        if _explains(xp, factor * numeric, analytic):
            return (
                "the sign is wrong"
                if abs(factor + 1.0) < _CLOSE
                else f"the gradient is {factor:.6g} times the true one"
            )
        square = numeric.ndim == 2 and numeric.shape[0] == numeric.shape[1]
        if square and _explains(xp, xp.matrix_transpose(numeric), analytic):
            return "the gradient is transposed"
    return f"{wrong:,} of {math.prod(numeric.shape):,} entries are wrong, in no simple pattern"


def _explains(xp: Namespace, pattern: Array, analytic: Array) -> bool:
    rest = analytic - pattern
    return float(xp.sum(rest * rest)) <= _CLOSE**2 * float(xp.sum(analytic * analytic))
