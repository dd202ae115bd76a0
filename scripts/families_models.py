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


def bateman(random: Random) -> Drawn:
    """``D ka / (V (ka - ke)) (exp(-ke t) - exp(-ka t))``: a drug taken by mouth; V in litres, rates per hour."""

    def curve(xp: Any, t: Any, ka: Any, ke: Any, V: Any) -> Any:
        a, e, gap = xp.exp(-ka * t), xp.exp(-ke * t), ka - ke
        m = 500.0 * ka / (V * gap) * (e - a)
        dka = 500.0 / V * (-ke / gap**2 * (e - a) + ka / gap * t * a)
        dke = 500.0 * ka / V * ((e - a) / gap**2 - t * e / gap)
        return m, (dka, dke, -m / V)

    theta = random.uniform(0.8, 2.0), random.uniform(0.05, 0.2), 10.0 ** random.uniform(1, 3)
    return fit(random, curve, theta, np.linspace(0.25, 24.0, 10), 0.03)


def soil_retention(random: Random) -> Drawn:
    """``r + (s - r) (1 + (a h)^n)^(1/n - 1)``: van Genuchten's water content, suction h in pascal."""

    def curve(xp: Any, h: Any, r: Any, s: Any, a: Any, n: Any) -> Any:
        power = (a * h) ** n
        m = 1.0 - 1.0 / n
        e = (1.0 + power) ** (-m)
        inner = -m * (s - r) * e / (1.0 + power) * power  # times d log(power)
        dn = inner * xp.log(a * h) - (s - r) * e * xp.log(1.0 + power) / n**2
        return r + (s - r) * e, (1.0 - e, e, inner * n / a, dn)

    theta = (
        random.uniform(0.02, 0.1),
        random.uniform(0.3, 0.5),
        10.0 ** random.uniform(-5, -3),
        random.uniform(1.3, 3.0),
    )
    return fit(random, curve, theta, np.geomspace(0.1, 30.0, 9) / theta[2], 0.02)


def gaussian_peak(random: Random) -> Drawn:
    """``a exp(-(x - m)^2 / 2 s^2) + b``: a spectral line at 5e14 Hz, 1e10 wide."""

    def curve(xp: Any, x: Any, a: Any, m: Any, s: Any, b: Any) -> Any:
        z = (x - m) / s
        e = xp.exp(-0.5 * z**2)
        return a * e + b, (e, a * e * z / s, a * e * z**2 / s, xp.ones_like(e))

    centre, width = 10.0 ** random.uniform(-3, 3), 10.0 ** random.uniform(-1, -0.5)
    theta = 10.0 ** random.uniform(-2, 6), centre, width * centre, random.uniform(0.5, 1.0)
    return fit(random, curve, theta, centre * (1.0 + width * np.linspace(-3.0, 3.0, 11)), 0.02)


def hill(random: Random) -> Drawn:
    """``b + (t - b) / (1 + (k / c)^h)``: dose and response, concentrations in mol per litre."""

    def curve(xp: Any, c: Any, b: Any, t: Any, k: Any, h: Any) -> Any:
        power = (k / c) ** h
        s = 1.0 / (1.0 + power)
        slope = -(t - b) * s * (1.0 - s)  # times d log(power)
        return b + (t - b) * s, (1.0 - s, s, slope * h / k, slope * xp.log(k / c))

    theta = (
        random.uniform(1.0, 5.0),
        random.uniform(50.0, 100.0),
        10.0 ** random.uniform(-9, -6),
        random.uniform(0.7, 2.0),
    )
    return fit(random, curve, theta, np.geomspace(0.03, 30.0, 8) * theta[2], 0.02)


def power_law(random: Random) -> Drawn:
    """``a q^b + c``: a rating curve of a river, discharge against stage."""

    def curve(xp: Any, q: Any, a: Any, b: Any, c: Any) -> Any:
        power = q**b
        return a * power + c, (power, a * power * xp.log(q), xp.ones_like(power))

    theta = 10.0 ** random.uniform(-3, 3), random.uniform(1.2, 2.5), 10.0 ** random.uniform(-1, 1)
    return fit(random, curve, theta, np.linspace(0.5, 4.0, 8), 0.02)


def sinusoid(random: Random) -> Drawn:
    """``a sin(2 pi f t + p)``: mains of 50 Hz and 300 volt."""

    def curve(xp: Any, t: Any, a: Any, f: Any, p: Any) -> Any:
        phase = 6.283185307179586 * f * t + p
        sin, cos = xp.sin(phase), xp.cos(phase)
        return a * sin, (sin, 6.283185307179586 * a * t * cos, a * cos)

    return fit(
        random, curve, (random.uniform(100.0, 400.0), 50.0, random.uniform(0.3, 2.0)), np.linspace(0, 0.03, 11), 0.02
    )


def epidemic(random: Random) -> Drawn:
    """Susceptible and infected by Runge and Kutta's fixed steps, with the sensitivities integrated alongside."""
    population, steps, dt = 1e6, 5, 2.0

    def rate(S: Any, J: Any, beta: Any, gamma: Any) -> tuple[Any, Any]:
        flow = beta * S * J / population
        return -flow, flow - gamma * J

    def change(at: Any, other: Any, beta: Any, gamma: Any, direction: tuple[float, float]) -> tuple[Any, Any]:
        (S, J), (dS, dJ), (db, dg) = at, other, direction
        flow = (beta * (dS * J + S * dJ) + db * S * J) / population
        return -flow, flow - gamma * dJ - dg * J

    def solve(xp: Any, beta: Any, gamma: Any, infected: Any) -> tuple[Any, tuple[Any, ...]]:
        directions = ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
        one = infected / infected
        state: list[Any] = [(population - infected, infected), (0.0, 0.0), (0.0, 0.0), (-one, one)]

        def slopes(at: Any) -> list[Any]:
            (S, J), *others = at
            changes = (change((S, J), o, beta, gamma, d) for o, d in zip(others, directions, strict=True))
            return [rate(S, J, beta, gamma), *changes]

        def moved(at: Any, k: Any, h: float) -> list[Any]:
            return [tuple(a + h * b for a, b in zip(p, q, strict=True)) for p, q in zip(at, k, strict=True)]

        found = []
        for _ in range(steps):
            k1 = slopes(state)
            k2 = slopes(moved(state, k1, dt / 2))
            k3 = slopes(moved(state, k2, dt / 2))
            k4 = slopes(moved(state, k3, dt))
            for k, weight in ((k1, 1.0), (k2, 2.0), (k3, 2.0), (k4, 1.0)):
                state = moved(state, k, weight * dt / 6)
            found.append([pair[1] for pair in state])
        values, *columns = (xp.stack(list(column)) for column in zip(*found, strict=True))
        return values, tuple(columns)

    def curve(xp: Any, t: Any, beta: Any, gamma: Any, infected: Any) -> Any:
        return solve(xp, beta, gamma, infected)

    return fit(
        random,
        curve,
        (random.uniform(0.4, 0.8), random.uniform(0.1, 0.3), 10.0 ** random.uniform(1, 3)),
        np.arange(5.0),
        0.05,
    )


FAMILIES = (
    exponential_decay,
    damped_oscillation,
    logistic_growth,
    michaelis_menten,
    bateman,
    soil_retention,
    gaussian_peak,
    hill,
    power_law,
    sinusoid,
    epidemic,
)
