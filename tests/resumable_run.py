"""A program that trains and continues from its checkpoint: ``test_checkpoint`` kills it and starts it again.

    python resumable_run.py BACKEND DEVICE CHECKPOINT RESULT EPOCHS

It prints a line when training begins and after each epoch. At the end it writes the result without the times as an .npz
file. An empty DEVICE is the default device of the library.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import mlp_xp as mx
from mlp_xp import checkpoint, optim, schedules
from mlp_xp._lib.namespace import to_host
from mlp_xp.backends import load
from mlp_xp.train import train


def main(backend: str, device: str, path: Path, result: Path, epochs: int) -> None:
    """Train for ``epochs`` epochs in all, those before the checkpoint included."""
    place = load(backend, "float64", device or None)
    random = np.random.default_rng(0)
    X, y = place.put(random.standard_normal((90, 6))), place.put(random.integers(0, 3, 90))
    params = mx.init_params((6, 16, 8, 3), xp=place.xp, dtype=place.dtype, device=place.device, seed=1)
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": 16, "seed": 7, "validation": 0.2, "patience": 1e9}
    settings["dropout"] = 0.3
    config = {"sizes": (6, 16, 8, 3), "optimizer": "adam", **settings, "data": checkpoint.fingerprint(X, y)}
    lr = schedules.warm_up(schedules.cosine(0.02), steps=20)

    kept = checkpoint.load(path, params, config) if path.exists() else None
    print("begins", flush=True)
    # a run that was killed after its last epoch has nothing left to do
    for epoch in train(X, y, params if kept is None else kept, optimizer=optim.adam(), lr=lr, **settings):
        checkpoint.save(path, epoch, config)
        print("an epoch", flush=True)
        kept = epoch
    assert kept is not None, "no epoch was made"
    arrays = [to_host(array) for array in (*kept.params, *kept.best, *kept.state)]
    # neither the seconds nor the members, of which there are none
    numbers = [np.asarray([record[:-2] for record in kept.history])]
    with result.open("wb") as file:
        np.savez(file, *arrays, *numbers)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
