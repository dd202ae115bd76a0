"""The peak memory that ``step_cost`` states against the peak of real steps, as the array library counts its bytes."""

from __future__ import annotations

import gc
import tracemalloc
from functools import partial

import numpy as np
import pytest
import textbook

import mlp_xp as mx
from mlp_xp.losses import CRITERIA
from mlp_xp.train import train

pytestmark = pytest.mark.only("numpy", "torch", "jax")

# a few numbers per row, and gradients of what is small beside the activations, are left out
WITHIN = 0.1

WIDE_HIDDEN, WIDE_OUTPUT, EQUAL = (16, 512, 10), (16, 64, 256), (16, 256, 256)
DEEP, UNEQUAL = (8, 64, 128, 64, 32, 10), (64, 64, 512, 128, 10)

CASES = [(WIDE_HIDDEN, 1024, {"activation": name}) for name in textbook.ACTIVATIONS]
CASES += [(WIDE_OUTPUT, 2048, {"criterion": name}) for name in CRITERIA]
CASES += [(sizes, 2048, {"activation": name}) for sizes in (EQUAL, DEEP, UNEQUAL) for name in ("sigmoid", "gelu")]
CASES += [(EQUAL, 2048, {"criterion": name}) for name in ("squared_error", "gaussian")]
CASES += [((16, 256), 2048, {}), ((16, 32, 10), 65536, {}), ((128, 64, 10), 8192, {"input_dropout": 0.2})]
CASES += [(UNEQUAL, 2048, {"dropout": 0.5, "activation": name}) for name in ("identity", "sigmoid", "relu", "gelu")]
CASES = [(*case, "float32") for case in CASES]
# masks are drawn in integers of 32 bits, whatever the dtype
CASES += [(UNEQUAL, 1024, {"dropout": rate, "activation": "relu"}, "float64") for rate in (0.0, 0.5)]


def peak_of_numpy(step, arrays):
    step(*arrays)  # once before, for all that is built only once
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    step(*arrays)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most - before


def peak_of_torch(step, arrays):
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step(*arrays)
    changes = [event.nbytes() for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(np.cumsum(changes))


def peak_of_jax(step, arrays):
    import jax

    return jax.jit(step).lower(*arrays).compile().memory_analysis().temp_size_in_bytes


PEAKS = {"numpy": peak_of_numpy, "torch": peak_of_torch, "jax": peak_of_jax}


def reuses_temporaries():
    """Whether this NumPy computes in the memory of temporaries, which depends on the system."""
    x = np.ones(1 << 20)
    return peak_of_numpy(lambda x: (x + x) + x, (x,)) < 1.5 * x.nbytes


def problem(put, sizes, n, dtype, criterion="softmax_cross_entropy"):
    k = sizes[-1] // textbook.OUTPUTS_PER_TARGET.get(criterion, 1)
    labels = criterion == "softmax_cross_entropy"
    y = textbook.labels(n, k) if labels else textbook.soft_targets(n, k).astype(dtype)
    X, *params = (a.astype(dtype) for a in (textbook.batch(n, sizes[0]), *textbook.parameters(sizes)))
    return [put(array) for array in (X, y, *params)]


@pytest.mark.parametrize(("sizes", "n", "options", "dtype"), CASES, ids=str)
def test_the_peak_of_a_step_is_what_is_stated(put, backend, sizes, n, options, dtype):
    step = partial(mx.train_step, **options, seed=3)
    arrays = problem(put, sizes, n, dtype, options.get("criterion", "softmax_cross_entropy"))
    stated = mx.step_cost(sizes, n, dtype, **options, in_place=backend == "numpy" and reuses_temporaries())
    measured = PEAKS[backend](step, arrays)
    assert measured <= (1.0 + WITHIN) * stated.peak_activation_bytes
    if backend != "jax":  # whose compiler makes no array of what only the next operation reads
        assert measured >= (1.0 - WITHIN) * stated.peak_activation_bytes
