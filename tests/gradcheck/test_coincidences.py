"""A gradient is wrong if it is wrong at params, though right nearby; and if it is right at params by coincidence."""

from __future__ import annotations

import numpy as np
import pytest
from array_api_compat import array_namespace
from known_functions import QUICKEST, first_entry, on_arrays

import mlp_xp as mx
from mlp_xp._lib.namespace import device_kwargs

pytestmark = QUICKEST
RANDOM = np.random.default_rng(5)
X, T = RANDOM.standard_normal((6, 3)), RANDOM.standard_normal((6, 2))
W = RANDOM.standard_normal((3, 2))
S = RANDOM.standard_normal((3, 3)) + RANDOM.standard_normal((3, 3))


def both_ways(f):
    """``f`` as it is, and as a function that takes plain arrays alone, so that differences judge."""
    return f, on_arrays(f)


# --- wrong here, right nearby ----------------------------------------------------------------------------------------


def divided(xp, factors, x):
    """``factors / x``, and 0 where x is 0: right everywhere but there."""
    return xp.where(x == 0.0, 0.0 * x, factors / xp.where(x == 0.0, 1.0 + 0.0 * x, x))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_gradient_that_divides_by_an_entry_that_is_zero(xp, put, place):
    """Of products; the gradient of an entry of 0 is not 0."""
    x = [2.0, 3.0, -1.5]
    x[place] = 0.0

    def products(x):
        return xp.stack([x[0], x[0] * x[1], x[0] * x[1] * x[2]])

    functions = (  # f, and what its gradient is times x
        (lambda x: xp.sum(products(x)), lambda x: xp.stack([xp.sum(products(x)[i:]) for i in range(3)])),
        (lambda x: products(x)[2], lambda x: products(x)[2] * xp.ones_like(x)),
        (lambda x: xp.exp(products(x)[2]), lambda x: xp.exp(products(x)[2]) * products(x)[2] * xp.ones_like(x)),
        (
            lambda x: xp.sin(products(x)[2]) + x[0],
            lambda x: xp.cos(products(x)[2]) * products(x)[2] + x * first_entry(x),
        ),
    )
    for f, times_x in functions:
        for g in both_ways(f):
            report = mx.gradcheck(g, lambda x: (divided(xp, times_x(x), x),), (put(x),))  # noqa: B023
            assert report.verdict == "fail"
            assert report.tensors[0].index == (place,)


