"""The usual forms of a function with its backward pass, turned into what the checker takes.

Nothing is imported here before an object of that library is given.

Next: ``check`` calls these on what it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlp_xp._typing import Array, Op


def value_and_grad(fun: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``fun(*params) -> (value, gradients)`` as two functions, ``f`` and ``grad``.

    The convention of scipy.optimize.minimize with ``jac=True``, and of jax.value_and_grad.

    Raises:
        TypeError: when called, where fun does not return a pair.
    """

    def both(*params: Any) -> tuple[Any, Any]:
        pair = fun(*params)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"fun must return (value, gradients), got {_what(pair)}")
        return pair[0], pair[1]

    return lambda *params: both(*params)[0], lambda *params: both(*params)[1]


def as_op(function: Any) -> Op:
    """``function`` as an op: ``op(*args) -> (value, pullback)``.

    The value comes from the function's forward pass and the cotangents from its own backward pass: a mistake that the
    two share stays hidden. Arguments that hold no floating array are passed on as they are, and their cotangent is
    None; so ``lambda x: as_op(Loss)(x, labels)`` binds labels.

    Args:
        function: a subclass of torch.autograd.Function, a jax.custom_vjp, or an op, which comes back as it is.

    Raises:
        TypeError: when called, where the function returns anything but one array.
    """
    if isinstance(function, type) and all(hasattr(function, name) for name in ("apply", "forward", "backward")):
        return _torch_function(function)
    if hasattr(function, "defvjp"):
        return _jax_custom_vjp(function)
    return function  # type: ignore[no-any-return]


def _torch_function(function: Any) -> Op:
    import torch

    def op(*args: Any) -> tuple[Any, Callable[[Array], tuple[Any, ...]]]:
        moving = [isinstance(arg, torch.Tensor) and (arg.is_floating_point() or torch.is_complex(arg)) for arg in args]
        with torch.enable_grad():
            inputs = [
                arg.detach().clone().requires_grad_() if moves else arg for arg, moves in zip(args, moving, strict=True)
            ]
            value = function.apply(*inputs)
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{function.__name__} must return one tensor, got {_what(value)}")

        def pullback(cotangent: Any) -> tuple[Any, ...]:
            moved = [x for x, moves in zip(inputs, moving, strict=True) if moves]
            # materialize_grads: zeros for an input that does not take part
            found = iter(torch.autograd.grad(value, moved, cotangent, retain_graph=True, materialize_grads=True))
            return tuple(next(found) if moves else None for moves in moving)

        return value.detach(), pullback

    return op


def _jax_custom_vjp(function: Any) -> Op:
    import jax
    import jax.numpy as jnp

    def moves(arg: Any) -> bool:
        return any(isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.inexact) for x in jax.tree.leaves(arg))

    def op(*args: Any) -> tuple[Any, Callable[[Array], tuple[Any, ...]]]:
        value = function(*args)  # the function itself: jax.vjp would take the value from the forward rule
        if not isinstance(value, jax.Array):
            name = getattr(function, "__name__", "the function")
            raise TypeError(f"{name} must return one array, got {_what(value)}")
        moving = [moves(arg) for arg in args]

        def of_moving(*moved: Any) -> Any:
            found = iter(moved)
            return function(*(next(found) if m else arg for arg, m in zip(args, moving, strict=True)))

        def pullback(cotangent: Any) -> tuple[Any, ...]:
            _, pull = jax.vjp(of_moving, *(arg for arg, m in zip(args, moving, strict=True) if m))
            found = iter(pull(cotangent))
            return tuple(next(found) if m else None for m in moving)

        return value, pullback

    return op


def _what(value: Any) -> str:
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if isinstance(value, tuple | list) else kind
