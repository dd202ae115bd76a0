"""The base of both estimators: ``fit``, ``partial_fit`` and ``fit_batches``, from the data to the learned network.

The data's way through ``fit``: checked (``data``) -> targets and weights encoded (``classifier``, ``regressor``) and
put where X is -> validation rows held out -> ``train.run``, or ``full_batch`` -> attributes. Draws come from
``random_state`` in scikit-learn's order, so that one seed gives the network that scikit-learn would have trained.

Before: ``network``, ``full_batch`` and ``settings``. Next: ``classifier`` and ``regressor``.
"""

import math
import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from copy import copy, deepcopy
from functools import partial
from itertools import chain, pairwise
from numbers import Integral
from typing import Any, NamedTuple, Self, TypeAlias, cast

import numpy as np  # on the host: random numbers, and data that NumPy holds
from sklearn.base import is_classifier
from sklearn.callback import with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.utils import check_random_state

from mlp_xp import checkpoint
from mlp_xp._lib.arguments import check_callables, check_flag, check_path, described, first_line, is_whole
from mlp_xp._lib.memory import check_room
from mlp_xp._lib.namespace import Placement, in_dtype, namespace, placement_of, spans, wide_dtype
from mlp_xp._lib.typing import Array, Params
from mlp_xp._lib.wording import warn
from mlp_xp.estimators import files, full_batch
from mlp_xp.estimators.data import (
    answering_on_host,
    check_pair,
    check_weight,
    check_X_y,
    gathered,
    host,
    is_device_array,
    put_numbers,
    split,
)
from mlp_xp.estimators.folds import check_folds, dealt, in_folds
from mlp_xp.estimators.network import Network
from mlp_xp.estimators.reporting import NOT_FINITE, reporting
from mlp_xp.estimators.scaling import learned_from
from mlp_xp.estimators.settings import configuration, of_rank, settings_of, usual_settings
from mlp_xp.gradcheck import Report
from mlp_xp.mistakes import check_gradients
from mlp_xp.mlp import predict
from mlp_xp.ops import activations_of
from mlp_xp.parameters import FULL_BATCH
from mlp_xp.ranks import (
    ALONE,
    Ranks,
    by_gathering,
    check_alike,
    check_ranks,
    each_of,
    interrupts_into,
    sums_of,
    together,
)
from mlp_xp.ranks import gathered as gathered_from
from mlp_xp.train import Dataset, Diverged, Epoch, Interrupted, Settings, Stream, run
from mlp_xp.train.dataset import all_finite, taken, targets_of
from mlp_xp.train.epoch import ensemble_size
from mlp_xp.train.evaluate import parts_of
from mlp_xp.train.loop import step_of
from mlp_xp.train.plan import rows_in
from mlp_xp.train.scale import needs_loss_scale
from mlp_xp.train.source import chunk_of, is_source, read_rows
from mlp_xp.train.step import Step
from mlp_xp.train.stream import check_batches, of_batch

HeldOut: TypeAlias = Dataset | Sequence[Dataset] | None
"""The rows on which an epoch is judged; with folds those of each network."""

_CHECKED_ROWS = 16  # on which the gradients are checked before training
_SUMMED = 2**20  # numbers of rows on disk whose means and deviations are taken at a time


class Call(NamedTuple):
    """The options of a call of ``fit``; ``incremental``: of ``partial_fit``; ``batched``: of ``fit_batches``.

    classes: all classes that may come in the batches, where they were named.
    ranks: the processes that learn together.
    """

    callbacks: tuple[Callable[[Epoch], object], ...] = ()
    checkpoint: Any = None
    resume: bool = False
    incremental: bool = False
    batched: bool = False
    classes: Any = None
    ranks: Ranks = ALONE


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


class WrongGradients(ValueError):
    """The gradients of the network are wrong, and nothing was trained. ``report`` says which, and how."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"the gradients of this network are wrong, nothing was trained\n{report}")
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, which by itself passes the message."""
        return type(self), (self.report,), self.__dict__


