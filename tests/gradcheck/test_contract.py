"""What a gradient function owes besides the right numbers: each broken promise is named."""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from known_functions import cubes_at_a_point

import mlp_xp as mx
from mlp_xp.gradcheck import contract
from mlp_xp.gradcheck.contract import first_answer, leaf_flaw
from mlp_xp.gradcheck.forms import flattened

IN_PLACE = pytest.mark.only(
    "numpy", "array_api_strict", "torch", "cupy", "dpnp"
)  # elsewhere nothing can be changed in place


def answer(f, grad, params, **options):
    """What the contract's questions find, before any number is compared; at the parameters f is called first."""
    flat = flattened(f, grad, params, None, **options)
    flat.f(*flat.arrays)
    return first_answer(flat, 0)


def test_a_gradient_drawn_afresh_is_named(put):
    f, grad, x = cubes_at_a_point(put)
    random = np.random.default_rng(0)
    report = mx.gradcheck(f, lambda x: (grad(x)[0] * put(random.integers(0, 2, 4) * 2.0),), (x,))
    assert report.verdict == "fail"
    assert "grad is not repeatable" in str(report)


def test_a_function_drawn_afresh_is_named(put):
    f, grad, x = cubes_at_a_point(put)
    random = np.random.default_rng(0)
    report = mx.gradcheck(lambda x: f(x) * float(random.uniform(0.9, 1.1)), grad, (x,))
    assert report.verdict == "fail"
    assert "f is not repeatable" in str(report)


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy", "dpnp")  # elsewhere nothing can be changed in place
def test_a_gradient_function_that_changes_its_argument_is_named(put):
    f, grad, x = cubes_at_a_point(put)

    def careless(x):
        gradient = grad(x)
        x *= 2.0
        return gradient

    report = mx.gradcheck(f, careless, (x,), names=("x",))
    assert report.verdict == "fail"
    assert "grad changes x in place" in str(report)


@pytest.mark.only(
    "numpy", "array_api_strict", "torch", "jax", "cupy", "dpnp"
)  # a Dask array is computed, and so another one
def test_the_parameter_itself_is_refused_as_its_gradient(xp, put):
    report = mx.gradcheck(lambda x: 0.5 * xp.sum(x * x), lambda x: (x,), (put([0.7, -1.3]),))
    assert report.verdict == "fail"
    assert "the parameter itself" in str(report)


@pytest.mark.only("numpy", "array_api_strict", "torch", "jax", "cupy", "dpnp")
@pytest.mark.parametrize("shape", [(0,), (3, 0)], ids=str)
def test_a_parameter_without_entries_may_be_its_own_gradient(put, shape):
    """There is nothing that the one could change in the other."""
    x = put(np.zeros(shape))
    assert leaf_flaw(x, x) == ""


# --- arguments that are changed in place -----------------------------------------------------------------------------


def doubled(xp, x):
    x *= 2.0


def centred(xp, x):
    """Idempotent: a second call changes nothing but by rounding."""
    x -= xp.mean(x)


def first_zeroed(xp, x):
    x[0] = 0.0


def clipped(xp, x):
    x[...] = xp.clip(x, -1.0, 1.0)


def reversed_in_place(xp, x):
    x[...] = xp.flip(x)


CARELESS = [doubled, centred, first_zeroed, clipped, reversed_in_place]


@IN_PLACE
@pytest.mark.parametrize("change", CARELESS)
def test_an_f_that_changes_its_argument_is_named_and_the_callers_array_stays(xp, put, host, change):
    f, grad, x = cubes_at_a_point(put)
    x = xp.asarray(x, copy=True)  # one that can be written to
    before = host(x).copy()

    def careless(x):
        change(xp, x)
        return f(x)

    def fitting(x):  # the gradient as if nothing had happened
        return grad(x)

    report = mx.gradcheck(careless, fitting, (x,))
    assert report.contract == ("f changes params[0] in place",)
    np.testing.assert_array_equal(host(x), before)


