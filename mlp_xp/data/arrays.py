"""Data that comes as arrays: built in, in a .npz file, or in a folder of IDX files, read a batch at a time.

``named`` is for all files that hold arrays by their names.

An error about a file is one sentence that begins with its name: what was expected, and what was found.

Next: ``stores`` has arrays of HDF5 and Zarr, ``recipe`` turns rows into numbers, ``cli`` trains on them.
"""

import gzip
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mlp_xp._lib.files import HostArray
from mlp_xp.data.files import Found
from mlp_xp.data.source import Chunk, Source

BUILT_IN = ("digits", "iris", "wine", "breast_cancer", "diabetes")


def _from_arrays(where: str, X: HostArray, y: HostArray | None) -> Callable[[int | None], Iterator[Chunk]]:
    """The ``chunks`` of arrays that are in memory."""

    def chunks(rows: int | None) -> Iterator[Chunk]:
        step = rows or max(len(X), 1)
        for low in range(0, len(X), step):
            part = slice(low, low + step)
            yield Chunk(_features(where, X[part], low), None if y is None else y[part], low)

    return chunks


def built_in(name: str) -> Source:
    """A data set of scikit-learn, by its name; ``sklearn.datasets`` says where it is from."""
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    y = bunch.target if name in ("digits", "diabetes") else np.asarray(bunch.target_names)[bunch.target].astype(str)
    columns = tuple(map(str, bunch.feature_names))
    image_shape = (8, 8) if name == "digits" else None
    X = bunch.data / 16.0 if image_shape else bunch.data  # pixels count 0 to 16
    return Source(name, name, columns, _from_arrays(name, X, y), image_shape=image_shape)


# --- arrays by their names ---------------------------------------------------------------------------------------


class Head(NamedTuple):
    """Shape and dtype of an array in a file."""

    shape: tuple[int, ...]
    dtype: Any


Names: TypeAlias = tuple[str, str, str, str]
"""What X, y, and those of a test set are called in a file, which need not hold the last three."""

_NAMES: tuple[Names, ...] = (("X", "y", "X_test", "y_test"), ("x_train", "y_train", "x_test", "y_test"))

Pieces: TypeAlias = Callable[[str, int | None], Iterator[HostArray]]
"""``pieces(name, rows)``: an array of a file, so many rows at a time or fewer, all of them at once for None."""


def names_in(heads: Mapping[str, Head]) -> Names | None:
    """The names that a file uses, by that of X; None where it holds no such array."""
    return next((names for names in _NAMES if names[0] in heads), None)


def named(found: Found, heads: Mapping[str, Head], names: Names, pieces: Pieces) -> Source:
    """The source of a file with arrays of these names.

    Raises:
        ValueError: when they are no rows of numbers, or the targets are not as many as the rows.
    """
    where = found.where
    X, (y, X_test, y_test) = names[0], (name if name in heads else None for name in names[1:])
    if (X_test is None) != (y_test is None):
        raise ValueError(f"{where} must hold both {names[2]} and {names[3]} or neither, got {X_test or y_test}")
    row = heads[X].shape[1:]
    image = row[:-1] if len(row) == 3 and row[-1] == 1 else row
    image_shape = (int(image[0]), int(image[1])) if len(image) == 2 else None

    def part(X: str, y: str | None, test: Source | None = None) -> Source:
        shape, dtype = heads[X]
        if len(shape) < 2 or dtype.kind not in "buif":
            expected = "numbers (n, d_in) or images (n, height, width)"
            raise ValueError(f"{where}: {X} must be {expected}, got {dtype} {shape}")
        if y is not None and heads[y].dtype.kind in "cOTV":
            expected = "numbers or texts of a fixed length, as y.astype('S') makes them"
            raise ValueError(f"{where}: {y} must hold {expected}, got {heads[y].dtype}")
        targets = None if y is None else (f"{where}: {y}", heads[y].shape)
        _check_shapes((f"{where}: {X}", shape), targets, row, "target")

        def chunks(rows: int | None) -> Iterator[Chunk]:
            """Features a piece at a time; targets, one number a row, at once."""
            labels = None if y is None else np.concatenate(list(pieces(y, None))).reshape(shape[0])
            low = 0
            for each in pieces(X, rows):
                own = None if labels is None else labels[low : low + len(each)]
                yield Chunk(_features(f"{where}: {X}", each, low), own, low)
                low += len(each)

        return Source(found.title, where, None, chunks, test, image_shape)

    return part(X, y, None if X_test is None else part(X_test, y_test))


# --- .npz --------------------------------------------------------------------------------------------------------

_UNZIPPING = (zipfile.BadZipFile, zlib.error)


def npz_file(found: Found) -> Source:
    """Arrays ``X``, ``y``, ``X_test``, ``y_test``, or ``x_train``, ``y_train``, ...; only X is needed."""
    path, where = found.path, found.where
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{where} must be an .npz file, got a file that is empty, truncated or of another kind")
    heads = _npz_heads(path, where)
    names = names_in(heads)
    if names is None:
        raise ValueError(f"{where} must hold X and y, or x_train and y_train, got {', '.join(heads) or 'nothing'}")
    return named(found, heads, names, partial(_npz_pieces, found))


