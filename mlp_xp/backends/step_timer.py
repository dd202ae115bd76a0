"""``python -m mlp_xp.backends.step_timer TASK``: time a training step on one device, in this process.

Prints what ``probe`` found and then a ``Timing``, each a JSON object on a line. ``backends.measure`` runs it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from mlp_xp._lib.namespace import persisted
from mlp_xp._lib.typing import Params
from mlp_xp.backends import Timing, load, probe
from mlp_xp.mlp import init_params, train_step

_LEARNING_RATE = 1e-3
_BATCH = 0.02  # seconds: long beside the clock and the wait at its end, short enough for a median over many


def time_step(
    backend: str, device: str | None, sizes: Sequence[int], n: int, dtype: str, seconds: float
) -> tuple[float, float | None]:
    """Seconds of a ``train_step``, and under ``jax.jit`` where there is one."""
    place = load(backend, dtype, device)
    random = np.random.default_rng(0)
    X = place.put(random.normal(size=(n, sizes[0])))
    y = place.put(random.integers(0, max(sizes[-1], 2), n))
    params = init_params(sizes, xp=place.xp, dtype=place.dtype, device=place.device, seed=0)
    # relu, the command's default; the sigmoid loss where there is one output, which softmax makes constant
    criterion = "softmax_cross_entropy" if sizes[-1] > 1 else "sigmoid_cross_entropy"
    step = partial(train_step, X, y, lr=_LEARNING_RATE, activation="relu", criterion=criterion)
    eager = median_seconds(step, params, seconds)
    if backend != "jax":
        return eager, None
    import jax

    return eager, median_seconds(jax.jit(step), params, seconds)


def median_seconds(step: Callable[..., tuple[Any, Params]], params: Params, seconds: float) -> float:
    """The median over batches of steps, the waiting for a device within; the first fifth of the time warms up."""

    def batch(steps: int) -> float:
        nonlocal params
        start = time.perf_counter()
        for _ in range(steps):
            loss, params = step(*params)
            loss, *rest = persisted(loss, *params)
            params = tuple(rest)
        float(loss)  # waits until the last step is done
        return (time.perf_counter() - start) / steps

    batch(1)  # compiles, allocates, starts threads
    end = time.perf_counter() + seconds / 5.0
    took = batch(1)
    while time.perf_counter() < end:
        took = min(took, batch(1))
    steps = max(1, round(_BATCH / max(took, 1e-9)))
    times = [batch(steps)]
    end += seconds * 4.0 / 5.0
    while time.perf_counter() < end:
        times.append(batch(steps))
    return statistics.median(times)


def main() -> None:
    task = json.loads(sys.argv[1])
    backend, device = task["backend"], task["device"]
    found = probe(backend)
    print(json.dumps(found._asdict()), flush=True)
    if not found.usable or not task["seconds"]:
        return
    shown = device or found.devices[0]
    try:
        eager, compiled = time_step(backend, shown, task["sizes"], task["n"], task["dtype"], task["seconds"])
        timing = Timing(backend, shown, eager, compiled)
    except Exception as error:
        lines = str(error).strip().splitlines()
        timing = Timing(backend, shown, None, None, lines[0][:200] if lines else type(error).__name__)
    print(json.dumps(timing._asdict()))


if __name__ == "__main__":
    main()
