"""The network against the textbook's: values, gradients, steps, predictions; dtype, device and arguments are kept."""

from __future__ import annotations

import copy
import itertools
from fractions import Fraction

import numpy as np
import pytest
import textbook
from array_api_compat import array_namespace
from hypothesis import given, settings
from hypothesis import strategies as st

import mlp_xp as mx

# two float64 computations of one short formula: a few roundings for each of its few dozen operations
CLOSE = 1e-14
# the same through a complex step and exp(z) - 1, whose terms cancel
GRADIENTS_CLOSE = 1e-13

ALL_OPTIONS = {"l2": 0.1, "l1": 0.01, "label_smoothing": 0.1, "dropout": 0.3, "input_dropout": 0.2, "seed": 11}


@pytest.fixture
def problem(put):
    """``X, y, params`` on the backend, float64."""
    return put(textbook.batch()), put(textbook.labels()), tuple(put(p) for p in textbook.parameters())


def assert_grads_close(host, ours, theirs, within=GRADIENTS_CLOSE):
    for position, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert textbook.relative_error(host(a), np.asarray(b)) <= within, f"parameter {position}"


# --- the classic exercise --------------------------------------------------------------------------------------------


def test_two_layers_are_the_textbooks_two_layers(problem, host):
    X, y, (W1, b1, W2, b2) = textbook.batch(), textbook.labels(), textbook.parameters()
    n = X.shape[0]
    a1 = 1 / (1 + np.exp(-(X @ W1 + b1)))
    z2 = a1 @ W2 + b2
    p = np.exp(z2) / np.exp(z2).sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(n), y]).mean()
    dz2 = p.copy()
    dz2[np.arange(n), y] -= 1
    dz2 /= n
    dW2, db2 = a1.T @ dz2, dz2.sum(axis=0)
    dz1 = dz2 @ W2.T * a1 * (1 - a1)
    dW1, db1 = X.T @ dz1, dz1.sum(axis=0)
    grads = dW1, db1, dW2, db2
    stepped = [w - 0.5 * g for w, g in zip((W1, b1, W2, b2), grads, strict=True)]

    X, y, params = problem
    ours, cache = mx.forward(X, *params)
    np.testing.assert_allclose(host(ours), p, rtol=CLOSE)
    np.testing.assert_allclose(host(mx.cross_entropy(ours, y)), loss, rtol=CLOSE)
    np.testing.assert_allclose(host(mx.objective(X, y, *params)), loss, rtol=CLOSE)
    assert_grads_close(host, mx.backward(cache, y), grads, CLOSE)
    value, both = mx.loss_and_grads(X, y, *params)
    np.testing.assert_allclose(host(value), loss, rtol=CLOSE)
    assert_grads_close(host, both, grads, CLOSE)
    before, after = mx.train_step(X, y, *params, lr=0.5)
    np.testing.assert_allclose(host(before), loss, rtol=CLOSE)
    assert_grads_close(host, after, stepped, CLOSE)
    np.testing.assert_array_equal(host(mx.predict(X, *params)), p.argmax(axis=1))
    np.testing.assert_allclose(host(mx.predict_proba(X, *params)), p, rtol=CLOSE)


@pytest.mark.parametrize("depth", range(5))
def test_every_depth_agrees_with_the_textbook(put, host, depth):
    sizes = (4, *[5] * depth, 3)
    X, y, params = textbook.batch(), textbook.labels(), textbook.parameters(sizes)
    options = {"activation": "tanh", "l2": 0.1}
    loss, grads = mx.loss_and_grads(put(X), put(y), *map(put, params), **options)
    np.testing.assert_allclose(host(loss), textbook.objective(X, y, *params, **options), rtol=CLOSE)
    assert_grads_close(host, grads, textbook.gradients(X, y, *params, **options))


# all activations with the first four criteria, one with the others: they differ in the last line alone
PAIRS = [(a, c) for a in textbook.ACTIVATIONS for c in textbook.CRITERIA]
PAIRS = [(a, c) for a, c in PAIRS if a == "tanh" or c in list(textbook.CRITERIA)[:4]]


