"""Gradients at kinks: what no choice at the ties gives is refused, what some choice gives never is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import textbook
from array_api_compat import array_namespace
from known_functions import EAGER, QUICK, QUICKEST

import mlp_xp as mx
from mlp_xp._lib.namespace import device_kwargs
from mlp_xp.gradcheck.evidence import Sides, gradient_at
from mlp_xp.gradcheck.forms import flattened
from mlp_xp.gradcheck.judge import impossible
from mlp_xp.gradcheck.kinks import of_several, one_sided
from mlp_xp.gradcheck.local import prepare

# `take_along_axis` came with the standard of 2024.12, and the oldest that is tested is older; Dask has no `sort`
SORTING = pytest.mark.only("numpy", "torch", "jax", "cupy")


def sides_of(f, grad, *params, leaf=0, limit=16, seed=0):
    """The sides at ``params``; f takes duals."""
    flat = flattened(f, grad, params, None)
    local = prepare(flat.f, flat.arrays, seed)
    assert local.exact == "dual numbers"
    random = np.random.default_rng(seed)
    return one_sided(gradient_at(flat, local, flat.grad(*flat.arrays), random), leaf, random, limit)


def finding_of(put, f, x, gradient, seed=0):
    """What is said of a constant ``gradient`` of ``f(namespace, x)``."""

    def grad(x):
        return (put(np.asarray(gradient), x.dtype),)

    return impossible(sides_of(lambda x: f(array_namespace(x), x), grad, put(x), seed=seed))


def residuals(b):
    """``sum |A x - b|``; at (1, 1), A x is (3, 2, 2)."""
    rows = ([1.0, 2.0], [3.0, -1.0], [1.0, 1.0])
    return lambda xp, x: sum(xp.abs(p * x[0] + q * x[1] - c) for (p, q), c in zip(rows, b, strict=True))


def pinball(xp, r):
    return xp.sum(xp.maximum(0.9 * r, -0.1 * r))


def pools(xp, x):
    """The maxima of three windows of two, the second twice."""
    return xp.sum(
        xp.max(xp.reshape(x, (3, 2)), axis=1) * xp.asarray([1.0, 2.0, 1.0], dtype=x.dtype, **device_kwargs(x))
    )


def huber(xp, r):
    size = xp.abs(r)
    return xp.sum(xp.where(size <= 1.0, 0.5 * r * r, size - 0.5))


def up_and_down(xp, x):
    """x, by two kinks that cancel."""
    return xp.sum(xp.maximum(x, xp.zeros_like(x)) - xp.maximum(-x, xp.zeros_like(x)))


def bent_both_ways(xp, x):
    """-10 relu(x) + |x|: by choice the slope is from -11 to 1, on the sides it is -1 and -9."""
    return xp.sum(xp.abs(x) - 10.0 * xp.maximum(x, xp.zeros_like(x)))


def falling_pools(xp, x):
    """Two maxima over multiples of x, one of them subtracted and a little steeper."""
    a = xp.asarray([[0.0, 0.0, 1.0], [0.0, 1.01, 1.01]], dtype=x.dtype, **device_kwargs(x))
    best = xp.max(a * x, axis=1)
    return best[0] - best[1]


# name -> (f, point, gradients that a choice gives, gradients that none gives)
KINKS = {
    "a zero residual": (residuals([3.0, 0.0, 5.0]), [1, 1], [[2, -2], [3, 0], [1, -4]], [[7, 8], [-3, -12], [2, 1]]),
    "zero residuals": (residuals([3.0, 2.0, 5.0]), [1, 1], [[-1, -1], [3, 0], [-5, -2]], [[19, 4], [-6, -1], [4, 0]]),
    "max": (lambda xp, x: xp.max(x), [2, 2, 1, 2], [[1, 0, 0, 0], [0, 0, 0, 1], [1 / 3, 1 / 3, 0, 1 / 3]],
            [[1, 1, 0, 1], [0, 0, 0, 0], [5, 0, 0, 0], [-1, 1, 0, 1]]),
    "min": (lambda xp, x: xp.min(x), [2, 1, 1], [[0, 1, 0], [0, 0, 1], [0, 0.5, 0.5]],
            [[0, 1, 1], [0, 0, 0], [0, 2, -1]]),
    "maximum, in a row": (lambda xp, x: xp.maximum(x[0], xp.maximum(x[1], x[2])), [1, 1, 1],
                          [[1, 0, 0], [0.5, 0.25, 0.25]], [[1, 1, 1], [0, 0, 0], [2, 0, -1]]),
    "pools": (pools, [1, 1, 3, 3, 0, 5], [[1, 0, 2, 0, 0, 1], [0.5, 0.5, 1, 1, 0, 1]],
              [[1, 1, 2, 2, 0, 1], [0, 0, 0, 0, 0, 1], [1, 0, 3, -1, 0, 1]]),
    "pinball": (pinball, [0, 1, -1], [[0, 0.9, -0.1], [0.9, 0.9, -0.1], [-0.1, 0.9, -0.1]],
                [[1, 0.9, -0.1], [-0.9, 0.9, -0.1], [5, 0.9, -0.1]]),
    "hinge": (lambda xp, s: xp.sum(xp.maximum(1.0 - s, xp.zeros_like(s))), [1, 0], [[0, -1], [-1, -1], [-0.5, -1]],
              [[1, -1], [-2, -1], [5, -1]]),
    "an L1 penalty": (lambda xp, w: 0.1 * xp.sum(xp.abs(w)), [0, 0, 2], [[0, 0, 0.1], [0.1, -0.1, 0.1]],
                      [[0.5, 0, 0.1], [0, -0.2, 0.1], [1, 1, 0.1]]),
    "leaky relu": (lambda xp, x: xp.sum(xp.where(x > 0.0, x, 0.1 * x)), [0, 1], [[0.1, 1], [1, 1], [0.55, 1]],
                   [[0, 1], [1.1, 1], [-1, 1]]),
    "clip": (lambda xp, x: xp.sum(xp.clip(x, -1.0, 1.0)), [1, -1, 0], [[1, 1, 1], [0, 0, 1], [0.5, 0, 1]],
             [[-1, 1, 1], [0, 2, 1], [5, 0, 1]]),
}  # fmt: skip
SORTED = {
    "sort": (lambda xp, x: xp.sort(x)[0] + 2.0 * xp.sort(x)[1] + 4.0 * xp.sort(x)[2], [3, 1, 3],
             [[2, 1, 4], [4, 1, 2], [3, 1, 3]], [[4, 1, 4], [2, 1, 2], [7, 1, -1]]),
    "median": (lambda xp, x: xp.sort(x)[1], [1, 3, 3], [[0, 1, 0], [0, 0, 1], [0, 0.5, 0.5]],
               [[0, 1, 1], [0, 0, 0], [0, 2, -1]]),
    "the middle half": (lambda xp, x: xp.sum(xp.sort(x, descending=True)[1:3]), [5, 2, 2, 2],
                        [[0, 1, 1, 0], [0, 2 / 3, 2 / 3, 2 / 3]], [[0, 1, 1, 1], [0, 3, -1, 0], [0, 0, 0, 0]]),
    "argmax": (lambda xp, x: x[int(xp.argmax(x))], [2, 2, 1], [[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]],
               [[1, 1, 0], [0, 0, 0], [3, -2, 0]]),
}  # fmt: skip


def claims(table, column):
    """Each gradient of each kink; on Dask the first alone."""
    return [
        pytest.param(f, x, g, id=f"{name} {g}", marks=EAGER if i else ())
        for name, (f, x, *rest) in table.items()
        for i, g in enumerate(rest[column])
    ]


@pytest.mark.parametrize(("f", "x", "gradient"), claims(KINKS, 0))
def test_a_gradient_that_a_choice_at_the_kink_gives_is_accepted(put, f, x, gradient):
    assert finding_of(put, f, np.asarray(x, dtype=float), np.asarray(gradient, dtype=float)) == ("", None, "")


@pytest.mark.parametrize(("f", "x", "gradient"), claims(KINKS, 1))
def test_a_gradient_that_no_choice_gives_fails(put, f, x, gradient):
    assert finding_of(put, f, np.asarray(x, dtype=float), np.asarray(gradient, dtype=float))[0] == "fail"


@SORTING
@pytest.mark.parametrize(("f", "x", "gradient"), claims(SORTED, 0))
def test_any_order_of_equal_entries_is_accepted(put, f, x, gradient):
    assert finding_of(put, f, np.asarray(x, dtype=float), np.asarray(gradient, dtype=float)) == ("", None, "")


@SORTING
@pytest.mark.parametrize(("f", "x", "gradient"), claims(SORTED, 1))
def test_a_gradient_that_no_order_of_equal_entries_gives_fails(put, f, x, gradient):
    """For most draws: two calls of ``sort`` may break ties in two ways, and some mixtures come near to that."""
    x, gradient = np.asarray(x, dtype=float), np.asarray(gradient, dtype=float)
    assert [finding_of(put, f, x, gradient, seed)[0] for seed in range(7)].count("fail") > 3


def test_a_slope_of_minus_zero_is_written_as_zero():
    _, _, sentence = impossible([Sides(0, -0.0 - 5.0, -0.0, 2.0, (-0.0, 2.0), 1e-12)])
    assert sentence == "at a kink, the slopes on the two sides are 0 and 2; the gradient has -5"


def test_the_sentence_names_the_entry_both_slopes_and_the_gradient(put):
    found = finding_of(put, lambda xp, x: xp.sum(xp.abs(x)), [1.0, 0.0], [1.0, 5.0])
    assert found == ("fail", 1, "at a kink, the slopes on the two sides are -1 and 1; the gradient has 5")
    verdict, where, sentence = finding_of(put, lambda xp, x: xp.max(x), [1.0, 1.0], [1.0, 1.0])
    assert (verdict, where) == ("fail", None)
    assert "of several entries together" in sentence


@pytest.mark.parametrize(
    ("f", "x", "gradient"),
    [
        (up_and_down, 0.0, 0.0),  # relu'(0) = 0 in both
        (up_and_down, 0.0, 2.0),
        (up_and_down, 0.0, 0.5),
        (bent_both_ways, 0.0, 0.0),  # relu'(0) = 0, sign(0) = 0
        (bent_both_ways, 0.0, 1.0),
        (bent_both_ways, 0.0, -11.0),
        (falling_pools, 0.0, 1 / 3 - 2.02 / 3),  # evenly among ties
        (falling_pools, 0.0, 1.0),
        (falling_pools, 0.0, -1.01),
    ],
)
def test_what_a_choice_gives_but_neither_side_is_named_and_not_refused(put, f, x, gradient):
    verdict, where, sentence = finding_of(put, f, [x], [gradient])
    assert (verdict, where) == ("inconclusive", 0)
    assert f"the gradient has {gradient:.6g}: another choice at the ties, or an error" in sentence


@pytest.mark.parametrize(
    ("f", "gradient"),
    [
        (bent_both_ways, 1.1),
        (bent_both_ways, -11.1),
        (bent_both_ways, 5.0),
        (falling_pools, 1.1),
        (falling_pools, -1.1),
    ],
)
def test_what_is_beyond_every_choice_fails_though_kinks_bend_both_ways(put, f, gradient):
    assert finding_of(put, f, [0.0], [gradient])[:2] == ("fail", 0)


def upper(x):
    """1 for the first of two entries, else 0."""
    xp = array_namespace(x)
    return xp.astype(xp.arange(2, **device_kwargs(x)) == 0, x.dtype)


# name -> (f(xp, a, b), its gradient where m is 1 if a > b and 0 if a < b, and at a = (1, 3), b = (1, 2): pairs that a
# choice gives, pairs that are right one by one alone)
TWO_ARRAYS = {
    "maximum": (lambda xp, a, b: xp.sum(xp.maximum(a, b)), lambda m: (m, 1.0 - m),
                [([1, 1], [0, 0]), ([0.5, 1], [0.5, 0])], [([1, 1], [1, 0]), ([0, 1], [0, 0])]),
    "minimum": (lambda xp, a, b: xp.sum(xp.minimum(a, b)), lambda m: (1.0 - m, m),
                [([0, 0], [1, 1]), ([0.25, 0], [0.75, 1])], [([1, 0], [1, 1]), ([0, 0], [0, 1])]),
    "distance": (lambda xp, a, b: xp.sum(xp.abs(a - b)), lambda m: (2.0 * m - 1.0, 1.0 - 2.0 * m),
                 [([1, 1], [-1, -1]), ([0, 1], [0, -1])], [([1, 1], [1, -1]), ([-1, 1], [-1, -1])]),
    "max of both": (lambda xp, a, b: xp.max(xp.concat([a[:1], b[:1]])) + 2.0 * a[1] - b[1],
                    lambda m: (m * upper(m) + 2.0 * (1.0 - upper(m)), (1.0 - m) * upper(m) - (1.0 - upper(m))),
                    [([1, 2], [0, -1]), ([0, 2], [1, -1])], [([1, 2], [1, -1]), ([0, 2], [0, -1])]),
}  # fmt: skip


def pairs_of(column):
    return [
        pytest.param(f, right, pair, id=f"{name} {pair}")
        for name, (f, right, *pairs) in TWO_ARRAYS.items()
        for pair in pairs[column]
    ]


def together_at_a_tie(put, f, right, pair):
    """The report on a gradient that is ``pair`` at the tie, and right elsewhere."""

    def grad(a, b):
        if float(a[0]) == float(b[0]):
            return tuple(put(np.asarray(g, dtype=np.float64), a.dtype) for g in pair)
        return right(array_namespace(a).astype(a > b, a.dtype))

    at = put(np.asarray([1.0, 3.0])), put(np.asarray([1.0, 2.0]))
    return mx.gradcheck(lambda a, b: f(array_namespace(a), a, b), grad, at, names=("a", "b"))


@QUICK
@pytest.mark.parametrize(("f", "right", "pair"), pairs_of(0))
def test_a_choice_at_a_tie_between_two_arrays_is_accepted(put, f, right, pair):
    assert together_at_a_tie(put, f, right, pair).verdict != "fail"


@QUICK
@pytest.mark.parametrize(("f", "right", "pair"), pairs_of(1))
def test_no_choice_gives_what_is_right_of_two_arrays_one_by_one_alone(put, f, right, pair):
    report = together_at_a_tie(put, f, right, pair)
    assert report.verdict == "fail"
    (sentence,) = report.contract
    assert "right one by one, but not together: at a kink of several entries together" in sentence


def test_a_tie_that_is_no_kink_leaves_right_gradients_alone(put):
    assert finding_of(put, huber, [1.0, -1.0, 0.3, 2.0], [1.0, -1.0, 0.3, 1.0]) == ("", None, "")
    assert finding_of(put, up_and_down, [0.0, 2.0], [1.0, 1.0]) == ("", None, "")
    verdict, where, _ = finding_of(put, huber, [0.5, 1.0], [0.5, 0.0])
    assert (verdict, where) == ("fail", 1)  # no choice at the tie gives it


def test_of_more_ties_than_columns_those_that_share_one_do_not_cancel_at_every_draw(put):
    """Nine terms ``w |x|``: by choice the slope is up to 4, and of each pair that shares a column the sum is 0."""
    weights = (1.0, 1.0, *(0.01,) * 5, -1.0, -1.0)

    def f(xp, x):
        return sum(w * xp.abs(x[0]) for w in weights)

    verdicts = [finding_of(put, f, [0.0], [3.0], seed)[0] for seed in range(8)]
    assert verdicts.count("inconclusive") > 2  # one in four draws cancels both
    assert finding_of(put, f, [0.0], [20.0])[0] == "fail"


def kinks_of(w, a, v, c):
    """``sum w relu(a x) + sum v |c x|``."""

    def f(xp, x):
        relus = (p * xp.where(q * x[0] > 0.0, q * x[0], 0.0 * x[0]) for p, q in zip(w, a, strict=True))
        return sum(relus) + sum(p * xp.abs(q * x[0]) for p, q in zip(v, c, strict=True))

    return f


@pytest.mark.only("numpy")
@pytest.mark.parametrize("ties", [1, 2, 6, 7])
def test_of_up_to_seven_ties_the_range_of_all_choices_is_exact(put, ties):
    """``w |x|`` has by choice a slope of -w to w."""
    weights = np.random.default_rng(ties).uniform(0.5, 1.5, ties) * np.resize([1.0, -1.0], ties)
    f, reach = kinks_of([], [], weights.tolist(), np.ones(ties).tolist()), float(np.abs(weights).sum())
    for share, verdict in ((0.999, "inconclusive"), (1.001, "fail")):
        for sign in (1.0, -1.0):
            expected = verdict if ties > 1 or share > 1.0 else ""
            assert finding_of(put, f, [0.0], [sign * share * reach])[0] == expected


@QUICKEST
def test_no_choice_at_random_kinks_is_ever_refused_and_all_beyond_is(put):
    """Each term with a choice of its own; a closed form knows the range of the slopes."""
    random = np.random.default_rng(11)
    for _ in range(60):
        w, a = random.choice([-1.0, 1.0], 3) * random.uniform(0.2, 2.0, 3), random.choice([-1.0, 1.0], 3)
        v, c = random.choice([-1.0, 1.0], 2) * random.uniform(0.2, 2.0, 2), random.uniform(0.5, 1.5, 2)
        ends = np.concatenate([[np.zeros(3), w * a], [-v * c, v * c]], axis=1)
        low, high = ends.min(axis=0).sum(), ends.max(axis=0).sum()

        f = kinks_of(w.tolist(), a.tolist(), v.tolist(), c.tolist())
        share = random.uniform(0.0, 1.0, 5)
        for shares in (np.zeros(5), np.ones(5), np.full(5, 0.5), share, np.round(share)):
            gradient = float(((1.0 - shares) * ends[0] + shares * ends[1]).sum())
            assert finding_of(put, f, [0.0], [gradient])[0] != "fail"
        for beyond in (low - 0.01, high + 0.01):
            assert finding_of(put, f, [0.0], [float(beyond)])[0] == "fail"


@QUICKEST
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("zeros", ["all", "hidden", "biases"])
@pytest.mark.parametrize("activation", list(mx.ops.ACTIVATIONS))
def test_no_network_fails_at_zero_weights(xp, put, activation, zeros, dtype):
    """Inputs of one sign and of both; the conventional gradients, relu'(0) = 0 and sign(0) = 0."""
    # an activation with kinks and one without meet every criterion, the others one with kinks and one without
    every = activation in ("relu", "tanh")
    for criterion in mx.losses.CRITERIA if every else ("softmax_cross_entropy", "absolute_error"):
        widths = textbook.widths_for(criterion, (3, 4, 4, 2))
        for inputs in (textbook.batch(6, 3), np.abs(textbook.batch(6, 3))):
            params = [*textbook.parameters(widths)]
            for i in range(len(params)):
                if zeros == "all" or (zeros == "hidden" and i < 4) or i % 2:
                    params[i] = np.zeros_like(params[i])
            X, y = inputs.astype(dtype), put(textbook.labels(6, 2))
            options = {"activation": activation, "criterion": criterion, "l1": 0.01}

            def f(*p, X=X, y=y, options=options):
                ns = array_namespace(*p)
                X = ns.asarray(put(X, p[0].dtype))
                return mx.objective(X, ns.asarray(y), *p, **options)

            def grad(*p, X=X, y=y, options=options):
                return mx.loss_and_grads(put(X, p[0].dtype), y, *p, **options)[1]

            for leaf in (0, 1):
                sides = sides_of(f, grad, *(put(p, getattr(xp, dtype)) for p in params), leaf=leaf, limit=4)
                assert impossible(sides)[0] != "fail"
                assert sides or leaf or zeros == "biases"  # the penalty is on weights alone


