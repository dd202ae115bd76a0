"""What a worker of a Dask cluster does as a rank: it meets the others, joins its partitions, and trains on them.

Before: ``client`` sends these functions to the workers.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np  # a partition on its worker is an array on the host

from mlp_xp._lib.typing import Params
from mlp_xp.checkpoint import fingerprint, load
from mlp_xp.ranks import ALONE, RankFailed, Ranks, together, torch_ranks
from mlp_xp.train import Epoch, train

_ONE = threading.Lock()  # torch.distributed has one group of all ranks in a process


def fingerprint_of(*arrays: Any) -> str:
    """Of a partition."""
    return fingerprint(*map(np.asarray, arrays))


def beginning(path: str | Path | None, start: Params | Epoch, config: dict[str, Any]) -> Params | Epoch:
    """Where training starts: at the checkpoint if there is one."""
    if path is None or not Path(path).exists():
        return start
    return load(path, start.params if isinstance(start, Epoch) else start, config)


def open_store(timeout: float) -> Any:
    """Where ranks tell each other their addresses; it lives as long as the future."""
    from torch.distributed import TCPStore

    return TCPStore(_host(), 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout))


def address_of(store: Any) -> tuple[str, int]:
    return store.host, store.port


def _host() -> str:
    """The address of this worker."""
    from distributed import get_worker
    from distributed.comm import get_address_host

    host: str = get_address_host(get_worker().address)
    return host


def as_rank(
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
