"""Optimizers as pure pairs: ``state = init(params)`` and ``params, state = update(params, grads, state, lr)``.

Nothing mutates, so a step can be jitted, kept, or gone back to. The state is a flat tuple of arrays beside the
parameters. The learning rate comes anew with every step, from a number or a schedule (``schedules``).

Before: ``mlp`` gives the gradients. Next: ``schedules`` gives the rate, ``train`` loops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

from mlp_xp._lib.arguments import check_number, check_positive
from mlp_xp._lib.namespace import device_kwargs, namespace, persisted, scalar_like, to_host
from mlp_xp._lib.typing import Array, Namespace, Params

State: TypeAlias = tuple[Array, ...]

_INFINITY = float("inf")


class Optimizer(NamedTuple):
    """``init(params) -> state`` and ``update(params, grads, state, lr) -> (params, state)``.

    ``lr`` is a number, or a 0-d array of the parameters' dtype, which does not recompile a jitted step. ``copies`` is
    how many arrays of a parameter's shape the state holds for each parameter.
    """

    init: Callable[[Params], State]
    update: Callable[[Params, Params, State, float | Array], tuple[Params, State]]
    copies: int = 0


def sgd() -> Optimizer:
    """``p' = p - lr g``. No state."""

    def update(params: Params, grads: Params, state: State, lr: float | Array) -> tuple[Params, State]:
        lr = _plain(lr)
        return tuple(p - lr * g for p, g in zip(params, grads, strict=True)), state

    return Optimizer(lambda params: (), update)


def momentum(decay: float = 0.9, *, lr_in_velocity: bool = False) -> Optimizer:
    """``v' = decay v + g``, ``p' = p - lr v'``, from ``v = 0``.

    Args:
        decay: how much of the last velocity is kept, 0 to 1.
        lr_in_velocity: ``v' = decay v + lr g``, ``p' = p - v'``, as scikit-learn and Keras do: another trajectory where
            the learning rate changes.

    Source: Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
    """
    return _with_velocity(decay, lr_in_velocity, ahead=False)


def nesterov(decay: float = 0.9, *, lr_in_velocity: bool = False) -> Optimizer:
    """``v' = decay v + g``, ``p' = p - lr (decay v' + g)``, from ``v = 0``: the velocity of the step to come.

    Args:
        decay, lr_in_velocity: as in ``momentum``.

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.
    """
    return _with_velocity(decay, lr_in_velocity, ahead=True)


def _with_velocity(decay: float, lr_in_velocity: bool, ahead: bool) -> Optimizer:
    decay = check_number("decay", decay, 0.0, math.nextafter(1.0, 2.0))

    def update(params: Params, grads: Params, state: State, lr: float | Array) -> tuple[Params, State]:
        lr = _plain(lr)
        changes = tuple(lr * g for g in grads) if lr_in_velocity else grads
        velocity = tuple(decay * v + change for v, change in zip(state, changes, strict=True))
        steps = velocity
        if ahead:
            steps = tuple(decay * v + change for v, change in zip(velocity, changes, strict=True))
        scaled = steps if lr_in_velocity else tuple(lr * step for step in steps)
        return tuple(p - step for p, step in zip(params, scaled, strict=True)), velocity

    return Optimizer(_zeros_like, update, copies=1)


def adam(
    beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, *, epsilon_before_correction: bool = False
) -> Optimizer:
    """``m' = b1 m + (1 - b1) g``, ``v' = b2 v + (1 - b2) g^2``, ``p' = p - lr m^ / (sqrt v^ + epsilon)``.

    ``m^ = m' / (1 - b1^t)`` and ``v^ = v' / (1 - b2^t)`` undo the bias of starting from 0; t counts steps from 1.

    Args:
        beta1, beta2: decay of the means of g and of g^2, at least 0 and below 1.
        epsilon: added to the root; with 0, an entry whose gradient was never anything but 0 becomes NaN.
        epsilon_before_correction: ``lr sqrt(1 - b2^t) / (1 - b1^t) m' / (sqrt v' + epsilon)``, the other form in the
            paper, which scikit-learn takes.

    Source: Kingma and Ba, Adam: A method for stochastic optimization, 2015.
    """
    return _adam(beta1, beta2, epsilon, 0.0, epsilon_before_correction)


