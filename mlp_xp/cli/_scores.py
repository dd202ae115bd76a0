"""How good predictions are: a score with its interval, a confusion table or a summary of residuals."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp.cli._screen import make_table

if TYPE_CHECKING:
    from rich.table import Table

MOST_CLASSES = 20  # in a confusion table that can still be read
_RESAMPLES = 1000


class Score(NamedTuple):
    """A score on some rows, and the middle 95 % of what it is on rows drawn from them with repetition."""

    name: str
    value: float
    low: float
    high: float
    rows: int

    def __str__(self) -> str:
        if self.name == "accuracy":
            right = round(self.value * self.rows)
            return (
                f"accuracy {self.value:.2%} (95 % interval {self.low:.2%} to {self.high:.2%}), "
                f"{right:,} of {self.rows:,} right"
            )
        return f"R^2 {self.value:.4f} (95 % interval {self.low:.4f} to {self.high:.4f}) on {self.rows:,} rows"


def score(y: NDArray[Any], predicted: NDArray[Any], classifies: bool, seed: int = 0) -> Score:
    """Accuracy, or R^2; bootstrapped."""
    random, n = np.random.default_rng(seed), len(y)
    if classifies:
        right = float(np.mean(y == predicted))
        drawn = random.binomial(n, right, _RESAMPLES) / n  # rows drawn anew are right as often as not by this share
        return Score("accuracy", right, *_middle(drawn), n)
    square = (y - predicted) ** 2

    def r_squared(rows: NDArray[Any] | slice) -> float:
        spread = float(np.sum((y[rows] - np.mean(y[rows])) ** 2))
        return 1.0 - float(np.sum(square[rows])) / spread if spread else float("nan")

    times = _RESAMPLES if n <= 50_000 else 100
    drawn = np.asarray([r_squared(random.integers(0, n, n)) for _ in range(times)])
    return Score("R^2", r_squared(slice(None)), *_middle(drawn[np.isfinite(drawn)]), n)


def _middle(drawn: NDArray[Any]) -> tuple[float, float]:
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def confusion(y: NDArray[Any], predicted: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """How often each class (a row) was taken for each class (a column)."""
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    known = np.isin(y, classes)
    np.add.at(counts, (np.searchsorted(classes, y[known]), np.searchsorted(classes, predicted[known])), 1)
    return counts


def confusion_table(y: NDArray[Any], predicted: NDArray[Any], classes: NDArray[Any], where: str) -> Table:
    """That, to look at; of many classes only those that are confused most."""
    from rich.markup import escape

    if len(classes) > MOST_CLASSES:
        wrong = predicted != y
        worst = Counter(zip(y[wrong].tolist(), predicted[wrong].tolist(), strict=True)).most_common(10)
        rows = [(escape(str(label)), escape(str(taken_for)), str(times)) for (label, taken_for), times in worst]
        return make_table(f"{where}: the most frequent confusions", ("label", "taken for", "times"), rows, right=(2,))
    table = []
    counts = confusion(y, predicted, classes)
    for label, row in enumerate(counts):
        cells = [
            "[dim]·[/]" if not count else f"[green]{count}[/]" if label == column else f"[bold red]{count}[/]"
            for column, count in enumerate(row)
        ]
        share = f"{row[label] / row.sum():.1%}" if row.sum() else ""
        table.append((f"[bold]{escape(str(classes[label]))}[/]", *cells, share))
    columns = ("label", *(escape(str(each)) for each in classes), "right")
    return make_table(f"{where}: true label (row), predicted (column)", columns, table, right=range(len(columns)))


def residual_table(y: NDArray[Any], predicted: NDArray[Any], where: str) -> Table:
    """How far off the predictions are, in units of the target."""
    gap = predicted - y
    low, quarter, middle, three, high = np.quantile(gap, (0.05, 0.25, 0.5, 0.75, 0.95))
    rows = [
        ("root mean square", f"{np.sqrt(np.mean(gap**2)):.4g}"),
        ("mean absolute", f"{np.mean(np.abs(gap)):.4g}"),
        ("mean (too high, if positive)", f"{np.mean(gap):+.4g}"),
        ("half of the rows between", f"{quarter:+.4g} and {three:+.4g}"),
        ("nine in ten between", f"{low:+.4g} and {high:+.4g}"),
        ("median", f"{middle:+.4g}"),
        ("spread of the target, for comparison", f"{np.std(y):.4g}"),
    ]
    return make_table(f"{where}: predicted minus true, in units of the target", ("", ""), rows, right=(1,))
