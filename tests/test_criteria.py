"""Criteria of numbers besides the squared error: absolute error, Huber, quantiles, a normal distribution."""

from __future__ import annotations

import copy
import math
import pickle
from functools import partial

import mpmath
import numpy as np
import pytest
import textbook
from array_api_compat import array_namespace
from sklearn.metrics import mean_pinball_loss

import mlp_xp as mx
from mlp_xp.losses import CRITERIA, check_levels, criterion_named
from mlp_xp.train import train

mp = mpmath.mp.clone()
mp.dps = 50
LEVELS = (0.05, 0.25, 0.9)
PARAMETRISED = {"huber": mx.losses.huber(0.25), "quantile": mx.losses.quantile(*LEVELS)}
# JAX compiles and Dask schedules each shape again: what is arithmetic alone is not repeated there
QUICKEST = pytest.mark.only("numpy", "torch", "array_api_strict")
OPS = {"absolute_error": mx.losses.absolute_error, "gaussian": mx.losses.gaussian, **PARAMETRISED}


def drawn(put, name, k=2):
    """Logits (n, outputs k), targets (n, k) and weights (n,) that sum to 1."""
    share = criterion_named(OPS[name]).outputs_per_target
    random = np.random.default_rng(3)
    return put(random.normal(size=(5, share * k))), put(random.normal(size=(5, k))), put([0.1, 0.3, 0.2, 0.15, 0.25])


# --- values and gradients --------------------------------------------------------------------------------------------


@QUICKEST
@pytest.mark.parametrize("name", OPS)
def test_the_pullback_is_the_derivative_for_several_targets(put, name):
    z, t, w = drawn(put, name)
    mx.check_pullback(lambda logits: OPS[name](logits, t, w), (z,)).raise_if_failed()


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", OPS)
def test_the_slopes_of_each_output_are_those_of_its_differences(name):
    """Of all outputs of several targets, crossing quantiles among them."""
    record, (z, _, _), h = criterion_named(OPS[name]), drawn(np.asarray, name), 1e-6
    n, k = z.shape
    for i in range(k):
        moved = [record.outputs(np, z + sign * h * (np.arange(k) == i), k) for sign in (1.0, -1.0)]
        by_difference = (moved[0] - moved[1]) / (2.0 * h)
        for j in range(k):
            slopes = record.output_slopes(np, z, j)
            assert slopes.shape == (n, k)
            np.testing.assert_allclose(slopes[:, i], by_difference[:, j], rtol=1e-7, atol=1e-9)


@pytest.mark.only("torch")
@pytest.mark.parametrize("name", OPS)
def test_losses_and_gradients_are_those_of_torch(put, host, name):
    import torch
    from torch.nn import GaussianNLLLoss, HuberLoss, L1Loss

    def by_torch(z):
        if name == "absolute_error":
            return L1Loss(reduction="none")(z, t).sum(1)
        if name == "huber":
            return HuberLoss(reduction="none", delta=0.25)(z, t).sum(1)
        if name == "gaussian":
            return GaussianNLLLoss(full=True, eps=0.0, reduction="none")(z[:, :2], t, torch.exp(z[:, 2:]) ** 2).sum(1)
        gaps = [t - z[:, 2 * i : 2 * i + 2] for i in range(3)]
        return sum(torch.maximum(q * gap, (q - 1) * gap).sum(1) for q, gap in zip(LEVELS, gaps, strict=True))

    z, t, w = drawn(put, name)
    z = z.requires_grad_()
    theirs = by_torch(z) @ w
    loss, pullback = OPS[name](z.detach(), t, w)
    np.testing.assert_allclose(host(loss), host(theirs.detach()), rtol=1e-14)  # 45 eps: sums of 30 terms
    (gradient,) = torch.autograd.grad(theirs, z)
    np.testing.assert_allclose(host(pullback(put(1.0))[0]), host(gradient), rtol=1e-14, atol=1e-16)


@pytest.mark.only("numpy")
def test_the_pinball_loss_is_scikit_learns():
    z, t, w = drawn(np.asarray, "quantile")
    theirs = [
        mean_pinball_loss(t, z[:, 2 * i : 2 * i + 2], sample_weight=w, alpha=level, multioutput="raw_values").sum()
        for i, level in enumerate(LEVELS)
    ]
    assert float(OPS["quantile"](z, t, w)[0]) == pytest.approx(sum(theirs), rel=1e-14)


