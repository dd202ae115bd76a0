"""k networks in one run: each learns as it would alone, and none disturbs another.

The oracle is the loop on one network, which ``test_loop`` holds against the textbook.
"""

from __future__ import annotations

import importlib
import math
import re

import numpy as np
import pytest
import scipy.sparse
import textbook

import mlp_xp as mx
from mlp_xp import checkpoint, optim, schedules
from mlp_xp.train import Dataset, Diverged, Interrupted, Settings, run, train

K, SIZES = 3, (4, 5, 3)
LOUD = pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value", "ignore:divide by zero")

# A run of at most 40 steps. Each rounds as the other run does, but in another order, some ten times a number; what was
# rounded is carried on, and RMSProp divides by roots that are small at first.
CLOSE = 40 * 10 * 4 * np.finfo(np.float64).eps


@pytest.fixture
def data(put):
    random = np.random.default_rng(5)
    return put(random.normal(size=(20, 4))), put(random.integers(0, 3, 20))


@pytest.fixture
def networks(put):
    """K networks, and the same with a leading axis."""
    single = [mx.init_params(SIZES, seed=7 + i) for i in range(K)]
    together = mx.init_params(SIZES, seed=7, ensemble=K)
    return [tuple(map(put, each)) for each in single], tuple(map(put, together))


def assert_same_run(host, ours, theirs, close=CLOSE):
    """Two epochs have equal arrays and records, to rounding."""
    for name in ("params", "best", "state"):
        for a, b in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(host(a), host(b), rtol=0, atol=close * max(1.0, np.max(np.abs(host(b)))))
    assert (ours.optimizer, ours.rows) == (theirs.optimizer, theirs.rows)
    assert [each.steps for each in ours.history] == [each.steps for each in theirs.history]
    for a, b in zip(ours.history, theirs.history, strict=True):
        numbers, expected = ([0.0 if n is None else n for n in record[:-2]] for record in (a, b))
        np.testing.assert_allclose(numbers, expected, rtol=close, atol=close)
        assert ([n is None for n in a[:-2]], a.members) == ([n is None for n in b[:-2]], ())


def last_of(*arguments, **options):
    *_, epoch = train(*arguments, **options)
    return epoch


# --- k runs in one -----------------------------------------------------------------------------------------------

WEIGHTS = np.random.default_rng(1).integers(0, 3, (K, 20)).astype(float)

# what is said for each member, as a tuple, and what is said for all
RUNS = {
    "one rate for all": {"lr": 0.05, "dropout": 0.3},
    "rates": {"lr": (0.5, 0.05, 0.005), "clip_norm": 0.3, "input_dropout": 0.2, "max_norm": 0.6},
    "schedules": {"lr": (schedules.cosine(0.1), 0.05, schedules.warm_up(schedules.constant(0.1), 3))},
    "a schedule that reads its own losses": {"lr": schedules.adaptive(0.3, patience=0, tol=0.05), "alpha": 0.1},
    "penalties": {"lr": 0.1, "alpha": (0.0, 0.5, 2.0), "l2": (0.1, 0.0, 0.01), "l1": [0.0, 0.01, 0.1]},
    "weights": {"lr": 0.1, "sample_weight": WEIGHTS, "alpha": (1.0, 0.0, 0.1), "batch_size": 2},
    "patience": {"lr": (0.3, 0.05, 0.5), "patience": 0, "tol": 0.02, "validation": 0.3, "sample_weight": WEIGHTS[0]},
}  # fmt: skip
OPTIMIZERS = {name: make() for name, make in optim.OPTIMIZERS.items()}


def part(value, i, put):
    """What is said for member ``i``."""
    if isinstance(value, (tuple, list)):
        return value[i]
    return put(value if value.ndim == 1 else value[i]) if isinstance(value, np.ndarray) else value


def both_runs(data, networks, put, said, **options):
    """The last epoch of a run of all networks, and of a run of each."""
    single, together = networks
    given = {name: put(value) if isinstance(value, np.ndarray) else value for name, value in said.items()}
    alone = [
        last_of(*data, params, **options, **{name: part(value, i, put) for name, value in said.items()})
        for i, params in enumerate(single)
    ]
    return last_of(*data, together, **options, **given), alone


