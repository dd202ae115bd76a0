"""The checker: right gradients pass, wrong ones are refused, and what cannot be known is called inconclusive."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import textbook
from hypothesis import assume, given
from hypothesis import strategies as st
from known_functions import EAGER, QUICK, QUICKEST, cubes_at_a_point, first_entry, on_arrays, square

import mlp_xp as mx
from mlp_xp.gradcheck.check import _row
from mlp_xp.gradcheck.dual import Dual
from mlp_xp.gradcheck.evidence import Probe, gradient_at
from mlp_xp.gradcheck.forms import flattened
from mlp_xp.gradcheck.judge import Judgement
from mlp_xp.gradcheck.local import prepare

SMALL = (3, 2, 2)  # 14 parameters: each is perturbed a few times, and JAX and Dask take a millisecond for an operation


def some(rows, everywhere, else_on=QUICK):
    """``rows`` as parameters, those that ``everywhere`` does not choose only where evaluations are quick."""
    return [row if everywhere(row) else pytest.param(row, marks=else_on) for row in rows]


@pytest.fixture(scope="session")
def vectorized(backend):
    """Many calls build a large graph on Dask, many shapes compile for long on JAX."""
    return backend == "dask"


@pytest.fixture
def network(put):
    """``X, y, params``: the smallest network with everything in it, W2 square."""
    X, y = textbook.batch(5, 3), textbook.labels(5, 2)
    return put(X), put(y), tuple(put(p) for p in textbook.parameters(SMALL))


# --- right gradients pass --------------------------------------------------------------------------------------------


VARIATIONS = (
    [{"activation": name} for name in textbook.ACTIVATIONS]
    + [{"criterion": name} for name in textbook.CRITERIA]
    + [{"l2": 0.1}, {"l1": 0.01}, {"label_smoothing": 0.2}, {"dropout": 0.3, "seed": 4}, {"weights": True}]
    + [
        {
            "activation": "gelu",
            "l2": 0.1,
            "l1": 0.01,
            "label_smoothing": 0.2,
            "dropout": 0.3,
            "seed": 4,
            "weights": True,
        }
    ]
)


def described(options):
    return "+".join(map(str, options.values()))


@pytest.mark.parametrize("options", some(VARIATIONS, lambda row: len(row) > 2, QUICKEST), ids=described)
def test_our_gradients_pass(network, put, vectorized, options):
    X, y, params = network
    options = dict(options)
    if options.pop("weights", False):
        options["sample_weight"] = put(textbook.row_weights(5))
    report = mx.gradcheck(
        lambda *p: mx.objective(X, y, *p, **options),
        lambda *p: mx.loss_and_grads(X, y, *p, **options)[1],
        params,
        names=("W1", "b1", "W2", "b2"),
        vectorized=vectorized,
    )
    report.raise_if_failed()
    assert report.ok
    assert [row.name for row in report.tensors] == ["W1", "b1", "W2", "b2"]
    assert all(row.relative_error < 1e-5 for row in report.tensors)


@QUICK
def test_soft_targets_and_a_deep_network_pass(put, vectorized):
    X, t, params = put(textbook.batch(5, 3)), put(textbook.soft_targets(5, 2)), textbook.parameters((3, 2, 2, 2))
    report = mx.gradcheck(
        lambda *p: mx.objective(X, t, *p, activation=("tanh", "silu")),
        lambda *p: mx.backward(mx.forward(X, *p, activation=("tanh", "silu"))[1], t),
        [put(p) for p in params],
        vectorized=vectorized,
    )
    report.raise_if_failed()


def test_a_function_that_is_no_network_is_checked(xp, put):
    A = put([[2.0, -1.0], [0.5, 3.0]])

    def quadratic(x, s):
        return xp.sum(x * (A @ x)) * s

    def grad(x, s):
        return (A + xp.matrix_transpose(A)) @ x * s, quadratic(x, xp.ones_like(s))

    report = mx.gradcheck(quadratic, grad, (put([1.0, -2.0]), put(0.75)), names=("x", "s"), mode="full")
    report.raise_if_failed()
    assert [len(row.index) for row in report.tensors] == [1, 0]
    # the mistake of everybody: A is not symmetric
    report = mx.gradcheck(quadratic, lambda x, s: (2 * (A @ x) * s, grad(x, s)[1]), (put([1.0, -2.0]), put(0.75)))
    assert [row.verdict for row in report.tensors] == ["fail", "pass"]


@pytest.mark.parametrize("shape", some([(), (1,), (2, 1, 3)], lambda shape: len(shape) != 1), ids=str)
def test_parameters_may_have_any_rank(xp, put, shape):
    x = put(np.random.default_rng(1).standard_normal(shape))
    mx.gradcheck(lambda x: xp.sum(xp.exp(x)), lambda x: (xp.exp(x),), [x]).raise_if_failed()
    report = mx.gradcheck(lambda x: xp.sum(xp.exp(x)), lambda x: (xp.exp(x) + first_entry(x),), [x])
    assert report.verdict == "fail"
    assert report.tensors[0].index == (0,) * len(shape)


@EAGER
def test_gradients_that_are_exactly_zero_pass(put):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    report = mx.gradcheck(lambda x, unused: square(x), lambda x, unused: (2 * x, 0 * unused), [x, x])
    report.raise_if_failed()
    row = report.tensors[1]
    assert (row.relative_error, row.analytic, row.numeric) == (0.0, 0.0, 0.0)
    report = mx.gradcheck(lambda x, unused: square(x), lambda x, unused: (2 * x, 1e-3 * unused), [x, x])
    assert [row.verdict for row in report.tensors] == ["pass", "fail"]


def test_an_empty_parameter_passes(put):
    report = mx.gradcheck(
        lambda x, nothing: square(x), lambda x, nothing: (2 * x, 0 * nothing), [put([[1.0]]), put([])]
    )
    report.raise_if_failed()
    assert report.tensors[1].size == 0


# --- wrong gradients are refused -------------------------------------------------------------------------------------


def forgetful_sigmoid(z):
    """Its pullback forgets the derivative."""
    return mx.sigmoid(z), lambda dy: (dy,)


def of_one(position, spoil):
    """A mistake in one tensor: W1, b1, W2, b2."""

    def wrong(xp, right, again):
        grads = list(right)
        grads[position] = spoil(xp, grads[position])
        return tuple(grads)

    return wrong


L2 = 0.01


# name -> (xp, the right gradients, the gradients with other options) -> wrong gradients
WRONG = {
    "the sign": lambda xp, right, again: tuple(-g for g in right),
    "the sign of W1": of_one(0, lambda xp, g: -g),
    "twice": of_one(2, lambda xp, g: 2.0 * g),
    "summed over the batch, not averaged": lambda xp, right, again: tuple(5.0 * g for g in right),
    "averaged twice": lambda xp, right, again: tuple(g / 5.0 for g in right),
    "W2 transposed": of_one(2, lambda xp, g: xp.matrix_transpose(g)),
    "the bias averaged, not summed": of_one(1, lambda xp, g: g / 5.0),
    "no bias gradient": of_one(3, lambda xp, g: xp.zeros_like(g)),
    "zero": of_one(0, lambda xp, g: xp.zeros_like(g)),
    "one entry a hundredth off": of_one(0, lambda xp, g: g * (1.0 + 0.01 * first_entry(g))),
    "one entry plus one": of_one(2, lambda xp, g: g + first_entry(g)),
    "one row of zeros": of_one(0, lambda xp, g: xp.concat([g[:2, :], xp.zeros_like(g[:1, :])], axis=0)),
    "rows in another order": of_one(0, lambda xp, g: xp.flip(g, axis=0)),
    "relative error 2e-3": of_one(2, lambda xp, g: 1.004 * g),  # |a - n| / (|a| + |n|)
    "no derivative of the activation": lambda xp, right, again: again(activation=forgetful_sigmoid),
    "the derivative of another activation": lambda xp, right, again: again(activation="tanh"),
    "no l2": lambda xp, right, again: again(l2=0.0),
    "l2 without its 1/2": lambda xp, right, again: again(l2=2.0 * L2),
    "no smoothing": lambda xp, right, again: again(label_smoothing=0.0),
    "another dropout mask": lambda xp, right, again: again(seed=6),
    "no dropout": lambda xp, right, again: again(dropout=0.0),
}


@QUICKEST
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_refused(xp, network, vectorized, name):
    X, y, params = network
    options = {"l2": L2, "label_smoothing": 0.1, "dropout": 0.3, "seed": 5}

    def grad(*p, **changed):
        return mx.loss_and_grads(X, y, *p, **{**options, **changed})[1]

    report = mx.gradcheck(
        lambda *p: mx.objective(X, y, *p, **options),
        lambda *p: WRONG[name](xp, grad(*p), lambda **changed: grad(*p, **changed)),
        params,
        vectorized=vectorized,
    )
    assert report.verdict == "fail"
    assert not report.ok
    with pytest.raises(AssertionError, match="fail"):
        report.raise_if_failed(allow_inconclusive=True)
    # the tensors that are right are not accused
    wrong = {row.name for row in report.tensors if row.verdict == "fail"}
    for position, word in enumerate(("W1", "b1", "W2", "b2")):
        if word in name:
            assert wrong == {f"params[{position}]"}


@QUICKEST
@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6])
def test_verdicts_do_not_depend_on_the_scale_of_the_loss(network, vectorized, scale):
    X, y, params = network

    def check(factor):
        return mx.gradcheck(
            lambda *p: scale * mx.objective(X, y, *p),
            lambda *p: tuple(factor * scale * g for g in mx.loss_and_grads(X, y, *p)[1]),
            params,
            vectorized=vectorized,
        ).verdict

    assert [check(factor) for factor in (1.0, -1.0, 1.004)] == ["pass", "fail", "fail"]


@QUICKEST
def test_a_relative_error_of_1e_8_everywhere_is_refused_at_any_scale_of_the_loss(put):
    X, y, params = put(textbook.batch()), put(textbook.labels()), tuple(map(put, textbook.parameters()))
    for scale in (1e-6, 1.0, 1e6):

        def f(*p, scale=scale):
            return scale * mx.objective(X, y, *p)

        def grad(*p, scale=scale, error=0.0):
            return tuple(scale * (1.0 + error) * g for g in mx.loss_and_grads(X, y, *p)[1])

        report = mx.gradcheck(f, grad, params)
        report.raise_if_failed()
        assert report.evaluations <= 100
        assert mx.gradcheck(f, lambda *p, grad=grad: grad(*p, error=1e-8), params).verdict == "fail"


@pytest.mark.parametrize("relative", some([1e-8, 2e-6, 5e-5, 5e-4, 2e-3, 0.5], lambda row: row == 2e-6))
def test_an_error_far_below_the_textbooks_bounds_is_refused_where_the_differences_resolve_it(xp, put, relative):
    x = put([1.0, -2.0, 0.5])
    factor = (1 + relative) / (1 - relative)  # |a - n| / (|a| + |n|) is then `relative`
    report = mx.gradcheck(lambda x: xp.sum(xp.exp(x)), lambda x: (factor * xp.exp(x),), [x])
    assert report.verdict == "fail"
    np.testing.assert_allclose(report.tensors[0].relative_error, relative, rtol=0.1)
    assert report.tensors[0].resolution < relative


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda xp, g: -g, "the sign is wrong", marks=QUICK),
        pytest.param(lambda xp, g: 0.3 * g, "0.3 times the true one", marks=QUICK),
        pytest.param(lambda xp, g: 0.0 * g, "the gradient is zero everywhere", marks=QUICK),
        (lambda xp, g: xp.matrix_transpose(g), "the gradient is transposed"),
        (lambda xp, g: g + first_entry(g), "one entry is wrong, of 4"),
    ],
)
def test_the_report_says_what_is_wrong(xp, put, spoil, words):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    report = mx.gradcheck(square, lambda x: (spoil(xp, 2 * x),), [x], names=["weight"])
    assert words in report.tensors[0].diagnosis
    assert words in str(report)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda xp, g: g[0, :], "the gradient has shape (2,), the parameter (2, 2)"),
        (lambda xp, g: xp.sum(g, axis=0, keepdims=True), "the gradient has shape (1, 2), the parameter (2, 2)"),
        (lambda xp, g: xp.astype(g, xp.float32), "dtype"),
        (lambda xp, g: g * math.nan, "NaN or infinite"),
        (lambda xp, g: g + math.inf * (first_entry(g) + 1.0), "NaN or infinite"),
    ],
)
def test_a_gradient_unlike_its_parameter_fails_with_the_reason(xp, put, spoil, words):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    report = mx.gradcheck(lambda x, b: square(x) + square(b), lambda x, b: (spoil(xp, 2 * x), 2 * b), [x, x])
    assert report.tensors[0].verdict == "fail"
    assert report.tensors[1].verdict != "fail"
    assert words in report.tensors[0].diagnosis


def test_none_is_no_gradient(put):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    with pytest.raises((TypeError, ValueError), match="grad must return a tuple of 1 gradients"):
        mx.gradcheck(square, lambda x: (None,), [x])


@pytest.mark.only("numpy", "torch", "array_api_strict")
@given(
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(-8, 8),
    st.sampled_from([-1.0, 0.0, 0.5, 0.99, 1.0, 1.01, 2.0]),
    st.integers(0, 1000),
)
def test_right_passes_and_wrong_fails_for_any_shape_and_scale(xp, put, shape, power, factor, seed):
    x = np.asarray(np.random.default_rng(seed).standard_normal(shape))
    assume(np.all(np.abs(np.cos(x)) > 1e-3))
    scale = 10.0**power
    report = mx.gradcheck(
        lambda x: scale * xp.sum(xp.sin(x)), lambda x: (factor * scale * xp.cos(x),), [put(x)], seed=seed
    )
    assert report.verdict == ("pass" if factor == 1.0 else "fail")


# --- two dtypes ------------------------------------------------------------------------------------------------------


@QUICK
def test_float32_is_checked_against_float64(xp, put, vectorized):
    X, y = put(textbook.batch(5, 3)), put(textbook.labels(5, 2))
    params = [put(p, xp.float32) for p in textbook.parameters(SMALL)]

    def f(*p):
        return mx.objective(xp.astype(X, p[0].dtype), y, *p)

    def grad(*p):
        return mx.loss_and_grads(xp.astype(X, p[0].dtype), y, *p)[1]

    report = mx.gradcheck(f, grad, params, vectorized=vectorized)
    report.raise_if_failed()
    assert report.reference.startswith("float64")
    wrong = mx.gradcheck(f, lambda *p: tuple(1.004 * g for g in grad(*p)), params, vectorized=vectorized)
    assert wrong.verdict == "fail"


def test_parameters_of_two_dtypes_are_each_judged_by_their_own(xp, put):
    a, b = put([0.7, -1.3]), xp.astype(put([2.1, 0.4]), xp.float32)

    def f(a, b):
        return xp.sum(a * a) + xp.sum(xp.astype(b, xp.float64) * xp.astype(b, xp.float64))

    mx.gradcheck(f, lambda a, b: (2.0 * a, 2.0 * b), (a, b)).raise_if_failed()


@pytest.mark.parametrize("factor", some([1.1, 1.009, 1.001, 1.0001, -1.0], lambda factor: factor == 1.001))
def test_a_gradient_that_is_wrong_in_float32_alone_is_refused(xp, put, factor):
    f, grad, x = cubes_at_a_point(put)
    x = xp.astype(x, xp.float32)
    report = mx.gradcheck(f, grad, (x,))
    report.raise_if_failed()
    assert report.tensors[0].resolution > 1e-7  # no more than float32 tells
    report = mx.gradcheck(f, lambda x: (grad(x)[0] * (factor if x.dtype == xp.float32 else 1.0),), (x,))
    assert report.verdict == "fail"
    assert "right in float64, but" in report.tensors[0].diagnosis
    assert f"{factor:.4g}" in report.tensors[0].diagnosis.split("which is")[1]


def test_a_gradient_that_is_scattered_in_float32_alone_is_inconclusive(xp, put):
    f, grad, x = cubes_at_a_point(put)
    x, off = xp.astype(x, xp.float32), put([1.1, 0.9, 0.95, 1.02])
    report = mx.gradcheck(
        f, lambda x: (grad(x)[0] * (xp.astype(off, x.dtype) if x.dtype == xp.float32 else 1.0),), (x,)
    )
    assert report.verdict == "inconclusive"
    assert "right in float64, but 0.0" in report.tensors[0].diagnosis


@EAGER
def test_a_function_that_takes_no_float64_is_checked_in_its_own_dtype(xp, put):
    x = put([1.0, -2.0, 0.5], xp.float32)

    def f(x):
        if x.dtype != xp.float32:
            raise TypeError("float32, please")
        return xp.sum(x * x)

    report = mx.gradcheck(f, lambda x: (2 * x,), [x])
    assert report.reference.startswith("float32")
    assert report.verdict in ("pass", "inconclusive")
    assert mx.gradcheck(f, lambda x: (-2 * x,), [x]).verdict == "fail"


# --- what cannot be known --------------------------------------------------------------------------------------------


@QUICK
def test_float32_without_a_float64_reference_is_inconclusive_where_noise_hides_the_gradient(xp, put):
    x = put([1.0, -2.0, 0.5], xp.float32)

    def f(scale):  # a loss of about 1000 is known to 6e-5 in float32
        def of_arrays(x):
            if isinstance(x, Dual):
                raise TypeError("arrays, please")
            return scale * xp.sum(xp.astype(x, xp.float32) ** 2) + 1000.0

        return of_arrays

    report = mx.gradcheck(f(1e-6), lambda x: (2e-6 * x,), [x])
    assert report.verdict == "inconclusive"
    assert report.reference.startswith("float32")
    assert report.tensors[0].resolution > 1e-3
    assert "f changes in steps" in report.tensors[0].diagnosis
    with pytest.raises(AssertionError, match="inconclusive"):
        report.raise_if_failed()
    report.raise_if_failed(allow_inconclusive=True)
    assert mx.gradcheck(f(1.0), lambda x: (-2 * x,), [x]).verdict == "fail"  # noise hides a lot, but not that
    # where many directions agree though each is coarse, that is no chance
    report = mx.gradcheck(f(0.05), lambda x: (0.1 * x,), [x])
    assert report.ok
    assert report.tensors[0].noise > 1e-3 * abs(report.tensors[0].numeric) > 0.0
    assert not mx.gradcheck(f(0.05), lambda x: (0.095 * x,), [x]).ok


@QUICK
@pytest.mark.parametrize("at", [18.0, 19.0, 20.0])
def test_where_units_saturate_the_gradient_is_checked_elsewhere_and_the_report_says_so(xp, put, at):
    """1 - tanh(x)^2 has few digits left, or none: a step to smaller parameters brings it out of the noise."""
    x = put([at, -at, at + 0.1, -at - 0.2])

    @on_arrays
    def f(x):
        return xp.sum(xp.tanh(x) * put([1.0, 2.0, -0.5, 3.0]))

    def grad(x, factor=1.0):
        return (factor * put([1.0, 2.0, -0.5, 3.0]) / xp.cosh(x) ** 2,)

    report = mx.gradcheck(f, grad, [x])
    assert report.ok
    assert "hidden by rounding at params: checked elsewhere" in report.tensors[0].diagnosis
    assert mx.gradcheck(f, lambda x: grad(x, 1.001), [x]).verdict == "fail"


@EAGER
def test_two_values_that_both_drown_in_noise_agree(xp, put):
    c = put([1.0, 1e-14])
    x = put([1.0, 1.0])
    mx.gradcheck(lambda x: xp.sum(c * x), lambda x: (c * put([1.0, 3.0]),), [x]).raise_if_failed()
    # ... but not a value that stands out beside one that drowns
    assert mx.gradcheck(lambda x: xp.sum(c * x), lambda x: (c + put([0.0, 1e-6]),), [x]).verdict == "fail"


@pytest.mark.only("numpy")
def test_the_row_of_an_array_is_that_of_its_worst_probe():
    """Of a pass too: the larger relative error of the two entries, and of a doubt a slope that is wrong."""
    for off in ([1e-14, 0.0], [0.0, 1e-14]):
        report = mx.gradcheck(lambda x: np.sum(x**2), lambda x: (2 * x * (1.0 + np.asarray(off)),), [np.ones(2)])  # noqa: B023
        (row,) = report.tensors
        assert (row.verdict, row.index) == ("pass", (int(np.argmax(off)),))
        assert row.relative_error == pytest.approx(5e-15, rel=0.1, abs=0.0)
        assert row.analytic > row.numeric == 2.0
    flat = flattened(lambda x: np.sum(x**2), lambda x: (2 * x,), [np.ones(2)], None)
    here = gradient_at(flat, prepare(flat.f, flat.arrays, 0), flat.grad(*flat.arrays), np.random.default_rng(0))
    wrong, unsure, right = Probe(1.1, 1.0, 0.01, 1.0), Probe(3.0, 1.0, 9.0, 1.0), Probe(1.0, 1.0, 0.01, 1.0)
    for probes in itertools.permutations((wrong, unsure, right)):
        row = _row(here, 0, Judgement("inconclusive", "why", probes))
        assert (row.analytic, row.noise, row.relative_error) == (1.1, 0.01, wrong.relative_error)
    assert _row(here, 0, Judgement("inconclusive", "why", (right, unsure))).analytic == 3.0


# --- how much it takes, and what it leaves alone ---------------------------------------------------------------------


@EAGER
def test_evaluations_are_the_calls_of_f(put):
    x, calls = put([[1.0, -2.0], [0.5, 3.0]]), []

    def f(x):
        calls.append(2 if isinstance(x, Dual) else x.shape[0] if x.ndim == 3 else 1)  # value and tangent
        return square(x)

    assert mx.gradcheck(f, lambda x: (2 * x,), [x]).evaluations == sum(calls)
    calls.clear()
    report = mx.gradcheck(f, lambda x: (2 * x,), [x], vectorized=True, mode="full")
    assert report.evaluations == sum(calls)
    assert len(calls) < sum(calls)


@EAGER
def test_the_cost_does_not_grow_with_the_size(put):
    small, large = (put(np.random.default_rng(1).standard_normal(shape)) for shape in ((2, 2), (200, 100)))
    few, many = (mx.gradcheck(square, lambda x: (2 * x,), [x]).evaluations for x in (small, large))
    assert many <= few + 20  # a step may be looked for a little longer


@QUICKEST
@pytest.mark.parametrize("size", [3, 30, 300])
def test_four_tensors_of_any_size_take_at_most_a_hundred_values(put, size):
    random = np.random.default_rng(5)
    X, y = put(random.standard_normal((8, size))), put(random.integers(0, 3, 8))
    params = [put(p) for p in mx.init_params((size, 10, 3), seed=1)]
    for activation in ("tanh", "relu"):
        report = mx.gradcheck(
            lambda *p: mx.objective(X, y, *p, activation=activation),  # noqa: B023
            lambda *p: mx.loss_and_grads(X, y, *p, activation=activation)[1],  # noqa: B023
            params,
        )
        report.raise_if_failed()
        assert report.evaluations <= 100


def test_nothing_is_mutated_by_a_check(put, host):
    params = [put(np.arange(4.0).reshape(2, 2)), put([[1.0, -1.0]])]
    grads = [2 * p for p in params]
    copies = [host(a).copy() for a in (*params, *grads)]
    mx.gradcheck(lambda a, b: square(a) + square(b), lambda a, b: tuple(grads), params)
    for array, copied in zip((*params, *grads), copies, strict=True):
        np.testing.assert_array_equal(host(array), copied)


@QUICK
def test_the_same_seed_gives_the_same_report(put):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    first, second = (mx.gradcheck(square, lambda x: (2.001 * x,), [x], seed=3) for _ in range(2))
    assert first == second


# --- this library's own ----------------------------------------------------------------------------------------------


def test_an_op_of_the_library_means_what_its_name_does(put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), tuple(map(put, textbook.parameters()))
    for name in set(mx.losses.CRITERIA) - set(textbook.OUTPUTS_PER_TARGET):
        op = getattr(mx.losses, name)
        ours, theirs = mx.forward(X, *params, criterion=op)[0], mx.forward(X, *params, criterion=name)[0]
        np.testing.assert_array_equal(host(ours), host(theirs))
    mx.objective(X, y, *params, criterion=mx.losses.softmax_cross_entropy, label_smoothing=0.1)
