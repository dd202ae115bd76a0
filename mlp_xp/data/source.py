"""``Source``, rows that can be read in chunks, which all functions that open data return; ``hold_out`` splits them."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp._lib.arguments import check_number, check_whole
from mlp_xp._lib.files import HostArray


class Chunk(NamedTuple):
    """Consecutive rows.

    X: a floating array (n, d_in), or a data frame that has the target among its columns.
    y: the targets (n,); None without targets, and where X is a frame.
    first: the number of rows before these.
    """

    X: Any
    y: HostArray | None
    first: int


class Reading(NamedTuple):
    """How a text file is read; None is found by looking.

    separator: between two fields.
    decimal: the decimal mark, "." or ",".
    encoding: such as "utf-8".
    header: whether the first line names the columns.
    missing: texts that stand for a missing value, besides the usual ones.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    missing: tuple[str, ...] = ()

    def over(self, other: "Reading") -> "Reading":
        """These choices, and those of ``other`` where these leave one open.

        >>> Reading(separator=";").over(Reading(separator=",", decimal=","))[:2]
        (';', ',')
        """
        return other._replace(**{name: each for name, each in self._asdict().items() if each not in (None, ())})


BY_LOOKING = Reading()


class Source(NamedTuple):
    """Data that can be read.

    name: its name in a heading.
    where: its name in an error.
    columns: names of the columns; None where they have none.
    chunks: ``chunks(rows)`` reads that many rows at a time, ``chunks(None)`` all at once.
    test: the test set, where the data has one.
    image_shape: (height, width) when the columns are the pixels of an image, row by row.
    target: the name of the target among ``columns``, where the data says it.
    is_table: whether the chunks are data frames.
    reading: how its text is read, nothing left to find; the default for data without text.
    notes: sentences that say what was found by looking.
    file: the file that is read, where there is one on this machine.
    """

    name: str
    where: str
    columns: tuple[str, ...] | None
    chunks: Callable[[int | None], Iterator[Chunk]]
    test: "Source | None" = None
    image_shape: tuple[int, int] | None = None
    target: str | None = None
    is_table: bool = False
    reading: Reading = Reading()
    notes: tuple[str, ...] = ()
    file: Path | None = None

    def read(self) -> Chunk:
        """All rows at once.

        Raises:
            ValueError: when there are none.
        """
        chunk = next(self.chunks(None), None)
        if chunk is None or len(chunk.X) == 0:
            raise no_rows(self.where)
        return chunk


ROWS = 2**16  # read at a time, where all are wanted


def table(name: str, where: str, columns: tuple[str, ...], frames: Callable[[int], Iterator[Any]]) -> Source:
    """The source of data frames with these columns; ``frames(rows)`` reads so many rows at a time, or fewer.

    Raises:
        ValueError: when two columns have the same name.
    """
    refuse_twice(where, columns)

    def chunks(rows: int | None) -> Iterator[Chunk]:
        import pandas as pd

        first, parts = 0, []
        for frame in frames(rows or ROWS):
            if rows is None:
                parts.append(frame)
            elif len(frame):
                yield Chunk(frame, None, first)
                first += len(frame)
        if parts:
            yield Chunk(pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0], None, 0)

    return Source(name, where, columns, chunks, is_table=True)


def refuse_twice(where: str, names: Sequence[str]) -> None:
    """Raise ``ValueError`` where two columns have the same name."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{where} must have columns of different names, got {twice!r} twice")


def no_rows(where: str) -> ValueError:
    """The error of a source without rows."""
    return ValueError(f"{where} must have at least one row, got none")


def hold_out(
    share: float, seed: int, n: int, labels: HostArray | None = None, where: str = "the data"
) -> tuple[HostArray, HostArray]:
    """Which of ``n`` rows are kept and which are held out, both in random order.

    About the same share of each label is held out, but never its last row. At least one row is held out, unless
    ``share`` is 0.

    Args:
        share: of the rows to hold out, 0 ... 1.
        seed: of the random order.
        n: the number of rows.
        labels: (n,); None to draw from all rows alike.
        where: the name of the data in an error.

    Returns:
        The indices of the rows that are kept, and of those held out.

    Raises:
        ValueError: when there are not enough rows, and for an argument out of range.
        TypeError: for an argument that is something else.

    >>> kept, held = hold_out(0.25, 0, 8)
    >>> len(kept), len(held), len({*kept, *held})
    (6, 2, 8)
    """
    share, n = check_number("share", share, 0.0, math.nextafter(1.0, 2.0)), check_whole("n", n, 0)
    if labels is not None and np.shape(labels) != (n,):
        raise ValueError(f"labels must have shape ({n},), one for each row, got {np.shape(labels)}")
    order = np.random.default_rng(check_whole("seed", seed, 0)).permutation(n)
    groups = [order] if labels is None else [order[labels[order] == label] for label in np.unique(labels)]
    held, owed = [], 0.0
    for group in sorted(groups, key=len):
        owed += share * len(group)  # rows that a small group could not give are taken from the next
        count = min(round(owed), len(group) - 1)
        owed -= count
        held.append(group[:count])
    if not sum(map(len, held)) and share:
        largest = max(groups, key=len, default=order)
        if len(largest) < 2:
            of = "" if labels is None else " of one class"
            raise ValueError(f"{where} must have at least 2 rows{of} to hold some of them out, got {n} in all")
        held = [largest[:1]]
    out = np.zeros(n, dtype=bool)
    for group in held:
        out[group] = True
    chosen = out[order]
    return order[~chosen], order[chosen]
