"""``mlp-xp cost``: the operations and the memory of a training step, from the sizes alone, on one rank or on many."""

from typing import Any

import click

from mlp_xp._lib.wording import count_of, readable
from mlp_xp.backends import BACKENDS
from mlp_xp.cli._help import Names, Option, command_of, name_option
from mlp_xp.cli._options import Number, Whole, activation_names
from mlp_xp.cli._output import Screen, Table
from mlp_xp.cost import ALGORITHMS, DTYPES, StepCost, scaling, step_cost
from mlp_xp.losses import CRITERIA
from mlp_xp.ops import ACTIVATIONS
from mlp_xp.optim import OPTIMIZERS

RANKS = "Several ranks, each with a batch of its own"
_ABOVE_0 = Number(0, min_open=True)


@command_of(
    "cost 784 800 10 --n 256",
    "cost 64 32 32 10 --activation gelu,tanh --optimizer adam",
    "cost 784 800 10 --ranks 8 --flops 1e13 --bandwidth 1e11 --latency 1e-5",
)
@click.argument("sizes", type=click.IntRange(1), nargs=-1, required=True)
@click.option("--n", type=click.IntRange(1), metavar="ROWS", default=128, help="Rows in the batch of a rank.")
@name_option("--dtype", DTYPES, "float32")
@click.option(
    "--activation", type=Names(ACTIVATIONS, several=True), default="sigmoid",
    help=f"One, or one per hidden layer, comma separated: {', '.join(ACTIVATIONS)}.",
)  # fmt: skip
@name_option("--criterion", CRITERIA, "softmax_cross_entropy")
@name_option("--optimizer", OPTIMIZERS, "sgd")
@name_option("--backend", BACKENDS, "numpy")
@click.option("--ranks", cls=Option, group=RANKS, type=Whole(1), default=1, help="How many; the next three go with it.")
@click.option(
    "--flops", "flops_per_second", cls=Option, group=RANKS, type=_ABOVE_0, metavar="RATE", help="FLOP/s of a rank."
)
@click.option("--bandwidth", cls=Option, group=RANKS, type=_ABOVE_0, metavar="RATE", help="B/s that a rank sends.")
@click.option("--latency", cls=Option, group=RANKS, type=Number(0), metavar="SECONDS", help="Time of a hop.")
def command(
    sizes: tuple[int, ...], n: int, dtype: str, activation: str, criterion: str, optimizer: str, backend: str,
    ranks: int, **rates: float | None,
) -> None:  # fmt: skip
    """Count the operations and the memory of a training step of the network SIZES, such as 784 800 10.

    SIZES are the widths of inputs, hidden layers and outputs. FLOP are floating-point operations, a multiply-add
    counted as two; B are bytes. Nothing is run.
    """
    given = [rate is not None for rate in rates.values()]
    if (ranks > 1 or any(given)) and not all(given):
        raise click.UsageError("several ranks need --flops, --bandwidth and --latency")
    activations = activation_names(activation)
    counted = step_cost(
        sizes, n, dtype, activation=activations, criterion=criterion, optimizer=optimizer, in_place=backend == "numpy"
    )
    flops = counted.forward_flops + counted.backward_flops
    figures = (
        ("parameters", counted.parameters, ""),
        ("forward", counted.forward_flops, "FLOP"),
        ("backward", counted.backward_flops, "FLOP"),
        ("both", flops, "FLOP"),
        (f"of which matrix products, {counted.matmul_flops / flops:.1%}", counted.matmul_flops, "FLOP"),
        ("kept from forward for backward", counted.activation_bytes, "B"),
        (f"with what is computed, at most at one time with {backend}", counted.peak_activation_bytes, "B"),
        ("parameters, and the gradients as much again", counted.parameter_bytes, "B"),
        (f"state of the optimizer, {optimizer}", counted.optimizer_bytes, "B"),
        ("instead, a Hessian-vector product", counted.hvp_flops, "FLOP"),
        ("instead, a Gauss-Newton product", counted.ggnvp_flops, "FLOP"),
        ("instead, the gradient of each row", counted.per_example_grads_flops, "FLOP"),
        ("instead, the norms of these gradients", counted.per_example_grad_norms_flops, "FLOP"),
    )
    rows = [(name, readable(value, unit), f"{value:,}") for name, value, unit in figures]
    title = f"one step of {'-'.join(map(str, sizes))} on {count_of(n, 'row')} in {dtype}"
    screen = Screen()
    screen.show(Table(title, ("", "about", "exactly"), rows, right=(1, 2)))
    if all(given):
        screen.show(_of_ranks(counted, ranks, rates))


def _of_ranks(cost: StepCost, ranks: int, rates: dict[str, Any]) -> Table:
    """What ``scaling`` predicts, a row for each algorithm."""
    rows = []
    for algorithm in ALGORITHMS:
        sent, collective, step, efficiency = scaling(cost, ranks, algorithm=algorithm, **rates)
        times = (f"{1e3 * seconds:.3g} ms" for seconds in (collective, step))
        rows.append((algorithm, readable(sent, "B"), *times, f"{efficiency:.3f}"))
    columns = ("all-reduce by", "sent by a rank, at most", "all-reduce", "step", "efficiency")
    return Table(f"the same on each of {count_of(ranks, 'rank')}", columns, rows, right=(1, 2, 3, 4))
