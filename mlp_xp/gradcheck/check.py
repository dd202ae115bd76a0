"""Is this gradient right, this pullback, this Hessian-vector product? From the caller's functions to the verdicts.

``gradcheck`` is the steps of a check. A pullback is checked as the gradient of ``<c, op(x)>``, a Hessian-vector product
as that of ``<grad(x), v>``.

Next: ``forms``, where the arguments become flat.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np  # on the host alone: indices
from array_api_compat import is_array_api_obj
from numpy.random import Generator, default_rng

from mlp_xp._lib.namespace import is_floating, namespace
from mlp_xp._lib.typing import Array, Op
from mlp_xp.gradcheck.arrays import from_host
from mlp_xp.gradcheck.contract import Answer, first_answer, linearity_flaws
from mlp_xp.gradcheck.entries import Entries, compare_entries, wrong_positions
from mlp_xp.gradcheck.evidence import Evidence, gather, lost_precision, resolution, wrong_elsewhere
from mlp_xp.gradcheck.explain import blind_spots, diagnose, with_hypotheses
from mlp_xp.gradcheck.forms import Flat, arrays_of, as_op, flattened, in_order_of, rebuild
from mlp_xp.gradcheck.local import finite_value, prepare
from mlp_xp.gradcheck.report import RIGHT, WRONG, Report, TensorReport, Verdict

# If f takes one point at a time, at most this many entries of a failing array are looked at one by one.
_PLAIN_ENTRIES = 1_000

_FINE = 2.0**-40  # between the epsilons of float32 and float64


def gradcheck(
    f: Callable[..., Any],
    grad: Callable[..., Any] | Literal[True],
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

    Two directions per array and two across all arrays, at most ten values of f each, whatever the sizes; an array of
    one or two entries is moved along each of these. On failure, as many more as it takes to say where and why. If f
    takes dual numbers, or complex ones, the slopes are exact, each confirmed by a difference. If the parameters are
    not float64 but f of float64 copies computes in float64, the slopes are taken there. The report's ``reference``
    says which.

    Args:
        f: a deterministic function of arrays, f(*params) -> 0-d.
        grad: grad(*params) -> a tuple of gradients, one per parameter, each of its shape and dtype; or True, if f
            returns ``(value, gradients)``.
        params: a tuple or list of real floating arrays of one library, or of nested containers of them (dict, list,
            tuple, NamedTuple, dataclass), whose gradients come in the same containers; or one such array or container.
            In the order of the forward pass, if the report is to say which mistake is nearest to the loss.
        names: of the arrays, for the report; their paths by default.
        seed: of all random draws: directions, samples, other points.
        mode: "full" also compares every entry; "auto" compares entries only to find out where an array is wrong.
        vectorized: whether f also takes one array with a leading axis, (k, *shape), and then returns (k,).
        hypotheses: name -> a wrong gradient function. If ``grad`` returns what one of them returns, its name is the
            diagnosis.
        max_entries: of an array with more entries than this a sample is compared entry by entry.

    Returns:
        A ``Report``: ``verdict``, ``ok``, ``tensors``, ``evaluations``, ``raise_if_failed()``, and text by ``str``.

    Raises:
        ValueError: if f is not finite at params or does not return one number, or grad returns another number of
            gradients.
        TypeError: if params are not real floating arrays of one library, or f or grad is no function.

    >>> import numpy as np
    >>> report = gradcheck(lambda x: np.sum(x**3), lambda x: (3 * x**2,), (np.asarray([0.5, -1.0, 2.0]),))
    >>> report.verdict, report.reference
    ('pass', 'float64 by dual numbers')
    >>> report = gradcheck(lambda x: np.sum(x**3), lambda x: (x**2,), (np.asarray([0.5, -1.0, 2.0]),))
    >>> report.verdict, report.tensors[0].diagnosis
    ('fail', 'the gradient is 1/3 times the true one: a mean where a sum belongs?')
    """
    _refuse_arguments(f, grad, mode, max_entries)
    flat = flattened(f, grad, params, names)
    finite_value(flat.f, flat.arrays)  # in the parameters' own dtypes; ``prepare`` asks in the reference dtype
    answer = first_answer(flat, seed)
    if answer.broken or any(answer.flaws):
        return _not_compared(flat, answer)
    random = default_rng(seed)
    evidence = gather(flat, prepare(flat.f, flat.arrays, seed), random)
    here = evidence.here
    limit = max_entries if vectorized or mode == "full" else min(max_entries, _PLAIN_ENTRIES)
    rows = _rows(evidence, mode == "full", vectorized, limit, seed)
    if hypotheses and any(row.verdict == "fail" for row in rows):
        in_reference = here.epsilon == here.local.epsilon  # grad computes in the reference dtype too
        point, gradient = (here.local.point, here.gradient) if in_reference else (flat.arrays, answer.gradients)
        wrong = {name: flat.flatten(hypothesis)(*point) for name, hypothesis in hypotheses.items()}
        rows = with_hypotheses(rows, gradient, wrong)
    contract = _wrong_though_each_is_right(evidence, rows, random)
    rows = [
        replace(row, verdict="inconclusive", diagnosis=lost) if lost and row.verdict == "pass" else row
        for row, lost in zip(rows, lost_precision(here, answer.gradients), strict=True)
    ]
    return Report(tuple(rows), flat.f.count, here.local.reference, contract, _blame(rows), tuple(blind_spots(here)))


