"""One rank of the benchmark of ranks: joins an engine, connects to ``scale_benchmark`` and answers its requests.

    torchrun ... scale_ranks.py ENGINE SOCKET

With Dask the program starts a cluster, and each of its workers is a rank. In each rank's process three runs of
``train`` wait for requests, and a request is an epoch of one of them: *alone*, the rows of all ranks in this process;
*apart*, this rank's share of the rows, and no engine; *together*, all ranks.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from start_ranks import cluster

import mlp_xp as mx
from mlp_xp import optim
from mlp_xp._lib.arguments import first_line
from mlp_xp._lib.namespace import to_host
from mlp_xp.ranks import Ranks, started, torch_ranks
from mlp_xp.train import split, train
from mlp_xp.workers import dask_train

STEPS = 4  # of an epoch
RATES = {"sgd": 0.1, "adam": 1e-3}
EXACT: dict[str, Any] = {"epochs": 20, "shuffle": False, "lr": 0.01, "l2": 0.01, "dropout": 0.3, "label_smoothing": 0.1}
EXACT_SIZE = (1000, 64, 32, 10)


class Task(NamedTuple):
    """A workload: rows of all ranks in a step, inputs, hidden units and classes; and an optimizer."""

    size: tuple[int, int, int, int]
    optimizer: str


class Took(NamedTuple):
    """Seconds of one step, sum or update.

    wall: by the clock.
    cpu: of the processor, all threads of the process.
    engine: of each step inside ``Ranks.total``, by the clock.
    engine_cpu: the same, of the processor: a rank that sleeps until the others have come takes none.
    """

    wall: float
    cpu: float
    engine: tuple[float, ...] = ()
    engine_cpu: tuple[float, ...] = ()


class Engine(NamedTuple):
    """How processes train together.

    rank: of this process.
    parts: into how many the rows of a step are divided.
    put: makes an array of the engine's library.
    alone: options of ``train`` in one process.
    together: those of all.
    total: the sum over the parts of a flat array, at once.
    ranks: None where the compiler sums, and each process has the rows of all.
    """

    rank: int
    parts: int
    put: Callable[[Any], Any]
    alone: dict[str, Any]
    together: dict[str, Any]
    total: Callable[[Any], object]
    ranks: Ranks | None


# --- engines -----------------------------------------------------------------------------------------------------


def of_ranks(ranks: Ranks, put: Callable[[Any], Any]) -> Engine:
    """An engine whose all-reduce is called by ``train``."""
    return Engine(ranks.rank, ranks.size, put, {}, {}, lambda flat: ranks.total((flat,)), ranks)


def torch_numpy() -> Engine:
    """gloo, and arrays of NumPy."""
    return of_ranks(started(), np.asarray)


def torch_torch() -> Engine:
    """gloo, and arrays of PyTorch."""
    import torch

    return torch_numpy()._replace(put=torch.asarray)


def mpi_numpy() -> Engine:
    """MPI, and arrays of NumPy."""
    return of_ranks(started(), np.asarray)


def dask_numpy() -> Engine:
    """gloo as ``dask_train`` has started it in this worker, and arrays of NumPy."""
    return of_ranks(torch_ranks(), np.asarray)


def jax_devices() -> Engine:
    """The devices of a mesh of JAX, of this process or of several."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    parts, axis_types = jax.device_count(), (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((parts,), ("rows",), axis_types=axis_types)
    rows, whole = NamedSharding(mesh, PartitionSpec("rows")), NamedSharding(mesh, PartitionSpec())
    sums = jax.jit(lambda each: each.sum(axis=0), out_shardings=whole)

    def total(flat: Any) -> object:
        each = jax.make_array_from_callback((parts, *flat.shape), rows, lambda place: flat[None])
        return sums(each).block_until_ready()

    together = {"compile": split(mesh)}
    return Engine(jax.process_index(), parts, jax.numpy.asarray, {"compile": jax.jit}, together, total, None)


