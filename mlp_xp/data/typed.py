"""Tables whose files say the types of their columns: Parquet, Arrow, JSON, Excel, SQLite, ARFF, ``.npy``, OpenML.

The frames have those types; a column of objects may mix Python's own numbers and texts.

Before: ``files`` finds the file. Next: ``columns`` decides what each column holds.
"""

import json
import re
import sqlite3
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np

from mlp_xp._lib.arguments import first_line, one_of
from mlp_xp.data.dialect import distinct
from mlp_xp.data.files import Found, whole
from mlp_xp.data.source import ROWS, Chunk, Source, refuse_twice, table


def _table(found: Found, columns: Iterable[Any], frames: Callable[[int], Iterator[Any]], *notes: str) -> Source:
    source = table(found.title, found.where, tuple(map(str, columns)), frames)
    return source._replace(notes=notes)


def _frames(columns: Sequence[str], rows: Iterable[Sequence[Any]], step: int) -> Iterator[Any]:
    """Data frames of rows of Python values, whose columns have the type that all of their values have."""
    import pandas as pd

    left = iter(rows)
    while part := list(islice(left, step)):
        yield pd.DataFrame(part, columns=list(columns), dtype=object).infer_objects()


_NOTHING = "__HIVE_DEFAULT_PARTITION__"  # as the name of a folder says that a value is missing

# --- Parquet and Arrow -------------------------------------------------------------------------------------------


def parquet(found: Found) -> Source:
    """A Parquet file; the index of a data frame in it is a column as any other."""
    from pyarrow import parquet

    with whole(found.where, "Parquet"), parquet.ParquetFile(found.path) as file:
        schema = file.schema_arrow

    def batches(rows: int) -> Iterator[Any]:
        with parquet.ParquetFile(found.path) as file:
            yield from file.iter_batches(batch_size=rows)

    return _of_arrow(found, schema, batches)


def parquet_folder(folder: Path, paths: Sequence[Path]) -> Source:
    """Parquet files of a folder as one table, one file after the other; a folder ``NAME=VALUE`` in it is a column.

    A column that some files lack is missing there.
    """
    import pyarrow as pa
    from pyarrow import dataset, parquet

    schema = None
    for path in paths:
        with whole(str(path), "Parquet"):
            own = parquet.read_schema(path)
            refuse_twice(str(path), own.names)
            schema = own if schema is None else _unified(schema, own, path, paths[0])
    assert schema is not None  # there is a path
    with whole(str(paths[0]), "Parquet"):
        of_folders = dataset.dataset(
            list(map(str, paths)), format="parquet", partitioning="hive", partition_base_dir=str(folder)
        ).schema  # with what the names of folders say
    named = [each for each in of_folders if each.name not in schema.names]
    schema = pa.schema([*named, *schema], schema.metadata)  # the last column stays the last

    def batches(rows: int) -> Iterator[Any]:
        # a data set of Arrow's would keep the heads of all files, 2 MB each where there are 784 columns
        for path in paths:
            parts = (part.partition("=") for part in path.relative_to(folder).parts[:-1])
            beside = {name: unquote(value) for name, _, value in parts}
            with whole(str(path), "Parquet"), parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=rows):
                    yield _as_in(schema, batch, beside, path)

    return _of_arrow(Found(folder, str(folder), folder.resolve().name, "parquet"), schema, batches)


