"""``Tally``, a column summed up: how many numbers, dates and missing values it holds, and which different values.

Tallies of consecutive rows are added up, so a table is looked at a chunk at a time, and nothing depends on where a
chunk ends.

Before: ``cells`` gives a column one of three forms. Next: ``columns`` decides from its tally what a column holds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp.data.cells import Cells, plain_text
from mlp_xp.data.encoding import CYCLES, calendar_part
from mlp_xp.data.values import (
    COMPACT,
    ISO,
    category_key,
    currency_of,
    dates_in,
    formats_in,
    is_missing,
    is_padded,
    is_plain,
    measured,
    numbers_in,
)

_DAYS = (1900_01_01, 2100_12_31)  # whole numbers between may be dates
_MOST_UNITS = 20  # more are no units


class Cell(NamedTuple):
    """A value and the number of its row, from 0."""

    row: int
    value: str


class Dates(NamedTuple):
    """What a column holds when it is read in one form of dates.

    rows: how many are such dates.
    low, high: the earliest and the latest day, counted from 1970.
    parts: for each of ``CYCLES`` and for the day of the month, which values occur, as the bits of a number.
    odd: the first value that is no such date.
    """

    rows: int = 0
    low: int = 0
    high: int = 0
    parts: tuple[int, ...] = (0,) * (len(CYCLES) + 1)
    odd: Cell | None = None


class Unit(NamedTuple):
    """The values of a column that are numbers with one unit, such as ``70.1 kg``, or one currency.

    rows: how many are no number but without the unit; 0 for a currency.
    first: the first of the values.
    fraction: the first of their numbers that is not whole.
    spaced: whether a blank stands before the unit.
    """

    rows: int
    first: str
    fraction: float | None = None
    spaced: bool = False


class Tally(NamedTuple):
    """What is known of a column after some of its rows.

    rows: how many.
    missing: missing in every column.
    dashes: missing if the column holds numbers or dates.
    numbers: values that read as numbers.
    padded: whole numbers among them that begin with a needless zero.
    dressed: the first that is more than a plain number, such as $1,234.50.
    odd: the first value that is no number.
    infinite: the first that is infinite.
    fraction: the first number that is not whole.
    repeated: whether a number is there twice, as far as chunks show it.
    start: the number that row 0 has if the column counts the rows; None if it does not.
    dates: what the column holds as dates, for each form that reads some of it.
    values: value -> how often, in the order in which they came; None if there are more than a limit.
    nominal: whether the file says that these are categories.
    units: the currencies of the numbers, and the units of what reads as a number without them; None if there are many.
    """

    rows: int = 0
    missing: int = 0
    dashes: int = 0
    numbers: int = 0
    padded: int = 0
    dressed: Cell | None = None
    odd: Cell | None = None
    infinite: Cell | None = None
    fraction: float | None = None
    repeated: bool = False
    start: float | None = None
    dates: Mapping[str, Dates] = {}
    values: Mapping[str | float, int] | None = {}
    nominal: bool = False
    units: Mapping[str, Unit] | None = {}

    @property
    def known(self) -> int:
        """How many values there are if the column holds numbers or dates."""
        return self.rows - self.missing - self.dashes

    @property
    def distinct(self) -> int | None:
        """How many different categories there are; None if there are more than the limit."""
        if self.values is None or all(isinstance(value, float) for value in self.values):
            return None if self.values is None else len(self.values)
        return len(keys_of(self.values))

    @property
    def distinct_numbers(self) -> int | None:
        """How many different values there are if the column holds numbers or dates; None for more than the limit."""
        if self.values is None or not self.dashes:
            return self.distinct
        return int((~is_missing([*keys_of(self.values)], among_numbers=True)).sum())


def look(before: Tally, cells: Cells, decimal: str = ".", limit: int = 10_000) -> Tally:
    """The tally of a column after some more of its rows.

    Args:
        before: of the rows before.
        cells: the rows that follow.
        decimal: the decimal mark of numbers in texts.
        limit: of more different values than this the values are not kept.
    """
    if cells.numbers is not None:
        found = _look_at_numbers(before, cells.numbers, limit)
    elif cells.moments is not None:
        found = _look_at_moments(before, cells.moments, limit)
    else:
        found = _look_at_texts(before, cells, decimal)
    return _together(before, found, limit)


def _together(a: Tally, b: Tally, limit: int) -> Tally:
    """The tally of two parts of a column, one below the other."""
    if not a.rows:
        return b._replace(values=None if b.values is None or len(b.values) > limit else b.values)
    values = None
    if a.values is not None and b.values is not None:
        values = dict(a.values)
        for value, times in b.values.items():
            values[value] = values.get(value, 0) + times
    return Tally(
        a.rows + b.rows, a.missing + b.missing, a.dashes + b.dashes, a.numbers + b.numbers, a.padded + b.padded,
        a.dressed or b.dressed, a.odd or b.odd, a.infinite or b.infinite,
        b.fraction if a.fraction is None else a.fraction,
        a.repeated or b.repeated, a.start if a.start == b.start else None,
        {form: _dates_together(a, b, form) for form in {**a.dates, **b.dates}},
        None if values is None or len(values) > limit else values, a.nominal or b.nominal,
        _units_together(a.units, b.units),
    )  # fmt: skip


def _units_together(a: Mapping[str, Unit] | None, b: Mapping[str, Unit] | None) -> Mapping[str, Unit] | None:
    if a is None or b is None:
        return None
    units = {**a, **b}
    for unit in a.keys() & b.keys():
        x, y = a[unit], b[unit]
        fraction = y.fraction if x.fraction is None else x.fraction
        units[unit] = Unit(x.rows + y.rows, x.first, fraction, x.spaced or y.spaced)
    return units if len(units) <= _MOST_UNITS else None


def _dates_together(a: Tally, b: Tally, form: str) -> Dates:
    x, y = (tally.dates.get(form, Dates(odd=tally.odd)) for tally in (a, b))
    if not x.rows or not y.rows:
        return (x if x.rows else y)._replace(odd=x.odd or y.odd)
    parts = tuple(one | other for one, other in zip(x.parts, y.parts, strict=True))
    return Dates(x.rows + y.rows, min(x.low, y.low), max(x.high, y.high), parts, x.odd or y.odd)


def _look_at_numbers(before: Tally, numbers: NDArray[np.float64], limit: int) -> Tally:
    import pandas as pd

    first, n = before.rows, len(numbers)
    absent, infinite = np.isnan(numbers), np.isinf(numbers)
    missing = int(absent.sum())
    known = numbers[~absent] if missing else numbers
    fractions = known[known != np.floor(known)]
    values: dict[str | float, int] | None = None
    repeated = before.repeated
    if before.values is not None or not (repeated or len(fractions)):
        codes, different = pd.factorize(known)
        repeated = len(different) < len(known)
        if len(different) <= limit:
            values = dict(zip(different.tolist(), np.bincount(codes, minlength=len(different)).tolist(), strict=True))
    row = int(np.argmax(infinite))
    return Tally(
        n, missing, numbers=len(known), fraction=float(fractions[0]) if len(fractions) else None,
        repeated=repeated, values=values,
        infinite=Cell(first + row, str(numbers[row])) if infinite.any() else None,
        start=_start(numbers, first), dates={} if len(fractions) else _compact(known),
    )  # fmt: skip


def _start(numbers: NDArray[np.float64], first: int) -> float | None:
    """The number of row 0 if numbers (n,), the first of which is in row ``first``, count the rows; else None."""
    counts = len(numbers) and bool((numbers == numbers[0] + np.arange(len(numbers))).all())
    return float(numbers[0]) - first if counts else None


def _compact(numbers: NDArray[np.float64], times: NDArray[np.int64] | None = None) -> dict[str, Dates]:
    """What whole numbers such as 20200131 are as dates, if all of them are; each is there so many ``times``."""
    import pandas as pd

    if not len(numbers) or numbers.min() < _DAYS[0] or numbers.max() > _DAYS[1]:
        return {}
    codes, different = pd.factorize(numbers)
    moments = dates_in(list(map(plain_text, different.tolist())), COMPACT)
    if np.isnat(moments).any():
        return {}
    return {COMPACT: _dates(moments[codes], np.ones_like(codes) if times is None else times)}


def _look_at_moments(before: Tally, moments: NDArray[np.datetime64], limit: int) -> Tally:
    import pandas as pd

    absent = np.isnat(moments)
    known, row = moments[~absent], int(np.argmin(absent))
    values: dict[str | float, int] | None = None
    if before.values is not None:
        codes, different = pd.factorize(known)
        if len(different) <= limit:
            texts = Cells(moments=different).as_texts().texts
            values = dict(zip(texts, np.bincount(codes, minlength=len(different)).tolist(), strict=True))
    return Tally(
        len(moments), int(absent.sum()), odd=Cell(before.rows + row, str(moments[row])) if len(known) else None,
        dates={ISO: _dates(known, np.ones(len(known), dtype=np.int64))}, values=values,
    )  # fmt: skip


def _dates(moments: NDArray[np.datetime64], times: NDArray[Any]) -> Dates:
    """What moments are as dates, each of which is there so many ``times``."""
    there = ~np.isnat(moments) & (times > 0)
    if not there.any():
        return Dates()
    moments, times = moments[there], times[there]
    days = moments.astype("datetime64[D]")
    in_month = (days - days.astype("datetime64[M]")).astype(np.int64)
    parts = [_bits(calendar_part(moments, part).astype(np.int64)) for part in CYCLES]
    return Dates(int(times.sum()), int(days.min().astype(int)), int(days.max().astype(int)), (*parts, _bits(in_month)))


def _bits(values: NDArray[np.int64]) -> int:
    return sum(1 << int(value) for value in np.unique(values))


def _look_at_texts(before: Tally, cells: Cells, decimal: str) -> Tally:
    import pyarrow as pa

    texts, codes, first = cells.texts, cells.codes, before.rows
    assert codes is not None
    times = np.bincount(codes[codes >= 0], minlength=len(texts))
    array = pa.array(texts, type=pa.large_string())
    numbers = numbers_in(array, decimal)
    is_number = ~np.isnan(numbers)
    missing, among_numbers, others = np.zeros_like(is_number), np.zeros_like(is_number), np.flatnonzero(~is_number)
    missing[others] = is_missing([texts[place] for place in others])
    among_numbers[others] = is_missing([texts[place] for place in others], among_numbers=True)
    odd = ~(is_number | among_numbers)
    dressed = is_number & ~is_plain(array, decimal)
    there = numbers[is_number & (times > 0)]
    fractions = there[there != np.floor(there)]
    dates = _dates_of_texts(before, cells, times, odd, among_numbers)
    if not len(fractions):
        dates |= _compact(there, times[is_number & (times > 0)])
    return Tally(
        len(codes), int((codes < 0).sum() + times[missing].sum()), int(times[among_numbers & ~missing].sum()),
        int(times[is_number].sum()), int(times[is_number & is_padded(array)].sum()),
        _first(cells, dressed, first), _first(cells, odd, first),
        _first(cells, np.isinf(numbers), first), float(fractions[0]) if len(fractions) else None,
        bool((times[is_number] > 1).any()),
        _start(cells.by_row(numbers, np.nan), first) if is_number.all() else None, dates,
        {text: int(count) for text, count, gone in zip(texts, times, missing, strict=True) if count and not gone},
        cells.nominal, _units(texts, times, dressed, odd, decimal),
    )  # fmt: skip


def _units(
    texts: Sequence[str], times: NDArray[np.int64], dressed: NDArray[np.bool_], odd: NDArray[np.bool_], decimal: str
) -> Mapping[str, Unit] | None:
    """The currencies of numbers and the units behind others, in texts each of which is there so many ``times``."""
    there = times > 0
    each = [
        (texts[place], "", currency_of(texts[place]), times[place])
        for place in np.flatnonzero(dressed & there).tolist()
    ]
    for place in np.flatnonzero(odd & there).tolist():
        if parts := measured(texts[place]):
            each.append((texts[place], *parts, times[place]))
    found: Mapping[str, Unit] | None = {}
    numbers = numbers_in([number.strip() for _, number, _, _ in each], decimal)
    for (text, number, unit, rows), value in zip(each, numbers.tolist(), strict=True):
        if unit and (not number or not np.isnan(value)):
            fraction = None if np.isnan(value) or value == np.floor(value) else value
            spaced = number.endswith((" ", "\u00a0"))
            found = _units_together(found, {unit: Unit(int(rows) if number else 0, text, fraction, spaced)})
    return found


def _first(cells: Cells, chosen: NDArray[np.bool_], before: int) -> Cell | None:
    """The first cell whose text is chosen."""
    if not chosen.any():
        return None
    rows = cells.by_row(chosen, False)
    row = int(np.argmax(rows))
    assert cells.codes is not None
    return Cell(before + row, cells.texts[cells.codes[row]]) if rows[row] else None


def _dates_of_texts(
    before: Tally, cells: Cells, times: NDArray[np.int64], odd: NDArray[np.bool_], missing: NDArray[np.bool_]
) -> dict[str, Dates]:
    places = np.flatnonzero(odd & (times > 0))
    texts = [cells.texts[place] for place in places]
    found = {}
    for form in formats_in(texts, before.dates):
        moments = np.full(len(cells.texts), np.datetime64("NaT", "us"), dtype="datetime64[us]")
        moments[places] = dates_in(texts, form)
        found[form] = _dates(moments, times)._replace(odd=_first(cells, np.isnat(moments) & ~missing, before.rows))
    return found


def keys_of(values: Mapping[str | float, int]) -> dict[str, list[str]]:
    """Category -> its spellings, in the order in which they came."""
    found: dict[str, list[str]] = {}
    for value in values:
        text = plain_text(value)
        found.setdefault(category_key(text), []).append(text)
    return found


def counted(tally: Tally) -> Counter[str] | None:
    """Category -> in how many rows it is; None if there are too many."""
    if tally.values is None:
        return None
    counts: Counter[str] = Counter()
    for value, times in tally.values.items():
        counts[category_key(plain_text(value))] += times
    return counts


def spellings(tally: Tally) -> dict[str, str]:
    """Category -> its first spelling."""
    return {key: texts[0] for key, texts in keys_of(tally.values or {}).items()}
