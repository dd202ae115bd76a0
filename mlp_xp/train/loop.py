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
from typing import Any, NamedTuple, Unpack, cast

import numpy as np  # for the host's random numbers and its memory alone

from mlp_xp._lib.arguments import check_number, check_positive, check_whole
from mlp_xp._lib.namespace import device_of, namespace
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.mlp import PredictOptions, TrainOptions, terms_of
from mlp_xp.optim import Optimizer, State, adam
from mlp_xp.schedules import Progress, Schedule, check_patience, stalls
from mlp_xp.train.dataset import Dataset, all_finite, batches, is_sparse, read
from mlp_xp.train.evaluate import evaluate
from mlp_xp.train.step import Sums, make_step

_SEEDS = 2**31  # of dropout masks

# Inputs beyond this are named as the likely cause of a loss that overflows: standardised ones are a few units large.
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
    """The loss is no longer finite. ``params`` are: the last ones between two epochs with a finite loss."""

    def __init__(self, message: str, params: Params) -> None:
        super().__init__(message)
        self.params = params


class Interrupted(KeyboardInterrupt):
    """Ctrl-C inside an epoch, evaluation and callbacks included. ``params`` are those after the last step."""

    def __init__(self, params: Params) -> None:
        super().__init__("training was interrupted")
        self.params = params


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
        params: parameters to start from, or an ``Epoch`` to go on from. They are not changed.
        epochs: how many passes, those of a run that is gone on with included; where it has made them all, none.
        optimizer: ``sgd()``, ``momentum()``, or another ``(init, update)`` pair; ``adam()`` when None.
        lr: the learning rate, or a schedule.
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
        ValueError: for a NaN or infinity in the data, or labels out of range, on every backend.
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
    check_whole("epochs", epochs, 1)
    check_whole("batch_size", batch_size, 1)
    check_whole("seed", seed, 0)
    check_number("alpha", alpha, 0.0, math.inf)
    if clip_norm is not None:
        check_positive("clip_norm", clip_norm)
    if patience is not None:
        check_patience(patience, tol)
    here = params.params if isinstance(params, Epoch) else params
    data, held_out = read(Dataset(X, y, options.get("sample_weight")), here, validation, seed)
    if not callable(lr):
        lr = check_number("lr", lr, 0.0, math.inf)
    settings = Settings(
        epochs, optimizer or adam(), lr, batch_size, shuffle, seed, score, patience, tol, float(alpha), clip_norm,
        callbacks, order, compile, options,
    )  # fmt: skip
    yield from run(data, held_out, params, settings)


