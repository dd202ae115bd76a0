"""The forms in which people hold a function and its backward pass, turned into functions of a flat tuple of arrays.

A library is imported only once an object of it is given.

Next: ``check`` flattens what it was given by ``flattened``, and takes pullbacks by ``as_op``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np  # on the host alone: its scalars, and zeros without a tangent
from array_api_compat import is_array_api_obj

from mlp_xp._lib.arguments import as_tuple, described, one_of
from mlp_xp._lib.namespace import device_kwargs, is_floating, namespace, persisted, refuse_unlike, sparse_layout
from mlp_xp._lib.typing import Array, Op
from mlp_xp.gradcheck.arrays import copied, dtype_name

_T = TypeVar("_T")

Arrays: TypeAlias = tuple[Array, ...]

Gradient: TypeAlias = Callable[..., Arrays]
"""``grad(*arrays)`` -> a tuple of gradients, one per array."""

Wirtinger: TypeAlias = Literal["conjugate", "plain"]
"""The gradient of a real function f of a complex ``z = a + ib``.

"conjugate": ``2 df/d(conj z) = df/da + i df/db``, the direction of steepest ascent, as PyTorch and TensorFlow have it.
"plain": ``2 df/dz = df/da - i df/db``, as JAX and HIPS autograd have it.
"""

EXAMPLE = "lambda W, b: xp.sum(W**2) + xp.sum(b)"
"""A function of arrays, for messages."""

COMPLEX = {"float32": "complex64", "float64": "complex128"}
"""The names of the complex dtypes, by those of their parts."""


class CountedFunction:
    """``f`` of flat real arrays, and the number of points it was asked for: a vectorised call counts by its width.

    ``f`` is handed copies, made by ``hand``: what it does to them changes nothing of the caller's, nor of ours.

    refusals: what f or grad raised at points that the checker chose.
    kept: whether f keeps something of a call, such as a running mean or a history.
    plain: whether f returned a Python float, which carries neither a tangent nor an imaginary part.
    """

    def __init__(self, f: Callable[..., Any], hand: Callable[[Sequence[Any]], Sequence[Any]] | None = None) -> None:
        self.f, self.hand, self.count = f, hand or (lambda arrays: [fresh(x) for x in arrays]), 0
        self.refusals: list[str] = []
        self.kept = self.plain = False

    def __call__(self, *arrays: Any, width: int = 1) -> Any:
        return self.on(self.hand(arrays), width)

    def on(self, handed: Sequence[Any], width: int = 1) -> Any:
        """``f`` of what ``hand`` made, without another copy."""
        self.count += width
        value = self.f(*handed)
        self.plain = type(value) is float
        return _detached(value)

    def tried(self, asked: Callable[[], _T], otherwise: _T) -> _T:
        """``asked()``, or ``otherwise`` where it raises: a point that the checker chose may lie outside the domain."""
        try:
            return asked()
        except Exception as error:  # of whatever kind: the caller's code
            self.refusals.append(f"{type(error).__name__}: {error}")
            return otherwise


class Held(NamedTuple):
    """The caller's arrays, and how they become flat real ones: a complex array is two, its real and imaginary part.

    names: of the caller's arrays.
    complex: which of them are complex.
    tracked: which of them ask PyTorch for gradients, so that copies of them do too.
    """

    names: tuple[str, ...]
    complex: tuple[bool, ...]
    tracked: tuple[bool, ...]

    def hand(self, arrays: Sequence[Any]) -> list[Any]:
        """Flat real ``arrays`` as new arrays of the caller's kinds, for a function that may change them."""
        flat, handed = iter(arrays), []
        for is_complex, tracked in zip(self.complex, self.tracked, strict=True):
            x: Any = _joined(next(flat), next(flat)) if is_complex else fresh(next(flat))
            handed.append(x.requires_grad_() if tracked and hasattr(x, "requires_grad_") else x)
        return handed

    def split(self, arrays: Sequence[Any], conjugate: bool = True) -> Arrays:
        """The caller's ``arrays``, or gradients of them, as flat real arrays.

        ``conjugate``: whether the imaginary part of a gradient is the derivative by the imaginary part, not its
        negative.
        """
        flat: list[Any] = []
        for name, is_complex, x in zip(self.names, self.complex, arrays, strict=True):
            x = _plain(x)
            if not is_complex:
                flat.append(x)
                continue
            xp: Any = namespace(x)
            if not xp.isdtype(x.dtype, "complex floating"):
                raise TypeError(f"the gradient of {name} must be complex, as {name} is, got {x.dtype}")
            flat += [xp.real(x), xp.imag(x) if conjugate else -xp.imag(x)]
        return tuple(flat)


