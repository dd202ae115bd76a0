"""The training loop: ``for epoch in train(X, y, params, ...)``. The caller logs, plots, keeps or stops.

Minibatches are taken on the device and nothing comes back to the host inside an epoch; a few numbers do at its end.
What is drawn depends on the seed and on how far training has come, on nothing else: a run that goes on from an
``Epoch`` is the run that never stopped.

Before: ``mlp``, ``optim`` and ``schedules``. Next: ``checkpoint`` keeps an epoch in a file, ``estimators`` and ``cli``
call the loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any, NamedTuple, Unpack, cast

import numpy as np  # for the host's random numbers and its memory alone

from mlp_xp._lib.arguments import check_batch, check_number, check_params, check_positive, check_whole, rule_named
from mlp_xp._lib.namespace import device_kwargs, is_floating, is_integral, namespace, persisted
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.losses import CRITERIA
from mlp_xp.metrics import accuracy, r2
from mlp_xp.mlp import Options, PredictOptions, TrainOptions, loss_and_grads, objective, predict
from mlp_xp.optim import Optimizer, State, adam, clip_by_global_norm, sum_of_squares
from mlp_xp.schedules import Progress, Schedule, check_patience, constant, stalls

_SEEDS = 2**31  # of dropout masks

# Inputs beyond this are named as the likely cause of a loss that overflows: standardised ones are a few units large.
_LARGE = 1e3

# Bytes that are taken and given back once. The C library of Linux returns freed memory to the system, and every step
# would ask for it anew, page by page, which costs more than the arithmetic; what it keeps is twice the largest block
# that it has seen come and go, up to 32 MiB.
_MEMORY = 31 * 2**20

# Rows that are judged at a time: what the network keeps of each must not outgrow memory.
_CHUNK = 2**14


class Record(NamedTuple):
    """The numbers of one pass over the data.

    number: from 1.
    loss: mean objective of the steps, each before its update, weighted by batch size.
    penalty: the part of it that ``alpha`` adds.
    val_loss: data loss on the validation set, without penalties and dropout; None without such a set.
    val_score: the score there; None without one.
    lr: the learning rate of the last step.
    steps: made so far.
    seconds: of training so far.
    """

    number: int
    loss: float
    penalty: float
    val_loss: float | None
    val_score: float | None
    lr: float
    steps: int
    seconds: float

    @property
    def watched(self) -> float:
        """What is watched for improvement, lower is better: the score on the validation set, else the loss."""
        if self.val_score is not None:
            return -self.val_score
        return self.loss if self.val_loss is None else self.val_loss


class Epoch(NamedTuple):
    """Where training stands after a pass over the data: all that it takes to go on from here.

    history: a record of each pass so far.
    params: the parameters now.
    best: those after the pass with the lowest ``watched``.
    state: of the optimizer.
    """

    history: tuple[Record, ...]
    params: Params
    best: Params
    state: State

    @property
    def last(self) -> Record:
        """The record of this pass."""
        return self.history[-1]


class Diverged(FloatingPointError):
    """The loss is no longer finite. ``params`` are finite, the last between two epochs whose loss was finite too."""

    def __init__(self, message: str, params: Params) -> None:
        super().__init__(message)
        self.params = params


class Interrupted(KeyboardInterrupt):
    """Ctrl-C inside an epoch, its judging and callbacks included. ``params`` are those after the last step."""

    def __init__(self, params: Params) -> None:
        super().__init__("training was interrupted")
        self.params = params


def train(
    X: Array | Any,
    y: Array,
    params: Params | Epoch,
    *,
    epochs: int,
    optimizer: Optimizer | None = None,
    lr: float | Schedule = 1e-3,
    batch_size: int = 128,
    shuffle: bool = True,
    seed: int = 0,
    validation: tuple[Array | Any, Array] | float | None = None,
    score: Callable[[Params], float] | None = None,
    patience: float | None = None,
    tol: float = 0.0,
    alpha: float = 0.0,
    clip_norm: float | None = None,
    callbacks: Sequence[Callable[[Epoch], object]] = (),
    order: Callable[[int], Any] | None = None,
    compile: Callable[[Any], Any] | None = None,  # noqa: A002 - the word for it in every library
    **options: Unpack[TrainOptions],
) -> Iterator[Epoch]:
    """Yield an ``Epoch`` after each pass over ``X`` (n, d_in) and ``y`` in seeded random order.

    Args:
        X, y: the data, as in ``objective``. X may be a scipy sparse matrix, whose batches are made dense one by one.
        params: where to start from; or an ``Epoch`` of such a run, to go on from. They are not changed.
        epochs: how many passes, those of a run that is gone on with included; where it has made them all, none.
        optimizer: ``sgd()``, ``momentum()``, or another ``(init, update)`` pair; ``adam()`` when None.
        lr: the learning rate, or a schedule.
        batch_size: rows in a step; the last one of an epoch takes what is left.
        shuffle: whether the rows come in another order each time.
        seed: of the order, and of the dropout masks, which advance with every step.
        validation: rows ``(X, y)`` on which each epoch is judged; or the share of the rows that is set aside for it.
        score: score(params), higher is better; by default the share of right labels on the validation set, or, for
            targets of squared error, R^2.
        patience: ends after more than so many epochs in a row that did not improve on the best by ``tol``; ``best`` of
            the last epoch are then the parameters to keep.
        tol: the least improvement that counts.
        alpha: strength of scikit-learn's penalty ``alpha / 2S sum ||W||^2``, S the rows of the batch or their weight.
        clip_norm: gradients are scaled down to this norm, taken over all of them.
        callbacks: called with each ``Epoch`` before it is yielded; when one returns True it is the last.
        order: order(number) -> the rows on the host in the order of that epoch, in place of what the seed says.
        compile: what makes a step of arrays a faster one, such as ``jax.jit`` or ``torch.compile``; called once a run.
            PyTorch gives up, with a warning, after eight in one process: some three runs, unless its
            ``recompile_limit`` is raised.
        options: of the objective, see ``TrainOptions``; ``sample_weight`` is (n,).

    Raises:
        ValueError: for a NaN or infinity in the data, or labels out of range, on every backend.
        Diverged: when the loss or a parameter is no longer finite, with the epoch, the step and the likely cause.
        Interrupted: for Ctrl-C inside an epoch.
    """
    check_whole("epochs", epochs, 1)
    check_whole("batch_size", batch_size, 1)
    check_whole("seed", seed, 0)
    check_number("alpha", alpha, 0.0, math.inf)
    if clip_norm is not None:
        check_positive("clip_norm", clip_norm)
    if patience is not None:
        check_patience(patience, tol)
    start = params if isinstance(params, Epoch) else None
    here = start.params if start is not None else cast(Params, params)
    xp, data, held_out = _read(X, y, options.get("sample_weight"), here, validation, seed)
    optimizer = adam() if optimizer is None else optimizer
    state = optimizer.init(here)
    if start is not None:
        if len(start.state) != len(state):
            raise ValueError(
                f"to go on from an Epoch takes its optimizer: the state of this one is {len(state)} arrays, "
                f"that of the Epoch {len(start.state)}"
            )
        state = start.state
    schedule = lr if callable(lr) else constant(lr)
    step = _step(xp, optimizer, float(alpha), clip_norm, options)
    step = step if compile is None else compile(step)
    np.empty(_MEMORY, dtype=np.uint8)
    judged = cast(PredictOptions, {key: value for key, value in options.items() if key in ("activation", "criterion")})

    n = data.X.shape[0]
    per_epoch = -(-n // batch_size)
    history = list(start.history) if start is not None else []
    best = start.best if start is not None else here
    # a NaN is no lower than anything
    lowest = min((record.watched for record in history if not math.isnan(record.watched)), default=math.inf)
    before: list[Params] = []  # the parameters before this epoch, and before the last
    began = time.perf_counter() - (history[-1].seconds if history else 0.0)
    for number in range(len(history) + 1, epochs + 1):
        watched = [record.watched for record in history]
        if patience is not None and stalls(watched, patience, tol):
            return
        before = [here, *before[:1]]
        try:
            random = np.random.default_rng((seed, number))
            first_mask = int(random.integers(_SEEDS))
            done = [(number - 1) * per_epoch + position for position in range(per_epoch)]
            rates = [_rate(schedule, Progress(steps, epochs * per_epoch, (number - 1) * n, watched)) for steps in done]
            masks = [(first_mask + position) % _SEEDS for position in range(per_epoch)]
            numbers: Any = (rates, masks) if compile is None else _as_arrays(xp, here[0], rates, masks)
            batches = _batches(xp, data, here[0], batch_size, _rows(random, number, n, shuffle, order))
            zero = xp.zeros((2,), dtype=here[0].dtype, **device_kwargs(here[0]))
            sums: list[tuple[Array, Array]] = [(zero[0, ...], zero[1, ...])]  # of objective and penalty
            for batch, rate, mask in zip(batches, *numbers, strict=True):
                here, state, objective_sum, penalty_sum = step(here, state, *sums[-1], *batch, rate, mask)
                sums.append((objective_sum, penalty_sum))
            mean_loss = float(sums[-1][0]) / n
            if not (math.isfinite(mean_loss) and _all_finite(xp, here)):
                rates = [history[-1].lr if history else 0.0, *rates]  # that of the step before comes first
                raise _diverged(xp, data.X, [each for each, _ in sums[1:]], number, rates, before)
            mean_penalty = float(sums[-1][1]) / n if alpha else 0.0
            val_loss = val_score = None
            if held_out is not None:
                val_loss, val_score = judge(xp, *held_out, here, judged, wants_score=score is None)
            if score is not None:
                val_score = float(score(here))
            seconds = time.perf_counter() - began
            record = Record(
                number, mean_loss, mean_penalty, val_loss, val_score, rates[-1], number * per_epoch, seconds
            )
            history.append(record)
            if record.watched < lowest or lowest == math.inf:
                best, lowest = here, min(lowest, record.watched)
            epoch = Epoch(tuple(history), here, best, state)
            answers = [callback(epoch) for callback in callbacks]
        except KeyboardInterrupt:
            raise Interrupted(here) from None
        yield epoch
        if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
            return


# --- one step ----------------------------------------------------------------------------------------------------


class _Data(NamedTuple):
    """Rows, dense or sparse, their targets and, unless all weigh the same, their weights."""

    X: Array | Any
    y: Array
    weight: Array | None


def _batches(
    xp: Namespace, data: _Data, like: Array, size: int, rows: Any
) -> Iterator[tuple[Array, Array, Array | None, Array | None]]:
    """X, y, weight of each minibatch, and which rows of them it takes, None for all; ``rows`` is their order, if any.

    The rows of dense data are taken in the step, where a compiler sees it; a sparse matrix is made dense batch by
    batch.
    """
    n = data.X.shape[0]
    size = min(size, n)
    spans = [slice(low, min(low + size, n)) for low in range(0, n, size)]
    if rows is None:
        for span in spans:
            weight = None if data.weight is None else data.weight[span]
            yield rows_of(xp, data.X, like, span), data.y[span, ...], weight, None
        return
    there = xp.asarray(rows, **device_kwargs(like))
    full = n // size * size
    # one call for all of them: where each one waits for the host, a slice costs as much as the step
    parts = [*xp.unstack(xp.reshape(there[:full], (-1, size))), there[full:]]
    for span, part in zip(spans, parts, strict=False):
        if is_sparse(data.X):
            chosen = (None if array is None else xp.take(array, part, axis=0) for array in data[1:])
            yield rows_of(xp, data.X, like, rows[span]), *cast(Any, tuple(chosen)), None
        else:
            yield *data, part


def _step(
    xp: Namespace, optimizer: Optimizer, alpha: float, clip_norm: float | None, options: TrainOptions
) -> Callable[..., tuple[Params, State, Array, Array]]:
    """A function of parameters, state, two sums, a batch, a rate and a seed: what follows the first four.

    The sums are of the objective before the update, with ``alpha``'s penalty in it, and of this penalty alone, both
    times the rows.
    """

    def step(
        params: Params, state: State, objective_sum: Array, penalty_sum: Array,
        X: Array, y: Array, weight: Array | None, rows: Array | None, rate: float | Array, seed: int | Array,
    ) -> tuple[Params, State, Array, Array]:  # fmt: skip
        if rows is not None:
            X, y = xp.take(X, rows, axis=0), xp.take(y, rows, axis=0)
            weight = None if weight is None else xp.take(weight, rows, axis=0)
        settings = cast(Options, {**options, "sample_weight": weight})
        if options.get("dropout"):
            settings["seed"] = seed
        loss, grads = loss_and_grads(X, y, *params, **settings)
        count = float(X.shape[0])
        if alpha:
            strength = alpha / (count if weight is None else xp.sum(weight))
            grads = tuple(g + strength * p if p.ndim == 2 else g for g, p in zip(grads, params, strict=True))
            penalty = sum_of_squares(xp, params[::2]) * (0.5 * strength)
            loss, penalty_sum = loss + penalty, penalty_sum + penalty * count
        if clip_norm is not None:
            grads = clip_by_global_norm(grads, clip_norm)
        params, state = optimizer.update(params, grads, state, rate)
        # computed now where a library would put it off: a graph must not grow from step to step
        objective_sum, penalty_sum, *arrays = persisted(objective_sum + loss * count, penalty_sum, *params, *state)
        return tuple(arrays[: len(params)]), tuple(arrays[len(params) :]), objective_sum, penalty_sum

    return step


def _as_arrays(
    xp: Namespace, like: Array, rates: list[float], seeds: list[int]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The numbers of each step on the device: a Python number would be compiled in, an array is not."""
    place = device_kwargs(like)
    return (
        xp.unstack(xp.asarray(rates, dtype=like.dtype, **place)),
        xp.unstack(xp.asarray(seeds, dtype=xp.int32, **place)),
    )


