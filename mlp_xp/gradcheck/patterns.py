"""The patterns of a wrong gradient: for each a sentence, and two arrays that agree where the sentence is true.

Most undo the mistake in the gradient, which is known whole, and compare with the entries whose numeric values are
known. Others repeat the mistake on the numeric values: for them all of these must be known.

Before: ``factors`` names numbers. Next: ``explain`` looks which pattern explains a gradient.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import NamedTuple, TypeAlias

from mlp_xp._lib.namespace import scalar_like
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.arrays import how_many, inner, largest, norm, taken
from mlp_xp.gradcheck.factors import Factor, in_digits, with_a_name


class Wrong(NamedTuple):
    """A wrong gradient of one array.

    x: the parameter.
    gradient: the wrong one, whole.
    others: name -> gradient of another parameter.
    params: name -> another parameter.
    value: of f.
    epsilon: the machine epsilon of the dtype in which the caller computes.
    positions: flat, of the entries that were compared.
    a: the analytic values of those.
    n: the numeric values.
    uncertainty: of the numeric values.
    """

    xp: Namespace
    x: Array
    gradient: Array
    others: Mapping[str, Array]
    params: Mapping[str, Array]
    value: float
    epsilon: float
    positions: Sequence[int]
    a: Array
    n: Array
    uncertainty: Array

    def at(self, array: Array) -> Array:
        """The entries of ``array`` at ``positions``."""
        return taken(self.xp, array, self.positions)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the gradient."""
        return tuple(self.gradient.shape)

    @property
    def whole(self) -> Array | None:
        """The numeric gradient, if all its entries are known and there are several."""
        known = len(self.positions) == math.prod(self.shape) > 1
        return self.xp.reshape(self.n, self.shape) if known else None


class Match(NamedTuple):
    """A sentence that is true if ``found`` and ``expected`` agree, with ``free`` numbers fitted to make them agree."""

    sentence: str
    found: Array
    expected: Array
    free: int = 0


Matches: TypeAlias = Iterator[Match]


# --- factors -----------------------------------------------------------------------------------------------------


# The caller's own constants are rounded to the dtype of the parameters; a product of some is off by a few epsilons.
CONSTANTS = 4.0


def factor_of(w: Wrong) -> Factor | None:
    """The factor that fits best; None if the numeric values are zero."""
    if not (size := largest(w.xp, w.n)) > 0.0:
        return None
    n = w.n / size  # squares of 1e200 or of 1e-200 are no numbers
    square = inner(w.xp, n, n)
    value = inner(w.xp, w.a / size, n) / square
    rounding = 2.0 * float(w.xp.max(w.uncertainty)) / size / math.sqrt(square / len(w.positions))
    return Factor(value, rounding + CONSTANTS * w.epsilon * abs(value), w.shape, _known(w))


def _known(w: Wrong) -> dict[str, float]:
    """Numbers that a chain of functions leaves as a factor: the value of f, of its inner functions, of parameters."""
    scalars = {f"the parameter {name}": float(w.xp.sum(x)) for name, x in w.params.items() if math.prod(x.shape) == 1}
    # f = sqrt(g) has the slope 1 / 2f, and f = log(g) the slope 1 / exp(f)
    return {"f": w.value, "2 f": 2.0 * w.value, "exp(f)": math.exp(min(w.value, 700.0)), **scalars}


def named_factor(w: Wrong) -> Matches:
    """All entries times a number that has a name."""
    factor = factor_of(w)
    if factor and (sentence := with_a_name(factor)):
        yield Match(sentence, w.a, factor.value * w.n)


def normalised(w: Wrong) -> Matches:
    """All entries times a number that makes the length of the gradient a round one."""
    factor = factor_of(w)
    if factor is None or factor.value <= 0.0:
        return
    own = norm(w.xp, w.gradient)
    together = math.hypot(own, *(norm(w.xp, other) for other in w.others.values()))
    for of, length in (("the gradient", own), ("all gradients together", together)):
        if math.prod(w.shape) > 1 and length and abs(float(f"{length:.1g}") / length - 1.0) < 1e-6:
            sentence = f"{in_digits(factor)}: normalised or clipped, so that the length of {of} is {length:.1g}?"
            yield Match(sentence, w.a, factor.value * w.n, free=1)


