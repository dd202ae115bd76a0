"""Workers: a Dask cluster trains one network by ranks inside its workers, on the partitions that they hold.

Dask arrays in place of NumPy's are another way: there each step is a graph of hundreds of tasks, and shuffled rows go
from worker to worker. Here the scheduler sees one long task for each worker, partitions stay where they are, and the
workers send each other the sums of a step alone:

    X = dask.array.from_zarr("X.zarr")
    epoch = dask_train(client, X, y, params, epochs=20, lr=0.01)

Before: ``ranks`` sum over ``torch.distributed``, ``train`` steps, ``checkpoint`` keeps an epoch for the next start.
"""

import hashlib
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np  # a partition on its worker is an array on the host

from mlp_xp._lib.arguments import check_callables, check_parameters, check_positive, check_whole, described
from mlp_xp._lib.typing import Params
from mlp_xp.checkpoint import fingerprint, load, saver
from mlp_xp.ranks import ALONE, RankFailed, Ranks, together, torch_ranks
from mlp_xp.train import Epoch, train

_POLL = 0.5  # seconds between two looks at the workers
_RESTART = 30.0  # seconds that a nanny has to start a worker again
_GRACE = 5.0  # seconds that ranks have to end after one of them: what it raised may be the cause
_ONE = threading.Lock()  # torch.distributed has one group of all ranks in a process


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

    deadline = time.monotonic() + _RESTART
    expected = {name for name in chain(*places) if name in before and before[name].nanny}
    while not expected <= set(_workers(client)) and time.monotonic() < deadline:
        time.sleep(_POLL)
    client.wait_for_workers(1, timeout=run.timeout)
    parts = [part for columns in data for parts in columns.values() for part in parts]
    with suppress(CancelledError):  # each partition says it, too
        wait(parts)
    for part in parts:
        if part.status in ("cancelled", "lost"):
            raise RuntimeError("a partition is lost: Dask can't compute again what was scattered to a worker")
        if part.status == "error":
            part.result()  # raises
    return _workers(client)


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

    (given,) = client.scatter([run.start], workers=[ranks[0].address], hash=False)  # the scheduler's graphs stay small
    begin = submit(0, _beginning, run.checkpoint, given, config)
    store = submit(0, _open_store, run.timeout) if len(ranks) > 1 else None
    where = submit(0, _address_of, store) if len(ranks) > 1 else None
    futures, shared = [], [each for each in (given, begin, store, where) if each is not None]
    try:
        for rank, worker in enumerate(ranks):
            kept = [saver(run.checkpoint, config)] if run.checkpoint is not None and rank == 0 else []
            settings = {**run.settings, "callbacks": [*kept, *run.settings["callbacks"]]}
            own = _own(data.rows, places[0], worker.name)
            held_out, taken = _share(data.held_out, places[1], [each.name for each in ranks], rank)
            # rank 0 begins when the others know the address: its worker may have one thread, which it then needs
            meeting = where, store if rank == 0 else None, rank, len(ranks), run.timeout
            futures.append(submit(rank, _as_rank, meeting, (own, held_out, taken), begin, settings))
        return _outcome(client, futures, ranks)
    finally:
        client.cancel([*futures, *shared])  # ranks that still run see it after their epoch


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
    digests = [client.map(_fingerprint, *columns.values(), pure=False) for columns in data if columns]
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
            epoch: Epoch = futures[0].result()
            return epoch
        if not states <= {"pending", "finished", "error"}:
            raise _Lost("the last one had what was sent to all")
        if errors:
            deadline = min(deadline, time.monotonic() + _GRACE)
            if "pending" not in states or time.monotonic() > deadline:
                raise _Lost(str(next(iter(errors.values()))))


# --- on a worker -------------------------------------------------------------------------------------------------


def _fingerprint(*arrays: Any) -> str:
    """Of a partition."""
    return fingerprint(*map(np.asarray, arrays))


def _beginning(path: str | Path | None, start: Params | Epoch, config: dict[str, Any]) -> Params | Epoch:
    """Where training starts: at the checkpoint if there is one."""
    if path is None or not Path(path).exists():
        return start
    return load(path, start.params if isinstance(start, Epoch) else start, config)


def _open_store(timeout: float) -> Any:
    """Where ranks tell each other their addresses; it lives as long as the future."""
    from torch.distributed import TCPStore

    return TCPStore(_host(), 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout))


def _address_of(store: Any) -> tuple[str, int]:
    return store.host, store.port


def _host() -> str:
    """The address of this worker."""
    from distributed import get_worker
    from distributed.comm import get_address_host

    host: str = get_address_host(get_worker().address)
    return host


