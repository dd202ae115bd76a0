"""Arrays of HDF5 and Zarr: what a name means, and that nothing of the size of the file is read at once."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp import data
from mlp_xp.data import recipe, stores

h5py = pytest.importorskip("h5py", reason="only the session of NumPy has it")
zarr = pytest.importorskip("zarr", reason="only the session of NumPy has it")

pytestmark = pytest.mark.only("numpy")

RNG = np.random.default_rng(0)
N = 40
X, Y = RNG.normal(size=(N, 5)).astype("float32"), np.arange(N) % 3
IMAGES = RNG.integers(0, 256, (N, 3, 4), dtype=np.uint8)
CHUNK = 8  # rows


def write_hdf5(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            options = {"chunks": (CHUNK, *values.shape[1:]), "compression": "gzip"} if len(values) >= CHUNK else {}
            file.create_dataset(name.replace("__", "/"), data=values, **options)
    return path


def write_zarr(path: Path, version: int = 3, **arrays: Any) -> Path:
    group = zarr.create_group(str(path), zarr_format=version)
    for name, values in arrays.items():
        chunks = (min(CHUNK, max(len(values), 1)), *values.shape[1:])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bytes are no part of version 3
            group.create_array(name.replace("__", "/"), data=values, chunks=chunks)
    return path


def write_zarr_2(path: Path, **arrays: Any) -> Path:
    return write_zarr(path, 2, **arrays)


STORES: dict[str, tuple[Callable[..., Path], str]] = {
    "HDF5": (write_hdf5, "a.h5"), "Zarr": (write_zarr, "a.zarr"), "Zarr 2": (write_zarr_2, "a.zarr"),
}  # fmt: skip


@pytest.fixture(params=STORES.values(), ids=STORES)
def write(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A store with these arrays, by its name in the current folder; ``g__X`` is X in the group g."""
    monkeypatch.chdir(tmp_path)
    function, name = request.param
    return lambda **arrays: str(function(Path(name), **arrays))


def read(source: data.Source) -> tuple[Any, Any]:
    chunk = source.read()
    return chunk.X, chunk.y


def refused(name: str) -> str:
    """What is said when all of the data is read; it begins with the name of the file."""

    def read_all() -> None:
        opened = data.open_data(name)
        for each in filter(None, (opened, opened.test)):
            list(each.chunks(None))

    with pytest.raises(ValueError, match=r"^a\.(h5|zarr)\b") as raised:
        read_all()
    assert "\n" not in str(raised.value)
    return str(raised.value)


# --- what works --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("X", "y", "X_test", "y_test"), ("x_train", "y_train", "x_test", "y_test")])
def test_arrays_have_the_names_of_those_in_an_npz_file(write: Callable[..., str], names: tuple[str, ...]) -> None:
    arrays = dict(zip(names, (X, Y.astype(float), X[:3], Y[:3, None]), strict=True))
    np.savez("b.npz", **arrays)
    ours, theirs = data.open_data(write(**arrays, other=Y)), data.open_data("b.npz")
    assert ours.test is not None
    assert theirs.test is not None
    for source, expected in ((ours, theirs), (ours.test, theirs.test)):
        for mine, other in zip(read(source), read(expected), strict=True):
            np.testing.assert_array_equal(mine, other, strict=True)
    assert (ours.name, ours.columns, ours.is_table, ours.notes) == ("a", None, False, ())


def test_an_array_alone_is_the_table_that_it_is_in_an_npy_file(write: Callable[..., str]) -> None:
    np.save("b.npy", X)
    ours, theirs = data.open_data(write(numbers=X)), data.open_data("b.npy")
    assert (ours.columns, ours.notes, ours.is_table) == (theirs.columns, theirs.notes, True)
    assert ours.read().X.equals(theirs.read().X)
    assert recipe.learn(ours, recipe.Wanted()).recipe.target == "column_5"


def test_an_array_of_zarr_in_no_group(tmp_path: Path) -> None:
    array = zarr.create_array(
        store=str(tmp_path / "rows"), shape=X.shape, chunks=(CHUNK, 5), shards=(16, 5), dtype="f4"
    )
    array[...] = X
    source = data.open_data(tmp_path / "rows")  # by what the folder holds, whatever it is called
    np.testing.assert_array_equal(source.read().X, X)
    assert source.notes == ("the columns have no names, so they are called column_1 to column_5",)


