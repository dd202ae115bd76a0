"""Under transforms: jit, vmap and grad of JAX; compile, vmap and grad of PyTorch; and Dask, lazily."""

from __future__ import annotations

import numpy as np
import pytest
import textbook

import mlp_xp as mx
from mlp_xp import optim

# a compiler may fuse and reorder sums: a few roundings more or fewer
CLOSE = 1e-13

OPTIONS = {"activation": "gelu", "l2": 0.1, "l1": 0.01, "label_smoothing": 0.1, "dropout": 0.3, "input_dropout": 0.2}


@pytest.fixture
def problem(put):
    return put(textbook.batch()), put(textbook.labels()), tuple(put(p) for p in textbook.parameters())


def assert_close(host, ours, theirs):
    for position, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert textbook.relative_error(host(a), host(b)) <= CLOSE, position


def forward_and_backward(X, y, *params):
    """The cache stays inside: it does not cross the boundary of a jit."""
    p, cache = mx.forward(X, *params, activation="tanh", dropout=0.3, seed=5)
    return p, *mx.backward(cache, y, label_smoothing=0.1)


# --- JAX -------------------------------------------------------------------------------------------------------------


@pytest.mark.only("jax")
def test_jax_jit_of_a_step_traces_once_for_all_learning_rates_and_seeds(problem, put, host):
    import jax

    X, y, params = problem
    traces = []

    @jax.jit
    def step(params, lr, seed):
        traces.append(1)
        return mx.train_step(X, y, *params, lr=lr, seed=seed, sample_weight=put(textbook.row_weights()), **OPTIONS)

    for lr, seed in ((0.5, 3), (0.25, 2**31 - 1)):
        loss, after = step(params, lr, seed)
        theirs = textbook.batch(), textbook.labels(), *textbook.parameters()
        options = {**OPTIONS, "seed": seed, "sample_weight": textbook.row_weights()}
        np.testing.assert_allclose(host(loss), textbook.objective(*theirs, **options), rtol=CLOSE)
        expected = [p - lr * g for p, g in zip(theirs[2:], textbook.gradients(*theirs, **options), strict=True)]
        assert_close(host, after, expected)
    assert len(traces) == 1


@pytest.mark.only("jax")
def test_jax_jit_of_everything_else(problem, host):
    import jax

    X, y, params = problem

    def everything(X, y, *params):
        return (
            mx.objective(X, y, *params),
            *mx.loss_and_grads(X, y, *params)[1],
            *forward_and_backward(X, y, *params),
            mx.predict_proba(X, *params),
            mx.predict(X, *params),
            mx.cross_entropy(mx.predict_proba(X, *params), y),
            mx.predict(X, *params, criterion="sigmoid_cross_entropy"),
        )

    assert_close(host, jax.jit(everything)(X, y, *params), everything(X, y, *params))


@pytest.mark.only("jax")
def test_jax_jit_of_labels_out_of_range_gives_nan(problem, put, host):
    import jax

    X, _, params = problem
    loss, grads = jax.jit(mx.loss_and_grads)(X, put([0, 1, 2, 3, 0, 1]), *params)
    assert all(np.all(np.isnan(host(a))) for a in (loss, *grads))


@pytest.mark.only("jax")
def test_jax_vmap_over_networks_is_the_leading_axis(put, host):
    import jax

    X, y = put(textbook.batch()), put(textbook.labels())
    stacked = [put(np.stack(arrays)) for arrays in zip(*(textbook.parameters(seed=s) for s in (2, 3)), strict=True)]
    axes = (None, None, 0, 0, 0, 0)
    losses, grads = jax.vmap(mx.loss_and_grads, axes)(X, y, *stacked)
    expected, theirs = mx.loss_and_grads(X, y, *stacked)
    assert_close(host, (losses, *grads), (expected, *theirs))


