"""The first step of ``mlp-xp train``: choose data, network and backend, and say what was chosen."""

from __future__ import annotations

import os
from typing import Any

from mlp_xp.backends import compiler, fastest, load
from mlp_xp.cli._model import Model, network
from mlp_xp.cli._options import estimator_settings
from mlp_xp.cli._prepare import Data, prepare
from mlp_xp.cli._run import Run
from mlp_xp.cost import step_cost
from mlp_xp.estimators import MLPClassifier, MLPRegressor

_TIMED_ROWS = 200  # in a step, at most: the estimators' own batch


def choose(run: Run) -> None:
    """Fill in ``backend, data, sizes, model, network``.

    Raises:
        ValueError: for data, settings or a backend that can't be used, and for a network larger than the memory.
    """
    options, say = run.options, run.screen.say
    run.backend = options["backend"]
    # a backend that can't be used is refused before the data is read
    place = None if run.backend == "auto" else load(run.backend, options["dtype"], options["device"])
    run.data = prepare(options)
    estimator = _make_estimator(options, run.data)
    run.watch.lap("loading libraries and data")
    run.sizes = _sizes(estimator, run.data)
    _check_memory(run.sizes, estimator, options["dtype"])
    if place is None:
        choice = fastest(run.sizes, min(_TIMED_ROWS, run.data.training.X.shape[0]), options["dtype"])
        run.backend = choice.backend
        place = load(choice.backend, options["dtype"], choice.device)
        say(f"{choice.backend} computes: {choice.reason}")
        run.watch.lap("choosing the backend")
    if options["compile"]:
        estimator.set_params(compile=compiler(run.backend))
    run.model = Model(estimator, place, run.data.recipe, {})
    run.network = f"{network(run.sizes, estimator.activation)}, {estimator.solver}"
    _say_what_was_chosen(run)


def _say_what_was_chosen(run: Run) -> None:
    say, task = run.screen.say, run.data.recipe.task
    say(f"{run.name}: {run.data.rows}")
    say(task if run.options["task"] else f"{task}, since {run.data.reason}; --task decides otherwise")
    for note in run.data.notes:
        say(note)
    say(f"network {run.network}, on {run.backend} in {run.options['dtype']}")


def _make_estimator(options: dict[str, Any], data: Data) -> Any:
    labels = [] if data.classes is None else data.classes.tolist()
    settings = estimator_settings(options, data.recipe.task, labels)
    kind = MLPRegressor if data.classes is None else MLPClassifier
    return kind(**settings, random_state=options["seed"], check_gradients=options["check_gradients"])


def _sizes(estimator: Any, data: Data) -> tuple[int, ...]:
    """(d_in, d_h, ..., d_out); two classes take one output."""
    outputs = 1 if data.classes is None else len(data.classes)
    return (data.training.X.shape[1], *estimator.hidden_layer_sizes, 1 if outputs == 2 else outputs)


def _check_memory(sizes: tuple[int, ...], estimator: Any, dtype: str) -> None:
    """Raise unless parameters, their initial values in float64, gradients and the optimizer's state fit in memory."""
    optimizer = {"sgd": "momentum", "lbfgs": "adam"}.get(estimator.solver, estimator.solver)
    cost = step_cost(sizes, 1, dtype, optimizer=optimizer)
    needed = 2 * cost.parameter_bytes + 8 * cost.parameters + cost.optimizer_bytes
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows does not say
        return
    if needed > there:
        raise ValueError(
            f"a network of {'-'.join(map(str, sizes))} must fit in memory: it takes {needed / 1e9:,.0f} GB to train, "
            f"this machine has {there / 1e9:,.0f} GB"
        )
