"""What a gradient check found: one row per tensor, a verdict over all, and both as text, table and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from rich.console import Group

Verdict: TypeAlias = Literal["pass", "fail", "inconclusive"]

# The textbook's rule (CS231n, Gradient checks): relative errors below the first are right, above the second a bug. A
# pass must have been able to see the second.
RIGHT, WRONG = 1e-5, 1e-3

_COLUMNS = ("tensor", "verdict", "relative error", "textbook", "at", "analytic", "numeric", "resolution")


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
    noise: how far the two values may differ by rounding, truncation and kinks, all measured.
    diagnosis: what is wrong, or why nothing can be said, or how a pass was come by; usually empty for a pass.
    checked, size: how many of the entries were looked at one by one, of how many.
    explained: whether the diagnosis names a cause; else it says where the tensor is wrong.
    """

    name: str
    verdict: Verdict
    relative_error: float
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    resolution: float
    noise: float
    diagnosis: str
    checked: int
    size: int
    explained: bool = False

    @property
    def textbook(self) -> str:
        """What the textbook's fixed bounds would say of the relative error: below 1e-5 right, above 1e-3 a bug."""
        return "right" if self.relative_error < RIGHT else "bug" if self.relative_error > WRONG else "unclear"


class Report(NamedTuple):
    """All parameters.

    tensors: one row per parameter.
    evaluations: how often f was called, a vectorised call counted by its width, one with dual numbers as two.
    reference: how the numeric side was computed: the dtype, and how, where not by differences alone.
    contract: sentences about what the gradient function does that none should; any of them is a failure.
    blame: where to look first, when something is wrong.
    weak: sentences about the point that was checked: conditions under which a mistake could hide.
    """

    tensors: tuple[TensorReport, ...]
    evaluations: int
    reference: str
    contract: tuple[str, ...] = ()
    blame: str = ""
    weak: tuple[str, ...] = ()

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

    def json(self) -> str:
        """The whole report as one JSON object; numbers that JSON does not know (inf, nan) are null."""
        rows = [{**asdict(row), "textbook": row.textbook} for row in self.tensors]
        fields = {"verdict": self.verdict, **self._asdict(), "tensors": rows}
        return json.dumps(_finite(fields))

    def __str__(self) -> str:
        rows = [_COLUMNS, *(_cells(row) for row in self.tensors)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        for position in reversed(range(len(self.tensors))):
            row = self.tensors[position]
            lines[position + 2 : position + 2] = [f"    {row.name}: {note}" for note in _notes(row)]
        return "\n".join([self._head(), *(f"  {sentence}" for sentence in self.contract), *lines, *self._foot()])

    def __rich__(self) -> Group:
        """The same as a coloured table, for ``rich.print``."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        colours = {"pass": "green", "inconclusive": "yellow", "fail": "bold red"}
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for column in _COLUMNS:
            # in a narrow terminal a number goes on in the next line: one that is cut off is another number
            table.add_column(column, justify="right" if column in _COLUMNS[5:] else "left", overflow="fold")
        for row in self.tensors:
            name, verdict, *rest = _cells(row, digits=2)  # as wide as a terminal
            table.add_row(Text(name), Text(verdict, colours[row.verdict]), *map(Text, rest))
        notes = (f"{row.name}: {note}" for row in self.tensors for note in _notes(row))
        below = (Text(sentence) for sentence in (*notes, *self._foot()))
        return Group(Text(self._head(), colours[self.verdict]), *map(Text, self.contract), table, *below)

    def _head(self) -> str:
        return f"gradient check: {self.verdict} ({self.evaluations:,} evaluations, reference in {self.reference})"

    def _foot(self) -> Iterator[str]:
        if self.blame and [row.verdict for row in self.tensors].count("fail") > 1:
            yield f"look first: {self.blame}"
        yield from (f"blind spot: {sentence}" for sentence in self.weak)


def _cells(row: TensorReport, digits: int = 6) -> tuple[str, ...]:
    at = "all" if row.index is None else f"[{', '.join(map(str, row.index))}]"
    values = f"{row.analytic:.{digits}e}", f"{row.numeric:.{digits}e}", f"{row.resolution:.1e}"
    return row.name, row.verdict, f"{row.relative_error:.1e}", row.textbook, at, *values


def _notes(row: TensorReport) -> Iterator[str]:
    if row.diagnosis:
        yield row.diagnosis
    if 0 < row.checked < row.size:
        yield f"{row.checked:,} of {row.size:,} entries were checked one by one"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