@contextmanager
def _whole_npz(path: Path, where: str) -> Iterator[zipfile.ZipFile]:
    """The open archive; an error while it is read becomes one sentence."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    # NumPy, zip and zlib raise these for archives that are damaged, encrypted, or hold pickled objects
    except (ValueError, EOFError, MemoryError, RuntimeError, SyntaxError, tokenize.TokenError, *_UNZIPPING) as error:
        if str(error).startswith(where):
            raise
        raise ValueError(f"{where} must be a whole .npz file: {error}") from None


def _npz_heads(path: Path, where: str) -> dict[str, Head]:
    """The head of each array, without reading its values."""
    heads: dict[str, Head] = {}
    with _whole_npz(path, where) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                shape, _, dtype = _npy_head(stream)
            heads[member.removesuffix(".npy")] = Head(tuple(shape), dtype)
    return heads


def _npy_head(stream: Any) -> tuple[tuple[int, ...], bool, Any]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are not read: allow_pickle=False")
    return shape, fortran, dtype


def _npz_pieces(found: Found, name: str, rows: int | None) -> Iterator[HostArray]:
    """An array, so many rows at a time as they are unpacked."""
    with _whole_npz(found.path, found.where) as archive, archive.open(f"{name}.npy") as stream:
        yield from _pieces(stream, rows)


def _pieces(stream: Any, rows: int | None) -> Iterator[HostArray]:
    shape, fortran, dtype = _npy_head(stream)
    step = shape[0] if fortran or not rows else rows
    for low in range(0, shape[0], max(step, 1)):
        part = (min(step, shape[0] - low), *shape[1:])
        raw = stream.read(math.prod(part) * dtype.itemsize)
        array = np.frombuffer(raw, dtype)
        if array.size != math.prod(part):
            raise ValueError("it ends before its arrays do")
        yield array.reshape(part, order="F" if fortran else "C")


# --- IDX ---------------------------------------------------------------------------------------------------------


_IDX_NAMES = {"train-images": 3, "train-labels": 1, "t10k-images": 3, "t10k-labels": 1}
"""Start of a file's name -> the rank of its array."""


def idx_folder(folder: Path) -> Source:
    """Images and labels in a folder such as MNIST's, and its test set where it has one."""
    paths = {stem: _find_idx(folder, stem, rank) for stem, rank in _IDX_NAMES.items()}
    if not (paths["t10k-images"] or paths["t10k-labels"]):
        del paths["t10k-images"], paths["t10k-labels"]
    missing = [f"{stem}-idx{_IDX_NAMES[stem]}-ubyte" for stem, path in paths.items() if path is None]
    if missing:
        found = sorted(path.name for path in folder.iterdir())
        listed = ", ".join(found[:6]) + (" ..." if len(found) > 6 else "")
        raise ValueError(f"{folder} must hold {' and '.join(missing)}, plain or .gz, got {listed or 'an empty folder'}")
    files = [(str(path), _read_idx(path, _IDX_NAMES[stem])) for stem, path in paths.items() if path]
    shape = files[0][1].shape[1:]
    parts: list[Source] = []
    for (X_path, X), (y_path, y) in zip(files[::2], files[1::2], strict=True):  # the training set, the test set
        _check_shapes((X_path, X.shape), (y_path, y.shape), shape, "label")
        chunks = _from_arrays(X_path, X, y.astype(np.int64))
        parts.append(Source(folder.resolve().name, str(folder), None, chunks, None, (shape[0], shape[1])))
    return parts[0]._replace(test=parts[1] if parts[1:] else None)


def _find_idx(folder: Path, stem: str, rank: int) -> Path | None:
    names = (f"{stem}{dot}idx{rank}-ubyte{suffix}" for dot in "-." for suffix in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_idx(path: Path, rank: int) -> HostArray:
    """The unsigned bytes of an IDX file: 0, 0, 8, rank, the sizes in four big-endian bytes each, then the bytes."""
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":  # gzip, whatever the name says
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error):
            raise ValueError(f"{path} must be a whole gzip file, got a truncated or damaged one") from None
    header = 4 + 4 * rank
    if len(raw) < header:
        raise ValueError(f"{path} must begin with an IDX header of {header} bytes, got {len(raw)} bytes")
    if raw[:4] != bytes((0, 0, 8, rank)):
        expected = f"unsigned bytes in {rank} dimensions, magic number 0x{0x800 + rank:08x}"
        raise ValueError(f"{path} must be an IDX file of {expected}, got 0x{raw[:4].hex()}")
    shape = struct.unpack(f">{rank}I", raw[4:header])
    if len(raw) - header != math.prod(shape):
        raise ValueError(f"{path} must hold {math.prod(shape):,} bytes for shape {shape}, got {len(raw) - header:,}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


# --- shapes and values ------------------------------------------------------------------------------------------


_Named: TypeAlias = tuple[str, tuple[int, ...]]
"""The name of an array in an error, and its shape."""


def _check_shapes(X: _Named, y: _Named | None, row: tuple[int, ...], word: str) -> None:
    """Raise unless X has rows of shape ``row``, and y a target, called ``word``, for each of them."""
    where, (n, *_) = X
    if X[1][1:] != row:
        raise ValueError(f"{where} must have rows of shape {row}, got {X[1][1:]}")
    if math.prod(X[1]) == 0:
        raise ValueError(f"{where} must have at least one row and one column, got shape {X[1]}")
    if y is not None and y[1] not in ((n,), (n, 1)):
        raise ValueError(f"{y[0]} must hold one {word} for each of the {n} rows, shape ({n},), got {y[1]}")


def _features(where: str, X: HostArray, first: int) -> HostArray:
    """``X`` as floats (n, d_in); unsigned bytes are pixels and become 0 ... 1."""
    flat = X.reshape(len(X), -1)
    if X.dtype == np.uint8:
        return np.divide(flat, 255, dtype=np.float32)
    with np.errstate(invalid="ignore"):  # of numbers that are none
        flat = flat if X.dtype in (np.float32, np.float64) else flat.astype(np.float64)
    if not np.isfinite(flat).all():
        row, column = np.argwhere(~np.isfinite(flat))[0]
        raise ValueError(f"{where}[{first + row}, {column}] must be finite, got {flat[row, column]}")
    return flat
