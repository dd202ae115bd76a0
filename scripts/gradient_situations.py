"""Situations in which gradient checkers are fooled, for every family of functions, with right and wrong gradients.

    case = build_case(Request("huber", "units", "float64", False, 0))
    report = mlp_xp.gradcheck(case.f, case.grad, case.params, case.names)

A situation takes a right problem of ``gradient_families`` and changes the point, the units, the precision or the
domain; for a wrong case it damages the gradient, visibly in the dtype in question. All numbers follow from the request.

Next: ``gradcheck_situations`` shows the cases to this project's checker and to others.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from gradient_damage import Damage, draw_damage, size
from gradient_families import FAMILIES, Problem, build

# the least relative error that counts as wrong, in the entries' own units
LEAST = {"float64": 1e-9, "float32": 1e-4, "float16": 0.5, "bfloat16": 0.5}


class Request(NamedTuple):
    """A case by name: enough to build it again in another process."""

    family: str
    situation: str
    dtype: str
    right: bool
    seed: int


class Case(NamedTuple):
    """What a checker is shown.

    truth: "right", "wrong", or "hidden": f says nothing about the gradient, which must not pass.
    access: "arrays" of any library, "numpy" arrays only, or "real" ones only, so that differences must serve.
    wrong: the arrays whose gradients are wrong.
    note: what was done, in words.
    """

    f: Callable[..., Any]
    grad: Callable[..., Any]
    params: tuple[Any, ...]
    names: tuple[str, ...]
    truth: Literal["right", "wrong", "hidden"]
    access: str
    wrong: tuple[int, ...]
    note: str


def build_case(request: Request) -> Case | None:
    """The case of a request; None where the situation makes no sense for the family, such as a zero in a logarithm."""
    named = f"{request.family}/{request.situation}/{request.dtype}/{request.right}"
    random = np.random.default_rng([request.seed, zlib.crc32(named.encode())])
    make = SITUATIONS[request.situation].make
    with np.errstate(all="ignore"):
        for _ in range(10):
            case = make(random, request.family, request.dtype, request.right)
            if case is not None:
                return case
    return None


# --- what every situation needs ---------------------------------------------------------------------------------------


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
    """Is the gradient that of float64 within ``tolerance`` of each array's norm, finite, and nowhere all zero?"""
    ours = problem.grad(*problem.params)
    value = np.asarray(problem.f(*problem.params), dtype=np.float64)
    truth = problem.grad(*(np.asarray(p, dtype=np.float64) for p in problem.params))
    return bool(np.isfinite(value)) and all(
        np.all(np.isfinite(np.asarray(a, dtype=np.float64))) and np.any(t) and size(a, t, u) <= tolerance
        for a, t, u in zip(ours, truth, problem.units, strict=True)
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
        return Case(f, problem.grad, problem.params, problem.names, "right", access, (), note)
    i = int(random.integers(0, len(problem.params)))
    g = np.asarray(problem.grad(*problem.params)[i])
    damage = draw_damage(random, g, problem.units[i], least)
    if damage is None or not noise_allows(problem, damage.apply(g), g, problem.units[i], epsilon):
        return None
    note = f"{note}; {problem.names[i]}: {damage.name}".lstrip("; ")
    return Case(f, with_damage(problem.grad, i, damage), problem.params, problem.names, "wrong", access, (i,), note)


# --- the plain situation: errors of every form and size ---------------------------------------------------------------


def damaged(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """Parts of the gradient zeroed, doubled, negated, moved, or off by 1e-9 and more; data in the caller's dtype."""
    problem = build(family, random, dtype)
    tolerance = 1e-10 if dtype == "float64" else 1e-5
    return finish(random, problem, right, "", LEAST[dtype]) if sound(problem, tolerance) else None


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
    problem = build(family, random, dtype)
    i, name = int(random.integers(0, len(problem.params))), str(random.choice(list(SPECIAL)))
    x = problem.params[i]
    if name == "symmetric" and (x.ndim != 2 or x.shape[0] != x.shape[1] or x.size == 1):
        return None
    if name == "equal rows" and (x.ndim == 0 or x.shape[0] == 1):
        return None
    if np.any(problem.units[i] != 1.0) and name != "a zero":  # zeros and ones are far from where such parameters live
        return None
    moved = np.array(SPECIAL[name].make(x), dtype=x.dtype)
    problem = problem._replace(params=(*problem.params[:i], moved, *problem.params[i + 1 :]))
    if not (sound(problem, 1e-10 if dtype == "float64" else 1e-5) and smooth(problem)):
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
        return Case(f, problem.grad, problem.params, problem.names, "right", access, (), name)
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
    return Case(f, grad, problem.params, problem.names, "wrong", access, (i,), note)


def wrong_elsewhere(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """A gradient that is right at this special point alone: ``3x`` for ``3x^2`` at ones, a missing transpose."""
    found = special_point(random, family, dtype)
    if found is None:
        return None
    problem, i, name = found
    access, at = draw_access(random), problem.params
    f = restricted(problem.f, access)
    if right:
        return Case(f, problem.grad, at, problem.names, "right", access, (), name)
    frozen = bool(random.random() < 0.2)

    def grad(*params: Any) -> tuple[Any, ...]:
        xp, x = array_namespace(params[i]), params[i]
        if frozen:  # a cache of the first call
            first = xp.asarray(at[i], dtype=x.dtype)
            return problem.grad(*params[:i], first, *params[i + 1 :])
        g = problem.grad(*params)
        return (*g[:i], g[i] * (1 + SPECIAL[name].vanishing(xp, x)), *g[i + 1 :])

    steps = [0.1 * u * random.standard_normal(p.shape) for p, u in zip(at, problem.units, strict=True)]
    nearby = tuple((p + s).astype(p.dtype) for p, s in zip(at, steps, strict=True))
    shown = [size(a, b, u) for a, b, u in zip(grad(*nearby), problem.grad(*nearby), problem.units, strict=True)]
    here = [size(a, b, u) for a, b, u in zip(grad(*at), problem.grad(*at), problem.units, strict=True)]
    least = 1e-3 if dtype == "float64" else 1e-2
    wrong = tuple(k for k, s in enumerate(shown) if s >= least)
    if not wrong or max(here) > 0.0:
        return None
    note = f"{problem.names[i]} is {name}; {'frozen' if frozen else 'a factor that is 1 here'}, wrong elsewhere"
    return Case(f, grad, at, problem.names, "wrong", access, wrong, note)


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


def units(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """Entries of one array in units of 1e-9 to 1e9: each by its own, one far from the others, or as they come."""
    problem = build(family, random, dtype)
    if not sound(problem, 1e-10 if dtype == "float64" else 1e-5):
        return None
    spread = str(random.choice(["each entry", "one entry", "each array", "its own"]))
    if spread == "its own" and all(np.all(u == 1.0) for u in problem.units):
        spread = "each entry"
    if spread == "its own":
        return finish(random, problem, right, "natural units", LEAST[dtype])

    def factors(p: Any) -> Any:
        if spread == "each array":
            return np.full(p.shape, 10.0 ** random.uniform(-9, 9))
        u = 10.0 ** random.uniform(-9, 9, p.shape)
        if spread == "each entry" or not p.size:
            return u
        return np.where(np.arange(p.size).reshape(p.shape) == random.integers(0, p.size), u, 1.0)

    scaled = rescaled(problem, [np.asarray(factors(p), dtype=dtype) for p in problem.params])
    return finish(random, scaled, right, f"units by {spread}", LEAST[dtype]) if sound(scaled, 1e-4) else None


# --- precisions -------------------------------------------------------------------------------------------------------


def cast_to_float32(arrays: Sequence[Any]) -> list[Any]:
    """Every array in float32."""
    xp = array_namespace(*arrays)
    return [xp.astype(a, xp.float32) for a in arrays]


def closure(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """Parameters in float32, and the data, masks and weights of rows in the closure as well."""
    problem = build(family, random, dtype, data_dtype=dtype)
    return finish(random, problem, right, "data in float32", LEAST[dtype]) if sound(problem, 1e-5) else None


def only(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """A function that computes in float32 alone: it casts what it is given, or raises."""
    problem = build(family, random, dtype, data_dtype=dtype)
    if not sound(problem, 1e-5):
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
    if not sound(problem, 1e-5):
        return None
    access, i = draw_access(random), int(random.integers(0, len(problem.params)))
    f = restricted(problem.f, access)
    if right:
        return Case(f, problem.grad, problem.params, problem.names, "right", access, (), "a float32 branch")
    factor = float(random.uniform(1.001, 1.009))

    def grad(*params: Any) -> tuple[Any, ...]:
        g = problem.grad(*params)
        return (*g[:i], g[i] * factor, *g[i + 1 :]) if str(g[i].dtype).endswith("float32") else g

    note = f"{problem.names[i]}: times {factor:.6f} in float32 only"
    return Case(f, grad, problem.params, problem.names, "wrong", access, (i,), note)


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
    step = str(random.choice(["exp", "log", "tanh", "sqrt", "log1p", "cos", "an argument"]))
    seed = int(random.integers(0, 2**31))
    used: list[Narrow] = []

    def narrow(xp: Any) -> Any:
        used.append(Narrow(xp, step))
        return used[-1]

    problem = build(family, np.random.default_rng(seed), dtype, function=narrow)
    if not sound(problem, 1e-10):
        return None
    if not used[-1].used:  # the family has no such function: an argument on its way through float32
        wide = build(family, np.random.default_rng(seed), dtype)
        i = int(random.integers(0, len(wide.params)))
        if np.any(wide.units[i] != 1.0):
            return None

        def f(*params: Any) -> Any:
            xp, x = array_namespace(*params), params[i]
            return wide.f(*params[:i], xp.astype(xp.astype(x, xp.float32), x.dtype), *params[i + 1 :])

        problem, step = wide._replace(f=f), f"{wide.names[i]} by way of float32"
    # what the stairs hide is no visible error: a percent is above them for a function of size 1
    return finish(random, problem, right, f"{step} in float32", 1e-2, epsilon=2.0**-24)


# --- domains ----------------------------------------------------------------------------------------------------------


def domain(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """f and grad raise beyond an edge near the parameters, as math.log, Cholesky and checks of inputs do."""
    problem = build(family, random, dtype)
    if not sound(problem, 1e-10 if dtype == "float64" else 1e-5):
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


class Situation(NamedTuple):
    """How cases are made, and in which dtypes."""

    make: Callable[..., Case | None]
    dtypes: tuple[str, ...]


BOTH = ("float64", "float32")
SITUATIONS: dict[str, Situation] = {
    "damaged": Situation(damaged, BOTH),
    "wrong here": Situation(wrong_here, BOTH),
    "wrong elsewhere": Situation(wrong_elsewhere, BOTH),
    "units": Situation(units, BOTH),
    "float32 data": Situation(closure, ("float32",)),
    "float32 only": Situation(only, ("float32",)),
    "float32 branch": Situation(branch, ("float32",)),
    "stairs": Situation(stairs, ("float64",)),
    "domain": Situation(domain, BOTH),
}


def requests(
    seeds: range,
    rights: Sequence[bool] = (False, True),
    situations: Sequence[str] = (),
    families: Sequence[str] = (),
) -> list[Request]:
    """One request for each seed, situation, dtype and truth; the families take turns."""
    names = list(families or FAMILIES)
    return [
        Request(names[(seed + 7 * k) % len(names)], name, dtype, right, seed)
        for seed in seeds
        for k, name in enumerate(situations or SITUATIONS)
        for dtype in SITUATIONS[name].dtypes
        for right in rights
    ]
