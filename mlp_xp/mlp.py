"""The multilayer perceptron: forward, backward, objective, training step, prediction.

Parameters are a flat tuple ``(W1, b1, W2, b2, ...)``; depth is half its length. Every function here is pure. The data's
way: ``X`` -> ``network``, which keeps a ``Layer`` for each affine map -> logits -> criterion -> loss. The way back:
``backpropagate`` reads the layers, the last one first.

Before: ``ops`` and ``losses``. Next: ``train`` repeats the step, ``gradcheck`` proves it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from numbers import Real
from operator import iadd
from typing import Any, NamedTuple, TypedDict, Unpack, cast

import numpy as np  # for the host's random numbers alone

from mlp_xp._lib.arguments import (
    check_all_or_none_batched,
    check_batch,
    check_device,
    check_library,
    check_number,
    check_params,
    check_seed,
    check_sizes,
    check_whole,
    described,
    one_of,
)
from mlp_xp._lib.memory import check_room
from mlp_xp._lib.namespace import (
    in_dtype,
    is_floating,
    is_integral,
    namespace,
    parameter_name,
    refuse_explicit_axes,
    transposed,
)
from mlp_xp._lib.typing import Array, Namespace, Op, Params, Pullback
from mlp_xp.criterion import check_width
from mlp_xp.dropout import dropout_mask
from mlp_xp.losses import Criterion, criterion_named, targets_and_weights
from mlp_xp.ops import Activation, ActivationOption, activations_of

# --- the network -------------------------------------------------------------------------------------------------


class Layer(NamedTuple):
    """An affine map ``x @ weight + bias``, as the way back reads it.

    x: its input, (n, p).
    weight: (p, q), through whose transpose gradients flow back.
    sum_rows: (n, q) -> (q,), which undoes the broadcast of the bias.
    pull: the pullback of the activation that gave x; None in the first layer, whose input is data.
    mask: of dropout on x, (n, p); None without dropout.
    """

    x: Array
    weight: Array
    sum_rows: Callable[[Array], Array]
    pull: Pullback | None = None
    mask: Array | None = None


def network(
    xp: Namespace,
    X: Array,
    params: Params,
    activations: Sequence[Activation],
    dropout: float = 0.0,
    seed: Any = None,
    first: Array | None = None,
    input_dropout: float = 0.0,
) -> tuple[Array, tuple[Layer, ...]]:
    """Logits (n, d_out) of ``X`` (n, d_in), and the layers, the first one first.

    Masks are those of rows that come after ``first`` others of their batch.
    """
    if input_dropout:  # what the first layer sees is data, which no gradient reaches: its mask is not kept
        X = X * dropout_mask(xp, (X.shape[0], X.shape[1]), input_dropout, seed, 0, X, first)
    ones = xp.ones_like(X[:, 0])

    def sum_rows(dz: Array) -> Array:
        return ones @ dz  # a product takes half the time of a sum

    layers = [Layer(X, params[0], sum_rows)]
    z = X @ params[0] + params[1][..., None, :]
    for number, activation in enumerate(activations, start=1):
        a, pull = activation.primitive(xp, z)
        del z  # no later line reads it: its memory is free before the next array is made, here and on the way back
        mask = None
        if dropout:
            mask = dropout_mask(xp, (a.shape[-2], a.shape[-1]), dropout, seed, number, X, first)
            a = a * mask
        weight, bias = params[2 * number], params[2 * number + 1]
        layers.append(Layer(a, weight, sum_rows, pull, mask))
        z = a @ weight + bias[..., None, :]
    return z, tuple(layers)


def walk_back(xp: Namespace, layers: Sequence[Layer], dz: Array) -> Iterator[tuple[Layer, Array]]:
    """Each layer, the last one first, with ``dz`` (n, q), the gradient of its output; it begins with the logits'."""
    for layer in reversed(layers):
        yield layer, dz
        if layer.pull is not None:  # the input of the first layer is data
            da = dz @ transposed(xp, layer.weight)
            del dz
            if layer.mask is not None:
                da = da * layer.mask
            (dz,) = layer.pull(da)
            del da


