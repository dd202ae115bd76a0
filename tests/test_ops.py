"""Activations against 50 digits of mpmath, and the pullback of every op against differences."""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlp_xp as mx
from mlp_xp.ops import BEYOND, beyond

DTYPES = ("float64", "float32")
mp = mpmath.mp.clone()
mp.dps = 50


def s(z):
    return 1 / (1 + mp.exp(-z))


def flat(z):
    return mp.zero


# name -> its value, its derivative and its second derivative
EXACT = {
    "identity": (lambda z: z, lambda z: mp.one, flat),
    "sigmoid": (s, lambda z: s(z) * s(-z), lambda z: -s(z) * s(-z) * mp.tanh(z / 2)),
    "tanh": (mp.tanh, lambda z: mp.sech(z) ** 2, lambda z: -2 * mp.tanh(z) * mp.sech(z) ** 2),
    "relu": (lambda z: max(z, mp.zero), lambda z: mp.mpf(z > 0), flat),
    "leaky_relu": (lambda z: z if z > 0 else z / 100, lambda z: mp.one if z > 0 else mp.one / 100, flat),
    "elu": (
        lambda z: z if z > 0 else mp.expm1(z),
        lambda z: mp.one if z > 0 else mp.exp(z),
        lambda z: mp.zero if z > 0 else mp.exp(z),
    ),
    "silu": (
        lambda z: z * s(z),
        lambda z: s(z) + z * s(z) * s(-z),
        lambda z: s(z) * s(-z) * (2 - z * mp.tanh(z / 2)),
    ),
    "softplus": (lambda z: mp.log1p(mp.exp(z)), s, lambda z: s(z) * s(-z)),
    "gelu": (
        lambda z: z * mp.ncdf(z),
        lambda z: mp.ncdf(z) + z * mp.npdf(z),
        lambda z: (2 - z * z) * mp.npdf(z),
    ),
}

# The largest error of value and slope in units of eps, as functions of z, the true number v and the true sigmoid s.
# FEW stands for the roundings of a few operations, exp, expm1, log1p and tanh among them, which are right to 4 eps in
# every library. In a sigmoid exp alone may err by 2 eps, as it does on GPUs, and a sum and a quotient by half of one
# each: 3 eps. The other terms are roundings that the formula amplifies:
#   sigmoid  a (1 - a): 1 - a inherits the absolute error of a, 3 eps a
#   tanh     (1 - a) (1 + a): likewise, twice
#   silu     s (1 + z (1 - s)): z times the error of 1 - s
#   gelu     exp(-z^2/2): the rounding of z^2 is amplified by its condition number, z^2; and the slope is a difference
#            of two numbers for negative z
FEW = 8
VALUE_EPS = {
    "identity": lambda z, v, s: 0 * v,
    "sigmoid": lambda z, v, s: 3 * v,
    "tanh": lambda z, v, s: FEW * abs(v),
    "relu": lambda z, v, s: 0 * v,
    "leaky_relu": lambda z, v, s: 2 * abs(v),
    "elu": lambda z, v, s: FEW * abs(v),
    "silu": lambda z, v, s: 4 * abs(v),
    "softplus": lambda z, v, s: FEW * v,
    "gelu": lambda z, v, s: (FEW + z * z) * abs(v),
}
SLOPE_EPS = {
    "identity": lambda z, v, s: 0 * v,
    "sigmoid": lambda z, v, s: 4 * v + 3 * s * s,
    "tanh": lambda z, v, s: 4 * v + 2 * FEW * mp.tanh(z) ** 2,
    "relu": lambda z, v, s: 0 * v,
    "leaky_relu": lambda z, v, s: v,
    "elu": lambda z, v, s: FEW * v,
    "silu": lambda z, v, s: FEW * (1 + abs(z)) * s,
    "softplus": lambda z, v, s: 3 * v,
    "gelu": lambda z, v, s: (FEW + z * z) * (mp.ncdf(z) + abs(z) * mp.npdf(z)),
}
# a second derivative is a product: a factor that cancels keeps its absolute error, which the others multiply
SECOND_EPS = {
    "identity": lambda z, v, s: 0 * v,
    "sigmoid": lambda z, v, s: 8 * s,
    "tanh": lambda z, v, s: 4 * FEW * abs(mp.tanh(z)) * (mp.sech(z) ** 2 + mp.tanh(z) ** 2),
    "relu": lambda z, v, s: 0 * v,
    "leaky_relu": lambda z, v, s: 0 * v,
    "elu": lambda z, v, s: FEW * v,
    "silu": lambda z, v, s: FEW * (2 + abs(z)) * s,
    "softplus": lambda z, v, s: 8 * s,
    "gelu": lambda z, v, s: (FEW + z * z) * (2 + z * z) * mp.npdf(z),
}


