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
def test_a_function_that_drops_imaginary_parts_is_scores_by_differences(xp, put):
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
def test_a_function_of_real_numbers_alone_is_scores_by_differences(xp, put):
    @on_arrays
    def f(x):
        if not xp.isdtype(x.dtype, "real floating"):
            raise TypeError("real numbers, please")
        return cubes(x)

    report = mx.gradcheck(f, right, (put(A),))
    report.raise_if_failed()
    assert report.reference == "float64"
    assert mx.gradcheck(f, times(1.0 + 1e-8), (put(A),)).verdict == "fail"


@QUICK
@pytest.mark.parametrize("strength", [1e-9, 1e-10, 1e-11, 1e-12])
@pytest.mark.parametrize("part", ["modulus", "conjugate"])
def test_a_part_that_is_not_analytic_is_no_false_alarm_however_small(xp, put, strength, part):
    """Below what a difference sees, the complex step loses |x| and turns the sign of what is conjugated."""

    def f(x):
        conjugate = xp.conj(x) if xp.isdtype(x.dtype, "complex floating") else x
        return xp.sum(x * x * x) + strength * xp.sum(xp.abs(x) if part == "modulus" else x * conjugate)

    def grad(x):
        return (3.0 * x * x + strength * (xp.sign(x) if part == "modulus" else 2.0 * x),)

    report = mx.gradcheck(f, grad, (put(A),))
    report.raise_if_failed()
    # it says no more than it knows: either it sees the part, or an error of that size is below its resolution
    wrong = mx.gradcheck(f, right, (put(A),))
    share = strength / np.sqrt(np.sum((3.0 * A * A) ** 2))  # of one entry's penalty in the norm of the gradient
    assert wrong.verdict == "fail" or wrong.tensors[0].resolution > share


@QUICK
def test_a_function_that_changes_fast_is_followed_to_finer_steps(xp, put):
    """Waves far shorter than the usual steps: their differences drift apart from step to step until one is finer."""
    for wave, tolerance in ((1e3, 1e-8), (1e6, 1e-2)):

        def f(x):
            return xp.sum(xp.sin(wave * xp.abs(x) + x))  # noqa: B023

        def grad(x):
            return ((wave * xp.sign(x) + 1.0) * xp.cos(wave * xp.abs(x) + x),)  # noqa: B023

        for params in (put(A), put(V)):
            assert mx.gradcheck(f, grad, (params,)).verdict != "fail"
            assert not mx.gradcheck(f, lambda x: (-grad(x)[0],), (params,)).ok
        sine = mx.gradcheck(lambda x: xp.sum(xp.sin(wave * x)), lambda x: (wave * xp.cos(wave * x),), (put(V),))  # noqa: B023
        assert sine.verdict != "fail"
        assert sine.verdict == "inconclusive" or sine.tensors[0].resolution < tolerance


@QUICK
@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e-8, 1e8, 1e150, 1e300])
def test_verdicts_do_not_depend_on_the_scale_of_the_parameters(xp, put, scale):
    """Squares of such numbers are none, and a step of 1 is no small one for them."""
    x, weights = put(scale * V), put(1.0 + V * V)

    def f(x):
        return xp.sum(weights * x) + scale * xp.sum((x / scale) ** 3)

    def grad(x):
        return (weights + 3.0 * (x / scale) ** 2,)

    mx.gradcheck(f, grad, (x,)).raise_if_failed()
    for factor in (-1.0, 1.0 + 1e-8):
        assert mx.gradcheck(f, lambda x: (factor * grad(x)[0],), (x,)).verdict == "fail"  # noqa: B023


@QUICK
def test_a_gradient_too_small_for_its_square_is_not_passed_unseen(put):
    """x^2 at 1e-150: the complex step underflows, and a wrong gradient must not pass for want of a size."""

    def f(x):
        return array_namespace(x).sum(x * x)

    x = put(1e-150 * V)
    mx.gradcheck(f, lambda x: (2.0 * x,), (x,)).raise_if_failed()
    assert mx.gradcheck(f, lambda x: (2.02 * x,), (x,)).verdict == "fail"