def backpropagate(xp: Namespace, layers: Sequence[Layer], dlogits: Array) -> Params:
    """``(dW1, db1, dW2, db2, ...)`` from ``dlogits`` (n, d_out), the gradient of the logits."""
    grads: Params = ()
    way = walk_back(xp, layers, dlogits)
    del dlogits
    for layer, dz in way:
        grads = (transposed(xp, layer.x) @ dz, layer.sum_rows(dz), *grads)
        del dz
    return grads


# --- options ----------------------------------------------------------------------------------------------------


class PredictOptions(TypedDict, total=False):
    """Options of the network itself.

    activation: a name, an op, or one per hidden layer. Default "sigmoid".
    criterion: "softmax_cross_entropy" (default), another name of ``losses.CRITERIA``, or a criterion op, such as
        ``losses.huber(2.0)``.
    """

    activation: ActivationOption
    criterion: str | Op


class _SharedOptions(PredictOptions, total=False):
    """Options of the objective that a step and a run take alike.

    label_smoothing: ``s`` in ``(1 - s) one_hot + s / k``, for softmax cross-entropy alone. Default 0.
    sample_weight: (n,), of the dtype of X; the loss is ``sum w_i l_i / sum w_i``. Default equal weights. For k networks
        also (k, n), a row for each.
    dropout: the share of hidden units dropped, inverted dropout. Default 0.
    input_dropout: the share of the entries of X that are dropped, in the same way. Default 0.
    """

    label_smoothing: float
    sample_weight: Array | None
    dropout: float
    input_dropout: float


class TrainOptions(_SharedOptions, total=False):
    """Options of the objective of a run.

    l2, l1: strength of the penalties ``l2/2 sum ||W||^2`` and ``l1 sum |W|`` on weights, not biases. Default 0. For k
        networks also k numbers.
    """

    l2: float | Sequence[float]
    l1: float | Sequence[float]


class Options(_SharedOptions, total=False):
    """What ``objective``, ``loss_and_grads`` and ``train_step`` take by keyword.

    l2, l1: strength of the penalties ``l2/2 sum ||W||^2`` and ``l1 sum |W|`` on weights, not biases. Default 0.
    seed: 0 ... 2^31 - 1, which units and inputs to drop; required with dropout of either.
    """

    l2: float
    l1: float
    seed: int | Array | None


class Terms(NamedTuple):
    """The options of an objective, looked up and checked once for all its evaluations.

    activations: of the hidden layers.
    criterion: the record.
    l2, l1: strengths of the penalties, (k,) where those of k networks differ; None for one that is not there.
    label_smoothing, dropout, input_dropout: as in ``Options``.
    trusted: whether targets and weights were looked at before, so that no evaluation needs to look again.
    """

    activations: list[Activation]
    criterion: Criterion
    l2: float | Array | None
    l1: float | Array | None
    label_smoothing: float
    dropout: float
    input_dropout: float
    trusted: bool = False


def terms_of(
    hidden: int,
    *,
    activation: ActivationOption = "sigmoid",
    criterion: str | Op = "softmax_cross_entropy",
    l2: float = 0.0,
    l1: float = 0.0,
    label_smoothing: float = 0.0,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    **unknown: object,
) -> Terms:
    """The terms of a network with so many hidden layers, from its options."""
    if unknown:
        raise TypeError(f"options are {one_of(Options.__annotations__, next(iter(unknown)))}")
    activations, record = activations_of(activation, hidden), criterion_named(criterion)
    smoothing = _check_smoothing(record, label_smoothing)
    dropout = check_number("dropout", dropout, 0.0, 1.0)
    input_dropout = check_number("input_dropout", input_dropout, 0.0, 1.0)
    l2, l1 = check_number("l2", l2, 0.0, math.inf), check_number("l1", l1, 0.0, math.inf)
    return Terms(activations, record, l2 or None, l1 or None, smoothing, dropout, input_dropout)


