"""Is this gradient right? The steps of a check, from the caller's functions to the report.

Next: ``forms``, where the arguments become flat; ``products`` checks pullbacks and Hessian-vector products by this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np  # on the host alone: random numbers

from mlp_xp._lib.arguments import check_flag, check_whole, described
from mlp_xp.gradcheck.blind_spots import blind_spots
from mlp_xp.gradcheck.contract import Answer, first_answer
from mlp_xp.gradcheck.elsewhere import look_far, look_further
from mlp_xp.gradcheck.entries import compare_entries, shown_by, wrong_positions
from mlp_xp.gradcheck.evidence import Evidence, LocalGradient, gather, gradient_at
from mlp_xp.gradcheck.explain import diagnose, in_other_convention, with_hypotheses
from mlp_xp.gradcheck.forms import Arrays, Flat, Wirtinger, flattened, one_choice
from mlp_xp.gradcheck.judge import Judgement, blame, judge, together
from mlp_xp.gradcheck.local import finite_value, prepare
from mlp_xp.gradcheck.report import Report, TensorReport

# If f takes one point at a time, at most this many entries of a failing array are looked at one by one.
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
    wirtinger: Wirtinger = "conjugate",
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
        params: a tuple or list of floating arrays of one library, real or complex, or of nested containers of them
            (dict, list, tuple, NamedTuple, dataclass), whose gradients come in the same containers; or one such array
            or container. In the order of the forward pass, if the report is to say which mistake is nearest to the
            loss. A complex array ``z`` has two rows in the report, ``z.real`` and ``z.imag``.
        names: of the arrays, for the report; their paths by default.
        seed: of all random draws: directions, samples, other points.
        mode: "full" also compares every entry; "auto" compares entries only to find out where an array is wrong.
        vectorized: whether f also takes one array with a leading axis, (k, *shape), and then returns (k,).
        hypotheses: name -> a wrong gradient function. If ``grad`` returns what one of them returns, its name is the
            diagnosis.
        max_entries: of an array with more entries than this a sample is compared entry by entry.
        wirtinger: what the gradient of a complex array ``a + ib`` is: "conjugate", ``df/da + i df/db``, as in PyTorch
            and TensorFlow, or "plain", ``df/da - i df/db``, as in JAX and HIPS autograd.

    Returns:
        A ``Report``: ``verdict``, ``ok``, ``tensors``, ``evaluations``, ``raise_if_failed()``, and text by ``str``.

    Raises:
        ValueError: if f is not finite at params or does not return one number, or grad returns another number of
            gradients.
        TypeError: if params are not floating arrays of one library, or f or grad is no function.

    >>> import numpy as np
    >>> report = gradcheck(lambda x: np.sum(x**3), lambda x: (3 * x**2,), (np.asarray([0.5, -1.0, 2.0]),))
    >>> report.verdict, report.reference
    ('pass', 'float64 by dual numbers')
    >>> report = gradcheck(lambda x: np.sum(x**3), lambda x: (x**2,), (np.asarray([0.5, -1.0, 2.0]),))
    >>> report.verdict, report.tensors[0].diagnosis
    ('fail', 'the gradient is 1/3 times the true one: a mean where a sum belongs?')
    """
    _refuse_arguments(f, grad, mode, hypotheses)
    seed, max_entries = check_whole("seed", seed, 0), check_whole("max_entries", max_entries, 1)
    vectorized = check_flag("vectorized", vectorized)
    flat = flattened(f, grad, params, names, wirtinger)
    finite_value(flat.f, flat.arrays)  # in the parameters' own dtypes; ``prepare`` asks in the reference dtype
    answer = first_answer(flat, seed)
    if answer.broken or any(answer.flaws):
        return _not_compared(flat, answer)
    random = np.random.default_rng(seed)
    here = gradient_at(flat, prepare(flat.f, flat.arrays, seed), answer.gradients, random)
    evidence = look_further(gather(here, random), random)
    limit = max_entries if vectorized or mode == "full" else min(max_entries, _PLAIN_ENTRIES)
    evidence, rows = _rows(evidence, mode == "full", vectorized, limit, seed)
    rows = in_other_convention(rows, wirtinger)
    if hypotheses and any(row.verdict == "fail" for row in rows):
        rows = with_hypotheses(rows, *_hypothetical(here, hypotheses))
    if not any(row.verdict == "fail" for row in rows):
        evidence = look_far(evidence, random)
    verdicts = [row.verdict for row in rows]
    contract = together(verdicts, evidence)
    look_first = blame([row.name for row in rows], verdicts)
    weak, notes = tuple(blind_spots(evidence)), (*answer.notes, *_notes(flat))
    return Report(tuple(rows), flat.f.count, here.local.reference, contract, look_first, weak, notes)