def test_a_part_is_an_array_a_group_or_two_arrays(write: Callable[..., str]) -> None:
    name = write(numbers=X, labels=Y, group__X=X[:7], group__y=Y[:7], group__deeper__Z=X[:9])
    assert data.open_data(f"{name}::numbers").is_table
    assert data.open_data(f"{name}::group/X").is_table
    assert not data.open_data(f"{name}::group").is_table
    np.testing.assert_array_equal(data.open_data(f"{name}::group/deeper/Z").read().X, X[:9])
    np.testing.assert_array_equal(data.open_data(f"{name}::/group/deeper").read().X, X[:9])
    for part, rows in (("group", 7), ("numbers,labels", N)):
        found = read(data.open_data(f"{name}::{part}"))
        np.testing.assert_array_equal(found[0], X[:rows])
        np.testing.assert_array_equal(found[1], Y[:rows])


def test_bytes_are_pixels_and_labels_may_be_texts(write: Callable[..., str]) -> None:
    source = data.open_data(write(X=IMAGES, y=np.char.encode(["ä", "bc", "d"], "utf-8")[Y]))
    found = read(source)
    np.testing.assert_array_equal(found[0], IMAGES.reshape(N, 12) / np.float32(255))
    assert found[1][:3].tolist() == ["ä", "bc", "d"]
    assert source.image_shape == (3, 4)


def test_records_of_hdf5_are_a_table_with_names(tmp_path: Path) -> None:
    kinds = np.dtype([("size", ">f4"), ("kind", "S1"), ("price", "i8")])
    records = np.asarray([(1.5, b"u", 3), (2.5, b"v", 4)], dtype=kinds)
    source = data.open_data(write_hdf5(tmp_path / "a.hdf5", records=records))
    assert source.columns == ("size", "kind", "price")
    encoded = recipe.read(source, recipe.learn(source, recipe.Wanted(task="regression")).recipe)
    assert encoded.X.tolist() == [[1.5, 1.0, 0.0], [2.5, 0.0, 1.0]]
    assert encoded.y is not None
    assert encoded.y.tolist() == [3.0, 4.0]


def test_a_file_of_hdf5_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    np.testing.assert_array_equal(data.open_data(write_hdf5(tmp_path / "unnamed", X=X)).read().X, X)


# --- memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "reads"), [(1, 5), (7, 5), (8, 5), (20, 3), (100, 1), (None, 1)])
def test_each_chunk_is_read_once_and_few_of_them_at_a_time(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch, step: int | None, reads: int
) -> None:
    source, asked = data.open_data(write(X=X, y=Y)), []
    made = stores._Array

    def counted(head: Any, chunk: int, read: Callable[[slice], Any], gaps: Any) -> Any:
        return made(head, chunk, lambda rows: (len(head.shape) == 2 and asked.append(rows), read(rows))[1], gaps)

    monkeypatch.setattr(stores, "_Array", counted)
    parts = list(source.chunks(step))
    assert len(asked) == reads
    assert all(rows.start % CHUNK == 0 and rows.stop - rows.start <= max(step or N, CHUNK) for rows in asked)
    assert max(len(part.X) for part in parts) <= (step or N)
    assert [part.first for part in parts] == np.cumsum([0, *(len(part.X) for part in parts)])[:-1].tolist()
    np.testing.assert_array_equal(np.concatenate([part.X for part in parts]), X)
    np.testing.assert_array_equal(np.concatenate([part.y for part in parts]), Y)


