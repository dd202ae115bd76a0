"""Text tables as people have them: how each is written is found by looking, and said where it is not plain."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mlp_xp import data
from mlp_xp.data import Reading, dialect

pytestmark = pytest.mark.only("numpy")
pandas = pytest.importorskip("pandas", reason="pandas holds tables")
pytest.importorskip("pyarrow", reason="Arrow reads tables")

ROWS = [["1.5", "x"], ["2.5", "y"]]


def opened(folder: Path, raw: str | bytes, name: str = "data.csv", **reading: Any) -> data.Source:
    """The source of a file that holds ``raw``."""
    (folder / name).write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return data.open_data(str(folder / name), Reading(**reading))


def rows_of(source: data.Source, rows: int | None = None) -> list[list[Any]]:
    """All rows; each column must be text."""
    found: list[list[Any]] = []
    for chunk in source.chunks(rows):
        assert all(pandas.api.types.is_string_dtype(dtype) for dtype in chunk.X.dtypes)
        assert tuple(chunk.X.columns) == source.columns
        assert chunk.first == len(found)
        found += chunk.X.to_numpy().tolist()
    return found


def refused(folder: Path, raw: str | bytes, name: str = "data.csv", **reading: Any) -> str:
    """The sentence, without the folder, with which a file is refused."""
    with pytest.raises(ValueError, match=r"data") as caught:
        rows_of(opened(folder, raw, name, **reading))
    sentence = str(caught.value).replace(f"{folder}/", "")
    assert "\n" not in sentence
    return sentence


# --- what is found -----------------------------------------------------------------------------------------------

NUMBERED = (
    "no line names the columns, so they are called column_1 to column_{}; --header takes the first line for names"
)

# text -> columns, rows, what is said
FOUND: dict[str, tuple[str, list[str], list[list[str]], list[str]]] = {
    "plain": ("a,b\n1.5,x\n2.5,y\n", ["a", "b"], ROWS, []),
    "no end of the last line": ("a,b\n1.5,x\n2.5,y", ["a", "b"], ROWS, []),
    "Windows lines": ("a,b\r\n1.5,x\r\n2.5,y\r\n", ["a", "b"], ROWS, []),
    "old Mac lines": ("a,b\r1.5,x\r2.5,y\r", ["a", "b"], ROWS, []),
    "empty lines": ("\n\na,b\n\n1.5,x\n   \n2.5,y\n\n\n", ["a", "b"], ROWS, []),
    "blanks around fields": (" a , b\n1.5 ,x\n\u00a02.5, y\t\n", ["a", "b"], ROWS, []),
    "semicolons": ("a;b\n1.5;x\n2.5;y\n", ["a", "b"], ROWS, ["read with ';' between fields"]),
    "tabs": ("a\tb\n1.5\tx\n2.5\ty\n", ["a", "b"], ROWS, ["read with a tab between fields"]),
    "pipes": ("a|b\n1.5|x\n2.5|y\n", ["a", "b"], ROWS, ["read with '|' between fields"]),
    "blanks": ("  a  b\n1.5  x\n  2.5 y  \n", ["a", "b"], ROWS, ["read with blanks between fields"]),
    "names in single quotes": ("'a','b'\n1.5,x\n2.5,y\n", ["a", "b"], ROWS, []),
    "a name with a single quote": ("a','b'\n1.5,x\n2.5,y\n", ["a'", "'b'"], ROWS, []),
    "one column of days with times": (
        "day\n2019-01-01 00:00:00\n2019-01-02 00:00:00\n", ["day"],
        [["2019-01-01 00:00:00"], ["2019-01-02 00:00:00"]], [],
    ),
    "one column of numbers in groups": ("n\n1 234\n1 567\n", ["n"], [["1 234"], ["1 567"]], []),
    "one column of words": (
        "city\nNew York\nLos Angeles\nOslo\n", ["city"], [["New York"], ["Los Angeles"], ["Oslo"]], []
    ),
    "decimal commas": (
        "a;b\n1,5;x\n2,5;y\n", ["a", "b"], [["1,5", "x"], ["2,5", "y"]],
        ["read with ';' between fields and ',' as decimal mark"],
    ),
    "decimal commas, two columns, few rows": (
        "a;b\n1,5;2,5\n", ["a", "b"], [["1,5", "2,5"]], ["read with ';' between fields and ',' as decimal mark"],
    ),
    "decimal commas in quotes": (
        'a,b\n"1,5",x\n"12,75",y\n', ["a", "b"], [["1,5", "x"], ["12,75", "y"]], ["read with ',' as decimal mark"],
    ),
    "decimal commas and thousands": (
        "a;b\n1.234,5;x\n12.000;y\n", ["a", "b"], [["1.234,5", "x"], ["12.000", "y"]],
        ["read with ';' between fields and ',' as decimal mark"],
    ),
    "thousands with points, beside numbers below 1000": (
        "a;b\n950;x\n1.200;y\n2.086;x\n3.100;y\n", ["a", "b"],
        [["950", "x"], ["1.200", "y"], ["2.086", "x"], ["3.100", "y"]],
        ["read with ';' between fields and ',' as decimal mark"],
    ),
    "three decimals": (
        "a;b\n1.200;x\n2.086;y\n3.100;x\n", ["a", "b"], [["1.200", "x"], ["2.086", "y"], ["3.100", "x"]],
        ["read with ';' between fields"],
    ),
    "three decimals in every one of many rows": (
        "a;b;c\n" + "1.500;10;\n2.250;x;7.125\n3.900;y;9.000\n" * 5, ["a", "b", "c"],
        [["1.500", "10", ""], ["2.250", "x", "7.125"], ["3.900", "y", "9.000"]] * 5,
        ["read with ';' between fields", "'1.500' in column 'a' and 1 more may be 1.5 or 1500, and is read as 1.5; "
         "--decimal , reads it as 1500"],
    ),
    "three decimals beside others": ("a,b\n" + "1.500,2.5\n" * 9, ["a", "b"], [["1.500", "2.5"]] * 9, []),
    "decimal commas between blanks": (
        "1,5 2,5\n3,5 4,5\n", ["column_1", "column_2"], [["1,5", "2,5"], ["3,5", "4,5"]],
        ["read with blanks between fields and ',' as decimal mark", NUMBERED.format(2)],
    ),
    "thousands": (
        "a;b\n12,345;x\n1,234,567;y\n", ["a", "b"], [["12,345", "x"], ["1,234,567", "y"]],
        ["read with ';' between fields"],
    ),
    "thousands and cents": (
        'a\tb\n"1,234.50"\tx\n12,345\ty\n', ["a", "b"], [["1,234.50", "x"], ["12,345", "y"]],
        ["read with a tab between fields"],
    ),
    "lists beside numbers": (
        'tags,b\n"1,2",0.5\n"3,4",0.25\n"7",0.75\n"5",1.5\n"6",1.25\n', ["tags", "b"],
        [["1,2", "0.5"], ["3,4", "0.25"], ["7", "0.75"], ["5", "1.5"], ["6", "1.25"]], [],
    ),
    "quotes": (
        'a,b\n"x, y","say ""hi"""\n"two\nlines",5" pipe\n', ["a", "b"],
        [["x, y", 'say "hi"'], ["two\nlines", '5" pipe']], [],
    ),
    "a quote after a blank": ('a, b\n0, "x, y"\n1, "z"\n', ["a", "b"], [["0", "x, y"], ["1", "z"]], []),
    "commas in quotes, parted by tabs": (
        '"a"\t"b"\n"this,that"\t2\n', ["a", "b"], [["this,that", "2"]], ["read with a tab between fields"],
    ),
    "pipes between quotes, blanks inside": (
        '"Private Firm"|"Point Road"\n"Other Firm"|"Hill Road"\n', ["Private Firm", "Point Road"],
        [["Other Firm", "Hill Road"]], ["read with '|' between fields"],
    ),
    "times are not parted at their colons": (
        "item,2022-03-28 17:24:10,x\nitem,2022-01-02 22:43:59,y\nitem,2022-01-03 22:43:59,x\n",
        ["column_1", "column_2", "column_3"],
        [["item", f"2022-{when}", kind] for when, kind in
         (("03-28 17:24:10", "x"), ("01-02 22:43:59", "y"), ("01-03 22:43:59", "x"))],
        [NUMBERED.format(3)],
    ),
    "text with commas, parted by semicolons": (
        "id;text\n1;well, yes\n2;no\n3;a, b, c\n", ["id", "text"], [["1", "well, yes"], ["2", "no"], ["3", "a, b, c"]],
        ["read with ';' between fields"],
    ),
    "one column": ("size\n1\n2\n", ["size"], [["1"], ["2"]], []),
    "one column of thousands in quotes": ('"abc"\n"1,000"\n"2,000"\n', ["abc"], [["1,000"], ["2,000"]], []),
    "one column of names": ("name\nJohn Smith\nAnn Miller\n", ["name"], [["John Smith"], ["Ann Miller"]], []),
    "one column, a semicolon once": ("c0\nv0\na;b\n", ["c0"], [["v0"], ["a;b"]], []),
    "one column, a comma once": ("t\n2023-10-12T06:53:53,123Z\n", ["t"], [["2023-10-12T06:53:53,123Z"]], []),
    "an empty field is empty text, NA is NA": (
        'a,b,c\n1,,x\nNA,"",null\n', ["a", "b", "c"], [["1", "", "x"], ["NA", "", "null"]], [],
    ),
    "nothing becomes a number": (
        "a,b\n00001,TRUE\n1,True\n1.0,1e3\n", ["a", "b"], [["00001", "TRUE"], ["1", "True"], ["1.0", "1e3"]], [],
    ),
    "comments": (
        "# made by us\n# on a Monday\na,b\n1.5,x\n2.5,y\n", ["a", "b"], ROWS,
        ["lines 1 to 2 are comments and are left out: '# made by us'"],
    ),
    "a comment above names in a comment": (
        "# made by us\n# a b\n1.5 2.5\n3.5 4.5\n", ["a", "b"], [["1.5", "2.5"], ["3.5", "4.5"]],
        ["read with blanks between fields", "line 1 is a comment and is left out: '# made by us'",
         "line 2 names the columns, a comment"],
    ),
    "the end of a file of DOS": ("a,b\r\n1.5,x\r\n2.5,y\r\n\x1a", ["a", "b"], ROWS, []),
    "the end of a file of DOS, one column": ("a\r\n1.5\r\n2.5\r\n\x1a", ["a"], [["1.5"], ["2.5"]], []),
    "the end of a file of DOS, between blanks": (
        "a b\r\n1.5  x\r\n2.5 y\r\n\x1a", ["a", "b"], ROWS, ["read with blanks between fields"],
    ),
    "sep= of a spreadsheet": ("sep=;\na;b\n1.5;x\n2.5;y\n", ["a", "b"], ROWS, ["read with ';' between fields"]),
    "names in a comment": (
        "# a b\n1.5 2.5\n3.5 4.5\n", ["a", "b"], [["1.5", "2.5"], ["3.5", "4.5"]],
        ["read with blanks between fields", "line 1 names the columns, a comment"],
    ),
    "a column called #": (
        "#,name,kind\n1,Bulb,grass\n2,Char,fire\n", ["#", "name", "kind"],
        [["1", "Bulb", "grass"], ["2", "Char", "fire"]], ["line 1 names the columns, a comment"],
    ),
    "a title": (
        "Taken on 2025-01-06\nid;kind;price\n1;x;1.5\n2;y;2.5\n", ["id", "kind", "price"],
        [["1", "x", "1.5"], ["2", "y", "2.5"]],
        ["read with ';' between fields", "line 1 is a title and is left out: 'Taken on 2025-01-06'"],
    ),
    "titles of other widths": (
        'Source,Bank,\n\nUpdated,2020-01-01\na,b,c,d\nx,1,2,3\ny,4,5,6\n', ["a", "b", "c", "d"],
        [["x", "1", "2", "3"], ["y", "4", "5", "6"]],
        ["line 1 is a title and is left out: 'Source Bank'", "line 3 is a title and is left out: 'Updated 2020-01-01'"],
    ),
    "a title of a spreadsheet, with all its separators": (
        "Taken in May,,\n,,\na,b,c\n1.5,x,2\n2.5,y,3\n", ["a", "b", "c"], [["1.5", "x", "2"], ["2.5", "y", "3"]],
        ["line 1 is a title and is left out: 'Taken in May'"],
    ),
    "a title above two columns": (
        "Weights\na,b\n1.5,x\n2.5,y\n", ["a", "b"], ROWS, ["line 1 is a title and is left out: 'Weights'"],
    ),
    "a header with two lines in a name": ('"a\nof x",b\n1.5,x\n2.5,y\n', ["a\nof x", "b"], ROWS, []),
    "a header of texts": ("name,town\nAnn,Bonn\nBob,Rome\n", ["name", "town"], [["Ann", "Bonn"], ["Bob", "Rome"]], []),
    "years in the header": (
        "country,2000,2001,2002\nA,1,2,3\nB,4,5,6\n", ["country", "2000", "2001", "2002"],
        [["A", "1", "2", "3"], ["B", "4", "5", "6"]], [],
    ),
    "years in the header, after texts and texts": (
        'place,code,"one, two",1960,1961\nA,a,x,4.8,4.6\nB,b,x,,1.24\n', ["place", "code", "one, two", "1960", "1961"],
        [["A", "a", "x", "4.8", "4.6"], ["B", "b", "x", "", "1.24"]], [],
    ),
    "no header, years": (
        "Ann,1990,1991\nBob,1992,1993\nAnn,1992,1995\n", ["column_1", "column_2", "column_3"],
        [["Ann", "1990", "1991"], ["Bob", "1992", "1993"], ["Ann", "1992", "1995"]], [NUMBERED.format(3)],
    ),
    "numbers in the header of a matrix of R": (
        '"","142.24","144.78"\n"9.4",0,1\n"9.5",2,0\n', ["Unnamed: 0", "142.24", "144.78"],
        [["9.4", "0", "1"], ["9.5", "2", "0"]], [],
    ),
    "a blank after each comma": (
        "duration,product\n7, .01138\n9, .01138\n", ["duration", "product"], [["7", ".01138"], ["9", ".01138"]], [],
    ),
    "numbers in the header beside a text": (
        "id,0,1\n7,1.5,2\n8,2.5,3\n", ["id", "0", "1"], [["7", "1.5", "2"], ["8", "2.5", "3"]], [],
    ),
    "a data frame without names": (
        "0,1,2\n1.5,2.5,x\n3.5,4.5,y\n", ["0", "1", "2"], [["1.5", "2.5", "x"], ["3.5", "4.5", "y"]], [],
    ),
    "an index without a name": (
        ",A,B\n1,2,3\n2,5,6\n", ["Unnamed: 0", "A", "B"], [["1", "2", "3"], ["2", "5", "6"]], [],
    ),
    "no header": (
        "5.1,3.5,rose\n4.9,3.0,lily\n", ["column_1", "column_2", "column_3"],
        [["5.1", "3.5", "rose"], ["4.9", "3.0", "lily"]], [NUMBERED.format(3)],
    ),
    "no header, a missing value first": (
        "?,3.5,x\n4.9,3.0,y\n", ["column_1", "column_2", "column_3"], [["?", "3.5", "x"], ["4.9", "3.0", "y"]],
        [NUMBERED.format(3)],
    ),
    "no header, blanks after commas": (
        "39, State-gov, 77516\n50, Private, 83311\n38, Private, 215646\n", ["column_1", "column_2", "column_3"],
        [["39", "State-gov", "77516"], ["50", "Private", "83311"], ["38", "Private", "215646"]], [NUMBERED.format(3)],
    ),
    "no header, letters alone": (
        "p,x,s\ne,x,y\np,b,s\ne,x,s\n", ["column_1", "column_2", "column_3"],
        [["p", "x", "s"], ["e", "x", "y"], ["p", "b", "s"], ["e", "x", "s"]], [NUMBERED.format(3)],
    ),
    "no header, blanks, codes and numbers": (
        "A11 6 A34 1169 1\nA12 48 A32 5951 2\nA14 12 A34 2096 1\n", [f"column_{k}" for k in range(1, 6)],
        [["A11", "6", "A34", "1169", "1"], ["A12", "48", "A32", "5951", "2"], ["A14", "12", "A34", "2096", "1"]],
        ["read with blanks between fields", NUMBERED.format(5)],
    ),
    "row names of R, counted": (
        '"x"\t"y"\n"1"\t"a"\t1\n"2"\t"a"\t3\n"3"\t"b"\t2\n', ["x", "y"], [["a", "1"], ["a", "3"], ["b", "2"]],
        ["read with a tab between fields",
         "the first column has no name and is left out as row names, as R writes them"],
    ),
    "row names of R, texts between blanks": (
        '"mpg" "cyl"\n"Mazda RX4" 21 6\n"Datsun 710" 22.8 4\n', ["mpg", "cyl"], [["21", "6"], ["22.8", "4"]],
        ["read with blanks between fields",
         "the first column has no name and is left out as row names, as R writes them"],
    ),
    "row names of R, one column": (
        "x\n1 0.5\n2 0.7\n", ["x"], [["0.5"], ["0.7"]],
        ["read with blanks between fields",
         "the first column has no name and is left out as row names, as R writes them"],
    ),
    "a separator ends each row": ("a,b\n1.5,x,\n2.5,y,\n", ["a", "b"], ROWS, []),
    "a separator ends each line": ("a,b,\n1.5,x,\n2.5,y,\n", ["a", "b"], ROWS, []),
    "a separator ends the header": ("a,b,\n1.5,x\n2.5,y\n", ["a", "b"], ROWS, []),
    "a name twice": (
        "a,a,b\n1,2,x\n1,3,y\n", ["a", "a.1", "b"], [["1", "2", "x"], ["1", "3", "y"]],
        ["names that stand twice are read as 'a.1'"],
    ),
    "names without a text": ("a,,b\n1,2,x\n", ["a", "Unnamed: 1", "b"], [["1", "2", "x"]], []),
    "scikit-learn's first line": (
        "3,2,setosa,versicolor\n5.1,3.5,0\n4.9,3.0,1\n4.7,3.2,1\n", ["column_1", "column_2", "column_3"],
        [["5.1", "3.5", "0"], ["4.9", "3.0", "1"], ["4.7", "3.2", "1"]],
        ["line 1 counts rows and columns, as scikit-learn's files do, and is left out", NUMBERED.format(3)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "columns", "rows", "notes"), FOUND.values(), ids=FOUND)
