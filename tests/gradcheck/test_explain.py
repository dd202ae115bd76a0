"""A wrong gradient in words: its likely cause, the caller's hypotheses, where to look first; and blind spots."""

from __future__ import annotations

import math

import numpy as np
import pytest
from array_api_compat import array_namespace
from known_functions import QUICK, QUICKEST, cubes, cubes_at_a_point, cubes_gradient, on_arrays

import mlp_xp as mx
from mlp_xp.gradcheck import explain
from mlp_xp.gradcheck.entries import Entries
from mlp_xp.gradcheck.evidence import LocalGradient, Probe
from mlp_xp.gradcheck.explain import diagnose
from mlp_xp.gradcheck.forms import flattened
from mlp_xp.gradcheck.local import prepare
from mlp_xp.gradcheck.report import TensorReport

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
def test_a_factor_is_named_at_any_scale_of_the_function(put):
    x = put(V)
    for scale in (1.0, 1e-300, 1e-200, 1e200, 1e290):
        for factor, words in (
            (2.0, "2 times"),
            (-1.0, "the sign is wrong"),
            (1.5, "1.5 times"),
            (1.234567, "1.234567"),
        ):
            f, grad = (lambda x: scale * cubes(x)), (lambda x: (factor * scale * cubes_gradient(x)[0],))  # noqa: B023
            (row,) = mx.gradcheck(f, grad, (x,)).tensors
            assert words in row.diagnosis, (scale, factor)


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


# --- errors that no entry shows, and those without a pattern ----------------------------------------------------------


def weighted(put, weights, spoil=lambda g: g):
    """``sum(w sin(x))`` plus a constant that hides small slopes, and its gradient, spoilt."""

    def f(x):
        xp = array_namespace(x)
        return xp.sum(put(weights, x.dtype) * xp.sin(x))

    def grad(x):
        xp = array_namespace(x)
        return (spoil(put(weights, x.dtype) * xp.cos(x)),)

    return f, grad


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("factor", "shape"), [(1.1, (40, 30)), (1.3, (900,)), (2.0, (10, 10, 10))])
def test_an_error_hidden_in_single_entries_is_not_called_small(put, factor, shape):
    entries = Entries([0, 1, 2], put([1.1, 2.2, 3.3]) / 1.1 * factor, put([1.0, 2.0, 3.0]), put([9.0, 9.0, 9.0]))
    probes = [Probe(factor * n, n, 1e-3, 4.0, 0.0) for n in (3.0, -2.0)]
    known, sentence = diagnose(local_gradient(put, shape), 0, entries, probes)
    assert known
    assert "too small" not in sentence
    assert sentence.startswith("single entries are hidden by rounding of relative size 3; along random directions the")
    assert f"{factor:g} times the true one" in sentence


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    "probes",
    [
        [Probe(1.1, 1.0, 1e-3, 4.0, 0.0), Probe(2.0, 1.0, 1e-3, 4.0, 0.0)],  # not one factor
        [Probe(1.1, 1.0, 0.09, 4.0, 0.0), Probe(1.1, 1.0, 0.09, 4.0, 0.0)],  # it is not known
        [Probe(1.1, 1.0, 1e-3, 4.0, 0.0)],  # one direction says nothing of others
        [Probe(1.1, 1.0, 1e-3, 4.0, 0.0), Probe(1.0, 1.0, 1e-3, 4.0, 0.0)],  # one is right
        [Probe(1.1, 0.0, 1e-3, 4.0, 0.0), Probe(2.0, 0.0, 1e-3, 4.0, 0.0)],
    ],
)
def test_directions_without_a_common_factor_name_none(put, probes):
    entries = Entries([0, 1], put([1.1, 2.2]), put([1.0, 2.0]), put([9.0, 9.0]))
    known, sentence = diagnose(local_gradient(put, (60,)), 0, entries, probes)
    assert not known
    assert sentence.endswith("of the gradient, in no pattern known here")


@pytest.mark.only("numpy")
def test_entries_whose_rounding_has_no_bound_are_not_spoken_of(put):
    entries = Entries([0, 1], put([1.1, 2.2]), put([1.0, 2.0]), put([9.0, math.inf]))
    probe = Probe(1.5, 1.0, 1e-3, 4.0, 0.0)
    assert diagnose(local_gradient(put, (60,)), 0, entries, [probe])[1].startswith("along random directions the error")


def local_gradient(put, shape, gradient=None):
    """A gradient at a point, with no numbers of its own that a diagnosis reads but ``gradient``."""
    x = put(np.random.default_rng(2).standard_normal(shape))
    flat = flattened(lambda x: x.sum(), lambda x: (x,), (x,), ("x",))
    local = prepare(flat.f, flat.arrays, 0)
    gradient = x if gradient is None else gradient
    grads, near = (gradient,), ((gradient,),)
    return LocalGradient(flat, local, grads, near, 2.0**-52, grads, near, 2.0**-52, 0.0, 0.0)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize(("uncertainty", "named"), [(1e-6, True), (0.03, True), (0.1, False), (0.4, False)])
def test_what_noise_may_have_done_is_not_named(put, scale, uncertainty, named):
    # in reverse: by chance both entries agree with a probability of (2 x 0.03)^2, of (2 x 0.1)^2
    a, n = put([1.0 * scale, 2.0 * scale]), put([2.0 * scale, 1.0 * scale])
    entries = Entries([0, 1], a, n, put([uncertainty * scale] * 2))
    known, sentence = diagnose(local_gradient(put, (2,), a), 0, entries, [])
    assert known == ("reverse" in sentence) == named