@pytest.mark.only("numpy", "torch", "array_api_strict")  # where it is fast; the next test is on all
@pytest.mark.parametrize("said", RUNS.values(), ids=RUNS)
def test_a_run_of_k_networks_is_k_runs(data, networks, put, host, said):
    options = {"epochs": 6, "optimizer": optim.momentum(), "seed": 2, "batch_size": 8}
    options = {name: value for name, value in options.items() if name not in said}
    together, alone = both_runs(data, networks, put, said, **options)
    for i, each in enumerate(alone):
        assert_same_run(host, together.member(i), each)


def test_a_run_of_k_networks_is_k_runs_with_every_option(data, networks, put, host, backend):
    said = {"lr": (0.3, schedules.cosine(0.1), 0.02), "sample_weight": WEIGHTS, "alpha": (0.0, 0.1, 1.0)}
    said |= {"l2": (0.0, 0.1, 0.01), "l1": (0.01, 0.0, 0.1)}
    options = {"epochs": 3, "batch_size": 10, "patience": 0, "tol": 0.02, "clip_norm": 0.5, "dropout": 0.2}
    if backend == "jax":  # a compiled step takes a tenth of the time of all its operations compiled one by one
        options["compile"] = importlib.import_module("jax").jit
    together, alone = both_runs(data, networks, put, said, **options, validation=data)
    for i, each in enumerate(alone):
        assert_same_run(host, together.member(i), each)
    lengths = [len(each.history) for each in alone]
    assert min(lengths) < max(lengths) == len(together.history)  # a member was frozen while others went on


@pytest.mark.only("numpy", "torch", "array_api_strict")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_runs_k_networks_each_with_its_rate_until_it_ends(data, networks, put, host, name):
    said = {"lr": (0.3, schedules.cosine(0.1), 0.02), "sample_weight": WEIGHTS, "alpha": (0.0, 0.1, 1.0)}
    options = {"epochs": 6, "optimizer": OPTIMIZERS[name], "batch_size": 8, "patience": 0, "tol": 0.03}
    together, alone = both_runs(data, networks, put, said, **options, clip_norm=0.5, dropout=0.2)
    for i, each in enumerate(alone):
        assert_same_run(host, together.member(i), each)
    lengths = [len(each.history) for each in alone]
    assert min(lengths) < max(lengths) == len(together.history)  # a member was frozen while others went on


CRITERIA = {
    "squared_error": lambda random: random.normal(size=(20, 3)),
    "poisson": lambda random: random.poisson(2.0, size=(20, 3)).astype(float),
    "sigmoid_cross_entropy": lambda random: random.uniform(size=(20, 3)),
}


@pytest.mark.only("numpy", "torch", "array_api_strict")
@pytest.mark.parametrize("criterion", CRITERIA)
def test_members_are_judged_each_by_its_own_outputs(data, networks, put, host, criterion):
    X, y = data[0], put(CRITERIA[criterion](np.random.default_rng(3)))
    options = {"epochs": 2, "lr": 0.02, "criterion": criterion, "validation": (X, y), "batch_size": 8}
    together, alone = both_runs((X, y), networks, put, {}, **options)
    for i, each in enumerate(alone):
        assert_same_run(host, together.member(i), each)
        assert (each.last.val_score is None) == (criterion == "sigmoid_cross_entropy")


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_members_are_judged_each_on_rows_of_its_own(data, networks, host):
    single, together = networks
    folds = [(data[0][6 * i : 6 * i + 6, :], data[1][6 * i : 6 * i + 6]) for i in range(K)]
    held_out = [Dataset(*fold, None) for fold in folds]
    *_, ours = run(Dataset(*data, None), held_out, together, Settings(3, optim.sgd(), 0.1, batch_size=8))
    for i, params in enumerate(single):
        theirs = last_of(*data, params, epochs=3, optimizer=optim.sgd(), lr=0.1, batch_size=8, validation=folds[i])
        assert theirs.last.val_score is not None
        assert_same_run(host, ours.member(i), theirs)


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_evaluating_members_in_chunks_is_evaluating_at_once(data, networks, monkeypatch):
    options = {"epochs": 1, "validation": data}
    whole = last_of(*data, networks[1], **options).last
    monkeypatch.setattr("mlp_xp.train.evaluate._CHUNK", 7)
    for ours, theirs in zip(last_of(*data, networks[1], **options).last.members, whole.members, strict=True):
        assert ours.val_loss == pytest.approx(theirs.val_loss, rel=1e-14)
        assert ours.val_score == theirs.val_score


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_a_sparse_matrix_is_learned_from_as_its_dense_array(data, networks, put, host):
    sparse = scipy.sparse.csr_array(np.where(host(data[0]) > 0, host(data[0]), 0.0))
    options = {"epochs": 2, "batch_size": 8, "sample_weight": put(WEIGHTS), "validation": 0.25, "lr": (0.1, 0.2, 0.3)}
    ours, theirs = (last_of(X, data[1], networks[1], **options) for X in (sparse, put(sparse.toarray())))
    for i in range(K):
        assert_same_run(host, ours.member(i), theirs.member(i))


