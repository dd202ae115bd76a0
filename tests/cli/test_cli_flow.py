"""How ``mlp-xp train`` goes about it: what is held out, which epoch is kept, what all rows are for, and presets."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import runs
from runs import cli, estimators

pytestmark = pytest.mark.only("numpy")

files = import_module("mlp_xp.estimators.files")
fitting, ending = import_module("mlp_xp.cli._fit"), import_module("mlp_xp.cli._ending")
memory, prepare = import_module("mlp_xp.cli._memory"), import_module("mlp_xp.cli._prepare")
Record = import_module("mlp_xp.train").Record


def trained(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a quick run prints."""
    capsys.readouterr()
    assert cli.main(["train", *runs.QUICK, "--force", *arguments]) == 0
    return capsys.readouterr().out


def final(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The last record of a quick run."""
    record: dict[str, Any] = json.loads(trained(capsys, *arguments, "--json").splitlines()[-1])
    return record


# --- all rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--schedule", "cosine"), ("--dropout", "0.2")], ids=" ".join)
def test_the_saved_model_is_one_fitted_to_all_rows_for_as_many_epochs_as_were_best(
    folder: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 60)
    np.savez("noise.npz", X=random.normal(size=(60, 5)) + 0.5 * y[:, None], y=y)  # of which not all can be learned
    record = final(capsys, "noise.npz", "--max-iter", "40", "--patience", "5", "--lr", "0.03", *more)
    assert record["refitted"] == {"rows": 60, "epochs": record["best_epoch"]}
    saved = estimators.load("noise.safetensors")
    assert 1 < saved.n_iter_ == record["best_epoch"] < record["epochs"]

    class Until:
        def __call__(self, epoch: Any) -> bool:
            return bool(epoch.last.number == record["best_epoch"])

    data = np.load("noise.npz")
    again = estimators.MLPClassifier(**saved.get_params()).set_params(early_stopping=False, n_iter_no_change=np.inf)
    again.fit(data["X"].astype(np.float32), data["y"], callbacks=[Until()])
    for one, other in zip(saved.coefs_, again.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    assert saved.early_stopping  # the settings are those that were asked for


def test_what_was_done_with_all_rows_is_said_and_in_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = runs.write_classes(folder)
    printed = trained(capsys, data)
    assert re.search(r"refitted on all 60 rows for \d epochs?; the test score is that of the model before\n", printed)
    about = files.read_notes("small.safetensors")["notes"]["data"]
    assert about["refitted"]["rows"] == about["rows"] == 60
    printed = trained(capsys, data, "--no-refit")
    assert "refitted" not in printed
    about = files.read_notes("small.safetensors")["notes"]["data"]
    assert about["refitted"] is None
    assert (about["trained"], about["validated"], about["tested"]) == (43, 5, 12)


def test_rows_are_held_out_for_validation_only_where_they_are_watched(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.write_classes(folder)
    assert "small: 43 rows to train on, 5 to validate, 12 to test\n" in trained(capsys, data)
    for options in (("--no-early-stopping",), ("--solver", "lbfgs"), ("--validation-fraction", "0")):
        assert "small: 48 rows to train on, 12 to test\n" in trained(capsys, data, *options)


def test_few_rows_that_are_watched_have_a_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "note: only 5 rows tell when to stop: --validation-fraction" in trained(capsys, runs.write_classes(folder))


def test_what_is_filled_in_is_learned_from_the_rows_that_are_learned_from(folder: Path) -> None:
    data = runs.write_table(folder, rooms=np.arange(120) * 1.5, cell=(3, "area", np.nan))
    prices = {}
    for refit in ("--refit", "--no-refit"):
        runs.train_quickly(data, "--missing", "fill", refit, "--force")
        prices[refit] = files.read_notes("houses.safetensors")["notes"]["recipe"]["fill"]
    area = runs.pandas.read_csv(data)["area"]
    assert prices["--refit"][0] == pytest.approx(np.nanmean(area), rel=1e-6)
    assert prices["--no-refit"][0] != pytest.approx(np.nanmean(area), rel=1e-6)


def test_where_the_fit_to_all_rows_fails_the_model_that_was_tested_is_saved(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, data = estimators.MLPClassifier.fit, runs.write_classes(folder)
    for error, status, sentence in (
        (MemoryError("no room"), 0, "the fit to all rows failed, so the model is the one that was tested: no room"),
        (KeyboardInterrupt(), 130, "interrupted while fitting to all rows: the model that was tested is in small."),
    ):

        def failing(self: Any, X: Any, *arguments: Any, error: BaseException = error, **more: Any) -> Any:
            if len(X) == 60:
                raise error
            return fit(self, X, *arguments, **more)

        monkeypatch.setattr(estimators.MLPClassifier, "fit", failing)
        capsys.readouterr()
        assert cli.main(["train", data, *runs.QUICK, "--force"]) == status
        printed = capsys.readouterr()
        assert sentence in printed.out + printed.err
        monkeypatch.setattr(estimators.MLPClassifier, "fit", fit)
        tested = [each.copy() for each in estimators.load("small.safetensors").coefs_]
        runs.train_quickly(data, "--no-refit", "--force")
        for one, other in zip(tested, estimators.load("small.safetensors").coefs_, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_rate_that_fell_falls_at_the_same_epochs_again(folder: Path) -> None:
    data = runs.write_classes(folder)
    options = ("--solver", "sgd", "--schedule", "adaptive", "--lr", "0.05", "--patience", "1", "--max-iter", "30")
    runs.train_quickly(data, *options, "--no-refit", "-o", "first.safetensors")
    runs.train_quickly(data, *options, "-o", "again.safetensors")
    first, again = (estimators.load(f"{name}.safetensors") for name in ("first", "again"))
    rates = [[record.lr for record in model._history] for model in (first, again)]
    assert rates[1] == rates[0][: len(rates[1])]
    assert again.learning_rate == "adaptive"


OWN_ENDS = (
    "--max-iter",
    "60",
    "--patience",
    "3",
    "--lr",
    "0.05",
)  # with which each network has a best epoch of its own


def test_an_ensemble_is_refitted_for_the_mean_of_its_best_epochs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.write_classes(folder)
    record = final(capsys, data, "--ensemble", "3", *OWN_ENDS)
    trained(capsys, data, "--ensemble", "3", *OWN_ENDS, "--no-refit")
    bests = ending.best_epochs(estimators.load("small.safetensors"))
    assert len(set(bests)) > 1
    assert record["refitted"]["epochs"] == round(np.mean(bests))
    assert re.search(
        r"note: the 3 networks were best in epochs \d+ to \d+ of \d+", " ".join(["note:", *record["notes"]])
    )


def test_an_ensemble_with_folds_holds_out_no_row_and_is_fitted_again_to_all_as_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.write_classes(folder)
    printed = trained(capsys, data, "--preset", "best", "--hidden", "8", "--max-iter", "4", "--batch-size", "20")
    assert "small: 48 rows to train on, 12 to test\n" in printed
    assert re.search(r"note: the 5 networks were best in epochs? \d( to \d)? of \d", printed)
    assert "refitted on all 60 rows; the test score is that of the model before\n" in printed
    saved = estimators.load("small.safetensors")
    X, y = (np.load("small.npz")[name] for name in "Xy")
    again = estimators.MLPClassifier(**saved.get_params())
    with pytest.warns(match="Maximum iterations"):
        again.fit(X.astype(np.float32), y)
    for one, other in zip(saved.coefs_, again.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)


def stopping_at(call: int, error: BaseException) -> Any:
    """``fit`` of a regressor, which raises at its call of that number."""
    fit, calls = estimators.MLPRegressor.fit, []

    def stopped(self: Any, *arguments: Any, **more: Any) -> Any:
        calls.append(self)
        if len(calls) == call:
            raise error
        return fit(self, *arguments, **more)

    return stopped


@pytest.mark.parametrize(
    ("call", "error", "ended"),
    [
        (1, KeyboardInterrupt(), "interrupted"),
        (2, KeyboardInterrupt(), "interrupted in fold 2 of 3: no model was saved, for it is"),
        (3, KeyboardInterrupt(), "interrupted in fold 3 of 3: no model was saved, for it is"),
        (4, KeyboardInterrupt(), "interrupted in the fit to all rows: no model was saved, for it is"),
        (4, MemoryError("no room"), "error: in the fit to all rows: no room; no model was saved, for it is"),
    ],
)
def test_the_scores_of_the_folds_that_are_done_are_said_when_a_cross_validation_ends_early(
    folder: Path, call: int, error: BaseException, ended: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    options = (runs.write_table(folder), "--cv", "3", "--force")
    whole = re.findall(r"^fold \d of 3: R.2 .*", trained(capsys, *options), re.MULTILINE)
    assert len(whole) == 3
    (folder / "houses.safetensors").unlink()
    monkeypatch.setattr(estimators.MLPRegressor, "fit", stopping_at(call, error))
    assert cli.main(["train", *runs.QUICK, *options]) == (130 if isinstance(error, KeyboardInterrupt) else 2)
    printed = capsys.readouterr()
    assert re.findall(r"^fold \d of 3: R.2 .*", printed.out, re.MULTILINE) == whole[: call - 1]
    assert ("mean and spread over" in printed.out) == (call > 2)
    assert printed.err.lstrip() == ended + (" fitted to all rows after the last fold\n" if call > 1 else "\n")
    assert not (folder / "houses.safetensors").exists()


@pytest.mark.parametrize(("call", "cross"), [(2, ()), (4, ("--cv", "3"))])
def test_after_ctrl_c_numbers_that_were_fitted_already_are_not_lost(
    folder: Path, call: int, cross: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(estimators.MLPRegressor, "fit", stopping_at(call, KeyboardInterrupt()))
    arguments = ["train", runs.write_table(folder), *runs.QUICK, "--numbers", "auto", *cross]
    assert cli.main(arguments) == 130
    printed = capsys.readouterr().out
    if cross:
        assert "mean and spread over 3 of 3 folds" in printed
    else:
        assert "note: numbers plain: Ctrl-C came before numbers piecewise were tried\n" in printed
        assert files.read_notes("houses.safetensors")["notes"]["recipe"]["numbers"] == "plain"


def test_a_test_set_of_the_data_stays_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.write_classes(folder)
    X, y = (np.load("small.npz")[name] for name in "Xy")
    np.savez("split.npz", X=X[:45], y=y[:45], X_test=X[45:], y_test=y[45:])
    printed = trained(capsys, "split.npz")
    assert "split: 40 rows to train on, 5 to validate, 15 to test\n" in printed
    assert "refitted on all 45 rows for" in printed
    assert "refitted" not in trained(capsys, "split.npz", "--no-early-stopping")  # all rows were learned from already
    sentence = runs.refused(capsys, "train", "split.npz", "--cv", "3", "--force")
    assert sentence == "split.npz has test rows of its own: --cv, which splits the rows itself, goes without"


def test_after_ctrl_c_in_the_last_fit_a_resumed_run_ends_as_one_that_was_never_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, fit = runs.write_classes(folder), estimators.MLPClassifier.fit
    runs.train_quickly(data, "-o", "whole.safetensors")

    def stopped(self: Any, X: Any, *arguments: Any, **more: Any) -> Any:
        if len(X) == 60:
            raise KeyboardInterrupt
        return fit(self, X, *arguments, **more)

    options = ("--checkpoint", "state.safetensors", "-o", "resumed.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(estimators.MLPClassifier, "fit", stopped)
        assert cli.main(["train", data, *runs.QUICK, *options, "-q"]) == 130
    runs.train_quickly(data, *options, "--resume", "--force")
    whole, resumed = (estimators.load(f"{name}.safetensors") for name in ("whole", "resumed"))
    for one, other in zip(whole.coefs_ + whole.intercepts_, resumed.coefs_ + resumed.intercepts_, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_model_is_written_before_anything_is_said_about_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = runs.write_classes(folder)
    told: list[bool] = []

    def show(self: Any, drawn: Any) -> None:
        told.append(Path("small.safetensors").exists())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(import_module("mlp_xp.cli._output").Screen, "show", show)
    assert cli.main(["train", data, *runs.QUICK]) == 2
    assert told == [True]
    assert len(estimators.load("small.safetensors").coefs_) == 2


def test_a_picture_that_cannot_be_drawn_loses_neither_model_nor_report(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(import_module("mlp_xp.cli._picture"), "draw", draw)
    assert cli.main(["train", runs.write_classes(folder), *runs.QUICK[:-2]]) == 2
    printed = capsys.readouterr()
    assert "wrote small.safetensors\n" in printed.out
    assert printed.err.startswith("error: ")
    assert printed.err.endswith("No space left on device; the model is in small.safetensors\n")


# --- cross-validation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [runs.write_classes, runs.write_table])
def test_cross_validation_tests_each_row_once_and_saves_a_model_of_all(
    folder: Path, write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(folder)
    rows = 60 if data == "small.npz" else 120
    printed = trained(capsys, data, "--cv", "3")
    name = "accuracy" if rows == 60 else r"R\^2"
    for fold in (1, 2, 3):
        assert re.search(rf"fold {fold} of 3: {name} -?[\d.]+", printed)
    mean = re.search(
        rf"3-fold cross-validation, mean and spread over the folds: {name} (-?[\d.]+) ± ([\d.]+), ", printed
    )
    assert f"refitted on all {rows} rows for" in printed
    record = final(capsys, data, "--cv", "3")
    assert sum(each["rows"] for each in record["folds"]) == record["test"]["rows"] == rows
    values = [each["value"] for each in record["folds"]]
    assert mean
    assert float(mean[1]) == pytest.approx(np.mean(values), rel=1e-3)
    assert float(mean[2]) == pytest.approx(np.std(values, ddof=1), rel=0.1)
    assert record["refitted"]["rows"] == rows
    notes = files.read_notes(f"{Path(data).stem}.safetensors")["notes"]
    assert [each["value"] for each in notes["folds"]] == [each["value"] for each in record["folds"]]


def test_a_fold_is_tested_by_a_model_that_has_not_seen_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, fit = [], estimators.MLPClassifier.fit

    def watched(self: Any, X: Any, y: Any, *arguments: Any, eval_set: Any = None, **more: Any) -> Any:
        seen.append({tuple(row) for row in X.tolist()} | {tuple(row) for row in (eval_set[0] if eval_set else X)})
        return fit(self, X, y, *arguments, eval_set=eval_set, **more)

    monkeypatch.setattr(estimators.MLPClassifier, "fit", watched)
    trained(capsys, runs.write_classes(folder), "--cv", "4")
    *folds, last = seen
    assert [len(each) for each in folds] == [45] * 4
    assert len(last) == 60
    assert all(not (last - a) & (last - b) for a in folds for b in folds if a is not b)
    y = {tuple(row): label for row, label in zip(*(np.load("small.npz")[each] for each in "Xy"), strict=True)}
    near = {tuple(np.float32(row)): label for row, label in y.items()}
    for each in folds:  # each class has its share of each fold
        assert sorted(near[tuple(np.float32(row))] for row in last - each) == [0] * 5 + [1] * 5 + [2] * 5


def test_the_only_row_of_a_class_is_learned_from_in_each_fold(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i % 3 + i / 100},{'abc'[i % 3]}" for i in range(30)]
    (folder / "data.csv").write_text("\n".join(["x,y", *rows, "9.5,alone"]))
    record = final(capsys, "data.csv", "--cv", "3")
    assert [each["rows"] for each in record["folds"]] == [10, 10, 10]
    said = "note: class 'alone' has one row: it is learned from in each fold, and never tested\n"
    assert said in trained(capsys, "data.csv", "--cv", "3")
    assert estimators.load("data.safetensors").classes_.tolist() == ["a", "alone", "b", "c"]


@pytest.mark.parametrize("chosen", ["plain", "piecewise"])
def test_numbers_are_encoded_as_the_held_out_rows_say(
    folder: Path, chosen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    X, noise = random.uniform(0, 400, (300, 6)).round(2), random.normal(0, 200, 300)
    # many columns that count alike beside noise; or ups and downs, which are hard for one number
    y = X.sum(axis=1) + noise if chosen == "plain" else X[:, 0] // 50 % 2 + 0.5
    runs.pandas.DataFrame(X, columns=list("abcdef")).assign(y=y).to_csv("data.csv", index=False)
    options = ("--numbers", "auto", "--max-iter", "40", "--lr", "0.01", "--task", "regression")
    printed = trained(capsys, "data.csv", *options)
    found = re.search(r"note: numbers (\w+): validation loss ([\d.]+), ([\d.]+) with numbers (\w+)\n", printed)
    assert found
    assert (found[1], {found[1], found[4]}) == (chosen, {"plain", "piecewise"})
    assert float(found[2]) < float(found[3])
    assert files.read_notes("data.safetensors")["notes"]["recipe"]["numbers"] == chosen
    assert "--numbers auto" in printed.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--cv", "1"), "--cv must be a whole number of at least 2, got 1"),
        (("--cv", "21"), "small.npz: --cv must be at most 20, as many rows of one class as there are, got 21"),
        (("--cv", "3", "--no-refit"), "--cv saves a model that is fitted to all rows, so --no-refit does not go with"),
        (("--cv", "3", "--checkpoint", "a.safetensors"), "--cv fits several networks, and --checkpoint keeps the sta"),
        (("--numbers", "auto", "--no-early-stopping"), "--numbers auto is decided by rows held out for validation"),
        (
            ("--preset", "bset"),
            "preset must be 'auto', 'best', 'large', 'medium' or 'small', got 'bset'; did you mean 'best'?",
        ),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else None,
)
def test_options_that_do_not_go_together_are_one_line(
    folder: Path, options: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in runs.refused(capsys, "train", runs.write_classes(folder), *options)


@pytest.mark.parametrize(
    "options",
    [
        ("--solver", "lbfgs", "--ensemble", "3"),
        ("--folds",),
        ("--preset", "best", "--no-early-stopping"),
        ("--preset", "best", "--solver", "lbfgs"),
        ("--numbers", "auto", "--no-early-stopping"),
    ],
    ids=" ".join,
)
def test_settings_that_exclude_each_other_are_refused_by_tune_as_by_train(
    folder: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, tuning = runs.write_classes(folder), import_module("mlp_xp.cli._tuning")
    monkeypatch.setattr(tuning, "fit", lambda run: pytest.fail("was fitted"))
    assert runs.refused(capsys, "tune", data, *options) == runs.refused(capsys, "train", data, *options)


# --- presets -----------------------------------------------------------------------------------------------------


def test_a_preset_is_the_default_of_its_options_and_only_what_differs_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, train = runs.write_classes(folder), import_module("mlp_xp.cli.train")
    best = train.PRESETS["best"]
    options = ("--preset", "best", "--hidden", "8", "--save-config", "used.toml")
    printed = trained(capsys, data, *options)
    saved = estimators.load("small.safetensors")
    for name, value in best.items():
        if name not in ("hidden_layer_sizes", "max_iter"):
            assert getattr(saved, name) == value, name
    again = printed.splitlines()[-1].removeprefix("again: mlp-xp ")
    assert again == (
        f"train {data} --preset best --hidden-layer-sizes 8 --max-iter 3 --no-check-gradients --picture none"
    )
    settings = tomllib.loads(Path("used.toml").read_text())
    assert settings == {"data": data, "preset": "best", "hidden_layer_sizes": "8", "max_iter": 3,
                        "check_gradients": False, "picture": "none"}  # fmt: skip


def test_the_again_line_gives_the_same_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shlex = import_module("shlex")
    printed = trained(capsys, runs.write_classes(folder), "--no-early-stopping", "--dropout", "0.1", "--cv", "2")
    first = [each.copy() for each in estimators.load("small.safetensors").coefs_]
    assert cli.main([*shlex.split(printed.splitlines()[-1].removeprefix("again: mlp-xp ")), "--force", "-q"]) == 0
    for one, other in zip(first, estimators.load("small.safetensors").coefs_, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("rows", "options", "preset", "batch"),
    [
        (1200, (), "small", "32"),  # 960 to learn from
        (1300, (), "medium", "32"),
        (1300, ("--cv", "2"), "small", "32"),
        (24, (), "medium", "32"),  # each network would hold out three
        (30_000, (), "large", 200),
        (30_000, ("--batch-size", "64"), "large", "64"),
        (60, ("--ensemble", "1"), "medium", "32"),  # as by default, and yet given
        (60, ("--validation-fraction", "0.1"), "medium", "32"),
        (60, ("--no-early-stopping",), "medium", "32"),
        (60, ("--solver", "lbfgs"), "medium", "32"),
        (60, ("--preset", "medium"), "medium", "32"),
    ],
)
def test_the_preset_is_chosen_by_the_rows_unless_what_it_sets_was_given(
    rows: int, options: tuple[str, ...], preset: str, batch: Any
) -> None:
    train = import_module("mlp_xp.cli.train")
    context = train.command.make_context("train", ["a.csv", *options])
    found = SimpleNamespace(learned=SimpleNamespace(rows=rows), source=SimpleNamespace(test=None))
    chosen, notes = prepare.with_preset(found, context.params, train.given_of(context))
    folds = (5, True) if preset == "small" else (1, False)
    assert (chosen["ensemble"], chosen["folds"], chosen["batch_size"]) == (*folds, batch)
    assert chosen["preset"] == (preset if preset != "medium" or "--preset" in options else "auto")
    assert all(note.startswith(f"preset {preset}, for about ") for note in notes)
    assert len(notes) == (preset != "medium")


@pytest.mark.parametrize(("width", "threads"), [("8", 1), ("1200", 2)])
def test_small_products_take_one_thread_unless_the_environment_says_how_many(
    width: str, threads: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = import_module("threadpoolctl").ThreadpoolController
    if not controller().select(user_api="blas", internal_api="openblas"):
        pytest.skip("the number of threads is seen where NumPy has OpenBLAS")
    fit, seen = estimators.MLPClassifier.fit, []

    def threads_of_fit(*arguments: Any, **more: Any) -> Any:
        seen.append({each["num_threads"] for each in controller().select(internal_api="openblas").info()})
        return fit(*arguments, **more)

    monkeypatch.setattr(estimators.MLPClassifier, "fit", threads_of_fit)
    data, limits = runs.write_classes(folder), import_module("threadpoolctl").threadpool_limits
    for name in fitting._THREADS:
        monkeypatch.delenv(name, raising=False)
    with limits(2, user_api="blas"):
        runs.train_quickly(data, "--hidden", f"{width},{width}", "--max-iter", "1")
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        runs.train_quickly(data, "--force", "--max-iter", "1")
    assert seen == [{threads}, {threads}, {2}, {2}]


def test_the_command_line_wins_over_the_file_and_the_file_over_the_preset(folder: Path) -> None:
    data = runs.write_classes(folder)
    Path("a.toml").write_text('preset = "best"\ndropout = 0.3\nensemble = 2\nhidden_layer_sizes = "4"\n')
    once = ("--max-iter", "1", "--picture", "none", "--force", "-q", "--dropout", "0.2")
    for order in (("--config", "a.toml"), ("--preset", "best", "--config", "a.toml"),
                  ("--config", "a.toml", "--preset", "best")):  # fmt: skip
        assert cli.main(["train", data, *once, *order]) == 0
        model = estimators.load("small.safetensors")
        assert (model.dropout, model.ensemble, model.hidden_layer_sizes) == (0.2, 2, (4,))
    runs.train_quickly(data, "--config", "a.toml", "--preset", "medium", "--force")
    model = estimators.load("small.safetensors")
    assert (model.dropout, model.ensemble) == (0.3, 2)


def test_a_file_of_settings_takes_the_names_of_the_options(folder: Path) -> None:
    Path("a.toml").write_text('hidden = "4"\nlr = 0.01\nepochs = 2\nclip-norm = 1.5\nearly_stopping = false\n')
    assert cli.main(["train", runs.write_classes(folder), "-q", "--config", "a.toml", "--picture", "none"]) == 0
    model = estimators.load("small.safetensors")
    assert (model.hidden_layer_sizes, model.learning_rate_init, model.max_iter) == ((4,), 0.01, 2)
    assert (model.clip_norm, model.early_stopping) == (1.5, False)


def test_the_help_says_what_the_presets_are(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["train", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "--preset [auto|small|medium|large|best] Settings to start from; auto: small, medium or large, by" in words


# --- how training ended ------------------------------------------------------------------------------------------


def estimator(scores: list[float], max_iter: int, early_stopping: bool = True, **settings: Any) -> Any:
    """An estimator that was fitted for as many epochs as there are scores."""
    made = estimators.MLPClassifier(early_stopping=early_stopping, max_iter=max_iter, **settings)
    made.out_activation_ = "softmax"
    made._history = tuple(
        Record(number, 1.0 - score, 0.0, 1.0 - score, score if early_stopping else None, 0.1, number, 0.1)
        for number, score in enumerate(scores, 1)
    )
    return made


EARLY = [0.1, 0.3] + [0.3 - i / 100 for i in range(1, 9)]
RISING = [0.1 * i for i in range(10)]
FLAT = [0.1, 0.3] + [0.2] * 11
SMALL = [0.1, 0.3] + [0.3 + i * 1e-5 for i in range(1, 12)]  # better in each epoch, by less than the tolerance
SMALL_THEN_WORSE = [*SMALL[:6], *[0.2] * 7]


@pytest.mark.parametrize(
    ("scores", "max_iter", "sentence"),
    [
        # the best epoch was long ago: more epochs are not the cure
        (EARLY, 10, "best in epoch 2 of 10, validation accuracy 30.00%, which is kept; then it got no better, 22.00% "
         "in the last: more epochs do not help, --dropout or a larger --alpha may"),
        (RISING, 10, "best in epoch 10 of 10, validation accuracy 90.00%, and was still improving: --max-iter gives it "
         "more"),
        (FLAT, 200, "best in epoch 2 of 13, validation accuracy 30.00%, which is kept; then nothing improved for 11 "
         "epochs"),
        (SMALL, 200, "best in epoch 13 of 13, validation accuracy 30.01%, which is kept; it was still improving, by "
         "less than --tol 0.0001 an epoch for 10 epochs: a smaller --tol goes on"),
        # the tolerance ended it in the epoch that was the last anyway: more epochs would not have gone on
        (SMALL, 13, "best in epoch 13 of 13, validation accuracy 30.01%, which is kept; it was still improving, by "
         "less than --tol 0.0001 an epoch for 10 epochs: a smaller --tol goes on"),
        (SMALL_THEN_WORSE, 200, "best in epoch 6 of 13, validation accuracy 30.00%, which is kept; nothing "
         "improved by --tol 0.0001 or more for 10 epochs"),
        (RISING, 200, "best in epoch 10 of 10, validation accuracy 90.00%, which is kept"),  # something else ended it
    ],
)  # fmt: skip
def test_it_is_said_when_training_was_best_and_what_to_do(scores: list[float], max_iter: int, sentence: str) -> None:
    assert ending.ending(estimator(scores, max_iter), "accuracy") == [sentence]


def test_a_run_that_diverged_says_which_epoch_is_kept() -> None:
    said = ending.ending(estimator([*RISING, float("nan")], 11), "accuracy", diverged=True)
    assert said == ["best in epoch 10 of 11, validation accuracy 90.00%, which is kept"]


@pytest.mark.parametrize(
    ("scores", "max_iter", "sentence"),
    [
        (RISING, 10, "stopped after 10 epochs, while the training loss was still falling: --max-iter gives it more, "
         "--early-stopping sees by held-out rows whether that helps"),
        (EARLY, 10, "stopped after 10 epochs; the training loss was lowest in epoch 2: a smaller --learning-rate-init "
         "may help"),
        (FLAT, 200, "stopped after 13 epochs, since the training loss fell no more"),
        (SMALL, 200, "stopped after 13 epochs; the training loss was still improving, by less than --tol 0.0001 an "
         "epoch for 10 epochs: a smaller --tol goes on"),
    ],
)  # fmt: skip
def test_without_validation_rows_the_training_loss_says_why_it_ended(
    scores: list[float], max_iter: int, sentence: str
) -> None:
    assert ending.ending(estimator(scores, max_iter, early_stopping=False), "accuracy") == [sentence]


def ensemble(*members: list[float], max_iter: int) -> Any:
    """An ensemble whose members ended after as many epochs as they have scores; the others kept their last record."""
    made = estimator([], max_iter)
    own = [estimator(scores, max_iter)._history for scores in members]
    made._history = tuple(
        records[0]._replace(number=number, members=records)
        for number in range(1, max(map(len, own)) + 1)
        for records in [tuple(each[min(number, len(each)) - 1] for each in own)]
    )
    return made


@pytest.mark.parametrize(
    ("members", "max_iter", "sentence"),
    [
        ((FLAT, FLAT), 200, "the 2 networks were best in epoch 2 of 13, which is kept"),
        ((EARLY, RISING), 10, "the 2 networks were best in epochs 2 to 10 of 10, which are kept; 1 of them was still "
         "improving: --max-iter gives them more"),
        ((RISING, RISING), 10, "the 2 networks were best in epoch 10 of 10, which is kept; all of them were still "
         "improving: --max-iter gives them more"),
        ((SMALL, FLAT, SMALL), 200, "the 3 networks were best in epochs 2 to 13 of 13, which are kept; 2 of them were "
         "still improving, by less than --tol 0.0001 an epoch: a smaller --tol goes on"),
    ],
)  # fmt: skip
def test_of_an_ensemble_it_is_said_how_many_were_still_improving(
    members: tuple[list[float], ...], max_iter: int, sentence: str
) -> None:
    made = ensemble(*members, max_iter=max_iter)
    assert ending.ending(made, "accuracy") == [sentence]
    made.folds = True  # each of which stops by rows of its own: nothing else is said
    assert ending.ending(made, "accuracy") == [sentence]


# --- memory ------------------------------------------------------------------------------------------------------


def test_rows_that_do_not_fit_in_memory_are_refused_before_they_are_encoded(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = runs.write_table(folder)
    monkeypatch.setattr(memory, "available", lambda: 5000)
    monkeypatch.setattr(prepare, "_read", lambda *arguments: pytest.fail("was encoded"))
    sentence = runs.refused(capsys, "train", data, "--dtype", "float64")
    assert re.fullmatch(
        r"houses.csv: 120 rows of \d numbers in float64 must fit in memory: they take [\d.]+ kB to train on, 5 kB are "
        r"free; leave columns out with --drop, or those with many categories, or keep them in a file with --backend "
        r"numpy, --solver adam and --no-folds, or halve it with --dtype float32",
        sentence,
    )


def test_the_memory_that_is_left_is_the_least_that_anything_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    limit.write_text("max\n")
    used.write_text("300\n")
    memory = import_module("mlp_xp._lib.memory")
    monkeypatch.setattr(memory, "_CONTAINERS", ((str(limit), str(used)), ("no such file", "nor this")))
    there = memory.available()
    assert there is None or there > 1e6
    limit.write_text("1000\n")
    assert memory.available() == 700


# --- looking before ----------------------------------------------------------------------------------------------


def test_a_dry_run_shows_columns_network_and_cost_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.write_table(folder, cell=(3, "area", np.nan))
    before = sorted(path.name for path in folder.iterdir())
    options = ("--batch-size", "50", "--max-iter", "70")  # whatever the preset has
    assert cli.main(["train", data, "--dry-run", *options]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"area +number +119 +1 +\d+ +\d", printed)
    assert re.search(r"district +2 categories +120 +0 +2 +\d", printed)
    assert "regression, since the target 'price' holds numbers with fractions" in printed
    assert re.search(r"network 5 times \d-100-1, relu, adam, on numpy in float32", printed)
    assert re.search(r"a step on 50 rows: 5 times [\d,]+ parameters, [\d.]+ kFLOP, [\d.]+ kB", printed)
    assert re.search(r"an epoch: 2 steps, about [\d.e-]+ s with numpy; at most 70 epochs", printed)
    assert printed.endswith("nothing was trained or written\n")
    assert cli.main(["train", data, "--dry-run", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert {"columns", "task", "network", "parameters", "seconds_of_an_epoch"} <= record.keys()
    assert record["columns"][0]["missing"] == 1
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("target", "options", "criterion", "outputs"),
    [
        ("price", (), "squared_error", 1),
        ("price", ("--loss", "huber"), "huber", 1),
        ("price", ("--loss", "gaussian"), "gaussian", 2),
        ("price", ("--loss", "quantile", "--quantile", "0.1,0.5,0.9"), "quantile", 3),
        ("price", ("--loss", "poisson"), "poisson", 1),
        ("district", (), "sigmoid_cross_entropy", 1),
        ("rooms", ("--task", "classification"), "softmax_cross_entropy", 5),
    ],
)
def test_the_cost_of_a_dry_run_is_that_of_the_loss(
    folder: Path, target: str, options: tuple[str, ...], criterion: str, outputs: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = (
        runs.write_table(folder),
        "--target",
        target,
        "--preset",
        "medium",
        "--hidden",
        "8",
        "--batch-size",
        "50",
        *options,
    )
    assert cli.main(["train", *arguments, "--dry-run", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    sizes = [int(width) for width in record["network"].partition(",")[0].split("-")]
    cost = import_module("mlp_xp.cost").step_cost(sizes, 50, "float32", activation="relu", criterion=criterion)
    assert sizes[1:] == [8, outputs]
    assert record["flop_of_a_step"] == cost.forward_flops + cost.backward_flops


def test_a_solver_of_all_rows_takes_them_in_a_step(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", runs.write_classes(folder), "--solver", "lbfgs", "--dry-run", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["rows_of_a_step"], record["steps_of_an_epoch"]) == (48, 1)


def test_inspect_shows_the_columns_of_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = runs.write_table(folder)
    assert cli.main(["train", data, "--target", "district", "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert cli.main(["inspect", data, "--target", "district"]) == 0
    inspected = capsys.readouterr().out.splitlines()
    assert inspected == shown[: len(inspected)]
    assert len(inspected) > 6
    assert cli.main(["inspect", data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["target"] == "price"
    assert cli.main(["inspect", "none.safetensors"]) == 2


@pytest.mark.parametrize(
    ("command", "options", "sentence"),
    [
        ("tune", ("--tries", "2"),
         "three.csv: cross-validation needs at least 2 rows of one class to learn from and to test, got 1"),
        ("train", ("--preset", "best"),
         "three.csv: --folds deals at least 2 rows to each of 5 networks, and there are 2 rows to train on: --preset "
         "medium needs fewer"),
    ],
)  # fmt: skip
def test_too_few_rows_are_refused_with_an_option_that_goes_without(
    folder: Path, command: str, options: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "three.csv").write_text("a,b,y\n1,2,no\n2,3,yes\n4,4,no\n")
    assert cli.main([command, "three.csv", "--quiet", *options]) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"
