"""How much memory there is, looked at before much of it is asked for: what has too much is ended by the system.

Next: ``mlp`` draws parameters, ``cli`` refuses what does not fit.
"""

import os
from contextlib import suppress
from pathlib import Path

from mlp_xp._lib.wording import readable

_SMALL = 2**28  # bytes that are asked for without a look
_MOST = 2**60  # bytes that no machine has, where the system does not say how many it has


def check_room(what: str, needed: int) -> None:
    """Raise ``MemoryError`` unless so many bytes are free; where the system does not say, for what no machine has.

    >>> check_room("W1 of shape (10, 5)", 400)
    """
    there = available() if needed > _SMALL else None
    if needed > (_MOST if there is None else there):
        free = "" if there is None else f", {readable(there, 'B')} are free"
        raise MemoryError(f"{what} must fit in memory: it takes {readable(needed, 'B')}{free}")


def available() -> int | None:
    """Bytes that this process can still have: what is free, within the limits of its container and of its user.

    None where the system does not say.
    """
    found = [each for each in (_free(), *_left_in_container(), _left_to_user()) if each is not None]
    return max(min(found), 0) if found else None


def _free() -> int | None:
    """What the machine has free; where only Linux says that, all that it has."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    with suppress(AttributeError, ValueError, OSError):  # Windows does not say
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


_CONTAINERS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Files with the limit of a container on Linux, and what it uses: of control groups version 2, and 1."""


def _left_in_container() -> list[int]:
    left = []
    for limit, used in _CONTAINERS:
        with suppress(OSError, ValueError):  # "max" is no number, and no limit
            left.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
    return left


def _left_to_user() -> int | None:
    """What ``ulimit -v`` leaves."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    used = 0
    with suppress(OSError, ValueError, IndexError):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return limit - used
