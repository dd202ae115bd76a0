"""Accuracy and time of ``mlp_xp.estimators.MLPClassifier`` against scikit-learn's, same configuration, same seeds.

    python scripts/compare_sklearn.py [FOLDER ...] [--quick] [--save FILE.json]

A FOLDER holds IDX files, such as those of MNIST; digits is always compared. Each library runs in a process of its own
and the parent process asks them in turn. Method: scripts/results/README.md.
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
import piped
from benchmark import machine
from worker import Worker

from mlp_xp import data

SEEDS = range(5)
WIDTHS = (100, 256, 800)
TIME_LIMIT = 0.6  # the time of an epoch, ours divided by scikit-learn's
LIBRARIES = ("numpy", "torch", "jax", "jax compiled")  # "torch compiled" needs a C++ compiler
NAMESPACES = {"jax": "jax.numpy"}
PAUSE_SECONDS = 0.1  # the other side's idle threads spin for a while before they sleep


class Task(NamedTuple):
    """One training run: one hidden layer of ``width`` units, scikit-learn's defaults, every epoch run.

    judged: whether the accuracy on the test set is wanted.
    """

    source: str
    dtype: str
    rows: int | None
    width: int
    seed: int
    epochs: int
    judged: bool


# --- worker ------------------------------------------------------------------------------------------------------


class Ticks(io.TextIOBase):
    """A standard output that notes when each ``Iteration`` line comes: both libraries print one after each epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def write(self, text: str) -> int:
        """Note the time of a line that ends an epoch."""
        if text.startswith("Iteration"):
            self.times.append(time.perf_counter())
        return len(text)


def problem(source: str, dtype: str, rows: int | None) -> tuple[Any, Any, Any, Any]:
    """X, y, X_test, y_test: digits standardised, images as pixels of 0 to 1."""
    opened = data.open_data(source)
    (read,) = opened.chunks(None)
    X, y = read.X.astype(dtype), read.y
    assert y is not None, f"{source} has no targets"
    if opened.test is None:
        kept, held = data.hold_out(0.2, 0, len(X), y)
        X, y, X_test, y_test = X[kept], y[kept], X[held], y[held]
    else:
        (test,) = opened.test.chunks(None)
        assert test.y is not None, f"the test set of {source} has no targets"
        X_test, y_test = test.X.astype(dtype), test.y
    if source == "digits":
        mean, spread = X.mean(axis=0), X.std(axis=0)
        spread[spread == 0] = 1
        X, X_test = (X - mean) / spread, (X_test - mean) / spread
    return X[:rows], y[:rows], X_test, y_test


def work(pipe: Connection, library: str) -> None:
    """Answer each task: seconds of each epoch but the first, and the accuracy on the test set if it is wanted."""
    warnings.simplefilter("ignore")  # too few epochs to converge, on purpose
    name, _, compiled = library.partition(" ")
    options: dict[str, Any] = {}
    if name == "sklearn":
        from sklearn.neural_network import MLPClassifier
    else:
        from mlp_xp.estimators import MLPClassifier

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
        seconds = np.diff(
            ticks.times
        ).tolist()  # the first epoch holds the checks and the compilation: it does not count
        pipe.send((seconds, float(estimator.score(X_test, y_test)) if task.judged else None))


# --- what is compared --------------------------------------------------------------------------------------------


def accuracies(workers: dict[str, Worker], task: Task, seeds: Sequence[int]) -> dict[str, Any]:
    """Mean test accuracy of each library and its spread over the seeds."""
    scores: dict[str, list[float]] = {library: [] for library in workers}
    for seed in seeds:
        for library, worker in workers.items():
            scores[library].append(worker.ask(task._replace(seed=seed))[1])
    return {
        library: {"mean": statistics.mean(each), "spread": statistics.stdev(each), "scores": each}
        for library, each in scores.items()
    }


def times(workers: dict[str, Worker], task: Task, rounds: int) -> dict[str, Any]:
    """Milliseconds of an epoch of each library, and the ratio to scikit-learn's of the same round over the rounds."""
    seconds: dict[str, list[float]] = {library: [] for library in workers}
    for number in range(rounds):
        for library in list(workers)[:: -1 if number % 2 else 1]:
            each, _ = workers[library].ask(task._replace(seed=number))
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
    """Milliseconds of the matrix products of an epoch alone, in steps of 200 rows: a bound that no code can beat."""
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
    """Whether a target is met, in a word."""
    return "met" if met else "missed"


def report_accuracy(results: dict[str, Any]) -> None:
    """Judge and print the accuracies of one data set."""
    theirs = results["accuracy"]["sklearn"]
    for library, each in results["accuracy"].items():
        # the spread over seeds is the resolution of such a mean
        each["met"] = each["mean"] >= theirs["mean"] - theirs["spread"]
        judged = "" if library == "sklearn" else f"   {verdict(each['met'])}"
        print(f"    {library:14}{each['mean']:.4f} +- {each['spread']:.4f}{judged}", flush=True)


def report_times(row: dict[str, Any]) -> None:
    """Judge and print the times at one width."""
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
    """Accuracies and times on one data set."""
    small = source == "digits"
    n, d_in = problem(source, "float64", None)[0].shape
    workers = {library: Worker(work, library) for library in ("sklearn", *libraries)}
    results: dict[str, Any] = {"data": Path(source).name, "rows": n, "d_in": d_in, "times": []}
    rows, epochs = (None, 10 if quick else 60) if small else ((2000, 3) if quick else (12_000, 10))
    results["accuracy_task"] = {"rows": rows, "epochs": epochs, "width": 100}
    seeds = SEEDS[:2] if quick else SEEDS
    print(f"{results['data']}: test accuracy after {epochs} epochs, {len(seeds)} seeds, width 100", flush=True)
    results["accuracy"] = accuracies(workers, Task(source, "float64", rows, 100, 0, epochs, True), seeds)
    report_accuracy(results)
    rows = None if small else (2000 if quick else 6000)
    rounds, epochs = (2, 5) if quick else (9, 16) if small else (5, 4)
    print(
        f"{results['data']}: time of an epoch of {rows or n} rows, ratio to scikit-learn's (middle half)",
        flush=True,
    )
    for dtype in ("float64", "float32"):
        for width in WIDTHS:
            row: dict[str, Any] = {"dtype": dtype, "width": width, "rows": rows or n}
            row["times"] = times(workers, Task(source, dtype, rows, width, 0, epochs, False), rounds)
            row["products_ms"] = products(d_in, width, row["rows"], dtype)
            report_times(row)
            results["times"].append(row)
    for worker in workers.values():
        worker.stop()
    return results


def main() -> None:
    """Compare on every data set; print and save."""
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
        if options.save:  # after each data set: a run that is stopped keeps what it has
            options.save.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    piped.run(main)
