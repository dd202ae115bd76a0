"""What a text says: a number, a date, a missing value, or a category; for whole arrays of different texts at once.

The texts are those of one column, each different text once, without surrounding blanks.

Next: ``cells`` finds the different texts of a column, ``columns`` decides what the column holds.
"""

import math
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MISSING = frozenset(("", "?", "na", "n/a", "nan", "-nan", "<na>", "#n/a", "#na", "null", "nat"))
"""Texts, in small letters, that stand for a missing value in every column."""

AMONG_NUMBERS = frozenset(("-", "--", ".", "..", "none", "nil", "*", "#value!", "#div/0!", "#num!", "#ref!"))
"""Texts, in small letters, that stand for a missing value among numbers and dates, but may be categories."""

TRUTHS = ("false", "true")
"""The keys of the categories of a column of truth values."""


def is_missing(texts: Sequence[str], also: Iterable[str] = (), among_numbers: bool = False) -> NDArray[np.bool_]:
    """Which texts stand for a missing value.

    Args:
        texts: (n,).
        also: further texts that do, exactly as they are written.
        among_numbers: whether the column holds numbers or dates.

    >>> is_missing(["NA", "-", "x", "none"], also=["x"]).tolist()
    [True, False, True, False]
    >>> is_missing(["NA", "-", "x", "none"], among_numbers=True).tolist()
    [True, True, False, True]
    """
    further, words = frozenset(also), MISSING | AMONG_NUMBERS if among_numbers else MISSING
    longest = max(map(len, words))
    found = (text in further or (len(text) <= longest and text.lower() in words) for text in texts)
    return np.fromiter(found, dtype=bool, count=len(texts))


# --- categories --------------------------------------------------------------------------------------------------

_WHOLE = re.compile(r"\+?(-?(?:0|[1-9][0-9]*))(?:\.0*)?")


def category_key(text: str) -> str:
    """What decides whether two texts are the same category, whatever kind of file they are from.

    A whole number is the same with and without a point or a plus sign: Parquet turns whole numbers with a missing
    value into numbers with a point. A truth value is the same in small and capital letters. A leading zero makes a
    difference.

    >>> category_key("6.0") == category_key("6"), category_key("00001") == category_key("1")
    (True, False)
    >>> category_key("TRUE") == category_key("True") == category_key("true")
    True
    >>> category_key("Red") == category_key("red")
    False
    """
    if text.lower() in TRUTHS:
        return text.lower()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


# --- numbers -----------------------------------------------------------------------------------------------------

_PLAIN = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$|^[+-]?(?i:inf|infinity)$"
_CURRENCY = (
    r"(?:(?:US|CA|AU|NZ|HK|A|C|R)?\$|[€£¥₹₽₩₺¢]|Rs\.?|Fr\.?|kr\.?|zł"
    r"|USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|BRL|ZAR)"
)
_GROUPED = (  # a mark between groups of three digits, or of two in India; the first group begins with no zero
    "[1-9][0-9]{0,2}(?:%(mark)s[0-9]{3})+",
    "[1-9][0-9]?(?:%(mark)s[0-9]{2})*%(mark)s[0-9]{3}",
)


_UNUSUAL = {"[\u00a0\u2009\u202f\u2007]": " ", "\u2212": "-", "[\u2019\u02bc]": "'"}
"""Spaces that don't break, a minus sign and apostrophes -> those of a keyboard."""


class _Marks(NamedTuple):
    """The patterns for one decimal mark: ``dressed`` is a number with a currency, groups, a percent sign, brackets."""

    decimal: str
    dressed: str


def _marks(decimal: str) -> _Marks:
    point, groups = re.escape(decimal), [re.escape("." if decimal == "," else ","), " ", "'", "_"][:3]
    grouped = "|".join(pattern % {"mark": mark} for mark in groups for pattern in _GROUPED)
    digits = rf"(?P<digits>(?:{grouped}|[0-9]+)(?:{point}[0-9]*)?|{point}[0-9]+)"
    sign = "(?P<{}>[+-]?) ?"
    signs = sign.format("before") + f"(?:{_CURRENCY} ?)?" + sign.format("after")
    dressed = rf"^(?P<opened>\(?) ?{signs}{digits} ?(?:{_CURRENCY}|%)? ?(?P<behind>-?)(?P<closed>\)?)$"
    return _Marks(decimal, dressed)


