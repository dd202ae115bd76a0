"""Time mlp_xp against what a user would pick instead: steps, an epoch, prediction, the gradient check, the import.

    python scripts/benchmark.py [--quick] [--device cuda] [--save FILE.json] [--plot FILE.png]
    python scripts/benchmark.py --only ours-numpy textbook sgd 32,4,16,3

Each library has a process of its own, because the threads of two disturb each other; its sides share it, because memory
lies better in one process than in another, for as long as it lives.
The parent asks them in turn for a batch of steps, so that other load on the machine slows all. What is not installed or
does not fit is said in one line, and the rest goes on. With --save a run that was stopped goes on where it was.
Method: scripts/results/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import piped
from benchmark_report import plot, row_line, tables, targets
from benchmark_sides import EPOCH_STEPS, PRECISIONS, SIDES, WORKLOADS, Run, Setting, make, number, prepare_process
from worker import Stopped, Worker

from mlp_xp._lib.arguments import first_line
from mlp_xp._lib.files import write_whole

SIZES = [
    (32, 4, 16, 3), (128, 64, 64, 10), (128, 784, 256, 10), (256, 784, 800, 10), (1024, 784, 1024, 10),
    (4096, 784, 4096, 10),
]  # fmt: skip
SIZES_OF_GPU = [(16384, 4096, 4096, 1000), (65536, 4096, 16384, 1000)]
CHECKED = {"sgd": 5, "adam": 5, "epoch": 2}  # results that must agree before anything is timed; elsewhere one
# a thousand times the cost of the clock and the pipe, and shorter than the load of a machine takes to change
BATCH_SECONDS = 0.05
PAUSE_SECONDS = 0.1  # the other sides' idle threads spin for a while before they sleep
WORKLOAD_SECONDS = 120.0  # of all rounds of a workload at a size, in one set of processes
LEAST_ROUNDS = 3


class Plan(NamedTuple):
    """What is timed: for each setting its workloads; the sides; rounds in each of so many sets of processes."""

    units: list[tuple[Setting, list[str]]]
    sides: list[str]
    rounds: int
    processes: int
    without: frozenset[tuple[str, str]] = frozenset()  # pairs (side, workload) that compile for too long


# --- a worker ------------------------------------------------------------------------------------------------------


class Refusal(NamedTuple):
    """Why a side does not take part, in one sentence."""

    reason: str


def work(pipe: Connection, library: str) -> None:
    """Answer requests: a side and a workload, and the setting, for the first results, or a count, for seconds of a run.

    All sides are of one ``library``.
    """
    ready: dict[tuple[str, str], tuple[Run, Callable[[Any], object]]] = {}
    with suppress(EOFError, ConnectionError, KeyboardInterrupt):  # the parent has ended
        while request := pipe.recv():
            try:
                answer = answer_to(ready, *request)
            except Exception as error:
                answer = Refusal(f"{type(error).__name__}: {first_line(error)[:160]}")
            pipe.send(answer)


def answer_to(ready: dict[tuple[str, str], Any], side: str, workload: str, asked: Setting | int) -> Any:
    """The answer to one request; ``ready`` has the sides and workloads that were readied."""
    if isinstance(asked, Setting):
        prepare_process(asked)
        run, _ = ready[side, workload] = make(side, workload, asked)
        return [number(run()[0]) for _ in range(CHECKED.get(workload, 1))]
    time.sleep(PAUSE_SECONDS)
    run, wait = ready[side, workload]
    return seconds_of(run, wait, asked)


def seconds_of(run: Run, wait: Callable[[Any], object], count: int) -> float:
    """Seconds of one run, over so many; the device has finished before the clock is read."""
    arrays = None
    for _ in range(1 + count // 4):  # not timed: caches fill
        arrays = run()
    wait(arrays)
    began = time.perf_counter()
    for _ in range(count):
        arrays = run()
    wait(arrays)
    return (time.perf_counter() - began) / count


# --- the parent ----------------------------------------------------------------------------------------------------


def bytes_of(setting: Setting, workload: str) -> tuple[int, int]:
    """About what a side keeps (data, weights and what an optimizer remembers), and what a run takes besides."""
    n, d_in, d_h, d_out = setting.size
    rows, width = n * (EPOCH_STEPS if workload == "epoch" else 1), np.dtype(setting.dtype).itemsize
    weights = d_h * (d_in + d_out)
    return width * (rows * d_in + 4 * weights), width * (6 * n * (d_h + d_out) + 4 * weights)


def free_bytes(device: str) -> int:
    """Free memory of the host, or of the first GPU."""
    if device != "cpu":
        command = ("nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits")
        return int(subprocess.check_output(command, text=True).split()[0]) * 2**20
    meminfo = Path("/proc/meminfo")  # what is free once caches are given back; elsewhere what is free now
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    return available[0] if available else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def fit_together(setting: Setting, workloads: Sequence[str], sides: int, free: int) -> bool:
    """Whether all sides can be alive at once. On a GPU libraries keep what a run took, on the host they return it."""
    kept, taken = zip(*(bytes_of(setting, workload) for workload in workloads), strict=True)
    return bool(sides * sum(kept) + max(taken) * (1 if setting.device == "cpu" else sides) <= free)


def agree(setting: Setting, theirs: list[float], ours: list[float]) -> bool:
    """Whether two sides take the same steps, by their first results."""
    # every library adds the products of a sum in an order of its own, and each product is rounded
    eps = PRECISIONS[setting.precision][3] if setting.dtype == "float32" else float(np.finfo(setting.dtype).eps)
    return bool(np.allclose(ours, theirs, rtol=max(setting.size) * eps, atol=0.0))


class Unit:
    """A setting with its workloads: what was measured, who is left out and why, which results must be equal."""

    def __init__(self, setting: Setting, workloads: Sequence[str]) -> None:
        self.setting, self.workloads = setting, workloads
        self.seconds: dict[str, dict[str, list[float]]] = {workload: {} for workload in workloads}
        self.refused: dict[str, dict[str, str]] = {workload: {} for workload in workloads}
        self.reference: dict[str, tuple[str, list[float]]] = {}

    def refuse(self, workload: str, side: str, reason: str) -> None:
        """Leave a side out of a workload, and say so."""
        known = any(reasons.get(side) == reason for reasons in self.refused.values())
        self.refused[workload][side] = reason
        self.seconds[workload].pop(side, None)
        if known:  # said of another workload
            return
        print(f"    {side}, {workload} at {self.setting.size} in {self.setting.dtype}: {reason}", flush=True)

    def run(self, sides: Sequence[str], rounds: int) -> None:
        """One set of processes, one for each library: ready the sides, compare first results, time them in turn."""
        processes = {library: Worker(work, library) for library in dict.fromkeys(SIDES[side].library for side in sides)}
        workers = {side: processes[SIDES[side].library] for side in sides}
        try:
            ready = {workload: self._ready(workload, workers) for workload in self.workloads}
            counts = {workload: self._counts(workload, ready[workload], rounds) for workload in self.workloads}
            for turn in range(rounds):  # workloads take turns too, so that one can be compared with another
                for workload, (own_rounds, own) in counts.items():
                    if turn < own_rounds:
                        self._round(workload, ready[workload], own, backwards=turn % 2 == 1)
        finally:
            for worker in processes.values():
                worker.stop()

    def _asked(self, workload: str, requests: dict[str, tuple[Worker, Any]], at_once: bool = False) -> dict[str, Any]:
        """The answers of the sides; one that refuses, or whose process has ended, is left out from now on."""
        answers = {}
        for each in [list(requests)] if at_once else [[side] for side in requests]:
            for side in each:
                answers[side] = _try(lambda side=side: requests[side][0].send((side, workload, requests[side][1])))
            for side in each:
                answers[side] = answers[side] or _try(requests[side][0].receive)
        for side, answer in list(answers.items()):
            if isinstance(answer, Refusal):
                self.refuse(workload, side, answer.reason)
                del answers[side]
        return answers

    def _ready(self, workload: str, workers: dict[str, Worker]) -> dict[str, Worker]:
        """The workers that are ready for a workload and whose first results agree."""
        able = {side: worker for side, worker in workers.items() if side not in self.refused[workload]}
        requests = {side: (worker, self.setting) for side, worker in able.items() if workload in SIDES[side].workloads}
        ready = {}
        for side, results in self._asked(workload, requests, at_once=True).items():
            if None not in results:
                first, expected = self.reference.setdefault(workload, (side, results))
                if not agree(self.setting, expected, results):
                    self.refuse(workload, side, f"its first results {results} are not those of {first}, {expected}")
                    continue
            ready[side] = able[side]
        return ready

    def _counts(self, workload: str, ready: dict[str, Worker], rounds: int) -> tuple[int, dict[str, int]]:
        """How many rounds there are, and the runs of each side in one: fewer rounds where a run is long."""
        trial = self._asked(workload, {side: (worker, 1) for side, worker in ready.items()})
        counts = {side: 1 + int(BATCH_SECONDS / seconds) for side, seconds in trial.items()}
        # a batch is run, a quarter of it before
        each = sum(PAUSE_SECONDS + (1.25 * counts[side] + 1) * trial[side] for side in counts)
        return max(min(rounds, LEAST_ROUNDS), min(rounds, int(WORKLOAD_SECONDS / max(each, PAUSE_SECONDS)))), counts

    def _round(self, workload: str, ready: dict[str, Worker], counts: dict[str, int], backwards: bool) -> None:
        """A batch of each side in turn; the order is reversed from round to round."""
        order = [side for side in counts if side not in self.refused[workload]][:: -1 if backwards else 1]
        answers = self._asked(workload, {side: (ready[side], counts[side]) for side in order})
        for side, seconds in answers.items():
            self.seconds[workload].setdefault(side, []).append(float(f"{seconds:.4g}"))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each workload: seconds of every round of every side, in one order on all."""
        setting = {**self.setting._asdict(), "size": list(self.setting.size)}
        return [
            {"workload": workload, **setting, "seconds": self.seconds[workload], "refused": self.refused[workload]}
            for workload in self.workloads
        ]