@cache
def grid(dtype: str) -> np.ndarray:
    """Zero, small and ordinary numbers, the places where exp overflows or underflows, and +-1e4."""
    edges = [88, 88.8, 103.9, 104.1, 708.3, 709.7, 709.9, 745.1, 746, 1e4]
    positive = np.concatenate([np.logspace(-30, -1, 30), np.linspace(0.1, 40, 134), np.linspace(41, 760, 60), edges])
    return np.concatenate([-positive[::-1], [0.0], positive]).astype(dtype)


@cache
def reference(name: str, which: int, dtype: str) -> tuple[list, list]:
    """The true values on the grid, and the largest error of each that is allowed."""
    finfo = np.finfo(dtype)
    eps, tiny = mp.mpf(float(finfo.eps)), mp.mpf(float(finfo.smallest_normal))
    allowance = (VALUE_EPS, SLOPE_EPS, SECOND_EPS)[which][name]
    exact, allowed = [], []
    for number in grid(dtype).tolist():
        z = mp.mpf(number)
        true = EXACT[name][which](z)
        exact.append(true)
        # numbers below the smallest normal one may become 0, here or in a factor of z
        below = 0 if name in ("identity", "relu") else tiny * (1 + abs(z) + (which == 2) * z * z)
        allowed.append(eps * allowance(z, true, s(z)) + below)
    return exact, allowed


def worst(computed: np.ndarray, exact: list, allowed: list) -> tuple[float, int]:
    """The largest ratio of error to allowed error, and its position."""
    excess = [
        float(abs(mp.mpf(c) - e) / a) if a else (0.0 if c == e else np.inf)
        for c, e, a in zip(computed.tolist(), exact, allowed, strict=True)
    ]
    return max((x, i) for i, x in enumerate(excess))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_value_and_slope_are_right_from_minus_to_plus_ten_thousand(xp, put, host, name, dtype):
    z = put(grid(dtype), getattr(xp, dtype))
    value, pullback = getattr(mx.ops, name)(z)
    (slope,) = pullback(xp.ones_like(z))
    for which, computed in enumerate((value, slope)):
        assert computed.dtype == z.dtype
        excess, position = worst(host(computed), *reference(name, which, dtype))
        assert excess <= 1, f"{('value', 'slope')[which]} at {grid(dtype)[position]}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_the_second_derivative_is_right_from_minus_to_plus_ten_thousand(xp, put, host, name, dtype):
    second = mx.ops.ACTIVATIONS[name].curvature(xp, put(grid(dtype), getattr(xp, dtype)))
    assert second.dtype == getattr(xp, dtype)
    excess, position = worst(host(second), *reference(name, 2, dtype))
    assert excess <= 1, f"at {grid(dtype)[position]}"


def test_every_activation_of_the_table_is_tested():
    assert set(mx.ops.ACTIVATIONS) == set(EXACT)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("name", BEYOND)
def test_a_function_beyond_the_standard_is_its_formula_at_any_magnitude(xp, put, host, name, dtype):
    if not hasattr(xp, dtype):
        return  # the standard has no float16, and neither has its strict namespace
    info = np.finfo(dtype)
    ends = [float(sign * each) for each in (0.0, info.tiny, info.max, np.inf) for sign in (1, -1)]
    z = put(np.concatenate([np.linspace(-1000.0, 1000.0, 4001), np.linspace(-10.0, 10.0, 401), ends, [np.nan]]))
    z = xp.astype(z, getattr(xp, dtype))
    ours, formula = host(beyond(xp, name)(z)), host(BEYOND[name](xp, z))
    assert str(ours.dtype) == dtype
    # each is right to 2 eps, as the next test says, and below the smallest normal number to that number
    np.testing.assert_allclose(ours, formula, rtol=4 * info.eps, atol=float(info.tiny), equal_nan=True)


@pytest.mark.only("torch")
def test_a_namespace_that_has_the_function_is_asked_for_it(xp):
    assert all(beyond(xp, name) is getattr(xp, name) for name in BEYOND)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [mx.sigmoid, lambda z: mx.ops.sigmoid(z)[0]], ids=["mx.sigmoid", "mx.ops.sigmoid"])
