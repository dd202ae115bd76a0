"""The data of ``mlp-xp train``: rows as numbers, split into rows to train, to validate and to test on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp.cli._model import digest
from mlp_xp.data import Source, hold_out, open_data
from mlp_xp.data import recipe as recipes
from mlp_xp.train import Dataset


class Rows(NamedTuple):
    """Rows X (n, d_in) and their targets y (n,) as a recipe reads them."""

    X: NDArray[Any]
    y: NDArray[Any]


class Data(NamedTuple):
    """The rows of a training run, on the host.

    recipe: how rows become numbers.
    classes: the labels in the training rows; None for a regression.
    training, validation: datasets to learn from and to evaluate each epoch on: X standardised, in the dtype of the run,
        y labels or standardised numbers.
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
        validated = 0 if self.validation is None else self.validation.X.shape[0]
        counts = f"{self.training.X.shape[0]:,} rows to train on, {validated:,} to validate"
        return f"{counts}, {len(self.test.X):,} to test"


def prepare(options: dict[str, Any]) -> Data:
    """Read the data that the options name, learn its recipe, and split its rows."""
    source = open_data(options["data"], options["category"])
    chunk = source.read()
    wanted = recipes.Wanted(
        options["target"], options["task"], options["missing"], options["drop"], options["category"]
    )
    recipe, reason = recipes.learn(source, chunk, wanted)
    X, y = recipe.rows(source.where, chunk, dropping=True)
    rows = _rows(recipe, X, y)
    if len(X) < 2:
        raise ValueError(f"{source.where} must have at least 2 rows, to train on some and test on others, got {len(X)}")
    kept, test, about = _split_test(options, source, recipe, rows)
    trained, validated = _split_validation(options, recipe, rows.y, kept)
    X, y = rows
    if options["standardise"]:
        recipe = recipe.learn_scale(X[trained], y[trained], of_target=options["loss"] != "poisson")
    about = {
        **about, "name": options["data"], "rows": len(X) + (len(test.X) if source.test else 0),
        "trained": len(trained), "validated": len(validated), "tested": len(test.X),
    }  # fmt: skip

    def standardised(chosen: NDArray[Any]) -> Dataset:
        return Dataset(recipe.standardise(X[chosen]).astype(options["dtype"]), recipe.scale_target(y[chosen]))

    validation = standardised(validated) if len(validated) else None
    return Data(
        recipe, np.unique(y[trained]) if recipe.task == "classification" else None, standardised(trained), validation,
        test, reason, _constant(recipe, X[trained]), about,
    )  # fmt: skip


def _rows(recipe: recipes.Recipe, X: NDArray[Any], y: NDArray[Any] | None) -> Rows:
    assert y is not None  # a recipe with a target raises where a source has none
    return Rows(X, y if recipe.task == "classification" else y.astype(np.float64))


def _split_test(
    options: dict[str, Any], source: Source, recipe: recipes.Recipe, data: Rows
) -> tuple[NDArray[Any], Rows, dict[str, Any]]:
    """Which rows are left to train on, the test rows, and how they were found.

    The test rows are those that the data brings along, else a share of its rows.
    """
    classes = data.y if recipe.task == "classification" else None
    if source.test is None:
        kept, out = hold_out(options["test_fraction"], options["seed"], len(data.X), classes)
        split = {"share": options["test_fraction"], "seed": options["seed"], "digest": digest(data.y)}
        return kept, Rows(data.X[out], data.y[out]), {"split": split}
    test = _rows(recipe, *recipe.rows(source.test.where, source.test.read()))
    if classes is not None and len(unknown := np.setdiff1d(test.y, classes)):
        raise ValueError(f"{source.test.where} must hold classes of the training set, got {unknown[0]} besides")
    return np.arange(len(data.X)), test, {"own_test_set": True}


def _split_validation(
    options: dict[str, Any], recipe: recipes.Recipe, y: NDArray[Any], kept: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Split the rows ``kept`` into those to train on and those to evaluate each epoch on, if some can be spared."""
    share, classifies = options["validation_fraction"], recipe.task == "classification"
    spare = len(np.unique(y[kept])) < len(kept) if classifies else len(kept) > 2
    if not share or options["solver"] == "lbfgs" or not spare:  # lbfgs has no epochs to evaluate
        return kept, kept[:0]
    if not 0.0 <= share < 1.0:
        raise ValueError(f"validation_fraction must be at least 0 and below 1, got {share}")
    inner, outer = hold_out(share, options["seed"] + 1, len(kept), y[kept] if classifies else None)
    return kept[inner], kept[outer]


def _constant(recipe: recipes.Recipe, X: NDArray[Any]) -> list[str]:
    """A sentence about the columns that are the same in every row."""
    if recipe.image_shape is not None:
        return []
    constant = np.flatnonzero(np.nanmin(X, axis=0) == np.nanmax(X, axis=0))
    names = [repr(recipe.names[i]) if recipe.names else str(i) for i in constant]
    if not names:
        return []
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return [f"the same in every training row, so of no use: column{'s' if len(names) > 1 else ''} {listed}"]
