"""Seconds of training until the test error on MNIST is 1.6 %: ours on each usable library, PyTorch, scikit-learn.

    python scripts/time_to_accuracy.py --data FOLDER [--only SIDE ...] [--device cuda] [--rounds 3] [--save FILE.json]

All take the same steps: one hidden layer of 800 relu units, the same initial weights, the same batches of 128 rows in
the same order, momentum 0.9, a rate that falls from 0.3 along a cosine to 0. scikit-learn has no such rate and an order
of its own: its rate is set anew before each epoch. Each side has a process of its own, one after the other. Compiling
counts, importing and judging do not.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import piped
from benchmark import machine
from reproduce import Images, error_of, folder_of, read
from worker import Worker

import mlp_xp as mx
from mlp_xp import backends, optim, schedules
from mlp_xp._lib.files import write_whole
from mlp_xp.train import Epoch, train

WANTED = 1.6  # test error in %
HIDDEN, BATCH, RATE, MOMENTUM = 800, 128, 0.3, 0.9
THREADS_REST_SECONDS = 1.0  # between two sides


class Task(NamedTuple):
    """What a side is to do: where the data are, for how many epochs, on which device, from which seed."""

    folder: Path
    epochs: int
    device: str | None
    seed: int


class Point(NamedTuple):
    """Where a side stands after an epoch: the seconds it has trained, and the test error in %."""

    seconds: float
    error: float


Side = Callable[[Images, Task], Iterator[Callable[[], float]]]
"""``side(images, task)`` trains an epoch, yields a function that says the test error, and so on."""


def first_params(images: Images, task: Task) -> list[Any]:
    """The initial weights and biases, on the host."""
    return list(mx.init_params((images.X.shape[1], HIDDEN, 10), dtype=np.float32, seed=task.seed))


def order_of(images: Images, task: Task, number: int) -> Any:
    """The order of the rows in an epoch."""
    return np.random.default_rng((task.seed, number)).permutation(len(images.X))


# --- the sides ---------------------------------------------------------------------------------------------------


def ours(backend: str, compiled: bool) -> Side:
    """``mlp_xp.train`` on a library."""

    def side(images: Images, task: Task) -> Iterator[Callable[[], float]]:
        there = backends.load(backend, "float32", task.device)
        X, y, X_test, y_test = (there.put(each) for each in images[:4])
        params = tuple(map(there.put, first_params(images, task)))
        settings: dict[str, Any] = {"optimizer": optim.momentum(MOMENTUM), "lr": schedules.cosine(RATE)}
        settings |= {"batch_size": BATCH, "activation": "relu", "order": lambda number: order_of(images, task, number)}
        settings |= {"compile": compiled or None}

        def error(epoch: Epoch) -> float:
            return error_of(mx.predict(X_test, *epoch.params, activation="relu"), y_test)

        for epoch in train(X, y, params, epochs=task.epochs, **settings):
            yield lambda epoch=epoch: error(epoch)  # type: ignore[misc]

    return side


def torchs(compiled: bool) -> Side:
    """The usual module of PyTorch with its SGD; compiled are the network and the loss."""

    def side(images: Images, task: Task) -> Iterator[Callable[[], float]]:
        import torch
        from torch import nn

        device = task.device or "cpu"
        X, y, X_test, y_test = (torch.asarray(each).to(device) for each in images[:4])
        model = nn.Sequential(nn.Linear(X.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10)).to(device)
        with torch.no_grad():
            for mine, its in zip(first_params(images, task), model.parameters(), strict=True):
                its.copy_(torch.asarray(mine.T))
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
        steps = math.ceil(len(X) / BATCH) * task.epochs
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

        def loss_of(rows: Any) -> Any:
            return nn.functional.cross_entropy(model(X[rows]), y[rows])

        quick = torch.compile(loss_of) if compiled else loss_of

        def error() -> float:
            with torch.no_grad():
                return error_of(model(X_test).argmax(1), y_test)

        for number in range(1, task.epochs + 1):
            for rows in torch.asarray(order_of(images, task, number)).to(device).split(BATCH):
                optimizer.zero_grad()
                # the last, smaller batch is not worth a second compilation
                (quick if len(rows) == BATCH else loss_of)(rows).backward()
                optimizer.step()
                schedule.step()
            if X.is_cuda:
                torch.cuda.synchronize()
            yield error

    return side


def sklearns(images: Images, task: Task) -> Iterator[Callable[[], float]]:
    """``MLPClassifier.partial_fit``, an epoch a call."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (HIDDEN,), solver="sgd", alpha=0.0, batch_size=BATCH, momentum=MOMENTUM, nesterovs_momentum=False,
        learning_rate_init=RATE, random_state=task.seed,
    )  # fmt: skip
    for number in range(task.epochs):
        if number:  # the rate in the middle of the epoch
            middle = (number + 0.5) / task.epochs
            model._optimizer.learning_rate = 0.5 * RATE * (1.0 + math.cos(math.pi * middle))
        model.partial_fit(images.X, images.y, classes=np.unique(images.y))
        yield lambda: error_of(model.predict(images.X_test), images.y_test)


