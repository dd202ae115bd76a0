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


IN_A_TERMINAL_OF_ITS_OWN = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has what it runs in the background ignore Ctrl-C
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""A program that runs the command in its arguments, which Ctrl-C in the terminal of its input reaches."""


def in_terminal(columns: int, *arguments: str, folder: Path | None = None, ctrl_c_at: str = "") -> str:
    """The output of the command in a terminal; its exit status must be 0, or 130 where Ctrl-C is typed at this text."""
    if sys.platform == "win32":
        pytest.skip("there are no pseudo-terminals on Windows")
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {key: value for key, value in ENVIRONMENT.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        (sys.executable, "-c", IN_A_TERMINAL_OF_ITS_OWN, *COMMAND, *arguments), cwd=folder,
        env={**environment, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown, awaited = b"", ctrl_c_at.encode()
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
            if awaited and awaited in shown:
                os.write(ours, b"\x03")
                awaited = b""
    except OSError:  # on Linux: the other end of the pseudo-terminal is closed
        pass
    os.close(ours)
    assert process.wait(timeout=60) == (130 if ctrl_c_at else 0)
    return shown.decode()


def plain(shown: str) -> list[str]:
    """The lines without colours and movements of the cursor."""
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in shown.replace("\r", "").splitlines()]
