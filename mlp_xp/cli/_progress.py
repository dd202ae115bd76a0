"""The display of a training: a bar in a terminal, a line an epoch elsewhere, JSON, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mlp_xp.cli._run import Run
from mlp_xp.estimators.reporting import progress_bar
from mlp_xp.train import Epoch, Record


@contextmanager
def shown(run: Run, before: Callable[[], None]) -> Iterator[Callable[[Epoch], None]]:
    """A callback of ``fit`` that shows each epoch; it calls ``before`` once, ahead of the first."""
    screen, epochs, rows = run.screen, run.model.estimator.max_iter, run.data.training.X.shape[0]
    seen: list[Record] = []

    def speed() -> float:
        """Rows per second of the last epoch."""
        elapsed = seen[-1].seconds - (seen[-2].seconds if len(seen) > 1 else 0.0)
        return rows / max(elapsed, 1e-9)

    def describe(last: Record) -> str:
        return f"{_numbers(last, run.model.score_name)}, {_rate(speed())}"

    console = screen.console if screen.is_terminal else None
    with progress_bar(console is not None, epochs, describe, console, "checking the gradients") as show_bar:

        def callback(epoch: Epoch) -> None:
            if not seen:
                before()
            seen.extend([epoch.last] if seen else epoch.history)
            screen.record(_epoch_record(epoch.last, speed()))
            show_bar(epoch)
            if console is None:
                screen.say(f"epoch {epoch.last.number}/{epochs}: {describe(epoch.last)}")

        yield callback


def _epoch_record(last: Record, rows_per_second: float) -> dict[str, Any]:
    """The numbers of an epoch, for JSON."""
    return {
        "epoch": last.number, "loss": last.loss, "validation_loss": last.val_loss, "validation_score": last.val_score,
        "learning_rate": last.lr, "seconds": last.seconds, "rows_per_second": round(rows_per_second),
    }  # fmt: skip


def _numbers(last: Record, score: str) -> str:
    if last.val_score is None:
        return f"loss {last.loss:.4f}"
    value = f"{last.val_score:.2%}" if score == "accuracy" else f"{last.val_score:.4f}"
    return f"loss {last.loss:.4f}, validation {score} {value}"


def _rate(rows: float) -> str:
    return f"{rows:,.0f} rows/s" if rows < 1e6 else f"{rows / 1e6:.1f} M rows/s"
