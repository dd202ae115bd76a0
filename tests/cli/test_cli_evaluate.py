"""``mlp-xp evaluate`` and ``inspect``: how good a saved model is, and what it is."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
import runs
from runs import cli, pandas

import mlp_xp

pytestmark = pytest.mark.only("numpy")


def test_evaluate_scores_the_data_of_the_training_on_its_test_rows(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, data = str(model / "houses.safetensors"), str(model / "houses.csv")
    assert cli.main(["evaluate", path, data, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    notes = import_module("mlp_xp.estimators.files").read_notes(path)["notes"]
    assert (record["value"], record["rows"]) == (notes["test"]["value"], 24)
    runs.write_table(model, "others.csv", rows=50)
    assert cli.main(["evaluate", path, str(model / "others.csv")]) == 0
    printed = capsys.readouterr().out
    assert "of 50 right" in printed
    assert "true label (row)" in printed


@pytest.mark.parametrize("name", ["evaluate", "gradcheck"])
def test_an_unknown_class_is_named_with_its_row(
    model: Path, folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.write_table(folder, cell=(2, "district", "west"))
    sentence = runs.refused(capsys, name, str(model / "houses.safetensors"), "houses.csv")
    assert sentence.endswith("row 3 must be of a class that the model knows, north, south, got west")


def test_inspect_shows_architecture_training_and_versions(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(model / "houses.safetensors")]) == 0
    printed = capsys.readouterr().out
    for text in ("3-8-1, relu", "classification of district", "north, south", "area, rooms, price", "50 epochs",
                 "96 trained on, 24 to test", "a step", mlp_xp.__version__,
                 "mlp-xp train houses.csv"):  # fmt: skip
        assert text in printed, text
    assert cli.main(["inspect", str(model / "houses.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sizes"] == [3, 8, 1]


def test_a_truncated_or_newer_model_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.train_quickly(runs.write_classes(folder))
    whole = (folder / "small.safetensors").read_bytes()
    (folder / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    for command in (("inspect",), ("predict", "small.npz"), ("evaluate", "small.npz"), ("export", "a.onnx")):
        sentence = runs.refused(capsys, command[0], "half.safetensors", *command[1:])
        assert sentence.startswith("half.safetensors must be a model of mlp_xp, got a file that is truncated")
    files = import_module("mlp_xp._lib.files")
    version, files.VERSION = files.VERSION, 99
    try:
        runs.train_quickly("small.npz", "-o", "newer.safetensors")
    finally:
        files.VERSION = version
    assert "was written by a newer mlp_xp" in runs.refused(capsys, "inspect", "newer.safetensors")


@pytest.mark.parametrize("loss", [("huber", "--delta", "0.5"), ("quantile", "--quantile", "0.1,0.5"), ("gaussian",)])
def test_inspect_shows_a_model_of_any_loss(
    folder: Path, loss: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--max-iter",
        "1",
        "--picture",
        "none",
        "--hidden",
        "4",
        "-o",
        "m.safetensors",
        "--no-check-gradients",
        "--quiet",
    ]
    data = runs.write_table(folder)
    assert cli.main(["train", data, "--target", "price", *options, "--loss", *loss]) == 0
    assert cli.main(["inspect", "m.safetensors"]) == 0
    assert f"loss={loss[0]}" in capsys.readouterr().out


def refitted(path: Path, name: str) -> None:
    """Write a model anew whose notes say that it was fitted to all rows in the end."""
    files, backends = import_module("mlp_xp.estimators.files"), import_module("mlp_xp.cli._model")
    opened = backends.open_model(str(path))
    notes = opened.header["notes"]
    notes["data"] |= {"refitted": {"rows": notes["data"]["rows"], "epochs": 3}}
    files.save(opened.estimator, path.with_name(name), notes)


def test_rows_that_a_model_has_learned_from_are_scored_and_called_so(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refitted(model / "houses.safetensors", "again.safetensors")
    arguments = ["evaluate", str(model / "again.safetensors"), str(model / "houses.csv")]
    test = import_module("mlp_xp.estimators.files").read_notes(arguments[1])["notes"]["test"]
    assert cli.main([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["rows"], record["learned_from"], record["test"]) == (120, True, test)
    assert record["rows_of"].endswith("houses.csv, which the model has learned from")
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("accuracy ") and line.endswith(" of 120 right") for line in lines)
    assert lines[-2].startswith("note: the model has learned from every row of ")
    assert lines[-1].startswith(f"its test rows, before it was fitted to all rows: accuracy {test['value']:.2%} (95 %")
    assert lines[-1].endswith(" of 24 right")
    # rows that it has not learned from are scored as ever
    runs.write_table(model, "others.csv", rows=50)
    assert cli.main([*arguments[:2], str(model / "others.csv"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["rows"], "learned_from" in record) == (50, False)


def test_data_without_a_target_in_any_row_is_not_called_empty(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = runs.pandas.read_csv(runs.write_table(folder), dtype=str).assign(district="")
    table.to_csv("new.csv", index=False)
    assert runs.refused(capsys, "evaluate", str(model / "houses.safetensors"), "new.csv") == (
        f"new.csv must have a row with a value of the target 'district', got {len(table)} rows without"
    )


def test_evaluate_counts_what_the_training_did_not_have(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.train_quickly(runs.write_table(folder), "--target", "price", "--missing", "auto")
    (folder / "new.csv").write_text(
        "area,rooms,district,price\n50,2,north,250\n60,,east,180\n70,3,south,\n80,3,east,240\n"
    )
    assert cli.main(["evaluate", "houses.safetensors", "new.csv", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["rows"], record["dropped"]) == (3, 1)
    assert (record["unknown"], record["missing"]) == ({"district": 2}, {"rooms": 1})
    assert cli.main(["evaluate", "houses.safetensors", "new.csv"]) == 0
    assert capsys.readouterr().out.startswith(
        "note: categories that the training did not have are in 'district' (2 rows: 'east'); missing values were "
        "filled in, in 'rooms' (1 row); 1 row without a target or with a missing value left out\n"
    )


def mixed(folder: Path) -> str:
    """A table with a date, categories, truth values, missing numbers, row numbers, and a column that says nothing."""
    n = 60
    days = pandas.date_range("2024-03-01", periods=n).strftime("%d.%m.%Y")
    columns = {
        "number": range(1, n + 1), "day": days, "age": ["31", "", "40"] * (n // 3), "same": ["x"] * n,
        "paid": ["TRUE", "FALSE"] * (n // 2), "kind": ["red", "green", "blue"] * (n // 3),
        "price": [10.5 * i % 7 for i in range(n)],
    }  # fmt: skip
    pandas.DataFrame(columns).to_csv(folder / "mixed.csv", index=False, sep=";")
    return "mixed.csv"


def test_inspect_shows_what_a_model_does_with_each_column(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.train_quickly(mixed(folder), "--target", "price", "--drop", "number")
    capsys.readouterr()
    assert cli.main(["inspect", "mixed.safetensors", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    columns = {each.pop("name"): each for each in record["columns"]}
    assert list(columns) == ["day", "age", "paid", "kind", "number", "same"]
    assert columns["age"]["missing"] == "the median, 35.5, and a column that says so"
    assert columns["age"]["becomes"] == 2
    assert columns["day"]["taken_for"].startswith("date (%d.%m.%Y): days")
    assert columns["day"]["missing"].startswith("the median, 2024-03-")
    assert columns["paid"]["taken_for"] == "true or false"
    assert columns["kind"]["taken_for"] == "3 categories: blue, green, red"
    assert columns["kind"]["new"] == "none of the categories"
    assert columns["same"]["taken_for"].startswith("left out: ")
    assert columns["number"]["taken_for"] == "left out: --drop says so"
    assert cli.main(["inspect", "mixed.safetensors"]) == 0
    printed = capsys.readouterr().out
    for text in ("what becomes of each column", "3 categories: blue, green, red", "on all 60 rows for",
                 "always the mean", "decimal mark '.'"):  # fmt: skip
        assert text in printed, text


@pytest.mark.parametrize(
    ("option", "missing"),
    [("refuse", "refused"), ("drop", "its row is left out"), ("fill", "the mean, 115.2")],
)
def test_inspect_shows_what_becomes_of_missing_values(
    folder: Path, option: str, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.write_table(folder)
    runs.train_quickly(data, "--target", "price", "--missing", option, "--unknown", "refuse", "--no-refit")
    capsys.readouterr()
    assert cli.main(["inspect", "houses.safetensors", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    area, _, district = record["columns"]
    assert area["missing"][:12] == missing[:12]
    assert district["new"] == "refused"


def test_inspect_shows_a_model_whose_test_score_says_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.write_table(folder, price=[1.5] * 119 + [2.5])
    runs.train_quickly("houses.csv", "--target", "price", "--seed", "1")
    capsys.readouterr()
    assert cli.main(["inspect", "houses.safetensors"]) == 0
    assert "R^2 says nothing here" in capsys.readouterr().out
