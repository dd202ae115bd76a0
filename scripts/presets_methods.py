"""The methods that ``presets`` compares, one in a process: ``python scripts/presets_methods.py METHOD``.

A line on standard input names a file with a table and a split, see ``presets``; the answer is a line of JSON. What the
libraries print goes to standard error. TabM and RealMLP need pytabkit alone, the others mlp_xp and scikit-learn.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import piped

SMALLEST = 1e-7  # a probability that counts: what is 0 in float32 would make a mean infinite


class Cell(NamedTuple):
    """A table and a split.

    numbers: (n, p), NaN where they are missing.
    categories: (n, q) whole numbers from 0; a missing value is a category of its own.
    y: (n,), classes 0, 1, 2, ..., or numbers.
    known, test: which rows are learned from, and which are predicted.
    classes: how many there are; 0 for numbers.
    seed: of the method.
    """

    numbers: Any
    categories: Any
    y: Any
    known: Any
    test: Any
    classes: int
    seed: int


def read(path: str) -> Cell:
    """The cell in a file."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in Cell._fields}
    return Cell(**{**arrays, "classes": int(arrays["classes"]), "seed": int(arrays["seed"])})


# --- columns ---------------------------------------------------------------------------------------------------------


def filled(cell: Cell) -> Any:
    """Numbers without a gap: the median, and a column that says where it is."""
    numbers = cell.numbers
    known = numbers[cell.known]
    kept = ~np.isnan(known).all(axis=0)
    numbers, known = numbers[:, kept], known[:, kept]
    gaps = np.isnan(numbers)
    median = np.nanmedian(known, axis=0) if known.shape[1] else np.zeros(0)
    return np.concatenate([np.where(gaps, median, numbers), gaps[:, gaps[cell.known].any(axis=0)]], axis=1)


def one_hot(cell: Cell) -> Any:
    """A column of 0 and 1 for each category that is known."""
    columns = [np.zeros((len(cell.y), 0))]
    for column in cell.categories.T:
        columns.append((column[:, None] == np.unique(column[cell.known])).astype(float))
    return np.concatenate(columns, axis=1)


# --- methods: (cell) -> (predictions for the test rows, classes of their columns or None) ----------------------------


def preset(name: str | None = None) -> Callable[[Cell], tuple[Any, Any]]:
    """A network of this library, in float32, with a preset, by default the one for so many rows.

    Without folds it learns a second time as ``mlp-xp train`` does: from all rows, for as many epochs as were best.
    """

    def learn(cell: Cell) -> tuple[Any, Any]:
        from mlp_xp.estimators import PRESETS, MLPClassifier, MLPRegressor, preset_for

        kind = MLPClassifier if cell.classes else MLPRegressor
        model: Any = kind(**PRESETS[name or preset_for(len(cell.known))], random_state=cell.seed)
        X = np.concatenate([filled(cell), one_hot(cell)], axis=1).astype(np.float32)
        model.fit(X[cell.known], cell.y[cell.known])
        if not model.folds:
            best = int(np.argmax(model.validation_scores_)) + 1
            model.set_params(early_stopping=False, max_iter=best, n_iter_no_change=math.inf)
            model.fit(X[cell.known], cell.y[cell.known])
        return predicted(model, X[cell.test], cell)

    return learn


def predicted(model: Any, X: Any, cell: Cell) -> tuple[Any, Any]:
    """Probabilities and their classes, or numbers and None."""
    return (model.predict_proba(X), model.classes_) if cell.classes else (np.ravel(model.predict(X)), None)


def mlp(cell: Cell) -> tuple[Any, Any]:
    """scikit-learn's network with its defaults; the numbers and the target of a regression are scaled."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import StandardScaler

    numbers = filled(cell)
    if numbers.shape[1]:
        numbers = StandardScaler().fit(numbers[cell.known]).transform(numbers)
    X = np.concatenate([numbers, one_hot(cell)], axis=1)
    model: Any = MLPClassifier(random_state=cell.seed)
    if not cell.classes:
        model = TransformedTargetRegressor(MLPRegressor(random_state=cell.seed), transformer=StandardScaler())
    return predicted(model.fit(X[cell.known], cell.y[cell.known]), X[cell.test], cell)


def hgb(cell: Cell) -> tuple[Any, Any]:
    """scikit-learn's HistGradientBoosting with its defaults, which takes gaps and categories as they are."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    count = cell.categories.max(axis=0) + 1 if cell.categories.shape[1] else np.zeros(0)
    taken = [False] * cell.numbers.shape[1] + [bool(each <= 255) for each in count]  # it takes at most so many
    X = np.concatenate([cell.numbers, cell.categories.astype(float)], axis=1)
    kind = HistGradientBoostingClassifier if cell.classes else HistGradientBoostingRegressor
    model = kind(random_state=cell.seed, categorical_features=taken).fit(X[cell.known], cell.y[cell.known])
    return predicted(model, X[cell.test], cell)


def peer(name: str, **settings: Any) -> Callable[[Cell], tuple[Any, Any]]:
    """A model of pytabkit with its defaults, which were tuned on many tables, but for ``settings``."""

    def learn(cell: Cell) -> tuple[Any, Any]:
        import pandas as pd

        library: Any = importlib.import_module("pytabkit")
        X = pd.DataFrame(filled(cell)).rename(columns=lambda position: f"n{position}")
        for position, column in enumerate(cell.categories.T):
            X[f"c{position}"] = pd.Series(column).astype(str).astype("category")
        kind = getattr(library, f"{name}_{'Classifier' if cell.classes else 'Regressor'}")
        model = kind(random_state=cell.seed, device="cpu", verbosity=0, **settings)
        model.fit(X.iloc[cell.known], cell.y[cell.known])
        return predicted(model, X.iloc[cell.test], cell)

    return learn


METHODS: dict[str, Callable[[Cell], tuple[Any, Any]]] = {
    "auto": preset(), "best": preset("best"), "mlp": mlp, "hgb": hgb, "tabm": peer("TabM_D", d_block=128),
    "realmlp": peer("RealMLP_TD"),
}  # fmt: skip
PEERS = ("tabm", "realmlp")


# --- an answer -------------------------------------------------------------------------------------------------------


def judged(cell: Cell, learn: Callable[[Cell], tuple[Any, Any]]) -> dict[str, float]:
    """``loss``, the log-loss or the root of the mean square on the test rows; accuracy or R^2; and the seconds."""
    began = time.perf_counter()
    outputs, classes = learn(cell)
    seconds = time.perf_counter() - began
    y, outputs = cell.y[cell.test], np.asarray(outputs, dtype=float)
    if not cell.classes:
        squares = float(np.mean((y - outputs) ** 2))
        return {"loss": squares**0.5, "score": 1.0 - squares / float(np.var(y)), "seconds": seconds}
    p = np.zeros((len(y), cell.classes))
    p[:, np.asarray(classes, dtype=int)] = outputs
    loss = -float(np.mean(np.log(np.maximum(p[np.arange(len(y)), y], SMALLEST))))
    return {"loss": loss, "score": float(np.mean(np.argmax(p, axis=1) == y)), "seconds": seconds}


def main() -> None:
    """Answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    learn = METHODS[sys.argv[1]]
    for line in sys.stdin:
        answers.write(json.dumps(judged(read(line.strip()), learn)) + "\n")
        answers.flush()


if __name__ == "__main__":
    piped.run(main)
