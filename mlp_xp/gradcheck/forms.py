"""The usual forms of a function with its backward pass, turned into what the checker takes.

Nothing is imported here before an object of that library is given.

Next: ``check`` calls these on what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

from array_api_compat import is_array_api_obj

from mlp_xp._lib.typing import Array, Op


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


# --- mlp_xp/gradcheck/tree.py
class Leaf(NamedTuple):
    """An array and the path to it: ``params[0]["W"]``."""

    path: str
    array: Any


def leaves(tree: Any, path: str = "") -> Iterator[Leaf]:
    """The arrays of ``tree``, in order, each with its path."""
    if is_array_api_obj(tree):
        yield Leaf(path, tree)
        return
    for step, child in _children(tree):
        yield from leaves(child, path + step)


def rebuild(tree: Any, arrays: Iterator[Any]) -> Any:
    """``tree`` with its leaves replaced by ``arrays``, in order."""
    if is_array_api_obj(tree):
        return next(arrays)
    if isinstance(tree, dict):
        return {key: rebuild(child, arrays) for key, child in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuild(child, arrays) for child in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(rebuild(child, arrays) for child in tree)
    if is_dataclass(tree) and not isinstance(tree, type):
        return replace(tree, **{name: rebuild(child, arrays) for name, child in _fields(tree)})
    return tree


def in_order_of(tree: Any, like: Any) -> Any:
    """``tree`` with the keys of its dicts in the order of those of ``like``.

    Raises:
        ValueError: where the keys of a dict are others.
    """
    if isinstance(tree, dict) and isinstance(like, dict):
        # what holds no array has no gradient
        wanted, came = ([key for key, child in of.items() if any(leaves(child))] for of in (like, tree))
        if set(wanted) != set(came):
            raise ValueError(f"grad must return a dict with the keys {wanted} of the parameters, got {came}")
        return {key: in_order_of(tree[key], like[key]) for key in wanted}
    if isinstance(tree, list | tuple) and isinstance(like, list | tuple) and len(tree) == len(like):
        return tuple(map(in_order_of, tree, like))
    if is_dataclass(tree) and type(tree) is type(like) and not isinstance(tree, type):
        return tuple(in_order_of(child, getattr(like, name)) for name, child in _fields(tree))
    return tree


def _fields(tree: Any) -> Iterator[tuple[str, Any]]:
    """What a dataclass was made from: it works out the other fields itself."""
    return ((field.name, getattr(tree, field.name)) for field in fields(tree) if field.init)


def _children(tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        yield from ((f"[{key!r}]", child) for key, child in tree.items())
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        yield from ((f".{name}", child) for name, child in zip(tree._fields, tree, strict=True))
    elif isinstance(tree, list | tuple):
        yield from ((f"[{position}]", child) for position, child in enumerate(tree))
    elif is_dataclass(tree) and not isinstance(tree, type):
        yield from ((f".{name}", child) for name, child in _fields(tree))


def on_leaves(function: Callable[..., Any], tree: tuple[Any, ...]) -> Callable[..., Any]:
    """``function(*tree)`` as a function of the leaves of ``tree``."""
    return lambda *arrays: function(*rebuild(tree, iter(arrays)))
