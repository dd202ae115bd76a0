"""Data larger than memory: what a run takes besides must not grow with the rows of X, which stay in their file."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mlp_xp import checkpoint, init_params, optim
from mlp_xp.train import Dataset, Diverged, train

estimators = pytest.importorskip("mlp_xp.estimators", reason="the estimators need scikit-learn")

Rows = estimators.data.Rows  # a source of any array

pytestmark = pytest.mark.only("numpy")  # whose memory Python counts

WIDTH, FEW, MANY = 1024, 250, 12_500
SHARE = 0.05  # of the file, at most: labels, orders and numbers of rows are one or a few numbers beside 1024


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """51 MB of numbers."""
    path = tmp_path_factory.mktemp("memory") / "X"
    X = np.memmap(path, dtype="float32", mode="w+", shape=(MANY, WIDTH))
    for low in range(0, MANY, FEW):
        X[low : low + FEW] = np.random.default_rng(low).random((FEW, WIDTH), dtype="float32")
    X.flush()
    return path


def learn(X, y, rate=0.01, **options):
    params = [p.astype("float32") for p in init_params((WIDTH, 4, 2))]
    return list(train(X, y, tuple(params), epochs=1, optimizer=optim.sgd(), lr=rate, batch_size=100, **options))


def diverge(X, y):
    with np.errstate(all="ignore"), pytest.raises(Diverged, match=r"the learning rate, 1e\+30, is too large"):
        learn(X, y, rate=1e30, activation="identity")


def fit(X, y, call=None, **options):
    model = estimators.MLPClassifier((4,), max_iter=1, batch_size=100, check_gradients=False, **options)
    return model.fit(X, y, **call or {})


RUNS = {
    "the loop": learn,
    "a share held out": lambda X, y: learn(X, y, validation=0.1),
    "weights": lambda X, y: learn(X, y, validation=0.1, sample_weight=np.ones(len(X), dtype="float32")),
    "rows in their order": lambda X, y: learn(X, y, validation=0.1, shuffle=False),
    "rows on disk": lambda X, y: learn(Rows(X, X.dtype), y, validation=0.1),
    "a network that diverges": diverge,
    "a fingerprint": checkpoint.fingerprint,
    "a fingerprint of some rows": lambda X, y: checkpoint.fingerprint(Dataset(X, y, None, np.arange(len(X))[::-1])),
    "an estimator": fit,
    "an estimator that stops early": lambda X, y: fit(X, y, early_stopping=True),
    "an estimator that standardises": lambda X, y: fit(X, y, early_stopping=True, standardise=True),
    "an estimator of rows on disk": lambda X, y: fit(Rows(X, X.dtype), y, standardise=True),
    "an estimator and rows that weigh nothing": lambda X, y: fit(X, y, {"sample_weight": np.arange(len(X)) % 9.0}),
    "predictions": lambda X, y: fit(X[:200], y[:200]).score(X, y),
    "an estimator in folds": lambda X, y: fit(X, y, early_stopping=True, ensemble=2, folds=True),
    "an estimator that keeps its state": lambda X, y: fit(
        X, y, {"checkpoint": X.filename.parent / "state"}, early_stopping=True, random_state=0
    ),
}


def most_memory(run, path, rows):
    """The bytes that a run on so many rows of the file takes at most."""
    X, y = np.memmap(path, dtype="float32", mode="r", shape=(rows, WIDTH)), np.arange(rows) % 2
    tracemalloc.start()
    run(X, y)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations")
def test_what_a_run_takes_does_not_grow_with_the_rows(file, run, monkeypatch):
    monkeypatch.setattr("mlp_xp.train.loop._MEMORY", 1)  # which is given back before the first step, and would hide all
    parts = ("_lib.namespace._PART", "train.evaluate._NUMBERS", "train.source._READ", "estimators.data._CHUNK")
    for part in (*parts, "estimators.base._SUMMED"):
        monkeypatch.setattr(f"mlp_xp.{part}", FEW * WIDTH // 4)  # as small here as they are beside a large file
    most_memory(run, file, FEW)  # what is imported and compiled once
    few, many = (most_memory(run, file, rows) for rows in (FEW, MANY))
    assert many - few < SHARE * (MANY - FEW) * WIDTH * 4, f"{(many - few) / 1e6:.1f} MB more for 50 MB of rows more"
