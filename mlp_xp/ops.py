"""Differentiable operations: ``op(*arrays) -> (value, pullback)``, each derivative worked out by hand.

A *rule* is an op whose namespace is already known, ``rule(xp, *arrays)``: the network looks the namespace up once and
calls rules; the functions of the same name in this module are their public faces.

Next: ``losses`` puts a number on the output, ``mlp`` strings ops together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from mlp_xp._lib.namespace import namespace, scalar_like
from mlp_xp._lib.typing import Array, Namespace, Op, Pullback

Rule: TypeAlias = Callable[..., tuple[Array, Pullback]]
"""``rule(xp, *arrays) -> (value, pullback)``."""

Slope: TypeAlias = Callable[[], Array | float]
"""The derivative of an elementwise function where it was evaluated, computed when asked for."""


def public(rule: Rule) -> Op:
    """The op of a rule: the same function with the namespace looked up from its arrays."""

    def op(*arrays: Array) -> tuple[Array, Pullback]:
        return rule(namespace(*arrays), *arrays)

    op.__name__ = op.__qualname__ = rule.__name__.removeprefix("_").removesuffix("_rule")
    op.__doc__ = rule.__doc__
    op.__module__ = rule.__module__
    vars(op)["rule"] = rule  # by which the network knows its own
    return op


# --- the affine map ----------------------------------------------------------------------------------------------


def affine_rule(
    xp: Namespace, x: Array, weight: Array, bias: Array, ones: Array | None = None
) -> tuple[Array, Pullback]:
    """``x @ weight + bias``: (n, p), (p, q), (q,) -> (n, q).

    ``ones`` (n,), where a caller has it, sums over the batch by a product, which takes half the time of a reduction.
    """

    def pullback(dy: Array) -> tuple[Array, Array, Array]:
        # weight: (input).T @ (gradient of the output); bias: it was broadcast over the batch, so sum it back
        dbias = xp.sum(dy, axis=-2) if ones is None else ones @ dy
        return dy @ xp.matrix_transpose(weight), xp.matrix_transpose(x) @ dy, dbias

    return x @ weight + bias[..., None, :], pullback


def constant_input_affine_rule(
    xp: Namespace, x: Array, weight: Array, bias: Array, ones: Array
) -> tuple[Array, Pullback]:
    """``x @ weight + bias`` as a function of ``(weight, bias)`` alone: a first layer, where nobody asks for ``dx``."""

    def pullback(dy: Array) -> tuple[Array, Array]:
        return xp.matrix_transpose(x) @ dy, ones @ dy

    return x @ weight + bias[..., None, :], pullback


affine = public(affine_rule)


# --- activations: a table of (value, slope) ----------------------------------------------------------------------

ACTIVATIONS: dict[str, Rule] = {}
"""Name -> rule of every activation."""


def _elementwise(function: Callable[[Namespace, Array], tuple[Array, Slope]]) -> Op:
    """Make ``(xp, z) -> (value, slope)`` an op, ``dz = dy * slope``, and enter its rule in the table by its name."""

    def rule(xp: Namespace, z: Array) -> tuple[Array, Pullback]:
        value, slope = function(xp, z)
        return value, lambda dy: (dy * slope(),)

    rule.__name__ = function.__name__
    rule.__doc__ = function.__doc__
    ACTIVATIONS[function.__name__] = rule
    return public(rule)


def logistic(xp: Namespace, z: Array) -> Array:
    """``1 / (1 + exp(-z))``, elementwise, without overflow."""
    # Below -log(finfo.max) the true value is subnormal or zero; holding z there keeps exp finite and errs by less than
    # the smallest normal number.
    lowest = -math.floor(math.log(float(xp.finfo(z.dtype).max)))
    return 1.0 / (1.0 + xp.exp(-xp.maximum(z, scalar_like(xp, lowest, z))))


def _positive(xp: Namespace, z: Array) -> Array:
    """1 where z > 0, else 0. A product with it is several times faster than ``where`` and safe under autodiff at 0."""
    return xp.astype(z > 0, z.dtype)


@_elementwise
def identity(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``z``."""
    return z, lambda: 1.0