@pytest.mark.only("numpy")
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(("uncertainty", "named"), [(1e-9, True), (3e-3, True), (3e-2, False)])
def test_a_fitted_number_makes_one_entry_agree_by_itself(put, scale, uncertainty, named):
    a, n = put([1.2345 * scale, 2.469 * scale]), put([1.0 * scale, 2.0 * scale])
    entries = Entries([0, 1], a, n, put([uncertainty * 0.2345 * scale, uncertainty * 0.2345 * scale]))
    known, _ = diagnose(local_gradient(put, (2,), a), 0, entries, [])
    assert known == named


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("share", "words"),
    [
        (4e-8, "low precision: errors are scattered and 4e-08 of the size, as by float32"),
        (1e-6, "the error is 1e-06 of the gradient, in no pattern known here"),
    ],
)
def test_an_error_that_directions_alone_show_may_be_of_low_precision(put, share, words):
    a = np.random.default_rng(0).standard_normal(5)
    entries = Entries(list(range(5)), put(a), put(a), put(np.ones(5)))
    probes = [Probe(1.0 + share, 1.0, 1e-12, 1.0), Probe(-0.7 + share, -0.7, 1e-12, 1.0)]
    known, sentence = diagnose(local_gradient(put, (5,), put(a)), 0, entries, probes)
    assert known == words.startswith("low")
    assert "along random directions " in sentence
    assert words in sentence


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("uncertainty", "named"), [(1e-9, True), (3e-2, False)])
def test_a_gradient_of_a_round_length_is_normalised_where_more_than_the_fitted_entry_says_so(put, uncertainty, named):
    a = put([0.6, 0.8])
    entries = Entries([0, 1], a, a / 1.23456, put([uncertainty * 0.1, uncertainty * 0.15]))
    known, sentence = diagnose(local_gradient(put, (2,), a), 0, entries, [])
    assert (known, "normalised or clipped, so that the length of the gradient is 1?" in sentence) == (named, named)


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("factor", "words"),
    [(0.95, "0.95 times the true one: a keep probability, or another scale?"), (1.0123, "1.0123 times the true one")],
)
def test_a_factor_of_the_directions_has_its_name_or_its_digits(put, factor, words):
    a, n = put([factor, 2.0 * factor, 3.0 * factor]), put([1.0, 2.0, 3.0])
    entries = Entries([0, 1, 2], a, n, put([0.009, 0.015, 0.025]))
    probes = [Probe(factor * n, n, 1e-6, 4.0, 0.0) for n in (3.0, -2.0)]
    assert diagnose(local_gradient(put, (3,), a), 0, entries, probes) == (True, f"the gradient is {words}")


@pytest.mark.only("numpy")
def test_a_factor_of_the_directions_that_one_entry_contradicts_is_not_named(put):
    a, n = put([1.0123, 2.0246, 3.0369 + 0.06]), put([1.0, 2.0, 3.0])
    entries = Entries([0, 1, 2], a, n, put([0.009, 0.015, 0.025]))
    probes = [Probe(1.0123 * n, n, 1e-6, 4.0, 0.0) for n in (3.0, -2.0)]
    known, sentence = diagnose(local_gradient(put, (3,), a), 0, entries, probes)
    assert not known
    assert sentence == "3 of 3 entries looked at are wrong, in no pattern known here"


@pytest.mark.only("numpy")
@pytest.mark.parametrize("noise", [0.3, 0.1])
def test_a_factor_that_entries_hardly_show_is_taken_from_the_directions(put, noise):
    a, n = put([1.01, 2.02, 3.03]), put([1.0, 2.0, 3.0])
    entries = Entries([0, 1, 2], a, n, put([0.009, 0.015, 0.025]))
    here = local_gradient(put, (3,), a)
    probes = [Probe(1.01 * n, n, 1e-6, 4.0, 0.0) for n in (3.0, -2.0)]
    assert diagnose(here, 0, entries, probes) == (True, "the gradient is 1.01 times the true one")
    # the directions agree on a factor, the entries do not
    a = put([1.01, 2.02 + noise, 3.03])
    known, sentence = diagnose(local_gradient(put, (3,), a), 0, Entries([0, 1, 2], a, n, entries.uncertainty), probes)
    assert not known
    assert "1.01" not in sentence


def heron(xp, x, steps):
    """The square root of x, by so many steps from 1."""
    root = 1.0 + 0.0 * x
    for _ in range(steps):
        root = 0.5 * (root + x / root)
    return root


def euler(xp, x, steps):
    """``exp(-x)``, by so many midpoint steps of y' = -x y."""
    y, h = 1.0 + 0.0 * x, 1.0 / steps
    for _ in range(steps):
        y = y - h * x * (y - 0.5 * h * x * y)
    return y


def jacobi(xp, x, steps):
    """``1 / (1 + 0.1 x)``, by so many steps of a fixed point."""
    y = 0.0 * x
    for _ in range(steps):
        y = 1.0 - 0.1 * x * y
    return y


SOLVERS = {
    "heron": (heron, 4, lambda xp, x: 0.5 / xp.sqrt(x), (9,)),
    "euler": (euler, 400, lambda xp, x: -xp.exp(-x), (4, 3)),
    "jacobi": (jacobi, 12, lambda xp, x: -0.1 / (1.0 + 0.1 * x) ** 2, (2, 3, 2)),
}


