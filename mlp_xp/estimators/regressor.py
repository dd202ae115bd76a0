"""``MLPRegressor``: scikit-learn's, on any array."""

import math
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from mlp_xp._lib.namespace import Placement, namespace, to_host
from mlp_xp._lib.typing import Array, Params
from mlp_xp.estimators.base import BaseMLP, Call, Encoded, solver_is_stochastic
from mlp_xp.estimators.data import check_kinds, host
from mlp_xp.estimators.scaling import Scaling
from mlp_xp.metrics import r2
from mlp_xp.mlp import forward
from mlp_xp.parameters import RegressorParameters
from mlp_xp.train import Dataset
from mlp_xp.train.dataset import all_finite


class MLPRegressor(RegressorParameters, BaseMLP, RegressorMixin, BaseEstimator):
    """A multilayer perceptron that learns numbers, by the squared error or the Poisson deviance, on any array.

    It takes what ``sklearn.neural_network.MLPRegressor`` takes, by the same names, with the same meaning and default;
    one ``random_state`` gives the same network to rounding. ``y`` is (n_samples,) or (n_samples, n_outputs).

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    coefs_ : list of arrays
        The weight matrix of each layer, (d_in, d_out), in the library of X.
    intercepts_ : list of arrays
        The bias of each layer, (d_out,).
    loss_ : float
        The mean training loss of the last epoch, with its penalty; the mean over several outputs.
    best_loss_ : float or None
        The lowest training loss; None with ``early_stopping``.
    loss_curve_ : list of float
        The training loss of each epoch; not with solver lbfgs.
    validation_losses_ : list of float
        The loss on the validation rows after each epoch, without penalty; empty where there are no such rows.
    validation_scores_ : list of float or None
        The score on the validation rows after each epoch; None without ``early_stopping``.
    best_validation_score_ : float or None
        The highest of these scores; None without ``early_stopping``.
    scaling_ : Scaling or None
        Means and deviations, with ``standardise``.
    gradient_report_ : GradcheckReport
        The report of the gradient check; only with ``check_gradients``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : array of shape (n_features_in_,)
        Names of the features; only where X had names that are all strings.
    n_iter_ : int
        Number of epochs, or of iterations of lbfgs.
    n_layers_ : int
        Number of layers, input and output counted.
    n_outputs_ : int
        Number of outputs.
    out_activation_ : str
        Name of the output function, "identity" or "exp" (Poisson).
    t_ : int
        Number of rows seen.

    Examples
    --------
    >>> import numpy as np
    >>> from mlp_xp.estimators import MLPRegressor
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=(32,), activation="tanh", solver="lbfgs", random_state=0)
    >>> round(model.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2), 2)
    1.0
    """

    @available_if(solver_is_stochastic)
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from ``X`` and ``y`` for one epoch more.

        Parameters
        ----------
        X : array of any library, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets.
        sample_weight : array-like of shape (n_samples,), default=None
            The weight of each sample; None weighs all alike.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, None, Call(incremental=True))

    def predict(self, X: Any) -> Any:
        """Predict the targets.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs, of the library of ``fit``.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_outputs)
            The predictions, in the library of X; differentiable in a tensor of PyTorch that has ``requires_grad``.
        """
        return self._decoded(self._outputs(X, "predict"))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R^2 of the predictions.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The true targets.
        sample_weight : array-like of shape (n_samples,), default=None
            The weight of each sample.

        Returns
        -------
        score : float
            ``sklearn.metrics.r2_score``.
        """
        check_is_fitted(self)
        check_kinds(y=y, sample_weight=sample_weight)
        return float(r2_score(host(y), to_host(self.predict(X)), sample_weight=host(sample_weight)))

    def _encode(self, y: Any, place: Placement, anew: bool, held_out: bool = False) -> Encoded:
        if self.loss == "poisson" and np.min(y) < 0:
            raise ValueError(f"loss='poisson' needs targets y >= 0, got {np.min(y)}")
        targets = y.reshape(len(y), -1).astype(np.float64)
        if not anew and hasattr(self, "coefs_") and targets.shape[1] != self.n_outputs_:
            expected = f"{self.n_outputs_} numbers for each sample, as the y that was learned from"
            raise ValueError(f"y must have {expected}, got {targets.shape[1]}")
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        return Encoded(targets, targets.shape[1])

    def _scales_y(self) -> bool:
        return self.loss != "poisson" and self.criterion is None

    def _decoded(self, targets: Array) -> Any:
        return self._in_units(targets, self.scaling_)

    def _in_units(self, outputs: Array, scaling: Scaling | None) -> Array:
        """Outputs of the network in the units and the shape of y."""
        values = scaling.outputs(outputs) if scaling else outputs
        return values[:, 0] if self.n_outputs_ == 1 else values

    def _exported(self, X: Array, params: Params, scaling: Scaling | None) -> dict[str, Array]:
        outputs, _ = forward(X, *params, activation=self.activation, criterion=self._criterion())
        return {"output": self._in_units(outputs, scaling)}

    def _score_of(self, held_out: Dataset, outputs: Array) -> float:
        if outputs.shape[0] < 2:  # R^2 compares with the mean of the targets
            return math.nan
        xp = namespace(outputs)
        score = float(r2(xp, held_out.y, outputs, held_out.weight))
        return score if all_finite(xp, outputs) else math.nan
