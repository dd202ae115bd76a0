"""What was learned as pictures, in the manner of scikit-learn's displays: ``from_estimator``, ``plot``, ``ax_``.

Matplotlib is needed to draw and not before.

Before: ``plots`` draws them.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial
from textwrap import fill
from typing import Any, Self, cast

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from mlp_xp._lib.namespace import device_kwargs, namespace, to_host
from mlp_xp._lib.typing import Array
from mlp_xp.criterion import CRITERIA, Criterion, criterion_named
from mlp_xp.estimators.classifier import MLPClassifier
from mlp_xp.estimators.network import Network
from mlp_xp.estimators.regressor import MLPRegressor
from mlp_xp.estimators.scaling import Scaling
from mlp_xp.inside import input_gradients
from mlp_xp.parameters import FULL_BATCH
from mlp_xp.train import Record


@dataclass(eq=False, repr=False, kw_only=True)
class LossCurveDisplay:
    """How the loss fell: training and validation loss, validation score and learning rate of each epoch.

    ``from_estimator`` and ``from_history`` make a display and draw it; ``plot`` draws it again elsewhere.

    Parameters
    ----------
    training_loss : sequence of float
        The loss that training minimises, of each epoch.
    validation_loss : sequence of float, default=None
        The loss on the validation rows, without penalties and dropout.
    validation_score : sequence of float, default=None
        The score on the validation rows, higher is better; drawn below, with a scale of its own.
    learning_rate : sequence of float, default=None
        The rate of the last step of each epoch; drawn below, with a scale of its own.
    best_epoch : int, default=None
        The epoch to mark, from 1.
    loss_name : str, default='loss'
        The text beside the axis of the losses.
    score_name : str, default='validation score'
        The text beside the axis of the score.
    training_name : str, default='training'
        The name of the training loss in the legend.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure.
    ax_ : matplotlib Axes
        The axes of the losses.
    line_ : matplotlib Line2D
        The training loss.
    validation_line_, best_ : matplotlib Line2D or None
        The validation loss, and the mark of the best epoch; None where they are not drawn.
    score_ax_, rate_ax_ : matplotlib Axes or None
        The axes of the score and of the learning rate; None where they are not drawn.
    score_line_, rate_line_ : matplotlib Line2D or None
        The score and the learning rate; None where they are not drawn.
    """

    training_loss: Sequence[float]
    validation_loss: Sequence[float] | None = None
    validation_score: Sequence[float] | None = None
    learning_rate: Sequence[float] | None = None
    best_epoch: int | None = None
    loss_name: str = "loss"
    score_name: str = "validation score"
    training_name: str = "training"

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, learning_rate: bool = False) -> Self:
        """Draw the curves of a fitted estimator.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            Fitted by a stochastic solver; scikit-learn's own will do, as will a pipeline or a search that ends in one.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        learning_rate : bool, default=False
            Whether the learning rate is drawn too.

        Returns
        -------
        display : LossCurveDisplay
            The display.

        Raises
        ------
        ValueError
            For lbfgs, which keeps no curve, or where the learning rate of some epochs is not known.
        """
        estimator = _network_of(cls.__name__, estimator)
        losses = [] if estimator.solver in FULL_BATCH else estimator.loss_curve_
        if not losses:
            raise ValueError(f"{cls.__name__} needs an epoch of a stochastic solver, got solver={estimator.solver!r}")
        rates = [record.lr for record in getattr(estimator, "_history", ())] if learning_rate else None
        if rates is not None and len(rates) != len(losses):
            raise ValueError(
                f"the learning rate is known of {len(rates)} epochs, those of the last fit, not of {len(losses)}"
            )
        judged, scores = (  # of several fits, only where each had validation rows
            curve if curve is not None and len(curve) == len(losses) else None
            for curve in (getattr(estimator, "validation_losses_", None), estimator.validation_scores_)
        )
        (names, unit), by_loss = _names(estimator), getattr(estimator, "scoring", None) == "loss"
        return cls(
            training_loss=losses,
            validation_loss=judged,
            # a score that is the loss itself is drawn once
            validation_score=None if by_loss or scores is None else [unit * score for score in scores],
            learning_rate=rates,
            best_epoch=_best([-score for score in scores] if scores is not None else judged or losses),
            **names,
            training_name="training, with penalty" if estimator.alpha else "training",
        ).plot(ax)

    @classmethod
    def from_history(
        cls, history: Sequence[Record], *, ax: Any = None, learning_rate: bool = False, loss_name: str = "loss",
        score_name: str = "validation score",
    ) -> Self:  # fmt: skip
        """Draw the curves of ``mlp_xp.train.train``.

        Parameters
        ----------
        history : sequence of Record
            The ``history`` of its last ``Epoch``, at least one record.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        learning_rate : bool, default=False
            Whether the learning rate is drawn too.
        loss_name : str, default='loss'
            The text beside the axis of the losses.
        score_name : str, default='validation score'
            The text beside the axis of the score.

        Returns
        -------
        display : LossCurveDisplay
            The display.
        """
        if not history:
            raise ValueError("history must have a record of at least one epoch, got none")

        def known(values: Sequence[float | None]) -> list[float] | None:
            numbers = [math.nan if value is None else value for value in values]
            return None if all(value is None for value in values) else numbers

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
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw, divided where there is more to draw than the losses; None makes a new figure.

        Returns
        -------
        self : LossCurveDisplay
            The display.
        """
        curves = {"loss": self.training_loss, "score": self.validation_score, "rate": self.learning_rate}
        names = [name for name, values in curves.items() if values is not None]
        heights = [2.0 if name == "loss" else 1.0 for name in names]
        plots, axes = _prepared(type(self).__name__, ax, heights)
        panels = dict(zip(names, axes, strict=True))
        self.figure_, self.ax_ = axes[0].figure, panels["loss"]
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


