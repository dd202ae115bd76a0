"""Gradients of rows against those of batches of one row, against autodiff under vmap, and by the checker."""

from __future__ import annotations

from functools import partial

import numpy as np
import peers
import pytest
import textbook
from marks import EAGER

import mlp_xp as mx

# a dozen roundings per operation come to some 1e-14
CLOSE = 1e-12

SOFTMAX = "softmax_cross_entropy"
# two on every library: the others differ in the logits' gradient alone
CRITERIA = [name if name in (SOFTMAX, "gaussian") else pytest.param(name, marks=EAGER) for name in textbook.CRITERIA]
OPTIONS = {"activation": "gelu", "dropout": 0.3, "seed": 11}
N, SIZES = textbook.N, (4, 5, 5, 3)


def case(put, criterion, sizes=SIZES):
    """X, y, parameters and options, all of them on."""
    y = textbook.labels() if criterion == SOFTMAX else textbook.soft_targets()
    options = {**OPTIONS, "criterion": criterion, "sample_weight": put(textbook.row_weights())}
    if criterion == SOFTMAX:
        options["label_smoothing"] = 0.1
    return (
        put(textbook.batch()),
        put(y),
        tuple(map(put, textbook.parameters(textbook.widths_for(criterion, sizes)))),
        options,
    )


def assert_close(host, ours, theirs):
    for position, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert textbook.relative_error(host(a), host(b)) <= CLOSE, f"parameter {position}"


@pytest.mark.only("jax", "torch")
@pytest.mark.parametrize(
    ("activation", "criterion"), [("tanh", SOFTMAX), ("relu", SOFTMAX), *(("gelu", name) for name in textbook.CRITERIA)]
)
def test_gradients_of_rows_are_those_of_vmap_over_grad(backend, put, host, activation, criterion):
    peer, (X, y, params, options) = peers.peer(backend), case(put, criterion)
    targets = host(y) if criterion != SOFTMAX else 0.9 * np.eye(3)[host(y)] + 0.1 / 3
    masks = [put(textbook.dropout_mask(N, 5, 0.3, 11, layer)) for layer in (1, 2)]

    def loss(params, x, t, w, *masks):
        return w * peers.losses(peer, criterion, peers.logits(peer, x, params, activation, masks), t)

    each = peer.vmap(peer.grad(loss), (None, 0, 0, 0, 0, 0))
    theirs = each(params, X, put(targets), options["sample_weight"], *masks)
    options["activation"] = activation
    assert_close(host, mx.per_example_grads(X, y, *params, **options), theirs)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_row_has_the_gradient_of_a_batch_of_one(put, host, criterion):
    X, y, params, options = case(put, criterion)
    options = {"criterion": criterion, "activation": "tanh"}
    rows = list(map(host, mx.per_example_grads(X, y, *params, **options)))
    for i in (0, N - 1):
        _, alone = mx.loss_and_grads(X[i : i + 1, :], y[i : i + 1, ...], *params, **options)
        assert_close(np.asarray, [each[i] for each in rows], map(host, alone))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_they_sum_to_the_gradient_of_the_weighted_mean(put, host, criterion):
    X, y, params, options = case(put, criterion)
    _, together = mx.loss_and_grads(X, y, *params, **options)
    total = float(np.sum(textbook.row_weights()))
    rows = mx.per_example_grads(X, y, *params, **options)
    assert_close(np.asarray, [host(each).sum(axis=0) / total for each in rows], map(host, together))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_norms_are_those_of_the_gradients(put, host, criterion):
    X, y, params, options = case(put, criterion)
    squares = [host(each) ** 2 for each in mx.per_example_grads(X, y, *params, **options)]
    norms = host(mx.per_example_grad_norms(X, y, *params, **options))
    assert norms.shape == (N,)
    np.testing.assert_allclose(norms, np.sqrt(sum(s.reshape(N, -1).sum(axis=1) for s in squares)), rtol=CLOSE)


