"""What a gradient function owes besides the right numbers, each broken promise with a sentence of its own.

It is repeatable, depends on its arguments alone, changes nothing, and returns arrays like its parameters, finite and
its own. So is its function. Exceptions at the parameters are the caller's; at any other point, nearer ones are tried.

Before: ``forms`` makes functions of flat arrays. Next: ``local`` and ``evidence`` look at the numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np  # on the host alone: random numbers, and views of what lies in its memory

from mlp_xp._lib.namespace import detached, device_of, kind_of, namespace, on_one_device, sparse_layout
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.arrays import copied, distance, largest, random_direction
from mlp_xp.gradcheck.forms import Arrays, Flat, is_masked
from mlp_xp.gradcheck.local import number

# Two runs of one reduction in another order differ by roundings; two draws of a mask differ by a share of the gradient.
_REORDERED = 1e4

# How far from the parameters something kept of another point is looked for: nearer where f or grad raises.
_ASIDE = (0.1, 1e-2, 1e-3, 1e-4)

# So many values that are drawn at random rise or fall throughout less than once in a thousand times.
_DRAWN = 7

# The most steps taken to find out whether two arrays have an entry in common.
_OVERLAP_STEPS: Any = 100_000

_BOTH_CHANGE = "an update in place of the one changes the other"


class Answer(NamedTuple):
    """The first answer of a gradient function.

    gradients: copies of the arrays that it returned; none if some of them have a flaw.
    flaws: for each array, why it can't be a gradient of its parameter, or "".
    broken: the promise that the function, or its gradient function, breaks, as a sentence, or "".
    notes: sentences about arrays that are right, but not safe to update in place.
    """

    gradients: Arrays
    flaws: Sequence[str]
    broken: str = ""
    notes: Sequence[str] = ()


def first_answer(flat: Flat, seed: int) -> Answer:
    """What ``flat.grad`` returns at ``flat.arrays``, and how it and f behave when asked again, there and elsewhere."""
    xp = namespace(*flat.arrays)
    given = flat.held.hand(flat.arrays)
    returned = flat.grad_on(given)
    flaws = [leaf_flaw(array, gradient) for array, gradient in zip(_parts(flat, given), returned, strict=True)]
    if any(flaws):
        return Answer((), flaws)
    first = copied(xp, *returned)  # grad may hand out the same arrays at every call
    given_again = flat.held.hand(flat.arrays)
    again = copied(xp, *flat.grad_on(given_again))
    given_f = flat.held.hand(flat.arrays)
    value = number(flat.f.on(given_f))
    for who, handed in (("f", given_f), ("grad", given), ("grad", given_again)):  # grad may well call f
        if changed := _changed(flat, handed):
            return Answer(first, flaws, f"{who} changes {changed[0]} in place")
    calls = _interrupted(flat, seed, returned, first)
    broken = _unrepeatable_function(flat, value, calls) or _unrepeatable_gradient(xp, first, again)
    # where rounding differs from call to call, no later answer can be compared to the last bit
    allowed = _reordered(xp, first) * largest(xp, *first) if distance(xp, first, again) else 0.0
    if calls and not broken:
        broken = _stale_cache(flat, first, calls, allowed) or _shared_arrays(flat, calls)
    return Answer(first, flaws, broken, () if broken else tuple(_not_its_own(flat, returned)))


class _Calls(NamedTuple):
    """Answers in this order: of grad and f at another point, ``elsewhere``, of grad and f at the parameters.

    there: of grad, elsewhere.
    overwritten: whether that changed the arrays that grad had returned before.
    after_f: of grad at the parameters, right after f was called elsewhere.
    value: of f at the parameters, after that.
    """

    elsewhere: Arrays
    there: Arrays
    overwritten: bool
    after_f: Arrays
    value: float


def _interrupted(flat: Flat, seed: int, returned: Arrays, first: Arrays) -> _Calls | None:
    """Calls that another point interrupts; None if f or grad is defined at none of the points nearby."""
    xp, random = namespace(*flat.arrays), np.random.default_rng(seed)
    directions = [random_direction(xp, x, random) for x in flat.arrays]
    for far in _ASIDE:
        elsewhere = tuple(x + far * d for x, d in zip(flat.arrays, directions, strict=True))
        try:
            there = copied(xp, *flat.grad(*elsewhere))
            defined = math.isfinite(number(flat.f(*elsewhere))) and math.isfinite(largest(xp, *there))
        except Exception:  # outside the domain of f or grad, either may raise anything
            continue
        if defined:
            # asked before grad is called at the parameters again, which would write the right numbers over them
            overwritten = not all(_equal(xp, a, b) for a, b in zip(returned, first, strict=True))
            after_f = copied(xp, *flat.grad(*flat.arrays))
            return _Calls(elsewhere, there, overwritten, after_f, number(flat.f(*flat.arrays)))
    return None


def _parts(flat: Flat, handed: Sequence[Any]) -> Arrays:
    """The real arrays that make up what was handed over: for a real array the very same."""
    return flat.held.split(handed)


def leaf_flaw(param: Array, gradient: Any) -> str:
    """Why ``gradient`` can't be a gradient of ``param``, or ""."""
    if is_masked(gradient):
        return "the gradient is a masked array; return a plain one, with zeros in the place of what is masked"
    xp = namespace(param)
    try:
        namespace(param, gradient)
    except TypeError:
        return f"the gradient is a {kind_of(gradient)}, the parameter a {kind_of(param)}"
    if layout := sparse_layout(gradient):
        return f"the gradient is sparse ({layout}); return a dense array"
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


