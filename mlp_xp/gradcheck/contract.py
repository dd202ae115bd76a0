"""What a gradient function owes besides the right numbers, each broken promise with a sentence of its own.

It is repeatable, depends on its arguments alone, changes nothing, and returns arrays like its parameters, finite and
its own.

Before: ``forms`` makes functions of flat arrays. Next: ``local`` and ``evidence`` look at the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np  # on the host alone: random numbers

from mlp_xp._lib.namespace import device_of, namespace, on_one_device
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.arrays import copied, distance, largest, random_direction
from mlp_xp.gradcheck.forms import Arrays, Flat
from mlp_xp.gradcheck.local import number

# Two runs of one reduction in another order differ by roundings; two draws of a mask differ by a share of the gradient.
_REORDERED = 1e4


class Answer(NamedTuple):
    """The first answer of a gradient function.

    gradients: copies of the arrays that it returned; none if some of them have a flaw.
    flaws: for each array, why it can't be a gradient of its parameter, or "".
    broken: the promise that the function breaks, as a sentence, or "".
    """

    gradients: Arrays
    flaws: Sequence[str]
    broken: str = ""


def first_answer(flat: Flat, seed: int) -> Answer:
    """What ``flat.grad`` returns at ``flat.arrays``, and how it behaves when asked again, there and elsewhere."""
    xp = namespace(*flat.arrays)
    given = copied(xp, *flat.arrays)
    returned = flat.grad(*given)
    flaws = [leaf_flaw(array, gradient) for array, gradient in zip(given, returned, strict=True)]
    if any(flaws):
        return Answer((), flaws)
    first = copied(xp, *returned)  # grad may hand out the same arrays at every call
    given = copied(xp, *flat.arrays)
    again = flat.grad(*given)
    broken = _changed_argument(xp, flat, given) or _unrepeatable_function(xp, flat)
    broken = broken or _unrepeatable_gradient(xp, first, again)
    if not broken and not distance(xp, first, again):  # else no later answer can be compared to the last bit
        random = np.random.default_rng(seed)
        elsewhere = tuple(x + 0.1 * random_direction(xp, x, random) for x in flat.arrays)
        broken = _stale_cache(xp, flat, elsewhere, returned, first) or _shared_arrays(xp, flat, elsewhere)
    return Answer(first, flaws, broken)


def leaf_flaw(param: Array, gradient: Any) -> str:
    """Why ``gradient`` can't be a gradient of ``param``, or ""."""
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


# Each of these returns a sentence, or "" if the promise is kept.


def _changed_argument(xp: Namespace, flat: Flat, given: Sequence[Array]) -> str:
    """Whether grad wrote to its arguments, ``given``."""
    changed = [name for name, x, y in zip(flat.names, given, flat.arrays, strict=True) if not _equal(xp, x, y)]
    return f"grad changes {changed[0]} in place" if changed else ""


def _unrepeatable_function(xp: Namespace, flat: Flat) -> str:
    """Whether f draws something afresh."""
    one, two = number(flat.f(*flat.arrays)), number(flat.f(*flat.arrays))
    if abs(one - two) > _reordered(xp, flat.arrays) * max(abs(one), abs(two)):
        return "f is not repeatable: two calls with the same arguments differ; fix the seed of what it draws"
    return ""


def _unrepeatable_gradient(xp: Namespace, first: Sequence[Array], again: Sequence[Array]) -> str:
    """Why two answers at the same arguments differ; "" if by roundings: the evidence measures these as noise."""
    size = largest(xp, *first, *again)
    share = distance(xp, first, again) / size if size else 0.0
    allowed = _reordered(xp, first)
    if not share > allowed:
        return ""
    if distance(xp, [2.0 * gradient for gradient in first], again) <= allowed * size:
        return "grad adds to what it returned before: gradients accumulate, and must start from zero each time"
    differ = f"two calls with the same arguments differ by {share:.1g} of the largest entry"
    return f"grad is not repeatable: {differ}; something is drawn afresh, such as a dropout mask without a fixed seed"


def _stale_cache(xp: Namespace, flat: Flat, elsewhere: Arrays, returned: Arrays, first: Arrays) -> str:
    """Whether grad uses what f or grad itself kept of its last call, or overwrites what it ``returned``."""
    flat.f(*elsewhere)
    if distance(xp, first, flat.grad(*flat.arrays)):
        return "grad depends on the last call of f: it uses what was cached at other arguments, a stale cache"
    flat.grad(*elsewhere)
    # asked before grad is called at the point again, which would write the right numbers over them
    overwritten = not all(_equal(xp, a, b) for a, b in zip(returned, first, strict=True))
    if distance(xp, first, flat.grad(*flat.arrays)):
        return "grad depends on its last call: it keeps something of other arguments, a stale cache"
    if overwritten:
        return "grad returns the same arrays at every call and overwrites them: each call must return arrays of its own"
    return ""


def _shared_arrays(xp: Namespace, flat: Flat, elsewhere: Arrays) -> str:
    """Whether gradients share memory with parameters, or grad takes arrays changed in place for the same arguments."""
    given = copied(xp, *flat.arrays)
    for name, param, gradient in zip(flat.names, given, flat.grad(*given), strict=True):
        (before,) = copied(xp, gradient)
        # no question about memory is common to all libraries; an array that can't be written to may be shared
        if _written(param, xp.ones_like(param) - param) and not _equal(xp, before, gradient):
            return f"the gradient of {name} shares memory with it: an update in place of the one changes the other"
    if all(_written(param, value) for param, value in zip(given, elsewhere, strict=True)):  # as an update in place does
        here, afresh = flat.grad(*given), flat.grad(*copied(xp, *elsewhere))
        if distance(xp, here, afresh) > _reordered(xp, given) * largest(xp, *here, *afresh):
            return "grad does not see that its arguments were changed in place: it caches by which arrays they are"
    return ""


def linearity_flaws(
    xp: Namespace, pullback: Callable[[Array], Sequence[Array]], one: Array, other: Array
) -> Iterator[str]:
    """Sentences about a pullback that is not linear in its cotangent, takes zero to something else, or changes it."""
    (given,) = copied(xp, one)
    pullback(given)
    if not _equal(xp, given, one):
        yield "the pullback changes its cotangent in place"
    if largest(xp, *pullback(xp.zeros_like(one))) != 0.0:
        yield "the pullback does not take a zero cotangent to zero"
    a, b, both = map(pullback, (*copied(xp, one, other), one + 2.0 * other))
    total = [p + 2.0 * q for p, q in zip(a, b, strict=True)]
    if distance(xp, both, total) > _reordered(xp, [one]) * largest(xp, *a, *b):
        yield "the pullback is not linear in the cotangent"


def _reordered(xp: Namespace, arrays: Sequence[Array]) -> float:
    """How far two runs of one computation in these dtypes may differ, relative."""
    return _REORDERED * max(float(xp.finfo(x.dtype).eps) for x in arrays)


def _written(param: Array, value: Array) -> bool:
    """Whether ``param`` could be filled with ``value``: the arrays of some libraries can't be written to."""
    try:
        param[...] = value  # type: ignore[index]
    except Exception:  # whatever a library raises
        return False
    return True


def _equal(xp: Namespace, a: Array, b: Array) -> bool:
    return bool(xp.all(a == b))
