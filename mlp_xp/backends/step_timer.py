"""``python -m mlp_xp.backends.step_timer TASK``: time a training step on one device, in this process.

It prints what ``probe`` found and then a ``Timing``, each a JSON object on a line. ``backends.measure`` runs it.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mlp_xp._lib.namespace import persisted
from mlp_xp._lib.typing import Params
from mlp_xp.backends import Timing, load, probe
from mlp_xp.mlp import init_params, train_step

_LEARNING_RATE = 1e-3
_BATCH = 0.02  # seconds: long enough for the clock and the wait at the end, short enough for a median over many


class Task(NamedTuple):
    """The step to time: of a network of these sizes on n rows, for so many seconds."""

    backend: str
    device: str | None
    sizes: Sequence[int]
    n: int
    dtype: str
    seconds: float


def time_step(task: Task) -> tuple[float, float | None]:
    """Seconds of a ``train_step``, and under ``jax.jit`` with JAX."""
    place, sizes, n = load(task.backend, task.dtype, task.device), task.sizes, task.n
    random = np.random.default_rng(0)
    X = place.put(random.normal(size=(n, sizes[0])))
    y = place.put(random.integers(0, max(sizes[-1], 2), n, dtype=np.int32))
    params = init_params(sizes, xp=place.xp, dtype=place.dtype, device=place.device, seed=0)
    # relu is the command's default; softmax would make the loss of one output constant
    criterion = "softmax_cross_entropy" if sizes[-1] > 1 else "sigmoid_cross_entropy"
    step = partial(train_step, X, y, lr=_LEARNING_RATE, activation="relu", criterion=criterion)
    eager = median_seconds(step, params, task.seconds)
    if task.backend != "jax":
        return eager, None
    import jax

    return eager, median_seconds(jax.jit(step), params, task.seconds)


def median_seconds(step: Callable[..., tuple[Any, Params]], params: Params, seconds: float) -> float:
    """Seconds of a step, the median over batches of steps, waiting for the device included.

    Args:
        step: the parameters -> (loss, parameters).
        params: to begin with.
        seconds: for all batches; the first fifth warms up.
    """

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
    """Run the task that the command line gives as JSON."""
    task = Task(**json.loads(sys.argv[1]))
    found = probe(task.backend)
    print(json.dumps(found._asdict()), flush=True)
    if not found.usable or not task.seconds:
        return
    device = task.device or found.devices[0]
    try:
        timing = Timing(task.backend, device, *time_step(task._replace(device=device)))
    except Exception as error:
        lines = str(error).strip().splitlines()
        timing = Timing(task.backend, device, None, None, lines[0][:200] if lines else type(error).__name__)
    print(json.dumps(timing._asdict()))


if __name__ == "__main__":
    main()