@pytest.mark.parametrize(("activation", "criterion"), PAIRS)
def test_every_activation_and_criterion_agrees_with_the_textbook(put, host, activation, criterion):
    X, t, w = textbook.batch(), textbook.soft_targets(), textbook.row_weights()
    params = textbook.parameters(textbook.widths_for(criterion, textbook.SIZES))
    options = {"activation": activation, "criterion": criterion, "sample_weight": w}
    loss, grads = mx.loss_and_grads(put(X), put(t), *map(put, params), **{**options, "sample_weight": put(w)})
    np.testing.assert_allclose(host(loss), textbook.objective(X, t, *params, **options), rtol=CLOSE)
    assert_grads_close(host, grads, textbook.gradients(X, t, *params, **options))


@pytest.mark.parametrize("chosen", [*[(name,) for name in ALL_OPTIONS if name != "seed"], tuple(ALL_OPTIONS)], ids=str)
def test_every_option_agrees_with_the_textbook(problem, host, chosen):
    options = {name: ALL_OPTIONS[name] for name in chosen} | ({"seed": 11} if "dropout" in str(chosen) else {})
    loss, grads = mx.loss_and_grads(*problem[:2], *problem[2], **options)
    theirs = textbook.batch(), textbook.labels(), *textbook.parameters()
    np.testing.assert_allclose(host(loss), textbook.objective(*theirs, **options), rtol=CLOSE)
    assert_grads_close(host, grads, textbook.gradients(*theirs, **options))


def test_one_activation_per_hidden_layer(put, host):
    X, y, params = textbook.batch(), textbook.labels(), textbook.parameters((4, 5, 5, 3))
    _, grads = mx.loss_and_grads(put(X), put(y), *map(put, params), activation=("tanh", "gelu"))
    theirs = textbook.gradients(X, y, *params, activation=("tanh", "gelu"))
    assert_grads_close(host, grads, theirs)


def test_logistic_is_another_name_of_sigmoid(problem, host):
    X, y, params = problem
    sigmoid, logistic = (mx.objective(X, y, *params, activation=name) for name in ("sigmoid", "logistic"))
    assert host(sigmoid) == host(logistic)


def test_penalties_are_on_weights_and_not_on_biases_and_flat_at_zero(put, host):
    W, b = np.asarray([[2.0, 0.0], [-3.0, 0.0]]), np.asarray([5.0, 7.0])
    X, y = put([[0.0, 0.0]]), put([[5.0, 7.0]])  # the outputs are the biases: no data loss, no data gradient
    options = {"criterion": "squared_error", "l2": 0.5, "l1": 0.25}
    loss, (dW, db) = mx.loss_and_grads(X, y, put(W), put(b), **options)
    assert float(host(loss)) == 0.25 * 13.0 + 0.25 * 5.0
    np.testing.assert_array_equal(host(dW), 0.5 * W + 0.25 * np.sign(W))
    np.testing.assert_array_equal(host(db), [0.0, 0.0])


def test_backward_takes_weights_and_smoothing_and_remembers_the_criterion(problem, put, host):
    X, y, params = problem
    w = put(textbook.row_weights())
    _, cache = mx.forward(X, *params, activation="tanh", dropout=0.3, seed=11)
    ours = mx.backward(cache, y, sample_weight=w, label_smoothing=0.1)
    _, theirs = mx.loss_and_grads(
        X, y, *params, activation="tanh", dropout=0.3, seed=11, sample_weight=w, label_smoothing=0.1
    )
    assert_grads_close(host, ours, map(host, theirs), 0.0)
    _, cache = mx.forward(X, *params, criterion="squared_error")
    theirs = textbook.batch(), textbook.labels(), *textbook.parameters()
    assert_grads_close(host, mx.backward(cache, y), textbook.gradients(*theirs, criterion="squared_error"))


def test_backward_uses_the_weights_that_forward_saw(problem, host):
    X, y, params = problem
    _, cache = mx.forward(X, *params)
    before = mx.backward(cache, y)
    mx.train_step(X, y, *params, lr=1.0)
    assert_grads_close(host, mx.backward(cache, y), map(host, before), 0.0)


