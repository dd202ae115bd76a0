"""What a gradient check found: one row per tensor, a verdict over all, and both as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Verdict: TypeAlias = Literal["pass", "fail", "inconclusive"]

_COLUMNS = ("tensor", "verdict", "relative error", "at", "analytic", "numeric", "resolution")


@dataclass(frozen=True)  # no NamedTuple: a tuple has an `index` of its own
class TensorReport:
    """One parameter.

    name: of the parameter.
    verdict: "pass", "fail" or "inconclusive".
    relative_error: ``|a - n| / (|a| + |n|)`` of the worse slope, or, where entries were compared, of the worst entry
        that stands out of the noise.
    index: of that entry; None where the two values are slopes along a random direction, over all entries.
    analytic, numeric: the two values.
    resolution: the smallest relative error over the whole tensor that this run would have seen.
    diagnosis: what is wrong, or why nothing can be said; empty for a pass.
    checked, size: how many of the entries were looked at.
    """

    name: str
    verdict: Verdict
    relative_error: float
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    resolution: float
    diagnosis: str
    checked: int
    size: int


class Report(NamedTuple):
    """All parameters.

    tensors: one row per parameter.
    evaluations: how often f was called, a vectorised call counted by its width.
    reference: the dtype in which the numeric side was computed.
    contract: sentences about what the gradient function does that none should; any of them is a failure.
    """

    tensors: tuple[TensorReport, ...]
    evaluations: int
    reference: str
    contract: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of the rows': "fail" before "inconclusive" before "pass"."""
        verdicts = {row.verdict for row in self.tensors}
        return (
            "fail" if "fail" in verdicts or self.contract else "inconclusive" if "inconclusive" in verdicts else "pass"
        )

    @property
    def ok(self) -> bool:
        """Whether the verdict is "pass"."""
        return self.verdict == "pass"

    def raise_if_failed(self, allow_inconclusive: bool = False) -> None:
        """Raise ``AssertionError`` with the report as its message, unless every tensor passes."""
        if self.verdict == "fail" or (self.verdict == "inconclusive" and not allow_inconclusive):
            raise AssertionError(str(self))

    def __str__(self) -> str:
        rows = [_COLUMNS]
        for row in self.tensors:
            at = "all" if row.index is None else f"[{', '.join(map(str, row.index))}]"
            values = f"{row.analytic:.6e}", f"{row.numeric:.6e}", f"{row.resolution:.1e}"
            rows.append((row.name, row.verdict, f"{row.relative_error:.1e}", at, *values))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        for position in reversed(range(len(self.tensors))):
            row = self.tensors[position]
            notes = [row.diagnosis] if row.diagnosis else []
            if 0 < row.checked < row.size:
                notes.append(f"{row.checked:,} of {row.size:,} entries were checked")
            lines[position + 2 : position + 2] = [f"    {row.name}: {note}" for note in notes]
        head = f"gradient check: {self.verdict} ({self.evaluations:,} evaluations, reference in {self.reference})"
        return "\n".join([head, *(f"  {sentence}" for sentence in self.contract), *lines])
