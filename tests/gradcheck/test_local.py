"""How the checker gets its numeric side: by a complex step or by differences, at any scale and noise."""

from __future__ import annotations

import numpy as np
import pytest
from array_api_compat import array_namespace
from known_functions import QUICK, cubes, cubes_gradient

import mlp_xp as mx
from mlp_xp.gradcheck import local
from mlp_xp.gradcheck.dual import Dual
from mlp_xp.gradcheck.forms import flattened
from mlp_xp.gradcheck.local import LocalFunction, directional_derivative, prepare
from mlp_xp.gradcheck.slopes import Noise, Slope

RANDOM = np.random.default_rng(5)


A, V = RANDOM.standard_normal((4, 3)), RANDOM.standard_normal(6)


def on_arrays(f):
    """``f`` that takes no duals."""

    def g(*arrays):
        if any(isinstance(x, Dual) for x in arrays):
            raise TypeError("arrays, please")
        return f(*arrays)

    return g


def times(factor):
    return lambda *arrays: tuple(factor * g for g in cubes_gradient(*arrays))


# --- the complex step ------------------------------------------------------------------------------------------------


@QUICK
def test_where_f_takes_complex_numbers_a_relative_error_of_1e_12_is_refused(put):
    params = put(A), put(V)
    report = mx.gradcheck(on_arrays(cubes), cubes_gradient, params)
    report.raise_if_failed()
    assert report.reference == "float64 by complex step"
    assert all(row.resolution < 1e-12 for row in report.tensors)
    assert report.evaluations < 60
    assert mx.gradcheck(on_arrays(cubes), times(1.0 + 1e-12), params).verdict == "fail"


@QUICK
def test_the_integral_over_a_circle_bounds_what_a_complex_step_may_miss(put):
    """To six standard deviations of a mean of eight values, over the largest radius, whose eighth power is epsilon."""
    flat = flattened(on_arrays(cubes), cubes_gradient, (put(A), put(V)), None)
    local = prepare(flat.f, flat.arrays, 0)
    radius = np.finfo(np.float64).eps ** (1 / 8)
    assert local.missed == pytest.approx(6.0 * local.noise / (radius * 8.0**0.5), rel=1e-12, abs=0.0)
    assert local.missed > 0.0


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
    assert mx.gradcheck(f, cubes_gradient, (put(A),)).verdict == "fail"  # the penalty is missing


@QUICK
def test_a_function_of_real_numbers_alone_is_judged_by_differences(xp, put):
    @on_arrays
    def f(x):
        if not xp.isdtype(x.dtype, "real floating"):
            raise TypeError("real numbers, please")
        return cubes(x)

    report = mx.gradcheck(f, cubes_gradient, (put(A),))
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
    wrong = mx.gradcheck(f, cubes_gradient, (put(A),))
    share = strength / np.sqrt(np.sum((3.0 * A * A) ** 2))  # of one entry's penalty in the norm of the gradient
    assert wrong.verdict == "fail" or wrong.tensors[0].resolution > share


# --- the point and the sides -----------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_wider_dtypes_are_wider():
    xp = array_namespace(np.ones(1))
    found = {
        name: [wider for wider, _ in local._wider(xp, (np.ones(2, name),))]
        for name in ("float16", "float32", "float64")
    }
    assert found == {"float16": ["float64", "float32"], "float32": ["float64"], "float64": []}
    assert [name for name, _ in local._wider(xp, (np.ones(2, "float32"), np.ones(2)))] == ["float64"]


def at_one_point(**known):
    return LocalFunction(np, None, (), value=0.0, epsilon=2.0**-52, copied=False)._replace(**known)


@pytest.mark.only("numpy")
def test_a_difference_confirms_a_slope_to_a_billionth_or_to_six_deviations_of_its_noise():
    exact = Slope(1.0, 1e-12, 0.0, True)
    step = 2.0 ** (-52 / 3)
    for off, noise, confirmed in (
        (0.9e-9, 0.0, True), (1.1e-9, 0.0, False), (-0.9e-9, 0.0, True),
        (1e-4, 0.95e-4 * step / 6.0, False), (1e-4, 1.05e-4 * step / 6.0, True),
    ):  # fmt: skip
        found = local._confirmed(at_one_point(noise=noise), lambda t: (1.0 + off) * t, exact, finest=0.9 * step)  # noqa: B023
        assert found[1] == confirmed
        # a quarter of a unit aside the values may be off by what they are off by here: by off times the step
        assert found[0].uncertainty == pytest.approx(max(1e-12, 24.0 * abs(off) * step), rel=1e-3, abs=0.0)


@pytest.mark.only("numpy")
def test_a_difference_by_a_smaller_step_leaves_a_kink_outside():
    """At 3e-6, between the two steps: half of its bend is in the first difference."""
    exact, bent = Slope(1.0, 1e-12, 0.0, True), lambda t: t + max(0.0, t - 3e-6)
    assert local._confirmed(at_one_point(), bent, exact, finest=0.0)[1]
    assert not local._confirmed(at_one_point(), bent, exact, finest=1e-6)[1]


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("x", "taken"), [([0.5, -2.0], 1), ([0.5, 0.0], 2)])
def test_the_other_side_is_asked_for_where_something_ties_alone(x, taken):
    flat = flattened(lambda x: array_namespace(x).sum(abs(x)), lambda x: (x,), (np.asarray(x),), None)
    at = prepare(flat.f, flat.arrays, 0)
    before = flat.f.count
    slope = local._by_dual_numbers(at, {0: np.asarray([1.0, 1.0])})
    assert flat.f.count - before == 2 * taken  # a dual counts as two
    assert (slope.value, slope.tied, slope.exact) == (float(np.sum(np.sign(x))), taken == 2, True)


