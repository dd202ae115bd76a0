"""What situations are made of: a case, who may call its f, whether its gradient is sound, and the damage to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from gradient_damage import Damage, draw_damage, size
from gradient_families import Problem, build

# the least relative error that counts as wrong, in the entries' own units
LEAST = {"float64": 1e-9, "float32": 1e-4, "float16": 0.5, "bfloat16": 0.5}

# how far a right gradient may lie from that of float64: what rounding leaves of a few dozen operations. A problem that
# loses more by cancellation has no right gradient in this dtype and is drawn again.
SOUND = {"float64": 1e-10, "float32": 1e-5, "float16": 0.02, "bfloat16": 0.1}


class Request(NamedTuple):
    """A case by name: enough to build it again in another process."""

    family: str
    situation: str
    dtype: str
    right: bool
    seed: int


class Case(NamedTuple):
    """What a checker is shown.

    grad: of f; None if f is an op that returns (value, pullback).
    truth: "right", which must pass; "zero", right and zero but for rounding, which must not fail; "wrong", which must
        fail; "hidden", of which f says nothing: it must not pass.
    access: "arrays" of any library, "numpy" arrays only, or "real" ones only, so that differences must serve.
    wrong: the arrays whose gradients are wrong.
    note: what was done, in words.
    units: of every param the size of its entries, in which a step is neither large nor small.
    """

    f: Callable[..., Any]
    grad: Any
    params: tuple[Any, ...]
    names: tuple[str, ...]
    truth: Literal["right", "zero", "wrong", "hidden"]
    access: str
    wrong: tuple[int, ...]
    note: str
    units: tuple[Any, ...] = ()


def draw_problem(random: np.random.Generator, family: str, dtype: str) -> Problem | None:
    """A sound problem; four of five in float32 have their data, masks and weights in float32, too."""
    closure = "float32" if dtype == "float32" and random.random() < 0.8 else None
    problem = build(family, random, dtype, closure)
    return problem if sound(problem, SOUND[dtype]) else None


def restricted(f: Callable[..., Any], access: str) -> Callable[..., Any]:
    """``f`` that takes only NumPy arrays ("numpy"), or only real ones ("real")."""
    if access == "arrays":
        return f

    def plain(*params: Any) -> Any:
        for p in params:
            if not isinstance(p, np.ndarray | np.generic):
                raise TypeError(f"NumPy arrays only, got {type(p).__name__}")
            if access == "real" and p.dtype.kind != "f":
                raise TypeError(f"real arrays only, got {p.dtype}")
        return f(*params)

    return plain


def draw_access(random: np.random.Generator) -> str:
    """Two cases of five take arrays of any kind, and so dual numbers."""
    return str(random.choice(["arrays", "numpy", "real"], p=[0.4, 0.3, 0.3]))


def sound(problem: Problem, tolerance: float) -> bool:
    """Is the gradient that of float64 within ``tolerance`` of each array's norm, finite, and in no array zero?

    A gradient that is zero but for rounding (attention to equal values) is zero: nobody can tell it from another one.
    """
    ours = problem.grad(*problem.params)
    value = np.asarray(problem.f(*problem.params), dtype=np.float64)
    truth = problem.grad(*(np.asarray(p, dtype=np.float64) for p in problem.params))
    norms = [float(np.linalg.norm(u * t)) for t, u in zip(truth, problem.units, strict=True)]
    return (
        bool(np.isfinite(value))
        and all(np.all(np.isfinite(np.asarray(a, dtype=np.float64))) for a in ours)
        and min(norms) > 1e-8 * (max(norms) + abs(float(value)))
        and all(size(a, t, u) <= tolerance for a, t, u in zip(ours, truth, problem.units, strict=True))
    )


def smooth(problem: Problem) -> bool:
    """Do differences of the sixth order agree with the gradient in two directions? Not at a kink."""
    random = np.random.default_rng(0)
    params = [np.asarray(p, dtype=np.float64) for p in problem.params]
    g = problem.grad(*params)
    for _ in range(2):
        d = [u * random.standard_normal(p.shape) for p, u in zip(params, problem.units, strict=True)]

        def along(t: float, d: Any = d) -> float:
            return float(problem.f(*(p + t * di for p, di in zip(params, d, strict=True))))

        h = 1e-4
        slope = sum(c * (along(k * h) - along(-k * h)) for k, c in ((1, 45.0), (2, -9.0), (3, 1.0))) / (60.0 * h)
        terms = [np.sum(gi * di) for gi, di in zip(g, d, strict=True)]
        if not abs(slope - sum(terms)) <= 1e-7 * (sum(map(abs, terms)) + abs(along(0.0))):
            return False
    return True


def noise_allows(problem: Problem, damaged: Any, g: Any, unit: Any, epsilon: float) -> bool:
    """Is the error above what rounding of f hides from everyone who can only call f? 1,000 roundings are enough."""
    value = abs(float(problem.f(*problem.params)))
    error = unit * (np.asarray(damaged, dtype=np.float64) - np.asarray(g, dtype=np.float64))
    return float(np.linalg.norm(error)) >= 1e3 * epsilon * value


def with_damage(grad: Callable[..., Any], i: int, damage: Damage) -> Callable[..., tuple[Any, ...]]:
    """``grad`` with the i-th array damaged at every point."""

    def wrong(*params: Any) -> tuple[Any, ...]:
        g = grad(*params)
        return (*g[:i], damage.apply(g[i]), *g[i + 1 :])

    return wrong


def finish(
    random: np.random.Generator, problem: Problem, right: bool, note: str, least: float, epsilon: float = 2.0**-52
) -> Case | None:
    """The case of a problem: as it is, or with one array's gradient damaged by at least ``least``."""
    access = draw_access(random)
    f = restricted(problem.f, access)
    if right:
        return Case(f, problem.grad, problem.params, problem.names, "right", access, (), note, problem.units)
    i = int(random.integers(0, len(problem.params)))
    g = np.asarray(problem.grad(*problem.params)[i])
    damage = draw_damage(random, g, problem.units[i], least)
    if damage is None or not noise_allows(problem, damage.apply(g), g, problem.units[i], epsilon):
        return None
    note = f"{note}; {problem.names[i]}: {damage.name}".lstrip("; ")
    grad = with_damage(problem.grad, i, damage)
    return Case(f, grad, problem.params, problem.names, "wrong", access, (i,), note, problem.units)
