"""Small data and quick runs of the ``mlp-xp`` command, for its tests."""

from __future__ import annotations

import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shell

# installed by the extra "cli", as nox does for NumPy
for name in ("click", "rich", "matplotlib", "sklearn", "pandas", "pyarrow", "safetensors"):
    pytest.importorskip(name, reason=f"the command needs {name}, which the extra 'cli' installs")

cli, estimators = import_module("mlp_xp.cli"), import_module("mlp_xp.estimators")
pandas = import_module("pandas")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder."""
    return shell.run(*arguments, folder=folder, COLUMNS="100")


def write_table(folder: Path, name: str = "houses.csv", **changed: Any) -> str:
    """A table of numbers, texts and a price; columns changed or added, or one cell by ``cell=(row, column, value)``."""
    random = np.random.default_rng(0)
    n = 120
    area, district = random.uniform(30, 200, n).round(1), random.choice(["north", "south"], n)
    frame = pandas.DataFrame({"area": area, "rooms": random.integers(1, 6, n), "district": district})
    cell = changed.pop("cell", None)
    rows = changed.pop("rows", n)
    for column, values in changed.items():
        frame[column] = values
    if "price" not in frame:
        frame["price"] = (3 * area + 100 * (district == "north")).round(1)
    if cell is not None:
        row, column, value = cell
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
    frame = frame[:rows]
    path = folder / name
    {".csv": lambda: frame.to_csv(path, index=False), ".tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
     ".parquet": lambda: frame.to_parquet(path), ".arrow": lambda: frame.to_feather(path)}[path.suffix]()  # fmt: skip
    return name


def write_classes(folder: Path, classes: int = 3, name: str = "small.npz") -> str:
    """An easy problem: 60 rows, 5 columns, each class around a point of its own."""
    random = np.random.default_rng(0)
    y = np.arange(60) % classes
    np.savez(folder / name, X=random.normal(size=(classes, 5))[y] * 3 + random.normal(size=(60, 5)), y=y)
    return name


QUICK = ("--preset", "medium", "--max-iter", "3", "--hidden", "8", "--no-check-gradients", "--picture", "none")


def train_quickly(data: str, *options: str) -> None:
    assert cli.main(["train", data, "--quiet", *QUICK, *options]) == 0


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr."""
    capsys.readouterr()
    assert cli.main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    return printed.err.removeprefix("error: ").rstrip("\n")
