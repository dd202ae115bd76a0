"""One side of a comparison, in a process of its own: idle threads of the other side do not slow it down."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from typing import Any

STOPPED = "a worker stopped; its reason is above"


class Stopped(SystemExit):
    """A worker has ended before its time. Where nobody catches this, the program ends with the sentence."""


class Worker:
    """A process that runs ``work(pipe, argument)``, which answers requests until one is None."""

    def __init__(self, work: Callable[..., None], argument: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, argument), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, request: Any) -> Any:
        """Send a request and wait for the answer."""
        self.send(request)
        return self.receive()

    def send(self, request: Any) -> None:
        """Send a request; until its answer is received, other workers can be sent theirs."""
        try:
            self.pipe.send(request)
        except (BrokenPipeError, ConnectionResetError):
            raise Stopped(STOPPED) from None

    def receive(self) -> Any:
        """Wait for the answer to the request that was sent."""
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            raise Stopped(STOPPED) from None

    def stop(self) -> None:
        """Let the process end."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(None)
        self.process.join()
