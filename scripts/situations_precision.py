"""Situations of the precision: float32 data, float32 and bfloat16 alone, a branch, and steps by way of float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from gradient_cases import LEAST, SOUND, Case, draw_access, finish, restricted, sound
from gradient_damage import draw_damage, size
from gradient_families import build


def cast_to_float32(arrays: Sequence[Any]) -> list[Any]:
    """Every array in float32."""
    xp = array_namespace(*arrays)
    return [xp.astype(a, xp.float32) for a in arrays]


def closure(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """Parameters in float32, and the data, masks and weights of rows in the closure as well."""
    problem = build(family, random, dtype, data_dtype=dtype)
    return finish(random, problem, right, "data in float32", LEAST[dtype]) if sound(problem, SOUND[dtype]) else None


def only(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """A function that computes in float32 alone: it casts what it is given, or raises."""
    problem = build(family, random, dtype, data_dtype=dtype)
    if not sound(problem, SOUND[dtype]):
        return None
    raises = bool(random.random() < 0.5)

    def checked(params: Sequence[Any]) -> Sequence[Any]:
        if raises and any(str(p.dtype).rpartition(".")[2] != "float32" for p in params):
            raise TypeError("float32 only")
        return params if raises else cast_to_float32(params)

    def grad(*params: Any) -> tuple[Any, ...]:
        xp, given = array_namespace(*params), params
        out = problem.grad(*checked(params))
        return tuple(xp.astype(g, p.dtype) for g, p in zip(out, given, strict=True))

    narrow = problem._replace(f=lambda *params: problem.f(*checked(params)), grad=grad)
    note = "raises for all but float32" if raises else "casts to float32"
    return finish(random, narrow, right, note, LEAST[dtype], epsilon=2.0**-23)


def branch(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """A gradient that is right in float64 and off by 0.1% to 0.9% in float32."""
    problem = build(family, random, dtype)
    if not sound(problem, SOUND[dtype]):
        return None
    access, i = draw_access(random), int(random.integers(0, len(problem.params)))
    f = restricted(problem.f, access)
    if right:
        return Case(
            f, problem.grad, problem.params, problem.names, "right", access, (), "a float32 branch", problem.units
        )
    factor = float(random.uniform(1.001, 1.009))

    def grad(*params: Any) -> tuple[Any, ...]:
        g = problem.grad(*params)
        return (*g[:i], g[i] * factor, *g[i + 1 :]) if str(g[i].dtype).endswith("float32") else g

    note = f"{problem.names[i]}: times {factor:.6f} in float32 only"
    return Case(f, grad, problem.params, problem.names, "wrong", access, (i,), note, problem.units)


def _by_way_of_float32(x: Any) -> Any:
    xp = array_namespace(x)
    return xp.astype(xp.astype(x, xp.float32), x.dtype)


class Narrow:
    """A namespace one of whose functions computes in float32 and returns float64."""

    def __init__(self, xp: Any, name: str) -> None:
        self._xp, self._name, self.used = xp, name, False

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._xp, name)
        if name != self._name:
            return function

        def narrow(x: Any, *args: Any, **options: Any) -> Any:
            self.used = True
            return self._xp.astype(function(self._xp.astype(x, self._xp.float32), *args, **options), x.dtype)

        return narrow


def stairs(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """One function inside f, such as exp, by way of float32: f moves in steps of 6e-8 though it returns float64."""
    step = str(random.choice(["exp", "log", "tanh", "sqrt", "log1p", "cos", "an argument", "its value"]))
    seed = int(random.integers(0, 2**31))
    used: list[Narrow] = []

    def narrow(xp: Any) -> Any:
        used.append(Narrow(xp, step))
        return used[-1]

    problem = build(family, np.random.default_rng(seed), dtype, function=narrow)
    if not sound(problem, SOUND[dtype]):
        return None
    if not used[-1].used:  # the family has no such function: an argument on its way through float32
        wide = build(family, np.random.default_rng(seed), dtype)
        if step == "its value":
            rounded = wide._replace(f=lambda *params: _by_way_of_float32(wide.f(*params)))
            return finish(random, rounded, right, "its value in float32", 1e-2, epsilon=2.0**-24)
        i = int(random.integers(0, len(wide.params)))
        if np.any(wide.units[i] != 1.0):
            return None

        def f(*params: Any) -> Any:
            return wide.f(*params[:i], _by_way_of_float32(params[i]), *params[i + 1 :])

        problem, step = wide._replace(f=f), f"{wide.names[i]} by way of float32"
    # what the stairs hide is no visible error: a percent is above them for a function of size 1
    return finish(random, problem, right, f"{step} in float32", 1e-2, epsilon=2.0**-24)


# --- bfloat16 and float16, which NumPy does not have or nobody computes in: PyTorch -----------------------------------


def low(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """A torch function in bfloat16 or float16: it takes other dtypes, too, or casts them, or raises."""
    import torch

    kind = str(random.choice(["any dtype", "casts", "raises"]))
    problem = build(family, random, "float64", None if kind == "any dtype" else dtype)
    if any(np.any(unit != 1.0) for unit in problem.units):  # bfloat16 has no numbers for parameters in mixed units
        return None
    narrow = getattr(torch, dtype)
    params = tuple(torch.tensor(p).to(narrow) for p in problem.params)

    def checked(given: Sequence[Any]) -> Sequence[Any]:
        if kind == "raises" and any(p.dtype != narrow for p in given):
            raise TypeError(f"{dtype} only")
        return [p.to(narrow) for p in given] if kind == "casts" else given

    def grad(*given: Any) -> tuple[Any, ...]:
        return tuple(g.to(p.dtype) for g, p in zip(problem.grad(*checked(given)), given, strict=True))

    def f(*given: Any) -> Any:
        return problem.f(*checked(given))

    exact = tuple(p.double() for p in params)
    ours = [np.asarray(g.double()) for g in grad(*params)]
    truth = [np.asarray(g.double()) for g in problem.grad(*exact)]
    if any(not np.any(t) or not size(a, t, np.ones(1)) <= SOUND[dtype] for a, t in zip(ours, truth, strict=True)):
        return None
    if right:
        return Case(f, grad, params, problem.names, "right", "torch", (), kind)
    i = int(random.integers(0, len(params)))
    damage = draw_damage(random, ours[i], problem.units[i], LEAST[dtype])
    epsilon = float(torch.finfo(narrow).eps)
    if damage is None or np.linalg.norm(damage.apply(ours[i]) - ours[i]) < 30 * epsilon * abs(float(f(*params))):
        return None

    def wrong(*given: Any) -> tuple[Any, ...]:
        g = grad(*given)
        return (*g[:i], damage.apply(g[i]), *g[i + 1 :])

    return Case(f, wrong, params, problem.names, "wrong", "torch", (i,), f"{kind}; {problem.names[i]}: {damage.name}")
