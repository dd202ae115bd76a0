"""An epoch when its steps are made: the mean losses, the rows that were held out, the records, the best so far.

Before: ``evaluate`` and ``members``. Next: ``loop`` yields the epoch; ``divergence`` explains one that failed.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from mlp_xp._lib.arguments import described
from mlp_xp._lib.namespace import detached, namespace
from mlp_xp._lib.typing import Namespace, Params
from mlp_xp.mlp import PredictOptions
from mlp_xp.optim import State
from mlp_xp.ranks import sums_of, together
from mlp_xp.train.dataset import NO_WEIGHT, Dataset
from mlp_xp.train.epoch import Epoch, Record, ensemble_size
from mlp_xp.train.evaluate import evaluate_each
from mlp_xp.train.members import chosen, mean_record, numbers, of_member
from mlp_xp.train.settings import Settings
from mlp_xp.train.step import Sums


def means(xp: Namespace, sums: Sums, n: int, must_weigh: bool) -> tuple[list[float], list[float]]:
    """For each network the mean objective of the steps, and the penalty's part of it.

    Raises:
        ValueError: an epoch that ``must_weigh`` something weighs nothing for a network.
    """
    totals, decays, *counted = numbers(xp, *(each for each in sums if each is not None))
    rows = counted[0] if counted else [float(n)] * len(totals)
    if must_weigh and not all(rows):
        raise ValueError(NO_WEIGHT)
    # an epoch in which all batches weigh nothing, by an order that repeats rows, has the loss 0, as each of them
    means = ([total / (count or 1.0) for total, count in zip(each, rows, strict=True)] for each in (totals, decays))
    return next(means), next(means)


def judged(
    xp: Namespace,
    held_out: Dataset | Sequence[Dataset] | None,
    params: Params,
    settings: Settings,
    good: Sequence[bool],
) -> tuple[list[float] | None, list[float] | None]:
    """For each network the loss on the rows that were held out, and the score; None for what there is not."""
    losses = scores = None
    options = {key: value for key, value in settings.options.items() if key in PredictOptions.__annotations__}
    wants_score, ranks = settings.score is None, settings.ranks
    judge = partial(evaluate_each, xp, options=cast(PredictOptions, options), wants_score=wants_score, ranks=ranks)
    own = [params] if ensemble_size(params) is None else list(zip(*map(xp.unstack, params), strict=True))
    if isinstance(held_out, Dataset):
        losses, scores = judge(held_out, params)
    elif held_out is not None:
        unknown = [math.nan], None if settings.score is not None else [math.nan]  # of a network that has ended
        each = [judge(rows, one) if fit else unknown for rows, one, fit in zip(held_out, own, good, strict=True)]
        losses, found = [loss for (loss,), _ in each], [score[0] for _, score in each if score is not None]
        scores = found if len(found) == len(own) else None
    if settings.score is not None and settings.score != "loss":
        functions = [of_member(settings.score, position) for position in range(len(own))]
        calls = list(zip(functions, own, good, strict=True))
        with together(ranks, own[0][0]):
            scores = [_as_a_number(f(one)) if fit else math.nan for f, one, fit in calls]
        scores = [total / ranks.size for total in sums_of(ranks, params[0], *scores)]
    return losses, scores


def records_of(
    here: Epoch, numbers: Sequence[list[float] | None], counts: tuple[int, int, float], running: list[bool],
    good: list[bool],
) -> list[Record]:  # fmt: skip
    """The record of each network after this epoch: that of one which ended before is its last one.

    Args:
        here: the epoch before.
        numbers: loss, penalty, validation loss, validation score and rate, each a list or None.
        counts: the number of the epoch, the steps made so far, and the seconds.
        running: which networks learned in this epoch.
        good: which of them have a finite loss; what is said of the others is NaN.
    """
    number, steps, seconds = counts
    records = []
    for position, (runs, fit) in enumerate(zip(running, good, strict=True)):
        if not runs:
            records.append(here.last.members[position])
            continue
        values: list[Any] = [None if each is None else each[position] for each in numbers]
        loss, penalty, val_loss, val_score = [each if fit or each is None else math.nan for each in values[:-1]]
        records.append(Record(number, loss, penalty, val_loss, val_score, values[-1], steps, seconds))
    return records


def _as_a_number(score: Any) -> float:
    """What ``score`` returned; NaN is a number, which is no improvement."""
    try:
        return float(*detached(score))
    except (TypeError, ValueError):
        raise TypeError(f"score(params) must return a number, got {described(score)}") from None


def epoch_after(
    here: Epoch,
    own: list[list[Record]],
    records: list[Record],
    good: Sequence[bool],
    params: Params,
    state: State,
    n: int,
    watch: Callable[[Record], float],
) -> Epoch:
    """The epoch after ``here``; the parameters with the lowest number to ``watch`` are the best of each network.

    The records of those that learned are added to their ``own``.
    """
    better = []
    for history, record, fit in zip(own, records, good, strict=True):
        # a NaN is no lower than anything
        lowest = min((number for number in map(watch, history) if not math.isnan(number)), default=math.inf)
        better.append(fit and (watch(record) < lowest or lowest == math.inf))
        history.extend([record] if fit else [])
    best = chosen(namespace(*params), better, params, here.best)
    record = records[0] if ensemble_size(params) is None else mean_record(records)
    return Epoch((*here.history, record), params, best, state, here.optimizer, here.rows + n)
