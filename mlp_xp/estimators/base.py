"""The base of both estimators: ``fit`` and ``partial_fit``, from the data to the learned network.

The data's way through ``fit``: checked (``data``) -> targets and weights encoded (``classifier``, ``regressor``) and
put where X is -> validation rows held out -> ``train.run``, or ``lbfgs`` -> attributes. Draws come from
``random_state`` in scikit-learn's order, so that one seed gives the network that scikit-learn would have trained.

Before: ``network`` and ``curves``. Next: ``classifier`` and ``regressor``.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self, cast

import numpy as np  # on the host: random numbers, and data that NumPy holds
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, shuffle

from mlp_xp import checkpoint, optim, schedules
from mlp_xp._lib.arguments import check_device
from mlp_xp._lib.namespace import Placement
from mlp_xp._lib.typing import Array, Params
from mlp_xp.estimators import files, lbfgs
from mlp_xp.estimators.curves import Curves
from mlp_xp.estimators.data import check_weight, place_of, rows
from mlp_xp.estimators.reporting import reporting
from mlp_xp.mistakes import check_gradients
from mlp_xp.train import Dataset, Diverged, Epoch, Interrupted, Settings, is_sparse, rows_of, run
from mlp_xp.train.dataset import all_finite

_CHECKED_ROWS = 16  # on which the gradients are checked before training


class Watchers(NamedTuple):
    """Callbacks and checkpoint options of ``fit``."""

    callbacks: tuple[Callable[[Epoch], object], ...] = ()
    checkpoint: Any = None
    resume: bool = False


class Encoded(NamedTuple):
    """Targets on the host.

    targets: as the criterion takes them.
    outputs: how many outputs the network has for them.
    strata: the classes by which a validation set is stratified; None where it is not.
    weight: (n,) from ``class_weight``, or None.
    """

    targets: Any
    outputs: int
    strata: Any = None
    weight: Any = None


class BaseMLP(CallbackSupportMixin, Curves):
    """The base of both estimators; not to be used by itself."""

    @with_callbacks
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None, callbacks: Any = (),
        checkpoint: Any = None, resume: bool = False,
    ) -> Self:  # fmt: skip
        """Learn from ``X`` and ``y``.

        Parameters
        ----------
        X : array of any library, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs. The network is computed where they are.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets.
        sample_weight : array-like of shape (n_samples,), default=None
            The weight of each sample; None weighs all alike.
        eval_set : tuple (X, y), default=None
            Rows on which each epoch is judged, in place of a share of the training rows.
        callbacks : iterable of callables, default=()
            Each is called with a ``mlp_xp.train.Epoch`` after every epoch; True from one of them ends training.
        checkpoint : str or Path, default=None
            File that holds the state of training, written anew after every epoch.
        resume : bool, default=False
            Continue from that file; the result is that of a fit that never stopped.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, eval_set, Watchers(tuple(callbacks), checkpoint, resume))

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, eval_set: Any, watchers: Watchers, incremental: bool = False
    ) -> Self:
        """``fit``; or ``partial_fit``, which is one epoch more, where ``incremental``."""
        self._validate_params()
        self._check_options(eval_set, watchers, incremental)
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._check_X_y(X, y, reset=first)
        weight = check_weight(sample_weight, X.shape[0])
        random, place = check_random_state(self.random_state), place_of(X)
        encoded = self._encode(y, place, anew=first and not incremental)
        if first:
            self._initialize(place, X.shape[1], encoded.outputs, random)
        else:
            self._check_continues(X)
        data, strata = _placed(X, encoded, weight, place)
        held_out = None
        if eval_set is not None:
            held_out = self._eval_data(eval_set, place)
        elif self.early_stopping and self.solver != "lbfgs":
            data, held_out = self._split(data, strata, place, random)
        if self.check_gradients:
            self._check_gradients(data, place)
        if self.solver == "lbfgs":
            with reporting(self, data.X, data.y, epochs=0):
                lbfgs.learn(self, data, place, watchers.callbacks)
        else:
            if first or self._lacks_curves():
                self._begin_curves()
            self._learn_by_epochs(data, held_out, random, watchers, incremental)
        if not all_finite(place.xp, *self._params()):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to "
                "be preprocessed."
            )
        return self

    def _check_options(self, eval_set: Any, watchers: Watchers, incremental: bool) -> None:
        """Raise for options that exclude each other."""
        if watchers.checkpoint is not None and (self.solver == "lbfgs" or self.warm_start):
            raise ValueError("checkpoint needs a stochastic solver and warm_start=False")
        if watchers.resume and watchers.checkpoint is None:
            raise ValueError("resume needs a checkpoint to go on from")
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if eval_set is not None and self.solver == "lbfgs":
            raise ValueError("eval_set needs a stochastic solver: lbfgs has no epochs after which it is judged")
        if eval_set is not None and not (isinstance(eval_set, tuple | list) and len(eval_set) == 2):
            raise ValueError(f"eval_set must be (X, y), got {type(eval_set).__name__}")

    # --- validation rows, and the check of gradients -------------------------------------------------------------

    def _split(self, data: Dataset, strata: Any, place: Placement, random: Any) -> tuple[Dataset, Dataset]:
        """The data without a share of the rows, and that share: the rows that scikit-learn would take."""
        parts = train_test_split(
            np.arange(data.X.shape[0]), random_state=random, test_size=self.validation_fraction, stratify=strata
        )
        if len(parts[1]) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        kept, held_out = ([None if each is None else rows(each, part, place) for each in data] for part in parts)
        return Dataset._make(kept), Dataset._make(held_out)

    def _eval_data(self, eval_set: Any, place: Placement) -> Dataset:
        """The rows that the caller holds out, checked, and in the dtype of X."""
        X, y = self._check_X_y(eval_set[0], eval_set[1], reset=False)
        if place_of(X).xp is not place.xp:
            raise ValueError(f"eval_set must hold arrays of the library of X, got {type(X).__name__}")
        check_device("X of eval_set", X, self.coefs_[0])
        X = X.astype(place.dtype) if is_sparse(X) else place.xp.astype(X, place.dtype)
        return Dataset(X, place.put(self._encode(y, place, anew=False, held_out=True).targets))

    def _validation_score(self, held_out: Dataset, params: Params) -> float:
        """The score of these parameters on the validation rows."""
        if self.scoring is None:
            return self._score_of(held_out, params)
        self._learned(params)
        scorer = get_scorer(self.scoring) if isinstance(self.scoring, str) else self.scoring
        return float(scorer(self, held_out.X, self._decoded(held_out.y)))

    def _check_gradients(self, data: Dataset, place: Placement) -> None:
        """Check the gradients on a few rows, and raise where they are wrong."""
        few = slice(0, _CHECKED_ROWS)
        options: Any = self._options(None if data.weight is None else data.weight[few])
        if self.dropout:
            options["seed"] = 0
        X, y = (rows_of(place.xp, array, self.coefs_[0], few) for array in (data.X, data.y))
        self.gradient_report_ = check_gradients(X, y, *self._params(), **options)
        if self.gradient_report_.verdict == "fail":
            raise ValueError(f"the gradients of this network are wrong, nothing was trained\n{self.gradient_report_}")

    # --- learning by epochs --------------------------------------------------------------------------------------

    def _learn_by_epochs(
        self, data: Dataset, held_out: Dataset | None, random: Any, watchers: Watchers, incremental: bool
    ) -> None:
        """Run epochs until training has converged, a callback stops it, or all are made."""
        start: Params | Epoch = self._params()
        if incremental and self._state is not None and self._state_of == self.solver:
            start = Epoch(self._history, self._params(), self._params(), self._state)
        else:
            self._history = ()
        done, self.n_iter_ = len(self._history), 0
        settings = self._settings(data, held_out, random, done + 1 if incremental else self.max_iter)
        settings = settings._replace(callbacks=watchers.callbacks)
        if watchers.checkpoint is not None:
            start, settings = self._with_checkpoint(start, settings, data, held_out, watchers)
        try:
            # a loss that is not finite is one sentence of the loop's
            with (
                np.errstate(over="ignore", invalid="ignore"),
                reporting(self, data.X, data.y, settings.epochs - done) as report,
            ):
                for epoch in run(data, held_out, start, settings):
                    self._record(epoch, data.X.shape[0])
                    finished = self._finished()
                    if report(epoch, finished) or finished:
                        break
                    if not incremental and self.n_iter_ == self.max_iter:
                        warnings.warn(
                            f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                            "hasn't converged yet.",
                            ConvergenceWarning,
                            stacklevel=2,
                        )
        except Diverged as error:
            self._diverged(error)
        except KeyboardInterrupt as error:
            if isinstance(error, Interrupted):
                self._learned(error.params)
            warnings.warn("Training interrupted by user.", stacklevel=2)
        if self.early_stopping:
            self._learned(self._best)

    def _diverged(self, error: Diverged) -> None:
        """Raise; or, where early stopping has a best epoch, end there as scikit-learn does: its scores go on as NaN."""
        self._learned(error.params)
        if not self.early_stopping or self.best_validation_score_ == -math.inf:
            raise ValueError(f"Solver produced non-finite parameter weights: {error}") from None
        self.loss_ = math.nan
        for curve in (self.loss_curve_, self.validation_losses_, cast(list[float], self.validation_scores_)):
            curve.append(math.nan)
        warnings.warn(f"Training stopped: {error}", ConvergenceWarning, stacklevel=2)

    def _settings(self, data: Dataset, held_out: Dataset | None, random: Any, epochs: int) -> Settings:
        """The settings of the loop, from the parameters of the estimator."""
        n, orders = data.X.shape[0], _orders(data.X.shape[0], random)
        batch_size = min(200, n) if self.batch_size == "auto" else self.batch_size
        if batch_size > n:
            clipped = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            warnings.warn(clipped, stacklevel=2)
        return Settings(
            epochs, self._optimizer(), self._rate(), min(batch_size, n), self.shuffle,
            seed=int(random.randint(2**31 - 1)) if self.dropout else 0,
            score=None if held_out is None else lambda params: self._validation_score(held_out, params),
            alpha=float(self.alpha), clip_norm=self.clip_norm, compile=self.compile,
            order=(lambda number: next(orders)) if self.shuffle else None, options=self._options(),
        )  # fmt: skip

    def _optimizer(self) -> optim.Optimizer:
        if self.solver == "sgd":
            make = optim.nesterov if self.nesterovs_momentum else optim.momentum
            return make(float(self.momentum), lr_in_velocity=True)
        if self.solver == "rmsprop":
            return optim.rmsprop(epsilon=float(self.epsilon))
        constants = float(self.beta_1), float(self.beta_2), float(self.epsilon)
        if self.solver == "adamw":
            return optim.adamw(*constants, weight_decay=float(self.weight_decay))
        return optim.adam(*constants, epsilon_before_correction=True)

    def _rate(self) -> float | schedules.Schedule:
        """The learning rate of the run: a number, or a function of how far training has come."""
        lr, chosen = float(self.learning_rate_init), self.learning_rate
        if callable(chosen):
            schedule: schedules.Schedule = chosen
        elif chosen == "cosine":
            schedule = schedules.cosine(lr)
        elif self.solver == "sgd" and chosen == "invscaling":
            schedule = schedules.inverse_scaling(lr, float(self.power_t))
        elif self._adapts():
            schedule = schedules.adaptive(lr, cast(int, self.n_iter_no_change), float(self.tol))
        elif not self.warmup_steps:
            return lr
        else:
            schedule = schedules.constant(lr)
        if self.warmup_steps:
            schedule = schedules.warm_up(schedule, int(self.warmup_steps))
        # scikit-learn counts the rows over all fits, and the first epoch of an optimizer takes the initial rate
        return lambda progress: schedule(
            progress._replace(rows=self.t_ if progress.rows else 0, losses=self._watched())
        )

    def _with_checkpoint(
        self, start: Params | Epoch, settings: Settings, data: Dataset, held_out: Dataset | None, watchers: Watchers
    ) -> tuple[Params | Epoch, Settings]:
        """Start and settings of a run that writes its state to a file; with ``resume`` the start is read from there."""
        path, n, params = watchers.checkpoint, data.X.shape[0], self._params()
        left_out = {"check_gradients", "progress", "verbose", "compile"}  # they do not change the result
        if not (callable(self.learning_rate) or self.learning_rate == "cosine"):
            left_out.add("max_iter")  # the result depends on it only through the rate
        chosen = {name: value for name, value in self.get_params(deep=False).items() if name not in left_out}
        arrays = [array for array in (*data, *(held_out or ())[:2]) if array is not None]
        config = {
            "estimator": type(self).__name__,
            "settings": {name: files.plain(name, value) for name, value in chosen.items()},
            "data": checkpoint.fingerprint(*arrays),
            "dropout_seed": settings.seed,
        }
        settings = settings._replace(callbacks=(checkpoint.saver(path, config), *settings.callbacks))
        if not watchers.resume:
            return start, settings
        kept = checkpoint.load(path, params, config)
        for number in range(1, len(kept.history) + 1):  # as if the epochs had been made here
            self._record(kept._replace(history=kept.history[:number], params=kept.best), n)
            if settings.order is not None:
                settings.order(number)
        self._learned(kept.params)
        return kept, settings._replace(epochs=len(kept.history)) if self._finished() else settings

    # --- what each estimator has of its own ----------------------------------------------------------------------

    @abstractmethod
    def _check_X_y(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """X where it is and y on the host, checked."""

    @abstractmethod
    def _encode(self, y: Any, place: Placement, anew: bool, held_out: bool = False) -> Encoded:
        """Targets for the criterion.

        Args:
            y: on the host.
            place: where X is.
            anew: whether what is known of the targets, such as their classes, is forgotten.
            held_out: whether these rows are not learned from.
        """

    @abstractmethod
    def _decoded(self, targets: Array) -> Any:
        """Encoded targets as ``y`` had them."""

    @abstractmethod
    def _score_of(self, held_out: Dataset, params: Params) -> float:
        """The score on validation rows, computed where they are."""


def _placed(X: Any, encoded: Encoded, weight: Any, place: Placement) -> tuple[Dataset, Any]:
    """The data where X is, without the rows that weigh nothing; and the strata of these rows."""
    targets, strata = encoded.targets, encoded.strata
    if encoded.weight is not None:
        weight = encoded.weight if weight is None else weight * encoded.weight
    if weight is not None and not weight.all():
        kept = np.flatnonzero(weight)
        X, targets, weight = rows(X, kept, place), targets[kept], weight[kept]
        strata = None if strata is None else strata[kept]
    data = Dataset(X, place.put(targets), None if weight is None else place.put(weight))
    for name, array in (("y", data.y), ("sample_weight", data.weight)):  # a narrower dtype may overflow
        if array is not None and place.dtype != place.xp.float64 and not all_finite(place.xp, array):
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    return data, strata


def _orders(n: int, random: Any) -> Iterator[Any]:
    """The order of the rows in each epoch, as scikit-learn draws it."""
    order = np.arange(n)
    while True:
        order = shuffle(order, random_state=random)
        yield order


def solver_is_stochastic(estimator: Any) -> bool:
    """Whether there is a ``partial_fit``, which L-BFGS does not have."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True