@pytest.mark.only("jax")
def test_jax_vmap_over_rows_gives_gradients_per_example(problem, host):
    import jax

    X, y, params = problem

    def of_one(x, label):
        return mx.loss_and_grads(x[None, :], label[None], *params)[1]

    each = jax.vmap(of_one)(X, y)
    _, mean = mx.loss_and_grads(X, y, *params)
    assert_close(host, [g.mean(axis=0) for g in each], mean)


@pytest.mark.only("jax")
def test_jax_grad_goes_through_a_training_step(problem, host):
    import jax

    X, y, params = problem

    def after_a_step(lr):
        return mx.objective(X, y, *mx.train_step(X, y, *params, lr=lr)[1])

    slope = jax.jit(jax.grad(after_a_step))(0.5)
    # d/dlr f(p - lr g(p)) = -<g(p - lr g(p)), g(p)>
    _, before = mx.loss_and_grads(X, y, *params)
    _, after = mx.loss_and_grads(X, y, *mx.train_step(X, y, *params, lr=0.5)[1])
    expected = -sum(np.sum(host(a) * host(b)) for a, b in zip(before, after, strict=True))
    np.testing.assert_allclose(host(slope), expected, rtol=CLOSE)


@pytest.mark.only("jax")
def test_jax_jit_of_an_optimizer(problem, host):
    import jax

    X, y, params = problem
    init, update = optim.adam()

    def step(params, state):
        return update(params, mx.loss_and_grads(X, y, *params)[1], state, 0.1)

    ours, theirs = (params, init(params)), (params, init(params))
    compiled = jax.jit(step)
    for _ in range(2):
        ours, theirs = compiled(*ours), step(*theirs)
    assert_close(host, (*ours[0], *ours[1]), (*theirs[0], *theirs[1]))


# --- PyTorch ---------------------------------------------------------------------------------------------------------

# the compiler warns of its own deprecated code, and of the lru_cache in array_api_compat, which it ignores
COMPILER_WARNINGS = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning"
)


@pytest.mark.only("torch")
@COMPILER_WARNINGS
def test_torch_compile_of_a_step_with_every_option_has_no_graph_break(xp, problem, put, host):
    import torch

    X, y, params = problem
    w = put(textbook.row_weights())

    @torch.compile(fullgraph=True)
    def step(X, y, w, lr, seed, *params):
        return mx.train_step(X, y, *params, lr=lr, seed=seed, sample_weight=w, **OPTIONS)

    for lr, seed in ((0.5, 3), (0.25, 2**31 - 1)):
        loss, after = step(X, y, w, put(lr), put(seed, xp.int32), *params)
        theirs = textbook.batch(), textbook.labels(), *textbook.parameters()
        options = {**OPTIONS, "seed": seed, "sample_weight": textbook.row_weights()}
        np.testing.assert_allclose(host(loss), textbook.objective(*theirs, **options), rtol=CLOSE)
        expected = [p - lr * g for p, g in zip(theirs[2:], textbook.gradients(*theirs, **options), strict=True)]
        for ours, his in zip(after, expected, strict=True):
            assert textbook.relative_error(host(ours), his) <= CLOSE


@pytest.mark.only("torch")
@COMPILER_WARNINGS
def test_torch_compile_of_everything_else_has_no_graph_break(problem, host):
    import torch

    X, y, params = problem

    def everything(X, y, *params):
        return (
            mx.objective(X, y, *params, criterion="squared_error"),
            *forward_and_backward(X, y, *params),
            mx.predict_proba(X, *params),
            mx.predict(X, *params),
        )

    # the test is about the graph; aot_eager runs it without a C++ compiler
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")
    assert_close(host, compiled(X, y, *params), everything(X, y, *params))


@pytest.mark.only("torch")
def test_torch_vmap_over_networks_is_the_leading_axis(put, host):
    from torch.func import vmap

    X, y = put(textbook.batch()), put(textbook.labels())
    stacked = [put(np.stack(arrays)) for arrays in zip(*(textbook.parameters(seed=s) for s in (2, 3)), strict=True)]
    losses, grads = vmap(mx.loss_and_grads, (None, None, 0, 0, 0, 0))(X, y, *stacked)
    expected, theirs = mx.loss_and_grads(X, y, *stacked)
    assert_close(host, (losses, *grads), (expected, *theirs))


