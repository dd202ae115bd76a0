"""Second derivatives of the objective by hand: its Hessian and its Gauss-Newton matrix, times a vector.

Neither matrix is formed. A product takes one pass forward and one back, a few times the cost of a gradient. Both passes
carry derivatives along a line: ``Rv`` is the derivative of ``v`` by t at parameters ``(W1 + t V1, b1 + t c1, ...)``.

Before: ``mlp``, whose layer records the passes read. Next: ``per_example``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Unpack, cast

from mlp_xp._lib.arguments import check_all_or_none_batched, check_device, check_parameters, described
from mlp_xp._lib.namespace import namespace, parameter_name, transposed
from mlp_xp._lib.typing import Array, Namespace, Params, Pullback
from mlp_xp.losses import Criterion, targets_and_weights
from mlp_xp.mlp import Layer, Options, add_penalty_grads, backpropagate, checked_arguments, network
from mlp_xp.ops import Activation

# --- where the passes start --------------------------------------------------------------------------------------


class Point(NamedTuple):
    """The objective at some parameters, as products with its second derivatives read it.

    A hidden layer is ``x = m act(z)``, m the mask of dropout or 1. It is elementwise, and so are its derivatives.

    layers: of the network.
    slopes: ``m act'(z)`` of each hidden layer, (n, d_h).
    bends: ``m act''(z) (dz @ W.T)`` of each hidden layer, W and dz those of the layer after it, (n, d_h).
    gradients: ``dz``, the gradient of the output of each affine map, (n, q), the first one first.
    bend_loss: multiplies a change of the logits by the second derivative of the loss.
    l2: strength of the penalty, or None.

    Without second derivatives of the activations, as for the Gauss-Newton matrix, bends and gradients are empty.
    """

    xp: Namespace
    layers: tuple[Layer, ...]
    slopes: Sequence[Array]
    bends: Sequence[Array]
    gradients: Sequence[Array]
    bend_loss: Callable[[Array], Array]
    l2: float | Array | None


def point_at(
    X: Array,
    y: Array,
    params: Params,
    *,
    gauss_newton: bool = False,
    sample_weight: Array | None = None,
    seed: int | Array | None = None,
    **options: Any,
) -> Point:
    """The ``Point`` at ``params``, after all arguments were checked: what all products there share."""
    xp, terms, seed = checked_arguments(X, y, params, sample_weight, seed, options)
    check_all_or_none_batched(params)
    activations, criterion = terms.activations, terms.criterion
    _refuse_without_curvature([*activations, criterion])
    zs: list[Array] = []
    noting = [_noting(zs, each) for each in activations]
    logits, layers = network(xp, X, params, noting, terms.dropout, seed, None, terms.input_dropout)
    targets, weights = targets_and_weights(xp, y, logits, sample_weight, terms.label_smoothing, criterion)
    slopes = [_masked(layer, cast(Pullback, layer.pull)(xp.ones_like(layer.x))[0]) for layer in layers[1:]]
    bend_loss = _bend_loss(criterion, cast(Any, criterion.curvature)(xp, logits, targets, weights))
    at = Point(xp, layers, slopes, (), (), bend_loss, terms.l2)
    if gauss_newton:
        return at
    loss, pull_loss = criterion.loss(xp, logits, targets, weights)
    (dz,) = pull_loss(xp.ones_like(loss))
    bends, gradients = [], [dz]
    for activation, z, layer, slope in reversed(list(zip(activations, zs, layers[1:], slopes, strict=True))):
        da = dz @ transposed(xp, layer.weight)
        bends.append(_masked(layer, _second(xp, activation, z)) * da)
        dz = slope * da
        gradients.append(dz)
    return at._replace(bends=bends[::-1], gradients=gradients[::-1])


def _noting(zs: list[Array], activation: Activation) -> Activation:
    """The same activation, which adds its argument to ``zs``: the layers keep what it gave, not what it took."""

    def primitive(xp: Namespace, z: Array) -> tuple[Array, Pullback]:
        zs.append(z)
        return activation.primitive(xp, z)

    return Activation(activation.name, primitive)


def _masked(layer: Layer, array: Array) -> Array:
    return array if layer.mask is None else array * layer.mask


def _second(xp: Namespace, activation: Activation, z: Array) -> Array:
    """``act''(z)``. Raise unless a caller's own has the shape of z."""
    second = cast(Any, activation.curvature)(xp, z)
    if getattr(second, "shape", None) != z.shape:
        must = f"must be an array of the shape of z, {tuple(z.shape)}"
        raise ValueError(f"the curvature of activation {activation.name} {must}, got {described(second)}")
    return second  # type: ignore[no-any-return]


