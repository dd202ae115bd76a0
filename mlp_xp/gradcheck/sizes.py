"""How large an array is, at any magnitude: squares of 1e200 and of 1e-200 are no floating-point numbers.

Next: ``noise``, ``problem`` and ``probes`` measure by it.
"""

from __future__ import annotations

import math

from mlp_xp._typing import Array, Namespace


def norm(xp: Namespace, x: Array) -> float:
    """``sqrt(sum x^2)``."""
    if not math.prod(x.shape):
        return 0.0
    largest = _largest(xp, x)
    share = x / largest
    return float(largest) * math.sqrt(float(xp.sum(share * share)))


def scale_of(xp: Namespace, x: Array) -> Array:
    """The root mean square of ``x``, 0-d; 1 where that is 0."""
    if not math.prod(x.shape):
        return xp.sum(xp.ones_like(x)) + 1.0
    largest = _largest(xp, x)
    share = x / largest
    mean = xp.sqrt(xp.sum(share * share) / math.prod(x.shape))
    return xp.where(mean > 0.0, largest * mean, xp.ones_like(mean))


def _largest(xp: Namespace, x: Array) -> Array:
    """``max |x|``, 0-d; 1 where that is 0."""
    largest = xp.max(xp.abs(x))
    return xp.where(largest > 0.0, largest, xp.ones_like(largest))
