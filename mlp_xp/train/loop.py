"""The training loop: ``for epoch in train(X, y, params, ...)``. The caller logs, plots, keeps or stops.

``train`` reads the data and calls ``run``, which plans an epoch, runs its steps, evaluates, records, and stops where it
should. Batches are taken on the device. Nothing comes back to the host inside an epoch; a few numbers do at its end.
What is drawn depends on the seed and the number of the epoch alone: a run that goes on from an ``Epoch`` is the run
that never stopped. Where ranks train together, what all have to decide alike is decided from sums over all of them.

A run may be that of an ensemble, parameters with a leading axis: ``members`` has what is done for each network.

Before: ``plan`` and ``results`` have the two ends of an epoch, ``step`` what is between. Next: ``checkpoint`` keeps an
epoch in a file; ``estimators`` and ``cli`` call the loop.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from numbers import Real
from operator import attrgetter
from typing import Any, Unpack, cast

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
)
from mlp_xp._lib.files import dtype_name
from mlp_xp._lib.namespace import detached, namespace, to_host
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.losses import criterion_named
from mlp_xp.mlp import TrainOptions, terms_of
from mlp_xp.optim import Optimizer, adam, check_optimizer
from mlp_xp.ranks import (
    RankFailed,
    Ranks,
    check_params_alike,
    check_ranks,
    check_settings_alike,
    each_of,
    interrupts_into,
    sums_of,
    together,
)
from mlp_xp.schedules import Schedule, check_patience, stalls
from mlp_xp.train.compiling import available, check_compile, compiled
from mlp_xp.train.dataset import NO_WEIGHT, Dataset, read, weight_of
from mlp_xp.train.divergence import all_lost, cause, first_bad, what_diverged
from mlp_xp.train.epoch import Diverged, Epoch, Interrupted, Record, ensemble_size, histories
from mlp_xp.train.members import Shared, chosen, finite, for_each, shared_by, strength_of
from mlp_xp.train.plan import plan_of, steps_made, steps_of
from mlp_xp.train.results import epoch_after, judged, means, records_of
from mlp_xp.train.scale import needs_loss_scale, with_loss_scale
from mlp_xp.train.settings import Run, Score, Settings, steps_in
from mlp_xp.train.step import (
    OF_ONE,
    Exchange,
    Step,
    Transform,
    make_differentiate,
    make_exchange,
    make_gather,
    make_step,
    make_step_of_batches,
    make_update,
    no_gradients,
    zero_sums,
)
from mlp_xp.train.stream import Stream, read_batches

# For NumPy, which warns where a gradient with a loss scale is too large for float16: such a step is skipped.
_QUIET = np.errstate(over="ignore", invalid="ignore")

# Bytes that are taken and given back once. The C library of Linux returns freed memory to the system, and every step
# would ask for it anew, page by page, which costs more than the arithmetic. What it keeps is twice the largest block
# that it has seen come and go, up to 32 MiB.
_MEMORY = 31 * 2**20


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
            from. Of what says its ``chunks`` they come in blocks, see ``in_blocks``. Or, where y is None, an iterable
            of batches, pairs ``(X, y)`` or triples with sample weights, such as a list or a ``DataLoader``: each is one
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
            them refuses, a callback's True and Ctrl-C, which takes up to eight steps, end the run on all. Where data
            come in batches, each rank gives its own, and a step takes the next one of every rank. A rank whose batches
            end before those of others joins in with no rows until all have ended, as in ``Join`` of PyTorch: no batch
            is left out, and the mean is over the rows that there are. Before each batch the ranks tell each other its
            rows, a second, small message.
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
        _check_score(score),
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
        with together(settings.ranks, cast(Array, next(iter(networks), None))):
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


def _check_score(score: Any) -> Any:
    if isinstance(score, str) and score == "loss":
        return score
    return _if_given(check_callable, "score", score, "lambda params: 0.5")


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
    data: Dataset | Stream,
    held_out: Dataset | Sequence[Dataset] | None,
    start: Params | Epoch,
    settings: Settings,
    asked: threading.Event | None = None,
    make: Callable[..., Step] | None = None,
) -> Iterator[Epoch]:
    """``train`` on data that were checked already: on one device, finite, with targets that fit the network.

    Args:
        data: the rows to learn from, or batches that are checked as they come, whose order and size are their own.
        held_out: the rows on which each epoch is judged, of an ensemble also a list of them, one for each network; or
            None. Their weights are (n,) and positive.
        start: parameters, or an ``Epoch`` to go on from.
        settings: see ``train``.
        asked: of the caller's own ``interrupts_into``, where it takes Ctrl-C between epochs too: it ends the next one.
        make: makes the step; ``step_of`` when None.
    """
    params = start.params if isinstance(start, Epoch) else start
    ranks, asked = settings.ranks, asked or threading.Event()
    with together(ranks, params[0]):  # where the first batch is read
        scaled = needs_loss_scale(data.dtype, params)
    settings = settings._replace(optimizer=with_loss_scale(settings.optimizer)) if scaled else settings
    counts, weighted = _agreed(data, held_out, params, settings, scaled)
    here, shared = _beginning(start, settings.optimizer, sum(counts))
    xp, own = namespace(*here.params), histories(here)  # own: the records of each network
    settings = settings._replace(compile=available(xp, settings.compile))
    exchange = _exchange(data, here.params, settings, sum(counts), asked)
    step = (make or step_of)(xp, here.params, settings, scaled, exchange)
    cause_of = partial(cause, data, settings, start, scaled)
    np.empty(_MEMORY, dtype=np.uint8)
    began = time.perf_counter() - (here.last.seconds if here.history else 0.0)
    fixed = Run(data, held_out, settings, counts, weighted, shared, step, exchange, cause_of, began)
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


def _epoch_after(
    here: Epoch, before: Params, own: list[list[Record]], running: list[bool], fixed: Run
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
        try:
            plan = plan_of(here, fixed, own, running)
            steps, weighted = steps_of(xp, params, plan, running, fixed)
            sums = [zero_sums(xp, params, weighted)]
            for batch, rate, mask in steps:
                params, state, total = fixed.step(params, state, sums[-1], batch, rate, mask)
                sums.append(total)
        except Exception as error:  # of rows that are read, or of the caller's own functions
            if not isinstance(error, RankFailed):
                fixed.exchange.give_up()
            raise
        n = sum(fixed.counts)
        if isinstance(fixed.data, Stream):
            n = int(sum(fixed.exchange.tell(fixed.data.rows)))
        losses, decays = means(xp, sums[-1], n, must_weigh=isinstance(fixed.data, Stream))
        fits = zip(running, losses, finite(xp, params), strict=True)
        good = [runs and math.isfinite(loss) and fit for runs, loss, fit in fits]
        lasts = here.params
        if good != running:
            bad = first_bad(xp, sums, [runs and not fit for runs, fit in zip(running, good, strict=True)])
            # where already the first loss is not finite, the parameters before this epoch are not good either
            lasts = chosen(xp, [step == 0 for step in bad], before, lasts)
            if not any(good) and all_lost(here, running):
                raise Diverged(what_diverged(bad, plan, here, fixed.cause_of), lasts)
        params, state = chosen(xp, good, params, lasts), chosen(xp, good, state, here.state)
        found, last = judged(xp, fixed.held_out, params, settings, good), [rates[-1] for rates in plan.rates]
        numbers = [losses, decays if settings.alpha else [0.0] * len(own), *found, last]
        counts = plan.number, steps_made(here) + len(plan.seeds), time.perf_counter() - fixed.began
        records = records_of(here, numbers, counts, running, good)
        after = epoch_after(here, own, records, good, params, state, n, settings.watch)
        with together(ranks, params[0]):
            answers = [callback(after) for callback in settings.callbacks]
        return after, any(map(is_true, answers))
    except KeyboardInterrupt:
        raise Interrupted(chosen(xp, running, params, here.params)) from None


def _agreed(
    data: Dataset | Stream, held_out: Any, params: Params, settings: Settings, scaled: bool
) -> tuple[list[int], bool | None]:
    """How many rows each rank learns from, and whether rows have weights on any.

    Raises:
        ValueError: on all ranks, for settings or parameters that differ, or too few rows on one of them.
    """
    ranks, like = settings.ranks, params[0]
    if ranks.size > 1:
        _check_alike(params, settings, {"scaled": scaled, "judged": held_out is not None})
    if isinstance(data, Stream):
        return [0], None
    weight = weight_of(namespace(*params), data, like)
    counts = [int(count) for count in each_of(ranks, like, data.n)]
    weighted = any(each_of(ranks, like, float(data.weight is not None)))
    _check_weighed(weight, params, ranks)
    parts = settings.accumulate * steps_in(sum(counts), settings)
    for rank, count in enumerate(counts if ranks.size > 1 else ()):
        if count < parts:
            expected = f"a row for each of the {parts} batches of an epoch, or batch_size must be larger"
            raise ValueError(f"each rank must have {expected}, rank {rank} has {count} of {sum(counts)} rows")
    return counts, weighted


def _check_alike(params: Params, settings: Settings, more: dict[str, bool]) -> None:
    """Raise on all ranks for settings or parameters that differ, or what else decides how the run goes."""
    every = {**settings._asdict(), **settings.options, **more, "optimizer": settings.optimizer.name}
    every["score is None"] = settings.score is None
    every["patience"] = [each for each in getattr(settings.stop, "args", ()) if isinstance(each, float)]
    check_settings_alike(settings.ranks, params[0], "the settings of a run", every)
    check_params_alike(settings.ranks, params)


# --- the parts of an epoch ---------------------------------------------------------------------------------------


def _exchange(data: Dataset | Stream, params: Params, settings: Settings, n: int, asked: threading.Event) -> Exchange:
    """What the ranks of a run tell each other.

    Args:
        data: of this rank.
        params: of the network.
        settings: of the run.
        n: how many rows all ranks have.
        asked: set where Ctrl-C is to end the run of several ranks.
    """
    if settings.ranks.size == 1:
        return OF_ONE
    steps, meetings = (1, settings.accumulate) if isinstance(data, Stream) else (steps_in(n, settings), 0)
    return make_exchange(namespace(*params), settings.ranks, params, steps, meetings, asked.is_set)


def step_of(xp: Namespace, params: Params, settings: Settings, scaled: bool, exchange: Exchange) -> Step:
    """The step of a run, compiled where it is to be.

    Args:
        xp: the namespace of the parameters.
        params: of the network.
        settings: of the run.
        scaled: whether there is a loss scale.
        exchange: what ranks tell each other.
    """
    options = {name: value for name, value in settings.options.items() if name not in ("sample_weight", "l2", "l1")}
    terms = terms_of(len(params) // 2 - 1, **cast(Any, options))
    l2, l1 = (strength_of(xp, settings.options.get(name, 0.0), params[0]) for name in ("l2", "l1"))
    terms = terms._replace(l2=l2, l1=l1, trusted=True)  # the data were looked at
    alpha = strength_of(xp, settings.alpha, params[0])
    update = make_update(xp, terms, settings.optimizer, alpha, settings.clip_norm, settings.max_norm)
    make_fast, combine = partial(compiled, xp, compile=settings.compile), exchange.combine
    if settings.accumulate > 1:
        gather = make_gather(xp, terms, settings.transform)
        step = make_step_of_batches(make_fast(gather), make_fast(update), no_gradients(xp, params), scaled, combine)
    else:
        differentiate = make_differentiate(xp, terms, settings.transform)
        if combine is None:
            step = cast(Step, make_fast(make_step(differentiate, update, scaled)))
        else:  # an engine sums arrays, which a compiler can't look into
            step = make_step(make_fast(differentiate), make_fast(update), scaled, combine, no_gradients(xp, params))
    return _QUIET(step) if scaled else step


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


# --- the end of an epoch -----------------------------------------------------------------------------------------
