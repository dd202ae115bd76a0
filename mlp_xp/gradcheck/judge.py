"""From the evidence to a verdict and its reason. Every verdict of the checker is decided here, from numbers alone.

The lines of ``judge`` are read from top to bottom; the first that applies decides. ``wanted`` says which further
evidence could still change what they decide, so that no more is measured than is needed.

Before: ``evidence``. Next: ``elsewhere`` measures what is wanted, ``explain`` puts a failure in words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from mlp_xp.gradcheck.evidence import Evidence, Findings, Own, Probe, Sides

Verdict: TypeAlias = Literal["pass", "fail", "inconclusive"]

# The textbook's rule (CS231n, Gradient checks): a relative error below the first is right, above the second a bug. A
# check passes only if it would have seen the second.
RIGHT, WRONG = 1e-5, 1e-3

# The epsilon of float64: nobody is told to try what is used already.
_DOUBLE = 2.0**-52

# In coarse dtypes the gradient itself has no more digits: there a check passes if it would have seen so many roundings.
_COARSE_ROUNDINGS = 64.0

# A random error is missed with at most this probability if it is as large as the stated resolution.
_MISSED = 0.01

# A normal variable lies within t standard deviations of 0 with a probability of at most this times t: sqrt(2 / pi).
_DENSITY = math.sqrt(2.0 / math.pi)

# An error is seen for sure only if it is clearly larger than what is allowed: part of that is taken already.
_CLEARLY = 1.25

# Differences from a few values may underestimate their uncertainty once: so many directions must contradict a gradient.
_WITNESSES = 2

# So many directions that agree tell by their agreement alone.
_MANY = 6

# How many other points are asked: about what is wrong here, then about what is hidden here.
NEARBY, AWAY = 3, 4

# At so many other points a gradient that is right at params must be wrong to be refused.
FAR = 3

# What is left of a difference between two dtypes once a common factor is taken out, if it is one.
_REST = 0.1


class Judgement(NamedTuple):
    """The verdict, why, the probes by which it was reached, and what they would have seen."""

    verdict: Verdict
    reason: str
    probes: tuple[Probe, ...]
    resolution: float = math.inf


def judge(found: Findings) -> Judgement:
    """The verdict on one group of arrays."""
    judgement = _judged(found)
    return judgement._replace(resolution=max(_seen(judgement.probes, found.epsilon), found.own.share))


def _judged(found: Findings) -> Judgement:
    here = (*found.here, *found.more)
    wrong = [p for p in here if p.wrong]
    cleared = _cleared(found)
    at_kink, _, sides = impossible(found.sides)

    # a gradient that is wrong where f is smooth is wrong, whatever it is at other points
    if contradicted(here):
        largest = max(p.gap for p in wrong)
        silent = found.worst and not (found.worst.seen or found.worst.fine) and found.worst.resolution < largest
        if silent and not any(p.exact for p in wrong):
            # slopes of a function with many kinks that computes in float32 alone were seen to be 1% off
            why = "slopes along random directions are off, which no single entry bears out; try a function of float64"
            return Judgement("inconclusive", why, here)
        return Judgement("fail", "", here)
    if at_kink == "fail":
        return Judgement("fail", sides, here)
    if _confirmed(found):
        return Judgement("fail", "", here)
    if at_kink == "inconclusive" and not any(map(_wrong_throughout, found.elsewhere)):
        return Judgement("inconclusive", sides, here)

    # what a kink or rounding hides here, another point may show; but where f is smooth no other point clears a gradient
    if wrong and (cleared is None or not all(p.at_kink for p in wrong)):
        if any(_wrong_throughout(there) for there in found.elsewhere):
            return Judgement("fail", "", here)
        advice = "another point" if found.epsilon <= _DOUBLE else "float64"
        why = f"the two differ here by more than the noise that was measured, and not at points nearby; try {advice}"
        return Judgement("inconclusive", why, here)
    deciding = here
    if doubtful := bool(wrong) or _seen(here, found.epsilon) > bar(found.epsilon):
        if cleared is None:
            return Judgement("inconclusive", _hidden(found), here)
        if contradicted(cleared, 1):
            return Judgement("fail", "", cleared)
        deciding = cleared

    # single entries, and the parameters' own dtype
    if found.worst and found.worst.excess > WRONG:
        return Judgement("fail", "", deciding)
    if found.worst and found.worst.excess > RIGHT:
        why = "an entry stands out of the noise by more than 1e-5 of its size, but not by 1e-3"
        return Judgement("inconclusive", why, deciding)
    lost = _lost(found.own, bar(found.epsilon))
    if lost.verdict != "pass":
        return lost._replace(probes=deciding)
    if doubtful:
        return Judgement("pass", _left_open(here, deciding), deciding)
    return lost._replace(probes=deciding)


def wanted(found: Findings) -> Literal["", "more", "elsewhere", "close"]:
    """The evidence that could still change the verdict: more directions, other points, or points close by."""
    here = (*found.here, *found.more)
    wrong = [p for p in here if p.wrong]
    if contradicted([p for p in wrong if p.exact]) or impossible(found.sides)[0] == "fail":
        return ""
    if not wrong and _seen(here, found.epsilon) <= bar(found.epsilon):
        return ""
    if not found.more:
        return "more"
    if contradicted(here):
        return ""
    if _cleared(found) is None:
        return "elsewhere" if len(found.elsewhere) < NEARBY + (0 if wrong else AWAY) else ""
    return "close" if wrong and not found.close else ""


# --- single questions ------------------------------------------------------------------------------------------------


def bar(epsilon: float) -> float:
    """The largest resolution with which a check passes."""
    return max(WRONG, _COARSE_ROUNDINGS * epsilon)


def resolution(probes: Sequence[Probe]) -> float:
    """The relative norm of a random error, dense or in one entry, that these probes miss with a probability of 1%.

    A dense error e of that norm r changes the slope along a random direction by a normal variable with a standard
    deviation of about r: with k directions of relative tolerances t it is missed with the probability
    ``prod sqrt(2 / pi) t / r``. One entry changes it by at least r / 2. Directions that tell less than others are left
    out. Single entries that were each moved by themselves miss nothing beyond their tolerances.
    """
    probes = [p for p in probes if not p.as_one]
    if any(p.entry is not None for p in probes):
        best: dict[tuple[int, ...] | None, float] = {}
        for p in probes:
            best[p.entry] = min(_share(p), best.get(p.entry, math.inf))
        return _CLEARLY * math.hypot(*best.values())
    sharpest = sorted(map(_share, probes))
    if not sharpest or sharpest[0] == 0.0:
        return 0.0

    def dense(k: int) -> float:
        return _DENSITY * math.exp(math.fsum(map(math.log, sharpest[:k])) / k) * math.pow(_MISSED, -1.0 / k)

    return max(_CLEARLY * 2.0 * sharpest[0], min(dense(k) for k in range(1, len(sharpest) + 1)))


def agreement(probes: Sequence[Probe]) -> float:
    """The relative norm of a random error with which slopes agree as closely as these with a probability of 1%.

    What rounding allows is not asked: an error of that norm r changes each slope by a normal variable with a standard
    deviation of about r, and the largest of k differences is no larger than g with the probability
    ``(sqrt(2 / pi) g / r)^k``. So many coarse slopes that agree tell more than each of them.
    """
    gaps = [p.gap if p.scale and math.isfinite(p.numeric) else math.inf for p in probes if not p.as_one]
    if len(gaps) < _MANY or any(p.entry is not None or p.kinked for p in probes):
        return math.inf
    return _CLEARLY * _DENSITY * max(gaps) * math.pow(_MISSED, -1.0 / len(gaps))


def _seen(probes: Sequence[Probe], epsilon: float) -> float:
    """The resolution; where rounding allows too much, by how closely the slopes agree."""
    by_tolerance = resolution(probes)
    return by_tolerance if by_tolerance <= bar(epsilon) else min(by_tolerance, agreement(probes))


def _share(p: Probe) -> float:
    """The tolerance as a share of the gradient; 0 if f does not change and the gradient agrees.

    At a kink that is even on both sides f changes although its slope is 0: nothing would have been seen.
    """
    return p.tolerance / p.scale if p.scale else math.inf if p.kinked else 0.0


def contradicted(probes: Sequence[Probe], witnesses: int = _WITNESSES) -> bool:
    """Whether these probes refuse a gradient by themselves: f is smooth there, and its slope is known."""
    smooth = [p for p in probes if p.wrong and not p.at_kink]
    return any(p.exact for p in smooth) or len(smooth) >= witnesses


def _wrong_throughout(probes: Sequence[Probe]) -> bool:
    """Whether all random directions are wrong, or any of the single entries."""
    return bool(probes) and (all if probes[0].entry is None else any)(p.wrong for p in probes)


def _confirmed(found: Findings) -> bool:
    """Whether what is wrong here is so along other directions, and close by too: a mistake in a few entries, say."""
    return _wrong_throughout(found.more) and any(map(_wrong_throughout, found.close))


def _cleared(found: Findings) -> tuple[Probe, ...] | None:
    """The probes at the first point that ends the doubt about this one."""
    return next((there for there in found.elsewhere if _clears(there, (*found.here, *found.more), found.epsilon)), None)


def _clears(there: Sequence[Probe], here: Sequence[Probe], epsilon: float) -> bool:
    """Whether probes at another point end the doubt: they would have seen an error as large, or as large as matters."""
    if not there or (any(p.size for p in here) and not any(p.size for p in there)):
        return False  # where the gradient is zero, nothing is shown of one that is not
    gaps = [p.gap for p in here if p.wrong]
    if not gaps:
        return _seen(there, epsilon) <= bar(epsilon)
    return resolution(there) <= min(bar(epsilon), max(gaps)) and not any(p.wrong for p in there)


def _hidden(found: Findings) -> str:
    """What hides the gradient."""
    probes = (*found.here, *found.more)
    if found.stepped and any(p.analytic and not p.exact for p in probes):
        if not any(p.numeric for p in (*probes, *(p for there in found.elsewhere for p in there))):
            return "f did not change: does it use its argument?"
        return "f changes in steps: is it rounded on the way, or a count?"
    if all(math.isnan(p.numeric) for p in probes):
        return "f is not defined around params, neither nearby nor further away: try a point inside its domain"
    if all(p.size <= p.tolerance < math.inf and not p.kinked for p in probes):
        return "the gradient is zero here, as far as rounding shows; weight the outputs, or try another point"
    why, advice = "rounding noise", "weights that saturate less, or a loss with a larger gradient"
    if found.epsilon > _DOUBLE:
        advice = f"float64, {advice}"
    if max(probes, key=lambda p: p.relative_error).kinked:
        why, advice = "a kink", "another point"
    smallest = _seen(probes, found.epsilon)
    errors = f"relative errors below {smallest:.1e}" if math.isfinite(smallest) else "every error"
    return f"{why} hides {errors}; try {advice}"


def _left_open(here: Sequence[Probe], there: Sequence[Probe]) -> str:
    """Why probes at params left open what those at another point, ``there``, have shown."""
    large = max(p.scale for p in there)
    # a minimum is even as |x| is, and differences see the least bend: a kink is one beside the slopes nearby
    if any(p.wrong or p.tied or p.kink > WRONG * large for p in here):
        return "at a kink: checked at a point nearby, where it is not"
    if any(math.isnan(p.numeric) for p in here):
        return "f is not defined on all sides of params: checked elsewhere, where it is"
    if not any(p.size for p in here):
        return "the gradient is zero at params: checked elsewhere, where it is not"
    return "hidden by rounding at params: checked elsewhere, where it is not"


def _lost(own: Own, allowed: float) -> Judgement:
    """What the parameters' own dtype does to the gradient."""
    away = f"right in {own.judged}, but {own.share:.1g} of its size away from that in {own.dtype}"
    if own.share > own.rounding and own.rest <= _REST:  # no rounding is a common factor
        return Judgement("fail", f"{away}, which is {own.factor:.6g} times the true one", ())
    if own.share > allowed:
        return Judgement("inconclusive", away, ())
    return Judgement("pass", away if own.share > max(own.rounding, RIGHT) else "", ())


