"""Slopes and noise of a function of one number, whose derivative is known: the error stays within the stated bound."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import struct

import numpy as np
import pytest

from mlp_xp.gradcheck import slopes
from mlp_xp.gradcheck.arrays import norm, scale_of
from mlp_xp.gradcheck.slopes import directional_slope, evaluation_noise

pytestmark = pytest.mark.only("numpy")  # nothing here is an array of another library
EPSILON = float(np.finfo(np.float64).eps)
EPSILON32 = float(np.finfo(np.float32).eps)
EPSILON_BFLOAT16 = 2.0**-7


class Counted:
    """``phi``, and the points at which it was called."""

    def __init__(self, phi):
        self.phi, self.points = phi, []

    def __call__(self, t):
        self.points.append(t)
        return self.phi(t)


def slope_of(phi, epsilon=EPSILON, finest=0.0):
    value = phi(0.0)
    return directional_slope(phi, value, evaluation_noise(phi, value, epsilon).sigma, epsilon, finest)


# --- kinds of rounding -----------------------------------------------------------------------------------------------


def to_grid(step):
    """Rounding to multiples of ``step``. Between 1 and 2 that is float32 (2^-23), float16 (2^-10), bfloat16 (2^-7)."""
    return lambda x: step * np.round(np.asarray(x, dtype=np.float64) / step)


FLOAT32, FLOAT16, BFLOAT16 = to_grid(2.0**-23), to_grid(2.0**-10), to_grid(2.0**-7)


def uniform(step):
    """The standard deviation of rounding to multiples of ``step``."""
    return step / math.sqrt(12.0)


def normal_at(t, key):
    """A standard normal number that depends on the bits of t alone."""
    u, v = struct.unpack("<QQ", hashlib.blake2b(struct.pack("<dq", t, key), digest_size=16).digest())
    return math.sqrt(-2.0 * math.log((u + 0.5) / 2.0**64)) * math.cos(2.0 * math.pi * v / 2.0**64)


def smooth_function(random):
    """A sum of tanh with values from 1.1 to 1.9, and its derivative."""
    count = int(random.integers(1, 6))
    rate, shift, weight = random.normal(size=count), random.normal(size=count), random.uniform(-1.0, 1.0, count)
    weight *= 0.4 / np.sum(np.abs(weight))

    def phi(t):
        return 1.5 + float(np.sum(weight * np.tanh(rate * t + shift)))

    return phi, lambda t: float(np.sum(weight * rate / np.cosh(rate * t + shift) ** 2))


def rounded_result(grid, step):
    def kind(random):
        phi, slope = smooth_function(random)
        return lambda t: float(grid(phi(t))), slope(0.0), uniform(step)

    return kind


def noisy_result(random):
    phi, slope = smooth_function(random)
    sigma, key = 10.0 ** random.uniform(-11.0, -4.0), int(random.integers(1 << 60))
    return lambda t: phi(t) + sigma * normal_at(t, key), slope(0.0), sigma


def coarse_result(random):
    phi, slope = smooth_function(random)
    step = 10.0 ** random.uniform(-11.0, -4.0)
    return lambda t: float(to_grid(step)(phi(t))), slope(0.0), uniform(step)


def moving(random, count=None):
    """Entries from 1.2 to 1.8 and the direction in which they move; weights."""
    count = count or int(random.integers(1, 30))
    direction = random.choice([-1.0, 1.0], count) * random.uniform(0.5, 1.5, count)
    return random.uniform(1.2, 1.8, count), direction, random.normal(size=count) / math.sqrt(count)


def rounded_argument(grid, step, smooth=0.0):
    """``w . exp(grid(x))``, as MLX's exp of float64 is by way of float32; with a part that is not rounded."""

    def kind(random):
        x, d, w = moving(random)

        def phi(t):
            return float(w @ np.exp(grid(x + t * d)) + smooth * np.mean((x + t * d) ** 2))

        slopes = w * np.exp(x)
        return phi, float(slopes @ d + 2.0 * smooth * np.mean(x * d)), uniform(step) * float(np.linalg.norm(slopes))

    return kind


def rounded_step(grid, step, smooth=0.0):
    """``w . sin(grid(x^2 / 4 + 1))``: a step in the middle is rounded."""

    def kind(random):
        x, d, w = moving(random)

        def phi(t):
            y = x + t * d
            return float(w @ np.sin(grid(y * y / 4.0 + 1.0)) + smooth * np.mean(y * y))

        slopes = w * np.cos(x * x / 4.0 + 1.0)
        slope = float((slopes * x / 2.0) @ d + 2.0 * smooth * np.mean(x * d))
        return phi, slope, uniform(step) * float(np.linalg.norm(slopes))

    return kind


ROUNDED = {
    "noise": noisy_result,
    "a grid": coarse_result,
    "float32 result": rounded_result(FLOAT32, 2.0**-23),
    "float16 result": rounded_result(FLOAT16, 2.0**-10),
    "bfloat16 result": rounded_result(BFLOAT16, 2.0**-7),
    "float32 argument": rounded_argument(FLOAT32, 2.0**-23),
    "float16 argument": rounded_argument(FLOAT16, 2.0**-10),
    "bfloat16 argument": rounded_argument(BFLOAT16, 2.0**-7),
    "float32 argument of a part": rounded_argument(FLOAT32, 2.0**-23, 1.0),
    "float32 step": rounded_step(FLOAT32, 2.0**-23),
    "float16 step": rounded_step(FLOAT16, 2.0**-10),
    "float32 step of a part": rounded_step(FLOAT32, 2.0**-23, 1.0),
}


def samples(kind, count, seed=0):
    random = np.random.default_rng(seed)
    return [kind(random) for _ in range(count)]


# --- parts -----------------------------------------------------------------------------------------------------------


def difference(phi, h, value=0.0):
    return slopes._difference(phi, value, h)


def test_a_difference_holds_slope_bend_and_size():
    got = difference(lambda t: 2.0 * t + 3.0 * abs(t) + 5.0, 0.5, 5.0)
    assert got == pytest.approx((0.5, 2.0, 6.0, 7.5))
    assert difference(lambda t: -4.0 * t, 0.5).size == 2.0


def test_three_steps_give_the_slope_of_a_cubic_and_twice_its_bend_as_uncertainty():
    def phi(t):
        return 2.0 * t + 5.0 * t**2 + 3.0 * t**3 + 0.75 * abs(t)

    three = [difference(phi, h) for h in (0.4, 0.2, 0.05)]
    slope, bent, rounding = slopes._from_three(*three, 0.001)
    # bends: 10 h + 1.5; of the middle one a quarter is expected at the finest step
    kink = (10.0 * 0.05 + 1.5) - (10.0 * 0.2 + 1.5) / 4.0 - 4.0 * 0.001 / 0.05
    assert rounding == pytest.approx(6.0 * 0.001 / 0.05)
    assert (bent, *slope[:3]) == pytest.approx((kink, 2.0, kink + rounding, kink))
    # a fifth power: Richardson's pair leaves -(a b)^2 of it
    first, second = (-((a * b) ** 2) for a, b in ((0.4, 0.2), (0.2, 0.05)))
    slope, bent, _ = slopes._from_three(*(difference(lambda t: t**5, h) for h in (0.4, 0.2, 0.05)), 0.0)
    assert (slope.value, bent) == pytest.approx((second, second - first))
    assert slopes._from_three(*(difference(lambda t: math.nan, h) for h in (0.4, 0.2, 0.05)), 0.0)[1] == math.inf


