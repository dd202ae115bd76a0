"""What several ranks gain and what their engine costs: torch.distributed, MPI, Dask, JAX, each beside ``cost.scaling``.

    python scripts/scale_benchmark.py [--only ENGINE ...] [--ranks 2 4] [--rounds 10] [--quick] [--save FILE.json]

Every engine has its ranks started once, on this machine alone, one thread each. In turn the parent asks for an epoch of
one process with all rows, of all ranks each by itself, and of all ranks together. What is not installed or fails is
said in one line, and the rest goes on. With --save a run that was stopped goes on where it was. Method:
scripts/results/README.md.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import piped
from benchmark import kept_rows, machine, save
from scale_ranks import ENGINES, EXACT_SIZE, STEPS, Task, exact_params, exact_rows, trained
from start_ranks import environment, free_port, launcher, started

import mlp_xp as mx
from mlp_xp.cost import Scaling, scaling

SIZES = [(4096, 784, 1024, 10), (1024, 784, 1024, 10)]
OPTIMIZERS = ["sgd", "adam"]
RUNS = ("alone", "apart", "together")
NEEDS = {
    "torch-numpy": ("torch",), "torch-torch": ("torch",), "mpi": ("mpi4py",), "mpi-tcp": ("mpi4py",),
    "dask": ("distributed", "torch"), "dask-malloc": ("distributed", "torch"),
    "jax-devices": ("jax",), "jax-processes": ("jax", "torch"),
}  # fmt: skip
OVER_TCP = ("torch-numpy", "torch-torch", "mpi-tcp", "dask", "dask-malloc", "jax-processes")
START_SECONDS, ANSWER_SECONDS = 120.0, 120.0
SUMS, SMALL_SUMS, UPDATES = 5, 20, 5  # timed at a time
EFFICIENCY, ENGINE_MS = 0.85, 3.0  # wanted of two ranks at the first size


class Refused(Exception):
    """Why an engine does not take part, in one sentence."""


# --- the ranks of an engine --------------------------------------------------------------------------------------


class Group(NamedTuple):
    """The processes of an engine.

    engine: its name.
    parts: into how many they divide the rows.
    start: seconds that joining the engine took; see ``scale_ranks.main``.
    pipes: to each, in the order of their ranks.
    """

    engine: str
    parts: int
    start: float
    pipes: list[Connection]

    def ask(self, *request: Any, among: int | None = None) -> list[Any]:
        """The answers of all processes, or of the first so many, in their order."""
        pipes = self.pipes[:among]
        try:
            for pipe in pipes:
                pipe.send(request)
            answers = [pipe.recv() if pipe.poll(ANSWER_SECONDS) else "it gave no answer in time" for pipe in pipes]
        except (EOFError, OSError):
            raise Refused("a process has ended") from None
        for answer in answers:
            if isinstance(answer, str):
                raise Refused(answer)
        return answers


@contextmanager
def group_of(engine: str, ranks: int) -> Iterator[Group]:
    """The started ranks of an engine. They talk to this process over a socket in a folder of its own."""
    missing = [name for name in NEEDS[engine] if find_spec(name) is None]
    if missing:
        raise Refused(f"{missing[0]} is not installed")
    starts = {"jax-devices": "jax", "jax-processes": "torch"}.get(engine, engine.partition("-")[0])
    processes = 1 if engine == "jax-devices" else ranks
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(f"{folder}/socket")
        server.listen(processes)
        said = stack.enter_context((folder / "log").open("w+b"))
        command = [*launcher(starts, ranks), str(Path(__file__).with_name("scale_ranks.py")), engine]
        process = stack.enter_context(started([*command, f"{folder}/socket"], _environment(engine, ranks), said))
        found: dict[int, Connection] = {}
        joined: list[float] = []
        server.settimeout(1.0)
        began = time.perf_counter()
        while len(found) < processes:
            try:
                pipe = stack.enter_context(Connection(server.accept()[0].detach()))
                rank, parts, seconds = pipe.recv()
                found[rank] = pipe
                joined.append(seconds)
            except TimeoutError:
                if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                    words = (folder / "log").read_text("utf-8", "replace").split()
                    raise Refused(" ".join(["it did not start:", *words[-20:]])) from None
        yield Group(engine, parts, _rounded(max(joined)), [found[rank] for rank in sorted(found)])
        for pipe in found.values():
            with suppress(OSError):  # a process that has ended was refused when it was asked
                pipe.send(None)


def _environment(engine: str, ranks: int) -> dict[str, str]:
    """That of an engine's processes."""
    devices = ranks if engine == "jax-devices" else 1
    flags = f"--xla_cpu_multi_thread_eigen=false --xla_force_host_platform_device_count={devices}"
    more = {
        "WORLD_SIZE": str(ranks),  # torchrun says it by itself
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "XLA_FLAGS": flags,
        "JAX_COORDINATOR": f"127.0.0.1:{free_port()}",
    }
    mpis = {"OMPI_MCA_btl": "self,tcp"} if engine == "mpi-tcp" else {}
    return environment(**more, **mpis)


# --- measuring ---------------------------------------------------------------------------------------------------


