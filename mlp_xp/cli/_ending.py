"""How the training of a network ended: when it was best, whether it was still getting better, and what to do about it.

The training loop and the estimators keep a record of each epoch; the sentences here are made from these alone.
"""

import math
from collections.abc import Sequence
from typing import Any

from mlp_xp.parameters import FULL_BATCH
from mlp_xp.train import Record
from mlp_xp.train.epoch import is_good

_LATE = 0.1  # of the epochs: a best one among the last of them leaves open whether the next would be better


def own_records(history: Sequence[Record]) -> list[list[Record]]:
    """The records of the epochs in which each network learned; one list where there is one network."""
    members = len(history[-1].members) if history else 0
    if not members:
        return [list(history)]
    parts = ([each.members[i] for each in history if each.members[i].number == each.number] for i in range(members))
    return [[record for record in part if is_good(record)] for part in parts]


def best_epochs(estimator: Any) -> list[int]:
    """For each network the number of the epoch whose parameters it has kept."""
    if not estimator.early_stopping or estimator.solver in FULL_BATCH:
        return [len(records) for records in own_records(estimator._history)]
    return [_best(estimator, records) for records in own_records(estimator._history)]


def _best(estimator: Any, records: Sequence[Record]) -> int:
    watched = [estimator._watch(record) for record in records]
    watched = [math.inf if math.isnan(number) else number for number in watched]
    return watched.index(min(watched)) + 1 if watched else 0


def scored(record: Record, name: str) -> str:
    """``validation accuracy 91.20%``: what early stopping watches; "" where it watches nothing."""
    if record.val_score is not None:
        return f"validation {name} {record.val_score:{'.2%' if name == 'accuracy' else '.4f'}}"
    return "" if record.val_loss is None else f"validation loss {record.val_loss:.4f}"


def ending(estimator: Any, name: str, diverged: bool = False) -> list[str]:
    """Sentences about the end of training.

    Args:
        estimator: fitted.
        name: of its score on validation rows.
        diverged: whether training ended because the loss was no longer finite.
    """
    history = estimator._history
    if not history or estimator.solver in FULL_BATCH:
        return []  # such a solver says itself where it has not converged
    own = own_records(history)
    at_limit = any(len(records) >= estimator.max_iter for records in own)
    if not estimator.early_stopping:
        return [_without_validation(len(history), at_limit)]
    bests, lasts = best_epochs(estimator), [len(records) for records in own]
    if len(own) > 1:
        return [_of_ensemble(estimator, bests, lasts, at_limit)]
    (best,), (last,) = bests, lasts
    at_best, at_last = (scored(own[0][number - 1], name) for number in (best, last))
    when = f"best in epoch {best} of {last}, {at_best}"
    if diverged:
        return [f"{when}, which is kept"]
    if at_limit and _is_late(best, last):
        return [f"{when}, and was still improving: --max-iter gives it more"]
    if at_limit:
        cure = "more epochs do not help, --dropout or a larger --alpha may"
        return [f"{when}, which is kept; then it got no better, {at_last.split()[-1]} in the last: {cure}"]
    return [f"{when}, which is kept; then nothing improved for {estimator.n_iter_no_change:g} epochs"]


def _is_late(best: int, last: int) -> bool:
    return last - best <= _LATE * last


def _without_validation(last: int, at_limit: bool) -> str:
    if at_limit:
        more = "--max-iter gives it more, --early-stopping sees by held-out rows whether that helps"
        return f"stopped after {last} epochs, while the training loss was still falling: {more}"
    return f"stopped after {last} epochs, since the training loss fell no more"


def _of_ensemble(estimator: Any, bests: Sequence[int], lasts: Sequence[int], at_limit: bool) -> str:
    when = f"the {len(bests)} networks were best in epochs {min(bests)} to {max(bests)} of {max(lasts)}, which are kept"
    late = sum(_is_late(*each) for each in zip(bests, lasts, strict=True) if each[1] >= estimator.max_iter)
    if at_limit and late:
        return f"{when}; {late} of them {'was' if late == 1 else 'were'} still improving: --max-iter gives them more"
    return when
