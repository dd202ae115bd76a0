"""Accuracy and time of ``mlp_xp.estimators.MLPClassifier`` against scikit-learn's, same configuration, same seeds.

    python scripts/compare_sklearn.py [FOLDER ...] [--quick] [--save FILE.json]

A FOLDER holds IDX files, as MNIST and its like come; digits is always there. Each library runs in a process of its own
and the parent asks them in turn. Method: scripts/results/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmark import machine
from worker import Worker

from mlp_xp import data

SEEDS = range(5)
WIDTHS = (100, 256, 800)
TIME_LIMIT = 0.6  # ours over scikit-learn's, for an epoch
LIBRARIES = ("numpy", "torch", "jax", "jax compiled")  # "torch compiled" is for those who have a compiler
NAMESPACES = {"jax": "jax.numpy"}
PAUSE_SECONDS = 0.1  # the other side's idle threads spin for a while before they sleep


class Task(NamedTuple):
    """One training run. It takes ``width`` hidden units, the defaults of scikit-learn and no early end."""

    source: str
    dtype: str
    rows: int | None
    width: int
    seed: int
    epochs: int
    judged: bool


# --- worker ------------------------------------------------------------------------------------------------------


class Ticks(io.TextIOBase):
    """Where a verbose estimator writes a line after each epoch, in either library: when it came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def write(self, text: str) -> int:
        if text.startswith("Iteration"):
            self.times.append(time.perf_counter())
        return len(text)


def problem(source: str, dtype: str, rows: int | None) -> tuple[Any, Any, Any, Any]:
    """X, y, X_test, y_test: digits standardised, images as pixels of 0 to 1."""
    opened = data.open_data(source)
    (read,) = opened.chunks(None)
    X, y = read.X.astype(dtype), read.y
    if opened.test is None:
        kept, held = data.hold_out(0.2, 0, len(X), y)
        X, y, X_test, y_test = X[kept], y[kept], X[held], y[held]
    else:
        (test,) = opened.test.chunks(None)
        X_test, y_test = test.X.astype(dtype), test.y
    if source == "digits":
        mean, spread = X.mean(axis=0), X.std(axis=0)
        spread[spread == 0] = 1
        X, X_test = (X - mean) / spread, (X_test - mean) / spread
    return X[:rows], y[:rows], X_test, y_test


def work(pipe: Connection, library: str) -> None:
    """Answer tasks with seconds of each epoch but the first and, where it is judged, the accuracy on the test set."""
    warnings.simplefilter("ignore")  # that it has not converged is intended
    name, _, compiled = library.partition(" ")
    options: dict[str, Any] = {}
    if name == "sklearn":
        from sklearn.neural_network import MLPClassifier
    else:
        from mlp_xp.estimators import MLPClassifier  # type: ignore[assignment]

        module = importlib.import_module(name)
        if name == "jax":
            module.config.update("jax_enable_x64", True)
        if compiled:
            options["compile"] = module.jit if name == "jax" else module.compile
    at_hand: dict[Any, Any] = {}
    while task := pipe.recv():
        key = task[:3]
        if key not in at_hand:
            at_hand.clear()  # one data set at a time
            at_hand[key] = problem(*key)
        X, y, X_test, y_test = at_hand[key]
        if name not in ("sklearn", "numpy"):
            asarray = importlib.import_module(NAMESPACES.get(name, name)).asarray
            X, X_test = asarray(X), asarray(X_test)
        estimator = MLPClassifier(
            (task.width,), random_state=task.seed, max_iter=task.epochs, tol=0.0, n_iter_no_change=task.epochs,
            verbose=True, **options,
        )  # fmt: skip
        time.sleep(PAUSE_SECONDS)
        ticks = Ticks()
        with contextlib.redirect_stdout(ticks):
            estimator.fit(X, y)
        seconds = np.diff(ticks.times).tolist()  # the first has what is done once in it: checks, compilation
        pipe.send((seconds, float(estimator.score(X_test, y_test)) if task.judged else None))


# --- what is compared --------------------------------------------------------------------------------------------


def accuracies(
    workers: dict[str, Worker], source: str, width: int, rows: int | None, epochs: int, seeds: Sequence[int]
) -> dict[str, Any]:
    """Mean test accuracy and its spread over the seeds, of each library."""
    scores: dict[str, list[float]] = {library: [] for library in workers}
    for seed in seeds:
        for library, worker in workers.items():
            scores[library].append(worker.ask(Task(source, "float64", rows, width, seed, epochs, True))[1] or 0.0)
    return {
        library: {"mean": statistics.mean(each), "spread": statistics.stdev(each), "scores": each}
        for library, each in scores.items()
    }


