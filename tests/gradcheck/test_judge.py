"""The judge, as a table: situations in numbers, and the verdict on each. No array and no function takes part."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from mlp_xp.gradcheck.evidence import Evidence, Findings, Own, Probe, Sides, Worst
from mlp_xp.gradcheck.judge import agreement, bar, blame, impossible, judge, overall, resolution, together, wanted

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
beside_small_kink = Probe(1.9, 0.7, 0.9, 1.9, 0.05)  # the kink is a small part of what is allowed
blurred_at_kink = Probe(0.7, 0.75, 0.2, 1.0, 0.05)
barely_beyond_tie = Probe(1.0001, 1.0, 5e-5, 1.0, 1e-5, exact=True, tied=True)
thousandth_beyond_tie = Probe(1025.0, 1024.0, 0.5, 1024.0, 0.1, exact=True, tied=True)  # a gap of 2^-10
thousandth_seen = Probe(1.0, 1.0, 0.8 * 2.0**-10, 1.0, entry=(0,))  # a resolution of 1.25 times that
at_the_bar = Probe(0.7, 0.7, 0.0008, 1.0, entry=(0,))
even_kink = Probe(0.0, 0.0, 0.9, 0.0, 0.3)
zero = Probe(0.0, 0.0, 1e-15, 0.0)
minimum = Probe(0.0, 1e-9, 1e-7, 0.0, 3e-8)
nearly_even_kink = Probe(0.0, 1e-9, 3.0, 0.0, 0.9)
unchanged = Probe(0.7, 0.0, math.inf, 1.0)
stair = Probe(0.7, 5.0, 30.0, 1.0)
drowned = Probe(1e-17, 2e-17, 1e-15, 1e-17)
unknown = Probe(0.7, math.nan, math.inf, 1.0)
first, second = (p._replace(entry=(i,)) for i, p in enumerate((right, right)))
wrong_second = wrong._replace(entry=(1,))
as_one_wrong = exact_wrong._replace(as_one=True)

side = Sides(3, 0.5, -1.0, 1.0, (), 1e-12)
chosen = Sides(3, 0.0, 1.0, 1.0, (0.0, 1.0), 1e-12)
beyond = Sides(3, 5.0, -1.0, 1.0, (-1.0, 1.0), 1e-12)
another = Sides(3, 0.0, 1.0, 1.0, (0.0, 2.0), 1e-12)

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
    "one difference of six disagrees, and nearby all do": (
        Findings((wrong, right), more=(right,) * 4, elsewhere=((right, right), (wrong, wrong))),
        "fail",
        "",
    ),
    "one difference of six disagrees, and nearby one of two": (
        Findings((wrong, right), more=(right,) * 4, elsewhere=((right, wrong),)),
        "inconclusive",
        "not at points nearby",
    ),
    "one difference of six disagrees, and nearby f is not defined": (
        Findings((wrong, right), more=(right,) * 4, elsewhere=((), ())),
        "inconclusive",
        "not at points nearby",
    ),
    "one difference and one at a kink disagree, and nearby they agree": (
        Findings((barely, far_from_tie), elsewhere=((exact_right, exact_right),)),
        "inconclusive",
        "not at points nearby",
    ),
    "one entry disagrees once, and nearby again": (
        Findings((first, wrong_second), elsewhere=((first, wrong_second),)),
        "fail",
        "",
    ),
    "two directions tell just as much as is needed": (Findings((at_the_bar,)), "pass", ""),
    "two directions agree, and close by they do not": (Findings((right, right), close=((wrong, wrong),)), "pass", ""),
    "two directions agree, and elsewhere they do not": (
        Findings((right, right), elsewhere=((wrong, wrong),)),
        "pass",
        "",
    ),
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
    "what some choice at a tie gives, right nearby": (
        Findings((tied_right, tied_right), sides=(chosen,), elsewhere=((exact_right, exact_right),)),
        "inconclusive",
        "another choice at the ties, or an error",
    ),
    "what some choice at a tie gives, wrong at another point": (
        Findings((tied_wrong, far_from_tie), sides=(chosen,), elsewhere=((exact_wrong, exact_wrong),)),
        "fail",
        "",
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
    "beyond a tie in every direction, and at one of the points close by": (
        Findings(
            (far_from_tie,) * 2,
            more=(far_from_tie,) * 4,
            elsewhere=((exact_right,) * 2,),
            close=((exact_right,) * 2, (exact_wrong,) * 2),
        ),
        "fail",
        "",
    ),
    "beyond a tie in every direction, and at none of the points close by": (
        Findings(
            (far_from_tie,) * 2, more=(far_from_tie,) * 4, elsewhere=((exact_right,) * 2,), close=((exact_right,) * 2,)
        ),
        "pass",
        "at a kink",
    ),
    "beyond a tie in some directions, and close by": (
        Findings(
            (far_from_tie,) * 2,
            more=(far_from_tie, tied_right),
            elsewhere=((exact_right,) * 2,),
            close=((exact_wrong,) * 2,),
        ),
        "pass",
        "at a kink",
    ),
    "beyond a tie, and the point nearby would not have seen as much": (
        Findings((far_from_tie,) * 2, elsewhere=((drowned, drowned),)),
        "inconclusive",
        "not at points nearby",
    ),
    "a tie, and nearby one of two differences disagrees": (
        Findings((tied_right, tied_right), elsewhere=((right, barely),)),
        "fail",
        "",
    ),
    "a tie, and nearby as sharp as the bar": (
        Findings((tied_right, tied_right), elsewhere=((at_the_bar,),)),
        "pass",
        "at a kink: checked at a point nearby, where it is not",
    ),
    "a tie, and at the second point nearby nothing hides": (
        Findings((tied_right, tied_right), elsewhere=((tied_right,) * 2, (right,) * 2)),
        "pass",
        "at a kink",
    ),
    "a kink even on both sides, and none at a point nearby where the gradient is zero": (
        Findings((even_kink, even_kink), elsewhere=((zero, zero),)),
        "pass",
        "at a kink",
    ),
    "a kink even on both sides in one direction of two, zero at the point nearby": (
        Findings((even_kink, tied_right), elsewhere=((zero, zero),)),
        "inconclusive",
        "a kink hides",
    ),
    "a kink even on both sides, and a point nearby where one slope is zero": (
        Findings((even_kink, tied_right), elsewhere=((zero, right, right),)),
        "pass",
        "at a kink",
    ),
    "two gaps beyond a tie, and nearby the larger would have been seen": (
        Findings((far_from_tie, barely_beyond_tie), elsewhere=((at_the_bar,),)),
        "pass",
        "at a kink",
    ),
    "beyond a tie by little, with all else known sharply": (
        Findings((barely_beyond_tie,) * 2, elsewhere=((right, right),)),
        "pass",
        "at a kink",
    ),
    "beyond a tie, and nearby one of two differences disagrees": (
        Findings((far_from_tie,) * 2, elsewhere=((right, barely),)),
        "inconclusive",
        "not at points nearby",
    ),
    "a gap beyond a tie, and nearby just that would have been seen": (
        Findings((thousandth_beyond_tie,) * 2, elsewhere=((thousandth_seen,),)),
        "pass",
        "at a kink",
    ),
    "within thirty times a small kink, right nearby": (
        Findings((beside_small_kink, blurred), elsewhere=((right, right),)),
        "pass",
        "at a kink",
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
    "a choice at the ties that neither side gives": (
        Findings((tied_right, tied_right), sides=(another,), elsewhere=((exact_right,) * 2,)),
        "inconclusive",
        "another choice at the ties",
    ),
    "a choice at the ties that neither side gives, wrong close by too": (
        Findings(
            (far_from_tie,) * 2,
            more=(far_from_tie,),
            sides=(another,),
            elsewhere=((exact_right,) * 2,),
            close=((exact_wrong,),),
        ),
        "fail",
        "",
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
    "f is not defined around params in one of two directions": (
        Findings((unknown, unknown._replace(numeric=0.7))),
        "inconclusive",
        "hides every error",
    ),
    "f is not defined around params, and elsewhere it is": (
        Findings((unknown, unknown), elsewhere=((right, right),)),
        "pass",
        "f is not defined on all sides of params",
    ),
    "a minimum, of which differences see the bend": (
        Findings((minimum, minimum), elsewhere=((right, right),)),
        "pass",
        "the gradient is zero at params",
    ),
    "a zero at an even kink": (
        Findings((nearly_even_kink, nearly_even_kink), elsewhere=((right, right),)),
        "pass",
        "at a kink",
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
    "a gradient of zero to rounding, and no other point is in the domain": (
        Findings((drowned._replace(analytic=0.0, size=0.0, tolerance=1e-3, kink=4e-4),) * 2, elsewhere=((), ())),
        "inconclusive",
        "hides",
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
    "f is not defined around params": (Findings((unknown, unknown)), "inconclusive", "f is not defined around"),
    "f did not change": (Findings((unchanged, unchanged), stepped=True), "inconclusive", "does it use its argument?"),
    "f did not change anywhere": (
        Findings((unchanged, unchanged), stepped=True, elsewhere=((unchanged, unchanged),)),
        "inconclusive",
        "does it use its argument?",
    ),
    "f did not change, and along one direction the gradient is zero too": (
        Findings((unchanged, unchanged._replace(analytic=0.0)), stepped=True),
        "inconclusive",
        "does it use its argument?",
    ),
    "f did not change here, and does elsewhere": (
        Findings((unchanged, unchanged), stepped=True, elsewhere=((stair, unchanged),)),
        "inconclusive",
        "f changes in steps",
    ),
    "f did not change here, and does in a further direction": (
        Findings((unchanged, unchanged), stepped=True, more=(stair,)),
        "inconclusive",
        "f changes in steps",
    ),
    "f changes in steps, and the gradient is zero": (
        Findings((drowned._replace(analytic=0.0, size=0.0, kink=1e-15),) * 2, stepped=True),
        "inconclusive",
        "a kink hides",
    ),
    "f is finite steps away alone, without stairs": (
        Findings((unchanged, unchanged)),
        "inconclusive",
        "rounding noise hides every error",
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
    "a gradient exactly as large as rounding": (
        Findings((drowned._replace(size=1e-15),) * 2),
        "inconclusive",
        "the gradient is zero here, as far as rounding",
    ),
    "a gradient of zero to rounding in one direction of two": (
        Findings((drowned, blurred)),
        "inconclusive",
        "rounding noise hides",
    ),
    "a gradient of zero to rounding, at a kink": (
        Findings((drowned._replace(tied=True),) * 2),
        "inconclusive",
        "a kink hides",
    ),
    "rounding hides most, and the largest error is at a kink": (
        Findings((blurred, blurred_at_kink)),
        "inconclusive",
        "a kink hides relative errors below",
    ),
    "a kink hides something, and the largest error is no kink's": (
        Findings((blurred, blurred_at_kink._replace(numeric=0.7))),
        "inconclusive",
        "rounding noise hides relative errors below",
    ),
    # single entries
    "an entry is wrong that no direction shows": (HERE._replace(worst=Worst(0.1, True, True, FINE)), "fail", ""),
    "an entry is off by 1e-4 of its size": (
        HERE._replace(worst=Worst(1e-4, True, True, FINE)),
        "inconclusive",
        "stands out of the noise",
    ),
    "an entry is off by 1e-6 of its size": (HERE._replace(worst=Worst(1e-6, True, True, FINE)), "pass", ""),
    "an entry is off by just below 1e-5 of its size": (
        HERE._replace(worst=Worst(9e-06, True, True, FINE)),
        "pass",
        "",
    ),
    "an entry is off by 1e-5 of its size": (
        HERE._replace(worst=Worst(1e-05, True, True, FINE)),
        "pass",
        "",
    ),
    "an entry is off by just above 1e-5 of its size": (
        HERE._replace(worst=Worst(1.1e-05, True, True, FINE)),
        "inconclusive",
        "stands out of the noise by more than 1e-5",
    ),
    "an entry is off by just below 1e-3 of its size": (
        HERE._replace(worst=Worst(0.0009, True, True, FINE)),
        "inconclusive",
        "stands out of the noise",
    ),
    "an entry is off by 1e-3 of its size": (
        HERE._replace(worst=Worst(0.001, True, True, FINE)),
        "inconclusive",
        "stands out of the noise",
    ),
    "an entry is off by just above 1e-3 of its size": (
        HERE._replace(worst=Worst(0.0011, True, True, FINE)),
        "fail",
        "",
    ),
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
    "an exact slope and a difference are wrong, and in float32 no entry is": (
        Findings((exact_wrong, wrong), worst=Worst(0.0, False, False, FINE)),
        "fail",
        "",
    ),
    "directions are wrong, and in float32 an entry is, by little": (
        Findings((wrong, wrong), worst=Worst(1e-6, True, False, FINE)),
        "fail",
        "",
    ),
    "directions are wrong, and in float32 entries would show the larger gap": (
        Findings((wrong, barely), worst=Worst(0.0, False, False, 1e-3)),
        "inconclusive",
        "no single entry bears out",
    ),
    "directions are wrong, and in float32 entries would show just as much": (
        Findings((wrong, wrong), worst=Worst(0.0, False, False, wrong.gap)),
        "fail",
        "",
    ),
    "an entry is wrong where another point shows the rest right": (
        Findings((blurred, blurred), elsewhere=((right, right),), worst=Worst(0.1, True, True, FINE)),
        "fail",
        "",
    ),
    # the parameters' own dtype
    "float32 is a rounding away": (HERE._replace(own=Own("float32", "float64", 1e-6, 1e-5, 1.0, 0.9)), "pass", ""),
    "float32 is a rounding away, by chance a factor": (
        HERE._replace(own=Own("float32", "float64", 1e-4, 1e-4, 1.0001, 1e-3)),
        "pass",
        "",
    ),
    "float32 is less away than anybody minds": (
        HERE._replace(own=Own("float32", "float64", 0.9e-5, 1e-7, 1.0, 0.9)),
        "pass",
        "",
    ),
    "float32 is exactly 1e-5 away": (HERE._replace(own=Own("float32", "float64", 1e-5, 1e-7, 1.0, 0.9)), "pass", ""),
    "float32 is more than 1e-5 away": (
        HERE._replace(own=Own("float32", "float64", 1.1e-5, 1e-7, 1.0, 0.9)),
        "pass",
        "right in float64, but 1e-05 of its size away from that in float32",
    ),
    "float32 is a factor away, but for a tenth": (
        HERE._replace(own=Own("float32", "float64", 1e-3, 1e-5, 1.001, 0.1)),
        "fail",
        "1.001 times the true one",
    ),
    "float32 is a factor away, but for more than a tenth": (
        HERE._replace(own=Own("float32", "float64", 2e-3, 1e-5, 1.002, 0.11)),
        "inconclusive",
        "0.002 of its size away",
    ),
    "float32 is as far away as the bar": (
        HERE._replace(own=Own("float32", "float64", 1e-3, 1e-5, 1.0, 0.9)),
        "pass",
        "0.001 of its size away",
    ),
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


@pytest.mark.parametrize("name", ["rounding hides the gradient", "one difference of six disagrees",
                                  "rounding hides it, and the other point is no sharper",
                                  "rounding hides it, and one more direction is wrong"])  # fmt: skip
def test_float64_is_advised_to_those_who_do_not_have_it(name):
    found, _, _ = SITUATIONS[name]
    assert "float64" not in judge(found).reason
    assert "try float64" in judge(found._replace(epsilon=2.0**-23)).reason


def test_a_pass_states_what_it_would_have_seen():
    for found, verdict, _ in SITUATIONS.values():
        if verdict == "pass":
            assert judge(found).resolution <= bar(found.epsilon)
    assert judge(HERE).resolution == resolution(HERE.here)
    assert judge(HERE._replace(own=Own("float32", "float64", 1e-4, 1e-5, 1.0, 0.9))).resolution == 1e-4


def test_the_probes_that_decide_are_those_here_unless_another_point_clears_them():
    there = (right, exact_right)
    for found in (HERE, Findings((right,), more=(right,)), HERE._replace(elsewhere=(there,))):
        assert judge(found).probes == (right, right)
    for found in (Findings((blurred, blurred), elsewhere=(there,)), Findings((far_from_tie,) * 2, elsewhere=(there,))):
        for worst, verdict in ((None, "pass"), (Worst(0.1, True, True, FINE), "fail")):
            judgement = judge(found._replace(worst=worst))
            assert (judgement.verdict, judgement.probes) == (verdict, there)
    wrong_there = (right, barely)
    assert judge(Findings((blurred, blurred), elsewhere=(wrong_there,))).probes == wrong_there
    for found in (Findings((wrong, wrong)), Findings((blurred, blurred)), Findings((wrong, right))):
        assert judge(found).probes == found.here
    lost = Own("float32", "float64", 0.05, 1e-5, 1.0, 0.99)
    assert judge(HERE._replace(own=lost)).probes == HERE.here
    assert judge(Findings((blurred, blurred), elsewhere=(there,), own=lost)).probes == there


# --- kinks -----------------------------------------------------------------------------------------------------------

CONVEX, FALLING, FLAT = (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)


@pytest.mark.parametrize(
    ("situation", "sides", "verdict", "position"),
    [
        ("nothing ties", [], "", None),
        ("between the sides", [Sides(0, 0.3, *CONVEX, (), 1e-9)], "", None),
        ("on a side, to rounding", [Sides(0, 1.0 + 1e-10, *CONVEX, (), 1e-9)], "", None),
        ("beyond both", [Sides(0, 1.1, *CONVEX, CONVEX, 1e-9)], "fail", 0),
        ("beyond both, concave", [Sides(0, -1.1, *FALLING, (-1.0, 1.0), 1e-9)], "fail", 0),
        ("beyond both by less than is known", [Sides(0, 1.1, *CONVEX, (-2.0, 2.0), 1e-9)], "inconclusive", 0),
        ("sides that agree", [Sides(0, 0.0, *FLAT, (0.0, 2.0), 1e-9)], "inconclusive", 0),
        ("sides that agree, far beyond", [Sides(0, 9.0, *FLAT, (0.0, 2.0), 1e-9)], "fail", 0),
        ("no number", [Sides(0, math.nan, *CONVEX, CONVEX, 1e-9)], "fail", 0),
        ("the second of two", [Sides(4, 0.0, *CONVEX, (), 0.0), Sides(7, 2.0, *CONVEX, CONVEX, 0.0)], "fail", 7),
        ("a failure after a doubt", [Sides(4, 0.0, *FLAT, (0, 2), 0), Sides(7, 2.0, *CONVEX, CONVEX, 0.0)], "fail", 7),
        ("together, all convex",
         [*(Sides(i, 0.0, *CONVEX, (), 0.0) for i in (1, 2)), Sides(None, 3.0, -2.0, 2.0, (-2, 2), 0)], "fail", None),
        ("together, all concave",
         [*(Sides(i, 0.0, *FALLING, (), 0.0) for i in (1, 2)), Sides(None, 3.0, 2.0, -2.0, (-2, 2), 0)], "fail", None),
        ("together, bent both ways",
         [Sides(1, 0.0, *CONVEX, (), 0.0), Sides(2, 0.0, *FALLING, (), 0.0), Sides(None, 3.0, -2.0, 2.0, (-2, 2), 0)],
         "inconclusive", None),
        ("together, bent both ways, by some choice",
         [Sides(1, 0.0, *CONVEX, (), 0.0), Sides(2, 0.0, *FALLING, (), 0.0), Sides(None, 2.0, 0.0, 0.0, (-2, 2), 0)],
         "", None),
        ("together, and no entry beyond its sides", [Sides(None, 3.0, -2.0, 2.0, (-2, 2), 0)], "fail", None),
        ("together, sides that agree", [Sides(None, 3.0, 2.0, 2.0, (1, 2), 0)], "inconclusive", None),
        ("together, convex beside a tie that is no kink",
         [Sides(1, 0.0, *CONVEX, (), 0.0), Sides(2, 1.0, *FLAT, (), 0.0), Sides(None, 3.0, -2.0, 2.0, (-2, 2), 0)],
         "fail", None),
        ("together, sides that agree to rounding", [Sides(None, 3.0, 2.0, 2.25, (1, 2.25), 0.25)],
         "inconclusive", None),
        ("a doubt, then together another", [Sides(4, 0.0, *FLAT, (0, 2), 0), Sides(None, 3.0, 2.0, 2.0, (1, 2), 0)],
         "inconclusive", 4),
        ("the first of two doubts", [Sides(4, 0.0, *FLAT, (0, 2), 0), Sides(7, 0.0, *FLAT, (0, 2), 0)],
         "inconclusive", 4),
        ("the first of two doubts, at the first entry",
         [Sides(0, 0.0, *FLAT, (0, 2), 0), Sides(7, 0.0, *FLAT, (0, 2), 0)], "inconclusive", 0),
    ],
)  # fmt: skip
def test_the_judgement_of_sides(situation, sides, verdict, position):
    assert impossible(sides)[:2] == (verdict, position), situation


def test_the_sentence_on_a_kink_names_slopes_gradient_and_what_may_be_meant():
    def sentence(*sides):
        return impossible([Sides(*sides)])[2]

    assert (
        sentence(0, 5.0, -1.0, 1.0, (), 0.0)
        == "at a kink, the slopes on the two sides are -1 and 1; the gradient has 5"
    )
    assert sentence(None, 5.0, -1.0, 1.0, (), 0.0) == (
        "at a kink of several entries together, the slopes on the two sides are -1 and 1; the gradient predicts 5"
    )
    assert sentence(0, 0.0, 1.0, 1.0, (0.0, 2.0), 0.0) == (
        "at a kink, the slope on both sides is 1; the gradient has 0: another choice at the ties, or an error"
    )


@pytest.mark.parametrize(("left", "right", "bend"), [(-1, 1, 1), (1, -1, -1), (1, 1.25, 0), (1.25, 1, 0), (0, 0, 0)])
def test_slopes_bend_if_they_differ_by_more_than_rounding(left, right, bend):
    assert Sides(0, 0.0, left, right, (), 0.25).bend == bend


def test_outside_is_beyond_the_lowest_and_the_highest_by_more_than_rounding():
    for analytic, outside in ((-1.25, False), (-1.5, True), (0.0, False), (2.25, False), (2.5, True), (math.nan, True)):
        assert Sides(0, analytic, 0.0, 0.0, (), 0.25).outside(2.0, 0.5, -1.0) == outside


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
    "points further away, until seven": (
        Findings((blurred, blurred), more=(blurred,) * 4, elsewhere=((),) * 6),
        "elsewhere",
    ),
    "points nearby, until three, if it is wrong here": (
        Findings((far_from_tie,) * 2, more=(far_from_tie,) * 4, elsewhere=((),) * 2),
        "elsewhere",
    ),
    "points nearby, if a single difference of six disagrees": (
        Findings((wrong, right), more=(right,) * 4),
        "elsewhere",
    ),
    "nothing, if directions resolve just as much as is needed": (Findings((at_the_bar,)), ""),
    "nothing, if more directions resolve it": (Findings((blurred, blurred), more=(right,) * 4), ""),
    "nothing close by, if nothing is wrong here": (
        Findings((blurred, blurred), more=(blurred,) * 4, elsewhere=((right, right),)),
        "",
    ),
    "more, at a tie that may be another choice's": (
        Findings((tied_right, tied_right), sides=(another,)),
        "more",
    ),
    "more directions, if what is exact agrees and a difference does not": (Findings((exact_right, wrong)), "more"),
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


@pytest.mark.parametrize(
    "tolerances", [(1e-9, 1e-9), (1e-9, 1e-3), (1e-3, 2e-3, 4e-3), (1e-3,), (1e-3,) * 6, (3.0, 5.0)], ids=str
)
def test_an_error_as_large_as_the_resolution_is_missed_once_in_a_hundred(tolerances):
    r = resolution([Probe(0.0, 0.0, t, 1.0) for t in tolerances])
    # a dense error changes each slope by a normal variable with a standard deviation of r
    missed = math.prod(math.erf(t / r / math.sqrt(2.0)) for t in tolerances)
    seen_by_half = r == pytest.approx(
        2.5 * min(tolerances), rel=1e-12, abs=0.0
    )  # of one entry: at least half of its size, and clearly
    assert missed < 0.01
    assert missed > 0.009 or seen_by_half
    assert r >= 2.5 * min(tolerances)


@pytest.mark.parametrize("directions", [6, 8])
def test_six_slopes_agree_as_closely_as_they_do_by_chance_once_in_a_hundred(directions):
    gaps = np.linspace(0.2, 1.0, directions) * 1e-3
    r = agreement([Probe(0.7 + gap, 0.7, 0.05, 1.0) for gap in gaps])
    errors = r / 1.25 * np.random.default_rng(0).standard_normal((200_000, directions))
    assert 0.005 < np.mean(np.all(np.abs(errors) <= 1e-3, axis=1)) < 0.0105
    assert agreement([coarse] * 5) == agreement([*[coarse] * 6, unknown]) == math.inf
    assert agreement([coarse._replace(entry=(0,))] * 6) == agreement([coarse._replace(tied=True)] * 6) == math.inf


def test_a_resolution_that_suffices_is_stated_though_slopes_agree_more_closely_by_chance():
    six = (right._replace(analytic=right.numeric),) * 6
    assert agreement(six) == 0.0 < resolution(six) < 1e-3
    assert judge(Findings(six)).resolution == resolution(six)


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
    assert resolution([]) == resolution([right._replace(as_one=True)]) == 0.0
    assert resolution([zero, right]) == 0.0
    assert math.isclose(resolution([right._replace(entry=(0,)), wrong_second]), 1.25 * math.sqrt(2.0) * FINE)


def test_the_bar_is_the_textbooks_or_what_the_dtype_can_tell():
    assert bar(2.0**-52) == bar(2.0**-23) == 1e-3
    assert (bar(2.0**-10), bar(2.0**-7)) == (2.0**-4, 0.5)  # 64 roundings


# --- several arrays ----------------------------------------------------------------------------------------------


def evidence(*far, frozen=False, found=(HERE, HERE)):
    return Evidence(None, ((0,), (0,)), found, far, frozen)


def test_together_gradients_may_be_wrong_though_each_is_right():
    apart = evidence(found=(HERE, Findings((exact_wrong,))))
    assert together(["pass"] * 2, apart) == ("the gradients are right one by one, but not together",)
    assert together(["fail", "pass"], apart) == ()
    assert together(["pass"] * 2, evidence()) == ()
    disagreeing, agreeing = Findings((exact_wrong,)), Findings((exact_right,))
    # the last group is all together
    assert together(["pass"] * 2, evidence(found=(HERE, disagreeing, agreeing))) == ()
    # of one array, or where one is in doubt, nobody can say that each is right
    for verdicts in (["pass"], ["pass", "inconclusive"]):
        assert together(verdicts, apart) == ("grad is wrong along a random direction through all arrays",)


def test_together_gradients_at_kinks_are_told_the_slopes():
    joint = beyond._replace(position=None)
    (sentence,) = together(["pass"] * 2, evidence(found=(HERE, HERE, Findings((tied_right,), sides=(joint,)))))
    assert sentence.startswith("the gradients are right one by one, but not together: at a kink of several entries")
    assert "are -1 and 1; the gradient predicts 5" in sentence


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
    (sentence,) = together(["pass"] * 2, evidence(*away, found=(Findings((zero,)), HERE, HERE)))
    assert sentence.startswith("grad is right at params and wrong")
    for others in (away[:2], (*away[:2], (right,)), (*away[:2], (tied_wrong,)), ((right,),)):
        assert together(["pass"], evidence(*others)) == ()


def test_the_first_to_look_at_is_the_failing_array_nearest_to_the_loss():
    names = ("W1", "b1", "W2", "b2")
    assert blame(names, ["fail", "fail", "fail", "pass"]) == (
        "W2, the nearest to the loss; b2 behind it is right; "
        "what is upstream of it may have inherited its error (2 more)"
    )
    assert blame(names, ["pass", "pass", "pass", "fail"]) == "b2, the nearest to the loss"
    assert blame(names, ["pass", "fail", "pass", "inconclusive"]) == (
        "b1, the nearest to the loss; W2 behind it is right"
    )
    assert blame(names, ["fail", "fail", "inconclusive", "inconclusive"]) == (
        "b1, the nearest to the loss; what is upstream of it may have inherited its error (1 more)"
    )
    assert blame(names, ["pass"] * 4) == blame(("W",), ["fail"]) == ""


def test_the_worst_verdict_of_all_is_that_of_the_run():
    verdicts = ["pass", "inconclusive", "fail"]
    for better, worse in pairwise(verdicts):
        assert overall([better, worse, better], ()) == worse
    assert overall(["pass"], ("a broken promise",)) == "fail"
    for verdict in verdicts:
        assert overall([verdict, verdict], ()) == verdict
    assert overall([], ()) == "pass"
