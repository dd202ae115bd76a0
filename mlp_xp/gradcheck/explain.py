"""A wrong gradient in words: its cause if its numbers show one, else where it is wrong.

A pattern is named only if it explains the whole error; if none does, the sentence says where the error is instead of
guessing.

Before: ``patterns`` lists the patterns. Next: ``report``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np  # on the host alone: indices

from mlp_xp._lib.namespace import namespace
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.arrays import how_many, largest, norm
from mlp_xp.gradcheck.entries import Entries
from mlp_xp.gradcheck.evidence import LocalGradient, Probe
from mlp_xp.gradcheck.factors import Factor, in_digits, with_a_name
from mlp_xp.gradcheck.patterns import CONSTANTS, PATTERNS, Match, Wrong, factor_of, with_a_term
from mlp_xp.gradcheck.report import TensorReport

# for each axis the indices of some entries, on the host
Indices: TypeAlias = tuple[Any, ...]

# --- hypotheses --------------------------------------------------------------------------------------------------

# How closely a hypothesis must agree, in roundings: both sides were computed by hand, in one dtype.
_SAME_ROUNDINGS = 1e4


def with_hypotheses(
    rows: Sequence[TensorReport], gradient: Sequence[Array], wrong: Mapping[str, Sequence[Array]]
) -> list[TensorReport]:
    """``rows``; the failed ones with the name of the hypothesis whose gradients are those returned.

    A hypothesis that agrees in all arrays, right ones included, goes before a pattern seen in the numbers. One that
    agrees in the wrong arrays alone counts only where no pattern was found.
    """
    failed = [i for i, row in enumerate(rows) if row.verdict == "fail"]
    agree = {name: [_same(a, b) for a, b in zip(gradient, other, strict=True)] for name, other in wrong.items()}
    everywhere = next((name for name, agreed in agree.items() if all(agreed)), "")
    where_wrong = next((name for name, agreed in agree.items() if all(agreed[i] for i in failed)), "")
    explained = list(rows)
    for i in failed:
        if cause := everywhere or (where_wrong if not rows[i].explained else ""):
            explained[i] = replace(rows[i], diagnosis=cause, explained=True)
    return explained


def in_other_convention(rows: Sequence[TensorReport], wirtinger: str) -> list[TensorReport]:
    """``rows``; if imaginary parts alone are wrong, and by their sign, with the option that means that convention."""
    failed = [row for row in rows if row.verdict == "fail"]
    if not all(row.name.endswith(".imag") and row.diagnosis == "the sign is wrong" for row in failed):
        return list(rows)
    other = "plain" if wirtinger == "conjugate" else "conjugate"
    cause = f"the complex conjugate of what belongs here: if that is meant, check with wirtinger={other!r}"
    return [replace(row, diagnosis=cause) if row.verdict == "fail" else row for row in rows]


def _same(a: Array, b: Array) -> bool:
    xp = namespace(a)
    slack = _SAME_ROUNDINGS * float(xp.finfo(a.dtype).eps)
    return tuple(a.shape) == tuple(b.shape) and largest(xp, a - b) <= slack * largest(xp, b)


# --- diagnosis ---------------------------------------------------------------------------------------------------

# What a pattern may leave of the error of an entry: above the rounding of its own arithmetic, far below a coincidence.
_CLOSE = 1e-5

# What it may leave of the largest error in every entry: the rounding of a fit that the large entries decide.
_OF_LARGEST = 1e-9

# Chance explains an error with at most this probability.
_LUCK = 1e-2

# A gradient of no more than so many roundings of the true one is zero, such as a sum that cancels; and the other way
# round.
_NOTHING = 100.0


def diagnose(here: LocalGradient, leaf: int, entries: Entries, probes: Sequence[Probe]) -> tuple[bool, str]:
    """Whether the cause of a wrong gradient is known, and a sentence: the cause, or where it is wrong.

    Args:
        here: the gradient at params.
        leaf: which array of it is wrong.
        entries: some or all of the entries of that array, with numeric values.
        probes: of that array; at least one is wrong.
    """
    with np.errstate(all="ignore"):  # a pattern that overflows does not agree
        return _diagnose(here, leaf, entries, probes)


def _diagnose(here: LocalGradient, leaf: int, entries: Entries, probes: Sequence[Probe]) -> tuple[bool, str]:
    gradient = here.gradient[leaf]
    xp = namespace(gradient)
    error = xp.abs(entries.analytic - entries.numeric)
    wrong = error > entries.uncertainty
    nothing = _NOTHING * xp.finfo(gradient.dtype).eps * largest(xp, entries.numeric)
    # probes at another point may show another error, where the true gradient is zero here
    missing = bool(xp.any(wrong)) or any(p.wrong and p.analytic == 0.0 for p in probes)
    if missing and largest(xp, gradient) <= nothing:
        return True, "the gradient is zero everywhere"
    if not bool(xp.any(wrong)):
        return _hidden(xp, gradient, entries, probes)
    suspect = _suspect(here, leaf, entries)
    if _is_nothing(xp, entries):
        term = _first(suspect, (m for m in with_a_term(suspect) if "constant" not in m.sentence))
        flat = all(p.exact and p.numeric == 0.0 for p in probes)
        cause = _FLAT if flat else "does f use this array?"
        return bool(term), term or f"the true gradient is zero here, and this one is not: {cause}"
    if how_many(xp, wrong) == 1 < len(entries.positions) - 1 or _dead_lines(suspect, wrong):
        return False, _where(suspect, wrong)
    if cause := _first(suspect, (match for pattern in PATTERNS for match in pattern(suspect))):
        return True, cause
    if math.prod(gradient.shape) == 1 and (factor := factor_of(suspect)):
        return False, in_digits(factor)  # true of any number, so no cause
    if (factor := _common_factor(probes)) and _fits(suspect, factor):
        return True, with_a_name(factor) or in_digits(factor)  # the directions are surer than the entries
    share = norm(xp, error) / (norm(xp, entries.numeric) or math.inf)
    scattered = _scattered(xp, entries, wrong)
    if coarse := _low_precision(xp, gradient, share, scattered):
        return True, coarse
    many = 2 * how_many(xp, wrong) >= len(entries.positions)
    return False, (_agreement(share) if many else "") or _where(suspect, wrong)


def _suspect(here: LocalGradient, leaf: int, entries: Entries) -> Wrong:
    gradient = here.gradient[leaf]
    others, params = (
        {name: array for i, (name, array) in enumerate(zip(here.flat.names, arrays, strict=True)) if i != leaf}
        for arrays in (here.gradient, here.local.point)
    )
    point, value = here.local.point[leaf], here.local.value
    epsilon = max(float(namespace(x).finfo(x.dtype).eps) for x in here.flat.arrays)
    return Wrong(namespace(gradient), point, gradient, others, params, value, epsilon, *entries)


def _first(w: Wrong, matches: Iterator[Match]) -> str:
    """The sentence of the first match that explains the error; or ""."""
    return next((match.sentence for match in matches if _explains(w, match)), "")


def _explains(w: Wrong, match: Match) -> bool:
    """Whether the two sides of ``match`` agree in all entries, and not by chance.

    A wrong entry agrees by chance with a probability of what is allowed, as a share of its error. A number that was
    fitted makes one entry agree.
    """
    xp = w.xp
    error = xp.abs(w.a - w.n)
    constants = CONSTANTS * w.epsilon * xp.maximum(xp.abs(w.a), xp.abs(w.n))
    allowed = 2.0 * w.uncertainty + constants + _CLOSE * error + _OF_LARGEST * xp.max(error)
    if not bool(xp.all(xp.abs(match.found - match.expected) <= allowed)):
        return False
    wrong = error > allowed
    chances = xp.sort(xp.where(wrong, allowed / xp.where(wrong, error, xp.ones_like(error)), xp.ones_like(error)))
    return bool(xp.prod(chances[min(match.free, len(w.positions)) :]) <= _LUCK)


def _is_nothing(xp: Namespace, entries: Entries) -> bool:
    """Whether all numeric values are zero to rounding, and known to be small beside the analytic ones."""
    zero = bool(xp.all(xp.abs(entries.numeric) <= entries.uncertainty))
    return zero and largest(xp, entries.analytic) > _NOTHING * largest(xp, entries.uncertainty)


# --- errors without a pattern ------------------------------------------------------------------------------------

# Binary digits of the dtypes that something may have been computed in on the way. Rounding to so many digits takes
# 2^-digits of each product, and about as much of a sum; a hundredth of it is lost if only a part was computed so.
_DIGITS = {"float32": 24, "float16": 11, "bfloat16": 8}
_ACCUMULATED, _PARTIAL = 2.0, 100.0

# Sums of some thousand float32 numbers have fewer digits than this; and the coarsest arithmetic loses less than that.
_FEW_DIGITS, _COARSEST = 37, 0.05

# Tolerances of solvers, as they are usually set.
_TIGHTEST_SOLVER, _LOOSEST_SOLVER = 1e-10, 1e-3


# What makes a slope exactly zero.
_FLAT = "does f use this array, or round it or count with it, as before a straight-through gradient?"


def _hidden(xp: Namespace, gradient: Array, entries: Entries, probes: Sequence[Probe]) -> tuple[bool, str]:
    """An error that no single entry shows, by what the slopes along several directions say of it."""
    if probes and all(p.exact and p.numeric == 0.0 for p in probes):
        return True, f"the slope of f is exactly zero: {_FLAT}"
    share = max((probe.gap for probe in probes), default=0.0)
    size = largest(xp, entries.numeric)
    rounding = largest(xp, entries.uncertainty) / size if size else math.inf
    head = "along random directions "
    if math.isfinite(rounding):
        head = f"single entries are hidden by rounding of relative size {rounding:.1g}; {head}"
    if factor := _common_factor(probes):
        return True, head + (with_a_name(factor) or in_digits(factor))
    coarse = _low_precision(xp, gradient, share, scattered=True)
    return bool(coarse), head + (coarse or f"the error is {share:.2g} of the gradient, in no pattern known here")


# A factor that is fitted to two directions is known if its rounding is at most this share of what is beyond 1.
_KNOWN = 0.05


def _common_factor(probes: Sequence[Probe]) -> Factor | None:
    """The factor by which all probes are wrong, if it is one, within what each of them resolves."""
    seen = [
        (p.analytic / p.numeric, p.tolerance / abs(p.numeric))
        for p in probes
        if p.numeric and math.isfinite(p.tolerance)
    ]
    if len(seen) < 2 or not all(abs(value - 1.0) > rounding for value, rounding in seen):
        return None
    best, rounding = min(seen, key=lambda pair: pair[1])
    if rounding > _KNOWN * abs(best - 1.0):
        return None
    alike = all(abs(value - best) <= _ACCUMULATED * (rounding + its) for value, its in seen)
    return Factor(best, rounding) if alike else None


def _fits(w: Wrong, factor: Factor) -> bool:
    """Whether the entries are that factor times the true ones, as far as they are known."""
    return bool(w.xp.all(w.xp.abs(w.a - factor.value * w.n) <= w.uncertainty))


def _low_precision(xp: Namespace, gradient: Array, share: float, scattered: bool) -> str:
    """A sentence if the errors, ``share`` of the gradient, are those of coarser arithmetic; else ""."""
    if gradient.dtype != xp.float64 or not 0.0 < share < _COARSEST:
        return ""
    for digits in range(2, _FEW_DIGITS):
        # Veltkamp's split: a number of so many binary digits is not changed by it
        split = gradient * (2.0 ** (53 - digits) + 1.0)
        if bool(xp.all(split - (split - gradient) == gradient)):
            lost = f"low precision: no entry has more than {digits} binary digits, and {share:.1g} of the size is lost"
            return "" if share < 2.0**-digits / _PARTIAL else lost  # below that they are round numbers by nature
    if scattered and (name := _dtype_of(share)):
        or_solver = ", or by the tolerance of a solver in f" if share < _LOOSEST_SOLVER else ""
        return f"low precision: errors are scattered and {share:.1g} of the size, as by {name} on the way{or_solver}?"
    return ""


def _dtype_of(share: float) -> str:
    """The dtype whose rounding, of all or of a part of what was computed, is such a share; or ""."""
    lost = {name: 2.0**-digits for name, digits in _DIGITS.items()}
    return next((name for name, size in lost.items() if size / _PARTIAL < share < _ACCUMULATED * size), "")


def _agreement(share: float) -> str:
    """A sentence about errors all over an array that are as small as the tolerance of a solver."""
    if not _TIGHTEST_SOLVER < share < _LOOSEST_SOLVER:
        return ""
    name = _dtype_of(share)
    low = f", or low precision, {name} on the way" if name else ""
    causes = f"the tolerance of a solver in f, an epsilon on one side{low}?"
    return f"agrees to {share:.2g}: {causes} In no pattern known here"


# Among so few entries the signs of errors say nothing.
_SIGNS = 4


def _scattered(xp: Namespace, entries: Entries, wrong: Array) -> bool:
    """Whether most entries are wrong, and about as many of them towards zero as away from it."""
    count = how_many(xp, wrong)
    share = how_many(xp, wrong & (xp.abs(entries.analytic) > xp.abs(entries.numeric))) / count
    return 2 * count >= len(entries.positions) and count >= 3 and (count < _SIGNS or 0.15 < share < 0.85)


# --- where -------------------------------------------------------------------------------------------------------


def _where(w: Wrong, wrong: Array) -> str:
    """Which of the entries are wrong, if no pattern says why."""
    looked, count = len(w.positions), how_many(w.xp, wrong)
    zero = _zero(w, wrong)
    if count == 1:
        return f"one entry is wrong, of {looked:,} looked at{', which is zero' if zero else ''}"
    share = f"{count:,} of {looked:,} entries looked at are wrong"
    index = _indices(w, wrong)
    if line := next(_lines(w, index, zero), ""):
        return f"{share}, {line}"
    if place := next(_places(w, index, wrong), ""):
        return f"{share}{' and are zero' if zero else ''}, {place}"
    return f"{share}{' and are zero' if zero else ''}, in no pattern known here"


def _zero(w: Wrong, wrong: Array) -> bool:
    """Whether the analytic values of the wrong entries are zero."""
    return bool(w.xp.all(w.xp.where(wrong, w.a, 0.0 * w.a) == 0.0))


def _dead_lines(w: Wrong, wrong: Array) -> bool:
    """Whether the gradient is zero in some rows or columns, and right in the others."""
    return _zero(w, wrong) and any(w.shape[axis] > len(found) for axis, found in _dead(w, _indices(w, wrong)))


def _dead(w: Wrong, index: Indices) -> Iterator[tuple[int, Any]]:
    """The axes for which the gradient is zero all along the slices that have wrong entries, and these slices."""
    for axis, at in enumerate(index if len(w.shape) > 1 else ()):
        rest = tuple(i for i in range(len(w.shape)) if i != axis)
        size = w.xp.sum(w.xp.abs(w.gradient), axis=rest)
        found = np.unique(at)
        if all(float(size[int(i)]) == 0.0 for i in found):
            yield axis, found


def _indices(w: Wrong, wrong: Array) -> Indices:
    """For each axis the indices of the wrong entries."""
    return np.unravel_index([position for i, position in enumerate(w.positions) if bool(wrong[i])], w.shape)


def _lines(w: Wrong, index: Indices, zero: bool) -> Iterator[str]:
    """The one row, or the block of rows, that has all the wrong entries; of any axis that has other rows."""
    dead = [axis for axis, _ in _dead(w, index)] if zero else []
    for axis, at in enumerate(index if len(w.shape) > 1 else ()):
        found, length = np.unique(at), w.shape[axis]
        word, along = (("row", "column")[axis], "") if len(w.shape) == 2 else ("slice", f" along axis {axis}")
        if len(found) == 1 < length:
            yield f"all in {word} {found[0]}{along}{', which is zero' if zero else ''}"
        looked = np.unravel_index(list(w.positions), w.shape)[axis]
        block = found[-1] - found[0] + 1 == len(found) <= length // 2 and 2 * len(at) >= np.isin(looked, found).sum()
        if 1 < len(found) < length and (block or axis in dead):
            yield f"all in {word}s {found[0]} to {found[-1]}{along}{', which are zero' if zero else ''}"


def _places(w: Wrong, index: Indices, wrong: Array) -> Iterator[str]:
    """What else the places of the wrong entries have in common: a triangle, a sign of the parameter."""
    x, xp = w.at(w.x), w.xp
    for words, there in (
        ("exactly those where the parameter is negative", x < 0.0),
        ("exactly those where the parameter is positive", x > 0.0),
        ("exactly those where the parameter is zero", x == 0.0),
    ):
        if bool(xp.all(there == wrong)) and not bool(xp.all(there)):
            yield words
    if len(w.shape) == 2 and w.shape[0] == w.shape[1]:
        rows, columns = index
        for words, mask in (
            ("all on the diagonal", rows == columns),
            ("all above the diagonal", rows < columns),
            ("all below the diagonal", rows > columns),
        ):
            if mask.all():
                yield words
