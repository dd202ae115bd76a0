"""Ranks in the workers of a Dask cluster: what a step costs, and what a run is worth whose workers are killed.

    python scripts/dask_workers.py [--runs 20] [--save FILE.json]

Two processes on this machine train 64-32-10. First a step by ``mlp_xp.workers.dask_train`` is timed, and one that is a
graph of whole-array operations: ``train`` on Dask arrays. Then runs keep a checkpoint. Twice on the way to each epoch
but the first one of the two workers, drawn at random, gets SIGKILL: within the time of an epoch after the last one was
saved, and within the time of a start after that. Its nanny starts it again, Dask computes its partitions anew, and
training goes on from the last checkpoint. All arrays and records of the last epoch are compared to the last bit, but
for the seconds, with a run on the same partitions that nobody disturbed. Before the first checkpoint nothing is
killed: there a run starts anew, with the partitions where Dask puts them then.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmark import machine
from start_ranks import cluster

import mlp_xp as mx
from mlp_xp._lib.files import read, write_whole
from mlp_xp._lib.namespace import to_host
from mlp_xp.train import Epoch, train
from mlp_xp.workers import dask_train

ROWS, EPOCHS = 4096, 4
SETTINGS: dict[str, Any] = {"batch_size": 512, "lr": 0.01, "dropout": 0.2}
START = 10.0  # seconds that a worker takes to be there again, about


def problem(times: int = 1) -> tuple[Any, Any]:
    """4,096 rows, so many times, in five uneven partitions that Dask can compute again."""
    import dask.array as da

    parts = tuple(times * rows for rows in (1000, 500, 1200, 700, 696))
    X = da.random.default_rng(0).normal(size=(times * ROWS, 64), chunks=(parts, 64))
    return X, (X[:, :10] + X[:, 10:20]).argmax(axis=1)


def trained(client: Any, data: tuple[Any, Any], path: Path) -> Epoch:
    """The last epoch of a run that keeps its checkpoint in ``path``."""
    params = mx.init_params((64, 32, 10), dtype=np.float64, seed=0)
    settings = {**SETTINGS, "epochs": EPOCHS, "retries": 4 * EPOCHS}
    return dask_train(client, *data, params, checkpoint=path, **settings)


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


class Killer(threading.Thread):
    """Kills workers while a run goes on: twice on the way to each epoch but the first, at moments drawn from a seed.

    kills: what was done so far: the worker, the epochs that were saved, the seconds since then or since the last kill.
    """

    def __init__(self, workers: Any, client: Any, path: Path, epoch_seconds: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.workers, self.client, self.path, self.ended = workers, client, path, threading.Event()
        self.kills: list[dict[str, Any]] = []
        draw = random.Random(seed)
        self.plan = [
            [(draw.randrange(2), draw.random() * longest) for longest in (epoch_seconds, START)]
            for _ in range(1, EPOCHS)
        ]

    def run(self) -> None:
        """Carry out the plan. An epoch that was saved before its second kill loses that one to the next."""
        for saved, moments in enumerate(self.plan, 1):
            while self._saved() < saved and not self.ended.is_set():
                time.sleep(5e-4)
            for worker, seconds in moments:
                if self.ended.wait(seconds):
                    return
                self._kill(worker, seconds)

    def _kill(self, worker: int, seconds: float) -> None:
        """Kill a worker. One that starts is waited for: a nanny whose worker dies before it is there gives up."""
        while (nanny := self.workers.get(worker)) is None or nanny.worker_address not in self._there():
            if self.ended.wait(0.05):
                return
        saved, pid = self._saved(), nanny.pid
        os.kill(pid, signal.SIGKILL)
        self.kills.append({"worker": worker, "seconds": round(seconds, 3), "saved": saved})
        while nanny.pid == pid and not self.ended.wait(5e-4):
            pass

    def _there(self) -> set[str]:
        """The addresses of the workers that the scheduler knows."""
        return set(self.client.scheduler_info(n_workers=-1)["workers"])

    def _saved(self) -> int:
        """How many epochs the checkpoint has."""
        return len(read(self.path, "checkpoint")[1]["history"]["number"]) if self.path.exists() else 0


def same(ours: Epoch, theirs: Epoch) -> bool:
    """Whether two epochs are the same to the last bit, but for the time they took."""
    arrays = [
        [to_host(array).tobytes() for kind in (e.params, e.best, e.state) for array in kind] for e in (ours, theirs)
    ]
    records = [[record._replace(seconds=0.0) for record in e.history] for e in (ours, theirs)]
    return arrays[0] == arrays[1] and records[0] == records[1]


def disturbed(seed: int, path: Path) -> dict[str, Any]:
    """A run whose workers are killed, and whether it ends as the one that nobody disturbed."""
    with cluster(2) as (workers, client):
        data = client.persist(problem(times=50))  # both runs find the partitions where they are
        undisturbed = trained(client, data, path.with_suffix(".undisturbed"))
        killer = Killer(workers.workers, client, path, undisturbed.last.seconds / EPOCHS, seed)
        killer.start()
        began = time.perf_counter()
        epoch = trained(client, data, path)
        seconds = time.perf_counter() - began
        killer.ended.set()
        killer.join()
        left = len(workers.workers)
    return {"seed": seed, "equal": same(undisturbed, epoch), "seconds": seconds, "workers": left, "kills": killer.kills}


def main() -> None:
    """Time the steps, carry out the runs, print and keep what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with cluster(2) as (_, client):
            by_ranks, by_graphs = milliseconds_of_a_step(client)
            print(
                f"a step of 64-32-10 on 512 rows: {by_ranks:.1f} ms by ranks, {by_graphs:.0f} ms by graphs", flush=True
            )
        result: dict[str, Any] = {"machine": machine(), "epochs": EPOCHS, "runs": []}
        for seed in range(options.runs):
            run = disturbed(seed, Path(folder, str(seed)))
            result["runs"].append(run)
            print(f"run {seed}: {len(run['kills'])} kills, {run['seconds']:.0f} s, equal: {run['equal']}", flush=True)
            if options.save:
                write_whole(options.save, (json.dumps(result, indent=1) + "\n").encode())
        print(f"{sum(run['equal'] for run in result['runs'])} of {options.runs} ended equal to the last bit")


if __name__ == "__main__":
    main()
