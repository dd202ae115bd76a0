"""Tables as people have them, each made here: read at the first try, left out aloud, or refused with the cure.

Every test looks from outside: a file, a line of the command, and what comes. That the columns were understood shows in
the names of the inputs (``inspect --json``) and in R^2 or accuracy of ``predict`` on all rows, computed here.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import functools
import gzip
import http.server
import io
import json
import lzma
import re
import shlex
import sqlite3
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from runs import cli, pandas
from threadpoolctl import threadpool_limits

pytestmark = pytest.mark.only("numpy")

NETWORK = ("--hidden", "8", "--no-check-gradients", "--picture", "none", "--force", "-o", "m.safetensors")
QUICK = (*NETWORK, "--solver", "lbfgs", "--max-iter", "3")
FITTED = ("--max-iter", "60", "--no-refit")  # enough for R^2 0.99 on a hundred rows
N = 120
RNG = np.random.default_rng(0)
AREA = RNG.uniform(30, 200, N).round(1)
DISTRICT = RNG.choice(["north", "south", "west"], N)
PRICE = (3 * AREA + 100 * (DISTRICT == "north")).round(1)
CLEAN = ("area", "district=north", "district=south", "district=west")


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All that reached the screen."""
        return self.out + self.err

    def note_of(self, *words: str) -> bool:
        """Whether one line of the screen, not of an epoch, has all of these words."""
        return any(all(word in line for word in words) for line in self.said.splitlines())


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Products of matrices of a hundred rows on one thread: several only wait for each other."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """``command("train", "a.csv")`` in a folder of its own."""

    def command(*arguments: str) -> Ran:
        capsys.readouterr()
        status = cli.main(list(arguments))
        return Ran(status, *capsys.readouterr())

    return command


@pytest.fixture
def trained(command: Callable[..., Ran]) -> Callable[..., Ran]:
    """``trained("a.csv")``: the run, which must end with status 0 and without anything on stderr."""

    def trained(name: str, *options: str) -> Ran:
        ran = command("train", name, *QUICK, *options)
        assert (ran.status, ran.err) == (0, ""), ran.said
        return ran

    return trained


@pytest.fixture
def inputs(command: Callable[..., Ran]) -> Callable[[], tuple[str, ...]]:
    """The names of the columns of X of m.safetensors."""

    def inputs() -> tuple[str, ...]:
        header = json.loads(command("inspect", "m.safetensors", "--json").out)
        return tuple(header["notes"]["recipe"]["names"])

    return inputs


@pytest.fixture
def predictions(command: Callable[..., Ran]) -> Callable[..., list[str]]:
    """``predictions("a.csv")``: what m.safetensors predicts, as texts."""

    def predictions(name: str, *options: str) -> list[str]:
        ran = command("predict", "m.safetensors", name, "-o", "p.csv", "--force", *options)
        assert ran.status == 0, ran.said
        with open("p.csv", newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        (place,) = [i for i, each in enumerate(header) if each.startswith("predicted_") and not each.endswith("_std")]
        return [row[place] for row in rows]

    return predictions


@pytest.fixture
def r2(predictions: Callable[..., list[str]]) -> Callable[..., float]:
    """``r2("a.csv", y)``: of the predictions for the rows of a file."""

    def r2(name: str, y: Any, *options: str) -> float:
        residuals = np.asarray(y) - np.asarray(predictions(name, *options), dtype=float)
        return float(1 - np.var(residuals) / np.var(y) - np.mean(residuals) ** 2 / np.var(y))

    return r2


def written(name: str, separator: str = ",", encoding: str = "utf-8", **columns: Any) -> str:
    """Write columns as text, quoted only where they must be; the name of the file."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    Path(name).write_bytes(text.getvalue().encode(encoding))
    return name


def houses(**more: Any) -> dict[str, Any]:
    """Columns area, district, more, and price, the last."""
    return {"area": AREA, "district": DISTRICT, **more, "price": PRICE}


def left_out(ran: Ran, names: tuple[str, ...], column: str) -> None:
    """The column is no input, and a line says so."""
    assert not [name for name in names if name.partition("=")[0] == column], names
    assert ran.note_of("left out", column), ran.said


def refused(ran: Ran, *words: str) -> None:
    """One sentence on stderr that has these words, and nothing else."""
    assert ran.status == 2, ran.said
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1, ran.err
    assert not re.search(r"Traceback|Warning|Error tokenizing|pandas|pyarrow|openpyxl", ran.said)
    for word in words:
        assert word in ran.err


# --- 1: types are decided once ---------------------------------------------------------------------------------------

EARLY, LONG = 66_000, 66_100  # rows; readers take up to 65,536 at a time
LATE = {
    "codes": (["00001", "00002", "00003"], ["00001", "B7"], {"00001", "00002", "00003", "B7"}),
    "whole numbers before texts": (["1", "2", "3"], ["2", "high"], {"1", "2", "3", "high"}),
    "truth before unknown": (["TRUE", "FALSE"], ["TRUE", "unknown"], {"TRUE", "FALSE", "unknown"}),
}


@pytest.mark.parametrize(("early", "late", "categories"), LATE.values(), ids=LATE)
def test_a_type_does_not_depend_on_where_a_batch_ends(
    early: list[str], late: list[str], categories: set[str], folder: Path, command: Callable[..., Ran],
    inputs: Callable[[], tuple[str, ...]],
) -> None:  # fmt: skip
    kind = [(early if i < EARLY else late)[i % len(early if i < EARLY else late)] for i in range(LONG)]
    written("a.csv", kind=kind, y=[f"{len(text)}.{i % 2}" for i, text in enumerate(kind)])
    ran = command("train", "a.csv", *NETWORK, "--category", "kind", "--batch-size", "8000", "--max-iter", "1")
    assert ran.status == 0, ran.said
    assert {name.partition("=")[2] for name in inputs()} == categories


TRUTH = {"TRUE and FALSE": ("TRUE", "FALSE"), "True and False": ("True", "False"), "true and false": ("true", "false")}