def _rate(schedule: Schedule, progress: Progress) -> float:
    rate = schedule(progress)
    check_number("lr", rate, 0.0, math.inf)
    return float(rate)  # a scalar of NumPy would widen float32


def _rows(random: Any, number: int, n: int, shuffle: bool, order: Callable[[int], Any] | None) -> Any:
    """The rows in the order of this epoch, on the host; None as they are."""
    if order is None:
        return random.permutation(n) if shuffle else None
    rows = np.asarray(order(number))
    if rows.shape != (n,) or not np.issubdtype(rows.dtype, np.integer) or rows.min() < 0 or rows.max() >= n:
        raise ValueError(f"order({number}) must be {n} row numbers from 0 to {n - 1}, got {rows}")
    return rows


def _all_finite(xp: Namespace, arrays: Sequence[Array]) -> bool:
    """Whether every entry of all of them is: one number comes back."""
    return bool(xp.all(xp.stack([xp.all(xp.isfinite(array)) for array in arrays])))


# --- the data ----------------------------------------------------------------------------------------------------


def is_sparse(X: Any) -> bool:
    """Whether ``X`` is a sparse matrix of scipy."""
    return hasattr(X, "toarray") and hasattr(X, "nnz")


def rows_of(xp: Namespace, X: Array | Any, like: Array, rows: Any) -> Array:
    """``X[rows]``, dense and beside ``like``; ``rows`` is a slice, or indices: on the host where X is sparse."""
    if is_sparse(X):
        return xp.asarray(cast(Any, X)[rows].toarray(), **device_kwargs(like))
    return X[rows, ...] if isinstance(rows, slice) else xp.take(X, rows, axis=0)


