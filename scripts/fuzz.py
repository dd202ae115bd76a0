"""What is malformed and what is answered: arguments of every public function, files of every format, command lines.

``python scripts/fuzz.py [--minutes 10] [--seed 0] [--save scripts/results/fuzz.json]`` spoils an argument, a place of a
file, or one option of a command line at a time; ``fuzz_calls``, ``fuzz_files`` and ``fuzz_commands`` say which there
are, ``fuzz_trials`` what an answer is worth. The same seed draws the same trials in the same order, and ``next_seed``
of a result goes on where it ended. Prints the bad answers, each kind once at each place, and ends with status 1 where
there are silent results or crashes, or where more than one refusal in a hundred is unnamed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import fuzz_calls
import fuzz_commands
import fuzz_files
import piped
from fuzz_trials import BAD, Trial, answer
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

CALLS, LINES, FILES = 300, 30, 30  # trials in a turn


def calls(turn: int, table: list[tuple[fuzz_calls.Entry, str]], ask: Callable[[Trial], None]) -> None:
    """The trials of a turn in which an argument is malformed."""
    drawn = st.tuples(st.sampled_from(table), fuzz_calls.MALFORMED)
    _drawn(turn, CALLS, drawn, lambda each: ask(fuzz_calls.trial(each[0][0], each[0][1], each[1])))


def command_lines(turn: int, places: list[fuzz_commands.Place], ask: Callable[[Trial], None]) -> None:
    """The trials of a turn in which an option is malformed."""
    drawn = st.tuples(st.sampled_from(places), fuzz_commands.WORDS, fuzz_commands.IN_TOML)
    _drawn(turn, LINES, drawn, lambda each: ask(fuzz_commands.trial(*each)))


def _drawn(turn: int, count: int, strategy: st.SearchStrategy[Any], do: Callable[[Any], None]) -> None:
    """Do something with so many examples."""
    drawing: dict[str, Any] = {"database": None, "deadline": None, "phases": [Phase.generate]}

    @seed(turn)
    @settings(max_examples=count, suppress_health_check=list(HealthCheck), **drawing)
    @given(strategy)
    def each(example: Any) -> None:
        do(example)

    each()


@contextmanager
def in_a_folder() -> Iterator[Path]:
    """Work in a new folder, which is gone afterwards."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


class Tally:
    """How many answers there were of each kind, and of each bad kind at each place an example."""

    def __init__(self, end: float) -> None:
        """Ask until then, by ``time.monotonic``."""
        self.end, self.answers, self.bad = end, dict[str, Counter[str]](), dict[str, str]()

    def ask(self, of: str, trial: Trial) -> None:
        """Do a trial of this sort, and note the answer."""
        if time.monotonic() > self.end:
            return
        result = answer(trial)
        kind = result.partition(":")[0]
        self.answers.setdefault(of, Counter())[kind] += 1
        if kind in BAD:
            self.bad.setdefault(f"{kind} {trial.place}", f"{trial.text}: {result}")


def survey(minutes: float, start: int, turns: int = sys.maxsize) -> dict[str, Any]:
    """The answers of so many minutes or turns, and the seed to go on with."""
    tally, turn = Tally(time.monotonic() + 60.0 * minutes), start
    with in_a_folder() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fuzz_commands.prepare()
        for name in ("calls", "files"):
            (folder / name).mkdir()
        table = fuzz_calls.spoilable(fuzz_calls.entries(folder / "calls"))
        places, whole = fuzz_commands.places(), fuzz_files.whole_files(folder / "files")
        while time.monotonic() < tally.end and turn < start + turns:
            calls(turn, table, partial(tally.ask, "calls"))
            command_lines(turn, places, partial(tally.ask, "command lines"))
            draw = random.Random(turn)
            for _ in range(FILES):
                kind = draw.choice(fuzz_files.FORMATS)
                tally.ask("files", fuzz_files.trial(folder / "files", kind, draw.randrange(2**31), whole))
            turn += 1
    return {"answers": tally.answers, "bad": tally.bad, "next_seed": turn}


def is_well(result: dict[str, Any]) -> bool:
    """Nothing is silent, nothing crashes, and of a hundred refusals one at most is unnamed."""
    total = sum(result["answers"].values(), Counter[str]())
    return not total["silent"] + total["crash"] and 100 * total["unnamed"] <= total["right"] + total["unnamed"]


def main() -> None:
    """Draw, ask, print and save what was bad."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="a JSON file for the result")
    options = parser.parse_args()
    save = options.save and options.save.resolve()
    result = survey(options.minutes, options.seed)
    for place, example in sorted(result["bad"].items()):
        print(f"{place}: {example}")
    for of, counts in result["answers"].items():
        print(f"{of}: {', '.join(f'{count:,} {kind}' for kind, count in sorted(counts.items()))}")
    if save:
        save.write_text(json.dumps({"seed": options.seed, "minutes": options.minutes, **result}, indent=1) + "\n")
    sys.exit(int(not is_well(result)))


if __name__ == "__main__":
    piped.run(main)
