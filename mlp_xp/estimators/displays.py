"""What was learned as pictures, in the manner of scikit-learn's displays: ``from_estimator``, ``plot``, ``ax_``.

Matplotlib is needed to draw and not before.

Before: ``plots`` draws them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill
from typing import Any, Self

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from mlp_xp._lib.namespace import to_host
from mlp_xp.train import Record


class LossCurveDisplay:
    """How the loss fell: training and validation loss, validation score and learning rate of each epoch.

    Made by ``from_estimator`` and ``from_history``, which draw at once; or from the numbers, one per epoch each.

    Args:
        training_loss: as training minimises it.
        validation_loss: without penalties and dropout.
        validation_score: higher is better; it has a scale of its own, below.
        learning_rate: of the last step; the same.
        best_epoch: from 1, the one to mark.
        loss_name, score_name: what is beside the axes.
        training_name: of the training loss, in the legend.

    After ``plot`` there are ``figure_``, ``ax_``, ``line_`` of the training loss and, None where they are not drawn,
    ``best_``, ``validation_line_``, ``score_ax_``, ``score_line_``, ``rate_ax_``, ``rate_line_``.
    """

    def __init__(
        self,
        *,
        training_loss: Sequence[float],
        validation_loss: Sequence[float] | None = None,
        validation_score: Sequence[float] | None = None,
        learning_rate: Sequence[float] | None = None,
        best_epoch: int | None = None,
        loss_name: str = "loss",
        score_name: str = "validation score",
        training_name: str = "training",
    ) -> None:
        self.training_loss = training_loss
        self.validation_loss = validation_loss
        self.validation_score = validation_score
        self.learning_rate = learning_rate
        self.best_epoch = best_epoch
        self.loss_name = loss_name
        self.score_name = score_name
        self.training_name = training_name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, learning_rate: bool = False) -> Self:
        """The curves of a fitted estimator.

        Args:
            estimator: fitted by a stochastic solver; scikit-learn's own will do.
            ax: where to draw; a new figure by default.
            learning_rate: whether it is drawn too.

        Raises:
            ValueError: for lbfgs, which keeps no curve, or a learning rate that is not known of all epochs.
        """
        check_is_fitted(estimator)
        losses = [] if estimator.solver == "lbfgs" else estimator.loss_curve_
        if not losses:
            raise ValueError(f"{cls.__name__} needs an epoch of a stochastic solver, got solver={estimator.solver!r}")
        count, scoring = len(losses), getattr(estimator, "scoring", None)
        rates = [record.lr for record in getattr(estimator, "_history", ())] if learning_rate else None
        if rates is not None and len(rates) != count:
            raise ValueError(
                f"the learning rate is known of {len(rates)} epochs, those of the last fit, not of {count}"
            )
        # those of several fits belong to the epochs only where each fit had them
        judged, scores = getattr(estimator, "validation_losses_", None), estimator.validation_scores_
        judged = judged if judged is not None and len(judged) == count else None
        scores = scores if scores is not None and len(scores) == count else None
        if is_classifier(estimator):
            loss_name, score_name, unit = "cross-entropy (nats)", "validation accuracy (%)", 100.0
        else:
            poisson = getattr(estimator, "loss", None) == "poisson"
            loss_name = "half Poisson deviance (unit of y)" if poisson else "half squared error (unit of y)²"
            score_name, unit = "validation R²", 1.0
        if scoring is not None:
            score_name, unit = f"validation {scoring if isinstance(scoring, str) else 'score'}", 1.0
        display = cls(
            training_loss=losses,
            validation_loss=judged,
            validation_score=None if scores is None else [unit * score for score in scores],
            learning_rate=rates,
            best_epoch=_best([-score for score in scores] if scores is not None else judged or losses),
            loss_name="loss" if getattr(estimator, "criterion", None) is not None else loss_name,
            score_name=score_name,
            training_name="training, with penalty" if estimator.alpha else "training",
        )
        return display.plot(ax)

    @classmethod
    def from_history(
        cls,
        history: Sequence[Record],
        *,
        ax: Any = None,
        learning_rate: bool = False,
        loss_name: str = "loss",
        score_name: str = "validation score",
    ) -> Self:
        """The curves of ``train``: ``history`` is that of its last ``Epoch``, at least one record."""
        if not history:
            raise ValueError("history must have a record of at least one epoch, got none")

        def known(values: Sequence[float | None]) -> list[float] | None:
            if all(value is None for value in values):
                return None
            return [math.nan if value is None else value for value in values]

        return cls(
            training_loss=[record.loss for record in history],
            validation_loss=known([record.val_loss for record in history]),
            validation_score=known([record.val_score for record in history]),
            learning_rate=[record.lr for record in history] if learning_rate else None,
            best_epoch=_best([record.watched for record in history]),
            loss_name=loss_name,
            score_name=score_name,
            training_name="training, with penalty" if any(record.penalty for record in history) else "training",
        ).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw into ``ax``, divided where there is more than the losses to draw; or into a new figure."""
        rows = [(2.0, "loss")]
        rows += [] if self.validation_score is None else [(1.0, "score")]
        rows += [] if self.learning_rate is None else [(1.0, "rate")]
        heights = [height for height, _ in rows]
        plots, ax = _prepared(type(self).__name__, ax, sum(heights))
        panels = dict(zip([name for _, name in rows], _divided(ax, heights), strict=True))
        self.figure_, self.ax_ = ax.figure, panels["loss"]
        self.score_ax_, self.rate_ax_ = panels.get("score"), panels.get("rate")
        losses = {self.training_name: self.training_loss}
        if self.validation_loss is not None:
            losses["validation"] = self.validation_loss
        lines, self.best_ = plots.draw_losses(self.ax_, losses, fill(self.loss_name, 20), self.best_epoch)
        self.line_, self.validation_line_ = lines[0], lines[1] if len(lines) > 1 else None
        self.score_line_ = self.rate_line_ = None
        if self.score_ax_ is not None:
            self.score_line_ = plots.draw_line(self.score_ax_, self.validation_score, fill(self.score_name, 16))
            if self.best_epoch is not None:
                plots.draw_best(self.score_ax_, self.validation_score, self.best_epoch, self.score_line_.get_color())
        if self.rate_ax_ is not None:
            self.rate_line_ = plots.draw_line(self.rate_ax_, self.learning_rate, "learning rate", color="#555555")
            self.rate_ax_.set_ylim(bottom=0.0)
        plots.label_epochs(list(panels.values())[-1], len(self.training_loss))
        return self


