"""Checks of arguments. Each message is one sentence that names the argument, what was expected and what was given.

The checks read shapes, dtypes, devices, names and Python numbers, never an array's values. All of these are known
before any arithmetic, so a check does not wait for a device and does not break a trace.
"""

import difflib
import math
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from numbers import Integral, Real
from typing import Any, NoReturn, cast

from mlp_xp._lib.namespace import (
    device_of,
    is_floating,
    is_integral,
    library_of,
    namespace,
    on_one_device,
    parameter_name,
    to_host,
)
from mlp_xp._lib.typing import Array, Namespace, Params


def one_of(known: Iterable[str], name: object, most: int | None = None) -> str:
    """The end of a sentence about an unknown name: ``'a', 'b' or 'c', got 'd'; did you mean 'c'?``.

    Args:
        known: the names that would be right.
        name: the one that was given.
        most: of more names than that, only the nearest four are listed.
    """
    names = sorted(known)
    if most is not None and len(names) > most:
        names = sorted(nearest(name, names, count=4, cutoff=0.0))
    choice = " or ".join(filter(None, [", ".join(map(repr, names[:-1])), repr(names[-1])]))
    return f"{choice}, got {described(name)}{did_you_mean(name, names)}"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` with the nearest of the known names; empty where none is near."""
    match = nearest(name, known)
    return f"; did you mean {match[0]!r}?" if match else ""


def nearest(name: object, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """The known names that are most like ``name``, whatever their case.

    Args:
        name: what was given.
        known: the names to choose from.
        count: at most so many.
        cutoff: the least likeness, 0 ... 1; 1 is the same name.
    """
    folded = {str(each).lower(): str(each) for each in known}
    return [folded[match] for match in difflib.get_close_matches(str(name).lower(), folded, n=count, cutoff=cutoff)]


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """``(d_in, d_h, ..., d_out)`` as a tuple of ints. Raise unless there are at least two, all positive."""
    if not isinstance(sizes, Sequence):
        raise TypeError(f"sizes must be (d_in, ..., d_out), got {described(sizes)}")
    if len(sizes) < 2 or not all(is_whole(size) and 0 < size < 2**63 for size in sizes):
        raise ValueError(f"sizes must be at least two positive ints (d_in, ..., d_out), got {shortened(tuple(sizes))}")
    return tuple(map(int, sizes))


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, Python's or NumPy's. True, False and arrays are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether a value is a real number, Python's, NumPy's or a fraction. True and False are none."""
    return isinstance(value, (float, int, Real)) and not isinstance(value, bool)  # Real alone is slow


def check_library(library: Any) -> Any:
    """The standard's namespace of an array library, which came as a module. Raise for anything else."""
    try:
        return namespace(library.empty(0))
    except (AttributeError, TypeError):  # no function ``empty``, or one of something else
        expected = "an array library, a module such as numpy or jax.numpy"
        raise TypeError(f"xp must be {expected}, got {described(library)}") from None


def check_alike(xp: Namespace, names: Sequence[str], arrays: Sequence[Array]) -> None:
    """Raise unless ``arrays`` are real floating, of one dtype and on one device; their library is ``xp``."""
    first = arrays[0]
    for name, array in zip(names, arrays, strict=True):
        if not is_floating(xp, array.dtype):
            raise TypeError(f"{name} must be floating, got {array.dtype}")
        if array.dtype != first.dtype:
            raise TypeError(f"{name} must have the dtype of {names[0]}, {first.dtype}, got {array.dtype}")
        check_device(name, array, first, names[0])


def check_batch(xp: Namespace, X: Array, which: str = "") -> None:
    """Raise unless ``X``, named ``which`` X, is a floating (n, d_in) with at least one row and one column."""
    if X.ndim != 2:
        raise ValueError(f"{which}X must have shape (n, d_in), got {tuple(X.shape)}")
    n, d_in = X.shape
    # n is None where a trace leaves it open, which does no harm: no row's output depends on it.
    # Sizes are NaN on Dask after a boolean mask.
    if not ((n is None or isinstance(n, int)) and isinstance(d_in, int)):
        raise ValueError(f"{which}X must have a known shape, got {tuple(X.shape)}; call X.compute_chunk_sizes() first")
    if n == 0 or d_in == 0:
        raise ValueError(f"{which}X must have at least one row and one column, got shape {tuple(X.shape)}")
    if not is_floating(xp, X.dtype):
        alien = "float" in (name := str(X.dtype)) and not hasattr(xp, name)
        raise TypeError(f"{which}X must be floating, got {name}{f', which {library_of(xp)} lacks' if alien else ''}")


def check_params(params: Params, like: Array) -> None:
    """Raise unless ``(W1, b1, W2, b2, ...)`` fit each other and ``like`` (n, d_in), and have its dtype and device."""
    if not params or len(params) % 2:
        raise ValueError(f"the parameters must be W1, b1, W2, b2, ... in pairs, got {len(params)} arrays")
    width, dtype, device = like.shape[1], like.dtype, getattr(like, "device", None)
    leading: set[int] = set()
    for position, array in enumerate(params):
        shape, rank = array.shape, 2 - position % 2  # a weight, a bias, a weight, ...
        stacked = len(shape) - rank  # 1 for k networks, 0 for one
        if stacked not in (0, 1) or shape[-rank] != width or shape[-1] == 0:
            _refuse_shape(params, position, width, like)
        if stacked:
            leading.add(shape[0])
        width = shape[-1]
        if array.dtype != dtype:
            raise TypeError(f"{parameter_name(position)} must have the dtype of X, {dtype}, got {array.dtype}")
        if getattr(array, "device", device) != device:
            check_device(parameter_name(position), array, like)
    if len(leading) > 1:
        raise ValueError(f"the leading axes of the parameters must have one size, got {sorted(leading)}")


def _refuse_shape(params: Params, position: int, width: int, like: Array) -> NoReturn:
    """Raise ``W2 must have shape (256, d_out) to follow W1 (784, 256), got (10, 256)``."""
    before = position - 2 + position % 2  # a weight follows the weight before it, a bias its own weight
    follows = f"{parameter_name(before)} {tuple(params[before].shape)}" if before >= 0 else f"X {tuple(like.shape)}"
    shape = f"({width},)" if position % 2 else f"({width}, d_out)"
    got = tuple(params[position].shape)
    raise ValueError(f"{parameter_name(position)} must have shape {shape} to follow {follows}, got {got}")


def check_all_or_none_batched(params: Params) -> None:
    """Raise if only some parameters have a leading axis: the gradients of the others would not have their shapes."""
    if len({array.ndim - 2 + position % 2 for position, array in enumerate(params)}) > 1:
        shapes = [tuple(p.shape) for p in params]
        raise ValueError(f"either all parameters or none must have a leading axis, got {shapes}")


def params_on_host(params: Params) -> Params:
    """``(W1, b1, W2, b2, ...)`` as arrays of NumPy. Raise unless they are some floating arrays; W1 has a width."""
    if not params:
        raise ValueError("the parameters must be W1, b1, W2, b2, ... in pairs, got 0 arrays")
    xp = namespace(*params, names=[parameter_name(position) for position in range(len(params))])
    if params[0].ndim < 2 or 0 in params[0].shape:
        raise ValueError(f"W1 must have shape (d_in, d_out), got {tuple(params[0].shape)}")
    if not is_floating(xp, params[0].dtype):
        raise TypeError(f"W1 must be floating, got {params[0].dtype}")
    return tuple([to_host(param) for param in params])


def check_one_network(what: str, params: Params) -> None:
    """Raise if a parameter has a leading axis, of several networks; ``what`` can hold one."""
    if any(array.ndim > 2 - position % 2 for position, array in enumerate(params)):
        shapes = [tuple(p.shape) for p in params]
        raise ValueError(f"{what} is one network, got parameters with a leading axis, {shapes}")


def check_device(name: str, array: Array, like: Array, other: str = "X") -> None:
    """Raise unless ``array`` is on the device of ``like``, whose name is ``other``."""
    if not on_one_device(array, like):
        raise ValueError(f"{name} must be on the device of {other}, {device_of(like)}, got {device_of(array)}")


def check_number(name: str, value: Any, low: float, below: float) -> float:
    """``value`` as a Python float, which promotes no array. Raise unless ``low <= value < below``."""
    if type(value) is float and low <= value < below:
        return value  # at once: a step of a small network asks four times
    if not is_number(value):
        raise TypeError(f"{name} must be a number, got {described(value)}")
    try:
        number = float(value)
    except OverflowError:  # an int or a fraction beyond the largest float
        number = math.inf if cast(Any, value) > 0 else -math.inf
    if not low <= number < below:
        end = "finite" if below == math.inf else f"below {below:g}"
        came = value if math.isfinite(number) else number  # not the hundreds of digits of a large int
        raise ValueError(f"{name} must be at least {low:g} and {end}, got {came}")
    return number


def check_positive(name: str, value: object) -> float:
    """``value`` as a Python float. Raise unless it is a positive finite number."""
    number = check_number(name, value, 0.0, math.inf)
    if number == 0.0:
        raise ValueError(f"{name} must be positive, got {value}")
    return number


def check_whole(name: str, value: Any, low: int) -> int:
    """``value`` as a Python int, which does not overflow. Raise unless it is a whole number of at least ``low``."""
    if not is_whole(value):
        raise TypeError(f"{name} must be a whole number, got {described(value)}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {shortened(value)}")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """``value`` as a bool. Raise unless it is True, False, 1 or 0: the text "False" would count as true."""
    is_flag = type(value).__name__ in ("bool", "bool_")  # NumPy's own
    if not is_flag and not (is_whole(value) and value in (0, 1)):
        raise TypeError(f"{name} must be True or False, got {described(value)}")
    return bool(value)


def check_path(name: str, value: Any) -> str | os.PathLike[str]:
    """``value``. Raise unless it is a path, as a text or a ``Path``."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a str or a Path, got {described(value)}")
    if "\0" in os.fsdecode(value):  # which no system takes
        raise ValueError(f"{name} must be a path, got {shortened(value)}")
    return value


def check_callable(name: str, value: Any, example: str) -> Any:
    """``value``. Raise unless it can be called; ``example`` says what can, for the message."""
    if not callable(value):
        raise TypeError(f"{name} must be a function such as {example}, got {described(value)}")
    return value


def check_callables(name: str, values: Any) -> tuple[Any, ...]:
    """``values`` as a tuple. Raise unless they are a list, or another iterable, of functions."""
    if callable(values):
        raise TypeError(f"{name} must be a list of functions, got a function; write [function]")
    together = as_tuple(values)
    if together is None or not all(map(callable, together)):
        raise TypeError(f"{name} must be a list of functions, got {described(values)}")
    return together


def as_tuple(values: Any) -> tuple[Any, ...] | None:
    """``values`` as a tuple; None for what has no entries, such as an array of rank 0, which has ``__iter__`` too."""
    return tuple(values) if isinstance(values, Iterable) and getattr(values, "shape", None) != () else None


def check_parameters(name: str, values: Any) -> tuple[Any, ...]:
    """``values`` as a tuple. Raise unless they are a tuple or a list: order says which array is W1 and which b1."""
    if not isinstance(values, (tuple, list)):
        raise TypeError(f"{name} must be a tuple (W1, b1, W2, b2, ...), got {described(values)}")
    return tuple(values)


def is_true(answer: Any) -> bool:
    """Whether a callback answered True: Python's, NumPy's, or a 0-d array of any library."""
    if getattr(answer, "shape", None) == ():
        return "bool" in str(getattr(answer, "dtype", "")) and bool(answer)
    return answer is True


def check_seed(xp: Namespace, seed: Any) -> Any:
    """``seed`` as an int in 0 ... 2^31 - 1, or unchanged if it is a 0-d integer array. Raise for anything else."""
    if is_whole(seed):
        if not 0 <= int(seed) < 2**31:
            raise ValueError(f"seed must be in 0 ... 2**31 - 1, got {shortened(seed)}")
        return int(seed)
    if getattr(seed, "shape", None) == () and hasattr(seed, "dtype"):
        if library_of(own := namespace(seed, names=("seed",))) != library_of(xp):
            raise TypeError(f"seed must be an int, or an array of the library of X, got {type(seed).__name__}")
        if is_integral(own, seed.dtype):
            return seed
    raise TypeError(f"seed must be an int or a 0-d integer array, got {described(seed)}")


def first_line(error: Exception) -> str:
    """The first line of an error's message, for a message; its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def described(value: object) -> str:
    """What a value is, in a few words, for a message."""
    shape = getattr(value, "shape", None)
    # a class of arrays, or a library, has a shape of another kind
    if isinstance(shape, tuple) and not isinstance(value, Real):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else shortened(value)


def shortened(value: object) -> str:
    """``repr`` for a message: on one line, of at most 100 characters."""
    with suppress(ValueError):  # Python does not print an int of 5000 digits
        if len(text := " ".join(repr(value).split())) <= 100:
            return text
        return f"{text[:60]}...{text[-10:]}"
    return f"one of {type(value).__name__}, too large to print"
