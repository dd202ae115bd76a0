"""Dual numbers: every rule against differences, tangents never lost unseen, kinks from either side, every backend."""

from __future__ import annotations

import gc
import operator
import os
import subprocess
import sys
import warnings
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
import textbook
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st
from known_functions import EAGER, QUICK

import mlp_xp as mx
from mlp_xp._lib.namespace import device_kwargs, in_library_of
from mlp_xp.gradcheck import derivatives, dual
from mlp_xp.gradcheck.arrays import like
from mlp_xp.gradcheck.dual import Dual, DualNamespace
from mlp_xp.gradcheck.forms import flattened
from mlp_xp.gradcheck.local import along_duals, directional_derivative, prepare

RANDOM = np.random.default_rng(5)
A = RANDOM.uniform(0.2, 0.8, (3, 4)) * np.where(RANDOM.random((3, 4)) < 0.5, -1.0, 1.0)
P = RANDOM.uniform(0.2, 0.8, (3, 4))  # positive, below 1
S = np.eye(3) * 2.0 + RANDOM.uniform(-0.3, 0.3, (3, 3))

# array-api-strict's operators raise where others leave it to the other operand: there duals meet duals alone
MIXED = pytest.mark.only("numpy", "torch", "jax", "dask", "cupy")


def tangent_of(f, *values):
    """``f`` at duals whose tangents are fixed random numbers, and those."""
    random = np.random.default_rng(7)
    xp = DualNamespace(array_namespace(*values))
    tangents = [xp.base.asarray(random.standard_normal(x.shape), dtype=x.dtype, **device_kwargs(x)) for x in values]
    return f(*(Dual(xp, x, dx) for x, dx in zip(values, tangents, strict=True))), tangents


def agrees_with_differences(host, f, *values):
    """Value and tangent of ``f`` at duals against plain ``f`` and its two-sided difference."""
    result, tangents = tangent_of(f, *values)
    h = 1e-6
    right, left = (f(*(x + sign * h * dx for x, dx in zip(values, tangents, strict=True))) for sign in (1.0, -1.0))
    plain = f(*values)
    if isinstance(plain, tuple | list):
        assert len(plain) == len(result)
    else:
        result, plain, right, left = [result], [plain], [right], [left]
    for y, expected, up, down in zip(result, plain, right, left, strict=True):
        np.testing.assert_allclose(host(y.value), host(expected), rtol=1e-13, atol=1e-15)
        assert y.dtype == expected.dtype
        assert y.shape == expected.shape
        difference = (host(up) - host(down)) / (2.0 * h)
        dy = np.zeros(y.shape) if y.tangent is None else host(y.tangent)
        assert dy.shape == y.shape
        np.testing.assert_allclose(dy, difference, rtol=1e-7, atol=1e-8)  # h^2 and eps / h


ELEMENTWISE = {
    "abs", "acos", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "exp", "expm1", "floor", "log1p",
    "negative", "positive", "round", "sign", "sin", "sinh", "square", "tan", "tanh", "trunc",
}  # fmt: skip
POSITIVE = {"log", "log10", "log2", "sqrt"}
BINARY = {
    "add", "atan2", "divide", "hypot", "logaddexp", "maximum", "minimum", "multiply", "pow", "remainder", "subtract",
}  # fmt: skip