def jax_processes() -> Engine:
    """Processes of ``jax.distributed``, of one device each, whose collectives are gloo's."""
    ranks, rank = (int(os.environ[name]) for name in ("WORLD_SIZE", "RANK"))  # torchrun has started them
    if hasattr(os, "sched_setaffinity"):  # JAX takes as many threads as the process may use cores: no flag makes it one
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(os.environ["JAX_COORDINATOR"], ranks, rank)
    return jax_devices()


ENGINES: dict[str, Callable[[], Engine]] = {
    "torch-numpy": torch_numpy, "torch-torch": torch_torch, "mpi": mpi_numpy, "mpi-tcp": mpi_numpy,
    "dask": dask_numpy, "dask-malloc": dask_numpy, "jax-devices": jax_devices, "jax-processes": jax_processes,
}  # fmt: skip


# --- runs --------------------------------------------------------------------------------------------------------


class Rank:
    """A process with its engine: what it has readied, and the seconds inside of ``Ranks.total``."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.runs: dict[tuple[Task, str], Iterator[Any]] = {}
        self.inside: list[tuple[float, float]] = []

    def rows(self, count: int) -> slice:
        """Those of this process among so many of all: a part each, or, where the compiler divides them, all."""
        own = count // self.engine.parts
        return slice(None) if self.engine.ranks is None else slice(self.engine.rank * own, (self.engine.rank + 1) * own)

    def ready(self, task: Task) -> None:
        """Make the three runs of a task."""
        n, d_in, _, d_out = task.size
        random, count, own = np.random.default_rng(0), n * STEPS, n // self.engine.parts
        X, y = random.standard_normal((count, d_in), dtype=np.float32), random.integers(0, d_out, count)
        if self.engine.rank == 0:
            self.runs[task, "alone"] = self._run(task, X, y, n, self.engine.alone)
        self.runs[task, "apart"] = self._run(task, X[: own * STEPS], y[: own * STEPS], own, self.engine.alone)
        rows, ranks = self.rows(count), self.engine.ranks
        timed = {} if ranks is None else {"ranks": ranks._replace(total=self._timed(ranks.total))}
        self.runs[task, "together"] = self._run(task, X[rows], y[rows], n, {**self.engine.together, **timed})

    def _run(self, task: Task, X: Any, y: Any, batch_size: int, options: dict[str, Any]) -> Iterator[Any]:
        """Epochs without end."""
        X, y, params = self.engine.put(X), self.engine.put(y), self.params(task)
        settings: dict[str, Any] = {"epochs": 10**6, "batch_size": batch_size, "lr": RATES[task.optimizer]}
        return train(X, y, params, optimizer=getattr(optim, task.optimizer)(), **settings, **options)

    def params(self, task: Task) -> tuple[Any, ...]:
        """Where the runs begin."""
        return tuple(map(self.engine.put, mx.init_params(task.size[1:], dtype=np.float32, seed=0)))

    def _timed(self, total: Callable[..., Any]) -> Callable[..., Any]:
        """``Ranks.total`` that keeps the seconds of each step; sums of a few numbers come once an epoch."""

        def timed(arrays: Any) -> Any:
            began, cpu = time.perf_counter(), time.process_time()
            sums = total(arrays)
            if len(arrays) > len(mx.init_params((1, 1, 1))):  # gradients
                self.inside.append((time.perf_counter() - began, time.process_time() - cpu))
            return sums

        return timed

    def epoch(self, task: Task, run: str) -> Took:
        """An epoch of a run; the seconds are those of a step."""
        self.inside.clear()
        took = timed(lambda: next(self.runs[task, run]), 1)
        engine, engine_cpu = zip(*self.inside, strict=True) if self.inside else ((), ())
        return Took(took.wall / STEPS, took.cpu / STEPS, engine, engine_cpu)

    def sums(self, floats: int, times: int) -> Took:
        """Sums over the ranks of so many numbers, one after the other."""
        flat = self.engine.put(np.ones(floats, dtype=np.float32))
        return timed(lambda: self.engine.total(flat), times)

    def updates(self, task: Task, times: int) -> Took:
        """Updates by the optimizer, by which every rank is as slow as one alone."""
        optimizer, params = getattr(optim, task.optimizer)(), self.params(task)
        state, compiler = optimizer.init(params), self.engine.alone.get("compile")
        update = optimizer.update if compiler is None else compiler(optimizer.update)

        def call() -> object:
            return to_host(update(params, params, state, 1e-3)[0][0][0, 0])

        call()  # compiles
        return timed(call, times)

    def exact(self, cuts: list[int]) -> list[np.ndarray]:
        """The parameters after some steps in float64 with everything on; the ranks' rows end at the cuts."""
        X, y = exact_rows()
        low, high = [0, *cuts][self.engine.rank], cuts[self.engine.rank]
        mine = slice(None) if self.engine.ranks is None else slice(low, high)
        put, more = self.engine.put, {} if self.engine.ranks is None else {"ranks": self.engine.ranks}
        return trained(put(X[mine]), put(y[mine]), tuple(map(put, exact_params())), {**self.engine.together, **more})


