"""Tables that say their types, arrays, and data that is not a file: standard input and URLs."""

from __future__ import annotations

import datetime
import gc
import gzip
import http.server
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from mlp_xp import data
from mlp_xp.data import recipe
from mlp_xp.data.files import title_of

pytestmark = pytest.mark.only("numpy")
pandas = pytest.importorskip("pandas", reason="pandas holds tables")
pytest.importorskip("pyarrow", reason="Arrow reads tables")

DAY = datetime.datetime(2024, 5, 1)
TABLE = {"size": [1.5, None, 2.5], "count": [1, 2, 3], "code": ["007", "x", None], "kind": ["a", "b", "a"]}


def frame_of(name: str | Path, rows: int | None = None) -> Any:
    """All rows of the data called ``name``, missing values as None."""
    parts = [chunk.X for chunk in data.open_data(name).chunks(rows)]
    if len(parts) == 1:
        return parts[0].reset_index(drop=True)
    return pandas.DataFrame({each: [value for part in parts for value in part[each]] for each in parts[0].columns})


def listed(frame: Any) -> dict[str, list[Any]]:
    """The values of each column; a missing one as None."""
    missing = frame.isna()
    return {name: [None if gone else value for value, gone in zip(frame[name].tolist(), missing[name], strict=True)]
            for name in frame.columns}  # fmt: skip


def refused(name: str | Path) -> str:
    """The sentence, without the folder, with which the data called ``name`` is refused."""
    with pytest.raises(ValueError, match=r".") as caught:
        frame_of(name)
    sentence = str(caught.value).replace(f"{Path(str(name).partition('::')[0]).parent}/", "")
    assert "\n" not in sentence
    return sentence


# --- every kind of file holds the same table -------------------------------------------------------------------------


def as_parquet(path: Path) -> None:
    pandas.DataFrame(TABLE).to_parquet(path)


def as_arrow(path: Path) -> None:
    pandas.DataFrame(TABLE).to_feather(path)


def as_records(path: Path) -> None:
    path.write_text(json.dumps([dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]))


def as_lines(path: Path) -> None:
    rows = [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]
    del rows[1]["size"], rows[2]["code"]  # a missing value may be left out
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")


def as_columns(path: Path) -> None:
    path.write_text(json.dumps(TABLE))


def as_pandas_columns(path: Path) -> None:
    columns = {name: {str(row): each for row, each in enumerate(column)} for name, column in TABLE.items()}
    path.write_text(json.dumps(columns))


def as_split(path: Path) -> None:
    path.write_text(json.dumps({"columns": list(TABLE), "data": list(zip(*TABLE.values(), strict=True))}))


def as_answer(path: Path) -> None:
    rows = [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]
    path.write_text(json.dumps({"status": "ok", "results": rows}))