def gaussian_row(z, log_s, t):
    u = (mp.mpf(t) - mp.mpf(z)) * mp.exp(-mp.mpf(log_s))
    return mp.mpf(log_s) + u**2 / 2 + mp.log(2 * mp.pi) / 2, (-u * mp.exp(-mp.mpf(log_s)), 1 - u**2), u**2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_normal_distribution_is_exact_wherever_its_loss_is_finite(xp, put, host, dtype):
    # means, log-scales, targets: ordinary ones, a large error, a wide scale, a narrow one, an exact prediction
    rows = [
        (0.5, -1.25, 0.0),
        (1e4, 2.0, -3.0),
        (1.0, 1e4, 3.0),
        (0.0, 40.0, 7.0),
        (1.0, -30.0, 1.5),
        (2.0, -20.0, 2.0),
    ]
    z, t = np.asarray([row[:2] for row in rows], dtype), np.asarray([row[2:] for row in rows], dtype)
    there, eps, tiny = getattr(xp, dtype), float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_normal)
    for row, target in zip(z, t, strict=True):
        loss, pullback = mx.losses.gaussian(put(row[None, :], there), put(target[None, :], there), put([1.0], there))
        dz = host(pullback(put(1.0, there))[0])[0]
        value, slopes, square = gaussian_row(*map(float, row), float(target[0]))
        # t - m, exp, their product and its square round a few times each; the terms may cancel
        assert abs(float(host(loss)) - value) <= 8 * eps * (abs(float(row[1])) + float(square) + 1)
        assert abs(float(dz[0]) - slopes[0]) <= 8 * eps * abs(slopes[0]) + tiny  # 1/s^2 may be too small a number
        assert abs(float(dz[1]) - slopes[1]) <= 8 * eps * (1 + square)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_scale_below_the_smallest_number_makes_no_nan(xp, put, host, dtype):
    there = getattr(xp, dtype)
    z, t, one = put([[3.0, -1e4]], there), put([[3.0]], there), put([1.0], there)
    loss, pullback = mx.losses.gaussian(z, t, one)
    assert float(host(loss)) == pytest.approx(-1e4 + 0.5 * math.log(2 * math.pi), rel=float(np.finfo(dtype).eps))
    assert host(pullback(put(1.0, there))[0]).tolist() == [[0.0, 1.0]]


def test_where_output_and_target_are_equal_the_slope_is_zero(put, host):
    z, one = put([[1.5]]), put([1.0])
    for op in (mx.losses.absolute_error, mx.losses.huber(0.5), mx.losses.quantile(0.1)):
        loss, pullback = op(z, z, one)
        assert (float(host(loss)), host(pullback(one[0])[0]).tolist()) == (0.0, [[0.0]])


def test_a_row_pulls_with_no_more_than_delta_and_with_its_error_below(put, host):
    z, t = put([[0.0], [0.0], [0.0]]), put([[0.25], [1.0], [-50.0]])
    _, pullback = mx.losses.huber(0.5)(z, t, put([1.0, 1.0, 1.0]))
    assert host(pullback(put(1.0))[0]).tolist() == [[-0.25], [-0.5], [0.5]]


@QUICKEST
@pytest.mark.parametrize("name", OPS)
def test_the_curvature_is_the_derivative_of_the_gradient(put, host, name):
    z, t, w = drawn(put, name)
    record, h = criterion_named(OPS[name]), 1e-6
    dz = np.random.default_rng(4).normal(size=z.shape)
    xp = mx.losses.namespace(z)
    product = host(record.curvature(xp, z, t, w)(put(dz)))

    def gradient(sign):
        return host(OPS[name](put(host(z) + sign * h * dz), t, w)[1](put(1.0))[0])

    # no error lies within h |dz| of a kink; the difference errs by h^2 times the third derivative, and by eps / h
    np.testing.assert_allclose(product, (gradient(1.0) - gradient(-1.0)) / (2 * h), atol=1e-8)


# --- the parameter ---------------------------------------------------------------------------------------------------


