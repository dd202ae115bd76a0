"""Tables in memory as sources: of texts, as a .csv file is read, or of types, as a Parquet file is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mlp_xp.data.source import Chunk, Reading, Source

pd = pytest.importorskip("pandas", reason="tables are data frames")


UNREAD = Reading()


def typed(frame: Any, name: str = "data.parquet", reading: Reading = UNREAD, target: str | None = None) -> Source:
    """A data frame as a source."""

    def chunks(rows: int | None) -> Iterator[Chunk]:
        step = rows or max(len(frame), 1)
        for low in range(0, len(frame), step):
            yield Chunk(frame[low : low + step], None, low)

    columns = tuple(map(str, frame.columns))
    return Source(name, name, columns, chunks, target=target, is_table=True, reading=reading)


def texts(columns: dict[str, list[str]], decimal: str = ".", missing: tuple[str, ...] = ()) -> Source:
    """Columns of texts as a source, an empty text being an empty field."""
    reading = Reading(",", decimal, "utf-8", True, missing)
    return typed(pd.DataFrame({name: pd.Series(values, dtype="str") for name, values in columns.items()}),
                 "data.csv", reading)  # fmt: skip
