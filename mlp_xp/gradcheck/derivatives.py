"""Derivatives of the array API's functions, in tables: how a change dx of x changes the value y = f(x).

x, a, b are values; dx, da, db their tangents; y is the value of the function, dy its tangent. A function in no table
has no derivative here.

Source: autodidact (HIPS), for rules in a table; Giles, An extended collection of matrix derivative results, 2008, for
linear algebra.

Next: ``dual`` carries tangents through a function by these rules.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

from mlp_xp._lib.namespace import device_kwargs

# --- elementwise -------------------------------------------------------------------------------------------------

SLOPES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "acos": lambda xp, x, y: -1.0 / xp.sqrt((1.0 - x) * (1.0 + x)),
    "acosh": lambda xp, x, y: 1.0 / xp.sqrt((x - 1.0) * (x + 1.0)),
    "asin": lambda xp, x, y: 1.0 / xp.sqrt((1.0 - x) * (1.0 + x)),
    "asinh": lambda xp, x, y: 1.0 / xp.sqrt(x * x + 1.0),
    "atan": lambda xp, x, y: 1.0 / (x * x + 1.0),
    "atanh": lambda xp, x, y: 1.0 / ((1.0 - x) * (1.0 + x)),
    "cos": lambda xp, x, y: -xp.sin(x),
    "cosh": lambda xp, x, y: xp.sinh(x),
    "exp": lambda xp, x, y: y,
    "expm1": lambda xp, x, y: xp.exp(x),
    "log": lambda xp, x, y: 1.0 / x,
    "log10": lambda xp, x, y: 1.0 / (math.log(10.0) * x),
    "log1p": lambda xp, x, y: 1.0 / (1.0 + x),
    "log2": lambda xp, x, y: 1.0 / (math.log(2.0) * x),
    "reciprocal": lambda xp, x, y: -y * y,
    "sigmoid": lambda xp, x, y: y * (1.0 - y),
    "sin": lambda xp, x, y: xp.cos(x),
    "sinh": lambda xp, x, y: xp.cosh(x),
    "sqrt": lambda xp, x, y: 0.5 / y,
    "square": lambda xp, x, y: 2.0 * x,
    "tan": lambda xp, x, y: 1.0 + y * y,
    "tanh": lambda xp, x, y: (1.0 - y) * (1.0 + y),
}
"""Elementwise functions of one array: dy = slope dx."""

PARTIALS: dict[str, tuple[Callable[[Any, Any, Any, Any], Any], Callable[[Any, Any, Any, Any], Any]]] = {
    "add": (lambda xp, a, b, y: 1.0, lambda xp, a, b, y: 1.0),
    "atan2": (lambda xp, a, b, y: b / (a * a + b * b), lambda xp, a, b, y: -a / (a * a + b * b)),
    "divide": (lambda xp, a, b, y: 1.0 / b, lambda xp, a, b, y: -y / b),
    "hypot": (lambda xp, a, b, y: a / y, lambda xp, a, b, y: b / y),
    "logaddexp": (lambda xp, a, b, y: xp.exp(a - y), lambda xp, a, b, y: xp.exp(b - y)),
    "multiply": (lambda xp, a, b, y: b, lambda xp, a, b, y: a),
    "pow": (lambda xp, a, b, y: b * a ** (b - 1), lambda xp, a, b, y: y * xp.log(as_array(xp, a, y))),
    "subtract": (lambda xp, a, b, y: 1.0, lambda xp, a, b, y: -1.0),
}
"""Elementwise functions of two arrays: dy = first da + second db."""

# --- kinds that need no formula --------------------------------------------------------------------------------

LINEAR = {
    "asarray", "astype", "broadcast_to", "clone", "concat", "copy", "cumsum", "cumulative_sum", "diagonal", "diff",
    "expand_dims", "flatten", "flip", "matrix_transpose", "mean", "moveaxis", "negative", "permute", "permute_dims",
    "positive", "ravel", "repeat", "reshape", "roll", "split", "squeeze", "stack", "sum", "swapaxes", "t", "take",
    "take_along_axis", "tile", "trace", "transpose", "tril", "triu", "unsqueeze", "unstack", "view",
}  # fmt: skip
"""Linear in the first argument, an array or a list of arrays: dy = f(dx). The other arguments are constants."""

PRODUCTS = {
    "bmm", "cross", "dot", "einsum", "inner", "kron", "matmul", "mm", "mv", "outer", "tensordot", "vecdot",
}  # fmt: skip
"""Linear in each array: dy = f(da, b) + f(a, db) (Leibniz)."""

CONSTANT = {
    "all", "any", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "can_cast", "count_nonzero", "empty_like", "finfo", "full_like", "iinfo", "isdtype", "isfinite",
    "isinf", "isnan", "logical_and", "logical_not", "logical_or", "logical_xor", "ndim", "ones_like", "result_type",
    "shape", "signbit", "size", "zeros_like",
}  # fmt: skip
"""Functions that a small step does not change, or changes only where they are not finite."""

STEPS = {"ceil", "floor", "round", "trunc"}
"""Constant except where they jump: there their rule raises."""

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "equal": operator.eq, "greater": operator.gt, "greater_equal": operator.ge,
    "less": operator.lt, "less_equal": operator.le, "not_equal": operator.ne,
}  # fmt: skip
"""Decided by the values and, where these tie, by the tangents."""


# --- compositions of functions that have rules: xp is the namespace of duals ---------------------------------------


def _clip(xp: Any, x: Any, min: Any = None, max: Any = None) -> Any:  # noqa: A002  # the standard's names
    x = x if min is None else xp.maximum(x, min)
    return x if max is None else xp.minimum(x, max)


def _prod(xp: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    y = functools.reduce(operator.mul, xp.reshape(x, (-1,)) if axis is None else xp.moveaxis(x, axis, 0))
    if not keepdims:
        return y
    return xp.reshape(y, (1,) * x.ndim) if axis is None else xp.expand_dims(y, axis=axis)


def _var(xp: Any, x: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    count = math.prod(x.shape) / math.prod(xp.sum(xp.zeros_like(x), axis=axis).shape)
    return xp.sum(centred * centred, axis=axis, keepdims=keepdims) / (count - correction)


def _sort(xp: Any, x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    return xp.take_along_axis(x, xp.argsort(x, axis=axis, descending=descending, stable=stable), axis=axis)


def _norm(xp: Any, x: Any, order: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """``sqrt(sum x^2)``, unless ``order`` says another; 2 is another for a matrix, its largest singular value."""
    matrix = isinstance(axis, tuple) or (axis is None and x.ndim > 1)
    if order not in ((None, "fro") if matrix else (None, "fro", 2)):
        raise TypeError(f"dual numbers have no rule for a norm of order {order!r}")
    return xp.sqrt(xp.sum(x * x, axis=axis, keepdims=keepdims))


def _vector_norm(xp: Any, x: Any, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:  # noqa: A002
    return _norm(xp, x, None if ord == 2 else ord, axis, keepdims)  # of many axes, it is still that of a vector


COMPOSED: dict[str, Callable[..., Any]] = {
    "abs": lambda xp, x: xp.where(x > 0.0, x, -x),
    "clip": _clip,
    "matrix_norm": lambda xp, x, keepdims=False, ord="fro": _norm(xp, x, ord, (-2, -1), keepdims),  # noqa: A006
    "maximum": lambda xp, a, b: xp.where(a > b, a, b),
    "minimum": lambda xp, a, b: xp.where(a < b, a, b),
    "norm": lambda xp, x, ord=None, axis=None, keepdims=False: _norm(xp, x, ord, axis, keepdims),  # noqa: A006
    "prod": _prod,
    "relu": lambda xp, x: xp.where(x > 0.0, x, 0.0),
    "remainder": lambda xp, a, b: a - xp.floor(a / b) * b,
    "sign": lambda xp, x: xp.astype(x > 0.0, x.dtype) - xp.astype(x < 0.0, x.dtype),
    "sort": _sort,
    "std": lambda xp, x, axis=None, correction=0.0, keepdims=False: xp.sqrt(_var(xp, x, axis, correction, keepdims)),
    "var": _var,
    "vector_norm": _vector_norm,
}


# --- linear algebra: y and dy from values and tangents; a constant's tangent is zeros ---------------------------------


def _cholesky(xp: Any, x: Any, dx: Any) -> tuple[Any, Any]:
    y = xp.linalg.cholesky(x)
    half = xp.linalg.solve(y, xp.matrix_transpose(xp.linalg.solve(y, dx)))  # y^-1 dx y^-T, symmetric
    return y, y @ (xp.tril(half) - 0.5 * xp.tril(xp.triu(half)))


def _det(xp: Any, x: Any, dx: Any) -> tuple[Any, Any]:
    y = xp.linalg.det(x)
    return y, y * xp.linalg.trace(xp.linalg.solve(x, dx))


def _inv(xp: Any, x: Any, dx: Any) -> tuple[Any, Any]:
    y = xp.linalg.inv(x)
    return y, -(y @ dx @ y)


def _slogdet(xp: Any, x: Any, dx: Any) -> tuple[Any, Any]:
    sign, y = xp.linalg.slogdet(x)
    return (sign, y), (None, xp.linalg.trace(xp.linalg.solve(x, dx)))


def _solve(xp: Any, a: Any, b: Any, da: Any, db: Any) -> tuple[Any, Any]:
    y = xp.linalg.solve(a, b)
    return y, xp.linalg.solve(a, db - da @ y)


LINALG: dict[str, Callable[..., tuple[Any, Any]]] = {
    "cholesky": _cholesky, "det": _det, "inv": _inv, "slogdet": _slogdet, "solve": _solve,
}  # fmt: skip


def as_array(xp: Any, x: Any, like: Any) -> Any:
    """``x``; a Python number as a 0-d array of the dtype and on the device of ``like``."""
    return xp.full((), x, dtype=like.dtype, **device_kwargs(like)) if isinstance(x, bool | int | float) else x


# --- names ---------------------------------------------------------------------------------------------------------

ALIASES = {
    "absolute": "abs", "amax": "max", "amin": "min", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin",
    "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "cat": "concat", "clamp": "clip",
    "concatenate": "concat", "div": "divide", "eq": "equal", "ge": "greater_equal", "gt": "greater",
    "invert": "bitwise_invert", "le": "less_equal", "lt": "less", "mul": "multiply", "ne": "not_equal",
    "neg": "negative", "power": "pow", "sub": "subtract", "true_divide": "divide",
}  # fmt: skip
"""NumPy's and torch's own names -> the standard's."""
