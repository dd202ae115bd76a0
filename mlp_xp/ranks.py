"""Ranks: processes that train one network together, each on rows of its own.

A step of data-parallel training is the step of one process, and between its gradients and its update one sum over all
ranks: all that is known of an engine is ``Ranks(rank, size, total)``. The engines are those that people run:
``torch.distributed``, MPI, NCCL, and a mesh of JAX. Each is imported when its function is called.

    torchrun --nproc-per-node 2 program.py          # ranks = torch_ranks()
    mpirun -n 2 python program.py                   # ranks = mpi_ranks()

    for epoch in train(X_mine, y_mine, params, ranks=ranks, ...):
        ...

Next: ``train`` sums the gradients of a step, and decides by sums what all ranks have to decide alike.
"""

import hashlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar, cast

from mlp_xp._lib.namespace import device_kwargs, namespace, to_host
from mlp_xp._lib.typing import Array

_Made = TypeVar("_Made")


class Ranks(NamedTuple):
    """The processes of a run, seen from one of them.

    rank: the number of this one, 0 to ``size - 1``; inside ``jax.shard_map`` a 0-d array.
    size: how many there are.
    total: ``total(arrays)``, the sums over the ranks of a tuple of arrays of one dtype, equal on each of them. Every
        rank calls it equally often with equal shapes.
    """

    rank: Any
    size: int
    total: Callable[[tuple[Array, ...]], tuple[Array, ...]]


