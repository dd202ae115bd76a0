"""One side of a comparison, in a process of its own: idle threads of the other side do not slow it down."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from typing import Any


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
        self.pipe.send(request)
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            sys.exit("a worker stopped; its reason is above")

    def stop(self) -> None:
        """Let the process end."""
        self.pipe.send(None)
        self.process.join()
