"""``compile=True``: what the array library offers, the same results to rounding, and one compilation for all batches.

The oracle is the loop on NumPy as it is, which ``test_loop`` holds against the textbook.
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import textbook

import mlp_xp as mx
from mlp_xp import schedules
from mlp_xp._lib.namespace import spans_of
from mlp_xp.train import Dataset, compiling, train
from mlp_xp.train.dataset import batches, filled_up

K, SIZES, N = 2, (4, 5, 3), 11

# A run of at most 12 steps; each rounds as the other run does, but in another order, some ten times a number, and Adam
# divides by roots that are small at first.
CLOSE = 12 * 10 * 8 * np.finfo(np.float64).eps

ROWS = np.random.default_rng(1).integers(0, 3, N).astype(float)
LAST_ROWS = np.where(np.arange(N) < 8, ROWS + 1, 0.0)  # the last batch of four weighs nothing
FOR_EACH = np.stack([np.where(np.arange(N) // 4 == i, 0.0, 1.0 + ROWS) for i in range(K)])


def rows():
    random = np.random.default_rng(5)
    return random.normal(size=(N, 4)), random.integers(0, 3, N)


def last_of(*arguments, **options):
    *_, epoch = train(*arguments, **options)
    return epoch


def assert_same_run(host, ours, theirs):
    for name in ("params", "best", "state"):
        for a, b in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(host(a), b, rtol=0, atol=CLOSE * max(1.0, np.max(np.abs(b))))
    assert ours.rows == theirs.rows
    for each, other in zip(ours.history, theirs.history, strict=True):
        for a, b in zip((each, *each.members), (other, *other.members), strict=True):
            assert (a.number, a.steps) == (b.number, b.steps)
            numbers, expected = ([0.0 if n is None else n for n in record[1:6]] for record in (a, b))
            np.testing.assert_allclose(numbers, expected, rtol=CLOSE, atol=CLOSE)


@pytest.fixture
def compiler_of_numpy(monkeypatch):
    """NumPy gets a compiler that changes nothing; what it compiled, with the shapes of each call."""
    made = []

    def compiler(function):
        shapes = []
        made.append((function.__name__, shapes))

        def compiled(*arguments):
            shapes.append(shapes_of(arguments))
            return function(*arguments)

        return compiled

    monkeypatch.setitem(sys.modules, "a_compiler", ModuleType("a_compiler"))
    sys.modules["a_compiler"].compiler = compiler
    monkeypatch.setitem(compiling.COMPILERS, "numpy", "a_compiler.compiler")
    return made


def shapes_of(each):
    """Shapes and dtypes of arrays in tuples: what a compiler compiles anew for. A number is there as it is."""
    if isinstance(each, tuple):
        return tuple(map(shapes_of, each))
    return (each.shape, each.dtype) if hasattr(each, "shape") else each


# --- one compilation, the same results ---------------------------------------------------------------------------

RUNS = {
    "plain": {},
    "dropout, penalties, clipping": {"dropout": 0.3, "alpha": 1.0, "l2": 0.1, "l1": 0.01, "clip_norm": 0.3},
    "a schedule and patience": {"lr": schedules.cosine(0.3), "patience": 1, "tol": 0.02, "validation": 0.2},
    "weights": {"sample_weight": ROWS, "alpha": 1.0, "shuffle": False},
    "a last batch that weighs nothing": {"sample_weight": LAST_ROWS, "alpha": 1.0, "shuffle": False},
    "several batches in a step": {"accumulate": 2, "dropout": 0.3, "alpha": 1.0, "batch_size": 3},
    "several weighted batches in a step": {"accumulate": 2, "sample_weight": LAST_ROWS, "shuffle": False},
    "networks": {"lr": (0.1, schedules.cosine(0.3)), "alpha": (0.0, 1.0), "clip_norm": 0.3},
    "networks with weights of their own": {"lr": (0.1, 0.2), "sample_weight": FOR_EACH, "dropout": 0.3},
    "all rows in a step": {"batch_size": 100, "dropout": 0.3},
    "a size that divides the rows": {"batch_size": 1},
    "a sparse matrix": {"sparse": True},
    "batches as they come": {"cuts": (4, 8), "dropout": 0.3},
    "weighted batches, of which the second is larger": {"cuts": (2, 7), "weight": ROWS + 1},
}  # fmt: skip


@pytest.mark.only("numpy")
@pytest.mark.parametrize("said", RUNS.values(), ids=RUNS)
def test_a_smaller_batch_is_filled_up_and_changes_nothing(host, compiler_of_numpy, said):
    X, y = rows()
    options = {"epochs": 3, "batch_size": 4, "lr": 0.1, **said}
    data, counted = (scipy.sparse.csr_matrix(X) if options.pop("sparse", False) else X, y), 1
    if (cuts := options.pop("cuts", None)) is not None:
        arrays = (X, y) if (weight := options.pop("weight", None)) is None else (X, y, weight)
        data, counted = ([*zip(*(np.split(each, cuts) for each in arrays), strict=True)], None), 1 + (cuts == (2, 7))
        del options["batch_size"]
    params = mx.init_params(SIZES, seed=7, ensemble=K if isinstance(options["lr"], tuple) else None)
    eager = last_of(*data, params, **options)
    assert not compiler_of_numpy
    assert_same_run(host, last_of(*data, params, **options, compile=True), eager)
    assert [name for name, _ in compiler_of_numpy] == (["gather", "update"] if "accumulate" in said else ["step"])
    for _, shapes in compiler_of_numpy:
        assert len(set(shapes)) == counted


@pytest.mark.only("numpy")
@pytest.mark.parametrize("order", [np.arange(N)[::-1], None], ids=["in an order", "as they come"])
def test_a_batch_is_filled_up_with_its_own_last_row(xp, order):
    """A row that overflows, of another batch or of none, would make the loss NaN, although it does not count."""
    data = Dataset(*rows(), ROWS)
    *_, last = filled_up(xp, batches(xp, data, data.X, spans_of(data.X.shape[0], 4), order))
    there = np.arange(N) if order is None else order
    expected = there[[8, 9, 10, 10]]
    taken = slice(None) if last.rows is None else last.rows
    for array, of in zip((last.X, last.y, last.weight), data[:3], strict=True):
        np.testing.assert_array_equal(array[taken], of[expected])
    assert last.n == 3


@pytest.mark.only("jax", "torch")
def test_a_compiled_run_is_that_of_numpy_and_compiles_once(backend, put, host, monkeypatch):
    library, compiled = importlib.import_module(backend), []
    if backend == "jax":
        monkeypatch.setattr(library, "jit", counting_traces(library.jit, compiled))
    else:  # the test is about the graph, which runs without a C++ compiler

        def counted(graph, inputs):
            compiled.append(graph)
            return graph.forward

        monkeypatch.setattr(library, "compile", functools.partial(library.compile, fullgraph=True, backend=counted))
    X, y = rows()
    options = {"epochs": 3, "batch_size": 4, "lr": schedules.cosine(0.3), "dropout": 0.3, "alpha": 1.0}
    params = mx.init_params(SIZES, seed=7)
    theirs = last_of(X, y, params, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = last_of(put(X), put(y), tuple(map(put, params)), **options, compile=True)
    assert_same_run(host, ours, theirs)
    assert len(compiled) == 1


def counting_traces(jit, traced):
    """``jit``, with an entry in ``traced`` for each time that a function is compiled."""

    def counted(function):
        def traces(*arguments):
            traced.append(function)
            return function(*arguments)

        return jit(traces)

    return counted


@pytest.mark.only("torch")
def test_torch_compiles_a_run_after_many_others(put, monkeypatch):
    """PyTorch gives up after eight compilations of one function's code; runs do not count together."""
    import torch

    graphs = []

    def counted(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, fullgraph=True, backend=counted))
    X, y = rows()
    for size in range(9):
        params = tuple(map(put, mx.init_params((4, 3), seed=7)))
        last_of(put(X[: 4 + size]), put(y[: 4 + size]), params, epochs=1, batch_size=4 + size, compile=True)
    assert len(graphs) == 9


