"""``mlp-xp train``: what it prints, what it writes, how it exits."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import runs
import shell
from runs import cli, estimators, pandas
from shell import COMMAND, ENVIRONMENT

import mlp_xp

imread = import_module("matplotlib.image").imread
mistakes, output = import_module("mlp_xp.mistakes"), import_module("mlp_xp.cli._output")
training = import_module("mlp_xp.cli._training")

pytestmark = pytest.mark.only("numpy")


def test_train_without_arguments_learns_the_digits_and_draws_what_it_learned(tmp_path: Path) -> None:
    ended = runs.run(tmp_path, "train")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0] == "digits: 1,294 rows to train on, 144 to validate, 359 to test"
    assert lines[1] == ("classification, since the target holds 10 different whole numbers; --task decides otherwise")
    assert "gradients on some rows, checked in float64 by dual numbers: pass" in lines[3]
    epochs = [line for line in lines if line.startswith("epoch ")]  # plain lines: this is no terminal
    assert len(epochs) > 10
    assert re.fullmatch(r"epoch 1/\d+: loss [\d.]+, validation loss [\d.]+, [\d,.M ]+ rows/s", epochs[0])
    assert re.search(r"note: best in epoch \d+ of \d+, validation loss [\d.]+, ", ended.stdout)
    assert "label    0    1    2    3    4    5    6    7    8    9    right" in ended.stdout
    found = re.search(r"test accuracy ([\d.]+)% \(95 % interval ([\d.]+)% to ([\d.]+)%\), \d+ of 359", ended.stdout)
    assert found
    score, low, high = map(float, found.groups())
    assert score >= 97.0
    assert low < score < high
    assert re.search(
        r"refitted on all 1,797 rows for \d+ epochs; the test score is that of the model before", ended.stdout
    )
    assert re.search(r"s in all, .* s of them .*, at most [\d,]+ MB of memory", lines[-3])
    assert lines[-2:] == ["wrote digits.safetensors and digits.png", "again: mlp-xp train digits"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.png", "digits.safetensors"]
    assert imread(tmp_path / "digits.png").shape == (550, 1650, 4)


def test_the_same_seed_gives_the_same_network(folder: Path) -> None:
    data = runs.write_classes(folder)
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        runs.train_quickly(data, "--seed", seed, "-o", f"{name}.safetensors")
    a, b, c = (estimators.load(f"{name}.safetensors").coefs_[0] for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_the_options_have_the_names_and_defaults_of_the_estimators() -> None:
    options = import_module("mlp_xp.cli._options")
    kinds = {"classification": estimators.MLPClassifier, "regression": estimators.MLPRegressor}
    values = {name: setting.default for name, setting in options.SETTINGS.items()}
    seen = set()
    for task, kind in kinds.items():
        defaults = kind().get_params()
        for name, value in options.estimator_settings(values, task, []).items():
            assert value == defaults[name], name
            seen.add(name)
    known = set().union(*(kind().get_params() for kind in kinds.values()))
    # of the command's own: --seed, --check-gradients, the bar; what can't be said in text; what one run has no use for
    left = {"random_state", "check_gradients", "progress", "verbose", "criterion", "warm_start", "compile"}
    left |= {"standardise"}  # for images it is "together"
    assert known - seen == left


@pytest.mark.parametrize(
    "options",
    [
        ("--hidden", "0"),
        ("--hidden", "6, 4", "--activation", "tanh, gelu", "--dtype", "float64"),
        ("--optimizer", "sgd", "--lr", "0.1", "--alpha", "1e-3", "--dropout", "0.2", "--schedule", "adaptive"),
        ("--solver", "adamw", "--label-smoothing", "0.1", "--batch-size", "7", "--schedule", "cosine"),
        ("--solver", "lbfgs", "--class-weight", "balanced"),
        ("--early-stopping", "--class-weight", "0=2,1=1,2=1", "--clip-norm", "1", "--patience", "2"),
        ("--no-standardise", "--validation-fraction", "0"),
        ("--backend", "array-api-strict", "--device", "device1", "--dtype", "float64"),
    ],
    ids=" ".join,
)
def test_train_with_options(folder: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    data = runs.write_classes(folder)
    assert cli.main(["train", data, "--epochs", "2", "--picture", "none", *options]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "12 to test" in printed.out
    assert "checked in float64" in printed.out
    assert ": pass, relative errors above" in printed.out


@pytest.mark.parametrize("name", ["houses.csv", "houses.tsv", "houses.parquet", "houses.arrow"])
def test_train_on_a_table_and_predict_its_rows(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = runs.write_table(folder, name)
    assert cli.main(["train", data, "--epochs", "200", "--lr", "0.01", "--no-check-gradients"]) == 0
    printed = capsys.readouterr().out
    assert "regression, since the target 'price' holds numbers with fractions" in printed
    assert "RMSE" in printed
    assert cli.main(["predict", "houses.safetensors", data, "-o", "out.csv", "--rows", "7"]) == 0
    predicted = pandas.read_csv("out.csv")["predicted_price"]
    frame = pandas.read_csv(data, sep="\t" if name.endswith("tsv") else ",") if name[-3:] in ("csv", "tsv") else (
        pandas.read_parquet(data) if name.endswith("parquet") else pandas.read_feather(data))  # fmt: skip
    assert np.std(predicted - frame["price"]) < 0.2 * np.std(frame["price"])


def test_missing_values_are_filled(folder: Path) -> None:
    data = runs.write_table(folder, cell=(3, "area", np.nan))
    runs.train_quickly(data, "--missing", "fill", "-o", "fill.safetensors")
    assert cli.main(["predict", "fill.safetensors", data, "-o", "out.csv"]) == 0
    assert len(pandas.read_csv("out.csv")) == 120


def test_settings_are_saved_and_read_and_the_command_line_overrides_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.write_classes(folder)
    runs.train_quickly(data, "--save-config", "used.toml", "--dropout", "0.25", "-o", "a.safetensors")
    settings = tomllib.loads(Path("used.toml").read_text())
    assert (settings["dropout"], settings["hidden_layer_sizes"], settings["data"]) == (0.25, "8", data)
    arguments = ["train", "--config", "used.toml", "--max-iter", "2", "-o", "b.safetensors"]
    assert cli.main(arguments) == 0
    a, b = estimators.load("a.safetensors"), estimators.load("b.safetensors")
    assert (a.max_iter, b.max_iter, b.dropout) == (3, 2, 0.25)
    Path("wrong.toml").write_text("dropuot = 0.1")
    capsys.readouterr()
    assert cli.main(["train", "--config", "wrong.toml"]) == 2
    assert "did you mean 'dropout'?" in capsys.readouterr().err


def test_backend_auto_takes_the_fastest_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    choice = import_module("mlp_xp.backends").Choice("numpy", "cpu", "a step takes 1 ms with numpy on cpu", ())
    asked = []
    monkeypatch.setattr(training, "fastest", lambda *task: asked.append(task) or choice)
    assert cli.main(["train", "iris", "--epochs", "2", "--backend", "auto", "--hidden", "5"]) == 0
    assert "numpy computes: a step takes 1 ms with numpy on cpu" in capsys.readouterr().out
    assert asked == [((4, 5, 3), 120, "float32")]


def test_compile_is_said_to_be_nothing_where_there_is_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "iris", "--epochs", "2", "--picture", "none", "--force"]
    sentence = "the step is not compiled: numpy has no compiler"
    assert cli.main([*arguments, "--compile"]) == 0
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count(sentence) == 1
    compiled = []
    monkeypatch.setitem(sys.modules, "a_compiler", SimpleNamespace(compiler=lambda step: compiled.append(1) or step))
    monkeypatch.setitem(import_module("mlp_xp.train.compiling").COMPILERS, "numpy", "a_compiler.compiler")
    assert cli.main([*arguments, "--compile"]) == 0
    assert sentence not in "".join(capsys.readouterr())
    assert len(compiled) == 2  # the fit that is tested, and that to all rows


# --- what is shown -----------------------------------------------------------------------------------------------


def test_json_is_one_record_an_epoch_and_a_final_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", runs.write_classes(folder), "--json", "--epochs", "3"]) == 0
    *epochs, final = map(json.loads, capsys.readouterr().out.splitlines())
    assert [record["epoch"] for record in epochs] == [1, 2, 3]
    assert {"loss", "validation_loss", "validation_score", "rows_per_second"} < epochs[0].keys()
    assert final["final"]
    assert final["model"] == "small.safetensors"
    assert final["test"]["low"] <= final["test"]["value"] <= final["test"]["high"]
    assert final["peak_memory"] > 1e6


def test_quiet_prints_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.train_quickly(runs.write_classes(folder))
    assert capsys.readouterr() == ("", "")


def test_show_draws_in_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", runs.write_classes(folder), "--show", "--epochs", "2"]) == 0
    assert capsys.readouterr().out.count("▀") > 1000


def test_train_shows_a_progress_bar_in_a_terminal(tmp_path: Path) -> None:
    text = shell.in_terminal(140, "train", runs.write_classes(tmp_path), "--epochs", "7", folder=tmp_path)
    for part in ("━━━", "7/7", "loss ", "validation loss", "rows/s", "left"):
        assert part in text, part
    assert "epoch 1/7: " not in text  # a bar, no lines
    assert "\x1b[2Kgradients on some rows" in text  # on a line of its own, above the bar


def test_of_many_classes_the_most_frequent_confusions_are_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", runs.write_classes(folder, classes=30), "--task", "classification", "--epochs", "1"]
    assert cli.main([*arguments, "--hidden", "0"]) == 0
    assert "the most frequent confusions" in capsys.readouterr().out


def test_a_constant_column_is_named_and_does_no_harm(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = runs.write_table(folder, rooms=3)
    assert cli.main(["train", data, *runs.QUICK]) == 0
    assert "column 'rooms' holds the same value in every row: left out" in capsys.readouterr().out
    assert np.isfinite(estimators.load("houses.safetensors").coefs_[0]).all()


def test_no_row_is_held_out_for_validation_where_none_can_be_spared(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "data.csv").write_bytes(b"a,b\n1,x\n2,x\n3,y\n4,z\n")
    assert cli.main(["train", "data.csv", "--epochs", "1", "--picture", "none"]) == 0
    printed = capsys.readouterr().out
    assert "3 rows to train on, 1 to test" in printed
    assert "too few rows to hold some out for validation: the training loss decides when to stop" in printed


# --- a run that stops --------------------------------------------------------------------------------------------


def test_a_wrong_gradient_stops_before_training(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(*arguments: Any, **options: Any) -> Any:
        loss, grads = mlp_xp.loss_and_grads(*arguments, **options)
        return loss, (2.0 * grads[0], *grads[1:])

    monkeypatch.setattr(mistakes, "loss_and_grads", doubled)
    assert cli.main(["train", runs.write_classes(folder), "--preset", "medium"]) == 1
    printed = capsys.readouterr().out
    assert "W1: the gradient is 2 times the true one" in printed
    assert printed.endswith("nothing was trained\n")
    assert [path.name for path in folder.iterdir()] == ["small.npz"]


# a shell has what it runs in the background ignore Ctrl-C, and so would whatever is started from there; a function of
# Popen's that undid it would fork this process, which JAX forbids where it was imported
HEARING_CTRL_C = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def interrupted(folder: Path, *options: str) -> tuple[int, str, str]:
    """Status and output of a run that is stopped after its third epoch."""
    command = (*COMMAND, "train", runs.write_classes(folder), "--epochs", "1000000", "--patience", "1000000", *options)
    with subprocess.Popen(
        (sys.executable, "-c", HEARING_CTRL_C, *command), cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 3/"):
                break
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


def test_ctrl_c_saves_the_best_model_so_far_and_says_how_to_go_on(folder: Path) -> None:
    status, _, errors = interrupted(folder, "--checkpoint", "stand.safetensors")
    assert status == 130
    assert re.fullmatch(
        r"interrupted after epoch \d+: the best model so far, of epoch \d+, is in small.safetensors; "
        r"go on with: mlp-xp train small.npz .*--resume --force\n", errors
    )  # fmt: skip
    assert len(estimators.load("small.safetensors").coefs_) == 2
    done = int(errors.split()[3].rstrip(":"))
    options = ("--checkpoint", "stand.safetensors", "--resume", "--force", "--patience", "1000000", "--no-refit")
    assert cli.main(["train", "small.npz", "-q", "--max-iter", str(done + 5), *options]) == 0
    assert estimators.load("small.safetensors").n_iter_ == done + 5


def test_a_resumed_run_equals_one_that_was_never_stopped(folder: Path) -> None:
    data = runs.write_classes(folder)
    more = ("--dropout", "0.2", "--dtype", "float64", "--early-stopping")
    runs.train_quickly(data, *more, "--max-iter", "6", "-o", "whole.safetensors")
    runs.train_quickly(data, *more, "--checkpoint", "c.safetensors", "-o", "part.safetensors")
    runs.train_quickly(
        data, *more, "--max-iter", "6", "--checkpoint", "c.safetensors", "--resume", "-o", "b.safetensors"
    )
    whole, resumed = estimators.load("whole.safetensors"), estimators.load("b.safetensors")
    for one, other in zip(whole.coefs_ + whole.intercepts_, resumed.coefs_ + resumed.intercepts_, strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole.loss_curve_ == resumed.loss_curve_
    assert whole.validation_scores_ == resumed.validation_scores_


# --- files -------------------------------------------------------------------------------------------------------


def test_an_existing_file_is_overwritten_only_by_force_and_never_by_a_bad_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.write_classes(folder)
    good = folder / "small.safetensors"
    good.write_bytes(b"a good one")
    assert runs.refused(capsys, "train", data, *runs.QUICK) == "small.safetensors exists: --force overwrites it"
    sentence = runs.refused(capsys, "train", data, *runs.QUICK, "--force", "--solver", "sgd", "--lr", "1e30")
    assert "is too large" in sentence or "not finite" in sentence
    assert good.read_bytes() == b"a good one"
    runs.train_quickly(data, "--force")
    assert good.read_bytes() != b"a good one"


def test_a_full_disk_leaves_the_old_file(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    data = runs.write_classes(folder)
    runs.train_quickly(data)
    before = (folder / "small.safetensors").read_bytes()
    monkeypatch.setattr("os.fsync", full)
    sentence = runs.refused(capsys, "train", data, *runs.QUICK, "--seed", "3", "--force")
    assert sentence == "small.safetensors can't be written: No space left on device"
    assert "No space left" in runs.refused(capsys, "predict", "small.safetensors", data, "-o", "out.csv")
    assert sorted(path.name for path in folder.iterdir()) == ["small.npz", "small.safetensors"]
    assert (folder / "small.safetensors").read_bytes() == before


def test_two_runs_cannot_write_the_same_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = runs.write_classes(folder)
    with output.claimed("small.safetensors", force=False):
        assert runs.refused(capsys, "train", data, *runs.QUICK) == "small.safetensors is being written by another run"
    runs.train_quickly(data)


def test_a_column_that_float32_rounds_has_a_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{1.7e9 + 10 * i},{2000 + i % 20},{i % 7 + 0.5}" for i in range(60)]  # ten minutes, between which float32
    (folder / "times.csv").write_text("\n".join(["time,year,y", *rows]))  # knows five numbers
    options = ["train", "times.csv", "--max-iter", "1", "--picture", "none", "--hidden", "4", "--no-check-gradients"]
    sentence = "varies too little beside its size for float32, so is rounded: column 'time'; --dtype float64 keeps it"
    assert cli.main(options) == 0
    assert sentence in capsys.readouterr().out
    assert cli.main([*options, "--force", "--dtype", "float64"]) == 0
    assert "is rounded" not in capsys.readouterr().out
