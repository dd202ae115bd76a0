"""Rows in bfloat16 and float16 learn in that dtype, with float32 parameters, and float16 with a loss scale.

The oracles are the same casts in another library's autodiff, the textbook's gradients in float64, and the run in
float32. NumPy stands in for the devices where a test needs no bfloat16.
"""

from __future__ import annotations

import numpy as np
import pytest
import textbook

import mlp_xp as mx
from mlp_xp import checkpoint, optim, schedules
from mlp_xp.train import Diverged, loop, train
from mlp_xp.train.scale import with_loss_scale

FIRST = 2.0**15  # the scale of the first step
SIZES = (6, 16, 3)
DTYPES = pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
WITH_BOTH = pytest.mark.only("torch", "jax")
EAGER = pytest.mark.only("numpy", "torch", "cupy")  # JAX compiles each operation for a new dtype, and is shown above


def rows(n=48):
    random = np.random.default_rng(3)
    return random.normal(size=(n, SIZES[0])), random.integers(0, SIZES[-1], n)


def last_of(*arguments, **options):
    *_, epoch = train(*arguments, **options)
    return epoch


@pytest.fixture
def start(xp, put):
    """``start(**options)``: parameters in float32."""
    return lambda sizes=SIZES, **options: tuple(put(p, xp.float32) for p in mx.init_params(sizes, seed=2, **options))


def gradient_of_a_step(host, X, y, params, **options):
    """What one step of rate 1 takes away."""
    after = last_of(X, y, params, epochs=1, lr=1.0, optimizer=optim.sgd(), batch_size=X.shape[0], **options)
    return [host(a).astype(float) - host(b).astype(float) for a, b in zip(params, after.params, strict=True)]


# --- the gradient ------------------------------------------------------------------------------------------------


def gradient_by_torch(X, y, params):
    import torch

    leaves = [p.clone().requires_grad_() for p in params]
    W1, b1, W2, b2 = (p.to(X.dtype) for p in leaves)
    logits = torch.relu(X @ W1 + b1) @ W2 + b2
    torch.nn.functional.cross_entropy(logits.to(torch.float32), y).backward()
    return [p.grad for p in leaves]


def gradient_by_jax(X, y, params):
    import jax

    def loss_of(params):
        W1, b1, W2, b2 = (p.astype(X.dtype) for p in params)
        logits = (jax.nn.relu(X @ W1 + b1) @ W2 + b2).astype("float32")
        return -jax.numpy.mean(jax.nn.log_softmax(logits)[jax.numpy.arange(X.shape[0]), y])

    return jax.jit(jax.grad(loss_of))(params)


@WITH_BOTH
@DTYPES
def test_the_gradient_is_that_of_the_casts_by_autodiff(backend, xp, put, host, start, dtype):
    X, y = rows()
    narrow, labels, params = put(X, getattr(xp, dtype)), put(y), start()
    options = {"activation": "relu", "compile": backend == "jax" or None}
    ours = gradient_of_a_step(host, narrow, labels, params, **options)
    theirs = {"torch": gradient_by_torch, "jax": gradient_by_jax}[backend](narrow, labels, params)
    wide = textbook.gradients(X, y, *(host(p).astype(float) for p in params), activation="relu")
    eps = float(xp.finfo(narrow.dtype).eps)
    for a, b, c in zip(ours, theirs, wide, strict=True):
        size = np.max(np.abs(c))
        # at most four numbers on the way of a gradient are rounded, each by half an eps; rows add up, signs cancel
        assert np.max(np.abs(a - host(b).astype(float))) <= 4 * eps * size
        assert 0.01 * eps * size < np.max(np.abs(a - c)) <= 8 * eps * size  # those of 16 bits, not of more


@EAGER
def test_sums_over_more_rows_than_float16_counts_do_not_overflow(xp, put, host, start):
    n = 70_000  # 1/n is below the normal numbers of float16
    X, y = np.ones((n, 1)), np.arange(n) % 2
    weight = put(np.full(n, 3000.0), xp.float16)
    for options in ({}, {"sample_weight": weight}):
        _, db = gradient_of_a_step(host, put(X, xp.float16), put(y), start((1, 2)), **options)
        expected = textbook.gradients(X, y, *(host(p).astype(float) for p in start((1, 2))))[1]
        np.testing.assert_allclose(db, expected, rtol=4 * np.finfo(np.float16).eps)


# --- a run -------------------------------------------------------------------------------------------------------


