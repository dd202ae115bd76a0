"""A pipeline of scikit-learn that ends in a network, as one ONNX model: onnxruntime computes what it does."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlp_xp.estimators import MLPClassifier, MLPRegressor, register_converters

pytestmark = [
    pytest.mark.only("numpy"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:skl2onnx"),
]


def test_without_skl2onnx_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r"^this needs skl2onnx: pip install skl2onnx$"):
        register_converters()


@pytest.fixture
def skl2onnx():
    there = pytest.importorskip("skl2onnx", reason="only the session that exports has skl2onnx")
    register_converters()
    return there


def run(model, inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


# skl2onnx scales and hands on in float32; the layers behind it carry a few dozen roundings on
EPS = 64 * float(np.finfo(np.float32).eps)

IRIS = load_iris(return_X_y=True)[1]
TARGETS = {
    "names": np.asarray(["setosa", "versicolor", "virginica"])[IRIS],
    "numbers": IRIS + 5,
    "two classes": np.asarray(["no", "yes"])[IRIS % 2],
    "yes and no": IRIS == 1,
    "whole floats": 1.0 + IRIS,
    "several labels": np.stack([IRIS > 0, IRIS > 1], axis=1).astype(int),
}


def frame():
    data = pd.DataFrame(load_iris().data.astype("float32"), columns=list("abcd"))
    return data.assign(colour=np.asarray(["red", "green", "blue"])[np.random.default_rng(0).integers(0, 3, 150)])


def inputs_of(table):
    return {name: table[[name]].to_numpy() for name in table}


def pipeline_of(table, network):
    numbers = list(table.columns[:4])
    encoded = ColumnTransformer([("numbers", StandardScaler(), numbers), ("names", OneHotEncoder(), ["colour"])])
    return make_pipeline(encoded, network)


@pytest.mark.parametrize("targets", TARGETS)
def test_scaler_encoder_and_classifier_are_one_model(skl2onnx, targets):
    table, y = frame(), TARGETS[targets]
    pipeline = pipeline_of(table, MLPClassifier((6,), "gelu", max_iter=30, random_state=0)).fit(table, y)
    model = skl2onnx.to_onnx(pipeline, table[:1], options={"zipmap": False})
    for rows in (table[:1], table):
        label, probabilities = run(model, inputs_of(rows))
        expected = pipeline.predict_proba(rows)
        assert label.shape == pipeline.predict(rows).shape
        assert label.tolist() == pipeline.predict(rows).tolist()
        assert probabilities.shape == expected.shape
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=EPS)


def test_scaler_encoder_and_regressor_are_one_model(skl2onnx):
    table = frame()
    for y in (np.asarray(table.iloc[:, 0]), np.asarray(table.iloc[:, :2])):
        network = MLPRegressor("squared_error", (6, 5), ["tanh", "elu"], max_iter=30, random_state=0)
        pipeline = pipeline_of(table, network).fit(table, y)
        (made,) = run(skl2onnx.to_onnx(pipeline, table[:1]), inputs_of(table))
        np.testing.assert_allclose(made, pipeline.predict(table).reshape(150, -1), rtol=EPS, atol=EPS)


@pytest.mark.parametrize(
    "options",
    [{"loss": "gaussian"}, {"loss": "quantile", "quantile": (0.1, 0.5)}, {"ensemble": 2, "standardise": True}],
)
def test_a_regressor_with_more_to_say_has_its_predictions_there(skl2onnx, options):
    X = load_iris().data
    for y in (X[:, 0], X[:, :2]):
        model = MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, random_state=0, **options).fit(X, y)
        (made,) = run(skl2onnx.to_onnx(model, X[:1]), {"X": X})
        np.testing.assert_allclose(made, model.predict(X).reshape(150, -1), rtol=1e-12)


def test_a_network_alone_and_skl2onnxs_dictionaries(skl2onnx):
    X = load_iris().data.astype("float32")
    model = MLPClassifier((6,), max_iter=30, random_state=0).fit(X, TARGETS["names"])
    label, dictionaries = run(skl2onnx.to_onnx(model, X[:1]), {"X": X})
    assert label.tolist() == model.predict(X).tolist()
    assert list(dictionaries[0]) == list(model.classes_)
    np.testing.assert_allclose(pd.DataFrame(dictionaries), model.predict_proba(X), rtol=0, atol=EPS)


def test_an_opset_that_is_too_old_is_refused(skl2onnx):
    X = load_iris().data
    model = MLPClassifier((6,), max_iter=3, random_state=0).fit(X, TARGETS["names"])
    with pytest.raises(ValueError, match="target_opset must be at least 21, got 15"):
        skl2onnx.to_onnx(model, X[:1], target_opset=15)
