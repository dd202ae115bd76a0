"""Rows on disk: an estimator learns from them, and answers for them, as from the array of the same rows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris

from mlp_xp.estimators import MLPClassifier, MLPRegressor
from mlp_xp.estimators.data import Rows
from mlp_xp.train import source

pytestmark = [
    pytest.mark.only("numpy"),
    pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations"),
]

X, LABELS = load_iris(return_X_y=True)
NUMBERS = X @ np.asarray([1.0, -2.0, 0.5, 3.0])
WEIGHT = 1.0 + np.arange(150) % 3
SOME = np.where(np.arange(150) % 5 == 0, 0.0, WEIGHT)


class OnDisk:
    """The rows of an array, and nothing else of it."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __getitem__(self, rows):
        return self.rows[rows]


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch):
    monkeypatch.setattr(source, "_READ", 40 * 8 * 4)
    monkeypatch.setattr("mlp_xp.train.evaluate._NUMBERS", 40 * 4)
    monkeypatch.setattr("mlp_xp.estimators.data._CHUNK", 40 * 4)


FITS = {
    "plain": ({}, {}),
    "early stopping": ({"early_stopping": True}, {}),
    "early stopping by a scorer": ({"early_stopping": True, "scoring": "loss"}, {}),
    "standardised": ({"early_stopping": True, "standardise": True}, {}),
    "standardised, all columns alike": ({"standardise": "together"}, {}),
    "weights": ({"standardise": True}, {"sample_weight": WEIGHT}),
    "rows that weigh nothing": ({"early_stopping": True}, {"sample_weight": SOME}),
    "rows that weigh nothing, standardised": ({"standardise": True}, {"sample_weight": SOME}),
    "an ensemble": ({"ensemble": 2}, {}),
    "folds": ({"ensemble": 3, "early_stopping": True, "folds": True}, {"sample_weight": SOME}),
    "validation rows": ({"early_stopping": True}, {"eval_set": (OnDisk(X[::3]), LABELS[::3])}),
    "all rows at once": ({"solver": "lbfgs"}, {}),
}


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(("options", "call"), FITS.values(), ids=FITS)
def test_it_learns_and_answers_as_from_the_array(kind, options, call, tmp_path):
    y = LABELS if kind is MLPClassifier else NUMBERS
    np.save(tmp_path / "X.npy", X)

    def answers(rows):
        model = kind(hidden_layer_sizes=(5,), max_iter=3, random_state=0, batch_size=16, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lbfgs does not converge either
            model.fit(rows, y, **call)
        said = [model.predict(rows), model.transform(rows), model.loss_, model.score(rows, y)]
        return said + ([model.best_validation_score_] if options.get("early_stopping") else [])

    expected = answers(X)
    for each in (OnDisk(X), np.load(tmp_path / "X.npy", mmap_mode="r")):
        for ours, theirs in zip(answers(each), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_what_is_standardised_is_no_copy(tmp_path):
    """Of a file, but of an array: there it is made once, and not for each step."""
    np.save(tmp_path / "X.npy", X)
    model, seen = MLPClassifier((5,), max_iter=1, standardise=True, random_state=0), []
    learn = model._learn_by_epochs
    model._learn_by_epochs = lambda data, *rest: (seen.append(type(data.X)), learn(data, *rest))
    model.fit(np.load(tmp_path / "X.npy", mmap_mode="r"), LABELS).fit(OnDisk(X), LABELS).fit(X, LABELS)
    assert seen == [Rows, Rows, np.ndarray]


@pytest.mark.parametrize(("dtype", "expected"), [("float32", "float32"), ("uint8", "float64"), ("float64", "float64")])
def test_the_network_has_the_dtype_that_scikit_learn_would_give_an_array(dtype, expected):
    model = MLPClassifier((5,), max_iter=1, random_state=0).fit(OnDisk((10 * X).astype(dtype)), LABELS)
    assert model.coefs_[0].dtype == expected
    assert model.predict_proba(OnDisk(X)).dtype == expected  # whatever the dtype of later rows
    assert model.n_features_in_ == 4


def infinite():
    late = X.copy()
    late[140, 2] = np.inf
    return OnDisk(late)


SAID = {
    "infinity": (infinite, "Input X contains infinity or a value too large for dtype('float64')."),
    "three axes": (lambda: OnDisk(np.zeros((150, 2, 2))), "Found array with dim 3"),
    "no rows": (lambda: OnDisk(np.zeros((0, 4))), "Found array with 0 sample(s)"),
    "another length": (lambda: OnDisk(X[1:]), "Found input variables with inconsistent numbers of samples: [149, 150]"),
}


@pytest.mark.parametrize(("make", "words"), SAID.values(), ids=SAID)
def test_scikit_learns_sentences(make, words):
    model = MLPClassifier((5,), max_iter=1)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its beginning is looked at below
        model.fit(make(), LABELS)
    assert str(caught.value).startswith(words)


def test_rows_of_another_width_are_refused():
    model = MLPClassifier((5,), max_iter=1).fit(OnDisk(X), LABELS)
    with pytest.raises(ValueError, match=r"^X has 3 features, but MLPClassifier is expecting 4 features as input\.$"):
        model.predict(OnDisk(X[:, :3]))


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    model = MLPClassifier((5,), max_iter=4, early_stopping=True, random_state=0)
    whole = model.fit(X, LABELS).coefs_[0]
    model.set_params(max_iter=2).fit(OnDisk(X), LABELS, checkpoint=tmp_path / "state")
    model.set_params(max_iter=4).fit(OnDisk(X), LABELS, checkpoint=tmp_path / "state", resume=True)
    np.testing.assert_array_equal(model.coefs_[0], whole)