def any_factor(w: Wrong) -> Matches:
    """All entries times one number."""
    if factor := factor_of(w):
        yield Match(in_digits(factor), w.a, factor.value * w.n, free=1)


def factor_of_slices(w: Wrong) -> Matches:
    """Each slice along an axis times a number of its own."""
    xp, n = w.xp, w.whole
    if n is None or n.ndim < 2:
        return
    for axis in range(n.ndim):
        rest = tuple(i for i in range(n.ndim) if i != axis)
        square = xp.sum(n * n, axis=rest, keepdims=True)
        some = xp.where(square > 0.0, square, xp.ones_like(square))
        factors = xp.sum(w.gradient * n, axis=rest, keepdims=True) / some
        wrong = xp.abs(factors - 1.0) > 1e-3  # to say where is better if most slices are right
        if 2 * how_many(xp, wrong) <= n.shape[axis]:
            continue
        what = ("row", "column")[axis] if n.ndim == 2 else f"slice along axis {axis}"
        lengths = xp.sqrt(xp.sum(w.gradient * w.gradient, axis=rest))
        low, high = float(xp.min(factors)), float(xp.max(factors))
        cause = f"a weight, a scale or a mask per {what}?"
        if float(xp.max(lengths)) - float(xp.min(lengths)) <= 1e-6 * float(xp.max(lengths)):
            cause = f"each is normalised to length {float(lengths[0]):.3g}?"
        sentence = f"each {what} is off by a factor of its own, {low:.3g} to {high:.3g}: {cause}"
        yield Match(sentence, w.a, xp.reshape(factors * n, (-1,)), free=n.shape[axis])


# --- other arrays, other orders ----------------------------------------------------------------------------------


def of_another_array(w: Wrong) -> Matches:
    """The gradient of another parameter of this shape."""
    for name, other in w.others.items():
        if tuple(other.shape) == w.shape:
            yield Match(f"the gradient of {name} is what belongs here: are the two swapped?", w.at(other), w.n)
            yield Match(f"this is the gradient of {name} over again", w.a, w.at(other))


