"""The usual mistakes in a network's backward pass, each as a gradient function, and the check that knows them all.

``gradcheck`` sees that a gradient is wrong; compared with these, it can often say why. A mistake is the record that the
way back reads (``mlp.Objective``) with something else in one place, or the right gradient of another objective.
``hypotheses`` lists them. ``blind_spots`` says which of them the data at hand would hide.

Before: ``mlp`` and ``gradcheck``. Next: the command ``mlp-xp gradcheck`` in ``cli``.
"""

from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeAlias, Unpack, cast

from mlp_xp._lib.moved import renamed
from mlp_xp._lib.namespace import device_kwargs, in_library_of, is_floating, is_integral, namespace, parameter_name
from mlp_xp._lib.typing import Array, Namespace, Params, Pullback
from mlp_xp.criterion import Criterion, blocks, criterion_named, targets_and_weights
from mlp_xp.dropout import dropout_mask
from mlp_xp.gradcheck import Report, gradcheck
from mlp_xp.mlp import Objective, Options, loss_and_grads, objective, objective_at, pull_back
from mlp_xp.ops import ACTIVATIONS, Activation, activations_of, affine

Gradient: TypeAlias = Callable[..., Params]
"""``grad(*params) -> (dW1, db1, dW2, db2, ...)``."""

__getattr__ = renamed(__name__, {"weak_probes": "mlp_xp.mistakes.blind_spots"})


class _Case(NamedTuple):
    """A network at some data. Layers are counted from 0 here, from 1 in words.

    at: the objective and its way back.
    activations: of each hidden layer.
    criterion: the record.
    logits, p: (n, k), and the outputs (n, k) that the criterion makes of them.
    targets, weights: targets (n, targets), and weights (n, 1) of the rows, which sum to 1.
    X: the inputs before dropout.
    """

    at: Objective
    activations: list[Activation]
    criterion: Criterion
    logits: Array
    p: Array
    targets: Array
    weights: Array
    X: Array

    def z(self, hidden: int) -> Array:
        """The argument of an activation, (n, d_h)."""
        return affine(self.at.layers[hidden].x, *self.at.params[2 * hidden : 2 * hidden + 2])[0]

    def a(self, hidden: int) -> Array:
        """The value of an activation, before dropout, (n, d_h)."""
        return self.activations[hidden].primitive(self.at.xp, self.z(hidden))[0]

    def pullback(self, hidden: int, z: Array) -> Pullback:
        """The pullback of an activation at another argument."""
        return self.activations[hidden].primitive(self.at.xp, z)[1]


