"""Measure how far a reader has to follow the code: calls, files and names on the way, long functions, lines of code.

    python scripts/structure.py [--root CHECKOUT] [--json]

Two checkouts are compared by running it twice. What is counted:

- A call is one entry of Python code of the package, as ``sys.setprofile`` reports it: functions, methods, properties,
  comprehensions (until Python 3.11: newer ones inline them) and generators, each resumption by itself. A change of file
  is a call whose code lies in another file than that of the call before. Everything has run once before, so that
  imports and caches are not counted.
- The way of ``X``: ``MLPClassifier((5,)).fit`` on 60 rows of NumPy, one step an epoch, up to the first ``@`` that the
  package evaluates. The operator is found by tracing the bytecode, since NumPy's products are no calls.
- The way of ``f``: the loss of a two-layer network in plain NumPy, from the call of ``gradcheck`` to its return.
- The way of the learning rate: ``mlp-xp train iris --preset medium --lr RATE``, up to the first function of
  ``optim.py`` that is given RATE, a number that occurs nowhere else. A file counts if a variable in it holds that
  number, alone or in a list, or if it is the first to see a dict or a record that holds the number: files that pass the
  same object on do not count.
- A body is a function without its signature and docstring. Lines of code are without blanks, comments and docstrings.
- Functions called once: by name, so that a name that is defined twice is left out. This is an estimate.
"""

from __future__ import annotations

import argparse
import ast
import dis
import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np
import piped

SHORT, LONG = 30, 60  # lines of a body: usually at most, never more
ARGUMENTS = 5
RATE = 0.0123456789

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Way(NamedTuple):
    """How many calls, in how many files, with how many changes from one file to another."""

    calls: int
    files: int
    changes: int


# --- calls on the way ------------------------------------------------------------------------------------------------


class Recorder:
    """The files of the package's calls, in order, from ``with`` to ``stop`` or to the end of the block."""

    def __init__(self, package: Path, to_first_product: bool = False) -> None:
        self.package, self.to_first_product = package, to_first_product
        self.files: list[str] = []
        self.before = sys.gettrace(), sys.getprofile()  # of a debugger, or of a measurement of coverage

    def __enter__(self) -> Recorder:
        if self.to_first_product:
            sys.settrace(self._trace)
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Record no further call."""
        sys.settrace(self.before[0])
        sys.setprofile(self.before[1])

    def way(self) -> Way:
        """The counts so far."""
        return Way(len(self.files), len(set(self.files)), sum(a != b for a, b in pairwise(self.files)))

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and (file := file_of(frame, self.package)):
            self.files.append(file)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if not file_of(frame, self.package) or not (products := products_in(frame.f_code)):
            return None
        frame.f_trace_opcodes = True

        def at_opcode(frame: FrameType, event: str, argument: Any) -> None:
            if event == "opcode" and frame.f_lasti in products:
                self.stop()

        return at_opcode


def file_of(frame: FrameType, package: Path) -> str:
    """The file of a frame, relative to the package; empty for other code."""
    path = Path(frame.f_code.co_filename)
    return str(path.relative_to(package)) if path.is_relative_to(package) else ""


def products_in(code: CodeType) -> set[int]:
    """Where the operator ``@`` is in the bytecode."""
    return {each.offset for each in dis.get_instructions(code) if each.argrepr == "@"}


def way_of_X(package: Path) -> Way:
    """From ``MLPClassifier.fit`` to the first matrix product of the network."""
    from mlp_xp.estimators import MLPClassifier

    random = np.random.default_rng(0)
    X, y = random.random((60, 4)), np.arange(60) % 3
    MLPClassifier((5,), max_iter=1).fit(X, y)
    estimator = MLPClassifier((5,), max_iter=1)
    with Recorder(package, to_first_product=True) as recorder:
        estimator.fit(X, y)
    return recorder.way()


def way_of_f(package: Path) -> Way:
    """From ``gradcheck`` to the verdict on a right gradient."""
    from textbook_numpy import backward, cross_entropy, forward, problem

    import mlp_xp

    X, y, *params = problem((8, 5, 4, 3), "float64")

    def f(*params: Any) -> Any:
        return cross_entropy(forward(X, *params)[0], y)

    def grad(*params: Any) -> Any:
        return backward(forward(X, *params)[1], y, params[2])

    mlp_xp.gradcheck(f, grad, params)
    with Recorder(package) as recorder:
        report = mlp_xp.gradcheck(f, grad, params)
    assert report.ok, report
    return recorder.way()


# --- the way of the learning rate ------------------------------------------------------------------------------------


def way_of_rate(package: Path) -> list[tuple[str, str]]:
    """File and name, in order, from the option ``--lr`` to the optimizer's update."""
    from mlp_xp.cli import main

    found: dict[tuple[str, str], None] = {}
    containers: list[object] = []  # kept alive, so that no identity is used twice

    def look(frame: FrameType) -> bool:
        """Record the names in a frame of the package that hold the rate; whether this is the optimizer."""
        file = file_of(frame, package)
        names = [*names_holding_rate(frame, containers)] if file else []
        found.update(dict.fromkeys((file, name) for name in names))
        return file == "optim.py" and bool(names)

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event in ("call", "return") and look(frame):
            sys.setprofile(None)
            while frame.f_back is not None:  # the callers, whose variables may have been set since they were called
                frame = frame.f_back
                look(frame)

    with tempfile.TemporaryDirectory() as folder:
        model = ["--output", f"{folder}/model.safetensors", "--picture", "none", "--quiet"]
        sys.setprofile(profile)
        try:
            status = main(["train", "iris", "--preset", "medium", "--lr", str(RATE), "--max-iter", "1", *model])
        finally:
            sys.setprofile(None)
    assert status == 0, "mlp-xp train failed"
    return list(found)