# --- predictions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("criterion", "d_out", "shape", "kind"),
    [
        ("softmax_cross_entropy", 3, (6,), "integral"),
        ("sigmoid_cross_entropy", 3, (6, 3), "integral"),
        ("sigmoid_cross_entropy", 1, (6,), "integral"),
        ("squared_error", 3, (6, 3), "real floating"),
        ("squared_error", 1, (6, 1), "real floating"),
        ("poisson", 3, (6, 3), "real floating"),
        ("absolute_error", 3, (6, 3), "real floating"),
        ("huber", 1, (6, 1), "real floating"),
        ("quantile", 3, (6, 3), "real floating"),
        ("gaussian", 6, (6, 3), "real floating"),
        ("gaussian", 2, (6, 1), "real floating"),
    ],
)
def test_predictions_have_the_shape_and_kind_of_their_criterion(xp, put, host, criterion, d_out, shape, kind):
    X, params = textbook.batch(), textbook.parameters((4, 5, d_out))
    z = textbook.logits(X, *params)
    expected, outputs = {
        "softmax_cross_entropy": (z.argmax(-1), np.exp(z) / np.exp(z).sum(-1, keepdims=True)),
        "sigmoid_cross_entropy": ((z > 0).astype(int), 1 / (1 + np.exp(-z))),
        "squared_error": (z, z),
        "poisson": (np.exp(z), np.exp(z)),
        "gaussian": (z[:, : d_out // 2], np.where(np.arange(d_out) < d_out // 2, z, np.exp(z))),
    }.get(criterion, (z, z))
    predicted = mx.predict(put(X), *map(put, params), criterion=criterion)
    assert predicted.shape == shape
    assert xp.isdtype(predicted.dtype, kind)
    np.testing.assert_allclose(host(predicted), expected.reshape(shape), rtol=CLOSE, atol=CLOSE)  # sums may cancel
    p, _ = mx.forward(put(X), *map(put, params), criterion=criterion)
    assert p.shape == (6, d_out)
    np.testing.assert_allclose(host(p), outputs, rtol=CLOSE, atol=CLOSE)
    if "cross_entropy" not in criterion:
        with pytest.raises(ValueError, match="predict_proba needs a criterion with probabilities"):
            mx.predict_proba(put(X), *map(put, params), criterion=criterion)
    else:
        probabilities = mx.predict_proba(put(X), *map(put, params), criterion=criterion)
        np.testing.assert_allclose(host(probabilities), outputs, rtol=CLOSE)


# --- a leading axis --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {**ALL_OPTIONS, "activation": "gelu"}], ids=["plain", "all options"])
def test_k_networks_in_one_call_are_k_networks_one_by_one(put, host, options):
    X, y, networks = textbook.batch(), textbook.labels(), [textbook.parameters(seed=seed) for seed in (2, 3)]
    stacked = [put(np.stack(arrays)) for arrays in zip(*networks, strict=True)]
    losses, grads = mx.loss_and_grads(put(X), put(y), *stacked, **options)
    objectives = mx.objective(put(X), put(y), *stacked, **options)
    _, stepped = mx.train_step(put(X), put(y), *stacked, lr=0.5, **options)
    p, cache = mx.forward(put(X), *stacked)
    assert losses.shape == objectives.shape == (2,)
    assert p.shape == (2, 6, 3)
    assert mx.predict(put(X), *stacked).shape == (2, 6)
    for i, params in enumerate(networks):
        one_loss, one_grads = mx.loss_and_grads(put(X), put(y), *map(put, params), **options)
        _, one_step = mx.train_step(put(X), put(y), *map(put, params), lr=0.5, **options)
        one_p, one_cache = mx.forward(put(X), *map(put, params))
        np.testing.assert_allclose(host(losses)[i], host(one_loss), rtol=CLOSE)
        np.testing.assert_allclose(host(objectives)[i], host(one_loss), rtol=CLOSE)
        np.testing.assert_allclose(host(p)[i], host(one_p), rtol=CLOSE)
        assert_grads_close(host, [g[i, ...] for g in grads], map(host, one_grads), CLOSE)
        assert_grads_close(host, [g[i, ...] for g in stepped], map(host, one_step), CLOSE)
        backward = [g[i, ...] for g in mx.backward(cache, put(y))]
        assert_grads_close(host, backward, map(host, mx.backward(one_cache, put(y))), CLOSE)


@pytest.mark.parametrize("criterion", textbook.CRITERIA)
def test_k_networks_have_weights_and_rates_of_their_own(put, host, criterion):
    """A row that weighs nothing for a network is held out from it."""
    sizes = textbook.widths_for(criterion, textbook.SIZES)
    X, y, networks = textbook.batch(), textbook.labels(), [textbook.parameters(sizes, seed) for seed in (2, 3)]
    weights = np.array([[1.0, 0.0, 2.0, 0.5, 0.0, 3.0], [0.0, 1.0, 0.0, 0.0, 4.0, 1.0]])
    stacked = [put(np.stack(arrays)) for arrays in zip(*networks, strict=True)]
    options = {"criterion": criterion, "l2": 0.1}
    losses, grads = mx.loss_and_grads(put(X), put(y), *stacked, sample_weight=put(weights), **options)
    rates = put([0.5, 0.1])
    _, stepped = mx.train_step(put(X), put(y), *stacked, lr=rates, sample_weight=put(weights), **options)
    _, cache = mx.forward(put(X), *stacked, criterion=criterion)
    backward = mx.backward(cache, put(y), sample_weight=put(weights))
    for i, params in enumerate(networks):
        kept = weights[i] > 0
        rows, said = (X[kept], y[kept]), {"sample_weight": weights[i][kept], "criterion": criterion}
        np.testing.assert_allclose(host(losses)[i], textbook.objective(*rows, *params, l2=0.1, **said), rtol=CLOSE)
        expected = textbook.gradients(*rows, *params, l2=0.1, **said)
        assert_grads_close(host, [g[i, ...] for g in grads], expected, CLOSE)
        moved = [p - (0.5, 0.1)[i] * g for p, g in zip(params, expected, strict=True)]
        assert_grads_close(host, [p[i, ...] for p in stepped], moved, CLOSE)
        assert_grads_close(host, [g[i, ...] for g in backward], textbook.gradients(*rows, *params, **said), CLOSE)


def test_the_objective_takes_any_mix_of_batched_and_unbatched_parameters(put, host):
    X, y, networks = textbook.batch(), textbook.labels(), [textbook.parameters(seed=seed) for seed in (2, 3)]
    options = {"l2": 0.1, "l1": 0.01}
    for mixed in itertools.product([False, True], repeat=4):
        params = [
            put(np.stack(arrays)) if batched else put(arrays[0])
            for arrays, batched in zip(zip(*networks, strict=True), mixed, strict=True)
        ]
        ours = host(mx.objective(put(X), put(y), *params, **options))
        for i in range(2 if any(mixed) else 0):
            single = [networks[i][j] if batched else networks[0][j] for j, batched in enumerate(mixed)]
            np.testing.assert_allclose(ours[i], textbook.objective(X, y, *single, **options), rtol=CLOSE)
        assert ours.shape == ((2,) if any(mixed) else ())


def test_a_gradient_of_a_mix_is_refused(put):
    X, y, params = put(textbook.batch()), put(textbook.labels()), [put(p) for p in textbook.parameters()]
    mixed = [put(np.zeros((2, 4, 5))), *params[1:]]
    for function in (mx.loss_and_grads, mx.train_step):
        with pytest.raises(ValueError, match="either all parameters or none must have a leading axis"):
            function(X, y, *mixed)


def test_backward_of_a_mix_is_refused(put):
    X, y, params = put(textbook.batch()), put(textbook.labels()), [put(p) for p in textbook.parameters()]
    mixed = [put(np.zeros((2, 4, 5))), *params[1:]]
    _, cache = mx.forward(X, *mixed)
    with pytest.raises(ValueError, match="either all parameters or none must have a leading axis"):
        mx.backward(cache, y)


# --- dtype, namespace, device ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", [{}, {**ALL_OPTIONS, "activation": "gelu"}], ids=["plain", "all options"])
def test_results_keep_the_dtype_namespace_and_device_of_the_input(xp, put, host, dtype, options):
    d = getattr(xp, dtype)
    X, y, params = put(textbook.batch(), d), put(textbook.labels()), [put(p, d) for p in textbook.parameters()]
    if options:
        options = {**options, "sample_weight": put(textbook.row_weights(), d)}
    p, cache = mx.forward(X, *params)
    loss, grads = mx.loss_and_grads(X, y, *params, **options)
    results = [p, loss, *grads, *mx.backward(cache, y), mx.cross_entropy(p, y), mx.predict_proba(X, *params)]
    for lr in (0.1, np.float64(0.1), put(0.1, xp.float64), 1):
        before, after = mx.train_step(X, y, *params, lr=lr, **options)
        results += [before, *after]
    for result in results:
        assert result.dtype == d
        assert array_namespace(result) is xp
        if not isinstance(result, np.generic):  # a 0-d result may be a NumPy scalar, which names no device before 2.1
            assert getattr(result, "device", None) == getattr(X, "device", None)
    # some hundred roundings
    theirs = textbook.batch(), textbook.labels(), *textbook.parameters()
    expected = textbook.objective(*theirs, **{**options, "sample_weight": textbook.row_weights() if options else None})
    np.testing.assert_allclose(host(loss), expected, rtol=100 * float(np.finfo(dtype).eps))


def test_a_learning_rate_may_be_an_array_of_another_dtype(xp, problem, host):
    X, y, params = problem
    _, expected = mx.train_step(X, y, *params, lr=0.5)
    for dtype in (xp.float32, xp.float64):
        lr = xp.asarray(0.5, dtype=dtype, **({"device": X.device} if hasattr(X, "device") else {}))
        _, after = mx.train_step(X, y, *params, lr=lr)
        assert_grads_close(host, after, map(host, expected), 0.0)


def test_nothing_is_mutated(problem, put, host):
    X, y, params = problem
    w, t = put(textbook.row_weights()), put(textbook.soft_targets())
    before = [copy.deepcopy(host(a)) for a in (X, y, w, t, *params)]
    options = {**ALL_OPTIONS, "sample_weight": w, "activation": "relu"}
    mx.loss_and_grads(X, y, *params, **options)
    mx.train_step(X, t, *params, lr=1.0, **options)
    p, cache = mx.forward(X, *params)
    mx.backward(cache, y)
    mx.cross_entropy(p, y)
    mx.predict(X, *params)
    for array, copied in zip((X, y, w, t, *params), before, strict=True):
        np.testing.assert_array_equal(host(array), copied)


@pytest.mark.only("numpy")
def test_read_only_arrays_are_enough_and_results_share_no_memory_with_them():
    X, y, t, *params = [textbook.batch(), textbook.labels(), textbook.soft_targets(), *textbook.parameters()]
    assert not any(array.flags.writeable for array in (X, y, t, *params))
    calls = [(y, {**ALL_OPTIONS, "activation": activation}) for activation in textbook.ACTIVATIONS]
    calls += [(t, {"criterion": criterion}) for criterion in textbook.CRITERIA if criterion != "gaussian"]
    for targets, options in calls:
        _, after = mx.train_step(X, targets, *params, **options)
        expected = [array.copy() for array in params]
        assert_grads_close(lambda a: a, after, mx.train_step(X.copy(), targets.copy(), *expected, **options)[1], 0.0)
        assert not any(np.shares_memory(a, b) for a in after for b in (X, targets, *params))


# --- ops of the caller's own -----------------------------------------------------------------------------------------


def sine(z):
    xp = array_namespace(z)
    return xp.sin(z), lambda dy: (dy * xp.cos(z),)


def cubic_error(logits, targets, weights):
    """``sum_i w_i 1/3 sum_j (z - t)^3``."""
    xp = array_namespace(logits)
    gap = logits - targets

    def pullback(dloss):
        return (gap * gap * weights[:, None] * dloss[..., None, None],)

    return xp.sum(weights * xp.sum(gap**3, axis=-1), axis=-1) / 3, pullback


def test_an_op_of_ones_own_is_an_activation_or_a_criterion(problem, put, host, monkeypatch):
    X, _, params = problem
    t, w = textbook.soft_targets(), textbook.row_weights()
    options = {"activation": sine, "criterion": cubic_error}
    loss, grads = mx.loss_and_grads(X, put(t), *params, sample_weight=put(w), **options)
    monkeypatch.setitem(textbook.ACTIVATIONS, sine, np.sin)
    monkeypatch.setitem(textbook.CRITERIA, cubic_error, lambda z, t: np.sum((z - t) ** 3, -1) / 3)
    options["activation"] = [sine]
    theirs = textbook.batch(), t, *textbook.parameters()
    np.testing.assert_allclose(host(loss), textbook.objective(*theirs, sample_weight=w, **options), rtol=CLOSE)
    assert_grads_close(host, grads, textbook.gradients(*theirs, sample_weight=w, **options))
    outputs, _ = mx.forward(X, *params, **options)
    np.testing.assert_allclose(host(outputs), host(mx.predict(X, *params, **options)))


@pytest.mark.parametrize("name", textbook.ACTIVATIONS)
def test_the_public_op_is_the_activation_of_its_name(problem, host, name):
    X, y, params = problem
    by_name, by_op = (mx.objective(X, y, *params, activation=a) for a in (name, getattr(mx.ops, name)))
    assert host(by_name) == host(by_op)


@pytest.mark.parametrize("name", textbook.CRITERIA)
def test_the_public_criterion_is_the_criterion_of_its_name(problem, put, host, name):
    X, y, _ = problem
    params = [put(p) for p in textbook.parameters(textbook.widths_for(name, textbook.SIZES))]
    by_name, by_op = (mx.objective(X, y, *params, criterion=c) for c in (name, getattr(mx.losses, name)))
    np.testing.assert_allclose(host(by_name), host(by_op), rtol=1e-15)


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 1, 2), (1, 3), (4, 1, 3)], ids=str)
@pytest.mark.parametrize("n", [1, 6])
def test_one_row_and_one_column_are_enough(put, host, n, sizes):
    X, y, params = textbook.batch(n, sizes[0]), textbook.labels(n, sizes[-1]), textbook.parameters(sizes)
    loss, grads = mx.loss_and_grads(put(X), put(y), *map(put, params))
    np.testing.assert_allclose(host(loss), textbook.objective(X, y, *params), rtol=CLOSE)
    assert_grads_close(host, grads, textbook.gradients(X, y, *params))