def test_a_slope_is_as_uncertain_as_its_distance_from_finer_ones_beyond_rounding():
    coarse, fine = (slopes.Slope(1.0, 0.2, 0.0), 0.1, 0.1), (slopes.Slope(2.0, 0.7, 0.0), 0.3, 0.4)
    (widened, bent, rounding), last = slopes._contradicted([coarse, fine])
    assert (widened.value, widened.uncertainty, bent, rounding) == pytest.approx((1.0, 0.6, 0.5, 0.1))
    assert last == fine
    assert slopes._contradicted([fine, coarse])[0] == (slopes.Slope(2.0, 0.9, 0.0), pytest.approx(0.5), 0.4)


def test_slopes_drift_while_no_step_halves_the_gap():
    def ladder(*values, steps=(0.1, 0.01, 0.001)):
        return [slopes._Difference(h, value, 0.0, 1.0) for h, value in zip(steps, values, strict=True)]

    assert slopes._drifting(ladder(0.0, 1.0, 1.6), 0.0)
    assert not slopes._drifting(ladder(0.0, 1.0, 1.5), 0.0)
    assert slopes._drifting(ladder(0.0, 1.0, 2.0), 0.9e-3 / 6.0)
    assert not slopes._drifting(ladder(0.0, 1.0, 2.0), 1.1e-3 / 6.0)
    assert slopes._drifting(ladder(0.0, math.nan, 1.0), 0.0)


def test_further_steps_begin_at_three_times_the_widest_of_use():
    def steps(noise=0.0, finest=0.0, scale=1.0, value=1.0, off=1.4):
        ladder = [slopes._Difference(h * scale, value, 0.0, 1.0) for h, value in ((0.2, 9.0), (0.1, off), (0.01, 1.0))]
        slope = slopes.Slope(value, 0.0, 0.0)
        return [d.step for d in slopes._more(lambda h: difference(math.sin, h), noise, slope, ladder, finest)]

    assert steps() == pytest.approx([0.3 / 1.5**k for k in range(8)])
    assert steps(noise=8.1 * 0.2 / 6.0)[0] == pytest.approx(0.6)
    assert steps(noise=7.9 * 0.2 / 6.0)[0] == pytest.approx(0.3)
    assert steps(scale=10.0)[0] == 1.0
    assert steps(off=1.5)[0] == steps(off=0.5)[0] == pytest.approx(0.3)  # half of it off is of use
    assert steps(off=1.51)[0] == steps(off=0.49)[0] == pytest.approx(0.03)
    assert steps(value=100.0)[0] == pytest.approx(0.03)  # none is of use: from the finest
    assert steps(finest=0.3 / 1.5**3.5) == pytest.approx([0.3 / 1.5**k for k in range(4)])


def test_the_steps_of_float64_go_from_a_quarter_to_1e_19_each_some_fifteen_times_finer_than_the_last():
    steps = EPSILON ** np.asarray(slopes._POWERS)
    assert 0.2 < steps[0] < 0.25
    assert 1e-8 < steps[6] < 2e-8
    assert 1e-20 < steps[-1] < 1e-19
    assert np.all((steps[:-1] / steps[1:] > 14.0) & (steps[:-1] / steps[1:] < 18.0))


def test_a_function_is_followed_down_to_the_finest_step():
    """A wave of 1e-6: steps of 1e-7 and finer see its slope, coarser ones do not."""

    def slope(finest):
        return directional_slope(lambda t: math.sin(1e6 * t), 0.0, EPSILON, EPSILON, finest)

    assert slope(1e-12).value == pytest.approx(1e6, rel=1e-3)
    assert math.isfinite(slope(1e-12).uncertainty)
    assert math.isinf(slope(1e-5).uncertainty)


def test_noise_of_a_ten_billionth_of_the_values_is_worth_no_more_steps():
    for noise, values in ((1e-10, 8), (1.001e-10, 24)):
        counted = Counted(lambda t: 1.0 - t * t)
        directional_slope(counted, 1.0, noise, EPSILON)
        assert len(counted.points) == values


STEPS = 0.5 / 1.5 ** np.arange(8)[::-1]


def test_a_fit_recovers_its_own_curve():
    terms = (2.0, -3.0, 5.0, -7.0)
    for count in range(1, 5):

        def phi(t, count=count):
            odd = sum(c * t ** (2 * k + 1) for k, c in enumerate(terms[:count]))
            return odd + 1.5 * t**2 - (0.4 * t**4 if count > 1 else 0.0) + 0.25 * abs(t)

        fit = slopes._fit([difference(phi, float(h)) for h in STEPS], count, 1e-7)
        assert fit.slope == pytest.approx(2.0, abs=1e-9)
        assert fit.kink == pytest.approx(0.5 - 4.0 * fit.hidden, abs=1e-9)
        assert fit.missed == 0.0


@pytest.mark.parametrize("terms", [1, 2, 3, 4])
def test_the_deviations_of_a_fit_are_those_of_many(terms):
    random, sigma = np.random.default_rng(0), 1e-3
    fits, bends = [], []
    for _ in range(1500):
        values = {t: sigma * random.normal() for t in (0.0, *STEPS, *-STEPS)}
        fits.append(slopes._fit([difference(values.get, h, values[0.0]) for h in STEPS], terms, sigma))
        h = STEPS / STEPS[-1]
        even = np.asarray([values[s] + values[-s] - 2.0 * values[0.0] for s in STEPS])
        powers = (1, 2, 4)[: min(terms, 2) + 1]
        bends.append(np.linalg.lstsq(h[:, None] ** powers, even, rcond=None)[0][0] / STEPS[-1])
    assert np.std([fit.slope for fit in fits]) == pytest.approx(min(fit.deviation for fit in fits), rel=0.1)
    if terms <= 2:
        assert np.std(bends) == pytest.approx(fits[0].hidden, rel=0.1)
    # the sum of two values, which shows kinks, has twice the noise of half their difference
    assert 1.7 < np.median([fit.deviation for fit in fits]) / min(fit.deviation for fit in fits) < 2.7