def names_holding_rate(frame: FrameType, containers: list[object]) -> Iterator[str]:
    """Variables, keys and fields that hold the rate; of a dict or record in ``containers`` none, new ones go there."""
    for name, value in frame.f_locals.items():
        if is_rate(value) or (isinstance(value, list) and value and is_rate(value[0])):
            yield name
            continue
        keys = [key for key, held in items_of(value) if is_rate(held)]
        if keys and not any(value is seen for seen in containers):
            containers.append(value)
            yield from keys


def items_of(value: Any) -> Iterator[tuple[str, object]]:
    """Keys and values of a dict, fields and values of a NamedTuple; none of anything else."""
    if isinstance(value, dict):
        yield from ((str(key), held) for key, held in value.items())
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from zip(value._fields, value, strict=True)


def is_rate(value: object) -> bool:
    """Whether this is the number that was given to ``--lr``."""
    return isinstance(value, float) and value == RATE


# --- what the source says --------------------------------------------------------------------------------------------


class Body(NamedTuple):
    """The length of a function's body, and where it is."""

    lines: int
    function: str


class SingleCall(NamedTuple):
    """How many arguments the only call of a function passes, and where the function is."""

    arguments: int
    function: str


def sources(package: Path) -> dict[str, str]:
    """Path relative to the package -> text."""
    return {str(path.relative_to(package)): path.read_text("utf-8") for path in sorted(package.rglob("*.py"))}


def functions_in(files: dict[str, str]) -> Iterator[tuple[str, Function]]:
    """File and definition of every function and method."""
    for file, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function):
                yield file, node


def bodies(files: dict[str, str]) -> list[Body]:
    """Every function, longest body first."""
    found = []
    for file, function in functions_in(files):
        statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
        lines = (function.end_lineno or 0) - statements[0].lineno + 1 if statements else 0
        found.append(Body(lines, f"{file}:{function.lineno} {function.name}"))
    return sorted(found, reverse=True)