# --- what is measured ------------------------------------------------------------------------------------------------


def test_without_ties_one_slope_is_taken_and_nothing_found(put):
    counted = flattened(lambda x: array_namespace(x).sum(abs(x)), lambda x: (x,), (put([1.0, -2.0, 3.0]),), None)
    local, random = prepare(counted.f, counted.arrays, 0), np.random.default_rng(0)
    here = gradient_at(counted, local, counted.grad(*counted.arrays), random)
    before = counted.f.count
    assert one_sided(here, 0, random, 16) == ()
    assert counted.f.count - before == 2  # a dual counts as two


@QUICKEST
@pytest.mark.parametrize(("size", "tied"), [(1, 1), (64, 1), (64, 64), (1000, 3), (1000, 1000)])
@pytest.mark.parametrize("right", [True, False])
def test_the_cost_is_that_which_is_stated(put, size, tied, right):
    values = np.linspace(1.0, 2.0, size)
    values[np.random.default_rng(3).permutation(size)[:tied]] = 0.0

    def grad(x):
        return (put(np.full(size, 0.5 if right else 9.0)),)

    flat = flattened(lambda x: array_namespace(x).sum(abs(x)), grad, (put(values),), None)
    local, random = prepare(flat.f, flat.arrays, 0), np.random.default_rng(0)
    here, before = gradient_at(flat, local, flat.grad(*flat.arrays), random), flat.f.count
    sides = one_sided(here, 0, random, 16)
    found = min(tied, 16)
    assert [each.position for each in sides[:found]] == sorted(np.flatnonzero(values == 0.0).tolist())[
        :found
    ] or tied > 16
    assert len(sides) == found + (found > 1)
    finding = found * (2 * math.ceil(math.log2(size)) + 2) if size > 1 else 1
    assert (flat.f.count - before) / 2 <= finding + len(sides) * (2 if right else 10)
    assert impossible(sides)[0] == ("" if right else "fail")