@pytest.mark.parametrize("criterion", ["sigmoid_cross_entropy", "squared_error"])
def test_one_output_is_binary_or_a_regression(put, host, criterion):
    X, y, params = textbook.batch(), textbook.labels(k=1), textbook.parameters((4, 5, 1))
    loss, grads = mx.loss_and_grads(put(X), put(y), *map(put, params), criterion=criterion)
    np.testing.assert_allclose(host(loss), textbook.objective(X, y, *params, criterion=criterion), rtol=CLOSE)
    assert_grads_close(host, grads, textbook.gradients(X, y, *params, criterion=criterion))


@pytest.mark.only("numpy", "torch", "array_api_strict")  # the others compile or schedule each of these shapes again
@settings(max_examples=60)
@given(st.data())
def test_any_shape_any_values_any_options_agree_with_the_textbook(put, host, data):
    sizes = tuple(data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=4), label="sizes"))
    n, k = data.draw(st.integers(1, 5), label="n"), sizes[-1]
    criterion = data.draw(st.sampled_from(sorted(textbook.CRITERIA)), label="criterion")
    options = {
        "criterion": criterion,
        "activation": data.draw(st.sampled_from(sorted(textbook.ACTIVATIONS)), label="activation"),
        "l2": data.draw(st.floats(0, 1), label="l2"),
        "l1": data.draw(st.floats(0, 1), label="l1"),
        "dropout": data.draw(st.floats(0, 0.9), label="dropout"),
        "seed": data.draw(st.integers(0, 2**31 - 1), label="seed"),
    }
    if criterion == "softmax_cross_entropy":
        options["label_smoothing"] = data.draw(st.floats(0, 0.9), label="label_smoothing")
    scale = data.draw(st.floats(0.01, 5), label="scale")
    X, params = scale * textbook.batch(n, sizes[0]), textbook.parameters(textbook.widths_for(criterion, sizes))
    one_class = k == 1 and criterion == "softmax_cross_entropy"
    y = textbook.soft_targets(n, k) if one_class or data.draw(st.booleans(), label="soft") else textbook.labels(n, k)
    loss, grads = mx.loss_and_grads(put(X), put(y), *map(put, params), **options)
    expected = textbook.objective(X, y, *params, **options)
    # the textbook's log(1 + exp z) and exp(z) - 1 round at 1: absolute errors of some dozen eps
    np.testing.assert_allclose(host(loss), expected, rtol=1e-13, atol=1e-13)
    for ours, theirs in zip(grads, textbook.gradients(X, y, *params, **options), strict=True):
        np.testing.assert_allclose(host(ours), theirs, rtol=1e-12, atol=1e-12)


