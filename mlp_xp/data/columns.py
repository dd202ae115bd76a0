"""What each column of a table holds, decided once over all its rows: numbers, dates, categories, or nothing of use.

``decide`` makes a ``Decision`` of the tally of a column.

Before: ``tally`` sums up a column. Next: ``recipe`` learns from the decisions how rows become numbers.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, islice
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.data.cells import plain_text
from mlp_xp.data.encoding import CYCLES, Column, as_missing
from mlp_xp.data.tally import Cell, Dates, Tally, Unit, counted, keys_of, spellings
from mlp_xp.data.values import COMPACT, TRUTHS, example_of, is_missing, is_number, numbers_in, open_mark, other_order

_MAIN_SHARE = 0.5  # a column holds numbers, or dates, with mistakes among them if more of its values are such
_SLIPS, _SLIPS_SHARE = 2, 0.02  # so many texts among numbers, or so large a share, are mistakes
_SHARE_OF_NUMBERS = 0.2  # of less the texts are no exceptions
_CODES_SHARE = 0.01  # whole numbers are codes if more of them begin with a needless zero
_FEW = 10  # fewer different texts are categories, however few rows there are
_MANY = 20  # of more categories those that are rare share a column
_RARE = 2  # a category seen so often cannot be learned from
_MOST_CATEGORIES = 1000  # the most frequent ones; the others share a column
_SPELLINGS = 2**4 + 2**5  # of true and false in small and capital letters
_WORDS = 4  # texts of so many words on average are free text


class Decision(NamedTuple):
    """What a column is taken for.

    kind: "number", "truth", "date", "categories", "nothing".
    column: how it is encoded; None if it is left out.
    why: the rest of a sentence that begins with the column: why it is left out, or how it is read; "" if that is plain.
    """

    kind: str
    column: Column | None
    why: str = ""


_COUNTERS = re.compile(
    r"(|unnamed: ?\d+|index|idx|level_0|rownames?|row[ _.]?(names?|id|number|num|no|nr|index)|id|ids|uid|uuid|guid|key"
    r"|.*[ _.-]id|id[ _.-].*|.*[a-z]I[Dd]|nr\.?|no\.?|s\.?no\.?|sl[ _.]?no\.?|obs|obsno|observation|serial|record|#|x1)"
)


def _names_a_counter(name: str) -> bool:
    """Whether a column of this name is likely to number the rows: '', 'Unnamed: 0', 'id', 'PassengerId', 'rownames'."""
    return _COUNTERS.fullmatch(name) is not None or _COUNTERS.fullmatch(name.lower()) is not None


class Wanted(NamedTuple):
    """The user's choices about the data; the data decides the rest.

    target: the column to learn; by default the one that the data names, else the last.
    task: "classification" or "regression"; by default inferred from the target.
    missing: what to do with a missing value: "auto", "refuse", "drop" or "fill", see ``Recipe``.
    drop: columns to leave out.
    categories: columns whose values are categories, whatever they look like.
    unknown: what to do with a category that the training did not have: "level" or "refuse".
    numbers: "plain", or "piecewise" for bins between quantiles.
    """

    target: str | None = None
    task: str | None = None
    missing: str = "auto"
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    unknown: str = "level"
    numbers: str = "plain"


class Held(NamedTuple):
    """What a column holds: ``kind`` is "number", "truth", "date", "text" or "codes"; "codes" are texts, most of which
    are whole numbers. Numbers have a mark and a unit, dates some forms.
    """

    kind: str
    decimal: str = ""
    forms: tuple[str, ...] = ()
    unit: str = ""


def held_by(where: str, name: str, tally: Tally, decimal: str = ".") -> Held:
    """What the column ``name`` holds.

    Args:
        where: the name of the data in an error.
        name: the column.
        tally: of all its rows.
        decimal: the decimal mark of the file.

    Raises:
        ValueError: for text among numbers or dates, and for infinity.
    """
    values = tally.values
    if values and len(values) <= _SPELLINGS and set(keys_of(values)) <= set(TRUTHS):
        return Held("truth")
    if tally.nominal or differ_in_unit(tally):
        return Held("text")
    if tally.numbers == 0 and (unit := next(iter(_of_units(tally)), "")):
        return Held("number", unit=unit)
    if tally.odd is not None and (mark := _other_mark(tally, decimal)):
        return Held("number", mark)
    if (compact := tally.dates.get(COMPACT, Dates())).rows == tally.known > 0 and compact.low < compact.high:
        return Held("date", forms=(COMPACT,))
    # whole numbers that begin with a zero, such as 007, are codes
    if tally.numbers > _MAIN_SHARE * tally.known and tally.padded <= _CODES_SHARE * tally.numbers:
        if _are_codes(tally):
            return Held("codes")
        _refuse_odd(where, name, tally.odd, "must be a number")
        if tally.infinite is not None:
            row, value = tally.infinite
            raise ValueError(
                f"{where}: row {row + 1}, column {name!r} must be finite, got {value}; {as_missing(value)}"
            )
        return Held("number")
    if (forms := _date_forms(tally)) and not _date_styles(tally):
        dates = tally.dates[forms[0]]
        if dates.rows < tally.known:
            _refuse_odd(where, name, dates.odd or tally.odd, f"must be a date such as {example_of(forms[0])}")
        return Held("date", forms=forms)
    return Held("text")


def _of_units(tally: Tally) -> Mapping[str, Unit]:
    """The units of a column whose values are all numbers, with a unit or without, of which some are measured.

    A number with a fraction, or one parted from its unit, is measured: ``13T`` and ``207a`` are codes.
    """
    units = tally.units or {}
    if not any(each.fraction is not None or each.spaced for each in units.values()):
        return {}
    return units if 0 < sum(each.rows for each in units.values()) == tally.known - tally.numbers else {}


def differ_in_unit(tally: Tally) -> bool:
    """Whether a column has numbers with several units, such as 1.5K and 2M, or with one and without any."""
    return not _is_little(tally, tally.known - tally.numbers) and len(_of_units(tally)) + (tally.numbers > 0) > 1


def _is_little(tally: Tally, rows: int) -> bool:
    """Whether so few rows do not hold what the others hold that they are mistakes."""
    return rows <= max(_SLIPS, _SLIPS_SHARE * tally.known)


def _are_codes(tally: Tally) -> bool:
    """Whether texts among whole numbers make codes of all, such as ``12, 207a, c168``, or ``2, 3, 4, 5more``.

    One or two texts, or a share that is small, are mistakes in a column of numbers, and so is a word or two among many
    different numbers, such as "unknown": those are refused, since a model of the numbers was wanted, and --na says
    what is missing. Numbers with fractions are measured, no codes.
    """
    measured = tally.fraction is not None or tally.dressed is not None
    if measured or tally.odd is None or _is_bound(tally.odd.value) or _is_little(tally, tally.known - tally.numbers):
        return False
    if tally.values is None:  # the texts are not known but for the first
        return any(map(str.isdigit, tally.odd.value))
    texts = [value for value in tally.values if isinstance(value, str)]
    missing = is_missing(texts, among_numbers=True)
    odd = np.isnan(numbers_in(texts)) & ~missing
    return int(odd.sum()) > _SLIPS or len(tally.values) <= _MANY


def decide(where: str, name: str, tally: Tally, wanted: Wanted, decimal: str = ".") -> Decision:
    """What the column ``name`` is taken for, a feature.

    Args:
        where: the name of the data in an error.
        name: the column.
        tally: of all its rows.
        wanted: what the user says about columns and missing values.
        decimal: the decimal mark of the file.

    Raises:
        ValueError: as ``held_by`` does.
    """
    if tally.missing == tally.rows:
        return Decision("nothing", None, "is missing in every row")
    if is_constant(tally):
        return Decision("nothing", None, "holds the same value in every row")
    levels = wanted.missing == "auto"  # a missing value gets a column of X
    if name in wanted.categories:
        return _categories(name, tally, levels, forced=True)
    held = held_by(where, name, tally, decimal)
    missing = levels and tally.missing + tally.dashes > 0
    if held.kind == "truth":
        return Decision("truth", Column(name, None, "truth", missing=missing), "holds true and false, read as 1 and 0")
    if held.kind == "number":
        return _number(name, tally, held, missing)
    if held.kind == "date":
        return _date(name, tally, held.forms, missing)
    found = _categories(name, tally, levels)
    for what, cure in _nearly_numbers(tally, held):
        if found.column is not None:
            return found._replace(why=f"{what}, read as categories; {cure}".removesuffix("; "))
        if cure:
            return found._replace(why=f"{what}; {cure}, --category {name!r} takes it for categories")
    return found


def is_constant(tally: Tally) -> bool:
    """Whether the same value is in every row."""
    return tally.distinct == 1 and not tally.missing


def _refuse_odd(where: str, name: str, odd: Cell | None, expected: str) -> None:
    if odd is not None:
        place = f"{where}: row {odd.row + 1}, column {name!r}"
        cures = f"--category {name!r} takes all of it for categories, {as_missing(odd.value)}"
        raise ValueError(f"{place} {expected}, got {odd.value!r}; {cures}")


def _nearly_numbers(tally: Tally, held: Held) -> Iterator[tuple[str, str]]:
    """Why a column of texts is none of numbers or dates, though much in it is one; and the cure."""
    if differ_in_unit(tally):
        plain = (text for text in map(plain_text, tally.values or ()) if is_number(text))
        shown = [*(each.first for each in (tally.units or {}).values() if each.rows), *islice(plain, 1)][:2]
        what = f"holds numbers with different units, such as {' and '.join(map(repr, shown))}"
        yield what, "plain numbers of one unit in the file make it a number"
    elif styles := _date_styles(tally):
        what = f"holds dates in different styles, such as {' and '.join(map(example_of, styles))}"
        yield what, "one style in the whole column makes it a date"
    elif tally.odd is not None and held.kind == "codes":
        yield f"holds codes such as {tally.odd.value!r} among whole numbers", ""
    elif tally.odd is None or tally.numbers < _SHARE_OF_NUMBERS * tally.known:
        return
    elif tally.fraction is not None or _is_bound(tally.odd.value):
        yield f"holds texts such as {tally.odd.value!r} among numbers", as_missing(tally.odd.value)


def _is_bound(text: str) -> bool:
    """Whether a text is as ``<0.1``, of what could not be measured."""
    return text[:1] in ("<", ">", "≤", "≥") and is_number(text[1:].lstrip("= "))


def _date_styles(tally: Tally) -> tuple[str, ...]:
    """Two forms of dates that together read all of a column, none of which reads almost all; () if there are none."""
    pairs = combinations(((form, dates.rows) for form, dates in tally.dates.items()), 2)
    enough = (tuple(form for form, _ in pair) for pair in pairs
              if sum(rows for _, rows in pair) >= tally.known
              and not any(_is_little(tally, tally.known - rows) for _, rows in pair))  # fmt: skip
    return next(enough, ())


# --- numbers and dates -------------------------------------------------------------------------------------------


def _number(name: str, tally: Tally, held: Held, missing: bool) -> Decision:
    if why := counts_rows(name, tally, held):
        return Decision("nothing", None, why)
    why = read_as(tally, held)
    if not why and tally.start in (0.0, 1.0) and tally.rows > _MANY:
        why = "counts the rows; if it is no more than the number of a row, leave it out with --drop"
    return Decision("number", Column(name, None, decimal=held.decimal, missing=missing, unit=held.unit), why)


def counts_rows(name: str, tally: Tally, held: Held) -> str:
    """That a column of numbers is an identifier, if its name and its values say so; else ""."""
    distinct = tally.distinct_numbers
    repeated = tally.repeated if distinct is None else distinct < tally.known
    if tally.fraction is not None or repeated or held.decimal or held.unit or not _names_a_counter(name):
        return ""
    what = "holds a number of its own in every row" if tally.start is None else "counts the rows"
    return f"{what}, as an identifier does"


def read_as(tally: Tally, held: Held) -> str:
    """How the numbers of a column are read, if they are more than plain ones; else ""."""
    if held.decimal:
        return f"is read as numbers with {'a comma' if held.decimal == ',' else 'a point'} as decimal mark"
    if held.unit:
        return f"is read as numbers, each with {held.unit!r} behind it"
    if len(tally.units or {}) > 1:
        signs = listed_names(tally.units or {}).partition(" ")[2]
        return f"is read as numbers, though {signs} are not one unit; --drop leaves it out"
    if tally.dressed is None:
        return ""
    text = tally.dressed.value
    why = f"is read as numbers, such as {' '.join(text.split())!r}"  # repr spells out the spaces that don't break
    if open_mark([text], mark := "," if "," in text else "."):
        why += f"; --decimal {mark} reads that as {numbers_in([text], mark)[0]:g}"
    return why


def _other_mark(tally: Tally, decimal: str) -> str:
    """The decimal mark that the file does not have elsewhere, if all texts are numbers with it; else ""."""
    texts = [value for value in tally.values or () if isinstance(value, str)]
    texts = [text for text, gone in zip(texts, is_missing(texts, among_numbers=True), strict=True) if not gone]
    mark = "." if decimal == "," else ","
    return mark if texts and not np.isnan(numbers_in(texts, mark)).any() and not tally.padded else ""


def _date_forms(tally: Tally) -> tuple[str, ...]:
    """The forms that read as many of the values as the best one, if it reads more than half of them."""
    most = max((dates.rows for dates in tally.dates.values()), default=0)
    if most <= _MAIN_SHARE * tally.known:
        return ()
    return tuple(form for form, dates in tally.dates.items() if dates.rows == most)


def _date(name: str, tally: Tally, forms: tuple[str, ...], missing: bool) -> Decision:
    form = forms[0]
    dates = tally.dates[form]
    months, weekdays, hours, days = (bits.bit_count() for bits in dates.parts)
    # the first of every month has no day of the week that says anything; a part that hardly varies says nothing
    varies = {"month": months > 2, "weekday": weekdays > 2 and days > 4, "hour": hours > 2}
    chosen = tuple(part for part in CYCLES if varies[part])
    column = Column(name, None, "date", form, "", dates.low, chosen, (), missing)
    besides = "".join(f", {part}" for part in chosen)
    why = f"holds dates, read as days since {np.datetime64(dates.low, 'D')}{besides}"
    if other_order(form) in forms:
        order = "month" if form.startswith("%m") else "day"
        why += f"; the {order} is taken to stand first, which these dates leave open"
    return Decision("date", column, why)


# --- categories --------------------------------------------------------------------------------------------------


def _categories(name: str, tally: Tally, levels: bool, forced: bool = False) -> Decision:
    """Categories, unless most of the texts are seen too rarely to be learned from."""
    counts, spelled = counted(tally), spellings(tally)
    if counts is None:
        return Decision("nothing", None, "holds too many different values to be categories")
    if not forced and mostly_distinct(counts):
        words = sum(len(text.split()) for text in spelled.values()) / len(spelled)
        what = "free text" if words >= _WORDS else f"{len(counts):,} different texts in {counts.total():,} rows"
        return Decision("nothing", None, f"holds {what}; --category {name!r} takes it for categories")
    kept, rare = _kept(counts)
    column = Column(
        name, tuple(sorted((spelled[key] for key in kept), key=_natural)),
        rare=tuple(sorted(spelled[key] for key in rare)), missing=levels and tally.missing > 0,
    )  # fmt: skip
    times = sum(counts[key] for key in rare)
    shared = f"the {len(rare):,} rarest of which, in {times:,} rows, are taken together for one, 'other'"
    why = f"holds {len(counts):,} categories, {shared}" if rare else ""
    return Decision("categories", column, why)


def _natural(text: str) -> tuple[float, str]:
    """Sorts 2 before 10, and numbers before other texts."""
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def mostly_distinct(counts: Mapping[str, int]) -> bool:
    """Whether most rows hold a text that is seen only once or twice, so that there is nothing to learn from it."""
    rarely = sum(times for times in counts.values() if times <= _RARE)
    return len(counts) >= _FEW and rarely > _MAIN_SHARE * sum(counts.values())


def _kept(counts: Counter[str]) -> tuple[list[str], list[str]]:
    """The categories that get a column of X each, and those that share one."""
    if len(counts) <= _MANY:
        return list(counts), []
    order = [key for key, _ in counts.most_common()]
    kept = [key for key in order[:_MOST_CATEGORIES] if counts[key] > _RARE]
    rest = order[len(kept) :]
    return (order, []) if len(rest) < 2 or not kept else (kept, rest)


def listed_names(names: Iterable[Any], most: int = 8) -> str:
    """``column 'a'``, or ``columns 'a', 'b' and 3 others``."""
    known = [repr(str(name)) for name in names]
    if len(known) == 1:
        return f"column {known[0]}"
    if len(known) <= most + 1:  # "and 1 others" is no shorter than its name
        return f"columns {', '.join(known[:-1])} and {known[-1]}"
    return f"columns {', '.join(known[:most])} and {len(known) - most:,} others"
