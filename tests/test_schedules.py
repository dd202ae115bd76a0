"""Schedules compared with those of torch, optax and scikit-learn, and their first and last rates."""

from __future__ import annotations

import copy
import math
import pickle

import cloudpickle
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlp_xp import schedules
from mlp_xp.schedules import Progress

STEPS = 20
CLOSE = 1e-14  # a few roundings, on the host, in float64


def rates(schedule, steps=STEPS, planned=STEPS):
    return [schedule(Progress(step, planned)) for step in range(steps)]


def test_a_constant_is_constant():
    assert rates(schedules.constant(0.3)) == [0.3] * STEPS
    assert type(schedules.constant(np.float32(0.5))(Progress(0, 1))) is float  # a Python float widens no array


def test_cosine_goes_from_the_first_rate_to_the_last_and_stays_there():
    expected = [0.1 + 0.4 * (1 + math.cos(math.pi * t / STEPS)) / 2 for t in range(STEPS)]
    np.testing.assert_allclose(rates(schedules.cosine(0.5, final=0.1)), expected, rtol=CLOSE)
    np.testing.assert_allclose(rates(schedules.cosine(0.5, STEPS, 0.1), planned=7), expected, rtol=CLOSE)
    assert schedules.cosine(0.5, 10, 0.1)(Progress(10, 99)) == schedules.cosine(0.5, 10, 0.1)(Progress(98, 99)) == 0.1
    assert schedules.cosine(0.5, 0, 0.1)(Progress(0, 99)) == 0.1
    assert schedules.cosine(0.5)(Progress(0, 0)) == 0.0


def test_step_decay_changes_after_every_so_many_steps():
    assert rates(schedules.step_decay(1.0, 2, 0.5), 6) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert rates(schedules.step_decay(1.0, STEPS, 0.5)) == [1.0] * STEPS


def test_warm_up_rises_linearly_and_then_the_schedule_starts():
    after = schedules.step_decay(1.0, 2, 0.5)
    assert rates(schedules.warm_up(after, 4), 9) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.5, 0.25]
    assert rates(schedules.warm_up(after, 4, first=0.5), 5) == [0.5, 0.625, 0.75, 0.875, 1.0]
    assert rates(schedules.warm_up(after, 0)) == rates(after)
    # while the rate rises it is a share of the schedule's at step 0
    falling = schedules.warm_up(lambda progress: 1.0 / (1 + progress.step), 2, first=0.5)
    assert rates(falling, 4) == [0.5, 0.75, 1.0, 0.5]
    # the schedule is planned for the steps that the warm-up leaves
    assert schedules.warm_up(schedules.cosine(1.0), 5)(Progress(15, 25)) == pytest.approx(0.5)
    # a plan that is shorter than the warm-up ends while the rate still rises
    assert schedules.warm_up(schedules.cosine(1.0), 50)(Progress(20, 25)) == 20 / 50
    assert schedules.warm_up(schedules.cosine(1.0), 25)(Progress(24, 25)) == 24 / 25


def test_a_power_beyond_any_float_is_no_error_of_pythons():
    assert schedules.step_decay(0.1, 1, 2.0)(Progress(5000, 9000)) == math.inf
    assert schedules.step_decay(0.1, 1, 0.5)(Progress(5000, 9000)) == 0.0
    assert schedules.inverse_scaling(0.1, 100.0)(Progress(0, 1, rows=10**5)) == 0.0
    assert schedules.inverse_scaling(0.1, 2**31)(Progress(0, 1, rows=10**5)) == 0.0  # in no time


def test_any_function_of_the_progress_is_a_schedule():
    assert schedules.warm_up(lambda progress: 1.0 / (1 + progress.step), 1)(Progress(3, 9)) == 1.0 / 3.0


@pytest.mark.only("torch")
def test_schedules_equal_torchs():
    import torch
    from torch.optim import lr_scheduler

    def theirs(make):
        optimizer = torch.optim.SGD([torch.zeros(1)], 0.5)
        scheduler, found = make(optimizer), []
        for _ in range(STEPS):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    pairs = [
        (schedules.cosine(0.5, STEPS, 0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, 0.1)),
        (schedules.step_decay(0.5, 3, 0.7), lambda o: lr_scheduler.StepLR(o, 3, 0.7)),
        (schedules.warm_up(schedules.constant(0.5), 7, 0.2), lambda o: lr_scheduler.LinearLR(o, 0.2, total_iters=7)),
    ]
    for ours, make in pairs:
        # torch computes each rate from the last one, so roundings add up
        np.testing.assert_allclose(rates(ours), theirs(make), rtol=STEPS * CLOSE)