class WeightsDisplay:
    """What the first layer looks for: an image of each hidden unit's weights where inputs are images, or a heat map.

    Args:
        weight: (d_in, d_h), an array of any library.
        image_shape: (height, width) of an input that is an image.
        feature_names: of the inputs, beside the heat map.
        column_names: of the hidden units; for a network without hidden layers, of what it predicts.
        kind: what a column of the weight stands for.

    After ``plot`` there are ``figure_``, ``ax_`` and ``image_``.
    """

    def __init__(
        self,
        weight: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        feature_names: Sequence[str] | None = None,
        column_names: Sequence[str] | None = None,
        kind: str = "hidden unit",
    ) -> None:
        self.weight = np.asarray(to_host(weight))
        self.image_shape = image_shape
        self.feature_names = feature_names
        self.column_names = column_names
        self.kind = kind
        d_in = self.weight.shape[0]
        if image_shape is not None and math.prod(image_shape) != d_in:
            raise ValueError(f"image_shape must be of {d_in} inputs, got {tuple(image_shape)}")
        if feature_names is not None and len(feature_names) != d_in:
            raise ValueError(f"feature_names must be of {d_in} inputs, got {len(feature_names)} names")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Any = None,
        image_shape: tuple[int, int] | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> Self:
        """The first layer of a fitted estimator; ``feature_names`` are by default those that it was fitted with."""
        check_is_fitted(estimator)
        if feature_names is None:
            feature_names = getattr(estimator, "feature_names_in_", None)
        names, kind = None, "hidden unit"
        if len(estimator.coefs_) == 1:
            kind = "class" if is_classifier(estimator) else "output"
            names = [str(name) for name in to_host(getattr(estimator, "classes_", np.arange(estimator.n_outputs_)))]
            names = names[-estimator.n_outputs_ :]  # of two classes there is one output, for the second
        display = cls(
            estimator.coefs_[0], image_shape=image_shape, feature_names=feature_names, column_names=names, kind=kind
        )
        return display.plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw into ``ax``, or into a new figure."""
        plots, self.ax_ = _prepared(type(self).__name__, ax, 2.0)
        self.figure_ = self.ax_.figure
        self.image_ = plots.draw_weights(
            self.ax_, self.weight, self.image_shape, self.column_names, self.feature_names, self.kind
        )
        return self


def _best(watched: Sequence[float]) -> int | None:
    """The first epoch, from 1, of the lowest number; None where there is none."""
    if all(math.isnan(value) for value in watched):
        return None
    return int(np.nanargmin(np.asarray(watched))) + 1


def _prepared(name: str, ax: Any, height: float) -> tuple[Any, Any]:
    """The module that draws, and ``ax`` or that of a new figure for panels of this height together."""
    try:
        import matplotlib.pyplot as plt

        from mlp_xp import plots
    except ImportError:
        raise ImportError(f"{name}.plot needs matplotlib: pip install 'mlp_xp[cli]'") from None
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 1.6 + 1.6 * height), layout="constrained")
    return plots, ax


def _divided(ax: Any, heights: Sequence[float]) -> list[Any]:
    """``ax`` itself, or axes of these heights one above the other in its place."""
    if len(heights) == 1:
        return [ax]
    ax.set_axis_off()
    gap, low = 0.06, 1.0
    panels: list[Any] = []
    unit = (1.0 - gap * (len(heights) - 1)) / sum(heights)
    for height in heights:
        low -= height * unit
        panels.append(ax.inset_axes((0.0, low, 1.0, height * unit), sharex=panels[0] if panels else None))
        low -= gap
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    return panels
