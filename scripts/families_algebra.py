"""Linear algebra, sequences and order: factorisations, determinants, products, sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
from families_common import Drawn

Random = np.random.Generator


def matrix_factorisation(random: Random) -> Drawn:
    """``sum of mask (A B - M)^2 / 2 + l/2 (|A|^2 + |B|^2)`` over the known entries of M."""
    n, k, m = int(random.integers(2, 5)), int(random.integers(1, 4)), int(random.integers(2, 5))

    def value(xp: Any, data: Any, A: Any, B: Any) -> Any:
        M, mask = data
        return 0.5 * xp.sum(mask * (A @ B - M) ** 2) + 0.05 * (xp.sum(A**2) + xp.sum(B**2))

    def gradient(xp: Any, data: Any, A: Any, B: Any) -> Any:
        M, mask = data
        r = mask * (A @ B - M)
        return r @ xp.matrix_transpose(B) + 0.1 * A, xp.matrix_transpose(A) @ r + 0.1 * B

    params = {"A": random.normal(size=(n, k)), "B": random.normal(size=(k, m))}
    mask = np.asarray(random.random((n, m)) < 0.8, dtype=np.float64)
    return Drawn(value, gradient, params, (random.normal(size=(n, m)), mask))


def gaussian_likelihood(random: Random) -> Drawn:
    """``(log det S + y' inv(S) y) / 2`` with ``S = L L' + I``, the determinant by ``slogdet`` (GPyTorch)."""
    n = int(random.integers(2, 5))

    def value(xp: Any, data: Any, L: Any) -> Any:
        y, eye = data
        S = L @ xp.matrix_transpose(L) + eye
        return 0.5 * (xp.linalg.slogdet(S)[1] + xp.sum(y * xp.linalg.solve(S, y)))

    def gradient(xp: Any, data: Any, L: Any) -> Any:
        y, eye = data
        inverse = xp.linalg.inv(L @ xp.matrix_transpose(L) + eye)
        a = inverse @ y
        return ((inverse - a @ xp.matrix_transpose(a)) @ L,)

    return Drawn(value, gradient, {"L": random.normal(size=(n, n))}, (random.normal(size=(n, 1)), np.eye(n)))


def cumulative_product(random: Random) -> Drawn:
    """``sum_k c_k x_1 ... x_k``, the gradient without a division (torch.cumprod)."""
    n = int(random.integers(2, 6))

    def value(xp: Any, data: Any, x: Any) -> Any:
        return xp.sum(data[0] * xp.cumulative_prod(x))

    def gradient(xp: Any, data: Any, x: Any) -> Any:
        (c,) = data
        slopes = []
        for i in range(n):
            product, total = 1.0, 0.0
            for k in range(n):
                product = product * (x[k] if k != i else 1.0)
                total = total + c[k] * product if k >= i else total
            slopes.append(total)
        return (xp.stack(slopes),)

    return Drawn(value, gradient, {"x": random.normal(size=n)}, (random.normal(size=n),))


FAMILIES = (matrix_factorisation, gaussian_likelihood, cumulative_product)