@QUICK
def test_values_that_lie_on_stairs_are_no_false_alarm(xp, put):
    """1 - p with p near 1 has few digits left, and does not change at all over the steps by which noise is measured."""
    for seed in range(3):
        random = np.random.default_rng(seed)
        X, y = random.standard_normal((20, 8)), 1.0 * (random.random(20) > 0.5)
        X, y, w = put(X), put(y), put(3.0 * random.standard_normal(8))

        def f(w):
            p = 1.0 / (1.0 + xp.exp(-(X @ w)))  # noqa: B023
            return -xp.mean(y * xp.log(p + 1e-12) + (1.0 - y) * xp.log(1.0 - p + 1e-12))  # noqa: B023

        def grad(w):
            p = 1.0 / (1.0 + xp.exp(-(X @ w)))  # noqa: B023
            q = 1.0 - p
            dz = (-y / (p + 1e-12) + (1.0 - y) / (q + 1e-12)) * p * q / 20  # noqa: B023
            return (xp.matrix_transpose(X) @ dz,)  # noqa: B023

        mx.gradcheck(f, grad, (w,)).raise_if_failed()
        assert mx.gradcheck(f, lambda w: (1.001 * grad(w)[0],), (w,)).verdict == "fail"


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


@QUICK
def test_at_a_kink_where_the_slope_is_zero_nothing_passes_unseen(xp, put):
    """|x| at 0, even on both sides: its slopes there agree with any odd gradient, and elsewhere they do not."""

    def f(x):
        return xp.sum(xp.abs(x))

    x = put(np.zeros(4))
    report = mx.gradcheck(f, lambda x: (xp.sign(x),), (x,))
    report.raise_if_failed()
    assert "at a kink" in report.tensors[0].diagnosis
    for factor in (-1.0, 0.0, 1.001):
        assert mx.gradcheck(f, lambda x: (factor * xp.sign(x),), (x,)).verdict == "fail"  # noqa: B023


@QUICK
def test_a_gradient_that_is_zero_at_params_and_wrong_elsewhere_is_said_to_be_that(xp, put):
    report = mx.gradcheck(lambda x: xp.sum(x * x), lambda x: (-2.0 * x,), (put(np.zeros(4)),))
    assert report.verdict == "fail"
    assert "right at params, where it is zero, and wrong elsewhere" in str(report)
    assert "cache" not in str(report)


@QUICK
@pytest.mark.parametrize("complex_too", [True, False])
def test_one_wrong_entry_is_refused_though_it_takes_another_branch_nearby(xp, put, complex_too):
    """clip(x)^2: a step aside the entry is beyond 1, where its gradient is 0 whatever the mistake."""
    values = np.asarray([0.378, -1.045, -0.826, -4.883, 3.599, 2.288, -0.651, 1.548, 0.562])
    for place in (0, 2, 6, 8):
        off = put(1.0 + 0.01 * (np.arange(9) == place))

        def f(x):
            if not (complex_too or xp.isdtype(x.dtype, "real floating")):
                raise TypeError("real numbers, please")
            inside = x * x < 1.0 if xp.isdtype(x.dtype, "real floating") else xp.real(x) ** 2 < 1.0
            return xp.sum(xp.where(inside, x * x, xp.ones_like(x)))

        def grad(x):
            return (xp.where(x * x < 1.0, 2.0 * x, xp.zeros_like(x)),)

        for seed in range(4):
            mx.gradcheck(f, grad, (put(values),), seed=seed).raise_if_failed()
            report = mx.gradcheck(f, lambda x: (off * grad(x)[0],), (put(values),), seed=seed)  # noqa: B023
            assert report.verdict == "fail"
            assert report.tensors[0].index == (place,)
