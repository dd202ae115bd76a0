"""The solvers that take all rows at once, lbfgs and newton-cg, and what a fit reports of them.

Several ranks search alike: each value, gradient and product is the mean over the rows of all.

Before: ``optim.lbfgs`` and ``optim.newton_cg``. Next: ``base`` calls ``learn``.
"""

import threading
import time
from collections.abc import Callable
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from mlp_xp import optim
from mlp_xp._lib.arguments import is_true
from mlp_xp._lib.namespace import Placement, namespace
from mlp_xp._lib.typing import Array, Params
from mlp_xp._lib.wording import count_of, warn
from mlp_xp.curvature import hessian_at
from mlp_xp.estimators.data import in_chunks
from mlp_xp.mlp import Options, TrainOptions, loss_and_grads
from mlp_xp.ranks import Ranks, check_params_alike, check_settings_alike, interrupts_into, sums_of, together
from mlp_xp.train import Dataset, Epoch, Record, is_sparse
from mlp_xp.train.step import Combine, Gradients, make_exchange

Summed: TypeAlias = Callable[[Callable[[], tuple[Array, Params]]], tuple[Array, Params]]
"""``summed(own)``: of ``own() -> (value, arrays)``, means over the rows of this rank, those over the rows of all."""


def learn(
    estimator: Any, data: Dataset, place: Placement, callbacks: tuple[Callable[[Epoch], object], ...], ranks: Ranks
) -> None:
    """Minimise the objective of ``data`` from the estimator's parameters on; ``callbacks`` follow each iteration.

    With several ``ranks`` it is the objective of the rows of all; a callback that returns True on one ends the search.
    """
    own, like = float(data.X.shape[0]) if data.weight is None else float(place.xp.sum(data.weight)), place.put(_ZERO)
    (total,) = sums_of(ranks, like, own)
    strength, began = estimator._number("alpha") / total, time.perf_counter()
    stopped = False
    if estimator.compile is True:
        warn(f"nothing is compiled: {estimator.solver} makes no training step")
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
        with together(ranks, like):
            answers = [callback(Epoch(estimator._history, params, params, ())) for callback in callbacks]
        stopped = sum(sums_of(ranks, like, float(any(map(is_true, answers))))) > 0.0
        return stopped

    rows, asked = _shares(data, place, estimator._options(), strength, own), threading.Event()
    summed = _summing(estimator, ranks, own, asked)
    common: dict[str, Any] = {"callback": after, "max_iter": int(estimator.max_iter), "tol": estimator._number("tol")}
    try:
        # a search that fails has a sentence
        with np.errstate(over="ignore", invalid="ignore"), interrupts_into(asked, ranks):
            objective, start = _objective(rows, summed), estimator._params()
            if estimator.solver == "lbfgs":
                params, result = optim.lbfgs(objective, start, max_fun=int(estimator.max_fun), **common)
            else:
                params, result = optim.newton_cg(objective, _hessian(rows, summed), start, **common)
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
        return
    estimator._learned(params)
    estimator.n_iter_ = min(int(result.nit), int(estimator.max_iter))
    estimator.loss_ = reported(params, float(result.fun))
    if result.status != 0 and not stopped:
        warn(_not_converged(estimator, result), ConvergenceWarning)


_ZERO = np.zeros(1)


def _summing(estimator: Any, ranks: Ranks, weight: float, asked: threading.Event) -> Summed:
    """How the ranks of a search make a value and its derivatives of those of their own rows, in one message.

    Where one was asked to end, by Ctrl-C, all raise KeyboardInterrupt at the next value; where one fails, RankFailed.

    Args:
        estimator: whose settings and first parameters have to be the same on all.
        ranks: of the search.
        weight: what the rows of this rank weigh together.
        asked: set where Ctrl-C is to end the search of several ranks.
    """
    if ranks.size == 1:
        return lambda own: own()
    params = estimator._params()
    chosen = {name: value for name, value in estimator.get_params(deep=False).items() if name not in _OF_A_RANK}
    check_settings_alike(ranks, params[0], "the settings of a search", chosen)
    check_params_alike(ranks, params)
    exchange = make_exchange(namespace(*params), ranks, params, 1, 0, asked.is_set)

    def summed(own: Callable[[], tuple[Array, Params]]) -> tuple[Array, Params]:
        try:
            value, arrays = own()
        except BaseException:
            exchange.give_up()
            raise
        of_all = cast(Combine, exchange.combine)(Gradients(value, arrays, weight, 1.0, 1.0))
        return of_all.loss, of_all.grads

    return summed


