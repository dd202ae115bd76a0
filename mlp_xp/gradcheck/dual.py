"""Dual numbers over arrays: the exact directional derivative of any function of the array API, without a step.

A ``Dual`` is ``value + tangent * e``, where e is positive and smaller than every number, so that ``e * e`` is 0. Duals
bring a namespace of their own, so a function written for arrays of any library takes them too. Its result then carries
its derivative along the given tangents. Functions of NumPy's and torch's own modules take duals by the protocols of
those libraries.

Duals are ordered: ``a < b`` is decided by the values and, at a tie, by the tangents. So a function passes every kink on
the side to which the tangent points, and the one-sided derivative comes out, whatever was compared.

A function without a rule raises, and so does whatever would lose a tangent silently: ``float``, ``bool``, a cast to
integers.

Source: Clifford, Preliminary sketch of biquaternions, 1873, for the numbers; Wengert, A simple automatic derivative
evaluation program, CACM 7, 1964, for their use. The order at kinks is that of an infinitesimal.

Before: ``derivatives``. Next: ``local`` takes slopes by duals.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
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

    ties: for each comparison a 0-d array: whether the tangents had to decide. If so, the function may have a kink here,
        and another derivative on the other side.
    """

    def __init__(self, base: Any) -> None:
        # the name of the base: array-api-compat takes duals and its arrays for arrays of one library
        self.base, self.__name__ = base, base.__name__
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
        if name.startswith("arg"):
            ordered = xp.sort(xp.reshape(x.value, (-1,)))
            tied = xp.any(ordered[1:] == ordered[:-1])
        else:
            tied = xp.any((2.0 * x.value == xp.round(2.0 * x.value)) & (x.tangent != 0.0))
        if bool(tied):
            raise TypeError(f"dual numbers have no rule for {name} where it jumps")
        return self._constant(name, function, args, options)

    def _comparison(self, name: str, function: Any, args: Any, options: Any) -> Any:
        (x, dx), (y, dy) = ((v.value, v.tangent) if _moves(v) else (_values(v), 0.0) for v in args)
        compare, tie = rules.COMPARISONS[name], x == y
        self.ties.append(self.base.any(tie & (dx != dy)))
        return Dual(self, self.base.where(tie, compare(dx, dy), compare(x, y)))

    def _where(self, name: str, function: Any, args: Any, options: Any) -> Any:
        condition, a, b = untangent(args[0]), *map(_values, args[1:])
        # a Python number becomes an array like the other branch
        y = function(condition, rules.as_array(self.base, a, b), rules.as_array(self.base, b, a))
        da, db = (rules.as_array(self.base, _tangents(self.base, x), y) for x in args[1:])
        return self._dual(y, function(condition, da, db))

    def _extreme(self, name: str, function: Any, args: Any, options: Any) -> Any:
        """The tangent is the ``max`` or ``min`` of the tangents of the entries that attain the extreme value."""
        x, *rest = args
        xp, best = self.base, getattr(self.base, name)
        axis = _standard(options).get("axis", rest[0] if rest else None)
        attained = x.value == best(x.value, axis=axis, keepdims=True)
        among = xp.where(attained, x.tangent, xp.full_like(x.value, -math.inf if name == "max" else math.inf))
        self.ties.append(xp.any(attained & (x.tangent != best(among, axis=axis, keepdims=True))))
        y = function(x.value, *rest, **options)
        if isinstance(y, tuple):  # torch returns where as well
            raise TypeError(f"dual numbers have no rule for {name} with its indices")
        return self._dual(y, function(among, *rest, **options))

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
