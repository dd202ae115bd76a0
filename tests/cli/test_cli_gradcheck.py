"""``mlp-xp gradcheck``: of this library, of a saved model, and of a user's own problem in a file."""

from __future__ import annotations

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import runs
from runs import cli

import mlp_xp
from mlp_xp.cli._problem import check_problem

checks, mistakes = import_module("mlp_xp.cli._checks"), import_module("mlp_xp.mistakes")

pytestmark = pytest.mark.only("numpy")


def test_gradcheck_passes_and_has_a_row_for_everything_with_a_derivative(tmp_path: Path) -> None:
    ended = runs.run(tmp_path, "gradcheck")
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


def test_gradcheck_all_leaves_out_unusable_backends_and_says_why(
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


def test_gradcheck_checks_a_saved_model_on_data(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(model / "houses.safetensors")
    assert cli.main(["gradcheck", path, str(model / "houses.csv")]) == 0
    assert "gradient check: pass" in capsys.readouterr().out
    assert cli.main(["gradcheck", path]) == 2


# --- a user's own problem ----------------------------------------------------------------------------------------

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
    return float(1e-30 * (x**3).sum() + 1e6)

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


def test_an_inconclusive_problem_exits_with_1_unless_allowed(problems: Path) -> None:
    assert cli.main(["gradcheck", "problems.py:noisy"]) == 1
    assert cli.main(["gradcheck", "problems.py:noisy", "--allow-inconclusive"]) == 0
    assert cli.main(["gradcheck", "problems.py:wrong", "--allow-inconclusive"]) == 1


@pytest.mark.parametrize(("name", "status", "verdict"), [("made", 0, "pass"), ("named", 1, "fail")])
def test_with_json_only_the_report_of_a_problem_is_on_stdout(
    problems: Path, name: str, status: int, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["gradcheck", "problems.py:" + name, "--json", "--full"]) == status
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["verdict"] == verdict
    assert [(row["checked"], row["size"]) for row in report["tensors"]] == [(6, 6), (3, 3)]
    assert printed.err == ("on the way\n" if name == "made" else "")


def test_a_problem_in_another_folder_is_found_by_a_separate_process(problems: Path) -> None:
    elsewhere = problems / "elsewhere"
    elsewhere.mkdir()
    ended = runs.run(elsewhere, "gradcheck", "../problems.py:wrong")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "the gradient is 1/2 times the true one" in ended.stdout
    ended = runs.run(elsewhere, "gradcheck", str(problems / "problems.py") + ":made")
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


RULES = """
import numpy as np

def op(x):
    return np.sin(x)

def jvp(at, v):
    return FACTOR * np.cos(at[0]) * v[0]

forward = {"op": op, "jvp": jvp, "args": (np.asarray([0.5, -1.0]),), "names": ("x",)}
broken = {"op": op, "jvp": lambda at, v: 1 / 0, "args": (np.asarray([0.5, -1.0]),)}
lacking = {"jvp": jvp, "args": ()}
conjugated = {"op": lambda z: (z * z, lambda c: (2 * c * z,)), "args": (np.asarray([0.5 + 1j]),), "wirtinger": "plain"}
"""


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_the_command_checks_a_forward_rule_of_a_file(tmp_path: Path, factor: float) -> None:
    path = tmp_path / "problem.py"
    path.write_text(RULES.replace("FACTOR", str(factor)))
    report = check_problem(f"{path}:forward")
    assert [(row.name, row.verdict) for row in report.tensors] == [("x", "pass" if factor == 1.0 else "fail")]
    assert check_problem(f"{path}:conjugated").ok
    with pytest.raises(ValueError, match=r"^jvp raised ZeroDivisionError: division by zero \(problem.py, line 11\)$"):
        check_problem(f"{path}:broken")
    with pytest.raises(ValueError, match=r":lacking lacks 'op', an argument of check_jvp$"):
        check_problem(f"{path}:lacking")