def test_sides_are_exact_slopes_along_entries_and_along_their_sum(put):
    *alone, together = sides_of(
        lambda x: array_namespace(x).sum(3.0 * abs(x)), lambda x: (0.0 * x,), put([0.0, 2.0, 0.0])
    )
    assert [(each.position, each.left, each.analytic, each.right) for each in alone] == [(0, -3, 0, 3), (2, -3, 0, 3)]
    assert together.position is None
    assert together.left == -together.right < 0.0 == together.analytic
    assert 1.0 <= together.right <= 3.0  # each entry moves f by 0.5 to 1.5


@pytest.mark.only("numpy")
def test_together_each_entry_moves_f_by_a_half_to_one_and_a_half():
    moved = [
        sides_of(lambda x: array_namespace(x).sum(3.0 * abs(x)), lambda x: (0.0 * x,), np.zeros(2), seed=seed)[-1].right
        for seed in range(40)
    ]
    assert 1.0 <= min(moved) < 1.4
    assert 2.6 < max(moved) <= 3.0


@pytest.mark.only("numpy")
@pytest.mark.parametrize("undefined", [1.0, -1.0])
def test_where_f_is_not_defined_on_one_side_of_two_arrays_nothing_is_said_of_them_together(undefined):
    """Along each array both sides are there; where both rise, or both fall, f raises."""

    def f(a, b):
        if bool(undefined * a[0] > 0.0) and bool(undefined * b[0] > 0.0):
            raise ValueError("outside")
        return abs(a[0]) + abs(b[0])

    flat = flattened(f, lambda a, b: (0.0 * a, 0.0 * b), (np.zeros(1), np.zeros(1)), None)
    local = next(at for at in (prepare(flat.f, flat.arrays, seed) for seed in range(8)) if at.exact == "dual numbers")
    random = np.random.default_rng(0)
    here = gradient_at(flat, local, flat.grad(*flat.arrays), random)
    sides = {leaf: one_sided(here, leaf, random, 16) for leaf in (0, 1)}
    assert [[each[:4] for each in found] for found in sides.values()] == [[(0, 0.0, -1.0, 1.0)]] * 2
    assert of_several(here, sides, random) == (*sides[0], *sides[1])


def test_units_do_not_matter(put):
    """Kinks of slope 1e9 and 1e-9 in one array, both found and both weighed."""
    scales = np.asarray([1e9, 1e-9, 1.0])
    weights = put(scales)

    def f(x):
        ns = array_namespace(x)
        return ns.sum(ns.abs(x * ns.asarray(weights)))

    for entry, other in ((0, 1), (1, 0), (2, 1)):
        gradient = np.zeros(3)
        assert impossible(sides_of(f, lambda x: (put(gradient),), put(np.zeros(3))))[0] == ""  # noqa: B023
        gradient[entry] = 5.0 * scales[entry]
        verdict, where, _ = impossible(sides_of(f, lambda x: (put(gradient),), put(np.zeros(3))))  # noqa: B023
        assert (verdict, where) == ("fail", entry), other


def test_a_function_that_takes_no_duals_has_no_sides(put):
    flat = flattened(lambda x: float(np.sum(np.abs(np.asarray(x)))), lambda x: (x,), (np.zeros(2),), None)
    local, random = prepare(flat.f, flat.arrays, 0), np.random.default_rng(0)
    assert local.exact != "dual numbers"
    assert one_sided(gradient_at(flat, local, flat.grad(*flat.arrays), random), 0, random, 16) == ()