# --- rows that weigh nothing -------------------------------------------------------------------------------------


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_a_row_that_weighs_nothing_for_a_member_is_held_out_from_it(data, networks, put, host):
    """K folds in one run: what a member does not see may be anything."""
    folds = np.arange(20) % K
    weights = put((folds[None, :] != np.arange(K)[:, None]).astype(float))
    options = {"epochs": 3, "lr": 0.1, "batch_size": 4, "sample_weight": weights, "optimizer": optim.sgd()}
    epoch = last_of(*data, networks[1], **options)
    for i in range(K):
        X = host(data[0]) + 3.0 * (folds == i)[:, None]
        other = last_of(put(X), data[1], networks[1], **options)
        assert_same_run(host, other.member(i), epoch.member(i))
        assert all(not np.allclose(host(other.params[0])[j], host(epoch.params[0])[j]) for j in range(K) if j != i)


def test_a_batch_that_weighs_nothing_has_no_gradient_and_does_not_count(put, host):
    """By hand: four rows in batches of two, the second pair without weight."""
    X, y, params = textbook.batch()[:4], textbook.labels()[:4], textbook.parameters()
    weights = np.array([1.0, 2.0, 0.0, 0.0])
    options = {"optimizer": optim.sgd(), "lr": 0.5, "batch_size": 2, "shuffle": False, "sample_weight": put(weights)}
    penalty = 0.3 / 2 / weights.sum() * sum(np.sum(W * W) for W in params[::2])
    (epoch,) = train(put(X), put(y), tuple(map(put, params)), epochs=1, l2=0.1, alpha=0.3, **options)
    chosen = {"l2": 0.1, "sample_weight": weights[:2]}
    loss = textbook.objective(X[:2], y[:2], *params, **chosen)
    np.testing.assert_allclose([epoch.last.loss, epoch.last.penalty], [loss + penalty, penalty], rtol=1e-13)
    grads = textbook.gradients(X[:2], y[:2], *params, **chosen)
    grads = [g if i % 2 else g + 0.3 / weights.sum() * p for i, (g, p) in enumerate(zip(grads, params, strict=True))]
    for a, p, g in zip(epoch.params, params, grads, strict=True):
        assert textbook.relative_error(host(a), p - 0.5 * g) <= 1e-13


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_a_network_without_a_row_to_learn_from_is_refused(data, networks, put):
    weights = WEIGHTS.copy()
    weights[1] = 0.0
    for params, weight in ((networks[1], weights), (networks[0][0], weights[1])):
        with pytest.raises(ValueError, match=r"^sample_weight must be positive for at least one row"):
            next(train(*data, params, epochs=1, sample_weight=put(weight)))


# --- what is recorded --------------------------------------------------------------------------------------------


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_the_numbers_of_an_ensemble_are_means_over_its_members(data, networks):
    epoch = last_of(*data, networks[1], epochs=2, lr=(0.1, 0.2, 0.6), alpha=(0.0, 0.3, 0.6), validation=data)
    for record in epoch.history:
        assert len(record.members) == K
        for name in ("loss", "penalty", "val_loss", "val_score", "lr"):
            assert getattr(record, name) == pytest.approx(np.mean([getattr(each, name) for each in record.members]))
        assert {each.number for each in record.members} == {record.number}
        assert {(each.steps, each.seconds) for each in record.members} == {(record.steps, record.seconds)}
    assert epoch.last.lr == pytest.approx(0.3)


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_a_member_that_has_ended_keeps_its_last_record(data, networks):
    epoch = last_of(*data, networks[1], epochs=9, lr=(0.0, 0.1, 0.1), patience=1, tol=1e-9, optimizer=optim.sgd())
    still, *moving = epoch.last.members
    assert (still.number, still.steps) == (2 + 1, 3)  # the first epoch is an improvement, two more are not
    assert {each.number for each in moving} == {9}
    assert epoch.last.loss == pytest.approx(np.mean([each.loss for each in epoch.last.members]))
    assert len(epoch.member(0).history) == 3


