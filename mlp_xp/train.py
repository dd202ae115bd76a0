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
from typing import Any, NamedTuple, Unpack, cast

import numpy as np  # for the host's random numbers alone

from mlp_xp._arguments import check_batch, check_number
from mlp_xp._namespace import beside, is_floating, is_integral, namespace, settled
from mlp_xp._typing import Array, Namespace, Params
from mlp_xp.backends import to_host
from mlp_xp.mlp import Options, PredictOptions, TrainOptions, loss_and_grads, objective, predict
from mlp_xp.optim import Optimizer, State, adam, clip_by_global_norm
from mlp_xp.schedules import Progress, Schedule, constant, stalls

_SEEDS = 2**31  # of dropout masks

# Inputs beyond this are named as the likely cause of a loss that overflows: standardised ones are a few units large.
_LARGE = 1e3

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
    """The loss is no longer finite. ``params`` are the last that were found finite between two epochs."""

    def __init__(self, message: str, params: Params) -> None:
        super().__init__(message)
        self.params = params


class Interrupted(KeyboardInterrupt):
    """Ctrl-C inside an epoch. ``params`` are those after its last step."""

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
    **options: Unpack[TrainOptions],
) -> Iterator[Epoch]:
    """Yield an ``Epoch`` after each pass over ``X`` (n, d_in) and ``y`` in seeded random order.

    Args:
        X, y: the data, as in ``objective``. X may be a scipy sparse matrix, whose batches are made dense one by one.
        params: where to start from; or an ``Epoch`` of such a run, to go on from. They are not changed.
        epochs: how many passes, those of a run that is gone on with included.
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
        order: order(number) -> the rows in the order of that epoch, in place of what the seed says.
        options: of the objective, see ``TrainOptions``; ``sample_weight`` is (n,).

    Raises:
        ValueError: for a NaN or infinity in the data, or labels out of range, on every backend.
        Diverged: when the loss is no longer finite, with the epoch, the step and the likely cause.
        Interrupted: for Ctrl-C inside an epoch.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, got {epochs} and {batch_size}")
    check_number("alpha", alpha, 0.0, math.inf)
    start = params if isinstance(params, Epoch) else None
    here = start.params if start is not None else cast(Params, params)
    arrays = (y, *here) if is_sparse(X) else (X, y, *here)
    xp = namespace(*arrays, names=("y",) if is_sparse(X) else ("X", "y"))
    d_out = here[-1].shape[-1]
    check_values(xp, X, y, d_out)
    weight = options.get("sample_weight")
    if weight is not None:
        _check_weights(xp, y, weight, X.shape[0])
    if isinstance(validation, float):
        X, y, weight, validation = _held_out(xp, X, y, weight, validation, seed, here[0])
    if validation is not None:
        check_values(xp, *validation, d_out, "validation ")
    optimizer = adam() if optimizer is None else optimizer
    schedule = lr if callable(lr) else constant(lr)
    judged = cast(PredictOptions, {key: value for key, value in options.items() if key in ("activation", "criterion")})
    step_options = cast(Options, dict(options))

    state = start.state if start is not None else optimizer.init(here)

    def step(rows: Any, number: int, drop: int, rate: float) -> tuple[Array, Array]:
        """One update of ``here`` and ``state``: the objective before it, and its penalty, for the rows together."""
        nonlocal here, state
        if options.get("dropout"):
            step_options["seed"] = drop
        count, total = float(number), None
        if weight is not None:
            step_options["sample_weight"] = of_batch = rows_of(xp, weight, here[0], rows)
            total = xp.sum(of_batch)
        loss, grads = loss_and_grads(
            rows_of(xp, X, here[0], rows), rows_of(xp, y, here[0], rows), *here, **step_options
        )
        penalty = xp.zeros_like(loss)
        if alpha:
            strength = alpha / count if total is None else alpha / total
            grads = tuple(g + strength * p if p.ndim == 2 else g for g, p in zip(grads, here, strict=True))
            penalty = sum((xp.sum(p * p) for p in here[::2]), start=penalty) * (0.5 * strength)
        if clip_norm is not None:
            grads = clip_by_global_norm(grads, clip_norm)
        after, new_state = optimizer.update(here, grads, state, rate)
        # computed now where a library would put it off: a graph must not grow from step to step
        loss, penalty, *arrays = settled((loss + penalty) * count, penalty * count, *after, *new_state)
        here, state = tuple(arrays[: len(here)]), tuple(arrays[len(here) :])
        return loss, penalty

    n = X.shape[0]
    per_epoch = -(-n // batch_size)
    history = list(start.history) if start is not None else []
    best = start.best if start is not None else here
    lowest = min((record.watched for record in history), default=math.inf)
    before: list[Params] = []  # the parameters before this epoch, and before the last
    began = time.perf_counter() - (history[-1].seconds if history else 0.0)
    for number in range(len(history) + 1, epochs + 1):
        random = np.random.default_rng((seed, number))
        first_seed = int(random.integers(_SEEDS))
        there = None
        if order is not None or shuffle:
            drawn = random.permutation(n) if order is None else order(number)
            there = xp.asarray(drawn, **beside(here[0]))
        watched = [record.watched for record in history]
        before, losses, penalties = [here, *before[:1]], [], []
        try:
            for position in range(per_epoch):
                low, high = position * batch_size, min((position + 1) * batch_size, n)
                progress = Progress((number - 1) * per_epoch + position, epochs * per_epoch, (number - 1) * n, watched)
                rate = schedule(progress)
                rows = slice(low, high) if there is None else there[low:high]
                loss, penalty = step(rows, high - low, (first_seed + position) % _SEEDS, rate)
                losses.append(loss)
                penalties.append(penalty)
        except KeyboardInterrupt:
            raise Interrupted(here) from None
        mean_loss = float(sum(losses[1:], start=losses[0])) / n
        if not math.isfinite(mean_loss):
            raise _diverged(xp, X, losses, number, per_epoch, rate, before)
        mean_penalty = float(sum(penalties[1:], start=penalties[0])) / n if alpha else 0.0
        val_loss = val_score = None
        if validation is not None:
            val_loss, val_score = judge(xp, *validation, here, judged, wants_score=score is None)
        if score is not None:
            val_score = float(score(here))
        seconds = time.perf_counter() - began
        record = Record(number, mean_loss, mean_penalty, val_loss, val_score, rate, number * per_epoch, seconds)
        history.append(record)
        if record.watched < lowest:
            lowest, best = record.watched, here
        epoch = Epoch(tuple(history), here, best, state)
        done = [callback(epoch) for callback in callbacks]
        yield epoch
        if any(answer is True for answer in done):
            return
        if patience is not None and stalls([record.watched for record in history], patience, tol):
            return


def is_sparse(X: Any) -> bool:
    """Whether ``X`` is a sparse matrix of scipy."""
    return hasattr(X, "toarray") and hasattr(X, "nnz")


def rows_of(xp: Namespace, X: Array | Any, like: Array, rows: Any) -> Array:
    """``X[rows]``, dense and beside ``like``; ``rows`` is a slice or an array of indices."""
    if is_sparse(X):
        return xp.asarray(cast(Any, X)[rows if isinstance(rows, slice) else to_host(rows)].toarray(), **beside(like))
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
        return loss / n, float(xp.sum(xp.astype(predicted == y, params[0].dtype))) / n
    if options.get("criterion") not in ("squared_error", "poisson"):
        return loss / n, None
    gap = xp.sum((y - predicted) * (y - predicted), axis=0)
    centred = y - xp.sum(y, axis=0) / n
    return loss / n, float(_mean(xp, 1.0 - gap / xp.sum(centred * centred, axis=0)))


def _mean(xp: Namespace, x: Array) -> Array:
    return xp.sum(x) / math.prod(x.shape)


def check_values(xp: Namespace, X: Array | Any, y: Array, d_out: int, which: str = "") -> None:
    """Raise ``ValueError`` for a NaN or infinity in ``X`` or floating ``y``, or labels outside of 0 ... d_out - 1.

    This looks at every value, which waits for the device: data is checked where it enters, not in every step.
    """
    if is_sparse(X):
        if not np.all(np.isfinite(cast(Any, X).data)):
            raise ValueError(f"{which}X must be finite, got NaN or infinity")
    else:
        check_batch(xp, X)
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


def _held_out(
    xp: Namespace, X: Any, y: Array, weight: Array | None, share: float, seed: int, like: Array
) -> tuple[Any, Array, Array | None, tuple[Any, Array]]:
    """``X, y, weight`` less a seeded random share of the rows, and these."""
    n = X.shape[0]
    count = round(share * n)
    if not 0 < count < n:
        raise ValueError(f"validation must be a share that leaves rows on both sides, got {share} of {n} rows")
    order = np.random.default_rng((seed, 0)).permutation(n)

    def taken(array: Any, rows: Any) -> Any:
        return array[rows] if is_sparse(array) else xp.take(array, xp.asarray(rows, **beside(like)), axis=0)

    kept, held = np.sort(order[count:]), np.sort(order[:count])
    rest = None if weight is None else taken(weight, kept)
    return taken(X, kept), taken(y, kept), rest, (taken(X, held), taken(y, held))


def _diverged(
    xp: Namespace, X: Any, losses: Sequence[Array], number: int, per_epoch: int, rate: float, before: Sequence[Params]
) -> Diverged:
    finite = [math.isfinite(float(loss)) for loss in losses]
    step = finite.index(False) if False in finite else len(finite)  # each of them is, and their sum is not
    largest = float(np.max(np.abs(X.data))) if is_sparse(X) else float(xp.max(xp.abs(X)))
    if largest > _LARGE:
        cause = f"the inputs reach {largest:.1e}: standardise them"
    elif number == 1 and step == 0:
        cause = "no step was made yet: the parameters that it starts from are too large"
    else:
        cause = f"the learning rate, {rate:.3g}, is too large; or clip the gradients with clip_norm"
    good = next((params for params in before if all(bool(xp.all(xp.isfinite(p))) for p in params)), before[-1])
    return Diverged(f"the loss is not finite at step {step + 1} of {per_epoch} in epoch {number}: {cause}", good)
