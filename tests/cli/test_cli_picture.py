"""The picture of a run: the right numbers under the right names."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import runs
from matplotlib.figure import Figure
from matplotlib.text import Text

pytestmark = pytest.mark.only("numpy")

picture, records, recipes = (import_module(f"mlp_xp.{name}") for name in ("cli._picture", "cli._run", "data.recipe"))
prepare, scores, train = (import_module(f"mlp_xp.{name}") for name in ("cli._prepare", "cli._scores", "train"))
importances = import_module("mlp_xp.cli._importance")
model, scaling = import_module("mlp_xp.cli._model"), import_module("mlp_xp.estimators.scaling")


def a_run(classes: Any) -> Any:
    """A run of three epochs that has been tested on three rows."""
    y = np.asarray([1.0, 2.0, 3.0]) if classes is None else np.asarray(["cat", "dog", "dog"])
    history = [train.Record(i, 2.0 / i, 0.0, 2.5 / i, 0.5 + i / 10, 0.1, i, 0.1 * i) for i in (1, 2, 3)]
    estimator = SimpleNamespace(
        _first_network=lambda: (np.random.default_rng(0).normal(size=(4, 6)),), classes_=classes, scoring=None,
        _history=history,
        _criterion=lambda: "squared_error" if classes is None else "softmax_cross_entropy",
        scaling_=scaling.Scaling(np.zeros(4), np.ones(4), *([] if classes is not None else [np.zeros(1), np.ones(1)])),
    )  # fmt: skip
    run = records.Run({"data": "pets.csv"}, None, "", "", None, None, None)
    task = "regression" if classes is None else "classification"
    recipe = recipes.Recipe(task, "price", None, tuple("abcd"), 4)
    run.data = SimpleNamespace(recipe=recipe, test=prepare.Rows(np.zeros((3, 4)), y))
    run.model = model.Model(estimator, None, recipe, {})
    run.sizes, run.network, run.predicted = (4, 6, 2), "4-6-2, relu, adam", y[::-1]
    run.score = scores.Score("R^2" if classes is None else "accuracy", 0.5, 0.4, 0.6, 3)
    return run


@pytest.mark.parametrize("classes", [None, np.asarray(["cat", "dog"])])
def test_the_picture_has_curves_predictions_and_weights(classes: Any) -> None:
    figure = picture.run_figure(a_run(classes))
    tested = "test R^2 0.500" if classes is None else "test accuracy 50.0%"
    assert figure.get_suptitle() == f"pets: 4-6-2, relu, adam, {tested}"
    (loss, score), predictions, weights = ([axes for axes in area.axes if axes.get_title() or axes.lines]
                                           for area in figure.subfigs)  # fmt: skip
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    wanted = "half squared error (standardised)" if classes is None else "cross-entropy (nats)"
    assert loss.get_ylabel() == wanted
    assert score.get_ylabel() == f"validation {'R²' if classes is None else 'accuracy (%)'}"
    assert score.get_xlabel() == "epoch"
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [2.5, 1.25, 2.5 / 3])
    wanted = ("predicted", "true") if classes is not None else ("true price", "predicted price")
    assert (predictions[0].get_xlabel(), predictions[0].get_ylabel()) == wanted
    if classes is not None:
        assert [text.get_text() for text in predictions[0].texts] == ["1", "1", "1"]
    assert [text.get_text() for text in weights[0].get_yticklabels()] == list("abcd")
    assert weights[0].images[0].get_array().shape == (4, 6)


def a_wide_run(classes: list[str] | None, inputs: list[str], hidden: bool = True, **more: Any) -> Any:
    """A run with other names than ``a_run``, tested on 3,000 rows."""
    random = np.random.default_rng(0)
    run = a_run(None if classes is None else np.asarray(classes))
    y = random.lognormal(14.0, 1.0, 3000) if classes is None else random.choice(classes, 3000)
    run.predicted = y * 1.1 if classes is None else np.where(random.uniform(size=3000) < 0.8, y, random.permutation(y))
    recipe = run.model.recipe._replace(names=tuple(inputs), width=len(inputs), target="the price of a house in dollars")
    run.data = SimpleNamespace(recipe=recipe, test=prepare.Rows(np.zeros((3000, 4)), y))
    weight = random.normal(size=(len(inputs), 6 if hidden else len(classes or [""])))
    run.model.estimator._first_network = lambda: (weight,)
    run.model = run.model._replace(recipe=recipe)
    run.sizes = (4, 6, 2) if hidden else (4, 2)
    for name, value in more.items():
        setattr(run, name, value)
    return run


def overlapping(figure: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Pairs of texts of which one covers some of the other, and texts that are cut off by the edge."""
    drawn: dict[int, Any] = {}  # an axis keeps more labels than it draws
    draw = Text.draw
    monkeypatch.setattr(Text, "draw", lambda text, renderer: drawn.update({id(text): text}) or draw(text, renderer))
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn.values() if text.get_text().strip()]
    found = [
        (one, other)
        for i, (one, box) in enumerate(boxes)
        for other, beside in boxes[:i]
        if min(box.x1, beside.x1) - max(box.x0, beside.x0) > 1 and min(box.y1, beside.y1) - max(box.y0, beside.y0) > 1
    ]
    edge = figure.bbox.padded(1)
    return found + [(text, "edge") for text, box in boxes if not (edge.contains(*box.p0) and edge.contains(*box.p1))]