# name -> (f, values): whatever is no elementwise function
FUNCTIONS = {
    "acosh": (lambda xp, x: xp.acosh(x + 1.5), P),
    "sum": (lambda xp, x: xp.sum(x, axis=0), A),
    "sum of all": (lambda xp, x: xp.sum(x), A),
    "mean": (lambda xp, x: xp.mean(x, axis=1, keepdims=True), A),
    "prod": (lambda xp, x: xp.prod(x, axis=1), A),
    "prod of all": (lambda xp, x: xp.prod(x), A),
    "prod of all, kept": (lambda xp, x: xp.prod(x, keepdims=True), A),
    "prod along an axis, kept": (lambda xp, x: xp.prod(x, axis=0, keepdims=True), A),
    "prod along the last axis, kept": (lambda xp, x: xp.prod(x, axis=-1, keepdims=True), A),
    "var": (lambda xp, x: xp.var(x, axis=0, correction=1.0), A),
    "var, uncorrected": (lambda xp, x: xp.var(x, axis=1), A),
    "std": (lambda xp, x: xp.std(x), A),
    "max": (lambda xp, x: xp.max(x, axis=1, keepdims=True), A),
    "min": (lambda xp, x: xp.min(x), A),
    "cumulative_sum": (lambda xp, x: xp.cumulative_sum(x, axis=1), A),
    "clip": (lambda xp, x: xp.clip(x, -0.5, 0.4), A),
    "clip from below": (lambda xp, x: xp.clip(x, -0.5, None), A),
    "where": (lambda xp, x, y: xp.where(x > 0.0, x * y, y), A, P),
    "where, a constant": (lambda xp, x: xp.where(x > 0.0, x, xp.zeros_like(x)), A),
    "matmul": (lambda xp, x, y: x @ xp.matrix_transpose(y), A, P),
    "matmul, a constant": (lambda xp, x: x @ xp.ones((4, 2), dtype=x.dtype, **device_kwargs(x)), A),
    "tensordot": (lambda xp, x, y: xp.tensordot(x, y, axes=((0, 1), (0, 1))), A, P),
    "vecdot": (lambda xp, x, y: xp.vecdot(x, y), A, P),
    "reshape": (lambda xp, x: xp.reshape(x, (2, 6)), A),
    "permute_dims": (lambda xp, x: xp.permute_dims(x, (1, 0)), A),
    "moveaxis": (lambda xp, x: xp.moveaxis(x, 0, 1), A),
    "concat": (lambda xp, x, y: xp.concat([x, xp.zeros_like(x), y], axis=0), A, P),
    "stack": (lambda xp, x, y: xp.stack([x, y]), A, P),
    "flip": (lambda xp, x: xp.flip(x, axis=0), A),
    "roll": (lambda xp, x: xp.roll(x, 1, axis=1), A),
    "squeeze": (lambda xp, x: xp.squeeze(xp.expand_dims(x, axis=0), axis=0), A),
    "broadcast_to": (lambda xp, x: xp.broadcast_to(x, (2, 3, 4)), A),
    "broadcast_arrays": (lambda xp, x, y: tuple(xp.broadcast_arrays(x, y[:, :1])), A, P),
    "tile": (lambda xp, x: xp.tile(x, (2, 1)), A),
    "repeat": (lambda xp, x: xp.repeat(x, 2, axis=0), A),
    "tril": (lambda xp, x: xp.tril(x), A),
    "triu": (lambda xp, x: xp.triu(x), A),
    "unstack": (lambda xp, x: tuple(xp.unstack(x)), A),
    "take": (lambda xp, x: xp.take(x, xp.asarray([1, 0, 1], **device_kwargs(x)), axis=1), A),
    "index": (lambda xp, x: x[1:, ..., None, ::2], A),
    "astype": (lambda xp, x: xp.astype(x * x, x.dtype, copy=True), A),
    "asarray": (lambda xp, x: xp.asarray(x * x, **device_kwargs(x)), A),
    "T": (lambda xp, x: x.T * 2.0, A),
    "mixed dtypes": (lambda xp, x: xp.astype(xp.astype(x, xp.float64), x.dtype), A),
    "comparisons": (lambda xp, x: x * xp.astype((x > 0.1) & ~(x >= 0.7) | (x == 2.0) ^ (x != 3.0), x.dtype), A),
    "counting": (lambda xp, x: x * float(xp.sum(xp.astype(x < 0.0, x.dtype))), A),
}
EXTENSION = {
    "det": (lambda xp, x: xp.linalg.det(x), S),
    "inv": (lambda xp, x: xp.linalg.inv(x), S),
    "solve": (lambda xp, x, y: xp.linalg.solve(x, y), S, A),
    "slogdet": (lambda xp, x: tuple(xp.linalg.slogdet(x)), S),
    "cholesky": (lambda xp, x: xp.linalg.cholesky(x @ xp.matrix_transpose(x)), S),
    "trace": (lambda xp, x: xp.linalg.trace(x * x), S),
    "outer": (lambda xp, x, y: xp.linalg.outer(x[0, :], y[:, 0]), A, P),
    "vector_norm": (lambda xp, x: xp.linalg.vector_norm(x, axis=1), A),
    "vector_norm of all": (lambda xp, x: xp.linalg.vector_norm(x, ord=2), A),
    "vector_norm, kept": (lambda xp, x: xp.linalg.vector_norm(x, axis=(0, 1), keepdims=True), A),
    "matrix_norm, kept": (lambda xp, x: xp.linalg.matrix_norm(x, keepdims=True), A),
    "matrix_norm": (lambda xp, x: xp.linalg.matrix_norm(x), A),
}
SORTS = {  # with take_along_axis, of 2024.12
    "iteration": (lambda xp, x: [row * row for row in x][1], A),
    "sort": (lambda xp, x: xp.sort(x, axis=1, descending=True), A),
    "argsort and take_along_axis": (lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=0), axis=0), A),
    "argmax": (lambda xp, x: x[:, int(xp.argmax(x[0, :]))], A),
    "rows and columns by their numbers": (lambda xp, x: x[xp.arange(2), xp.argmax(x, axis=1)], A[:2, :]),
    "argmax along an axis": (lambda xp, x: xp.take_along_axis(x, xp.argmax(x, axis=1, keepdims=True), axis=1), A),
    "argmin along an axis": (lambda xp, x: xp.take_along_axis(x, xp.argmin(x, axis=0, keepdims=True), axis=0), A),
    "a row of equal entries beside others": (lambda xp, x: xp.sort(xp.concat([x, 0.0 * x]), axis=1), A),
}


def namespaced(f):
    return lambda *x: f(array_namespace(x[0]), *x)


@pytest.mark.parametrize("name", sorted(ELEMENTWISE | POSITIVE))
def test_a_function_of_one_array_has_the_derivative_of_its_differences(put, host, name):
    f = namespaced(lambda xp, x: getattr(xp, name)(x))
    agrees_with_differences(host, f, put(P if name in POSITIVE else A))


@pytest.mark.parametrize("name", sorted(BINARY))
def test_a_function_of_two_arrays_has_the_derivative_of_its_differences(put, host, name):
    agrees_with_differences(host, namespaced(lambda xp, a, b: getattr(xp, name)(a, b)), put(P), put(A))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_other_function_has_the_derivative_of_its_differences(xp, put, host, name):
    f, *values = FUNCTIONS[name]
    agrees_with_differences(host, namespaced(f), *map(put, values))


@EAGER
@pytest.mark.parametrize("name", EXTENSION)
def test_linear_algebra_has_the_derivative_of_its_differences(xp, put, host, name):
    f, *values = EXTENSION[name]
    agrees_with_differences(host, namespaced(f), *map(put, values))


@pytest.mark.only("numpy", "torch", "jax", "cupy")
@pytest.mark.parametrize("name", SORTS)
def test_sorting_has_the_derivative_of_its_differences(xp, put, host, name):
    f, *values = SORTS[name]
    agrees_with_differences(host, namespaced(f), *map(put, values))


# --- the tables against fifty digits -------------------------------------------------------------------------------

# the names that differ from mpmath's
DIGITS = {
    "reciprocal": lambda mp, x: 1 / x,
    "sigmoid": lambda mp, x: 1 / (1 + mp.exp(-x)),
    "square": lambda mp, x: x * x,
    "log2": lambda mp, x: mp.log(x) / mp.log(2),
    "log10": lambda mp, x: mp.log(x) / mp.log(10),
    "atan2": lambda mp, a, b: mp.atan2(a, b),
    "add": lambda mp, a, b: a + b,
    "subtract": lambda mp, a, b: a - b,
    "multiply": lambda mp, a, b: a * b,
    "divide": lambda mp, a, b: a / b,
    "pow": lambda mp, a, b: a**b,
    "logaddexp": lambda mp, a, b: mp.log(mp.exp(a) + mp.exp(b)),
}