def _bend_loss(criterion: Criterion, product: object) -> Callable[[Array], Array]:
    """``dz -> H dz``. Raise unless a caller's own is a function that keeps the shape of dz."""
    what = f"the curvature of criterion {criterion.name} must return a function dz -> H dz"
    if not callable(product):
        raise TypeError(f"{what}, got {described(product)}")

    def checked(dz: Array) -> Array:
        bent = product(dz)
        if getattr(bent, "shape", None) != dz.shape:
            raise ValueError(f"{what} that keeps the shape of dz, {tuple(dz.shape)}, got {described(bent)}")
        return bent  # type: ignore[no-any-return]

    return checked


def _refuse_without_curvature(records: Sequence[Activation | Criterion]) -> None:
    """Raise for the first activation or criterion whose second derivative nobody gave."""
    for record in records:
        if record.curvature is None:
            activation = isinstance(record, Activation)
            kind, argument = ("activation", "z") if activation else ("criterion", "logits, targets, weights")
            returns = "of the second derivative, in the shape of z" if activation else "that returns dz -> H dz"
            how = f"give the op an attribute curvature, a function ({argument}) {returns}"
            raise ValueError(f"{kind} {record.name} has no second derivative here: {how}")


def _checked_vectors(params: Params, given: Any) -> Params:
    """``given``, the vectors, as a tuple. Raise unless there is one like each of ``params``."""
    vectors: Params = check_parameters("vectors", given)
    parameter_names = [parameter_name(position) for position in range(len(params))]
    namespace(*params, names=parameter_names)
    if len(vectors) != len(params):
        raise ValueError(f"vectors must be {len(params)} arrays, one like each parameter, got {len(vectors)}")
    names = [f"the vector of {which}" for which in parameter_names]
    namespace(params[0], *vectors, names=["W1", *names])
    for which, name, vector, param in zip(parameter_names, names, vectors, params, strict=True):
        if tuple(vector.shape) != tuple(param.shape):
            must = f"must have the shape of {which}, {tuple(param.shape)}"
            raise ValueError(f"{name} {must}, got {tuple(vector.shape)}")
        if vector.dtype != param.dtype:
            raise TypeError(f"{name} must have the dtype of {which}, {param.dtype}, got {vector.dtype}")
        check_device(name, vector, param, which)
    return vectors


# --- the passes --------------------------------------------------------------------------------------------------


def tangents(at: Point, vectors: Params) -> list[Array]:
    """``Rz`` of each affine map's output, (n, q), the first one first."""
    found: list[Array] = []
    for position, layer in enumerate(at.layers):
        V, c = vectors[2 * position], vectors[2 * position + 1]
        Rz = layer.x @ V + c[..., None, :]
        if position:  # the data does not move
            Rz = Rz + (at.slopes[position - 1] * found[-1]) @ layer.weight
        found.append(Rz)
    return found


def hessian_product(at: Point, vectors: Params) -> Params:
    """The Hessian of the objective times ``vectors``; see ``hvp``."""
    xp, Rz = at.xp, tangents(at, vectors)
    Rdz = at.bend_loss(Rz[-1])
    products: Params = ()
    for position in reversed(range(len(at.layers))):
        layer, V, dz = at.layers[position], vectors[2 * position], at.gradients[position]
        RdW, Rdb = transposed(xp, layer.x) @ Rdz, layer.sum_rows(Rdz)
        if position:
            slope, bend, before = at.slopes[position - 1], at.bends[position - 1], Rz[position - 1]
            RdW = RdW + transposed(xp, slope * before) @ dz
            Rda = Rdz @ transposed(xp, layer.weight) + dz @ transposed(xp, V)
            Rdz = slope * Rda + bend * before
        products = (RdW, Rdb, *products)
    return add_penalty_grads(xp, vectors, products, at.l2)  # the gradient l2 W moves by l2 V


def gauss_newton_product(at: Point, vectors: Params) -> Params:
    """The Gauss-Newton matrix of the objective times ``vectors``; see ``ggnvp``."""
    products = backpropagate(at.xp, at.layers, at.bend_loss(tangents(at, vectors)[-1]))
    return add_penalty_grads(at.xp, vectors, products, at.l2)


# --- the products ------------------------------------------------------------------------------------------------


