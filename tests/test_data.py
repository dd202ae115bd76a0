"""What to train on: the three sources, and one row per thing that can be wrong with a file."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp import data

pytestmark = pytest.mark.only("numpy")

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 3, 4), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 3
X, Y = RNG.normal(size=(12, 5)), np.arange(12) % 3


def idx(array: np.ndarray, magic: int | None = None) -> bytes:
    """The bytes of an IDX file."""
    header = struct.pack(">I", 0x800 + array.ndim if magic is None else magic)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder: Path, **changed: bytes | None) -> Path:
    """A folder as MNIST comes, some of its files with other bytes, or left out where they are None."""
    files = {
        "train_images_idx3_ubyte": idx(IMAGES),
        "train_labels_idx1_ubyte": idx(LABELS),
        "t10k_images_idx3_ubyte": idx(IMAGES[:4]),
        "t10k_labels_idx1_ubyte": idx(LABELS[:4]),
        **changed,
    }
    for name, raw in files.items():
        if raw is not None:
            (folder / name.replace("_", "-")).write_bytes(raw)
    return folder


def write_npz(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


# --- what works --------------------------------------------------------------------------------------------------


def test_digits_are_images_in_0_to_1_split_by_the_seed() -> None:
    pytest.importorskip("sklearn")
    digits = data.digits("float32", seed=3)
    assert digits.X.shape == (1438, 64)
    assert digits.X_test.shape == (359, 64)
    assert digits.X.dtype == np.float32
    assert (digits.X.min(), digits.X.max()) == (0.0, 1.0)
    assert (digits.classes, digits.image_shape) == (10, (8, 8))
    np.testing.assert_array_equal(digits.y, data.digits(seed=3).y)
    assert not np.array_equal(digits.y, data.digits(seed=4).y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gzipped", [False, True])
def test_a_folder_of_idx_files(tmp_path: Path, gzipped: bool, dtype: str) -> None:
    write_idx(tmp_path)
    if gzipped:
        for path in list(tmp_path.iterdir()):
            (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    loaded = data.load(tmp_path, dtype)
    np.testing.assert_array_equal(loaded.X, IMAGES.reshape(12, 12).astype(dtype) / np.asarray(255, dtype))
    np.testing.assert_array_equal(loaded.y, LABELS)
    assert loaded.X.dtype == dtype
    assert len(loaded.X_test) == len(loaded.y_test) == 4
    assert (loaded.classes, loaded.image_shape) == (3, (3, 4))


def test_gzip_is_known_by_its_bytes_and_dots_are_as_good_as_dashes(tmp_path: Path) -> None:
    (tmp_path / "train-images.idx3-ubyte").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(LABELS))
    loaded = data.load(tmp_path)
    assert len(loaded.X) + len(loaded.X_test) == 12  # no test set: a split
    assert len(loaded.X_test) == 2


def test_npz_with_a_test_set_is_taken_as_it_is(tmp_path: Path) -> None:
    loaded = data.load(write_npz(tmp_path, x_train=X, y_train=Y.astype(float), x_test=X[:3], y_test=Y[:3, None]))
    np.testing.assert_array_equal(loaded.X, X)
    np.testing.assert_array_equal(loaded.y, Y)
    np.testing.assert_array_equal(loaded.y_test, Y[:3])
    assert loaded.y.dtype == loaded.y_test.dtype == np.int64
    assert loaded.image_shape is None


def test_npz_without_a_test_set_is_split_by_the_seed(tmp_path: Path) -> None:
    path = write_npz(tmp_path, X=X, y=Y)
    first, again, other = data.load(path, seed=1), data.load(path, seed=1), data.load(path, seed=2)
    np.testing.assert_array_equal(first.X, again.X)
    assert not np.array_equal(first.X, other.X)
    rows = np.concatenate([first.X, first.X_test])
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(X, axis=0))  # every row once


@pytest.mark.parametrize(("shape", "image_shape"), [((12, 3, 4), (3, 4)), ((12, 3, 4, 1), (3, 4)), ((12, 12), None)])
def test_images_keep_their_shape(tmp_path: Path, shape: tuple[int, ...], image_shape: tuple[int, int] | None) -> None:
    loaded = data.load(write_npz(tmp_path, X=IMAGES.reshape(shape), y=LABELS))
    assert loaded.image_shape == image_shape
    assert loaded.X.shape[1] == 12
    assert loaded.X.max() <= 1.0  # unsigned bytes are pixels


def test_a_class_that_only_the_test_set_drew_is_counted(tmp_path: Path) -> None:
    path = write_npz(tmp_path, X=X, y=np.asarray([0] * 11 + [1]))
    for seed in range(20):
        assert data.load(path, seed=seed).classes == 2


def test_hold_out_keeps_rows_and_labels_together() -> None:
    kept_X, kept_y, held_X, held_y = data.hold_out(np.arange(10.0)[:, None], np.arange(10), 0.3, seed=0)
    assert (len(kept_y), len(held_y)) == (7, 3)
    np.testing.assert_array_equal(kept_X[:, 0], kept_y)
    np.testing.assert_array_equal(held_X[:, 0], held_y)
    assert sorted([*kept_y, *held_y]) == list(range(10))


# --- what does not -----------------------------------------------------------------------------------------------


def plain(name: str, raw: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(raw)
        return folder / name

    return write


def truncated_npz(folder: Path) -> Path:
    path = write_npz(folder, X=X, y=Y)
    path.write_bytes(path.read_bytes()[:300])
    return path


def damaged_npz(folder: Path) -> Path:
    path = write_npz(folder, X=X, y=Y)
    raw = bytearray(path.read_bytes())
    raw[250] ^= 0xFF
    path.write_bytes(raw)
    return path


def npy(folder: Path) -> Path:
    np.save(folder / "data.npy", X)
    return folder / "data.npy"


def idx_with(**changed: bytes | None) -> Callable[[Path], Path]:
    return lambda folder: write_idx(folder, **changed)


def npz_with(**arrays: Any) -> Callable[[Path], Path]:
    return lambda folder: write_npz(folder, **arrays)


def changed(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    array = array.astype(float)
    array[index] = value
    return array


BAD = {
    "missing": (lambda folder: folder / "none.npz", "none.npz can't be read: No such file or directory"),
    "no npz": (plain("data.csv", b"1,2,3\n"), "must be an .npz file, got a file that is truncated or of another kind"),
    "an npy": (npy, "must be an .npz file, got"),
    "npz: truncated": (truncated_npz, "must be an .npz file, got a file that is truncated"),
    "npz: damaged": (damaged_npz, "data.npz: "),
    "npz: other names": (npz_with(images=X), "must hold X and y, or x_train and y_train, got images"),
    "npz: no names": (npz_with(), "must hold X and y, or x_train and y_train, got nothing"),
    "npz: half a test set": (npz_with(X=X, y=Y, X_test=X), "both X_test and y_test or neither, got X_test"),
    "npz: pickled": (npz_with(X=X, y=np.asarray([None] * 12)), "allow_pickle=False"),
    "npz: strings": (npz_with(X=X.astype(str), y=Y), "X must be numbers .* got <U32"),
    "npz: complex": (npz_with(X=X + 1j, y=Y), r"X must be numbers .* got complex128 \(12, 5\)"),
    "npz: one axis": (npz_with(X=X[:, 0], y=Y), r"X must be numbers \(n, d_in\) or images .* got float64 \(12,\)"),
    "npz: empty": (npz_with(X=X[:0], y=Y[:0]), r"at least one row and one column, got shape \(0, 5\)"),
    "npz: one row": (npz_with(X=X[:1], y=Y[:1]), "at least 2 rows to hold some of them out, got 1"),
    "npz: NaN": (npz_with(X=changed(X, (7, 2), np.nan), y=Y), "X must be finite .* got NaN or infinity in row 7"),
    "npz: infinity": (npz_with(X=changed(X, (0, 0), np.inf), y=Y), "X must be finite .* in row 0"),
    "npz: counts": (npz_with(X=X, y=Y[:-1]), r"one label for each of the 12 rows, shape \(12,\), got \(11,\)"),
    "npz: one-hot": (npz_with(X=X, y=np.eye(3)[Y]), r"y must hold one label .* got \(12, 3\)"),
    "npz: half labels": (npz_with(X=X, y=changed(Y, 4, 0.5)), "y must be whole numbers, got 0.5 in row 4"),
    "npz: NaN label": (npz_with(X=X, y=changed(Y, 4, np.nan)), "y must be whole numbers, got nan in row 4"),
    "npz: names": (npz_with(X=X, y=Y.astype(str)), "y must be integer labels, got <U"),
    "npz: negative": (npz_with(X=X, y=Y - 1), "y must hold labels from 0 up, got -1"),
    "npz: huge label": (npz_with(X=X, y=Y * 10**9), "of k <= 12 classes, a row each, got 2000000000"),
    "npz: test widths": (npz_with(X=X, y=Y, X_test=X[:, 1:], y_test=Y), r"rows of shape \(5,\), got \(4,\)"),
    "npz: test labels": (npz_with(X=X, y=Y, X_test=X, y_test=Y + 1), "labels 0 to 2 as in training, got 3"),
    "npz: test NaN": (npz_with(X=X, y=Y, X_test=changed(X, 2, np.nan), y_test=Y), "X_test must be finite"),
    "idx: empty folder": (lambda folder: folder, "must hold train-images-idx3-ubyte and .* got an empty folder"),
    "idx: other files": (
        lambda folder: plain("notes.txt", b"")(folder).parent,
        "must hold train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz, got notes.txt",
    ),
    "idx: no labels": (idx_with(train_labels_idx1_ubyte=None), "must hold train-labels-idx1-ubyte, plain or .gz, got"),
    "idx: no test labels": (idx_with(t10k_labels_idx1_ubyte=None), "must hold t10k-labels-idx1-ubyte"),
    "idx: magic": (
        idx_with(train_images_idx3_ubyte=idx(IMAGES, magic=0xD03)),
        "train-images-idx3-ubyte must be an IDX file .* magic number 0x00000803, got 0x00000d03",
    ),
    "idx: swapped": (idx_with(train_labels_idx1_ubyte=idx(IMAGES)), "magic number 0x00000801, got 0x00000803"),
    "idx: no bytes": (idx_with(train_images_idx3_ubyte=b""), "begin with an IDX header of 16 bytes, got 0 bytes"),
    "idx: truncated": (
        idx_with(train_images_idx3_ubyte=idx(IMAGES)[:-5]),
        r"must hold 144 bytes for shape \(12, 3, 4\), got 139",
    ),
    "idx: too long": (idx_with(t10k_labels_idx1_ubyte=idx(LABELS[:4]) + b"!"), r"4 bytes for shape \(4,\), got 5"),
    "idx: truncated gzip": (
        idx_with(train_images_idx3_ubyte=gzip.compress(idx(IMAGES))[:-9]),
        "must be a whole gzip file, got a truncated or damaged one",
    ),
    "idx: damaged gzip": (
        idx_with(train_images_idx3_ubyte=gzip.compress(idx(IMAGES))[:-8] + bytes(8)),
        "must be a whole gzip file, got a truncated or damaged one",
    ),
    "idx: counts": (idx_with(train_labels_idx1_ubyte=idx(LABELS[:-1])), r"each of the 12 rows, shape \(12,\), got"),
    "idx: no images": (idx_with(train_images_idx3_ubyte=idx(IMAGES[:0])), "at least one row and one column"),
    "idx: test sizes": (idx_with(t10k_images_idx3_ubyte=idx(IMAGES[:4, 1:])), r"shape \(3, 4\), got \(2, 4\)"),
}


@pytest.mark.parametrize(("write", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence_that_names_the_file(
    tmp_path: Path, write: Callable[[Path], Path], sentence: str
) -> None:
    path = write(tmp_path)
    with pytest.raises(ValueError, match=sentence) as caught:
        data.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path) in message or "at least 2 rows" in message


def test_a_value_that_float32_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path, X=X * 1e300, y=Y)
    assert data.load(path, "float64").X.dtype == np.float64
    with pytest.raises(ValueError, match="X must be finite in float32"):
        data.load(path, "float32")
