"""Criteria against 50 digits of mpmath, at ordinary logits and at +-1e4; targets, weights and labels."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import textbook
from hypothesis import given
from hypothesis import strategies as st

import mlp_xp as mx
from mlp_xp._lib.namespace import namespace
from mlp_xp.losses import CRITERIA

DTYPES = ("float64", "float32")
mp = mpmath.mp.clone()
mp.dps = 50

# those with a parameter are functions of it
OPS = {name: getattr(mx.losses, name) for name in CRITERIA} | {
    "huber": mx.losses.huber(),
    "quantile": mx.losses.quantile(),
}
WITH_ONE_OUTPUT = [name for name in CRITERIA if name not in textbook.OUTPUTS_PER_TARGET]


def network(put, criterion, k=3):
    """Parameters of a network with the outputs that a criterion takes for k targets."""
    return [put(p) for p in textbook.parameters(textbook.widths_for(criterion, (4, 5, k)))]


def log_sum_exp(row):
    return max(row) + mp.log(sum(mp.exp(z - max(row)) for z in row))


def row_loss(name: str, z: list, t: list):
    """The loss of one row and its derivative by the logits."""
    if name == "squared_error":
        return sum((a - b) ** 2 for a, b in zip(z, t, strict=True)) / 2, [a - b for a, b in zip(z, t, strict=True)]
    gaps = [a - b for a, b in zip(z, t, strict=True)]
    signs = [mp.sign(gap) for gap in gaps]
    if name == "absolute_error":
        return sum(map(abs, gaps)), signs
    if name == "quantile":
        return sum(map(abs, gaps)) / 2, [sign / 2 for sign in signs]
    if name == "huber":
        return (
            sum(gap**2 / 2 if abs(gap) <= 1 else abs(gap) - mp.mpf(1) / 2 for gap in gaps),
            [gap if abs(gap) <= 1 else sign for gap, sign in zip(gaps, signs, strict=True)],
        )
    if name == "poisson":
        deviance = [mp.exp(a) - b + (b * (mp.log(b) - a) if b else 0) for a, b in zip(z, t, strict=True)]
        return sum(deviance), [mp.exp(a) - b for a, b in zip(z, t, strict=True)]
    if name == "sigmoid_cross_entropy":
        softplus = [mp.log1p(mp.exp(a)) for a in z]
        loss = sum(b - c * a for a, b, c in zip(z, softplus, t, strict=True))
        return loss, [1 / (1 + mp.exp(-a)) - b for a, b in zip(z, t, strict=True)]
    normaliser = log_sum_exp(z)
    loss = sum(b * (normaliser - a) for a, b in zip(z, t, strict=True))
    return loss, [mp.exp(a - normaliser) * sum(t) - b for a, b in zip(z, t, strict=True)]


# ordinary logits, a tie, and extremes: a certain output that is right, one that is wrong, ties
LOGITS = [
    [0.5, -1.25, 2.0],
    [0.1, 0.2, 0.3],
    [7.0, 7.0, 7.0],
    [1e4, -1e4, 0.0],
    [-1e4, 1e4, 0.0],
    [1e4, 1e4, -1e4],
    [-1e4, -1e4, -9999.0],
    [-40.0, 3.0, 800.0],
]
# one-hot rows, rows that sum to 1, to more, to less, and to 0
TARGETS = [
    [0.0, 1.0, 0.0],
    [1.0, 0.0, 0.0],
    [0.2, 0.3, 0.5],
    [0.0, 1.0, 0.0],
    [0.5, 0.25, 1.0],
    [0.25, 0.125, 0.0],
    [1.0, 1.0, 1.0],
    [0.0, 0.0, 0.0],
]
WEIGHTS = [0.125, 0.25, 0.0625, 0.0625, 0.125, 0.125, 0.125, 0.125]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WITH_ONE_OUTPUT)
def test_a_criterion_and_its_gradient_are_exact_up_to_ten_thousand(xp, put, host, name, dtype):
    z, t, w = (np.asarray(values, dtype) for values in (LOGITS, TARGETS, WEIGHTS))
    if name == "poisson":  # whose loss is exp(z), infinite beyond 88 in float32
        z = np.clip(z, -80.0, 80.0)
    device_dtype = getattr(xp, dtype)
    loss, pullback = OPS[name](put(z, device_dtype), put(t, device_dtype), put(w, device_dtype))
    (dz,) = pullback(put(1.0, device_dtype))
    assert loss.shape == ()
    assert loss.dtype == device_dtype
    assert dz.dtype == device_dtype

    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_normal)
    true, allowed = mp.zero, 0.0
    gradient = host(dz)
    for i, (row, target, weight) in enumerate(zip(z.tolist(), t.tolist(), w.tolist(), strict=True)):
        value, slopes = row_loss(name, [mp.mpf(a) for a in row], [mp.mpf(b) for b in target])
        true += weight * value
        # losses and their sums are a few roundings each of terms that do not cancel: squares, or -log p >= 0
        allowed += 16 * eps * weight * max(float(value), 1.0)
        for j, slope in enumerate(slopes):
            # exp(z - max z) amplifies the rounding of its argument by the argument; p and t may cancel
            probability = float(abs(slope) + target[j])
            amplified = max(row) - row[j] if name == "softmax_cross_entropy" else 0.0
            bound = weight * (eps * (16 + amplified) * probability + 16 * eps * target[j] + 4 * tiny)
            assert abs(gradient[i, j] - weight * slope) <= bound, (i, j)
    assert abs(float(host(loss)) - true) <= allowed


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_loss_of_a_confident_mistake_is_not_clipped(xp, put, host, dtype):
    z = put([[1e4, -1e4]], getattr(xp, dtype))
    # one affine layer whose outputs are its inputs; 20,000 = 1e4 - -1e4 is exact in both dtypes
    params = put(np.eye(2), getattr(xp, dtype)), put(np.zeros(2), getattr(xp, dtype))
    loss, (dW, db) = mx.loss_and_grads(z, put([1]), *params)
    assert float(host(loss)) == 20_000.0
    assert host(db).tolist() == [1.0, -1.0]
    assert host(dW).tolist() == [[1e4, -1e4], [-1e4, 1e4]]
    loss = mx.objective(z, put([[0.0, 1.0]], getattr(xp, dtype)), *params, criterion="sigmoid_cross_entropy")
    assert float(host(loss)) == 20_000.0
    loss = mx.objective(z, put([0]), *params)
    assert float(host(loss)) == 0.0


@pytest.mark.parametrize("name", list(CRITERIA)[:4])  # ``test_criteria`` checks the others
def test_the_pullback_of_a_criterion_is_its_derivative(put, name):
    z = np.random.default_rng(8).standard_normal(textbook.widths_for(name, (3, 2)))
    t = put(textbook.soft_targets(3, 2))
    w = put([0.5, 0.25, 0.25])
    criterion = OPS[name]
    mx.check_pullback(lambda logits: criterion(logits, t, w), (put(z),)).raise_if_failed()


@pytest.mark.parametrize("name", CRITERIA)
def test_a_criterion_sums_over_outputs_and_averages_over_rows_by_weight(put, host, name):
    z = textbook.soft_targets(*textbook.widths_for(name, (6, 3))) * 4 - 2
    t, w = textbook.soft_targets(6, 3), textbook.row_weights(6)
    loss, _ = OPS[name](put(z), put(t), put(w / w.sum()))
    expected = np.sum(w * textbook.CRITERIA[name](z, t)) / np.sum(w)
    np.testing.assert_allclose(host(loss), expected, rtol=1e-14)  # 64 eps: sums of 18 terms


def test_every_criterion_is_tested_against_the_textbook():
    assert set(CRITERIA) == set(textbook.CRITERIA)


# --- forms of y ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("criterion", "k"), [(c, k) for c in CRITERIA for k in (1, 3) if (c, k) != ("softmax_cross_entropy", 1)]
)
def test_labels_mean_one_hot_rows_for_every_criterion(put, host, criterion, k):
    X, y, params = put(textbook.batch()), textbook.labels(k=k), network(put, criterion, k)
    by_label, from_labels = mx.loss_and_grads(X, put(y), *params, criterion=criterion)
    by_row, from_rows = mx.loss_and_grads(X, put(textbook.one_hot(y, k)), *params, criterion=criterion)
    np.testing.assert_allclose(host(by_label), host(by_row), rtol=1e-15)
    for ours, theirs in zip(from_labels, from_rows, strict=True):
        assert textbook.relative_error(host(ours), host(theirs)) <= 1e-15


@pytest.mark.parametrize("integer", ["int8", "uint8", "int32", "int64"])
def test_labels_may_have_any_integer_dtype(xp, put, host, integer):
    k = 200  # more classes than an int8 can count
    z = np.random.default_rng(9).standard_normal((6, k))
    y = np.asarray([0, 1, 127, 5, 100, 64])
    identity = put(np.eye(k)), put(np.zeros(k))
    loss = mx.objective(put(z), put(y, getattr(xp, integer)), *identity)
    expected = np.mean(np.log(np.sum(np.exp(z), -1)) - z[np.arange(6), y])
    np.testing.assert_allclose(host(loss), expected, rtol=1e-13)  # 450 eps: sums of 200 terms


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("label", [-1, 3, 1000])
def test_a_label_out_of_range_is_never_a_plausible_number(backend, put, host, label, k):
    y = textbook.labels(k=k).copy()
    y[2] = label
    X, y, params = put(textbook.batch()), put(y), [put(p) for p in textbook.parameters((4, 5, k))]
    options = {"criterion": "sigmoid_cross_entropy", "dropout": 0.25, "seed": 1, "l2": 0.1}
    if backend == "numpy":  # only there are the values looked at
        with pytest.raises(ValueError, match=f"y must hold labels 0 to {max(k, 2) - 1}, got labels .*{label}"):
            mx.loss_and_grads(X, y, *params, **options)
        _, cache = mx.forward(X, *params, criterion="sigmoid_cross_entropy")
        with pytest.raises(ValueError, match="y must hold labels"):
            mx.backward(cache, y)
    else:
        loss, grads = mx.loss_and_grads(X, y, *params, **options)
        assert np.isnan(host(loss))
        _, stepped = mx.train_step(X, y, *params, **options)
        _, cache = mx.forward(X, *params, criterion="sigmoid_cross_entropy")
        for array in (*grads, *stepped, *mx.backward(cache, y)):
            assert np.all(np.isnan(host(array)))


def test_weights_need_not_sum_to_one_and_a_row_of_weight_zero_is_not_there(put, host):
    X, y, w = textbook.batch(), textbook.labels(), textbook.row_weights()
    params = [put(p) for p in textbook.parameters()]
    loss, grads = mx.loss_and_grads(put(X), put(y), *params, sample_weight=put(w))
    assert w[0] == 0
    X, y = X.copy(), y.copy()
    X[0], y[0] = 100.0, (y[0] + 1) % 3
    again, others = mx.loss_and_grads(put(X), put(y), *params, sample_weight=put(0.5 * w))
    np.testing.assert_allclose(host(loss), host(again), rtol=1e-15)
    for ours, theirs in zip(grads, others, strict=True):
        assert textbook.relative_error(host(ours), host(theirs)) <= 1e-15


def test_equal_weights_are_no_weights(put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), [put(p) for p in textbook.parameters()]
    weighted = mx.objective(X, y, *params, sample_weight=put(np.full(6, 3.0)))
    np.testing.assert_allclose(host(weighted), host(mx.objective(X, y, *params)), rtol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.75])
def test_smoothing_mixes_the_targets_with_the_uniform_distribution(put, host, smoothing):
    X, y, params = textbook.batch(), textbook.labels(), textbook.parameters()
    targets = (1 - smoothing) * np.eye(3)[y] + smoothing / 3
    ours = mx.objective(put(X), put(y), *map(put, params), label_smoothing=smoothing)
    np.testing.assert_allclose(host(ours), textbook.objective(X, targets, *params), rtol=1e-14)
    soft = textbook.soft_targets()
    ours = mx.objective(put(X), put(soft), *map(put, params), label_smoothing=smoothing)
    theirs = textbook.objective(X, soft, *params, label_smoothing=smoothing)
    np.testing.assert_allclose(host(ours), theirs, rtol=1e-14)


# --- the range of targets --------------------------------------------------------------------------------------------

OUT_OF_RANGE = [
    ("poisson", -1.0, "y must be at least 0 for poisson; squared_error takes any number, got -1.0"),
    ("poisson", -1e-30, "y must be at least 0 for poisson"),
    ("poisson", -np.inf, "y must be at least 0 for poisson"),
    ("sigmoid_cross_entropy", 255.0, "y must be in 0 ... 1 for sigmoid_cross_entropy"),
    ("sigmoid_cross_entropy", 1.001, "y must be in 0 ... 1 for sigmoid_cross_entropy"),
    ("sigmoid_cross_entropy", -0.5, "y must be in 0 ... 1 for sigmoid_cross_entropy"),
]


@pytest.mark.parametrize(("criterion", "target", "words"), OUT_OF_RANGE)
@pytest.mark.filterwarnings(
    "ignore:invalid value encountered in:RuntimeWarning"
)  # log of a count below 0, on NumPy's heirs
def test_a_target_out_of_range_is_never_a_plausible_number(backend, put, host, criterion, target, words):
    t = textbook.soft_targets().copy()
    t[4, 1] = target
    X, y, params = put(textbook.batch()), put(t), [put(p) for p in textbook.parameters()]
    op, (z, _) = getattr(mx.losses, criterion), mx.forward(X, *params, criterion="squared_error")
    weights = put(np.full(6, 1 / 6))
    _, cache = mx.forward(X, *params, criterion=criterion)
    if backend == "numpy":  # only there are the values looked at
        for call in (lambda: mx.train_step(X, y, *params, criterion=criterion), lambda: mx.backward(cache, y)):
            with pytest.raises(ValueError, match=words):
                call()
        with pytest.raises(ValueError, match=words.replace("y must", "targets must")):
            op(z, y, weights)
    else:
        loss, grads = mx.loss_and_grads(X, y, *params, criterion=criterion)
        assert np.isnan(host(loss))
        for array in (*grads, *mx.train_step(X, y, *params, criterion=criterion)[1], *mx.backward(cache, y)):
            assert np.all(np.isnan(host(array)))
        loss, pullback = op(z, y, weights)
        assert np.isnan(host(loss))
        assert np.isnan(host(pullback(put(1.0))[0])).any(axis=1).tolist() == [False] * 4 + [True, False]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_ends_of_the_range_and_a_rounding_beyond_it_are_targets(xp, put, host, criterion):
    X, params = put(textbook.batch()), network(put, criterion)
    t = textbook.soft_targets().copy()
    t[0], t[1, 0] = 0.0, np.nextafter(np.float32(1.0), np.float32(2.0))  # such as a sum of shares in float32
    assert np.isfinite(host(mx.objective(X, put(t), *params, criterion=criterion)))
    low, high = CRITERIA[criterion].targets
    ends = np.full((6, 3), 1e6 if high == np.inf else high)
    ends[:3] = -1e6 if low == -np.inf else low
    assert np.isfinite(host(mx.objective(X, put(ends), *params, criterion=criterion)))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_targets_that_are_nan_give_nan(put, host, criterion):
    t = textbook.soft_targets().copy()
    t[3, 0] = np.nan
    X, params = put(textbook.batch()), network(put, criterion)
    loss, grads = mx.loss_and_grads(X, put(t), *params, criterion=criterion)
    assert np.isnan(host(loss))
    assert np.isnan(host(grads[-1])).any()  # no step from such a row is a plausible one


@pytest.mark.parametrize("which", ["", "validation "])
def test_targets_are_looked_at_on_request_wherever_they_are(put, which):
    check = mx.losses.check_target_values
    for criterion in CRITERIA.values():
        for good in (textbook.soft_targets(), textbook.labels()):
            check(namespace(put(good)), criterion, put(good), 3 * criterion.outputs_per_target, which)
    counts, xp = put([[-2.0, 0.0, 1.0]]), namespace(put([1.0]))
    check(xp, CRITERIA["squared_error"], counts, 3, which)
    check(xp, CRITERIA["softmax_cross_entropy"], counts, 3, which)  # any numbers, by contract
    with pytest.raises(ValueError, match=f"^{which}y must be at least 0 for poisson; .*, got -2.0$"):
        check(xp, CRITERIA["poisson"], counts, 3, which)
    with pytest.raises(ValueError, match=f"^{which}y must be in 0 ... 1 for sigmoid_cross_entropy; .*, got -2.0$"):
        check(xp, CRITERIA["sigmoid_cross_entropy"], counts, 3, which)
    with pytest.raises(
        ValueError, match=f"^{which}y must hold labels 0 to 1, got labels 0 to 7; integers are labels: "
    ):
        check(xp, CRITERIA["poisson"], put([0, 1, 7]), 1, which)
    with pytest.raises(ValueError, match=f"^{which}y must hold labels 0 to 2, got labels -1 to 2$"):
        check(xp, CRITERIA["softmax_cross_entropy"], put([0, -1, 2]), 3, which)


@pytest.mark.parametrize("criterion", ["poisson", "squared_error"])
@pytest.mark.only("numpy")
def test_integer_counts_are_told_to_be_floating(criterion):
    X, params = textbook.batch(), textbook.parameters((4, 5, 1))
    with pytest.raises(ValueError, match="integers are labels: counts and other numbers must be floating"):
        mx.objective(X, np.asarray([0, 3, 1, 7, 2, 0]), *params, criterion=criterion)


# --- cross_entropy of given probabilities ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_is_the_mean_of_minus_log_of_the_given_probabilities(xp, put, host, dtype):
    p = np.asarray([[0.5, 0.25, 0.25], [1e-30, 0.1, 0.9], [1.0, 0.0, 0.0]], dtype)
    y = [1, 0, 0]
    loss = mx.cross_entropy(put(p, getattr(xp, dtype)), put(y))
    assert loss.shape == ()
    assert loss.dtype == getattr(xp, dtype)
    expected = sum(-mp.log(mp.mpf(float(row[label]))) for row, label in zip(p, y, strict=True)) / 3
    assert abs(float(host(loss)) - expected) <= 8 * float(np.finfo(dtype).eps) * expected
    soft = np.asarray([[0.5, 0.25, 0.25], [0.0, 2.0, 0.5], [1.0, 0.0, 0.0]], dtype)
    loss = mx.cross_entropy(put(p, getattr(xp, dtype)), put(soft, getattr(xp, dtype)))
    expected = sum(
        -mp.mpf(float(t)) * mp.log(mp.mpf(float(q))) for t, q in zip(soft.ravel(), p.ravel(), strict=True) if t
    )
    assert abs(float(host(loss)) - expected / 3) <= 8 * float(np.finfo(dtype).eps) * expected / 3


def test_the_cross_entropy_of_an_impossible_class_is_infinite_without_a_warning(put, host):
    p = put([[1.0, 0.0], [0.5, 0.5]])
    assert float(host(mx.cross_entropy(p, put([1, 0])))) == np.inf
    assert float(host(mx.cross_entropy(p, put([[0.5, 0.5], [1.0, 0.0]])))) == np.inf
    assert float(host(mx.cross_entropy(p, put([[1.0, 0.0], [0.0, 0.0]])))) == 0.0  # 0 log 0 = 0


def test_cross_entropy_and_objective_agree_where_nothing_was_rounded_to_zero(put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), [put(p) for p in textbook.parameters()]
    p, _ = mx.forward(X, *params)
    np.testing.assert_allclose(host(mx.cross_entropy(p, y)), host(mx.objective(X, y, *params)), rtol=1e-14)


def test_a_label_out_of_range_gives_no_plausible_cross_entropy(backend, put, host):
    p = put([[0.5, 0.5], [0.25, 0.75]])
    if backend == "numpy":
        with pytest.raises(ValueError, match="y must hold labels 0 to 1, got labels 0 to 2"):
            mx.cross_entropy(p, put([0, 2]))
    else:
        assert np.isnan(host(mx.cross_entropy(p, put([0, 2]))))


@pytest.mark.parametrize("wrong", [1.5, -0.5, 3.0, -1e-3, np.inf])
@pytest.mark.parametrize("y", [[0, 1], [[1.0, 0.0], [0.5, 0.5]]], ids=["labels", "soft"])
@pytest.mark.filterwarnings("ignore:invalid value encountered in log:RuntimeWarning")  # of p < 0, on NumPy's heirs
def test_a_probability_out_of_range_gives_no_plausible_cross_entropy(backend, put, host, wrong, y):
    p = put([[wrong, 1.0], [0.5, 0.5]])
    if backend == "numpy":
        with pytest.raises(ValueError, match=f"p must be in 0 ... 1; logits go to objective, got {wrong}"):
            mx.cross_entropy(p, put(y))
    else:
        assert np.isnan(host(mx.cross_entropy(p, put(y))))


def test_a_probability_that_rounding_put_beyond_one_is_one(put, host):
    p = put([[1.0 + 2**-52, -(2.0**-60)], [0.25, 0.75]])
    expected = -np.log(0.25) / 2  # the other term is 2^-52
    np.testing.assert_allclose(host(mx.cross_entropy(p, put([0, 0]))), expected, rtol=1e-15)


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=6, max_size=6), st.integers(0, 2), st.sampled_from(sorted(WITH_ONE_OUTPUT))
)
def test_losses_are_finite_and_not_negative_and_gradients_bounded(put, host, numbers, label, name):
    z = np.reshape(numbers, (2, 3)) * (0.01 if name == "poisson" else 1.0)  # exp(z) is finite up to 709
    loss, pullback = OPS[name](put(z), put(np.eye(3)[[label, 2 - label]]), put([0.5, 0.5]))
    dz = host(pullback(put(1.0))[0])
    assert 0 <= float(host(loss)) < np.inf
    if name in ("squared_error", "poisson"):
        outputs = np.exp(z) if name == "poisson" else z
        # XLA turns subnormal numbers into 0, and its exp may round otherwise
        expected = 0.5 * (outputs - np.eye(3)[[label, 2 - label]])
        np.testing.assert_allclose(dz, expected, rtol=1e-15, atol=1e-307 if name != "poisson" else 1e-15)
    else:
        assert np.all(np.abs(dz) <= 0.5)


@pytest.mark.only("torch", "jax")
@pytest.mark.parametrize("criterion", ["softmax_cross_entropy", "sigmoid_cross_entropy", "poisson", "squared_error"])
@pytest.mark.parametrize("labels", [True, False])
def test_the_objective_can_be_differentiated_by_the_weights_of_rows(backend, put, host, criterion, labels):
    X, params = put(textbook.batch()), [put(p) for p in textbook.parameters()]
    y = put(textbook.labels() if labels else textbook.soft_targets())
    weight = np.linspace(0.5, 2.0, 6)

    def loss(w):
        return mx.objective(X, y, *params, criterion=criterion, sample_weight=w)

    if backend == "torch":
        own = put(weight).requires_grad_()
        loss(own).backward()
        gradient = host(own.grad)
    else:
        import jax

        gradient = host(jax.grad(loss)(put(weight)))
    # d/dw_i of sum w l / sum w is (l_i - loss) / sum w
    each = np.asarray([float(loss(put(row))) for row in np.eye(6)])
    np.testing.assert_allclose(gradient, (each - float(loss(put(weight)))) / weight.sum(), rtol=1e-9)


def test_a_probability_of_nan_gives_no_plausible_cross_entropy(put):
    assert math.isnan(float(mx.cross_entropy(put([[math.nan, 0.5]]), put([1]))))
    assert math.isnan(float(mx.cross_entropy(put([[0.5, 0.5], [0.5, math.nan]]), put([0, 0]))))


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error", "poisson"])
def test_a_criterion_of_k_networks_takes_weights_for_each(put, host, name):
    random = np.random.default_rng(2)
    logits, targets = random.normal(size=(3, 5, 2)), random.uniform(size=(5, 2))
    weights = random.uniform(size=(3, 5))
    op = getattr(mx.losses, name)
    loss, pullback = op(put(logits), put(targets), put(weights))
    (slope,) = pullback(put([1.0, 2.0, 3.0]))
    for i in range(3):
        alone, pull = op(put(logits[i]), put(targets), put(weights[i]))
        np.testing.assert_allclose(host(loss)[i], host(alone), rtol=1e-14)
        np.testing.assert_allclose(host(slope)[i], host(pull(put(i + 1.0))[0]), rtol=1e-14)
    with pytest.raises(ValueError, match=r"weights must have shape \(5,\) or \(3, 5\) to follow .*, got \(2, 5\)"):
        op(put(logits), put(targets), put(weights[:2]))