@IN_PLACE
@pytest.mark.parametrize("change", CARELESS)
def test_a_grad_that_changes_its_argument_is_named_and_the_callers_array_stays(xp, put, host, change):
    f, grad, x = cubes_at_a_point(put)
    x = xp.asarray(x, copy=True)
    before = host(x).copy()

    def careless(x):
        gradient = grad(x)
        change(xp, x)
        return gradient

    assert mx.gradcheck(f, careless, (x,), names=("w",)).contract == ("grad changes w in place",)
    np.testing.assert_array_equal(host(x), before)


@IN_PLACE
def test_a_change_at_the_second_call_alone_is_named(put):
    f, grad, x = cubes_at_a_point(put)
    calls = []

    def late(x):
        calls.append(1)
        gradient = grad(x)
        if len(calls) > 1:
            x *= 2.0
        return gradient

    assert answer(f, late, (x,)).broken == "grad changes params[0] in place"


@IN_PLACE
@pytest.mark.parametrize("part", ["op", "pullback"])
def test_an_op_that_changes_its_argument_is_named_in_the_words_of_ops(xp, put, part):
    def op(x, f):
        value = 2.0 * x * f
        if part == "op":
            f *= 2.0

        def pullback(c):
            cotangents = 2.0 * c * f, 2.0 * c * x
            if part == "pullback":
                x[...] = 0.0 * x
            return cotangents

        return value, pullback

    report = mx.check_pullback(op, (put([0.7, -1.3]), put([0.2, 0.4])), names=("params['grad']", "params['f']"))
    expected = {"op": "op changes params['f'] in place", "pullback": "the pullback changes params['grad'] in place"}
    assert report.contract[0] == expected[part]


@IN_PLACE
def test_a_change_inside_a_container_is_named_by_its_path(put):
    f, grad, x = cubes_at_a_point(put)

    class Layer(NamedTuple):
        weight: Any
        rate: float

    def careless(model):
        model["first"].weight[1] = 3.0
        return f(model["first"].weight)

    params = {"first": Layer(x, 0.1)}
    broken = answer(careless, lambda m: {"first": Layer(*grad(m["first"].weight), 0.0)}, params).broken
    assert broken == "f changes params[0]['first'].weight in place"


def test_an_argument_with_entries_that_are_not_numbers_is_not_taken_for_changed(xp, put):
    """A mask of -inf, or NaN for what is missing, that f looks away from."""
    mask = put([0.0, 0.0, 1.0])
    x = put([0.7, -1.3, math.nan])

    def f(x):
        known = xp.where(mask > 0.0, xp.zeros_like(x), x)
        return xp.sum(known * known)

    def grad(x):
        return (2.0 * xp.where(mask > 0.0, xp.zeros_like(x), x),)

    assert answer(f, grad, (x,)).broken == ""


@IN_PLACE
@pytest.mark.parametrize("which", [0, 1])
def test_a_gradient_that_is_a_view_of_a_parameter_is_named_by_both(xp, put, which):
    """f = <a, b>: the gradient of each is the other, and has to be a copy of it."""
    a, b = put([0.7, -1.3]), put([0.2, 0.4])

    def grad(a, b):
        return (b[...], a + 0.0) if which == 0 else (b + 0.0, a[...])

    report = mx.gradcheck(lambda a, b: xp.sum(a * b), grad, (a, b), names=("a", "ab"))
    names = [("a", "ab"), ("ab", "a")][which]
    sentence = "the gradient of {} shares memory with {}: an update in place of the one changes the other"
    assert report.contract == (sentence.format(*names),)


@IN_PLACE
def test_a_gradient_that_is_a_view_of_its_own_parameter_is_named(xp, put):
    report = mx.gradcheck(lambda x: 0.5 * xp.sum(x * x), lambda x: (x[...],), (put([0.7, -1.3]),), names=("x",))
    assert report.contract[0].startswith("the gradient of x shares memory with it: ")


