"""Command lines for ``fuzz``: one that is right, with a value of one option, or of a file of settings, malformed.

The commands and their options are read from the command itself. What a value must be is what its help says: a number in
a range, or one of some names; of other texts nothing is said. A command line is answered well with status 0, or with
status 2 and one line on stderr that names the option.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import click
import numpy as np
from fuzz_trials import Trial
from hypothesis import strategies as st

from mlp_xp.cli import commands, main

TABLE, MODEL = "houses.csv", "houses.safetensors"
_QUICK = ("--preset", "medium", "--max-iter", "2", "--hidden", "3", "--no-check-gradients")

# command -> the rest of a right command line
LINES = {
    "train": (TABLE, *_QUICK, "--picture", "none", "-o", "new.safetensors", "--force"),
    "tune": (TABLE, *_QUICK[:-1], "--tries", "1", "--cv", "2", "-o", "new.toml", "--force"),
    "predict": (MODEL, TABLE),
    "evaluate": (MODEL, TABLE),
    "inspect": (MODEL,),
    "export": (MODEL, "new.onnx", "--force"),
    "gradcheck": ("problem.py:problem",),
    "cost": ("4", "3"),
    "backends": ("--seconds", "0", "--no-probe"),
    "completion": ("bash",),
}
WORDS = st.sampled_from(
    ["", " ", "nan", "inf", "-1", "0", "1", "2", "0.5", "1e308", "1e999", "1_0", "0x10", "two", "٣", "1,,2", ",",
     "--", "-", "/", ".", "None", "true", "[1]", "a=1", "=", "none.csv", TABLE, MODEL, "\x00", "\ud800", "é" * 300,
     "auto", "price"]
) | st.text(max_size=6)  # fmt: skip
IN_TOML = st.sampled_from(
    ["true", "false", "nan", "inf", "-inf", "-1", "0", "1", "2.5", "1e400", '""', '"two"', '"1"', "[]", "[1, 2]",
     "[true]", '["a"]', "{}", "{ a = 1 }", "1979-05-27", "07:32:00", '"\\u0000"', "9223372036854775808", "[[1]]"]
)  # fmt: skip
_PROBLEM = """
import numpy as np
problem = (lambda x: np.sum(x**2), lambda x: (2 * x,), (np.asarray([0.5, -1.0]),))
"""


class Place(NamedTuple):
    """An option, or an argument, of a command."""

    command: str
    parameter: click.Parameter


def prepare() -> None:
    """Write the files that the lines name, here."""
    random = np.random.default_rng(0)
    n = 60
    area, district = random.uniform(30, 200, n).round(1), random.choice(["north", "south"], n)
    rows = zip(area, district, (3 * area).round(1), strict=True)
    Path(TABLE).write_text("area,district,price\n" + "".join(f"{a},{d},{p}\n" for a, d, p in rows))
    Path("problem.py").write_text(_PROBLEM)
    status = asked("train", TABLE, *_QUICK, "--picture", "none", "-o", MODEL, "--checkpoint", "state.safetensors")
    assert status == 0


def places() -> list[Place]:
    """Every option and argument of every command but those that ask for help."""
    context = click.Context(commands)
    found = ((word, commands.get_command(context, word)) for word in commands.list_commands(context))
    return [Place(word, each) for word, command in found if command for each in command.params]


def asked(*words: str) -> int:
    """The command's status; ``ValueError`` with its one line for status 2, ``RuntimeError`` for what must not be."""
    err = io.StringIO()
    with (
        open(os.devnull, "w") as out, redirect_stdout(out), redirect_stderr(err),
        mock.patch.object(sys, "stdin", io.StringIO("")),
    ):  # fmt: skip
        status = main(words)
    said = err.getvalue().strip()
    if "Traceback" in said or "Warning" in said or status not in (0, 2):
        raise RuntimeError(f"status {status}: {said[-200:]}")
    if status == 2:
        last = said.splitlines()[-1] if said else ""
        raise ValueError(last) if last.startswith("error: ") else RuntimeError(f"status 2: {said[-200:]}")
    return status


def refused(parameter: click.Parameter, text: str) -> bool:
    """Whether the help of this option does not allow this text; of a text that no rule is about False."""
    kind: Any = parameter.type
    if names := getattr(kind, "names", None):
        return type(kind).__name__ == "OneOf" and text not in names
    if not hasattr(kind, "min_open"):  # no number
        return False
    if getattr(kind, "infinite", False) and text == "inf":
        return False
    try:
        number = int(text) if "Int" in type(kind).__mro__[1].__name__ + type(kind).__name__ else float(text)
    except ValueError:
        return True
    low = kind.min is None or (number > kind.min if kind.min_open else number >= kind.min)
    high = kind.max is None or (number < kind.max if kind.max_open else number <= kind.max)
    return not (low and high and abs(number) != float("inf"))


def trial(place: Place, word: str, in_toml: str) -> Trial:
    """The right line of a command with this word in a place; or with a file of settings that has this value for it."""
    command, parameter = place
    line, name = LINES[command], str(parameter.name)
    spellings = [re.escape(each.lstrip("-")) for each in (*parameter.opts, *parameter.secondary_opts)]
    words = "|".join((*spellings, name, " ".join(name.split("_")[:2])))
    if name in _OF_TEXT:  # with another of these the file is another table
        words += f"|{re.escape(TABLE)}"
    if isinstance(parameter, click.Argument):
        at = sorted(p.name for p in places_of(command)).index(name) if parameter.nargs == 1 else 0
        line = (*line[:at], word, *line[at + 1 :])
        shown = re.escape(word.split()[0][:10]) if word.split() else "got"
        return _asking(
            command, line, f"{words}|{shown}|file|data|No such|read|model|size|option|null|PROBLEM|bash", False
        )
    flag = max(parameter.opts, key=len)
    if name == "config" or (command in ("train", "tune") and len(in_toml) % 2 and name not in _ELSEWHERE):
        text = f"{name} = {in_toml}\n"
        number = hasattr(parameter.type, "min_open") and in_toml in ("true", "false", "nan")
        return Trial(f"mlp-xp {command} --config", text, partial(_with_settings, command, line, text), words, number)
    if getattr(parameter, "is_flag", False):
        return _asking(command, (*line, f"{flag}={word}"), words, False)
    return _asking(command, (*line, f"{flag}={word}"), words, refused(parameter, word), name)


_OF_TEXT = ("sep", "decimal", "encoding", "na", "header")
_ELSEWHERE = ("config", "save_config", "quiet", "as_json", "show", "force", "resume", "dry_run")


def places_of(command: str) -> list[click.Parameter]:
    """The arguments of a command, in their order."""
    return [
        each.parameter for each in places() if each.command == command and isinstance(each.parameter, click.Argument)
    ]


def _asking(command: str, line: tuple[str, ...], words: str, is_refused: bool, name: str = "") -> Trial:
    return Trial(
        f"mlp-xp {command} {name}".strip(), repr([command, *line]), partial(asked, command, *line), words, is_refused
    )


def _with_settings(command: str, line: tuple[str, ...], text: str) -> int:
    Path("settings.toml").write_text(text)
    return asked(command, *line, "--config", "settings.toml")


def lines() -> Iterator[tuple[str, ...]]:
    """The right lines."""
    return ((command, *rest) for command, rest in LINES.items())
