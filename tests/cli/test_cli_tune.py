"""``mlp-xp tune``: what is searched, how a try is scored, what is written."""

from __future__ import annotations

import json
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
from runs import cli, estimators

data, selection = import_module("mlp_xp.data"), import_module("sklearn.model_selection")
tuning = import_module("mlp_xp.cli._tuning")

pytestmark = pytest.mark.only("numpy")

QUICK = ("--tries", "3", "--max-iter", "2")
SEARCHED = {"hidden_layer_sizes", "learning_rate_init", "alpha", "dropout", "batch_size"}


def records(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert cli.main(["tune", *arguments, "--json", "--force"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_train_takes_the_best_settings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = runs.write_table(folder)
    *tries, final = records(capsys, table, "--target", "district", "--seed", "3", "-o", "best.toml", *QUICK)
    assert [record["try"] for record in tries] == [1, 2, 3]
    assert all(record["settings"].keys() == SEARCHED for record in tries)
    losses = [record["scores"]["log-loss"]["mean"] for record in tries]
    assert final["best"]["settings"] == tries[int(np.argmin(losses))]["settings"]
    written = tomllib.loads(Path("best.toml").read_text())
    assert (written["data"], written["target"], written["seed"], written["max_iter"]) == (table, "district", 3, 2)
    assert cli.main(["train", "--config", "best.toml", "--picture", "none"]) == 0
    (printed,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("again: ")]
    assert printed == f"again: {final['command']} --picture none"
    estimator, best = estimators.load("houses.safetensors"), final["best"]["settings"]
    assert (estimator.alpha, estimator.dropout) == (best["alpha"], best["dropout"])
    assert ",".join(str(W.shape[-1]) for W in estimator.coefs_[:-1]) == best["hidden_layer_sizes"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("classes", [3, 0])
def test_a_try_scores_as_cross_validation_of_scikit_learn_does(
    classes: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tried once, with all settings given but the widths, whose first try is the default."""
    if classes:
        name, kind = runs.write_classes(folder, classes), estimators.MLPClassifier
        scorings, splitter = {"log-loss": "neg_log_loss", "accuracy": "accuracy"}, selection.StratifiedKFold
    else:
        name, kind = "numbers.npz", estimators.MLPRegressor
        X = np.random.default_rng(1).normal(size=(60, 5))
        np.savez(name, X=X, y=X[:, 0] ** 2 + 0.1 * X[:, 1])
        scorings, splitter = {"R^2": "r2", "RMSE": "neg_root_mean_squared_error"}, selection.KFold
    more = ("--solver", "lbfgs", "--max-iter", "20", "--dtype", "float64", "--cv", "4", "--tries", "1")
    first, _ = records(capsys, name, *more, "-o", "a.toml")
    with np.load(name) as file:
        X, y = file["X"], file["y"]
    kept, _ = data.hold_out(0.2, 0, len(y), y if classes else None)
    estimator = kind(solver="lbfgs", max_iter=20, standardise=True, random_state=0)
    folds = splitter(4, shuffle=True, random_state=0)
    for shown, scoring in scorings.items():
        values = selection.cross_val_score(estimator, X[kept], y[kept], cv=folds, scoring=scoring)
        assert abs(first["scores"][shown]["mean"]) == pytest.approx(abs(values.mean()), rel=1e-9)
        assert first["scores"][shown]["spread"] == pytest.approx(values.std(ddof=1), rel=1e-9)


def test_no_row_that_train_tests_on_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, seen = runs.write_classes(folder), []
    real = tuning.fit
    monkeypatch.setattr(tuning, "fit", lambda run: seen.append(run.data) or real(run))
    assert cli.main(["tune", name, *QUICK, "-q"]) == 0
    with np.load(name) as file:
        X, y = file["X"].astype(np.float32), file["y"]
    _, out = data.hold_out(0.2, 0, len(y), y)
    held = {row.tobytes() for row in X[out]}
    for each in seen:
        for split in each.splits:
            rows = np.concatenate(split)
            assert len(rows) == len({*rows}) == 48
            assert held.isdisjoint(row.tobytes() for row in each.rows.X[rows])


def test_what_is_given_is_not_searched(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = runs.write_classes(folder)
    Path("given.toml").write_text("alpha = 0.5")
    first, *_ = records(capsys, name, "--hidden", "3", "--batch-size", "16", "--config", "given.toml", *QUICK)
    assert first["settings"].keys() == {"learning_rate_init", "dropout"}
    written = tomllib.loads(Path("small.toml").read_text())
    assert (written["hidden_layer_sizes"], written["batch_size"], written["alpha"]) == ("3", "16", 0.5)
    *tries, _ = records(capsys, name, "--lr", "0.01", "--alpha", "0", "--dropout", "0", "--batch-size", "9",
                        "--max-iter", "1", "--tries", "99")  # fmt: skip
    widths = [record["settings"]["hidden_layer_sizes"] for record in tries[1:]]
    assert len(widths) == len({*widths}) < 98  # each once, where all can be tried
    all_given = ("--hidden", "3", "--lr", "0.01", "--alpha", "0", "--dropout", "0", "--batch-size", "9")
    assert runs.refused(capsys, "tune", name, "--force", *all_given).startswith("nothing is left to search")


def test_ctrl_c_keeps_what_was_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, real, calls = runs.write_classes(folder), tuning.fit, []

    def fit(run: Any) -> bool:
        calls.append(run)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return bool(real(run))

    monkeypatch.setattr(tuning, "fit", fit)
    assert cli.main(["tune", name, *QUICK, "-o", "best.toml"]) == 130
    printed = capsys.readouterr()
    assert printed.err == "interrupted after 2 tries: the best settings so far are in best.toml\n"
    assert tomllib.loads(Path("best.toml").read_text())["data"] == name
    calls[:] = [None, None]  # now the first try is the third call
    assert cli.main(["tune", name, *QUICK, "-o", "none.toml"]) == 130
    assert not Path("none.toml").exists()


def test_no_try_begins_after_the_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = runs.write_classes(folder)
    assert cli.main(["tune", name, "--tries", "50", "--seconds", "0.001", "--max-iter", "1"]) == 0
    printed = capsys.readouterr().out
    assert "note: 1 of 50 tries in 0.001 seconds" in printed
    assert "the best of 1 try, by log-loss" in printed


def test_settings_that_fail_come_last_and_where_all_fail_the_reason_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, real, calls = runs.write_classes(folder), tuning.fit, []

    def fit(run: Any) -> bool:
        calls.append(run)
        if len(calls) < 3:
            raise ValueError("the loss is not finite at step 1")
        return bool(real(run))

    monkeypatch.setattr(tuning, "fit", fit)
    *tries, final = records(capsys, name, *QUICK)
    assert [record.get("error") for record in tries] == ["the loss is not finite at step 1"] * 2 + [None]
    assert final["best"]["settings"] == tries[-1]["settings"]
    calls.clear()
    sentence = runs.refused(capsys, "tune", name, "--force", "--tries", "2")
    assert sentence == "the loss is not finite at step 1"


def test_a_rare_class_is_no_reason_to_fail(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    X, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    y[:3] = 5, 6, 6
    np.savez("rare.npz", X=X, y=y)
    *tries, _ = records(capsys, "rare.npz", *QUICK)
    assert all(np.isfinite(record["scores"]["log-loss"]["mean"]) for record in tries)


def test_the_table_ranks_the_tries(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = runs.write_classes(folder)
    assert cli.main(["tune", name, *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "small: 48 rows in 3 folds, 12 are kept for the test of `mlp-xp train`" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith(("  1", "  2", "  3"))]
    losses = [float(row[row.index("±") - 1]) for row in rows]
    assert losses == sorted(losses)
    assert printed.count("the defaults") == 1
    assert printed.endswith("wrote small.toml\nnext: mlp-xp train --config small.toml\n")
