"""Rows too many for memory: the command keeps their numbers in a temporary file, and learns from some at a time."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
import runs
from sklearn.datasets import load_diabetes

from mlp_xp.cli import _memory, _prepare
from mlp_xp.data import open_data
from mlp_xp.data.recipe import Wanted, learn

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TRAIN = ("--preset", "medium", "--max-iter", "30", "--hidden", "16", "--no-check-gradients", "--picture", "none")


@pytest.fixture
def large(monkeypatch):
    """Any data is large, also for the cache of the system."""
    monkeypatch.setattr(_memory, "_LARGE", 0)
    monkeypatch.setattr(_memory, "_CACHED", 0)


def table(folder, rows=442):
    """Numbers, some of them missing, and a category; the target is a number."""
    X, y = load_diabetes(return_X_y=True)
    frame = runs.pandas.DataFrame(X[:, :4], columns=list("abcd"))
    frame["kind"] = np.where(X[:, 4] > 0, "u", "v")
    frame.loc[::7, "b"] = np.nan
    frame["progress"] = y
    frame[:rows].to_csv(folder / "patients.csv", index=False)
    return "patients.csv"


def trained(capsys, *arguments):
    """The last record that ``train`` prints, and its notes."""
    capsys.readouterr()
    assert runs.cli.main(["train", *arguments, *TRAIN, "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return records[-1], " ".join(note for record in records for note in record.get("notes", ()))


@pytest.mark.parametrize(
    "options",
    [(), ("--missing", "fill"), ("--missing", "drop"), ("--numbers", "piecewise"), ("--cv", "3"), ("--importance",),
     ("--standardise",), ("--early-stopping", "--no-refit"), ("--dtype", "float64")],
    ids=" ".join,
)  # fmt: skip
def test_what_is_learned_is_as_good_as_in_memory(folder, capsys, monkeypatch, options):
    data = table(folder)
    inside, _ = trained(capsys, data, *options, "-o", "inside.safetensors")
    monkeypatch.setattr(_memory, "_LARGE", 0)
    monkeypatch.setattr(_memory, "_CACHED", 0)
    outside, _ = trained(capsys, data, *options, "-o", "outside.safetensors")
    kept = [runs.estimators.files.read_notes(folder / f"{name}.safetensors") for name in ("inside", "outside")]
    notes = [each["notes"] for each in kept]
    assert notes[0]["recipe"] == notes[1]["recipe"]  # to the last bit of what is filled in
    about = [{name: value for name, value in each["data"].items() if name != "refitted"} for each in notes]
    assert about[0] == about[1]  # the same rows are tested
    assert outside["test"]["value"] == pytest.approx(inside["test"]["value"], abs=0.1)


def test_rows_come_in_blocks_only_where_the_system_may_not_have_them(tmp_path):
    def chunk_of(rows):
        X = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(rows, 8))  # a hole in the disk
        return _memory.rows_in(X).chunks

    assert chunk_of(2**23) is None  # 268 MB, which come in any order, as in memory
    assert chunk_of(2**23 + 1) == (2**11, 8)  # 64 KB


def test_the_model_is_judged_by_the_rows_that_it_was_not_trained_on(folder, capsys, large):
    said, _ = trained(capsys, table(folder), "--no-refit")
    assert runs.cli.main(["evaluate", "patients.safetensors", "patients.csv", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["value"] == pytest.approx(said["test"]["value"], rel=1e-6)
    assert "the test rows of its training" in again["rows_of"]


def test_a_note_says_it(folder, capsys, large):
    assert runs.cli.main(["train", table(folder), *TRAIN]) == 0
    assert "kB of numbers are kept in a temporary file" in capsys.readouterr().out


def test_rows_in_memory_take_with_their_copies_no_more_than_rows_in_a_file_may():
    measured = 5.3  # copies, of 6 that are allowed for
    assert measured * _memory._LARGE < 200e6
    recipe = learn(open_data("diabetes"), Wanted()).recipe
    rows = 100_000_000 // (4 * recipe.width)
    assert _memory.are_many("a table of 100 MB", rows, recipe, "float32", in_steps=True)
    assert not _memory.are_many("a table of 20 MB", rows // 5, recipe, "float32", in_steps=True)


@pytest.mark.parametrize("options", [("--solver", "lbfgs"), ("--ensemble", "2", "--folds", "--early-stopping")])
def test_what_needs_all_rows_at_once_has_them_in_memory(folder, large, options, monkeypatch):
    monkeypatch.setattr(_memory, "in_file", None)
    assert runs.cli.main(["train", table(folder), *TRAIN, "--quiet", *options]) == 0


def test_what_does_not_fit_in_memory_is_kept_in_a_file(folder, monkeypatch, capsys):
    monkeypatch.setattr(_memory, "available", lambda: 30_000)  # the rows take 12,000, and copies of them more
    monkeypatch.setattr(_memory, "check_network", lambda *_: None)
    assert runs.cli.main(["train", table(folder), *TRAIN]) == 0
    assert "are kept in a temporary file" in capsys.readouterr().out


def test_a_disk_without_room_is_one_sentence(folder, capsys, large, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    said = runs.refused(capsys, "train", table(folder), *TRAIN)
    assert said.startswith("patients.csv: 442 rows of 7 numbers in float32 must fit in a temporary file: they take ")
    assert "No space left on device; the variable TMPDIR names another folder" in said


def test_the_range_of_columns_is_that_of_all_rows_looked_at_in_parts(monkeypatch):
    X = np.random.default_rng(0).normal(size=(100, 3)) * [1.0, 1e-3, 1e6] + [0.0, 1e3, 0.0]
    X[::3, 0] = X[:40, 1] = np.nan  # the second column has no value in the first parts
    monkeypatch.setattr(_prepare, "_LOOKED_AT", 4 * 3 * 8)  # 8 rows
    low, high, spread = _prepare._range_of(X, np.arange(90))
    np.testing.assert_array_equal([low, high], [np.nanmin(X[:90], axis=0), np.nanmax(X[:90], axis=0)])
    np.testing.assert_allclose(spread, np.nanstd(X[:90], axis=0), rtol=1e-9)


# --- folders of Parquet files ------------------------------------------------------------------------------------


def parquets(folder, **tables):
    for name, columns in tables.items():
        path = folder / "sold" / name.replace("__", "/").replace("_is_", "=")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path.with_suffix(".parquet"))
    (folder / "sold" / "_SUCCESS").touch()  # which other programs leave there
    return "sold"


def test_a_folder_is_one_table(folder):
    first = {"a": pa.array([1, 2], pa.int32()), "y": [1.5, 2.5]}
    second = {"y": [3.5, 4.5], "b": ["u", None], "a": pa.array([3, 2**40])}
    source = open_data(parquets(folder, part_1=second, part_0=first))
    assert (source.name, source.columns) == ("sold", ("a", "y", "b"))
    frame = source.read().X
    assert frame["a"].tolist() == [1, 2, 3, 2**40]
    assert frame["y"].tolist() == [1.5, 2.5, 3.5, 4.5]
    assert frame["b"].tolist()[2] == "u"
    assert frame["b"].isna().tolist() == [True, True, False, True]
    assert [len(chunk.X) for chunk in source.chunks(1)] == [1, 1, 1, 1]


def test_names_of_folders_are_columns_before_the_others(folder):
    name = parquets(folder, year_is_2020__x={"a": [1], "y": [2]}, year_is_2021__x={"a": [3], "y": [4]})
    frame = open_data(name).read().X
    assert list(frame.columns) == ["year", "a", "y"]
    assert frame["year"].tolist() == [2020, 2021]


def test_the_command_learns_from_a_folder_and_predicts_it(folder, capsys):
    parts = np.array_split(np.random.default_rng(0).normal(size=(90, 3)), 3)
    columns = ({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": X @ [1.0, 2.0, 3.0]} for X in parts)
    name = parquets(folder, **{f"part_{number}": each for number, each in enumerate(columns)})
    runs.train_quickly(name)
    assert runs.cli.main(["predict", "sold.safetensors", name, "-o", "said.csv"]) == 0
    assert len(runs.pandas.read_csv(folder / "said.csv")) == 90


def test_what_is_wrong_with_a_folder_is_said(folder, capsys):
    name = parquets(folder, part_0={"a": [1], "y": [2]}, part_1={"a": ["u"], "y": [2]})
    said = runs.refused(capsys, "inspect", name)
    assert said.startswith("sold/part_1.parquet must have columns of the same types as sold/part_0.parquet: ")
    (folder / "sold" / "part_1.parquet").write_bytes(b"PAR1 and no more")
    said = runs.refused(capsys, "inspect", name)
    assert said == "sold/part_1.parquet must be a whole Parquet file, got a damaged one or another kind"