@IN_PLACE
def test_a_gradient_that_is_a_view_of_ones_is_named(xp, put):
    report = mx.gradcheck(lambda x: 0.5 * xp.sum(x * x), lambda x: (x[...],), (put([1.0, 1.0]),), names=("x",))
    assert report.contract[0].startswith("the gradient of x shares memory with it: ")


@pytest.mark.only("numpy")
def test_a_number_of_numpy_that_is_the_same_at_every_call_can_not_be_changed():
    two = np.float64(2.0)
    assert answer(lambda x: 2.0 * x, lambda x: (two,), (np.asarray(0.7),)).notes == ()
    same = np.asarray(2.0)
    (note,) = answer(lambda x: 2.0 * x, lambda x: (same,), (np.asarray(0.7),)).notes
    assert note.startswith("the gradient of params[0] is the same array at every call")


# --- what stays of one call to the next ------------------------------------------------------------------------------


def test_a_stale_cache_of_f_is_named(xp, put):
    cache = {}

    def f(x):
        cache["x"] = x
        return xp.sum(x * x * x)

    report = mx.gradcheck(f, lambda _: (3.0 * cache["x"] * cache["x"],), (put([0.7, -1.3]),))
    assert report.verdict == "fail"
    assert "stale cache" in str(report)


def test_a_gradient_that_remembers_its_first_argument_is_named(put):
    f, grad, x = cubes_at_a_point(put)
    calls = []

    def remembers(x):
        calls.append(x)
        return grad(calls[max(0, len(calls) - 2)])  # always one call behind

    report = mx.gradcheck(f, remembers, (x,))
    assert report.verdict == "fail"
    assert "stale cache" in str(report)


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy", "dpnp")
def test_a_gradient_function_that_fills_the_same_arrays_at_every_call_is_named(xp, put):
    f, grad, x = cubes_at_a_point(put)
    buffer = xp.zeros_like(x)

    def thrifty(x):
        buffer[...] = grad(x)[0]
        return (buffer,)

    assert "overwrites" in str(mx.gradcheck(f, thrifty, (x,)))
    assert mx.gradcheck(f, thrifty, (x,)).verdict == "fail"


@pytest.mark.only("numpy")
@pytest.mark.parametrize("how", ["one buffer", "a buffer for each array", "a copy of the buffer", "a list of buffers"])
def test_gradients_that_accumulate_in_place_are_named(how):
    x, y = np.asarray([0.7, -1.3]), np.asarray([[2.0], [0.3]])
    sums = [np.zeros_like(x), np.zeros_like(y)]

    def grad(*at):
        for total, each in zip(sums, at, strict=False):
            total += each
        given = sums[: len(at)]
        return [total.copy() for total in given] if how == "a copy of the buffer" else given

    params = (x,) if how == "one buffer" else (x, y)
    report = mx.gradcheck(lambda *at: sum(0.5 * np.sum(each**2) for each in at), grad, params)
    assert report.verdict == "fail"
    assert "gradients accumulate" in str(report)


def test_gradients_that_accumulate_are_named(put):
    f, grad, x = cubes_at_a_point(put)
    total = [0.0 * x]

    def accumulating(x):
        total[0] = total[0] + grad(x)[0]
        return (total[0],)

    report = mx.gradcheck(f, accumulating, (x,))
    assert report.verdict == "fail"
    assert "gradients accumulate" in str(report)


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy", "dpnp")
def test_a_cache_by_the_identity_of_an_array_is_named(put):
    """What an optimizer that updates in place meets: the same array, with other numbers."""
    f, grad, x = cubes_at_a_point(put)
    seen = []  # the arrays too, so that no two have one identity

    def cached(x):
        if not any(x is array for array, _ in seen):
            seen.append((x, grad(x)))
        return tuple(1.0 * g for array, gradients in seen if array is x for g in gradients)

    report = mx.gradcheck(f, cached, (x,))
    assert report.verdict == "fail"
    assert "changed in place" in str(report)


