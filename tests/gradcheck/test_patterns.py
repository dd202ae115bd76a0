"""Each pattern of a wrong gradient has its name, in any shape, dtype and function; what is only like it has not."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from array_api_compat import array_namespace
from known_functions import QUICK

import mlp_xp as mx

# f(x) = sum(G * phi(x)) has the gradient G at x0, whatever G is, and G * slope(x) elsewhere: phi by (x - x0)
FUNCTIONS: tuple[tuple[Callable, Callable], ...] = (
    (lambda xp, d: d, lambda d: 1.0 + 0.0 * d),
    (lambda xp, d: d + 0.5 * d * d, lambda d: 1.0 + d),
    (lambda xp, d: xp.sin(d), np.cos),
)
DTYPES = ("float64", "float32", "float64")

ANY = ((4, 3), (7,), (2, 3, 4))
MATRICES = ((4, 3), (3, 6), (5, 4))
SQUARES = ((3, 3), (5, 5), (4, 4))
STACKS = ((3, 3), (2, 4, 4), (5, 5))
STACKS_OF_ONE = ((1, 3, 3), (2, 1, 3, 3), (1, 2, 4, 4))
CUBOIDS = ((2, 3, 4), (4, 2, 3), (3, 2, 5))
IMAGES = ((2, 3, 4, 5), (3, 2, 2, 4), (2, 2, 3, 3))
LONG = ((6, 3), (8,), (10, 2, 2))


class Pattern(NamedTuple):
    """``wrong(G, x)`` has ``words``; ``near(G, x)`` is like it, and has not.

    ``true(g, x)`` makes G of random numbers.
    """

    words: str
    shapes: tuple[tuple[int, ...], ...]
    wrong: Callable
    near: Callable
    true: Callable = lambda g, x: g


def t(g):
    """The transpose of each matrix."""
    return np.swapaxes(g, -1, -2)


def relaid(g, order):
    """The bytes of ``g`` with its axes in another order, in the shape of ``g``."""
    return np.ascontiguousarray(np.transpose(g, order)).reshape(g.shape)


def below(g):
    return np.tril(g, -1)


def diagonal(g):
    return np.tril(g) - np.tril(g, -1)


def beside(g):
    return g - diagonal(g)


def shuffled(g):
    """The entries in an order that is no shift, no reverse, no transpose."""
    return np.random.default_rng(5).permutation(g.ravel()).reshape(g.shape)


def per_row(g):
    return np.linspace(1.5, 2.5, g.shape[0])[:, None] * g


def per_column(g):
    return np.linspace(0.3, 2.0, g.shape[1]) ** 2 * g


def per_slice(g, axis):
    """Each slice along ``axis`` has a factor of its own."""
    return np.moveaxis(
        per_row(np.moveaxis(g, axis, 0).reshape(g.shape[axis], -1)).reshape(np.moveaxis(g, axis, 0).shape), 0, axis
    )


def in_rows_of(first, others):
    """Each row has one length, the first another one."""
    return lambda g, x: np.where(np.arange(len(g)) > 0, others, first)[:, None] * g / np.linalg.norm(g, axis=1)[:, None]


def length(g):
    return np.sqrt(np.sum(g * g))


def half_signs(g):
    """Every second entry has the wrong sign."""
    return g * np.where(np.arange(g.size).reshape(g.shape) % 2, 1.0, -1.0)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def along(x, g):
    """The part of ``g`` along ``x``."""
    return np.sum(g * x) / np.sum(x * x) * x


PATTERNS = (
    # factors
    Pattern("the sign is wrong", ANY, lambda g, x: -g, lambda g, x: 1.5 * g),
    Pattern("the sign is wrong, and the gradient is 2 times", ANY, lambda g, x: -2.0 * g, lambda g, x: 2.0 * g),
    Pattern("1 + 3.2e-05 times", ANY, lambda g, x: (1.0 + 3.2e-5) * g, lambda g, x: (1.0 + 6.4e-5) * g),
    Pattern("1 - 0.00021 times", ANY, lambda g, x: (1.0 - 2.1e-4) * g, lambda g, x: (1.0 + 2.1e-4) * g),
    Pattern("is 1.01 times", ANY, lambda g, x: 1.01 * g, lambda g, x: g / 0.99),
    Pattern("is 1/0.99 times", ANY, lambda g, x: g / 0.99, lambda g, x: 1.01 * g),
    Pattern("0.85 times the true one: a keep prob", ANY, lambda g, x: 0.85 * g, lambda g, x: 0.85001 * g),
    Pattern("1/0.7 times the true one: a keep prob", ANY, lambda g, x: g / 0.7, lambda g, x: g / 0.69),
    Pattern("a keep probability", ANY, lambda g, x: 0.55 * g, lambda g, x: 0.3 * g),
    Pattern("sum belongs, over axis 0 of that length", LONG, lambda g, x: g / len(g), lambda g, x: g / (len(g) + 1)),
    Pattern("mean belongs, over axis 0 of that length", LONG, lambda g, x: len(g) * g, lambda g, x: 11.0 * g),
    Pattern("a sum where a mean belongs, over all", MATRICES, lambda g, x: g.size * g, lambda g, x: 7.0 * g),
    Pattern("the divisor of a variance", LONG, lambda g, x: len(g) / (len(g) - 1.0) * g, lambda g, x: 13 / 12 * g),
    Pattern("1/sqrt(8) times", ANY, lambda g, x: g / np.sqrt(8.0), lambda g, x: g / 2.83),
    Pattern("sqrt(10) times", ANY, lambda g, x: np.sqrt(10.0) * g, lambda g, x: 3.162 * g),
    Pattern("1/(ln 2) times", ANY, lambda g, x: g / np.log(2.0), lambda g, x: g / 0.693),
    Pattern("degrees for radians", ANY, lambda g, x: np.pi / 180.0 * g, lambda g, x: 0.01745 * g),
    Pattern("2/3 times", ANY, lambda g, x: g / 1.5, lambda g, x: 0.66667 * g),
    Pattern("4096 times the true one: the scale of a loss", ANY, lambda g, x: 4096.0 * g, lambda g, x: 4095.0 * g),
    Pattern("1000 times the true one: another unit", ANY, lambda g, x: 1000.0 * g, lambda g, x: 1001.0 * g),
    Pattern(
        "so that the length of the gradient is 1?", ANY, lambda g, x: g / length(g), lambda g, x: 1.001 * g / length(g)
    ),
    Pattern("0.5?", ANY, lambda g, x: 0.5 * g / length(g), lambda g, x: 0.55 * g / length(g)),
    Pattern("the gradient is 1.2345 times", ANY, lambda g, x: 1.2345 * g, lambda g, x: 1.2346 * g),
    # a factor of each row
    Pattern(
        "each row is off by a factor of its own, 1.5 to 2.5",
        MATRICES,
        lambda g, x: per_row(g),
        lambda g, x: per_column(g),
    ),
    Pattern("each column is off by a factor of its own", MATRICES, lambda g, x: per_column(g), lambda g, x: per_row(g)),
    Pattern("each slice along axis 1 is off", CUBOIDS, lambda g, x: per_slice(g, 1), lambda g, x: per_slice(g, 2)),
    Pattern(
        "each row is off by a factor of its own, ",
        MATRICES,
        lambda g, x: g / np.sqrt(np.sum(g * g, axis=1, keepdims=True)),
        lambda g, x: g / np.sqrt(np.sum(g * g, axis=0, keepdims=True)),
    ),
    Pattern("each is normalised to length 1?", MATRICES, in_rows_of(1.0, 1.0), in_rows_of(1.0, 1.0 + 2e-6)),
    Pattern("each is normalised to length 0.25?", MATRICES, in_rows_of(0.25, 0.25 + 1e-7), in_rows_of(0.25, 0.3)),
    # orders
    Pattern("the gradient is transposed", SQUARES, lambda g, x: t(g), lambda g, x: t(g) * 1.1),
    Pattern("transposed and reshaped", MATRICES, lambda g, x: relaid(g, (1, 0)), lambda g, x: shuffled(g)),
    Pattern("Fortran order", CUBOIDS, lambda g, x: relaid(g, (2, 1, 0)), lambda g, x: relaid(g, (1, 0, 2))),
    Pattern("(1, 0, 2)", CUBOIDS, lambda g, x: relaid(g, (1, 0, 2)), lambda g, x: relaid(g, (0, 2, 1))),
    Pattern("channels last", IMAGES, lambda g, x: relaid(g, (0, 2, 3, 1)), lambda g, x: relaid(g, (0, 1, 3, 2))),
    Pattern("channels first", IMAGES, lambda g, x: relaid(g, (0, 3, 1, 2)), lambda g, x: relaid(g, (0, 2, 3, 1))),
    Pattern(
        "in reverse order along the last two axes",
        ((2, 3, 3), (2, 3, 2, 3), (3, 5)),
        lambda g, x: g[..., ::-1, ::-1],
        lambda g, x: g[..., ::-1],
    ),
    Pattern("in reverse order", ANY, lambda g, x: g[::-1], lambda g, x: 1.1 * g[::-1]),
    Pattern("shifted by half the length", LONG, lambda g, x: np.roll(g, len(g) // 2, 0), lambda g, x: np.roll(g, 2, 0)),
    Pattern("shifted by -1", LONG, lambda g, x: np.roll(g, -1, 0), lambda g, x: np.roll(g, 1, 0)),
    Pattern("the entries are right, but in another", ANY, lambda g, x: shuffled(g), lambda g, x: 1.01 * shuffled(g)),
    # sums and means
    Pattern(
        "averaged over axis 0 and spread",
        MATRICES,
        lambda g, x: np.mean(g, 0, keepdims=True) + 0.0 * g,
        lambda g, x: np.mean(g, 1, keepdims=True) + 0.0 * g,
    ),
    Pattern(
        "summed over axis 1 and spread",
        MATRICES,
        lambda g, x: np.sum(g, 1, keepdims=True) + 0.0 * g,
        lambda g, x: np.mean(g, 1, keepdims=True) + 0.0 * g,
    ),
    Pattern("the sum of all", ANY, lambda g, x: np.sum(g) + 0.0 * g, lambda g, x: 1.1 * np.sum(g) + 0.0 * g),
    Pattern("the mean of all", ANY, lambda g, x: np.mean(g) + 0.0 * g, lambda g, x: 1.1 * np.mean(g) + 0.0 * g),
    Pattern(
        "the mean over axis 0 is not taken out",
        MATRICES,
        lambda g, x: g + g[0] * g[1],
        lambda g, x: g + g[:, :1],
        lambda g, x: g - np.mean(g, 0),
    ),
    Pattern(
        "the mean is not taken out", ANY, lambda g, x: g + 0.7, lambda g, x: g + 0.7 * x, lambda g, x: g - np.mean(g)
    ),
    Pattern("1: a constant", ANY, lambda g, x: g + 0.7, lambda g, x: g + 0.7 * x),
    Pattern("the mean over axis 0 is taken out", MATRICES, lambda g, x: g - np.mean(g, 0), lambda g, x: g - g[0]),
    Pattern("the mean is taken out", ANY, lambda g, x: g - np.mean(g), lambda g, x: g - 0.5 * np.mean(g)),
    Pattern(
        "the part along the parameter is not taken out",
        ANY,
        lambda g, x: g + 0.8 * x,
        lambda g, x: g + 0.8,
        lambda g, x: g - along(x, g),
    ),
    Pattern("0.8 times the parameter itself", ANY, lambda g, x: g + 0.8 * x, lambda g, x: g + 0.8 * x * x),
    Pattern("missing, 0.01 times the parameter's sign", ANY, lambda g, x: g - 0.01 * np.sign(x), lambda g, x: g - 0.01),
    # triangles
    Pattern("the symmetric part, (G + G^T)/2, of", STACKS, lambda g, x: (g + t(g)) / 2, lambda g, x: (g + t(g)) / 3),
    Pattern(
        "the symmetric part, (G + G^T)/2, of the true gradient",
        STACKS,
        lambda g, x: (g + t(g)) / 2,
        lambda g, x: 0.6 * g + 0.4 * t(g),
        lambda g, x: np.tril(g),
    ),
    Pattern("plus its transpose", STACKS, lambda g, x: g + t(g), lambda g, x: g + 0.9 * t(g)),
    Pattern("this is the skew part", STACKS, lambda g, x: (g - t(g)) / 2, lambda g, x: g - t(g)),
    Pattern(
        "the symmetric part of it, (G + G^T)/2, is the true gradient: f symmetrises",
        STACKS,
        lambda g, x: g + below(x) - t(below(x)),
        lambda g, x: g + below(x),
        lambda g, x: g + t(g),
    ),
    Pattern(
        "the skew part of it",
        STACKS,
        lambda g, x: g + below(x) + t(below(x)),
        lambda g, x: g + below(x),
        lambda g, x: g - t(g),
    ),
    Pattern("only the lower triangle of the true", STACKS, lambda g, x: np.tril(g), lambda g, x: np.tril(g) * 1.1),
    Pattern("only the upper triangle of the true", STACKS, lambda g, x: np.triu(g), lambda g, x: np.triu(g) * 1.1),
    Pattern("only the lower triangle of the", STACKS_OF_ONE, lambda g, x: np.tril(g), lambda g, x: np.tril(g) * 1.1),
    Pattern(
        "the true gradient is only the lower triangle",
        STACKS,
        lambda g, x: g + t(below(x)),
        lambda g, x: g + x,
        lambda g, x: np.tril(g),
    ),
    Pattern(
        "the true gradient is only the upper triangle",
        STACKS,
        lambda g, x: g + below(x),
        lambda g, x: g + x,
        lambda g, x: np.triu(g),
    ),
    Pattern(
        "the lower triangle of the true gradient, twice off",
        STACKS,
        lambda g, x: np.tril(g) + below(g),
        lambda g, x: np.tril(g) + 1.1 * below(g),
        lambda g, x: g + t(g),
    ),
    Pattern(
        "the upper triangle of the true gradient, twice off",
        STACKS,
        lambda g, x: np.triu(g) + t(below(g)),
        lambda g, x: np.triu(g) + 1.1 * t(below(g)),
        lambda g, x: g + t(g),
    ),
    Pattern("2 times the true one off the diagonal", STACKS, lambda g, x: g + beside(g), lambda g, x: g + below(g)),
    Pattern("1/2 times the true one off the", STACKS, lambda g, x: g - beside(g) / 2, lambda g, x: g - below(g) / 2),
    Pattern("2 times the true one on the", STACKS, lambda g, x: g + diagonal(g), lambda g, x: g + 1.1 * diagonal(g)),
    Pattern("1/2 times the true one on the", STACKS, lambda g, x: g - diagonal(g) / 2, lambda g, x: g - diagonal(g)),
    Pattern("only the diagonal of", STACKS, lambda g, x: diagonal(g), lambda g, x: 1.1 * diagonal(g)),
    Pattern("without its diagonal", STACKS, lambda g, x: beside(g), lambda g, x: 1.1 * beside(g)),
    # inner factors
    Pattern("too much, the parameter: the gradient by its log", ANY, lambda g, x: x * g, lambda g, x: (x + 0.1) * g),
    Pattern("a factor is missing, the parameter", ANY, lambda g, x: g / x, lambda g, x: g / (x + 0.1)),
    Pattern("too much, the parameter squared", ANY, lambda g, x: x * x * g, lambda g, x: x**3 * g),
    Pattern("missing, the parameter's size", ANY, lambda g, x: g / abs(x), lambda g, x: g / (abs(x) + 0.1)),
    Pattern("missing, the parameter's root", ANY, lambda g, x: g / abs(x) ** 0.5, lambda g, x: g / abs(x) ** 0.6),
    Pattern("missing, exp(parameter): the gradient by", ANY, lambda g, x: g / np.exp(x), lambda g, x: g / 2.0**x),
    Pattern("too much, exp(parameter)", ANY, lambda g, x: g * np.exp(x), lambda g, x: g * 2.0**x),
    Pattern("missing, sigmoid(parameter)", ANY, lambda g, x: g / sigmoid(x), lambda g, x: g / sigmoid(2 * x)),
    Pattern(
        "missing, the sigmoid's slope",
        ANY,
        lambda g, x: g / sigmoid(x) / sigmoid(-x),
        lambda g, x: g / sigmoid(x) ** 2,
    ),
    Pattern("missing, the slope of tanh", ANY, lambda g, x: g * np.cosh(x) ** 2, lambda g, x: g * np.cosh(x)),
    # sizes and signs
    Pattern("the signs are not: this is the absolute value", ANY, lambda g, x: abs(g), lambda g, x: half_signs(g)),
    Pattern("the sizes are right, the signs are not: in", ANY, lambda g, x: half_signs(g), lambda g, x: 1.1 * abs(g)),
    Pattern("only the signs are right", ANY, lambda g, x: 0.3 * np.sign(g), lambda g, x: 0.3 * np.sign(g) * abs(x)),
    Pattern("negative entries are zero", ANY, lambda g, x: np.maximum(g, 0.0), lambda g, x: np.maximum(g, 0.2)),
    Pattern("clipped at 0.5", ANY, lambda g, x: np.clip(g, -0.5, 0.5), lambda g, x: np.clip(g, -0.5, 0.4)),
    Pattern("clipped from -0.4 to 0.6", LONG, lambda g, x: np.clip(g, -0.4, 0.6), lambda g, x: np.clip(g, -0.4, 0.5)),
)


def diagnosis(put, host, pattern, number, wrong):
    """What is said of ``wrong`` instead of the gradient, for the sibling ``number`` of a pattern."""
    phi, slope = FUNCTIONS[number]
    shape, dtype = pattern.shapes[number], DTYPES[number]
    random = np.random.default_rng([number, len(pattern.words)])
    x0 = (random.choice([-1.0, 1.0], shape) * random.uniform(0.3, 1.8, shape)).astype(dtype)
    G = pattern.true(random.choice([-1.0, 1.0], shape) * random.uniform(0.3, 1.8, shape), x0.astype("float64"))

    def f(x):
        xp = array_namespace(x)
        return xp.sum(put(G, x.dtype) * phi(xp, x - put(x0, x.dtype)))

    def grad(x):
        at = host(x).astype("float64")
        return (put(wrong(G * slope(at - x0), at), x.dtype),)

    report = mx.gradcheck(f, grad, (put(x0),), names=("x",))
    assert report.verdict == "fail"
    return report.tensors[0]


@QUICK
@pytest.mark.parametrize("shape", [(5,), (3, 2), (2, 2, 2)])
@pytest.mark.parametrize(
    ("factor", "words"),
    [(0.9, "0.9 times the true one: a keep prob"), (7.0**-0.5, "1/sqrt(7) times"), (np.pi, "is pi times")],
)
def test_a_constant_that_was_rounded_to_float32_has_its_name(put, shape, factor, words):
    x = put(np.random.default_rng(3).uniform(0.3, 1.8, shape).astype("float32"))
    rounded = float(np.float32(factor))

    def f(x):
        return array_namespace(x).sum(x * x * x)

    assert words in mx.gradcheck(f, lambda x: (rounded * 3.0 * x * x,), (x,)).tensors[0].diagnosis


@QUICK
@pytest.mark.parametrize("shape", [(5,), (3, 2), (2, 2, 2)])
@pytest.mark.parametrize(
    ("of", "words"),
    [
        # f = sqrt(g), log(g), g^2 with the gradient of g
        (lambda xp, g: xp.sqrt(g), "times the true one: a factor too many, 2 f?"),
        (lambda xp, g: xp.log(g), "times the true one: a factor too many, exp(f)?"),
        (lambda xp, g: xp.exp(0.3 * g) / 0.3, None),
        (lambda xp, g: xp.exp(g), "times the true one: a factor too few, f?"),
    ],
)
def test_a_forgotten_outer_function_is_named_by_the_factor_that_it_leaves(put, shape, of, words):
    x = put(np.random.default_rng(3).uniform(0.3, 0.8, shape))

    def f(x):
        xp = array_namespace(x)
        return of(xp, xp.sum(x * x * x))

    said = mx.gradcheck(f, lambda x: (3.0 * x * x,), (x,)).tensors[0].diagnosis
    assert said.endswith(words) if words else "factor" not in said


@pytest.mark.only("numpy")
def test_a_zero_among_absolute_values_is_one():
    """Where there is a negative number, the entries are counted."""
    g = np.asarray([-1.3, 0.0, -0.4, 0.9, 1.7])

    def said(wrong):
        return mx.gradcheck(lambda x: array_namespace(x).sum(g * x), lambda x: (wrong,), (np.ones(5),)).tensors[0]

    head = "the sizes are right, the signs are not: "
    assert said(np.abs(g)).diagnosis == f"{head}this is the absolute value"
    assert said(np.asarray([1.3, 0.0, 0.4, 0.9, -1.7])).diagnosis == f"{head}in 3 of 5 entries"


HERE = pytest.mark.only("numpy")  # the numbers are the same on every backend: one case of each is enough elsewhere
IDS = [f"{i} {pattern.words}" for i, pattern in enumerate(PATTERNS)]


@pytest.mark.parametrize("number", [pytest.param(0, marks=QUICK), *(pytest.param(n, marks=HERE) for n in (1, 2))])
@pytest.mark.parametrize("pattern", PATTERNS, ids=IDS)
def test_a_pattern_has_its_name(put, host, pattern, number):
    row = diagnosis(put, host, pattern, number, pattern.wrong)
    assert pattern.words in row.diagnosis
    assert row.explained


@HERE
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("pattern", PATTERNS, ids=IDS)
def test_what_is_like_a_pattern_has_not_its_name(put, host, pattern, number):
    assert pattern.words not in diagnosis(put, host, pattern, number, pattern.near).diagnosis


@HERE
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("pattern", PATTERNS, ids=IDS)
def test_a_pattern_that_explains_all_but_a_few_percent_of_the_error_is_not_named(put, host, pattern, number):
    random = np.random.default_rng(8)
    shake = random.choice([-1.0, 1.0], pattern.shapes[number]) * random.uniform(0.02, 0.05, pattern.shapes[number])
    row = diagnosis(
        put, host, pattern, number, lambda g, x: pattern.wrong(g, x) + shake * length(pattern.wrong(g, x) - g)
    )
    assert not row.explained, row.diagnosis
