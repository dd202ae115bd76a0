"""The program whose ranks ``kill_ranks`` kills: it trains and goes on from its checkpoint.

    torchrun --max-restarts 50 --nproc-per-node 2 killed_ranks.py FOLDER EPOCHS

Rank 0 makes the file ``FOLDER/begun`` when all ranks have begun to train, and saves each epoch in
``FOLDER/run.safetensors``. At the end each rank saves what it has in ``FOLDER/end-RANK.safetensors``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import numpy as np

import mlp_xp as mx
from mlp_xp import checkpoint, schedules
from mlp_xp.ranks import started
from mlp_xp.train import train

SIZES = (64, 512, 10)
SETTINGS: dict[str, Any] = {"batch_size": 16, "seed": 7, "validation": 0.2, "patience": 1e9, "dropout": 0.3}


def all_rows() -> tuple[Any, Any]:
    """The rows of all ranks."""
    random = np.random.default_rng(0)
    X = random.standard_normal((1800, SIZES[0]))
    return X, (X[:, : SIZES[-1]] + X[:, SIZES[-1] : 2 * SIZES[-1]]).argmax(axis=1)


def first_params() -> tuple[Any, ...]:
    """Where the run begins."""
    return mx.init_params(SIZES, seed=1, dtype=np.float64)


def config_of(epochs: int) -> dict[str, Any]:
    """What decides how the run continues, equal on all ranks: the data's fingerprint is that of all rows."""
    data = checkpoint.fingerprint(*all_rows())
    return {"sizes": SIZES, "epochs": epochs, "optimizer": "adam", **SETTINGS, "data": data}


def main(folder: Path, epochs: int) -> None:
    """Train as one rank, from the start or from the checkpoint."""
    ranks, config = started(), config_of(epochs)
    X, y = (each[ranks.rank :: ranks.size] for each in all_rows())
    path = folder / "run.safetensors"
    start = checkpoint.load(path, first_params(), config) if path.exists() else first_params()
    save = [checkpoint.saver(path, config)] if ranks.rank == 0 else []
    ranks.total((cast(Any, np.zeros(1)),))  # all have looked for the file
    if ranks.rank == 0:
        (folder / "begun").touch()
    more: dict[str, Any] = {"epochs": epochs, "lr": schedules.warm_up(schedules.cosine(0.01), steps=20)}
    # a run that was killed after its last epoch has nothing left to do
    *_, last = start, *train(X, y, start, callbacks=save, ranks=ranks, **more, **SETTINGS)
    checkpoint.save(folder / f"end-{ranks.rank}.safetensors", last, config)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
