"""Differentiable operations: ``op(*arrays) -> (value, pullback)``, each derivative worked out by hand.

A *primitive* is an op whose namespace is known, ``primitive(xp, *arrays)``: the network looks the namespace up once and
calls primitives. The functions of this module are their public faces, made by ``op_from``.

To add an activation, write one function in the table below: its value, its slope, its cost.

Next: ``losses`` puts a number on the outputs, ``mlp`` strings layers together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import cleandoc, signature
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from mlp_xp._lib.arguments import check_alike, described, one_of
from mlp_xp._lib.moved import renamed
from mlp_xp._lib.namespace import namespace, remembered, scalar_like, transposed
from mlp_xp._lib.typing import Array, Namespace, Op, Pullback

Primitive: TypeAlias = Callable[..., tuple[Array, Pullback]]
"""``primitive(xp, *arrays) -> (value, pullback)``: an op whose namespace is known."""

Slope: TypeAlias = Callable[[], Array | float]
"""The derivative of an elementwise function where it was evaluated, computed when asked for."""

Record = TypeVar("Record")

__getattr__ = renamed(__name__, {"Rule": "mlp_xp.ops.Primitive", "public": "mlp_xp.ops.op_from"})


class Cost(NamedTuple):
    """What a function costs per entry; exp, log and tanh count as one operation each.

    forward: operations of its value.
    backward: operations of its pullback.
    kept: arrays that stay in memory between the two, the value included.
    second: operations of its second derivative; for a criterion, of one product with it, a look
        at the targets included.
    peaks: the most arrays that there are at one time, while the value is computed, the argument included, and while the
        pullback is, the cotangent included, but what is kept left out.
    in_place: how many fewer these are with a library that computes ``x * (y + z)`` in the memory of ``y + z``.
    closed_over: arrays that the pullback alone keeps.
    """

    forward: int
    backward: int
    kept: int
    second: int = 0
    peaks: tuple[int, int] = (0, 0)
    in_place: int = 0
    closed_over: int = 0


Check: TypeAlias = Callable[..., tuple[Array, ...]]
"""``check(xp, *arrays)``: the arrays to compute with. Raises for shapes that don't fit."""


def op_from(primitive: Primitive, check: Check | None = None) -> Op:
    """The op of a primitive: the same function, which looks the namespace up from its arrays.

    With ``check`` it takes real floating arrays of one dtype and device alone, of shapes that ``check`` lets pass.
    """
    names = () if check is None else tuple(signature(primitive).parameters)[1:]

    def op(*arrays: Array) -> tuple[Array, Pullback]:
        if check is None:
            return primitive(namespace(*arrays), *arrays)
        if len(arrays) != len(names):
            raise TypeError(f"{op.__name__} takes {', '.join(names)}, got {len(arrays)} arguments")
        xp = namespace(*arrays, names=names)
        check_alike(xp, names, arrays)
        return primitive(xp, *check(xp, *arrays))

    op.__name__ = op.__qualname__ = primitive.__name__.strip("_")
    op.__doc__ = primitive.__doc__
    op.__module__ = primitive.__module__
    return op


def record_named(
    kind: str, table: Mapping[str, Record], name_or_op: str | Op, from_op: Callable[..., Record]
) -> Record:
    """The record of an activation or a criterion, found by its name, or made from an op of the caller's own.

    Args:
        kind: "activation" or "criterion", for messages.
        table: name -> record.
        name_or_op: what the caller gave.
        from_op: makes a record of a caller's op from its name, its primitive and ``curvature=``.

    Raises:
        ValueError: for a name that is not in the table.
        TypeError: for something that is neither a name nor an op.
    """
    if isinstance(name_or_op, str):
        name = "sigmoid" if name_or_op == "logistic" else name_or_op  # scikit-learn's name
        if name not in table:
            raise ValueError(f"{kind} must be {one_of(table, name_or_op)}")
        return table[name]
    if not callable(name_or_op) or isinstance(name_or_op, type):  # an instance may be called, a class makes one
        raise TypeError(f"{kind} must be a name or an op, got {described(name_or_op)}")
    own: Any = getattr(name_or_op, "record", None)  # an op of this library means what its name does
    if any(own is record for record in table.values()):
        return own  # type: ignore[no-any-return]
    name = getattr(name_or_op, "__name__", repr(name_or_op))
    hint = f"; the op is mlp_xp.{'ops' if kind == 'activation' else 'losses'}.{name}" if name in table else ""
    what = f"{kind} {name}"
    return from_op(name, _checked(what, name_or_op, hint), curvature=_curvature_of(what, name_or_op))