@WITH_BOTH
def test_digits_are_learned_as_in_float32(backend, xp, put, host):
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y, right = X[order] / 16.0, y[order].astype("int32"), {}
    for dtype in ("float32", "float16", "bfloat16"):
        params = tuple(put(p, xp.float32) for p in mx.init_params((64, 64, 10), seed=0))
        epoch = last_of(
            put(X[:1200], getattr(xp, dtype)), put(y[:1200]), params, epochs=12, activation="relu", batch_size=60,
            lr=schedules.cosine(0.1), optimizer=optim.momentum(), compile=backend == "jax" or None,
        )  # fmt: skip
        assert all(p.dtype == xp.float32 for p in (*epoch.params, *epoch.best, *epoch.state))
        right[dtype] = np.sum(
            mx.predict(X[1200:], *(host(p).astype(float) for p in epoch.params), activation="relu") == y[1200:]
        )
    assert right["float32"] > 0.96 * 597
    assert all(abs(right[dtype] - right["float32"]) <= 1 for dtype in right)  # 0.2 % of 597 rows


OPTIONS = {
    "plain": {},
    "dropout, penalties, limits": {
        "dropout": 0.2, "input_dropout": 0.1, "alpha": 1.0, "l1": 0.01, "clip_norm": 0.3, "max_norm": 2.0},
    "several batches in a step": {"accumulate": 3, "batch_size": 5},
    "weights": {"sample_weight": np.arange(48.0) % 3.0},
    "smoothed": {"label_smoothing": 0.1, "activation": "gelu"},
}  # fmt: skip


@EAGER
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_mean_what_they_mean_in_float32(xp, put, host, start, options):
    (X, y), found = rows(), []
    for dtype in (xp.float32, xp.float16):
        own = {name: put(each, dtype) if name == "sample_weight" else each for name, each in options.items()}
        common = {"epochs": 2, "batch_size": 15, "lr": 0.1, "optimizer": optim.momentum()}
        found.append(last_of(put(X, dtype), put(y), start(), validation=(put(X, dtype), put(y)), **common | own))
    wide, narrow = found
    # 8 steps, each with a gradient of 4 roundings, and momentum adds up to ten of them
    close = 8 * 4 * 10 * 0.1 * float(np.finfo(np.float16).eps)
    for a, b in zip(wide.params, narrow.params, strict=True):
        np.testing.assert_allclose(host(a), host(b), rtol=0, atol=close * np.max(np.abs(host(a))))
    assert narrow.last.loss == pytest.approx(wide.last.loss, rel=close)
    assert narrow.last.val_loss == pytest.approx(wide.last.val_loss, rel=close)


@pytest.mark.only("jax")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_compiled_run_is_the_eager_one_of_numpy_and_is_compiled_once(xp, put, host, start, accumulate):
    import jax

    traced = []

    def counted(function):
        return jax.jit(lambda *arguments: (traced.append(function.__name__), function(*arguments))[1])

    X, y = rows()
    options = {"epochs": 2, "batch_size": 12, "lr": 0.1, "dropout": 0.2, "accumulate": accumulate}
    options |= {"optimizer": optim.momentum(), "shuffle": False}
    ours = last_of(put(X, xp.float16), put(y), start(), **options, compile=counted)
    theirs = last_of(X.astype(np.float16), y, tuple(map(host, start())), **options)
    assert traced == (["step"] if accumulate == 1 else ["gather", "update"])
    assert len(ours.state) == len(theirs.state) == 5
    # a fused product keeps float32 where NumPy rounds: 8 gradients of 4 roundings, of which momentum adds up ten
    for a, b in zip(ours.params, theirs.params, strict=True):
        np.testing.assert_allclose(host(a), b, rtol=0, atol=8 * 4 * 10 * 0.1 * float(np.finfo(np.float16).eps))
    assert float(ours.state[-1]) == pytest.approx(float(theirs.state[-1]), rel=1e-5)


@EAGER
def test_a_run_goes_on_to_the_last_bit(xp, put, host, start, tmp_path):
    pytest.importorskip("safetensors")
    X, y = rows()
    X, y, path = put(X, xp.float16), put(y), tmp_path / "run.safetensors"
    options = {"lr": 0.1, "batch_size": 20, "dropout": 0.3, "optimizer": optim.momentum()}
    whole = last_of(X, y, start(), **options, epochs=4)
    last_of(X, y, start(), **options, epochs=2, callbacks=[checkpoint.saver(path, {})])
    loaded = checkpoint.load(path, start(), {})
    resumed = last_of(X, y, loaded, **options, epochs=4)
    for a, b in zip((*whole.params, *whole.state), (*resumed.params, *resumed.state), strict=True):
        np.testing.assert_array_equal(host(a), host(b))
    words = "the Epoch's is momentum, loss scale, got momentum"
    with pytest.raises(ValueError, match=words):
        last_of(put(rows()[0], xp.float32), y, loaded, **options, epochs=4)


