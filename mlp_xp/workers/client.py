"""The client's side of a fit on a Dask cluster: partitions stay where they are, and each worker gets one task.

Dask arrays in place of NumPy's are another way: there each step is a graph of hundreds of tasks, and shuffled rows go
from worker to worker. Here the scheduler sees one long task for each worker, partitions stay where they are, and the
workers send each other the sums of a step alone:

    X = dask.array.from_zarr("X.zarr")
    epoch = dask_train(client, X, y, params, epochs=20, lr=0.01)

Next: ``rank`` is what a worker does.
"""

import hashlib
import math
import os
import socket
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np  # a partition on its worker is an array on the host

from mlp_xp._lib.arguments import check_callables, check_parameters, check_positive, check_whole, described
from mlp_xp._lib.typing import Params
from mlp_xp.checkpoint import saver
from mlp_xp.ranks import RankFailed
from mlp_xp.train import Epoch
from mlp_xp.workers.rank import address_of, as_rank, beginning, fingerprint_of, open_store

_POLL = 0.5  # seconds between two looks at the workers
_RESTART = 30.0  # seconds that a nanny has to start a worker again
_GRACE = 5.0  # seconds that ranks have to end after one of them: what it raised may be the cause


def dask_train(
    client: Any,
    X: Any,
    y: Any,
    params: Params | Epoch,
    *,
    sample_weight: Any = None,
    validation: tuple[Any, Any] | float | None = None,
    checkpoint: str | Path | None = None,
    retries: int = 3,
    timeout: float = 300.0,
    **settings: Any,
) -> Epoch:
    """The last ``Epoch`` of ``train``, whose ranks are the workers of a Dask cluster that hold partitions of ``X``.

    The partitions are computed and stay where Dask has put them. Each worker trains on its own as NumPy arrays; one
    without partitions does not take part. The step is that of one process with all rows, to rounding, see
    ``train(..., ranks=)``. A worker that holds several partitions needs room for its rows twice.

    If a worker is lost, training starts again, from ``checkpoint`` where there is one. It waits half a minute for a
    worker that has a nanny. If that one comes back, each partition goes to the worker of the same name as before, and
    the result is to the last bit that of a run without interruption. Otherwise fewer ranks go on.

    Fits on one cluster wait for each other. PyTorch must be installed on the workers, unless one has all partitions.

    Args:
        client: a ``distributed.Client``. Its workers are processes of their own.
        X: (n, d_in), a Dask array, a Dask data frame, or a list of delayed objects or futures, one a partition. It is
            divided along rows, evenly or not.
        y: the targets, as ``X``; a Dask array is divided as ``X`` is.
        params: parameters of NumPy to start from, or an ``Epoch`` to go on from.
        sample_weight: None, or the weight of each row, as ``y``; of an ensemble also (k, n).
        validation: rows ``(X, y)``, as above or arrays on the host; or the share of its rows that each worker holds
            out. Where a worker has no partition of these rows, each rank takes every ``size``-th of them.
        checkpoint: a file that is written after each epoch. A fit that finds it goes on from it. All workers see it.
        retries: how often training starts again.
        timeout: seconds. A rank that has begun waits no longer for another one to begin, or to end its step.
        settings: what ``train`` takes by keyword, but for ``order`` and ``ranks``. Functions are pickled; callbacks and
            ``score`` are called on each worker.

    Returns:
        The last epoch, of NumPy arrays.

    Raises:
        ValueError, TypeError, Diverged: as ``train``, from the first rank that raised; a note says on which worker.
        ModuleNotFoundError: PyTorch is not installed on a worker.
        RuntimeError: workers were lost more often than ``retries``.
        TimeoutError: a rank did not begin in time, since its worker was busy.

    >>> from distributed import Client, LocalCluster  # doctest: +SKIP
    >>> client = Client(LocalCluster(n_workers=2, threads_per_worker=1))  # doctest: +SKIP
    >>> epoch = dask_train(client, X, y, params, epochs=20, checkpoint="run.safetensors")  # doctest: +SKIP

    Source: one long task for each worker, as XGBoost and LightGBM train on Dask; the sums are those of gloo.
    """
    start = params if isinstance(params, Epoch) else check_parameters("params", params)
    retries, timeout = check_whole("retries", retries, 0), check_positive("timeout", timeout)
    _check_client(client)
    given: list[dict[str, list[Any]]] = [_columns(X, y, sample_weight), {}]
    if isinstance(validation, tuple):
        given[1], validation = _columns(*validation, which="validation "), None
    run = _Run(start, _checked({"validation": validation, **settings}), checkpoint, timeout)
    with client.as_current(), _one_fit():
        # asked for all at once, the scheduler computes once what they share
        computed = iter(client.compute([part for each in given for parts in each.values() for part in parts]))
        data = _Data(*[{name: [next(computed) for _ in parts] for name, parts in each.items()} for each in given])
        workers: dict[Any, _Worker] = {}
        places: list[list[Any]] = [[], []]
        for left in reversed(range(retries + 1)):
            try:
                workers = _settled(client, data, workers, places, run)
                places = [_places(client, *each, workers) for each in zip(data, places, strict=True)]
                return _once(client, data, workers, places, run)
            except _Lost as lost:
                if not left:
                    raise RuntimeError(f"workers must not be lost more than {retries} times: {lost}") from None
    raise AssertionError("one of the starts has returned or raised")


