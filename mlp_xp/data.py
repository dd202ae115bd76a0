"""What to train on: scikit-learn's digits, an .npz file, or a folder of MNIST-style IDX files, as arrays of the host.

Whatever is wrong with a file is one sentence that begins with its name: what was expected, what came.

Next: ``train`` takes the arrays, once ``cli`` has put them on a device.
"""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

HostArray: TypeAlias = NDArray[Any]

_TEST_SHARE = 0.2  # of the rows, where the data comes without a test set


class Data(NamedTuple):
    """A classification problem.

    name: what it is called in a heading.
    X, X_test: (n, d_in), floating and finite; images of unsigned bytes are scaled to 0 ... 1.
    y, y_test: labels (n,), int64, 0 to ``classes - 1``.
    classes: how many labels there are.
    image_shape: (height, width) when the columns are the pixels of an image, row by row.
    """

    name: str
    X: HostArray
    y: HostArray
    X_test: HostArray
    y_test: HostArray
    classes: int
    image_shape: tuple[int, int] | None


def digits(dtype: str = "float64", seed: int = 0) -> Data:
    """1797 handwritten digits of 8 x 8 pixels, which scikit-learn brings along; a fifth is the test set.

    Args:
        dtype: of X, "float32" or "float64".
        seed: of the split.

    Source: Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI repository, 1998.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    X = (bunch.data / 16.0).astype(dtype)  # pixels count 0 to 16
    return Data("digits", *hold_out(X, bunch.target, _TEST_SHARE, seed), classes=10, image_shape=(8, 8))


def load(path: str | Path, dtype: str = "float64", seed: int = 0) -> Data:
    """The data in an .npz file or in a folder of IDX files.

    An .npz file holds ``X`` and ``y``, or ``x_train`` and ``y_train``; a test set is ``X_test`` and ``y_test``, or
    ``x_test`` and ``y_test``. A folder holds ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, and for a
    test set ``t10k-...``, each plain or gzipped. Without a test set a fifth of the rows becomes one.

    Args:
        path: the file or the folder.
        dtype: of X, "float32" or "float64".
        seed: of the split.

    Raises:
        ValueError: when something can't be read or is not what it should be.
    """
    path = Path(path)
    try:
        arrays = _idx_folder(path) if path.is_dir() else _npz_file(path)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror or error}") from None
    (X_name, X_raw), (y_name, y_raw), *test = arrays
    X = _features(X_name, X_raw, dtype)
    y = _labels(y_name, y_raw, len(X))
    classes = max(int(y.max()) + 1, 2)
    if classes > max(len(X), 2):
        raise ValueError(f"{y_name} must hold labels 0 to k - 1 of k <= {len(X)} classes, a row each, got {y.max()}")
    if not test:
        split = hold_out(X, y, _TEST_SHARE, seed)
    else:
        (X_test_name, X_test_raw), (y_test_name, y_test_raw) = test
        if X_test_raw.shape[1:] != X_raw.shape[1:]:
            raise ValueError(f"{X_test_name} must have rows of shape {X_raw.shape[1:]}, got {X_test_raw.shape[1:]}")
        X_test = _features(X_test_name, X_test_raw, dtype)
        y_test = _labels(y_test_name, y_test_raw, len(X_test))
        if y_test.max() >= classes:
            raise ValueError(f"{y_test_name} must hold labels 0 to {classes - 1} as in training, got {y_test.max()}")
        split = X, y, X_test, y_test
    shape = X_raw.shape[1:-1] if X_raw.ndim == 4 and X_raw.shape[-1] == 1 else X_raw.shape[1:]
    return Data(path.stem, *split, classes=classes, image_shape=shape if len(shape) == 2 else None)


def hold_out(X: HostArray, y: HostArray, share: float, seed: int) -> tuple[HostArray, HostArray, HostArray, HostArray]:
    """Rows that are kept, and the ``share`` that is held out: (n, d_in), (n,) -> X, y, X_held, y_held, shuffled.

    At least one row goes to each side; with fewer than two rows that is a ``ValueError``.
    """
    n = len(X)
    if n < 2:
        raise ValueError(f"the data must have at least 2 rows to hold some of them out, got {n}")
    order = np.random.default_rng(seed).permutation(n)
    held, kept = np.split(order, [min(max(round(share * n), 1), n - 1)])
    return X[kept], y[kept], X[held], y[held]


# --- .npz --------------------------------------------------------------------------------------------------------

_Named: TypeAlias = tuple[str, HostArray]
"""What to call an array in an error, and the array."""

_NPZ_NAMES = (("X", "y", "X_test", "y_test"), ("x_train", "y_train", "x_test", "y_test"))


def _npz_file(path: Path) -> list[_Named]:
    """X, y, and the test set's where there is one, as they are in the file."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path} must be an .npz file, got a file that is truncated or of another kind")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                names = next((names for names in _NPZ_NAMES if {*names[:2]} <= {*archive.files}), None)
                if names is None:
                    found = ", ".join(archive.files) or "nothing"
                    raise ValueError(f"it must hold X and y, or x_train and y_train, got {found}")
                test = [name for name in names[2:] if name in archive.files]
                if len(test) == 1:
                    raise ValueError(f"it must hold both {names[2]} and {names[3]} or neither, got {test[0]}")
                return [(f"{path}: {name}", archive[name]) for name in (*names[:2], *test)]
        # what NumPy, zip and zlib raise for archives that are damaged, encrypted, or hold pickled objects
        except (ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: {error}") from None


# --- IDX ---------------------------------------------------------------------------------------------------------


_IDX_NAMES = {"train-images": 3, "train-labels": 1, "t10k-images": 3, "t10k-labels": 1}
"""How a file's name begins -> the rank of what it holds."""


def _idx_folder(folder: Path) -> list[_Named]:
    """Images and labels, and the test set's where there is one."""
    paths = {stem: _find_idx(folder, stem, rank) for stem, rank in _IDX_NAMES.items()}
    if not (paths["t10k-images"] or paths["t10k-labels"]):
        del paths["t10k-images"], paths["t10k-labels"]
    missing = [f"{stem}-idx{_IDX_NAMES[stem]}-ubyte" for stem, path in paths.items() if path is None]
    if missing:
        found = sorted(path.name for path in folder.iterdir())
        listed = ", ".join(found[:6]) + (" ..." if len(found) > 6 else "")
        raise ValueError(f"{folder} must hold {' and '.join(missing)}, plain or .gz, got {listed or 'an empty folder'}")
    return [(str(path), _read_idx(path, _IDX_NAMES[stem])) for stem, path in paths.items() if path]


def _find_idx(folder: Path, stem: str, rank: int) -> Path | None:
    names = (f"{stem}{dot}idx{rank}-ubyte{suffix}" for dot in "-." for suffix in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_idx(path: Path, rank: int) -> HostArray:
    """The unsigned bytes of an IDX file: 0, 0, 8, rank, the sizes in four big-endian bytes each, then the bytes."""
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":  # whatever its name says
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


def _features(name: str, X: HostArray, dtype: str) -> HostArray:
    """``X`` as (n, d_in) in ``dtype``; unsigned bytes are pixels and become 0 ... 1."""
    if X.ndim < 2 or X.dtype.kind not in "buif":
        raise ValueError(f"{name} must be numbers (n, d_in) or images (n, height, width), got {X.dtype} {X.shape}")
    if X.size == 0:
        raise ValueError(f"{name} must have at least one row and one column, got shape {X.shape}")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused as such
        flat = np.divide(X.reshape(len(X), -1), 255 if X.dtype == np.uint8 else 1, dtype=dtype)
    finite = np.isfinite(flat).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(f"{name} must be finite in {dtype}, got NaN or infinity in row {row}")
    return flat


def _labels(name: str, y: HostArray, n: int) -> HostArray:
    """``y`` as int64 labels (n,), none negative."""
    if y.shape not in ((n,), (n, 1)):
        raise ValueError(f"{name} must hold one label for each of the {n} rows, shape ({n},), got {y.shape}")
    if y.dtype.kind not in "buif":
        raise ValueError(f"{name} must be integer labels, got {y.dtype}")
    y = y.reshape(n)
    whole = np.isfinite(y) & (y == np.floor(y)) if y.dtype.kind == "f" else np.ones(n, dtype=bool)
    if not whole.all():
        raise ValueError(f"{name} must be whole numbers, got {y[~whole][0]} in row {int(np.argmin(whole))}")
    if y.min() < 0:
        raise ValueError(f"{name} must hold labels from 0 up, got {y.min()}")
    return y.astype(np.int64)