@_elementwise
def sigmoid(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``1 / (1 + exp(-z))``."""
    a = logistic(xp, z)
    return a, lambda: a * (1.0 - a)  # keep a, not z


@_elementwise
def tanh(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``tanh z``."""
    a = xp.tanh(z)
    return a, lambda: (1.0 - a) * (1.0 + a)  # 1 - a^2 without its cancellation near |a| = 1


@_elementwise
def relu(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``max(z, 0)``; the subgradient at 0 is 0."""
    positive = _positive(xp, z)
    return z * positive, lambda: positive


@_elementwise
def leaky_relu(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``z`` where positive, else ``0.01 z``; the subgradient at 0 is 0.01."""
    slope = 0.01 + 0.99 * _positive(xp, z)
    return z * slope, lambda: slope


@_elementwise
def elu(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``z`` where positive, else ``exp(z) - 1`` (Clevert, Unterthiner and Hochreiter 2016)."""
    above = z * _positive(xp, z)
    below = z - above
    return above + xp.expm1(below), lambda: xp.exp(below)  # exp(0) = 1 where z > 0


@_elementwise
def silu(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``z * sigmoid(z)`` (Elfwing, Uchibe and Doya 2018)."""
    s = logistic(xp, z)
    return z * s, lambda: s * (1.0 + z * (1.0 - s))


def log1p_exp(xp: Namespace, z: Array) -> tuple[Array, Array]:
    """``(max(z, 0), log(1 + exp(-|z|)))``, whose sum is ``log(1 + exp z)``."""
    above = z * _positive(xp, z)
    return above, xp.log1p(xp.exp(z - 2.0 * above))  # z - 2 max(z, 0) = -|z|, with the right derivative at 0


@_elementwise
def softplus(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``log(1 + exp z)``."""
    above, rest = log1p_exp(xp, z)
    return above + rest, lambda: logistic(xp, z)


# exp(x^2) erfc(x) / t as a polynomial in 2t - 1, t = 2 / (2 + x), x >= 0: the Chebyshev interpolant of degree 26,
# within 1e-16 of the function everywhere. scripts/erfc_polynomial.py derives it.
_ERFC = (
    0.5107913526210115, 0.3435803422069051, 0.13973604627802735, 0.018221115753461418, -0.010755330944743213,
    -0.003239592534655014, 0.001545306029656217, 0.00041864804431780765, -0.000331536754536941,
    -1.7185840159673632e-05, 7.223539810023321e-05, -1.707374027362626e-05, -1.0848266170054718e-05,
    8.05774418734809e-06, -5.622017389294364e-07, -1.8147502308396875e-06, 9.99681059790912e-07,
    -1.4173148256804559e-08, -2.838403336958219e-07, 1.7908279015125605e-07, -3.2879636227603558e-09,
    -6.991599125811103e-08, 2.999579690914985e-08, 1.330982841170542e-08, -1.0077813696987433e-08,
    -1.0739706490607777e-09, 1.2565872268596197e-09,
)  # fmt: skip


@_elementwise
def gelu(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``z * Phi(z)``, Phi the standard normal distribution function, exact (Hendrycks and Gimpel 2016).

    The standard has no ``erf``: ``Phi(-|z|) = erfc(|z| / sqrt 2) / 2`` comes from one polynomial.
    """
    positive = _positive(xp, z)
    sign = 2.0 * positive - 1.0
    t = 2.0 / (2.0 + math.sqrt(0.5) * (z * sign))
    bell = xp.exp(-0.5 * (z * z))
    u = 2.0 * t - 1.0
    q = _ERFC[-1] * u + _ERFC[-2]
    for coefficient in _ERFC[-3::-1]:
        q = q * u + coefficient
    phi = positive - sign * (0.5 * t * bell * q)  # 1 - tail where z > 0, else the tail
    return z * phi, lambda: phi + z * bell * (1.0 / math.sqrt(2.0 * math.pi))
