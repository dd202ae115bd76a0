"""The two-sided difference quotient, for any array and without touching the caller's.

Next: ``check`` compares it with a gradient worked out by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, cast

from mlp_xp._namespace import beside, constant, is_floating, namespace
from mlp_xp._typing import Array, Namespace

# Perturbed copies in one vectorised call: at most this many bytes of them, and not so many that what the function
# computes from each copy outgrows memory.
_CHUNK_BYTES = 2**24
_CHUNK_COPIES = 64


def numerical_grad(f: Callable[[Any], Any], x: Array, eps: float | None = None, vectorized: bool = False) -> Array:
    """``(f(x + h e_i) - f(x - h e_i)) / 2h`` for every entry i of ``x``: an array of the shape and dtype of ``x``.

    Divides by the step actually taken, ``(x + h) - (x - h)`` as rounded, and changes nothing in place.

    Args:
        f: a function of one array, f(x) -> 0-d.
        x: where to differentiate, real floating, any shape.
        eps: the step h, for every entry; by default ``default_step``.
        vectorized: whether f also takes (k, *x.shape) and returns (k,); then many perturbations go into one call, in
            chunks bounded by memory.

    Returns:
        The difference quotients. Their error is about ``h^2 |f'''| / 6 + epsilon |f| / h``.

    Raises:
        ValueError: where f does not return one number per point, or eps is not positive.
        TypeError: where x is not real floating.
    """
    xp = namespace(x)
    if not is_floating(xp, x.dtype):
        raise TypeError(f"x must be real floating, got {x.dtype}")
    if eps is None:
        step = default_step(xp, x)
    elif isinstance(eps, Real) and 0.0 < eps < math.inf:
        step = constant(xp, float(eps), x)
    else:
        raise ValueError(f"eps must be a positive number, got {eps!r}")
    size = math.prod(x.shape)
    if size == 0:
        return xp.zeros_like(x)
    return xp.reshape(difference_quotients(xp, f, x, step, range(size), vectorized), x.shape)


def default_step(xp: Namespace, x: Array) -> Array:
    """``epsilon^(1/3) max(1, |x|)``: it balances truncation, h^2, against rounding, epsilon / h, for f and x near 1.

    Source: Press et al., Numerical Recipes, 3rd ed., section 5.7.
    """
    return math.cbrt(xp.finfo(x.dtype).eps) * xp.maximum(xp.abs(x), xp.ones_like(x))


def difference_quotients(
    xp: Namespace,
    f: Callable[[Any], Any],
    x: Array,
    step: Array,
    positions: Sequence[int],
    vectorized: bool,
    value: float | None = None,
) -> Array:
    """The two-sided differences of f in the entries of ``x`` at the flat ``positions``: (len(positions),).

    Given ``value``, f(x), they are one-sided, at half the price.
    """
    # `where` along a mask perturbs one entry of an immutable array
    above, below = x + step, (x - step if value is None else x)
    width = xp.reshape(above - below, (-1,))
    flat = xp.reshape(xp.arange(math.prod(x.shape), dtype=xp.int32, **beside(x)), x.shape)
    if vectorized:
        itemsize = xp.finfo(x.dtype).bits // 8
        copies = max(1, min(_CHUNK_COPIES, _CHUNK_BYTES // (itemsize * math.prod(x.shape))))
    else:
        copies = 1
    quotients = []
    for start in range(0, len(positions), copies):
        chunk = xp.asarray(list(positions[start : start + copies]), dtype=xp.int32, **beside(x))
        if vectorized:
            here = flat == xp.reshape(chunk, (-1,) + (1,) * x.ndim)
            shape: tuple[int, ...] = chunk.shape
        else:
            here, shape = flat == chunk[0], ()
        up = _values(xp, f, xp.where(here, above, x), shape)
        down = _values(xp, f, xp.where(here, below, x), shape) if value is None else value
        quotients.append(xp.reshape(up - down, (-1,)) / xp.take(width, chunk, axis=0))
    return xp.concat(quotients)


def _values(xp: Namespace, f: Callable[[Any], Any], x: Array, shape: tuple[int, ...]) -> Array:
    value = f(x)
    if not hasattr(value, "shape"):  # a Python number
        value = constant(xp, value, x)
    if tuple(value.shape) != shape:
        expected = f"shape {shape}, one value for each point," if shape else "one number, shape (),"
        raise ValueError(f"f must return {expected} got shape {tuple(value.shape)}")
    if not is_floating(xp, value.dtype):
        raise TypeError(f"f must return a real floating value, got {value.dtype}")
    return cast(Array, value)
