"""The usual mistakes in a network's backward pass, each as a gradient function, and the check that knows them all.

``gradcheck`` sees that a gradient is wrong; compared with these, it can often say why. ``_forward`` leaves a ``_Tape``
that ``_backward`` reads: a mistake is a tape with something else in one place, or the right gradient of another
objective. ``_table`` lists them; ``weak_probes`` says which of them the data at hand would hide.

Before: ``mlp`` and ``gradcheck``. Next: the command ``mlp-xp gradcheck`` in ``cli``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias, Unpack, cast

import numpy as np  # on the host alone: copies where a library has no float64

from mlp_xp._lib.arguments import activation_rules, rule_named
from mlp_xp._lib.namespace import device_kwargs, is_floating, is_integral, namespace, parameter_name
from mlp_xp._lib.typing import Array, Namespace, Params, Pullback
from mlp_xp.dropout import dropout_mask
from mlp_xp.gradcheck import Report, gradcheck
from mlp_xp.losses import CRITERIA, sigmoid, softmax, targets_and_weights
from mlp_xp.mlp import Options, loss_and_grads, objective
from mlp_xp.ops import ACTIVATIONS, Rule

Gradient: TypeAlias = Callable[..., Params]
"""``grad(*params) -> (dW1, db1, dW2, db2, ...)``."""


# --- the backward pass, and what it reads ------------------------------------------------------------------------


class _Tape(NamedTuple):
    """What the backward pass reads, and what mistakes put there. Layers are counted from 0 here, from 1 in words.

    params: W1, b1, W2, b2, ...
    p, targets, weights: outputs (n, k), targets (n, k), and weights (n, 1) of the rows, which sum to 1.
    z, a: of each hidden layer, before and after its activation, (n, d_h).
    rules, pulls: of each hidden layer, the activation's rule and its pullback at z.
    masks: of each hidden layer, dropout's (n, d_h).
    dlogits: the cotangent of the logits, (n, k).
    inputs: of each affine layer, (n, d_in).
    ways_back: of each affine layer, the weight with which cotangents go back through it, (d_out, d_in).
    batch_axes: of each affine layer, the axis over which its bias was broadcast.
    penalties: of each parameter, the gradient of its penalty.
    """

    xp: Namespace
    params: Params
    p: Array
    targets: Array
    weights: Array
    z: tuple[Array, ...]
    a: tuple[Array, ...]
    rules: tuple[Rule, ...]
    pulls: tuple[Pullback, ...]
    masks: tuple[Array, ...]
    dlogits: Array
    inputs: tuple[Array, ...]
    ways_back: tuple[Array, ...]
    batch_axes: tuple[int, ...]
    penalties: tuple[Array | float, ...]


def _forward(X: Array, y: Array, params: Params, options: Options) -> _Tape:
    xp = namespace(X, y, *params, names=("X", "y"))
    rules = tuple(activation_rules(options.get("activation", "sigmoid"), len(params) // 2 - 1))
    rate, seed = options.get("dropout", 0.0), cast(int, options.get("seed"))
    pre: list[Array] = []
    values: list[Array] = []
    pulls: list[Pullback] = []
    masks: list[Array] = []
    inputs = [X]
    for layer, rule in enumerate(rules):
        z = inputs[-1] @ params[2 * layer] + params[2 * layer + 1]
        a, pull = rule(xp, z)
        n, width = a.shape
        mask = dropout_mask(xp, (n, width), rate, seed, layer + 1, X) if rate else xp.ones_like(a)
        pre.append(z)
        values.append(a)
        pulls.append(pull)
        masks.append(mask)
        inputs.append(a * mask)
    logits = inputs[-1] @ params[-2] + params[-1]
    criterion = rule_named("criterion", CRITERIA, options.get("criterion", "softmax_cross_entropy"))
    smoothing, l2, l1 = (options.get(name, 0.0) for name in ("label_smoothing", "l2", "l1"))
    targets, weights = targets_and_weights(xp, y, logits, options.get("sample_weight"), cast(float, smoothing))
    probabilities = {"softmax_cross_entropy": softmax, "sigmoid_cross_entropy": sigmoid}
    outputs = probabilities.get(_name_in(CRITERIA, criterion))
    loss, pull_logits = criterion(xp, logits, targets, weights)
    return _Tape(
        xp=xp,
        params=params,
        p=outputs(logits) if outputs else logits,
        targets=targets,
        weights=weights[:, None],
        z=tuple(pre),
        a=tuple(values),
        rules=rules,
        pulls=tuple(pulls),
        masks=tuple(masks),
        dlogits=pull_logits(xp.ones_like(loss))[0],
        inputs=tuple(inputs),
        ways_back=tuple(xp.matrix_transpose(W) for W in params[::2]),
        batch_axes=(0,) * len(inputs),
        penalties=tuple(0.0 if i % 2 else l2 * W + l1 * xp.sign(W) for i, W in enumerate(params)),
    )


def _backward(tape: _Tape) -> Params:
    grads: Params = ()
    dz = tape.dlogits
    for layer in reversed(range(len(tape.inputs))):
        dW = tape.xp.matrix_transpose(tape.inputs[layer]) @ dz
        grads = (dW, tape.xp.sum(dz, axis=tape.batch_axes[layer]), *grads)
        if layer:
            da = dz @ tape.ways_back[layer] * tape.masks[layer - 1]
            (dz,) = tape.pulls[layer - 1](da)
    return tuple(grad + penalty for grad, penalty in zip(grads, tape.penalties, strict=True))


def _name_in(table: dict[str, Rule], rule: Rule) -> str:
    """The name of ``rule``; empty for a caller's own op."""
    return next((name for name, known in table.items() if known is rule), "")


