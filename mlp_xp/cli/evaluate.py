"""``mlp-xp evaluate``: how good a model is on rows whose targets are known."""

from collections.abc import Iterator
from typing import Any

import click

from mlp_xp.cli._help import command_of
from mlp_xp.cli._options import backend_option, device_option, json_option
from mlp_xp.cli._output import Screen


@command_of("evaluate houses.safetensors houses.csv")
@click.argument("model")
@click.argument("data")
@backend_option
@device_option
@json_option
def command(model: str, data: str, backend: str, device: str | None, as_json: bool) -> None:
    """Score MODEL on DATA, whose targets are known: accuracy or R^2 with an interval, confusions or residuals.

    If DATA is what the model was trained on, only the test rows of the training are scored. For example: mlp-xp
    evaluate houses.safetensors sold_since.csv
    """
    # imported here: --help must stay fast
    import numpy as np

    from mlp_xp.cli._model import digest, open_for, open_model
    from mlp_xp.cli._score_tables import score_table
    from mlp_xp.cli._scores import judged, lines_of, said_of
    from mlp_xp.data import hold_out

    opened, truths = open_model(model, backend, device), []
    source = open_for(opened, data)

    def parts() -> Iterator[Any]:
        for X, y in opened.chunks(source, why="to judge a model by"):
            truths.append(y)
            yield X

    said, y = said_of(opened, parts()), np.concatenate(truths)
    y = opened.known(source.where, y) if opened.is_classifier else y.astype(np.float64)
    where, notes = data, opened.header["notes"]
    split = notes.get("data", {}).get("split")
    if split is not None and split["digest"] == digest(y):
        _, rows = hold_out(split["share"], split["seed"], len(y), y if opened.is_classifier else None)
        if len(rows):
            y, said, where = y[rows], said.of(rows), f"{data}, the test rows of its training"
    found, screen = judged(opened, y, said), Screen(as_json)
    screen.record({"rows_of": where, **found.as_record()})
    screen.show(score_table(opened, y, found.predicted, where))
    for line in lines_of(found):
        screen.say(line)
