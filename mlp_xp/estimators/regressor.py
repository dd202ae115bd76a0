"""``MLPRegressor``: scikit-learn's, on any array."""

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from mlp_xp._lib.arguments import check_callables, check_flag, described
from mlp_xp._lib.namespace import Placement, namespace, to_host
from mlp_xp._lib.typing import Array, Op, Params
from mlp_xp.criterion import Criterion, criterion_named
from mlp_xp.estimators.base import BaseMLP, Call, Encoded, solver_is_stochastic
from mlp_xp.estimators.data import check_kinds, host
from mlp_xp.estimators.predictions import Prediction, deviation, prediction_from, quantiles_of
from mlp_xp.estimators.scaling import Scaling
from mlp_xp.losses import check_levels, huber, quantile
from mlp_xp.metrics import r2
from mlp_xp.mlp import forward
from mlp_xp.parameters import RegressorParameters
from mlp_xp.ranks import ALONE, Ranks, check_ranks
from mlp_xp.train.dataset import all_finite

_WITH_PARAMETERS: dict[str, Callable[..., Op]] = {"huber": huber, "quantile": quantile}


class MLPRegressor(RegressorParameters, BaseMLP, RegressorMixin, BaseEstimator):
    """A multilayer perceptron that learns numbers, their quantiles or their distribution, on any array.

    It takes what ``sklearn.neural_network.MLPRegressor`` takes, by the same names, with the same meaning and default;
    one ``random_state`` gives the same network to rounding. ``y`` is (n_samples,) or (n_samples, n_targets).

    ``loss='quantile'`` learns a quantile, or several at once; ``predict`` returns the one nearest to the median.
    ``loss='gaussian'`` learns a mean and a standard deviation for each sample.

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
        The mean training loss of the last epoch, with its penalty. Of several targets and quantiles it is the mean;
        for Poisson the sum, as in scikit-learn.
    best_loss_ : float or None
        The lowest training loss; None with ``early_stopping``.
    loss_curve_ : list of float
        The training loss of each epoch; not with solver lbfgs.
    validation_losses_ : list of float
        The loss on the validation rows after each epoch, without penalty; empty where there are no such rows.
    validation_scores_ : list of float or None
        The score on the validation rows after each epoch, with scoring loss minus the loss; None without
        ``early_stopping``.
    best_validation_score_ : float or None
        The highest of these scores; None without ``early_stopping``.
    folds_ : array of shape (n_samples,)
        Which network holds out a row, -1 for a row that weighs nothing; only with ``folds``.
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
        Number of outputs of the network: one for each target, two with loss gaussian, one for each level with loss
        quantile.
    out_activation_ : str
        Name of the function that makes predictions of outputs, "identity" or "exp" (Poisson).
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, ranks: Ranks | None = None) -> Self:
        """Learn from ``X`` and ``y`` for one epoch more.

        Parameters
        ----------
        X : array of any library, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            The targets.
        sample_weight : array-like of shape (n_samples,), default=None
            The weight of each sample; None weighs all alike.
        ranks : mlp_xp.ranks.Ranks, default=None
            As in ``fit``.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, None, Call(incremental=True, ranks=check_ranks(ranks)))

    @with_callbacks
    def fit_batches(
        self, batches: Any, *, eval_set: Any = None, callbacks: Any = (), checkpoint: Any = None,
        resume: bool = False, ranks: Ranks | None = None,
    ) -> Self:  # fmt: skip
        """Learn from rows that come in batches, as ``fit`` does from all rows at once.

        Parameters
        ----------
        batches : iterable of pairs (X, y), or of triples (X, y, sample_weight)
            Such as a list or a ``torch.utils.data.DataLoader``: each epoch goes through all batches in their order, and
            each is one step. What X, y and sample_weight may be, see ``fit``; the first batch decides features, library
            and dtype. ``batch_size``, ``shuffle`` and ``validation_fraction`` are not used. A generator, which is used
            up after one pass, is refused where more are needed.
        eval_set : tuple (X, y), or a list of one, default=None
            Rows on which each epoch is judged; ``early_stopping`` needs them.
        callbacks : iterable of callables, default=()
            As in ``fit``.
        checkpoint : str or Path, default=None
            As in ``fit``; the file does not know the batches.
        resume : bool, default=False
            As in ``fit``; it is for you to give the same batches.
        ranks : mlp_xp.ranks.Ranks, default=None
            The processes that learn one network together, each from batches of its own: a step takes the next batch of
            every rank. One whose batches end before those of others joins in with no rows until all have ended.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        call = Call(check_callables("callbacks", callbacks), checkpoint, check_flag("resume", resume))
        call = call._replace(batched=True, ranks=check_ranks(ranks))
        return self._fit(batches, None, None, eval_set, call)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the targets.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs, of the library of ``fit``.
        return_std : bool, default=False
            Whether the standard deviation of each prediction is returned too: the one that was learned with loss
            gaussian, and for an ensemble the spread of its networks with it.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_targets)
            The predictions, in the library of X; differentiable in a tensor of PyTorch that has ``requires_grad``.
        std : array of the shape of y
            The standard deviations; only with ``return_std``.
        """
        return_std = check_flag("return_std", return_std)
        made = self._predicted(X, "predict")
        value = self._shaped(made.value)
        return (value, self._shaped(deviation(made, self._record_of_loss()))) if return_std else value

    def predict_quantiles(self, X: Any, quantiles: Any = None) -> Any:
        """Predict quantiles of the targets.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs, of the library of ``fit``.
        quantiles : float or array-like of shape (n_quantiles,), default=None
            Their levels, in ascending order. With loss quantile those that were learned, or some of them; None is all.
            With loss gaussian any; None is 0.05, 0.5 and 0.95. An ensemble's are the means of its networks', with
            loss gaussian those of the normal distribution that has its mean and standard deviation.

        Returns
        -------
        quantiles : array of shape (n_samples, n_quantiles) or (n_samples, n_targets, n_quantiles)
            The quantiles of each sample in ascending order, in the library of X. Where quantiles that were learned
            cross, they are sorted, which brings them nearer to the true ones on the average.
        """
        levels = None if quantiles is None else check_levels(_listed(quantiles))
        made = self._predicted(X, "predict_quantiles")
        return self._shaped(quantiles_of(made, self._record_of_loss(), levels))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R^2 of the predictions.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
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

    def _encode(
        self, y: Any, place: Placement, anew: bool, held_out: bool = False, whole: bool = True, ranks: Ranks = ALONE
    ) -> Encoded:
        if self.loss == "poisson" and np.min(y) < 0:
            raise ValueError(f"loss='poisson' needs targets y >= 0, got {np.min(y)}")
        targets = y.reshape(len(y), -1).astype(np.float64)
        known = not anew and hasattr(self, "coefs_")
        before = self._share() if known else 0
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        self._learned_by = self._chosen_loss()
        share = self._share()
        if known and share != before:
            takes = f"loss={self.loss!r} takes {share} outputs for each target"
            raise ValueError(f"{takes}, and the network was fitted with {before}; fit a new one")
        if known and targets.shape[1] * share != self.n_outputs_:
            expected = f"{self.n_outputs_ // share} numbers for each sample, as the y that was learned from"
            raise ValueError(f"y must have {expected}, got {targets.shape[1]}")
        return Encoded(targets, targets.shape[1] * share)

    def _chosen_loss(self) -> list[Any]:
        """The loss and its parameters, as a file keeps them."""
        levels = check_levels(_listed(self.quantile))
        if not levels:
            raise ValueError("quantile must be at least one level, got none")
        own = {"huber": (self._number("delta"),), "quantile": levels}.get(self.loss, ())
        share = max(2 if self.loss == "gaussian" else 1, len(own))
        if self.criterion is not None and (share > 1 or criterion_named(self.criterion).outputs_per_target > 1):
            expected = "criterion must take one output for each target, with a loss that does"
            raise ValueError(f"{expected}, got {described(self.criterion)} with loss={self.loss!r}")
        return [self.loss, *own]

    def _criterion(self) -> str | Op:
        return _loss_of(*getattr(self, "_learned_by", None) or [super()._criterion()])  # older files have none

    def _planned_criterion(self, targets: int) -> Criterion:
        return criterion_named(_loss_of(*self._chosen_loss()))

    def _record_of_loss(self) -> Criterion:
        return criterion_named(self._criterion())

    def _share(self) -> int:
        """How many outputs the network has for each target."""
        return self._record_of_loss().outputs_per_target

    def _summed_outputs(self) -> int:
        return super()._summed_outputs() // (2 if self._record_of_loss().scale else 1)

    def _predicted(self, X: Any, method: str) -> Prediction:
        """All that the network says of the rows of X."""
        return prediction_from(self._logits(X, method), self._record_of_loss(), self.n_outputs_, self.scaling_)

    def _scales_y(self) -> bool:
        return self.loss != "poisson" and self.criterion is None

    def _decoded(self, targets: Array) -> Any:
        return self._shaped(self.scaling_.outputs(targets) if self.scaling_ else targets)

    def _shaped(self, values: Array) -> Array:
        """Without the axis of the targets, (n, targets, ...), where there is one target."""
        return values[:, 0, ...] if self.n_outputs_ == self._share() else values

    def _exported(self, X: Array, params: Params, scaling: Scaling | None) -> dict[str, Array]:
        criterion = self._record_of_loss()
        _, cache = forward(X, *params, activation=self.activation, criterion=self._criterion())
        made = prediction_from(cache.logits, criterion, self.n_outputs_, scaling)
        said = {"output": made.value, "std": made.std, "quantiles": made.quantiles}
        return {name: self._shaped(array) for name, array in said.items() if array is not None}

    def _score_of(self, y: Array, weight: Array | None, outputs: Array, ranks: Ranks) -> float:
        if outputs.shape[0] < 2 and ranks.size == 1:  # R^2 compares with the mean of the targets
            return math.nan
        xp = namespace(outputs)
        score = float(r2(xp, y, outputs, weight, ranks))
        return score if all_finite(xp, outputs) else math.nan


def _loss_of(name: str, *parameters: float) -> str | Op:
    """The criterion of what ``_chosen_loss`` returned."""
    return _WITH_PARAMETERS[name](*parameters) if parameters else name


def _listed(levels: Any) -> list[Any]:
    """One level, or several, as a list."""
    return list(levels) if isinstance(levels, list | tuple) or np.ndim(levels) else [levels]
