"""Does training take more memory where there are more rows? An epoch from files of 20 MB and of 2 GB, of several kinds.

    python scripts/memory_benchmark.py [--small 20] [--large 2000] [--only loop/zarr ...] [--save FILE.json]

Each run has a process of its own. What counts is the peak of its anonymous memory, ``RssAnon`` of
``/proc/self/status`` (Linux alone): its resident memory without the pages of files, which the system takes back when
it likes. The growth from the small file to the large one is to be at most 200 MB. Files are made in a temporary folder,
one after the other, and are deleted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import piped
from benchmark import machine

import mlp_xp as mx
from mlp_xp.train import train

TARGET = 200.0  # MB
WIDTH, CHUNK, GROUP = 784, 512, 2048  # numbers in a row; rows in a chunk, 1.6 MB, and in a group of Parquet
SIZES = (WIDTH, 32, 2)
BATCH = 256


# --- files -------------------------------------------------------------------------------------------------------


def parts(rows: int) -> Iterator[tuple[slice, Any]]:
    """Rows of random numbers in float32, a group at a time."""
    for low in range(0, rows, GROUP):
        here = slice(low, min(low + GROUP, rows))
        yield here, np.random.default_rng(low).random((here.stop - low, WIDTH), dtype=np.float32)


def write_npy(path: Path, rows: int) -> None:
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, WIDTH))
    for here, part in parts(rows):
        X[here] = part
    X.flush()


def write_zarr(path: Path, rows: int) -> None:
    zarr: Any = import_module("zarr")

    X = zarr.create_array(store=str(path), shape=(rows, WIDTH), chunks=(CHUNK, WIDTH), dtype="float32")
    for here, part in parts(rows):
        X[here] = part


def write_hdf5(path: Path, rows: int) -> None:
    h5py: Any = import_module("h5py")

    with h5py.File(path, "w") as file:
        X = file.create_dataset("X", shape=(rows, WIDTH), chunks=(CHUNK, WIDTH), dtype="float32")
        y = file.create_dataset("y", shape=(rows,), dtype="int64")
        for here, part in parts(rows):
            X[here], y[here] = part, labels(part)


def arrow_table(part: Any) -> Any:
    pyarrow: Any = import_module("pyarrow")

    return pyarrow.table({f"x{column}": part[:, column] for column in range(WIDTH)})


def write_parquet(path: Path, rows: int) -> None:
    parquet: Any = import_module("pyarrow.parquet")

    path.mkdir()
    for here, part in parts(rows):
        parquet.write_table(arrow_table(part), path / f"{here.start:09d}.parquet", use_dictionary=False)


def write_csv(path: Path, rows: int) -> None:
    """The target stands in the last column; a number takes some ten characters."""
    csv: Any = import_module("pyarrow.csv")

    with path.open("wb") as file:
        for here, part in parts(rows):
            table = arrow_table(part).append_column("y", [labels(part)])
            csv.write_csv(table, file, csv.WriteOptions(include_header=here.start == 0))


def labels(X: Any) -> Any:
    return (X[:, 0] > 0.5).astype(np.int64)


def open_zarr(path: Path) -> Any:
    zarr: Any = import_module("zarr")

    return zarr.open_array(str(path), mode="r")


def open_hdf5(path: Path) -> Any:
    h5py: Any = import_module("h5py")

    return h5py.File(path)["X"]


def open_parquet(path: Path) -> Any:
    from mlp_xp.data import ParquetRows

    return ParquetRows(path)


class Batches:
    """A CSV file as batches for ``train``, gone through once an epoch, and once before to know its columns."""

    def __init__(self, path: Path) -> None:
        from mlp_xp.data import open_data, recipe

        self.source = open_data(path)
        self.recipe = recipe.learn(self.source, recipe.Wanted()).recipe

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        from mlp_xp.data.recipe import rows_at_a_time

        for chunk in self.source.chunks(rows_at_a_time(self.source)):
            rows = self.recipe.rows(self.source.where, chunk, dtype=np.float32)
            assert rows.y is not None  # the file has a target
            for low in range(0, len(rows.y), BATCH):
                yield rows.X[low : low + BATCH], rows.y[low : low + BATCH]


class Chunks:
    """A CSV file of numbers as batches that pandas reads, as the page of the estimators has it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        pandas: Any = import_module("pandas")

        for part in pandas.read_csv(self.path, chunksize=BATCH):
            yield part.iloc[:, :-1].to_numpy(), part.iloc[:, -1].to_numpy()


class Kind(NamedTuple):
    """A kind of file: how it is written and opened, and bytes of a row."""

    write: Callable[[Path, int], None]
    open: Callable[[Path], Any]
    row: int = 4 * WIDTH


KINDS = {
    "npy": Kind(write_npy, lambda path: np.load(path, mmap_mode="r")),
    "zarr": Kind(write_zarr, open_zarr),
    "hdf5": Kind(write_hdf5, open_hdf5),
    "parquet": Kind(write_parquet, open_parquet),
    "csv": Kind(write_csv, Batches, row=11 * WIDTH),
}


# --- runs --------------------------------------------------------------------------------------------------------


