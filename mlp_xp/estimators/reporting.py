"""What an estimator says while it learns: a progress bar, scikit-learn's own callbacks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlp_xp.train import Epoch, Record

if TYPE_CHECKING:
    from rich.console import Console


NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)
"""Scikit-learn's sentence for a run that diverged."""


@contextmanager
def reporting(estimator: Any, X: Any, y: Any, epochs: int) -> Iterator[Callable[[Epoch, bool], bool]]:
    """A function ``report(epoch, is_last)`` that shows an epoch; it returns whether a callback asks to stop.

    Args:
        estimator: the one that learns; its ``progress`` decides whether there is a bar.
        X: the training data, for scikit-learn's callbacks.
        y: their targets.
        epochs: the largest number of epochs; 0 for a solver without epochs, whose callbacks hear of the fit alone.
    """
    with progress_bar(estimator.progress and epochs > 0, epochs, _loss_and_score) as show:
        if not hasattr(estimator, "_skl_callbacks"):
            yield lambda epoch, is_last: show(epoch) or False
            return

        def begun() -> Any:
            task = context.subcontext(task_name="epoch")
            task.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
            return task

        context = estimator._init_callback_context(max_subtasks=epochs)
        context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
        task: Any = begun() if epochs else None

        def report(epoch: Epoch, is_last: bool) -> bool:
            nonlocal task
            show(epoch)
            learned = {name: value for name, value in vars(estimator).items() if name.endswith("_")}
            stop = task.call_on_fit_task_end(estimator=estimator, X=X, y=y, reconstruction_attributes=learned)
            if not (stop or is_last or epoch.last.number >= epochs):
                task = begun()
            return bool(stop)

        yield report
        context.call_on_fit_task_end(estimator=estimator, X=X, y=y)


@contextmanager
def progress_bar(
    wanted: bool, epochs: int, describe: Callable[[Record], str], console: "Console | None" = None, at_first: str = ""
) -> Iterator[Callable[[Epoch], None]]:
    """A callback that shows each epoch on a bar in the terminal.

    Args:
        wanted: whether there is a bar; without one the callback does nothing.
        epochs: the largest number of epochs.
        describe: the text beside the bar, from the record of an epoch.
        console: where the bar is shown; rich's own by default.
        at_first: the text beside the bar before the first epoch has ended.
    """
    if not wanted:
        yield lambda epoch: None
        return
    from rich import get_console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = console or get_console()
    text, left = "{task.description}", [TimeRemainingColumn(), TextColumn("left")]
    columns: list[Any] = [TextColumn("epoch"), MofNCompleteColumn(), BarColumn(bar_width=24), TextColumn(text), *left]
    if console.width < 100:  # which has room for one text alone
        columns = [TextColumn(f"epoch {{task.completed:.0f}}/{epochs} {text}")]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(at_first, total=epochs)

        def show(epoch: Epoch) -> None:
            done = min(epoch.last.number, epochs)  # partial_fit counts its epochs over all calls
            progress.update(task, completed=done, description=describe(epoch.last))

        yield show


def _loss_and_score(record: Record) -> str:
    judged = "" if record.val_loss is None else f", validation loss {record.val_loss:.4f}"
    if record.val_score is not None:
        judged = f", validation score {record.val_score:.4f}"
    return f"loss {record.loss:.4f}{judged}"
