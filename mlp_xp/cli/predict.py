"""``mlp-xp predict``: the predictions of a model for new rows, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mlp_xp._lib.wording import count_of
from mlp_xp.cli._help import MODEL, DataName, FileName, command_of
from mlp_xp.cli._options import (
    ColumnName,
    OneOf,
    backend_option,
    device_option,
    force_option,
    numbers_in,
    reading_of,
    reading_options,
)  # fmt: skip
from mlp_xp.cli._output import Screen, claimed, to_stderr, with_suffix
from mlp_xp.cli._process import nobody_reads

if TYPE_CHECKING:
    from mlp_xp.cli._model import Model
    from mlp_xp.cli._writing import Column
    from mlp_xp.data import Chunk, Source
    from mlp_xp.data.recipe import Encoded


@command_of("predict houses.safetensors new.csv -o prices.csv", doing="predicting the rows of {data}")
@click.argument("model", type=MODEL)
@click.argument("data", type=DataName())
@click.option(
    "--output",
    "-o",
    type=FileName(".csv", ".parquet", ".npz"),
    help="A .csv, .parquet or .npz file; by default CSV is printed.",
)
@click.option(
    "--keep", type=ColumnName("all"), multiple=True, help="A column of DATA to write too, or all; can be repeated."
)
@click.option("--proba", is_flag=True, help="Write the probability of each class too.")
@click.option("--std", is_flag=True, help="Write a standard deviation too: of loss gaussian, or of an ensemble.")
@click.option("--quantiles", help="Levels of quantiles to write too, comma separated: of loss gaussian, or quantile.")
@click.option("--rows", type=click.IntRange(1), help="Rows to read at a time; by default a million numbers.")
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
    rows: int | None, unknown: str | None, backend: str, device: str | None, force: bool, **reading: Any,
) -> None:  # fmt: skip
    """Predict with MODEL the rows of DATA, which has the columns that the model was trained on.

    Each row of DATA has a prediction, in its order; of a model that was trained with --missing drop it is empty where a
    value is missing.

    The rows are read a batch at a time, so DATA may be larger than the memory. For example: mlp-xp predict
    houses.safetensors new.csv -o prices.csv
    """
    # imported here: --help must stay fast
    from mlp_xp.cli._model import Counts, open_for, open_model
    from mlp_xp.cli._writing import Column, writing
    from mlp_xp.criterion import criterion_named

    path = None if output is None else with_suffix(output, ".csv", ".parquet", ".npz", option="--output")
    with claimed(path, force=force, inputs=(model, data)):
        opened = open_model(model, backend, device)
        if proba and not opened.is_classifier:
            raise ValueError(f"{model} has no probabilities: it is a regression")
        if (std or quantiles) and opened.is_classifier:
            raise ValueError(
                f"{model} has neither std nor quantiles: it is a classification; --proba says how sure it is"
            )
        criterion = criterion_named(opened.estimator._criterion())
        if std and not (criterion.scale or opened.estimator.ensemble > 1):
            raise ValueError(f"{model} has no std: train with --loss gaussian, or an --ensemble, for --std")
        if quantiles and not (criterion.scale or criterion.levels):
            raise ValueError(f"{model} has no quantiles: train with --loss quantile or gaussian for --quantiles")
        if unknown is not None:
            opened = opened._replace(recipe=opened.recipe._replace(unknown=unknown))
        asked = _Asked(proba, std, numbers_in("quantiles", quantiles))
        source, said = open_for(opened, data, reading_of(reading)), _said(opened, asked)
        counts, count = Counts("with a missing value can't be predicted: the prediction is empty"), 0
        in_arrays = path is not None and path.suffix.lower() == ".npz"
        kept = _kept(source, keep, [column.array if in_arrays else column.name for column in said])
        with writing(path, [*(Column(name, name) for name in kept), *said]) as write:
            for chunk, encoded in opened.chunks(source, rows):
                counts.add(opened.recipe, chunk, encoded)
                beside = [_values(source, chunk, name) for name in kept]
                write([*beside, *_predicted(opened, asked, chunk, encoded)])
                count += len(chunk.X)
                if path is None and nobody_reads():
                    break
    for note in filter(None, (*source.notes, str(counts))):
        to_stderr(f"note: {note}")
    if path is not None:
        Screen().say(f"wrote {count_of(count, 'row')} to {path}")


class _Asked(NamedTuple):
    """What is wanted besides a prediction: probabilities, a standard deviation, quantiles of these levels."""

    proba: bool
    std: bool
    levels: tuple[float, ...]


def _said(model: Model, asked: _Asked) -> list[Column]:
    """The columns of what the model says."""
    from mlp_xp.cli._writing import Column

    predicted = f"predicted_{model.recipe.target or 'target'}"
    return [
        Column(predicted, "prediction"),
        *([Column(f"probability_{label}", "probability") for label in model.classes] if asked.proba else []),
        *([Column(f"{predicted}_std", "std")] if asked.std else []),
        *(Column(f"{predicted}_q{level:g}", "quantiles") for level in asked.levels),
    ]


def _predicted(model: Model, asked: _Asked, chunk: Chunk, encoded: Encoded) -> list[Any]:
    """What the model says of each row of a chunk; masked where a row is not among those that are encoded."""
    import numpy as np

    X, n = encoded.X, len(chunk.X)
    if not len(X):
        _, *more = _said(model, asked)
        dtype = model.classes.dtype if model.is_classifier else np.float64
        return [_gaps(n, dtype), *(_gaps(n, np.float64) for _ in more)]
    probabilities = model.predict_proba(X).T if asked.proba else ()
    said = [model.predict(X), *probabilities, *model.spread(X, asked.std, asked.levels)]
    if len(X) == n:
        return said
    whole = [_gaps(n, each.dtype) for each in said]
    for column, each in zip(whole, said, strict=True):
        column[encoded.kept - chunk.first] = each
    return whole


def _gaps(n: int, dtype: Any) -> Any:
    """A column of so many gaps."""
    import numpy as np

    return np.ma.MaskedArray(np.zeros(n, dtype), mask=True)


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
