"""``mlp-xp predict``: the predictions of a model for new rows, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mlp_xp.cli._help import MODEL, DataName, FileName, command_of
from mlp_xp.cli._options import (
    ROWS,
    OneOf,
    backend_option,
    device_option,
    force_option,
    numbers_in,
    reading_of,
    reading_options,
)  # fmt: skip
from mlp_xp.cli._output import Screen, claimed, to_stderr, with_suffix

if TYPE_CHECKING:
    from mlp_xp.cli._model import Model
    from mlp_xp.cli._writing import Column
    from mlp_xp.data import Chunk, Source


@command_of("predict houses.safetensors new.csv -o prices.csv")
@click.argument("model", type=MODEL)
@click.argument("data", type=DataName())
@click.option(
    "--output",
    "-o",
    type=FileName(".csv", ".parquet", ".npz"),
    help="A .csv, .parquet or .npz file; by default CSV is printed.",
)
@click.option("--keep", multiple=True, help="A column of DATA to write too, or all; can be repeated.")
@click.option("--proba", is_flag=True, help="Write the probability of each class too.")
@click.option("--std", is_flag=True, help="Write a standard deviation too: of loss gaussian, or of an ensemble.")
@click.option("--quantiles", help="Levels of quantiles to write too, comma separated: of loss gaussian, or quantile.")
@click.option("--rows", type=click.IntRange(1), default=ROWS, help="Rows to read at a time.")
@click.option(
    "--unknown",
    type=OneOf("level", "refuse"),
    help="Way to treat new categories; by default as in training.",
)
@reading_options
@backend_option
@device_option
@force_option
def command(
    model: str, data: str, output: str | None, keep: tuple[str, ...], proba: bool, std: bool, quantiles: str | None,
    rows: int, unknown: str | None, backend: str, device: str | None, force: bool, **reading: Any,
) -> None:  # fmt: skip
    """Predict with MODEL the rows of DATA, which has the columns that the model was trained on.

    The rows are read a batch at a time, so DATA may be larger than the memory. For example: mlp-xp predict
    houses.safetensors new.csv -o prices.csv
    """
    # imported here: --help must stay fast
    from mlp_xp.cli._model import Counts, open_for, open_model
    from mlp_xp.cli._writing import Column, writing

    path = None if output is None else with_suffix(output, ".csv", ".parquet", ".npz")
    with claimed(path, force=force, inputs=(model, data)):
        opened = open_model(model, backend, device)
        if proba and not opened.is_classifier:
            raise ValueError(f"{model} has no probabilities: it is a regression")
        if (std or quantiles) and opened.is_classifier:
            raise ValueError(
                f"{model} has neither std nor quantiles: it is a classification; --proba says how sure it is"
            )
        if unknown is not None:
            opened = opened._replace(recipe=opened.recipe._replace(unknown=unknown))
        source, levels = open_for(opened, data, reading_of(reading)), numbers_in("quantiles", quantiles)
        counts, count = Counts(), 0
        said = _said(opened, proba, std, levels)
        in_arrays = path is not None and path.suffix.lower() == ".npz"
        kept = _kept(source, keep, [column.array if in_arrays else column.name for column in said])
        with writing(path, [*(Column(name, name) for name in kept), *said]) as write:
            for chunk, encoded in opened.chunks(source, rows):
                counts.add(opened.recipe, chunk, encoded)
                X, beside = encoded.X, [_values(source, chunk, name) for name in kept]
                more = [*(opened.predict_proba(X).T if proba else ()), *opened.spread(X, std, levels)]
                write([*beside, opened.predict(X), *more])
                count += len(X)
    for note in filter(None, (*source.notes, str(counts))):
        to_stderr(f"note: {note}")
    if path is not None:
        Screen().say(f"wrote {count:,} rows to {path}")


def _said(model: Model, proba: bool, std: bool, levels: Sequence[float]) -> list[Column]:
    """The columns of what the model says."""
    from mlp_xp.cli._writing import Column

    predicted = f"predicted_{model.recipe.target or 'target'}"
    return [
        Column(predicted, "prediction"),
        *([Column(f"probability_{label}", "probability") for label in model.classes] if proba else []),
        *([Column(f"{predicted}_std", "std")] if std else []),
        *(Column(f"{predicted}_q{level:g}", "quantiles") for level in levels),
    ]


def _kept(source: Source, keep: Sequence[str], taken: Sequence[str]) -> list[str]:
    """The columns of the data to write, in its order for "all"; ``taken`` are the names of what is predicted.

    Raises:
        ValueError: for a column that is not there, or whose name is that of a prediction.
    """
    from mlp_xp.data.encoding import check_named

    if not keep:
        return []
    if source.columns is None:
        raise ValueError(f"--keep names columns of a table, {source.where} has none")
    for name in keep:
        if name != "all":
            check_named("--keep", source.where, source.columns, name)
    kept = [*source.columns] if "all" in keep else list(dict.fromkeys(keep))
    for name in kept:
        if name in taken:
            raise ValueError(f"{source.where} has a column {name!r}, as the predictions are called: --keep others")
    return kept


def _values(source: Source, chunk: Chunk, name: str) -> Any:
    """A column of the data, as it is there."""
    if source.is_table:
        return chunk.X[name]
    assert source.columns is not None
    return chunk.X[:, source.columns.index(name)]
