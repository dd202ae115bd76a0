"""Tables with named columns: .csv, .tsv, .parquet, .arrow, OpenML; read with pandas and pyarrow, a batch at a time.

A ``Column`` describes how one column becomes numbers: its name, and its categories if it has any. Errors count rows
from 1, without the header.

Next: ``recipe`` keeps the columns with a model.
"""

import csv
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp._lib.arguments import first_line, one_of
from mlp_xp.data.source import Chunk, Source

_MOST_COLUMNS = 100_000
_MOST_CATEGORIES = 1000  # a column with more is an identifier or free text
_NUMERIC_SHARE = 0.5  # a column of text holds numbers, with mistakes among them, if more of it reads as numbers
_MOST_LISTED = 8  # names in an error


class Column(NamedTuple):
    """A column of features: numbers, or one of ``categories``, each of which becomes a column of 0 and 1."""

    name: str
    categories: tuple[str, ...] | None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of X that it becomes: ``name``, or ``name=category`` for each category."""
        return (self.name,) if self.categories is None else tuple(f"{self.name}={each}" for each in self.categories)


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


def check_named(kind: str, where: str, names: Iterable[str], name: str) -> None:
    """Raise ``ValueError`` unless ``name`` is one of the columns ``names``; the error offers the nearest."""
    known = [str(each) for each in names]
    if name not in known:
        raise ValueError(f"{where}: {kind} must be a column, {one_of(known, name, most=_MOST_LISTED)}")


def learn_columns(where: str, frame: Any, target: str, drop: Iterable[str], categories: Iterable[str]) -> list[Column]:
    """A ``Column`` for each feature of a table; columns of text become categories.

    Args:
        where: the name of the data in an error.
        frame: all rows.
        target: the column that is no feature.
        drop: columns to leave out.
        categories: columns of numbers that are categories.

    Raises:
        ValueError: for a column with too many categories, or with neither numbers nor text; for no column at all.
    """
    columns = []
    for name in frame.columns:
        if name == target or name in drop:
            continue
        column, values = frame[name], None
        if name in categories or not _holds_numbers(where, name, column):
            values = tuple(sorted({str(value) for value in column.dropna().unique()}))
            if len(values) > _MOST_CATEGORIES:
                many = f"{len(values):,} different values, too many for categories (at most {_MOST_CATEGORIES:,})"
                raise ValueError(f"{where}: column {name!r} has {many}; leave it out with --drop {name!r}")
        columns.append(Column(str(name), values))
    if not any(column.names for column in columns):
        raise ValueError(f"{where} must have a column besides the target {target!r}, got none with a value")
    return columns


def _holds_numbers(where: str, name: str, column: Any) -> bool:
    import pandas as pd

    kinds = pd.api.types
    if kinds.is_bool_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype):
        return False
    if kinds.is_numeric_dtype(column) or not column.notna().any():
        return True
    if not (kinds.is_object_dtype(column) or kinds.is_string_dtype(column)):
        wrong = f"column {name!r} must hold numbers or text, got {column.dtype}"
        raise ValueError(f"{where}: {wrong}; leave it out with --drop {name!r}")
    texts = column.dropna().astype(str)
    return bool(pd.to_numeric(texts, errors="coerce").notna().mean() > _NUMERIC_SHARE)


def as_numbers(where: str, name: str, column: Any, first: int) -> NDArray[np.float64]:
    """A column as numbers (n,), NaN for a missing value; ``first`` is the number of rows before these."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        numbers: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        there = column.notna().to_numpy()
        text = column.astype(str)
        numbers = pd.to_numeric(text.where(there), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = there & np.isnan(numbers)
        if wrong.any():
            row = int(np.argmax(wrong))
            remedy = f"--category {name!r} takes all of it for categories"
            got = f"must be a number, got {text.iloc[row]!r}"
            raise ValueError(f"{where}: row {first + row + 1}, column {name!r} {got}; {remedy}")
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise ValueError(f"{where}: row {first + row + 1}, column {name!r} must be finite, got {numbers[row]}")
    return numbers


def encode(where: str, columns: Sequence[Column], frame: Any, first: int) -> NDArray[np.float64]:
    """A data frame as numbers (n, d_in), NaN for a missing value.

    Args:
        where: the name of the data in an error.
        columns: how each column becomes numbers.
        frame: the rows.
        first: the number of rows before these.

    Raises:
        ValueError: for a column that is missing, a text that is no number, or an unknown category.
    """
    for column in columns:
        check_named("what the model was trained on", where, frame.columns, column.name)
    X = np.empty((len(frame), sum(len(column.names) for column in columns)))
    low = 0
    for column in columns:
        values = frame[column.name]
        if column.categories is None:
            X[:, low] = as_numbers(where, column.name, values, first)
        else:
            there = values.notna().to_numpy()
            text = values.astype(str).to_numpy(dtype=object)
            position = {category: number for number, category in enumerate(column.categories)}
            codes = np.asarray([position.get(each, -1) for each in text])
            unknown = there & (codes < 0)
            if unknown.any():
                row = int(np.argmax(unknown))
                known = one_of(column.categories, text[row], most=_MOST_LISTED)
                raise ValueError(f"{where}: row {first + row + 1}, column {column.name!r} must be {known}")
            X[:, low : low + len(position)] = codes[:, None] == np.arange(len(position))
            X[~there, low : low + len(position)] = np.nan
        low += len(column.names)
    return X
