"""Dual numbers over arrays: the exact directional derivative of any function of the array API, without a step.

A ``Dual`` is ``value + tangent * e``, where e is positive and smaller than every number, so that ``e * e`` is 0. Duals
bring a namespace of their own, so a function written for arrays of any library takes them too. Its result then carries
its derivative along the given tangents. Functions of NumPy's and torch's own modules take duals by the protocols of
those libraries.

Duals are ordered: ``a < b`` is decided by the values and, at a tie, by the tangents. So a function passes every kink on
the side to which the tangent points, and the one-sided derivative comes out, whatever was compared. The namespace can
be told to decide ties by another rule: a gradient makes such a choice too, such as relu'(0) = 0.

A function without a rule raises, and so does whatever would lose a tangent silently: ``float``, ``bool``, a cast to
integers.

Source: Clifford, Preliminary sketch of biquaternions, 1873, for the numbers; Wengert, A simple automatic derivative
evaluation program, CACM 7, 1964, for their use. The order at kinks is that of an infinitesimal.

Before: ``derivatives``. Next: ``local`` takes slopes by duals.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import operator
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CellType, ModuleType
from typing import Any

from array_api_compat import is_array_api_obj

from mlp_xp._lib.namespace import is_floating
from mlp_xp.gradcheck import derivatives as rules

# Python's operators that have reflected versions, and then the others: their names in the standard.
_OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "pow", "matmul": "matmul",
    "mod": "remainder", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift", "floordiv": "floor_divide",
}  # fmt: skip
_OTHERS = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
           "neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}  # fmt: skip


# --- the array ---------------------------------------------------------------------------------------------------


class Dual:
    """``value + tangent * e``: two arrays of one shape and dtype; a tangent of None is zero, that of a constant."""

    __slots__ = ("_xp", "tangent", "value")  # then who refers to a dual refers to no dict of it: see ``put_back``

    def __init__(self, xp: DualNamespace, value: Any, tangent: Any = None) -> None:
        self._xp, self.value, self.tangent = xp, value, tangent

    def __array_namespace__(self, *, api_version: str | None = None) -> DualNamespace:
        return self._xp

    def __getattr__(self, name: str) -> Any:
        """Sizes, dtype and device of the value; methods, such as ``x.sum()``, if there is a rule of their name."""
        if name in ("shape", "ndim", "dtype", "device", "size"):
            return getattr(self.value, name)
        if name in ("T", "mT"):
            return self._xp.matrix_transpose(self)
        if name.startswith("_") or _standard_name(name) not in _RULES or not hasattr(self.value, name):
            raise AttributeError(f"dual numbers have no {name}")
        return functools.partial(self._xp.call, name, getattr(type(self.value), name), self)

    def __getitem__(self, key: Any) -> Dual:
        key = tuple(map(untangent, key)) if isinstance(key, tuple) else untangent(key)
        return Dual(self._xp, self.value[key], None if self.tangent is None else self.tangent[key])

    def __len__(self) -> int:
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Dual]:
        return (self[i, ...] for i in range(self.shape[0]))

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return untangent(self).__array__()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or "out" in options:
            return NotImplemented
        return self._xp.call(ufunc.__name__, ufunc, *inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return self._xp.call(function.__name__, function, *args, **options)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), options: Any = None) -> Any:
        found = (x for x in (*args, *(options or {}).values()) for x in (x if isinstance(x, tuple | list) else (x,)))
        xp = next(x._xp for x in found if isinstance(x, Dual))
        return xp.call(function.__name__, function, *args, **(options or {}))

    __hash__ = None  # type: ignore[assignment]  # as arrays have none


def _defined(name: str, function: Callable[..., Any], reflected: bool) -> Callable[..., Any]:
    def method(self: Dual, *other: Any) -> Any:
        return self._xp.call(name, function, *((*other, self) if reflected else (self, *other)))

    return method


for _sign, _name in {**_OPERATORS, **_OTHERS}.items():
    _operator: Callable[..., Any] = getattr(operator, f"__{_sign}__")
    setattr(Dual, f"__{_sign}__", _defined(_name, _operator, False))
    if _sign in _OPERATORS:
        setattr(Dual, f"__r{_sign}__", _defined(_name, _operator, True))


def _converted(convert: Callable[[Any], Any]) -> Callable[[Dual], Any]:
    return lambda self: convert(untangent(self))


for _convert in (float, int, bool, operator.index):
    setattr(Dual, f"__{_convert.__name__}__", _converted(_convert))


def untangent(x: Any) -> Any:
    """The plain array of a ``Dual`` without a tangent; anything that is no dual as it is.

    Raises:
        TypeError: if ``x`` has a tangent.
    """
    if not isinstance(x, Dual):
        return x
    if x.tangent is not None:
        raise TypeError("a dual number would lose its tangent here")
    return x.value


# --- the namespace -----------------------------------------------------------------------------------------------


class DualNamespace:
    """The functions of the namespace ``base`` for duals, plain arrays and both; one for each evaluation of a function.

    ties: for each comparison a 0-d array: how many entries the tangents had to decide. Where they had to, the function
        may have a kink, and another derivative on the other side.
    choose: takes a mask of such entries and decides each instead, by a boolean array of the mask's shape: whether a
        comparison holds there; whether a ``max``, ``min`` or sort follows the tangents there, or goes against them.
        By default the tangents decide.
    """

    def __init__(self, base: Any, choose: Callable[[Any], Any] | None = None) -> None:
        # the name of the base: array-api-compat takes duals and its arrays for arrays of one library
        self.base, self.__name__ = base, base.__name__
        self.choose = choose
        self.ties: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return self._for_duals(name, getattr(self.base, name))

    def _for_duals(self, name: str, found: Any) -> Any:
        if isinstance(found, ModuleType):  # such as linalg
            extension = ModuleType(name)
            vars(extension)["__getattr__"] = lambda each: self._for_duals(each, getattr(found, each))
            return extension
        if isinstance(found, type) or not callable(found) or name.startswith("__"):  # a dtype, pi, what is supported
            return found
        return functools.partial(self.call, name, found)

    def call(self, name: str, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """``function(*args, **options)``, by the rule of ``name`` if any argument has a tangent."""
        if not any(map(_moves, (*args, *options.values()))):
            plain, named = _values(args), {key: _values(option) for key, option in options.items()}
            return self._clothed(function(*plain, **named))
        name = _standard_name(name)
        if name not in _RULES:
            raise TypeError(f"dual numbers have no rule for {name}")
        return _RULES[name](self, name, function, args, options)

    # One method for each kind of rule: (name, function, args, options) -> Dual.

    def _slope(self, name: str, function: Any, args: Any, options: Any) -> Any:
        (x,) = args
        y = function(x.value, **options)
        return self._dual(y, rules.SLOPES[name](self.base, x.value, y) * x.tangent)

    def _partials(self, name: str, function: Any, args: Any, options: Any) -> Any:
        a, b = map(_values, args)
        y = function(a, b, **options)
        partials = zip(rules.PARTIALS[name], args, strict=True)
        terms = (partial(self.base, a, b, y) * x.tangent for partial, x in partials if _moves(x))
        return self._dual(y, functools.reduce(operator.add, terms))

    def _linear(self, name: str, function: Any, args: Any, options: Any) -> Any:
        x, *rest = args
        constants, linear = list(map(untangent, rest)), functools.partial(function, **_constants(options))
        return self._dual(linear(_values(x), *constants), linear(_tangents(self.base, x), *constants))

    def _product(self, name: str, function: Any, args: Any, options: Any) -> Any:
        values = tuple(map(_values, args))
        terms = (function(*values[:i], x.tangent, *values[i + 1 :], **options) for i, x in enumerate(args) if _moves(x))
        return self._dual(function(*values, **options), functools.reduce(operator.add, terms))

    def _constant(self, name: str, function: Any, args: Any, options: Any) -> Any:
        return self._clothed(function(*_values(args), **_constants(options)))

    def _step(self, name: str, function: Any, args: Any, options: Any) -> Any:
        xp, x = self.base, args[0]
        if bool(xp.any((2.0 * x.value == xp.round(2.0 * x.value)) & (x.tangent != 0.0))):
            raise TypeError(f"dual numbers have no rule for {name} where it jumps")
        return self._constant(name, function, args, options)

    def _tied(self, mask: Any) -> None:
        self.ties.append(self.base.sum(self.base.astype(mask, self.base.int32)))

    def _comparison(self, name: str, function: Any, args: Any, options: Any) -> Any:
        (x, dx), (y, dy) = ((v.value, v.tangent) if _moves(v) else (_values(v), 0.0) for v in args)
        compare, equal = rules.COMPARISONS[name], x == y
        decided = compare(dx, dy)
        tied = equal & (dx != dy)
        self._tied(tied)
        if self.choose is not None:
            decided = self.base.where(tied, self.choose(tied), decided)
        return Dual(self, self.base.where(equal, decided, compare(x, y)))

    def _where(self, name: str, function: Any, args: Any, options: Any) -> Any:
        condition, a, b = untangent(args[0]), *map(_values, args[1:])
        # a Python number becomes an array like the other branch
        y = function(condition, rules.as_array(self.base, a, b), rules.as_array(self.base, b, a))
        da, db = (rules.as_array(self.base, _tangents(self.base, x), y) for x in args[1:])
        return self._dual(y, function(condition, da, db))

    def _extreme(self, name: str, function: Any, args: Any, options: Any) -> Any:
        """The tangent is the ``max`` or ``min`` of the tangents of the entries that attain the extreme value."""
        y = function(_values(args[0]), *args[1:], **options)
        if isinstance(y, tuple):  # torch returns where as well
            raise TypeError(f"dual numbers have no rule for {name} with its indices")
        _, tangent = self._leading(name, args, options)
        return self._dual(y, self.base.reshape(tangent, y.shape))

    def _position(self, name: str, function: Any, args: Any, options: Any) -> Any:
        """The first of the entries whose value, and among these whose tangent, is extreme."""
        xp, x, standard = self.base, args[0], _standard(options)
        attained, tangent = self._leading(name.removeprefix("arg"), args, options)
        leads = xp.astype(attained & (x.tangent == tangent), xp.int32)
        return self._clothed(xp.argmax(leads, axis=_axis(args, options), keepdims=standard.get("keepdims", False)))

    def _leading(self, name: str, args: Any, options: Any) -> tuple[Any, Any]:
        """Which entries attain the ``max`` or ``min``; along the axis, which is kept, the extreme of their tangents."""
        xp, x, best = self.base, args[0], getattr(self.base, name)
        along = {"axis": _axis(args, options), "keepdims": True}
        attained, far = (
            x.value == best(x.value, **along),
            xp.full_like(x.value, -math.inf if name == "max" else math.inf),
        )
        tangent = best(xp.where(attained, x.tangent, far), **along)
        tied = xp.any(attained & (x.tangent != tangent), **along)
        self._tied(tied)
        if self.choose is not None:
            against = -best(xp.where(attained, -x.tangent, far), **along)
            tangent = xp.where(tied & ~self.choose(tied), against, tangent)
        return attained, tangent

    def _argsort(self, name: str, function: Any, args: Any, options: Any) -> Any:
        """In the order of the values and, among equal ones, of the tangents."""
        xp, x, axis = self.base, args[0], _axis(args, options, -1)
        sort = functools.partial(
            xp.argsort, axis=-1, descending=_standard(options).get("descending", False), stable=True
        )
        value, tangent = (xp.moveaxis(each, axis, -1) for each in (x.value, x.tangent))
        order = sort(tangent)
        order = xp.take_along_axis(order, sort(xp.take_along_axis(value, order, axis=-1)), axis=-1)
        value, tangent = (xp.take_along_axis(each, order, axis=-1) for each in (value, tangent))
        self._tied((value[..., 1:] == value[..., :-1]) & (tangent[..., 1:] != tangent[..., :-1]))
        if self.choose is not None:
            # at each place the last of the entries that are equal there, or the first: no order of them goes beyond
            equal = xp.astype(value[..., :, None] == value[..., None, :], order.dtype)
            first = xp.argmax(equal, axis=-1)
            last = first + xp.sum(equal, axis=-1) - 1
            low, high = (xp.take_along_axis(tangent, each, axis=-1) for each in (first, last))
            tied = low != high
            chosen = xp.where(self.choose(tied), last, first)
            order = xp.where(tied, xp.take_along_axis(order, chosen, axis=-1), order)
        return self._clothed(xp.moveaxis(order, -1, axis))

    def _broadcast(self, name: str, function: Any, args: Any, options: Any) -> Any:
        shape = function(*map(_values, args))[0].shape
        return [self.broadcast_to(x, shape) for x in args]

    def _composed(self, name: str, function: Any, args: Any, options: Any) -> Any:
        return rules.COMPOSED[name](self, *args, **_standard(options))

    def _linalg(self, name: str, function: Any, args: Any, options: Any) -> Any:
        return self._dual(*rules.LINALG[name](self.base, *map(_values, args), *(_tangents(self.base, x) for x in args)))

    def _dual(self, value: Any, tangent: Any) -> Any:
        """A ``Dual``, or several; the tangent of an operand that was broadcast is broadcast here."""
        if isinstance(value, tuple | list):
            return tuple(map(self._dual, value, tangent))
        if tangent is None:
            return Dual(self, value)
        if value.dtype != self.base.float64 and not is_floating(self.base, value.dtype):  # nearly all are float64
            raise TypeError(f"a dual number would lose its tangent in {value.dtype}")
        if tangent.dtype != value.dtype:
            tangent = self.base.astype(tangent, value.dtype)
        if tangent.shape != value.shape:
            tangent = self.base.broadcast_to(tangent, value.shape)
        return Dual(self, value, tangent)

    def _clothed(self, result: Any) -> Any:
        """Arrays as constant duals, so that a function sees arrays of one kind."""
        if isinstance(result, tuple | list) and any(map(is_array_api_obj, result)):
            return tuple(map(self._clothed, result))
        return Dual(self, result) if is_array_api_obj(result) else result


# --- what a function keeps ---------------------------------------------------------------------------------------


def put_back(watched: weakref.ref[DualNamespace]) -> bool:
    """Whether duals outlived the evaluation of a function; if so, their values take their places.

    Such as a running mean or a history of losses that the function keeps. Each dual holds its namespace, so it is
    enough to watch this one, and in the usual case nothing has to be searched. Places are entries of dicts, lists and
    deques, attributes, variables of closures, and tuples that lie in one of these, which are replaced by new tuples.
    Out of reach is what only C code or a suspended generator holds, such as the results that ``lru_cache`` keeps.

    Args:
        watched: a weak reference to the namespace of the evaluation, of which the caller holds no other.
    """
    if watched() is None:
        return False
    gc.collect()  # what is left may be garbage that refers to itself, such as functions that call themselves
    if watched() is None:
        return False
    old: list[Any] = [x for x in gc.get_referrers(watched()) if type(x) is Dual]
    new: dict[int, Any] = {id(x): x.value for x in old}
    kept = _put_in_place(old, new)
    if (space := watched()) is not None:  # a function may keep it as its ``xp``
        kept = _put_in_place([space], {id(space): space.base}) or kept
    return kept


def _put_in_place(old: list[Any], new: dict[int, Any]) -> bool:
    """Replace each object of ``old`` by ``new[id(object)]`` wherever it lies.

    Returns:
        Whether it lies anywhere but in tuples that nothing refers to: NumPy forgets to let go of its arguments when
        ``reduce`` and its like refuse them.
    """
    alive, found = list(old), False  # as long as this list lives, no new object is given one of their ids
    while old:
        tuples: list[Any] = []
        asked = tuple(old)  # named, to be passed over: since Python 3.13 a call's own arguments are among the holders
        for holder in gc.get_referrers(*asked):
            kind = type(holder)
            if holder is asked:
                continue
            if issubclass(kind, tuple):
                rebuilt = [new.get(id(x), x) for x in holder]
                new[id(holder)] = holder._make(rebuilt) if hasattr(kind, "_make") else kind(rebuilt)
                tuples.append(holder)
            elif holder is not old and holder is not alive and kind is not Dual:
                _replace_in(holder, new)
                found = True
        alive += tuples
        old = tuples
    return found


def _replace_in(holder: Any, new: Mapping[int, Any]) -> None:
    """Replace what ``holder`` holds of the objects that ``new`` has by their ids; some objects can't be changed."""
    kind = type(holder)
    if issubclass(kind, dict | list | deque):
        for key, x in list(holder.items() if issubclass(kind, dict) else enumerate(holder)):
            if id(x) in new:
                holder[key] = new[id(x)]
    elif kind is CellType:
        if not isinstance(holder.cell_contents, DualNamespace):  # an extension's own
            holder.cell_contents = new[id(holder.cell_contents)]
    else:
        slots = (each for base in kind.__mro__ for each in getattr(base, "__slots__", ()))
        for name in {*getattr(holder, "__dict__", ()), *slots}:
            with contextlib.suppress(AttributeError, TypeError):  # a slot may be empty, an object C's own
                if (x := object.__getattribute__(holder, name)) is not None and id(x) in new:
                    object.__setattr__(holder, name, new[id(x)])


