"""Parquet files larger than memory: their rows, by number, are those of the table."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mlp_xp import init_params
from mlp_xp.data import ParquetRows
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