def test_the_file_is_closed_when_nobody_reads_on(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", X=X, y=Y)
    reading = data.open_data(path).chunks(8)
    next(reading)
    with pytest.raises(OSError, match="already open"):
        h5py.File(path, "r+")
    reading.close()
    h5py.File(path, "r+").close()


# --- what does not -----------------------------------------------------------------------------------------------


def holed(values: Any, place: Any, value: float) -> Any:
    changed = values.copy()
    changed[place] = value
    return changed


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, " must hold X and y, x_train and y_train, or one array, got no array"),
    "other names": (
        {"data": X, "label": Y},
        " must hold X and y, x_train and y_train, or one array, got data float32 (40, 5), label int64 (40,); "
        "FILE::NAME reads one of them, FILE::NAME,NAME two of them as X and y",
    ),
    "lengths": ({"X": X, "y": Y[:-1]}, ": y must hold one target for each of the 40 rows, shape (40,), got (39,)"),
    "one-hot": (
        {"X": X, "y": np.eye(3)[Y]},
        ": y must hold one target for each of the 40 rows, shape (40,), got (40, 3)",
    ),
    "rank of X": (
        {"X": X[:, 0], "y": Y},
        ": X must be numbers (n, d_in) or images (n, height, width), got float32 (40,)",
    ),
    "rank of a table": ({"a": X[:, :, None]}, " must hold rows of numbers (n, d), or X and y, got float32 (40, 5, 1)"),
    "texts as X": (
        {"X": X.astype("S"), "y": Y},
        ": X must be numbers (n, d_in) or images (n, height, width), got <U0 (40, 5)",
    ),
    "complex": ({"X": X + 1j}, ": X must be numbers (n, d_in) or images (n, height, width), got complex64 (40, 5)"),
    "complex y": (
        {"X": X, "y": Y + 1j},
        ": y must hold numbers or texts of a fixed length, as y.astype('S') makes them, got complex128",
    ),
    "NaN": ({"X": holed(X, (17, 2), np.nan), "y": Y}, ": X[17, 2] must be finite, got nan"),
    "infinity": ({"X": holed(X, (17, 2), np.inf), "y": Y}, ": X[17, 2] must be finite, got inf"),
    "no rows": ({"X": X[:0], "y": Y[:0]}, ": X must have at least one row and one column, got shape (0, 5)"),
    "half a test set": ({"X": X, "y": Y, "X_test": X}, " must hold both X_test and y_test or neither, got X_test"),
    "widths": (
        {"X": X, "y": Y, "X_test": X[:, 1:], "y_test": Y},
        ": X_test must have rows of shape (5,), got (4,)",
    ),
}


@pytest.mark.parametrize(("arrays", "sentence"), BAD.values(), ids=BAD)
def test_wrong_arrays_are_one_sentence(write: Callable[..., str], arrays: dict[str, Any], sentence: str) -> None:
    name = write(**arrays)
    assert refused(name) == f"{name}{sentence.replace('FILE', name)}"


def test_a_part_that_is_not_there_is_said(write: Callable[..., str]) -> None:
    said = "the part after :: must be an array, 'X' or 'y', got 'x'; did you mean 'X'?"
    name = write(X=X, y=Y)
    assert data.open_data(f"{name}::X").is_table
    assert refused(f"{name}::x") == f"{name}: {said}"
    assert refused(f"{name}::X,z").startswith(f"{name}: the part after :: must be an array, 'X' or 'y', got 'X,z'")


def test_missing_numbers_of_a_table_are_counted(write: Callable[..., str]) -> None:
    found = recipe.learn(data.open_data(write(numbers=holed(X, (17, 2), np.nan))), recipe.Wanted())
    assert any("values are missing in 'column_3' (1 row)" in note for note in found.notes)


def test_chunks_that_are_not_there_are_said(write: Callable[..., str]) -> None:
    name = write(X=X, y=Y)
    if name.endswith(".h5"):
        with h5py.File(name, "w") as file:
            file.create_dataset("X", shape=X.shape, chunks=(CHUNK, 5), dtype="f4")[CHUNK:] = X[CHUNK:]
            file["y"] = Y
    else:
        for path in (Path(name, "X", "0.0"), Path(name, "X", "c", "0", "0")):
            path.unlink(missing_ok=True)
    source = data.open_data(name)
    assert source.notes == (f"1 of 5 chunks of X is not in {name}: in its place stands the fill value of the array",)
    np.testing.assert_array_equal(read(source)[0], np.concatenate([np.zeros((CHUNK, 5)), X[CHUNK:]]))


@pytest.mark.parametrize("version", [2, 3])
def test_rows_most_of_which_are_not_there_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.chdir(tmp_path)
    head = head_of(str(write_zarr(Path("a.zarr"), version, X=X, y=Y)))
    held = json.loads(head.read_text())
    head.write_text(json.dumps({**held, "shape": [10**15, 5]}))  # which nobody waits for
    said = (
        f"a.zarr must be a whole Zarr folder: {10**15 // CHUNK - 5:,} of {10**15 // CHUNK:,} chunks of X are not there"
    )
    assert refused("a.zarr") == said
    with h5py.File("a.h5", "w") as file:
        file.create_dataset("X", shape=X.shape, dtype="f4")
    assert refused("a.h5") == "a.h5 must be a whole HDF5 file: 1 of 1 chunk of X is not there"


def test_targets_that_are_all_0_need_no_chunks(tmp_path: Path) -> None:
    source = data.open_data(write_zarr(tmp_path / "a.zarr", X=X, y=np.zeros(N, dtype=int)))
    assert source.notes == (
        f"5 of 5 chunks of y are not in {tmp_path / 'a.zarr'}: in their place stands the fill value of the array",
    )
    assert not read(source)[1].any()


def cut(path: Path, size: int | None = None) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3 if size is None else size)


