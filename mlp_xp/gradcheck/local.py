"""A function at a point: in which arithmetic it computes, how noisy it is there, its slope along any direction.

The slope comes by dual numbers if f takes them, by a complex step if f takes complex numbers, else by differences.

Before: ``slopes`` and ``dual``; ``forms`` makes a function of flat arrays. Next: ``evidence`` compares a gradient with
these slopes.
"""

from __future__ import annotations

import cmath
import functools
import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np  # on the host alone: copies where a library has no float64
from array_api_compat import array_namespace

from mlp_xp._lib.arguments import check_callable, check_whole
from mlp_xp._lib.namespace import device_kwargs, namespace, to_host
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.arrays import copied, dtype_name, from_host, like, random_direction
from mlp_xp.gradcheck.dual import Dual, DualNamespace, put_back
from mlp_xp.gradcheck.forms import COMPLEX, EXAMPLE, Arrays, CountedFunction, flattened
from mlp_xp.gradcheck.slopes import Slope, directional_slope, evaluation_noise

Directions: TypeAlias = Mapping[int, Array]
"""Which arrays of a point move, by their positions, and along which direction; the others stay."""

# A complex step loses nothing by subtraction, but what f rounds on the way its gradient rounds too: taken as f's
# rounding over a quarter of a unit, the widest difference that is ever formed.
_ROUNDING_PER_UNIT = 24.0

# The uncertainty of a slope is an estimate from a few values: only three times as much is a bound on its error.
MARGIN = 3.0

# Coarser arithmetic than this hides what f rounds on the way too well for an estimate from its values. There an exact
# slope is taken at neighbouring points too, and its rounding is what changes between them, times a margin.
FINE = 2.0**-40  # between the epsilons of float32 and float64
_NEIGHBOURS, _NEIGHBOUR_MARGIN = 4, 3.0

# A difference confirms an exact slope if it comes this near, relative, or within so many standard deviations of its
# noise. Its steps as powers of epsilon: where a kink lies within the first, the second may leave it outside.
_CONFIRMING = (1 / 3, 0.42)
_CONFIRMED, _CONFIRMED_NOISE = 1e-9, 6.0

# Coarser numbers on the way of f are those of float32 at least, of bfloat16 at most.
_COARSER, _COARSEST = 2.0**-24, 2.0**-8

# A circle in the complex plane sees what a difference is too coarse for. Half of it is enough, since its values come in
# conjugate pairs. Its radii as powers of epsilon: the eighth power of the first is epsilon; smaller ones avoid kinks.
_CIRCLE, _RADII = 4, (1 / 8, 1 / 4, 3 / 8)

# A smaller circle outweighs what a larger one saw only if its own noise is no more than this share of that.
_OUTWEIGHED = 0.1


class LocalFunction(NamedTuple):
    """A function f at a point.

    xp: the namespace of the point.
    f: counts its calls; f(*point) -> 0-d.
    point: arrays in the reference dtype, in which the numeric side is computed.
    value: f(*point).
    epsilon: the machine epsilon of the reference dtype.
    copied: whether the point is a NumPy copy, of arrays of a library without float64.
    noise: the standard deviation of f's rounding error at the point.
    flat: whether f did not change at all where its noise was measured; the noise is then its whole value.
    stairs: the rounding of coarser numbers on the way of f, relative; 0 if there are none.
    exact: how exact slopes are taken, "dual numbers" or "complex step"; empty if by differences alone.
    missed: an upper bound on the part of a slope that a complex step leaves out, as it does of |x|.
    """

    xp: Namespace
    f: CountedFunction
    point: Arrays
    value: float
    epsilon: float
    copied: bool
    noise: float = 0.0
    flat: bool = False
    stairs: float = 0.0
    exact: str = ""
    missed: float = 0.0

    @property
    def reference(self) -> str:
        """The arithmetic of the numeric side, such as ``float64``, ``float64 NumPy copies by complex step``."""
        copies = " NumPy copies" if self.copied else ""
        return f"{dtype_name(self.point[0])}{copies}{f' by {self.exact}' if self.exact else ''}"

    def along(self, directions: Directions) -> Callable[[float], float]:
        """``phi(t) = f(point + t d)``; NaN where f raises: the point may lie outside its domain."""

        def phi(t: float) -> float:
            moved = (x + t * directions[i] if i in directions else x for i, x in enumerate(self.point))
            return self.f.tried(lambda: number(self.f(*moved)), math.nan)

        return phi


