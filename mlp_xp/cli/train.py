"""``mlp-xp train``: check the gradients, train, and draw what was learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click
import numpy as np
from numpy.typing import NDArray

from mlp_xp import data as datasets
from mlp_xp import optim
from mlp_xp import train as training
from mlp_xp._arguments import Activation, one_of
from mlp_xp._typing import Array, Params
from mlp_xp.backends import BACKENDS, Place, load, to_host
from mlp_xp.cli._options import ACTIVATION, DEVICE, DTYPE, OPTIMIZER, SHOW_DEFAULTS, activation_names, seed_option
from mlp_xp.cli._screen import make_table, open_console
from mlp_xp.cli.gradcheck import WRONG, sharpest
from mlp_xp.gradcheck import Report
from mlp_xp.mistakes import check_gradients
from mlp_xp.mlp import TrainOptions, init_params, objective, predict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# `train` checks its gradients on so many rows; on failure so many entries of a parameter are compared
_CHECKED_ROWS, _CHECKED_ENTRIES = 16, 500

_VALIDATION_SHARE = 0.1  # of the training rows
_MOST_CLASSES = 20  # in a confusion table that can still be read


@click.command("train", context_settings=SHOW_DEFAULTS)
@click.option("--backend", default="numpy", help=f"One of {', '.join(BACKENDS)}.")
@click.option("--device", help=DEVICE)
@click.option("--data", "path", type=click.Path(), help="An .npz file or a folder of IDX files, in place of digits.")
@click.option("--hidden", default="128", help="Widths of the hidden layers, comma separated; 0 for none.")
@click.option("--activation", default="relu", help=ACTIVATION)
@click.option("--optimizer", default="adam", help=OPTIMIZER)
@click.option("--lr", type=float, default=0.003, help="The learning rate.")
@click.option("--batch-size", type=click.IntRange(1), default=32, help="Rows in a step.")
@click.option("--epochs", type=click.IntRange(1), default=30, help="Passes over the training rows.")
@click.option("--l2", type=float, default=0.0, help="Strength of the penalty on squared weights.")
@click.option("--dropout", type=float, default=0.2, help="The share of hidden units dropped in each step.")
@click.option("--label-smoothing", type=float, default=0.1, help="The share of a target that goes to all classes.")
@click.option("--dtype", default="float32", help=DTYPE)
@seed_option
@click.option("--output", type=click.Path(), default="mlp_xp.png", help="Where to write the picture, a .png file.")
def command(
    backend: str, device: str | None, path: str | None, hidden: str, activation: str, optimizer: str, lr: float,
    batch_size: int, epochs: int, l2: float, dropout: float, label_smoothing: float, dtype: str, seed: int, output: str,
) -> int:  # fmt: skip
    """Train on handwritten digits, or on data of your own, and draw what was learned."""
    from mlp_xp import plots

    console = open_console()
    plots.check_output(output)
    if optimizer not in optim.OPTIMIZERS:
        raise ValueError(f"optimizer must be {one_of(optim.OPTIMIZERS, optimizer)}")
    update_rule = optim.OPTIMIZERS[optimizer]()
    widths = _widths(hidden)
    options = TrainOptions(
        activation=activation_names(activation), l2=l2, dropout=dropout, label_smoothing=label_smoothing
    )
    place = load(backend, dtype, device)
    data = datasets.digits(dtype, seed) if path is None else datasets.load(path, dtype, seed)
    X, y, X_held, y_held = datasets.hold_out(data.X, data.y, _VALIDATION_SHARE, seed)
    sizes = (X.shape[1], *widths, data.classes)
    network = f"{'-'.join(map(str, sizes))}, {activation if widths else 'no hidden layer'}, {optimizer}"
    click.echo(f"{data.name}: {len(X):,} rows to train on, {len(X_held):,} to validate, {len(data.X_test):,} to test")
    click.echo(f"network {network}, on {backend} in {dtype}")

    report = _check_on_slice(sharpest(backend, device), X, y, sizes, options, seed)
    click.echo(f"gradients on {min(_CHECKED_ROWS, len(X))} rows, {_summary(report)}")
    if report.verdict == "fail":
        click.echo(f"{report}\nnothing was trained")
        return WRONG

    params = init_params(sizes, xp=place.xp, dtype=place.dtype, device=place.device, seed=seed)
    seen = X[: len(X_held)], y[: len(X_held)]  # in random order, so as good a sample as any
    epochs_done = training.train(
        place.put(X), place.put(y), params, epochs=epochs, optimizer=update_rule, lr=lr, batch_size=batch_size,
        seed=seed, validation=(place.put(X_held), place.put(y_held)), **options,
    )  # fmt: skip
    history = []
    with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite is one sentence of the loop's
        judged = _judged(epochs_done, place.put(seen[0]), place.put(seen[1]), options["activation"])
        for row in _shown(judged, epochs, console):
            history.append(row)
            params = row.params
        predicted = to_host(predict(place.put(data.X_test), *params, activation=options["activation"]))

    right = int(np.sum(predicted == data.y_test))
    share = right / len(predicted)
    console.print(_confusion_table(data.y_test, predicted, data.classes))
    click.echo(f"test accuracy {share:.2%} ({right:,} of {len(predicted):,}) after {history[-1].seconds:.1f} s")
    curves = plots.Curves(
        [row.training for row in history], [row.validation for row in history], [row.accuracy for row in history]
    )
    title = f"{data.name}: {network}, test accuracy {100 * share:.1f} %"
    figure = plots.training_figure(title, curves, to_host(params[0]), data.image_shape, classes=not widths)
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


def _check_on_slice(
    place: Place, X: NDArray[Any], y: NDArray[Any], sizes: tuple[int, ...], options: TrainOptions, seed: int
) -> Report:
    params = init_params(sizes, xp=place.xp, dtype=place.dtype, device=place.device, seed=seed)
    rows = place.put(X[:_CHECKED_ROWS]), place.put(y[:_CHECKED_ROWS])
    return check_gradients(*rows, *params, max_entries=_CHECKED_ENTRIES, seed=seed, **options)


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
        last = epoch.last
        validation = cast(float, last.val_loss), cast(float, last.val_score)  # there is a validation set
        yield _Judged(last.number, loss, *validation, last.seconds, epoch.params)


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
        return make_table("the most frequent confusions", ("label", "taken for", "times"), rows, right=(0, 1, 2))
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
    return make_table(title, columns, table, right=range(len(columns)))
