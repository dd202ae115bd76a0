"""Optimizers compared with torch.optim, optax and scikit-learn, and with their papers' formulas on every backend."""

from __future__ import annotations

import copy
import functools
import math
import pickle
from fractions import Fraction

import cloudpickle
import numpy as np
import pytest
import textbook
from marks import EAGER
from scipy.optimize import minimize

import mlp_xp as mx
from mlp_xp import optim
from mlp_xp._lib.namespace import persisted
from mlp_xp.curvature import hessian_at

STEPS = 24
SHAPES = ((4, 3), (3,))  # few: JAX compiles for each, Dask builds a graph for each
# each step rounds a few times, and only weight decay feeds an error back
CLOSE = 1e-13
RATES = [0.1 * 0.9**t for t in range(STEPS)]
"""The learning rate changes with every step, so that a factor lr in the wrong place shows."""


def gradients():
    """A gradient for each step, of many magnitudes; some of its entries are always 0."""
    random = np.random.default_rng(5)
    masks = [random.random(shape) > 0.1 for shape in SHAPES]
    return [
        [
            random.standard_normal(shape) * 10.0 ** random.integers(-3, 2) * mask
            for shape, mask in zip(SHAPES, masks, strict=True)
        ]
        for _ in range(STEPS)
    ]


def parameters():
    random = np.random.default_rng(6)
    return [random.standard_normal(shape) for shape in SHAPES]


# --- the formulas: step(p, g, lr, t, memory) -> p', for one parameter --------------------------------------------


def sgd(p, g, lr, t, memory):
    return p - lr * g


def momentum(p, g, lr, t, memory, decay=0.9, lr_in_velocity=False, nesterov=False):
    change = lr * g if lr_in_velocity else g
    memory["v"] = v = decay * memory.get("v", 0.0) + change
    step = decay * v + change if nesterov else v
    return p - step if lr_in_velocity else p - lr * step


def nesterov(p, g, lr, t, memory, **constants):
    return momentum(p, g, lr, t, memory, nesterov=True, **constants)


def adam(p, g, lr, t, memory, beta1=0.9, beta2=0.999, epsilon=1e-8, epsilon_before_correction=False, weight_decay=0.0):
    """Algorithm 1 of the paper, line by line, and the paper's other form."""
    memory["m"] = m = beta1 * memory.get("m", 0.0) + (1 - beta1) * g
    memory["v"] = v = beta2 * memory.get("v", 0.0) + (1 - beta2) * g**2
    p = p - lr * weight_decay * p
    if epsilon_before_correction:
        return p - lr * math.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + epsilon)
    return p - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)


def adamw(p, g, lr, t, memory, weight_decay=0.01, **constants):
    return adam(p, g, lr, t, memory, weight_decay=weight_decay, **constants)


def rmsprop(p, g, lr, t, memory, decay=0.99, epsilon=1e-8, momentum=0.0, centered=False):
    memory["v"] = v = decay * memory.get("v", 0.0) + (1 - decay) * g**2
    memory["m"] = m = decay * memory.get("m", 0.0) + (1 - decay) * g
    memory["u"] = u = momentum * memory.get("u", 0.0) + g / (np.sqrt(v - m**2 if centered else v) + epsilon)
    return p - lr * u


CASES = {
    "sgd": (optim.sgd, sgd, {}),
    "momentum": (optim.momentum, momentum, {}),
    "momentum of 0": (optim.momentum, momentum, {"decay": 0.0}),
    "momentum of 1": (optim.momentum, momentum, {"decay": 1.0}),
    "momentum with the rate in the velocity": (optim.momentum, momentum, {"decay": 0.5, "lr_in_velocity": True}),
    "nesterov": (optim.nesterov, nesterov, {}),
    "nesterov with the rate in the velocity": (optim.nesterov, nesterov, {"decay": 0.5, "lr_in_velocity": True}),
    "adam": (optim.adam, adam, {}),
    "adam with other constants": (optim.adam, adam, {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}),
    "adam without memory": (optim.adam, adam, {"beta1": 0.0, "beta2": 0.0, "epsilon": 1e-3}),
    "adam with epsilon first": (optim.adam, adam, {"epsilon": 1e-3, "epsilon_before_correction": True}),
    "adamw": (optim.adamw, adamw, {}),
    "adamw with other constants": (optim.adamw, adamw, {"beta1": 0.5, "epsilon": 1e-3, "weight_decay": 0.3}),
    "rmsprop": (optim.rmsprop, rmsprop, {}),
    "rmsprop of the last gradient alone": (optim.rmsprop, rmsprop, {"decay": 0.0, "epsilon": 1e-3}),
    "rmsprop with momentum": (optim.rmsprop, rmsprop, {"decay": 0.9, "epsilon": 1e-3, "momentum": 0.8}),
    "rmsprop, centred": (optim.rmsprop, rmsprop, {"decay": 0.9, "epsilon": 1e-2, "centered": True}),
    "rmsprop, centred with momentum": (
        optim.rmsprop, rmsprop, {"decay": 0.9, "epsilon": 1e-2, "centered": True, "momentum": 0.8}),
}  # fmt: skip

