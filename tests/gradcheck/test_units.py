"""Numbers of several units in one array: each entry is judged in its own scale."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from known_functions import QUICKEST, on_arrays

import mlp_xp as mx
from mlp_xp.gradcheck.arrays import scales_of

pytestmark = QUICKEST


def sinusoid(xp, put):
    """SciPy's usual flat vector: amplitude, time constant, frequency, offset of a decaying oscillation."""
    t = put(np.linspace(1e-10, 6e-9, 40))
    data = put(np.random.default_rng(0).standard_normal(40))

    def parts(p):
        decay, wave = xp.exp(-t / p[1]), 2.0 * np.pi * p[2] * t
        return decay, xp.sin(wave), xp.cos(wave), p[0] * decay * xp.sin(wave) + p[3] - data

    def f(p):
        return 0.5 * xp.sum(parts(p)[3] ** 2)

    def grad(p):
        decay, sine, cosine, r = parts(p)
        along = (
            decay * sine,
            p[0] * decay * sine * t / p[1] ** 2,
            p[0] * decay * cosine * 2.0 * np.pi * t,
            1.0 + 0.0 * t,
        )
        return (xp.stack([xp.sum(r * column) for column in along]),)

    return f, grad, put([3.0, 2e-9, 1e9, 0.1])


def logistic_growth(xp, put):
    """Capacity, rate, and day of the inflection."""
    t, data = put(np.linspace(0.0, 100.0, 30)), put(9e5 / (1.0 + np.exp(-0.28 * (np.linspace(0.0, 100.0, 30) - 52.0))))

    def f(p):
        return 0.5 * xp.sum((p[0] / (1.0 + xp.exp(-p[1] * (t - p[2]))) - data) ** 2)

    def grad(p):
        q = 1.0 / (1.0 + xp.exp(-p[1] * (t - p[2])))
        r, slope = p[0] * q - data, p[0] * q * (1.0 - q)
        return (xp.stack([xp.sum(r * q), xp.sum(r * slope * (t - p[2])), -xp.sum(r * slope * p[1])]),)

    return f, grad, put([1e6, 0.3, 50.0])


def arrhenius(xp, put):
    """Rate constant and activation energy over the gas constant."""
    temperature = put(np.linspace(300.0, 400.0, 12))

    def f(p):
        return xp.mean((p[0] * xp.exp(-p[1] / temperature)) ** 2)

    def grad(p):
        value = p[0] * xp.exp(-p[1] / temperature)
        return (xp.stack([2.0 * xp.mean(value * value) / p[0], -2.0 * xp.mean(value * value / temperature)]),)

    return f, grad, put([3e11, 8e3])


def waves(xp, put):
    """A wave in each entry, as fast as the entry is small."""
    units = put([1e-8, 1.0, 1e8, 1e3])

    def f(x):
        return xp.sum(xp.sin(3.0 * x / units))

    def grad(x):
        return (3.0 * xp.cos(3.0 * x / units) / units,)

    return f, grad, put([1.3e-8, -0.7, 0.9e8, 2.1e3])


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("family", [sinusoid, logistic_growth, arrhenius, waves])
def test_a_fit_of_several_units_is_judged_entry_by_entry(xp, put, host, family, plain):
    f, grad, p = family(xp, put)
    f = on_arrays(f) if plain else f
    for mode in ("auto", "full"):
        report = mx.gradcheck(f, grad, p, mode=mode)
        report.raise_if_failed()
        assert report.tensors[0].resolution < 1e-5
    for place in range(p.shape[0]):
        for factor in (2.0, 1.001, 0.0):
            factors = put(np.where(np.arange(p.shape[0]) == place, factor, 1.0))
            report = mx.gradcheck(f, lambda p: (factors * grad(p)[0],), p)  # noqa: B023
            assert report.verdict == "fail"
            assert report.tensors[0].index == (place,)  # no right entry is blamed
            true = float(host(grad(p)[0])[place])
            assert abs(report.tensors[0].numeric - true) < 1e-5 * abs(true)


