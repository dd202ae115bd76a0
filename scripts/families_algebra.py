"""Linear algebra, sequences and order: factorisations, determinants, products, sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
from families_common import Drawn, log_sum_exp, softmax

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


def cholesky_likelihood(random: Random) -> Drawn:
    """``sum log diag(C) + |inv(C) y|^2 / 2`` with C the Cholesky factor of S: the gradient with respect to S."""
    n = int(random.integers(2, 5))
    root = random.normal(size=(n, n))

    def value(xp: Any, data: Any, S: Any) -> Any:
        y, eye = data
        C = xp.linalg.cholesky(0.5 * (S + xp.matrix_transpose(S)))
        return xp.sum(xp.log(xp.sum(eye * C, axis=1))) + 0.5 * xp.sum(xp.linalg.solve(C, y) ** 2)

    def gradient(xp: Any, data: Any, S: Any) -> Any:
        y, _ = data
        inverse = xp.linalg.inv(0.5 * (S + xp.matrix_transpose(S)))
        a = inverse @ y
        g = 0.5 * (inverse - a @ xp.matrix_transpose(a))
        return (0.5 * (g + xp.matrix_transpose(g)),)

    return Drawn(value, gradient, {"S": root @ root.T + np.eye(n)}, (random.normal(size=(n, 1)), np.eye(n)))


def kernel_ridge(random: Random) -> Drawn:
    """``y' inv(K + I) y`` with ``K_ij = s exp(-(x_i - x_j)^2 / l)``: logarithms of l and s (scikit-learn)."""
    n = int(random.integers(3, 6))

    def kernel(xp: Any, distances: Any, log_l: Any, log_s: Any) -> Any:
        return xp.exp(log_s - distances * xp.exp(-log_l))

    def value(xp: Any, data: Any, log_l: Any, log_s: Any) -> Any:
        y, distances, eye = data
        return xp.sum(y * xp.linalg.solve(kernel(xp, distances, log_l, log_s) + eye, y))

    def gradient(xp: Any, data: Any, log_l: Any, log_s: Any) -> Any:
        y, distances, eye = data
        K = kernel(xp, distances, log_l, log_s)
        a = xp.linalg.solve(K + eye, y)
        dK = -(a @ xp.matrix_transpose(a)) * K
        return xp.sum(dK * distances, keepdims=True)[0] * xp.exp(-log_l), xp.sum(dK, keepdims=True)[0]

    x = random.normal(size=n)
    data = random.normal(size=(n, 1)), (x[:, None] - x) ** 2, np.eye(n)
    return Drawn(value, gradient, {"log_l": random.normal(size=1), "log_s": random.normal(size=1)}, data)


def rayleigh_quotient(random: Random) -> Drawn:
    """``x' A x / x' x`` with A symmetric: what principal components make largest."""
    n = int(random.integers(2, 6))
    A = random.normal(size=(n, n))

    def value(xp: Any, data: Any, x: Any) -> Any:
        return xp.sum(x * (data[0] @ x)) / xp.sum(x**2)

    def gradient(xp: Any, data: Any, x: Any) -> Any:
        Ax, length = data[0] @ x, xp.sum(x**2)
        return (2.0 / length * (Ax - xp.sum(x * Ax) / length * x),)

    return Drawn(value, gradient, {"x": random.normal(size=n)}, (A + A.T,))


def power_iteration(random: Random) -> Drawn:
    """``|W v| / |v|`` after two fixed steps ``v <- W' W v``: an estimate of the largest singular value."""
    n, m = int(random.integers(2, 5)), int(random.integers(2, 5))

    def value(xp: Any, data: Any, W: Any) -> Any:
        v = data[0]
        for _ in range(2):
            v = xp.matrix_transpose(W) @ (W @ v)
        return 0.5 * xp.log(xp.sum((W @ v) ** 2) / xp.sum(v**2))

    def gradient(xp: Any, data: Any, W: Any) -> Any:
        Wt = xp.matrix_transpose(W)
        v = [data[0]]
        for _ in range(2):
            v.append(Wt @ (W @ v[-1]))
        u = W @ v[-1]
        du = u / xp.sum(u**2)
        dW = du @ xp.matrix_transpose(v[-1])
        dv = Wt @ du - v[-1] / xp.sum(v[-1] ** 2)
        for before in (v[1], v[0]):
            dW = dW + (W @ before) @ xp.matrix_transpose(dv) + (W @ dv) @ xp.matrix_transpose(before)
            dv = Wt @ (W @ dv)
        return (dW,)

    return Drawn(value, gradient, {"W": random.normal(size=(n, m))}, (random.normal(size=(m, 1)),))