def digits(name):
    """The function of that name, and of its arguments to fifty digits."""
    mp = mpmath.mp.clone()
    mp.dps = 50
    function = DIGITS.get(name, lambda mp, *x: getattr(mp, name)(*x))
    return mp, lambda *x: function(mp, *x)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", derivatives.SLOPES)
def test_a_slope_agrees_with_fifty_digits(name):
    mp, f = digits(name)
    points = [1.2, 3.0, 9.5] if name == "acosh" else [0.11, 0.5, 0.93]
    for x in points:
        slope = derivatives.SLOPES[name](np, np.float64(x), np.float64(f(mp.mpf(x))))
        assert float(slope) == pytest.approx(float(mp.diff(f, mp.mpf(x))), rel=1e-13)  # a few roundings, near 1 more


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", derivatives.PARTIALS)
def test_partial_slopes_agree_with_fifty_digits(name):
    mp, f = digits(name)
    for a, b in ((0.3, 1.7), (2.5, -0.6), (1.1, 3.0)):
        y = np.float64(f(mp.mpf(a), mp.mpf(b)))
        for partial_slope, order in zip(derivatives.PARTIALS[name], ((1, 0), (0, 1)), strict=True):
            exact = mp.diff(f, (mp.mpf(a), mp.mpf(b)), order)
            assert float(partial_slope(np, np.float64(a), np.float64(b), y)) == pytest.approx(float(exact), rel=1e-13)


def matrix_slopes(name, x, dx):
    """The tangents of a function of linear algebra by its definition to fifty digits, and none of its rules."""
    mp, _ = digits(name)
    h = mp.mpf(10) ** -20

    def at(t):
        X = mp.matrix(x.tolist()) + t * mp.matrix(dx.tolist())
        if name == "cholesky":
            return mp.cholesky(X)
        return mp.inverse(X) if name == "inv" else mp.matrix([[mp.det(X) if name == "det" else mp.log(abs(mp.det(X)))]])

    slope = (at(h) - at(-h)) / (2 * h)
    return np.asarray(slope.tolist(), dtype=float)


@pytest.mark.only("numpy", "torch", "cupy")
@pytest.mark.parametrize("name", ["cholesky", "det", "inv", "slogdet"])
def test_linear_algebra_agrees_with_fifty_digits(xp, put, host, name):
    x, dx = S @ S.T, np.random.default_rng(6).standard_normal((3, 3))
    dx = dx + dx.T
    result = getattr((ns := DualNamespace(xp)).linalg, name)(Dual(ns, put(x), put(dx)))
    tangent = host((result[1] if name == "slogdet" else result).tangent)
    np.testing.assert_allclose(tangent, matrix_slopes(name, x, dx).reshape(tangent.shape), rtol=1e-12, atol=1e-13)


OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]


@MIXED
@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
def test_operators_take_duals_plain_arrays_and_numbers_on_either_side(put, host, op):
    plain = put(P)
    for f in (
        lambda x: op(x, plain), lambda x: op(plain, x), lambda x: op(x, 2.0), lambda x: op(2.0, x), lambda x: op(x, 2),
        lambda x: op(2, x),
        lambda x: op(x, x * 0.5),
    ):  # fmt: skip
        agrees_with_differences(host, f, put(P[::-1, :].copy()))


@MIXED
def test_a_plain_matrix_multiplies_duals_on_either_side(put, host):
    plain = put(S)
    agrees_with_differences(host, lambda x: plain @ x, put(A))
    agrees_with_differences(host, lambda x: x @ plain, put(A.T.copy()))


@pytest.mark.only("numpy", "torch", "cupy")
@given(data=st.data())
def test_operands_of_any_shapes_are_broadcast_with_their_tangents(put, host, data):
    shapes = [(), (1,), (4,), (3, 1), (1, 4), (3, 4), (2, 3, 4), (2, 1, 1)]
    a, b = (data.draw(st.sampled_from(shapes)) for _ in range(2))
    op = data.draw(st.sampled_from(OPERATORS))
    x, y = (put(np.random.default_rng(i).uniform(0.5, 1.5, shape)) for i, shape in enumerate((a, b)))
    agrees_with_differences(host, op, x, y)
    agrees_with_differences(host, lambda x: op(x, y), x)
    agrees_with_differences(host, lambda y: op(x, y), y)


# --- the modules themselves ------------------------------------------------------------------------------------------

NUMPYS = {
    "tanh": lambda np, x: np.tanh(x),
    "maximum": lambda np, x: np.maximum(x, 0.1) + np.maximum(0.1, x),
    "sum": lambda np, x: np.sum(x * x, axis=0) + x.sum(axis=0) + x.mean(0),
    "dot": lambda np, x: np.dot(x.T, np.ones((3, 2))),
    "einsum": lambda np, x: np.einsum("ij,ij->i", x, x),
    "where": lambda np, x: np.where(x > 0, x, 0.01 * x),
    "concatenate": lambda np, x: np.concatenate([x, np.ones((1, 4))]),
    "log": lambda np, x: np.log(np.sum(np.exp(x), axis=1, keepdims=True)),
    "norm": lambda np, x: np.linalg.norm(x),
    "norm of a vector": lambda np, x: np.linalg.norm(x[0], 2),
    "norms of rows": lambda np, x: np.linalg.norm(x, 2, axis=1),
    "norms of rows, kept": lambda np, x: np.linalg.norm(x, axis=1, keepdims=True),
    "max along a positional axis": lambda np, x: np.max(x, 1),
    "min, kept": lambda np, x: np.min(x, 0, keepdims=True),
    "clip": lambda np, x: np.clip(x, 0.0, 0.5) + x.clip(0.0, 0.5),
    "power": lambda np, x: np.power(x, 2) + np.abs(x) + np.arctan2(x, 2.0),
    "max": lambda np, x: np.max(x, axis=1) + x.max(axis=1),
    "reshape": lambda np, x: x.reshape(-1)[:3] + np.ravel(x)[2:5],
    "a mask": lambda np, x: x * (np.ones((3, 4)) * (x > 0)),
}


