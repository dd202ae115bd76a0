"""What ``mlp-xp gradcheck`` checks besides a gradient of somebody's own: a saved model, and this library."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from mlp_xp.backends import BACKENDS, Placement, load
from mlp_xp.cli._model import open_for, open_model, refuse_no_rows
from mlp_xp.cli._screen import make_table, open_console
from mlp_xp.gradcheck import Report
from mlp_xp.losses import CRITERIA
from mlp_xp.mistakes import check_gradients
from mlp_xp.ops import ACTIVATIONS

# --- a saved model -----------------------------------------------------------------------------------------------


def check_model(
    path: str, data: str | None, backend: str, device: str | None, seed: int, mode: Literal["auto", "full"]
) -> Report:
    """The objective of a model, at what it has learned, on the first rows of the data."""
    if data is None:
        raise ValueError(f"to check {path} takes DATA, rows such as it was trained on")
    model = open_model(path, backend, device)
    source = open_for(model, data)
    X, y = next(model.chunks(source, _MODEL_ROWS, labelled=True), (None, None))
    if X is None:
        refuse_no_rows(source)
    if X is None or y is None:
        raise ValueError(f"{source.where} must hold targets, to check the gradients of a model")
    estimator = model.estimator
    if model.is_classifier:
        targets = np.searchsorted(model.classes, model.known(source.where, y))
    else:
        targets = ((y - model.recipe.y_mean) / model.recipe.y_scale)[:, None]
    options = {**estimator._options(), **({"seed": seed} if estimator.dropout else {})}
    return check_gradients(
        model.put(X), model.place.put(targets), *estimator._params(), mode=mode, **{"seed": seed, **options}
    )


_MODEL_ROWS = 16


# --- this library's own ------------------------------------------------------------------------------------------


def check_own(
    places: Mapping[str, Placement], dtype: str, seed: int, mode: Literal["auto", "full"], as_json: bool
) -> Sequence[Report]:
    """A report on each variation on each backend, shown."""
    checked = (
        (variation.name, name, _check_variation(place, variation, seed, mode))
        for name, place in places.items()
        for variation in _variations(seed)
    )
    if as_json:
        reports = []
        for variation, name, report in checked:
            click.echo(json.dumps({"variation": variation, "backend": name, **json.loads(report.json())}))
            reports.append(report)
        return reports
    console = open_console()
    rows, reports = [], []
    with console.status("checking") as status:
        for variation, name, report in checked:
            status.update(f"checked {variation} on {name}")
            worst = max(row.relative_error for row in report.tensors)
            colour = {"pass": "green", "inconclusive": "yellow", "fail": "bold red"}[report.verdict]
            verdict = f"[{colour}]{report.verdict}[/]"
            rows.append((variation, name, verdict, f"{worst:.1e}", f"{report.evaluations:,}"))
            reports.append(report)
    columns = ("variation", "backend", "verdict", "worst relative error", "evaluations")
    console.print(make_table(f"gradients in {dtype} against finite differences", columns, rows, right=(3, 4)))
    for (variation, name, *_), report in zip(rows, reports, strict=True):
        if not report.ok:
            click.echo(f"{variation} on {name}: {report}")
    verdicts = [report.verdict for report in reports]
    click.echo(", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("pass", "inconclusive", "fail")))
    return reports


def places_of(backend: str, dtype: str, device: str | None) -> dict[str, Placement]:
    """The backend of this name, or all that are usable: the others are left out, with the reason on stderr."""
    places: dict[str, Placement] = {}
    left_out = []
    for name in BACKENDS if backend == "all" else (backend,):
        try:
            sharpest(name, device)  # where JAX learns float64, in which differences are taken
            places[name] = load(name, dtype, device)
        except ValueError as error:
            if backend != "all":
                raise
            left_out.append(str(error))
    if not places:
        raise ValueError(left_out[0])
    for reason in left_out:
        click.echo(f"left out: {reason}", err=True)
    return places


def sharpest(backend: str, device: str | None) -> Placement:
    """Where this library has float64, in which differences are sharp: the device, or the one it would choose."""
    try:
        return load(backend, "float64", device)
    except ValueError:
        return load(backend, "float64")


_VARIED_ROWS, _VARIED_INPUTS = 7, 5


class _Variation(NamedTuple):
    """A network and its targets, small enough that all of them take a second."""

    name: str
    sizes: tuple[int, ...]
    y: NDArray[Any]
    options: Mapping[str, Any]


def _variations(seed: int) -> Iterator[_Variation]:
    """Whatever has a derivative of its own, one at a time, and at last all together."""
    random = np.random.default_rng(seed)
    n, d_in, d_h, k = _VARIED_ROWS, _VARIED_INPUTS, 4, 3
    sizes = (d_in, d_h, k)
    labels = random.integers(0, k, n)
    soft = random.random((n, k))
    several = random.integers(0, 2, (n, k)).astype(float)
    weights = random.random(n)
    for activation in ACTIVATIONS:
        yield _Variation(activation, sizes, labels, {"activation": activation})
    for criterion in CRITERIA:
        for kind, y in (("labels", labels), ("soft targets", soft), ("multilabel targets", several)):
            yield _Variation(f"{criterion}, {kind}", sizes, y, {"criterion": criterion})
    binary = {"criterion": "sigmoid_cross_entropy"}
    yield _Variation("sigmoid_cross_entropy, binary labels", (d_in, d_h, 1), labels % 2, binary)
    for depth in range(4):
        hidden = (d_h,) * depth
        activations = ("tanh", "gelu", "silu")[:depth]
        yield _Variation(f"hidden layers: {depth}", (d_in, *hidden, k), labels, {"activation": activations})
    options = {"l2": 0.1, "l1": 0.1, "label_smoothing": 0.1, "sample_weight": weights, "dropout": 0.4}
    for name, value in options.items():
        yield _Variation(name, sizes, labels, {name: value, "seed": seed})
    yield _Variation("all of these", (d_in, d_h, d_h, k), labels, {**options, "activation": "gelu", "seed": seed})


def _check_variation(place: Placement, variation: _Variation, seed: int, mode: Literal["auto", "full"]) -> Report:
    random = np.random.default_rng(seed)
    X = random.normal(size=(_VARIED_ROWS, _VARIED_INPUTS))
    shapes = [shape for d_in, d_out in pairwise(variation.sizes) for shape in ((d_in, d_out), (d_out,))]
    params = [place.put(random.normal(size=shape)) for shape in shapes]
    options: dict[str, Any] = {
        name: place.put(value) if isinstance(value, np.ndarray) else value for name, value in variation.options.items()
    }
    return check_gradients(place.put(X), place.put(variation.y), *params, mode=mode, **{**options, "seed": seed})
