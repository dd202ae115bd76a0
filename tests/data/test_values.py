"""What a text says: numbers as people write them, dates, missing values, and which texts are the same category.

Many rows stem from reports about readr, pandas, data.table and duckdb, where a guess went wrong.
"""

from __future__ import annotations

import numpy as np
import pytest

from mlp_xp.data import values

pytestmark = pytest.mark.only("numpy")
pandas = pytest.importorskip("pandas", reason="pandas holds tables")

NUMBERS = {
    "5": 5, "-5": -5, "+1.5": 1.5, "-2e3": -2000, ".5": 0.5, "1.": 1, "1" * 40: 1.1111111111111112e39,
    "12,345": 12345, "1,234,567.5": 1234567.5, "12,34,567": 1234567, "1 234": 1234, "1\u00a0234": 1234, "1'234": 1234,
    "1\u2019234": 1234, "\u22124": -4, "$1,234.50": 1234.5, "-$5": -5, "$-5": -5, "\u20ac 5": 5, "5 \u20ac": 5,
    "5 USD": 5, "USD 1,300": 1300, "R$ 10": 10, "5 000 000 kr": 5e6, "12 %": 12, "12%": 12, "(3.5)": -3.5,
    "12.50-": -12.5, "1,200-": -1200, "$5-": -5, "($1,200)": -1200, "inf": np.inf, "-Infinity": -np.inf,
    "1e999": np.inf,
}  # fmt: skip

NO_NUMBERS = [
    "", "abc", "1,2,4", "1,2,", "1,23,4", "0,234,567", "13T", "21N", "1_000", "41_10_1", "1-2", "1-1-1A", "(5", "5)",
    "(-5)", "(5-)", "-5-", "--5", "-$-5", "1.2.3", "1 2", "0x10", "12:30", "5 kg", "1e", "e5", "$", "%", "1/2", "[98]",
]  # fmt: skip


def test_numbers_are_read_as_people_write_them() -> None:
    np.testing.assert_array_equal(values.numbers_in(list(NUMBERS)), list(NUMBERS.values()))


def test_what_only_resembles_a_number_is_none() -> None:
    found = dict(zip(NO_NUMBERS, values.numbers_in(NO_NUMBERS), strict=True))
    assert [text for text, number in found.items() if not np.isnan(number)] == []


def test_one_text_is_a_number_where_an_array_has_one() -> None:
    of_commas = ["1,5", "-0,5 %", "1.234,5", "1 234,5"]
    assert [text for text in [*NUMBERS, *of_commas] if not values.is_number(text)] == []
    of_signs = {"(5", "5)", "(-5)", "(5-)", "-5-", "--5", "-$-5"}  # which it does not compare
    assert {text for text in NO_NUMBERS if values.is_number(text)} == of_signs


def test_the_decimal_mark_may_be_a_comma() -> None:
    texts = ["1,5", "-0,5 %", "1.234,5", "1.234", "1 234,5", "\u20ac 1.000", "5", "2e3", "1.5", "1.23.4"]
    expected = [1.5, -0.5, 1234.5, 1234, 1234.5, 1000, 5, 2000, np.nan, np.nan]
    np.testing.assert_array_equal(values.numbers_in(texts, ","), expected)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("6.0", "6", True), ("-6.", "-6", True), ("TRUE", "True", True), ("false", "FALSE", True), ("00001", "1", False),
     ("6.50", "6.5", False), ("Red", "red", False), ("06.0", "6", False), ("1.0.0", "1", False)],
)  # fmt: skip
def test_two_texts_are_the_same_category(one: str, other: str, same: bool) -> None:
    assert (values.category_key(one) == values.category_key(other)) is same


def test_which_texts_stand_for_a_missing_value() -> None:
    everywhere = ["", "NA", "N/A", "nan", "NaN", "null", "NULL", "?", "<NA>"]
    among_numbers = ["-", ".", "None", "none", "--", "#DIV/0!"]
    never = ["0", "no", "nobody", "x", "-1", "missing"]
    texts = [*everywhere, *among_numbers, *never]
    assert np.flatnonzero(~values.is_missing(texts)).tolist() == list(range(len(everywhere), len(texts)))
    assert values.is_missing(texts, among_numbers=True).sum() == len(everywhere) + len(among_numbers)
    assert values.is_missing(["-999", "x"], also=("-999",)).tolist() == [True, False]


DATES = {
    "2020-12-31": "2020-12-31", "2020-12": "2020-12-01", "2020-1-5": "2020-01-05",
    "2020-12-31 10:00": "2020-12-31T10:00",
    "2020-12-31T10:00:00Z": "2020-12-31T10:00", "2020-12-31 10:00:00+02:00": "2020-12-31T08:00",
    "2020-12-31T10:00:00.25": "2020-12-31T10:00:00.25", "31.12.2020": "2020-12-31", "1.2.2020": "2020-02-01",
    "12/31/2020": "2020-12-31", "31/12/2020": "2020-12-31", "12/31/20": "2020-12-31", "2020/12/31": "2020-12-31",
    "Jan 5, 2020": "2020-01-05", "January 10, 2012": "2012-01-10", "5 Jan 2020": "2020-01-05",
    "31-OCT-2023": "2023-10-31", "31-Oct-23": "2023-10-31", "Jan 1 2000": "2000-01-01", "12/31/68": "1968-12-31",
    "12/31/2020 1:05 PM": "2020-12-31T13:05",
    "2012/12/31 10:11": "2012-12-31T10:11", "Thu, 05 Jan 2012": "2012-01-05", "1974Q3": "1974-07-01",
    "2020-Q1": "2020-01-01",
}  # fmt: skip
if int(pandas.__version__.partition(".")[0]) >= 3:  # before, moments are counted in nanoseconds, which end in 2262
    DATES["9999-12-31"] = "9999-12-31"


@pytest.mark.parametrize(("text", "moment"), DATES.items(), ids=DATES)
def test_dates_are_read_as_people_write_them(text: str, moment: str) -> None:
    form = values.formats_in([text])[0]
    assert values.dates_in([text, "soon"], form).tolist() == [np.datetime64(moment, "us").item(), None]


@pytest.mark.parametrize("text", ["41_10_1", "1-1-1A", "1-1-1", "12:30", "10.1.1", "3/4", "2020-13-01", "2020-02-30",
                                  "Maya", "1.0.2-rc", "555-1234", "2020-W05-1"])  # fmt: skip
def test_what_only_resembles_a_date_is_none(text: str) -> None:
    assert values.formats_in([text]) == []
