"""Derive the coefficients ``_ERFC`` of ``mlp_xp/ops.py``: the polynomial with which gelu computes the error function.

``Q(u) = exp(x^2) erfc(x) / t`` with ``t = (u + 1) / 2`` and ``x = 2 / t - 2`` is smooth on -1 < u <= 1, that is on
0 <= x < infinity. The interpolant of a smooth function at the Chebyshev nodes is close to the best polynomial.

    pip install mpmath && python scripts/erfc_polynomial.py
"""

from __future__ import annotations

from collections.abc import Sequence

import mpmath as mp

from mlp_xp.ops import _ERFC

DEGREE = 26


def q(u: mp.mpf) -> mp.mpf:
    """``exp(x^2) erfc(x) / t``."""
    t = (u + 1) / 2
    x = 2 / t - 2
    return mp.exp(x * x) * mp.erfc(x) / t


def interpolant(degree: int) -> list[mp.mpf]:
    """Coefficients, lowest power first, of the polynomial through ``q`` at the ``degree + 1`` Chebyshev nodes."""
    nodes = [mp.cos((2 * j + 1) * mp.pi / (2 * degree + 2)) for j in range(degree + 1)]
    # solving for powers of u loses about 10 of the 60 digits
    powers = mp.matrix([[u**k for k in range(degree + 1)] for u in nodes])
    return list(mp.lu_solve(powers, mp.matrix([q(u) for u in nodes])))


def worst_relative_error(coefficients: Sequence[mp.mpf | float], points: int = 2000) -> float:
    """The largest ``|polynomial / q - 1|`` on a grid finer than the nodes, evaluated without rounding."""
    grid = [mp.cos(j * mp.pi / points) for j in range(points)]  # u = -1 is x = infinity
    return float(max(abs(mp.polyval(coefficients[::-1], u) / q(u) - 1) for u in grid))


if __name__ == "__main__":
    with mp.workdps(60):
        exact = interpolant(DEGREE)
        rounded = [float(coefficient) for coefficient in exact]
        print(*rounded, sep=",\n")
        print(f"worst relative error: {worst_relative_error(exact):.1e}, {worst_relative_error(rounded):.1e} as floats")
    assert tuple(rounded) == _ERFC, "mlp_xp.ops has other coefficients"
    print("mlp_xp.ops has the same coefficients")
