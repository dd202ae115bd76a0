"""The ``mlp-xp`` command as a user runs it: what it prints, what it writes, how it exits."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shell
from shell import COMMAND, ENVIRONMENT

import mlp_xp

# the session of nox that tests NumPy installs the extra that brings these
for name in ("click", "rich", "matplotlib", "sklearn", "pandas", "pyarrow", "safetensors"):
    pytest.importorskip(name)

imread = import_module("matplotlib.image").imread
cli, plots = import_module("mlp_xp.cli"), import_module("mlp_xp.plots")
screen, checks = import_module("mlp_xp.cli._screen"), import_module("mlp_xp.cli._checks")
mistakes, estimators = import_module("mlp_xp.mistakes"), import_module("mlp_xp.estimators")
picture, output = import_module("mlp_xp.cli._picture"), import_module("mlp_xp.cli._output")
pandas = import_module("pandas")

pytestmark = pytest.mark.only("numpy")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder."""
    return shell.run(*arguments, folder=folder, COLUMNS="100")


def write_table(folder: Path, name: str = "houses.csv", **changed: Any) -> str:
    """A table of numbers, texts and a price; columns changed or added, or one cell by ``cell=(row, column, value)``."""
    random = np.random.default_rng(0)
    n = 120
    area, district = random.uniform(30, 200, n).round(1), random.choice(["north", "south"], n)
    frame = pandas.DataFrame({"area": area, "rooms": random.integers(1, 6, n), "district": district})
    cell = changed.pop("cell", None)
    rows = changed.pop("rows", n)
    for column, values in changed.items():
        frame[column] = values
    if "price" not in frame:
        frame["price"] = (3 * area + 100 * (district == "north")).round(1)
    if cell is not None:
        row, column, value = cell
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
    frame = frame[:rows]
    path = folder / name
    {".csv": lambda: frame.to_csv(path, index=False), ".tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
     ".parquet": lambda: frame.to_parquet(path), ".arrow": lambda: frame.to_feather(path)}[path.suffix]()  # fmt: skip
    return name


def write_classes(folder: Path, classes: int = 3, name: str = "small.npz") -> str:
    """An easy problem: 60 rows, 5 columns, each class around a point of its own."""
    random = np.random.default_rng(0)
    y = np.arange(60) % classes
    np.savez(folder / name, X=random.normal(size=(classes, 5))[y] * 3 + random.normal(size=(60, 5)), y=y)
    return name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


QUICK = ("--max-iter", "3", "--hidden", "8", "--no-check-gradients", "--picture", "none")


def train_quickly(data: str, *options: str) -> None:
    assert cli.main(["train", data, "--quiet", *QUICK, *options]) == 0


# --- train -------------------------------------------------------------------------------------------------------