def test_the_callers_score_is_called_once_for_each_member(data, networks, host):
    seen = []

    def score(params):
        assert [p.shape for p in params] == [p.shape for p in networks[0][0]]
        seen.append(host(params[0])[0, 0])
        return -float(len(seen))

    run = train(*data, networks[1], epochs=2, lr=0.1, score=score)
    epoch = next(run)
    assert [each.val_score for each in epoch.last.members] == [-1.0, -2.0, -3.0]
    np.testing.assert_array_equal(seen, host(epoch.params[0])[:, 0, 0])
    best = epoch.params
    epoch = next(run)
    assert len(seen) == 2 * K
    assert all(ours is theirs for ours, theirs in zip(epoch.best, best, strict=True))  # later scores are lower


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_the_best_parameters_are_those_of_each_members_best_epoch(data, networks, host):
    epochs = list(train(*data, networks[1], epochs=5, lr=(0.02, 0.9, 0.5), validation=data, batch_size=4))
    best = [np.argmin([each.last.members[i].watched for each in epochs]) for i in range(K)]
    assert len(set(best)) > 1
    for i, number in enumerate(best):
        for ours, theirs in zip(epochs[-1].member(i).best, epochs[number].params, strict=True):
            np.testing.assert_array_equal(host(ours), host(theirs)[i])


@pytest.mark.only("numpy")
def test_an_epoch_of_one_network_has_no_members(data, networks):
    epoch = last_of(*data, networks[0][0], epochs=1)
    assert epoch.last.members == ()
    with pytest.raises(ValueError, match=r"^an epoch of one network has no members$"):
        epoch.member(0)
    with pytest.raises(ValueError, match=r"^number must be that of a member, 0 to 2, got 3$"):
        last_of(*data, networks[1], epochs=1).member(3)


# --- going on ----------------------------------------------------------------------------------------------------


@pytest.mark.only("numpy", "torch", "array_api_strict")
@pytest.mark.parametrize("name", ["adam", "momentum"])
def test_a_run_goes_on_from_an_epoch_and_from_a_file(data, networks, put, host, tmp_path, name):
    options = {"lr": (0.3, 0.01, schedules.cosine(0.1)), "patience": 0, "tol": 0.03, "batch_size": 8, "dropout": 0.2}
    options["optimizer"] = OPTIMIZERS[name]
    whole = list(train(*data, networks[1], epochs=6, **options))
    first = next(each for each in whole if min(r.number for r in each.last.members) < each.last.number)  # one has ended
    path = tmp_path / "run.safetensors"
    checkpoint.save(path, first, {})
    loaded = checkpoint.load(path, networks[1], {})
    assert repr(loaded.history) == repr(first.history)
    for start in (first, loaded):
        rest = list(train(*data, start, epochs=6, **options))
        assert len(rest) == len(whole) - len(first.history) > 0
        for i in range(K):
            assert_same_run(host, rest[-1].member(i), whole[-1].member(i), close=0.0)


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_a_caller_goes_on_from_one_member(data, networks, host):
    options = {"batch_size": 8, "dropout": 0.2, "optimizer": optim.adam()}
    epoch = last_of(*data, networks[1], epochs=2, lr=(0.3, 0.1, 0.01), **options)
    alone = last_of(*data, networks[0][1], epochs=4, lr=0.1, **options)
    assert_same_run(host, last_of(*data, epoch.member(1), epochs=4, lr=0.1, **options), alone)


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_an_interrupt_keeps_frozen_members_as_they_ended(data, networks, host):
    epochs = []

    def callback(epoch):
        epochs.append(epoch)

    def op(z):
        if len(epochs) == 6:
            raise KeyboardInterrupt
        return mx.ops.tanh(z)

    options = {"lr": (schedules.step_decay(0.1, 1, 0.0), 0.1, 0.1), "patience": 1, "tol": 1e-9, "activation": op}
    with pytest.raises(Interrupted) as caught:
        list(train(*data, networks[1], epochs=9, callbacks=[callback], **options,
                   optimizer=optim.momentum(0.0, lr_in_velocity=True)))  # fmt: skip
    assert epochs[-1].last.members[0].number == 4  # the rate is 0 from the second step on
    for ours, theirs in zip(caught.value.params, epochs[3].params, strict=True):
        np.testing.assert_array_equal(host(ours)[0], host(theirs)[0])


