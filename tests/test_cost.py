"""``step_cost`` against a real step whose arithmetic is counted, and a real forward whose memory is traced."""

from __future__ import annotations

import gc
import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import textbook

import mlp_xp as mx
from mlp_xp.losses import CRITERIA
from mlp_xp.mlp import objective_at

pytestmark = pytest.mark.only("numpy")  # the counts are the same on every backend

SIZES, N = (40, 60, 50, 30), 64


class Counted(np.ndarray):
    """An array that counts the operations of every ufunc on it: a multiply-add of matrices as two, others as one."""

    matmul, elementwise = 0, 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain = [np.asarray(x) if isinstance(x, Counted) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul and all(np.ndim(x) == 2 for x in plain):
            Counted.matmul += 2 * result.size * plain[0].shape[-1]
        elif ufunc.__name__ in ("matmul", "vecdot"):
            Counted.elementwise += 2 * max(np.size(x) for x in plain)
        elif method == "reduce":
            Counted.elementwise += np.size(plain[0])
        else:
            Counted.elementwise += np.size(result)
        return result.view(Counted) if isinstance(result, np.ndarray) else result

    def __array_function__(self, function, types, args, options):
        # what is joined of such arrays would count no more
        result = super().__array_function__(function, types, args, options)
        return result.view(Counted) if isinstance(result, np.ndarray) else result


def counts(function, *arrays, **options):
    """Operations in matrix products, other operations."""
    Counted.matmul = Counted.elementwise = 0
    function(*(a.view(Counted) for a in arrays), **options)
    return Counted.matmul, Counted.elementwise


def problem(sizes=SIZES, n=N, criterion="softmax_cross_entropy"):
    k = sizes[-1] // textbook.OUTPUTS_PER_TARGET.get(criterion, 1)
    y = textbook.labels(n, k) if criterion == "softmax_cross_entropy" else textbook.soft_targets(n, k)
    return textbook.batch(n, sizes[0]), y, *textbook.parameters(sizes)


@pytest.mark.parametrize("sizes", [(40, 30), (40, 60, 30), SIZES], ids=str)
@pytest.mark.parametrize("function", [mx.loss_and_grads, mx.train_step])
def test_the_multiply_adds_are_those_that_happen(function, sizes):
    matmul, _ = counts(function, *problem(sizes))
    assert mx.step_cost(sizes, N).matmul_flops == matmul


def test_two_layers_cost_4ndh_and_6nhc():
    d, h, c = 784, 800, 10
    cost = mx.step_cost((d, h, c), n=128)
    assert cost.matmul_flops == 4 * 128 * d * h + 6 * 128 * h * c
    assert cost.parameters == d * h + h + h * c + c
    elementwise = cost.forward_flops + cost.backward_flops - cost.matmul_flops
    assert 0 < elementwise < 0.01 * cost.matmul_flops


def within(counted, stated):
    """Equal to 5%: the stated number leaves out a few operations per row, which has dozens of columns."""
    assert counted == pytest.approx(stated, rel=0.05)


@pytest.mark.parametrize("activation", textbook.ACTIVATIONS)
def test_elementwise_operations_of_an_activation_are_those_that_happen(activation):
    z = np.random.default_rng(1).standard_normal((N, 50)).view(Counted)
    cost, none = (mx.step_cost((40, 50, 30), N, activation=name) for name in (activation, "identity"))
    Counted.elementwise = 0
    _, pullback = getattr(mx.ops, activation)(z)
    within(Counted.elementwise, cost.forward_flops - none.forward_flops)
    Counted.elementwise = 0
    pullback(np.ones((N, 50)).view(Counted))
    within(Counted.elementwise, cost.backward_flops - none.backward_flops + z.size)  # identity: dy * 1


@pytest.mark.parametrize("activation", textbook.ACTIVATIONS)
def test_operations_of_a_second_derivative_are_those_that_happen(activation):
    record = mx.ops.ACTIVATIONS[activation]
    Counted.elementwise = 0
    record.curvature(np, np.random.default_rng(1).standard_normal((N, 50)).view(Counted))
    within(Counted.elementwise, record.cost.second * N * 50)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("activation", ["identity", "sigmoid", "gelu"])
def test_all_operations_of_a_step_are_those_that_happen(criterion, activation):
    options = {"criterion": criterion, "activation": activation}
    matmul, elementwise = counts(mx.loss_and_grads, *problem(criterion=criterion), **options)
    cost = mx.step_cost(SIZES, N, **options)
    within(elementwise, cost.forward_flops + cost.backward_flops - matmul)
    _, forward = counts(mx.objective, *problem(criterion=criterion), **options)
    products = sum(2 * N * a * b for a, b in pairwise(SIZES))
    within(forward, cost.forward_flops - products)


def along_the_parameters(product):
    """A product with the parameters themselves."""
    return lambda X, y, *params, **options: product(X, y, *params, vectors=params, **options)


FURTHER = {
    "hvp": along_the_parameters(mx.hvp),
    "ggnvp": along_the_parameters(mx.ggnvp),
    "per_example_grads": mx.per_example_grads,
    "per_example_grad_norms": mx.per_example_grad_norms,
}


@pytest.mark.parametrize("name", FURTHER)
@pytest.mark.parametrize("sizes", [(40, 60, 30), SIZES, (40, 60, 60, 50, 30)], ids=str)
def test_the_multiply_adds_further_than_the_gradient_are_those_that_happen(name, sizes):
    matmul, elementwise = counts(FURTHER[name], *problem(sizes))
    stated = getattr(mx.step_cost(sizes, N), f"{name}_flops")
    within(elementwise, stated - matmul)


# what an activation costs does not depend on the criterion: each meets one of the others
PAIRS = [(activation, "softmax_cross_entropy") for activation in textbook.ACTIVATIONS]
PAIRS += [("tanh", criterion) for criterion in CRITERIA if criterion != "softmax_cross_entropy"]


@pytest.mark.parametrize(("activation", "criterion"), PAIRS)
@pytest.mark.parametrize("name", FURTHER)
def test_all_operations_further_than_the_gradient_are_those_that_happen(name, activation, criterion):
    options = {"criterion": criterion, "activation": activation}
    matmul, elementwise = counts(FURTHER[name], *problem(criterion=criterion), **options)
    within(elementwise, getattr(mx.step_cost(SIZES, N, **options), f"{name}_flops") - matmul)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("activation", "criterion"), PAIRS)