def single_calls(files: dict[str, str]) -> list[SingleCall]:
    """Functions that the package calls in one place alone, with more than ``ARGUMENTS`` arguments."""
    calls: dict[str, list[ast.Call]] = {}
    for text in files.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                calls.setdefault(name, []).append(node)
    defined = Counter(function.name for _, function in functions_in(files))
    found = []
    for file, function in functions_in(files):
        if defined[function.name] == 1 and len(sites := calls.get(function.name, [])) == 1:
            passed = len(sites[0].args) + len(sites[0].keywords)
            if passed > ARGUMENTS:
                found.append(SingleCall(passed, f"{file}:{function.lineno} {function.name}"))
    return sorted(found, reverse=True)


def lines_of_code(text: str) -> int:
    """Lines that are neither blank, nor a comment, nor part of a docstring."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                documented.update(range(statement.lineno, (statement.end_lineno or 0) + 1))
    numbered = enumerate(map(str.strip, text.splitlines()), start=1)
    return sum(bool(line) and not line.startswith("#") and number not in documented for number, line in numbered)


def lines_by_folder(files: dict[str, str]) -> dict[str, int]:
    """Lines of code of each folder of the package, and of all; the files beside the folders are ``mlp_xp``."""
    lines: Counter[str] = Counter()
    for file, text in files.items():
        lines[str(Path("mlp_xp", file).parent.as_posix())] += lines_of_code(text)
    return {**lines, "in all": lines.total()}


# --- report ----------------------------------------------------------------------------------------------------------


def measure(package: Path) -> dict[str, Any]:
    """All of it, as JSON has it."""
    files = sources(package)
    lengths = bodies(files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch does not converge
        ways = {"X": way_of_X(package)._asdict(), "f": way_of_f(package)._asdict()}
        rate = way_of_rate(package)
    return {
        **ways,
        "lr": {
            "files": len({file for file, _ in rate}),
            "names": len({"--lr", *(name for _, name in rate)}),
            "way": rate,
        },
        "bodies": {
            "longest": lengths[:10],
            f"over {SHORT}": sum(body.lines > SHORT for body in lengths),
            f"over {LONG}": sum(body.lines > LONG for body in lengths),
        },
        "called once": single_calls(files),
        "lines": lines_by_folder(files),
    }


def report(found: dict[str, Any]) -> None:
    """All of it, for a reader."""
    for name, way in (("X from fit to the first product", "X"), ("f from gradcheck to the verdict", "f")):
        calls, files, changes = found[way].values()
        print(f"{name}: {calls:,} calls, {files} files, {changes:,} changes of file")
    print(
        f"lr from the command to the update: {found['lr']['files']} files, {found['lr']['names']} names, --lr included"
    )
    for file, name in found["lr"]["way"]:
        print(f"    {file:28}{name}")
    over = found["bodies"]
    print(f"\nbodies over {SHORT} lines: {over[f'over {SHORT}']}, over {LONG}: {over[f'over {LONG}']}; the longest:")
    for lines, function in over["longest"]:
        print(f"    {lines:4}  {function}")
    print(f"\ncalled in one place, with more than {ARGUMENTS} arguments (an estimate): {len(found['called once'])}")
    for count, function in found["called once"]:
        print(f"    {count:4}  {function}")
    print("\nlines of code, without blanks, comments and docstrings:")
    for folder, lines in found["lines"].items():
        print(f"    {lines:6,}  {folder}")


def main() -> None:
    """Measure one checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("--root", type=Path, default=here, metavar="CHECKOUT", help="by default that of this script")
    parser.add_argument("--json", action="store_true", help="print an object in place of the tables")
    options = parser.parse_args()
    root = options.root.resolve()
    sys.path.insert(0, str(root))
    found = measure(root / "mlp_xp")
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        report(found)


if __name__ == "__main__":
    piped.run(main)
