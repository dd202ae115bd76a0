"""Pullbacks, forward rules and Hessian-vector products: checked as the gradients of functions of one number.

A pullback is checked as the gradient of ``<c, op(x)>``, a Hessian-vector product as that of ``<grad(x), v>``, a forward
rule as the derivative of ``<c, op(x + t v)>`` by t.

Before: ``check``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np  # on the host alone: random numbers
from array_api_compat import is_array_api_obj

from mlp_xp._lib.arguments import check_callable, check_whole
from mlp_xp._lib.namespace import detached, is_floating, namespace, to_host
from mlp_xp._lib.typing import Array, Op
from mlp_xp.gradcheck.arrays import from_host, random_direction
from mlp_xp.gradcheck.check import gradcheck
from mlp_xp.gradcheck.contract import linearity_flaws
from mlp_xp.gradcheck.forms import (
    Wirtinger,
    arrays_of,
    as_jvp,
    as_op,
    counterparts,
    fresh,
    in_order_of,
    is_jax_rule,
    leaves,
    numbers_as_arrays,
    one_choice,
    rebuild,
    strings,
)
from mlp_xp.gradcheck.report import Report, TensorReport

_OTHER: dict[bool, Wirtinger] = {True: "conjugate", False: "plain"}

# As many random tangents for each argument: as few, and as sharp, as the random directions of a gradient.
_TANGENTS = 2


def check_pullback(
    op: Op | Any,
    args: Any,
    seed: int = 0,
    *,
    names: Sequence[str] | None = None,
    wirtinger: Wirtinger | None = None,
    **options: Any,
) -> Report:
    """Is the pullback of ``op(*args) -> (value, pullback)`` right? ``d <c, value>`` against ``<pullback(c), d>``.

    Checked as well: the pullback is linear in the cotangent c, takes zero to zero, does not change c, and gives the
    same for a c that lies in memory in another way: sliced, transposed, reversed, expanded from one number.

    Args:
        op: its value is one floating array of any shape, or a container of several; ``pullback(c)``, c as the value and
            None for what is not floating, returns a tuple, one cotangent per argument, or one per argument that holds a
            floating array. Or a subclass of torch.autograd.Function, a jax.custom_vjp or a jax.custom_jvp.
        args: as the params of ``gradcheck``. Arrays of integers and booleans are constants, and so is all that is no
            array; their cotangents are not looked at.
        seed: of the cotangents, and as in ``gradcheck``.
        names: of the floating arrays, or of all arrays, for the report; their paths by default.
        wirtinger: what the cotangent of a complex array ``a + ib`` is: "conjugate", ``d/da + i d/db``, as in PyTorch,
            or "plain", ``d/da - i d/db``, as in JAX. By default "plain" for an op of JAX, else "conjugate".
        options: further keyword arguments of ``gradcheck``.

    Returns:
        The ``Report`` of ``gradcheck``, one row per floating array; two of a complex one.

    Raises:
        TypeError: if op does not return (value, pullback), or its value holds no floating array.
        ValueError: if the pullback returns no tuple, or another number of cotangents; or as ``gradcheck``.

    >>> import numpy as np
    >>> def exp(x):
    ...     y = np.exp(x)
    ...     return y, lambda c: (c * y,)
    >>> check_pullback(exp, (np.asarray([0.5, -1.0, 2.0]),)).ok
    True
    """
    seed = check_whole("seed", seed, 0)
    wirtinger = None if wirtinger is None else one_choice("wirtinger", wirtinger, _OTHER.values())
    if not callable(op):
        raise TypeError(f"op must be a function, got {type(op).__name__}")
    plain = wirtinger == "plain" or (wirtinger is None and is_jax_rule(op))
    op = as_op(op)
    point = _point(args, names)
    value, pullback = _checked(op(*point.args(map(fresh, point.moving))))
    drawn, other = (_draw(value, np.random.default_rng([seed, part])) for part in range(2))

    def f(*arrays: Any) -> Array:
        value, _ = op(*point.args(arrays))
        return _inner(value, drawn)

    def grad(*arrays: Any) -> tuple[Any, ...]:
        value, pullback = op(*point.args(arrays))
        return pulled(value, pullback, _like(value, drawn))  # new arrays each time: the pullback may change them

    def pulled(value: Any, pullback: Callable[[Any], Any], cotangents: Sequence[Any]) -> tuple[Any, ...]:
        given = _conjugate(cotangents) if plain else cotangents
        found = point.cotangents(pullback(_with_none(value, given)))
        return _conjugate(found) if plain else found

    report = gradcheck(f, grad, point.moving, point.names, seed, **options)
    if wirtinger is None and report.verdict == "fail" and any(map(_is_complex, [*point.moving, *_floating_of(value)])):
        other_way = check_pullback(op, args, seed, names=names, wirtinger=_OTHER[plain], **options)
        if other_way.ok:
            report = report._replace(tensors=tuple(_in_other_convention(row, _OTHER[plain]) for row in report.tensors))
    flaws = linearity_flaws(
        namespace(*_floating_of(value)),
        lambda c: point.as_arrays(pulled(value, pullback, c)),
        _like(value, drawn),
        _like(value, other),
    )
    return _renamed(report, "the pullback", flaws)


def _in_other_convention(row: TensorReport, wirtinger: Wirtinger) -> TensorReport:
    if row.verdict != "fail":
        return row
    cause = f"the complex conjugate of what belongs here: if that is meant, check with wirtinger={wirtinger!r}"
    return replace(row, diagnosis=cause, explained=True)


def _renamed(report: Report, rule: str, flaws: Iterable[str]) -> Report:
    """``report`` in the words of the caller, who has an op and its rule and no f and grad, with further ``flaws``."""
    words = {"f": "op", "grad": rule}  # not within a name, such as params['f']
    contract = (re.sub(r"(?<![\w'\"])(f|grad)(?![\w'\"])", lambda m: words[m[0]], each) for each in report.contract)
    return report._replace(contract=(*contract, *flaws))


class _Point(NamedTuple):
    """The arguments of an op.

    given: the arguments themselves.
    names: of the arrays that are differentiated.
    moving: those arrays.
    moves: for each array of the arguments, whether it is differentiated.
    """

    given: tuple[Any, ...]
    names: Sequence[str]
    moving: tuple[Any, ...]
    moves: Sequence[bool]

    def args(self, arrays: Iterable[Any]) -> tuple[Any, ...]:
        """The arguments with other ``arrays`` in the place of those that move; copies of the constant ones."""
        other = iter(arrays)
        every = zip(arrays_of(self.given), self.moves, strict=True)
        return rebuild(self.given, iter([next(other) if m else fresh(x) for x, m in every]))  # type: ignore[no-any-return]

    def cotangents(self, returned: Any) -> tuple[Any, ...]:
        """Those of the arrays that move, of what a pullback returned."""
        moving = [arg for arg in self.given if any(map(_differentiable, arrays_of(arg)))]
        count = len(self.given)
        if isinstance(returned, tuple | list) and len(returned) not in (count, len(moving)):
            returned = [cotangent for cotangent in returned if cotangent is not None]  # of what op binds by itself
        if not isinstance(returned, tuple | list) or len(returned) not in (count, len(moving)):
            kind = f"{len(returned)}" if isinstance(returned, tuple | list) else type(returned).__name__
            raise ValueError(f"pullback must return a tuple of {count} cotangents, one per argument, got {kind}")
        model = self.given if len(returned) == count else tuple(moving)
        found = []
        for path, x, cotangent in counterparts(tuple(returned), model, "args"):
            if not _differentiable(x):
                continue
            if not is_array_api_obj(cotangent) and not (type(cotangent) is float and x.shape == ()):
                raise ValueError(f"pullback must return an array for {path}, got {type(cotangent).__name__}")
            found.append(cotangent)
        return detached(*found)

    def as_arrays(self, cotangents: Iterable[Any]) -> list[Any]:
        """``cotangents`` with an array in the place of a number."""
        pairs = zip(self.moving, cotangents, strict=True)
        return [c if is_array_api_obj(c) else from_host(namespace(x), c, x) for x, c in pairs]


def _point(args: Any, names: Sequence[str] | None) -> _Point:
    """The arguments of ``check_pullback`` and ``check_jvp``; raises ``ValueError`` where nothing can be moved."""
    args = tuple(args) if type(args) in (tuple, list) else (args,)
    found = list(leaves(args, "params"))
    moves = [_differentiable(x, path) for path, x in found]
    if not any(moves):
        held = ", ".join(str(x.dtype) for _, x in found) or "no array"
        raise ValueError(f"args must hold at least one real floating or complex array, got {held}")
    names = [path for path, _ in found] if names is None else strings("names", names)
    if len(names) == len(moves):
        names = [name for name, m in zip(names, moves, strict=True) if m]
    return _Point(args, names, tuple(x for (_, x), m in zip(found, moves, strict=True) if m), moves)


def _differentiable(x: Any, name: str = "the value of op") -> bool:
    """Whether ``x``, with this name in messages, is a real floating or a complex array."""
    xp: Any = namespace(x, names=(name,))
    try:
        return is_floating(xp, x.dtype) or bool(xp.isdtype(x.dtype, "complex floating"))
    except TypeError:  # no numbers, such as JAX's float0
        return False


def _checked(pair: Any) -> tuple[Any, Callable[[Any], Any]]:
    """``pair``, if it is (value, pullback) of a value that holds a floating array."""
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not callable(pair[1]):
        raise TypeError(f"op must return (value, pullback), got {type(pair).__name__}")
    _refuse_value(pair[0], "the value of op")
    return pair[0], pair[1]


def _refuse_value(value: Any, what: str) -> None:
    held = arrays_of(value)
    if not held:
        raise TypeError(f"{what} must be an array, or a container of arrays, got {type(value).__name__}")
    if not _floating_of(value):
        raise TypeError(f"{what} must be real floating, got {', '.join(str(x.dtype) for x in held)}")


# --- values of one or more arrays ----------------------------------------------------------------------------------


def _floating_of(value: Any) -> list[Any]:
    """The outputs that have a gradient."""
    return [x for x in arrays_of(value) if _differentiable(x)]


def _is_complex(x: Any) -> bool:
    xp: Any = namespace(x)
    return bool(xp.isdtype(x.dtype, "complex floating"))


def _draw(value: Any, random: np.random.Generator) -> list[Any]:
    """Host numbers for each floating output."""
    return [
        random.standard_normal(x.shape) + (1j * random.standard_normal(x.shape) if _is_complex(x) else 0.0)
        for x in _floating_of(value)
    ]


def _like(value: Any, drawn: Sequence[Any]) -> list[Any]:
    """The host numbers ``drawn`` as new arrays like the floating outputs."""
    return [from_host(namespace(x), numbers, x) for x, numbers in zip(_floating_of(value), drawn, strict=True)]


def _inner(value: Any, drawn: Sequence[Any]) -> Array:
    """``sum Re(conj(c) y)`` over all floating outputs y, c the host numbers ``drawn``."""
    terms: list[Any] = []
    for y, numbers in zip(_floating_of(value), drawn, strict=True):
        xp: Any = namespace(y)  # of duals, if the function is asked with duals
        parts = [(y, numbers)]
        if _is_complex(y):
            parts = [(xp.real(y), np.real(numbers)), (xp.imag(y), np.imag(numbers))]
        terms += [xp.sum(part * from_host(namespace(part), c, part)) for part, c in parts]
    return sum(terms[1:], start=terms[0])  # type: ignore[no-any-return]


def _with_none(value: Any, arrays: Sequence[Any]) -> Any:
    """``arrays`` in the containers of ``value``, None in the place of everything that is no floating array."""
    other = iter(arrays)
    places = [next(other) if _differentiable(x) else None for x in arrays_of(value)]
    return rebuild(value, iter(places), constants=False)


def _conjugate(arrays: Iterable[Any]) -> tuple[Any, ...]:
    """The complex conjugates of ``arrays``."""

    def conjugate(x: Any) -> Any:
        xp: Any = namespace(x) if is_array_api_obj(x) else None
        return xp.conj(x) if xp is not None and _is_complex(x) else x

    return tuple(map(conjugate, arrays))


# --- forward rules -------------------------------------------------------------------------------------------------


def check_jvp(
    op: Any,
    jvp: Callable[..., Any] | None,
    args: Any,
    seed: int = 0,
    *,
    names: Sequence[str] | None = None,
    **options: Any,
) -> Report:
    """Is ``jvp(args, v)`` the derivative of ``op(*args)`` along v? ``d/dt <c, op(args + t v)>`` against ``<c, jvp>``.

    Each argument is moved along two random tangents v, the others stay; c is random. Checked as well: the rule is
    linear in v, takes zero to zero, does not change v, and does not depend on how v lies in memory.

    Args:
        op: op(*args) -> a floating array of any shape, or a container of several. Or a subclass of
            torch.autograd.Function with a jvp, or a jax.custom_jvp.
        jvp: jvp(args, tangents) -> the tangent of the value, in its containers, or (value, tangent). tangents are as
            args, a tuple, None for an array that is not floating. None if op is of PyTorch or JAX: the rule is its own.
        args: as in ``check_pullback``; real.
        seed: of c and v, and as in ``gradcheck``.
        names: of the floating arrays, or of all arrays, for the report; their paths by default.
        options: further keyword arguments of ``gradcheck``.

    Returns:
        The ``Report`` of ``gradcheck``, one row per floating array. What its entries name are the tangents.

    Raises:
        TypeError: if op does not return a floating array, or has no forward rule.
        ValueError: if jvp returns no tangent like the value; or as ``gradcheck``.

    >>> import numpy as np
    >>> check_jvp(np.sin, lambda x, v: np.cos(x[0]) * v[0], (np.asarray([0.5, -1.0, 2.0]),)).ok
    True
    """
    if jvp is None:
        op, jvp = as_jvp(op)
    if not callable(op) or not callable(jvp):
        which, what = ("op", op) if not callable(op) else ("jvp", jvp)
        raise TypeError(f"{which} must be a function, got {type(what).__name__}")
    rule, seed = jvp, check_whole("seed", seed, 0)
    point = _point(args, names)
    value = op(*point.args(map(fresh, point.moving)))
    _refuse_value(value, "the value of op")
    random = np.random.default_rng(seed)
    drawn = _draw(value, random)
    lines = _Lines(point, [to_host(x) for x in point.moving], [_tangents(x, random) for x in point.moving])

    def pushed(at: tuple[Any, ...], tangents: Sequence[Any]) -> list[Any]:
        given = _with_none(at, tangents)
        return _tangent_like(value, rule(at, given))

    def f(*steps: Any) -> Array:
        return _inner(op(*lines.at(steps)), drawn)

    def grad(*steps: Any) -> tuple[Any, ...]:
        return tuple(lines.slopes(steps, pushed, drawn))

    xp = namespace(*point.moving)
    zeros = tuple(from_host(xp, np.zeros(_TANGENTS), x) for x in point.moving)
    report = gradcheck(f, grad, zeros, point.names, seed, **options)
    one, two = ([from_host(xp, v[k], x) for x, v in zip(point.moving, lines.tangents, strict=True)] for k in range(2))
    flaws = linearity_flaws(
        xp, lambda v: pushed(point.args(map(fresh, point.moving)), v), one, two, ("the forward rule", "tangent")
    )
    return _renamed(report, "the forward rule", flaws)


class _Lines(NamedTuple):
    """Lines through the arguments: each is displaced by ``sum_k t_k v_k``, t an array of its own.

    point: the arguments.
    hosts: the arrays of it that move, on the host.
    tangents: for each of those its v, on the host: (_TANGENTS, *shape).
    """

    point: _Point
    hosts: Sequence[Any]
    tangents: Sequence[Any]

    def at(self, steps: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments, displaced by ``steps``, in the dtype of those."""
        moved = []
        for t, x, vs in zip(steps, self.hosts, self.tangents, strict=True):
            xp = namespace(t)  # of duals, if f is asked with duals
            there = from_host(xp, x, t)
            moved.append(sum((t[k] * from_host(xp, v, t) for k, v in enumerate(vs)), start=there))
        return self.point.args(moved)

    def slopes(self, steps: Sequence[Any], pushed: Callable[..., list[Any]], drawn: Sequence[Any]) -> Iterable[Any]:
        """For each array ``<c, jvp(v_k)>`` over k: (_TANGENTS,)."""
        for i, t in enumerate(steps):
            xp = namespace(t)
            along = []
            for v in self.tangents[i]:
                others = [from_host(xp, np.zeros(np.shape(x)), t) for x in self.hosts]
                others[i] = from_host(xp, v, t)
                along.append(_inner(pushed(self.at(steps), others), drawn))
            yield xp.stack(along)


