"""How a command ends: the exit statuses of ``mlp-xp``."""

from enum import IntEnum


class Status(IntEnum):
    """Exit statuses: one line on stderr describes a bad input; shells report 130 for Ctrl-C."""

    OK = 0
    WRONG_GRADIENT = 1  # or one that can't be resolved
    BAD_INPUT = 2
    INTERRUPTED = 130