def sent_over_loopback() -> int:
    """Bytes that were sent over the loopback interface of this machine since it has started; 0 where nobody counts."""
    counters = Path("/proc/net/dev")
    lines = counters.read_text().splitlines() if counters.exists() else []
    return next((int(line.split()[9]) for line in lines if line.strip().startswith("lo:")), 0)


def empty_row(group: Group, task: Task) -> dict[str, Any]:
    """A row in which the rounds of a group are written down."""
    measured: dict[str, Any] = {name: {run: [] for run in RUNS} for name in ("seconds", "cpu")}
    measured |= {name: [] for name in ("inside", "inside_cpu", "sum", "small_sum", "update", "sent")}
    what = {"engine": group.engine, "ranks": group.parts, "size": list(task.size), "optimizer": task.optimizer}
    return {**what, **measured, "start": None, "exact": None, "refused": None}


def a_round(group: Group, task: Task, row: dict[str, Any], backwards: bool) -> None:
    """An epoch of each run and some sums, written into the row."""
    for run in RUNS[:: -1 if backwards else 1]:
        before = sent_over_loopback()
        answers = group.ask("epoch", task, run, among=1 if run == "alone" else None)
        if run == "together":
            row["sent"].append(round((sent_over_loopback() - before) / STEPS / group.parts))
            # a rank that is early waits for the others: the last to come waits for the engine alone
            inside = [min(each) for each in zip(*(answer.engine for answer in answers), strict=True)]
            row["inside"] += [_rounded(median(inside))] if inside else []
            row["inside_cpu"] += [_rounded(median(answers[0].engine_cpu))] if inside else []
        row["seconds"][run].append(_rounded(max(answer.wall for answer in answers)))
        row["cpu"][run].append(_rounded(sum(answer.cpu for answer in answers)))
    message = mx.step_cost(task.size[1:], task.size[0]).parameters + 4
    others = {
        "sum": ("sums", message, SUMS),
        "small_sum": ("sums", 1, SMALL_SUMS),
        "update": ("updates", task, UPDATES),
    }
    for name, request in others.items():
        row[name].append(_rounded(max(answer.wall for answer in group.ask(*request))))


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.4g}")


def exactness(group: Group) -> dict[str, Any]:
    """The largest difference of a parameter from that of one process, and whether the ranks are equal to the bit."""
    n, parts = EXACT_SIZE[0], group.parts
    cuts = [round(n * (part / parts) ** 0.7) for part in range(1, parts + 1)]  # shards of different sizes
    found, one = group.ask("exact", cuts), trained(*exact_rows(), exact_params(), {})
    first = [array.tobytes() for array in found[0]]
    return {
        "difference": max(float(np.max(np.abs(a - b))) for a, b in zip(found[0], one, strict=True)),
        "alike": all([array.tobytes() for array in each] == first for each in found),
    }


