"""What a model has to know of its data to read more of it: columns, categories, target, scales. Kept in its file.

Learned from the rows that are trained on, applied to every row after: rows of any source -> X (n, d_in), standardised.

Before: ``data`` and ``tables`` read the rows. Next: ``cli`` keeps a recipe with each model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mlp_xp.data import tables
from mlp_xp.data.source import Chunk, Source

_FEW = 20  # so many different whole numbers are classes, however few rows there are


class Recipe(NamedTuple):
    """How rows become numbers.

    task: "classification" or "regression".
    target: the name of the column that is learned; None for arrays.
    columns: of a table, with their categories; None for arrays.
    names: of the columns of X; empty where they have none.
    width: of X.
    missing: what to do about a missing value: refuse it, drop its row, or fill in the mean.
    mean, scale: of each column of X, or one for all: ``(x - mean) / scale``; empty for no standardisation.
    y_mean, y_scale: of the target of a regression.
    image_shape: (height, width) when the columns are pixels.
    """

    task: str
    target: str | None
    columns: tuple[Any, ...] | None
    names: tuple[str, ...]
    width: int
    missing: str = "refuse"
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    y_mean: float = 0.0
    y_scale: float = 1.0
    image_shape: tuple[int, int] | None = None

    def rows(
        self, where: str, chunk: Chunk, dropping: bool = False, labelled: bool = True
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """X (n, d_in) as it is written, NaN where a value is missing and shall be filled in; and the targets, if any.

        Args:
            where: what the data is called in an error.
            chunk: of the source.
            dropping: whether rows may be left out; to predict there must be as many as came.
            labelled: whether the targets are wanted.
        """
        if self.columns is None:
            if not isinstance(chunk.X, np.ndarray):
                raise ValueError(f"{where} must hold arrays, as what the model was trained on did, got a table")
            if chunk.X.shape[1] != self.width:
                raise ValueError(f"{where} must have rows of {self.width} numbers, got {chunk.X.shape[1]}")
            return chunk.X, self._targets(where, chunk) if labelled else None
        if isinstance(chunk.X, np.ndarray):
            raise ValueError(f"{where} must be a table with the columns that the model was trained on, got arrays")
        X = tables.encode(where, self.columns, chunk.X, chunk.first)
        missing = np.isnan(X).any(axis=1)
        if dropping and self.missing == "drop":
            if self.target in chunk.X.columns:
                missing |= chunk.X[self.target].isna().to_numpy()
            X, chunk = X[~missing], chunk._replace(X=chunk.X[~missing])
        elif missing.any() and self.missing != "fill":
            self._refuse_missing(where, X, chunk.first)
        return X, self._targets(where, chunk) if labelled else None

    def _refuse_missing(self, where: str, X: NDArray[Any], first: int) -> None:
        row, place = np.argwhere(np.isnan(X))[0]
        names = [column.name for column in self.columns or () for _ in range(column.width)]
        times = int(np.isnan(X[:, place]).sum())
        raise ValueError(
            f"{where}: row {first + row + 1}, column {names[place]!r} is missing (in {times:,} rows of this column); "
            "--missing fill puts the mean there, --missing drop leaves such rows out"
        )

    def _targets(self, where: str, chunk: Chunk) -> NDArray[Any] | None:
        """The targets as they are written: numbers, whole numbers or texts; None where there are none."""
        if isinstance(chunk.X, np.ndarray):
            return None if chunk.y is None else tidy(where, chunk.y)
        if self.target is None:
            return None
        tables.check_named("the target", where, chunk.X.columns, self.target)
        column = chunk.X[self.target]
        missing = column.isna().to_numpy()
        if missing.any():
            row = int(np.argmax(missing))
            raise ValueError(
                f"{where}: row {chunk.first + row + 1}, column {self.target!r}, the target, is missing; "
                "--missing drop leaves such rows out"
            )
        if self.task == "regression":
            return tables.as_numbers(where, self.target, column, chunk.first)
        return tidy(where, column.to_numpy())

    def learn_scale(self, X: NDArray[Any], y: NDArray[Any], of_target: bool) -> Self:
        """The same recipe with mean and standard deviation of these rows; of pixels one for all of them."""
        if self.image_shape is not None:
            mean, scale = np.mean(X, keepdims=True, dtype=float)[0], np.std(X, keepdims=True, dtype=float)[0]
        else:
            mean, scale = np.nanmean(X, axis=0, dtype=float), np.nanstd(X, axis=0, dtype=float)
        # a column that is the same in every row: rounding makes its deviation small, not 0
        constant = ~(scale > 10 * np.finfo(float).eps * np.abs(mean))
        scale = np.where(constant, 1.0, scale)
        found = self._replace(mean=tuple(map(float, np.nan_to_num(mean))), scale=tuple(map(float, scale)))
        if of_target and self.task == "regression":
            found = found._replace(y_mean=float(np.mean(y)), y_scale=float(np.std(y)) or 1.0)
        return found

    def standardise(self, X: NDArray[Any]) -> NDArray[Any]:
        """``(X - mean) / scale``; what is missing becomes the mean, 0."""
        if self.mean:
            X = (X - np.asarray(self.mean, dtype=X.dtype)) / np.asarray(self.scale, dtype=X.dtype)
        return np.nan_to_num(X, copy=False, nan=0.0) if self.missing == "fill" else X

    def unscale(self, y: NDArray[Any]) -> NDArray[Any]:
        """Outputs of the network in the units of the target."""
        return y * self.y_scale + self.y_mean if self.task == "regression" else y

    def as_notes(self) -> dict[str, Any]:
        """As numbers, strings, lists and dicts."""
        columns = None if self.columns is None else [list(column) for column in self.columns]
        return {**self._asdict(), "columns": columns}

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> Self:
        """What ``as_notes`` made."""
        columns = notes["columns"]
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in notes.items()
        }
        if columns is not None:
            known["columns"] = tuple(tables.Column(name, None if c is None else tuple(c)) for name, c in columns)
        return cls(**known)


def plain_recipe(width: int, task: str) -> Recipe:
    """Of a model that was trained elsewhere: rows are taken as they are."""
    return Recipe(task, None, None, (), width)


def learn(
    source: Source, chunk: Chunk, target: str | None, task: str | None, missing: str, drop: tuple[str, ...],
    categories: tuple[str, ...],
) -> tuple[Recipe, str]:  # fmt: skip
    """The recipe of all rows but for the scales, and why it is this task."""
    where = source.where
    if isinstance(chunk.X, np.ndarray):
        if target is not None or drop or categories:
            raise ValueError(f"--target, --drop and --category name columns of a table, {where} has none")
        if chunk.y is None:
            raise ValueError(f"{where} must hold y beside X to be trained on")
        y = tidy(where, chunk.y)
        chosen, why = infer_task("the target", y, task)
        return Recipe(chosen, None, None, source.columns or (), chunk.X.shape[1], missing,
                      image_shape=source.image_shape), why  # fmt: skip
    frame = chunk.X
    target = target or source.target or str(frame.columns[-1])
    tables.check_named("the target", where, frame.columns, target)
    for option, names in (("--drop", drop), ("--category", categories)):
        for name in names:
            tables.check_named(option, where, frame.columns, name)
    columns = tuple(tables.learn_columns(where, frame, target, drop, categories))
    there = frame[target].dropna()
    if not len(there):
        raise ValueError(f"{where}: the target {target!r} must have a value, it is missing in all rows")
    chosen, why = infer_task(f"the target {target!r}", tidy(where, there.to_numpy()), task)
    names = tuple(
        column.name if category is None else f"{column.name}={category}"
        for column in columns
        for category in (column.categories if column.categories is not None else (None,))
    )
    return Recipe(chosen, target, columns, names, len(names), missing), why


def tidy(where: str, y: NDArray[Any]) -> NDArray[Any]:
    """Targets as int64 where they are whole numbers, as float64 where not, as texts otherwise."""
    if y.dtype.kind == "b" or y.dtype.kind not in "iuf":
        if y.dtype.kind == "c":
            raise ValueError(f"{where}: the target must be numbers or texts, got {y.dtype}")
        return np.asarray([str(value) for value in y])
    if y.dtype.kind in "iu":
        return y.astype(np.int64)
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise ValueError(f"{where}: the target must be finite, got {y[row]} in row {row + 1}")
    return y.astype(np.int64) if (y == np.floor(y)).all() and np.abs(y).max(initial=0) < 2**53 else y.astype(np.float64)


def infer_task(what: str, y: NDArray[Any], task: str | None) -> tuple[str, str]:
    """What kind of target ``y`` is, and the sentence that says why."""
    kinds = len(np.unique(y))
    if y.dtype.kind == "U":
        found, why = "classification", f"{what} holds {kinds} different texts"
    elif y.dtype.kind == "f":
        found, why = "regression", f"{what} holds numbers with fractions"
    elif kinds <= max(_FEW, math.isqrt(len(y))):
        found, why = "classification", f"{what} holds {kinds} different whole numbers"
    else:
        found, why = "regression", f"{what} holds {kinds:,} different numbers"
    if task is not None:
        found, why = task, f"{what}, as --task says"
    if found == "regression" and y.dtype.kind == "U":
        raise ValueError(f"{what} must hold numbers for a regression, got {y[0]!r}")
    if kinds < 2:
        of = "classes" if found == "classification" else "values"
        raise ValueError(f"{what} must have at least 2 different {of}, got only {y[0]} in all {len(y):,} rows")
    if found == "classification" and y.dtype.kind == "f":
        raise ValueError(f"{what} must hold whole numbers or texts for a classification, got {y[y != np.floor(y)][0]}")
    return found, why
