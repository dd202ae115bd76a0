"""Start programs as two processes of a real engine, torchrun or mpirun, on this machine alone, for a bounded time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

SECONDS = 120  # some 5 are needed; a rank that waits for another would wait for ever


def launcher(engine: str) -> list[str]:
    """The command that starts two processes, on this machine alone."""
    if engine == "torch":
        here = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
        return [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", "2", *here]
    return [str(Path(sys.executable).with_name("mpirun")), "-n", "2", "--oversubscribe", sys.executable]


def environment() -> dict[str, str]:
    """That of a process which is one of several on this machine."""
    here = Path(__file__).parent
    paths = [str(here), str(here / "train"), *(path for path in sys.path if path)]
    local = {"GLOO_SOCKET_IFNAME": "lo", "OMPI_MCA_btl": "self,sm,tcp", "OMPI_MCA_btl_tcp_if_include": "lo"}
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    # two threads of a product may add in another order than one
    return {**os.environ, **local, **as_root, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def started(engine: str, *program: str, folder: Path | None = None, status: int = 0) -> tuple[str, str]:
    """What two processes print, on stdout and on stderr, that run a program as ranks and end with this status.

    They are ended after a time, whatever happens.
    """
    command = [*launcher(engine), *program]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=environment(), start_new_session=True, **pipes) as run:
        try:
            printed, said = run.communicate(timeout=SECONDS)
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == status, said[-2000:]
    return printed, said