def _curvature_of(what: str, op: Op) -> Callable[..., Any] | None:
    """The attribute ``curvature`` of a caller's op as that of a record, which takes a namespace first; None without it.

    That of an activation is its second derivative, ``curvature(z)``, in the shape of z: the activation is elementwise.
    That of a criterion is ``curvature(logits, targets, weights) -> product``, as in ``Criterion``.
    """
    own: Any = getattr(op, "curvature", None)
    if own is None:
        return None
    if not callable(own):
        raise TypeError(f"the curvature of {what} must be a function, got {described(own)}")
    return lambda xp, *arrays: own(*arrays)


def _checked(what: str, op: Op, hint: str) -> Primitive:
    """A caller's op as a primitive that refuses anything but ``(value, pullback)``."""

    def primitive(xp: Namespace, *arrays: Array) -> tuple[Array, Pullback]:
        result: object = op(*arrays)
        if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
            raise TypeError(f"{what} must return (value, pullback), got {described(result)}{hint}")
        value, pull = result

        def pullback(cotangent: float | Array) -> tuple[Array, ...]:
            if isinstance(cotangent, float):  # the op may do with it what an array alone can
                cotangent = cotangent * xp.ones_like(value)
            cotangents: object = pull(cotangent)
            if not (isinstance(cotangents, tuple) and len(cotangents) == 1):
                raise TypeError(f"the pullback of {what} must return a tuple of one, got {described(cotangents)}")
            return cotangents

        return value, pullback

    return primitive


# --- the affine map ----------------------------------------------------------------------------------------------


def _check_affine_shapes(x: Array, weight: Array, bias: Array) -> None:
    if x.ndim not in (2, 3):
        raise ValueError(f"x must have shape (n, p), got {tuple(x.shape)}")
    if weight.ndim not in (2, 3) or weight.shape[-2] != x.shape[-1]:
        expected = f"({x.shape[-1]}, q) to follow x {tuple(x.shape)}"
        raise ValueError(f"weight must have shape {expected}, got {tuple(weight.shape)}")
    if bias.ndim not in (1, 2) or bias.shape[-1] != weight.shape[-1]:
        expected = f"({weight.shape[-1]},) to follow weight {tuple(weight.shape)}"
        raise ValueError(f"bias must have shape {expected}, got {tuple(bias.shape)}")
    if len({array.shape[0] for array, rank in ((x, 2), (weight, 2), (bias, 1)) if array.ndim > rank}) > 1:
        shapes = f"{tuple(x.shape)}, {tuple(weight.shape)} and {tuple(bias.shape)}"
        raise ValueError(f"leading axes of x, weight and bias must have one size, got {shapes}")


def affine(x: Array, weight: Array, bias: Array) -> tuple[Array, Pullback]:
    """``x @ weight + bias``: (n, p), (p, q), (q,) -> (n, q).

    Args:
        x: (n, p), real floating.
        weight: (p, q), or (k, p, q) for k maps at once.
        bias: (q,), or (k, q).

    Returns:
        The value (n, q) and its pullback, ``dy -> (dx, dweight, dbias)``.

    Raises:
        ValueError: for shapes that do not fit, or arrays on two devices.
        TypeError: for dtypes that are not floating or differ, or arrays of two libraries.

    >>> import numpy as np, mlp_xp as mx
    >>> value, pullback = mx.ops.affine(np.asarray([[1.0, 2.0]]), np.asarray([[3.0], [4.0]]), np.asarray([5.0]))
    >>> dx, dweight, dbias = pullback(np.asarray([[1.0]]))
    >>> float(value[0, 0]), dx.tolist(), dweight.tolist(), dbias.tolist()
    (16.0, [[3.0, 4.0]], [[1.0], [2.0]], [1.0])
    """
    arrays, names = (x, weight, bias), ("x", "weight", "bias")
    xp = namespace(*arrays, names=names)
    check_alike(xp, names, arrays)
    _check_affine_shapes(x, weight, bias)

    def pullback(dy: Array) -> tuple[Array, Array, Array]:
        # weight: (input).T @ (gradient of the output); bias: it was broadcast over the batch, so sum it back
        return dy @ transposed(xp, weight), transposed(xp, x) @ dy, xp.sum(dy, axis=-2)

    return x @ weight + bias[..., None, :], pullback