def _tangents(x: Any, random: np.random.Generator) -> Any:
    xp = namespace(x)
    return np.stack([to_host(random_direction(xp, x, random)) for _ in range(_TANGENTS)])


def _tangent_like(value: Any, returned: Any) -> list[Any]:
    """The tangents of the floating outputs of ``value``, of what a forward rule returned."""
    pair = isinstance(returned, tuple | list) and len(returned) == 2 and returned[1] is not None
    try:
        return _tangents_in(value, returned)
    except ValueError:
        if not pair or is_array_api_obj(returned[1]) != is_array_api_obj(value):
            raise
    return _tangents_in(value, returned[1])  # (value, tangent), as jax.jvp returns


def _tangents_in(value: Any, returned: Any) -> list[Any]:
    """The arrays of ``returned`` in the place of the floating outputs; raises ``ValueError`` where they do not fit."""
    found = []
    for path, x, tangent in counterparts(returned, value, "the value"):
        if not _differentiable(x):
            continue
        came = f"shape {tuple(tangent.shape)}" if is_array_api_obj(tangent) else type(tangent).__name__
        if not is_array_api_obj(tangent) or tuple(tangent.shape) != tuple(x.shape):
            raise ValueError(f"jvp must return a tangent like {path}, an array of shape {tuple(x.shape)}, got {came}")
        found.append(tangent)
    return found


