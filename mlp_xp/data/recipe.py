"""How a model turns rows into numbers: columns, categories and target, kept in the file of the model.

A ``Recipe`` is learned from the training rows and applied to all later ones: rows of a source -> X (n, d_in).

Before: ``tables`` and ``arrays`` read the rows. Next: ``cli`` saves a recipe with each model.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mlp_xp.data import tables
from mlp_xp.data.source import Chunk, Source

_FEW = 20  # up to so many different whole numbers are classes, however few rows there are


class Recipe(NamedTuple):
    """How rows become numbers.

    task: "classification" or "regression".
    target: the name of the target column; None for arrays.
    columns: the columns of a table, with their categories; None for arrays.
    names: names of the columns of X; empty where they have none.
    width: the number of columns of X.
    missing: what to do with a missing value: "refuse" it, "drop" its row, or "fill" in the mean.
    fill: that mean of each column of X, with "fill"; else empty.
    image_shape: (height, width) when the columns are pixels.
    """

    task: str
    target: str | None
    columns: tuple[Any, ...] | None
    names: tuple[str, ...]
    width: int
    missing: str = "refuse"
    fill: tuple[float, ...] = ()
    image_shape: tuple[int, int] | None = None

    def rows(
        self, where: str, chunk: Chunk, dropping: bool = False, labelled: bool = True
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """X (n, d_in), and the targets (n,), None where there are none.

        Args:
            where: the name of the data in an error.
            chunk: rows of the source.
            dropping: whether rows with missing values may be dropped; a prediction needs every row.
            labelled: whether the targets are wanted.

        Returns:
            X, NaN where a value is missing that ``filled`` will fill in; and the targets.

        Raises:
            ValueError: for other columns than those learned from, and for a missing value that is to be refused.
        """
        if self.columns is None:
            if not isinstance(chunk.X, np.ndarray):
                raise ValueError(f"{where} must hold arrays, as what the model was trained on did, got a table")
            if chunk.X.shape[1] != self.width:
                raise ValueError(f"{where} must have rows of {self.width} numbers, got {chunk.X.shape[1]}")
            return chunk.X, self._targets(where, chunk) if labelled else None
        if isinstance(chunk.X, np.ndarray):
            raise ValueError(f"{where} must be a table with the columns that the model was trained on, got arrays")
        texts = [column.name for column in self.columns if column.categories is not None]
        chunk = chunk._replace(X=tables.guessed(chunk.X, texts))
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
        names = [column.name for column in self.columns or () for _ in column.names]
        times = int(np.isnan(X[:, place]).sum())
        missing = f"row {first + row + 1}, column {names[place]!r} is missing (in {times:,} rows of this column)"
        remedy = "--missing fill puts the mean there, --missing drop leaves such rows out"
        raise ValueError(f"{where}: {missing}; {remedy}")

    def _targets(self, where: str, chunk: Chunk) -> NDArray[Any] | None:
        """The targets (n,) as float64, int64 or texts; None where there are none."""
        if isinstance(chunk.X, np.ndarray):
            return None if chunk.y is None else tidy(where, chunk.y)
        if self.target is None:
            return None
        tables.check_named("the target", where, chunk.X.columns, self.target)
        column = chunk.X[self.target]
        missing = column.isna().to_numpy()
        if missing.any():
            row = int(np.argmax(missing))
            place = f"row {chunk.first + row + 1}, column {self.target!r}, the target,"
            raise ValueError(f"{where}: {place} is missing; --missing drop leaves such rows out")
        if self.task == "regression":
            return tables.as_numbers(where, self.target, column, chunk.first)
        return tidy(where, column.to_numpy())

    def learn_fill(self, X: NDArray[Any]) -> Self:
        """The recipe with the mean of each column of these rows, X (n, d_in), where missing values are filled in."""
        if self.missing != "fill":
            return self
        return self._replace(fill=tuple(np.nan_to_num(np.nanmean(X, axis=0, dtype=float)).tolist()))

    def filled(self, X: NDArray[Any]) -> NDArray[Any]:
        """X, the mean of its column in place of a missing value."""
        return np.where(np.isnan(X), np.asarray(self.fill, dtype=X.dtype), X) if self.fill else X

    def as_notes(self) -> dict[str, Any]:
        """The recipe as numbers, strings, lists and dicts."""
        columns = None if self.columns is None else [list(column) for column in self.columns]
        return {**self._asdict(), "columns": columns}

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> Self:
        """The recipe of which ``as_notes`` made these notes; what they say besides is of ``scales_in``."""
        known: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in notes.items()}
        if known.get("missing") == "fill" and "fill" not in known:
            known["fill"] = known.get("mean") or (0.0,) * known["width"]
        recipe = cls(**{key: each for key, each in known.items() if key in cls._fields})
        if recipe.columns is None:
            return recipe
        columns = [tables.Column(name, None if each is None else tuple(each)) for name, each in recipe.columns]
        return recipe._replace(columns=tuple(columns))


def scales_in(notes: Mapping[str, Any]) -> tuple[NDArray[Any], ...] | None:
    """Mean and scale of X, (width,), and those of y, (1,), which the recipes of models up to 0.1.0 held; else None."""
    if not notes.get("scale"):
        return None
    ofs = [np.broadcast_to(np.asarray(notes[key], dtype=float), (notes["width"],)) for key in ("mean", "scale")]
    if notes["task"] != "regression":
        return tuple(ofs)
    return *ofs, np.asarray([notes["y_mean"]]), np.asarray([notes["y_scale"]])


def plain_recipe(width: int, task: str) -> Recipe:
    """The recipe of a model that was trained without one: rows are taken as they are."""
    return Recipe(task, None, None, (), width)


class Wanted(NamedTuple):
    """The user's choices about the data; the data decides the rest.

    target: the column to learn; by default the one that the data names, else the last.
    task: "classification" or "regression"; by default inferred from the target.
    missing: what to do with a missing value: "refuse", "drop" or "fill".
    drop: columns to leave out.
    categories: columns of numbers that are categories.
    """

    target: str | None = None
    task: str | None = None
    missing: str = "refuse"
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


def learn(source: Source, chunk: Chunk, wanted: Wanted) -> tuple[Recipe, str]:
    """The recipe of a source, still without scales, and the reason for its task.

    Args:
        source: where the rows are from.
        chunk: all of its rows.
        wanted: what the user says about them.

    Raises:
        ValueError: for columns that do not exist, a target that can't be learned, and text among numbers.
    """
    if isinstance(chunk.X, np.ndarray):
        return _learn_arrays(source, chunk, wanted)
    where, frame = source.where, tables.guessed(chunk.X, wanted.categories)
    target = wanted.target or source.target or str(frame.columns[-1])
    for option, names in (("the target", (target,)), ("--drop", wanted.drop), ("--category", wanted.categories)):
        for name in names:
            tables.check_named(option, where, frame.columns, name)
    columns = tuple(tables.learn_columns(where, frame, target, wanted.drop, wanted.categories))
    known = frame[target].dropna()
    if not len(known):
        raise ValueError(f"{where}: the target {target!r} must have a value, it is missing in all rows")
    task, reason = infer_task(f"the target {target!r}", tidy(where, known.to_numpy()), wanted.task)
    names = tuple(name for column in columns for name in column.names)
    return Recipe(task, target, columns, names, len(names), wanted.missing), reason


def _learn_arrays(source: Source, chunk: Chunk, wanted: Wanted) -> tuple[Recipe, str]:
    where = source.where
    if wanted.target is not None or wanted.drop or wanted.categories:
        raise ValueError(f"--target, --drop and --category name columns of a table, {where} has none")
    if chunk.y is None:
        raise ValueError(f"{where} must hold y beside X to be trained on")
    task, reason = infer_task("the target", tidy(where, chunk.y), wanted.task)
    names, width = source.columns or (), chunk.X.shape[1]
    return Recipe(task, None, None, names, width, wanted.missing, image_shape=source.image_shape), reason


def tidy(where: str, y: NDArray[Any]) -> NDArray[Any]:
    """Targets (n,) as int64 if all are whole numbers, as float64 if they are other numbers, else as texts.

    Raises:
        ValueError: for complex numbers, NaN and infinities.
    """
    if y.dtype.kind == "c":
        raise ValueError(f"{where}: the target must be numbers or texts, got {y.dtype}")
    if y.dtype.kind not in "iuf":
        return np.asarray([str(value) for value in y])
    if y.dtype.kind in "iu":
        return y.astype(np.int64)
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise ValueError(f"{where}: the target must be finite, got {y[row]} in row {row + 1}")
    return y.astype(np.int64) if (y == np.floor(y)).all() and np.abs(y).max(initial=0) < 2**53 else y.astype(np.float64)


def infer_task(what: str, y: NDArray[Any], task: str | None) -> tuple[str, str]:
    """The task for targets ``y`` (n,), and the reason.

    Args:
        what: the name of the target in a sentence.
        y: as ``tidy`` returns them.
        task: the task that the user wants; None to infer it.

    Raises:
        ValueError: for targets that don't fit the task, and for fewer than two different ones.
    """
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
