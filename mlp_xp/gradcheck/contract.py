"""What a gradient function owes besides the right numbers, each broken promise with a sentence of its own.

It is repeatable, depends on its arguments alone, changes nothing, and returns arrays like its parameters, finite and
its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np  # for the host's random numbers alone

from mlp_xp._lib.namespace import device_kwargs, device_of, namespace, on_one_device
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.local import number, random_direction

# Two runs of one reduction in another order differ by roundings; two draws of a mask differ by a share of the gradient.
_REORDERED = 1e4


def leaf_flaw(param: Array, gradient: Any) -> str:
    """Why ``gradient`` can't be a gradient of ``param``, or nothing."""
    xp = namespace(param)
    try:
        namespace(param, gradient)
    except TypeError:
        return f"the gradient is a {type(gradient).__name__}, the parameter a {type(param).__name__}"
    if tuple(gradient.shape) != tuple(param.shape):
        return f"the gradient has shape {tuple(gradient.shape)}, the parameter {tuple(param.shape)}"
    if gradient.dtype != param.dtype:
        return f"the gradient has dtype {gradient.dtype}, the parameter {param.dtype}"
    if not on_one_device(gradient, param):
        return f"the gradient is on device {device_of(gradient)}, the parameter on {device_of(param)}"
    if gradient is param and math.prod(param.shape):
        return "the gradient is the parameter itself, not an array of its own"
    if not bool(xp.all(xp.isfinite(gradient))):
        return "the gradient has entries that are NaN or infinite"
    return ""


def behaviour_flaws(
    f: Callable[..., Any],
    grad: Callable[..., Sequence[Array]],
    params: tuple[Array, ...],
    returned: Sequence[Array],
    first: Sequence[Array],
    names: Sequence[str],
    seed: int,
) -> str:
    """What ``grad`` does that no gradient function should, in a sentence, or nothing.

    Args:
        f, grad: on flat arrays.
        params: the point; ``grad`` is given copies of it.
        returned: what grad(*params) returned.
        first: copies of that.
        names: of the parameters.
        seed: of another point, for which grad is asked in between.
    """
    xp = namespace(*params)
    epsilon = max(float(xp.finfo(p.dtype).eps) for p in params)
    copies = tuple(copied(xp, p) for p in params)
    again = grad(*copies)
    for name, copy, param in zip(names, copies, params, strict=True):
        if not _equal(xp, copy, param):
            return f"grad changes {name} in place"
    one, two = number(f(*params)), number(f(*params))
    if abs(one - two) > _REORDERED * epsilon * max(abs(one), abs(two)):
        return "f is not repeatable: two calls with the same arguments differ; fix the seed of what it draws"
    spread = _distance(xp, first, again)
    if spread:
        size = max(_largest(xp, first), _largest(xp, again))
        share = spread / size if size else 0.0
        if share > _REORDERED * epsilon:
            twice = [2.0 * gradient for gradient in first]
            if _distance(xp, twice, again) <= _REORDERED * epsilon * size:
                return "grad adds to what it returned before: gradients accumulate, and must start from zero each time"
            return (
                f"grad is not repeatable: two calls with the same arguments differ by {share:.1g} of the largest entry;"
                " something is drawn afresh, such as a dropout mask without a fixed seed"
            )
        return ""  # a reduction in another order: what follows measures it as rounding
    random = np.random.default_rng(seed)
    elsewhere = tuple(p + 0.1 * random_direction(xp, p, random) for p in params)
    f(*elsewhere)
    if _distance(xp, first, grad(*params)):
        return "grad depends on the last call of f: it uses what was cached at other arguments, a stale cache"
    grad(*elsewhere)
    overwritten = not all(_equal(xp, a, b) for a, b in zip(returned, first, strict=True))  # before A comes again
    if _distance(xp, first, grad(*params)):
        return "grad depends on its last call: it keeps something of other arguments, a stale cache"
    if overwritten:
        return "grad returns the same arrays at every call and overwrites them: each call must return arrays of its own"
    last = tuple(copied(xp, p) for p in params)
    for name, param, gradient in zip(names, last, grad(*last), strict=True):
        if _shares_memory(xp, param, gradient):
            return f"the gradient of {name} shares memory with it: an update in place of the one changes the other"
    if all(_written(param, value) for param, value in zip(last, elsewhere, strict=True)):  # as an update in place does
        here, afresh = grad(*last), grad(*(copied(xp, p) for p in elsewhere))
        if _distance(xp, here, afresh) > _REORDERED * epsilon * max(_largest(xp, here), _largest(xp, afresh)):
            return "grad does not see that its arguments were changed in place: it caches by which arrays they are"
    return ""


def _shares_memory(xp: Namespace, param: Array, gradient: Array) -> bool:
    """Whether writing to ``param`` changes ``gradient``: no question about memory is common to all libraries."""
    before = copied(xp, gradient)
    # an array that can't be written to may be shared
    return _written(param, xp.ones_like(param) - param) and not _equal(xp, before, gradient)


def _written(param: Array, value: Array) -> bool:
    """Whether ``param`` could be filled with ``value``: not every library's arrays can be."""
    try:
        param[...] = value  # type: ignore[index]
    except Exception:  # whatever a library raises
        return False
    return True


def copied(xp: Namespace, x: Array) -> Array:
    """``x`` over again, for a function that may change it."""
    return xp.asarray(x, copy=True, **device_kwargs(x))


def _equal(xp: Namespace, a: Array, b: Array) -> bool:
    return bool(xp.all(a == b))


def _distance(xp: Namespace, a: Sequence[Array], b: Sequence[Array]) -> float:
    return max(float(xp.max(xp.abs(p - q))) if 0 not in p.shape else 0.0 for p, q in zip(a, b, strict=True))


def _largest(xp: Namespace, arrays: Sequence[Array]) -> float:
    return max(float(xp.max(xp.abs(a))) if 0 not in a.shape else 0.0 for a in arrays)


def linearity_flaws(xp: Namespace, pullback: Callable[[Array], Sequence[Array]], one: Array, other: Array) -> list[str]:
    """Sentences about a pullback that is not linear in its cotangent, takes zero to something else, or changes it."""
    flaws = []
    given = copied(xp, one)
    pullback(given)
    if not _equal(xp, given, one):
        flaws.append("the pullback changes its cotangent in place")
    if _largest(xp, pullback(xp.zeros_like(one))) != 0.0:
        flaws.append("the pullback does not take a zero cotangent to zero")
    a, b, both = pullback(copied(xp, one)), pullback(copied(xp, other)), pullback(one + 2.0 * other)
    total = [p + 2.0 * q for p, q in zip(a, b, strict=True)]
    if _distance(xp, both, total) > _REORDERED * float(xp.finfo(one.dtype).eps) * max(_largest(xp, a), _largest(xp, b)):
        flaws.append("the pullback is not linear in the cotangent")
    return flaws
