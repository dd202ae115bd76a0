"""An ensemble of k networks in one run: is its prediction better than one network's, and what does the run cost?

    python scripts/ensembles.py [--quick] [--save FILE.json]

Quality: on scikit-learn's digits and three of its tables, the log-loss of the averaged probabilities on held-out rows,
beside the mean log-loss of the members. Time: an epoch of k networks in one run, divided by an epoch of one network
and by k of these, on the digits. Each library has a process of its own; one network and k take turns.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import piped
from benchmark import machine
from sklearn import datasets
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from worker import Worker

import mlp_xp as mx
from mlp_xp.train import train

K = 8
TABLES = ("digits", "iris", "wine", "breast_cancer")
LIBRARIES = {"NumPy": ("numpy", ""), "PyTorch": ("torch", ""), "JAX, compiled": ("jax.numpy", "jax.jit")}


def split(name: str, seed: int) -> tuple[Any, Any, Any, Any]:
    """Standardised rows to learn from and rows held out, three to one, and the labels of both."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=seed)
    mean, deviation = X_train.mean(axis=0), X_train.std(axis=0)
    deviation[deviation == 0.0] = 1.0  # a pixel that is always white
    return (X_train - mean) / deviation, (X_test - mean) / deviation, y_train, y_test


def quality(name: str, splits: int) -> dict[str, Any]:
    """Log-losses on the held-out rows: of each split the mean of the members', and that of their mean."""
    rows: dict[str, Any] = {"data": name, "one": [], "ensemble": []}
    for seed in range(splits):
        X, X_test, y, y_test = split(name, seed)
        params = mx.init_params((X.shape[1], 100, int(y.max()) + 1), seed=100 * seed, ensemble=K)
        *_, epoch = train(X, y, params, epochs=60, lr=3e-3, batch_size=64, seed=seed, activation="relu")
        p: Any = mx.predict_proba(X_test, *epoch.params, activation="relu")
        rows["one"].append(statistics.mean(log_loss(y_test, each) for each in p))
        rows["ensemble"].append(log_loss(y_test, p.mean(axis=0)))
    return rows


def work(pipe: Connection, library: str) -> None:
    """Answer a pair (networks, epochs) with the seconds of an epoch, the median over all but the first."""
    name, compiler = LIBRARIES[library]
    xp = importlib.import_module(name)
    module, _, function = compiler.rpartition(".")
    compiled = getattr(importlib.import_module(module), function) if module else None
    X, _, y, _ = split("digits", 0)
    X, y = xp.asarray(X, dtype=xp.float32), xp.asarray(y)
    for count, epochs in iter(pipe.recv, None):
        params = mx.init_params((64, 100, 10), xp=xp, dtype=xp.float32, ensemble=count)
        options: dict[str, Any] = {"batch_size": 200, "activation": "relu", "compile": compiled}
        *_, last = train(X, y, params, epochs=epochs, **options)
        ends = [record.seconds for record in last.history]
        pipe.send(statistics.median(np.diff(ends).tolist()))


def times(library: str, rounds: int, epochs: int) -> dict[str, Any]:
    """The medians over the rounds of the seconds of an epoch of one network and of k, and of their ratio."""
    worker = Worker(work, library)
    pairs = []
    for number in range(rounds):
        order = (None, K) if number % 2 else (K, None)
        seconds = {count: worker.ask((count, epochs)) for count in order}
        pairs.append((seconds[None], seconds[K]))
    worker.stop()
    one, together = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(k / single for single, k in pairs)
    return {"library": library, "one": one, "together": together, "ratio": ratio, "of k runs": ratio / K}


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute: few splits and rounds")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="write the results and what machine it was")
    arguments = parser.parse_args()
    splits, rounds, epochs = (2, 3, 8) if arguments.quick else (10, 15, 15)
    results: dict[str, Any] = {"machine": machine(), "members": K, "quality": [], "times": []}
    print(f"log-loss on held-out rows, mean over {splits} splits: one network | {K} averaged | splits it was better in")
    for name in TABLES:
        row = quality(name, splits)
        results["quality"].append(row)
        better = sum(both < one for one, both in zip(row["one"], row["ensemble"], strict=True))
        print(f"{name:14} {statistics.mean(row['one']):7.4f} | {statistics.mean(row['ensemble']):7.4f} | {better}")
    print(f"an epoch of digits, 64-100-10: one network | {K} in one run | ratio | of {K} single runs")
    for library in LIBRARIES:
        row = times(library, rounds, epochs)
        results["times"].append(row)
        milliseconds = f"{1e3 * row['one']:6.2f} ms | {1e3 * row['together']:6.2f} ms"
        print(f"{library:14} {milliseconds} | {row['ratio']:5.2f} | {row['of k runs']:4.2f}")
    if arguments.save:
        arguments.save.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    piped.run(main)
