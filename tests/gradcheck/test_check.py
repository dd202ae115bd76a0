"""The checker: right gradients pass, wrong ones are refused, and what cannot be known is called inconclusive."""

from __future__ import annotations

import math

import numpy as np
import pytest
import textbook
from array_api_compat import array_namespace
from hypothesis import assume, given
from hypothesis import strategies as st

import mlp_xp as mx
from mlp_xp.gradcheck.dual import Dual

SMALL = (3, 2, 2)  # 14 parameters: each is perturbed a few times, and JAX and Dask take a millisecond for an operation


# An evaluation takes Dask and JAX some 20 and 5 ms, and to say where a network is wrong takes hundreds: they see a few
# of the catalogue's rows, whose numbers are the same on every backend.
QUICK = pytest.mark.only("numpy", "torch", "array_api_strict", "cupy")


def some(rows, everywhere):
    """``rows`` as parameters, those that ``everywhere`` does not choose only where evaluations are quick."""
    return [row if everywhere(row) else pytest.param(row, marks=QUICK) for row in rows]


@pytest.fixture(scope="session")
def vectorized(backend):
    """Many calls build a large graph on Dask, many shapes compile for long on JAX."""
    return backend == "dask"


@pytest.fixture
def network(put):
    """``X, y, params``: the smallest network with everything in it, W2 square."""
    X, y = textbook.batch(5, 3), textbook.labels(5, 2)
    return put(X), put(y), tuple(put(p) for p in textbook.parameters(SMALL))


def only(x):
    """Which entry of ``x`` comes first: 1 there, else 0."""
    xp = array_namespace(x)
    place = {"device": x.device} if hasattr(x, "device") else {}
    return xp.reshape(xp.astype(xp.arange(math.prod(x.shape), **place) == 0, x.dtype), x.shape)


def square(x):
    """``sum x^2``, over the last two axes."""
    return array_namespace(x).sum(x * x, axis=(-2, -1))


# --- numerical_grad --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 1, 3)], ids=str)
def test_numerical_grad_is_the_derivative_for_any_array(xp, put, host, shape, dtype):
    x = np.asarray(np.random.default_rng(1).standard_normal(shape))
    ours = mx.numerical_grad(lambda x: xp.sum(xp.sin(x)), put(x, getattr(xp, dtype)))
    assert ours.shape == shape
    assert ours.dtype == getattr(xp, dtype)
    # the default step balances h^2 / 6 |f'''| against eps |f| / h: both are of the order eps^(2/3), times |f| < 6
    np.testing.assert_allclose(host(ours), np.cos(x), atol=6 * float(np.finfo(dtype).eps) ** (2 / 3))


def test_numerical_grad_of_a_quadratic_has_rounding_error_alone(put, host):
    x = put(np.random.default_rng(1).standard_normal((2, 3)))
    ours = mx.numerical_grad(square, x, eps=1e-2)
    np.testing.assert_allclose(host(ours), 2 * host(x), atol=1e-12)  # some eps |f| / h


def test_numerical_grad_divides_by_the_step_actually_taken(xp, put, host):
    # 0.001 is 16 spacings of float32 at 1000, so the two steps are off by up to 3%; of x itself the slope is 1
    for number in (1000.3, -700.7, 123.4):
        x = put(number, xp.float32)
        assert float(host(mx.numerical_grad(lambda x: x, x, eps=1e-3))) == 1.0


def test_numerical_grad_of_nothing_is_nothing(xp, put):
    assert mx.numerical_grad(xp.sum, put(np.zeros((0, 3)))).shape == (0, 3)


def test_numerical_grad_takes_a_function_that_returns_a_python_number(put, host):
    ours = mx.numerical_grad(lambda x: float(x[0]) * 2.0, put([1.0, 2.0]), eps=0.5)
    assert host(ours).tolist() == [2.0, 0.0]


def test_numerical_grad_mutates_nothing(put, host):
    x = put(np.arange(6.0).reshape(2, 3))
    seen = []

    def f(x):
        seen.append(x)
        return square(x)

    mx.numerical_grad(f, x)
    np.testing.assert_array_equal(host(x), np.arange(6.0).reshape(2, 3))
    # each call has moved one entry, and no earlier call's array was used again
    assert len(seen) == 12
    for moved in seen:
        assert np.sum(host(moved) != host(x)) == 1


@pytest.mark.only("numpy")
def test_numerical_grad_needs_no_right_to_write():
    x = np.arange(6.0).reshape(2, 3)
    x.flags.writeable = False
    np.testing.assert_allclose(mx.numerical_grad(square, x), 2 * x, atol=1e-9)
    np.testing.assert_allclose(mx.numerical_grad(square, x, vectorized=True), 2 * x, atol=1e-9)