def of_a_solver(put, name, steps=None):
    solver, usual, slope, shape = SOLVERS[name]
    random = np.random.default_rng(6)
    x, c = put(random.uniform(2.5, 3.0, shape)), put(random.standard_normal(shape))

    def f(x):
        xp = array_namespace(x)
        return xp.sum(c * solver(xp, x, steps or usual))

    return mx.gradcheck(f, lambda x: (c * slope(array_namespace(x), x),), (x,)).tensors[0]


@QUICKEST
@pytest.mark.parametrize("name", SOLVERS)
def test_the_tolerance_of_a_solver_is_thought_of(put, name):
    row = of_a_solver(put, name)
    assert row.verdict == "fail"
    assert row.diagnosis.startswith("agrees to ")
    assert "e-0" in row.diagnosis.split(":")[0]
    assert "the tolerance of a solver in f" in row.diagnosis


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("name", "steps"), [("heron", 1), ("euler", 2), ("jacobi", 1), ("jacobi", 7)])
def test_a_solver_that_has_not_converged_at_all_is_no_agreement(put, name, steps):
    assert "agrees" not in of_a_solver(put, name, steps).diagnosis


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", ["heron", "jacobi"])
def test_a_solver_that_has_converged_passes(put, name):
    assert of_a_solver(put, name, 40).verdict == "pass"


# name -> (f of duals, a gradient that takes its steps for the identity)
STEPS = {
    "a sign": (lambda xp, x: xp.sum(xp.sign(x) * xp.abs(xp.sign(x))), lambda xp, x: xp.ones_like(x)),
    "a rounded loss": (lambda xp, x: xp.round(100.0 * xp.sum(x * x)) / 100.0, lambda xp, x: 2.0 * x),
    "a fake quantiser": (lambda xp, x: xp.sum(xp.clip(xp.round(x / 0.1), -8.0, 7.0) * 0.1),
                         lambda xp, x: xp.astype(xp.abs(x) < 0.7, x.dtype)),
    "another array": (lambda xp, x: xp.sum(xp.ones_like(x)), lambda xp, x: 3.0 * x),
}  # fmt: skip


@QUICK
@pytest.mark.parametrize("name", STEPS)
def test_a_slope_that_is_zero_by_steps_is_told_so(put, name):
    f, grad = STEPS[name]
    x = put(np.asarray([0.31, -0.42, 0.17, -0.03]))
    (row,) = mx.gradcheck(lambda x: f(array_namespace(x), x), lambda x: (grad(array_namespace(x), x),), (x,)).tensors
    assert row.verdict == "fail"
    assert "as before a straight-through gradient?" in row.diagnosis


@QUICK
def test_an_array_that_f_does_not_use_is_asked_about_and_steps_where_the_slope_is_exactly_zero(put):
    params = put(np.asarray([0.31, -0.42, 0.17])), put(np.asarray([1.5, -0.5]))
    for f, ending in (
        (
            lambda x, y: cubes(y),
            "does f use this array, or round it or count with it, as before a straight-through gradient?",
        ),
        (on_arrays(lambda x, y: cubes(y)), "does f use this array?"),  # differences can't tell a small slope from none
    ):
        row = mx.gradcheck(f, lambda x, y: (0.3 * x - 1.0, *cubes_gradient(y)), params).tensors[0]
        assert row.verdict == "fail"
        assert row.diagnosis == f"the true gradient is zero here, and this one is not: {ending}"


@pytest.mark.only("numpy")
@pytest.mark.parametrize("shape", [(12,), (5, 4), (2, 3, 4)])
def test_a_small_error_in_few_entries_is_no_tolerance(put, shape):
    error = np.zeros(math.prod(shape))
    error[[0, 5, 7]] = [1e-5, -3e-5, 2e-5]
    f, grad = weighted(put, np.ones(shape), lambda g: g + put(error.reshape(shape)))
    assert "agrees" not in mx.gradcheck(f, grad, (put(np.full(shape, 0.3)),)).tensors[0].diagnosis


# share of the gradient that is lost -> the dtype that loses so much
LOST = [
    (2.0**-25, "float32"),
    (2.0**-26, "float32"),
    (2.0**-12, "float16"),
    (2.0**-15, "float16"),
    (2.0**-9, "bfloat16"),
]


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("share", "dtype"), LOST)
@pytest.mark.parametrize("shape", [(16,), (5, 4), (2, 3, 4)])
def test_errors_of_both_signs_and_of_the_size_of_a_dtype_are_low_precision(put, share, dtype, shape):
    random = np.random.default_rng(17)
    weights = random.standard_normal(shape)
    lost = share * random.uniform(0.5, 1.5, shape) * random.choice([-1.0, 1.0], shape)
    x = put(random.standard_normal(shape))

    def said(lost):
        f, grad = weighted(put, weights, lambda g: g * put(1.0 + lost))
        row = mx.gradcheck(f, grad, (x,)).tensors[0]
        return row.diagnosis, row.explained

    sentence, known = said(lost)
    assert sentence.startswith("low precision: errors are scattered and ")
    assert known
    assert f"as by {dtype} on the way" in sentence
    assert ("solver" in sentence) == (share < 1e-3)
    # all towards zero, they are not scattered; but they may still be those of a dtype
    sentence, known = said(-abs(lost))
    assert not sentence.startswith("low precision")
    assert not known
    assert (f"or low precision, {dtype} on the way" in sentence) == (share < 1e-3)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("share", [1e-6, 2.5e-7])  # between float32 and float16