# --- activations: a table of (value, slope) ----------------------------------------------------------------------


class Activation(NamedTuple):
    """An activation with all that belongs to it.

    name: as the option ``activation`` takes it.
    primitive: ``primitive(xp, z) -> (a, pullback)``.
    slope_of: what the slope depends on: "nothing", the "sign" of z, or "z".
    cost: per entry; None for an op of the caller's own, whose cost is not known.
    curvature: ``curvature(xp, z)``, the second derivative of an elementwise function; None where nobody gave it. At a
        kink it is that of one side: relu and its like have curvature 0 almost everywhere.
    """

    name: str
    primitive: Primitive
    slope_of: Literal["nothing", "sign", "z"] = "z"
    cost: Cost | None = None
    curvature: Callable[[Namespace, Array], Array] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # by its name, so that a copy is the record of the table; a caller's own goes by its fields
        known = ACTIVATIONS.get(self.name) is self
        return (activation_named, (self.name,)) if known else (Activation, tuple(self))


ActivationOption: TypeAlias = str | Op | Sequence[str | Op]
"""One for all hidden layers, or one per hidden layer."""

ACTIVATIONS: dict[str, Activation] = {}
"""Name -> record of every activation."""


def activation_named(name_or_op: str | Op) -> Activation:
    """The record of an activation; see ``record_named``."""
    return record_named("activation", ACTIVATIONS, name_or_op, Activation)


def activations_of(activation: ActivationOption, hidden: int) -> list[Activation]:
    """One record per hidden layer, from the option ``activation``.

    Raises:
        ValueError: for an unknown name, or a sequence of another length than there are hidden layers.
        TypeError: for something that is neither a name, nor an op, nor a sequence of them.
    """
    if isinstance(activation, str) or callable(activation):
        return [activation_named(activation)] * hidden
    if not isinstance(activation, Sequence):
        raise TypeError(f"activation must be a name, an op, or one per hidden layer, got {described(activation)}")
    if len(activation) != hidden:
        raise ValueError(f"activation must be one or one per hidden layer ({hidden}), got {len(activation)}")
    return [activation_named(each) for each in activation]


def _elementwise(
    *,
    slope_of: Literal["nothing", "sign", "z"] = "z",
    curvature: Callable[[Namespace, Array], Array] | None = None,
    **cost: Any,
) -> Callable[[Callable[[Namespace, Array], tuple[Array, Slope]]], Op]:
    """Make ``(xp, z) -> (value, slope)`` an op, and enter its record in the table, with its ``Cost`` and curvature."""

    def enter(function: Callable[[Namespace, Array], tuple[Array, Slope]]) -> Op:
        def primitive(xp: Namespace, z: Array) -> tuple[Array, Pullback]:
            """FORMULA

            Args:
                z: real floating, any shape.

            Returns:
                The value, in the shape of ``z``, and its pullback, ``dy -> (dy * slope,)``.

            >>> import numpy as np, mlp_xp as mx
            >>> value, pullback = mx.ops.NAME(np.asarray([-1.5, 0.5, 2.0]))
            >>> mx.check_pullback(mx.ops.NAME, (np.asarray([-1.5, 0.5, 2.0]),)).verdict
            'pass'
            """
            value, slope = function(xp, z)
            return value, lambda dy: (dy * slope(),)

        name = primitive.__name__ = function.__name__
        formula, shared = cleandoc(function.__doc__ or ""), cleandoc(primitive.__doc__ or "")
        primitive.__doc__ = shared.replace("FORMULA", formula).replace("NAME", name)
        op = op_from(primitive, lambda xp, z: (z,))
        record = Activation(name, primitive, slope_of, Cost(**cost), curvature)
        ACTIVATIONS[name] = vars(op)["record"] = record
        return op

    return enter


