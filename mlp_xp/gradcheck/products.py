"""Pullbacks and Hessian-vector products: checked as the gradients of functions of one number.

A pullback is checked as the gradient of ``<c, op(x)>``, a Hessian-vector product as that of ``<grad(x), v>``.

Before: ``check``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np  # on the host alone: random numbers
from array_api_compat import is_array_api_obj

from mlp_xp._lib.namespace import is_floating, namespace
from mlp_xp._lib.typing import Array, Op
from mlp_xp.gradcheck.arrays import from_host
from mlp_xp.gradcheck.check import gradcheck
from mlp_xp.gradcheck.contract import linearity_flaws
from mlp_xp.gradcheck.forms import arrays_of, as_op, in_order_of, rebuild
from mlp_xp.gradcheck.report import Report


def check_pullback(
    op: Op | Any, args: Any, seed: int = 0, *, names: Sequence[str] | None = None, **options: Any
) -> Report:
    """Is the pullback of ``op(*args) -> (value, pullback)`` right? ``d <c, value>`` against ``<pullback(c), d>``.

    Checked as well: the pullback is linear in the cotangent c, takes zero to zero, and does not change c.

    Args:
        op: its value is one real floating array of any shape; ``pullback(c)``, c of that shape, returns a tuple, one
            cotangent per argument. Or a subclass of torch.autograd.Function, or a jax.custom_vjp.
        args: as the params of ``gradcheck``; bind every argument that is not differentiated.
        seed: of the cotangents, and as in ``gradcheck``.
        names: of the arrays, for the report; their paths by default.
        options: further keyword arguments of ``gradcheck``.

    Returns:
        The ``Report`` of ``gradcheck``, one row per argument.

    Raises:
        TypeError: if op does not return (value, pullback) of one real floating array.
        ValueError: if the pullback returns no tuple, or another number of cotangents; or as ``gradcheck``.

    >>> import numpy as np
    >>> def exp(x):
    ...     y = np.exp(x)
    ...     return y, lambda c: (c * y,)
    >>> check_pullback(exp, (np.asarray([0.5, -1.0, 2.0]),)).ok
    True
    """
    op = as_op(op)
    args = tuple(args) if type(args) in (tuple, list) else (args,)
    if not callable(op):
        raise TypeError(f"op must be a function, got {type(op).__name__}")
    value, pullback = _checked(op(*args))
    xp = namespace(value)
    random = np.random.default_rng(seed)
    drawn, other = random.standard_normal(value.shape), random.standard_normal(value.shape)

    def f(*arrays: Any) -> Array:
        value, _ = op(*arrays)
        xp = namespace(value)  # of duals, if f is asked with duals
        return xp.sum(value * from_host(xp, drawn, value))

    def grad(*arrays: Any) -> Any:
        value, pullback = op(*arrays)
        cotangents = pullback(from_host(xp, drawn, value))  # a new array each time: the pullback may change it
        if not isinstance(cotangents, tuple | list):
            kind = type(cotangents).__name__
            raise ValueError(f"pullback must return a tuple of {len(args)} cotangents, one per argument, got {kind}")
        return cotangents

    report = gradcheck(f, grad, args, names, seed, **options)
    one, two = from_host(xp, drawn, value), from_host(xp, other, value)
    flaws = linearity_flaws(xp, lambda c: arrays_of(pullback(c)), one, two)
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
        grad: grad(*params) -> gradients, one per parameter; trusted: check it by ``gradcheck`` first.
        hvp: hvp(params, v) -> products, one per parameter. v is like params, and both come as they were given: a
            tuple, or the one array or container.
        params: as in ``gradcheck``.
        seed: of v, and as in ``gradcheck``.
        options: further keyword arguments of ``gradcheck``.

    Returns:
        The ``Report`` of ``gradcheck``, one row per parameter.

    Raises:
        ValueError: if grad or hvp returns another number of arrays than params hold; or as ``gradcheck``.

    >>> import numpy as np
    >>> check_hvp(lambda x: 3 * x**2, lambda x, v: 6 * x * v, np.asarray([0.5, -1.0, 2.0])).ok  # of sum x^3
    True
    """
    bare = type(params) not in (tuple, list)
    args = (params,) if bare else tuple(params)
    random = np.random.default_rng(seed)
    drawn = [random.standard_normal(x.shape) for x in arrays_of(args)]

    def vectors(arrays: Iterable[Array]) -> list[Array]:
        # new arrays each time: hvp may change them
        return [from_host(namespace(x), numbers, x) for x, numbers in zip(arrays, drawn, strict=True)]

    def f(*at: Any) -> Array:
        arrays, gradients = arrays_of(at), arrays_of(in_order_of(grad(*at), at[0] if bare else at))
        if len(gradients) != len(arrays):
            raise ValueError(f"grad must return {len(arrays)} gradients, one per parameter, got {len(gradients)}")
        xp = namespace(*arrays)
        first, *rest = [xp.sum(g * v) for g, v in zip(gradients, vectors(arrays), strict=True)]
        return sum(rest, start=first)

    def products(*at: Any) -> Any:
        v = rebuild(at, iter(vectors(arrays_of(at))))
        return hvp(at[0], v[0]) if bare else hvp(at, v)

    return gradcheck(f, products, params, seed=seed, **options)