class Derivative(NamedTuple):
    """value: the derivative; uncertainty: a bound on its error; reference: the arithmetic in which it was taken."""

    value: float
    uncertainty: float
    reference: str


def directional_derivative(f: Callable[..., Any], params: Any, direction: Any, seed: int = 0) -> Derivative:
    """``d/dt f(params + t direction)`` at t = 0, which is ``<grad f, direction>``, with a bound on its error.

    By dual numbers or a complex step if f takes them, else by differences with adaptive steps; in float64 if f of
    float64 copies computes in it. It is what ``gradcheck`` compares a gradient with.

    Args:
        f: a deterministic function of arrays, f(*params) -> 0-d.
        params: a tuple or list of real floating arrays of one library, or of nested containers of them; or one such
            array or container.
        direction: like params, the same containers and shapes.
        seed: of the line along which the noise of f is measured.

    Returns:
        The derivative: ``value``; ``uncertainty``, which the error practically never exceeds, infinite where f is too
        noisy or not defined around params; and ``reference``, such as "float64 by dual numbers". At a kink the value is
        the mean of the slopes on the two sides, and the uncertainty reaches both.

    Raises:
        ValueError: if direction is not like params, f is not finite at params or does not return one number.
        TypeError: if params are not real floating arrays of one library.

    >>> import numpy as np
    >>> found = directional_derivative(lambda x: np.sum(x**3), np.asarray([1.0, 2.0]), np.asarray([0.0, 1.0]))
    >>> round(found.value, 12), found.uncertainty < 1e-10, found.reference
    (12.0, True, 'float64 by dual numbers')

    Source: the habit of FiniteDifferences.jl, whose every derivative comes with an estimate of its error.
    """
    seed = check_whole("seed", seed, 0)
    check_callable("f", f, EXAMPLE)
    flat, along = (
        flattened(f, lambda *_: (), tree, None, what=what)
        for tree, what in ((params, "params"), (direction, "direction"))
    )
    shapes, given = ([tuple(x.shape) for x in each.arrays] for each in (flat, along))
    if shapes != given:
        raise ValueError(f"direction must hold arrays of shapes {shapes}, as params, got {given}")
    local = prepare(flat.f, flat.arrays, seed)
    slope = slope_along(local, {i: like(d, x) for i, (d, x) in enumerate(zip(along.arrays, local.point, strict=True))})
    return Derivative(slope.value, MARGIN * slope.uncertainty, local.reference)


def prepare(f: CountedFunction, params: Arrays, seed: int) -> LocalFunction:
    """``f`` at ``params``, in float64 if it can be had.

    Tried in turn: float64 copies in the same library, or NumPy float64 copies if the library has no float64; float32
    copies of half precision; the parameters as they are.

    Raises:
        ValueError: if f is not finite there, or does not return one number.
    """
    point = _reference_point(f, params)
    xp = namespace(*point)
    epsilon = float(xp.finfo(point[0].dtype).eps)
    # not by class: a parameter of PyTorch's is a tensor too
    local = LocalFunction(xp, f, point, finite_value(f, point), epsilon, xp is not namespace(*params))
    return _with_exact_slopes(_with_noise(local, seed), seed)


def moved(local: LocalFunction, params: Arrays, seed: int, same_noise: bool = False) -> LocalFunction:
    """The function at another point, ``params`` in their own dtypes.

    Its noise is measured again there, which takes eight values; with ``same_noise`` it is taken over.
    """
    point = tuple(like(param, there) for param, there in zip(params, local.point, strict=True))
    there = local._replace(point=point, value=local.f.tried(lambda: number(local.f(*point)), math.nan))
    if same_noise or not math.isfinite(there.value):
        return there._replace(noise=max(local.noise, local.epsilon * abs(there.value)))
    return _with_noise(there, seed)


def finite_value(f: CountedFunction, params: Arrays) -> float:
    """``f(*params)``; raises ``ValueError`` unless it is finite."""
    if not math.isfinite(value := number(f(*params))):
        raise ValueError(f"f must be finite at params, got {value}")
    return value


