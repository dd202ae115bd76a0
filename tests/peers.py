"""The network in JAX's and PyTorch's own functions, to be differentiated by JAX and PyTorch.

Nothing here comes from mlp_xp. One description serves both: what they call by other names stands in ``peer``.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any


def peer(backend: str) -> Any:
    """The functions of "jax" or "torch" that the network needs, and the transforms of their autodiff."""
    if backend == "jax":
        import jax
        import jax.numpy as jnp

        named = {"identity": lambda z: z, "tanh": jnp.tanh, "gelu": lambda z: jax.nn.gelu(z, approximate=False)}

        def hvp(f: Any, at: Any, v: Any) -> Any:
            return jax.jvp(jax.grad(f), (at,), (v,))[1]

        return SimpleNamespace(
            xp=jnp, activation=lambda name: named.get(name) or getattr(jax.nn, name), log_sigmoid=jax.nn.log_sigmoid,
            log_softmax=lambda z: jax.nn.log_softmax(z, axis=-1), xlogy=jax.scipy.special.xlogy, hvp=hvp,
            grad=jax.grad, jacobian=jax.jacobian, hessian=jax.hessian, vmap=jax.vmap,
        )  # fmt: skip
    import torch
    from torch.nn import functional

    named = {
        "identity": lambda z: z,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softplus": lambda z: functional.softplus(z, threshold=100),
    }

    def back_twice(f: Any, at: Any, v: Any) -> Any:
        """``H v`` as the gradient of ``<gradient, v>``: PyTorch's forward mode warns of a compiler of its own."""

        def along(at: Any) -> Any:
            return sum((g * d).sum() for g, d in zip(torch.func.grad(f)(at), v, strict=True))

        return torch.func.grad(along)(at)

    return SimpleNamespace(
        xp=torch, activation=lambda name: named.get(name) or getattr(functional, name),
        log_sigmoid=functional.logsigmoid, log_softmax=lambda z: torch.log_softmax(z, -1), xlogy=torch.special.xlogy,
        hvp=back_twice, grad=torch.func.grad, jacobian=torch.func.jacrev,
        hessian=lambda f: torch.func.jacrev(torch.func.jacrev(f)), vmap=torch.func.vmap,
    )  # fmt: skip


def logits(peer: Any, X: Any, params: Any, activation: str, masks: Any) -> Any:
    """The outputs (n, d_out), or (d_out,) of one row; one mask for each hidden layer."""
    z = X @ params[0] + params[1]
    for layer, mask in enumerate(masks, start=1):
        z = (peer.activation(activation)(z) * mask) @ params[2 * layer] + params[2 * layer + 1]
    return z


def losses(peer: Any, criterion: str, z: Any, t: Any) -> Any:
    """The loss of each row, (n,), or of one; t are targets, as z."""
    k = t.shape[-1]
    each = {
        "softmax_cross_entropy": lambda: -t * peer.log_softmax(z),
        "sigmoid_cross_entropy": lambda: -t * peer.log_sigmoid(z) - (1 - t) * peer.log_sigmoid(-z),
        "squared_error": lambda: 0.5 * (z - t) ** 2,
        "poisson": lambda: peer.xp.exp(z) - t * z + peer.xlogy(t, t) - t,
        "absolute_error": lambda: abs(z - t),
        "huber": lambda: peer.xp.where(abs(z - t) <= 1.0, 0.5 * (z - t) ** 2, abs(z - t) - 0.5),
        "quantile": lambda: 0.5 * abs(z - t),
        # means, and logarithms of deviations
        "gaussian": lambda: (
            0.5 * ((t - z[..., :k]) / peer.xp.exp(z[..., k:])) ** 2 + z[..., k:] + 0.5 * math.log(2.0 * math.pi)
        ),
    }
    return each[criterion]().sum(-1)


def penalty(peer: Any, params: Any, l2: float, l1: float) -> Any:
    """``l2/2 sum ||W||^2 + l1 sum |W|``."""
    return sum(l2 / 2 * (W**2).sum() + l1 * peer.xp.abs(W).sum() for W in params[::2])
