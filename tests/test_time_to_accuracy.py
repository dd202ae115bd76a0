"""The script that measures seconds to an accuracy: its sides take the same steps, and judging is not timed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import time_to_accuracy
from reproduce import Images
from time_to_accuracy import Point, Task

TASK = Task(Path(), 3, None, 1)


def images(n=2000):
    """Ten classes with a noisy pixel each; the last batch of an epoch is smaller than the others."""
    random = np.random.default_rng(0)
    y, y_test = random.integers(0, 10, n), random.integers(0, 10, 200)
    X, X_test = (np.eye(10)[each] + random.normal(0, 0.6, (len(each), 10)) for each in (y, y_test))
    return Images(X.astype(np.float32), y, X_test.astype(np.float32), y_test, (2, 5))


@pytest.mark.only("torch")
def test_torchs_side_takes_our_steps():
    ours, theirs = (time_to_accuracy.points(side, images(), TASK) for side in (
        time_to_accuracy.ours("numpy", False), time_to_accuracy.torchs(False),
    ))  # fmt: skip
    assert [point.error for point in ours] == [point.error for point in theirs]
    assert 5 < ours[-1].error < 50
    assert len({point.error for point in ours}) > 1


@pytest.mark.only("numpy")
def test_scikit_learns_side_learns_as_well():
    pytest.importorskip("sklearn", reason="the sessions without the estimators have none")
    ours, theirs = (time_to_accuracy.points(side, images(), TASK)[-1].error for side in (
        time_to_accuracy.ours("numpy", False), time_to_accuracy.sklearns,
    ))  # fmt: skip
    assert theirs == pytest.approx(ours, abs=5)  # other initial weights and order


@pytest.mark.only("numpy")
def test_judging_takes_no_time_and_the_first_good_epoch_counts():
    def side(images, task):
        for error in (3.0, 1.6, 1.5):
            yield lambda error=error: time.sleep(0.05) or error

    found = time_to_accuracy.points(side, images(10), TASK)
    assert found[-1].seconds < 0.05
    assert time_to_accuracy.reached(found) == found[1]
    slow = [[Point(4.0, 2.0), Point(9.0, 1.7)]]
    printed = time_to_accuracy.table({"slow": slow, "none": "not installed", "quick": [found]}).splitlines()
    assert len(printed) == 4
    assert printed[2].startswith("| quick | 0.0 |")
    assert printed[3] == "| slow | not reached | 4.50 | 1.70 |"
