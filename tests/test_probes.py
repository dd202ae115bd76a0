"""How the checker gets its numeric side: complex steps, differences, other points; and how little that takes."""

from __future__ import annotations

import numpy as np
import pytest
from array_api_compat import array_namespace

import mlp_xp as mx
from mlp_xp.gradcheck.dual import Dual

QUICK = pytest.mark.only("numpy", "torch", "array_api_strict", "cupy")
RANDOM = np.random.default_rng(5)
A, V = RANDOM.standard_normal((4, 3)), RANDOM.standard_normal(6)


def cubes(*arrays):
    xp = array_namespace(*arrays)
    return sum(xp.sum(x * x * x) for x in arrays)


def on_arrays(f):
    """``f`` that takes no duals."""

    def g(*arrays):
        if any(isinstance(x, Dual) for x in arrays):
            raise TypeError("arrays, please")
        return f(*arrays)

    return g


def right(*arrays):
    return tuple(3.0 * x * x for x in arrays)


def times(factor):
    return lambda *arrays: tuple(factor * g for g in right(*arrays))


# --- the complex step ------------------------------------------------------------------------------------------------


@QUICK
def test_where_f_takes_complex_numbers_a_relative_error_of_1e_12_is_refused(put):
    params = put(A), put(V)
    report = mx.gradcheck(on_arrays(cubes), right, params)
    report.raise_if_failed()
    assert report.reference == "float64 by complex step"
    assert all(row.resolution < 1e-12 for row in report.tensors)
    assert report.evaluations < 60
    assert mx.gradcheck(on_arrays(cubes), times(1.0 + 1e-12), params).verdict == "fail"


@QUICK
def test_a_function_that_drops_imaginary_parts_is_judged_by_differences(xp, put):
    """|x|, of a complex number its modulus, has no complex derivative: what the step gives is not confirmed."""

    @on_arrays
    def f(x):
        return xp.sum(x * x * x) + 1e-5 * xp.sum(xp.abs(x))

    def grad(x):
        return (3.0 * x * x + 1e-5 * xp.sign(x),)

    report = mx.gradcheck(f, grad, (put(A),))
    report.raise_if_failed()
    assert report.reference == "float64"
    assert mx.gradcheck(f, right, (put(A),)).verdict == "fail"  # the penalty is missing


@QUICK
def test_a_function_of_real_numbers_alone_is_judged_by_differences(xp, put):
    @on_arrays
    def f(x):
        if not xp.isdtype(x.dtype, "real floating"):
            raise TypeError("real numbers, please")
        return cubes(x)

    report = mx.gradcheck(f, right, (put(A),))
    report.raise_if_failed()
    assert report.reference == "float64"
    assert mx.gradcheck(f, times(1.0 + 1e-8), (put(A),)).verdict == "fail"


# --- other points ----------------------------------------------------------------------------------------------------


@QUICK
@pytest.mark.parametrize("keep", ["all of it", "a factor of it"])
def test_a_gradient_bound_to_its_first_call_is_refused(put, keep):
    first = []

    def grad(x):
        first.append(x * 1.0)
        return right(first[0]) if keep == "all of it" else (3.0 * first[0] * x,)

    report = mx.gradcheck(cubes, grad, (put(V),))
    assert report.verdict == "fail"
    assert "stale cache" in str(report)


@QUICK
def test_a_linear_function_has_the_same_gradient_everywhere(xp, put):
    v = put(V)
    mx.gradcheck(lambda x: xp.sum(v * x), lambda x: (1.0 * v,), (put(V[::-1].copy()),)).raise_if_failed()


@QUICK
def test_a_function_with_a_small_domain_is_not_asked_beyond_it(xp, put):
    def f(x):
        return xp.sum(xp.log(1.0 - x * x))

    def grad(x):
        return (-2.0 * x / (1.0 - x * x),)

    x = put([0.9, -0.999, 0.5, 0.1])
    with np.errstate(invalid="ignore"):  # NumPy speaks of the points outside
        assert mx.gradcheck(f, grad, (x,)).verdict != "fail"
        assert mx.gradcheck(f, lambda x: tuple(-g for g in grad(x)), (x,)).verdict == "fail"


@QUICK
@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-6, 1e-3])
def test_next_to_a_kink_right_passes_and_wrong_does_not(xp, put, distance):
    """relu, with one unit at the kink or next to it."""
    x = put([distance, -0.7, 1.3, 0.4, -distance, 2.0])

    def f(x):
        return xp.sum(xp.where(x > 0.0, x * (1.0 + x), 0.0 * x))

    def grad(x):
        return (xp.where(x > 0.0, 1.0 + 2.0 * x, 0.0 * x),)

    report = mx.gradcheck(f, grad, (x,))
    report.raise_if_failed()
    if distance == 0.0:
        assert "at a kink" in report.tensors[0].diagnosis
    assert mx.gradcheck(f, lambda x: (1.001 * grad(x)[0],), (x,)).verdict == "fail"
    assert mx.gradcheck(f, lambda x: (-grad(x)[0],), (x,)).verdict == "fail"


# --- how much it takes -----------------------------------------------------------------------------------------------


@QUICK
@pytest.mark.parametrize("size", [3, 30, 300])
def test_four_tensors_of_any_size_take_at_most_a_hundred_values(put, size):
    X, y = put(RANDOM.standard_normal((8, size))), put(RANDOM.integers(0, 3, 8))
    params = [put(p) for p in mx.init_params((size, 10, 3), seed=1)]
    for activation in ("tanh", "relu"):
        report = mx.gradcheck(
            lambda *p: mx.objective(X, y, *p, activation=activation),  # noqa: B023
            lambda *p: mx.loss_and_grads(X, y, *p, activation=activation)[1],  # noqa: B023
            params,
        )
        report.raise_if_failed()
        assert report.evaluations <= 100


@QUICK
def test_of_one_or_two_entries_each_is_moved_by_itself(put):
    report = mx.gradcheck(cubes, right, (put([[0.5], [2.0]]), put(1.5), put(V)))
    report.raise_if_failed()
    assert [row.index is not None for row in report.tensors] == [True, True, False]
    wrong = mx.gradcheck(cubes, lambda x: (right(x)[0] * put([1.0, 1.001]),), (put([0.5, 2.0]),))
    assert wrong.tensors[0].index == (1,)


@pytest.mark.only("numpy", "torch", "cupy")
def test_many_entries_take_one_value_each_where_that_leaves_no_doubt(put):
    x = put(np.random.default_rng(1).standard_normal((60, 50)))

    def f(x):
        return array_namespace(x).sum(x * x, axis=(-2, -1))

    report = mx.gradcheck(f, lambda x: (2.0 * x,), (x,), mode="full", vectorized=True)
    report.raise_if_failed()
    assert report.tensors[0].checked == 3000
    assert report.evaluations < 3000 * 2  # of four, which those take whose curvature outweighs them
    wrong = mx.gradcheck(f, lambda x: (2.0 * x + put(np.eye(60, 50) * 1e-4),), (x,), mode="full", vectorized=True)
    assert wrong.verdict == "fail"
    assert wrong.tensors[0].index[0] == wrong.tensors[0].index[1]