def in_a_cache(xp, kept):
    """f = sum x^3, which keeps its argument, and the gradient that would use what is kept."""

    def f(x):
        kept["x"] = x
        return xp.sum(x * x * x)

    return f


def test_a_stale_cache_is_named_only_where_the_gradient_of_another_point_comes(xp, put):
    x = put([0.7, -1.3])
    kept = {}
    f = in_a_cache(xp, kept)
    broken = answer(f, lambda x: (3.0 * kept["x"] ** 2,), (x,)).broken
    assert (
        broken
        == "grad depends on the last call of f: it returns the gradient at the arguments of that call, a stale cache"
    )
    mixed = answer(f, lambda x: (3.0 * kept["x"] * x,), (x,)).broken
    assert (
        mixed == "grad depends on the last call of f: something of other arguments is mixed into the gradient at these"
    )


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_stale_cache_is_seen_at_any_scale_of_the_function(xp, put, scale):
    kept = {}

    def f(x):
        kept["x"] = x
        return scale * xp.sum(x * x * x)

    broken = answer(f, lambda x: (3.0 * scale * kept["x"] ** 2,), (put([0.7, -1.3]),)).broken
    assert broken.endswith("it returns the gradient at the arguments of that call, a stale cache")


@pytest.mark.only("numpy")
def test_as_much_as_another_order_of_a_sum_may_change_is_repeatable():
    """Ten thousand roundings of the largest entry; a step of the same size beyond it is not."""
    most = 1e4 * 2.0**-52
    for off, repeatable in ((most, True), (1.001 * most, False)):
        pair = [np.asarray([1.0, 0.0])], [np.asarray([1.0, off])]
        assert (contract._unrepeatable_gradient(np, *pair) == "") == repeatable


def test_a_gradient_that_depends_on_its_own_last_call_is_told_from_one_that_depends_on_fs(put):
    f, grad, x = cubes_at_a_point(put)
    last = []

    def late(x):
        last.append(x)
        return grad(last[-2] if len(last) > 1 else x)

    def mixed(x):
        last.append(x)
        return (3.0 * x * (last[-2] if len(last) > 1 else x),)

    assert answer(f, late, (x,)).broken == (
        "grad depends on its last call: it returns the gradient at the arguments of that call, a stale cache"
    )
    last.clear()
    assert answer(f, mixed, (x,)).broken == (
        "grad depends on its last call: something of other arguments is mixed into the gradient at these"
    )


def test_a_gradient_of_the_mean_of_its_last_four_arguments_depends_on_its_own_calls(put):
    f, grad, x = cubes_at_a_point(put)
    last = []

    def averaged(x):
        last.append(x)
        return grad(sum(last[-4:]) / len(last[-4:]))

    assert answer(f, averaged, (x,)).broken == (
        "grad depends on its last call: something of other arguments is mixed into the gradient at these"
    )


def test_a_cache_that_only_f_makes_invalid_is_named(put):
    """Right after every call of f, and right at params: wrong after a call of grad at another point."""
    f, grad, x = cubes_at_a_point(put)
    cache = []

    def forgetting(x):
        cache.clear()
        return f(x)

    def cached(x):
        cache.append(grad(x))
        return tuple(1.0 * g for g in cache[0])

    assert answer(forgetting, cached, (x,)).broken == (
        "grad depends on its last call: it returns the gradient at the arguments of that call, a stale cache"
    )


def test_a_stale_cache_is_seen_where_two_answers_differ_by_roundings(put):
    """As where a GPU adds in another order at each call."""
    x, kept, calls = put([0.7, -1.3]), {}, []

    def f(x):
        kept["x"] = x
        return cubes_at_a_point(put)[0](x)

    def grad(x):
        calls.append(1)
        return (3.0 * kept["x"] ** 2 * (1.0 + 4e-16 * (len(calls) % 2)),)

    def right(x):
        calls.append(1)
        return (3.0 * x**2 * (1.0 + 4e-16 * (len(calls) % 2)),)

    assert "a stale cache" in answer(f, grad, (x,)).broken
    assert answer(f, right, (x,)).broken == ""


