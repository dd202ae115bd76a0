"""What a model does with each column of a table, in words: the second table of ``mlp-xp inspect MODEL``."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from rich.markup import escape

from mlp_xp._lib.wording import count_of, listed
from mlp_xp.cli._output import Table, figure
from mlp_xp.data.encoding import Column
from mlp_xp.data.recipe import Recipe
from mlp_xp.data.source import Reading

_MOST_CATEGORIES = 6
_MOST_COLUMNS = 100


class Use(NamedTuple):
    """What a model does with a column of a table.

    name: the column.
    taken_for: "number", "date", "3 categories: a, b, c", "left out".
    becomes: the number of columns of X.
    missing: what becomes of a missing value.
    new: what becomes of a category that the training did not have; "" for a column without categories.
    """

    name: str
    taken_for: str
    becomes: int
    missing: str
    new: str


def uses(recipe: Recipe, left_out: dict[str, str]) -> list[Use]:
    """What a recipe does with each column that it reads, and why it leaves out others; empty for arrays."""
    if recipe.columns is None:
        return []
    fill, low, found = recipe.fill or (np.nan,) * recipe.width, 0, []
    for column in recipe.columns:
        new = "" if column.categories is None else _new(recipe, column)
        found.append(Use(column.name, _taken_for(column), len(column.names), _missing(recipe, column, fill[low]), new))
        low += len(column.names)
    return [*found, *(Use(name, f"left out: {why}", 0, "", "") for name, why in left_out.items())]


def _taken_for(column: Column) -> str:
    if column.kind == "date":
        return f"date ({column.form}): {', '.join(('days', *column.parts))}"
    if column.kind == "truth":
        return "true or false"
    if column.categories is None:
        return "number" if not column.decimal else f"number with the decimal mark {column.decimal!r}"
    many = len(column.categories)
    rare = f"; {len(column.rare):,} rare ones share a column" if column.rare else ""
    return f"{count_of(many, 'category', 'categories')}: {listed(column.categories, _MOST_CATEGORIES)}{rare}"


def _missing(recipe: Recipe, column: Column, fill: float) -> str:
    if recipe.missing == "refuse":
        return "refused"
    if recipe.missing == "drop":
        return "its row is left out"
    if column.categories is not None:
        own = "a category of its own" if column.missing else "none of the categories"
        return own if recipe.missing == "auto" else "the share of each category"
    named = {"auto": "median", "fill": "mean"}[recipe.missing]
    value = figure(fill) if column.kind != "date" else str(np.datetime64(round(column.origin + fill), "D"))
    return f"the {named}, {value}{', and a column that says so' if column.missing else ''}"


def _new(recipe: Recipe, column: Column) -> str:
    if recipe.unknown == "refuse":
        return "refused"
    return "with the rare ones" if column.rare else "none of the categories"


def uses_table(found: list[Use]) -> Table:
    """The columns of a table, and what becomes of them."""
    rows = [(escape(name), escape(what), f"{becomes:,}" if becomes else "", escape(missing), new)
            for name, what, becomes, missing, new in found[:_MOST_COLUMNS]]  # fmt: skip
    more = f" (the first {_MOST_COLUMNS} of {len(found):,})" if len(found) > _MOST_COLUMNS else ""
    headings = ("column", "taken for", "numbers", "missing", "new category")
    return Table(f"what becomes of each column{more}", headings, rows, (2,))


def reading_line(reading: Reading) -> str:
    """How a text file is read, where the model says it; "" where that is found by looking."""
    said: Iterator[Any] = filter(None, (
        reading.decimal and f"decimal mark {reading.decimal!r}",
        reading.separator and f"separator {reading.separator!r}",
        reading.encoding and f"encoding {reading.encoding}",
        {True: "a header", False: "no header", None: ""}[reading.header],
        reading.missing and f"{', '.join(map(repr, reading.missing))} missing too",
    ))  # fmt: skip
    return ", ".join(said)
