"""A wrong gradient in words: its likely cause, the caller's hypotheses, where to look first; and blind spots."""

from __future__ import annotations

import numpy as np
import pytest
from array_api_compat import array_namespace
from known_functions import QUICK, cubes, cubes_at_a_point, cubes_gradient

import mlp_xp as mx

RANDOM = np.random.default_rng(3)
A, B = RANDOM.standard_normal((4, 4)), RANDOM.standard_normal((4, 4))
V = RANDOM.standard_normal(7)


def spoilt(spoil):
    """The gradient of ``cubes`` with its first array spoilt."""

    def gradient(*arrays):
        first, *others = cubes_gradient(*arrays)
        return spoil(array_namespace(*arrays), first, *arrays), *others

    return gradient


# words of the diagnosis -> what is done to the gradient of the first array
OF_A_MATRIX = {
    "the sign is wrong": lambda xp, g, x, *_: -g,
    "2 times the true one: something counted twice": lambda xp, g, x, *_: 2.0 * g,
    "1/2 times the true one: a factor 2 forgotten": lambda xp, g, x, *_: 0.5 * g,
    "32 times the true one: a sum where a mean belongs": lambda xp, g, x, *_: 32.0 * g,
    "1/10 times the true one: a mean where a sum belongs": lambda xp, g, x, *_: g / 10.0,
    "0.7 times the true one: a keep probability": lambda xp, g, x, *_: 0.7 * g,
    "1/0.7 times the true one: a keep probability": lambda xp, g, x, *_: g / 0.7,
    "1.2345 times the true one": lambda xp, g, x, *_: 1.2345 * g,
    "zero everywhere": lambda xp, g, x, *_: 0.0 * g,
    "the gradient is transposed": lambda xp, g, x, *_: xp.matrix_transpose(g),
    "this is the gradient of b over again": lambda xp, g, x, b: 3.0 * b * b,
    "in reverse order along axis 0": lambda xp, g, x, *_: xp.flip(g, axis=0),
    "shifted by 1 along axis 1": lambda xp, g, x, *_: xp.roll(g, 1, axis=1),
    "summed over axis 0 and spread": lambda xp, g, x, *_: xp.sum(g, axis=0, keepdims=True) * xp.ones_like(g),
    "the sum of all": lambda xp, g, x, *_: xp.sum(g) * xp.ones_like(g),
    "the mean of all": lambda xp, g, x, *_: xp.sum(g) / 16.0 * xp.ones_like(g),
    "missing, 0.01 times the parameter itself: an L2 penalty": lambda xp, g, x, *_: g - 0.01 * x,
    "too much, 0.01 times the parameter's sign: an L1 penalty": lambda xp, g, x, *_: g + 0.01 * xp.sign(x),
    "too much, 0.5 times 1: a constant": lambda xp, g, x, *_: g + 0.5,
    "clipped at 0.5": lambda xp, g, x, *_: xp.where(g > 0.5, xp.full_like(g, 0.5), g),
    "the sizes are right, the signs are not": lambda xp, g, x, *_: xp.sign(x) * g,
    "4 of 16 entries looked at are wrong, all in row 2, which is zero": lambda xp, g, x, *_: g * row(xp, x, 2),
    "all in column 1": lambda xp, g, x, *_: g * (2.0 - xp.matrix_transpose(row(xp, x, 1))),
    "one entry is wrong, of 16": lambda xp, g, x, *_: (
        g + (1.0 - row(xp, x, 1)) * (1.0 - xp.matrix_transpose(row(xp, x, 2)))
    ),
}


def row(xp, x, number):
    """Ones, and zeros in one row."""
    place = {"device": x.device} if hasattr(x, "device") else {}
    return xp.ones_like(x) * xp.astype(xp.arange(x.shape[0], **place) != number, x.dtype)[:, None]


@QUICK
@pytest.mark.parametrize("words", OF_A_MATRIX)
def test_the_cause_is_named(put, words):
    report = mx.gradcheck(cubes, spoilt(OF_A_MATRIX[words]), (put(A), put(B)), names=("a", "b"))
    assert [r.verdict for r in report.tensors] == ["fail", "pass"]
    assert words in report.tensors[0].diagnosis


@QUICK
def test_two_swapped_gradients_are_named(put):
    report = mx.gradcheck(cubes, lambda a, b: cubes_gradient(b, a), (put(A), put(B)), names=("a", "b"))
    assert "the gradient of b is what belongs here: are the two swapped?" in report.tensors[0].diagnosis


