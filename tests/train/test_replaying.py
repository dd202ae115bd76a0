"""A recorded function is the function: values, arrays of its own for each result, and a new recording where one is due.

The recorder of these tests stands in for a CUDA graph: a replay computes from the recorded arguments, whatever they
hold by then, and writes into the recorded results.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import textbook

from mlp_xp import optim
from mlp_xp.train import train
from mlp_xp.train.replaying import filled, leaves_of, replayed

pytestmark = pytest.mark.only("numpy")


class Pair(NamedTuple):
    a: object
    b: object = None


class Recorder:
    def __init__(self):
        self.recorded, self.replays = [], 0

    def __call__(self, function, arguments):
        self.recorded.append(arguments)
        made = function(*arguments)
        # wrong until it is replayed: what is recorded has not run
        blank = (np.full_like(each, 99) if hasattr(each, "shape") else each for each in leaves_of(made))
        results = filled(made, blank)

        def replay():
            self.replays += 1
            for target, source in zip(leaves_of(results), leaves_of(function(*arguments)), strict=True):
                if hasattr(target, "shape"):
                    np.copyto(target, source)

        return results, replay


def copy(targets, sources):
    for target, source in zip(targets, sources, strict=True):
        np.copyto(target, source)


def twice(pair, rate):
    return Pair(pair.a * rate, (pair.a + pair.b,))


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def fast(recorder):
    return replayed(twice, recorder, copy, np.empty_like)


def assert_equal(made, expected):
    assert type(made) is type(expected)
    for a, b in zip(leaves_of(made), leaves_of(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def pairs(count, size=3):
    random = np.random.default_rng(0)
    return [(Pair(*random.normal(size=(2, size))), random.normal(size=())) for _ in range(count)]


def test_every_call_returns_what_the_function_does(fast, recorder):
    for arguments in pairs(5):
        assert_equal(fast(*arguments), twice(*arguments))
    assert (len(recorder.recorded), recorder.replays) == (1, 4)  # the first call was made as it is


def test_a_later_call_leaves_what_an_earlier_one_returned(fast):
    arguments = pairs(6)
    made = [fast(*each) for each in arguments]
    for each, expected in zip(made, arguments, strict=True):
        assert_equal(each, twice(*expected))


def test_an_array_that_stays_is_read_where_it_is_until_it_changes(fast, recorder):
    same, other = np.arange(3.0), np.arange(3.0) + 7.0
    for b in (same, same, same, other, same, other):
        pair = Pair(np.random.default_rng(3).normal(size=3), b)
        assert_equal(fast(pair, np.asarray(2.0)), twice(pair, 2.0))
    assert recorder.recorded[0][0].b is same
    assert len(recorder.recorded) == 2  # the second recording copies it
    assert recorder.recorded[1][0].b is not other


def test_each_kind_of_arguments_has_a_recording_of_its_own(fast, recorder):
    for arguments in [each for both in zip(pairs(4), pairs(4, size=5), strict=True) for each in both]:
        assert_equal(fast(*arguments), twice(*arguments))
    for rate in (2.0, 3.0, 2.0, 3.0):  # a number is part of what is recorded
        assert_equal(fast(Pair(np.ones(3), np.ones(3)), rate), twice(Pair(np.ones(3), np.ones(3)), rate))
    assert len(recorder.recorded) == 4


def test_what_cannot_be_recorded_is_called_as_it_is_after_one_warning():
    def refuses(function, arguments):
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA error")

    fast = replayed(twice, refuses, copy, np.empty_like)
    first, *others = pairs(4)
    assert_equal(fast(*first), twice(*first))
    with pytest.warns(UserWarning, match="not recorded: RuntimeError: operation not permitted when stream"):
        assert_equal(fast(*others[0]), twice(*others[0]))
    for each in others[1:]:
        assert_equal(fast(*each), twice(*each))


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"sample_weight": np.arange(11.0)}], ids=str)
def test_a_run_of_recorded_steps_is_the_run(recorder, options):
    random = np.random.default_rng(5)
    X, y = random.normal(size=(11, 4)), random.integers(0, 3, 11)
    settings = {"epochs": 4, "batch_size": 4, "optimizer": optim.adam(), "dropout": 0.3, **options}
    *_, expected = train(X, y, textbook.parameters(), **settings)
    compiler = lambda function: replayed(function, recorder, copy, np.empty_like)  # noqa: E731
    *_, epoch = train(X, y, textbook.parameters(), compile=compiler, **settings)
    for name in ("params", "best", "state"):
        assert_equal(getattr(epoch, name), getattr(expected, name))
    assert [record.loss for record in epoch.history] == [record.loss for record in expected.history]
    assert recorder.replays > 4
