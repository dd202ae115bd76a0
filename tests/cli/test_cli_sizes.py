"""Sizes are looked at before memory is asked for, and what takes long says so on stderr."""

from __future__ import annotations

import shutil
import time
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import runs

import mlp_xp as mx
from mlp_xp._lib import memory
from mlp_xp.cli._output import Screen

pytestmark = pytest.mark.only("numpy")


@pytest.fixture
def tiny(monkeypatch):
    """A machine of a kilobyte."""
    monkeypatch.setattr(memory, "_SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda: 1000)


@pytest.mark.parametrize(
    ("sizes", "ensemble", "said"),
    [
        ((10, 10**9, 3), None, "the largest matrix of 10-1000000000-3 must fit in memory: it takes 80 GB, 1 kB are"),
        ((10**12, 10**12), None, "the largest matrix of 1000000000000-1000000000000 must fit in memory"),
        ((2, 3), 10**9, "the largest matrix of 2-3 must fit in memory: it takes 48 GB, 1 kB are free"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_before_they_are_drawn(tiny, monkeypatch, sizes, ensemble, said):
    monkeypatch.setattr(np.random, "default_rng", lambda seed: pytest.fail("drew"))
    with pytest.raises(MemoryError, match=f"^{said}"):
        mx.init_params(sizes, ensemble=ensemble)


def test_each_matrix_is_held_against_what_those_before_it_have_left(tiny, monkeypatch):
    left = iter([10_000, 900, 100])
    monkeypatch.setattr(memory, "available", lambda: next(left))
    with pytest.raises(MemoryError, match=r"^W2 of shape \(10, 10\) must fit in memory: it takes 800 B"):
        mx.init_params((10, 10, 10, 10))


@pytest.mark.parametrize("there", [None, 10**30])
def test_what_fits_or_may_fit_is_drawn(tiny, monkeypatch, there):
    monkeypatch.setattr(memory, "available", lambda: there)
    assert [p.shape for p in mx.init_params((40, 30))] == [(40, 30), (30,)]


def test_a_batch_that_does_not_fit_is_refused_with_its_option(folder, capsys, monkeypatch):
    """60 rows of 10^5 hidden units take 30 times the parameters of them."""
    data = runs.write_classes(folder)
    monkeypatch.setattr("mlp_xp.cli._memory.available", lambda: 60_000_000)
    line = ("train", data, "--hidden", "100000", "--preset", "medium", "--picture", "none", "--batch-size")
    said = runs.refused(capsys, *line, str(10**12))
    assert said.startswith("a network of 5-100000-3 must fit in memory: it takes ")
    assert said.endswith("--hidden with smaller widths makes it smaller, --batch-size the batches")


# --- what takes long ---------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr("mlp_xp.cli._output._LONG", 0.01)


@pytest.mark.parametrize("manner", [{}, {"as_json": True}, {"quiet": True}], ids=str)
def test_what_takes_long_says_so_once(hasty, capsys, manner):
    with Screen(**manner).status("counting") as tell:
        time.sleep(0.2)
        tell("summing")
        time.sleep(0.2)
    said = [] if "quiet" in manner else ["note: counting takes long", "note: summing takes long"]
    assert capsys.readouterr() == ("", "".join(f"{line}\n" for line in said))


def test_what_does_not_take_long_says_nothing(capsys):
    with Screen().status("counting") as tell:
        tell("summing")
    assert capsys.readouterr() == ("", "")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with small.npz and a model of it."""
    made = tmp_path_factory.mktemp("trained")
    runs.train_quickly(str(made / runs.write_classes(made)), "-o", str(made / "small.safetensors"))
    return made


OPEN, LOOK = "mlp_xp.cli._model.open_model", "mlp_xp.cli.{}.look"
TAKE_LONG = {
    "evaluate small.safetensors small.npz": (OPEN, "judging small.safetensors by small.npz"),
    "evaluate small.safetensors small.npz --json": (OPEN, "judging small.safetensors by small.npz"),
    "predict small.safetensors small.npz -o new.csv": (OPEN, "predicting the rows of small.npz"),
    "export small.safetensors new.onnx": (OPEN, "writing new.onnx"),
    "inspect small.safetensors": (OPEN, "reading small.safetensors"),
    "inspect small.npz": (LOOK.format("_survey"), "reading small.npz"),
    "gradcheck small.safetensors small.npz": (OPEN, "checking small.safetensors"),
    "tune small.npz -o new.toml --tries 1 --cv 2 --max-iter 1": (LOOK.format("_tuning"), "reading small.npz"),
    "train small.npz --dry-run": (LOOK.format("_training"), "reading small.npz"),
    "train small.npz --max-iter 1 -o new.safetensors --picture none --no-check-gradients": (
        "mlp_xp.cli._training.judged",
        "judging the model",
    ),
    "train small.npz --max-iter 1 -o new.safetensors --picture none --no-check-gradients --importance": (
        "mlp_xp.cli._training.importance",
        "--importance",
    ),
}
"""A command line -> what of it is slow, and what is said to take long."""

EXPORTS = pytest.mark.skipif(find_spec("ndonnx") is None, reason="only the session of NumPy has ndonnx")


@pytest.mark.parametrize(
    "line", [pytest.param(line, marks=EXPORTS if line.startswith("export") else ()) for line in TAKE_LONG]
)
def test_a_command_that_takes_long_says_what_it_does(line, trained, folder, hasty, capsys, monkeypatch):
    slow, said = TAKE_LONG[line]
    module, _, name = slow.rpartition(".")
    usual = getattr(import_module(module), name)

    def slowly(*arguments, **more):
        time.sleep(0.1)
        return usual(*arguments, **more)

    monkeypatch.setattr(slow, slowly)
    for path in trained.iterdir():
        shutil.copy(path, folder)
    assert runs.cli.main(line.split()) == 0
    assert f"note: {said} takes long\n" in capsys.readouterr().err


def test_a_gradient_check_that_takes_long_says_how_to_go_without(folder, hasty, capsys, monkeypatch):
    data, usual = runs.write_classes(folder), runs.estimators.MLPClassifier._check_gradients

    def slow(*arguments):
        time.sleep(0.2)
        return usual(*arguments)

    monkeypatch.setattr("mlp_xp.estimators.MLPClassifier._check_gradients", slow)
    assert runs.cli.main(["train", data, "--preset", "medium", "--max-iter", "2", "--picture", "none"]) == 0
    assert "note: checking the gradients takes long; --no-check-gradients leaves it out\n" in capsys.readouterr().err