_MARKS = {decimal: _marks(decimal) for decimal in ".,"}


def numbers_in(texts: Any, decimal: str = ".") -> NDArray[np.float64]:
    """The number that each text says, NaN where it says none.

    Besides plain numbers such as ``-1.5e3`` these are read: ``12,345``, ``1 234``, ``1'234``, ``$1,234.50``, ``5 €``,
    ``12 %`` (as 12), ``(3.5)`` and ``3.5-`` (as -3.5, as accountants write it).

    Args:
        texts: a sequence of texts, or a pyarrow array of them.
        decimal: the decimal mark, "." or ",".

    >>> numbers_in(["-1.5e3", "12,345", "$1,234.50", "12 %", "(3.5)", "1,2,4", "13T"]).tolist()
    [-1500.0, 12345.0, 1234.5, 12.0, -3.5, nan, nan]
    >>> numbers_in(["1,5", "1.234,5"], decimal=",").tolist()
    [1.5, 1234.5]
    """
    import pyarrow as pa
    from pyarrow import compute

    array = texts if isinstance(texts, pa.Array) else pa.array(texts, type=pa.large_string())
    plain = array
    if decimal == ",":  # a text with a point is no plain number, but may be one with groups
        pointed = compute.match_substring(array, ".")
        plain = compute.if_else(pointed, "", compute.replace_substring(array, ",", "."))
    try:
        return np.asarray(_cast(plain))
    except pa.ArrowInvalid:
        pass
    numbers = np.full(len(array), np.nan)
    fits = np.asarray(compute.match_substring_regex(plain, _PLAIN), dtype=bool)
    numbers[fits] = _cast(compute.utf8_ltrim(plain.filter(pa.array(fits)), "+"))
    others = np.flatnonzero(~fits & np.asarray(compute.match_substring_regex(array, "[0-9]"), dtype=bool))
    if len(others):
        numbers[others] = _undressed(array.take(pa.array(others)), _MARKS[decimal])
    return numbers


