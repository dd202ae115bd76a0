"""Small problems for the tests of the estimators, and how far two networks are apart."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification

# From the same start and the same batches only the order of a few roundings differs, and a few dozen steps carry it on.
SAME = 1e-9


def standardised(X):
    return (X - X.mean(0)) / X.std(0)


def iris():
    X, y = load_iris(return_X_y=True)
    return standardised(X), y


def two_classes():
    X, y = iris()
    return X[:100], y[:100]


def several_labels():
    X, y = make_multilabel_classification(80, 6, n_classes=3, random_state=0)
    return standardised(X), y


def numbers():
    X, y = load_diabetes(return_X_y=True)
    return standardised(X)[:150], y[:150] / 100.0


def two_numbers():
    X, y = numbers()
    return X, np.stack([y, np.sqrt(y)], axis=1)


def apart(ours, sklearns):
    return max(
        float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
        for a, b in zip(ours.coefs_ + ours.intercepts_, sklearns.coefs_ + sklearns.intercepts_, strict=True)
    )


def assert_same(ours, sklearns, X):
    assert apart(ours, sklearns) <= SAME
    assert ours.n_iter_ == sklearns.n_iter_
    assert ours.n_layers_ == sklearns.n_layers_
    assert ours.n_outputs_ == sklearns.n_outputs_
    assert ours.out_activation_ == sklearns.out_activation_
    assert ours.n_features_in_ == sklearns.n_features_in_
    np.testing.assert_allclose(ours.loss_, sklearns.loss_, rtol=SAME)
    if ours.solver != "lbfgs":
        assert ours.t_ == sklearns.t_
        np.testing.assert_allclose(ours.loss_curve_, sklearns.loss_curve_, rtol=SAME)
        for name in ("best_loss_", "best_validation_score_", "validation_scores_"):
            mine, its = getattr(ours, name), getattr(sklearns, name)
            assert (mine is None) == (its is None), name
            if its is not None:
                np.testing.assert_allclose(mine, its, rtol=SAME, err_msg=name)
    np.testing.assert_allclose(ours.predict(X), sklearns.predict(X), rtol=SAME)