def where_x_is(x):
    return {"dtype": x.dtype, "device": x.device}


TORCHS = {
    "tanh": lambda torch, x: torch.tanh(x) + x.tanh() + torch.sigmoid(x) + torch.relu(x),
    "arithmetic": lambda torch, x: torch.mul(x, x) - torch.div(x, 2.0) + torch.add(x, 1.0) - torch.neg(x) + x.pow(2),
    "sum": lambda torch, x: torch.sum(x * x, dim=0) + x.sum(0) + torch.mean(x, dim=0),
    "matmul": lambda torch, x: torch.mm(torch.ones(2, 3, **where_x_is(x)), x) + torch.ones(2, 3, **where_x_is(x)) @ x,
    "clamp": lambda torch, x: torch.clamp(x, min=0.1) + x.clamp(max=0.5) + torch.abs(x) + torch.maximum(x, -x),
    "amax": lambda torch, x: torch.amax(x, dim=1, keepdim=True) + x.amin(dim=0),
    "cat": lambda torch, x: torch.cat([x, x.t().t()]) + torch.stack([x, x]).view(6, 4),
    "einsum": lambda torch, x: torch.einsum("ij,ij->i", x, x),
    "where": lambda torch, x: torch.where(x > 0, x, 0.01 * x) + x * (x > 0),
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", NUMPYS)
def test_functions_of_numpy_itself_take_duals(put, host, name):
    agrees_with_differences(host, lambda x: NUMPYS[name](np, x), put(A))


@pytest.mark.only("torch")
@pytest.mark.parametrize("name", TORCHS)
def test_functions_of_torch_itself_take_duals(put, host, name):
    import torch

    agrees_with_differences(host, lambda x: TORCHS[name](torch, x), put(A))


# --- what must not be lost -------------------------------------------------------------------------------------------

LOSSES = {
    "float": float,
    "bool": lambda x: bool(x > 0) and bool(x),
    "int": int,
    "np.asarray": np.asarray,
    "a cast": lambda x: array_namespace(x).astype(x, array_namespace(x).int64),
    "an index": lambda x: array_namespace(x).arange(3)[x],
    "a step at its jump": lambda x: array_namespace(x).floor(x * 0.0 + x - x + 2.0 * x),
    "no rule": lambda x: array_namespace(x).cumulative_prod(x),
    "a constant argument": lambda x: array_namespace(x).sum(x, axis=x),
}


@pytest.mark.parametrize("name", LOSSES)
def test_an_operation_that_would_lose_a_tangent_raises(xp, put, name):
    with pytest.raises((TypeError, IndexError, AttributeError)):
        tangent_of(LOSSES[name], put(1.0))


@EAGER
@pytest.mark.parametrize(
    "norm",
    [
        lambda linalg, x: linalg.matrix_norm(x, ord=2),
        lambda linalg, x: linalg.matrix_norm(x, ord="nuc"),
        lambda linalg, x: linalg.vector_norm(x[0, :], ord=1),
        lambda linalg, x: linalg.vector_norm(x, ord=3),
    ],
)
def test_a_norm_of_another_order_has_no_rule(xp, put, norm):
    with pytest.raises(TypeError, match="no rule for a norm of order"):
        tangent_of(lambda x: norm(array_namespace(x).linalg, x), put(S))


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    "norm",
    [
        lambda x: np.linalg.norm(x, 2),
        lambda x: np.linalg.norm(x, 2, axis=(0, 1)),
        lambda x: np.linalg.norm(x, 1),
        lambda x: np.linalg.norm(x[0], 1),
        lambda x: np.linalg.norm(x, np.inf, axis=1),
    ],
)
def test_a_norm_of_another_order_of_numpy_itself_has_no_rule(put, norm):
    with pytest.raises(TypeError, match="no rule for a norm of order"):
        tangent_of(norm, put(S))


@pytest.mark.only("numpy")
@pytest.mark.parametrize("write", [np.add.at, lambda a, i, x: a.__setitem__(i, x), lambda a, i, x: np.add(a, x, out=a)])
def test_a_plain_array_does_not_swallow_a_dual(put, write):
    with pytest.raises((TypeError, ValueError)):
        tangent_of(lambda x: write(np.zeros(3), 0, x), put(1.0))


def test_a_constant_dual_is_a_number(xp, put):
    ns = DualNamespace(xp)
    x = Dual(ns, put([1.0, 2.0]))
    assert float(ns.sum(x)) == 3.0
    assert bool(ns.all(x > 0.0))
    assert int(ns.sum(x)) == 3
    assert len(x) == 2
    assert (x + x).tangent is None


def test_every_rule_is_a_function_of_the_standard_or_has_a_test(xp):
    """What is in the tables and in no namespace is torch's or NumPy's own name for it."""
    foreign = {
        "bmm",
        "clone",
        "copy",
        "cumsum",
        "dot",
        "einsum",
        "flatten",
        "inner",
        "kron",
        "mm",
        "mv",
        "ndim",
        "norm",
    }
    foreign |= {"permute", "ravel", "relu", "shape", "sigmoid", "size", "split", "swapaxes", "t", "transpose", "view"}
    foreign |= {"unsqueeze"}
    standard = [n for n in dual._RULES if n not in foreign]
    strict = pytest.importorskip("array_api_strict")
    known = {*dir(strict), *strict.linalg.__all__}
    assert {n for n in standard if n not in known} <= {"cumulative_sum"}


# --- devices -----------------------------------------------------------------------------------------------------

