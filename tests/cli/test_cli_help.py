"""``mlp-xp --help`` and what every command shares: examples, how soon it answers, which name was meant."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
from shell import COMMAND, ENVIRONMENT, in_terminal, plain, run

import mlp_xp

for name in ("click", "rich"):
    pytest.importorskip(name, reason=f"the command needs {name}, which the extra 'cli' installs")

cli = import_module("mlp_xp.cli")
COMMANDS = tuple(cli._MODULES)

pytestmark = pytest.mark.only("numpy")

# --- help --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("train", "-h"), ("--version",)])
def test_help_and_version(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    printed = capsys.readouterr()
    assert "Usage: mlp-xp" in printed.out or mlp_xp.__version__ in printed.out
    assert printed.err == ""


def test_the_help_names_every_command_and_ends_in_an_example() -> None:
    ended = run("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^  {command} +[A-Z].*\.$", ended.stdout, re.MULTILINE), command
    assert re.search(r"\nExample:\n  mlp-xp .*\n$", ended.stdout)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", [80, 120])
def test_the_help_of_a_command_fits_the_terminal(command: str, columns: int) -> None:
    lines = plain(in_terminal(columns, command, "--help"))
    assert lines[0].startswith(f"Usage: mlp-xp {command}")
    # what lies as it is written, the forms of a problem and the examples, would be broken by the terminal
    assert [line for line in plain(run(command, "--help", COLUMNS=str(columns)).stdout) if len(line) > columns] == []


@pytest.mark.parametrize("command", ["gradcheck", "cost", "backends", "completion", "tune"])
def test_the_examples_of_a_help_are_commands_that_parse(command: str) -> None:
    click = import_module("click")
    shown = import_module(f"mlp_xp.cli.{command}").command
    assert shown.examples
    assert "\nExample" in shown.get_help(click.Context(shown))
    for example in shown.examples:
        named, *arguments = example.split(" >")[0].split()
        assert named == command
        shown.make_context(named, arguments)


@pytest.mark.parametrize("name", ["--help", "train --help", "tune --help"])
def test_without_docstrings_the_help_is_the_same(name: str) -> None:
    """``python -OO`` leaves them out."""
    usual, without = (
        subprocess.run(
            (sys.executable, *flags, "-m", "mlp_xp", *name.split()), env=ENVIRONMENT, capture_output=True, text=True,
            timeout=60,
        )
        for flags in ((), ("-OO",))
    )  # fmt: skip
    assert (without.returncode, without.stderr, without.stdout) == (0, "", usual.stdout)
    assert len(usual.stdout.splitlines()) > 10


def test_options_are_under_headings_with_their_defaults_and_arguments_are_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["backends", "--help"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"What is timed:\n  --sizes D-H-C .*\[default:\s+784-256-10\].*\nOptions:\n", printed, re.DOTALL)
    assert cli.main(["gradcheck", "--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("Without PROBLEM:") < printed.index("Options:")
    assert "\n  [FILE.py:NAME]" not in printed


@pytest.mark.parametrize("command", ["train", "tune"])
def test_the_help_says_what_data_may_be(command: str) -> None:
    data, files = import_module("mlp_xp.data"), import_module("mlp_xp.data.files")
    click, shown = import_module("click"), import_module(f"mlp_xp.cli.{command}").command
    text = " ".join(shown.get_help(click.Context(shown)).partition("Network and learning")[0].split())
    kinds = text[text.index("DATA is ") :].partition(". ")[0]
    assert all(name in kinds for name in (*data.BUILT_IN, "openml:NAME", "IDX", "URL", "standard input"))
    named = re.findall(r"\.\w+", kinds)
    assert {files.SUFFIXES[suffix] for suffix in named} == {*files.SUFFIXES.values()}


# --- start-up ----------------------------------------------------------------------------------------------------

LIMIT = 0.3  # seconds


@pytest.mark.parametrize("line", ["--help", "--version", "train --help", "backends --no-probe", "completion bash"])
def test_it_answers_soon(line: str) -> None:
    def seconds(*command: str) -> float:
        before = os.times()
        assert subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=False).returncode == 0
        after = os.times()
        # starting is nothing but computing: its processor time is what a clock shows where nobody else computes
        return after.children_user + after.children_system - before.children_user - before.children_system

    bare = min(seconds(sys.executable, "-c", "pass") for _ in range(5))
    took = min(seconds(*COMMAND, *line.split()) for _ in range(8))
    assert took < max(LIMIT, 15.0 * bare)  # neighbours in the processor slow both down; an idle one starts in 0.015


QUICK = ["--help", "backends --no-probe", "completion zsh", *(f"{command} --help" for command in COMMANDS)]


@pytest.mark.parametrize("line", QUICK)
def test_nothing_heavy_is_imported_for_it(line: str) -> None:
    program = (
        f"import sys; from mlp_xp.cli import main; assert main({line.split()!r}) == 0; "
        "print([name for name in ('numpy', 'rich', 'torch', 'jax', 'dask', 'matplotlib', 'sklearn') "
        "if name in sys.modules])"
    )
    ended = subprocess.run((sys.executable, "-c", program), env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_every_public_name_is_there_whatever_was_imported_first() -> None:
    for first in ("mlp_xp", "mlp_xp.gradcheck", "mlp_xp.mistakes", "mlp_xp.train"):
        program = (
            f"import {first}, mlp_xp; from types import FunctionType as F; g = mlp_xp.gradcheck; "
            "import mlp_xp.gradcheck.check; assert g is mlp_xp.gradcheck and isinstance(g, F), g; "
            "names = {name: getattr(mlp_xp, name) for name in mlp_xp.__all__}; from mlp_xp import *; "
            "assert all(globals()[name] is value for name, value in names.items()); "
            "assert set(mlp_xp.__all__) <= set(dir(mlp_xp)); assert mlp_xp.optim.adam and mlp_xp.__version__; "
            "assert names['sigmoid'].__module__ == 'mlp_xp.losses'"
        )
        ended = subprocess.run((sys.executable, "-c", program), env=ENVIRONMENT, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, "")
    with pytest.raises(AttributeError, match="module 'mlp_xp' has no attribute 'sigmod'"):
        _ = mlp_xp.sigmod


# --- bad input ---------------------------------------------------------------------------------------------------

BAD = [
    ("trian", "No such command 'trian'; did you mean 'train'?"),
    ("zzz", f"No such command 'zzz'; the commands are {', '.join(COMMANDS)}"),
    ("--verison", "No such option '--verison'; did you mean '--version'?"),
    ("backends --sizs 3", "No such option '--sizs'; did you mean '--sizes'?"),
    ("backends --zzz", "No such option '--zzz'"),
    ("backends torch", "Got unexpected extra argument (torch)"),
    ("backends --sizes 3", "sizes must be two or more positive whole numbers joined by -, such as 784-256-10, got '3'"),
    ("backends --sizes 3-0-2", "sizes must be two or more positive whole numbers joined by -, such as 784-256-10, "
     "got '3-0-2'"),
    ("backends --n 0", "--n must be a whole number of at least 1, got 0"),
    ("backends --seconds -1", "--seconds must be a number of at least 0 and at most 60, got -1.0"),
    ("backends --dtype float23", "dtype must be 'float32' or 'float64', got 'float23'; did you mean 'float32'?"),
    ("completion tcsh", "Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of 'bash', 'zsh', 'fish'"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "sentence"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_and_exit_status_2(line: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split()) == 2
    assert capsys.readouterr() == ("", f"error: {sentence}\n")


def test_a_misspelt_command_in_a_process_of_its_own() -> None:
    ended = run("trian")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: No such command 'trian'; did you mean 'train'?\n"


def test_the_options_of_train_stand_under_a_heading_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--help"]) == 0
    printed = capsys.readouterr().out
    headings = {"Data": "--target", "Reading text (by default found by looking)": "--sep", "Training and test": "--cv",
                "Network and learning": "--solver", "Computing": "--backend", "Files": "--checkpoint",
                "Options": "--json"}  # fmt: skip
    assert re.findall(r"^(\w[^\n]*):$", printed, re.MULTILINE) == [*headings, "Examples"]
    for heading, option in headings.items():
        assert option in printed.partition(f"\n{heading}:\n")[2].partition("\n\n")[0]
