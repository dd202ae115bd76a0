"""Where a namespace comes from, and how an array is created beside another one."""

from __future__ import annotations

from typing import Any, cast

from array_api_compat import array_namespace, is_lazy_array

from mlp_xp._typing import Array, Namespace


def namespace(*arrays: Any) -> Namespace:
    """The array API namespace that all ``arrays`` share.

    Raises ``TypeError`` for something that is not an array, or arrays of two libraries.
    """
    # arrays of one class are of one library: the first one answers for all, and each look-up costs a microsecond
    kind = type(arrays[0])
    for array in arrays:
        if type(array) is not kind:
            break
    else:
        arrays = arrays[:1]
    try:
        return cast(Namespace, array_namespace(*arrays))
    except TypeError:
        raise TypeError(f"all arrays must come from one array library, got {_kinds(arrays)}") from None


def _kinds(arrays: tuple[Any, ...]) -> str:
    kinds = dict.fromkeys(f"{type(a).__module__.partition('.')[0]}.{type(a).__name__}" for a in arrays)
    return ", ".join(kinds)


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


def beside(x: Array) -> dict[str, Any]:
    """The keyword argument with which a new array meets ``x``: its device, where it has one."""
    device = device_of(x)
    return {} if device is None else {"device": device}


def constant(xp: Namespace, value: float, like: Array) -> Array:
    """``value`` as a 0-d array in the dtype and on the device of ``like``, so that nothing is promoted."""
    return xp.asarray(value, dtype=like.dtype, **beside(like))