@pytest.mark.only("numpy", "cupy", "dpnp", "torch", "array_api_strict")
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_checker_finds_them_right(xp, put, criterion):
    """As the gradient of the sum of the losses, each times a number of its own."""
    X, y, params, options = case(put, criterion, textbook.SIZES)
    weights = options.pop("sample_weight")
    total = float(xp.sum(weights))

    def f(*at):
        return total * mx.objective(X, y, *at, sample_weight=weights, **options)

    def grad(*at):
        rows = mx.per_example_grads(X, y, *at, **options)
        return tuple(xp.tensordot(weights, each, axes=((0,), (0,))) for each in rows)

    mx.gradcheck(f, grad, params).raise_if_failed()


@pytest.mark.only("numpy", "cupy", "dpnp", "torch", "dask", "array_api_strict")  # JAX would compile for each new shape
def test_k_networks_are_taken_one_by_one(xp, put, host):
    X, y, _, options = case(put, SOFTMAX)
    members = [list(map(put, textbook.parameters(SIZES, seed))) for seed in (2, 3)]
    stacked = [xp.stack(list(arrays)) for arrays in zip(*members, strict=True)]
    rows, norms = (f(X, y, *stacked, **options) for f in (mx.per_example_grads, mx.per_example_grad_norms))
    for k, params in enumerate(members):
        assert_close(host, [each[k, ...] for each in rows], mx.per_example_grads(X, y, *params, **options))
        assert_close(host, [norms[k, :]], [mx.per_example_grad_norms(X, y, *params, **options)])


@pytest.mark.parametrize("dtype", ["float32"])  # the other tests are in float64
def test_they_keep_dtype_and_namespace(xp, put, dtype):
    dtype = getattr(xp, dtype)
    X, y, params, options = case(lambda a: put(a, dtype if a.dtype.kind == "f" else None), SOFTMAX)
    norms = mx.per_example_grad_norms(X, y, *params, **options)
    for found, param in zip(mx.per_example_grads(X, y, *params, **options), params, strict=True):
        assert (type(found), found.dtype, found.shape) == (type(norms), dtype, (N, *param.shape))


@pytest.mark.only("torch", "jax", "dask", "array_api_strict")
def test_a_label_out_of_range_gives_no_plausible_gradient_in_its_row(put, host):
    X, _, params, options = case(put, SOFTMAX)
    rows = mx.per_example_grads(X, put([0, 1, 2, 3, 0, 1]), *params, **{**options, "dropout": 0.0})
    norms = host(mx.per_example_grad_norms(X, put([0, 1, 2, 3, 0, 1]), *params, **options))
    assert [bool(np.all(np.isnan(host(rows[-1])[i]))) for i in range(N)] == [i == 3 for i in range(N)]
    assert np.isnan(norms).tolist() == [i == 3 for i in range(N)]


def both(options, X, y, params, seed):
    options = {**options, "seed": seed}
    rows = mx.per_example_grads(X, y, *params, **options)
    return *rows, mx.per_example_grad_norms(X, y, *params, **options)


@pytest.mark.only("jax")
def test_jax_jit_of_gradients_of_rows(put, host):
    import jax

    *arrays, options = case(put, SOFTMAX)
    seed = options.pop("seed")
    assert_close(host, jax.jit(partial(both, options))(*arrays, seed), both(options, *arrays, seed))


@pytest.mark.only("torch")
# the compiler warns of its own deprecated code, and of the lru_cache in array_api_compat, which it ignores
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning"
)
def test_torch_compile_of_gradients_of_rows_has_no_graph_break(put, host):
    import torch

    *arrays, options = case(put, SOFTMAX)
    seed = options.pop("seed")
    compiled = torch.compile(partial(both, options), fullgraph=True, backend="aot_eager")
    assert_close(host, compiled(*arrays, seed), both(options, *arrays, seed))
