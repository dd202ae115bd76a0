"""What one training step costs in arithmetic and memory, from the sizes alone.

Nothing is run: what an activation or a criterion costs stands in its record.

Matrix products dominate: with two layers of n rows, D inputs, H hidden units and C outputs they take
``4 n D H + 6 n H C`` operations, not 6 and 6, since the gradient of the first layer's input is never formed.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from numbers import Integral
from typing import NamedTuple, TypeVar, cast

from mlp_xp._lib.arguments import check_number, check_sizes, described, one_of
from mlp_xp.criterion import check_width
from mlp_xp.losses import CRITERIA
from mlp_xp.ops import ACTIVATIONS, Cost
from mlp_xp.optim import OPTIMIZERS

Value = TypeVar("Value")

_ITEMSIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}

DTYPES = tuple(_ITEMSIZE)
"""The names of the dtypes whose size is known."""


class StepCost(NamedTuple):
    """One step on n rows: counts, floating-point operations, bytes.

    parameters: how many numbers are learned.
    forward_flops, backward_flops: operations, a multiply-add counted as two.
    matmul_flops: how many of both are in matrix products.
    activation_bytes: what forward keeps for backward, besides the caller's X and y and the parameters.
    parameter_bytes: the parameters; the gradients take as much again while they exist.
    optimizer_bytes: what the optimizer remembers.
    hvp_flops, ggnvp_flops: of a Hessian-vector product and of a Gauss-Newton product in the place of the step.
    per_example_grads_flops, per_example_grad_norms_flops: of the gradients of the rows, and of their norms.
    peak_activation_bytes: the most that there is at one time, besides X and y, the parameters and their gradients: what
        forward has kept, and the arrays that are computed then.
    """

    parameters: int
    forward_flops: int
    backward_flops: int
    matmul_flops: int
    activation_bytes: int
    parameter_bytes: int
    optimizer_bytes: int
    hvp_flops: int
    ggnvp_flops: int
    per_example_grads_flops: int
    per_example_grad_norms_flops: int
    peak_activation_bytes: int


def step_cost(
    sizes: Sequence[int],
    n: int,
    dtype: str = "float32",
    *,
    activation: str | Sequence[str] = "sigmoid",
    criterion: str = "softmax_cross_entropy",
    optimizer: str = "sgd",
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    in_place: bool = True,
) -> StepCost:
    """``4 n D H + 6 n H C`` plus elementwise operations, and the memory: (D, ..., H, C) and n -> ``StepCost``.

    Args:
        sizes: (d_in, d_h, ..., d_out), at least two positive ints.
        n: rows in the batch.
        dtype: name of the floating dtype.
        activation: a name, or one per hidden layer.
        criterion: a name.
        optimizer: a name, one of ``optim.OPTIMIZERS``.
        dropout, input_dropout: as in ``objective``. Their masks count as memory; operations of masks are left out.
        in_place: whether the array library computes ``x * (y + z)`` in the memory of ``y + z``. NumPy does, for arrays
            of 256 KiB and more. Others take a new array for each operation: False gives their peak. A step that JAX has
            compiled takes less: at most about ``activation_bytes`` and one array of the widest layer.

    Returns:
        A ``StepCost``. Operations of a lower order, a few per row and one or two per parameter in the update, are left
        out, and so is memory of a few numbers per row. The targets of softmax are one-hot rows; those of other criteria
        are the caller's y.

    Raises:
        ValueError: for sizes or an n that are not positive, unknown names, and dropout out of range.
        TypeError: for sizes or an activation of another kind.

    >>> import mlp_xp as mx
    >>> cost = mx.step_cost((784, 800, 10), n=128)
    >>> cost.matmul_flops == 4 * 128 * 784 * 800 + 6 * 128 * 800 * 10
    True
    """
    import numpy as np  # imported here: --help must stay fast

    sizes = check_sizes(sizes)
    if not isinstance(n, Integral) or isinstance(n, bool) or n < 1:
        raise ValueError(f"n must be a positive int, got {described(n)}")
    if not isinstance(activation, str | Sequence):
        raise TypeError(f"activation must be a name, or one per hidden layer, got {described(activation)}")
    n, hidden = int(n), sizes[1:-1]
    names = [activation] * len(hidden) if isinstance(activation, str) else list(activation)
    if len(names) != len(hidden):
        raise ValueError(f"activation must be one or one per hidden layer ({len(hidden)}), got {len(names)}")
    own = ["sigmoid" if isinstance(name, str) and name == "logistic" else name for name in names]
    records = [_entry("activation", ACTIVATIONS, name) for name in own]
    itemsize = _entry("dtype", _ITEMSIZE, str(dtype))
    last = _entry("criterion", CRITERIA, criterion)
    check_width(last, sizes[-1])
    state = _entry("optimizer", OPTIMIZERS, optimizer)().init((np.zeros(2),))
    copies = sum(array.shape == (2,) for array in state)  # an array of a parameter's shape is kept for each parameter
    masked = check_number("dropout", dropout, 0.0, 1.0) > 0.0
    inputs = n * sizes[0] if check_number("input_dropout", input_dropout, 0.0, 1.0) else 0

    products = [2 * n * d_in * d_out for d_in, d_out in pairwise(sizes)]
    forward_matmul, backward_matmul = sum(products), 2 * sum(products) - products[0]
    bias = n * sum(sizes[1:])  # added in forward; in backward summed back by a product with ones
    costs = [(n * width, cast(Cost, record.cost)) for width, record in zip(sizes[1:], [*records, last], strict=True)]
    parameters = sum(d_in * d_out + d_out for d_in, d_out in pairwise(sizes))
    kept, most = _memory(itemsize, inputs, costs, masked, in_place)
    return StepCost(
        parameters=parameters,
        forward_flops=forward_matmul + bias + sum(size * cost.forward for size, cost in costs),
        backward_flops=backward_matmul + 2 * bias + sum(size * cost.backward for size, cost in costs),
        matmul_flops=forward_matmul + backward_matmul,
        activation_bytes=kept,
        parameter_bytes=parameters * itemsize,
        optimizer_bytes=parameters * copies * itemsize,
        **_further_than_the_gradient(n, sizes, costs, products),
        peak_activation_bytes=most,
    )


_MASK = 5 * 4
"""Bytes that a mask takes for each entry while it is drawn: five arrays of int32."""

_IN_PLACE = 1 << 18
"""Bytes from which on NumPy computes in the memory of a temporary."""


def _memory(
    itemsize: int, inputs: int, costs: list[tuple[int, Cost]], dropout: bool, in_place: bool
) -> tuple[int, int]:
    """Bytes of activations that forward keeps, and the most at one time.

    Args:
        itemsize: bytes of a number.
        inputs: entries of X that are multiplied by a mask.
        costs: entries of each layer's activations, and what each costs; the last is the criterion.
        dropout: whether the hidden layers are multiplied by masks, which are kept, and the products too.
        in_place: as in ``step_cost``.
    """
    kept, moments = itemsize * inputs, [_MASK * inputs]
    peaks = []
    for position, (size, cost) in enumerate(costs):
        own, fewer = itemsize * size, cost.in_place if in_place and itemsize * size >= _IN_PLACE else 0
        masked = dropout and position + 1 < len(costs)
        forward, backward = (own * (peak - fewer) for peak in cost.peaks)
        moments.append(kept + max(forward, own * cost.kept + _MASK * size if masked else 0))
        kept += own * (cost.closed_over + 2 if masked else cost.kept)
        peaks.append(backward)
    return kept, max(*moments, kept + max(peaks))  # nothing is let go before the way back has ended


def _further_than_the_gradient(
    n: int, sizes: tuple[int, ...], costs: list[tuple[int, Cost]], products: list[int]
) -> dict[str, int]:
    """Operations of what ``curvature`` and ``per_example`` compute, their passes forward and back included.

    Let P be the products of matrices forward, and Q those of them behind the first layer. Going back to the inputs of
    layers takes Q, and the gradients of weights P. A Hessian-vector product takes P and Q to go forward and back, P + Q
    for the tangents, 2 Q for theirs on the way back, and P + Q for ``x.T @ Rdz + Rx.T @ dz``. A Gauss-Newton product
    takes P, P + Q and the way back of a gradient. A gradient of a row has one multiplication for each weight.
    """
    P, Q, outputs, hidden = sum(products), sum(products[1:]), n * sum(sizes[1:]), n * sum(sizes[1:-1])
    behind, weights = n * sum(sizes[2:]), sum(product // (2 * n) for product in products)
    first = sizes[0] * sizes[1]
    *activations, (logits, last) = costs
    forward = outputs + sum(size * cost.forward for size, cost in activations)
    slopes = sum(size * cost.backward for size, cost in activations)
    loss, bend = logits * (last.forward + last.backward), logits * last.second
    tangents = outputs + behind + hidden  # plus the bias, plus the layer's own change, times the slope
    second = sum(size * cost.second for size, cost in activations) + 7 * hidden + weights - first
    return {
        "hvp_flops": 3 * P + 5 * Q + forward + slopes + loss + bend + tangents + 2 * outputs + second,
        "ggnvp_flops": 3 * P + 2 * Q + forward + 2 * slopes + bend + tangents + 2 * outputs,
        "per_example_grads_flops": P + Q + forward + slopes + loss + n * weights,
        "per_example_grad_norms_flops": P + Q + forward + slopes + loss + 2 * (n * sizes[0] + hidden + outputs),
    }


def _entry(kind: str, table: Mapping[str, Value], name: str) -> Value:
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"{kind} must be {one_of(table, name)}")
    return table[name]
