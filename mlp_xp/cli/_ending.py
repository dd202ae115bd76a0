"""How the training of a network ended: when it was best, whether it was still getting better, and what to do about it.

The training loop and the estimators keep a record of each epoch; ``end_of`` decides by these alone what ended it, and
``ending`` puts that into a sentence.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from mlp_xp._lib.wording import count_of
from mlp_xp.cli._output import decimals
from mlp_xp.parameters import FULL_BATCH
from mlp_xp.schedules import stalls
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
    return [end.best for end in _ends(estimator)]


class End(NamedTuple):
    """What ended the training of a network.

    best: the number of the epoch in which the watched number was lowest.
    last: that of the last epoch.
    why: "limit": there were no more epochs, and it was best in one of the last; "past": it was best long before;
        "small": it got better, by less than the tolerance; "stalled": it got no better; "": something else ended it.
    """

    best: int
    last: int
    why: str


def end_of(watched: Sequence[float], max_iter: int, patience: float, tol: float) -> End:
    """What ended the training of a network.

    Args:
        watched: a number for each epoch, which was to fall; NaN is never the best.
        max_iter: the largest number of epochs.
        patience: the number of epochs in a row that need not improve.
        tol: the least improvement that counts.

    >>> end_of([3.0, 1.0, 2.0, 2.0, 2.0], max_iter=9, patience=2, tol=0.1)
    End(best=2, last=5, why='stalled')
    >>> end_of([3.0, 1.0, 0.99, 0.98, 0.97], max_iter=9, patience=2, tol=0.1)
    End(best=5, last=5, why='small')
    """
    watched, last = [math.inf if math.isnan(number) else number for number in watched], len(watched)
    best = watched.index(min(watched)) + 1 if watched else 0
    is_late = last - best <= _LATE * last
    if last - 1 in stalls(watched, patience, tol):
        return End(best, last, "small" if is_late and last - best < patience else "stalled")
    if last < max_iter:
        return End(best, last, "")
    return End(best, last, "limit" if is_late else "past")


def _ends(estimator: Any) -> list[End]:
    """What ended the training of each network."""
    rules = estimator.max_iter, estimator.n_iter_no_change, estimator.tol
    return [end_of([*map(estimator._watch, records)], *rules) for records in own_records(estimator._history)]


def scored(record: Record, name: str) -> str:
    """``validation accuracy 91.20%``: what early stopping watches; "" where it watches nothing."""
    if record.val_score is not None:
        score = record.val_score
        return f"validation {name} {f'{score:.2%}' if name == 'accuracy' else decimals(score)}"
    return "" if record.val_loss is None else f"validation loss {decimals(record.val_loss)}"


def ending(estimator: Any, name: str, diverged: bool = False) -> list[str]:
    """Sentences about the end of training.

    Args:
        estimator: fitted.
        name: of its score on validation rows.
        diverged: whether training ended because the loss was no longer finite.
    """
    if not estimator._history or estimator.solver in FULL_BATCH:
        return []  # such a solver says itself where it has not converged
    ends = _ends(estimator)
    if not estimator.early_stopping:
        return [_without_validation(estimator, max(ends, key=lambda end: end.last))]
    if len(ends) > 1:
        return [_of_ensemble(estimator, ends)]
    (end,), (records,) = ends, own_records(estimator._history)
    at_best, at_last = (scored(records[number - 1], name) for number in (end.best, end.last))
    when = f"best in epoch {end.best} of {end.last}, {at_best}"
    if diverged or not end.why:
        return [f"{when}, which is kept"]
    if end.why == "limit":
        return [f"{when}, and was still improving: --max-iter gives it more"]
    if end.why == "past":
        cure = "more epochs do not help, --dropout or a larger --alpha may"
        return [f"{when}, which is kept; then it got no better, {at_last.split()[-1]} in the last: {cure}"]
    if end.why == "small":
        return [f"{when}, which is kept; {_in_small_steps(estimator)}"]
    if end.last - end.best < estimator.n_iter_no_change:  # what improved meanwhile did so by too little to count
        counts, patience = f"by --tol {estimator.tol:g} or more", count_of(estimator.n_iter_no_change, "epoch")
        return [f"{when}, which is kept; nothing improved {counts} for {patience}"]
    return [f"{when}, which is kept; then nothing improved for {count_of(end.last - end.best, 'epoch')}"]


def _without_validation(estimator: Any, end: End) -> str:
    """About a network that was to lower its training loss; the parameters of its last epoch are kept."""
    stopped = f"stopped after {count_of(end.last, 'epoch')}"
    if end.why == "limit":
        more = "--max-iter gives it more, --early-stopping sees by held-out rows whether that helps"
        return f"{stopped}, while the training loss was still falling: {more}"
    if end.why == "small":
        return f"{stopped}; {_in_small_steps(estimator, 'the training loss')}"
    if end.why == "past":
        return f"{stopped}; the training loss was lowest in epoch {end.best}: a smaller --learning-rate-init may help"
    return f"{stopped}, since the training loss fell no more" if end.why else stopped


def _in_small_steps(estimator: Any, what: str = "it") -> str:
    tol, epochs = f"--tol {estimator.tol:g}", count_of(estimator.n_iter_no_change, "epoch")
    return f"{what} was still improving, by less than {tol} an epoch for {epochs}: a smaller --tol goes on"


def _of_ensemble(estimator: Any, ends: Sequence[End]) -> str:
    bests, last = [end.best for end in ends], max(end.last for end in ends)
    which = f"epochs {min(bests)} to {max(bests)}" if min(bests) < max(bests) else f"epoch {bests[0]}"
    said = [f"the {len(ends)} networks were best in {which} of {last}, which {'are' if ' to ' in which else 'is'} kept"]
    cures = {
        "limit": "still improving: --max-iter gives them more",
        "small": f"still improving, by less than --tol {estimator.tol:g} an epoch: a smaller --tol goes on",
    }
    for why, cure in cures.items():
        if count := sum(end.why == why for end in ends):
            which = "all" if count == len(ends) else f"{count}"
            said.append(f"{which} of them {'was' if count == 1 else 'were'} {cure}")
    return "; ".join(said)
