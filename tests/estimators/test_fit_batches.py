"""``fit_batches`` learns from batches what ``fit`` learns from all their rows, taken in the same steps."""

from __future__ import annotations

import math
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from estimator_problems import SAME, apart, assert_same, iris, numbers, several_labels, two_classes, two_numbers
from iterables import Unsized
from sklearn import neural_network as theirs
from sklearn.exceptions import ConvergenceWarning

from mlp_xp import schedules
from mlp_xp.estimators import MLPClassifier, MLPRegressor
from mlp_xp.estimators.scaling import learned_from
from mlp_xp.train import Dataset

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SIZE = 32
V, T = ValueError, TypeError


def cut(*arrays, size=SIZE):
    """The rows in batches, as they come."""
    return [tuple(array[low : low + size] for array in arrays) for low in range(0, len(arrays[0]), size)]


def kind_of(y):
    return MLPRegressor if y.dtype.kind == "f" else MLPClassifier


SETTINGS = {
    "adam": {},
    "SGD": {"solver": "sgd"},
    "SGD, invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.05, "power_t": 0.2},
    "SGD, adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.03, "max_iter": 40},
    "converged": {"tol": 0.1, "n_iter_no_change": 2, "max_iter": 60},
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("problem", [iris, two_classes, several_labels, numbers, two_numbers])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_trajectory_is_scikit_learns(problem, setting, weighted):
    X, y = problem()
    options = {"max_iter": 8, "random_state": 5, **setting}
    weight = np.random.default_rng(0).uniform(0.2, 2.0, len(X)) if weighted else None
    arrays = (X, y, weight) if weighted else (X, y)
    kind = kind_of(y)
    sklearns = getattr(theirs, kind.__name__)(batch_size=SIZE, shuffle=False, **options).fit(X, y, sample_weight=weight)
    assert_same(kind(**options).fit_batches(cut(*arrays)), sklearns, X)


OURS = {
    "cosine with a warm-up": {"learning_rate": "cosine", "warmup_steps": 4},
    "a schedule": {"learning_rate": schedules.step_decay(0.01, 7)},
    "dropout": {"dropout": 0.3},
    "an ensemble": {"ensemble": 3},
    "standardised": {"standardise": True},
    "standardised together": {"standardise": "together"},
    "an ensemble, standardised and clipped": {"ensemble": 2, "standardise": True, "clip_norm": 0.5, "solver": "adamw"},
    "gradients checked": {"check_gradients": True, "standardise": True},
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("options", OURS.values(), ids=OURS)
@pytest.mark.parametrize("problem", [iris, numbers])
def test_what_is_learned_is_what_fit_learns_in_the_same_steps(problem, options):
    X, y = problem()
    X, weight = 3.0 * X + 5.0, np.random.default_rng(0).uniform(0.2, 2.0, len(X))
    options = {"hidden_layer_sizes": 6, "max_iter": 4, "random_state": 5, **options}
    fitted = kind_of(y)(batch_size=SIZE, shuffle=False, **options).fit(X, y, weight)
    model = kind_of(y)(**options).fit_batches(cut(X, y, weight))
    assert apart(model, fitted) <= SAME
    np.testing.assert_allclose(model.loss_curve_, fitted.loss_curve_, rtol=SAME)
    np.testing.assert_allclose(model.predict(X), fitted.predict(X), rtol=SAME)
    assert (model.n_iter_, model.t_) == (fitted.n_iter_, fitted.t_)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("ensemble", [1, 2])
def test_early_stopping_goes_by_the_eval_set(ensemble):
    X, y = iris()
    options = {"max_iter": 40, "early_stopping": True, "n_iter_no_change": 2, "learning_rate_init": 0.02}
    options |= {"random_state": 0, "hidden_layer_sizes": 6, "ensemble": ensemble, "standardise": True}
    fitted = MLPClassifier(batch_size=SIZE, shuffle=False, **options).fit(X[::2], y[::2], eval_set=(X[1::2], y[1::2]))
    model = MLPClassifier(**options).fit_batches(cut(X[::2], y[::2]), eval_set=(X[1::2], y[1::2]))
    assert model.n_iter_ < 40
    assert apart(model, fitted) <= SAME
    np.testing.assert_allclose(model.validation_scores_, fitted.validation_scores_, rtol=SAME)
    np.testing.assert_allclose(model.validation_losses_, fitted.validation_losses_, rtol=SAME)


@pytest.mark.only("numpy")
def test_class_weights_by_name_weigh_as_in_fit():
    X, y = iris()
    options = {"class_weight": {0: 3.0, 2: 0.5}, "max_iter": 3, "random_state": 0}
    fitted = MLPClassifier(batch_size=SIZE, shuffle=False, **options).fit(X, y)
    assert apart(MLPClassifier(**options).fit_batches(cut(X, y)), fitted) <= SAME


@pytest.mark.parametrize("classes", [None, ["setosa", "versicolor", "virginica"]])
def test_batches_of_every_library_are_learned_from_where_they_are(put, host, classes):
    X, y = iris()
    names = np.asarray(["setosa", "versicolor", "virginica"])[y]
    batches = [(put(part), labels) for part, labels in cut(X, names, size=75)]  # the first one has two classes
    options = {"hidden_layer_sizes": 4, "max_iter": 2, "random_state": 5, "standardise": True}
    model = MLPClassifier(**options).fit_batches(batches, classes=classes, eval_set=(put(X), names))
    fitted = MLPClassifier(batch_size=75, shuffle=False, **options).fit(X, names)
    assert type(model.coefs_[0]) is type(put(X))
    for a, b in zip(model.coefs_ + model.intercepts_, fitted.coefs_ + fitted.intercepts_, strict=True):
        np.testing.assert_allclose(host(a), b, rtol=0, atol=SAME * np.max(np.abs(b)))
    assert (np.asarray(model.classes_) == fitted.classes_).all()
    assert len(model.validation_losses_) == 2


@pytest.mark.only("torch")
def test_a_data_loader_is_taken(put, host):
    from torch.utils.data import DataLoader, TensorDataset

    X, y = iris()
    options = {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 5, "learning_rate": "cosine"}
    loader = DataLoader(TensorDataset(put(X), put(y)), batch_size=SIZE)
    fitted = MLPClassifier(batch_size=SIZE, shuffle=False, **options).fit(put(X), put(y))
    model = MLPClassifier(**options).fit_batches(loader)
    for a, b in zip(model.coefs_, fitted.coefs_, strict=True):
        np.testing.assert_allclose(host(a), host(b), rtol=0, atol=SAME)
    assert type(model.predict(put(X))) is type(put(X))
    shuffled = DataLoader(TensorDataset(put(X), put(y)), batch_size=SIZE, shuffle=True)
    options |= {"max_iter": 30, "learning_rate_init": 0.02, "standardise": True}
    assert MLPClassifier(**options).fit_batches(shuffled).score(put(X), put(y)) > 0.9


# --- what the batches are gone through for ---------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("options", "classes", "passes"),
    [({}, None, 4), ({}, [0, 1, 2], 3), ({"standardise": True}, [0, 1, 2], 4), ({"standardise": True}, None, 5)],
)
def test_classes_and_deviations_take_a_pass_each(options, classes, passes):
    batches = Unsized(cut(*iris()))
    MLPClassifier(max_iter=3, **options).fit_batches(batches, classes=classes)
    assert batches.passes == passes


@pytest.mark.only("numpy")
def test_a_generator_is_one_pass():
    X, y = numbers()
    fitted = MLPRegressor(batch_size=SIZE, shuffle=False, max_iter=1, random_state=0).fit(X, y)
    assert apart(MLPRegressor(max_iter=1, random_state=0).fit_batches(iter(cut(X, y))), fitted) <= SAME
    again = re.escape(
        "batches must be an iterable that can be gone through again, such as a DataLoader or a list, for "
    )
    for model in (MLPRegressor(max_iter=2), MLPRegressor(max_iter=1, standardise=True)):
        with pytest.raises(ValueError, match=f"{again}2 passes, got a list_iterator, which is used up after one"):
            model.fit_batches(iter(cut(X, y)))


@pytest.mark.only("numpy")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means_and_deviations_are_those_of_all_rows(weighted, dtype):
    random = np.random.default_rng(0)
    X = (random.normal(size=(1000, 3)) * [1.0, 1e-3, 1e5] + [0.0, 100.0, 1e6]).astype(dtype)
    X = np.concatenate([X, np.full((1000, 1), 0.1, dtype)], axis=1)  # the last one is constant
    weight = random.uniform(0.1, 2.0, 1000).astype(dtype) if weighted else None
    parts = [Dataset(X[low : low + 7], X[low : low + 7], weight[low : low + 7] if weighted else None)
             for low in range(0, 1000, 7)]  # fmt: skip
    found = learned_from(parts, of_y=True, together=False)
    rows, weights = X.astype(float), np.ones(1000) if weight is None else weight.astype(float)
    means = [math.fsum(weights * column) / math.fsum(weights) for column in rows.T]
    squares = [math.fsum(weights * (column - m) ** 2) for column, m in zip(rows.T, means, strict=True)]
    deviations = np.sqrt(np.asarray(squares[:3]) / math.fsum(weights))
    # seven rows are summed and divided in their dtype, and each of the parts is joined in float64
    eps = 8.0 * float(np.finfo(dtype).eps) + len(parts) * float(np.finfo(np.float64).eps)
    largest = np.max(np.abs(rows), axis=0)
    for mean, scale in (found[:2], found[2:]):
        assert np.all(np.abs(mean - means) <= eps * largest)
        assert np.all(np.abs(scale[:3] - deviations) <= eps * (deviations + largest[:3]))  # differences of such numbers
        assert scale[3] == 1.0


@pytest.mark.only("numpy")
@pytest.mark.parametrize("together", [False, True])
def test_means_and_deviations_of_sparse_parts_are_those_of_all_rows(together):
    X = scipy.sparse.random(200, 5, 0.3, format="csr", random_state=0)
    parts = [Dataset(X[low : low + 30], np.zeros((30, 1))) for low in range(0, 200, 30)]
    mean, scale, *_ = learned_from(parts, of_y=False, together=together)
    expected = np.full(5, X.toarray().std()) if together else X.toarray().std(axis=0)
    np.testing.assert_allclose(scale, expected, rtol=1e-12)
    assert not mean.any()


@pytest.mark.only("numpy")
def test_no_number_overflows_when_parts_are_joined():
    X = np.asarray([[1e200], [-1e200], [3e200], [0.0]])
    parts = [Dataset(X[:2], X[:2]), Dataset(X[2:], X[2:])]
    with np.errstate(all="raise", under="ignore"):
        mean, scale, *_ = learned_from(parts, of_y=False, together=False)
    np.testing.assert_allclose([mean[0], scale[0]], [0.75e200, 1e200 * (X / 1e200).std()], rtol=1e-14)


# --- what batches may be ---------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_frames_and_sparse_batches_are_taken():
    X, y = iris()
    options = {"max_iter": 2, "random_state": 0, "batch_size": SIZE}
    fitted = MLPClassifier(shuffle=False, **options).fit(X, y)
    frame, series = pd.DataFrame(X, columns=list("abcd")), pd.Series(y)
    model = MLPClassifier(**options).fit_batches(cut(frame, series))
    assert apart(model, fitted) <= SAME
    assert list(model.feature_names_in_) == list("abcd")
    sparse = [(scipy.sparse.csr_matrix(part), labels) for part, labels in cut(X, y)]
    assert apart(MLPClassifier(**options).fit_batches(sparse), fitted) <= SAME
    with pytest.raises(ValueError, match="batch 2: The feature names should match"):
        MLPClassifier(**options).fit_batches([(frame, series), (frame[list("dcba")], series)])


@pytest.mark.only("numpy")
def test_probabilities_and_several_labels_are_found_in_batches():
    X = np.random.default_rng(0).normal(size=(6, 4))
    certain, soft = np.eye(3)[[0, 1, 2]], np.asarray([[0.2, 0.3, 0.5]] * 3)
    for batches in ([(X[:3], certain), (X[3:], soft)], [(X[:3], soft), (X[3:], certain)]):
        model = MLPClassifier(max_iter=1).fit_batches(batches)
        assert (model.classes_.tolist(), model.out_activation_) == ([0, 1, 2], "softmax")
    labels = MLPClassifier(max_iter=1).fit_batches([(X[:3], certain.astype(int)), (X[3:], 1 - certain.astype(int))])
    assert labels.predict(X).shape == (6, 3)


@pytest.mark.only("numpy")
def test_the_first_batch_decides_the_dtype():
    X, y = numbers()
    model = MLPRegressor(max_iter=1).fit_batches([(X[:50].astype(np.float32), y[:50]), (X[50:], y[50:])])
    assert model.coefs_[0].dtype == np.float32


# --- going on, callbacks, checkpoints --------------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_warm_start_goes_on_and_a_second_fit_begins_anew():
    X, y = iris()
    options = {"max_iter": 2, "random_state": 0, "warm_start": True}
    fitted = MLPClassifier(batch_size=SIZE, shuffle=False, **options).fit(X, y).fit(X, y)
    model = MLPClassifier(**options).fit_batches(cut(X, y)).fit_batches(cut(X, y))
    assert apart(model, fitted) <= SAME
    anew = model.set_params(warm_start=False).fit_batches(cut(X, y))
    assert apart(anew, MLPClassifier(max_iter=2, random_state=0).fit_batches(cut(X, y))) == 0.0
    wide = MLPRegressor(max_iter=1).fit_batches(cut(*two_numbers())).fit_batches(cut(*numbers()))
    assert wide.n_outputs_ == 1


@pytest.mark.only("numpy")
def test_a_callback_sees_each_epoch_and_ends_training(capsys):
    seen = []

    def callback(epoch):
        seen.append((epoch.last.number, epoch.last.steps, epoch.rows))
        return epoch.last.number == 2

    MLPClassifier(max_iter=9, progress=True).fit_batches(cut(*iris()), callbacks=[callback])
    assert seen == [(1, 5, 150), (2, 10, 300)]


@pytest.mark.only("numpy")
def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(tmp_path):
    X, y = iris()
    options = {"max_iter": 6, "random_state": 0, "dropout": 0.2, "learning_rate": "cosine"}
    whole = MLPClassifier(**options).fit_batches(cut(X, y))
    file, stop = tmp_path / "run.safetensors", [lambda epoch: epoch.last.number == 3]
    MLPClassifier(**options).fit_batches(cut(X, y), checkpoint=file, callbacks=stop)
    rest = MLPClassifier(**options).fit_batches(cut(X, y), checkpoint=file, resume=True)
    assert apart(rest, whole) == 0.0
    assert (rest.loss_curve_, rest.t_, rest.n_iter_) == (whole.loss_curve_, whole.t_, whole.n_iter_)


@pytest.mark.only("numpy")
def test_a_fit_that_fails_leaves_the_one_before():
    X, y = iris()
    model = MLPClassifier(max_iter=2, random_state=0).fit_batches(cut(X, y))
    before = [each.copy() for each in model.coefs_]
    with pytest.raises(ValueError, match="batch 2: Input X contains NaN"):
        model.fit_batches([(X, y), (X * math.nan, y)], classes=[0, 1, 2])
    assert all((a == b).all() for a, b in zip(model.coefs_, before, strict=True))
    assert model.score(X, y) > 0.5


@pytest.mark.only("numpy")
def test_warnings_are_those_of_fit():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        MLPClassifier(max_iter=2).fit_batches(cut(*iris()))
    with warnings.catch_warnings():  # the size of the batches is their own
        warnings.simplefilter("error")
        MLPClassifier(max_iter=40, tol=1.0, n_iter_no_change=1, batch_size=5000).fit_batches(cut(*iris()))


# --- slips -----------------------------------------------------------------------------------------------------------

X, Y = iris()


def batches(*more, **options):
    """A fit of a classifier on all rows in batches, and some batches more."""
    call = {name: options.pop(name) for name in ("classes", "eval_set", "checkpoint", "resume") if name in options}
    return MLPClassifier(**{"max_iter": 2, **options}).fit_batches([*cut(X, Y), *more], **call)


# name -> the call, the error, words of its sentence
ROWS = {
    "X in place of batches": (
        lambda: MLPClassifier().fit_batches(X), T, "batches must be an iterable of pairs (X, y), got ndarray"),
    "a frame": (
        lambda: MLPClassifier().fit_batches(pd.DataFrame(X)), T, "batches must be an iterable of pairs (X, y), got D"),
    "None": (lambda: MLPRegressor().fit_batches(None), T, "batches must be an iterable of pairs (X, y), got None"),
    "no batches": (lambda: MLPClassifier().fit_batches([]), V, "batches must hold at least one batch, got none"),
    "X alone": (lambda: batches(X), T, "batch 6 must be a pair (X, y), or a triple (X, y, sample_weight), got ndarray"),
    "a dict": (lambda: batches({"X": X, "y": Y}), T, "batch 6 must be a pair (X, y), or a triple"),
    "targets that are None": (lambda: batches((X, None)), V, "batch 6: y must hold the targets, got None"),
    "another width": (lambda: batches((X[:, :2], Y)), V, "batch 6: X has 2 features, but MLPClassifier is expecting 4"),
    "another kind of targets": (
        lambda: batches((X, np.eye(3, dtype=int)[Y])), V,
        "batch 6: y must be of one kind in all batches, got multilabel-indicator after multiclass"),
    "another width of targets": (
        lambda: MLPClassifier().fit_batches([(X, np.eye(3)[Y]), (X, np.eye(4)[Y])]), V,
        "batch 2: y must have 3 columns in all batches, got 4"),
    "another width of numbers": (
        lambda: MLPRegressor().fit_batches([(X, X[:, 0]), (X, X)]), V,
        "batch 2: y must have 1 numbers for each sample"),
    "a class that was not named": (lambda: batches(classes=[0, 1]), V, "`y` has classes not in `self.classes_`"),
    "labels and texts": (lambda: batches((X, Y.astype(str))), V, "batch 6: Mix of label input types (string and"),
    "weights in some batches": (
        lambda: batches((X, Y, np.ones(150))), V,
        "batch 6: sample_weight must be in every batch or in none, got weights after none"),
    "no weight in a batch": (
        lambda: MLPClassifier().fit_batches([(X, Y, np.zeros(150))]), V,
        "batch 1: sample_weight must not be zero for every sample"),
    "balanced weights": (lambda: batches(class_weight="balanced"), V, "needs all rows, which fit_batches does not see"),
    "a solver of all rows": (lambda: batches(solver="lbfgs"), V, "fit_batches needs a stochastic solver: lbfgs takes"),
    "early stopping by nothing": (
        lambda: batches(early_stopping=True), V, "early_stopping needs eval_set=(X, y) in fit_batches"),
    "an eval set of X alone": (lambda: batches(eval_set=X), V, "eval_set must be a pair (X, y), got a ndarray"),
    "resume from nowhere": (lambda: batches(resume=True), V, "resume needs a checkpoint to go on from"),
}  # fmt: skip


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("call", "error", "words"), ROWS.values(), ids=ROWS)
def test_bad_input_gets_one_clear_sentence(call, error, words):
    with pytest.raises(error, match=re.escape(words)) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert len(re.findall(r"batch \d+: ", str(caught.value))) <= 1  # the batch that it is about, and no other


@pytest.mark.only("torch")
def test_a_batch_of_another_library_is_refused(put):
    with pytest.raises(ValueError, match=r"batch 2: Inputs passed to MLPClassifier.fit_batches\(\) must use the same"):
        MLPClassifier(max_iter=2).fit_batches([(put(X), Y), (X, Y)], classes=[0, 1, 2])
