"""What a wrong gradient looks like, in words: patterns that its numbers show, and the caller's own hypotheses.

A pattern is named only when it explains the whole difference; where none does, that is said instead of guessing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np  # on the host alone: indices

from mlp_xp._namespace import beside
from mlp_xp._typing import Array, Namespace
from mlp_xp.gradcheck.entries import Entries
from mlp_xp.gradcheck.problem import Problem

# How closely a pattern must explain the gradient: well above the noise of differences, well below a coincidence.
_CLOSE = 1e-3

# How closely a hypothesis must: both sides were computed by hand, in one dtype.
_SAME_ROUNDINGS = 1e4


def matching_hypothesis(
    xp: Namespace, gradient: Sequence[Array], hypotheses: Mapping[str, Sequence[Array]], failed: Sequence[int]
) -> str:
    """The name of the hypothesis whose gradients are those returned, in all ``failed`` arrays; or nothing."""
    for name, wrong in hypotheses.items():
        if all(_same(xp, gradient[i], wrong[i]) for i in failed):
            return name
    return ""


def diagnose(problem: Problem, leaf: int, entries: Entries, gradient: Array, wrong: Array) -> str:
    """The likely cause.

    Args:
        problem: f at the point.
        leaf: which array is wrong.
        entries: some or all of its entries, with numeric values.
        gradient: the wrong one, whole.
        wrong: 1 where an entry is wrong, along ``entries``.
    """
    xp = problem.xp
    if float(xp.max(xp.abs(gradient))) == 0.0:
        return "the gradient is zero everywhere"
    x = xp.take(xp.reshape(problem.point[leaf], (-1,)), _positions(xp, entries, gradient), axis=0)
    for sentence, pattern in _patterns(problem, entries, gradient, x):
        rest = entries.analytic - pattern
        # the pattern must explain every entry, within what the differences can resolve
        allowed = 2.0 * entries.uncertainty + _CLOSE * xp.abs(entries.analytic)
        if bool(xp.all(xp.abs(rest) <= allowed)):
            return sentence
    return _where(xp, entries, gradient, wrong)


def _patterns(problem: Problem, entries: Entries, gradient: Array, x: Array) -> Iterator[tuple[str, Array]]:
    """Sentences, and what the gradient would be if they were true."""
    xp, a, n = problem.xp, entries.analytic, entries.numeric
    square = float(xp.sum(n * n))
    if square > 0.0:
        factor = float(xp.sum(a * n)) / square
        yield _factor_sentence(factor), factor * n
    if len(entries.positions) == math.prod(gradient.shape) and gradient.ndim == 2:
        shape = gradient.shape
        if shape[0] == shape[1]:
            yield "the gradient is transposed", xp.reshape(xp.matrix_transpose(xp.reshape(n, shape)), (-1,))
        yield "the gradient is transposed and reshaped", xp.reshape(xp.matrix_transpose(xp.reshape(n, shape)), (-1,))
        for axis in (0, 1):
            mean = xp.sum(xp.reshape(n, shape), axis=axis, keepdims=True) * xp.ones_like(gradient)
            yield f"the gradient is summed over axis {axis} and spread again", xp.reshape(mean, (-1,))
    if gradient.ndim == 1 and len(entries.positions) == gradient.shape[0] > 1:
        total = float(xp.sum(n))
        yield "every entry is the sum of all: summed over the wrong axis too", total * xp.ones_like(n)
        for shift in (1, -1):
            yield f"the entries are shifted by {shift}", _rolled(xp, n, shift)
    for term, of in (("the parameter itself: an L2 penalty", x), ("the parameter's sign: an L1 penalty", xp.sign(x))):
        strength = float(xp.sum(of * of))
        share = float(xp.sum((a - n) * of)) / strength if strength else 0.0
        if share < 0.0:
            yield f"a term is missing, {-share:.3g} times {term}", n + share * of
        elif share > 0.0:
            yield f"there is a term too much, {share:.3g} times {term}", n + share * of


def _factor_sentence(factor: float) -> str:
    if abs(factor + 1.0) < _CLOSE:
        return "the sign is wrong"
    inverse = 1.0 / factor if factor else 0.0
    for name, size in ((f"{factor:.6g}", factor), (f"1/{inverse:.6g}", inverse)):
        if abs(size) > 1.5 and abs(size - round(size)) < _CLOSE * abs(size):
            return f"the gradient is {name} times the true one: a sum where a mean belongs, or a mean for a sum?"
    return f"the gradient is {factor:.10g} times the true one"


def _where(xp: Namespace, entries: Entries, gradient: Array, wrong: Array) -> str:
    """Which of the entries are wrong, where no pattern says why."""
    guilty = [position for i, position in enumerate(entries.positions) if int(wrong[i])]
    positions = np.asarray(guilty, dtype=np.int64)
    looked = len(entries.positions)
    share = f"{len(positions):,} of {looked:,} entries looked at are wrong"
    if gradient.ndim == 2 and len(positions):
        rows, columns = np.unravel_index(positions, gradient.shape)
        for word, found in (("row", np.unique(rows)), ("column", np.unique(columns))):
            if len(found) == 1:
                only = f"all in {word} {found[0]}"
                zero = bool(
                    xp.all(
                        xp.take(
                            gradient, xp.asarray([int(found[0])], **beside(gradient)), axis=0 if word == "row" else 1
                        )
                        == 0.0
                    )
                )
                return f"{share}, {only}" + (", which is zero" if zero else "")
    if len(positions) == 1:
        return f"one entry is wrong, of {looked:,} looked at"
    return f"{share}, in no pattern known here"


def _positions(xp: Namespace, entries: Entries, gradient: Array) -> Array:
    return xp.asarray(entries.positions, dtype=xp.int32, **beside(gradient))


def _rolled(xp: Namespace, x: Array, shift: int) -> Array:
    length = x.shape[0]
    order = [(i - shift) % length for i in range(length)]
    return xp.take(x, xp.asarray(order, dtype=xp.int32, **beside(x)), axis=0)


def _same(xp: Namespace, a: Array, b: Array) -> bool:
    if tuple(a.shape) != tuple(b.shape):
        return False
    largest = float(xp.max(xp.abs(b)))
    return float(xp.max(xp.abs(a - b))) <= _SAME_ROUNDINGS * float(xp.finfo(a.dtype).eps) * largest
