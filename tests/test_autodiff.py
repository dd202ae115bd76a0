"""Our gradients against PyTorch's and JAX's own differentiation, of their own networks and of our forward."""

from __future__ import annotations

import numpy as np
import pytest
import textbook

import mlp_xp as mx

# the promise of the project; a dozen roundings per operation come to some 1e-14
CLOSE = 1e-12

ACTIVATIONS = list(textbook.ACTIVATIONS)
CRITERIA = list(textbook.CRITERIA)
OPTIONS = {
    "plain": {},
    "l2": {"l2": 0.1},
    "l1": {"l1": 0.01},
    "smoothing": {"label_smoothing": 0.1},
    "weights": {"weights": True},
    "dropout": {"dropout": 0.3, "seed": 11},
    "all": {"l2": 0.1, "l1": 0.01, "label_smoothing": 0.1, "weights": True, "dropout": 0.3, "seed": 11},
}
# every activation with every criterion, all options on; and each option by itself
# the criteria after the first four with one activation only: they differ in the last line alone
CASES = [(a, c, "all") for a in ACTIVATIONS for c in CRITERIA if a == "gelu" or c in CRITERIA[:4]] + [
    ("gelu", CRITERIA[0], o) for o in OPTIONS if o != "all"
]


def case(activation, criterion, chosen):
    """Host arrays, our options, and the dropout masks of that seed."""
    sizes = textbook.widths_for(criterion, (4, 5, 5, 3))
    options = {"activation": activation, "criterion": criterion, **OPTIONS[chosen]}
    if criterion != "softmax_cross_entropy":
        options.pop("label_smoothing", None)
    weights = textbook.row_weights() if options.pop("weights", False) else np.ones(textbook.N)
    rate = options.get("dropout", 0.0)
    masks = [textbook.dropout_mask(textbook.N, 5, rate, 11, layer) if rate else np.ones((6, 5)) for layer in (1, 2)]
    # soft targets use all three outputs of sigmoid, labels of two classes only one
    y = textbook.labels() if criterion == "softmax_cross_entropy" else textbook.soft_targets()
    return textbook.batch(), y, weights, masks, textbook.parameters(sizes), options


def assert_close(ours, theirs):
    for position, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert textbook.relative_error(np.asarray(a), np.asarray(b)) <= CLOSE, f"parameter {position}"


@pytest.mark.only("torch")
@pytest.mark.parametrize(("activation", "criterion", "chosen"), CASES)
def test_gradients_agree_with_torch(activation, criterion, chosen, put, host):
    import torch
    from torch.nn import functional

    def network(X, *params):
        act = {
            "identity": lambda z: z,
            "sigmoid": torch.sigmoid,
            "tanh": torch.tanh,
            "relu": functional.relu,
            "leaky_relu": functional.leaky_relu,
            "elu": functional.elu,
            "silu": functional.silu,
            "softplus": lambda z: functional.softplus(z, threshold=100),
            "gelu": functional.gelu,
        }[activation]
        h1 = act(functional.linear(X, params[0].mT, params[1])) * masks[0]
        h2 = act(functional.linear(h1, params[2].mT, params[3])) * masks[1]
        return functional.linear(h2, params[4].mT, params[5])

    def criterion_of(z):
        if criterion == "softmax_cross_entropy":
            smoothing = options.get("label_smoothing", 0.0)
            return functional.cross_entropy(z, y, reduction="none", label_smoothing=smoothing)
        if criterion == "sigmoid_cross_entropy":
            return functional.binary_cross_entropy_with_logits(z, y, reduction="none").sum(1)
        if criterion == "poisson":
            constants = torch.special.xlogy(y, y) - y
            return (functional.poisson_nll_loss(z, y, reduction="none") + constants).sum(1)
        if criterion == "absolute_error":
            return functional.l1_loss(z, y, reduction="none").sum(1)
        if criterion == "huber":
            return functional.huber_loss(z, y, reduction="none").sum(1)
        if criterion == "quantile":
            return torch.maximum(0.5 * (y - z), 0.5 * (z - y)).sum(1)
        if criterion == "gaussian":
            variance = torch.exp(2.0 * z[:, 3:])
            return functional.gaussian_nll_loss(z[:, :3], y, variance, full=True, eps=0.0, reduction="none").sum(1)
        return 0.5 * functional.mse_loss(z, y, reduction="none").sum(1)

    X, y, weights, masks, params, options = case(activation, criterion, chosen)
    X, y, weights = put(X), put(y), put(weights)
    masks, params = [put(m) for m in masks], [put(p).requires_grad_() for p in params]
    loss = (weights * criterion_of(network(X, *params))).sum() / weights.sum()
    for W in params[::2]:
        loss = loss + options.get("l2", 0.0) / 2 * (W**2).sum() + options.get("l1", 0.0) * W.abs().sum()
    theirs = [host(g) for g in torch.autograd.grad(loss, params)]

    options["sample_weight"] = weights
    through_ours = torch.autograd.grad(mx.objective(X, y, *params, **options), params)
    value, ours = mx.loss_and_grads(X, y, *(p.detach() for p in params), **options)
    np.testing.assert_allclose(host(value), host(loss.detach()), rtol=CLOSE)
    assert_close(map(host, ours), theirs)
    assert_close(map(host, ours), map(host, through_ours))


