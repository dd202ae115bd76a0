"""The curves of an estimator: the loss and the score of each epoch, and whether training has converged.

Before: ``network``. Next: ``base`` fills them while it learns.
"""

from __future__ import annotations

import math
from typing import cast

from mlp_xp import schedules
from mlp_xp.estimators.network import Network
from mlp_xp.train import Epoch

_SMALLEST_RATE = 1e-6  # at which "adaptive" gives up, as in scikit-learn


class Curves(Network):
    """The attributes that grow by a number in each epoch, as scikit-learn's."""

    def _lacks_curves(self) -> bool:
        """Whether what came before was lbfgs, or did not stop early."""
        return not hasattr(self, "loss_curve_") or (self.early_stopping and self.validation_scores_ is None)

    def _begin_curves(self) -> None:
        """Forget the epochs so far."""
        self.loss_curve_: list[float] = []
        self.validation_losses_: list[float] = []
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_ = -math.inf if self.early_stopping else None
        self.best_loss_ = None if self.early_stopping else math.inf
        self._best = self._params()

    def _record(self, epoch: Epoch, n: int) -> None:
        """Keep what was learned in an epoch on ``n`` rows, and what scikit-learn's attributes say of it."""
        last = epoch.last
        self._learned(epoch.params)
        self._history, self._state, self._state_of = epoch.history, epoch.state, self.solver
        self.n_iter_ += 1
        self.t_ += n
        outputs = self._summed_outputs()  # scikit-learn reports the mean over them
        self.loss_ = (last.loss - last.penalty) / outputs + last.penalty
        self.loss_curve_.append(self.loss_)
        self._say(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        if last.val_loss is not None:
            self.validation_losses_.append(last.val_loss / outputs)
        if not self.early_stopping:
            self.best_loss_ = self.loss_ if self.best_loss_ is None else min(self.best_loss_, self.loss_)
            return
        score = cast(float, last.val_score)
        cast(list[float], self.validation_scores_).append(score)
        self._say(f"Validation score: {score:f}")
        if score > cast(float, self.best_validation_score_):
            self.best_validation_score_, self._best = score, epoch.params

    def _watched(self) -> list[float]:
        """What is watched for improvement, lower is better."""
        if self.early_stopping:
            return [-score for score in cast(list[float], self.validation_scores_)]
        return self.loss_curve_

    def _finished(self) -> bool:
        """Whether training has converged: nothing improves, and a learning rate that adapts is small already."""
        watched, patience, small = self._watched(), self.n_iter_no_change, True
        if self._adapts():
            stalls = schedules.stalls(watched, patience, self.tol)
            stalled = stalls[-1:] == [len(watched) - 1]
            rate = self.learning_rate_init / 5.0 ** (len(stalls) - 1)
            small = rate <= _SMALLEST_RATE
            then = "Learning rate too small. Stopping." if small else f"Setting learning rate to {rate / 5.0:f}"
        else:
            stalled, then = schedules.idle(watched, self.tol) > patience, "Stopping."
        if stalled:
            what = "Validation score" if self.early_stopping else "Training loss"
            self._say(f"{what} did not improve more than tol={self.tol:f} for {patience} consecutive epochs. {then}")
        return stalled and small

    def _say(self, message: str) -> None:
        if self.verbose:
            print(message)

    def _adapts(self) -> bool:
        """Whether the learning rate falls where nothing improves."""
        return self.solver == "sgd" and self.learning_rate == "adaptive"

    def _summed_outputs(self) -> int:
        """Over how many outputs the criterion takes a sum whose mean is reported."""
        return 1
