"""A wrong gradient in words: its cause if its numbers show one, else where it is wrong; and blind spots of a point.

A pattern is named only if it explains the whole error; if none does, the sentence says so instead of guessing.

Before: ``entries`` compared the entries, ``evidence`` the slopes. Next: ``report``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np  # on the host alone: indices

from mlp_xp._lib.namespace import namespace
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.arrays import how_many, inner, largest, norm, taken
from mlp_xp.gradcheck.entries import Entries
from mlp_xp.gradcheck.evidence import LocalGradient, Probe
from mlp_xp.gradcheck.report import TensorReport

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


def _same(a: Array, b: Array) -> bool:
    xp = namespace(a)
    slack = _SAME_ROUNDINGS * float(xp.finfo(a.dtype).eps)
    return tuple(a.shape) == tuple(b.shape) and largest(xp, a - b) <= slack * largest(xp, b)


# --- diagnosis ---------------------------------------------------------------------------------------------------

# What a pattern may leave of the largest error: well above the noise of differences, well below a coincidence.
_CLOSE = 1e-3

# A factor this close to a round number, relative, is that number.
_ROUND = 1e-6

# A gradient of no more than so many roundings of the true one is zero, such as a sum that cancels.
_NOTHING = 100.0


class _Wrong(NamedTuple):
    """A wrong gradient of one array.

    x: the parameter.
    gradient: the wrong one, whole.
    others: name -> gradient of another parameter.
    positions: flat, of the entries that were compared.
    a: the analytic values of those.
    n: the numeric values.
    uncertainty: of the numeric values.
    """

    xp: Namespace
    x: Array
    gradient: Array
    others: Mapping[str, Array]
    positions: Sequence[int]
    a: Array
    n: Array
    uncertainty: Array

    def at(self, array: Array) -> Array:
        """The entries of ``array`` at ``positions``."""
        return taken(self.xp, array, self.positions)


def diagnose(here: LocalGradient, leaf: int, entries: Entries, probes: Sequence[Probe]) -> tuple[bool, str]:
    """Whether the cause of a wrong gradient is known, and a sentence: the cause, or where it is wrong.

    Args:
        here: the gradient at params.
        leaf: which array of it is wrong.
        entries: some or all of the entries of that array, with numeric values.
        probes: of that array; at least one is wrong.
    """
    gradient = here.gradient[leaf]
    xp = namespace(gradient)
    if largest(xp, gradient) <= _NOTHING * xp.finfo(gradient.dtype).eps * largest(xp, entries.numeric):
        return True, "the gradient is zero everywhere"
    error = xp.abs(entries.analytic - entries.numeric)
    wrong = error > entries.uncertainty
    if not bool(xp.any(wrong)):
        return _faint(xp, gradient, probes)
    if how_many(xp, wrong) == 1 < len(entries.positions) - 1:
        return False, _where(xp, gradient, entries, wrong)
    others = {name: g for i, (name, g) in enumerate(zip(here.flat.names, here.gradient, strict=True)) if i != leaf}
    allowed = 2.0 * entries.uncertainty + _CLOSE * xp.max(error)
    suspect = _Wrong(xp, here.local.point[leaf], gradient, others, *entries)
    # the simplest first
    for pattern in (_factor, _of_another_array, _in_another_order, _summed, _with_a_term, _of_right_sizes):
        for sentence, found, expected in pattern(suspect):
            if bool(xp.all(xp.abs(found - expected) <= allowed)):
                return True, sentence
    share = norm(xp, error) / size if (size := norm(xp, entries.numeric)) else math.inf
    coarse = _low_precision(xp, gradient, share, _mixed_signs(xp, entries, wrong))
    return bool(coarse), coarse or _where(xp, gradient, entries, wrong)


# --- patterns, each with sentences and two arrays that agree where the sentence is true ----------------------------

# Most undo the mistake in the gradient, which is known whole, and compare with the entries whose numeric values are.

_Found: TypeAlias = Iterator[tuple[str, Array, Array]]


def _factor(w: _Wrong) -> _Found:
    if (square := inner(w.xp, w.n, w.n)) > 0.0:
        factor = inner(w.xp, w.a, w.n) / square
        rounding = 2.0 * float(w.xp.max(w.uncertainty)) / math.sqrt(square / len(w.positions))
        yield _factor_sentence(factor, rounding + _ROUND), w.a, factor * w.n


def _factor_sentence(factor: float, slack: float) -> str:
    """The factor by its name, if it has one within ``slack``, relative."""
    if abs(factor + 1.0) < slack:
        return "the sign is wrong"
    both_ways = (
        ("", factor, "something counted twice, or a square's half forgotten", "a sum where a mean belongs"),
        ("1/", 1.0 / factor if factor else 0.0, "a factor 2 forgotten", "a mean where a sum belongs"),
    )
    for over, number, twice, many in both_ways:
        if abs(number) > 1.5 and abs(number - round(number)) < slack * abs(number):
            cause = twice if abs(round(number)) == 2 else many
            return f"the gradient is {over}{round(number)} times the true one: {cause}?"
    for over, number, *_ in both_ways:
        if 0.0 < number < 0.995 and abs(100.0 * number - round(100.0 * number)) < 100.0 * slack:
            return f"the gradient is {over}{number:.2g} times the true one: a keep probability, or another scale?"
    return f"the gradient is {factor:.10g} times the true one"


def _of_another_array(w: _Wrong) -> _Found:
    for name, other in w.others.items():
        if tuple(other.shape) == tuple(w.gradient.shape):
            yield f"the gradient of {name} is what belongs here: are the two swapped?", w.at(other), w.n
            yield f"this is the gradient of {name} over again", w.a, w.at(other)


def _in_another_order(w: _Wrong) -> _Found:
    xp, gradient, shape = w.xp, w.gradient, tuple(w.gradient.shape)
    if len(shape) == 2:
        undone = xp.matrix_transpose(xp.reshape(gradient, shape[::-1]))
        yield f"the gradient is transposed{'' if shape[0] == shape[1] else ' and reshaped'}", w.at(undone), w.n
    for axis in range(len(shape)):
        along = f" along axis {axis}" if len(shape) > 1 else ""
        yield f"the entries are in reverse order{along}", w.at(xp.flip(gradient, axis=axis)), w.n
        for shift in (1, -1):
            yield f"the entries are shifted by {shift}{along}", w.at(xp.roll(gradient, -shift, axis=axis)), w.n


def _summed(w: _Wrong) -> _Found:
    xp, shape, size = w.xp, tuple(w.gradient.shape), math.prod(w.gradient.shape)
    if len(w.positions) != size or size == 1:  # all numeric values must be known
        return
    ones, total = xp.ones_like(w.n), xp.sum(w.n)
    yield "every entry is the sum of all: summed over an axis too many", w.a, total * ones
    yield "every entry is the mean of all: averaged over an axis too many", w.a, total / size * ones
    for axis in range(len(shape) if len(shape) > 1 else 0):
        summed = xp.sum(xp.reshape(w.n, shape), axis=axis, keepdims=True) * xp.ones_like(w.gradient)
        yield f"the gradient is summed over axis {axis} and spread again", w.a, xp.reshape(summed, (-1,))


def _with_a_term(w: _Wrong) -> _Found:
    x = w.at(w.x)
    for name, term in (
        ("the parameter itself: an L2 penalty", x),
        ("the parameter's sign: an L1 penalty", w.xp.sign(x)),
        ("1: a constant", w.xp.ones_like(x)),
    ):
        strength = inner(w.xp, term, term)
        share = inner(w.xp, w.a - w.n, term) / strength if strength else 0.0
        if share:
            which = "missing" if share < 0.0 else "too much"
            yield f"a term is {which}, {abs(share):.3g} times {name}", w.a - share * term, w.n


def _of_right_sizes(w: _Wrong) -> _Found:
    xp, bound = w.xp, w.xp.max(w.xp.abs(w.gradient))
    yield "the sizes are right, the signs are not", xp.abs(w.a), xp.abs(w.n)
    yield f"the gradient is clipped at {float(bound):.4g}", w.a, xp.clip(w.n, -bound, bound)


# --- coarse arithmetic, and errors without a pattern -----------------------------------------------------------------

# Binary digits of the dtypes that something may have been computed in on the way. Rounding to so many digits takes
# 2^-digits of each product, and about as much of a sum; a hundredth of it is lost if only a part was computed so.
_DIGITS = {"float32": 24, "float16": 11, "bfloat16": 8}
_ACCUMULATED, _PARTIAL = 2.0, 100.0

# Sums of some thousand float32 numbers have fewer digits than this; and the coarsest arithmetic loses less than that.
_FEW_DIGITS, _COARSEST = 37, 0.05


def _faint(xp: Namespace, gradient: Array, probes: Sequence[Probe]) -> tuple[bool, str]:
    """An error too small to be seen in single entries, by what the slopes along several directions say of it."""
    faint = "the error is too small to be seen in single entries: "
    excesses = [probe.analytic / probe.numeric - 1.0 for probe in probes if probe.numeric]
    share = max((probe.gap for probe in probes), default=0.0)
    # the same factor in all directions, within what each of them resolves
    if len(excesses) > 1 and all(
        abs(excess - excesses[0]) <= 2.0 * (p.tolerance + q.tolerance) / min(abs(p.numeric), abs(q.numeric))
        for excess, p, q in zip(excesses[1:], probes, probes[1:], strict=False)
    ):
        return True, f"{faint}about {1.0 + sum(excesses) / len(excesses):.12g} times the true one"
    coarse = _low_precision(xp, gradient, share, scattered=True)
    return bool(coarse), faint + (coarse or "in no pattern known here")


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
    for name, digits in _DIGITS.items():
        if scattered and 2.0**-digits / _PARTIAL < share < _ACCUMULATED * 2.0**-digits:
            return f"low precision: the errors are scattered and {share:.1g} of the size, as by {name} on the way"
    return ""


def _mixed_signs(xp: Namespace, entries: Entries, wrong: Array) -> bool:
    """Whether about as many errors are towards zero as away from it, in most of the entries."""
    count = how_many(xp, wrong)
    share = how_many(xp, wrong & (xp.abs(entries.analytic) > xp.abs(entries.numeric))) / count
    return count >= 8 and 2 * count >= len(entries.positions) and 0.2 < share < 0.8


def _where(xp: Namespace, gradient: Array, entries: Entries, wrong: Array) -> str:
    """Which of the entries are wrong, if no pattern says why."""
    guilty = [position for i, position in enumerate(entries.positions) if bool(wrong[i])]
    looked = len(entries.positions)
    share = f"{len(guilty):,} of {looked:,} entries looked at are wrong"
    zero = ", which is zero" if bool(xp.all(xp.where(wrong, entries.analytic, 0.0 * entries.analytic) == 0.0)) else ""
    if len(guilty) == 1:
        return f"one entry is wrong, of {looked:,} looked at{zero}"
    if gradient.ndim == 2:
        rows, columns = np.unravel_index(np.asarray(guilty), gradient.shape)
        for word, found in (("row", np.unique(rows)), ("column", np.unique(columns))):
            if len(found) == 1:
                return f"{share}, all in {word} {found[0]}{zero}"
            if len(found) <= gradient.shape[word == "column"] // 2:
                block = f"{word}s {found[0]} to {found[-1]}"
                if zero or found[-1] - found[0] + 1 == len(found):
                    return f"{share}, all in {block}{zero.replace('is', 'are')}"
    return f"{share}{zero.replace('which is', 'and are')}, in no pattern known here"


# --- blind spots -------------------------------------------------------------------------------------------------


def blind_spots(here: LocalGradient) -> Iterator[str]:
    """A sentence for every property of the arrays and their gradients behind which a mistake could hide."""
    for name, x, gradient in zip(here.flat.names, here.local.point, here.gradient, strict=True):
        xp = namespace(x)
        if not math.prod(x.shape):
            continue
        if x.ndim == 2:
            yield from _of_a_matrix(xp, name, x)
        if largest(xp, gradient) == 0.0:
            yield f"the gradient of {name} is zero everywhere: a wrong one may be zero there too"
        elif gradient.ndim == 2:
            yield from _of_its_gradient(xp, name, gradient)


def _of_a_matrix(xp: Namespace, name: str, x: Array) -> Iterator[str]:
    rows, columns = x.shape
    if largest(xp, x) == 0.0:
        yield f"{name} is all zeros: nothing flows back through it, and mistakes upstream of it don't show"
    elif columns > 1 and bool(xp.all(x == x[:, :1])):
        yield f"all columns of {name} are equal: a mix-up between its units doesn't show"
    elif rows > 1 and bool(xp.all(x == x[:1, :])):
        yield f"all rows of {name} are equal: a mix-up between its inputs doesn't show"
    elif rows == columns > 1 and bool(xp.all(x == xp.matrix_transpose(x))):
        yield f"{name} equals its transpose: a transposition that is forgotten, or too much, doesn't show"


def _of_its_gradient(xp: Namespace, name: str, gradient: Array) -> Iterator[str]:
    size = xp.abs(gradient)
    # entries this small are lost in the rounding of the largest once squared: nothing along them is checked
    nothing = math.sqrt(xp.finfo(gradient.dtype).eps) * xp.max(size)
    for axis, lines, why in ((0, "columns", "dead or saturated units"), (1, "rows", "dead units or inputs before it")):
        zero = xp.max(size, axis=axis) <= nothing
        if count := how_many(xp, zero):
            yield (
                f"{count:,} of {zero.shape[0]:,} {lines} of the gradient of {name} are zero or nearly so, {why}: "
                "what flows through them is not checked"
            )
    if min(gradient.shape) > 1:
        row, column = divmod(int(xp.argmax(xp.reshape(size, (-1,)), axis=0)), gradient.shape[1])
        outer = gradient[:, column][:, None] * (gradient[row, :] / gradient[row, column])[None, :]
        if bool(xp.all(xp.abs(gradient - outer) <= nothing)):
            yield f"the gradient of {name} has rank one, as for a batch of one row: sums over a batch are not checked"
