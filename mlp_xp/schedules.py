"""Learning rates that change: ``schedule(progress) -> lr``, pure functions on the host, a Python number each step.

``constant``, ``cosine``, ``step_decay``, ``inverse_scaling``, ``adaptive``, and ``warm_up`` before any of them; or any
function of your own of how far training has come.

Before: ``optim`` takes the rate. Next: ``train`` asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from mlp_xp._lib.arguments import check_number

_INFINITY = float("inf")


class Progress(NamedTuple):
    """How far training has come.

    step: the steps made before this one.
    steps: how many are planned in all.
    rows: rows seen before this epoch began.
    losses: of the epochs so far what is watched for improvement: lower is better.
    """

    step: int
    steps: int
    rows: int = 0
    losses: Sequence[float] = ()


Schedule: TypeAlias = Callable[[Progress], float]
"""``schedule(progress) -> learning rate``."""


def constant(lr: float) -> Schedule:
    """``lr``."""
    rate = check_number("lr", lr, 0.0, _INFINITY)
    return lambda progress: rate


def cosine(lr: float, steps: int | None = None, final: float = 0.0) -> Schedule:
    """``final + (lr - final) (1 + cos(pi t / steps)) / 2`` at step t, ``final`` from then on.

    Args:
        lr: the first rate.
        steps: how long the descent takes; all that are planned when None.
        final: the last rate.

    Source: Loshchilov and Hutter, SGDR: Stochastic gradient descent with warm restarts, 2017.
    """
    check_number("lr", lr, 0.0, _INFINITY)
    check_number("final", final, 0.0, _INFINITY)
    if steps is not None:
        check_number("steps", steps, 0.0, _INFINITY)

    def schedule(progress: Progress) -> float:
        total = progress.steps if steps is None else steps
        done = min(progress.step / total, 1.0) if total else 1.0
        return final + (lr - final) * 0.5 * (1.0 + math.cos(math.pi * done))

    return schedule


def step_decay(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """``lr factor^(t // every)`` at step t.

    Args:
        lr: the first rate.
        every: steps between two changes.
        factor: of each change.
    """
    check_number("lr", lr, 0.0, _INFINITY)
    check_number("every", every, 1.0, _INFINITY)
    check_number("factor", factor, 0.0, _INFINITY)
    return lambda progress: lr * factor ** (progress.step // every)


def warm_up(schedule: Schedule, steps: int, first: float = 0.0) -> Schedule:
    """From ``first`` times what ``schedule`` says at its start in a line up to all of it; then ``schedule`` itself.

    Args:
        schedule: what follows; it begins when the warm-up ends.
        steps: of the warm-up.
        first: the share of the rate at step 0.

    Source: Goyal et al., Accurate, large minibatch SGD, 2017.
    """
    if not callable(schedule):
        raise TypeError(f"schedule must be a function of the progress, such as constant(0.1), got {schedule!r}")
    check_number("steps", steps, 0.0, _INFINITY)
    check_number("first", first, 0.0, math.nextafter(1.0, 2.0))

    def warmed(progress: Progress) -> float:
        after = progress._replace(step=max(progress.step - steps, 0), steps=max(progress.steps - steps, 0))
        share = min(progress.step / steps, 1.0) if steps else 1.0
        return (first + (1.0 - first) * share) * schedule(after)

    return warmed


def inverse_scaling(lr: float, power: float = 0.5) -> Schedule:
    """``lr / (rows + 1)^power``, the rows seen before the epoch: scikit-learn's "invscaling"."""
    check_number("lr", lr, 0.0, _INFINITY)
    check_number("power", power, 0.0, _INFINITY)
    return lambda progress: lr / (progress.rows + 1) ** power


def adaptive(lr: float, patience: int = 10, tol: float = 1e-4, factor: float = 5.0) -> Schedule:
    """``lr / factor^k`` after k stalls (``stalls``) of what is watched: scikit-learn's "adaptive".

    Args:
        lr: the first rate.
        patience, tol: as in ``stalls``.
        factor: by which each stall divides.
    """
    check_number("lr", lr, 0.0, _INFINITY)
    check_number("factor", factor, 1.0, _INFINITY)
    check_patience(patience, tol)

    def schedule(progress: Progress) -> float:
        rate = float(lr)
        for _ in stalls(progress.losses, patience, tol):
            rate /= factor
        return rate

    return schedule


def check_patience(patience: float, tol: float) -> None:
    """Raise unless ``stalls`` can count with these: ``patience`` may be infinite, ``tol`` is finite."""
    if patience != _INFINITY:
        check_number("patience", patience, 0.0, _INFINITY)
    check_number("tol", tol, 0.0, _INFINITY)


def stalls(losses: Iterable[float], patience: float, tol: float) -> list[int]:
    """After which of ``losses`` more than ``patience`` in a row were not below the best by ``tol``, as a NaN never is.

    The count starts anew after each, the best does not.
    """
    best, idle, found = _INFINITY, 0, []
    for position, loss in enumerate(losses):
        idle = 0 if loss <= best - tol else idle + 1
        best = min(best, loss)
        if idle > patience:
            found.append(position)
            idle = 0
    return found


def idle(losses: Iterable[float], tol: float) -> int:
    """How many at the end of ``losses`` in a row were not below the best before them by ``tol``."""
    best, count = _INFINITY, 0
    for loss in losses:
        count = count + 1 if loss > best - tol else 0
        best = min(best, loss)
    return count