@EAGER
def test_batches_that_come_one_by_one_are_as_the_rows(xp, put, host, start):
    X, y = rows()
    targets = np.stack([X[:, 0], X[:, 1] + y, X[:, 2]], axis=1)
    X, t = put(X, xp.float16), put(targets, xp.float16)
    options = {"epochs": 2, "lr": 0.01, "criterion": "squared_error"}
    theirs = last_of(X, t, start(), **options, batch_size=16, shuffle=False)
    ours = last_of([(X[i : i + 16, :], t[i : i + 16, :]) for i in (0, 16, 32)], None, start(), **options)
    for a, b in zip((*ours.params, *ours.state), (*theirs.params, *theirs.state), strict=True):
        np.testing.assert_array_equal(host(a), host(b))


# --- the loss scale ----------------------------------------------------------------------------------------------


@EAGER
def test_gradients_that_float16_would_lose_are_learned_from(monkeypatch, xp, put, host, start):
    X, y = rows(512)
    W1, b1, W2, b2 = start()
    params = (W1, b1, W2 * 1e-4, b2)  # the gradient of W1 is some 1e-9 in each row, and float16 ends at 6e-8
    arrays = put(X, xp.float16), put(y), params
    expected = textbook.gradients(host(arrays[0]).astype(float), y, *(host(p).astype(float) for p in params))
    with monkeypatch.context() as patched:
        patched.setattr(loop, "needs_loss_scale", lambda *_: False)
        assert not any(gradient_of_a_step(host, *arrays)[:2][0].ravel())
    # from 0, so that the parameter does not round what it is moved by
    state = with_loss_scale(optim.momentum(0.0)).init(params)
    after = last_of(*arrays, epochs=1, lr=0.0, optimizer=optim.momentum(0.0), batch_size=512)
    assert len(after.state) == len(state)
    for a, b in zip(after.state, expected, strict=False):
        # of 512 numbers near 1e-9 * 2^15 that are rounded, errors of both signs
        assert np.max(np.abs(host(a) - b)) <= 8 * np.finfo(np.float16).eps * np.max(np.abs(b))


@EAGER
def test_a_gradient_that_is_too_large_is_skipped_and_the_scale_falls(xp, put, host, start):
    X, targets = np.tile(np.eye(SIZES[0]), (4, 1)), np.full((24, 3), 1000.0)
    arrays, params = (put(X, xp.float16), put(targets, xp.float32)), start((SIZES[0], 3))
    options = {"optimizer": optim.sgd(), "lr": 1.0, "batch_size": 24, "criterion": "squared_error"}
    epochs = list(train(*arrays, params, epochs=40, **options))
    # the gradient of a bias, near 1000 times the scale, is below 65504 from a scale of 64 = 2^15 / 2^9 on
    skipped, last = 9, epochs[-1]
    assert [float(epoch.state[-1]) for epoch in epochs[:skipped]] == [FIRST / 2**i for i in range(1, skipped + 1)]
    grown = [64.0 * 2.0 ** (1e-3 * i) for i in range(1, 40 - skipped + 1)]
    assert [float(epoch.state[-1]) for epoch in epochs[skipped:]] == pytest.approx(grown, rel=1e-5)
    for number, epoch in enumerate(epochs, 1):
        same = all(np.array_equal(host(a), host(b)) for a, b in zip(epoch.params, params, strict=True))
        assert same == (number <= skipped)
    wide = last_of(put(X, xp.float32), arrays[1], params, epochs=40 - skipped, **options)
    # logits near 1000, each rounded to half an eps of float16
    close = 1000 * float(np.finfo(np.float16).eps)
    assert wide.last.loss < last.last.loss + close**2 < 1.5 * 3 * close**2 + wide.last.loss


