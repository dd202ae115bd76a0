"""From the probes and entries of an array to its row in the report, and which array to look at first.

Before: ``evidence``, ``elsewhere`` and ``entries``. Next: ``explain`` puts a failure in words, ``report`` shows it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np  # on the host alone: indices

from mlp_xp._lib.namespace import namespace
from mlp_xp.gradcheck.entries import Entries
from mlp_xp.gradcheck.evidence import Evidence, resolution
from mlp_xp.gradcheck.report import RIGHT, WRONG, TensorReport, Verdict

_FINE = 2.0**-40  # between the epsilons of float32 and float64


def row_of(evidence: Evidence, leaf: int) -> TensorReport:
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


def with_entries(row: TensorReport, shape: tuple[int, ...], entries: Entries) -> TensorReport:
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


def blame(rows: Sequence[TensorReport]) -> str:
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