def test_what_a_fit_does_not_explain_counts_as_noise():
    quiet = slopes._fit([difference(math.sin, h) for h in STEPS], 3, 1e-4)
    # a kink far out, in either half of the values
    odd = slopes._fit([difference(lambda t: math.sin(t) + max(0.0, t - 0.2), h) for h in STEPS], 3, 1e-4)
    even = slopes._fit([difference(lambda t: math.sin(t) + max(0.0, abs(t) - 0.2), h) for h in STEPS], 3, 1e-4)
    assert min(odd.deviation, even.deviation) > 10.0 * quiet.deviation
    # one step whose slope is off by 1
    off = [d._replace(slope=d.slope + (i == 0)) for i, d in enumerate(difference(math.sin, h) for h in STEPS)]
    missed = slopes._fit(off, 1, 1e-4).missed
    assert 0.8 < missed < 1.1


def test_each_number_of_finest_steps_is_fitted_with_one_to_three_terms():
    differences = [difference(lambda t: t + t**3, h) for h in STEPS]
    undefined = [difference(lambda t: math.nan, 0.01)]
    assert len(slopes._by_fits([*differences[:3], *undefined], 1e-6)) == 0
    assert [len(slopes._by_fits(differences[:n], 1e-6)) for n in (4, 5, 6, 7, 8)] == [1, 3, 6, 9, 12]
    assert len(slopes._by_fits([*undefined, *differences[::-1]], 1e-6)) == 12
    first = slopes._by_fits(differences[:4], 1e-6)[0]
    one, two = (slopes._fit(differences[:4], terms, 1e-6) for terms in (1, 2))
    truncation = max(abs(one.slope - two.slope), 0.5 * two.deviation)
    own = 3.0 * one.deviation + truncation + 0.25 * one.hidden
    assert first[:3] == pytest.approx((one.slope, max(own, one.missed) + one.kink, one.kink))
    level = slopes._by_fits([difference(lambda t: 0.0, h) for h in STEPS[:4]], 1e-6)[0]
    one, two = (slopes._fit([difference(lambda t: 0.0, h) for h in STEPS[:4]], terms, 1e-6) for terms in (1, 2))
    assert level.uncertainty == pytest.approx(3.0 * one.deviation + 0.5 * two.deviation + 0.25 * one.hidden)


def test_a_fit_that_finer_steps_contradict_is_as_uncertain_as_their_distance():
    differences = [difference(lambda t: max(-0.1, min(0.1, t)), h) for h in STEPS]
    assert all(abs(slope.value - 1.0) <= 3.0 * slope.uncertainty for slope in slopes._by_fits(differences, 1e-6))
    # a wave: curves of few terms through many steps look exact
    noise, dominated = 0.01, 0
    differences = [difference(lambda t: math.sin(20.0 * t), h) for h in STEPS]
    found = iter(slopes._by_fits(differences, noise))
    finer = []
    for count in range(4, 9):
        fits = [slopes._fit(differences[:count], terms, noise) for terms in range(1, min(4, count - 2) + 1)]
        for fit, longer in itertools.pairwise(fits):
            gap = max((abs(fit.slope - other.slope) - 3.0 * other.deviation for other in finer), default=0.0)
            truncation = max(abs(fit.slope - longer.slope), 0.5 * longer.deviation)
            own = 3.0 * fit.deviation + truncation + 0.25 * fit.hidden
            assert next(found).uncertainty == pytest.approx(max(own, gap, fit.missed) + fit.kink)
            dominated += gap > max(own, fit.missed)
        finer += fits[1:]
    assert dominated


def test_polynomials_are_orthonormal_and_see_nothing_of_a_lower_degree():
    for places in (slopes._PLACES, slopes._PLACES[1:]):
        rows = slopes._polynomials(places)
        np.testing.assert_allclose(rows @ rows.T, np.eye(len(places)), atol=1e-10)
        for degree in range(len(places)):
            parts = rows @ (places / places[-1]) ** degree
            assert np.max(np.abs(parts[degree + 1 :]), initial=0.0) < 1e-12 < abs(parts[degree])


def test_the_places_of_a_line_are_in_order_and_not_equidistant():
    gaps = np.diff(slopes._PLACES)
    assert len(gaps) == 8
    # no two of which have a common measure
    primes = [n for n in range(2, 20) if all(n % k for k in range(2, n))]
    assert slopes._PLACES.tolist() == pytest.approx([0.0, *(k + math.sqrt(p) % 1.0 for k, p in enumerate(primes, 1))])
    assert 0.4 < np.min(gaps) < 0.6 < 1.4 < np.max(gaps) < 1.6


def test_the_deviation_of_noise_is_right_in_the_mean_and_that_of_a_curve_zero():
    random = np.random.default_rng(0)
    squares = [slopes._deviation(random.normal(size=9)) ** 2 for _ in range(4000)]
    assert np.mean(squares) == pytest.approx(1.0, abs=0.1)
    # five or six degrees of freedom, nearly always
    assert np.std(squares) == pytest.approx(math.sqrt(2.0 / 6.0), abs=0.07)
    t = slopes._PLACES / 8.0
    assert slopes._deviation(1.0 + t + t**2) < 1e-14 < 1e-6 < slopes._deviation(t**6)
    assert slopes._deviation(t**2 + 1e-3 * random.normal(size=9)) < 5e-3


def line_of(phi, sign=1.0, power=0.5, epsilon=EPSILON):
    return slopes._line(phi, phi(0.0), epsilon, sign, power)


def test_a_line_tells_curves_stairs_and_what_is_not_finite():
    spacing = EPSILON**0.5
    counted = Counted(lambda t: 1.0 + t)
    straight = line_of(counted)
    assert counted.points == pytest.approx([0.0, *(spacing * slopes._PLACES[1:])], rel=1e-12, abs=0.0)
    assert min(line_of(counted, -1.0) and counted.points) < 0.0
    assert (straight.spacing, straight.changes, straight.seen) == (spacing, 8, True)
    assert not straight.decays
    assert not straight.curved
    assert straight.steepness == pytest.approx(1.0, rel=1e-6)
    level = line_of(lambda t: 2.0)
    assert (level.changes, level.sigma, level.seen) == (0, 0.0, True)
    assert level.steepness == pytest.approx(2.0 * 2.0 * EPSILON / (slopes._PLACES[-1] * spacing), rel=1e-12, abs=0.0)
    curve = line_of(lambda t: math.exp(t / spacing / 4.0))
    assert curve.decays
    assert curve.curved
    wave = line_of(lambda t: math.sin(2.5 * t / spacing))
    assert not wave.decays
    one_stair = line_of(lambda t: float(t > 3.0 * spacing))
    assert one_stair.changes == 1
    assert one_stair.sigma == pytest.approx(1.0 / math.sqrt(12.0), rel=0.3)
    assert line_of(lambda t: math.inf if t else 1.0) == slopes._Line(spacing)


def test_the_larger_of_two_noises_counts_where_both_are_of_one_size():
    seen = 0
    for key in range(30):

        def phi(t, key=key):
            return 1.0 + t + 1e-9 * normal_at(t, key)

        fine, wide = (slopes._line(phi, phi(0.0), EPSILON, *at) for at in (slopes._FINE, slopes._WIDE))
        if max(fine.sigma, wide.sigma) < 3.9 * min(fine.sigma, wide.sigma):
            seen += 1
            assert evaluation_noise(phi, phi(0.0), EPSILON).sigma == max(fine.sigma, wide.sigma)
    assert seen > 20


