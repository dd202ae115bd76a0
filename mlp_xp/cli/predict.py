"""``mlp-xp predict``: the predictions of a model for new rows, a batch at a time."""

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import click

from mlp_xp.cli._help import command_of
from mlp_xp.cli._options import (
    ROWS,
    backend_option,
    device_option,
    force_option,
    numbers_in,
    reading_of,
    reading_options,
)
from mlp_xp.cli._output import Screen, claimed, with_suffix


class Column(NamedTuple):
    """A column of what is written: its name, and that of the array that has it in an .npz file."""

    name: str
    array: str


_Write: TypeAlias = Callable[[list[Any]], None]
"""Writes some rows, given as columns: arrays (n,) on the host."""


@command_of("predict houses.safetensors new.csv -o prices.csv")
@click.argument("model")
@click.argument("data")
@click.option("--output", "-o", help="A .csv, .parquet or .npz file; by default CSV is printed.")
@click.option("--proba", is_flag=True, help="Write the probability of each class too.")
@click.option("--std", is_flag=True, help="Write a standard deviation too: of loss gaussian, or of an ensemble.")
@click.option("--quantiles", help="Levels of quantiles to write too, comma separated: of loss gaussian, or quantile.")
@click.option("--rows", type=click.IntRange(1), default=ROWS, help="Rows to read at a time.")
@reading_options
@backend_option
@device_option
@force_option
def command(
    model: str, data: str, output: str | None, proba: bool, std: bool, quantiles: str | None, rows: int, backend: str,
    device: str | None, force: bool, **reading: Any,
) -> None:  # fmt: skip
    """Predict with MODEL the rows of DATA, which has the columns that the model was trained on.

    The rows are read a batch at a time, so DATA may be larger than the memory. For example: mlp-xp predict
    houses.safetensors new.csv -o prices.csv
    """
    from mlp_xp.cli._model import open_for, open_model  # imported here: --help must stay fast

    path = None if output is None else with_suffix(output, *_WRITERS)
    with claimed(path, force=force):
        opened = open_model(model, backend, device)
        if proba and not opened.is_classifier:
            raise ValueError(f"{model} has no probabilities: it is a regression")
        if (std or quantiles) and opened.is_classifier:
            raise ValueError(
                f"{model} has neither std nor quantiles: it is a classification; --proba says how sure it is"
            )
        source, levels, count = open_for(opened, data, reading_of(reading)), numbers_in("quantiles", quantiles), 0
        predicted = f"predicted_{opened.recipe.target or 'target'}"
        columns = [Column(predicted, "prediction")]
        columns += [Column(f"probability_{label}", "probability") for label in opened.classes] if proba else []
        columns += [Column(f"{predicted}_std", "std")] if std else []
        columns += [Column(f"{predicted}_q{level:g}", "quantiles") for level in levels]
        with _writing(path, columns) as write:
            for X, _ in opened.chunks(source, rows):
                more = [*(opened.predict_proba(X).T if proba else ()), *opened.spread(X, std, levels)]
                write([opened.predict(X), *more])
                count += len(X)
    if path is not None:
        Screen().say(f"wrote {count:,} rows to {path}")


# --- files -------------------------------------------------------------------------------------------------------


@contextmanager
def _writing(path: Path | None, columns: list[Column]) -> Iterator[_Write]:
    """A function that writes rows, to stdout without a ``path``; the file appears at the end, whole or not at all."""
    from mlp_xp._lib.files import replacing

    with ExitStack() as stack:
        file = sys.stdout.fileno() if path is None else stack.enter_context(replacing(path))
        writer = _to_csv if path is None else _WRITERS[path.suffix.lower()]
        yield stack.enter_context(writer(file, columns))


@contextmanager
def _to_csv(file: Path | int, named: list[Column]) -> Iterator[_Write]:
    with open(file, "w", newline="", encoding="utf-8", closefd=not isinstance(file, int)) as opened:
        writer = csv.writer(opened, lineterminator="\n")
        header = [[column.name for column in named]]  # written with the first rows: a refused file leaves stdout empty

        def write(columns: list[Any]) -> None:
            writer.writerows(header)
            header.clear()
            writer.writerows(zip(*(column.tolist() for column in columns), strict=True))

        yield write


@contextmanager
def _to_parquet(path: Path, named: list[Column]) -> Iterator[_Write]:
    import pyarrow as pa
    from pyarrow import parquet

    with ExitStack() as stack:
        writers: list[Any] = []

        def write(columns: list[Any]) -> None:
            table = pa.table({column.name: values for column, values in zip(named, columns, strict=True)})
            if not writers:  # the first rows say which types the columns have
                writers.append(stack.enter_context(parquet.ParquetWriter(path, table.schema)))
            writers[0].write_table(table)

        yield write


@contextmanager
def _to_npz(path: Path, named: list[Column]) -> Iterator[_Write]:
    import numpy as np

    parts: list[list[Any]] = []
    yield parts.append
    together: dict[str, list[Any]] = {}
    for column, values in zip(named, zip(*parts, strict=True), strict=True):
        together.setdefault(column.array, []).append(np.concatenate(values))
    flat = ("prediction", "std")
    arrays = {name: each[0] if name in flat else np.stack(each, axis=1) for name, each in together.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


_WRITERS: dict[str, Any] = {".csv": _to_csv, ".parquet": _to_parquet, ".npz": _to_npz}