def judge(
    xp: Namespace, X: Array | Any, y: Array, params: Params, options: PredictOptions, wants_score: bool = True
) -> tuple[float, float | None]:
    """The data loss on all rows, and the share of right labels or R^2, chunk by chunk; no score for other targets."""
    n = X.shape[0]
    loss, outputs = 0.0, []
    for low in range(0, n, _CHUNK):
        rows = slice(low, min(low + _CHUNK, n))
        part, targets = rows_of(xp, X, params[0], rows), rows_of(xp, y, params[0], rows)
        loss += float(objective(part, targets, *params, **options)) * part.shape[0]
        if wants_score:
            outputs.append(predict(part, *params, **options))
    if not wants_score:
        return loss / n, None
    predicted = xp.concat(outputs)
    if predicted.shape != y.shape:
        return loss / n, None
    if y.ndim == 1:
        return loss / n, float(accuracy(xp, xp.astype(y, predicted.dtype), predicted, params[0]))
    criterion = rule_named("criterion", CRITERIA, options.get("criterion", "softmax_cross_entropy"))
    if criterion not in (CRITERIA["squared_error"], CRITERIA["poisson"]):
        return loss / n, None
    return loss / n, float(r2(xp, y, predicted))


def check_values(xp: Namespace, X: Array | Any, y: Array, d_out: int, which: str = "") -> None:
    """Raise ``ValueError`` for a NaN or infinity in ``X`` or floating ``y``, or labels outside of 0 ... d_out - 1.

    This looks at every value, which waits for the device: data is checked where it enters, not in every step.
    """
    try:
        if not is_sparse(X):
            check_batch(xp, X)
        elif not np.all(np.isfinite(_by_rows(X).data)):
            raise ValueError("X must be finite, got NaN or infinity")
    except (TypeError, ValueError) as error:
        raise type(error)(f"{which}{error}") from None
    if y.ndim == 0 or y.shape[0] != X.shape[0]:
        expected = f"one row for each of the {X.shape[0]} rows of X"
        raise ValueError(f"{which}y must have {expected}, got shape {tuple(y.shape)}")
    for name, array in (("y", y),) if is_sparse(X) else (("X", X), ("y", y)):
        if is_floating(xp, array.dtype) and not bool(xp.all(xp.isfinite(array))):
            raise ValueError(f"{which}{name} must be finite, got NaN or infinity")
    if is_integral(xp, y.dtype):
        low, high = int(xp.min(y)), int(xp.max(y))
        if low < 0 or high >= max(d_out, 2):
            raise ValueError(f"{which}y must hold labels 0 to {max(d_out, 2) - 1}, got labels {low} to {high}")


