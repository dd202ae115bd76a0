"""Folds: the rows in as many parts as an ensemble has networks, each of which holds out one part.

A network learns nothing of its part, for these rows weigh nothing for it, and is judged on it.

Before: ``data`` has checked the rows. Next: ``base`` learns from them.
"""

from typing import Any

import numpy as np  # on the host: which row is in which part

from mlp_xp._lib.namespace import Placement
from mlp_xp.parameters import FULL_BATCH
from mlp_xp.train import Dataset


def check_folds(estimator: Any, eval_set: Any, method: str) -> None:
    """Raise for what can't be learned in folds: parameters, an ``eval_set``, or a method other than ``fit``."""
    if estimator.solver in FULL_BATCH:
        raise ValueError(f"folds needs a stochastic solver, got {estimator.solver}, which searches for one network")
    if method != "fit":
        raise ValueError(f"folds needs fit, which sees all rows at once, got {method}")
    if estimator.ensemble < 2:
        expected = "an ensemble of at least 2 networks, each of which holds out a part of the rows"
        raise ValueError(f"folds needs {expected}, got ensemble={estimator.ensemble}")
    if not estimator.early_stopping:
        raise ValueError("folds needs early_stopping=True: each network stops by the part that it holds out")
    if eval_set is not None:
        raise ValueError("folds needs eval_set=None: each network is judged on the part that it holds out")
    if estimator.warm_start:
        raise ValueError("folds needs warm_start=False: another fit deals the rows anew, and they were learned from")


def dealt(n: int, k: int, strata: Any, random: Any) -> Any:
    """The part of each of ``n`` rows, (n,) numbers from 0 to k - 1 on the host, drawn from ``random``.

    The sizes of any two parts differ by at most one, and so does how many rows of a class they have.

    Args:
        n: how many rows.
        k: how many parts.
        strata: (n,) or (n, 1), the class of each row; None where there are none.
        random: draws the order of the rows.

    Raises:
        ValueError: a part would have a single row, which has no R^2.
    """
    if n < 2 * k:
        raise ValueError(f"folds needs at least 2 rows for each of the {k} networks, got {n} rows")
    order = random.permutation(n)
    if strata is not None:
        classes = np.unique(np.ravel(strata), return_inverse=True)[1]
        order = order[np.argsort(classes[order], kind="stable")]
    parts = np.empty(n, dtype=np.int64)
    parts[order] = np.arange(n) % k  # as cards are dealt, one class after the other
    return parts


def in_folds(data: Dataset, place: Placement, parts: Any, k: int) -> tuple[Dataset, tuple[Dataset, ...]]:
    """The rows with weights (k, n), 0 for the network that holds a row out; and for each network those rows.

    Args:
        data: the rows, with weights (n,) or None.
        place: where they are.
        parts: from ``dealt``.
        k: how many networks.
    """
    learned = place.put((parts != np.arange(k)[:, None]).astype(np.float64))
    weight = learned if data.weight is None else learned * data.weight
    held_out = [data._replace(rows=np.flatnonzero(parts == number)) for number in range(k)]
    return data._replace(weight=weight), tuple(held_out)
