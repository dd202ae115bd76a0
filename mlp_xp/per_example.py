"""The gradient of the loss of each row, and its norm without forming it.

A row reaches the parameters of a layer through one row of the layer's input and one of its output's gradient: both are
there on the way back, before ``dW = x.T @ dz`` adds the rows up.

Before: ``mlp``. Next: ``gradcheck``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from mlp_xp._lib.arguments import check_all_or_none_batched
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.losses import targets_and_weights
from mlp_xp.mlp import Layer, Options, checked_arguments, network, walk_back


def _layers_and_gradients(
    X: Array, y: Array, params: Params, sample_weight: Array | None = None, seed: Any = None, **options: Any
) -> tuple[Namespace, Sequence[tuple[Layer, Array]]]:
    """Each layer with ``dz``, (n, q): in row i the gradient of ``w_i l_i`` by row i of the layer's output."""
    xp, terms, seed = checked_arguments(X, y, params, sample_weight, seed, options)
    check_all_or_none_batched(params)
    for name, strength in (("l2", terms.l2), ("l1", terms.l1)):
        if strength is not None:
            raise ValueError(f"{name} must be 0 for gradients of rows, for a penalty belongs to no row, got {strength}")
    logits, layers = network(xp, X, params, terms.activations, terms.dropout, seed, None, terms.input_dropout)
    criterion = terms.criterion
    targets, weights = targets_and_weights(xp, y, logits, sample_weight, terms.label_smoothing, criterion)
    # they sum to 1; what the caller gave does not
    total = X.shape[0] if sample_weight is None else xp.sum(sample_weight, axis=-1, keepdims=True)
    loss, pull_loss = criterion.loss(xp, logits, targets, weights * total)
    (dz,) = pull_loss(xp.ones_like(loss))
    return xp, list(walk_back(xp, layers, dz))[::-1]


def per_example_grads(X: Array, y: Array, *params: Array, **options: Unpack[Options]) -> Params:
    """Row i of each array is the gradient of ``w_i l_i``, the loss of row i: -> (n, d_in, d_h), (n, d_h), ...

    ``dW = x.T @ dz = sum_i x_i dz_i.T`` adds up the rows of the batch: its terms are their gradients, one outer product
    for each row. The bias was added to each row: its gradient is dz_i itself. Each row's ``dz_i`` comes back through
    the layers as ever, for no row sees another.

    Weighted so, ``sum_i gradient_i / sum_i w_i`` is the gradient of ``loss_and_grads`` without penalties; with equal
    weights, which are 1 here, the mean. The arrays take n times the memory of the parameters: for norms alone,
    ``per_example_grad_norms`` forms none of them.

    Args:
        X: a batch (n, d_in), real floating.
        y: integer labels (n,), or floating targets (n, d_out) of the dtype of X.
        params: W1, b1, W2, b2, ...; all with a leading axis, for k networks at once, or none.
        options: as in ``objective``, but l2 and l1, which belong to no row. An activation of the caller's own must take
            each row by itself.

    Returns:
        One array per parameter, with a first axis of n rows; for k networks (k, n, ...).

    Raises:
        ValueError, TypeError: as in ``objective``, and for a penalty.

    >>> import numpy as np, mlp_xp as mx
    >>> X, y, params = np.eye(3), np.arange(3), mx.init_params((3, 4, 3))
    >>> rows, (_, grads) = mx.per_example_grads(X, y, *params), mx.loss_and_grads(X, y, *params)
    >>> rows[0].shape, all(np.allclose(each.mean(axis=0), grad) for each, grad in zip(rows, grads))
    ((3, 3, 4), True)

    Source: Goodfellow, Efficient per-example gradient computations, 2015.
    """
    _, found = _layers_and_gradients(X, y, params, **options)
    grads: Params = ()
    for layer, dz in found:
        grads = (*grads, layer.x[..., :, None] * dz[..., None, :], dz)
    return grads


def per_example_grad_norms(X: Array, y: Array, *params: Array, **options: Unpack[Options]) -> Array:
    """The norm of the gradient of ``w_i l_i``, the loss of row i, over all parameters together: -> (n,).

    The gradient of a weight by one row is ``x_i dz_i.T``, whose entries are all products of one number of each: their
    squares sum to ``||x_i||^2 ||dz_i||^2``. The gradient of the bias is ``dz_i``. So, over the layers::

        norm_i^2 = sum (||x_i||^2 + 1) ||dz_i||^2

    No gradient is formed, not even the sum over the rows: that costs less than ``loss_and_grads``.

    Args:
        X: a batch (n, d_in), real floating.
        y: integer labels (n,), or floating targets (n, d_out) of the dtype of X.
        params: W1, b1, W2, b2, ...; all with a leading axis, for k networks at once, or none.
        options: as in ``per_example_grads``.

    Returns:
        The norms (n,); for k networks (k, n).

    Raises:
        ValueError, TypeError: as in ``per_example_grads``.

    >>> import numpy as np, mlp_xp as mx
    >>> X, y, params = np.eye(3), np.arange(3), mx.init_params((3, 4, 3))
    >>> norms, rows = mx.per_example_grad_norms(X, y, *params), mx.per_example_grads(X, y, *params)
    >>> np.allclose(norms**2, sum((each**2).reshape(3, -1).sum(axis=1) for each in rows))
    True

    Source: Goodfellow, Efficient per-example gradient computations, 2015.
    """
    xp, found = _layers_and_gradients(X, y, params, **options)
    squares = [(_square(xp, layer.x) + 1.0) * _square(xp, dz) for layer, dz in found]
    return xp.sqrt(sum(squares[1:], start=squares[0]))


def _square(xp: Namespace, rows: Array) -> Array:
    """``||v_i||^2`` of each row: (n, q) -> (n,)."""
    return xp.sum(rows * rows, axis=-1)