def test_how_a_table_is_written_is_found(
    tmp_path: Path, text: str, columns: list[str], rows: list[list[str]], notes: list[str]
) -> None:
    source = opened(tmp_path, text)
    assert source.columns == tuple(columns)
    assert rows_of(source) == rows
    assert rows_of(source, 1) == rows  # a second time, in parts
    assert list(source.notes) == notes
    assert (source.name, source.file, source.is_table) == ("data", tmp_path / "data.csv", True)
    again = data.open_data(str(tmp_path / "data.csv"), source.reading)  # what was found, said
    assert (again.columns, again.reading, rows_of(again)) == (source.columns, source.reading, rows)
    assert not [note for note in again.notes if note.startswith("read ") or "--decimal" in note]


# --- what is said decides ----------------------------------------------------------------------------------------


def test_a_separator_that_is_said_decides(tmp_path: Path) -> None:
    source = opened(tmp_path, "a:b\n1.5:x\n2.5:y\n", separator=":")
    assert rows_of(source) == ROWS
    assert source.notes == ()
    assert rows_of(opened(tmp_path, "a,b;c\n1,5;2\n", separator=",")) == [["1", "5;2"]]


def test_a_header_that_is_said_decides(tmp_path: Path) -> None:
    numbers = "1,2\n3,4\n"
    assert opened(tmp_path, numbers, header=True).columns == ("1", "2")
    assert opened(tmp_path, numbers).columns == ("column_1", "column_2")
    texts = "a,b\n1,x\n"
    assert rows_of(opened(tmp_path, texts, header=False)) == [["a", "b"], ["1", "x"]]


