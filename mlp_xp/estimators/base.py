"""What both estimators share: parameters, ``fit`` and ``partial_fit``, the loop, what is learned.

The data's way through ``fit``: checked (``data``) -> targets and weights encoded (``classifier``, ``regressor``) and
put where X is -> initial values -> ``train`` or ``lbfgs`` -> attributes. Draws come from ``random_state`` in
scikit-learn's order, so that one seed gives the network that scikit-learn would have trained.
"""

from __future__ import annotations

import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self, cast

import numpy as np  # on the host: random numbers, and data that NumPy holds
from array_api_compat import to_device
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, shuffle
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from mlp_xp import checkpoint, optim, schedules
from mlp_xp._lib.typing import Array, Op, Params
from mlp_xp.estimators import files
from mlp_xp.estimators.data import Place, check_weight, check_X, in_chunks, is_device_array, place_of, rows
from mlp_xp.estimators.reporting import reporting
from mlp_xp.export import to_onnx
from mlp_xp.mistakes import check_gradients
from mlp_xp.mlp import TrainOptions, forward, loss_and_grads
from mlp_xp.parameters import Numbers, SharedParameters, entries_of
from mlp_xp.train import Diverged, Epoch, Interrupted, Record, is_sparse, train

try:  # scikit-learn 1.9 and newer
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback import with_callbacks as with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Older versions have no callbacks."""

    def with_callbacks(method: Any) -> Any:
        """The method itself."""
        return method


_STOCHASTIC = ("sgd", "adam", "adamw", "rmsprop")
_SMALLEST_RATE = 1e-6  # at which "adaptive" gives up, as in scikit-learn
_CHECKED_ROWS = 16  # on which the gradients are checked before training
_CHUNK = 2**22  # numbers of a sparse matrix that are dense at a time


class Problem(NamedTuple):
    """Data where X is, ready to be learned from.

    X: (n, d_in).
    y: targets as the criterion takes them.
    weight: (n,) or None.
    strata: on the host, by which a validation set is stratified; None where it is not.
    """

    X: Any
    y: Array
    weight: Array | None
    strata: Any


class Watchers(NamedTuple):
    """Who looks on while ``fit`` learns, see there."""

    callbacks: tuple[Callable[[Epoch], object], ...] = ()
    checkpoint: Any = None
    resume: bool = False


class BaseMLP(SharedParameters, CallbackSupportMixin, BaseEstimator, ABC):
    """The base of both; not to be used by itself."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_parameter_constraints" not in vars(cls):
            cls._parameter_constraints = {
                name: [_constraint(each) for each in entry.allowed] for name, entry in entries_of(cls).items()
            }

    # --- learning ------------------------------------------------------------------------------------------------

    @with_callbacks
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None, callbacks: Any = (),
        checkpoint: Any = None, resume: bool = False,
    ) -> Self:  # fmt: skip
        """Learn from ``X`` (n_samples, n_features) and ``y``.

        Args:
            X: an array of any library, a data frame, or a sparse matrix. Everything else follows it.
            y: the targets.
            sample_weight: (n_samples,).
            eval_set: ``(X, y)``, judged after every epoch in place of a share of the training data.
            callbacks: each is called with a ``mlp_xp.train.Epoch`` after every epoch; True from one makes it the last.
            checkpoint: a file that is to hold where training stands, written anew after every epoch.
            resume: whether to go on from that file: to what a fit that never stopped would have learned.
        """
        watchers = Watchers(tuple(callbacks), checkpoint, resume)
        return self._fit(X, y, sample_weight, eval_set, incremental=False, watchers=watchers)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, eval_set: Any, incremental: bool, watchers: Watchers | None = None
    ) -> Self:
        self._validate_params()
        watchers = watchers or Watchers()
        if watchers.checkpoint is not None and (self.solver == "lbfgs" or self.warm_start):
            raise ValueError("checkpoint needs a stochastic solver and warm_start=False")
        if watchers.resume and watchers.checkpoint is None:
            raise ValueError("resume needs a checkpoint to go on from")
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y = self._check_X_y(X, y, reset=first)
        place = place_of(X)
        weight = check_weight(sample_weight, X.shape[0])
        random = check_random_state(self.random_state)
        targets, strata, outputs = self._encode(y, first, incremental)
        self._place_classes(place)
        weight = self._class_weights(y, weight)
        if weight is not None and not weight.all():  # a sample of no weight is none
            kept = np.flatnonzero(weight)
            X, targets, weight = rows(X, kept, place), targets[kept], weight[kept]
            strata = None if strata is None else strata[kept]
        if first:
            self._initialize(place, X.shape[1], outputs, random)
        data = Problem(X, place.put(targets), None if weight is None else place.put(weight), strata)
        held = None
        if eval_set is not None:
            if self.solver == "lbfgs":
                raise ValueError("eval_set needs a stochastic solver: lbfgs has no epochs after which it is judged")
            held = self._eval_problem(eval_set, place)
        elif self.early_stopping and self.solver != "lbfgs":
            data, held = self._split(data, place, random)
        if self.check_gradients:
            self._check_gradients(data, place)
        if self.solver == "lbfgs":
            with reporting(self, data.X, data.y, epochs=0):
                self._fit_lbfgs(data, place, watchers)
        else:
            self._fit_stochastic(data, held, place, random, incremental, watchers)
        for array in self._params():
            if not bool(place.xp.all(place.xp.isfinite(array))):
                raise ValueError(
                    "Solver produced non-finite parameter weights. The input data may contain large values and need to "
                    "be preprocessed."
                )
        return self

    def _initialize(self, place: Place, d_in: int, outputs: int, random: Any) -> None:
        """Glorot and Bengio's uniform initial values, of weights and biases, drawn as scikit-learn draws them."""
        sizes = (d_in, *self._hidden(), outputs)
        self.n_iter_, self.t_ = 0, 0
        self.n_layers_, self.n_outputs_ = len(sizes), outputs
        chosen = self._activations()
        after = [*chosen, None] if isinstance(chosen, list) else [chosen] * (len(sizes) - 1)
        self.coefs_, self.intercepts_ = [], []
        for (p, q), activation in zip(pairwise(sizes), after, strict=False):
            bound = math.sqrt((2.0 if activation in ("logistic", "sigmoid") else 6.0) / (p + q))
            self.coefs_.append(place.put(random.uniform(-bound, bound, (p, q))))
            self.intercepts_.append(place.put(random.uniform(-bound, bound, q)))
        self._history: tuple[Record, ...] = ()
        self._state: tuple[Array, ...] | None = None
        self._state_of: str = self.solver
        if self.solver != "lbfgs":
            self._begin_curves()

    def _begin_curves(self) -> None:
        self.loss_curve_: list[float] = []
        self.validation_losses_: list[float] = []
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_ = -math.inf if self.early_stopping else None
        self.best_loss_ = None if self.early_stopping else math.inf
        self._best = self._params()

    def _fit_stochastic(
        self, data: Problem, held: Problem | None, place: Place, random: Any, incremental: bool, watchers: Watchers
    ) -> None:
        n, start = data.X.shape[0], self._params()
        if not hasattr(self, "loss_curve_") or (self.early_stopping and self.validation_scores_ is None):
            self._begin_curves()  # what came before was lbfgs, or did not stop early
        if incremental and self._state is not None and self._state_of == self.solver:
            begin: Params | Epoch = Epoch(self._history, start, start, self._state)
        else:
            self._history, begin = (), start
        done, seen = len(self._history), self.t_
        batch_size = min(200, n) if self.batch_size == "auto" else self.batch_size
        if batch_size > n:
            clipped = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            warnings.warn(clipped, stacklevel=3)
            batch_size = n
        order, schedule = np.arange(n), self._schedule()

        def reordered(number: int) -> Any:
            nonlocal order
            order = shuffle(order, random_state=random)
            return order

        def rate(progress: schedules.Progress) -> float:
            # rows over all fits, as scikit-learn counts them; the first epoch of an optimizer takes the initial rate
            rows_seen = 0 if progress.rows == 0 and not done else seen + progress.rows - done * n
            return schedule(progress._replace(rows=rows_seen, losses=self._watched()))

        epochs = done + 1 if incremental else self.max_iter
        seed = int(random.randint(2**31 - 1)) if self.dropout else 0
        kept, callbacks = watchers.checkpoint, list(watchers.callbacks)
        if kept is not None:
            config = self._checkpoint_config(data, held, seed)
            callbacks.insert(0, checkpoint.saver(kept, config))
            if watchers.resume:
                begin = checkpoint.load(kept, start, config)
                for number in range(1, len(begin.history) + 1):  # as if they had been made here
                    self.n_iter_, self.t_ = number, self.t_ + n
                    self._record(begin._replace(history=begin.history[:number], params=begin.best))
                    if self.shuffle:
                        reordered(number)
                self._learned(begin.params)
                self._history, self._state = begin.history, begin.state
                if self._finished():
                    epochs = len(begin.history)
        run = train(
            data.X,
            data.y,
            begin,
            epochs=epochs,
            optimizer=self._optimizer(),
            lr=rate,
            batch_size=batch_size,
            shuffle=self.shuffle,
            seed=seed,
            validation=None if held is None else (held.X, held.y),
            score=None if held is None else lambda params: self._validation_score(held, params, place),
            alpha=float(self.alpha),
            clip_norm=self.clip_norm,
            order=reordered if self.shuffle else None,
            compile=self.compile,
            callbacks=callbacks,
            **self._options(data.weight),
        )
        self.n_iter_ = len(begin.history) - done if isinstance(begin, Epoch) else 0
        try:
            # a loss that is not finite is one sentence of the loop's
            with np.errstate(over="ignore", invalid="ignore"), reporting(self, data.X, data.y, epochs - done) as report:
                for epoch in run:
                    self._learned(epoch.params)
                    self._history, self._state, self._state_of = epoch.history, epoch.state, self.solver
                    self.n_iter_ += 1
                    self.t_ += n
                    self._record(epoch)
                    finished = self._finished()
                    if report(epoch, finished) or finished:
                        break
                    if not incremental and self.n_iter_ == self.max_iter:
                        warnings.warn(
                            f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                            "hasn't converged yet.",
                            ConvergenceWarning,
                            stacklevel=3,
                        )
        except Diverged as error:
            self._learned(error.params)
            if not self.early_stopping or self.best_validation_score_ == -math.inf:
                raise ValueError(f"Solver produced non-finite parameter weights: {error}") from None
            # the best are restored, as by scikit-learn, whose scores are NaN from there on
            self.loss_ = math.nan
            self.loss_curve_.append(math.nan)
            self.validation_losses_.append(math.nan)
            cast(list[float], self.validation_scores_).append(math.nan)
            warnings.warn(f"Training stopped: {error}", ConvergenceWarning, stacklevel=3)
        except KeyboardInterrupt as error:
            if isinstance(error, Interrupted):
                self._learned(error.params)
            warnings.warn("Training interrupted by user.", stacklevel=3)
        if self.early_stopping:
            self._learned(self._best)

    def _record(self, epoch: Epoch) -> None:
        """What scikit-learn's attributes say of an epoch."""
        last = epoch.last
        outputs = self._summed_outputs()  # scikit-learn reports the mean over them
        self.loss_ = (last.loss - last.penalty) / outputs + last.penalty
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        if last.val_loss is not None:
            self.validation_losses_.append(last.val_loss / outputs)
        if not self.early_stopping:
            self.best_loss_ = self.loss_ if self.best_loss_ is None else min(self.best_loss_, self.loss_)
            return
        score = cast(float, last.val_score)
        cast(list[float], self.validation_scores_).append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        if score > cast(float, self.best_validation_score_):
            self.best_validation_score_, self._best = score, epoch.params

    def _watched(self) -> list[float]:
        """What is watched for improvement, lower is better."""
        if self.early_stopping:
            return [-score for score in cast(list[float], self.validation_scores_)]
        return self.loss_curve_

    def _finished(self) -> bool:
        """Whether training has converged: nothing improves any more and, where the rate adapts, it is small already."""
        watched, patience = self._watched(), self.n_iter_no_change
        what = "Validation score" if self.early_stopping else "Training loss"
        said = f"{what} did not improve more than tol={self.tol:f} for {patience} consecutive epochs."
        if not (self.solver == "sgd" and self.learning_rate == "adaptive"):
            if schedules.idle(watched, self.tol) <= patience:
                return False
            self._say(f"{said} Stopping.")
            return True
        stalls = schedules.stalls(watched, patience, self.tol)
        if not stalls or stalls[-1] != len(watched) - 1:
            return False
        rate = self.learning_rate_init / 5.0 ** (len(stalls) - 1)
        if rate <= _SMALLEST_RATE:
            self._say(f"{said} Learning rate too small. Stopping.")
            return True
        self._say(f"{said} Setting learning rate to {rate / 5.0:f}")
        return False

    def _say(self, message: str) -> None:
        if self.verbose:
            print(message)

    def _checkpoint_config(self, data: Problem, held: Problem | None, seed: int) -> dict[str, Any]:
        """Whatever decides how training goes on; how long it goes on does not, unless the rate depends on it."""
        left_out = {"check_gradients", "progress", "verbose", "compile"}
        if not self._rate_has_an_end():
            left_out.add("max_iter")
        chosen = {name: value for name, value in self.get_params(deep=False).items() if name not in left_out}
        settings = {name: files.plain(name, value) for name, value in chosen.items()}
        arrays = [data.X, data.y, *([] if data.weight is None else [data.weight])]
        arrays += [] if held is None else [held.X, held.y]
        return {
            "estimator": type(self).__name__,
            "settings": settings,
            "data": checkpoint.fingerprint(*arrays),
            "dropout_seed": seed,
        }

    def _rate_has_an_end(self) -> bool:
        return callable(self.learning_rate) or self.learning_rate == "cosine"

    def _fit_lbfgs(self, data: Problem, place: Place, watchers: Watchers) -> None:
        n = data.X.shape[0]
        total = float(n) if data.weight is None else float(place.xp.sum(data.weight))
        strength = float(self.alpha) / total
        chunks = in_chunks(data.X, place.like, _CHUNK)
        ends = np.cumsum([0, *(chunk.shape[0] for chunk in chunks)])
        if self.dropout:
            raise ValueError("dropout needs a stochastic solver: lbfgs can't minimise a function that changes")

        def value_and_grad(*params: Array) -> tuple[Array, Params]:
            parts = []
            for chunk, low, high in zip(chunks, ends[:-1], ends[1:], strict=True):
                weight = None if data.weight is None else data.weight[low:high]
                share = float((high - low) / n) if weight is None else float(place.xp.sum(weight)) / total
                options = self._options(weight)
                options["l2"] = strength
                loss, grads = loss_and_grads(chunk, data.y[low:high, ...], *params, **options)
                parts.append((loss * share, tuple(g * share for g in grads)))
            loss = sum((loss for loss, _ in parts[1:]), start=parts[0][0])
            columns = zip(*(grads for _, grads in parts), strict=True)
            return loss, tuple(sum(column[1:], start=column[0]) for column in columns)

        def reported(params: Params, value: float) -> float:
            """With the mean over the outputs, as by scikit-learn, where the criterion takes their sum."""
            outputs = self._summed_outputs()
            if outputs == 1:
                return value
            penalty = 0.5 * strength * float(optim.sum_of_squares(place.xp, params[::2]))
            return (value - penalty) / outputs + penalty

        iterations, began = 0, time.perf_counter()

        def after(params: Params, value: float) -> None:
            nonlocal iterations
            iterations += 1
            self._learned(params)
            self.loss_ = reported(params, value)
            self._say(f"Iteration {iterations}, loss = {self.loss_:.8f}")
            seconds = time.perf_counter() - began
            self._history += (Record(iterations, value, 0.0, None, None, 0.0, iterations, seconds),)
            for callback in watchers.callbacks:
                callback(Epoch(self._history, params, params, ()))

        try:
            params, result = optim.lbfgs(
                value_and_grad,
                self._params(),
                max_iter=self.max_iter,
                max_fun=self.max_fun,
                tol=self.tol,
                callback=after,
            )
        except KeyboardInterrupt:
            self.n_iter_ = iterations
            warnings.warn("Training interrupted by user.", stacklevel=3)
            return
        self._learned(params)
        self.n_iter_, self.loss_ = min(int(result.nit), self.max_iter), reported(params, float(result.fun))
        if result.status != 0:
            warnings.warn(
                f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}): {result.message}."
                " Increase max_iter or max_fun, or scale the data.",
                ConvergenceWarning,
                stacklevel=3,
            )

    # --- what training is made of --------------------------------------------------------------------------------

    def _hidden(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if not all(isinstance(size, Integral) for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be whole numbers, got {sizes}")
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _activations(self) -> Any:
        """One for all hidden layers, or a list of one each; the library's name for scikit-learn's."""
        return list(self.activation) if isinstance(self.activation, list | tuple) else self.activation

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

    def _schedule(self) -> schedules.Schedule:
        lr = float(self.learning_rate_init)
        if callable(self.learning_rate):
            schedule = self.learning_rate
        elif self.learning_rate == "cosine":
            schedule = schedules.cosine(lr)
        elif self.solver == "sgd" and self.learning_rate == "invscaling":
            schedule = schedules.inverse_scaling(lr, float(self.power_t))
        elif self.solver == "sgd" and self.learning_rate == "adaptive":
            schedule = schedules.adaptive(lr, cast(int, self.n_iter_no_change), float(self.tol))
        else:
            schedule = schedules.constant(lr)
        return schedules.warm_up(schedule, int(self.warmup_steps)) if self.warmup_steps else schedule

    def _options(self, weight: Array | None = None) -> TrainOptions:
        options = TrainOptions(activation=self._activations(), criterion=self.criterion or self._criterion())
        if weight is not None:
            options["sample_weight"] = weight
        if self.dropout:
            options["dropout"] = float(self.dropout)
        return options

    def _split(self, data: Problem, place: Place, random: Any) -> tuple[Problem, Problem]:
        """Less a share of the samples, and that share: the rows that scikit-learn would take."""
        chosen = train_test_split(
            np.arange(data.X.shape[0]),
            random_state=random,
            test_size=self.validation_fraction,
            stratify=data.strata,
        )
        if len(chosen[1]) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        kept, held = (
            Problem(
                rows(data.X, part, place),
                rows(data.y, part, place),
                None if data.weight is None else rows(data.weight, part, place),
                None,
            )
            for part in chosen
        )
        return kept, held

    def _eval_problem(self, eval_set: Any, place: Place) -> Problem:
        if not (isinstance(eval_set, tuple | list) and len(eval_set) == 2):
            raise ValueError(f"eval_set must be (X, y), got {type(eval_set).__name__}")
        X, y = self._check_X_y(eval_set[0], eval_set[1], reset=False)
        if place_of(X).xp is not place.xp:
            raise ValueError(f"eval_set must hold arrays of the library of X, got {type(X).__name__}")
        X = X.astype(place.dtype) if is_sparse(X) else place.xp.astype(X, place.dtype)
        targets, _, _ = self._encode(y, first=False, incremental=False, held=True)
        return Problem(X, place.put(targets), None, None)

    def _validation_score(self, held: Problem, params: Params, place: Place) -> float:
        if self.scoring is None:
            return self._score_of(held, params, place)
        self._learned(params)
        scorer = get_scorer(self.scoring) if isinstance(self.scoring, str) else self.scoring
        return float(scorer(self, held.X, self._decoded(held.y)))

    def _check_gradients(self, data: Problem, place: Place) -> None:
        few = slice(0, _CHECKED_ROWS)
        (X, *_) = in_chunks(data.X[few, ...] if not hasattr(data.X, "toarray") else data.X[few], place.like, _CHUNK)
        options = self._options(None if data.weight is None else data.weight[few])
        seed = {"seed": 0} if self.dropout else {}
        self.gradient_report_ = check_gradients(X, data.y[few, ...], *self._params(), **cast(Any, {**options, **seed}))
        if self.gradient_report_.verdict == "fail":
            raise ValueError(f"the gradients of this network are wrong, nothing was trained\n{self.gradient_report_}")

    # --- what is learned -----------------------------------------------------------------------------------------

    def _params(self) -> Params:
        return tuple(array for pair in zip(self.coefs_, self.intercepts_, strict=True) for array in pair)

    def _learned(self, params: Params) -> None:
        self.coefs_, self.intercepts_ = list(params[::2]), list(params[1::2])

    def _forward(self, X: Any, method: str, criterion: str | Op | None = None) -> Array:
        """Outputs (n, n_outputs) of the rows of X: with squared error as the criterion the logits."""
        check_is_fitted(self)
        X = check_X(self, X, method)
        chosen = criterion or self._criterion()
        parts = [
            forward(chunk, *self._params(), activation=self._activations(), criterion=chosen)[0]
            for chunk in in_chunks(X, self.coefs_[0], _CHUNK)
        ]
        return parts[0] if len(parts) == 1 else cast(Any, place_of(parts[0]).xp.concat(parts))

    def to(self, device: Any) -> Self:
        """The same estimator with what it has learned on another device of its library, such as "cuda" or "cpu"."""
        check_is_fitted(self)
        self._learned(tuple(to_device(array, device) for array in self._params()))
        if self._state is not None:
            self._state = tuple(to_device(array, device) for array in self._state)
        if hasattr(self, "_best"):
            self._best = tuple(to_device(array, device) for array in self._best)
        classes: Any = getattr(self, "classes_", None)
        if is_device_array(classes):
            self.classes_: Any = to_device(classes, device)
        return self

    def save(self, path: Any) -> None:
        """Write what was learned, and the parameters, to ``path``, whole or not at all: a safetensors file."""
        check_is_fitted(self)
        files.save(self, path)

    @classmethod
    def load(cls, path: Any, xp: Any = np, device: Any = None) -> Self:
        """The estimator that ``save`` wrote, to compute in the array library ``xp``, a module, on ``device``."""
        return cast(Self, files.load(path, xp, device, expected=cls))

    def to_onnx(self, path: Any = None) -> Any:
        """The fitted network as an ONNX model, written to ``path`` if there is one; see ``mlp_xp.export``."""
        check_is_fitted(self)
        return to_onnx(
            path, *self._params(), classes=self._names_of_classes(), activation=self._activations(),
            criterion=self._criterion(),
        )  # fmt: skip

    def _names_of_classes(self) -> Any:
        return None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags

    # --- what the two have of their own --------------------------------------------------------------------------

    @abstractmethod
    def _check_X_y(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """X where it is and y on the host, checked."""

    @abstractmethod
    def _encode(self, y: Any, first: bool, incremental: bool, held: bool = False) -> tuple[Any, Any, int]:
        """Targets as the criterion takes them, strata, and how many outputs there are; all on the host.

        ``held`` is whether these are not learned from.
        """

    def _place_classes(self, place: Place) -> None:
        """Put the classes where X is."""

    def _class_weights(self, y: Any, weight: Any) -> Any:
        return weight

    @abstractmethod
    def _criterion(self) -> str:
        """The name of the criterion."""

    @abstractmethod
    def _decoded(self, targets: Array) -> Any:
        """Encoded targets as ``y`` had them."""

    @abstractmethod
    def _score_of(self, held: Problem, params: Params, place: Place) -> float:
        """The score on a validation set, computed where it is."""

    def _summed_outputs(self) -> int:
        """Over how many outputs the criterion takes a sum whose mean is reported."""
        return 1


def _constraint(allowed: Any) -> Any:
    """An entry of the parameters' table as scikit-learn's validation takes it."""
    if isinstance(allowed, Numbers):
        kind, high = (Integral if allowed.kind is int else Real), None if math.isinf(allowed.high) else allowed.high
        return Interval(kind, allowed.low, high, closed={"[)": "left", "()": "neither", "[]": "both"}[allowed.ends])
    if isinstance(allowed, tuple):
        return StrOptions(set(allowed))
    if isinstance(allowed, float):
        return Options(Real, {allowed})
    return "boolean" if allowed is bool else allowed


def solver_is_stochastic(estimator: Any) -> bool:
    """For ``partial_fit``, which L-BFGS does not have."""
    if estimator.solver not in _STOCHASTIC:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True
