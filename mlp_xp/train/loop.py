"""The training loop: ``for epoch in train(X, y, params, ...)``. The caller logs, plots, keeps or stops.

``train`` reads the data and calls ``run``. ``run`` plans an epoch (order, rates, seeds), runs its steps, evaluates,
records, and stops where it should. Batches are taken on the device. Nothing comes back to the host inside an epoch; a
few numbers do at its end. What is drawn depends on the seed and the number of the epoch alone: a run that goes on from
an ``Epoch`` is the run that never stopped.

A run may be that of an ensemble, parameters with a leading axis: ``members`` has what is done for each network.

Before: ``dataset``, ``step``, ``evaluate`` and ``members``. Next: ``checkpoint`` keeps an epoch in a file;
``estimators`` and ``cli`` call the loop.
"""

import hashlib
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from numbers import Real
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeAlias, Unpack, cast

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
from mlp_xp._lib.namespace import detached, device_kwargs, device_of, is_floating, namespace, to_host, unstacked
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.losses import criterion_named
from mlp_xp.mlp import PredictOptions, TrainOptions, terms_of
from mlp_xp.optim import Optimizer, State, adam, check_optimizer
from mlp_xp.ranks import ALONE, RankFailed, Ranks, check_alike, check_ranks, each_of, interrupts_into, sums_of, together
from mlp_xp.schedules import Schedule, check_patience, progress_of, stalls
from mlp_xp.train.compiling import available, check_compile, compiled
from mlp_xp.train.dataset import (
    NO_WEIGHT,
    Batch,
    Dataset,
    batches,
    filled_up,
    held_numbers,
    is_array,
    read,
    rows_of,
    shares_of,
    spans_of,
    targets_of,
)
from mlp_xp.train.epoch import Diverged, Epoch, Interrupted, Record, ensemble_size, histories, is_good
from mlp_xp.train.evaluate import evaluate_each
from mlp_xp.train.members import (
    Shared,
    chosen,
    finite,
    for_each,
    mean_record,
    numbers,
    of_member,
    shared_by,
    strength_of,
)
from mlp_xp.train.scale import needs_loss_scale, with_loss_scale
from mlp_xp.train.step import (
    Step,
    Sums,
    Transform,
    make_combine,
    make_differentiate,
    make_gather,
    make_step,
    make_step_of_batches,
    make_update,
    no_gradients,
    zero_sums,
)
from mlp_xp.train.stream import Stream, read_batches

_SEEDS = 2**31  # of dropout masks

# Data and parameters beyond this are a likely cause of a loss that overflows: standardised ones are a few units large.
_LARGE = 1e3

# For NumPy, which warns where a gradient with a loss scale is too large for float16: such a step is skipped.
_QUIET = np.errstate(over="ignore", invalid="ignore")

# Bytes that are taken and given back once. The C library of Linux returns freed memory to the system, and every step
# would ask for it anew, page by page, which costs more than the arithmetic. What it keeps is twice the largest block
# that it has seen come and go, up to 32 MiB.
_MEMORY = 31 * 2**20


Score: TypeAlias = Callable[[Params], float] | Literal["loss"]
"""``score(params)``, higher is better; or "loss": there is no score, and the loss on the validation set is watched."""


class Settings(NamedTuple):
    """How a run goes: what ``train`` takes by keyword, see there; and in place of ``patience`` and ``tol``:

    score: may also be a sequence of functions, one for each network.
    watch: the number of a record that is to fall; the best epoch is the one where it was lowest.
    stop: ``stop(watched)``, whether a network ends after epochs with these numbers; None where none does.
    """

    epochs: int
    optimizer: Optimizer
    lr: float | Schedule | Sequence[float | Schedule]
    batch_size: int = 128
    shuffle: bool = True
    seed: int = 0
    score: Score | Sequence[Score] | None = None
    stop: Callable[[Sequence[float]], bool] | None = None
    watch: Callable[[Record], float] = attrgetter("watched")
    alpha: float | Sequence[float] = 0.0
    clip_norm: float | None = None
    callbacks: Sequence[Callable[[Epoch], object]] = ()
    order: Callable[[int], Any] | None = None
    compile: Callable[[Any], Any] | bool | None = None
    options: TrainOptions = TrainOptions()
    accumulate: int = 1
    max_norm: float | None = None
    transform: Transform | None = None
    ranks: Ranks = ALONE


