"""Which array library is fastest here: a training step is timed on each device, each in its own process."""

import json
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from subprocess import DEVNULL, TimeoutExpired, run
from typing import Any, NamedTuple

from mlp_xp._lib.arguments import (
    as_tuple,
    check_number,
    check_positive,
    check_sizes,
    check_whole,
    described,
    first_line,
)
from mlp_xp._lib.namespace import persisted
from mlp_xp._lib.typing import Params
from mlp_xp.backends.usable import BACKENDS, LIBRARIES, Backend, check_dtype, installed, load, probe

_IMPORTING = 120.0  # seconds that a process may take besides the timing: some libraries import and compile slowly
_LEARNING_RATE = 1e-3
_BATCH = 0.02  # seconds: long enough for the clock and the wait at the end, short enough for a median over many


class Timing(NamedTuple):
    """How long one ``train_step`` took on a device.

    backend, device: names of the library and of its device.
    seconds: the median over batches of steps; None where the step failed.
    compiled: the same under ``jax.jit``; None for other libraries.
    reason: why the step failed, in one line.
    """

    backend: str
    device: str
    seconds: float | None
    compiled: float | None = None
    reason: str | None = None


class Choice(NamedTuple):
    """The choice of ``fastest``.

    backend, device: names, as ``load`` takes them.
    reason: why these, in one line.
    timings: of all devices, the fastest first, those that failed last.
    """

    backend: str
    device: str | None
    reason: str
    timings: tuple[Timing, ...]


def measure(
    name: str, sizes: Sequence[int], n: int, dtype: str = "float32", *, seconds: float = 1.0
) -> tuple[Backend, list[Timing]]:
    """``probe`` a library and time a training step on each of its devices, each in its own process.

    In one process the threads of two libraries disturb each other (a step of 0.3 ms took 3.1 ms), and a library that
    crashes would take this process down. The devices of array-api-strict are all the host: only the first is timed.

    Args:
        name: one of ``BACKENDS``.
        sizes: (d_in, d_h, ..., d_out) of the network.
        n: rows in the batch.
        dtype: "float32" or "float64".
        seconds: time for each device, besides importing and warming up; 0 times nothing.

    Returns:
        What ``probe`` found, and a ``Timing`` for each device.

    Raises:
        ValueError: for an unknown name, and for sizes, rows or a dtype that can't be.
    """
    sizes, n = check_sizes(sizes), check_whole("n", n, 1)
    dtype, seconds = check_dtype(dtype), check_number("seconds", seconds, 0.0, math.inf)
    found = installed(name)
    if found.usable is False:
        return found, []
    task = Task(found.name, None, sizes, n, dtype, seconds)
    answers, reason = _time_apart(task)
    if not answers:
        return found._replace(usable=False, reason=reason), []
    found = Backend._make(tuple(each) if isinstance(each, list) else each for each in answers[0])
    if not found.usable or not seconds:
        return found, []
    timings: list[Timing] = []
    for device in found.devices[:1] if LIBRARIES[found.name].stands_in else found.devices:
        if timings:  # the first device was timed with the probe
            answers, reason = _time_apart(task._replace(device=device))
        timings.append(Timing(*answers[1]) if answers[1:] else Timing(found.name, device, None, None, reason))
    return found, timings


def fastest(sizes: Sequence[int], n: int, dtype: str = "float32", *, seconds: float = 0.5) -> Choice:
    """The backend and the device on which a training step of this network takes the least time here.

    Each installed library is timed by ``measure``, except array-api-strict, which is made for tests. Nothing is
    remembered from call to call.

    Args:
        sizes: (d_in, d_h, ..., d_out) of the network.
        n: rows in the batch.
        dtype: "float32" or "float64".
        seconds: time for each device.

    Raises:
        ValueError: where no library could be timed, and for arguments that ``measure`` refuses.
    """
    seconds = check_positive("seconds", seconds)
    names = [name for name in BACKENDS if not LIBRARIES[name].stands_in and installed(name).usable is None]
    if len(names) == 1:  # NumPy is always there
        return Choice(names[0], None, f"{names[0]} is the only array library installed", ())
    return choose((t for name in names for t in measure(name, sizes, n, dtype, seconds=seconds)[1]), sizes, n, dtype)


