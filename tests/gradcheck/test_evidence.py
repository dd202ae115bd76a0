"""A gradient against slopes: what a kink, a branch or a few entries hide here is seen here or at another point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from known_functions import QUICK, QUICKEST, cubes, cubes_gradient

import mlp_xp as mx
from mlp_xp.gradcheck import elsewhere, evidence
from mlp_xp.gradcheck.elsewhere import look_further
from mlp_xp.gradcheck.evidence import Findings, Own, Probe, gather, gradient_at, probe
from mlp_xp.gradcheck.forms import flattened
from mlp_xp.gradcheck.local import prepare
from mlp_xp.gradcheck.slopes import Slope

RANDOM = np.random.default_rng(5)
V = RANDOM.standard_normal(18)[12:]


@QUICK
def test_each_entry_of_an_array_of_one_or_two_is_moved_by_itself(put):
    report = mx.gradcheck(cubes, cubes_gradient, (put([[0.5], [2.0]]), put(1.5), put(V)))
    report.raise_if_failed()
    assert [row.index is not None for row in report.tensors] == [True, True, False]
    assert [row.checked for row in report.tensors] == [2, 1, 0]  # of the last only directions were
    wrong = mx.gradcheck(cubes, lambda x: (cubes_gradient(x)[0] * put([1.0, 1.001]),), (put([0.5, 2.0]),))
    assert wrong.tensors[0].index == (1,)


# --- kinks -----------------------------------------------------------------------------------------------------------


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


@QUICK
def test_a_subgradient_at_a_kink_is_no_mistake(xp, put):
    x = put([[1.0, 0.0], [-0.5, 0.0]])
    mx.gradcheck(lambda x: xp.sum(xp.abs(x)), lambda x: (xp.sign(x),), [x]).raise_if_failed()
    assert mx.gradcheck(lambda x: xp.sum(xp.abs(x)), lambda x: (-xp.sign(x),), [x]).verdict == "fail"


@QUICK
@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-6, 1e-3])
def test_next_to_a_kink_right_passes_and_wrong_does_not(xp, put, distance):
    """relu, with one unit at the kink or next to it."""
    x = put([distance, -0.7, 1.3, 0.4, -distance, 2.0])

    def f(x):
        return xp.sum(xp.where(x > 0.0, x * (1.0 + x), 0.0 * x))

    def grad(x):
        return (xp.where(x > 0.0, 1.0 + 2.0 * x, 0.0 * x),)

    report = mx.gradcheck(f, grad, (x,))
    report.raise_if_failed()
    if distance == 0.0:
        assert "at a kink" in report.tensors[0].diagnosis
    assert mx.gradcheck(f, lambda x: (1.001 * grad(x)[0],), (x,)).verdict == "fail"
    assert mx.gradcheck(f, lambda x: (-grad(x)[0],), (x,)).verdict == "fail"


@QUICK
def test_at_a_kink_where_the_slope_is_zero_nothing_passes_unseen(xp, put):
    """|x| at 0, even on both sides: its slopes there agree with any odd gradient, and elsewhere they do not."""

    def f(x):
        return xp.sum(xp.abs(x))

    x = put(np.zeros(4))
    report = mx.gradcheck(f, lambda x: (xp.sign(x),), (x,))
    report.raise_if_failed()
    assert "at a kink" in report.tensors[0].diagnosis
    for factor in (-1.0, 0.0, 1.001):
        assert mx.gradcheck(f, lambda x: (factor * xp.sign(x),), (x,)).verdict == "fail"  # noqa: B023


@QUICKEST
@pytest.mark.parametrize("complex_too", [True, False])
def test_one_wrong_entry_is_refused_though_it_takes_another_branch_nearby(xp, put, complex_too):
    """clip(x)^2: a step aside the entry is beyond 1, where its gradient is 0 whatever the mistake."""
    values = np.asarray([0.378, -1.045, -0.826, -4.883, 3.599, 2.288, -0.651, 1.548, 0.562])
    for place in (0, 2, 6, 8):
        off = put(1.0 + 0.01 * (np.arange(9) == place))

        def f(x):
            if not (complex_too or xp.isdtype(x.dtype, "real floating")):
                raise TypeError("real numbers, please")
            inside = x * x < 1.0 if xp.isdtype(x.dtype, "real floating") else xp.real(x) ** 2 < 1.0
            return xp.sum(xp.where(inside, x * x, xp.ones_like(x)))

        def grad(x):
            return (xp.where(x * x < 1.0, 2.0 * x, xp.zeros_like(x)),)

        for seed in range(4):
            mx.gradcheck(f, grad, (put(values),), seed=seed).raise_if_failed()
            report = mx.gradcheck(f, lambda x: (off * grad(x)[0],), (put(values),), seed=seed)  # noqa: B023
            assert report.verdict == "fail"
            assert report.tensors[0].index == (place,)


# --- other points ----------------------------------------------------------------------------------------------------


@QUICK
@pytest.mark.parametrize("keep", ["all of it", "a factor of it"])
def test_a_gradient_bound_to_its_first_call_is_refused(put, keep):
    first = []

    def grad(x):
        first.append(x * 1.0)
        return cubes_gradient(first[0]) if keep == "all of it" else (3.0 * first[0] * x,)

    report = mx.gradcheck(cubes, grad, (put(V),))
    assert report.verdict == "fail"
    assert ("a stale cache" if keep == "all of it" else "right at params and wrong at 3 of 3 other points") in str(
        report
    )


@QUICK
def test_a_gradient_that_is_zero_at_params_and_wrong_elsewhere_is_refused(xp, put):
    report = mx.gradcheck(lambda x: xp.sum(x * x), lambda x: (-2.0 * x,), (put(np.zeros(4)),))
    assert report.verdict == "fail"
    assert "right at params, where it is zero, and wrong elsewhere" in str(report)
    assert "cache" not in str(report)


@pytest.mark.only("numpy")
def test_a_gradient_is_not_asked_for_where_f_is_not_defined():
    asked = []

    def f(x):
        return np.sum(x) if np.all(x == 2.0) else math.nan

    def grad(x):
        asked.append(x)
        return (np.ones_like(x),)

    flat = flattened(f, grad, (np.full(3, 2.0),), None)
    here = gradient_at(flat, prepare(flat.f, flat.arrays, 0), flat.grad(*flat.arrays), np.random.default_rng(0))
    asked.clear()
    for seed in range(4):
        move = elsewhere._Move(1.0, 0.1)
        assert elsewhere._gradient_there(here, move, seed, np.random.default_rng(seed)) is None
    assert asked == []


@pytest.mark.only("numpy")
def test_findings_are_of_float64_unless_they_say_otherwise():
    assert Findings(here=()).epsilon == np.finfo(np.float64).eps


@QUICK
def test_a_linear_function_has_the_same_gradient_everywhere(xp, put):
    v = put(V)
    mx.gradcheck(lambda x: xp.sum(v * x), lambda x: (1.0 * v,), (put(V[::-1].copy()),)).raise_if_failed()


@QUICK
def test_a_function_with_a_small_domain_is_not_asked_beyond_it(xp, put):
    def f(x):
        return xp.sum(xp.log(1.0 - x * x))

    def grad(x):
        return (-2.0 * x / (1.0 - x * x),)

    x = put([0.9, -0.999, 0.5, 0.1])
    with np.errstate(invalid="ignore"):  # NumPy speaks of the points outside
        assert mx.gradcheck(f, grad, (x,)).verdict != "fail"
        assert mx.gradcheck(f, lambda x: tuple(-g for g in grad(x)), (x,)).verdict == "fail"


# --- the numbers of a probe ------------------------------------------------------------------------------------------

ONLY_NUMPY = pytest.mark.only("numpy")  # what follows is about numbers


@ONLY_NUMPY
def test_what_two_slopes_are_to_each_other():
    apart = Probe(1.5, 1.0, 0.5, 4.0)
    assert not apart.wrong  # by just as much as is allowed
    assert apart._replace(tolerance=0.25).wrong
    assert apart._replace(analytic=0.0).wrong
    assert (apart.scale, apart.gap, apart.relative_error) == (4.0, 0.125, 0.2)
    assert apart._replace(numeric=-8.0).scale == 8.0
    opposite = Probe(-1.0, 3.0, 0.5, 2.0)
    assert (opposite.scale, opposite.gap, opposite.relative_error) == (3.0, 4.0 / 3.0, 1.0)
    nothing = Probe(0.0, 0.0, 0.0, 0.0)
    assert (nothing.wrong, nothing.gap, nothing.relative_error) == (False, 0.0, 0.0)


@ONLY_NUMPY
def test_a_probe_is_at_a_kink_if_most_of_its_tolerance_is_or_its_error_may_be():
    smooth = Probe(1.0, 1.0, 0.6, 1.0)
    assert (smooth.kinked, smooth.at_kink) == (False, True)  # nothing differs
    assert not smooth._replace(kink=0.09).kinked
    assert smooth._replace(kink=0.11).kinked  # three times as much is more than half of 0.6
    assert not Probe(1.0, 1.0, 6.0, 1.0, 1.0).kinked  # just half
    assert smooth._replace(tied=True).kinked
    wrong = Probe(4.75, 1.0, 0.1, 1.0, 0.125)
    assert wrong.at_kink  # thirty kinks away
    assert not wrong._replace(analytic=4.8).at_kink
    assert wrong._replace(analytic=-2.0).at_kink
    assert not wrong._replace(analytic=-3.0).at_kink
    assert wrong._replace(analytic=9.0, tied=True).at_kink


EQUAL, UNITS, EMPTY = np.asarray([[2.0], [-2.0], [2.0], [-2.0]]), np.asarray([1e-6, 1.0, 1e6]), np.zeros((0, 3))
SLOPES = (np.asarray([[1.0], [-3.0], [2.0], [0.5]]), np.asarray([4e6, -2.0, 1e-6]), EMPTY)


def here_with(arrays=(EQUAL, UNITS, EMPTY), gradient=SLOPES, local=(), **changes):
    """A gradient at a point, by default exact: its rounding is what ``changes`` say."""
    flat = flattened(lambda *x: float(sum(np.sum(np.abs(each)) for each in x)), lambda *_: gradient, arrays, None)
    there = prepare(flat.f, flat.arrays, 0)._replace(**dict(local))
    here = gradient_at(flat, there, gradient, np.random.default_rng(0))
    exact = {"epsilon": 0.0, "neighbours": (), "own_neighbours": (), "own_epsilon": 0.0, "floor": 0.0, "finest": 0.0}
    return here._replace(**{**exact, **changes})


def shifted(*amounts):
    """``SLOPES``, every entry of either array plus so much of its size, as often as there are amounts."""
    return tuple(tuple(g * (1.0 + amount) for g in SLOPES) for amount in amounts)


@pytest.fixture
def slope_is(monkeypatch):
    """``slope_is(slope)``: what any direction measures from then on; returns the calls to come."""

    def give(slope):
        calls = []

        def measured(local, directions, finest=0.0, confirm=True):
            calls.append((directions, finest, confirm))
            return slope

        monkeypatch.setattr(evidence, "slope_along", measured)
        return calls

    return give


ALONG = {0: np.asarray([[1.0], [2.0], [0.0], [4.0]]), 1: np.asarray([2e-6, 1.0, 1e6])}
PREDICTED = (1.0 - 6.0 + 2.0) + (8.0 - 2.0 + 1.0)
SIZE = math.sqrt(1.0 + 36.0 + 4.0 + 64.0 + 4.0 + 1.0)


@ONLY_NUMPY
def test_a_probe_allows_for_the_slope_and_for_each_rounding_of_the_gradient(slope_is):
    calls = slope_is(Slope(3.0, 0.5, 0.125, True, True))
    got = evidence.along(here_with(finest=0.01), ALONG)
    assert got == (pytest.approx(PREDICTED), 3.0, 1.5, pytest.approx(SIZE), 0.125, None, True, True, False)
    assert calls == [(ALONG, 0.01, True)]
    allowed = {
        "nothing more": ({}, 0.0),
        "its own roundings": ({"epsilon": 0.25}, 20.0 * 0.25 * SIZE),
        "coarser numbers on the way of f": ({"local": {"stairs": 0.25}}, 10.0 * 0.25 * SIZE),
        "the coarser of the two": ({"local": {"stairs": 0.25}, "epsilon": 0.25}, 20.0 * 0.25 * SIZE),
        "what no neighbour shows": ({"floor": 7.0}, 7.0),
        "what neighbours show": ({"neighbours": shifted(0.0, -0.25, 0.5)}, 0.75 * abs(PREDICTED)),
        "what one neighbour shows": ({"neighbours": shifted(0.5)}, 0.0),
        "constants of a coarser dtype": ({"own_epsilon": 0.25}, 10.0 * 0.25 * SIZE),
        "neighbours in a coarser dtype": (
            {"own_epsilon": 0.25, "own_neighbours": shifted(0.25, 0.5)},
            0.25 * abs(PREDICTED) + 10.0 * 0.25 * SIZE,
        ),
        "neighbours in a dtype as fine": ({"own_neighbours": shifted(0.25, 0.5)}, 0.0),
    }
    for name, (changes, more) in allowed.items():
        assert evidence.along(here_with(**changes), ALONG).tolerance == pytest.approx(1.5 + more), name
    assert evidence.along(here_with(epsilon=0.25), ALONG, size=2.0).tolerance == pytest.approx(1.5 + 5.0 * 2.0)
    assert evidence.along(here_with(), ALONG, 2.0, as_one=True)[3:] == (2.0, 0.125, None, True, True, True)
    assert calls[-1][2] is False  # no difference confirms it
    as_one, apart = (evidence.along(here_with(epsilon=2.0**-30), ALONG, 2.0, as_one=whole) for whole in (True, False))
    assert as_one.tolerance - apart.tolerance == pytest.approx(2.0**20 * 2.0**-30 * 2.0)
    assert evidence.along(here_with(), {}) == Probe(0.0, 0.0, 0.0, 0.0)


@ONLY_NUMPY
@pytest.mark.parametrize(
    ("situation", "slope", "local", "analytic", "finite"),
    [
        ("f does not change", Slope(0.0, 0.1, 0.0), {"flat": True, "value": 2.0}, 1.0, False),
        ("f is zero and does not change", Slope(0.0, 0.1, 0.0), {"flat": True, "value": 0.0}, 1.0, False),
        ("f is zero, says an exact slope", Slope(0.0, 0.1, 0.0, True), {"flat": True, "value": 0.0}, 1.0, False),
        ("f does not depend on it", Slope(0.0, 0.1, 0.0, True), {"flat": True, "value": 2.0}, 1.0, True),
        ("f does not change, nor does the gradient say so", Slope(0.0, 0.1, 0.0), {"flat": True}, 0.0, True),
        ("f changes along this direction alone", Slope(0.5, 0.1, 0.0), {"flat": True}, 1.0, True),
        ("f changes elsewhere", Slope(0.0, 0.1, 0.0), {"flat": False}, 1.0, True),
        ("f is not defined", Slope(math.nan, 0.1, 0.0), {}, 1.0, False),
        ("f is not finite", Slope(-math.inf, 0.1, 0.0), {}, 1.0, False),
        ("nothing is known", Slope(0.5, math.nan, 0.0), {}, 1.0, False),
    ],
)
def test_where_f_does_not_change_or_is_not_defined_nothing_is_wrong(
    slope_is, situation, slope, local, analytic, finite
):
    slope_is(slope)
    got = evidence.along(here_with(gradient=tuple(analytic * g for g in SLOPES), local=local), ALONG)
    assert math.isfinite(got.tolerance) == finite, situation
    assert not math.isnan(got.tolerance)
    assert got.wrong == (finite and situation != "f does not change, nor does the gradient say so")


@ONLY_NUMPY
def test_each_entry_of_few_is_moved_in_its_scale_and_arrays_as_a_whole(slope_is):
    calls = slope_is(Slope(0.0, 1.0, 0.0, True))
    pair = np.asarray([[3.0], [-4.0]])  # a root mean square of sqrt(12.5)
    here = here_with((pair, *SLOPES), (pair, *SLOPES), local={"exact": "dual numbers"})
    random = np.random.default_rng(0)
    scale = math.sqrt(12.5)
    found = probe(here, (0,), random)
    assert [p.entry for p in found] == [(0, 0), (1, 0)]
    assert [p.size for p in found] == pytest.approx([5.0 * scale] * 2)  # of the whole array
    np.testing.assert_allclose([calls[i][0][0][:, 0] for i in (0, 1)], scale * np.eye(2))
    calls.clear()
    assert [p.entry for p in probe(here, (0,), random, 4)] == [(0, 0), (1, 0)]
    assert all(p.size < 5.0 * scale for p in probe(here, (0,), random, 4))
    calls.clear()
    for seed in range(100):
        probe(here, (0,), np.random.default_rng(seed), 4)
    shares = [np.max(directions[0]) / scale for directions, *_ in calls]
    assert 0.5 <= min(shares) < 0.52 < 0.98 < max(shares) < 1.0
    # many entries: along random directions, each entry by half to three halves of its scale
    for leaf, scales in ((1, np.sqrt(np.mean(SLOPES[0] ** 2))), (2, np.abs(SLOPES[1]))):
        for count in (1, 2, 4):
            calls.clear()
            found = probe(here, (leaf,), random, count)
            assert [p.as_one for p in found] == [False] * count + [True] * (leaf == 2)
            assert all(p.entry is None for p in found)
            assert all(set(directions) == {leaf} for directions, *_ in calls)
            for directions, _, _ in calls[:count]:
                assert np.all(np.abs(np.abs(directions[leaf]) / scales - 1.0) <= 0.5)
    # numbers of several units, moved in one scale
    assert np.all(np.abs(np.abs(calls[-1][0][2]) / np.sqrt(np.mean(SLOPES[1] ** 2)) - 1.0) <= 0.5)
    assert [p.as_one for p in probe(here._replace(local=here.local._replace(exact="")), (2,), random)] == [False] * 2
    calls.clear()
    assert len(probe(here, (0, 1, 2, 3), random, 1)) == 1
    assert set(calls[0][0]) == {0, 1, 2}  # the fourth has no entries
    assert probe(here, (3,), random, 2) == (Probe(0.0, 0.0, 0.0, 0.0),) * 2
    assert len(probe(here, (2, 3), random, 1)) == 1
    assert len(probe(here, (0, 3), random, 1)) == 1
    three = here_with((np.ones(3),), (np.ones(3),))
    assert [p.entry for p in probe(three, (0,), random)] == [None, None]
    one = here_with((np.asarray(1.5),), (np.asarray(1.0),))
    assert [p.entry for p in probe(one, (0,), random)] == [()]


# --- rounding --------------------------------------------------------------------------------------------------------


@ONLY_NUMPY
def test_the_rounding_of_entries_is_that_of_the_largest_in_the_scales_of_the_array():
    # scaled by 2 the largest entry of the first is 6; scaled by its entries that of the second is 4
    for leaf, largest, scales in ((0, 6.0, 2.0), (1, 4.0, UNITS)):
        np.testing.assert_allclose(
            evidence.entry_rounding(
                here_with(epsilon=0.25, floor=7.0, neighbours=shifted(0.25, -0.5, 0.0), own_epsilon=9.0), leaf
            ),
            (0.75 * largest + 20.0 * 0.25 * largest + 7.0) / scales,
        )
        changes = {"own_neighbours": shifted(0.25, -0.5, 0.0), "own": shifted(1.0)[0], "epsilon": 0.125}
        stairs = {"stairs": 0.5}
        np.testing.assert_allclose(
            evidence.constant_rounding(here_with(own_epsilon=0.25, local=stairs, **changes), leaf),
            (0.75 * largest + 10.0 * (0.25 + 0.5) * 2.0 * largest) / scales,
        )
        np.testing.assert_allclose(
            evidence.constant_rounding(here_with(own_epsilon=0.125, local=stairs, **changes), leaf),
            10.0 * 0.5 * 2.0 * largest / scales,
        )
    assert float(evidence.entry_rounding(here_with(), 0)) == 0.0


@ONLY_NUMPY
def test_what_the_parameters_own_dtype_does_is_weighed_in_the_scales_of_the_array():
    coarse = {"own_epsilon": 2.0**-23}
    flow = 2.0 * math.sqrt(1.0 + 9.0 + 4.0 + 0.25)  # of the first array, the larger: that of the second is sqrt(21)
    for leaf, size in ((0, flow), (1, math.sqrt(16.0 + 4.0 + 1.0))):
        for factor in (1.5, 0.5, -1.0):
            got = evidence.own_dtype(here_with(own=tuple(factor * g for g in SLOPES), **coarse), leaf)
            assert got[:2] == ("float64", "float64")
            rounding = 50.0 * 2.0**-23 * flow / size
            assert got[2:5] == pytest.approx((abs(factor - 1.0), rounding, factor))
            assert got.rest < 1e-12
        same = evidence.own_dtype(here_with(own=SLOPES, **coarse), leaf)
        assert (same.share, same.factor, same.rest) == (0.0, pytest.approx(1.0), 1.0)
        near = evidence.own_dtype(here_with(own=SLOPES, own_neighbours=shifted(0.25, -0.5, 0.0), **coarse), leaf)
        assert near.rounding == pytest.approx(0.75 + rounding)
    # an error of 3 across what is 4 in the scales of the array
    gradient = (np.asarray([1e6, 0.0, 0.0]),)
    off = (np.asarray([1.5e6, 0.0, 0.375e-6]),)
    got = evidence.own_dtype(here_with((UNITS,), gradient, own=off, **coarse), 0)
    assert got[2:] == pytest.approx((0.625, 50.0 * 2.0**-23, 1.5, 0.6))


@ONLY_NUMPY
def test_where_the_gradient_is_zero_its_own_dtype_may_be_off_by_rounding_alone():
    zero, still = np.zeros(3), np.asarray([1.0, 2.0, 2.0])
    for off, share in ((0.0, 0.0), (150.0, 0.0), (151.0, math.inf)):
        own = (still, np.asarray([off * 2.0**-23, 0.0, 0.0]))
        here = here_with((np.ones(3), np.ones(3)), (still, zero), own=own, own_epsilon=2.0**-23)
        # 50 roundings of the largest gradient, 3
        assert evidence.own_dtype(here, 1) == Own("float64", "float64", share)
    for here, leaf in ((here_with(own=shifted(1.0)[0]), 0), (here_with(own_epsilon=0.25), 2)):
        assert evidence.own_dtype(here, leaf) == Own() == ("", "", 0.0, 0.0, 1.0, 1.0)  # one dtype, or no entries


# --- a gradient at a point -------------------------------------------------------------------------------------------


def at_float32(grad, arrays):
    flat = flattened(lambda *x: sum(np.sum(each * each, dtype=np.float64) for each in x), grad, arrays, None)
    local = prepare(flat.f, flat.arrays, 0)
    return gradient_at(flat, local, flat.grad(*flat.arrays), np.random.default_rng(0))


@ONLY_NUMPY
def test_a_gradient_is_judged_in_float64_if_it_computes_there_and_its_own_dtype_is_kept():
    x, y = np.asarray([0.7, -1.3, 2.1], dtype=np.float32), np.asarray([1.1, 0.9])
    off = {np.dtype(np.float32): np.float32(1.5), np.dtype(np.float64): 1.0}
    here = at_float32(lambda x, y: (2.0 * off[x.dtype] * x, 2.0 * y), (x, y))
    assert (here.epsilon, here.own_epsilon, here.floor, here.finest) == (2.0**-52, 2.0**-23, 0.0, 0.0)
    assert here.coarse
    assert [g.dtype for g in (*here.gradient, *here.own)] == [np.float64] * 4
    np.testing.assert_allclose(here.gradient[0], 2.0 * x)
    np.testing.assert_allclose(here.own[0], 3.0 * x, rtol=1e-6)
    np.testing.assert_allclose(here.own_neighbours[0][0], 3.0 * x, rtol=3e-6)
    for own, neighbours, rounding in (
        (here.gradient, here.neighbours, 20.0 * 2.0**-52),
        (here.own, here.own_neighbours, 20.0 * 2.0**-23),
    ):
        assert len(neighbours) == 3
        for near in neighbours:
            np.testing.assert_allclose(near[0], own[0], rtol=rounding)
            assert np.max(np.abs(near[0] / own[0] - 1.0)) > 0.05 * rounding
    fine = at_float32(lambda *x: tuple(2.0 * each for each in x), (y,))
    assert fine.gradient is fine.own
    assert fine.neighbours is fine.own_neighbours
    assert (fine.epsilon, fine.own_epsilon, fine.floor, fine.coarse) == (2.0**-52, 2.0**-52, 0.0, False)


@ONLY_NUMPY
@pytest.mark.parametrize("refusal", ["raises", "returns float32", "is not finite"])
def test_a_gradient_of_float32_alone_has_a_floor_of_fifty_roundings_of_the_largest(refusal):
    x, y = np.asarray([3.0, -4.0, 0.0], dtype=np.float32), np.asarray([0.5, -0.5], dtype=np.float32)

    def grad(x, y):
        if x.dtype == np.float64:
            if refusal == "raises":
                raise TypeError("float32, please")
            factor = np.nan if refusal == "is not finite" else 1.0
            return (2.0 * x * factor).astype(np.float64 if factor != 1.0 else np.float32), 2.0 * y
        return 2.0 * x, 2.0 * y

    here = at_float32(grad, (x, y))
    assert (here.epsilon, here.own_epsilon, here.finest) == (2.0**-23, 2.0**-23, 50.0 * 2.0**-23)
    assert here.floor == pytest.approx(50.0 * 2.0**-23 * 10.0 * 5.0 / math.sqrt(3.0))  # of 2 |x| in the scale of x
    assert not here.coarse
    assert here.gradient is here.own
    assert here.neighbours is here.own_neighbours


@ONLY_NUMPY
def test_neighbours_are_two_to_eight_units_aside_in_every_entry():
    units = [evidence._units(np.random.default_rng(seed), (2, 7)) for seed in range(50)]
    for each in units:
        assert sorted(np.abs(each).flat) == sorted([2, 3, 4, 5, 6, 7, 8] * 2)
        assert np.min(np.abs(np.diff(np.abs(each)))) >= 3  # entries beside each other do not stay equal
    assert {abs(int(each[0, 0])) for each in units} == {2, 3, 4, 5, 6, 7, 8}
    assert 0.4 < np.mean([each > 0.0 for each in units]) < 0.6
    x = np.asarray([1.0, 1.0, -2.0, 0.7, 3.0, 5.0, 5.0, 1.0])
    flat = flattened(lambda x: float(np.sum(x * x)), lambda x: (2.0 * x,), (x,), None)
    here = gradient_at(flat, prepare(flat.f, flat.arrays, 0), flat.grad(x), np.random.default_rng(0))
    assert len(here.neighbours) == 3
    for (g,) in here.neighbours:
        aside = np.abs(g / (2.0 * x) - 1.0) / 2.0**-52
        assert np.all((aside > 0.9) & (aside < 9.1))  # to the rounding of the quotient


@ONLY_NUMPY
def test_a_gradient_that_is_not_there_is_none():
    x, y = np.asarray([1.0, 2.0, 3.0]), np.asarray([1.0, -1.0])

    def grad(x, y):
        if x[0] > 5.0:
            raise ValueError("too far")
        return 2.0 * x, y * (np.nan if x[0] < 1.0 else 1.0)

    flat = flattened(lambda x, y: float(np.sum(x * x)), grad, (x, y), None)
    local = prepare(flat.f, flat.arrays, 0)
    assert evidence.asked(flat, local, (0.5 * x, y)) is None
    assert evidence.asked(flat, local, (10.0 * x, y)) is None
    np.testing.assert_array_equal(evidence.asked(flat, local, (2.0 * x, y))[0], 4.0 * x)


@ONLY_NUMPY
def test_each_array_is_moved_by_itself_twice_then_all_together_once():
    here = here_with(own_epsilon=2.0**-23, epsilon=2.0**-52, own=shifted(1.0)[0])
    got = gather(here, np.random.default_rng(0))
    assert got.groups == ((0,), (1,), (2,), (0, 1, 2))
    assert [len(found.here) for found in got.found] == [2, 2, 2, 1]
    assert {found.epsilon for found in got.found} == {2.0**-23}
    assert [found.own.factor for found in got.found] == pytest.approx([2.0, 2.0, 1.0, 1.0])
    assert all(found == Findings(found.here, found.epsilon, found.own) for found in got.found)
    assert (got.here, got.far, got.frozen) == (here, (), False)
    assert Findings(()).epsilon == 2.0**-52
    coarse = here._replace(local=here.local._replace(epsilon=2.0**-10))
    assert {found.epsilon for found in gather(coarse, np.random.default_rng(0)).found} == {2.0**-10}


@ONLY_NUMPY
def test_a_doubt_asks_for_four_further_directions_and_no_doubt_for_none():
    x, random = np.asarray([0.7, -1.3, 2.1]), np.random.default_rng(0)
    for factor, more in ((1.0, 0), (1.1, 4)):
        flat = flattened(lambda x: float(np.sum(x**3)), lambda x: (factor * 3.0 * x * x,), (x,), None)  # noqa: B023
        here = gradient_at(flat, prepare(flat.f, flat.arrays, 0), flat.grad(x), random)
        found = look_further(gather(here, random), random).found
        assert [len(each.more) for each in found] == [more, more]
        assert all(p.wrong for each in found for p in each.more)


@ONLY_NUMPY
def test_f_steps_if_it_does_not_change_or_its_noise_is_ten_thousand_roundings():
    def stepped(**local):
        local = {"epsilon": 2.0**-52, "value": -3.0, "flat": False, "noise": 0.0, **local}
        (found, *_) = gather(here_with(local=local), np.random.default_rng(0)).found
        return found.stepped

    assert not stepped()
    assert stepped(flat=True)
    assert not stepped(noise=2.9e4 * 2.0**-52)
    assert not stepped(noise=1e4 * 2.0**-52 * 3.0)
    assert stepped(noise=3.1e4 * 2.0**-52)
    assert stepped(noise=1e-300, value=0.0)
