"""One step of training: gradients -> combine -> update, as a pure function that can be compiled.

Before: ``dataset`` has the batches. Next: ``loop`` repeats the step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from mlp_xp._lib.namespace import persisted, wide_dtype
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.mlp import Terms, add_penalty_grads, objective_of, penalty, pull_back
from mlp_xp.optim import Optimizer, State, clip_by_global_norm
from mlp_xp.train.dataset import Batch


class Sums(NamedTuple):
    """Sums over the rows of an epoch so far, 0-d or (k,) for k networks.

    objective: before each update.
    penalty: the part of it that ``alpha`` adds.
    rows: how many there were, without those of batches that weigh nothing; None without weights.
    """

    objective: Array
    penalty: Array
    rows: Array | None = None


Step: TypeAlias = Callable[[Params, State, Sums, Batch, float | Array, int | Array], tuple[Params, State, Sums]]
"""``step(params, state, sums, batch, rate, seed) -> (params, state, sums)``."""


def zero_sums(xp: Namespace, params: Params, weighted: bool) -> Sums:
    """The sums before the first step.

    They are several arrays: a compiler that sees one array twice compiles the step twice.
    """
    zero = params[1][..., 0]
    wide = wide_dtype(xp, zero.dtype)
    return Sums(*[xp.astype(xp.zeros_like(zero), wide) for _ in range(3 if weighted else 2)])


def _as(xp: Namespace, part: Array, total: Array) -> Array:
    """``part`` in the dtype of the sum that it goes to."""
    return part if part.dtype == total.dtype else xp.astype(part, total.dtype)


def make_step(
    xp: Namespace, terms: Terms, optimizer: Optimizer, alpha: float | Array | None, clip_norm: float | None
) -> Step:
    """The step of a run.

    Args:
        xp: the namespace of its arrays.
        terms: of the objective.
        optimizer: see ``train``.
        alpha: strength of the penalty, as in ``train``, (k,) where those of k networks differ; None for no penalty.
        clip_norm: see ``train``.
    """

    def gradients(params: Params, batch: Batch, seed: int | Array) -> tuple[Array, Params, Any, Any]:
        """The objective on a batch, its gradient, what its rows weigh together, and 0 where they weigh nothing."""
        X, y, weight, rows = batch
        if rows is not None:
            X, y = xp.take(X, rows, axis=0), xp.take(y, rows, axis=0)
            weight = None if weight is None else xp.take(weight, rows, axis=-1)
        total: Any = float(X.shape[0])
        counts: Any = 1.0
        if weight is not None:
            total = xp.sum(weight, axis=-1)
            counts = xp.astype(total > 0.0, total.dtype)
            # rows that weigh nothing are given equal weights: objective and gradient are 0 times something finite
            total = total + (1.0 - counts)
            weight = weight + (1.0 - counts)[..., None]
        at = objective_of(xp, terms, params, X, y, weight, seed)
        one = xp.ones_like(at.loss)
        if weight is None:
            return at.loss, pull_back(at, one), total, counts
        return at.loss * counts, pull_back(at, one * counts), total, counts

    def combine(
        params: Params, loss: Array, grads: Params, total: Any, counts: Any
    ) -> tuple[Array, Params, Array | None]:
        """What belongs to all rows of the step together: the penalty ``alpha``, and clipping."""
        decay = None
        if alpha is not None:
            strength = counts * alpha / total
            grads, decay = add_penalty_grads(xp, params, grads, strength), penalty(xp, params, strength)
            loss = loss + decay
        if clip_norm is not None:
            grads = clip_by_global_norm(grads, clip_norm, ensemble=loss.ndim > 0)
        return loss, grads, decay

    def step(
        params: Params, state: State, sums: Sums, batch: Batch, rate: float | Array, seed: int | Array
    ) -> tuple[Params, State, Sums]:
        n = float((batch.X if batch.rows is None else batch.rows).shape[0])
        loss, grads, total, counts = gradients(params, batch, seed)
        loss, grads, decay = combine(params, loss, grads, total, counts)
        params, state = optimizer.update(params, grads, state, rate)
        new = [sums.objective + _as(xp, loss, sums.objective) * n]
        new.append(sums.penalty if decay is None else sums.penalty + _as(xp, decay, sums.penalty) * n)
        if sums.rows is not None:
            new.append(sums.rows + _as(xp, counts, sums.rows) * n)
        # computed now where a library would put it off: a graph must not grow from step to step
        made, first, end = persisted(*new, *params, *state), len(new), len(new) + len(params)
        return made[first:end], made[end:], Sums(*made[:first])

    return step
