"""``mlp-xp evaluate``: how good a model is on rows whose targets are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mlp_xp.cli._help import MODEL, DataName, command_of
from mlp_xp.cli._options import backend_option, device_option, json_option, reading_of, reading_options
from mlp_xp.cli._output import Screen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlp_xp.cli._model import Counts, Model
    from mlp_xp.cli._scores import Said
    from mlp_xp.data import Source


@command_of("evaluate houses.safetensors houses.csv", doing="judging {model} by {data}")
@click.argument("model", type=MODEL)
@click.argument("data", type=DataName())
@click.option("--importance", is_flag=True, help="Show which columns matter: how much the score falls without each.")
@reading_options
@backend_option
@device_option
@json_option
def command(
    model: str, data: str, importance: bool, backend: str, device: str | None, as_json: bool, **reading: Any
) -> None:  # fmt: skip
    """Score MODEL on DATA, whose targets are known: accuracy or R^2 with an interval, confusions or residuals.

    If DATA is what the model was trained on, only the rows that it has not learned from are scored; where there are
    none, that is said. For example: mlp-xp evaluate houses.safetensors sold_since.csv
    """
    # imported here: --help must stay fast
    from mlp_xp.cli._importance import importance as importance_of
    from mlp_xp.cli._importance import importance_table
    from mlp_xp.cli._model import open_for, open_model
    from mlp_xp.cli._score_tables import score_table
    from mlp_xp.cli._scores import judged, lines_of, score_in

    opened, screen = open_model(model, backend, device), Screen(as_json)
    source = open_for(opened, data, reading_of(reading))
    rows, counts = _read(opened, source)
    tested, usual = _of_the_training(opened, rows.y)
    where = data
    if tested is not None:
        where = f"{data}, {'the test rows of its training' if len(tested) else 'which the model has learned from'}"
    if tested is not None and len(tested):
        rows = _Rows(rows.numbers[tested], rows.y[tested], rows.said.of(tested))
    found = judged(opened, rows.y, rows.said, usual)
    notes = [*source.notes, *filter(None, (str(counts),))]
    record = {"rows_of": where, **found.as_record(), **counts.as_record(), **({"notes": notes} if notes else {})}
    for note in notes:
        screen.say(f"note: {note}")
    screen.show(score_table(opened, rows.y, found.predicted, where))
    if importance:
        needed = importance_of(opened, _Again(opened, source, rows.numbers), rows.y, found)
        record["importance"] = {"score": needed.score, "columns": needed.as_records()}
        screen.show(importance_table(needed, where))
    for line in lines_of(found):
        screen.say(line)
    if tested is not None and not len(tested):
        record["learned_from"] = True
        screen.say(f"note: the model has learned from every row of {data}, so this says little about new rows")
        if test := opened.header["notes"].get("test"):
            record["test"] = test
            screen.say(f"its test rows, before it was fitted to all rows: {score_in(test)}")
    screen.record(record)


class _Rows(NamedTuple):
    """Rows whose targets are known: their numbers among those that the recipe reads, and what the model says of them.

    The rows themselves, which may be larger than memory, are read and left.
    """

    numbers: NDArray[Any]
    y: NDArray[Any]
    said: Said


class _Again:
    """``X[rows]``: some of the rows of these numbers, as the recipe reads them from the source once more."""

    def __init__(self, model: Model, source: Source, numbers: NDArray[Any]) -> None:
        self.model, self.source, self.numbers = model, source, numbers

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        import numpy as np

        wanted, first, made = self.numbers[rows], 0, None
        for _, encoded in self.model.chunks(self.source, why=_WHY):
            made = np.empty((len(wanted), encoded.X.shape[1]), encoded.X.dtype) if made is None else made
            here = np.flatnonzero((first <= wanted) & (wanted < first + len(encoded.X)))
            made[here] = encoded.X[wanted[here] - first]
            first += len(encoded.X)
        if made is None or first <= wanted.max():
            raise ValueError(
                f"{self.source.where} must not change while it is read: it has fewer rows than a moment ago"
            )
        return made


_WHY = "to judge a model by"


def _read(model: Model, source: Source) -> tuple[_Rows, Counts]:
    import numpy as np

    from mlp_xp.cli._model import Counts
    from mlp_xp.cli._scores import said_of

    targets, counts = [], Counts()

    def inputs() -> Iterator[Any]:
        for chunk, encoded in model.chunks(source, why=_WHY):
            counts.add(model.recipe, chunk, encoded)
            targets.append((encoded.y, encoded.kept))
            if len(encoded.X):
                yield encoded.X

    said = said_of(model, inputs())
    y, kept = (np.concatenate(each) for each in zip(*targets, strict=True))
    y = model.known(source.where, y, kept) if model.is_classifier else y.astype(np.float64)
    return _Rows(np.arange(len(y)), y, said), counts


def _of_the_training(model: Model, y: NDArray[Any]) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """The test rows of the training, if these are its targets: none of them if all were learned from; else None.

    Returns them, and the targets, or the baseline alone, that the baseline predicts from; None where not known.
    """
    import numpy as np

    from mlp_xp.cli._model import digest
    from mlp_xp.data import hold_out

    notes = model.header["notes"]
    about = notes.get("data", {})
    baseline = notes.get("test", {}).get("baseline")
    usual = None if baseline is None else np.asarray([baseline["predicts"]])
    split = about.get("split")
    if split is None or split["digest"] != digest(y):
        return None, usual
    kept, out = hold_out(split["share"], split["seed"], len(y), y if model.is_classifier else None)
    return (out[:0] if about.get("refitted") else out), (y[kept] if usual is None else usual)
