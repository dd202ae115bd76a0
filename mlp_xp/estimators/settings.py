"""How an estimator's run goes: the settings of the training loop, from the estimator's parameters.

What is a number becomes a Python number here, which promotes no array and does not overflow.

Before: ``optim`` and ``schedules``. Next: ``base`` runs the loop with these settings.
"""

import math
from collections.abc import Sequence
from inspect import signature
from typing import Any, cast

import numpy as np  # on the host: the order of the rows
from sklearn.utils import shuffle

from mlp_xp import optim, schedules
from mlp_xp._lib.wording import warn
from mlp_xp.estimators import files
from mlp_xp.ranks import Ranks
from mlp_xp.train import Settings
from mlp_xp.train.compiling import check_compile


def of_rank(random: Any, ranks: Ranks) -> Any:
    """Random numbers that each rank has for itself; ``random`` has been drawn from equally often on all."""
    return random if ranks.size == 1 else np.random.RandomState((random.randint(2**31 - 1) + ranks.rank) % 2**32)


def settings_of(
    estimator: Any, counts: Sequence[int], random: Any, incremental: bool, ranks: Ranks, in_chunks: bool
) -> Settings:
    """The settings of a run on rows, or on batches, whose order and size are their own.

    Args:
        estimator: the one that learns.
        counts: how many rows each rank has, 0 for batches.
        random: draws what scikit-learn draws, in its order.
        incremental: whether the run is one more epoch of those that all calls of ``partial_fit`` make together.
        ranks: of the run.
        in_chunks: whether the rows are a source in chunks, of which the loop takes one after the other.
    """
    n, rows = sum(counts) or None, np.arange(counts[ranks.rank])
    of_order: Any = None

    def order(number: int) -> Any:  # as scikit-learn draws it
        nonlocal rows, of_order
        of_order = of_rank(random, ranks) if of_order is None else of_order
        rows = shuffle(rows, random_state=of_order)
        return rows

    auto = estimator.batch_size == "auto"
    batch_size = 200 if auto else int(estimator.batch_size)
    if n is not None and batch_size > n and not auto:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    planned = int(estimator.max_iter)
    seeded = estimator.dropout or estimator.input_dropout or in_chunks
    seed = int(random.randint(2**31 - 1)) if seeded else 0
    return Settings(
        max(planned, len(estimator._history) + 1) if incremental else planned, _optimizer(estimator), _rate(estimator),
        min(batch_size, n or batch_size), estimator.shuffle, seed,
        alpha=estimator._number("alpha"), clip_norm=estimator.clip_norm and estimator._number("clip_norm"),
        order=order if estimator.shuffle and not in_chunks else None, compile=check_compile(estimator.compile),
        options=estimator._options(), watch=estimator._watch,
        stop=estimator._has_converged if estimator.ensemble > 1 and not incremental else None,
        accumulate=int(estimator.accumulate), max_norm=estimator.max_norm and estimator._number("max_norm"),
        ranks=ranks,
    )  # fmt: skip


def configuration(estimator: Any, settings: Settings, data: str) -> dict[str, Any]:
    """What decides how a run on data with this fingerprint continues, for its checkpoint."""
    left_out = {"check_gradients", "progress", "verbose", "compile"}  # they do not change the result
    if not (callable(estimator.learning_rate) or estimator.learning_rate == "cosine"):
        left_out.add("max_iter")  # the result depends on it only through the rate
    chosen = {name: value for name, value in estimator.get_params(deep=False).items() if name not in left_out}
    return {
        "estimator": type(estimator).__name__,
        "settings": {name: files.plain(name, value) for name, value in chosen.items()},
        "data": data,
        "dropout_seed": settings.seed,
    }


def usual_settings(estimator: Any) -> dict[str, Any]:
    """Defaults of the parameters of an estimator, as ``configuration`` has them: a checkpoint may lack newer ones."""
    defaults = {name: each.default for name, each in signature(type(estimator)).parameters.items()}
    return {name: files.plain(name, each) for name, each in defaults.items() if not callable(each)}


def _optimizer(estimator: Any) -> optim.Optimizer:
    number = estimator._number
    if estimator.solver == "sgd":
        make = optim.nesterov if estimator.nesterovs_momentum else optim.momentum
        return make(number("momentum"), lr_in_velocity=True)
    if estimator.solver == "rmsprop":
        return optim.rmsprop(epsilon=number("epsilon"))
    constants = number("beta_1"), number("beta_2"), number("epsilon")
    if estimator.solver == "adamw":
        return optim.adamw(*constants, weight_decay=number("weight_decay"))
    return optim.adam(*constants, epsilon_before_correction=True)


def _rate(estimator: Any) -> float | schedules.Schedule:
    """The learning rate of the run: a number, or a function of how far training has come."""
    number, chosen = estimator._number, estimator.learning_rate
    lr = number("learning_rate_init")
    if chosen == "constant" and not estimator.warmup_steps:
        return cast(float, lr)
    if callable(chosen):
        schedule: schedules.Schedule = chosen
    elif chosen == "cosine":
        schedule = schedules.cosine(lr)
    elif estimator.solver == "sgd" and chosen == "invscaling":
        schedule = schedules.inverse_scaling(lr, number("power_t"))
    elif estimator._adapts() and estimator.ensemble > 1:
        patience: Any = estimator.n_iter_no_change  # which may be infinite; the schedule has another name for it
        patience = patience if patience == math.inf else number("n_iter_no_change")
        schedule = schedules.adaptive(lr, patience, number("tol"))
    elif estimator._adapts():  # the estimator counts, since the best of all fits is what must be improved on

        def schedule(progress: schedules.Progress) -> float:
            return cast(float, estimator._rate(estimator._falls))
    else:
        schedule = schedules.constant(lr)
    if estimator.warmup_steps:
        schedule = schedules.warm_up(schedule, number("warmup_steps"))
    # scikit-learn counts the rows over all fits, and the first epoch of an optimizer takes the initial rate
    return lambda progress: schedule(progress._replace(rows=estimator.t_ if progress.rows else 0))
