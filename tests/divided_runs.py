"""A program that learns on several devices of JAX: ``test_sharding`` compares what it writes with NumPy's runs.

    python divided_runs.py RESULT devices
    python divided_runs.py RESULT PORT RANK

The first has four devices in one process. The second is one of two processes with one device each, which find each
other at a port of this machine. RESULT is an .npz file; what was seen of the compiled programs is printed as JSON.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

import numpy as np

import mlp_xp as mx
from mlp_xp import checkpoint, dropout
from mlp_xp._lib.namespace import namespace, to_host
from mlp_xp.train import train

N, SIZES = 80, (6, 16, 3)

random = np.random.default_rng(0)
X, Y, WEIGHT = random.normal(size=(N, 6)), random.integers(0, 3, N), random.uniform(0.5, 2.0, N)


def noisy(X: Any, seed: Any, first: Any) -> Any:
    """A transform whose numbers depend on the place of a row in its batch."""
    return X + dropout.uniform(namespace(X), X.shape, seed, 0, X, first)


# the first two, of 20 steps, on four devices, the last, of 32, in two processes
RUNS: dict[str, dict[str, Any]] = {
    "a last batch, weights, dropout": {
        "epochs": 5, "batch_size": 23, "sample_weight": WEIGHT, "dropout": 0.3, "input_dropout": 0.1, "validation": 0.1,
    },
    "networks, several batches in a step, a transform": {
        "epochs": 5, "batch_size": 10, "accumulate": 2, "shuffle": False, "lr": (0.01, 0.1), "transform": noisy,
    },
    "validation, batches of an odd size": {"epochs": 2, "batch_size": 5, "validation": (X[:20], Y[:20])},
}  # fmt: skip
*ON_DEVICES, IN_PROCESSES = RUNS


def epochs_of(name: str, xp: Any, put: Any, start: Any = None, **more: Any) -> Any:
    """The last epoch of one of ``RUNS``, on arrays that ``put`` makes of the host's."""
    options = {**RUNS[name], **more}
    for option in ("sample_weight", "validation"):
        if isinstance(options.get(option), (tuple, np.ndarray)):
            given = options[option]
            options[option] = tuple(map(put, given)) if isinstance(given, tuple) else put(given)
    ensemble = 2 if isinstance(options.get("lr"), tuple) else None
    params = mx.init_params(SIZES, xp=xp, dtype=xp.float64, seed=1, ensemble=ensemble)
    *_, last = train(put(X), put(Y), params if start is None else start, seed=3, **options)
    return last


def arrays_of(epoch: Any) -> dict[str, np.ndarray]:
    """All numbers of an epoch but the seconds."""
    arrays = {
        f"{part} {position}": to_host(array)
        for part in ("params", "best", "state")
        for position, array in enumerate(getattr(epoch, part))
    }
    records = [each[:7] for record in epoch.history for each in (record, *record.members)]
    return {**arrays, "records": np.asarray([[np.nan if n is None else n for n in each] for each in records])}


def classifier(put: Any, **options: Any) -> dict[str, np.ndarray]:
    """What an estimator learns, and what it says of the rows."""
    from mlp_xp.estimators import MLPClassifier

    fitted = MLPClassifier((8,), max_iter=3, batch_size=40, random_state=0, **options).fit(put(X), put(Y))
    said = {"predict_proba": fitted.predict_proba(put(X)), "predict": fitted.predict(put(X))}
    return {name: to_host(array) for name, array in said.items()}


def on_devices(result: str) -> None:
    """Runs on four devices, of data that are divided; and what compiled steps do."""
    import jax

    from mlp_xp.train import split

    mesh = jax.make_mesh((4,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    by_rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))

    def divided(array: Any) -> Any:
        return jax.device_put(array, by_rows)

    found: dict[str, Any] = {}
    for name in ON_DEVICES:
        last = epochs_of(name, jax.numpy, divided, compile=split(mesh))
        found |= {f"{name}: {part}": array for part, array in arrays_of(last).items()}
    np.savez(result, **found)
    seen = {
        "one device": program(jax, jax.jit, jax.numpy.asarray),
        "divided": program(jax, split(mesh), divided),
        "whole": program(jax, split(mesh), jax.numpy.asarray),
    }
    print(json.dumps(seen))


def program(jax: Any, compiler: Any, put: Any) -> dict[str, Any]:
    """The FLOPs of a compiled step on one device, and the shapes that go through each kind of collective."""
    jit, calls = jax.jit, []

    def recording(function: Any, **options: Any) -> Any:
        made = jit(function, **options)

        def call(*arguments: Any) -> Any:
            calls.append((made, arguments))
            return made(*arguments)

        return call

    def compiled(function: Any) -> Any:
        jax.jit = recording
        try:
            return compiler(function)
        finally:
            jax.jit = jit

    params = mx.init_params((6, 64, 3), xp=jax.numpy, dtype=jax.numpy.float64)
    list(train(put(X), put(Y), params, epochs=1, batch_size=N // 2, compile=recording if compiler is jit else compiled))
    step, arguments = calls[0]
    made = step.lower(*arguments).compile()
    collectives: dict[str, list[str]] = {}
    for line in made.as_text().splitlines():
        if kind := re.search(r"= (.*?) (all-\w+|reduce-scatter|collective-permute)(-start)?\(", line):
            collectives.setdefault(kind[2], []).append(re.sub(r"{[^}]*}", "", kind[1]))
    return {"flops": made.cost_analysis()["flops"], "collectives": collectives}


def in_two_processes(result: str, port: str, rank: int) -> None:
    """A run that is saved, loaded and continued, an estimator and a fingerprint, of arrays that span the processes."""
    import jax

    from mlp_xp.train import split

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, rank, initialization_timeout=60)
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    by_rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))

    def divided(array: np.ndarray) -> Any:
        half = len(array) // 2
        own = array[rank * half : (rank + 1) * half]
        return jax.make_array_from_process_local_data(by_rows, own)

    path = f"{result}.safetensors"
    config = {"data": checkpoint.fingerprint(divided(X), divided(Y))}
    half = epochs_of(IN_PROCESSES, jax.numpy, divided, epochs=1, compile=split(mesh))
    checkpoint.save(path, half, config)
    start = checkpoint.load(path, half.params, config)
    last = epochs_of(IN_PROCESSES, jax.numpy, divided, start=start, compile=split(mesh))
    found = {f"{IN_PROCESSES}: {part}": array for part, array in arrays_of(last).items()}
    found |= classifier(divided, compile=split(mesh)) | {"X": to_host(divided(X))}
    np.savez(result, **found)
    print(json.dumps(config))


if __name__ == "__main__":
    count = 4 if sys.argv[2] == "devices" else 1
    flags = f"--xla_force_host_platform_device_count={count} --xla_backend_optimization_level=0"  # to compile fast
    os.environ |= {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    import jax

    jax.config.update("jax_enable_x64", True)
    if count == 4:
        on_devices(sys.argv[1])
    else:
        in_two_processes(sys.argv[1], sys.argv[2], int(sys.argv[3]))