def test_without_a_header_a_first_line_of_another_width_is_left_out_aloud(tmp_path: Path) -> None:
    source = opened(tmp_path, "a,b\n1,2,3,4\n5,6,7,8\n", header=False)
    assert rows_of(source) == [["1", "2", "3", "4"], ["5", "6", "7", "8"]]
    assert source.notes[0] == "line 1 has 2 fields, the others 4, and is left out"


def test_a_decimal_mark_and_an_encoding_that_are_said_decide(tmp_path: Path) -> None:
    source = opened(tmp_path, "a;b\n1.5;x\n", decimal=",")
    assert (source.reading.decimal, source.notes) == (",", ("read with ';' between fields",))
    raw = "stadt,b\nŁódź,x\n".encode("cp1250")
    assert rows_of(opened(tmp_path, raw, encoding="cp1250")) == [["Łódź", "x"]]


def test_new_data_is_read_as_that_of_the_training_where_it_shows_nothing(tmp_path: Path) -> None:
    usual = Reading(decimal=",", header=False, missing=("-9",))
    (tmp_path / "data.csv").write_text("a;12,345\nb;7\n")
    assert data.open_data(tmp_path / "data.csv", usual=usual).reading == Reading(";", ",", "utf-8", False, ("-9",))
    (tmp_path / "data.csv").write_text("a;b\nc;12.5\nd;7\n")
    source = data.open_data(tmp_path / "data.csv", Reading(header=True), usual)
    assert source.reading == Reading(";", ".", "utf-8", True, ("-9",))