def test_errors_of_the_size_of_no_dtype_are_no_low_precision(put, share):
    random = np.random.default_rng(17)
    lost = share * random.uniform(0.5, 1.5, 20) * random.choice([-1.0, 1.0], 20)
    f, grad = weighted(put, random.standard_normal(20), lambda g: g * put(1.0 + lost))
    sentence = mx.gradcheck(f, grad, (put(random.standard_normal(20)),)).tensors[0].diagnosis
    assert sentence.startswith("agrees to ")
    assert float(sentence.split(":")[0].removeprefix("agrees to ")) == pytest.approx(share, rel=0.3)
    assert "precision" not in sentence


@pytest.mark.only("numpy")
def test_the_error_of_a_dtype_is_a_hundredth_of_its_rounding_to_twice_that():
    """float32 has 24 binary digits, float16 11, bfloat16 8."""
    for low, high, name in (
        (2.0**-24 / 100.0, 2.0**-23, "float32"),
        (2.0**-11 / 100.0, 2.0**-10, "float16"),
        (2.0**-10, 2.0**-7, "bfloat16"),  # where float16 does not explain it
    ):
        assert explain._dtype_of(1.01 * low) == explain._dtype_of(0.99 * high) == name
        assert name not in (explain._dtype_of(0.99 * low), explain._dtype_of(1.01 * high))
    assert explain._dtype_of(0.99 * 2.0**-24 / 100.0) == explain._dtype_of(1.01 * 2.0**-7) == ""
    assert explain._dtype_of(1e-6) == ""  # between the first two


@pytest.mark.only("numpy")
def test_the_tolerance_of_a_solver_is_between_1e_10_and_1e_3():
    for share, said in ((0.99e-10, False), (1.01e-10, True), (0.99e-3, True), (1.01e-3, False)):
        assert explain._agreement(share).startswith("agrees to ") == said
    causes = "the tolerance of a solver in f, an epsilon on one side"
    assert explain._agreement(1e-6) == f"agrees to 1e-06: {causes}? In no pattern known here"
    assert f"{causes}, or low precision, float32 on the way?" in explain._agreement(1e-8)


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("of", "wrong", "larger", "scattered"),
    [
        (20, 20, 10, True), (20, 20, 4, True), (20, 20, 16, True), (20, 20, 2, False), (20, 20, 18, False),
        (20, 10, 5, True), (20, 9, 5, False), (4, 3, 3, True), (3, 3, 0, True), (4, 4, 4, False), (4, 4, 0, False),
        (4, 4, 1, True), (2, 2, 1, False),
    ],
)  # fmt: skip
def test_errors_are_scattered_if_most_entries_have_them_and_of_either_sign(of, wrong, larger, scattered):
    """Of so many entries so many are wrong, and of these so many larger than the true ones."""
    n = np.resize([1.0, -2.0, 3.0], of)
    a = n * (1.0 + 0.1 * (np.where(np.arange(of) < larger, 1.0, -1.0) * (np.arange(of) < wrong)))
    entries = Entries(list(range(of)), a, n, np.zeros(of))
    assert explain._scattered(np, entries, a != n) == scattered


@pytest.mark.only("numpy")
def test_round_numbers_are_low_precision_if_they_have_up_to_36_digits_and_lost_what_those_lose():
    """Of the numbers that end there so much is lost: at least a hundredth of the last digit, at most a twentieth."""
    for digits in (2, 3, 10, 24, 36):
        gradient = np.asarray([1.0 + 2.0 ** (1 - digits), -2.0, 0.5])
        expected = f"low precision: no entry has more than {digits} binary digits, and "
        lost = 2.0**-digits / 100.0
        assert explain._low_precision(np, gradient, 1.01 * lost, scattered=False).startswith(expected)
        assert explain._low_precision(np, gradient, 0.99 * lost, scattered=False) == ""
        assert explain._low_precision(np, gradient, 0.049, scattered=False).startswith(expected)
        assert explain._low_precision(np, gradient, 0.051, scattered=False) == ""
        assert explain._low_precision(np, gradient.astype(np.float32), 0.01, scattered=True) == ""
    assert explain._low_precision(np, np.asarray([1.0 + 2.0**-36, 2.0]), 1e-3, scattered=False) == ""
    of_none = np.asarray([0.1, 0.3])
    assert explain._low_precision(np, of_none, 0.0, scattered=True) == ""
    for share, solver in ((0.99e-3, True), (1.01e-3, False)):
        said = explain._low_precision(np, of_none, share, scattered=True)
        assert said.startswith("low precision: errors are scattered and 0.001 of the size, as by ")
        assert said.endswith(", or by the tolerance of a solver in f?") == solver


# --- a true gradient of zero ------------------------------------------------------------------------------------------


def summed_softmax(xp, x):
    e = xp.exp(x - xp.max(x))
    return xp.sum(e / xp.sum(e))


def summed_batch_norm(xp, x):
    centred = x - xp.mean(x, axis=0, keepdims=True)
    return xp.sum(centred / xp.sqrt(xp.mean(centred * centred, axis=0, keepdims=True)))


