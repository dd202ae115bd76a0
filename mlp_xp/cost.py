"""What one training step costs in arithmetic and memory, from the sizes alone.

Nothing is run. Matrix products dominate: with two layers of n rows, D inputs, H hidden units and C outputs they take
``4 n D H + 6 n H C`` operations, not 6 and 6, since the gradient of the first layer's input is never formed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from numbers import Integral
from typing import NamedTuple, TypeVar

from mlp_xp._lib.arguments import check_sizes, one_of

Value = TypeVar("Value")

_ITEMSIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}

DTYPES = tuple(_ITEMSIZE)
"""The names of the dtypes whose size is known."""


class _Elementwise(NamedTuple):
    """Operations per entry in forward and backward, and arrays kept in between. exp, log, tanh count as one each."""

    forward: int
    backward: int
    kept: int


# read off ops.py: what a rule computes, what its slope computes, what both it and the next layer's product keep
_ACTIVATIONS = {
    "identity": _Elementwise(0, 1, 1),
    "sigmoid": _Elementwise(5, 3, 1),
    "tanh": _Elementwise(1, 4, 1),
    "relu": _Elementwise(2, 1, 2),
    "leaky_relu": _Elementwise(4, 1, 2),
    "elu": _Elementwise(5, 2, 2),
    "silu": _Elementwise(6, 5, 3),
    "softplus": _Elementwise(7, 6, 2),
    "gelu": _Elementwise(70, 4, 4),
}

# read off losses.py, per logit, with labels for softmax; the targets are among what is kept
_CRITERIA = {
    "softmax_cross_entropy": _Elementwise(8, 3, 2),
    "sigmoid_cross_entropy": _Elementwise(13, 16, 2),
    "squared_error": _Elementwise(3, 1, 1),
    "poisson": _Elementwise(7, 2, 2),
}

_OPTIMIZER_COPIES = {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2, "rmsprop": 1}


class StepCost(NamedTuple):
    """One step on n rows: counts, floating-point operations, bytes.

    parameters: how many numbers are learned.
    forward_flops, backward_flops: operations, a multiply-add counted as two.
    matmul_flops: how many of both are in matrix products.
    activation_bytes: what forward keeps for backward, besides the caller's X and the parameters.
    parameter_bytes: the parameters; the gradients take as much again while they exist.
    optimizer_bytes: what the optimizer remembers.
    """

    parameters: int
    forward_flops: int
    backward_flops: int
    matmul_flops: int
    activation_bytes: int
    parameter_bytes: int
    optimizer_bytes: int


def step_cost(
    sizes: Sequence[int],
    n: int,
    dtype: str = "float32",
    *,
    activation: str | Sequence[str] = "sigmoid",
    criterion: str = "softmax_cross_entropy",
    optimizer: str = "sgd",
) -> StepCost:
    """``4 n D H + 6 n H C`` plus elementwise operations, and the memory: (D, ..., H, C) and n -> ``StepCost``.

    Args:
        sizes: (d_in, d_h, ..., d_out), at least two positive ints.
        n: rows in the batch.
        dtype: name of the floating dtype.
        activation: a name, or one per hidden layer.
        criterion: a name.
        optimizer: a name, one of ``optim.OPTIMIZERS``.

    Operations of a lower order, a few per row and one or two per parameter in the update, are left out.
    """
    sizes = check_sizes(sizes)
    if not isinstance(n, Integral) or n < 1:
        raise ValueError(f"n must be a positive int, got {n}")
    if not isinstance(activation, str | Sequence):
        raise TypeError(f"activation must be a name, or one per hidden layer, got {activation!r}")
    n, hidden = int(n), sizes[1:-1]
    names = [activation] * len(hidden) if isinstance(activation, str) else list(activation)
    if len(names) != len(hidden):
        raise ValueError(f"activation must be one or one per hidden layer ({len(hidden)}), got {len(names)}")
    rules = [_entry("activation", _ACTIVATIONS, "sigmoid" if name == "logistic" else name) for name in names]
    itemsize = _entry("dtype", _ITEMSIZE, str(dtype))
    loss = _entry("criterion", _CRITERIA, criterion)
    copies = _entry("optimizer", _OPTIMIZER_COPIES, optimizer)

    products = [2 * n * d_in * d_out for d_in, d_out in pairwise(sizes)]
    forward_matmul, backward_matmul = sum(products), 2 * sum(products) - products[0]
    bias = n * sum(sizes[1:])  # added in forward; in backward summed back by a product with ones
    logits = n * sizes[-1]
    forward = bias + sum(n * h * rule.forward for h, rule in zip(hidden, rules, strict=True)) + logits * loss.forward
    backward = (
        2 * bias + sum(n * h * rule.backward for h, rule in zip(hidden, rules, strict=True)) + logits * loss.backward
    )
    kept = sum(n * h * rule.kept for h, rule in zip(hidden, rules, strict=True)) + logits * loss.kept
    parameters = sum(d_in * d_out + d_out for d_in, d_out in pairwise(sizes))
    return StepCost(
        parameters=parameters,
        forward_flops=forward_matmul + forward,
        backward_flops=backward_matmul + backward,
        matmul_flops=forward_matmul + backward_matmul,
        activation_bytes=kept * itemsize,
        parameter_bytes=parameters * itemsize,
        optimizer_bytes=parameters * copies * itemsize,
    )


def _entry(kind: str, table: Mapping[str, Value], name: str) -> Value:
    if name not in table:
        raise ValueError(f"{kind} must be {one_of(table, name)}")
    return table[name]
