"""Kill ranks of torchrun at any moment: does the run end as one that nobody disturbed, to the last bit?

    python scripts/kill_ranks.py [--runs 20] [--epochs 3] [--limit 300] [--shared-store] [--save FILE.json]

``killed_ranks`` trains with two ranks and saves each epoch; ``torchrun --max-restarts`` starts both again when one has
died. On the way to each epoch two ranks, drawn at random, are killed with ``kill -9``. Compared are parameters, best
parameters, the optimizer's state and the records without their seconds, of both ranks. Linux alone. Method:
scripts/results/README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmark import machine
from killed_ranks import config_of, first_params
from start_ranks import children_of, environment, kill, launcher, process_of, started

from mlp_xp import checkpoint
from mlp_xp._lib.files import write_whole
from mlp_xp._lib.namespace import to_host

RANKS, KILLS_AN_EPOCH, MOST_RESTARTS = 2, 2, 50
KINDS = ("starting", "steps", "writing")
LOOK_SECONDS = 5e-4  # between two looks at the files


class Moment(NamedTuple):
    """When a rank is killed.

    kind: "starting", before the ranks begin to train; "steps", while they learn an epoch; "writing", as soon as a
        checkpoint is being written.
    share: of the usual time of that kind which has passed, 0 to 1; but no kill comes later than the end of that kind.
    rank: which is killed.
    """

    kind: str
    share: float
    rank: int


class Times(NamedTuple):
    """Seconds of a run that nobody disturbs: from the ranks' start to their first step, and of an epoch."""

    start: float
    epoch: float


class Setting(NamedTuple):
    """Of all runs: epochs, the most seconds of a run, and whether processes share the store of torchrun."""

    epochs: int
    limit: float
    shared: bool


class Late(Exception):
    """A run has had all its seconds."""