SIDES: dict[str, Side] = {
    "ours, numpy": ours("numpy", False),
    "ours, torch": ours("torch", False),
    "ours, torch compiled": ours("torch", True),
    "ours, jax compiled": ours("jax", True),
    "ours, cupy": ours("cupy", False),
    "torch": torchs(False),
    "torch compiled": torchs(True),
    "scikit-learn": sklearns,
}


# --- worker and parent -------------------------------------------------------------------------------------------


def work(pipe: Connection, name: str) -> None:
    """Answer each task with the points of the run, or with why there are none, in one line."""
    while (task := pipe.recv()) is not None:
        try:
            pipe.send(points(SIDES[name], read(task.folder, "float32"), task))
        except Exception as error:
            pipe.send(" ".join(str(error).split()) or type(error).__name__)


def points(side: Side, images: Images, task: Task) -> list[Point]:
    """The seconds and the error after each epoch, until the error is the one wanted."""
    found, seconds, began = [], 0.0, time.perf_counter()
    for error in side(images, task):
        seconds += time.perf_counter() - began
        found.append(Point(seconds, error()))
        began = time.perf_counter()  # judging takes no time
    return found


def reached(found: list[Point]) -> Point | None:
    """The first point with the error that is wanted; None where there is none."""
    return next((point for point in found if point.error <= WANTED), None)


def measure(names: list[str], tasks: list[Task]) -> dict[str, Any]:
    """The points of each side in each round, or why it has none."""
    done: dict[str, Any] = {name: [] for name in names}
    for number, task in enumerate(tasks):
        for name in names:
            if isinstance(done[name], str):
                continue
            time.sleep(THREADS_REST_SECONDS)
            worker = Worker(work, name)
            answer = worker.ask(task)
            worker.stop()
            if isinstance(answer, str):
                done[name] = answer
                print(f"{name} is left out: {answer}", flush=True)
                continue
            done[name].append(answer)
            point = reached(answer)
            said = f"{point.seconds:.1f} s" if point else f"not in {answer[-1].seconds:.1f} s"
            print(f"round {number + 1}, {name}: {WANTED} % {said}, in the end {answer[-1].error:.2f} %", flush=True)
    return done


def table(done: dict[str, Any]) -> str:
    """The sides in Markdown, the fastest first."""
    rows = []
    for name, rounds in done.items():
        if isinstance(rounds, str):
            continue
        times = [point.seconds if (point := reached(found)) else math.inf for found in rounds]
        last = statistics.median(found[-1].error for found in rounds)
        epoch = statistics.median(found[-1].seconds / len(found) for found in rounds)
        rows.append((statistics.median(times), epoch, last, name))
    text = [f"| | seconds to {WANTED} % | seconds an epoch | error at the end |", "| --- | --- | --- | --- |"]
    for seconds, epoch, last, name in sorted(rows):
        to = "not reached" if math.isinf(seconds) else f"{seconds:.1f}"
        text.append(f"| {name} | {to} | {epoch:.2f} | {last:.2f} |")
    return "\n".join(text)


def main() -> None:
    """Train every side, print the table, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="with the IDX files of MNIST")
    parser.add_argument("--only", nargs="+", choices=SIDES, metavar="SIDE", help=f"of {', '.join(SIDES)}")
    parser.add_argument("--device", help="of PyTorch, JAX and CuPy, such as cuda")
    parser.add_argument("--epochs", type=int, default=12, help="of the cosine (default 12)")
    parser.add_argument("--rounds", type=int, default=3, help="with a seed each (default 3)")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="write the results and what machine it was")
    options = parser.parse_args()
    try:
        folder = folder_of("mnist", options.data) if options.data.is_dir() else None
        if folder is None:
            raise ValueError(f"--data must be a folder with the IDX files of MNIST, got {options.data}")
        read(folder, "float32")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    tasks = [Task(folder, options.epochs, options.device, seed) for seed in range(options.rounds)]
    done = measure(options.only or list(SIDES), tasks)
    print(table(done))
    if options.save:
        text = json.dumps({"machine": machine(), "wanted": WANTED, "epochs": options.epochs, "sides": done}, indent=1)
        write_whole(options.save, f"{text}\n".encode())


if __name__ == "__main__":
    piped.run(main)
