"""Ranks in the workers of a Dask cluster: what a step costs, and what a run is worth whose workers are killed.

    python scripts/dask_workers.py --trials 4

Two processes on this machine train 64-32-10. First a step by ``mlp_xp.workers.dask_train`` is timed, and one that is a
graph of whole-array operations: ``train`` on Dask arrays. Then runs keep a checkpoint. In each trial one of the two
workers, in turn, gets SIGKILL at a random moment after the first checkpoint. Its nanny starts it again, Dask computes
its partitions anew, and training goes on from the last checkpoint. All arrays and records of the last epoch are
compared to the last bit, but for the seconds.
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
from mlp_xp.train import Epoch, train
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


def milliseconds_of_a_step(client: Any) -> tuple[float, float]:
    """By ranks in the workers, and by graphs, on the same 4,096 rows in two partitions, with 512 rows in a batch."""
    X, y = (each.rechunk({0: 2048}).persist() for each in problem())
    params = mx.init_params((64, 32, 10), dtype=np.float64, seed=0)
    last = dask_train(client, X, y, params, epochs=101, batch_size=512).last
    first = dask_train(client, X, y, params, epochs=1, batch_size=512).last
    by_ranks = (last.seconds - first.seconds) / (last.steps - first.steps)

    import dask.array as da

    of_dask = tuple(da.from_array(each) for each in params)
    records = [epoch.last for epoch in train(X, y, of_dask, epochs=3, batch_size=512)]
    by_graphs = (records[-1].seconds - records[0].seconds) / (records[-1].steps - records[0].steps)
    return 1e3 * by_ranks, 1e3 * by_graphs


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
        by_ranks, by_graphs = milliseconds_of_a_step(client)
        print(f"a step of 64-32-10 on 512 rows: {by_ranks:.1f} ms by ranks, {by_graphs:.0f} ms by graphs", flush=True)
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
            print(
                f"{killed}{' (too late)' if late else ''}: {seconds:.1f} s, the same: {same(undisturbed, epoch)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