def _changed(flat: Flat, handed: Sequence[Any]) -> list[str]:
    """The names of the arrays among ``handed`` that are no longer as they were handed over."""
    before = flat.held.hand(flat.arrays)
    return [
        name
        for name, x, y in zip(flat.held.names, handed, before, strict=True)
        if tuple(x.shape) != tuple(y.shape) or not _equal(namespace(y), x, y)
    ]


def _unrepeatable_function(flat: Flat, value: float, calls: _Calls | None) -> str:
    """Whether f draws something afresh, or keeps something that its next value depends on."""
    xp = namespace(*flat.arrays)
    second = calls.value if calls else number(flat.f(*flat.arrays))

    def differ(a: float, b: float) -> bool:
        return abs(a - b) > _reordered(xp, flat.arrays) * max(abs(a), abs(b))

    if not differ(value, second):
        return ""
    values = [number(flat.f(*flat.arrays)) for _ in range(_DRAWN)]
    if not any(differ(a, b) for a, b in itertools.pairwise(values)):
        return "f keeps something of its last call: its value at the same arguments depends on the call before"
    if values in (sorted(values), sorted(values, reverse=True)):
        moves = (
            "its value at the same arguments moves the same way with every call, as with a running mean or a counter"
        )
        return f"f keeps something of its last call: {moves}"
    return "f is not repeatable: two calls with the same arguments differ; fix the seed of what it draws"


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


def _stale_cache(flat: Flat, first: Arrays, calls: _Calls, allowed: float) -> str:
    """Whether grad uses what f or grad itself kept of its last call, or overwrites what it returned."""
    xp = namespace(*flat.arrays)
    there = copied(xp, *flat.grad(*calls.elsewhere))
    after_grad = copied(xp, *flat.grad(*flat.arrays))
    for came in (calls.after_f, after_grad):
        if distance(xp, first, came) > allowed:
            return _depends(flat, first, calls.elsewhere, came, allowed)
    if distance(xp, calls.there, there) > allowed:  # after a call of grad elsewhere, and after one of f
        return f"grad depends on its last call{_stale(xp, calls.there, first)}"
    if calls.overwritten:
        return "grad returns the same arrays at every call and overwrites them: each call must return arrays of its own"
    return ""


def _depends(flat: Flat, first: Arrays, elsewhere: Arrays, came: Arrays, allowed: float) -> str:
    """The sentence on a gradient, ``came``, that another point changed: through which function, and how."""
    xp = namespace(*flat.arrays)
    for _ in range(2):  # the first of the two may be late by one call
        flat.f(*flat.arrays)
        flat.grad(*flat.arrays)
    flat.f(*elsewhere)
    by_f = distance(xp, first, flat.grad(*flat.arrays)) > allowed
    flat.f(*elsewhere)
    flat.grad(*elsewhere)  # which may still depend on the call before
    there = flat.grad(*elsewhere)
    return f"grad depends on {'the last call of f' if by_f else 'its last call'}{_stale(xp, came, there)}"


