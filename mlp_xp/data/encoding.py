"""``Column``, how a column of a table becomes columns of X, and the functions that make them.

Before: ``cells`` gives a column of some rows one of three forms. Next: ``columns`` decides how each column of a
table is encoded, ``recipe`` keeps that with a model. Errors count rows from 1, without the header.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp._lib.arguments import did_you_mean, one_of
from mlp_xp.data.cells import Cells, cells_of
from mlp_xp.data.values import (
    COMPACT,
    ISO,
    TRUTHS,
    category_key,
    dates_in,
    example_of,
    formats_in,
    is_missing,
    is_number,
    numbers_in,
    other_order,
    without_unit,
)

_MOST_LISTED = 8  # names in an error

CYCLES = {"month": 12.0, "weekday": 7.0, "hour": 24.0}
"""Calendar parts -> how many there are until they begin again; each becomes a sine and a cosine."""


class Column(NamedTuple):
    """A column of features.

    name: its name in the table.
    categories: each becomes a column of 0 and 1; None for numbers, truth values and dates.
    kind: "" for numbers and categories, "truth", or "date".
    form: how a date is written.
    decimal: the decimal mark of its numbers; "" for that of the whole file.
    origin: a date becomes a number of days since this day, itself counted from 1970.
    parts: the parts of ``CYCLES`` that a date becomes besides.
    rare: categories that were seen too rarely to be learned from and share one column of 0 and 1.
    missing: whether a column of 0 and 1 says that the value is missing.
    unit: what stands behind its numbers, such as "kg"; "" for nothing.
    """

    name: str
    categories: tuple[str, ...] | None
    kind: str = ""
    form: str = ""
    decimal: str = ""
    origin: int = 0
    parts: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    missing: bool = False
    unit: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of X that it becomes: ``name``, or ``name=category`` for each category."""
        missing = (f"{self.name} missing",) if self.missing else ()
        if self.kind == "date":
            parts = (f"{self.name} {part} {wave}" for part in self.parts for wave in ("sin", "cos"))
            return (f"{self.name} days", *parts, *missing)
        if self.categories is None:
            return (self.name, *missing)
        other = (f"{self.name} other",) if self.rare else ()
        return (*(f"{self.name}={each}" for each in self.categories), *other, *missing)


class Manner(NamedTuple):
    """What holds for all columns of a file.

    decimal: the decimal mark of numbers in texts.
    missing: texts that stand for a missing value, besides the usual ones.
    unknown: what to do with a category that the training did not have: "level" or "refuse".
    """

    decimal: str = "."
    missing: tuple[str, ...] = ()
    unknown: str = "refuse"


class Place(NamedTuple):
    """Where the cells of a column are, for an error: the data, the column, and the number of each row before it."""

    where: str
    name: str
    rows: NDArray[np.int64]

    def cell(self, row: int) -> str:
        """``a.csv: row 3, column 'x'``."""
        return f"{self.where}: row {self.rows[row] + 1}, column {self.name!r}"


class Filled(NamedTuple):
    """What rows of a column had that is not as in the training.

    unknown: how many had an unknown category.
    missing: how many had a missing value that has no column of its own.
    style: how one of the dates is read, where they are written in another style; "" elsewhere.
    """

    unknown: int = 0
    missing: int = 0
    style: str = ""


def check_named(kind: str, where: str, names: Iterable[str], name: str) -> None:
    """Raise ``ValueError`` unless ``name`` is one of the columns ``names``; the error offers the nearest."""
    known = [str(each) for each in names]
    if name not in known:
        raise ValueError(f"{where}: {kind} must be a column, {one_of(known, name, most=_MOST_LISTED)}")


def as_numbers(where: str, name: str, column: Any, first: int) -> NDArray[np.float64]:
    """A column as numbers (n,), NaN for a missing value; ``first`` is the number of rows before these."""
    place = Place(where, name, np.arange(first, first + len(column)))
    return numbers_of(place, cells_of(f"{where}: column {name!r}", column), ".")


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
    X = np.empty((len(frame), sum(len(column.names) for column in columns)))
    encode_into(X, where, columns, frame, np.arange(first, first + len(frame)), Manner())
    return X