@dataclass(eq=False, repr=False)
class WeightsDisplay:
    """The weights of the first layer: an image for each hidden unit where inputs are images, else a heat map.

    Parameters
    ----------
    weight : array of shape (d_in, d_h)
        The weights, of any library.
    image_shape : tuple (height, width), default=None
        The shape of an input that is an image.
    feature_names : sequence of str, default=None
        The names of the inputs, beside the heat map.
    column_names : sequence of str, default=None
        The names of the columns: hidden units, or what a network without hidden layers predicts.
    kind : str, default='hidden unit'
        What a column stands for.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure.
    ax_ : matplotlib Axes
        The axes.
    image_ : matplotlib AxesImage
        What was drawn.
    """

    weight: Any
    _: KW_ONLY
    image_shape: tuple[int, int] | None = None
    feature_names: Sequence[str] | None = None
    column_names: Sequence[str] | None = None
    kind: str = "hidden unit"

    def __post_init__(self) -> None:
        self.weight = to_host(self.weight)
        d_in, names = self.weight.shape[0], self.feature_names
        if self.image_shape is not None and not isinstance(self.image_shape, Sequence):
            raise TypeError(f"image_shape must be (height, width), got {self.image_shape!r}")
        if self.image_shape is not None and math.prod(self.image_shape) != d_in:
            raise ValueError(f"image_shape must be of {d_in} inputs, got {tuple(self.image_shape)}")
        if names is not None and len(names) != d_in:
            raise ValueError(f"feature_names must be of {d_in} inputs, got {len(names)} names")

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, image_shape: tuple[int, int] | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> Self:  # fmt: skip
        """Draw the first layer of a fitted estimator.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            Fitted; scikit-learn's own will do.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        image_shape : tuple (height, width), default=None
            The shape of an input that is an image.
        feature_names : sequence of str, default=None
            The names of the inputs; None takes those that the estimator was fitted with.

        Returns
        -------
        display : WeightsDisplay
            The display.
        """
        estimator = _network_of(cls.__name__, estimator)
        if feature_names is None:
            feature_names = getattr(estimator, "feature_names_in_", None)
        names, kind = None, "hidden unit"
        if len(estimator.coefs_) == 1:
            kind = "class" if is_classifier(estimator) else "output"
            names = [str(name) for name in to_host(getattr(estimator, "classes_", np.arange(estimator.n_outputs_)))]
            names = names[-estimator.n_outputs_ :]  # of two classes there is one output, for the second
        return cls(
            estimator.coefs_[0], image_shape=image_shape, feature_names=feature_names, column_names=names, kind=kind
        ).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the weights.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        self : WeightsDisplay
            The display.
        """
        plots, (self.ax_,) = _prepared(type(self).__name__, ax, [2.0])
        self.figure_ = self.ax_.figure
        self.image_ = plots.draw_weights(
            self.ax_, self.weight, self.image_shape, self.column_names, self.feature_names, self.kind
        )
        return self


@dataclass(eq=False, repr=False)
class ImportanceDisplay:
    """How much the prediction depends on each input: mean ``|d output / d input|`` times the deviation of the input.

    That is how far the prediction moves, to first order, when an input moves by its standard deviation and the others
    stay. The derivatives are exact, and one pass for each output gives them for all inputs. They say what the network
    does near the rows of X. ``sklearn.inspection.permutation_importance`` says what its score would lose without an
    input: a jump between two classes that no row is near to counts there and not here.

    Parameters
    ----------
    importances : array of shape (d_in,)
        The importance of each input.
    feature_names : sequence of str, default=None
        The names of the inputs.
    name : str, default='importance'
        The text beside the axis of the importances.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure.
    ax_ : matplotlib Axes
        The axes.
    bars_ : matplotlib BarContainer
        The bars, the largest first.
    """

    importances: Any
    _: KW_ONLY
    feature_names: Sequence[str] | None = None
    name: str = "importance"

    def __post_init__(self) -> None:
        self.importances = np.asarray(to_host(self.importances))
        names, count = self.feature_names, len(self.importances)
        if names is not None and len(names) != count:
            raise ValueError(f"feature_names must be of {count} inputs, got {len(names)} names")

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, ax: Any = None, output: int | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> Self:  # fmt: skip
        """Draw the importance of the inputs of a fitted estimator.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            Fitted; scikit-learn's own will do, as will a pipeline or a search that ends in one. The inputs are the
            network's, behind the pipeline's other steps, and the outputs are the network's.
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            Rows over which the mean is taken, at least two, as the estimator takes them.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        output : int, default=None
            The output, by its column: a class, or a number that is predicted; None takes the mean over all classes, or
            over all numbers that ``predict`` returns. Of two classes there is one output, the probability of the
            second.
        feature_names : sequence of str, default=None
            The names of the inputs; None takes those that the network was fitted with.

        Returns
        -------
        display : ImportanceDisplay
            The display.
        """
        way = _way_to_network(cls.__name__, estimator)
        names = getattr(way[-1], "feature_names_in_", None)
        for outer in way[:-1]:
            if len(getattr(outer, "steps", ())) > 1:
                before = outer[:-1]
                X = before.transform(X)
                with suppress(AttributeError, ValueError):  # a step that has no names for what it returns
                    names = before.get_feature_names_out() if names is None else names
        network = way[-1]
        if not isinstance(network, Network):
            network = (MLPClassifier if is_classifier(network) else MLPRegressor).from_sklearn(network)
        moved = "probability" if is_classifier(network) else "prediction (unit of y)"
        return cls(
            _importances(network, X, output),
            feature_names=names if feature_names is None else feature_names,
            name=f"mean change of {moved}\nper standard deviation of the input",
        ).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the importances.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        self : ImportanceDisplay
            The display.
        """
        plots, (self.ax_,) = _prepared(type(self).__name__, ax, [2.0])
        self.figure_ = self.ax_.figure
        self.bars_ = plots.draw_importances(self.ax_, self.importances, self.name, self.feature_names)
        return self


