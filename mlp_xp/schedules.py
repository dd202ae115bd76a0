"""Learning-rate schedules: ``schedule(progress) -> lr``, pure functions that return a Python number for each step.

A schedule is ``constant``, ``cosine``, ``step_decay``, ``inverse_scaling`` or ``adaptive``, with ``warm_up`` before any
of them, or a function of the caller's own. ``stalls`` and ``idle`` count epochs without improvement.

Before: ``optim`` takes the rate. Next: ``train`` asks for it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

from mlp_xp._lib.arguments import check_callable, check_number


class Progress(NamedTuple):
    """How far training has come.

    Attributes:
        step: the number of steps made before this one.
        steps: the number of steps planned in all.
        rows: the number of rows seen before this epoch began.
        losses: one number for each finished epoch, lower is better: the validation loss or score, else the training
            loss.
    """

    step: int
    steps: int
    rows: int = 0
    losses: Sequence[float] = ()


class _WithoutPlan(Progress):
    """Progress of a run of which nobody knows how many steps it will have."""

    @property
    def steps(self) -> int:
        """Raise: there is no such number."""
        raise ValueError(
            "lr depends on the number of steps planned, and batches without a length do not tell it in the first epoch;"
            " give them a length, as a list or a class with __len__ has"
        )


def progress_of(step: int, steps: int | None, rows: int, losses: Sequence[float]) -> Progress:
    """The progress of a run; ``steps`` is None where nobody knows how many are planned, and asking for them raises."""
    return Progress(step, steps, rows, losses) if steps is not None else _WithoutPlan(step, 0, rows, losses)


Schedule: TypeAlias = Callable[[Progress], float]
"""``schedule(progress) -> learning rate``."""


def constant(lr: float) -> Schedule:
    """``lr`` at every step.

    Args:
        lr: the rate, at least 0.

    Returns:
        The schedule.

    Raises:
        ValueError, TypeError: ``lr`` is not a finite number of at least 0.

    >>> constant(0.1)(Progress(step=7, steps=100))
    0.1
    """
    return partial(_constant, _at_least_0("lr", lr))


def _constant(lr: float, progress: Progress) -> float:
    return lr


def cosine(lr: float, steps: int | None = None, final: float = 0.0) -> Schedule:
    """``final + (lr - final) (1 + cos(pi t / steps)) / 2`` at step t < steps, then ``final``.

    Args:
        lr: the first rate, at least 0.
        steps: the length of the descent in steps; None stands for all the steps that are planned.
        final: the last rate, at least 0.

    Returns:
        The schedule.

    Raises:
        ValueError, TypeError: an argument is not a finite number of at least 0.

    >>> [round(cosine(0.1)(Progress(step, steps=4)), 4) for step in range(5)]
    [0.1, 0.0854, 0.05, 0.0146, 0.0]

    Source: Loshchilov and Hutter, SGDR: Stochastic gradient descent with warm restarts, 2017.
    """
    lr, final = _at_least_0("lr", lr), _at_least_0("final", final)
    return partial(_cosine, lr, None if steps is None else _count("steps", steps, 0.0), final)


def _cosine(lr: float, steps: float | None, final: float, progress: Progress) -> float:
    total = progress.steps if steps is None else steps
    done = min(progress.step / total, 1.0) if total else 1.0
    return final + (lr - final) * 0.5 * (1.0 + math.cos(math.pi * done))


def step_decay(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """``lr factor^(t // every)`` at step t.

    Args:
        lr: the first rate, at least 0.
        every: the number of steps from one change to the next, at least 1.
        factor: what each change multiplies the rate by, at least 0.

    Returns:
        The schedule.

    Raises:
        ValueError, TypeError: an argument is not a finite number in its range.

    >>> [step_decay(1.0, every=2, factor=0.5)(Progress(step, steps=6)) for step in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """
    return partial(_step_decay, _at_least_0("lr", lr), _count("every", every, 1.0), _at_least_0("factor", factor))


def _step_decay(lr: float, every: float, factor: float, progress: Progress) -> float:
    return lr * _power(factor, progress.step // every)


def warm_up(schedule: Schedule, steps: int, first: float = 0.0) -> Schedule:
    """``(first + (1 - first) t / steps) schedule(0)`` at step t < steps, then ``schedule(t - steps)``.

    Args:
        schedule: the schedule that follows; its first step comes when the warm-up ends.
        steps: the length of the warm-up in steps, at least 0.
        first: the share of the rate at step 0, from 0 to 1.

    Returns:
        The schedule.

    Raises:
        ValueError, TypeError: ``schedule`` is not a function, or a number is not in its range.

    >>> [warm_up(constant(1.0), steps=4)(Progress(step, steps=6)) for step in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]

    Source: Goyal et al., Accurate, large minibatch SGD, 2017.
    """
    check_callable("schedule", schedule, "constant(0.1)")
    first = check_number("first", first, 0.0, math.nextafter(1.0, 2.0))
    return partial(_warm_up, schedule, _count("steps", steps, 0.0), first)


def _warm_up(schedule: Schedule, steps: Any, first: float, progress: Progress) -> float:
    # a plan that ends before the warm-up does still leaves the schedule one step, whose rate is rising
    after = progress._replace(step=max(progress.step - steps, 0), steps=max(progress.steps - steps, 1))
    share = min(progress.step / steps, 1.0) if steps else 1.0
    return (first + (1.0 - first) * share) * schedule(after)


def inverse_scaling(lr: float, power: float = 0.5) -> Schedule:
    """``lr / (rows + 1)^power``, where rows were seen before this epoch: scikit-learn's "invscaling".

    Args:
        lr: the rate of the first epoch, at least 0.
        power: the exponent, at least 0.

    Returns:
        The schedule.

    Raises:
        ValueError, TypeError: an argument is not a finite number of at least 0.

    >>> inverse_scaling(0.1)(Progress(step=5, steps=100, rows=99))
    0.01
    """
    return partial(_inverse_scaling, _at_least_0("lr", lr), _at_least_0("power", power))


def _inverse_scaling(lr: float, power: float, progress: Progress) -> float:
    return lr / _power(progress.rows + 1.0, power)


def _power(base: float, exponent: float) -> float:
    """``base^exponent``, infinite where Python's own overflows: the loop says what is wrong with such a rate."""
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


def adaptive(lr: float, patience: int = 10, tol: float = 1e-4, factor: float = 5.0) -> Schedule:
    """``lr / factor^k`` after k stalls of ``progress.losses``: scikit-learn's "adaptive".

    Args:
        lr: the first rate, at least 0.
        patience: the number of epochs without improvement that is not yet a stall (``stalls``); may be infinite.
        tol: how far below the best loss an improvement is, at least 0.
        factor: what each stall divides the rate by, at least 1.

    Returns:
        The schedule.

    Raises:
        ValueError, TypeError: an argument is not a number in its range.

    >>> adaptive(1.0, patience=1, factor=5.0)(Progress(step=8, steps=100, losses=[3.0, 2.0, 2.0, 2.0]))
    0.2
    """
    factor = check_number("factor", factor, 1.0, math.inf)
    return partial(_adaptive, _at_least_0("lr", lr), *check_patience(patience, tol), factor)


def _adaptive(lr: float, patience: float, tol: float, factor: float, progress: Progress) -> float:
    rate = lr
    for _ in stalls(progress.losses, patience, tol):
        rate /= factor
    return rate


def _at_least_0(name: str, value: float) -> float:
    return check_number(name, value, 0.0, math.inf)


def _count(name: str, value: float, low: float) -> float:
    """A number of steps: an int where it is whole, as those of ``Progress`` are."""
    number = check_number(name, value, low, math.inf)
    return int(number) if number.is_integer() else number


def check_patience(patience: float, tol: float) -> tuple[float, float]:
    """Both as Python floats. Raise unless they are of at least 0; ``patience`` may be infinite, ``tol`` not."""
    endless = isinstance(patience, Real) and patience == math.inf
    return math.inf if endless else _at_least_0("patience", patience), _at_least_0("tol", tol)


def stalls(losses: Iterable[float], patience: float, tol: float) -> list[int]:
    """The positions in ``losses`` at which training has stalled: no improvement for more than ``patience`` epochs.

    An improvement is a loss of at most ``best - tol``; NaN is none. After a stall the epochs are counted from 0 again,
    and the best stays.

    Args:
        losses: one number for each epoch, lower is better.
        patience: the number of epochs in a row without improvement that is not yet a stall; may be infinite.
        tol: how far below the best an improvement is.

    Returns:
        The positions, counted from 0.

    >>> stalls([3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0], patience=1, tol=0.1)
    [3, 5]
    """
    best, idle, found = math.inf, 0, []
    for position, loss in enumerate(losses):
        idle = 0 if loss <= best - tol else idle + 1
        best = min(best, loss)
        if idle > patience:
            found.append(position)
            idle = 0
    return found


def idle(losses: Iterable[float], tol: float) -> int:
    """The number of losses at the end of ``losses`` that are no improvement on the best before them.

    A loss above ``best - tol`` is no improvement, as scikit-learn counts.

    Args:
        losses: one number for each epoch, lower is better. NaN is above nothing.
        tol: how far below the best an improvement is.

    Returns:
        The number of epochs in a row without improvement.

    >>> idle([3.0, 2.0, 2.0, 2.0, 1.95], tol=0.1)
    3
    """
    best, count = math.inf, 0
    for loss in losses:
        count = count + 1 if loss > best - tol else 0
        best = min(best, loss)
    return count