def test_new_data_with_other_separators_must_show_its_decimal_mark_where_that_matters(tmp_path: Path) -> None:
    path, usual = tmp_path / "data.csv", Reading(";", ",")
    for text, mark in (("a\n13.830\n20.475\n", "."), ("a,b\n13.830,x\n20.475,y\n", ",")):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"data.csv must show its decimal mark, '13.830' may be 13830 or 13.83; "
                           r"--decimal , or --decimal . says it$"):  # fmt: skip
            data.open_data(path, usual=usual)
        assert data.open_data(path, Reading(decimal=mark), usual).reading.decimal == mark
    for text, mark in (("a;b\n13.830;x\n20.475;y\n", ","), ("a\n13.83\n20.475\n", "."), ("a\n13\n20\n", ",")):
        path.write_text(text)
        assert data.open_data(path, usual=usual).reading.decimal == mark


@pytest.mark.parametrize(("raw", "names"), [("1.5;x\n2.5;y\n", ("a", "b")), ("1.5;x;7\n2.5;y;8\n", ("a", "b", "t"))])
def test_new_data_without_a_header_has_the_names_of_the_training(
    tmp_path: Path, raw: str, names: tuple[str, ...]
) -> None:
    (tmp_path / "data.csv").write_text(raw)
    orders = (("a", "b", "t"), ("a", "b"))
    source = data.open_data(tmp_path / "data.csv", Reading(header=False), Reading(header=True), orders)
    assert (source.columns, [row[:2] for row in rows_of(source)]) == (names, ROWS)
    said = f"no line names the columns, so they are called as in training, 'a' to {names[-1]!r}"
    assert source.notes == ("read with ';' between fields", said)