# --- the mistakes ------------------------------------------------------------------------------------------------

_Slip: TypeAlias = Callable[[_Tape], _Tape]


def _dlogits(instead: Callable[[_Tape], Array]) -> _Slip:
    """The cotangent of the logits is another."""
    return lambda tape: tape._replace(dlogits=instead(tape))


def _times(factor: float) -> _Slip:
    return _dlogits(lambda tape: factor * tape.dlogits)


def _in_layers(field: str, layers: Collection[int], instead: Callable[[_Tape, int], Any]) -> _Slip:
    """Of the tape's ``field`` the entries at ``layers`` are others."""

    def slip(tape: _Tape) -> _Tape:
        entries = enumerate(getattr(tape, field))
        changed: Any = {field: tuple(instead(tape, i) if i in layers else entry for i, entry in entries)}
        return tape._replace(**changed)

    return slip


def hypotheses(X: Array, y: Array, *params: Array, **options: Unpack[Options]) -> dict[str, Gradient]:
    """Name of a mistake -> ``grad(*params)`` that makes just this one: what ``gradcheck`` takes as ``hypotheses``.

    Only mistakes that are some for these options, sizes and activations; the more common one first where two have the
    same gradient, and before a mistake that changes more tensors one that changes a part of them in the same way. What
    scales the gradient scales that of the data loss: penalties come on top.

    Args:
        X, y, params, options: as in ``objective``, whose errors are raised. The functions returned take parameters of
            these shapes in any library and dtype, and ``X`` and ``y`` follow.
    """
    objective(X, y, *params, **options)
    return {name: _gradient(X, y, options, mistake) for name, mistake in _table(X, y, params, options)}


_Mistake: TypeAlias = _Slip | Options | int
"""A slip on the way back, or the gradient of another objective: other options, or labels so much larger."""


def _gradient(X: Array, y: Array, options: Options, mistake: _Mistake) -> Gradient:
    def grad(*params: Array) -> Params:
        there, labels, own = _following(X, y, options, params[0])
        if callable(mistake):
            return _backward(mistake(_forward(there, labels, params, own)))
        if isinstance(mistake, int):
            xp, classes = namespace(labels), max(params[-1].shape[-1], 2)
            around = cast(Any, xp.astype(labels, xp.int32)) + (mistake + classes)  # the last label is next to the first
            return loss_and_grads(there, around % classes, *params, **own)[1]
        return loss_and_grads(there, labels, *params, **cast(Options, {**own, **mistake}))[1]

    return grad


