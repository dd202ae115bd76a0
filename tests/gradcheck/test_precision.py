"""Two precisions: parameters in float32, constants in float32, one branch in float32, functions of one dtype alone."""

from __future__ import annotations

import numpy as np
import pytest
from array_api_compat import array_namespace
from known_functions import QUICK, QUICKEST, on_arrays

import mlp_xp as mx

pytestmark = QUICK
RANDOM = np.random.default_rng(7)
X, Y, ROWS = RANDOM.standard_normal((20, 4)), RANDOM.standard_normal(20), RANDOM.uniform(0.1, 1.0, 20)
V = RANDOM.standard_normal(4)


def closures(xp, put):
    """Problems with float32 constants that f and grad round differently, as everybody's: name -> (f, grad)."""
    x, y, w = (put(a, xp.float32) for a in (X, Y, ROWS))
    eps = put(np.asarray(1e-3), xp.float32)

    def wide(v):
        return xp.astype(x, v.dtype), xp.astype(y, v.dtype), xp.astype(w, v.dtype)

    def rows(v):
        x, y, w = wide(v)
        return xp.sum(w * (x @ v - y) ** 2) / xp.sum(w)

    def rows_gradient(v):
        share = xp.astype(w / xp.sum(w), v.dtype)
        x, y, _ = wide(v)
        return (2.0 * xp.matrix_transpose(x) @ (share * (x @ v - y)),)

    def standardised(v):
        x, y, _ = wide(v)
        return xp.mean(((x - xp.mean(x, axis=0)) / xp.std(x, axis=0) @ v - y) ** 2)

    def standardised_gradient(v):
        z = xp.astype((x - xp.mean(x, axis=0)) / xp.std(x, axis=0), v.dtype)
        return (2.0 * xp.matrix_transpose(z) @ (z @ v - xp.astype(y, v.dtype)) / 20.0,)

    def smoothed(v):
        x, y, _ = wide(v)
        return xp.sum(xp.sqrt((x @ v - y) ** 2 + xp.astype(eps, v.dtype) ** 2))

    def smoothed_gradient(v):
        x, y, _ = wide(v)
        r = x @ v - y
        return (xp.matrix_transpose(x) @ (r / xp.sqrt(r * r + xp.astype(eps * eps, v.dtype))),)

    def logits(v):
        x, y, w = wide(v)
        return xp.mean(xp.log(1.0 + xp.exp(-xp.sign(y) * (x @ v))) * w / xp.mean(w))

    def logits_gradient(v):
        x, y, _ = wide(v)
        weight = xp.astype(w / xp.mean(w), v.dtype)
        s = xp.sign(y)
        return (xp.matrix_transpose(x) @ (-s * weight / (1.0 + xp.exp(s * (x @ v)))) / 20.0,)

    return {
        "weights of rows": (rows, rows_gradient),
        "standardised data": (standardised, standardised_gradient),
        "a small constant": (smoothed, smoothed_gradient),
        "weights of logits": (logits, logits_gradient),
    }


@QUICKEST
@pytest.mark.parametrize("name", ["weights of rows", "standardised data", "a small constant", "weights of logits"])
@pytest.mark.parametrize("plain", [False, True])
def test_float32_constants_that_f_and_grad_round_differently_are_no_mistake(xp, put, name, plain):
    f, grad = closures(xp, put)[name]
    f = on_arrays(f) if plain else f
    v = put(V, xp.float32)
    for seed in range(5):
        report = mx.gradcheck(f, grad, (v,), seed=seed)
        report.raise_if_failed()
        assert report.reference.startswith("float64")
        assert 1e-7 < report.tensors[0].resolution < 1e-3  # what float32 tells, and no more
    for factor in (1.0002, 2.0, -1.0):
        assert mx.gradcheck(f, lambda v: (factor * grad(v)[0],), (v,)).verdict == "fail"  # noqa: B023


@pytest.mark.parametrize("factor", [1.001, 1.003, 1.009, 0.995])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (40,)], ids=str)
def test_a_branch_for_float32_that_is_off_by_less_than_a_hundredth_is_refused(xp, put, factor, shape):
    x = put(np.random.default_rng(9).standard_normal(shape), xp.float32)
    for f, gradient in (
        (lambda x: xp.sum(xp.exp(x)), xp.exp),
        (lambda x: xp.sum(xp.sin(x) * x), lambda x: xp.cos(x) * x + xp.sin(x)),
        (lambda x: xp.sum(xp.tanh(x) ** 2), lambda x: 2.0 * xp.tanh(x) * (1.0 - xp.tanh(x) ** 2)),
    ):
        mx.gradcheck(f, lambda x: (gradient(x),), (x,)).raise_if_failed()  # noqa: B023
        wrong = mx.gradcheck(f, lambda x: (gradient(x) * (factor if x.dtype == xp.float32 else 1.0),), (x,))  # noqa: B023
        assert wrong.verdict == "fail"
        assert "right in float64" in wrong.tensors[0].diagnosis