def _check_weights(xp: Namespace, y: Array, weight: Array, n: int) -> None:
    namespace(y, weight, names=("y", "sample_weight"))
    if weight.shape != (n,):
        raise ValueError(f"sample_weight must have shape (n,) = ({n},), got {tuple(weight.shape)}")
    if not bool(xp.all(xp.isfinite(weight) & (weight > 0))):
        raise ValueError("sample_weight must be finite and positive, so that no minibatch weighs nothing")


def _read(
    X: Array | Any,
    y: Array,
    weight: Array | None,
    params: Params,
    validation: tuple[Array | Any, Array] | float | None,
    seed: int,
) -> tuple[Namespace, _Data, tuple[Array | Any, Array] | None]:
    """The arrays' namespace, the rows to learn from and those that are held out, if any; all looked at."""
    xp = _meet(X, y, params)
    data = _Data(_by_rows(X), y, weight)
    _check_network(xp, X, params)
    check_values(xp, X, y, params[-1].shape[-1])
    if not _all_finite(xp, params):
        raise ValueError("the parameters must be finite, got NaN or infinity")
    if weight is not None:
        _check_weights(xp, y, weight, X.shape[0])
    if validation is None:
        return xp, data, None
    if isinstance(validation, Real):
        return xp, *_held_out(xp, data, float(validation), seed, params[0])
    if not isinstance(validation, tuple) or len(validation) != 2:
        raise TypeError(f"validation must be a pair (X, y) or a share of the rows, got {type(validation).__name__}")
    _meet(*validation, params, "validation ")
    _check_network(xp, validation[0], params, "validation ")
    check_values(xp, *validation, params[-1].shape[-1], "validation ")
    return xp, data, (_by_rows(validation[0]), validation[1])


