"""Is this gradient right? Compare it with slopes of the function, and judge by what they resolve.

Along a random direction the function has a slope and the gradient a prediction of it. They may differ by the
uncertainty of the slope (truncation, rounding and kinks, all measured) and by the rounding of the gradient (measured
too); by more, and the gradient is wrong. Nothing is compared with a constant: where the textbook would ask for 1e-5, a
smooth function in float64 is usually resolved to 1e-9.

Before: ``problem`` measures slopes. Next: ``diagnosis`` says what is wrong, ``report`` shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np  # on the host alone: random numbers, indices

from mlp_xp._namespace import beside, is_floating, namespace, settled
from mlp_xp._typing import Array, Namespace, Op
from mlp_xp.gradcheck.contract import behaviour_flaws, copied, leaf_flaw, linearity_flaws
from mlp_xp.gradcheck.diagnosis import diagnose, matching_hypothesis
from mlp_xp.gradcheck.entries import Entries, compare_entries
from mlp_xp.gradcheck.locate import wrong_positions
from mlp_xp.gradcheck.problem import (
    Counter,
    Problem,
    like,
    moved,
    number,
    prepare,
    random_direction,
    scale_of,
    slope_along,
)
from mlp_xp.gradcheck.report import Report, TensorReport, Verdict
from mlp_xp.gradcheck.tree import in_order_of, leaves, on_leaves

# The textbook's rule (CS231n, Gradient checks): relative errors below the first are right, above the second a bug. Here
# the second is the least that a pass must be able to see.
RIGHT, WRONG = 1e-5, 1e-3

_DIRECTIONS = 2

# The uncertainty of a slope is an estimate from a few values: what is refused exceeds it threefold.
_MARGIN = 3.0

# Rounding of the gradient: as seen between points a few units in the last place apart; and never less
# than some roundings of the products summed here.
_NEIGHBOURS, _NEIGHBOUR_MARGIN, _ROUNDINGS = 2, 5.0, 20.0

# Where a gradient was computed in a coarser dtype than the function, its rounding relative to the largest gradient.
_FLOOR_ROUNDINGS = 50.0

# And the share of a gradient that float32 may lose where terms cancel: right ones were seen to lose a thousandth.
_COARSE = 1e-2

# Of a failing tensor with no more entries than this every entry is asked for, where f takes one point at a time.
_PLAIN_ENTRIES = 1_000

# A point some hundredths away has other kinks, and the same bugs.
_ASIDE, _ATTEMPTS = 0.03, 3


class _Probe(NamedTuple):
    """One direction: what the gradient predicts, what the function does, what is allowed between them.

    size is the norm of the gradient along the direction's entries: an error of that relative size changes the slope by
    about as much.
    """

    analytic: float
    numeric: float
    tolerance: float
    size: float
    kink: float

    @property
    def wrong(self) -> bool:
        return not abs(self.analytic - self.numeric) <= self.tolerance

    @property
    def resolution(self) -> float:
        size = max(self.size, abs(self.numeric))
        return self.tolerance / size if size else 0.0  # f does not change at all, and the gradient says so

    @property
    def gap(self) -> float:
        """The error as a share of the whole gradient."""
        size = max(self.size, abs(self.numeric))
        return abs(self.analytic - self.numeric) / size if size else 0.0

    @property
    def relative_error(self) -> float:
        """``|a - n| / (|a| + |n|)`` of the two slopes."""
        size = abs(self.analytic) + abs(self.numeric)
        return abs(self.analytic - self.numeric) / size if size else 0.0


class _Point(NamedTuple):
    """Function and gradient at one point.

    problem: the function.
    gradient: in the reference dtype.
    neighbours: the same a few units in the last place aside: what changes there is rounding.
    epsilon: of the dtype in which ``gradient`` was computed.
    floor: the rounding of a slope that no neighbour shows, where that dtype is not the reference's.
    finest: within this distance a coarser dtype does not know on which side of a kink it is.
    """

    problem: Problem
    gradient: tuple[Array, ...]
    neighbours: tuple[tuple[Array, ...], ...]
    epsilon: float
    floor: float
    finest: float


def gradcheck(
    f: Callable[..., Any],
    grad: Callable[..., Any],
    params: Any,
    names: Sequence[str] | None = None,
    seed: int = 0,
    *,
    mode: Literal["auto", "full"] = "auto",
    vectorized: bool = False,
    hypotheses: Mapping[str, Callable[..., Any]] | None = None,
    max_entries: int = 10_000,
) -> Report:
    """Is ``grad`` the gradient of ``f`` at ``params``? ``<grad, d>`` against ``d/dt f(params + t d)``, d random.

    Two directions per array and two across all, at most eight values of f each, whatever the sizes; on failure, what it
    takes to say where and why. When the parameters are not float64 but f, given float64 copies of them, computes in
    float64, so do the differences: the report's ``reference`` says which.

    Args:
        f: f(*params) -> 0-d, deterministic; nothing else is asked of it.
        grad: grad(*params) -> a tuple of gradients, one per parameter, of its shape and dtype.
        params: a tuple or list of real floating arrays of one library, or of nested containers of them (dict, list,
            tuple, NamedTuple, dataclass), whose gradients come in the same containers; or one such array or container.
        names: of the arrays, for the report; their paths by default.
        seed: of what is drawn: directions, samples, other points.
        mode: "full" also compares every entry; "auto" does so only to find out where a tensor is wrong.
        vectorized: whether f also takes one array with a leading axis, (k, *shape), and then returns (k,).
        hypotheses: name -> a wrong gradient function: when what ``grad`` returns is what one of them returns, that is
            the diagnosis.
        max_entries: of a tensor with more entries than this a sample is compared entry by entry.

    Returns:
        A ``Report``: ``verdict``, ``ok``, ``tensors``, ``evaluations``, ``raise_if_failed()``, and text by ``str``.

    Raises:
        ValueError: where f is not finite at params or does not return one number, or grad returns another number.
        TypeError: where params are not real floating arrays of one library.
    """
    if mode not in ("auto", "full"):
        raise ValueError(f"mode must be 'auto' or 'full', got {mode!r}")
    args = tuple(params) if type(params) in (tuple, list) else (params,)
    found = list(leaves(args, "params"))
    labels = _labels(names, [leaf.path for leaf in found])
    arrays = tuple(leaf.array for leaf in found)
    xp = namespace(*arrays)
    for label, array in zip(labels, arrays, strict=True):
        if not is_floating(xp, array.dtype):
            raise TypeError(f"{label} must be real floating, got {array.dtype}")
    counted = Counter(on_leaves(f, args))
    flat_grad = _flat(grad, args, len(arrays), bare=args[0] is params)

    value = number(counted(*arrays))
    if not math.isfinite(value):
        raise ValueError(f"f must be finite at params, got {value}")
    given = [copied(xp, array) for array in arrays]
    first = flat_grad(*given)
    flaws = [leaf_flaw(array, gradient) for array, gradient in zip(given, first, strict=True)]
    if any(flaws):
        rows = [
            _unlike(label, array, flaw, "another gradient is not like its parameter")
            for label, array, flaw in zip(labels, arrays, flaws, strict=True)
        ]
        return Report(tuple(rows), counted.count, "no arithmetic")
    broken = behaviour_flaws(counted, flat_grad, arrays, first, labels, seed)
    if broken:  # then no number says anything about the formula
        rows = [
            _unlike(label, array, "", "the gradient function breaks its contract")
            for label, array in zip(labels, arrays, strict=True)
        ]
        return Report(tuple(rows), counted.count, "no arithmetic", (broken,))
    problem = prepare(counted, arrays, seed)
    random = np.random.default_rng(seed)
    here = _at(problem, flat_grad, arrays, random)
    count = len(arrays)
    groups = [*((i,) for i in range(count)), tuple(range(count))]  # each array, and all together
    probes = [[_probe(here, group, random) for _ in range(_DIRECTIONS)] for group in groups]
    aside = _look_aside(here, flat_grad, arrays, groups, probes, random)
    rows = []
    for i, label in enumerate(labels):
        mine, at_kink = aside.get(i, probes[i]), i in aside
        entries = None
        if any(p.wrong for p in mine) or (mode == "full" and math.prod(arrays[i].shape)):
            rounding = _entry_rounding(here, i)
            limit = max_entries if vectorized or mode == "full" else min(max_entries, _PLAIN_ENTRIES)
            chosen = wrong_positions(problem, i, here.gradient[i], rounding, limit, seed)
            entries = compare_entries(problem, i, here.gradient[i], rounding, chosen, vectorized)
        rows.append(_row(problem, label, i, mine, at_kink, entries, here.gradient[i]))
    failed = [i for i, row in enumerate(rows) if row.verdict == "fail"]
    if failed and hypotheses:
        wrong = {name: _flat(h, args, count, bare=args[0] is params)(*arrays) for name, h in hypotheses.items()}
        cause = matching_hypothesis(xp, first, wrong, failed)
        rows = [replace(row, diagnosis=cause) if cause and i in failed else row for i, row in enumerate(rows)]
    together = aside.get(count, probes[count])
    apart = not failed and any(p.wrong for p in together)
    contract = ("the gradients are right one by one, but not together",) if apart else ()
    rows = [
        replace(row, verdict="inconclusive", diagnosis=lost) if lost and row.verdict == "pass" else row
        for row, lost in zip(rows, _lost_precision(here, arrays, first), strict=True)
    ]
    return Report(tuple(rows), counted.count, problem.reference, contract)


def _at(problem: Problem, grad: Callable[..., Any], arrays: tuple[Array, ...], random: np.random.Generator) -> _Point:
    """The gradient at ``arrays``, which are the problem's point in the parameters' own dtype, and how much is rounding.

    Where grad computes in the reference dtype too, the formula is judged there, and ``_lost_precision`` compares what
    it returns in the parameters' own; elsewhere neighbouring points show its rounding.
    """
    xp = namespace(*arrays)
    if any(x.dtype != there.dtype for x, there in zip(arrays, problem.point, strict=True)):
        exact = _in_reference(problem, grad)
        if exact is not None:
            return _Point(problem, exact, (), problem.epsilon, 0.0, 0.0)
    epsilon = max(float(xp.finfo(x.dtype).eps) for x in arrays)
    own = tuple(like(g, x) for g, x in zip(grad(*arrays), problem.point, strict=True))

    def neighbour(x: Array) -> Array:
        return x * (1.0 + 2.0 * epsilon * xp.asarray(random.integers(-1, 2, x.shape), dtype=x.dtype, **beside(x)))

    neighbours = tuple(
        tuple(like(g, x) for g, x in zip(grad(*map(neighbour, arrays)), problem.point, strict=True))
        for _ in range(_NEIGHBOURS)
    )
    # a saturated unit's slope is a small difference of large numbers: wrong in proportion to what flows past it
    sizes = [_norm(xp, g * scale_of(xp, x)) for g, x in zip(own, problem.point, strict=True)]
    coarser = _FLOOR_ROUNDINGS * epsilon if epsilon > problem.epsilon else 0.0
    return _Point(problem, own, neighbours, epsilon, coarser * max(sizes), coarser)


def _lost_precision(here: _Point, arrays: tuple[Array, ...], own: tuple[Array, ...]) -> list[str]:
    """For each array a sentence where its gradient, in the parameters' dtype, is far from where it was judged, or "".

    Whether terms cancel there or the function is wrong in that dtype alone, no one can tell from outside.
    """
    xp = here.problem.xp
    epsilon = max(float(namespace(x).finfo(x.dtype).eps) for x in arrays)
    scales = [float(scale_of(xp, x)) for x in here.problem.point]
    sizes = [scale * _norm(xp, g) for scale, g in zip(scales, here.gradient, strict=True)]
    allowed = _FLOOR_ROUNDINGS * epsilon * max(sizes)
    sentences = []
    for x, mine, judged, scale, size in zip(arrays, own, here.gradient, scales, sizes, strict=True):
        gap = scale * _norm(xp, like(mine, judged) - judged)
        share = gap / size if size else math.inf
        far = not gap <= max(allowed, _COARSE * size)
        sentences.append(
            f"right in {judged.dtype}, but {share:.1g} of its size away from that in {x.dtype}" if far else ""
        )
    return sentences


def _norm(xp: Namespace, x: Array) -> float:
    return math.sqrt(float(xp.sum(x * x)))


def _in_reference(problem: Problem, grad: Callable[..., Any]) -> tuple[Array, ...] | None:
    """The gradient in the reference dtype, where ``grad`` computes in it."""
    try:
        gradient = grad(*problem.point)
    except Exception:  # whatever a function raises that was written for one dtype or one library
        return None
    return gradient if not any(map(leaf_flaw, problem.point, gradient)) else None


def _probe(here: _Point, which: Iterable[int], random: np.random.Generator) -> _Probe:
    """One random direction that moves the arrays ``which``."""
    xp, point = here.problem.xp, here.problem.point
    directions = {i: random_direction(xp, point[i], random) for i in which if math.prod(point[i].shape)}
    if not directions:  # there is nothing to be wrong
        return _Probe(0.0, 0.0, 0.0, 0.0, 0.0)
    slope = slope_along(here.problem, directions, here.finest)

    def along(gradient: tuple[Array, ...]) -> float:
        return sum(float(xp.sum(gradient[i] * d)) for i, d in directions.items())

    analytic = along(here.gradient)
    size = math.hypot(*(_norm(xp, here.gradient[i] * d) for i, d in directions.items()))
    scatter = max((abs(along(gradient) - analytic) for gradient in here.neighbours), default=0.0)
    rounding = _NEIGHBOUR_MARGIN * scatter + _ROUNDINGS * here.epsilon * size + here.floor
    tolerance = _MARGIN * slope.uncertainty + rounding
    if here.problem.noise == 0.0 and slope.value == 0.0 and analytic != 0.0:
        tolerance = math.inf  # f is zero all around: whether by its nature or by rounding, no one can tell
    return _Probe(analytic, slope.value, tolerance, size, slope.kink)


def _entry_rounding(here: _Point, leaf: int) -> float:
    """How far rounding may move one entry of a gradient."""
    xp, gradient = here.problem.xp, here.gradient[leaf]
    scatter = max((float(xp.max(xp.abs(neighbour[leaf] - gradient))) for neighbour in here.neighbours), default=0.0)
    floor = here.floor / float(scale_of(xp, here.problem.point[leaf]))
    return _NEIGHBOUR_MARGIN * scatter + _ROUNDINGS * here.epsilon * float(xp.max(xp.abs(gradient))) + floor


def _resolution(probes: Sequence[_Probe]) -> float:
    return min(probe.resolution for probe in probes)


def _look_aside(
    here: _Point,
    grad: Callable[..., Any],
    arrays: tuple[Array, ...],
    groups: Sequence[tuple[int, ...]],
    probes: Sequence[Sequence[_Probe]],
    random: np.random.Generator,
) -> dict[int, list[_Probe]]:
    """Probes at a point nearby, for those groups of arrays that are in doubt here and not there.

    A bug is there at every point; the trouble of a kink, or of a subgradient, is gone a step aside. What is wrong here
    and right there is cleared; what can't be resolved here and can be there is judged there.
    """
    doubtful = {g for g, mine in enumerate(probes) if any(p.wrong for p in mine) or _resolution(mine) > WRONG}
    cleared: dict[int, list[_Probe]] = {}
    xp = namespace(*arrays)
    for attempt in range(_ATTEMPTS):
        if not doubtful:
            break
        there_arrays = tuple(x + _ASIDE * random_direction(xp, x, random) for x in arrays)
        there = _at(moved(here.problem, there_arrays, attempt), grad, there_arrays, random)
        for g in sorted(doubtful):
            again = [_probe(there, groups[g], random) for _ in range(_DIRECTIONS)]
            # an error as large as the one seen here must be visible there, or whatever a pass must be able to see
            gap = max((p.gap for p in probes[g] if p.wrong), default=None)
            if _resolution(again) <= (WRONG if gap is None else gap) and (
                gap is None or not any(p.wrong for p in again)
            ):
                cleared[g] = again
                doubtful.remove(g)
    return cleared


def _row(
    problem: Problem,
    name: str,
    leaf: int,
    probes: Sequence[_Probe],
    at_kink: bool,
    entries: Entries | None,
    gradient: Array,
) -> TensorReport:
    size = math.prod(gradient.shape)
    worst = max(probes, key=lambda probe: (probe.wrong, probe.relative_error))
    row = TensorReport(
        name, "pass", worst.relative_error, None, worst.analytic, worst.numeric, _resolution(probes), "", 0, size
    )
    if any(probe.wrong for probe in probes):
        row = replace(row, verdict="fail")
    elif row.resolution > WRONG:
        why = "a kink" if _MARGIN * worst.kink > 0.5 * worst.tolerance else "rounding noise"
        advice = "another point" if why == "a kink" else "float64, or a loss with a larger gradient"
        row = replace(
            row,
            verdict="inconclusive",
            diagnosis=f"{why} hides relative errors below {row.resolution:.1e}; try {advice}",
        )
    elif at_kink:
        row = replace(row, diagnosis="at a kink: checked at a point nearby, where the function is smooth")
    return _with_entries(problem, row, leaf, entries, gradient) if entries else row


def _with_entries(problem: Problem, row: TensorReport, leaf: int, entries: Entries, gradient: Array) -> TensorReport:
    """``row`` with the worst entry's index and values, and what the entries say of the cause."""
    xp = problem.xp
    gap, scale = xp.abs(entries.analytic - entries.numeric), xp.abs(entries.analytic) + xp.abs(entries.numeric)
    excess = gap - entries.uncertainty
    visible = (excess > 0.0) | (entries.uncertainty <= WRONG * scale)
    relative = xp.where(visible, gap / xp.where(scale > 0.0, scale, xp.ones_like(scale)), xp.zeros_like(gap))
    worst = int(xp.argmax(relative, axis=0)) if bool(xp.any(relative > 0.0)) else int(xp.argmax(scale, axis=0))
    wrong = xp.astype(excess > RIGHT * scale, xp.int32)
    verdict: Verdict = "fail" if bool(xp.any(excess > WRONG * scale)) else row.verdict
    if verdict == "pass" and bool(xp.any(wrong > 0)):
        verdict = "inconclusive"
    index = tuple(int(i) for i in np.unravel_index(entries.positions[worst], gradient.shape))
    row = replace(row, verdict=verdict, checked=len(entries.positions))
    if verdict == "fail" and not bool(xp.any(excess > 0.0)):
        factor = row.analytic / row.numeric if row.numeric else math.inf
        spread = f"about {factor:.12g} times the true one" if math.isfinite(factor) else "of no known pattern"
        return replace(row, diagnosis=f"the error is too small to be seen in single entries: {spread}")
    row = replace(
        row,
        relative_error=float(relative[worst]),
        index=index,
        analytic=float(entries.analytic[worst]),
        numeric=float(entries.numeric[worst]),
    )
    if verdict == "fail":
        row = replace(row, diagnosis=diagnose(problem, leaf, entries, gradient, wrong))
    return row