def _table(X: Array, y: Array, params: Params, options: Options) -> Iterator[tuple[str, _Mistake]]:
    """Names and mistakes."""
    xp = namespace(X)
    n, k = X.shape[0], params[-1].shape[-1]
    widths = [b.shape[-1] for b in params[1::2]]
    affine, hidden = range(len(widths)), range(len(widths) - 1)
    criterion = options.get("criterion", "softmax_cross_entropy")
    criterion = _name_in(CRITERIA, rule_named("criterion", CRITERIA, criterion))

    # the mean over the batch
    if n > 1:
        yield "multiplied by n: a sum over the batch where its mean belongs", _times(n)
        yield "divided by n: averaged over the batch twice", _times(1.0 / n)
    if k > 1:
        yield "multiplied by k, the number of outputs", _times(k)
        yield "divided by k: averaged over the outputs as well", _times(1.0 / k)
    if n > 1:
        for which, row in (("first", 0), ("last", n - 1)):
            yield f"only the {which} row of the batch counts", _only(row)
    weight = options.get("sample_weight")
    if weight is not None:
        yield "sample weights are missing", Options(sample_weight=None)
        yield "sample weights are not normalised", _times(float(xp.sum(weight)))

    # from the targets to the logits
    if is_integral(xp, y.dtype):
        yield "labels are off by one, too large", 1
        yield "labels are off by one, too small", -1
    smoothing = options.get("label_smoothing", 0.0)
    if smoothing:
        yield "label smoothing is missing", Options(label_smoothing=0.0)
        if 2.0 * smoothing < 1.0:
            yield "label smoothing is doubled", Options(label_smoothing=2.0 * smoothing)
    if criterion == "softmax_cross_entropy" and k > 1:
        yield "the softmax derivative is omitted", _dlogits(_without_softmax)
        yield "the softmax derivative is applied twice", _dlogits(_softmax_twice)
    if criterion:
        yield "the targets are left out", _dlogits(lambda tape: tape.p * tape.weights)

    # penalties
    biases = range(1, len(params), 2)
    if l2 := options.get("l2", 0.0):
        yield "the L2 penalty is missing", Options(l2=0.0)
        yield "the L2 penalty is doubled", Options(l2=2.0 * l2)
        decay = _in_layers("penalties", biases, lambda tape, i: l2 * tape.params[i])
        yield "the L2 penalty is on the biases too", decay
    if l1 := options.get("l1", 0.0):
        yield "the L1 penalty is missing", Options(l1=0.0)
        yield "the L1 penalty is doubled", Options(l1=2.0 * l1)
        shrink = _in_layers("penalties", biases, lambda tape, i: l1 * tape.xp.sign(tape.params[i]))
        yield "the L1 penalty is on the biases too", shrink

    # activations
    names = [
        _name_in(ACTIVATIONS, rule) for rule in activation_rules(options.get("activation", "sigmoid"), len(hidden))
    ]
    for mistake, harmless, pull in _SLOPES:
        layers = [layer for layer in hidden if names[layer] not in harmless]
        for layer in layers:
            yield f"{mistake} in layer {layer + 1}", _in_layers("pulls", [layer], pull)
        if len(layers) > 1:
            yield f"{mistake} in every layer", _in_layers("pulls", layers, pull)
    for layer in hidden:
        for other in hidden:
            if other != layer and widths[other] == widths[layer] and names[layer] != "identity":
                where = f"in layer {layer + 1} is taken at the argument of layer {other + 1}"
                yield f"the derivative of the activation {where}", _in_layers("pulls", [layer], _slope_at(other))

    # affine layers
    for layer in affine:
        if n == widths[layer] > 1:
            slip = _in_layers("batch_axes", [layer], lambda tape, i: -1)
            yield f"the bias is summed over the wrong axis in layer {layer + 1}", slip
    for layer in affine[1:]:
        if names[layer - 1] != "identity":
            slip = _in_layers("inputs", [layer], lambda tape, i: tape.z[i - 1])
            yield f"the weight gradient of layer {layer + 1} takes the pre-activation for the activation", slip
        if widths[layer - 1] == widths[layer] > 1:
            slip = _in_layers("ways_back", [layer], lambda tape, i: tape.params[2 * i])
            yield f"the weight on the way back through layer {layer + 1} is not transposed", slip
    for layer in hidden:
        slip = _in_layers("pulls", [layer], lambda tape, i: lambda da: (0.0 * da,))
        yield f"nothing flows back through layer {layer + 1}: it is detached", slip

    # dropout
    rate = options.get("dropout", 0.0)
    if rate and hidden:
        keep, seed = 1.0 - rate, (cast(int, _seed(options)) + 1) % 2**31
        for layer in affine[1:]:
            slip = _in_layers("inputs", [layer], lambda tape, i: tape.a[i - 1])
            yield f"the weight gradient of layer {layer + 1} takes the activation before dropout", slip
        missing = _in_layers("masks", hidden, lambda tape, i: tape.xp.ones_like(tape.masks[i]))
        yield "the dropout mask is missing on the way back", missing
        unscaled = _in_layers("masks", hidden, lambda tape, i: keep * tape.masks[i])
        yield "the dropout mask is not scaled on the way back", unscaled
        afresh = _in_layers("masks", hidden, lambda tape, i: _mask(tape, i, rate, seed))
        yield "the dropout mask is drawn afresh on the way back", afresh
        yield "multiplied by the keep probability", _times(keep)
        yield "divided by the keep probability", _times(1.0 / keep)


