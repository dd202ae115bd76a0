"""A gradient against slopes: what a kink, a branch or a few entries hide here is seen here or at another point."""

from __future__ import annotations

import numpy as np
import pytest
from known_functions import QUICK, QUICKEST, cubes, cubes_gradient

import mlp_xp as mx

RANDOM = np.random.default_rng(5)
V = RANDOM.standard_normal(18)[12:]


@QUICK
def test_each_entry_of_an_array_of_one_or_two_is_moved_by_itself(put):
    report = mx.gradcheck(cubes, cubes_gradient, (put([[0.5], [2.0]]), put(1.5), put(V)))
    report.raise_if_failed()
    assert [row.index is not None for row in report.tensors] == [True, True, False]
    wrong = mx.gradcheck(cubes, lambda x: (cubes_gradient(x)[0] * put([1.0, 1.001]),), (put([0.5, 2.0]),))
    assert wrong.tensors[0].index == (1,)


# --- kinks -----------------------------------------------------------------------------------------------------------


@QUICK
def test_a_kink_nearer_than_a_step_is_no_mistake(xp, put):
    x = put([3.0, 1e-7, -1e-7, 2e-6, -2e-6, -1.0])  # nearer than the usual step of 6e-6

    def relu(x):
        return xp.sum(xp.maximum(x, xp.zeros_like(x)))

    def right(x):
        return xp.astype(x > 0, x.dtype)

    for mode in ("auto", "full"):
        mx.gradcheck(relu, lambda x: (right(x),), [x], mode=mode).raise_if_failed()
        assert mx.gradcheck(relu, lambda x: (1.0 - right(x),), [x], mode=mode).verdict == "fail"
        assert mx.gradcheck(relu, lambda x: (1.001 * right(x),), [x], mode=mode).verdict == "fail"


def test_a_subgradient_at_a_kink_is_no_mistake(xp, put):
    x = put([[1.0, 0.0], [-0.5, 0.0]])
    mx.gradcheck(lambda x: xp.sum(xp.abs(x)), lambda x: (xp.sign(x),), [x]).raise_if_failed()
    assert mx.gradcheck(lambda x: xp.sum(xp.abs(x)), lambda x: (-xp.sign(x),), [x]).verdict == "fail"


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


@QUICKEST
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


# --- other points ----------------------------------------------------------------------------------------------------


@QUICK
@pytest.mark.parametrize("keep", ["all of it", "a factor of it"])
def test_a_gradient_bound_to_its_first_call_is_refused(put, keep):
    first = []

    def grad(x):
        first.append(x * 1.0)
        return cubes_gradient(first[0]) if keep == "all of it" else (3.0 * first[0] * x,)

    report = mx.gradcheck(cubes, grad, (put(V),))
    assert report.verdict == "fail"
    assert ("a stale cache" if keep == "all of it" else "right at params and wrong at 3 of 3 other points") in str(
        report
    )


@QUICK
def test_a_gradient_that_is_zero_at_params_and_wrong_elsewhere_is_refused(xp, put):
    report = mx.gradcheck(lambda x: xp.sum(x * x), lambda x: (-2.0 * x,), (put(np.zeros(4)),))
    assert report.verdict == "fail"
    assert "right at params, where it is zero, and wrong elsewhere" in str(report)
    assert "cache" not in str(report)


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
