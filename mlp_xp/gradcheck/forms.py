"""The forms in which people hold a function and its backward pass, turned into functions of a flat tuple of arrays.

A library is imported only once an object of it is given.

Next: ``check`` flattens what it was given by ``flattened``, and takes pullbacks by ``as_op``.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from array_api_compat import is_array_api_obj

from mlp_xp._lib.namespace import is_floating, namespace, persisted
from mlp_xp._lib.typing import Array, Op

_T = TypeVar("_T")

Arrays: TypeAlias = tuple[Array, ...]

Gradient: TypeAlias = Callable[..., Arrays]
"""``grad(*arrays)`` -> a tuple of gradients, one per array."""


class CountedFunction:
    """``f``, and the number of points it was asked for: a vectorised call counts by its width.

    refusals: what was raised at points that the checker chose.
    kept: whether f keeps something of a call, such as a running mean or a history.
    """

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f, self.count = f, 0
        self.refusals: list[str] = []
        self.kept = False

    def __call__(self, *arrays: Any, width: int = 1) -> Any:
        self.count += width
        return self.f(*arrays)

    def tried(self, asked: Callable[[], _T], otherwise: _T) -> _T:
        """``asked()``, or ``otherwise`` where it raises: a point that the checker chose may lie outside the domain."""
        try:
            return asked()
        except Exception as error:  # of whatever kind: the caller's code
            self.refusals.append(f"{type(error).__name__}: {error}")
            return otherwise


class Flat(NamedTuple):
    """A function and its gradient at a point, without the caller's containers.

    names: of the arrays; their paths by default.
    arrays: the point, in the parameters' own dtypes.
    f: f(*arrays) -> 0-d.
    grad: the gradient function.
    flatten: makes such a ``grad`` of any gradient function that takes and returns the caller's containers.
    """

    names: tuple[str, ...]
    arrays: Arrays
    f: CountedFunction
    grad: Gradient
    flatten: Callable[[Callable[..., Any]], Gradient]


def flattened(
    f: Callable[..., Any], grad: Callable[..., Any] | Literal[True], params: Any, names: Sequence[str] | None
) -> Flat:
    """The arguments of ``gradcheck``, flat.

    Raises:
        ValueError: if params hold no array, or names are too many or too few.
        TypeError: if the arrays are not real floating, or not of one library.
    """
    if grad is True:
        f, grad = value_and_grad(f)
    args = tuple(params) if type(params) in (tuple, list) else (params,)
    if not (found := list(leaves(args, "params"))):
        raise ValueError("params must hold at least one array, got none")
    if names is not None and len(names) != len(found):
        raise ValueError(f"names must name each of the {len(found)} arrays in params, got {len(names)}")
    paths, arrays = zip(*found, strict=True)
    names = tuple(paths if names is None else names)
    xp = namespace(*arrays)
    for name, array in zip(names, arrays, strict=True):
        if not is_floating(xp, array.dtype):
            raise TypeError(f"{name} must be real floating, got {array.dtype}")
    flatten = functools.partial(_flat_gradient, args=args, count=len(arrays), bare=args[0] is params)
    return Flat(names, arrays, CountedFunction(_on_leaves(f, args)), flatten(grad), flatten)


def _flat_gradient(grad: Callable[..., Any], args: tuple[Any, ...], count: int, bare: bool) -> Gradient:
    """``grad`` on the leaves of ``args``, returning the leaves of its result.

    Its result holds one gradient per argument, or, for ``bare`` params, is the gradient of the only argument.
    """
    on_arrays = _on_leaves(grad, args)

    def flat(*arrays: Array) -> tuple[Array, ...]:
        result = on_arrays(*arrays)
        gradients = arrays_of(in_order_of(result, args[0] if bare else args))
        if len(gradients) != count or not (bare or isinstance(result, tuple | list)):
            came = f"{len(gradients)}" if isinstance(result, tuple | list) else type(result).__name__
            odd = _no_arrays("", result) or _no_arrays("params", args)
            raise ValueError(f"grad must return a tuple of {count} gradients, one per parameter, got {came}{odd}")
        return persisted(*gradients)

    return flat


def _no_arrays(parent: str, tree: Any) -> str:
    """Half a sentence about the first child of ``tree`` that holds no array; empty if each holds one."""
    if isinstance(tree, tuple | list):
        for position, child in enumerate(tree):
            if not any(leaves(child)):
                where = f"{parent}[{position}]" if parent else f"number {position + 1}"
                return f"; {where} is a {type(child).__name__}, not an array"
    return ""


def _on_leaves(function: Callable[..., Any], tree: tuple[Any, ...]) -> Callable[..., Any]:
    """``function(*tree)`` as a function of the leaves of ``tree``."""
    if all(map(is_array_api_obj, tree)):
        return function
    return lambda *arrays: function(*rebuild(tree, iter(arrays)))


# --- containers --------------------------------------------------------------------------------------------------


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays of ``tree``, in order, each behind its path, such as ``params[0]["W"]``."""
    if is_array_api_obj(tree):
        yield path, tree
        return
    for step, child in _children(tree):
        yield from leaves(child, path + step)


def arrays_of(tree: Any) -> Arrays:
    """The arrays of ``tree``, in order."""
    return tuple(array for _, array in leaves(tree))


def rebuild(tree: Any, arrays: Iterator[Any]) -> Any:
    """``tree`` with its leaves replaced by ``arrays``, in order."""
    if is_array_api_obj(tree):
        return next(arrays)
    children = [rebuild(child, arrays) for _, child in _children(tree)]
    if isinstance(tree, list | tuple):
        return type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)
    if isinstance(tree, dict):
        return dict(zip(tree, children, strict=True))
    return replace(tree, **dict(zip(_fields(tree) or (), children, strict=True))) if children else tree


