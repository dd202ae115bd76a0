"""What data is taken for, before anything is learned from it: ``train --dry-run``, and ``inspect`` given data."""

import math
from collections.abc import Iterator
from typing import Any

from rich.markup import escape

from mlp_xp._lib.wording import count_of, readable
from mlp_xp.backends.timing import Task, time_step
from mlp_xp.cli._memory import cost_of_step, rows_of_step
from mlp_xp.cli._output import Screen, Table
from mlp_xp.cli._prepare import Look, look
from mlp_xp.cli._run import Run
from mlp_xp.data import Reading
from mlp_xp.data.recipe import Wanted

_TIMED = 2e10  # FLOP: a step of more is not timed, for one takes a second or more
_SECONDS = 0.1  # of timing


def inspect_data(screen: Screen, data: str, target: str | None, reading: Reading) -> None:
    """``mlp-xp inspect`` for the data of this name; its target is the last column, unless another is named."""
    screen.record(show_columns(screen, look(data, Wanted(target), reading)))


def show_columns(screen: Screen, look: Look) -> dict[str, Any]:
    """Show what each column is taken for, and what was found; the same as a record."""
    source, learned = look
    if learned.columns:
        screen.show(_table(look))
    for note in look.notes:
        screen.say(f"note: {note}")
    recipe = learned.recipe
    left_out = sum(not column.becomes and column.name != recipe.target for column in learned.columns)
    made = f"{count_of(recipe.width, 'number')} a row"
    if learned.columns:
        made += f", of {count_of(len(learned.columns) - left_out - (recipe.target is not None), 'column')}"
    screen.say(f"{count_of(learned.rows, 'row')}; {made}{f'; {left_out:,} left out' if left_out else ''}")
    screen.say(f"{recipe.task}, since {learned.reason}")
    return {
        "data": source.where, "rows": learned.rows, "numbers_a_row": recipe.width, "task": recipe.task,
        "reason": learned.reason, "target": recipe.target, "reading": source.reading._asdict(),
        "columns": [column._asdict() for column in learned.columns], "notes": look.notes,
    }  # fmt: skip


def _table(look: Look) -> Table:
    rows = []
    for column in look.learned.columns:
        distinct = "many" if column.distinct is None else f"{column.distinct:,}"
        counts = (
            f"{column.values:,}",
            f"{column.missing:,}",
            distinct,
            f"{column.becomes:,}" if column.becomes else "",
        )
        rows.append((escape(column.name), escape(column.taken_for), *counts, escape(column.why)))
    headings = ("column", "taken for", "values", "missing", "distinct", "numbers", "why")
    return Table(f"{look.source.where}: what each column is taken for", headings, rows, right=range(2, 6))


def show_cost(run: Run) -> dict[str, Any]:
    """Show what it costs to train the network of ``run``; the same as a record."""
    estimator, dtype = run.model.estimator, run.options["dtype"]
    n = len(run.data.splits[0].trained)
    batch = rows_of_step(estimator, n)
    criterion = estimator._planned_criterion(run.data.outputs).family
    cost, taken = cost_of_step(estimator, run.sizes, batch, dtype, criterion, run.backend)
    steps, flops = math.ceil(n / batch), cost.forward_flops + cost.backward_flops
    facts: dict[str, Any] = {
        "network": run.network, "backend": run.backend, "dtype": dtype, "networks": estimator.ensemble,
        "parameters": cost.parameters, "rows_of_a_step": batch, "steps_of_an_epoch": steps, "flop_of_a_step": flops,
        "bytes": taken,
    }  # fmt: skip
    if flops * estimator.ensemble < _TIMED:
        task = Task(run.backend, run.options["device"], run.sizes, batch, dtype, _SECONDS)
        facts["seconds_of_an_epoch"] = steps * estimator.ensemble * time_step(task)[0]
    for line in _lines(facts, estimator):
        run.screen.say(line)
    return facts


def _lines(facts: dict[str, Any], estimator: Any) -> Iterator[str]:
    times = f"{facts['networks']} times " if facts["networks"] > 1 else ""
    yield (
        f"a step on {count_of(facts['rows_of_a_step'], 'row')}: {times}{count_of(facts['parameters'], 'parameter')}, "
        f"{readable(facts['flop_of_a_step'], 'FLOP')}, {readable(facts['bytes'], 'B')}"
    )
    took = facts.get("seconds_of_an_epoch")
    about = f", about {took:.2g} s with {facts['backend']}" if took is not None else ""
    yield (
        f"an epoch: {count_of(facts['steps_of_an_epoch'], 'step')}{about}; "
        f"at most {count_of(estimator.max_iter, 'epoch')}"
    )
    yield "nothing was trained or written"