@remembered
def largest_exponent(xp: Namespace, dtype: Any) -> float:
    """The largest whole number whose exponential is a number of ``dtype``."""
    return float(math.floor(math.log(float(xp.finfo(dtype).max))))


def _logistic(xp: Namespace, z: Array) -> Array:
    """By the standard's functions. It takes five passes over memory."""
    # Below -log(finfo.max) the true value is subnormal or zero; holding z there keeps exp finite and errs by less than
    # the smallest normal number.
    return 1.0 / (1.0 + xp.exp(-xp.maximum(z, scalar_like(xp, -largest_exponent(xp, z.dtype), z))))


BEYOND: dict[str, Callable[..., Array]] = {"sigmoid": _logistic}
"""Name -> formula of each function that a namespace may have beyond the standard: there it takes one pass."""


@remembered  # NumPy takes longer to say that a name is missing than to compute the sigmoid of a small layer
def beyond(xp: Namespace, name: str) -> Callable[..., Array]:
    """The function ``name`` of the library itself, else the formula of the table; always that for dual numbers."""
    own = getattr(xp, name, None) if isinstance(xp, ModuleType) else None
    return own or partial(BEYOND[name], xp)


def logistic(xp: Namespace, z: Array) -> Array:
    """``1 / (1 + exp(-z))``, elementwise, without overflow."""
    return beyond(xp, "sigmoid")(z)


def _positive(xp: Namespace, z: Array) -> Array:
    """1 where z > 0, else 0. A product with it is several times faster than ``where`` and safe under autodiff at 0."""
    return xp.astype(z > 0, z.dtype)


def _flat(xp: Namespace, z: Array) -> Array:
    """0: the curvature of what is linear, but at kinks, where there is none."""
    return xp.zeros_like(z)