def test_activation_memory_is_what_forward_keeps(activation, criterion, dtype):
    n, sizes = 512, (16, 64, 32)
    X, y, *params = (a.astype(dtype) if a.dtype.kind == "f" else a for a in problem(sizes, n, criterion))
    options = {"criterion": criterion, "activation": activation}
    objective_at(X, y, tuple(params), **options)  # once before, for all that is built only once
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = objective_at(X, y, tuple(params), **options)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept
    # the stated number leaves out a few numbers per row (a weight, a 1, a maximum) and the closures, a few kB
    stated = mx.step_cost(sizes, n, dtype, **options).activation_bytes
    assert after - before == pytest.approx(stated, rel=0.05, abs=4 * n * np.dtype(dtype).itemsize + 8192)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("optimizer", "copies"), [("sgd", 0), ("momentum", 1), ("nesterov", 1), ("adam", 2), ("adamw", 2), ("rmsprop", 1)]
)
def test_parameter_and_optimizer_memory_are_what_they_hold(dtype, optimizer, copies):
    from mlp_xp.optim import OPTIMIZERS

    params = tuple(p.astype(dtype) for p in textbook.parameters(SIZES))
    cost = mx.step_cost(SIZES, N, dtype, optimizer=optimizer)
    assert cost.parameters == sum(p.size for p in params)
    assert cost.parameter_bytes == sum(p.nbytes for p in params)
    state = OPTIMIZERS[optimizer]().init(params)
    assert cost.optimizer_bytes == sum(s.nbytes for s in state if s.ndim)  # besides adam's step count
    assert cost.optimizer_bytes == copies * cost.parameter_bytes


def test_every_activation_criterion_and_optimizer_has_a_cost():
    from mlp_xp.optim import OPTIMIZERS

    for activation in (*mx.ops.ACTIVATIONS, "logistic"):
        for criterion in CRITERIA:
            for optimizer in OPTIMIZERS:
                cost = mx.step_cost((4, 5, 2), 2, activation=activation, criterion=criterion, optimizer=optimizer)
                assert all(number >= 0 and math.isfinite(number) for number in cost)


def test_what_a_cost_does_not_say_is_none():
    assert mx.ops.Cost(forward=1, backward=2, kept=3)[3:] == (0, (0, 0), 0, 0)


def test_each_hidden_layer_costs_what_its_activation_costs():
    relu, gelu, both = (mx.step_cost((4, 5, 5, 3), 2, activation=names) for names in ("relu", "gelu", ["relu", "gelu"]))
    assert relu.forward_flops < both.forward_flops < gelu.forward_flops
    for number in ("forward_flops", "backward_flops", "activation_bytes"):
        assert 2 * getattr(both, number) == getattr(relu, number) + getattr(gelu, number)


def test_the_cost_is_linear_in_the_batch():
    one, ten = mx.step_cost(SIZES, 1), mx.step_cost(SIZES, 10)
    assert ten.matmul_flops == 10 * one.matmul_flops
    assert ten.activation_bytes == 10 * one.activation_bytes
    assert ten.parameter_bytes == one.parameter_bytes
