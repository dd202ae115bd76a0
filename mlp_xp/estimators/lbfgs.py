"""L-BFGS for an estimator: the objective of all rows at once, and what a fit reports of it.

Before: ``optim.lbfgs``. Next: ``base`` calls ``learn``.
"""

import time
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from mlp_xp import optim
from mlp_xp._lib.arguments import is_true
from mlp_xp._lib.namespace import Placement
from mlp_xp._lib.typing import Array, Params
from mlp_xp.estimators.data import in_chunks
from mlp_xp.estimators.reporting import warn
from mlp_xp.mlp import TrainOptions, loss_and_grads
from mlp_xp.train import Dataset, Epoch, Record


def learn(estimator: Any, data: Dataset, place: Placement, callbacks: tuple[Callable[[Epoch], object], ...]) -> None:
    """Minimise the objective of ``data`` from the estimator's parameters on; ``callbacks`` follow each iteration."""
    total = float(data.X.shape[0]) if data.weight is None else float(place.xp.sum(data.weight))
    strength, began = estimator._number("alpha") / total, time.perf_counter()
    stopped = False
    estimator._history, estimator._state = (), None  # those of a solver before it say nothing of this one

    def reported(params: Params, value: float) -> float:
        """The loss as scikit-learn reports it: the mean over the outputs, where the criterion takes their sum."""
        outputs = estimator._summed_outputs()
        if outputs == 1:
            return value
        penalty = 0.5 * strength * float(optim.sum_of_squares(place.xp, params[::2]))
        return float((value - penalty) / outputs + penalty)

    def after(params: Params, value: float) -> bool:
        nonlocal stopped
        estimator._learned(params)
        estimator.n_iter_ = number = estimator.n_iter_ + 1
        estimator.loss_ = reported(params, value)
        estimator._say(f"Iteration {number}, loss = {estimator.loss_:.8f}")
        seconds = time.perf_counter() - began
        estimator._history += (Record(number, value, 0.0, None, None, 0.0, number, seconds),)
        answers = [callback(Epoch(estimator._history, params, params, ())) for callback in callbacks]
        stopped = any(map(is_true, answers))
        return stopped

    try:
        params, result = optim.lbfgs(
            _objective(data, place, estimator._options(), strength, total), estimator._params(), callback=after,
            max_iter=int(estimator.max_iter), max_fun=int(estimator.max_fun), tol=estimator._number("tol"),
        )  # fmt: skip
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
        return
    estimator._learned(params)
    estimator.n_iter_ = min(int(result.nit), int(estimator.max_iter))
    estimator.loss_ = reported(params, float(result.fun))
    if result.status != 0 and not stopped:
        failed = f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}): {result.message}."
        warn(f"{failed} Increase max_iter or max_fun, or scale the data.", ConvergenceWarning)


def _objective(
    data: Dataset, place: Placement, options: TrainOptions, strength: float, total: float
) -> Callable[..., tuple[Array, Params]]:
    """``objective(*params) -> (value, gradients)`` of all rows, taken chunk by chunk.

    Args:
        data: all rows.
        place: where they are.
        options: of the objective.
        strength: of the penalty on squared weights.
        total: the weight of all rows.
    """
    chunks = in_chunks(data.X, place)
    spans = [slice(*ends) for ends in pairwise(accumulate((chunk.shape[0] for chunk in chunks), initial=0))]

    def objective(*params: Array) -> tuple[Array, Params]:
        parts = []
        for chunk, span in zip(chunks, spans, strict=True):
            weight = None if data.weight is None else data.weight[span]
            share = (chunk.shape[0] if weight is None else float(place.xp.sum(weight))) / total
            terms: TrainOptions = {**options, "l2": strength, "sample_weight": weight}
            value, grads = loss_and_grads(chunk, data.y[span, ...], *params, **terms)
            parts.append([each * share for each in (value, *grads)])
        value, *gradients = (sum(each[1:], start=each[0]) for each in zip(*parts, strict=True))
        return value, tuple(gradients)

    return objective