def _try(call: Any) -> Any:
    """What ``call`` returns, or a ``Refusal`` where the worker's process has ended."""
    try:
        return call()
    except Stopped:
        return Refusal("its process ended; the reason, if it gave one, is above")


def measure(setting: Setting, workloads: Sequence[str], plan: Plan) -> list[dict[str, Any]]:
    """The rows of a setting, over several sets of fresh processes."""
    unit, free = Unit(setting, workloads), free_bytes(setting.device)
    sides = [side for side in plan.sides if not {*workloads}.isdisjoint(SIDES[side].workloads)]
    fitting = [workload for workload in workloads if sum(bytes_of(setting, workload)) <= free]
    for workload in workloads:
        if workload not in fitting:
            unit.refused[workload] = dict.fromkeys(sides, "does not fit")
            need = f"about {sum(bytes_of(setting, workload)) / 2**30:.1f} GB, {free / 2**30:.1f} are free"
            print(f"    {workload} at {setting.size} in {setting.dtype} does not fit: it takes {need}", flush=True)
    for side, workload in plan.without:
        if workload in workloads:
            unit.refused[workload][side] = "left out of --quick"
    groups = [sides]
    if fitting and not fit_together(setting, fitting, len(sides), free):
        print("    not all sides fit at once: one runs after the other", flush=True)
        groups = [[side] for side in sides]
    for _ in range(plan.processes):  # the place of arrays in memory favours one side for as long as a process lives
        for group in groups if fitting else []:
            unit.run(group, plan.rounds)
    return unit.rows()