@pytest.mark.parametrize("spelled", TRUTH.values(), ids=TRUTH)
def test_truth_values_are_the_same_in_every_spelling_and_format(
    spelled: tuple[str, str], folder: Path, trained: Callable[..., Ran], command: Callable[..., Ran],
    predictions: Callable[..., list[str]], r2: Callable[..., float],
) -> None:  # fmt: skip
    new = np.arange(N) % 3 == 0
    y = AREA + 80 * new
    trained(written("a.csv", area=AREA, new=np.where(new, *spelled), y=y), *FITTED)
    assert r2("a.csv", y) > 0.99
    assert command("evaluate", "m.safetensors", "a.csv").status == 0
    once = predictions("a.csv")
    for other in TRUTH.values():
        assert predictions(written("b.csv", area=AREA, new=np.where(new, *other))) == once
    pandas.DataFrame({"area": AREA, "new": new}).to_parquet("b.parquet")
    assert predictions("b.parquet") == once


def test_a_target_of_truth_values_is_two_classes(
    folder: Path, trained: Callable[..., Ran], command: Callable[..., Ran], predictions: Callable[..., list[str]]
) -> None:
    sold = np.where(AREA > 100, "TRUE", "FALSE")
    trained(written("a.csv", area=AREA, sold=sold), *FITTED)
    assert np.mean(np.asarray(predictions("a.csv")) == sold) > 0.95
    assert command("evaluate", "m.safetensors", "a.csv").status == 0
    pandas.DataFrame({"area": AREA, "sold": AREA > 100}).to_parquet("b.parquet")
    ran = command("evaluate", "m.safetensors", "b.parquet")
    assert ran.status == 0, ran.said


def test_a_whole_number_category_with_a_missing_value_in_parquet_is_no_fraction(
    folder: Path,
    trained: Callable[..., Ran],
    predictions: Callable[..., list[str]],
    inputs: Callable[[], tuple[str, ...]],
) -> None:
    rooms = np.arange(N) % 3 + 5
    frame = pandas.DataFrame({"area": AREA, "rooms": rooms.astype(float), "y": AREA + 50 * (rooms == 6)})
    trained(written("a.csv", area=AREA, rooms=rooms, y=frame["y"]), "--category", "rooms")
    assert set(inputs()) >= {"area", "rooms=5", "rooms=6", "rooms=7"}
    once = predictions("a.csv")
    frame.to_parquet("whole.parquet")
    assert predictions("whole.parquet") == once
    frame.loc[N - 1, "rooms"] = None
    frame.to_parquet("gap.parquet")
    assert predictions("gap.parquet")[:-1] == once[:-1]
    trained("gap.parquet", "--category", "rooms")
    assert set(inputs()) >= {"area", "rooms=5", "rooms=6", "rooms=7"}
    assert not [name for name in inputs() if "6.0" in name]


def test_text_is_read_as_it_was_read_in_training(
    folder: Path, trained: Callable[..., Ran], predictions: Callable[..., list[str]], command: Callable[..., Ran]
) -> None:
    code = np.asarray(["00001", "1", "B7"])[np.arange(N) % 3]
    written("a.csv", area=AREA, code=code, y=AREA + 60 * (code == "1"))
    trained("a.csv")
    once = predictions("a.csv")
    chosen = [i for i in range(N) if code[i] != "B7"]  # looks like a column of numbers
    assert predictions(written("b.csv", area=AREA[chosen], code=code[chosen])) == [once[i] for i in chosen]
    singly = np.asarray(predictions("a.csv", "--rows", "1"), dtype=float)
    np.testing.assert_allclose(singly, np.asarray(once, dtype=float), rtol=1e-5)  # float32, products of other sizes


# --- 2: headers that are shorter than the rows -----------------------------------------------------------------------


def r_table(separator: str = " ", header: str = '"area" "rooms" "price"') -> str:
    """As R's ``write.table`` writes it: the names of the rows have no name."""
    rows = [separator.join((f'"{i + 1}"', str(AREA[i]), str(i % 5), str(PRICE[i]))) for i in range(N)]
    return "\n".join([header.replace(" ", separator), *rows, ""])


@pytest.mark.parametrize("separator", [" ", ",", "\t", ";"])
def test_row_names_as_r_writes_them_shift_no_column(
    separator: str, folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]]
) -> None:
    Path("a.csv").write_text(r_table(separator))
    ran = trained("a.csv")
    assert inputs() == ("area", "rooms")
    assert ran.note_of("note", "row names") or ran.note_of("note", "left out") or ran.note_of("note", "first column")


SHORT = {
    "counts in place of names": ("569,30,malignant,benign\n", 6),
    "two names too few": ("a,b,c\n", 5),
    "one name too few and no row names": ("a,b\n", 3),
    "a name too many": ("a,b,c,d\n", 3),
}


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize(("header", "fields"), SHORT.values(), ids=SHORT)
def test_a_header_of_another_length_is_refused(
    header: str, fields: int, options: tuple[str, ...], folder: Path, command: Callable[..., Ran]
) -> None:
    rows = "".join(",".join(f"{AREA[i] + j % 2:.1f}" for j in range(fields)) + "\n" for i in range(0, N, 2))
    Path("a.csv").write_text(header + rows * 2)  # first columns that repeat name no rows
    refused(command("train", "a.csv", *QUICK, *options), "a.csv", "header")
    assert not Path("m.safetensors").exists()


def test_a_separator_at_the_end_of_every_row_shifts_no_column(
    folder: Path, command: Callable[..., Ran], r2: Callable[..., float]
) -> None:
    Path("a.csv").write_text("area,price\n" + "".join(f"{a},{3 * a:.1f},\n" for a in AREA))
    ran = command("train", "a.csv", *QUICK, *FITTED)
    if ran.status == 0:
        assert r2("a.csv", 3 * AREA) > 0.99
    else:
        refused(ran, "a.csv", "header")