class Flat(NamedTuple):
    """A function and its gradient at a point, without the caller's containers.

    names: of the arrays; their paths by default.
    arrays: the point, in the parameters' own dtypes; real.
    f: f(*arrays) -> 0-d.
    grad: the gradient function.
    flatten: makes such a ``grad`` of any gradient function, with its name, of the caller's containers.
    held: the caller's arrays; f and grad are handed what ``held.hand(arrays)`` makes.
    grad_on: ``grad`` of what ``held.hand`` made, without another copy.
    """

    names: tuple[str, ...]
    arrays: Arrays
    f: CountedFunction
    grad: Gradient
    flatten: Callable[[Callable[..., Any], str], Gradient]
    held: Held
    grad_on: Callable[[Sequence[Any]], Arrays]


def flattened(
    f: Callable[..., Any],
    grad: Callable[..., Any] | Literal[True],
    params: Any,
    names: Sequence[str] | None,
    wirtinger: Wirtinger = "conjugate",
    what: str = "params",
) -> Flat:
    """The arguments of ``gradcheck``, flat. A complex array ``z`` becomes two real ones, ``z.real`` and ``z.imag``.

    Raises:
        ValueError: if params hold no array, or names are too many or too few.
        TypeError: if the arrays are not floating, not dense, or not of one library.
    """
    if grad is True:
        f, grad = value_and_grad(f)
    wirtinger = one_choice("wirtinger", wirtinger, ("conjugate", "plain"))
    bare = type(params) not in (tuple, list)
    args = numbers_as_arrays((params,) if bare else tuple(params))
    if not (found := list(leaves(args, what))):
        raise ValueError(f"{what} must hold at least one array, got {_described(params)}{_no_arrays(what, args)}")
    names = None if names is None else strings("names", names)
    if names is not None and len(names) != len(found):
        raise ValueError(f"names must name each of the {len(found)} arrays in {what}, got {len(names)}")
    paths, theirs = zip(*found, strict=True)
    held = _held(tuple(paths if names is None else names), theirs)
    arrays = held.split(theirs)
    flatten = functools.partial(_flat_gradient, args=args, held=held, bare=bare, conjugate=wirtinger == "conjugate")
    grad_on = flatten(grad, "grad")
    counted = CountedFunction(_on_leaves(f, args), held.hand)
    return Flat(
        _flat_names(held),
        arrays,
        counted,
        _on_copies(grad_on, held),
        lambda g, who: _on_copies(flatten(g, who), held),
        held,
        grad_on,
    )