SHARED = [
    name for name, (_, _, constants) in CASES.items()
    if not {"lr_in_velocity", "epsilon_before_correction"} & constants.keys()
]  # fmt: skip
"""The cases that torch and optax have too; the other forms are scikit-learn's."""


def trajectory(optimizer, put, rates=RATES):
    params = tuple(put(p) for p in parameters())
    state = optimizer.init(params)
    for grads, lr in zip(gradients(), rates, strict=True):
        params, state = optimizer.update(params, tuple(put(g) for g in grads), state, lr)
        arrays = persisted(*params, *state)
        params, state = arrays[: len(params)], arrays[len(params) :]
    return params


def assert_same_place(host, ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert textbook.relative_error(host(a), np.asarray(b)) <= CLOSE


@pytest.mark.parametrize("name", CASES)
def test_an_optimizer_follows_its_formula(put, host, name):
    make, formula, constants = CASES[name]
    params, memories = parameters(), [{} for _ in SHAPES]
    for t, (grads, lr) in enumerate(zip(gradients(), RATES, strict=True), start=1):
        params = [formula(p, g, lr, t, m, **constants) for p, g, m in zip(params, grads, memories, strict=True)]
    assert_same_place(host, trajectory(make(**constants), put), params)


def torchs(torch, params, make, constants):
    """torch.optim's optimizer of the same name and constants."""
    if make in (optim.sgd, optim.momentum, optim.nesterov):
        decay = 0.0 if make is optim.sgd else constants.get("decay", 0.9)
        return torch.optim.SGD(params, 1.0, momentum=decay, nesterov=make is optim.nesterov)
    if make is optim.rmsprop:
        alpha, rest = (
            constants.get("decay", 0.99),
            {k: constants[k] for k in ("momentum", "centered") if k in constants},
        )
        return torch.optim.RMSprop(params, 1.0, alpha, constants.get("epsilon", 1e-8), **rest)
    betas = constants.get("beta1", 0.9), constants.get("beta2", 0.999)
    if make is optim.adamw:
        decay = constants.get("weight_decay", 0.01)
        return torch.optim.AdamW(params, 1.0, betas, constants.get("epsilon", 1e-8), weight_decay=decay)
    return torch.optim.Adam(params, 1.0, betas, constants.get("epsilon", 1e-8))


@pytest.mark.only("torch")
@pytest.mark.parametrize("name", SHARED)
def test_an_optimizer_follows_torchs(put, host, name):
    import torch

    make, _, constants = CASES[name]
    params = [put(p).requires_grad_() for p in parameters()]
    theirs = torchs(torch, params, make, constants)
    for grads, lr in zip(gradients(), RATES, strict=True):
        theirs.param_groups[0]["lr"] = lr
        for p, g in zip(params, grads, strict=True):
            p.grad = put(g)
        theirs.step()
    assert_same_place(host, trajectory(make(**constants), put), [host(p.detach()) for p in params])


def optaxs(optax, lr, make, constants):
    """The optimizer of optax of the same name and constants."""
    names = {"beta1": "b1", "beta2": "b2", "epsilon": "eps"}
    renamed = {names.get(key, key): value for key, value in constants.items()}
    if make is optim.sgd:
        return optax.sgd(lr)
    if make in (optim.momentum, optim.nesterov):
        return optax.sgd(lr, momentum=constants.get("decay", 0.9), nesterov=make is optim.nesterov)
    if make is optim.rmsprop:
        return optax.rmsprop(lr, **{"decay": 0.99, "eps": 1e-8, **renamed}, eps_in_sqrt=False)
    return optax.adam(lr, **renamed) if make is optim.adam else optax.adamw(lr, **{"weight_decay": 0.01, **renamed})


@pytest.mark.only("jax")
@pytest.mark.parametrize("name", SHARED)
def test_an_optimizer_follows_optaxs(put, host, name):
    import jax
    import optax

    make, _, constants = CASES[name]
    theirs = optaxs(optax, 0.1, make, constants)  # one rate for all steps: optax's rmsprop has it in the velocity
    params = [put(p) for p in parameters()]
    state, update = theirs.init(params), jax.jit(theirs.update)
    for grads in gradients():
        updates, state = update([put(g) for g in grads], state, params)
        params = optax.apply_updates(params, updates)
    assert_same_place(host, trajectory(make(**constants), put, [0.1] * STEPS), [host(p) for p in params])


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam"])
def test_an_optimizer_follows_scikit_learns_at_any_learning_rate(put, host, name):
    """scikit-learn multiplies the gradient by the rate before it enters the velocity."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    params = parameters()
    if name == "adam":
        ours, theirs = (
            optim.adam(0.8, 0.9, 1e-3, epsilon_before_correction=True),
            AdamOptimizer(params, 0, 0.8, 0.9, 1e-3),
        )
    else:
        decay = 0.0 if name == "sgd" else 0.7
        make = optim.nesterov if name == "nesterov" else optim.momentum
        ours, theirs = make(decay, lr_in_velocity=True), SGDOptimizer(params, 0, "constant", decay, name == "nesterov")
    for grads, lr in zip(gradients(), RATES, strict=True):
        theirs.learning_rate = theirs.learning_rate_init = lr
        theirs.update_params(params, grads)
    assert_same_place(host, trajectory(ours, put), params)


def test_sgd_is_train_step(put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), tuple(put(p) for p in textbook.parameters())
    _, expected = mx.train_step(X, y, *params, lr=0.5)
    stepped, state = optim.sgd().update(params, mx.loss_and_grads(X, y, *params)[1], (), 0.5)
    assert state == ()
    for a, b in zip(stepped, expected, strict=True):
        assert textbook.relative_error(host(a), host(b)) <= 1e-15  # one product rounded elsewhere


@pytest.mark.parametrize("name", CASES)
def test_an_optimizer_keeps_the_dtype_and_mutates_nothing(xp, put, host, name):
    make, _, constants = CASES[name]
    # a constant of NumPy's own type widens nothing either
    optimizer = make(**{k: v if isinstance(v, bool) else np.float64(v) for k, v in constants.items()})
    params = tuple(put(p, xp.float32) for p in parameters())
    state = optimizer.init(params)
    before = [host(a).copy() for a in (*params, *state)]
    for lr in (0.1, np.float64(0.1), np.float32(0.1), put(0.1, xp.float32)):
        new, after = optimizer.update(params, params, state, lr)
        assert all(a.dtype == xp.float32 for a in (*new, *after))
        assert [a.shape for a in (*new, *after)] == [a.shape for a in (*params, *state)]
    for array, copied in zip((*params, *state), before, strict=True):
        np.testing.assert_array_equal(host(array), copied)
    # the same state gives the same step again
    again, _ = optimizer.update(params, params, state, put(0.1, xp.float32))
    for a, b in zip(new, again, strict=True):
        np.testing.assert_array_equal(host(a), host(b))


def test_the_first_step_of_adam_is_right_in_float32(xp, put, host):
    """If 1 - 0.999 were computed in float32, the first step would be wrong by 1e-5."""
    optimizer, p = optim.adam(beta2=0.999, epsilon=0.0), (put([[0.0]], xp.float32),)
    ((stepped,), _) = optimizer.update(p, (put([[2.0]], xp.float32),), optimizer.init(p), 1.0)
    np.testing.assert_allclose(host(stepped), [[-1.0]], rtol=8 * float(np.finfo("float32").eps))


def test_a_gradient_that_stays_the_same_has_no_negative_variance(put, host):
    """Rounding brings ``v - m^2`` below 0, where the root would be NaN."""
    optimizer = optim.rmsprop(0.1, 1e-3, centered=True)
    params = (put(np.linspace(0.1, 1.0, 50)),)
    state, grads = optimizer.init(params), params
    for _ in range(20):  # 0.1^20 is far below eps: v is g^2
        params, state = persisted_pair(optimizer.update(params, grads, state, 1e-3))
    assert np.all(np.isfinite(host(params[0])))


def persisted_pair(pair):
    params, state = pair
    arrays = persisted(*params, *state)
    return arrays[: len(params)], arrays[len(params) :]


def test_sum_of_squares_sums_over_all_entries(xp, put, host):
    arrays = gradients()[0]
    total = optim.sum_of_squares(xp, tuple(put(array) for array in arrays))
    np.testing.assert_allclose(host(total), sum(np.sum(array**2) for array in arrays), rtol=1e-14)


def test_every_optimizer_has_its_name():
    assert set(optim.OPTIMIZERS) == {"sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"}
    assert all(make().__class__ is optim.Optimizer for make in optim.OPTIMIZERS.values())


# --- the constraint on a unit's incoming weights --------------------------------------------------------------------


def limited_by_hand(params, limit):
    """Each unit of each hidden layer by itself."""
    expected = [p.copy() for p in params]
    for W in expected[:-2:2]:
        for unit in range(W.shape[1]):
            norm = math.sqrt(math.fsum(W[:, unit] ** 2))
            if norm > limit:
                W[:, unit] *= limit / norm
    return expected


@EAGER
def test_hidden_units_have_incoming_weights_up_to_the_limit_and_outputs_and_biases_stay(put, host):
    params = textbook.parameters((4, 5, 6, 3))
    limited = optim.limit_norms(tuple(map(put, params)), 0.8)
    assert_same_place(host, limited, limited_by_hand(params, 0.8))
    norms = np.linalg.norm(params[0], axis=0)
    assert (norms <= 0.8).any()
    assert (norms > 0.8).any()
    for position in (1, 3, 4, 5):
        np.testing.assert_array_equal(host(limited[position]), params[position])
    inside = np.nonzero(norms <= 0.8)[0]
    np.testing.assert_array_equal(host(limited[0])[:, inside], params[0][:, inside])  # to the bit
    networks = tuple(put(np.stack([p, 2 * p])) for p in params)
    for ours, one, other in zip(
        optim.limit_norms(networks, 0.8),
        limited,
        optim.limit_norms(tuple(put(2 * p) for p in params), 0.8),
        strict=True,
    ):
        np.testing.assert_allclose(host(ours), np.stack([host(one), host(other)]), rtol=1e-15)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_the_constraint_keeps_zeros_and_the_dtype_and_hides_no_overflow(xp, put, host):
    W, b = put([[0.0, 1e30], [0.0, 1.0]], xp.float32), put([0.0, 0.0], xp.float32)
    limited = optim.limit_norms((W, b, W, b), np.float64(1.0))
    assert all(each.dtype == xp.float32 for each in limited)
    np.testing.assert_array_equal(host(limited[0]), [[0.0, math.nan], [0.0, math.nan]])
    with pytest.raises(ValueError, match=r"^limit must be positive, got 0"):
        optim.limit_norms((W, b), 0)


# --- clipping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1e-3, 1.0, 7.5, 1e3])
def test_clipping_uses_one_norm_of_all_gradients(put, host, limit):
    grads = gradients()[0]
    norm = np.linalg.norm(np.concatenate([g.reshape(-1) for g in grads]))
    expected = [g * min(1.0, limit / norm) for g in grads]
    assert_same_place(host, optim.clip_by_global_norm(tuple(put(g) for g in grads), limit), expected)


@pytest.mark.only("torch", "jax")
@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e3])
def test_clipping_equals_torchs_and_optaxs(backend, put, host, limit):
    grads = [put(g) for g in gradients()[0]]
    ours = optim.clip_by_global_norm(tuple(grads), limit)
    if backend == "jax":
        import optax

        theirs, _ = optax.clip_by_global_norm(limit).update(grads, optax.EmptyState())
        return assert_same_place(host, ours, [host(g) for g in theirs])
    import torch

    params = [torch.zeros_like(g) for g in grads]
    for p, g in zip(params, grads, strict=True):
        p.grad = g.clone()
    norm = float(torch.nn.utils.clip_grad_norm_(params, limit))
    # torch divides by norm + 1e-6 if the norm is larger than the limit
    share = 1.0 + 1e-6 / norm if norm > limit else 1.0
    return assert_same_place(host, ours, [host(p.grad) * share for p in params])


def test_clipping_keeps_zeros_and_the_dtype(xp, put, host):
    zeros = (put(np.zeros((4, 5)), xp.float32), put(np.zeros(5), xp.float32))
    clipped = optim.clip_by_global_norm(zeros, np.float64(1.0))
    assert all(g.dtype == xp.float32 and not np.any(host(g)) for g in clipped)


@pytest.mark.parametrize("size", [1e20, 3e38])
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # where NumPy computes
def test_gradients_whose_norm_overflows_become_nan_and_not_0(xp, put, host, size):
    clipped = optim.clip_by_global_norm((put([size, 1.0], xp.float32), put([[2.0]], xp.float32)), 1.0)
    assert all(np.all(np.isnan(host(each))) for each in clipped)


@pytest.mark.parametrize(
    ("limit", "error"), [(0.0, ValueError), (-1.0, ValueError), (math.nan, ValueError), ("1", TypeError)]
)
def test_a_limit_must_be_positive(put, limit, error):
    with pytest.raises(error, match="limit must be"):
        optim.clip_by_global_norm((put([1.0]),), limit)


# --- L-BFGS ------------------------------------------------------------------------------------------------------


def valley(xp, W, b):
    """``sum (1 - W)^2 + 10 sum (b - sum_i W_i^2)^2``, curved like Rosenbrock's, and its gradients."""
    gap = b - xp.sum(W * W, axis=0)
    value = xp.sum((1.0 - W) * (1.0 - W)) + 10.0 * xp.sum(gap * gap)
    return value, (-2.0 * (1.0 - W) - 40.0 * W * gap[None, :], 20.0 * gap)


START = np.linspace(-1.0, 1.0, 6).reshape(2, 3), np.zeros(3)


def scipys(**options):
    """scipy called on the plain NumPy problem: the result, and where it was after each iteration."""

    def flat(x):
        value, grads = valley(np, x[:6].reshape(2, 3), x[6:])
        return value, np.concatenate([g.reshape(-1) for g in grads])

    path = []
    result = minimize(
        flat, np.concatenate([p.reshape(-1) for p in START]), method="L-BFGS-B", jac=True, options=options,
        callback=lambda x: path.append(x.copy()),
    )  # fmt: skip
    return result, path


@pytest.mark.parametrize("options", [{}, {"max_iter": 5}, {"max_fun": 7}, {"tol": 1e-2}])
def test_lbfgs_follows_scipys(xp, put, host, options):
    params, path = tuple(put(p) for p in START), []

    def value_and_grad(W, b):
        assert (W.dtype, b.dtype) == (xp.float64, xp.float64)
        return valley(xp, W, b)  # fails on the strict library if W or b is on another device

    found, result = optim.lbfgs(value_and_grad, params, callback=lambda p, value: path.append((p, value)), **options)
    names = {"max_iter": "maxiter", "max_fun": "maxfun", "tol": "gtol"}
    defaults = {"maxiter": 200, "maxfun": 15_000, "gtol": 1e-4}
    theirs, their_path = scipys(**{**defaults, **{names[k]: v for k, v in options.items()}})
    assert (result.nit, result.nfev, result.status) == (theirs.nit, theirs.nfev, theirs.status)
    assert len(path) == len(their_path) > 0
    # the parameters given to the callback do not change later; a rounding grows along the curved valley
    for (p, value), x in zip(path, their_path, strict=True):
        np.testing.assert_allclose(np.concatenate([host(a).reshape(-1) for a in p]), x, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(value, valley(np, x[:6].reshape(2, 3), x[6:])[0], rtol=1e-7, atol=1e-12)
    assert [p.shape for p in found] == [(2, 3), (3,)]
    np.testing.assert_allclose(np.concatenate([host(a).reshape(-1) for a in found]), theirs.x, rtol=1e-7, atol=1e-9)


def test_lbfgs_keeps_float32_and_its_start(xp, put, host):
    params = tuple(put(p, xp.float32) for p in START)
    seen = []

    def value_and_grad(W, b):
        seen.append(W.dtype == b.dtype == xp.float32)
        return valley(xp, W, b)

    found, result = optim.lbfgs(value_and_grad, params)
    assert seen
    assert all(seen)
    assert result.fun < 1e-4  # 10 at the start, 0 at the minimum
    assert all(p.dtype == xp.float32 for p in found)
    for p, start in zip(params, START, strict=True):
        np.testing.assert_array_equal(host(p), start.astype(np.float32))


def test_lbfgs_learns(put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), tuple(put(p) for p in textbook.parameters((4, 3)))
    found, result = optim.lbfgs(lambda *p: mx.loss_and_grads(X, y, *p, l2=0.1), params, tol=1e-3)
    assert result.success
    grads = textbook.gradients(textbook.batch(), textbook.labels(), *[host(p) for p in found], l2=0.1)
    assert max(np.max(np.abs(g)) for g in grads) <= 1e-3


@pytest.mark.only("numpy", "torch", "jax", "array_api_strict", "cupy", "dpnp")  # on Dask each evaluation is a graph
def test_a_callback_that_says_true_ends_lbfgs_after_its_iteration(xp, put, host):
    """What it said is Python's True, NumPy's, or a 0-d array of the library; scipy's result says who ended it."""
    params, (_, path) = tuple(put(p) for p in START), scipys(maxiter=200, maxfun=15_000, gtol=1e-4)
    for yes in (True, np.True_, put([1.0])[0] > 0):
        seen = []
        found, result = optim.lbfgs(
            functools.partial(valley, xp), params, callback=lambda p, v, yes=yes, seen=seen: [seen.append(v), yes][-1]
        )
        assert (len(seen), result.nit, result.status, result.success) == (1, 1, 99, False)
        assert "StopIteration" in result.message
        np.testing.assert_allclose(np.concatenate([host(a).reshape(-1) for a in found]), path[0], rtol=1e-7, atol=1e-9)
    for no in (None, 1, "yes", False, np.False_, put([1.0]) > 0, put([1.0])[0]):
        assert optim.lbfgs(functools.partial(valley, xp), params, callback=lambda *here, no=no: no)[1].status == 0


def ridge(put):
    """Regression by one layer: value and gradient, products of the Hessian, a start, and the minimum in closed form."""
    X, y = textbook.batch(), textbook.soft_targets()
    at = {"criterion": "squared_error", "l2": 0.1}
    one = np.concatenate([X, np.ones((len(X), 1))], axis=1)
    exact = np.linalg.solve(one.T @ one / len(X) + 0.1 * np.diag([1.0] * 4 + [0.0]), one.T @ y / len(X))
    X, y, params = put(X), put(y), (put(np.zeros((4, 3))), put(np.zeros(3)))
    value_and_grad = functools.partial(mx.loss_and_grads, X, y, **at)
    return value_and_grad, functools.partial(hessian_at, X, y, **at), params, (exact[:4], exact[4])


def test_newton_cg_finds_the_minimum_of_ridge_regression(put, host):
    value_and_grad, product_at, params, exact = ridge(put)
    values = []
    found, result = optim.newton_cg(
        value_and_grad, product_at, params, tol=1e-9, callback=lambda p, value: values.append(value)
    )
    assert result.success
    assert len(values) == result.nit <= 20
    for ours, theirs in zip(found, exact, strict=True):
        np.testing.assert_allclose(host(ours), theirs, atol=1e-7)


@pytest.mark.only("numpy")
def test_newton_cg_follows_scipys():
    start = tuple(p + 0.1 for p in START)

    def product_at(W, b):
        def product(vectors):
            V, c = vectors
            gap, moved = b - np.sum(W * W, axis=0), c - 2.0 * np.sum(W * V, axis=0)
            return 2.0 * V - 40.0 * (V * gap + W * moved), 20.0 * moved

        return product

    def apart(x):
        return x[:6].reshape(2, 3), x[6:]

    def flat(x):
        value, grads = valley(np, *apart(x))
        return value, np.concatenate([g.reshape(-1) for g in grads])

    theirs = minimize(
        flat, np.concatenate([p.reshape(-1) for p in start]), method="Newton-CG", jac=True,
        hessp=lambda x, v: np.concatenate([g.reshape(-1) for g in product_at(*apart(x))(apart(v))]),
        options={"xtol": 1e-6, "maxiter": 200},
    )  # fmt: skip
    _, result = optim.newton_cg(functools.partial(valley, np), product_at, start)
    assert (result.nit, result.nfev, result.nhev, result.status) == (theirs.nit, theirs.nfev, theirs.nhev, 0)
    np.testing.assert_array_equal(result.x, theirs.x)


@pytest.mark.only("numpy")
def test_newton_cg_ends_by_default_where_an_iteration_changes_a_parameter_by_a_millionth_or_after_200():
    """With c times the Hessian of a bowl an iteration leaves 1 - 1/c of the way: of 1 the k-th takes 2^-k for c = 2."""

    def made(c, start, **options):
        bowl = optim.newton_cg(lambda x: (0.5 * x @ x, (x,)), lambda x: lambda v: (c * v[0],), (start,), **options)
        return bowl[1].nit

    assert made(2.0, np.ones(1)) == next(k for k in range(100) if 2.0**-k <= 1e-6)
    assert made(8.0, np.full(1, 1e6), tol=0.0) == 200


@pytest.mark.only("numpy")
def test_lbfgs_ends_by_default_where_scikit_learns_networks_do(monkeypatch):
    from sklearn.neural_network import MLPRegressor

    asked = {}
    monkeypatch.setattr(
        "scipy.optimize.minimize", lambda *_, options, **__: asked.update(options) or minimize(*_, **__)
    )
    optim.lbfgs(functools.partial(valley, np), START)
    theirs = MLPRegressor()
    assert asked == {"maxiter": theirs.max_iter, "maxfun": theirs.max_fun, "gtol": theirs.tol}


@pytest.mark.only("numpy", "torch", "jax", "array_api_strict", "cupy", "dpnp")
def test_newton_cg_keeps_float32_and_ends_when_the_callback_says_true(xp, put):
    value_and_grad, product_at, params, _ = ridge(lambda a: put(a, xp.float32))
    found, result = optim.newton_cg(value_and_grad, product_at, params, callback=lambda p, value: True)
    assert (result.nit, result.status) == (1, 99)
    assert all(p.dtype == xp.float32 for p in found)


@pytest.mark.only("numpy")
def test_numbers_of_numpy_are_options_of_lbfgs():
    plain = optim.lbfgs(functools.partial(valley, np), START, max_iter=150, tol=0.01)[1]
    options = {"max_iter": np.uint8(150), "max_fun": np.int16(15_000), "tol": np.float32(0.01)}
    scalars = optim.lbfgs(functools.partial(valley, np), START, **options)[1]
    assert (scalars.nit, scalars.nfev, scalars.status) == (plain.nit, plain.nfev, plain.status)


@pytest.mark.only("torch")
def test_lbfgs_from_parameters_of_a_module_returns_plain_tensors(xp, put):
    """From ``nn.Parameter``s, of data with a past, and with gradients that have one."""
    import torch

    params = tuple(torch.nn.Parameter(put(p)) for p in START)
    scale = put(1.0).requires_grad_()
    seen = []

    def value_and_grad(W, b):
        seen.append(W.requires_grad or b.requires_grad)
        value, grads = valley(xp, W, b)
        return value * scale, tuple(g * scale for g in grads)

    found, result = optim.lbfgs(value_and_grad, params)
    expected, theirs = optim.lbfgs(functools.partial(valley, xp), tuple(p.detach() for p in params))
    assert not any(seen)
    assert (result.nit, result.status) == (theirs.nit, 0)
    assert all(type(p) is torch.Tensor and not p.requires_grad and p.grad_fn is None for p in found)
    assert all(bool(xp.all(a == b)) for a, b in zip(found, expected, strict=True))


# --- a pair with a name ------------------------------------------------------------------------------------------


def copies(value):
    """What comes back from each way to copy a Python object."""
    return [copy.deepcopy(value), pickle.loads(pickle.dumps(value)), cloudpickle.loads(cloudpickle.dumps(value))]


@pytest.mark.parametrize("name", CASES)
def test_a_pickled_optimizer_makes_the_same_steps(put, host, name):
    make, _, constants = CASES[name]
    optimizer, rates = make(**constants), RATES[:3]
    few = dict(zip(rates, gradients(), strict=False))

    def walked(optimizer):
        params = tuple(put(p) for p in parameters())
        state = optimizer.init(params)
        for lr, grads in few.items():
            params, state = persisted_pair(optimizer.update(params, tuple(map(put, grads)), state, lr))
        return [host(array) for array in (*params, *state)]

    expected = walked(optimizer)
    for again in copies(optimizer):
        assert (type(again), again.name) == (optim.Optimizer, optimizer.name)
        for a, b in zip(walked(again), expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.only("numpy")
def test_the_name_of_an_optimizer_says_what_its_state_means():
    """Constants that a state is in units of, or that decide what it holds, are in the name; others are not."""
    makers = [
        optim.sgd(), optim.momentum(), optim.nesterov(), optim.adam(), optim.adamw(), optim.rmsprop(),
        optim.momentum(lr_in_velocity=True), optim.nesterov(lr_in_velocity=True), optim.adam(beta1=0.5),
        optim.adam(beta2=0.9), optim.rmsprop(momentum=0.5), optim.rmsprop(centered=True),
        optim.rmsprop(momentum=0.5, centered=True),
    ]  # fmt: skip
    names = [optimizer.name for optimizer in makers]
    assert len(set(names)) == len(names)
    assert all(names)
    assert optim.momentum(0.5).name == optim.momentum(np.float64(0.9)).name == "momentum"
    assert optim.adam(np.float32(0.5)).name == optim.adam(0.5, epsilon=1.0).name
    assert optim.rmsprop(0.5, epsilon=1.0, momentum=0.1).name == optim.rmsprop(momentum=0.9).name


@pytest.mark.only("numpy")
def test_a_pair_of_the_callers_own_has_no_name():
    adam = optim.adam()
    init, update = adam
    for own in (optim.Optimizer(init, update), adam._replace(update=update), optim.Optimizer(*adam)):
        assert own.name == ""
        assert own == adam  # as the pairs that they are


@pytest.mark.only("numpy", "torch", "jax")
@pytest.mark.parametrize("epsilon_before_correction", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_adam_counts_steps_that_its_parameters_could_not_count(xp, put, dtype, epsilon_before_correction):
    if not hasattr(xp, dtype):
        return  # NumPy has one of the two
    params = (put([0.0], getattr(xp, dtype)),)
    optimizer = optim.adam(beta1=0.5, beta2=0.5, epsilon_before_correction=epsilon_before_correction)
    state = optimizer.init(params)
    state = (state[0] + 3000.0, *state[1:])
    for _ in range(3):
        params, state = optimizer.update(params, (put([1.0], getattr(xp, dtype)),), state, 0.125)
    assert float(state[0]) == 3003.0
    assert params[0].dtype == getattr(xp, dtype)


@pytest.mark.parametrize("make", optim.OPTIMIZERS.values(), ids=optim.OPTIMIZERS)
def test_a_gradient_of_another_shape_changes_no_parameter(put, make):
    optimizer, params = make(), (put(np.zeros((3, 2))), put(np.zeros(2)))
    for grads in ((put(np.zeros((3, 2))), put(np.zeros((3, 2)))), (put(np.zeros(2)), put(np.zeros((3, 2))))):
        with pytest.raises(ValueError, match=r"^the gradient of (W1|b1) must have shape \(.*\), got \("):
            optimizer.update(params, grads, optimizer.init(params), 0.1)


def test_gradients_of_an_ensemble_have_one_leading_size(put):
    grads = put(np.ones((3, 2, 2))), put(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"have one size, got shapes \[\(3, 2, 2\), \(2, 2\)\]$"):
        optim.clip_by_global_norm(grads, 1.0, ensemble=True)


@pytest.mark.parametrize("make", optim.OPTIMIZERS.values(), ids=optim.OPTIMIZERS)
def test_no_kind_of_rate_widens_float32(xp, put, host, make):
    optimizer, params = make(), (put(np.ones((3, 2)), xp.float32), put(np.ones(2), xp.float32))
    expected, _ = optimizer.update(params, params, optimizer.init(params), 0.25)
    for lr in (np.float64(0.25), Fraction(1, 4), put(0.25), put(0.25, xp.float32)):
        new, state = optimizer.update(params, params, optimizer.init(params), lr)
        assert all(each.dtype == xp.float32 for each in (*new, *state))
        for a, b in zip(new, expected, strict=True):
            np.testing.assert_allclose(host(a), host(b), rtol=1e-6)
    for lr, said in ((math.nan, "got nan"), (-0.1, "got -0.1"), (True, "got True"), (put([0.1]), "0-d array, got")):
        with pytest.raises((ValueError, TypeError), match=f"^lr must be .*{said}"):
            optimizer.update(params, params, optimizer.init(params), lr)


@pytest.mark.parametrize("make", optim.OPTIMIZERS.values(), ids=optim.OPTIMIZERS)
def test_k_networks_take_a_rate_each(put, host, make):
    """Also where k is the width of the network: a rate must not multiply columns."""
    random, rates, optimizer = np.random.default_rng(4), [0.5, 0.0, 0.01], make()
    params, *grads = ([random.normal(size=shape) for shape in ((3, 4, 3), (3, 3))] for _ in range(4))
    together, state = tuple(map(put, params)), optimizer.init(tuple(map(put, params)))
    for each in grads:
        together, state = optimizer.update(together, tuple(map(put, each)), state, put(rates))
    for i, rate in enumerate(rates):
        alone = tuple(put(p[i]) for p in params)
        kept = optimizer.init(alone)
        for each in grads:
            alone, kept = optimizer.update(alone, tuple(put(g[i]) for g in each), kept, rate)
        for a, b in zip((*together, *state), (*alone, *kept), strict=True):
            np.testing.assert_allclose(host(a)[i] if a.ndim else host(a), host(b), rtol=1e-13, atol=1e-15)


def test_k_networks_are_clipped_each_by_its_own_norm(put, host):
    random = np.random.default_rng(4)
    grads = [size * random.normal(size=(2, *shape)) for size, shape in ((3.0, (4, 3)), (1.0, (3,)))]
    grads[0][1] *= 1e-3
    grads[1][1] *= 1e-3
    clipped = optim.clip_by_global_norm(tuple(map(put, grads)), 0.5, ensemble=True)
    norms = [math.sqrt(sum(np.sum(g[i] ** 2) for g in grads)) for i in range(2)]
    assert norms[0] > 0.5 > norms[1]
    for ours, g in zip(clipped, grads, strict=True):
        np.testing.assert_allclose(host(ours)[0], g[0] * 0.5 / norms[0], rtol=1e-14)
        np.testing.assert_allclose(host(ours)[1], g[1], rtol=1e-15)


@pytest.mark.only("numpy")
def test_a_flag_in_words_is_no_flag():
    for make in (
        lambda: optim.adam(epsilon_before_correction="False"), lambda: optim.momentum(lr_in_velocity="no"),
        lambda: optim.nesterov(lr_in_velocity=None), lambda: optim.rmsprop(centered="no"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="must be True or False, got "):
            make()


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("came", "end"), [("adam", "got 'adam'; write optim.adam()"), ("lion", "got 'lion'"), (3, "got 3")]
)
def test_what_is_no_optimizer_has_a_cure_where_it_is_the_name_of_one(came, end):
    with pytest.raises(TypeError, match="optimizer must be an Optimizer such as") as caught:
        optim.check_optimizer(came)
    assert str(caught.value).endswith(end)
