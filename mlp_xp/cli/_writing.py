"""Rows written a batch at a time: to a .csv, .parquet or .npz file, or as CSV to the standard output."""

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np


class Column(NamedTuple):
    """A column of what is written: its name, and that of the array that has it in an .npz file."""

    name: str
    array: str


Write: TypeAlias = Callable[[list[Any]], None]
"""Writes some rows, given as columns: arrays (n,) on the host, masked where there is a gap, or of a data frame."""


@contextmanager
def writing(path: Path | None, columns: Sequence[Column]) -> Iterator[Write]:
    """A function that writes rows, to stdout without a ``path``; the file appears at the end, whole or not at all."""
    from mlp_xp._lib.files import replacing

    with ExitStack() as stack:
        if path is None:
            yield stack.enter_context(_as_csv(stack.enter_context(_stdout()), columns))
        else:
            writer, temporary = _WRITERS[path.suffix.lower()], stack.enter_context(replacing(path))
            yield stack.enter_context(writer(temporary, columns))


@contextmanager
def _stdout() -> Iterator[IO[str]]:
    """Standard output in UTF-8, whatever a terminal takes; a stream that holds no bytes as it is."""
    if not hasattr(sys.stdout, "buffer"):
        yield sys.stdout
        return
    sys.stdout.flush()
    text = io.TextIOWrapper(sys.stdout.buffer, "utf-8", newline="")
    try:
        yield text
    finally:
        text.detach()  # else what is below would be closed with it


def _cells(values: Any) -> list[Any]:
    """The values of a column as Python's; None for a missing one of a data frame, and for one that is masked."""
    plain = values if isinstance(values, np.ndarray) else values.astype(object).where(values.notna(), None)
    cells: list[Any] = plain.tolist()
    return cells


@contextmanager
def _to_csv(path: Path, named: Sequence[Column]) -> Iterator[Write]:
    with path.open("w", newline="", encoding="utf-8") as opened, _as_csv(opened, named) as write:
        yield write


@contextmanager
def _as_csv(opened: IO[str], named: Sequence[Column]) -> Iterator[Write]:
    writer = csv.writer(opened, lineterminator="\n")
    header = [[column.name for column in named]]  # written with the first rows: a refused file leaves stdout empty

    def write(columns: list[Any]) -> None:
        writer.writerows(header)
        header.clear()
        writer.writerows(zip(*map(_cells, columns), strict=True))

    yield write


@contextmanager
def _to_parquet(path: Path, named: Sequence[Column]) -> Iterator[Write]:
    import pyarrow as pa
    from pyarrow import parquet

    with ExitStack() as stack:
        writers: list[Any] = []

        def write(columns: list[Any]) -> None:
            arrays = [pa.array(values, from_pandas=not isinstance(values, np.ndarray)) for values in columns]
            table = pa.table(dict(zip([column.name for column in named], arrays, strict=True)))
            if not writers:  # the first rows say which types the columns have
                writers.append(stack.enter_context(parquet.ParquetWriter(path, table.schema)))
            writers[0].write_table(table.cast(writers[0].schema))

        yield write


@contextmanager
def _to_npz(path: Path, named: Sequence[Column]) -> Iterator[Write]:
    parts: list[list[Any]] = []
    yield parts.append
    together: dict[str, list[Any]] = {}
    for column, values in zip(named, zip(*parts, strict=True), strict=True):
        together.setdefault(column.array, []).append(np.concatenate([_plain(each) for each in values]))
    flat = {name: each[0] if name not in _MATRICES else np.stack(each, axis=1) for name, each in together.items()}
    with path.open("wb") as file:
        np.savez(file, **flat)  # type: ignore[arg-type]


_MATRICES = ("probability", "quantiles")  # arrays of several columns


def _plain(values: Any) -> Any:
    """A column as numbers or texts, which an .npz file holds without pickling; a missing text is "", a number NaN."""
    if isinstance(values, np.ma.MaskedArray):
        plain = values.data if values.dtype.kind == "U" else values.data.astype(np.float64)
        return np.where(values.mask, "" if values.dtype.kind == "U" else np.nan, plain)
    if isinstance(values, np.ndarray):
        return values
    if values.dtype.kind in "iufb":
        return values.to_numpy()
    return np.asarray(["" if each is None else str(each) for each in _cells(values)], dtype=str)


_WRITERS: dict[str, Any] = {".csv": _to_csv, ".parquet": _to_parquet, ".npz": _to_npz}