# --- machine, results, command -------------------------------------------------------------------------------------


def import_milliseconds(rounds: int) -> float:
    """``from mlp_xp import *`` minus ``import numpy``: the median over pairs of fresh interpreters.

    ``import mlp_xp`` alone imports next to nothing: names are looked up at their first use. The first interpreter
    compiles the modules, as an installation does, wherever this environment keeps bytecode or that it keeps none.
    """
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}

        def seconds(statement: str) -> float:
            program = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
            return float(subprocess.check_output([sys.executable, "-c", program], env=environment))

        seconds("from mlp_xp import *")
        return 1e3 * statistics.median(seconds("from mlp_xp import *") - seconds("import numpy") for _ in range(rounds))


def machine() -> dict[str, Any]:
    """The machine, the versions and the commit that the numbers depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    installed = {distribution.name: distribution.version for distribution in metadata.distributions()}
    libraries = (
        "array-api-compat", "array-api-strict", "dask", "jax", "jaxlib", "mlp_xp", "numpy", "scikit-learn", "torch",
    )  # fmt: skip
    return {
        "cpu": models[0].partition(": ")[2] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": _said_by("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: v for name, v in sorted(installed.items()) if name in libraries or "cupy" in name},
        "blas": np.show_config(mode="dicts")["Build Dependencies"]["blas"],
        "threads": _threads(),
        "environment": {k: v for k, v in os.environ.items() if k.startswith(("OMP_", "OPENBLAS_", "MKL_"))},
        "commit": commit(),
    }


def commit() -> str | None:
    """The commit of the code, and whether code was changed since; None outside of a repository."""
    here = ("git", "-C", str(Path(__file__).resolve().parents[1]))
    found = _said_by(*here, "rev-parse", "--short=12", "HEAD")
    changed = found and _said_by(*here, "status", "--porcelain", "--", "mlp_xp", "scripts/*.py")
    return f"{found}, changed since" if changed else found


def _said_by(*command: str) -> str | None:
    """What a command prints; None where it fails or there is none."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return ended.stdout.strip() or None


