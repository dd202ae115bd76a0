"""Optimizers as pure pairs: ``state = init(params)`` and ``params, state = update(params, grads, state, lr)``.

Nothing mutates: a step can be compiled, and an old state used again. The state is a flat tuple of arrays. Every step is
given its learning rate, a number or what a schedule returns (``schedules``). ``OPTIMIZERS`` lists all by name.

Before: ``mlp`` gives the gradients. Next: ``schedules`` gives the rate, ``train`` loops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from numbers import Real
from typing import Any, NamedTuple, Self, TypeAlias, cast

from mlp_xp._lib.arguments import (
    check_callable,
    check_flag,
    check_number,
    check_parameters,
    check_positive,
    check_whole,
    described,
    is_true,
)
from mlp_xp._lib.namespace import (
    detached,
    device_kwargs,
    is_floating,
    namespace,
    parameter_name,
    persisted,
    scalar_like,
    to_host,
    wide_dtype,
)
from mlp_xp._lib.typing import Array, Namespace, Params

State: TypeAlias = tuple[Array, ...]
"""What an optimizer remembers between two steps; empty for ``sgd``."""


class _Pair(NamedTuple):
    init: Callable[[Params], State]
    update: Callable[[Params, Params, State, float | Array], tuple[Params, State]]


class Optimizer(_Pair):
    """``init(params) -> state`` and ``update(params, grads, state, lr) -> (params, state)``: a pair, with a name.

    Attributes:
        init: makes the state of the first step. It has the parameters' namespace, dtype and device.
        update: makes new parameters and a new state from gradients in the order and with the shapes of the parameters.
            ``lr`` is a number, or a 0-d array of the parameters' dtype: a compiled step then serves every rate. For
            parameters with a leading axis, of k networks, it may be (k,), a rate for each.
        name: what the state means, such as "momentum, lr in velocity": a state goes on under the same name alone. It is
            empty for a pair of the caller's own, which knows by itself what its state means.

    >>> import numpy as np
    >>> optimizer, params = momentum(0.5), (np.array([[1.0]]), np.array([0.0]))
    >>> state, grads = optimizer.init(params), (np.array([[2.0]]), np.array([4.0]))
    >>> for lr in (0.1, 0.1):
    ...     params, state = optimizer.update(params, grads, state, lr)
    >>> [float(p.round(3).sum()) for p in params], optimizer.name
    ([0.5, -1.0], 'momentum')
    """

    name: str = ""

    def __new__(
        cls,
        init: Callable[[Params], State],
        update: Callable[[Params, Params, State, float | Array], tuple[Params, State]],
        name: str = "",
    ) -> Self:
        """A pair; the name stands beside it, so that ``init, update = optimizer`` takes it apart."""
        pair = super().__new__(cls, init, update)
        pair.name = name
        return pair


def check_optimizer(value: object) -> Optimizer:
    """``value``. Raise unless it is an optimizer; the sentence says how one is made."""
    if isinstance(value, Optimizer):
        return value
    if callable(value) and value in OPTIMIZERS.values():
        call = f"optim.{cast(Any, value).__name__}()"
        raise TypeError(f"optimizer must be an Optimizer, got the function that makes one; call it: {call}")
    cure = f"; write optim.{value}()" if isinstance(value, str) and value in OPTIMIZERS else ""
    raise TypeError(f"optimizer must be an Optimizer such as optim.adam(), got {described(value)}{cure}")


def sgd() -> Optimizer:
    """``p' = p - lr g``. It has no state.

    Returns:
        The optimizer.

    >>> import numpy as np
    >>> sgd().update((np.array([1.0]),), (np.array([2.0]),), (), 0.25)
    ((array([0.5]),), ())
    """
    return Optimizer(partial(_zeros, copies=0), _sgd, "sgd")


def _sgd(params: Params, grads: Params, state: State, lr: float | Array) -> tuple[Params, State]:
    rates = _rates(params, _checked(params, grads, state, lr, 0))
    return tuple([p - rate * g for p, g, rate in zip(params, grads, rates, strict=True)]), state


def momentum(decay: float = 0.9, *, lr_in_velocity: bool = False) -> Optimizer:
    """``v' = decay v + g``, ``p' = p - lr v'``, from ``v = 0``. The state is the velocity ``v``.

    Args:
        decay: the share of the last velocity that is kept, 0 to 1.
        lr_in_velocity: compute ``v' = decay v + lr g``, ``p' = p - v'``, as scikit-learn and Keras do. The two forms
            differ where the learning rate changes.

    Returns:
        The optimizer.

    Raises:
        ValueError, TypeError: ``decay`` is not a number from 0 to 1.

    >>> import numpy as np
    >>> momentum(0.5).update((np.array([1.0]),), (np.array([2.0]),), (np.array([0.0]),), 0.25)
    ((array([0.5]),), (array([2.]),))

    Source: Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
    """
    return _with_velocity(decay, lr_in_velocity, ahead=False)


def nesterov(decay: float = 0.9, *, lr_in_velocity: bool = False) -> Optimizer:
    """``v' = decay v + g``, ``p' = p - lr (decay v' + g)``, from ``v = 0``: momentum that looks one step ahead.

    Args:
        decay: the share of the last velocity that is kept, 0 to 1.
        lr_in_velocity: as in ``momentum``.

    Returns:
        The optimizer.

    Raises:
        ValueError, TypeError: ``decay`` is not a number from 0 to 1.

    >>> import numpy as np
    >>> nesterov(0.5).update((np.array([1.0]),), (np.array([2.0]),), (np.array([0.0]),), 0.25)
    ((array([0.25]),), (array([2.]),))

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.
    """
    return _with_velocity(decay, lr_in_velocity, ahead=True)


def _with_velocity(decay: float, lr_in_velocity: bool, ahead: bool) -> Optimizer:
    decay = check_number("decay", decay, 0.0, math.nextafter(1.0, 2.0))
    lr_in_velocity = check_flag("lr_in_velocity", lr_in_velocity)
    name = f"{'nesterov' if ahead else 'momentum'}{', lr in velocity' if lr_in_velocity else ''}"
    update = partial(_velocity, decay=decay, lr_in_velocity=lr_in_velocity, ahead=ahead)
    return Optimizer(partial(_zeros, copies=1), update, name)


def _velocity(
    params: Params, grads: Params, state: State, lr: float | Array, *, decay: float, lr_in_velocity: bool, ahead: bool
) -> tuple[Params, State]:
    rates = _rates(params, _checked(params, grads, state, lr, len(params)))

    def rule(lr: float | Array, p: Array, g: Array, v: Array) -> tuple[Array, ...]:
        change = lr * g if lr_in_velocity else g
        v = decay * v + change
        step = decay * v + change if ahead else v
        return p - (step if lr_in_velocity else lr * step), v

    return _each(rule, rates, params, grads, state)


def adam(
    beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, *, epsilon_before_correction: bool = False
) -> Optimizer:
    """``m' = b1 m + (1 - b1) g``, ``v' = b2 v + (1 - b2) g^2``, ``p' = p - lr m^ / (sqrt v^ + epsilon)``.

    ``m^ = m' / (1 - b1^t)`` and ``v^ = v' / (1 - b2^t)`` undo the bias of starting from 0; t counts steps from 1.

    Args:
        beta1: decay of the mean of g, at least 0 and below 1.
        beta2: decay of the mean of g^2, at least 0 and below 1.
        epsilon: added to the root. With 0, an entry whose gradient has always been 0 becomes NaN.
        epsilon_before_correction: compute ``p' = p - lr sqrt(1 - b2^t) / (1 - b1^t) m' / (sqrt v' + epsilon)``, the
            paper's other form, which scikit-learn uses.

    Returns:
        The optimizer.

    Raises:
        ValueError, TypeError: a constant is not a number in its range.

    >>> import numpy as np
    >>> optimizer, params = adam(), (np.array([0.0, 0.0]),)
    >>> params, state = optimizer.update(params, (np.array([3.0, -0.01]),), optimizer.init(params), 0.1)
    >>> params[0].round(4)  # the first step has length lr, whatever the gradient's size
    array([-0.1,  0.1])

    Source: Kingma and Ba, Adam: A method for stochastic optimization, 2015.
    """
    return _adam(beta1, beta2, epsilon, check_flag("epsilon_before_correction", epsilon_before_correction))


def adamw(beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, weight_decay: float = 0.01) -> Optimizer:
    """``p' = (1 - lr weight_decay) p - lr m^ / (sqrt v^ + epsilon)``: ``adam`` with a decay that v does not rescale.

    Every parameter decays, biases too. An l2 penalty would be divided by ``sqrt v^``.

    Args:
        beta1: decay of the mean of g, at least 0 and below 1.
        beta2: decay of the mean of g^2, at least 0 and below 1.
        epsilon: added to the root, as in ``adam``.
        weight_decay: the share of a parameter that a step of rate 1 takes away, at least 0.

    Returns:
        The optimizer.

    Raises:
        ValueError, TypeError: a constant is not a number in its range.

    >>> import numpy as np
    >>> optimizer, params = adamw(weight_decay=0.5), (np.array([1.0]),)
    >>> params, state = optimizer.update(params, (np.array([0.0]),), optimizer.init(params), 0.1)
    >>> params[0].round(4)
    array([0.95])

    Source: Loshchilov and Hutter, Decoupled weight decay regularization, 2019.
    """
    return _adam(beta1, beta2, epsilon, weight_decay=weight_decay, decoupled=True)


def _adam(
    beta1: float, beta2: float, epsilon: float, before: bool = False, weight_decay: float = 0.0, decoupled: bool = False
) -> Optimizer:
    """All forms of Adam; ``before``: epsilon is added before the bias of ``v`` is corrected."""
    beta1 = check_number("beta1", beta1, 0.0, 1.0)
    beta2 = check_number("beta2", beta2, 0.0, 1.0)
    epsilon = check_number("epsilon", epsilon, 0.0, math.inf)
    weight_decay = check_number("weight_decay", weight_decay, 0.0, math.inf)
    step = partial(
        _adam_step, beta1=beta1, beta2=beta2, epsilon=epsilon, before=before, weight_decay=weight_decay
    )  # fmt: skip
    name = f"{'adamw' if decoupled else 'adam'}, beta1={beta1}, beta2={beta2}"  # the state is in units of both
    return Optimizer(_adam_state, step, name)


# The state holds M = m / (1 - b1) and V = v / (1 - b2). Their recurrences, M' = b1 M + g and V' = b2 V + g^2, save a
# pass over every weight; the constants that were left out go into one number per step.


def _adam_state(params: Params) -> State:
    zeros = _zeros(params, copies=2)
    xp = namespace(*zeros)
    return xp.full((), 0.0, dtype=wide_dtype(xp, zeros[0].dtype), **device_kwargs(zeros[0])), *zeros


def _adam_step(
    params: Params, grads: Params, state: State, lr: float | Array,
    *, beta1: float, beta2: float, epsilon: float, before: bool, weight_decay: float,
) -> tuple[Params, State]:  # fmt: skip
    lr = _checked(params, grads, state, lr, 1 + 2 * len(params))
    xp, step, dtype = namespace(*params), state[0] + 1.0, params[0].dtype
    # sqrt v^ = sqrt V / root with root = sqrt((1 - b2^t) / (1 - b2)): taken out, it multiplies epsilon
    root = xp.sqrt(_power_minus_one(beta2, step) * (1.0 / (beta2 - 1.0)))
    wide = lr if isinstance(lr, float) or step.dtype == dtype else xp.astype(lr, step.dtype)
    minus_rate = wide * (1.0 - beta1) * root / _power_minus_one(beta1, step)
    floor = epsilon / math.sqrt(1.0 - beta2) if before else epsilon * root
    if step.dtype != dtype:  # steps are counted in a wider one
        minus_rate = xp.astype(minus_rate, dtype)
        floor = floor if isinstance(floor, float) else xp.astype(floor, dtype)

    # Each sum and product begins with a temporary array, not with a 0-d one: NumPy then reuses its memory, and new
    # memory costs more than the arithmetic.
    def rule(minus_rate: Array, p: Array, g: Array, m: Array, v: Array) -> tuple[Array, ...]:
        m, v = beta1 * m + g, beta2 * v + g * g
        return m / (xp.sqrt(v) + floor) * minus_rate + p, m, v

    if weight_decay:
        params = tuple([(1.0 - rate * weight_decay) * p for rate, p in zip(_rates(params, lr), params, strict=True)])
    params, kept = _each(rule, _rates(params, minus_rate), params, grads, state[1:])
    return params, (step, *kept)


def _power_minus_one(beta: float, step: Array) -> Array:
    """``beta^t - 1`` as ``expm1(t log beta)``: in float32, ``0.999 - 1`` would be wrong by 2e-5."""
    xp = namespace(step)
    return xp.expm1(step * math.log(beta)) if beta else -xp.ones_like(step)


def rmsprop(decay: float = 0.99, epsilon: float = 1e-8, *, momentum: float = 0.0, centered: bool = False) -> Optimizer:
    """``v' = decay v + (1 - decay) g^2``, ``p' = p - lr g / (sqrt v' + epsilon)``, from ``v = 0``.

    Args:
        decay: decay of the mean of g^2, at least 0 and below 1.
        epsilon: added to the root.
        momentum: with it, ``u' = momentum u + g / (sqrt v' + epsilon)`` and ``p' = p - lr u'``; at least 0 and below 1.
        centered: take the root of the variance ``v' - m'^2`` instead of that of ``v'``, where m is the mean of g.

    Returns:
        The optimizer. Its state is v, then u where there is momentum, then m where it is centred.

    Raises:
        ValueError, TypeError: a constant is not a number in its range.

    >>> import numpy as np
    >>> optimizer, params = rmsprop(decay=0.75), (np.array([0.0, 0.0]),)
    >>> params, state = optimizer.update(params, (np.array([3.0, -0.01]),), optimizer.init(params), 0.1)
    >>> params[0].round(4)
    array([-0.2,  0.2])

    Source: Tieleman and Hinton, Lecture 6.5 of Neural networks for machine learning, 2012; for the centred form Graves,
    Generating sequences with recurrent neural networks, 2013.
    """
    decay = check_number("decay", decay, 0.0, 1.0)
    epsilon = check_number("epsilon", epsilon, 0.0, math.inf)
    momentum, centered = check_number("momentum", momentum, 0.0, 1.0), check_flag("centered", centered)
    update = partial(_rmsprop_step, decay=decay, epsilon=epsilon, momentum=momentum, centered=centered)
    name = f"rmsprop{', momentum' if momentum else ''}{', centered' if centered else ''}"
    return Optimizer(partial(_zeros, copies=1 + (momentum != 0.0) + centered), update, name)


def _rmsprop_step(
    params: Params, grads: Params, state: State, lr: float | Array,
    *, decay: float, epsilon: float, momentum: float, centered: bool,
) -> tuple[Params, State]:  # fmt: skip
    rates = _rates(params, _checked(params, grads, state, lr, (1 + (momentum != 0.0) + centered) * len(params)))
    xp = namespace(*params)

    def rule(lr: float | Array, p: Array, g: Array, v: Array, *others: Array) -> tuple[Array, ...]:
        v = spread = decay * v + (1.0 - decay) * (g * g)
        memory: tuple[Array, ...] = ()
        if centered:
            m = decay * others[-1] + (1.0 - decay) * g
            # v - m^2 is a variance; rounding brings it below 0 where the gradient has been the same for many steps
            spread, memory = xp.maximum(v - m * m, xp.zeros_like(v)), (m,)
        step = g / (xp.sqrt(spread) + epsilon)
        if momentum:
            step = momentum * others[0] + step
            memory = (step, *memory)
        return p - lr * step, v, *memory

    return _each(rule, rates, params, grads, state)


def _each(
    rule: Callable[..., tuple[Array, ...]], rates: Iterable[Any], params: Params, grads: Params, state: State
) -> tuple[Params, State]:
    """``rule(rate, p, g, *memory) -> (p', *memory')`` for one parameter after the other: NumPy then reuses memory."""
    count = len(params)
    memories = [state[first : first + count] for first in range(0, len(state), count)]
    new, *kept = zip(*[rule(*each) for each in zip(rates, params, grads, *memories, strict=True)], strict=True)
    return new, tuple([array for memory in kept for array in memory])


def _rates(params: Params, rate: Any) -> list[Any]:
    """The rate of each parameter: rates (k,) of k networks with axes of size 1, so that each multiplies its own."""
    if not getattr(rate, "ndim", 0):
        return [rate] * len(params)
    return [rate[(..., *(None,) * (p.ndim - 1))] for p in params]


def _checked(params: Params, grads: Any, state: Any, lr: Any, arrays: int) -> float | Array:
    """The rate in the dtype of the parameters, which it must not widen: a Python float, or an array, 0-d or (k,).

    Raise unless gradients have the shapes of the parameters, the state is so many arrays, and the rate is one.
    """
    if (came := _count(grads)) != len(params):
        raise ValueError(f"grads must be a tuple of {len(params)} gradients, one per parameter, got {came}")
    if [g.shape for g in grads] != [p.shape for p in params]:
        shapes = enumerate((tuple(p.shape), tuple(g.shape)) for p, g in zip(params, grads, strict=True))
        position, (expected, found) = next(each for each in shapes if each[1][0] != each[1][1])
        raise ValueError(f"the gradient of {parameter_name(position)} must have shape {expected}, got {found}")
    if (came := _count(state)) != arrays:
        raise ValueError(f"state must be this optimizer's, {arrays} arrays for these parameters, got {came}")
    if isinstance(lr, Real):
        return check_number("lr", lr, 0.0, math.inf)
    shape = getattr(lr, "shape", None)
    if shape != () and not (isinstance(shape, tuple) and all(p.shape[:1] == shape for p in params)):
        raise TypeError(f"lr must be a number or a 0-d array, got {described(lr)}; for k networks also (k,)")
    return lr if not params or lr.dtype == params[0].dtype else namespace(lr).astype(lr, params[0].dtype)


def _count(arrays: Any) -> int | str:
    """How many arrays these are; what they are instead, for a message, where they are no tuple or list."""
    return len(arrays) if isinstance(arrays, (tuple, list)) else described(arrays)


def _zeros(params: Params, copies: int) -> State:
    """``copies`` arrays of zeros like each parameter: those of all parameters, then the next copy."""
    params = _named_arrays("params", params)
    xp = namespace(*params)
    return tuple([xp.zeros_like(p) for p in params * copies])


def _named_arrays(name: str, arrays: Any) -> Params:
    """``arrays`` as a tuple. Raise unless they are at least one array, all of one library."""
    checked: Params = check_parameters(name, arrays)
    if not checked:
        raise ValueError(f"{name} must hold at least one array, got none")
    namespace(*checked, names=[parameter_name(position) for position in range(len(checked))])
    return checked


_MAKERS: tuple[Callable[[], Optimizer], ...] = (sgd, momentum, nesterov, adam, adamw, rmsprop)

OPTIMIZERS = {make.__name__: make for make in _MAKERS}
"""Name -> function that makes the optimizer with its default constants."""


def sum_of_squares(xp: Namespace, arrays: Params, ensemble: bool = False) -> Array:
    """``sum_a sum_i a_i^2`` over all arrays: any shapes -> 0-d, or (k,) over the axes after the first.

    Args:
        xp: the namespace of the arrays.
        arrays: at least one array.
        ensemble: whether the first axis counts k networks, which have a sum each.

    Returns:
        The sum, 0-d or (k,). ``a @ a`` computes each term, so that no array of squares is formed.

    >>> import numpy as np
    >>> float(sum_of_squares(np, (np.array([[1.0, 2.0]]), np.array([3.0]))))
    14.0
    """
    if ensemble:
        flats = [xp.reshape(array, (array.shape[0], math.prod(array.shape[1:]), 1)) for array in arrays]
        first, *rest = [(xp.matrix_transpose(flat) @ flat)[:, 0, 0] for flat in flats]
    else:
        first, *rest = [flat @ flat for flat in (xp.reshape(array, (-1,)) for array in arrays)]
    return sum(rest, start=first)


def clip_by_global_norm(grads: Params, limit: float, *, ensemble: bool = False) -> Params:
    """``g limit / max(limit, ||grads||)``, with one norm for all gradients together.

    Args:
        grads: gradients of any shapes.
        limit: the largest norm that is left as it is, positive.
        ensemble: whether the first axis of all gradients counts networks, which then have a norm each.

    Returns:
        The gradients, with the shapes and dtypes of ``grads``; NaN where the square of the norm overflows.

    Raises:
        ValueError, TypeError: ``limit`` is not a positive finite number.

    >>> import numpy as np
    >>> clip_by_global_norm((np.array([[3.0]]), np.array([4.0])), 1.0)
    (array([[0.6]]), array([0.8]))

    Source: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013.
    """
    limit = check_positive("limit", limit)
    grads = _named_arrays("grads", grads)
    xp, ensemble = namespace(*grads), check_flag("ensemble", ensemble)
    if ensemble and len({each.shape[:1] for each in grads}) > 1:
        shapes = [tuple(each.shape) for each in grads]
        raise ValueError(f"ensemble is for gradients whose leading axes have one size, got shapes {shapes}")
    norm = xp.sqrt(sum_of_squares(xp, grads, ensemble))
    # where the sum overflows all gradients would become 0, and training would stand still without a word
    norm = xp.where(xp.isfinite(norm), norm, scalar_like(xp, math.nan, norm))
    scale = limit / xp.maximum(norm, scalar_like(xp, limit, norm))
    return tuple([g * each for g, each in zip(grads, _rates(grads, scale), strict=True)])


def limit_norms(params: Params, limit: float) -> Params:
    """``W[:, j] limit / max(limit, ||W[:, j]||)``: no hidden unit's incoming weights are longer than ``limit``.

    Each column of the weights (d_in, d_h) of a hidden layer has a norm of its own. Biases and the weights of the last
    layer, whose units are the outputs, stay as they are.

    Args:
        params: W1, b1, W2, b2, ..., also with a leading axis.
        limit: the largest norm, positive.

    Returns:
        The parameters, in their shapes and dtypes. A unit within the limit keeps its weights to the bit; one whose
        squared norm overflows has NaN.

    Raises:
        ValueError, TypeError: ``limit`` is not a positive finite number, or ``params`` are something else.

    >>> import numpy as np, mlp_xp as mx
    >>> W1, b1, W2, b2 = mx.init_params((2, 2, 1))
    >>> limited = limit_norms((np.array([[3.0, 0.1], [4.0, 0.2]]), b1, W2, b2), 1.0)
    >>> limited[0].tolist(), limited[2] is W2
    ([[0.6000000000000001, 0.1], [0.8, 0.2]], True)

    Source: Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014.
    """
    limit, params = check_positive("limit", limit), _named_arrays("params", params)
    xp, hidden = namespace(*params), len(params) - 2

    def limited(W: Array) -> Array:
        norms = xp.sqrt(xp.sum(W * W, axis=-2, keepdims=True))
        # a unit of infinite length would become 0, and training would go on without it
        norms = xp.where(xp.isfinite(norms), norms, scalar_like(xp, math.nan, norms))
        return W * (limit / xp.maximum(norms, scalar_like(xp, limit, norms)))

    return tuple([limited(each) if i < hidden and i % 2 == 0 else each for i, each in enumerate(params)])


def lbfgs(
    value_and_grad: Callable[..., tuple[Array, Params]],
    params: Params,
    *,
    max_iter: int = 200,
    max_fun: int = 15_000,
    tol: float = 1e-4,
    callback: Callable[[Params, float], object] | None = None,
) -> tuple[Params, Any]:
    """Minimise by L-BFGS-B of ``scipy.optimize``: value and gradient are computed on the device, steps on the host.

    Args:
        value_and_grad: ``value_and_grad(*params) -> (0-d value, gradients)``, called with parameters of the shapes,
            dtype and device of ``params``.
        params: where to start from.
        max_iter: the largest number of iterations.
        max_fun: the largest number of evaluations.
        tol: stop when no entry of the gradient is larger in magnitude.
        callback: called with parameters and value after each iteration; when it returns True, that was the last one,
            and the result says so: ``success`` is False, ``status`` 99.

    Returns:
        The parameters found, like ``params``, and scipy's ``OptimizeResult``.

    Raises:
        ValueError, TypeError: an argument is not what it should be, or the gradients do not fit the parameters.

    >>> import numpy as np
    >>> params, result = lbfgs(lambda w: ((w - 3.0) @ (w - 3.0), (2.0 * (w - 3.0),)), (np.zeros(2),))
    >>> params[0].round(4), result.success
    (array([3., 3.]), True)

    Source: Byrd, Lu, Nocedal and Zhu, A limited memory algorithm for bound constrained optimization, 1995.
    """
    from scipy.optimize import minimize

    host = _on_host(value_and_grad, params, callback)
    options = {"maxiter": check_whole("max_iter", max_iter, 1), "maxfun": check_whole("max_fun", max_fun, 1)}
    tol = check_number("tol", tol, 0.0, math.inf)
    result = minimize(
        host.value_and_grad, host.start, method="L-BFGS-B", jac=True, options={**options, "gtol": tol},
        callback=host.after_iteration,
    )  # fmt: skip
    return host.apart(result.x), result


def newton_cg(
    value_and_grad: Callable[..., tuple[Array, Params]],
    product_at: Callable[..., Callable[[Params], Params]],
    params: Params,
    *,
    max_iter: int = 200,
    tol: float = 1e-6,
    callback: Callable[[Params, float], object] | None = None,
) -> tuple[Params, Any]:
    """Minimise by Newton-CG of ``scipy.optimize``: the step d of each iteration solves ``H d = -gradient``.

    Conjugate gradients solve it as far as it helps, by products of the Hessian with vectors; where a vector shows
    negative curvature, they end there. An iteration costs many gradients, where one of ``lbfgs`` costs about one, and
    there are fewer of them: that pays where ``lbfgs`` needs hundreds. ``scripts/newton.py`` compares both.

    Args:
        value_and_grad: as in ``lbfgs``.
        product_at: ``product_at(*params) -> product``, where ``product(vectors)`` is the Hessian times vectors like the
            parameters. ``curvature.hessian_at`` makes it; the Gauss-Newton matrix takes more iterations.
        params: where to start from.
        max_iter: the largest number of iterations.
        tol: stop when the mean change of a parameter in an iteration is no larger.
        callback: as in ``lbfgs``.

    Returns:
        The parameters found, like ``params``, and scipy's ``OptimizeResult``.

    Raises:
        ValueError, TypeError: as in ``lbfgs``, and for products that do not fit the parameters.

    >>> import numpy as np
    >>> def bowl(w):
    ...     return (w - 3.0) @ (w - 3.0), (2.0 * (w - 3.0),)
    >>> params, result = newton_cg(bowl, lambda w: lambda vectors: (2.0 * vectors[0],), (np.zeros(2),))
    >>> params[0].round(4), result.success
    (array([3., 3.]), True)

    Source: Nocedal and Wright, Numerical optimization, 2nd edition, 2006, algorithm 7.1.
    """
    from scipy.optimize import minimize

    check_callable("product_at", product_at, "lambda *params: hessian_at(X, y, *params)")
    host = _on_host(value_and_grad, params, callback)
    options = {"maxiter": check_whole("max_iter", max_iter, 1), "xtol": check_number("tol", tol, 0.0, math.inf)}
    at: tuple[bytes, Callable[[Params], Params]] | None = None

    def times(vector: Any, direction: Any) -> Any:
        nonlocal at
        if at is None or at[0] != vector.tobytes():  # scipy asks for many products at one point
            at = vector.tobytes(), product_at(*host.apart(vector))
        products = _like_params("product_at(*params)", at[1](host.apart(direction)), host.params)
        return host.together(detached(*persisted(*products)))

    result = minimize(
        host.value_and_grad, host.start, method="Newton-CG", jac=True, hessp=times, options=options,
        callback=host.after_iteration,
    )  # fmt: skip
    return host.apart(result.x), result


class _OnHost(NamedTuple):
    """What scipy moves and calls.

    params: where to start from.
    start: the same as one vector.
    apart: a vector as parameters.
    together: parameters as a vector.
    value_and_grad: of a vector.
    after_iteration: calls the caller's callback.
    """

    params: Params
    start: Any
    apart: Callable[[Any], Params]
    together: Callable[[Params], Any]
    value_and_grad: Callable[[Any], tuple[float, Any]]
    after_iteration: Callable[..., None]


def _on_host(
    value_and_grad: Callable[..., tuple[Array, Params]],
    params: Params,
    callback: Callable[[Params, float], object] | None,
) -> _OnHost:
    """The arguments of a minimiser, checked, as scipy takes them."""
    import numpy as np  # for the vector on the host that scipy moves

    value_and_grad = check_callable("value_and_grad", value_and_grad, "lambda *params: loss_and_grads(X, y, *params)")
    params = _moved_by_scipy(params)
    if callback is not None:
        check_callable("callback", callback, "lambda params, value: print(value)")
    xp = namespace(*params)
    ends = np.cumsum([math.prod(p.shape) for p in params])[:-1]

    def apart(vector: Any) -> Params:
        parts = zip(np.split(vector, ends), params, strict=True)
        # copied, for scipy overwrites its vector
        return tuple(xp.asarray(part.reshape(p.shape).copy(), dtype=p.dtype, **device_kwargs(p)) for part, p in parts)

    def together(arrays: Params) -> Any:
        return np.concatenate([to_host(array).astype(np.float64).reshape(-1) for array in arrays])

    def on_host(vector: Any) -> tuple[float, Any]:
        value, grads = _as_a_pair(value_and_grad(*apart(vector)), params)
        value, *arrays = detached(*persisted(value, *grads))  # in one call: Dask would repeat the forward pass
        return float(value), together(tuple(arrays))

    def after_iteration(intermediate_result: Any) -> None:
        if callback is not None and is_true(callback(apart(intermediate_result.x), float(intermediate_result.fun))):
            raise StopIteration  # scipy ends the search here

    return _OnHost(params, together(params), apart, together, on_host, after_iteration)


def _moved_by_scipy(params: Params) -> Params:
    """``params`` as a tuple. Raise unless they are real floating: integers would cut off what a step adds."""
    params = _named_arrays("params", params)
    xp = namespace(*params)
    for position, array in enumerate(params):
        if not is_floating(xp, array.dtype):
            raise TypeError(f"{parameter_name(position)} must be floating, got {array.dtype}")
    return params


def _as_a_pair(answer: Any, params: Params) -> tuple[Array, Params]:
    """What ``value_and_grad`` returned. Raise unless it is a value and a gradient for each of ``params``."""
    what = f"value_and_grad must return a number and a tuple of {len(params)} gradients"
    if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], (tuple, list)):
        raise TypeError(f"{what}, got {described(answer)}")
    value, grads = answer
    if math.prod(getattr(value, "shape", ())) != 1:
        raise ValueError(f"{what}, got {described(value)} for the number")
    expected, found = ([tuple(getattr(each, "shape", ())) for each in arrays] for arrays in (params, grads))
    if expected != found:
        raise ValueError(f"{what} of shapes {expected}, got {found}")
    return value, tuple(grads)


def _like_params(what: str, products: Any, params: Params) -> Params:
    """``products`` as a tuple. Raise unless there is an array of its shape for each of ``params``."""
    must = f"what {what} returns must give a tuple of {len(params)} arrays"
    if not isinstance(products, (tuple, list)):
        raise TypeError(f"{must}, got {described(products)}")
    expected, found = ([tuple(getattr(each, "shape", ())) for each in arrays] for arrays in (params, products))
    if expected != found:
        raise ValueError(f"{must} of shapes {expected}, got {found}")
    return tuple(products)