def normed(xp, x):
    return xp.sum(x * x / xp.sum(x * x))


INVARIANT = {"softmax": (summed_softmax, (7,)), "batch norm": (summed_batch_norm, (6, 3)), "norm": (normed, (2, 3, 2))}


# name -> (f, its gradient, a point where that is zero)
MINIMA = {
    "a bowl": (lambda xp, x: xp.sum((x - 1.0) ** 2), lambda xp, x: 2.0 * (x - 1.0), np.ones(5)),
    "a fourth power": (lambda xp, x: xp.sum(x**4), lambda xp, x: 4.0 * x**3, np.zeros(3)),
    "a valley": (lambda xp, x: xp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2) + xp.sum((1.0 - x[:-1]) ** 2),
                 lambda xp, x: xp.concat([-400.0 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2.0 * (1.0 - x[:-1]),
                                          xp.zeros_like(x[:1])])
                 + xp.concat([xp.zeros_like(x[:1]), 200.0 * (x[1:] - x[:-1] ** 2)]), np.ones(4)),
    "a wave": (lambda xp, x: xp.sum(1.0 - xp.cos(x)), lambda xp, x: xp.sin(x), np.zeros(4)),
}  # fmt: skip


@QUICK
@pytest.mark.parametrize("name", MINIMA)
def test_at_a_minimum_nobody_speaks_of_kinks_nor_of_a_zero_gradient_as_the_error(put, name):
    f, right, x = MINIMA[name]
    for by_duals in (True, False):

        def at(x, by_duals=by_duals):
            xp = array_namespace(x)
            return f(xp, x) if by_duals else float(f(xp, x))

        def grad(x, factor=1.0):
            return (factor * right(array_namespace(x), x),)

        report = mx.gradcheck(at, grad, (put(x),))
        assert report.verdict == "pass"
        assert "kink" not in report.tensors[0].diagnosis
        report = mx.gradcheck(at, lambda x: grad(x, 3.0), (put(x),))  # right at params
        assert report.verdict == "fail"
        assert "the gradient is zero everywhere" not in report.tensors[0].diagnosis


def test_no_numeric_slope_at_all_is_no_division_by_zero():
    def norm(x):
        return np.linalg.norm(x)

    for wrong in (5.0, -3.0, 1e-3):
        for size in (3, 4, 8):
            report = mx.gradcheck(norm, lambda x, wrong=wrong: (0.0 * x + wrong,), (np.zeros(size),))
            assert report.verdict == "fail"


@QUICK
@pytest.mark.parametrize("name", INVARIANT)
def test_where_the_true_gradient_is_zero_a_wrong_one_is_told_so(put, name):
    f, shape = INVARIANT[name]
    x = put(np.random.default_rng(4).standard_normal(shape))
    wrong = put(np.random.default_rng(5).standard_normal(shape))
    row = mx.gradcheck(lambda x: f(array_namespace(x), x), lambda x: (wrong,), (x,)).tensors[0]
    assert row.verdict == "fail"
    assert row.diagnosis.startswith("the true gradient is zero here, and this one is not")
    assert not row.explained
    # a penalty on it is still a penalty
    row = mx.gradcheck(lambda x: f(array_namespace(x), x), lambda x: (0.3 * x,), (x,)).tensors[0]
    assert row.diagnosis == "a term is too much, 0.3 times the parameter itself: an L2 penalty"


@pytest.mark.only("numpy")
@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 2, 2)])
def test_a_small_true_gradient_is_not_zero(put, shape):
    f, _ = weighted(put, np.full(shape, 1e-9))
    row = mx.gradcheck(f, lambda x: (put(np.random.default_rng(5).standard_normal(shape)),), (put(np.ones(shape)),))
    assert "the true gradient is zero" not in row.tensors[0].diagnosis


# --- where ------------------------------------------------------------------------------------------------------------


RANDOM_FACTORS = np.random.default_rng(11).uniform(1.5, 3.0, 400)


# shape -> which entries are wrong, by their indices and the parameter; what is said
def shown(value):
    """The name of a part of a case."""
    return "places" if callable(value) else str(value)[:40]


