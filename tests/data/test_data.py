"""Data by name: the sources, how a table becomes numbers, and one row for each way in which a file can be wrong."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp import data
from mlp_xp.data import recipe

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


def read(source: data.Source) -> tuple[Any, Any]:
    """All rows of a source."""
    chunk = next(source.chunks(None))
    return chunk.X, chunk.y


def read_all(name: str) -> None:
    source = data.open_data(name)
    for each in filter(None, (source, source.test)):
        read(each)


# --- what works --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "kinds"),
    [("digits", (1797, 64), 10), ("iris", (150, 4), 3), ("wine", (178, 13), 3), ("breast_cancer", (569, 30), 2),
     ("diabetes", (442, 10), 214)],
)  # fmt: skip
def test_built_in_data_has_its_shape_and_classes(name: str, shape: tuple[int, int], kinds: int) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn brings the built-in data")
    source = data.open_data(name)
    X, y = read(source)
    assert X.shape == shape
    assert len(np.unique(y)) == kinds
    assert len(source.columns or ()) == shape[1]
    assert source.image_shape == ((8, 8) if name == "digits" else None)
    assert not source.is_table
    if name == "digits":
        assert (X.min(), X.max()) == (0.0, 1.0)


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_folder_of_idx_files(tmp_path: Path, gzipped: bool) -> None:
    write_idx(tmp_path)
    if gzipped:
        for path in list(tmp_path.iterdir()):
            (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    source = data.open_data(str(tmp_path))
    X, y = read(source)
    np.testing.assert_array_equal(X, IMAGES.reshape(12, 12).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(y, LABELS)
    assert source.test is not None
    X_test, y_test = read(source.test)
    np.testing.assert_array_equal(X_test, X[:4])
    assert len(y_test) == 4
    assert source.image_shape == (3, 4)


def test_gzip_is_recognised_by_its_bytes_and_names_may_have_dots(tmp_path: Path) -> None:
    (tmp_path / "train-images.idx3-ubyte").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(LABELS))
    source = data.open_data(str(tmp_path))
    assert len(read(source)[0]) == 12
    assert source.test is None


@pytest.mark.parametrize("names", [("X", "y", "X_test", "y_test"), ("x_train", "y_train", "x_test", "y_test")])
def test_npz_with_a_test_set(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = dict(zip(names, (X, Y.astype(float), X[:3], Y[:3, None]), strict=True))
    source = data.open_data(str(write_npz(tmp_path, **arrays)))
    np.testing.assert_array_equal(read(source)[0], X)
    np.testing.assert_array_equal(read(source)[1], Y)
    assert source.test is not None
    np.testing.assert_array_equal(read(source.test)[1], Y[:3])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read_a_batch_at_a_time(tmp_path: Path, save: Callable[..., None], order: Any) -> None:
    save(tmp_path / "a.npz", X=np.asarray(X, order=order), y=Y)
    source = data.open_data(str(tmp_path / "a.npz"))
    chunks = list(source.chunks(5))
    if order == "C":
        assert [(len(chunk.X), chunk.first) for chunk in chunks] == [(5, 0), (5, 5), (2, 10)]
    np.testing.assert_array_equal(np.concatenate([chunk.X for chunk in chunks]), X)
    np.testing.assert_array_equal(np.concatenate([chunk.y for chunk in chunks if chunk.y is not None]), Y)


def test_npz_without_targets_can_be_read_to_predict(tmp_path: Path) -> None:
    assert read(data.open_data(str(write_npz(tmp_path, X=X))))[1] is None


@pytest.mark.parametrize(("shape", "image_shape"), [((12, 3, 4), (3, 4)), ((12, 3, 4, 1), (3, 4)), ((12, 12), None)])
def test_images_keep_their_shape(tmp_path: Path, shape: tuple[int, ...], image_shape: tuple[int, int] | None) -> None:
    source = data.open_data(str(write_npz(tmp_path, X=IMAGES.reshape(shape), y=LABELS)))
    assert source.image_shape == image_shape
    assert read(source)[0].shape == (12, 12)
    assert read(source)[0].max() <= 1.0  # unsigned bytes are pixels


@pytest.mark.parametrize("seed", range(5))
def test_hold_out_takes_the_same_share_of_each_label_but_never_all(seed: int) -> None:
    labels = np.asarray([0] * 50 + [1] * 10 + [2])
    kept, held = data.hold_out(0.2, seed, 61, labels)
    assert sorted([*kept, *held]) == list(range(61))
    assert np.bincount(labels[held], minlength=3).tolist() == [10, 2, 0]
    again = data.hold_out(0.2, seed, 61, labels)
    np.testing.assert_array_equal(again[0], kept)


def test_hold_out_without_labels_takes_its_share_of_the_rows() -> None:
    kept, held = data.hold_out(0.3, 0, 10)
    assert (len(kept), len(held)) == (7, 3)
    assert len(data.hold_out(0.0, 0, 10)[1]) == 0
    with pytest.raises(ValueError, match="at least 2 rows to hold some of them out, got 1"):
        data.hold_out(0.5, 0, 1)
    with pytest.raises(
        ValueError, match=r"^a.csv must have at least 2 rows of one class to hold some of them out, got 3"
    ):
        data.hold_out(0.5, 0, 3, np.arange(3), "a.csv")


# --- tables ------------------------------------------------------------------------------------------------------


def test_a_recipe_learned_from_a_table_reads_other_tables_alike(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas reads tables")
    (tmp_path / "a.csv").write_text("size,colour,kind\n1,red,x\n2,blue,y\n3,red,x\n")
    source = data.open_data(str(tmp_path / "a.csv"))
    learned = recipe.learn(source, recipe.Wanted())
    found = learned.recipe
    assert (found.task, found.target) == ("classification", "kind")
    assert learned.reason == "the target 'kind' holds 2 different texts"
    assert found.names == ("size", "colour=blue", "colour=red")
    X, y, kept, unknown, missing, _ = recipe.read(source, found)
    assert (kept.tolist(), unknown, missing) == ([0, 1, 2], {}, {})
    np.testing.assert_array_equal(X, [[1, 0, 1], [2, 1, 0], [3, 0, 1]])
    assert y is not None
    assert y.tolist() == ["x", "y", "x"]
    found = found._replace(missing="fill").learn_fill(np.where(X == 2, np.nan, X))
    np.testing.assert_array_equal(found.filled(np.where(X == 2, np.nan, X)), [[1, 0, 1], [2, 1, 0], [3, 0, 1]])
    back = recipe.Recipe.from_notes(json.loads(json.dumps(found.as_notes())))
    assert back == found
    (tmp_path / "b.csv").write_text("colour,other,size\nblue,7,5\n")
    (more,) = data.open_data(str(tmp_path / "b.csv")).chunks(10)
    np.testing.assert_array_equal(back.rows("b.csv", more, labelled=False).X, [[5, 1, 0]])


@pytest.mark.parametrize(
    ("y", "task"),
    [(np.asarray(["a", "b"]), "classification"), (np.asarray([0.5, 1.5]), "regression"),
     (np.asarray([1.0, 2.0, 1.0]), "classification"), (np.arange(100), "regression"),
     (np.asarray([True, False]), "classification")],
)  # fmt: skip
def test_the_task_is_inferred_from_the_target(y: Any, task: str) -> None:
    assert recipe.infer_task("y", recipe.tidy("a", y), None)[0] == task


def test_whole_numbers_that_int64_does_not_hold_are_refused_and_do_not_wrap() -> None:
    y = np.asarray([3, 2**63, 2**64 - 1], np.uint64)
    with pytest.raises(ValueError, match=r"^a: the target must be at most 9223372036854775807, got 92233"):
        recipe.tidy("a", y)
    np.testing.assert_array_equal(recipe.tidy("a", y[:1]), [3])


def test_openml_without_a_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn fetches from OpenML")

    def unreachable(*arguments: Any, **options: Any) -> None:
        raise OSError("Temporary failure in name resolution\nand more")

    monkeypatch.setattr(datasets, "fetch_openml", unreachable)
    with pytest.raises(
        ValueError, match=r"^openml:adult can't be fetched from openml.org: Temporary failure in [a-z ]*$"
    ):
        data.open_data("openml:adult")


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
    "another kind": (plain("notes.md", b"# a"), "must be a table .*, got a file that ends in .md"),
    "npz: truncated": (truncated_npz, "must be an .npz file, got a file that is empty, truncated"),
    "npz: damaged": (damaged_npz, "data.npz must be a whole .npz file: "),
    "npz: other names": (npz_with(images=X), "must hold X and y, or x_train and y_train, got images"),
    "npz: no names": (npz_with(), "must hold X and y, or x_train and y_train, got nothing"),
    "npz: half a test set": (npz_with(X=X, y=Y, X_test=X), "both X_test and y_test or neither, got X_test"),
    "npz: pickled": (npz_with(X=X, y=np.asarray([None] * 12)), "allow_pickle=False"),
    "npz: complex": (npz_with(X=X + 1j, y=Y), r"X must be numbers .* got complex128 \(12, 5\)"),
    "npz: one axis": (npz_with(X=X[:, 0], y=Y), r"X must be numbers \(n, d_in\) or images .* got float64 \(12,\)"),
    "npz: empty": (npz_with(X=X[:0], y=Y[:0]), r"at least one row and one column, got shape \(0, 5\)"),
    "npz: NaN": (npz_with(X=changed(X, (7, 2), np.nan), y=Y), r"X\[7, 2\] must be finite, got nan"),
    "npz: infinity": (npz_with(X=changed(X, (0, 0), np.inf), y=Y), r"X\[0, 0\] must be finite, got inf"),
    "npz: counts": (npz_with(X=X, y=Y[:-1]), r"one target for each of the 12 rows, shape \(12,\), got \(11,\)"),
    "npz: one-hot": (npz_with(X=X, y=np.eye(3)[Y]), r"y must hold one target .* got \(12, 3\)"),
    "npz: test widths": (npz_with(X=X, y=Y, X_test=X[:, 1:], y_test=Y), r"rows of shape \(5,\), got \(4,\)"),
    "npz: test NaN": (npz_with(X=X, y=Y, X_test=changed(X, 2, np.nan), y_test=Y), r"X_test\[2, 0\] must be finite"),
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
        read_all(str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path) in message or "at least 2 rows" in message