def test_the_lines_reach_as_far_as_they_say():
    counted = Counted(lambda t: 2.0)
    evaluation_noise(counted, 2.0, EPSILON)
    last = float(slopes._PLACES[-1])
    fine, wide, widest = (counted.points[k] for k in (7, 15, 23))
    assert (fine, wide, widest) == pytest.approx(
        (last * EPSILON ** (2 / 3), -last * EPSILON**0.27, -last * EPSILON**0.115), rel=1e-12, abs=0.0
    )
    counted = Counted(lambda t: math.exp(300.0 * t))
    evaluation_noise(counted, 1.0, EPSILON)
    assert counted.points[23] == pytest.approx(last * EPSILON**0.385)


# --- steps -----------------------------------------------------------------------------------------------------------


def steps_of(phi, epsilon=EPSILON, noise=0.0, finest=0.0):
    """The powers of epsilon that were taken, coarse to fine."""
    _, ladder = slopes._by_ladder(lambda h: difference(phi, h, phi(0.0)), noise, epsilon, finest)
    return [math.log(d.step) / math.log(epsilon) for d in ladder]


# each 14 to 18 times finer than the one before in float64, from a quarter to 1e-20
POWERS = (0.04, 0.115, 0.19, 0.27, 0.345, 0.42, 0.495, 0.57, 0.645, 0.72, 0.795, 0.87, 0.945, 1.02, 1.095, 1.17, 1.245)


@pytest.mark.parametrize("epsilon", [EPSILON, EPSILON32])
def test_steps_begin_with_three_and_go_where_the_uncertainty_is(epsilon):
    # a cubic: all three agree but for rounding
    assert steps_of(lambda t: t**3 + t, epsilon) == pytest.approx(POWERS[1:4])
    # rounding dominates: one coarser step
    assert steps_of(lambda t: math.sin(t), epsilon, epsilon**0.5) == pytest.approx(POWERS[:4])
    # truncation or a kink dominates: one finer step
    assert steps_of(lambda t: math.sin(30.0 * t), epsilon) == pytest.approx(POWERS[1:5])
    # waves finer than any step: all of them
    assert steps_of(lambda t: math.sin(1e30 * t), epsilon) == pytest.approx(POWERS[1:])
    # and none beyond the finest
    assert steps_of(lambda t: math.sin(1e30 * t), epsilon, finest=epsilon**0.5) == pytest.approx(POWERS[1:7])
    assert steps_of(lambda t: math.sin(1e30 * t), epsilon, finest=epsilon**0.495) == pytest.approx(POWERS[1:7])
    assert steps_of(lambda t: math.sin(30.0 * t), epsilon, finest=epsilon**0.345) == pytest.approx(POWERS[1:5])
    assert steps_of(lambda t: math.sin(30.0 * t), epsilon, finest=epsilon**0.3) == pytest.approx(POWERS[1:4])
    assert steps_of(lambda t: math.sin(t), epsilon, epsilon**0.5, finest=epsilon**0.1) == pytest.approx(POWERS[:4])


def values_taken(phi, noise, value=None):
    counted = Counted(phi)
    directional_slope(counted, phi(0.0) if value is None else value, noise, EPSILON)
    return len(counted.points)


def test_curves_are_fitted_where_noise_is_more_than_1e_10_and_the_slope_is_known_to_less_than_1e_6():
    few, many = 8, 24
    for size in (1e-3, 1.0, 1e3):

        def phi(t, size=size, slope=0.1):
            return size * (1.0 + slope * (t + t**3))

        assert values_taken(phi, 0.9e-10 * size) == few
        assert values_taken(phi, 1.2e-10 * size) == many
        # six deviations of noise over the finest step of a thousandth: 7e-7 of the slope, or 1.4e-6
        step = EPSILON**0.19
        for relative, count in ((0.9e-6, few), (1.1e-6, many)):
            noise = relative * size / (6.0 / step)
            assert values_taken(functools.partial(phi, slope=1.0), noise) == count
    # by the largest value of all, at 0 or elsewhere
    assert values_taken(lambda t: 3.0 * math.sin(t), 1e-10, value=0.0) == few
    assert values_taken(lambda t: 1e-3 * math.sin(t), 1.2e-10, value=0.0) == many
    assert values_taken(lambda t: 1e-3 * (1.0 - t) ** 3, 1e-11) == many
    assert values_taken(lambda t: 1.0 + (1e-3 * t if t > 0.0 else 0.0), 1e-9) == many
    assert values_taken(lambda t: 1.0 + 1e-3 * abs(t), 1e-9) == many  # bends alone
    assert values_taken(lambda t: 1.0 + (1e-3 * t if abs(t) > 0.01 else 0.0), 1e-9) == many  # at coarse steps alone
    # a slope of which nothing is known is not fitted
    assert values_taken(lambda t: math.sin(1e30 * t), 1e-9) == 32


def test_a_relative_uncertainty_of_1e_9_is_sharp_enough():
    def values(relative):
        # x^5 leaves the coarser of two extrapolated slopes off by (h1 h2)^2
        first, second, third = (EPSILON**power for power in POWERS[1:4])
        slope = ((first * second) ** 2 - (second * third) ** 2) / relative
        return len(steps_of(lambda t: slope * t + t**5))

    assert (values(0.9e-9), values(1.1e-9)) == (3, 4)


# --- noise, from lines that are known -------------------------------------------------------------------------------


def seen_line(sigma, changes=8, spacing=1.0, steepness=1e3, decays=False, curved=False):
    return slopes._Line(spacing, True, sigma, changes, decays, curved, steepness)


UNSEEN = slopes._Line(1.0)
LEAST = 0.0625
NO_STEPS = seen_line(0.0, 0)