def test_train_without_arguments_learns_the_digits_and_draws_what_it_learned(tmp_path: Path) -> None:
    ended = run(tmp_path, "train")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0] == "digits: 1,294 rows to train on, 144 to validate, 359 to test"
    assert lines[1] == ("classification, since the target holds 10 different whole numbers; --task decides otherwise")
    assert "gradients on some rows, checked in float64 by dual numbers: pass" in lines[3]
    epochs = [line for line in lines if line.startswith("epoch ")]  # plain lines: this is no terminal
    assert len(epochs) > 50
    assert re.fullmatch(r"epoch 1/200: loss [\d.]+, validation accuracy [\d.]+%, [\d,.M ]+ rows/s", epochs[0])
    assert "label    0    1    2    3    4    5    6    7    8    9    right" in ended.stdout
    found = re.search(r"test accuracy ([\d.]+)% \(95 % interval ([\d.]+)% to ([\d.]+)%\), \d+ of 359", ended.stdout)
    assert found
    score, low, high = map(float, found.groups())
    assert score >= 97.0
    assert low < score < high
    assert re.search(r"s in all, .* s of them .*, at most [\d,]+ MB of memory", lines[-3])
    assert lines[-2:] == ["wrote digits.safetensors and digits.png", "again: mlp-xp train digits"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.png", "digits.safetensors"]
    assert imread(tmp_path / "digits.png").shape == (550, 1650, 4)


def test_the_same_seed_gives_the_same_network(folder: Path) -> None:
    data = write_classes(folder)
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        train_quickly(data, "--seed", seed, "-o", f"{name}.safetensors")
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
    data = write_classes(folder)
    assert cli.main(["train", data, "--epochs", "2", "--picture", "none", *options]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "12 to test" in printed.out
    assert "checked in float64" in printed.out
    assert ": pass, relative errors above" in printed.out


@pytest.mark.parametrize("name", ["houses.csv", "houses.tsv", "houses.parquet", "houses.arrow"])
def test_train_on_a_table_and_predict_its_rows(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_table(folder, name)
    assert cli.main(["train", data, "--epochs", "200", "--lr", "0.01", "--no-check-gradients"]) == 0
    printed = capsys.readouterr().out
    assert "regression, since the target 'price' holds numbers with fractions" in printed
    assert "root mean square" in printed
    assert cli.main(["predict", "houses.safetensors", data, "-o", "out.csv", "--rows", "7"]) == 0
    predicted = pandas.read_csv("out.csv")["predicted_price"]
    frame = pandas.read_csv(data, sep="\t" if name.endswith("tsv") else ",") if name[-3:] in ("csv", "tsv") else (
        pandas.read_parquet(data) if name.endswith("parquet") else pandas.read_feather(data))  # fmt: skip
    assert np.std(predicted - frame["price"]) < 0.2 * np.std(frame["price"])


def test_what_is_missing_is_filled_or_dropped_where_asked_for(folder: Path) -> None:
    data = write_table(folder, cell=(3, "area", np.nan))
    train_quickly(data, "--missing", "fill", "-o", "fill.safetensors")
    train_quickly(data, "--missing", "drop", "-o", "drop.safetensors")
    assert cli.main(["predict", "fill.safetensors", data, "-o", "out.csv"]) == 0
    assert len(pandas.read_csv("out.csv")) == 120
    assert cli.main(["evaluate", "drop.safetensors", data]) == 0
    assert cli.main(["predict", "drop.safetensors", data]) == 2


def test_settings_are_written_and_read_and_the_command_line_goes_before_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_classes(folder)
    train_quickly(data, "--save-config", "used.toml", "--dropout", "0.25", "-o", "a.safetensors")
    settings = tomllib.loads(Path("used.toml").read_text())
    assert (settings["dropout"], settings["hidden_layer_sizes"], settings["data"]) == (0.25, "8", data)
    arguments = ["train", "--config", "used.toml", "--max-iter", "2", "-o", "b.safetensors"]
    assert cli.main(arguments) == 0
    a, b = estimators.load("a.safetensors"), estimators.load("b.safetensors")
    assert (a.n_iter_, b.n_iter_, b.dropout) == (3, 2, 0.25)
    Path("wrong.toml").write_text("dropuot = 0.1")
    capsys.readouterr()
    assert cli.main(["train", "--config", "wrong.toml"]) == 2
    assert "did you mean 'dropout'?" in capsys.readouterr().err


def test_json_is_one_record_an_epoch_and_a_last_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", write_classes(folder), "--json", "--epochs", "3"]) == 0
    *epochs, final = map(json.loads, capsys.readouterr().out.splitlines())
    assert [record["epoch"] for record in epochs] == [1, 2, 3]
    assert {"loss", "validation_loss", "validation_score", "rows_per_second"} < epochs[0].keys()
    assert final["final"]
    assert final["model"] == "small.safetensors"
    assert final["test"]["low"] <= final["test"]["value"] <= final["test"]["high"]
    assert final["peak_memory"] > 1e6


def test_quiet_prints_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_quickly(write_classes(folder))
    assert capsys.readouterr() == ("", "")


def test_show_draws_in_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", write_classes(folder), "--show", "--epochs", "2"]) == 0
    assert capsys.readouterr().out.count("▀") > 1000


def test_many_classes_are_summed_up_by_what_is_confused_most(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", write_classes(folder, classes=30), "--task", "classification", "--epochs", "1"]
    assert cli.main([*arguments, "--hidden", "0"]) == 0
    assert "the most frequent confusions" in capsys.readouterr().out


def test_a_wrong_gradient_stops_before_training(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(*arguments: Any, **options: Any) -> Any:
        loss, grads = mlp_xp.loss_and_grads(*arguments, **options)
        return loss, (2.0 * grads[0], *grads[1:])

    monkeypatch.setattr(mistakes, "loss_and_grads", doubled)
    assert cli.main(["train", write_classes(folder)]) == 1
    printed = capsys.readouterr().out
    assert "W1: the gradient is 2 times the true one" in printed
    assert printed.endswith("nothing was trained\n")
    assert [path.name for path in folder.iterdir()] == ["small.npz"]


def interrupted(folder: Path, *options: str) -> tuple[int, str, str]:
    """Status and output of a run that is stopped after its third epoch."""
    command = (*COMMAND, "train", write_classes(folder), "--epochs", "1000000", "--patience", "1000000", *options)
    with subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a shell has what it runs in the background ignore Ctrl-C, and so would whatever is started from there
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 3/"):
                break
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


def test_ctrl_c_keeps_the_best_model_so_far_and_says_where_and_how_to_go_on(folder: Path) -> None:
    status, _, errors = interrupted(folder, "--checkpoint", "stand.safetensors")
    assert status == 130
    assert re.fullmatch(
        r"interrupted after epoch \d+: the best model so far, of epoch \d+, is in small.safetensors; "
        r"go on with: mlp-xp train small.npz .*--resume --force\n", errors
    )  # fmt: skip
    assert len(estimators.load("small.safetensors").coefs_) == 2
    done = int(errors.split()[3].rstrip(":"))
    options = ("--checkpoint", "stand.safetensors", "--resume", "--force", "--patience", "1000000", "--hidden", "100")
    assert cli.main(["train", "small.npz", "-q", "--max-iter", str(done + 5), *options]) == 0
    assert estimators.load("small.safetensors").n_iter_ == done + 5


def test_resuming_is_never_having_stopped(folder: Path) -> None:
    data = write_classes(folder)
    more = ("--dropout", "0.2", "--dtype", "float64", "--early-stopping")
    train_quickly(data, *more, "--max-iter", "6", "-o", "whole.safetensors")
    train_quickly(data, *more, "--checkpoint", "c.safetensors", "-o", "part.safetensors")
    train_quickly(data, *more, "--max-iter", "6", "--checkpoint", "c.safetensors", "--resume", "-o", "b.safetensors")
    whole, resumed = estimators.load("whole.safetensors"), estimators.load("b.safetensors")
    for one, other in zip(whole.coefs_ + whole.intercepts_, resumed.coefs_ + resumed.intercepts_, strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole.loss_curve_ == resumed.loss_curve_
    assert whole.validation_scores_ == resumed.validation_scores_


# --- what can be done with a model -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with houses.csv and a model of its districts."""
    here = tmp_path_factory.mktemp("model")
    write_table(here)
    before = Path.cwd()
    os.chdir(here)
    train_quickly("houses.csv", "--target", "district", "--max-iter", "50")
    os.chdir(before)
    return here


@pytest.mark.parametrize("backend", ["numpy", "array_api_strict"])
def test_predictions_go_to_csv_parquet_npz_and_into_a_pipe(
    model: Path, folder: Path, backend: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    arguments = ["predict", str(model / "houses.safetensors"), str(model / "houses.csv"), "--proba"]
    arguments += ["--backend", backend]
    for name in ("out.csv", "out.parquet", "out.npz"):
        assert cli.main([*arguments, "--rows", "50", "-o", name]) == 0
    capfdbinary.readouterr()
    assert run(folder, *arguments).stdout == Path("out.csv").read_text()
    csv, parquet = pandas.read_csv("out.csv"), pandas.read_parquet("out.parquet")
    assert list(csv.columns) == ["predicted_district", "probability_north", "probability_south"]
    assert (csv["predicted_district"] == parquet["predicted_district"]).all()
    with np.load("out.npz") as arrays:
        assert (arrays["prediction"] == csv["predicted_district"]).all()
        np.testing.assert_allclose(arrays["probability"], csv.to_numpy()[:, 1:].astype(float), rtol=1e-6)
        np.testing.assert_allclose(arrays["probability"].sum(axis=1), 1.0, rtol=1e-6)


def test_evaluate_judges_data_of_its_training_on_the_test_rows(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, data = str(model / "houses.safetensors"), str(model / "houses.csv")
    assert cli.main(["evaluate", path, data, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    notes = import_module("mlp_xp.estimators.files").read_notes(path)["notes"]
    assert (record["value"], record["rows"]) == (notes["test"]["value"], 24)
    write_table(model, "others.csv", rows=50)
    assert cli.main(["evaluate", path, str(model / "others.csv")]) == 0
    printed = capsys.readouterr().out
    assert "of 50 right" in printed
    assert "true label (row)" in printed


def test_inspect_says_what_a_model_is(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(model / "houses.safetensors")]) == 0
    printed = capsys.readouterr().out
    for text in ("3-8-1, relu", "classification of district", "north, south", "area, rooms, price", "50 epochs",
                 "to validate, 24 to test", "a step", mlp_xp.__version__,
                 "mlp-xp train houses.csv"):  # fmt: skip
        assert text in printed, text
    assert cli.main(["inspect", str(model / "houses.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sizes"] == [3, 8, 1]


def test_gradcheck_of_a_model_on_data(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(model / "houses.safetensors")
    assert cli.main(["gradcheck", path, str(model / "houses.csv")]) == 0
    assert "gradient check: pass" in capsys.readouterr().out
    assert cli.main(["gradcheck", path]) == 2


@pytest.mark.parametrize("name", ["evaluate", "gradcheck"])
def test_a_class_that_the_model_does_not_know_is_named_with_its_row(
    model: Path, folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(folder, cell=(2, "district", "west"))
    sentence = refused(capsys, name, str(model / "houses.safetensors"), "houses.csv")
    assert sentence.endswith("row 3 must be of a class that the model knows, north, south, got west")


@pytest.mark.parametrize("target", ["price", "district"])
def test_an_exported_model_predicts_the_same_from_raw_columns(folder: Path, target: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("ndonnx")
    data = write_table(folder)
    train_quickly(data, "--target", target, "--max-iter", "20")
    assert cli.main(["export", "houses.safetensors", "houses.onnx"]) == 0
    opened = import_module("mlp_xp.cli._model").open_model("houses.safetensors")
    X, _ = next(opened.chunks(import_module("mlp_xp.data").open_data(data)))
    session = runtime.InferenceSession("houses.onnx")
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"X": X}), strict=True))
    if target == "price":
        np.testing.assert_allclose(found["output"][:, 0], opened.predict(X), rtol=1e-5)
    else:
        assert (found["label"] == opened.predict(X)).all()


# --- the picture -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [None, np.asarray(["cat", "dog"])])
def test_the_picture_has_curves_predictions_and_weights(classes: Any) -> None:
    record = import_module("mlp_xp.train").Record
    history = [record(i, 2.0 / i, 0.0, 2.5 / i, 0.5 + i / 10, 0.1, i, 0.1 * i) for i in (1, 2, 3)]
    y = np.asarray(["cat", "dog", "dog"]) if classes is not None else np.asarray([1.0, 2.0, 3.0])
    weight = np.random.default_rng(0).normal(size=(4, 6))
    figure = picture.run_figure(picture.Picture("a title", history, y, y[::-1], weight, classes=classes, target="price",
                                                loss="cross-entropy (nats)", inputs=list("abcd")))  # fmt: skip
    assert figure.get_suptitle() == "a title"
    (loss, score), predictions, weights = ([axes for axes in area.axes if axes.get_title() or axes.lines]
                                           for area in figure.subfigs)  # fmt: skip
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    assert loss.get_ylabel() == "cross-entropy (nats)"
    assert score.get_xlabel() == "epoch"
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [2.5, 1.25, 2.5 / 3])
    wanted = ("predicted", "true") if classes is not None else ("true price", "predicted price")
    assert (predictions[0].get_xlabel(), predictions[0].get_ylabel()) == wanted
    if classes is not None:
        assert [text.get_text() for text in predictions[0].texts] == ["1", "1", "1"]
    assert [text.get_text() for text in weights[0].get_yticklabels()] == list("abcd")
    assert weights[0].images[0].get_array().shape == (4, 6)


def a_figure() -> Any:
    return import_module("matplotlib.figure").Figure(figsize=(3, 2), dpi=100)


def test_a_picture_that_cannot_be_written_whole_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"a good one")

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        plots.save(a_figure(), picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert picture.read_bytes() == b"a good one"


def test_a_picture_goes_where_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    plots.save(a_figure(), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert imread(tmp_path / "target.png").shape == (200, 300, 4)


@pytest.mark.parametrize("image_shape", [None, (2, 3)])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("units", [1, 10, 100])
def test_the_picture_shows_the_weights(units: int, named: bool, image_shape: tuple[int, int] | None) -> None:
    weight = np.random.default_rng(0).normal(size=(6, units))
    axes = import_module("matplotlib.figure").Figure().subplots()
    plots.draw_weights(axes, weight, image_shape, [str(i) for i in range(units)] if named else None)
    assert axes.figure.axes[1].get_ylabel() == "weight (per unit of input)"
    drawn = np.ma.filled(axes.images[0].get_array(), np.nan)
    if image_shape is None or units <= 64:  # every weight is in the picture, once
        np.testing.assert_array_equal(np.sort(drawn[np.isfinite(drawn)]), np.sort(weight, axis=None))
    else:
        assert np.isfinite(drawn).sum() == 64 * 6
    if image_shape is not None and named:
        assert [text.get_text() for text in axes.texts] == [str(i) for i in range(min(units, 64))]
        np.testing.assert_array_equal(drawn[1:3, :3], weight[:, 0].reshape(2, 3))


# --- in a terminal -----------------------------------------------------------------------------------------------


def test_train_shows_a_progress_bar_in_a_terminal(tmp_path: Path) -> None:
    text = shell.in_terminal(140, "train", write_classes(tmp_path), "--epochs", "7", folder=tmp_path)
    for part in ("━━━", "7/7", "loss ", "validation accuracy", "rows/s", "left"):
        assert part in text, part
    assert "epoch 1/7: " not in text  # a bar, no lines


# --- the other commands ------------------------------------------------------------------------------------------


def test_gradcheck_passes_and_has_a_row_for_everything_with_a_derivative(tmp_path: Path) -> None:
    ended = run(tmp_path, "gradcheck")
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = [line for line in ended.stdout.splitlines() if " pass " in line]
    for word in (*mlp_xp.ops.ACTIVATIONS, *mlp_xp.losses.CRITERIA, "l2", "l1", "sample_weight", "dropout"):
        assert any(word in row for row in rows), word
    for depth in range(4):
        assert f"hidden layers: {depth}" in ended.stdout
    assert ended.stdout.splitlines()[-1] == f"{len(rows)} pass, 0 inconclusive, 0 fail"


def test_gradcheck_in_float32_passes_against_float64(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gradcheck", "--dtype", "float32"]) == 0
    assert capsys.readouterr().out.endswith(" pass, 0 inconclusive, 0 fail\n")


def test_gradcheck_exits_with_1_when_a_gradient_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_penalty(*arguments: Any, l2: float = 0.0, **options: Any) -> Any:
        return mlp_xp.loss_and_grads(*arguments, **options)

    monkeypatch.setattr(mistakes, "loss_and_grads", without_penalty)
    assert cli.main(["gradcheck"]) == 1
    printed = capsys.readouterr().out
    assert "l2 on numpy: gradient check: fail" in printed
    assert printed.endswith(" pass, 0 inconclusive, 2 fail\n")  # l2, and all of the options together


def test_gradcheck_all_leaves_out_what_is_not_usable_and_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_numpy(name: str, *arguments: Any) -> Any:
        if name != "numpy":
            raise ValueError(f"backend {name} is not usable: for a reason")
        return load(name, *arguments)

    load = checks.load
    monkeypatch.setattr(checks, "load", only_numpy)
    assert cli.main(["gradcheck", "--backend", "all"]) == 0
    assert "left out: backend torch is not usable: for a reason\n" in capsys.readouterr().err
    assert cli.main(["gradcheck", "--backend", "torch"]) == 2
    assert capsys.readouterr() == ("", "error: backend torch is not usable: for a reason\n")


def test_gradcheck_prints_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gradcheck", "--json", "--full"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"softmax_cross_entropy, labels", "hidden layers: 3"} < {record["variation"] for record in records}
    for record in records:
        assert (record["backend"], record["verdict"]) == ("numpy", "pass")
        assert all(row["checked"] == row["size"] for row in record["tensors"])  # as --full has it


# --- gradcheck of a problem of one's own -------------------------------------------------------------------------

PROBLEMS = """
from dataclasses import dataclass
import numpy as np
import neighbour

@dataclass
class Unused:  # looks its own module up
    number: int = 1

A = np.arange(1.0, 7.0).reshape(2, 3) / 5.0
b = np.asarray([0.3, -0.7, 1.1])

def f(A, b):
    return ((A @ b) ** 2).sum()

def grad(A, b):
    return 2.0 * np.outer(A @ b, b), 2.0 * A.T @ (A @ b)

def halved(A, b):
    return 2.0 * np.outer(A @ b, b), A.T @ (A @ b)

def op(A, b):
    return A @ b, lambda c: (np.outer(c, b), A.T @ c)

def wrong_op(A, b):
    return A @ b, lambda c: (np.outer(c, b), A.T @ c[::-1])

def flat(x):
    return 1e-30 * (x**3).sum() + 1e6

right = f, grad, (A, b)
wrong = f, halved, (A, b)
named = {"f": f, "grad": halved, "params": (A, b), "names": ("weight", "bias"), "hypotheses": {"no two": halved}}
pulled = {"op": op, "args": (A, b)}
wrongly_pulled = {"op": wrong_op, "args": (A, b), "names": ("weight", "bias")}
noisy = flat, lambda x: 1e-30 * 3.0 * x**2, b

def made(seed=0):
    import neighbour_of_a_function
    print("on the way")
    return right

def wrongly_made():
    return named

def raising():
    return 1 / 0

def fails(A, b):
    raise KeyError("no such key")

def fails_in_a_neighbour(A, b):
    return neighbour.fails()

def op_whose_pullback_fails(A, b):
    def pullback(c):
        raise LookupError("lost")
    return A @ b, pullback

f_fails = fails, grad, (A, b)
grad_fails = f, fails_in_a_neighbour, (A, b)
hypothesis_fails = {**named, "hypotheses": {"no two": fails}}
op_fails = {"op": fails, "args": (A, b)}
pullback_fails = {"op": op_whose_pullback_fails, "args": (A, b)}
no_pair = {"op": f, "args": (A, b)}
pair = f, grad
number = 3
misspelt = {"f": f, "grad": grad, "parms": (A, b)}
lacking = {"f": f, "grad": grad}
of_both = {"op": op, "args": (A, b), "params": (A, b)}
integers = f, grad, (A, np.arange(3))
"""


@pytest.fixture
def problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "problems.py").write_text(PROBLEMS)
    (tmp_path / "neighbour.py").write_text("def fails():\n    raise RuntimeError('a\\nb')\n")
    (tmp_path / "neighbour_of_a_function.py").touch()
    (tmp_path / "unimportable.py").write_text("import neighbour\nprint(undefined)\n")
    (tmp_path / "unparsable.py").write_text("a = 1\nb = (\n")
    (tmp_path / "incomplete.py").write_text("import no_such_module_at_all\n")
    (tmp_path / "leaving.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "problems.txt").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("neighbour", "neighbour_of_a_function"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("name", ["right", "pulled", "made"])
@pytest.mark.parametrize("options", [(), ("--full",), ("--seed", "3")], ids=" ".join)
def test_a_right_problem_passes(
    problems: Path, name: str, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    path = list(sys.path)
    assert cli.main(["gradcheck", f"problems.py:{name}", *options]) == 0
    printed = capsys.readouterr()
    assert "gradient check: pass" in printed.out
    assert printed.err == ""
    assert sys.path == path


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("wrong", "the gradient is 1/2 times the true one"),
        ("named", "bias: no two"),
        ("wrongly_made", "bias: no two"),
        ("wrongly_pulled", "bias"),
    ],
)
def test_a_wrong_problem_fails(problems: Path, name: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gradcheck", f"problems.py:{name}"]) == 1
    printed = capsys.readouterr()
    assert "gradient check: fail" in printed.out
    assert sentence in printed.out
    assert printed.err == ""


def test_what_cannot_be_resolved_exits_with_1_unless_allowed(problems: Path) -> None:
    assert cli.main(["gradcheck", "problems.py:noisy"]) == 1
    assert cli.main(["gradcheck", "problems.py:noisy", "--allow-inconclusive"]) == 0
    assert cli.main(["gradcheck", "problems.py:wrong", "--allow-inconclusive"]) == 1


@pytest.mark.parametrize(("name", "status", "verdict"), [("made", 0, "pass"), ("named", 1, "fail")])
def test_the_report_of_a_problem_as_json_is_all_that_is_on_stdout(
    problems: Path, name: str, status: int, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["gradcheck", "problems.py:" + name, "--json", "--full"]) == status
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["verdict"] == verdict
    assert [(row["checked"], row["size"]) for row in report["tensors"]] == [(6, 6), (3, 3)]
    assert printed.err == ("on the way\n" if name == "made" else "")


def test_a_problem_in_another_folder_as_a_process_of_its_own(problems: Path) -> None:
    elsewhere = problems / "elsewhere"
    elsewhere.mkdir()
    ended = run(elsewhere, "gradcheck", "../problems.py:wrong")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "the gradient is 1/2 times the true one" in ended.stdout
    ended = run(elsewhere, "gradcheck", str(problems / "problems.py") + ":made")
    assert (ended.returncode, ended.stderr) == (0, "")


BAD_PROBLEMS = [
    ("problems.py", "PROBLEM must be FILE.py:NAME, got 'problems.py'; "
     "NAME may be right, wrong, named, pulled, wrongly_pulled or others"),
    ("problems.py:", "PROBLEM must be FILE.py:NAME, got 'problems.py:'; "
     "NAME may be right, wrong, named, pulled, wrongly_pulled or others"),
    ("none.py", "PROBLEM must be FILE.py:NAME, got 'none.py'"),
    ("unparsable.py", "PROBLEM must be FILE.py:NAME, got 'unparsable.py'"),
    ("problems:right", "PROBLEM must be FILE.py:NAME with a Python file, got 'problems:right'; "
     "did you mean 'problems.py:right'?"),
    ("problem.py:right", "problem.py can't be read: No such file or directory; did you mean 'problems.py'?"),
    ("problems.txt:right", "PROBLEM must be FILE.py:NAME with a Python file, got 'problems.txt:right'"),
    ("none.py:right", "none.py can't be read: No such file or directory"),
    ("problems.py:rihgt", "problems.py has no 'rihgt'; did you mean 'right'?"),
    ("problems.py:zzzzzz", "problems.py has no 'zzzzzz'"),
    ("unimportable.py:a", "unimportable.py can't be imported: NameError: name 'undefined' is not defined "
     "(unimportable.py, line 2)"),
    ("unparsable.py:a", "unparsable.py can't be imported: SyntaxError: '(' was never closed (unparsable.py, line 2)"),
    ("incomplete.py:a", "incomplete.py can't be imported: ModuleNotFoundError: No module named 'no_such_module_at_all' "
     "(incomplete.py, line 1)"),
    ("leaving.py:a", "leaving.py can't be imported: SystemExit: 0 (leaving.py, line 1)"),
    ("problems.py:raising", "raising raised ZeroDivisionError: division by zero (problems.py, line {1 / 0})"),
    ("problems.py:f", "problems.py:f must be a problem, or a function without arguments that returns one, "
     "got a function of A, b"),
    ("problems.py:pair", "problems.py:pair must be (f, grad, params), a dict of the arguments of gradcheck or of "
     "check_pullback, or a function without arguments that returns one, got a tuple of 2"),
    ("problems.py:number", "problems.py:number must be (f, grad, params), a dict of the arguments of gradcheck or of "
     "check_pullback, or a function without arguments that returns one, got int"),
    ("problems.py:misspelt", "problems.py:misspelt has 'parms', which is no argument of gradcheck; "
     "did you mean 'params'?"),
    ("problems.py:of_both", "problems.py:of_both has 'params', which is no argument of check_pullback; "
     "did you mean 'args'?"),
    ("problems.py:lacking", "problems.py:lacking lacks 'params', an argument of gradcheck"),
    ("problems.py:integers", "params[1] must be real floating, got int64"),
    ("problems.py:f_fails", "f raised KeyError: 'no such key' (problems.py, line {raise KeyError})"),
    ("problems.py:grad_fails", "grad raised RuntimeError: a (neighbour.py, line 2)"),
    ("problems.py:hypothesis_fails", "hypothesis 'no two' raised KeyError: 'no such key' "
     "(problems.py, line {raise KeyError})"),
    ("problems.py:op_fails", "op raised KeyError: 'no such key' (problems.py, line {raise KeyError})"),
    ("problems.py:pullback_fails", "the pullback of op raised LookupError: lost "
     "(problems.py, line {raise LookupError})"),
    ("problems.py:no_pair", "op must return (value, pullback), got float64"),
    ("problems.py:right --backend numpy", "--backend can't go with PROBLEM, which brings its own arrays"),
    ("problems.py:right --dtype float64", "--dtype can't go with PROBLEM, which brings its own arrays"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "sentence"), BAD_PROBLEMS, ids=[line for line, _ in BAD_PROBLEMS])
def test_a_bad_problem_is_one_line_and_exit_status_2(
    line: str, sentence: str, problems: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for code in re.findall(r"{(.*)}", sentence):  # stands for the number of the line with this code
        number = next(i for i, text in enumerate(PROBLEMS.splitlines(), start=1) if code in text)
        sentence = sentence.replace(f"{{{code}}}", str(number))
    assert cli.main(["gradcheck", *line.split()]) == 2
    assert capsys.readouterr() == ("", f"error: {sentence}\n")


def test_cost_prints_what_step_cost_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cost", "784", "800", "10", "--n", "256", "--dtype", "float64"]) == 0
    printed = capsys.readouterr().out
    cost = mlp_xp.step_cost((784, 800, 10), 256, "float64")
    for figure in cost:
        assert f"{figure:,}" in printed
    assert "636 k" in printed
    assert "MFLOP" in printed
    assert "5.09 MB" in printed


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (999.6, "1 kB"), (1000, "1 kB"), (1234567, "1.23 MB"), (5e12, "5 TB")],
)
def test_readable_figures(value: float, text: str) -> None:
    assert screen.readable(value, "B") == text


# --- bad input ---------------------------------------------------------------------------------------------------

BAD = [
    ("trian", "No such command 'trian'"),
    ("train --epohcs 3", "No such option:? '?--epohcs"),
    ("train --epochs 0", "Invalid value for '--max-iter'.*: 0 is not in the range"),
    ("train --epochs many", "Invalid value for '--max-iter'.*: 'many' is not a valid integer"),
    ("train --batch-size -1", "batch_size must be auto or a positive whole number, got '-1'"),
    ("train --seed -1", "Invalid value for '--seed'"),
    ("train --lr fast", "Invalid value for '--learning-rate-init'.*: 'fast' is not a valid float"),
    ("train iris --lr -1", "learning_rate_init"),
    ("train iris --alpha -3", "alpha"),
    ("train iris --dropout 1", "dropout"),
    ("train iris --label-smoothing 2", "label_smoothing"),
    ("train iris --class-weight heavy", "class_weight must be balanced or CLASS=WEIGHT, comma separated, got 'heavy'"),
    ("train iris --class-weight setossa=2", "a class of class_weight must be .*; did you mean 'setosa'?"),
    ("train diabetes --label-smoothing 0.1", "label_smoothing belongs to a classification, and this is a regression"),
    ("train iris --hidden 12,x", "hidden_layer_sizes must be positive whole numbers, .*, got '12,x'"),
    ("train iris --hidden 12,-3", "hidden_layer_sizes must be positive whole numbers"),
    ("train iris --hidden 10000000,10000000", "a network of 4-10000000-10000000-3 must fit in memory: it takes .* GB"),
    ("train iris --activation reluu", "activation must be .* got 'reluu'; did you mean 'relu'"),
    ("train iris --activation relu,tanh", r"activation must be one or one per hidden layer \(1\), got 2"),
    ("train --solver adem", "solver must be .* got 'adem'; did you mean 'adam'"),
    ("train --task clasification", "task must be .*; did you mean 'classification'"),
    ("train iris --solver lbfgs --checkpoint c.safetensors", "checkpoint needs a stochastic solver"),
    ("train iris --resume", "--resume needs a --checkpoint that is there, got none"),
    ("train iris --dtype float23", "dtype must be 'float32' or 'float64', got 'float23'; did you mean 'float32'"),
    ("train iris --backend nunpy", "backend must be .* got 'nunpy'; did you mean 'numpy'"),
    ("train iris --backend cupy", "backend cupy is not "),
    ("train iris --device cuda", "device of numpy must be 'cpu', got 'cuda'"),
    ("train none.npz", "none.npz can't be read: No such file or directory"),
    ("train iriss", "iriss can't be read: No such file or directory; built in are digits, iris"),
    ("train folder --picture none", "folder must hold train-images-idx3-ubyte"),
    ("train iris -o model.pkl", "model.pkl must end in .safetensors to be written"),
    ("train iris --picture a.jpg", "a.jpg must end in .png to be written"),
    ("train iris -o none/a.safetensors", "none/a.safetensors can't be written: No such file or directory"),
    ("train iris --picture folder.png", "folder.png must be a file to write, got something else"),
    ("train iris --target species", "name columns of a table, iris has none"),
    ("train iris --config none.toml", "none.toml can't be read: No such file or directory"),
    ("predict none.safetensors iris", "none.safetensors can't be read: No such file or directory"),
    ("evaluate none.safetensors iris", "none.safetensors can't be read"),
    ("inspect none.safetensors", "none.safetensors can't be read"),
    ("export none.safetensors a.onnx", "none.safetensors can't be read"),
    ("export none.safetensors a.pb", "a.pb must end in .onnx to be written"),
    ("gradcheck problems.py:a iris", "DATA, iris, goes with a model, a .safetensors file, got problems.py:a"),
    ("gradcheck --backend nunpy", "backend must be .* got 'nunpy'; did you mean 'numpy'"),
    ("gradcheck --backend all --dtype double", "dtype must be 'float32' or 'float64', got 'double'"),
    ("gradcheck --dtype double", "dtype must be 'float32' or 'float64', got 'double'"),
    ("cost", "Missing argument 'SIZES...'"),
    ("cost 3", r"sizes must be at least two positive ints \(d_in, ..., d_out\), got \(3,\)"),
    ("cost 3 0", "Invalid value for 'SIZES...': 0 is not in the range"),
    ("cost 3 2 --n 0", "Invalid value for '--n'"),
    ("cost 3 2 --criterion squared", "criterion must be .* did you mean 'squared_error'"),
    ("cost 3 2 2 --activation reluu", "activation must be .* did you mean 'relu'"),
    ("cost 3 2 --optimizer adem", "optimizer must be .* did you mean 'adam'"),
    ("cost 3 2 --dtype float23", "dtype must be .* did you mean 'float32'"),
]


@pytest.mark.parametrize(("line", "sentence"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_and_exit_status_2(
    line: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli.main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    assert re.search(sentence, printed.err), printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "folder.png"]  # and nothing was written


def test_a_process_of_its_own_says_it_the_same_way(tmp_path: Path) -> None:
    ended = run(tmp_path, "train", "none.npz")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: none.npz can't be read: No such file or directory\n"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr."""
    capsys.readouterr()
    assert cli.main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    return printed.err.removeprefix("error: ").rstrip("\n")


BAD_TABLES = {
    "empty": (b"", "data.csv must be a table with a header, got an empty file"),
    "header alone": (b"a,b\n", "data.csv must have at least one row, got none"),
    "no header": (b"1,2\n3,4\n", "data.csv must begin with a header that names its columns, got 1, 2"),
    "one row": (b"a,b\n1,2\n", "the target 'b' must have at least 2 different .*, got only 2 in all 1 rows"),
    "one class": (b"a,b\n1,x\n2,x\n3,x\n", "the target 'b' must have at least 2 different classes, got only x"),
    "one row a class": (b"a,b\n1,x\n2,y\n3,z\n", "at least 2 rows of one class to hold some of them out, got 3"),
    "text": (b"a,b\n1,x\n2,y\nthree,x\n4,y\n", r"data.csv: row 3, column 'a' must be a number, got 'three'"),
    "missing": (b"a,b\n1,x\n2,y\n,x\n,y\n", r"data.csv: row 3, column 'a' is missing \(in 2 rows of this column\)"),
    "missing target": (b"a,b\n1,x\n2,\n3,y\n", "data.csv: row 2, column 'b', the target, is missing"),
    "infinite": (b"a,b\n1,x\n2,y\ninf,x\n4,y\n", "data.csv: row 3, column 'a' must be finite, got inf"),
    "too long a row": (b"a,b\n1,x\n2,y,3\n", "data.csv: line 3 must have 2 fields as the header has, got 3"),
    "twice": (b"a,a,b\n1,2,x\n1,2,y\n", "data.csv must have columns of different names, got 'a' twice"),
    "no text": (b"a,b\n\xff\xfe,x\n", "data.csv must be text in UTF-8|can't be read as a table"),
    "identifiers": (b"id,b\n" + b"".join(b"k%d,%d\n" % (i, i % 2) for i in range(1500)),
                    "column 'id' has 1,500 different values, too many .*; leave it out with --drop 'id'"),
    "10 million columns": (b"a," * 10_000_000 + b"b\n", "data.csv must have at most 100,000 columns, got 10,000,001"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "sentence"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_table_is_one_line(folder: Path, raw: bytes, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data.csv").write_bytes(raw)
    assert re.search(sentence, refused(capsys, "train", "data.csv"))
    assert [path.name for path in folder.iterdir()] == ["data.csv"]


def test_where_no_row_can_be_spared_none_is_validated_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data.csv").write_bytes(b"a,b\n1,x\n2,x\n3,y\n4,z\n")
    assert cli.main(["train", "data.csv", "--epochs", "1", "--picture", "none"]) == 0
    assert "3 rows to train on, 0 to validate, 1 to test" in capsys.readouterr().out


def test_a_target_that_does_not_exist_is_offered_the_nearest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refused(capsys, "train", write_table(folder), "--target", "prize")
    assert sentence.endswith("got 'prize'; did you mean 'price'?")
    assert sentence.startswith("houses.csv: the target must be a column, 'area'")


def test_a_constant_column_is_named_and_does_no_harm(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_table(folder, rooms=3)
    assert cli.main(["train", data, *QUICK]) == 0
    assert "the same in every training row, so of no use: column 'rooms'" in capsys.readouterr().out
    assert np.isfinite(estimators.load("houses.safetensors").coefs_[0]).all()


def test_data_to_predict_must_have_the_columns_and_categories(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(model / "houses.safetensors")
    data = write_table(folder, cell=(5, "rooms", "many"))
    sentence = refused(capsys, "predict", path, data, "-o", "out.csv")
    assert "houses.csv: row 6, column 'rooms' must be a number, got 'many'" in sentence
    (folder / "other.csv").write_text("aera,rooms,price\n1,2,3\n")
    sentence = refused(capsys, "predict", path, "other.csv", "-o", "out.csv")
    assert sentence.startswith("other.csv: what the model was trained on must be a column")
    assert "got 'area'; did you mean 'aera'?" in sentence
    (folder / "none.csv").write_text("area,rooms,price\n")
    assert "none.csv must have at least one row" in refused(capsys, "predict", path, "none.csv", "-o", "out.csv")
    assert "must be a table" in refused(capsys, "predict", path, "iris", "-o", "out.csv")
    assert not (folder / "out.csv").exists()


def test_what_exists_is_overwritten_by_force_alone_and_not_by_a_bad_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_classes(folder)
    good = folder / "small.safetensors"
    good.write_bytes(b"a good one")
    assert refused(capsys, "train", data, *QUICK) == "small.safetensors exists: --force overwrites it"
    sentence = refused(capsys, "train", data, *QUICK, "--force", "--solver", "sgd", "--lr", "1e30")
    assert "is too large" in sentence or "not finite" in sentence
    assert good.read_bytes() == b"a good one"
    train_quickly(data, "--force")
    assert good.read_bytes() != b"a good one"


def test_a_full_disk_leaves_the_old_file(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    data = write_classes(folder)
    train_quickly(data)
    before = (folder / "small.safetensors").read_bytes()
    monkeypatch.setattr("os.fsync", full)
    sentence = refused(capsys, "train", data, *QUICK, "--seed", "3", "--force")
    assert sentence == "small.safetensors can't be written: No space left on device"
    assert "No space left" in refused(capsys, "predict", "small.safetensors", data, "-o", "out.csv")
    assert sorted(path.name for path in folder.iterdir()) == ["small.npz", "small.safetensors"]
    assert (folder / "small.safetensors").read_bytes() == before


def test_two_runs_do_not_write_one_path(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_classes(folder)
    with output.claimed("small.safetensors", force=False):
        assert refused(capsys, "train", data, *QUICK) == "small.safetensors is being written by another run"
    train_quickly(data)


def test_a_truncated_or_newer_model_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_quickly(write_classes(folder))
    whole = (folder / "small.safetensors").read_bytes()
    (folder / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    for command in (("inspect",), ("predict", "small.npz"), ("evaluate", "small.npz"), ("export", "a.onnx")):
        sentence = refused(capsys, command[0], "half.safetensors", *command[1:])
        assert sentence.startswith("half.safetensors must be a model of mlp_xp, got a file that is truncated")
    files = import_module("mlp_xp._lib.files")
    version, files.VERSION = files.VERSION, 99
    try:
        train_quickly("small.npz", "-o", "newer.safetensors")
    finally:
        files.VERSION = version
    assert "was written by a newer mlp_xp" in refused(capsys, "inspect", "newer.safetensors")


@pytest.mark.parametrize("missing", ["click", "rich", "sklearn"])
def test_a_missing_extra_is_named(missing: str, tmp_path: Path) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from mlp_xp.cli import main; sys.exit(main(['train']))"
    ended = subprocess.run(
        (sys.executable, "-c", program), cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: the command needs {missing}: pip install 'mlp_xp[cli]'\n"
    assert list(tmp_path.iterdir()) == []


def test_the_fastest_backend_is_taken_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    train = import_module("mlp_xp.cli._choose")
    choice = import_module("mlp_xp.backends").Choice("numpy", "cpu", "a step takes 1 ms with numpy on cpu", ())
    asked = []
    monkeypatch.setattr(train, "fastest", lambda *task: asked.append(task) or choice)
    assert cli.main(["train", "iris", "--epochs", "2", "--backend", "auto", "--hidden", "5"]) == 0
    assert "numpy computes: a step takes 1 ms with numpy on cpu" in capsys.readouterr().out
    assert asked == [((4, 5, 3), 108, "float32")]


def test_to_compile_takes_a_backend_that_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "iris", "--epochs", "2", "--compile"]) == 2
    assert "to compile takes the backend torch or jax, got numpy, which has no compiler" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    train = import_module("mlp_xp.cli._choose")
    compiled = []
    monkeypatch.setattr(train, "compiler", lambda name: lambda step: compiled.append(name) or step)
    assert cli.main(["train", "iris", "--epochs", "2", "--compile"]) == 0
    assert compiled == ["numpy"]
