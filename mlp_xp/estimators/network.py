"""The network of an estimator: its parameters, the curves of its training, its predictions, its ways out.

Before: ``data`` checks what comes in. Next: ``base`` and ``full_batch`` learn.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self, cast

import numpy as np  # the library of a loaded estimator, unless another is named
from array_api_compat import to_device
from sklearn.callback import CallbackSupportMixin
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from mlp_xp import schedules
from mlp_xp._lib.arguments import check_number, is_number
from mlp_xp._lib.namespace import namespace, placement_of
from mlp_xp._lib.typing import Array, Op, Params
from mlp_xp.backends.usable import device_named
from mlp_xp.criterion import Criterion, criterion_named
from mlp_xp.estimators import files
from mlp_xp.estimators.conversion import Conversion
from mlp_xp.estimators.data import check_X, in_chunks, is_device_array
from mlp_xp.estimators.scaling import Scaling
from mlp_xp.estimators.transformer import Transformer, joined
from mlp_xp.export import model_of
from mlp_xp.mlp import TrainOptions, predict
from mlp_xp.parameters import Numbers, SharedParameters, entries_of
from mlp_xp.train import Diverged, Epoch, Record
from mlp_xp.train.epoch import ensemble_size, histories

_SMALLEST_RATE = 1e-6  # at which "adaptive" gives up, as in scikit-learn


class _Interval(Interval):
    """Numbers as scikit-learn's validation has them, without True and False, which Python counts as 1 and 0."""

    def is_satisfied_by(self, value: Any) -> bool:
        """Whether this is one of the numbers."""
        return is_number(value) and bool(super().is_satisfied_by(value))


def _constraints(allowed: Any) -> list[Any]:
    """The allowed values of an entry, in the words of scikit-learn's validation."""
    if allowed == "random_state":  # scikit-learn's own takes True for a seed
        return [_Interval(Integral, 0, 2**32 - 1, closed="both"), np.random.RandomState]
    return [_constraint(allowed)]


def _constraint(allowed: Any) -> Any:
    """An allowed value of a parameter, in the words of scikit-learn's validation."""
    if isinstance(allowed, Numbers):
        kind, high = Integral if allowed.kind is int else Real, None if math.isinf(allowed.high) else allowed.high
        return _Interval(kind, allowed.low, high, closed={"[)": "left", "()": "neither", "[]": "both"}[allowed.ends])
    if isinstance(allowed, tuple):
        return StrOptions(set(allowed))
    if isinstance(allowed, float):
        return Options(Real, {allowed})
    return "boolean" if allowed is bool else allowed


_CRITERIA = {
    "softmax": "softmax_cross_entropy", "logistic": "sigmoid_cross_entropy", "identity": "squared_error",
    "exp": "poisson",
}  # fmt: skip
"""The criterion of each output function."""


