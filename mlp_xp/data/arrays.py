"""Data that comes as arrays: built in, in a .npz file, or in a folder of IDX files, read a batch at a time.

An error about a file is one sentence that begins with its name: what was expected, and what was found.

Next: ``tables`` opens data with named columns, ``recipe`` turns rows into numbers, ``cli`` trains on them.
"""

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.data.source import Chunk, HostArray, Source

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


# --- .npz --------------------------------------------------------------------------------------------------------

_NPZ_NAMES = (("X", "y", "X_test", "y_test"), ("x_train", "y_train", "x_test", "y_test"))


def npz_file(path: Path) -> Source:
    """Arrays ``X``, ``y``, ``X_test``, ``y_test``, or ``x_train``, ``y_train``, ...; only X is needed."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path} must be an .npz file, got a file that is empty, truncated or of another kind")
    heads = _npz_heads(path)
    names = next((names for names in _NPZ_NAMES if names[0] in heads), None)
    if names is None:
        raise ValueError(f"{path} must hold X and y, or x_train and y_train, got {', '.join(heads) or 'nothing'}")
    X, y, X_test, y_test = (name if name in heads else None for name in names)
    if (X_test is None) != (y_test is None):
        raise ValueError(f"{path} must hold both {names[2]} and {names[3]} or neither, got {X_test or y_test}")
    shape = heads[str(X)][0]
    if X_test is not None and heads[X_test][0][1:] != shape[1:]:
        raise ValueError(f"{path}: {X_test} must have rows of shape {shape[1:]}, got {heads[X_test][0][1:]}")
    image = shape[1:-1] if len(shape) == 4 and shape[-1] == 1 else shape[1:]
    image_shape = (int(image[0]), int(image[1])) if len(image) == 2 else None

    def part(X: str, y: str | None, test: Source | None = None) -> Source:
        _check_heads(path, X, heads[X], y, None if y is None else heads[y])
        return Source(path.stem, str(path), None, lambda rows: _npz_chunks(path, X, y, heads[X][0][0], rows), test,
                      image_shape)  # fmt: skip

    return part(str(X), y, None if X_test is None else part(X_test, y_test))


def _check_heads(path: Path, X: str, head: tuple[Any, Any], y: str | None, y_head: tuple[Any, Any] | None) -> None:
    shape, dtype = head
    if len(shape) < 2 or dtype.kind not in "buif":
        raise ValueError(f"{path}: {X} must be numbers (n, d_in) or images (n, height, width), got {dtype} {shape}")
    if math.prod(shape) == 0:
        raise ValueError(f"{path}: {X} must have at least one row and one column, got shape {shape}")
    if y_head is not None and y_head[0] not in ((shape[0],), (shape[0], 1)):
        raise ValueError(
            f"{path}: {y} must hold one target for each of the {shape[0]} rows, shape ({shape[0]},), got {y_head[0]}"
        )


@contextmanager
def _whole_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """The open archive; an error while it is read becomes one sentence."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    # NumPy, zip and zlib raise these for archives that are damaged, encrypted, or hold pickled objects
    except (ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} must be a whole .npz file: {error}") from None


def _npz_heads(path: Path) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Name -> shape and dtype of each array, without reading its values."""
    heads: dict[str, tuple[tuple[int, ...], Any]] = {}
    with _whole_npz(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                shape, _, dtype = _npy_head(stream)
            heads[member.removesuffix(".npy")] = (tuple(shape), dtype)
    return heads


def _npy_head(stream: Any) -> tuple[tuple[int, ...], bool, Any]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are not read: allow_pickle=False")
    return shape, fortran, dtype


def _npz_chunks(path: Path, X: str, y: str | None, n: int, rows: int | None) -> Iterator[Chunk]:
    """Features a piece at a time, as they are unpacked; targets, one number a row, at once."""
    targets = None
    with _whole_npz(path) as archive:
        if y is not None:
            with archive.open(f"{y}.npy") as stream:
                targets = np.concatenate(list(_pieces(stream, None))).reshape(n)
        low = 0
        with archive.open(f"{X}.npy") as stream:
            for part in _pieces(stream, rows):
                labels = None if targets is None else targets[low : low + len(part)]
                yield Chunk(_features(f"{path}: {X}", part, low), labels, low)
                low += len(part)


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
    for (X_path, X), (y_path, y) in reversed([files[:2], *([files[2:]] if len(files) > 2 else [])]):
        if X.shape[1:] != shape:
            raise ValueError(f"{X_path} must have rows of shape {shape}, got {X.shape[1:]}")
        if X.size == 0:
            raise ValueError(f"{X_path} must have at least one row and one column, got shape {X.shape}")
        if y.shape != (len(X),):
            raise ValueError(
                f"{y_path} must hold one label for each of the {len(X)} rows, shape ({len(X)},), got {y.shape}"
            )
        chunks = _from_arrays(X_path, X, y.astype(np.int64))
        parts.append(Source(folder.resolve().name, str(folder), None, chunks, None, (shape[0], shape[1])))
    return parts[-1]._replace(test=parts[0] if len(parts) > 1 else None)


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
        raise ValueError(
            f"{path} must be an IDX file of unsigned bytes in {rank} dimensions, "
            f"magic number 0x{0x800 + rank:08x}, got 0x{raw[:4].hex()}"
        )
    shape = struct.unpack(f">{rank}I", raw[4:header])
    if len(raw) - header != math.prod(shape):
        raise ValueError(f"{path} must hold {math.prod(shape):,} bytes for shape {shape}, got {len(raw) - header:,}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


# --- values ------------------------------------------------------------------------------------------------------


def _features(where: str, X: HostArray, first: int) -> HostArray:
    """``X`` as floats (n, d_in); unsigned bytes are pixels and become 0 ... 1."""
    flat = X.reshape(len(X), -1)
    if X.dtype == np.uint8:
        return np.divide(flat, 255, dtype=np.float32)
    flat = flat if X.dtype in (np.float32, np.float64) else flat.astype(np.float64)
    if not np.isfinite(flat).all():
        row, column = np.argwhere(~np.isfinite(flat))[0]
        raise ValueError(f"{where}[{first + row}, {column}] must be finite, got {flat[row, column]}")
    return flat
