"""One step of training: gradients -> combine -> update, as a pure function that can be compiled.

Before: ``dataset`` has the batches. Next: ``loop`` repeats the step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias, cast

from mlp_xp._lib.namespace import persisted
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.mlp import Options, TrainOptions, add_penalty_grads, loss_and_grads, penalty
from mlp_xp.optim import Optimizer, State, clip_by_global_norm
from mlp_xp.train.dataset import Batch


class Sums(NamedTuple):
    """Sums over the rows of an epoch so far, 0-d: the objective before each update, and ``alpha``'s part of it."""

    objective: Array
    penalty: Array


Step: TypeAlias = Callable[[Params, State, Sums, Batch, float | Array, int | Array], tuple[Params, State, Sums]]
"""``step(params, state, sums, batch, rate, seed) -> (params, state, sums)``."""


def make_step(
    xp: Namespace, optimizer: Optimizer, alpha: float, clip_norm: float | None, options: TrainOptions
) -> Step:
    """The step of a run; its arguments are those of ``train``."""

    def gradients(X: Array, y: Array, weight: Array | None, params: Params, seed: int | Array) -> tuple[Array, Params]:
        """The objective of these rows and its gradients."""
        settings = cast(Options, {**options, "sample_weight": weight})
        if options.get("dropout"):
            settings["seed"] = seed
        return loss_and_grads(X, y, *params, **settings)

    def combine(
        loss: Array, grads: Params, params: Params, n: int, weight: Array | None
    ) -> tuple[Array, Params, Array | None]:
        """What the gradients of all rows of the step come to: with ``alpha``'s penalty, clipped."""
        decay = None
        if alpha:
            strength = alpha / (float(n) if weight is None else xp.sum(weight))
            grads = add_penalty_grads(xp, params, grads, strength)
            decay = penalty(xp, params, strength)
            loss = loss + decay
        if clip_norm is not None:
            grads = clip_by_global_norm(grads, clip_norm)
        return loss, grads, decay

    def step(
        params: Params, state: State, sums: Sums, batch: Batch, rate: float | Array, seed: int | Array
    ) -> tuple[Params, State, Sums]:
        X, y, weight = _taken(xp, batch)
        loss, grads = gradients(X, y, weight, params, seed)
        loss, grads, decay = combine(loss, grads, params, X.shape[0], weight)
        params, state = optimizer.update(params, grads, state, rate)
        n = float(X.shape[0])
        sums = Sums(sums.objective + loss * n, sums.penalty if decay is None else sums.penalty + decay * n)
        # computed now where a library would put it off: a graph must not grow from step to step
        objective, penalties, *arrays = persisted(*sums, *params, *state)
        return tuple(arrays[: len(params)]), tuple(arrays[len(params) :]), Sums(objective, penalties)

    return step


def _taken(xp: Namespace, batch: Batch) -> tuple[Array, Array, Array | None]:
    """X, y and weight of the batch's rows."""
    X, y, weight, rows = batch
    if rows is None:
        return X, y, weight
    weight = None if weight is None else xp.take(weight, rows, axis=0)
    return xp.take(X, rows, axis=0), xp.take(y, rows, axis=0), weight