LINES = {
    # the fine line and the wide one, what others show, sigma; no line is asked for that is not here
    "noise of one size": (seen_line(1.0), seen_line(2.0), {}, 2.0),
    "noise of one size, just": (seen_line(1.0), seen_line(4.0), {}, 4.0),
    "noise less than that of the last digit": (seen_line(0.001), seen_line(0.002), {}, LEAST),
    "wide noise beside that of the last digit": (seen_line(0.001), seen_line(0.2), {}, 0.2),
    "more noise on the fine line": (seen_line(2.0), seen_line(1.0), {}, 2.0),
    "four times more noise on the fine line": (seen_line(4.0), seen_line(1.0), {}, 4.0),
    "a kink on the fine line": (seen_line(4.25), seen_line(1.0), {}, 1.0),
    "a kink on the fine line, and one stair on the wide": (seen_line(4.25), seen_line(1.0, 1), {}, 1.0),
    "a kink on the fine line, and no noise": (seen_line(4.25), seen_line(0.001), {}, LEAST),
    "noise on the fine line, and f is not defined on the wide one": (seen_line(4.25), UNSEEN, {}, 4.25),
    "f is not defined on the fine line": (UNSEEN, seen_line(8.0), {}, 8.0),
    "f is not defined on the fine line, and hardly noisy": (UNSEEN, seen_line(0.001), {}, LEAST),
    "f is not defined on the fine line, three stairs on the wide": (UNSEEN, seen_line(8.0, 3), {}, 8.0),
    "f is not defined on the fine line, two stairs": (UNSEEN, seen_line(8.0, 2), {"widest": seen_line(9.0)}, 9.0),
    "f is defined far away alone": (UNSEEN, UNSEEN, {"widest": seen_line(9.0)}, 9.0),
    "two stairs on either line": (seen_line(1.0, 2), seen_line(2.0, 2), {"widest": seen_line(3.0)}, 3.0),
    "three stairs on the fine line": (seen_line(1.0, 3), seen_line(2.0, 2), {}, 2.0),
    "three stairs on the wide line": (seen_line(1.0, 2), seen_line(2.0, 3), {}, 2.0),
    "a curve on the fine line": (seen_line(1.0, curved=True), seen_line(5.0), {}, 1.0),
    "stairs too steep for a kink": (
        seen_line(1.0, steepness=0.5),
        seen_line(17.0, spacing=2.0, steepness=1.0),
        {"widest": seen_line(30.0)},
        30.0,
    ),
    "stairs just not too steep": (
        seen_line(1.0, steepness=0.5),
        seen_line(16.0, spacing=2.0, steepness=1.0),
        {"between": seen_line(2.0)},
        16.0,
    ),
    "a curve on the wide line, however steep": (
        seen_line(1.0, steepness=0.5),
        seen_line(17.0, spacing=2.0, steepness=1.0, decays=True),
        {"between": seen_line(3.0)},
        3.0,
    ),
    "a curve between": (seen_line(1.0), seen_line(16.0), {"between": seen_line(8.0, decays=True)}, 1.0),
    "noise between, an eighth": (seen_line(1.0), seen_line(16.0), {"between": seen_line(2.0)}, 16.0),
    "noise between, less than an eighth": (seen_line(1.0), seen_line(16.0), {"between": seen_line(1.75)}, 1.75),
    "hardly any noise between": (seen_line(1.0), seen_line(16.0), {"between": seen_line(0.5)}, 1.0),
    "a curve on the wide line, noise between": (
        seen_line(1.0),
        seen_line(16.0, decays=True),
        {"between": seen_line(8.0)},
        8.0,
    ),
    # stairs wider than the lines
    "three wide stairs": (UNSEEN, seen_line(1.0, 2, 2.0, 10.0), {"widest": NO_STEPS}, 1.0),
    "stairs of a slope": (
        seen_line(1.0, steepness=0.0),
        seen_line(7.0, 3, spacing=2.0, steepness=40.0),
        {},
        7.0,
    ),
    "stairs just too high for a slope": (
        seen_line(1.0, steepness=0.0),
        seen_line(8.0, 3, spacing=2.0, steepness=40.0),
        {"widest": seen_line(9.0)},
        9.0,
    ),
    "a curve on the widest line": (
        seen_line(1.0, 2), seen_line(2.0, 2), {"widest": seen_line(9.0, decays=True)}, 2.0
    ),
    "less noise on the widest line": (seen_line(3.0, 1), seen_line(2.0, 1), {"widest": seen_line(1.0)}, 3.0),
    "one stair on the fine line alone": (seen_line(3.0, 1), NO_STEPS, {"widest": NO_STEPS}, 3.0),
    "one stair on the widest line alone": (NO_STEPS, NO_STEPS, {"widest": seen_line(0.001, 1)}, LEAST),
    "a value between -1 and 1 at nowhere else": (UNSEEN, UNSEEN, {"widest": UNSEEN}, LEAST),
}  # fmt: skip


def noise_of_lines(fine, wide, others, value=-0.5):
    def line(*at):
        return others[{slopes._BETWEEN: "between", slopes._WIDEST: "widest"}[at]]

    return slopes._of_two_lines(line, value, fine, wide, LEAST)


@pytest.mark.parametrize("name", LINES)
def test_the_noise_that_lines_show(name):
    fine, wide, others, sigma = LINES[name]
    assert noise_of_lines(fine, wide, others) == (sigma, False, False)