def one_choice(name: str, value: Any, choices: Collection[str]) -> Any:
    """``value``. Raise unless it is one of the ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be {one_of(choices, value)}")
    return value


def strings(name: str, values: Any) -> tuple[str, ...]:
    """``values`` as a tuple. Raise unless they are a list, or another iterable, of strings."""
    together = as_tuple(values)
    if together is None or not all(isinstance(each, str) for each in together):
        raise TypeError(f"{name} must be a list of strings, got {described(values)}")
    return together


def _held(names: tuple[str, ...], arrays: Sequence[Any]) -> Held:
    xp: Any = namespace(*arrays, names=names)
    kinds = []
    for name, x in zip(names, arrays, strict=True):
        refuse_unlike(name, x)
        kinds.append(bool(xp.isdtype(x.dtype, "complex floating")))
        if not kinds[-1] and not is_floating(xp, x.dtype):
            raise TypeError(f"{name} must be real floating, got {x.dtype}")
    return Held(names, tuple(kinds), tuple(bool(getattr(x, "requires_grad", False)) for x in arrays))


def _flat_names(held: Held) -> tuple[str, ...]:
    pairs = zip(held.names, held.complex, strict=True)
    return tuple(part for name, two in pairs for part in ((f"{name}.real", f"{name}.imag") if two else (name,)))


def _on_copies(grad_on: Callable[[Sequence[Any]], Arrays], held: Held) -> Gradient:
    return lambda *arrays: grad_on(held.hand(arrays))


def _flat_gradient(
    grad: Callable[..., Any], who: str, *, args: tuple[Any, ...], held: Held, bare: bool, conjugate: bool
) -> Callable[[Sequence[Any]], Arrays]:
    """``grad`` on arrays as the caller holds them, returning the flat real gradients.

    Its result holds one gradient per argument, or, for ``bare`` params, is the gradient of the only argument. ``who``
    is its name, for messages.
    """

    def flat(handed: Sequence[Any]) -> Arrays:
        at = rebuild(args, iter(handed))
        result = grad(*at)
        gradients = arrays_of(in_order_of(result, at[0] if bare else at))
        if len(gradients) != len(held.names) or not (bare or isinstance(result, tuple | list)):
            came = f"{len(gradients)}" if isinstance(result, tuple | list) else type(result).__name__
            odd = _no_arrays("", result) or _no_arrays("params", args)
            raise ValueError(
                f"{who} must return a tuple of {len(held.names)} gradients, one per parameter, got {came}{odd}"
            )
        return persisted(*held.split(gradients, conjugate))

    return flat


def _no_arrays(parent: str, tree: Any) -> str:
    """Half a sentence about the first child of ``tree`` that holds no array; empty if each holds one."""
    if isinstance(tree, tuple | list):
        for position, child in enumerate(tree):
            if not any(leaves(child)):
                where = f"{parent}[{position}]" if parent else f"number {position + 1}"
                return f"; {where} is {_article(child)}, not an array"
    return ""


def _on_leaves(function: Callable[..., Any], tree: tuple[Any, ...]) -> Callable[..., Any]:
    """``function(*tree)`` as a function of the leaves of ``tree``."""
    if all(map(is_array_api_obj, tree)):
        return function
    return lambda *arrays: function(*rebuild(tree, iter(arrays)))


# --- arrays ------------------------------------------------------------------------------------------------------


def is_masked(x: Any) -> bool:
    """Whether ``x`` is an array of ``numpy.ma``, whose mask no other array takes over."""
    return isinstance(x, np.ma.MaskedArray)


def numbers_as_arrays(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """``args``; Python floats as NumPy's, where there is nothing else: beside arrays a number is a constant."""
    return tuple(map(np.float64, args)) if all(type(arg) is float for arg in args) else args


def _plain(x: Any) -> Any:
    """``x`` in the byte order of this machine and without a graph of PyTorch's."""
    x = _detached(x)
    return x if getattr(x.dtype, "isnative", True) else x.astype(x.dtype.newbyteorder("="))


def _detached(x: Any) -> Any:
    return x.detach() if getattr(x, "requires_grad", False) else x


def fresh(x: Any) -> Any:
    """A copy of ``x``; ``x`` itself if nothing can change it."""
    if isinstance(x, np.generic) or hasattr(x, "tangent"):  # a number of NumPy's, a dual number
        return x
    if isinstance(x, np.ndarray):
        return x.copy(order="K")  # of its own class: a matrix or a masked array computes differently
    return copied(namespace(x), x)[0]


