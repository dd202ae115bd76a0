"""Two checks of ``mlp-xp gradcheck``: the gradients of a saved model, and every gradient of this library."""

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp.backends import BACKENDS, Placement, load
from mlp_xp.cli._model import Model, open_for
from mlp_xp.cli._output import Screen, Table, to_stderr
from mlp_xp.gradcheck import Report
from mlp_xp.losses import CRITERIA
from mlp_xp.mistakes import check_gradients
from mlp_xp.ops import ACTIVATIONS
from mlp_xp.train import Dataset

_COLOURS = {"pass": "green", "inconclusive": "yellow", "fail": "bold red"}

# --- a saved model -----------------------------------------------------------------------------------------------

_MODEL_ROWS = 16


def check_model(model: Model, data: str, **how: Any) -> Report:
    """Check the gradients of a model, at its learned parameters, on the first rows of the data.

    ``how`` has the options ``seed`` and ``mode`` of ``gradcheck``, here and below.
    """
    source = open_for(model, data)
    _, (X, y, kept, *_) = next(model.chunks(source, _MODEL_ROWS, why="to check the gradients of a model"))
    assert y is not None
    estimator = model.estimator
    known = model.is_classifier and model.known(source.where, y, kept)
    targets = np.searchsorted(model.classes, known) if model.is_classifier else y[:, None]
    rows = Dataset(model.put(X), model.place.put(targets))
    rows = estimator.scaling_.dataset(rows) if estimator.scaling_ else rows
    return check_gradients(rows.X, rows.y, *estimator._first_network(), **estimator._options(), **how)


# --- this library's own ------------------------------------------------------------------------------------------


def check_own(screen: Screen, places: Mapping[str, Placement], dtype: str, **how: Any) -> list[Report]:
    """Check each variation on each backend, and show the reports."""
    rows, reports = [], []
    with screen.status("checking") as tell:
        for backend, place in places.items():
            for variation in _variations(how["seed"]):
                tell(f"checking {variation.name} on {backend}")
                report = _check_variation(place, variation, **how)
                screen.record({"variation": variation.name, "backend": backend, **json.loads(report.json())})
                worst = max(row.relative_error for row in report.tensors)
                verdict = f"[{_COLOURS[report.verdict]}]{report.verdict}[/]"
                rows.append((variation.name, backend, verdict, f"{worst:.1e}", f"{report.evaluations:,}"))
                reports.append(report)
    columns = ("variation", "backend", "verdict", "worst relative error", "evaluations")
    screen.show(Table(f"gradients in {dtype} against finite differences", columns, rows, right=(3, 4)))
    for (variation_name, backend, *_), report in zip(rows, reports, strict=True):
        if not report.ok:
            screen.say(f"{variation_name} on {backend}: {report}")
    verdicts: list[str] = [report.verdict for report in reports]
    screen.say(", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in _COLOURS))
    return reports


def places_of(backend: str, dtype: str, device: str | None) -> dict[str, Placement]:
    """The backend of this name, or for "all" each usable one; stderr says which are left out, and why."""
    places: dict[str, Placement] = {}
    left_out = []
    for name in BACKENDS if backend == "all" else (backend,):
        try:
            sharpest(name, device)  # switches on float64 in JAX; differences are taken in float64
            places[name] = load(name, dtype, device)
        except ValueError as error:
            if backend != "all":
                raise
            left_out.append(str(error))
    if not places:
        raise ValueError(left_out[0])
    for reason in left_out:
        to_stderr(f"left out: {reason}")
    return places


def sharpest(backend: str, device: str | None) -> Placement:
    """Where this library computes in float64: on the device, else on the device that it would choose."""
    try:
        return load(backend, "float64", device)
    except ValueError:
        return load(backend, "float64")


_VARIED_ROWS, _VARIED_INPUTS = 7, 5


class _Variation(NamedTuple):
    """A small network with its targets and options; checking all variations takes about a second."""

    name: str
    sizes: tuple[int, ...]
    y: NDArray[Any]
    options: Mapping[str, Any]


def _variations(seed: int) -> Iterator[_Variation]:
    """Everything that has a derivative, one at a time; at last all options together."""
    random = np.random.default_rng(seed)
    n, d_in, d_h, k = _VARIED_ROWS, _VARIED_INPUTS, 4, 3
    sizes = (d_in, d_h, k)
    labels = random.integers(0, k, n)
    soft = random.random((n, k))
    several = random.integers(0, 2, (n, k)).astype(float)
    weights = random.random(n)
    for activation in ACTIVATIONS:
        yield _Variation(activation, sizes, labels, {"activation": activation})
    for criterion, record in CRITERIA.items():
        widths = (d_in, d_h, k * record.outputs_per_target)
        for kind, y in (("labels", labels), ("soft targets", soft), ("multilabel targets", several)):
            yield _Variation(f"{criterion}, {kind}", widths, y, {"criterion": criterion})
    binary = {"criterion": "sigmoid_cross_entropy"}
    yield _Variation("sigmoid_cross_entropy, binary labels", (d_in, d_h, 1), labels % 2, binary)
    for depth in range(4):
        activations = {"activation": ("tanh", "gelu", "silu")[:depth]}
        yield _Variation(f"hidden layers: {depth}", (d_in, *[d_h] * depth, k), labels, activations)
    options = {
        "l2": 0.1,
        "l1": 0.1,
        "label_smoothing": 0.1,
        "sample_weight": weights,
        "dropout": 0.4,
        "input_dropout": 0.2,
    }
    for name, value in options.items():
        yield _Variation(name, sizes, labels, {name: value})
    yield _Variation("all of these", (d_in, d_h, d_h, k), labels, {**options, "activation": "gelu"})


def _check_variation(place: Placement, variation: _Variation, **how: Any) -> Report:
    random = np.random.default_rng(how["seed"])
    X = random.normal(size=(_VARIED_ROWS, _VARIED_INPUTS))
    shapes = [shape for d_in, d_out in pairwise(variation.sizes) for shape in ((d_in, d_out), (d_out,))]
    params = [place.put(random.normal(size=shape)) for shape in shapes]
    options = dict(variation.options) | how
    if "sample_weight" in options:
        options["sample_weight"] = place.put(options["sample_weight"])
    return check_gradients(place.put(X), place.put(variation.y), *params, **options)
