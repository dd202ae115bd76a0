"""The data of ``mlp-xp train``: looked at, then read as numbers and split: rows to learn from, to watch, to test on.

``look`` learns how each column becomes numbers; ``prepare`` reads the rows by that.
"""

import warnings
from collections.abc import Container, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from mlp_xp._lib.namespace import spans
from mlp_xp._lib.wording import listed, readable
from mlp_xp.cli import _memory
from mlp_xp.cli._model import check_range, digest, kept_in
from mlp_xp.cli._options import AUTO, PRESET_TEXTS, USUAL
from mlp_xp.cli._together import read_once, told
from mlp_xp.data import Chunk, Reading, Source, hold_out, open_data
from mlp_xp.data import recipe as recipes
from mlp_xp.estimators.scaling import Moments, joined
from mlp_xp.parameters import FULL_BATCH, PRESETS, preset_for
from mlp_xp.ranks import ALONE, Ranks
from mlp_xp.train import Dataset
from mlp_xp.train import source as sources

_LOOKED_AT = 2**22  # numbers of many rows that are in memory at a time
_LEAST = 1000  # rows, at least, from which what is filled in is learned


class Look(NamedTuple):
    """Data before it is read as numbers: where it is from, and what was learned of its columns."""

    source: Source
    learned: recipes.Learned

    @property
    def notes(self) -> list[str]:
        """What was found, a sentence each."""
        return [*self.source.notes, *self.learned.notes]


class Rows(NamedTuple):
    """Rows X (n, d_in) and their targets y (n,) as a recipe reads them: NaN where a value is to be filled in.

    X is an array, or a source where there are many rows, see ``_memory.are_many``.
    """

    X: Any
    y: NDArray[Any]

    def some(self, numbers: NDArray[Any]) -> Self:
        """Those of these numbers."""
        X = sources.Rows(self.X, self.X.dtype, numbers=numbers) if sources.is_source(self.X) else self.X[numbers]
        return self._replace(X=X, y=self.y[numbers])


class Split(NamedTuple):
    """The rows of one fit, by their numbers: to learn from, to watch each epoch on, to test on."""

    trained: NDArray[Any]
    validated: NDArray[Any]
    tested: NDArray[Any]


