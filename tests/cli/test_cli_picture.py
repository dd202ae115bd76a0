"""The picture of a run: the right numbers under the right names."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import runs  # noqa: F401  # skips where the extra "cli" is not installed

pytestmark = pytest.mark.only("numpy")

picture, records, recipes = (import_module(f"mlp_xp.{name}") for name in ("cli._picture", "cli._run", "data.recipe"))
prepare, scores, train = (import_module(f"mlp_xp.{name}") for name in ("cli._prepare", "cli._scores", "train"))
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
    run = records.Run({"data": "pets.csv"}, None, "", "", None, None)
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