# --- members that diverge ----------------------------------------------------------------------------------------

LINEAR = {"criterion": "squared_error", "activation": "identity", "optimizer": optim.momentum()}


@pytest.fixture
def numbers(data, put):
    return data[0], put(np.random.default_rng(3).normal(size=(20, 3)))


@LOUD
@pytest.mark.only("numpy", "torch", "array_api_strict")
@pytest.mark.parametrize("step", [0, 2, 3, 4])
def test_a_member_that_diverges_does_not_end_the_others(numbers, networks, put, host, step):
    """Three steps an epoch. What is left of the member is what its own run would have raised."""

    def bad(progress):
        return 1e200 if progress.step == step else 1e-3

    options = {"epochs": 4, "batch_size": 8, "validation": numbers, **LINEAR}
    epoch = last_of(*numbers, networks[1], lr=(1e-3, bad, 1e-2), **options)
    for i, lr in ((0, 1e-3), (2, 1e-2)):
        assert_same_run(host, epoch.member(i), last_of(*numbers, networks[0][i], lr=lr, **options))
    with pytest.raises(Diverged) as caught:
        list(train(*numbers, networks[0][1], lr=bad, **options))
    lost = epoch.member(1)
    for ours, theirs in zip(lost.params, caught.value.params, strict=True):
        np.testing.assert_allclose(host(ours), host(theirs), rtol=CLOSE)
    number = (step + 1) // 3 + 1
    assert len(lost.history) == number - 1
    record = epoch.last.members[1]
    assert record.number == number
    assert all(math.isnan(each) for each in (record.loss, record.val_loss, record.val_score))
    others = [each for i, each in enumerate(epoch.last.members) if i != 1]
    assert epoch.last.loss == pytest.approx(np.mean([each.loss for each in others]))


@pytest.mark.only("numpy", "torch", "array_api_strict")
@LOUD
def test_a_member_that_diverges_has_no_score_of_the_caller(numbers, networks, host):
    asked = []

    def score(params):
        asked.append(float(np.sum([np.sum(host(p)) for p in params])))
        return 1.0

    epoch = last_of(*numbers, networks[1], lr=(1e-3, 1e200, 1e-2), epochs=2, batch_size=8, score=score, **LINEAR)
    assert np.all(np.isfinite(asked))
    assert len(asked) == 4
    assert [each.val_score for each in (epoch.last.members[0], epoch.last.members[2])] == [1.0, 1.0]
    assert math.isnan(epoch.last.members[1].val_score)


@pytest.mark.only("numpy", "torch", "array_api_strict")
@LOUD
@pytest.mark.parametrize("score", [None, "loss"])
def test_a_member_that_diverges_leaves_the_others_the_score_of_their_own_rows(numbers, networks, score):
    (X, t), held_out = numbers, [Dataset(*numbers, None)] * K
    settings = Settings(
        2, optim.sgd(), (1e-3, 1e200, 1e-2), batch_size=8, score=score, options={"criterion": "squared_error"}
    )
    *_, epoch = run(Dataset(X, t, None), held_out, networks[1], settings)
    scores = [each.val_score for each in epoch.last.members]
    if score == "loss":
        assert scores == [None, None, None]
    else:
        assert [math.isnan(each) for each in scores] == [False, True, False]


@pytest.mark.only("numpy", "torch", "array_api_strict")
@LOUD
def test_a_run_whose_members_all_diverge_says_so(numbers, networks, put, host):
    def bad_at(step):
        return lambda progress: 1e200 if progress.step == step else 1e-3

    epochs = []
    options = {"epochs": 9, "batch_size": 8, "lr": [bad_at(2), bad_at(5), bad_at(2)], "callbacks": [epochs.append]}
    words = "the loss of network 1, the last of 3 to diverge, is not finite at step 1 of 3 in epoch 3: "
    with pytest.raises(
        Diverged, match=f"^{re.escape(words)}the learning rate, 1e\\+200, is too large; or clip"
    ) as caught:
        list(train(*numbers, networks[1], **options, **LINEAR))
    assert [[each.number for each in epoch.last.members] for epoch in epochs] == [[1, 1, 1], [2, 2, 2]]
    assert all(np.all(np.isfinite(host(p))) for p in caught.value.params)
    for ours, theirs in zip(caught.value.params, epochs[0].params, strict=True):
        np.testing.assert_array_equal(host(ours)[1], host(theirs)[1])


