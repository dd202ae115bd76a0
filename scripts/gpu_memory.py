"""The section ``memory`` of ``gpu_check.py``: what a step takes on the device against what ``step_cost`` says."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

from gpu_sections import Found, Size, attempt, failed, place_of, problem, waiter

import mlp_xp as mx

SIZES: tuple[Size, ...] = ((4096, 784, 1024, 10), (16384, 784, 2048, 2048, 10))
WITHIN = 0.1
OPTIONS: tuple[Found, ...] = ({}, {"activation": "relu"}, {"activation": "gelu"}, {"dropout": 0.5})


def memory(library: str, dry: bool) -> Found:
    """The peak of a step besides X, y and the parameters, over the peak of activations that is stated.

    Gradients are small beside it at these sizes. What JAX compiles need not keep an array for each operation: its peak
    may be lower.
    """
    rows = []
    for n, *widths in SIZES:
        narrower = [width // 8 for width in widths[:-1]] if dry else widths[:-1]
        size = (n, *narrower, widths[-1])
        X, y, params = problem(size, "float32", place_of(library, dry, "float32"))
        rows += [_row(library, dry, size, options, (X, y, *params)) for options in OPTIONS]
    return {"rows": rows, "ok": all(row["ok"] for row in rows)}


def _row(library: str, dry: bool, size: Size, options: Found, arrays: tuple[Any, ...]) -> Found:
    n, *widths = size
    stated = mx.step_cost(widths, n, "float32", in_place=library == "numpy", **options)
    step, wait = partial(mx.train_step, lr=1e-3, seed=0, **options), waiter(library, dry)
    found = attempt(lambda: PEAKS[library, dry](lambda *given: wait(step(*given)), step, arrays))
    row = {"size": size, "options": options, "stated": stated.peak_activation_bytes, "measured": found}
    if failed(found):
        return {**row, "ok": False}
    ratio = found / stated.peak_activation_bytes
    fused = stated.activation_bytes + 4 * n * max(widths[1:])  # where what the next operation alone reads is not made
    low = 0.0 if library == "jax" else 1.0 - WITHIN
    return {**row, "ratio": ratio, "over_kept_and_one": found / fused, "ok": low <= ratio <= 1.0 + WITHIN}


Peak = Callable[[Callable[..., Any], Callable[..., Any], tuple[Any, ...]], int]
"""``peak(run, step, arrays)``: bytes. ``run`` is ``step``, and waits for the device."""


def _torch_on_device(run: Callable[..., Any], step: Callable[..., Any], arrays: tuple[Any, ...]) -> int:
    import torch

    run(*arrays)  # what a library allocates once, such as the workspace of cuBLAS, is no part of a step
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run(*arrays)
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before)


def _torch_on_host(run: Callable[..., Any], step: Callable[..., Any], arrays: tuple[Any, ...]) -> int:
    from torch.profiler import ProfilerActivity, profile

    run(*arrays)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run(*arrays)
    now = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def _cupy(run: Callable[..., Any], step: Callable[..., Any], arrays: tuple[Any, ...]) -> int:
    import cupy

    class Counted(cupy.cuda.MemoryHook):  # type: ignore[misc]
        """Bytes in use, as the pool gives and takes them."""

        name = "Counted"

        def __init__(self) -> None:
            self.now = self.most = 0

        def malloc_postprocess(self, **about: Any) -> None:
            self.now += about["mem_size"]
            self.most = max(self.most, self.now)

        def free_postprocess(self, **about: Any) -> None:
            self.now -= about["mem_size"]

    run(*arrays)
    with Counted() as counted:
        run(*arrays)
    return int(counted.most)


def _jax(run: Callable[..., Any], step: Callable[..., Any], arrays: tuple[Any, ...]) -> int:
    import jax

    return int(jax.jit(step).lower(*arrays).compile().memory_analysis().temp_size_in_bytes)


def _numpy(run: Callable[..., Any], step: Callable[..., Any], arrays: tuple[Any, ...]) -> int:
    run(*arrays)
    tracemalloc.start()
    run(*arrays)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


PEAKS: dict[tuple[str, bool], Peak] = {
    ("torch", False): _torch_on_device, ("torch", True): _torch_on_host, ("cupy", False): _cupy,
    ("jax", False): _jax, ("jax", True): _jax, ("numpy", True): _numpy,
}  # fmt: skip
"""How the peak of a library is measured, and on the host in a dry run."""
