"""How the process of a command ends: with which status, by which signal, and on streams that fail under it.

Any text can be printed, a stream that fails ends no work, and no other library speaks. ``on_screen`` and
``terminable`` stand around the whole command.
"""

import errno
import io
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import Any


class Status(IntEnum):
    """Exit statuses of ``mlp-xp``: one line on stderr describes a bad input; those of signals are the shells'."""

    OK = 0
    WRONG_GRADIENT = 1  # or one that can't be resolved; nothing else ends so
    BAD_INPUT = 2
    FAULT = 70  # of this library's own
    INTERRUPTED = 130
    TERMINATED = 143


_CLOSED = {errno.EPIPE, errno.EBADF, errno.EIO, *([errno.EINVAL] if os.name == "nt" else [])}
"""Errors of a pipe, a file or a terminal whose other end is gone: nobody reads any more, so nothing is lost."""


class _Sink(io.RawIOBase):
    """Bytes go to ``raw`` until it fails, then nowhere; ``failure`` is what happened."""

    def __init__(self, raw: Any) -> None:
        self.raw, self.failure = raw, OSError(errno.EBADF, "closed") if raw is None else None

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.raw is not None and bool(self.raw.isatty())

    def fileno(self) -> int:
        return super().fileno() if self.raw is None else int(self.raw.fileno())

    def write(self, data: Any) -> int:
        written = None
        while self.failure is None and written is None:
            try:
                written = self.raw.write(data)
                if written is None:  # the other end is slow, and the system does not wait by itself
                    select.select([], [self.raw], [])
            except OSError as error:
                self.failure = error
        return len(data) if written is None else int(written)


@contextmanager
def terminable() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM, which schedulers send before they kill, do what Ctrl-C does; yields what tells whether it came.

    Whatever the first one has begun, such as writing the best model so far, further ones do not disturb.
    """
    came = False
    usual = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not usual or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def end(number: int, frame: Any) -> None:
        nonlocal came
        if not came:
            came = True
            raise KeyboardInterrupt

    end.interrupts = True  # type: ignore[attr-defined]  # see ranks.interrupts_into
    signal.signal(signal.SIGTERM, end)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def on_screen() -> Iterator[Callable[[], str | None]]:
    """Standard output and error for the block; yields what tells why output was lost, None where none was.

    What a stream can't encode is replaced. When a stream fails, what would follow is dropped and nothing is raised. A
    stream whose reader has gone has lost nothing. Warnings of other libraries are about code that no user can change,
    so they are dropped, unless Python was asked for them (``python -W``).
    """
    before = sys.stdout, sys.stderr
    out, sys.stdout = _forgiving(sys.stdout)
    _, sys.stderr = _forgiving(sys.stderr)

    def lost() -> str | None:
        sys.stdout.flush()
        failure = out.failure if out else None
        return None if failure is None or failure.errno in _CLOSED else failure.strerror or str(failure)

    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.showwarning = lambda *arguments, **more: None
            yield lost
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError):  # closed by what was run
                stream.flush()
        sys.stdout, sys.stderr = before


def nobody_reads() -> bool:
    """Whether standard output has failed in ``on_screen``, or was closed before: what is printed is dropped."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Sink) and raw.failure is not None


def _forgiving(stream: Any) -> tuple[_Sink | None, Any]:
    """A text stream that writes to where ``stream`` does, and its sink; the stream itself where it holds no bytes."""
    if stream is None:  # closed before the command began
        sink = _Sink(None)
        return sink, io.TextIOWrapper(io.BufferedWriter(sink), encoding="utf-8", errors="replace")
    if not hasattr(stream, "buffer"):
        return None, stream
    with suppress(OSError, ValueError):
        stream.flush()
    sink = _Sink(getattr(stream.buffer, "raw", stream.buffer))  # a buffer would keep what can't be written
    return sink, io.TextIOWrapper(io.BufferedWriter(sink), stream.encoding, "replace", line_buffering=True)