WHERE = [
    ((5, 4), lambda x, i, j: i == 2, "4 of 20 entries looked at are wrong, all in row 2"),
    ((5, 4), lambda x, i, j: j == 3, "5 of 20 entries looked at are wrong, all in column 3"),
    ((6, 4), lambda x, i, j: i >= 4, "all in rows 4 to 5"),
    ((4, 6), lambda x, i, j: (j == 1) | (j == 2), "all in columns 1 to 2"),
    ((6, 4), lambda x, i, j: (i == 1) | (i == 4), "in no pattern known here"),
    ((6, 1), lambda x, i, j: i > 2, "all in rows 3 to 5"),
    ((7, 1), lambda x, i, j: i != 2, "6 of 7 entries looked at are wrong, in no pattern known here"),
    ((1, 7), lambda x, i, j: j != 2, "6 of 7 entries looked at are wrong, in no pattern known here"),
    ((1, 7), lambda x, i, j: j > 4, "all in columns 5 to 6"),
    ((3, 4, 5), lambda x, i, j, k: j == 2, "all in slice 2 along axis 1"),
    ((4, 3, 5), lambda x, i, j, k: i > 1, "all in slices 2 to 3 along axis 0"),
    ((6, 4), lambda x, i, j: (i >= 4) & (j != 1), "6 of 24 entries looked at are wrong, all in rows 4 to 5"),
    ((6, 4), lambda x, i, j: (i >= 4) & (j > 1), "4 of 24 entries looked at are wrong, all in rows 4 to 5"),
    (
        (6, 4),
        lambda x, i, j: (i >= 4) & (j > 1) & (i + j < 8),
        "3 of 24 entries looked at are wrong, in no pattern known here",
    ),
    ((5, 4), lambda x, i, j: x < 0.0, "exactly those where the parameter is negative"),
    ((9,), lambda x, i: x > 0.0, "exactly those where the parameter is positive"),
    ((3, 4, 2), lambda x, i, j, k: x > 0.0, "exactly those where the parameter is positive"),
    ((5, 5), lambda x, i, j: i > j, "all below the diagonal"),
    ((4, 4), lambda x, i, j: i < j, "all above the diagonal"),
    ((4, 4), lambda x, i, j: i == j, "all on the diagonal"),
    ((4, 4), lambda x, i, j: i <= j, "10 of 16 entries looked at are wrong, in no pattern known here"),
    ((4, 4), lambda x, i, j: i >= j, "10 of 16 entries looked at are wrong, in no pattern known here"),
    ((9,), lambda x, i: i > 6, "2 of 9 entries looked at are wrong, in no pattern known here"),
]


@QUICKEST
@pytest.mark.parametrize(
    ("shape", "places", "words"), WHERE, ids=lambda value: "places" if callable(value) else str(value)[:40]
)
def test_where_the_wrong_entries_are(put, shape, places, words):
    x = np.random.default_rng(12).standard_normal(shape)
    wrong = places(x, *np.indices(shape))
    factors = put(np.where(wrong, RANDOM_FACTORS[: x.size].reshape(shape), 1.0))
    f, grad = weighted(put, np.ones(shape), lambda g: g * factors)
    row = mx.gradcheck(f, grad, (put(x),)).tensors[0]
    assert row.diagnosis.endswith(words)
    assert not row.explained


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("sign", "words"), [(1.0, "positive"), (-1.0, "negative")])
def test_the_sign_of_the_parameter_is_named_where_other_entries_have_another(sign, words):
    """Where all entries are wrong and all of one sign, that sign says nothing."""
    x, factors = sign * np.linspace(0.7, 1.3, 5), RANDOM_FACTORS[:5]

    def said(x):
        return mx.gradcheck(cubes, lambda x: (factors[: x.size] * 3.0 * x * x,), (x,)).tensors[0].diagnosis

    assert said(x) == "5 of 5 entries looked at are wrong, in no pattern known here"
    factors = np.append(factors, 1.0)
    assert said(np.append(x, -sign)).endswith(f"exactly those where the parameter is {words}")


@QUICK
@pytest.mark.parametrize(("shape", "rows"), [((5, 4), [1, 3]), ((6, 3), [0, 2, 5]), ((9, 2), [2, 4, 6, 7])])
def test_a_few_rows_with_factors_of_their_own_are_not_said_to_be_all(put, shape, rows):
    factors = np.ones(shape)
    factors[rows] = np.linspace(1.5, 3.0, len(rows))[:, None]
    f, grad = weighted(put, np.random.default_rng(18).standard_normal(shape), lambda g: g * put(factors))
    row = mx.gradcheck(f, grad, (put(np.random.default_rng(19).standard_normal(shape)),)).tensors[0]
    assert not row.explained
    assert f"{len(rows) * shape[1]} of {math.prod(shape)} entries looked at are wrong" in row.diagnosis


@QUICK
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 2), (8, 4)])
def test_a_few_entries_that_happen_to_lie_in_neighbouring_rows_are_no_block(put, shape):
    factors = np.ones(shape)
    factors[0, 1], factors[1, 3] = 1.7, 2.9
    f, grad = weighted(put, np.random.default_rng(18).standard_normal(shape), lambda g: g * put(factors))
    row = mx.gradcheck(f, grad, (put(np.random.default_rng(19).standard_normal(shape)),)).tensors[0]
    assert row.diagnosis.endswith("entries looked at are wrong, in no pattern known here")


DEAD = [
    ((5, 4), lambda i, j: i == 2, "all in row 2, which is zero"),
    ((5, 4), lambda i, j: (j == 0) | (j == 2), "all in columns 0 to 2, which are zero"),
    ((3, 4), lambda i, j: i > 0, "all in rows 1 to 2, which are zero"),
    ((3, 4, 2), lambda i, j, k: j != 1, "all in slices 0 to 3 along axis 1, which are zero"),
    ((9,), lambda i: i % 3 == 0, "3 of 9 entries looked at are wrong and are zero, in no pattern known here"),
    ((5, 1), lambda i, j: i > 2, "all in rows 3 to 4, which are zero"),
    ((4, 3), lambda i, j: (i == 2) & (j == 1), "one entry is wrong, of 12 looked at, which is zero"),
]


@QUICK
@pytest.mark.parametrize(
    ("shape", "places", "words"), DEAD, ids=lambda value: "places" if callable(value) else str(value)[:40]
)
def test_entries_that_are_zero_are_said_to_be(put, shape, places, words):
    x = np.random.default_rng(12).standard_normal(shape)
    alive = put(np.where(places(*np.indices(shape)), 0.0, 1.0))
    f, grad = weighted(put, np.random.default_rng(13).standard_normal(shape), lambda g: g * alive)
    assert mx.gradcheck(f, grad, (put(x),)).tensors[0].diagnosis.endswith(words)