@pytest.mark.parametrize("seed", range(6))
def test_verdicts_do_not_depend_on_the_unit_of_each_entry(xp, put, seed):
    random = np.random.default_rng(seed)
    x, units = random.standard_normal(6), 10.0 ** random.uniform(-9, 9, 6)
    A, u = put(random.standard_normal((6, 6))), put(units)

    def f(x):
        return xp.sum(xp.tanh(A @ (x * u)))

    def grad(x):
        return (xp.matrix_transpose(A) @ (1.0 - xp.tanh(A @ (x * u)) ** 2) * u,)

    for g in (f, on_arrays(f)):
        mx.gradcheck(g, grad, (put(x / units),), seed=seed).raise_if_failed()
        place = int(random.integers(6))
        off = put(1.0 + 1e-2 * (np.arange(6) == place))
        report = mx.gradcheck(g, lambda x: (off * grad(x)[0],), (put(x / units),), seed=seed)  # noqa: B023
        assert report.verdict == "fail"
        assert report.tensors[0].index == (place,)


def test_an_entry_that_is_small_by_accident_is_not_lost_among_others(xp, put):
    """What rounding left of a zero is no unit: where slopes are exact its gradient is checked in the array's scale."""
    x = put([1.0, 1e-17, -0.5, 3e-18])
    wrong = put([1.0, 1.5, 1.0, 1.0])
    f, grad = (lambda x: xp.sum(xp.exp(x))), (lambda x: (xp.exp(x),))
    mx.gradcheck(f, grad, (x,)).raise_if_failed()
    assert mx.gradcheck(f, lambda x: (wrong * grad(x)[0],), (x,)).verdict == "fail"


@pytest.mark.parametrize(
    ("f", "slope", "at"),
    [
        (mpmath.sin, lambda x: mpmath.cos(x), 2e-9),
        (lambda x: 1 / x, lambda x: -1 / x**2, 3e-12),
        (lambda x: mpmath.exp(-x / mpmath.mpf(1e-6)), lambda x: -1e6 * mpmath.exp(-x / mpmath.mpf(1e-6)), 2e-6),
        (lambda x: mpmath.log(x), lambda x: 1 / x, 5e7),
        (lambda x: x**2, lambda x: 2 * x, 1e-20),
        (lambda x: 1 + x, lambda x: mpmath.mpf(1), 1e-20),
    ],
)
def test_the_step_of_numerical_grad_follows_the_entry(put, host, f, slope, at):
    ours = host(mx.numerical_grad(lambda x: float(f(mpmath.mpf(float(host(x))))), put(at)))
    assert abs(float(ours) - float(slope(mpmath.mpf(at)))) < 1e-4 * abs(float(slope(mpmath.mpf(at))))


def test_the_step_of_numerical_grad_follows_each_of_several_entries(xp, put, host):
    f, grad, p = sinusoid(xp, put)
    np.testing.assert_allclose(host(mx.numerical_grad(f, p)), host(grad(p)[0]), rtol=1e-5)
    x = put([5.9e8 * 2e-9, 2e-9, 0.0])
    ours = host(mx.numerical_grad(lambda x: xp.sin(5.9e8 * x[1]) + xp.sin(x[0]) + x[2], x))
    np.testing.assert_allclose(ours, [np.cos(1.18), 5.9e8 * np.cos(1.18), 1.0], rtol=1e-6)


def large(name):
    """An array of 60,000 numbers: of one unit, or of several in columns, in rows, or in one entry."""
    x = np.random.default_rng(3).standard_normal((200, 300))
    if name == "columns":
        return x * 10.0 ** np.resize([0.0, 9.0, -9.0], 300)
    if name == "rows":
        return x * 10.0 ** np.resize([0.0, 9.0, -9.0, 4.0], 200)[:, None]
    if name == "one entry":
        x[117, 203] = 1e9
    if name == "mostly zeros":
        x[:, 2:] = 0.0
        x[:, 0] *= 1e9
    return x if name != "a thousandth of zeros" else x * (np.arange(300) % 150 > 0)


@pytest.mark.parametrize("name", ["columns", "rows", "one entry", "mostly zeros"])
def test_units_are_seen_in_a_large_array(xp, put, name):
    x = large(name)
    found = np.asarray(scales_of(xp, put(x)))
    assert found.shape == x.shape
    assert np.allclose(found[x != 0.0], np.abs(x[x != 0.0]), rtol=1e-12)


@pytest.mark.parametrize("name", ["one unit", "a thousandth of zeros"])
@pytest.mark.parametrize("unit", [1.0, 1e-200, 1e200])
def test_a_large_array_of_one_unit_has_one_scale(xp, put, name, unit):
    x = large(name)
    found = scales_of(xp, put(unit * x))
    assert found.shape == ()
    assert float(found) == pytest.approx(unit * np.sqrt(np.mean(x * x)), rel=1e-12, abs=0.0)