@pytest.mark.parametrize("seen", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
def test_a_function_is_flat_if_no_line_that_is_seen_changes(seen):
    fine, wide, widest = (NO_STEPS if each else UNSEEN for each in seen)
    assert noise_of_lines(fine, wide, {"widest": widest}) == (0.5, True, False)


def test_noise_is_that_of_stairs_if_the_wide_line_shows_sixteen_times_more(monkeypatch):
    def stairs(fine, wide, **others):
        def line(phi, value, epsilon, *at):
            others.update(fine=fine, wide=wide)
            names = ("fine", "wide", "between", "widest")
            places = (slopes._FINE, slopes._WIDE, slopes._BETWEEN, slopes._WIDEST)
            return others[names[places.index(at)]]

        monkeypatch.setattr(slopes, "_line", line)
        return evaluation_noise(lambda t: 0.0, 0.25, EPSILON).stairs

    small = 2.0**-40
    assert not stairs(seen_line(small), seen_line(4.0 * small))
    assert not stairs(seen_line(small), seen_line(16.0 * small), between=seen_line(4.0 * small))
    assert stairs(seen_line(small), seen_line(17.0 * small), between=seen_line(4.0 * small))
    float32 = 0.25 * 2.0**-29  # an eighth of what rounding the value to float32 leaves
    assert not stairs(seen_line(float32), seen_line(float32))
    assert stairs(seen_line(1.01 * float32), seen_line(1.01 * float32))
    least = 0.25 * EPSILON
    assert not stairs(seen_line(0.0), seen_line(16.0 * least), between=seen_line(8.0 * least))
    assert stairs(seen_line(0.0), seen_line(17.0 * least), between=seen_line(8.0 * least))
    assert stairs(NO_STEPS, NO_STEPS, widest=NO_STEPS)
    assert not stairs(UNSEEN, UNSEEN, widest=UNSEEN)


@pytest.mark.parametrize(("power", "calls"), [(-24, 16), (-21, 16), (-20, 8), (-7, 8)])
def test_where_epsilon_is_coarse_the_fine_line_alone_is_taken(power, calls):
    counted = Counted(lambda t: 1.0 + t + 0.3 * normal_at(t, 0))
    evaluation_noise(counted, 1.0, 2.0**power)
    assert len(counted.points) == calls


def line_with(parts, epsilon=EPSILON):
    """The line of the values that have these parts of each degree, the largest value 1."""
    values = slopes._polynomials(slopes._PLACES).T @ np.asarray(parts)
    values = values / np.max(np.abs(values))
    places, spacing = slopes._PLACES, epsilon**0.5
    return slopes._line(
        lambda t: float(values[np.argmin(np.abs(places * spacing - t))]), float(values[0]), epsilon, 1.0, 0.5
    )


def test_a_line_decays_if_its_highest_parts_fall_by_three_and_three_again():
    def decays(*highest):
        return line_with([1.0, 0.1, 0.01, 0.01, 0.01, *(0.01 * x for x in highest)]).decays

    assert decays(1.0, 0.3, 0.09, 0.09)
    assert not decays(0.8, 0.3, 0.09, 0.09)
    assert not decays(1.0, 0.3, 0.11, 0.0)
    assert not decays(1.0, 0.3, 0.0, 0.11)
    assert decays(1.0, 0.3, 0.05, -0.09)
    assert decays(-1.0, -0.3, 0.05, 0.05)


def test_a_line_is_curved_if_degree_two_or_three_is_sixteen_times_the_noise():
    def curved(*lowest, noise=1.0, epsilon=EPSILON):
        return line_with([1.0, *(1e-3 * x for x in lowest), *[1e-3 * noise] * 5], epsilon).curved

    assert curved(0.0, 17.0, 0.0)
    assert curved(0.0, 0.0, -17.0)
    assert not curved(17.0, 15.0, 15.0)
    for noise in ([math.sqrt(5.0), 0, 0, 0, 0], [0, 0, 0, 0, math.sqrt(5.0)]):  # of one degree alone
        assert line_with(np.asarray([1e3, 0.0, 17.0, 0.0, *noise])).curved
        assert not line_with(np.asarray([1e3, 0.0, 15.0, 0.0, *noise])).curved
    # without noise, sixteen roundings: the largest value is a third of the constant part's
    assert curved(0.0, 17.0 / 3.0, 0.0, noise=0.0, epsilon=1e-3)
    assert not curved(0.0, 14.0 / 3.0, 0.0, noise=0.0, epsilon=1e-3)


@pytest.mark.parametrize("count", [8, 9])
def test_parts_count_as_noise_while_they_are_less_than_four_times_those_above(count):
    rows = slopes._polynomials(slopes._PLACES[-count:])

    def deviation(*parts):
        return slopes._deviation(rows.T @ np.asarray([70.0] * (count - len(parts)) + list(parts)))

    assert deviation(4.1, 1.0, -1.0, 1.0) == pytest.approx(1.0)
    assert deviation(9.0, 3.9, 1.0, -1.0, 1.0) == pytest.approx(math.sqrt((3.9**2 + 3.0) / 4.0))
    assert deviation(8.0, 3.9, 1.0, -1.0, 1.0) == pytest.approx(math.sqrt((8.0**2 + 3.9**2 + 3.0) / 5.0))
    # degree two is a curve, whatever its size
    assert deviation(*[1.0] * (count - 3)) == pytest.approx(1.0)
    assert deviation(0.5, *[1.0] * (count - 3)) == pytest.approx(1.0)


def stairs_line(*changes):
    """The line of a function that changes by these amounts between its nine points."""
    values = 1.0 + np.concatenate([[0.0], np.cumsum(changes)])
    return slopes._line(lambda t: float(values[np.argmin(np.abs(slopes._PLACES - t))]), 1.0, 1.0, 1.0, 1.0)


def test_up_to_six_changes_are_stairs_as_high_as_their_median():
    for jumps in ((0.25,), (0.25, 0.5, 0.125), (0.25,) * 6):
        line = stairs_line(*jumps, *[0.0] * (8 - len(jumps)))
        assert line.changes == len(jumps)
        assert line.sigma >= 0.25 / math.sqrt(12.0) * (1.0 - 1e-12)
        assert not line.decays
    straight = 0.25 * np.diff(slopes._PLACES)
    assert stairs_line(*straight).sigma < 1e-14
    # the last change is missing: seven are noise, and no more
    seven = stairs_line(*straight[:-1], 0.0)
    assert seven.changes == 7
    assert seven.sigma < 0.25 * straight[-1]


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_sizes_are_right_where_squares_are_no_numbers(scale):
    x = scale * np.asarray([[3.0, -4.0], [0.0, 0.0]])
    assert math.isclose(norm(np, x), 5.0 * scale, rel_tol=1e-15)
    assert math.isclose(float(scale_of(np, x)), 2.5 * scale, rel_tol=1e-15)
    assert float(scale_of(np, 0.0 * x)) == 1.0


# --- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ROUNDED)
def test_known_noise_is_found_within_a_factor_of_two(kind):
    ratios, calls = [], []
    for phi, _, sigma in samples(ROUNDED[kind], 60):
        counted = Counted(phi)
        noise = evaluation_noise(counted, phi(0.0), EPSILON)
        calls.append(len(counted.points))
        if not noise.flat:  # one stair of bfloat16 is wider than any line
            ratios.append(noise.sigma / sigma)
    assert len(ratios) >= 45
    assert 0.7 < np.median(ratios) < 1.4
    assert np.mean([0.5 < ratio < 2.0 for ratio in ratios]) > 0.7
    assert np.mean([0.25 < ratio < 4.0 for ratio in ratios]) > 0.9
    assert max(calls) <= 24


def test_noise_in_float32_and_bfloat16_alone_is_found_within_a_factor_of_two():
    for epsilon, grid in ((EPSILON32, FLOAT32), (EPSILON_BFLOAT16, BFLOAT16)):
        ratios = []
        for phi, _, sigma in samples(rounded_argument(grid, epsilon), 60):
            counted = Counted(phi)
            ratios.append(evaluation_noise(counted, phi(0.0), epsilon).sigma / max(sigma, epsilon * abs(phi(0.0))))
            assert len(counted.points) <= (24 if epsilon == EPSILON32 else 8)
        assert 0.6 < np.median(ratios) < 1.5


def relu_network(t):
    random = np.random.default_rng(0)
    kinks = random.normal(size=300)
    return 1.0 + float(np.mean(random.normal(size=300) * np.maximum(t - kinks, 0.0)))


SMOOTH = {
    # phi, at most so many values
    "a polynomial": (lambda t: 1.0 + t - 2.0 * t**2 + 0.5 * t**5, 16),
    "1 + t^2": (lambda t: 1.0 + t * t, 16),
    "exp(t)": (math.exp, 16),
    "exp(30t)": (lambda t: math.exp(30.0 * t), 16),
    "exp(300t)": (lambda t: math.exp(300.0 * t), 24),
    "exp(1e4 t)": (lambda t: math.exp(1e4 * t), 24),
    "sin(10t + 1)": (lambda t: math.sin(10.0 * t + 1.0), 16),
    "sin(300t + 1)": (lambda t: math.sin(300.0 * t + 1.0), 24),
    "1 + sin(1e3 t)": (lambda t: 1.0 + math.sin(1e3 * t), 24),
    "sin(1e4 t + 1)": (lambda t: math.sin(1e4 * t + 1.0), 24),
    "1 + sin(1e5 t)": (lambda t: 1.0 + math.sin(1e5 * t), 24),
    "1 + sin(1e6 t)": (lambda t: 1.0 + math.sin(1e6 * t), 16),
    "cos(1e4 t)": (lambda t: math.cos(1e4 * t), 16),
    "cos(1e6 t)": (lambda t: math.cos(1e6 * t), 16),
    "a kink at 0": (lambda t: math.exp(t) + abs(t), 16),
    "a kink on the right": (lambda t: math.exp(t) + abs(t - 1e-4), 16),
    "a kink on the left": (lambda t: math.exp(t) + abs(t + 1e-4), 24),
    "a kink before the first point": (lambda t: math.exp(t) + abs(t + 1e-7) - abs(t - 1e-7), 24),
    "a kink within the fine line": (lambda t: math.exp(t) + abs(t - 1e-10), 16),
    "a network of relu": (relu_network, 24),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_a_curve_a_wave_or_a_kink_is_no_noise(name):
    phi, most = SMOOTH[name]
    counted = Counted(phi)
    noise = evaluation_noise(counted, phi(0.0), EPSILON)
    assert EPSILON * abs(phi(0.0)) <= noise.sigma <= 8.0 * EPSILON * max(abs(phi(0.0)), 1.0)
    assert not noise.flat
    assert len(counted.points) <= most


def test_noise_is_seen_under_a_curve_and_beside_a_kink():
    def median_noise(curve):
        found = [evaluation_noise(lambda t, k=k: curve(t) + 1e-9 * normal_at(t, k), 1.0, EPSILON) for k in range(20)]
        return np.median([noise.sigma for noise in found])

    for curve in (lambda t: math.exp(300.0 * t), lambda t: 1.0 + abs(t - 1e-4), lambda t: 1.0 + abs(t + 1e-4)):
        assert 0.5e-9 < median_noise(curve) < 2e-9


@pytest.mark.parametrize("value", [-3.0, 0.0, 1e-300])
def test_a_function_that_does_not_change_is_flat_and_its_whole_value_may_be_one_stair(value):
    counted = Counted(lambda t: value)
    assert evaluation_noise(counted, value, EPSILON) == (abs(value), True, True)
    assert len(counted.points) == 24
    assert max(map(abs, counted.points)) > 0.1
    assert min(counted.points) < 0.0 < max(counted.points)


def test_a_single_stair_far_away_is_a_change():
    noise = evaluation_noise(lambda t: 1.0 if t > -0.05 else 1.25, 1.0, EPSILON)
    assert not noise.flat
    assert noise.sigma == pytest.approx(uniform(0.25), rel=0.5)


def test_a_line_on_which_the_function_is_not_defined_is_left_out():
    def near_the_edge(t):
        return math.log(1e-6 + t) if t > -1e-6 else math.nan

    def only_left(t):
        return math.exp(t) + 1e-9 * normal_at(t, 1) if t <= 0.0 else math.nan

    assert evaluation_noise(near_the_edge, near_the_edge(0.0), EPSILON).sigma < 8.0 * EPSILON * 14.0
    assert 2e-10 < evaluation_noise(only_left, 1.0, EPSILON).sigma < 4e-9
    nowhere = evaluation_noise(lambda t: math.inf if t else 2.0, 2.0, EPSILON)
    assert nowhere == (2.0 * EPSILON, False, False)


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**-300, 2.0**900])
def test_noise_and_slope_scale_with_the_function(scale):
    for kind in (coarse_result, noisy_result):
        phi, _, _ = kind(np.random.default_rng(1))

        def scaled(t, phi=phi):
            return scale * phi(t)

        plain, noise = (evaluation_noise(g, g(0.0), EPSILON).sigma for g in (phi, scaled))
        assert noise == pytest.approx(scale * plain, rel=1e-9, abs=0.0)
        assert slope_of(scaled)[:3] == pytest.approx(tuple(scale * x for x in slope_of(phi)[:3]), rel=1e-6, abs=0.0)