@QUICK
def test_an_error_without_a_pattern_is_said_to_have_none(xp, put):
    noise = put(np.random.default_rng(9).standard_normal(A.shape))
    report = mx.gradcheck(cubes, spoilt(lambda xp, g, *_: g + noise), (put(A), put(B)))
    assert "in no pattern known here" in report.tensors[0].diagnosis
    assert not report.tensors[0].explained


@pytest.mark.only("numpy", "torch", "cupy")  # the others have no such dtype
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_low_precision_on_the_way_is_named(xp, put, dtype):
    def lossy(xp, g, *_):
        return xp.astype(xp.astype(g, getattr(xp, dtype)), xp.float64)

    report = mx.gradcheck(cubes, spoilt(lossy), (put(A), put(B)))
    digits = {"float32": 24, "float16": 11}[dtype]
    assert f"low precision: no entry has more than {digits} binary digits" in report.tensors[0].diagnosis


@QUICK
def test_the_mistake_nearest_to_the_loss_is_blamed(put):
    def grad(a, b, v):
        return tuple(2.0 * g for g in cubes_gradient(a, b)) + cubes_gradient(v)

    report = mx.gradcheck(cubes, grad, (put(A), put(B), put(V)), names=("a", "b", "v"))
    assert report.blame.startswith("b, the nearest to the loss; v behind it is right; what is upstream")
    assert f"look first: {report.blame}" in str(report)
    assert mx.gradcheck(cubes, cubes_gradient, (put(A), put(B))).blame == ""


# --- hypotheses ------------------------------------------------------------------------------------------------------


def test_a_hypothesis_that_explains_the_gradient_is_the_diagnosis(put):
    f, _, x = cubes_at_a_point(put)
    hypotheses = {"the square was forgotten": lambda x: (3.0 * x,), "the 3 was forgotten": lambda x: (x * x,)}
    report = mx.gradcheck(f, lambda x: (x * x,), (x,), hypotheses=hypotheses)
    assert report.tensors[0].diagnosis == "the 3 was forgotten"
    report = mx.gradcheck(f, lambda x: (x * x * x,), (x,), hypotheses=hypotheses)
    assert "forgotten" not in report.tensors[0].diagnosis


@QUICK
def test_a_hypothesis_that_agrees_everywhere_goes_before_a_pattern_and_one_that_does_not_after_it(put):
    params = (put(A), put(B))
    both = {
        "all doubled": lambda *p: tuple(2.0 * g for g in cubes_gradient(*p)),
        "shaken": lambda *p: tuple(g + put(B) for g in cubes_gradient(*p)),
    }

    def diagnosis(grad):
        return mx.gradcheck(cubes, grad, params, hypotheses=both).tensors[0].diagnosis

    assert diagnosis(both["all doubled"]) == "all doubled"
    assert "2 times the true one" in diagnosis(spoilt(lambda xp, g, *_: 2.0 * g))  # of one array alone
    assert diagnosis(spoilt(lambda xp, g, *_: g + put(B))) == "shaken"


# --- blind spots -----------------------------------------------------------------------------------------------------


BLIND_SPOTS = {
    "is all zeros": np.zeros((3, 3)),
    "all columns of x are equal": np.ones((3, 3)) * np.asarray([[1.0], [2.0], [3.0]]),
    "all rows of x are equal": np.ones((3, 3)) * np.asarray([1.0, 2.0, 3.0]),
    "equals its transpose": A[:3, :3] + A[:3, :3].T,
    "1 of 3 columns of the gradient of x are zero": A[:3, :3] * np.asarray([1.0, 0.0, 1.0]),
    "1 of 3 rows of the gradient of x are zero": A[:3, :3] * np.asarray([[1.0], [0.0], [1.0]]),
    "the gradient of x has rank one": np.outer([1.0, 2.0, 3.0], [1.0, -2.0, 1.5]),
    "the gradient of x is zero everywhere": np.zeros((3, 3)),
}


@QUICK
@pytest.mark.parametrize("words", BLIND_SPOTS)
def test_a_blind_spot_is_called_out(put, words):
    report = mx.gradcheck(cubes, cubes_gradient, (put(BLIND_SPOTS[words]),), names=("x",))
    assert report.ok  # a warning beside the verdict, not part of it
    assert any(words in sentence for sentence in report.weak), report.weak
    assert "blind spot: " in str(report)


@QUICK
def test_an_ordinary_point_has_no_blind_spot(put):
    assert mx.gradcheck(cubes, cubes_gradient, (put(A), put(V))).weak == ()