def test_a_parametrised_criterion_works_wherever_a_name_does(put, host):
    X, t = put(textbook.batch()), textbook.soft_targets()
    params = [put(p) for p in textbook.parameters((4, 5, 9))]
    options = {"criterion": mx.losses.quantile(*LEVELS)}
    z = textbook.logits(textbook.batch(), *textbook.parameters((4, 5, 9)))
    gaps = [t - z[:, 3 * i : 3 * i + 3] for i in range(3)]
    expected = sum(np.sum(np.maximum(q * gap, (q - 1) * gap)) for q, gap in zip(LEVELS, gaps, strict=True)) / 6
    loss, grads = mx.loss_and_grads(X, put(t), *params, **options)
    np.testing.assert_allclose(host(loss), expected, rtol=1e-13)
    np.testing.assert_allclose(host(mx.objective(X, put(t), *params, **options)), expected, rtol=1e-13)
    _, stepped = mx.train_step(X, put(t), *params, lr=0.5, **options)
    for before, grad, after in zip(params, grads, stepped, strict=True):
        np.testing.assert_allclose(host(after), host(before) - 0.5 * host(grad), atol=1e-15)
    outputs, cache = mx.forward(X, *params, **options)
    for ours, theirs in zip(mx.backward(cache, put(t)), grads, strict=True):
        np.testing.assert_array_equal(host(ours), host(theirs))
    ordered = np.sort(z.reshape(6, 3, 3), axis=1)
    np.testing.assert_allclose(host(outputs), ordered.reshape(6, 9), rtol=1e-13, atol=1e-14)
    # 0.25 is the level that is nearest to the median's
    np.testing.assert_allclose(host(mx.predict(X, *params, **options)), ordered[:, 1], rtol=1e-13, atol=1e-14)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", PARAMETRISED)
def test_a_parametrised_criterion_is_copied_compared_and_printed_by_its_name(name):
    op = PARAMETRISED[name]
    assert (
        repr(op) == {"huber": "mlp_xp.losses.huber(0.25)", "quantile": "mlp_xp.losses.quantile(0.05, 0.25, 0.9)"}[name]
    )
    again = {"huber": mx.losses.huber(delta=np.float32(0.25)), "quantile": mx.losses.quantile(*LEVELS)}[name]
    arrays = drawn(np.asarray, name)
    for other in (again, pickle.loads(pickle.dumps(op)), copy.deepcopy(op), copy.copy(op)):
        assert other == op
        assert hash(other) == hash(op)
        assert other(*arrays)[0] == op(*arrays)[0]
    assert op not in (getattr(mx.losses, name)(), name)
    step = pickle.loads(pickle.dumps(partial(mx.objective, criterion=op)))
    assert step.keywords["criterion"] == op


@pytest.mark.only("numpy")
def test_the_bare_function_and_the_bare_name_mean_the_default():
    arrays = textbook.batch(), textbook.soft_targets(), *textbook.parameters()
    for name, default in (("huber", mx.losses.huber(1.0)), ("quantile", mx.losses.quantile(0.5))):
        values = {float(mx.objective(*arrays, criterion=c)) for c in (name, getattr(mx.losses, name), default)}
        assert len(values) == 1


@pytest.mark.only("torch", "jax")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")  # in array_api_compat
@pytest.mark.parametrize("name", OPS)
def test_a_compiled_step_is_the_step(backend, put, host, name):
    share = criterion_named(OPS[name]).outputs_per_target
    arrays = [
        put(textbook.batch()),
        put(textbook.soft_targets(6, 2)),
        *map(put, textbook.parameters((4, 5, 2 * share))),
    ]
    step = partial(mx.train_step, criterion=OPS[name], lr=0.1)
    if backend == "jax":
        import jax

        compiled = jax.jit(step)
    else:
        import torch

        torch._dynamo.reset()
        compiled = torch.compile(step, backend="eager", fullgraph=True)
    (loss, params), (expected, stepped) = compiled(*arrays), step(*arrays)
    np.testing.assert_allclose(host(loss), host(expected), rtol=1e-14)
    for ours, theirs in zip(params, stepped, strict=True):
        np.testing.assert_allclose(host(ours), host(theirs), rtol=1e-13, atol=1e-15)