@pytest.mark.only("jax")
def test_schedules_equal_optaxs(xp):
    import optax

    pairs = [
        (schedules.cosine(0.5, 12), optax.cosine_decay_schedule(0.5, 12)),
        (schedules.cosine(0.5, 12, 0.1), optax.cosine_decay_schedule(0.5, 12, alpha=0.2)),
        (schedules.step_decay(0.5, 3, 0.7), optax.exponential_decay(0.5, 3, 0.7, staircase=True)),
        (
            schedules.warm_up(schedules.cosine(0.5, final=0.1), 5, 0.2),
            optax.warmup_cosine_decay_schedule(0.1, 0.5, 5, STEPS, 0.1),
        ),
    ]
    for ours, theirs in pairs:
        # some of optax's counts are float32
        np.testing.assert_allclose(rates(ours), [float(theirs(t)) for t in range(STEPS)], rtol=1e-6, atol=1e-8)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("power", [0.0, 0.5, 1.5])
def test_inverse_scaling_equals_scikit_learns(power):
    from sklearn.neural_network._stochastic_optimizers import SGDOptimizer

    theirs, ours, n = SGDOptimizer([], 0.1, "invscaling", power_t=power), schedules.inverse_scaling(0.1, power), 37
    for epoch in range(6):
        assert ours(Progress(step=5 * epoch + 3, steps=30, rows=epoch * n)) == pytest.approx(
            theirs.learning_rate, rel=CLOSE, abs=0.0
        )
        theirs.iteration_ends((epoch + 1) * n)


LOSSES = [3.0, 2.0, 2.0, 2.0, 1.99, 1.99, 1.99, 2.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("patience", "tol"), [(0, 0.0), (1, 0.0), (1, 0.1), (2, 1e-4), (100, 0.0)])
def test_adaptive_equals_scikit_learns(patience, tol):
    """In scikit-learn the estimator counts and the optimizer divides."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.neural_network._stochastic_optimizers import SGDOptimizer

    theirs, ours = SGDOptimizer([], 0.1, "adaptive"), schedules.adaptive(0.1, patience, tol)
    counter = MLPClassifier(n_iter_no_change=patience, tol=tol)
    counter._no_improvement_count, counter.best_loss_, counter.loss_curve_ = 0, math.inf, []
    for epoch, loss in enumerate(LOSSES):
        assert ours(Progress(epoch, 99, losses=LOSSES[:epoch])) == pytest.approx(
            theirs.learning_rate, rel=CLOSE, abs=0.0
        )
        counter.loss_curve_.append(loss)
        counter._update_no_improvement_count(False, None, None, None)
        if counter._no_improvement_count > patience:
            assert not theirs.trigger_stopping("", False)
            counter._no_improvement_count = 0


def test_adaptive_divides_by_its_factor():
    assert schedules.adaptive(1.0, 1, factor=2.0)(Progress(9, 9, losses=[1.0] * 5)) == 0.25  # after the 3rd and the 5th
    assert schedules.adaptive(1.0, math.inf)(Progress(9, 9, losses=[1.0] * 99)) == 1.0


def test_adaptive_waits_for_10_epochs_without_an_improvement_of_1e_4():
    """As documented, and as scikit-learn's ``n_iter_no_change`` and ``tol`` are by default."""
    for change, stalled in ((0.0, True), (-0.7e-4, True), (-1.5e-4, False)):
        losses = [1.0 + change * epoch for epoch in range(11)]
        assert schedules.adaptive(1.0)(Progress(9, 99, losses=losses)) == 1.0
        last = schedules.adaptive(1.0)(Progress(9, 99, losses=[*losses, losses[-1] + change]))
        assert last == (1.0 / 5.0 if stalled else 1.0)


@given(
    losses=st.lists(st.integers(0, 6).map(lambda k: k / 4) | st.just(math.nan), max_size=30),
    patience=st.integers(0, 5) | st.just(math.inf),
    tol=st.sampled_from([0.0, 0.25, 0.5]),
)
@example(losses=[1.0, 1.0], patience=0, tol=0.0)
def test_a_stall_is_more_than_patience_epochs_without_improvement(losses, patience, tol):
    """The definition without a running best: since the last stall, no improvement for more than ``patience`` epochs."""

    def improved(position):
        before = [loss for loss in losses[:position] if not math.isnan(loss)]
        return losses[position] <= min(before, default=math.inf) - tol

    expected, last = [], -1
    for position in range(len(losses)):
        since = range(last + 1, position + 1)
        if len(since) > patience and not any(improved(p) for p in since[-int(patience) - 1 :]):
            expected.append(position)
            last = position
    assert schedules.stalls(losses, patience, tol) == expected


def test_a_loss_equal_to_the_best_is_an_improvement_if_tol_is_0():
    """scikit-learn counts this way: a loss not above best - tol is an improvement."""
    assert schedules.stalls([1.0] * 9, 0, 0.0) == []
    assert schedules.stalls([1.0] * 5, 1, 1e-9) == [2, 4]


