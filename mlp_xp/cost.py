"""What one training step costs in arithmetic and memory, from the sizes alone, and how it scales over ranks.

Nothing is run: what an activation or a criterion costs stands in its record.

Matrix products dominate: with two layers of n rows, D inputs, H hidden units and C outputs they take
``4 n D H + 6 n H C`` operations, not 6 and 6, since the gradient of the first layer's input is never formed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar, cast

from mlp_xp._lib.arguments import (
    check_flag,
    check_number,
    check_positive,
    check_sizes,
    check_whole,
    described,
    is_whole,
    one_of,
    shortened,
)
from mlp_xp._lib.typing import Array
from mlp_xp.criterion import Criterion, check_width
from mlp_xp.losses import CRITERIA
from mlp_xp.ops import ACTIVATIONS, Activation, Cost
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
    if not is_whole(n) or n < 1:
        raise ValueError(f"n must be a positive int, got {described(n)}")
    if not isinstance(activation, str | Sequence):
        raise TypeError(f"activation must be a name, or one per hidden layer, got {described(activation)}")
    n, hidden = int(n), sizes[1:-1]
    names = [activation] * len(hidden) if isinstance(activation, str) else list(activation)
    if len(names) != len(hidden):
        raise ValueError(f"activation must be one or one per hidden layer ({len(hidden)}), got {len(names)}")
    own = ["sigmoid" if isinstance(name, str) and name == "logistic" else name for name in names]
    records: list[Activation | Criterion] = [_entry("activation", ACTIVATIONS, name) for name in own]
    # a dtype of a library has its name for a text, and so has an array of one text
    itemsize = _entry("dtype", _ITEMSIZE, dtype if hasattr(dtype, "__array__") else str(dtype))
    last = _entry("criterion", CRITERIA, criterion)
    check_width(last, sizes[-1])
    state = _entry("optimizer", OPTIMIZERS, optimizer)().init((cast(Array, np.zeros(2)),))
    copies = sum(array.shape == (2,) for array in state)  # an array of a parameter's shape is kept for each parameter
    masked = check_number("dropout", dropout, 0.0, 1.0) > 0.0
    inputs = n * sizes[0] if check_number("input_dropout", input_dropout, 0.0, 1.0) else 0

    products = [2 * n * d_in * d_out for d_in, d_out in pairwise(sizes)]
    forward_matmul, backward_matmul = sum(products), 2 * sum(products) - products[0]
    bias = n * sum(sizes[1:])  # added in forward; in backward summed back by a product with ones
    costs = [(n * width, cast(Cost, record.cost)) for width, record in zip(sizes[1:], [*records, last], strict=True)]
    parameters = sum(d_in * d_out + d_out for d_in, d_out in pairwise(sizes))
    kept, most = _memory(itemsize, inputs, costs, masked, check_flag("in_place", in_place))
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


class Scaling(NamedTuple):
    """One step of P ranks, each with rows of its own.

    sent_bytes: the most that a rank sends.
    collective_seconds: of the all-reduce.
    step_seconds: of the step: a rank's own rows, the all-reduce, the update.
    efficiency: the seconds of one rank that has the rows of all, over P times ``step_seconds``; the speed-up over P.
    """

    sent_bytes: int
    collective_seconds: float
    step_seconds: float
    efficiency: float


def scaling(
    cost: StepCost,
    ranks: int,
    *,
    flops_per_second: float,
    bandwidth: float,
    latency: float,
    update_seconds: float = 0.0,
    algorithm: str = "ring",
) -> Scaling:
    """``(P c + u) / (P (c + r + u))``, the efficiency of P ranks: the step of one of them -> ``Scaling``.

    A rank computes on its own rows for c seconds. Then all ranks sum one message of S bytes in r seconds: the gradients
    and four numbers (flag, rows, weight, loss). Each repeats the update in u seconds. With a for the latency, B for the
    bandwidth and L for ``ceil(log2 P)``, an all-reduce takes::

        ring        r = 2 (P-1) a + 2 (P-1)/P S/B    a rank sends 2 (P-1)/P S: each of P parts goes round twice
        tree        r = 2 L (a + S/B)                the root sends L S: whole messages go up, then down
        two_trees   r = 2 L a + 2 S/B                a rank sends 2 S at most: small parts go up and down two trees

    A ring sends the least. With many ranks its hops take the longest, and two trees are faster: NCCL has both.

    Args:
        cost: of the rows of one rank, from ``step_cost``.
        ranks: how many.
        flops_per_second: operations that a rank does in a second. Where the seconds of a step on one rank are known,
            ``(cost.forward_flops + cost.backward_flops) / seconds``.
        bandwidth: bytes per second that a rank sends while it receives as many, over the slowest link between ranks.
        latency: seconds of a hop, which a message takes however short it is.
        update_seconds: what every rank does again, however few its rows: the optimizer's update.
        algorithm: ``"ring"``, ``"tree"`` or ``"two_trees"``.

    Returns:
        A ``Scaling``. All ranks are equally fast and have equally many rows, the all-reduce begins when the way back
        has ended, and adding up takes no time. Real steps take longer: the slowest rank decides.

    Raises:
        ValueError: for fewer than one rank, numbers that are negative or not finite, a rank or a link without speed,
            an unknown algorithm.
        TypeError: for another cost than a ``StepCost``, and anything but numbers.

    >>> import mlp_xp as mx
    >>> from mlp_xp.cost import scaling
    >>> cost = mx.step_cost((784, 4096, 4096, 10), n=4096)
    >>> eight = scaling(cost, 8, flops_per_second=247e12, bandwidth=430e9, latency=5e-6)
    >>> print(f"{eight.sent_bytes / 1e6:.0f} MB, efficiency {eight.efficiency:.2f}")
    140 MB, efficiency 0.83

    Source: Thakur, Rabenseifner and Gropp, Optimization of collective communication operations in MPICH, 2005, for the
    model and the tree; Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms for clusters of workstations, 2009,
    for the ring; Sanders, Speck and Träff, Two-tree algorithms for full bandwidth broadcast, reduction and scan, 2009.
    """
    if not isinstance(cost, StepCost):
        raise TypeError(f"cost must be a StepCost, which step_cost returns, got {described(cost)}")
    P = check_whole("ranks", ranks, 1)
    if P >= 2**31:
        raise ValueError(f"ranks must be below 2^31, got {shortened(P)}")
    compute = (cost.forward_flops + cost.backward_flops) / check_positive("flops_per_second", flops_per_second)
    bandwidth, latency = check_positive("bandwidth", bandwidth), check_number("latency", latency, 0.0, math.inf)
    update = check_number("update_seconds", update_seconds, 0.0, math.inf)
    hops, carried, sent = _entry("algorithm", _COLLECTIVES, algorithm)(P)
    size = cost.parameter_bytes // cost.parameters * (cost.parameters + 4)
    collective = hops * latency + carried * size / bandwidth
    step = compute + collective + update
    return Scaling(
        sent_bytes=round(sent * size),
        collective_seconds=collective,
        step_seconds=step,
        efficiency=(compute + update / P) / step,
    )


class _Collective(NamedTuple):
    """An all-reduce: hops one after another, messages that a link carries in this time, messages that a rank sends."""

    hops: int
    carried: float
    sent: float


def _ring(P: int) -> _Collective:
    share = 2 * (P - 1) / P
    return _Collective(2 * (P - 1), carried=share, sent=share)


def _tree(P: int) -> _Collective:
    levels = (P - 1).bit_length()  # ceil(log2 P), without rounding
    return _Collective(2 * levels, carried=2 * levels, sent=levels)


def _two_trees(P: int) -> _Collective:
    # Half a message takes each tree. A rank sends its half up both; it has two children in one and none in the other.
    both = 2 if P > 1 else 0
    return _Collective(2 * (P - 1).bit_length(), carried=both, sent=both)


_COLLECTIVES: dict[str, Callable[[int], _Collective]] = {"ring": _ring, "tree": _tree, "two_trees": _two_trees}

ALGORITHMS = tuple(_COLLECTIVES)
"""The names of the ways to sum over ranks."""


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
