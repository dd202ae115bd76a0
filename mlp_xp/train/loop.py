"""The training loop: ``for epoch in train(X, y, params, ...)``. The caller logs, plots, keeps or stops.

``train`` reads the data and calls ``run``. ``run`` plans an epoch (order, rates, seeds), runs its steps, evaluates,
records, and stops where it should. Batches are taken on the device. Nothing comes back to the host inside an epoch; a
few numbers do at its end. What is drawn depends on the seed and the number of the epoch alone: a run that goes on from
an ``Epoch`` is the run that never stopped.

Before: ``dataset``, ``step`` and ``evaluate``. Next: ``checkpoint`` keeps an epoch in a file; ``estimators`` and
``cli`` call the loop.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Unpack, cast

import numpy as np  # for the host's random numbers and its memory alone

from mlp_xp._lib.arguments import (
    check_callable,
    check_callables,
    check_flag,
    check_number,
    check_parameters,
    check_positive,
    check_whole,
    described,
    is_true,
    shortened,
)
from mlp_xp._lib.files import dtype_name
from mlp_xp._lib.namespace import detached, device_of, is_floating, namespace
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.losses import criterion_named, of_any_range
from mlp_xp.mlp import PredictOptions, TrainOptions, terms_of
from mlp_xp.optim import Optimizer, State, adam, check_optimizer
from mlp_xp.schedules import Progress, Schedule, check_patience, stalls
from mlp_xp.train.dataset import Dataset, all_finite, batches, is_sparse, read
from mlp_xp.train.evaluate import evaluate
from mlp_xp.train.step import Sums, make_step, zero_sums

_SEEDS = 2**31  # of dropout masks

# Data and parameters beyond this are a likely cause of a loss that overflows: standardised ones are a few units large.
_LARGE = 1e3

# Bytes that are taken and given back once. The C library of Linux returns freed memory to the system, and every step
# would ask for it anew, page by page, which costs more than the arithmetic. What it keeps is twice the largest block
# that it has seen come and go, up to 32 MiB.
_MEMORY = 31 * 2**20


class Record(NamedTuple):
    """The numbers of one pass over the data.

    number: of the pass, from 1.
    loss: the mean objective of the steps, each before its update, weighted by batch size.
    penalty: the part of ``loss`` that ``alpha`` adds.
    val_loss: the data loss on the validation set, without penalties and dropout; None without such a set.
    val_score: the score on the validation set; None without one.
    lr: the learning rate of the last step.
    steps: how many were made so far.
    seconds: how long training took so far.
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
        """The number that is to fall: minus the validation score, else the validation loss, else the loss."""
        if self.val_score is not None:
            return -self.val_score
        return self.loss if self.val_loss is None else self.val_loss


class Epoch(NamedTuple):
    """Where training stands after a pass over the data: a run goes on from here.

    history: a record of each pass so far.
    params: the parameters now.
    best: the parameters after the pass with the lowest ``watched``.
    state: of the optimizer.
    optimizer: the name of that optimizer, which alone knows what the state means; empty where nobody named it.
    rows: how many were seen so far; 0 where nobody counted.
    """

    history: tuple[Record, ...]
    params: Params
    best: Params
    state: State
    optimizer: str = ""
    rows: int = 0

    @property
    def last(self) -> Record:
        """The record of this pass."""
        return self.history[-1]


class Diverged(FloatingPointError):
    """The loss is no longer finite. ``params`` are: the last ones between two epochs with a finite loss."""

    def __init__(self, message: str, params: Params) -> None:
        super().__init__(message)
        self.params = params

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, which by itself passes the message alone."""
        return type(self), (str(self), self.params), self.__dict__


class Interrupted(KeyboardInterrupt):
    """Ctrl-C inside an epoch, evaluation and callbacks included. ``params`` are those after the last step."""

    def __init__(self, params: Params) -> None:
        super().__init__("training was interrupted")
        self.params = params

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, which by itself passes the message."""
        return type(self), (self.params,), self.__dict__


