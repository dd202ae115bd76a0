"""Where data comes from, by its name: built in, .npz, a folder of IDX files, or a table; read a batch at a time.

source  rows in chunks, and which of them are held out
arrays  what is built in, .npz files, folders of IDX files
tables  tables with named columns, and what a column holds
recipe  how a model makes numbers of rows, kept with it
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlp_xp.data import arrays, tables
from mlp_xp.data.arrays import BUILT_IN
from mlp_xp.data.source import Chunk, Source, hold_out

__all__ = ["BUILT_IN", "KINDS", "TABLES", "Chunk", "Source", "hold_out", "open_data"]

TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")
KINDS = f"{', '.join(BUILT_IN)}, a .npz, {', '.join(TABLES)} file, a folder of IDX files, or openml:NAME"


def open_data(name: str, text_columns: Sequence[str] = ()) -> Source:
    """The data called ``name``: what is wrong with the rows is said when they are read.

    Args:
        name: of a file, a folder or what is built in.
        text_columns: columns of a .csv or .tsv file to be read as they are written: what looks like a number too.

    Raises:
        ValueError: when it can't be read or is not what it should be.
    """
    path = Path(name)
    try:
        if name in BUILT_IN:
            return arrays.built_in(name)
        if name.startswith("openml:") or path.suffix.lower() in TABLES:
            if name.startswith("openml:"):
                return tables.from_openml(name)
            return tables.open_table(path, text_columns)
        if path.is_dir():
            return arrays.idx_folder(path)
        if not path.exists():
            nearest = f"; built in are {', '.join(BUILT_IN)}" if not path.suffix and path.name == name else ""
            raise ValueError(f"{name} can't be read: No such file or directory{nearest}")
        if path.suffix.lower() != ".npz":
            raise ValueError(f"{name} must be {KINDS}, got a file that ends in {path.suffix or 'nothing'}")
        return arrays.npz_file(path)
    except OSError as error:
        raise ValueError(f"{name} can't be read: {error.strerror or error}") from None
