"""The peak memory that ``step_cost`` states against the peak of real steps, as the array library counts its bytes."""

from __future__ import annotations

import tracemalloc
import weakref
from functools import cache, partial

import numpy as np
import pytest
import textbook

import mlp_xp as mx
from mlp_xp.losses import CRITERIA
from mlp_xp.train import train

# a few numbers per row, and gradients of what is small beside the activations, are left out
WITHIN = 0.1

WIDE_HIDDEN, WIDE_OUTPUT, EQUAL = (16, 512, 10), (16, 64, 256), (16, 256, 256)
DEEP, UNEQUAL = (8, 64, 128, 64, 32, 10), (64, 64, 512, 128, 10)

CASES = [(WIDE_HIDDEN, 512, {"activation": name}) for name in textbook.ACTIVATIONS]
CASES += [(WIDE_OUTPUT, 1024, {"criterion": name}) for name in CRITERIA]
CASES += [(sizes, 1024, {"activation": name}) for sizes in (EQUAL, DEEP, UNEQUAL) for name in ("sigmoid", "gelu")]
CASES += [(EQUAL, 1024, {"criterion": name}) for name in ("squared_error", "gaussian")]
CASES += [((16, 256), 1024, {}), ((16, 32, 10), 16384, {}), ((128, 64, 10), 2048, {"input_dropout": 0.2})]
CASES += [(UNEQUAL, 1024, {"dropout": 0.5, "activation": name}) for name in ("identity", "sigmoid", "relu", "gelu")]
CASES = [(*case, "float32") for case in CASES]
# masks are drawn in integers of 32 bits, whatever the dtype
CASES += [(UNEQUAL, 1024, {"dropout": rate, "activation": "relu"}, "float64") for rate in (0.0, 0.5)]

COMPILED = [(WIDE_HIDDEN, 1024, {"activation": name}, "float32") for name in ("sigmoid", "gelu")]
COMPILED += [(EQUAL, 2048, {"criterion": "poisson"}, "float32"), (UNEQUAL, 1024, {"dropout": 0.5}, "float64")]


def peak_of_numpy(step, arrays):
    step(*arrays)  # once before, for all that is built only once
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    step(*arrays)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most - before


def peak_of_torch(step, arrays):
    # PyTorch's profiler says the same, but takes five seconds to begin
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    there, most = {memory_of(array)._cdata: 0 for array in arrays}, 0

    class Counted(TorchDispatchMode):
        """Counts the bytes of each new tensor for as long as its memory is there."""

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal most
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else (result,):
                if isinstance(tensor, torch.Tensor) and memory_of(tensor)._cdata not in there:
                    memory = memory_of(tensor)
                    there[memory._cdata] = memory.nbytes()
                    weakref.finalize(memory, there.pop, memory._cdata)
            most = max(most, sum(there.values()))
            return result

    with Counted():
        step(*arrays)
    return most


def memory_of(tensor):
    return tensor.untyped_storage()


@cache
def reuses_temporaries():
    """Whether this NumPy computes in the memory of temporaries, which depends on the system."""
    x = np.ones(1 << 18)
    return peak_of_numpy(lambda x: (x + x) + x, (x,)) < 1.5 * x.nbytes


def problem(put, sizes, n, options, dtype):
    criterion = options.get("criterion", "softmax_cross_entropy")
    k = sizes[-1] // textbook.OUTPUTS_PER_TARGET.get(criterion, 1)
    labels = criterion == "softmax_cross_entropy"
    y = textbook.labels(n, k) if labels else textbook.soft_targets(n, k).astype(dtype)
    X, *params = (a.astype(dtype) for a in (textbook.batch(n, sizes[0]), *textbook.parameters(sizes)))
    return [put(array) for array in (X, y, *params)]


