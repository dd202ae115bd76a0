"""Which mistakes in the package's own code its tests notice.

``python scripts/mutants.py [--seed 0] [--count 400] [--jobs 2] [--save scripts/results/mutants.json] [FILE ...]``
draws mutants of the core, or of the named ones of its files. A mutant is a file with one small mistake: a comparison
turned or shifted, + for -, * for /, a number doubled, halved or lost, a term dropped, arguments swapped, a verdict
exchanged. Each is written into a temporary copy, never into the checkout, and the tests of its file run there until
one fails. One that runs far too long is killed as well. A mutant is drawn by the hash of its name, so that a change of
the code brings few others into the sample.

``--save`` names a file that is rewritten whole after each mutant. The same command goes on where it stopped; with
``--again`` it tries those that survived once more. A mutant that changes nothing anybody could see is marked there by
hand, ``"equivalent": "the reason"``, and is not counted. Prints each mutant, and how many were killed. 400 take an hour
or two on two cores.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import piped

ROOT = Path(__file__).parents[1]

_LOOP, _CHECK, _ARGUMENTS = ("train/loop",), ("gradcheck/check",), ("_lib/arguments",)
_ROWS = ("train/accumulate", "train/members", "train/compiling", "train/source", "train/sixteen_bits")

# Source file of mlp_xp -> its tests, those that fail soonest first.
TESTED_BY = {
    "ops": ("ops", "mlp", "autodiff", *_ARGUMENTS, "cost", "cost_memory"),
    "losses": ("losses", "criteria", "mlp", "autodiff", "curvature", "inside", *_ARGUMENTS, "cost", "cost_memory"),
    "mlp": (
        "mlp",
        "records",
        "per_example",
        "autodiff",
        "inside",
        "losses",
        *_ARGUMENTS,
        "train/sixteen_bits",
        "cost_memory",
    ),
    "dropout": ("dropout", *_ARGUMENTS),
    "optim": ("optim", *_ARGUMENTS, "checkpoint"),
    "schedules": ("schedules", *_ARGUMENTS),
    "metrics": ("metrics", *_ARGUMENTS, *_LOOP),
    "cost": ("cost", "cost_scaling", "cost_memory", *_ARGUMENTS),
    "checkpoint": ("checkpoint", *_ARGUMENTS),
    "train/compiling": ("train/compiling", *_LOOP),
    "train/dataset": (*_LOOP, *_ROWS, *_ARGUMENTS),
    "train/divergence": (*_LOOP, "train/members", "train/stream"),
    "train/epoch": (*_LOOP, "train/members", "checkpoint"),
    "train/evaluate": (*_LOOP, "train/members"),
    "train/loop": (
        *_LOOP,
        *_ARGUMENTS,
        "train/members",
        "train/accumulate",
        "train/stream",
        "train/compiling",
        "train/ranks",
    ),
    "train/members": ("train/members", *_LOOP),
    "train/plan": (*_LOOP, "train/accumulate", "train/stream", "train/members", "train/ranks"),
    "train/replaying": ("train/replaying",),
    "train/results": (*_LOOP, "train/members", "train/accumulate"),
    "train/scale": ("train/sixteen_bits",),
    "train/settings": (*_LOOP, *_ARGUMENTS, "train/members"),
    "train/sharding": ("train/sharding", "train/ranks"),
    "train/source": ("train/source", "train/stream", *_ARGUMENTS),
    "train/step": (*_LOOP, "train/accumulate", "train/sixteen_bits", "train/members", "train/ranks"),
    "train/stream": ("train/stream", *_ARGUMENTS, *_LOOP),
    "gradcheck/arrays": ("gradcheck/arrays", "gradcheck/contract", *_CHECK, "gradcheck/forms"),
    "gradcheck/blind_spots": (*_CHECK, "gradcheck/evidence", "gradcheck/kinks", "gradcheck/explain"),
    "gradcheck/check": (
        *_CHECK,
        "gradcheck/contract",
        "gradcheck/evidence",
        "gradcheck/report",
        "gradcheck/entries",
        *_ARGUMENTS,
    ),
    "gradcheck/contract": ("gradcheck/contract", *_CHECK, "gradcheck/products"),
    "gradcheck/derivatives": ("gradcheck/dual", *_CHECK),
    "gradcheck/dual": ("gradcheck/dual",),
    "gradcheck/elsewhere": ("gradcheck/elsewhere", *_CHECK, "gradcheck/kinks", "gradcheck/evidence"),
    "gradcheck/entries": ("gradcheck/entries", *_CHECK),
    "gradcheck/evidence": tuple(
        f"gradcheck/{name}" for name in ("judge", "evidence", "local", "units", "precision", "coincidences", "check")
    ),
    "gradcheck/explain": ("gradcheck/explain", "gradcheck/coincidences", "gradcheck/precision"),
    "gradcheck/factors": ("gradcheck/factors", "gradcheck/explain", "gradcheck/patterns"),
    "gradcheck/forms": ("gradcheck/forms", "gradcheck/products", *_CHECK),
    "gradcheck/judge": ("gradcheck/judge", "gradcheck/evidence", *_CHECK),
    "gradcheck/kinks": ("gradcheck/kinks",),
    "gradcheck/local": ("gradcheck/local", "gradcheck/domains", *_CHECK, "gradcheck/units", "gradcheck/precision"),
    "gradcheck/patterns": ("gradcheck/patterns", "gradcheck/explain"),
    "gradcheck/products": ("gradcheck/products", *_ARGUMENTS),
    "gradcheck/report": ("gradcheck/report", *_CHECK),
    "gradcheck/slopes": ("gradcheck/slopes", "gradcheck/local", "gradcheck/units"),
}

# Lines that arrays of these libraries alone reach.
OTHER_BACKENDS = {
    "gradcheck/dual": ("torch",),
    "gradcheck/forms": ("torch", "jax"),
    "gradcheck/products": ("torch", "array_api_strict"),
    "train/compiling": ("torch", "jax"),
    "train/dataset": ("torch",),
    "train/sharding": ("jax",),
    "train/step": ("array_api_strict",),
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
    """The whole source with one mistake, and the name of the mistake, see ``names_of``."""

    file: str
    name: str
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
    match node:
        case ast.keyword(arg="strict") | ast.Subscript(value=ast.Name(id="Literal")):
            return  # nobody sees a guard fail that holds
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for position, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(child, ast.AST):
                yield node, field, position
                yield from places(child)


def mistakes(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST, ast.AST]]:
    """Each mistake: the place, as ``places`` says it, what stands there and what could stand there."""
    for parent, field, position in places(tree):
        siblings = getattr(parent, field)
        node = siblings if position is None else siblings[position]
        for other in replacements(node):
            yield parent, field, position, node, other


def tree_of(file: str) -> ast.Module:
    """The source file, read."""
    return ast.parse((ROOT / "mlp_xp" / f"{file}.py").read_text())


def names_of(file: str) -> Iterator[str]:
    """For each mistake of a file its name: what stood there, what stands there, and the how manieth such one it is.

    A name has no line number: it outlives changes elsewhere in the file, but for that count.
    """
    seen = Counter[str]()
    for *_, node, other in mistakes(tree_of(file)):
        name = " ".join(f"{file}.py: {ast.unparse(node)}  ->  {ast.unparse(other)}".split())
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"


def mutant(file: str, number: int, name: str) -> Mutant:
    """The file with its mistake of that number."""
    tree = tree_of(file)
    parent, field, position, _, other = next(itertools.islice(mistakes(tree), number, None))
    if position is None:
        setattr(parent, field, other)
    else:
        getattr(parent, field)[position] = other
    return Mutant(file, name, ast.unparse(ast.fix_missing_locations(tree)))


def copied_to(folder: Path) -> Path:
    """The folder, with a copy of what the tests need."""
    for name in ("mlp_xp", "tests", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


def outcome(copied: Path, file: str, limit: float | None = None) -> str:
    """``survived``, ``killed`` where a test of ``file`` fails in the copy, ``hung`` beyond ``limit`` seconds.

    The examples in its docstrings are tests too, the quickest.
    """
    tests = [str(Path("tests", name).with_name(f"test_{Path(name).name}.py")) for name in TESTED_BY[file]]
    options = ("-q", "-x", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly")
    examples = ("--doctest-modules", f"mlp_xp/{file}.py")
    command = [sys.executable, "-B", "-m", "pytest", *options, "--hypothesis-seed=0", *examples, *tests]
    environment = {**os.environ, "PYTHONPATH": str(copied), "OMP_NUM_THREADS": "1"}
    for backend in ("numpy", *OTHER_BACKENDS.get(file, ())):
        every = [*command, "--backend", backend]
        try:
            ran = subprocess.run(every, cwd=copied, env=environment, capture_output=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return "hung"
        if ran.returncode:
            return "killed"
    return "survived"


def tried(copies: queue.Queue[Path], one: Mutant, limit: float) -> str:
    """What became of the mutant, in a copy that nobody else uses meanwhile."""
    copied = copies.get()
    path = copied / "mlp_xp" / f"{one.file}.py"
    original = path.read_text()
    try:
        path.write_text(one.source)
        return outcome(copied, one.file, limit)
    finally:
        path.write_text(original)
        copies.put(copied)


def saved(path: Path | None, plan: dict[str, Any]) -> dict[str, Any]:
    """What the file says of the same plan, or nothing yet. The marks of equivalent mutants outlive a change of plan."""
    empty: dict[str, Any] = {"plan": plan, "clean": [], "mutants": {}}
    if path is None or not path.exists():
        return empty
    found: dict[str, Any] = json.loads(path.read_text())
    if found["plan"] == plan:
        return found
    marked = {name: entry for name, entry in found["mutants"].items() if "equivalent" in entry}
    return {**empty, "mutants": marked}


def rewrite(path: Path | None, result: dict[str, Any]) -> None:
    """Write the result, whole or not at all."""
    if path is not None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result, indent=1) + "\n")
        part.replace(path)


def summary(drawn: list[Mutant], result: dict[str, Any], of: int) -> str:
    """How many were killed of those that are not equivalent, in one sentence."""
    entries = [result["mutants"][each.name] for each in drawn if each.name in result["mutants"]]
    counted = [entry for entry in entries if "equivalent" not in entry]
    killed = sum(entry["outcome"] != "survived" for entry in counted)
    return (
        f"{killed} of {len(counted)} killed, {len(entries) - len(counted)} equivalent, "
        f"{len(drawn) - len(entries)} of {len(drawn)} not tried; drawn from {of}"
    )


def suspicious(drawn: list[Mutant], result: dict[str, Any]) -> list[str]:
    """The files all of whose mutants died: tests that fail anyway would kill each of them."""
    alive = {each.file for each in drawn if result["mutants"][each.name]["outcome"] == "survived"}
    return sorted({each.file for each in drawn} - alive - set(result["clean"]))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", default=list(TESTED_BY), metavar="FILE", help="by default the whole core")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2, help="how many are tried at a time")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a mutant is killed")
    parser.add_argument("--save", type=Path, help="a JSON file with the results, from which the same command goes on")
    parser.add_argument("--again", action="store_true", help="try again those that survived")
    options = parser.parse_args()
    if unknown := sorted(set(options.files) - set(TESTED_BY)):
        parser.error(f"FILE must be of {', '.join(TESTED_BY)}, got {', '.join(unknown)}")
    return options


def main() -> None:
    """Draw mutants, run the tests on each, print what became of it."""
    options = arguments()
    everything = [(file, number, name) for file in options.files for number, name in enumerate(names_of(file))]

    def lot(one: tuple[str, int, str]) -> bytes:
        return hashlib.sha256(f"{options.seed} {one[2]}".encode()).digest()

    drawn = [mutant(*one) for one in sorted(everything, key=lot)[: options.count]]
    result = saved(options.save, {"seed": options.seed, "count": options.count, "files": options.files})

    def is_open(one: Mutant) -> bool:
        entry = result["mutants"].get(one.name)
        return entry is None or (options.again and entry["outcome"] == "survived" and "equivalent" not in entry)

    waiting = [each for each in drawn if is_open(each)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        copies: queue.Queue[Path] = queue.Queue()
        for job in range(options.jobs):
            copies.put(copied_to(Path(folder, str(job))))
        running = {pool.submit(tried, copies, each, options.limit): each.name for each in waiting}
        for done in as_completed(running):
            result["mutants"][running[done]] = {"outcome": done.result()}
            rewrite(options.save, {**result, "summary": summary(drawn, result, len(everything))})
            print(f"{done.result():8} {running[done]}", flush=True)
        for file in suspicious(drawn, result):
            if outcome(copies.queue[0], file) != "survived":
                sys.exit(f"the tests of {file} fail without any mistake")
            result["clean"].append(file)
    rewrite(options.save, {**result, "summary": summary(drawn, result, len(everything))})  # with the latest marks
    print(summary(drawn, result, len(everything)))


if __name__ == "__main__":
    piped.run(main)