@QUICK
def test_entries_that_are_zero_where_the_parameter_is_negative_are_said_to_be(put):
    x = np.asarray([1.3, -0.4, 2.0, 0.7, -1.1, 0.2, -0.6])
    f, grad = weighted(put, np.random.default_rng(13).standard_normal(7), lambda g: g * put((x > 0.0) * 1.0))
    words = "3 of 7 entries looked at are wrong and are zero, exactly those where the parameter is negative"
    assert mx.gradcheck(f, grad, (put(x),)).tensors[0].diagnosis.endswith(words)


# --- other parameters, and arrays of one entry ------------------------------------------------------------------------


@QUICK
@pytest.mark.parametrize("shape", [(4, 3), (7,), (2, 2, 3)])
def test_a_forgotten_factor_that_is_another_parameter_is_named(put, shape):
    random = np.random.default_rng(14)
    gain, w = put(random.standard_normal(shape)), put(random.standard_normal(shape))

    def f(gain, w):
        xp = array_namespace(gain, w)
        return xp.sum(gain * w * w)

    def check(of_gain, of_w):
        return [
            row.diagnosis
            for row in mx.gradcheck(f, lambda g, w: (of_gain(g, w), of_w(g, w)), (gain, w), ("gain", "w")).tensors
        ]

    assert check(lambda g, w: w * w, lambda g, w: 2.0 * w) == ["", "a factor is missing, the parameter gain"]
    assert check(lambda g, w: g * w * w, lambda g, w: 2.0 * g * w)[0].startswith("a factor is too much, the parameter:")
    assert "missing" not in check(lambda g, w: w * w, lambda g, w: 2.0 * w + 0.1)[1]


@QUICK
@pytest.mark.parametrize("shape", [(4, 3), (7,), (2, 2, 3)])
def test_a_forgotten_factor_that_is_a_parameter_of_one_entry_is_named(put, shape):
    x, scale = put(np.random.default_rng(15).standard_normal(shape)), put([0.7312345])

    def f(x, scale):
        xp = array_namespace(x, scale)
        return xp.sum(scale) * xp.sum(x * x * x)

    def grad(x, scale):
        xp = array_namespace(x, scale)
        return 3.0 * x * x, xp.sum(x * x * x) * xp.ones_like(scale)

    row = mx.gradcheck(f, grad, (x, scale), names=("x", "scale")).tensors[0]
    assert row.diagnosis == "the gradient is 1/0.7312 times the true one: a factor too few, the parameter scale?"


# f(x), its gradient wrong by something, what is said
SCALARS = [
    (lambda xp, x: x * x * x, lambda xp, x: 3.0 * x, 0.7312, "a factor is missing, the parameter"),
    (lambda xp, x: xp.exp(x), lambda xp, x: 1.0 + 0.0 * x, 0.77, "1/2.16 times the true one: a factor too few, f?"),
    (lambda xp, x: xp.sin(x), lambda xp, x: -xp.cos(x), 0.7, "the sign is wrong"),
    (lambda xp, x: xp.sin(x), lambda xp, x: 1.2345 * xp.cos(x), 0.7, "the gradient is 1.2345 times the true one"),
    (lambda xp, x: x * x, lambda xp, x: 1.0 * x, 0.7, "the gradient is 1/2 times the true one: a factor 2 forgotten?"),
    (lambda xp, x: xp.sin(x), lambda xp, x: x * xp.cos(x), 1.3123, "too much, the parameter: the gradient by its log"),
]


@QUICK
@pytest.mark.parametrize(("f", "grad", "x", "words"), SCALARS, ids=[words for *_, words in SCALARS])
def test_one_entry_has_no_pattern_by_chance(put, f, grad, x, words):
    for shape in ((), (1,), (1, 1)):
        report = mx.gradcheck(
            lambda x: array_namespace(x).sum(f(array_namespace(x), x)),
            lambda x: (grad(array_namespace(x), x),),
            (put(np.full(shape, x)),),
        )
        assert words in report.tensors[0].diagnosis
        assert report.tensors[0].explained == ("1.2345" not in words)  # that is true of any number


@pytest.mark.only("numpy")
def test_chance_names_few_of_many_random_gradients(put):
    # two numbers without any relation to the true ones: no more than one in a hundred has a name
    random = np.random.default_rng(16)
    named = 0
    for size in (1, 2, 3, 4) * 50:
        f, _ = weighted(put, random.standard_normal(size))
        wrong = put(random.standard_normal(size))
        named += (
            mx.gradcheck(f, lambda x, wrong=wrong: (wrong,), (put(random.standard_normal(size)),)).tensors[0].explained
        )
    assert named <= 2


# --- hypotheses ------------------------------------------------------------------------------------------------------


def test_a_hypothesis_that_explains_the_gradient_is_the_diagnosis(put):
    f, _, x = cubes_at_a_point(put)
    hypotheses = {"the square was forgotten": lambda x: (3.0 * x,), "the 3 was forgotten": lambda x: (x * x,)}
    report = mx.gradcheck(f, lambda x: (x * x,), (x,), hypotheses=hypotheses)
    assert report.tensors[0].diagnosis == "the 3 was forgotten"
    report = mx.gradcheck(f, lambda x: (x * x * x,), (x,), hypotheses=hypotheses)
    assert "forgotten" not in report.tensors[0].diagnosis