# --- kinks -----------------------------------------------------------------------------------------------------------


Finding: TypeAlias = tuple[Literal["fail", "inconclusive", ""], int | None, str]
"""A verdict, the position that it is about (None: several, or nothing), and a sentence."""


def impossible(sides: Sequence[Sides]) -> Finding:
    """Whether no choice at the kinks gives this gradient; ``("", None, "")`` if nothing speaks against it.

    What no choice gives fails. What some choice gives along a coordinate, though neither side does, is inconclusive:
    ``relu(x) - relu(-x)`` is x, and relu'(0) = 0 gives it a slope of 0. Several coordinates together speak only against
    what no choice gives, and fail only if all of them bend one way, as those of a convex function do.

    >>> impossible([Sides(3, 5.0, -1.0, 1.0, (-1.0, 1.0), 1e-12)])
    ('fail', 3, 'at a kink, the slopes on the two sides are -1 and 1; the gradient has 5')
    >>> impossible([Sides(3, 0.0, -1.0, 1.0, (), 1e-12)])
    ('', None, '')
    """
    bends = {each.bend for each in sides if each.position is not None} - {0}
    found: Finding = ("", None, "")
    for each in sides:
        if not each.outside(each.left, each.right):
            continue
        beyond, together = each.outside(each.left, each.right, *each.branches), each.position is None
        if beyond and not (together and (len(bends) > 1 or not each.bend)):
            return "fail", each.position, _sentence(each)
        if not found[0] and (beyond or not together):
            found = ("inconclusive", each.position, f"{_sentence(each)}: another choice at the ties, or an error")
    return found


