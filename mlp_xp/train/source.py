"""Data on disk: what has ``shape``, ``dtype`` and ``X[rows]``, as arrays of Zarr, data sets of HDF5 and ``np.memmap``.

Nothing but the rows of some steps is in memory at a time: those that are learned from, and those that a thread reads
meanwhile. A source may hold its rows in chunks, each of which is read whole for one of them, so the rows of many steps
are read together.

Next: ``dataset`` takes batches of a source, as it does of an array.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from threading import Thread
from typing import Any, TypeVar

import numpy as np  # for what is read
from array_api_compat import is_array_api_obj

from mlp_xp._lib.arguments import check_whole
from mlp_xp._lib.namespace import spans

Made = TypeVar("Made")

# Bytes that are read at a time, of which there are twice as many.
_READ = 2**24


def is_source(X: Any) -> bool:
    """Whether ``X`` is no array or sparse matrix, and yet has rows that can be asked for; or an array in a file."""
    if isinstance(X, np.memmap):  # the pages of whose next rows are read from disk meanwhile, too
        return X.ndim > 1
    if is_array_api_obj(X) or hasattr(X, "toarray") or not hasattr(X, "__getitem__"):
        return False
    return hasattr(X, "dtype") and len(getattr(X, "shape", ())) > 1


def chunk_of(X: Any) -> int:
    """How many rows of a source are read for one of them: those of a chunk, where it says that it has some; else 0."""
    chunks = getattr(X, "chunks", None) if is_source(X) else None
    return int(chunks[0]) if chunks else 0


class Rows:
    """Rows of a source, or of an array, as a source in a floating dtype.

    shape: of what is read.
    dtype: of what is read.
    made: what becomes of rows when they are read.
    chunks: how many rows are best read together, and their shape; None where that makes no difference.
    """

    def __init__(
        self, X: Any, dtype: Any, made: Callable[[Any], Any] = lambda rows: rows, numbers: Any = None,
        width: int | None = None, together: int = 0,
    ) -> None:  # fmt: skip
        """Take the rows of these numbers, or all for None.

        ``width`` is of those that are made, where it is another; ``together`` how many are best read together, where
        ``X`` does not say it.
        """
        n = X.shape[0] if numbers is None else len(numbers)
        self.shape = (n, *X.shape[1:]) if width is None else (n, width)
        self.dtype, self.made, self._X, self._numbers = np.dtype(dtype), made, X, numbers
        self.chunks = (together, *self.shape[1:]) if together else getattr(X, "chunks", None)

    def __getitem__(self, rows: Any) -> Any:
        """The rows of a slice, or of numbers in increasing order, as an array of NumPy's."""
        read = self._X[rows] if self._numbers is None else read_rows(self._X, self._numbers[rows])
        return self.made(np.asarray(read, dtype=self.dtype))


def read_rows(X: Any, rows: Any) -> Any:
    """``X[rows]`` of a source, an array on the host.

    Args:
        X: the source.
        rows: a slice; or numbers of rows in any order, which may repeat. They are asked for in increasing order and
            once, for HDF5 takes no others; or as a slice, where they have no gaps.

    Raises:
        ValueError, TypeError: the source gives something else than as many rows of real numbers.
    """
    read, back = _asked(X, rows)
    return read if back is None else read[back]


def _asked(X: Any, rows: Any) -> tuple[Any, Any]:
    """The rows of a slice, and None; or those of the numbers, each once, and the place of each number among them."""
    if isinstance(rows, slice):
        return _read(X, rows, len(range(*rows.indices(X.shape[0])))), None
    numbers, back = np.unique(rows, return_inverse=True)
    n = len(numbers)
    first = int(numbers[0]) if n else 0  # a rank may have no rows in a step
    return _read(X, slice(first, first + n) if not n or numbers[-1] - first == n - 1 else numbers, n), back


def _read(X: Any, rows: Any, n: int) -> Any:
    read = np.asarray(X[rows])
    if read.dtype.kind not in "biuf":
        raise TypeError(f"X must hold real numbers, got {read.dtype}")
    if read.shape != (n, *X.shape[1:]):
        raise ValueError(f"X[rows] must have shape {(n, *X.shape[1:])} for {n} rows, got {read.shape}")
    return read


