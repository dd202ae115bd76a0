"""A catalogue of wrong backward passes: the textbook's network with one named mistake at a time in its gradient.

    for kind in KINDS:
        case = build(kind, Setting(**kind.needs))
        report = mlp_xp.gradcheck(case.f, case.grad, case.params, case.names, hypotheses=case.hypotheses)

A ``Setting`` describes the network, ``run`` is its forward pass, and ``Steps`` holds the right steps of its backward
pass. A ``Kind`` replaces one step, or breaks the contract of a gradient function. The code runs on any array library.
From mlp_xp it takes the hypotheses about mistakes, and the hash behind dropout masks, so that both drop the same units.

Next: ``gradcheck_benchmark`` shows the catalogue to all checkers, ``tests/gradcheck/test_catalogue.py`` to ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from mlp_xp.dropout import dropout_mask

# --- settings and data --------------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """A network, its data and its loss: all numbers are drawn from ``seed``.

    sizes: (d_in, d_h, ..., d_out); any number of hidden layers, none included.
    n: rows of the batch.
    weighted: whether the rows have weights.
    scale: a factor of the whole loss.
    dtype: the name of the dtype of parameters and gradients.
    """

    sizes: tuple[int, ...] = (5, 4, 3)
    n: int = 6
    activation: str = "tanh"
    criterion: str = "softmax_cross_entropy"
    l2: float = 0.0
    l1: float = 0.0
    label_smoothing: float = 0.0
    weighted: bool = False
    dropout: float = 0.0
    scale: float = 1.0
    dtype: str = "float64"
    seed: int = 0


class Data(NamedTuple):
    """The numbers of a setting, on the host, in float64 but rounded to the setting's dtype.

    y: labels (n,), or targets (n, d_out) for squared error.
    weights: (n,), as a caller would give them; None for equal weights.
    params: W1, b1, W2, b2, ...
    """

    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None
    params: tuple[np.ndarray, ...]


def draw(setting: Setting) -> Data:
    """The data of a setting."""
    random = np.random.default_rng(setting.seed)
    n, (d_in, *_, d_out) = setting.n, setting.sizes

    def rounded(x: np.ndarray) -> np.ndarray:
        return np.asarray(x.astype(setting.dtype), dtype=np.float64)

    X = rounded(random.standard_normal((n, d_in)))
    y = random.permutation(np.arange(n) % max(d_out, 2))  # every class comes up, if there are enough rows
    if setting.criterion == "squared_error":
        y = rounded(random.standard_normal((n, d_out)))
    weights = rounded(random.uniform(0.5, 2.0, n)) if setting.weighted else None
    shapes = [shape for p, q in pairwise(setting.sizes) for shape in ((p, q), (q,))]
    return Data(X, y, weights, tuple(rounded(random.standard_normal(s) / math.sqrt(s[0])) for s in shapes))


# --- the network --------------------------------------------------------------------------------------------------


def logistic(xp: Any, z: Any) -> Any:
    """``1 / (1 + exp(-z))``."""
    return 1.0 / (1.0 + xp.exp(-z))


def step(xp: Any, z: Any, below: float = 0.0) -> Any:
    """1 where z > 0, else ``below``."""
    return xp.where(z > 0, xp.ones_like(z), below * xp.ones_like(z))


# name -> value(xp, z), slope(xp, z)
ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "identity": (lambda xp, z: z, lambda xp, z: xp.ones_like(z)),
    "sigmoid": (logistic, lambda xp, z: logistic(xp, z) * (1.0 - logistic(xp, z))),
    "tanh": (lambda xp, z: xp.tanh(z), lambda xp, z: 1.0 - xp.tanh(z) ** 2),
    "relu": (lambda xp, z: z * step(xp, z), step),
    "leaky_relu": (lambda xp, z: z * step(xp, z, 0.01), lambda xp, z: step(xp, z, 0.01)),
    "softplus": (lambda xp, z: xp.log1p(xp.exp(z)), logistic),
    "silu": (lambda xp, z: z * logistic(xp, z), lambda xp, z: logistic(xp, z) * (1.0 + z * (1.0 - logistic(xp, z)))),
}


class Run(NamedTuple):
    """A forward pass: all that the steps of the backward pass read. Affine and hidden layers are counted from 1.

    T, w: targets (n, d_out) and weights (n,) that sum to 1.
    z: pre-activations of every affine layer, logits last.
    a: activations of every hidden layer, before dropout.
    x: the input of every affine layer; x[0] is X, the others are after dropout.
    masks: of every hidden layer; ones without dropout.
    params: W1, b1, W2, b2, ...
    """

    setting: Setting
    data: Data
    xp: Any
    T: Any
    w: Any
    z: tuple[Any, ...]
    a: tuple[Any, ...]
    x: tuple[Any, ...]
    masks: tuple[Any, ...]
    params: tuple[Any, ...]


def one_hot(setting: Setting, y: np.ndarray, smoothing: float) -> np.ndarray:
    """Targets (n, d_out) on the host."""
    k = setting.sizes[-1]
    if y.ndim == 2:
        return y
    T: np.ndarray = np.eye(max(k, 2))[y][:, -k:]  # one output: 0 or 1
    return (1.0 - smoothing) * T + smoothing / k if smoothing else T


def mask_of(setting: Setting, xp: Any, like: Any, layer: int, seed: int) -> Any:
    """The dropout mask (n, d_h) of a hidden layer; ones without dropout."""
    shape = (setting.n, setting.sizes[layer])
    host: Any = np  # the hash is of ints: computed on the host it is the same as in every library
    mask = dropout_mask(host, shape, setting.dropout, seed, layer, host.empty(0)) if setting.dropout else np.ones(shape)
    return xp.asarray(mask, dtype=like.dtype)


def run(setting: Setting, data: Data, params: tuple[Any, ...]) -> Run:
    """The forward pass in the library and dtype of the parameters."""
    xp = array_namespace(*params)
    cast = partial(xp.asarray, dtype=params[0].dtype)
    value = ACTIVATIONS[setting.activation][0]
    weights = np.ones(setting.n) if data.weights is None else data.weights
    z, a, x, masks = [], [], [cast(data.X)], []
    for layer, (W, b) in enumerate(zip(params[::2], params[1::2], strict=True), start=1):
        z.append(x[-1] @ W + b)
        if layer < len(setting.sizes) - 1:
            a.append(value(xp, z[-1]))
            masks.append(mask_of(setting, xp, params[0], layer, setting.seed))
            x.append(a[-1] * masks[-1])
    T = cast(one_hot(setting, data.y, setting.label_smoothing))
    w = cast(weights / np.sum(weights))
    return Run(setting, data, xp, T, w, tuple(z), tuple(a), tuple(x), tuple(masks), params)


def softmax(xp: Any, z: Any) -> Any:
    """``exp(z) / sum(exp(z))`` of each row."""
    e = xp.exp(z - xp.max(z, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)


def data_loss(run: Run) -> Any:
    """The weighted mean of the criterion, 0-d."""
    xp, z, T = run.xp, run.z[-1], run.T
    if run.setting.criterion == "softmax_cross_entropy":
        shifted = z - xp.max(z, axis=1, keepdims=True)
        rows = xp.sum(T * (xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True)) - shifted), axis=1)
    elif run.setting.criterion == "sigmoid_cross_entropy":
        rows = xp.sum(xp.log1p(xp.exp(z)) - T * z, axis=1)
    else:
        rows = 0.5 * xp.sum((z - T) ** 2, axis=1)
    return xp.sum(run.w * rows)


def penalties(run: Run) -> Any:
    """``l2/2 sum W^2 + l1 sum |W|`` over the weights."""
    xp, setting = run.xp, run.setting
    total = 0.0
    for W in run.params[::2]:
        if setting.l2:
            total = total + setting.l2 / 2.0 * xp.sum(W * W)
        if setting.l1:
            total = total + setting.l1 * xp.sum(xp.where(W > 0, W, -W))  # not abs, which has no complex step
    return total


# --- the backward pass, step by step ------------------------------------------------------------------------------


def outputs(run: Run) -> Any:
    """Probabilities, or for squared error the logits themselves."""
    z = run.z[-1]
    return {
        "softmax_cross_entropy": lambda: softmax(run.xp, z),
        "sigmoid_cross_entropy": lambda: logistic(run.xp, z),
        "squared_error": lambda: z,
    }[run.setting.criterion]()


def right_dlogits(run: Run) -> Any:
    """``(p - t) w``, for each of the three criteria, (n, d_out)."""
    return (outputs(run) - run.T) * run.w[:, None]


def right_slope(run: Run, layer: int) -> Any:
    """The derivative of the activation in a hidden layer, (n, d_h)."""
    return slope_of(run, run.z[layer - 1])


def slope_of(run: Run, z: Any) -> Any:
    """The derivative of the activation at ``z``."""
    return ACTIVATIONS[run.setting.activation][1](run.xp, z)


class Steps(NamedTuple):
    """A backward pass. The default of every field is the right step; a mistake is another function in its place.

    loss: the data loss of the forward pass, 0-d.
    dlogits: the cotangent of the logits, (n, d_out).
    slope: the derivative of the activation in a hidden layer, (n, d_h).
    mask: the factor that dropout gives the cotangent of a hidden layer, (n, d_h).
    input: the input of an affine layer for its weight gradient, (n, d).
    weight: the weight of an affine layer through which the cotangent goes back, (d, d').
    bias_gradient: the gradient of a bias from the cotangent (n, d) of the layer's output.
    penalty, bias_penalty: the gradient of the penalty for a weight, for a bias.
    finish: a last change of all gradients.
    """

    loss: Callable[[Run], Any] = data_loss
    dlogits: Callable[[Run], Any] = right_dlogits
    slope: Callable[[Run, int], Any] = right_slope
    mask: Callable[[Run, int], Any] = lambda run, layer: run.masks[layer - 1]
    input: Callable[[Run, int], Any] = lambda run, layer: run.x[layer - 1]
    weight: Callable[[Run, int], Any] = lambda run, layer: run.params[2 * layer - 2]
    bias_gradient: Callable[[Run, int, Any], Any] = lambda run, layer, dz: run.xp.sum(dz, axis=0)
    penalty: Callable[[Run, Any], Any] = lambda run, W: run.setting.l2 * W + run.setting.l1 * run.xp.sign(W)
    bias_penalty: Callable[[Run, Any], Any] = lambda run, b: 0.0 * b
    finish: Callable[[Run, tuple[Any, ...]], tuple[Any, ...]] = lambda run, grads: grads


def backward(run: Run, steps: Steps) -> tuple[Any, ...]:
    """``(dW1, db1, dW2, db2, ...)`` by these steps."""
    xp, scale = run.xp, run.setting.scale
    dz = steps.dlogits(run) * scale
    grads: tuple[Any, ...] = ()
    for layer in range(len(run.z), 0, -1):
        W, b = run.params[2 * layer - 2 : 2 * layer]
        dW = xp.matrix_transpose(steps.input(run, layer)) @ dz + scale * steps.penalty(run, W)
        db = steps.bias_gradient(run, layer, dz) + scale * steps.bias_penalty(run, b)
        grads = (dW, db, *grads)
        if layer > 1:
            dx = dz @ xp.matrix_transpose(steps.weight(run, layer))
            dz = dx * steps.mask(run, layer - 1) * steps.slope(run, layer - 1)
    return steps.finish(run, grads)


# --- one case -----------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A mistake.

    name: what is wrong.
    words: a diagnosis is right if it has any of these in it, upper or lower case; ``{n}``, ``{k}`` and ``{keep}`` stand
        for numbers of the setting. If the cause cannot be told from numbers, the right words are "no pattern".
    needs: the fields of a setting without which the mistake changes nothing.
    hidden: the fewest hidden layers.
    steps: the wrong steps of the backward pass.
    breaks: ``breaks(setting, build) -> grad`` makes the gradient function, ``build(**steps)`` makes one that keeps the
        contract; None for the latter.
    mutates: whether the gradient function writes into its arguments, which some libraries forbid.
    """

    name: str
    words: tuple[str, ...]
    needs: Mapping[str, Any] = {}
    hidden: int = 0
    steps: Mapping[str, Callable[..., Any]] = {}
    breaks: Callable[..., Callable[..., Any]] | None = None
    mutates: bool = False


class Case(NamedTuple):
    """A function, a gradient of it that may be wrong, and the point at which they are compared."""

    kind: Kind
    setting: Setting
    f: Callable[..., Any]
    grad: Callable[..., Any]
    params: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    hypotheses: dict[str, Callable[..., Any]]
    words: tuple[str, ...]


RIGHT = Kind("right", ())


def build(kind: Kind, setting: Setting) -> Case:
    """The case of a kind in a setting. ``params`` are NumPy arrays, f and grad take arrays of any library."""
    data = draw(setting)
    steps = Steps(**kind.steps)

    def f(*params: Any) -> Any:
        forward = run(setting, data, params)
        return setting.scale * (steps.loss(forward) + penalties(forward))

    def gradient(**wrong: Any) -> Callable[..., Any]:
        return lambda *params: backward(run(setting, data, params), steps._replace(**wrong))

    grad = kind.breaks(setting, gradient) if kind.breaks else gradient()
    params = tuple(p.astype(setting.dtype) for p in data.params)
    names = tuple(f"{letter}{layer}" for layer in range(1, len(setting.sizes)) for letter in "Wb")
    fill = {
        "n": setting.n,
        "k": setting.sizes[-1],
        "keep": f"{1.0 - setting.dropout:g}",
        "last": setting.sizes[1] - 1,
        "ratio": f"{setting.n / (setting.n - 1):.6g}",
    }
    words = tuple(word.format(**fill).lower() for word in kind.words)
    return Case(kind, setting, f, grad, params, names, hypotheses(setting, data, params), words)


def hypotheses(setting: Setting, data: Data, params: tuple[np.ndarray, ...]) -> dict[str, Callable[..., Any]]:
    """The mistakes in such a network that mlp_xp knows, times the scale of the setting; none without that module."""
    try:
        from mlp_xp import mistakes
    except ImportError:
        return {}
    options: dict[str, Any] = {"criterion": setting.criterion, "l2": setting.l2, "l1": setting.l1}
    if len(setting.sizes) > 2:
        options["activation"] = setting.activation
    if setting.label_smoothing:
        options["label_smoothing"] = setting.label_smoothing
    if setting.dropout:
        options |= {"dropout": setting.dropout, "seed": setting.seed}
    if data.weights is not None:
        options["sample_weight"] = data.weights.astype(setting.dtype)
    X, y = data.X.astype(setting.dtype), data.y
    known = mistakes.hypotheses(X, y.astype(setting.dtype) if y.ndim == 2 else y, *params, **options)

    def scaled(wrong: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *at: tuple(setting.scale * g for g in wrong(*at))

    return {name: scaled(wrong) for name, wrong in known.items()}


# --- the mistakes -------------------------------------------------------------------------------------------------


def on(index: int, change: Callable[[Run, Any], Any]) -> dict[str, Any]:
    """A last step that changes one gradient, given by its position in (dW1, db1, ...)."""

    def finish(run: Run, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        place = index % len(grads)
        return tuple(change(run, g) if i == place else g for i, g in enumerate(grads))

    return {"finish": finish}


def all_times(factor: float) -> dict[str, Any]:
    """A last step that multiplies all gradients."""
    return {"finish": lambda run, grads: tuple(factor * g for g in grads)}


def dlogits_times(factor: Callable[[Setting], float]) -> dict[str, Any]:
    """The cotangent of the logits times a number of the setting."""
    return {"dlogits": lambda run: factor(run.setting) * right_dlogits(run)}


def swapped(i: int, j: int) -> dict[str, Any]:
    """A last step that exchanges two gradients."""

    def finish(run: Run, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        order = list(range(len(grads)))
        order[i], order[j] = j, i
        return tuple(grads[place] for place in order)

    return {"finish": finish}


def where(run: Run, g: Any, axis: int, among: Callable[[Any], Any]) -> Any:
    """1 where ``among(index along the axis)`` is true, else 0, in the shape of g."""
    xp = run.xp
    index = xp.arange(g.shape[axis])
    index = index[:, None] if g.ndim == 2 and axis == 0 else index
    return xp.astype(among(index), g.dtype) * xp.ones_like(g)


def without(axis: int, among: Callable[[Any, int], Any]) -> Callable[[Run, Any], Any]:
    """A change of a gradient: zero where ``among(index along the axis, length)`` is true."""
    return lambda run, g: g * (1.0 - where(run, g, axis, lambda index: among(index, g.shape[axis])))


def entry(run: Run, g: Any) -> Any:
    """1 in the largest entry of g, else 0: an error in a small entry could be smaller than the rounding."""
    xp = run.xp
    return xp.astype(xp.abs(g) >= xp.max(xp.abs(g)), g.dtype)


def slope_at(layer: int | None, wrong: Callable[[Run, int], Any]) -> dict[str, Any]:
    """The derivative of the activation is wrong in one hidden layer; in all if ``layer`` is None."""
    return {"slope": lambda run, at: wrong(run, at) if layer in (None, at) else right_slope(run, at)}


def other_activation(run: Run, layer: int) -> Any:
    """The derivative of sigmoid, or of tanh where sigmoid is the activation."""
    name = "tanh" if run.setting.activation == "sigmoid" else "sigmoid"
    return ACTIVATIONS[name][1](run.xp, run.z[layer - 1])


def half_precision(x: Any, bits: int = 11) -> Any:
    """x rounded to ``bits``: 11 for float16, 8 for bfloat16, without their ranges (Veltkamp's splitting)."""
    digits = 53 if "64" in str(x.dtype) else 24
    big = (2.0 ** (digits - bits) + 1.0) * x
    return big - (big - x)


def labels_off_by(shift: int) -> dict[str, Any]:
    """Every label is too large by ``shift``, modulo the number of classes."""

    def dlogits(run: Run) -> Any:
        y = (run.data.y + shift) % run.setting.sizes[-1]
        T = run.xp.asarray(one_hot(run.setting, y, run.setting.label_smoothing), dtype=run.T.dtype)
        return (outputs(run) - T) * run.w[:, None]

    return {"dlogits": dlogits}


def smoothing_times(factor: float) -> dict[str, Any]:
    """Label smoothing times a factor."""

    def dlogits(run: Run) -> Any:
        T = one_hot(run.setting, run.data.y, factor * run.setting.label_smoothing)
        return (outputs(run) - run.xp.asarray(T, dtype=run.T.dtype)) * run.w[:, None]

    return {"dlogits": dlogits}


def weights_of(weights: Callable[[Run], np.ndarray | None]) -> dict[str, Any]:
    """The mean over the rows takes other weights (n,), given on the host."""

    def dlogits(run: Run) -> Any:
        return (outputs(run) - run.T) * run.xp.asarray(weights(run), dtype=run.w.dtype)[:, None]

    return {"dlogits": dlogits}


def rows(among: Callable[[Any, int], Any]) -> dict[str, Any]:
    """Only some rows of the batch count."""
    return {"dlogits": lambda run: right_dlogits(run) * where(run, run.T, 0, lambda i: among(i, run.setting.n))}


def rolled(x: Any, axis: int, shift: int = 1) -> Any:
    """x shifted along an axis; the end comes back at the beginning."""
    xp = array_namespace(x)
    return xp.roll(x, shift, axis=axis)


def softmax_omitted(run: Run) -> Any:
    """The cotangent of the probabilities, not of the logits: ``-t / p``."""
    return -run.T / outputs(run) * run.w[:, None]


def softmax_twice(run: Run) -> Any:
    """The derivative of softmax applied to a cotangent of the logits: ``p (g - sum(p g))``."""
    p, g = outputs(run), right_dlogits(run)
    return p * (g - run.xp.sum(p * g, axis=1, keepdims=True))


def loss_with_epsilon(run: Run) -> Any:
    """The cross-entropy with ``log(p + 1e-3)``; the gradient is that without the 1e-3."""
    return -run.xp.sum(run.w * run.xp.sum(run.T * run.xp.log(outputs(run) + 1e-3), axis=1))


def clipped(run: Run, g: Any) -> Any:
    """Entries beyond half of the largest are set to that half."""
    xp = run.xp
    bound = 0.5 * xp.max(xp.abs(g))
    return xp.where(g > bound, bound * xp.ones_like(g), xp.where(g < -bound, -bound * xp.ones_like(g), g))


def unit_norm(run: Run, grads: tuple[Any, ...]) -> tuple[Any, ...]:
    """All gradients together have norm 1."""
    total = sum(run.xp.sum(g * g) for g in grads)
    return tuple(g / run.xp.sqrt(total) for g in grads)


def detached(run: Run, grads: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of the first layer are zero."""
    return (0.0 * grads[0], 0.0 * grads[1], *grads[2:])


def not_a_number(run: Run, g: Any) -> Any:
    """The largest entry is NaN."""
    return run.xp.where(entry(run, g) > 0, float("nan") * run.xp.ones_like(g), g)


def narrowed(run: Run, g: Any) -> Any:
    """The gradient in the other of float32 and float64."""
    return run.xp.astype(g, run.xp.float32 if "64" in str(g.dtype) else run.xp.float64)


def bias_before_slope(run: Run, grads: tuple[Any, ...]) -> tuple[Any, ...]:
    """The first bias sums the cotangent of the activation in place of that of the pre-activation."""
    before = backward(run, Steps(slope=lambda run, at: right_slope(run, at) if at > 1 else run.xp.ones_like(run.z[0])))
    return (grads[0], before[1], *grads[2:])


def one_row_bias(run: Run, layer: int, dz: Any) -> Any:
    """The cotangent of the last row, not the sum over the rows."""
    return dz[-1, :]


def wrong_axis(run: Run, layer: int, dz: Any) -> Any:
    """In the first layer the sum over the columns, not over the rows."""
    return run.xp.sum(dz, axis=1 if layer == 1 else 0)


def malformed(setting: Setting, build: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient of the wrong steps, whose form is wrong: shape, dtype, number of arrays, or NaN."""
    grad: Callable[..., Any] = build()
    return grad


def stale(setting: Setting, build: Callable[..., Any]) -> Callable[..., Any]:
    """Every call uses the forward pass of the first call."""
    right = build()
    first: list[tuple[Any, ...]] = []

    def grad(*params: Any) -> Any:
        if not first:
            first.append(tuple(1.0 * p for p in params))
        return right(*first[0])

    return grad


def stale_weight(setting: Setting, build: Callable[..., Any]) -> Callable[..., Any]:
    """The way back takes the weight of the first call: ``backward(cache, y, W2)`` with an old W2."""
    first: dict[int, Any] = {}

    def weight(run: Run, layer: int) -> Any:
        return first.setdefault(layer, 1.0 * run.params[2 * layer - 2])

    grad: Callable[..., Any] = build(weight=weight)
    return grad


def accumulating(setting: Setting, build: Callable[..., Any]) -> Callable[..., Any]:
    """Each call adds to the gradients of the calls before: they are never set to zero."""
    right = build()
    total: list[Any] = []

    def grad(*params: Any) -> Any:
        fresh = right(*params)
        total[:] = [t + g for t, g in zip(total, fresh, strict=True)] if total else fresh
        return tuple(1.0 * t for t in total)

    return grad


def redrawn(setting: Setting, build: Callable[..., Any]) -> Callable[..., Any]:
    """The way back draws a new dropout mask at every call."""
    calls = [0]
    one_call = build(mask=lambda run, layer: mask_of(setting, run.xp, run.params[0], layer, calls[0]))

    def grad(*params: Any) -> Any:
        calls[0] += 1
        return one_call(*params)

    return grad


def stepping(setting: Setting, build: Callable[..., Any]) -> Callable[..., Any]:
    """A step in place changes the parameters; the gradient is right."""
    right = build()

    def grad(*params: Any) -> Any:
        grads = right(*params)
        for p, g in zip(params, grads, strict=True):
            p -= 0.01 * g / setting.scale
        return grads

    return grad


def negated(setting: Setting, build: Callable[..., Any]) -> Callable[..., Any]:
    """The first bias is overwritten; the gradient is right."""
    right = build()

    def grad(*params: Any) -> Any:
        grads = right(*params)
        b = params[1]
        b *= -1.0
        return grads

    return grad


NONE_KNOWN = ("no pattern",)
SOFTMAX = {"criterion": "softmax_cross_entropy"}
SQUARE = {"sizes": (4, 4, 4), "n": 6}
TIMES = ("times the true one",)

KINDS: tuple[Kind, ...] = (
    # signs and factors
    Kind("the sign is wrong", ("the sign is wrong",), steps=all_times(-1.0)),
    Kind("the sign of the last bias is wrong", ("the sign is wrong",), steps=on(-1, lambda run, g: -g)),
    Kind("targets minus outputs", ("the sign is wrong",), {"l2": 0.0, "l1": 0.0}, steps=dlogits_times(lambda s: -1.0)),
    Kind("accumulated twice", (" 2 times the true one",), steps=all_times(2.0)),
    Kind("half", ("1/2 times the true one", "0.5 times the true one"), steps=all_times(0.5)),
    Kind(
        "the 1/2 of the squared error is not there",
        (" 2 times the true one",),
        {"criterion": "squared_error", "l2": 0.0, "l1": 0.0},
        steps=dlogits_times(lambda s: 2.0),
    ),
    Kind(
        "a sum over the batch",
        ("multiplied by n", " {n} times the true one"),
        steps=dlogits_times(lambda s: float(s.n)),
    ),
    Kind(
        "averaged over the batch twice",
        ("divided by n", "1/{n} times the true one"),
        steps=dlogits_times(lambda s: 1.0 / s.n),
    ),
    Kind("divided by n - 1", TIMES, {"l2": 0.0, "l1": 0.0}, steps=dlogits_times(lambda s: s.n / (s.n - 1))),
    Kind(
        "multiplied by the number of outputs",
        ("multiplied by k", " {k} times the true one"),
        steps=dlogits_times(lambda s: float(s.sizes[-1])),
    ),
    Kind(
        "averaged over the outputs",
        ("divided by k", "1/{k} times the true one"),
        steps=dlogits_times(lambda s: 1.0 / s.sizes[-1]),
    ),
    Kind(
        "multiplied by the keep probability",
        ("multiplied by the keep probability", "{keep} times the true one"),
        {"dropout": 0.3},
        1,
        dlogits_times(lambda s: 1.0 - s.dropout),
    ),
    Kind(
        "divided by the keep probability",
        ("divided by the keep probability", "{keep} times the true one", "times the true one"),
        {"dropout": 0.3},
        1,
        dlogits_times(lambda s: 1.0 / (1.0 - s.dropout)),
    ),
    Kind(
        "the weight of the loss is left out",
        TIMES,
        {"scale": 1e-3},
        steps={"finish": lambda run, grads: tuple(g / run.setting.scale for g in grads)},
    ),
    Kind("normalised to length one", TIMES, steps={"finish": unit_norm}),
    *(
        Kind(f"{size:g} too large", (*TIMES, "low precision"), steps=all_times(1.0 + size))
        for size in (1e-2, 1e-4, 1e-6, 1e-8)
    ),
    # one tensor
    Kind(
        "a transposed gradient of a square weight",
        ("transposed",),
        SQUARE,
        1,
        on(0, lambda run, g: run.xp.matrix_transpose(g)),
    ),
    Kind(
        "a transposed gradient, reshaped",
        ("transposed",),
        steps=on(0, lambda run, g: run.xp.reshape(run.xp.matrix_transpose(g), g.shape)),
    ),
    Kind("the first weight gradient is zero", ("zero everywhere",), steps=on(0, lambda run, g: 0.0 * g)),
    Kind("the last bias gradient is zero", ("zero everywhere",), steps=on(-1, lambda run, g: 0.0 * g)),
    Kind("the first layer is detached", ("detached", "zero everywhere"), {}, 1, {"finish": detached}),
    Kind("a row is zero", ("row 1",), steps=on(0, without(0, lambda i, length: i == 1))),
    Kind("a column is zero", ("column 1",), steps=on(-2, without(1, lambda i, length: i == 1))),
    Kind("the last half of the rows is zero", ("zero",), steps=on(0, without(0, lambda i, length: i >= length // 2))),
    Kind("a row is doubled", ("row 1",), steps=on(0, lambda run, g: g * (1.0 + where(run, g, 0, lambda i: i == 1)))),
    Kind("one entry is zero", ("one entry is wrong",), steps=on(0, lambda run, g: g * (1.0 - entry(run, g)))),
    Kind("one entry is 1% off", ("one entry is wrong",), steps=on(0, lambda run, g: g * (1.0 + 0.01 * entry(run, g)))),
    Kind(
        "one entry of a bias has the wrong sign",
        ("one entry is wrong",),
        steps=on(1, lambda run, g: g * (1.0 - 2.0 * entry(run, g))),
    ),
    Kind("swapped weight gradients of equal shapes", ("the gradient of w",), SQUARE, 1, swapped(0, 2)),
    Kind("swapped bias gradients of equal shapes", ("the gradient of b",), SQUARE, 1, swapped(1, 3)),
    Kind("the bias gradient before the weight's", ("shape",), steps=swapped(0, 1), breaks=malformed),
    Kind("columns shifted by one", ("shifted by",), steps=on(0, lambda run, g: rolled(g, 1))),
    Kind("rows shifted by one", ("shifted by",), steps=on(0, lambda run, g: rolled(g, 0))),
    Kind("bias shifted by one", ("shifted by",), steps=on(1, lambda run, g: rolled(g, 0))),
    Kind("the columns are in reverse", ("reverse", *NONE_KNOWN), steps=on(0, lambda run, g: run.xp.flip(g, axis=1))),
    Kind("clipped", ("clipped",), steps=on(0, clipped)),
    Kind("the absolute value", ("the signs are not", "absolute"), steps=on(0, lambda run, g: run.xp.abs(g))),
    # biases
    Kind(
        "a mean over the batch in the biases",
        ("divided by n", "1/{n} times the true one"),
        steps={"bias_gradient": lambda run, layer, dz: run.xp.mean(dz, axis=0)},
    ),
    Kind(
        "every bias is the sum of all",
        ("the sum of all",),
        hidden=1,  # of the last layer it is 0 for softmax
        steps=on(1, lambda run, g: run.xp.sum(g) * run.xp.ones_like(g)),
    ),
    Kind(
        "every bias is the mean of all",
        ("the mean of all",),
        hidden=1,  # of the last layer it is 0 for softmax
        steps=on(1, lambda run, g: run.xp.mean(g) * run.xp.ones_like(g)),
    ),
    Kind(
        "the bias is summed over the wrong axis",
        ("wrong axis",),
        {"sizes": (5, 6, 3), "n": 6},
        1,
        {"bias_gradient": wrong_axis},
    ),
    Kind("the bias is that of the last row", ("only the last row", *NONE_KNOWN), steps={"bias_gradient": one_row_bias}),
    Kind(
        "the bias is not summed",
        ("shape",),
        steps={"bias_gradient": lambda run, layer, dz: dz},
        breaks=malformed,
    ),
    # penalties
    Kind(
        "the L2 penalty is missing",
        ("l2 penalty",),
        {"l2": 1e-2},
        steps={"penalty": lambda run, W: run.setting.l1 * run.xp.sign(W)},
    ),
    Kind(
        "the L2 penalty is doubled",
        ("l2 penalty",),
        {"l2": 1e-2},
        steps={"penalty": lambda run, W: 2.0 * run.setting.l2 * W + run.setting.l1 * run.xp.sign(W)},
    ),
    Kind(
        "the 1/2 of the L2 penalty is kept",
        ("l2 penalty",),
        {"l2": 1e-2},
        steps={"penalty": lambda run, W: 0.5 * run.setting.l2 * W + run.setting.l1 * run.xp.sign(W)},
    ),
    Kind(
        "the sign of the L2 penalty is wrong",
        ("l2 penalty",),
        {"l2": 1e-2},
        steps={"penalty": lambda run, W: -run.setting.l2 * W + run.setting.l1 * run.xp.sign(W)},
    ),
    Kind(
        "the L2 penalty is divided by n",
        ("l2 penalty",),
        {"l2": 1e-2},
        steps={"penalty": lambda run, W: run.setting.l2 / run.setting.n * W + run.setting.l1 * run.xp.sign(W)},
    ),
    Kind(
        "the L2 penalty is on the biases too",
        ("l2 penalty",),
        {"l2": 1e-2},
        steps={"bias_penalty": lambda run, b: run.setting.l2 * b},
    ),
    Kind(
        "the L2 penalty is missing in the last layer",
        ("l2 penalty",),
        {"l2": 1e-2},
        steps=on(-2, lambda run, g: g - run.setting.scale * run.setting.l2 * run.params[-2]),
    ),
    Kind(
        "the L1 penalty is missing", ("l1 penalty",), {"l1": 1e-2}, steps={"penalty": lambda run, W: run.setting.l2 * W}
    ),
    Kind(
        "the L1 penalty is doubled",
        ("l1 penalty",),
        {"l1": 1e-2},
        steps={"penalty": lambda run, W: run.setting.l2 * W + 2.0 * run.setting.l1 * run.xp.sign(W)},
    ),
    Kind(
        "the L1 penalty is on the biases too",
        ("l1 penalty",),
        {"l1": 1e-2},
        steps={"bias_penalty": lambda run, b: run.setting.l1 * run.xp.sign(b)},
    ),
    Kind(
        "an L1 penalty with the slope of L2",
        ("penalty", *NONE_KNOWN),
        {"l1": 1e-2},
        steps={"penalty": lambda run, W: (run.setting.l2 + run.setting.l1) * W},
    ),
    # the activation
    Kind(
        "its derivative is omitted in the first layer",
        ("omitted in layer 1", "omitted in every layer"),
        {},
        1,
        slope_at(1, lambda run, at: run.xp.ones_like(run.z[at - 1])),
    ),
    Kind(
        "its derivative is omitted in every layer",
        ("omitted in every layer",),
        {},
        2,
        slope_at(None, lambda run, at: run.xp.ones_like(run.z[at - 1])),
    ),
    Kind(
        "its derivative is taken at its value",
        ("at its value",),
        {},
        1,
        slope_at(1, lambda run, at: slope_of(run, run.a[at - 1])),
    ),
    Kind(
        "its derivative is taken at its value in every layer",
        ("at its value, not its argument, in every layer",),
        {},
        2,
        slope_at(None, lambda run, at: slope_of(run, run.a[at - 1])),
    ),
    Kind(
        "its derivative is taken in another layer",
        ("at the argument of layer 2",),
        {"sizes": (5, 4, 4, 3), "n": 6},
        2,
        slope_at(1, lambda run, at: right_slope(run, 2)),
    ),
    Kind("its derivative is that of another function", ("is that of",), {}, 1, slope_at(1, other_activation)),
    Kind(
        "its value stands in place of its derivative",
        ("in place of its derivative",),
        {},
        1,
        slope_at(1, lambda run, at: run.a[at - 1]),
    ),
    Kind("its derivative is there twice", NONE_KNOWN, {}, 1, slope_at(1, lambda run, at: right_slope(run, at) ** 2)),
    Kind(
        "1 - z^2 for the derivative of tanh",
        NONE_KNOWN,
        {"activation": "tanh"},
        1,
        slope_at(1, lambda run, at: 1.0 - run.z[at - 1] ** 2),
    ),
    Kind(
        "another slope of leaky relu",
        NONE_KNOWN,
        {"activation": "leaky_relu"},
        1,
        slope_at(1, lambda run, at: step(run.xp, run.z[at - 1], 0.1)),
    ),
    Kind(
        "a bias gradient before the activation's derivative",
        ("omitted in layer 1", *NONE_KNOWN),
        {},
        1,
        {"finish": bias_before_slope},
    ),
    # the criterion
    Kind(
        "the softmax derivative is omitted",
        ("softmax derivative is omitted",),
        SOFTMAX,
        steps={"dlogits": softmax_omitted},
    ),
    Kind(
        "the softmax derivative is applied twice",
        ("softmax derivative is applied twice",),
        SOFTMAX,
        steps={"dlogits": softmax_twice},
    ),
    Kind(
        "the targets are left out",
        ("targets are left out",),
        SOFTMAX,
        steps={"dlogits": lambda run: outputs(run) * run.w[:, None]},
    ),
    Kind(
        "the derivative of the sigmoid in front of its cross-entropy",
        NONE_KNOWN,
        {"criterion": "sigmoid_cross_entropy"},
        steps={"dlogits": lambda run: right_dlogits(run) * outputs(run) * (1.0 - outputs(run))},
    ),
    Kind("labels are one too large", ("labels are off by one, too large",), SOFTMAX, steps=labels_off_by(1)),
    Kind("labels are one too small", ("labels are off by one, too small",), SOFTMAX, steps=labels_off_by(-1)),
    Kind(
        "label smoothing is missing",
        ("label smoothing is missing",),
        {**SOFTMAX, "label_smoothing": 0.1},
        steps=smoothing_times(0.0),
    ),
    Kind(
        "label smoothing is doubled",
        ("label smoothing is doubled",),
        {**SOFTMAX, "label_smoothing": 0.1},
        steps=smoothing_times(2.0),
    ),
    Kind("an epsilon in the logarithm of the loss alone", NONE_KNOWN, SOFTMAX, steps={"loss": loss_with_epsilon}),
    # the batch
    Kind(
        "sample weights are missing",
        ("sample weights are missing",),
        {"weighted": True},
        steps=weights_of(lambda run: np.full(run.setting.n, 1.0 / run.setting.n)),
    ),
    Kind(
        "sample weights are not normalised",
        ("sample weights are not normalised",),
        {"weighted": True},
        steps=weights_of(lambda run: run.data.weights),
    ),
    Kind("only the first row counts", ("only the first row",), steps=rows(lambda i, n: i == 0)),
    Kind("only the last row counts", ("only the last row",), steps=rows(lambda i, n: i == n - 1)),
    Kind(
        "the rest after whole chunks of three rows is left out",
        NONE_KNOWN,
        {"n": 8},
        steps=rows(lambda i, n: i < n - n % 3),
    ),
    Kind(
        "the targets of another batch",
        NONE_KNOWN,
        steps={"dlogits": lambda run: (outputs(run) - rolled(run.T, 0)) * run.w[:, None]},
    ),
    Kind(
        "the inputs of another batch",
        NONE_KNOWN,
        steps={"input": lambda run, layer: rolled(run.x[0], 0) if layer == 1 else run.x[layer - 1]},
    ),
    # dropout
    Kind(
        "the dropout mask is missing on the way back",
        ("mask is missing",),
        {"dropout": 0.3},
        1,
        {"mask": lambda run, layer: run.xp.ones_like(run.masks[layer - 1])},
    ),
    Kind(
        "the dropout mask is not scaled on the way back",
        ("mask is not scaled",),
        {"dropout": 0.3},
        1,
        {"mask": lambda run, layer: run.xp.sign(run.masks[layer - 1])},
    ),
    Kind(
        "the dropout mask of the next step",
        ("drawn afresh",),
        {"dropout": 0.3},
        1,
        {"mask": lambda run, layer: mask_of(run.setting, run.xp, run.T, layer, run.setting.seed + 1)},
    ),
    Kind("the dropout mask is drawn at every call", ("not repeatable",), {"dropout": 0.3}, 1, breaks=redrawn),
    # the way back
    Kind(
        "the weight is not transposed",
        ("is not transposed",),
        {"sizes": (5, 4, 4), "n": 6},
        1,
        {"weight": lambda run, layer: run.xp.matrix_transpose(run.params[2 * layer - 2])},
    ),
    Kind(
        "the weight of another layer",
        NONE_KNOWN,
        {"sizes": (4, 4, 4), "n": 6},
        1,
        {"weight": lambda run, layer: run.params[0]},
    ),
    Kind(
        "the pre-activation for the activation",
        ("pre-activation for the activation",),
        {},
        1,
        {"input": lambda run, layer: run.z[layer - 2] if layer == 2 else run.x[layer - 1]},
    ),
    Kind(
        "the activation before dropout",
        ("before dropout",),
        {"dropout": 0.3},
        1,
        {"input": lambda run, layer: run.a[layer - 2] if layer == 2 else run.x[layer - 1]},
    ),
    # precision
    Kind("float16 on the way", ("low precision",), steps={"dlogits": lambda run: half_precision(right_dlogits(run))}),
    Kind(
        "bfloat16 on the way", ("low precision",), steps={"dlogits": lambda run: half_precision(right_dlogits(run), 8)}
    ),
    Kind(
        "float32 on the way", ("low precision",), steps={"dlogits": lambda run: half_precision(right_dlogits(run), 24)}
    ),
    # the contract of a gradient function
    Kind("another dtype comes back", ("dtype",), steps=on(0, narrowed), breaks=malformed),
    Kind("one entry is NaN", ("nan", "not finite"), steps=on(0, not_a_number), breaks=malformed),
    Kind(
        "one gradient too few",
        ("gradients",),
        steps={"finish": lambda run, grads: grads[:-1]},
        breaks=malformed,
    ),
    Kind(
        "the transposed weight's shape",
        ("shape",),
        {"sizes": (5, 4, 3)},
        1,
        on(0, lambda run, g: run.xp.matrix_transpose(g)),
        malformed,
    ),
    Kind("a stale forward pass", ("stale cache",), breaks=stale),
    Kind("a stale weight on the way back", ("stale cache",), {}, 1, breaks=stale_weight),
    Kind("gradients accumulate from call to call", ("not repeatable",), breaks=accumulating),
    Kind("a step is taken in place", ("in place",), breaks=stepping, mutates=True),
    Kind("an argument comes back changed", ("in place",), breaks=negated, mutates=True),
)


# --- which settings show a mistake --------------------------------------------------------------------------------

# The least relative distance of a wrong gradient from the true one, in some tensor, that counts as a mistake: the limit
# of difference quotients. In float64 the best resolve about eps^(3/5) = 4e-10. In float32 the gradient itself is
# rounded: by a thousand roundings of 1.2e-7 here; where terms cancel, by as much as the right gradient in float32 is.
VISIBLE = {"float64": 1e-9, "float32": 1e-4}
_ROUNDINGS = 10.0


def visible(case: Case) -> bool:
    """Whether the gradient is wrong by more than the rounding of the dtype.

    In some settings a mistake changes nothing (the derivative of relu at its value equals that at its argument), in
    others the error is smaller than the rounding of the right gradient. Complex steps of f decide both, without any
    checker. A broken contract of the gradient function (a cache, noise, shapes, dtypes, NaN) always counts.
    """
    truth = complex_steps(case.f, case.params)
    right = build(RIGHT, case.setting).grad
    wide = tuple(p.astype(np.float64) for p in case.params)
    wrong = case.grad(*(p.copy() for p in case.params))
    if case.kind.breaks or [(w.shape, w.dtype) for w in wrong] != [(p.shape, p.dtype) for p in case.params]:
        return True
    rounding = max(map(distance, right(*case.params), right(*wide)))
    return max(map(distance, wrong, truth)) > max(VISIBLE[case.setting.dtype], _ROUNDINGS * rounding)


def distance(x: np.ndarray, y: np.ndarray) -> float:
    """``||x - y|| / ||y||``; infinite where x is not finite, or y is zero and x is not."""
    difference, size = float(np.linalg.norm(x - y)), float(np.linalg.norm(y))
    return (difference / size if size else math.inf) if difference > 0.0 else 0.0 if difference == 0.0 else math.inf


def complex_steps(f: Callable[..., Any], params: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """``Im f(x + i h) / h`` for every entry: right to rounding, without a backward pass (Squire and Trapp 1998)."""
    grads = [np.empty(p.shape) for p in params]
    for position, grad in enumerate(grads):
        for index in np.ndindex(grad.shape):
            moved = [p.astype(np.complex128) for p in params]
            moved[position][index] += 1e-30j
            grad[index] = f(*moved).imag / 1e-30
    return grads


def top_diagnosis(report: Any) -> str:
    """The first diagnosis of a report, in lower case: a broken contract, else that of the array it blames."""
    if report.contract:
        return str(report.contract[0]).lower()
    failed = [row for row in report.tensors if row.verdict == "fail"]
    failed.sort(key=lambda row: not report.blame.startswith(f"{row.name},"))
    return str(failed[0].diagnosis).lower() if failed else ""


# (n, sizes): a few, since JAX compiles each again; n, d_h and d_out all differ
SHAPES = (
    (5, (4, 3)),
    (6, (5, 4, 3)),
    (4, (3, 8, 5)),
    (9, (7, 6, 5, 4)),
    (7, (5, 6, 4, 5, 3)),
    (11, (16, 12, 10)),
)


def cases(kind: Kind, number: int, dtype: str = "float64", seed: int = 0) -> Iterator[Case]:
    """A kind in ``number`` random settings: activations, widths, loss scales 1e-6 to 1e6, penalties, dropout."""
    random = np.random.default_rng([seed, sum(map(ord, kind.name)), dtype == "float32"])
    for _ in range(20 * number):  # with some activations some kinds change nothing
        shapes = [shape for shape in SHAPES if len(shape[1]) - 2 >= kind.hidden]
        n, sizes = shapes[random.integers(len(shapes))]
        criterion = random.choice(
            ["softmax_cross_entropy", "softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"]
        )
        chosen = {
            "n": n,
            "sizes": sizes,
            "activation": str(random.choice(["sigmoid", "tanh", "relu", "leaky_relu", "softplus", "silu"])),
            "criterion": str(criterion),
            "l2": float(random.choice([0.0, 0.0, 1e-3, 1e-2])),
            "l1": float(random.choice([0.0, 0.0, 0.0, 1e-3])),
            "weighted": bool(random.random() < 0.2),
            "dropout": float(random.choice([0.0, 0.0, 0.3])) if len(sizes) > 2 else 0.0,
            "scale": float(10.0 ** random.uniform(-6, 6)),
            "seed": int(random.integers(2**31)),
            "dtype": dtype,
        } | dict(kind.needs)
        if chosen["sizes"] != sizes:
            chosen["n"] = kind.needs.get("n", Setting().n)
        case = build(kind, Setting(**chosen))
        if visible(case):
            yield case
            number -= 1
            if not number:
                return
    raise ValueError(f"no setting shows {kind.name!r}")