_OF_A_RANK = ("verbose", "progress")  # settings that may differ from rank to rank

_LIMIT = 1  # the status of SciPy's solvers where iterations or evaluations are used up


def _not_converged(estimator: Any, result: Any) -> str:
    """What ended the search, and what to do; SciPy's own message speaks of its own options."""
    iterations = count_of(result.nit, "iteration")
    failed = f"{estimator.solver} failed to converge after {iterations}"
    if result.status != _LIMIT:
        return f"{failed}: rounding hides which step lowers the loss. Scale the data, or learn in float64."
    return f"{failed}. Increase {'max_iter' if result.nit >= estimator.max_iter else 'max_fun'}, or scale the data."


class _Share(NamedTuple):
    """Some of the rows, and their share of the weight of all; options with the strength of the penalty."""

    X: Array
    y: Array
    options: TrainOptions
    share: float | Array


def _shares(data: Dataset, place: Placement, options: TrainOptions, strength: float, total: float) -> list[_Share]:
    """All rows of this rank, a sparse matrix chunk by chunk.

    Args:
        data: the rows.
        place: where they are.
        options: of the objective.
        strength: of the penalty on squared weights.
        total: the weight of these rows.
    """
    chunks = list(in_chunks(data.X, place)) if is_sparse(data.X) else [data.X]
    spans = [slice(*ends) for ends in pairwise(accumulate((chunk.shape[0] for chunk in chunks), initial=0))]
    parts = []
    for chunk, span in zip(chunks, spans, strict=True):
        weight = None if data.weight is None else data.weight[span]
        share = (chunk.shape[0] if weight is None else float(place.xp.sum(weight))) / total
        parts.append(_Share(chunk, data.y[span, ...], {**options, "l2": strength, "sample_weight": weight}, share))
    return parts


def _objective(parts: list[_Share], summed: Summed) -> Callable[..., tuple[Array, Params]]:
    """``objective(*params) -> (value, gradients)`` of all rows."""

    def objective(*params: Array) -> tuple[Array, Params]:
        def own() -> tuple[Array, Params]:
            made = [(loss_and_grads(X, y, *params, **cast(Options, options)), share) for X, y, options, share in parts]
            value, *gradients = _added([[each * share for each in (value, *grads)] for (value, grads), share in made])
            return value, tuple(gradients)

        return summed(own)

    return objective


def _hessian(parts: list[_Share], summed: Summed) -> Callable[..., Callable[[Params], Params]]:
    """``hessian(*params) -> product``: ``product(vectors)`` is the second derivative of ``_objective`` times them."""

    def hessian(*params: Array) -> Callable[[Params], Params]:
        @cache  # made for the first product, where a rank that fails tells the others
        def products() -> list[Any]:
            return [(hessian_at(X, y, *params, **cast(Options, options)), share) for X, y, options, share in parts]

        def product(vectors: Params) -> Params:
            def own() -> tuple[Array, Params]:
                return zero, tuple(_added([[each * share for each in of(vectors)] for of, share in products()]))

            return summed(own)[1]

        zero = namespace(*params).zeros_like(params[1][..., 0])  # in place of a value

        return product

    return hessian


def _added(parts: list[list[Array]]) -> list[Array]:
    """The sums of the parts, array by array."""
    return [sum(each[1:], start=each[0]) for each in zip(*parts, strict=True)]
