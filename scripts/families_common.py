"""What the families of functions share: the record of a drawn problem, means over weighted rows, and one-hot rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Drawn(NamedTuple):
    """A function, its gradient, and numbers to call them with.

    value: value(xp, data, *params) -> 0-d.
    gradient: gradient(xp, data, *params) -> one array per param.
    params: name -> float64 array, in the order of the arguments.
    data: NumPy arrays, those of floats in float64.
    units: of every param the size of its entries, an array of its shape; empty if all are about 1.
    """

    value: Callable[..., Any]
    gradient: Callable[..., Sequence[Any]]
    params: Mapping[str, Any]
    data: Sequence[Any] = ()
    units: tuple[Any, ...] = ()


def mean(xp: Any, w: Any, rows: Any) -> Any:
    """``sum(w * rows) / sum(w)``: the weighted mean as a forward pass writes it."""
    return xp.sum(w * rows) / xp.sum(w)


def shares(xp: Any, w: Any) -> Any:
    """``w / sum(w)``: the weights as a backward pass writes them. In float32 they round differently from ``mean``."""
    return w / xp.sum(w)


def one_hot(labels: Any, classes: int) -> np.ndarray:
    """(n,) labels -> (n, classes) of 0 and 1."""
    return np.asarray(np.asarray(labels)[:, None] == np.arange(classes), dtype=np.float64)


def softmax(xp: Any, z: Any) -> Any:
    """``exp(z) / sum exp(z)`` along the last axis."""
    e = xp.exp(z - xp.max(xp.real(z) if "complex" in str(z.dtype) else z, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def log_sum_exp(xp: Any, z: Any) -> Any:
    """``log sum exp(z)`` along the last axis, kept as an axis of one."""
    top = xp.max(xp.real(z) if "complex" in str(z.dtype) else z, axis=-1, keepdims=True)
    return xp.log(xp.sum(xp.exp(z - top), axis=-1, keepdims=True)) + top


def logistic(xp: Any, z: Any) -> Any:
    """``1 / (1 + exp(-z))``."""
    return 1.0 / (1.0 + xp.exp(-z))


def softplus(xp: Any, z: Any) -> Any:
    """``log(1 + exp(z))``."""
    return xp.log1p(xp.exp(z))
