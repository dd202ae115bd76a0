"""Situations of the point: coincidences, mixed units, the edge of a domain, and gradients that are zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from families_common import softmax
from gradient_cases import (
    LEAST,
    SOUND,
    Case,
    draw_access,
    draw_problem,
    finish,
    noise_allows,
    restricted,
    smooth,
    sound,
    with_damage,
)
from gradient_damage import Damage, draw_damage, size
from gradient_families import Problem, build

# --- the plain situation: errors of every form and size ---------------------------------------------------------------


def damaged(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """Parts of the gradient zeroed, doubled, negated, moved, or off by 1e-9 and more; data in the caller's dtype."""
    problem = build(family, random, dtype)
    return finish(random, problem, right, "", LEAST[dtype]) if sound(problem, SOUND[dtype]) else None


# --- coincidences -----------------------------------------------------------------------------------------------------


class Special(NamedTuple):
    """A special point of one array.

    make: array -> the special one.
    here: (xp, x) -> whether x is one.
    vanishing: (xp, x) -> what is 0 at such a point and not elsewhere.
    """

    make: Callable[[Any], Any]
    here: Callable[[Any, Any], Any]
    vanishing: Callable[[Any, Any], Any]


SPECIAL = {
    "zeros": Special(np.zeros_like, lambda xp, x: ~xp.any(x != 0), lambda xp, x: x),
    "ones": Special(np.ones_like, lambda xp, x: xp.all(x == 1), lambda xp, x: x - 1),
    "equal rows": Special(
        lambda x: np.broadcast_to(x[:1], x.shape), lambda xp, x: xp.all(x == x[:1, ...]), lambda xp, x: x - x[:1, ...]
    ),
    "symmetric": Special(
        lambda x: x + x.T,
        lambda xp, x: xp.all(x == xp.matrix_transpose(x)),
        lambda xp, x: x - xp.matrix_transpose(x),
    ),
    "a zero": Special(
        lambda x: np.where(_is_last(x.shape), 0.0, x),
        lambda xp, x: xp.any(x == 0),
        lambda xp, x: xp.where(xp.asarray(_is_last(x.shape)), x, xp.zeros_like(x)),
    ),
}


def _is_last(shape: Sequence[int]) -> Any:
    mask = np.zeros(shape, dtype=bool)
    mask[(-1,) * len(shape)] = True
    return mask


def special_point(random: np.random.Generator, family: str, dtype: str) -> tuple[Problem, int, str] | None:
    """A problem one of whose arrays is zero, one, symmetric, or has equal rows, where f is smooth."""
    problem = draw_problem(random, family, dtype)
    if problem is None:
        return None
    i, name = int(random.integers(0, len(problem.params))), str(random.choice(list(SPECIAL)))
    x = problem.params[i]
    if name == "symmetric" and (x.ndim != 2 or x.shape[0] != x.shape[1] or x.size == 1):
        return None
    if name == "equal rows" and (x.ndim == 0 or x.shape[0] == 1):
        return None
    moved = np.array(SPECIAL[name].make(x), dtype=x.dtype)
    problem = problem._replace(params=(*problem.params[:i], moved, *problem.params[i + 1 :]))
    if not (sound(problem, SOUND[dtype]) and smooth(problem)):
        return None
    return problem, i, name


