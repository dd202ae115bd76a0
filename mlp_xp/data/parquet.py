"""The rows of Parquet files, or of a folder of them, read when they are asked for: a source for ``train``.

Before: nothing; what the command reads of one Parquet file is in ``typed``.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp._lib.arguments import one_of
from mlp_xp.data.files import whole
from mlp_xp.data.source import refuse_twice

# Numbers that are decoded at a time; a group of rows may be larger than memory.
_DECODED = 2**22


class _File(NamedTuple):
    """A file: the numbers of the first row of each of its groups, and of the row after the last; its columns."""

    path: Path
    starts: Any
    schema: Any


class ParquetRows:
    """Numbers in columns of Parquet files: ``shape`` (n, columns), ``dtype``, and ``X[rows]``.

    shape: rows and columns.
    dtype: of what is read.
    columns: their names.
    chunks: rows of the largest group, and columns.

    A group of rows is decoded for any of its rows: write files with groups of some thousand rows, and give ``train`` an
    order in blocks of as many, ``train.in_blocks``; estimators take such an order themselves.
    """

    def __init__(
        self, path: str | os.PathLike[str], columns: Sequence[str] | None = None, dtype: str = "float32"
    ) -> None:
        """Look at the files' headers.

        Args:
            path: a Parquet file, or a folder; its files ``*.parquet`` follow each other by name.
            columns: the columns of X in their order, all of numbers or of truth values; None for all.
            dtype: what they are read as.

        Raises:
            ValueError: there is no such file, one is damaged, or a column is missing or holds something else. What
                happens to a file later is such an error of ``X[rows]``.
            ModuleNotFoundError: pyarrow is not installed.

        >>> import numpy as np, pyarrow as pa, pyarrow.parquet, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pa.parquet.write_table(pa.table({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]}), f"{folder}/part-0.parquet")
        ...     X = ParquetRows(folder)
        ...     X.shape, X[1:].tolist(), X[np.asarray([0, 2])].tolist()
        ((3, 2), [[2.0, 1.5], [3.0, 2.5]], [[1.0, 0.5], [3.0, 2.5]])
        """
        folder = Path(path)
        found = sorted(folder.glob("*.parquet")) if folder.is_dir() else [folder]
        if not found:
            raise ValueError(f"{folder} must hold files *.parquet, got none")
        self.columns: tuple[str, ...] = () if columns is None else tuple(columns)
        self.dtype, self._files, n = np.dtype(dtype), [], 0
        for each in found:
            file = self._looked_at(each, n)
            self._files.append(file)
            n = int(file.starts[-1])
        self.shape = (n, len(self.columns))
        self.chunks = (max(int(np.diff(file.starts).max(initial=1)) for file in self._files), len(self.columns))

    def __getitem__(self, rows: Any) -> Any:
        """The rows of a slice, or of numbers in increasing order, as an array of NumPy's."""
        numbers = np.arange(*rows.indices(self.shape[0])) if isinstance(rows, slice) else np.asarray(rows)
        made = np.empty((len(numbers), len(self.columns)), dtype=self.dtype)
        for file in self._files:
            low, high = np.searchsorted(numbers, file.starts[[0, -1]])
            if low < high:
                self._fill(file, numbers[low:high], made[low:high])
        return made

    def _looked_at(self, path: Path, n: int) -> _File:
        """A file whose first row has the number ``n``; where nobody named the columns, the first file does."""
        from pyarrow import parquet, types

        with whole(str(path), "Parquet"), parquet.ParquetFile(path) as file:
            schema, sizes = file.schema_arrow, _sizes(file)
            refuse_twice(str(path), schema.names)
        self.columns = self.columns or tuple(schema.names)
        if not self.columns:
            raise ValueError(f"{path} must have columns, got none")
        for name in self.columns:
            if name not in schema.names:
                raise ValueError(f"{path}: a column must be {one_of(schema.names, name, most=10)}")
            kind = schema.field(name).type
            if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
                raise ValueError(f"{path}: column {name!r} must hold numbers, got {kind}")
        return _File(path, n + np.cumsum([0, *sizes]), schema)

    def _fill(self, file: _File, numbers: Any, made: Any) -> None:
        """Read the rows of these numbers, which are in increasing order, into ``made``."""
        from pyarrow import parquet

        ends = np.searchsorted(numbers, file.starts)
        step = max(1, _DECODED // len(self.columns))
        with whole(str(file.path), "Parquet"), parquet.ParquetFile(file.path, pre_buffer=False) as opened:
            if not (opened.schema_arrow.equals(file.schema) and np.array_equal(_sizes(opened), np.diff(file.starts))):
                raise ValueError(f"{file.path} must stay as it is while it is read, got another file in its place")
            for group in np.flatnonzero(np.diff(ends)):
                low = int(file.starts[group])
                for batch in opened.iter_batches(step, row_groups=[int(group)], columns=list(self.columns)):
                    here = slice(*np.searchsorted(numbers, [low, low + batch.num_rows]))
                    for position, name in enumerate(self.columns) if here.start < here.stop else ():
                        column = batch.column(name)
                        if column.null_count and self.dtype.kind != "f":
                            raise ValueError(f"{file.path}: column {name!r} lacks a value, and {self.dtype} has no NaN")
                        made[here, position] = column.to_numpy(zero_copy_only=False)[numbers[here] - low]
                    low += batch.num_rows


def _sizes(file: Any) -> list[int]:
    """How many rows each group of an opened file has."""
    metadata = file.metadata
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