# --- 3: what is said when learning ends ------------------------------------------------------------------------------


def test_a_falling_validation_score_is_not_called_improving(folder: Path, command: Callable[..., Ran]) -> None:
    random = np.random.default_rng(1)
    columns = {f"x{i}": x for i, x in enumerate(random.normal(size=(12, 150)).round(3))}
    written("noise.csv", **columns, y=random.integers(0, 2, 150))
    watching = ("--early-stopping", "--n-iter-no-change", "1000", "--lr", "0.05", "--max-iter", "40", "--hidden", "64")
    ran = command("train", "noise.csv", *NETWORK, *watching)
    assert ran.status == 0, ran.said
    assert "was still improving" not in ran.said
    assert re.search(r"best.*epoch \d+|epoch \d+.*best", ran.out), ran.out


def test_rows_that_nothing_watches_are_learned_from(folder: Path, command: Callable[..., Ran]) -> None:
    ran = command("train", written("a.csv", **houses()), *NETWORK, "--max-iter", "2", "--no-early-stopping")
    assert re.search(r"\b96 rows to train on", ran.out), ran.out  # 120 less 24 to test on


# --- 4: text that is no category -------------------------------------------------------------------------------------

AMOUNT = (AREA * 100).round()
NUMBERS = {
    "thousands": [f"{x:,.0f}" for x in AMOUNT],
    "thousands and cents": [f"{x + 0.25:,.2f}" for x in AMOUNT],
    "dollars": [f"${x + 0.5:,.2f}" for x in AMOUNT],
    "euros behind": [f"{x:.2f} €" for x in AMOUNT],
    "pounds": [f"£{x:,.0f}" for x in AMOUNT],
    "percent": [f"{x / 200:.1f}%" for x in AMOUNT],
    "percent with a blank": [f"{x / 200:.1f} %" for x in AMOUNT],
    "signs": [f"{x - 10_000:+,.0f}" for x in AMOUNT],
    "exponents": [f"{x:.4e}" for x in AMOUNT],
    "blanks around": [f"  {x:.0f} " for x in AMOUNT],
}


@pytest.mark.parametrize("texts", NUMBERS.values(), ids=NUMBERS)
def test_numbers_as_people_write_them_are_numbers(
    texts: list[str], folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]],
    r2: Callable[..., float],
) -> None:  # fmt: skip
    trained(written("a.csv", amount=texts, y=AMOUNT / 7), *FITTED)
    assert inputs() == ("amount",)
    assert r2("a.csv", AMOUNT / 7) > 0.99


@pytest.mark.parametrize("texts", [NUMBERS["thousands"], NUMBERS["dollars"], NUMBERS["percent"]])
def test_a_target_as_people_write_numbers_is_a_regression(
    texts: list[str], folder: Path, trained: Callable[..., Ran], r2: Callable[..., float]
) -> None:
    trained(written("a.csv", area=AREA, amount=texts), *FITTED)
    y = [float(re.sub(r"[^0-9.]", "", text)) for text in texts]
    assert r2("a.csv", y) > 0.99 or r2("a.csv", np.asarray(y) / 100) > 0.99  # percent as parts or as hundredths


DAYS = pandas.date_range("2019-01-01", periods=N, freq="9D")
DATES = {
    "ISO": DAYS.strftime("%Y-%m-%d"),
    "ISO with a time": DAYS.strftime("%Y-%m-%d %H:%M:%S"),
    "ISO with T and Z": DAYS.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "slashes, the year first": DAYS.strftime("%Y/%m/%d"),
    "American": DAYS.strftime("%m/%d/%Y"),
    "dots, the day first": DAYS.strftime("%d.%m.%Y"),
    "names of months": DAYS.strftime("%b %d %Y"),
    "the day before the month's name": DAYS.strftime("%d-%b-%Y"),
}


@pytest.mark.parametrize("texts", DATES.values(), ids=DATES)
def test_dates_are_numbers_that_go_on(
    texts: Any,
    folder: Path,
    trained: Callable[..., Ran],
    inputs: Callable[[], tuple[str, ...]],
    r2: Callable[..., float],
) -> None:
    y = np.arange(N) * 9.0
    trained(written("a.csv", day=texts, y=y), *FITTED)
    assert not [name for name in inputs() if "20" in name]  # no date is a category
    assert r2("a.csv", y) > 0.99


def test_dates_know_their_season(folder: Path, trained: Callable[..., Ran], r2: Callable[..., float]) -> None:
    y = np.cos(DAYS.day_of_year.to_numpy() * 2 * np.pi / 365)
    trained(written("a.csv", day=DATES["ISO"], area=AREA, y=y.round(4)), "--max-iter", "150")
    assert r2("a.csv", y) > 0.9


def test_dates_of_a_parquet_file_are_dates(
    folder: Path, trained: Callable[..., Ran], predictions: Callable[..., list[str]]
) -> None:
    y = np.arange(N) * 9.0
    trained(written("a.csv", day=DATES["ISO"], y=y))
    once = np.asarray(predictions("a.csv"), dtype=float)
    pandas.DataFrame({"day": DAYS}).to_parquet("b.parquet")
    np.testing.assert_allclose(np.asarray(predictions("b.parquet"), dtype=float), once, rtol=1e-6)


DISTINCT = {
    "names": [f"{first} {last}" for first in "ABCDEFGHIJKL" for last in ("Ash", "Bell", "Cole", "Dunn", "East", "Frost",
              "Gray", "Hill", "Irons", "Jones")],
    "identifiers": [f"k{i:05d}x" for i in RNG.permutation(N)],
    "two of a kind": [f"item {i // 2}" for i in range(N)],
    "free text": [f"A quiet house number {i}, near the park, with {i % 7} trees and a garden." for i in range(N)],
    "addresses of pages": [f"https://example.org/{i}" for i in range(N)],
}  # fmt: skip