def readied(group: Group, task: Task, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of a group and a task, of an earlier start or new; its runs are readied, and compiled where they are."""
    what = {"engine": group.engine, "ranks": group.parts, "size": list(task.size), "optimizer": task.optimizer}
    found = [row for row in rows if all(row[name] == value for name, value in what.items())]
    row = found[0] if found else empty_row(group, task)
    if not found:
        rows.append(row)
    row["start"] = group.start
    with refusing(row):
        group.ask("ready", task)
        a_round(group, task, empty_row(group, task), False)
        known = [other["exact"] for other in rows if all(other[name] == row[name] for name in ("engine", "ranks"))]
        row["exact"] = next(filter(None, known), None) or exactness(group)
    return row


@contextmanager
def refusing(row: dict[str, Any]) -> Iterator[None]:
    """Write down and say why an engine does not take part."""
    try:
        yield
    except Refused as error:
        row["refused"] = str(error)
        print(f"{row['engine']} with {row['ranks']} ranks is left out at {row['size']}: {error}", flush=True)


def measure(
    groups: list[Group], tasks: list[Task], rounds: int, rows: list[dict[str, Any]], keep: Callable[[], object]
) -> None:
    """Rounds of all tasks of all groups, in turn; the order is reversed from round to round. Each round is kept."""
    turns = [(group, task, readied(group, task, rows)) for task in tasks for group in groups]
    for turn in range(rounds):
        for group, task, row in turns[:: -1 if turn % 2 else 1]:
            if row["refused"] is None and len(row["update"]) <= turn:
                with refusing(row):
                    a_round(group, task, row, turn % 2 == 1)
        keep()
        print(f"round {turn + 1} of {rounds}", flush=True)


# --- results -----------------------------------------------------------------------------------------------------


def predicted(row: dict[str, Any]) -> Scaling:
    """What ``cost.scaling`` says of a step, from the step of one process and the sums of a row."""
    (n, *widths), P = row["size"], row["ranks"]
    update, whole, small = (median(row[name]) for name in ("update", "sum", "small_sum"))
    cost = mx.step_cost(tuple(widths), n)
    latency = small / (2 * (P - 1))
    bandwidth = 2 * (P - 1) / P * 4 * (cost.parameters + 4) / max(whole - small, 1e-9)
    return scaling(
        mx.step_cost(tuple(widths), n // P), P, bandwidth=bandwidth, latency=latency, update_seconds=update,
        flops_per_second=(cost.forward_flops + cost.backward_flops) / (median(row["seconds"]["alone"]) - update),
    )  # fmt: skip


def _ratio(row: dict[str, Any], run: str) -> float:
    """The efficiency of P processes: the median over the rounds."""
    pairs = zip(row["seconds"]["alone"], row["seconds"][run], strict=True)
    return float(median(alone / (row["ranks"] * each) for alone, each in pairs))


def line_of(row: dict[str, Any]) -> str:
    """A row of the table."""
    model = predicted(row)
    alone, together = (median(row["seconds"][run]) for run in ("alone", "together"))
    cpu = median(a / t for a, t in zip(row["cpu"]["alone"], row["cpu"]["together"], strict=True))
    inside, inside_cpu = (f"{1e3 * median(row[n]):.1f}" if row[n] else "-" for n in ("inside", "inside_cpu"))
    # the devices of one process are never each by itself at the same time
    apart = "-" if row["engine"] == "jax-devices" else f"{_ratio(row, 'apart'):.2f}"
    sent = f"{min(row['sent']) / 1e6:.2f}" if row["engine"] in OVER_TCP else "-"
    cells = (
        row["engine"], row["ranks"], row["optimizer"], f"{row['size'][0] / alone:,.0f}",
        f"{row['size'][0] / together:,.0f}", f"{_ratio(row, 'together'):.2f}", apart,
        f"{model.efficiency:.2f}", f"{cpu:.2f}", inside, inside_cpu, f"{1e3 * median(row['sum']):.1f}",
        f"{model.sent_bytes / 1e6:.2f}", sent, f"{row['start']:.1f}", f"{row['exact']['difference']:.0e}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


HEAD = (
    "engine", "ranks", "optimizer", "rows/s of one", "rows/s together", "efficiency", "each by itself", "predicted",
    "CPU", "ms in the engine", "of CPU", "ms of a sum", "MB sent: model", "counted", "s to join", "gap",
)  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown, a table for each size."""
    text: list[str] = []
    for size in dict.fromkeys(tuple(row["size"]) for row in rows):
        own = [row for row in rows if tuple(row["size"]) == size and not row["refused"]]
        text += ["", f"{', '.join(map(str, size))}:", "", f"| {' | '.join(HEAD)} |", "| --- " * len(HEAD) + "|"]
        text += map(line_of, own)
    return "\n".join(text)


def verdicts(rows: Sequence[dict[str, Any]]) -> str:
    """The targets: efficiency and milliseconds in the engine of two ranks at the first size."""
    text = []
    for row in rows:
        if tuple(row["size"]) != SIZES[0] or row["ranks"] != 2 or row["refused"]:
            continue
        ratio, inside = _ratio(row, "together"), 1e3 * median(row["inside"]) if row["inside"] else None
        said = [f"efficiency {ratio:.2f}, at least {EFFICIENCY}: {'ok' if ratio >= EFFICIENCY else 'below'}"]
        if inside is not None:
            said += [f"{inside:.1f} ms in the engine, below {ENGINE_MS}: {'ok' if inside < ENGINE_MS else 'over'}"]
        text.append(f"{row['engine']}, {row['optimizer']}: {'; '.join(said)}")
    return "\n".join(text)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ENGINES, metavar="ENGINE", help=f"of {', '.join(ENGINES)}")
    usual = [2, 4] if machine()["cores"] >= 4 else [2]
    parser.add_argument("--ranks", nargs="+", type=int, default=usual, help=f"how many (default {usual})")
    parser.add_argument("--rounds", type=int, default=10, help="of all engines (default 10)")
    parser.add_argument("--quick", action="store_true", help="one size, one optimizer, three rounds")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="write the results and what machine it was")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, save. Status 1 where ranks have not the parameters of one process, or not all the same."""
    options = parsed(arguments)
    tasks = [Task(size, optimizer) for size in SIZES for optimizer in OPTIMIZERS]
    rounds = options.rounds
    if options.quick:
        tasks, rounds = [Task(SIZES[1], "sgd")], min(rounds, 3)
    engines = options.only or list(ENGINES)
    head = {"machine": machine(), "rounds": rounds, "ranks": options.ranks, "engines": engines, "steps": STEPS}
    rows = kept_rows(options.save, head)

    def keep() -> None:
        if options.save:
            save(options.save, {**head, "rows": rows})

    with ExitStack() as stack:
        groups = []
        for ranks in options.ranks:
            for engine in engines:
                try:
                    groups.append(stack.enter_context(group_of(engine, ranks)))
                except Refused as error:
                    print(f"{engine} with {ranks} ranks is left out: {error}", flush=True)
        measure(groups, tasks, rounds, rows, keep)
    print(table(rows), verdicts(rows), sep="\n\n")
    exact = [row["exact"] for row in rows if row["exact"]]
    return int(not all(each["alike"] and each["difference"] < 1e-12 for each in exact))


if __name__ == "__main__":
    piped.run(main)
