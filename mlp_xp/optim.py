"""Optimizers as pure pairs: ``state = init(params)`` and ``params, state = update(params, grads, state)``.

Nothing mutates, so a step can be jitted, kept, or gone back to. The state is a tuple of arrays beside the parameters.

Before: ``mlp`` gives the gradients. Next: ``train`` loops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from mlp_xp._arguments import check_number
from mlp_xp._namespace import beside, namespace
from mlp_xp._typing import Array, Params

State: TypeAlias = tuple[Array, ...]


class Optimizer(NamedTuple):
    """``init(params) -> state`` and ``update(params, grads, state) -> (params, state)``."""

    init: Callable[[Params], State]
    update: Callable[[Params, Params, State], tuple[Params, State]]


def momentum(lr: float, decay: float = 0.9) -> Optimizer:
    """``v' = decay v + g``, ``p' = p - lr v'``, from ``v = 0``.

    Args:
        lr: the learning rate.
        decay: how much of the last velocity is kept, at least 0 and below 1.

    Source: Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
    """
    check_number("lr", lr, 0.0, math.inf)
    check_number("decay", decay, 0.0, 1.0)

    def init(params: Params) -> State:
        xp = namespace(*params)
        return tuple(xp.zeros_like(p) for p in params)

    def update(params: Params, grads: Params, state: State) -> tuple[Params, State]:
        velocity = tuple(decay * v + g for v, g in zip(state, grads, strict=True))
        return tuple(p - lr * v for p, v in zip(params, velocity, strict=True)), velocity

    return Optimizer(init, update)


def sgd(lr: float) -> Optimizer:
    """``p' = p - lr g``. No state.

    Args:
        lr: the learning rate.
    """
    check_number("lr", lr, 0.0, math.inf)

    def update(params: Params, grads: Params, state: State) -> tuple[Params, State]:
        return tuple(p - lr * g for p, g in zip(params, grads, strict=True)), state

    return Optimizer(lambda params: (), update)


def adam(lr: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> Optimizer:
    """``m' = b1 m + (1 - b1) g``, ``v' = b2 v + (1 - b2) g^2``, ``p' = p - lr m^ / (sqrt v^ + epsilon)``.

    ``m^ = m' / (1 - b1^t)`` and ``v^ = v' / (1 - b2^t)`` undo the bias of starting from 0; t counts steps from 1.

    Args:
        lr: the learning rate.
        beta1, beta2: decay of the means of g and of g^2, at least 0 and below 1.
        epsilon: added to the root; with 0, an entry whose gradient was never anything but 0 becomes NaN.

    Source: Kingma and Ba, Adam: A method for stochastic optimization, 2015.
    """
    check_number("lr", lr, 0.0, math.inf)
    check_number("beta1", beta1, 0.0, 1.0)
    check_number("beta2", beta2, 0.0, 1.0)
    check_number("epsilon", epsilon, 0.0, math.inf)

    def init(params: Params) -> State:
        xp = namespace(*params)
        zeros = tuple(xp.zeros_like(p) for p in params)
        step = xp.zeros((), dtype=params[0].dtype, **beside(params[0]))
        return (step, *zeros, *zeros)

    def update(params: Params, grads: Params, state: State) -> tuple[Params, State]:
        xp = namespace(*params)
        step = state[0] + 1.0
        means, squares = state[1 : 1 + len(params)], state[1 + len(params) :]
        means = tuple(beta1 * m + (1.0 - beta1) * g for m, g in zip(means, grads, strict=True))
        squares = tuple(beta2 * v + (1.0 - beta2) * (g * g) for v, g in zip(squares, grads, strict=True))
        # 1 - b^t as -expm1(t log b): in float32, 1 - 0.999 alone would be off by 2e-5
        rate = lr / _one_minus_power(beta1, step)
        root = xp.sqrt(_one_minus_power(beta2, step))
        new = tuple(
            p - rate * m / (xp.sqrt(v) / root + epsilon) for p, m, v in zip(params, means, squares, strict=True)
        )
        return new, (step, *means, *squares)

    def _one_minus_power(beta: float, step: Array) -> Array:
        xp = namespace(step)
        return -xp.expm1(step * math.log(beta)) if beta else xp.ones_like(step)

    return Optimizer(init, update)


OPTIMIZERS: dict[str, Callable[[float], Optimizer]] = {"sgd": sgd, "momentum": momentum, "adam": adam}
"""Name -> optimizer of a learning rate."""
