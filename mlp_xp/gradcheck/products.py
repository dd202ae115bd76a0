"""Pullbacks and Hessian-vector products, checked as the gradients that they are of.

Before: ``check``. Next: ``report``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np  # for the host's random numbers alone
from array_api_compat import is_array_api_obj

from mlp_xp._lib.namespace import device_kwargs, is_floating, namespace
from mlp_xp._lib.typing import Array, Op
from mlp_xp.gradcheck.check import gradcheck
from mlp_xp.gradcheck.contract import linearity_flaws
from mlp_xp.gradcheck.forms import as_op, in_order_of, leaves, rebuild
from mlp_xp.gradcheck.report import Report


def check_pullback(
    op: Op | Any, args: Any, seed: int = 0, *, names: Sequence[str] | None = None, **options: Any
) -> Report:
    """Is the pullback of ``op(*args) -> (value, pullback)`` right? ``d <c, value>`` against ``<pullback(c), d>``.

    Checked as well: the pullback is linear in the cotangent, and takes zero to zero.

    Args:
        op: its value may have any shape; ``pullback(c)`` returns a tuple, one cotangent per argument. Or a subclass of
            torch.autograd.Function, or a jax.custom_vjp.
        args: as the params of ``gradcheck``; bind everything that is not differentiated.
        seed: of the cotangents, and as in ``gradcheck``.
        names, options: as in ``gradcheck``.
    """
    op = as_op(op)
    args = tuple(args) if type(args) in (tuple, list) else (args,)
    if not callable(op):
        raise TypeError(f"op must be a function, got {type(op).__name__}")
    value, pullback = _checked(op(*args))
    xp = namespace(value)
    random = np.random.default_rng(seed)
    drawn, other = random.standard_normal(value.shape), random.standard_normal(value.shape)

    def cotangent(like: Array, numbers: Any) -> Array:
        return xp.asarray(numbers, dtype=like.dtype, copy=True, **device_kwargs(like))  # a pullback may change it

    def f(*arrays: Any) -> Array:
        value, _ = op(*arrays)
        return namespace(value).sum(value * namespace(value).asarray(drawn, dtype=value.dtype, **device_kwargs(value)))

    def grad(*arrays: Any) -> Any:
        value, pullback = op(*arrays)
        cotangents = pullback(cotangent(value, drawn))
        if not isinstance(cotangents, tuple | list):
            kind = type(cotangents).__name__
            raise ValueError(f"pullback must return a tuple of {len(args)} cotangents, one per argument, got {kind}")
        return cotangents

    def pulled(c: Array) -> tuple[Array, ...]:
        return tuple(leaf.array for leaf in leaves(pullback(c)))

    report = gradcheck(f, grad, args, names, seed, **options)
    flaws = linearity_flaws(xp, pulled, cotangent(value, drawn), cotangent(value, other))
    return report._replace(contract=(*report.contract, *flaws))


def _checked(pair: Any) -> tuple[Array, Callable[[Array], Any]]:
    """``pair``, if it is (value, pullback) of one real floating value."""
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not callable(pair[1]):
        raise TypeError(f"op must return (value, pullback), got {type(pair).__name__}")
    value, pullback = pair
    if not is_array_api_obj(value):
        raise TypeError(f"the value of op must be one array, got {type(value).__name__}")
    if not is_floating(namespace(value), value.dtype):
        raise TypeError(f"the value of op must be real floating, got {value.dtype}")
    return value, pullback


def check_hvp(grad: Callable[..., Any], hvp: Callable[..., Any], params: Any, seed: int = 0, **options: Any) -> Report:
    """Is ``hvp(params, v)`` the Hessian of a function times v? ``grad`` is that function's gradient, v is random.

    The Hessian-vector product is the gradient of ``<grad(params), v>``.

    Args:
        grad: grad(*params) -> gradients, one per parameter; checked before, or trusted.
        hvp: hvp(params, v) -> products, one per parameter; v is like params, which come as a tuple, or as the one array
            or container that they are.
        params: as in ``gradcheck``.
        seed: of v, and as in ``gradcheck``.
        options: as in ``gradcheck``.
    """
    bare = type(params) not in (tuple, list)
    args = (params,) if bare else tuple(params)
    random = np.random.default_rng(seed)
    drawn = [random.standard_normal(leaf.array.shape) for leaf in leaves(args)]

    def vectors(arrays: Sequence[Array]) -> list[Array]:
        return [
            namespace(x).asarray(numbers, dtype=x.dtype, copy=True, **device_kwargs(x))  # hvp may change it
            for x, numbers in zip(arrays, drawn, strict=True)
        ]

    def f(*at: Any) -> Array:
        arrays = [leaf.array for leaf in leaves(at)]
        gradients = [leaf.array for leaf in leaves(in_order_of(grad(*at), at[0] if bare else at))]
        if len(gradients) != len(arrays):
            raise ValueError(f"grad must return {len(arrays)} gradients, one per parameter, got {len(gradients)}")
        xp = namespace(*arrays)
        first, *rest = [xp.sum(g * v) for g, v in zip(gradients, vectors(arrays), strict=True)]
        return sum(rest, start=first)

    def products(*at: Any) -> Any:
        v = rebuild(at, iter(vectors([leaf.array for leaf in leaves(at)])))
        return hvp(at[0], v[0]) if bare else hvp(at, v)

    return gradcheck(f, products, params, seed=seed, **options)