def _stale(xp: Namespace, came: Arrays, other: Arrays) -> str:
    """The end of a sentence: whether ``came`` is ``other``, the gradient at another point, or a mixture."""
    if distance(xp, came, other) <= _reordered(xp, came) * largest(xp, *came):
        return ": it returns the gradient at the arguments of that call, a stale cache"
    return ": something of other arguments is mixed into the gradient at these"


def _shared_arrays(flat: Flat, calls: _Calls) -> str:
    """Whether gradients share memory with parameters, or grad takes arrays changed in place for the same arguments."""
    xp = namespace(*flat.arrays)
    given = flat.held.hand(flat.arrays)
    gradients = flat.grad_on(given)
    for name, param in zip(flat.held.names, given, strict=True):
        before = copied(xp, *gradients)
        # no question about memory is common to all libraries; an array that can't be written to may be shared
        if not _written(param, xp.ones_like(param) - param):
            continue
        for other, x, y in zip(flat.names, before, gradients, strict=True):
            if not _equal(xp, x, y):
                whom = "it" if other in (name, f"{name}.real", f"{name}.imag") else name
                return f"the gradient of {other} shares memory with {whom}: {_BOTH_CHANGE}"
    values = flat.held.hand(calls.elsewhere)
    if all(_written(param, value) for param, value in zip(given, values, strict=True)):  # as an update in place does
        here, afresh = flat.grad_on(given), flat.grad(*calls.elsewhere)
        if distance(xp, here, afresh) > _reordered(xp, flat.arrays) * largest(xp, *here, *afresh):
            return "grad does not see that its arguments were changed in place: it caches by which arrays they are"
    return ""


# --- right, but not its own --------------------------------------------------------------------------------------


def _not_its_own(flat: Flat, returned: Arrays) -> Iterator[str]:
    """Sentences on gradients that an update in place would spoil: shared, kept, or not to be written to.

    ``returned`` came from an earlier call. Nothing is written here: the memory may be the caller's.
    """
    xp, gradients = namespace(*flat.arrays), flat.grad(*flat.arrays)
    (trial,) = copied(xp, flat.arrays[0])
    if not _written(trial, trial):
        return  # no array of this library can be updated in place
    for i, (name, gradient) in enumerate(zip(flat.names, gradients, strict=True)):
        view = _memory(gradient)
        if view is not None and (not view.flags.writeable or 0 in _strides(view)):
            yield f"the gradient of {name} can't be updated in place: it is read-only or a broadcast view"
        for other, earlier in zip(flat.names[:i], gradients, strict=False):
            if _overlap(earlier, gradient):
                yield f"the gradients of {other} and {name} share memory: {_BOTH_CHANGE}"
        if _overlap(returned[i], gradient):
            yield f"the gradient of {name} is the same array at every call: an update in place changes the next answer"


def _memory(x: Any) -> Any:
    """``x`` as a NumPy view of the same memory; None where NumPy can't see it, and for a NumPy scalar.

    Of memory on a device only the addresses count: nothing may be read from the view.
    """
    if isinstance(x, np.ndarray | np.generic):
        return x if isinstance(x, np.ndarray) else None
    try:
        (array,) = detached(x)
        there = getattr(array, "__cuda_array_interface__", None)
        return np.from_dlpack(x) if there is None else np.asarray(SimpleNamespace(__array_interface__=there))
    except Exception:  # whatever a library raises for another device, or a dtype that NumPy lacks
        return None


def _strides(view: Any) -> list[int]:
    return [stride for stride, length in zip(view.strides, view.shape, strict=True) if length > 1]


def _overlap(a: Array, b: Array) -> bool:
    """Whether two arrays have an entry in common; where NumPy can't see the memory, whether they are one array."""
    one, other = _memory(a), _memory(b)
    if one is None or other is None:
        return a is b and not isinstance(a, np.generic) and bool(math.prod(a.shape))
    try:
        return bool(np.shares_memory(one, other, max_work=_OVERLAP_STEPS))
    except np.exceptions.TooHardError:
        return False


# --- linear rules ------------------------------------------------------------------------------------------------