class BaseMLP(Network):
    """What both estimators share; it stands before scikit-learn's own bases, which it extends."""

    @with_callbacks
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None, callbacks: Any = (),
        checkpoint: Any = None, resume: bool = False, ranks: Ranks | None = None,
    ) -> Self:  # fmt: skip
        """Learn from ``X`` and ``y``.

        Parameters
        ----------
        X : array of any library, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs. The network is computed where they are; in bfloat16 or float16 if they are that on a device of
            another library than NumPy, with parameters in float32. Or data larger than memory, a ``np.memmap`` or what
            has rows on disk, such as an array of Zarr: see ``mlp_xp.train.train``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets.
        sample_weight : array-like of shape (n_samples,), default=None
            The weight of each sample; None weighs all alike.
        eval_set : tuple (X, y), or a list of one, default=None
            Rows on which each epoch is judged, in place of a share of the training rows.
        callbacks : iterable of callables, default=()
            Each is called with a ``mlp_xp.train.Epoch`` after every epoch; True from one of them ends training.
        checkpoint : str or Path, default=None
            File that holds the state of training, written anew after every epoch.
        resume : bool, default=False
            Continue from that file; the result is that of a fit that never stopped.
        ranks : mlp_xp.ranks.Ranks, default=None
            The processes that learn one network together, each from rows of its own: ``X``, ``y``, ``sample_weight``
            and ``eval_set`` are those of this one. ``batch_size`` is what all take in a step together.

        Returns
        -------
        self : object
            The fitted estimator, equal on all ranks.
        """
        call = Call(check_callables("callbacks", callbacks), checkpoint, check_flag("resume", resume))
        call = call._replace(ranks=check_ranks(ranks))
        return self._fit(X, y, sample_weight, eval_set, call)

    def _fit(self, X: Any, y: Any, sample_weight: Any, eval_set: Any, call: Call) -> Self:
        """``fit``, or ``partial_fit``, which is one epoch more, or ``fit_batches``, where X is the batches."""
        first = not hasattr(self, "coefs_") or not (self.warm_start or call.incremental)
        before, like = dict(vars(self)), cast(Array, X if is_device_array(X) else np.zeros(1))
        try:
            with together(call.ranks, like):
                self._validate_params()
                eval_set = None if eval_set is None else check_pair(eval_set)
                self._check_options(eval_set, call)
                random = _random(self.random_state, call.ranks, like)
                self.n_iter_ = 0
                data: Dataset | Stream
                held_out: HeldOut
                if call.batched:
                    data, held_out, place = self._prepare_batches(X, eval_set, call, first, random)
                else:
                    data, held_out, place = self._prepare(X, y, sample_weight, eval_set, call, first, random)
                if self.check_gradients:
                    few = self._batch(*data.first(), in_first=True) if isinstance(data, Stream) else data
                    self._check_gradients(few, place)
            if self.solver in FULL_BATCH and isinstance(data, Dataset):
                with self._reporting(data.X, data.y, 0, call.ranks):
                    full_batch.learn(self, data, place, call.callbacks, call.ranks)
            else:
                start = self._begin(first, call.incremental, needs_loss_scale(data.dtype, self._params()))
                self._learn_by_epochs(data, held_out, start, random, call)
            if not all_finite(place.xp, *self._params()):
                raise ValueError(NOT_FINITE)
        except BaseException:
            # new classes beside weights that learned nothing of them would answer wrongly
            if not getattr(self, "n_iter_", 0):
                self.__dict__ = before
            raise
        return self

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, eval_set: Any, call: Call, first: bool, random: Any
    ) -> tuple[Dataset, HeldOut, Placement]:  # fmt: skip
        """The rows to learn from, those that are held out, and where they are; in a first fit also initial values."""
        X, y = check_X_y(self, X, y, first, self._inputs_of("partial_fit" if call.incremental else "fit"))
        weight = None if sample_weight is None else check_weight(sample_weight, X.shape[0])
        place, ranks, anew = _place_of(X), call.ranks, first and not call.incremental
        if anew:
            self._know_all(y, ranks, place)
        encoded = self._encode(y, place, anew=anew, ranks=ranks)
        check_alike(ranks, place.put(np.zeros(1)), "features and targets", f"{X.shape[1]}, {encoded.outputs}")
        if first:
            self._initialize(place, X.shape[1], encoded.outputs, random)
        else:
            self._check_goes_on()
        data, strata, kept = _placed(X, encoded, weight, place)
        if self.folds or self.solver in FULL_BATCH:
            data = gathered(data, place)
        held_out = None
        if eval_set is not None:
            held_out = self._eval_data(eval_set, place)
        elif self.early_stopping and self.solver not in FULL_BATCH and not self.folds:
            data, held_out = split(data, self.validation_fraction, strata, of_rank(random, ranks))
        on_disk = is_source(X)
        if (self.standardise or self._computes_in) and not on_disk:  # which make other numbers of the rows
            data, held_out = gathered(data, place), held_out and gathered(held_out, place)
        if first and self.standardise:
            parts = _in_datasets(data, place) if on_disk else [data]
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows has a sentence
                self.scaling_ = learned_from(parts, self._scales_y(), self.standardise == "together", ranks)
        if self.scaling_:
            data, held_out = self.scaling_.dataset(data), held_out and self.scaling_.dataset(held_out)
        if self._computes_in and self.solver not in FULL_BATCH:
            data = data._replace(X=in_dtype(place.xp, data.X, getattr(place.xp, self._computes_in)))
        if not self.folds:
            return data, held_out, place
        k, self.folds_ = int(self.ensemble), np.full(len(y), -1)
        self.folds_[kept] = parts = dealt(len(kept), k, strata, random)
        return *in_folds(data, place, parts, k), place

    def _prepare_batches(
        self, batches: Any, eval_set: Any, call: Call, first: bool, random: Any
    ) -> tuple[Stream, Dataset | None, Placement]:
        """``_prepare`` for rows that come in batches: the first one decides library, dtype and features.

        Classes that were not named, and means and deviations, take a pass of their own.
        """
        surveys = bool(self.standardise) + (is_classifier(self) and call.classes is None) if first else 0
        check_batches(batches, int(self.max_iter) + surveys)
        stream, ranks = Stream(batches, self._batch), call.ranks
        X, y, _ = stream.first()
        with of_batch(1):
            X, y = check_X_y(self, X, y, first, self._inputs_of("fit_batches"))
            place = _place_of(X)
            if first:
                self.__dict__.pop("coefs_", None)  # targets need not be as those of a network that is no more
        self._know_batches(stream, y, first, call.classes, ranks, place)
        with of_batch(1):
            outputs = self._encode(y, place, anew=False, whole=False).outputs
        check_alike(ranks, place.put(np.zeros(1)), "features and targets", f"{X.shape[1]}, {outputs}")
        if first:
            self._initialize(place, X.shape[1], outputs, random)
        else:
            self._check_goes_on()
        held_out = None if eval_set is None else self._eval_data(eval_set, place)
        if first and self.standardise:
            with np.errstate(over="ignore", invalid="ignore"):
                self.scaling_ = learned_from(stream.begin(), self._scales_y(), self.standardise == "together", ranks)
        return stream, self.scaling_.dataset(held_out) if self.scaling_ and held_out else held_out, place

    def _batch(self, X: Any, y: Any, sample_weight: Any, in_first: bool) -> Dataset:
        """A batch, checked and as the network takes it."""
        X, y = check_X_y(self, X, y, False, self._inputs_of("fit_batches"))
        weight = None if sample_weight is None else check_weight(sample_weight, X.shape[0])
        place = _place_of(X)
        data, *_ = _placed(X, self._encode(y, place, anew=False, whole=False), weight, place)
        data = gathered(data, place)
        return self.scaling_.dataset(data) if self.scaling_ else data

    def _check_options(self, eval_set: Any, call: Call) -> None:
        """Raise for options that exclude each other."""
        if call.checkpoint is not None and (self.solver in FULL_BATCH or self.warm_start):
            raise ValueError("checkpoint needs a stochastic solver and warm_start=False")
        if call.checkpoint is not None and not isinstance(call.checkpoint, str | os.PathLike):
            raise TypeError(f"checkpoint must be the path of a file, got {described(call.checkpoint)}")
        if call.checkpoint is not None:
            check_path("checkpoint", call.checkpoint)
        if call.resume and call.checkpoint is None:
            raise ValueError("resume needs a checkpoint to go on from")
        if call.resume and not isinstance(self.random_state, Integral):
            kind = type(self.random_state).__name__
            raise ValueError(f"resume needs a random_state that is a whole number, to draw as that run did, got {kind}")
        for name in ("dropout", "input_dropout"):
            if getattr(self, name) and self.solver in FULL_BATCH:
                reason = f"{self.solver} can't minimise a function that changes"
                raise ValueError(f"{name} needs a stochastic solver: {reason}")
        if self.max_norm is not None and self.solver in FULL_BATCH:
            raise ValueError(f"max_norm needs a stochastic solver: {self.solver} minimises without constraints")
        if call.ranks.size > 1 and self.folds:
            raise ValueError("ranks need folds=False: each has rows of its own")
        if self.folds:
            check_folds(self, eval_set, "fit_batches" if call.batched else "partial_fit" if call.incremental else "fit")
        if self.ensemble > 1 and self.solver in FULL_BATCH:
            raise ValueError(f"an ensemble needs a stochastic solver, {self.solver} searches for one network")
        if call.batched and self.solver in FULL_BATCH:
            raise ValueError(
                f"fit_batches needs a stochastic solver: {self.solver} takes all rows at once, as fit does"
            )
        if self.early_stopping and call.batched and eval_set is None:
            raise ValueError(
                "early_stopping needs eval_set=(X, y) in fit_batches, which learns from all rows of batches"
            )
        if self.early_stopping and call.incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if eval_set is not None and self.solver in FULL_BATCH:
            raise ValueError(
                f"eval_set needs a stochastic solver: {self.solver} has no epochs after which it is judged"
            )
        if self.scoring not in (None, "loss"):
            get_scorer(self.scoring)  # raises for a name that there is not, before anything is learned

    def _check_goes_on(self) -> None:
        """Raise for parameters that the fitted network, from which training goes on, can't follow."""
        there, scaling = ensemble_size(self._params()) or 1, self.scaling_
        if self.ensemble != there:
            raise ValueError(f"ensemble must be {there}, as in the first fit, got {self.ensemble}; fit a new one")
        if self.standardise and not scaling:
            raise ValueError("standardise must be False, as in the first fit; fit a new one")
        if scaling and scaling.y_mean is not None and not self._scales_y():
            came = "a criterion of its own" if self.criterion is not None else f"loss={getattr(self, 'loss', None)!r}"
            raise ValueError(f"the network was fitted with y standardised, which {came} is not to be; fit a new one")

    # --- initial values, validation rows, and the check of gradients ---------------------------------------------

    def _initialize(self, place: Placement, d_in: int, outputs: int, random: Any) -> None:
        """Glorot and Bengio's uniform initial values, of weights and biases, drawn in scikit-learn's order."""
        hidden, after = self.hidden_layer_sizes, self.activation
        hidden = list(hidden) if isinstance(hidden, Iterable) and getattr(hidden, "shape", None) != () else [hidden]
        for width in hidden:
            if not is_whole(width):
                raise ValueError(f"hidden_layer_sizes must be whole numbers, got {hidden}")
            if width <= 0:
                raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        if isinstance(after, list | tuple):
            activations_of(after, len(hidden))  # raises unless there is one for each hidden layer
        after = [*after, None] if isinstance(after, list | tuple) else [after] * (len(hidden) + 1)
        widths = [d_in, *map(int, hidden), outputs]
        needed = 8 * self.ensemble * sum(p * q + q for p, q in pairwise(widths))
        check_room("a network of these hidden_layer_sizes, or an ensemble of them,", needed)
        drawn = _glorot(random, widths, after)
        if self.ensemble > 1:  # the first network is the one that learns alone; the others take nothing from its draws
            first, drawn = drawn, [np.empty((self.ensemble, *each.shape)) for each in drawn]  # too many have no room
            seeds = deepcopy(random).randint(2**31 - 1, size=self.ensemble - 1)
            others = (_glorot(np.random.RandomState(seed), widths, after) for seed in seeds)
            for number, network in enumerate(chain([first], others)):
                for together, each in zip(drawn, network, strict=True):
                    together[number] = each
        params = place.put_all(*drawn)
        self.coefs_, self.intercepts_ = params[::2], params[1::2]
        self.t_, self.n_layers_, self.n_outputs_ = 0, len(widths), outputs
        self._history, self._state, self._state_of = (), None, self.solver
        self.scaling_ = None

    def _eval_data(self, eval_set: Any, place: Placement) -> Dataset:
        """The rows that the caller holds out, checked, and in the dtype of X."""
        X, y = check_X_y(self, eval_set[0], eval_set[1], False, "The arrays of eval_set")
        targets = self._encode(y, place, anew=False, held_out=True).targets
        return Dataset(X, put_numbers("y of eval_set", targets, place))

    def _score_on(self, held_out: Dataset | Sequence[Dataset], ranks: Ranks) -> Any:
        """``Settings.score`` for these rows, and those of the other ranks."""
        if self.scoring == "loss":
            return "loss"
        if not isinstance(held_out, Dataset):
            return tuple([self._score_on(each, ranks) for each in held_out])
        if self.scoring is not None:  # a scorer takes arrays
            held_out = gathered(held_out, placement_of(self.coefs_[0]))
        return partial(self._validation_score, held_out, by_gathering(ranks, self.coefs_[0]))

    def _validation_score(self, held_out: Dataset, ranks: Ranks, params: Params) -> float:
        """The score of these parameters on the validation rows."""
        if self.scoring is not None:
            judged = copy(self)
            judged._learned(params)
            judged.__dict__.pop("feature_names_in_", None)  # the rows have lost their names
            if judged.scaling_:  # and are standardised already; the scorer has y in its own units
                judged.scaling_ = judged.scaling_._replace(X_mean=None, X_scale=None)
            y = host(self._decoded(held_out.y))
            try:
                score = get_scorer(self.scoring)(answering_on_host(judged), held_out.X, y)
            except (AttributeError, ValueError) as error:
                if callable(self.scoring):
                    raise  # the caller's own says it best
                kind, said = type(self).__name__, first_line(error).rstrip(".")
                raise ValueError(f"scoring must be a scorer for {kind}, got {self.scoring!r}: {said}") from None
            try:
                return float(score)
            except (TypeError, ValueError):
                raise TypeError(f"scoring must give one number, got {described(score)}") from None
        xp, options = namespace(params[0]), {"activation": self.activation, "criterion": self._criterion()}
        parts = (batch.X for batch in taken(xp, held_out, params[0], parts_of(held_out)))
        outputs = [predict(in_dtype(xp, X, params[0].dtype), *params, **cast(Any, options)) for X in parts]
        return self._score_of(*targets_of(xp, held_out, params[0]), xp.concat(outputs, axis=0), ranks)

    def _check_gradients(self, data: Dataset, place: Placement) -> None:
        """Check the gradients on a few rows, and raise where they are wrong."""
        X, y, weight, *_ = next(taken(place.xp, data, self.coefs_[0], [slice(0, min(_CHECKED_ROWS, data.n))]))
        if weight is not None and weight.ndim == 2:  # a row weighs something for all networks but one
            weight = place.xp.sum(weight, axis=0)
        options = self._options(weight)
        X = in_dtype(place.xp, X, self.coefs_[0].dtype)
        self.gradient_report_ = check_gradients(X, y, *self._first_network(), seed=0, **cast(Any, options))
        if self.gradient_report_.verdict == "fail":
            raise WrongGradients(self.gradient_report_)

    # --- learning by epochs --------------------------------------------------------------------------------------

    def _learn_by_epochs(
        self, data: Dataset | Stream, held_out: HeldOut, start: Params | Epoch, random: Any, call: Call
    ) -> None:
        """Run epochs until training has converged, a callback stops it, or all are made."""
        X, y = (data.batches, None) if isinstance(data, Stream) else (data.X, data.y)
        if isinstance(data, Dataset) and hasattr(self, "_skl_callbacks"):  # which hear of the rows to learn from alone
            X, y, *_ = gathered(data, placement_of(self.coefs_[0]))
        ranks, like = call.ranks, self.coefs_[0]
        counts = [int(n) for n in each_of(ranks, like, 0 if isinstance(data, Stream) else data.n)]
        settings = settings_of(self, counts, random, call.incremental, ranks, bool(chunk_of(X)))
        settings = settings._replace(callbacks=call.callbacks)
        if held_out is not None:
            settings = settings._replace(score=self._score_on(held_out, ranks))
        if call.checkpoint is not None:
            learned = () if isinstance(data, Stream) else (data,)
            # of folds, the weights say them
            judged = (held_out._replace(weight=None),) if isinstance(held_out, Dataset) else ()
            with together(ranks, like):
                start, settings = self._with_checkpoint(start, settings, (*learned, *judged), call)
        reports = self._reporting(X, y, 1 if call.incremental else settings.epochs, ranks)
        asked = threading.Event()
        make = self._kept_step if call.incremental and settings.compile and ranks.size == 1 else step_of
        # a loss that is not finite is one sentence of the loop's
        quiet = np.errstate(over="ignore", invalid="ignore")
        try:
            # between epochs too: a rank that raises there alone leaves the others waiting for its gradients
            with quiet, reports as report, interrupts_into(asked, ranks):
                for epoch in run(data, held_out, start, settings, asked, make):
                    rows = float(sum(counts)) or sum(each_of(ranks, like, rows_in(data)))  # of batches, as they came
                    finished = self._record(epoch, int(rows))
                    stops = bool(report and report(epoch, finished))
                    stop, interrupt = sums_of(ranks, like, float(stops), float(asked.is_set()))
                    if interrupt:
                        raise KeyboardInterrupt
                    if stop or finished or call.incremental:
                        break
                    if self.n_iter_ == self.max_iter:
                        reached = f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached"
                        warn(f"{reached} and the optimization hasn't converged yet.", ConvergenceWarning)
        except Diverged as error:
            self._diverged(error)
        except KeyboardInterrupt as error:
            if isinstance(error, Interrupted):
                self._learned(error.params)
            warn("Training interrupted by user.")
        if self.early_stopping:
            if self.validation_scores_ and self.best_validation_score_ == -math.inf:
                raise ValueError("early_stopping needs a validation score that is finite, got none in any epoch")
            self._learned(self._best)

    def _reporting(self, X: Any, y: Any, epochs: int, ranks: Ranks) -> Any:
        """What shows how far a fit has come, see ``reporting``; of several ranks the first one alone has a display."""
        watched = (self.progress and ranks.rank == 0) or hasattr(self, "_skl_callbacks")
        return reporting(self, X, y, epochs) if watched else nullcontext()

    def _kept_step(self, *arguments: Any) -> Step:
        """``step_of``; where nothing that decides it has changed, the compiled step of the last ``partial_fit``.

        To compile takes seconds, a call less. Settings that are functions may change unseen: these compile anew.
        """
        _, params, settings, scaled, _ = arguments
        seen = ("learning_rate", "scoring", "random_state", "compile")  # which the step takes from outside, or not
        chosen = {name: value for name, value in self.get_params(deep=False).items() if name not in seen}
        try:
            plain = {name: files.plain(name, value) for name, value in chosen.items()}
        except TypeError:
            return step_of(*arguments)
        arrays = placement_of(params[0]), [(tuple(p.shape), p.dtype) for p in params]
        decides = plain, self.out_activation_, settings.compile, scaled, arrays
        if self._step is None or self._step[0] != decides:
            self._step = decides, step_of(*arguments)
        return cast(Step, self._step[1])

    def __getstate__(self) -> Any:
        """Without the compiled step, which can't be pickled."""
        return {name: value for name, value in super().__getstate__().items() if name != "_step"}

    def _diverged(self, error: Diverged) -> None:
        """Raise; or, where early stopping has a best epoch, end there as scikit-learn does: its scores go on as NaN."""
        self._learned(error.params)
        if not self.early_stopping or self.best_validation_score_ == -math.inf:
            raise ValueError(f"{NOT_FINITE} Here {error}") from None
        self.loss_ = math.nan
        for curve in (self.loss_curve_, self.validation_losses_, cast(list[float], self.validation_scores_)):
            curve.append(math.nan)
        warn(f"Training stopped: {error}", ConvergenceWarning)

    def _with_checkpoint(
        self, start: Params | Epoch, settings: Settings, data: Sequence[Dataset], call: Call
    ) -> tuple[Params | Epoch, Settings]:
        """Start and settings of a run that writes its state to a file; with ``resume`` the start is read from there."""
        fingerprints = gathered_from(call.ranks, self.coefs_[0], checkpoint.fingerprint(*data))
        config = configuration(self, settings, " ".join(fingerprints))
        if call.ranks.rank == 0:
            settings = settings._replace(callbacks=(checkpoint.saver(call.checkpoint, config), *settings.callbacks))
        if not call.resume:
            return start, settings
        usual = {"settings": usual_settings(self)}
        kept, finished = checkpoint.load(call.checkpoint, self._params(), config, usual=usual), False
        n = kept.rows // len(kept.history) if kept.rows else data[0].n  # older files have not counted the rows
        for number in range(1, len(kept.history) + 1):  # as if the epochs had been made here
            finished = self._record(kept._replace(history=kept.history[:number], params=kept.best), n)
            if settings.order is not None:
                settings.order(number)
        self._learned(kept.params)
        return kept, settings._replace(epochs=len(kept.history)) if finished else settings

    # --- what each estimator has of its own ----------------------------------------------------------------------

    @abstractmethod
    def _encode(
        self, y: Any, place: Placement, anew: bool, held_out: bool = False, whole: bool = True, ranks: Ranks = ALONE
    ) -> Encoded:
        """Targets for the criterion.

        Args:
            y: on the host.
            place: where X is.
            anew: whether what is known of the targets, such as their classes, is forgotten.
            held_out: whether these rows are not learned from.
            whole: whether these are all rows, and no batch of them.
            ranks: which have rows of their own.
        """

    def _know_batches(self, stream: Stream, y: Any, first: bool, classes: Any, ranks: Ranks, place: Placement) -> None:
        """Learn of the targets what must be known before the first batch is encoded, whose targets are ``y``.

        Args:
            stream: all batches.
            y: on the host.
            first: whether nothing is known yet.
            classes: all that may come, where they were named.
            ranks: which have batches of their own.
            place: where X is.
        """

    def _know_all(self, y: Any, ranks: Ranks, place: Placement) -> None:
        """As ``_know_batches``, of all rows: ``y`` and those of the other ranks."""

    def _scales_y(self) -> bool:
        """Whether ``standardise`` is of y too."""
        return False

    @abstractmethod
    def _decoded(self, targets: Array) -> Any:
        """Encoded targets as ``y`` had them."""

    @abstractmethod
    def _score_of(self, y: Array, weight: Array | None, outputs: Array, ranks: Ranks) -> float:
        """The score of what the network predicts for validation rows with these targets, computed where they are."""