def _as_rank(
    meeting: tuple[Any, Any, int, int, float],
    data: tuple[dict[str, list[Any]], dict[str, list[Any]], slice],
    start: Params | Epoch,
    settings: dict[str, Any],
) -> Epoch | None:
    """Train on the partitions of this worker. Returns the last epoch on rank 0.

    Args:
        meeting: see ``_group``.
        data: X, y and perhaps weights, partition by partition; so the rows to judge, or none; which of these it takes.
        start: where training starts, the same on all ranks.
        settings: of ``train``.
    """
    (own, held_out, taken), like = data, (start.params if isinstance(start, Epoch) else start)[0]
    with _group(*meeting) as ranks:
        with together(ranks, like):
            rows, judged = _joined(own), _joined(held_out) if held_out else {}
        if held_out:
            settings = {**settings, "validation": (judged["X"][taken], judged["y"][taken])}
        settings = {**settings, "callbacks": [*settings["callbacks"], _is_given_up]}
        epochs: Any = train(**rows, params=start, ranks=ranks, **settings)
        last = deque(chain([start], epochs), maxlen=1).pop()  # a checkpoint may have them all
    return cast(Epoch, last) if ranks.rank == 0 else None


def _joined(columns: dict[str, list[Any]]) -> dict[str, Any]:
    """The rows of all partitions, as arrays of NumPy."""
    arrays = {name: [np.asarray(part) for part in parts] for name, parts in columns.items()}
    for name, parts in arrays.items():
        for ours, X in zip(parts, arrays["X"], strict=True):
            n = ours.shape[-1 if name == "sample_weight" else 0]
            if n != X.shape[0]:
                raise ValueError(f"{name} must have as many rows in a partition as X, {X.shape[0]}, got {n}")
    return {
        name: parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1 if name == "sample_weight" else 0)
        for name, parts in arrays.items()
    }


def _is_given_up(epoch: Any = None) -> bool:
    """Whether the client wants this task no more: it is gone, or has cancelled."""
    from distributed import get_worker

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is None or task.state == "cancelled"


@contextmanager
def _group(address: Any, store: Any, rank: int, size: int, timeout: float) -> Iterator[Ranks]:
    """The ranks of this run, as long as it lasts.

    Args:
        address: of the store, None for one rank.
        store: where ranks meet, on rank 0; None on others.
        rank: of this process.
        size: how many there are.
        timeout: seconds that one may wait for another.

    Raises:
        RankFailed: another one is gone, or the client has given up.
        TimeoutError: the others do not begin.
    """
    if size == 1:
        yield ALONE
        return
    from torch import distributed

    limit = timedelta(seconds=timeout)
    if not _ONE.acquire(timeout=timeout):
        raise TimeoutError(f"the worker must be done with a fit before within {timeout:g} s, it was not")
    try:
        with _connections():
            if store is None:
                store = distributed.TCPStore(*address, is_master=False, wait_for_workers=False, timeout=limit)
            _wait_for_all(store, size, timeout)
            with _on_this_host():
                distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=limit)
        try:
            ranks = torch_ranks()
            yield ranks._replace(total=_connections()(ranks.total))
        finally:
            distributed.destroy_process_group()
    finally:
        _ONE.release()


@contextmanager
def _connections() -> Iterator[None]:
    """Say of what PyTorch raises where a connection fails that it is another rank that has."""
    try:
        yield
    except RankFailed:
        raise
    except RuntimeError as error:
        raise RankFailed(f"another rank is gone: {error}") from None


def _wait_for_all(store: Any, size: int, timeout: float) -> None:
    """Return when all ranks are here. The workers of some may be busy with other tasks."""
    deadline = time.monotonic() + timeout
    here = store.add("ranks", 1)
    while here < size:
        if _is_given_up():
            raise RankFailed("the client has given up")
        if time.monotonic() > deadline:
            raise TimeoutError(f"all {size} ranks must begin within {timeout:g} s, {here} did: workers are busy")
        time.sleep(0.01)
        here = store.add("ranks", 0)


@contextmanager
def _on_this_host() -> Iterator[None]:
    """Let gloo take the network on which the scheduler finds this worker, unless the environment names one."""
    import psutil

    name, host = "GLOO_SOCKET_IFNAME", _host()
    found = (one for one, addresses in psutil.net_if_addrs().items() if host in [each.address for each in addresses])
    interface = None if name in os.environ else next(found, None)
    if interface is not None:
        os.environ[name] = interface
    try:
        yield
    finally:
        if interface is not None:
            del os.environ[name]