def in_another_order(w: Wrong) -> Matches:
    """The right entries, at wrong places."""
    xp, gradient, shape = w.xp, w.gradient, w.shape
    yield from _axes_in_another_order(w)
    for axis in range(len(shape)):
        along = f" along axis {axis}" if len(shape) > 1 else ""
        yield Match(f"the entries are in reverse order{along}", w.at(xp.flip(gradient, axis=axis)), w.n)
        for shift in sorted({1, -1, shape[axis] // 2} - {0}, key=abs):
            by = f"{shift}" if abs(shift) == 1 else f"half the length, {shift},"
            shifted = w.at(xp.roll(gradient, -shift, axis=axis))
            yield Match(f"the entries are shifted by {by}{along}", shifted, w.n)
    if len(shape) > 1:
        flipped = w.at(xp.flip(xp.flip(gradient, axis=-1), axis=-2))
        kernel = "a kernel for a convolution, where that of a correlation belongs, or the other way round"
        yield Match(f"the entries are in reverse order along the last two axes: {kernel}?", flipped, w.n)
    if w.whole is not None and len(w.positions) > 2:
        yield Match("the entries are right, but in another order", xp.sort(w.a), xp.sort(w.n))


_LAYOUTS = {(0, 2, 3, 1): ": channels last", (0, 3, 1, 2): ": channels first", (1, 0): ""}


def _axes_in_another_order(w: Wrong) -> Matches:
    """The gradient of an array whose axes have another order, in the shape of this one."""
    shape, ndim = w.shape, len(w.shape)
    for order in permutations(range(ndim)) if 2 <= ndim <= 4 else ():
        if order == tuple(range(ndim)):
            continue
        there = tuple(shape[i] for i in order)
        undone = w.xp.permute_dims(w.xp.reshape(w.gradient, there), tuple(order.index(i) for i in range(ndim)))
        reshaped = "" if there == shape else " and reshaped"
        sentence = f"the gradient is transposed{reshaped}"
        if ndim > 2:
            fortran = ": Fortran order" if reshaped and order == tuple(reversed(range(ndim))) else ""
            sentence += f", its axes in the order {order}{_LAYOUTS.get(order, fortran)}"
        yield Match(sentence, w.at(undone), w.n)


# --- sums, means, triangles: of gradients known whole ------------------------------------------------------------


def summed(w: Wrong) -> Matches:
    """Every entry is the sum or the mean of many."""
    xp, n = w.xp, w.whole
    if n is None:
        return
    total, ones = xp.sum(n), xp.ones_like(w.n)
    yield Match("every entry is the sum of all: summed over an axis too many", w.a, total * ones)
    yield Match(
        "every entry is the mean of all: averaged over an axis too many", w.a, total / math.prod(n.shape) * ones
    )
    for axis in range(n.ndim):
        if (length := n.shape[axis]) == 1:
            continue
        spread = xp.reshape(xp.sum(n, axis=axis, keepdims=True) * xp.ones_like(n), (-1,))
        yield Match(f"the gradient is summed over axis {axis} and spread again", w.a, spread)
        yield Match(f"the gradient is averaged over axis {axis} and spread again", w.a, spread / length)


def projected(w: Wrong) -> Matches:
    """A mean, or the part along the parameter, is taken out, or should be."""
    xp, n, x, g = w.xp, w.whole, w.x, w.gradient
    axes: list[int | None] = [None, *range(g.ndim)]
    for axis in axes:
        if (math.prod(g.shape) if axis is None else g.shape[axis]) == 1:
            continue
        over = "" if axis is None else f" over axis {axis}"
        left = w.at(g - xp.mean(g, axis=axis, keepdims=True))
        yield Match(f"the mean{over} is not taken out, as a function without a common level needs", left, w.n)
        if n is not None:
            left = xp.reshape(n - xp.mean(n, axis=axis, keepdims=True), (-1,))
            yield Match(f"the mean{over} is taken out, and belongs there", w.a, left)
    if strength := inner(xp, x, x):
        left = w.at(g - inner(xp, g, x) / strength * x)
        yield Match("the part along the parameter is not taken out, as for one that is normalised first", left, w.n)


def of_a_square(w: Wrong) -> Matches:
    """Triangles, diagonals and symmetric parts of square matrices."""
    xp, n = w.xp, w.whole
    if n is None or n.ndim < 2 or n.shape[-1] != n.shape[-2]:
        return
    a, T = w.gradient, xp.matrix_transpose
    lower, upper, below = xp.tril(n), xp.triu(n), xp.tril(n, k=-1)
    diagonal = lower - below
    beside = n - diagonal
    of_a = xp.tril(a) - xp.tril(a, k=-1)
    symmetric = "f symmetrises its argument, or reads one triangle of it"
    for sentence, found, expected in (
        ("this is the symmetric part, (G + G^T)/2, of the true gradient G", a, 0.5 * (n + T(n))),
        ("this is the true gradient plus its transpose: the symmetric part, not halved", a, n + T(n)),
        ("this is the skew part, (G - G^T)/2, of the true gradient G", a, 0.5 * (n - T(n))),
        ("this is only the lower triangle of the true gradient", a, lower),
        ("this is only the upper triangle of the true gradient", a, upper),
        ("the true gradient is only the lower triangle of this one", xp.tril(a), n),
        ("the true gradient is only the upper triangle of this one", xp.triu(a), n),
        ("this is the lower triangle of the true gradient, twice off the diagonal", a, lower + below),
        ("this is the upper triangle of the true gradient, twice off the diagonal", a, 2.0 * upper - diagonal),
        ("the gradient is 2 times the true one off the diagonal: each pair counted twice", a, n + beside),
        ("the gradient is 1/2 times the true one off the diagonal", 2.0 * a - of_a, n),
        ("the gradient is 2 times the true one on the diagonal", a, n + diagonal),
        ("the gradient is 1/2 times the true one on the diagonal", a + of_a, n),
        ("this is only the diagonal of the true gradient", a, diagonal),
        ("this is the true gradient without its diagonal", a, beside),
        (f"the symmetric part of it, (G + G^T)/2, is the true gradient: {symmetric}", 0.5 * (a + T(a)), n),
        ("the skew part of it, (G - G^T)/2, is the true gradient", 0.5 * (a - T(a)), n),
    ):
        yield Match(sentence, xp.reshape(found, (-1,)), xp.reshape(expected, (-1,)))


# --- terms and factors that depend on the parameter --------------------------------------------------------------


def with_a_term(w: Wrong) -> Matches:
    """A term too much or missing."""
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
            yield Match(f"a term is {which}, {abs(share):.3g} times {name}", w.a - share * term, w.n, free=1)


def _sigmoid(xp: Namespace, x: Array) -> Array:
    return 0.5 + 0.5 * xp.tanh(0.5 * x)


# what an inner function of the parameter leaves as a factor, and what is wrong if it is missing, or too much
_INNER: tuple[tuple[str, Callable[[Namespace, Array], Array], str, str], ...] = (
    ("the parameter", lambda xp, x: x, "", ": the gradient by its logarithm?"),
    ("the parameter's size", lambda xp, x: xp.abs(x), "", ""),
    ("the parameter squared", lambda xp, x: x * x, "", ""),
    ("the parameter's root", lambda xp, x: xp.sqrt(xp.abs(x)), "", ""),
    ("exp(parameter)", lambda xp, x: xp.exp(x), ": the gradient by its exponential?", ""),
    ("sigmoid(parameter)", lambda xp, x: _sigmoid(xp, x), ": the gradient by its softplus?", ""),
    ("the sigmoid's slope", lambda xp, x: _sigmoid(xp, x) * _sigmoid(xp, -x), ": the gradient by its sigmoid?", ""),
    ("the slope of tanh", lambda xp, x: 1.0 - xp.tanh(x) * xp.tanh(x), ": the gradient by its tanh?", ""),
)


def with_an_inner_factor(w: Wrong) -> Matches:
    """Each entry times, or divided by, a function of the parameter there, or another parameter there."""
    x = w.at(w.x)
    inner_factors = [(name, of(w.xp, x), missing, extra) for name, of, missing, extra in _INNER]
    for name, other in w.params.items():
        if tuple(other.shape) == w.shape:
            inner_factors.append((f"the parameter {name}", w.at(other), "", ""))
    for name, factor, missing, extra in inner_factors:
        # the side that is made smaller, so that rounding is not made larger
        room = w.xp.maximum(w.xp.abs(factor), w.xp.ones_like(factor))
        yield from _times(f"a factor is too much, {name}{extra}", w.a / room, w.n * factor / room)
        yield from _times(f"a factor is missing, {name}{missing}", w.a * factor / room, w.n / room)


def _times(sentence: str, found: Array, expected: Array) -> Matches:
    yield Match(sentence, found, expected)


# --- sizes and signs ---------------------------------------------------------------------------------------------


def of_right_sizes(w: Wrong) -> Matches:
    """Sizes right and signs not; signs right and sizes not."""
    xp = w.xp
    apart = how_many(xp, xp.sign(w.a) * xp.sign(w.n) < 0.0)
    how = f"in {apart:,} of {len(w.positions):,} entries"
    if not bool(xp.any(w.a < 0.0)):
        how = "this is the absolute value"
    yield Match(f"the sizes are right, the signs are not: {how}", xp.abs(w.a), xp.abs(w.n))
    bound = scalar_like(xp, float(xp.max(xp.abs(w.gradient))), w.a)
    only = f"only the signs are right: every entry is {float(bound):.4g} or minus that"
    yield Match(only, w.a, bound * xp.sign(w.n), free=1)


def clipped(w: Wrong) -> Matches:
    """Entries beyond a bound are at the bound, and more of them than bounds."""
    xp = w.xp
    low, high = xp.min(w.gradient), xp.max(w.gradient)
    both = xp.max(xp.abs(w.gradient))
    for sentence, least, most, bounds in (
        (f"the gradient is clipped at {float(both):.4g}", -both, both, 1),
        ("negative entries are zero, as after a relu", 0.0 * low, None, 0),
        (f"the gradient is clipped from {float(low):.4g} to {float(high):.4g}", low, high, 2),
    ):
        expected = xp.maximum(w.n, least * xp.ones_like(w.n))
        expected = expected if most is None else xp.minimum(expected, most * xp.ones_like(w.n))
        yield Match(sentence, w.a, expected, free=bounds)


# the simplest first; where two explain the same numbers, the more common
PATTERNS = (
    named_factor,
    of_another_array,
    normalised,
    any_factor,
    in_another_order,
    summed,
    of_a_square,
    projected,
    with_a_term,
    with_an_inner_factor,
    of_right_sizes,
    clipped,
    factor_of_slices,
)
