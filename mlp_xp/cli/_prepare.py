"""What ``mlp-xp train`` learns from: numbers by a recipe, split into rows to train, to validate and to test on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp import data
from mlp_xp.cli._model import digest, first_chunk
from mlp_xp.data import recipe as recipes


class Prepared(NamedTuple):
    """Rows to learn from, to validate on and to test on, by a recipe.

    why: the task is what it is.
    notes: what is worth saying of the data.
    about: what the model remembers of it.
    """

    recipe: recipes.Recipe
    X: NDArray[Any]
    y: NDArray[Any]
    X_held: NDArray[Any] | None
    y_held: NDArray[Any] | None
    X_test: NDArray[Any]
    y_test: NDArray[Any]
    why: str
    notes: list[str]
    about: dict[str, Any]

    @property
    def rows(self) -> str:
        """How many there are of each."""
        held = 0 if self.X_held is None else len(self.X_held)
        return f"{len(self.X):,} rows to train on, {held:,} to validate, {len(self.X_test):,} to test"


def prepare(values: dict[str, Any]) -> Prepared:
    source = data.open_data(values["data"], values["category"])
    chunk = first_chunk(source)
    recipe, why = recipes.learn(
        source, chunk, values["target"], values["task"], values["missing"], values["drop"], values["category"]
    )
    X, y = recipe.rows(source.where, chunk, dropping=True)
    assert y is not None
    about: dict[str, Any]
    kept: NDArray[Any]
    seed, classifies = values["seed"], recipe.task == "classification"
    y = y if classifies else y.astype(np.float64)
    if len(X) < 2:
        raise ValueError(f"{source.where} must have at least 2 rows, to train on some and test on others, got {len(X)}")
    if source.test is not None:
        test = first_chunk(source.test)
        X_test, y_test = recipe.rows(source.test.where, test)
        assert y_test is not None
        kept, about = np.arange(len(X)), {"own_test_set": True}
        if classifies and not np.isin(y_test, np.unique(y)).all():
            raise ValueError(f"{source.test.where} must hold classes of the training set, got {y_test.max()} besides")
    else:
        kept, out = data.hold_out(values["test_fraction"], seed, len(X), y if classifies else None)
        X_test, y_test = X[out], y[out]
        about = {"split": {"share": values["test_fraction"], "seed": seed, "digest": digest(y)}}
    held: NDArray[np.intp] = np.empty(0, dtype=np.intp)
    spare = len(np.unique(y[kept])) < len(kept) if classifies else len(kept) > 2
    if values["validation_fraction"] and values["solver"] != "lbfgs" and spare:  # lbfgs has no epochs to judge
        inner, outer = data.hold_out(
            _share(values["validation_fraction"]), seed + 1, len(kept), y[kept] if classifies else None
        )
        kept, held = kept[inner], kept[outer]
    if values["standardise"]:
        recipe = recipe.learn_scale(X[kept], y[kept], of_target=values["loss"] != "poisson")
    about |= {"name": values["data"], "rows": len(X) + (len(X_test) if "own_test_set" in about else 0),
              "trained": len(kept), "validated": len(held), "tested": len(X_test)}  # fmt: skip
    dtype = np.dtype(values["dtype"])

    def ready(rows: NDArray[Any]) -> Any:
        return recipe.standardise(X[rows]).astype(dtype)

    def scaled(rows: NDArray[Any]) -> Any:
        return y[rows] if classifies else (y[rows] - recipe.y_mean) / recipe.y_scale

    return Prepared(
        recipe, ready(kept), scaled(kept), ready(held) if len(held) else None, scaled(held) if len(held) else None,
        X_test, y_test if classifies else y_test.astype(np.float64), why, _constant(recipe, X[kept]), about,
    )  # fmt: skip


def _share(value: float) -> float:
    if not 0.0 <= value < 1.0:
        raise ValueError(f"validation_fraction must be at least 0 and below 1, got {value}")
    return value


def _constant(recipe: recipes.Recipe, X: NDArray[Any]) -> list[str]:
    """A sentence on columns that say nothing."""
    if recipe.image_shape is not None:
        return []
    constant = np.flatnonzero(np.nanmin(X, axis=0) == np.nanmax(X, axis=0)) if len(X) else np.empty(0, dtype=int)
    names = [repr(recipe.names[i]) if recipe.names else str(i) for i in constant]
    if not names:
        return []
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return [f"the same in every training row, so of no use: column{'s' if len(names) > 1 else ''} {listed}"]