def _refuse_arguments(f: Any, grad: Any, mode: str, max_entries: int) -> None:
    """Raise for what can't be checked at all."""
    if mode not in ("auto", "full"):
        raise ValueError(f"mode must be 'auto' or 'full', got {mode!r}")
    if not callable(f):
        raise TypeError(f"f must be a function, got {type(f).__name__}")
    if not (callable(grad) or grad is True):
        or_true = "or True where f returns (value, gradients)"
        raise TypeError(f"grad must be a function, {or_true}, got {type(grad).__name__}")
    if max_entries < 1:
        raise ValueError(f"max_entries must be positive, got {max_entries}")


def _not_compared(flat: Flat, answer: Answer) -> Report:
    """The report if some gradients have a flaw, or the gradient function is broken: then no number says anything."""
    why = "the gradient function breaks its contract" if answer.broken else "another gradient is not like its parameter"
    rows = [
        TensorReport(
            name=name, verdict="fail" if flaw else "inconclusive", relative_error=math.inf, index=None,
            analytic=math.nan, numeric=math.nan, resolution=math.inf, noise=math.nan,
            diagnosis=flaw or f"not checked: {why}", checked=0, size=math.prod(array.shape),
        )
        for name, array, flaw in zip(flat.names, flat.arrays, answer.flaws, strict=True)
    ]  # fmt: skip
    return Report(tuple(rows), flat.f.count, "no arithmetic", (answer.broken,) if answer.broken else ())


# --- arrays one by one -------------------------------------------------------------------------------------------


def _rows(evidence: Evidence, full: bool, vectorized: bool, limit: int, seed: int) -> list[TensorReport]:
    """The verdict on each array.

    Args:
        evidence: of all arrays.
        full: whether to look at the entries of all arrays, not only of failing ones: which is worst and, if it fails,
            why.
        vectorized: whether f takes many points at a time.
        limit: of a larger array a sample is compared.
        seed: of that sample.
    """
    here, rows = evidence.here, [_row_of(evidence, leaf) for leaf in range(len(evidence.here.gradient))]
    for leaf, row in enumerate(rows):
        if row.verdict == "fail" or (full and row.size):
            entries = compare_entries(here, leaf, wrong_positions(here, leaf, limit, seed), vectorized)
            rows[leaf] = row = _with_entries(row, here.gradient[leaf].shape, entries)
            if row.verdict == "fail":
                known, sentence = diagnose(here, leaf, entries, evidence.deciding(leaf))
                rows[leaf] = replace(row, diagnosis=sentence, explained=known)
    return rows


def _row_of(evidence: Evidence, leaf: int) -> TensorReport:
    """The row of array ``leaf`` by its probes."""
    probes, size = evidence.deciding(leaf), math.prod(evidence.here.gradient[leaf].shape)
    worst = max(probes, key=lambda probe: (probe.wrong, probe.relative_error))
    row = TensorReport(
        name=evidence.here.flat.names[leaf], verdict="pass", relative_error=worst.relative_error, index=worst.entry,
        analytic=worst.analytic, numeric=worst.numeric, resolution=resolution(probes), noise=worst.tolerance,
        diagnosis="" if size else "it has no entries", checked=0 if worst.entry is None else len(probes), size=size,
    )  # fmt: skip
    if leaf in evidence.unconfirmed:
        why = "the two differ here by more than the noise that was measured, and not at points nearby; try float64"
        return replace(row, verdict="inconclusive", diagnosis=why)
    if any(probe.wrong for probe in probes):
        return replace(row, verdict="fail")
    if row.resolution > WRONG:
        why, advice = "rounding noise", "float64, weights that saturate less, or a loss with a larger gradient"
        if worst.kinked:
            why, advice = "a kink", "another point"
        why = f"{why} hides relative errors below {row.resolution:.1e}; try {advice}"
        return replace(row, verdict="inconclusive", diagnosis=why)
    if leaf in evidence.aside:
        at_kink = any(probe.kinked or probe.wrong for probe in evidence.probes[leaf])
        why = "at a kink: checked at a point nearby" if at_kink else "hidden by rounding at params: checked elsewhere"
        return replace(row, diagnosis=f"{why}, where it is not")
    return row