@pytest.mark.parametrize("texts", DISTINCT.values(), ids=DISTINCT)
def test_text_that_is_mostly_different_is_never_encoded_in_silence(
    texts: list[str], folder: Path, command: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]],
    r2: Callable[..., float],
) -> None:  # fmt: skip
    written("a.csv", **houses(label=texts))
    ran = command("train", "a.csv", *QUICK, *FITTED)
    if ran.status:
        refused(ran, "label", "--drop")
    else:
        left_out(ran, inputs(), "label")
        assert set(inputs()) >= set(CLEAN)
        assert r2("a.csv", PRICE) > 0.99


def test_free_text_is_called_so(folder: Path, command: Callable[..., Ran]) -> None:
    ran = command("train", written("a.csv", **houses(label=DISTINCT["free text"])), *QUICK)
    assert ran.note_of("label", "free text"), ran.said


@pytest.mark.parametrize("name", ["names", "identifiers", "free text"])
def test_a_target_of_mostly_different_texts_is_refused(name: str, folder: Path, command: Callable[..., Ran]) -> None:
    refused(command("train", written("a.csv", area=AREA, label=DISTINCT[name]), *QUICK), "label", "--target")


def test_a_few_texts_stay_categories(
    folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]], r2: Callable[..., float]
) -> None:
    trained(written("a.csv", **houses()), *FITTED)
    assert inputs() == CLEAN
    assert r2("a.csv", PRICE) > 0.99


# --- 5, 7: columns that count rows, and an index ---------------------------------------------------------------------

COUNTED = {"": range(N), "Unnamed: 0": range(1, N + 1)}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_a_column_without_a_name_that_counts_rows_is_left_out_aloud(
    name: str, first: int, folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]]
) -> None:
    order = np.argsort(PRICE)  # sorted by the target, the number of the row would give it away
    rows = {key: values[order] for key, values in houses().items()}
    ran = trained(written("a.csv", **{name: range(first, N + first)}, **rows))
    assert inputs() == CLEAN
    assert ran.note_of("left out") or ran.note_of("note", "row names")


def test_a_column_without_a_name_in_parquet_that_counts_rows_is_left_out_aloud(
    folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]]
) -> None:
    pandas.DataFrame({"Unnamed: 0": range(N), **houses()}).to_parquet("a.parquet")
    ran = trained("a.parquet")
    assert inputs() == CLEAN
    assert ran.note_of("left out", "Unnamed: 0")


def test_a_column_with_a_name_that_counts_is_kept(
    folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]]
) -> None:
    trained(written("a.csv", day=range(N), y=np.arange(N) * 2.5))
    assert inputs() == ("day",)


@pytest.mark.parametrize("named", ["area", None])
def test_a_pandas_index_in_parquet_does_not_vanish_without_a_word(
    named: str | None, folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]]
) -> None:
    frame = pandas.DataFrame({"half": (AREA / 2).round(), "price": 3 * AREA}, index=AREA).rename_axis(named)
    frame.to_parquet("a.parquet")
    ran = trained("a.parquet")
    assert (named in inputs() if named else False) or ran.note_of("index"), ran.said


INDEXES = {
    "with a name": pandas.Index(AREA / 2, name="half"),
    "of rows that were chosen": pandas.Index(np.arange(N) * 2),
    "of dates": pandas.date_range("2019-01-01", periods=N, name="when"),
    "of two levels": pandas.MultiIndex.from_arrays([DISTRICT, np.arange(N)]),
    "of names": pandas.Index([f"house {i}" for i in range(N)]),
}


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_a_pandas_index_in_parquet_is_never_the_target(
    index: Any,
    folder: Path,
    trained: Callable[..., Ran],
    inputs: Callable[[], tuple[str, ...]],
    r2: Callable[..., float],
) -> None:
    pandas.DataFrame({"area": AREA, "price": 3 * AREA}, index=index).to_parquet("a.parquet")
    assert "target 'price'" in trained("a.parquet", *FITTED).out
    assert "area" in inputs()
    assert "price" not in inputs()
    assert r2("a.parquet", 3 * AREA) > 0.99


def test_a_new_file_with_another_decimal_mark_is_not_misread(
    folder: Path, trained: Callable[..., Ran], command: Callable[..., Ran], predictions: Callable[..., list[str]]
) -> None:
    shown = [f"{a / 10:.3f}" for a in AREA]  # three decimals could be a group of thousands
    trained(
        written(
            "a.csv",
            ";",
            area=[each.replace(".", ",") for each in shown],
            y=[f"{a:.1f}".replace(".", ",") for a in AREA],
        )
    )
    once = np.asarray(predictions("a.csv"), dtype=float)
    written("b.csv", area=shown, other=range(N))
    ran = command("predict", "m.safetensors", "b.csv", "-o", "q.csv")
    if ran.status:
        refused(ran, "b.csv", "--decimal")
    else:
        np.testing.assert_allclose(np.asarray(predictions("b.csv"), dtype=float), once, rtol=1e-4)


def test_a_refusal_of_predict_names_no_option_of_train(folder: Path, command: Callable[..., Ran]) -> None:
    command("train", written("a.csv", **houses(day=DATES["ISO"])), *QUICK)
    for column, value in (("area", "many"), ("day", "soon")):
        columns = {"area": ["50"], "district": ["north"], "day": ["2020-01-01"], column: [value]}
        ran = command("predict", "m.safetensors", written("b.csv", **columns), "-o", "p.csv")
        refused(ran, "row 1", column, value)
        assert not re.search("--(category|drop|missing)", ran.err), ran.err


# --- 6: the interval of a proportion ---------------------------------------------------------------------------------


def test_all_rows_right_are_not_certainly_all(folder: Path, command: Callable[..., Ran]) -> None:
    written("a.csv", area=AREA, size=np.where(AREA > 115, "large", "small"), sure=np.where(AREA > 115, "yes", "no"))
    assert command("train", "a.csv", *QUICK, *FITTED, "--json").status == 0
    score = json.loads(command("evaluate", "m.safetensors", "a.csv", "--json").out.splitlines()[-1])
    n, z = score["rows"], 1.959964
    assert (score["value"], score["high"]) == (1.0, 1.0)
    assert score["low"] == pytest.approx(n / (n + z * z), abs=2e-3)  # Wilson's bound at n of n