LONG = "customers who have paid all of their bills within $30 to $60, and {}"
CLASSES = {
    "two of 60 characters": [LONG.format("stayed"), LONG.format("have left")],
    "twelve": [f"kind {i} of something" for i in range(12)],
    "a hundred": [f"class {i:03}" for i in range(100)],
    "emoji and mathematics": ["😀 happy", "猫", "$a_1$ and $b$", "two\nlines"],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES)
def test_texts_do_not_overlap_whatever_the_names_of_classes(
    classes: list[str], hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = scores.Score(f"recall of {classes[-1]!r}", 0.5, 0.4, 0.6, 3)
    run = a_wide_run(classes, [f"column {i}" for i in range(6)], hidden=hidden, score=score)
    with picture._quietly():
        assert overlapping(picture.run_figure(run), monkeypatch) == []


@pytest.mark.filterwarnings("error")
def test_prices_in_millions_after_one_epoch_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_wide_run(None, list("abcd"))
    run.model.estimator._history = run.model.estimator._history[:1]
    with picture._quietly():
        figure = picture.run_figure(run)
        assert overlapping(figure, monkeypatch) == []
    (axes,) = figure.subfigs[1].axes
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert any(label.endswith(" M") for label in labels), labels


@pytest.mark.filterwarnings("error")
def test_the_importance_of_forty_columns_is_drawn_with_a_name_for_each_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"a rather long name of column number {i}" for i in range(40))
    importance = importances.Importance("accuracy", names, np.linspace(1.0, 0.0, 40), np.full(40, 0.1), 100)
    run = a_wide_run(["a", "b"], list(names), importance=importance, network="-".join(["256"] * 60))
    run.options["data"] = f"{'long name ' * 20}.csv"
    with picture._quietly():
        figure = picture.run_figure(run)
        assert overlapping(figure, monkeypatch) == []
    (axes,) = figure.subfigs[3].axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert len(labels) == len(axes.patches) == 30
    assert labels[0].startswith("a rather long")
    assert labels[29].endswith("number 29")
    assert axes.patches[0].get_width() == 1.0
    assert axes.get_xlabel() == "fall of accuracy, shuffled"


@pytest.mark.filterwarnings("error")
def test_a_prediction_that_is_no_number_leaves_the_picture_whole() -> None:
    run = a_wide_run(None, list("abcd"))
    run.predicted[0] = np.inf
    with picture._quietly():
        picture.run_figure(run).draw_without_rendering()


def test_no_warning_reaches_the_screen(
    folder: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    runs.write_table(folder, district=["😀", "猫"] * 60)
    assert runs.cli.main(["train", "houses.csv", "--target", "district", "--max-iter", "2", "--hidden", "4",
                          "--no-check-gradients"]) == 0  # fmt: skip
    assert not capsys.readouterr().err
    assert not recwarn.list


def test_overlapping_texts_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure()
    for place in ((0.5, 0.5), (0.51, 0.5), (0.1, 0.9), (0.99, 0.1)):
        figure.text(*place, str(place))
    assert overlapping(figure, monkeypatch) == [("(0.51, 0.5)", "(0.5, 0.5)"), ("(0.99, 0.1)", "edge")]