def test_sigmoid_is_within_two_eps_where_it_is_normal_and_within_the_smallest_normal_elsewhere(
    xp, put, host, function, dtype
):
    finfo = np.finfo(dtype)
    # evenly, so that no argument of exp is favoured, and densely where the value becomes subnormal
    z = np.concatenate([np.linspace(-760, 50, 4001), np.linspace(-90, -80, 500), [-1e4, 1e4]]).astype(dtype)
    computed = host(function(put(z, getattr(xp, dtype))))
    assert computed.dtype == dtype
    for number, value in zip(z.tolist(), computed.tolist(), strict=True):
        true = s(mp.mpf(number))
        if true >= float(finfo.smallest_normal):
            assert abs(value - true) <= 2 * float(finfo.eps) * true, number
        else:
            assert abs(value - true) < float(finfo.smallest_normal), number


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_is_right_and_sums_to_one_at_any_magnitude(xp, put, host, dtype):
    eps = float(np.finfo(dtype).eps)
    rows = [[0, 0, 0], [1e4, -1e4, 0], [1e4, 1e4, -1e4], [-1e4, -9999, -1e4], [0.3, -1.7, 12.25], [-1e4, -1e4, -1e4]]
    z = np.asarray(rows, dtype)
    p = host(mx.softmax(put(z, getattr(xp, dtype))))
    assert p.dtype == dtype
    # a sum of three numbers, each rounded a few times
    np.testing.assert_allclose(p.sum(-1), 1.0, rtol=8 * eps)
    for row, computed in zip(z.tolist(), p.tolist(), strict=True):
        exps = [mp.exp(mp.mpf(entry)) for entry in row]
        for entry, value, exp in zip(row, computed, exps, strict=True):
            true = exp / sum(exps)
            # exp(z - max z) amplifies the rounding of its argument by the argument
            allowed = eps * (8 + max(row) - entry) * true + float(np.finfo(dtype).smallest_normal)
            assert abs(value - true) <= allowed, (row, entry)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "slope_of"), [("sigmoid", lambda a: a * (1 - a)), ("tanh", lambda a: 1 - a * a)])
def test_a_slope_made_from_the_value_loses_nothing_to_cancellation(xp, put, host, name, slope_of, dtype):
    """Relative to the exact slope at the computed value: near its bounds ``1 - a * a`` would lose every digit."""
    value, pullback = getattr(mx.ops, name)(put(np.linspace(-9, 9, 181), getattr(xp, dtype)))
    (slope,) = pullback(xp.ones_like(value))
    for a, computed in zip(host(value).tolist(), host(slope).tolist(), strict=True):
        exact = slope_of(mp.mpf(a))
        assert abs(computed - exact) <= 2 * float(np.finfo(dtype).eps) * exact  # three roundings of half an eps


@pytest.mark.parametrize(("name", "subgradient"), [("relu", 0.0), ("leaky_relu", 0.01), ("elu", 1.0)])
def test_the_subgradient_at_zero_is_the_stated_one(put, host, name, subgradient):
    value, pullback = getattr(mx.ops, name)(put([0.0, -0.0]))
    assert host(value).tolist() == [0.0, 0.0]
    assert host(pullback(put([1.0, 1.0]))[0]).tolist() == [subgradient, subgradient]


@pytest.mark.parametrize("name", EXACT)
def test_the_pullback_of_an_activation_is_its_derivative(put, name):
    z = np.random.default_rng(5).standard_normal((2, 3))
    mx.check_pullback(getattr(mx.ops, name), (put(z),)).raise_if_failed()


def test_the_pullback_of_the_affine_map_is_its_derivative(put):
    random = np.random.default_rng(6)
    arrays = [put(random.standard_normal(shape)) for shape in ((2, 3), (3, 2), (2,))]
    report = mx.check_pullback(mx.ops.affine, arrays, names=("x", "weight", "bias"))
    report.raise_if_failed()
    assert [row.name for row in report.tensors] == ["x", "weight", "bias"]


@pytest.mark.parametrize("name", EXACT)
def test_a_pullback_returns_a_tuple_and_is_linear(put, host, name):
    random = np.random.default_rng(7)
    z, dy = put(random.standard_normal((4, 3))), random.standard_normal((4, 3))
    _, pullback = getattr(mx.ops, name)(z)
    once, half = pullback(put(dy)), pullback(put(-0.5 * dy))
    assert isinstance(once, tuple)
    assert len(once) == 1
    np.testing.assert_array_equal(host(half[0]), -0.5 * host(once[0]))  # a power of two is exact


@given(st.lists(st.floats(-1e4, 1e4), min_size=8, max_size=8), st.sampled_from(sorted(EXACT)))
def test_activations_and_slopes_are_finite_and_bounded(put, host, xp, numbers, name):
    z = np.asarray(numbers)
    value, pullback = getattr(mx.ops, name)(put(z))
    slope = host(pullback(put(np.ones(8)))[0])
    # no value exceeds |z| by more than log 2 (softplus at 0); the steepest is gelu at sqrt 2, 1.129
    assert np.all(np.abs(host(value)) <= np.maximum(np.abs(z) + np.log(2.0) * (name == "softplus"), 1.0))
    assert np.all((slope > -0.13) & (slope < 1.13))
