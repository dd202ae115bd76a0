"""``mlp-xp cost``: the operations and the memory of a training step, from the sizes alone."""

import click

from mlp_xp._lib.wording import count_of
from mlp_xp.backends import BACKENDS
from mlp_xp.cli._help import Names, command_of, name_option
from mlp_xp.cli._options import activation_names
from mlp_xp.cli._output import Screen, Table, readable
from mlp_xp.cost import DTYPES, step_cost
from mlp_xp.losses import CRITERIA
from mlp_xp.ops import ACTIVATIONS
from mlp_xp.optim import OPTIMIZERS


@command_of("cost 784 800 10 --n 256", "cost 64 32 32 10 --activation gelu,tanh --optimizer adam")
@click.argument("sizes", type=click.IntRange(1), nargs=-1, required=True)
@click.option("--n", type=click.IntRange(1), metavar="ROWS", default=128, help="Rows in the batch.")
@name_option("--dtype", DTYPES, "float32")
@click.option(
    "--activation", type=Names(ACTIVATIONS, several=True), default="sigmoid",
    help=f"One, or one per hidden layer, comma separated: {', '.join(ACTIVATIONS)}.",
)  # fmt: skip
@name_option("--criterion", CRITERIA, "softmax_cross_entropy")
@name_option("--optimizer", OPTIMIZERS, "sgd")
@name_option("--backend", BACKENDS, "numpy")
def command(
    sizes: tuple[int, ...], n: int, dtype: str, activation: str, criterion: str, optimizer: str, backend: str
) -> None:
    """Count the operations and the memory of a training step of the network SIZES, such as 784 800 10.

    SIZES are the widths of inputs, hidden layers and outputs. FLOP are floating-point operations, a multiply-add
    counted as two; B are bytes. Nothing is run.
    """
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
    Screen().show(Table(title, ("", "about", "exactly"), rows, right=(1, 2)))
