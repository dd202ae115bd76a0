"""The names of numbers: a factor has the simplest name that it has, and none that it has by chance."""

from __future__ import annotations

import math

import pytest

from mlp_xp.gradcheck.factors import Factor, in_digits, with_a_name

pytestmark = pytest.mark.only("numpy")  # no arrays here

EXACT = 1e-12

# what is said of a number; "" where it has no name
NAMES = {
    "the sign is wrong": [-1.0, -1.0 - 1e-13],
    "the sign is wrong, and the gradient is 1/2 times the true one: a factor 2 forgotten?": [-0.5],
    "the gradient is 2 times the true one: something counted twice, or a square's half forgotten?": [2.0, 2.0 + 1e-12],
    "the gradient is 1/2 times the true one: a factor 2 forgotten?": [0.5],
    "the gradient is 3 times the true one: a sum where a mean belongs?": [3.0],
    "the gradient is 1/37 times the true one: a mean where a sum belongs?": [1.0 / 37.0],
    "the gradient is 10 times the true one: a sum where a mean belongs?": [10.0],
    "the gradient is 1/100 times the true one: another unit, or a mean where a sum belongs?": [0.01],
    "the gradient is 100 times the true one: another unit, or a sum where a mean belongs?": [100.0],
    "the gradient is 1024 times the true one: the scale of a loss in mixed precision?": [1024.0],
    "the gradient is 512 times the true one: a sum where a mean belongs?": [512.0],
    "the gradient is 1/65536 times the true one: the scale of a loss in mixed precision?": [2.0**-16],
    "the gradient is 0.55 times the true one: a keep probability, or another scale?": [0.55],
    "the gradient is 0.95 times the true one: a keep probability, or another scale?": [0.95],
    "the gradient is 1/0.8 times the true one: a keep probability, or another scale?": [1.25],
    "the gradient is 0.3 times the true one": [0.3],
    "the gradient is 0.99 times the true one": [0.99],
    "the gradient is 1.01 times the true one": [1.01],
    "the gradient is 12.5 times the true one": [12.5],
    "the gradient is 1/0.99 times the true one": [1.0 / 0.99],
    "the gradient is 1/0.3 times the true one": [1.0 / 0.3],
    "the gradient is 2/3 times the true one": [2.0 / 3.0],
    "the gradient is 1/0.75 times the true one: a keep probability, or another scale?": [4.0 / 3.0],
    "the gradient is 7/3 times the true one": [7.0 / 3.0],
    "the gradient is 9/7 times the true one": [9.0 / 7.0],
    "the gradient is 8/9 times the true one": [8.0 / 9.0],
    "the gradient is 65537 times the true one: a sum where a mean belongs?": [65537.0],
    "the gradient is sqrt(2) times": [math.sqrt(2.0)],
    "the gradient is 1/sqrt(48) times": [1.0 / math.sqrt(48.0)],
    "the gradient is sqrt(4095) times": [math.sqrt(4095.0)],
    "the gradient is ln 10 times the true one: a logarithm of base 10": [math.log(10.0)],
    "the gradient is 1/(ln 2) times the true one: a logarithm of base 2": [1.0 / math.log(2.0)],
    "the gradient is pi/180 times the true one: degrees for radians?": [math.pi / 180.0],
    "the gradient is 1/(pi/180) times the true one: degrees": [180.0 / math.pi],
    "the gradient is 1/pi times": [1.0 / math.pi],
    "the gradient is 2 pi times": [2.0 * math.pi],
    "the gradient is 1/(sqrt(2 pi)) times": [1.0 / math.sqrt(2.0 * math.pi)],
    "the gradient is sqrt(2/pi) times": [math.sqrt(2.0 / math.pi)],
    "": [
        0.0, math.nan, math.inf, 1.2345, 1.0 + 1e-8, 2.0001, 0.500001, 1.01001, 0.85001, 0.333, 1.414, 3.1416, 0.6931,
        math.sqrt(4097.0), 0.01745, -1.2345, -1.00001, 123456.7, 1.0 / 3.7001, 1.4285, 10.0001, 65536.1, 0.0345678,
        3.0 + 1e-7, 1.0 / 3.0 + 1e-7, 11.0 / 13.0, 13.0 / 11.0, 11.0 / 7.0, 7.0 / 11.0, 1.0, 1.0 + 1e-13,
    ],
}  # fmt: skip


@pytest.mark.parametrize(("words", "number"), [(words, number) for words, all_ in NAMES.items() for number in all_])
def test_a_number_has_its_name(words, number):
    said = with_a_name(Factor(number, EXACT * abs(number)))
    assert said.startswith(words) if words else said == ""


# what rounding hides has no name: the number, how far it may be off, whether it is then still named
@pytest.mark.parametrize(
    ("number", "rounding", "named"),
    [
        (2.0, 1e-3, True), (2.0, 0.1, False), (32.0, 1e-2, True), (32.0, 0.1, False), (1.0 / 32.0, 1e-5, True),
        (1.0 / 32.0, 1e-4, False), (0.85, 1e-4, True), (0.85, 2e-3, False), (1.01, 1e-5, True), (1.01, 1e-3, False),
        (math.sqrt(7.0), 1e-4, True), (math.sqrt(7.0), 1e-2, False), (math.pi, 1e-5, True), (math.pi, 1e-3, False),
        (2.0 / 3.0, 1e-6, True), (2.0 / 3.0, 1e-3, False), (-1.0, 1e-3, True), (3.001, 0.002, True),
        (3.001, 0.0005, False), (0.03, 1e-7, True),
    ],
)  # fmt: skip
def test_a_number_that_is_not_well_known_has_no_name(number, rounding, named):
    assert bool(with_a_name(Factor(number, rounding))) == named


