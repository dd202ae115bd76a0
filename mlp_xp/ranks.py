"""Ranks: processes that train one network together, each on rows of its own.

A step of data-parallel training is the step of one process, and between its gradients and its update one sum over all
ranks: all that is known of an engine is ``Ranks(rank, size, total)``. The engines are those that people run:
``torch.distributed``, MPI, NCCL, and a mesh of JAX. Each is imported when its function is called.

    torchrun --nproc-per-node 2 program.py          # or mpirun -n 2 python program.py

    ranks = started()
    for epoch in train(X_mine, y_mine, params, ranks=ranks, ...):
        ...

Next: ``train`` sums the gradients of a step, and decides by sums what all ranks have to decide alike.
"""

import atexit
import hashlib
import itertools
import math
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar, cast

from mlp_xp._lib.arguments import described
from mlp_xp._lib.namespace import device_kwargs, namespace, to_host
from mlp_xp._lib.typing import Array, Params

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


class RankFailed(RuntimeError):
    """Another rank has raised, or is gone, and this one, which has not, ends with it."""


@contextmanager
def together(ranks: Ranks, like: Array) -> Iterator[None]:
    """Where the body raises on one rank all ranks raise: none waits for one that is gone.

    Of the functions that sum over the ranks the body calls ``gathered`` alone, equally often on each rank.

    Args:
        ranks: of which this process is one.
        like: see ``sums_of``.

    Raises:
        RankFailed: another rank has raised, and this one has not.
    """
    if ranks.size == 1:
        yield
        return
    try:
        yield
    except RankFailed:
        raise
    except BaseException:
        each_of(ranks, like, -1.0)  # the others wait in ``gathered``, or at the end
        raise
    refuse_failed(each_of(ranks, like, 0.0))


def gathered(ranks: Ranks, like: Array, value: _Made) -> list[_Made]:
    """What each rank gave, in their order: anything that can be pickled.

    Raises:
        RankFailed: another rank has raised inside of ``together``.
    """
    if ranks.size == 1:
        return [value]
    own = pickle.dumps(value)
    lengths = [int(length) for length in refuse_failed(each_of(ranks, like, float(len(own))))]
    ends = list(itertools.accumulate(lengths))
    low = ends[ranks.rank] - len(own)
    whole = bytes(map(int, sums_of(ranks, like, *(0,) * low, *own, *(0,) * (ends[-1] - low - len(own)))))
    return [pickle.loads(whole[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def refuse_failed(numbers: list[float]) -> list[float]:
    """``numbers``, one of each rank. Raise where one is negative, which says that its rank has raised."""
    failed = [str(rank) for rank, number in enumerate(numbers) if number < 0]
    if failed:
        raise RankFailed(f"rank {', '.join(failed)} has failed: what it raised says why")
    return numbers


def by_gathering(ranks: Ranks, like: Array) -> Ranks:
    """``ranks`` whose ``total`` may be called inside of ``together``: the arrays go over the host."""
    if ranks.size == 1:
        return ranks
    xp = namespace(like)

    def total(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        each = gathered(ranks, like, [to_host(array) for array in arrays])
        return tuple([xp.asarray(sum(parts), **device_kwargs(like)) for parts in zip(*each, strict=True)])

    return ranks._replace(total=total)


def check_ranks(ranks: Any) -> Ranks:
    """``ranks``, or the one there is. Raise for anything else."""
    if ranks is None:
        return ALONE
    if not isinstance(ranks, Ranks):
        raise TypeError(f"ranks must be Ranks, as mlp_xp.ranks.torch_ranks makes them, got {described(ranks)}")
    if not isinstance(ranks.rank, int):
        expected = "those of processes; devices of JAX take compile=split(mesh) in their place"
        raise TypeError(f"ranks must be {expected}, got {described(ranks.rank)} as the number of a rank")
    return ranks


@contextmanager
def interrupts_into(asked: threading.Event, ranks: Ranks) -> Iterator[None]:
    """Let Ctrl-C set ``asked`` where there are several ranks, so that they end in the same step; a second one raises.

    Python gives signals to the main thread alone: elsewhere, and where a program has a handler of its own, that stays.
    SIGTERM does the same where it is to do what Ctrl-C does: its handler says so by an attribute ``interrupts``.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interrupt = [n for n, each in before.items() if each is signal.default_int_handler or hasattr(each, "interrupts")]
    if ranks.size == 1 or threading.current_thread() is not threading.main_thread():
        interrupt = []

    def handle(number: int, frame: Any) -> None:
        again = asked.is_set()
        try:
            cast(Callable[..., Any], before[signal.Signals(number)])(number, frame)
        except KeyboardInterrupt:
            asked.set()
            if again:
                raise

    for number in interrupt:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in interrupt:
            signal.signal(number, before[number])


def check_alike(ranks: Ranks, like: Array, what: str, value: str) -> None:
    """Raise ValueError on all ranks unless ``value`` is the same on all; ``what`` names it for the message."""
    found = gathered(ranks, like, value)
    other = next((rank for rank, each in enumerate(found) if each != found[0]), None)
    if other is not None:
        raise ValueError(f"{what} must be the same on all ranks, those of rank {other} are not those of rank 0")


def check_settings_alike(ranks: Ranks, like: Array, what: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError on all ranks unless the settings are the same on all, those left out of which nobody can tell.

    These are functions and other objects, and sequences with such an entry or none.
    """

    def is_plain(value: Any) -> bool:
        many = isinstance(value, (tuple, list)) and len(value) > 0 and all(map(is_plain, value))
        return many or isinstance(value, (str, bool, int, float))

    check_alike(ranks, like, what, repr({name: value for name, value in settings.items() if is_plain(value)}))


def check_params_alike(ranks: Ranks, params: Params) -> None:
    """Raise ValueError on all ranks unless the parameters to start from are the same on all."""
    values = [to_host(p).tobytes() for p in params]
    check_alike(ranks, params[0], "the parameters to start from", repr([hashlib.sha256(v).digest() for v in values]))


# --- engines -----------------------------------------------------------------------------------------------------


def started() -> Ranks:
    """The ranks as one of which torchrun or mpirun has started this process; ``ALONE`` where neither has.

    ``torch.distributed`` is initialised if it is not, and destroyed at the end of the program: with NCCL for CUDA
    devices, of which each process of a machine takes its own, and gloo for the host.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        from torch import cuda, distributed

        if not distributed.is_initialized():
            engine = "gloo"
            if cuda.is_available():
                engine = "cpu:gloo,cuda:nccl"
                cuda.set_device(int(os.environ["LOCAL_RANK"]) % cuda.device_count())
            distributed.init_process_group(engine)
            atexit.register(_leave)
        return torch_ranks()
    # of Open MPI, and of MPICH and those that come from it
    sizes = (os.environ.get(name, "1") for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"))
    return mpi_ranks() if max(map(int, sizes)) > 1 else ALONE


def _leave() -> None:
    """Destroy the process group: a thread of gloo that still holds an array while Python ends aborts the process.

    Source: github.com/pytorch/pytorch/pull/179291.
    """
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def torch_ranks(group: Any = None) -> Ranks:
    """The ranks of ``torch.distributed``, which torchrun, Ray Train, Lightning or Spark have started.

    Args:
        group: a process group; that of ``init_process_group`` when None. Its backend decides what it can sum: gloo
            arrays on the host, of NumPy too, NCCL those on CUDA devices. Call ``destroy_process_group`` at the end of
            the program: without it gloo may abort the process.

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
