"""Which columns a model needs: scikit-learn's permutation importance, of the columns of the table."""

from __future__ import annotations

import json
import weakref
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import runs
from runs import cli
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression

pytestmark = pytest.mark.only("numpy")

data, recipes = import_module("mlp_xp.data"), import_module("mlp_xp.data.recipe")
importances, scores = import_module("mlp_xp.cli._importance"), import_module("mlp_xp.cli._scores")


def linear(columns: list[tuple[str, int]] | None) -> Any:
    """A linear model of six numbers, and the rows that it is for; each column of a table is so many columns of X."""
    random = np.random.default_rng(0)
    X = random.normal(size=(80, 6))
    y = X @ np.asarray([3.0, 1.0, 0.0, 1.0, 0.1, 0.0]) + random.normal(size=80)
    estimator = LinearRegression().fit(X, y)
    estimator._criterion = lambda: "squared_error"
    named = columns and [SimpleNamespace(name=name, names=("",) * count) for name, count in columns]
    model = SimpleNamespace(
        estimator=estimator, is_classifier=False, predict=estimator.predict, spread=lambda *_: [],
        recipe=SimpleNamespace(columns=named, names=tuple("abcdef")),
    )  # fmt: skip
    return model, X, y


def test_without_a_table_the_importance_of_each_column_is_that_of_scikit_learn() -> None:
    model, X, y = linear(None)
    found = importances.importance(model, X, y, scores.judge(model, X, y), seed=3)
    expected = permutation_importance(model.estimator, X, y, random_state=3)
    order = [("abcdef").index(name) for name in found.columns]
    assert order == np.argsort(-expected.importances_mean, kind="stable").tolist()
    np.testing.assert_allclose(found.mean, expected.importances_mean[order], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.std, expected.importances_std[order], rtol=1e-9, atol=1e-12)
    assert (found.score, found.rows) == ("R^2", 80)


def test_all_that_a_column_became_is_shuffled_together() -> None:
    model, X, y = linear([("one", 1), ("three", 3), ("nothing", 0), ("two", 2)])
    found = importances.importance(model, X, y, scores.judge(model, X, y), seed=3)
    assert found.columns == ("one", "three", "two")
    # the same shuffles, of three columns at once
    random = np.random.RandomState(np.random.RandomState(3).randint(np.iinfo(np.int32).max + 1))
    order, rows, falls = np.arange(80), np.arange(80), []
    for _ in range(5):
        random.shuffle(order)
        rows = rows[order]
        mixed = X.copy()
        mixed[:, 1:4] = X[rows, 1:4]
        falls.append(model.estimator.score(X, y) - model.estimator.score(mixed, y))
    np.testing.assert_allclose(found.mean[1], np.mean(falls), rtol=1e-9)


def test_of_many_rows_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importances, "_MOST_ROWS", 50)
    model, X, y = linear(None)
    found = importances.importance(model, X, y, scores.judge(model, X, y))
    assert found.rows == 50
    assert found.columns[0] == "a"


def test_where_accuracy_says_little_the_area_under_the_roc_curve_falls() -> None:
    X = np.r_[np.zeros(95), np.ones(5)][:, None] @ np.ones((1, 2))
    y = np.where(X[:, 0] > 0, "yes", "no")
    estimator = LinearRegression()
    estimator._criterion = lambda: "softmax_cross_entropy"
    model = SimpleNamespace(
        estimator=estimator, is_classifier=True, classes=np.asarray(["no", "yes"]),
        predict=lambda X: np.repeat("no", len(X)),  # no row is taken for fraud, but some for more likely than others
        predict_proba=lambda X: np.stack([1 - 0.3 * X[:, 0], 0.3 * X[:, 0]], axis=1),
        recipe=SimpleNamespace(columns=None, names=("used", "unused")),
    )  # fmt: skip
    found = importances.importance(model, X, y, scores.judge(model, X, y))
    assert (found.score, found.columns) == ("ROC AUC", ("used", "unused"))
    assert found.mean[0] > 0.3
    assert found.mean[1] == found.std[1] == 0.0


def test_evaluate_says_which_columns_mattered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.train_quickly(
        runs.write_table(folder), "--target", "price", "--solver", "lbfgs", "--hidden", "0", "--no-refit"
    )
    arguments = ["evaluate", "houses.safetensors", "houses.csv", "--importance"]
    assert cli.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["importance"]
    assert found["score"] == "R^2"
    # a price is three times the area, and 100 more in the north: a deviation of 147 beside one of 50
    assert [each["column"] for each in found["columns"]] == ["area", "district", "rooms"]
    falls = {each["column"]: each["importance"] for each in found["columns"]}
    assert falls["area"] > 3 * falls["district"] > 10 * abs(falls["rooms"])
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "fall of R^2 when a column is shuffled, 5 times, on 24 rows" in printed
    assert printed.index("  area ") < printed.index("  district ") < printed.index("  rooms ")


def test_evaluate_keeps_only_the_rows_that_it_shuffles(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.train_quickly(runs.write_table(folder), "--target", "price", "--no-refit")
    opened = import_module("mlp_xp.cli._model").open_model("houses.safetensors")
    monkeypatch.setattr(importances, "_MOST_ROWS", 20)  # of the 24 that were tested
    encoded = recipes.read(data.open_data("houses.csv"), opened.recipe)
    tested = data.hold_out(0.2, opened.header["notes"]["data"]["split"]["seed"], len(encoded.y))[1]
    X, y = encoded.X[tested], encoded.y[tested]
    expected = importances.importance(opened, X, y, scores.judge(opened, X, y))

    monkeypatch.setattr(recipes, "_CELLS", 40)  # 10 rows at a time
    alive: list[Any] = []
    made = recipes.Recipe.rows

    def watched(*arguments: Any, **options: Any) -> Any:
        alive[:] = [each for each in alive if each() is not None]
        assert len(alive) <= 2
        rows = made(*arguments, **options)
        alive.append(weakref.ref(rows.X))
        return rows

    monkeypatch.setattr(recipes.Recipe, "rows", watched)
    assert cli.main(["evaluate", "houses.safetensors", "houses.csv", "--importance", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["importance"]["columns"] == expected.as_records()
