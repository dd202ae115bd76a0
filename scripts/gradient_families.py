"""Families of functions with hand-derived gradients: a corpus of right gradients that owes nothing to the checker.

    problem = build("layer_norm", np.random.default_rng(0))
    problem.f(*problem.params), problem.grad(*problem.params)

A family is a function in ``families_layers``, ``families_losses``, ``families_models`` or ``families_algebra``: it
draws parameters and data and holds the value and its gradient, both written on the array API, so that they run on any
array library and on whatever arrays a checker makes. The families of the first two files are other libraries' layers
and losses in our own words.

Next: ``gradient_situations`` puts them into the situations in which checkers are fooled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import families_algebra
import families_layers
import families_losses
import families_models
import numpy as np
from array_api_compat import array_namespace
from families_common import Drawn

# name -> the function that draws parameters and data
FAMILIES: dict[str, Callable[[np.random.Generator], Drawn]] = {
    family.__name__: family
    for file in (families_layers, families_losses, families_models, families_algebra)
    for family in file.FAMILIES
}

# the families rebuilt from other libraries' layers and losses
REBUILT = tuple(family.__name__ for file in (families_layers, families_losses) for family in file.FAMILIES)


class Problem(NamedTuple):
    """A function of arrays, its right gradient, and a point.

    f, grad: of as many arrays as there are params.
    params: NumPy arrays of the dtype asked for.
    units: of every param, the size of its entries: what ``f`` changes by when an entry moves by one of these is
        comparable from entry to entry.
    """

    f: Callable[..., Any]
    grad: Callable[..., tuple[Any, ...]]
    params: tuple[Any, ...]
    names: tuple[str, ...]
    units: tuple[Any, ...]


def build(
    family: str,
    random: np.random.Generator,
    dtype: str = "float64",
    data_dtype: str | None = None,
    function: Callable[[Any], Any] = lambda xp: xp,
) -> Problem:
    """A problem of a family, drawn from ``random``.

    Args:
        family: a name of ``FAMILIES``.
        dtype: of the parameters.
        data_dtype: of the data in the closure, or None: the data follow the parameters of each call.
        function: namespace -> the namespace in which f computes, so that single functions can be replaced.
    """
    drawn = FAMILIES[family](random)

    # a caller's data have the caller's precision: what is lost by rounding them is no error of the gradient
    rounded = [a.astype(dtype) if a.dtype.kind == "f" else a for a in map(np.asarray, drawn.data)]

    def data(xp: Any, params: tuple[Any, ...]) -> list[Any]:
        return [place(xp, array, data_dtype, params[0].dtype) for array in rounded]

    def f(*params: Any) -> Any:
        xp = array_namespace(*params)
        return drawn.value(function(xp), data(xp, params), *params)

    def grad(*params: Any) -> tuple[Any, ...]:
        xp = array_namespace(*params)
        return tuple(drawn.gradient(xp, data(xp, params), *params))

    params = tuple(np.asarray(p).astype(dtype) for p in drawn.params.values())
    units = drawn.units or tuple(np.ones(p.shape) for p in params)
    return Problem(f, grad, params, tuple(drawn.params), units)


def place(xp: Any, array: np.ndarray, data_dtype: str | None, dtype: Any) -> Any:
    """The data as the caller holds them: in a fixed dtype, or in that of the parameters."""
    if array.dtype.kind != "f":
        return xp.asarray(array)
    if data_dtype is not None:
        # NumPy holds no bfloat16: there the library makes it
        return (
            xp.asarray(array, dtype=getattr(xp, data_dtype))
            if "16" in data_dtype
            else xp.asarray(array.astype(data_dtype))
        )
    if "complex" in str(dtype):  # under a complex step the data stay real
        return xp.asarray(array)
    return xp.asarray(array, dtype=dtype)