@pytest.mark.only("numpy", "torch", "array_api_strict")
@LOUD
def test_a_run_ends_when_what_has_not_diverged_has_ended(numbers, networks, put):
    options = {"epochs": 9, "lr": (1e200, 0.0, 1e200), "patience": 2, "tol": 1e-9, "batch_size": 8, **LINEAR}
    epochs = list(train(*numbers, networks[1], **options))
    assert len(epochs) == 4
    assert [math.isnan(each.loss) for each in epochs[-1].last.members] == [True, False, True]


# --- compiled, and counted ---------------------------------------------------------------------------------------


@pytest.mark.only("jax")
def test_jax_traces_a_step_once_though_members_end(data, networks, put):
    import jax

    traced = []

    def compiler(step):
        def counted(*arguments):
            traced.append(arguments[3].rows.shape[0])
            return step(*arguments)

        return jax.jit(counted)

    said = {"lr": (0.3, schedules.cosine(0.1), 0.02), "alpha": (0.0, 0.1, 1.0), "l2": (0.0, 0.1, 0.2)}
    options = {"epochs": 6, "batch_size": 10, "patience": 0, "tol": 0.03, "dropout": 0.2, "clip_norm": 1.0}
    options["sample_weight"] = put(WEIGHTS)
    epoch = last_of(*data, networks[1], **said, **options, compile=compiler)
    assert traced == [10]
    assert min(each.number for each in epoch.last.members) < epoch.last.number  # a member was frozen


@pytest.mark.only("torch")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
def test_torch_compiles_a_step_of_an_ensemble_whole(data, networks, put, host):
    import functools

    import torch

    options = {"epochs": 2, "batch_size": 10, "dropout": 0.2, "lr": (0.3, 0.1, 0.02), "alpha": (0.0, 0.1, 1.0)}
    options |= {"clip_norm": 1.0, "sample_weight": put(WEIGHTS)}
    whole = functools.partial(torch.compile, fullgraph=True, backend="aot_eager")
    eager = last_of(*data, networks[1], **options)
    compiled = last_of(*data, networks[1], **options, compile=whole)
    for i in range(K):
        assert_same_run(host, compiled.member(i), eager.member(i))