class Run:
    """A run of ``killed_ranks`` in a folder, watched through its files."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], limit: float) -> None:
        self.folder, self.process, self.limit, self.began = folder, process, limit, time.perf_counter()
        self.saved: list[float] = []  # when each epoch was
        self.kills: list[dict[str, Any]] = []
        self._last = 0

    def wait_for(self, what: Callable[[], object]) -> bool:
        """Return when it is so; False where the run has ended before. Meanwhile the saved epochs are counted.

        Raises:
            Late: it takes too long.
        """
        while True:
            ended, now = self.process.poll() is not None, time.perf_counter()
            if (written := _written(self.folder / "run.safetensors")) != self._last:
                self.saved.append(now)
                self._last = written
            if ended or what():
                return not ended
            if now - self.began > self.limit:
                raise Late
            time.sleep(LOOK_SECONDS)

    def wait_for_epoch(self, number: int) -> None:
        """Return when so many epochs are saved, or when the run has ended."""
        self.wait_for(lambda: len(self.saved) >= number)

    def wait(self, seconds: float, what: Callable[[], object]) -> None:
        """Let the run go on for so long, or until it is so."""
        until = time.perf_counter() + seconds
        self.wait_for(lambda: what() or time.perf_counter() > until)

    def begun(self) -> bool:
        """Whether the ranks that are alive have begun to train."""
        return (self.folder / "begun").exists()

    def parts(self) -> list[Path]:
        """Checkpoints that are being written, or were when a rank was killed."""
        return list(self.folder.glob(".run.safetensors.*.part"))

    def kill(self, moment: Moment, times: Times) -> None:
        """Kill a rank when its moment has come, and wait until torchrun has started the ranks again."""
        if moment.kind != "starting":
            self.wait_for(self.begun)
        before, saved = children_of(self.process.pid), len(self.saved)
        victim = process_of(self.process.pid, moment.rank)  # looked up first: a checkpoint is written in no time
        if moment.kind == "starting":
            self.wait(moment.share * times.start, self.begun)
        elif moment.kind == "steps":
            self.wait(moment.share * times.epoch, lambda: len(self.saved) > saved)
        else:
            self.wait_for(lambda: self.parts() or len(self.saved) > saved)
        if victim is None or not kill(victim):
            return  # the run has ended
        what = {"kind": moment.kind, "rank": moment.rank, "saved": len(self.saved), "begun": self.begun()}
        self.wait_for(lambda: len(now := children_of(self.process.pid)) == RANKS and {*before}.isdisjoint(now))
        self.kills.append({**what, "left a part": bool(self.parts())})
        for left in [*self.parts(), self.folder / "begun"]:
            left.unlink(missing_ok=True)


def _written(path: Path) -> int:
    """When a file was written last; 0 for one that is not there."""
    return path.stat().st_mtime_ns if path.exists() else 0


def moments_of(seed: int, epochs: int) -> list[list[Moment]]:
    """Two moments on the way to each epoch."""
    random = np.random.default_rng(seed)
    return [
        [Moment(str(random.choice(KINDS)), random.random(), int(random.integers(RANKS))) for _ in range(KILLS_AN_EPOCH)]
        for _ in range(epochs)
    ]


def train(folder: Path, setting: Setting, plan: list[list[Moment]], times: Times) -> tuple[Run, str]:
    """A run with these kills, and why it has failed: the last words of its processes, or nothing."""
    program = [str(Path(__file__).with_name("killed_ranks.py")), str(folder), str(setting.epochs)]
    env = environment(TORCH_DISABLE_SHARE_RDZV_TCP_STORE="0" if setting.shared else "1")
    log, failed = folder / "log.txt", ""
    with log.open("wb") as said, started([*launcher("torch", RANKS, MOST_RESTARTS), *program], env, said) as process:
        run = Run(folder, process, setting.limit)
        try:
            run.wait_for(lambda: len(children_of(process.pid)) == RANKS)
            run.began = time.perf_counter()
            for number, moments in enumerate(plan):
                run.wait_for_epoch(number)
                for moment in moments:
                    run.kill(moment, times)
            run.wait_for(lambda: False)
        except Late:
            failed = f"not ended after {setting.limit:.0f} s"
    if process.returncode and not failed:
        failed = log.read_text("utf-8", "replace").strip()[-300:]
    return run, failed


def outcome(folder: Path, epochs: int, rank: int) -> tuple[Any, ...]:
    """What a rank has at the end, without the seconds; equal outcomes are equal to the last bit."""
    epoch = checkpoint.load(folder / f"end-{rank}.safetensors", first_params(), config_of(epochs))
    arrays = [(a.shape, to_host(a).tobytes()) for each in (epoch.params, epoch.best, epoch.state) for a in each]
    return arrays, repr([record._replace(seconds=0.0) for record in epoch.history]), epoch.rows, epoch.optimizer


def undisturbed(folder: Path, epochs: int) -> tuple[list[Any], Times]:
    """What both ranks have at the end of a run that nobody disturbs, and its times."""
    run, failed = train(folder, Setting(epochs, 300.0, False), [], Times(0.0, 0.0))
    if failed:
        sys.exit(f"error: the run that nobody disturbs has failed: {failed}")
    begun = (folder / "begun").stat().st_mtime - time.time() + time.perf_counter()
    ends = [begun, *run.saved]
    times = Times(begun - run.began, statistics.median(b - a for a, b in pairwise(ends)))
    return [outcome(folder, epochs, rank) for rank in range(RANKS)], times


def row_of(seed: int, setting: Setting, expected: list[Any], times: Times) -> dict[str, Any]:
    """One run with its kills, judged."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, failed = train(folder, setting, moments_of(seed, setting.epochs), times)
        seconds = round(time.perf_counter() - run.began, 1)
        equal = not failed and [outcome(folder, setting.epochs, rank) for rank in range(RANKS)] == expected
    said = "equal to the bit" if equal else failed or "another result"
    print(f"run {seed}: {len(run.kills)} kills, {seconds} s: {said}", flush=True)
    return {"seed": seed, "equal": equal, "failed": failed, "seconds": seconds, "kills": run.kills}


def main() -> int:
    """Run, print, save. Status 1 where a run has another result or none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="that are disturbed (default 20)")
    parser.add_argument("--epochs", type=int, default=3, help="of each (default 3)")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds of a run (default 300)")
    parser.add_argument(
        "--shared-store", action="store_true", help="leave torchrun the store that ranks share by default"
    )
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="write the results and what machine it was")
    options = parser.parse_args()
    setting = Setting(options.epochs, options.limit, options.shared_store)
    with tempfile.TemporaryDirectory() as name:
        expected, times = undisturbed(Path(name), options.epochs)
    print(f"undisturbed: {times.start:.1f} s to the first step, {times.epoch:.2f} s an epoch", flush=True)
    rows = []
    for seed in range(options.runs):
        rows.append(row_of(seed, setting, expected, times))
        if options.save:
            head = {"machine": machine(), "setting": setting._asdict()}
            text = json.dumps({**head, "undisturbed": times._asdict(), "runs": rows}, indent=1)
            write_whole(options.save, f"{text}\n".encode())
    kills = [kill for row in rows for kill in row["kills"]]
    print(f"{sum(row['equal'] for row in rows)} of {len(rows)} runs are equal to the bit, after {len(kills)} kills:")
    print(f"{sum(not kill['begun'] for kill in kills)} before the first step,", end=" ")
    print(f"{sum(kill['left a part'] for kill in kills)} left an unfinished checkpoint")
    return int(not all(row["equal"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
