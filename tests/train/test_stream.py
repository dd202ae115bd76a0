"""Batches in place of arrays: each is one step, and what is learned is what the same steps on arrays teach."""

from __future__ import annotations

import math
import pickle
import re

import numpy as np
import pytest
import scipy.sparse
import textbook
from iterables import Unsized

import mlp_xp as mx
from mlp_xp import optim, schedules
from mlp_xp.schedules import Progress
from mlp_xp.train import Diverged, train

CUTS = [slice(0, 3), slice(3, 4), slice(4, 6)]  # batches of several sizes
TWO = [slice(0, 4), slice(4, 6)]  # of each new size JAX compiles all anew


@pytest.fixture
def params(put):
    return tuple(put(p) for p in textbook.parameters())


def cut(put, *arrays, cuts=CUTS):
    """Arrays of the host as batches on the device."""
    return [tuple(put(array[rows]) for array in arrays) for rows in cuts]


def last(*arguments, **options):
    return list(train(*arguments, **options))[-1]


def worst(host, ours, theirs):
    return max(textbook.relative_error(host(a), host(b)) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("weighted", [False, True])
def test_each_batch_is_one_step(put, params, host, weighted):
    X, y, weight = textbook.batch(), textbook.labels(), textbook.row_weights()
    batches = cut(put, *((X, y, weight) if weighted else (X, y)), cuts=TWO)
    expected, total = textbook.parameters(), 0.0
    for _ in range(2):
        total = 0.0
        for rows in TWO:
            options = {"sample_weight": weight[rows]} if weighted else {}
            total += len(X[rows]) * textbook.objective(X[rows], y[rows], *expected, **options) / 6
            grads = textbook.gradients(X[rows], y[rows], *expected, **options)
            expected = [p - 0.5 * g for p, g in zip(expected, grads, strict=True)]
    epoch = last(batches, None, params, epochs=2, optimizer=optim.sgd(), lr=0.5)
    np.testing.assert_allclose(epoch.last.loss, total, rtol=1e-13)
    assert worst(np.asarray, map(host, epoch.params), expected) <= 1e-12
    assert (epoch.last.steps, epoch.rows) == (4, 12)


OPTIONS = {
    "adam on a cosine": {"lr": schedules.cosine(0.1)},
    "dropout, penalties and clipping": {"dropout": 0.3, "alpha": 0.1, "l2": 0.01, "clip_norm": 0.1, "seed": 4},
    "several batches in a step": {"accumulate": 2, "lr": schedules.cosine(0.1), "dropout": 0.3, "alpha": 0.1},
    "patience, judged by rows": {"patience": 1, "lr": 0.5, "validation": True},
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("networks", [None, 2])
def test_batches_of_one_size_teach_what_arrays_in_their_order_do(put, xp, device, host, options, networks):
    X, y = textbook.batch(), textbook.labels()
    options = {"epochs": 3, **options}
    if options.get("validation"):
        options["validation"] = put(X), put(y)
    if networks and "lr" in options and callable(options["lr"]):
        options["lr"] = (options["lr"], 0.02)
    start = mx.init_params(textbook.SIZES, xp=xp, dtype=xp.float64, device=device, ensemble=networks)
    expected = last(put(X), put(y), start, batch_size=4, shuffle=False, **options)
    epoch = last(cut(put, X, y, cuts=TWO), None, start, **options)
    assert worst(host, epoch.params, expected.params) <= 1e-13
    assert worst(host, epoch.best, expected.best) <= 1e-13
    for ours, theirs in zip(epoch.history, expected.history, strict=True):
        np.testing.assert_allclose(np.asarray(ours[1:6], float), np.asarray(theirs[1:6], float), rtol=1e-12)
        assert (ours.number, ours.steps) == (theirs.number, theirs.steps)


@pytest.mark.only("numpy")
def test_each_epoch_goes_through_the_batches_once(put, params):
    batches = Unsized(cut(put, textbook.batch(), textbook.labels()))
    epochs = list(train(batches, None, params, epochs=3))
    assert batches.passes == 3
    assert [epoch.last.steps for epoch in epochs] == [3, 6, 9]


@pytest.mark.only("numpy")
def test_a_run_goes_on_from_an_epoch_and_its_schedule_with_it(put, params, host):
    batches = cut(put, textbook.batch(), textbook.labels())
    options = {"epochs": 4, "lr": schedules.cosine(0.1), "dropout": 0.2}
    first, second, *_, end = train(batches, None, params, **options)
    for length in (batches, Unsized(batches)):  # as many steps as the epoch before had are expected
        for start in (first, second):
            assert worst(host, last(length, None, start, **options).params, end.params) == 0.0


@pytest.mark.only("numpy")
def test_a_schedule_is_told_how_far_the_run_has_come(put, params):
    seen: list[Progress] = []

    def rate(progress):
        seen.append(progress)
        return 0.1

    list(train(cut(put, textbook.batch(), textbook.labels()), None, params, epochs=2, lr=rate))
    assert [(each.step, each.steps, each.rows) for each in seen] == [(i, 6, 6 * (i // 3)) for i in range(6)]


@pytest.mark.only("numpy")
def test_a_schedule_that_needs_no_plan_takes_batches_without_a_length(put, params):
    batches = cut(put, textbook.batch(), textbook.labels())
    for lr in (schedules.step_decay(0.1, 2), schedules.cosine(0.1, steps=4), schedules.inverse_scaling(0.1)):
        sized, unsized = (last(each, None, params, epochs=2, lr=lr) for each in (batches, Unsized(batches)))
        assert worst(np.asarray, sized.params, unsized.params) == 0.0


@pytest.mark.only("numpy")
@pytest.mark.parametrize("schedule", [schedules.cosine(0.1), schedules.warm_up(schedules.constant(0.1), 2)])
def test_a_schedule_that_needs_a_plan_asks_for_a_length(put, params, schedule):
    batches = Unsized(cut(put, textbook.batch(), textbook.labels()))
    with pytest.raises(ValueError, match="lr depends on the number of steps planned, and batches without a length"):
        list(train(batches, None, params, epochs=2, lr=schedule))


@pytest.mark.only("numpy")
def test_a_generator_is_one_pass(put, params, host):
    batches = cut(put, textbook.batch(), textbook.labels())
    once = last(iter(batches), None, params, epochs=1)
    assert worst(host, once.params, last(batches, None, params, epochs=1).params) == 0.0
    again = last((each for each in batches), None, once, epochs=2)  # one epoch more
    assert worst(host, again.params, last(batches, None, params, epochs=2).params) == 0.0


@pytest.mark.only("numpy")
def test_sparse_batches_are_made_dense_one_by_one(put, params, host):
    X, y = textbook.batch(), textbook.labels()
    sparse = [(scipy.sparse.csc_matrix(X[rows]), y[rows]) for rows in CUTS]
    ours = last(sparse, None, params, epochs=2)
    assert worst(host, ours.params, last(cut(put, X, y), None, params, epochs=2).params) == 0.0


@pytest.mark.only("numpy")
def test_data_with_positions_and_a_length_alone_are_taken_in_order(put, params, host):
    batches = cut(put, textbook.batch(), textbook.labels())

    class Indexed:
        def __len__(self):
            return len(batches)

        def __getitem__(self, position):
            return batches[position % 3]  # which never says that it ends

    ours = last(Indexed(), None, params, epochs=2)
    assert worst(host, ours.params, last(batches, None, params, epochs=2).params) == 0.0


@pytest.mark.only("torch")
def test_a_data_loader_of_torch_is_taken(put, params, host):
    from torch.utils.data import DataLoader, IterableDataset, TensorDataset

    X, y = put(textbook.batch()), put(textbook.labels())
    expected = last(X, y, params, epochs=2, batch_size=4, shuffle=False)
    loader = DataLoader(TensorDataset(X, y), batch_size=4)
    assert worst(host, last(loader, None, params, epochs=2, lr=schedules.constant(1e-3)).params, expected.params) == 0

    class Rows(IterableDataset):  # of which the loader knows no length
        def __iter__(self):
            return iter(zip(X, y, strict=True))

    assert worst(host, last(DataLoader(Rows(), batch_size=4), None, params, epochs=2).params, expected.params) == 0
    shuffled = DataLoader(TensorDataset(X, y), batch_size=4, shuffle=True)
    assert math.isfinite(last(shuffled, None, params, epochs=2).last.loss)


@pytest.mark.only("torch", "jax")
def test_a_compiled_step_takes_batches(put, params, host, backend):
    batches = cut(put, textbook.batch(), textbook.labels(), cuts=[slice(0, 3), slice(3, 6)])
    options = {"epochs": 2, "lr": schedules.cosine(0.1), "dropout": 0.2}
    # PyTorch's compiler takes a minute; what counts is that arrays come in place of numbers
    compiler = pytest.importorskip("jax").jit if backend == "jax" else lambda step: step
    ours = last(batches, None, params, compile=compiler, **options)
    assert worst(host, ours.params, last(batches, None, params, **options).params) <= 1e-12


@pytest.mark.only("numpy")
def test_values_are_looked_at_in_the_first_pass_and_shapes_in_each(put, params):
    good = cut(put, textbook.batch(), textbook.labels())
    wide = [*good[:2], (np.zeros((2, 7)), np.zeros(2, int))]

    class Changing:
        passes = 0

        def __iter__(self):
            self.passes += 1
            return iter(good if self.passes == 1 else wide)

    run = train(Changing(), None, params, epochs=2)
    next(run)
    with pytest.raises(ValueError, match=re.escape("batch 3: W1 must have shape (7, d_out) to follow X (2, 7)")):
        next(run)


@pytest.mark.only("numpy")
def test_batches_that_run_out_are_named(put, params):
    class Once(Unsized):
        def __iter__(self):
            super().__iter__()
            return iter(self.batches if self.passes == 1 else [])

    run = train(Once(cut(put, textbook.batch(), textbook.labels())), None, params, epochs=2)
    next(run)
    with pytest.raises(ValueError, match="batches must hold at least one batch, got none in pass 2; a list can be"):
        next(run)


@pytest.mark.only("numpy")
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_a_run_that_diverges_names_the_step_and_the_cause(put, params):
    X, t = textbook.batch(), 1e200 * textbook.soft_targets()
    batches = cut(put, X, t)
    with pytest.raises(
        Diverged, match=r"not finite at step 1 of 3 in epoch 1: the targets reach [\d.]+e\+199"
    ) as caught:
        list(train(batches, None, params, epochs=2, criterion="squared_error"))
    assert worst(np.asarray, caught.value.params, params) == 0.0
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.only("numpy")
def test_parameters_that_take_no_rows_are_refused_before_the_first_batch(params, put):
    for shape in ((4,), ()):
        with pytest.raises(ValueError, match=r"^W1 must have shape \(1, d_out\)"):
            next(train([], None, (put(np.zeros(shape)), *params[1:]), epochs=1))


def test_batches_by_their_positions_have_a_length(params, put):
    class Positions:
        def __getitem__(self, position):
            return put(textbook.batch()), put(textbook.labels())

    class Length:
        def __len__(self):
            return 2

    for half in (Positions(), Length()):
        with pytest.raises(TypeError, match=r"^batches must be an iterable of pairs \(X, y\), got "):
            next(train(half, None, params, epochs=1))
    both = type("Both", (Positions, Length), {})()
    assert last(both, None, params, epochs=1).rows == 12


def test_what_the_iterable_raises_is_passed_on(params):
    class Broken:
        def __iter__(self):
            raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(train(Broken(), None, params, epochs=2))
