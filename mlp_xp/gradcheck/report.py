"""What a gradient check found: one row per array, a verdict over all, and both as text, table and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mlp_xp.gradcheck.judge import RIGHT, WRONG, Verdict, overall

if TYPE_CHECKING:
    from rich.console import Group

_COLUMNS = ("tensor", "verdict", "relative error", "textbook", "at", "analytic", "numeric", "resolution")


@dataclass(frozen=True)  # no NamedTuple: a tuple has an `index` of its own
class TensorReport:
    """What was found about one parameter array.

    Args:
        name: of the array.
        verdict: "pass", "fail" or "inconclusive".
        relative_error: ``|a - n| / (|a| + |n|)`` of the worst slope; if entries were compared, of the worst entry that
            stands out of the noise.
        index: of that entry; None if the two values are slopes along a random direction, over all entries.
        analytic: the caller's value: an entry of the gradient, or its slope ``<grad, d>``.
        numeric: the value that f gives for it.
        resolution: the relative norm of a random error, dense or in one entry, that this run misses with a probability
            of at most 1%.
        noise: how far the two values may differ by rounding, truncation and kinks, all measured.
        diagnosis: what is wrong, or why nothing can be said, or at which point a pass was found; usually empty for a
            pass.
        checked: how many of the entries were compared one by one.
        size: how many entries there are.
        explained: whether the diagnosis names a cause; else it says where the array is wrong.

    >>> import numpy as np
    >>> from mlp_xp import gradcheck
    >>> row = gradcheck(lambda x: np.sum(x**2), lambda x: (2 * x + [0, 1],), (np.asarray([0.5, 3.0]),)).tensors[0]
    >>> row.verdict, row.index, row.analytic, round(row.numeric, 6)
    ('fail', (1,), 7.0, 6.0)
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
        """The relative error by the textbook's fixed bounds: below 1e-5 "right", above 1e-3 "bug", else "unclear"."""
        return "right" if self.relative_error < RIGHT else "bug" if self.relative_error > WRONG else "unclear"


class Report(NamedTuple):
    """What was found about all parameter arrays; ``str(report)`` is a table, ``rich.print(report)`` a coloured one.

    Args:
        tensors: one row per array.
        evaluations: how often f was called; a vectorised call counts by its width, one with dual numbers as two.
        reference: the dtype of the numeric side, and "by dual numbers" or "by complex step" if not by differences.
        contract: sentences about promises that the gradient function breaks; each is a failure.
        blame: which array to look at first if several are wrong.
        weak: blind spots: sentences about properties of the point behind which a mistake could hide.
        notes: what else happened, such as points that were skipped because f or grad raised there.

    >>> import numpy as np
    >>> from mlp_xp import gradcheck
    >>> report = gradcheck(lambda x: np.sum(x**2), lambda x: (2 * x,), (np.asarray([0.5, 3.0]),), names=("x",))
    >>> report.verdict, report.ok, [row.name for row in report.tensors]
    ('pass', True, ['x'])
    """

    tensors: tuple[TensorReport, ...]
    evaluations: int
    reference: str
    contract: tuple[str, ...] = ()
    blame: str = ""
    weak: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all rows; "fail" if the gradient function breaks its contract."""
        return overall((row.verdict for row in self.tensors), self.contract)

    @property
    def ok(self) -> bool:
        """Whether the verdict is "pass"."""
        return self.verdict == "pass"

    def raise_if_failed(self, allow_inconclusive: bool = False) -> None:
        """Raise unless the verdict is "pass".

        Args:
            allow_inconclusive: whether "inconclusive" is accepted too.

        Raises:
            AssertionError: with the report as its message.

        >>> import numpy as np
        >>> from mlp_xp import gradcheck
        >>> gradcheck(lambda x: np.sum(x**2), lambda x: (2 * x,), (np.asarray([0.5, 3.0]),)).raise_if_failed()
        """
        if self.verdict == "fail" or (self.verdict == "inconclusive" and not allow_inconclusive):
            raise AssertionError(str(self))

    def json(self) -> str:
        """The whole report as one JSON object; infinity and NaN, which JSON does not have, are null."""
        rows = [{**asdict(row), "textbook": row.textbook} for row in self.tensors]
        fields = {"verdict": self.verdict, **self._asdict(), "tensors": rows}
        return json.dumps(_finite(fields))

    def __str__(self) -> str:
        rows = [_COLUMNS, *(_cells(row) for row in self.tensors)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        for i, row in enumerate(self.tensors, start=1):
            lines[i] = "\n".join([lines[i], *(f"    {row.name}: {note}" for note in _notes(row))])
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
        yield from (f"note: {sentence}" for sentence in self.notes)


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