def linearity_flaws(
    xp: Namespace,
    rule: Callable[[Sequence[Array]], Sequence[Array]],
    one: Sequence[Array],
    other: Sequence[Array],
    words: tuple[str, str] = ("the pullback", "cotangent"),
) -> Iterator[str]:
    """Sentences about a rule that is not linear, takes zero to something else, changes what it is given, or reads how
    that lies in memory.

    Args:
        xp: the namespace of the arrays.
        rule: a pullback of the cotangents of all outputs, or a forward rule of the tangents of all inputs.
        one: what to give it.
        other: something else of the same shapes.
        words: what the rule is, and what it is given.
    """
    who, what = words
    given = copied(xp, *one)
    rule(given)
    changes = not all(_equal(xp, a, b) for a, b in zip(given, one, strict=True))
    if changes:
        yield f"{who} changes its {what} in place"
    try:
        of_zero = largest(xp, *rule([xp.zeros_like(x) for x in one]))
        a, b = (copied(xp, *rule(copied(xp, *arrays))) for arrays in (one, other))
        both = rule([x + 2.0 * y for x, y in zip(one, other, strict=True)])
    except Exception as error:
        yield f"{who} raises for another {what}: {_first_line(error)}"
        return
    if of_zero != 0.0:
        yield f"{who} does not take a zero {what} to zero"
    total = [p + 2.0 * q for p, q in zip(a, b, strict=True)]
    if distance(xp, both, total) > _reordered(xp, one) * largest(xp, *a, *b):
        yield f"{who} is not linear in the {what}"
    for layout, arrange in () if changes else _LAYOUTS.items():
        try:
            arranged = [arrange(xp, x, y) for x, y in zip(one, other, strict=True)]
            for x in arranged:
                x if x.ndim < 2 else x @ xp.matrix_transpose(_contiguous(xp, x))
        except Exception:  # a library that can't lay it out so, or has no product of it, can't be asked
            continue
        if problem := _in_memory(xp, rule, arranged):
            yield f"{who} reads how its {what} lies in memory: for one that is {layout} it {problem}"


def _in_memory(xp: Namespace, rule: Callable[[Sequence[Array]], Sequence[Array]], arranged: Sequence[Array]) -> str:
    """What goes wrong where only the layout in memory of ``arranged`` is unusual; "" if nothing does."""
    expected = copied(xp, *rule([_contiguous(xp, x) for x in arranged]))
    try:
        came = rule(arranged)
        if distance(xp, came, expected) <= _reordered(xp, arranged) * largest(xp, *expected):
            return ""
    except Exception as error:
        return f"raises {_first_line(error)}"
    return "returns other numbers than for a contiguous copy"


def _contiguous(xp: Namespace, x: Array) -> Array:
    """A copy in C order: flattening a view in another order writes its entries one after the other."""
    return xp.reshape(copied(xp, xp.reshape(x, (-1,)))[0], x.shape)


def _sliced(xp: Any, x: Any, other: Any) -> Any:
    """``x`` as every second entry of a wider array, with numbers of ``other`` between."""
    if not x.ndim:
        return x
    return xp.reshape(xp.stack([x, other], axis=-1), (*x.shape[:-1], 2 * x.shape[-1]))[..., ::2]


def _transposed(xp: Any, x: Any, other: Any) -> Any:
    """``x`` as the transpose of an array in C order: in Fortran order, if it is a matrix."""
    return xp.matrix_transpose(_contiguous(xp, xp.matrix_transpose(x))) if x.ndim > 1 else x


def _reversed(xp: Any, x: Any, other: Any) -> Any:
    """``x`` as the reverse of an array, with a negative stride where a library has them."""
    return xp.flip(_contiguous(xp, xp.flip(x, axis=-1)), axis=-1) if x.ndim else x


def _expanded(xp: Any, x: Any, other: Any) -> Any:
    """The first number of ``x`` in every place, as the backward pass of a sum hands it on."""
    (first,) = copied(xp, x[(slice(1),) * x.ndim])
    return xp.broadcast_to(first, x.shape) if x.ndim and math.prod(x.shape) else x


_LAYOUTS = {
    "sliced with a step": _sliced,
    "transposed": _transposed,
    "reversed": _reversed,
    "expanded from one number": _expanded,
}


def _first_line(error: Exception) -> str:
    message = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}{f': {message}' if message else ''}"


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
    """Whether all entries are the same; NaN, such as one that masks an entry, equals NaN."""
    return bool(xp.all((a == b) | ((a != a) & (b != b))))
