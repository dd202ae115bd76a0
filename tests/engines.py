"""Start programs as two processes of a real engine, torchrun or mpirun, on this machine alone, for a bounded time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from start_ranks import children_of, environment, kill, launcher

SECONDS = 120  # some 5 are needed; a rank that waits for another would wait for ever


def started(engine: str, *program: str, folder: Path | None = None, status: int = 0) -> tuple[str, str]:
    """What two processes print, on stdout and on stderr, that run a program as ranks and end with this status.

    They are ended after a time, whatever happens.
    """
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here / "train"), *(path for path in sys.path if path)])
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": folder}
    with subprocess.Popen([*launcher(engine, 2), *program], env=environment(PYTHONPATH=paths), **pipes) as run:
        try:
            printed, said = run.communicate(timeout=SECONDS)
        finally:
            if run.poll() is None:
                for pid in (*children_of(run.pid), run.pid):
                    kill(pid)
    assert run.returncode == status, said[-2000:]
    return printed, said