# --- init_params -----------------------------------------------------------------------------------------------------


def test_init_params_are_the_same_numbers_on_every_backend(xp, device, host):
    params = mx.init_params((30, 20, 10), xp=xp, dtype=xp.float64, device=device, seed=5)
    random = np.random.default_rng(5)
    assert [p.shape for p in params] == [(30, 20), (20,), (20, 10), (10,)]
    for position, (d_in, d_out) in ((0, (30, 20)), (2, (20, 10))):
        r = np.sqrt(6 / (d_in + d_out))
        np.testing.assert_allclose(host(params[position]), random.uniform(-r, r, (d_in, d_out)), rtol=1e-15)
        assert np.max(np.abs(host(params[position]))) > 0.9 * r  # the whole range is used
        np.testing.assert_array_equal(host(params[position + 1]), np.zeros(d_out))


def test_init_params_have_the_dtype_and_device_asked_for(xp, put, device):
    default = xp.empty((1,)).dtype
    for dtype, expected in ((None, default), (xp.float32, xp.float32), (xp.float64, xp.float64)):
        for param in mx.init_params((2, 2), xp=xp, dtype=dtype, device=device):
            assert param.dtype == expected
            assert getattr(param, "device", None) == getattr(put([1.0]), "device", None)


def test_init_params_differ_by_seed(xp, device, host):
    first, second, again = (host(mx.init_params((3, 2), xp=xp, device=device, seed=s)[0]) for s in (0, 1, 0))
    assert first.tolist() != second.tolist()
    assert first.tolist() == again.tolist()


