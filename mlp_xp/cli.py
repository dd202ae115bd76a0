"""The ``mlp-xp`` command: train a network, check the gradients, count what a step costs, list the backends.

Each command is a function named after it; ``main`` turns whatever goes wrong into one line. What only some commands
need (rich, matplotlib, scikit-learn) is imported in them, so that ``mlp-xp --help`` is quick.

This is the top of the house: it strings together what the other modules do, and shows it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

try:
    import click
except ModuleNotFoundError:
    print("error: the command needs click: pip install 'mlp_xp[cli]'", file=sys.stderr)
    raise SystemExit(2) from None

import numpy as np
from numpy.typing import NDArray

from mlp_xp import __version__, optim
from mlp_xp import data as datasets
from mlp_xp import train as training
from mlp_xp._arguments import Activation, one_of
from mlp_xp._namespace import is_floating, parameter_name
from mlp_xp._typing import Array, Namespace, Params
from mlp_xp.backends import BACKENDS, DTYPES, Place, load, probe
from mlp_xp.cost import step_cost
from mlp_xp.gradcheck import Report, gradcheck
from mlp_xp.losses import CRITERIA
from mlp_xp.mlp import Options, TrainOptions, init_params, loss_and_grads, objective, predict
from mlp_xp.ops import ACTIVATIONS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WRONG, _BAD_INPUT, _INTERRUPTED = 1, 2, 130  # exit statuses; the last is what shells report for Ctrl-C

# `train` checks its gradients on so many rows; on failure so many entries of a parameter are compared
_CHECKED_ROWS, _CHECKED_ENTRIES = 16, 500

_VALIDATION_SHARE = 0.1  # of the training rows
_MOST_CLASSES = 20  # in a confusion table that can still be read


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (the process's own when None) and return its exit status.

    0 when all went well, 1 when a gradient is wrong, 2 for bad input, which is one line on stderr, 130 for Ctrl-C.
    """
    try:
        return commands.main(arguments, prog_name="mlp-xp", standalone_mode=False) or 0
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return _INTERRUPTED
    except click.ClickException as error:
        message = error.format_message()
    except ModuleNotFoundError as error:
        message = f"the command needs {(error.name or 'more').partition('.')[0]}: pip install 'mlp_xp[cli]'"
    # RuntimeError and MemoryError are what array libraries raise when a device fails or is full
    except (ValueError, TypeError, OSError, ArithmeticError, RuntimeError, MemoryError) as error:
        message = str(error).strip().partition("\n")[0] or type(error).__name__
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return _BAD_INPUT


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.pass_context
def commands(context: click.Context) -> None:
    """A multilayer perceptron with hand-derived gradients, on any array library."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


_ACTIVATION = f"One, or one per hidden layer, comma separated: {', '.join(ACTIVATIONS)}."
_OPTIMIZER = f"One of {', '.join(optim.OPTIMIZERS)}."
_DTYPE = f"One of {', '.join(DTYPES)}."
_DEVICE = "One that `mlp-xp backends` lists; by default the library's own choice."
_seed = click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="Of all that is random.")
_SHOW_DEFAULTS = {"show_default": True}


def _activations(text: str) -> Activation:
    names = [name.strip() for name in text.split(",")]
    return names if len(names) > 1 else names[0]


# --- train -------------------------------------------------------------------------------------------------------


@commands.command(context_settings=_SHOW_DEFAULTS)
@click.option("--backend", default="numpy", help=f"One of {', '.join(BACKENDS)}.")
@click.option("--device", help=_DEVICE)
@click.option("--data", "path", type=click.Path(), help="An .npz file or a folder of IDX files, in place of digits.")
@click.option("--hidden", default="128", help="Widths of the hidden layers, comma separated; 0 for none.")
@click.option("--activation", default="relu", help=_ACTIVATION)
@click.option("--optimizer", default="adam", help=_OPTIMIZER)
@click.option("--lr", type=float, default=0.003, help="The learning rate.")
@click.option("--batch-size", type=click.IntRange(1), default=32, help="Rows in a step.")
@click.option("--epochs", type=click.IntRange(1), default=30, help="Passes over the training rows.")
@click.option("--l2", type=float, default=0.0, help="Strength of the penalty on squared weights.")
@click.option("--dropout", type=float, default=0.2, help="The share of hidden units dropped in each step.")
@click.option("--label-smoothing", type=float, default=0.1, help="The share of a target that goes to all classes.")
@click.option("--dtype", default="float32", help=_DTYPE)
@_seed
@click.option("--output", type=click.Path(), default="mlp_xp.png", help="Where to write the picture, a .png file.")
def train(
    backend: str, device: str | None, path: str | None, hidden: str, activation: str, optimizer: str, lr: float,
    batch_size: int, epochs: int, l2: float, dropout: float, label_smoothing: float, dtype: str, seed: int, output: str,
) -> int:  # fmt: skip
    """Train on handwritten digits, or on data of your own, and draw what was learned."""
    from mlp_xp import plots

    console = _console()
    plots.check_output(output)
    if optimizer not in optim.OPTIMIZERS:
        raise ValueError(f"optimizer must be {one_of(optim.OPTIMIZERS, optimizer)}")
    update_rule = optim.OPTIMIZERS[optimizer](lr)
    widths = _widths(hidden)
    options = TrainOptions(activation=_activations(activation), l2=l2, dropout=dropout, label_smoothing=label_smoothing)
    place = load(backend, dtype, device)
    data = datasets.digits(dtype, seed) if path is None else datasets.load(path, dtype, seed)
    X, y, X_held, y_held = datasets.hold_out(data.X, data.y, _VALIDATION_SHARE, seed)
    sizes = (X.shape[1], *widths, data.classes)
    network = f"{'-'.join(map(str, sizes))}, {activation if widths else 'no hidden layer'}, {optimizer}"
    click.echo(f"{data.name}: {len(X):,} rows to train on, {len(X_held):,} to validate, {len(data.X_test):,} to test")
    click.echo(f"network {network}, on {backend} in {dtype}")

    report = _check_on_slice(_sharpest(backend, device), X, y, sizes, options, seed)
    click.echo(f"gradients on {min(_CHECKED_ROWS, len(X))} rows, {_summary(report)}")
    if report.verdict == "fail":
        click.echo(f"{report}\nnothing was trained")
        return _WRONG

    params = init_params(sizes, xp=place.xp, dtype=place.dtype, device=place.device, seed=seed)
    seen = X[: len(X_held)], y[: len(X_held)]  # in random order, so as good a sample as any
    epochs_done = training.train(
        place.put(X), place.put(y), params, optimizer=update_rule, epochs=epochs, batch_size=batch_size, seed=seed,
        validation=(place.put(X_held), place.put(y_held)), **options,
    )  # fmt: skip
    history = []
    with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite is one sentence of the loop's
        judged = _judged(epochs_done, place.put(seen[0]), place.put(seen[1]), options["activation"])
        for row in _shown(judged, epochs, console):
            history.append(row)
            params = row.params
        predicted = place.to_host(predict(place.put(data.X_test), *params, activation=options["activation"]))

    right = int(np.sum(predicted == data.y_test))
    share = right / len(predicted)
    console.print(_confusion_table(data.y_test, predicted, data.classes))
    click.echo(f"test accuracy {share:.2%} ({right:,} of {len(predicted):,}) after {history[-1].seconds:.1f} s")
    curves = plots.Curves(
        [row.training for row in history], [row.validation for row in history], [row.accuracy for row in history]
    )
    title = f"{data.name}: {network}, test accuracy {100 * share:.1f} %"
    figure = plots.training_figure(title, curves, place.to_host(params[0]), data.image_shape, classes=not widths)
    plots.save(figure, output)
    click.echo(f"wrote {output}")
    return 0


def _widths(text: str) -> tuple[int, ...]:
    """``"128,64"`` -> (128, 64); ``""`` and ``"0"`` -> ()."""
    if text.strip() in ("", "0"):
        return ()
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = (0,)
    if min(widths) < 1:
        raise ValueError(f"hidden must be positive whole numbers, comma separated, or 0 for no layer, got {text!r}")
    return widths


def _sharpest(backend: str, device: str | None) -> Place:
    """Where this library has float64, in which differences are sharp: the device, or the one it would choose."""
    try:
        return load(backend, "float64", device)
    except ValueError:
        return load(backend, "float64")


def _check_on_slice(
    place: Place, X: NDArray[Any], y: NDArray[Any], sizes: tuple[int, ...], options: TrainOptions, seed: int
) -> Report:
    params = init_params(sizes, xp=place.xp, dtype=place.dtype, device=place.device, seed=seed)
    rows = place.put(X[:_CHECKED_ROWS]), place.put(y[:_CHECKED_ROWS])
    return _check(place.xp, *rows, params, Options(**options, seed=seed), seed, _CHECKED_ENTRIES)


def _check(
    xp: Namespace, X: Array, y: Array, params: Params, options: Options, seed: int, max_entries: int = 10_000
) -> Report:
    """Are the gradients that training follows those of the objective?"""

    def f(*params: Array) -> Array:
        def alike(array: Array) -> Array:  # so that differences of float32 parameters can be taken in float64
            return xp.astype(array, params[0].dtype) if is_floating(xp, array.dtype) else array

        weight = options.get("sample_weight")
        weighted = {} if weight is None else {"sample_weight": alike(weight)}
        return objective(alike(X), alike(y), *params, **cast(Options, {**options, **weighted}))

    def grad(*params: Array) -> Params:
        return loss_and_grads(X, y, *params, **options)[1]

    names = [parameter_name(position) for position in range(len(params))]
    return gradcheck(f, grad, params, names, seed, vectorized=True, max_entries=max_entries)


def _summary(report: Report) -> str:
    """``checked in float64: pass, relative errors above 1.2e-09 would have been seen (87 evaluations)``."""
    resolution = max(row.resolution for row in report.tensors)
    why = [f"{row.name}: {row.diagnosis}" for row in report.tensors if row.diagnosis][:1]
    return (
        f"checked in {report.reference}: {report.verdict}, relative errors above {resolution:.1e} would have been seen "
        f"({report.evaluations:,} evaluations){''.join(f'; {reason}' for reason in why)}"
    )


class _Judged(NamedTuple):
    """An epoch with both losses measured alike: on as many rows, without penalties, smoothing and dropout."""

    number: int
    training: float
    validation: float
    accuracy: float
    seconds: float
    params: Params

    def __str__(self) -> str:
        return f"loss {self.training:.4f} (validation {self.validation:.4f}), accuracy {self.accuracy:.2%}"


def _judged(epochs: Iterable[training.Epoch], X: Array, y: Array, activation: Activation) -> Iterator[_Judged]:
    for epoch in epochs:
        loss = float(objective(X, y, *epoch.params, activation=activation))
        validation = cast(float, epoch.val_loss), cast(float, epoch.val_accuracy)  # there is a validation set
        yield _Judged(epoch.number, loss, *validation, epoch.seconds, epoch.params)


def _shown(epochs: Iterable[_Judged], total: int, console: Console) -> Iterator[_Judged]:
    """The same epochs, each shown as it passes: on a progress bar in a terminal, as a line elsewhere."""
    if not console.is_terminal:
        for epoch in epochs:
            click.echo(f"epoch {epoch.number}/{total}: {epoch}, {epoch.seconds:.1f} s")
            yield epoch
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("", total=total)
        for epoch in epochs:
            progress.update(task, advance=1, description=str(epoch))
            yield epoch


def _confusion_table(y: NDArray[Any], predicted: NDArray[Any], classes: int) -> Table:
    """How often each label (a row) was taken for each label (a column); of many classes only those confused most."""
    if classes > _MOST_CLASSES:
        wrong = predicted != y
        worst = Counter(zip(y[wrong], predicted[wrong], strict=True)).most_common(10)
        rows = [(str(label), str(taken_for), str(times)) for (label, taken_for), times in worst]
        return _table("the most frequent confusions", ("label", "taken for", "times"), rows, right=(0, 1, 2))
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (y, predicted), 1)
    table = []
    for label, row in enumerate(counts):
        cells = [
            "[dim]·[/]" if not count else f"[green]{count}[/]" if label == column else f"[bold red]{count}[/]"
            for column, count in enumerate(row)
        ]
        table.append((f"[bold]{label}[/]", *cells, f"{row[label] / row.sum():.1%}" if row.sum() else ""))
    columns = ("label", *map(str, range(classes)), "right")
    title = "test set: true label (row), predicted (column)"
    return _table(title, columns, table, right=range(len(columns)))


# --- gradcheck ---------------------------------------------------------------------------------------------------

_VARIED_ROWS, _VARIED_INPUTS = 7, 5


class _Variation(NamedTuple):
    """A network and its targets, small enough that all of them take a second."""

    name: str
    sizes: tuple[int, ...]
    y: NDArray[Any]
    options: Mapping[str, Any]


def _variations(seed: int) -> Iterator[_Variation]:
    """Whatever has a derivative of its own, one at a time, and at last all together."""
    random = np.random.default_rng(seed)
    n, d_in, d_h, k = _VARIED_ROWS, _VARIED_INPUTS, 4, 3
    sizes = (d_in, d_h, k)
    labels = random.integers(0, k, n)
    soft = random.random((n, k))
    several = random.integers(0, 2, (n, k)).astype(float)
    weights = random.random(n)
    for activation in ACTIVATIONS:
        yield _Variation(activation, sizes, labels, {"activation": activation})
    for criterion in CRITERIA:
        for kind, y in (("labels", labels), ("soft targets", soft), ("multilabel targets", several)):
            yield _Variation(f"{criterion}, {kind}", sizes, y, {"criterion": criterion})
    binary = {"criterion": "sigmoid_cross_entropy"}
    yield _Variation("sigmoid_cross_entropy, binary labels", (d_in, d_h, 1), labels % 2, binary)
    for depth in range(4):
        hidden = (d_h,) * depth
        activations = ("tanh", "gelu", "silu")[:depth]
        yield _Variation(f"hidden layers: {depth}", (d_in, *hidden, k), labels, {"activation": activations})
    options = {"l2": 0.1, "l1": 0.1, "label_smoothing": 0.1, "sample_weight": weights, "dropout": 0.4}
    for name, value in options.items():
        yield _Variation(name, sizes, labels, {name: value, "seed": seed})
    yield _Variation("all of these", (d_in, d_h, d_h, k), labels, {**options, "activation": "gelu", "seed": seed})


def _check_variation(place: Place, variation: _Variation, seed: int) -> Report:
    random = np.random.default_rng(seed)
    X = random.normal(size=(_VARIED_ROWS, _VARIED_INPUTS))
    shapes = [shape for d_in, d_out in pairwise(variation.sizes) for shape in ((d_in, d_out), (d_out,))]
    params = tuple(place.put(random.normal(size=shape)) for shape in shapes)
    options = {
        name: place.put(value) if isinstance(value, np.ndarray) else value for name, value in variation.options.items()
    }
    return _check(place.xp, place.put(X), place.put(variation.y), params, cast(Options, options), seed)


@commands.command("gradcheck", context_settings=_SHOW_DEFAULTS)
@click.option("--backend", default="numpy", help=f"all, or one of {', '.join(BACKENDS)}.")
@click.option("--device", help=_DEVICE)
@click.option("--dtype", default="float64", help=_DTYPE)
@_seed
def gradcheck_command(backend: str, device: str | None, dtype: str, seed: int) -> int:
    """Check every hand-derived gradient against finite differences; exit with 1 when one is wrong."""
    console = _console()
    places: dict[str, Place] = {}
    left_out = []
    for name in BACKENDS if backend == "all" else (backend,):
        try:
            _sharpest(name, device)  # where JAX learns float64, in which differences are taken
            places[name] = load(name, dtype, device)
        except ValueError as error:
            if backend != "all":
                raise
            left_out.append(f"left out: {error}")
    if not places:
        raise ValueError(left_out[0])

    rows, failures, verdicts = [], [], []
    with console.status("checking") as status:
        for name, place in places.items():
            for variation in _variations(seed):
                status.update(f"checking {name}: {variation.name}")
                report = _check_variation(place, variation, seed)
                verdicts.append(report.verdict)
                worst = max(row.relative_error for row in report.tensors)
                colour = {"pass": "green", "inconclusive": "yellow", "fail": "bold red"}[report.verdict]
                verdict = f"[{colour}]{report.verdict}[/]"
                rows.append((variation.name, name, verdict, f"{worst:.1e}", f"{report.evaluations:,}"))
                if not report.ok:
                    failures.append(f"{variation.name} on {name}: {report}")
    columns = ("variation", "backend", "verdict", "worst relative error", "evaluations")
    console.print(_table(f"gradients in {dtype} against finite differences", columns, rows, right=(3, 4)))
    for line in (*failures, *left_out):
        click.echo(line)
    click.echo(", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("pass", "inconclusive", "fail")))
    return _WRONG if "fail" in verdicts else 0


# --- cost --------------------------------------------------------------------------------------------------------


@commands.command(context_settings=_SHOW_DEFAULTS)
@click.argument("sizes", type=click.IntRange(1), nargs=-1, required=True)
@click.option("--n", type=click.IntRange(1), default=128, help="Rows in the batch.")
@click.option("--dtype", default="float32", help="Of the arrays.")
@click.option("--activation", default="sigmoid", help=_ACTIVATION)
@click.option("--criterion", default="softmax_cross_entropy", help=f"One of {', '.join(CRITERIA)}.")
@click.option("--optimizer", default="sgd", help=_OPTIMIZER)
def cost(sizes: tuple[int, ...], n: int, dtype: str, activation: str, criterion: str, optimizer: str) -> None:
    """Count the operations and the memory of a training step of the network SIZES, such as 784 800 10."""
    activations = cast("str | list[str]", _activations(activation))
    counted = step_cost(sizes, n, dtype, activation=activations, criterion=criterion, optimizer=optimizer)
    flops = counted.forward_flops + counted.backward_flops
    figures = (
        ("parameters", counted.parameters, ""),
        ("forward", counted.forward_flops, "FLOP"),
        ("backward", counted.backward_flops, "FLOP"),
        ("both", flops, "FLOP"),
        (f"of which matrix products, {counted.matmul_flops / flops:.1%}", counted.matmul_flops, "FLOP"),
        ("kept from forward for backward", counted.activation_bytes, "B"),
        ("parameters, and the gradients as much again", counted.parameter_bytes, "B"),
        (f"state of the optimizer, {optimizer}", counted.optimizer_bytes, "B"),
    )
    rows = [(name, _readable(value, unit), f"{value:,}") for name, value, unit in figures]
    title = f"one step of {'-'.join(map(str, sizes))} on {n:,} rows in {dtype}"
    _console().print(_table(title, ("", "about", "exactly"), rows, right=(1, 2)))


def _readable(value: float, unit: str) -> str:
    """Three digits and a prefix: ``163 MFLOP``."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if value < 999.5 or prefix == "P":
            break
        value /= 1000.0
    return f"{value:.3g} {prefix}{unit}".rstrip()


# --- backends ----------------------------------------------------------------------------------------------------


@commands.command()
def backends() -> None:
    """List the array libraries: version, devices, and whether a matrix product ran."""
    from rich.markup import escape

    rows = []
    for name in BACKENDS:
        found = probe(name)
        verdict = "[green]usable[/]" if found.usable else f"[yellow]{escape(found.reason or '')}[/]"
        rows.append((name, found.version or "-", ", ".join(found.devices) or "-", verdict))
    _console().print(_table("array libraries", ("name", "version", "devices", "usable here"), rows))


# --- the screen --------------------------------------------------------------------------------------------------


def _console() -> Console:
    """Standard output; in a pipe or a file there is no window whose width would cut a line."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> Table:
    """A table whose columns number ``right`` are flush right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    flush = set(right)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position in flush else "left")
    for row in rows:
        table.add_row(*row)
    return table