# --- slopes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1e-3, 1.0, 30.0])
def test_the_slope_of_a_smooth_function_is_within_its_uncertainty(rate):
    slope = slope_of(lambda t: math.exp(rate * t) + math.sin(t))
    assert abs(slope.value - (rate + 1.0)) <= slope.uncertainty < 1e-7 * (rate + 1.0)


@pytest.mark.parametrize("distance", [0.0, 1e-9, 1e-5, 1e-3])
def test_a_kink_near_the_point_is_part_of_the_uncertainty(distance):
    slope = slope_of(lambda t: math.exp(t) + abs(t - distance))
    true = 1.0 if distance == 0.0 else 0.0  # at the kink itself the mean of its sides, 0 and 2
    assert abs(slope.value - true) <= slope.uncertainty
    # nearer than the finest step nothing tells the sides apart
    assert (slope.kink > 1.0) == (distance < 1e-8)


def logistic_growth(random):
    capacity, rate, middle = 10.0 ** random.uniform(-3, 6), random.uniform(0.2, 3.0), random.normal()
    d, times = random.uniform(0.5, 1.5, 3), np.linspace(-4.0, 4.0, 20)

    def phi(t):
        k, r, m = capacity * (1.0 + d[0] * t), rate * (1.0 + d[1] * t), middle * (1.0 + d[2] * t)
        return float(np.mean((k / (1.0 + np.exp(-r * (times - m))) / capacity) ** 2))

    p = 1.0 / (1.0 + np.exp(-rate * (times - middle)))
    inner = rate * d[1] * (times - middle) - rate * middle * d[2]
    return phi, float(np.mean(2.0 * p * (p * d[0] + p * (1.0 - p) * inner))), 0.0


def waves(random):
    count = int(random.integers(1, 4))
    rate, size, phase = (
        10.0 ** random.uniform(-1.0, 5.0, count),
        random.normal(size=count),
        random.uniform(0.0, 6.0, count),
    )
    return (lambda t: 3.0 + float(size @ np.sin(rate * t + phase))), float((size * rate) @ np.cos(phase)), 0.0


def network(dtype, activation, derivative):
    """A network's squared error along a direction, all in ``dtype``; its slope by the chain rule in float64."""

    def kind(random):
        n, d_in, d_h = random.integers(3, 12), random.integers(1, 6), random.integers(2, 16)
        X, y = random.normal(size=(n, d_in)).astype(dtype), random.normal(size=n).astype(dtype)
        first = (random.normal(size=(d_in, d_h)) / math.sqrt(d_in)).astype(dtype)
        second = (random.normal(size=d_h) / math.sqrt(d_h)).astype(dtype)
        da, db = (random.choice([-1.0, 1.0], w.shape) * random.uniform(0.3, 0.9, w.shape) for w in (first, second))

        def phi(t):
            a, b = (first + t * da).astype(dtype), (second + t * db).astype(dtype)
            residual = activation(X @ a) @ b - y
            return float(np.mean(residual * residual))

        X, y, first, second = (x.astype(np.float64) for x in (X, y, first, second))
        z = X @ first
        residual = activation(z) @ second - y
        change = (derivative(z) * (X @ da)) @ second + activation(z) @ db
        X, y, first, second = (x.astype(dtype) for x in (X, y, first, second))
        return phi, float(np.mean(2.0 * residual * change)), 0.0

    return kind