def test_a_resolved_reading_is_not_said_again(tmp_path: Path) -> None:
    source = opened(tmp_path, "a;b\n1,5;x\n2,5;y\n", missing=("-9",))
    assert source.reading == Reading(";", ",", "utf-8", True, ("-9",))
    assert opened(tmp_path, "a;b\n1,5;x\n2,5;y\n", separator=";", decimal=",").notes == ()


# --- encodings ---------------------------------------------------------------------------------------------------

STREETS = "straße,b\nKöln,x\nÉvry,y\n"


@pytest.mark.parametrize(
    ("encoding", "mark", "said"),
    [("utf-8", "", None), ("utf-8-sig", "", None), ("utf-16", "", "utf-16"), ("utf-16-le", "", "utf-16-le"),
     ("utf-16-be", "", "utf-16-be"), ("utf-16-be", "\ufeff", "utf-16"), ("latin-1", "", "latin-1")],
)  # fmt: skip
def test_the_encoding_is_found(tmp_path: Path, encoding: str, mark: str, said: str | None) -> None:
    source = opened(tmp_path, (mark + STREETS).encode(encoding))
    assert source.columns == ("straße", "b")
    assert rows_of(source) == [["Köln", "x"], ["Évry", "y"]]
    assert source.notes == (() if said is None else (f"read as {said}",))