def timed(call: Callable[[], object], times: int) -> Took:
    """How long a call takes, one after another."""
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        call()
    return Took((time.perf_counter() - began) / times, (time.process_time() - cpu) / times)


def exact_rows() -> tuple[Any, Any]:
    """Rows that are learned exactly."""
    n, d_in, _, d_out = EXACT_SIZE
    random = np.random.default_rng(1)
    return random.standard_normal((n, d_in)), random.integers(0, d_out, n)


def exact_params() -> tuple[Any, ...]:
    """Where they are learned from."""
    return mx.init_params(EXACT_SIZE[1:], dtype=np.float64, seed=2)


def trained(X: Any, y: Any, params: Any, options: dict[str, Any]) -> list[np.ndarray]:
    """The parameters after the last epoch of one step, on the host."""
    *_, last = train(X, y, params, batch_size=EXACT_SIZE[0], **EXACT, **options)
    return [np.array(to_host(p)) for p in last.params]


# --- the process -------------------------------------------------------------------------------------------------


def answer(name: str, path: str, began: float, epoch: object = None) -> None:
    """Join an engine, and answer requests, a method of ``Rank`` and its arguments, until one is None.

    An answer that is a str is why there is none.

    Args:
        name: of the engine.
        path: of the socket where requests come from.
        began: when joining began, by the clock that all processes of the machine share.
        epoch: what ``dask_train`` gives to a callback.
    """
    rank = Rank(ENGINES[name]())
    start = time.time() - began
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(path)
        pipe = Connection(own.detach())
    pipe.send((rank.engine.rank, rank.engine.parts, start))
    while (request := pipe.recv()) is not None:
        try:
            pipe.send(getattr(rank, request[0])(*request[1:]))
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {first_line(error)[:160]}")


def answer_in_workers(name: str, path: str) -> None:
    """Let the workers of a Dask cluster answer, in a callback of ``dask_train``: they are ranks as in any fit."""
    import dask

    settings: dict[str, Any] = {"temporary-directory": str(Path(path).parent)}  # which is removed, whatever happens
    if name == "dask-malloc":  # the variable has glibc give freed arrays back to the system, so new ones are slow
        settings["distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"] = None
    with dask.config.set(settings), cluster(int(os.environ["WORLD_SIZE"])) as (_, client):
        workers, row = sorted(client.nthreads()), (np.zeros((1, 1)), np.zeros(1, dtype=np.int64))
        X, y = ([client.scatter([part], workers=[each], hash=False)[0] for each in workers] for part in row)
        params = mx.init_params((1, 1, 2), dtype=np.float64)
        dask_train(client, X, y, params, epochs=1, retries=0, callbacks=[partial(answer, name, path, time.time())])


def main(name: str, path: str) -> None:
    """Answer as a rank of an engine, or let workers do so.

    Joining an engine, its imports included, begins in a program that runs; with Dask in a cluster that runs.
    """
    if name.startswith("dask"):
        answer_in_workers(name, path)
    else:
        answer(name, path, time.time())


if __name__ == "__main__":
    import scale_ranks  # what is sent has to be of a module that the receiver knows

    scale_ranks.main(*sys.argv[1:])