def _threads() -> dict[str, int]:
    """How many threads NumPy's BLAS takes, where threadpoolctl is installed to ask."""
    try:
        from threadpoolctl import threadpool_info
    except ModuleNotFoundError:
        return {}
    return {f"{each['internal_api']} {each['version']}": each["num_threads"] for each in threadpool_info()}


def save(path: Path, results: dict[str, Any]) -> None:
    """Write the file whole or not at all, a row a line."""
    head = json.dumps({key: value for key, value in results.items() if key != "rows"}, indent=2)
    rows = ",\n".join(f"    {json.dumps(row)}" for row in results["rows"])
    write_whole(path, f'{head[:-2]},\n  "rows": [\n{rows}\n  ]\n}}\n'.encode())


def kept_rows(path: Path | None, head: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a run that was stopped, where machine, commit and plan are the same."""
    if path is None or not path.exists():
        return []
    try:
        found = json.loads(path.read_text("utf-8"))
        if all(found.get(key) == value for key, value in json.loads(json.dumps(head)).items()):
            return list(found["rows"])
    except (ValueError, AttributeError, KeyError):
        pass
    print(f"{path} is of another machine, commit or plan: the run begins anew and replaces it")
    return []


def measure_all(plan: Plan, results: dict[str, Any], path: Path | None) -> None:
    """Every unit that has no rows yet; the file has each as soon as it is done."""
    for setting, workloads in plan.units:
        key = json.loads(json.dumps(setting._asdict()))
        done = [row for row in results["rows"] if all(row[name] == value for name, value in key.items())]
        if {row["workload"] for row in done} >= set(workloads):
            continue
        print(f"{setting.size}, {setting.dtype}, {setting.precision} on {setting.device}", flush=True)
        for row in measure(setting, workloads, plan):
            results["rows"].append(row)
            print(row_line(row), flush=True)
        if path is not None:
            save(path, results)


def plan_of(options: argparse.Namespace) -> Plan:
    """What the options ask for."""
    words = options.only or []
    on = "host" if options.device == "cpu" else "gpu"
    sides = [word for word in words if word in SIDES] or default_sides(on, options.quick)
    sizes = [size_of(word) for word in words if word not in SIDES and word not in WORKLOADS] or options.sizes
    workloads = [name for name in WORKLOADS if name in words] or list(WORKLOADS)
    units: dict[Setting, list[str]] = {}
    for size, dtype, names in asked_of(options, sizes, on):
        # checkers of other libraries ask for float64
        own = [name for name in names if name in workloads and (name == "gradcheck") <= (dtype == "float64")]
        for precision in options.precision if dtype == "float32" and own else ["float32"]:
            known = units.setdefault(Setting(size, dtype, options.device, precision), [])
            known += [name for name in own if name not in known]
    planned = [(setting, own) for setting, own in units.items() if own]
    if not options.quick:
        return Plan(planned, sides, options.rounds or 10, options.processes)
    compiled, costly = ("ours-torch-compiled", "torch-compiled"), ("adam", "epoch", "predict")
    slow = frozenset((side, workload) for side in compiled for workload in costly)
    return Plan(planned, sides, options.rounds or 5, 1, slow)


def asked_of(
    options: argparse.Namespace, sizes: list[tuple[int, ...]] | None, on: str
) -> list[tuple[tuple[int, ...], str, list[str]]]:
    """Size, dtype and workloads of every unit, those that are not wanted included."""
    workloads = list(WORKLOADS)
    if options.quick:
        first, *others = sizes or [SIZES[0], SIZES[3]]
        dtype = (options.dtype or ["float32"])[0]
        steps = [(size, dtype, ["sgd", "adam"]) for size in others]
        return [(first, dtype, workloads), (first, "float64", ["gradcheck"]), *steps]
    usual: list[tuple[int, ...]] = [*SIZES, *(SIZES_OF_GPU if on == "gpu" else [])]
    return [(size, dtype, workloads) for dtype in options.dtype or ["float32", "float64"] for size in sizes or usual]


def default_sides(on: str, quick: bool) -> list[str]:
    """The sides that run on "host" or "gpu" and whose library is installed; the others are said."""
    sides = [name for name, side in SIDES.items() if side.on in (on, "any") and not (quick and name == "ours-dask")]
    missing = {name: SIDES[name].library for name in sides if find_spec(SIDES[name].library) is None}
    for name, library in missing.items():
        print(f"{name} is left out: {library} is not installed")
    return [name for name in sides if name not in missing]


def size_of(text: str) -> tuple[int, ...]:
    """``32,4,16,3`` as a size."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"a size must be four whole numbers n,D,H,C such as 32,4,16,3, got {text!r}")
    return tuple(map(int, parts))


def word_of(text: str) -> str:
    """A word of --only: a side, a workload or a size."""
    if text not in SIDES and text not in WORKLOADS:
        try:
            size_of(text)
        except argparse.ArgumentTypeError:
            known = ", ".join((*SIDES, *WORKLOADS))
            raise argparse.ArgumentTypeError(f"it takes sizes such as 32,4,16,3 and {known}, got {text!r}") from None
    return text


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--sizes", type=size_of, nargs="+", metavar="n,D,H,C", help="by default those of the report")
    made.add_argument("--dtype", choices=("float32", "float64"), nargs="+", help="by default both")
    made.add_argument("--device", default="cpu", help="cpu, or cuda (default %(default)s)")
    made.add_argument(
        "--precision", choices=tuple(PRECISIONS), nargs="+", default=["float32"],
        help="how exact products of float32 are, on a GPU (default float32)",
    )  # fmt: skip
    made.add_argument("--only", type=word_of, nargs="+", metavar="WORD", help="these sides, workloads and sizes alone")
    made.add_argument(
        "--quick", action="store_true", help="minutes: two sizes, few rounds, torch compiled for SGD alone"
    )
    made.add_argument("--rounds", type=int, help="of each set of processes (default 10)")
    made.add_argument("--processes", type=int, default=3, help="sets of processes (default %(default)s)")
    made.add_argument("--save", type=Path, metavar="FILE.json", help="write the results; what FILE has is not repeated")
    made.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the time over the floor against the work")
    return made


def main(arguments: Iterable[str] | None = None) -> int:
    """Time, print, save, draw; 1 where results of two sides did not agree."""
    options = parser().parse_args(None if arguments is None else list(arguments))
    if options.device != "cpu" and machine()["gpu"] is None:
        parser().error(f"--device {options.device} takes an NVIDIA GPU, and nvidia-smi finds none")
    if options.device == "cpu" and options.precision != ["float32"]:
        parser().error("--precision other than float32 takes a GPU: --device cuda")
    if options.quick:
        print("--quick leaves out Dask, and PyTorch's compiler but for SGD; its numbers are too few to support a claim")
    plan = plan_of(options)
    head = {"machine": machine(), "sides": plan.sides, "rounds": plan.rounds, "processes": plan.processes}
    head["quick"] = options.quick
    results: dict[str, Any] = {**head, "rows": kept_rows(options.save, head)}
    results["load_before"] = os.getloadavg()
    measure_all(plan, results, options.save)
    results["import_ms"] = import_milliseconds(plan.rounds) if not options.only else None
    print(tables(results), targets(results), sep="\n\n")
    if options.save:
        save(options.save, results)
    if options.plot:
        plot(results, options.plot)
    reasons = (reason for row in results["rows"] for reason in row["refused"].values())
    return int(any("are not those of" in reason for reason in reasons))


if __name__ == "__main__":
    piped.run(main)
