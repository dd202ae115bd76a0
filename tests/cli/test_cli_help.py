"""The manners of ``mlp-xp``: help with examples, completion, which name was meant, how soon it answers, backends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from shell import COMMAND, ENVIRONMENT, in_terminal, run

import mlp_xp
from mlp_xp import backends
from mlp_xp.backends import BACKENDS, Backend, Timing

for name in ("click", "rich"):
    pytest.importorskip(name)

cli = import_module("mlp_xp.cli")
backends_command = import_module("mlp_xp.cli.backends")
COMMANDS = tuple(cli._MODULES)

pytestmark = pytest.mark.only("numpy")


def plain(shown: str) -> list[str]:
    """The lines without colours and movements of the cursor."""
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in shown.replace("\r", "").splitlines()]


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


@pytest.mark.parametrize("command", ["gradcheck", "cost", "backends", "completion"])
def test_the_examples_of_a_help_are_commands_that_parse(command: str) -> None:
    click = import_module("click")
    shown = import_module(f"mlp_xp.cli.{command}").command
    assert shown.examples
    assert "\nExample" in shown.get_help(click.Context(shown))
    for example in shown.examples:
        named, *arguments = example.split(" >")[0].split()
        assert named == command
        shown.make_context(named, arguments)


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


# --- completion --------------------------------------------------------------------------------------------------


def completed(line: str) -> list[str]:
    """What a shell is offered for the last word of ``line``, as click's script asks for it."""
    words = line.split(" ")
    ended = run(_MLP_XP_COMPLETE="fish_complete", COMP_WORDS=line, COMP_CWORD=words[-1])
    assert ended.returncode == 0, ended.stderr
    return [item.partition(",")[2].partition("\t")[0] for item in ended.stdout.splitlines() if "," in item]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("mlp-xp gr", ["gradcheck"]),
        ("mlp-xp cost --opt", ["--optimizer"]),
        ("mlp-xp cost --optimizer ada", ["adam", "adamw"]),
        ("mlp-xp train --solver ada", ["adam", "adamw"]),
        ("mlp-xp cost --activation s", ["sigmoid", "silu", "softplus"]),
        ("mlp-xp cost --activation relu,t", ["relu,tanh"]),
        ("mlp-xp gradcheck --backend a", ["all", "array_api_strict"]),
        ("mlp-xp backends --dtype float", ["float32", "float64"]),
        ("mlp-xp completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_a_shell_is_offered_commands_options_and_names(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert f"_MLP_XP_COMPLETE={shell}_complete" in printed
    assert "mlp-xp" in printed


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="there is no bash")
def test_bash_completes_with_that_script(tmp_path: Path) -> None:
    program = tmp_path / "mlp-xp"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mlp_xp "$@"\n')
    program.chmod(0o755)
    script = run("completion", "bash").stdout + (
        "COMP_WORDS=(mlp-xp cost --optimizer ada); COMP_CWORD=3; _mlp_xp_completion mlp-xp; echo ${COMPREPLY[@]}\n"
    )
    environment = {**ENVIRONMENT, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(("/bin/bash", "-c", script), env=environment, capture_output=True, text=True, timeout=60)
    assert ended.stdout.split() == ["adam", "adamw"]


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
    ("backends --n 0", "Invalid value for '--n': 0 is not in the range x>=1"),
    ("backends --seconds -1", "Invalid value for '--seconds': -1.0 is not in the range 0.0<=x<=60.0"),
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


# --- backends ----------------------------------------------------------------------------------------------------

CARD = 80 * 10**9


def found(name: str, *arguments: Any, **options: Any) -> tuple[Backend, list[Timing]]:
    """A machine with a graphics card, NumPy, PyTorch, JAX that compiles, and the others missing or broken."""
    devices = {"numpy": ("cpu",), "torch": ("cpu", "cuda:0"), "jax": ("cuda:0",), "array_api_strict": ("CPU_DEVICE",)}
    if name == "cupy":
        return Backend(name, "14.2.0", (), False, "RuntimeError: no device", (), "buy one"), []
    if name == "dask":
        return Backend(name, None, (), False, "not installed", (), "pip install 'mlp_xp[dask]'"), []
    memory = tuple(CARD if "cuda" in device else None for device in devices[name])
    timings = {
        "numpy": [Timing("numpy", "cpu", 2e-3)],
        "torch": [Timing("torch", "cpu", 3e-3), Timing("torch", "cuda:0", 1e-3)],
        "jax": [Timing("jax", "cuda:0", None, None, "RESOURCE_EXHAUSTED: out of memory")],
        "array_api_strict": [Timing("array_api_strict", "CPU_DEVICE", 1e-4)],
    }
    return Backend(name, "1.0", devices[name], True, None, memory), timings[name]


def test_backends_has_a_row_a_device_and_the_reasons_and_says_which_is_fastest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backends_command, "measure", found)
    assert cli.main(["backends", "--n", "64"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["one", "step", "of", "784-256-10", "on", "64", "rows", "in", "float32"] in lines
    assert ["numpy", "1.0", "cpu", "2", "32,000", "-"] in lines
    assert ["torch", "1.0", "cpu", "3", "21,333", "-"] in lines
    assert ["cuda:0,", "80", "GB", "1", "64,000", "-"] in lines
    assert ["jax", "1.0", "cuda:0,", "80", "GB", "-", "-", "-"] in lines
    last = [" ".join(line) for line in lines[-5:]]
    assert last == [
        "cupy: RuntimeError: no device; buy one",
        "jax on cuda:0: RESOURCE_EXHAUSTED: out of memory",
        "dask: not installed; pip install 'mlp_xp[dask]'",
        "fastest: --backend torch --device cuda:0",
        "a step of 784-256-10 on 64 rows in float32 takes 1 ms with torch on cuda:0, 2 ms with numpy on cpu",
    ]


def test_backends_as_json_says_units_and_what_was_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backends_command, "measure", found)
    assert cli.main(["backends", "--json", "--sizes", "4-3"]) == 0
    records = {record["name"]: record for record in map(json.loads, capsys.readouterr().out.splitlines())}
    assert tuple(records) == BACKENDS
    assert records["torch"] == {
        "name": "torch", "version": "1.0", "usable": True, "reason": None, "fix": None,
        "devices": [
            {"name": "cpu", "memory_bytes": None, "step_seconds": 3e-3, "jit_step_seconds": None, "reason": None},
            {"name": "cuda:0", "memory_bytes": CARD, "step_seconds": 1e-3, "jit_step_seconds": None, "reason": None},
        ],
        "step": {"sizes": [4, 3], "n": 128, "dtype": "float32"},
    }  # fmt: skip
    assert records["dask"]["fix"] == "pip install 'mlp_xp[dask]'"
    assert (records["dask"]["devices"], records["dask"]["step"]) == ([], None)


def test_backends_without_probing_lists_what_is_installed() -> None:
    ended = run("backends", "--no-probe")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(BACKENDS)
    assert lines[0].split() == ["numpy", backends.installed("numpy").version]
    records = [json.loads(line) for line in run("backends", "--no-probe", "--json").stdout.splitlines()]
    assert [record["name"] for record in records] == list(BACKENDS)
    assert (records[0]["usable"], records[0]["devices"]) == (None, [])
    for record in records:
        assert record["usable"] is None or (record["reason"] == "not installed" and record["fix"])


@pytest.mark.parametrize("columns", [80, 120])
def test_backends_in_a_terminal(columns: int) -> None:
    lines = plain(in_terminal(columns, "backends", "--sizes", "20-8-3", "--n", "16", "--seconds", "0.05"))
    row = next(line.split() for line in lines if line.strip().startswith("numpy"))
    assert row[:3] == ["numpy", backends.installed("numpy").version, "cpu"]
    assert float(row[3]) > 0
    assert any(line.startswith("fastest: --backend ") for line in lines)
    assert all("…" not in line for line in lines if "trying" not in line)  # nothing is cut off


def test_backends_piped_as_it_is() -> None:
    ended = run("backends", "--seconds", "0")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\x1b" not in ended.stdout
    for name in BACKENDS:
        assert f" {name} " in ended.stdout
    assert "fastest" not in ended.stdout  # nothing was timed