# --- what f keeps ----------------------------------------------------------------------------------------------------


def batch_norm(xp, training_value):
    """A batch norm with a running mean, which its value uses or not, and the gradient of the latter."""
    running = [0.0]

    def f(x):
        running[0] = 0.9 * running[0] + 0.1 * float(xp.mean(x)) if not hasattr(x, "tangent") else running[0]
        shift = running[0] if training_value else xp.mean(x)
        return xp.sum((x - shift) ** 3)

    def grad(x):
        squares = 3.0 * (x - xp.mean(x)) ** 2
        return (squares - xp.mean(squares),)

    return f, grad


def test_an_f_that_merely_records_is_right(xp, put):
    f, grad = batch_norm(xp, training_value=False)
    assert answer(f, grad, (put([0.7, -1.3, 2.1, 0.4]),)).broken == ""
    losses = []
    f, grad, x = cubes_at_a_point(put)
    assert answer(lambda x: losses.append(f(x)) or losses[-1], grad, (x,)).broken == ""


def test_an_f_with_a_running_mean_or_a_counter_in_its_value_keeps_something(xp, put):
    f, grad = batch_norm(xp, training_value=True)
    moves = "its value at the same arguments moves the same way with every call, as with a running mean or a counter"
    assert answer(f, grad, (put([0.7, -1.3, 2.1, 0.4]),)).broken == f"f keeps something of its last call: {moves}"
    f, grad, x = cubes_at_a_point(put)
    for step in (1.0, -1e-3):
        calls = []
        counting = lambda x: calls.append(1) or f(x) + step * len(calls)  # noqa: B023, E731
        assert answer(counting, grad, (x,)).broken == f"f keeps something of its last call: {moves}"


def test_an_f_whose_value_depends_on_the_call_before_keeps_something(xp, put):
    f, grad, x = cubes_at_a_point(put)
    last = [x]

    def momentum(x):
        mean, last[0] = xp.sum(last[0]), x
        return f(x) + mean

    assert answer(momentum, grad, (x,)).broken == (
        "f keeps something of its last call: its value at the same arguments depends on the call before"
    )


def test_an_f_that_draws_does_not_keep(put):
    f, grad, x = cubes_at_a_point(put)
    for seed in range(5):
        random = np.random.default_rng(seed)
        broken = answer(lambda x: f(x) * float(random.uniform(0.9, 1.1)), grad, (x,)).broken  # noqa: B023
        assert broken.startswith("f is not repeatable: ")


# --- the checker's own points, where f or grad may raise -------------------------------------------------------------


def only_near(x, distance):
    """A function that raises further than ``distance`` from ``x``, as at the end of a domain."""

    def check(at):
        if abs(float(at[0]) - float(x[0])) > distance:
            raise ArithmeticError("outside the domain")

    return check


@pytest.mark.parametrize("distance", [0.05, 0.005, 5e-4])
@pytest.mark.parametrize("who", ["f", "grad"])
def test_a_point_where_f_or_grad_raises_gives_way_to_a_nearer_one(xp, put, distance, who):
    f, grad, x = cubes_at_a_point(put)
    check, kept = only_near(x, distance), {}

    def guarded(x):
        if who == "f":
            check(x)
        kept["x"] = x
        return f(x)

    def guarded_grad(x):
        if who == "grad":
            check(x)
        return grad(x)

    def stale(x):
        guarded_grad(x)
        return guarded_grad(kept["x"])

    assert answer(guarded, guarded_grad, (x,)).broken == ""
    assert "a stale cache" in answer(guarded, stale, (x,)).broken


