"""Curve fits and models of nature: a flat vector of parameters in mixed units, weighted squared residuals.

A curve is given by its formula and its derivatives; ``fit`` makes the problem of both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from families_common import Drawn, logistic, mean, shares

Random = np.random.Generator


def fit(
    random: Random,
    curve: Callable[..., tuple[Any, Sequence[Any]]],
    theta: Sequence[float],
    t: Any,
    noise: float,
) -> Drawn:
    """``mean of w (curve(t; theta) - y)^2``: y is the curve at parameters some 10% off, with noise.

    ``curve(xp, t, *theta)`` returns the values at all t and the derivatives with respect to each parameter. The units
    are the parameters' own size.
    """
    true = np.asarray(theta, dtype=np.float64)
    start = true * random.uniform(0.85, 1.15, true.size)
    y = np.asarray(curve(np, t, *true)[0])
    y = y + noise * np.max(np.abs(y)) * random.normal(size=y.shape)

    def value(xp: Any, data: Any, theta: Any) -> Any:
        t, y, w = data
        return mean(xp, w, (curve(xp, t, *(theta[i] for i in range(true.size)))[0] - y) ** 2)

    def gradient(xp: Any, data: Any, theta: Any) -> Any:
        t, y, w = data
        m, columns = curve(xp, t, *(theta[i] for i in range(true.size)))
        dm = 2.0 * shares(xp, w) * (m - y)
        return (xp.stack([xp.sum(dm * column) for column in columns]),)

    return Drawn(value, gradient, {"theta": start}, (t, y, random.uniform(0.5, 2.0, y.size)), (np.abs(true),))


def exponential_decay(random: Random) -> Drawn:
    """``a exp(-t / tau) + c`` with a time constant of nanoseconds."""

    def curve(xp: Any, t: Any, a: Any, tau: Any, c: Any) -> Any:
        e = xp.exp(-t / tau)
        return a * e + c, (e, a * e * t / tau**2, xp.ones_like(e))

    theta = random.uniform(1.0, 5.0), 10.0 ** random.uniform(-10, -7), random.uniform(0.1, 1.0)
    return fit(random, curve, theta, np.linspace(0.1, 4.0, 9) * theta[1], 0.05)


def damped_oscillation(random: Random) -> Drawn:
    """``a exp(-t / tau) cos(omega t) + c``: amplitude, time constant 2e-9, frequency 1e9, offset."""

    def curve(xp: Any, t: Any, a: Any, tau: Any, omega: Any, c: Any) -> Any:
        e, cos, sin = xp.exp(-t / tau), xp.cos(omega * t), xp.sin(omega * t)
        return a * e * cos + c, (e * cos, a * e * cos * t / tau**2, -a * e * sin * t, xp.ones_like(e))

    theta = random.uniform(1.0, 5.0), 2e-9 * random.uniform(0.5, 2.0), 1e9 * random.uniform(0.5, 2.0), 0.1
    return fit(random, curve, theta, np.linspace(0.0, 6e-9, 12), 0.05)


def logistic_growth(random: Random) -> Drawn:
    """``K / (1 + exp(-r (t - m)))``: a capacity of a million, a rate of 0.3, a midpoint of 50."""

    def curve(xp: Any, t: Any, K: Any, r: Any, m: Any) -> Any:
        s = logistic(xp, r * (t - m))
        slope = K * s * (1.0 - s)
        return K * s, (s, slope * (t - m), -slope * r)

    theta = 10.0 ** random.uniform(5, 7), random.uniform(0.1, 0.5), random.uniform(30, 60)
    return fit(random, curve, theta, np.linspace(10.0, 90.0, 9), 0.02)


def michaelis_menten(random: Random) -> Drawn:
    """``vmax s / (km + s)``: concentrations in mol per litre."""

    def curve(xp: Any, s: Any, vmax: Any, km: Any) -> Any:
        return vmax * s / (km + s), (s / (km + s), -vmax * s / (km + s) ** 2)

    km = 10.0 ** random.uniform(-7, -3)
    return fit(random, curve, (10.0 ** random.uniform(-2, 3), km), np.geomspace(0.1, 10.0, 8) * km, 0.03)


FAMILIES = (exponential_decay, damped_oscillation, logistic_growth, michaelis_menten)