def number(value: Any) -> float:
    """The one number that f returned; raises ``ValueError`` or ``TypeError`` for anything else."""
    if tuple(getattr(value, "shape", ())) != ():
        raise ValueError(f"f must return one number, shape (), got shape {tuple(value.shape)}")
    kind = str(getattr(value, "dtype", type(value).__name__))
    if "complex" in kind:  # some libraries make it real, with a warning
        raise TypeError("f must return one real number, got a complex one; return its real part")
    if "bool" in kind or isinstance(value, str | bytes):  # float() reads them
        raise TypeError(f"f must return one real number, got {type(value).__name__}")
    try:
        return float(value.detach() if hasattr(value, "detach") else value)  # PyTorch warns of a number with a history
    except (TypeError, ValueError):
        raise TypeError(f"f must return one real number, got {type(value).__name__}") from None


def _reference_point(f: CountedFunction, params: Arrays) -> Arrays:
    """Copies of ``params`` in the widest dtype in which f of them computes."""
    xp = namespace(*params)
    for name, wider in _wider(xp, params):
        try:
            value = f(*(wide := wider()))
        except Exception:  # f may be written for one dtype or one library, and raise anything for another
            continue
        if dtype_name(value) == name or (name == "float64" and isinstance(value, float)):
            return wide
    return copied(xp, *params)


def _wider(xp: Namespace, params: Arrays) -> Iterator[tuple[str, Callable[[], Arrays]]]:
    """The names of wider dtypes than that of ``params``, and how to widen them."""
    digits = max(float(xp.finfo(x.dtype).eps) for x in params)
    known = xp.__array_namespace_info__().dtypes(**device_kwargs(params[0]))
    for name, epsilon in (("float64", 2.0**-52), ("float32", 2.0**-23)):
        if digits > epsilon and name in known:
            yield name, lambda name=name: tuple(xp.astype(x, getattr(xp, name)) for x in params)  # type: ignore[misc]
        elif digits > epsilon and name == "float64":
            yield name, lambda: tuple(np.asarray(to_host(xp.astype(x, xp.float32)), dtype=np.float64) for x in params)


def _with_noise(local: LocalFunction, seed: int) -> LocalFunction:
    """``local`` with its noise, measured along a random line."""
    xp, random = local.xp, np.random.default_rng(seed)
    line = {
        i: random_direction(xp, x, random) for i, x in enumerate(local.point)
    }  # equal steps may leave a sum as it is
    noise = evaluation_noise(local.along(line), local.value, local.epsilon)
    share = noise.sigma / (abs(local.value) or 1.0)
    share = min(max(share, _COARSER), _COARSEST) if noise.stairs else 0.0
    return local._replace(noise=noise.sigma, flat=noise.flat, stairs=share)


# --- slopes ------------------------------------------------------------------------------------------------------


def slope_along(local: LocalFunction, directions: Directions, finest: float = 0.0, confirm: bool = True) -> Slope:
    """``d/dt f(point + t d)`` at t = 0, by no step smaller than ``finest``.

    An exact slope is confirmed by one difference; if that is too coarse to tell, by a whole ladder of them. An exact
    slope that the ladder contradicts is not believed. It is taken as it is where ``confirm`` is false.
    """
    phi = functools.cache(local.along(directions))  # the steps that confirm come again in the ladder
    exact = _exact(local, directions) if local.exact else None
    if exact is None:
        return directional_slope(phi, local.value, local.noise, local.epsilon, finest)
    if not confirm:
        return exact
    exact, confirmed = _confirmed(local, phi, exact, finest)
    if confirmed:
        return exact
    slope = directional_slope(phi, local.value, local.noise, local.epsilon, finest)
    # at a kink the exact slope is that of one side, half the kink away from the mean of both: that is no contradiction
    in_doubt = slope.uncertainty - slope.kink if math.isfinite(slope.uncertainty) else 0.0
    return exact if abs(slope.value - exact.value) <= in_doubt else slope


