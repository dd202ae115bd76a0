"""Optimizers against torch.optim, and against their papers' formulae in plain NumPy on every backend."""

from __future__ import annotations

import numpy as np
import pytest
import textbook

import mlp_xp as mx
from mlp_xp import optim

STEPS = 5
# each step rounds a few times, and later steps see the difference in their gradients
CLOSE = 1e-13


def sgd(params, gradients, lr):
    for _ in range(STEPS):
        params = [p - lr * g for p, g in zip(params, gradients(params), strict=True)]
    return params


def momentum(params, gradients, lr, decay=0.9):
    velocity = [np.zeros_like(p) for p in params]
    for _ in range(STEPS):
        velocity = [decay * v + g for v, g in zip(velocity, gradients(params), strict=True)]
        params = [p - lr * v for p, v in zip(params, velocity, strict=True)]
    return params


def adam(params, gradients, lr, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Algorithm 1 of the paper, line by line."""
    m = [np.zeros_like(p) for p in params]
    v = [np.zeros_like(p) for p in params]
    for t in range(1, STEPS + 1):
        g = gradients(params)
        m = [beta1 * a + (1 - beta1) * b for a, b in zip(m, g, strict=True)]
        v = [beta2 * a + (1 - beta2) * b**2 for a, b in zip(v, g, strict=True)]
        m_hat = [a / (1 - beta1**t) for a in m]
        v_hat = [a / (1 - beta2**t) for a in v]
        params = [p - lr * a / (np.sqrt(b) + epsilon) for p, a, b in zip(params, m_hat, v_hat, strict=True)]
    return params


CASES = {
    "sgd": (optim.sgd, sgd, {"lr": 0.5}),
    "momentum": (optim.momentum, momentum, {"lr": 0.1}),
    "momentum of 0.5": (optim.momentum, momentum, {"lr": 0.1, "decay": 0.5}),
    "momentum of 0": (optim.momentum, momentum, {"lr": 0.1, "decay": 0.0}),
    "adam": (optim.adam, adam, {"lr": 0.01}),
    "adam with other constants": (optim.adam, adam, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}),
    "adam without memory": (optim.adam, adam, {"lr": 0.1, "beta1": 0.0, "beta2": 0.0}),
}


def trajectory(optimizer, lr, put, params):
    """Where our optimizer goes in a few steps on our gradients."""
    X, y = put(textbook.batch()), put(textbook.labels())
    params = tuple(put(p) for p in params)
    state = optimizer.init(params)
    for _ in range(STEPS):
        _, grads = mx.loss_and_grads(X, y, *params)
        params, state = optimizer.update(params, grads, state, lr)
    return params


def without_lr(options):
    return {name: value for name, value in options.items() if name != "lr"}


def textbook_gradients(params):
    return textbook.gradients(textbook.batch(), textbook.labels(), *params)


@pytest.mark.parametrize("name", CASES)
def test_an_optimizer_goes_where_its_formula_goes(put, host, name):
    ours, theirs, options = CASES[name]
    there = theirs(textbook.parameters(), textbook_gradients, **options)
    for a, b in zip(
        trajectory(ours(**without_lr(options)), options["lr"], put, textbook.parameters()), there, strict=True
    ):
        assert textbook.relative_error(host(a), b) <= CLOSE


@pytest.mark.only("torch")
@pytest.mark.parametrize("name", CASES)
def test_an_optimizer_goes_where_torchs_goes(put, host, name):
    import torch

    ours, _, options = CASES[name]
    params = [put(p).requires_grad_() for p in textbook.parameters()]
    if ours is optim.adam:
        betas = options.get("beta1", 0.9), options.get("beta2", 0.999)
        theirs = torch.optim.Adam(params, options["lr"], betas, options.get("epsilon", 1e-8))
    else:
        decay = 0.0 if ours is optim.sgd else options.get("decay", 0.9)
        theirs = torch.optim.SGD(params, options["lr"], momentum=decay)
    X, y = put(textbook.batch()), put(textbook.labels())
    for _ in range(STEPS):
        theirs.zero_grad()
        logits = torch.sigmoid(X @ params[0] + params[1]) @ params[2] + params[3]
        torch.nn.functional.cross_entropy(logits, y).backward()
        theirs.step()
    for a, b in zip(
        trajectory(ours(**without_lr(options)), options["lr"], put, textbook.parameters()), params, strict=True
    ):
        assert textbook.relative_error(host(a), host(b.detach())) <= CLOSE


def test_sgd_is_train_step(put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), tuple(put(p) for p in textbook.parameters())
    _, expected = mx.train_step(X, y, *params, lr=0.5)
    stepped, state = optim.sgd().update(params, mx.loss_and_grads(X, y, *params)[1], (), 0.5)
    assert state == ()
    for a, b in zip(stepped, expected, strict=True):
        assert textbook.relative_error(host(a), host(b)) <= 1e-15  # one product rounded elsewhere


@pytest.mark.parametrize("name", CASES)
def test_an_optimizer_keeps_the_dtype_and_mutates_nothing(xp, put, host, name):
    optimizer = CASES[name][0](**without_lr(CASES[name][2]))
    params = tuple(put(p, xp.float32) for p in textbook.parameters())
    state = optimizer.init(params)
    before = [host(a).copy() for a in (*params, *state)]
    new, after = optimizer.update(params, params, state, 0.1)
    assert all(a.dtype == xp.float32 for a in (*new, *after))
    for array, copied in zip((*params, *state), before, strict=True):
        np.testing.assert_array_equal(host(array), copied)
    # from the same state the same step again
    again, _ = optimizer.update(params, params, state, 0.1)
    for a, b in zip(new, again, strict=True):
        np.testing.assert_array_equal(host(a), host(b))


def test_the_first_step_of_adam_is_right_in_float32(xp, put, host):
    """Where 1 - 0.999 would be computed in float32, the first step would be off by 1e-5."""
    optimizer, p = optim.adam(beta2=0.999, epsilon=0.0), (put([[0.0]], xp.float32),)
    ((stepped,), _) = optimizer.update(p, (put([[2.0]], xp.float32),), optimizer.init(p), 1.0)
    np.testing.assert_allclose(host(stepped), [[-1.0]], rtol=8 * float(np.finfo("float32").eps))


def test_every_optimizer_has_its_name():
    assert set(optim.OPTIMIZERS) == {"sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"}
    assert all(make().__class__ is optim.Optimizer for make in optim.OPTIMIZERS.values())
