"""``mlp-xp evaluate``: how good a model is on rows whose targets are known."""

from __future__ import annotations

import json

import click

from mlp_xp.cli._help import Command
from mlp_xp.cli._options import ROWS, SHOW_DEFAULTS, backend_option, device_option, json_option
from mlp_xp.cli._screen import open_console


@click.command(
    "evaluate", cls=Command, context_settings=SHOW_DEFAULTS, example="evaluate houses.safetensors houses.csv"
)
@click.argument("model")
@click.argument("data")
@backend_option
@device_option
@json_option
def command(model: str, data: str, backend: str, device: str | None, as_json: bool) -> None:
    """Judge MODEL on DATA, whose targets are known: score, interval, confusions or residuals.

    On the data that it was trained on, it is judged on the rows alone that were set aside for the test. For example:
    mlp-xp evaluate houses.safetensors sold_since.csv
    """
    # what it takes is heavy, and `--help` does without
    import numpy as np

    from mlp_xp import data as datasets
    from mlp_xp.cli import _scores
    from mlp_xp.cli._model import digest, open_for, open_model, refuse_no_rows

    opened = open_model(model, backend, device)
    source = open_for(opened, data)
    truths, predictions = [], []
    for X, y in opened.chunks(source, ROWS, labelled=True):
        if y is None:
            raise ValueError(f"{source.where} must hold targets, to judge a model by")
        truths.append(y)
        predictions.append(opened.predict(X))
    if not truths:
        refuse_no_rows(source)
    y, predicted = np.concatenate(truths), np.concatenate(predictions)
    y = opened.known(source.where, y) if opened.is_classifier else y.astype(np.float64)
    where, split = data, opened.header["notes"].get("data", {}).get("split")
    if split is not None and split["digest"] == digest(y):
        labels = y if opened.is_classifier else None
        _, rows = datasets.hold_out(split["share"], split["seed"], len(y), labels)
        if len(rows):
            y, predicted, where = y[rows], predicted[rows], f"{data}, the test rows of its training"
    found = _scores.score(y, predicted, opened.is_classifier)
    if as_json:
        click.echo(json.dumps({"rows_of": where, **found._asdict()}))
        return
    if opened.is_classifier:
        table = _scores.confusion_table(y, predicted, opened.classes, where)
    else:
        table = _scores.residual_table(y, predicted, where)
    open_console().print(table)
    click.echo(str(found))