# What is done wrong, for which activations it is nothing wrong, and the pullback of a hidden layer that does it.
_SLOPES: tuple[tuple[str, Collection[str], Callable[[_Tape, int], Pullback]], ...] = (
    (
        "the derivative of the activation is omitted",
        ("identity",),
        lambda tape, layer: lambda da: (da,),
    ),
    (
        "the derivative of the activation is taken at its value, not its argument,",
        ("identity", "relu", "leaky_relu"),  # whose values have the sign of their arguments
        lambda tape, layer: tape.rules[layer](tape.xp, tape.a[layer])[1],
    ),
    (
        "the activation stands in place of its derivative",
        (),
        lambda tape, layer: lambda da: (da * tape.a[layer],),
    ),
    *(
        (
            f"the derivative of the activation is that of {name}",
            (name,),
            lambda tape, layer, rule=rule: rule(tape.xp, tape.z[layer])[1],
        )
        for name, rule in ACTIVATIONS.items()
        if name != "identity"  # whose derivative is 1: omitted
    ),
)


def _slope_at(other: int) -> Callable[[_Tape, int], Pullback]:
    """The activation's pullback at the argument of the hidden layer ``other``."""
    return lambda tape, layer: tape.rules[layer](tape.xp, tape.z[other])[1]


def _only(row: int) -> _Slip:
    """The cotangent of the logits is zero in all rows but one."""

    def dlogits(tape: _Tape) -> Array:
        xp, n = tape.xp, tape.dlogits.shape[0]
        counts = xp.arange(n, dtype=xp.int32, **device_kwargs(tape.dlogits)) == row
        return tape.dlogits * xp.astype(counts, tape.dlogits.dtype)[:, None]

    return _dlogits(dlogits)


def _without_softmax(tape: _Tape) -> Array:
    """``-t / p``, the cotangent of the probabilities, held where p is 0."""
    xp, epsilon = tape.xp, float(tape.xp.finfo(tape.p.dtype).eps)
    return -tape.targets / xp.maximum(tape.p, epsilon * xp.ones_like(tape.p)) * tape.weights


def _softmax_twice(tape: _Tape) -> Array:
    """``p (g - sum p g)``, softmax's pullback, of a g that has been through it already."""
    g = tape.dlogits
    return tape.p * (g - tape.xp.sum(tape.p * g, axis=-1, keepdims=True))


def _mask(tape: _Tape, layer: int, rate: float, seed: int) -> Array:
    n, width = tape.masks[layer].shape
    return dropout_mask(tape.xp, (n, width), rate, seed, layer + 1, tape.inputs[0])


# --- data that hides mistakes ------------------------------------------------------------------------------------


def weak_probes(X: Array, y: Array, *params: Array, **options: Unpack[Options]) -> tuple[str, ...]:
    """A sentence for each condition of data and parameters under which a mistake has the right gradient.

    What arrays show without a network, such as weights that are zero or symmetric, ``gradcheck`` says itself.

    Args:
        X, y, params, options: as in ``objective``, whose errors are raised.
    """
    objective(X, y, *params, **options)
    X, y, options = _following(X, y, options, params[0])
    tape = _forward(X, y, params, options)
    return (*_weak_data(tape, y), *_weak_options(tape, options), *_weak_layers(tape))


def _weak_data(tape: _Tape, y: Array) -> Iterator[str]:
    xp, X, targets = tape.xp, tape.inputs[0], tape.targets
    n = X.shape[0]
    if n == 1:
        yield "one row: a sum over the batch is its mean; take several rows"
    else:
        sizes = [x.shape[-1] for x in (*tape.inputs, tape.p)]
        of = ["the inputs", *(f"hidden layer {layer}" for layer in range(1, len(tape.inputs))), "the outputs"]
        like = " and ".join(name for name, size in zip(of, sizes, strict=True) if size == n)
        if like:
            yield f"n = {n}, the width of {like}: a mean over the wrong axis divides by the same; take another n"
        if _all(xp, targets == targets[:1, :]):
            same = "all labels are in one class" if y.ndim == 1 else "all rows of y are equal"
            yield f"{same}: a gradient that takes the target of another row is right; take different targets"
    if _all(xp, X == 0.0):
        yield "X is zero: so is the gradient of W1, whatever flows back to it; take other inputs"
    elif n > 1 and _all(xp, X[:1, :] == X):
        yield "all rows of X are equal: a gradient that takes another row is right; take different rows"
    if _all(xp, tape.dlogits == 0.0):
        yield "the data loss has no gradient at these outputs: nothing flows back; take other targets or parameters"