def encode_into(
    X: NDArray[Any], where: str, columns: Sequence[Column], frame: Any, rows: NDArray[np.int64], manner: Manner
) -> dict[str, Filled]:
    """Write a data frame as numbers into ``X`` (n, d_in), NaN where a value is missing that is filled in later.

    Args:
        X: where the numbers go.
        where: the name of the data in an error.
        columns: how each column becomes numbers.
        frame: the rows.
        rows: the number of each row in the data, from 0.
        manner: what holds for all columns.

    Returns:
        How many unknown categories and missing values each column has.

    Raises:
        ValueError: as ``encode`` does.
    """
    there = set(map(str, frame.columns))
    for column in columns:
        if column.name not in there:
            shown = ", ".join(map(repr, list(frame.columns)[:_MOST_LISTED]))
            more = ", ..." if len(there) > _MOST_LISTED else did_you_mean(column.name, there)
            if any(map(is_number, there)) and not there & {each.name for each in columns}:
                more = f"{more}; --no-header takes that for a row, and the columns for those of the training in order"
            trained = f"the column {column.name!r}, which the model was trained on"
            raise ValueError(f"{where} must have {trained}; it has {shown}{more}")
    found, low = {}, 0
    for column in columns:
        place, decimal = Place(where, column.name, rows), column.decimal or manner.decimal
        cells = cells_of(f"{where}: column {column.name!r}", frame[column.name], decimal, manner.missing)
        part = X[:, low : low + len(column.names)]
        write = _write_categories if column.categories is not None else _write_date if column.kind else _write_numbers
        found[column.name] = write(part, column, place, cells, manner)
        low += len(column.names)
    return found


def _write_numbers(X: NDArray[Any], column: Column, place: Place, cells: Cells, manner: Manner) -> Filled:
    numbers = numbers_of(place, cells, column.decimal or manner.decimal, column.unit)
    with np.errstate(over="ignore"):  # what overflows in the dtype of X is refused later, with the other values
        X[:, 0] = numbers
    return _mark_missing(X, column, np.isnan(numbers))


def _mark_missing(X: NDArray[Any], column: Column, missing: NDArray[np.bool_]) -> Filled:
    """Write the column of X that says which values are missing, if there is one; and count them."""
    if column.missing:
        X[:, -1] = missing
    return Filled(missing=int(missing.sum()))


def numbers_of(place: Place, cells: Cells, decimal: str, unit: str = "") -> NDArray[np.float64]:
    """Cells as finite numbers (n,), NaN for a missing value; TRUE is 1 and FALSE is 0, and 70.1 kg is 70.1.

    Raises:
        ValueError: for a text that says neither a number nor that there is none, and for infinity.
    """
    if cells.numbers is not None:
        numbers = cells.numbers
    else:
        cells = cells.as_texts()
        values = numbers_in(without_unit(cells.texts, unit), decimal)
        for position in np.flatnonzero(np.isnan(values)):
            if cells.texts[position].lower() in TRUTHS:
                values[position] = TRUTHS.index(cells.texts[position].lower())
        wrong = np.isnan(values) & ~is_missing(cells.texts, among_numbers=True)
        _refuse(place, cells, wrong, "must be a number", decimal)
        numbers = cells.by_row(values, np.nan)
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        text = str(numbers[row]) if cells.codes is None else cells.texts[cells.codes[row]]
        raise ValueError(f"{place.cell(row)} must be finite, got {text}; {as_missing(text)}")
    return numbers


def _refuse(place: Place, cells: Cells, wrong: NDArray[np.bool_], expected: str, decimal: str = "") -> None:
    """Raise for the first row whose text is ``wrong``, if there is one."""
    if not wrong.any():
        return
    rows = cells.by_row(wrong, False)
    if rows.any():
        row = int(np.argmax(rows))
        assert cells.codes is not None
        text, mark = cells.texts[cells.codes[row]], "." if decimal == "," else ","
        said = numbers_in([text], mark)[0] if decimal else np.nan
        cure = as_missing(text) if np.isnan(said) else f"--decimal {mark} reads it as {said:g}"
        raise ValueError(f"{place.cell(row)} {expected}, got {text!r}; {cure}")


def as_missing(text: str) -> str:
    """The end of a sentence about a value that does not fit: ``--na 'three' takes it for a missing value``."""
    return f"--na {text!r} takes it for a missing value"


def _write_date(X: NDArray[Any], column: Column, place: Place, cells: Cells, manner: Manner) -> Filled:
    if column.kind == "truth":
        return _write_numbers(X, column, place, cells, manner)
    moments, style = moments_of(place, cells, column.form)
    days = (moments - np.datetime64(column.origin, "D")) / np.timedelta64(1, "D")
    X[:, 0] = days
    for position, part in enumerate(column.parts):
        angle = calendar_part(moments, part) * (2.0 * np.pi / CYCLES[part])
        X[:, 1 + 2 * position], X[:, 2 + 2 * position] = np.sin(angle), np.cos(angle)
    return _mark_missing(X, column, np.isnat(moments))._replace(style=style)