def train(
    X: Array | Any,
    y: Array | None,
    params: Params | Epoch,
    *,
    epochs: int,
    optimizer: Optimizer | None = None,
    lr: float | Schedule | Sequence[float | Schedule] = 1e-3,
    batch_size: int = 128,
    accumulate: int = 1,
    shuffle: bool = True,
    seed: int = 0,
    validation: tuple[Array | Any, Array] | float | None = None,
    score: Score | None = None,
    patience: float | None = None,
    tol: float = 0.0,
    alpha: float | Sequence[float] = 0.0,
    clip_norm: float | None = None,
    max_norm: float | None = None,
    transform: Transform | None = None,
    callbacks: Sequence[Callable[[Epoch], object]] = (),
    order: Callable[[int], Any] | None = None,
    compile: Callable[[Any], Any] | bool | None = None,  # noqa: A002 - the word for it in every library
    ranks: Ranks | None = None,
    **options: Unpack[TrainOptions],
) -> Iterator[Epoch]:
    """Yield an ``Epoch`` after each pass over ``X`` (n, d_in) and ``y``, whose rows come in a seeded random order.

    Floats of 16 bits: where ``X`` is bfloat16 or float16 and ``params`` are float32, the network computes in the dtype
    of ``X``, and parameters, gradients, losses and the optimizer are float32. Validation rows are judged in float32.
    What float16 can't hold is scaled: the loss is multiplied by a number that the optimizer's state keeps as its last
    array, and a step whose gradient is too large for float16 counts as one of gradient 0.

    Args:
        X: (n, d_in), real floating; or a scipy sparse matrix, whose batches are made dense one by one. Data larger
            than memory may be a source: a ``np.memmap``, or anything with ``shape``, ``dtype`` and ``X[rows]`` for
            slices and increasing numbers of rows, such as an array of Zarr or a data set of HDF5. It may hold integers:
            its rows come in the library and the dtype of ``params``, and the next ones are read while these are learned
            from. ``in_blocks`` makes an order for what is stored in chunks. Or, where y is None, an iterable of
            batches, pairs ``(X, y)`` or triples with sample weights, such as a list or a ``DataLoader``: each is one
            step, or ``accumulate`` of them, and each epoch goes through all in their order.
        y: the targets, as in ``objective``; None where they come with the batches.
        params: parameters to start from, or an ``Epoch`` to go on from, with the optimizer that made it. They are not
            changed, and what PyTorch recorded of their past, or of the data's, stays behind. Parameters with a leading
            axis are an ensemble, see below.
        epochs: how many passes, those of a run that is gone on with included; where it has made them all, none.
        optimizer: ``sgd()``, ``momentum()``, or another ``Optimizer``; ``adam()`` when None.
        lr: the learning rate, or a schedule. What is planned is what was made and, for each epoch that is left, as many
            steps as this one takes.
        batch_size: rows in a step; the last one of an epoch takes what is left.
        accumulate: how many batches make one step, for batches larger than a device: their gradients are averaged one
            after the other, and the update is, to rounding, that of one batch with all their rows. Masks, penalties,
            clipping, records, schedules and ``steps`` are those of the large batch. It takes room for one more set of
            gradients.
        shuffle: whether the order changes from epoch to epoch; otherwise the rows come as they are.
        seed: of the order and of the dropout masks, which change with every step.
        validation: rows ``(X, y)`` on which each epoch is judged, or the share of the rows to hold out for that.
        score: score(params), higher is better; by default the share of right labels on the validation set or, for
            numbers, R^2. "loss" computes no score: what is watched is the validation loss, lower is better.
        patience: ends the run after more than so many epochs in a row that did not improve on the best by ``tol``; the
            parameters to keep are then ``best`` of the last epoch.
        tol: the least improvement that counts.
        alpha: strength of scikit-learn's penalty ``alpha / 2S sum ||W||^2``, S the rows of the batch or their weight.
        clip_norm: gradients are scaled down to this norm, taken over all of them.
        max_norm: after each step the incoming weights of each hidden unit are scaled down to this norm, see
            ``optim.limit_norms``.
        transform: ``transform(X, seed, first)`` makes other inputs of the rows (n, d_in) of a batch, in training only,
            such as shifted images: a pure function of array API operations that can be compiled. ``seed`` changes with
            every step and may be a 0-d array. ``first`` is how many rows of the step come before these, a 0-d array, or
            None for none; ``dropout.uniform`` draws from both.
        callbacks: called with each ``Epoch`` before it is yielded; when one returns True, the epoch is the last.
        order: order(number) -> the rows on the host in the order of that epoch, in place of the seeded one.
        compile: True makes the step faster by what the array library offers: ``jax.jit``, or ``torch.compile``, which
            takes seconds. Where there is nothing, or the step can't be compiled, a warning says why, and the run goes
            on without. Batches that are smaller than others are filled up with rows that do not count, so that all
            take one compilation. Or a compiler of one's own, which makes a function of arrays a faster one: called
            once a run, with ``accumulate`` or ``ranks`` twice; the last, smaller batch comes as it is.
            ``split(mesh)`` is one that divides the rows of each batch among several devices of JAX.
        ranks: the processes that train this network together, see ``mlp_xp.ranks``; each calls ``train`` with rows of
            its own, validation rows included, and equal parameters and settings. ``batch_size`` is what all ranks take
            in a step together, each in proportion to its rows. Ranks step with the mean over these rows and have the
            same parameters, to the last bit on equal hardware; a number that ``score`` returns is averaged. What one of
            them refuses, a callback's True and Ctrl-C, which takes up to eight steps, end the run on all.
        options: of the objective, see ``TrainOptions``; ``sample_weight`` is (n,), of numbers of at least 0. A batch
            that weighs nothing has the objective and the gradient 0 and does not count in the loss of its epoch.

    An ensemble: parameters with a leading axis, ``init_params(..., ensemble=k)``, are k networks that learn in one run,
    each as it would alone with the same seed. Its members share batches, order, masks and validation set. ``lr``,
    ``alpha``, ``l2`` and ``l1`` may be sequences of k values, one for each; a schedule is asked for each member with
    its own losses. ``sample_weight`` may be (k, n): a row that weighs nothing for a member is held out from it.
    Patience, best, clipping and penalties belong to each member, and ``score`` is called for each. A member that has
    ended, or whose loss is no longer finite, is frozen as its own run would have ended, and the run ends when all are.

    Yields:
        An ``Epoch`` after each pass: parameters, the best so far, the optimizer's state, and a ``Record`` of each pass.

    Raises:
        ValueError: for a NaN or infinity in the data, or targets that the criterion does not take, on every backend.
        TypeError: for an argument that is something else.
        Diverged: when the loss or a parameter is no longer finite, with the epoch, the step and the likely cause; of an
            ensemble when that is so of all members.
        Interrupted: for Ctrl-C inside an epoch.

    >>> import numpy as np, mlp_xp as mx
    >>> from mlp_xp.train import train
    >>> X, y = np.eye(4), np.asarray([0, 1, 0, 1])
    >>> for epoch in train(X, y, mx.init_params((4, 8, 2)), epochs=60, lr=0.1, batch_size=2):
    ...     pass
    >>> epoch.last.number, mx.predict(X, *epoch.params).tolist()
    (60, [0, 1, 0, 1])

    Batches in place of arrays:

    >>> batches = [(X[:2], y[:2]), (X[2:], y[2:])]
    >>> for epoch in train(batches, None, mx.init_params((4, 8, 2)), epochs=60, lr=0.1):
    ...     pass
    >>> epoch.last.steps, mx.predict(X, *epoch.params).tolist()
    (120, [0, 1, 0, 1])

    Three networks in one run, a rate for each:

    >>> for epoch in train(X, y, mx.init_params((4, 8, 2), ensemble=3), epochs=60, lr=(0.001, 0.01, 0.1), batch_size=2):
    ...     pass
    >>> min(range(3), key=lambda i: epoch.last.members[i].loss), [p.shape for p in epoch.member(2).params]
    (2, [(4, 8), (8,), (8, 2), (2,)])
    """
    start = params if isinstance(params, Epoch) else check_parameters("params", params)
    count = ensemble_size(start.params if isinstance(start, Epoch) else start)
    penalties = {
        name: for_each(name, options[name], count, _check_strength) for name in ("l2", "l1") if name in options
    }
    settings = Settings(
        check_whole("epochs", epochs, 1),
        adam() if optimizer is None else check_optimizer(optimizer),
        for_each("lr", lr, count, _check_rate),
        check_whole("batch_size", batch_size, 1),
        check_flag("shuffle", shuffle),
        check_whole("seed", seed, 0),
        score if score == "loss" else _if_given(check_callable, "score", score, "lambda params: 0.5"),
        _stop_after(patience, tol),
        attrgetter("watched"),
        for_each("alpha", alpha, count, _check_strength),
        _if_given(check_positive, "clip_norm", clip_norm),
        check_callables("callbacks", callbacks),
        _if_given(check_callable, "order", order, "lambda number: range(n)"),
        check_compile(compile),
        cast(TrainOptions, {**options, **penalties}),
        check_whole("accumulate", accumulate, 1),
        _if_given(check_positive, "max_norm", max_norm),
        _if_given(check_callable, "transform", transform, "lambda X, seed, first: X"),
        check_ranks(ranks),
    )
    criterion = criterion_named(options.get("criterion", "softmax_cross_entropy"))
    networks, made = (start.params, len(start.history)) if isinstance(start, Epoch) else (start, 0)
    data: Dataset | Stream
    if y is None:
        weight = options.get("sample_weight")
        _check_options_of_batches(
            X, validation, batch_size=batch_size, shuffle=shuffle, order=order, sample_weight=weight
        )
        if settings.ranks.size > 1:
            raise ValueError("y must be the targets of X where ranks train together, got None, which is for batches")
        data, held_out = read_batches(X, networks, validation, criterion, settings.epochs - made)
    else:
        rows = Dataset(X, y, options.get("sample_weight"))
        with together(settings.ranks, cast(Array, next(iter(networks), None))):
            data, held_out = read(rows, networks, validation, (settings.seed, 0, settings.ranks.rank), criterion)
    yield from run(data, held_out, start, settings)


