"""Single entries: analytic against numeric value, each numeric one from the step that makes it surest.

For small tensors, for those who ask for every entry, and to find out where a tensor is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple, cast

import numpy as np  # on the host alone: indices

from mlp_xp._lib.namespace import device_kwargs, is_floating, namespace, persisted, scalar_like
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.local import Problem, random_direction, slope_along
from mlp_xp.gradcheck.report import RIGHT, WRONG
from mlp_xp.gradcheck.slopes import scale_of

# An entry whose uncertainty is below this share of its value is resolved; no smaller step is tried for it.
_RESOLVED = 1e-5

# Of a difference of two values with noise sigma, extrapolated over two steps: six standard deviations are one false
# alarm in 10^9 entries.
_NOISE_MARGIN = 6.0

# More entries than this are looked at with one value of f each first, and with four only where that leaves a doubt.
_MANY = 1_000

# Where a kink lies between the points of a stencil, a smaller one leaves it outside.
_STEP_SCALES = (1.0, 1 / 32, 1 / 1024)


class Entries(NamedTuple):
    """Flat positions in a tensor, and for each of them both values and how far the numeric one may be off."""

    positions: list[int]
    analytic: Array
    numeric: Array
    uncertainty: Array


def compare_entries(
    problem: Problem, leaf: int, gradient: Array, analytic_rounding: float, positions: Sequence[int], vectorized: bool
) -> Entries:
    """The entries of ``gradient``, in the reference dtype, at ``positions`` against differences of f.

    Args:
        leaf: which array of the problem's point.
        analytic_rounding: of the analytic entries, absolute.
        vectorized: whether f takes a leading axis on one array at a time.
    """
    xp, x = problem.xp, problem.point[leaf]

    def along(moved: Array) -> Any:
        arrays = (*problem.point[:leaf], moved, *problem.point[leaf + 1 :])
        return problem.f(*arrays, width=moved.shape[0] if vectorized else 1)

    analytic = _taken(xp, gradient, positions)
    widest = math.cbrt(problem.epsilon) * xp.maximum(xp.abs(x), scale_of(xp, x) * xp.ones_like(x))
    if len(positions) <= _MANY:
        numeric, uncertainty = _two_sided(problem, along, x, analytic, widest, positions, vectorized)
        return Entries(list(positions), analytic, numeric, uncertainty + analytic_rounding)
    (numeric,) = persisted(difference_quotients(xp, along, x, widest, positions, vectorized, problem.value))
    # how much of a one-sided quotient is curvature no one can tell from it alone, but a gradient that agrees with it to
    # the textbook's bound has not come by that by chance
    rounding = _NOISE_MARGIN * problem.noise / _taken(xp, widest, positions)
    gap, scale = xp.abs(analytic - numeric), xp.abs(analytic) + xp.abs(numeric)
    doubtful = (gap > RIGHT * scale + rounding) | (rounding > WRONG * scale)
    again = [i for i in range(len(positions)) if bool(doubtful[i])]
    uncertainty = gap + rounding + analytic_rounding
    if again:
        guilty = [positions[i] for i in again]
        sharper, sharply = _two_sided(problem, along, x, _taken(xp, gradient, guilty), widest, guilty, vectorized)
        numeric, uncertainty = _put(xp, numeric, again, sharper), _put(xp, uncertainty, again, sharply)
    return Entries(list(positions), analytic, numeric, uncertainty)


def _two_sided(
    problem: Problem,
    along: Callable[[Array], Any],
    x: Array,
    analytic: Array,
    widest: Array,
    positions: Sequence[int],
    vectorized: bool,
) -> tuple[Array, Array]:
    """The entries' numeric values and uncertainties, each from the pair of steps that makes it surest."""
    xp = problem.xp
    numeric = xp.zeros_like(analytic)
    uncertainty = xp.full(analytic.shape, math.inf, dtype=x.dtype, **device_kwargs(x))
    for scale in _STEP_SCALES:
        step = scale * widest
        near, far = persisted(
            difference_quotients(xp, along, x, step, positions, vectorized),
            difference_quotients(xp, along, x, 2.0 * step, positions, vectorized),
        )
        # Richardson: the errors of the two are 1 : 4, so a third of their difference more cancels both
        estimate = near + (near - far) / 3.0
        disagreement, rounding = xp.abs(near - far), _NOISE_MARGIN * problem.noise / _taken(xp, step, positions)
        surer = disagreement + rounding < uncertainty
        numeric = xp.where(surer, estimate, numeric)
        uncertainty = xp.where(surer, disagreement + rounding, uncertainty)
        resolved = uncertainty <= _RESOLVED * (xp.abs(analytic) + xp.abs(numeric))
        # a smaller step helps where the two quotients disagree, at a kink or a sharp bend; against rounding it does not
        if bool(xp.all(resolved | (disagreement <= rounding))):
            break
    return numeric, uncertainty