def in_order_of(tree: Any, model: Any) -> Any:
    """``tree`` with the keys of its dicts in the order of those of ``model``.

    Raises:
        ValueError: if the keys of a dict differ from those of its counterpart.
    """
    if isinstance(tree, dict) and isinstance(model, dict):
        # a child without an array has no gradient
        wanted, came = ([key for key, child in each.items() if any(leaves(child))] for each in (model, tree))
        if set(wanted) != set(came):
            raise ValueError(f"grad must return a dict with the keys {wanted} of the parameters, got {came}")
        return {key: in_order_of(tree[key], model[key]) for key in wanted}
    if isinstance(tree, list | tuple) and isinstance(model, list | tuple) and len(tree) == len(model):
        return tuple(map(in_order_of, tree, model))
    if type(tree) is type(model) and (names := _fields(tree)) is not None:
        return tuple(in_order_of(getattr(tree, name), getattr(model, name)) for name in names)
    return tree


def _children(tree: Any) -> Iterator[tuple[str, Any]]:
    """The step to each child of ``tree``, such as ``[0]`` or ``.weight``, and the child."""
    if isinstance(tree, dict):
        yield from ((f"[{key!r}]", child) for key, child in tree.items())
    elif (names := _fields(tree)) is not None:
        yield from ((f".{name}", getattr(tree, name)) for name in names)
    elif isinstance(tree, list | tuple):
        yield from ((f"[{position}]", child) for position, child in enumerate(tree))


def _fields(tree: Any) -> Sequence[str] | None:
    """The names of the fields that a NamedTuple or a dataclass is made from; None for anything else."""
    if isinstance(tree, tuple):
        return getattr(tree, "_fields", None)
    if not is_dataclass(tree) or isinstance(tree, type):
        return None
    return [field.name for field in fields(tree) if field.init]  # a dataclass works out the others itself


# --- functions ---------------------------------------------------------------------------------------------------


def value_and_grad(fun: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``fun(*params) -> (value, gradients)`` as two functions, ``f`` and ``grad``.

    The convention of scipy.optimize.minimize with ``jac=True``, and of jax.value_and_grad.

    Raises:
        TypeError: when called, if fun does not return a pair.
    """

    def part(which: int, *params: Any) -> Any:
        pair = fun(*params)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"fun must return (value, gradients), got {_described(pair)}")
        return pair[which]

    return functools.partial(part, 0), functools.partial(part, 1)


def as_op(function: Any) -> Op:
    """``function`` as an op: ``op(*args) -> (value, pullback)``.

    The value comes from the function's forward pass, the cotangents from its own backward pass: a mistake that the two
    share stays hidden. Arguments without a floating array are passed on as they are, and their cotangent is None; so
    ``lambda x: as_op(Loss)(x, labels)`` binds labels.

    Args:
        function: a subclass of torch.autograd.Function, a jax.custom_vjp, or an op, which comes back as it is.

    Raises:
        TypeError: when called, if the function returns anything but one array.
    """
    if isinstance(function, type) and all(hasattr(function, name) for name in ("apply", "forward", "backward")):
        return _torch_function(function)
    if hasattr(function, "defvjp"):
        return _jax_custom_vjp(function)
    return function  # type: ignore[no-any-return]


def _torch_function(function: Any) -> Op:
    import torch

    def op(*args: Any) -> tuple[Any, Callable[[Array], tuple[Any, ...]]]:
        moves = [isinstance(arg, torch.Tensor) and (arg.is_floating_point() or torch.is_complex(arg)) for arg in args]
        moved = [arg.detach().clone().requires_grad_() for arg, m in zip(args, moves, strict=True) if m]
        with torch.enable_grad():
            value = function.apply(*_filled(moves, moved, args))
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{function.__name__} must return one tensor, got {_described(value)}")

        def pullback(cotangent: Any) -> tuple[Any, ...]:
            # materialize_grads: zeros for an input that does not take part
            found = torch.autograd.grad(value, moved, cotangent, retain_graph=True, materialize_grads=True)
            return _filled(moves, found)

        return value.detach(), pullback

    return op


def _jax_custom_vjp(function: Any) -> Op:
    import jax
    import jax.numpy as jnp

    def floating(x: Any) -> bool:
        return isinstance(x, jax.Array) and bool(jnp.issubdtype(x.dtype, jnp.inexact))

    def op(*args: Any) -> tuple[Any, Callable[[Array], tuple[Any, ...]]]:
        value = function(*args)  # the function itself: jax.vjp would take the value from the forward rule
        if not isinstance(value, jax.Array):
            name = getattr(function, "__name__", "the function")
            raise TypeError(f"{name} must return one array, got {_described(value)}")
        moves = [any(map(floating, jax.tree.leaves(arg))) for arg in args]
        moved = [arg for arg, m in zip(args, moves, strict=True) if m]

        def pullback(cotangent: Any) -> tuple[Any, ...]:
            _, pull = jax.vjp(lambda *at: function(*_filled(moves, at, args)), *moved)
            return _filled(moves, pull(cotangent))

        return value, pullback

    return op


def _filled(moves: Sequence[bool], moved: Iterable[Any], others: Sequence[Any] = ()) -> tuple[Any, ...]:
    """One entry per argument: the next of ``moved`` if it is differentiated, else that of ``others``, or None."""
    found = iter(moved)
    return tuple(next(found) if m else others[i] if others else None for i, m in enumerate(moves))


def _described(value: Any) -> str:
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if isinstance(value, tuple | list) else kind