def _unified(schema: Any, own: Any, path: Path, first: Path) -> Any:
    """The columns of the files so far and those of the next one, with types that hold the values of both."""
    import pyarrow as pa

    try:
        return pa.unify_schemas([schema, own], promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(f"{path} must have columns of the same types as {first}: {first_line(error)}") from None


def _as_in(schema: Any, batch: Any, beside: Mapping[str, str], path: Path) -> Any:
    """A batch with the columns of ``schema``: its own, those that the names of its folders say, or missing values."""
    import pyarrow as pa

    def column(field: Any) -> Any:
        if field.name in batch.schema.names:
            try:
                return batch.column(field.name).cast(field.type)
            except pa.ArrowException as error:
                what = f"{path}: column {field.name!r} must fit {field.type}, which holds it in all files"
                raise ValueError(f"{what}: {first_line(error)}") from None
        value = beside.get(field.name, _NOTHING)
        known = None if value == _NOTHING else pa.scalar(value).cast(field.type)
        return pa.nulls(len(batch), field.type) if known is None else pa.repeat(known, len(batch))

    return pa.RecordBatch.from_arrays(list(map(column, schema)), schema=schema)


def arrow(found: Found) -> Source:
    """An Arrow file, also called Feather, or a stream of Arrow's."""
    import pyarrow as pa

    def batches(rows: int) -> Iterator[Any]:
        with pa.memory_map(str(found.path)) as source:
            try:
                file = pa.ipc.open_file(source)
            except pa.ArrowInvalid:
                source.seek(0)
                made = iter(pa.ipc.open_stream(source))
            else:
                made = (file.get_batch(number) for number in range(file.num_record_batches))
            for batch in made:
                batch.validate(full=True)  # damaged offsets would be followed out of the file's memory
                yield batch

    with whole(found.where, "Arrow"):
        first = next(batches(ROWS), None)
    if first is None:
        raise ValueError(f"{found.where} must have at least one row, got none")
    return _of_arrow(found, first.schema, batches)


def _of_arrow(found: Found, schema: Any, batches: Callable[[int], Iterator[Any]]) -> Source:
    import pyarrow as pa

    with whole(found.where, found.kind.capitalize()):
        index, nested = _index(schema), _nested(schema)
    unnamed = [name for name in index if name.startswith("__index_level_")]
    new = ["index"] if len(unnamed) == 1 else [f"index_{level}" for level in range(len(unnamed))]
    renamed = dict(zip(unnamed, new, strict=True)) if not {*new} & {*schema.names} else {}
    order = [*index, *(name for name in nested.names if name not in index)]  # the last column stays the last
    names = [renamed.get(name, name) for name in order]
    decimals = [position for position, field in enumerate(schema) if pa.types.is_decimal(field.type)]

    def frames(rows: int) -> Iterator[Any]:
        with whole(found.where, found.kind.capitalize()):
            for batch in batches(rows):
                for position in decimals:
                    numbers = batch.column(position).cast(pa.float64())
                    batch = batch.set_column(position, schema.names[position], numbers)
                batch = nested.apply(batch)
                for low in range(0, batch.num_rows, rows):
                    # an index stays a column; whole numbers beside missing ones stay whole
                    frame = batch.slice(low, rows).to_pandas(
                        ignore_metadata=True, integer_object_nulls=True, date_as_object=False
                    )
                    yield frame[order].set_axis(names, axis=1)

    said = [repr(renamed.get(name, name)) for name in index]
    notes = [f"the index of the data frame in the file is read as column {' and '.join(said)}"] if said else []
    return _table(found, names, frames, *notes, *_lists_note(nested.lists))


def _index(schema: Any) -> list[str]:
    """The columns that are the index of the data frame of which the file was made; none where its JSON is damaged."""
    try:
        return [each for each in schema.pandas_metadata["index_columns"] if each in schema.names]
    except (LookupError, TypeError, ValueError):
        return []


class _Nested(NamedTuple):
    """The columns of an Arrow table that are read: those of records are taken apart, and those of lists left out.

    names: of the columns, ``o.b`` for the part b of o.
    lists: of those that are left out.
    """

    names: tuple[str, ...]
    lists: tuple[str, ...]

    def apply(self, batch: Any) -> Any:
        """A batch as a table with these columns alone."""
        import pyarrow as pa

        table = pa.Table.from_batches([batch]).replace_schema_metadata()  # the metadata may be damaged, and is read
        return _flattened(table).select(list(self.names))


def _flattened(table: Any) -> Any:
    import pyarrow as pa

    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def _nested(schema: Any) -> _Nested:
    import pyarrow as pa

    fields = list(_flattened(schema.empty_table()).schema)
    lists = tuple(field.name for field in fields if pa.types.is_nested(field.type))
    return _Nested(tuple(field.name for field in fields if field.name not in lists), lists)


def _lists_note(names: Sequence[str]) -> list[str]:
    """A sentence about columns that hold lists."""
    each = [f"column {name!r} holds lists" for name in names]
    return [f"{', '.join(each)}: left out"] if each else []


# --- JSON --------------------------------------------------------------------------------------------------------

_SHAPES = "a list of records, a record a line, or a table of columns"


def read_json(found: Found) -> Source:
    """Records in JSON: in a list, one a line, or as columns of values."""
    try:
        with found.open() as file:
            raw = file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{found.where} must be JSON in UTF-8, got other bytes") from None
    try:
        held = json.loads(raw)
    except json.JSONDecodeError as error:
        held = _json_lines(found.where, raw, error)
    records, note = _records(found.where, held)
    if all(isinstance(each, dict) for each in records):
        flat = [_flat(each) for each in records]
        names = _in_order(flat)
        lists = [name for name in names if any(isinstance(each.get(name), list) for each in flat)]
        columns = [name for name in names if name not in lists]
        rows: list[Any] = [[each.get(name) for name in columns] for each in flat]
        return _table(found, columns, lambda step: _frames(columns, rows, step), *note, *_lists_note(lists))
    width = max((len(each) for each in records if isinstance(each, list)), default=0)
    if any(not isinstance(each, list) or len(each) != width for each in records):
        raise ValueError(f"{found.where} must hold {_SHAPES}, got rows of other kinds")
    columns = [f"column_{position}" for position in range(1, width + 1)]
    return _table(found, columns, lambda step: _frames(columns, records, step), _unnamed(width))


def _flat(record: Mapping[Any, Any], before: str = "") -> dict[str, Any]:
    """A record without records in it: ``{"o": {"b": 1}}`` becomes ``{"o.b": 1}``, as pandas does."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat


def _in_order(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all records, each before those that follow it where it first stands.

    >>> _in_order([{"a": 1, "y": 2}, {"a": 1, "b": 3, "y": 2}])
    ['a', 'b', 'y']
    """
    order: list[str] = []
    for keys in dict.fromkeys(map(tuple, records)):
        place = len(order)
        for key in reversed(keys):
            if key in order:
                place = order.index(key)
            else:
                order.insert(place, key)
    return order


def _json_lines(where: str, raw: str, error: json.JSONDecodeError) -> list[Any]:
    """A value a line; ``error`` is that of the text as a whole."""
    found = []
    for number, line in enumerate(raw.split("\n"), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError as wrong:
                place = wrong if number > 1 and len(found) else error
                at = number if place is wrong else error.lineno
                raise ValueError(
                    f"{where}: line {at} must be JSON, got {place.msg[0].lower()}{place.msg[1:]}"
                ) from None
    return found


def _records(where: str, held: Any) -> tuple[list[Any], list[str]]:
    """The records in a value of JSON, and what is to be said of where they were."""
    note: list[str] = []
    if isinstance(held, dict):
        if isinstance(held.get("data"), list) and isinstance(held.get("columns"), list):  # pandas' "split"
            return [dict(zip(map(str, held["columns"]), row, strict=False)) for row in held["data"]], note
        inside = {
            key: each for key, each in held.items() if isinstance(each, list) and each and isinstance(each[0], dict)
        }
        if len(inside) == 1:
            ((key, held),) = inside.items()
            note.append(f"the records are those under {key!r}")
        elif held and all(isinstance(each, dict) for each in held.values()):  # name -> row -> value
            rows = dict.fromkeys(chain.from_iterable(held.values()))
            return [{name: column.get(row) for name, column in held.items()} for row in rows], note
        elif held and all(isinstance(each, list) for each in held.values()):
            lengths = {len(each) for each in held.values()}
            if len(lengths) > 1:
                raise ValueError(
                    f"{where} must hold columns of one length, got {' and '.join(map(str, sorted(lengths)))}"
                )
            return [dict(zip(held, row, strict=True)) for row in zip(*held.values(), strict=True)], note
    if not isinstance(held, list):
        raise ValueError(
            f"{where} must hold {_SHAPES}, got {'one record' if isinstance(held, dict) else repr(held)[:40]}"
        )
    return held, note


# --- Excel, SQLite, ARFF -----------------------------------------------------------------------------------------

_WRONG_CELLS = ("#N/A", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!")


def excel(found: Found) -> Source:
    """A sheet of an Excel file: the one named after ``::``, else the first; its first row has the names."""
    try:
        import openpyxl
    except ImportError:
        raise ValueError(f"{found.where} needs openpyxl to be read: pip install 'mlp_xp[excel]'") from None
    try:
        with found.path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of what is no value: styles, checks of input
            with closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as book:
                sheets = [sheet.title for sheet in book.worksheets]
                name = found.part or sheets[0]
                rows = [list(row) for row in book[name].iter_rows(values_only=True)] if name in sheets else []
    except Exception:  # zip, XML and the library itself fail in many ways
        raise ValueError(f"{found.where} must be a whole Excel file, got a damaged one or another kind") from None
    if name not in sheets:
        raise ValueError(f"{found.where}: the part after :: must be a sheet, {one_of(sheets, name, most=8)}")
    header, rows = _sheet(found.where, rows)
    notes = [] if found.part or len(sheets) == 1 else [_of_several(found.where, "sheet", name, sheets)]
    names = distinct(["" if each is None else str(each).strip() for each in header], notes)
    return _table(found, names, lambda step: _frames(names, rows, step), *notes)


def _of_several(where: str, word: str, name: str, all_of_them: Sequence[str]) -> str:
    others = [each for each in all_of_them if each != name]
    return f"{word} {name!r} is read; {where}::{others[0]} reads another of the {len(all_of_them)} {word}s"


def _sheet(where: str, rows: list[list[Any]]) -> tuple[list[Any], list[list[Any]]]:
    """The header and the rows of a sheet, without empty ones around them, and without columns that are empty."""
    rows = [[None if each in _WRONG_CELLS or each == "" else each for each in row] for row in rows]
    rows = [row for row in rows if any(each is not None for each in row)]
    width = max(map(len, rows), default=0)
    full = [row + [None] * (width - len(row)) for row in rows]
    while len(full) > 1 and width > 2 and sum(each is not None for each in full[0]) == 1:
        full.pop(0)  # a title above the table
    used = [place for place in range(width) if any(row[place] is not None for row in full)]
    if not full:
        raise ValueError(f"{where} must hold a table, got an empty sheet")
    header, *below = ([row[place] for place in used] for row in full)
    if not any(isinstance(each, str) for each in header):
        shown = ", ".join(map(str, header[:4]))
        raise ValueError(f"{where} must begin with a row that names its columns, got {shown}")
    return header, below


def sqlite(found: Found) -> Source:
    """A table or a view of an SQLite file: the one named after ``::``, else the only one."""
    try:
        with closing(_connected(found)) as database:
            held = database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
            tables = [name for (name,) in held if not name.startswith("sqlite_")]
            name = found.part or (tables[0] if len(tables) == 1 else "")
            if name not in tables:
                raise ValueError(_not_a_table(found, tables))
            query = f"SELECT * FROM {_quoted(name)}"
            columns = [column[0] for column in database.execute(f"{query} LIMIT 0").description]
    except sqlite3.Error:
        raise ValueError(f"{found.where} must be a whole SQLite file, got a damaged one or another kind") from None

    def frames(step: int) -> Iterator[Any]:
        try:
            with closing(_connected(found)) as database:
                yield from _frames(columns, database.execute(query), step)
        except sqlite3.Error:
            raise ValueError(f"{found.where} must be a whole SQLite file, got a damaged one") from None

    return _table(found._replace(title=name), columns, frames)


def _connected(found: Found) -> sqlite3.Connection:
    return sqlite3.connect(f"{found.path.resolve().as_uri()}?mode=ro", uri=True)


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _not_a_table(found: Found, tables: list[str]) -> str:
    if found.part:
        return f"{found.where}: the part after :: must be a table, {one_of(tables, found.part, most=8)}"
    if not tables:
        return f"{found.where} must hold a table, got none"
    held = ", ".join(tables[:8]) + (" ..." if len(tables) > 8 else "")
    return f"{found.where} must hold one table, got {held}; {found.where}::{tables[0]} reads one of them"


_DATE = re.compile(r"^(\s*@attribute\s+(?:'[^']*'|\"[^\"]*\"|\S+)\s+)date\b.*$", re.IGNORECASE | re.MULTILINE)


def arff(found: Found) -> Source:
    """An ARFF file; dates stay texts."""
    from sklearn.externals import _arff  # the reader of ``fetch_openml``; SciPy's knows no texts

    try:
        with found.open() as file:
            text = file.read().decode("utf-8-sig")
        held = _arff.loads(_DATE.sub(r"\1string", text))
    except UnicodeDecodeError:
        raise ValueError(f"{found.where} must be ARFF in UTF-8, got other bytes") from None
    except (_arff.ArffException, ValueError, LookupError) as error:  # the reader's own, and what it does not foresee
        raise ValueError(f"{found.where} must be an ARFF file: {first_line(error).rstrip('.')}") from None
    names, rows = [name for name, _ in held["attributes"]], held["data"]
    return _table(found, names, lambda step: _frames(names, rows, step))


# --- arrays ------------------------------------------------------------------------------------------------------


def npy(found: Found) -> Source:
    """An array in a file of its own, as ``matrix`` reads it."""
    try:
        array = np.load(found.path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, tokenize.TokenError):  # the header is Python
        raise ValueError(f"{found.where} must be a whole .npy file of numbers or texts, got another one") from None

    def pieces(step: int) -> Iterator[Any]:
        return (np.asarray(array[low : low + step]) for low in range(0, len(array), step))

    return matrix(found, array.shape, array.dtype, pieces, "an .npz file with X and y")


def matrix(
    found: Found, shape: tuple[int, ...], dtype: Any, pieces: Callable[[int], Iterator[Any]], otherwise: str
) -> Source:
    """An array (n, d) as a table whose columns are numbered, a structured one (n,) with its own names.

    Args:
        found: the file.
        shape: of the array.
        dtype: of the array.
        pieces: ``pieces(step)`` reads so many rows at a time, or fewer.
        otherwise: what else the file may hold, in an error.
    """
    import pandas as pd

    fields = [dtype[name] for name in dtype.names or ()]
    if len(shape) == 1 and fields and all(each.kind not in "cOV" for each in fields):
        names, notes = list(dtype.names), []
    elif len(shape) == 2 and dtype.kind in "buifUS":
        names = [f"column_{position}" for position in range(1, shape[1] + 1)]
        notes = [_unnamed(shape[1])]
    else:
        raise ValueError(f"{found.where} must hold rows of numbers (n, d), or {otherwise}, got {dtype} {shape}")

    def frames(step: int) -> Iterator[Any]:
        for part in pieces(step):
            yield pd.DataFrame(part) if dtype.names else pd.DataFrame(part, columns=names)

    return _table(found, names, frames, *notes)


def _unnamed(width: int) -> str:
    return f"the columns have no names, so they are called column_1 to column_{width}"


# --- OpenML ------------------------------------------------------------------------------------------------------


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