def test_vectorized_differences_equal_single_ones_in_fewer_calls(put, host):
    x, widths = put(np.random.default_rng(1).standard_normal((2, 3))), []

    def f(x):
        widths.append(x.shape[0])
        return square(x)

    np.testing.assert_allclose(
        host(mx.numerical_grad(f, x, vectorized=True)), host(mx.numerical_grad(square, x)), atol=1e-9
    )  # two sums of six numbers may round differently: eps |f| / h
    assert widths == [6, 6]


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_vectorized_differences_come_in_bounded_chunks(put, host):
    x, widths = put(np.ones((20, 10))), []

    def f(x):
        widths.append(x.shape[0])
        return square(x)

    np.testing.assert_allclose(host(mx.numerical_grad(f, x, vectorized=True)), 2.0, rtol=1e-8)
    assert max(widths) < 200
    assert sum(widths) == 400
    x, widths = put(np.ones((1000, 2500))), []  # 20 MB: not two of them at once

    def first(x):
        widths.append(x.shape[0])
        raise StopIteration

    with pytest.raises(StopIteration):
        mx.numerical_grad(first, x, vectorized=True)
    assert widths == [1]


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


@pytest.mark.parametrize("options", some(VARIATIONS, lambda row: len(row) > 2), ids=described)
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


# --- functions that have nothing to do with this library -------------------------------------------------------------


def test_functions_of_anybodys_are_checked(xp, put):
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


@pytest.mark.parametrize("shape", [(), (1,), (2, 1, 3)], ids=str)
def test_parameters_may_have_any_rank(xp, put, shape):
    x = put(np.random.default_rng(1).standard_normal(shape))
    mx.gradcheck(lambda x: xp.sum(xp.exp(x)), lambda x: (xp.exp(x),), [x]).raise_if_failed()
    report = mx.gradcheck(lambda x: xp.sum(xp.exp(x)), lambda x: (xp.exp(x) + only(x),), [x])
    assert report.verdict == "fail"
    assert report.tensors[0].index == (0,) * len(shape)


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
    "one entry a hundredth off": of_one(0, lambda xp, g: g * (1.0 + 0.01 * only(g))),
    "one entry plus one": of_one(2, lambda xp, g: g + only(g)),
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


@pytest.mark.parametrize("name", some(WRONG, lambda _: False))
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


@QUICK
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
        (lambda xp, g: -g, "the sign is wrong"),
        (lambda xp, g: 0.3 * g, "0.3 times the true one"),
        (lambda xp, g: 0.0 * g, "the gradient is zero everywhere"),
        (lambda xp, g: xp.matrix_transpose(g), "the gradient is transposed"),
        (lambda xp, g: g + only(g), "one entry is wrong, of 4"),
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
        (lambda xp, g: g + math.inf * (only(g) + 1.0), "NaN or infinite"),
    ],
)
def test_what_cannot_be_a_gradient_fails_with_the_reason(xp, put, spoil, words):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    report = mx.gradcheck(lambda x, b: square(x) + square(b), lambda x, b: (spoil(xp, 2 * x), 2 * b), [x, x])
    assert report.tensors[0].verdict == "fail"
    assert report.tensors[1].verdict != "fail"
    assert words in report.tensors[0].diagnosis


def test_none_is_no_gradient(put):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    with pytest.raises((TypeError, ValueError), match="grad must return a tuple of 1 gradients"):
        mx.gradcheck(square, lambda x: (None,), [x])


# --- what cannot be known --------------------------------------------------------------------------------------------


def test_float32_without_a_float64_reference_is_inconclusive_where_noise_hides_the_gradient(xp, put):
    x = put([1.0, -2.0, 0.5], xp.float32)

    def f(scale):  # a loss of about 1000 is known to 6e-5 in float32
        return lambda x: scale * xp.sum(xp.astype(x, xp.float32) ** 2) + 1000.0

    report = mx.gradcheck(f(1e-6), lambda x: (2e-6 * x,), [x])
    assert report.verdict == "inconclusive"
    assert report.reference.startswith("float32")
    assert report.tensors[0].resolution > 1e-3
    assert "rounding noise" in report.tensors[0].diagnosis
    with pytest.raises(AssertionError, match="inconclusive"):
        report.raise_if_failed()
    report.raise_if_failed(allow_inconclusive=True)
    assert mx.gradcheck(f(1.0), lambda x: (-2 * x,), [x]).verdict == "fail"  # noise hides a lot, but not that
    # where a step to larger parameters brings the gradient out of the noise it is taken, and said
    report = mx.gradcheck(f(0.5), lambda x: (1.0 * x,), [x])
    assert report.ok
    assert "hidden by rounding at params: checked elsewhere" in report.tensors[0].diagnosis
    assert not mx.gradcheck(f(0.5), lambda x: (0.95 * x,), [x]).ok


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


def test_two_values_that_both_drown_in_noise_agree(xp, put):
    c = put([1.0, 1e-14])
    x = put([1.0, 1.0])
    mx.gradcheck(lambda x: xp.sum(c * x), lambda x: (c * put([1.0, 3.0]),), [x]).raise_if_failed()
    # ... but not a value that stands out beside one that drowns
    assert mx.gradcheck(lambda x: xp.sum(c * x), lambda x: (c + put([0.0, 1e-6]),), [x]).verdict == "fail"


