"""A function and a point, made ready for questions: in what arithmetic it computes, how noisy it is, its slopes.

Slopes come by dual numbers where f takes them, by a complex step where it takes complex numbers, by differences
elsewhere. Everything here is on flat tuples of arrays; ``tree`` takes containers apart before.

Before: ``noise``, ``directional`` and ``dual``. Next: ``probes`` asks.
"""

from __future__ import annotations

import cmath
import functools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np  # on the host alone: random numbers, copies where a library has no float64

from mlp_xp._lib.namespace import device_kwargs, namespace
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.dual import Dual, DualNamespace
from mlp_xp.gradcheck.slopes import Slope, directional_slope, evaluation_noise, scale_of

# A complex step loses nothing by subtraction, but what f rounds on the way its gradient rounds too: the rounding of f,
# as seen a unit's quarter away, the widest difference that is ever taken.
_ROUNDING_PER_UNIT = 24.0

# A difference that comes so near to an exact slope, or within so many standard deviations of its noise, confirms it.
# Steps as powers of epsilon: where a kink lies within the first, the second may leave it outside.
_CONFIRMING = (1 / 3, 0.42)
_CONFIRMED, _CONFIRMED_NOISE = 1e-9, 6.0

# What a difference is too coarse to see, a circle in the complex plane sees; half of it, since its values come in
# pairs. Its radii as powers of epsilon: at the first, the eighth power of the radius is rounding; smaller ones avoid
# kinks.
_CIRCLE, _RADII = 4, (1 / 8, 1 / 4, 3 / 8)


class Counter:
    """``f``, and at how many points it was asked for: a vectorised call counts by its width."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f, self.count = f, 0

    def __call__(self, *arrays: Any, width: int = 1) -> Any:
        self.count += width
        return self.f(*arrays)


class Problem(NamedTuple):
    """f at a point.

    xp: the namespace of the point.
    f: counted; f(*point) -> 0-d.
    point: arrays in the reference dtype, in which the numeric side is computed.
    value: f there.
    noise: the standard deviation of f's rounding error there.
    epsilon: of the reference dtype.
    copied: whether the point is a NumPy copy of arrays of a library without float64.
    exact: the name of what f was seen to take instead of steps of real numbers, or nothing.
    missed: how much of an exact slope that may leave out, at most: by a complex step of a term such as |x|.
    """

    xp: Namespace
    f: Counter
    point: tuple[Array, ...]
    value: float
    noise: float
    epsilon: float
    copied: bool
    exact: str = ""
    missed: float = 0.0

    @property
    def reference(self) -> str:
        """The arithmetic of the numeric side, such as ``float64``, ``float64 NumPy copies``."""
        dtype = str(self.point[0].dtype).rpartition(".")[2]
        copies = " NumPy copies" if self.copied else ""
        return f"{dtype}{copies}{f' by {self.exact}' if self.exact else ''}"


def prepare(f: Counter, params: tuple[Array, ...], seed: int) -> Problem:
    """``f`` at ``params``, in float64 where that can be had.

    Tried in turn: float64 copies in the same library; NumPy float64 copies, where the library has no float64; the
    parameters as they are.

    Raises:
        ValueError: where f is not finite there, or does not return one number.
    """
    point = _reference_point(f, params)
    xp = namespace(*point)
    value = number(f(*point))
    if not math.isfinite(value):
        raise ValueError(f"f must be finite at params, got {value}")
    epsilon = float(xp.finfo(point[0].dtype).eps)
    noise = evaluation_noise(xp, lambda *arrays: number(f(*arrays)), point, value, epsilon, seed)
    # not by class: a parameter of PyTorch's is a tensor too
    problem = Problem(xp, f, point, value, noise, epsilon, xp is not namespace(*params))
    return _with_exact_slopes(problem, seed)


def moved(problem: Problem, params: tuple[Array, ...], seed: int, like_here: bool = False) -> Problem:
    """The same function at another point, given in the parameters' own dtype; with the same noise, if ``like_here``."""
    point = tuple(like(param, there) for param, there in zip(params, problem.point, strict=True))
    value = number(problem.f(*point))
    if like_here:
        noise = max(problem.noise, problem.epsilon * abs(value))
        return problem._replace(point=point, value=value, noise=noise)
    noise = evaluation_noise(
        problem.xp, lambda *arrays: number(problem.f(*arrays)), point, value, problem.epsilon, seed
    )
    return problem._replace(point=point, value=value, noise=noise)