def check_pullback(op: Op, args: Any, seed: int = 0, *, names: Sequence[str] | None = None, **options: Any) -> Report:
    """Is the pullback of ``op(*args) -> (value, pullback)`` right? ``d <c, value>`` against ``<pullback(c), d>``.

    Checked as well: the pullback is linear in the cotangent, and takes zero to zero.

    Args:
        op: its value may have any shape; ``pullback(c)`` returns a tuple, one cotangent per argument.
        args: as the params of ``gradcheck``; bind everything that is not differentiated.
        seed: of the cotangents, and as in ``gradcheck``.
        names, options: as in ``gradcheck``.
    """
    args = tuple(args) if type(args) in (tuple, list) else (args,)
    value, pullback = op(*args)
    xp = namespace(value)
    random = np.random.default_rng(seed)
    drawn, other = random.standard_normal(value.shape), random.standard_normal(value.shape)

    def cotangent(like: Array, numbers: Any) -> Array:
        return xp.asarray(numbers, dtype=like.dtype, **beside(like))

    def f(*arrays: Any) -> Array:
        value, _ = op(*arrays)
        return namespace(value).sum(value * namespace(value).asarray(drawn, dtype=value.dtype, **beside(value)))

    def grad(*arrays: Any) -> Any:
        value, pullback = op(*arrays)
        return pullback(cotangent(value, drawn))

    def pulled(c: Array) -> tuple[Array, ...]:
        return tuple(leaf.array for leaf in leaves(pullback(c)))

    report = gradcheck(f, grad, args, names, seed, **options)
    flaws = linearity_flaws(xp, pulled, cotangent(value, drawn), cotangent(value, other))
    return report._replace(contract=(*report.contract, *flaws))


