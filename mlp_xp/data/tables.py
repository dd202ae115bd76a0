"""Tables with named columns: .csv, .tsv, .parquet, .arrow, OpenML; read with pandas and pyarrow, a batch at a time.

Next: ``columns`` decides what each column holds, ``recipe`` keeps that with a model.
"""

import csv
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlp_xp._lib.arguments import first_line
from mlp_xp.data.cells import cells_of
from mlp_xp.data.columns import Asked, Tally, decide, look
from mlp_xp.data.encoding import Column, as_numbers, check_named, encode
from mlp_xp.data.source import Chunk, Source

__all__ = ["Column", "as_numbers", "check_named", "encode", "from_openml", "learn_columns", "open_table"]

_MOST_COLUMNS = 100_000


# --- opening -----------------------------------------------------------------------------------------------------


def open_table(path: Path, text_columns: Sequence[str] = ()) -> Source:
    """The table in ``path``; in a text file, ``text_columns`` are read as text even where they look like numbers."""
    if not path.is_file():
        reason = "it is not a file" if path.exists() else "No such file or directory"
        raise ValueError(f"{path} can't be read: {reason}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} must be a table with a header, got an empty file")
    read = {".csv": _text, ".tsv": _text, ".parquet": _parquet}.get(path.suffix.lower(), _arrow)
    columns, frames = read(path, tuple(text_columns))
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise ValueError(f"{path} must have columns of different names, got {twice!r} twice")

    def chunks(rows: int | None) -> Iterator[Chunk]:
        import pandas as pd

        first, parts = 0, []
        for frame in frames(rows or _ROWS):
            if rows is None:
                parts.append(frame)
            elif len(frame):
                yield Chunk(frame, None, first)
                first += len(frame)
        if parts:
            yield Chunk(pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0], None, 0)

    return Source(path.stem, str(path), columns, chunks, is_table=True)


_ROWS = 2**16  # read at a time, where all are wanted


def _text(path: Path, text_columns: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    header = _header(path, separator)

    def frames(rows: int) -> Iterator[Any]:
        import pandas as pd

        kinds = {position: str for position, name in enumerate(header) if name in text_columns}
        try:
            reader = pd.read_csv(path, sep=separator, skipinitialspace=True, chunksize=rows, dtype=kinds or None,
                                 header=0, names=range(len(header)), index_col=False, encoding="utf-8-sig",
                                 on_bad_lines="error", low_memory=False)  # fmt: skip
            with reader:
                for frame in reader:
                    yield frame.set_axis(list(header), axis=1)
        except pd.errors.EmptyDataError:
            return
        except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
            sentence = f"{path} can't be read as a table: {first_line(error)}"
            found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
            if found:
                sentence = f"{path}: line {found[2]} must have {found[1]} fields as the header has, got {found[3]}"
            raise ValueError(sentence) from None

    return header, frames


def _header(path: Path, separator: str) -> tuple[str, ...]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            count = file.readline().count(separator) + 1
            if count > _MOST_COLUMNS:
                raise ValueError(f"{path} must have at most {_MOST_COLUMNS:,} columns, got {count:,}")
            file.seek(0)
            header = tuple(name.strip() for name in next(csv.reader(file, delimiter=separator), ()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} must be text in UTF-8: {error}") from None
    if not header or all(_reads_as_number(name) for name in header):
        shown = ", ".join(header[:4]) or "an empty line"
        raise ValueError(f"{path} must begin with a header that names its columns, got {shown}")
    return header


def _parquet(path: Path, text_columns: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = tuple(file.schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} must be a whole Parquet file: {first_line(error)}") from None

    def frames(rows: int) -> Iterator[Any]:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=rows):
                yield batch.to_pandas()

    return columns, frames


def _arrow(path: Path, text_columns: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
    import pyarrow as pa

    def batches() -> Iterator[Any]:
        with pa.memory_map(str(path)) as source:
            try:
                file = pa.ipc.open_file(source)
            except pa.ArrowInvalid:
                yield from pa.ipc.open_stream(path.read_bytes())
            else:
                yield from (file.get_batch(number) for number in range(file.num_record_batches))

    try:
        first = next(batches(), None)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} must be a whole Arrow file: {first_line(error)}") from None
    if first is None:
        raise ValueError(f"{path} must have at least one row, got none")

    def frames(rows: int) -> Iterator[Any]:
        for batch in batches():
            for low in range(0, batch.num_rows, rows):
                yield batch.slice(low, rows).to_pandas()

    return tuple(first.schema.names), frames


def from_openml(name: str) -> Source:
    """The data set ``openml:NAME``, fetched once and kept by scikit-learn in its own folder."""
    from sklearn.datasets import fetch_openml

    title = name.removeprefix("openml:")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of several versions: the active one is right
            bunch = fetch_openml(name=title, as_frame=True, parser="auto")
    except Exception as error:  # the network, the server or the format may fail
        raise ValueError(f"{name} can't be fetched from openml.org: {first_line(error)}") from None
    frame = bunch.frame
    target = frame.columns[-1] if bunch.target is None else str(getattr(bunch.target, "name", frame.columns[-1]))

    def chunks(rows: int | None) -> Iterator[Chunk]:
        step = rows or len(frame)
        for low in range(0, len(frame), step):
            yield Chunk(frame[low : low + step], None, low)

    return Source(title, name, tuple(map(str, frame.columns)), chunks, target=target, is_table=True)


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- columns -----------------------------------------------------------------------------------------------------


def learn_columns(where: str, frame: Any, target: str, drop: Iterable[str], categories: Iterable[str]) -> list[Column]:
    """A ``Column`` for each feature of a table that is of use.

    Args:
        where: the name of the data in an error.
        frame: all rows.
        target: the column that is no feature.
        drop: columns to leave out.
        categories: columns whose values are categories.

    Raises:
        ValueError: for text among numbers, and for no column at all.
    """
    asked, found = Asked(tuple(categories)), []
    for name in frame.columns:
        if name != target and name not in drop:
            tally = look(Tally(), cells_of(f"{where}: column {name!r}", frame[name]))
            found.append(decide(where, str(name), tally, asked).column)
    columns = [column for column in found if column is not None]
    if not columns:
        raise ValueError(f"{where} must have a column besides the target {target!r}, got none with a value")
    return columns