def _case(X: Array, y: Array, params: Params, options: Options) -> _Case:
    at = objective_at(X, y, params, **options)
    logits = affine(at.layers[-1].x, *params[-2:])[0]
    criterion = criterion_named(options.get("criterion", "softmax_cross_entropy"))
    weight, smoothing = options.get("sample_weight"), options.get("label_smoothing", 0.0)
    targets, weights = targets_and_weights(at.xp, y, logits, weight, smoothing, criterion)
    activations = activations_of(options.get("activation", "sigmoid"), len(params) // 2 - 1)
    outputs = criterion.outputs(at.xp, logits, logits.shape[-1])
    return _Case(at, activations, criterion, logits, outputs, targets, weights[:, None], X)


# --- slips -------------------------------------------------------------------------------------------------------

_Slip: TypeAlias = Callable[[_Case], Params]
"""The gradient with something else in one place of the way back."""

_Mistake: TypeAlias = _Slip | Options | int
"""A slip; or the gradient of another objective: other options, or labels that are so much larger."""


def _gradient(at: Objective) -> Params:
    return pull_back(at, at.xp.ones_like(at.loss))


def _dlogits(instead: Callable[[_Case, Array], Array]) -> _Slip:
    """Another gradient of the logits."""

    def slip(case: _Case) -> Params:
        (right,) = case.at.pull_loss(case.at.xp.ones_like(case.at.loss))
        wrong = instead(case, right)
        return _gradient(case.at._replace(pull_loss=lambda dloss: (wrong,)))

    return slip


def _times(factor: float) -> _Slip:
    return _dlogits(lambda case, dlogits: factor * dlogits)


def _in_layers(field: str, layers: Collection[int], instead: Callable[[_Case, int], Any]) -> _Slip:
    """Another ``field`` in the records of these layers."""

    def slip(case: _Case) -> Params:
        records = list(case.at.layers)
        for i in layers:
            changed: dict[str, Any] = {field: instead(case, i)}
            records[i] = records[i]._replace(**changed)
        return _gradient(case.at._replace(layers=tuple(records)))

    return slip


def _activations(hidden: Collection[int], pull: Callable[[_Case, int], Pullback]) -> _Slip:
    """Another pullback of the activations of these hidden layers, which stands in the layer after."""
    return _in_layers("pull", [i + 1 for i in hidden], lambda case, i: pull(case, i - 1))


def _on_biases(strength: float, slope: Callable[[Namespace, Array], Array]) -> _Slip:
    """A penalty's gradient on the biases besides."""

    def slip(case: _Case) -> Params:
        pairs = enumerate(zip(_gradient(case.at), case.at.params, strict=True))
        return tuple(grad + strength * slope(case.at.xp, param) if i % 2 else grad for i, (grad, param) in pairs)

    return slip


def hypotheses(X: Array, y: Array, *params: Array, **options: Unpack[Options]) -> dict[str, Gradient]:
    """Name of a mistake -> ``grad(*params)`` that makes just this one: what ``gradcheck`` takes as ``hypotheses``.

    Skips mistakes that change nothing for these options, sizes and activations. Where two give the same gradient, the
    more common comes first; a mistake in every layer comes after those in one. What scales the gradient scales that of
    the data loss: penalties come on top.

    Args:
        X: a batch (n, d_in), real floating.
        y: integer labels (n,), or floating targets (n, d_out).
        params: W1, b1, W2, b2, ...
        options: as in ``objective``.

    Returns:
        The mistakes by name. Their functions take parameters of these shapes in any library and dtype; ``X`` and ``y``
        follow.

    Raises:
        ValueError, TypeError: as in ``objective``.

    >>> import numpy as np, mlp_xp as mx
    >>> X, y = np.eye(4, 3), np.asarray([0, 1, 0, 1])
    >>> known = mx.hypotheses(X, y, *mx.init_params((3, 5, 2)))
    >>> "divided by n: averaged over the batch twice" in known
    True
    """
    options = _checked(X, y, params, options)
    n, k = X.shape[0], params[-1].shape[-1]
    widths = [b.shape[-1] for b in params[1::2]]
    activations = activations_of(options.get("activation", "sigmoid"), len(widths) - 1)
    criterion = criterion_named(options.get("criterion", "softmax_cross_entropy"))
    mistakes = chain(
        _of_the_mean(n, k, options),
        _of_the_targets(y, k, criterion, options),
        _of_the_penalties(options),
        _of_the_activations(widths, activations),
        _of_the_affine_maps(n, widths, activations),
        _of_dropout(len(widths), options),
    )
    return {name: _gradient_with(mistake, X, y, options) for name, mistake in mistakes}


def _gradient_with(mistake: _Mistake, X: Array, y: Array, options: Options) -> Gradient:
    """The gradient function that makes a mistake; the right one for ``Options()``, other options without any."""

    def grad(*params: Array) -> Params:
        there, labels, own = _following(X, y, options, params[0])
        if callable(mistake):
            return mistake(_case(there, labels, params, own))
        if isinstance(mistake, int):
            xp, classes = namespace(labels), max(params[-1].shape[-1], 2)
            around = cast(Any, xp.astype(labels, xp.int32)) + (mistake + classes)  # the last label is next to the first
            return loss_and_grads(there, around % classes, *params, **own)[1]
        return loss_and_grads(there, labels, *params, **cast(Options, {**own, **mistake}))[1]

    return grad


# --- the list ----------------------------------------------------------------------------------------------------

_Named: TypeAlias = Iterator[tuple[str, _Mistake]]
"""Names and mistakes, the more common first."""


def _of_the_mean(n: int, k: int, options: Options) -> _Named:
    if n > 1:
        yield "multiplied by n: a sum over the batch where its mean belongs", _times(n)
        yield "divided by n: averaged over the batch twice", _times(1.0 / n)
    if k > 1:
        yield "multiplied by k, the number of outputs", _times(k)
        yield "divided by k: averaged over the outputs as well", _times(1.0 / k)
    if n > 1:
        for which, row in (("first", 0), ("last", n - 1)):
            yield f"only the {which} row of the batch counts", _only(row)
    if (weight := options.get("sample_weight")) is not None:
        yield "sample weights are missing", Options(sample_weight=None)
        yield "sample weights are not normalised", _times(float(namespace(weight).sum(weight)))


def _of_the_targets(y: Array, k: int, criterion: Criterion, options: Options) -> _Named:
    if is_integral(namespace(y), y.dtype):
        yield "labels are off by one, too large", 1
        yield "labels are off by one, too small", -1
    if smoothing := options.get("label_smoothing", 0.0):
        yield "label smoothing is missing", Options(label_smoothing=0.0)
        if 2.0 * smoothing < 1.0:
            yield "label smoothing is doubled", Options(label_smoothing=2.0 * smoothing)
    if criterion.family:
        yield from _of_the_criterion(criterion, k)
        yield "the targets are left out", _dlogits(_without_targets)


def _of_the_criterion(criterion: Criterion, k: int) -> _Named:
    family = criterion.family
    if family == "softmax_cross_entropy" and k > 1:
        yield "the softmax derivative is omitted", _dlogits(_without_softmax)
        yield "the softmax derivative is applied twice", _dlogits(_softmax_twice)
    if family == "squared_error":
        yield "the half of the square is forgotten", _times(2.0)
    if family in ("absolute_error", "huber", "quantile"):
        yield (
            "the derivative of the loss is that of the squared error",
            _dlogits(lambda case, dlogits: _gap(case) * case.weights),
        )
    if family == "quantile" and criterion.levels != (0.5,):
        yield (
            "the level of a quantile stands where 1 minus the level belongs",
            _dlogits(lambda case, dlogits: _sign(case.at.xp, _gap(case)) * case.weights - dlogits),
        )
    if family == "huber" and criterion.name not in ("huber", "huber(1.0)"):
        yield "the derivative beyond delta is 1 in place of delta", _dlogits(_beyond_delta)
    if family == "gaussian":
        yield "the half of the square is forgotten", _normal(2.0, lambda u, s: 1.0 - 2.0 * u * u)
        yield "log s is left out of the loss", _normal(1.0, lambda u, s: -u * u)
        yield "the derivative by s stands where that by log s belongs", _normal(1.0, lambda u, s: (1.0 - u * u) / s)
        yield "nothing flows back to s", _normal(1.0, lambda u, s: 0.0 * s)
        yield "log s is taken for log s^2", _dlogits(_log_variance)


def _of_the_penalties(options: Options) -> _Named:
    l2, l1 = cast(float, options.get("l2")), cast(float, options.get("l1"))  # of one network
    for option, strength, slope in ("l2", l2, lambda xp, b: b), ("l1", l1, lambda xp, b: xp.sign(b)):
        if strength:
            penalty = f"the {option.upper()} penalty is"
            yield f"{penalty} missing", cast(Options, {option: 0.0})
            yield f"{penalty} doubled", cast(Options, {option: 2.0 * strength})
            yield f"{penalty} on the biases too", _on_biases(strength, slope)


def _of_the_activations(widths: list[int], activations: list[Activation]) -> _Named:
    hidden = range(len(activations))
    for mistake, harmless, pull in _slopes():
        layers = [layer for layer in hidden if not harmless(activations[layer])]
        for layer in layers:
            yield f"{mistake} in layer {layer + 1}", _activations([layer], pull)
        if len(layers) > 1:
            yield f"{mistake} in every layer", _activations(layers, pull)
    for layer in hidden:
        for other in hidden:
            if other != layer and widths[other] == widths[layer] and activations[layer].slope_of != "nothing":
                where = f"in layer {layer + 1} is taken at the argument of layer {other + 1}"
                yield f"the derivative of the activation {where}", _activations([layer], _slope_at(other))


def _slopes() -> Iterator[tuple[str, Callable[[Activation], bool], Callable[[_Case, int], Pullback]]]:
    """The mistake, the activations for which it changes nothing, and the pullback of a hidden layer that makes it."""
    wrong = "the derivative of the activation is"
    yield f"{wrong} omitted", lambda own: own.slope_of == "nothing", lambda case, layer: lambda da: (da,)
    # the value of relu has the sign of its argument
    at_value = f"{wrong} taken at its value, not its argument,"
    yield at_value, lambda own: own.slope_of != "z", lambda case, layer: case.pullback(layer, case.a(layer))
    in_place = "the activation stands in place of its derivative"
    yield in_place, lambda own: False, lambda case, layer: lambda da: (da * case.a(layer),)
    for name, other in ACTIVATIONS.items():
        if other.slope_of != "nothing":  # a slope of 1: the derivative is omitted
            yield f"{wrong} that of {name}", other.__eq__, _slope_of(other)


def _slope_of(other: Activation) -> Callable[[_Case, int], Pullback]:
    """The pullback of another activation."""
    return lambda case, layer: other.primitive(case.at.xp, case.z(layer))[1]


def _slope_at(other: int) -> Callable[[_Case, int], Pullback]:
    """The activation's pullback at the argument of the hidden layer ``other``."""
    return lambda case, layer: case.pullback(layer, case.z(other))


def _of_the_affine_maps(n: int, widths: list[int], activations: list[Activation]) -> _Named:
    for layer, width in enumerate(widths):
        if n == width > 1:
            slip = _in_layers("sum_rows", [layer], lambda case, i: lambda dz: case.at.xp.sum(dz, axis=-1))
            yield f"the bias is summed over the wrong axis in layer {layer + 1}", slip
    for layer in range(1, len(widths)):
        if activations[layer - 1].slope_of != "nothing":
            slip = _in_layers("x", [layer], lambda case, i: case.z(i - 1))
            yield f"the weight gradient of layer {layer + 1} takes the pre-activation for the activation", slip
        if widths[layer - 1] == widths[layer] > 1:
            slip = _in_layers("weight", [layer], lambda case, i: case.at.xp.matrix_transpose(case.at.params[2 * i]))
            yield f"the weight on the way back through layer {layer + 1} is not transposed", slip
    for layer in range(len(activations)):
        slip = _activations([layer], lambda case, i: lambda da: (0.0 * da,))
        yield f"nothing flows back through layer {layer + 1}: it is detached", slip


def _of_dropout(layers: int, options: Options) -> _Named:
    if options.get("input_dropout", 0.0):
        slip = _in_layers("x", [0], lambda case, i: case.X)
        yield "the weight gradient of layer 1 takes the inputs before dropout", slip
    rate = options.get("dropout", 0.0)
    if not rate or layers == 1:
        return
    keep, seed, behind = 1.0 - rate, (cast(int, _seed(options)) + 1) % 2**31, range(1, layers)

    def afresh(case: _Case, layer: int) -> Array:
        n, width = case.at.layers[layer].x.shape
        return dropout_mask(case.at.xp, (n, width), rate, seed, layer, case.at.layers[0].x)

    for layer in behind:
        slip = _in_layers("x", [layer], lambda case, i: case.a(i - 1))
        yield f"the weight gradient of layer {layer + 1} takes the activation before dropout", slip
    yield "the dropout mask is missing on the way back", _in_layers("mask", behind, lambda case, i: None)
    unscaled = _in_layers("mask", behind, lambda case, i: keep * cast(Array, case.at.layers[i].mask))
    yield "the dropout mask is not scaled on the way back", unscaled
    yield "the dropout mask is drawn afresh on the way back", _in_layers("mask", behind, afresh)
    yield "multiplied by the keep probability", _times(keep)
    yield "divided by the keep probability", _times(1.0 / keep)


def _only(row: int) -> _Slip:
    """The gradient of the logits is zero in all rows but one."""

    def dlogits(case: _Case, right: Array) -> Array:
        xp = case.at.xp
        counts = xp.arange(right.shape[0], dtype=xp.int32, **device_kwargs(right)) == row
        return right * xp.astype(counts, right.dtype)[:, None]

    return _dlogits(dlogits)


def _without_targets(case: _Case, right: Array) -> Array:
    """The gradient at targets of 0; for softmax, where that is 0, the outputs alone."""
    if case.criterion.family == "softmax_cross_entropy":
        return case.p * case.weights
    xp = case.at.xp
    loss, pull = case.criterion.loss(xp, case.logits, xp.zeros_like(case.targets), case.weights[:, 0])
    return pull(xp.ones_like(loss))[0]


def _gap(case: _Case) -> Array:
    """Logits minus targets, (n, k)."""
    copies = case.criterion.outputs_per_target
    return case.logits - (case.targets if copies == 1 else case.at.xp.concat([case.targets] * copies, axis=-1))


def _sign(xp: Namespace, z: Array) -> Array:
    """-1, 0 or 1; array-api-compat's own transfers a mask on CuPy."""
    return xp.astype(z > 0, z.dtype) - xp.astype(z < 0, z.dtype)


def _beyond_delta(case: _Case, right: Array) -> Array:
    """The gap within delta, its sign beyond."""
    gap = _gap(case)
    return case.at.xp.where(right == gap * case.weights, right, _sign(case.at.xp, gap) * case.weights)


def _normal(times: float, of_scale: Callable[[Array, Array], Array]) -> _Slip:
    """The gradient of a normal distribution's mean, so many times, and another one of its scale s."""

    def instead(case: _Case, right: Array) -> Array:
        mean, s = blocks(case.p, case.p.shape[-1], 2)
        u = (case.targets - mean) / s
        return case.at.xp.concat([-times * u / s, of_scale(u, s)], axis=-1) * case.weights

    return _dlogits(instead)


def _log_variance(case: _Case, right: Array) -> Array:
    """The gradient where the second output is the logarithm of the variance."""
    mean, variance = blocks(case.p, case.p.shape[-1], 2)
    gap = case.targets - mean
    return case.at.xp.concat([-gap / variance, 0.5 * (1.0 - gap * gap / variance)], axis=-1) * case.weights


def _without_softmax(case: _Case, right: Array) -> Array:
    """``-t / p``, the gradient of the probabilities; p is held above 0."""
    xp, epsilon = case.at.xp, float(case.at.xp.finfo(case.p.dtype).eps)
    return -case.targets / xp.maximum(case.p, epsilon * xp.ones_like(case.p)) * case.weights


def _softmax_twice(case: _Case, right: Array) -> Array:
    """``p (g - sum p g)``, softmax's pullback, of a g that has been through it already."""
    return case.p * (right - case.at.xp.sum(case.p * right, axis=-1, keepdims=True))


# --- data that hides mistakes ------------------------------------------------------------------------------------


def blind_spots(X: Array, y: Array, *params: Array, **options: Unpack[Options]) -> tuple[str, ...]:
    """A sentence for each condition of data and parameters under which a mistake has the right gradient.

    What arrays show without a network, such as weights that are zero or symmetric, ``gradcheck`` says itself.

    Args:
        X: a batch (n, d_in), real floating.
        y: integer labels (n,), or floating targets (n, d_out).
        params: W1, b1, W2, b2, ...
        options: as in ``objective``.

    Returns:
        The sentences; none where no mistake is hidden.

    Raises:
        ValueError, TypeError: as in ``objective``.

    >>> import numpy as np, mlp_xp as mx
    >>> from mlp_xp.mistakes import blind_spots
    >>> for sentence in blind_spots(np.ones((1, 3)), np.asarray([0]), *mx.init_params((3, 5, 2))):
    ...     print(sentence)
    one row: a sum over the batch is its mean; take several rows
    """
    options = _checked(X, y, params, options)
    X, y, options = _following(X, y, options, params[0])
    case = _case(X, y, params, options)
    return (*_hidden_by_data(case, y), *_hidden_by_options(case, options), *_hidden_by_slopes(case))


def _hidden_by_data(case: _Case, y: Array) -> Iterator[str]:
    xp, X, targets = case.at.xp, case.at.layers[0].x, case.targets
    n = X.shape[0]
    if n == 1:
        yield "one row: a sum over the batch is its mean; take several rows"
    else:
        sizes = [x.shape[-1] for x in (*(layer.x for layer in case.at.layers), case.p)]
        of = ["the inputs", *(f"hidden layer {layer + 1}" for layer in range(len(sizes) - 2)), "the outputs"]
        if like := " and ".join(name for name, size in zip(of, sizes, strict=True) if size == n):
            yield f"n = {n}, the width of {like}: a mean over the wrong axis divides by the same; take another n"
        if _all(xp, targets == targets[:1, :]):
            same = "all labels are in one class" if y.ndim == 1 else "all rows of y are equal"
            yield f"{same}: a gradient that takes the target of another row is right; take different targets"
    if _all(xp, X == 0.0):
        yield "X is zero: so is the gradient of W1, whatever flows back to it; take other inputs"
    elif n > 1 and _all(xp, X[:1, :] == X):
        yield "all rows of X are equal: a gradient that takes another row is right; take different rows"
    if _all(xp, case.at.pull_loss(xp.ones_like(case.at.loss))[0] == 0.0):
        yield "the data loss has no gradient at these outputs: nothing flows back; take other targets or parameters"


def _hidden_by_options(case: _Case, options: Options) -> Iterator[str]:
    xp, biases = case.at.xp, case.at.params[1::2]
    n = case.p.shape[0]
    if (weight := options.get("sample_weight")) is not None:
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


def _hidden_by_slopes(case: _Case) -> Iterator[str]:
    xp = case.at.xp
    for number, (layer, activation) in enumerate(zip(case.at.layers[1:], case.activations, strict=True), start=1):
        slope = cast(Pullback, layer.pull)(xp.ones_like(layer.x))[0]
        if _all(xp, slope == 0.0):
            yield f"no unit of hidden layer {number} has a slope: nothing flows back through it; take other parameters"
        elif activation.slope_of != "nothing" and _all(xp, slope == 1.0):
            yield f"the slope of hidden layer {number} is 1 everywhere: without it all is right; take other parameters"


def _all(xp: Namespace, condition: Any) -> bool:
    return bool(xp.all(condition))


_NUMBERS = ("l2", "l1", "label_smoothing", "dropout", "input_dropout")

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
        X: a batch (n, d_in), real floating.
        y: integer labels (n,), or floating targets (n, d_out).
        params: W1, b1, W2, b2, ...
        mode, max_entries: as in ``gradcheck``.
        options: as in ``objective``. ``seed`` is that of ``gradcheck`` too.

    Returns:
        The ``Report``, with the blind spots of the data besides those of the arrays.

    Raises:
        ValueError, TypeError: as in ``objective``.

    >>> import numpy as np, mlp_xp as mx
    >>> X = np.random.default_rng(0).normal(size=(7, 3))
    >>> mx.check_gradients(X, np.arange(7) % 2, *mx.init_params((3, 5, 2))).verdict
    'pass'
    """
    known, options = hypotheses(X, y, *params, **options), _checked(X, y, params, options)

    def f(*at: Array) -> Array:
        there, targets, own = _following(X, y, options, at[0])
        return objective(there, targets, *at, **own)

    grad = _gradient_with(Options(), X, y, options)
    names, seed = [parameter_name(position) for position in range(len(params))], _seed(options) or 0
    report = gradcheck(
        f, grad, params, names, seed, mode=mode, vectorized=True, hypotheses=known, max_entries=max_entries
    )
    return report._replace(weak=(*report.weak, *blind_spots(X, y, *params, **options)))


def _checked(X: Array, y: Array, params: Params, options: Options) -> Options:
    """The options after ``objective`` has checked all arguments, their numbers as Python's, which promote no array."""
    objective(X, y, *params, **options)
    numbers = {name: float(cast(Any, options)[name]) for name in _NUMBERS if name in options}
    return cast(Options, {**options, **numbers})


def _following(X: Array, y: Array, options: Options, param: Array) -> tuple[Array, Array, Options]:
    """``X, y, options`` in the library of ``param`` and, where floating, in its dtype; the seed on the host."""
    xp = namespace(param)

    def alike(array: Array) -> Array:
        own = in_library_of(param, array)
        return xp.astype(own, param.dtype) if is_floating(xp, own.dtype) and own.dtype != param.dtype else own

    weight = options.get("sample_weight")
    moved = Options(sample_weight=None if weight is None else alike(weight), seed=_seed(options))
    return alike(X), alike(y), cast(Options, {**options, **moved})


def _seed(options: Options) -> int | None:
    seed = options.get("seed")
    return None if seed is None else int(seed)
