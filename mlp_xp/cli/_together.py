"""Data of ranks that torchrun or mpirun has started: one of each machine reads it, and all see its rows as numbers.

The numbers are in a file that all ranks of a machine map into memory: of its pages a rank touches those of its rows.

Before: ``_memory``. Next: ``_prepare`` takes the rows of one process or of several alike.
"""

import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from mlp_xp._lib.files import temporary_folder
from mlp_xp._lib.typing import Array
from mlp_xp.ranks import Ranks, gathered

Made = TypeVar("Made")

_LIKE = cast(Array, np.zeros(1))  # what ranks tell each other here is on the host


def told(ranks: Ranks, make: Callable[[], Made]) -> Made:
    """What ``make()`` returns on rank 0, on all ranks: what is decided from all rows is decided once."""
    return cast(Made, gathered(ranks, _LIKE, make() if ranks.rank == 0 else None)[0])


def read_once(
    ranks: Ranks, read: Callable[[Path], tuple[NDArray[Any], NDArray[Any]]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows X (n, d_in) in a file, and their targets y (n,), read by one rank of each machine.

    The file is without a name when this returns, and gone when the processes end, however they end.

    Args:
        ranks: of which this process is one.
        read: ``read(path) -> X, y`` reads the rows; X is an array at the beginning of the file ``path``.
    """
    temporary = tempfile.gettempdir()
    found = os.stat(temporary)  # containers of one name have folders of their own
    places = gathered(ranks, _LIKE, (platform.node(), found.st_dev, found.st_ino))
    first = places.index(places[ranks.rank])
    folder = temporary_folder() if first == ranks.rank else None
    try:
        kind = None
        if folder is not None:
            X, y = read(folder.path / "X")
            np.save(folder.path / "y.npy", y)
            kind = folder.path, X.shape, X.dtype
        where, shape, dtype = cast(Any, gathered(ranks, _LIKE, kind)[first])
        if folder is None:
            X, y = np.memmap(where / "X", dtype, "r", shape=shape), np.load(where / "y.npy")
        gathered(ranks, _LIKE, None)  # all have opened it
    finally:
        if folder is not None:
            folder.remove()
    return X, y