def test_windows_text_is_cp1252_and_all_of_it_is_said(tmp_path: Path) -> None:
    source = opened(tmp_path, "preis;b\n1,5 €;„x“\n2,5 €;y\n".encode("cp1252"))
    assert rows_of(source) == [["1,5 €", "„x“"], ["2,5 €", "y"]]
    assert source.notes == ("read as cp1252, with ';' between fields and ',' as decimal mark",)


def test_the_whole_file_decides_its_encoding(tmp_path: Path) -> None:
    raw = "a,b\n" + "1,plain\n" * 200_000 + "1,Köln\n"
    source = opened(tmp_path, raw.encode("latin-1"))
    assert source.notes == ("read as latin-1",)
    assert list(source.chunks(2**16))[-1].X.iloc[-1, 1] == "Köln"
    sentence = refused(tmp_path, "a,b\n1,é\n".encode() + b"1,x\n" * 300_000 + b"1,\xe9\n")
    assert sentence == "data.csv: line 300003 must be UTF-8, as the lines before it are; --encoding names another"


# --- far into a file ---------------------------------------------------------------------------------------------


def test_the_whole_file_decides_its_decimal_mark(tmp_path: Path) -> None:
    far = 150_000  # beyond the first block
    raw = "a;b\n" + "12,345;x\n" * far
    assert opened(tmp_path, raw).reading.decimal == "."
    assert opened(tmp_path, raw + "1,5;y\n").reading.decimal == ","
    assert opened(tmp_path, raw + "1.5;y\n").reading.decimal == "."
    assert opened(tmp_path, "a;b\n" + "7;x\n" * far + "1,5;y\n").reading.decimal == ","
    assert opened(tmp_path, "a,b\n" + '7,"x"\n' * far + '"1,5",y\n').reading.decimal == ","


def test_rows_are_the_same_in_parts_of_any_size(tmp_path: Path) -> None:
    rows = [[str(number), f"line one\nline {number}"] for number in range(200)]
    source = opened(tmp_path, "a,b\n" + "".join(f'{a},"{b}"\n' for a, b in rows))
    for step in (None, 1, 7, 200, 5000):
        assert rows_of(source, step) == rows
    assert max(len(chunk.X) for chunk in source.chunks(7)) == 7


def test_blanks_between_fields_are_the_same_wherever_a_part_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [[str(number), "x" * (number % 5 + 1), f"{number / 8}"] for number in range(300)]
    lines = [f"{' ' * (number % 3)}{'   '.join(row)}{' ' * (number % 2)}\r\n" for number, row in enumerate(rows)]
    source = opened(tmp_path, "n k y\n" + "".join(lines))
    monkeypatch.setattr("mlp_xp.data.text._HEAD", 37)
    assert rows_of(source) == rows
    quoted = opened(tmp_path, 'n k y\n"0"  x 0.0\n' + "".join(lines[1:]))  # read by the standard library
    assert rows_of(quoted) == rows


# --- what is refused ---------------------------------------------------------------------------------------------

LINE_3 = "data.csv: line 3 must have 2 fields as the header has,"
OPEN = "data.csv: line 3 opens a quote that is never closed"
SEP = "--sep names another separator than ','"
GO = f"a line that is no row of the table must go, {SEP}"
RAGGED = f"a field with ',' in it must be quoted, {SEP}"
NO_HEADER = "--no-header leaves that line out and numbers the columns"
BOTH = "the first column without a name may be one of row names, or a name may be missing"

