"""What an array library offers to make a step faster, and what is said where that can't be had.

All that differs between libraries stands at the top of this file. A compiled step is the step, to rounding.

Before: ``step`` makes pure functions of arrays. Next: ``loop`` compiles them; ``backends`` has the compilers by name;
``replaying`` launches a compiled step at once.
"""

import importlib
import warnings
from collections.abc import Callable
from contextlib import suppress
from inspect import signature
from typing import Any

from mlp_xp._lib.arguments import check_callable, check_flag, first_line
from mlp_xp._lib.namespace import library_of
from mlp_xp._lib.typing import Namespace
from mlp_xp._lib.wording import warn
from mlp_xp.train.replaying import on_torch

COMPILERS = {"torch": "torch.compile", "jax": "jax.jit"}
"""Array library -> import path of its compiler of functions of arrays."""

# Of compilers that take them: a run has one size of batch, whatever the runs before it had; and without the second,
# PyTorch gives up after some compilations of all runs of a process together.
_OPTIONS = {"dynamic": False, "isolate_recompiles": True}

_AT_ONCE: dict[str, Callable[[Any], Any]] = {"torch": on_torch}
"""Array library -> what launches a compiled function at once; JAX does so by itself."""

# CuPy could replay a whole step as one CUDA graph, but a call of cuBLAS between ``Stream.begin_capture`` and
# ``end_capture`` raises NotImplementedError, in 14.2 still: https://github.com/cupy/cupy/issues/6290
_WHY_NOT = {"cupy": "cupy refuses matrix products while it captures a CUDA graph"}


def compiler(library: str) -> Callable[[Any], Any]:
    """The compiler of an array library, by its import path.

    Raises:
        ValueError: for a library without one.
    """
    if library not in COMPILERS:
        raise ValueError(f"to compile takes the backend {' or '.join(COMPILERS)}, got {library}, which has no compiler")
    module, _, function = COMPILERS[library].rpartition(".")
    made: Callable[[Any], Any] = getattr(importlib.import_module(module), function)
    return made


def check_compile(value: Any) -> Any:
    """``compile`` of a run: True, a compiler, or None. Raise for anything else."""
    if value is None or callable(value):
        return value
    with suppress(TypeError):
        return check_flag("compile", value) or None
    return check_callable("compile", value, "jax.jit or torch.compile, or True for what the array library offers")


def available(xp: Namespace, compile: Any) -> Any:  # noqa: A002 - the name of the argument of ``train``
    """``compile`` of a run; None, after a warning, where it is True and the library has no compiler."""
    if compile is not True or library_of(xp) in COMPILERS:
        return compile
    why = _WHY_NOT.get(library_of(xp), f"{library_of(xp)} has no compiler")
    warn(f"the step is not compiled: {why}")
    return None


def compiled(xp: Namespace, function: Any, compile: Any) -> Any:  # noqa: A002
    """A pure function of arrays, made faster.

    Args:
        xp: the namespace of its arrays.
        function: of arrays in tuples.
        compile: what ``available`` returned. A compiler of the caller's own may raise what it likes.
    """
    if compile is None:
        return function
    if compile is not True:
        return check_callable("what compile returns", compile(function), "jax.jit(step)")
    own: Any = compiler(library_of(xp))
    taken = signature(own).parameters
    fast = own(function, **{name: value for name, value in _OPTIONS.items() if name in taken})
    at_once = _AT_ONCE.get(library_of(xp))
    return _or_as_it_is(at_once(fast) if at_once else fast, function)


def _or_as_it_is(fast: Any, function: Any) -> Any:
    """``fast``, or ``function`` after a warning if the first call of ``fast`` raises: there it is compiled.

    What ``function`` itself raises is raised.
    """
    chosen = None

    def either(*arguments: Any) -> Any:
        nonlocal chosen
        if chosen is not None:
            return chosen(*arguments)
        try:
            with warnings.catch_warnings():  # a compiler warns about its own code, which no user can change
                warnings.filterwarnings("ignore", module=r"torch\b")
                made = fast(*arguments)
        except Exception as error:
            why = f"{type(error).__name__}: {first_line(error)}"
        else:
            chosen = fast
            return made
        made, chosen = function(*arguments), function
        warn(f"the step is not compiled: {why}")
        return made

    return either