def _weak_options(tape: _Tape, options: Options) -> Iterator[str]:
    xp, biases = tape.xp, tape.params[1::2]
    n = tape.inputs[0].shape[0]
    weight = options.get("sample_weight")
    if weight is not None:
        total = float(xp.sum(weight))
        within = 4.0 * n * float(xp.finfo(weight.dtype).eps) * total  # the rounding of a sum of n terms, and to spare
        if n > 1 and _all(xp, weight == weight[0]):
            yield "all sample weights are equal: a gradient without them is right; take different weights"
        if abs(total - 1.0) <= within:
            yield "sample weights sum to 1: one that does not normalise them is right; take another sum"
        elif abs(total - n) <= within:
            yield f"sample weights sum to n = {n}: one that divides by n instead is right; take another sum"
    if (options.get("l2") or options.get("l1")) and all(_all(xp, b == 0.0) for b in biases):
        yield "all biases are zero: a penalty on them too has no gradient; take other biases"


def _weak_layers(tape: _Tape) -> Iterator[str]:
    xp = tape.xp
    for layer, (pull, rule, z) in enumerate(zip(tape.pulls, tape.rules, tape.z, strict=True), start=1):
        slope = pull(xp.ones_like(z))[0]
        if _all(xp, slope == 0.0):
            yield f"no unit of hidden layer {layer} has a slope: nothing flows back through it; take other parameters"
        elif rule is not ACTIVATIONS["identity"] and _all(xp, slope == 1.0):
            yield f"the slope of hidden layer {layer} is 1 everywhere: without it all is right; take other parameters"


def _all(xp: Namespace, condition: Any) -> bool:
    return bool(xp.all(condition))


# --- the check ---------------------------------------------------------------------------------------------------


def check_gradients(
    X: Array,
    y: Array,
    *params: Array,
    mode: Literal["auto", "full"] = "auto",
    max_entries: int = 10_000,
    **options: Unpack[Options],
) -> Report:
    """Are the gradients of ``loss_and_grads`` those of ``objective``? ``gradcheck``, with the network's mistakes known.

    Function and gradient are judged in float64 where the library, or else NumPy, has it: ``X``, floating ``y`` and
    sample weights follow the parameters there.

    Args:
        X, y, params, options: as in ``objective``, whose errors are raised. ``seed`` is that of ``gradcheck`` too.
        mode, max_entries: as in ``gradcheck``.
    """
    known = hypotheses(X, y, *params, **options)

    def f(*at: Array) -> Array:
        there, targets, own = _following(X, y, options, at[0])
        return objective(there, targets, *at, **own)

    def grad(*at: Array) -> Params:
        there, targets, own = _following(X, y, options, at[0])
        return loss_and_grads(there, targets, *at, **own)[1]

    names = [parameter_name(position) for position in range(len(params))]
    report = gradcheck(
        f,
        grad,
        params,
        names,
        _seed(options) or 0,
        mode=mode,
        vectorized=True,
        hypotheses=known,
        max_entries=max_entries,
    )
    return report._replace(weak=(*report.weak, *weak_probes(X, y, *params, **options)))


def _following(X: Array, y: Array, options: Options, param: Array) -> tuple[Array, Array, Options]:
    """``X, y, options`` in the library of ``param`` and, where floating, in its dtype; the seed on the host."""
    xp = namespace(param)

    def alike(array: Array) -> Array:
        own = array if namespace(array) is xp else xp.asarray(np.asarray(array))
        return xp.astype(own, param.dtype) if is_floating(xp, own.dtype) and own.dtype != param.dtype else own

    weight = options.get("sample_weight")
    moved = Options(sample_weight=None if weight is None else alike(weight), seed=_seed(options))
    return alike(X), alike(y), cast(Options, {**options, **moved})


def _seed(options: Options) -> int | None:
    seed = options.get("seed")
    return None if seed is None else int(seed)