NETWORKS = [
    {},
    {"activation": "relu", "criterion": "squared_error"},
    {"activation": "tanh", "l2": 0.1, "l1": 0.1},
    {"dropout": 0.3, "seed": 3, "label_smoothing": 0.1},
    {"sample_weight": np.linspace(0.5, 1.5, 5)},
]


@QUICK
@pytest.mark.parametrize("options", NETWORKS, ids=lambda options: " ".join(options) or "default")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_network_off_the_first_device_is_checked_by_duals(xp, put, dtype, options):
    """array-api-strict's second device does not mix with the first."""
    X, y = put(textbook.batch(5, 3), getattr(xp, dtype)), put(textbook.labels(5, 2))
    if "sample_weight" in options:
        options = {"sample_weight": put(options["sample_weight"], getattr(xp, dtype))}
    params = tuple(put(p, getattr(xp, dtype)) for p in textbook.parameters((3, 4, 2)))
    report = mx.check_gradients(X, y, *params, **options)
    assert (report.verdict, report.reference) == ("pass", "float64 by dual numbers"), report


_FOUR_DEVICES = """
import jax, numpy as np, textbook, mlp_xp as mx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
jax.config.update("jax_enable_x64", True)
assert len(jax.devices()) == 4
mesh = Mesh(np.asarray(jax.devices()), ("rows",))
whole, rows = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("rows",)))
second = jax.devices()[1]
for name, of_data, of_params in (("second", second, second), ("rows", rows, whole)):
    X, y = (jax.device_put(x, of_data) for x in (textbook.batch(8, 3), textbook.labels(8, 2)))
    params = [jax.device_put(p, of_params) for p in textbook.parameters((3, 4, 2))]
    report = mx.check_gradients(X, y, *params, activation="relu", l1=0.1, dropout=0.2, seed=1)
    print(name, report.verdict, report.reference)
"""


@pytest.mark.only("jax")
def test_a_network_on_other_devices_of_jax_and_on_several_is_checked_by_duals():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    paths = os.pathsep.join([str(Path(textbook.__file__).parent), *sys.path])
    environment = {**os.environ, **flags, "PYTHONPATH": paths}
    lines = subprocess.check_output([sys.executable, "-c", _FOUR_DEVICES], env=environment, text=True).splitlines()
    assert lines == [f"{name} pass float64 by dual numbers" for name in ("second", "rows")]


@pytest.mark.only("array_api_strict")
def test_data_in_the_closure_may_follow_a_dual_to_its_device(xp, put):
    x, weights = put([1.0, 2.0]), put([3.0, 4.0])
    ns = DualNamespace(xp)
    followed = in_library_of(Dual(ns, x, weights), weights)
    assert (type(followed), followed.value.device, followed.tangent) == (Dual, x.device, None)
    assert in_library_of(x, weights) is weights
    moved = in_library_of(x, np.asarray([5, 6]))
    assert (moved.device, moved.dtype) == (x.device, xp.int64)
    for other in (np.float32([1.0, 2.0]), put([1.0, 2.0], xp.float32), put([1, 2])):
        alike = like(other, x)
        assert (alike.device, alike.dtype) == (x.device, x.dtype)


# --- what a function keeps ---------------------------------------------------------------------------------------


class Running(NamedTuple):
    mean: Any
    steps: int


class Model:
    """Keeps all it can of each call."""

    __slots__ = ("__dict__", "attribute", "empty")

    def __init__(self) -> None:
        self.state, self.history, self.latest, self.pairs = {"mean": 0.0}, [], deque(maxlen=3), []
        self.attribute: Any = None
        self.running, self.nested, self.variables = Running(0.0, 0), {"deep": [((0.0,),)]}, []

    def __call__(self, x: Any) -> Any:
        xp = array_namespace(x)
        mean = xp.mean(x)
        loss = xp.sum(x * x * x)
        self.state["mean"] = 0.9 * self.state["mean"] + 0.1 * mean
        self.history.append(loss)
        self.latest.append(x)
        self.pairs.append((len(self.pairs), loss))
        self.attribute, self.plain = loss, x
        self.running = Running(mean, self.running.steps + 1)
        self.nested["deep"][0] = ((loss, (x,)),)
        self.variables.append(lambda: loss)  # of each call: the last one has no duals
        return loss

    def all_kept(self) -> list[Any]:
        (inner,) = self.nested["deep"][0]
        return [
            self.state["mean"], *self.history, *self.latest, *(loss for _, loss in self.pairs), self.attribute,
            self.plain, self.running.mean, inner[0], *inner[1],
            *(variable() for variable in self.variables),
        ]  # fmt: skip


def left_behind():
    gc.collect()
    return [x for x in gc.get_objects() if type(x) in (Dual, DualNamespace)]


@pytest.mark.only("numpy", "torch", "cupy")  # a plain running mean meets duals
def test_a_function_that_keeps_its_results_is_checked_by_duals_and_keeps_plain_arrays(xp, put):
    x, model = put([0.5, -1.0, 2.0]), Model()
    plain = {type(x), type(xp.sum(x)), float}
    before = len(left_behind())
    report = mx.gradcheck(model, lambda x: (3.0 * x * x,), (x,))
    assert (report.verdict, report.reference) == ("pass", "float64 by dual numbers"), report
    assert len(model.history) > 10
    assert {type(kept) for kept in model.all_kept()} <= plain
    assert {kept.dtype for kept in model.all_kept() if hasattr(kept, "dtype")} == {x.dtype}
    assert type(model.running) is Running
    assert model.running.steps == len(model.history)
    assert len(left_behind()) == before
    assert mx.gradcheck(model, lambda x: (3.000001 * x * x,), (x,)).verdict == "fail"


@pytest.mark.parametrize("keeps", [True, False])
def test_whether_a_function_keeps_something_is_known(put, keeps):
    kept = []

    def f(x):
        xp = array_namespace(x)
        loss = xp.sum(x * x)
        if keeps:
            kept.append(loss)
        again = [loss]
        again.append(again)  # garbage that refers to itself is not kept
        return loss

    flat = flattened(f, lambda x: (2.0 * x,), (put([1.0, 2.0]),), None)
    local = prepare(flat.f, flat.arrays, 0)
    found = along_duals(local, {0: put([1.0, 0.5])})
    assert (found.slope, found.ties, flat.f.kept) == (4.0, 0, keeps)
    assert not any(isinstance(each, Dual) for each in kept)