@EAGER
def test_each_network_of_an_ensemble_has_a_scale_of_its_own(xp, put, host, start):
    X, y = rows()
    X, y = put(X, xp.float16), put(y)
    W1, b1, W2, b2 = start(ensemble=2)
    factors = np.asarray([1.0, 5e3])[:, None, None]
    params = (W1, b1, W2 * put(factors, xp.float32), b2)  # the way back of the second overflows
    options, rates = {"epochs": 2, "batch_size": 16, "optimizer": optim.sgd()}, (0.1, 1e-9)
    together = last_of(X, y, params, **options, lr=rates)
    for number in range(2):
        alone = last_of(X, y, tuple(p[number, ...] for p in params), **options, lr=rates[number])
        assert float(alone.state[-1]) == float(together.state[-1][number])
        for a, b in zip(together.member(number).params, alone.params, strict=True):
            # 6 gradients of 4 roundings, of products that add up in another order
            close = 6 * 4 * float(np.finfo(np.float16).eps) * max(1.0, np.max(np.abs(host(b))))
            np.testing.assert_allclose(host(a), host(b), rtol=0, atol=close)
    assert float(together.state[-1][0]) > FIRST > float(together.state[-1][1])


@EAGER
def test_a_gradient_of_zero_lets_the_scale_grow_to_its_end(xp, put):
    optimizer, params = with_loss_scale(optim.sgd()), (put([[1.0]], xp.float32), put([0.0], xp.float32))
    zeros = tuple(xp.zeros_like(p) for p in params)
    (scale,) = optimizer.init(params)
    _, (last,) = optimizer.update(params, zeros, (scale * 2.0**45,), 0.1)
    assert float(last) == 2.0**60


@EAGER
def test_logits_that_float16_can_not_hold_end_the_run_in_a_sentence(xp, put, start):
    X, y = rows()
    W1, b1, W2, b2 = start()
    words = r"^the loss is not finite at step 1 of 3 in epoch 1: the parameters .*; bfloat16 and float32 reach further"
    with pytest.raises(Diverged, match=words), np.errstate(all="ignore"):
        last_of(put(X, xp.float16), put(y), (W1, b1, W2 * 1e6, b2), epochs=2, batch_size=16)
    last_of(put(X, xp.float32), put(y), (W1, b1, W2 * 1e6, b2), epochs=2, batch_size=16)


# --- what is refused, and who decides ----------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_numpy_refuses_bfloat16_in_a_sentence(start):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    X, y = rows()
    for call in (lambda X: list(train(X, y, start(), epochs=1)), lambda X: mx.objective(X, y, *start())):
        with pytest.raises(TypeError, match=r"^X must be floating, got bfloat16, which numpy lacks$"):
            call(X.astype(ml_dtypes.bfloat16))


@EAGER
def test_other_mixtures_of_dtypes_are_refused(xp, put, start):
    X, y = rows()
    for X_dtype, dtype in ((xp.float32, xp.float16), (xp.float16, xp.float64), (xp.float64, xp.float32)):
        params = tuple(xp.astype(p, dtype) for p in start())
        with pytest.raises(TypeError, match=r"^W1 must have the dtype of X, "):
            list(train(put(X, X_dtype), put(y), params, epochs=1))
    with pytest.raises(TypeError, match=r"^W1 must have the dtype of X, "):
        mx.loss_and_grads(put(X, xp.float16), put(y), *start())


@pytest.mark.only("torch")
@DTYPES
def test_an_estimator_learns_in_the_dtype_of_X(xp, put, host, dtype):
    kinds = pytest.importorskip("mlp_xp.estimators")
    X, y = rows()
    narrow, wide = put(1e3 + X, getattr(xp, dtype)), put(1e3 + X, xp.float32)
    options = {"max_iter": 3, "random_state": 0, "batch_size": 16, "standardise": True, "early_stopping": True}
    with pytest.warns(Warning, match="Maximum iterations"):
        model = kinds.MLPClassifier((16,), **options).fit(narrow, y)
    assert all(p.dtype == xp.float32 for p in (*model.coefs_, *model.intercepts_, *model._state))
    assert len(model._state) == 9 + (dtype == "float16")
    np.testing.assert_array_equal(
        host(model.predict_proba(narrow)), host(model.predict_proba(xp.astype(narrow, xp.float32)))
    )
    # rows that come in float32 may be made narrow after they are standardised, as the command does
    later = kinds.MLPClassifier((16,), **options)
    later._computes_in = dtype
    with pytest.warns(Warning, match="Maximum iterations"):
        later.fit(wide, y)
    assert len(later._state) == len(model._state)
    assert not np.array_equal(host(later.coefs_[0]), host(model.coefs_[0]))  # 1000.3 is 1000 in bfloat16
    # the optimizer's memory goes on in the same dtype, and begins anew in another
    model = kinds.MLPClassifier((16,), random_state=0).partial_fit(narrow, y, classes=[0, 1, 2])
    for X, steps in ((narrow, 2), (wide, 1 + 2 * (dtype == "bfloat16"))):
        assert float(model.partial_fit(X, y)._state[0]) == steps
