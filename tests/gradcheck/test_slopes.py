"""Slopes and noise of a function of one number, whose derivative is known: the error stays within the stated bound."""

from __future__ import annotations

import hashlib
import itertools
import math
import struct

import numpy as np
import pytest

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
    assert evaluation_noise(counted, value, EPSILON) == (abs(value), True)
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
    assert nowhere == (2.0 * EPSILON, False)


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**-300, 2.0**900])
def test_noise_and_slope_scale_with_the_function(scale):
    for kind in (coarse_result, noisy_result):
        phi, _, _ = kind(np.random.default_rng(1))

        def scaled(t, phi=phi):
            return scale * phi(t)

        plain, noise = (evaluation_noise(g, g(0.0), EPSILON).sigma for g in (phi, scaled))
        assert noise == pytest.approx(scale * plain, rel=1e-9)
        assert slope_of(scaled) == pytest.approx(tuple(scale * x for x in slope_of(phi)), rel=1e-6)


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


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_sizes_are_right_where_squares_are_no_numbers(scale):
    x = scale * np.asarray([[3.0, -4.0], [0.0, 0.0]])
    assert math.isclose(norm(np, x), 5.0 * scale, rel_tol=1e-15)
    assert math.isclose(float(scale_of(np, x)), 2.5 * scale, rel_tol=1e-15)
    assert float(scale_of(np, 0.0 * x)) == 1.0
