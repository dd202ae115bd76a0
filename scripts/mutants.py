"""Which mistakes in the checker's own code its tests notice.

``python scripts/mutants.py [--seed N] [--count 100] [FILE ...]`` draws mutants of the judge, the evidence and the
slopes (noise included), or of the named ones of these files. A mutant is the file with one small mistake: a comparison
turned or shifted, + for -, * for /, a number doubled, halved or lost, a term dropped, arguments swapped, a verdict
exchanged. Each is written into a temporary copy, never into the checkout, and the tests of its file run there until one
fails. One that runs far too long is killed as well. Prints each mutant, and how many were killed. Takes ten minutes.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE, TESTS = Path("mlp_xp/gradcheck"), Path("tests/gradcheck")

# Source file -> its tests, those that fail soonest first.
TESTED_BY = {
    "judge": ("judge",),
    "evidence": ("judge", "evidence", "local", "units", "precision", "coincidences", "check"),
    "slopes": ("slopes",),
}

PAIRS: tuple[tuple[type[ast.AST], type[ast.AST]], ...] = (
    *((ast.Lt, ast.GtE), (ast.LtE, ast.Gt), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn)),
    *((ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.And, ast.Or)),
)
OPPOSITE = {ast.Pow: ast.Mult} | dict(PAIRS) | {b: a for a, b in PAIRS}
SHIFTED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
VERDICTS = {"pass": "fail", "fail": "inconclusive", "inconclusive": "pass"}


class Mutant(NamedTuple):
    """The whole source with one mistake; the line, and what stood there and stands there now."""

    file: str
    line: int
    before: str
    after: str
    source: str


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Copies of ``node``, each with one mistake."""

    def changed(**fields: object) -> ast.AST:
        other = copy.copy(node)
        for name, value in fields.items():
            setattr(other, name, value)
        return other

    match node:
        case ast.Compare(ops=[op]):
            yield from (changed(ops=[table[type(op)]()]) for table in (OPPOSITE, SHIFTED) if type(op) in table)
        case ast.Compare(ops=[first, *rest]):
            yield changed(ops=[OPPOSITE[type(first)](), *rest])
            yield changed(ops=[first, *(OPPOSITE[type(op)]() for op in rest)])
        case ast.BinOp(op=op, left=left, right=right) if type(op) in OPPOSITE:
            yield changed(op=OPPOSITE[type(op)]())
            if isinstance(op, ast.Add | ast.Sub):
                yield from (left, right)
        case ast.BoolOp(op=op, values=values):
            yield changed(op=OPPOSITE[type(op)]())
            yield from (changed(values=[*values[:i], *values[i + 1 :]]) for i in range(len(values)))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.IfExp(body=body, orelse=orelse):
            yield from (body, orelse)
        case ast.Call(func=ast.Name(id=name)) if name in NAMES:
            yield changed(func=ast.Name(NAMES[name], ast.Load()))
        case ast.Call(args=[ast.Name() as first, ast.Name() as second, *rest]):
            yield changed(args=[second, first, *rest])
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield from map(ast.Constant, {value + 1 if not value else 2 * value, value // 2, 0} - {value})
        case ast.Constant(value=float(value)):
            yield from map(ast.Constant, {2.0 * value if value else 1.0, 0.5 * value, 0.0} - {value})
        case ast.Constant(value=str(value)) if value in VERDICTS:
            yield ast.Constant(VERDICTS[value])


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Each node below ``node``, but for types and guards: its parent, the field of that, the position in the field."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns") or ast.unparse(node).startswith(("Literal[", "strict=")):
            continue  # nobody sees a guard fail that holds
        for position, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(child, ast.AST):
                yield node, field, position
                yield from places(child)


def mutants(file: str) -> list[Mutant]:
    """All mutants of a source file."""
    tree = ast.parse((ROOT / PACKAGE / f"{file}.py").read_text())
    found = []
    for parent, field, position in places(tree):
        siblings = getattr(parent, field)
        node = siblings if position is None else siblings[position]
        for other in replacements(node):
            whole = other if position is None else [*siblings[:position], other, *siblings[position + 1 :]]
            setattr(parent, field, whole)
            source = ast.unparse(ast.fix_missing_locations(tree))
            setattr(parent, field, siblings)
            found.append(Mutant(file, getattr(node, "lineno", 0), ast.unparse(node), ast.unparse(other), source))
    return found


def fails(copied: Path, file: str, limit: float | None = None) -> bool:
    """Whether a test of ``file`` fails in the copy, or takes longer than ``limit`` seconds."""
    tests = [str(TESTS / f"test_{name}.py") for name in TESTED_BY[file]]
    options = ("-q", "-x", "--no-header", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-seed=0")
    command = [sys.executable, "-B", "-m", "pytest", *options, *tests]
    environment = {**os.environ, "PYTHONPATH": str(copied), "OMP_NUM_THREADS": "1"}
    try:
        return bool(subprocess.run(command, cwd=copied, env=environment, capture_output=True, timeout=limit).returncode)
    except subprocess.TimeoutExpired:
        return True


def main() -> None:
    """Draw mutants, run the tests on each, print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", default=list(TESTED_BY), metavar="FILE", help=", ".join(TESTED_BY))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    everything = [mutant for file in options.files for mutant in mutants(file)]
    drawn = random.Random(options.seed).sample(everything, min(options.count, len(everything)))
    with tempfile.TemporaryDirectory() as folder:
        copied, limits = Path(folder), {}
        for name in ("mlp_xp", "tests", "scripts"):
            shutil.copytree(ROOT / name, copied / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copied)
        for file in options.files:
            start = time.perf_counter()
            if fails(copied, file):
                sys.exit(f"the tests of {file} fail without any mistake")
            limits[file] = 5.0 + 2.0 * (time.perf_counter() - start)
        killed = 0
        for mutant in drawn:
            path = copied / PACKAGE / f"{mutant.file}.py"
            original = path.read_text()
            path.write_text(mutant.source)
            dead = fails(copied, mutant.file, limits[mutant.file])
            path.write_text(original)
            killed += dead
            what = f"{mutant.before}  ->  {mutant.after}".replace("\n", " ")
            print(f"{'killed  ' if dead else 'SURVIVED'} {mutant.file}.py:{mutant.line}  {what}", flush=True)
    print(f"{killed} of {len(drawn)} killed; drawn from {len(everything)}, seed {options.seed}")


if __name__ == "__main__":
    main()