@pytest.mark.parametrize("who", ["f", "grad"])
def test_where_every_other_point_raises_the_question_is_skipped(put, who):
    f, grad, x = cubes_at_a_point(put)
    check, seen = only_near(x, 0.0), []

    def guarded(x):
        seen.append(1)
        return check(x) or f(x)

    assert (
        answer(guarded if who == "f" else f, grad if who == "f" else lambda x: check(x) or grad(x), (x,)).broken == ""
    )
    draws = np.random.default_rng(0)
    drawn = answer(lambda x: check(x) or f(x) * float(draws.uniform(0.9, 1.1)), grad, (x,)).broken
    assert drawn.startswith("f is not repeatable")


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    "f",
    [
        lambda x: sum(math.log(value) for value in x),
        lambda x: np.sum(np.log(x)),  # a warning, which is made an exception
        lambda x: 2.0 * np.sum(np.log(np.diag(np.linalg.cholesky(np.diag(x))))),
    ],
    ids=["math.log", "numpy.log under -W error", "Cholesky"],
)
def test_the_domain_of_a_logarithm_ends_near_params(f):
    x = np.asarray([0.01, 3.0, 2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = answer(f, lambda x: (1.0 / x,), (x,))
    assert (found.broken, list(found.flaws)) == ("", [""])


@pytest.mark.parametrize("who", ["f", "grad"])
def test_an_exception_at_params_is_the_callers(put, who):
    f, grad, x = cubes_at_a_point(put)

    def raising(x):
        raise LookupError("theirs")

    with pytest.raises(LookupError, match="theirs"):
        mx.gradcheck(raising if who == "f" else f, raising if who == "grad" else grad, (x,))


# --- right numbers that are not safe to update -----------------------------------------------------------------------


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_one_array_for_two_parameters_is_noted_and_no_failure(xp, put):
    a, b = put([0.7, -1.3]), put([0.2, 0.4])

    def f(a, b):
        return xp.sum(a * a + b * b + 2.0 * a * b)

    def whole(a, b):
        return (2.0 * (a + b),) * 2

    def view(a, b):
        gradient = 2.0 * (a + b)
        return gradient, gradient[...]

    def parts(a, b):
        both = xp.concat([2.0 * (a + b), 2.0 * (a + b)])
        return both[:2], both[2:]

    shared = ("the gradients of params[0] and params[1] share memory: an update in place of the one changes the other",)
    for grad, notes in (
        (whole, shared),
        (view, shared),
        (parts, ()),
        (lambda a, b: (whole(a, b)[0], whole(a, b)[0]), ()),
    ):
        assert mx.gradcheck(f, grad, (a, b)).ok
        found = answer(f, grad, (a, b))
        assert (found.broken, found.notes) == ("", notes)


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_an_array_that_grad_keeps_is_noted_and_left_as_it_is(xp, put, host):
    """The gradient of <c, x> is c: an optimizer that scales it in place scales the caller's data."""
    c, x = xp.asarray(put([1.5, -2.0]), copy=True), put([0.7, -1.3])
    found = answer(lambda x: xp.sum(c * x), lambda x: (c,), (x,))
    kept = "the gradient of params[0] is the same array at every call: an update in place changes the next answer"
    assert (found.broken, found.notes) == ("", (kept,))
    np.testing.assert_array_equal(host(c), [1.5, -2.0])
    assert answer(lambda x: xp.sum(c * x), lambda x: (c + 0.0,), (x,)).notes == ()


@pytest.mark.only("numpy", "torch")
def test_a_broadcast_view_is_noted(xp, put):
    x = put([[0.7, -1.3], [0.2, 0.1]])
    (rows,) = (put([1.0, 2.0]),)
    never = "the gradient of params[0] can't be updated in place: it is read-only or a broadcast view"
    for make in (lambda: xp.broadcast_to(rows + 1.0, (2, 2)), lambda: xp.broadcast_to((rows + 1.0)[:, None], (2, 2))):
        found = answer(lambda x: xp.sum(x * make()), lambda x: (make(),), (x,))  # noqa: B023
        assert (found.broken, found.notes) == ("", (never,))
    assert answer(lambda x: xp.sum(x * rows), lambda x: (xp.broadcast_to(rows, (2, 2)) + 0.0,), (x,)).notes == ()
    one_row = put([[0.7, -1.3]])
    assert (
        answer(lambda x: xp.sum(x), lambda x: (xp.broadcast_to(rows * 0.0 + 1.0, (1, 2)) + 0.0,), (one_row,)).notes
        == ()
    )


@pytest.mark.only("numpy")
def test_memory_on_a_device_is_told_apart_by_its_addresses():
    """CUDA arrays describe themselves as NumPy's do: the stand-in has its memory where nothing can be read."""

    def on_device(shape, strides=None, start=0, read_only=False):
        there = {"shape": shape, "strides": strides, "typestr": "<f8", "data": (2**40 + start, read_only), "version": 3}
        return SimpleNamespace(__cuda_array_interface__=there, shape=shape)

    whole, second_half = on_device((8,)), on_device((4,), start=32)
    assert contract._overlap(whole, second_half)
    assert contract._overlap(whole, on_device((4,), (16,)))
    assert not contract._overlap(on_device((4,)), second_half)
    assert not contract._overlap(on_device((4,), (16,)), on_device((4,), (16,), start=8))  # every second number each
    assert contract._memory(on_device((2, 3), (0, 8))).strides == (0, 8)
    assert not contract._memory(on_device((3,), read_only=True)).flags.writeable


@pytest.mark.only("torch")
def test_where_numpy_can_not_see_the_memory_one_array_is_noted_by_its_identity(put):
    import torch

    x = put([0.5, -1.5], dtype=torch.bfloat16)  # NumPy has no such numbers

    def notes(grad, x):
        return answer(lambda a, b: torch.sum(a + b), grad, (x, x + 0.0)).notes

    assert len(notes(lambda a, b: (torch.ones_like(a),) * 2, x)) == 1
    assert notes(lambda a, b: (torch.ones_like(a), torch.ones_like(a)), x) == ()
    assert notes(lambda a, b: (torch.ones_like(a),) * 2, x[:0]) == ()


@pytest.mark.only("numpy")
def test_of_memory_that_can_not_be_seen_one_array_overlaps_itself_alone(monkeypatch):
    monkeypatch.setattr(contract, "_memory", lambda x: None)
    x, number, empty = np.ones(3), np.float64(1.0), np.ones((0, 3))
    assert contract._overlap(x, x)
    assert not contract._overlap(x, x[:])
    assert not contract._overlap(number, number)
    assert not contract._overlap(empty, empty)


@pytest.mark.only("numpy")
def test_a_read_only_gradient_is_noted_and_a_scalar_is_not():
    def fixed(x):
        gradient = 2.0 * x
        gradient.flags.writeable = False
        return (gradient,)

    x = np.asarray([0.7, -1.3])
    assert "read-only" in answer(lambda x: np.sum(x * x), fixed, (x,)).notes[0]
    one = np.float64(0.7), np.float64(0.2)  # numbers of NumPy: nothing can change them
    assert answer(lambda a, b: a + b, lambda a, b: (np.float64(1.0),) * 2, one).notes == ()


@pytest.mark.only("jax")
def test_where_nothing_can_be_updated_in_place_nothing_is_noted(xp, put):
    a, b = put([0.7, -1.3]), put([0.2, 0.4])
    assert answer(lambda a, b: xp.sum(a + b), lambda a, b: (xp.ones_like(a),) * 2, (a, b)).notes == ()


# --- what comes in or back in another form ---------------------------------------------------------------------------


def test_a_gradient_or_a_parameter_that_is_no_array_is_named(put):
    f, grad, x = cubes_at_a_point(put)
    for returned, kind in ((None, "NoneType"), (1.0, "float"), ([1.0], "list")):
        with pytest.raises(ValueError, match=f"number 1 is a {kind}, not an array"):
            mx.gradcheck(f, lambda x: (returned,), (x,))  # noqa: B023
    with pytest.raises(ValueError, match="number 1 is a list, not an array"):
        mx.gradcheck(f, lambda x: ([1.0],), (x[:1],))
    with pytest.raises(ValueError, match=r"params\[1\] is a float, not an array"):
        mx.gradcheck(lambda x, s: s * f(x), lambda x, s: (s * grad(x)[0], f(x)), (x, 2.0))


def test_an_f_or_a_grad_that_is_no_function_is_named(put):
    f, grad, x = cubes_at_a_point(put)
    with pytest.raises(TypeError, match="f must be a function, got float"):
        mx.gradcheck(1.0, grad, (x,))
    with pytest.raises(TypeError, match=r"grad must be a function, or True where f returns .*, got NoneType"):
        mx.gradcheck(f, None, (x,))
    with pytest.raises(ValueError, match="max_entries must be at least 1, got 0"):
        mx.gradcheck(f, grad, (x,), max_entries=0)


@pytest.mark.only("torch")
@pytest.mark.parametrize("layout", ["sparse_coo", "sparse_csr", "sparse_csc"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch: sparse tensors are in beta
def test_a_sparse_gradient_is_one_sentence(put, layout):
    import torch

    x = put([[0.7, -1.3], [0.2, 0.4]])
    report = mx.gradcheck(torch.sum, lambda x: (torch.ones_like(x).to_sparse(layout=getattr(torch, layout)),), (x,))
    (row,) = report.tensors
    assert row.diagnosis == f"the gradient is sparse (torch.{layout}); return a dense array"
    with pytest.raises(TypeError, match=rf"^W must be a dense array, got a sparse one \(torch.{layout}\); make"):
        mx.gradcheck(torch.sum, lambda x: x, (x.to_sparse(layout=getattr(torch, layout)),), names=("W",))


@pytest.mark.only("torch")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_sparse_gradient_of_an_embedding_is_one_sentence(put):
    import torch

    rows = put(np.asarray([0, 2, 2]))

    def f(W):
        return torch.sum(torch.nn.functional.embedding(rows, W, sparse=True) ** 2)

    def grad(W):
        W = W.detach().requires_grad_()
        f(W).backward()
        return (W.grad,)

    text = str(mx.gradcheck(f, grad, (put(np.ones((3, 2))),)))
    assert "the gradient is sparse (torch.sparse_coo); return a dense array" in text
    assert len(text) < 600


@pytest.mark.only("numpy")
def test_a_sparse_matrix_of_scipy_is_named():
    sparse = pytest.importorskip("scipy.sparse")
    x = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"number 1 is sparse \(csr_array\), not an array"):
        mx.gradcheck(np.sum, lambda x: (sparse.csr_array(x),), (x,))
    assert leaf_flaw(x, sparse.csr_array(x)) == "the gradient is a csr_array, the parameter a ndarray of numpy"


@pytest.mark.only("jax")
def test_a_sparse_array_of_jax_is_named(put):
    from jax.experimental import sparse

    x = put(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"number 1 is sparse \(BCOO\), not an array"):
        mx.gradcheck(lambda x: x.sum(), lambda x: (sparse.BCOO.fromdense(x),), (x,))


@pytest.mark.only("numpy", "torch", "jax")
def test_a_complex_value_of_f_is_refused(xp, put):
    z = put([0.7 + 0.1j, -1.3 + 0.2j])
    flat = flattened(lambda z: xp.sum(z * xp.conj(z)), lambda z: (2.0 * z,), (z,), None)
    with pytest.raises(TypeError, match=r"f must return one real number, got a complex one; return its real part"):
        first_answer(flat, 0)


def test_four_arrays_take_no_more_than_a_hundred_values_of_f(xp, put):
    random = np.random.default_rng(0)
    params = tuple(put(random.standard_normal(shape)) for shape in ((3, 4), (4,), (4, 2), (2,)))
    calls = []

    def f(*arrays):
        calls.append(1)
        return sum(xp.sum(x * x * x) for x in arrays)

    def grad(*arrays):
        return tuple(3.0 * x * x for x in arrays)

    flat = flattened(f, grad, params, None)
    first_answer(flat, 0)
    assert flat.f.count == len(calls) == 3
