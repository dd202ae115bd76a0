"""Several batches make one step: the run is that of batches as large as all of them together.

The oracle is the loop with the large batch, which ``test_loop`` and ``test_members`` hold against the textbook.
"""

from __future__ import annotations

import functools
import importlib
import itertools

import numpy as np
import pytest
import scipy.sparse
import textbook
from array_api_compat import array_namespace
from marks import EAGER

import mlp_xp as mx
from mlp_xp import checkpoint, optim, schedules
from mlp_xp.mlp import terms_of
from mlp_xp.train import Interrupted, step, train
from mlp_xp.train.dataset import Batch

K, SIZES, N = 3, (4, 5, 3), 20

# A run of at most 40 steps. Each rounds as the other run does, but in another order, some ten times a number; what was
# rounded is carried on, and some optimizers divide by roots that are small at first.
CLOSE = 40 * 10 * 4 * np.finfo(np.float64).eps

ROWS = np.random.default_rng(1).integers(0, 3, N).astype(float)
FIRST_ROWS = np.where(np.arange(N) < 4, 0.0, ROWS + 1)  # two batches of two weigh nothing
FOR_EACH = np.stack([np.where(np.arange(N) // 4 == i, 0.0, 1.0 + ROWS) for i in range(K)])  # steps that weigh nothing


@pytest.fixture
def data(put):
    random = np.random.default_rng(5)
    return put(random.normal(size=(N, 4))), put(random.integers(0, 3, N))


@pytest.fixture
def params(put):
    return tuple(map(put, mx.init_params(SIZES, seed=7)))


@pytest.fixture
def networks(put):
    return tuple(map(put, mx.init_params(SIZES, seed=7, ensemble=K)))


def last_of(*arguments, **options):
    *_, epoch = train(*arguments, **options)
    return epoch


def assert_same_run(host, ours, theirs, close=CLOSE):
    """Two epochs have equal arrays and records, to rounding."""
    for name in ("params", "best", "state"):
        for a, b in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(host(a), host(b), rtol=0, atol=close * max(1.0, np.max(np.abs(host(b)))))
    assert (ours.optimizer, ours.rows) == (theirs.optimizer, theirs.rows)
    for each, other in zip(ours.history, theirs.history, strict=True):
        pairs = zip((each, *each.members), (other, *other.members), strict=True)
        for a, b in pairs:
            assert (a.number, a.steps) == (b.number, b.steps)
            numbers, expected = ([0.0 if n is None else n for n in record[1:6]] for record in (a, b))
            np.testing.assert_allclose(numbers, expected, rtol=close, atol=close)


def assert_accumulates(host, data, params, put, batch_size, accumulate, large=None, **options):
    """A run is that of the large batch, for which ``large`` may have other options."""
    options = {name: put(value) if isinstance(value, np.ndarray) else value for name, value in options.items()}
    ours = last_of(*data, params, batch_size=batch_size, accumulate=accumulate, **options)
    large = options | (large or {})
    assert_same_run(host, ours, last_of(*data, params, batch_size=batch_size * accumulate, **large))
    return ours


# --- the large batch's run ---------------------------------------------------------------------------------------


def shaken(X, seed, first):
    """A transform: other inputs in each step, of which each row has its own."""
    return X + mx.dropout.uniform(array_namespace(X), X.shape, seed, 0, X, first)


SIZES_OF_STEPS = {"even": (5, 2), "a smaller end": (4, 3), "a batch that is smaller": (3, 4), "one step": (7, 100)}

RUNS = {
    "plain": {},
    "dropout": {"dropout": 0.4},
    "a schedule": {"lr": schedules.warm_up(schedules.cosine(0.3), 3)},
    "penalties": {"l2": 0.1, "l1": 0.01, "alpha": 2.0},
    "dropout of inputs, and a constraint": {"input_dropout": 0.3, "max_norm": 0.7},
    "a transform": {"transform": shaken},
    "clipping": {"clip_norm": 0.1, "alpha": 1.0},
    "clipping that leaves gradients alone": {"clip_norm": 100.0},
    "weights": {"sample_weight": ROWS, "alpha": 1.0, "l2": 0.1},
    "batches that weigh nothing": {"sample_weight": FIRST_ROWS, "shuffle": False, "alpha": 1.0},
    "smoothing and validation": {"label_smoothing": 0.1, "validation": 0.2, "patience": 1, "tol": 0.02},
}


@pytest.mark.only("numpy", "torch", "array_api_strict")  # where it is fast; the next tests are on all
@pytest.mark.parametrize("said", RUNS.values(), ids=RUNS)
def test_a_run_is_that_of_the_large_batch(data, params, put, host, said):
    said = {"lr": 0.3, "epochs": 4, "optimizer": optim.momentum(), **said}
    assert_accumulates(host, data, params, put, 2, 3, **said)


@pytest.mark.only("numpy")
def test_all_batches_of_an_epoch_make_one_step_however_many_are_asked_for(data, params, host):
    runs = [last_of(*data, params, epochs=2, batch_size=5, accumulate=count) for count in (1000, 10**39)]
    assert [run.last.steps for run in runs] == [2, 2]
    assert all((host(a) == host(b)).all() for a, b in zip(*(run.params for run in runs), strict=True))


@pytest.mark.only("numpy", "torch", "array_api_strict")
@pytest.mark.parametrize("sizes", SIZES_OF_STEPS.values(), ids=SIZES_OF_STEPS)
def test_what_is_left_at_the_end_of_an_epoch_makes_one_smaller_step(data, params, put, host, sizes):
    epoch = assert_accumulates(host, data, params, put, *sizes, epochs=3, lr=0.1, dropout=0.3)
    assert epoch.last.steps == 3 * -(-N // (sizes[0] * sizes[1]))


@pytest.mark.only("numpy", "torch", "array_api_strict")
@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_every_optimizer_makes_the_large_batchs_steps(data, params, put, host, name):
    options = {"epochs": 4, "optimizer": optim.OPTIMIZERS[name](), "lr": 0.05, "sample_weight": ROWS}
    assert_accumulates(host, data, params, put, 3, 2, **options, alpha=0.5, clip_norm=0.5)


MEMBERS = {
    "weights for each member": {"sample_weight": FOR_EACH, "shuffle": False, "alpha": (0.0, 0.1, 1.0)},
    "weights for all": {"sample_weight": ROWS, "alpha": 0.1, "l2": (0.0, 0.1, 0.2), "l1": (0.1, 0.0, 0.0)},
    "members that end": {"lr": (0.3, schedules.cosine(0.1), 0.02), "patience": 0, "tol": 0.03, "dropout": 0.3},
}


@pytest.mark.only("numpy", "torch", "array_api_strict")
@pytest.mark.parametrize("said", MEMBERS.values(), ids=MEMBERS)
def test_an_ensembles_run_is_that_of_the_large_batch(data, networks, put, host, said):
    assert_accumulates(host, data, networks, put, 2, 2, **{"lr": 0.1, "epochs": 5, "clip_norm": 0.5, **said})


def compiler_of(backend):
    """What makes a run fast on JAX, where each operation would be compiled alone."""
    return importlib.import_module("jax").jit if backend == "jax" else None


def test_a_run_with_every_option_is_that_of_the_large_batch(data, params, put, host, backend):
    options = {"alpha": 0.1, "l2": 0.1, "l1": 0.01, "dropout": 0.3, "clip_norm": 0.5, "compile": compiler_of(backend)}
    assert_accumulates(
        host, data, params, put, 3, 3, epochs=1, sample_weight=FIRST_ROWS, lr=schedules.cosine(0.1), **options
    )


@pytest.mark.only("numpy", "torch", "dask", "array_api_strict")  # below is a test for JAX
def test_an_ensembles_run_with_every_option_is_that_of_the_large_batch(data, networks, put, host):
    options = {"alpha": (0.0, 0.1, 1.0), "l2": 0.1, "dropout": 0.3, "clip_norm": 0.5}
    assert_accumulates(
        host, data, networks, put, 3, 2, epochs=1, sample_weight=FOR_EACH, lr=(0.1, 0.2, 0.3), shuffle=False, **options
    )


@pytest.mark.only("numpy", "torch", "dask", "array_api_strict")  # JAX takes its time to compile
def test_a_sparse_matrix_is_made_dense_batch_by_batch(data, params, put, host, monkeypatch):
    X = scipy.sparse.csr_matrix(np.where(np.abs(host(data[0])) > 0.5, host(data[0]), 0.0))
    dense = put(X.toarray())
    rows, toarray = [], scipy.sparse.csr_matrix.toarray
    monkeypatch.setattr(
        scipy.sparse.csr_matrix, "toarray", lambda part, *rest: rows.append(part.shape[0]) or toarray(part, *rest)
    )
    options = {"epochs": 1, "dropout": 0.3}
    ours = last_of(X, data[1], params, batch_size=5, accumulate=2, **options)
    assert max(rows) == 5
    assert_same_run(host, ours, last_of(dense, data[1], params, batch_size=10, **options))


@pytest.mark.only("numpy", "torch")
def test_large_sums_do_not_overflow_floats_of_16_bits(data, params, put, host):
    X, y, W1, *rest = [put(host(a).astype(np.float16)) if host(a).dtype.kind == "f" else a for a in (*data, *params)]
    weight = put(np.full(N, 3000.0, dtype=np.float16))  # 60,000 in all, and twice that in float16 is infinite
    options = {"epochs": 1, "sample_weight": weight, "optimizer": optim.sgd(), "lr": 0.1, "shuffle": False}
    twice = {"sample_weight": put(np.concat([host(weight)] * 2))}
    X2, y2 = (put(np.concat([host(a)] * 2)) for a in (X, y))
    ours = last_of(X2, y2, (W1, *rest), **options | twice, batch_size=10, accumulate=4)
    theirs = last_of(X, y, (W1, *rest), **options, batch_size=20)
    # numbers of size 1, each rounded some ten times
    close = 10 * float(np.finfo(np.float16).eps)
    for a, b in zip(ours.params, theirs.params, strict=True):
        np.testing.assert_allclose(host(a), host(b), rtol=0, atol=close)
    assert ours.last.loss == pytest.approx(theirs.last.loss, abs=close)


def test_the_mask_of_a_part_is_that_part_of_the_mask(xp, put, host):
    whole = textbook.dropout_mask(7, 5, 0.4, 11, 2)
    for start in (0, 1, 3):
        for first in (start, np.int32(start), put(start, xp.int32)):
            part = mx.dropout.dropout_mask(xp, (4, 5), 0.4, 11, 2, put(np.ones(1)), first)
            np.testing.assert_array_equal(host(part), whole[start : start + 4])


@EAGER
def test_a_step_of_more_than_2_31_entries_goes_on_with_the_masks_of_its_rows(put, host, xp):
    """The batch begins three rows before the first one that 2^31 entries do not reach."""
    before, W = (2**31 - 1) // 4 - 3, np.ones((4, 1))
    X, y, b = textbook.batch(), np.arange(6.0)[:, None], np.zeros(1)
    options = {"criterion": "squared_error", "activation": "sigmoid"}
    masked = X * textbook.dropout_mask(6, 4, 0.5, 11, 0, first=before)
    gather = step.make_gather(xp, terms_of(0, **options, input_dropout=0.5))
    nothing = step.no_gradients(xp, (put(W), put(b)))._replace(rows=put(before, xp.int32))
    ours = gather((put(W), put(b)), nothing, Batch(put(X), put(y), None, None), 11, None)
    for mine, theirs in zip(ours.grads, textbook.gradients(masked, y, W, b, **options), strict=True):
        assert textbook.relative_error(host(mine), theirs) <= 1e-13
    assert int(ours.rows) == before + 6


class Began(Exception):
    pass


@EAGER
@pytest.mark.parametrize("option", ["dropout", "input_dropout"])
def test_a_step_may_have_more_than_2_31_entries(put, option):
    """A run that a transform ends at its first batch was not refused before; all of it would take minutes."""
    sizes, d_in = {"dropout": ((1, 2**15, 1), 1), "input_dropout": ((2**15, 1), 2**15)}[option]
    X = scipy.sparse.csr_matrix((2**16, d_in))

    def transform(X, seed, first):
        raise Began

    options = {option: 0.5, "criterion": "sigmoid_cross_entropy", "batch_size": 2, "accumulate": 2**15}
    params = tuple(map(put, mx.init_params(sizes, seed=0)))
    with pytest.raises(Began):
        next(train(X, put(np.zeros(2**16, dtype=int)), params, epochs=1, transform=transform, **options))


# --- going on, and compiled --------------------------------------------------------------------------------------


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_a_run_goes_on_from_a_checkpoint(data, params, put, host, tmp_path):
    options = {"batch_size": 3, "accumulate": 2, "dropout": 0.3, "lr": schedules.cosine(0.1)}
    first = next(train(*data, params, epochs=3, **options))
    checkpoint.save(tmp_path / "run.safetensors", first, {})
    again = checkpoint.load(tmp_path / "run.safetensors", params, {})
    ours, theirs = last_of(*data, again, epochs=3, **options), last_of(*data, params, epochs=3, **options)
    assert_same_run(host, ours, theirs, close=0.0)


@pytest.mark.only("numpy")
def test_an_interrupt_between_two_batches_of_a_step_keeps_what_the_last_step_made(data, params, host):
    asked = itertools.count(1)

    def interrupted(z):
        if next(asked) == 6:  # the second batch of the third step
            raise KeyboardInterrupt
        return mx.ops.sigmoid(z)

    options = {"epochs": 1, "optimizer": optim.sgd(), "lr": 0.5, "batch_size": 2, "accumulate": 2, "shuffle": False}
    with pytest.raises(Interrupted) as caught:
        next(train(*data, params, activation=interrupted, **options))
    X, y = data
    theirs = last_of(X[:8], y[:8], params, **options, activation="sigmoid")
    for a, b in zip(caught.value.params, theirs.params, strict=True):
        np.testing.assert_array_equal(host(a), host(b))


@pytest.mark.only("jax")
def test_jax_traces_a_batch_and_an_update_once_for_each_size(data, networks, put, host):
    import jax

    traced = []

    def compiler(function):
        def counted(*arguments):
            traced.append((function.__name__, arguments[2].rows.shape[0] if function.__name__ == "gather" else 0))
            return function(*arguments)

        return jax.jit(counted)

    options = {"epochs": 3, "sample_weight": FOR_EACH, "dropout": 0.3, "lr": (0.1, 0.2, schedules.cosine(0.1))}
    options |= {"alpha": (0.0, 0.1, 1.0), "l2": 0.1, "clip_norm": 0.5}
    assert_accumulates(host, data, networks, put, 8, 2, {"compile": jax.jit}, **options, compile=compiler)
    assert traced == [("gather", 8), ("update", 0), ("gather", 4)]


@pytest.mark.only("torch")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
@pytest.mark.parametrize("many", [False, True], ids=["one network", "an ensemble"])
def test_torch_compiles_a_batch_and_an_update_whole_and_once(data, params, networks, put, host, many):
    import torch

    graphs = []

    def counting(graph, inputs):
        graphs.append(len(inputs))
        return graph.forward

    torch._dynamo.reset()  # what other tests compiled counts towards its limit
    options = {"epochs": 3, "dropout": 0.3, "alpha": 0.1, "clip_norm": 1.0, "lr": schedules.cosine(0.1)}
    options["compile"] = functools.partial(torch.compile, fullgraph=True, backend=counting)
    if many:
        options["sample_weight"] = FOR_EACH
    assert_accumulates(host, data, networks if many else params, put, 5, 2, {"compile": None}, **options)
    assert len(graphs) == 2
