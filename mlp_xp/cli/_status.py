"""How a command ends: the exit statuses of ``mlp-xp``."""

from enum import IntEnum


class Status(IntEnum):
    """What the shell is told. A bad input is described by one line on stderr; 130 is what shells report for Ctrl-C."""

    OK = 0
    WRONG_GRADIENT = 1  # or one that can't be resolved
    BAD_INPUT = 2
    INTERRUPTED = 130