@pytest.mark.only("numpy")
def test_init_params_ask_for_room_by_the_name_of_each_matrix(monkeypatch):
    asked = []
    monkeypatch.setattr("mlp_xp.mlp.check_room", lambda what, size: asked.append((what, size)))
    mx.init_params((4, 8, 3), ensemble=5)
    named = [("W1 of shape (4, 8)", 8 * 5 * 4 * 8), ("W2 of shape (8, 3)", 8 * 5 * 8 * 3)]
    assert asked == [("the largest matrix of 4-8-3", 8 * 5 * 4 * 8), *named]


# --- kinds of numbers as options -------------------------------------------------------------------------------------

KINDS = [np.float64, np.float32, np.float16, Fraction]


# An option that widened or changed a result alone does so among all: where an operation takes long, all are enough.
QUICK = pytest.mark.only("numpy", "torch", "array_api_strict", "cupy", "dpnp")
ALONE = [pytest.param(name, marks=QUICK) for name in ("l2", "l1", "dropout", "input_dropout", "label_smoothing")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", [*ALONE, "all"])
def test_an_option_of_any_kind_of_number_is_the_python_number(xp, put, host, option, kind):
    names = ("l2", "l1", "dropout", "input_dropout", "label_smoothing") if option == "all" else (option,)
    X, y = put(textbook.batch(), xp.float32), put(textbook.labels())
    params = [put(p, xp.float32) for p in textbook.parameters()]
    results = []
    for number in (kind(0.25), 0.25):  # which every kind holds exactly
        options = {"seed": 3, **dict.fromkeys(names, number)}
        loss, grads = mx.loss_and_grads(X, y, *params, **options)
        before, stepped = mx.train_step(X, y, *params, lr=number, **options)
        results.append([loss, mx.objective(X, y, *params, **options), *grads, before, *stepped])
    for ours, plain in zip(*results, strict=True):
        assert ours.dtype == plain.dtype == xp.float32
        np.testing.assert_array_equal(host(ours), host(plain))


@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_backward_take_any_kind_of_number(xp, put, host, kind):
    X, y = put(textbook.batch(), xp.float32), put(textbook.labels())
    params = [put(p, xp.float32) for p in textbook.parameters()]
    results = []
    for number in (kind(0.25), 0.25):
        p, cache = mx.forward(X, *params, dropout=number, seed=3)
        results.append([p, *mx.backward(cache, y, label_smoothing=number)])
    for ours, plain in zip(*results, strict=True):
        assert ours.dtype == plain.dtype == xp.float32
        np.testing.assert_array_equal(host(ours), host(plain))


def test_a_mask_takes_any_kind_of_number(xp, put, host):
    like = put(np.ones(1), xp.float32)
    plain = host(mx.dropout.dropout_mask(xp, (40, 3), 0.25, 7, 1, like))
    for rate, seed, layer in ((np.float64(0.25), 7, 1), (Fraction(1, 4), np.int64(7), 1), (0.25, put(7), np.int64(1))):
        mask = mx.dropout.dropout_mask(xp, (40, 3), rate, seed, layer, like)
        assert mask.dtype == xp.float32
        np.testing.assert_array_equal(host(mask), plain)


OPTIONS = {
    "l2": lambda g, v: mx.objective(*g, l2=v),
    "l1": lambda g, v: mx.loss_and_grads(*g, l1=v),
    "label_smoothing": lambda g, v: mx.train_step(*g, label_smoothing=v),
    "dropout": lambda g, v: mx.forward(g[0], *g[2:], dropout=v, seed=0),
    "lr": lambda g, v: mx.train_step(*g, lr=v),
    "seed": lambda g, v: mx.objective(*g, dropout=0.5, seed=v),
    "activation": lambda g, v: mx.predict(g[0], *g[2:], activation=v),
    "criterion": lambda g, v: mx.objective(*g, criterion=v),
    "sample_weight": lambda g, v: mx.objective(*g, sample_weight=v),
    "X": lambda g, v: mx.forward(v, *g[2:]),
    "y": lambda g, v: mx.objective(g[0], v, *g[2:]),
    "b2": lambda g, v: mx.forward(g[0], *g[2:5], v),
    "cache": lambda g, v: mx.backward(v, g[1]),
    "p": lambda g, v: mx.cross_entropy(v, g[1]),
    "z": lambda g, v: mx.softmax(v),
    "sizes": lambda g, v: mx.init_params(v),
    "xp": lambda g, v: mx.init_params((4, 3), xp=v),
    "dtype": lambda g, v: mx.init_params((4, 3), dtype=v),
    "n": lambda g, v: mx.step_cost((4, 3), v),
}
WRONG = {
    "a word": "a", "bytes": b"a", "True": True, "a list": [1.0], "a tuple": (1.0, 2.0), "NaN": float("nan"),
    "complex": 1j, "a long fraction": -Fraction(10**400), "a class": np.ndarray, "a module": np.random, "a dict": {},
    "a list of arrays": [np.eye(9)], "an object": object(),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_kind_of_value_gets_one_short_sentence_that_names_the_argument(put, name, kind):
    good = [put(textbook.batch()), put(textbook.labels()), *map(put, textbook.parameters())]
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must ") as caught:
        OPTIONS[name](good, WRONG[kind])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
