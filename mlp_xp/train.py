"""The training loop: ``for epoch in train(X, y, params, ...)``. The caller logs, plots, keeps or stops.

Minibatches are taken on the device and nothing comes back to the host inside an epoch; a few numbers do at its end.

Before: ``mlp`` and ``optim``. Next: ``cli`` calls it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import NamedTuple, Unpack, cast

import numpy as np  # for the host's random numbers alone

from mlp_xp._arguments import check_batch
from mlp_xp._namespace import beside, is_floating, is_integral, namespace, settled
from mlp_xp._typing import Array, Namespace, Params
from mlp_xp.mlp import Options, PredictOptions, TrainOptions, loss_and_grads, objective, predict
from mlp_xp.optim import Optimizer


class Epoch(NamedTuple):
    """What is known after a pass over the data.

    number: from 1.
    loss: mean objective of the steps, each before its update, weighted by batch size.
    val_loss: data loss on the validation set, without penalties and dropout; None without such a set.
    val_accuracy: share of validation rows whose label is predicted; None without labels.
    seconds: time since training began.
    params: the parameters now.
    """

    number: int
    loss: float
    val_loss: float | None
    val_accuracy: float | None
    seconds: float
    params: Params


def train(
    X: Array,
    y: Array,
    params: Params,
    *,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int = 128,
    seed: int = 0,
    validation: tuple[Array, Array] | None = None,
    **options: Unpack[TrainOptions],
) -> Iterator[Epoch]:
    """Yield an ``Epoch`` after each pass over ``X`` (n, d_in) and ``y`` in seeded random order.

    Args:
        X, y: the data, as in ``objective``.
        params: where to start from; they are not changed.
        optimizer: ``sgd(lr)``, ``momentum(lr)``, ``adam(lr)``, or another ``(init, update)`` pair.
        epochs: how many passes.
        batch_size: rows in a step; the last one of an epoch takes what is left.
        seed: of the order, and of the dropout masks, which advance with every step.
        validation: rows ``(X, y)`` on which each epoch is judged.
        options: of the objective, see ``TrainOptions``; ``sample_weight`` is (n,).

    Raises:
        ValueError: for a NaN or infinity in the data, or labels out of range, on every backend.
        FloatingPointError: when the loss is no longer finite.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, got {epochs} and {batch_size}")
    xp = namespace(X, y, *params, names=("X", "y"))
    d_out = params[-1].shape[-1]
    check_values(xp, X, y, d_out)
    judged = cast(PredictOptions, {key: value for key, value in options.items() if key in ("activation", "criterion")})
    if validation is not None:
        check_values(xp, *validation, d_out, "validation ")
    step_options = cast(Options, dict(options))
    sample_weight = options.get("sample_weight")
    n = X.shape[0]
    if sample_weight is not None:
        namespace(X, sample_weight, names=("X", "sample_weight"))
        if sample_weight.shape != (n,):
            raise ValueError(f"sample_weight must have shape (n,) = ({n},), got {tuple(sample_weight.shape)}")
        if not bool(xp.all(xp.isfinite(sample_weight) & (sample_weight > 0))):
            raise ValueError("sample_weight must be finite and positive, so that no minibatch weighs nothing")

    state = optimizer.init(params)
    random = np.random.default_rng(seed)
    began = time.perf_counter()
    for number in range(1, epochs + 1):
        order = xp.asarray(random.permutation(n), **beside(X))
        total = xp.zeros_like(X[0, 0])
        for start in range(0, n, batch_size):
            rows = order[start : min(start + batch_size, n)]
            if options.get("dropout"):
                step_options["seed"] = int(random.integers(2**31))
            if sample_weight is not None:
                step_options["sample_weight"] = xp.take(sample_weight, rows, axis=0)
            loss, grads = loss_and_grads(xp.take(X, rows, axis=0), xp.take(y, rows, axis=0), *params, **step_options)
            params, state = optimizer.update(params, grads, state)
            total, *arrays = settled(total + loss * rows.shape[0], *params, *state)
            params, state = tuple(arrays[: len(params)]), tuple(arrays[len(params) :])
        mean_loss = float(total) / n
        if not math.isfinite(mean_loss):
            raise FloatingPointError(f"the loss is {mean_loss} after epoch {number}; try a smaller learning rate")
        val_loss = val_accuracy = None
        if validation is not None:
            val_loss = float(objective(*validation, *params, **judged))
            val_accuracy = accuracy(*validation, *params, **judged)
        yield Epoch(number, mean_loss, val_loss, val_accuracy, time.perf_counter() - began, params)


def accuracy(X: Array, y: Array, *params: Array, **options: Unpack[PredictOptions]) -> float | None:
    """The share of rows whose predicted label is ``y`` (n,); None where ``y`` is not labels or predictions are not."""
    xp = namespace(X, y, *params, names=("X", "y"))
    predicted = predict(X, *params, **options)
    if y.ndim != 1 or predicted.shape != y.shape:
        return None
    return float(xp.sum(xp.astype(predicted == y, X.dtype))) / y.shape[0]


def check_values(xp: Namespace, X: Array, y: Array, d_out: int, which: str = "") -> None:
    """Raise ``ValueError`` for a NaN or infinity in ``X`` or floating ``y``, or labels outside of 0 ... d_out - 1.

    This looks at every value, which waits for the device: data is checked where it enters, not in every step.
    """
    check_batch(xp, X)
    if y.ndim == 0 or y.shape[0] != X.shape[0]:
        expected = f"one row for each of the {X.shape[0]} rows of X"
        raise ValueError(f"{which}y must have {expected}, got shape {tuple(y.shape)}")
    for name, array in (("X", X), ("y", y)):
        if is_floating(xp, array.dtype) and not bool(xp.all(xp.isfinite(array))):
            raise ValueError(f"{which}{name} must be finite, got NaN or infinity")
    if is_integral(xp, y.dtype):
        low, high = int(xp.min(y)), int(xp.max(y))
        if low < 0 or high >= max(d_out, 2):
            raise ValueError(f"{which}y must hold labels 0 to {max(d_out, 2) - 1}, got labels {low} to {high}")
