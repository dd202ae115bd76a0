"""Who hears of an epoch while an estimator learns: a progress bar, and scikit-learn's own callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mlp_xp.train import Epoch


@contextmanager
def reporting(estimator: Any, X: Any, y: Any, epochs: int) -> Iterator[Callable[[Epoch, bool], bool]]:
    """A function that shows an epoch on a bar and to scikit-learn's callbacks: whether one of them says stop.

    It is told whether the epoch is the last. Without epochs the callbacks hear of the fit alone.
    """
    with _progress_bar(estimator.progress and epochs > 0, epochs) as show:
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
def _progress_bar(wanted: bool, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """A function that shows an epoch on a bar; nothing where no bar is wanted."""
    if not wanted:
        yield lambda epoch: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task("", total=epochs)

        def show(epoch: Epoch) -> None:
            last = epoch.last
            score = "" if last.val_score is None else f", validation score {last.val_score:.4f}"
            progress.update(task, advance=1, description=f"loss {last.loss:.4f}{score}")

        yield show