def test_a_pass_never_states_more_than_the_parameters_own_dtype_showed(xp, put):
    values, errors = np.random.default_rng(10).standard_normal((2, 9))
    x, noise = put(values, xp.float32), put(1.0 + 3e-4 * errors, xp.float32)

    def grad(x):
        return (xp.exp(x) * (noise if x.dtype == xp.float32 else 1.0),)

    row = mx.gradcheck(lambda x: xp.sum(xp.exp(x)), grad, (x,)).tensors[0]
    assert row.verdict == "inconclusive" or row.resolution > 1e-4


def far_from_zero(xp, put):
    """Functions of coarse numbers whose last places matter: name -> (f, gradient, point, dtype)."""
    random = np.random.default_rng(8)
    dates, heights = 2.02e3 + random.uniform(0.0, 9.0, 6), 3.1e5 + 50.0 * random.standard_normal(6)

    def total(name, z):  # of duals too, on every library
        ns = array_namespace(z)
        return ns.sum(getattr(ns, name)(z))

    def centred(x, at, unit):
        return (x - at) / unit

    def slope_of_tanh(x, at, unit):
        return (1.0 - xp.tanh(centred(x, at, unit)) ** 2) / unit

    return {
        "heights": (lambda x: total("tanh", centred(x, 3.1e5, 100.0)), lambda x: slope_of_tanh(x, 3.1e5, 100.0),
                    heights, xp.float32),
        "dates": (lambda x: total("sin", 4.0 * (x - 2024.0)), lambda x: 4.0 * xp.cos(4.0 * (x - 2024.0)),
                  dates, xp.float32),
        "phases": (lambda x: total("cos", x), lambda x: -xp.sin(x), 1e4 * random.standard_normal(6), xp.float32),
        "a small difference": (lambda x: (x[0] - x[1]) ** 2 + array_namespace(x).sum(0.0 * x),
                               lambda x: 2.0 * (x[0] - x[1]) * put(np.asarray([1.0, -1.0, 0.0]), x.dtype),
                               np.asarray([100.01, 100.0, 50.0]), xp.float32),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["heights", "dates", "phases", "a small difference"])
def test_what_rounded_constants_could_hide_and_do_not_is_shown_in_float64(xp, put, name):
    f, gradient, point, dtype = far_from_zero(xp, put)[name]
    x = put(point, dtype)
    for seed in range(5):
        report = mx.gradcheck(f, lambda x: (gradient(x),), (x,), seed=seed)
        assert report.verdict == "pass", str(report)
    for factor in (1.01, 1.1, -1.0):
        assert mx.gradcheck(f, lambda x: (factor * gradient(x),), (x,)).verdict != "pass"  # noqa: B023
        assert mx.gradcheck(f, lambda x: (xp.flip(gradient(x)),), (x,)).verdict == "fail"


@pytest.mark.only("torch")
def test_half_precision_is_judged_in_float32_where_float64_is_not_to_be_had():
    import torch

    def f(x):
        if x.dtype == torch.float64:
            raise TypeError("no float64 here")
        return torch.sum(torch.sin(x))

    x = torch.tensor([0.3, -1.2, 2.0, 0.7], dtype=torch.bfloat16)
    report = mx.gradcheck(f, lambda x: (torch.cos(x),), (x,))
    report.raise_if_failed()
    assert report.reference.startswith("float32")
    assert mx.gradcheck(f, lambda x: (2.0 * torch.cos(x),), (x,)).verdict == "fail"


@pytest.mark.only("numpy")
@pytest.mark.parametrize("point", ["equal numbers", "a permutation"])
def test_sums_of_equal_numbers_and_order_statistics_are_resolved(point):
    for seed in range(20):
        if point == "equal numbers":
            f, g, x = (lambda x: x.mean()), (lambda x: np.full(4, 0.25)), np.ones(4)
        else:
            x = np.random.default_rng(seed).permutation(8) * 1.0
            f = np.median

            def g(x):
                return 0.5 * np.isin(np.arange(8), np.argsort(x)[3:5])

        mx.gradcheck(f, lambda x: (g(x),), (x,), seed=seed).raise_if_failed()  # noqa: B023
        assert mx.gradcheck(f, lambda x: (1.001 * g(x),), (x,), seed=seed).verdict == "fail"  # noqa: B023