def overwrite(path: Path, place: int = 0) -> None:
    raw = bytearray(path.read_bytes())
    raw[place : place + 40] = bytes(40)
    path.write_bytes(raw)


def overwrite_chunk() -> None:
    with h5py.File("a.h5") as file:
        place = file["X"].id.get_chunk_info(2).byte_offset
    overwrite(Path("a.h5"), place)


def chunk_of(name: str) -> Path:
    return next(path for path in (Path(name, "X", "2.0"), Path(name, "X", "c", "2", "0")) if path.exists())


def head_of(name: str) -> Path:
    return next(path for path in (Path(name, "X", ".zarray"), Path(name, "X", "zarr.json")) if path.exists())


DAMAGE: dict[str, dict[str, Callable[[str], Any]]] = {
    ".h5": {
        "cut": lambda name: cut(Path(name)), "its first bytes alone": lambda name: cut(Path(name), 8),
        "a chunk": lambda name: overwrite_chunk(), "no heads": lambda name: overwrite(Path(name), 8),
    },
    ".zarr": {
        "a cut chunk": lambda name: cut(chunk_of(name)), "an empty chunk": lambda name: cut(chunk_of(name), 0),
        "a chunk": lambda name: overwrite(chunk_of(name)), "a cut head": lambda name: cut(head_of(name)),
        "an empty head": lambda name: cut(head_of(name), 0),
        "a head of something else": lambda name: head_of(name).write_text("[1, 2]"),
        "no heads": lambda name: [each.unlink() for end in ("zarr.json", ".z*") for each in Path(name).rglob(end)],
    },
}  # fmt: skip


def test_damage_is_one_sentence(write: Callable[..., str]) -> None:
    ways = DAMAGE[Path(write(X=X, y=Y)).suffix]
    for way, damage in ways.items():
        for path in Path().iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        name = write(X=X, y=Y)
        damage(name)
        assert f"{name} must be a whole " in refused(name), way


@pytest.mark.parametrize("version", [2, 3])
def test_an_array_whose_head_is_lost_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    monkeypatch.chdir(tmp_path)
    head_of(str(write_zarr(Path("a.zarr"), version, X=X, y=Y))).unlink()
    assert refused("a.zarr") == "a.zarr must hold rows of numbers (n, d), or X and y, got int64 (40,)"


def test_a_missing_file_of_a_virtual_array_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layout = h5py.VirtualLayout(X.shape, "f4")
    layout[:] = h5py.VirtualSource("part.h5", "X", shape=X.shape)
    with h5py.File("a.h5", "w") as file:
        file.create_virtual_dataset("X", layout)
    assert refused("a.h5") == "a.h5 must be a whole HDF5 file: its part part.h5 is not there"
    write_hdf5(Path("part.h5"), X=X)
    np.testing.assert_array_equal(data.open_data("a.h5").read().X, X)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.zarr").mkdir()
    head = {
        "zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "|O", "compressor": None, "fill_value": "",
        "order": "C", "filters": [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 5}],
    }  # fmt: skip
    Path("a.zarr/.zarray").write_text(json.dumps(head))
    Path("a.zarr/0").write_bytes(pickle.dumps(["x"] * 4))
    assert refused("a.zarr") == "a.zarr must be a whole Zarr folder: it holds pickled objects, which are not read"


def test_objects_of_hdf5_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        file["X"] = X
        file["y"] = np.asarray(["a", "bc"] * (N // 2), dtype=object)
    expected = "numbers or texts of a fixed length, as y.astype('S') makes them"
    assert refused("a.h5") == f"a.h5: y must hold {expected}, got object"


def test_a_file_that_is_being_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def locked(*_: Any) -> None:
        raise BlockingIOError(11, "Unable to synchronously open file (unable to lock file, errno = 11)")

    write_hdf5(Path("a.h5"), X=X)
    monkeypatch.setattr(h5py, "File", locked)
    assert refused("a.h5") == "a.h5 can't be read while another program writes it"


@pytest.mark.parametrize(("name", "library", "extra"), [("a.h5", "h5py 3", "hdf5"), ("a.zarr", "zarr 3", "zarr")])
def test_what_is_not_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
) -> None:
    monkeypatch.chdir(tmp_path)
    {"a.h5": write_hdf5, "a.zarr": write_zarr}[name](Path(name), X=X)
    monkeypatch.setitem(sys.modules, library.partition(" ")[0], None)
    assert refused(name) == f"{name} needs {library} or later to be read: pip install 'mlp_xp[{extra}]'"
