"""The ``mlp-xp`` command as a user runs it: what it prints, what it writes, how it exits."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlp_xp

# the session of nox that tests NumPy installs the extra that brings these
for name in ("click", "rich", "matplotlib", "sklearn"):
    pytest.importorskip(name)

imread = import_module("matplotlib.image").imread
cli, plots = import_module("mlp_xp.cli"), import_module("mlp_xp.plots")
cost_command, gradcheck_command = import_module("mlp_xp.cli.cost"), import_module("mlp_xp.cli.gradcheck")
mistakes = import_module("mlp_xp.mistakes")

pytestmark = pytest.mark.only("numpy")

# the command runs in folders of the tests' own, and must find the package that these tests import
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mlp_xp.__file__).parents[1]), "COLUMNS": "100"}
COMMAND = (sys.executable, "-m", "mlp_xp")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        (*COMMAND, *arguments), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )


def small_data(folder: Path, classes: int = 3) -> str:
    """The path of an easy problem: 60 rows, 5 columns, each class around a point of its own."""
    random = np.random.default_rng(0)
    y = np.arange(60) % classes
    np.savez(folder / "small.npz", X=random.normal(size=(classes, 5))[y] * 3 + random.normal(size=(60, 5)), y=y)
    return str(folder / "small.npz")


# --- train -------------------------------------------------------------------------------------------------------


def test_train_without_arguments_learns_the_digits_and_draws_what_it_learned(tmp_path: Path) -> None:
    ended = run(tmp_path, "train")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert "gradients on 16 rows, checked in float64 by dual numbers: pass" in lines[2]
    assert sum(line.startswith("epoch ") for line in lines) == 30  # plain lines: this is no terminal
    assert "label    0    1    2    3    4    5    6    7    8    9    right" in ended.stdout
    accuracy = next(line for line in lines if line.startswith("test accuracy"))
    assert float(accuracy.split()[2].rstrip("%")) >= 97.0
    assert lines[-1] == "wrote mlp_xp.png"
    assert [path.name for path in tmp_path.iterdir()] == ["mlp_xp.png"]
    picture = imread(tmp_path / "mlp_xp.png")
    height, width, _ = picture.shape
    assert (height, width) == (660, 1320)
    for half in (picture[:, : width // 2], picture[:, width // 2 :]):
        assert len(np.unique(half.reshape(-1, 4), axis=0)) > 50  # both halves have something on them


def test_the_same_seed_gives_the_same_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for seed in ("1", "1", "2"):
        arguments = ["train", "--epochs", "1", "--seed", seed, "--output", str(tmp_path / "a.png")]
        assert cli.main(arguments) == 0
        printed.append([line.rpartition(",")[0] for line in capsys.readouterr().out.splitlines() if "epoch" in line])
    assert printed[0] == printed[1] != printed[2]


@pytest.mark.parametrize(
    "options",
    [
        ("--hidden", "0"),
        ("--hidden", "6, 4", "--activation", "tanh, gelu", "--dtype", "float64"),
        ("--optimizer", "sgd", "--lr", "0.1", "--l2", "1e-3", "--dropout", "0"),
        ("--optimizer", "momentum", "--label-smoothing", "0", "--batch-size", "1000"),
        ("--backend", "array-api-strict", "--device", "device1", "--dtype", "float64"),
        pytest.param(
            ("--backend", "array_api_strict", "--device", "no_float64"),
            marks=pytest.mark.skipif(
                "no_float64" not in mlp_xp.backends.probe("array_api_strict").devices,
                reason="array-api-strict before 2.4",
            ),
        ),
    ],
    ids=" ".join,
)
def test_train_on_a_file_of_ones_own(
    tmp_path: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "own.png"
    status = cli.main(["train", "--data", small_data(tmp_path), "--epochs", "2", "--output", str(output), *options])
    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    assert "small: 43 rows to train on, 5 to validate, 12 to test" in printed.out
    assert "checked in float64" in printed.out
    assert ": pass, relative errors above" in printed.out
    assert imread(output).shape == (660, 1320, 4)


def test_many_classes_are_summed_up_by_what_is_confused_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--data", small_data(tmp_path, classes=30), "--epochs", "1", "--hidden", "0"]
    assert cli.main([*arguments, "--output", str(tmp_path / "a.png")]) == 0
    assert "the most frequent confusions" in capsys.readouterr().out


def test_a_wrong_gradient_stops_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(*arguments: Any, **options: Any) -> Any:
        loss, grads = mlp_xp.loss_and_grads(*arguments, **options)
        return loss, (2.0 * grads[0], *grads[1:])

    monkeypatch.setattr(mistakes, "loss_and_grads", doubled)
    output = tmp_path / "a.png"
    assert cli.main(["train", "--data", small_data(tmp_path), "--output", str(output)]) == 1
    printed = capsys.readouterr().out
    assert "W1: the gradient is 2 times the true one" in printed
    assert printed.endswith("nothing was trained\n")
    assert not output.exists()


def test_ctrl_c_ends_with_one_line_and_leaves_the_old_picture(tmp_path: Path) -> None:
    picture = tmp_path / "mlp_xp.png"
    picture.write_bytes(b"a good one")
    command = (*COMMAND, "train", "--epochs", "1000000")
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 3/"):
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["mlp_xp.png"]
    assert picture.read_bytes() == b"a good one"


def test_a_run_that_fails_leaves_the_old_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"a good one")
    arguments = ["train", "--optimizer", "sgd", "--lr", "1e30", "--output", str(picture)]
    assert cli.main([*arguments, "--data", small_data(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: the loss is ")
    assert picture.read_bytes() == b"a good one"


def test_a_picture_that_cannot_be_written_whole_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"a good one")
    curves = plots.Curves([1.0], [1.0], [0.5])
    figure = plots.training_figure("", curves, np.ones((4, 3)), None)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        plots.save(figure, picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert picture.read_bytes() == b"a good one"


def test_a_picture_goes_where_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    plots.save(plots.training_figure("", plots.Curves([1.0], [1.0], [0.5]), np.ones((4, 3)), (2, 2)),
               tmp_path / "link.png")  # fmt: skip
    assert (tmp_path / "link.png").is_symlink()
    assert imread(tmp_path / "target.png").shape == (660, 1320, 4)


@pytest.mark.parametrize("image_shape", [None, (2, 3)])
@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("units", [1, 10, 100])
def test_the_picture_shows_both_losses_and_the_weights(
    units: int, classes: bool, image_shape: tuple[int, int] | None
) -> None:
    curves = plots.Curves([2.0, 1.0], [2.5, 1.5], [0.5, 0.75])
    weight = np.random.default_rng(0).normal(size=(6, units))
    figure = plots.training_figure("a title", curves, weight, image_shape, classes)
    assert figure.get_suptitle() == "a title"
    loss, accuracy, weights, colours = (axes for area in figure.subfigs for axes in area.axes)
    assert loss.get_ylabel() == "cross-entropy (nats)"
    training, validation = loss.lines
    np.testing.assert_array_equal(training.get_xydata(), [[1, 2.0], [2, 1.0]])
    np.testing.assert_array_equal(validation.get_xydata(), [[1, 2.5], [2, 1.5]])
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("epoch", "validation accuracy (%)")
    np.testing.assert_array_equal(accuracy.lines[0].get_ydata(), [50.0, 75.0])
    assert colours.get_ylabel() == "weight (per unit of input)"
    drawn = np.ma.filled(weights.images[0].get_array(), np.nan)
    shown = weight if image_shape is None or units <= 64 else None
    if shown is not None:  # every weight is in the picture, once
        np.testing.assert_array_equal(np.sort(drawn[np.isfinite(drawn)]), np.sort(weight, axis=None))
    else:
        assert np.isfinite(drawn).sum() == 64 * 6
    if image_shape is not None and classes:
        assert [text.get_text() for text in weights.texts] == [str(i) for i in range(min(units, 64))]
        np.testing.assert_array_equal(drawn[1:3, :3], weight[:, 0].reshape(2, 3))


# --- in a terminal -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
def test_train_shows_a_progress_bar_in_a_terminal(tmp_path: Path) -> None:
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
    command = (*COMMAND, "train", "--data", small_data(tmp_path), "--epochs", "7")
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**ENVIRONMENT, "TERM": "xterm"}, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how Linux says that nobody writes to a pseudo-terminal any more
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "━━━" in text
    assert "7/7" in text
    assert "(validation " in text
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

    load = gradcheck_command.load
    monkeypatch.setattr(gradcheck_command, "load", only_numpy)
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
    assert cost_command._readable(value, "B") == text


# --- bad input ---------------------------------------------------------------------------------------------------

BAD = [
    ("trian", "No such command 'trian'"),
    ("train --epohcs 3", "No such option:? '?--epohcs"),
    ("train --epochs 0", "Invalid value for '--epochs': 0 is not in the range"),
    ("train --epochs many", "Invalid value for '--epochs': 'many' is not a valid integer"),
    ("train --batch-size -1", "Invalid value for '--batch-size'"),
    ("train --seed -1", "Invalid value for '--seed'"),
    ("train --lr fast", "Invalid value for '--lr': 'fast' is not a valid float"),
    ("train --lr -1", "lr must be at least 0 and finite, got -1"),
    ("train --lr nan", "lr must be at least 0 and finite, got nan"),
    ("train --l2 -3", "l2 must be at least 0"),
    ("train --dropout 1", "dropout must be at least 0 and below 1, got 1"),
    ("train --label-smoothing 2", "label_smoothing must be at least 0 and below 1, got 2"),
    ("train --hidden 12,x", "hidden must be positive whole numbers, comma separated, or 0 for no layer, got '12,x'"),
    ("train --hidden 12,-3", "hidden must be positive whole numbers"),
    ("train --activation reluu", "activation must be .* got 'reluu'; did you mean 'relu'"),
    ("train --activation relu,tanh", r"activation must be one or one per hidden layer \(1\), got 2"),
    ("train --optimizer adem", "optimizer must be .* got 'adem'; did you mean 'adam'"),
    ("train --dtype float23", "dtype must be 'float32' or 'float64', got 'float23'; did you mean 'float32'"),
    ("train --backend nunpy", "backend must be .* got 'nunpy'; did you mean 'numpy'"),
    ("train --device cuda", "device of numpy must be 'cpu', got 'cuda'"),
    ("train --data none.npz", "none.npz can't be read: No such file or directory"),
    ("train --data folder", "folder must hold train-images-idx3-ubyte"),
    ("train --output picture.jpg", "the output must be a .png file, got 'picture.jpg'"),
    ("train --output none/a.png", "the output 'none/a.png' can't be written: No such file or directory"),
    ("train --output folder.png", "the output must be a file, got 'folder.png'"),
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
    ended = run(tmp_path, "train", "--data", "none.npz")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: none.npz can't be read: No such file or directory\n"


@pytest.mark.parametrize("missing", ["click", "rich", "matplotlib", "sklearn"])
def test_a_missing_extra_is_named(missing: str, tmp_path: Path) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from mlp_xp.cli import main; sys.exit(main(['train']))"
    ended = subprocess.run(
        (sys.executable, "-c", program), cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: the command needs {missing}: pip install 'mlp_xp[cli]'\n"
    assert list(tmp_path.iterdir()) == []
