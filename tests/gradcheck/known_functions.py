"""Functions whose gradients are known, for the tests of the checker."""

from __future__ import annotations

import math

import pytest
from array_api_compat import array_namespace

from mlp_xp.gradcheck.dual import Dual

# An evaluation takes Dask and JAX some 20 and 5 ms, and to say where a network is wrong takes hundreds; the numbers are
# the same on every backend.
QUICK = pytest.mark.only("numpy", "torch", "array_api_strict", "cupy")

# All but Dask, which lacks some functions and is the slowest.
EAGER = pytest.mark.only("numpy", "torch", "jax", "array_api_strict", "cupy")

# array-api-strict looks at every operand: where there are thousands of evaluations, it is left out too.
QUICKEST = pytest.mark.only("numpy", "torch", "cupy")


def on_arrays(f):
    """``f`` that takes real arrays of a library alone, neither duals nor complex numbers: differences judge it."""

    def g(*arrays):
        if any(isinstance(x, Dual) or "complex" in str(x.dtype) for x in arrays):
            raise TypeError("real arrays, please")
        return f(*arrays)

    return g


def square(x):
    """``sum x^2``, over the last two axes."""
    return array_namespace(x).sum(x * x, axis=(-2, -1))


def cubes(*arrays):
    """``sum x^3`` over all arrays."""
    xp = array_namespace(*arrays)
    return sum(xp.sum(x * x * x) for x in arrays)


def cubes_gradient(*arrays):
    """The gradient of ``cubes``."""
    return tuple(3.0 * x * x for x in arrays)


def cubes_at_a_point(put):
    """``cubes``, its gradient, and a point of no symmetry."""
    return cubes, cubes_gradient, put([0.7, -1.3, 2.1, 0.4])


def first_entry(x):
    """1 in the first entry of an array like ``x``, else 0."""
    xp = array_namespace(x)
    place = {"device": x.device} if hasattr(x, "device") else {}
    return xp.reshape(xp.astype(xp.arange(math.prod(x.shape), **place) == 0, x.dtype), x.shape)
