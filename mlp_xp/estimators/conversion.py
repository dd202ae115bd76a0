"""Estimators of scikit-learn's and PyTorch's networks, and back.

Before: ``convert`` turns networks into parameters and back; here the classes, the settings and the curves come along.
Next: ``network`` is one that can be converted.
"""

from copy import deepcopy
from typing import Any, Self, cast

import numpy as np  # on the host: the names of classes
from sklearn.base import is_classifier
from sklearn.utils._param_validation import InvalidParameterError, validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted

from mlp_xp import convert
from mlp_xp._lib.namespace import placement_of
from mlp_xp._lib.typing import Params
from mlp_xp.criterion import criterion_named
from mlp_xp.estimators import targets
from mlp_xp.estimators.data import host

_LEARNED = (
    "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_", "n_iter_", "t_",
    "feature_names_in_",
)  # fmt: skip
"""Attributes that mean the same in both libraries."""


class Conversion:
    """What an estimator can be made of, and what can be made of it."""

    @classmethod
    def from_sklearn(cls, model: Any) -> Self:
        """Make an estimator of scikit-learn's fitted one: it predicts the same, and ``partial_fit`` goes on from there.

        Parameters
        ----------
        model : sklearn.neural_network.MLPClassifier or MLPRegressor
            The fitted estimator; it is not changed. What its solver remembers of past gradients stays behind.

        Returns
        -------
        estimator : object
            A fitted estimator with the parameters and the curves of the model, which computes with NumPy.
        """
        estimator = cast(Any, cls)()
        params, _ = convert.from_sklearn(model)
        if is_classifier(model) != is_classifier(estimator):
            raise TypeError(f"model must be a {cls.__name__} of scikit-learn, got {type(model).__name__}")
        own = estimator.get_params(deep=False)
        settings = model.get_params(deep=False).items()
        estimator.set_params(**{name: deepcopy(value) for name, value in settings if name in own})
        _adopt(estimator, params, model.out_activation_)
        vars(estimator).update({name: deepcopy(getattr(model, name)) for name in _LEARNED if hasattr(model, name)})
        if hasattr(model, "loss_curve_"):
            estimator.validation_losses_, estimator._best = [], params
        if is_classifier(model):
            binarizer = model._label_binarizer
            estimator._know(targets.Known(binarizer.y_type_, np.array(model.classes_), binarizer.sparse_input_))
        return cast(Self, estimator)

    def to_sklearn(self) -> Any:
        """Make a fitted estimator of scikit-learn that predicts the same.

        Returns
        -------
        model : sklearn.neural_network.MLPClassifier or MLPRegressor
            The estimator, on the host, with those settings that scikit-learn knows too; the others, such as dropout,
            concern training alone. What ``standardise`` learned is in its first and its last weights.
        """
        check_is_fitted(self)
        mine = cast(Any, self)
        classes = None
        if is_classifier(self) and not (known := mine._known()).multilabel:
            classes = known.classes
        model = convert.to_sklearn(
            *_network(mine, "scikit-learn"), classes=classes, activation=mine.activation, criterion=_criterion(mine)
        )
        for name, value in mine.get_params(deep=False).items():
            allowed = model._parameter_constraints.get(name)
            if allowed is None or name in ("hidden_layer_sizes", "activation", "loss"):
                continue
            try:
                validate_parameter_constraints({name: allowed}, {name: value}, type(model).__name__)
            except InvalidParameterError:  # a solver or a schedule that scikit-learn lacks
                continue
            model.set_params(**{name: deepcopy(value)})
        vars(model).update({name: deepcopy(getattr(self, name)) for name in _LEARNED if hasattr(self, name)})
        return model

    @classmethod
    def from_torch(cls, sequential: Any, classes: Any = None) -> Self:
        """Make an estimator of a ``torch.nn.Sequential``: it predicts the same, and ``partial_fit`` goes on from there.

        Of a classifier one output is the sigmoid of the second of two classes, several outputs are a softmax of
        classes, or behind a ``Sigmoid`` several labels; outputs may be logits. The outputs of a regressor are numbers.

        Parameters
        ----------
        sequential : torch.nn.Sequential
            ``Linear`` layers with activations between, see ``mlp_xp.convert.from_torch``; it is not changed.
        classes : array-like of shape (n_classes,), default=None
            The classes of a classifier, sorted; None for 0, 1, 2, ...

        Returns
        -------
        estimator : object
            A fitted estimator, which computes with PyTorch where the model is.
        """
        params, options = convert.from_torch(sequential)
        widths = tuple(int(W.shape[-1]) for W in params[:-2:2])
        estimator = cast(Any, cls)(hidden_layer_sizes=widths, activation=options["activation"])
        ends = options["criterion"]
        if not is_classifier(estimator):
            if classes is not None or ends != "squared_error":
                raise ValueError(f"a regressor has numbers for outputs and no classes, got {ends}, classes={classes}")
            _adopt(estimator, params, "identity")
            return cast(Self, estimator)
        known = _known(int(params[-1].shape[-1]), ends, classes)
        _adopt(estimator, params, "softmax" if known.criterion == "softmax_cross_entropy" else "logistic")
        place = placement_of(params[0])
        estimator._know(known._replace(classes=targets.placed(known.classes, place.xp, place.device)))
        return cast(Self, estimator)

    def to_torch(self) -> Any:
        """Make a ``torch.nn.Sequential`` whose outputs are the probabilities or the numbers that are predicted.

        Returns
        -------
        model : torch.nn.Sequential
            The model, with a ``Softmax`` or a ``Sigmoid`` at its end for a classifier; of two classes the output is the
            probability of the second.
        """
        check_is_fitted(self)
        mine = cast(Any, self)
        return convert.to_torch(*_network(mine, "PyTorch"), activation=mine.activation, criterion=_criterion(mine))