def _random(random_state: Any, ranks: Ranks, like: Array) -> Any:
    """scikit-learn's random numbers of ``random_state``; where that is no number, rank 0 begins those of all ranks."""
    random = check_random_state(random_state)
    if ranks.size == 1 or isinstance(random_state, Integral):
        return random
    return np.random.RandomState(gathered_from(ranks, like, int(random.randint(2**31 - 1)))[0])


def _place_of(X: Any) -> Placement:
    """Where the network's parameters, targets and weights are: where X is, in float32 beside floats of 16 bits."""
    place = placement_of(read_rows(X, slice(0, 1)) if is_source(X) else X)
    return place._replace(dtype=wide_dtype(place.xp, place.dtype))


def _glorot(random: Any, widths: Sequence[int], after: Sequence[Any]) -> list[Any]:
    """W1, b1, W2, b2, ... of one network; ``after`` has the activation after each layer."""
    drawn = []
    for p, q, activation in zip(widths[:-1], widths[1:], after, strict=True):
        bound = math.sqrt((2.0 if activation in ("logistic", "sigmoid") else 6.0) / (p + q))
        drawn += [random.uniform(-bound, bound, (p, q)), random.uniform(-bound, bound, q)]
    return drawn


def _placed(X: Any, encoded: Encoded, weight: Any, place: Placement) -> tuple[Dataset, Any, Any]:
    """The data where X is, without the rows that weigh nothing in its dtype; the strata and the numbers of its rows.

    Rows that are left out stay in its arrays.
    """
    targets, strata, rows = encoded.targets, encoded.strata, None
    if encoded.weight is not None:
        weight = encoded.weight if weight is None else weight * encoded.weight
    if weight is not None and not (heavy := weight >= float(place.xp.finfo(place.dtype).smallest_normal)).all():
        rows = np.flatnonzero(heavy)
        if not len(rows):
            raise ValueError(f"the weights must not be zero for every sample, got at most {weight.max():.1e}")
        strata = None if strata is None else strata[rows]
    y = put_numbers("y", targets, place)
    weight = None if weight is None else put_numbers("sample_weight", weight, place, len(weight))
    return Dataset(X, y, weight, rows), strata, np.arange(X.shape[0]) if rows is None else rows


def _in_datasets(data: Dataset, place: Placement) -> Iterator[Dataset]:
    """``data``, some rows after the others."""
    like = place.put(np.empty(0))
    parts = spans(data.n, data.X.shape[1], _SUMMED)
    return (Dataset(X, y, weight) for X, y, weight, *_ in taken(place.xp, data, like, parts))


def solver_is_stochastic(estimator: Any) -> bool:
    """Whether there is a ``partial_fit``, which the solvers of all rows do not have."""
    if estimator.solver in FULL_BATCH:
        kind = f"{estimator.solver} is not stochastic"
        raise AttributeError(f"partial_fit is only available for stochastic optimizers. {kind}.")
    return True
