"""An activation or a criterion is one entry in one file: entered here as it would be there, it works everywhere."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import cloudpickle
import mpmath
import numpy as np
import pytest
import textbook
from marks import EAGER

import mlp_xp as mx
from mlp_xp.losses import CRITERIA, _criterion, _per_row
from mlp_xp.mistakes import hypotheses
from mlp_xp.mlp import terms_of
from mlp_xp.ops import ACTIVATIONS, Cost, _elementwise
from mlp_xp.train import train


@pytest.fixture
def softsign():
    @_elementwise(forward=3, backward=3, kept=2)
    def softsign(xp, z):
        """``z / (1 + |z|)``."""
        size = 1.0 + xp.abs(z)
        return z / size, lambda: 1.0 / (size * size)

    yield softsign
    del ACTIVATIONS["softsign"]


@pytest.fixture
def normal():
    """The negative log-likelihood of a normal distribution whose mean and log-variance are two outputs per target."""

    def halves(logits):
        k = logits.shape[-1] // 2
        return logits[..., :k], logits[..., k:]

    @_criterion(outputs=lambda xp, z, k: halves(z)[0], metric="r2", outputs_per_target=2, cost=Cost(6, 6, 2))
    def normal(xp, logits, targets, weights):
        """``sum_i w_i 1/2 sum_j s_ij + (t_ij - m_ij)^2 exp(-s_ij)``."""
        mean, spread = halves(logits)
        precision, gap = xp.exp(-spread), targets - mean
        losses = 0.5 * xp.sum(spread + gap * gap * precision, axis=-1)

        def pullback(dloss):
            slope = xp.concat([-gap * precision, 0.5 * (1.0 - gap * gap * precision)], axis=-1)
            return (slope * _per_row(weights, dloss),)

        return losses @ weights, pullback

    yield normal
    del CRITERIA["normal"]


def problem(put, outputs, targets, seed=0):
    random = np.random.default_rng(seed)
    params = [put(random.normal(size=shape)) for shape in ((3, 5), (5,), (5, outputs), (outputs,))]
    return put(random.normal(size=(7, 3))), put(random.normal(size=(7, targets))), params


def test_a_new_activation_is_known_by_name_and_as_an_op(softsign, put, host):
    X, y, params = problem(put, 2, 2)
    by_name, as_op = (
        mx.objective(X, y, *params, activation=a, criterion="squared_error") for a in ("softsign", softsign)
    )
    assert float(by_name) == float(as_op)
    values = host(softsign(put(np.asarray([-3.0, 0.5])))[0])
    assert values == pytest.approx([float(mpmath.mpf(z) / (1 + abs(mpmath.mpf(z)))) for z in (-3.0, 0.5)], rel=1e-15)


@EAGER
def test_a_new_activations_gradients_are_checked_and_its_mistakes_named(softsign, put):
    X, y, params = problem(put, 2, 2)
    options = {"activation": "softsign", "criterion": "squared_error"}
    assert mx.check_gradients(X, y, *params, **options).ok
    assert "the derivative of the activation is omitted in layer 1" in hypotheses(X, y, *params, **options)


def test_a_new_activations_cost_is_counted(softsign):
    one, other = (mx.step_cost((4, 8, 2), 16, activation=name) for name in ("softsign", "tanh"))
    known = ACTIVATIONS["tanh"].cost
    assert one.forward_flops - other.forward_flops == 16 * 8 * (3 - known.forward)
    assert one.backward_flops - other.backward_flops == 16 * 8 * (3 - known.backward)


def test_a_new_criterion_may_take_several_outputs_for_a_target(normal, put, host):
    X, y, params = problem(put, 4, 2)
    means, _ = mx.forward(X, *params, criterion="normal")
    assert means.shape == mx.predict(X, *params, criterion=normal).shape == (7, 2)
    logits = host(mx.predict(X, *params, criterion=lambda *arrays: None))
    mean, spread, t = logits[:, :2], logits[:, 2:], host(y)
    expected = np.mean(0.5 * np.sum(spread + (t - mean) ** 2 / np.exp(spread), axis=1))
    assert float(mx.objective(X, y, *params, criterion="normal")) == pytest.approx(expected, rel=1e-14)


def test_a_new_criterions_gradients_are_checked(normal, put):
    X, y, params = problem(put, 4, 2)
    assert mx.check_gradients(X, y, *params, criterion="normal").ok


def test_a_new_criterion_is_learned_by_and_judged(normal, put):
    X, _, params = problem(put, 2, 1)
    y = X[:, :1] + 0.5
    *_, last = train(X, y, tuple(params), epochs=60, lr=0.03, criterion="normal", validation=(X, y), batch_size=7)
    assert last.history[0].val_score < 0.5 < last.last.val_score


def test_targets_of_another_width_are_refused(normal, put):
    X, y, params = problem(put, 4, 4)
    with pytest.raises(ValueError, match=r"floating y must be targets of shape \(n, d_out\) = \(7, 2\), got \(7, 4\)"):
        mx.objective(X, y, *params, criterion="normal")


def test_smoothing_belongs_to_a_criterion_whose_record_says_so(normal, put):
    X, y, params = problem(put, 4, 2)
    with pytest.raises(ValueError, match="label_smoothing belongs to softmax_cross_entropy alone"):
        mx.objective(X, y, *params, criterion="normal", label_smoothing=0.1)


def test_the_outputs_of_a_criterion_without_probabilities_are_none(normal, put):
    X, _, params = problem(put, 4, 2)
    with pytest.raises(ValueError, match="predict_proba needs a criterion with probabilities"):
        mx.predict_proba(X, *params, criterion="normal")


COPIES = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "cloudpickle": lambda value: cloudpickle.loads(cloudpickle.dumps(value)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("way", COPIES)
def test_a_copy_of_an_op_or_a_record_is_itself(way):
    ops = [getattr(mx.ops, name) for name in ACTIVATIONS] + [getattr(mx.losses, name) for name in CRITERIA]
    for value in (mx.ops.affine, *ops, *ACTIVATIONS.values(), *CRITERIA.values()):
        assert COPIES[way](value) is value


@pytest.mark.only("numpy")
@pytest.mark.parametrize("way", COPIES)
def test_what_holds_records_can_be_copied(way):
    X, y, params = textbook.batch(), textbook.soft_targets(), textbook.parameters()
    terms = terms_of(1, activation="tanh", criterion="poisson", l2=0.5)
    assert COPIES[way](terms) == terms
    loss = partial(mx.objective, activation=mx.ops.tanh, criterion=mx.losses.poisson)
    assert COPIES[way](loss)(X, y, *params) == loss(X, y, *params)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("way", COPIES)
def test_a_copy_of_a_record_of_ones_own_has_its_fields(way):
    own = CRITERIA["poisson"]._replace(name="deviance", loss=mx.losses.squared_error, targets=(1.0, 2.0))
    assert COPIES[way](own) == own
    changed = CRITERIA["poisson"]._replace(
        targets=(1.0, 2.0), loss=mx.losses.squared_error
    )  # under the name of another
    assert COPIES[way](changed) == changed
    cube = ACTIVATIONS["relu"]._replace(primitive=mx.ops.tanh)
    assert COPIES[way](cube) == cube
