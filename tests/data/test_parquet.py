"""Parquet files larger than memory: their rows, by number, are those of the table."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mlp_xp import init_params
from mlp_xp.data import ParquetRows, open_data
from mlp_xp.train import in_blocks, train

pa = pytest.importorskip("pyarrow", reason="the command reads Parquet files by pyarrow")
pq = pytest.importorskip("pyarrow.parquet", reason="the command reads Parquet files by pyarrow")

X = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
NAMES = list("dbca")
CUTS = [slice(0, 23), slice(23, 24), slice(24, 50)]


@pytest.fixture
def folder(tmp_path):
    """Three files, in groups of at most seven rows."""
    for number, rows in enumerate(CUTS):
        table = pa.table({name: X[rows, place] for place, name in enumerate(NAMES)})
        pq.write_table(table, tmp_path / f"part-{number}.parquet", row_group_size=7)
    return tmp_path


@pytest.mark.parametrize(
    "rows",
    [slice(None), slice(3, 29), slice(24, 24), np.asarray([0, 5, 6, 7, 22, 23, 24, 49]), np.arange(50)],
    ids=str,
)
def test_rows_by_number(folder, rows, monkeypatch):
    monkeypatch.setattr("mlp_xp.data.parquet._DECODED", 12)  # three rows
    source = ParquetRows(folder)
    assert (source.shape, source.dtype, source.columns) == ((50, 4), np.float32, tuple(NAMES))
    assert source[rows].dtype == np.float32
    np.testing.assert_array_equal(source[rows], X[rows])


def test_columns_in_an_order_of_ones_own(folder):
    source = ParquetRows(folder, columns=["a", "d"], dtype="float64")
    np.testing.assert_array_equal(source[10:40], X[10:40][:, [3, 0]].astype("float64"))


def test_a_network_learns_from_a_folder_as_from_the_array(folder):
    params = tuple(p.astype("float32") for p in init_params((4, 5, 3)))
    options = {"epochs": 2, "batch_size": 8, "validation": 0.2, "order": in_blocks(40, 7)}
    *_, ours = train(ParquetRows(folder), np.arange(50) % 3, params, **options)
    *_, theirs = train(X, np.arange(50) % 3, params, **options)
    assert all(np.array_equal(a, b) for a, b in zip(ours.params, theirs.params, strict=True))


def test_what_is_wrong_is_said_in_a_sentence(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty.parent / "text.parquet").write_text("a,b\n1,2\n")
    pq.write_table(pa.table({"a": ["x"]}), empty.parent / "texts.parquet")
    for path, columns, words in (
        (empty, None, f"{empty} must hold files *.parquet, got none"),
        (folder / "text.parquet", None, f"{folder / 'text.parquet'} must be a whole Parquet file, got a damaged one"),
        (folder / "part-0.parquet", ["e"], f"{folder / 'part-0.parquet'}: a column must be 'a', 'b', 'c' or 'd', got"),
        (folder / "texts.parquet", None, f"{folder / 'texts.parquet'}: column 'a' must hold numbers, got string"),
        (folder / "none.parquet", None, f"{folder / 'none.parquet'}"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(words)}") as caught:
            ParquetRows(path, columns)
        assert "\n" not in str(caught.value)


def test_a_missing_number_is_refused_where_it_is_learned_from(tmp_path):
    pq.write_table(pa.table({"a": [1.0, None], "b": [1, 2]}), tmp_path / "X.parquet")
    params = tuple(p.astype("float32") for p in init_params((2, 2, 2)))
    with pytest.raises(ValueError, match=r"^X must be finite, got NaN or infinity$"):
        next(train(ParquetRows(tmp_path), np.asarray([0, 1]), params, epochs=1))


def test_a_missing_number_has_no_place_among_whole_ones(tmp_path):
    pq.write_table(pa.table({"a": [1, None]}), tmp_path / "X.parquet")
    with pytest.raises(ValueError, match=r"X.parquet: column 'a' lacks a value, and int32 has no NaN$"):
        ParquetRows(tmp_path, dtype="int32")[:]


def write(path, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=7)


DAMAGED, CHANGED = "must be a whole Parquet file, got", "must stay as it is while it is read, got another file"
FATES = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-9]), DAMAGED, DAMAGED),
    "empty": (lambda path: path.write_bytes(b""), DAMAGED, DAMAGED),
    "of another kind": (lambda path: path.write_text("a,b\n1,2\n"), DAMAGED, DAMAGED),
    "gone": (lambda path: path.unlink(), "", "can't be read: No such file or directory"),
    "of other columns": (lambda path: write(path, e=[1.0]), "a column must be 'e', got 'd'", CHANGED),
    "of texts": (lambda path: write(path, **{name: ["x"] for name in NAMES}), "column 'd' must hold numbers", CHANGED),
    "without rows": (lambda path: write(path, **{name: pa.array([], pa.float32()) for name in NAMES}), "", CHANGED),
}
"""What becomes of a file -> what does it, and the sentence where that is before the files are looked at, or after."""


def refused(path, read):
    """The sentence about a file, without its name."""
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}[: ]") as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("fate", FATES)
def test_a_file_that_is_not_as_it_should_be_is_named(folder, fate):
    change, before, after = FATES[fate]
    path, source = folder / "part-1.parquet", ParquetRows(folder)
    change(path)
    assert after in refused(path, lambda: source[:])
    if before:
        assert before in refused(path, lambda: ParquetRows(folder))
    else:
        assert ParquetRows(folder)[:].tolist() == np.delete(X, CUTS[1], axis=0).tolist()


TYPES = {"of texts": ("must have columns of the same types as", "column 'd' must fit float")}


@pytest.mark.parametrize("fate", FATES)
def test_the_command_names_the_file_too(folder, fate):
    """A folder as a table: a column that a file lacks is missing there, and what is no Parquet is not looked at."""
    (folder / "notes.txt").write_text("x")
    change, *said = FATES[fate]
    before, after = (each if each in (DAMAGED, "can't be read: No such file or directory") else "" for each in said)
    before, after = TYPES.get(fate, (before, after))
    path, source = folder / "part-1.parquet", open_data(folder)
    change(path)
    for read, sentence in ((source.read, after), (lambda: open_data(folder).read(), before)):
        if sentence:
            assert sentence in refused(path, read)
        else:
            assert len(read().X) == 49 + (fate == "of other columns")


def test_two_columns_of_one_name_are_named(folder):
    path = folder / "part-1.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1.0])] * 2, ["a", "a"]), path)
    for read in (ParquetRows, open_data):
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))} must have columns of different names, got 'a'"):
            read(folder)


def test_a_name_that_is_no_text_is_a_damaged_file(tmp_path):
    """Arrow checks no names, and Python decodes one when it is asked for."""
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(path, pa.schema({"width": pa.int64()})) as file:
        file.write_table(pa.table({"width": [1]}))
    path.write_bytes(path.read_bytes().replace(b"width", b"wid\xfeh"))
    assert "must be a whole Arrow file, got" in refused(path, lambda: open_data(path))


def test_damaged_notes_of_pandas_are_no_damaged_table(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1, 2]}).replace_schema_metadata({"pandas": '{"index_columns": [{"kind'}), path)
    assert open_data(path).read().X.a.tolist() == [1, 2]