def _exact(local: LocalFunction, directions: Directions) -> Slope | None:
    """The exact slope; in coarse arithmetic with the rounding that shows between neighbouring points."""
    way = _EXACT[local.exact]
    slope = way(local, directions)
    if slope is None or slope.tied or local.epsilon <= FINE:
        return slope
    random, ulps = np.random.default_rng(0), 2.0 * local.epsilon
    scatter = 0.0
    for _ in range(_NEIGHBOURS):
        signs = (from_host(local.xp, random.integers(-1, 2, x.shape), x) for x in local.point)
        near = tuple(x * (1.0 + ulps * sign) for x, sign in zip(local.point, signs, strict=True))
        other = way(local._replace(point=near, noise=math.inf), directions)  # its value is another one
        scatter = max(scatter, abs(other.value - slope.value) if other else 0.0)
    rounding = _NEIGHBOUR_MARGIN * scatter + 4.0 * local.epsilon * abs(slope.value)
    return slope._replace(uncertainty=min(slope.uncertainty, rounding + local.missed))


def _confirmed(local: LocalFunction, phi: Callable[[float], float], exact: Slope, finest: float) -> tuple[Slope, bool]:
    """``exact`` with what a difference adds to its uncertainty, and whether that difference confirms it."""
    seen = exact
    for power in _CONFIRMING:
        h = local.epsilon**power
        if h < finest:
            break
        gap = abs((phi(h) - phi(-h)) / (2.0 * h) - exact.value)
        # the values may be off by more than the measured noise: f may round to stairs on the way
        if local.epsilon <= FINE:
            seen = exact._replace(uncertainty=max(exact.uncertainty, _ROUNDING_PER_UNIT * gap * h))
        if gap <= _CONFIRMED * abs(exact.value) + _CONFIRMED_NOISE * local.noise / h:
            return seen, True
    return seen, False


def _by_dual_numbers(local: LocalFunction, directions: Directions) -> Slope | None:
    """The tangent of f at duals with tangents ``directions``; None if f does not take duals.

    At a tie, such as relu at 0, the tangent is the derivative on the side to which the directions point. Then the
    derivative on the other side is taken too; if the two differ, the slope lies between them.
    """
    right = left = along_duals(local, directions)
    if right is not None and right.ties:
        left = along_duals(local, directions, -1.0)
    if right is None or left is None:
        return None
    kink, constant = 0.5 * abs(right.slope - left.slope), right.constant and left.constant
    return _exact_slope(local, 0.5 * (right.slope + left.slope), kink, bool(right.ties), constant)


class DualSlope(NamedTuple):
    """A slope by duals.

    slope: the derivative on the side to which the direction points.
    ties: how many entries of comparisons, maxima and sorts the tangents decided. If none, both sides have this slope.
    constant: whether nothing that moves reaches the value of f: it steps over all of it, or does not use it.
    """

    slope: float
    ties: int
    constant: bool


def along_duals(
    local: LocalFunction, directions: Directions, sign: float = 1.0, choose: Callable[[Any], Any] | None = None
) -> DualSlope | None:
    """The slope of f on the side to which ``sign * directions`` points, counted along ``directions``.

    Args:
        local: a function at a point.
        directions: along which its arrays move.
        sign: 1 or -1.
        choose: decides ties instead of the direction, as in ``DualNamespace``.

    Returns:
        The slope; None if f does not take duals, or has another value there.
    """
    # on the wrapper, which has all of the standard: NumPy's own sort can't descend
    space = DualNamespace(array_namespace(local.point[0]), choose)
    found = _value_and_slope(local, space, {i: sign * d for i, d in directions.items()})
    watched = weakref.ref(space)
    del space
    local.f.kept = put_back(watched) or local.f.kept
    if found is None or not _same_value(local, found[0]):
        return None
    return DualSlope(sign * (found[1] or 0.0), found[2], found[1] is None)


def _value_and_slope(
    local: LocalFunction, space: DualNamespace, directions: Directions
) -> tuple[float, float | None, int] | None:
    """Value and tangent of f at duals, and how many ties there were. No dual outlives it, unless f keeps it."""
    args = [Dual(space, x, directions.get(i)) for i, x in enumerate(local.point)]
    try:
        with np.errstate(all="ignore"):  # of branches not taken; a value that is not finite is refused
            result = local.f(*args, width=2)
            if not isinstance(result, Dual):
                return None
            slope = None if result.tangent is None else number(result.tangent)
            return number(result.value), slope, sum(map(int, space.ties))
    except Exception:  # f may not be written for arrays of any library, and raise anything
        return None


