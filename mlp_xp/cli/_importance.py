"""Which columns of a table a model needs: permutation importance on rows whose targets are known."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from sklearn import metrics as known
from sklearn.inspection import permutation_importance

from mlp_xp.cli._model import Model
from mlp_xp.cli._output import Table, decimals
from mlp_xp.cli._scores import MOST_CURVES, Judged, in_parts, measure_of, roc_auc
from mlp_xp.data.recipe import Recipe

_TIMES = 5  # each column is shuffled, as in scikit-learn
_MOST_ROWS = 10_000  # drawn from more, for each shuffle
_MOST_SHOWN = 30


class Importance(NamedTuple):
    """How much a score falls when the values of some columns are shuffled, each in turn.

    score: its name.
    columns: of the table, the most important first.
    mean, std: of the fall over the shuffles, (columns,).
    rows: on how many rows.
    """

    score: str
    columns: tuple[str, ...]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    rows: int

    def as_records(self) -> list[dict[str, Any]]:
        """One record a column, as JSON takes it."""
        rows = zip(self.columns, self.mean.tolist(), self.std.tolist(), strict=True)
        return [{"column": name, "importance": mean, "std": std} for name, mean, std in rows]


def importance(model: Model, X: Any, y: NDArray[Any], found: Judged, seed: int = 0) -> Importance:
    """How much the score of ``found`` falls when a column of the table is shuffled, with all that it became in X.

    Where nearly all rows are of one class, so that labels hardly change, the score is the area under the ROC curve.

    Args:
        model: the model.
        X: (n, d_in), an array or a source, as its recipe reads rows.
        y: (n,), labels or numbers.
        found: what ``judge`` says of the same rows.
        seed: of the shuffles.

    Source: Breiman, Random forests, Machine Learning 45 (2001); scikit-learn's ``permutation_importance``.
    """
    random, n = np.random.default_rng(seed), len(y)
    drawn: Any = slice(None)
    if n > _MOST_ROWS:
        drawn, n = np.sort(random.choice(n, _MOST_ROWS, replace=False)), _MOST_ROWS
    X, y = X[drawn], y[drawn]
    groups = _groups(model.recipe, X.shape[1])
    name, measure = _measure(model, found, y)
    own = np.arange(n)

    def scorer(_: Any, rows: NDArray[Any], __: Any) -> float:
        mixed = X.copy()
        for j, places in enumerate(groups.values()):
            if not np.array_equal(rows[:, j], own):
                mixed[:, places] = X[np.ix_(rows[:, j], places)]
        return measure(mixed)

    # scikit-learn shuffles a column of row numbers; ``scorer`` takes the values of the table's column from there
    numbers = np.repeat(own[:, None], len(groups), axis=1)
    fall = permutation_importance(model.estimator, numbers, y, scoring=scorer, n_repeats=_TIMES, random_state=seed)
    order = np.argsort(-fall.importances_mean, kind="stable")
    names = tuple(list(groups)[j] for j in order)
    return Importance(name, names, fall.importances_mean[order], fall.importances_std[order], n)


def _groups(recipe: Recipe, width: int) -> dict[str, NDArray[Any]]:
    """The columns of X, by the column of the table that they come from."""
    if recipe.columns is None:
        named = len(recipe.names) == width  # else they are the names of bins
        names = recipe.names if named else tuple(f"column {j}" for j in range(width))
        return {name: np.asarray([j]) for j, name in enumerate(names)}
    groups, low = {}, 0
    for column in recipe.columns:
        if column.names:
            groups[column.name] = np.arange(low, low + len(column.names))
        low += len(column.names)
    return groups


def _measure(model: Model, found: Judged, y: NDArray[Any]) -> tuple[str, Callable[[NDArray[Any]], float]]:
    """The score whose fall counts: its name, and its value on rows X whose targets are ``y``."""
    name, classified = found.headline.name, model.is_classifier
    if classified and name != "accuracy" and len(model.classes) <= MOST_CURVES and len(np.unique(y)) > 1:
        return "ROC AUC", lambda X: roc_auc(y, in_parts(model.predict_proba, X), model.classes)
    measure: Any = known.accuracy_score if classified else measure_of(model)[1]
    return "accuracy" if classified else name, lambda X: measure(y, in_parts(model.predict, X))


def importance_table(found: Importance, where: str) -> Table:
    """How much the score falls for each column of the table, those that matter most first."""
    shown = list(zip(found.columns, found.mean, found.std, strict=True))[:_MOST_SHOWN]
    rows = [(escape(name), decimals(mean), decimals(std)) for name, mean, std in shown]
    title = f"{where}: fall of {found.score} when a column is shuffled, {_TIMES} times, on {found.rows:,} rows"
    more = f" (the first {_MOST_SHOWN} of {len(found.columns)})" if len(found.columns) > len(shown) else ""
    return Table(title + more, ("column", "mean", "spread"), rows, (1, 2))