def like(array: Array, there: Array) -> Array:
    """``array`` in the library, dtype and on the device of ``there``."""
    xp = namespace(there)
    if namespace(array) is xp:  # not by class: a parameter of PyTorch's is a tensor too
        return xp.astype(array, there.dtype)
    return xp.asarray(np.asarray(array), dtype=there.dtype)


def number(value: Any) -> float:
    """The one number that f returned.

    Raises ``ValueError`` for anything else.
    """
    if getattr(value, "shape", ()) != ():
        raise ValueError(f"f must return one number, shape (), got shape {tuple(value.shape)}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"f must return one real number, got {type(value).__name__}") from None


def slope_along(problem: Problem, directions: Mapping[int, Array], finest: float = 0.0) -> Slope:
    """``d/dt f(point + t d)`` at 0, for a direction that moves the arrays at the keys of ``directions``."""

    @functools.cache  # the ladder has those steps too
    def phi(t: float) -> float:
        return number(
            problem.f(*(x + t * directions[i] if i in directions else x for i, x in enumerate(problem.point)))
        )

    def by_differences() -> Slope:
        return directional_slope(phi, problem.value, problem.noise, problem.epsilon, finest)

    if not problem.exact:
        return by_differences()
    exact = _EXACT[problem.exact](problem, directions)
    if exact is None:
        return by_differences()
    seen = exact
    # confirmed by one difference; where that is too coarse to tell, by a whole ladder of them; else not believed
    for power in _CONFIRMING:
        h = problem.epsilon**power
        if h < finest:
            break
        gap = abs((phi(h) - phi(-h)) / (2.0 * h) - exact.value)
        # the values may be off by more than the noise that was measured: f rounds to stairs somewhere on the way
        seen = exact._replace(uncertainty=max(exact.uncertainty, _ROUNDING_PER_UNIT * gap * h))
        if gap <= _CONFIRMED * abs(exact.value) + _CONFIRMED_NOISE * problem.noise / h:
            return seen
    slope = by_differences()
    # at a kink the exact slope is that of one side: half the kink away from both sides' mean, which is not in doubt
    in_doubt = slope.uncertainty - slope.kink if math.isfinite(slope.uncertainty) else 0.0
    return seen if abs(slope.value - exact.value) <= in_doubt else slope


def _dual_numbers(problem: Problem, directions: Mapping[int, Array]) -> Slope | None:
    """The tangent of f at duals with tangents ``directions``, or None where f does not take them: exact.

    At a tie, such as relu at 0, what comes is the derivative on the side to which the directions point; that on the
    other side is asked for as well, and where the two differ the slope lies between them.
    """
    one_sided = []
    for sign in (1.0, -1.0):
        xp = DualNamespace(problem.xp)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of branches not taken; what is not finite is not believed below
                args = [
                    Dual(xp, x, sign * directions[i] if i in directions else None) for i, x in enumerate(problem.point)
                ]
                result = problem.f(*args, width=2)
                if not isinstance(result, Dual):
                    return None
                value = number(result.value)
                one_sided.append(0.0 if result.tangent is None else sign * number(result.tangent))
                tied = any(map(bool, xp.ties))
        except Exception:  # whatever a function raises that was not written for arrays of any library
            return None
        if not abs(value - problem.value) <= _ROUNDING_PER_UNIT * problem.noise:
            return None
        if not tied:
            break
    kink = 0.5 * abs(one_sided[0] - one_sided[-1])
    return _exact_slope(problem, 0.5 * (one_sided[0] + one_sided[-1]), kink)


def _complex_step(problem: Problem, directions: Mapping[int, Array]) -> Slope | None:
    """``Im f(x + i h d) / h``, or None where f does not take complex numbers: exact, for f analytic.

    Source: Squire and Trapp, Using complex variables to estimate derivatives of real functions, SIAM Review 40, 1998.
    """
    h = problem.epsilon**2
    z = _at_complex(problem, directions, 1j * h)
    if z is None or not abs(z.real - problem.value) <= _ROUNDING_PER_UNIT * problem.noise:
        return None
    return _exact_slope(problem, z.imag / h)


def _at_complex(problem: Problem, directions: Mapping[int, Array], t: complex) -> complex | None:
    """``f(point + t d)``, or None where f does not take complex numbers."""
    xp = problem.xp
    name = {"float64": "complex128", "float32": "complex64"}.get(str(problem.point[0].dtype).rpartition(".")[2], "")
    dtype = getattr(xp, name, None)
    if dtype is None or len({str(x.dtype) for x in problem.point}) > 1:
        return None

    def moved(i: int, x: Array) -> Array:
        z = xp.astype(x, dtype)
        return z + t * xp.astype(directions[i], dtype) if i in directions else z

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy drops an imaginary part with a warning
            value = problem.f(*(moved(i, x) for i, x in enumerate(problem.point)))
            return complex(value) if "complex" in str(getattr(value, "dtype", type(value))) else None
    except Exception:  # whatever a function raises that was not written for complex numbers
        return None


def _not_analytic(problem: Problem, directions: Mapping[int, Array], slope: float) -> float | None:
    """How far ``slope``, from a complex step, may be off because a part of f is not analytic; None if it is.

    Cauchy's integral ``phi'(0) = mean phi(r w) / (r w)`` over w on the unit circle is exact to ``r^8`` with eight
    values, where phi is analytic within; of ``|Re z|`` it makes half the slope, of the conjugate none, while the step
    makes none of the one and minus the slope of the other.
    """
    for power in _RADII:
        r, total = float(problem.epsilon**power), 0.0
        for k in range(_CIRCLE):
            w = cmath.exp(1j * math.pi * (k + 0.5) / _CIRCLE)
            z = _at_complex(problem, directions, r * w)
            if z is None:
                return None
            total += (z / (r * w)).real / _CIRCLE  # with that of the conjugate of w, which is its conjugate
        within = _CONFIRMED_NOISE * problem.noise / (r * math.sqrt(2.0 * _CIRCLE))
        if abs(total - slope) <= within:
            return within
    return None


def _exact_slope(problem: Problem, value: float, kink: float = 0.0) -> Slope | None:
    rounding = _ROUNDING_PER_UNIT * problem.noise + 4.0 * problem.epsilon * abs(value)
    return Slope(value, rounding + problem.missed + kink, kink) if math.isfinite(value) else None


_EXACT = {"dual numbers": _dual_numbers, "complex step": _complex_step}


def _with_exact_slopes(problem: Problem, seed: int) -> Problem:
    """``problem`` with the first way to exact slopes that f takes, and whose slope is confirmed."""
    random = np.random.default_rng(seed)
    directions = {i: random_direction(problem.xp, x, random) for i, x in enumerate(problem.point)}
    for name, way in _EXACT.items():
        exact = way(problem, directions)
        # a rule that is wrong, an imaginary part that was dropped, leave a slope that differences do not confirm
        if exact is None or slope_along(problem._replace(exact=name), directions).value != exact.value:
            continue
        missed = _not_analytic(problem, directions, exact.value) if name == "complex step" else 0.0
        if missed is not None:
            return problem._replace(exact=name, missed=missed)
    return problem


def random_direction(xp: Namespace, x: Array, random: np.random.Generator) -> Array:
    """Entries of either sign and size Uniform(0.5, 1.5), in the scale of ``x``: no entry is ever left out."""
    drawn = random.choice([-1.0, 1.0], x.shape) * random.uniform(0.5, 1.5, x.shape)
    return scale_of(xp, x) * xp.asarray(drawn, dtype=x.dtype, **device_kwargs(x))


def _reference_point(f: Counter, params: tuple[Array, ...]) -> tuple[Array, ...]:
    xp = namespace(*params)
    if all(param.dtype == xp.float64 for param in params):
        return params
    available = xp.__array_namespace_info__().dtypes(kind="real floating", **device_kwargs(params[0]))
    try:
        if "float64" in available:
            wide = tuple(xp.astype(param, xp.float64) for param in params)
        else:
            wide = tuple(np.asarray(param, dtype=np.float64) for param in params)
        value = f(*wide)
    except Exception:  # whatever is raised by what was written for one dtype or one library: its own it is
        return params
    exact = isinstance(value, float) or str(getattr(value, "dtype", "")).endswith("float64")
    return wide if exact else params