def adamw(beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, weight_decay: float = 0.01) -> Optimizer:
    """``adam``, and ``p' = (1 - lr weight_decay) p - ...``: decay that no gradient rescales, of all parameters.

    Args:
        beta1, beta2, epsilon: as in ``adam``.
        weight_decay: at least 0.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization, 2019.
    """
    return _adam(beta1, beta2, epsilon, weight_decay, False)


def _adam(
    beta1: float, beta2: float, epsilon: float, weight_decay: float, epsilon_before_correction: bool
) -> Optimizer:
    beta1 = check_number("beta1", beta1, 0.0, 1.0)
    beta2 = check_number("beta2", beta2, 0.0, 1.0)
    epsilon = check_number("epsilon", epsilon, 0.0, _INFINITY)
    weight_decay = check_number("weight_decay", weight_decay, 0.0, _INFINITY)
    # The state holds M = m / (1 - b1) and V = v / (1 - b2): the recurrences M' = b1 M + g and V' = b2 V + g^2 take one
    # pass less over every weight, and the constants meet in one number of the step.

    def init(params: Params) -> State:
        step = scalar_like(namespace(*params), 0.0, params[0])
        return (step, *_zeros_like(params), *_zeros_like(params))

    def update(params: Params, grads: Params, state: State, lr: float | Array) -> tuple[Params, State]:
        xp, lr = namespace(*params), _plain(lr)
        step, count = state[0] + 1.0, len(params)
        # sqrt v^ = sqrt V sqrt((1 - b2) / (1 - b2^t)): with that root taken out, epsilon is divided by it
        root = xp.sqrt((1.0 - beta2) / _one_minus_power(beta2, step))
        minus_rate = -lr * (1.0 - beta1) / (_one_minus_power(beta1, step) * root)
        floor = epsilon / (math.sqrt(1.0 - beta2) if epsilon_before_correction else root)

        # one parameter after the other, and each sum begun with the term that nobody else needs: NumPy then reuses its
        # memory, and touching new memory costs more than the arithmetic
        def updated(p: Array, g: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
            m, v = beta1 * m + g, beta2 * v + g * g
            kept = p if weight_decay == 0.0 else (1.0 - lr * weight_decay) * p
            return minus_rate * (m / (xp.sqrt(v) + floor)) + kept, m, v

        arrays = zip(params, grads, state[1 : 1 + count], state[1 + count :], strict=True)
        new, means, squares = zip(*(updated(*each) for each in arrays), strict=True)
        return new, (step, *means, *squares)

    return Optimizer(init, update, copies=2)


def _one_minus_power(beta: float, step: Array) -> Array:
    """``1 - beta^t`` as ``-expm1(t log beta)``: in float32, 1 - 0.999 alone would be off by 2e-5."""
    xp = namespace(step)
    return -xp.expm1(step * math.log(beta)) if beta else xp.ones_like(step)


def rmsprop(decay: float = 0.99, epsilon: float = 1e-8, *, momentum: float = 0.0, centered: bool = False) -> Optimizer:
    """``v' = decay v + (1 - decay) g^2``, ``p' = p - lr g / (sqrt v' + epsilon)``, from ``v = 0``.

    Args:
        decay: of the mean of g^2, at least 0 and below 1.
        epsilon: added to the root.
        momentum: ``u' = momentum u + g / (sqrt v' + epsilon)``, ``p' = p - lr u'``, at least 0 and below 1.
        centered: the root of the variance, ``v' - m'^2`` with m the mean of g, in place of that of v'.

    Source: Tieleman and Hinton, Lecture 6.5 of Neural networks for machine learning, 2012; Graves, Generating sequences
    with recurrent neural networks, 2013, for the centred form.
    """
    decay = check_number("decay", decay, 0.0, 1.0)
    epsilon = check_number("epsilon", epsilon, 0.0, _INFINITY)
    momentum = check_number("momentum", momentum, 0.0, 1.0)

    copies = 1 + (momentum != 0.0) + centered

    def init(params: Params) -> State:
        return _zeros_like(params) * copies

    def update(params: Params, grads: Params, state: State, lr: float | Array) -> tuple[Params, State]:
        xp, lr, count = namespace(*params), _plain(lr), len(params)
        squares = tuple(decay * v + (1.0 - decay) * (g * g) for v, g in zip(state[:count], grads, strict=True))
        spread, kept = squares, squares
        if centered:
            means = tuple(decay * m + (1.0 - decay) * g for m, g in zip(state[-count:], grads, strict=True))
            # a variance, but for rounding: where the gradient has long been the same it would come out below 0
            spread = tuple(xp.maximum(v - m * m, xp.zeros_like(v)) for v, m in zip(squares, means, strict=True))
            kept = (*squares, *means)
        steps = tuple(g / (xp.sqrt(v) + epsilon) for g, v in zip(grads, spread, strict=True))
        if momentum:
            steps = tuple(momentum * u + step for u, step in zip(state[count : 2 * count], steps, strict=True))
            kept = (*squares, *steps, *kept[count:])
        return tuple(p - lr * step for p, step in zip(params, steps, strict=True)), kept

    return Optimizer(init, update, copies)


def _plain(lr: float | Array) -> float | Array:
    """A scalar of NumPy as a Python number, which does not widen float32."""
    return float(lr) if isinstance(lr, Real) else lr


def _zeros_like(params: Params) -> State:
    xp = namespace(*params)
    return tuple(xp.zeros_like(p) for p in params)


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
}
"""Name -> optimizer, with its own constants."""


