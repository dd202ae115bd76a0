"""A program of one rank: runs every case below with the other ranks, and writes what came out.

    torchrun --nproc-per-node 2 rank_cases.py torch FOLDER
    mpirun -n 2 python rank_cases.py mpi FOLDER

``test_ranks`` starts it and compares the files ``FOLDER/RANK.pickle`` with each other and with a run of one process.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from array_api_compat import array_namespace

import mlp_xp as mx
from mlp_xp import optim, schedules
from mlp_xp._lib.namespace import to_host
from mlp_xp.ranks import ALONE, Ranks, gathered, mean, started
from mlp_xp.train import Epoch, Record, train

EVEN, UNEVEN, STEPS = (32, 32), (41, 22), 4
WIDTHS = (5, 7, 3)


def rows_of(counts: Sequence[int], rank: int | None) -> slice:
    """The rows of a rank among those of all; None for all."""
    return slice(None) if rank is None else slice(sum(counts[:rank]), sum(counts[: rank + 1]))


def problem(xp: Any, counts: Sequence[int], rank: int | None, numbers: bool = False) -> tuple[Any, Any, Any]:
    """``X, y, weight`` of a rank, or of all ranks."""
    random, own = np.random.default_rng(3), rows_of(counts, rank)
    X, y, weight = (
        random.normal(size=(sum(counts), 5)),
        random.integers(0, 3, sum(counts)),
        random.uniform(0, 2, sum(counts)),
    )
    targets = np.stack([X[:, 0] * X[:, 1], X[:, 2], X[:, 3] ** 2], axis=1) if numbers else y
    return tuple(xp.asarray(each[own]) for each in (X, targets, weight))


def params_of(xp: Any, **options: Any) -> tuple[Any, ...]:
    """Where each case begins."""
    return tuple(xp.asarray(p) for p in mx.init_params(WIDTHS, seed=1, dtype=np.float64, **options))


def order_of(counts: Sequence[int], rank: int | None, number: int) -> np.ndarray:
    """The order of an epoch: a rank's own rows, or, for one process, the batches of all ranks one after the other.

    Each rank takes a share of its rows in each step, in proportion.
    """
    own = [np.random.default_rng((number, each)).permutation(count) for each, count in enumerate(counts)]
    if rank is not None:
        return own[rank]
    steps = []
    for step in range(STEPS):
        for each, rows in enumerate(own):
            part = rows[len(rows) * step // STEPS : len(rows) * (step + 1) // STEPS]
            steps.append(part + sum(counts[:each]))
    return np.concatenate(steps)


EVERYTHING: dict[str, Any] = {
    "optimizer": optim.adam(), "lr": schedules.cosine(0.05), "l2": 0.01, "l1": 0.001, "alpha": 0.1, "clip_norm": 0.5,
    "max_norm": 2.0, "dropout": 0.3, "input_dropout": 0.1, "label_smoothing": 0.1,
}  # fmt: skip

Case = Callable[[Any, Ranks, "int | None"], Any]


def last(epochs: Any) -> Epoch:
    """The last epoch of a run."""
    return list(epochs)[-1]


def even(xp: Any, ranks: Ranks, rank: int | None, **options: Any) -> Any:
    """Equal shards, shuffled batches, five epochs of four steps."""
    X, y, weight = problem(xp, EVEN, rank)
    order = partial(order_of, EVEN, rank)
    options = {"optimizer": optim.sgd(), "lr": 0.1, **options}
    return last(
        train(X, y, params_of(xp), epochs=5, batch_size=16, order=order, sample_weight=weight, ranks=ranks, **options)
    )


def uneven(xp: Any, ranks: Ranks, rank: int | None, **options: Any) -> Any:
    """Shards of 41 and 22 rows, all of them in each of 20 steps."""
    X, y, weight = problem(xp, UNEVEN, rank)
    options = {"epochs": 20, "batch_size": 63, "shuffle": False, "sample_weight": weight, **options}
    return last(train(X, y, params_of(xp), ranks=ranks, **options))


def accumulated(xp: Any, ranks: Ranks, rank: int | None) -> Any:
    """Each step takes two batches a rank."""
    X, y, _ = problem(xp, UNEVEN, rank)
    batch_size, accumulate = (32, 2) if rank is not None else (63, 1)
    return last(
        train(
            X,
            y,
            params_of(xp),
            epochs=20,
            batch_size=batch_size,
            accumulate=accumulate,
            shuffle=False,
            ranks=ranks,
            **EVERYTHING,
        )
    )


def transformed(xp: Any, ranks: Ranks, rank: int | None) -> Any:
    """Inputs are shifted by random numbers of the row's place in the step."""

    def shift(X: Any, seed: Any, first: Any) -> Any:
        return X + 0.1 * mx.dropout.uniform(array_namespace(X), (X.shape[0], 1), seed, 0, X, first)

    return uneven(xp, ranks, rank, transform=shift)