def read_ahead(X: Any, rows: Any, parts: Iterable[slice]) -> Iterator[Any]:
    """The rows of each part, an array on the host; the next ones are read while these are used.

    Args:
        X: the source.
        rows: numbers of rows in any order; None for all as they come.
        parts: slices of ``rows`` without gaps, one after the other.
    """
    most = max(1, _READ // max(1, np.dtype(X.dtype).itemsize * X.shape[1]))
    groups = list(_grouped(parts, most))
    asked = (slice(group[0].start, group[-1].stop) for group in groups)
    reads = ahead(partial(_asked, X, span if rows is None else rows[span]) for span in asked)
    for group in groups:
        low = group[0].start
        read, back = next(reads)
        for part in group:
            here = slice(part.start - low, part.stop - low)
            yield read[here] if back is None else read[back[here]]
        del read  # before the next ones come


def _grouped(parts: Iterable[slice], most: int) -> Iterator[list[slice]]:
    """Parts that follow each other, in groups of at most so many rows, or of one part."""
    group: list[slice] = []
    for part in parts:
        if group and part.stop - group[0].start > most:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def all_of(X: Any, rows: Any = None) -> Iterator[Any]:
    """These rows of a source, or all of them for None, part by part on the host."""
    return read_ahead(X, rows, spans(X.shape[0] if rows is None else len(rows), X.shape[1], _READ // 8))


def ahead(calls: Iterable[Callable[[], Made]]) -> Iterator[Made]:
    """What each call returns, or raises; the next one is made, in a thread, while the caller uses it.

    A thread makes one call and ends, so that none is left where nobody asks for more.
    """
    following = iter(calls)
    coming = _begun(next(following, None))
    try:
        while coming is not None:
            made = coming.result()
            coming = _begun(next(following, None))
            yield made
            del made  # or it would be there for as long as the next one takes to come
    finally:
        if coming is not None:
            wait([coming])


def _begun(call: Callable[[], Made] | None) -> "Future[Made] | None":
    """What a call will return, made in a thread; None for None."""
    if call is None:
        return None
    future: Future[Made] = Future()

    def make() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # which is raised where the result is asked for
            future.set_exception(error)

    Thread(target=make, name="mlp_xp reads ahead").start()
    return future


def shuffled(random: Any, X: Any, n: int) -> Any:
    """Numbers of ``n`` rows of ``X`` in a random order; of a source in chunks as ``in_blocks`` has them.

    Blocks are chunks, as many mixed as are read at a time, so that each chunk is read about once.
    """
    size = chunk_of(X)
    if not size:
        return random.permutation(n)
    return _blocks(random, n, size, max(1, _READ // (size * np.dtype(X.dtype).itemsize * X.shape[1])))


def _blocks(random: Any, rows: int, size: int, mixed: int) -> Any:
    starts = size * random.permutation(-(-rows // size))
    together = [starts[low : low + mixed] for low in range(0, len(starts), mixed)]
    parts = ((each[:, None] + np.arange(size)).ravel() for each in together)
    return np.concatenate([random.permutation(part[part < rows]) for part in parts])


def in_blocks(rows: int, size: int, *, mixed: int = 16, seed: int = 0) -> Callable[[int], Any]:
    """An ``order`` of ``train`` for data on disk: blocks in a random order, the rows of some blocks among each other.

    A source that holds its rows in chunks reads a whole chunk for one row. In this order each chunk is read about
    once an epoch, where a random order of all rows reads it many times. Where a source says its ``chunks``, as those of
    Zarr, HDF5 and ``ParquetRows`` do, ``train`` and the estimators take such an order by themselves.

    Args:
        rows: how many rows are learned from, without those that are held out.
        size: rows of a block; a multiple of the rows of a chunk.
        mixed: how many blocks are shuffled together.
        seed: of the order, which changes from epoch to epoch.

    Returns:
        ``order(number)``, the rows in the order of that epoch.

    Raises:
        ValueError, TypeError: for an argument that is something else.

    >>> in_blocks(8, 2, mixed=2)(1).tolist()
    [7, 1, 0, 6, 5, 3, 4, 2]
    """
    rows, size, mixed, seed = (
        check_whole(name, value, least)
        for name, value, least in (("rows", rows, 1), ("size", size, 1), ("mixed", mixed, 1), ("seed", seed, 0))
    )
    return partial(_of_epoch, rows, size, mixed, seed)


def _of_epoch(rows: int, size: int, mixed: int, seed: int, number: int) -> Any:
    return _blocks(np.random.default_rng((seed, number)), rows, size, mixed)