def _taken(xp: Namespace, x: Array, positions: Sequence[int]) -> Array:
    return xp.take(xp.reshape(x, (-1,)), xp.asarray(list(positions), dtype=xp.int32, **device_kwargs(x)), axis=0)


def _put(xp: Namespace, x: Array, places: Sequence[int], values: Array) -> Array:
    """``x`` with ``values`` at ``places``, in ascending order."""
    inside = np.zeros(x.shape[0], dtype=np.int32)
    inside[list(places)] = 1
    order = xp.asarray(np.maximum(np.cumsum(inside) - 1, 0), dtype=xp.int32, **device_kwargs(x))
    return xp.where(xp.asarray(inside, **device_kwargs(x)) > 0, xp.take(values, order, axis=0), x)


# --- mlp_xp/gradcheck/differences.py
# Perturbed copies in one vectorised call: at most this many bytes of them, and not so many that what the function
# computes from each copy outgrows memory.
_CHUNK_BYTES = 2**24
_CHUNK_COPIES = 64


def numerical_grad(f: Callable[[Any], Any], x: Array, eps: float | None = None, vectorized: bool = False) -> Array:
    """``(f(x + h e_i) - f(x - h e_i)) / 2h`` for every entry i of ``x``: an array of the shape and dtype of ``x``.

    Divides by the step actually taken, ``(x + h) - (x - h)`` as rounded, and changes nothing in place.

    Args:
        f: a function of one array, f(x) -> 0-d.
        x: where to differentiate, real floating, any shape.
        eps: the step h, for every entry; by default ``default_step``.
        vectorized: whether f also takes (k, *x.shape) and returns (k,); then many perturbations go into one call, in
            chunks bounded by memory.

    Returns:
        The difference quotients. Their error is about ``h^2 |f'''| / 6 + epsilon |f| / h``.

    Raises:
        ValueError: where f does not return one number per point, or eps is not positive.
        TypeError: where x is not real floating.
    """
    xp = namespace(x)
    if not is_floating(xp, x.dtype):
        raise TypeError(f"x must be real floating, got {x.dtype}")
    if eps is None:
        step = default_step(xp, x)
    elif isinstance(eps, Real) and 0.0 < eps < math.inf:
        step = scalar_like(xp, float(eps), x)
    else:
        raise ValueError(f"eps must be a positive number, got {eps!r}")
    size = math.prod(x.shape)
    if size == 0:
        return xp.zeros_like(x)
    return xp.reshape(difference_quotients(xp, f, x, step, range(size), vectorized), x.shape)


def default_step(xp: Namespace, x: Array) -> Array:
    """``epsilon^(1/3) max(1, |x|)``: it balances truncation, h^2, against rounding, epsilon / h, for f and x near 1.

    Source: Press et al., Numerical Recipes, 3rd ed., section 5.7.
    """
    return math.cbrt(xp.finfo(x.dtype).eps) * xp.maximum(xp.abs(x), xp.ones_like(x))