def _sentence(sides: Sides) -> str:
    left, right, analytic = (f"{slope + 0.0:.6g}" for slope in (sides.left, sides.right, sides.analytic))  # no -0
    slopes = f"slopes on the two sides are {left} and {right}" if sides.bend else f"slope on both sides is {right}"
    verb = "has" if sides.position is not None else "predicts"
    where = "" if sides.position is not None else " of several entries together"
    return f"at a kink{where}, the {slopes}; the gradient {verb} {analytic}"


# --- several arrays ----------------------------------------------------------------------------------------------


def together(verdicts: Sequence[Verdict], evidence: Evidence) -> tuple[str, ...]:
    """What is wrong, as a sentence, if no array fails by itself: all together, or at other points."""
    if "fail" in verdicts:
        return ()
    all_of_them = judge(evidence.found[-1])
    if all_of_them.verdict == "fail":
        why = f": {all_of_them.reason}" if all_of_them.reason else ""
        if len(verdicts) == 1 or "inconclusive" in verdicts:
            return (f"grad is wrong along a random direction through all arrays{why}",)
        return (f"the gradients are right one by one, but not together{why}",)
    if len(evidence.far) < FAR or not all(contradicted(there, 1) for there in evidence.far):
        return ()
    if evidence.frozen:
        return ("grad returns the gradient at params at other points too: a stale cache",)
    if not any(p.size for found in evidence.found for p in found.here):
        return ("grad is right at params, where it is zero, and wrong elsewhere",)
    why = "a coincidence of this point, such as ones, zeros or a symmetric matrix, or something kept of the first call"
    if "inconclusive" in verdicts:
        return (f"grad is wrong at {FAR} of {FAR} other points",)
    return (f"grad is right at params and wrong at {FAR} of {FAR} other points: {why}",)


def blame(names: Sequence[str], verdicts: Sequence[Verdict]) -> str:
    """Where to look first, for arrays in the order of the forward pass, as parameters are usually given.

    The backward pass goes from the last to the first: all that is upstream inherits an error near the loss.
    """
    failed = [i for i, verdict in enumerate(verdicts) if verdict == "fail"]
    if not failed or len(names) == 1:
        return ""
    last = failed[-1]
    where = f"{names[last]}, the nearest to the loss"
    inherited = f"; what is upstream of it may have inherited its error ({len(failed) - 1} more)" if failed[:-1] else ""
    right = [names[i] for i in range(last, len(names)) if verdicts[i] == "pass"]
    between = f"; {right[0]} behind it is right" if right else ""
    return where + between + inherited


def overall(verdicts: Iterable[Verdict], broken: Sequence[str]) -> Verdict:
    """The worst verdict of all; "fail" if the gradient function breaks a promise."""
    found = set(verdicts)
    if "fail" in found or broken:
        return "fail"
    return "inconclusive" if "inconclusive" in found else "pass"