def loop(path: Path, kind: Kind, **options: Any) -> None:
    X, params = kind.open(path), mx.init_params(SIZES, dtype=np.float32)
    if isinstance(X, Batches):
        list(train(X, None, params, epochs=1))
        return
    list(train(X, targets(X.shape[0]), params, epochs=1, batch_size=BATCH, **options))


def estimator(path: Path, kind: Kind, **options: Any) -> None:
    from mlp_xp.estimators import MLPClassifier

    X = kind.open(path)
    model = MLPClassifier(SIZES[1:-1], max_iter=1, batch_size=BATCH, check_gradients=False, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch does not converge
        if isinstance(X, Batches | Chunks):
            model.fit_batches(X, classes=[0, 1])
        else:
            model.fit(X, targets(X.shape[0]))


def estimator_of_chunks(path: Path, kind: Kind, **options: Any) -> None:
    estimator(path, kind._replace(open=Chunks), **options)


def command(path: Path, kind: Kind, **options: Any) -> None:
    """A regression or a classification by the last column, all parts of it: validation, test, the fit to all rows."""
    from mlp_xp.cli import main

    with tempfile.TemporaryDirectory() as folder:
        quick = ("--max-iter", "1", "--hidden", str(SIZES[1]), "--picture", "none", "--quiet")
        status = main(["train", str(path), *quick, "-o", f"{folder}/model.safetensors"])
    assert status == 0, status


def targets(n: int) -> Any:
    return np.random.default_rng(0).integers(0, 2, n)


WAYS: dict[str, tuple[Callable[..., None], dict[str, Any], tuple[str, ...]]] = {
    "loop": (loop, {}, tuple(KINDS)),
    "loop, a share held out": (loop, {"validation": 0.1}, ("npy", "zarr", "parquet")),
    "estimator": (estimator, {}, tuple(KINDS)),
    "estimator, early stopping": (estimator, {"early_stopping": True, "standardise": True}, ("npy", "zarr", "parquet")),
    "estimator, pandas": (estimator_of_chunks, {"standardise": True}, ("csv",)),
    "command": (command, {}, tuple(KINDS)),
}
"""Way -> function, its options, and the kinds of files that it takes."""


def anonymous() -> float:
    """MB of this process that are no pages of files, now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/self/status must say RssAnon, which Linux does")


def measured(way: str, kind: str, path: Path) -> dict[str, float]:
    """The peak of an epoch in this process, looked at each millisecond, in MB, and its seconds."""
    function, options, _ = WAYS[way]
    most, ended = [anonymous()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.001):
            most.append(max(most.pop(), anonymous()))

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.perf_counter()
    try:
        function(path, KINDS[kind], **options)
    finally:
        ended.set()
        watching.join()
    return {"peak": most[0], "seconds": time.perf_counter() - began}


def in_process(way: str, kind: str, path: Path) -> dict[str, float]:
    """``measured`` in a process of its own."""
    command = [sys.executable, __file__, "--run", way, kind, str(path)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def measure(small: float, large: float, only: list[str]) -> Iterator[dict[str, Any]]:
    """A row for each way and kind of file, whose name is in ``only`` where that names any."""
    for kind, each in KINDS.items():
        ways = [way for way, (_, _, kinds) in WAYS.items() if kind in kinds and (not only or f"{way}/{kind}" in only)]
        rows: dict[str, dict[str, Any]] = {way: {"way": way, "file": kind} for way in ways}
        for size, megabytes in (("small", small), ("large", large)) if ways else ():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"X.{kind}")
                each.write(path, max(BATCH, round(megabytes * 1e6 / each.row)))
                for way in ways:
                    rows[way][size] = in_process(way, kind, path)
        for row in rows.values():
            row["growth"] = row["large"]["peak"] - row["small"]["peak"]
            yield row


def main() -> None:
    """Measure, print, save; the exit status is 1 where memory grows by more than the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=float, default=20.0, metavar="MB")
    parser.add_argument("--large", type=float, default=2000.0, metavar="MB")
    parser.add_argument("--only", nargs="+", default=[], metavar="WAY/FILE", help="such as 'loop/zarr'")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="write the results and what machine it was")
    parser.add_argument("--run", nargs=3, metavar=("WAY", "FILE", "PATH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        way, kind, path = arguments.run
        print(json.dumps(measured(way, kind, Path(path))))
        return
    results: dict[str, Any] = {
        "machine": machine(), "small": arguments.small, "large": arguments.large, "target": TARGET, "runs": [],
    }  # fmt: skip
    print(f"peak without pages of files, MB: {arguments.small:g} MB | {arguments.large:g} MB | growth | seconds")
    for row in measure(arguments.small, arguments.large, arguments.only):
        results["runs"].append(row)
        small, large = row["small"], row["large"]
        numbers = f"{small['peak']:6.0f} | {large['peak']:6.0f} | {row['growth']:6.0f} | {large['seconds']:6.1f}"
        print(f"{row['way']:26} {row['file']:8} {numbers}", flush=True)
        if arguments.save:  # after each, for the runs take minutes
            arguments.save.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(row["growth"] > TARGET for row in results["runs"]))


if __name__ == "__main__":
    piped.run(main)