def run(data: Dataset, held_out: Dataset | None, start: Params | Epoch, settings: Settings) -> Iterator[Epoch]:
    """``train`` on data that were checked already: on one device, finite, with targets that fit the network.

    Args:
        data: the rows to learn from.
        held_out: the rows on which each epoch is judged, or None.
        start: parameters, or an ``Epoch`` to go on from.
        settings: see ``train``.
    """
    here = _beginning(start, settings.optimizer)
    xp, n = namespace(*here.params), data.X.shape[0]
    options = {name: value for name, value in settings.options.items() if name != "sample_weight"}
    terms = terms_of(len(here.params) // 2 - 1, **cast(Any, options))
    step = make_step(xp, terms, settings.optimizer, settings.alpha, settings.clip_norm)
    step = step if settings.compile is None else settings.compile(step)
    np.empty(_MEMORY, dtype=np.uint8)
    began = time.perf_counter() - (here.last.seconds if here.history else 0.0)
    before = here.params  # where the epoch before began
    for number in range(len(here.history) + 1, settings.epochs + 1):
        watched = [record.watched for record in here.history]
        if settings.patience is not None and stalls(watched, settings.patience, settings.tol):
            return
        params, state = here.params, here.state
        try:
            plan = _plan(number, n, settings, watched)
            numbers: Any = (plan.rates, plan.seeds) if settings.compile is None else _as_arrays(xp, params[0], plan)
            zero = params[1][0, ...]  # two arrays of it: a compiler that sees one array twice compiles the step twice
            sums = [Sums(xp.zeros_like(zero), xp.zeros_like(zero))]
            parts = batches(xp, data, params[0], settings.batch_size, plan.rows)
            for batch, rate, mask in zip(parts, *numbers, strict=True):
                params, state, total = step(params, state, sums[-1], batch, rate, mask)
                sums.append(total)
            loss = float(sums[-1].objective) / n
            if not (math.isfinite(loss) and all_finite(xp, *params)):
                raise _diverged(data.X, sums, plan, here, before)
            decay = float(sums[-1].penalty) / n if settings.alpha else 0.0
            judged = _judged(xp, held_out, params, settings)
            seconds = time.perf_counter() - began
            record = Record(number, loss, decay, *judged, plan.rates[-1], number * len(plan.rates), seconds)
            before, here = here.params, _after(here, record, params, state)
            answers = [callback(here) for callback in settings.callbacks]
        except KeyboardInterrupt:
            raise Interrupted(params) from None
        yield here
        if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
            return


# --- the parts of an epoch ---------------------------------------------------------------------------------------


def _beginning(start: Params | Epoch, optimizer: Optimizer) -> Epoch:
    """Where the run begins, as an epoch.

    Raises:
        ValueError: for an epoch of another optimizer.
    """
    if not isinstance(start, Epoch):
        return Epoch((), start, start, optimizer.init(start))
    arrays = len(optimizer.init(start.params))
    if len(start.state) != arrays:
        states = f"the state of this one is {arrays} arrays, that of the Epoch {len(start.state)}"
        raise ValueError(f"to go on from an Epoch takes its optimizer: {states}")
    return start


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


def _plan(number: int, n: int, settings: Settings, watched: Sequence[float]) -> _Plan:
    """All that is drawn and chosen for an epoch on ``n`` rows; it depends on the seed and the number alone."""
    random = np.random.default_rng((settings.seed, number))
    first_mask = int(random.integers(_SEEDS))
    steps = -(-n // settings.batch_size)
    rows = None
    if settings.order is not None:
        rows = np.asarray(settings.order(number))
        if rows.shape != (n,) or not np.issubdtype(rows.dtype, np.integer) or rows.min() < 0 or rows.max() >= n:
            raise ValueError(f"order({number}) must be {n} row numbers from 0 to {n - 1}, got {rows}")
    elif settings.shuffle:
        rows = random.permutation(n)
    if not callable(settings.lr):
        rates = [settings.lr] * steps
    else:
        done, planned = (number - 1) * steps, settings.epochs * steps
        progress = (Progress(done + step, planned, (number - 1) * n, watched) for step in range(steps))
        rates = [check_number("lr", settings.lr(each), 0.0, math.inf) for each in progress]
    return _Plan(number, rows, rates, [(first_mask + step) % _SEEDS for step in range(steps)])


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
    return loss, score if settings.score is None else float(settings.score(params))


def _after(here: Epoch, record: Record, params: Params, state: State) -> Epoch:
    """The epoch after ``here``; the parameters with the lowest ``watched`` are kept as the best."""
    # a NaN is no lower than anything
    lowest = min((each.watched for each in here.history if not math.isnan(each.watched)), default=math.inf)
    better = record.watched < lowest or lowest == math.inf
    return Epoch((*here.history, record), params, params if better else here.best, state)


def _diverged(X: Any, sums: Sequence[Sums], plan: _Plan, here: Epoch, before: Params) -> Diverged:
    """What to raise: which step of the epoch after ``here``, the likely cause, and finite parameters.

    Args:
        X: the inputs.
        sums: before the first step and after each.
        plan: of the epoch.
        here: where the epoch began.
        before: where the epoch before began.
    """
    xp = namespace(*here.params)
    finite = [math.isfinite(float(each.objective)) for each in sums[1:]]
    count = len(finite)
    bad = finite.index(False) if False in finite else count  # each loss is finite, what came after is not
    largest = float(np.max(np.abs(X.data), initial=0.0)) if is_sparse(X) else float(xp.max(xp.abs(X)))
    rates = [here.last.lr if here.history else 0.0, *plan.rates]  # the rate of the step before comes first
    if largest > _LARGE:
        cause = f"the inputs reach {largest:.1e}: standardise them"
    elif plan.number == 1 and bad == 0:
        cause = "no step was made yet: the parameters that it starts from are too large"
    else:
        cause = f"the learning rate, {rates[bad]:.3g}, is too large; or clip the gradients with clip_norm"
    what = f"the loss is not finite at step {bad + 1} of {count} in epoch {plan.number}"
    if bad == count:
        what = f"the parameters are not finite at the end of epoch {plan.number}"
    # where already the first loss is not finite, the parameters before this epoch are not good either
    return Diverged(f"{what}: {cause}", before if bad == 0 else here.params)