def _check_options_of_batches(batches: Any, validation: Any, **options: Any) -> None:
    """Raise for arguments of ``train`` that fit rows alone, and for those that decide what the batches have decided."""
    if hasattr(batches, "shape"):
        expected = "the targets of X; None stands for an iterable of batches (X, y) in place of X"
        raise ValueError(f"y must be {expected}, got None and X {described(batches)}")
    usual = {"batch_size": 128, "shuffle": True}
    for name, value in options.items():
        if value is not None and (name not in usual or value != usual[name]):
            raise ValueError(f"{name} must be left out where data come in batches, which decide it themselves")
    if isinstance(validation, Real):
        raise ValueError(f"validation must be a pair (X, y) where data come in batches, got {validation}")


def _check_rate(name: str, value: Any) -> Any:
    """``value``. Raise unless it is a learning rate or a schedule."""
    return value if callable(value) else check_number(name, value, 0.0, math.inf)


def _check_strength(name: str, value: Any) -> float:
    """``value`` as a Python float. Raise unless it is the strength of a penalty."""
    return check_number(name, value, 0.0, math.inf)


def _if_given(check: Callable[..., Any], name: str, value: Any, *rest: Any) -> Any:
    """None for None, else what the check returns."""
    return None if value is None else check(name, value, *rest)


def _stop_after(patience: float | None, tol: float) -> Callable[[Sequence[float]], bool] | None:
    """``Settings.stop`` of these arguments of ``train``."""
    checked, tol = check_patience(0.0 if patience is None else patience, tol)
    return None if patience is None else partial(_has_stalled, checked, tol)


def _has_stalled(patience: float, tol: float, watched: Sequence[float]) -> bool:
    return bool(stalls(watched, patience, tol))