# --- Hessian-vector products ---------------------------------------------------------------------------------------


def check_hvp(grad: Callable[..., Any], hvp: Callable[..., Any], params: Any, seed: int = 0, **options: Any) -> Report:
    """Is ``hvp(params, v)`` the Hessian of a function times v? ``grad`` is that function's gradient, v is random.

    The Hessian-vector product is the gradient of ``<grad(params), v>``.

    Args:
        grad: grad(*params) -> gradients, one per parameter; trusted: check it by ``gradcheck`` first.
        hvp: hvp(params, v) -> products, one per parameter. v is like params, and both come as they were given: a
            tuple, or the one array or container.
        params: as in ``gradcheck``.
        seed: of v, and as in ``gradcheck``.
        options: further keyword arguments of ``gradcheck``.

    Returns:
        The ``Report`` of ``gradcheck``, one row per parameter.

    Raises:
        ValueError: if grad or hvp returns another number of arrays than params hold; or as ``gradcheck``.

    >>> import numpy as np
    >>> check_hvp(lambda x: 3 * x**2, lambda x, v: 6 * x * v, np.asarray([0.5, -1.0, 2.0])).ok  # of sum x^3
    True
    """
    seed = check_whole("seed", seed, 0)
    check_callable("grad", grad, "lambda W: (2 * W,)")
    check_callable("hvp", hvp, "lambda params, v: (2 * v[0],)")
    bare = type(params) not in (tuple, list)
    args = numbers_as_arrays((params,) if bare else tuple(params))
    random = np.random.default_rng(seed)
    drawn = [random.standard_normal(x.shape) for x in arrays_of(args)]

    def vectors(arrays: Iterable[Array]) -> list[Array]:
        # new arrays each time: hvp may change them
        return [from_host(namespace(x), numbers, x) for x, numbers in zip(arrays, drawn, strict=True)]

    def f(*at: Any) -> Array:
        arrays, gradients = arrays_of(at), arrays_of(in_order_of(grad(*at), at[0] if bare else at))
        if len(gradients) != len(arrays):
            raise ValueError(f"grad must return {len(arrays)} gradients, one per parameter, got {len(gradients)}")
        xp = namespace(*arrays)
        first, *rest = [xp.sum(g * v) for g, v in zip(gradients, vectors(arrays), strict=True)]
        return sum(rest, start=first)

    def products(*at: Any) -> Any:
        v = rebuild(at, iter(vectors(arrays_of(at))))
        found = hvp(at[0], v[0]) if bare else hvp(at, v)
        came = len(arrays_of(in_order_of(found, at[0] if bare else at)))
        if came != len(drawn) or not (bare or isinstance(found, tuple | list)):
            what = f"{came}" if isinstance(found, tuple | list) else type(found).__name__
            raise ValueError(f"hvp must return {len(drawn)} products, one per parameter, got {what}")
        return found

    return gradcheck(f, products, params, seed=seed, **options)