# NumPy refuses these of duals, and forgets to let go of what it was given
REFUSED = {
    "reduce": lambda x: np.logaddexp.reduce(x),
    "accumulate": lambda x: np.add.accumulate(x)[-1],
    "reduceat": lambda x: np.add.reduceat(x, [0])[0],
    "reduce, along an axis": lambda x: np.maximum.reduce(x, axis=0),
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("keeps", [True, False])
def test_what_numpy_forgets_to_let_go_of_is_nothing_that_a_function_keeps(name, keeps):
    kept = {}

    def f(x):
        if keeps:
            kept["mean"] = x.mean()
        return REFUSED[name](x)

    report = mx.gradcheck(f, lambda x: (mx.numerical_grad(REFUSED[name], x),), (np.asarray([0.3, -1.2, 2.0]),))
    assert any("f keeps something" in note for note in report.notes) == keeps
    assert all(isinstance(each, float) for each in kept.values())


@QUICK
def test_what_is_kept_in_a_slot_of_the_first_duals_alone_is_put_back(put):
    class Slots:
        __slots__ = ("first", "other")

    def f(x):
        loss = array_namespace(x).sum(x * x)
        if isinstance(x, Dual) and not hasattr(kept, "first"):
            kept.first, kept.other = loss, x
        return loss

    kept = Slots()
    mx.gradcheck(f, lambda x: (2.0 * x,), (put([1.0, 2.0]),)).raise_if_failed()
    assert not isinstance(kept.first, Dual)
    assert not isinstance(kept.other, Dual)


@QUICK
def test_duals_carry_tangents_in_float32_too(xp, put):
    def f(x):
        if x.dtype != xp.float32:
            raise TypeError("float32, please")
        return array_namespace(x).sum(x * x * x)

    found = directional_derivative(f, put([1.0, 2.0], xp.float32), put([1.0, 0.5], xp.float32))
    assert found.reference == "float32 by dual numbers"
    assert found.value == 9.0  # 3 + 12/2


@QUICK
def test_a_namespace_that_a_function_keeps_is_put_back_too(xp, put):
    class Layer:
        xp = None

    def f(x):
        Layer.xp = None
        layer.xp = layer.cache["xp"] = array_namespace(x)
        layer.spaces.append(layer.xp)  # of each call: the last one has no duals
        return layer.xp.sum(x * x)

    layer = Layer()
    layer.cache, layer.spaces = {}, []
    assert mx.gradcheck(f, lambda x: (2.0 * x,), (put([1.0, 2.0]),)).ok
    assert not isinstance(layer.xp, DualNamespace)
    assert not isinstance(layer.cache["xp"], DualNamespace)
    assert not any(isinstance(each, DualNamespace) for each in layer.spaces)


@QUICK
def test_what_a_function_that_raises_has_kept_is_put_back(put):
    kept = []

    def f(x):
        kept.append(x)
        return float(array_namespace(x).sum(x * x))  # a dual would lose its tangent

    report = mx.gradcheck(f, lambda x: (2.0 * x,), (put([1.0, 2.0]),))
    assert report.ok
    assert "dual" not in report.reference
    assert not any(isinstance(each, Dual) for each in kept)


# --- what is global ----------------------------------------------------------------------------------------------


def test_no_filter_of_warnings_is_touched_and_branches_not_taken_are_silent(xp, put):
    """``sqrt(relu(x))`` has no finite slope at -1, where its branch is not taken; a warning would be an exception."""

    def f(x):
        ns = array_namespace(x)
        seen.append(list(warnings.filters))
        return ns.sum(ns.where(x > 0.0, ns.sqrt(ns.maximum(x, ns.zeros_like(x))), x))

    seen: list[Any] = []
    x, before = put([4.0, 1.0, -1.0]), list(warnings.filters)
    flat = flattened(f, lambda x: (x,), (x,), None)
    local = prepare(flat.f, flat.arrays, 0)
    seen.clear()
    with np.errstate(all="raise"):
        found = along_duals(local, {0: put([1.0, 0.0, 1.0])})
    assert found is not None
    assert found.slope == 0.25 + 1.0
    assert seen == [before]


def test_a_function_that_is_another_one_under_duals_is_not_checked_by_them(put):
    """At ones x^3 has the value of x^2 and another slope; elsewhere both differ."""
    for x in (put([1.0, 1.0]), put([0.5, 2.0]), put([-1.0, 1.0]), put([1.5, -0.5])):
        power = lambda x: x * x * x * x if isinstance(x, Dual) else x * x  # noqa: E731
        report = mx.gradcheck(lambda x: array_namespace(x).sum(power(x)), lambda x: (2.0 * x,), (x,))  # noqa: B023
        assert report.ok, report
        assert "dual" not in report.reference


# --- kinks -----------------------------------------------------------------------------------------------------------

KINKS = {
    "abs": (lambda xp, x: xp.abs(x), abs),
    "maximum": (lambda xp, x: xp.maximum(x, xp.zeros_like(x)), lambda d: max(d, 0.0)),
    "minimum": (lambda xp, x: xp.minimum(x, -x), lambda d: -abs(d)),
    "relu": (lambda xp, x: x * xp.astype(x > 0, x.dtype), lambda d: max(d, 0.0)),
    "where": (lambda xp, x: xp.where(x >= 0, x, 3.0 * x), lambda d: d if d > 0 else 3 * d),
    "max": (lambda xp, x: xp.max(xp.stack([x, -2.0 * x])), lambda d: max(d, -2 * d)),
    "sign": (lambda xp, x: x * xp.sign(x), abs),
}


@pytest.mark.parametrize("name", KINKS)
def test_at_a_kink_the_derivative_is_that_of_the_side_moved_to(xp, put, host, name):
    f, expected = KINKS[name]
    for d in (1.5, -0.5):
        ns = DualNamespace(xp)
        assert float(host(f(ns, Dual(ns, put(0.0), put(d))).tangent)) == expected(d)
        assert any(map(bool, ns.ties))


UNTIED = {
    "max": lambda xp, x: xp.max(x),
    "min": lambda xp, x: xp.min(x),
    "max along an axis": lambda xp, x: xp.max(x, axis=0),
    "maximum": lambda xp, x: xp.maximum(x, xp.zeros_like(x)),
    "equal": lambda xp, x: xp.astype(x == 1.5, x.dtype) * x,
}


@pytest.mark.parametrize("name", UNTIED)
def test_what_does_not_tie_is_no_tie(xp, put, name):
    ns = DualNamespace(xp)
    UNTIED[name](ns, Dual(ns, put([[1.0, -2.0], [3.0, 0.5]]), put([[1.0, 1.0], [2.0, 1.0]])))
    assert [int(count) for count in ns.ties] == [0] * len(ns.ties) != []


@pytest.mark.parametrize("name", ["max", "maximum", "equal"])
def test_equal_entries_that_move_alike_are_no_tie(xp, put, name):
    ns = DualNamespace(xp)
    x = Dual(ns, put([2.0, 2.0, 1.0]), put([3.0, 3.0, 1.0]))
    y = {"max": lambda: ns.max(x), "maximum": lambda: ns.maximum(x, x), "equal": lambda: x == x + 0.0}[name]()
    assert [int(count) for count in ns.ties] == [0]
    if name == "max":
        assert float(y.tangent) == 3.0
    if name == "equal":
        assert bool(ns.all(y))


SORTED_TIES = {
    "sort": (lambda xp, x: xp.sort(x), [0.5, -1.0, 1.0, 2.0, 3.0]),
    "sort, descending": (lambda xp, x: xp.sort(x, descending=True), [3.0, 2.0, 1.0, -1.0, 0.5]),
    "argsort": (lambda xp, x: xp.take(x, xp.argsort(x), axis=0), [0.5, -1.0, 1.0, 2.0, 3.0]),
    "argmax": (lambda xp, x: xp.take(x, xp.argmax(x, keepdims=True), axis=0), [3.0]),
    "argmin": (lambda xp, x: xp.take(x, xp.argmin(x, keepdims=True), axis=0), [0.5]),
}


@pytest.mark.only("numpy", "torch", "jax", "cupy")
@pytest.mark.parametrize("name", SORTED_TIES)
def test_equal_entries_are_sorted_in_the_order_in_which_they_move(put, host, xp, name):
    f, expected = SORTED_TIES[name]
    ns = DualNamespace(xp)
    x = Dual(ns, put([4.0, 2.0, 0.0, 2.0, 2.0]), put([3.0, 1.0, 0.5, 2.0, -1.0]))
    assert host(f(ns, x).tangent).tolist() == expected
    assert sum(map(int, ns.ties)) == (2 if "sort" in name else 0)
    both = Dual(ns, put([[1.0, 1.0, 0.0], [5.0, 6.0, 5.0]]), put([[2.0, 1.0, 3.0], [1.0, 2.0, 3.0]]))
    assert host(ns.sort(both, axis=1).tangent).tolist() == [[3.0, 1.0, 2.0], [1.0, 3.0, 2.0]]
    assert host(ns.sort(both, axis=0).tangent).tolist() == [[2.0, 1.0, 3.0], [1.0, 2.0, 3.0]]


CHOSEN = {  # with all ties decided one way, and the other
    "a comparison": (lambda xp, x: x[0] * xp.astype(x[0] > 0.0, x.dtype), 2.0, 0.0),
    "max": (lambda xp, x: xp.max(x[:2]), 2.0, -1.0),
    "min": (lambda xp, x: xp.min(x[:2]), -1.0, 2.0),
    "argmax": (lambda xp, x: xp.take(x, xp.argmax(x[:2], keepdims=True), axis=0)[0], 2.0, -1.0),
    "the least of a sort": (lambda xp, x: xp.sort(x)[0], 2.0, -1.0),
    "the greatest of a sort": (lambda xp, x: xp.sort(x)[2], 5.0, 5.0),
    "the least of three axes": (lambda xp, x: xp.sort(xp.reshape(x, (1, 1, 3)))[0, 0, 0], 2.0, -1.0),
    "the greatest, descending": (lambda xp, x: xp.sort(x, descending=True)[1], -1.0, 2.0),
}


@pytest.mark.only("numpy", "torch", "jax", "cupy")
@pytest.mark.parametrize("name", CHOSEN)
def test_ties_are_decided_as_chosen(xp, put, name):
    f, *expected = CHOSEN[name]
    for holds, slope in zip((True, False), expected, strict=True):
        ns = DualNamespace(xp, lambda tied: tied | holds if holds else tied & holds)  # noqa: B023
        assert float(f(ns, Dual(ns, put([0.0, 0.0, 1.0]), put([2.0, -1.0, 5.0]))).tangent) == slope


def test_the_sign_of_a_zero_that_stays_is_zero(xp, put, host):
    ns = DualNamespace(xp)
    sign = ns.sign(Dual(ns, put([0.0, 0.0, 0.0, 2.0]), put([0.0, 1.0, -1.0, 0.0])))
    assert host(sign.value).tolist() == [0.0, 1.0, -1.0, 1.0]


def test_a_step_is_flat_where_what_jumps_does_not_move(put, host):
    f, x = namespaced(lambda xp, x: xp.floor(2.0 * x[0]) + xp.round(x[1] + 0.5) + x[1]), put([0.3, 2.0])
    ns = DualNamespace(array_namespace(x))
    assert float(f(Dual(ns, x, put([1.0, 0.0]))).tangent or 0.0) == 0.0
    with pytest.raises(TypeError, match="where it jumps"):
        f(Dual(ns, x, put([0.0, 1.0])))


@pytest.mark.only("torch")
@pytest.mark.parametrize("name", ["max", "min"])
def test_an_extreme_with_its_place_has_no_rule(put, name):
    with pytest.raises(TypeError, match="with its indices"):
        tangent_of(lambda x: getattr(x, name)(dim=0), put(A))


@EAGER
@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_any_subgradient_at_a_kink_is_accepted_and_a_wrong_one_beside_it_refused(xp, put, at_zero):
    values = put([0.0, 0.7, -0.4, 1.3, 0.2])

    def f(x):
        ns = array_namespace(x)
        return ns.sum(ns.maximum(x, ns.zeros_like(x)) * x + ns.maximum(x, ns.zeros_like(x)))

    def grad(x, factor=1.0):
        slope = xp.where(x > 0.0, xp.ones_like(x), xp.where(x == 0.0, at_zero * xp.ones_like(x), xp.zeros_like(x)))
        return (factor * (2.0 * x + 1.0) * slope,)

    report = mx.gradcheck(f, grad, (values,))
    assert report.reference == "float64 by dual numbers"
    assert report.ok, report
    assert mx.gradcheck(f, lambda x: grad(x, 1.0 + 1e-9), (values,)).verdict == "fail"


# --- the checker -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", list(mx.ops.ACTIVATIONS))
def test_duals_go_through_the_whole_network(backend, put, host, activation):
    X, y = put(textbook.batch(5, 3)), put(textbook.labels(5, 2))
    options = {"activation": activation, "l2": 0.1, "l1": 0.01, "dropout": 0.3, "seed": 3}
    # criteria see the logits alone: where an operation takes long, all of them meet one activation
    all_pairs = backend not in ("dask", "jax") or activation == "tanh"
    for criterion in mx.losses.CRITERIA if all_pairs else ("softmax_cross_entropy",):
        params = tuple(map(put, textbook.parameters(textbook.widths_for(criterion, (3, 2, 2)))))

        def f(*params, criterion=criterion):
            xp = array_namespace(*params)
            return mx.objective(xp.asarray(X), xp.asarray(y), *params, criterion=criterion, **options)

        loss, tangents = tangent_of(f, *params)
        _, grads = mx.loss_and_grads(X, y, *params, criterion=criterion, **options)
        slope = sum(float(np.sum(host(g) * host(d))) for g, d in zip(grads, tangents, strict=True))
        np.testing.assert_allclose(float(host(loss.tangent)), slope, rtol=1e-12)


@MIXED
def test_duals_meet_data_that_are_plain_arrays(put, host):
    X, y, params = (
        put(textbook.batch(5, 3)),
        put(textbook.labels(5, 2)),
        tuple(map(put, textbook.parameters((3, 2, 2)))),
    )
    loss, tangents = tangent_of(partial(mx.objective, X, y), *params)
    _, grads = mx.loss_and_grads(X, y, *params)
    slope = sum(float(np.sum(host(g) * host(d))) for g, d in zip(grads, tangents, strict=True))
    np.testing.assert_allclose(float(host(loss.tangent)), slope, rtol=1e-12)


@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=EAGER), pytest.param("float32", marks=QUICK)])
def test_where_f_takes_duals_a_small_error_beside_kinks_is_refused(xp, put, dtype):
    X, y = put(textbook.batch(8, 3)), put(textbook.labels(8, 2))
    params = tuple(put(p, getattr(xp, dtype)) for p in textbook.parameters((3, 4, 2)))

    def f(*p):
        xp = array_namespace(*p)
        return mx.objective(xp.asarray(X, dtype=p[0].dtype), xp.asarray(y), *p, activation="relu", l1=1e-3)

    def grad(*p):
        return mx.loss_and_grads(xp.astype(X, p[0].dtype), y, *p, activation="relu", l1=1e-3)[1]

    report = mx.gradcheck(f, grad, params)
    assert report.ok, report
    assert report.reference == "float64 by dual numbers"
    assert report.evaluations <= 100
    # what float32 can't tell is right in it
    error = {"float64": 1e-11, "float32": 3e-5}[dtype]
    assert mx.gradcheck(f, lambda *p: tuple((1.0 + error) * g for g in grad(*p)), params).verdict == "fail"


