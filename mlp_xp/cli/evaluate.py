"""``mlp-xp evaluate``: how good a model is on rows whose targets are known."""

from typing import Any

import click

from mlp_xp.cli._help import command_of
from mlp_xp.cli._options import backend_option, device_option, json_option, reading_of, reading_options
from mlp_xp.cli._output import Screen


@command_of("evaluate houses.safetensors houses.csv")
@click.argument("model")
@click.argument("data")
@reading_options
@backend_option
@device_option
@json_option
def command(model: str, data: str, backend: str, device: str | None, as_json: bool, **reading: Any) -> None:
    """Score MODEL on DATA, whose targets are known: accuracy or R^2 with an interval, confusions or residuals.

    If DATA is what the model was trained on, only the test rows of the training are scored. For example: mlp-xp
    evaluate houses.safetensors sold_since.csv
    """
    # imported here: --help must stay fast
    import numpy as np

    from mlp_xp.cli._model import digest, open_for, open_model
    from mlp_xp.cli._scores import score, score_table
    from mlp_xp.data import hold_out

    opened = open_model(model, backend, device)
    source = open_for(opened, data, reading_of(reading))
    truths, predictions = [], []
    for X, y in opened.chunks(source, why="to judge a model by"):
        truths.append(y)
        predictions.append(opened.predict(X))
    y, predicted = np.concatenate(truths), np.concatenate(predictions)
    y = opened.known(source.where, y) if opened.is_classifier else y.astype(np.float64)
    where, split = data, opened.header["notes"].get("data", {}).get("split")
    if split is not None and split["digest"] == digest(y):
        _, rows = hold_out(split["share"], split["seed"], len(y), y if opened.is_classifier else None)
        if len(rows):
            y, predicted, where = y[rows], predicted[rows], f"{data}, the test rows of its training"
    found, screen = score(y, predicted, opened.is_classifier), Screen(as_json)
    screen.record({"rows_of": where, **found._asdict()})
    screen.show(score_table(opened, y, predicted, where))
    screen.say(str(found))
