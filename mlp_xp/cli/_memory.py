"""Whether a training run fits in memory: the rows as numbers, and the network with what its optimizer keeps.

Many rows are kept in a temporary file. What fits nowhere is refused before it is made, with the options that make it
smaller: the system would end the process later, without a word.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp_xp._lib.memory import available
from mlp_xp._lib.wording import readable
from mlp_xp.cost import StepCost, step_cost
from mlp_xp.data.piecewise import BINS
from mlp_xp.data.recipe import Recipe
from mlp_xp.parameters import FULL_BATCH
from mlp_xp.train.source import Rows

_COPIES = 6
"""Of the rows as numbers, at most: as they were read, filled in, standardised, and what standardising takes meanwhile.

Measured: 5.3 where nothing is filled in.
"""


_LARGE = 2**25
"""Bytes of rows as numbers above which they are kept in a file, whatever is free: memory is not for copies of those.

Measured: from here on a file takes less memory, and no more of the processor; below, its buffers take as much.
"""

_CACHED = 2**28
"""Bytes of such a file up to which rows come in any order, as in memory: the system still has what it has written."""

_TOGETHER = 2**16
"""Bytes of rows that follow each other in a larger one and are read together: a disk is slow to find a place."""


def are_many(where: str, rows: int, recipe: Recipe, dtype: str, in_steps: bool) -> bool:
    """Whether so many rows as numbers go into a temporary file; else they fit in memory.

    Args:
        where: the name of the data in an error.
        rows: how many.
        recipe: how they become numbers.
        dtype: of these.
        in_steps: whether some rows at a time are learned from, and NumPy computes: else all are needed in memory.

    Raises:
        ValueError: they fit in neither.
    """
    columns, size = _most_columns(recipe), np.dtype(dtype).itemsize
    needed, there = _COPIES * rows * columns * size, available()
    fits = there is None or needed <= there
    if in_steps and not (fits and rows * columns * size <= _LARGE):
        return True
    if there is not None and not fits:
        cure = "leave columns out with --drop, or those with many categories"
        in_file = "" if in_steps else ", or keep them in a file with --backend numpy, --solver adam and --no-folds"
        raise ValueError(
            f"{_so_many(where, rows, columns, dtype)} must fit in memory: they take "
            f"{readable(needed, 'B')} to train on, {readable(there, 'B')} are free; {cure}{in_file}"
            f"{', or halve it with --dtype float32' if dtype == 'float64' else ''}"
        )
    return False


def rows_in(X: NDArray[Any]) -> Rows:
    """The rows of an array in a file, as a source."""
    together = 0 if X.nbytes <= _CACHED else max(1, _TOGETHER // max(1, X.shape[1] * X.itemsize))
    return Rows(X, X.dtype, together=together)


def in_file(where: str, rows: int, columns: int, dtype: str, path: Path | None = None) -> NDArray[Any]:
    """An array in a temporary file without a name, which is gone when the process ends, however it ends.

    Args:
        where: the name of the data in an error.
        rows, columns: how many there are.
        dtype: of the array.
        path: of a file in a temporary folder, in place of one without a name.

    Raises:
        ValueError: there is no room for it.
    """
    needed = rows * columns * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile(prefix="mlp_xp_") if path is None else path.open("w+b") as file:
            if hasattr(os, "posix_fallocate"):  # a disk that is full later would end the process
                os.posix_fallocate(file.fileno(), 0, needed)
            return np.memmap(file, dtype, "r+", shape=(rows, columns))
    except OSError as error:
        folder = tempfile.gettempdir()
        raise ValueError(
            f"{_so_many(where, rows, columns, dtype)} must fit in a temporary file: they take "
            f"{readable(needed, 'B')}, and {folder} has no room for them: {error.strerror}; "
            "the variable TMPDIR names another folder, --drop leaves columns out"
        ) from None


def _so_many(where: str, rows: int, columns: int, dtype: str) -> str:
    return f"{where}: {rows:,} rows of {columns:,} numbers in {dtype}"


def _most_columns(recipe: Recipe) -> int:
    """How many columns X has at most, once the bins of numbers are learned."""
    if recipe.numbers == "plain":
        return recipe.width
    if recipe.columns is None:
        return BINS * recipe.width
    return sum((1 if column.categories else BINS) * len(column.names) for column in recipe.columns)


def check_network(sizes: Sequence[int], solver: str, dtype: str, networks: int, batch: int = 1) -> None:
    """Raise unless all that a step takes fits in memory.

    That is the parameters, their initial values in float64, gradients, the optimizer's state, and what is computed of
    the rows of a batch.
    """
    cost, there = step_cost(sizes, batch, dtype, optimizer=_optimizer(solver, "adam")), available()
    of_one = 2 * cost.parameter_bytes + 8 * cost.parameters + cost.optimizer_bytes + cost.peak_activation_bytes
    needed = networks * of_one
    if there is not None and needed > there:
        what = f"{networks} networks" if networks > 1 else "a network"
        batches = ", --batch-size the batches" if needed - networks * cost.peak_activation_bytes <= there else ""
        raise ValueError(
            f"{what} of {'-'.join(map(str, sizes))} must fit in memory: it takes {readable(needed, 'B')} to train, "
            f"{readable(there, 'B')} are free; --hidden with smaller widths makes it smaller{batches}"
        )


def rows_of_step(estimator: Any, n: int) -> int:
    """How many of ``n`` rows ``estimator`` takes in a step."""
    if estimator.solver in FULL_BATCH:
        return n
    return min(200 if estimator.batch_size == "auto" else int(estimator.batch_size), n)


def cost_of_step(
    estimator: Any, sizes: Sequence[int], batch: int, dtype: str, criterion: str, backend: str
) -> tuple[StepCost, int]:
    """What a step of each network of ``estimator`` costs on ``batch`` rows, and the bytes that it takes."""
    cost = step_cost(
        sizes, batch, dtype, activation=estimator.activation, criterion=criterion,
        optimizer=_optimizer(estimator.solver, "sgd"), dropout=estimator.dropout,
        input_dropout=estimator.input_dropout, in_place=backend == "numpy",
    )  # fmt: skip
    return cost, cost.peak_activation_bytes + 2 * cost.parameter_bytes + cost.optimizer_bytes


def _optimizer(solver: str, of_all_rows: str) -> str:
    """The optimizer that a solver steps with; that of a solver that takes all rows at once is named."""
    return "momentum" if solver == "sgd" else of_all_rows if solver in FULL_BATCH else solver
