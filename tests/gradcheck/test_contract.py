"""What a gradient function owes besides the right numbers: each broken promise is named."""

from __future__ import annotations

import numpy as np
import pytest
from known_functions import cubes_at_a_point

import mlp_xp as mx


def test_a_gradient_drawn_afresh_is_named(put):
    f, grad, x = cubes_at_a_point(put)
    random = np.random.default_rng(0)
    report = mx.gradcheck(f, lambda x: (grad(x)[0] * put(random.integers(0, 2, 4) * 2.0),), (x,))
    assert report.verdict == "fail"
    assert "grad is not repeatable" in str(report)


def test_a_function_drawn_afresh_is_named(put):
    f, grad, x = cubes_at_a_point(put)
    random = np.random.default_rng(0)
    report = mx.gradcheck(lambda x: f(x) * float(random.uniform(0.9, 1.1)), grad, (x,))
    assert report.verdict == "fail"
    assert "f is not repeatable" in str(report)


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy")  # elsewhere nothing can be changed in place
def test_a_gradient_function_that_changes_its_argument_is_named(put):
    f, grad, x = cubes_at_a_point(put)

    def careless(x):
        gradient = grad(x)
        x *= 2.0
        return gradient

    report = mx.gradcheck(f, careless, (x,), names=("x",))
    assert report.verdict == "fail"
    assert "grad changes x in place" in str(report)


@pytest.mark.only("numpy", "array_api_strict", "torch", "jax", "cupy")  # a Dask array is computed, and so another one
def test_the_parameter_itself_is_refused_as_its_gradient(xp, put):
    report = mx.gradcheck(lambda x: 0.5 * xp.sum(x * x), lambda x: (x,), (put([0.7, -1.3]),))
    assert report.verdict == "fail"
    assert "the parameter itself" in str(report)


# --- what stays of one call to the next ------------------------------------------------------------------------------


def test_a_stale_cache_of_f_is_named(xp, put):
    cache = {}

    def f(x):
        cache["x"] = x
        return xp.sum(x * x * x)

    report = mx.gradcheck(f, lambda _: (3.0 * cache["x"] * cache["x"],), (put([0.7, -1.3]),))
    assert report.verdict == "fail"
    assert "stale cache" in str(report)


def test_a_gradient_that_remembers_its_first_argument_is_named(put):
    f, grad, x = cubes_at_a_point(put)
    calls = []

    def remembers(x):
        calls.append(x)
        return grad(calls[max(0, len(calls) - 2)])  # always one call behind

    report = mx.gradcheck(f, remembers, (x,))
    assert report.verdict == "fail"
    assert "stale cache" in str(report)


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy")
def test_a_gradient_function_that_fills_the_same_arrays_at_every_call_is_named(xp, put):
    f, grad, x = cubes_at_a_point(put)
    buffer = xp.zeros_like(x)

    def thrifty(x):
        buffer[...] = grad(x)[0]
        return (buffer,)

    assert "overwrites" in str(mx.gradcheck(f, thrifty, (x,)))
    assert mx.gradcheck(f, thrifty, (x,)).verdict == "fail"


def test_gradients_that_accumulate_are_named(put):
    f, grad, x = cubes_at_a_point(put)
    total = [0.0 * x]

    def accumulating(x):
        total[0] = total[0] + grad(x)[0]
        return (total[0],)

    report = mx.gradcheck(f, accumulating, (x,))
    assert report.verdict == "fail"
    assert "gradients accumulate" in str(report)


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy")
def test_a_cache_by_the_identity_of_an_array_is_named(put):
    """What an optimizer that updates in place meets: the same array, with other numbers."""
    f, grad, x = cubes_at_a_point(put)
    seen = []  # the arrays too, so that no two have one identity

    def cached(x):
        if not any(x is array for array, _ in seen):
            seen.append((x, grad(x)))
        return tuple(1.0 * g for array, gradients in seen if array is x for g in gradients)

    report = mx.gradcheck(f, cached, (x,))
    assert report.verdict == "fail"
    assert "changed in place" in str(report)


# --- what comes in or back in another form ---------------------------------------------------------------------------


def test_a_gradient_or_a_parameter_that_is_no_array_is_named(put):
    f, grad, x = cubes_at_a_point(put)
    for returned, kind in ((None, "NoneType"), (1.0, "float"), ([1.0], "list")):
        with pytest.raises(ValueError, match=f"number 1 is a {kind}, not an array"):
            mx.gradcheck(f, lambda x: (returned,), (x,))  # noqa: B023
    with pytest.raises(ValueError, match=r"params\[1\] is a float, not an array"):
        mx.gradcheck(lambda x, s: s * f(x), lambda x, s: (s * grad(x)[0], f(x)), (x, 2.0))


def test_an_f_or_a_grad_that_is_no_function_is_named(put):
    f, grad, x = cubes_at_a_point(put)
    with pytest.raises(TypeError, match="f must be a function, got float"):
        mx.gradcheck(1.0, grad, (x,))
    with pytest.raises(TypeError, match=r"grad must be a function, or True where f returns .*, got NoneType"):
        mx.gradcheck(f, None, (x,))
    with pytest.raises(ValueError, match="max_entries must be positive, got 0"):
        mx.gradcheck(f, grad, (x,), max_entries=0)