def _joined(real: Any, imag: Any) -> Any:
    """``real + i imag``; raises ``TypeError`` for duals and complex numbers, which are not real."""
    xp: Any = namespace(real, imag)
    name = COMPLEX.get(dtype_name(real))
    if name is None or hasattr(real, "tangent") or hasattr(imag, "tangent"):
        raise TypeError(f"the real part of a complex array must be a real array, got {type(real).__name__}")
    return xp.astype(real, getattr(xp, name)) + 1j * xp.astype(imag, getattr(xp, name))


# --- containers --------------------------------------------------------------------------------------------------


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays of ``tree``, in order, each behind its path, such as ``params[0]["W"]``."""
    if is_array_api_obj(tree):
        yield path, tree
        return
    for step, child in _children(tree):
        yield from leaves(child, path + step)


def arrays_of(tree: Any) -> Arrays:
    """The arrays of ``tree``, in order."""
    return tuple(array for _, array in leaves(tree))


def rebuild(tree: Any, arrays: Iterator[Any], constants: bool = True) -> Any:
    """``tree`` with its leaves replaced by ``arrays``, in order, and other things by None unless ``constants``."""
    if is_array_api_obj(tree):
        return next(arrays)
    children = [rebuild(child, arrays, constants) for _, child in _children(tree)]
    if isinstance(tree, list | tuple):
        return type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)
    if isinstance(tree, dict):
        return dict(zip(tree, children, strict=True))
    if (names := _fields(tree)) is not None:
        return replace(tree, **dict(zip(names, children, strict=True))) if children else tree
    return tree if constants else None


def in_order_of(tree: Any, model: Any) -> Any:
    """``tree`` with the keys of its dicts in the order of ``model``; numbers become arrays where that has 0-d ones.

    Raises:
        ValueError: if the keys of a dict differ from those of its counterpart.
    """
    if isinstance(tree, dict) and isinstance(model, dict):
        # a child without an array has no gradient
        wanted, came = ([key for key, child in each.items() if any(leaves(child))] for each in (model, tree))
        if set(wanted) != set(came):
            raise ValueError(f"grad must return a dict with the keys {wanted} of the parameters, got {came}")
        return {key: in_order_of(tree[key], model[key]) for key in wanted}
    if isinstance(tree, list | tuple) and isinstance(model, list | tuple) and len(tree) == len(model):
        return tuple(map(in_order_of, tree, model))
    if type(tree) is type(model) and (names := _fields(tree)) is not None:
        return tuple(in_order_of(getattr(tree, name), getattr(model, name)) for name in names)
    if type(tree) in (int, float) and is_array_api_obj(model) and model.shape == ():
        return namespace(model).asarray(tree, dtype=model.dtype, **device_kwargs(model))
    return tree


def counterparts(tree: Any, model: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """For each array of ``model`` its path, itself, and what ``tree`` has in its place: None where there is nothing.

    Raises:
        ValueError: if ``tree`` has other containers than ``model``.
    """
    if is_array_api_obj(model):
        yield path, model, tree
        return
    children = list(_children(model))
    if tree is None:
        yield from (each for step, child in children for each in counterparts(None, child, path + step))
    elif isinstance(model, dict) and isinstance(tree, dict):
        for key, child in model.items():
            yield from counterparts(tree.get(key), child, f"{path}[{key!r}]")
    elif children:
        theirs = [child for _, child in _children(tree)] if not is_array_api_obj(tree) else []
        if len(theirs) != len(children):
            raise ValueError(f"{path} is {_described(model)}, and what was returned for it {_described(tree)}")
        for (step, child), other in zip(children, theirs, strict=True):
            yield from counterparts(other, child, path + step)


def _children(tree: Any) -> Iterator[tuple[str, Any]]:
    """The step to each child of ``tree``, such as ``[0]`` or ``.weight``, and the child."""
    if isinstance(tree, dict):
        yield from ((f"[{key!r}]", child) for key, child in tree.items())
    elif (names := _fields(tree)) is not None:
        yield from ((f".{name}", getattr(tree, name)) for name in names)
    elif isinstance(tree, list | tuple):
        yield from ((f"[{position}]", child) for position, child in enumerate(tree))


def _fields(tree: Any) -> Sequence[str] | None:
    """The names of the fields that a NamedTuple or a dataclass is made from; None for anything else."""
    if isinstance(tree, tuple):
        return getattr(tree, "_fields", None)
    if not is_dataclass(tree) or isinstance(tree, type):
        return None
    return [field.name for field in fields(tree) if field.init]  # a dataclass works out the others itself


# --- functions ---------------------------------------------------------------------------------------------------


def value_and_grad(fun: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``fun(*params) -> (value, gradients)`` as two functions, ``f`` and ``grad``.

    The convention of scipy.optimize.minimize with ``jac=True``, and of jax.value_and_grad.

    Raises:
        TypeError: when called, if fun does not return a pair.
    """

    def part(which: int, *params: Any) -> Any:
        pair = fun(*params)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"fun must return (value, gradients), got {_described(pair)}")
        return pair[which]

    return functools.partial(part, 0), functools.partial(part, 1)