def sum_of_squares(xp: Namespace, arrays: Params) -> Array:
    """Of all entries of all of them: each a product of a vector with itself, which makes no array of squares."""
    first, *rest = [flat @ flat for flat in (xp.reshape(array, (-1,)) for array in arrays)]
    return sum(rest, start=first)


def clip_by_global_norm(grads: Params, limit: float) -> Params:
    """``g limit / max(limit, ||grads||)``, the norm taken over all of them together.

    Source: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013.
    """
    limit = check_positive("limit", limit)
    xp = namespace(*grads)
    norm = xp.sqrt(sum_of_squares(xp, grads))
    scale = limit / xp.maximum(norm, scalar_like(xp, limit, norm))
    return tuple(g * scale for g in grads)


def lbfgs(
    value_and_grad: Callable[..., tuple[Array, Params]],
    params: Params,
    *,
    max_iter: int = 200,
    max_fun: int = 15_000,
    tol: float = 1e-4,
    callback: Callable[[Params, float], object] | None = None,
) -> tuple[Params, Any]:
    """Minimise by L-BFGS-B of ``scipy.optimize``, value and gradient on the device, in the parameters' dtype.

    Args:
        value_and_grad: ``value_and_grad(*params) -> (0-d value, gradients)``.
        params: where to start from.
        max_iter: iterations at most.
        max_fun: evaluations at most.
        tol: ends where no entry of the gradient is larger.
        callback: called with parameters and value after each iteration.

    Returns:
        The parameters found, and scipy's ``OptimizeResult``.

    Source: Byrd, Lu, Nocedal and Zhu, A limited memory algorithm for bound constrained optimization, 1995.
    """
    import numpy as np  # on the host alone: the vector that scipy moves
    from scipy.optimize import minimize

    xp = namespace(*params)
    ends = np.cumsum([math.prod(p.shape) for p in params])[:-1]

    def apart(vector: Any) -> Params:
        return tuple(
            xp.asarray(part.reshape(p.shape).copy(), dtype=p.dtype, **device_kwargs(p))  # scipy goes on with its vector
            for part, p in zip(np.split(vector, ends), params, strict=True)
        )

    def together(arrays: Params) -> Any:
        return np.concatenate([to_host(array).astype(np.float64).reshape(-1) for array in arrays])

    def on_host(vector: Any) -> tuple[float, Any]:
        value, grads = value_and_grad(*apart(vector))
        value, *arrays = persisted(value, *grads)  # together: Dask would go forward again for each of them
        return float(value), together(tuple(arrays))

    def after_iteration(intermediate_result: Any) -> None:
        if callback is not None:
            callback(apart(intermediate_result.x), float(intermediate_result.fun))

    options = {"maxiter": max_iter, "maxfun": max_fun, "gtol": tol}
    result = minimize(on_host, together(params), method="L-BFGS-B", jac=True, options=options, callback=after_iteration)
    return apart(result.x), result
