"""Whether a training run fits in memory: the rows as numbers, and the network with what its optimizer keeps.

Both are refused before they are made, with the options that make them smaller: the system would end the process later,
without a word.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlp_xp.cost import StepCost, step_cost
from mlp_xp.parameters import FULL_BATCH

_COPIES = 6
"""Of the rows as numbers, at most: as they were read, filled in, standardised, and what standardising takes meanwhile.

Measured: 5.3 where nothing is filled in.
"""


def check_rows(where: str, rows: int, columns: int, dtype: str) -> None:
    """Raise unless so many rows, as numbers, fit in memory."""
    needed, there = _COPIES * rows * columns * (8 if dtype == "float64" else 4), available()
    if there is not None and needed > there:
        cure = "leave columns out with --drop, or those with many categories"
        raise ValueError(
            f"{where}: {rows:,} rows of {columns:,} numbers in {dtype} must fit in memory: they take "
            f"{_gigabytes(needed)} to train on, {_gigabytes(there)} are free; {cure}"
            f"{', or halve it with --dtype float32' if dtype == 'float64' else ''}"
        )


def check_network(sizes: Sequence[int], solver: str, dtype: str, networks: int) -> None:
    """Raise unless parameters, their initial values in float64, gradients and the optimizer's state fit in memory."""
    cost, there = step_cost(sizes, 1, dtype, optimizer=_optimizer(solver, "adam")), available()
    needed = networks * (2 * cost.parameter_bytes + 8 * cost.parameters + cost.optimizer_bytes)
    if there is not None and needed > there:
        what = f"{networks} networks" if networks > 1 else "a network"
        raise ValueError(
            f"{what} of {'-'.join(map(str, sizes))} must fit in memory: it takes {_gigabytes(needed)} to train, "
            f"{_gigabytes(there)} are free; --hidden with smaller widths makes it smaller"
        )


def rows_of_step(estimator: Any, n: int) -> int:
    """How many of ``n`` rows ``estimator`` takes in a step."""
    if estimator.solver in FULL_BATCH:
        return n
    return min(200 if estimator.batch_size == "auto" else int(estimator.batch_size), n)


def cost_of_step(
    estimator: Any, sizes: Sequence[int], batch: int, dtype: str, criterion: str, backend: str
) -> tuple[StepCost, int]:
    """What a step of each network of ``estimator`` costs on ``batch`` rows, and the bytes that it takes."""
    cost = step_cost(
        sizes, batch, dtype, activation=estimator.activation, criterion=criterion,
        optimizer=_optimizer(estimator.solver, "sgd"), dropout=estimator.dropout,
        input_dropout=estimator.input_dropout, in_place=backend == "numpy",
    )  # fmt: skip
    return cost, cost.peak_activation_bytes + 2 * cost.parameter_bytes + cost.optimizer_bytes


def _optimizer(solver: str, of_all_rows: str) -> str:
    """The optimizer that a solver steps with; that of a solver that takes all rows at once is named."""
    return "momentum" if solver == "sgd" else of_all_rows if solver in FULL_BATCH else solver


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count < 1e10 else f"{count / 1e9:,.0f} GB"


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