def as_op(function: Any) -> Op:
    """``function`` as an op: ``op(*args) -> (value, pullback)``.

    The value comes from the function's forward pass, the cotangents from its own backward pass: a mistake that the two
    share stays hidden. Arguments without a floating or complex array are passed on as they are, and their cotangent is
    None; so ``lambda x: as_op(Loss)(x, labels)`` binds labels. A function of several outputs has a tuple for its value,
    and its pullback takes a tuple of cotangents, None for an output that has none.

    Args:
        function: a subclass of torch.autograd.Function, a jax.custom_vjp or jax.custom_jvp, or an op, which comes back
            as it is.

    Raises:
        TypeError: when called, if the function returns no array that has a gradient.
    """
    if _is_torch_function(function):
        return _torch_function(function)
    if is_jax_rule(function):
        return _jax_rule(function)
    return function  # type: ignore[no-any-return]


def as_jvp(function: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``function`` and its forward rule: ``op(*args) -> value`` and ``jvp(args, tangents) -> tangent``.

    Args:
        function: a subclass of torch.autograd.Function that has a jvp, a jax.custom_jvp, or any function that jax.jvp
            takes.
    """
    if _is_torch_function(function):
        return (lambda *args: as_op(function)(*args)[0]), functools.partial(_torch_jvp, function)
    if is_jax_rule(function):
        return function, functools.partial(_jax_jvp, function)
    raise TypeError(
        f"jvp must be a function, or op a torch.autograd.Function or a jax.custom_jvp, got {_article(function)}"
    )


def _is_torch_function(function: Any) -> bool:
    return isinstance(function, type) and all(hasattr(function, name) for name in ("apply", "forward", "backward"))


def is_jax_rule(function: Any) -> bool:
    """Whether ``function`` is a jax.custom_vjp or a jax.custom_jvp, whose complex gradients are plain ones."""
    return hasattr(function, "defvjp") or hasattr(function, "defjvp")


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", "the function")


def _moves_in_torch(arg: Any) -> bool:
    import torch

    return isinstance(arg, torch.Tensor) and (arg.is_floating_point() or torch.is_complex(arg))


def _torch_function(function: Any) -> Op:
    import torch

    def op(*args: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
        moves = [_moves_in_torch(arg) for arg in args]
        # the very memory of the arguments: a forward pass that changes them in place is seen
        moved = [arg.detach().requires_grad_() for arg, m in zip(args, moves, strict=True) if m]
        with torch.enable_grad():
            value = function.apply(*_filled(moves, moved, args))
        several = isinstance(value, tuple)
        outputs = value if several else (value,)
        has_gradient = [isinstance(x, torch.Tensor) and x.requires_grad for x in outputs]
        if not any(has_gradient):
            raise TypeError(f"{_name_of(function)} must return a tensor that has a gradient, got {_described(value)}")

        def pullback(cotangent: Any) -> tuple[Any, ...]:
            given = cotangent if several else (cotangent,)
            pairs = [(x, c) for x, c, has in zip(outputs, given, has_gradient, strict=True) if has and c is not None]
            # materialize_grads: zeros for an input that does not take part
            found = torch.autograd.grad(
                [x for x, _ in pairs], moved, [c for _, c in pairs], retain_graph=True, materialize_grads=True
            )
            return _filled(moves, found)

        detached = tuple(x.detach() if has else None for x, has in zip(outputs, has_gradient, strict=True))
        return detached if several else detached[0], pullback

    return op


def _torch_jvp(function: Any, args: Sequence[Any], tangents: Sequence[Any]) -> Any:
    import torch
    from torch.autograd import forward_ad

    with forward_ad.dual_level():
        pairs = zip(args, tangents, strict=True)
        value = function.apply(*(x if t is None else forward_ad.make_dual(x.detach(), t) for x, t in pairs))

        def tangent(x: Any) -> Any:
            if not isinstance(x, torch.Tensor):
                return None
            found = forward_ad.unpack_dual(x).tangent
            return torch.zeros_like(x) if found is None else found

        return tuple(map(tangent, value)) if isinstance(value, tuple) else tangent(value)


def _floating_in_jax(x: Any) -> bool:
    import jax
    import jax.numpy as jnp

    return isinstance(x, jax.Array) and bool(jnp.issubdtype(x.dtype, jnp.inexact))


def _jax_rule(function: Any) -> Op:
    import jax

    def op(*args: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
        value = function(*args)  # the function itself: jax.vjp would take the value from the forward rule
        if not any(map(_floating_in_jax, jax.tree.leaves(value))):
            raise TypeError(f"{_name_of(function)} must return an array that has a gradient, got {_described(value)}")
        moves = [any(map(_floating_in_jax, jax.tree.leaves(arg))) for arg in args]
        moved = [arg for arg, m in zip(args, moves, strict=True) if m]

        def pullback(cotangent: Any) -> tuple[Any, ...]:
            _, pull = jax.vjp(lambda *at: function(*_filled(moves, at, args)), *moved)
            return _filled(moves, pull(_jax_tangents(value, cotangent)))

        return value, pullback

    return op


def _jax_jvp(function: Any, args: Sequence[Any], tangents: Sequence[Any]) -> Any:
    import jax

    moves = [any(map(_floating_in_jax, jax.tree.leaves(arg))) for arg in args]
    moved, along = (tuple(x for x, m in zip(each, moves, strict=True) if m) for each in (args, tangents))
    _, tangent = jax.jvp(lambda *at: function(*_filled(moves, at, args)), moved, _jax_tangents(moved, along))
    return tangent


def _jax_tangents(primals: Any, given: Any) -> Any:
    """``given`` in the containers of ``primals``, with zeros of the kind that JAX wants where there is None."""
    import jax

    flat, containers = jax.tree.flatten(primals)
    tangents = jax.tree.leaves(given, is_leaf=lambda x: x is None)

    def zero(x: Any) -> Any:
        return 0.0 if isinstance(x, float) else np.zeros(np.shape(x), jax.dtypes.float0)

    return containers.unflatten([zero(x) if t is None else t for x, t in zip(flat, tangents, strict=True)])


def _filled(moves: Sequence[bool], moved: Iterable[Any], others: Sequence[Any] = ()) -> tuple[Any, ...]:
    """One entry per argument: the next of ``moved`` if it is differentiated, else that of ``others``, or None."""
    found = iter(moved)
    return tuple(next(found) if m else others[i] if others else None for i, m in enumerate(moves))


def _described(value: Any) -> str:
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if isinstance(value, tuple | list) else kind


def _article(value: Any) -> str:
    if layout := sparse_layout(value):
        return f"sparse ({layout})"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