def as_excel(path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl reads Excel")
    book = openpyxl.Workbook()
    for row in (["Sizes of things"], [], list(TABLE), *zip(*TABLE.values(), strict=True)):
        book.active.append(list(row))
    book.save(path)


def as_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE things (size REAL, count INTEGER, code TEXT, kind TEXT)")
        database.executemany("INSERT INTO things VALUES (?, ?, ?, ?)", zip(*TABLE.values(), strict=True))
    database.close()


def as_arff(path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn reads ARFF")
    path.write_text(
        "% things\n@RELATION things\n@ATTRIBUTE size REAL\n@attribute 'count' integer\n@attribute code string\n"
        "@attribute kind {a, b}\n@DATA\n1.5,1,'007',a\n?,2,x,b\n% more\n2.5,3,?,a\n"
    )


WRITERS = {
    "a.parquet": as_parquet, "a.arrow": as_arrow, "a.feather": as_arrow, "a.json": as_records, "a.jsonl": as_lines,
    "lines.json": as_lines, "columns.json": as_columns, "pandas.json": as_pandas_columns, "split.json": as_split,
    "answer.json": as_answer, "a.xlsx": as_excel, "a.db": as_sqlite, "a.sqlite": as_sqlite, "a.arff": as_arff,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_says_its_types_is_read_with_them(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    frame = frame_of(tmp_path / name)
    assert listed(frame) == TABLE
    assert listed(frame_of(tmp_path / name, 1)) == TABLE  # a second time, in parts
    numeric = pandas.api.types.is_numeric_dtype
    assert [numeric(frame[each]) for each in ("count", "code", "kind")] == [True, False, False]
    source = data.open_data(tmp_path / name)
    assert source.file == tmp_path / name
    assert source.is_table
    assert list(source.notes) == (["the records are those under 'results'"] if "answer" in name else [])


@pytest.mark.parametrize("name", WRITERS)
def test_the_kind_is_found_by_looking(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[name](tmp_path / name)
    raw = (tmp_path / name).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert listed(frame_of("-")) == TABLE
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(raw))
    assert listed(frame_of(tmp_path / f"{name}.gz")) == TABLE


def test_a_workbook_is_known_whatever_part_of_it_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl reads Excel")
    book = openpyxl.Workbook()
    for row in (["a", "b"], *np.random.default_rng(0).normal(size=(1000, 2)).tolist()):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")  # openpyxl writes the list of parts behind all of them
    raw = (tmp_path / "a.xlsx").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert frame_of("-").shape == (1000, 2)


# --- Parquet ---------------------------------------------------------------------------------------------------------


def test_the_index_of_a_data_frame_is_a_column_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame = pandas.DataFrame({"size": [1.5, 2.5]}, index=pandas.Index(["x", "y"], name="key"))
    frame.to_parquet(path)
    source = data.open_data(path)
    assert listed(source.read().X) == {"size": [1.5, 2.5], "key": ["x", "y"]}
    assert source.columns == ("key", "size")  # the last column, by default the target, stays the last
    assert source.notes == ("the index of the data frame in the file is read as column 'key'",)
    frame.rename_axis(index=None).to_parquet(path)
    assert listed(frame_of(path)) == {"size": [1.5, 2.5], "index": ["x", "y"]}
    assert data.open_data(path).notes == ("the index of the data frame in the file is read as column 'index'",)
    frame.reset_index(drop=True).to_parquet(path)
    assert (data.open_data(path).columns, data.open_data(path).notes) == (("size",), ())


def test_an_index_of_several_levels_without_names_is_read_as_columns_before_the_others(tmp_path: Path) -> None:
    path, levels = tmp_path / "a.parquet", pandas.MultiIndex.from_product([["u", "v"], [1, 2]])
    pandas.DataFrame({"y": [1.5, 2.5, 3.5, 4.5]}, index=levels).to_parquet(path)
    source = data.open_data(path)
    assert source.columns == ("index_0", "index_1", "y")
    assert listed(source.read().X)["index_1"] == [1, 2, 1, 2]
    assert source.notes == ("the index of the data frame in the file is read as column 'index_0' and 'index_1'",)


def test_an_index_with_gaps_numbers_the_rows_and_is_left_out_aloud(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"a": [1.5, 2.5, 0.5, 3.5, 9.5, 8.5], "y": [2.5, 1.5, 3.5, 4.5, 0.5, 9.5]})
    frame[frame.a > 1].to_parquet(tmp_path / "a.parquet")
    learned = recipe.learn(data.open_data(tmp_path / "a.parquet"), recipe.Wanted())
    assert (learned.recipe.target, learned.recipe.names) == ("y", ("a",))
    assert learned.notes == ("column 'index' holds a number of its own in every row, as an identifier does: left out",)


NESTED = [{"a": 1.5, "o": {"b": 0, "p": {"c": "x"}}, "tags": ["u"], "y": 2.5},
          {"a": 2.5, "o": {"b": 1, "p": {"c": "z"}}, "tags": [], "y": 0.5}]  # fmt: skip


@pytest.mark.parametrize("name", ["a.json", "a.parquet", "a.feather"])
def test_records_in_cells_are_taken_apart_and_lists_left_out_aloud(tmp_path: Path, name: str) -> None:
    path, frame = tmp_path / name, pandas.DataFrame(NESTED)
    if name == "a.json":
        path.write_text(json.dumps(NESTED))
    else:
        frame.to_parquet(path) if name == "a.parquet" else frame.to_feather(path)
    source = data.open_data(path)
    assert source.columns == ("a", "o.b", "o.p.c", "y")
    assert listed(source.read().X) == {"a": [1.5, 2.5], "o.b": [0, 1], "o.p.c": ["x", "z"], "y": [2.5, 0.5]}
    assert source.notes == ("column 'tags' holds lists: left out",)


@pytest.mark.parametrize(
    ("records", "columns"),
    [([{"a": 1, "y": 2}, {"a": 1, "b": 3, "y": 2}], ("a", "b", "y")),
     ([{"y": 2}, {"b": 3, "y": 2}, {"a": 1, "b": 3}], ("a", "b", "y")),
     ([{"a": 1, "b": 3}, {"a": 1, "b": 3, "y": 2}], ("a", "b", "y")),
     ([{"a": 1, "y": 3}, {"a": 1, "b": 3, "c": 2, "y": 2}], ("a", "b", "c", "y"))],
)  # fmt: skip
def test_a_key_that_some_records_lack_stands_where_its_record_has_it(
    tmp_path: Path, records: list[dict[str, int]], columns: tuple[str, ...]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(records))
    assert data.open_data(tmp_path / "a.json").columns == columns


def test_the_types_of_parquet_are_kept(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    large = 2**60 + 1
    table = pa.table({
        "whole": pa.array([large, None]), "decimal": pa.array(["1.50", "2.25"]).cast(pa.decimal128(9, 2)),
        "day": pa.array([DAY.date(), None]), "when": pa.array([DAY, DAY]), "yes": pa.array([True, False]),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "a.parquet")
    frame = frame_of(tmp_path / "a.parquet")
    assert listed(frame[["whole", "decimal"]]) == {"whole": [large, None], "decimal": [1.5, 2.25]}
    kinds = pandas.api.types
    assert all(kinds.is_datetime64_any_dtype(frame[each]) for each in ("day", "when"))
    assert kinds.is_bool_dtype(frame["yes"])
    assert isinstance(frame["kind"].dtype, pandas.CategoricalDtype)


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_rows_without_names_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[[1.5, "x"], [2.5, "y"]]')
    assert listed(frame_of(tmp_path / "a.json")) == {"column_1": [1.5, 2.5], "column_2": ["x", "y"]}
    assert data.open_data(tmp_path / "a.json").notes == (
        "the columns have no names, so they are called column_1 to column_2",
    )


EXPECTED = "a.json must hold a list of records, a record a line, or a table of columns"
BAD_JSON = {
    "no JSON": ('{"a": 1,\n b}', "a.json: line 2 must be JSON, got expecting property name enclosed in double quotes"),
    "a bad line": ('{"a": 1}\n{"a": }\n', "a.json: line 2 must be JSON, got expecting value"),
    "a number": ("5", f"{EXPECTED}, got 5"),
    "one record": ('{"a": 1, "b": 2}', f"{EXPECTED}, got one record"),
    "columns of other lengths": ('{"a": [1], "b": [1, 2]}', "a.json must hold columns of one length, got 1 and 2"),
    "rows of other kinds": ('[{"a": 1}, 5]', f"{EXPECTED}, got rows of other kinds"),
    "other bytes": ('[{"a": "\u00e9"}]', "a.json must be JSON in UTF-8, got other bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_is_no_table_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    assert refused(tmp_path / "a.json") == sentence


# --- Excel -----------------------------------------------------------------------------------------------------------


def workbook(path: Path, **sheets: list[list[Any]]) -> str:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl reads Excel")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return str(path)


def test_a_sheet_is_the_first_or_the_one_that_is_named(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", one=[["a", "b"], [1, "x"], [2, "#N/A"]], two=[["c"], [DAY]])
    source = data.open_data(path)
    assert listed(source.read().X) == {"a": [1, 2], "b": ["x", None]}
    assert source.notes == (f"sheet 'one' is read; {path}::two reads another of the 2 sheets",)
    assert listed(frame_of(f"{path}::two")) == {"c": [DAY]}
    assert data.open_data(f"{path}::two").notes == ()
    assert refused(f"{path}::tow") == (
        "a.xlsx: the part after :: must be a sheet, 'one' or 'two', got 'tow'; did you mean 'two'?"
    )


def test_an_excel_file_without_a_table_is_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", one=[])
    assert refused(path) == "a.xlsx must hold a table, got an empty sheet"
    path = workbook(tmp_path / "a.xlsx", one=[[1, 2], [3, 4]])
    assert refused(path) == "a.xlsx must begin with a row that names its columns, got 1, 2"
    (tmp_path / "b.xlsx").write_bytes(b"PK\3\4" + bytes(50))
    assert refused(tmp_path / "b.xlsx") == "b.xlsx must be a whole Excel file, got a damaged one or another kind"
    (tmp_path / "c.xls").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(50))
    assert refused(tmp_path / "c.xls") == (
        "c.xls must be an .xlsx file, got Excel's older .xls; save it as .xlsx or .csv"
    )


def test_without_openpyxl_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "a.xlsx", one=[["a", "b"], [1, "x"]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert refused(path) == "a.xlsx needs openpyxl to be read: pip install 'mlp_xp[excel]'"


# --- SQLite ----------------------------------------------------------------------------------------------------------


def test_a_table_of_a_database_is_the_only_one_or_named(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    as_sqlite(path)
    with sqlite3.connect(path) as database:
        database.execute('CREATE TABLE "of ""orders""" (a, b)')
        rows = [(1, "x"), (None, "y"), ("z", "x")]
        database.executemany('INSERT INTO "of ""orders""" VALUES (?, ?)', rows)
        database.execute("CREATE VIEW few AS SELECT size, kind FROM things WHERE count < 3")
    database.close()
    assert refused(path) == ('a.db must hold one table, got few, of "orders", things; a.db::few reads one of them')
    assert listed(frame_of(f"{path}::few")) == {"size": [1.5, None], "kind": ["a", "b"]}
    assert listed(frame_of(f'{path}::of "orders"')) == {"a": [1, None, "z"], "b": ["x", "y", "x"]}
    assert data.open_data(f"{path}::things").name == "things"
    assert refused(f"{path}::thing").endswith("got 'thing'; did you mean 'things'?")


def test_a_database_that_can_t_be_read_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "a.db").close()
    assert refused(tmp_path / "a.db") == "a.db must hold a table, got an empty file"
    (tmp_path / "b.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    assert refused(tmp_path / "b.db") == "b.db must be a whole SQLite file, got a damaged one or another kind"


# --- ARFF, .npy ------------------------------------------------------------------------------------------------------


def test_arff_has_quotes_dates_and_missing_values(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn reads ARFF")
    (tmp_path / "a.arff").write_text(
        "@relation r\n@attribute 'the size' numeric\n@attribute kind {x,'y z',\"q,r\"}\n"
        "@attribute day date 'yyyy-MM-dd'\n@data\n5.1,x,'2020-01-02'\n?,'y z',?\n4,\"q,r\",'2020-01-03'\n"
    )
    assert listed(frame_of(tmp_path / "a.arff")) == {
        "the size": [5.1, None, 4.0], "kind": ["x", "y z", "q,r"], "day": ["2020-01-02", None, "2020-01-03"],
    }  # fmt: skip
    (tmp_path / "a.arff").write_text("@relation r\n@attribute kind {x,y}\n@data\nz\n")
    assert refused(tmp_path / "a.arff").startswith("a.arff must be an ARFF file: ")


def test_an_array_of_numbers_is_a_table_of_numbered_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asarray([[1.5, 0], [2.5, 1]]))
    source = data.open_data(tmp_path / "a.npy")
    assert listed(source.read().X) == {"column_1": [1.5, 2.5], "column_2": [0.0, 1.0]}
    assert source.notes == ("the columns have no names, so they are called column_1 to column_2",)
    np.save(tmp_path / "a.npy", np.asarray([(1, "x"), (2, "y")], dtype=[("size", int), ("kind", "U1")]))
    assert listed(frame_of(tmp_path / "a.npy", 1)) == {"size": [1, 2], "kind": ["x", "y"]}
    np.save(tmp_path / "a.npy", np.zeros(3))
    expected = "a.npy must hold rows of numbers (n, d), or an .npz file with X and y"
    assert refused(tmp_path / "a.npy") == f"{expected}, got float64 (3,)"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0")
    assert refused(tmp_path / "a.npy") == "a.npy must be a whole .npy file of numbers or texts, got another one"


# --- standard input and URLs -----------------------------------------------------------------------------------------


def left_behind() -> list[str]:
    """The temporary files of sources that are gone."""
    gc.collect()
    return [path.name for path in Path(tempfile.gettempdir()).glob("mlp_xp_*")]


@pytest.fixture
def own_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_next_reader_removes_what_a_killed_one_has_left_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "temporary"
    (own / "mlp_xp_of_a_user").mkdir(parents=True)
    program = "from mlp_xp import data; data.open_data('-')"

    def opened() -> Any:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n3,4\n")))
        return data.open_data("-")

    monkeypatch.setattr(tempfile, "tempdir", str(own))
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, env={**os.environ, "TMPDIR": str(own)}
    ) as reader:
        while not (copied := [*own.glob("mlp_xp_*/stdin")]):
            assert reader.poll() is None
            time.sleep(0.01)
        while_it_lives = opened()
        assert copied[0].exists()
        reader.kill()
    then = opened()
    assert not copied[0].parent.exists()
    assert (own / "mlp_xp_of_a_user").exists()
    for source in (while_it_lives, then):
        assert len(next(source.chunks(None)).X) == 2
    assert len([*own.iterdir()]) == 3


@pytest.mark.usefixtures("own_temporary")
def test_standard_input_is_read_as_often_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a;b\n1,5;x\n2,5;y\n")))
    source = data.open_data("-")
    assert [len(next(source.chunks(None)).X) for _ in range(2)] == [2, 2]
    assert (source.name, source.where, source.file) == ("stdin", "standard input", None)
    assert source.notes == ("read with ';' between fields and ',' as decimal mark",)
    assert left_behind()
    del source
    assert not left_behind()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(ValueError, match=r"^standard input must hold a table, got an empty file$"):
        data.open_data("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match=r"^standard input can't be read: it is closed$"):
        data.open_data("-")
    assert not left_behind()


class Files(http.server.BaseHTTPRequestHandler):
    """Answers with what ``held`` has under the path."""

    held: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        raw = self.held.get(self.path)
        if raw is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw) + (10 if "short" in self.path else 0)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.usefixtures("own_temporary")
def test_a_url_is_fetched_and_read(server: str, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("things.csv", "a,b\n1,x\n2,y\n")
        archive.writestr("others.csv", "c,d\n1,x\n")
    as_parquet(tmp_path / "a.parquet")
    np.savez(tmp_path / "a.npz", X=np.eye(3), y=np.arange(3))
    Files.held = {
        "/a.csv": b"a,b\n1,x\n2,y\n", "/download?id=3": b"a\tb\n1\tx\n2\ty\n",
        "/b.csv.gz": gzip.compress(b"a,b\n1,x\n"), "/c.zip": packed.getvalue(),
        "/d.parquet": (tmp_path / "a.parquet").read_bytes(),
        "/e.npz": (tmp_path / "a.npz").read_bytes(),
    }  # fmt: skip
    source = data.open_data(f"{server}/a.csv")
    assert listed(source.read().X) == {"a": ["1", "2"], "b": ["x", "y"]}
    assert (source.name, source.where, source.file) == ("a", f"{server}/a.csv", None)
    assert listed(frame_of(f"{server}/download?id=3")) == {"a": ["1", "2"], "b": ["x", "y"]}
    assert listed(frame_of(f"{server}/b.csv.gz")) == {"a": ["1"], "b": ["x"]}
    assert listed(frame_of(f"{server}/c.zip::others.csv")) == {"c": ["1"], "d": ["x"]}
    assert listed(frame_of(f"{server}/d.parquet")) == TABLE
    assert data.open_data(f"{server}/e.npz").read().X.shape == (3, 3)
    del source
    assert not left_behind()


@pytest.mark.usefixtures("own_temporary")
def test_a_url_that_can_t_be_fetched_is_one_sentence(server: str) -> None:
    Files.held = {"/short.csv": b"a,b\n1,2\n", "/page": b"<html>Sign in</html>", "/empty.csv": b""}
    for address, sentence in {
        f"{server}/none.csv": " can't be fetched: the server answers 404 Not Found",
        f"{server}/short.csv": " can't be fetched: 8 of its 18 bytes came",
        f"{server}/page": " must hold a table, got a web page",
        f"{server}/empty.csv": " must hold a table, got an empty file",
        "http://127.0.0.1:9/a.csv": " can't be fetched: Connection refused",
        "s3://bucket/a.csv": " must begin with https://, http:// or ftp://, got s3://",
    }.items():
        with pytest.raises(ValueError, match=r".") as caught:
            frame_of(address)
        assert str(caught.value) == address + sentence
    assert not left_behind()


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "title"),
    [("data/houses.csv", "houses"), ("houses.csv.gz", "houses"), ("houses.tar", "houses.tar"), ("-", "stdin"),
     ("https://example.org/a/iris.csv?raw=1", "iris"), ("https://example.org/", "data"),
     ("shop.db::orders", "orders"),
     ("a.zip::b/c.csv", "c"), ("openml:adult", "adult"), ("v1.2/data", "data"), ("my.houses.csv", "my.houses")],
)  # fmt: skip
def test_data_has_a_title(name: str, title: str) -> None:
    assert title_of(name) == title


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# a")
    assert refused(tmp_path / "notes.md").endswith("got a file that ends in .md")
    assert refused(tmp_path / "none.csv") == "none.csv can't be read: No such file or directory"
    with pytest.raises(ValueError, match=r"^iriss can't be read: .* built in are digits, iris"):
        data.open_data("iriss")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("housse.csv", "house.csv"), ("house", "house.csv"), ("house.cvs::x", "house.csv")],
)
def test_a_file_that_is_not_there_may_be_meant_by_the_nearest_name(tmp_path: Path, name: str, meant: str) -> None:
    (tmp_path / "house.csv").write_text("a,b\n1,2\n")
    (tmp_path / "prices.csv").write_text("a,b\n1,2\n")
    assert refused(tmp_path / name).endswith(f"No such file or directory; did you mean '{meant}'?")
    assert refused(tmp_path / "none" / name).endswith("No such file or directory")


def test_a_header_that_is_no_python_and_a_directory_that_is_no_zip(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole.replace(b"'descr'", b"('descr"))
    assert refused(tmp_path / "a.npy").startswith("a.npy must be a whole .npy file of numbers")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "a,b\n1,2\n")
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(b"PK\x01\x02", b"PK\x01\x03"))
    assert refused(tmp_path / "a.zip") == "a.zip must be a whole zip file, got a truncated or damaged one"
    (tmp_path / "a.arff").write_text("@relation r\n@attribute a numeric\n@attribute\n@data\n1\n")
    assert refused(tmp_path / "a.arff").startswith("a.arff must be an ARFF file: ")


def test_a_folder_of_too_many_files_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").touch()
    monkeypatch.setattr(data, "_MOST_FILES", 2)
    with pytest.raises(ValueError, match=r"must be a folder of IDX or Parquet files, got more than 2 files$"):
        data.open_data(tmp_path)


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_damage_anywhere_is_one_sentence_about_the_file(tmp_path: Path, suffix: str) -> None:
    frame, path = pandas.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["x", "y", "x"]}), tmp_path / f"data{suffix}"
    frame.to_feather(path) if suffix == ".arrow" else frame.to_parquet(path)
    whole, random, refusals = path.read_bytes(), np.random.default_rng(0), 0
    for trial in range(150):
        damaged = bytearray(whole)
        if trial % 3:
            damaged[random.integers(len(whole))] ^= 1 << int(random.integers(8))
        else:
            damaged = damaged[: random.integers(len(whole))]
        path.write_bytes(damaged)
        said = None
        try:
            data.open_data(str(path)).read()
        except ValueError as error:
            said = str(error)
        assert said is None or re.fullmatch(f"{re.escape(str(path))}.*", said), said
        refusals += said is not None
    assert refusals > 60
