"""A run that goes on from its checkpoint, as a program: what ``test_checkpoint`` kills.

python resumable_run.py BACKEND DEVICE CHECKPOINT RESULT: prints a line when training begins or goes on and after each
epoch, and writes the result, all but the times, as an .npz file once it is done.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import mlp_xp as mx
from mlp_xp import checkpoint, optim, schedules
from mlp_xp._lib.namespace import to_host
from mlp_xp.backends import load
from mlp_xp.train import train


def main(backend: str, device: str, path: Path, result: Path, epochs: int) -> None:
    place = load(backend, "float64", device or None)
    random = np.random.default_rng(0)
    X, y = place.put(random.standard_normal((90, 6))), place.put(random.integers(0, 3, 90))
    params = mx.init_params((6, 16, 8, 3), xp=place.xp, dtype=place.dtype, device=place.device, seed=1)
    settings = {"epochs": epochs, "batch_size": 16, "seed": 7, "validation": 0.2, "patience": 1e9, "dropout": 0.3}
    config = {"sizes": (6, 16, 8, 3), "optimizer": "adam", **settings, "data": checkpoint.fingerprint(X, y)}
    lr = schedules.warm_up(schedules.cosine(0.02), steps=20)

    stands = checkpoint.load(path, params, config) if path.exists() else params
    print("begins", flush=True)
    # a run that was killed after its last epoch has nothing left to do
    for stands in train(X, y, stands, optimizer=optim.adam(), lr=lr, **settings):  # noqa: B020
        checkpoint.save(path, stands, config)
        print("an epoch", flush=True)
    arrays = [to_host(array) for array in (*stands.params, *stands.best, *stands.state)]
    numbers = [np.asarray([record[:-1] for record in stands.history])]
    with result.open("wb") as file:
        np.savez(file, *arrays, *numbers)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
