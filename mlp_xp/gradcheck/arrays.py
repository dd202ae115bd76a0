"""Small questions about arrays of any library: sizes, copies, single entries, host numbers as arrays.

Next: every other file of the checker uses these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np  # on the host alone: host numbers

from mlp_xp._lib.namespace import device_kwargs, in_library_of, namespace
from mlp_xp._lib.typing import Array, Namespace


def largest(xp: Namespace, *arrays: Array) -> float:
    """``max |x|`` over all ``arrays``; 0 where they hold nothing."""
    return max((float(xp.max(xp.abs(x))) for x in arrays if 0 not in x.shape), default=0.0)


def distance(xp: Namespace, a: Sequence[Array], b: Sequence[Array]) -> float:
    """``max |a - b|`` over all pairs of arrays."""
    return largest(xp, *(p - q for p, q in zip(a, b, strict=True)))


def norm(xp: Namespace, x: Array) -> float:
    """``sqrt(sum x^2)``."""
    if not math.prod(x.shape):
        return 0.0
    unit, squares = _scaled_squares(xp, x)
    return float(unit) * math.sqrt(float(squares))


def scale_of(xp: Namespace, x: Array) -> Array:
    """The root mean square of ``x``, 0-d; 1 where that is 0."""
    size = math.prod(x.shape)
    if not size:
        return xp.sum(xp.ones_like(x)) + 1.0
    unit, squares = _scaled_squares(xp, x)
    mean = xp.sqrt(squares / size)
    return xp.where(mean > 0.0, unit * mean, xp.ones_like(mean))


# Magnitudes in one array spread over orders if their logarithms have a larger standard deviation than this, or the
# largest is so far above their mean: entries drawn from a normal distribution have 1.1, and 2.1 of 25,000.
_SPREAD, _OUTLYING = 3.0, math.log(1e3)

# Of an array with more entries than the first the spread is that of so many; if at least the second are no zeros.
_MANY, _ENOUGH = 2_000, 500


def scales_of(xp: Namespace, x: Array) -> Array:
    """The scale of each entry of ``x``: that of the array, 0-d, or where magnitudes spread over orders the entry's own.

    Such an array holds numbers of several units. A zero among them has their geometric mean.
    """
    if math.prod(x.shape) < 2:
        return scale_of(xp, x)
    mean, deviation = _logarithms(xp, x)
    outlying = math.log(m) - mean if (m := largest(xp, x)) > 0.0 else 0.0
    if not (deviation > _SPREAD or outlying > _OUTLYING):
        return scale_of(xp, x)
    size = xp.abs(x)
    return xp.where(size > 0.0, size, math.exp(mean) * xp.ones_like(x))


def _logarithms(xp: Namespace, x: Array) -> tuple[float, float]:
    """The mean of ``log |x|``, zeros left out, and its standard deviation; of some entries if there are many."""
    few = _some(xp, x)
    if few.shape != x.shape and how_many(xp, xp.abs(few) > 0.0) < _ENOUGH:
        few = x
    size = xp.abs(few)
    there = xp.astype(size > 0.0, x.dtype)
    logarithms = there * xp.log(xp.where(size > 0.0, size, xp.ones_like(size)))
    count = max(float(xp.sum(there)), 1.0)
    mean = float(xp.sum(logarithms)) / count
    aside = there * (logarithms - mean)
    return mean, math.sqrt(float(xp.sum(aside * aside)) / count)


def _some(xp: Namespace, x: Array) -> Array:
    """``x``; of an array with many entries some of all rows and columns, as far apart, flat."""
    step = math.prod(x.shape) // _MANY
    if step < 2:
        return x
    while math.gcd(step, x.shape[-1]) > 1:  # else some columns would never be among them
        step += 1
    return xp.reshape(x, (-1,))[::step]


def sizes_of(xp: Namespace, x: Array) -> Array:
    """The size of each entry of ``x``, but no less than its scale."""
    return xp.maximum(xp.abs(x), scales_of(xp, x) * xp.ones_like(x))


def _scaled_squares(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """``m = max |x|``, 1 where that is 0, and ``sum (x / m)^2``: squares of 1e200 or of 1e-200 are no numbers."""
    m = xp.max(xp.abs(x))
    m = xp.where(m > 0.0, m, xp.ones_like(m))
    share = x / m
    return m, xp.sum(share * share)


def inner(xp: Namespace, a: Array, b: Array) -> float:
    """``sum a b``."""
    return float(xp.sum(a * b))


def dtype_name(x: Any) -> str:
    """The name alone, such as float32, whichever library's it is; of a number, of its class."""
    return str(getattr(x, "dtype", type(x))).rpartition(".")[2]


def how_many(xp: Namespace, mask: Array) -> int:
    """How many entries of ``mask`` are true."""
    return int(xp.sum(xp.astype(mask, xp.int32)))


def copied(xp: Namespace, *arrays: Array) -> tuple[Array, ...]:
    """Copies of ``arrays``, for a function that may change them."""
    return tuple(xp.asarray(x, copy=True, **device_kwargs(x)) for x in arrays)


def like(array: Array, there: Array) -> Array:
    """``array`` in the library, dtype and on the device of ``there``."""
    return namespace(there).astype(in_library_of(there, array), there.dtype)


def from_host(xp: Namespace, numbers: Any, x: Array) -> Array:
    """``numbers``, of the host, as a new array in the library, dtype and on the device of ``x``."""
    return xp.asarray(np.array(numbers), dtype=x.dtype, **device_kwargs(x))


def random_direction(xp: Namespace, x: Array, random: np.random.Generator, scale: Array | None = None) -> Array:
    """Entries of either sign and size Uniform(0.5, 1.5), in the scales of ``x``: no entry is ever left out."""
    drawn = random.choice([-1.0, 1.0], x.shape) * random.uniform(0.5, 1.5, x.shape)
    return (scales_of(xp, x) if scale is None else scale) * from_host(xp, drawn, x)


def flat_positions(xp: Namespace, x: Array) -> Array:
    """The position of each entry of ``x`` in C order, in the shape of ``x``."""
    return xp.reshape(xp.arange(math.prod(x.shape), dtype=xp.int32, **device_kwargs(x)), x.shape)


def taken(xp: Namespace, x: Array, positions: Sequence[int]) -> Array:
    """The entries of ``x`` at flat ``positions``: (len(positions),)."""
    return xp.take(xp.reshape(x, (-1,)), xp.asarray(list(positions), dtype=xp.int32, **device_kwargs(x)), axis=0)
