"""One step of training: gradients -> combine -> update, as a pure function that can be compiled.

A step takes one batch, or several, one after the other, whose gradients make one update. Where ranks train together,
``combine`` sums the gradients over them.

Before: ``dataset`` has the batches. Next: ``loop`` repeats the step.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias, cast

from mlp_xp._lib.arguments import described
from mlp_xp._lib.namespace import device_kwargs, persisted, wide_dtype
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.mlp import Objective, Terms, add_penalty_grads, objective_of, penalty, pull_back
from mlp_xp.optim import Optimizer, State, clip_by_global_norm, limit_norms
from mlp_xp.ranks import RankFailed, Ranks, each_of, refuse_failed
from mlp_xp.train.dataset import Batch

_LOOK = 8  # steps between two looks at whether the run was to end; the last step of an epoch has one too
_FAILED = 2.0**20  # a flag that is larger than those of all ranks that were asked to end the run


class Sums(NamedTuple):
    """Sums over the rows of an epoch so far, 0-d or (k,) for k networks.

    objective: before each update.
    penalty: the part of it that ``alpha`` adds.
    rows: how many there were, without those of batches that weigh nothing; None without weights.
    """

    objective: Array
    penalty: Array
    rows: Array | None = None


class Gradients(NamedTuple):
    """The loss on the rows of a step, or of its batches so far, and its gradient, without penalties.

    loss: the mean over the rows by their weight, 0-d or (k,) for k networks; 0 where they weigh nothing.
    grads: its gradient.
    weight: what the rows weigh together; without weights their number.
    counts: 0 where the rows weigh nothing, else 1.
    rows: how many there are.
    """

    loss: Array
    grads: Params
    weight: float | Array
    counts: float | Array
    rows: float | Array


Step: TypeAlias = Callable[[Params, State, Sums, Any, float | Array, int | Array], tuple[Params, State, Sums]]
"""``step(params, state, sums, batch, rate, seed) -> (params, state, sums)``; or several batches, an iterable."""

Update: TypeAlias = Callable[[Params, State, Sums, Gradients, float | Array], tuple[Params, State, Sums]]
"""``update(params, state, sums, gradients, rate) -> (params, state, sums)``."""

Transform: TypeAlias = Callable[[Array, Any, Any], Array]
"""``transform(X, seed, first) -> X``: other inputs (n, d_in) in place of the rows of a batch, see ``train``."""

Differentiate: TypeAlias = Callable[[Params, Batch, int | Array, Array | None], Gradients]
"""``differentiate(params, batch, seed, scale) -> gradients``."""

Combine: TypeAlias = Callable[[Gradients], Gradients]
"""``combine(gradients) -> gradients``: those of all ranks, from those of one."""

Tell: TypeAlias = Callable[[float], list[float]]
"""``tell(number) -> numbers``: that of each rank, in their order, from that of this one, which is at least 0."""

Gather: TypeAlias = Callable[[Params, Gradients, Batch, int | Array, Array | None], Gradients]
"""``gather(params, gradients, batch, seed, scale) -> gradients``: those of the batches before, with this one."""


def zero_sums(xp: Namespace, params: Params, weighted: bool) -> Sums:
    """The sums before the first step.

    They are several arrays: a compiler that sees one array twice compiles the step twice.
    """
    zero = params[1][..., 0]
    wide = wide_dtype(xp, zero.dtype)
    return Sums(*[xp.astype(xp.zeros_like(zero), wide) for _ in range(3 if weighted else 2)])


def no_gradients(xp: Namespace, params: Params) -> Gradients:
    """What ``gather`` has before the first batch."""
    zero = params[1][..., 0]
    weight = xp.astype(xp.zeros_like(zero), wide_dtype(xp, zero.dtype))
    rows = xp.asarray(0, dtype=xp.int32, **device_kwargs(zero))
    return Gradients(xp.zeros_like(zero), tuple(map(xp.zeros_like, params)), weight, xp.zeros_like(zero), rows)


def _as(xp: Namespace, part: Any, total: Array) -> Any:
    """``part`` in the dtype of the sum that it goes to; a Python number as it is."""
    return part if isinstance(part, float) or part.dtype == total.dtype else xp.astype(part, total.dtype)


def _objective(
    xp: Namespace, terms: Terms, params: Params, batch: Batch, seed: int | Array, first: Array | None,
    transform: Transform | None,
) -> tuple[Objective, Any, Any]:  # fmt: skip
    """The loss on a batch, and what ``weight`` and ``counts`` of ``Gradients`` are.

    Args:
        xp: the namespace of its arrays.
        terms: of the objective, without penalties.
        params: of the network.
        batch: its rows.
        seed: of the dropout masks.
        first: how many rows of the step come before these; None for none.
        transform: see ``train``.
    """
    X, y, weight, rows, n, _ = batch
    if rows is not None:
        X, y = xp.take(X, rows, axis=0), xp.take(y, rows, axis=0)
        weight = None if weight is None else xp.take(weight, rows, axis=-1)
    if transform is not None:
        X = _transformed(transform, X, seed, first)
    total: Any = float(X.shape[0])
    counts: Any = 1.0
    if n is not None:
        real = xp.astype(xp.arange(X.shape[0], dtype=n.dtype, **device_kwargs(X)) < n, params[0].dtype)
        weight = real if weight is None else weight * real
    if batch.weight is None and n is not None:
        total = xp.astype(n, wide_dtype(xp, params[0].dtype))
    elif weight is not None:
        total = xp.sum(weight, axis=-1)
        counts = xp.astype(total > 0.0, total.dtype)
        # rows that weigh nothing are given equal weights: objective and gradient are 0 times something finite
        weight = weight + (1.0 - counts)[..., None]
    return objective_of(xp, terms, params, X, y, weight, seed, first), total, counts


def _pulled(xp: Namespace, at: Objective, share: Any, scale: Array | None) -> Params:
    """``share`` times the gradient; with a loss scale, what goes back through the network is larger by that."""
    if scale is None:
        return pull_back(at, share)
    return tuple([g / _beside(scale, g) for g in pull_back(at, share * scale)])


def _transformed(transform: Transform, X: Array, seed: int | Array, first: Array | None) -> Array:
    """What ``transform`` makes of the rows of a batch. Raise unless it is an array like theirs."""
    made = transform(X, seed, first)
    kinds = [(getattr(each, "shape", None), getattr(each, "dtype", None)) for each in (X, made)]
    if kinds[0] != kinds[1]:
        expected = f"an array like X, {X.dtype} of shape {tuple(X.shape)}"
        raise ValueError(f"transform must return {expected}, got {described(made)}")
    return made


def make_update(
    xp: Namespace, terms: Terms, optimizer: Optimizer, alpha: float | Array | None, clip_norm: float | None,
    max_norm: float | None = None,
) -> Update:  # fmt: skip
    """combine -> update: what follows the gradients of a step.

    Args:
        xp: the namespace of its arrays.
        terms: of the objective.
        optimizer: see ``train``.
        alpha: strength of the penalty, as in ``train``, (k,) where those of k networks differ; None for no penalty.
        clip_norm, max_norm: see ``train``.
    """

    def combine(params: Params, of: Gradients) -> tuple[Array, Params, Array | None]:
        """What belongs to all rows of the step together: the penalties, and clipping."""
        loss, grads, decay, counts = of.loss, of.grads, None, of.counts
        if terms.l2 is not None or terms.l1 is not None:
            l2, l1 = (None if strength is None else strength * counts for strength in (terms.l2, terms.l1))
            grads, loss = add_penalty_grads(xp, params, grads, l2, l1), loss + penalty(xp, params, l2, l1)
        if alpha is not None:
            strength = _as(xp, counts * alpha / (of.weight + (1.0 - counts)), loss)
            grads, decay = add_penalty_grads(xp, params, grads, strength), penalty(xp, params, strength)
            loss = loss + decay
        if clip_norm is not None:
            grads = clip_by_global_norm(grads, clip_norm, ensemble=loss.ndim > 0)
        return loss, grads, decay

    def update(
        params: Params, state: State, sums: Sums, gradients: Gradients, rate: float | Array
    ) -> tuple[Params, State, Sums]:
        loss, grads, decay = combine(params, gradients)
        params, state = optimizer.update(params, grads, state, rate)
        if max_norm is not None:
            params = limit_norms(params, max_norm)
        n = _as(xp, gradients.rows, sums.objective)
        new = [sums.objective + _as(xp, loss, sums.objective) * n]
        new.append(sums.penalty if decay is None else sums.penalty + _as(xp, decay, sums.penalty) * n)
        if sums.rows is not None:
            new.append(sums.rows + _as(xp, gradients.counts, sums.rows) * n)
        # computed now where a library would put it off: a graph must not grow from step to step
        made, first, end = persisted(*new, *params, *state), len(new), len(new) + len(params)
        return made[first:end], made[end:], Sums(*made[:first])

    return update


def make_differentiate(xp: Namespace, terms: Terms, transform: Transform | None = None) -> Differentiate:
    """The function that makes the gradients of a step that takes one batch.

    Args:
        xp: the namespace of its arrays.
        terms: of the objective.
        transform: see ``train``.
    """
    terms = terms._replace(l2=None, l1=None)

    def differentiate(params: Params, batch: Batch, seed: int | Array, scale: Array | None) -> Gradients:
        at, weight, counts = _objective(xp, terms, params, batch, seed, batch.first, transform)
        loss = at.loss
        if batch.weight is not None:
            loss, counts = loss * counts, xp.ones_like(loss) * counts
        rows: Any = float(at.layers[0].x.shape[0]) if batch.n is None else batch.n
        return Gradients(loss, _pulled(xp, at, counts, scale), weight, counts, rows)

    return differentiate


def make_step(
    differentiate: Differentiate, update: Update, scaled: bool = False, combine: Combine | None = None,
    nothing: Gradients | None = None,
) -> Step:  # fmt: skip
    """The step of a run whose steps take one batch.

    Args:
        differentiate: from ``make_differentiate``.
        update: from ``make_update``.
        scaled: whether the state ends with a loss scale.
        combine: see ``Exchange``.
        nothing: from ``no_gradients``: those of a rank that has no batch in this step; None where each has.
    """

    def step(
        params: Params, state: State, sums: Sums, batch: Batch | None, rate: float | Array, seed: int | Array
    ) -> tuple[Params, State, Sums]:
        if batch is None:
            gradients = cast(Gradients, nothing)
        else:
            gradients = differentiate(params, batch, seed, state[-1] if scaled else None)
        return update(params, state, sums, gradients if combine is None else combine(gradients), rate)

    return step


class Exchange(NamedTuple):
    """What the ranks of a run tell each other in an epoch; see ``make_exchange``.

    combine: None for one rank.
    tell: raises RankFailed where another rank has given up.
    meet: as ``tell``, of the rows of the next batch, 0 where there is none. Before each batch of a stream all meet.
    give_up: ``give_up()``, for a rank that can't go on: in place of what the others wait for it says so.
    """

    combine: Combine | None
    tell: Tell
    meet: Tell
    give_up: Callable[[], None]


def _nothing() -> None:
    """``give_up`` where there is one rank."""


OF_ONE = Exchange(None, lambda number: [number], lambda number: [number], _nothing)
"""One rank: what it tells, it tells itself."""


def make_exchange(
    xp: Namespace, ranks: Ranks, params: Params, steps: int, meetings: int, asked: Callable[[], bool]
) -> Exchange:
    """How the ranks of a run make the gradients of all rows of a step from those of the rows of each, in one message.

    Means over the rows of a rank become the mean over all rows: sums weighted by what the rows weigh, over the sum of
    these weights. A flag goes with them. It stays raised, so that looking at it now and then is enough, and a device
    that works ahead is not held up.

    Args:
        xp: the namespace of the arrays.
        ranks: of the run.
        params: of the network.
        steps: how many an epoch has; 1 where nobody knows, then each step looks at the flag.
        meetings: how often the ranks meet before they combine: as many batches as a step takes; 0 where all know how
            many rows each has in each step.
        asked: whether this rank was asked to end the run, by Ctrl-C.

    Returns:
        What they tell each other. Where any rank was asked, ``combine`` raises KeyboardInterrupt on all in the same
        step; where one gave up, RankFailed.
    """
    made, met, sending = 0, 0, False

    def total(flag: float, *parts: Array) -> tuple[Array, ...]:
        nonlocal made, met, sending
        sending = True
        flags, *sums = ranks.total((xp.ones_like(parts[0]) * flag, *parts))
        made, met, sending = made + 1, 0, False
        raised = float(xp.max(flags)) if made % steps % _LOOK == 0 else 0.0
        if raised >= _FAILED:
            raise RankFailed("another rank has failed: what it raised says why")
        if raised:
            raise KeyboardInterrupt
        return tuple(sums)

    def combine(own: Gradients) -> Gradients:
        rows, weight = (xp.ones_like(own.loss) * _as(xp, n, own.loss) for n in (own.rows, own.counts * own.weight))
        means = (own.loss, *own.grads)
        rows, weight, *sums = total(float(asked()), rows, weight, *(each * _beside(weight, each) for each in means))
        counts = xp.astype(weight > 0.0, weight.dtype)
        safe = weight + (1.0 - counts)
        loss, *grads = [each / _beside(safe, each) for each in sums]
        return Gradients(loss, tuple(grads), weight, counts, rows)

    def tell(number: float) -> list[float]:
        nonlocal sending
        sending = True
        each = each_of(ranks, params[0], number)
        sending = False
        return refuse_failed(each)

    def meet(rows: float) -> list[float]:
        nonlocal met
        each = tell(rows)
        met = met + 1 if any(each) else 0  # the epoch ends where no rank has a batch
        return each

    def give_up() -> None:
        nothing = xp.zeros_like(params[1][..., 0])
        with suppress(RankFailed):
            while not sending:  # else the engine has failed
                if met == meetings:
                    total(_FAILED, nothing, nothing, nothing, *map(xp.zeros_like, params))
                else:
                    tell(-1.0)

    return Exchange(combine, tell, meet, give_up)


def _beside(of_networks: Array, array: Array) -> Array:
    """A number, or one for each of k networks, shaped so that it multiplies the arrays of the networks."""
    return of_networks[(..., *(None,) * (array.ndim - of_networks.ndim))]


def make_gather(xp: Namespace, terms: Terms, transform: Transform | None = None) -> Gather:
    """The function that adds a batch to the gradients of a step that takes several.

    Args:
        xp: the namespace of its arrays.
        terms: of the objective.
        transform: see ``train``.
    """
    terms = terms._replace(l2=None, l1=None)

    def gather(params: Params, gradients: Gradients, batch: Batch, seed: int | Array, scale: Array | None) -> Gradients:
        before = gradients.rows if batch.first is None else gradients.rows + batch.first
        at, weight, counts = _objective(xp, terms, params, batch, seed, cast(Array, before), transform)
        own = _as(xp, weight * counts, cast(Array, gradients.weight))
        total = gradients.weight + own
        counts = xp.astype(total > 0.0, at.loss.dtype)
        # a mean over all rows so far: sums over many rows would overflow floats of 16 bits
        share = _as(xp, own / (total + (1.0 - counts)), at.loss)
        kept = 1.0 - share
        loss = kept * gradients.loss + share * at.loss
        pairs = zip(gradients.grads, _pulled(xp, at, share, scale), strict=True)
        grads = [_beside(kept, a) * a + b for a, b in pairs]
        rows: Any = at.layers[0].x.shape[0] if batch.n is None else batch.n
        made = persisted(loss, total, counts, gradients.rows + rows, *grads)
        return Gradients(made[0], made[4:], *made[1:4])

    return gather


def make_step_of_batches(
    gather: Gather, update: Update, nothing: Gradients, scaled: bool = False, combine: Combine | None = None
) -> Step:
    """The step of a run whose steps take several batches: one update, to rounding that of one large batch.

    Args:
        gather: from ``make_gather``, compiled where it is to be.
        update: from ``make_update``, compiled as well.
        nothing: from ``no_gradients``.
        scaled: whether the state ends with a loss scale.
        combine: see ``Exchange``.
    """

    def step(
        params: Params, state: State, sums: Sums, batches: Iterable[Batch | None], rate: float | Array,
        seed: int | Array,
    ) -> tuple[Params, State, Sums]:  # fmt: skip
        gradients = nothing
        for batch in batches:
            if batch is not None:
                gradients = gather(params, gradients, batch, seed, state[-1] if scaled else None)
        return update(params, state, sums, gradients if combine is None else combine(gradients), rate)

    return step
