"""The namespace and the device of arrays, and new arrays in the dtype and on the device of another."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from array_api_compat import array_namespace, is_lazy_array, to_device

from mlp_xp._lib.typing import Array, Namespace

if TYPE_CHECKING:  # ``mlp-xp backends`` must not import NumPy before it answers
    from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])

AUTO_AXES = "axes of jax.sharding.AxisType.Auto, which make_mesh takes as axis_types"
"""What a mesh of JAX must have, for messages."""


def namespace(*arrays: Any, names: Sequence[str] = ()) -> Namespace:
    """The array API namespace that all ``arrays`` share.

    Args:
        arrays: at least one array.
        names: the names of the first arguments, for messages; the arguments after them are called W1, b1, W2, ...

    Returns:
        The namespace: the library's own where it is one of the standard, else array-api-compat's.

    Raises:
        TypeError: an argument is not an array, or the arrays are from two libraries.

    >>> import numpy as np
    >>> namespace(np.ones(3), np.zeros(2)).__name__.removeprefix("array_api_compat.")  # NumPy 2.0 needs the wrapper
    'numpy'
    """
    kind = type(arrays[0])
    first: Namespace | None = None
    for position, array in enumerate(arrays):
        if type(array) is kind and first is not None:
            continue  # arrays of one class are from one library, and each look-up costs a microsecond
        try:
            xp = _namespace_of(array)
        except TypeError:
            hint = "; unpack the parameters, *params" if _holds_arrays(array) and 0 < len(names) <= position else ""
            raise TypeError(f"{_name(position, names)} must be an array, got {type(array).__name__}{hint}") from None
        if type(array).__name__ != "ndarray":  # the plain one, without a further call: every function asks here
            refuse_unlike(_name(position, names), array)
        if first is None:
            first = xp
        # by name: a dual number's namespace may stand on the library's own or on a wrapper
        elif library_of(xp) == library_of(first):
            first = xp if _of_duals(xp) else first  # which works on plain arrays too
        else:
            kinds = [f"{_name(0, names)} is of {library_of(first)}", f"{_name(position, names)} of {library_of(xp)}"]
            raise TypeError(f"all arrays must come from one array library, but {' and '.join(kinds)}")
    return cast(Namespace, first)


def _namespace_of(array: Any) -> Namespace:
    """The namespace of one array. The wrapper is left out where the library can say what its namespace supports.

    That came with the 2023.12 standard, which is the oldest that serves here; NumPy can from 2.1 on. A wrapper's
    functions cost up to a microsecond each, which is much of the time of a small step.
    """
    ask = getattr(array, "__array_namespace__", None)
    own = None if ask is None else ask()
    return cast(Namespace, own if hasattr(own, "__array_namespace_info__") else array_namespace(array))


def _holds_arrays(value: Any) -> bool:
    return isinstance(value, tuple | list) and any(hasattr(each, "dtype") for each in value)


def refuse_unlike(name: str, array: Any) -> None:
    """Raise for an array whose operators mean something else, or whose rows can't be taken.

    Such are matrices and masked arrays of NumPy, and sparse and nested arrays that are not scipy's. Dask makes new
    arrays of NumPy's, which do not mix with chunks of another library.
    """
    import numpy as np

    if isinstance(array, np.matrix):
        raise TypeError(f"{name} must be an array, got a matrix, whose * is @; np.asarray makes it one")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} must be an array, got a masked one; fill what is masked, or leave those rows out")
    if (layout := sparse_layout(array)) and not hasattr(array, "toarray"):  # which a sparse matrix of scipy has
        raise TypeError(f"{name} must be a dense array, got a sparse one ({layout}); make it dense first")
    if getattr(array, "is_nested", False):
        raise TypeError(f"{name} must be a dense array, got a nested one, with rows of several lengths")
    if hasattr(array, "dask") and hasattr(array, "chunks") and not isinstance(array._meta, np.ndarray):
        cure = f"{name}.compute() is one array of its library"
        raise TypeError(f"{name} must have chunks of NumPy's, got chunks of {kind_of(array._meta)}; {cure}")


def refuse_explicit_axes(name: str, array: Any) -> None:
    """Raise for an array of JAX whose division is part of its type: each product of two would have to say its own."""
    # of a tracer too; along axes of other types the division is not in the type
    spec = getattr(getattr(getattr(array, "aval", None), "sharding", None), "spec", ())
    if any(spec):
        raise TypeError(f"{name} must be divided along {AUTO_AXES}, got {spec} along AxisType.Explicit")


def sparse_layout(x: Any) -> str:
    """The name of the format of a sparse array or matrix; empty for any other object."""
    layout = str(getattr(x, "layout", ""))
    if "sparse" in layout:
        return layout
    return type(x).__name__ if hasattr(x, "todense") else ""


def _name(position: int, names: Sequence[str]) -> str:
    if not names:
        return f"argument {position + 1}"
    return names[position] if position < len(names) else parameter_name(position - len(names))


def parameter_name(position: int) -> str:
    """The name of a parameter by its position in the tuple: W1, b1, W2, ..."""
    return f"{'Wb'[position % 2]}{position // 2 + 1}"


def library_of(xp: Namespace) -> str:
    """The name of an array library, as it is imported: numpy, torch, jax; also where the namespace is a wrapper."""
    return xp.__name__.removeprefix("array_api_compat.").partition(".")[0]


def _of_duals(xp: Namespace) -> bool:
    return getattr(xp, "base", None) is not None


def kind_of(value: Any) -> str:
    """The class of ``value``, of an array with its library: ``ndarray of cupy``, ``list``."""
    try:
        return f"{type(value).__name__} of {library_of(_namespace_of(value))}"
    except TypeError:
        return type(value).__name__


def is_numpy(xp: Namespace) -> bool:
    """Whether ``xp`` is NumPy, where reading a value neither waits for a device nor breaks a trace."""
    return xp.__name__ in ("numpy", "array_api_compat.numpy")


def remembered(function: Function) -> Function:
    """A pure ``function(xp, *rest)`` that keeps its answers, for a namespace that is a module.

    That of dual numbers is one for each evaluation, and must not outlive its arrays.
    """
    kept = lru_cache(function)

    @wraps(function)
    def answer(xp: Namespace, *rest: Any) -> Any:
        return kept(xp, *rest) if isinstance(xp, ModuleType) else function(xp, *rest)

    return cast(Function, answer)


@remembered  # NumPy's ``isdtype`` takes longer than a product of a small step
def is_floating(xp: Namespace, dtype: Any) -> bool:
    """Whether ``dtype`` is real floating."""
    return _is_kind(xp, dtype, "real floating")


@remembered
def is_integral(xp: Namespace, dtype: Any) -> bool:
    """Whether ``dtype`` is a signed or unsigned integer dtype."""
    return _is_kind(xp, dtype, "integral")


def _is_kind(xp: Namespace, dtype: Any, kind: str) -> bool:
    """Whether ``dtype`` is of this kind; NumPy raises for one that another package adds to it, as ml_dtypes does."""
    try:
        return bool(xp.isdtype(dtype, kind))
    except TypeError:
        if not hasattr(dtype, "itemsize"):  # no dtype at all
            raise
        return False


def device_of(x: Array) -> Any:
    """The device of ``x``; None, the standard's default, where the library places new arrays by itself.

    A JAX tracer and a Dask array have no device. JAX moves an array to another one's device unless it was put on its
    own, and of an array on several devices none can be named. A dual number is where its value is.
    """
    x = getattr(x, "value", x)
    if not is_lazy_array(x):
        return getattr(x, "device", None)
    try:
        held: Any = x
        return held.device if held.committed and len(held.devices()) == 1 else None
    except (AttributeError, TypeError):  # no array of JAX, or a tracer, which has no value yet
        return None


def on_one_device(a: Array, b: Array) -> bool:
    """Whether ``a`` and ``b`` are on one device, or one of them names none: ``device_of``, or a scalar of NumPy 2.0."""
    if getattr(a, "device", None) == getattr(b, "device", None):  # at once: a step asks for each of its arrays
        return True
    first, second = device_of(a), device_of(b)
    return first is None or second is None or bool(first == second)


def refuse_elsewhere(xp: Namespace, name: str, x: Array) -> None:
    """Raise where the library makes arrays on another device than is asked for: CuPy heeds its current one alone."""
    made = xp.full((), 0.0, dtype=x.dtype, **device_kwargs(x))
    if not on_one_device(made, x):
        where = f"{name} is on {device_of(x)}, and {library_of(xp)} makes new arrays on {device_of(made)}"
        raise ValueError(f"{where}: make the device of {name} the current one, with {name}.device: ...")


def device_kwargs(x: Array) -> dict[str, Any]:
    """Keyword arguments that create an array on the device of ``x``; empty where ``x`` names no device."""
    device = device_of(x)
    return {} if device is None else {"device": device}


def in_library_of(there: Array, array: Array) -> Array:
    """``array``, in its own dtype, in the library of ``there``; if that is another one, on its device too.

    Where ``there`` is a dual number and ``array`` of the library beneath, it becomes a constant dual, and stays on its
    device: the way through the host would lead to the library's first device, or nowhere.
    """
    xp, own = namespace(there), namespace(array)
    if own is xp:  # not by class: a parameter of PyTorch's is a tensor too
        return array
    if _of_duals(xp) and library_of(own) == library_of(xp):
        return xp.asarray(array)
    return xp.asarray(to_host(array), **device_kwargs(there))


class Placement(NamedTuple):
    """Where arrays live: a namespace, one of its floating dtypes, one of its devices (None: the library's choice)."""

    xp: Namespace
    dtype: Any
    device: Any

    def put(self, values: Any) -> Array:
        """A host array here: floats in this dtype, everything else as it is."""
        return self.put_all(values)[0]

    def put_all(self, *arrays: Any) -> list[Array]:
        """Host arrays here, each as by ``put``."""
        where = {} if self.device is None else {"device": self.device}  # MLX has no such argument
        dtypes = [self.dtype if values.dtype.kind == "f" else None for values in arrays]
        return [self.xp.asarray(values, dtype=dtype, **where) for values, dtype in zip(arrays, dtypes, strict=True)]


def placement_of(x: Array) -> Placement:
    """Where ``x`` lives; for a sparse matrix of scipy, where its rows do as arrays."""
    x = cast(Any, x)[:0].toarray() if hasattr(x, "toarray") else x
    return Placement(namespace(x), x.dtype, device_of(x))


def scalar_like(xp: Namespace, value: float, like: Array) -> Array:
    """``value`` as a 0-d array with the dtype and device of ``like``, so that it promotes nothing."""
    return xp.full((), value, dtype=like.dtype, **device_kwargs(like))  # made on the device, not copied


def transposed(xp: Namespace, x: Array) -> Array:
    """The transpose of each matrix, (..., p, q) -> (..., q, p)."""
    # the standard's ``T`` is that of one matrix alone; NumPy's function takes as long as a small product
    return x.T if x.ndim == 2 else xp.matrix_transpose(x)


def wide_dtype(xp: Namespace, dtype: Any) -> Any:
    """``dtype``, or float32 for floats of 16 bits and fewer, in which a count stops at 2048 or 256."""
    return xp.float32 if xp.finfo(dtype).bits < 32 else dtype


def in_dtype(xp: Namespace, array: Array, dtype: Any) -> Array:
    """``array`` in ``dtype``; one that has it as it is."""
    return array if array.dtype == dtype else xp.astype(array, dtype)


def persisted(*arrays: Array) -> tuple[Array, ...]:
    """``arrays``, computed now if they are Dask's; others unchanged.

    Otherwise the graph would grow with every step, and would be computed again for every number read from it.
    """
    if hasattr(arrays[0], "dask"):
        from dask.base import persist

        return cast(tuple[Array, ...], cast(Any, persist)(*arrays))
    return arrays


_PIECES = 8


def unstacked(xp: Namespace, x: Array) -> list[Array]:
    """``x[0], x[1], ...`` in few calls, and in groups of at most 8.

    Where a slice waits for the host it costs as much as a step; and JAX compiles a call for its number of results: 5 s
    for 469 of them, 0.1 s for 8.
    """
    n = x.shape[0]
    if n <= _PIECES:
        return list(xp.unstack(x))
    whole = n // _PIECES * _PIECES
    groups = unstacked(xp, xp.reshape(x[:whole, ...], (-1, _PIECES, *x.shape[1:])))
    groups += [x[whole:, ...]] if whole < n else []
    return [piece for group in groups for piece in xp.unstack(group)]


_PART = 2**20  # numbers that are looked at together


def spans_of(n: int, size: int) -> list[slice]:
    """Slices that together are ``n`` rows: ``size`` rows each, the last one has what is left."""
    return [slice(low, min(low + size, n)) for low in range(0, n, size)]


def spans(rows: int, width: int, numbers: int) -> list[slice]:
    """Slices that together are so many ``rows`` of ``width`` numbers, each of at most ``numbers``, or of one row."""
    return spans_of(rows, max(1, numbers // max(1, width)))


def in_parts(array: Array, rows: Any = None) -> Iterator[Array]:
    """``array`` part by part along its first axis: what is computed of a part does not take the memory of the whole.

    Args:
        array: of any shape; one of 2^20 numbers or fewer is one part.
        rows: the numbers of the rows to take, on the host; None for all, of which nothing is copied.
    """
    if not array.ndim:
        yield array
        return
    n = array.shape[0] if rows is None else len(rows)
    for part in spans(n, math.prod(array.shape[1:]), _PART) if n else [slice(0)]:
        if rows is not None:
            xp = namespace(array)
            yield xp.take(array, xp.asarray(rows[part], **device_kwargs(array)), axis=0)
        else:
            yield array if part == slice(0, n) else array[part, ...]


def detached(*arrays: Any) -> tuple[Any, ...]:
    """``arrays`` as data: what PyTorch records of their past stays behind; others unchanged.

    Otherwise what is learned from a tensor with ``requires_grad`` would carry a graph that grows with every step.
    """
    return tuple([array.detach() if hasattr(array, "requires_grad") else array for array in arrays])


def to_host(array: Array) -> "NDArray[Any]":
    """The array of any library as a NumPy array on the host; floats that NumPy lacks, as bfloat16, as float32.

    Of an array of JAX that is divided among processes each holds a part: all processes ask for it together.
    """
    import numpy as np

    (array,) = detached(array)
    xp = namespace(array)
    if is_floating(xp, array.dtype) and xp.finfo(array.dtype).bits < 32 and array.dtype != getattr(xp, "float16", None):
        array = xp.astype(array, xp.float32)
    if not (getattr(array, "is_fully_addressable", True) or getattr(array, "is_fully_replicated", True)):
        from jax.experimental.multihost_utils import process_allgather

        return cast("NDArray[Any]", process_allgather(array, tiled=True))
    with suppress(AttributeError, TypeError, ValueError):  # no such method, the host has another name, or it is there
        array = to_device(array, "cpu")
    try:
        return np.asarray(array)
    except (TypeError, RuntimeError):  # on a device that NumPy can't read
        exchanged: Any = array
        with suppress(TypeError):  # NumPy 2.0 takes no device
            return np.from_dlpack(exchanged, device="cpu")
        return np.from_dlpack(exchanged)
