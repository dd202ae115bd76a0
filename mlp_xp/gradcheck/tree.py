"""Nested containers of arrays as a flat list of named leaves, and back.

Dicts, lists, tuples, NamedTuples and dataclasses are containers; arrays are leaves; anything else stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

from array_api_compat import is_array_api_obj


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