@pytest.mark.only("jax")
@pytest.mark.parametrize(("activation", "criterion", "chosen"), CASES)
def test_gradients_agree_with_jax(activation, criterion, chosen, put, host):
    import jax
    import jax.numpy as jnp

    X, y, weights, masks, params, options = case(activation, criterion, chosen)
    X, y, weights, masks, params = put(X), put(y), put(weights), [put(m) for m in masks], [put(p) for p in params]
    smoothing = options.get("label_smoothing", 0.0)
    options["sample_weight"] = weights

    def independent(params):
        act = {
            "identity": lambda z: z,
            "tanh": jnp.tanh,
            "gelu": lambda z: jax.nn.gelu(z, approximate=False),
        }.get(activation) or getattr(jax.nn, activation)
        h1 = act(X @ params[0] + params[1]) * masks[0]
        h2 = act(h1 @ params[2] + params[3]) * masks[1]
        z = h2 @ params[4] + params[5]
        if criterion == "softmax_cross_entropy":
            targets = (1 - smoothing) * jax.nn.one_hot(y, 3, dtype=z.dtype) + smoothing / 3
            losses = -(targets * jax.nn.log_softmax(z)).sum(1)
        elif criterion == "sigmoid_cross_entropy":
            losses = -(y * jax.nn.log_sigmoid(z) + (1 - y) * jax.nn.log_sigmoid(-z)).sum(1)
        elif criterion == "poisson":
            losses = (jnp.exp(z) - y * z + jax.scipy.special.xlogy(y, y) - y).sum(1)
        elif criterion == "absolute_error":
            losses = jnp.abs(z - y).sum(1)
        elif criterion == "huber":
            losses = jnp.where(jnp.abs(z - y) < 1.0, 0.5 * (z - y) ** 2, jnp.abs(z - y) - 0.5).sum(1)
        elif criterion == "quantile":
            losses = jnp.maximum(0.5 * (y - z), 0.5 * (z - y)).sum(1)
        elif criterion == "gaussian":
            losses = -jax.scipy.stats.norm.logpdf(y, z[:, :3], jnp.exp(z[:, 3:])).sum(1)
        else:
            losses = 0.5 * ((z - y) ** 2).sum(1)
        loss = jnp.average(losses, weights=weights)
        for W in params[::2]:
            loss += options.get("l2", 0.0) / 2 * (W**2).sum() + options.get("l1", 0.0) * jnp.abs(W).sum()
        return loss

    def everything(params):
        return (
            jax.value_and_grad(independent)(params),
            jax.grad(lambda params: mx.objective(X, y, *params, **options))(params),
            mx.loss_and_grads(X, y, *params, **options),
        )

    # one compilation for all three, without optimisation: the code runs once
    compiled = jax.jit(everything).lower(params).compile({"xla_backend_optimization_level": 0})
    (loss, theirs), through_ours, (value, ours) = compiled(params)
    np.testing.assert_allclose(host(value), host(loss), rtol=CLOSE)
    assert_close(map(host, ours), map(host, theirs))
    assert_close(map(host, ours), map(host, through_ours))


@pytest.mark.only("torch", "jax")
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_differentiating_our_forward_is_right_at_zero_too(backend, put, host, activation):
    """Where pre-activations are 0, a formula with abs or sqrt in it would be differentiated wrongly."""
    X, y, params = put(np.zeros((6, 4))), put(textbook.labels()), [put(np.zeros_like(p)) for p in textbook.parameters()]
    params[2] = put(textbook.parameters()[2])
    _, ours = mx.loss_and_grads(X, y, *params, activation=activation)
    if backend == "torch":
        import torch

        params = [p.requires_grad_() for p in params]
        theirs = torch.autograd.grad(mx.objective(X, y, *params, activation=activation), params)
    else:
        import jax

        theirs = jax.jit(jax.grad(lambda params: mx.objective(X, y, *params, activation=activation)))(params)
    assert_close(map(host, ours), map(host, theirs))
