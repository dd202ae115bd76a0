"""How a script ends whose output nobody reads any more, as in ``python scripts/reproduce.py --list | head``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

CLOSED = 141  # 128 + SIGPIPE: a shell's status of a program that wrote to nobody


def run(main: Callable[[], Any]) -> NoReturn:
    """Call ``main()`` and exit with what it returns; end at once, without a word, where standard output is closed."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains as it flushes at the end
        status = CLOSED
    sys.exit(status)