@pytest.mark.only("torch")
def test_torch_vmap_over_rows_gives_gradients_per_example(problem, host):
    from torch.func import vmap

    X, y, params = problem

    def of_one(x, label):
        return mx.loss_and_grads(x[None, :], label[None], *params, activation="gelu")[1]

    _, mean = mx.loss_and_grads(X, y, *params, activation="gelu")
    assert_close(host, [g.mean(axis=0) for g in vmap(of_one)(X, y)], mean)


@pytest.mark.only("torch")
@pytest.mark.parametrize("activation", textbook.ACTIVATIONS)
def test_torch_func_grad_of_the_objective_is_our_backward(problem, host, activation):
    from torch.func import grad

    X, y, params = problem

    def f(params):
        return mx.objective(X, y, *params, **{**OPTIONS, "activation": activation}, seed=3)

    ours = mx.loss_and_grads(X, y, *params, **{**OPTIONS, "activation": activation}, seed=3)[1]
    assert_close(host, ours, grad(f)(params))


@pytest.mark.only("torch")
def test_torch_second_derivatives_go_through_our_backward(problem, host):
    import torch

    X, y, params = problem
    params = [p.clone().requires_grad_() for p in params]
    direction = [torch.ones_like(p) for p in params]
    _, grads = mx.loss_and_grads(X, y, *params, activation="tanh")
    ours = torch.autograd.grad(grads, params, direction)
    first = torch.autograd.grad(mx.objective(X, y, *params, activation="tanh"), params, create_graph=True)
    assert_close(host, ours, map(host, torch.autograd.grad(first, params, direction)))


# --- Dask ------------------------------------------------------------------------------------------------------------


def refuse(*args, **kwargs):
    raise AssertionError("something was computed while the graph was built")


@pytest.mark.only("dask")
@pytest.mark.parametrize("activation", textbook.ACTIVATIONS)
def test_dask_computes_nothing_while_the_graph_is_built(xp, problem, put, host, activation):
    import dask

    X, y, params = problem
    X, w = X.rechunk((2, 4)), put(textbook.row_weights())  # three chunks of rows
    options = {**OPTIONS, "activation": activation, "seed": 3}
    with dask.config.set(scheduler=refuse):
        with pytest.raises(AssertionError, match="was computed"):
            host(X)  # computing anything raises
        loss, grads = mx.loss_and_grads(X, y, *params, sample_weight=w, **options)
        _, after = mx.train_step(X, y, *params, lr=0.5, sample_weight=w, **options)
        others = mx.objective(X, y, *params), *forward_and_backward(X, y, *params), mx.predict(X, *params)
        state = optim.adam().init(params)
        stepped, _ = optim.adam().update(params, grads, state, 0.1)
    for array in (loss, *grads, *after, *others, *stepped):
        assert isinstance(array, xp.Array)
    theirs = textbook.batch(), textbook.labels(), *textbook.parameters()
    options["sample_weight"] = textbook.row_weights()
    np.testing.assert_allclose(host(loss), textbook.objective(*theirs, **options), rtol=CLOSE)
    for ours, his in zip(dask.compute(*grads), textbook.gradients(*theirs, **options), strict=True):
        assert textbook.relative_error(ours, his) <= CLOSE


@pytest.mark.only("dask")
@pytest.mark.parametrize("criterion", textbook.CRITERIA)
def test_dask_criteria_compute_nothing_while_the_graph_is_built(problem, put, host, criterion):
    import dask

    X, params = problem[0], textbook.parameters(textbook.widths_for(criterion, textbook.SIZES))
    with dask.config.set(scheduler=refuse):
        loss, _ = mx.loss_and_grads(X, put(textbook.soft_targets()), *map(put, params), criterion=criterion)
    theirs = textbook.objective(textbook.batch(), textbook.soft_targets(), *params, criterion=criterion)
    np.testing.assert_allclose(host(loss), theirs, rtol=CLOSE)
