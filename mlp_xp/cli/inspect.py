"""``mlp-xp inspect``: architecture, training and columns of a model, and what a step costs; or the columns of data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from mlp_xp._lib.wording import count_of, listed, readable
from mlp_xp.cli._help import DataName, command_of
from mlp_xp.cli._options import ColumnName, reading_of, reading_options
from mlp_xp.cli._output import Screen, Table, decimals, network
from mlp_xp.criterion import criterion_named

if TYPE_CHECKING:
    from mlp_xp.cli._model import Model
    from mlp_xp.train import Record


@command_of("inspect houses.safetensors", "inspect houses.csv --target price", doing="reading {file}")
@click.argument("file", type=DataName(".safetensors"))
@click.option("--target", type=ColumnName(), help="The column of data that is to be learned; by default the last.")
@reading_options
@click.option("--json", "as_json", is_flag=True, help="Print all that the file says, as JSON.")
def command(file: str, target: str | None, as_json: bool, **reading: Any) -> None:
    """Show what is in FILE, a model: architecture, training, cost, data, versions. Or data: each column, what it holds.

    What `train` would take the columns of data for, and why, is shown as by `mlp-xp train FILE --dry-run`.
    """
    # imported here: --help must stay fast
    from rich.markup import escape

    from mlp_xp.data import Reading

    if not file.endswith(".safetensors"):
        from mlp_xp.cli._survey import inspect_data

        inspect_data(Screen(as_json), file, target, reading_of(reading))
        return
    if target is not None or reading_of(reading) != Reading():
        given = [name for name, value in {"target": target, **reading}.items() if value not in (None, ())]
        raise ValueError(f"{file} is a model, which says itself how it reads: --{given[0]} is for data")
    from mlp_xp.cli._columns import uses, uses_table
    from mlp_xp.cli._model import open_model

    opened, screen = open_model(file), Screen(as_json)
    columns = uses(opened.recipe, opened.header["notes"].get("data", {}).get("left_out", {}))
    screen.record({**opened.header, "sizes": _sizes(opened), "columns": [each._asdict() for each in columns]})
    screen.show(Table(file, ("", ""), [(escape(name), escape(value)) for name, value in _facts(opened) if value]))
    if columns:
        screen.show(uses_table(columns))


def _sizes(model: Model) -> list[int]:
    coefs = model.estimator._first_network()[::2]
    return [int(coefs[0].shape[0]), *(int(W.shape[1]) for W in coefs)]


def _facts(model: Model) -> Iterator[tuple[str, str]]:
    """Names and texts, in the order in which they are shown; an empty text is left out."""
    from mlp_xp.cli._columns import reading_line
    from mlp_xp.cli._scores import baseline_in, score_in

    estimator, notes, recipe = model.estimator, model.header["notes"], model.recipe
    yield (
        "network",
        f"{network(_sizes(model), estimator.activation, estimator.ensemble)}, in {estimator.coefs_[0].dtype}",
    )
    yield "task", f"{recipe.task} of {recipe.target}" if recipe.target else recipe.task
    yield "classes", listed(model.classes.tolist(), 12) if model.is_classifier else ""
    yield "inputs", ", ".join(recipe.names[:6]) + (f" ... {len(recipe.names)} in all" if len(recipe.names) > 6 else "")
    yield "standardised", "yes, the scales are in the model" if estimator.scaling_ else "no"
    defaults = type(estimator)().get_params()
    settings = {name: value for name, value in estimator.get_params().items() if value != defaults[name]}
    yield "settings", ", ".join(f"{name}={value}" for name, value in settings.items() if name not in _SHOWN)
    if estimator._history:
        yield from _training(estimator._history, model.score_name)
    if found := notes.get("test"):
        yield "test", str(score_in(found))
        yield "baseline", baseline_in(found)
    yield "a step", _cost_of_a_step(model)
    if about := notes.get("data"):
        watched = f"{about['validated']:,} to validate, " if about["validated"] else ""
        counts = f"{about['trained']:,} trained on, {watched}{about['tested']:,} to test"
        yield "data", f"{about['name']}: {about['rows']:,} rows, {counts}"
        yield "refitted", _refitted(about.get("refitted"))
    yield "text", reading_line(recipe.reading)
    yield "versions", ", ".join(f"{name} {version}" for name, version in notes.get("versions", {}).items())
    yield "again", notes.get("command", "")


def _refitted(refitted: dict[str, int] | None) -> str:
    """What a model learned from after its test; "" where that is what it was tested with."""
    if not refitted:
        return ""
    epochs = f" for {count_of(refitted['epochs'], 'epoch')}" if refitted["epochs"] else ""
    return f"on all {refitted['rows']:,} rows{epochs}; the test is of the model before"


_SHOWN = ("activation", "hidden_layer_sizes", "random_state", "check_gradients")  # elsewhere in the table


def _cost_of_a_step(model: Model) -> str:
    from mlp_xp.cli._memory import cost_of_step, rows_of_step  # imported here: --help must stay fast

    estimator = model.estimator
    batch = rows_of_step(estimator, model.header["notes"].get("data", {}).get("trained", 200))
    dtype, family = str(estimator.coefs_[0].dtype), criterion_named(estimator._criterion()).family
    cost, taken = cost_of_step(estimator, _sizes(model), batch, dtype, family, "numpy")
    flops = readable(cost.forward_flops + cost.backward_flops, "FLOP")
    each = "each network " if estimator.ensemble > 1 else ""
    return (
        f"{each}on {count_of(batch, 'row')}: {count_of(cost.parameters, 'parameter')}, {flops}, {readable(taken, 'B')}"
    )


def _training(history: tuple[Record, ...], score_name: str) -> Iterator[tuple[str, str]]:
    last = history[-1]
    yield "trained", f"{count_of(last.number, 'epoch')}, {count_of(last.steps, 'step')}, {last.seconds:.1f} s"
    yield "loss", f"{decimals(history[0].loss)} {_spark([record.loss for record in history])} {decimals(last.loss)}"
    scores = [record.val_score for record in history if record.val_score is not None]
    if scores:
        best = max(history, key=lambda record: record.val_score or -float("inf"))
        line = f"{decimals(scores[0])} {_spark(scores)} {decimals(scores[-1])}"
        yield f"validation {score_name}", f"{line}, best {decimals(best.val_score or 0.0)} in epoch {best.number}"


_BARS, _WIDTH = "▁▂▃▄▅▆▇█", 30


def _spark(values: list[float]) -> str:
    """A curve as one line of text."""
    shown = values[:: max(1, len(values) // _WIDTH)]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in shown)