@pytest.mark.only("numpy", "torch")
@pytest.mark.parametrize(("sizes", "n", "options", "dtype"), CASES, ids=str)
def test_the_peak_of_a_step_is_what_is_stated(put, backend, device, sizes, n, options, dtype):
    measured = {"numpy": peak_of_numpy, "torch": peak_of_torch}[backend](
        partial(mx.train_step, **options, seed=3), problem(put, sizes, n, options, dtype)
    )
    stated = mx.step_cost(sizes, n, dtype, **options, in_place=backend == "numpy" and reuses_temporaries())
    assert measured == pytest.approx(stated.peak_activation_bytes, rel=WITHIN)


# NumPy takes a new array for each operation on arrays as small as these, 240 KiB, as other libraries do on any; a
# product of rows and columns takes a buffer of 64 KiB besides
SMALL, BUFFER = (120, 256), 0.3


def peak_in_arrays(function, *arrays):
    """The largest number of new arrays of the size of ``SMALL`` that there are at one time."""
    return peak_of_numpy(function, arrays) / np.empty(SMALL).nbytes


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", textbook.ACTIVATIONS)
def test_the_peaks_of_an_activation_are_those_of_its_value_and_of_its_pullback(name):
    op, (forward, backward) = getattr(mx.ops, name), mx.ops.ACTIVATIONS[name].cost.peaks
    z = np.random.default_rng(0).standard_normal(SMALL)
    _, pullback = op(z)
    assert 1 + peak_in_arrays(op, z) == pytest.approx(forward, abs=WITHIN)  # 1: the argument
    assert 1 + peak_in_arrays(pullback, np.ones(SMALL)) == pytest.approx(backward, abs=WITHIN)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", CRITERIA)
def test_the_second_peak_of_a_criterion_is_that_of_its_pullback(name):
    rows, columns = SMALL
    targets = textbook.soft_targets(rows, columns // textbook.OUTPUTS_PER_TARGET.get(name, 1))
    logits, weights = np.random.default_rng(0).standard_normal(SMALL), np.full(rows, 1.0 / rows)
    _, pullback = CRITERIA[name].loss(np, logits, targets, weights)
    assert peak_in_arrays(pullback, 1.0) == pytest.approx(CRITERIA[name].cost.peaks[1], abs=BUFFER)


@pytest.mark.only("jax")
@pytest.mark.parametrize(("sizes", "n", "options", "dtype"), COMPILED, ids=str)
def test_the_peak_of_a_compiled_step_is_at_most_what_is_stated(put, sizes, n, options, dtype):
    import jax

    step = partial(mx.train_step, **options, seed=3)
    measured = jax.jit(step).lower(*problem(put, sizes, n, options, dtype)).compile().memory_analysis()
    stated = mx.step_cost(sizes, n, dtype, **options, in_place=False)
    assert measured.temp_size_in_bytes <= (1.0 + WITHIN) * stated.peak_activation_bytes
    if sizes == WIDE_HIDDEN:
        one = 4 * n * max(sizes[1:])
        assert measured.temp_size_in_bytes == pytest.approx(stated.activation_bytes + one, rel=WITHIN)


@pytest.mark.only("numpy")
def test_an_epoch_copies_no_more_of_the_data_than_a_batch():
    X, y, *params = problem(np.asarray, (200, 16, 3), 20_000, {}, "float32")
    run = iter(train(X, y, tuple(params), epochs=2, batch_size=500))
    next(run)  # what looks at all rows before the first step is not part of an epoch
    tracemalloc.start()
    next(run)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    step = mx.step_cost((200, 16, 3), 500).peak_activation_bytes
    order, batch = 8 * X.shape[0], X.nbytes // 40
    assert most < 2 * (order + batch + step) < 0.1 * X.nbytes


@pytest.mark.only("numpy")
def test_the_squared_norm_of_a_matrix_takes_no_array_of_squares():
    X, W, b = np.ones((1, 1000)), np.ones((1000, 200)), np.zeros(200)
    assert peak_of_numpy(partial(mx.objective, l2=0.1), (X, np.asarray([0]), W, b)) < 0.1 * W.nbytes