def _cast(texts: Any) -> NDArray[np.float64]:
    import pyarrow as pa

    return texts.cast(pa.float64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _undressed(texts: Any, marks: _Marks) -> NDArray[np.float64]:
    """The numbers that texts say without their currency, groups, percent sign or brackets; NaN for other texts."""
    from pyarrow import compute

    for pattern, plain in _UNUSUAL.items():
        texts = compute.replace_substring_regex(texts, pattern, plain)
    parts = compute.extract_regex(texts, marks.dressed)
    valid = compute.is_valid(parts)
    found = np.asarray(valid, dtype=bool)

    def part(name: str) -> NDArray[Any]:
        return np.asarray(compute.struct_field(parts.filter(valid), name).to_pylist(), dtype=object)

    numbers = np.full(len(found), np.nan)
    if not found.any():
        return numbers
    bare = compute.replace_substring_regex(
        compute.struct_field(parts.filter(valid), "digits"), rf"[^0-9{marks.decimal}]", ""
    )
    values = np.asarray(_cast(compute.replace_substring(bare, marks.decimal, ".")))
    opened, closed = part("opened") == "(", part("closed") == ")"
    signs = part("before") + part("after") + part("behind")
    values = np.where(opened | (signs == "-"), -values, values)
    values[(opened != closed) | np.asarray([len(sign) > 1 for sign in signs]) | (opened & (signs != ""))] = np.nan
    numbers[found] = values
    return numbers


_EITHER = re.compile(
    "|".join(
        (_PLAIN, _PLAIN.replace(r"\.", ","), *(re.sub(r"\?P<\w+>", "?:", each.dressed) for each in _MARKS.values()))
    )
)


def is_number(text: str) -> bool:
    """Whether a text is a number for ``numbers_in`` with one decimal mark or the other, whatever its signs are.

    >>> [is_number(each) for each in ("-1.5e3", "12,345", "1.234,5", "$1,234.50", "12 %", "x1", "")]
    [True, True, True, True, True, False, False]
    """
    if text[-1:].isdigit() and text.isascii() and "_" not in text:
        with suppress(ValueError):  # most numbers, and faster than a pattern
            return not math.isnan(float(text))
    for pattern, plain in _UNUSUAL.items():
        text = re.sub(pattern, plain, text)
    return _EITHER.match(text) is not None


def is_plain(texts: Any, decimal: str = ".") -> NDArray[np.bool_]:
    """Which of a pyarrow array's texts are numbers as a program writes them, without currency or groups: (n,)."""
    from pyarrow import compute

    pattern = _PLAIN.replace(r"\.", ",") if decimal == "," else _PLAIN
    return np.asarray(compute.match_substring_regex(texts, pattern), dtype=bool)


_BEHIND = re.compile("([^A-Za-zµμ°Ω]*[0-9][.,]?)([ \u00a0]?)([A-Za-zµμ°Ω][A-Za-zµμ°Ω/0-9²³]{0,9})")
_SIGNS = re.compile(r"[-+\u22120-9.,'\u2019\u02bc_()\s]+")  # all that a number may have but its currency
_SAME = {"EUR": "€", "USD": "$", "US$": "$", "GBP": "£", "JPY": "¥", "INR": "₹", "Rs": "₹"}


def currency_of(text: str) -> str:
    """What stands before or behind a number such as ``$1,234.50``; "" for nothing."""
    found = _SIGNS.sub("", text)
    return _SAME.get(found, found)


def measured(text: str) -> tuple[str, str] | None:
    """The number in a text such as ``70.1 kg``, with the blank behind it, and its unit; None for another text.

    >>> measured("70.1 kg"), measured("1.5K"), measured("70 square metres")
    (('70.1 ', 'kg'), ('1.5', 'K'), None)
    """
    found = _BEHIND.fullmatch(text)
    return (found[1] + found[2], found[3]) if found and is_number(found[1]) else None


def without_unit(texts: Iterable[str], unit: str) -> list[str]:
    """The texts without the unit behind them."""
    return [text.removesuffix(unit).rstrip() if unit else text for text in texts]


def is_padded(texts: Any) -> NDArray[np.bool_]:
    """Which of a pyarrow array's texts are whole numbers that begin with a needless zero, such as 007: (n,)."""
    from pyarrow import compute

    return np.asarray(compute.match_substring_regex(texts, "^[+-]?0[0-9]+$"), dtype=bool)


def open_mark(texts: Iterable[str], mark: str) -> str | None:
    """The first number whose ``mark`` may part thousands as well as a fraction, such as 13.830; None if none does.

    >>> open_mark(["5", "1.5", "13.830"], "."), open_mark(["0,125", "1,234,567"], ",")
    ('13.830', None)
    """
    pattern = re.compile(rf"[-+]?[1-9][0-9]{{0,2}}{re.escape(mark)}[0-9]{{3}}")
    return next((text for text in texts if pattern.fullmatch(text)), None)


# --- dates -------------------------------------------------------------------------------------------------------

ISO = "ISO8601"
_ISO = re.compile(
    r"[0-9]{4}-[0-9]{1,2}(-[0-9]{1,2}([T ][0-9]{1,2}(:?[0-9]{2}(:?[0-9]{2}([.,][0-9]+)?)?)?"
    r"( ?(Z|[+-][0-9]{2}(:?[0-9]{2})?))?)?)?"
)
QUARTER = "YYYYQq"
_QUARTER = re.compile("([0-9]{4})[- ]?Q([1-4])", re.IGNORECASE)
_DAYS = (
    "%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y",
    "%Y.%m.%d", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d %b %Y", "%d %B %Y", "%d. %B %Y", "%d-%b-%Y",
    "%d-%b-%y", "%b %Y", "%B %Y", "%b-%Y", "%m/%Y", "%a, %d %b %Y", "%a %b %d %Y", "%A, %B %d, %Y",
)  # fmt: skip
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S %z", "T%H:%M:%S")
COMPACT = "%Y%m%d"  # whole numbers: no form to try on texts
FORMATS = (ISO, QUARTER, *(day + time for day in _DAYS for time in _TIMES))
"""The forms of dates that are tried; of two that read a column alike, the one that stands first is taken."""

_SAMPLE = 20  # texts on which all forms are tried before a few of them are on all texts
_LONGEST = 40  # no date has more letters


def formats_in(texts: Sequence[str], known: Iterable[str] = ()) -> list[str]:
    """The forms of ``FORMATS`` that read one of some of the texts, and those that are ``known``."""
    sample = [text for text in texts if _may_be_date(text)][:_SAMPLE]
    return [form for form in FORMATS if sample and (form in known or not np.isnat(dates_in(sample, form)).all())]


_DATE = re.compile(r"(?=.*[0-9])[0-9A-Za-z,.+/: -]*[-/.: ][0-9A-Za-z,.+/: -]*|[0-9]{4}[Qq][1-4]")


def _may_be_date(text: str) -> bool:
    return 6 <= len(text) <= _LONGEST and _DATE.fullmatch(text) is not None


_OTHER_ORDER = {"%m/%d/": "%d/%m/", "%d/%m/": "%m/%d/", "%d-%m-": "%m-%d-", "%m-%d-": "%d-%m-"}


def other_order(form: str) -> str:
    """The form of ``FORMATS`` in which month and day change their places; "" if there is none.

    >>> other_order("%m/%d/%Y %H:%M"), other_order("%d.%m.%Y")
    ('%d/%m/%Y %H:%M', '')
    """
    return _OTHER_ORDER[form[:6]] + form[6:] if form[:6] in _OTHER_ORDER else ""


def dates_in(texts: Sequence[str], form: str) -> NDArray[np.datetime64]:
    """The moment (UTC) that each text says in one form of ``FORMATS``; NaT where it says none.

    >>> dates_in(["31.12.2020", "12/31/2020"], "%d.%m.%Y").astype(str).tolist()
    ['2020-12-31T00:00:00.000000', 'NaT']
    """
    import pandas as pd

    if form == ISO:
        texts = [text if _ISO.fullmatch(text) else "" for text in texts]
    if form == QUARTER:
        found_in = (_QUARTER.fullmatch(text) for text in texts)
        texts = [f"{each[1]}-{3 * int(each[2]) - 2:02}" if each else "" for each in found_in]
        form = ISO
    moments = naive(pd.to_datetime(pd.Series(list(texts), dtype=object), format=form, errors="coerce", utc=True))
    if "%y" in form:  # 30 is 1930, as spreadsheets take it; a pivot that moves with today would change a saved model
        months = moments.astype("datetime64[M]")
        before = months - np.timedelta64(1200, "M") + (moments - months)
        moments = np.where(months < np.datetime64("2030-01"), moments, before)
    return moments


def example_of(form: str) -> str:
    """A date in one form of ``FORMATS``, in quotes, for a sentence.

    >>> example_of("%d.%m.%Y"), example_of(ISO)
    ("'31.12.2020'", "'2020-12-31'")
    """
    known = {ISO: "2020-12-31", QUARTER: "2020Q4"}
    return repr(known.get(form) or datetime(2020, 12, 31, 13, 5, tzinfo=UTC).strftime(form))


def naive(moments: Any) -> NDArray[np.datetime64]:
    """A series of moments as an array in UTC, in microseconds."""
    if moments.dt.tz is not None:
        moments = moments.dt.tz_convert("UTC").dt.tz_localize(None)
    return moments.to_numpy().astype("datetime64[us]")  # type: ignore[no-any-return]