@QUICKEST
def test_k_networks_at_once_have_the_losses_of_each(put, host):
    X, t = put(textbook.batch()), put(textbook.soft_targets(6, 2))
    for name, op in OPS.items():
        share = criterion_named(op).outputs_per_target
        members = [textbook.parameters((4, 5, 2 * share), seed) for seed in (1, 2)]
        together = [put(np.stack(pair)) for pair in zip(*members, strict=True)]
        losses, grads = mx.loss_and_grads(X, t, *together, criterion=op)
        outputs, predicted = mx.forward(X, *together, criterion=op)[0], mx.predict(X, *together, criterion=op)
        for i, member in enumerate(members):
            own = [put(p) for p in member]
            loss, theirs = mx.loss_and_grads(X, t, *own, criterion=op)
            np.testing.assert_allclose(host(losses)[i], host(loss), rtol=1e-13, err_msg=name)
            for ours, grad in zip(grads, theirs, strict=True):
                np.testing.assert_allclose(host(ours)[i], host(grad), rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(host(outputs)[i], host(mx.forward(X, *own, criterion=op)[0]), rtol=1e-13)
            np.testing.assert_allclose(host(predicted)[i], host(mx.predict(X, *own, criterion=op)), rtol=1e-13)


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: mx.losses.huber(0.0), ValueError, "delta must be positive, got 0.0"),
        (lambda: mx.losses.huber("wide"), TypeError, "delta must be a number, got 'wide'"),
        (
            lambda: mx.losses.quantile(0.9, 0.1),
            ValueError,
            "in ascending order, got 0.9, 0.1",
        ),
        (
            lambda: mx.losses.quantile(0.5, 0.5),
            ValueError,
            "in ascending order, got 0.5, 0.5",
        ),
        (lambda: mx.losses.quantile(0), ValueError, "in ascending order, got 0.0"),
        (lambda: mx.losses.quantile(95), ValueError, "a level of quantile must be at least 0 and below 1, got 95"),
        (lambda: mx.losses.quantile(True), TypeError, "a level of quantile must be a number, got True"),
        (lambda: check_levels((math.nan,)), ValueError, "a level of quantile must be"),
        (
            lambda: mx.forward(np.ones((2, 3)), *mx.init_params((3, 3)), criterion="gaussian"),
            ValueError,
            "d_out must be a multiple of 2, the outputs of each target for gaussian, got 3",
        ),
        (
            lambda: list(
                train(np.ones((4, 3)), np.ones((4, 1)), mx.init_params((3, 3)), epochs=1, criterion="gaussian")
            ),
            ValueError,
            "d_out must be a multiple of 2, the outputs of each target for gaussian, got 3",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_parameters_and_widths_are_refused_in_one_sentence(call, kind, words):
    with pytest.raises(kind, match=words.replace("(", r"\(")) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.only("numpy")
def test_every_criterion_of_the_library_has_a_family_and_a_curvature():
    for name, record in CRITERIA.items():
        assert record.family == name
    for op in OPS.values():
        assert criterion_named(op).family in CRITERIA
        assert criterion_named(op).curvature is not None


def test_the_quantiles_of_one_level_are_the_logits_and_no_sorted_copy(put):
    logits = drawn(put, "absolute_error")[0]
    assert criterion_named(mx.losses.quantile(0.3)).outputs(array_namespace(logits), logits, 2) is logits


# --- what is learned -------------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize("level", [0.1, 0.5, 0.8])
def test_a_linear_network_learns_the_quantile_regression_of_scikit_learn(level):
    from sklearn.linear_model import QuantileRegressor

    random = np.random.default_rng(0)
    X = random.uniform(-1, 1, size=(200, 2))
    y = X @ [1.0, -2.0] + 0.5 + random.normal(size=200) * (0.5 + 0.4 * X[:, 0])
    best = QuantileRegressor(quantile=level, alpha=0.0, solver="highs").fit(X, y)
    lowest = mean_pinball_loss(y, best.predict(X), alpha=level)
    params = mx.init_params((2, 1))
    *_, last = train(
        X, y[:, None], params, epochs=400, lr=lambda p: 0.05 * (1 - p.step / p.steps) ** 2,
        batch_size=200, criterion=mx.losses.quantile(level), activation="identity",
    )  # fmt: skip
    reached = mean_pinball_loss(y, mx.predict(X, *last.best, criterion=mx.losses.quantile(level))[:, 0], alpha=level)
    assert lowest <= reached <= 1.002 * lowest  # the optimum is a linear program's; steps of a rate end near it
