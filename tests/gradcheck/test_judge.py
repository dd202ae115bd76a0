"""The judge, as a table: situations in numbers, and the verdict on each. No array and no function takes part."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from mlp_xp.gradcheck.evidence import Evidence, Findings, Own, Probe, Sides, Worst
from mlp_xp.gradcheck.judge import RIGHT, WRONG, agreement, bar, blame, judge, overall, resolution, together, wanted

pytestmark = pytest.mark.only("numpy")  # numbers alone

# --- directions of a gradient of size 1, measured to 1e-9 ----------------------------------------------------------

FINE = 1e-9
right = Probe(0.7, 0.7, FINE, 1.0)
wrong = Probe(0.9, 0.7, FINE, 1.0)
doubled = Probe(1.4, 0.7, FINE, 2.0)
exact_right, exact_wrong = (p._replace(exact=True) for p in (right, wrong))
barely = Probe(0.7 + 2.0 * FINE, 0.7, FINE, 1.0)
blurred = Probe(0.7, 0.71, 0.05, 1.0)  # right as far as can be seen, and little can be seen
coarse = Probe(0.7, 0.7001, 0.05, 1.0)  # right to 1e-4, though not by what can be told of each
tied_right, tied_wrong = (p._replace(exact=True, tied=True, kink=0.3, tolerance=0.9) for p in (right, doubled))
far_from_tie = Probe(5.0, 0.7, 0.9, 5.0, 0.3, exact=True, tied=True)
kinked = Probe(0.7, 0.6, 0.9, 1.0, 0.3)  # a kink that differences saw
beside_kink = Probe(1.9, 0.7, 0.9, 1.9, 0.3)  # wrong by more than the kink, not far beyond it
far_beyond_kink = Probe(20.0, 0.7, 0.9, 20.0, 0.3)
zero = Probe(0.0, 0.0, 1e-15, 0.0)
unchanged = Probe(0.7, 0.0, math.inf, 1.0)
stair = Probe(0.7, 5.0, 30.0, 1.0)
drowned = Probe(1e-17, 2e-17, 1e-15, 1e-17)
unknown = Probe(0.7, math.nan, math.inf, 1.0)
first, second = (p._replace(entry=(i,)) for i, p in enumerate((right, right)))
wrong_second = wrong._replace(entry=(1,))
as_one_wrong = exact_wrong._replace(as_one=True)

side = Sides(3, 0.5, -1.0, 1.0, (), 1e-12)
beyond = Sides(3, 5.0, -1.0, 1.0, (-1.0, 1.0), 1e-12)

HERE = Findings((right, right))
SITUATIONS = {
    # f is smooth at params
    "two directions agree": (HERE, "pass", ""),
    "two exact slopes agree": (Findings((exact_right, exact_right)), "pass", ""),
    "one exact slope disagrees": (Findings((exact_right, exact_wrong)), "fail", ""),
    "both differences disagree": (Findings((wrong, wrong)), "fail", ""),
    "both differences disagree, and nearby they agree": (
        Findings((wrong, wrong), elsewhere=((right, right),)),
        "fail",
        "",
    ),
    "an exact slope disagrees, and nearby all agree": (
        Findings((exact_wrong, exact_wrong), elsewhere=((exact_right,) * 2,) * 3),
        "fail",
        "",
    ),
    "one difference of six disagrees": (
        Findings((wrong, right), more=(right,) * 4, elsewhere=((right, right),)),
        "inconclusive",
        "not at points nearby",
    ),
    "two differences of six disagree by little": (
        Findings((barely, right), more=(right, barely, right, right)),
        "fail",
        "",
    ),
    "one entry disagrees, twice": (Findings((first, wrong_second), more=(first, wrong_second)), "fail", ""),
    "one entry disagrees, once": (Findings((first, wrong_second)), "inconclusive", "not at points nearby"),
    "numbers of several units, moved in one scale, disagree": (
        Findings((exact_right, exact_right, as_one_wrong)),
        "fail",
        "",
    ),
    "the gradient is zero, and so is the slope": (Findings((zero, zero)), "pass", ""),
    # a kink at params
    "a tie, and within it a subgradient": (
        Findings((tied_right, tied_right), elsewhere=((exact_right, exact_right),)),
        "pass",
        "at a kink: checked at a point nearby",
    ),
    "a tie, and nothing nearby is known": (
        Findings((tied_right, tied_right), elsewhere=((), ())),
        "inconclusive",
        "a kink hides",
    ),
    "beyond a tie, right nearby": (
        Findings(
            (far_from_tie,) * 2,
            more=(far_from_tie, tied_right),
            elsewhere=((exact_right, exact_right),),
            close=((exact_right,),),
        ),
        "pass",
        "at a kink: checked at a point nearby",
    ),
    "beyond a tie, wrong at another point": (
        Findings((far_from_tie,) * 2, elsewhere=((exact_wrong, exact_wrong),)),
        "fail",
        "",
    ),
    "beyond a tie in every direction, and close by too": (
        Findings(
            (far_from_tie,) * 2, more=(far_from_tie,) * 4, elsewhere=((exact_right,) * 2,), close=((exact_wrong,) * 2,)
        ),
        "fail",
        "",
    ),
    "a kink between the steps, right nearby": (
        Findings((kinked, kinked), elsewhere=((right, right),)),
        "pass",
        "at a kink",
    ),
    "a little beyond a kink, right nearby": (
        Findings((beside_kink, kinked), more=(kinked,) * 4, elsewhere=((right, right),)),
        "pass",
        "at a kink",
    ),
    "far beyond a kink": (Findings((far_beyond_kink, far_beyond_kink)), "fail", ""),
    "a wrong gradient at a kink, wrong nearby": (Findings((kinked, kinked), elsewhere=((wrong, wrong),)), "fail", ""),
    "an impossible subgradient": (
        Findings(
            (tied_right, tied_right),
            sides=(beyond,),
            elsewhere=((exact_right,) * 2,),
        ),
        "fail",
        "are -1 and 1; the gradient has 5",
    ),
    "a subgradient": (
        Findings((tied_right, tied_right), sides=(side,), elsewhere=((exact_right,) * 2,)),
        "pass",
        "at a kink",
    ),
    # nothing to be seen at params
    "rounding hides the gradient": (
        Findings((blurred, blurred)),
        "inconclusive",
        "rounding noise hides relative errors below",
    ),
    "rounding hides it, and another point shows it right": (
        Findings((blurred, blurred), elsewhere=((right, right),)),
        "pass",
        "hidden by rounding at params: checked elsewhere",
    ),
    "rounding hides it, and another point shows it wrong": (
        Findings((blurred, blurred), elsewhere=((wrong, wrong),)),
        "fail",
        "",
    ),
    "rounding hides it, and the other point is no sharper": (
        Findings((blurred, blurred), elsewhere=((blurred, blurred),)),
        "inconclusive",
        "rounding noise hides",
    ),
    "rounding hides it, and where it is zero nothing is shown": (
        Findings((blurred, blurred), elsewhere=((zero, zero),)),
        "inconclusive",
        "rounding noise hides",
    ),
    "rounding hides it, and more directions show it": (Findings((blurred, blurred), more=(right,) * 4), "pass", ""),
    "rounding hides it in each of six directions, and all agree": (
        Findings((coarse, coarse), more=(coarse,) * 4),
        "pass",
        "",
    ),
    "rounding hides it in each of six directions, and one differs": (
        Findings((coarse, coarse), more=(*(coarse,) * 3, blurred)),
        "inconclusive",
        "rounding noise hides",
    ),
    "rounding hides it in each of five directions, and all agree": (
        Findings((coarse,), more=(coarse,) * 4),
        "inconclusive",
        "rounding noise hides",
    ),
    "a kink hides it in each of six directions, and all agree": (
        Findings((coarse._replace(tied=True),) * 2, more=(coarse,) * 4),
        "inconclusive",
        "hides",
    ),
    "rounding hides it, and one more direction is wrong": (
        Findings((blurred, blurred), more=(right, right, right, wrong)),
        "inconclusive",
        "not at points nearby",
    ),
    "f is not defined around params": (Findings((unknown, unknown)), "inconclusive", "hides every error"),
    "f did not change": (Findings((unchanged, unchanged), stepped=True), "inconclusive", "does it use its argument?"),
    "f did not change anywhere": (
        Findings((unchanged, unchanged), stepped=True, elsewhere=((unchanged, unchanged),)),
        "inconclusive",
        "does it use its argument?",
    ),
    "f did not change, says an exact slope": (
        Findings((Probe(0.7, 0.0, FINE, 1.0, exact=True),) * 2, stepped=True),
        "fail",
        "",
    ),
    "f changes in steps": (Findings((stair, unchanged), stepped=True), "inconclusive", "f changes in steps"),
    "f changes in steps, and is resolved": (Findings((right, right), stepped=True), "pass", ""),
    "a gradient of zero to rounding": (
        Findings((drowned, drowned)),
        "inconclusive",
        "the gradient is zero here, as far as rounding",
    ),
    # single entries
    "an entry is wrong that no direction shows": (HERE._replace(worst=Worst(0.1, True, True, FINE)), "fail", ""),
    "an entry is off by 1e-4 of its size": (
        HERE._replace(worst=Worst(1e-4, True, True, FINE)),
        "inconclusive",
        "stands out of the noise",
    ),
    "an entry is off by 1e-6 of its size": (HERE._replace(worst=Worst(1e-6, True, True, FINE)), "pass", ""),
    "directions are wrong, and in float64 no entry is": (
        Findings((wrong, wrong), worst=Worst(0.0, False, True, FINE)),
        "fail",
        "",
    ),
    "directions are wrong, and in float32 no entry is": (
        Findings((wrong, wrong), worst=Worst(0.0, False, False, FINE)),
        "inconclusive",
        "no single entry bears out",
    ),
    "directions are wrong, and in float32 no entry would be seen to be": (
        Findings((wrong, wrong), worst=Worst(0.0, False, False, 0.5)),
        "fail",
        "",
    ),
    "exact slopes are wrong, and in float32 no entry is": (
        Findings((exact_wrong, exact_wrong), worst=Worst(0.0, False, False, FINE)),
        "fail",
        "",
    ),
    # the parameters' own dtype
    "float32 is a rounding away": (HERE._replace(own=Own("float32", "float64", 1e-6, 1e-5, 1.0, 0.9)), "pass", ""),
    "float32 is a factor away": (
        HERE._replace(own=Own("float32", "float64", 1e-3, 1e-5, 1.001, 1e-3)),
        "fail",
        "1.001 times the true one",
    ),
    "float32 is far away in no pattern": (
        HERE._replace(own=Own("float32", "float64", 0.05, 1e-5, 1.0, 0.99)),
        "inconclusive",
        "0.05 of its size away",
    ),
    "float32 is a little away in no pattern": (
        HERE._replace(own=Own("float32", "float64", 1e-4, 1e-5, 1.0, 0.99)),
        "pass",
        "0.0001 of its size away",
    ),
    "float32 loses all to rounding": (
        HERE._replace(own=Own("float32", "float64", 0.5, 0.6, 1.0, 0.99)),
        "inconclusive",
        "0.5 of its size away",
    ),
    "bfloat16 is a rounding away": (
        HERE._replace(own=Own("bfloat16", "float32", 0.01, 0.1, 1.0, 0.9), epsilon=2.0**-7),
        "pass",
        "",
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_verdict(name):
    found, verdict, words = SITUATIONS[name]
    judgement = judge(found)
    assert judgement.verdict == verdict
    assert words in judgement.reason
    assert bool(words) == bool(judgement.reason)


def test_a_pass_states_what_it_would_have_seen():
    for found, verdict, _ in SITUATIONS.values():
        if verdict == "pass":
            assert judge(found).resolution <= bar(found.epsilon)


# --- what more is wanted -------------------------------------------------------------------------------------------

WANTED = {
    "nothing, if all agrees": (HERE, ""),
    "nothing, if an exact slope disagrees": (Findings((exact_right, exact_wrong)), ""),
    "more directions, if a difference disagrees": (Findings((right, wrong)), "more"),
    "more directions, if both differences disagree": (Findings((wrong, wrong)), "more"),
    "nothing, if more differences disagree": (Findings((wrong, wrong), more=(wrong,) * 4), ""),
    "more directions, at a tie": (Findings((tied_right, tied_right)), "more"),
    "nothing, at a tie with an impossible subgradient": (
        Findings((tied_right, tied_right), sides=(beyond,)),
        "",
    ),
    "points nearby, at a tie": (Findings((tied_right, tied_right), more=(tied_right,) * 4), "elsewhere"),
    "nothing, once cleared": (
        Findings((tied_right, tied_right), more=(tied_right,) * 4, elsewhere=((exact_right, exact_right),)),
        "",
    ),
    "points close by, if cleared though it was wrong": (
        Findings((tied_wrong, far_from_tie), more=(tied_right,) * 4, elsewhere=((exact_right, exact_right),)),
        "close",
    ),
    "nothing, once they were asked": (
        Findings(
            (tied_wrong, far_from_tie), more=(tied_right,) * 4, elsewhere=((exact_right,) * 2,), close=((right,),)
        ),
        "",
    ),
    "points further away, if nothing is seen nearby": (
        Findings((blurred, blurred), more=(blurred,) * 4, elsewhere=((),) * 3),
        "elsewhere",
    ),
    "nothing, if seven points show nothing": (
        Findings((blurred, blurred), more=(blurred,) * 4, elsewhere=((),) * 7),
        "",
    ),
    "nothing further away, if it is wrong here": (
        Findings((far_from_tie,) * 2, more=(far_from_tie,) * 4, elsewhere=((),) * 3),
        "",
    ),
}


@pytest.mark.parametrize("name", WANTED)
def test_what_is_wanted(name):
    found, what = WANTED[name]
    assert wanted(found) == what


# --- resolution --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerances", [(1e-9, 1e-9), (1e-9, 1e-3), (1e-3, 2e-3, 5e-3, 1e-2, 1e-2, 2e-2)], ids=str)
def test_an_error_as_large_as_the_resolution_is_missed_once_in_a_hundred(tolerances):
    r = resolution([Probe(0.0, 0.0, t, 1.0) for t in tolerances])
    errors = r * np.random.default_rng(0).standard_normal((200_000, len(tolerances)))
    missed = np.mean(np.all(np.abs(errors) <= tolerances, axis=1))
    assert 0.003 < missed < 0.0115  # directions that tell less may see it too
    # an error in one entry changes a slope by at least half of its size
    assert 0.5 * r >= min(tolerances)


@pytest.mark.parametrize("directions", [6, 8])
def test_six_slopes_agree_as_closely_as_they_do_by_chance_once_in_a_hundred(directions):
    gaps = np.linspace(0.2, 1.0, directions) * 1e-3
    r = agreement([Probe(0.7 + gap, 0.7, 0.05, 1.0) for gap in gaps])
    errors = r / 1.25 * np.random.default_rng(0).standard_normal((200_000, directions))
    assert 0.005 < np.mean(np.all(np.abs(errors) <= 1e-3, axis=1)) < 0.0105
    assert agreement([coarse] * 5) == agreement([*[coarse] * 6, unknown]) == math.inf
    assert agreement([coarse._replace(entry=(0,))] * 6) == agreement([coarse._replace(tied=True)] * 6) == math.inf


def test_entries_moved_by_themselves_resolve_what_each_of_them_does():
    probes = [Probe(0.1, 0.1, t, 1.0, entry=(i,)) for i, t in ((0, 3e-9), (1, 4e-9), (0, 1.0))]
    assert math.isclose(resolution(probes), 1.25 * 5e-9)


def test_resolution_is_relative_to_the_larger_of_gradient_and_slope():
    once = resolution([right, right])
    assert math.isclose(resolution([right._replace(size=10.0)] * 2), 0.1 * once)
    assert math.isclose(resolution([Probe(1e-30, 10.0, FINE, 1e-30)] * 2), 0.1 * once)
    assert resolution([zero, zero]) == 0.0
    assert resolution([Probe(0.0, 0.0, 1.0, 0.0, 0.5)] * 2) == math.inf  # an even kink
    assert resolution([right._replace(as_one=True), right, right]) == once


def test_the_bar_is_the_textbooks_or_what_the_dtype_can_tell():
    assert bar(2.0**-52) == bar(2.0**-23) == WRONG > RIGHT
    assert WRONG < bar(2.0**-10) < bar(2.0**-7) <= 0.5


# --- several arrays ----------------------------------------------------------------------------------------------


def evidence(*far, frozen=False, found=(HERE, HERE)):
    return Evidence(None, ((0,), (0,)), found, far, frozen)


def test_together_gradients_may_be_wrong_though_each_is_right():
    apart = evidence(found=(HERE, Findings((exact_wrong,))))
    assert together(["pass"], apart) == ("the gradients are right one by one, but not together",)
    assert together(["fail"], apart) == ()
    assert together(["pass"], evidence()) == ()


def test_wrong_at_every_other_point_is_said_by_what_was_seen():
    away = ((wrong,), (wrong,), (exact_wrong,))
    (sentence,) = together(["pass"], evidence(*away))
    assert sentence.startswith("grad is right at params and wrong at 3 of 3 other points: a coincidence")
    (sentence,) = together(["pass"], evidence(*away, frozen=True))
    assert sentence.endswith("a stale cache")
    (sentence,) = together(["inconclusive"], evidence(*away))
    assert sentence == "grad is wrong at 3 of 3 other points"
    (sentence,) = together(["pass"], evidence(*away, found=(Findings((zero,)), Findings((zero,)))))
    assert sentence == "grad is right at params, where it is zero, and wrong elsewhere"
    for others in (away[:2], (*away[:2], (right,)), (*away[:2], (tied_wrong,)), ((right,),)):
        assert together(["pass"], evidence(*others)) == ()


def test_the_first_to_look_at_is_the_failing_array_nearest_to_the_loss():
    names = ("W1", "b1", "W2", "b2")
    assert blame(names, ["fail", "fail", "fail", "pass"]) == (
        "W2, the nearest to the loss; b2 behind it is right; "
        "what is upstream of it may have inherited its error (2 more)"
    )
    assert blame(names, ["pass", "pass", "pass", "fail"]) == "b2, the nearest to the loss"
    assert blame(names, ["pass"] * 4) == blame(("W",), ["fail"]) == ""


def test_the_worst_verdict_of_all_is_that_of_the_run():
    verdicts = ["pass", "inconclusive", "fail"]
    for better, worse in pairwise(verdicts):
        assert overall([better, worse, better], ()) == worse
    assert overall(["pass"], ("a broken promise",)) == "fail"
    assert overall([], ()) == "pass"