SCHEDULES = {
    "constant": lambda number: schedules.constant(number(0.5)),
    "cosine": lambda number: schedules.cosine(number(0.5), final=number(0.25)),
    "cosine of so many steps": lambda number: schedules.cosine(number(0.5), number(200)),
    "step decay": lambda number: schedules.step_decay(number(0.5), number(3), number(0.5)),
    "warm-up": lambda number: schedules.warm_up(schedules.cosine(number(0.5)), number(200), number(0.25)),
    "a warm-up of a warm-up": lambda number: schedules.warm_up(schedules.warm_up(schedules.constant(1), number(2)), 3),
    "inverse scaling": lambda number: schedules.inverse_scaling(number(0.5), number(2)),
    "adaptive": lambda number: schedules.adaptive(number(0.5), number(1), number(0.25), number(2)),
}


def asked(schedule):
    """Its rates early and late in 300 steps: more steps than 8 bits count."""
    losses = [3.0, 2.0, 2.0, 2.0, 2.0]
    return [schedule(Progress(step, 300, 7 * step, losses)) for step in (0, 1, 5, 100, 256, 299, 300)]


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_pickled_schedule_gives_the_same_rates(name):
    schedule = SCHEDULES[name](float)
    pickled = pickle.loads(pickle.dumps(schedule)), cloudpickle.loads(cloudpickle.dumps(schedule))
    for again in (copy.deepcopy(schedule), *pickled):
        assert asked(again) == asked(schedule)


def as_numpy(number):
    """The narrowest of NumPy's numbers that holds this one."""
    return np.uint8(number) if float(number).is_integer() else np.float16(number)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", SCHEDULES)
def test_numbers_of_numpy_are_numbers_of_python_in_a_schedule(name):
    """``np.uint8(200) + 100`` would overflow, and a rate of ``np.float64`` would widen float32."""
    ours, plain = asked(SCHEDULES[name](as_numpy)), asked(SCHEDULES[name](lambda number: number))
    assert ours == plain
    assert all(type(rate) is float for rate in ours)


@pytest.mark.only("numpy")
def test_what_the_check_of_patience_returns_are_floats():
    for patience in (3, np.uint8(3), math.inf, np.float32("inf")):
        checked = schedules.check_patience(patience, np.float64(0.5))
        assert checked == (float(patience), 0.5)
        assert [type(number) for number in checked] == [float, float]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: schedules.constant(-1.0), ValueError, "lr must be at least 0 and finite, got -1.0"),
        (lambda: schedules.constant("fast"), TypeError, "lr must be a number, got 'fast'"),
        (lambda: schedules.cosine(math.inf), ValueError, "lr must be at least 0 and finite, got inf"),
        (lambda: schedules.cosine(0.1, -5), ValueError, "steps must be at least 0 and finite, got -5"),
        (lambda: schedules.cosine(0.1, 5, -0.1), ValueError, "final must be at least 0 and finite, got -0.1"),
        (lambda: schedules.step_decay(0.1, 0), ValueError, "every must be at least 1 and finite, got 0"),
        (lambda: schedules.step_decay(0.1, 5, -1), ValueError, "factor must be at least 0 and finite, got -1"),
        (lambda: schedules.warm_up(0.1, 5), TypeError, "schedule must be a function such as constant(0.1), got 0.1"),
        (lambda: schedules.warm_up(schedules.constant(1), -1), ValueError, "steps must be at least 0 and finite"),
        (lambda: schedules.warm_up(schedules.constant(1), 5, 1.5), ValueError, "first must be at least 0 and below 1"),
        (lambda: schedules.inverse_scaling(0.1, math.nan), ValueError, "power must be at least 0 and finite, got nan"),
        (lambda: schedules.cosine(10**400), ValueError, "lr must be at least 0 and finite, got inf"),
        (lambda: schedules.cosine(0.1, "all"), TypeError, "steps must be a number, got 'all'"),
        (lambda: schedules.adaptive(0.1, None), TypeError, "patience must be a number, got None"),
        (lambda: schedules.adaptive(0.1, -1), ValueError, "patience must be at least 0 and finite, got -1"),
        (lambda: schedules.adaptive(0.1, tol=math.nan), ValueError, "tol must be at least 0 and finite, got nan"),
        (lambda: schedules.adaptive(0.1, factor=0.5), ValueError, "factor must be at least 1 and finite, got 0.5"),
    ],
)
def test_bad_arguments_get_one_clear_sentence(make, error, words):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_counts_of_steps_may_be_fractions():
    """By the formulas: a warm-up of 2.5 steps has taken t / 2.5 of its way, every 1.5 steps a decay."""
    rising = schedules.warm_up(schedules.constant(1.0), 2.5)
    assert [rising(Progress(step, 10)) for step in range(4)] == [0.0, 0.4, 0.8, 1.0]
    falling = schedules.step_decay(1.0, 1.5, 0.5)
    assert [falling(Progress(step, 10)) for step in range(5)] == [1.0, 1.0, 0.5, 0.25, 0.25]
    slope = schedules.cosine(1.0, 2.5)
    assert [slope(Progress(step, 10)) for step in (1, 2)] == pytest.approx(
        [0.5 * (1 + math.cos(math.pi * step / 2.5)) for step in (1, 2)], rel=1e-15
    )
