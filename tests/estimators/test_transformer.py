"""``transform``: a network's last hidden layer as features, by scikit-learn's contract of transformers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from estimator_problems import iris
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import mlp_xp as mx
from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_features_are_the_activations_of_the_last_hidden_layer(put, host):
    X, y = map(put, iris())
    for model in (MLPClassifier((5, 3), "tanh", max_iter=2), MLPRegressor("squared_error", (5, 3), "tanh", max_iter=2)):
        features = model.fit(X, y).transform(X)
        assert type(features) is type(X)
        (W1, W2, _), (b1, b2, _) = (list(map(host, each)) for each in (model.coefs_, model.intercepts_))
        expected = np.tanh(np.tanh(host(X) @ W1 + b1) @ W2 + b2)
        np.testing.assert_allclose(host(features), expected, rtol=0, atol=1e-13)
        assert model.get_feature_names_out().tolist() == [f"{type(model).__name__.lower()}{i}" for i in range(3)]


@pytest.mark.only("numpy")
def test_in_a_pipeline_another_estimator_learns_from_what_the_network_sees():
    X, y = iris()
    network = MLPClassifier((8,), solver="lbfgs", random_state=0)
    pipeline = make_pipeline(network, LogisticRegression()).fit(X, y)
    first = MLPClassifier((8,), solver="lbfgs", random_state=0).fit(X, y)
    expected = LogisticRegression().fit(mx.hidden(X, *first._params(), activation="relu"), y)
    np.testing.assert_array_equal(pipeline.predict(X), expected.predict(first.transform(X)))
    assert pipeline.score(X, y) > 0.95


@pytest.mark.only("numpy")
def test_set_output_makes_a_data_frame_and_a_sparse_matrix_is_taken():
    X, y = iris()
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(150) + 7)
    model = MLPClassifier((3,), max_iter=2, random_state=0).set_output(transform="pandas").fit(frame, y)
    features = model.transform(frame)
    assert features.columns.tolist() == ["mlpclassifier0", "mlpclassifier1", "mlpclassifier2"]
    assert features.index.equals(frame.index)
    plain = MLPClassifier((3,), max_iter=2, random_state=0).fit(X, y)
    np.testing.assert_array_equal(features, plain.transform(X))
    np.testing.assert_allclose(plain.transform(csr_matrix(X)), features, atol=1e-14)
    np.testing.assert_array_equal(MLPClassifier((3,), max_iter=2, random_state=0).fit_transform(X, y), features)


@pytest.mark.only("numpy")
def test_a_network_without_hidden_layers_transforms_nothing():
    X, y = iris()
    with pytest.raises(ValueError, match="hidden needs a network with a hidden layer, got one of W1 and b1 alone"):
        MLPClassifier((), max_iter=2).fit(X, y).transform(X)
