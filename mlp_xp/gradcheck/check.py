"""Is this gradient right? The order of the questions, from the containers it comes in to the report.

Before: ``probes`` compares, ``verdict`` judges. Next: ``products`` brings pullbacks and Hessian-vector products here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np  # on the host alone: random numbers

from mlp_xp._lib.namespace import is_floating, namespace, persisted
from mlp_xp._lib.typing import Array
from mlp_xp.gradcheck.contract import behaviour_flaws, copied, leaf_flaw
from mlp_xp.gradcheck.elsewhere import recheck_elsewhere, wrong_elsewhere
from mlp_xp.gradcheck.entries import compare_entries, wrong_positions
from mlp_xp.gradcheck.evidence import (
    DIRECTIONS,
    Point,
    Probe,
    entry_rounding,
    gradient_at,
    lost_precision,
    probe,
)
from mlp_xp.gradcheck.explain import diagnose, weaknesses, with_hypotheses
from mlp_xp.gradcheck.forms import in_order_of, leaves, on_leaves, value_and_grad
from mlp_xp.gradcheck.local import Counter, number, prepare
from mlp_xp.gradcheck.report import Report, TensorReport
from mlp_xp.gradcheck.verdict import blame, not_compared, row_of, with_entries

# Of a failing tensor with no more entries than this every entry is asked for, where f takes one point at a time.
_PLAIN_ENTRIES = 1_000


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

    Two directions per array and two across all, at most ten values of f each, whatever the sizes; an array of no more
    than two entries is moved along these. On failure, what it takes to say where and why. When the parameters are not
    float64 but f, given float64 copies of them, computes in float64, so do the differences. Where f takes dual numbers,
    or complex ones, the slopes are exact, each confirmed by a difference. The report's ``reference`` says which.

    Args:
        f: f(*params) -> 0-d, deterministic; nothing else is asked of it.
        grad: grad(*params) -> a tuple of gradients, one per parameter, of its shape and dtype; or True, where f returns
            ``(value, gradients)``.
        params: a tuple or list of real floating arrays of one library, or of nested containers of them (dict, list,
            tuple, NamedTuple, dataclass), whose gradients come in the same containers; or one such array or container.
            In the order of the data's way, if the report is to say which mistake is nearest to the loss.
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
    if not callable(f) or not (callable(grad) or grad is True):
        wrong, what = ("f", f) if not callable(f) else ("grad", grad)
        or_true = ", or True where f returns (value, gradients)" if wrong == "grad" else ""
        raise TypeError(f"{wrong} must be a function{or_true}, got {type(what).__name__}")
    if max_entries < 1:
        raise ValueError(f"max_entries must be positive, got {max_entries}")
    if grad is True:
        f, grad = value_and_grad(f)
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
    returned = flat_grad(*given)
    flaws = [leaf_flaw(array, gradient) for array, gradient in zip(given, returned, strict=True)]
    if any(flaws):
        return _not_compared(labels, arrays, counted, flaws)
    # of what grad returned a copy is kept: it may hand out the same array at every call
    first = tuple(copied(xp, gradient) for gradient in returned)
    broken = behaviour_flaws(counted, flat_grad, arrays, returned, first, labels, seed)
    if broken:  # then no number says anything about the formula
        return _not_compared(labels, arrays, counted, [""] * len(arrays), broken)

    problem = prepare(counted, arrays, seed)
    random = np.random.default_rng(seed)
    here = gradient_at(problem, flat_grad, arrays, random)
    count = len(arrays)
    groups = [*((i,) for i in range(count)), tuple(range(count))]  # each array, and all together
    # of the two directions across all arrays one is taken here and one elsewhere, where nothing was computed before
    probes = [probe(here, group, random, 1 if len(group) == count > 1 else DIRECTIONS) for group in groups]
    aside, unconfirmed = recheck_elsewhere(here, flat_grad, arrays, groups, probes, random)
    rows = []
    for i, label in enumerate(labels):
        mine = aside.get(i, probes[i])
        row = row_of(label, math.prod(arrays[i].shape), mine, probes[i] if i in aside else (), i in unconfirmed)
        if row.verdict == "fail" or (mode == "full" and row.size):
            limit = max_entries if vectorized or mode == "full" else min(max_entries, _PLAIN_ENTRIES)
            row = _entry_by_entry(row, here, i, labels, mine, vectorized, limit, seed)
        rows.append(row)
    failed = [i for i, row in enumerate(rows) if row.verdict == "fail"]
    if failed and hypotheses:
        point, gradient = (problem.point, here.gradient) if here.in_reference else (arrays, first)
        wrong = {name: _flat(h, args, count, bare=args[0] is params)(*point) for name, h in hypotheses.items()}
        rows = with_hypotheses(rows, gradient, wrong)
    contract: tuple[str, ...] = ()
    if not failed and count not in unconfirmed and any(p.wrong for p in aside.get(count, probes[count])):
        contract = ("the gradients are right one by one, but not together",)
    elif not failed and wrong_elsewhere(here, flat_grad, arrays, random):
        contract = (
            "grad is right at params, where it is zero, and wrong elsewhere"
            if not any(p.size for mine in probes for p in mine)
            else "grad is right at params and wrong elsewhere: it keeps something of its first call, a stale cache",
        )
    rows = [
        replace(row, verdict="inconclusive", diagnosis=lost) if lost and row.verdict == "pass" else row
        for row, lost in zip(rows, lost_precision(here, arrays, first), strict=True)
    ]
    weak = tuple(weaknesses(labels, problem.point, here.gradient))
    return Report(tuple(rows), counted.count, problem.reference, contract, blame(rows), weak)


def _entry_by_entry(
    row: TensorReport,
    here: Point,
    leaf: int,
    names: Sequence[str],
    probes: Sequence[Probe],
    vectorized: bool,
    limit: int,
    seed: int,
) -> TensorReport:
    """``row`` after a look at single entries of array ``leaf``: which is worst and, if it fails, why."""
    problem, gradient = here.problem, here.gradient[leaf]
    rounding = entry_rounding(here, leaf)
    chosen = wrong_positions(problem, leaf, gradient, rounding, limit, seed)
    entries = compare_entries(problem, leaf, gradient, rounding, chosen, vectorized)
    row = with_entries(row, tuple(gradient.shape), entries)
    if row.verdict != "fail":
        return row
    others = {name: g for i, (name, g) in enumerate(zip(names, here.gradient, strict=True)) if i != leaf}
    known, sentence = diagnose(problem.point[leaf], gradient, others, entries, probes)
    return replace(row, diagnosis=sentence, explained=known)


def _not_compared(
    names: Sequence[str], arrays: Sequence[Array], counted: Counter, flaws: Sequence[str], broken: str = ""
) -> Report:
    """The report where some gradients are not like their parameters, or all come of a function that is ``broken``."""
    other = "the gradient function breaks its contract" if broken else "another gradient is not like its parameter"
    rows = (
        not_compared(name, math.prod(array.shape), flaw, other)
        for name, array, flaw in zip(names, arrays, flaws, strict=True)
    )
    return Report(tuple(rows), counted.count, "no arithmetic", (broken,) if broken else ())


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
            odd = _no_arrays("", result) or _no_arrays("params", args)
            raise ValueError(f"grad must return a tuple of {count} gradients, one per parameter, got {came}{odd}")
        return persisted(*gradients)

    return flat


def _no_arrays(of: str, tree: Any) -> str:
    """Which of the children of ``tree`` is a number or nothing where an array is meant: as half a sentence, if any."""
    if isinstance(tree, tuple | list):
        for position, child in enumerate(tree):
            if not any(leaves(child)):
                where = f"{of}[{position}]" if of else f"number {position + 1}"
                return f"; {where} is a {type(child).__name__}, not an array"
    return ""