def check_hvp(grad: Callable[..., Any], hvp: Callable[..., Any], params: Any, seed: int = 0, **options: Any) -> Report:
    """Is ``hvp(params, v)`` the Hessian of a function times v? ``grad`` is that function's gradient, v is random.

    The Hessian-vector product is the gradient of ``<grad(params), v>``.

    Args:
        grad: grad(*params) -> gradients, one per parameter; checked before, or trusted.
        hvp: hvp(params, v) -> products, one per parameter; params and v are tuples.
        params: a tuple or list of arrays.
        seed: of v, and as in ``gradcheck``.
        options: as in ``gradcheck``.
    """
    params = tuple(params) if type(params) in (tuple, list) else (params,)
    random = np.random.default_rng(seed)
    drawn = [random.standard_normal(p.shape) for p in params]

    def vectors(at: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(
            namespace(x).asarray(numbers, dtype=x.dtype, **beside(x)) for x, numbers in zip(at, drawn, strict=True)
        )

    def f(*at: Array) -> Array:
        xp = namespace(*at)
        first, *rest = [xp.sum(g * v) for g, v in zip(grad(*at), vectors(at), strict=True)]
        return sum(rest, start=first)

    return gradcheck(f, lambda *at: hvp(at, vectors(at)), params, seed=seed, **options)


def _labels(names: Sequence[str] | None, paths: Sequence[str]) -> tuple[str, ...]:
    if not paths:
        raise ValueError("params must hold at least one array, got none")
    if names is not None and len(names) != len(paths):
        raise ValueError(f"names must name each of the {len(paths)} arrays in params, got {len(names)}")
    return tuple(names if names is not None else paths)


def _flat(grad: Callable[..., Any], args: tuple[Any, ...], count: int, bare: bool) -> Callable[..., tuple[Array, ...]]:
    """``grad`` on the leaves of ``args``, returning the leaves of what it returns.

    That is one gradient per argument in a tuple, or, for ``bare`` params, the gradient of the only argument itself.
    """
    on_arrays = on_leaves(grad, args)

    def flat(*arrays: Array) -> tuple[Array, ...]:
        result = on_arrays(*arrays)
        gradients = tuple(leaf.array for leaf in leaves(in_order_of(result, args[0] if bare else args)))
        if len(gradients) != count or not (bare or isinstance(result, tuple | list)):
            came = f"{len(gradients)}" if isinstance(result, tuple | list) else type(result).__name__
            raise ValueError(f"grad must return a tuple of {count} gradients, one per parameter, got {came}")
        return settled(*gradients)

    return flat


def _unlike(name: str, array: Array, flaw: str, otherwise: str) -> TensorReport:
    """The row of an array that was not compared: for a ``flaw`` of its own, or for another reason."""
    verdict: Verdict = "fail" if flaw else "inconclusive"
    why = flaw or f"not checked: {otherwise}"
    return TensorReport(name, verdict, math.inf, None, math.nan, math.nan, math.inf, why, 0, math.prod(array.shape))
