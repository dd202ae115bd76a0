"""An epoch before it begins: order, rates and seeds, and what each of its steps takes.

What is drawn depends on the seed and the number of the epoch alone.

Before: ``settings``. Next: ``loop`` makes the steps.
"""

import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np  # for the host's random numbers alone

from mlp_xp._lib.arguments import check_number, shortened
from mlp_xp._lib.namespace import device_kwargs, device_of, spans_of, unstacked
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.schedules import progress_of
from mlp_xp.train.dataset import Batch, Dataset, batches, filled_up, rows_of, shares_of
from mlp_xp.train.epoch import Epoch, Record, ensemble_size
from mlp_xp.train.members import of_member
from mlp_xp.train.settings import Run, Settings, steps_in
from mlp_xp.train.source import shuffled
from mlp_xp.train.stream import Stream

_SEEDS = 2**31  # of dropout masks


class Plan(NamedTuple):
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


def plan_of(here: Epoch, fixed: Run, own: Sequence[Sequence[Record]], running: Sequence[bool]) -> Plan:
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
        steps = _steps_expected(here, data.length, fixed)
    elif settings.ranks.size == 1:
        steps, spans = steps_in(n, settings), spans_of(n, settings.batch_size)
    else:
        steps = steps_in(n, settings)
        spans, firsts = shares_of(counts, rank, steps, settings.accumulate)
        random = np.random.default_rng((settings.seed, number, rank))
    if settings.order is not None and not streamed:
        rows = _row_numbers(settings.order(number), number, counts[rank])
    elif settings.shuffle and not streamed:
        rows = shuffled(random, cast(Dataset, data).X, counts[rank])
    rates = [_rates(here, settings, position, own[position], running[position], steps) for position in range(len(own))]
    seeds = ((first_mask + step) % _SEEDS for step in itertools.count())
    now = 0 if steps is None or streamed else steps
    first = [list(itertools.islice(each, now)) for each in rates], list(itertools.islice(seeds, now))
    return Plan(number, rows, spans, firsts, *first, zip(zip(*rates, strict=True), seeds, strict=True))


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
    done = steps_made(here)  # epochs of a run may differ in length
    planned = None if steps is None else done + (settings.epochs - len(here.history)) * steps
    watched = list(map(settings.watch, records))
    progress = (progress_of(step, planned, here.rows, watched) for step in itertools.count(done))
    return (check_number("lr", lr(each), 0.0, math.inf) for each in progress)


def _steps_expected(here: Epoch, batches: int | None, fixed: Run) -> int | None:
    """How many steps the epoch after ``here`` has: as many as the batches say, else as many as that before it had."""
    lengths = fixed.exchange.tell(0.0 if batches is None else 1.0 + batches)
    if all(lengths):  # of ranks the one with the most batches decides
        return -(-int(max(lengths) - 1.0) // fixed.settings.accumulate)
    if not here.history:
        return None
    return here.last.steps - (here.history[-2].steps if len(here.history) > 1 else 0)


def steps_made(here: Epoch) -> int:
    return here.last.steps if here.history else 0


def rows_in(data: Dataset | Stream) -> int:
    """How many rows an epoch takes; of batches, how many the last one took."""
    return data.rows if isinstance(data, Stream) else data.n


def steps_of(
    xp: Namespace, params: Params, plan: Plan, running: Sequence[bool], fixed: Run
) -> tuple[Iterator[tuple[Any, float | Array, int | Array]], bool]:
    """What each step of an epoch takes, see ``_grouped``, rate and seed; and whether the rows have weights."""
    data, settings = fixed.data, fixed.settings
    if isinstance(data, Stream):
        begun = data.begin()
        weighted = any(fixed.exchange.tell(float(data.weighted)))
        return _as_they_come(xp, begun, params, plan, fixed, running), weighted
    parts = batches(xp, data, params[0], plan.spans, plan.rows)
    if settings.compile is True and len({span.stop - span.start for span in plan.spans}) > 1:
        parts = filled_up(xp, parts)
    if plan.firsts and _draws(settings):
        firsts = unstacked(xp, xp.asarray(plan.firsts, dtype=xp.int32, **device_kwargs(params[0])))
        each = (first for first in firsts for _ in range(settings.accumulate))
        parts = (part._replace(first=first) for part, first in zip(parts, each, strict=True))
    numbers = _numbers_of(xp, params, plan, settings, running)
    return zip(_grouped(parts, settings), *numbers, strict=True), bool(fixed.weighted)


def _as_they_come(
    xp: Namespace, begun: Iterator[Dataset], params: Params, plan: Plan, fixed: Run, running: Sequence[bool]
) -> Iterator[tuple[Any, float | Array, int | Array]]:
    """What each step of a pass that has begun takes, see ``_grouped``, rate and seed, which are added to the plan."""
    settings, like = fixed.settings, params[0]
    parts = (Batch(rows_of(xp, X, like, slice(None)), y, weight, None) for X, y, weight, _ in begun)
    full = filled_up(xp, parts) if settings.compile is True else parts
    for part in _grouped(full if settings.ranks.size == 1 else _joined(xp, full, fixed), settings):
        rates, seed = next(plan.coming)
        for made, rate in zip(plan.rates, rates, strict=True):
            made.append(rate)
        plan.seeds.append(seed)
        one = plan._replace(rates=[[rate] for rate in rates], seeds=[seed])
        (number,), (mask,) = _numbers_of(xp, params, one, settings, running)
        yield part, number, mask


def _joined(xp: Namespace, parts: Iterator[Batch], fixed: Run) -> Iterator[Batch | None]:
    """The batches of this rank, and None where it has no more and another rank has; all ranks end together."""
    settings, before, own = fixed.settings, 0, 0  # rows of the step so far, of all ranks, and of this one
    for number in itertools.count():
        part = next(parts, None)
        rows = 0 if part is None else part.X.shape[0] if part.n is None else int(part.n)
        each = [int(count) for count in fixed.exchange.meet(rows)]
        if not any(each):
            return
        if number % settings.accumulate == 0:
            before = own = 0
        if part is not None and _draws(settings):
            first = before - own + sum(each[: settings.ranks.rank])
            part = part._replace(first=xp.asarray(first, dtype=xp.int32, **device_kwargs(part.X)))
        yield part
        before, own = before + sum(each), own + rows


def _draws(settings: Settings) -> bool:
    """Whether something is drawn for a row, which depends on where it stands in the step."""
    return any((settings.transform, settings.options.get("dropout"), settings.options.get("input_dropout")))


def _row_numbers(rows: Any, number: int, n: int) -> Any:
    """What ``order(number)`` returned, on the host. Raise unless these are ``n`` numbers of rows."""
    try:
        order = np.asarray(rows)
    except ValueError:  # lists of several lengths
        order = np.empty((0, 0))
    if order.shape != (n,) or not np.issubdtype(order.dtype, np.integer) or order.min() < 0 or order.max() >= n:
        raise ValueError(f"order({number}) must be {n} row numbers from 0 to {n - 1}, got {shortened(rows)}")
    return order.astype(np.int64, copy=False)  # some libraries take no index of 8 bits


def _grouped(parts: Iterator[Batch | None], settings: Settings) -> Iterator[Any]:
    """What each step takes: a batch, or some, which are made one by one as the step asks for them."""
    if settings.accumulate == 1:
        return parts
    more = min(settings.accumulate, sys.maxsize) - 1  # than which no iterator counts further
    return (itertools.chain([first], itertools.islice(parts, more)) for first in parts)


def _numbers_of(
    xp: Namespace, params: Params, plan: Plan, settings: Settings, running: Sequence[bool]
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
