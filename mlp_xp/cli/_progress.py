"""What is seen while a network trains: a bar in a terminal, a line an epoch elsewhere, JSON, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from mlp_xp.train import Epoch, Record

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def shown(
    console: Console, epochs: int, rows: int, what: str, before: Callable[[], None], quiet: bool, as_json: bool
) -> Iterator[Callable[[Epoch], None]]:
    """A callback of ``fit`` that shows each epoch.

    Args:
        console: to show it on.
        epochs: at most so many.
        rows: in an epoch.
        what: the validation score is.
        before: called once, before the first one is shown.
        quiet: whether nothing is shown.
        as_json: whether each is a line of JSON.
    """
    seen: list[Record] = []

    def speed() -> float:
        elapsed = seen[-1].seconds - (seen[-2].seconds if len(seen) > 1 else 0.0)
        return rows / max(elapsed, 1e-9)

    def follow(show: Callable[[Record], None]) -> Callable[[Epoch], None]:
        def callback(epoch: Epoch) -> None:
            if not seen:
                before()
            seen.extend(epoch.history[len(seen) :] if not seen else [epoch.last])
            show(epoch.last)

        return callback

    if as_json:
        yield follow(lambda last: click.echo(json.dumps(epoch_record(last, speed()))))
    elif quiet:
        yield follow(lambda last: None)
    elif not console.is_terminal:
        yield follow(lambda last: click.echo(f"epoch {last.number}/{epochs}: {_numbers(last, what)}, {_rate(speed())}"))
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns: list[Any] = [TextColumn("epoch"), MofNCompleteColumn(), BarColumn(bar_width=24)]
        columns += [TextColumn("{task.description}"), TimeRemainingColumn(), TextColumn("left")]
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("checking the gradients", total=epochs)

            def show(last: Record) -> None:
                text = f"{_numbers(last, what)}, {_rate(speed())}"
                progress.update(task, completed=last.number, description=text)

            yield follow(show)


def epoch_record(last: Record, rows_per_second: float) -> dict[str, Any]:
    """The numbers of an epoch, for JSON."""
    return {
        "epoch": last.number, "loss": last.loss, "validation_loss": last.val_loss, "validation_score": last.val_score,
        "learning_rate": last.lr, "seconds": last.seconds, "rows_per_second": round(rows_per_second),
    }  # fmt: skip


def _numbers(last: Record, what: str) -> str:
    score = ""
    if last.val_score is not None:
        score = f", validation {what} " + (f"{last.val_score:.2%}" if what == "accuracy" else f"{last.val_score:.4f}")
    return f"loss {last.loss:.4f}{score}"


def _rate(rows: float) -> str:
    return f"{rows:,.0f} rows/s" if rows < 1e6 else f"{rows / 1e6:.1f} M rows/s"
