"""Two workers of a Dask cluster train as one process does, on the partitions that they hold; what fails says so."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlp_xp as mx
from mlp_xp import optim, schedules
from mlp_xp.train import Diverged, Epoch, train
from mlp_xp.workers import dask_train

pytestmark = [
    pytest.mark.only("torch"),
    # what Tornado and Dask leave behind when processes end
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS, UNEVEN = 63, (20, 9, 12, 22)
FULL: dict[str, Any] = {"epochs": 20, "batch_size": ROWS, "shuffle": False, "lr": 0.05}
LIMIT = 60.0  # seconds that a rank waits for another: a test that hangs ends


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client of a cluster of two processes on this machine, of one thread each."""
    distributed = pytest.importorskip("distributed", reason="the session tests(torch) installs it")
    here: dict[str, Any] = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    silent = {"silence_logs": logging.CRITICAL}  # a worker logs what a task raises
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **here, **silent) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``X, y, weight`` of all rows."""
    random = np.random.default_rng(3)
    return random.normal(size=(ROWS, 5)), random.integers(0, 3, ROWS), random.uniform(0, 2, ROWS)


def divided(array: np.ndarray, chunks: tuple[int, ...] = UNEVEN) -> list[np.ndarray]:
    return np.split(array, np.cumsum(chunks)[:-1])


def placed(client: Any, array: np.ndarray, chunks: tuple[int, ...] = UNEVEN) -> list[Any]:
    """Partitions that lie on the first and the second worker in turn."""
    where = sorted(client.nthreads())
    parts = enumerate(divided(array, chunks))
    return [client.scatter([part], workers=[where[number % 2]], hash=False)[0] for number, part in parts]


def chunked(array: np.ndarray, chunks: tuple[int, ...] = UNEVEN) -> Any:
    """A Dask array, whose partitions lie where Dask computes them."""
    from dask.array import from_array

    return from_array(array, chunks=(chunks, *array.shape[1:]))


def start() -> tuple[np.ndarray, ...]:
    return mx.init_params((5, 7, 3), seed=1, dtype=np.float64)


def fit(client: Any, *arguments: Any, **options: Any) -> Epoch:
    return dask_train(client, *arguments, **{"timeout": LIMIT, "retries": 0, **FULL, **options})


def alone(*arguments: Any, **options: Any) -> Epoch:
    """One process with all rows."""
    return list(train(*arguments, start(), **{**FULL, **options}))[-1]


def assert_same(ours: Epoch, theirs: Epoch) -> None:
    for kind in ("params", "best", "state"):
        for mine, other in zip(getattr(ours, kind), getattr(theirs, kind), strict=True):
            assert isinstance(mine, np.ndarray | np.generic)
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
    assert len(ours.history) == len(theirs.history)
    for mine, other in zip(ours.history, theirs.history, strict=True):
        assert [value is None for value in mine] == [value is None for value in other]
        pairs = zip(mine[:-2], other[:-2], strict=True)  # but for the seconds
        assert all(one is None or one == pytest.approx(two, rel=1e-12, abs=1e-15) for one, two in pairs)


def in_order(*arrays: np.ndarray) -> list[np.ndarray]:
    """The rows as the ranks have them: the first and the third partition, then the others."""
    parts = [divided(array) for array in arrays]
    return [np.concatenate([*each[::2], *each[1::2]]) for each in parts]


EVERYTHING: dict[str, Any] = {
    "optimizer": optim.adam(), "lr": schedules.cosine(0.05), "l2": 0.01, "clip_norm": 0.5, "dropout": 0.3,
    "label_smoothing": 0.1,
}  # fmt: skip


def test_workers_train_as_one_process_does(client):
    X, y, weight = problem()
    ours = fit(
        client, *(placed(client, each) for each in (X, y)), start(), sample_weight=placed(client, weight), **EVERYTHING
    )
    X, y, weight = in_order(X, y, weight)  # what is dropped for a row depends on its place
    assert_same(ours, alone(X, y, sample_weight=weight, **EVERYTHING))


def test_dask_arrays_are_divided_as_x_is(client):
    X, y, weight = problem()
    ours = fit(client, chunked(X).rechunk({1: 2}), chunked(y, (30, 33)), start(), sample_weight=chunked(weight, (63,)))
    assert_same(ours, alone(X, y, sample_weight=weight))


def test_partitions_stay_where_they_are(client):
    X, y, _ = problem()
    X, y = placed(client, X), placed(client, y)
    before = client.who_has(X)
    fit(client, X, y, start(), epochs=2)
    assert client.who_has(X) == before


@pytest.mark.parametrize("held", ["on the host", "everywhere", "on one worker"])
def test_validation_rows_are_judged_together(client, held):
    X, y, _ = problem()
    rows = X[:14], y[:14]
    chunks = {"everywhere": (8, 6), "on one worker": (14,)}
    validation = rows if held == "on the host" else tuple(placed(client, each, chunks[held]) for each in rows)
    options = {"patience": 3, "tol": 1e-2, "optimizer": optim.sgd(), "lr": 0.2, "epochs": 60}
    ours = fit(client, placed(client, X), placed(client, y), start(), validation=validation, **options)
    assert_same(ours, alone(X, y, validation=rows, **options))
    assert len(ours.history) < 60


def test_a_share_of_its_rows_is_held_out_on_each_worker(client):
    X, y, _ = problem()
    epoch = fit(client, placed(client, X), placed(client, y), start(), validation=0.25, epochs=2)
    assert epoch.rows == 2 * (ROWS - 8 - 8)
    assert epoch.last.val_score is not None


def test_a_data_frame_of_unknown_sizes(client):
    frames = pytest.importorskip("dask.dataframe", reason="the session installs Dask's arrays alone")
    import pandas as pd

    X, y, _ = problem()
    table = frames.from_pandas(pd.DataFrame({**dict(zip("abcde", X.T, strict=True)), "y": y}), npartitions=3)
    ours = fit(client, table[list("abcde")], table["y"], start(), epochs=3)
    assert_same(ours, alone(X, y, epochs=3))
    again = fit(client, table[list("abcde")].to_dask_array(), table["y"].to_dask_array(), start(), epochs=3)
    assert_same(again, alone(X, y, epochs=3))


def test_one_worker_with_all_partitions_is_one_process(client):
    X, y, _ = problem()
    ours = fit(client, placed(client, X, (ROWS,)), placed(client, y, (ROWS,)), start())
    one = alone(X, y)
    assert all((a == b).all() for a, b in zip(ours.params, one.params, strict=True))


def test_a_fit_that_finds_its_checkpoint_goes_on(client, tmp_path):
    X, y, _ = problem()
    rows, labels, path = X, y, tmp_path / "run.safetensors"
    X, y = placed(client, rows), placed(client, labels)
    options: dict[str, Any] = {"batch_size": 16, "shuffle": True, "dropout": 0.2}
    whole = fit(client, X, y, start(), epochs=6, **options)
    assert len(fit(client, X, y, start(), epochs=4, checkpoint=path, **options).history) == 4
    ours = fit(client, X, y, start(), epochs=6, checkpoint=path, **options)
    assert ours.last.number == 6
    assert all((a == b).all() for a, b in zip(ours.params, whole.params, strict=True))
    assert len(fit(client, X, y, start(), epochs=6, checkpoint=path, **options).history) == 6  # nothing is left to do
    with pytest.raises(ValueError, match=r"another configuration: settings.batch_size must be 32, got 16"):
        fit(client, X, y, start(), epochs=6, checkpoint=path, **{**options, "batch_size": 32})
    with pytest.raises(ValueError, match=r"another configuration: data must be"):
        fit(client, placed(client, rows + 1.0), y, start(), epochs=6, checkpoint=path, **options)


# --- what fails --------------------------------------------------------------------------------------------------


def fails_on_one(error: BaseException) -> Any:
    """A callback that raises in the second epoch on the worker 1."""

    def callback(epoch: Epoch) -> None:
        from distributed import get_worker

        if get_worker().name == 1 and epoch.last.number == 2:
            raise error

    return callback


def test_what_one_worker_raises_is_raised_and_the_next_fit_works(client):
    X, y, _ = problem()
    bad, huge = (
        placed(client, np.where(np.arange(ROWS) < 20, 7, y)),
        placed(client, np.stack([X[:, 0]] * 3, axis=1) * 1e200),
    )
    X, y = placed(client, X), placed(client, y)
    with pytest.raises(OSError, match=r"the disk is full") as caught:
        fit(client, X, y, start(), callbacks=[fails_on_one(OSError("the disk is full"))])
    assert "raised by rank" in caught.value.__notes__[0]

    def no_room(X: Any, seed: Any, first: Any) -> Any:
        from distributed import get_worker

        if get_worker().name == 1:
            raise MemoryError("no room for a batch")
        return X

    with pytest.raises(MemoryError, match=r"no room for a batch"):  # in the middle of a step, so that others wait
        fit(client, X, y, start(), transform=no_room)
    with pytest.raises(ValueError, match=r"y must hold labels 0 to 2, got"):
        fit(client, X, bad, start())
    with pytest.raises(Diverged, match=r"the loss is not finite"):
        fit(client, X, huge, start(), criterion="squared_error")
    assert fit(client, X, y, start(), epochs=2).last.number == 2


def test_a_partition_that_can_not_be_computed_raises_before_anything_begins(client):
    X, y, _ = problem()
    broken = chunked(X).map_blocks(lambda rows: rows.reshape(2, 3), dtype=X.dtype, meta=X[:0])
    with pytest.raises(ValueError, match=r"cannot reshape array"):
        fit(client, broken, chunked(y), start())


def test_a_rank_waits_for_a_busy_worker_but_not_for_ever(client, tmp_path):
    def is_busy(path: Path) -> None:  # a function in a function travels by value: no worker imports the tests
        import time

        while not path.exists():
            time.sleep(0.01)

    X, y, _ = problem()
    X, y = placed(client, X), placed(client, y)
    for name in ("first", "second"):
        busy = client.submit(is_busy, tmp_path / name, workers=[max(client.nthreads())], pure=False)
        if name == "first":
            threading.Timer(0.5, (tmp_path / name).touch).start()
            assert fit(client, X, y, start(), epochs=2).last.number == 2
        else:
            with pytest.raises(TimeoutError, match=r"all 2 ranks must begin within 1 s, 1 did: workers are busy"):
                fit(client, X, y, start(), timeout=1.0)
            (tmp_path / name).touch()
        busy.result()


def test_two_fits_at_once_wait_for_each_other(client):
    from concurrent.futures import ThreadPoolExecutor

    X, y, _ = problem()
    X, y = placed(client, X), placed(client, y)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(fit, client, X, y, start(), seed=seed, shuffle=True) for seed in (0, 1)]
        assert [each.result().last.number for each in both] == [20, 20]


def test_arguments_of_another_kind_are_refused(client):
    X, y, _ = problem()
    ours, theirs = chunked(X), chunked(y)
    with pytest.raises(TypeError, match=r"client must be a distributed.Client that is not asynchronous, got 3"):
        fit(3, ours, theirs, start())
    with pytest.raises(TypeError, match=r"X must be a Dask array or data frame, or a list of partitions, got ndarray"):
        fit(client, X, theirs, start())
    with pytest.raises(ValueError, match=r"y must have as many rows as X, 63, got 60"):
        fit(client, ours, theirs[:60], start())
    with pytest.raises(ValueError, match=r"y must have as many partitions as X, 4, got 1"):
        fit(client, ours, placed(client, y, (ROWS,)), start())
    with pytest.raises(ValueError, match=r"y must have as many rows in a partition as X, 32, got 31"):
        fit(client, [client.submit(np.ones, (32, 5))] * 2, [client.submit(np.ones, n) for n in (31, 33)], start())
    with pytest.raises(TypeError, match=r"order must be left out: the workers decide it"):
        fit(client, ours, theirs, start(), order=lambda number: range(ROWS))
    with pytest.raises(ValueError, match=r"each rank must have a row for each of the 63 batches"):
        fit(client, ours, theirs, start(), batch_size=1)
