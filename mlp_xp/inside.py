"""Looking inside a network: what its hidden layers make of a batch, and how its outputs depend on the inputs.

Before: ``mlp``, whose passes these functions walk. Next: ``estimators`` transform and draw with them.
"""

from __future__ import annotations

from mlp_xp._lib.arguments import check_batch, check_params, check_whole
from mlp_xp._lib.namespace import namespace, transposed
from mlp_xp._lib.typing import Array, Namespace, Op, Params
from mlp_xp.criterion import check_width, criterion_named
from mlp_xp.mlp import network, walk_back
from mlp_xp.ops import Activation, ActivationOption, activations_of


def hidden(X: Array, *params: Array, layer: int = -1, activation: ActivationOption = "sigmoid") -> Array:
    """``act(... act(X @ W1 + b1) ... @ Wl + bl)``, the activations of hidden layer l: (n, d_in) -> (n, d_h).

    Args:
        X: a batch (n, d_in), real floating.
        params: W1, b1, W2, b2, ...; with a leading axis for k networks at once.
        layer: 1 is the layer of W1, as in its name; -1 is the last hidden layer, -2 the one before.
        activation: a name, an op, or one per hidden layer.

    Returns:
        The activations, without dropout, (n, d_h); (k, n, d_h) of k networks.

    Raises:
        ValueError: for a layer that is not there, a network without hidden layers, or shapes that do not fit.
        TypeError: for dtypes or libraries that differ.

    >>> import numpy as np, mlp_xp as mx
    >>> params = mx.init_params((4, 8, 5, 3))
    >>> mx.hidden(np.ones((2, 4)), *params).shape, mx.hidden(np.ones((2, 4)), *params, layer=1).shape
    ((2, 5), (2, 8))
    """
    xp, activations = _checked(X, params, activation)
    count = len(activations)
    if not count:
        raise ValueError("hidden needs a network with a hidden layer, got one of W1 and b1 alone")
    here = _position("layer", layer, first=1, count=count)
    # the layer's pre-activations are the logits of the network that ends there
    z, _ = network(xp, X, params[: 2 * here], activations[: here - 1])
    return activations[here - 1].primitive(xp, z)[0]


def input_gradients(
    X: Array,
    *params: Array,
    output: int | None = None,
    activation: ActivationOption = "sigmoid",
    criterion: str | Op = "softmax_cross_entropy",
) -> Array:
    """``d output_j / d X``, of each row by its own inputs: (n, d_in) -> (n, d_in).

    It is the gradient that training never forms, one product after the last step of the way back: ``dX = dz1 @ W1.T``.
    An output is what ``forward`` returns: a probability, a rate, a number. ``criterion="squared_error"`` takes the
    logits for outputs: their derivative does not vanish where the network is sure. Logits of a softmax have a meaning
    only in comparison, since a number added to all of them changes no probability.

    Args:
        X: a batch (n, d_in), real floating.
        params: W1, b1, W2, b2, ...; with a leading axis for k networks at once.
        output: the column of the output, from 0, such as a class; -1 is the last. Only a single output needs no name.
        activation: a name, an op, or one per hidden layer.
        criterion: decides what the outputs are.

    Returns:
        The derivatives, without dropout, in the shape of X; (k, n, d_in) of k networks.

    Raises:
        ValueError: for an output that is not there, shapes that do not fit, or an unknown name.
        TypeError: for dtypes or libraries that differ.

    >>> import numpy as np, mlp_xp as mx
    >>> W, b = np.asarray([[2.0], [-3.0]]), np.zeros(1)
    >>> mx.input_gradients(np.ones((1, 2)), W, b, criterion="squared_error").tolist()
    [[2.0, -3.0]]

    Source: Simonyan, Vedaldi and Zisserman, Deep inside convolutional networks, 2014.
    """
    xp, activations = _checked(X, params, activation)
    record, d_out = criterion_named(criterion), params[-1].shape[-1]
    check_width(record, d_out)
    if output is None and d_out > 1:
        raise ValueError(f"output must name one of {d_out} outputs, 0 ... {d_out - 1}, got None")
    column = _position("output", 0 if output is None else output, first=0, count=d_out)
    logits, layers = network(xp, X, params, activations)
    *_, (first, dz) = walk_back(xp, layers, record.output_slopes(xp, logits, column))
    return dz @ transposed(xp, first.weight)


def _checked(X: Array, params: Params, activation: ActivationOption) -> tuple[Namespace, list[Activation]]:
    """The namespace and the activations of a network on ``X``, after all were checked."""
    xp = namespace(X, *params, names=("X",))
    check_batch(xp, X)
    check_params(params, like=X)
    return xp, activations_of(activation, len(params) // 2 - 1)


def _position(name: str, value: object, first: int, count: int) -> int:
    """``value``, one of ``count`` positions from ``first`` on; -1 counts from the last. Raise for any other."""
    position = check_whole(name, value, low=-count)
    if not (position < 0 or first <= position < first + count):
        raise ValueError(f"{name} must be {first} ... {first + count - 1}, or -1 for the last, got {position}")
    return position + first + count if position < 0 else position