@_elementwise(forward=0, backward=1, kept=1, peaks=(1, 2), slope_of="nothing", curvature=_flat)
def identity(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``z``."""
    return z, lambda: 1.0


def _sigmoid_curvature(xp: Namespace, z: Array) -> Array:
    a = logistic(xp, z)
    return a * (1.0 - a) * (1.0 - 2.0 * a)


@_elementwise(
    forward=5, backward=3, kept=1, second=10, peaks=(3, 3), in_place=1, closed_over=1, curvature=_sigmoid_curvature
)
def sigmoid(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``1 / (1 + exp(-z))``."""
    a = logistic(xp, z)
    return a, lambda: a * (1.0 - a)  # keep a, not z


def _tanh_curvature(xp: Namespace, z: Array) -> Array:
    a = xp.tanh(z)
    return -2.0 * a * ((1.0 - a) * (1.0 + a))


@_elementwise(
    forward=1, backward=4, kept=1, second=6, peaks=(2, 4), in_place=1, closed_over=1, curvature=_tanh_curvature
)
def tanh(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``tanh z``."""
    a = xp.tanh(z)
    return a, lambda: (1.0 - a) * (1.0 + a)  # 1 - a^2 without its cancellation near |a| = 1


@_elementwise(forward=2, backward=1, kept=2, peaks=(3, 2), closed_over=1, slope_of="sign", curvature=_flat)
def relu(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``max(z, 0)``; the subgradient at 0 is 0. The second derivative is 0 almost everywhere."""
    positive = _positive(xp, z)
    return z * positive, lambda: positive


@_elementwise(forward=4, backward=1, kept=2, peaks=(3, 2), closed_over=1, slope_of="sign", curvature=_flat)
def leaky_relu(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``z`` where positive, else ``0.01 z``; the subgradient at 0 is 0.01.

    The second derivative is 0 almost everywhere.
    """
    slope = 0.01 + 0.99 * _positive(xp, z)
    return z * slope, lambda: slope


def _elu_curvature(xp: Namespace, z: Array) -> Array:
    positive = _positive(xp, z)
    return xp.exp(z - z * positive) - positive  # exp(0) - 1 = 0 where z > 0; at 0 it is 1, as on the left


@_elementwise(
    forward=5, backward=2, kept=2, second=5, peaks=(5, 3), in_place=1, closed_over=1, curvature=_elu_curvature
)
def elu(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``z`` where positive, else ``exp(z) - 1`` (Clevert, Unterthiner and Hochreiter 2016)."""
    above = z * _positive(xp, z)
    below = z - above
    return above + xp.expm1(below), lambda: xp.exp(below)  # exp(0) = 1 where z > 0


def _silu_curvature(xp: Namespace, z: Array) -> Array:
    s = logistic(xp, z)
    return s * (1.0 - s) * (2.0 + z * (1.0 - 2.0 * s))


@_elementwise(forward=6, backward=5, kept=3, second=12, peaks=(3, 3), closed_over=2, curvature=_silu_curvature)
def silu(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``z * sigmoid(z)`` (Elfwing, Uchibe and Doya 2018)."""
    s = logistic(xp, z)
    return z * s, lambda: s * (1.0 + z * (1.0 - s))


def log1p_exp(xp: Namespace, z: Array) -> tuple[Array, Array]:
    """``(max(z, 0), log(1 + exp(-|z|)))``, whose sum is ``log(1 + exp z)``."""
    above = z * _positive(xp, z)
    return above, xp.log1p(xp.exp(z - 2.0 * above))  # z - 2 max(z, 0) = -|z|, with the right derivative at 0


def _softplus_curvature(xp: Namespace, z: Array) -> Array:
    s = logistic(xp, z)
    return s * (1.0 - s)


@_elementwise(forward=7, backward=6, kept=2, second=7, peaks=(4, 3), closed_over=1, curvature=_softplus_curvature)
def softplus(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``log(1 + exp z)``."""
    above, rest = log1p_exp(xp, z)
    return above + rest, lambda: logistic(xp, z)


# exp(x^2) erfc(x) / t as a polynomial in 2t - 1, t = 2 / (2 + x), x >= 0: the Chebyshev interpolant of degree 26,
# within 1e-16 of the function everywhere. scripts/erfc_polynomial.py derives it.
_ERFC = (
    0.5107913526210115, 0.3435803422069051, 0.13973604627802735, 0.018221115753461418, -0.010755330944743213,
    -0.003239592534655014, 0.001545306029656217, 0.00041864804431780765, -0.000331536754536941,
    -1.7185840159673632e-05, 7.223539810023321e-05, -1.707374027362626e-05, -1.0848266170054718e-05,
    8.05774418734809e-06, -5.622017389294364e-07, -1.8147502308396875e-06, 9.99681059790912e-07,
    -1.4173148256804559e-08, -2.838403336958219e-07, 1.7908279015125605e-07, -3.2879636227603558e-09,
    -6.991599125811103e-08, 2.999579690914985e-08, 1.330982841170542e-08, -1.0077813696987433e-08,
    -1.0739706490607777e-09, 1.2565872268596197e-09,
)  # fmt: skip


def _erfc_polynomial(u: Array) -> Array:
    """The polynomial of ``_ERFC`` at u."""
    q = _ERFC[-1] * u + _ERFC[-2]
    for coefficient in _ERFC[-3::-1]:
        q = q * u + coefficient
    return q


def _gelu_curvature(xp: Namespace, z: Array) -> Array:
    density = xp.exp(-0.5 * (z * z)) * (1.0 / math.sqrt(2.0 * math.pi))
    return 2.0 * density - z * (z * density)  # z * z may be infinite, z * density is not


@_elementwise(forward=70, backward=4, kept=4, second=8, peaks=(8, 3), closed_over=3, curvature=_gelu_curvature)
def gelu(xp: Namespace, z: Array) -> tuple[Array, Slope]:
    """``z * Phi(z)``, Phi the standard normal distribution function, exact (Hendrycks and Gimpel 2016).

    The standard has no ``erf``: ``Phi(-|z|) = erfc(|z| / sqrt 2) / 2`` comes from one polynomial.
    """
    positive = _positive(xp, z)
    sign = 2.0 * positive - 1.0
    t = 2.0 / (2.0 + math.sqrt(0.5) * (z * sign))
    q = _erfc_polynomial(2.0 * t - 1.0)
    bell = xp.exp(-0.5 * (z * z))
    phi = positive - sign * (0.5 * t * bell * q)  # 1 - tail where z > 0, else the tail
    return z * phi, lambda: phi + z * bell * (1.0 / math.sqrt(2.0 * math.pi))