@pytest.mark.parametrize("name", [0.95, 1.01, 0.99, 2.0, 3.0, -1.0, 1.0 / 3.0])
def test_a_name_is_near_by_a_hundred_millionth_of_itself_and_of_its_distance_from_1(name):
    """What says 0.95 means that 0.05 is gone: it is known as well as that."""
    close = 1e-8 * min(abs(name), abs(name - 1.0))
    for sign in (1.0, -1.0):
        assert Factor(name + sign * 0.9 * close, 0.0).near(name)
        assert not Factor(name + sign * 1.1 * close, 0.0).near(name)
        assert Factor(name + sign * (0.9 * close + 1e-3), 1e-3).near(name)
        assert not Factor(name + sign * (1.1 * close + 1e-3), 1e-3).near(name)
        assert Factor(name, 0.9e4 * close).surely(name)  # a ten-thousandth
        assert not Factor(name, 1.1e4 * close).surely(name)
        assert not Factor(name + sign * 1.1 * close, 0.0).surely(name)
    assert Factor(2.0 + 2.0**-26, 2.0**-26 - 1e-8).near(2.0)  # by just as much
    assert Factor(2.0, 1e-4).surely(2.0)


def test_what_undoes_a_factor_is_known_as_well_as_that():
    """1 / 4 and 1 / 4.04 are 1% apart, as 4 and 4.04 are."""
    factor = Factor(4.0, 0.04, (4, 3), {"f": 4.0})
    assert factor.inverse == (0.25, 0.0025, (4, 3), {"f": 4.0})
    assert factor.inverse.inverse == factor


@pytest.mark.parametrize(
    ("number", "lengths", "cause"),
    [
        (8.0, (8, 3), "a sum where a mean belongs, over axis 0 of that length?"),
        (1.0 / 8.0, (3, 8), "a mean where a sum belongs, over axis 1 of that length?"),
        (24.0, (8, 3), "a sum where a mean belongs, over all 24 entries?"),
        (24.0, (24,), "a sum where a mean belongs, over axis 0 of that length?"),
        (3.0, (8, 3), "a sum where a mean belongs?"),  # an exponent as often
        (2.0, (2, 2), "something counted twice, or a square's half forgotten?"),
        (9.0, (8, 3), "a sum where a mean belongs?"),
        (1024.0, (1024, 3), "a sum where a mean belongs, over axis 0 of that length?"),
        (7.0 / 6.0, (7, 2), "7/6 times the true one: the divisor of a variance, 7 or 7 - 1?"),
        (6.0 / 7.0, (2, 7), "6/7 times the true one: the divisor of a variance, 7 or 7 - 1?"),
        (7.0 / 6.0, (8, 2), "7/6 times the true one"),
        (0.9, (10,), "a keep probability, or another scale, or the divisor of a variance, 10 or 10 - 1?"),
        (0.9, (9,), "a keep probability, or another scale?"),
        (0.85, (7,), "a keep probability, or another scale?"),
        (2.0, (1, 2), "something counted twice, or a square's half forgotten?"),
    ],
)
def test_the_length_of_an_axis_is_a_cause(number, lengths, cause):
    assert with_a_name(Factor(number, EXACT, lengths)).endswith(cause)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0.2345678, "0.2346 times the true one: a factor too many, f?"),
        (1.0 / 0.2345678, "1/0.2346 times the true one: a factor too few, f?"),
        (0.23456, ""),
        (-0.2345678, "the sign is wrong, and the gradient is 0.2346 times"),
    ],
)
def test_a_number_of_the_callers_is_a_name(number, words):
    said = with_a_name(Factor(number, EXACT, (), {"f": 0.2345678, "zero": 0.0}))
    assert words in said if words else said == ""


@pytest.mark.parametrize(
    ("number", "rounding", "words"),
    [
        (1.0 + 3.2e-9, 1e-11, "1 + 3.2e-09 times"),
        (1.0 - 3.2e-9, 1e-11, "1 - 3.2e-09 times"),
        (1.0 + 9.9e-4, 1e-9, "1 + 0.00099 times"),
        (1.0011, 1e-9, "1.0011 times"),
        (1.23456789, 1e-4, "1.235 times"),
        (1.23456789, 1e-6, "1.23457 times"),
        (1.23456789, 0.0, "1.23456789 times"),
        (-1.23456789, 0.5, "-1.23 times"),
        (4.56e-12, 1e-15, "4.56e-12 times"),
        (1.234567890123, 0.0, "1.23456789 times"),
        (5.432109876543e-291, 0.0, "5.432109877e-291 times"),  # where a ten-billionth of it is hardly a number
    ],
)
def test_a_number_without_a_name_has_the_digits_that_are_known(number, rounding, words):
    assert in_digits(Factor(number, rounding)) == f"the gradient is {words} the true one"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_from_1e_minus_100_to_1e100_a_factor_may_have_a_name(sign):
    for number, named in ((1.1e-100, True), (0.9e-100, False), (0.9e100, True), (1.1e100, False)):
        assert bool(with_a_name(Factor(sign * number, 0.0))) == named


@pytest.mark.parametrize("number", [1e200, -1e200, 1e-200, 1e308, 5e-324, 1e160])
def test_a_factor_whose_square_is_no_number_has_digits_and_no_name(number):
    factor = Factor(number, 0.0, (3, 4))
    assert with_a_name(factor) == ""
    assert in_digits(factor) == f"the gradient is {number:.3g} times the true one"