MASKS = {
    "any(b)": lambda xp, b: xp.any(b != 0.0),
    "b differs from row to row": lambda xp, b: xp.any(b != b[0]),
    "norm of b": lambda xp, b: xp.sum(b * b) > 0.0,
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("plain", [False, True])
def test_a_gradient_that_is_masked_at_the_most_usual_point_of_all(xp, put, mask, plain):
    """A bias of zeros, and a gradient that is zero as long as it is."""
    x, t = put(X), put(T)

    def f(w, b):
        return xp.sum((xp.tanh(x @ w + b) - t) ** 2)

    def grad(w, b, masked=True):
        y = xp.tanh(x @ w + b)
        dz = 2.0 * (y - t) * (1.0 - y * y)
        on = xp.astype(MASKS[mask](xp, b), b.dtype) if masked else 1.0
        return xp.matrix_transpose(x) @ dz, xp.sum(dz, axis=0) * on

    point = put(W), put(np.zeros(2))
    f = on_arrays(f) if plain else f
    report = mx.gradcheck(f, grad, point, names=("w", "b"))
    assert [row.verdict for row in report.tensors] == ["pass", "fail"]
    mx.gradcheck(f, lambda w, b: grad(w, b, masked=False), point).raise_if_failed()


@pytest.mark.parametrize("seed", range(4))
def test_a_gradient_that_is_wrong_at_one_point_alone(xp, put, seed):
    """Whatever the mistake: the point itself is judged, not what is around it."""
    random = np.random.default_rng(seed)
    point = random.choice([0.0, 1.0, -2.0], 5)
    place = int(random.integers(5))
    x = put(point)

    def f(x):
        return xp.sum(xp.sin(x) + x**3)

    def grad(at):
        g = xp.cos(at) + 3.0 * at * at
        return (g * put(1.0 + 0.5 * (np.arange(5) == place)) if bool(xp.all(at == x)) else g,)

    for g in both_ways(f):
        report = mx.gradcheck(g, grad, (x,))
        assert report.verdict == "fail"
        assert report.tensors[0].index == (place,)


# --- right here, wrong nearby ----------------------------------------------------------------------------------------

BY_CHANCE = {
    "3x for 3x^2 at ones": (np.ones(4), lambda xp, x: xp.sum(x**3), lambda xp, x: 3.0 * x),
    "1 for cos at zeros": (np.zeros(3), lambda xp, x: xp.sum(xp.sin(x)), lambda xp, x: 1.0 + x),
    "x for x^3 at signs": (np.asarray([1.0, -1.0, 1.0]), lambda xp, x: xp.sum(x**4) / 4.0, lambda xp, x: 1.0 * x),
    "a transpose that is missing at a symmetric matrix": (
        S + S.T,
        lambda xp, x: xp.sum((x @ x) * symmetric(xp, x)),
        lambda xp, x: symmetric(xp, x) @ x + x @ symmetric(xp, x),
    ),
}


def symmetric(xp, x):
    """A symmetric constant matrix."""
    rows = [[2.0, 1.0, 0.0], [1.0, -1.0, 3.0], [0.0, 3.0, 0.5]]
    return xp.asarray(rows, dtype=x.dtype, **device_kwargs(x))


@pytest.mark.parametrize("name", BY_CHANCE)
def test_a_formula_that_is_right_at_params_by_coincidence(xp, put, name):
    point, f, gradient = BY_CHANCE[name]
    for g in both_ways(lambda x: f(xp, x)):
        report = mx.gradcheck(g, lambda x: (gradient(xp, x),), (put(point),))
        assert report.tensors[0].verdict == "pass"
        assert report.verdict == "fail"
        (sentence,) = report.contract
        assert "right at params" in sentence
        assert "wrong at 3 of 3 other points" in sentence
        assert "a stale cache" not in sentence


# --- nothing is no evidence ------------------------------------------------------------------------------------------


def test_a_straight_through_gradient_is_not_passed_for_want_of_a_slope(xp, put):
    """Far away everything is clipped, and 0 = 0; at params the function is made of steps."""
    step, x = 0.1, put(np.random.default_rng(1).uniform(-0.6, 0.6, 7))

    def quantised(x):
        xp = array_namespace(x)
        return xp.clip(xp.round(x / step), -8.0, 7.0) * step

    functions = (
        (lambda x: array_namespace(x).sum((quantised(x) - 0.3) ** 2), lambda x: 2.0 * (quantised(x) - 0.3)),
        (lambda x: array_namespace(x).sum(quantised(x)), lambda x: xp.ones_like(x)),
        (lambda x: array_namespace(x).sum(array_namespace(x).sin(quantised(x))), lambda x: xp.cos(quantised(x))),
    )
    for f, through in functions:
        for g in both_ways(f):
            inside = xp.astype((x / step >= -8.0) & (x / step <= 7.0), x.dtype)
            assert not mx.gradcheck(g, lambda x: (through(x) * inside,), (x,)).ok  # noqa: B023
        assert mx.gradcheck(f, lambda x: (through(x) * inside,), (x,)).verdict == "fail"  # noqa: B023  # by duals


@pytest.mark.parametrize("value", [3.0, -1e6, 1e-12])
def test_a_function_that_does_not_use_its_argument_is_said_to_be_one(put, value):
    x = put([0.3, -0.2, 1.0])
    report = mx.gradcheck(lambda x: value, lambda x: (2.0 * x,), (x,))
    assert report.verdict == "inconclusive"
    assert report.tensors[0].diagnosis == "f did not change: does it use its argument?"
    mx.gradcheck(lambda x: value, lambda x: (0.0 * x,), (x,)).raise_if_failed()


@pytest.mark.parametrize("digits", [0, 1, 2])
def test_a_rounded_loss_is_said_to_be_one(xp, put, digits):
    x = put([0.3, -0.2, 1.0])
    report = mx.gradcheck(lambda x: round(float(xp.sum(x * x)), digits), lambda x: (2.0 * x,), (x,))
    assert report.verdict == "inconclusive"
    assert report.tensors[0].diagnosis in (
        "f did not change: does it use its argument?",
        "f changes in steps: is it rounded on the way, or a count?",
    )
    assert "try float64" not in str(report)
