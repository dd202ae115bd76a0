"""Rows to learn from, opened by name: a table in any common form, arrays, images, or built-in data; read in chunks.

source     rows in chunks, and which of them are held out
files      from a name to a file on this machine: standard input, URLs, packed files
values     what a text says: a number, a date, a missing value, a category
dialect    how a text table is written, found by looking
text       text tables
typed      tables that say the types of their columns: Parquet, Excel, SQLite, JSON and others
parquet    numbers of Parquet files that are larger than memory, for ``train``
arrays     data that is built in, .npz files, folders of IDX files
stores     arrays in HDF5 files and Zarr folders, a chunk at a time
cells      a column of some rows in one of three forms
encoding   how a column becomes columns of X
tally      a column summed up, a chunk at a time
columns    what a column holds, decided once over all rows
piecewise  numbers as bins between quantiles
tables     names of version 0.1.0
target     whether the target is learned as classes or as numbers
recipe     how a model turns rows into numbers, saved with the model
"""

import os
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlp_xp._lib.arguments import check_path
from mlp_xp._lib.files import HostArray, unreadable
from mlp_xp.data import arrays, files, stores, text, typed
from mlp_xp.data.arrays import BUILT_IN
from mlp_xp.data.files import Found
from mlp_xp.data.parquet import ParquetRows
from mlp_xp.data.source import BY_LOOKING, Chunk, Reading, Source, hold_out

__all__ = [
    "BUILT_IN", "KINDS", "TABLES", "Chunk", "HostArray", "ParquetRows", "Reading", "Source", "hold_out", "open_data",
]  # fmt: skip

TABLES = tuple(suffix for suffix, kind in files.SUFFIXES.items() if kind != "npz")
KINDS = f"{', '.join(BUILT_IN)}, {files.KINDS}"

_READERS = {
    "parquet": typed.parquet,
    "arrow": typed.arrow,
    "json": typed.read_json,
    "excel": typed.excel,
    "sqlite": typed.sqlite,
    "arff": typed.arff,
    "npy": typed.npy,
    "npz": arrays.npz_file,
    "hdf5": stores.store,
    "zarr": stores.store,
}


def open_data(
    name: str | Path, reading: Reading | Iterable[str] = BY_LOOKING, usual: Reading = BY_LOOKING,
    names: Sequence[tuple[str, ...]] = (),
) -> Source:  # fmt: skip
    """Open the data called ``name``; its rows are read and checked later, by ``Source.chunks`` or ``Source.read``.

    Args:
        name: one of ``BUILT_IN``, ``openml:NAME``, the path of a file, or of a folder of IDX, Parquet or Zarr files,
            ``FILE::PART`` for a table of a database, a sheet, an array or a file in an archive, a URL, or ``-`` for
            standard input.
        reading: how a text file is read; what it leaves open is found by looking, and said in ``Source.notes``.
        usual: how such data is read: whether a line names the columns, what is missing, and the decimal mark where no
            number shows it; for new data, what was found in training.
        names: what the columns of a text file are called where no line names them, if one of these has as many names.

    Returns:
        The source. In a text file all columns are text, as in the file; other files say their types.

    Raises:
        ValueError: when the data can't be opened, or is of an unknown kind.
        TypeError: for a name that is no text or path.

    >>> iris = open_data("iris")
    >>> iris.columns[0], iris.read().X.shape
    ('sepal length (cm)', (150, 4))
    >>> next(iris.chunks(2)).y.tolist()
    ['setosa', 'setosa']
    """
    if not isinstance(reading, Reading):  # version 0.1.0 named columns to read as text here: now all are
        reading = BY_LOOKING
    name, path = str(check_path("name", name)), Path(name)
    try:
        if name in BUILT_IN:
            return arrays.built_in(name)
        if name.startswith("openml:"):
            return typed.from_openml(name)
        if name and path.is_dir() and not files.is_zarr(path):
            parts = _parquet_files(path)
            return typed.parquet_folder(path, parts) if parts else arrays.idx_folder(path)
        if name and name == path.name and not path.suffix and not path.exists() and name != "-":
            raise unreadable(name, hint=f"built in are {', '.join(BUILT_IN)}")
        return _opened(files.find(name), reading, usual, names)
    except OSError as error:
        raise unreadable(name, error) from None


_MOST_FILES = 200_000  # of a folder of data


def _parquet_files(folder: Path) -> list[Path]:
    """The Parquet files in a folder, by name. Raise for a folder such as ``/``, whose files are not counted in time."""
    found, seen = list[Path](), 0
    for parent, folders, names in os.walk(folder):
        seen += len(folders) + len(names)
        if seen > _MOST_FILES:
            raise ValueError(f"{folder} must be a folder of IDX or Parquet files, got more than {_MOST_FILES:,} files")
        found += [Path(parent, each) for each in names if each.endswith(".parquet")]
    return sorted(each for each in found if each.is_file())


def _opened(found: Found, reading: Reading, usual: Reading, names: Sequence[tuple[str, ...]]) -> Source:
    """The source of a file; what is temporary goes with it."""
    try:
        is_text = found.kind == "text"
        source = text.open_text(found, reading, usual, names) if is_text else _READERS[found.kind](found)
    except BaseException:
        found.remove()
        raise
    if found.folder is None:
        return source._replace(file=found.path)
    weakref.finalize(source.chunks, found.remove)
    return source