def ensemble(xp: Any, ranks: Ranks, rank: int | None) -> Any:
    """Two networks, one of which learns from the rows of rank 0 alone."""
    X, y, weight = problem(xp, UNEVEN, rank)
    of_second = weight if rank == 0 else 0.0 * weight
    if rank is None:
        of_second = weight * xp.asarray(np.arange(63) < 41, dtype=weight.dtype)
    weights = xp.stack([weight, of_second])
    return last(
        train(
            X,
            y,
            params_of(xp, ensemble=2),
            epochs=20,
            batch_size=63,
            shuffle=False,
            lr=(0.1, 0.01),
            sample_weight=weights,
            clip_norm=0.5,
            ranks=ranks,
        )
    )


def weightless(xp: Any, ranks: Ranks, rank: int | None) -> Any:
    """Rank 0 has weights, rank 1 has none: there each row weighs 1."""
    X, y, weight = problem(xp, UNEVEN, rank)
    if rank == 1:
        weight = None
    if rank is None:
        weight = xp.asarray(np.where(np.arange(63) < 41, to_host(weight), 1.0))
    return last(train(X, y, params_of(xp), epochs=20, batch_size=63, shuffle=False, sample_weight=weight, ranks=ranks))


class Unmeasured:
    """Batches that do not say how many they are."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


def rows_in_batches(rank: int | None) -> list[np.ndarray]:
    """Five batches of rank 0 and three of rank 1; of one process those of both, one after the other."""
    cuts = (0, 9, 17, 25, 33, 41), (41, 48, 55, 63)
    own = [[np.arange(low, high) for low, high in pairwise(each)] for each in cuts]
    return [np.concatenate(parts) for parts in zip_longest(*own, fillvalue=np.arange(0))] if rank is None else own[rank]


def in_batches(xp: Any, rank: int | None, weighted: bool = False) -> list[Any]:
    """The rows of these batches. Those of rank 0 have weights, those of rank 1 none: each weighs 1.

    The fourth step, of rank 0 alone, weighs nothing, and its loss does not count.
    """
    X, y, weight = problem(xp, UNEVEN, None)
    numbers = np.arange(63)
    weight = xp.asarray(np.where(numbers < 41, to_host(weight), 1.0) * ((numbers < 25) | (numbers >= 33)))
    arrays = (X, y, weight) if weighted and rank != 1 else (X, y)
    return [tuple(each[xp.asarray(rows, dtype=xp.int64)] for each in arrays) for rows in rows_in_batches(rank)]


def streamed(xp: Any, ranks: Ranks, rank: int | None, **options: Any) -> Any:
    """20 steps on batches of 16, 15, 16, 8 and 8 rows, the last two of rank 0 alone."""
    batches: Any = in_batches(xp, rank, weighted="clip_norm" in options)
    options = {"epochs": 4, "lr": 0.05, **options}
    batches = batches if callable(options["lr"]) or rank != 1 else Unmeasured(batches)
    return last(train(batches, None, params_of(xp), ranks=ranks, **options))


def streamed_until_stopped(xp: Any, ranks: Ranks, rank: int) -> Any:
    """A callback of rank 1, which has the fewer batches, ends the run after the third epoch; validation is watched."""
    held = problem(xp, UNEVEN, rank)[:2]
    stop = [lambda epoch: rank == 1 and epoch.last.number == 3]
    return streamed(xp, ranks, rank, epochs=50, patience=20, validation=held, callbacks=stop)


def bad_batch(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 1 has a NaN in its second batch."""
    batches = in_batches(xp, rank)
    if rank == 1:
        batches[1] = (batches[1][0] * float("nan"), batches[1][1])
    return last(train(batches, None, params_of(xp), epochs=2, ranks=ranks))


