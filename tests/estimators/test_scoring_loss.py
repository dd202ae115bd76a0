"""``scoring="loss"``: what is watched is the loss on the validation rows, lower is better."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_problems import SAME, iris, numbers, several_labels, two_classes, two_numbers
from marks import EAGER
from sklearn.metrics import log_loss, make_scorer, mean_pinball_loss, mean_squared_error
from sklearn.model_selection import train_test_split

from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

OPTIONS = {
    "hidden_layer_sizes": (5,), "max_iter": 40, "random_state": 0, "learning_rate_init": 0.05, "early_stopping": True,
    "n_iter_no_change": 2, "tol": 0.01, "validation_fraction": 0.3,
}  # fmt: skip


def half_squares(y, predicted):
    return 0.5 * mean_squared_error(y, predicted)


PROBLEMS = {
    "three classes": (MLPClassifier, iris, {}, "neg_log_loss"),
    "two classes": (MLPClassifier, two_classes, {}, "neg_log_loss"),
    "numbers": (MLPRegressor, numbers, {}, make_scorer(half_squares, greater_is_better=False)),
    "several numbers": (MLPRegressor, two_numbers, {}, make_scorer(half_squares, greater_is_better=False)),
    "a quantile": (MLPRegressor, numbers, {"loss": "quantile", "quantile": 0.8, "tol": 0.02},
                   make_scorer(mean_pinball_loss, alpha=0.8, greater_is_better=False)),
    "an adaptive rate": (MLPClassifier, iris, {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.2},
                         "neg_log_loss"),
    "given rows": (MLPClassifier, iris, {"given": True}, "neg_log_loss"),
}  # fmt: skip


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("kind", "make", "options", "scorer"), PROBLEMS.values(), ids=PROBLEMS)
def test_the_run_is_that_of_a_scorer_that_is_minus_the_loss(kind, make, options, scorer):
    X, y = make()
    options = {**OPTIONS, **options}
    held_out = {"eval_set": (X[::3], y[::3])} if options.pop("given", False) else {}
    ours, same = (kind(**options, scoring=each).fit(X, y, **held_out) for each in ("loss", scorer))
    np.testing.assert_allclose(ours.validation_scores_, same.validation_scores_, rtol=SAME)
    np.testing.assert_array_equal(ours.validation_scores_, np.negative(ours.validation_losses_))
    assert ours.best_validation_score_ == max(ours.validation_scores_)
    assert ours.n_iter_ == same.n_iter_ < OPTIONS["max_iter"]
    for a, b in zip(ours._params(), same._params(), strict=True):
        np.testing.assert_allclose(a, b, rtol=SAME, atol=SAME)


@EAGER
def test_the_best_epoch_is_kept(put, host):
    X, y = iris()
    seen = []
    options = {**OPTIONS, "max_iter": 4, "learning_rate_init": 0.5, "tol": 0.0}
    model = MLPClassifier(**options, scoring="loss").fit(put(X), put(y), callbacks=[seen.append])
    best = int(np.argmin(model.validation_losses_))
    assert [epoch.last.val_score for epoch in seen] == [None] * len(seen)
    for ours, its in zip(model._params(), seen[best].params, strict=True):
        np.testing.assert_array_equal(host(ours), host(its))
    expected = MLPClassifier(**options, scoring="loss").fit(X, y)
    np.testing.assert_allclose(model.validation_scores_, expected.validation_scores_, rtol=SAME)


@pytest.mark.only("numpy")
def test_weights_of_validation_rows_count():
    X, y = two_classes()
    weight = 1.0 + np.arange(100) % 4
    random = np.random.RandomState(0)
    for shape in ((4, 5), 5, (5, 1), 1):  # the weights are drawn first
        random.uniform(size=shape)
    held = train_test_split(np.arange(100), random_state=random, test_size=0.3, stratify=y.astype(bool)[:, None])[1]
    model = MLPClassifier(**{**OPTIONS, "tol": 0.0}, scoring="loss").fit(X, y, weight)
    expected = log_loss(y[held], model.predict_proba(X[held]), sample_weight=weight[held])
    np.testing.assert_allclose(model.best_validation_score_, -expected, rtol=SAME)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("k", [1, 3])
def test_a_run_by_the_loss_is_resumed_to_the_last_bit(tmp_path, k):
    X, y = several_labels()
    options, path = {**OPTIONS, "scoring": "loss", "ensemble": k}, tmp_path / "state"
    MLPClassifier(**{**options, "max_iter": 3}).fit(X, y, checkpoint=path)
    resumed = MLPClassifier(**options).fit(X, y, checkpoint=path, resume=True)
    whole = MLPClassifier(**options).fit(X, y)
    assert all(np.array_equal(a, b) for a, b in zip(resumed._params(), whole._params(), strict=True))
    assert resumed.validation_scores_ == whole.validation_scores_
    assert 3 < resumed.n_iter_ == whole.n_iter_


@pytest.mark.only("numpy")
def test_batches_are_judged_by_the_loss(capsys):
    X, y = iris()
    model = MLPClassifier(**OPTIONS, scoring="loss", verbose=True)
    model.fit_batches([(X[::2], y[::2])], eval_set=(X[1::2], y[1::2]))
    np.testing.assert_array_equal(model.validation_scores_, np.negative(model.validation_losses_))
    printed = capsys.readouterr().out
    assert f"Validation loss: {model.validation_losses_[0]:f}" in printed
    assert "Validation loss did not improve more than tol=0.010000 for 2 consecutive epochs. Stopping." in printed


@pytest.mark.only("numpy")
def test_without_early_stopping_the_loss_is_shown_and_not_followed():
    X, y = iris()
    plain = {**OPTIONS, "early_stopping": False}
    by_loss, by_score = (MLPClassifier(**plain, scoring=each).fit(X, y, eval_set=(X, y)) for each in ("loss", None))
    assert by_loss.validation_losses_ == by_score.validation_losses_
    assert (by_loss.validation_scores_, by_loss.n_iter_) == (None, by_score.n_iter_)