@pytest.mark.only("numpy")
@pytest.mark.parametrize("size", [1e-150, 1e-6, 1.0, 1e150])
def test_a_hypothesis_agrees_to_ten_thousand_roundings_of_the_largest_entry(size):
    gradient = size * np.asarray([0.5, -2.0, 1.0])
    rows = [TensorReport("x", "fail", 0.5, None, 1.0, 2.0, 1e-9, 1e-9, "", 3, 3)]
    for roundings, agrees in ((0.0, True), (0.99e4, True), (1.01e4, False), (1e9, False)):
        other = gradient + np.asarray([roundings * 2.0**-52 * 2.0 * size, 0.0, 0.0])
        (row,) = explain.with_hypotheses(rows, (gradient,), {"another": (2.0 * gradient,), "this": (other,)})
        assert (row.diagnosis, row.explained) == (("this", True) if agrees else ("", False))
    assert explain.with_hypotheses(rows, (gradient,), {"this": (gradient[:1] + 0.0 * gradient[None],)}) == rows


@pytest.mark.only("numpy")
def test_a_hypothesis_that_agrees_in_one_of_two_wrong_arrays_explains_neither():
    a, b, c = (number * np.ones(2) for number in (1.0, 2.0, 3.0))
    rows = [
        TensorReport(name, verdict, 0.5, None, 1.0, 2.0, 1e-9, 1e-9, "", 2, 2, explained)
        for name, verdict, explained in (("x", "fail", False), ("y", "pass", False), ("z", "fail", True))
    ]

    def said(*gradients):
        return [row.diagnosis for row in explain.with_hypotheses(rows, (a, b, c), {"this": gradients})]

    assert said(a, b, b) == said(c, b, c) == said(a, a, a) == ["", "", ""]
    assert said(a, a, c) == ["this", "", ""]  # in all wrong arrays, of which one has a pattern
    assert said(a, b, c) == ["this", "", "this"]  # in all arrays


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
@pytest.mark.parametrize("name", INVARIANT)
def test_a_gradient_that_is_rounding_is_a_blind_spot(put, name):
    f, shape = INVARIANT[name]
    x = put(np.random.default_rng(4).standard_normal(shape))

    def rounding(x):  # the right one is such: zero, but for what is lost on the way
        xp = array_namespace(x)
        return (1e-17 * xp.sin(1e17 * x),)

    report = mx.gradcheck(lambda x: f(array_namespace(x), x), rounding, (x,), names=("x",))
    assert report.verdict != "fail"
    assert "the gradient of x is zero here, to rounding: weight the outputs, whose sum cancels" in report.weak


# name -> (f, its gradient, a point on a kink): next to it the gradient is another one
AT_KINKS = {
    "max": (lambda xp, x: xp.max(x), lambda xp, x: xp.astype(x == xp.max(x), x.dtype) / xp.sum(
        xp.astype(x == xp.max(x), x.dtype)), [1.0, 1.0, 0.0]),
    "abs": (lambda xp, x: xp.sum(xp.abs(x - 1.0)), lambda xp, x: xp.sign(x - 1.0), [1.0, 1.0, 1.0]),
    "clip": (lambda xp, x: xp.sum(xp.clip(x, -0.5, 0.5)),
             lambda xp, x: xp.astype(xp.abs(x) < 0.5, x.dtype), [0.5, -0.5, 2.0]),
    "hinge": (lambda xp, x: xp.sum(xp.maximum(1.0 - x, xp.zeros_like(x))),
              lambda xp, x: -xp.astype(x < 1.0, x.dtype), [1.0, 1.0, 3.0]),
}  # fmt: skip


@QUICK
@pytest.mark.parametrize("name", AT_KINKS)
def test_a_gradient_that_changes_at_a_kink_is_no_rounding(put, name):
    f, grad, x = AT_KINKS[name]
    report = mx.gradcheck(
        lambda x: f(array_namespace(x), x), lambda x: (grad(array_namespace(x), x),), (put(np.asarray(x)),)
    )
    assert report.verdict != "fail"
    assert "to rounding" not in str(report.weak)


@QUICK
@pytest.mark.parametrize("size", [1.0, 1e-12, 1e-30])
def test_a_small_gradient_is_no_rounding(put, size):
    f, grad = weighted(put, size * np.ones((2, 3)))
    assert "to rounding" not in str(mx.gradcheck(f, grad, (put(A[:2, :3]),)).weak)


@QUICK
def test_an_ordinary_point_has_no_blind_spot(put):
    assert mx.gradcheck(cubes, cubes_gradient, (put(A), put(V))).weak == ()


@QUICK
@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (1, 1)], ids=str)
def test_one_row_or_column_is_no_blind_spot_though_it_equals_itself(put, shape):
    x = put(np.linspace(0.5, 2.0, math.prod(shape)).reshape(shape))
    assert mx.gradcheck(cubes, cubes_gradient, (x,)).weak == ()


@QUICK
def test_of_a_matrix_that_is_not_square_no_transpose_is_spoken_of(put):
    """``x == x.T`` of a row and a column would broadcast."""
    weak = mx.gradcheck(cubes, cubes_gradient, (put(np.asarray([[1.0, 1.0, 1.0, 2.0]])),)).weak
    assert "transpose" not in str(weak)
