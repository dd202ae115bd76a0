"""One step of training: gradients -> combine -> update, as a pure function that can be compiled.

Before: ``dataset`` has the batches. Next: ``loop`` repeats the step.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from mlp_xp._lib.namespace import persisted, wide_dtype
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.mlp import Objective, Terms, add_penalty_grads, objective_of, penalty, pull_back
from mlp_xp.optim import Optimizer, State, clip_by_global_norm
from mlp_xp.train.dataset import Batch


class Sums(NamedTuple):
    """Sums over the rows of an epoch so far, 0-d: the objective before each update, and ``alpha``'s part of it."""

    objective: Array
    penalty: Array


Step: TypeAlias = Callable[[Params, State, Sums, Batch, float | Array, int | Array], tuple[Params, State, Sums]]
"""``step(params, state, sums, batch, rate, seed) -> (params, state, sums)``."""


def zero_sums(xp: Namespace, params: Params) -> Sums:
    """The sums before the first step.

    They are two arrays: a compiler that sees one array twice compiles the step twice.
    """
    zero = params[1][0, ...]
    wide = wide_dtype(xp, zero.dtype)
    return Sums(*[xp.astype(xp.zeros_like(zero), wide) for _ in range(2)])


def _as(xp: Namespace, part: Array, total: Array) -> Array:
    """``part`` in the dtype of the sum that it goes to."""
    return part if part.dtype == total.dtype else xp.astype(part, total.dtype)


def make_step(xp: Namespace, terms: Terms, optimizer: Optimizer, alpha: float, clip_norm: float | None) -> Step:
    """The step of a run: the terms of its objective, and arguments of ``train``."""

    def combine(at: Objective, grads: Params, n: float, weight: Array | None) -> tuple[Array, Params, Array | None]:
        """What belongs to all ``n`` rows of the step together: the penalty ``alpha``, and clipping."""
        loss, decay = at.loss, None
        if alpha:
            strength = alpha / (n if weight is None else xp.sum(weight))
            grads, decay = add_penalty_grads(xp, at.params, grads, strength), penalty(xp, at.params, strength)
            loss = loss + decay
        return loss, grads if clip_norm is None else clip_by_global_norm(grads, clip_norm), decay

    def step(
        params: Params, state: State, sums: Sums, batch: Batch, rate: float | Array, seed: int | Array
    ) -> tuple[Params, State, Sums]:
        X, y, weight, rows = batch
        if rows is not None:
            X, y = xp.take(X, rows, axis=0), xp.take(y, rows, axis=0)
            weight = None if weight is None else xp.take(weight, rows, axis=0)
        n = float(X.shape[0])
        at = objective_of(xp, terms, params, X, y, weight, seed)
        grads = pull_back(at, xp.ones_like(at.loss))
        loss, grads, decay = combine(at, grads, n, weight)
        params, state = optimizer.update(params, grads, state, rate)
        total, decayed = sums.objective + _as(xp, loss, sums.objective) * n, sums.penalty
        sums = Sums(total, decayed if decay is None else decayed + _as(xp, decay, decayed) * n)
        # computed now where a library would put it off: a graph must not grow from step to step
        new, end = persisted(*sums, *params, *state), 2 + len(params)
        return new[2:end], new[end:], Sums(*new[:2])

    return step