def sinkhorn(random: Random) -> Drawn:
    """``<P, C>`` with P from two rounds of scaling ``exp(-C)``, as a function of the potentials' start and C."""
    n, m = int(random.integers(2, 4)), int(random.integers(2, 4))

    def value(xp: Any, data: Any, C: Any) -> Any:
        a, b, c = data
        K = xp.exp(-C)
        v = 1.0 / (xp.matrix_transpose(K) @ (a / xp.sum(K, axis=1))) * b
        return xp.sum(c * (a / (K @ v))[:, None] * K * v[None, :])

    def gradient(xp: Any, data: Any, C: Any) -> Any:
        a, b, c = data
        K = xp.exp(-C)
        rows = xp.sum(K, axis=1)
        u0 = a / rows
        s = xp.matrix_transpose(K) @ u0
        v = b / s
        t = K @ v
        u = a / t
        dK = c * u[:, None] * v[None, :]
        du, dv = xp.sum(c * K * v[None, :], axis=1), xp.sum(c * K * u[:, None], axis=0)
        dt = -du * u / t
        dK, dv = dK + dt[:, None] * v[None, :], dv + xp.matrix_transpose(K) @ dt
        ds = -dv * v / s
        dK, du0 = dK + u0[:, None] * ds[None, :], K @ ds
        dK = dK + (-du0 * u0 / rows)[:, None]
        return (-dK * K,)

    data = random.dirichlet(np.ones(n) * 5), random.dirichlet(np.ones(m) * 5), random.normal(size=(n, m))
    return Drawn(value, gradient, {"C": random.normal(size=(n, m))}, data)


def product(random: Random) -> Drawn:
    """``prod x``, the gradient by the products of all others (torch.prod)."""
    n = int(random.integers(2, 6))

    def value(xp: Any, data: Any, x: Any) -> Any:
        return data[0] * xp.prod(x)

    def gradient(xp: Any, data: Any, x: Any) -> Any:
        (c,) = data
        others = [xp.prod(xp.concat((x[:i], x[i + 1 :]))) for i in range(n)]
        return (c * xp.stack(others),)

    return Drawn(value, gradient, {"x": random.normal(size=n)}, (random.normal(),))


def weighted_order(random: Random) -> Drawn:
    """``sum_k c_k x_(k)`` of the sorted values squared, as in L-moments and the expected shortfall."""
    n = int(random.integers(2, 8))

    def value(xp: Any, data: Any, x: Any) -> Any:
        return xp.sum(data[0] * xp.sort(x) ** 2)

    def gradient(xp: Any, data: Any, x: Any) -> Any:
        (c,) = data
        order = xp.argsort(x)
        return (xp.take(c * 2.0 * xp.take(x, order), xp.argsort(order)),)

    return Drawn(value, gradient, {"x": random.normal(size=n)}, (random.normal(size=n),))


def median(random: Random) -> Drawn:
    """The mean of the two middle ones of an even number of values, squared."""
    n = 2 * int(random.integers(1, 5))
    middle = np.zeros(n)
    middle[n // 2 - 1 : n // 2 + 1] = 0.5

    def value(xp: Any, data: Any, x: Any) -> Any:
        return xp.sum(data[0] * xp.sort(x)) ** 2

    def gradient(xp: Any, data: Any, x: Any) -> Any:
        (middle,) = data
        m = xp.sum(middle * xp.sort(x))
        return (2.0 * m * xp.take(middle, xp.argsort(xp.argsort(x))),)

    return Drawn(value, gradient, {"x": random.normal(size=n)}, (middle,))


def circular_convolution(random: Random) -> Drawn:
    """``sum_k c_k (sum_j x_j y_(k - j))^2``: a circulant matrix of rolled copies."""
    n = int(random.integers(2, 6))

    def convolved(xp: Any, x: Any, y: Any) -> Any:
        return sum(x[j] * xp.roll(y, j) for j in range(n))

    def value(xp: Any, data: Any, x: Any, y: Any) -> Any:
        return xp.sum(data[0] * convolved(xp, x, y) ** 2)

    def gradient(xp: Any, data: Any, x: Any, y: Any) -> Any:
        dz = 2.0 * data[0] * convolved(xp, x, y)
        dx = xp.stack([xp.sum(dz * xp.roll(y, j)) for j in range(n)])
        return dx, sum(x[j] * xp.roll(dz, -j) for j in range(n))

    params = {"x": random.normal(size=n), "y": random.normal(size=n)}
    return Drawn(value, gradient, params, (random.normal(size=n),))


def norm(random: Random) -> Drawn:
    """``|X - M|``: the Frobenius norm of a difference."""
    shape = tuple(int(k) for k in random.integers(1, 5, 2))

    def value(xp: Any, data: Any, X: Any) -> Any:
        return xp.sqrt(xp.sum((X - data[0]) ** 2))

    def gradient(xp: Any, data: Any, X: Any) -> Any:
        r = X - data[0]
        return (r / xp.sqrt(xp.sum(r**2)),)

    return Drawn(value, gradient, {"X": random.normal(size=shape)}, (random.normal(size=shape),))


def free_energy(random: Random) -> Drawn:
    """``T log sum exp(-E / T)`` with the temperature a parameter, too."""
    n = int(random.integers(2, 7))

    def value(xp: Any, data: Any, E: Any, T: Any) -> Any:
        return xp.sum(data[0] * T * log_sum_exp(xp, -E / T))

    def gradient(xp: Any, data: Any, E: Any, T: Any) -> Any:
        (c,) = data
        p = softmax(xp, -E / T)
        return -c * p, c * (log_sum_exp(xp, -E / T) + xp.sum(p * E, keepdims=True) / T)

    params = {"E": random.normal(size=n), "T": random.uniform(0.5, 2.0, 1)}
    return Drawn(value, gradient, params, (random.normal(size=1),))


FAMILIES = (
    matrix_factorisation,
    gaussian_likelihood,
    cholesky_likelihood,
    kernel_ridge,
    rayleigh_quotient,
    power_iteration,
    sinkhorn,
    cumulative_product,
    product,
    weighted_order,
    median,
    circular_convolution,
    norm,
    free_energy,
)
