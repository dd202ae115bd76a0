"""Pullbacks and Hessian-vector products: right ones pass, wrong ones and broken ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

import mlp_xp as mx

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


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy")
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
        (lambda xp: 3.0, "op must be a function, got float"),
    ],
)
def test_an_op_of_another_form_is_refused_in_one_sentence(xp, put, op, words):
    with pytest.raises((TypeError, ValueError), match=words):
        mx.check_pullback(op(xp), (put([0.7, -1.3, 2.1]),))


# --- Hessian-vector products -----------------------------------------------------------------------------------------


def test_a_hessian_vector_product_is_checked(put):
    x = put([0.7, -1.3, 2.1])

    def grad(x):
        return (3.0 * x * x,)

    mx.check_hvp(grad, lambda at, v: (6.0 * at[0] * v[0],), (x,)).raise_if_failed()
    assert mx.check_hvp(grad, lambda at, v: (3.0 * at[0] * v[0],), (x,)).verdict == "fail"


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
