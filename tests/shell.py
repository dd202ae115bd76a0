"""Run the command as a user does: with its output in a pipe, or in a terminal of a given width."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import mlp_xp

INSTALLED = Path(sys.executable).with_name("mlp-xp")
COMMAND = (str(INSTALLED),) if INSTALLED.exists() else (sys.executable, "-m", "mlp_xp")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mlp_xp.__file__).parents[1])}


def run(*arguments: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The output and the exit status of the command, without a terminal."""
    return subprocess.run(
        (*COMMAND, *arguments), cwd=folder, env={**ENVIRONMENT, **environment}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


def in_terminal(columns: int, *arguments: str, folder: Path | None = None) -> str:
    """The output of the command in a terminal; its exit status must be 0."""
    if sys.platform == "win32":
        pytest.skip("there are no pseudo-terminals on Windows")
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {key: value for key, value in ENVIRONMENT.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        (*COMMAND, *arguments), cwd=folder, env={**environment, "TERM": "xterm"}, stdin=theirs, stdout=theirs,
        stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # on Linux: the other end of the pseudo-terminal is closed
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return shown.decode()


def plain(shown: str) -> list[str]:
    """The lines without colours and movements of the cursor."""
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in shown.replace("\r", "").splitlines()]