# --- 8, 9: nothing is lost -------------------------------------------------------------------------------------------


class Failing(io.StringIO):
    """A standard output that fails from the line of the test score on."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.full = error, False

    def write(self, text: str) -> int:
        self.full = self.full or "test" in text.split(":")[0]
        if self.full:
            raise self.error
        return super().write(text)


FAILURES: dict[str, Callable[[], Any]] = {
    "ASCII": lambda: io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
    "cp1252": lambda: io.TextIOWrapper(io.BytesIO(), encoding="cp1252"),
    "a full disk": lambda: Failing(OSError(errno.ENOSPC, "No space left on device")),
    "a closed pipe": lambda: Failing(BrokenPipeError(errno.EPIPE, "Broken pipe")),
    "a closed stream": lambda: Failing(ValueError("I/O operation on closed file.")),
}


@pytest.mark.parametrize("stream", FAILURES.values(), ids=FAILURES)
def test_the_model_is_saved_before_anything_is_printed_about_it(
    stream: Callable[[], Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written("a.csv", area=AREA, city=np.where(AREA > 115, "Köln", "Łódź"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream())
        with contextlib.suppress(Exception, SystemExit):
            cli.main(["train", "a.csv", *QUICK])
    assert cli.main(["inspect", "m.safetensors"]) == 0


@pytest.mark.parametrize("output", ["a.csv", "./a.csv", "link.csv", "model.csv"])
def test_predict_never_writes_over_what_it_reads(output: str, folder: Path, command: Callable[..., Ran]) -> None:
    written("a.csv", **houses())
    assert command("train", "a.csv", *QUICK).status == 0
    Path("link.csv").symlink_to("a.csv")
    Path("model.csv").symlink_to("m.safetensors")
    before = Path("a.csv").read_bytes(), Path("m.safetensors").read_bytes()
    refused(command("predict", "m.safetensors", "a.csv", "-o", output, "--force"), Path(output).name)
    assert (Path("a.csv").read_bytes(), Path("m.safetensors").read_bytes()) == before


# --- 11: kinds of files ----------------------------------------------------------------------------------------------


def text_of(separator: str = ",", decimal: str = ".", header: bool = True) -> str:
    rows = [
        [f"{a}".replace(".", decimal), d, f"{p}".replace(".", decimal)]
        for a, d, p in zip(*houses().values(), strict=True)
    ]
    return "".join(separator.join(row) + "\n" for row in ([["area", "district", "price"]] if header else []) + rows)


def zipped(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", text)
    return file.getvalue()


def zstandard(text: str) -> bytes:
    return bytes(pytest.importorskip("zstandard").ZstdCompressor().compress(text.encode()))


TEXTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "semicolons": ("a.csv", lambda: text_of(";").encode()),
    "tabs in .csv": ("a.csv", lambda: text_of("\t").encode()),
    "tabs in .txt": ("a.txt", lambda: text_of("\t").encode()),
    "commas in .tsv": ("a.tsv", lambda: text_of(",").encode()),
    "bars": ("a.csv", lambda: text_of("|").encode()),
    "decimal commas": ("a.csv", lambda: text_of(";", ",").encode()),
    "decimal commas and tabs": ("a.tsv", lambda: text_of("\t", ",").encode()),
    "a byte order mark": ("a.csv", lambda: b"\xef\xbb\xbf" + text_of().encode()),
    "UTF-16": ("a.csv", lambda: text_of().encode("utf-16")),
    "Windows' ends of lines": ("a.csv", lambda: text_of().replace("\n", "\r\n").encode()),
    "no end of the last line": ("a.csv", lambda: text_of().rstrip("\n").encode()),
    "blank lines at the end": ("a.csv", lambda: text_of().encode() + b"\n\n"),
    "upper case suffix": ("a.CSV", lambda: text_of().encode()),
    "gzip": ("a.csv.gz", lambda: gzip.compress(text_of().encode())),
    "xz": ("a.csv.xz", lambda: lzma.compress(text_of().encode())),
    "zip": ("a.csv.zip", lambda: zipped(text_of())),
    "zstandard": ("a.csv.zst", lambda: zstandard(text_of())),
}


@pytest.fixture(scope="module")
def clean_score(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The test score of the plain file, which every other way to write the same table must have."""
    return score_of(tmp_path_factory.mktemp("clean"), "a.csv", text_of().encode())


