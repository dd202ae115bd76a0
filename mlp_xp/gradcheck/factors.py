"""The factor between a wrong gradient and the true one, by its name: 2, 1/32, sqrt(8), 0.9, 1 + 3.2e-09.

Before: ``entries`` compared the entries. Next: ``patterns`` finds the factor, and other patterns.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

# Two numbers this close, relative, are the same: above the rounding of a long sum.
_ROUND = 1e-8

# A name is no coincidence if its neighbours are further away than so many roundings of the factor.
_APART = 50.0

# There are some 20 constants and a few values of the caller's: a factor must be known this well to be one of them.
_SURE = 1e-4

# A factor this close to 1 is written as 1 and what is beyond it.
_NEAR_ONE = 1e-3

# Names are simple: decimals, numerators, denominators and squares up to these.
_LARGEST_DECIMAL, _LARGEST_FRACTION, _LARGEST_SQUARE = 1000.0, 9, 4096

_CONSTANTS = {
    "ln 2": (math.log(2.0), "a logarithm of base 2 for one of base e"),
    "ln 10": (math.log(10.0), "a logarithm of base 10 for one of base e"),
    "pi/180": (math.pi / 180.0, "degrees for radians"),
    "pi": (math.pi, "half-turns for radians"),
    "2 pi": (2.0 * math.pi, "turns for radians, or a frequency for an angular one"),
    "sqrt(2 pi)": (math.sqrt(2.0 * math.pi), "the constant of a normal density"),
    "sqrt(pi)": (math.sqrt(math.pi), "the constant of an error function"),
    "sqrt(2/pi)": (math.sqrt(2.0 / math.pi), "the constant of GELU"),
}

# No factor beyond this, nor below its inverse, has a name; and the square of a larger one is no number.
_BEYOND = 1e100

# Rates of dropout are multiples of 5%.
_KEEP = tuple(k / 20.0 for k in range(11, 20))


class Factor(NamedTuple):
    """A wrong gradient is ``value`` times the true one.

    value: the factor.
    rounding: how far ``value`` may be off, absolute.
    lengths: of the axes of the gradient.
    known: words -> a number of the caller's that may be the factor, such as the value of f.
    """

    value: float
    rounding: float
    lengths: Sequence[int] = ()
    known: Mapping[str, float] = {}

    @property
    def inverse(self) -> "Factor":
        """The factor that undoes this one."""
        return self._replace(value=1.0 / self.value, rounding=self.rounding / self.value**2)

    def near(self, number: float) -> bool:
        """Whether this is ``number``, and not only close to it: between them 1 is far away."""
        return abs(self.value - number) <= self.rounding + _ROUND * min(abs(number), abs(number - 1.0))

    def surely(self, number: float) -> bool:
        """Whether this is ``number``, and known so well that it is no coincidence."""
        return self.rounding <= _SURE * min(abs(number), abs(number - 1.0)) and self.near(number)


def with_a_name(factor: Factor) -> str:
    """A sentence about a factor that has a name; "" for others."""
    if not 1.0 / _BEYOND < abs(factor.value) < _BEYOND:
        return ""
    if factor.near(-1.0):
        return "the sign is wrong"
    if factor.value < 0.0:
        rest = with_a_name(factor._replace(value=-factor.value))
        return f"the sign is wrong, and {rest}" if rest else ""
    inverse = factor.inverse
    for names in (_whole, _keep, _divisor, _decimal, _fraction, _root, _constant, _known):
        for over, number in (("", factor), ("1/", inverse)):
            for name, cause in names(number, over):
                return f"the gradient is {name} times the true one" + (f": {cause}?" if cause else "")
    return ""


def in_digits(factor: Factor) -> str:
    """A sentence about a factor without a name, with as many digits as are known."""
    excess = factor.value - 1.0
    if 0.0 < abs(excess) < _NEAR_ONE:
        number = f"1 {'+' if excess > 0.0 else '-'} {abs(excess):.2g}"
    else:
        known = abs(factor.value) / max(factor.rounding, 1e-10 * abs(factor.value), 1e-300)
        number = f"{factor.value:.{max(3, round(math.log10(max(known, 1.0))))}g}"
    return f"the gradient is {number} times the true one"


# --- kinds of names: each gives the name and the cause, if the factor has one of its kind ---------------------------

_Names = Iterator[tuple[str, str]]


def _whole(factor: Factor, over: str) -> _Names:
    number = round(factor.value)
    if number > 1 and factor.near(number) and _APART * factor.rounding < 1.0:
        yield f"{over}{number}", _cause_of_whole(number, over, factor.lengths)


def _cause_of_whole(number: int, over: str, lengths: Sequence[int]) -> str:
    if number == 2:
        return "a factor 2 forgotten" if over else "something counted twice, or a square's half forgotten"
    cause = "a mean where a sum belongs" if over else "a sum where a mean belongs"
    # 3 is an exponent as often as a length
    if number > 3 and number in lengths:
        return f"{cause}, over axis {list(lengths).index(number)} of that length"
    if number > 3 and len(lengths) > 1 and number == math.prod(lengths):
        return f"{cause}, over all {number} entries"
    if number >= 1024 and number & (number - 1) == 0:
        return "the scale of a loss in mixed precision"
    if number >= 100 and set(str(number)[1:]) == {"0"}:
        return f"another unit, or {cause}"
    return cause


def _keep(factor: Factor, over: str) -> _Names:
    for share in _KEEP:
        if factor.near(share) and _APART * factor.rounding < 0.05:
            n = round(1.0 / (1.0 - share))
            divisor = f", or {_variance(n)}" if share == 1.0 - 1.0 / n and n in factor.lengths else ""
            yield f"{over}{share:g}", f"a keep probability, or another scale{divisor}"


def _decimal(factor: Factor, over: str) -> _Names:
    # 1.01, 0.3 or 12.5; over 1 such as 1/0.3, but 1.25 is simpler than 1/0.8
    number = round(factor.value, 2)
    known = _APART * factor.rounding < 0.01 and factor.near(number)
    if known and 0.0 < number < _LARGEST_DECIMAL and number != 1.0 and (not over or number < 1.0):
        yield f"{over}{number:g}", ""


def _fraction(factor: Factor, over: str) -> _Names:
    fraction = Fraction(factor.value).limit_denominator(_LARGEST_FRACTION)
    if not over and 0 < fraction.numerator <= _LARGEST_FRACTION and factor.surely(float(fraction)):
        yield str(fraction), ""


def _divisor(factor: Factor, over: str) -> _Names:
    for n in factor.lengths:
        if n > 2 and factor.surely(n / (n - 1.0)):
            name = f"{n - 1}/{n}" if over else f"{n}/{n - 1}"
            yield name, _variance(n)


def _variance(n: int) -> str:
    return f"the divisor of a variance, {n} or {n} - 1"


def _root(factor: Factor, over: str) -> _Names:
    square = Factor(factor.value**2, 2.0 * factor.value * factor.rounding)
    number = round(square.value)
    # the squares are 1 apart: chance hits one of them with a probability of twice the rounding
    if 1 < number <= _LARGEST_SQUARE and _APART * square.rounding < 1.0 and square.near(number):
        cause = "the root of a width, as in the scale of attention scores"
        yield f"{over}sqrt({number})", cause


def _constant(factor: Factor, over: str) -> _Names:
    for name, (number, cause) in _CONSTANTS.items():
        if factor.surely(number):
            yield f"{over}({name})" if over and set(name) & set(" /") else f"{over}{name}", cause


def _known(factor: Factor, over: str) -> _Names:
    for name, number in factor.known.items():
        if number > 0.0 and factor.surely(number):
            yield (
                f"{number:.4g}" if not over else f"1/{number:.4g}",
                f"a factor too {'few' if over else 'many'}, {name}",
            )