class Counted(np.ndarray):
    """An array that counts the calls of matmul."""

    calls = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        Counted.calls += ufunc is np.matmul
        plain = [np.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        return result.view(Counted) if isinstance(result, np.ndarray) else result


def products(params):
    """How often a step calls matmul."""
    X, y = np.ones((6, 4)).view(Counted), np.arange(6) % 3
    Counted.calls = 0
    options = {"optimizer": optim.adam(), "epochs": 1, "batch_size": 6, "shuffle": False}
    list(train(X, y, tuple(p.view(Counted) for p in params), **options))
    return Counted.calls


@pytest.mark.only("numpy")
def test_a_step_takes_one_product_for_all_networks(networks):
    single, *more = [products(mx.init_params(SIZES, ensemble=k)) for k in (None, 1, 2, 9)]
    # two layers: X @ W and a @ W; X.T @ dz, a.T @ dz and dz @ W.T; two sums over the rows, as products
    assert single >= 7
    assert more == [single] * 3


@pytest.mark.only("torch", "array_api_strict")
def test_what_comes_to_the_host_does_not_depend_on_the_number_of_steps_or_networks(data, put, backend, monkeypatch):
    calls, kind = [], type(data[0])
    if backend == "array_api_strict":
        monkeypatch.setattr("mlp_xp._lib.namespace.is_lazy_array", lambda array: False)

    def counted(method):
        def call(*arguments, **options):
            calls.append(method)
            return method(*arguments, **options)

        return call

    for name in ("__array__", "__bool__", "__float__", "__int__", "item", "tolist", "__dlpack__"):
        if hasattr(kind, name):
            monkeypatch.setattr(kind, name, counted(getattr(kind, name)))
    found = []
    for k, batch_size in ((2, 20), (2, 4), (7, 4)):
        params = tuple(map(put, mx.init_params(SIZES, ensemble=k)))
        weight = put(np.ones((k, 20)))
        options = {"alpha": 0.1, "clip_norm": 1.0, "dropout": 0.3, "sample_weight": weight, "score": lambda params: 0.5}
        ends = [len(calls) for _ in train(*data, params, epochs=3, batch_size=batch_size, **options)]
        found.append(ends[2] - ends[1])
    assert found[0] == found[1] == found[2] > 0


# --- arguments ---------------------------------------------------------------------------------------------------


def test_an_ensemble_has_the_networks_of_its_seeds(xp, put, device, host):
    params = mx.init_params((4, 6, 2), xp=xp, device=device, seed=5, ensemble=3)
    for i in range(3):
        for ours, theirs in zip(params, mx.init_params((4, 6, 2), xp=xp, device=device, seed=5 + i), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(host(ours)[i], host(theirs))


@pytest.mark.only("numpy", "torch")
def test_the_sums_of_halves_are_wide(xp, put):
    dtype = getattr(xp, "float16", None)
    if dtype is None or not xp.isdtype(dtype, "real floating"):
        pytest.skip("the library has no float16")
    n = 2**12  # in float16 a sum of the losses of so many rows, one at a time, would stop at 2048
    X, y = put(np.zeros((n, 1)), dtype), put(np.zeros(n, dtype=int))
    params = tuple(put(np.zeros(shape), dtype) for shape in ((2, 1, 2), (2, 2)))
    options = {"optimizer": optim.sgd(), "lr": 0.0, "batch_size": 32, "epochs": 1}
    weight = put(np.ones((2, n)), dtype)
    (epoch,) = train(X, y, params, **options, sample_weight=weight)
    # each loss is log 2, rounded to float16
    assert [each.loss for each in epoch.last.members] == pytest.approx([math.log(2)] * 2, rel=2 * 2.0**-11)


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_a_pair_of_the_callers_own_gives_all_networks_one_rate(data, networks, host):
    """It may multiply as it likes: a rate without axes means the same for any array."""

    def update(params, grads, state, lr):
        return tuple(p - lr * g for p, g in zip(params, grads, strict=True)), state

    own = optim.Optimizer(lambda params: (), update)
    ours, theirs = (last_of(*data, networks[1], epochs=2, lr=0.1, optimizer=each) for each in (own, optim.sgd()))
    for i in range(K):
        assert_same_run(host, ours.member(i), theirs.member(i)._replace(optimizer=""))
    with pytest.raises(ValueError, match="the rates of the networks differ, which takes an optimizer"):
        next(train(*data, networks[1], epochs=2, lr=(0.1, 0.2, 0.1), optimizer=own))


@pytest.mark.only("numpy")
def test_a_state_that_is_not_divided_among_the_networks_is_refused(data, networks):
    own = optim.Optimizer(lambda params: (np.zeros(2),), lambda params, grads, state, lr: (params, state))
    with pytest.raises(
        ValueError, match=r"^array 0 of the optimizer's state must have a leading axis of 3.*got \(2,\)"
    ):
        next(train(*data, networks[1], epochs=1, optimizer=own))


SLIPS = {
    "too few rates": ({"lr": (0.1, 0.2)}, ValueError, "lr must be one value, or 3, one for each network, got 2: "),
    "a rate in words": ({"lr": (0.1, "0.2", 0.1)}, TypeError, "lr[1] must be a number, got '0.2'"),
    "a negative rate": ({"lr": [0.1, 0.1, -1.0]}, ValueError, "lr[2] must be at least 0 and finite, got -1.0"),
    "too many penalties": ({"alpha": np.ones(4)}, ValueError, "alpha must be one value, or 3, one for each network"),
    "a penalty of nothing": ({"l2": ()}, ValueError, "l2 must be one value, or 3, one for each network, got 0: []"),
    "an infinite penalty": ({"l1": (0.0, math.inf, 0.0)}, ValueError, "l1[1] must be at least 0 and finite, got inf"),
}  # fmt: skip


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("options", "error", "words"), SLIPS.values(), ids=SLIPS)
def test_what_is_said_for_each_network_is_checked(data, networks, options, error, words):
    with pytest.raises(error, match=f"^{re.escape(words)}"):
        next(train(*data, networks[1], epochs=1, **options))


@pytest.mark.only("numpy")
def test_one_network_takes_one_value(data, networks):
    with pytest.raises(ValueError, match=r"^lr must be one value for one network, got 2: \[0.1, 0.2\]$"):
        next(train(*data, networks[0][0], epochs=1, lr=(0.1, 0.2)))
