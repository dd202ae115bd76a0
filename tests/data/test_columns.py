"""What a column is taken for: once over all of its rows, whatever kind of file it is from and wherever a batch ends."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pytest
from tables_in_memory import pd, texts, typed

from mlp_xp.data import recipe as recipes
from mlp_xp.data.recipe import Wanted, learn, read

pytestmark = pytest.mark.only("numpy")

Y = ["1.5", "2.5", "0.5", "3.5", "4.5", "2.25"]


def column(values: list[str], **options: Any) -> tuple[Any, Any, Any]:
    """What is said about a column of texts beside a target, its columns of X, and the notes."""
    times = -(-len(values) // len(Y))
    source = texts({"a": values, "b": (["u", "v"] * len(values))[: len(values)], "y": (Y * times)[: len(values)]})
    learned = learn(source._replace(reading=source.reading._replace(**options)), Wanted())
    encoded = read(source, learned.recipe)
    width = next(each.becomes for each in learned.columns if each.name == "a")
    return learned.columns[0], encoded.X[:, :width], learned


SIX = {
    "plain": (["1", "2.5", "-3", "4e2", "5", "6"], [1, 2.5, -3, 400, 5, 6]),
    "thousands": (["12,345", "1,000", "7", "8", "999", "1,234,567"], [12345, 1000, 7, 8, 999, 1234567]),
    "currency": (["$1,234.50", "$2.00", "-$3", "$4", "$5", "($6)"], [1234.5, 2, -3, 4, 5, -6]),
    "percent": (["1 %", "2%", "3.5 %", "4 %", "5 %", "6 %"], [1, 2, 3.5, 4, 5, 6]),
    "a comma as decimal mark": (["1,5", "2,25", "3,0", "4", "5,5", "6,75"], [1.5, 2.25, 3, 4, 5.5, 6.75]),
    "a few commas as decimal mark": (["1,5", "2", "3", "4", "5", "6"], [1.5, 2, 3, 4, 5, 6]),
    "missing among numbers": (["1", "?", "-", ".", "null", "6"], [1, np.nan, np.nan, np.nan, np.nan, 6]),
    "a unit behind every number": (
        ["70.1 kg", "80kg", "-", "65.25 kg", "1,070 kg", "-3 kg"],
        [70.1, 80, np.nan, 65.25, 1070, -3],
    ),
    "a minus sign behind": (["12.50-", "7.25", "1,200-", "3", "4", "5"], [-12.5, 7.25, -1200, 3, 4, 5]),
    "truth values of R": (["TRUE", "FALSE", "TRUE", "TRUE", "FALSE", "TRUE"], [1, 0, 1, 1, 0, 1]),
    "truth values of SQL": (["true", "false", "true", "true", "false", "true"], [1, 0, 1, 1, 0, 1]),
}


@pytest.mark.parametrize(("values", "numbers"), SIX.values(), ids=SIX)
def test_texts_become_numbers(values: list[str], numbers: list[float]) -> None:
    _, X, _ = column(values)
    np.testing.assert_array_equal(X[:, 0], numbers)


def test_what_is_more_than_a_plain_number_is_said_aloud() -> None:
    assert column(SIX["currency"][0])[2].notes == ("column 'a' is read as numbers, such as '$1,234.50'",)
    assert column(SIX["a comma as decimal mark"][0])[2].notes == (
        "column 'a' is read as numbers with a comma as decimal mark",
    )
    assert column(["13,830", "20,475", "7,125", "1,000", "2,250", "6,500"])[2].notes == (
        "column 'a' is read as numbers, such as '13,830'; --decimal , reads that as 13.83",
    )
    assert column(SIX["plain"][0])[2].notes == ()
    assert column(["$5", "4 EUR", "7", "\u20ac3", "9", "8"])[2].notes == (
        "column 'a' is read as numbers, though '$' and '\u20ac' are not one unit; --drop leaves it out",
    )
    assert column(["$5", "4 USD", "7", "US$3", "9", "8"])[2].notes == ("column 'a' is read as numbers, such as '$5'",)
    assert column(["70.1 kg", "80 kg", "", "65.25 kg", "?", "70 kg"])[2].notes[0] == (
        "column 'a' is read as numbers, each with 'kg' behind it"
    )
    french = [f"{number}\u202f381" for number in range(1, 7)]
    assert column(french)[2].notes == ("column 'a' is read as numbers, such as '1 381'",)


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
@pytest.mark.parametrize(
    "values",
    [
        ["00001", "1", "00001", "1", "A5", "A5"],
        ["1", "2", "x", "2", "x", "y"],
        ["TRUE", "True", "true", "FALSE", "False", ""],
        ["12,345", "1", "2", "3", "4", "5"],
        ["1/2/2020", "3/4/2020", "5/6/2020", "7/8/2020", "1/31/2020", "1/1/2020"],
        ["x", "y", "x", "", "NA", "y"],
        ["5", "6", "7", "8", "9", "10"],
        ["5.5 kg", "6 kg", "", "8 kg", "9 kg", "?"],
        ["$5", "6 EUR", "", "8", "8", "\u20ac6"],
        ["5.5K", "6K", "7M", "8 kg", "9", "6K"],
    ],
    ids=lambda values: " ".join(values),
)
def test_the_decision_does_not_depend_on_where_a_batch_ends(
    values: list[str], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = texts({"id": values, "y": Y})
    whole = learn(source, Wanted(categories=("id",) if "5" in values else ()))
    X = read(source, whole.recipe).X
    monkeypatch.setattr(recipes, "ROWS", rows)
    again = learn(source, Wanted(categories=("id",) if "5" in values else ()))
    assert again == whole
    np.testing.assert_array_equal(read(source, again.recipe).X, X)


def test_a_leading_zero_makes_a_code_of_a_number() -> None:
    about, _, learned = column(["00001", "1", "00001", "1", "00002", "1"])
    assert about.taken_for == "3 categories"
    assert learned.recipe.columns[0].categories == ("00001", "1", "00002")
    assert column(["0.5", "00.5", "0", "1", "2", "3"])[0].taken_for == "number"


TYPED = {
    "whole numbers": (pd.Series([1, 2, None, 4], dtype="Int64"), "number"),
    "truth values": (pd.Series([True, False, None, True], dtype="boolean"), "true or false"),
    "truth values of NumPy": (pd.Series([True, False, True, True]), "true or false"),
    "Python truth values": (pd.Series([True, None, False, True], dtype=object), "true or false"),
    "decimals": (pd.Series([decimal.Decimal("1.5"), None, decimal.Decimal(2), decimal.Decimal(3)]), "number"),
    "moments": (pd.Series(pd.to_datetime(["2020-01-05", None, "2020-02-05", "2020-01-05"])), "date"),
    "moments in a zone": (
        pd.Series(pd.to_datetime(["2020-01-05", None, "2020-02-05", "2020-03-05"]).tz_localize("Europe/Berlin")),
        "date",
    ),
    "days": (pd.Series([datetime.date(2020, 1, 5), None, datetime.date(2020, 2, 5), None], dtype=object), "date"),
    "periods": (pd.Series(pd.period_range("2020-01", periods=4, freq="M")), "date"),
    "durations": (pd.Series(pd.to_timedelta(["1 day", "12 h", None, "2 days"])), "number"),
    "categories": (pd.Series(["a", "b", None, "a"], dtype="category"), "2 categories"),
    "categories that are numbers": (pd.Series([1, 2, None, 1], dtype="category"), "2 categories"),
    "a mixture": (pd.Series([1, "a", "b", None], dtype=object), "3 categories"),
    "bytes": (pd.Series([b"a", b"b", None, b"a"], dtype=object), "2 categories"),
    "Arrow's numbers": (pd.Series([1.5, None, 2, 3], dtype="double[pyarrow]"), "number"),
    "lists": (pd.Series([[1], [2], [1], None], dtype=object), "2 categories"),
}


@pytest.mark.parametrize(("values", "taken_for"), TYPED.values(), ids=TYPED)
def test_columns_of_any_type_are_taken_for_what_they_are(values: Any, taken_for: str) -> None:
    source = typed(pd.DataFrame({"a": values, "y": [1.5, 2.5, 0.5, 3.5]}))
    learned = learn(source, Wanted())
    assert learned.columns[0].taken_for == taken_for
    X = read(source, learned.recipe).X
    assert np.isfinite(learned.recipe.learn_fill(X).filled(X)).all()


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^data.parquet: column 'a' must hold numbers or text, got complex128$"):
        learn(typed(pd.DataFrame({"a": [1j, 2j], "y": [1, 2]})), Wanted())


# --- dates -------------------------------------------------------------------------------------------------------

DAYS = [f"2020-{month:02}-{day:02}" for month in (1, 4, 7, 10) for day in (1, 8, 17, 27, 30)]


def test_dates_become_days_and_calendar_parts() -> None:
    about, X, learned = column(DAYS)
    assert about.taken_for == "date"
    assert learned.notes == ("column 'a' holds dates, read as days since 2020-01-01, month, weekday",)
    assert learned.recipe.names[:5] == ("a days", "a month sin", "a month cos", "a weekday sin", "a weekday cos")
    stamps = pd.to_datetime(pd.Series(DAYS))
    np.testing.assert_array_equal(X[:, 0], (stamps - stamps[0]).dt.days)
    np.testing.assert_allclose(X[:, 1], np.sin((stamps.dt.month - 1) * np.pi / 6), atol=1e-15)
    np.testing.assert_allclose(X[:, 2], np.cos((stamps.dt.month - 1) * np.pi / 6), atol=1e-15)
    np.testing.assert_allclose(X[:, 3], np.sin(stamps.dt.day_of_week * 2 * np.pi / 7), atol=1e-15)


def test_hours_are_a_part_of_dates_with_times_and_the_first_of_a_month_has_no_weekday() -> None:
    times = [f"2020-01-01 {hour:02}:30:00" for hour in range(0, 24, 3)]
    about, X, _ = column(times)
    assert about.why == "holds dates, read as days since 2020-01-01, hour"
    np.testing.assert_allclose(X[:, 0], (np.arange(0, 24, 3) + 0.5) / 24)
    months = [f"{year}-{month:02}-01" for year in (2019, 2020) for month in range(1, 13)]
    assert column(months)[0].why == "holds dates, read as days since 2019-01-01, month"


@pytest.mark.parametrize(("last", "form", "open_ended"), [("12/31/2020", "%m/%d/%Y", False),
                                                           ("31/12/2020", "%d/%m/%Y", False),
                                                           ("12/11/2020", "%m/%d/%Y", True)])  # fmt: skip
def test_whether_the_month_or_the_day_stands_first_is_decided_by_all_rows(
    last: str, form: str, open_ended: bool
) -> None:
    dates = ["01/02/2020", "03/04/2020", "05/06/2020", "07/08/2020", "09/10/2020", "11/12/2020", last]
    about, X, _ = column(dates)
    assert about.why.endswith("; the month is taken to stand first, which these dates leave open") is open_ended
    expected = pd.to_datetime(pd.Series(dates), format=form)
    np.testing.assert_array_equal(X[:, 0], (expected - expected.min()).dt.days)


def test_the_same_dates_are_the_same_numbers_from_any_file() -> None:
    stamps = pd.to_datetime(pd.Series(DAYS))
    y = (Y * 4)[: len(DAYS)]
    learned = learn(texts({"a": [f"{each:%d.%m.%Y}" for each in stamps], "y": y}), Wanted()).recipe
    expected = read(texts({"a": [f"{each:%d.%m.%Y}" for each in stamps], "y": y}), learned).X
    for values in (stamps, stamps.dt.date, stamps.dt.strftime("%Y-%m-%d"), stamps.dt.tz_localize("UTC")):
        np.testing.assert_array_equal(read(typed(pd.DataFrame({"a": values, "y": y})), learned).X, expected)


def test_whole_numbers_that_are_all_dates_are_dates_from_any_file() -> None:
    stamps = pd.to_datetime(pd.Series(DAYS))
    compact = [f"{each:%Y%m%d}" for each in stamps]
    about, X, learned = column(compact)
    assert (about.taken_for, about.why) == ("date", "holds dates, read as days since 2020-01-01, month, weekday")
    np.testing.assert_array_equal(X[:, 0], (stamps - stamps[0]).dt.days)
    new = typed(pd.DataFrame({"a": np.asarray(compact, dtype=int), "b": "u", "y": 1.0}))
    np.testing.assert_array_equal(read(new, learned.recipe).X[:, 0], X[:, 0])
    assert column([*compact, "NA"])[0].taken_for == "date"
    for other in ("20201301", "18991231", "20200101.5", "2020"):
        assert column([*compact, other])[0].taken_for == "number"


# --- what is left out --------------------------------------------------------------------------------------------

MANY = 24


def left_out(name: str, values: list[str], **more: list[str]) -> tuple[str, ...]:
    """The notes about a column beside one of use, from which nothing may be learned."""
    x = [str(0.5 + number % 7) for number in range(len(values))]
    learned = learn(texts({name: values, "x": x, "y": x[::-1]}), Wanted())
    assert learned.recipe.names == ("x",)
    assert [each.taken_for for each in learned.columns] == ["left out", "number", "target: number"]
    return learned.notes


def test_texts_that_are_mostly_different_are_left_out_aloud() -> None:
    assert left_out("name", [f"car {number}" for number in range(MANY)]) == (
        "column 'name' holds 24 different texts in 24 rows: left out; --category 'name' takes it for categories",
    )
    assert left_out("name", [f"car {number // 2}" for number in range(MANY)]) == (
        "column 'name' holds 12 different texts in 24 rows: left out; --category 'name' takes it for categories",
    )
    story = [f"I have seen it {number} times and more" for number in range(MANY)]
    assert left_out("review", story) == (
        "column 'review' holds free text: left out; --category 'review' takes it for categories",
    )


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "id", "ID", "PassengerId", "customer_id", "rownames",
                                  "row.names", "No", "S.No.", "obs"])  # fmt: skip
@pytest.mark.parametrize("start", [0, 1])
def test_a_column_that_counts_the_rows_is_left_out_aloud(name: str, start: int) -> None:
    assert left_out(name, [str(start + number) for number in range(MANY)]) == (
        f"column {name!r} counts the rows, as an identifier does: left out",
    )


def test_numbers_that_are_all_different_in_a_column_called_an_id_are_left_out_aloud() -> None:
    assert left_out("id", [str(842302 + 17 * (number * 5 % MANY)) for number in range(MANY)]) == (
        "column 'id' holds a number of its own in every row, as an identifier does: left out",
    )


def test_a_column_of_another_name_that_counts_the_rows_is_kept_and_said_aloud() -> None:
    counting = [str(number) for number in range(1, MANY + 1)]
    learned = learn(texts({"time": counting, "y": (Y * 4)[:MANY]}), Wanted())
    assert learned.recipe.names == ("time",)
    assert learned.notes == (
        "column 'time' counts the rows; if it is no more than the number of a row, leave it out with --drop",
    )


def test_a_group_whose_number_repeats_is_no_identifier() -> None:
    assert learn(texts({"id": ["1", "1", "2", "2", "3", "3"], "y": Y}), Wanted()).recipe.names == ("id",)


CONSTANT, EMPTY = "holds the same value in every row", "is missing in every row"


@pytest.mark.parametrize(
    ("values", "why"),
    [(["3"] * 6, CONSTANT), (["x"] * 6, CONSTANT), (["TRUE"] * 6, CONSTANT), (["2020-01-01"] * 6, CONSTANT),
     (["3", "3.0", "3", "3", "3", "3"], CONSTANT), ([""] * 6, EMPTY), (["NA", "", "?", "null", "nan", ""], EMPTY)],
)  # fmt: skip
def test_a_constant_and_an_empty_column_are_left_out_aloud(values: list[str], why: str) -> None:
    assert left_out("a", values) == (f"column 'a' {why}: left out",)


def test_the_same_is_said_of_several_columns_in_one_sentence() -> None:
    columns = {f"c{number}": ["1"] * 6 for number in range(12)}
    (note,) = learn(texts({**columns, "x": Y, "y": Y[::-1]}), Wanted()).notes
    listed = ", ".join(f"'c{number}'" for number in range(8))
    assert note == f"columns {listed} and 4 others hold the same value in every row: left out"
    (note,) = learn(texts({**dict(list(columns.items())[:9]), "x": Y, "y": Y[::-1]}), Wanted()).notes
    assert note == f"columns {listed} and 'c8' hold the same value in every row: left out"


def test_the_user_wins_with_drop_and_category() -> None:
    names = [f"car {number}" for number in range(MANY)]
    source = texts({"name": names, "n": [str(n % 3) for n in range(MANY)], "z": names, "y": (Y * 4)[:MANY]})
    learned = learn(source, Wanted(drop=("z",), categories=("name", "n")))
    assert [each.taken_for for each in learned.columns[:3]] == ["24 categories", "3 categories", "left out"]
    assert learned.columns[2].why == "--drop says so"
    assert learned.recipe.columns[1].categories == ("0", "1", "2")
    assert not any("'z'" in note for note in learned.notes)


# --- refusals ----------------------------------------------------------------------------------------------------

REFUSED = {
    "text among numbers": (["1", "2", "three", "4", "5", "6"],
        r"^data.csv: row 3, column 'a' must be a number, got 'three'; --category 'a' takes all of it for categories, "
        r"--na 'three' takes it for a missing value$"),
    "text among dates": (["2020-01-01", "2020-01-02", "soon", "2020-01-04", "2020-01-05", "2020-01-06"],
        r"^data.csv: row 3, column 'a' must be a date such as '2020-12-31', got 'soon'; --category 'a' takes .*, --na "
        r"'soon' takes it for a missing value$"),
    "infinity": (["1", "2", "3", "inf", "5", "6"], r"^data.csv: row 4, column 'a' must be finite, got "
        r"inf; --na 'inf' takes it for a missing value$"),
    "an overflow": (["1", "2", "3", "4", "1e999", "6"], r"^data.csv: row 5, column 'a' must be finite, got "
        r"1e999; --na '1e999' takes it for a missing value$"),
}  # fmt: skip


@pytest.mark.parametrize("rows", [2, 100])
@pytest.mark.parametrize(("values", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_value_that_does_not_fit_its_column_is_named_with_its_row(
    values: list[str], sentence: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "ROWS", rows)
    with pytest.raises(ValueError, match=sentence):
        column(values)


UNITS, STYLES = "holds numbers with different units, such as", "holds dates in different styles, such as"
ONE_UNIT, ONE_STYLE = "plain numbers of one unit in the file make it a number", "one style in the whole column makes it"
NEARLY = {
    "several units": ([f"{n}.5K" if n % 2 else f"{n}M" for n in range(30)], "left out",
                      f"{UNITS} '0M' and '1.5K'; {ONE_UNIT}, --category 'a' takes it for categories"),
    "a unit behind some": ([f"{n}.5 kg" if n % 2 else f"{n}" for n in range(30)], "left out",
                           f"{UNITS} '1.5 kg' and '0'; {ONE_UNIT}, --category 'a' takes it for categories"),
    "few with several units": (["2 km", "3 mi", "2 mi"] * 9, "3 categories",
                               f"{UNITS} '2 km' and '3 mi', read as categories; {ONE_UNIT}"),
    "codes, not units": ([f"{n % 9}T" for n in range(60)], "9 categories", ""),
    "two styles of dates": ([f"2020-01-{n + 1:02}" if n % 3 else f"{n + 1}.01.2020" for n in range(30)], "left out",
                            f"{STYLES} '2020-12-31' and '31.12.2020'; {ONE_STYLE} a date, --category 'a' takes it for "
                            "categories"),
    "bounds": ([*["<0.1"] * 30, *(f"{n}.5" for n in range(25))], "26 categories",
               "holds texts such as '<0.1' among numbers, read as categories; --na '<0.1' takes it for a missing "
               "value"),
}  # fmt: skip


@pytest.mark.parametrize(("values", "taken_for", "why"), NEARLY.values(), ids=NEARLY)
def test_texts_that_are_nearly_numbers_or_dates_are_said_with_the_cure(
    values: list[str], taken_for: str, why: str
) -> None:
    about, _, learned = column(values)
    assert (about.taken_for, about.why) == (taken_for, why)
    assert len(learned.notes) == bool(why)


def test_a_unit_behind_a_number_may_be_missing_in_new_data() -> None:
    _, X, learned = column(["70.1 kg", "80 kg", "65 kg", "75 kg", "90 kg", "60 kg"])
    new = typed(pd.DataFrame({"a": [70.1, 80.0], "b": "u", "y": 1.0}))
    np.testing.assert_array_equal(read(new, learned.recipe).X[:, 0], X[:2, 0])
    assert learned.recipe == type(learned.recipe).from_notes(learned.recipe.as_notes())


CODES = "holds codes such as {!r} among whole numbers, read as categories"


@pytest.mark.parametrize(
    ("values", "taken_for", "why"),
    [
        (["2", "3", "4", "5more"] * 6, "4 categories", CODES.format("5more")),
        ((["12", "13", "207", "14"] * 4 + ["207a", "c168", "c12"]) * 3, "7 categories", CODES.format("207a")),
        ([*map(str, range(1000, 1040)), *(f"PC {n}" for n in range(9))], "left out", "holds 49 different texts in "
         "49 rows; --category 'a' takes it for categories"),
    ],
)  # fmt: skip
def test_codes_most_of_which_are_whole_numbers_are_texts_said_aloud(
    values: list[str], taken_for: str, why: str
) -> None:
    about, _, learned = column(values)
    assert (about.taken_for, about.why) == (taken_for, why)
    assert len(learned.notes) == 1


@pytest.mark.parametrize(
    "values",
    [
        [*map(str, range(1000)), "n.a.x"],
        [*map(str, range(30)), "12O", "l5"],
        [*map(str, range(30)), "<5", "<10", "<15", "<20"],
        [*map(str, range(30)), "12 kg", "12.5 kg"],
        [*map(str, range(60)), *["unknown"] * 20],
        [*(f"{n}.25" for n in range(40)), "low", "lower", "high", "higher"],
    ],
    ids=["one in a thousand", "two slips", "bounds", "units", "a word that says nothing", "measured"],
)
def test_a_few_texts_among_numbers_are_mistakes(values: list[str]) -> None:
    with pytest.raises(ValueError, match=r"column 'a' must be a number, got '.*'; --category 'a' takes all of it"):
        column(values)


def test_what_the_user_calls_missing_is_missing() -> None:
    source = texts({"a": ["1", "2", "three", "-999", "5", "6"], "y": Y}, missing=("three", "-999"))
    learned = learn(source, Wanted())
    assert (learned.columns[0].taken_for, learned.columns[0].missing) == ("number", 2)
    np.testing.assert_array_equal(read(source, learned.recipe).X[:, 0], [1, 2, np.nan, np.nan, 5, 6])


def test_nothing_to_learn_from_is_refused_with_the_reason_for_each_column() -> None:
    why = r"\('id' counts the rows, as an identifier does; 'b' is missing in every row\)$"
    with pytest.raises(ValueError, match=f"besides the target 'y', got none with a value to learn from {why}"):
        learn(texts({"id": ["1", "2", "3", "4", "5", "6"], "b": [""] * 6, "y": Y}), Wanted())
    alone = "^data.csv must have a column besides the target, got 'a;b' alone; --sep says what stands between columns$"
    with pytest.raises(ValueError, match=alone):
        learn(texts({"a;b": ["1;2", "3;4"]}), Wanted())