def run(
    data: Dataset | Stream, held_out: Dataset | Sequence[Dataset] | None, start: Params | Epoch, settings: Settings
) -> Iterator[Epoch]:
    """``train`` on data that were checked already: on one device, finite, with targets that fit the network.

    Args:
        data: the rows to learn from, or batches that are checked as they come, whose order and size are their own.
        held_out: the rows on which each epoch is judged, of an ensemble also a list of them, one for each network; or
            None. Their weights are (n,) and positive.
        start: parameters, or an ``Epoch`` to go on from.
        settings: see ``train``.
    """
    params = start.params if isinstance(start, Epoch) else start
    scaled, ranks, asked = needs_loss_scale(data.dtype, params), settings.ranks, threading.Event()
    settings = settings._replace(optimizer=with_loss_scale(settings.optimizer)) if scaled else settings
    counts, weighted = _agreed(data, params, settings)
    here, shared = _beginning(start, settings.optimizer, sum(counts))
    xp, own = namespace(*here.params), histories(here)  # own: the records of each network
    settings = settings._replace(compile=available(xp, settings.compile))
    step, give_up = _step(xp, here.params, settings, scaled, sum(counts), asked)
    cause_of = partial(_cause, data, settings, start, scaled)
    np.empty(_MEMORY, dtype=np.uint8)
    began = time.perf_counter() - (here.last.seconds if here.history else 0.0)
    fixed = _Run(data, held_out, settings, counts, weighted, shared, step, give_up, cause_of, began)
    before = here.params  # where the epoch before began
    while len(here.history) < settings.epochs:
        running = [not _has_ended(records, len(here.history), settings) for records in own]
        if not any(running):
            return
        with interrupts_into(asked, ranks):
            before, (here, stops) = here.params, _epoch_after(here, before, own, running, fixed)
            end, interrupted = sums_of(ranks, here.params[0], float(stops), float(asked.is_set()))
            if interrupted:
                raise Interrupted(here.params)
        yield here
        if end:
            return


def _check_weighed(weight: Array | None, params: Params, ranks: Ranks) -> None:
    """Raise on all ranks unless a row of one of them weighs something, for each network."""
    some = [True] * (ensemble_size(params) or 1)
    if weight is not None:
        found = (to_host(namespace(weight).max(weight, axis=-1)).reshape(-1) > 0).tolist()
        some = found if len(found) == len(some) else found * len(some)
    if not all(sums_of(ranks, params[0], *map(float, some))):
        raise ValueError(NO_WEIGHT)


class _Run(NamedTuple):
    """What stays the same from epoch to epoch.

    data, held_out, settings: see ``run``.
    counts: how many rows each rank learns from; of batches, [0].
    weighted: whether rows have weights; None where the batches will say it.
    shared: what the networks share of the state.
    step, give_up: from ``_step``.
    cause_of: see ``_what_diverged``.
    began: when training began, by the clock of ``time.perf_counter``.
    """

    data: Dataset | Stream
    held_out: Dataset | Sequence[Dataset] | None
    settings: Settings
    counts: list[int]
    weighted: bool | None
    shared: Shared
    step: Step
    give_up: Callable[[], None]
    cause_of: Callable[[int, float | None], str]
    began: float


def _epoch_after(
    here: Epoch, before: Params, own: list[list[Record]], running: list[bool], fixed: _Run
) -> tuple[Epoch, bool]:
    """The epoch after ``here``, and whether a callback ends the run; its records are added to ``own``.

    Args:
        here: where the epoch begins.
        before: the parameters where the epoch before began.
        own: the records of each network.
        running: which networks learn.
        fixed: what stays the same.
    """
    xp, settings, ranks = namespace(*here.params), fixed.settings, fixed.settings.ranks
    params, state = here.params, fixed.shared.for_steps(here.state, running)
    try:
        plan = _plan(here, fixed, own, running)
        steps, weighted = _steps(xp, params, plan, running, fixed)
        sums = [zero_sums(xp, params, weighted)]
        try:
            for batch, rate, mask in steps:
                params, state, total = fixed.step(params, state, sums[-1], batch, rate, mask)
                sums.append(total)
        except Exception as error:  # of rows that are read, or of the caller's own functions
            if not isinstance(error, RankFailed):
                fixed.give_up()
            raise
        n = fixed.data.rows if isinstance(fixed.data, Stream) else sum(fixed.counts)
        losses, decays = _means(xp, sums[-1], n, must_weigh=isinstance(fixed.data, Stream))
        fits = zip(running, losses, finite(xp, params), strict=True)
        good = [runs and math.isfinite(loss) and fit for runs, loss, fit in fits]
        lasts = here.params
        if good != running:
            bad = _first_bad(xp, sums, [runs and not fit for runs, fit in zip(running, good, strict=True)])
            # where already the first loss is not finite, the parameters before this epoch are not good either
            lasts = chosen(xp, [step == 0 for step in bad], before, lasts)
            if not any(good) and _all_lost(here, running):
                raise Diverged(_what_diverged(bad, plan, here, fixed.cause_of), lasts)
        params, state = chosen(xp, good, params, lasts), chosen(xp, good, state, here.state)
        judged = _judged(xp, fixed.held_out, params, settings, good)
        numbers = [losses, decays if settings.alpha else [0.0] * len(own), *judged, [r[-1] for r in plan.rates]]
        counts = plan.number, _steps_made(here) + len(plan.seeds), time.perf_counter() - fixed.began
        records = _records(here, numbers, counts, running, good)
        after = _after(here, own, records, good, params, state, n, settings.watch)
        with together(ranks, params[0]):
            answers = [callback(after) for callback in settings.callbacks]
        return after, any(map(is_true, answers))
    except KeyboardInterrupt:
        raise Interrupted(chosen(xp, running, params, here.params)) from None