def _importances(network: Network, X: Any, output: int | None) -> Any:
    """``mean |d output / d input|`` times the standard deviation of the input, (d_in,), on the host.

    X stays standardised where the network has it so: a deviation is one in any unit. Outputs are in the unit of y.
    """
    chunks, params = list(network._chunks(X, "predict")), network._params()
    xp, rows = namespace(params[0]), sum(chunk.shape[0] for chunk in chunks)
    if rows < 2:
        raise ValueError(f"X must have at least two rows, whose deviation is taken, got {rows}")
    count = network.n_outputs_
    columns: Any = np.arange(count)
    predicted = cast(Any, criterion_named(network._criterion()).prediction(columns, count))  # columns of ``predict``
    outputs = predicted if output is None else (output,)
    units = None if network.scaling_ is None else network.scaling_.y_scale
    widths = np.ones(len(predicted)) if units is None else to_host(units)
    options: Any = {"activation": network.activation, "criterion": network._criterion()}

    def mean(function: Callable[[Array], Array]) -> Any:
        """Over all rows, of what a function makes of a part of them; (d_in,), on the host."""
        return np.sum([to_host(xp.sum(function(chunk), axis=0)) for chunk in chunks], axis=0) / rows

    middle = xp.asarray(mean(lambda chunk: chunk), dtype=params[0].dtype, **device_kwargs(params[0]))
    variance = mean(lambda chunk: (chunk - middle) * (chunk - middle))

    def slopes(chunk: Array, column: Any) -> Array:
        each = input_gradients(chunk, *params, output=column, **options)
        return xp.abs(each if each.ndim == 2 else xp.mean(each, axis=0))  # an ensemble's output is the mean

    means = [mean(partial(slopes, column=column)) * widths[column % len(widths)] for column in outputs]
    return np.mean(means, axis=0) * np.sqrt(variance)