def difference_quotients(
    xp: Namespace,
    f: Callable[[Any], Any],
    x: Array,
    step: Array,
    positions: Sequence[int],
    vectorized: bool,
    value: float | None = None,
) -> Array:
    """The two-sided differences of f in the entries of ``x`` at the flat ``positions``: (len(positions),).

    Given ``value``, f(x), they are one-sided, at half the price.
    """
    # `where` along a mask perturbs one entry of an immutable array
    above, below = x + step, (x - step if value is None else x)
    width = xp.reshape(above - below, (-1,))
    flat = xp.reshape(xp.arange(math.prod(x.shape), dtype=xp.int32, **device_kwargs(x)), x.shape)
    if vectorized:
        itemsize = xp.finfo(x.dtype).bits // 8
        copies = max(1, min(_CHUNK_COPIES, _CHUNK_BYTES // (itemsize * math.prod(x.shape))))
    else:
        copies = 1
    quotients = []
    for start in range(0, len(positions), copies):
        chunk = xp.asarray(list(positions[start : start + copies]), dtype=xp.int32, **device_kwargs(x))
        if vectorized:
            here = flat == xp.reshape(chunk, (-1,) + (1,) * x.ndim)
            shape: tuple[int, ...] = chunk.shape
        else:
            here, shape = flat == chunk[0], ()
        up = _values(xp, f, xp.where(here, above, x), shape)
        down = _values(xp, f, xp.where(here, below, x), shape) if value is None else value
        quotients.append(xp.reshape(up - down, (-1,)) / xp.take(width, chunk, axis=0))
    return xp.concat(quotients)


def _values(xp: Namespace, f: Callable[[Any], Any], x: Array, shape: tuple[int, ...]) -> Array:
    value = f(x)
    if not hasattr(value, "shape"):  # a Python number
        value = scalar_like(xp, value, x)
    if tuple(value.shape) != shape:
        expected = f"shape {shape}, one value for each point," if shape else "one number, shape (),"
        raise ValueError(f"f must return {expected} got shape {tuple(value.shape)}")
    if not is_floating(xp, value.dtype):
        raise TypeError(f"f must return a real floating value, got {value.dtype}")
    return cast(Array, value)


# --- mlp_xp/gradcheck/locate.py
_MARGIN = 3.0

# Entry by entry, a plain f is called four times for each; this many are looked at without asking further.
_SAMPLE = 200

# Rows, and entries in each, that are followed to the end.
_GUILTY = 4


def wrong_positions(problem: Problem, leaf: int, gradient: Array, rounding: float, limit: int, seed: int) -> list[int]:
    """Flat positions in array ``leaf``, worth comparing with differences.

    Args:
        gradient: in the reference dtype.
        rounding: of one of its entries.
        limit: a tensor with no more entries than this is taken whole.
        seed: of the sample of a larger one.
    """
    size = math.prod(gradient.shape)
    if size <= limit:
        return list(range(size))
    random = np.random.default_rng(seed)
    chosen = set(random.choice(size, min(_SAMPLE, limit), replace=False).tolist())
    columns = size // gradient.shape[0]
    shows = _block_test(problem, leaf, gradient, rounding, random)
    for row in _halve(shows, range(0, size + 1, columns)):
        chosen.update(_halve(shows, range(row, row + columns + 1)))
    return sorted(chosen)


def _block_test(
    problem: Problem, leaf: int, gradient: Array, rounding: float, random: np.random.Generator
) -> Callable[[int, int], bool]:
    """Whether the entries at flat positions low to high, moved together, show an error."""
    xp, x = problem.xp, problem.point[leaf]
    flat = xp.reshape(xp.arange(math.prod(x.shape), dtype=xp.int32, **device_kwargs(x)), x.shape)
    whole = random_direction(xp, x, random)

    def shows(low: int, high: int) -> bool:
        inside = xp.astype((flat >= low) & (flat < high), x.dtype)
        direction = whole * inside
        slope = slope_along(problem, {leaf: direction})
        expected = float(xp.sum(gradient * direction))
        allowed = _MARGIN * slope.uncertainty + rounding * float(xp.sqrt(xp.sum(direction * direction)))
        return abs(expected - slope.value) > allowed

    return shows


def _halve(shows: Callable[[int, int], bool], edges: range) -> list[int]:
    """The first few of the blocks between neighbouring ``edges`` that show an error: their lower edges."""
    found: list[int] = []
    blocks = [(0, len(edges) - 1)]
    while blocks and len(found) < _GUILTY:
        low, high = blocks.pop()
        if not shows(edges[low], edges[high]):
            continue
        if high - low == 1:
            found.append(edges[low])
        else:
            middle = (low + high) // 2
            blocks += [(middle, high), (low, middle)]
    return found
