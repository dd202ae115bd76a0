"""Stands in for ``data.recipe`` until that learns a recipe in one pass."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp.data import Source
from mlp_xp.data import recipe as recipes
from mlp_xp.data.recipe import Recipe as Recipe


class Wanted(NamedTuple):
    target: str | None = None
    task: str | None = None
    missing: str = "auto"
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    unknown: str = "level"
    numbers: str = "plain"


class About(NamedTuple):
    name: str
    taken_for: str
    values: int
    distinct: int
    missing: int
    becomes: int
    why: str


class Learned(NamedTuple):
    recipe: Recipe
    reason: str
    notes: tuple[str, ...]
    columns: tuple[About, ...]
    rows: int


class Encoded(NamedTuple):
    X: NDArray[Any]
    y: NDArray[Any] | None
    kept: NDArray[Any]
    unknown: dict[str, int]
    missing: dict[str, int]


def learn(source: Source, wanted: Wanted) -> Learned:
    chunk = source.read()
    missing = {"auto": "fill"}.get(wanted.missing, wanted.missing)
    old = recipes.Wanted(wanted.target, wanted.task, missing, wanted.drop, wanted.categories)
    recipe, reason = recipes.learn(source, chunk, old)
    abouts = []
    for column in recipe.columns or ():
        values = chunk.X[column.name]
        kind = "number" if column.categories is None else f"{len(column.categories)} categories"
        gone = int(values.isna().sum())
        name, width = column.name, len(column.names)
        abouts.append(About(name, kind, len(values) - gone, values.nunique(), gone, width, "it is"))
    return Learned(recipe, reason, (), tuple(abouts), len(chunk.X))


def read(source: Source, recipe: Recipe, dtype: Any) -> Encoded:
    chunk = source.read()
    X, y = recipe.rows(source.where, chunk, dropping=True)
    return Encoded(X.astype(dtype), y, np.arange(len(X)), {}, {})