class Network(SharedParameters, Conversion, Transformer, CallbackSupportMixin, ABC):
    """The network of an estimator, from its initial values on."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    scaling_: Scaling | None = None
    _computes_in = ""  # the name of a dtype of 16 bits, for rows that come in float32 and are standardised in it
    _state_of = ""  # the solver whose state is kept, and whether it has a loss scale
    _idle = 0  # how many epochs in a row did not improve on the best of all fits
    _step: Any = None  # what decided the compiled step of the last ``partial_fit``, and the step
    _falls = 0  # how often "adaptive" has divided the rate since the optimizer began

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        files.register(cls)
        if "_parameter_constraints" not in vars(cls):
            cls._parameter_constraints = {
                name: [constraint for each in entry.allowed for constraint in _constraints(each)]
                for name, entry in entries_of(cls).items()
            }

    def _inputs_of(self, method: str) -> str:
        """What X and y of a method are called in a message, as scikit-learn has it."""
        return f"Inputs passed to {type(self).__name__}.{method}()"

    def _params(self) -> Params:
        """W1, b1, W2, b2, ..."""
        params = [*self.coefs_, *self.intercepts_]
        params[::2], params[1::2] = self.coefs_, self.intercepts_
        return tuple(params)

    def _planned_criterion(self, targets: int) -> Criterion:
        """The criterion of a network that is fitted now to so many targets; of more than two classes each is one."""
        return criterion_named("softmax_cross_entropy" if targets > 1 else "sigmoid_cross_entropy")

    def _first_network(self) -> Params:
        """W1, b1, ... of one network: of an ensemble the first."""
        params = self._params()
        return params if ensemble_size(params) is None else tuple([p[0, ...] for p in params])

    def _learned(self, params: Params) -> None:
        """Let these be the network's parameters."""
        self.coefs_, self.intercepts_ = list(params[::2]), list(params[1::2])

    def _options(self, weight: Array | None = None) -> TrainOptions:
        """The options of the objective."""
        options = TrainOptions(activation=self.activation, criterion=self.criterion or self._criterion())
        if weight is not None:
            options["sample_weight"] = weight
        if self.dropout:
            options["dropout"] = self._number("dropout")
        if self.input_dropout:
            options["input_dropout"] = self._number("input_dropout")
        if self.out_activation_ == "softmax" and self.criterion is None and self._number("label_smoothing"):
            options["label_smoothing"] = self._number("label_smoothing")
        return options

    def _number(self, name: str) -> float:
        """A parameter as a Python number, which promotes no array; its range was checked."""
        return check_number(name, getattr(self, name), 0.0, math.inf)

    def _criterion(self) -> str | Op:
        """The criterion, a name where it has no parameter."""
        return _CRITERIA[self.out_activation_]

    # --- the curves: a number of each epoch in scikit-learn's attributes -------------------------------------------

    def _begin(self, anew: bool, incremental: bool, scaled: bool) -> Params | Epoch:
        """Where training by epochs begins. Curves are begun too if ``anew``, or if the last fit had none such.

        ``scaled`` is whether the optimizer's state has a loss scale: one with and one without are no common state.

        What the last fit left is not written to: that fit stands where this one fails.
        """
        params = self._params()
        if anew or not hasattr(self, "loss_curve_") or (self.early_stopping and self.validation_scores_ is None):
            self.loss_curve_: list[float] = []
            self.validation_losses_: list[float] = []
            self.validation_scores_: list[float] | None = [] if self.early_stopping else None
            self.best_validation_score_ = -math.inf if self.early_stopping else None
            self.best_loss_ = None if self.early_stopping else math.inf
            self._best, self._idle = params, 0
        self.loss_curve_, self.validation_losses_ = [*self.loss_curve_], [*self.validation_losses_]
        self.validation_scores_ = None if self.validation_scores_ is None else [*self.validation_scores_]
        kind = f"{self.solver}{', loss scale' if scaled else ''}"
        state = self._state if incremental and self._state_of == kind else None
        self._state_of = kind
        members = self._history[-1].members if self._history else ()
        # networks that ended after different steps have no common state to go on from
        if state is None or len({member.steps for member in members}) > 1:
            self._history: tuple[Record, ...] = ()
            self._state: Params | None = None
            self._falls = 0
            return params
        return Epoch(self._history, params, params, state)

    def _record(self, epoch: Epoch, n: int) -> bool:
        """Keep what was learned in an epoch on ``n`` rows, and what scikit-learn's attributes say of it.

        Returns:
            Whether training has converged: nothing improves, and a learning rate that adapts is small already.
        """
        last = epoch.last
        self._learned(epoch.params)
        self._history, self._state = epoch.history, epoch.state
        self.n_iter_ += 1
        self.t_ += n
        self.loss_ = self._reported(last)
        self.loss_curve_.append(self.loss_)
        self._say(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        if last.val_loss is not None:
            self.validation_losses_.append(last.val_loss / self._summed_outputs())
        if last.members:
            return self._record_members(epoch)
        tol = self._number("tol")
        if self.early_stopping:
            score, best = -self._watch(last), cast(float, self.best_validation_score_)
            cast(list[float], self.validation_scores_).append(score)
            self._say_score(score)
            self._idle = self._idle + 1 if score < best + tol else 0
            if score > best:
                self.best_validation_score_, self._best = score, epoch.params
        else:
            lowest = math.inf if self.best_loss_ is None else self.best_loss_
            self._idle = self._idle + 1 if self.loss_ > lowest - tol else 0
            self.best_loss_ = min(lowest, self.loss_)
        return self._idle > self.n_iter_no_change and self._stalled(tol)

    def _record_members(self, epoch: Epoch) -> bool:
        """The rest of ``_record`` for an ensemble, whose run has counted for each network."""
        if any(not math.isfinite(member.loss) for member in epoch.last.members):
            raise Diverged("the loss of a network of the ensemble is not finite", epoch.params)
        own = histories(epoch)
        if self.early_stopping:
            cast(list[float], self.validation_scores_).append(-self._watch(epoch.last))
            self._say_score(-self._watch(epoch.last))
            bests = [-min(map(self._watch, records)) for records in own]
            self.best_validation_score_, self._best = math.fsum(bests) / len(bests), epoch.best
        else:
            self.best_loss_ = min(self.loss_, math.inf if self.best_loss_ is None else self.best_loss_)
        return all(
            len(records) < len(epoch.history) or self._has_converged(list(map(self._watch, records))) for records in own
        )

    def _watch(self, record: Record) -> float:
        """The number of a record that is to fall."""
        if not self.early_stopping:
            return self._reported(record)
        if record.val_score is not None:
            return -record.val_score
        return cast(float, record.val_loss) / self._summed_outputs()  # with scoring="loss"

    def _say_score(self, score: float) -> None:
        self._say(f"Validation loss: {-score:f}" if self.scoring == "loss" else f"Validation score: {score:f}")

    def _reported(self, record: Record) -> float:
        """The loss as scikit-learn reports it: the mean over the outputs, where the criterion takes their sum."""
        return (record.loss - record.penalty) / self._summed_outputs() + record.penalty

    def _has_converged(self, watched: Sequence[float]) -> bool:
        """Whether a network of an ensemble ends after epochs with these numbers, as ``_record`` decides for one."""
        patience, tol = self.n_iter_no_change, self._number("tol")
        if not self._adapts():
            return schedules.idle(watched, tol) > patience
        found = schedules.stalls(watched, patience, tol)
        return found[-1:] == [len(watched) - 1] and self._rate(len(found) - 1) <= _SMALLEST_RATE

    def _stalled(self, tol: float) -> bool:
        """Whether training ends where nothing improves. If not, the rate falls, and the epochs are counted anew."""
        ends, then = True, "Stopping."
        if self._adapts():
            ends, then = self._rate(self._falls) <= _SMALLEST_RATE, "Learning rate too small. Stopping."
            if not ends:
                self._falls, self._idle = self._falls + 1, 0
                then = f"Setting learning rate to {self._rate(self._falls):f}"
        what = "Training loss"
        if self.early_stopping:
            what = "Validation loss" if self.scoring == "loss" else "Validation score"
        unchanged = f"did not improve more than tol={tol:f} for {self.n_iter_no_change} consecutive epochs"
        self._say(f"{what} {unchanged}. {then}")
        return ends

    def _rate(self, falls: int) -> float:
        """The learning rate of "adaptive" after so many falls."""
        rate = self._number("learning_rate_init")
        for _ in range(falls):
            rate /= 5.0
        return rate

    def _say(self, message: str) -> None:
        if self.verbose:
            print(message)

    def _adapts(self) -> bool:
        """Whether the learning rate falls where nothing improves."""
        return self.solver == "sgd" and self.learning_rate == "adaptive"

    def _summed_outputs(self) -> int:
        """Over how many outputs the criterion takes a sum: scikit-learn reports the mean over them."""
        return self.n_outputs_ if self.out_activation_ == "identity" and self.criterion is None else 1

    # --- the fitted network --------------------------------------------------------------------------------------

    def _logits(self, X: Any, method: str) -> Array:
        """The logits for the rows of X, (n, d_out), or (k, n, d_out) of an ensemble; ``method`` was called."""
        chunks, params, activation = self._chunks(X, method), self._params(), self.activation
        # whose predictions are the logits
        return joined([predict(chunk, *params, activation=activation, criterion="squared_error") for chunk in chunks])

    def _chunks(self, X: Any, method: str) -> Iterator[Array]:
        """The rows of X as the network takes them, checked and standardised, some after the others."""
        check_is_fitted(self)
        chunks = in_chunks(check_X(self, X, self._inputs_of(method)), placement_of(self.coefs_[0]))
        return map(self.scaling_.inputs, chunks) if self.scaling_ else chunks

    def to(self, device: Any) -> Self:
        """Move what was learned to another device of its library.

        Parameters
        ----------
        device : str, int or device of the library
            Such as "cuda", "cuda:1", 1 or "cpu".

        Returns
        -------
        self : object
            The estimator.
        """
        check_is_fitted(self)
        device = device_named(namespace(self.coefs_[0]), device)
        for name in ("coefs_", "intercepts_", "_state", "_best"):
            if arrays := getattr(self, name, None):
                setattr(self, name, type(arrays)(to_device(array, device) for array in arrays))
        if self.scaling_:
            self.scaling_ = Scaling(*(None if each is None else to_device(each, device) for each in self.scaling_))
        classes: Any = getattr(self, "classes_", None)
        if is_device_array(classes):
            self.classes_: Any = to_device(classes, device)
        return self

    def save(self, path: Any) -> None:
        """Write the fitted estimator to a safetensors file, whole or not at all.

        Parameters
        ----------
        path : str or Path
            The file; an older one is replaced.
        """
        check_is_fitted(self)
        files.save(self, path)

    @classmethod
    def load(cls, path: Any, xp: Any = np, device: Any = None) -> Self:
        """Read an estimator that ``save`` wrote.

        Parameters
        ----------
        path : str or Path
            The file.
        xp : module, default=numpy
            The array library to compute in.
        device : str or device of the library, default=None
            Where to compute; None is the library's own choice.

        Returns
        -------
        estimator : object
            An estimator of this class, or of a subclass.
        """
        return cast(Self, files.load(path, xp, device, expected=cls))

    def to_onnx(self, path: Any = None) -> Any:
        """Write the fitted network as an ONNX model, for onnxruntime and other programs.

        The input ``X`` is (N, n_features_in_), any number of rows, in the dtype of ``coefs_``. A classifier has the
        outputs ``probabilities``, as ``predict_proba`` returns them, and ``label``, as ``predict`` does; a regressor
        has ``output``, as ``predict`` returns it, and with loss gaussian ``std``, with loss quantile ``quantiles``.

        Parameters
        ----------
        path : str or Path, default=None
            The file; None writes none.

        Returns
        -------
        model : onnx.ModelProto
            The model.
        """
        check_is_fitted(self)
        return model_of(path, self._constants(), self._computed)

    def _constants(self) -> Params:
        """The arrays of the ONNX model: the parameters, then the scaling where there is one."""
        return *self._params(), *(each for each in self.scaling_ or () if each is not None)

    def _computed(self, X: Array, *constants: Array) -> dict[str, Array]:
        """The outputs of the ONNX model for rows X, from ``_constants`` in its own library."""
        count = 2 * len(self.coefs_)
        if not self.scaling_:
            return self._exported(X, constants, None)
        scaling = Scaling(*constants[count:])
        return self._exported(scaling.inputs(X), constants[:count], scaling)

    @abstractmethod
    def _exported(self, X: Array, params: Params, scaling: Scaling | None) -> dict[str, Array]:
        """The outputs of the ONNX model, by functions of the array API alone, for rows as the network takes them."""

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coefs_")  # classes may be known before

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = True
        return tags
