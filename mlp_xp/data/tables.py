"""What the columns of a table hold, and how they become numbers.

A ``Column`` describes how one column becomes numbers: its name, and its categories if it has any. Errors count rows
from 1, without the header.

Next: ``recipe`` keeps the columns with a model.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp._lib.arguments import one_of
from mlp_xp._lib.moved import renamed

_MOST_CATEGORIES = 1000  # a column with more is an identifier or free text
_NUMERIC_SHARE = 0.5  # a column of text holds numbers, with mistakes among them, if more of it reads as numbers
_MOST_LISTED = 8  # names in an error


class Column(NamedTuple):
    """A column of features: numbers, or one of ``categories``, each of which becomes a column of 0 and 1."""

    name: str
    categories: tuple[str, ...] | None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of X that it becomes: ``name``, or ``name=category`` for each category."""
        return (self.name,) if self.categories is None else tuple(f"{self.name}={each}" for each in self.categories)


# --- names of version 0.1.0 --------------------------------------------------------------------------------------

__getattr__ = renamed(__name__, {"open_table": "mlp_xp.data.open_data", "from_openml": "mlp_xp.data.typed.from_openml"})


# --- columns -----------------------------------------------------------------------------------------------------


def check_named(kind: str, where: str, names: Iterable[str], name: str) -> None:
    """Raise ``ValueError`` unless ``name`` is one of the columns ``names``; the error offers the nearest."""
    known = [str(each) for each in names]
    if name not in known:
        raise ValueError(f"{where}: {kind} must be a column, {one_of(known, name, most=_MOST_LISTED)}")


def guessed(frame: Any, texts: Iterable[str] = ()) -> Any:
    """A frame whose columns of text become numbers where they all read as such; "" and the like become missing.

    ``texts`` are the columns that stay text.
    """
    import pandas as pd

    columns = {}
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_string_dtype(column) and not isinstance(column.dtype, pd.CategoricalDtype):
            column = column.where(~column.isin(_MISSING))
            numbers = None if name in texts else pd.to_numeric(column, errors="coerce")
            column = numbers if numbers is not None and (numbers.notna() == column.notna()).all() else column
        columns[name] = column
    return pd.DataFrame(columns)


_MISSING = ("", "NA", "N/A", "nan", "NaN", "null", "NULL", "None")


def learn_columns(where: str, frame: Any, target: str, drop: Iterable[str], categories: Iterable[str]) -> list[Column]:
    """A ``Column`` for each feature of a table; columns of text become categories.

    Args:
        where: the name of the data in an error.
        frame: all rows.
        target: the column that is no feature.
        drop: columns to leave out.
        categories: columns of numbers that are categories.

    Raises:
        ValueError: for a column with too many categories, or with neither numbers nor text; for no column at all.
    """
    columns = []
    for name in frame.columns:
        if name == target or name in drop:
            continue
        column, values = frame[name], None
        if name in categories or not _holds_numbers(where, name, column):
            values = tuple(sorted({str(value) for value in column.dropna().unique()}))
            if len(values) > _MOST_CATEGORIES:
                many = f"{len(values):,} different values, too many for categories (at most {_MOST_CATEGORIES:,})"
                raise ValueError(f"{where}: column {name!r} has {many}; leave it out with --drop {name!r}")
        columns.append(Column(str(name), values))
    if not any(column.names for column in columns):
        raise ValueError(f"{where} must have a column besides the target {target!r}, got none with a value")
    return columns


def _holds_numbers(where: str, name: str, column: Any) -> bool:
    import pandas as pd

    kinds = pd.api.types
    if kinds.is_bool_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype):
        return False
    if kinds.is_numeric_dtype(column) or not column.notna().any():
        return True
    if not (kinds.is_object_dtype(column) or kinds.is_string_dtype(column)):
        wrong = f"column {name!r} must hold numbers or text, got {column.dtype}"
        raise ValueError(f"{where}: {wrong}; leave it out with --drop {name!r}")
    texts = column.dropna().astype(str)
    return bool(pd.to_numeric(texts, errors="coerce").notna().mean() > _NUMERIC_SHARE)


def as_numbers(where: str, name: str, column: Any, first: int) -> NDArray[np.float64]:
    """A column as numbers (n,), NaN for a missing value; ``first`` is the number of rows before these."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        numbers: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        there = column.notna().to_numpy()
        text = column.astype(str)
        numbers = pd.to_numeric(text.where(there), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = there & np.isnan(numbers)
        if wrong.any():
            row = int(np.argmax(wrong))
            remedy = f"--category {name!r} takes all of it for categories"
            got = f"must be a number, got {text.iloc[row]!r}"
            raise ValueError(f"{where}: row {first + row + 1}, column {name!r} {got}; {remedy}")
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise ValueError(f"{where}: row {first + row + 1}, column {name!r} must be finite, got {numbers[row]}")
    return numbers


def encode(where: str, columns: Sequence[Column], frame: Any, first: int) -> NDArray[np.float64]:
    """A data frame as numbers (n, d_in), NaN for a missing value.

    Args:
        where: the name of the data in an error.
        columns: how each column becomes numbers.
        frame: the rows.
        first: the number of rows before these.

    Raises:
        ValueError: for a column that is missing, a text that is no number, or an unknown category.
    """
    for column in columns:
        check_named("what the model was trained on", where, frame.columns, column.name)
    X = np.empty((len(frame), sum(len(column.names) for column in columns)))
    low = 0
    for column in columns:
        values = frame[column.name]
        if column.categories is None:
            X[:, low] = as_numbers(where, column.name, values, first)
        else:
            there = values.notna().to_numpy()
            text = values.astype(str).to_numpy(dtype=object)
            position = {category: number for number, category in enumerate(column.categories)}
            codes = np.asarray([position.get(each, -1) for each in text])
            unknown = there & (codes < 0)
            if unknown.any():
                row = int(np.argmax(unknown))
                known = one_of(column.categories, text[row], most=_MOST_LISTED)
                raise ValueError(f"{where}: row {first + row + 1}, column {column.name!r} must be {known}")
            X[:, low : low + len(position)] = codes[:, None] == np.arange(len(position))
            X[~there, low : low + len(position)] = np.nan
        low += len(column.names)
    return X
