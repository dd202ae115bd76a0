"""HDF5 files and folders of Zarr as data of every command that takes some: the same answers as from NumPy's files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import runs
from runs import cli

h5py = pytest.importorskip("h5py", reason="only the session of NumPy has it")
zarr = pytest.importorskip("zarr", reason="only the session of NumPy has it")

pytestmark = pytest.mark.only("numpy")


def written(name: str, **arrays: np.ndarray) -> str:
    if name.endswith(".h5"):
        with h5py.File(name, "w") as file:
            for each, values in arrays.items():
                file.create_dataset(each, data=values, chunks=(min(16, len(values)), *values.shape[1:]))
    else:
        group = zarr.create_group(name)
        for each, values in arrays.items():
            group.create_array(each, data=values, chunks=(min(16, len(values)), *values.shape[1:]))
    return name


def score(capsys: pytest.CaptureFixture[str], model: str, data: str) -> tuple[float, float]:
    capsys.readouterr()
    assert cli.main(["evaluate", model, data, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    return record["value"], record["rows"]


@pytest.mark.parametrize("name", ["small.h5", "small.zarr"])
def test_arrays_give_the_model_that_those_of_an_npz_file_give(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with np.load(runs.write_classes(folder)) as arrays:
        held = dict(arrays)
    runs.train_quickly("small.npz", "-o", "theirs.safetensors")
    runs.train_quickly(written(name, **held), "-o", "ours.safetensors")
    ours, theirs = (runs.estimators.load(f"{each}.safetensors").coefs_ for each in ("ours", "theirs"))
    assert all(np.array_equal(mine, other) for mine, other in zip(ours, theirs, strict=True))
    assert score(capsys, "ours.safetensors", name) == score(capsys, "ours.safetensors", "small.npz")
    for data in (name, "small.npz"):
        assert cli.main(["predict", "ours.safetensors", data, "-o", f"{Path(data).suffix[1:]}.csv", "--proba"]) == 0
    assert Path(f"{Path(name).suffix[1:]}.csv").read_text() == Path("npz.csv").read_text()
    assert cli.main(["inspect", name]) == 0
    assert "60 rows; 5 numbers a row" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["prices.h5", "prices.zarr"])
def test_a_matrix_is_a_table_whose_last_column_is_the_target(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    X = np.random.default_rng(0).normal(size=(90, 3))
    rows = np.concatenate([X, X @ np.asarray([[1.0], [2.0], [3.0]])], axis=1)
    np.save("prices.npy", rows)
    runs.train_quickly(f"{written(name, rows=rows, others=rows[:5])}::rows", "-o", "ours.safetensors")
    assert score(capsys, "ours.safetensors", f"{name}::rows") == score(capsys, "ours.safetensors", "prices.npy")
    assert score(capsys, "ours.safetensors", f"{name}::others")[1] == 5
    said = runs.refused(capsys, "train", name)
    assert said.startswith(f"{name} must hold X and y, x_train and y_train, or one array, got others float64 (5, 4), ")


def test_a_model_is_named_after_the_store(folder: Path) -> None:
    with np.load(runs.write_classes(folder)) as arrays:
        written("small.zarr", **arrays)
    runs.train_quickly("small.zarr")
    assert Path("small.safetensors").is_file()


@pytest.mark.parametrize("command", ["train", "tune", "evaluate", "predict", "inspect"])
@pytest.mark.parametrize("name", ["cut.h5", "cut.zarr"])
def test_damage_is_one_sentence_of_every_command(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    with np.load(runs.write_classes(folder)) as arrays:
        held = dict(arrays)
    runs.train_quickly("small.npz")
    if name.endswith(".h5"):
        Path(name).write_bytes(Path(written("whole.h5", **held)).read_bytes()[:-100])
    else:
        Path(written(name, **held), "X", "c", "1", "0").write_bytes(b"nothing of Zarr's")
    model = ["small.safetensors"] if command in ("evaluate", "predict") else []
    more = ("-o", "said.csv") if command == "predict" else ()
    assert runs.refused(capsys, command, *model, name, *more).startswith(f"{name} must be a whole ")
