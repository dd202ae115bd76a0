"""Rows to learn from, opened by name: built in, .npz, a folder of IDX files, or a table; read a batch at a time.

source  rows in chunks, and which of them are held out
arrays  data that is built in, .npz files, folders of IDX files
tables  tables with named columns, and what a column holds
recipe  how a model turns rows into numbers, saved with the model
"""

from collections.abc import Sequence
from pathlib import Path

from mlp_xp._lib.files import HostArray
from mlp_xp.data import arrays, tables
from mlp_xp.data.arrays import BUILT_IN
from mlp_xp.data.source import Chunk, Source, hold_out

__all__ = ["BUILT_IN", "KINDS", "TABLES", "Chunk", "HostArray", "Source", "hold_out", "open_data"]

TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")
KINDS = f"{', '.join(BUILT_IN)}, a .npz, {', '.join(TABLES)} file, a folder of IDX files, or openml:NAME"


def open_data(name: str, text_columns: Sequence[str] = ()) -> Source:
    """Open the data called ``name``; its rows are read and checked later, by ``Source.chunks`` or ``Source.read``.

    Args:
        name: one of ``BUILT_IN``, ``openml:NAME``, or the path of a file or a folder.
        text_columns: columns of a .csv or .tsv file to read as text, even where they look like numbers.

    Raises:
        ValueError: when the data can't be opened, or is of an unknown kind.

    >>> iris = open_data("iris")
    >>> iris.columns[0], iris.read().X.shape
    ('sepal length (cm)', (150, 4))
    >>> next(iris.chunks(2)).y.tolist()
    ['setosa', 'setosa']
    """
    path = Path(name)
    try:
        if name in BUILT_IN:
            return arrays.built_in(name)
        if name.startswith("openml:"):
            return tables.from_openml(name)
        if path.suffix.lower() in TABLES:
            return tables.open_table(path, text_columns)
        if path.is_dir():
            return arrays.idx_folder(path)
        if not path.exists():
            hint = f"; built in are {', '.join(BUILT_IN)}" if not path.suffix and path.name == name else ""
            raise ValueError(f"{name} can't be read: No such file or directory{hint}")
        if path.suffix.lower() != ".npz":
            raise ValueError(f"{name} must be {KINDS}, got a file that ends in {path.suffix or 'nothing'}")
        return arrays.npz_file(path)
    except OSError as error:
        raise ValueError(f"{name} can't be read: {error.strerror or error}") from None
