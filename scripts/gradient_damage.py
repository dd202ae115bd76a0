"""Wrong gradients from right ones: parts zeroed, doubled, negated, moved, and errors of every size.

    damage = draw_damage(random, gradient, unit, least=1e-9)
    wrong = damage.apply(gradient)

A ``Damage`` is a fixed change of one array, so that a gradient function is wrong in the same way at every point. Its
size is the relative norm of the change, each entry in its own unit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace


class Damage(NamedTuple):
    """``factor * move(g) + offset``.

    move: "" or "transpose" or "reverse": the entries in another order.
    """

    name: str
    factor: np.ndarray
    offset: np.ndarray
    move: str = ""

    def apply(self, g: Any) -> Any:
        """The wrong gradient, in the library and dtype of the right one."""
        xp = array_namespace(g)
        if self.move == "transpose":
            g = xp.matrix_transpose(g)
        elif self.move == "reverse":
            g = xp.flip(g)
        factor, offset = (xp.asarray(a, dtype=g.dtype) for a in (self.factor, self.offset))
        return factor * g + offset


def size(wrong: Any, right: Any, unit: Any) -> float:
    """The relative norm of the error, every entry in its own unit."""
    wrong, right = (np.asarray(a, dtype=np.float64) for a in (wrong, right))
    with np.errstate(all="ignore"):
        norm = float(np.linalg.norm(unit * right))
        return float(np.linalg.norm(unit * (wrong - right))) / norm if norm > 0.0 else 0.0


def draw_damage(random: np.random.Generator, g: np.ndarray, unit: np.ndarray, least: float) -> Damage | None:
    """A damage of at least the relative size ``least`` as the dtype of ``g`` shows it; None if none was found."""
    for _ in range(20):
        name = str(random.choice(list(KINDS)))
        damage = KINDS[name](random, np.asarray(g, dtype=np.float64), unit, least)
        if damage is not None and size(damage.apply(g), g, unit) >= least:
            return damage._replace(name=name)
    return None


def _factor(g: np.ndarray, where: Any, by: Any) -> Damage:
    factor = np.ones(g.shape)
    factor[where] = by
    return Damage("", factor, np.zeros(g.shape))


def _entry(random: np.random.Generator, g: np.ndarray) -> tuple[int, ...]:
    return tuple(int(random.integers(0, n)) for n in g.shape)


def _row(random: np.random.Generator, g: np.ndarray) -> Any:
    return (int(random.integers(0, g.shape[0])),) if g.ndim else ()


def _column(random: np.random.Generator, g: np.ndarray) -> Any:
    return (..., int(random.integers(0, g.shape[-1]))) if g.ndim else ()


def _small(random: np.random.Generator, least: float) -> float:
    """A relative size between ``least`` and 0.3, or its double, of either sign, equally in every order of magnitude."""
    low = np.log10(1.1 * least)
    return float(random.choice([-1.0, 1.0]) * 10.0 ** random.uniform(low, max(-0.5, low + 0.3)))


def _one_entry(random: np.random.Generator, g: np.ndarray, unit: np.ndarray, least: float) -> Damage:
    """One entry off by a share of the whole array's norm."""
    offset, at = np.zeros(g.shape), _entry(random, g)
    offset[at] = _small(random, least) * float(np.linalg.norm(unit * g)) / unit[at]
    return Damage("", np.ones(g.shape), offset)


def _dense(random: np.random.Generator, g: np.ndarray, unit: np.ndarray, least: float) -> Damage:
    """A random error in every entry, in the entries' units."""
    e = random.standard_normal(g.shape)
    e *= _small(random, least) * float(np.linalg.norm(unit * g)) / max(float(np.linalg.norm(e)), 1e-300)
    return Damage("", np.ones(g.shape), e / unit)


def _transpose(random: np.random.Generator, g: np.ndarray, unit: np.ndarray, least: float) -> Damage | None:
    square = g.ndim == 2 and g.shape[0] == g.shape[1]
    return Damage("", np.ones(g.shape), np.zeros(g.shape), "transpose") if square else None


# name -> (random, g, unit, least) -> damage
KINDS: dict[str, Callable[..., Damage | None]] = {
    "array zero": lambda random, g, unit, least: _factor(g, ..., 0.0),
    "array doubled": lambda random, g, unit, least: _factor(g, ..., 2.0),
    "array negated": lambda random, g, unit, least: _factor(g, ..., -1.0),
    "array halved": lambda random, g, unit, least: _factor(g, ..., 0.5),
    "array scaled": lambda random, g, unit, least: _factor(g, ..., 1.0 + _small(random, least)),
    "row zero": lambda random, g, unit, least: _factor(g, _row(random, g), 0.0),
    "row doubled": lambda random, g, unit, least: _factor(g, _row(random, g), 2.0),
    "column zero": lambda random, g, unit, least: _factor(g, _column(random, g), 0.0),
    "column negated": lambda random, g, unit, least: _factor(g, _column(random, g), -1.0),
    "entry zero": lambda random, g, unit, least: _factor(g, _entry(random, g), 0.0),
    "entry doubled": lambda random, g, unit, least: _factor(g, _entry(random, g), 2.0),
    "entry negated": lambda random, g, unit, least: _factor(g, _entry(random, g), -1.0),
    "entry off": _one_entry,
    "dense error": _dense,
    "half masked": lambda random, g, unit, least: _factor(g, random.random(g.shape) < 0.5, 0.0),
    "transposed": _transpose,
    "reversed": lambda random, g, unit, least: Damage("", np.ones(g.shape), np.zeros(g.shape), "reverse"),
}
