"""Tables of predictions against the truth: the confusions of a classifier, the residuals of a regressor."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from sklearn.metrics import confusion_matrix

from mlp_xp.cli._model import Model
from mlp_xp.cli._output import Table, figure

_MOST_CLASSES = 20  # in a confusion table that can still be read


def score_table(model: Model, y: NDArray[Any], predicted: NDArray[Any], where: str) -> Table:
    """The confusions of a classifier, or the residuals of a regressor, on rows that are called ``where``."""
    if model.is_classifier:
        return _confusion_table(y, predicted, model.classes, where)
    gap = predicted - y  # in units of the target
    low, quarter, middle, three, high = np.quantile(gap, (0.05, 0.25, 0.5, 0.75, 0.95))
    rows = [
        ("mean (too high, if positive)", _signed(np.mean(gap))),
        ("median", _signed(middle)),
        ("half of the rows between", f"{_signed(quarter)} and {_signed(three)}"),
        ("nine in ten between", f"{_signed(low)} and {_signed(high)}"),
    ]
    return Table(f"{where}: predicted minus true, in units of the target", ("", ""), rows, (1,))


def _signed(value: Any) -> str:
    return f"{'+' if value >= 0 else ''}{figure(float(value))}"


def _confusion_table(y: NDArray[Any], predicted: NDArray[Any], classes: NDArray[Any], where: str) -> Table:
    """How often each class was taken for each; of many classes only the pairs that are confused most."""
    if len(classes) > _MOST_CLASSES:
        wrong = predicted != y
        worst = Counter(zip(y[wrong].tolist(), predicted[wrong].tolist(), strict=True)).most_common(10)
        rows = [(escape(str(label)), escape(str(taken_for)), str(times)) for (label, taken_for), times in worst]
        return Table(f"{where}: the most frequent confusions", ("label", "taken for", "times"), rows, (2,))
    table = []
    counts = confusion_matrix(y, predicted, labels=classes)
    for label, row in enumerate(counts):
        cells = [
            "[dim]·[/]" if not count else f"[green]{count}[/]" if label == column else f"[bold red]{count}[/]"
            for column, count in enumerate(row)
        ]
        share = f"{row[label] / row.sum():.1%}" if row.sum() else ""
        table.append((f"[bold]{escape(str(classes[label]))}[/]", *cells, share))
    columns = ("label", *(escape(str(each)) for each in classes), "right")
    return Table(f"{where}: true label (row), predicted (column)", columns, table, range(len(columns)))