def _checked(xp: Namespace, X: Array, params: Params, seed: Any, options: dict[str, Any]) -> tuple[Terms, Any]:
    """The terms of a network on ``X``, and the seed, after all were checked."""
    check_batch(xp, X)
    check_params(params, like=X)
    terms = terms_of(len(params) // 2 - 1, **options)
    check_width(terms.criterion, params[-1].shape[-1])
    if (terms.dropout or terms.input_dropout) and seed is None:
        raise ValueError("dropout needs a seed: which units are dropped must be repeatable, got seed=None")
    return terms, None if seed is None else check_seed(xp, seed)


# --- the objective -----------------------------------------------------------------------------------------------


def _data_loss(
    xp: Namespace,
    criterion: Criterion,
    logits: Array,
    y: Array,
    weight: Array | None,
    smoothing: float,
    trusted: bool = False,
) -> tuple[Array, Pullback]:
    """The weighted mean of the criterion, 0-d or (k,), as an op of the logits."""
    targets, weights = targets_and_weights(xp, y, logits, weight, smoothing, criterion, trusted)
    labels = y.ndim == 1  # then each row of targets sums to 1, where the criterion is of classes
    loss = criterion.label_loss if labels and criterion.label_loss is not None else criterion.loss
    return loss(xp, logits, targets, weights)


def _check_smoothing(criterion: Criterion, smoothing: float) -> float:
    """``smoothing`` as a Python float. Raise if it is not a number, or not for this criterion."""
    smoothing = check_number("label_smoothing", smoothing, 0.0, 1.0)
    if smoothing and not criterion.smoothing:
        raise ValueError(f"label_smoothing belongs to softmax_cross_entropy alone, got {smoothing} elsewhere")
    return smoothing


def _check_together(X: Array, y: Array, weight: Array | None, params: Params = ()) -> None:
    """Raise for targets or weights of another library or device, and for arrays that JAX can't learn from."""
    if hasattr(X, "aval"):  # of JAX alone
        names = ("X", "y", "sample_weight", *map(parameter_name, range(len(params))))
        for name, array in zip(names, (X, y, weight, *params), strict=True):
            refuse_explicit_axes(name, array)
    check_device("y", y, X)
    if weight is not None:
        namespace(X, weight, names=("X", "sample_weight"))
        check_device("sample_weight", weight, X)


def penalty(xp: Namespace, params: Params, l2: float | Array | None, l1: float | Array | None = None) -> Array:
    """``l2/2 sum ||W||^2 + l1 sum |W|`` over the weights, 0-d or (k,); None stands for no penalty.

    Strengths of k networks may be (k,).
    """
    total = xp.zeros_like(params[0][..., 0, 0])
    for W in params[::2]:
        if l2 is not None:
            total = total + (0.5 * l2) * _sum_of_squares(xp, W)
        if l1 is not None:
            total = total + l1 * xp.sum(xp.abs(W), axis=(-2, -1))
    return total


def add_penalty_grads(
    xp: Namespace, params: Params, grads: Params, l2: float | Array | None, l1: float | Array | None = None
) -> Params:
    """``dW + l2 W + l1 sign(W)`` for each weight; the subgradient of ``|W|`` at 0 is 0. Strengths may be (k,)."""
    l2, l1 = _on_matrices(l2), _on_matrices(l1)

    def penalised(W: Array, dW: Array) -> Array:
        if l2 is not None:
            dW = dW + l2 * W
        if l1 is not None:
            # not ``sign``, whose wrapper waits for the device on CuPy; a NaN in W is a NaN in dW already
            dW = dW + l1 * (xp.astype(W > 0, W.dtype) - xp.astype(W < 0, W.dtype))
        return dW

    pairs = enumerate(zip(params, grads, strict=True))
    return tuple([grad if position % 2 else penalised(param, grad) for position, (param, grad) in pairs])


def _on_matrices(strength: Any) -> Any:
    """A strength, ready to multiply weights: (k,) as (k, 1, 1)."""
    if strength is None or isinstance(
        strength, float
    ):  # asked first: PyTorch's compiler knows no attribute of a number
        return strength
    return strength[..., None, None] if strength.ndim else strength


def _sum_of_squares(xp: Namespace, W: Array) -> Array:
    if W.ndim > 2:
        return xp.sum(W * W, axis=(-2, -1))
    flat = xp.reshape(W, (-1,))
    return flat @ flat  # without an array of squares


class Objective(NamedTuple):
    """The objective at some parameters, and no more than its way back reads.

    loss: of the data and the penalties, 0-d or (k,).
    pull_loss: pulls ``dloss``, a Python float or an array like the loss, back to the logits.
    layers: of the network.
    l2, l1: as in ``Terms``.
    """

    xp: Namespace
    params: Params
    loss: Array
    pull_loss: Callable[[Any], tuple[Array, ...]]
    layers: tuple[Layer, ...]
    l2: float | Array | None
    l1: float | Array | None


def objective_of(
    xp: Namespace,
    terms: Terms,
    params: Params,
    X: Array,
    y: Array,
    weight: Array | None,
    seed: Any,
    first: Array | None = None,
) -> Objective:
    """The objective at ``params``, of arrays that were checked: its value, and the record of its way back.

    ``first`` is as in ``network``. In a run the parameters may be wider than ``X``: the network then computes in the
    dtype of ``X``, and the criterion in theirs. A mean over the rows needs that, for ``1/n`` of a large batch is below
    the normal numbers of float16; and so does the logarithm of the sum of exponentials, of which a small loss is the
    difference. Logits are the smallest part of a step.
    """
    wide = params[0].dtype
    own = params if X.dtype == wide else _cast(xp, params, X.dtype)
    logits, layers = network(xp, X, own, terms.activations, terms.dropout, seed, first, terms.input_dropout)
    logits = in_dtype(xp, logits, wide)
    loss, pull_loss = _data_loss(xp, terms.criterion, logits, y, weight, terms.label_smoothing, terms.trusted)
    if terms.l2 is not None or terms.l1 is not None:
        loss = loss + penalty(xp, params, terms.l2, terms.l1)
    return Objective(xp, params, loss, pull_loss, layers, terms.l2, terms.l1)


def _cast(xp: Namespace, arrays: Sequence[Array], dtype: Any) -> Params:
    return tuple([xp.astype(array, dtype) for array in arrays])


def checked_arguments(
    X: Array, y: Array, params: Params, sample_weight: Array | None, seed: Any, options: dict[str, Any]
) -> tuple[Namespace, Terms, Any]:
    """The namespace, the terms and the seed of an objective, after all its arguments were checked."""
    xp = namespace(X, y, *params, names=("X", "y"))
    terms, seed = _checked(xp, X, params, seed, options)
    _check_together(X, y, sample_weight, params)
    return xp, terms, seed


def objective_at(
    X: Array,
    y: Array,
    params: Params,
    sample_weight: Array | None = None,
    seed: int | Array | None = None,
    **options: Any,
) -> Objective:
    """``objective_of``, after its arguments were checked."""
    xp, terms, seed = checked_arguments(X, y, params, sample_weight, seed, options)
    return objective_of(xp, terms, params, X, y, sample_weight, seed)


def pull_back(at: Objective, dloss: float | Array) -> Params:
    """``dloss`` times the gradient of the objective: (dW1, db1, dW2, db2, ...); 0-d, (k,), or a Python float."""
    if at.loss.ndim:
        check_all_or_none_batched(at.params)
    xp, own, wide = at.xp, at.layers[0].x.dtype, at.params[0].dtype
    if own == wide:
        grads = backpropagate(xp, at.layers, at.pull_loss(dloss)[0])
    else:  # a cast is an op, whose pullback casts back
        grads = _cast(xp, backpropagate(xp, at.layers, *_cast(xp, at.pull_loss(dloss), own)), wide)
    if at.l2 is None and at.l1 is None:
        return grads
    l2, l1 = (None if strength is None else dloss * strength for strength in (at.l2, at.l1))
    return add_penalty_grads(at.xp, at.params, grads, l2, l1)


# --- the textbook's functions ------------------------------------------------------------------------------------


class Cache(NamedTuple):
    """What ``backward`` needs from ``forward``. Opaque: it does not cross the boundary of a jit."""

    logits: Array
    layers: tuple[Layer, ...]
    criterion: Criterion
    params: Params


def init_params(
    sizes: Sequence[int],
    xp: Any = np,
    dtype: Any = None,
    device: Any = None,
    seed: int = 0,
    ensemble: int | None = None,
) -> Params:
    """``W ~ Uniform(-r, r)``, ``r = sqrt(6 / (d_in + d_out))``, and ``b = 0``: sizes -> (W1, b1, W2, b2, ...).

    The numbers come from ``numpy.random.Generator`` on the host: one seed gives the same network on every backend.

    Args:
        sizes: (d_in, d_h, ..., d_out), at least two positive ints.
        xp: the array library, as a module: ``numpy``, ``torch``, ``jax.numpy``, ...
        dtype: a real floating dtype of ``xp``; its default one when None.
        device: where the arrays live; the library's default when None.
        seed: of the generator, a whole number of at least 0.
        ensemble: how many networks, k; they have a leading axis together. Network i is that of ``seed + i``. None
            stands for one network, without that axis.

    Returns:
        The parameters, weights (d_in, d_out) and biases (d_out,) in turn, with an axis k before them for an ensemble.

    Raises:
        ValueError: for fewer than two sizes, or one that is not positive, a negative seed, fewer than one network.
        MemoryError: for a matrix that does not fit in what is free.
        TypeError: for an ``xp`` that is no array library, a dtype that is not one of its real floating ones, or a seed
            or an ensemble that is no whole number.

    >>> import mlp_xp as mx
    >>> [p.shape for p in mx.init_params((4, 8, 3), seed=0)]
    [(4, 8), (8,), (8, 3), (3,)]
    >>> [p.shape for p in mx.init_params((4, 8, 3), seed=0, ensemble=5)]
    [(5, 4, 8), (5, 8), (5, 8, 3), (5, 3)]

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    """
    sizes = check_sizes(sizes)
    xp, seed = check_library(xp), check_whole("seed", seed, 0)
    if dtype is None:
        dtype = xp.__array_namespace_info__().default_dtypes()["real floating"]
    elif not _is_floating(xp, dtype):
        raise TypeError(f"dtype must be a real floating dtype of xp, such as xp.float32, got {described(dtype)}")
    count = 1 if ensemble is None else check_whole("ensemble", ensemble, 1)
    largest = max(8 * count * d_in * d_out for d_in, d_out in pairwise(sizes))
    check_room(f"the largest matrix of {'-'.join(map(str, sizes[:8]))}", largest)  # before so many generators
    randoms = [np.random.default_rng(seed + number) for number in range(count)]
    params: list[Array] = []
    for d_in, d_out in pairwise(sizes):
        # it is drawn on the host, and may then be on a device: what is free is what those before it have left
        check_room(f"W{len(params) // 2 + 1} of shape {(d_in, d_out)}", 8 * count * d_in * d_out)
        r = (6.0 / (d_in + d_out)) ** 0.5
        weights, bias = [random.uniform(-r, r, (d_in, d_out)) for random in randoms], np.zeros((count, d_out))
        drawn = (weights[0], bias[0]) if ensemble is None else (np.stack(weights), bias)
        params += [xp.asarray(array, dtype=dtype, device=device) for array in drawn]
    return tuple(params)


def _is_floating(xp: Namespace, dtype: Any) -> bool:
    """Whether ``dtype`` is one of the real floating dtypes of ``xp``, whatever it is."""
    if isinstance(dtype, str | Real):  # a number of NumPy's has a dtype, which JAX would take
        return False
    try:
        return is_floating(xp, dtype)
    except (AttributeError, TypeError, ValueError):  # how libraries refuse what is no dtype of theirs
        return False


def forward(
    X: Array,
    *params: Array,
    activation: ActivationOption = "sigmoid",
    criterion: str | Op = "softmax_cross_entropy",
    dropout: float = 0.0,
    seed: int | Array | None = None,
    input_dropout: float = 0.0,
) -> tuple[Array, Cache]:
    """``p = softmax(act(X @ W1 + b1) @ W2 + b2)``: (n, d_in), W1, b1, W2, b2, ... -> (n, d_out), and the cache.

    Args:
        X: a batch (n, d_in), real floating.
        params: weights (d_in, d_out) and biases (d_out,) in turn, any number of layers, in the dtype of ``X``.
        activation: a name, an op, or one per hidden layer.
        criterion: decides what the outputs are: softmax, elementwise sigmoid or exp, or the logits themselves; for
            several outputs of each target see ``losses.quantile`` and ``losses.gaussian``.
        dropout: the share of hidden units dropped, at least 0 and below 1.
        seed: which units and inputs are dropped, 0 to 2^31 - 1; required with dropout of either.
        input_dropout: the share of the entries of ``X`` that are dropped, at least 0 and below 1.

    Returns:
        The outputs (n, d_out), and what ``backward`` needs.

    Raises:
        ValueError: for shapes that do not fit, an unknown name, dropout without a seed.
        TypeError: for dtypes or libraries that differ.

    >>> import numpy as np, mlp_xp as mx
    >>> params = mx.init_params((4, 8, 3))
    >>> p, cache = mx.forward(np.ones((2, 4)), *params)
    >>> p.shape, p.sum(axis=1).round(12).tolist()
    ((2, 3), [1.0, 1.0])
    """
    xp = namespace(X, *params, names=("X",))
    options = {"activation": activation, "criterion": criterion, "dropout": dropout, "input_dropout": input_dropout}
    terms, seed = _checked(xp, X, params, seed, options)
    logits, layers = network(xp, X, params, terms.activations, terms.dropout, seed, None, terms.input_dropout)
    outputs = terms.criterion.outputs(xp, logits, params[-1].shape[-1])
    return outputs, Cache(logits, layers, terms.criterion, params)


def backward(
    cache: Cache, y: Array, *, sample_weight: Array | None = None, label_smoothing: float = 0.0
) -> tuple[Array, ...]:
    """``(dW1, db1, dW2, db2, ...)`` of the mean loss; for softmax it starts from ``(p - one_hot(y)) / n``.

    Args:
        cache: from ``forward``, which chose the criterion.
        y: integer labels (n,), or floating targets (n, d_out).
        sample_weight: (n,), as in ``objective``.
        label_smoothing: as in ``objective``.

    Returns:
        One gradient per parameter, in its shape and dtype.

    Raises:
        ValueError: for targets or weights that do not fit.
        TypeError: for dtypes or libraries that differ, and for anything but a cache.

    >>> import numpy as np, mlp_xp as mx
    >>> p, cache = mx.forward(np.ones((2, 4)), *mx.init_params((4, 8, 3)))
    >>> [gradient.shape for gradient in mx.backward(cache, np.asarray([0, 2]))]
    [(4, 8), (8,), (8, 3), (3,)]
    """
    if not isinstance(cache, Cache):
        raise TypeError(f"cache must be what forward returns, p, cache = forward(X, *params), got {described(cache)}")
    xp = namespace(cache.logits, y, names=("the cache", "y"))
    label_smoothing = _check_smoothing(cache.criterion, label_smoothing)
    _check_together(cache.logits, y, sample_weight)
    loss, pull_loss = _data_loss(xp, cache.criterion, cache.logits, y, sample_weight, label_smoothing)
    if loss.ndim:
        check_all_or_none_batched(cache.params)
    return backpropagate(xp, cache.layers, cast(Any, pull_loss)(1.0)[0])


# --- training ----------------------------------------------------------------------------------------------------


def objective(X: Array, y: Array, *params: Array, **options: Unpack[Options]) -> Array:
    """``sum_i w_i l_i / sum_i w_i + l2/2 sum ||W||^2 + l1 sum |W|``, from the logits, exact at any magnitude -> 0-d.

    Parameters may have a leading axis, weights (k, d_in, d_out) and biases (k, d_out), in any mix: then k networks are
    evaluated on the same batch and the result is (k,).

    Args:
        X: a batch (n, d_in), real floating.
        y: integer labels (n,), or floating targets (n, d_out) of the dtype of X.
        params: W1, b1, W2, b2, ...
        options: see ``Options``.

    Returns:
        The objective, 0-d or (k,).

    Raises:
        ValueError: for shapes that do not fit, options out of range, and on NumPy for labels, targets or weights out of
            range, for which the result is NaN elsewhere.
        TypeError: for dtypes or libraries that differ, or an unknown option.

    >>> import numpy as np, mlp_xp as mx
    >>> X, y = np.zeros((2, 4)), np.asarray([0, 2])
    >>> round(float(mx.objective(X, y, *mx.init_params((4, 3)))), 6)  # log 3: nothing is known yet
    1.098612
    """
    return objective_at(X, y, params, **options).loss


def loss_and_grads(X: Array, y: Array, *params: Array, **options: Unpack[Options]) -> tuple[Array, Params]:
    """``(objective, its gradient)``: arguments as in ``objective`` -> 0-d, (dW1, db1, dW2, db2, ...).

    Args:
        X: a batch (n, d_in), real floating.
        y: integer labels (n,), or floating targets (n, d_out) of the dtype of X.
        params: W1, b1, W2, b2, ...; all with a leading axis, or none.
        options: see ``Options``.

    Returns:
        The objective, 0-d or (k,), and one gradient per parameter, in its shape and dtype.

    Raises:
        ValueError, TypeError: as in ``objective``.

    >>> import numpy as np, mlp_xp as mx
    >>> loss, (dW, db) = mx.loss_and_grads(np.zeros((2, 4)), np.asarray([0, 2]), *mx.init_params((4, 3)))
    >>> db.round(6).tolist()  # p - one_hot(y), averaged
    [-0.166667, 0.333333, -0.166667]
    """
    at = objective_at(X, y, params, **options)
    return at.loss, pull_back(at, 1.0)


def train_step(
    X: Array, y: Array, *params: Array, lr: float | Array = 0.1, **options: Unpack[Options]
) -> tuple[Array, Params]:
    """``parameter - lr * gradient`` for each: arguments as in ``objective`` -> the loss before, new parameters.

    Args:
        X: a batch (n, d_in), real floating.
        y: integer labels (n,), or floating targets (n, d_out) of the dtype of X.
        params: W1, b1, W2, b2, ...; all with a leading axis, or none. They are not changed.
        lr: the learning rate, a number, or a 0-d array, so that a schedule does not recompile a jitted step. For k
            networks also an array (k,), a rate for each.
        options: see ``Options``.

    Returns:
        The objective before the step, 0-d or (k,), and the new parameters.

    Raises:
        ValueError, TypeError: as in ``objective``, and for a learning rate that is negative or not finite.

    >>> import numpy as np, mlp_xp as mx
    >>> X, y = np.eye(3), np.arange(3)
    >>> loss, params = mx.train_step(X, y, *mx.init_params((3, 4, 3)), lr=0.5)
    >>> bool(mx.objective(X, y, *params) < loss)
    True
    """
    at = objective_at(X, y, params, **options)
    minus_lr: float | Array
    if isinstance(lr, (float, Real)) or not hasattr(lr, "shape"):  # NumPy's scalars are Real: checked as numbers
        minus_lr = -check_number("lr", lr, 0.0, math.inf)
    else:
        rate = _checked_rate(at.xp, X, lr, at.loss.shape)
        minus_lr = -at.xp.astype(rate, X.dtype)
    # the pullback is linear: scaling what goes in costs one number, scaling what comes out a pass over every weight
    changes = pull_back(at, minus_lr)
    # the changes are new arrays, which nobody else holds: where arrays can be written, the sums take their memory
    return at.loss, tuple(map(iadd, changes, params))


def _checked_rate(xp: Namespace, X: Array, lr: Array, networks: tuple[int, ...]) -> Array:
    """``lr``. Raise unless it is an array of numbers, 0-d or, for k networks, (k,)."""
    must = f"lr must be a number, or a 0-d array of one{f', or an array of shape {networks}' if networks else ''}"
    if lr.shape not in ((), networks):
        raise TypeError(f"{must}, got {described(lr)}")
    namespace(X, lr, names=("X", "lr"))
    if not (is_floating(xp, lr.dtype) or is_integral(xp, lr.dtype)):
        raise TypeError(f"{must}, got dtype {lr.dtype}")
    return lr


# --- prediction --------------------------------------------------------------------------------------------------


def predict_proba(
    X: Array, *params: Array, activation: ActivationOption = "sigmoid", criterion: str | Op = "softmax_cross_entropy"
) -> Array:
    """Probabilities (n, d_out): the softmax of the logits, or their elementwise sigmoid.

    Args:
        X: a batch (n, d_in), real floating.
        params: W1, b1, W2, b2, ...
        activation: a name, an op, or one per hidden layer.
        criterion: a cross-entropy.

    Returns:
        The probabilities, (n, d_out).

    Raises:
        ValueError: for other criteria, whose outputs are not probabilities.

    >>> import numpy as np, mlp_xp as mx
    >>> mx.predict_proba(np.zeros((1, 4)), *mx.init_params((4, 2))).tolist()
    [[0.5, 0.5]]
    """
    if not criterion_named(criterion).probabilities:
        raise ValueError(f"predict_proba needs a criterion with probabilities, a cross-entropy, got {criterion!r}")
    return forward(X, *params, activation=activation, criterion=criterion)[0]


def predict(
    X: Array, *params: Array, activation: ActivationOption = "sigmoid", criterion: str | Op = "softmax_cross_entropy"
) -> Array:
    """The decision for each row: (n, d_in) -> (n,) or (n, d_out).

    Args:
        X: a batch (n, d_in), real floating.
        params: W1, b1, W2, b2, ...
        activation: a name, an op, or one per hidden layer.
        criterion: decides what is returned.

    Returns:
        For softmax the most probable class, ints (n,). For sigmoid 0 or 1 for each output, ints (n, d_out), (n,) when
        d_out is 1. For other criteria the outputs (n, d_out); where these are several for each target, the mean or the
        quantile nearest to the median, (n, targets).

    Raises:
        ValueError, TypeError: as in ``forward``.

    >>> import numpy as np, mlp_xp as mx
    >>> W, b = np.eye(3), np.zeros(3)
    >>> mx.predict(np.asarray([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]]), W, b).tolist()
    [1, 0]
    """
    xp = namespace(X, *params, names=("X",))
    terms, _ = _checked(xp, X, params, None, {"activation": activation, "criterion": criterion})
    logits, _ = network(xp, X, params, terms.activations)
    return terms.criterion.decision(xp, logits, params[-1].shape[-1])
