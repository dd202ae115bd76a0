"""Slopes and noise of a function of one number, whose derivative is known: the error stays within the stated bound."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlp_xp.gradcheck.arrays import norm, scale_of
from mlp_xp.gradcheck.slopes import directional_slope, evaluation_noise

pytestmark = pytest.mark.only("numpy")  # nothing here is an array of another library
EPSILON = float(np.finfo(np.float64).eps)


def slope_of(phi):
    return directional_slope(phi, phi(0.0), evaluation_noise(phi, phi(0.0), EPSILON)[0], EPSILON)


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


def test_the_noise_is_the_rounding_of_the_values():
    noise, _ = evaluation_noise(lambda t: float(np.float32(1.0 + t)), 1.0, EPSILON)
    assert 0.1 < noise / np.finfo(np.float32).eps < 10.0
    assert evaluation_noise(lambda t: math.cos(1.0 + t), math.cos(1.0), EPSILON)[0] < 10.0 * EPSILON


def test_the_noise_of_a_function_that_does_not_change_is_its_whole_value():
    assert evaluation_noise(lambda t: -3.0, -3.0, EPSILON) == (3.0, True)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_sizes_are_right_where_squares_are_no_numbers(scale):
    x = scale * np.asarray([[3.0, -4.0], [0.0, 0.0]])
    assert math.isclose(norm(np, x), 5.0 * scale, rel_tol=1e-15)
    assert math.isclose(float(scale_of(np, x)), 2.5 * scale, rel_tol=1e-15)
    assert float(scale_of(np, 0.0 * x)) == 1.0