def _refuse_arguments(f: Any, grad: Any, mode: str, hypotheses: Any) -> None:
    """Raise for what can't be checked at all."""
    one_choice("mode", mode, ("auto", "full"))
    if not callable(f):
        raise TypeError(f"f must be a function, got {type(f).__name__}")
    if not (callable(grad) or grad is True):
        or_true = "or True where f returns (value, gradients)"
        raise TypeError(f"grad must be a function, {or_true}, got {type(grad).__name__}")
    known = isinstance(hypotheses, Mapping)
    if hypotheses is not None and not (known and all(map(callable, hypotheses.values()))):
        came = next((each for each in hypotheses.values() if not callable(each)), None) if known else hypotheses
        raise TypeError(f"hypotheses must be a dict of wrong gradient functions by their names, got {described(came)}")


def _not_compared(flat: Flat, answer: Answer) -> Report:
    """The report if some gradients have a flaw, or the gradient function is broken: then no number says anything."""
    why = "a promise is broken" if answer.broken else "another gradient is not like its parameter"
    rows = [
        TensorReport(
            name=name, verdict="fail" if flaw else "inconclusive", relative_error=math.inf, index=None,
            analytic=math.nan, numeric=math.nan, resolution=math.inf, noise=math.nan,
            diagnosis=flaw or f"not checked: {why}", checked=0, size=math.prod(array.shape),
        )
        for name, array, flaw in zip(flat.names, flat.arrays, answer.flaws, strict=True)
    ]  # fmt: skip
    return Report(tuple(rows), flat.f.count, "no arithmetic", (answer.broken,) if answer.broken else ())


def _notes(flat: Flat) -> Iterator[str]:
    """Sentences about points that the checker chose and had to skip, and about what f keeps."""
    if refusals := flat.f.refusals:
        first = refusals[0].splitlines()[0]
        yield f"f or grad raised at {len(refusals):,} of the points that were tried, which were skipped: {first}"
    if flat.f.kept:
        flat.f(*flat.arrays)  # so that what it keeps is of the caller's dtype again
        yield "f keeps something of its last call, a running mean or a history: values of this check are in it now"


def _hypothetical(
    here: LocalGradient, hypotheses: Mapping[str, Callable[..., Any]]
) -> tuple[Arrays, dict[str, Arrays]]:
    """The gradient, and what each hypothesis returns, at the same point in the same dtype."""
    in_reference = here.epsilon == here.local.epsilon  # grad computes in the reference dtype too
    point, gradient = (here.local.point, here.gradient) if in_reference else (here.flat.arrays, here.own)
    found = {}
    for name, hypothesis in hypotheses.items():
        found[name] = here.flat.flatten(hypothesis, f"hypothesis {name!r}")(*point)
    return gradient, found


# --- arrays one by one -------------------------------------------------------------------------------------------


def _rows(
    evidence: Evidence, full: bool, vectorized: bool, limit: int, seed: int
) -> tuple[Evidence, list[TensorReport]]:
    """The verdict on each array, with the evidence of its entries.

    Args:
        evidence: of all arrays.
        full: whether to look at the entries of all arrays, not only of failing ones: which is worst and, if it fails,
            why.
        vectorized: whether f takes many points at a time.
        limit: of a larger array a sample is compared.
        seed: of that sample.
    """
    here, found, rows = evidence.here, list(evidence.found), []
    for leaf in range(len(here.gradient)):
        judgement = judge(found[leaf])
        row = _row(here, leaf, judgement)
        if row.size and (full or judgement.verdict == "fail"):
            entries = compare_entries(here, leaf, wrong_positions(here, leaf, limit, seed), vectorized)
            shown = shown_by(here, leaf, entries)
            found[leaf] = found[leaf]._replace(worst=shown.worst)
            judgement = judge(found[leaf])
            row = replace(_row(here, leaf, judgement), checked=len(entries.positions))
            if shown.worst.seen or judgement.verdict != "fail":
                row = replace(
                    row, relative_error=shown.relative_error, index=shown.where, analytic=shown.analytic,
                    numeric=shown.numeric, noise=shown.uncertainty,
                )  # fmt: skip
            if judgement.verdict == "fail" and not row.diagnosis:
                known, sentence = diagnose(here, leaf, entries, judgement.probes)
                row = replace(row, diagnosis=sentence, explained=known)
        rows.append(row)
    return evidence._replace(found=tuple(found)), rows


def _row(here: LocalGradient, leaf: int, judgement: Judgement) -> TensorReport:
    """The row of array ``leaf`` by its worst probe."""
    probes, size = judgement.probes, math.prod(here.gradient[leaf].shape)
    worst = max(probes, key=lambda probe: (probe.wrong, probe.relative_error))
    return TensorReport(
        name=here.flat.names[leaf], verdict=judgement.verdict, relative_error=worst.relative_error, index=worst.entry,
        analytic=worst.analytic, numeric=worst.numeric, resolution=judgement.resolution, noise=worst.tolerance,
        diagnosis=judgement.reason if size else "it has no entries",
        checked=0 if worst.entry is None else size, size=size,
    )  # fmt: skip