def choose(timings: Iterable[Timing], sizes: Sequence[int], n: int, dtype: str) -> Choice:
    """The fastest of these timings; array-api-strict is never chosen.

    Args:
        timings: as ``measure`` returns them.
        sizes, n, dtype: the network and the batch that were timed, for the reason.

    Raises:
        ValueError: where every timing failed, and for sizes, rows or a dtype that can't be.
        TypeError: for timings that are something else.

    >>> choose([Timing("numpy", "cpu", 2e-3), Timing("torch", "cuda:0", 1e-3)], (4, 3), 8, "float32").reason
    'a step of 4-3 on 8 rows in float32 takes 1 ms with torch on cuda:0, 2 ms with numpy on cpu'
    """
    sizes, n, dtype = check_sizes(sizes), check_whole("n", n, 1), check_dtype(dtype)
    measured = as_tuple(timings)
    if measured is None or not all(isinstance(timing, Timing) for timing in measured):
        raise TypeError(f"timings must be those that measure returns, got {described(timings)}")
    timings = [timing for timing in measured if not LIBRARIES[timing.backend].stands_in]
    ranked = sorted(timings, key=lambda timing: float("inf") if timing.seconds is None else timing.seconds)
    if not ranked or ranked[0].seconds is None:
        raise ValueError(f"no backend could be timed{f': {ranked[0].reason}' if ranked else ''}")
    took = [f"{1e3 * t.seconds:.3g} ms with {t.backend} on {t.device}" for t in ranked[:2] if t.seconds is not None]
    network = "-".join(map(str, sizes))
    reason = f"a step of {network} on {n:,} rows in {dtype} takes {took[0]}{f', {took[1]}' if took[1:] else ''}"
    return Choice(ranked[0].backend, ranked[0].device, reason, tuple(ranked))


# --- in a process of its own --------------------------------------------------------------------------------------


class Task(NamedTuple):
    """The step to time: of a network of these sizes on n rows, for so many seconds."""

    backend: str
    device: str | None
    sizes: Sequence[int]
    n: int
    dtype: str
    seconds: float


def _time_apart(task: Task) -> tuple[list[list[Any]], str]:
    """Run ``main`` in its own process: its answers, and the reason where one is missing."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # the process finds the modules that this one finds
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # JAX would take three quarters of a GPU that others may be using
    }
    command = (sys.executable, "-P", "-c", f"from {__name__} import main; main()", json.dumps(task))
    limit = _IMPORTING + 3 * task.seconds
    try:
        ended = run(command, env=environment, stdin=DEVNULL, capture_output=True, text=True, timeout=limit)
    except TimeoutExpired:
        return [], f"no answer within {limit:.0f} s"
    answers = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('["')]
    if ended.returncode < 0:
        return answers, f"its process was ended by {signal.Signals(-ended.returncode).name}"
    lines = ended.stderr.strip().splitlines()
    return answers, lines[-1][:160] if lines else f"its process ended with {ended.returncode}"


def main() -> None:
    """Run the task that the command line gives. Print what ``probe`` found, then a ``Timing``: a JSON list a line."""
    task = Task(*json.loads(sys.argv[1]))
    found = probe(task.backend)
    print(json.dumps(found), flush=True)
    if not found.usable or not task.seconds:
        return
    device = task.device or found.devices[0]
    try:
        timing = Timing(task.backend, device, *time_step(task._replace(device=device)))
    except Exception as error:
        timing = Timing(task.backend, device, None, None, first_line(error)[:200])
    print(json.dumps(timing))


def time_step(task: Task) -> tuple[float, float | None]:
    """Seconds of a ``train_step``, and under ``jax.jit`` with JAX."""
    import numpy as np  # imported here: ``mlp-xp backends`` must not import it before it answers

    from mlp_xp.mlp import init_params, train_step

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

    def batches(steps: int, seconds: float) -> list[float]:
        end, times = time.perf_counter() + seconds, [batch(steps)]
        while time.perf_counter() < end:
            times.append(batch(steps))
        return times

    batch(1)  # compiles, allocates, starts threads
    took = min(batches(1, seconds / 5.0))
    return statistics.median(batches(max(1, round(_BATCH / max(took, 1e-9))), seconds * 4.0 / 5.0))
