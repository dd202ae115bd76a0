"""Single entries of a gradient against differences, each difference by the step that makes it surest.

For ``numerical_grad``, for ``mode="full"``, and to find out where an array is wrong.

Before: ``evidence`` compares whole arrays. Next: ``check`` judges, ``explain`` says what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np  # on the host alone: indices

from mlp_xp._lib.arguments import check_callable, check_flag, check_positive
from mlp_xp._lib.namespace import device_kwargs, in_library_of, is_floating, namespace, persisted, scalar_like
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.arrays import flat_positions, inner, largest, norm, random_direction, scales_of, sizes_of, taken
from mlp_xp.gradcheck.evidence import LocalGradient, Worst, constant_rounding, entry_rounding
from mlp_xp.gradcheck.judge import RIGHT, WRONG
from mlp_xp.gradcheck.local import FINE, MARGIN, LocalFunction, number, slope_along

# --- differences -------------------------------------------------------------------------------------------------

# Perturbed copies in one vectorised call: at most this many bytes of them, and so few that what the function computes
# from each copy fits in memory.
_CHUNK_BYTES = 2**24
_CHUNK_COPIES = 64


def numerical_grad(f: Callable[[Any], Any], x: Array, eps: float | None = None, vectorized: bool = False) -> Array:
    """``(f(x + h e_i) - f(x - h e_i)) / 2h`` for every entry i of ``x``: an array of the shape and dtype of ``x``.

    Divides by the step actually taken, ``(x + h) - (x - h)`` as rounded, and changes nothing in place. The error is
    about ``h^2 |f'''| / 6 + epsilon |f| / h``. By default h follows the size of the entry, or of the array where that
    is larger; where f changes by no more than its rounding h grows, up to the step for numbers near 1.

    Args:
        f: a function of one array, f(x) -> 0-d.
        x: the point at which to differentiate: a real floating array of any shape.
        eps: the step h, for every entry; by default between ``epsilon^(1/3)`` times the size of the entry and
            ``epsilon^(1/3) max(1, |x|)``, with the machine epsilon of the dtype of ``x``.
        vectorized: whether f also takes (k, *x.shape) and returns (k,). Then many perturbations go into one call, in
            chunks bounded by memory.

    Returns:
        The difference quotients, an array like ``x``.

    Raises:
        ValueError: if f does not return one number per point, or eps is not positive.
        TypeError: if x is not real floating.

    >>> import numpy as np
    >>> numerical_grad(lambda x: np.sum(x**3), np.asarray([1.0, 2.0])).round(6)
    array([ 3., 12.])
    """
    xp = namespace(x, names=("x",))
    if not is_floating(xp, x.dtype):
        raise TypeError(f"x must be real floating, got {x.dtype}")
    check_callable("f", f, "lambda x: xp.sum(x**2)")
    eps = None if eps is None else check_positive("eps", eps)
    if 0 in x.shape:
        return xp.zeros_like(x)
    at, positions = _OneArray(xp, f, x, check_flag("vectorized", vectorized)), range(math.prod(x.shape))
    found = _adaptive(at, positions) if eps is None else _quotients(at, positions, scalar_like(xp, eps, x))
    return xp.reshape(found, x.shape)


def _adaptive(at: _OneArray, positions: Sequence[int]) -> Array:
    """The two-sided differences of f, each by the smallest of a few steps by which f changes visibly.

    ``epsilon^(1/3)`` of a scale balances truncation, h^2, against rounding, epsilon / h, for f and x of that scale.

    Source: Press et al., Numerical Recipes, 3rd ed., section 5.7.
    """
    xp, _, x, _ = at
    epsilon = float(xp.finfo(x.dtype).eps)
    share, size = math.cbrt(epsilon), xp.abs(x)
    step, widest = share * sizes_of(xp, x), share * xp.maximum(size, xp.ones_like(x))
    found, left = xp.zeros_like(xp.reshape(x, (-1,))), list(positions)
    while left:
        up, down, width = _pairs(at, left, step)
        down = down * xp.ones_like(up)
        source = np.arange(len(positions))
        source[left] = len(positions) + np.arange(len(left))
        found = taken(xp, xp.concat([found, (up - down) / width]), source.tolist())
        # a change of epsilon^(2/3) |f| is known to epsilon^(1/3): the most that a single difference can be
        hidden = xp.abs(up - down) < share * share * (xp.abs(up) + xp.abs(down))
        hidden = hidden & (taken(xp, step, left) < taken(xp, widest, left))
        left = [position for i, position in enumerate(left) if bool(hidden[i])]
        step = xp.where(_GROWTH * step < widest, _GROWTH * step, xp.maximum(step, widest))
    return found


class _OneArray(NamedTuple):
    """A function of one array, at ``x``: f(x) -> 0-d; if ``vectorized``, f takes (k, *x.shape) and returns (k,)."""

    xp: Namespace
    f: Callable[[Array], Any]
    x: Array
    vectorized: bool


def _quotients(at: _OneArray, positions: Sequence[int], step: Array, value: float | None = None) -> Array:
    """The two-sided differences of f in the entries of x at the flat ``positions``: (len(positions),).

    Given ``value``, f(x), they are one-sided, at half the price.
    """
    up, down, width = _pairs(at, positions, step, value)
    return (up - down) / width


def _pairs(
    at: _OneArray, positions: Sequence[int], step: Array, value: float | None = None
) -> tuple[Array, Array | float, Array]:
    """f above and below x in the entries at the flat ``positions``, and the width between: (len(positions),) each.

    Given ``value``, f(x), that stands for the values below.
    """
    xp, _, x, vectorized = at
    above, below = x + step, (x - step if value is None else x)
    width = xp.reshape(above - below, (-1,))
    flat = flat_positions(xp, x)
    room = _CHUNK_BYTES // (xp.finfo(x.dtype).bits // 8 * math.prod(x.shape))
    copies = max(1, min(_CHUNK_COPIES, room)) if vectorized else 1
    ups, downs = [], []
    for start in range(0, len(positions), copies):
        chunk = xp.asarray(list(positions[start : start + copies]), dtype=xp.int32, **device_kwargs(x))
        # `where` along a mask perturbs one entry of an immutable array
        mask = flat == (xp.reshape(chunk, (-1,) + (1,) * x.ndim) if vectorized else chunk[0])
        shape = tuple(chunk.shape) if vectorized else ()
        ups.append(xp.reshape(_values(at, xp.where(mask, above, x), shape), (-1,)))
        if value is None:
            downs.append(xp.reshape(_values(at, xp.where(mask, below, x), shape), (-1,)))
    return xp.concat(ups), xp.concat(downs) if value is None else value, taken(xp, width, positions)


def _values(at: _OneArray, x: Array, shape: tuple[int, ...]) -> Array:
    """``f(x)``, which must have this ``shape``."""
    return _of_shape(at, at.f(x), shape)


def _of_shape(at: _OneArray, value: Any, shape: tuple[int, ...]) -> Array:
    if not hasattr(value, "shape"):  # a Python number
        value = scalar_like(at.xp, number(value), at.x)
    elif isinstance(value, np.generic | np.ndarray):  # of a function that leaves the library of x
        value = in_library_of(at.x, cast(Array, value))
    if tuple(value.shape) != shape:
        expected = f"shape {shape}, one value for each point," if shape else "one number, shape (),"
        raise ValueError(f"f must return {expected} got shape {tuple(value.shape)}")
    if not is_floating(at.xp, value.dtype):
        raise TypeError(f"f must return a real floating value, got {value.dtype}")
    return cast(Array, value)


# By how much the step of an entry grows where f does not change visibly.
_GROWTH = 32.0

# --- comparison --------------------------------------------------------------------------------------------------

# An entry whose uncertainty is below this share of its value is resolved; no smaller step is tried for it.
_RESOLVED = 1e-5

# The rounding of a difference extrapolated over two steps, in units of sigma / h: six standard deviations are one false
# alarm in 10^9 entries.
_NOISE_MARGIN = 6.0

# More entries than this are first looked at with one value of f each, and with four only where a doubt remains.
_MANY = 1_000

# Where a kink lies between the points of a stencil, a smaller stencil leaves it outside.
_STEP_SCALES = (1.0, 1 / 32, 1 / 1024)


class Entries(NamedTuple):
    """Some entries of an array: flat positions, both values, and how far the numeric ones may be off."""

    positions: list[int]
    analytic: Array
    numeric: Array
    uncertainty: Array


def compare_entries(here: LocalGradient, leaf: int, positions: Sequence[int], vectorized: bool) -> Entries:
    """The entries of the gradient of array ``leaf``, at flat ``positions``, against differences of f.

    Args:
        vectorized: whether f takes a leading axis on one array at a time.
    """
    local = here.local
    xp, x = local.xp, local.point[leaf]

    def along(moved: Array) -> Any:
        arrays = (*local.point[:leaf], moved, *local.point[leaf + 1 :])
        width = moved.shape[0] if vectorized else 1
        nowhere = xp.full((width,) if vectorized else (), math.nan, dtype=x.dtype, **device_kwargs(x))
        return local.f.tried(lambda: local.f(*arrays, width=width), nowhere)

    at = _OneArray(xp, along, x, vectorized)
    analytic = taken(xp, here.gradient[leaf], positions)
    floor = taken(xp, entry_rounding(here, leaf) * xp.ones_like(x), positions)
    widest = math.cbrt(local.epsilon) * sizes_of(xp, x)
    if len(positions) <= _MANY:
        numeric, uncertainty = _two_sided(at, local, analytic, positions, widest)
        return Entries(list(positions), analytic, numeric, uncertainty + floor)
    (numeric,) = persisted(_quotients(at, positions, widest, local.value))
    # one quotient can't tell how much of it is curvature; but a gradient that agrees with it to the textbook's bound
    # does not do so by chance
    rounding = _NOISE_MARGIN * local.noise / taken(xp, widest, positions)
    gap, scale = xp.abs(analytic - numeric), xp.abs(analytic) + xp.abs(numeric)
    clear = (gap <= RIGHT * scale + rounding) & (rounding <= WRONG * scale)  # NaN is a doubt
    again = [i for i in range(len(positions)) if not bool(clear[i])]
    uncertainty = gap + rounding
    if again:
        sharper = _two_sided(at, local, taken(xp, analytic, again), [positions[i] for i in again], widest)
        source = np.arange(len(positions))
        source[again] = len(positions) + np.arange(len(again))
        both = zip((numeric, uncertainty), sharper, strict=True)
        numeric, uncertainty = (taken(xp, xp.concat(list(pair)), source.tolist()) for pair in both)
    return Entries(list(positions), analytic, numeric, uncertainty + floor)


def _two_sided(
    at: _OneArray, local: LocalFunction, analytic: Array, positions: Sequence[int], widest: Array
) -> tuple[Array, Array]:
    """Numeric values of entries and their uncertainties, each from the pair of steps that makes it surest."""
    xp = at.xp
    numeric = xp.zeros_like(analytic)
    uncertainty = xp.full(analytic.shape, math.inf, dtype=at.x.dtype, **device_kwargs(at.x))
    for scale in _STEP_SCALES:
        step = scale * widest
        near, bend = _difference(at, positions, step, local.value)
        far, wide_bend = _difference(at, positions, 2.0 * step, local.value)
        # Richardson: the errors of the two are as 1 : 4, so a third of their difference more cancels both
        estimate = near + (near - far) / 3.0
        rounding = _NOISE_MARGIN * local.noise / taken(xp, step, positions)
        # the bend of a smooth function is proportional to the step; that of a kink is the difference of its two slopes
        kink = xp.maximum(xp.abs(bend - 0.5 * wide_bend) - rounding, xp.zeros_like(bend))
        disagreement = xp.abs(near - far) + kink
        surer = disagreement + rounding < uncertainty
        numeric = xp.where(surer, estimate, numeric)
        uncertainty = xp.where(surer, disagreement + rounding, uncertainty)
        resolved = uncertainty <= _RESOLVED * (xp.abs(analytic) + xp.abs(numeric))
        # a smaller step helps if the two quotients disagree, at a kink or a sharp bend; against rounding it does not
        if bool(xp.all(resolved | (disagreement <= rounding))):
            break
    return numeric, uncertainty


def _difference(at: _OneArray, positions: Sequence[int], step: Array, value: float) -> tuple[Array, Array]:
    """The slope of f along each entry, and its bend: the right-hand slope minus the left-hand one."""
    up, down, width = _pairs(at, positions, step)
    slope, bend = persisted((up - down) / width, ((up - value) + (down - value)) / (0.5 * width))
    return slope, bend


# --- what they show ----------------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """The worst of some entries: where it is, both values, its uncertainty; and what all of them say to the judge."""

    worst: Worst
    where: tuple[int, ...]
    relative_error: float
    analytic: float
    numeric: float
    uncertainty: float


def shown_by(here: LocalGradient, leaf: int, entries: Entries) -> Shown:
    """What ``entries`` of array ``leaf`` show."""
    xp, x = here.local.xp, here.local.point[leaf]
    gap, scale = xp.abs(entries.analytic - entries.numeric), xp.abs(entries.analytic) + xp.abs(entries.numeric)
    excess = gap - entries.uncertainty - taken(xp, constant_rounding(here, leaf) * xp.ones_like(x), entries.positions)
    some = xp.where(scale > 0.0, scale, xp.ones_like(scale))
    visible = (excess > 0.0) | (entries.uncertainty <= WRONG * scale)
    relative = xp.where(visible, gap / some, xp.zeros_like(gap))
    scales = taken(xp, scales_of(xp, x) * xp.ones_like(x), entries.positions)
    at = int(xp.argmax(relative, axis=0)) if bool(xp.any(relative > 0.0)) else int(xp.argmax(scale, axis=0))
    hidden = entries.uncertainty * scales
    unsure = norm(xp, hidden) if math.isfinite(largest(xp, hidden)) else math.inf  # f may not be defined beside params
    worst = Worst(
        excess=float(xp.max(xp.where(excess > 0.0, excess / some, xp.zeros_like(excess)))),
        seen=bool(xp.any(excess > 0.0)),
        fine=float(xp.finfo(entries.numeric.dtype).eps) <= FINE,
        resolution=unsure / (norm(xp, entries.analytic * scales) or math.inf),
    )
    index = tuple(int(i) for i in np.unravel_index(entries.positions[at], x.shape))
    values = (float(each[at]) for each in (relative, entries.analytic, entries.numeric, entries.uncertainty))
    return Shown(worst, index, *values)


# --- search ------------------------------------------------------------------------------------------------------

# This many entries of a large array are looked at without asking further: each takes four values of f.
_SAMPLE = 200

# This many rows, and entries in each, are followed to the end.
_GUILTY = 4


def wrong_positions(here: LocalGradient, leaf: int, limit: int, seed: int) -> list[int]:
    """Flat positions in array ``leaf`` that are worth comparing with differences.

    All of an array with at most ``limit`` entries; of a larger one a random sample, and wrong entries found by halving.
    """
    shape = here.gradient[leaf].shape
    if (size := math.prod(shape)) <= limit:
        return list(range(size))
    random = np.random.default_rng(seed)
    chosen = set(random.choice(size, min(_SAMPLE, limit), replace=False).tolist())
    columns = size // shape[0]
    shows = _block_test(here, leaf, random)
    for row in _halve(shows, range(0, size + 1, columns)):
        chosen.update(_halve(shows, range(row, row + columns + 1)))
    return sorted(chosen)


def _block_test(here: LocalGradient, leaf: int, random: np.random.Generator) -> Callable[[int, int], bool]:
    """Whether the entries at flat positions low to high, moved together, show an error."""
    xp, x = here.local.xp, here.local.point[leaf]
    flat, whole, rounding = flat_positions(xp, x), random_direction(xp, x, random), entry_rounding(here, leaf)

    def shows(low: int, high: int) -> bool:
        direction = whole * xp.astype((flat >= low) & (flat < high), x.dtype)
        slope = slope_along(here.local, {leaf: direction})
        expected = inner(xp, here.gradient[leaf], direction)
        allowed = MARGIN * slope.uncertainty + norm(xp, rounding * direction)
        return abs(expected - slope.value) > allowed

    return shows


def _halve(shows: Callable[[int, int], bool], edges: range) -> list[int]:
    """The lower edges of the first few blocks between neighbouring ``edges`` that show an error."""
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