def moments_of(place: Place, cells: Cells, form: str) -> tuple[NDArray[np.datetime64], str]:
    """Cells as moments (n,), NaT for a missing value; and how one is read, if that is in another style than ``form``.

    Texts are in one form, or as ISO 8601 has them; or all are in another form, if it is the only one that reads them.

    Raises:
        ValueError: for a text that says neither a date nor that there is none.
    """
    if cells.moments is not None:
        return cells.moments, ""
    cells = cells.as_texts()
    moments, missing = dates_in(cells.texts, form), is_missing(cells.texts, among_numbers=True)
    if form != ISO and np.isnat(moments).any():
        moments = np.where(np.isnat(moments), dates_in(cells.texts, ISO), moments)
    style = ""
    if np.isnat(moments).all() and not missing.all():
        moments, style = _in_another_style(place, cells, missing, form)
    _refuse(place, cells, np.isnat(moments) & ~missing, f"must be a date such as {example_of(form)}")
    return cells.by_row(moments, np.datetime64("NaT", "us")), style


def _in_another_style(
    place: Place, cells: Cells, missing: NDArray[np.bool_], form: str
) -> tuple[NDArray[np.datetime64], str]:
    """The moments that texts say in the one form that reads all of them, and how one is read; NaT if none does.

    Raises:
        ValueError: when two forms read different dates. The other order of the training's own form is no other style:
            in rows that were read before, a day below 13 would have been taken for a month.
    """
    texts = [text for text, gone in zip(cells.texts, missing, strict=True) if not gone]
    moments = np.full(len(cells.texts), np.datetime64("NaT", "us"), dtype="datetime64[us]")
    read = {each: dates_in(texts, each) for each in (*formats_in(texts), COMPACT)
            if "%y" not in each and each != other_order(form)}  # fmt: skip
    one, *others = [each for each in read.values() if not np.isnat(each).any()] or [moments[~missing]]
    last = int(np.argmax((one - one.astype("datetime64[M]")).astype(np.int64)))  # its day is no month
    for other in others:
        if (differs := one != other).any():
            row = int(np.argmax(differs))
            may_be = f"which may be {_day(one[row])} or {_day(other[row])}"
            written = f"dates in {place.name!r} that are written as {example_of(form)} leave no doubt"
            raise ValueError(f"{place.where}: column {place.name!r} has the date {texts[row]!r}, {may_be}; {written}")
    moments[~missing] = one
    return moments, "" if np.isnat(one).any() else f"{texts[last]!r} is read as {_day(one[last])}"


def _day(moment: Any) -> str:
    return str(moment.astype("datetime64[D]"))


def calendar_part(moments: NDArray[np.datetime64], part: str) -> NDArray[np.float64]:
    """The month (0 to 11), the day of the week (0 is Monday) or the hour of moments (n,); NaN for NaT."""
    if part == "month":
        months = moments.astype("datetime64[M]").astype(np.int64) % 12
        return np.where(np.isnat(moments), np.nan, months)
    unit, of = ("D", 7) if part == "weekday" else ("h", 24)
    count = moments.astype(f"datetime64[{unit}]").astype(np.int64) + (3 if part == "weekday" else 0)
    return np.where(np.isnat(moments), np.nan, count % of)  # 1970-01-01 was a Thursday


def _write_categories(X: NDArray[Any], column: Column, place: Place, cells: Cells, manner: Manner) -> Filled:
    assert column.categories is not None
    cells, width = cells.as_texts(), len(column.categories)
    spelled: dict[str, int] = {}
    keyed: dict[str, int] = {}
    for position, category in enumerate(column.categories):
        spelled[category] = position
        keyed.setdefault(category_key(category), position)
    for category in column.rare:
        keyed.setdefault(category_key(category), width)
    missing = is_missing(cells.texts)
    codes = np.asarray([spelled.get(text, keyed.get(category_key(text), -1)) for text in cells.texts], dtype=np.int64)
    missing &= codes < 0  # unless it was a category in training
    unknown = (codes < 0) & ~missing
    rows = cells.by_row(unknown, False)
    if manner.unknown == "refuse" and rows.any():
        row = int(np.argmax(rows))
        assert cells.codes is not None
        known = one_of(column.categories, cells.texts[cells.codes[row]], most=_MOST_LISTED)
        raise ValueError(
            f"{place.cell(row)} must be {known}; train or predict with --unknown level takes it for none of them"
        )
    absent = cells.by_row(missing, True)
    if column.rare:
        codes = np.where(unknown, width, codes)
    each = cells.by_row(codes, -1)
    X[...] = each[:, None] == np.arange(X.shape[1])
    if column.missing:
        X[:, -1] = absent
    else:
        X[absent] = np.nan
    return Filled(int(rows.sum()), 0 if column.missing else int(absent.sum()))
