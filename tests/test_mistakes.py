"""The usual mistakes: each changes the gradient, is what its name says and is found; right gradients pass the check."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import textbook
from marks import EAGER

import mlp_xp as mx
from mlp_xp import mistakes

# Two float64 computations of one formula, through exp and quotients: some hundred roundings.
CLOSE = 1e-12
# gradcheck sees relative errors of this size
VISIBLE = 1e-3

WEIGHTS = np.linspace(0.5, 2.0, 6)
NUMBERS = textbook.read_only(4.0 * textbook.soft_targets() - 2.0)

# name -> sizes, y, options. Six rows. Every mistake occurs in some case; in no case do two mistakes coincide.
CASES = {
    "no hidden layer": (
        (4, 3),
        textbook.labels(),
        {"l2": 0.1, "l1": 0.05, "label_smoothing": 0.1, "sample_weight": WEIGHTS},
    ),
    "one output": (
        (4, 6, 1),
        textbook.soft_targets(k=1),
        {"activation": "relu", "criterion": "sigmoid_cross_entropy"},
    ),
    "two hidden layers": (
        (4, 5, 5, 3),
        textbook.soft_targets(),
        {"activation": ("tanh", "silu"), "criterion": "squared_error"},
    ),
    "dropout": ((4, 5, 3), textbook.labels(), {"activation": "tanh", "dropout": 0.3, "seed": 2}),
    "absolute error": ((4, 3), NUMBERS, {"criterion": "absolute_error"}),
    "Huber": ((4, 3), NUMBERS, {"criterion": mx.losses.huber(0.5)}),
    "quantiles": ((4, 4), NUMBERS[:, :2], {"criterion": mx.losses.quantile(0.1, 0.7)}),
    "normal distribution": ((4, 4), NUMBERS[:, :2], {"criterion": "gaussian"}),
    "everything": (
        (4, 5, 5, 3),
        textbook.labels(),
        {
            "activation": ("tanh", "gelu"),
            "l2": 0.1,
            "l1": 0.05,
            "label_smoothing": 0.1,
            "sample_weight": WEIGHTS,
            "dropout": 0.3,
            "input_dropout": 0.2,
            "seed": 2,
        },
    ),
}

# Every name there is; {l}, {m} are layers, {name} an activation.
NAMES = {
    "multiplied by n: a sum over the batch where its mean belongs",
    "divided by n: averaged over the batch twice",
    "multiplied by k, the number of outputs",
    "divided by k: averaged over the outputs as well",
    "multiplied by the keep probability",
    "divided by the keep probability",
    "the derivative of the activation is omitted in layer {l}",
    "the derivative of the activation is omitted in every layer",
    "the derivative of the activation is taken at its value, not its argument, in layer {l}",
    "the derivative of the activation is taken at its value, not its argument, in every layer",
    "the derivative of the activation in layer {l} is taken at the argument of layer {m}",
    "the derivative of the activation is that of {name} in layer {l}",
    "the derivative of the activation is that of {name} in every layer",
    "the activation stands in place of its derivative in layer {l}",
    "the activation stands in place of its derivative in every layer",
    "nothing flows back through layer {l}: it is detached",
    "labels are off by one, too large",
    "labels are off by one, too small",
    "label smoothing is missing",
    "label smoothing is doubled",
    "sample weights are missing",
    "sample weights are not normalised",
    "the L2 penalty is missing",
    "the L2 penalty is doubled",
    "the L2 penalty is on the biases too",
    "the L1 penalty is missing",
    "the L1 penalty is doubled",
    "the L1 penalty is on the biases too",
    "the dropout mask is missing on the way back",
    "the dropout mask is drawn afresh on the way back",
    "the dropout mask is not scaled on the way back",
    "only the first row of the batch counts",
    "only the last row of the batch counts",
    "the bias is summed over the wrong axis in layer {l}",
    "the softmax derivative is omitted",
    "the softmax derivative is applied twice",
    "the targets are left out",
    "the half of the square is forgotten",
    "the derivative of the loss is that of the squared error",
    "the level of a quantile stands where 1 minus the level belongs",
    "the derivative beyond delta is 1 in place of delta",
    "log s is left out of the loss",
    "the derivative by s stands where that by log s belongs",
    "nothing flows back to s",
    "log s is taken for log s^2",
    "the weight on the way back through layer {l} is not transposed",
    "the weight gradient of layer {l} takes the pre-activation for the activation",
    "the weight gradient of layer {l} takes the activation before dropout",
    "the weight gradient of layer {l} takes the inputs before dropout",
}


@pytest.fixture
def placed(put):
    """``placed(X, y, params, options, dtype=None)``: the same on the backend; what is floating in ``dtype``."""

    def placed(X, y, params, options, dtype=None):
        def there(array):
            return put(array, dtype) if array.dtype.kind == "f" else put(array)

        moved = {key: there(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}
        return there(X), there(y), tuple(map(there, params)), moved

    return placed


@pytest.fixture(params=CASES)
def case(request, placed):
    sizes, y, options = CASES[request.param]
    return placed(textbook.batch(), y, textbook.parameters(sizes), options)


def apart(host, ours, theirs):
    """The largest relative distance of two gradients over their tensors."""
    return max(textbook.relative_error(host(a), host(b)) for a, b in zip(ours, theirs, strict=True))


def objective_of(X, y, options, *params):
    return mx.objective(X, y, *params, **options)


def kind(name):
    """The name without its layers and activation."""
    name = re.sub(r"activation is that of (\w+)", "activation is that of {name}", name)
    return re.sub(r"layer \d", "layer {m}", re.sub(r"layer \d", "layer {l}", name, count=1))


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_the_cases_cover_every_mistake_and_no_other():
    found = set()
    for sizes, y, options in CASES.values():
        found |= set(map(kind, mistakes.hypotheses(textbook.batch(), y, *textbook.parameters(sizes), **options)))
    assert found == NAMES


@EAGER
def test_every_mistake_changes_the_gradient_and_no_two_are_the_same(case, host):
    X, y, params, options = case
    right = [host(g) for g in mx.loss_and_grads(X, y, *params, **options)[1]]
    known = mistakes.hypotheses(X, y, *params, **options)
    grads = {name: [host(g) for g in wrong(*params)] for name, wrong in known.items()}
    for name, mine in grads.items():
        assert max(map(textbook.relative_error, mine, right)) > VISIBLE, name
        # gradcheck names the first mistake whose gradients agree with all tensors that fail
        failing = [i for i, (a, b) in enumerate(zip(mine, right, strict=True)) if textbook.relative_error(a, b) > CLOSE]
        same = [
            other
            for other, theirs in grads.items()
            if all(textbook.relative_error(mine[i], theirs[i]) < VISIBLE for i in failing)
        ]
        assert same[0] == name, same


@pytest.mark.only("numpy", "torch", "array_api_strict")
def test_every_kind_of_mistake_is_refused_by_its_name(placed):
    seen = set()
    for sizes, y, options in CASES.values():
        X, y, params, options = placed(textbook.batch(), y, textbook.parameters(sizes), options)
        known = mistakes.hypotheses(X, y, *params, **options)
        grads = {name: wrong(*params) for name, wrong in known.items()}  # once each
        at_params = {name: lambda *_, name=name, grads=grads: grads[name] for name in grads}
        f = partial(objective_of, X, y, options)
        for name, wrong in known.items():
            if kind(name) not in seen:
                seen.add(kind(name))
                report = mx.gradcheck(f, wrong, params, vectorized=True, hypotheses=at_params)
                assert report.verdict == "fail", name
                assert {row.diagnosis for row in report.tensors if row.verdict == "fail"} == {name}
    assert seen == NAMES


@pytest.mark.only("numpy")
def test_mistakes_that_change_nothing_are_left_out():
    X, y, params = textbook.batch(), textbook.labels(), textbook.parameters()

    def names(X=X, y=y, params=params, **options):
        return " | ".join(mistakes.hypotheses(X, y, *params, **options))

    assert "multiplied by n" in names()
    assert not re.search("by n|row of the batch", names(X[:1], y[:1]))
    assert not re.search("penalty|dropout|keep|smoothing|sample weights|every layer", names())
    assert "activation is omitted" not in names(activation="identity")
    assert "pre-activation" not in names(activation="identity")
    assert "that of relu" not in names(activation="relu")
    assert "at its value" not in names(activation="relu")
    assert "doubled" not in names(label_smoothing=0.6)  # there is no smoothing of 1.2
    assert "labels" not in names(y=textbook.soft_targets())
    one = textbook.parameters((4, 5, 1))
    assert not re.search("by k|softmax", names(y=y % 2, params=one, criterion="sigmoid_cross_entropy"))


@pytest.mark.only("numpy")
def test_of_two_mistakes_that_coincide_the_more_common_comes_first():
    def names(n, sizes, **options):
        params = textbook.parameters(sizes)
        return list(mistakes.hypotheses(textbook.batch(n), textbook.labels(n, sizes[-1]), *params, **options))

    three = names(3, (4, 5, 3))  # n = k
    assert three.index("multiplied by n: a sum over the batch where its mean belongs") < three.index(
        "multiplied by k, the number of outputs"
    )
    # the logistic function is the derivative of softplus
    sigmoid = names(6, (4, 5, 3))
    assert sigmoid.index("the activation stands in place of its derivative in layer 1") < sigmoid.index(
        "the derivative of the activation is that of softplus in layer 1"
    )
    # with one hidden layer both change the first tensors alike: the mistake that changes only these comes first
    dropped = names(6, (4, 5, 3), dropout=0.3, seed=1)
    assert dropped.index("the dropout mask is not scaled on the way back") < dropped.index(
        "multiplied by the keep probability"
    )


def test_bad_options_are_refused_as_by_the_objective(placed):
    X, y, params, _ = placed(textbook.batch(), textbook.labels(), textbook.parameters(), {})
    for function in (mistakes.hypotheses, mistakes.blind_spots, mistakes.check_gradients):
        with pytest.raises(TypeError, match="options are"):
            function(X, y, *params, l3=0.1)
        with pytest.raises(ValueError, match="dropout needs a seed"):
            function(X, y, *params, dropout=0.1)


# --- against formulae written out ------------------------------------------------------------------------------------


def logistic(z):
    return 1 / (1 + np.exp(-z))


def written_out():
    """The gradients of each mistake by formulae: two layers, sigmoid and softmax; n, d_h and d_out are 5."""
    n = k = 5
    X, y, params = textbook.batch(n), textbook.labels(n, k), textbook.parameters((4, 5, 5))
    W1, b1, W2, b2 = params
    rate, seed, l2, l1, smoothing = 0.4, 9, 0.1, 0.03, 0.2
    sample_weight = np.array([0.5, 1.0, 2.0, 1.5, 0.7])
    options = {"dropout": rate, "seed": seed, "l2": l2, "l1": l1, "label_smoothing": smoothing}
    options["sample_weight"] = sample_weight

    mask = textbook.dropout_mask(n, 5, rate, seed, layer=1)
    z1 = X @ W1 + b1
    a1 = logistic(z1)
    z2 = (a1 * mask) @ W2 + b2
    p = np.exp(z2) / np.exp(z2).sum(axis=1, keepdims=True)
    w = (sample_weight / sample_weight.sum())[:, None]

    def smooth(y, s=smoothing):
        return (1 - s) * np.eye(k)[y] + s / k

    t = smooth(y)

    def grads(dz2=None, slope=None, mask=mask, x2=a1 * mask, back=W2.T, axes=(0, 0), l2=(l2, 0), l1=(l1, 0)):
        dz2 = (p - t) * w if dz2 is None else dz2
        dz1 = dz2 @ back * mask * (a1 * (1 - a1) if slope is None else slope)
        data = X.T @ dz1, dz1.sum(axis=axes[0]), x2.T @ dz2, dz2.sum(axis=axes[1])
        return [g + l2[i % 2] * q + l1[i % 2] * np.sign(q) for i, (g, q) in enumerate(zip(data, params, strict=True))]

    dz2 = (p - t) * w
    rows = np.arange(n)[:, None]
    in_layer_1 = "the derivative of the activation is"
    wrong = {
        "multiplied by n: a sum over the batch where its mean belongs": grads(n * dz2),
        "divided by n: averaged over the batch twice": grads(dz2 / n),
        "multiplied by k, the number of outputs": grads(k * dz2),
        "divided by k: averaged over the outputs as well": grads(dz2 / k),
        "multiplied by the keep probability": grads(0.6 * dz2),
        "divided by the keep probability": grads(dz2 / 0.6),
        "only the first row of the batch counts": grads(dz2 * (rows == 0)),
        "only the last row of the batch counts": grads(dz2 * (rows == n - 1)),
        "sample weights are missing": grads((p - t) / n),
        "sample weights are not normalised": grads((p - t) * sample_weight[:, None]),
        "labels are off by one, too large": grads((p - smooth((y + 1) % k)) * w),
        "labels are off by one, too small": grads((p - smooth((y - 1) % k)) * w),
        "label smoothing is missing": grads((p - np.eye(k)[y]) * w),
        "label smoothing is doubled": grads((p - smooth(y, 0.4)) * w),
        "the softmax derivative is omitted": grads(-t / p * w),
        "the softmax derivative is applied twice": grads(p * (dz2 - (p * dz2).sum(axis=1, keepdims=True))),
        "the targets are left out": grads(p * w),
        "the L2 penalty is missing": grads(l2=(0, 0)),
        "the L2 penalty is doubled": grads(l2=(2 * l2, 0)),
        "the L2 penalty is on the biases too": grads(l2=(l2, l2)),
        "the L1 penalty is missing": grads(l1=(0, 0)),
        "the L1 penalty is doubled": grads(l1=(2 * l1, 0)),
        "the L1 penalty is on the biases too": grads(l1=(l1, l1)),
        f"{in_layer_1} omitted in layer 1": grads(slope=1),
        f"{in_layer_1} taken at its value, not its argument, in layer 1": grads(
            slope=logistic(a1) * (1 - logistic(a1))
        ),
        "the activation stands in place of its derivative in layer 1": grads(slope=a1),
        f"{in_layer_1} that of tanh in layer 1": grads(slope=1 - np.tanh(z1) ** 2),
        f"{in_layer_1} that of relu in layer 1": grads(slope=z1 > 0),
        "nothing flows back through layer 1: it is detached": grads(slope=0),
        "the bias is summed over the wrong axis in layer 1": grads(axes=(1, 0)),
        "the bias is summed over the wrong axis in layer 2": grads(axes=(0, 1)),
        "the weight on the way back through layer 2 is not transposed": grads(back=W2),
        "the weight gradient of layer 2 takes the pre-activation for the activation": grads(x2=z1),
        "the weight gradient of layer 2 takes the activation before dropout": grads(x2=a1),
        "the dropout mask is missing on the way back": grads(mask=1),
        "the dropout mask is not scaled on the way back": grads(mask=mask > 0),
        "the dropout mask is drawn afresh on the way back": grads(mask=textbook.dropout_mask(n, 5, rate, seed + 1, 1)),
    }
    return X, y, params, options, wrong


@EAGER
def test_every_mistake_is_what_its_name_says(placed, host):
    *given, wrong = written_out()
    X, y, params, options = placed(*given)
    known = mistakes.hypotheses(X, y, *params, **options)
    assert {name for name in known if "that of" not in name} <= set(wrong)
    for name, theirs in wrong.items():
        size = max(np.max(np.abs(other)) for other in theirs)  # a sum over the outputs of p - t is 0, up to rounding
        for ours, other in zip(known[name](*params), theirs, strict=True):
            assert np.max(np.abs(host(ours) - other)) <= CLOSE * size, name


@pytest.mark.parametrize("shift", [1, -1])
def test_a_label_off_by_one_is_the_right_gradient_at_the_next_label(placed, host, shift):
    given = textbook.batch(), textbook.labels(), textbook.parameters(), {"activation": "tanh"}
    X, y, params, options = placed(*given)
    word = "large" if shift > 0 else "small"
    ours = mistakes.hypotheses(X, y, *params, **options)[f"labels are off by one, too {word}"](*params)
    theirs = textbook.gradients(given[0], (given[1] + shift) % 3, *given[2], activation="tanh")
    for mine, other in zip(ours, theirs, strict=True):
        assert textbook.relative_error(host(mine), other) <= CLOSE


def test_the_slope_of_another_layer_is_taken_at_its_argument(placed, host):
    X, y, P = textbook.batch(), textbook.labels(), textbook.parameters((4, 5, 5, 3))
    z1 = X @ P[0] + P[1]
    z2 = np.tanh(z1) @ P[2] + P[3]
    z3 = np.tanh(z2) @ P[4] + P[5]
    p = np.exp(z3) / np.exp(z3).sum(axis=1, keepdims=True)
    dz3 = (p - np.eye(3)[y]) / len(y)
    dz2 = dz3 @ P[4].T * (1 - np.tanh(z1) ** 2)
    X, y, params, options = placed(X, y, P, {"activation": "tanh"})
    name = "the derivative of the activation in layer 2 is taken at the argument of layer 1"
    ours = mistakes.hypotheses(X, y, *params, **options)[name](*params)
    assert textbook.relative_error(host(ours[2]), np.tanh(z1).T @ dz2) <= CLOSE


@EAGER
def test_a_mistake_follows_the_parameters_to_another_dtype(placed, host, xp):
    sizes, y, options = CASES["everything"]
    given = textbook.batch(), y, textbook.parameters(sizes)
    X, y, params, options = placed(*given, options, xp.float32)
    wide = tuple(xp.astype(p, xp.float64) for p in params)
    for name, wrong in mistakes.hypotheses(X, y, *params, **options).items():
        assert all(g.dtype == xp.float32 for g in wrong(*params)), name
        assert all(g.dtype == xp.float64 for g in wrong(*wide)), name


# --- the check -------------------------------------------------------------------------------------------------------


@EAGER
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_librarys_gradients_pass(case, xp, dtype):
    X, y, params, options = case
    X, *params = (xp.astype(array, getattr(xp, dtype)) for array in (X, *params))
    if y.ndim == 2:
        y = xp.astype(y, X.dtype)
    if "sample_weight" in options:
        options = {**options, "sample_weight": xp.astype(options["sample_weight"], X.dtype)}
    report = mistakes.check_gradients(X, y, *params, **options)
    assert report.ok, report
    assert report.reference.startswith("float64")
    names = [f"{letter}{layer}" for layer in range(1, len(params) // 2 + 1) for letter in "Wb"]
    assert [row.name for row in report.tensors] == names


@pytest.mark.only("numpy", "torch", "array_api_strict")
@pytest.mark.parametrize("activation", mx.ops.ACTIVATIONS)
def test_every_activation_passes(placed, xp, activation):
    given = textbook.batch(), textbook.labels(), textbook.parameters((4, 5, 2, 3))
    for dtype in (xp.float64, xp.float32):
        X, y, params, options = placed(*given, {"activation": activation}, dtype)
        report = mistakes.check_gradients(X, y, *params, **options)
        assert report.ok, report


@pytest.mark.only("numpy", "torch", "array_api_strict")
@pytest.mark.parametrize("criterion", mx.losses.CRITERIA)
@pytest.mark.parametrize("y", [textbook.labels(), textbook.soft_targets()], ids=["labels", "soft targets"])
def test_every_criterion_passes_in_every_entry(placed, criterion, y):
    params = textbook.parameters(textbook.widths_for(criterion, textbook.SIZES))
    X, y, params, options = placed(textbook.batch(), y, params, {"criterion": criterion})
    report = mistakes.check_gradients(X, y, *params, mode="full", **options)
    assert report.ok, report
    assert all(row.checked == row.size for row in report.tensors)


@pytest.mark.only("jax")
def test_where_the_library_has_no_float64_numpy_copies_are_the_reference():
    import jax

    with jax.enable_x64(False):
        sizes, y, options = CASES["everything"]
        there = [jax.numpy.asarray(a, dtype="float32") for a in (textbook.batch(), *textbook.parameters(sizes))]
        options = {**options, "sample_weight": jax.numpy.asarray(WEIGHTS, dtype="float32")}
        report = mistakes.check_gradients(there[0], jax.numpy.asarray(y), *there[1:], **options)
    assert report.ok, report
    assert report.reference.startswith("float64 NumPy copies")


@EAGER
def test_an_op_of_the_callers_own_is_checked_too(placed, host):
    def cube(z):
        return z * z * z, lambda dy: (dy * 3.0 * z * z,)

    def wrong_cube(z):
        return z * z * z, lambda dy: (dy,)

    X, y, params, _ = placed(textbook.batch(), textbook.labels(), textbook.parameters(), {})
    assert mistakes.check_gradients(X, y, *params, activation=cube).ok
    report = mistakes.check_gradients(X, y, *params, activation=wrong_cube)
    assert [row.verdict for row in report.tensors] == ["fail", "fail", "pass", "pass"]
    omitted = mistakes.hypotheses(X, y, *params, activation=cube)[
        "the derivative of the activation is omitted in layer 1"
    ]
    assert apart(host, omitted(*params), mx.loss_and_grads(X, y, *params, activation=wrong_cube)[1]) <= CLOSE


@pytest.mark.only("numpy")
def test_a_wrong_gradient_is_reported_with_its_cause(monkeypatch):
    X, y, params = textbook.batch(), textbook.labels(), textbook.parameters()

    def summed(*args, **options):
        loss, grads = mx.loss_and_grads(*args, **options)
        return loss, tuple(6 * g for g in grads)

    monkeypatch.setattr(mistakes, "loss_and_grads", summed)
    report = mistakes.check_gradients(X, y, *params)
    cause = "multiplied by n: a sum over the batch where its mean belongs"
    assert [row.diagnosis for row in report.tensors] == [cause] * 4


# --- blind spots -----------------------------------------------------------------------------------------------------


def weak(changes, put):
    """The blind spots of a sound problem after ``changes``, and the problem."""
    problem = {"X": textbook.batch(7), "y": textbook.labels(7), "params": textbook.parameters((4, 5, 5, 3)), **changes}
    X, y, params = put(problem.pop("X")), put(problem.pop("y")), tuple(map(put, problem.pop("params")))
    options = {key: put(value) if isinstance(value, np.ndarray) else value for key, value in problem.items()}
    return mistakes.blind_spots(X, y, *params, **options), (X, y, params, options)


def changed(position, value):
    params = textbook.parameters((4, 5, 5, 3))
    params[position] = value * np.ones_like(params[position])
    return params


NO_BIASES = [p * (p.ndim == 2) for p in textbook.parameters((4, 5, 5, 3))]

# a change of sound data, the sentence about it, and a mistake of the table (or None) whose gradient is then right
WEAK = {
    "one row": ({"X": textbook.batch(1), "y": textbook.labels(1)}, "one row", None),
    "n = d_in": ({"X": textbook.batch(4), "y": textbook.labels(4)}, "n = 4, the width of the inputs", None),
    "n = k": ({"X": textbook.batch(3), "y": textbook.labels(3)}, "n = 3, the width of the outputs", None),
    "n = d_h": (
        {"X": textbook.batch(5), "y": textbook.labels(5)},
        "n = 5, the width of hidden layer 1 and hidden layer 2",
        None,
    ),
    "one class": ({"y": np.full(7, 2)}, "all labels are in one class", None),
    "one target": (
        {"y": np.tile(textbook.soft_targets(1), (7, 1)), "criterion": "squared_error"},
        "all rows of y are equal",
        None,
    ),
    "X zero": ({"X": np.zeros((7, 4))}, "X is zero", None),
    "rows equal": ({"X": np.tile(textbook.batch(1), (7, 1))}, "all rows of X are equal", None),
    "no residual": (
        {
            "y": np.zeros((7, 3)),
            "params": [*NO_BIASES[:4], 0 * NO_BIASES[4], NO_BIASES[5]],
            "criterion": "squared_error",
        },
        "the data loss has no gradient",
        "divided by n: averaged over the batch twice",
    ),
    "weights equal": ({"sample_weight": np.full(7, 0.3)}, "all sample weights are equal", "sample weights are missing"),
    "weights sum to 1": (
        {"sample_weight": np.arange(1.0, 8.0) / 28.0},
        "sample weights sum to 1",
        "sample weights are not normalised",
    ),
    "weights sum to n": ({"sample_weight": np.arange(1.0, 8.0) / 4.0}, "sample weights sum to n = 7", None),
    "biases zero, L2": (
        {"params": NO_BIASES, "l2": 0.1},
        "all biases are zero",
        "the L2 penalty is on the biases too",
    ),
    "biases zero, L1": (
        {"params": NO_BIASES, "l1": 0.1},
        "all biases are zero",
        "the L1 penalty is on the biases too",
    ),
    "dead": (
        {"params": changed(1, -99.0), "activation": "relu"},
        "no unit of hidden layer 1 has a slope",
        "nothing flows back through layer 1: it is detached",
    ),
    "never off": (
        {"params": changed(1, 99.0), "activation": ("relu", "tanh")},
        "the slope of hidden layer 1 is 1 everywhere",
        "the derivative of the activation is omitted in layer 1",
    ),
}


@pytest.mark.parametrize("condition", WEAK)
def test_data_that_hide_a_mistake_are_named(put, host, condition):
    changes, sentence, mistake = WEAK[condition]
    sentences, (X, y, params, options) = weak(changes, put)
    assert any(said.startswith(sentence) for said in sentences), sentences
    if mistake:
        wrong = mistakes.hypotheses(X, y, *params, **options)[mistake](*params)
        assert apart(host, wrong, mx.loss_and_grads(X, y, *params, **options)[1]) <= CLOSE


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation": "relu"},
        {"activation": "identity"},
        {"y": textbook.soft_targets(7), "criterion": "squared_error"},
        {"l2": 0.1, "l1": 0.1, "label_smoothing": 0.1, "dropout": 0.3, "seed": 1},
        {"sample_weight": textbook.row_weights(7)},
        {"params": NO_BIASES},  # without a penalty nothing hides there
        {"params": textbook.parameters((4, 3))},
    ],
)
def test_sound_data_have_no_blind_spots(put, changes):
    assert weak(changes, put)[0] == ()


@EAGER
def test_the_report_names_the_blind_spots(put):
    y = np.full(7, 1)
    sentences, (X, y, params, options) = weak({"y": y}, put)
    report = mistakes.check_gradients(X, y, *params, **options)
    assert report.ok
    assert report.weak == sentences
    assert len(sentences) == 1


@pytest.mark.parametrize("kind", [np.float64, np.float32, Fraction])
@EAGER
def test_options_of_any_kind_of_number_keep_the_dtype_of_every_mistake(xp, put, host, kind):
    X, y = put(textbook.batch(), xp.float32), put(textbook.labels())
    params = [put(p, xp.float32) for p in textbook.parameters()]
    found = []
    for number in (kind(0.25), 0.25):  # which every kind holds exactly
        options = {**dict.fromkeys(("l2", "l1", "label_smoothing", "dropout"), number), "seed": 2}
        found.append(mx.hypotheses(X, y, *params, **options))
    assert list(found[0]) == list(found[1])
    penalties = [name for name in found[0] if "penalty" in name or "smoothing" in name or "dropout" in name]
    assert len(penalties) == 2 + 3 + 3 + 4  # of smoothing, of each penalty, of dropout
    for name in penalties:
        for ours, plain in zip(*(known[name](*params) for known in found), strict=True):
            assert ours.dtype == xp.float32
            np.testing.assert_array_equal(host(ours), host(plain))