@QUICK
@pytest.mark.parametrize(("f", "left", "right"), [("abs", -1.0, 1.0), ("leaky", 0.25, 1.0)])
def test_at_a_kink_a_derivative_is_the_mean_of_both_sides_and_its_uncertainty_reaches_both(put, f, left, right):
    def at(x):
        ns = array_namespace(x)
        return ns.sum(ns.abs(x) if f == "abs" else 0.25 * x + 0.75 * ns.maximum(x, ns.zeros_like(x)))

    for sign in (1.0, -1.0):
        found = directional_derivative(at, put([0.0, 2.0]), put([sign, 0.0]))
        assert found.reference == "float64 by dual numbers"
        assert found.value == sign * (left + right) / 2
        assert (
            (right - left) / 2 <= found.uncertainty <= 3.01 * (right - left) / 2
        )  # three times an estimate, as of any


# --- scales and noise ------------------------------------------------------------------------------------------------


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
        # differences alone take waves of 1e-6 for noise at one of twenty points, and noise has no such slope
        sine = mx.gradcheck(
            lambda x: array_namespace(x).sum(array_namespace(x).sin(wave * x)),  # noqa: B023
            lambda x: (wave * xp.cos(wave * x),),  # noqa: B023
            (put(V),),
        )
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


@QUICK
@pytest.mark.parametrize("inner", ["exp", "sin", "tanh"])
def test_an_imaginary_part_that_is_lost_in_noise_is_not_taken_for_a_slope_of_zero(xp, put, inner):
    """One step rounds to float32 and drops what is imaginary: on small circles its noise hides the loss."""
    function = getattr(xp, inner)

    @on_arrays
    def f(x):
        lost = xp.real(x) if "complex" in str(x.dtype) else x
        return xp.astype(xp.astype(1.0 + 0.02 * xp.sum(function(lost)), xp.float32), xp.float64) + 0.0 * xp.sum(x)

    def grad(x):
        return (0.02 * {"exp": xp.exp, "sin": xp.cos, "tanh": lambda x: 1.0 - xp.tanh(x) ** 2}[inner](x),)

    for seed in range(5):
        mx.gradcheck(f, grad, (put(V),), seed=seed).raise_if_failed()
        assert mx.gradcheck(f, lambda x: (-grad(x)[0],), (put(V),), seed=seed).verdict == "fail"


@pytest.mark.only("numpy")  # differences are the same on every backend
@pytest.mark.parametrize("wave", [1e3, 1e5, 1e6, 1e7])
def test_coarse_slopes_of_fast_waves_agree_by_chance_and_refuse_no_right_gradient(wave):
    @on_arrays
    def f(x):
        return np.sum(np.sin(wave * np.abs(x) + x))

    def grad(x):
        return ((wave * np.sign(x) + 1.0) * np.cos(wave * np.abs(x) + x),)

    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal(6)
        assert mx.gradcheck(f, grad, (x,), seed=seed).verdict != "fail"
        assert mx.gradcheck(f, lambda x: (-grad(x)[0],), (x,), seed=seed).verdict == "fail"


@pytest.mark.parametrize("returned", [float, np.float64, np.asarray], ids=["float", "float64", "an array"])
@pytest.mark.filterwarnings("error")
def test_a_function_that_leaves_the_library_is_judged_without_a_word_on_the_console(put, host, returned):
    x = np.asarray([0.5, -1.0, 2.0])
    if returned is float:  # of a complex number it would warn
        report = mx.gradcheck(lambda x: float(np.sum(host(x) ** 3)), lambda x: (3.0 * x**2,), (put(x),))
        assert report.verdict == "pass"
        assert report.reference == "float64"
    numeric = mx.numerical_grad(lambda x: returned(np.sum(host(x) ** 3)), put(x))
    np.testing.assert_allclose(host(numeric), 3.0 * x**2, rtol=1e-8, atol=1e-8)  # (epsilon^(1/3))^2 is 4e-11


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("value", "sigma", "stairs"),
    [
        (2.0, 2.0**-28, 2.0**-24),  # of float32 at least
        (-2.0, 2.0**-20, 2.0**-21),
        (2.0, 2.0**-8, 2.0**-9),
        (2.0, 1.0, 2.0**-8),  # of bfloat16 at most
        (0.0, 2.0**-20, 2.0**-20),
    ],
)
def test_coarser_numbers_on_the_way_of_f_are_those_of_float32_to_bfloat16(monkeypatch, value, sigma, stairs):
    point = (np.asarray([1.0, 2.0]),)
    flat = flattened(lambda x: value + 0.0 * float(np.sum(x)), lambda x: (0.0 * x,), point, None)
    for seen, expected in ((True, stairs), (False, 0.0)):
        monkeypatch.setattr(local, "evaluation_noise", lambda *_, seen=seen: Noise(sigma, False, seen))
        there = prepare(flat.f, flat.arrays, 0)
        assert (there.noise, there.flat, there.stairs) == (sigma, False, expected)


@pytest.mark.only("numpy")
def test_float64_is_fine_and_float32_is_not():
    assert 2.0**-52 < local.FINE < 2.0**-23


@pytest.mark.only("numpy")
def test_the_seed_is_0_unless_another_is_given():
    f, x = on_arrays(lambda x: np.float64(np.sum(np.sin(x), dtype=np.float32))), np.asarray([0.7, -1.3, 2.1])
    default, zero, one = (directional_derivative(f, x, x, *seed) for seed in ((), (0,), (1,)))
    assert default == zero != one
