"""Accuracy and R^2 against scikit-learn's, of one output and of several, with weights and without."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score

from mlp_xp.metrics import accuracy, r2

random = np.random.default_rng(0)
LABELS, OTHERS = random.integers(0, 3, (2, 40))
NUMBERS = random.standard_normal((40, 2))
PREDICTED = NUMBERS + random.standard_normal((40, 2))
WEIGHTS = random.integers(1, 17, 40) / 8  # eighths: their sums are exact, so that a constant column has no spread


def there(weight, put):
    return None if weight is None else put(weight)


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("columns", [1, 2])
def test_accuracy_is_the_share_of_rows_whose_labels_are_all_right(xp, put, host, columns, weight):
    # two columns: 0/1 labels, as scikit-learn's accuracy takes several of
    y, predicted = (LABELS, OTHERS) if columns == 1 else (np.stack([a > 0, a > 1], 1) for a in (LABELS, OTHERS))
    ours = accuracy(xp, put(y), put(predicted), put(np.zeros(1)), there(weight, put))
    expected = accuracy_score(y, predicted, sample_weight=weight)
    assert 0.1 < expected < 0.6
    assert host(ours) == pytest.approx(expected, rel=1e-14)
    assert ours.dtype == xp.float64


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("columns", [1, 2])
def test_r2_is_scikit_learns(xp, put, host, columns, weight):
    y, predicted = NUMBERS[:, :columns], PREDICTED[:, :columns]
    ours = r2(xp, put(y), put(predicted), there(weight, put))
    assert host(ours) == pytest.approx(r2_score(y, predicted, sample_weight=weight), rel=1e-12)


def test_r2_of_targets_far_from_0_is_that_of_the_same_around_0(xp, put, host):
    """A sum of ``y^2 - mean^2``, which is the same number, would lose all digits."""
    far = 2.0**27
    ours = r2(xp, put(NUMBERS + far), put(PREDICTED + far))
    assert host(ours) == pytest.approx(r2_score(NUMBERS, PREDICTED), rel=1e-6)  # targets are rounded to 3e-8


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["equal", "weighted"])
def test_of_a_column_that_does_not_vary_r2_is_1_where_it_is_predicted_exactly_and_0_elsewhere(xp, put, host, weight):
    y = np.stack([np.full(40, 3.0), NUMBERS[:, 0]], 1)
    for first, score in ((y[:, 0], 1.0), (y[:, 0] + 1.0, 0.0)):
        predicted = np.stack([first, y[:, 1]], 1)
        ours = r2(xp, put(y), put(predicted), there(weight, put))
        assert host(ours) == pytest.approx((score + 1.0) / 2, rel=1e-12)
