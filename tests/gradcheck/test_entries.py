"""Single entries: ``numerical_grad`` is the derivative, and entries that are wrong are found in large arrays."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest
from array_api_compat import array_namespace
from known_functions import QUICK, on_arrays, square

import mlp_xp as mx
from mlp_xp.gradcheck.entries import _halve, compare_entries, shown_by
from mlp_xp.gradcheck.evidence import entry_rounding, gradient_at
from mlp_xp.gradcheck.forms import flattened
from mlp_xp.gradcheck.local import prepare

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


@pytest.mark.parametrize("large", [1.0, 1e6, -1e6])
def test_numerical_grad_takes_wider_steps_where_f_hides_the_usual_one_in_its_rounding(put, host, large):
    """The size of x asks for a step of 6e-14; one of 6e-6, of numbers near 1, changes 1e6 + x by 1e5 roundings."""
    x = put([1e-8, 2e-8])
    np.testing.assert_allclose(host(mx.numerical_grad(lambda x: large + x[0] - 3.0 * x[1], x)), [1.0, -3.0], rtol=1e-4)


def test_numerical_grad_of_an_empty_array_is_empty(xp, put):
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
def test_numerical_grad_takes_read_only_arrays():
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


# --- how uncertain an entry is ---------------------------------------------------------------------------------------


@QUICK
@pytest.mark.parametrize("size", [20, 1200])
def test_no_entry_is_surer_than_the_rounding_of_its_gradient(xp, put, host, size):
    """A difference of a quadratic function in float64 is sharp; grad takes float32 alone, and rounds."""
    x = np.random.default_rng(1).uniform(1.0, 2.0, size)

    def grad(x):
        if x.dtype != xp.float32:
            raise TypeError("float32, please")
        return (2.0 * x,)

    flat = flattened(lambda x: array_namespace(x).sum(x * x), grad, (put(x, xp.float32),), None)
    here = gradient_at(flat, prepare(flat.f, flat.arrays, 0), flat.grad(*flat.arrays), np.random.default_rng(0))
    entries = compare_entries(here, 0, range(size), vectorized=False)
    errors, uncertainty = np.abs(host(entries.analytic) - host(entries.numeric)), host(entries.uncertainty)
    assert np.all(errors <= uncertainty)
    assert np.all(uncertainty >= host(entry_rounding(here, 0)))
    assert np.all(uncertainty <= 1e-2 * np.abs(host(entries.numeric)))  # and yet sure enough to tell a factor


@QUICK
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_differences_in_float64_are_fine_and_those_in_float32_are_not(xp, put, dtype):
    @on_arrays
    def f(x):
        if x.dtype != getattr(xp, dtype):
            raise TypeError(f"{dtype}, please")
        return xp.sum(x * x * x)

    flat = flattened(f, lambda x: (3.0 * x * x,), (put([0.7, -1.3, 2.1], getattr(xp, dtype)),), None)
    here = gradient_at(flat, prepare(flat.f, flat.arrays, 0), flat.grad(*flat.arrays), np.random.default_rng(0))
    shown = shown_by(here, 0, compare_entries(here, 0, range(3), vectorized=False))
    assert shown.worst.fine == (dtype == "float64")
    assert not shown.worst.seen


@pytest.mark.only("numpy")
def test_what_is_unsure_counts_in_the_units_of_each_entry():
    x = np.asarray([1e-6, 1.0, 1e6])  # far apart: each is a unit of its own
    flat = flattened(lambda x: np.sum(x * x), lambda x: (2.0 * x,), (x,), None)
    here = gradient_at(flat, prepare(flat.f, flat.arrays, 0), flat.grad(*flat.arrays), np.random.default_rng(0))
    entries = compare_entries(here, 0, range(3), vectorized=False)._replace(uncertainty=np.asarray([3.0, 0.0, 4e-12]))
    # sqrt((3e-6)^2 + (4e-6)^2) of a gradient (2e-6, 2, 2e6) that is 2e12 in the same units
    assert shown_by(here, 0, entries).worst.resolution == pytest.approx(5e-6 / 2e12, rel=1e-6, abs=0.0)


@pytest.mark.only("numpy")
def test_an_entry_that_two_steps_know_to_a_hundred_thousandth_is_not_looked_at_again():
    """A wave: the quotients of steps h and 2h are h^2 k^2 / 2 apart, a quarter of which is left beside both slopes."""
    h = 2.0 ** (-52 / 3)
    for share, values in ((0.85e-5, 4), (1.15e-5, 8)):
        k = 2.0 * np.sqrt(share) / h
        f = on_arrays(lambda x, k=k: np.sin(k * (x[0] - 1.0)))
        flat = flattened(f, lambda x, k=k: (k * np.cos(k * (x - 1.0)),), (np.ones(1),), None)
        here = gradient_at(flat, prepare(flat.f, flat.arrays, 0), flat.grad(*flat.arrays), np.random.default_rng(0))
        before = flat.f.count
        entries = compare_entries(here, 0, range(1), vectorized=False)
        assert flat.f.count - before == values
        # the third of their distance that cancels both errors leaves their fourth powers
        np.testing.assert_allclose(entries.numeric, k, rtol=1e-8)


@pytest.mark.only("numpy")
def test_a_difference_at_a_kink_is_uncertain_by_the_distance_to_both_slopes():
    flat = flattened(on_arrays(lambda x: np.sum(np.abs(x) + 0.5 * x)), lambda x: (0.0 * x,), (np.zeros(3),), None)
    here = gradient_at(flat, prepare(flat.f, flat.arrays, 0), flat.grad(*flat.arrays), np.random.default_rng(0))
    entries = compare_entries(here, 0, range(3), vectorized=False)
    np.testing.assert_allclose(entries.numeric, 0.5, rtol=1e-6)
    np.testing.assert_allclose(entries.uncertainty, 1.0, rtol=1e-4)  # the slopes are -0.5 and 1.5


@pytest.mark.only("numpy")
def test_an_entry_that_one_quotient_confirms_is_as_unsure_as_their_distance_and_the_noise():
    """Of many entries the most are looked at once, from above: the quotient of x^2 is 2 x + h."""
    x = np.linspace(1.0, 2.0, 1001)
    flat = flattened(lambda x: array_namespace(x).sum(x * x), lambda x: (2.0 * x,), (x,), None)
    local = prepare(flat.f, flat.arrays, 0)
    here = gradient_at(flat, local._replace(noise=1e-9), flat.grad(*flat.arrays), np.random.default_rng(0))
    before = flat.f.count
    entries = compare_entries(here, 0, range(x.size), vectorized=False)
    assert flat.f.count - before == x.size
    step = 2.0 ** (-52 / 3) * np.maximum(x, np.sqrt(np.mean(x * x)))
    np.testing.assert_allclose(entries.numeric - 2.0 * x, step, rtol=1e-2)
    np.testing.assert_allclose(entries.uncertainty, np.abs(2.0 * x - entries.numeric) + 6.0 * 1e-9 / step, rtol=1e-6)


# --- every entry, a sample, a search ---------------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_full_mode_compares_every_entry():
    x = np.random.default_rng(3).standard_normal((40, 40))
    report = mx.gradcheck(lambda x: np.sum(x**2), lambda x: (2 * x,), (x,), mode="full")
    report.raise_if_failed()
    assert report.tensors[0].checked == 1600


@QUICK
def test_full_mode_shows_the_entry_that_is_least_sure_whatever_the_verdict(put, host):
    """Not the random direction by which an array was judged."""
    x = np.random.default_rng(3).standard_normal((4, 5))
    for factor, verdict in ((3.0, "pass"), (3.003, "fail")):

        def grad(x, factor=factor):
            return (factor * x**2,)

        report = mx.gradcheck(lambda x: array_namespace(x).sum(x**3), grad, (put(x),), mode="full")
        (row,) = report.tensors
        assert (row.verdict, row.checked) == (verdict, 20)
        np.testing.assert_allclose(row.analytic, factor * x[row.index] ** 2, rtol=1e-12)
        np.testing.assert_allclose(row.numeric, 3 * x[row.index] ** 2, rtol=1e-6)


@pytest.mark.only("numpy", "torch", "cupy")
def test_many_entries_take_one_value_each_if_that_leaves_no_doubt(put):
    x = put(np.random.default_rng(1).standard_normal((60, 50)))

    def f(x):
        return array_namespace(x).sum(x * x, axis=(-2, -1))

    report = mx.gradcheck(f, lambda x: (2.0 * x,), (x,), mode="full", vectorized=True)
    report.raise_if_failed()
    assert report.tensors[0].checked == 3000
    assert report.evaluations < 3000 * 2  # of four, which those take whose curvature outweighs them
    wrong = mx.gradcheck(f, lambda x: (2.0 * x + put(np.eye(60, 50) * 1e-4),), (x,), mode="full", vectorized=True)
    assert wrong.verdict == "fail"
    assert wrong.tensors[0].index[0] == wrong.tensors[0].index[1]


@QUICK
def test_a_sample_of_a_large_array_is_checked_and_the_report_says_so(put):
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


@pytest.mark.only("numpy")
def test_the_search_follows_the_first_four_wrong_blocks():
    wrong = {20, 31, 32, 47, 48, 90}
    edges = range(0, 101)
    assert _halve(lambda low, high: bool(wrong & set(range(low, high))), edges) == [20, 31, 32, 47]


@pytest.mark.only("numpy")  # of the search, which is the same on every backend and takes hundreds of values
@pytest.mark.parametrize(
    ("spoil", "index", "words"),
    [
        (lambda g: g * (np.arange(784)[:, None] != 300), (300, None), "all in row 300, which is zero"),
        (lambda g: np.where(np.arange(784 * 32).reshape(784, 32) == 9876, -g, g), (308, 20), "one entry"),
    ],
    ids=["one row of 784 is zero", "one entry of 25,088 has the wrong sign"],
)
def test_the_wrong_entries_of_a_large_array_are_found(spoil, index, words):
    random = np.random.default_rng(2)
    X, y, params = random.standard_normal((32, 784)), random.integers(0, 10, 32), mx.init_params((784, 32, 10))

    def wrong(*params):
        first, *rest = mx.loss_and_grads(X, y, *params)[1]
        return spoil(first), *rest

    row = mx.gradcheck(lambda *p: mx.objective(X, y, *p), wrong, params).tensors[0]
    assert row.verdict == "fail"
    assert row.index[0] == index[0]
    assert index[1] in (None, row.index[1])
    assert words in row.diagnosis or "row 308" in row.diagnosis


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    "value",
    [lambda x: np.sum(x**3), lambda x: np.sum(x**3, keepdims=True), lambda x: np.sum(x**3, axis=0), lambda x: 1.0],
    ids=["one number", "one number in brackets", "a sum over the wrong axis", "a Python number"],
)
def test_a_function_that_is_not_vectorized_though_it_is_said_to_be_is_the_callers_to_mend(value):
    def f(x):
        return value(x) if x.ndim > 2 else np.sum(x**3)

    with pytest.raises(ValueError, match="f must return shape"):
        mx.gradcheck(f, lambda x: (3 * x**2,), (np.asarray([[0.5, -1.0], [2.0, 0.1]]),), vectorized=True, mode="full")


@pytest.mark.only("numpy")
@pytest.mark.parametrize("place", [0, 1, 2])
def test_entries_beside_which_f_is_not_defined_are_no_warning(place):
    def f(x):
        if x[place] != point[place]:
            raise ValueError("outside")
        return np.sum(x**3)

    point = np.asarray([0.5, -1.0, 2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = mx.gradcheck(f, lambda x: (3 * x**2,), (point,), mode="full")
    assert report.verdict == "inconclusive"
    assert "f or grad raised" in str(report)


# --- numbers of NumPy's as options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "eps", [np.float64(1e-3), np.float32(1e-3), Fraction(1, 1000)], ids=lambda eps: type(eps).__name__
)
def test_a_step_of_another_type_is_the_same_step(xp, put, host, eps):
    x = put([0.5, -1.0, 2.0], xp.float32)
    found, usual = (mx.numerical_grad(lambda x: xp.sum(x**3), x, eps=step) for step in (eps, 1e-3))
    assert found.dtype == xp.float32
    np.testing.assert_allclose(host(found), host(usual), rtol=1e-3)  # np.float32(1e-3) is 5e-8 off; differences 1e-4


@pytest.mark.only("numpy")
def test_options_of_numpys_types_give_the_same_report():
    def check(seed, max_entries):
        x = np.linspace(-1.0, 1.0, 300)
        return str(
            mx.gradcheck(lambda x: np.sum(x**3), lambda x: (2.9 * x**2,), (x,), seed=seed, max_entries=max_entries)
        )

    expected = check(200, 200)
    for kind in (np.uint8, np.int64, np.uint64, np.int16):
        assert check(kind(200), kind(200)) == expected


@pytest.mark.parametrize("number", [2.5, 3, np.float32(2.5), np.float64(2.5)], ids=lambda number: type(number).__name__)
def test_a_function_that_returns_a_number_that_is_no_array_is_a_constant(put, host, number):
    x = put([0.5, -1.0])
    np.testing.assert_array_equal(host(mx.numerical_grad(lambda x: number, x)), np.zeros(2))
