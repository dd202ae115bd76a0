"""How good predictions are: a score with its interval, and a table of confusions or of residuals."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape

from mlp_xp import metrics
from mlp_xp._lib.namespace import namespace
from mlp_xp.cli._model import Model
from mlp_xp.cli._screen import Table

_MOST_CLASSES = 20  # in a confusion table that can still be read
_RESAMPLES, _FEWER, _MANY_ROWS = 1000, 100, 50_000


class Score(NamedTuple):
    """A score on some rows, and its 95 % interval by the bootstrap: its values on rows drawn anew from them."""

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
    """The accuracy of labels, or the R^2 of numbers, with its interval.

    Source: Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979).
    """
    random, n = np.random.default_rng(seed), len(y)
    if classifies:
        right = float(np.mean(y == predicted))
        # how many of n rows drawn anew are right is binomial: no row need be drawn
        return Score("accuracy", right, *_middle(random.binomial(n, right, _RESAMPLES) / n), n)
    times = _RESAMPLES if n <= _MANY_ROWS else _FEWER
    drawn = [_r_squared(y[rows], predicted[rows]) for rows in (random.integers(0, n, n) for _ in range(times))]
    return Score("R^2", _r_squared(y, predicted), *_middle(np.asarray(drawn)), n)


def _r_squared(y: NDArray[Any], predicted: NDArray[Any]) -> float:
    """R^2, NaN where the targets are all the same."""
    if not np.ptp(y):
        return float("nan")
    return float(metrics.r2(namespace(y), y[:, None], predicted[:, None]))


def _middle(drawn: NDArray[Any]) -> tuple[float, float]:
    finite = drawn[np.isfinite(drawn)]
    low, high = np.quantile(finite, (0.025, 0.975)) if len(finite) else (float("nan"), float("nan"))
    return float(low), float(high)


def confusion(y: NDArray[Any], predicted: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """How often each class (a row) was taken for each class (a column)."""
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    known = np.isin(y, classes)
    np.add.at(counts, (np.searchsorted(classes, y[known]), np.searchsorted(classes, predicted[known])), 1)
    return counts


def score_table(model: Model, y: NDArray[Any], predicted: NDArray[Any], where: str) -> Table:
    """The confusions of a classifier, or the residuals of a regressor, on rows that are called ``where``."""
    if model.is_classifier:
        return _confusion_table(y, predicted, model.classes, where)
    return _residual_table(y, predicted, where)


def _confusion_table(y: NDArray[Any], predicted: NDArray[Any], classes: NDArray[Any], where: str) -> Table:
    """How often each class was taken for each; of many classes only the pairs that are confused most."""
    if len(classes) > _MOST_CLASSES:
        wrong = predicted != y
        worst = Counter(zip(y[wrong].tolist(), predicted[wrong].tolist(), strict=True)).most_common(10)
        rows = [(escape(str(label)), escape(str(taken_for)), str(times)) for (label, taken_for), times in worst]
        return Table(f"{where}: the most frequent confusions", ("label", "taken for", "times"), rows, (2,))
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
    return Table(f"{where}: true label (row), predicted (column)", columns, table, range(len(columns)))


def _residual_table(y: NDArray[Any], predicted: NDArray[Any], where: str) -> Table:
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
    return Table(f"{where}: predicted minus true, in units of the target", ("", ""), rows, (1,))