def test_gradients_that_are_exactly_zero_pass(put):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    report = mx.gradcheck(lambda x, unused: square(x), lambda x, unused: (2 * x, 0 * unused), [x, x])
    report.raise_if_failed()
    row = report.tensors[1]
    assert (row.relative_error, row.analytic, row.numeric) == (0.0, 0.0, 0.0)
    report = mx.gradcheck(lambda x, unused: square(x), lambda x, unused: (2 * x, 1e-3 * unused), [x, x])
    assert [row.verdict for row in report.tensors] == ["pass", "fail"]


@QUICK
def test_a_kink_nearer_than_a_step_is_no_mistake(xp, put):
    x = put([3.0, 1e-7, -1e-7, 2e-6, -2e-6, -1.0])  # nearer than the usual step of 6e-6

    def relu(x):
        return xp.sum(xp.maximum(x, xp.zeros_like(x)))

    def right(x):
        return xp.astype(x > 0, x.dtype)

    for mode in ("auto", "full"):
        mx.gradcheck(relu, lambda x: (right(x),), [x], mode=mode).raise_if_failed()
        assert mx.gradcheck(relu, lambda x: (1.0 - right(x),), [x], mode=mode).verdict == "fail"
        assert mx.gradcheck(relu, lambda x: (1.001 * right(x),), [x], mode=mode).verdict == "fail"


def test_a_subgradient_at_a_kink_is_no_mistake(xp, put):
    x = put([[1.0, 0.0], [-0.5, 0.0]])
    mx.gradcheck(lambda x: xp.sum(xp.abs(x)), lambda x: (xp.sign(x),), [x]).raise_if_failed()
    assert mx.gradcheck(lambda x: xp.sum(xp.abs(x)), lambda x: (-xp.sign(x),), [x]).verdict == "fail"


# --- the report ------------------------------------------------------------------------------------------------------


def test_the_worst_entry_is_named_with_both_its_values(xp, put):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    off = put([[0.0, 0.0], [0.75, 0.006]])  # three quarters of one, a thousandth of the other
    row = mx.gradcheck(square, lambda x: (2 * x + off,), [x], names=["weight"]).tensors[0]
    assert row.name == "weight"
    assert row.index == (1, 0)
    assert row.analytic == 1.75
    np.testing.assert_allclose(row.numeric, 1.0, rtol=1e-8)
    np.testing.assert_allclose(row.relative_error, 0.75 / 2.75, rtol=1e-8)
    assert (row.checked, row.size) == (4, 4)
    assert 0 < row.resolution < 1e-6


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


def test_the_cost_does_not_grow_with_the_size(put):
    small, large = (put(np.random.default_rng(1).standard_normal(shape)) for shape in ((2, 2), (200, 100)))
    few, many = (mx.gradcheck(square, lambda x: (2 * x,), [x]).evaluations for x in (small, large))
    assert many <= few + 20  # a step may be looked for a little longer


def test_the_report_reads_as_a_table(put):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    report = mx.gradcheck(
        lambda a, b: square(a) + square(b), lambda a, b: (2 * a, -2 * b), [x, x], names=["a", "longer"]
    )
    head, columns, first, second, note = str(report).splitlines()
    assert head == f"gradient check: fail ({report.evaluations} evaluations, reference in {report.reference})"
    assert columns.split()[:2] == ["tensor", "verdict"]
    assert first.split()[:2] == ["a", "pass"]
    assert second.split()[:2] == ["longer", "fail"]
    assert first.index("pass") == second.index("fail") == columns.index("verdict")
    assert "the sign is wrong" in note
    with pytest.raises(AssertionError) as caught:
        report.raise_if_failed()
    assert str(caught.value) == str(report)


@QUICK
def test_of_a_large_tensor_a_sample_is_checked_and_the_report_says_so(put):
    x = put(np.random.default_rng(1).standard_normal((200, 100)))
    report = mx.gradcheck(square, lambda x: (2 * x,), [x], max_entries=8, vectorized=True, mode="full")
    report.raise_if_failed()
    assert (report.tensors[0].checked, report.tensors[0].size) == (8, 20_000)
    assert "8 of 20,000 entries were checked" in str(report)
    assert report.evaluations < 200
    wrong = mx.gradcheck(square, lambda x: (-2 * x,), [x], max_entries=8, vectorized=True)
    assert wrong.verdict == "fail"
    row = wrong.tensors[0]
    np.testing.assert_allclose(row.analytic, -row.numeric, rtol=1e-6)


def test_an_empty_parameter_passes(put):
    report = mx.gradcheck(
        lambda x, nothing: square(x), lambda x, nothing: (2 * x, 0 * nothing), [put([[1.0]]), put([])]
    )
    report.raise_if_failed()
    assert report.tensors[1].size == 0


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