class Data(NamedTuple):
    """The rows of a training run, on the host.

    recipe: how rows become numbers; what is filled in is learned by each fit, from its own rows.
    classes: the labels; None for a regression.
    rows: all that a fit may learn from, X in the dtype of the run.
    splits: one, or one for each fold of a cross-validation.
    test: the rows that are tested, those of all folds one after the other; or a test set that the data brings along.
    reason: why the task is a classification or a regression.
    notes: sentences about how rows were split and numbers were rounded.
    about: what the model's file says about the data.
    ranks: which learn from these rows together; rank 0 alone has rows of a test set that the data brings along.
    """

    recipe: recipes.Recipe
    classes: NDArray[Any] | None
    rows: Rows
    splits: tuple[Split, ...]
    test: Rows
    reason: str
    notes: tuple[str, ...]
    about: dict[str, Any]
    ranks: Ranks = ALONE

    @property
    def counts(self) -> str:
        """How many rows there are of each kind."""
        about = self.about
        if folds := about.get("folds"):
            return f"{about['rows']:,} rows in {folds} folds, each of which tests what the others teach"
        watched = f"{about['validated']:,} to validate, " if about["validated"] else ""
        return f"{about['trained']:,} rows to train on, {watched}{about['tested']:,} to test"

    @property
    def outputs(self) -> int:
        """How many outputs a network for the target has; two classes take one."""
        return 1 if self.classes is None or len(self.classes) == 2 else len(self.classes)

    def tested_by(self, number: int) -> Rows:
        """The rows that the fit of this number is tested on."""
        if "own_test_set" in self.about:
            return self.test
        return self.rows.some(self.splits[number].tested)

    def recipe_of(self, number: int | None) -> recipes.Recipe:
        """The recipe with what the fit of this number learns from its rows, or from all: what is filled in, and bins.

        Of many rows they are learned from some, drawn at random; of ranks by the first.
        """
        return told(self.ranks, lambda: self._recipe_of(number))

    def _recipe_of(self, number: int | None) -> recipes.Recipe:
        X, rows = self.rows.X, None if number is None else self.splits[number].trained
        if not sources.is_source(X):
            return self.recipe.learn_fill(X if rows is None else X[rows])
        n = X.shape[0] if rows is None else len(rows)
        most = min(n, max(_LEAST, _LOOKED_AT // X.shape[1]))
        drawn = np.sort(np.random.default_rng(0).choice(n, most, replace=False, shuffle=False))
        return self.recipe.learn_fill(X[drawn if rows is None else rows[drawn]])

    def filled(self, recipe: recipes.Recipe, rows: NDArray[Any] | None = None) -> Dataset:
        """Some of the rows, by default all, with what ``recipe`` has learned to fill in."""
        X, y = self.rows if rows is None else self.rows.some(rows)  # all of them without a copy
        if sources.is_source(X):
            return Dataset(sources.Rows(X, X.dtype, recipe.filled, width=recipe.width), y)
        return Dataset(recipe.filled(X), y)


def look(data: str, wanted: recipes.Wanted, reading: Reading, ranks: Ranks = ALONE) -> Look:
    """Open the data of this name, and learn how its columns become numbers; of ranks the first learns it for all."""
    source = cast(Source, open_data(data, reading) if ranks.rank == 0 else None)
    found = told(ranks, lambda: Look(_opened_later(source, data, reading), recipes.learn(source, wanted)))
    return found if source is None else found._replace(source=source)


def _opened_later(source: Source, data: str, reading: Reading) -> Source:
    """The source as another rank has it, which opens the data where it reads its rows."""
    test = source.test and source.test._replace(chunks=partial(_chunks_of, data, reading, True))
    return source._replace(chunks=partial(_chunks_of, data, reading, False), test=test)


def _chunks_of(data: str, reading: Reading, of_test: bool, rows: int | None) -> Iterator[Chunk]:
    source = open_data(data, reading)  # what is temporary stays as long as the source
    yield from cast(Source, source.test if of_test else source).chunks(rows)


def wanted_of(options: dict[str, Any]) -> recipes.Wanted:
    """What the options of ``train`` say about the data."""
    return recipes.Wanted(
        options["target"], options["task"], options["missing"], options["drop"], options["category"],
        options["unknown"], "plain" if options["numbers"] == "auto" else options["numbers"],
    )  # fmt: skip


def with_preset(found: Look, options: dict[str, Any], given: Container[str]) -> tuple[dict[str, Any], list[str]]:
    """The options with those of the preset that fits the number of rows, where none was chosen; a sentence about it.

    Args:
        found: the data.
        options: of ``train``, by their names.
        given: the names of those that the user gave, which stay.
    """
    if options["preset"] != AUTO:
        return options, []
    tested = 1.0 / options["cv"] if options["cv"] else options["test_fraction"]
    learned_from = round(found.learned.rows * (1.0 - (tested if found.source.test is None else 0.0)))
    preset = preset_for(learned_from)
    if PRESETS[preset].get("folds") and (
        any(name in given for name in ("ensemble", "folds", "early_stopping", "validation_fraction"))
        or options["solver"] in FULL_BATCH
    ):
        preset = USUAL
    if preset == USUAL:
        return options, []
    of_preset = {name: value for name, value in PRESETS[preset].items() if value != PRESETS[USUAL].get(name)}
    options = {**options, "preset": preset, **{name: of_preset[name] for name in of_preset if name not in given}}
    chosen = f"preset {preset}, for about {learned_from:,} rows to learn from"
    return options, [f"{chosen}: {PRESET_TEXTS[preset]}; --preset decides otherwise"]


def prepare(found: Look, options: dict[str, Any], ranks: Ranks = ALONE) -> Data:
    """Read the rows as numbers, and split them; of ranks one of each machine reads them for all.

    Raises:
        ValueError: for rows that do not fit in memory, for too few, and for what a recipe refuses.
    """
    (source, learned), dtype, cv = found, kept_in(options["dtype"]), options["cv"]
    recipe = learned.recipe
    in_steps = options["backend"] == "numpy" and options["solver"] not in FULL_BATCH and not options.get("folds")
    many = _memory.are_many(source.where, learned.rows, recipe, dtype, in_steps)
    rows = _read(source, recipe, dtype, learned.rows if many or ranks.size > 1 else None, ranks)
    rows = rows._replace(X=_memory.rows_in(rows.X)) if many else rows
    n = len(rows.y)
    if n < 2:
        raise ValueError(f"{source.where} must have at least 2 rows, to train on some and test on others, got {n}")
    labels = rows.y if recipe.task == "classification" else None
    about: dict[str, Any] = {"name": options["data"], "rows": n}
    about |= {"left_out": {each.name: each.why for each in learned.columns if each.taken_for == "left out"}}
    if cv and source.test is not None:
        raise ValueError(f"{source.where} has test rows of its own: --cv, which splits the rows itself, goes without")
    if cv:
        kept_and_out = _folds(source.where, cv, options["seed"], n, labels)
        about |= {"split": {"share": 0.0, "seed": options["seed"], "digest": digest(rows.y)}, "folds": cv}
    elif source.test is not None:
        kept_and_out, own = [(np.arange(n), np.arange(0))], rows.some(np.arange(0))
        own = _own_test_rows(recipe, source.test, labels, dtype) if ranks.rank == 0 else own
        about |= {"own_test_set": True, "rows": n + len(own.y)}
    else:
        kept_and_out = [hold_out(options["test_fraction"], options["seed"], n, labels, source.where)]
        about |= {"split": {"share": options["test_fraction"], "seed": options["seed"], "digest": digest(rows.y)}}
    splits = tuple([Split(*_split_validation(options, labels, kept), out) for kept, out in kept_and_out])
    if many:  # rows that follow each other in a file are read together
        splits = tuple([Split(*map(np.sort, split)) for split in splits])
    tested = np.concatenate([split.tested for split in splits])
    test = own if source.test is not None else rows.some(tested if ranks.rank == 0 else tested[:0])
    first = splits[0]
    about |= {"trained": len(first.trained), "validated": len(first.validated), "tested": len(test.y)}
    size = n * recipe.raw_width * np.dtype(dtype).itemsize
    notes = [f"{readable(size, 'B')} of numbers are kept in a temporary file"] if many else []
    notes += _notes_of_validation(options, first)
    notes += _notes_of_numbers(recipe, rows.X, first.trained, dtype) if ranks.rank == 0 else []
    notes += _notes_of_folds(labels) if cv else []
    classes = None if labels is None else np.unique(labels)
    return Data(recipe, classes, rows, splits, test, learned.reason, tuple(notes), about, ranks)


def in_folds(data: Data, count: int, options: dict[str, Any]) -> Data:
    """The same data, whose rows but the test rows are split into folds, each of which tests what the others teach."""
    first, labels = data.splits[0], None if data.classes is None else data.rows.y
    kept = np.concatenate([first.trained, first.validated])
    of_kept = _folds(data.about["name"], count, options["seed"], len(kept), None if labels is None else labels[kept])
    splits = (Split(*_split_validation(options, labels, kept[inner]), kept[outer]) for inner, outer in of_kept)
    about = {name: value for name, value in data.about.items() if name != "own_test_set"}
    return data._replace(splits=tuple(splits), about=about)


def _read(source: Source, recipe: recipes.Recipe, dtype: str, most: int | None = None, ranks: Ranks = ALONE) -> Rows:
    """All rows of a source as numbers: in memory, or up to ``most`` of them in a file, which is that of all ranks."""

    def read(path: Path | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        into = None if most is None else _memory.in_file(source.where, most, recipe.raw_width, dtype, path)
        with np.errstate(over="ignore"):  # what overflows has a sentence
            encoded = recipes.read(source, recipe, np.dtype(dtype), into)
        assert encoded.y is not None  # a recipe with a target raises where a source has none
        check_range(source.where, recipe, encoded, dtype)
        return encoded.X, encoded.y

    X, y = read() if ranks.size == 1 else read_once(ranks, read)
    return Rows(np.asarray(X), y)


def _own_test_rows(recipe: recipes.Recipe, source: Source, labels: NDArray[Any] | None, dtype: str) -> Rows:
    """The test rows that the data brings along."""
    test = _read(source, recipe, dtype)
    if labels is not None and len(unknown := np.setdiff1d(test.y, labels)):
        raise ValueError(f"{source.where} must hold classes of the training set, got {unknown[0]} besides")
    return test


# --- splits ------------------------------------------------------------------------------------------------------


def watches(options: dict[str, Any]) -> bool:
    """Whether rows are held out from the whole fit, for early stopping to watch.

    Folds of an ensemble are held out from one member each, and a solver of all rows has no epochs to watch.
    """
    return bool(
        options["early_stopping"]
        and options["validation_fraction"]
        and options["solver"] not in FULL_BATCH
        and not options.get("folds")
    )


def _split_validation(
    options: dict[str, Any], labels: NDArray[Any] | None, kept: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Split the rows ``kept`` into those to train on and those to watch each epoch on, if some can be spared."""
    share, labels = options["validation_fraction"], None if labels is None else labels[kept]
    needed = 2 if labels is None else len(np.unique(labels))
    if not 0.0 <= share < 1.0:
        raise ValueError(f"validation_fraction must be at least 0 and below 1, got {share}")
    if not watches(options) or len(kept) <= needed:
        return kept, kept[:0]
    inner, outer = hold_out(share, options["seed"] + 1, len(kept), labels)
    return kept[inner], kept[outer]


def _folds(
    where: str, count: int, seed: int, n: int, labels: NDArray[Any] | None
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """For each fold which rows the others have, and which it has: about the same share of each label."""
    from sklearn.model_selection import KFold, StratifiedKFold

    most = n if labels is None else int(np.unique(labels, return_counts=True)[1].max())
    of = "" if labels is None else " of one class"
    if most < 2:
        raise ValueError(f"{where}: cross-validation needs at least 2 rows{of} to learn from and to test, got {most}")
    if count > most:
        raise ValueError(f"{where}: --cv must be at most {most}, as many rows{of} as there are, got {count}")
    if labels is None:
        return list(KFold(count, shuffle=True, random_state=seed).split(np.empty(n)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer rows than folds is not in each fold
        folds = StratifiedKFold(count, shuffle=True, random_state=seed).split(np.empty(n), labels)
        parts = [out[~_alone(labels)[out]] for _, out in folds]
    return [(np.setdiff1d(np.arange(n), out), out) for out in parts]


def _alone(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows are the only ones of their class: every fit must learn from these."""
    _, place, times = np.unique(labels, return_inverse=True, return_counts=True)
    alone: NDArray[np.bool_] = times[place] == 1
    return alone


# --- notes -------------------------------------------------------------------------------------------------------

_FEW = 30  # rows, on which the score of an epoch says little


def _notes_of_validation(options: dict[str, Any], split: Split) -> list[str]:
    """A sentence where early stopping was wanted and too few rows can be watched, or none."""
    if not watches(options):
        return []
    if not len(split.validated):
        return ["too few rows to hold some out for validation: the training loss decides when to stop"]
    if len(split.validated) < _FEW:
        count = len(split.validated)
        few = f"only {count} row{'s tell' if count > 1 else ' tells'} when to stop"
        return [f"{few}: --validation-fraction holds out more, --no-early-stopping none"]
    return []


def _notes_of_folds(labels: NDArray[Any] | None) -> list[str]:
    """A sentence where cross-validation can't test a class, or none."""
    if labels is None or not _alone(labels).any():
        return []
    alone = labels[_alone(labels)]
    classes = f"class{'es' if len(alone) > 1 else ''} {listed([repr(each.item()) for each in alone], 4)}"
    ha, it = ("have", "they are") if len(alone) > 1 else ("has", "it is")
    return [f"{classes} {ha} one row: {it} learned from in each fold, and never tested"]


# How much of a column's deviation may be lost in the dtype of the run before it is worth a sentence.
_NOTICED = 1e-3


def _notes_of_numbers(recipe: recipes.Recipe, X: Any, trained: NDArray[Any], dtype: str) -> list[str]:
    """A sentence about the columns that the dtype rounds, and of arrays about those that are the same in every row.

    Of a table, ``recipe`` leaves such columns out, and says so.
    """
    if recipe.image_shape:
        return []
    notes = []
    low, high, spread = _range_of(X, trained)
    with np.errstate(over="ignore", invalid="ignore"):
        gap = np.spacing(np.maximum(np.abs(low), np.abs(high)))
    if recipe.columns is None and (found := _columns(recipe, low == high)):
        notes.append(f"the same in every training row, so of no use: {found}")
    if dtype == "float32" and (found := _columns(recipe, (low != high) & (0.5 * gap > _NOTICED * spread))):
        notes.append(f"varies too little beside its size for {dtype}, so is rounded: {found}; --dtype float64 keeps it")
    return notes


def _range_of(X: Any, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """The least and the largest number of each column in these rows, and their standard deviation; without NaN."""
    width = X.shape[1]
    low, high = np.full(width, np.inf, X.dtype), np.full(width, -np.inf, X.dtype)
    moments = None
    with np.errstate(over="ignore", invalid="ignore"):  # the deviation of numbers that are large in size
        for part in spans(len(rows), width, _LOOKED_AT // 4):
            own = X[rows[part]]
            low, high = np.fmin(low, np.fmin.reduce(own, axis=0)), np.fmax(high, np.fmax.reduce(own, axis=0))
            known = ~np.isnan(own)
            count = np.maximum(known.sum(axis=0), 1)
            mean = np.sum(own, axis=0, dtype=np.float64, where=known) / count
            square = np.sum((own - mean) ** 2, axis=0, where=known) / count
            moments = joined(moments, Moments(known.sum(axis=0), mean, np.sqrt(square), False))
    return low, high, np.zeros(width) if moments is None else moments.deviation


def _columns(recipe: recipes.Recipe, chosen: NDArray[Any]) -> str:
    """``columns 'a', 'b'``: the names of those that are chosen, or their numbers; "" for none."""
    names = [repr(recipe.names[i]) if recipe.names else str(i) for i in np.flatnonzero(chosen)]
    return f"column{'s' if len(names) > 1 else ''} {listed(names, 4)}" if names else ""