class Settings(NamedTuple):
    """How a run goes: what ``train`` takes by keyword, see there."""

    epochs: int
    optimizer: Optimizer
    lr: float | Schedule
    batch_size: int = 128
    shuffle: bool = True
    seed: int = 0
    score: Callable[[Params], float] | None = None
    patience: float | None = None
    tol: float = 0.0
    alpha: float = 0.0
    clip_norm: float | None = None
    callbacks: Sequence[Callable[[Epoch], object]] = ()
    order: Callable[[int], Any] | None = None
    compile: Callable[[Any], Any] | None = None
    options: TrainOptions = TrainOptions()


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
    """Yield an ``Epoch`` after each pass over ``X`` (n, d_in) and ``y``, whose rows come in a seeded random order.

    Args:
        X: (n, d_in), real floating; or a scipy sparse matrix, whose batches are made dense one by one.
        y: the targets, as in ``objective``.
        params: parameters to start from, or an ``Epoch`` to go on from, with the optimizer that made it. They are not
            changed, and what PyTorch recorded of their past, or of the data's, stays behind.
        epochs: how many passes, those of a run that is gone on with included; where it has made them all, none.
        optimizer: ``sgd()``, ``momentum()``, or another ``Optimizer``; ``adam()`` when None.
        lr: the learning rate, or a schedule. What is planned is what was made and, for each epoch that is left, as many
            steps as this one takes.
        batch_size: rows in a step; the last one of an epoch takes what is left.
        shuffle: whether the order changes from epoch to epoch; otherwise the rows come as they are.
        seed: of the order and of the dropout masks, which change with every step.
        validation: rows ``(X, y)`` on which each epoch is judged, or the share of the rows to hold out for that.
        score: score(params), higher is better; by default the share of right labels on the validation set or, for
            numbers, R^2.
        patience: ends the run after more than so many epochs in a row that did not improve on the best by ``tol``; the
            parameters to keep are then ``best`` of the last epoch.
        tol: the least improvement that counts.
        alpha: strength of scikit-learn's penalty ``alpha / 2S sum ||W||^2``, S the rows of the batch or their weight.
        clip_norm: gradients are scaled down to this norm, taken over all of them.
        callbacks: called with each ``Epoch`` before it is yielded; when one returns True, the epoch is the last.
        order: order(number) -> the rows on the host in the order of that epoch, in place of the seeded one.
        compile: makes a function of arrays a faster one, such as ``jax.jit`` or ``torch.compile``; called once a run.
            PyTorch gives up, with a warning, after eight in one process: some three runs, unless its
            ``recompile_limit`` is raised.
        options: of the objective, see ``TrainOptions``; ``sample_weight`` is (n,).

    Yields:
        An ``Epoch`` after each pass: parameters, the best so far, the optimizer's state, and a ``Record`` of each pass.

    Raises:
        ValueError: for a NaN or infinity in the data, or targets that the criterion does not take, on every backend.
        TypeError: for an argument that is something else.
        Diverged: when the loss or a parameter is no longer finite, with the epoch, the step and the likely cause.
        Interrupted: for Ctrl-C inside an epoch.

    >>> import numpy as np, mlp_xp as mx
    >>> from mlp_xp.train import train
    >>> X, y = np.eye(4), np.asarray([0, 1, 0, 1])
    >>> for epoch in train(X, y, mx.init_params((4, 8, 2)), epochs=60, lr=0.1, batch_size=2):
    ...     pass
    >>> epoch.last.number, mx.predict(X, *epoch.params).tolist()
    (60, [0, 1, 0, 1])
    """
    start = params if isinstance(params, Epoch) else check_parameters("params", params)
    settings = Settings(
        check_whole("epochs", epochs, 1),
        adam() if optimizer is None else check_optimizer(optimizer),
        lr if callable(lr) else check_number("lr", lr, 0.0, math.inf),
        check_whole("batch_size", batch_size, 1),
        check_flag("shuffle", shuffle),
        check_whole("seed", seed, 0),
        _if_given(check_callable, "score", score, "lambda params: 0.5"),
        *_checked_patience(patience, tol),
        check_number("alpha", alpha, 0.0, math.inf),
        _if_given(check_positive, "clip_norm", clip_norm),
        check_callables("callbacks", callbacks),
        _if_given(check_callable, "order", order, "lambda number: range(n)"),
        _if_given(check_callable, "compile", compile, "jax.jit or torch.compile"),
        options,
    )
    criterion = criterion_named(options.get("criterion", "softmax_cross_entropy"))
    data, held_out = read(
        Dataset(X, y, options.get("sample_weight")), start.params if isinstance(start, Epoch) else start,
        validation, settings.seed, criterion,
    )  # fmt: skip
    yield from run(data, held_out, start, settings)


