"""What a file says beside its arrays, held against types: nothing that a stranger's file holds is taken on trust.

A checksum tells only that a file is as it was written. Before: ``files`` reads it.
"""

import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from mlp_xp._lib.arguments import described, first_line


@contextmanager
def parts_of(path: str | Path, kind: str) -> Iterator[None]:
    """Make one sentence about the file of what happens in the block where a part is missing or of another type.

    Args:
        path: the file, with which the sentence begins.
        kind: what the file must be, "checkpoint" or "model".

    Raises:
        ValueError: in place of what such parts bring about. One that begins with the path stays as it is.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        what = f"no {error.args[0]!r}" if isinstance(error, KeyError) and error.args else first_line(error)
        expected = f"{path} must be a whole {kind} of mlp_xp"
        raise ValueError(f"{expected}, got one with a part that is missing or of another type: {what}") from None


def check_type(name: str, value: Any, hint: Any) -> None:
    """Raise ``TypeError`` for a value that is not of the type that an annotation says, or that holds such a one.

    Args:
        name: of the value.
        value: numbers, strings, tuples, lists and dicts, as ``matches`` has them.
        hint: an annotation, such as ``tuple[float, ...] | None``, a ``TypedDict`` or a ``NamedTuple``.
    """
    if not matches(value, hint):
        if isinstance(value, tuple) and hasattr(hint, "_fields"):
            for (field, wanted), each in zip(get_type_hints(hint).items(), value, strict=True):
                check_type(f"{name}.{field}", each, wanted)
        if isinstance(value, dict) and is_typeddict(hint):
            for field, wanted in get_type_hints(hint).items():
                if field in value:
                    check_type(f"{name}.{field}", value[field], wanted)
                elif field in hint.__required_keys__:
                    raise TypeError(f"no {f'{name}.{field}'!r}")
        raise TypeError(f"{name} can't be {described(value)}")


def matches(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that an annotation says, with all that it holds. A whole number is a float too.

    >>> matches((1, 2.5), tuple[float, ...]), matches((1, "x"), tuple[float, ...]), matches(True, int)
    (True, False, False)
    """
    kind, inside = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if kind in (Union, types.UnionType):
        return any(matches(value, each) for each in inside)
    if kind is Literal:
        return value in inside
    if is_typeddict(hint):
        there = isinstance(value, dict) and hint.__required_keys__ <= value.keys()
        return there and all(matches(value[n], each) for n, each in get_type_hints(hint).items() if n in value)
    if kind is tuple and inside[-1] is not Ellipsis:
        return isinstance(value, tuple) and len(value) == len(inside) and all(map(matches, value, inside))
    if kind in (tuple, list):
        return isinstance(value, kind) and all(matches(each, inside[0]) for each in value)
    if kind is dict or kind is Mapping:
        return isinstance(value, Mapping) and all(
            matches(key, inside[0]) and matches(each, inside[1]) for key, each in value.items()
        )
    if hint is None:
        return value is None
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    if hasattr(hint, "_fields"):
        fields = get_type_hints(hint).values()
        return isinstance(value, hint) and all(map(matches, value, fields))
    return isinstance(value, hint)