def _agreed(data: Dataset | Stream, params: Params, settings: Settings) -> tuple[list[int], bool | None]:
    """How many rows each rank learns from, and whether rows have weights on any.

    Raises:
        ValueError: on all ranks, for settings or parameters that differ, or too few rows on one of them.
    """
    if isinstance(data, Stream):
        return [0], None
    n, ranks, like = data.n, settings.ranks, params[0]
    _, weight = targets_of(namespace(*params), data, like)
    if ranks.size == 1:
        _check_weighed(weight, params, ranks)
        return [n], data.weight is not None
    plain = {**settings._asdict(), **settings.options, "optimizer": settings.optimizer.name}
    plain = {name: value for name, value in plain.items() if isinstance(value, (str, bool, int, float))}
    check_alike(ranks, like, "the settings of a run", repr(plain))
    values = [to_host(p).tobytes() for p in params]
    check_alike(ranks, like, "the parameters to start from", repr([hashlib.sha256(v).digest() for v in values]))
    counts = [int(count) for count in each_of(ranks, like, n)]
    weighted = any(each_of(ranks, like, float(data.weight is not None)))
    _check_weighed(weight, params, ranks)
    parts = settings.accumulate * _steps_in(sum(counts), settings)
    for rank, count in enumerate(counts):
        if count < parts:
            expected = f"a row for each of the {parts} batches of an epoch, or batch_size must be larger"
            raise ValueError(f"each rank must have {expected}, rank {rank} has {count} of {sum(counts)} rows")
    return counts, weighted


# --- the parts of an epoch ---------------------------------------------------------------------------------------