def _as_they_are(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return arrays


ALONE = Ranks(0, 1, _as_they_are)
"""One process: each sum is its own."""


class Failed(RuntimeError):
    """Another rank has raised, or is gone; what it raised says why."""


def in_one(total: Callable[[Any], Any]) -> Callable[[tuple[Array, ...]], tuple[Array, ...]]:
    """``Ranks.total``, from ``total(flat)``, the sum over the ranks of an array (s,): all arrays are one message.

    A collective costs its latency once a call, not once an array. ``flat`` is new: ``total`` may write into it.
    """

    def of_all(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        xp = namespace(*arrays)
        flat = total(xp.concat([xp.reshape(array, (-1,)) for array in arrays]))
        sums, low = [], 0
        for array in arrays:
            high = low + math.prod(array.shape)
            sums.append(xp.reshape(flat[low:high], array.shape))
            low = high
        return tuple(sums)

    return of_all


def mean(ranks: Ranks, weight: float | Array, *arrays: Array) -> tuple[Array, ...]:
    """``sum_r w_r a_r / sum_r w_r`` over the ranks r, for each array ``a``: makes a step of one's own data-parallel.

    Args:
        ranks: of which this process is one.
        weight: what the rows of this rank weigh together; without weights their number.
        arrays: means over these rows, such as the loss and the gradients, of one dtype.

    Returns:
        The means over the rows of all ranks, in one message.

    >>> import numpy as np, mlp_xp as mx
    >>> X, y, params = np.eye(4), np.asarray([0, 1, 0, 1]), mx.init_params((4, 8, 2))
    >>> loss, grads = mx.loss_and_grads(X, y, *params)
    >>> loss, *grads = mean(ALONE, X.shape[0], loss, *grads)
    """
    if ranks.size == 1:
        return arrays
    xp = namespace(*arrays)
    one = xp.ones_like(arrays[0][(..., *(0,) * arrays[0].ndim)])
    weights, *sums = ranks.total((one * weight, *(array * weight for array in arrays)))
    return tuple([each / weights for each in sums])


# --- what the ranks of a run decide alike ------------------------------------------------------------------------


def sums_of(ranks: Ranks, like: Array, *values: float) -> list[float]:
    """The sums over the ranks of numbers on the host.

    Args:
        ranks: of which this process is one.
        like: an array on the device whose arrays the engine sums.
        values: as many on each rank; whole numbers are exact to 2^53.
    """
    if ranks.size == 1:
        return list(values)
    xp = namespace(like)
    (sums,) = ranks.total((xp.asarray(values, dtype=xp.float64, **device_kwargs(like)),))
    answer: list[float] = to_host(sums).tolist()
    return answer


def each_of(ranks: Ranks, like: Array, value: float) -> list[float]:
    """The number of each rank, in their order; see ``sums_of``."""
    return sums_of(ranks, like, *(value if rank == ranks.rank else 0.0 for rank in range(ranks.size)))


def together(ranks: Ranks, like: Array, call: Callable[[], _Made]) -> _Made:
    """What ``call()`` returns. Where it raises on one rank all ranks raise: none waits for one that is gone.

    Args:
        ranks: of which this process is one.
        like: see ``sums_of``.
        call: which sums nothing over the ranks.

    Raises:
        Failed: another rank has raised, and this one has not.
    """
    if ranks.size == 1:
        return call()
    made, raised = None, None
    try:
        made = call()
    except Exception as error:
        raised = error
    failed = [rank for rank, value in enumerate(each_of(ranks, like, float(raised is not None))) if value]
    if raised is not None:
        raise raised
    if failed:
        raise Failed(f"rank {', '.join(map(str, failed))} has failed: what it raised says why")
    return cast(_Made, made)


@contextmanager
def interrupts_into(asked: threading.Event, ranks: Ranks) -> Iterator[None]:
    """Let Ctrl-C set ``asked`` where there are several ranks, so that they end in the same step; a second one raises.

    Python gives signals to the main thread alone: elsewhere, and where a program has a handler of its own, that stays.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ranks.size == 1 or not usual or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def check_alike(ranks: Ranks, like: Array, what: str, value: str) -> None:
    """Raise ValueError on all ranks unless ``value`` is the same on all; ``what`` names it for the message."""
    if ranks.size == 1:
        return
    digest = int.from_bytes(hashlib.sha256(value.encode()).digest()[:6])  # below 2^53, so exact in a sum
    found = each_of(ranks, like, float(digest))
    if len(set(found)) > 1:
        other = next(rank for rank, each in enumerate(found) if each != found[0])
        raise ValueError(f"{what} must be the same on all ranks, those of rank {other} are not those of rank 0")


# --- engines -----------------------------------------------------------------------------------------------------


def torch_ranks(group: Any = None) -> Ranks:
    """The ranks of ``torch.distributed``, which torchrun, Ray Train, Lightning or Spark have started.

    Args:
        group: a process group; that of ``init_process_group`` when None. Its backend decides what it can sum: gloo
            arrays on the host, of NumPy too, NCCL those on CUDA devices.

    Raises:
        RuntimeError: ``torch.distributed`` is not initialised.

    Source: ``torch.distributed.all_reduce``.
    """
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        raise RuntimeError("torch_ranks needs torch.distributed.init_process_group to be called first, it was not")

    def total(flat: Any) -> Any:
        shared = torch.asarray(flat)  # the same memory
        distributed.all_reduce(shared, group=group)
        return flat

    return Ranks(distributed.get_rank(group), distributed.get_world_size(group), in_one(total))


def mpi_ranks(comm: Any = None) -> Ranks:
    """The ranks of a communicator of mpi4py, which mpirun or srun has started.

    Args:
        comm: the communicator; ``MPI.COMM_WORLD`` when None. It sums arrays on the host, of NumPy and PyTorch, and
            those of CuPy where MPI was built for CUDA.

    Source: ``MPI_Allreduce`` of the MPI standard.
    """
    from mpi4py import MPI

    own = MPI.COMM_WORLD if comm is None else comm

    def total(flat: Any) -> Any:
        own.Allreduce(MPI.IN_PLACE, flat)
        return flat

    return Ranks(own.Get_rank(), own.Get_size(), in_one(total))


def cupy_ranks(comm: Any, rank: int, size: int) -> Ranks:
    """The ranks of NCCL in CuPy.

    Args:
        comm: what ``cupyx.distributed.init_process_group(size, rank)`` returned.
        rank: of this process.
        size: how many there are.

    Source: ``ncclAllReduce``.
    """

    def total(flat: Any) -> Any:
        comm.all_reduce(flat, flat)
        return flat

    return Ranks(rank, size, in_one(total))


def jax_ranks(axis: str) -> Ranks:
    """The devices along an axis of a mesh, inside a function that ``jax.shard_map`` maps over them.

    For a step of one's own with ``mean``. ``train`` needs no ranks on JAX: its compiler finds the sums by itself, see
    ``train.split``.

    Args:
        axis: the name of the axis.

    Source: ``jax.lax.psum``.
    """
    import jax

    def total(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        sums: tuple[Array, ...] = jax.lax.psum(arrays, axis)
        return sums

    return Ranks(jax.lax.axis_index(axis), jax.lax.axis_size(axis), total)