def _meet(X: Array | Any, y: Array, params: Params, which: str = "") -> Namespace:
    if is_sparse(X):
        return namespace(y, *params, names=(f"{which}y",))
    return namespace(X, y, *params, names=(f"{which}X", f"{which}y"))


def _check_network(xp: Namespace, X: Array | Any, params: Params, which: str = "") -> None:
    """Raise unless ``params`` are one network for rows such as those of ``X``."""
    like = rows_of(xp, _by_rows(X), params[0], slice(0, 1)) if is_sparse(X) and params else X
    try:
        check_batch(xp, like)
        check_params(params, like)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{which}{error}" if str(error).startswith("X ") else str(error)) from None
    if any(p.ndim != 2 - position % 2 for position, p in enumerate(params)):
        raise ValueError(
            f"one network is trained at a time, got parameters of shape {[tuple(p.shape) for p in params]}"
        )


def _by_rows(X: Any) -> Any:
    """Sparse rows in the format whose rows can be taken."""
    return X.tocsr() if is_sparse(X) else X


def _held_out(
    xp: Namespace, data: _Data, share: float, seed: int, like: Array
) -> tuple[_Data, tuple[Array | Any, Array]]:
    """The data less a seeded random share of the rows, and these."""
    n = data.X.shape[0]
    count = round(share * n) if 0.0 < share < 1.0 else 0
    if not 0 < count < n:
        raise ValueError(f"validation must be a share that leaves rows on both sides, got {share} of {n} rows")
    order = np.random.default_rng((seed, 0)).permutation(n)

    def taken(array: Any, rows: Any) -> Any:
        return array[rows] if is_sparse(array) else xp.take(array, xp.asarray(rows, **device_kwargs(like)), axis=0)

    kept, held = np.sort(order[count:]), np.sort(order[:count])
    weight = None if data.weight is None else taken(data.weight, kept)
    return _Data(taken(data.X, kept), taken(data.y, kept), weight), (taken(data.X, held), taken(data.y, held))


# --- the end of a run that went wrong ----------------------------------------------------------------------------


def _diverged(
    xp: Namespace,
    X: Any,
    sums: Sequence[Array],
    number: int,
    rates: Sequence[float],
    before: Sequence[Params],
) -> Diverged:
    finite = [math.isfinite(float(loss)) for loss in sums]
    count = len(sums)
    bad = finite.index(False) if False in finite else count  # each loss is finite, what came after is not
    largest = float(np.max(np.abs(X.data), initial=0.0)) if is_sparse(X) else float(xp.max(xp.abs(X)))
    if largest > _LARGE:
        cause = f"the inputs reach {largest:.1e}: standardise them"
    elif number == 1 and bad == 0:
        cause = "no step was made yet: the parameters that it starts from are too large"
    else:
        cause = f"the learning rate, {rates[bad]:.3g}, is too large; or clip the gradients with clip_norm"
    # where already the first loss is not finite, it is the parameters before this epoch that are not good
    good = before[-1] if bad == 0 else before[0]
    what = f"the loss is not finite at step {bad + 1} of {count} in epoch {number}"
    if bad == count:
        what = f"the parameters are not finite at the end of epoch {number}"
    return Diverged(f"{what}: {cause}", good)