class _Lost(Exception):
    """A worker, or its connection to another one, is gone."""


class _Data(NamedTuple):
    """The partitions, as futures: by the names X, y and sample_weight lists of equal length.

    rows: to learn from.
    held_out: to judge each epoch; empty where there are none, or where each rank holds out a share.
    """

    rows: dict[str, list[Any]]
    held_out: dict[str, list[Any]]


class _Run(NamedTuple):
    """What stays the same from start to start, see ``dask_train``."""

    start: Params | Epoch
    settings: dict[str, Any]
    checkpoint: str | Path | None
    timeout: float


class _Worker(NamedTuple):
    """What a worker says of itself.

    name: stays the same when a nanny starts it again; the address does not.
    address: where it is.
    process: its machine and the number of its process.
    nanny: whether somebody starts it again.
    torch: whether PyTorch is installed.
    """

    name: Any
    address: str
    process: tuple[str, int]
    nanny: bool
    torch: bool


def _check_client(client: Any) -> None:
    """Raise unless ``client`` is one of Dask, and not an asynchronous one."""
    from distributed import Client

    if not isinstance(client, Client) or client.asynchronous:
        raise TypeError(f"client must be a distributed.Client that is not asynchronous, got {described(client)}")


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of ``train``. Raise for those that workers decide."""
    for name in ("ranks", "order"):
        if name in settings:
            raise TypeError(f"{name} must be left out: the workers decide it, got {described(settings[name])}")
    return {**settings, "callbacks": check_callables("callbacks", settings.get("callbacks", ()))}


def _one_fit() -> Any:
    """A lock of the cluster: of two fits each could have some workers and wait for those of the other."""
    from distributed import Lock

    return Lock("mlp_xp.dask_train")


# --- partitions, and where they are ------------------------------------------------------------------------------


def _columns(X: Any, y: Any, sample_weight: Any = None, which: str = "") -> dict[str, list[Any]]:
    """The partitions of X, y and of weights that are there: as many of each, with the same rows."""
    chunks = X.chunks[0] if hasattr(X, "chunks") else None
    columns = {"X": _partitions(f"{which}X", X, None), "y": _partitions(f"{which}y", y, chunks)}
    if sample_weight is not None:
        columns["sample_weight"] = _partitions("sample_weight", sample_weight, chunks, axis=-1)
    count = len(columns["X"])
    for name, parts in columns.items():
        if len(parts) != count:
            raise ValueError(f"{which}{name} must have as many partitions as X, {count}, got {len(parts)}")
    return columns


def _partitions(name: str, given: Any, chunks: Any, axis: int = 0) -> list[Any]:
    """A delayed object or a future for each partition.

    Args:
        name: of the collection, for messages.
        given: a Dask array, divided anew as X is where sizes are known; or anything else that ``dask_train`` takes.
        chunks: how the rows of X are divided; None for X itself, and where nobody knows.
        axis: of the rows.
    """
    from dask import delayed

    if hasattr(given, "chunks"):
        own, axis = given.chunks[axis], axis % given.ndim
        division = {other: -1 for other in range(given.ndim) if other != axis}
        if chunks is not None and not any(map(math.isnan, (*chunks, *own))):
            if sum(own) != sum(chunks):
                raise ValueError(f"{name} must have as many rows as X, {sum(chunks)}, got {sum(own)}")
            division[axis] = chunks
        return list(given.rechunk(division).to_delayed().ravel())
    if hasattr(given, "to_delayed"):
        return list(given.to_delayed())
    if name.startswith("validation") and hasattr(given, "__array__"):
        return [delayed(np.asarray(given))]
    if not isinstance(given, list) or not given:
        raise TypeError(f"{name} must be a Dask array or data frame, or a list of partitions, got {described(given)}")
    return given


def _settled(
    client: Any, data: _Data, before: dict[Any, _Worker], places: list[list[Any]], run: _Run
) -> dict[Any, _Worker]:
    """The workers by name, once all partitions are there and nannies had their time to start workers again.

    Args:
        client: of the cluster.
        data: the partitions.
        before: the workers of the last start.
        places: their partitions.
        run: what is to be done.
    """
    from distributed import wait

    expected = {name for name in chain(*places) if name in before and before[name].nanny}
    parts = [part for columns in data for parts in columns.values() for part in parts]
    while True:
        all_back = _all_back(client, expected)
        client.wait_for_workers(1, timeout=run.timeout)
        with suppress(CancelledError):  # each partition says it, too
            wait(parts)
        for part in parts:
            if part.status in ("cancelled", "lost"):
                raise RuntimeError("a partition is lost: Dask can't compute again what was scattered to a worker")
            if part.status == "error":
                part.result()  # raises
        workers = _workers(client)
        if expected <= set(workers) or not all_back:  # one that is lost while partitions are computed has its time too
            return workers


def _all_back(client: Any, names: set[Any]) -> bool:
    """Whether all workers of these names are there, now or after the time that a nanny has."""
    deadline = time.monotonic() + _RESTART
    while not (there := names <= set(_workers(client))) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return there


def _workers(client: Any) -> dict[Any, _Worker]:
    """All workers that answer, by name."""
    answers = client.run(_about, on_error="return").values()
    return {answer.name: answer for answer in answers if isinstance(answer, _Worker)}


def _about(dask_worker: Any) -> _Worker:
    """On a worker: what it is."""
    process, has_torch = (socket.gethostname(), os.getpid()), find_spec("torch") is not None
    return _Worker(dask_worker.name, dask_worker.address, process, dask_worker.nanny is not None, has_torch)


def _places(client: Any, columns: dict[str, list[Any]], before: list[Any], workers: dict[Any, _Worker]) -> list[Any]:
    """For each partition of X the name of the worker that had it ``before`` or, where that is gone, that holds it."""
    if not columns:
        return []
    names = {worker.address: worker.name for worker in workers.values()}
    places, held = [], client.who_has(columns["X"])
    for part, name in zip(columns["X"], before or [None] * len(columns["X"]), strict=True):
        if name is None or name not in workers:
            name = next((names[address] for address in held[part.key] if address in names), None)
        if name is None:
            raise _Lost("a partition was lost with its worker")
        places.append(name)
    return places


# --- one start, as the client sees it ----------------------------------------------------------------------------


def _once(client: Any, data: _Data, workers: dict[Any, _Worker], places: list[list[Any]], run: _Run) -> Epoch:
    """The last epoch of a run whose ranks are the workers in these places.

    Raises:
        _Lost: one of them is gone.
    """
    ranks = [workers[name] for name in dict.fromkeys(places[0])]  # in the order of their first partitions
    _check_ranks(ranks)
    config = {} if run.checkpoint is None else _configuration(client, data, run.settings)

    def submit(rank: int, function: Any, *arguments: Any) -> Any:
        return client.submit(function, *arguments, workers=[ranks[rank].address], pure=False)

    given = _sent(client, run.start, ranks[0].address)  # the scheduler's graphs stay small
    begin = submit(0, beginning, run.checkpoint, given, config)
    store = submit(0, open_store, run.timeout) if len(ranks) > 1 else None
    where = submit(0, address_of, store) if len(ranks) > 1 else None
    futures, shared = [], [each for each in (given, begin, store, where) if each is not None]
    try:
        for rank, worker in enumerate(ranks):
            kept = [saver(run.checkpoint, config)] if run.checkpoint is not None and rank == 0 else []
            settings = {**run.settings, "callbacks": [*kept, *run.settings["callbacks"]]}
            own = _own(data.rows, places[0], worker.name)
            held_out, taken = _share(data.held_out, places[1], [each.name for each in ranks], rank)
            # rank 0 begins when the others know the address: its worker may have one thread, which it then needs
            meeting = where, store if rank == 0 else None, rank, len(ranks), run.timeout
            futures.append(submit(rank, as_rank, meeting, (own, held_out, taken), begin, settings))
        return _outcome(client, futures, ranks)
    finally:
        client.cancel([*futures, *shared])  # ranks that still run see it after their epoch


def _sent(client: Any, value: Any, address: str) -> Any:
    """A value on a worker, as a future.

    Raises:
        _Lost: the worker is gone.
    """
    try:
        (future,) = client.scatter([value], workers=[address], hash=False)
    except (KeyError, OSError):  # KeyError: the scheduler no longer knows the address
        raise _Lost(f"the last one was {address}") from None
    return future


def _check_ranks(ranks: Sequence[_Worker]) -> None:
    """Raise unless these workers can be ranks."""
    if len({worker.process for worker in ranks}) < len(ranks):
        raise ValueError("client must have workers in processes of their own, got several in one")
    without = [str(worker.name) for worker in ranks if not worker.torch]
    if without and len(ranks) > 1:
        raise ModuleNotFoundError(f"PyTorch must be installed on the workers, it is not on {', '.join(without)}")


def _own(columns: dict[str, list[Any]], places: list[Any], name: Any) -> dict[str, list[Any]]:
    """The partitions in this place."""
    own = [number for number, place in enumerate(places) if place == name]
    return {column: [parts[number] for number in own] for column, parts in columns.items()}


def _share(
    columns: dict[str, list[Any]], places: list[Any], names: list[Any], rank: int
) -> tuple[dict[str, list[Any]], slice]:
    """The partitions of rows that are held out for a rank, and which of their rows it takes.

    Each rank needs some: where one has no partition of its own, all have all, and take every ``len(names)``-th row.
    """
    if set(places) == set(names):
        return _own(columns, places, names[rank]), slice(None)
    return columns, slice(rank, None, len(names))


def _configuration(client: Any, data: _Data, settings: dict[str, Any]) -> dict[str, Any]:
    """What decides how a run continues, for its checkpoint: the data, wherever they are, and plain settings."""
    digests = [client.map(fingerprint_of, *columns.values(), pure=False) for columns in data if columns]
    left_out = {"compile"} if callable(settings.get("lr")) else {"compile", "epochs"}
    plain = {name: value for name, value in settings.items() if isinstance(value, (str, bool, int, float))}
    return {
        "settings": {name: value for name, value in plain.items() if name not in left_out},
        "data": hashlib.sha256(repr(client.gather(digests)).encode()).hexdigest()[:16],
    }


def _outcome(client: Any, futures: list[Any], ranks: list[_Worker]) -> Epoch:
    """What rank 0 returns, once all ranks have ended.

    Raises:
        What a rank has raised, but for the words that another one has failed.
        _Lost: a worker is gone, or the connection to it.
    """
    from distributed import wait

    deadline = math.inf
    while True:
        with suppress(TimeoutError, CancelledError):  # cancelled: what rank 0 was sent is lost with its worker
            wait(futures, timeout=_POLL)
        errors = {rank: future.exception() for rank, future in enumerate(futures) if future.status == "error"}
        for rank, error in errors.items():
            if not isinstance(error, RankFailed):
                error.add_note(f"raised by rank {rank} on the worker {ranks[rank].address}")
                raise error
        gone = {worker.address for worker in ranks} - set(client.nthreads())
        if gone:
            raise _Lost(f"the last one was {', '.join(sorted(gone))}")
        states = {future.status for future in futures}
        if states == {"finished"}:
            with suppress(
                TimeoutError, CancelledError
            ):  # its worker may be lost meanwhile: then Dask waits for another
                epoch: Epoch = futures[0].result(timeout=_RESTART)
                return epoch
        if not states <= {"pending", "finished", "error"}:
            raise _Lost("the last one had what was sent to all")
        if errors:
            deadline = min(deadline, time.monotonic() + _GRACE)
            if "pending" not in states or time.monotonic() > deadline:
                raise _Lost(str(next(iter(errors.values()))))
