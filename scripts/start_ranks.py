"""Start processes as the ranks of an engine, on this machine alone, and end them whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

ENDS_SECONDS = 5.0  # for a launcher that is asked to end its ranks


def launcher(engine: str, ranks: int, max_restarts: int = 0) -> list[str]:
    """The command before the program's name: torchrun, mpirun, or Python itself.

    That is for JAX, whose ranks are devices, and for Dask, whose ranks are workers of a ``cluster``.
    """
    if engine == "torch":
        here = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
        counts = ["--nnodes", "1", "--nproc-per-node", str(ranks), "--max-restarts", str(max_restarts)]
        return [sys.executable, "-m", "torch.distributed.run", *here, *counts]
    if engine == "mpi":
        return [str(Path(sys.executable).with_name("mpirun")), "-n", str(ranks), "--oversubscribe", sys.executable]
    return [sys.executable]


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """That of a rank: one thread, nothing but this machine, the code of this checkout, and ``more``."""
    root = Path(__file__).resolve().parents[1]
    paths = os.pathsep.join([str(root), str(root / "scripts"), *(path for path in sys.path if path)])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # with the shared store of torchrun, ranks that are started again reach for the addresses of those that are gone
    torchs = {"GLOO_SOCKET_IFNAME": "lo", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    mpis = {
        "OMPI_MCA_btl": "self,sm,tcp", "OMPI_MCA_btl_tcp_if_include": "lo", "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }  # fmt: skip
    return {**os.environ, **threads, **torchs, **mpis, "PYTHONPATH": paths, **more}


@contextmanager
def started(command: list[str], env: dict[str, str] | None, said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The running command, which writes into the file ``said``; at the end it and its ranks are no more."""
    usual = signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # the ranks are ended then too
    process = subprocess.Popen(command, env=env, stdout=said, stderr=said, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:  # torchrun and mpirun end their ranks where they are asked to
            ranks = children_of(process.pid)
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDS_SECONDS)
            for pid in ranks:  # torchrun gives each a session of its own
                kill(pid)
            process.kill()
            process.wait()
        signal.signal(signal.SIGTERM, usual)


@contextmanager
def cluster(workers: int) -> Iterator[tuple[Any, Any]]:
    """A Dask cluster of so many processes, of one thread each, and a client of it."""
    from distributed import Client, LocalCluster

    here: dict[str, Any] = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=workers, threads_per_worker=1, **here) as local, Client(local) as client:
        yield local, client


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that are there; Linux tells."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            found += map(int, thread.read_text().split())
    return found


def process_of(launcher: int, rank: int) -> int | None:
    """The process that a launcher has started as a rank of torch; None where there is none now."""
    for pid in children_of(launcher):
        with suppress(OSError):
            if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return pid
    return None


def kill(pid: int) -> bool:
    """``kill -9``; whether the process was there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