_KINDS: tuple[tuple[Iterable[str], Callable[[DualNamespace, str, Any, Any, Any], Any]], ...] = (
    (rules.SLOPES, DualNamespace._slope),
    (rules.PARTIALS, DualNamespace._partials),
    (rules.LINEAR, DualNamespace._linear),
    (rules.PRODUCTS, DualNamespace._product),
    (rules.CONSTANT, DualNamespace._constant),
    (rules.STEPS, DualNamespace._step),
    (rules.COMPARISONS, DualNamespace._comparison),
    (rules.COMPOSED, DualNamespace._composed),
    (rules.LINALG, DualNamespace._linalg),
    (("max", "min"), DualNamespace._extreme),
    (("argmax", "argmin"), DualNamespace._position),
    (("argsort",), DualNamespace._argsort),
    (("where",), DualNamespace._where),
    (("broadcast_arrays",), DualNamespace._broadcast),
)
_RULES = {name: rule for names, rule in _KINDS for name in names}


def _standard_name(name: str) -> str:
    """The standard's name of a function or method."""
    name = name.strip("_")
    return rules.ALIASES.get(name, name)


def _moves(x: Any) -> bool:
    """Whether ``x``, or an entry of a list, has a tangent."""
    if isinstance(x, tuple | list):
        return any(map(_moves, x))
    return isinstance(x, Dual) and x.tangent is not None


def _values(x: Any) -> Any:
    """``x`` without tangents, lists entry by entry."""
    if isinstance(x, tuple | list):
        return type(x)(map(_values, x)) if not hasattr(x, "_fields") else x
    return x.value if isinstance(x, Dual) else x


def _constants(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by which no function is differentiated."""
    return {key: untangent(option) for key, option in options.items()}


def _tangents(xp: Any, x: Any) -> Any:
    """The tangent of ``x``; zeros if it has none, 0.0 for a Python number."""
    if isinstance(x, tuple | list):
        return [_tangents(xp, entry) for entry in x]
    if _moves(x):
        return x.tangent
    return xp.zeros_like(_values(x)) if hasattr(x, "shape") else 0.0


def _standard(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by the standard's names, also if they came by torch's."""
    return {{"dim": "axis", "keepdim": "keepdims"}.get(key, key): option for key, option in options.items()}


def _axis(args: Any, options: Mapping[str, Any], default: int | None = None) -> Any:
    """The axis along which a function of one array works; an argument by either name, or the second."""
    return untangent(_standard(options).get("axis", args[1] if len(args) > 1 else default))