def score_of(folder: Path, name: str, raw: bytes | None, *options: str) -> float:
    """The test score of a file in a folder."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as out:
        if raw is not None:
            Path(name).write_bytes(raw)
        status = cli.main(["train", name, *QUICK, "--json", *options])
    assert status == 0
    return float(json.loads(out.getvalue().splitlines()[-1])["test"]["value"])


@pytest.mark.parametrize(("name", "raw"), TEXTS.values(), ids=TEXTS)
def test_a_text_file_is_read_however_it_is_written(
    name: str, raw: Callable[[], bytes], tmp_path: Path, clean_score: float
) -> None:
    assert score_of(tmp_path, name, raw()) == pytest.approx(clean_score, abs=1e-9)


@pytest.mark.parametrize("kind", ["semicolons", "tabs in .csv", "bars", "decimal commas", "UTF-16"])
def test_what_was_found_by_looking_is_said(kind: str, folder: Path, trained: Callable[..., Ran]) -> None:
    name, raw = TEXTS[kind]
    Path(name).write_bytes(raw())
    words = {"semicolons": ";|semicolon", "tabs in .csv": "tab", "bars": r"\|", "decimal commas": "decimal|comma"}
    assert re.search(rf"note: .*({words.get(kind, 'utf-16|UTF-16')})", trained(name).out)


TRAPS = {
    "other separators in quoted text": ["up; down; left | right", "a; b; c; d | e"],
    "commas in quoted text": ["north, by the sea", "south, by the wood"],
    "ends of lines in quoted text": ["first\nsecond", "first\nthird"],
    "quotes in quoted text": ['the "old" town', 'the "new" town'],
}


@pytest.mark.parametrize("texts", TRAPS.values(), ids=TRAPS)
def test_quoted_text_decides_nothing(
    texts: list[str], folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]],
    r2: Callable[..., float],
) -> None:  # fmt: skip
    trained(written("a.csv", area=AREA, place=np.where(DISTRICT == "north", *texts), price=PRICE), *FITTED)
    assert set(inputs()) == {"area", *(f"place={text}" for text in texts)}
    assert r2("a.csv", PRICE) > 0.99


def test_latin_1_is_read(folder: Path, trained: Callable[..., Ran], predictions: Callable[..., list[str]]) -> None:
    city = np.where(AREA > 115, "Köln", "Zürich")
    written("a.csv", encoding="latin-1", area=AREA, city=city)
    ran = trained("a.csv", *FITTED)
    assert re.search(r"note: .*(latin-1|Latin-1|ISO-8859-1|iso-8859-1|1252)", ran.out)
    assert np.mean(np.asarray(predictions("a.csv")) == city) > 0.95


def frames() -> Any:
    return pandas.DataFrame(houses())


def in_sqlite(path: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        frames().to_sql("houses", connection, index=False)
        connection.execute("create table other (a)")
        connection.commit()


def as_excel(path: str) -> None:
    pytest.importorskip("openpyxl")
    frames().to_excel(path, index=False)


TYPED: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Parquet": ("a.parquet", lambda path: frames().to_parquet(path)),
    "Arrow": ("a.arrow", lambda path: frames().to_feather(path)),
    "JSON": ("a.json", lambda path: frames().to_json(path, orient="records")),
    "JSON lines": ("a.jsonl", lambda path: frames().to_json(path, orient="records", lines=True)),
    "Excel": ("a.xlsx", as_excel),
    "SQLite": ("a.db::houses", lambda name: in_sqlite(name.partition("::")[0])),
}


@pytest.mark.parametrize(("name", "write"), TYPED.values(), ids=TYPED)
def test_a_file_with_types_gives_the_same_model(
    name: str, write: Callable[[str], Any], tmp_path: Path, clean_score: float
) -> None:
    with contextlib.chdir(tmp_path):
        write(name)
    assert score_of(tmp_path, name, None) == pytest.approx(clean_score, abs=1e-9)


def test_numbers_in_npy_are_rows_of_numbers(folder: Path, trained: Callable[..., Ran]) -> None:
    np.save("a.npy", np.stack([AREA, AREA**2, 3 * AREA + 1], axis=1))
    assert "regression" in trained("a.npy").out


def test_a_weka_file_is_read_or_refused_with_a_word(folder: Path, command: Callable[..., Ran]) -> None:
    rows = "".join(f"{a},{d},{p}\n" for a, d, p in zip(*houses().values(), strict=True))
    head = "@relation h\n@attribute area numeric\n@attribute district {north,south,west}\n@attribute price numeric\n"
    Path("a.arff").write_text(f"{head}@data\n{rows}")
    ran = command("train", "a.arff", *QUICK)
    if ran.status:
        refused(ran, "a.arff")


def test_standard_input_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_score: float) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text_of().encode())))
    assert score_of(tmp_path, "-", None) == pytest.approx(clean_score, abs=1e-9)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a log."""

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a folder."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_an_address_is_read(name: str, tmp_path: Path, served: str, clean_score: float) -> None:
    raw = text_of().encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    assert score_of(tmp_path, f"{served}/{name}", None) == pytest.approx(clean_score, abs=1e-9)


def test_an_address_that_has_nothing_is_one_sentence(served: str, folder: Path, command: Callable[..., Ran]) -> None:
    refused(command("train", f"{served}/none.csv", *QUICK), "none.csv")


OPTIONS = {
    "separator": (text_of("!"), ("--sep", "!")),
    "decimal": (text_of(";", ","), ("--sep", ";", "--decimal", ",")),
    "encoding": (text_of(), ("--encoding", "utf-8")),
}


@pytest.mark.parametrize(("text", "options"), OPTIONS.values(), ids=OPTIONS)
def test_an_option_decides_how_text_is_read(
    text: str, options: tuple[str, ...], tmp_path: Path, clean_score: float
) -> None:
    assert score_of(tmp_path, "a.csv", text.encode(), *options) == pytest.approx(clean_score, abs=1e-9)


@pytest.mark.parametrize("options", [(), ("--no-header",)], ids=["found", "said"])
def test_a_file_without_a_header_is_read(
    options: tuple[str, ...], folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]]
) -> None:
    Path("a.csv").write_text("".join(f"{a},{i % 7},{3 * a:.1f}\n" for i, a in enumerate(AREA)))
    ran = trained("a.csv", *options)
    assert len(inputs()) == 2
    assert f"{N * 4 // 5} rows to train on" in ran.out or f"{N} rows" in ran.out  # the first line is a row
    assert options or ran.note_of("note", "header")


def test_a_few_whole_numbers_stay_numbers(
    folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]]
) -> None:
    trained(written("a.csv", rooms=np.arange(N) % 5 + 1, floor=np.arange(N) % 3 - 1, price=PRICE))
    assert inputs() == ("rooms", "floor")


def test_a_mark_for_missing_values_is_learned_by_na(
    folder: Path, command: Callable[..., Ran], trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]]
) -> None:
    amount = [str(a) for a in AREA]
    amount[3] = amount[50] = "n/k"
    written("a.csv", amount=amount, y=AREA)
    refused(command("train", "a.csv", *QUICK), "amount", "n/k", "--na")
    trained("a.csv", "--na", "n/k")
    assert inputs()[0] == "amount"