def wrong_here(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """A gradient that is wrong at this special point and at no other: divided by x, masked by ``any(b)``."""
    found = special_point(random, family, dtype)
    if found is None:
        return None
    problem, i, name = found
    access, here = draw_access(random), SPECIAL[name].here
    f = restricted(problem.f, access)
    if right:
        return Case(f, problem.grad, problem.params, problem.names, "right", access, (), name, problem.units)
    g = np.asarray(problem.grad(*problem.params)[i])
    if name == "a zero":  # g = something / x, guarded by where(x == 0, 0, ...)
        damage = Damage("zero where x is 0", np.where(problem.params[i] == 0, 0.0, 1.0), np.zeros(g.shape))
    else:
        damage = draw_damage(random, g, problem.units[i], 1e-2) or Damage("", np.ones(g.shape), np.zeros(g.shape))
    wrong_size = damage.apply(g)
    if size(wrong_size, g, problem.units[i]) < 1e-2 or not noise_allows(problem, wrong_size, g, problem.units[i], 1e-9):
        return None

    def grad(*params: Any) -> tuple[Any, ...]:
        g = problem.grad(*params)
        xp = array_namespace(params[i])
        if bool(here(xp, params[i])):
            return (*g[:i], damage.apply(g[i]), *g[i + 1 :])
        return g

    note = f"{problem.names[i]} is {name}; {damage.name}, here only"
    return Case(f, grad, problem.params, problem.names, "wrong", access, (i,), note, problem.units)


def _moved(random: np.random.Generator, problem: Problem, step: float) -> tuple[Any, ...]:
    steps = [step * u * random.standard_normal(u.shape) for u in problem.units]
    return tuple((p + s).astype(p.dtype) for p, s in zip(problem.params, steps, strict=True))


def _sizes(grad: Callable[..., Any], problem: Problem, at: tuple[Any, ...]) -> list[float]:
    return [size(a, b, u) for a, b, u in zip(grad(*at), problem.grad(*at), problem.units, strict=True)]


def wrong_elsewhere(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """A gradient that is right at this special point alone: ``3x`` for ``3x^2`` at ones, a missing transpose."""
    found = special_point(random, family, dtype)
    if found is None:
        return None
    problem, i, name = found
    access, at = draw_access(random), problem.params
    f = restricted(problem.f, access)
    if right:
        return Case(f, problem.grad, at, problem.names, "right", access, (), name, problem.units)
    frozen = bool(random.random() < 0.2)

    def grad(*params: Any) -> tuple[Any, ...]:
        xp, x = array_namespace(params[i]), params[i]
        if frozen:  # a cache of the first call
            first = xp.asarray(at[i], dtype=x.dtype)
            return problem.grad(*params[:i], first, *params[i + 1 :])
        g = problem.grad(*params)
        return (*g[:i], g[i] * (1 + SPECIAL[name].vanishing(xp, x)), *g[i + 1 :])

    # near and farther: what shows beyond a kink alone may be right on this side of it
    shown = [_sizes(grad, problem, _moved(random, problem, step)) for step in (0.02, 0.02, 0.1)]
    here = _sizes(grad, problem, at)
    least = 1e-3 if dtype == "float64" else 1e-2
    wrong = tuple(k for k, sizes in enumerate(zip(*shown, strict=True)) if min(sizes) >= least)
    if not wrong or max(here) > 0.0:
        return None
    note = f"{problem.names[i]} is {name}; {'frozen' if frozen else 'a factor that is 1 here'}, wrong elsewhere"
    return Case(f, grad, at, problem.names, "wrong", access, wrong, note, problem.units)


# --- mixed units ------------------------------------------------------------------------------------------------------


def rescaled(problem: Problem, factors: Sequence[Any]) -> Problem:
    """``f(x / u)``: the same problem in other units, ``grad / u`` its gradient."""

    def inner(params: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        xp = array_namespace(*params)
        real = "complex" not in str(params[0].dtype)
        u = [xp.asarray(a, dtype=p.dtype) if real else xp.asarray(a) for a, p in zip(factors, params, strict=True)]
        return u, [p / a for p, a in zip(params, u, strict=True)]

    def f(*params: Any) -> Any:
        return problem.f(*inner(params)[1])

    def grad(*params: Any) -> tuple[Any, ...]:
        u, x = inner(params)
        return tuple(g / a for g, a in zip(problem.grad(*x), u, strict=True))

    params = tuple(np.asarray(p * u, dtype=p.dtype) for p, u in zip(problem.params, factors, strict=True))
    units = tuple(np.abs(u) * unit for u, unit in zip(factors, problem.units, strict=True))
    return Problem(f, grad, params, problem.names, units)


def units(spread: str) -> Callable[..., Case | None]:
    """Entries in units of 1e-9 to 1e9: "each entry" by its own, "one entry" far from the others, "each array"."""

    def make(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
        problem = draw_problem(random, family, dtype)
        if problem is None or any(np.any(unit != 1.0) for unit in problem.units):
            return None

        def factors(p: Any) -> Any:
            if spread == "each array":
                return np.full(p.shape, 10.0 ** random.uniform(-9, 9))
            u = 10.0 ** random.uniform(-9, 9, p.shape)
            chosen = np.arange(p.size).reshape(p.shape) == random.integers(0, p.size)
            return u if spread == "each entry" else np.where(chosen, u, 1.0)

        scaled = rescaled(problem, [np.asarray(factors(p), dtype=dtype) for p in problem.params])
        least = LEAST[dtype]
        return finish(random, scaled, right, f"units by {spread}", least) if sound(scaled, SOUND[dtype]) else None

    return make


def natural_units(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """A curve's flat vector of parameters: an amplitude, a time constant of 2e-9, a frequency of 1e9, an offset."""
    problem = draw_problem(random, family, dtype)
    if problem is None or all(np.all(unit == 1.0) for unit in problem.units):
        return None
    return finish(random, problem, right, "natural units", LEAST[dtype])


def small_entries(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """Entries that happen to be tiny, 1e-12 to 1e-3, where f changes over 1: their size is not their unit."""
    problem = draw_problem(random, family, dtype)
    if problem is None:
        return None
    i = int(random.integers(0, len(problem.params)))
    x = problem.params[i]
    tiny = np.where(random.random(x.shape) < 0.5, 10.0 ** random.uniform(-12, -3, x.shape), 1.0)
    problem = problem._replace(
        params=(*problem.params[:i], np.asarray(x * tiny, dtype=dtype), *problem.params[i + 1 :])
    )
    if not (sound(problem, SOUND[dtype]) and smooth(problem)):
        return None
    # a step as small as the entry shows no more than epsilon / 1e-12 of its slope, but a step of 1 does
    return finish(random, problem, right, f"{problem.names[i]} has tiny entries", max(LEAST[dtype], 1e-6))


# --- domains ----------------------------------------------------------------------------------------------------------


def domain(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """f and grad raise beyond an edge near the parameters, as math.log, Cholesky and checks of inputs do."""
    problem = draw_problem(random, family, dtype)
    if problem is None:
        return None
    i = int(random.integers(0, len(problem.params)))
    x, unit = problem.params[i], problem.units[i]
    side = float(random.choice([-1.0, 1.0]))
    edge = np.max(side * x / unit) + 10.0 ** random.uniform(-4, -0.5)
    who = str(random.choice(["f", "grad", "both"]))

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def inside(*params: Any) -> Any:
            xp = array_namespace(params[i])
            if bool(xp.any(params[i] * xp.asarray(side / unit, dtype=params[i].dtype) > float(edge))):
                raise ValueError("math domain error")
            return function(*params)

        return inside

    f = guarded(problem.f) if who != "grad" else problem.f
    grad = guarded(problem.grad) if who != "f" else problem.grad
    return finish(random, problem._replace(f=f, grad=grad), right, f"{who} raises beyond an edge", LEAST[dtype])


# --- gradients that are zero ------------------------------------------------------------------------------------------


def zero(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """An array that f does not use, or only in a sum of probabilities: its gradient is zero, and wrong if it is not."""
    problem = draw_problem(random, family, dtype)
    if problem is None:
        return None
    cancels = bool(random.random() < 0.4)
    extra = random.standard_normal(int(random.integers(1 + cancels, 6))).astype(dtype)

    def f(*params: Any) -> Any:
        value, xp = problem.f(*params[:-1]), array_namespace(*params)
        return value + xp.sum(softmax(xp, params[-1])) if cancels else value

    def grad(*params: Any) -> tuple[Any, ...]:
        g, xp = problem.grad(*params[:-1]), array_namespace(*params)
        if not cancels:
            return *g, 0 * params[-1]
        p = softmax(xp, params[-1])
        return *g, p - p * xp.sum(p)  # zero but for rounding

    params, names = (*problem.params, extra), (*problem.names, "extra")
    access, units = draw_access(random), (*problem.units, np.ones(extra.shape))
    note = "a sum of probabilities" if cancels else "an array that f does not use"
    if right:
        return Case(restricted(f, access), grad, params, names, "zero" if cancels else "right", access, (), note, units)
    norm = max(float(np.linalg.norm(u * g)) for u, g in zip(problem.units, problem.grad(*problem.params), strict=True))
    offset = norm * 10.0 ** random.uniform(-3, 0) * random.standard_normal(extra.shape)
    if float(np.linalg.norm(offset)) < 1e-4 * (1.0 + abs(float(problem.f(*problem.params)))):
        return None
    wrong = with_damage(grad, len(params) - 1, Damage("not zero", np.ones(extra.shape), offset))
    return Case(restricted(f, access), wrong, params, names, "wrong", access, (len(params) - 1,), note, units)


def flat(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """A straight-through gradient of rounded and clipped arguments, or of an f that ignores them: not to be passed."""
    problem = draw_problem(random, family, dtype)
    if right or problem is None or any(np.any(unit != 1.0) for unit in problem.units):
        return None
    steps, ignores, at = int(random.integers(1, 9)), bool(random.random() < 0.3), problem.params

    def quantised(params: Sequence[Any]) -> list[Any]:
        xp = array_namespace(*params)
        if ignores:
            return [xp.asarray(p, dtype=x.dtype) for p, x in zip(at, params, strict=True)]
        return [xp.round(xp.clip(p, -2.0, 2.0) * steps) / steps for p in params]

    access = draw_access(random)
    f = restricted(lambda *params: problem.f(*quantised(params)), access)
    note = "f ignores its arguments" if ignores else f"straight through, steps of 1/{steps}"
    grad = problem.grad
    if not sound(problem._replace(params=tuple(quantised(at)), grad=grad), SOUND[dtype]):
        return None
    return Case(f, grad, at, problem.names, "hidden", access, tuple(range(len(at))), note, problem.units)
