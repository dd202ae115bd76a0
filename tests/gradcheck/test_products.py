"""Pullbacks, forward rules and Hessian-vector products: right ones pass, wrong ones and broken ones are refused."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from known_functions import EAGER, QUICK

import mlp_xp as mx
from mlp_xp.gradcheck import contract

A = np.random.default_rng(3).standard_normal((3, 4))
B = np.random.default_rng(4).standard_normal((3, 4))

# --- pullbacks -------------------------------------------------------------------------------------------------------


def test_check_pullback_takes_a_value_of_any_shape_and_refuses_a_wrong_pullback(xp, put):
    random = np.random.default_rng(2)
    a, b = put(random.standard_normal((2, 3))), put(random.standard_normal((3, 2)))

    def product(a, b):
        return a @ b, lambda c: (c @ xp.matrix_transpose(b), xp.matrix_transpose(a) @ c)

    def wrong(a, b):
        return a @ b, lambda c: (c @ xp.matrix_transpose(b), -(xp.matrix_transpose(a) @ c))

    mx.check_pullback(product, (a, b)).raise_if_failed()
    report = mx.check_pullback(wrong, (a, b), names=("a", "b"))
    assert [row.verdict for row in report.tensors] == ["pass", "fail"]
    assert report.tensors[1].diagnosis == "the sign is wrong"


def test_a_pullback_that_is_not_linear_is_named(put):
    x = put([0.7, -1.3, 2.1])
    report = mx.check_pullback(lambda x: (2.0 * x, lambda c: (2.0 * c + 0.1 * c * c,)), (x,))
    assert "the pullback is not linear" in str(report)
    report = mx.check_pullback(lambda x: (2.0 * x, lambda c: (2.0 * c + 1.0,)), (x,))
    assert "zero cotangent" in str(report)
    mx.check_pullback(lambda x: (2.0 * x, lambda c: (2.0 * c,)), (x,)).raise_if_failed()


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy", "dpnp")
def test_a_pullback_that_changes_its_cotangent_is_named(put):
    def op(x):
        def pullback(c):
            c *= 2.0
            return (1.0 * c,)

        return 2.0 * x, pullback

    report = mx.check_pullback(op, (put([0.7, -1.3, 2.1]),))
    assert report.verdict == "fail"
    assert report.contract == ("the pullback changes its cotangent in place",)
    assert [row.verdict for row in report.tensors] == ["pass"]


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy", "dpnp")
def test_a_pullback_that_changes_one_of_two_cotangents_is_named(put):
    def op(x):
        def pullback(cotangents):
            c, d = cotangents
            found = 2.0 * c + 3.0 * d
            d *= 2.0
            return (found,)

        return (2.0 * x, 3.0 * x), pullback

    report = mx.check_pullback(op, (put([0.7, -1.3, 2.1]),))
    assert report.contract == ("the pullback changes its cotangent in place",)


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (lambda xp: lambda x: 2.0 * x, r"op must return \(value, pullback\), got "),
        (lambda xp: lambda x: (2.0 * x, 2.0), r"op must return \(value, pullback\), got tuple"),
        (lambda xp: lambda x: ((), lambda c: (c,)), "the value of op must be an array, or a container of arrays, got"),
        (lambda xp: lambda x: ((x, x), lambda c: (c,)), r"pullback must return an array for args\[0\], got tuple"),
        (lambda xp: lambda x: (xp.astype(x, xp.int32), lambda c: (c,)), "the value of op must be real floating, got "),
        (
            lambda xp: lambda x: (2.0 * x, lambda c: 2.0 * c),
            "pullback must return a tuple of 1 cotangents, one ",
        ),
        (lambda xp: lambda x: {0: x, 1: lambda c: (c,)}, r"op must return \(value, pullback\), got dict"),
        (lambda xp: 3.0, "op must be a function, got float"),
    ],
)
def test_an_op_of_another_form_is_refused_in_one_sentence(xp, put, op, words):
    with pytest.raises((TypeError, ValueError), match=words):
        mx.check_pullback(op(xp), (put([0.7, -1.3, 2.1]),))


# --- constants, several outputs, complex numbers ----------------------------------------------------------------------


def picking(xp, put, factor=1.0):
    """Rows of W, chosen by their numbers, where a mask is true."""

    def op(W, rows, mask):
        chosen = xp.take(W, rows, axis=0) * xp.astype(mask, W.dtype)[:, None]

        def pullback(c):
            hot = xp.astype(rows[:, None] == xp.arange(W.shape[0], dtype=rows.dtype, **place(rows)), W.dtype)
            d = xp.matrix_transpose(hot * xp.astype(mask, W.dtype)[:, None]) @ c
            return factor * d, None, None

        return chosen, pullback

    return op, (put(A), put([2, 0, 2]), put([True, False, True]))


def place(x):
    return {"device": x.device} if hasattr(x, "device") else {}


@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-6])
@pytest.mark.parametrize(
    "shape",
    [
        *(pytest.param(shape, marks=EAGER) for shape in ("in full", "zeros")),
        *(pytest.param(shape, marks=QUICK) for shape in ("alone", "in a dict")),
    ],
)
def test_integer_and_boolean_arguments_are_constants(xp, put, factor, shape):
    op, (W, rows, mask) = picking(xp, put, factor)

    def other(W, rows, mask):
        value, pullback = op(W, rows, mask)
        if shape == "alone":
            return value, lambda c: pullback(c)[:1]
        if shape == "zeros":
            return value, lambda c: (*pullback(c)[:1], rows * 0, mask)
        return value, pullback

    def of_dict(data):
        value, pullback = op(data["W"], data["rows"], data["mask"])
        return value, lambda c: ({"W": pullback(c)[0]},)

    function, args = other, (W, rows, mask)
    if shape == "in a dict":
        function, args = of_dict, {"W": W, "rows": rows, "mask": mask}
    report = mx.check_pullback(function, args)
    assert [row.verdict for row in report.tensors] == ["pass" if factor == 1.0 else "fail"]
    for names in (("table",), ("table", "of rows", "of whether")):
        assert [row.name for row in mx.check_pullback(function, args, names=names).tensors] == ["table"]


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy", "dpnp")
def test_constant_arrays_are_not_changed_either(xp, put, host):
    rows = xp.asarray(put([2, 0, 2]), copy=True)

    def careless(W, rows):
        value = xp.take(W, rows, axis=0) * 1.0
        rows *= 0
        return value, lambda c: (0.0 * W, None)

    mx.check_pullback(careless, (put(A), rows))
    np.testing.assert_array_equal(host(rows), [2, 0, 2])


def test_arguments_without_a_floating_array_are_refused_in_one_sentence(put):
    for args, held in (((put([1, 2]), put([True])), "got .*int64, .*bool$"), ((3.0,), "got no array$")):
        with pytest.raises(ValueError, match=rf"^args must hold at least one real floating or complex array, {held}"):
            mx.check_pullback(lambda *_: 0.0, args)


@pytest.mark.parametrize(
    ("cotangents", "words"),
    [
        (lambda c: (c, c, c), "pullback must return a tuple of 2 cotangents, one per argument, got 3"),
        (lambda c: (c, None), r"pullback must return an array for args\[1\], got NoneType"),
        (lambda c: (1.0, c), r"pullback must return an array for args\[0\], got float"),
        (lambda c: None, "pullback must return a tuple of 2 cotangents, one per argument, got NoneType"),
    ],
)
def test_cotangents_of_another_form_are_refused_in_one_sentence(put, cotangents, words):
    with pytest.raises(ValueError, match=f"^{words}$"):
        mx.check_pullback(lambda a, b: (a + b, cotangents), (put([0.7, -1.3]), put([0.1, 0.2])))


@QUICK
def test_a_cotangent_of_another_dtype_is_refused_with_both_names(xp, put):
    x = put([0.7, -1.3])
    report = mx.check_pullback(lambda x: (x * x, lambda c: (xp.astype(2.0 * x * c, xp.float32),)), (x,))
    assert report.verdict == "fail"
    assert report.tensors[0].diagnosis.startswith("the gradient has dtype ")
    assert "float32, the parameter " in report.tensors[0].diagnosis


@pytest.mark.only("numpy")
def test_a_pullback_that_returns_one_array_at_every_call_is_linear_all_the_same():
    buffer = np.zeros(3)

    def op(x):
        def pullback(c):
            buffer[...] = 2.0 * x * c
            return (buffer,)

        return x * x, pullback

    (sentence,) = mx.check_pullback(op, (np.asarray([0.7, -1.3, 2.0]),)).contract
    assert sentence.startswith("the pullback returns the same arrays at every call and overwrites them")


@pytest.mark.only("torch")
@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_cotangents_with_a_past_are_checked_as_their_numbers(put, factor):
    weight = put([2.0, 3.0]).requires_grad_()
    report = mx.check_pullback(lambda x: (x * weight.detach(), lambda c: (factor * c * weight,)), (put([0.7, -1.3]),))
    assert (report.verdict, report.contract) == ("pass" if factor == 1.0 else "fail", ())


@QUICK
@pytest.mark.only("numpy")
def test_the_cotangent_of_a_0d_array_may_be_a_number():
    a, b = np.asarray(0.5), np.asarray([0.7, -1.3])

    def op(a, b):
        return a * b, lambda c: (float(c @ b), a * c)

    mx.check_pullback(op, (a, b)).raise_if_failed()
    for other, kind in (("1.0", "str"), (None, "NoneType")):
        with pytest.raises(ValueError, match=rf"pullback must return an array for args\[0\], got {kind}"):
            mx.check_pullback(lambda a, b: (a * b, lambda c: (other, a * c)), (a, b))  # noqa: B023


@pytest.mark.parametrize("wrong", [None, 1, *(pytest.param(i, marks=QUICK) for i in (0, 2))])
def test_every_one_of_several_outputs_is_checked(xp, put, wrong):
    """A value in containers, with an output of integers, whose cotangent is None."""
    at = [1.0 + 1e-6 if i == wrong else 1.0 for i in range(3)]

    def op(a, b):
        value = {"sum": a + b, "row": (xp.argmax(a, axis=0), xp.sum(a * a, axis=0))}, xp.sum(b)

        def pullback(c):
            outer, total = c
            assert outer["row"][0] is None
            d_squares = 2.0 * at[1] * outer["row"][1] * a
            return at[0] * outer["sum"] + d_squares, at[0] * outer["sum"] + at[2] * total * xp.ones_like(b)

        return value, pullback

    report = mx.check_pullback(op, (put(A), put(B)))
    assert report.verdict == ("pass" if wrong is None else "fail")


@QUICK
def test_outputs_are_linear_together(put):
    """The product of two cotangents vanishes where one of them does."""

    def op(a):
        return (a + 0.0, 2.0 * a), lambda c: (c[0] + 2.0 * c[1] + 1e-3 * c[0] * c[1],)

    report = mx.check_pullback(op, (put([0.7, -1.3]),))
    assert "the pullback is not linear in the cotangent" in report.contract


@pytest.mark.only("numpy", "torch", "jax")
@pytest.mark.parametrize("wirtinger", [None, "conjugate", "plain"])
@pytest.mark.parametrize("conjugate", [True, False])
def test_a_complex_cotangent_is_that_of_the_convention(xp, put, wirtinger, conjugate):
    z, w = put(A[0] + 1j * B[0]), put(A[1] + 1j * B[1])

    def op(z, w):
        def pullback(c):
            return (c * xp.conj(w), c * xp.conj(z)) if conjugate else (c * w, c * z)

        return z * w, pullback

    report = mx.check_pullback(op, (z, w), wirtinger=wirtinger, names=("z", "w"))
    assert report.ok == (conjugate == (wirtinger != "plain"))
    assert [row.name for row in report.tensors] == ["z.real", "z.imag", "w.real", "w.imag"]
    if wirtinger is None and not conjugate:
        cause = "the complex conjugate of what belongs here: if that is meant, check with wirtinger='plain'"
        assert {row.diagnosis for row in report.tensors} == {cause}
        assert all(row.explained for row in report.tensors)


@pytest.mark.only("numpy", "torch", "jax")
@pytest.mark.parametrize("right", [True, False])
def test_from_real_to_complex_and_back(xp, put, right):
    x, z = put(A[0]), put(A[1] + 1j * B[1])

    def turned(x):  # exp(ix): complex of real; its cotangent is real
        y = xp.exp(1j * xp.astype(x, z.dtype))
        return y, lambda c: (xp.real(xp.conj(1j * y) * c) if right else xp.imag(y * c),)

    def size(z):  # |z|^2: real of complex
        return xp.real(z * xp.conj(z)), lambda c: ((2.0 if right else 1.0) * xp.astype(c, z.dtype) * z,)

    assert mx.check_pullback(turned, (x,)).ok == right
    assert mx.check_pullback(size, (z,)).ok == right


def test_a_convention_of_another_name_is_refused(put):
    with pytest.raises(ValueError, match="wirtinger must be 'conjugate' or 'plain', got 'torch'"):
        mx.check_pullback(lambda x: (x, lambda c: (c,)), (put([1.0]),), wirtinger="torch")


@pytest.mark.only("numpy")
@pytest.mark.parametrize("check", [mx.gradcheck, mx.check_pullback, mx.check_jvp, mx.check_hvp])
def test_the_seed_of_a_check_is_0_unless_another_is_given(check):
    assert inspect.signature(check).parameters["seed"].default == 0


# --- what lies in memory otherwise -----------------------------------------------------------------------------------

LAYOUTS = {"sliced with a step", "transposed", "reversed", "expanded from one number"}


def layouts(report):
    return {found for found in LAYOUTS for sentence in report.contract if f"for one that is {found} it" in sentence}


def in_memory_order(c):
    return c.ravel("K").reshape(c.shape)


def from_its_pointer(c):
    return np.lib.stride_tricks.as_strided(c, c.shape, np.ones(c.shape, c.dtype).strides)


def from_its_first_strides(c):
    """A row length taken for that of C order, as in C code that is handed one stride."""
    row = c.strides[0] if c.ndim == 2 else 0
    return np.lib.stride_tricks.as_strided(c, c.shape, (row, c.itemsize)) if row > 0 else c


def from_its_base(c):
    base = c if c.base is None else c.base
    return base.reshape(-1)[: c.size].reshape(c.shape) if base.size >= c.size else c


RAW = [
    (in_memory_order, {"transposed"}),
    (from_its_pointer, {"sliced with a step", "transposed"}),
    (from_its_first_strides, {"sliced with a step", "transposed"}),
    (from_its_base, {"sliced with a step", "reversed"}),
]


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("read", "found"), RAW, ids=[read.__name__ for read, _ in RAW])
def test_a_pullback_that_reads_raw_memory_is_named_with_the_layouts(read, found):
    report = mx.check_pullback(lambda x: (2.0 * x, lambda c: (2.0 * read(c),)), (A.copy(),))
    assert [row.verdict for row in report.tensors] == ["pass"]
    assert report.verdict == "fail"
    assert layouts(report) >= found
    assert all(": for one that is " in sentence for sentence in report.contract)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_raw_memory_is_seen_in_every_number_of_dimensions(shape):
    def unlike_contiguous(c):  # of a view with strides of its own another number
        return c if c.flags.c_contiguous else 0.0 * c

    x = np.random.default_rng(6).standard_normal(shape)
    report = mx.check_pullback(lambda x: (2.0 * x, lambda c: (2.0 * unlike_contiguous(c),)), (x,))
    assert layouts(report) == LAYOUTS - ({"transposed"} if len(shape) == 1 else set())


@pytest.mark.only("numpy")
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4), (0, 3)])
def test_a_layout_is_what_its_name_says_and_has_the_same_numbers(shape):
    x, other = (np.asarray(np.random.default_rng(seed).standard_normal(shape)) for seed in (0, 1))
    laid = {name: arrange(np, x, other) for name, arrange in contract._LAYOUTS.items()}
    assert set(laid) == LAYOUTS
    for name, y in laid.items():
        assert y.shape == shape
        if name != "expanded from one number":
            np.testing.assert_array_equal(y, x)
        elif x.size:
            np.testing.assert_array_equal(y, np.full(shape, x.flat[0]))
    if x.size and shape:
        assert laid["sliced with a step"].strides[-1] == 2 * x.itemsize
        assert laid["reversed"].strides[-1] == -x.itemsize
        assert set(laid["expanded from one number"].strides) == {0}
        columns = -2 if len(shape) > 1 else -1
        assert laid["transposed"].strides[columns] == x.itemsize


@pytest.mark.only("numpy")
@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (1, 1)])
def test_raw_memory_of_one_output_is_seen_whatever_the_shape_of_another(shape):
    """What has no columns to transpose, or no entries to slice, is handed over as it is."""
    x, y = A.copy(), np.ones(shape)

    def op(x, y):
        return (2.0 * x, 2.0 * y), lambda c: (2.0 * c[0] * c[0].flags.c_contiguous, 2.0 * c[1])

    assert layouts(mx.check_pullback(op, (x, y))) == LAYOUTS
    assert layouts(mx.check_pullback(lambda y, x: (op(x, y)[0][::-1], lambda c: op(x, y)[1](c[::-1])[::-1]), (y, x)))


@pytest.mark.only("torch")
def test_a_backward_pass_that_reads_raw_memory_is_named(put):
    import torch

    def flat_view(g):
        return g.view(-1).view(g.shape)

    def storage(g):
        whole = torch.empty(0, dtype=g.dtype).set_(g.untyped_storage())
        return whole[torch.arange(g.numel()) % len(whole)].view(g.shape)

    def strided(g):
        room = g.untyped_storage().nbytes() // g.itemsize - g.storage_offset() >= g.numel()
        return torch.as_strided(g, g.shape, torch.empty(g.shape).stride()) if room else g

    def by_rows(g):  # takes rows to lie one after the other, and columns side by side
        return torch.as_strided(g, g.shape, (g.shape[1], 1)) if g.is_contiguous() or g.stride(1) > 1 else g

    def unshared(g):
        return g + 0.0

    for read, found in (
        (flat_view, {"transposed"}),
        (storage, {"sliced with a step", "transposed"}),
        (strided, {"sliced with a step", "transposed"}),
        (by_rows, {"sliced with a step", "transposed"}),
        (unshared, set()),
    ):

        class Doubled(torch.autograd.Function):
            @staticmethod
            def forward(context, x):
                return 2.0 * x

            @staticmethod
            def backward(context, g):
                return 2.0 * read(g)  # noqa: B023

        report = mx.check_pullback(Doubled, (put(A),))
        assert layouts(report) >= found
        assert report.ok == (not found), str(report)


@pytest.mark.only("torch")
def test_a_cotangent_that_a_sum_expands_is_tried(put):
    def op(x):
        def pullback(c):
            if 0 in c.stride() and c.numel() > 1:
                raise RuntimeError("expanded\nsecond line")
            return (2.0 * c,)

        return 2.0 * x, pullback

    report = mx.check_pullback(op, (put(A),))
    assert report.contract == (
        "the pullback reads how its cotangent lies in memory: for one that is expanded from one number it raises "
        "RuntimeError: expanded",
    )


@QUICK
@pytest.mark.parametrize("shape", [(), (1,), (5,), (0, 3), (2, 3), (2, 3, 4)])
def test_a_right_pullback_is_right_in_every_shape_and_layout(xp, put, shape):
    x = put(np.random.default_rng(5).standard_normal(shape))
    report = mx.check_pullback(lambda x: (2.0 * x, lambda c: (2.0 * c,)), (x,))
    assert report.ok, str(report)


def test_a_pullback_that_raises_for_another_cotangent_is_named(xp, put):
    def op(x):
        def pullback(c):
            if not bool(xp.any(c != 0.0)):
                raise ZeroDivisionError("no cotangent")
            return (2.0 * c,)

        return 2.0 * x, pullback

    report = mx.check_pullback(op, (put([0.7, -1.3]),))
    assert report.contract == ("the pullback raises for another cotangent: ZeroDivisionError: no cotangent",)


# --- forward rules ---------------------------------------------------------------------------------------------------


@QUICK
@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-6, 0.0, -1.0])
@pytest.mark.parametrize("pair", [False, True])
def test_a_forward_rule_is_checked(xp, put, factor, pair):
    def op(a, b):
        return a @ xp.matrix_transpose(b)

    def jvp(args, tangents):
        (a, b), (da, db) = args, tangents
        tangent = da @ xp.matrix_transpose(b) + factor * (a @ xp.matrix_transpose(db))
        return (op(a, b), tangent) if pair else tangent

    report = mx.check_jvp(op, jvp, (put(A), put(B)), names=("a", "b"))
    assert [(row.name, row.verdict) for row in report.tensors] == [
        ("a", "pass"),
        ("b", "pass" if factor == 1.0 else "fail"),
    ]
    assert report.evaluations < (100 if factor == 1.0 else 1000)


@QUICK
def test_a_forward_rule_of_constants_and_of_several_outputs(xp, put):
    seen = []

    def op(a, power, rows):
        return {"power": a**power, "count": rows}, xp.sum(a)

    def jvp(args, tangents):
        (a, power, _), (da, *others) = args, tangents
        seen.extend(others)
        return {"power": power * a ** (power - 1.0) * da, "count": None}, xp.sum(da)

    a = put(np.abs(A) + 0.5)
    mx.check_jvp(op, jvp, (a, 3.0, put([1, 2]))).raise_if_failed()
    assert set(seen) == {None}

    def wrong(args, tangents):
        outer, total = jvp(args, tangents)
        return outer, total * (1.0 + 1e-6)

    assert mx.check_jvp(op, wrong, (a, 3.0, put([1, 2]))).verdict == "fail"
    assert mx.check_jvp(op, lambda *at: (None, jvp(*at)), (a, 3.0, put([1, 2]))).ok  # (value, tangent)


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_a_forward_rule_in_float32_is_judged_in_float64(xp, put):
    a = put(A, dtype=xp.float32)
    report = mx.check_jvp(lambda a: xp.sin(a), lambda at, v: xp.cos(at[0]) * v[0], (a,))
    assert report.ok
    assert "float64" in report.reference
    assert report.tensors[0].resolution < 1e-5  # what float32 tells


@pytest.mark.only("numpy", "torch", "array_api_strict", "cupy", "dpnp")
def test_a_forward_rule_that_is_not_linear_or_changes_its_tangent_is_named(xp, put):
    a = put([0.7, -1.3, 2.1])

    def changing(at, v):
        tangent = 2.0 * v[0]
        v[0][...] = 0.0 * tangent
        return tangent

    for rule, sentence in (
        (lambda at, v: 2.0 * v[0] + 0.1 * v[0] * v[0], "the forward rule is not linear in the tangent"),
        (lambda at, v: 2.0 * v[0] + 1.0, "the forward rule does not take a zero tangent to zero"),
        (changing, "the forward rule changes its tangent in place"),
    ):
        assert sentence in mx.check_jvp(lambda a: 2.0 * a, rule, (a,)).contract

    def in_place(at, v):
        at[0][...] = 0.0 * at[0]
        return 2.0 * v[0]

    def drawing(at, v):
        return 2.0 * v[0] * put(draws.uniform(0.5, 1.5, 3))

    draws = np.random.default_rng(0)
    assert mx.check_jvp(lambda a: 2.0 * a, drawing, (a,)).contract[0].startswith("the forward rule is not repeatable")


@pytest.mark.parametrize(
    ("op", "jvp", "error", "words"),
    [
        (
            lambda x: x,
            lambda at, v: None,
            ValueError,
            r"jvp must return a tangent like the value, an array of shape \(2,\), got None",
        ),
        (
            lambda x: x,
            lambda at, v: v[0][:1],
            ValueError,
            r"jvp must return a tangent like the value, an array of shape \(2,\), got shape \(1,\)",
        ),
        (
            lambda x: (x, x),
            lambda at, v: (v[0], None),
            ValueError,
            r"jvp must return a tangent like the value\[1\], an array",
        ),
        (
            lambda x: x,
            lambda at, v: (at[0], v[0], v[0]),
            ValueError,
            "jvp must return a tangent like the value, an array",
        ),
        (lambda x: None, lambda at, v: v[0], TypeError, "the value of op must be an array, or a container of arrays"),
        (3.0, lambda at, v: v[0], TypeError, "op must be a function, got float"),
        (lambda x: x, 3.0, TypeError, "jvp must be a function, got float"),
        (
            lambda x: x,
            None,
            TypeError,
            "jvp must be a function, or op a torch.autograd.Function or a jax.custom_jvp, got",
        ),
    ],
)
def test_a_forward_rule_of_another_form_is_refused_in_one_sentence(put, op, jvp, error, words):
    with pytest.raises(error, match=f"^{words}"):
        mx.check_jvp(op, jvp, (put([0.7, -1.3]),))


@pytest.mark.only("jax")
def test_a_jax_rule_is_checked_both_ways_and_its_complex_cotangents_are_plain():
    import jax
    import jax.numpy as jnp

    @jax.custom_jvp
    def square(z):
        return z * z

    square.defjvp(lambda at, v: (at[0] * at[0], 2.0 * at[0] * v[0]))
    mx.check_pullback(square, (jnp.asarray([0.5 + 1j]),)).raise_if_failed()
    mx.check_jvp(square, None, (jnp.asarray([0.5]),)).raise_if_failed()


# --- Hessian-vector products -----------------------------------------------------------------------------------------


def test_a_hessian_vector_product_is_checked(put):
    x = put([0.7, -1.3, 2.1])

    def grad(x):
        return (3.0 * x * x,)

    mx.check_hvp(grad, lambda at, v: (6.0 * at[0] * v[0],), (x,)).raise_if_failed()
    assert mx.check_hvp(grad, lambda at, v: (3.0 * at[0] * v[0],), (x,)).verdict == "fail"


@QUICK
def test_a_hessian_vector_product_takes_params_in_any_container(put):
    x = put([0.7, -1.3, 2.1])

    def product(x, v):
        return 6.0 * x * v

    mx.check_hvp(lambda x: 3.0 * x * x, product, x).raise_if_failed()
    mx.check_hvp(
        lambda p: {"w": 3.0 * p["w"] ** 2}, lambda p, v: {"w": product(p["w"], v["w"])}, {"w": x}
    ).raise_if_failed()
    wrong = mx.check_hvp(lambda p: {"w": 3.0 * p["w"] ** 2}, lambda p, v: {"w": -product(p["w"], v["w"])}, {"w": x})
    assert wrong.verdict == "fail"
    with pytest.raises(ValueError, match="grad must return 1 gradients, one per parameter, got 2"):
        mx.check_hvp(lambda x: (x, x), product, (x,))