BROKEN = (".csv.gz", ".csv.xz", ".csv.zip", ".parquet", ".arrow", ".json", ".jsonl", ".xlsx", ".npy", ".npz", ".db",
          ".arff", ".csv.zst")  # fmt: skip


@pytest.mark.parametrize("suffix", BROKEN)
def test_a_broken_file_is_one_sentence(suffix: str, folder: Path, command: Callable[..., Ran]) -> None:
    Path(f"a{suffix}").write_bytes(b"\x00\x01 broken \xff" * 20)
    refused(command("train", f"a{suffix}::t" if suffix == ".db" else f"a{suffix}", *QUICK), f"a{suffix}")


# --- 12: missing values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["", "?", "-", ".", "NA", "N/A", "NaN", "null", "NULL", "None", "#N/A"])
def test_a_mark_among_numbers_is_a_missing_value(
    mark: str, folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]]
) -> None:
    area = [mark if i % 10 == 0 else str(a) for i, a in enumerate(AREA)]
    ran = trained(written("a.csv", area=area, rooms=np.arange(N) % 4, price=PRICE))
    assert inputs()[0] == "area"
    assert not [name for name in inputs() if re.match(r"area=[0-9?.-]*$", name)]
    assert ran.note_of("missing", "area")


def test_a_missing_number_is_the_median_and_is_known_to_be_missing(
    folder: Path, trained: Callable[..., Ran], r2: Callable[..., float], command: Callable[..., Ran],
    predictions: Callable[..., list[str]],
) -> None:  # fmt: skip
    gone = np.arange(N) % 4 == 0
    y = np.where(gone, 500.0, AREA)  # what is missing says more than any number
    written("a.csv", area=np.where(gone, "", AREA.astype(str)), y=y)
    trained("a.csv", *FITTED)
    assert r2("a.csv", y) > 0.99
    assert command("evaluate", "m.safetensors", "a.csv").status == 0
    assert float(predictions(written("b.csv", area=["", "100"]))[0]) == pytest.approx(500, abs=20)


def test_a_missing_category_is_a_level_of_its_own(
    folder: Path, trained: Callable[..., Ran], r2: Callable[..., float]
) -> None:
    kind = np.asarray(["a", "b", ""])[np.arange(N) % 3]
    y = AREA + np.where(kind == "", 200, 0)
    trained(written("a.csv", area=AREA, kind=kind, y=y), *FITTED)
    assert r2("a.csv", y) > 0.99


def test_a_model_of_whole_data_predicts_where_something_is_missing(
    folder: Path, trained: Callable[..., Ran], predictions: Callable[..., list[str]]
) -> None:
    trained(written("a.csv", **houses()))
    guesses = predictions(written("b.csv", area=["", "100"], district=["north", ""]))
    assert np.isfinite(np.asarray(guesses, dtype=float)).all()


@pytest.mark.parametrize("target", ["number", "text"])
def test_rows_without_a_target_are_dropped_aloud(
    target: str, folder: Path, trained: Callable[..., Ran], predictions: Callable[..., list[str]]
) -> None:
    known = [str(p) for p in PRICE] if target == "number" else np.where(AREA > 100, "big", "small").tolist()
    ran = trained(written("a.csv", area=AREA, district=DISTRICT, y=["" if i < 20 else y for i, y in enumerate(known)]))
    assert ran.note_of("20", "target")
    assert "80 rows to train on" in ran.out
    assert len(predictions("a.csv")) == N
    assert "" not in predictions("a.csv")


def test_columns_without_a_use_are_left_out_aloud(
    folder: Path, trained: Callable[..., Ran], inputs: Callable[[], tuple[str, ...]]
) -> None:
    ran = trained(written("a.csv", **houses(empty=[""] * N, same=[3] * N, alike=["x"] * N)))
    assert inputs() == CLEAN
    for column in ("empty", "same", "alike"):
        left_out(ran, inputs(), column)


def test_missing_values_can_be_refused_dropped_or_filled(folder: Path, command: Callable[..., Ran]) -> None:
    written("a.csv", area=["" if i % 10 == 0 else a for i, a in enumerate(AREA)], price=PRICE)
    refused(command("train", "a.csv", *QUICK, "--missing", "refuse"), "row 1, column 'area'", "--missing")
    for way in ("drop", "fill", "auto"):
        assert command("train", "a.csv", *QUICK, "--missing", way).status == 0


# --- 13, 14: predictions ---------------------------------------------------------------------------------------------


def test_an_unknown_category_is_counted_not_refused(folder: Path, command: Callable[..., Ran]) -> None:
    command("train", written("a.csv", **houses()), *QUICK)
    written("b.csv", area=[50, 60, 70, 80], district=["north", "east", "east", "south"])
    ran = command("predict", "m.safetensors", "b.csv", "-o", "p.csv")
    assert ran.status == 0, ran.said
    assert ran.note_of("district", "2")
    assert len(Path("p.csv").read_text().splitlines()) == 5
    command("train", "a.csv", *QUICK, "--unknown", "refuse")
    refused(command("predict", "m.safetensors", "b.csv", "-o", "q.csv"), "row 2", "district", "east")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("kept", ["id", "all"])
def test_predict_keeps_columns_as_they_are(suffix: str, kept: str, folder: Path, command: Callable[..., Ran]) -> None:
    command("train", written("a.csv", **houses()), *QUICK)
    written("b.csv", id=["00017", "x,1"], area=[50.5, 60], district=["north", "south"])
    ran = command("predict", "m.safetensors", "b.csv", "--keep", kept, "-o", f"p{suffix}")
    assert ran.status == 0, ran.said
    read = pandas.read_parquet("p.parquet") if suffix == ".parquet" else pandas.read_csv("p.csv", dtype=str)
    assert read["id"].tolist() == ["00017", "x,1"]
    assert set(read.columns) == {"id", "predicted_price", *(("area", "district") if kept == "all" else ())}