def _network(estimator: Any, library: str) -> Params:
    """The parameters of a fitted estimator, for numbers as they are. Raise where a target has several outputs."""
    if criterion_named(estimator._criterion()).outputs_per_target > 1:
        raise ValueError(f"a model of {library} has one output for each target, got loss={estimator._learned_by[0]!r}")
    params: Params = estimator._params()
    return estimator.scaling_.folded(params) if estimator.scaling_ else params


def _criterion(estimator: Any) -> Any:
    """The criterion whose outputs the other library shall give; one quantile is the logit, as a mean is."""
    learned = estimator._criterion()
    return "squared_error" if criterion_named(learned).levels else learned


def _adopt(estimator: Any, params: Params, outputs: str) -> None:
    """Let an estimator be fitted, with these parameters and nothing that a solver remembers."""
    estimator._learned(params)
    estimator.n_features_in_, estimator.n_outputs_ = int(params[0].shape[0]), int(params[-1].shape[0])
    estimator.n_layers_, estimator.out_activation_ = len(params) // 2 + 1, outputs
    estimator.n_iter_, estimator.t_ = 0, 0
    estimator._history, estimator._state, estimator._state_of = (), None, estimator.solver


def _known(d_out: int, ends: Any, classes: Any) -> targets.Known:
    """What a Sequential of so many outputs tells apart."""
    if ends == "softmax_cross_entropy" and d_out == 1:
        raise ValueError("a classifier needs at least two outputs before a Softmax, got 1")
    several = ends == "sigmoid_cross_entropy" and d_out > 1
    kind = "multilabel-indicator" if several else "binary" if d_out == 1 else "multiclass"
    names = np.arange(max(d_out, 2))
    if classes is not None:
        given = np.asarray(host(classes))
        if given.shape != names.shape or not np.array_equal(np.unique(given), given):
            raise ValueError(f"classes must be {len(names)} names in sorted order, got {given.tolist()}")
        names = given
    return targets.Known(kind, names)
