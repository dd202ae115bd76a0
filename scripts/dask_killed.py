"""Workers of a Dask cluster that are killed while they train: is the result that of a run that nobody disturbed?

    python scripts/dask_killed.py --trials 4

Two processes on this machine train by ``mlp_xp.workers.dask_train`` with a checkpoint. In each trial one of them, in
turn that of rank 0 and that of rank 1, gets SIGKILL at a random moment after the first checkpoint. Its nanny starts it
again, Dask computes its partitions anew, and training goes on from the last checkpoint. All arrays and records of the
last epoch are compared to the last bit, but for the seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import mlp_xp as mx
from mlp_xp._lib.namespace import to_host
from mlp_xp.train import Epoch
from mlp_xp.workers import dask_train

SETTINGS: dict[str, Any] = {"epochs": 60, "batch_size": 512, "lr": 0.01, "dropout": 0.2}


def problem() -> tuple[Any, Any]:
    """4,096 rows in five uneven partitions that Dask can compute again."""
    import dask.array as da

    X = da.random.default_rng(0).normal(size=(4096, 64), chunks=((1000, 500, 1200, 700, 696), 64))
    return X, (X[:, :10] + X[:, 10:20]).argmax(axis=1)


def trained(client: Any, path: Path) -> Epoch:
    """The last epoch of a run that keeps its checkpoint in ``path``."""
    params = mx.init_params((64, 32, 10), dtype=np.float64, seed=0)
    return dask_train(client, *problem(), params, checkpoint=path, **SETTINGS)


def kill(pid: int, path: Path, seconds: float) -> None:
    """Kill a process so many seconds after there is a checkpoint."""
    while not path.exists():
        time.sleep(0.01)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)


def same(ours: Epoch, theirs: Epoch) -> bool:
    """Whether two epochs are the same to the last bit, but for the time they took."""
    arrays = [
        [to_host(array).tobytes() for kind in (e.params, e.best, e.state) for array in kind] for e in (ours, theirs)
    ]
    records = [[record._replace(seconds=0.0) for record in e.history] for e in (ours, theirs)]
    return arrays[0] == arrays[1] and records[0] == records[1]


def main() -> None:
    """Run the trials."""
    from distributed import Client, LocalCluster

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4)
    trials = parser.parse_args().trials
    local: dict[str, Any] = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, **local) as cluster,
        Client(cluster) as client,
    ):
        undisturbed, began = trained(client, Path(folder, "whole")), time.perf_counter()
        again, seconds = trained(client, Path(folder, "again")), time.perf_counter() - began
        print(
            f"undisturbed: {len(again.history)} epochs in {seconds:.1f} s, twice the same: {same(undisturbed, again)}"
        )
        for trial in range(trials):
            path = Path(folder, str(trial))
            pids = client.run(lambda dask_worker: (dask_worker.name, os.getpid()))
            victim = sorted(pids.values())[trial % 2]
            delay = random.Random(trial).uniform(0, 0.5 * undisturbed.last.seconds)
            killer = threading.Thread(target=kill, args=(victim[1], path, delay), daemon=True)
            killer.start()
            began = time.perf_counter()
            epoch = trained(client, path)
            seconds, late = time.perf_counter() - began, killer.is_alive()
            killed = f"worker {victim[0]} killed {delay:.2f} s after the first checkpoint"
            print(f"{killed}{' (too late)' if late else ''}: {seconds:.1f} s, the same: {same(undisturbed, epoch)}")


if __name__ == "__main__":
    main()
