"""The multilayer perceptron: forward, backward, objective, training step, prediction. Loops over ``ops``.

Parameters are a flat tuple ``(W1, b1, W2, b2, ...)``; depth is half its length. Everything here is a pure
function. The data's way: ``X`` -> ``_network`` (affine, activation, dropout, affine, ...) -> logits -> criterion ->
loss, and back along the pullbacks.

Before: ``ops`` and ``losses``. Next: ``train`` repeats the step, ``gradcheck`` proves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any, NamedTuple, TypedDict, Unpack, cast

import numpy as np  # for the host's random numbers alone

from mlp_xp._lib.arguments import (
    Activation,
    activation_rules,
    check_all_or_none_batched,
    check_batch,
    check_device,
    check_number,
    check_params,
    check_seed,
    check_sizes,
    one_of,
    rule_named,
)
from mlp_xp._lib.namespace import is_floating, namespace, scalar_like
from mlp_xp._lib.typing import Array, Namespace, Op, Params, Pullback
from mlp_xp.dropout import dropout_mask
from mlp_xp.losses import CRITERIA, sigmoid, softmax, targets_and_weights
from mlp_xp.ops import Rule, affine_rule, constant_input_affine_rule


class PredictOptions(TypedDict, total=False):
    """What belongs to the network itself.

    activation: a name, an op, or one per hidden layer. Default "sigmoid".
    criterion: "softmax_cross_entropy" (default), "sigmoid_cross_entropy", "squared_error", "poisson", or a criterion
        op.
    """

    activation: Activation
    criterion: str | Op


class TrainOptions(PredictOptions, total=False):
    """What belongs to learning, besides.

    l2, l1: strength of the penalties ``l2/2 sum ||W||^2`` and ``l1 sum |W|`` on weights, not biases. Default 0.
    label_smoothing: ``s`` in ``(1 - s) one_hot + s / k``, for softmax cross-entropy alone. Default 0.
    sample_weight: (n,), of the dtype of X; the loss is ``sum w_i l_i / sum w_i``. Default equal weights.
    dropout: the share of hidden units dropped, inverted dropout. Default 0.
    """

    l2: float
    l1: float
    label_smoothing: float
    sample_weight: Array | None
    dropout: float


class Options(TrainOptions, total=False):
    """What ``objective``, ``loss_and_grads`` and ``train_step`` take by keyword: all of these, and the seed of a step.

    seed: 0 ... 2^31 - 1, which units to drop; required with dropout.
    """

    seed: int | Array | None


class Cache(NamedTuple):
    """What ``backward`` needs of ``forward``. Opaque: it does not cross the boundary of a jit."""

    logits: Array
    pullback: Pullback
    criterion: Rule
    params: Params


# --- the network -------------------------------------------------------------------------------------------------


def _network(
    xp: Namespace, X: Array, params: Params, activations: Sequence[Rule], dropout: float, seed: Any
) -> tuple[Array, Pullback]:
    """Logits (n, d_out), and the pullback from their cotangent to those of the parameters."""
    # X is constant: the first layer is an op of (W1, b1) alone, and the input gradient is never formed
    ones = xp.ones_like(X[:, 0])
    z, pull_first = constant_input_affine_rule(xp, X, params[0], params[1], ones)
    pulls: list[tuple[Pullback, Array | None, Pullback]] = []
    for layer, activation in enumerate(activations, start=1):
        a, pull_activation = activation(xp, z)
        mask = None
        if dropout:
            mask = dropout_mask(xp, (a.shape[-2], a.shape[-1]), dropout, seed, layer, X)
            a = a * mask
        z, pull_affine = affine_rule(xp, a, params[2 * layer], params[2 * layer + 1], ones)
        pulls.append((pull_activation, mask, pull_affine))

    def pullback(dz: Array) -> tuple[Array, ...]:
        grads: tuple[Array, ...] = ()
        for pull_activation, mask, pull_affine in reversed(pulls):
            da, dW, db = pull_affine(dz)
            grads = (dW, db, *grads)
            if mask is not None:
                da = da * mask
            (dz,) = pull_activation(da)
        return (*pull_first(dz), *grads)

    return z, pullback


def _logits(
    xp: Namespace, X: Array, params: Params, activation: Activation, dropout: float = 0.0, seed: Any = None
) -> tuple[Array, Pullback]:
    """``_network`` after its arguments were checked."""
    check_batch(xp, X)
    check_params(params, like=X)
    if dropout != 0.0:
        check_number("dropout", dropout, 0.0, 1.0)
        if seed is None:
            raise ValueError("dropout needs a seed: which units are dropped must be repeatable, got seed=None")
    if seed is not None:
        seed = check_seed(xp, seed)
    return _network(xp, X, params, activation_rules(activation, len(params) // 2 - 1), dropout, seed)


def _penalties(xp: Namespace, params: Params, l2: float, l1: float) -> tuple[Array, Callable[[Params, Array], Params]]:
    """``l2/2 sum ||W||^2 + l1 sum |W|`` over the weights, and a function that adds its gradients to others.

    The subgradient of ``|W|`` at 0 is 0.
    """
    value = xp.zeros_like(params[0][..., 0, 0])
    for W in params[::2]:
        if l2:
            value = value + 0.5 * l2 * xp.sum(W * W, axis=(-2, -1))
        if l1:
            value = value + l1 * xp.sum(xp.abs(W), axis=(-2, -1))

    def add_to(grads: Params, dloss: Array) -> Params:
        scale = dloss[..., None, None]

        def penalised(grad: Array, W: Array) -> Array:
            if l2:
                grad = grad + (scale * l2) * W
            if l1:
                grad = grad + (scale * l1) * xp.sign(W)
            return grad

        return tuple(
            grad if position % 2 else penalised(grad, parameter)
            for position, (grad, parameter) in enumerate(zip(grads, params, strict=True))
        )

    return value, add_to


def _objective(
    X: Array,
    y: Array,
    params: Params,
    *,
    activation: Activation = "sigmoid",
    criterion: str | Op = "softmax_cross_entropy",
    l2: float = 0.0,
    l1: float = 0.0,
    label_smoothing: float = 0.0,
    sample_weight: Array | None = None,
    dropout: float = 0.0,
    seed: int | Array | None = None,
    **unknown: object,
) -> tuple[Namespace, Array, Pullback]:
    """The whole objective as one op of the parameters: its namespace, its value (0-d or (k,)), its pullback."""
    if unknown:
        raise TypeError(f"options are {one_of(Options.__annotations__, next(iter(unknown)))}")
    xp = namespace(X, y, *params, names=("X", "y"))
    logits, pull_params = _logits(xp, X, params, activation, dropout, seed)
    loss, pull_logits = _data_loss(
        xp, rule_named("criterion", CRITERIA, criterion), logits, y, sample_weight, label_smoothing
    )
    if l2 == 0.0 and l1 == 0.0:
        return xp, loss, lambda dloss: pull_params(*pull_logits(dloss))

    check_number("l2", l2, 0.0, float("inf"))
    check_number("l1", l1, 0.0, float("inf"))
    penalty, add_penalty_grads = _penalties(xp, params, l2, l1)

    def pullback(dloss: Array) -> tuple[Array, ...]:
        return add_penalty_grads(pull_params(*pull_logits(dloss)), dloss)

    return xp, loss + penalty, pullback


def _data_loss(
    xp: Namespace, criterion: Rule, logits: Array, y: Array, sample_weight: Array | None, label_smoothing: float
) -> tuple[Array, Pullback]:
    """The weighted mean of the criterion, 0-d or (k,), as an op of the logits."""
    softmax_criterion = criterion is CRITERIA["softmax_cross_entropy"]
    if label_smoothing:
        check_number("label_smoothing", label_smoothing, 0.0, 1.0)
        if not softmax_criterion:
            raise ValueError(f"label_smoothing belongs to softmax_cross_entropy alone, got {label_smoothing} elsewhere")
    check_device("y", y, logits)
    if sample_weight is not None:
        namespace(logits, sample_weight, names=("X", "sample_weight"))
        check_device("sample_weight", sample_weight, logits)
    targets, weights = targets_and_weights(xp, y, logits, sample_weight, label_smoothing)
    if softmax_criterion and y.ndim == 1 and logits.shape[-1] > 1:  # labels: each row of targets sums to 1
        return criterion(xp, logits, targets, weights, 1.0)
    return criterion(xp, logits, targets, weights)


# --- the textbook's functions ------------------------------------------------------------------------------------


def init_params(sizes: Sequence[int], xp: Any = np, dtype: Any = None, device: Any = None, seed: int = 0) -> Params:
    """``W ~ Uniform(-r, r)``, ``r = sqrt(6 / (d_in + d_out))``, and ``b = 0``: sizes -> (W1, b1, W2, b2, ...).

    The numbers come from ``numpy.random.Generator`` on the host: one seed, the same network on every backend.

    Args:
        sizes: (d_in, d_h, ..., d_out), at least two positive ints.
        xp: the array library, as a module: ``numpy``, ``torch``, ``jax.numpy``, ...
        dtype: a real floating dtype of ``xp``; its default one when None.
        device: where the arrays live; the library's default when None.
        seed: of the generator.

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    """
    sizes = check_sizes(sizes)
    if not hasattr(xp, "empty"):
        raise TypeError(f"xp must be an array library, a module such as numpy, got {xp!r}")
    if isinstance(dtype, str):
        raise TypeError(f"dtype must be a dtype of xp, such as xp.float32, got {dtype!r}")
    xp = namespace(xp.empty(0))  # the standard's namespace of this library
    if dtype is None:
        dtype = xp.__array_namespace_info__().default_dtypes()["real floating"]
    elif not is_floating(xp, dtype):
        raise TypeError(f"dtype must be a real floating dtype, got {dtype}")
    random = np.random.default_rng(seed)
    params: list[Array] = []
    for d_in, d_out in pairwise(sizes):
        r = (6.0 / (d_in + d_out)) ** 0.5
        params.append(xp.asarray(random.uniform(-r, r, (d_in, d_out)), dtype=dtype, device=device))
        params.append(xp.asarray(np.zeros(d_out), dtype=dtype, device=device))
    return tuple(params)


def forward(
    X: Array,
    *params: Array,
    activation: Activation = "sigmoid",
    criterion: str | Op = "softmax_cross_entropy",
    dropout: float = 0.0,
    seed: int | Array | None = None,
) -> tuple[Array, Cache]:
    """``p = softmax(act(X @ W1 + b1) @ W2 + b2)``: (n, d_in), W1, b1, W2, b2, ... -> (n, d_out), and the cache.

    Args:
        X: a batch (n, d_in).
        params: weights (d_in, d_out) and biases (d_out,) in turn, any number of layers.
        activation: a name, an op, or one per hidden layer.
        criterion: decides what the outputs are: softmax, elementwise sigmoid or exp, or the logits themselves.
        dropout, seed: the share of hidden units dropped, and which.

    Returns:
        The outputs, and what ``backward`` needs.

    Raises:
        ValueError, TypeError: one sentence naming the argument, what was expected and what came.
    """
    xp = namespace(X, *params, names=("X",))
    rule = rule_named("criterion", CRITERIA, criterion)
    logits, pullback = _logits(xp, X, params, activation, dropout, seed)
    return _outputs(logits, rule), Cache(logits, pullback, rule, params)


def backward(
    cache: Cache, y: Array, *, sample_weight: Array | None = None, label_smoothing: float = 0.0
) -> tuple[Array, ...]:
    """``(dW1, db1, dW2, db2, ...)`` of the mean loss; for softmax it starts from ``(p - one_hot(y)) / n``.

    Args:
        cache: from ``forward``, which chose the criterion.
        y: integer labels (n,), or floating targets (n, d_out).
        sample_weight, label_smoothing: as in ``objective``.
    """
    xp = namespace(cache.logits, y, names=("the cache", "y"))
    loss, pull_logits = _data_loss(xp, cache.criterion, cache.logits, y, sample_weight, label_smoothing)
    if loss.ndim:
        check_all_or_none_batched(cache.params)
    return cache.pullback(*pull_logits(xp.ones_like(loss)))


# --- training ----------------------------------------------------------------------------------------------------


def objective(X: Array, y: Array, *params: Array, **options: Unpack[Options]) -> Array:
    """``sum_i w_i l_i / sum_i w_i + l2/2 sum ||W||^2 + l1 sum |W|``, from the logits, exact at any magnitude -> 0-d.

    Parameters may have a leading axis, weights (k, d_in, d_out) and biases (k, d_out), in any mix: then k networks are
    evaluated on the same batch and the result is (k,).

    Args:
        X: a batch (n, d_in).
        y: integer labels (n,), or floating targets (n, d_out) of the dtype of X.
        params: W1, b1, W2, b2, ...
        options: see ``Options``.
    """
    return _objective(X, y, params, **options)[1]


def loss_and_grads(X: Array, y: Array, *params: Array, **options: Unpack[Options]) -> tuple[Array, Params]:
    """``(objective, its gradient)``: arguments as in ``objective`` -> 0-d, (dW1, db1, dW2, db2, ...)."""
    xp, loss, pullback = _objective(X, y, params, **options)
    if loss.ndim:
        check_all_or_none_batched(params)
    return loss, pullback(xp.ones_like(loss))


def train_step(
    X: Array, y: Array, *params: Array, lr: float | Array = 0.1, **options: Unpack[Options]
) -> tuple[Array, Params]:
    """``parameter - lr * gradient`` for each: arguments as in ``objective`` -> the loss before, new parameters.

    ``lr`` may be a 0-d array, so that a schedule does not recompile a jitted step.
    """
    xp, loss, pullback = _objective(X, y, params, **options)
    if loss.ndim:
        check_all_or_none_batched(params)
    if (
        not isinstance(lr, Real) and getattr(lr, "shape", None) == ()
    ):  # NumPy's scalars are Real, and checked as numbers
        namespace(X, lr, names=("X", "lr"))
        minus_lr = -xp.astype(cast(Array, lr), X.dtype)
    else:
        check_number("lr", lr, 0.0, float("inf"))
        minus_lr = scalar_like(xp, -float(lr), X)
    # the pullback is linear: scaling what goes in costs one number, scaling what comes out a pass over every weight
    return loss, tuple([parameter + change for parameter, change in zip(params, pullback(minus_lr), strict=True)])


# --- prediction --------------------------------------------------------------------------------------------------


def _outputs(logits: Array, criterion: Rule) -> Array:
    if criterion is CRITERIA["softmax_cross_entropy"]:
        return softmax(logits)
    if criterion is CRITERIA["sigmoid_cross_entropy"]:
        return sigmoid(logits)
    if criterion is CRITERIA["poisson"]:
        return namespace(logits).exp(logits)
    return logits


def predict_proba(
    X: Array, *params: Array, activation: Activation = "sigmoid", criterion: str | Op = "softmax_cross_entropy"
) -> Array:
    """Probabilities (n, d_out): the softmax of the logits, or their elementwise sigmoid.

    Raises ``ValueError`` for squared error and for a criterion op, whose outputs are not probabilities.
    """
    rule = rule_named("criterion", CRITERIA, criterion)
    if rule not in (CRITERIA["softmax_cross_entropy"], CRITERIA["sigmoid_cross_entropy"]):
        raise ValueError(f"predict_proba needs a criterion with probabilities, a cross-entropy, got {criterion!r}")
    return forward(X, *params, activation=activation, criterion=criterion)[0]


def predict(
    X: Array, *params: Array, activation: Activation = "sigmoid", criterion: str | Op = "softmax_cross_entropy"
) -> Array:
    """What the network says of each row.

    softmax: the most probable class, ints (n,). sigmoid: 0 or 1 for each output, ints (n, d_out), (n,) when d_out is 1.
    squared error, Poisson, or a criterion op: the outputs (n, d_out), which Poisson's are rates.
    """
    xp = namespace(X, *params, names=("X",))
    rule = rule_named("criterion", CRITERIA, criterion)
    return said(_logits(xp, X, params, activation)[0], rule, params[-1].shape[-1])


def said(logits: Array, criterion: Rule, d_out: int) -> Array:
    """What ``predict`` says of each row, from its logits (n, d_out)."""
    xp = namespace(logits)
    if criterion is CRITERIA["softmax_cross_entropy"]:
        return xp.argmax(logits, axis=-1)
    if criterion is CRITERIA["sigmoid_cross_entropy"]:
        labels = xp.astype(logits > 0, xp.__array_namespace_info__().default_dtypes()["indexing"])
        return labels[..., 0] if d_out == 1 else labels
    return _outputs(logits, criterion)