class Breaking(Unmeasured):
    """Batches whose third can't be read in the second pass."""

    passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        yield from self.batches[:2]
        if self.passes == 2:
            raise OSError("the disk is gone")
        yield from self.batches[2:]


def failing_batches(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 0 can't read a batch; it comes when rank 1, whose pass has two batches, has ended."""
    batches = Breaking(in_batches(xp, 0)) if rank == 0 else in_batches(xp, 1)[:2]
    return last(train(batches, None, params_of(xp), epochs=5, ranks=ranks))


def no_batches(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 1 has none."""
    return last(train([] if rank else in_batches(xp, 0), None, params_of(xp), epochs=5, ranks=ranks))


def failing_step(xp: Any, ranks: Ranks, rank: int, accumulate: int) -> Any:
    """What rank 1 makes of the inputs of its third batch raises."""
    seen: list[int] = []

    def fail(X: Any, seed: Any, first: Any) -> Any:
        seen.append(1)
        if rank == 1 and len(seen) == 3:
            raise OSError("the disk is gone")
        return X

    return streamed(xp, ranks, rank, transform=fail, accumulate=accumulate)


def interrupted_stream(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Ctrl-C reaches rank 1 alone, in its first batch."""

    def press(X: Any, seed: Any, first: Any) -> Any:
        if rank == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return X

    return streamed(xp, ranks, rank, transform=press)


def judged(xp: Any, ranks: Ranks, rank: int | None, numbers: bool = False) -> Any:
    """Validation rows of each rank, patience, and a schedule that looks at the losses."""
    X, y, _ = problem(xp, UNEVEN, rank, numbers)
    held = tuple(each[:9] if rank != 1 else each[:5] for each in problem(xp, UNEVEN, rank, numbers)[:2])
    if rank is None:
        own = np.r_[0:9, 41:46]
        held = tuple(xp.asarray(to_host(each)[own]) for each in (X, y))
    criterion = "squared_error" if numbers else "softmax_cross_entropy"
    return last(
        train(
            X,
            y,
            params_of(xp),
            epochs=60,
            batch_size=63,
            shuffle=False,
            validation=held,
            patience=3,
            tol=1e-3,
            lr=schedules.adaptive(0.2),
            criterion=criterion,
            optimizer=optim.sgd(),
            ranks=ranks,
        )
    )


def share(xp: Any, ranks: Ranks, rank: int) -> Any:
    """A share of its own rows is held out on each rank."""
    X, y, _ = problem(xp, UNEVEN, rank)
    return last(train(X, y, params_of(xp), epochs=4, batch_size=16, validation=0.25, ranks=ranks))


def scored(xp: Any, ranks: Ranks, rank: int) -> Any:
    """``score`` returns 1 on rank 0 and 3 on rank 1."""
    return uneven(xp, ranks, rank, epochs=2, score=lambda params: 1.0 + 2.0 * rank)


def stopped(xp: Any, ranks: Ranks, rank: int) -> Any:
    """A callback of rank 1 ends the run after the third epoch."""
    return uneven(xp, ranks, rank, callbacks=[lambda epoch: rank == 1 and epoch.last.number == 3])


def _fail(*arguments: Any, **options: Any) -> None:
    raise OSError("the disk is full")


def failing_callback(xp: Any, ranks: Ranks, rank: int) -> Any:
    """A callback of rank 1 raises."""
    return uneven(xp, ranks, rank, callbacks=[_fail] if rank == 1 else [])


def failing_score(xp: Any, ranks: Ranks, rank: int) -> Any:
    """``score`` returns no number on rank 0."""
    return uneven(xp, ranks, rank, score=lambda params: "good" if rank == 0 else 1.0)


def bad_data(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 1 has a NaN."""
    X, y, _ = problem(xp, UNEVEN, rank)
    return last(train(X * (float("nan") if rank == 1 else 1.0), y, params_of(xp), epochs=2, ranks=ranks))


def bad_labels(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 0 has a label that the network has no output for."""
    X, y, _ = problem(xp, UNEVEN, rank)
    return last(train(X, y + (5 if rank == 0 else 0), params_of(xp), epochs=2, ranks=ranks))


def too_few(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 1 has three rows for eight steps."""
    X, y, _ = problem(xp, (61, 3), rank)
    return last(train(X, y, params_of(xp), epochs=2, batch_size=8, ranks=ranks))


def other_settings(xp: Any, ranks: Ranks, rank: int) -> Any:
    """The ranks ask for batches of two sizes."""
    return uneven(xp, ranks, rank, batch_size=16 + rank)


def other_params(xp: Any, ranks: Ranks, rank: int) -> Any:
    """The ranks begin with two networks."""
    X, y, _ = problem(xp, UNEVEN, rank)
    return last(train(X, y, tuple(p + 0.1 * rank for p in params_of(xp)), epochs=2, ranks=ranks))


def judged_apart(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 0 alone has validation rows."""
    return uneven(xp, ranks, rank, validation=problem(xp, UNEVEN, rank)[:2] if rank == 0 else None)


def failing_order(xp: Any, ranks: Ranks, rank: int) -> Any:
    """``order`` of rank 1 has no rows for the second epoch."""
    return uneven(xp, ranks, rank, order=lambda number: np.arange(0 if rank and number == 2 else UNEVEN[rank]))


def diverging(xp: Any, ranks: Ranks, rank: int) -> Any:
    """The inputs of rank 1 are far too large for the rate."""
    X, y, _ = problem(xp, UNEVEN, rank, numbers=True)
    X = X * (1e200 if rank == 1 else 1.0)
    options: dict[str, Any] = {"criterion": "squared_error", "activation": "relu", "optimizer": optim.sgd()}
    return last(train(X, y, params_of(xp), epochs=5, batch_size=63, lr=10.0, ranks=ranks, **options))


def interrupted(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Ctrl-C reaches rank 0 alone, in the third of 16 steps."""
    seen: list[int] = []

    def press(X: Any, seed: Any, first: Any) -> Any:
        seen.append(1)
        if rank == 0 and len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return X

    X, y, _ = problem(xp, EVEN, rank)
    return last(train(X, y, params_of(xp), epochs=50, batch_size=4, transform=press, ranks=ranks))


def failing_rows(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 1 can't read the rows of the third of 16 steps."""
    seen: list[int] = []

    def read(X: Any, seed: Any, first: Any) -> Any:
        seen.append(1)
        if rank == 1 and len(seen) == 3:
            raise OSError("the disk is gone")
        return X

    X, y, _ = problem(xp, EVEN, rank)
    return last(train(X, y, params_of(xp), epochs=50, batch_size=4, transform=read, ranks=ranks))


def by_hand(xp: Any, ranks: Ranks, rank: int | None) -> Any:
    """A loop of one's own, with ``mean``."""
    X, y, _ = problem(xp, UNEVEN, rank)
    params = params_of(xp)
    for _ in range(20):
        loss, grads = mx.loss_and_grads(X, y, *params)
        loss, *means = mean(ranks, X.shape[0], loss, *grads)
        params = tuple([p - 0.1 * g for p, g in zip(params, means, strict=True)])
    return Epoch((), params, params, ())


def learner(kind: str = "MLPClassifier", **options: Any) -> Any:
    """An estimator whose batches are all rows."""
    options = {"hidden_layer_sizes": (7,), "max_iter": 12, "batch_size": 63, "shuffle": False, **options}
    return getattr(import_module("mlp_xp.estimators"), kind)(random_state=5, tol=0.0, **options)


def named(y: Any) -> Any:
    """Labels as texts."""
    return np.asarray(["ant", "bee", "cat"])[to_host(y)]


def fitted(model: Any, **what: Any) -> Epoch:
    """What an estimator learned, as an epoch."""
    params = tuple(each for pair in zip(model.coefs_, model.intercepts_, strict=True) for each in pair)
    scaling = tuple(each for each in model.scaling_ or () if each is not None)
    losses = getattr(model, "loss_curve_", [model.loss_] * model.n_iter_)  # a search keeps its last loss alone
    curve = tuple(map(loss_alone, losses))
    return Epoch(curve, params, params, (*scaling, *map(np.asarray, what.values())), rows=int(model.t_))


def loss_alone(loss: float) -> Record:
    """A record that knows nothing but the loss."""
    return Record(0, float(loss), 0.0, None, None, 0.0, 0, 0.0)


def quietly(call: Callable[[], Any]) -> Any:
    """Without the warning of a fit that has not converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def classifier(xp: Any, ranks: Ranks, rank: int | None, partial_fits: int = 0, **options: Any) -> Any:
    """Rank 1 has no row of the first class; inputs are standardised, rows weighed, classes are texts."""
    X, y, weight = problem(xp, UNEVEN, None)
    y = named(np.where(np.arange(63) < 41, to_host(y), np.maximum(to_host(y), 1)))
    own = rows_of(UNEVEN, rank)
    model, rows = learner(standardise=not partial_fits, **options), (X[own] + 10.0, y[own], weight[own])
    if not partial_fits:
        return fitted(quietly(lambda: model.fit(*rows, ranks=ranks)))
    for number in range(partial_fits):
        model.partial_fit(*rows, classes=["ant", "bee", "cat"] if number == 0 else None, ranks=ranks)
    return fitted(model)


def balanced_labels(xp: Any, ranks: Ranks, rank: int | None) -> Any:
    """Two labels, the first of which no row of rank 1 has."""
    X, y, _ = problem(xp, UNEVEN, None)
    own, labels = rows_of(UNEVEN, rank), to_host(y)
    labels = np.stack([(labels == 0) & (np.arange(63) < 41), labels > 1], axis=1).astype(np.int64)
    model = learner(class_weight="balanced")
    quietly(lambda: model.fit(X[own], labels[own], ranks=ranks))
    return fitted(model)


def regressor(xp: Any, ranks: Ranks, rank: int | None) -> Any:
    """Both ends are standardised; the score on rows of both ranks ends the run."""
    X, y, _ = problem(xp, UNEVEN, None, numbers=True)
    own = rows_of(UNEVEN, rank)
    held = slice(0, 9) if rank == 0 else slice(9, 14) if rank == 1 else slice(0, 14)
    model = learner("MLPRegressor", standardise=True, early_stopping=True, max_iter=30, learning_rate_init=0.05)
    quietly(lambda: model.fit(X[own], y[own], eval_set=(X[held] * 0.9, y[held]), ranks=ranks))
    return fitted(model, scores=model.validation_scores_)


def batches_of_estimator(xp: Any, ranks: Ranks, rank: int | None, kind: str, **call: Any) -> Any:
    """Five batches of rank 0 and three of rank 1, which has no row of the first class; both hold out some rows."""
    X, y, weight = problem(xp, UNEVEN, None, numbers=kind == "MLPRegressor")
    if kind == "MLPClassifier":
        y = named(np.where(np.arange(63) < 41, to_host(y), np.maximum(to_host(y), 1)))
    held = slice(0, 9) if rank == 0 else slice(9, 14) if rank == 1 else slice(0, 14)
    batches = [(X[rows] + 10.0, y[rows], weight[rows]) for rows in rows_in_batches(rank)]
    model = learner(kind, standardise=True, early_stopping=True, dropout=0.2)
    quietly(lambda: model.fit_batches(batches, eval_set=(X[held] + 10.0, y[held]), ranks=ranks, **call))
    return fitted(model, scores=model.validation_scores_)


def bad_batch_of_estimator(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 1 has a NaN in its second batch, which is looked at where means and deviations are learned."""
    batches = in_batches(xp, rank)
    if rank == 1:
        batches[1] = (batches[1][0] * float("nan"), batches[1][1])
    return fitted(learner(standardise=True).fit_batches(batches, ranks=ranks))


def share_of_estimator(xp: Any, ranks: Ranks, rank: int) -> Any:
    """A share of the rows of each rank ends the run; the seed is that of rank 0."""
    X, y, _ = problem(xp, UNEVEN, rank)
    model = learner(early_stopping=True, batch_size=16, shuffle=True, dropout=0.2, max_iter=5).set_params(
        random_state=None
    )
    quietly(lambda: model.fit(X, named(y), ranks=ranks))
    return fitted(model, scores=model.validation_scores_)


def gone_on(xp: Any, ranks: Ranks, rank: int) -> Any:
    """A fit that a callback ends after three epochs, and goes on from its checkpoint, beside one that never stopped."""
    X, y, _ = problem(xp, UNEVEN, rank)
    folder = tempfile.gettempdir() if rank else tempfile.mkdtemp()
    path = Path(gathered(ranks, X, folder)[0], "run.safetensors")
    model, whole = (learner(batch_size=16, shuffle=True, max_iter=6) for _ in range(2))
    quietly(lambda: whole.fit(X, y, ranks=ranks))
    stop = [lambda epoch: rank == 0 and epoch.last.number == 3]
    quietly(lambda: model.fit(X, y, checkpoint=path, callbacks=stop, ranks=ranks))
    quietly(lambda: model.fit(X, y, checkpoint=path, resume=True, ranks=ranks))
    assert all(bool(xp.all(a == b)) for a, b in zip(model.coefs_, whole.coefs_, strict=True))
    return fitted(model)


def interrupted_between_epochs(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Ctrl-C reaches rank 1 alone, while the estimator notes what its third epoch has found."""
    X, y, _ = problem(xp, UNEVEN, rank)
    model = learner(batch_size=16, max_iter=50)
    note = model._record

    def press(epoch: Epoch, rows: int) -> bool:
        if rank == 1 and epoch.last.number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return bool(note(epoch, rows))

    model._record = press
    quietly(lambda: model.fit(X, y, ranks=ranks))
    return fitted(model)


def searched(xp: Any, ranks: Ranks, rank: int | None, callbacks: Sequence[Any] = (), **options: Any) -> Any:
    """A solver that takes all rows at once; rows are weighed, and rank 1 has no row of the first class."""
    X, y, weight = problem(xp, UNEVEN, None)
    y = np.where(np.arange(63) < 41, to_host(y), np.maximum(to_host(y), 1))
    own = rows_of(UNEVEN, rank)
    model = learner(alpha=0.1, standardise=True, **options)
    quietly(lambda: model.fit(X[own], xp.asarray(y[own]), weight[own], ranks=ranks, callbacks=callbacks))
    return fitted(model)


def stopped_search(xp: Any, ranks: Ranks, rank: int) -> Any:
    """A callback of rank 1 ends it after the third iteration."""
    return searched(xp, ranks, rank, [lambda epoch: rank == 1 and epoch.last.number == 3], solver="lbfgs")


def interrupted_search(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Ctrl-C reaches rank 0 alone, after the third iteration."""

    def press(epoch: Epoch) -> None:
        if rank == 0 and epoch.last.number == 3:
            os.kill(os.getpid(), signal.SIGINT)

    return searched(xp, ranks, rank, [press], solver="newton-cg")


def failing_search(xp: Any, ranks: Ranks, rank: int) -> Any:
    """A callback of rank 1 raises."""
    return searched(xp, ranks, rank, [_fail] if rank == 1 else [], solver="lbfgs")


def failing_product(xp: Any, ranks: Ranks, rank: int) -> Any:
    """The second derivative fails on rank 0."""
    module = import_module("mlp_xp.estimators.full_batch")
    usual, module.hessian_at = module.hessian_at, _fail if rank == 0 else module.hessian_at
    try:
        return searched(xp, ranks, rank, solver="newton-cg")
    finally:
        module.hessian_at = usual


def other_searches(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 1 may evaluate once more."""
    return searched(xp, ranks, rank, solver="lbfgs", max_fun=100 + rank)


def refused_fit(xp: Any, ranks: Ranks, rank: int, **options: Any) -> Any:
    """Options that take all rows."""
    X, y, _ = problem(xp, UNEVEN, rank)
    return fitted(learner(**options).fit(X, y, ranks=ranks))


def bad_rows_of_estimator(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 0 has a NaN."""
    X, y, _ = problem(xp, UNEVEN, rank)
    return fitted(learner(standardise=True).fit(X * (float("nan") if rank == 0 else 1.0), y, ranks=ranks))


def other_features(xp: Any, ranks: Ranks, rank: int) -> Any:
    """Rank 1 has four features, rank 0 five."""
    X, y, _ = problem(xp, UNEVEN, rank)
    return fitted(learner().fit(X[:, rank:], y, ranks=ranks))


LIKE_ONE: dict[str, Case] = {
    "even": even, "even, everything": partial(even, **EVERYTHING), "uneven": uneven, "accumulated": accumulated,
    "uneven, everything": partial(uneven, **EVERYTHING), "transformed": transformed, "ensemble": ensemble,
    "weights on one rank": weightless, "judged": judged, "judged by R2": partial(judged, numbers=True),
    "classifier": classifier, "balanced classes": partial(classifier, class_weight="balanced"),
    "balanced labels": balanced_labels, "partial fits": partial(classifier, partial_fits=3), "regressor": regressor,
    "batches of a classifier": partial(batches_of_estimator, kind="MLPClassifier"),
    "batches of a classifier, named classes": partial(
        batches_of_estimator, kind="MLPClassifier", classes=["ant", "bee", "cat"]
    ),
    "batches of a regressor": partial(batches_of_estimator, kind="MLPRegressor"),
    "streamed": streamed, "streamed, everything": partial(streamed, **EVERYTHING),
    "streamed, accumulated": partial(streamed, accumulate=2, epochs=7, **EVERYTHING),
    "lbfgs": partial(searched, solver="lbfgs", activation=[lambda z: mx.ops.tanh(z)]),
    "newton-cg": partial(searched, solver="newton-cg"),
    "by hand": by_hand, "a compiler": partial(uneven, compile=lambda function: function, **EVERYTHING),
}  # fmt: skip
"""Cases that one process with the rows of all ranks has too."""

ALIKE: dict[str, Case] = {
    "share": share, "scored": scored, "stopped": stopped, "share of an estimator": share_of_estimator,
    "gone on": gone_on, "streamed until stopped": streamed_until_stopped,
    "interrupted between epochs": interrupted_between_epochs,
    "stopped search": stopped_search, "interrupted search": interrupted_search,
}  # fmt: skip
"""Cases in which the ranks agree with each other."""

RAISE: dict[str, Case] = {
    "failing callback": failing_callback, "failing score": failing_score, "bad data": bad_data,
    "bad labels": bad_labels, "too few": too_few, "other settings": other_settings, "other params": other_params,
    "judged apart": judged_apart, "other patience": lambda xp, ranks, rank: uneven(xp, ranks, rank, patience=rank),
    "failing order": failing_order, "diverging": diverging, "interrupted": interrupted, "failing rows": failing_rows,
    "folds": partial(refused_fit, folds=True),
    "failing search": failing_search, "failing product": failing_product, "other searches": other_searches,
    "bad rows": bad_rows_of_estimator,
    "other features": other_features, "bad batch": bad_batch,
    "bad batch of an estimator": bad_batch_of_estimator, "failing batches": failing_batches,
    "no batches": no_batches, "failing step": partial(failing_step, accumulate=1),
    "failing step of batches": partial(failing_step, accumulate=2), "interrupted stream": interrupted_stream,
}  # fmt: skip
"""Cases in which all ranks raise."""


def timeless(record: Record) -> Record:
    """A record without the seconds, which differ from run to run."""
    return record._replace(seconds=0.0, members=tuple(map(timeless, record.members)))


def outcome(case: Case, xp: Any, ranks: Ranks, rank: int | None) -> dict[str, Any]:
    """What came of a case, on the host: arrays and records, or what was raised."""
    try:
        epoch = case(xp, ranks, rank)
    except (Exception, KeyboardInterrupt) as error:
        params = [np.array(to_host(p)) for p in getattr(error, "params", ())]
        return {"raised": type(error).__name__, "message": str(error), "params": params}
    arrays = {name: [np.array(to_host(a)) for a in getattr(epoch, name)] for name in ("params", "best", "state")}
    return {**arrays, "history": list(map(timeless, epoch.history)), "rows": epoch.rows}


def main(engine: str, folder: str) -> None:
    """Run the cases as one rank."""
    ranks, xp = started(), import_module({"torch": "torch", "mpi": "numpy"}[engine])
    cases = {**LIKE_ONE, **ALIKE, **RAISE}
    found = {name: outcome(case, xp, ranks, ranks.rank) for name, case in cases.items()}
    Path(folder, f"{ranks.rank}.pickle").write_bytes(pickle.dumps(found))


def alone(name: str) -> dict[str, Any]:
    """A case of ``LIKE_ONE`` in one process, with NumPy."""
    return outcome(LIKE_ONE[name], np, ALONE, None)


if __name__ == "__main__":
    main(*sys.argv[1:])