def _with_entries(row: TensorReport, shape: tuple[int, ...], entries: Entries) -> TensorReport:
    """``row`` with the worst of the entries that were compared: its index and values."""
    xp = namespace(entries.analytic)
    gap, scale = xp.abs(entries.analytic - entries.numeric), xp.abs(entries.analytic) + xp.abs(entries.numeric)
    excess = gap - entries.uncertainty
    visible = (excess > 0.0) | (entries.uncertainty <= WRONG * scale)
    relative = xp.where(visible, gap / xp.where(scale > 0.0, scale, xp.ones_like(scale)), xp.zeros_like(gap))
    worst = int(xp.argmax(relative, axis=0)) if bool(xp.any(relative > 0.0)) else int(xp.argmax(scale, axis=0))
    verdict: Verdict = "fail" if bool(xp.any(excess > WRONG * scale)) else row.verdict
    if verdict == "pass" and bool(xp.any(excess > RIGHT * scale)):
        verdict = "inconclusive"
        row = replace(row, diagnosis="an entry stands out of the noise by more than 1e-5 of its size, but not by 1e-3")
    row = replace(row, verdict=verdict, checked=len(entries.positions))
    if verdict == "fail" and not bool(xp.any(excess > 0.0)):
        # the error is too small to be seen in single entries; the slopes along directions show it, if they are to be
        # trusted: those of a function with many kinks that computes in float32 alone were seen to be 1% off
        if xp.finfo(entries.numeric.dtype).eps <= _FINE:
            return row
        why = "slopes along random directions are off, which no single entry bears out; try a function of float64"
        return replace(row, verdict="inconclusive", diagnosis=why)
    return replace(
        row,
        relative_error=float(relative[worst]),
        index=tuple(int(i) for i in np.unravel_index(entries.positions[worst], shape)),
        analytic=float(entries.analytic[worst]),
        numeric=float(entries.numeric[worst]),
        noise=float(entries.uncertainty[worst]),
    )


# --- all arrays together -----------------------------------------------------------------------------------------


def _wrong_though_each_is_right(evidence: Evidence, rows: Sequence[TensorReport], random: Generator) -> tuple[str, ...]:
    """What is wrong, as a sentence, if no array fails by itself: all together, or at other points."""
    if any(row.verdict == "fail" for row in rows):
        return ()
    together = len(rows)
    if together not in evidence.unconfirmed and any(p.wrong for p in evidence.deciding(together)):
        return ("the gradients are right one by one, but not together",)
    if not wrong_elsewhere(evidence.here, random):
        return ()
    if any(p.size for probes in evidence.probes for p in probes):
        return ("grad is right at params and wrong elsewhere: it keeps something of its first call, a stale cache",)
    return ("grad is right at params, where it is zero, and wrong elsewhere",)


def _blame(rows: Sequence[TensorReport]) -> str:
    """Where to look first, for arrays in the order of the forward pass, as parameters are usually given.

    The backward pass goes from the last to the first: all that is upstream inherits an error near the loss.
    """
    failed = [i for i, row in enumerate(rows) if row.verdict == "fail"]
    if not failed or len(rows) == 1:
        return ""
    last = failed[-1]
    where = f"{rows[last].name}, the nearest to the loss"
    inherited = f"; what is upstream of it may have inherited its error ({len(failed) - 1} more)" if failed[:-1] else ""
    right = [row.name for row in rows[last + 1 :] if row.verdict == "pass"]
    between = f"; {right[0]} behind it is right" if right else ""
    return where + between + inherited


# --- pullbacks and Hessian-vector products -----------------------------------------------------------------------


