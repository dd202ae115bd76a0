"""What a run yields and raises: the records of its passes, where it stands, and how it ends early.

Of an ensemble, k networks that learn together, each number and each array is there for every member as well.

Before: ``step``. Next: ``members`` and ``loop`` make epochs, ``checkpoint`` keeps them in a file.
"""

import math
from typing import Any, NamedTuple

from mlp_xp._lib.arguments import check_whole
from mlp_xp._lib.typing import Params
from mlp_xp.optim import State


class Record(NamedTuple):
    """The numbers of one pass over the data.

    Of an ensemble they are means over the members that have not diverged, one that has ended with its last numbers;
    ``number``, ``steps`` and ``seconds`` are those of the run.

    number: of the pass, from 1.
    loss: the mean objective of the steps, each before its update, weighted by batch size; a batch that weighs nothing
        does not count.
    penalty: the part of ``loss`` that ``alpha`` adds.
    val_loss: the data loss on the validation set, without penalties and dropout; None without such a set.
    val_score: the score on the validation set; None without one.
    lr: the learning rate of the last step.
    steps: how many were made so far.
    seconds: how long training took so far.
    members: of an ensemble, the record of each member; one that ended before keeps its last. The loss of a member that
        diverged is NaN, and its ``number`` that of the pass in which it did. Empty for one network.
    """

    number: int
    loss: float
    penalty: float
    val_loss: float | None
    val_score: float | None
    lr: float
    steps: int
    seconds: float
    members: tuple["Record", ...] = ()

    @property
    def watched(self) -> float:
        """The number that is to fall: minus the validation score, else the validation loss, else the loss."""
        if self.val_score is not None:
            return -self.val_score
        return self.loss if self.val_loss is None else self.val_loss


class Epoch(NamedTuple):
    """Where training stands after a pass over the data: a run goes on from here.

    Of an ensemble every array of ``params``, ``best`` and ``state`` has a leading axis, one entry for each member.

    history: a record of each pass so far.
    params: the parameters now.
    best: the parameters after the pass with the lowest ``watched``; of an ensemble, each member's own best.
    state: of the optimizer.
    optimizer: the name of that optimizer, which alone knows what the state means; empty where nobody named it.
    rows: how many were seen so far; 0 where nobody counted.
    """

    history: tuple[Record, ...]
    params: Params
    best: Params
    state: State
    optimizer: str = ""
    rows: int = 0

    @property
    def last(self) -> Record:
        """The record of this pass."""
        return self.history[-1]

    def member(self, number: int) -> "Epoch":
        """The last epoch of one member of an ensemble, as its run alone would have had it: ``train`` goes on from it.

        For a member that diverged it is the epoch before, with the last parameters that had a finite loss.

        Args:
            number: of the member, from 0.

        Raises:
            ValueError, TypeError: there is no such member.

        >>> import numpy as np, mlp_xp as mx
        >>> X, y, params = np.eye(4), np.asarray([0, 1, 0, 1]), mx.init_params((4, 8, 2), ensemble=3)
        >>> (epoch,) = mx.train.train(X, y, params, epochs=1)
        >>> [p.shape for p in epoch.params], [p.shape for p in epoch.member(2).params]
        ([(3, 4, 8), (3, 8), (3, 8, 2), (3, 2)], [(4, 8), (8,), (8, 2), (2,)])
        """
        count, number = ensemble_size(self.params), check_whole("number", number, 0)
        if count is None:
            raise ValueError("an epoch of one network has no members")
        if number >= count:
            raise ValueError(f"number must be that of a member, 0 to {count - 1}, got {number}")
        params, best, state = (
            tuple([array[number, ...] for array in arrays]) for arrays in (self.params, self.best, self.state)
        )
        history = histories(self)[number]
        # all passes of a run take as many rows, unless it went on with other data
        rows = self.rows * len(history) // max(len(self.history), 1)
        return Epoch(tuple(history), params, params if self.best is self.params else best, state, self.optimizer, rows)


def ensemble_size(params: Params) -> int | None:
    """How many networks the parameters are, by their leading axis; None for one network without that axis."""
    return next((p.shape[0] for position, p in enumerate(params) if getattr(p, "ndim", 0) == 3 - position % 2), None)


def histories(epoch: Epoch) -> list[list[Record]]:
    """The records of each member's own passes, or of the one network."""
    count = ensemble_size(epoch.params)
    if count is None:
        return [list(epoch.history)]
    return [
        [
            each.members[i]
            for each in epoch.history
            if each.members[i].number == each.number and is_good(each.members[i])
        ]
        for i in range(count)
    ]


def is_good(record: Record) -> bool:
    """Whether the loss was finite: whether it is not the record of a member that diverged."""
    return math.isfinite(record.loss)


class Diverged(FloatingPointError):
    """The loss is no longer finite, of an ensemble that of any member.

    ``params`` are: the last ones between two epochs with a finite loss.
    """

    def __init__(self, message: str, params: Params) -> None:
        super().__init__(message)
        self.params = params

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, which by itself passes the message alone."""
        return type(self), (str(self), self.params), self.__dict__


class Interrupted(KeyboardInterrupt):
    """Ctrl-C inside an epoch, evaluation and callbacks included. ``params`` are those after the last step."""

    def __init__(self, params: Params) -> None:
        super().__init__("training was interrupted")
        self.params = params

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, which by itself passes the message."""
        return type(self), (self.params,), self.__dict__
