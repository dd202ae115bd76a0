"""Start programs as two processes of a real engine, torchrun or mpirun, on this machine alone, for a bounded time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from start_ranks import children_of, environment, kill, launcher

SECONDS = 120  # some 5 are needed; a rank that waits for another would wait for ever


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that ``make(folder)`` has filled: once, whichever of the processes of a run of tests asks first."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    done, deadline = folder / "done", time.monotonic() + 2 * SECONDS
    try:
        folder.mkdir()
    except FileExistsError:
        while not done.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        return folder
    try:
        make(folder)
    finally:
        done.touch()
    return folder


@contextmanager
def running(engine: str, *program: str, folder: Path | None = None, **more: str) -> Iterator[subprocess.Popen[str]]:
    """The launcher of two processes that run a program as ranks, with ``more`` in their environment.

    Launcher and ranks are no more at the end, whatever happens.
    """
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here / "train"), *(path for path in sys.path if path)])
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": folder}
    with subprocess.Popen([*launcher(engine, 2), *program], env=environment(PYTHONPATH=paths, **more), **pipes) as run:
        try:
            yield run
        finally:
            if run.poll() is None:
                for pid in (*children_of(run.pid), run.pid):
                    kill(pid)


def started(engine: str, *program: str, folder: Path | None = None, status: int = 0) -> tuple[str, str]:
    """What two processes print, on stdout and on stderr, that run a program as ranks and end with this status.

    They are ended after a time, whatever happens.
    """
    with running(engine, *program, folder=folder) as run:
        printed, said = run.communicate(timeout=SECONDS)
    assert run.returncode == status, said[-2000:]
    return printed, said