def hvp(X: Array, y: Array, *params: Array, vectors: Params, **options: Unpack[Options]) -> Params:
    """``H v``, H the second derivative of ``objective`` by all parameters: -> (H v of W1, H v of b1, ...).

    ``H v`` is the derivative of the gradient along v, ``R(dW1), R(db1), ...`` with ``R = d/dt`` at ``params + t v``.
    R obeys the rules of derivatives, so each line of the gradient gives one line more. Forward, with ``R X = 0``::

        z = x W + b          Rz = Rx W + x V + c
        x = m act(z)         Rx = m act'(z) Rz                                m the mask of dropout, which stays
        dz = dloss/dz        Rdz = d2loss/dz2 Rz                              at the logits

    and on the way back::

        dW = x.T dz          RdW = Rx.T dz + x.T Rdz
        db = sum_i dz_i      Rdb = sum_i Rdz_i
        da = dz W.T          Rda = Rdz W.T + dz V.T
        dz = m act'(z) da    Rdz = m (act'(z) Rda + act''(z) da Rz)           of the layer before

    The penalty ``l2/2 ||W||^2`` adds ``l2 V``. The penalty ``l1 |W|``, relu and leaky_relu have curvature 0 almost
    everywhere: at their kinks, where there is none, 0 is taken.

    Args:
        X: a batch (n, d_in), real floating.
        y: integer labels (n,), or floating targets (n, d_out) of the dtype of X.
        params: W1, b1, W2, b2, ...; all with a leading axis, for k networks at once, or none.
        vectors: the vector v, in arrays like the parameters: a tuple (V1, c1, V2, c2, ...).
        options: as in ``objective``. An op of the caller's own needs its second derivative as an attribute: of an
            activation, which is elementwise then, ``op.curvature = lambda z: ...``; of a criterion
            ``op.curvature = lambda logits, targets, weights: product``, ``product(dz)`` in the shape of the logits.

    Returns:
        The product, one array like each parameter. It takes 1.5 to 2.7 times the operations of a gradient, the former
        where the first layer is the largest: ``step_cost`` counts them.

    Raises:
        ValueError, TypeError: as in ``objective``, for vectors that are not like the parameters, and for an activation
            or a criterion without a second derivative.

    >>> import numpy as np, mlp_xp as mx
    >>> X, y, W, b = np.asarray([[1.0], [3.0]]), np.zeros((2, 1)), np.ones((1, 1)), np.zeros(1)
    >>> RdW, Rdb = mx.hvp(X, y, W, b, vectors=(W, b), criterion="squared_error")
    >>> RdW.tolist(), Rdb.tolist()  # of 1/2 mean (W x + b)^2: the mean of x^2 and of x
    ([[5.0]], [2.0])

    Source: Pearlmutter, Fast exact multiplication by the Hessian, 1994.
    """
    vectors = _checked_vectors(params, vectors)
    return hessian_product(point_at(X, y, params, **options), vectors)


def hessian_at(X: Array, y: Array, *params: Array, **options: Unpack[Options]) -> Callable[[Params], Params]:
    """``vectors -> hvp(X, y, *params, vectors=vectors)``, for many vectors at the same parameters.

    The passes that do not depend on the vector are made once. ``optim.newton_cg`` asks for it.

    Args:
        X, y, params, options: as in ``hvp``.

    Returns:
        The function, which takes vectors like the parameters and returns their products.

    Raises:
        ValueError, TypeError: as in ``hvp``.

    >>> import numpy as np, mlp_xp as mx
    >>> X, y, params = np.eye(3), np.arange(3), mx.init_params((3, 4, 3))
    >>> product = mx.curvature.hessian_at(X, y, *params)
    >>> [each.shape for each in product(params)]
    [(3, 4), (4,), (4, 3), (3,)]
    """
    at = point_at(X, y, params, **options)
    return lambda vectors: hessian_product(at, _checked_vectors(params, vectors))


def ggnvp(X: Array, y: Array, *params: Array, vectors: Params, **options: Unpack[Options]) -> Params:
    """``G v``, G the generalised Gauss-Newton matrix ``J.T H J`` of ``objective``: -> (G v of W1, G v of b1, ...).

    J is the derivative of all logits by the parameters, H the second derivative of the loss by the logits. That is the
    Hessian of a network that is linear in its parameters: what is left out is the curvature of the network itself,
    ``sum_ij dz_ij d2z_ij/dparams2``. Three steps: ``J v`` is the derivative of the logits along v, as in ``hvp``; H
    multiplies it; and ``J.T`` is the way back of the gradient, which takes ``H J v`` for the gradient of the logits.

    For a loss that is convex in the logits, as that of every named criterion but gaussian is, G is positive
    semidefinite: conjugate gradients find a step downhill. The penalty ``l2/2 ||W||^2``, a square already, adds
    ``l2 V``; l1 adds nothing.

    Args:
        X: a batch (n, d_in), real floating.
        y: integer labels (n,), or floating targets (n, d_out) of the dtype of X.
        params: W1, b1, W2, b2, ...; all with a leading axis, for k networks at once, or none.
        vectors: the vector v, in arrays like the parameters: a tuple (V1, c1, V2, c2, ...).
        options: as in ``hvp``.

    Returns:
        The product, one array like each parameter.

    Raises:
        ValueError, TypeError: as in ``hvp``. An activation of the caller's own needs its second derivative here too:
            with it the caller says that the activation is elementwise.

    >>> import numpy as np, mlp_xp as mx
    >>> X, y, params = np.eye(3), np.arange(3), mx.init_params((3, 4, 3))
    >>> products = mx.ggnvp(X, y, *params, vectors=params)
    >>> bool(sum((v * product).sum() for v, product in zip(params, products)) > 0)
    True

    Source: Schraudolph, Fast curvature matrix-vector products for second-order gradient descent, 2002.
    """
    vectors = _checked_vectors(params, vectors)
    return gauss_newton_product(point_at(X, y, params, gauss_newton=True, **options), vectors)