def _step(
    xp: Namespace, params: Params, settings: Settings, scaled: bool, n: int, asked: threading.Event
) -> tuple[Step, Callable[[], None]]:
    """The step of a run, compiled where it is to be, and ``give_up()`` for a rank that can't make its next one.

    Args:
        xp: the namespace of the parameters.
        params: of the network.
        settings: of the run.
        scaled: whether there is a loss scale.
        n: how many rows all ranks have.
        asked: set where Ctrl-C is to end the run of several ranks.
    """
    options = {name: value for name, value in settings.options.items() if name not in ("sample_weight", "l2", "l1")}
    terms = terms_of(len(params) // 2 - 1, **cast(Any, options))
    l2, l1 = (strength_of(xp, settings.options.get(name, 0.0), params[0]) for name in ("l2", "l1"))
    terms = terms._replace(l2=l2, l1=l1, trusted=True)  # the data were looked at
    alpha = strength_of(xp, settings.alpha, params[0])
    update = make_update(xp, terms, settings.optimizer, alpha, settings.clip_norm, settings.max_norm)
    make_fast = partial(compiled, xp, compile=settings.compile)
    combine, give_up = None, _nothing
    if settings.ranks.size > 1:
        combine, give_up = make_combine(xp, settings.ranks, params, _steps_in(n, settings), asked.is_set)
    if settings.accumulate == 1:
        differentiate = make_differentiate(xp, terms, settings.transform)
        if combine is None:
            step = cast(Step, make_fast(make_step(differentiate, update, scaled)))
        else:  # an engine sums arrays, which a compiler can't look into
            step = make_step(make_fast(differentiate), make_fast(update), scaled, combine)
        return _QUIET(step) if scaled else step, give_up
    gather = make_gather(xp, terms, settings.transform)
    step = make_step_of_batches(make_fast(gather), make_fast(update), no_gradients(xp, params), scaled, combine)
    return _QUIET(step) if scaled else step, give_up


def _nothing() -> None:
    """``give_up`` where there is one rank."""


def _steps_in(n: int, settings: Settings) -> int:
    """How many steps an epoch on ``n`` rows has."""
    return -(-n // _rows_of_step(n, settings))


def _rows_of_step(n: int, settings: Settings) -> int:
    """How many of ``n`` rows the first step of an epoch takes."""
    return min(n, settings.batch_size * settings.accumulate)


def _has_ended(records: Sequence[Record], epochs: int, settings: Settings) -> bool:
    """Whether a network has ended, before or now; one without a record of each epoch ended before."""
    if len(records) < epochs:
        return True
    return settings.stop is not None and settings.stop(list(map(settings.watch, records)))


def _beginning(start: Params | Epoch, optimizer: Optimizer, n: int) -> tuple[Epoch, Shared]:
    """Where the run begins, as an epoch, of arrays without a past; and what of the state its networks share.

    Raises:
        ValueError, TypeError: for an epoch of another optimizer.
    """
    if not isinstance(start, Epoch):
        params = detached(*start)
        state = optimizer.init(params)
        shared = shared_by(ensemble_size(params), state)
        return Epoch((), params, params, shared.for_epoch(namespace(*params), state), optimizer.name), shared
    params, state = detached(*start.params), detached(*start.state)
    best = params if start.best is start.params else detached(*start.best)
    takes = "to go on from an Epoch takes its optimizer"
    if start.optimizer and optimizer.name and start.optimizer != optimizer.name:
        raise ValueError(f"{takes}: the Epoch's is {start.optimizer}, got {optimizer.name}")
    namespace(params[0], *state, names=("W1", *(f"array {position} of the state" for position in range(len(state)))))
    first = optimizer.init(params)
    shared = shared_by(ensemble_size(params), first)
    first = shared.for_epoch(namespace(*params), first)
    ours, theirs = ([f"{dtype_name(a.dtype)} {tuple(a.shape)}" for a in each] for each in (first, state))
    if len(ours) != len(theirs):
        raise ValueError(f"{takes}: the state of this one is {len(ours)} arrays, that of the Epoch {len(theirs)}")
    for position, (expected, found) in enumerate(zip(ours, theirs, strict=True)):
        if expected != found:
            raise ValueError(f"{takes}: array {position} of its state must be {expected}, got {found}")
    # where nobody counted, the epochs before had as many rows as this one
    rows = start.rows or len(start.history) * n
    return Epoch(start.history, params, best, state, optimizer.name, rows), shared


def _steps_made(here: Epoch) -> int:
    return here.last.steps if here.history else 0


class _Plan(NamedTuple):
    """An epoch before it begins.

    number: of the epoch.
    rows: their order, on the host; None as they come.
    spans: the positions in that order of the rows of each batch.
    firsts: for each step how many of its rows are on the ranks before this one.
    rates: for each network the learning rate of each step; of batches that come one by one, of the steps made so far.
    seeds: the seed of the dropout masks of each step, or of those made so far.
    coming: the rates and the seed of the steps after these, without end.
    """

    number: int
    rows: Any
    spans: list[slice]
    firsts: list[int]
    rates: list[list[float]]
    seeds: list[int]
    coming: Iterator[tuple[tuple[float, ...], int]]


def _plan(here: Epoch, fixed: _Run, own: Sequence[Sequence[Record]], running: Sequence[bool]) -> _Plan:
    """All that is drawn and chosen for the epoch after ``here``, for networks with these records.

    What is drawn depends on the seed and the number of the epoch alone.
    """
    data, settings, counts, rank = fixed.data, fixed.settings, fixed.counts, fixed.settings.ranks.rank
    number, n = len(here.history) + 1, sum(counts)
    random = np.random.default_rng((settings.seed, number))
    first_mask = int(random.integers(_SEEDS))
    streamed, rows = isinstance(data, Stream), None
    spans: list[slice] = []
    firsts: list[int] = []
    if isinstance(data, Stream):
        steps = _steps_expected(here, data, settings)
    elif settings.ranks.size == 1:
        steps, spans = _steps_in(n, settings), spans_of(n, settings.batch_size)
    else:
        steps = _steps_in(n, settings)
        spans, firsts = shares_of(counts, rank, steps, settings.accumulate)
        random = np.random.default_rng((settings.seed, number, rank))
    if settings.order is not None and not streamed:
        rows = _row_numbers(settings.order(number), number, counts[rank])
    elif settings.shuffle and not streamed:
        rows = random.permutation(counts[rank])
    rates = [_rates(here, settings, position, own[position], running[position], steps) for position in range(len(own))]
    seeds = ((first_mask + step) % _SEEDS for step in itertools.count())
    now = 0 if steps is None or streamed else steps
    first = [list(itertools.islice(each, now)) for each in rates], list(itertools.islice(seeds, now))
    return _Plan(number, rows, spans, firsts, *first, zip(zip(*rates, strict=True), seeds, strict=True))


def _rates(
    here: Epoch, settings: Settings, position: int, records: Sequence[Record], runs: bool, steps: int | None
) -> Iterator[float]:
    """The learning rates of the epoch after ``here`` without end, for a network with these records.

    Args:
        here: where the epoch begins.
        settings: of the run.
        position: of the network.
        records: of its passes.
        runs: whether it learns.
        steps: how many steps the epoch has; None where nobody knows.
    """
    lr = of_member(settings.lr, position)
    if not runs or not callable(lr):
        return itertools.repeat(lr if runs else 0.0)
    done = _steps_made(here)  # epochs of a run may differ in length
    planned = None if steps is None else done + (settings.epochs - len(here.history)) * steps
    watched = list(map(settings.watch, records))
    progress = (progress_of(step, planned, here.rows, watched) for step in itertools.count(done))
    return (check_number("lr", lr(each), 0.0, math.inf) for each in progress)


def _steps_expected(here: Epoch, data: Stream, settings: Settings) -> int | None:
    """How many steps the epoch after ``here`` has: as many as the batches say, else as many as that before it had."""
    if (batches := data.length) is not None:
        return -(-batches // settings.accumulate)
    if not here.history:
        return None
    return here.last.steps - (here.history[-2].steps if len(here.history) > 1 else 0)


def rows_in(data: Dataset | Stream) -> int:
    """How many rows an epoch takes; of batches, how many the last one took."""
    return data.rows if isinstance(data, Stream) else data.n


def _steps(
    xp: Namespace, params: Params, plan: _Plan, running: Sequence[bool], fixed: _Run
) -> tuple[Iterator[tuple[Any, float | Array, int | Array]], bool]:
    """What each step of an epoch takes, see ``_grouped``, rate and seed; and whether the rows have weights."""
    data, settings = fixed.data, fixed.settings
    if isinstance(data, Stream):
        begun = data.begin()
        return _as_they_come(xp, begun, params, plan, settings, running), data.weighted
    parts = batches(xp, data, params[0], plan.spans, plan.rows)
    if settings.compile is True and len({span.stop - span.start for span in plan.spans}) > 1:
        parts = filled_up(xp, parts)
    drawn = settings.transform, settings.options.get("dropout"), settings.options.get("input_dropout")
    if plan.firsts and any(drawn):  # what is drawn for a row depends on where it stands in the step
        firsts = unstacked(xp, xp.asarray(plan.firsts, dtype=xp.int32, **device_kwargs(params[0])))
        each = (first for first in firsts for _ in range(settings.accumulate))
        parts = (part._replace(first=first) for part, first in zip(parts, each, strict=True))
    numbers = _numbers_of(xp, params, plan, settings, running)
    return zip(_grouped(parts, settings), *numbers, strict=True), bool(fixed.weighted)


def _as_they_come(
    xp: Namespace, begun: Iterator[Dataset], params: Params, plan: _Plan, settings: Settings, running: Sequence[bool]
) -> Iterator[tuple[Any, float | Array, int | Array]]:
    """What each step of a pass that has begun takes, see ``_grouped``, rate and seed, which are added to the plan."""
    parts = (Batch(rows_of(xp, X, params[0], slice(None)), y, weight, None) for X, y, weight, _ in begun)
    for part in _grouped(filled_up(xp, parts) if settings.compile is True else parts, settings):
        rates, seed = next(plan.coming)
        for made, rate in zip(plan.rates, rates, strict=True):
            made.append(rate)
        plan.seeds.append(seed)
        one = plan._replace(rates=[[rate] for rate in rates], seeds=[seed])
        (number,), (mask,) = _numbers_of(xp, params, one, settings, running)
        yield part, number, mask


def _row_numbers(rows: Any, number: int, n: int) -> Any:
    """What ``order(number)`` returned, on the host. Raise unless these are ``n`` numbers of rows."""
    try:
        order = np.asarray(rows)
    except ValueError:  # lists of several lengths
        order = np.empty((0, 0))
    if order.shape != (n,) or not np.issubdtype(order.dtype, np.integer) or order.min() < 0 or order.max() >= n:
        raise ValueError(f"order({number}) must be {n} row numbers from 0 to {n - 1}, got {shortened(rows)}")
    return order.astype(np.int64, copy=False)  # some libraries take no index of 8 bits


def _grouped(parts: Iterator[Batch], settings: Settings) -> Iterator[Any]:
    """What each step takes: a batch, or some, which are made one by one as the step asks for them."""
    if settings.accumulate == 1:
        return parts
    return (itertools.chain([first], itertools.islice(parts, settings.accumulate - 1)) for first in parts)


def _numbers_of(
    xp: Namespace, params: Params, plan: _Plan, settings: Settings, running: Sequence[bool]
) -> tuple[Sequence[float | Array], Sequence[int | Array]]:
    """The rate and the seed of each step: numbers, or arrays on the device.

    A compiler builds a Python number into the step, an array it does not. The rates of k networks are arrays (k,). An
    optimizer of the caller's own may not know such: all its networks share one rate.
    """
    place: Any = {"dtype": params[0].dtype, "device": device_of(params[0])}
    rates: Any = plan.rates[running.index(True)]
    seeds: Any = plan.seeds
    if ensemble_size(params) is not None and settings.optimizer.name:
        rates = unstacked(xp, xp.asarray(list(zip(*plan.rates, strict=True)), **place))
    elif any(each != rates for each, runs in zip(plan.rates, running, strict=True) if runs):
        raise ValueError("the rates of the networks differ, which takes an optimizer of mlp_xp.optim, or a named one")
    elif settings.compile is not None:
        rates = unstacked(xp, xp.asarray(rates, **place))
    if settings.compile is not None:
        seeds = unstacked(xp, xp.asarray(seeds, dtype=xp.int32, **device_kwargs(params[0])))
    return rates, seeds


# --- the end of an epoch -----------------------------------------------------------------------------------------


def _means(xp: Namespace, sums: Sums, n: int, must_weigh: bool) -> tuple[list[float], list[float]]:
    """For each network the mean objective of the steps, and the penalty's part of it.

    Raises:
        ValueError: an epoch that ``must_weigh`` something weighs nothing for a network.
    """
    totals, decays, *counted = numbers(xp, *(each for each in sums if each is not None))
    rows = counted[0] if counted else [float(n)] * len(totals)
    if must_weigh and not all(rows):
        raise ValueError(NO_WEIGHT)
    # an epoch in which all batches weigh nothing, by an order that repeats rows, has the loss 0, as each of them
    means = ([total / (count or 1.0) for total, count in zip(each, rows, strict=True)] for each in (totals, decays))
    return next(means), next(means)


def _judged(
    xp: Namespace,
    held_out: Dataset | Sequence[Dataset] | None,
    params: Params,
    settings: Settings,
    good: Sequence[bool],
) -> tuple[list[float] | None, list[float] | None]:
    """For each network the loss on the rows that were held out, and the score; None for what there is not."""
    losses = scores = None
    options = {key: value for key, value in settings.options.items() if key in PredictOptions.__annotations__}
    wants_score, ranks = settings.score is None, settings.ranks
    judge = partial(evaluate_each, xp, options=cast(PredictOptions, options), wants_score=wants_score, ranks=ranks)
    own = [params] if ensemble_size(params) is None else list(zip(*map(xp.unstack, params), strict=True))
    if isinstance(held_out, Dataset):
        losses, scores = judge(held_out, params)
    elif held_out is not None:
        unknown = [math.nan], None if settings.score is not None else [math.nan]  # of a network that has ended
        each = [judge(rows, one) if fit else unknown for rows, one, fit in zip(held_out, own, good, strict=True)]
        losses, found = [loss for (loss,), _ in each], [score[0] for _, score in each if score is not None]
        scores = found if len(found) == len(own) else None
    if settings.score is not None and settings.score != "loss":
        functions = [of_member(settings.score, position) for position in range(len(own))]
        calls = list(zip(functions, own, good, strict=True))
        with together(ranks, own[0][0]):
            scores = [_as_a_number(f(one)) if fit else math.nan for f, one, fit in calls]
        scores = [total / ranks.size for total in sums_of(ranks, params[0], *scores)]
    return losses, scores


def _records(
    here: Epoch, numbers: Sequence[list[float] | None], counts: tuple[int, int, float], running: list[bool],
    good: list[bool],
) -> list[Record]:  # fmt: skip
    """The record of each network after this epoch: that of one which ended before is its last one.

    Args:
        here: the epoch before.
        numbers: loss, penalty, validation loss, validation score and rate, each a list or None.
        counts: the number of the epoch, the steps made so far, and the seconds.
        running: which networks learned in this epoch.
        good: which of them have a finite loss; what is said of the others is NaN.
    """
    number, steps, seconds = counts
    records = []
    for position, (runs, fit) in enumerate(zip(running, good, strict=True)):
        if not runs:
            records.append(here.last.members[position])
            continue
        values: list[Any] = [None if each is None else each[position] for each in numbers]
        loss, penalty, val_loss, val_score = [each if fit or each is None else math.nan for each in values[:-1]]
        records.append(Record(number, loss, penalty, val_loss, val_score, values[-1], steps, seconds))
    return records


def _as_a_number(score: Any) -> float:
    """What ``score`` returned; NaN is a number, which is no improvement."""
    try:
        return float(*detached(score))
    except (TypeError, ValueError):
        raise TypeError(f"score(params) must return a number, got {described(score)}") from None


def _after(
    here: Epoch,
    own: list[list[Record]],
    records: list[Record],
    good: Sequence[bool],
    params: Params,
    state: State,
    n: int,
    watch: Callable[[Record], float],
) -> Epoch:
    """The epoch after ``here``; the parameters with the lowest number to ``watch`` are the best of each network.

    The records of those that learned are added to their ``own``.
    """
    better = []
    for history, record, fit in zip(own, records, good, strict=True):
        # a NaN is no lower than anything
        lowest = min((number for number in map(watch, history) if not math.isnan(number)), default=math.inf)
        better.append(fit and (watch(record) < lowest or lowest == math.inf))
        history.extend([record] if fit else [])
    best = chosen(namespace(*params), better, params, here.best)
    record = records[0] if ensemble_size(params) is None else mean_record(records)
    return Epoch((*here.history, record), params, best, state, here.optimizer, here.rows + n)


def _first_bad(xp: Namespace, sums: Sequence[Sums], failed: Sequence[bool]) -> list[int]:
    """For each network that failed the first step with a loss that is not finite, from 0; the number of steps where
    there is none, for then a parameter is not finite. -1 for the others.

    Args:
        sums: before the first step and after each.
        failed: which networks did.
    """
    losses = list(zip(*numbers(xp, *(each.objective for each in sums[1:])), strict=True))
    bad = ([not math.isfinite(loss) for loss in each] for each in losses)
    first = (each.index(True) if True in each else len(each) for each in bad)
    return [step if fails else -1 for step, fails in zip(first, failed, strict=True)]


def _all_lost(here: Epoch, running: Sequence[bool]) -> bool:
    """Whether all networks that do not run any more have diverged."""
    return all(runs or not is_good(here.last.members[position]) for position, runs in enumerate(running))


def _what_diverged(bad: Sequence[int], plan: _Plan, here: Epoch, cause_of: Callable[[int, float | None], str]) -> str:
    """What to say of a run whose networks have all diverged: which step of the epoch after ``here``, and why.

    Args:
        bad: what ``_first_bad`` returned.
        plan: of the epoch.
        here: where the epoch began.
        cause_of: the likely cause, from a network's number and its rate in the step before; None where there was none.
    """
    count, ensemble = len(plan.seeds), len(bad) > 1
    position = next(number for number, step in enumerate(bad) if step >= 0)
    step, last = bad[position], here.last if here.history else None
    of = f" of network {position}, the last of {len(bad)} to diverge," if ensemble else ""
    what = f"the loss{of} is not finite at step {step + 1} of {count} in epoch {plan.number}"
    if step == count:
        what = f"the parameters{of} are not finite at the end of epoch {plan.number}"
    if last is not None and ensemble:
        last = last.members[position]
    rates = [None if last is None else last.lr, *plan.rates[position]]  # the rate of the step before comes first
    return f"{what}: {cause_of(position, rates[step])}"


def _cause(
    data: Dataset | Stream, settings: Settings, start: Params | Epoch, scaled: bool, position: int, rate: float | None
) -> str:
    """The likely cause of a loss that is not finite, in words: what is the most times larger than it usually is.

    Args:
        data: the rows to learn from, or batches that have been gone through.
        settings: of the run.
        start: where the run began; the parameters of an epoch may be large because it diverges.
        scaled: whether there is a loss scale.
        position: of the network.
        rate: of the last step; None where none was made.
    """
    if isinstance(data, Stream):  # of which there is the last batch
        data = cast(Dataset, data.last)
        rows = data.X.shape[0] * settings.accumulate
    else:
        rows = _rows_of_step(data.n, settings)
    inputs, targets, params = map(_largest, ((data.X,), (data.y,), () if isinstance(start, Epoch) else start))
    suspects = [
        (inputs / _LARGE, f"the inputs reach {inputs:.1e}: standardise them"),
        (targets / _LARGE, f"the targets reach {targets:.1e}: scale the target"),
        (params / _LARGE, f"the parameters that it starts from reach {params:.1e}: start from smaller ones"),
    ]
    weight, (_, weights) = 1.0, targets_of(namespace(data.y), data, data.y)
    if weights is not None:
        weight = float(namespace(weights).mean(weights if weights.ndim == 1 else weights[position, :]))
    given: Any = {**settings.options, "alpha": settings.alpha}
    for name in ("l2", "l1", "alpha"):
        strength = full = float(of_member(given.get(name, 0.0), position))
        if name == "alpha":
            strength /= weight * rows
        # a step on l2/2 W^2 alone makes W larger where the rate is above 2 / l2
        if rate is None or rate * strength > 2.0:
            suspects.append((strength, f"the penalty {name}, {full:.3g}, is too large"))
    default = "no step was made yet: activation and criterion give no finite loss for these inputs and parameters"
    if rate is not None:
        default = f"the learning rate, {rate:.3g}, is too large; or clip the gradients with clip_norm"
        suspects.append((rate, default))
    size, cause = max(suspects, key=lambda suspect: suspect[0])
    further = "; bfloat16 and float32 reach further than float16" if scaled else ""
    return f"{cause if size > 1.0 else default}{further}"


def _largest(arrays: Sequence[Any]) -> float:
    """The largest magnitude among floating arrays, sparse matrices of scipy and sources; labels are not large."""
    largest = 0.0
    for array in detached(*arrays):
        for part in (array,) if is_array(array) else held_numbers(array):
            xp = namespace(part)
            if is_floating(xp, part.dtype) and math.prod(part.shape):  # a sparse matrix may hold none
                largest = max(largest, float(xp.max(part)), -float(xp.min(part)))
    return largest