# --- where it can't be had -----------------------------------------------------------------------------------------


@pytest.mark.only("numpy", "dask", "array_api_strict")
def test_a_library_without_a_compiler_says_so_and_learns_as_ever(backend, put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), tuple(map(put, textbook.parameters()))
    options = {"epochs": 1, "batch_size": 4, "dropout": 0.3}
    with pytest.warns(UserWarning, match=f"^the step is not compiled: {backend} has no compiler$") as said:
        ours = last_of(X, y, params, **options, compile=True)
    assert len(said) == 1
    assert said[0].filename == __file__
    for a, b in zip(ours.params, last_of(X, y, params, **options).params, strict=True):
        np.testing.assert_array_equal(host(a), host(b))


@pytest.mark.only("numpy")
@pytest.mark.parametrize("compiler", [None, False, np.False_])
def test_nothing_is_compiled_and_said_where_nothing_was_asked_for(compiler_of_numpy, compiler):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        last_of(*rows(), mx.init_params(SIZES), epochs=1, compile=compiler)
    assert not compiler_of_numpy


@pytest.mark.only("numpy")
def test_cupy_captures_no_products():
    with pytest.warns(
        UserWarning, match="^the step is not compiled: cupy refuses matrix products while it captures a CUD"
    ):
        assert compiling.available(SimpleNamespace(__name__="array_api_compat.cupy"), True) is None


@pytest.mark.only("numpy")
def test_a_step_that_can_not_be_compiled_runs_as_it_is(host, monkeypatch):
    """As on torch without a C++ compiler: ``torch.compile`` returns, and the first call raises."""
    calls = []

    def compiler(function):
        def compiled(*arguments):
            calls.append(arguments)
            raise RuntimeError("No working C++ compiler found\nSet TORCHDYNAMO_VERBOSE=1")

        return compiled

    monkeypatch.setitem(sys.modules, "a_compiler", SimpleNamespace(compiler=compiler))
    monkeypatch.setitem(compiling.COMPILERS, "numpy", "a_compiler.compiler")
    options = {"epochs": 3, "batch_size": 4, "dropout": 0.3}
    params = mx.init_params(SIZES, seed=7)
    with pytest.warns(
        UserWarning, match="^the step is not compiled: RuntimeError: No working C.. compiler found$"
    ) as said:
        ours = last_of(*rows(), params, **options, compile=True)
    assert len(said) == len(calls) == 1
    assert_same_run(host, ours, last_of(*rows(), params, **options))


@pytest.mark.only("numpy")
def test_what_the_step_itself_raises_is_raised(compiler_of_numpy):
    def broken(z):
        raise ArithmeticError("not today")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ArithmeticError, match=r"^not today$") as caught:
            last_of(*rows(), mx.init_params(SIZES), epochs=1, activation=broken, compile=True)
    assert caught.value.__context__ is None