def test_a_column_to_keep_must_be_there(folder: Path, command: Callable[..., Ran]) -> None:
    command("train", written("a.csv", **houses()), *QUICK)
    refused(command("predict", "m.safetensors", "a.csv", "--keep", "aera"), "aera", "did you mean 'area'?")


def test_new_rows_without_a_header_are_read_as_the_training_with_no_header(
    folder: Path, trained: Callable[..., Ran], command: Callable[..., Ran], predictions: Callable[..., list[str]]
) -> None:
    first = {"price": PRICE, "area": AREA, "district": DISTRICT}
    trained(written("a.csv", price=PRICE, area=AREA, district=DISTRICT), "--target", "price")
    once = predictions("a.csv")
    for columns in (first, {"area": AREA, "district": DISTRICT}):
        rows = zip(*columns.values(), strict=True)
        Path("b.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
        refused(command("predict", "m.safetensors", "b.csv", "-o", "q.csv"), "b.csv", "--no-header")
        assert predictions("b.csv", "--no-header") == once


def test_new_dates_in_another_style_are_read_aloud(
    folder: Path, trained: Callable[..., Ran], command: Callable[..., Ran], predictions: Callable[..., list[str]]
) -> None:
    trained(written("a.csv", day=DATES["ISO"], y=AREA))
    once = predictions("a.csv")
    for style in ("%d.%m.%Y", "%d/%m/%Y"):
        assert predictions(written("b.csv", day=DAYS.strftime(style))) == once
    ran = command("predict", "m.safetensors", "b.csv", "-o", "q.csv")
    assert ran.note_of("another style", "'day'", "is read as")


# --- 15, 16, 17: looking before and after ----------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["train a.csv --dry-run", "inspect a.csv"])
def test_a_table_is_looked_at_without_training(line: str, folder: Path, command: Callable[..., Ran]) -> None:
    written("a.csv", **houses(day=DATES["ISO"], same=[3] * N, half=["" if i % 2 else 7 + i for i in range(N)]))
    ran = command(*line.split())
    assert (ran.status, ran.err) == (0, ""), ran.said
    for words in (
        ("area", "number"),
        ("district", "3"),
        ("day", "date"),
        ("same", "left out"),
        ("half", "60"),
        ("price",),
    ):
        assert ran.note_of(*words), words
    assert [path.name for path in folder.iterdir()] == ["a.csv"]


def test_accuracy_that_the_commonest_class_has_too_is_not_praised(folder: Path, command: Callable[..., Ran]) -> None:
    fraud = np.where(np.arange(400) % 50 == 0, "fraud", "fair")
    written("a.csv", noise=np.random.default_rng(2).normal(size=400).round(3), fraud=fraud)
    ran = command("train", "a.csv", *NETWORK, "--preset", "medium", "--max-iter", "3")
    assert ran.status == 0, ran.said
    assert ran.note_of("--class-weight balanced")
    assert ran.note_of("recall")
    for word in ("balanced accuracy", "F1", "AUC", "log-loss"):
        assert word.lower() in ran.out.lower().replace("log loss", "log-loss"), word


def test_the_column_that_matters_is_named_first(folder: Path, command: Callable[..., Ran]) -> None:
    written("a.csv", noise=RNG.normal(size=N).round(3), **houses())
    ran = command("train", "a.csv", *QUICK, *FITTED, "--importance")
    assert ran.status == 0, ran.said
    shown = re.split("shuffled|importance", ran.out, maxsplit=1)[1]
    assert shown.index("area") < shown.index("district") < shown.index("noise")


def test_a_score_of_cross_validation(folder: Path, command: Callable[..., Ran]) -> None:
    ran = command("train", written("a.csv", **houses()), *QUICK, "--cv", "3")
    assert ran.status == 0, ran.said
    assert ran.note_of("3", "fold") or ran.note_of("cross-validation")


# --- 20: what is printed works as printed ----------------------------------------------------------------------------


def test_the_line_that_does_it_again_works_as_printed(folder: Path, command: Callable[..., Ran]) -> None:
    name = written("my houses.csv", **houses(**{"it's new": np.arange(N) % 2}))
    ran = command("train", name, *QUICK, "--drop", "it's new", "--missing", "drop")
    (line,) = re.findall(r"^again: mlp-xp (.*)$", ran.out, re.MULTILINE)
    again = command(*shlex.split(line), "--force", "-o", "n.safetensors")
    assert again.status == 0, again.said
    scores = [re.findall(r"^test .*$", each.out, re.MULTILINE) for each in (ran, again)]
    assert scores[0] == scores[1] != []


@pytest.mark.parametrize("name", ["hidden", "hidden_layer_sizes", "hidden-layer-sizes"])
def test_a_file_of_settings_takes_the_names_of_the_options(
    name: str, folder: Path, command: Callable[..., Ran]
) -> None:
    Path("run.toml").write_text(f'data = "a.csv"\n{name} = [5, 4]\nepochs = 2\nlr = 0.01\n')
    written("a.csv", **houses())
    ran = command("train", "--config", "run.toml", "--picture", "none", "--no-check-gradients", "-o", "m.safetensors")
    assert ran.status == 0, ran.said
    assert "-5-4-1" in ran.out


@pytest.mark.parametrize("classes", [2, 100])
def test_a_picture_of_long_names_draws_without_a_warning(
    classes: int, folder: Path, command: Callable[..., Ran]
) -> None:
    kinds = [f"a class whose name is rather long, number {i % classes}" for i in range(3 * classes + 60)]
    x = np.arange(len(kinds)) % classes * 1e9
    written("a.csv", **{"a feature whose name is rather long as well": x, "kind": kinds})
    ran = command("train", "a.csv", "--hidden", "4", "--epochs", "2", "--no-check-gradients", "-o", "m.safetensors")
    assert (ran.status, ran.err) == (0, ""), ran.said
    assert "Warning" not in ran.out
    assert Path("m.png").read_bytes().startswith(b"\x89PNG")