REFUSED: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "data.csv must hold a table, got an empty file"),
    "empty lines alone": ("\n \n\n", "data.csv must hold a table, got nothing but empty lines"),
    "too long a row": ("a,b\n1,x\n2,y,3\n", f"{LINE_3} got 3; {RAGGED}"),
    "too short a row": ("a,b\n1,x\n2\n3,y\n", f"{LINE_3} got 1; {GO}"),
    "without a header": (
        "1,2\n3,4\n5,6,7\n", f"data.csv: line 3 must have 2 fields as the other rows have, got 3; {RAGGED}"
    ),
    "after lines in quotes": (
        'a,b\n1,"x\ny\nz"\n\n2,y\n3\n', f"data.csv: line 7 must have 2 fields as the header has, got 1; {GO}"
    ),
    "between blanks": (
        "a b\n1 2\n3 4\n5 6 7\n",
        "data.csv: line 4 must have 2 fields as the header has, got 3; a field with blanks in it must be quoted, --sep "
        "names another separator than blanks",
    ),
    "rows grow": (
        "a,b\n1,x\n" + "2,y,z\n" * 9,
        f"data.csv: line 1 must name the 3 fields that the rows have, got 2 names; {NO_HEADER}; {BOTH}",
    ),
    "a name is missing": (
        "a,b\n1.5,2,x\n1.5,3,y\n2.5,4,z\n",
        f"data.csv: line 1 must name the 3 fields that the rows have, got 2 names; {NO_HEADER}; {BOTH}",
    ),
    "names are missing": (
        "a,b\n1,2,x,y\n2,3,y,z\n",
        f"data.csv: line 1 must name the 4 fields that the rows have, got 2 names; {NO_HEADER}"
    ),
    "an open quote": ('a,b\n1,x\n2,"y\n3,z\n4,x\n', OPEN),
    "an open quote between blanks": ('a b\n1 x\n2 "y\n3 z\n4 x\n', OPEN),
    "a web page": ("<!DOCTYPE html>\n<html><body>404</body></html>\n", "data.csv must hold a table, got a web page"),
    "bytes": (bytes(range(256)) * 20, "data.csv must be text, got other bytes; --encoding names that of a text"),
    "no text": (b"a,b\n\x81\xfe,x\n", "data.csv: line 2 must be UTF-8 or cp1252; --encoding names another"),
    "damaged UTF-8": (
        "a,b\né,x\n".encode() + b"\xe9,y\n",
        "data.csv: line 3 must be UTF-8, as the lines before it are; --encoding names another",
    ),
    "header alone": ("a,b\n", ""),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_table_is_refused_in_one_sentence(tmp_path: Path, raw: str | bytes, sentence: str) -> None:
    if sentence:
        assert refused(tmp_path, raw) == sentence
    else:
        assert rows_of(opened(tmp_path, raw)) == []


ENCODING = "--encoding must name an encoding such as utf-8, got"
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "two characters": ({"separator": "::"}, "--sep must be one character, such as ';', or tab, got '::'"),
    "a quote": ({"separator": '"'}, "--sep must be no quote and no end of a line, got '\"'"),
    "a decimal mark": ({"decimal": ";"}, "--decimal must be '.' or ',', got ';'"),
    "no encoding": ({"encoding": "latin-11"}, f"{ENCODING} 'latin-11'; did you mean 'latin-1'?"),
    "a codec of bytes": ({"encoding": "hex"}, f"{ENCODING} 'hex'"),
}  # fmt: skip


@pytest.mark.parametrize(("reading", "sentence"), WRONG.values(), ids=WRONG)
def test_a_reading_that_can_t_be_is_refused(tmp_path: Path, reading: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match="--") as caught:
        opened(tmp_path, "a,b\n1,x\n", **reading)
    assert str(caught.value) == sentence


def test_an_encoding_that_is_said_wrongly_is_refused(tmp_path: Path) -> None:
    sentence = refused(tmp_path, "a,b\n1,x\nKöln,y\n".encode("latin-1"), encoding="utf-8")
    assert sentence == "data.csv: line 3 must be utf-8, got other bytes; --encoding names another"
    sentence = refused(tmp_path, "a,b\n1,x\nKöln,y\n", encoding="ascii")
    assert sentence == "data.csv: line 3 must be ascii, got other bytes; --encoding names another"


def test_ragged_rows_far_into_a_file_are_named_by_their_line(tmp_path: Path) -> None:
    raw = "a,b\n" + "1,x\n" * 50_000
    assert refused(tmp_path, raw + "1\n").startswith("data.csv: line 50002 must have 2 fields as the header has, got 1")


# --- packed ------------------------------------------------------------------------------------------------------

PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
TEXT = b"a;b\n1.5;x\n2.5;y\n"


def zstd(raw: bytes) -> bytes:
    pa = pytest.importorskip("pyarrow")
    return pa.compress(raw, codec="zstd", asbytes=True)