def kinked(grid):
    def kind(random):
        phi, slope = smooth_function(random)
        distance, bend = random.choice([-1.0, 1.0]) * 10.0 ** random.uniform(-3.0, 0.0), random.normal()
        bent = lambda t: float(grid(phi(t) + bend * abs(t - distance)))  # noqa: E731
        return bent, slope(0.0) - bend * math.copysign(1.0, distance), 0.0

    return kind


def tanh_derivative(z):
    return 1.0 - np.tanh(z) ** 2


def relu(z):
    return np.maximum(z, z.dtype.type(0))


EXACT = lambda x: x  # noqa: E731
DIFFERENTIATED = {
    # a kind of function, the epsilon of its arithmetic, the median uncertainty relative to the slope
    "a tanh network": (network(np.float64, np.tanh, tanh_derivative), EPSILON, 1e-8),
    "a relu network": (network(np.float64, relu, lambda z: 1.0 * (z > 0.0)), EPSILON, 1e-7),
    "logistic growth": (logistic_growth, EPSILON, 1e-8),
    "waves": (waves, EPSILON, 1e-2),
    "a kink": (kinked(EXACT), EPSILON, 1e-7),
    "a tanh network in float32": (network(np.float32, np.tanh, tanh_derivative), EPSILON32, 1e-4),
    "a relu network in float32": (network(np.float32, relu, lambda z: 1.0 * (z > 0.0)), EPSILON32, 1e-2),
    "a kink in float32": (kinked(FLOAT32), EPSILON32, 0.3),
    "a sum of tanh in float32": (rounded_result(FLOAT32, 2.0**-23), EPSILON32, 1e-4),
    "exp of float32 arguments": (rounded_argument(FLOAT32, 2.0**-23), EPSILON32, 1e-4),
    "exp of bfloat16 arguments": (rounded_argument(BFLOAT16, 2.0**-7), EPSILON_BFLOAT16, 0.2),
    "exp of float16 arguments": (rounded_argument(FLOAT16, 2.0**-10), 2.0**-10, 0.02),
    **{f"{name} in float64": (kind, EPSILON, math.inf) for name, kind in ROUNDED.items()},
    "exp by way of float32": (rounded_argument(FLOAT32, 2.0**-23), EPSILON, 1e-4),
    "exp of a part by way of float32": (rounded_argument(FLOAT32, 2.0**-23, 1.0), EPSILON, 1e-4),
    "a step in float32": (rounded_step(FLOAT32, 2.0**-23), EPSILON, 1e-4),
}


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_no_error_is_beyond_three_times_the_uncertainty(name):
    kind, epsilon, sharpness = DIFFERENTIATED[name]
    excess, relative = [], []
    for phi, true, _ in samples(kind, 60, seed=1):
        slope = slope_of(phi, epsilon)
        error = max(0.0, abs(slope.value - true) - 1e-13 * abs(true))  # of the closed form
        excess.append(error / slope.uncertainty)
        relative.append(slope.uncertainty / abs(true))
    assert max(excess) <= 3.0
    assert np.mean([x > 1.0 for x in excess]) < 0.25  # most of them at kinks
    assert np.median(relative) < sharpness


def test_a_smooth_function_in_float64_takes_six_or_eight_values():
    for kind in (network(np.float64, np.tanh, tanh_derivative), logistic_growth):
        for phi, _, _ in samples(kind, 20):
            counted = Counted(phi)
            noise = evaluation_noise(phi, phi(0.0), EPSILON).sigma
            directional_slope(counted, phi(0.0), noise, EPSILON)
            assert len(counted.points) in (6, 8)


def test_noise_takes_twenty_four_values_and_a_function_that_does_not_change_eight():
    counted = Counted(lambda t: float(FLOAT32(1.2 + t)))
    directional_slope(counted, counted(0.0), uniform(2.0**-23), EPSILON)
    assert len(counted.points) == 1 + 24
    level = Counted(lambda t: 2.0)
    assert directional_slope(level, 2.0, 2.0, EPSILON).value == 0.0
    assert len(level.points) == 8


@pytest.mark.parametrize("rate", [1e3, 1e6, 1e9])
def test_a_function_that_is_fast_is_followed_to_finer_steps(rate):
    slope = slope_of(lambda t: math.sin(rate * t + 1.0))
    assert abs(slope.value - rate * math.cos(1.0)) <= slope.uncertainty < 1e-2 * rate


def test_a_function_that_is_faster_than_its_argument_has_no_slope():
    assert math.isinf(directional_slope(lambda t: math.sin(1e30 * t), 0.0, EPSILON, EPSILON).uncertainty)
    # nor one that is undefined wherever it is asked
    assert math.isinf(directional_slope(lambda t: math.nan, 0.0, EPSILON, EPSILON).uncertainty)


@pytest.mark.parametrize("edge", [1e-1, 1e-3, 1e-5])
def test_steps_that_leave_the_domain_give_way_to_finer_ones(edge):
    def phi(t):
        return math.sqrt(edge + t) if t > -edge else math.nan

    slope = slope_of(phi)
    true = 0.5 / math.sqrt(edge)
    assert abs(slope.value - true) <= slope.uncertainty < 1e-5 * true
    rounded = slope_of(lambda t: phi(t) if math.isnan(phi(t)) else float(np.float32(phi(t))), EPSILON32)
    assert abs(rounded.value - true) <= 3.0 * rounded.uncertainty
    assert rounded.uncertainty < 0.1 * true


@pytest.mark.parametrize("finest", [1e-1, 1e-3, 1e-6])
def test_no_step_is_finer_than_the_finest_but_the_first_three(finest):
    first = sorted(EPSILON**power for power in (0.115, 0.19, 0.27))
    for phi in (lambda t: math.sin(1e6 * t), lambda t: float(FLOAT32(1.2 + math.sin(t))), lambda t: abs(t - 1e-9)):
        counted = Counted(phi)
        slope = directional_slope(counted, phi(0.0), evaluation_noise(phi, phi(0.0), EPSILON).sigma, EPSILON, finest)
        further = [abs(t) for t in counted.points if min(abs(abs(t) - h) for h in first) > 1e-12]
        assert min(further, default=1.0) >= finest
        assert not math.isnan(slope.uncertainty)


def test_the_two_sides_are_taken_at_equal_distances():
    for phi, epsilon in itertools.product((math.exp, lambda t: float(FLOAT32(1.0 + t))), (EPSILON, EPSILON32)):
        counted = Counted(phi)
        directional_slope(counted, 1.0, 1e-7, epsilon)
        assert sorted(counted.points) == sorted(-t for t in counted.points)
