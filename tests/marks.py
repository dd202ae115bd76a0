"""Marks of tests that need not run on every array library."""

from __future__ import annotations

import pytest

EAGER = pytest.mark.only("numpy", "cupy", "dpnp", "torch", "array_api_strict")
"""JAX compiles for each new shape and Dask computes a graph: what is shown there by another test is not shown again."""