@pytest.mark.parametrize("end", ["gz", "bz2", "xz", "zst"])
def test_a_packed_table_is_read_as_it_is_unpacked(tmp_path: Path, end: str) -> None:
    packed = PACKED.get(end, zstd)(TEXT)
    source = opened(tmp_path, packed, f"data.csv.{end}")
    assert (source.name, rows_of(source), rows_of(source, 1)) == ("data", ROWS, ROWS)
    assert rows_of(opened(tmp_path, packed, "other.csv")) == ROWS  # its bytes say it
    sentence = refused(tmp_path, packed[:-9], f"data.csv.{end}")
    name = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": "zstd"}[end]
    assert sentence == f"data.csv.{end} must be a whole {name} file, got a truncated or damaged one"


def archive(path: Path, **files: bytes) -> str:
    with zipfile.ZipFile(path, "w") as opened_archive:
        for name, raw in files.items():
            opened_archive.writestr(name.replace("_", "."), raw)
    return str(path)


def test_the_table_of_an_archive(tmp_path: Path) -> None:
    one = archive(tmp_path / "a.zip", houses_csv=TEXT, README_md=b"# of houses")
    assert (data.open_data(one).name, rows_of(data.open_data(one))) == ("houses", ROWS)
    two = archive(tmp_path / "b.zip", a_csv=TEXT, b_csv=b"c,d\n1,2\n")
    assert data.open_data(f"{two}::b.csv").columns == ("c", "d")
    with pytest.raises(ValueError, match="must hold one table") as caught:
        data.open_data(two)
    assert str(caught.value) == f"{two} must hold one table, got a.csv, b.csv; {two}::NAME reads one of them"
    with pytest.raises(ValueError, match=r"must be a file in it, 'a.csv' or 'b.csv', got 'c.csv'"):
        data.open_data(f"{two}::c.csv")
    with pytest.raises(ValueError, match="must hold one table, got nothing"):
        data.open_data(archive(tmp_path / "c.zip", _hidden=b"a,b"))


# --- the parts of looking ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", True), ("-1.5e-3", True), (".5", True), ("5.", True), ("1,5", True), ("1 234,5", True), ("1'234.5", True),
     ("$1,234.50", True), ("€ 5", True), ("5 €", True), ("12%", True), ("(5.2)", True), ("2024-05-01", True),
     ("01/05/2024", True), ("1.5.2024 10:00", True), ("10:30", True), ("-inf", True), ("", False), ("x", False),
     ("1a", False), ("12-34-x", False), ("1.2.3.4", False), ("Q1 2024", False)],
)  # fmt: skip
def test_what_looks_like_a_value_rather_than_a_name(text: str, number: bool) -> None:
    assert dialect.is_value(text) == number


@pytest.mark.parametrize(
    ("column", "mark"),
    [(["1,5"], ","), (["0,125"], ","), ([",5"], ","), (["1234,567"], ","), (["1.234,567"], ","), (["1,5e3"], ","),
     (["12,5 %"], ","), (["1,234"], None), (["12,345", "1,234,567"], None), (["5", "7"], None), (["1.5"], "."),
     (["1,234.5"], "."), (["0.125"], "."), (["1.234"], None), (["1,5", "1.234"], ","), (["1.5", "1,234"], "."),
     (["a,5", "b,7"], None), (["1,5", "x", "y"], None), (["?", "", "2,5"], ",")],
)  # fmt: skip
def test_which_numbers_show_a_decimal_mark(column: list[str], mark: str | None) -> None:
    assert dialect.find_decimal([[each] for each in column]) == mark


@pytest.mark.parametrize(
    ("column", "thousands"),
    [(["n", "950", "1.200", "2.086", "3.100"], True), (["€ 950", "1.200 €", "2.086", "1.003.100"], True),
     (["-950", "", "-1.200", "2.086", "3.100"], True), (["1.200", "2.086", "3.100"], False),
     (["5", "1.200", "2.086"], False), (["5", "0.125", "1.200", "2.086", "3.100"], False),
     (["1200", "1.200", "2.086", "3.100"], False), (["5", "1.25", "1.200", "2.086", "3.100"], False),
     (["5", "1.200", "2.086", "3.100", "a", "b", "c", "d"], False)],
)  # fmt: skip
def test_points_part_thousands_where_they_cannot_be_decimal_marks(column: list[str], thousands: bool) -> None:
    assert dialect.points_part_thousands([[each] for each in column]) == thousands


def test_new_data_is_read_with_the_decimal_mark_of_the_training_before_points_are_taken_for_thousands(
    tmp_path: Path,
) -> None:
    file = tmp_path / "new.csv"
    file.write_text("a;b\n950;x\n1.200;y\n2.086;x\n3.100;y\n")
    assert data.open_data(str(file), usual=Reading(decimal=".")).reading.decimal == "."
    assert data.open_data(str(file)).reading.decimal == ","


def test_a_missing_value_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"^--na must be text, got '\\udcff'$"):
        data.open_data(tmp_path / "a.csv", data.Reading(missing=("\udcff",)))
