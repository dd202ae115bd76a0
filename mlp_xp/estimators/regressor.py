"""``MLPRegressor``: scikit-learn's, on any array."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, column_or_1d

from mlp_xp._lib.namespace import to_host
from mlp_xp._lib.typing import Array, Params
from mlp_xp.estimators.base import BaseMLP, Problem, solver_is_stochastic, with_callbacks
from mlp_xp.estimators.data import Place, check_X_y, host
from mlp_xp.metrics import r2
from mlp_xp.mlp import forward
from mlp_xp.train import rows_of


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multilayer perceptron that learns numbers, by the squared error or the Poisson deviance.

    Everything that ``sklearn.neural_network.MLPRegressor`` takes has its name, meaning and default; these are new:

    Args:
        activation: any of ``mlp_xp.ops.ACTIVATIONS``, a differentiable op, or a list of one per hidden layer.
        solver: "adamw" and "rmsprop" as well.
        learning_rate: "cosine" as well, over all of ``max_iter``; or a schedule of ``mlp_xp.schedules``.
        dropout: the share of hidden units dropped in each step.
        weight_decay: of "adamw".
        warmup_steps: in which the learning rate rises from 0.
        clip_norm: gradients are scaled down to this norm.
        criterion: an op of your own, ``criterion(logits, targets, weights) -> (loss, pullback)``, in place of ``loss``.
        scoring: a scorer or its name, for the validation set in place of R^2.
        check_gradients: whether the gradients of this network are checked on some of the data before training;
            ``gradient_report_`` is what came out.
        progress: whether a progress bar is shown.
        compile: what makes a training step faster, such as ``jax.jit`` or ``torch.compile``; called once a fit. A saved
            model does not have it.

    Besides scikit-learn's attributes there are ``validation_losses_`` and ``gradient_report_``.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        weight_decay: float = 0.01,
        warmup_steps: int = 0,
        clip_norm: float | None = None,
        criterion: Any = None,
        scoring: Any = None,
        check_gradients: bool = False,
        progress: bool = False,
        compile: Any = None,  # noqa: A002
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.clip_norm = clip_norm
        self.criterion = criterion
        self.scoring = scoring
        self.check_gradients = check_gradients
        self.progress = progress
        self.compile = compile

    @available_if(solver_is_stochastic)
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go once over ``X`` (n_samples, n_features) and ``y``."""
        return self._fit(X, y, sample_weight, None, incremental=True)

    def predict(self, X: Any) -> Any:
        """``(n_samples,)``, or ``(n_samples, n_outputs)`` for several targets, in the library of X."""
        outputs = self._forward(X, "predict")
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R^2 of the predictions of X."""
        check_is_fitted(self)
        return float(r2_score(host(y), to_host(self.predict(X)), sample_weight=host(sample_weight)))

    def _check_X_y(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        X, y = check_X_y(self, X, y, reset, numeric=True)
        if y.dtype.kind not in "biuf":
            raise ValueError(f"y must hold numbers, got dtype {y.dtype}")
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        if self.loss == "poisson" and np.min(y) < 0:
            raise ValueError(f"loss='poisson' needs targets y >= 0, got {np.min(y)}")
        return X, y

    def _encode(self, y: Any, first: bool, incremental: bool, held: bool = False) -> tuple[Any, Any, int]:
        targets = y.reshape(len(y), -1).astype(np.float64)
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        return targets, None, targets.shape[1]

    def _criterion(self) -> str:
        return self.loss

    def _decoded(self, targets: Array) -> Any:
        return targets[:, 0] if targets.shape[1] == 1 else targets

    def _score_of(self, held: Problem, params: Params, place: Place) -> float:
        X = rows_of(place.xp, held.X, params[0], slice(None))
        outputs, _ = forward(X, *params, activation=self._activations(), criterion=self._criterion())
        score = float(r2(place.xp, held.y, outputs, held.weight))
        return score if bool(place.xp.all(place.xp.isfinite(outputs))) else math.nan

    def _summed_outputs(self) -> int:
        return self.n_outputs_ if self.loss == "squared_error" and self.criterion is None else 1