@EAGER
@pytest.mark.parametrize("factor", [0.0, -1.0, 1.001, float("nan")])
def test_a_wrong_rule_is_caught_by_the_difference_that_confirms(monkeypatch, xp, put, factor):
    true = derivatives.SLOPES["tanh"]
    monkeypatch.setitem(derivatives.SLOPES, "tanh", lambda xp, x, y: factor * true(xp, x, y))

    def f(x):
        ns = array_namespace(x)
        return ns.sum(ns.tanh(x)) + float(np.float64(0.0))

    def grad(x, by=1.0):
        return (by * (1.0 - xp.tanh(x) ** 2),)

    report = mx.gradcheck(f, grad, (put(A),))
    assert report.ok, report
    assert "dual" not in report.reference
    assert mx.gradcheck(f, lambda x: grad(x, factor), (put(A),)).verdict == "fail"


@pytest.mark.only("numpy")
def test_the_tangent_of_a_number_is_zero_without_asking_the_library():
    assert dual._tangents(None, [0.5, 2, True]) == [0.0, 0.0, 0.0]
    space = DualNamespace(np)
    x = Dual(space, np.asarray([1.0, 2.0]), np.asarray([3.0, 4.0]))
    constant, moving = dual._tangents(np, [Dual(space, np.asarray([5.0])), x])
    assert constant.tolist() == [0.0]
    assert moving is x.tangent


@pytest.mark.only("numpy")
def test_a_dual_is_not_written_into_an_array():
    x = Dual(DualNamespace(np), np.asarray([1.0, 2.0]), np.asarray([3.0, 4.0]))
    with pytest.raises(TypeError):
        np.add(x, 1.0, out=np.empty(2))
    with pytest.raises(TypeError):
        np.add.reduce(x)
