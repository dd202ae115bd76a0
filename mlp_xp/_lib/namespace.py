"""Where a namespace comes from, and how an array is created beside another one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from array_api_compat import array_namespace, is_lazy_array, to_device

from mlp_xp._lib.typing import Array, Namespace

if TYPE_CHECKING:  # a list of what is installed is to come at once
    from numpy.typing import NDArray


def namespace(*arrays: Any, names: Sequence[str] = ()) -> Namespace:
    """The array API namespace that all ``arrays`` share.

    Args:
        arrays: at least one.
        names: of the arguments, for the message; those after the last one are parameters, W1, b1, W2, ...

    Raises:
        TypeError: for something that is not an array, or arrays of two libraries.
    """
    # arrays of one class are of one library: the first one answers for all, and each look-up costs a microsecond
    kind = type(arrays[0])
    for array in arrays:
        if type(array) is not kind:
            break
    else:
        arrays = arrays[:1]
    first: Namespace | None = None
    for position, array in enumerate(arrays):
        try:
            xp = cast(Namespace, array_namespace(array))
        except TypeError:
            raise TypeError(f"{_name(position, names)} must be an array, got {type(array).__name__}") from None
        if first is None or getattr(xp, "base", None) is first:  # a namespace that covers another speaks for both
            first = xp
        elif xp is not first and getattr(first, "base", None) is not xp:
            kinds = [f"{_name(0, names)} is of {_library(first)}", f"{_name(position, names)} of {_library(xp)}"]
            raise TypeError(f"all arrays must come from one array library, but {' and '.join(kinds)}")
    return cast(Namespace, first)


def _name(position: int, names: Sequence[str]) -> str:
    if not names:
        return f"argument {position + 1}"
    return names[position] if position < len(names) else parameter_name(position - len(names))


def parameter_name(position: int) -> str:
    """W1, b1, W2, ..."""
    return f"{'Wb'[position % 2]}{position // 2 + 1}"


def _library(xp: Namespace) -> str:
    return xp.__name__.removeprefix("array_api_compat.").partition(".")[0]


def is_numpy(xp: Namespace) -> bool:
    """Whether values can be looked at without waiting for a device or breaking a trace: on NumPy alone."""
    return xp.__name__ == "array_api_compat.numpy"


def is_floating(xp: Namespace, dtype: Any) -> bool:
    """Whether ``dtype`` is a real floating one. The usual ones are asked for first: ``isdtype`` is slow on NumPy."""
    return bool(dtype == xp.float64 or dtype == xp.float32 or xp.isdtype(dtype, "real floating"))


def is_integral(xp: Namespace, dtype: Any) -> bool:
    """Whether ``dtype`` is a signed or unsigned integer one."""
    return bool(dtype == xp.int64 or xp.isdtype(dtype, "integral"))


def device_of(x: Array) -> Any:
    """The device of ``x``, or None for lazy arrays.

    A JAX tracer has no device, a sharded array's is not one that can be asked for, and Dask has none; all of them place
    a new array by themselves.
    """
    return None if is_lazy_array(x) else getattr(x, "device", None)


def on_one_device(a: Array, b: Array) -> bool:
    """Whether ``a`` and ``b`` can meet. An array that names no device, lazy or a scalar of NumPy 2.0, meets any."""
    first, second = device_of(a), device_of(b)
    return first is None or second is None or bool(first == second)


def device_kwargs(x: Array) -> dict[str, Any]:
    """The keyword argument with which a new array meets ``x``: its device, where it has one."""
    device = device_of(x)
    return {} if device is None else {"device": device}


class Placement(NamedTuple):
    """Where arrays live: a namespace, one of its floating dtypes, one of its devices (None: the library's choice)."""

    xp: Namespace
    dtype: Any
    device: Any

    def put(self, values: Any) -> Array:
        """A host array here: floats in this dtype, everything else as it is."""
        floating = values.dtype.kind == "f"
        place = {} if self.device is None else {"device": self.device}
        return self.xp.asarray(values, dtype=self.dtype if floating else None, **place)


def placement_of(x: Array) -> Placement:
    """Where ``x`` lives."""
    return Placement(namespace(x), x.dtype, device_of(x))


def scalar_like(xp: Namespace, value: float, like: Array) -> Array:
    """``value`` as a 0-d array in the dtype and on the device of ``like``, so that nothing is promoted."""
    return xp.full((), value, dtype=like.dtype, **device_kwargs(like))  # filled on the device: nothing is copied there


def persisted(*arrays: Array) -> tuple[Array, ...]:
    """``arrays``, computed now where a library would put that off.

    A Dask graph must not grow from step to step, nor be computed again for every number that is asked of it.
    """
    if hasattr(arrays[0], "dask"):
        from dask.base import persist

        return cast(tuple[Array, ...], cast(Any, persist)(*arrays))
    return arrays


def to_host(array: Array) -> NDArray[Any]:
    """``array`` of any library as a NumPy array on the host."""
    import numpy as np

    with suppress(TypeError, ValueError):  # libraries whose host has another name, or whose arrays are there already
        array = to_device(array, "cpu")
    try:
        return np.asarray(array)
    except (TypeError, RuntimeError):  # on a device from which NumPy does not take arrays
        return cast("NDArray[Any]", np.from_dlpack(array, device="cpu"))  # type: ignore[arg-type]