def _if_given(check: Callable[..., Any], name: str, value: Any, *rest: Any) -> Any:
    """None for None, else what the check returns."""
    return None if value is None else check(name, value, *rest)


def _checked_patience(patience: float | None, tol: float) -> tuple[float | None, float]:
    checked, tol = check_patience(0.0 if patience is None else patience, tol)
    return None if patience is None else checked, tol


def run(data: Dataset, held_out: Dataset | None, start: Params | Epoch, settings: Settings) -> Iterator[Epoch]:
    """``train`` on data that were checked already: on one device, finite, with targets that fit the network.

    Args:
        data: the rows to learn from.
        held_out: the rows on which each epoch is judged, or None.
        start: parameters, or an ``Epoch`` to go on from.
        settings: see ``train``.
    """
    n = data.X.shape[0]
    here = _beginning(start, settings.optimizer, n)
    xp = namespace(*here.params)
    options = {name: value for name, value in settings.options.items() if name != "sample_weight"}
    terms = terms_of(len(here.params) // 2 - 1, **cast(Any, options))
    terms = terms._replace(criterion=of_any_range(terms.criterion))  # the data were looked at
    step = make_step(xp, terms, settings.optimizer, settings.alpha, settings.clip_norm)
    if settings.compile is not None:
        step = check_callable("what compile returns", settings.compile(step), "jax.jit(step)")
    cause_of = partial(_cause, data, settings, start)
    np.empty(_MEMORY, dtype=np.uint8)
    began = time.perf_counter() - (here.last.seconds if here.history else 0.0)
    before = here.params  # where the epoch before began
    while len(here.history) < settings.epochs:
        watched = [record.watched for record in here.history]
        if settings.patience is not None and stalls(watched, settings.patience, settings.tol):
            return
        params, state = here.params, here.state
        try:
            plan = _plan(here, n, settings, watched)
            numbers: Any = (plan.rates, plan.seeds) if settings.compile is None else _as_arrays(xp, params[0], plan)
            sums = [zero_sums(xp, params)]
            parts = batches(xp, data, params[0], settings.batch_size, plan.rows)
            for batch, rate, mask in zip(parts, *numbers, strict=True):
                params, state, total = step(params, state, sums[-1], batch, rate, mask)
                sums.append(total)
            loss = float(sums[-1].objective) / n
            if not (math.isfinite(loss) and all_finite(xp, *params)):
                raise _diverged(sums, plan, here, before, cause_of)
            decay = float(sums[-1].penalty) / n if settings.alpha else 0.0
            judged = _judged(xp, held_out, params, settings)
            seconds = time.perf_counter() - began
            made = _steps_made(here) + len(plan.rates)
            record = Record(plan.number, loss, decay, *judged, plan.rates[-1], made, seconds)
            before, here = here.params, _after(here, record, params, state, n)
            answers = [callback(here) for callback in settings.callbacks]
        except KeyboardInterrupt:
            raise Interrupted(params) from None
        yield here
        if any(map(is_true, answers)):
            return


# --- the parts of an epoch ---------------------------------------------------------------------------------------


def _beginning(start: Params | Epoch, optimizer: Optimizer, n: int) -> Epoch:
    """Where the run begins, as an epoch, of arrays without a past.

    Raises:
        ValueError, TypeError: for an epoch of another optimizer.
    """
    if not isinstance(start, Epoch):
        params = detached(*start)
        return Epoch((), params, params, optimizer.init(params), optimizer.name)
    params, state = detached(*start.params), detached(*start.state)
    best = params if start.best is start.params else detached(*start.best)
    takes = "to go on from an Epoch takes its optimizer"
    if start.optimizer and optimizer.name and start.optimizer != optimizer.name:
        raise ValueError(f"{takes}: the Epoch's is {start.optimizer}, got {optimizer.name}")
    namespace(params[0], *state, names=("W1", *(f"array {position} of the state" for position in range(len(state)))))
    ours, theirs = (
        [f"{dtype_name(a.dtype)} {tuple(a.shape)}" for a in each] for each in (optimizer.init(params), state)
    )
    if len(ours) != len(theirs):
        raise ValueError(f"{takes}: the state of this one is {len(ours)} arrays, that of the Epoch {len(theirs)}")
    for position, (expected, found) in enumerate(zip(ours, theirs, strict=True)):
        if expected != found:
            raise ValueError(f"{takes}: array {position} of its state must be {expected}, got {found}")
    # where nobody counted, the epochs before had as many rows as this one
    return Epoch(start.history, params, best, state, optimizer.name, start.rows or len(start.history) * n)


def _steps_made(here: Epoch) -> int:
    return here.last.steps if here.history else 0


class _Plan(NamedTuple):
    """An epoch before it begins.

    number: of the epoch.
    rows: their order, on the host; None as they come.
    rates, seeds: the learning rate and the seed of the dropout masks of each step.
    """

    number: int
    rows: Any
    rates: list[float]
    seeds: list[int]


def _plan(here: Epoch, n: int, settings: Settings, watched: Sequence[float]) -> _Plan:
    """All that is drawn and chosen for the epoch after ``here``, on ``n`` rows.

    What is drawn depends on the seed and the number of the epoch alone.
    """
    number = len(here.history) + 1
    random = np.random.default_rng((settings.seed, number))
    first_mask = int(random.integers(_SEEDS))
    steps = -(-n // settings.batch_size)
    rows = None
    if settings.order is not None:
        rows = _row_numbers(settings.order(number), number, n)
    elif settings.shuffle:
        rows = random.permutation(n)
    if not callable(settings.lr):
        rates = [settings.lr] * steps
    else:
        done = _steps_made(here)  # epochs of a run may differ in length
        planned = done + (settings.epochs - number + 1) * steps
        progress = (Progress(done + step, planned, here.rows, watched) for step in range(steps))
        rates = [check_number("lr", settings.lr(each), 0.0, math.inf) for each in progress]
    return _Plan(number, rows, rates, [(first_mask + step) % _SEEDS for step in range(steps)])


def _row_numbers(rows: Any, number: int, n: int) -> Any:
    """What ``order(number)`` returned, on the host. Raise unless these are ``n`` numbers of rows."""
    try:
        order = np.asarray(rows)
    except ValueError:  # lists of several lengths
        order = np.empty((0, 0))
    if order.shape != (n,) or not np.issubdtype(order.dtype, np.integer) or order.min() < 0 or order.max() >= n:
        raise ValueError(f"order({number}) must be {n} row numbers from 0 to {n - 1}, got {shortened(rows)}")
    return order.astype(np.int64, copy=False)  # some libraries take no index of 8 bits


def _as_arrays(xp: Namespace, like: Array, plan: _Plan) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Rates and seeds on the device: a compiler builds a Python number into the step, an array it does not."""
    rates = xp.asarray(plan.rates, dtype=like.dtype, device=device_of(like))
    return xp.unstack(rates), xp.unstack(xp.asarray(plan.seeds, dtype=xp.int32, device=device_of(like)))


def _judged(
    xp: Namespace, held_out: Dataset | None, params: Params, settings: Settings
) -> tuple[float | None, float | None]:
    """The loss on the rows that were held out, and the score; None for what there is not."""
    loss = score = None
    if held_out is not None:
        chosen = {key: value for key, value in settings.options.items() if key in PredictOptions.__annotations__}
        loss, score = evaluate(xp, held_out.X, held_out.y, params, cast(PredictOptions, chosen), settings.score is None)
    return loss, score if settings.score is None else _as_a_number(settings.score(params))


def _as_a_number(score: Any) -> float:
    """What ``score`` returned; NaN is a number, which is no improvement."""
    try:
        return float(*detached(score))
    except (TypeError, ValueError):
        raise TypeError(f"score(params) must return a number, got {described(score)}") from None


def _after(here: Epoch, record: Record, params: Params, state: State, n: int) -> Epoch:
    """The epoch after ``here``; the parameters with the lowest ``watched`` are kept as the best."""
    # a NaN is no lower than anything
    lowest = min((each.watched for each in here.history if not math.isnan(each.watched)), default=math.inf)
    better = record.watched < lowest or lowest == math.inf
    best = params if better else here.best
    return Epoch((*here.history, record), params, best, state, here.optimizer, here.rows + n)


def _diverged(
    sums: Sequence[Sums], plan: _Plan, here: Epoch, before: Params, cause_of: Callable[[float | None], str]
) -> Diverged:
    """What to raise: which step of the epoch after ``here``, the likely cause, and finite parameters.

    Args:
        sums: before the first step and after each.
        plan: of the epoch.
        here: where the epoch began.
        before: where the epoch before began.
        cause_of: the likely cause where the last step had this rate; None where no step was made.
    """
    finite = [math.isfinite(float(each.objective)) for each in sums[1:]]
    count = len(finite)
    bad = finite.index(False) if False in finite else count  # each loss is finite, what came after is not
    what = f"the loss is not finite at step {bad + 1} of {count} in epoch {plan.number}"
    if bad == count:
        what = f"the parameters are not finite at the end of epoch {plan.number}"
    rates = [here.last.lr if here.history else None, *plan.rates]  # the rate of the step before comes first
    # where already the first loss is not finite, the parameters before this epoch are not good either
    return Diverged(f"{what}: {cause_of(rates[bad])}", before if bad == 0 else here.params)


def _cause(data: Dataset, settings: Settings, start: Params | Epoch, rate: float | None) -> str:
    """The likely cause of a loss that is not finite, in words: what is the most times larger than it usually is.

    Args:
        data: the rows to learn from.
        settings: of the run.
        start: where the run began; the parameters of an epoch may be large because it diverges.
        rate: of the last step; None where none was made.
    """
    inputs, targets, params = map(_largest, ((data.X,), (data.y,), () if isinstance(start, Epoch) else start))
    suspects = [
        (inputs / _LARGE, f"the inputs reach {inputs:.1e}: standardise them"),
        (targets / _LARGE, f"the targets reach {targets:.1e}: scale the target"),
        (params / _LARGE, f"the parameters that it starts from reach {params:.1e}: start from smaller ones"),
    ]
    weight = 1.0 if data.weight is None else float(namespace(data.weight).mean(data.weight))
    chosen: Any = {**settings.options, "alpha": settings.alpha}
    for name in ("l2", "l1", "alpha"):
        strength = float(chosen.get(name, 0.0))
        if name == "alpha":
            strength /= weight * min(settings.batch_size, data.X.shape[0])
        # a step on l2/2 W^2 alone makes W larger where the rate is above 2 / l2
        if rate is None or rate * strength > 2.0:
            suspects.append((strength, f"the penalty {name}, {chosen.get(name, 0.0):.3g}, is too large"))
    default = "no step was made yet: activation and criterion give no finite loss for these inputs and parameters"
    if rate is not None:
        default = f"the learning rate, {rate:.3g}, is too large; or clip the gradients with clip_norm"
        suspects.append((rate, default))
    size, cause = max(suspects, key=lambda suspect: suspect[0])
    return cause if size > 1.0 else default


def _largest(arrays: Sequence[Any]) -> float:
    """The largest magnitude among floating arrays, a sparse matrix of scipy included; labels are not large."""
    largest = 0.0
    for array in detached(*arrays):
        if is_sparse(array):
            largest = float(np.max(np.abs(array.data), initial=largest))
        elif is_floating(xp := namespace(array), array.dtype):
            largest = max(largest, float(xp.max(xp.abs(array))))
    return largest
