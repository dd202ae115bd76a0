"""The data of ``mlp-xp train``: rows as numbers, split into rows to train, to validate and to test on."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp.cli._model import digest
from mlp_xp.cli._options import reading_of
from mlp_xp.cli._output import listed
from mlp_xp.data import Source, hold_out, open_data
from mlp_xp.data import recipe as recipes
from mlp_xp.parameters import FULL_BATCH
from mlp_xp.train import Dataset


class Rows(NamedTuple):
    """Rows X (n, d_in) and their targets y (n,) as a recipe reads them."""

    X: NDArray[Any]
    y: NDArray[Any]


class Data(NamedTuple):
    """The rows of a training run, on the host.

    recipe: how rows become numbers.
    classes: the labels in the training rows; None for a regression.
    training, validation: datasets to learn from and to evaluate each epoch on, X in the dtype of the run.
    test: rows to score the model on.
    reason: why the task is a classification or a regression.
    notes: sentences about columns of no use.
    about: what the model's file says about the data.
    """

    recipe: recipes.Recipe
    classes: NDArray[Any] | None
    training: Dataset
    validation: Dataset | None
    test: Rows
    reason: str
    notes: list[str]
    about: dict[str, Any]

    @property
    def rows(self) -> str:
        """How many rows there are of each kind."""
        about = self.about
        return f"{about['trained']:,} rows to train on, {about['validated']:,} to validate, {about['tested']:,} to test"

    @property
    def outputs(self) -> int:
        """How many outputs a network for the target has; two classes take one."""
        return 1 if self.classes is None or len(self.classes) == 2 else len(self.classes)


def prepare(options: dict[str, Any]) -> Data:
    """Read the data that the options name, learn its recipe, and split its rows."""
    source = open_data(options["data"], reading_of(options))
    wanted = recipes.Wanted(*(options[name] for name in ("target", "task", "missing", "drop", "category")))
    learned = recipes.learn(source, wanted)
    recipe, reason = learned.recipe, learned.reason
    X, y = _rows(recipe, source)
    if len(X) < 2:
        raise ValueError(f"{source.where} must have at least 2 rows, to train on some and test on others, got {len(X)}")
    labels = y if recipe.task == "classification" else None
    if source.test is None:
        kept, out = hold_out(options["test_fraction"], options["seed"], len(X), labels)
        test = Rows(X[out], y[out])
        split = {"share": options["test_fraction"], "seed": options["seed"], "digest": digest(y)}
        about: dict[str, Any] = {"split": split}
    else:
        kept, test = np.arange(len(X)), _own_test_rows(recipe, source.test, labels)
        about = {"own_test_set": True}
    trained, validated = _split_validation(options, labels, kept)
    recipe = recipe.learn_fill(X[trained])
    about |= {"name": options["data"], "rows": len(X) + (len(test.X) if source.test else 0)}
    about |= {"trained": len(trained), "validated": len(validated), "tested": len(test.X)}

    def dataset(chosen: NDArray[Any]) -> Dataset:
        return Dataset(recipe.filled(X[chosen]).astype(options["dtype"]), y[chosen])

    validation = dataset(validated) if len(validated) else None
    return Data(
        recipe, None if labels is None else np.unique(labels[trained]), dataset(trained), validation, test,
        reason, [*learned.notes, *_notes(recipe, X[trained], options["dtype"])], about,
    )  # fmt: skip


def _rows(recipe: recipes.Recipe, source: Source) -> Rows:
    encoded = recipes.read(source, recipe)
    assert encoded.y is not None  # a recipe with a target raises where a source has none
    return Rows(encoded.X, encoded.y)


def _own_test_rows(recipe: recipes.Recipe, source: Source, labels: NDArray[Any] | None) -> Rows:
    """The test rows that the data brings along."""
    test = _rows(recipe, source)
    if labels is not None and len(unknown := np.setdiff1d(test.y, labels)):
        raise ValueError(f"{source.where} must hold classes of the training set, got {unknown[0]} besides")
    return test


def _split_validation(
    options: dict[str, Any], labels: NDArray[Any] | None, kept: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Split the rows ``kept`` into those to train on and those to evaluate each epoch on, if some can be spared."""
    share, labels = options["validation_fraction"], None if labels is None else labels[kept]
    needed = 2 if labels is None else len(np.unique(labels))
    if not share or options["solver"] in FULL_BATCH or len(kept) <= needed:  # without epochs to evaluate
        return kept, kept[:0]
    if not 0.0 <= share < 1.0:
        raise ValueError(f"validation_fraction must be at least 0 and below 1, got {share}")
    inner, outer = hold_out(share, options["seed"] + 1, len(kept), labels)
    return kept[inner], kept[outer]


# How much of a column's deviation may be lost in the dtype of the run before it is worth a sentence.
_NOTICED = 1e-3


def _notes(recipe: recipes.Recipe, X: NDArray[Any], dtype: str) -> list[str]:
    """A sentence about the columns that are the same in every row, and one about those that the dtype rounds."""
    if recipe.image_shape:
        return []
    notes = []
    same = np.nanmin(X, axis=0) == np.nanmax(X, axis=0)
    if found := _columns(recipe, same):
        notes.append(f"the same in every training row, so of no use: {found}")
    with np.errstate(over="ignore"):  # what overflows is refused later
        lost = np.nanmax(np.abs(X - X.astype(dtype)), axis=0)
    if found := _columns(recipe, ~same & (lost > _NOTICED * np.nanstd(X, axis=0))):
        notes.append(f"varies too little beside its size for {dtype}, so is rounded: {found}; --dtype float64 keeps it")
    return notes


def _columns(recipe: recipes.Recipe, chosen: NDArray[Any]) -> str:
    """``columns 'a', 'b'``: the names of those that are chosen, or their numbers; "" for none."""
    names = [repr(recipe.names[i]) if recipe.names else str(i) for i in np.flatnonzero(chosen)]
    return f"column{'s' if len(names) > 1 else ''} {listed(names, 4)}" if names else ""
