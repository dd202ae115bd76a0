"""``MLPClassifier``: classes, several labels, probabilities for targets, weights of classes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from estimator_problems import SAME, apart, iris, several_labels, two_classes
from sklearn import neural_network as theirs

from mlp_xp.estimators import MLPClassifier, load

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint64])
def test_unsigned_labels_come_back(put, host, dtype):
    X, y = iris()
    model = MLPClassifier(max_iter=20, learning_rate_init=0.01, random_state=0).fit(put(X), y.astype(dtype))
    predicted = host(model.predict(put(X)))
    assert predicted.dtype.kind in "iu"
    assert np.mean(predicted == y) == model.score(put(X), y) > 0.8


def test_labels_that_were_sparse_come_back_sparse_on_the_host(put, backend, tmp_path):
    X, y = several_labels()
    sparse = scipy.sparse.csr_matrix(y)
    model = MLPClassifier(max_iter=2, random_state=0).fit(put(X), sparse)
    alike = MLPClassifier(max_iter=2, random_state=0).fit(put(X), y)
    assert model.score(put(X), y) == alike.score(put(X), y)
    if backend == "numpy":
        model.save(tmp_path / "model")
        sklearns = theirs.MLPClassifier(max_iter=2, random_state=0).fit(X, sparse).predict(X)
        for predicted in (model.predict(X), load(tmp_path / "model").predict(X)):
            assert type(predicted) is type(sklearns)
            np.testing.assert_array_equal(predicted.toarray(), sklearns.toarray())


def test_class_weights_are_sample_weights(put, host):
    X, y = iris()
    by_class = {0: 1.0, 1: 3.0, 2: 0.5}
    options = {"max_iter": 3, "random_state": 0}
    ours = MLPClassifier(class_weight=by_class, **options).fit(put(X), put(y))
    same = MLPClassifier(**options).fit(X, y, sample_weight=np.vectorize(by_class.get)(y))
    np.testing.assert_allclose(host(ours.coefs_[0]), same.coefs_[0], rtol=1e-9, atol=1e-12)
    lopsided = np.concatenate([np.arange(50, 100), np.arange(100, 105)])
    shares = []
    for class_weight in ("balanced", None):
        model = MLPClassifier(class_weight=class_weight, max_iter=150, random_state=0).fit(X[lopsided], y[lopsided])
        shares.append(np.mean(model.predict(X[lopsided]) == 2))
    assert shares[0] > shares[1]


@pytest.mark.only("numpy")
def test_smoothed_and_soft_targets_are_the_same_thing():
    X, y = iris()
    options = {"max_iter": 5, "random_state": 0}
    smooth = MLPClassifier(label_smoothing=0.3, **options).fit(X, y)
    soft = MLPClassifier(**options).fit(X, 0.7 * np.eye(3)[y] + 0.1)
    assert apart(soft, smooth) <= SAME
    np.testing.assert_array_equal(soft.classes_, [0, 1, 2])
    np.testing.assert_array_equal(soft.predict(X), smooth.predict(X))
    X, y = two_classes()
    binary = MLPClassifier(label_smoothing=0.2, max_iter=400, learning_rate_init=0.01, random_state=0).fit(X, y)
    assert 0.02 < binary.predict_proba(X).min() < 0.15  # it is asked to be nine tenths sure


@pytest.mark.only("numpy")
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("problem", [iris, two_classes, several_labels])
def test_a_scorer_is_given_labels_whatever_the_targets_are(problem, label_smoothing):
    X, y = problem()
    options = {"max_iter": 3, "random_state": 0, "early_stopping": True, "label_smoothing": label_smoothing}
    by_name = MLPClassifier(scoring="accuracy", **options).fit(X, y)
    assert by_name.validation_scores_ == MLPClassifier(**options).fit(X, y).validation_scores_
    if problem is iris:
        soft = 0.9 * np.eye(3)[y] + 0.1 / 3
        for learned, judged in ((soft, y), (y, soft)):
            model = MLPClassifier(**options).fit(X, learned, eval_set=(X, judged))
            again = MLPClassifier(scoring="accuracy", **options).fit(X, learned, eval_set=(X, judged))
            assert model.validation_scores_ == again.validation_scores_
        by_name = MLPClassifier(scoring="accuracy", **options).fit(X, soft)
        assert by_name.validation_scores_ == MLPClassifier(**options).fit(X, soft).validation_scores_