def check_pullback(
    op: Op | Any, args: Any, seed: int = 0, *, names: Sequence[str] | None = None, **options: Any
) -> Report:
    """Is the pullback of ``op(*args) -> (value, pullback)`` right? ``d <c, value>`` against ``<pullback(c), d>``.

    Checked as well: the pullback is linear in the cotangent c, takes zero to zero, and does not change c.

    Args:
        op: its value is one real floating array of any shape; ``pullback(c)``, c of that shape, returns a tuple, one
            cotangent per argument. Or a subclass of torch.autograd.Function, or a jax.custom_vjp.
        args: as the params of ``gradcheck``; bind every argument that is not differentiated.
        seed: of the cotangents, and as in ``gradcheck``.
        names: of the arrays, for the report; their paths by default.
        options: further keyword arguments of ``gradcheck``.

    Returns:
        The ``Report`` of ``gradcheck``, one row per argument.

    Raises:
        TypeError: if op does not return (value, pullback) of one real floating array.
        ValueError: if the pullback returns no tuple, or another number of cotangents; or as ``gradcheck``.

    >>> import numpy as np
    >>> def exp(x):
    ...     y = np.exp(x)
    ...     return y, lambda c: (c * y,)
    >>> check_pullback(exp, (np.asarray([0.5, -1.0, 2.0]),)).ok
    True
    """
    op = as_op(op)
    args = tuple(args) if type(args) in (tuple, list) else (args,)
    if not callable(op):
        raise TypeError(f"op must be a function, got {type(op).__name__}")
    value, pullback = _checked(op(*args))
    xp = namespace(value)
    random = default_rng(seed)
    drawn, other = random.standard_normal(value.shape), random.standard_normal(value.shape)

    def f(*arrays: Any) -> Array:
        value, _ = op(*arrays)
        xp = namespace(value)  # of duals, if f is asked with duals
        return xp.sum(value * from_host(xp, drawn, value))

    def grad(*arrays: Any) -> Any:
        value, pullback = op(*arrays)
        cotangents = pullback(from_host(xp, drawn, value))  # a new array each time: the pullback may change it
        if not isinstance(cotangents, tuple | list):
            kind = type(cotangents).__name__
            raise ValueError(f"pullback must return a tuple of {len(args)} cotangents, one per argument, got {kind}")
        return cotangents

    report = gradcheck(f, grad, args, names, seed, **options)
    one, two = from_host(xp, drawn, value), from_host(xp, other, value)
    flaws = linearity_flaws(xp, lambda c: arrays_of(pullback(c)), one, two)
    return report._replace(contract=(*report.contract, *flaws))


def _checked(pair: Any) -> tuple[Array, Callable[[Array], Any]]:
    """``pair``, if it is (value, pullback) of one real floating value."""
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not callable(pair[1]):
        raise TypeError(f"op must return (value, pullback), got {type(pair).__name__}")
    value, pullback = pair
    if not is_array_api_obj(value):
        raise TypeError(f"the value of op must be one array, got {type(value).__name__}")
    if not is_floating(namespace(value), value.dtype):
        raise TypeError(f"the value of op must be real floating, got {value.dtype}")
    return value, pullback


def check_hvp(grad: Callable[..., Any], hvp: Callable[..., Any], params: Any, seed: int = 0, **options: Any) -> Report:
    """Is ``hvp(params, v)`` the Hessian of a function times v? ``grad`` is that function's gradient, v is random.

    The Hessian-vector product is the gradient of ``<grad(params), v>``.

    Args:
        grad: grad(*params) -> gradients, one per parameter; trusted: check it by ``gradcheck`` first.
        hvp: hvp(params, v) -> products, one per parameter. v is like params, and both come as they were given: a
            tuple, or the one array or container.
        params: as in ``gradcheck``.
        seed: of v, and as in ``gradcheck``.
        options: further keyword arguments of ``gradcheck``.

    Returns:
        The ``Report`` of ``gradcheck``, one row per parameter.

    Raises:
        ValueError: if grad or hvp returns another number of arrays than params hold; or as ``gradcheck``.

    >>> import numpy as np
    >>> check_hvp(lambda x: 3 * x**2, lambda x, v: 6 * x * v, np.asarray([0.5, -1.0, 2.0])).ok  # of sum x^3
    True
    """
    bare = type(params) not in (tuple, list)
    args = (params,) if bare else tuple(params)
    random = default_rng(seed)
    drawn = [random.standard_normal(x.shape) for x in arrays_of(args)]

    def vectors(arrays: Iterable[Array]) -> list[Array]:
        # new arrays each time: hvp may change them
        return [from_host(namespace(x), numbers, x) for x, numbers in zip(arrays, drawn, strict=True)]

    def f(*at: Any) -> Array:
        arrays, gradients = arrays_of(at), arrays_of(in_order_of(grad(*at), at[0] if bare else at))
        if len(gradients) != len(arrays):
            raise ValueError(f"grad must return {len(arrays)} gradients, one per parameter, got {len(gradients)}")
        xp = namespace(*arrays)
        first, *rest = [xp.sum(g * v) for g, v in zip(gradients, vectors(arrays), strict=True)]
        return sum(rest, start=first)

    def products(*at: Any) -> Any:
        v = rebuild(at, iter(vectors(arrays_of(at))))
        return hvp(at[0], v[0]) if bare else hvp(at, v)

    return gradcheck(f, products, params, seed=seed, **options)
