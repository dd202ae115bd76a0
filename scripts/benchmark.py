"""Time ``train_step`` against the textbook's plain-NumPy code, and ``from mlp_xp import *`` against ``import numpy``.

    python scripts/benchmark.py [--backend torch --device cuda] [--jit] [--save FILE.json]

Each side runs in a process of its own, because the threads of two libraries disturb each other. The parent process asks
the two in turn for a batch of steps, so that other load on the machine slows both. Method: scripts/results/README.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from worker import Worker

Array: TypeAlias = NDArray[Any]

# (n, d_in, d_h, d_out) -> how many times the textbook's time a step on NumPy may take
LIMITS = {
    (128, 784, 256, 10): 1.05,
    (256, 784, 800, 10): 1.05,
    (1024, 784, 1024, 10): 1.05,
    (128, 64, 64, 10): 1.25,
    (32, 4, 16, 3): 1.4,
}
IMPORT_LIMIT_MS = 60.0
LEARNING_RATE = 0.1
CHECKED_STEPS = 5  # the losses of both sides must agree on these before anything is timed
# a thousand times the cost of the clock and the pipe, and shorter than the load of a machine takes to change
BATCH_SECONDS = 0.05
PAUSE_SECONDS = 0.1
PAIRS = 5
NAMESPACES = {"jax": "jax.numpy", "dask": "dask.array"}  # elsewhere the library is the namespace


# --- the textbook ------------------------------------------------------------------------------------------------


def sigmoid(z: Array) -> Array:
    """``1 / (1 + exp(-z))``, elementwise."""
    a: Array = 1 / (1 + np.exp(-z))
    return a


def softmax(z: Array) -> Array:
    """``exp(z) / sum(exp(z))`` of each row."""
    e: Array = np.exp(z - np.max(z, axis=1, keepdims=True))
    p: Array = e / np.sum(e, axis=1, keepdims=True)
    return p


def forward(X: Array, W1: Array, b1: Array, W2: Array, b2: Array) -> tuple[Array, dict[str, Array]]:
    """Probabilities (n, d_out), and what ``backward`` needs."""
    z1 = X @ W1 + b1
    a1 = sigmoid(z1)
    z2 = a1 @ W2 + b2
    p = softmax(z2)
    return p, {"X": X, "a1": a1, "p": p}


def cross_entropy(p: Array, y: Array) -> Any:
    """The mean of ``-log p`` of the labels."""
    return -np.mean(np.log(p[np.arange(len(y)), y]))


def backward(cache: dict[str, Array], y: Array, W2: Array) -> tuple[Array, Array, Array, Array]:
    """``(dW1, db1, dW2, db2)`` of the mean cross-entropy."""
    X, a1, p = cache["X"], cache["a1"], cache["p"]
    n = len(y)
    dz2 = p.copy()
    dz2[np.arange(n), y] -= 1
    dz2 /= n
    dW2 = a1.T @ dz2
    db2 = np.sum(dz2, axis=0)
    da1 = dz2 @ W2.T
    dz1 = da1 * a1 * (1 - a1)
    dW1 = X.T @ dz1
    db1 = np.sum(dz1, axis=0)
    return dW1, db1, dW2, db2


def train_step(X: Array, y: Array, W1: Array, b1: Array, W2: Array, b2: Array, lr: float) -> Any:
    """One step of gradient descent, in place; returns the loss before it."""
    p, cache = forward(X, W1, b1, W2, b2)
    loss = cross_entropy(p, y)
    dW1, db1, dW2, db2 = backward(cache, y, W2)
    W1 -= lr * dW1
    b1 -= lr * db1
    W2 -= lr * dW2
    b2 -= lr * db2
    return loss


# --- the two sides: (size, dtype) -> step() -> loss, and wait() until the device has done all steps so far ---------


def problem(size: tuple[int, ...], dtype: str) -> tuple[Array, Array, Array, Array, Array, Array]:
    """``X, y, W1, b1, W2, b2``, the same on both sides."""
    n, d_in, d_h, d_out = size
    random = np.random.default_rng(0)
    X, y = random.random((n, d_in)), random.integers(0, d_out, n)
    W1, W2 = random.normal(0, d_in**-0.5, (d_in, d_h)), random.normal(0, d_h**-0.5, (d_h, d_out))
    X, W1, b1, W2, b2 = (array.astype(dtype) for array in (X, W1, np.zeros(d_h), W2, np.zeros(d_out)))
    return X, y, W1, b1, W2, b2


def textbook(size: tuple[int, ...], dtype: str) -> tuple[Callable[[], Any], Callable[[], None]]:
    """The functions above."""
    X, y, W1, b1, W2, b2 = problem(size, dtype)
    return lambda: train_step(X, y, W1, b1, W2, b2, LEARNING_RATE), lambda: None


def library(
    backend: str, device: Any, jit: bool, size: tuple[int, ...], dtype: str
) -> tuple[Callable[[], Any], Callable[[], None]]:
    """``mlp_xp.train_step`` on a backend."""
    from array_api_compat import array_namespace

    import mlp_xp

    update: Callable[..., Any] = partial(mlp_xp.train_step, lr=LEARNING_RATE)
    module = importlib.import_module(backend)
    if backend == "jax":
        module.config.update("jax_enable_x64", True)
        module.config.update("jax_default_matmul_precision", "float32")  # as precise as the others, without TF32
        device = module.devices(device)[0]
        update = module.jit(update) if jit else update
    elif backend == "torch" and jit:
        module.compiler.reset()  # torch compiles one function a few times, then gives up: every size starts anew
        update = module.compile(update)
    elif backend == "dask":
        update = persisted(module, update)

    xp = array_namespace(importlib.import_module(NAMESPACES.get(backend, backend)).empty(0))
    X, y, *given = (xp.asarray(array, device=device) for array in problem(size, dtype))
    params = tuple(given)

    def step() -> Any:
        nonlocal params
        loss, params = update(X, y, *params)
        return loss

    def wait() -> None:
        if backend == "jax":
            module.block_until_ready(params)
        elif backend == "torch" and X.is_cuda:
            module.cuda.synchronize()
        elif backend == "cupy":
            module.cuda.Device().synchronize()

    return step, wait


def persisted(dask: Any, update: Callable[..., Any]) -> Callable[..., Any]:
    """``update``, computed at once: a lazy step would be timed without its work, and its graph would grow."""

    def computed(*arrays: Any) -> Any:
        loss, params = update(*arrays)
        loss, *params = dask.persist(loss, *params)
        return loss, params

    return computed


# --- worker and parent -------------------------------------------------------------------------------------------


def work(pipe: Connection, side: Callable[..., Any]) -> None:
    """Answer the parent: a size and a dtype with the first losses, a number of steps with the seconds of one step."""
    while request := pipe.recv():
        if isinstance(request, tuple):
            step, wait = side(*request)
            pipe.send([float(step()) for _ in range(CHECKED_STEPS)])
        else:
            time.sleep(PAUSE_SECONDS)  # the other side's idle threads spin for a while before they sleep
            for _ in range(1 + request // 4):  # not timed: caches fill
                step()
            wait()
            began = time.perf_counter()
            for _ in range(request):
                step()
            wait()
            pipe.send((time.perf_counter() - began) / request)


def rounds_of(
    theirs: Worker, ours: Worker, size: tuple[int, ...], dtype: str, rounds: int
) -> list[tuple[float, float]]:
    """Seconds of a step on both sides, round by round. Before the first round the losses must agree."""
    # a sum of d_in products, each rounded; every library adds them in an order of its own
    tolerance = size[1] * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(ours.ask((size, dtype)), theirs.ask((size, dtype)), rtol=tolerance)
    sides = [(worker, 1 + int(BATCH_SECONDS / worker.ask(3))) for worker in (theirs, ours)]
    times = []
    for number in range(rounds):
        order = 1 if number % 2 else -1  # the side that comes first alternates
        first, second = (worker.ask(count) for worker, count in sides[::order])
        times.append((first, second) if number % 2 else (second, first))
    return times


def compare(sides: Sequence[Callable[..., Any]], size: tuple[int, ...], dtype: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of a step on both sides and the ratios of the rounds, over several pairs of processes."""
    times = []
    for _ in range(PAIRS):  # the place of arrays in memory favours one side for as long as a process lives
        theirs, ours = (Worker(work, side) for side in sides)
        times += rounds_of(theirs, ours, size, dtype, -(-rounds // PAIRS))
        theirs.stop()
        ours.stop()
    ratios = [library / textbook for textbook, library in times]
    return {
        "size": str(size),
        "dtype": dtype,
        "textbook_ms": 1e3 * statistics.median(textbook for textbook, _ in times),
        "mlp_xp_ms": 1e3 * statistics.median(library for _, library in times),
        "ratio": statistics.median(ratios),
        "quartiles": statistics.quantiles(ratios, n=4)[::2],
    }


def import_milliseconds(rounds: int) -> float:
    """``from mlp_xp import *`` minus ``import numpy``: the median over pairs of fresh interpreters.

    ``import mlp_xp`` alone imports next to nothing: names are looked up at their first use.
    """

    def seconds(statement: str) -> float:
        program = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        return float(subprocess.check_output([sys.executable, "-c", program]))

    return 1e3 * statistics.median(seconds("from mlp_xp import *") - seconds("import numpy") for _ in range(rounds))


def machine() -> dict[str, Any]:
    """The machine and the versions that the numbers depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    installed = {distribution.name: distribution.version for distribution in metadata.distributions()}
    libraries = ("array-api-compat", "array-api-strict", "dask", "jax", "mlp_xp", "numpy", "torch")
    return {
        "cpu": models[0].partition(": ")[2] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: v for name, v in sorted(installed.items()) if name in libraries or "cupy" in name},
        "blas": np.show_config(mode="dicts")["Build Dependencies"]["blas"],
        "environment": {k: v for k, v in os.environ.items() if k.startswith(("OMP_", "OPENBLAS_", "MKL_"))},
    }


def verdict(value: float, limit: float) -> str:
    """Whether a number is within its limit, in a word."""
    return "ok" if value <= limit else "over"


def main() -> None:
    """Time every size in both dtypes, then the import; print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="numpy", help="numpy, cupy, torch, jax, dask or array_api_strict")
    parser.add_argument("--device", help="the backend's name for it, such as cuda")
    parser.add_argument("--jit", action="store_true", help="compile the step: jax.jit, torch.compile")
    parser.add_argument("--rounds", type=int, default=25, help="batches of steps on each side (default 25)")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="write the results and what machine it was")
    options = parser.parse_args()

    name = " ".join(filter(None, [options.backend, options.device, "compiled" if options.jit else ""]))
    print(f"train_step: mlp_xp on {name} against the textbook on NumPy, {options.rounds} rounds")
    print("(n, d_in, d_h, d_out)   dtype    textbook ms   mlp_xp ms   ratio   middle half  limit")
    sides = (textbook, partial(library, options.backend, options.device, options.jit))
    results: dict[str, Any] = {"backend": name, "machine": machine(), "train_step": []}
    for size, limit in LIMITS.items():
        for dtype in ("float32", "float64"):
            row = compare(sides, size, dtype, options.rounds)
            results["train_step"].append(row)
            # the limits are for NumPy: the speed of another library is not ours to judge
            judged = f"{limit:7.2f}  {verdict(row['ratio'], limit)}" if name == "numpy" else ""
            times = f"{row['textbook_ms']:12.4f}{row['mlp_xp_ms']:12.4f}{row['ratio']:8.3f}"
            low, high = row["quartiles"]
            print(f"{size!s:24}{dtype:8}{times}   {low:.3f}-{high:.3f}{judged}", flush=True)

    results["import_ms"] = extra = import_milliseconds(options.rounds)
    print(f"mlp_xp over numpy, imported: {extra:.1f} ms, {IMPORT_LIMIT_MS:.0f} {verdict(extra, IMPORT_LIMIT_MS)}")
    if options.save:
        options.save.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