def _by_complex_step(local: LocalFunction, directions: Directions) -> Slope | None:
    """``Im f(x + i h d) / h``, exact for an analytic f; None if f does not take complex numbers.

    Source: Squire and Trapp, Using complex variables to estimate derivatives of real functions, SIAM Review 40, 1998.
    """
    h = local.epsilon**2
    z = _at_complex(local, directions, 1j * h)
    return _exact_slope(local, z.imag / h) if z is not None and _same_value(local, z.real) else None


def _at_complex(local: LocalFunction, directions: Directions, t: complex) -> complex | None:
    """``f(point + t d)``; None if f does not take complex numbers, or would make a complex one real, with a warning."""
    xp = local.xp
    dtype = getattr(xp, COMPLEX.get(dtype_name(local.point[0]), ""), None)
    if dtype is None or local.f.plain or len({str(x.dtype) for x in local.point}) > 1:
        return None
    try:
        z = [xp.astype(x, dtype) for x in local.point]
        for i, d in directions.items():
            z[i] = z[i] + t * xp.astype(d, dtype)
        with np.errstate(all="ignore"):
            value = local.f(*z)
        return complex(value) if "complex" in dtype_name(value) else None
    except Exception:  # f may not be written for complex numbers, and raise anything
        return None


def _same_value(local: LocalFunction, value: float) -> bool:
    """Whether f, asked in another arithmetic, gave its value at the point, to rounding."""
    return abs(value - local.value) <= _ROUNDING_PER_UNIT * local.noise


def _exact_slope(
    local: LocalFunction, value: float, kink: float = 0.0, tied: bool = False, constant: bool = False
) -> Slope | None:
    # whatever f rounds, it is no slope where nothing that changes reaches its value
    noise = local.epsilon * abs(local.value) if constant else local.noise
    rounding = _ROUNDING_PER_UNIT * noise + 4.0 * max(local.epsilon, 0.0 if constant else local.stairs) * abs(value)
    return Slope(value, rounding + local.missed + kink, kink, True, tied) if math.isfinite(value) else None


_EXACT = {"dual numbers": _by_dual_numbers, "complex step": _by_complex_step}


def _with_exact_slopes(local: LocalFunction, seed: int) -> LocalFunction:
    """``local`` with the first way to exact slopes that f takes and that differences confirm in a random direction."""
    random = np.random.default_rng(seed)
    directions = {i: random_direction(local.xp, x, random) for i, x in enumerate(local.point)}
    for name, way in _EXACT.items():
        exact = way(local, directions)
        # differences do not confirm a wrong rule of the duals, nor an imaginary part that was dropped
        if exact is None or slope_along(local._replace(exact=name), directions).value != exact.value:
            continue
        missed = _missed_by_complex_step(local, directions, exact.value) if name == "complex step" else 0.0
        if missed is not None:
            return local._replace(exact=name, missed=missed)
    return local


def _missed_by_complex_step(local: LocalFunction, directions: Directions, slope: float) -> float | None:
    """An upper bound on what ``slope``, by a complex step, leaves out: the part of f that is not analytic.

    Cauchy's integral ``phi'(0) = mean phi(r w) / (r w)`` over w on the unit circle is, with eight values, exact to
    ``r^8`` if phi is analytic within. For a part that is not analytic it differs from the complex step: for ``|Re z|``
    it gives half the slope and the step nothing, for the conjugate of z nothing and the step minus the slope.

    Returns:
        The bound; None if the integral contradicts ``slope``.
    """
    contradiction = 0.0
    for power in _RADII:
        r, total = float(local.epsilon**power), 0.0
        for k in range(_CIRCLE):
            w = cmath.exp(1j * math.pi * (k + 0.5) / _CIRCLE)
            z = _at_complex(local, directions, r * w)
            if z is None:
                return None
            total += (z / (r * w)).real / _CIRCLE  # the value at the conjugate of w is the conjugate
        within = _CONFIRMED_NOISE * local.noise / (r * math.sqrt(2.0 * _CIRCLE))
        if abs(total - slope) <= within:
            # a smaller circle leaves a kink outside; but where noise hides what a larger one saw, it says nothing
            return within if within <= _OUTWEIGHED * contradiction or not contradiction else None
        contradiction = max(contradiction, abs(total - slope))
    return None