def times(
    workers: dict[str, Worker], source: str, dtype: str, width: int, rows: int | None, epochs: int, rounds: int
) -> dict[str, Any]:
    """Milliseconds of an epoch of each library, and the ratios of the rounds to scikit-learn's of the same round."""
    seconds: dict[str, list[float]] = {library: [] for library in workers}
    for number in range(rounds):
        for library in list(workers)[:: -1 if number % 2 else 1]:
            each, _ = workers[library].ask(Task(source, dtype, rows, width, number, epochs, False))
            seconds[library].append(statistics.median(each))
    ratios = {
        library: [ours / theirs for ours, theirs in zip(each, seconds["sklearn"], strict=True)]
        for library, each in seconds.items()
    }
    return {
        library: {
            "epoch_ms": 1e3 * statistics.median(seconds[library]),
            "ratio": statistics.median(each),
            "quartiles": statistics.quantiles(each, n=4)[::2] if len(each) > 1 else [each[0]] * 2,
        }
        for library, each in ratios.items()
    }


def products(d_in: int, width: int, rows: int, dtype: str, epochs: int = 5) -> float:
    """Milliseconds of the matrix products of an epoch alone, in steps of 200 rows: what no other code can save."""
    random = np.random.default_rng(0)
    n = min(200, rows)
    X, A, Z = (random.random((n, size)).astype(dtype) for size in (d_in, width, 10))
    W1, W2 = random.random((d_in, width)).astype(dtype), random.random((width, 10)).astype(dtype)
    taken = []
    for _ in range(epochs):
        began = time.perf_counter()
        for _ in range(-(-rows // n)):
            _ = X @ W1, A @ W2, A.T @ Z, Z @ W2.T, X.T @ A
        taken.append(time.perf_counter() - began)
    return 1e3 * statistics.median(taken)


def verdict(met: bool) -> str:
    return "met" if met else "missed"


def report_accuracy(results: dict[str, Any]) -> None:
    theirs = results["accuracy"]["sklearn"]
    for library, each in results["accuracy"].items():
        # a mean of five is judged by the spread of theirs
        each["met"] = each["mean"] >= theirs["mean"] - theirs["spread"]
        judged = "" if library == "sklearn" else f"   {verdict(each['met'])}"
        print(f"    {library:14}{each['mean']:.4f} +- {each['spread']:.4f}{judged}", flush=True)


def report_times(row: dict[str, Any]) -> None:
    theirs = row["times"]["sklearn"]
    share = row["products_ms"] / theirs["epoch_ms"]
    print(f"    {row['dtype']}, {row['width']}: {theirs['epoch_ms']:.1f} ms, of it matrix products {share:.0%}")
    for library, each in row["times"].items():
        if library == "sklearn":
            continue
        each["met"] = each["ratio"] <= TIME_LIMIT
        low, high = each["quartiles"]
        middle = f"({low:.2f}-{high:.2f})"
        print(f"        {library:14}{each['epoch_ms']:10.1f} ms{each['ratio']:8.2f} {middle}   {verdict(each['met'])}")
    sys.stdout.flush()


def compare(source: str, libraries: Sequence[str], quick: bool) -> dict[str, Any]:
    """Everything about one data set."""
    small = source == "digits"
    X = problem(source, "float64", None)[0]
    workers = {library: Worker(work, library) for library in ("sklearn", *libraries)}
    results: dict[str, Any] = {"data": Path(source).name, "rows": X.shape[0], "d_in": X.shape[1], "times": []}
    rows, epochs = (None, 10 if quick else 60) if small else ((2000, 3) if quick else (12_000, 10))
    results["accuracy_task"] = {"rows": rows, "epochs": epochs, "width": 100}
    seeds = SEEDS[:2] if quick else SEEDS
    print(f"{results['data']}: test accuracy after {epochs} epochs, {len(seeds)} seeds, width 100", flush=True)
    results["accuracy"] = accuracies(workers, source, 100, rows, epochs, seeds)
    report_accuracy(results)
    rows = None if small else (2000 if quick else 6000)
    rounds, epochs = (2, 5) if quick else (9, 16) if small else (5, 4)
    print(
        f"{results['data']}: time of an epoch of {rows or X.shape[0]} rows, ratio to scikit-learn's (middle half)",
        flush=True,
    )
    for dtype in ("float64", "float32"):
        for width in WIDTHS:
            row = {"dtype": dtype, "width": width, "rows": rows or X.shape[0]}
            row["times"] = times(workers, source, dtype, width, rows, epochs, rounds)
            row["products_ms"] = products(X.shape[1], width, row["rows"], dtype)
            report_times(row)
            results["times"].append(row)
    for worker in workers.values():
        worker.stop()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="of IDX files, besides digits")
    parser.add_argument("--libraries", default=",".join(LIBRARIES), help="ours on these (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="minutes: few rows, seeds, epochs and rounds")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="write the results and what machine it was")
    options = parser.parse_args()
    results = {"machine": machine(), "quick": options.quick, "load_before": os.getloadavg(), "data": []}
    results["machine"]["libraries"]["scikit-learn"] = importlib.metadata.version("scikit-learn")
    for source in ("digits", *options.folders):
        results["data"].append(compare(source, options.libraries.split(","), options.quick))
        if options.save:  # after each: a long run that is stopped has written something
            options.save.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