_WITHIN = ("best_estimator_", "regressor_", "classifier_", "estimator_")
"""Where the searches and wrappers of scikit-learn keep the estimator that they fitted."""


def _way_to_network(display: str, estimator: Any) -> list[Any]:
    """A fitted estimator, what it holds, and so on: the last step of a pipeline, the best of a search, the network.

    Raises:
        NotFittedError, TypeError: it is not fitted, or it has no network.
    """
    if hasattr(estimator, "fit"):
        check_is_fitted(estimator)
    way = [estimator]
    while not hasattr(inner := way[-1], "coefs_"):
        if steps := getattr(inner, "steps", None):
            way.append(steps[-1][1])
            continue
        inner = next((getattr(inner, name) for name in _WITHIN if hasattr(inner, name)), None)
        if inner is None:
            expected = "a fitted network, or a pipeline or a search of one"
            raise TypeError(f"{display} needs {expected}, got {type(estimator).__name__}")
        way.append(inner)
    return way


def _network_of(display: str, estimator: Any) -> Any:
    """The fitted network in an estimator."""
    return _way_to_network(display, estimator)[-1]


def name_of_loss(criterion: Criterion, scaling: Scaling | None) -> str:
    """What a criterion measures, and in which unit where its targets were scaled so."""
    unit = criterion.unit if scaling is None or scaling.y_mean is None else "standardised"
    return f"{criterion.quantity} {unit if unit.startswith('(') else f'({unit})'}"


def _names(estimator: Any) -> tuple[dict[str, str], float]:
    """What the losses and the scores of an estimator are called, and the unit of a score."""
    name = "softmax_cross_entropy" if is_classifier(estimator) else getattr(estimator, "loss", "squared_error")
    score_name, unit = ("accuracy (%)", 100.0) if is_classifier(estimator) else ("R²", 1.0)
    if (scoring := getattr(estimator, "scoring", None)) is not None:
        score_name, unit = scoring if isinstance(scoring, str) else "score", 1.0
    own = getattr(estimator, "criterion", None) is not None
    loss_name = "loss" if own else name_of_loss(CRITERIA[name], getattr(estimator, "scaling_", None))
    return {"loss_name": loss_name, "score_name": f"validation {score_name}"}, unit


def _best(watched: Sequence[float]) -> int | None:
    """The first epoch, from 1, of the lowest number; None where there is none."""
    if all(math.isnan(value) for value in watched):
        return None
    return int(np.nanargmin(np.asarray(watched))) + 1


def _prepared(name: str, ax: Any, heights: Sequence[float]) -> tuple[Any, list[Any]]:
    """The module that draws, and axes of these heights one above the other: in place of ``ax``, or in a new figure."""
    try:
        import matplotlib.pyplot as plt

        from mlp_xp import plots
    except ImportError:
        raise ImportError(f"{name}.plot needs matplotlib: pip install 'mlp_xp[cli]'") from None
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 1.6 + 1.6 * sum(heights)), layout="constrained")
    if len(heights) == 1:
        return plots, [ax]
    ax.set_axis_off()
    panels: list[Any] = []
    gap, above = 0.06, 1.0
    unit = (1.0 - gap * (len(heights) - 1)) / sum(heights)
    for height in heights:
        box = (0.0, above - height * unit, 1.0, height * unit)
        panels.append(ax.inset_axes(box, sharex=panels[0] if panels else None))
        panels[-1].tick_params(labelbottom=len(panels) == len(heights))
        above = box[1] - gap
    return plots, panels
