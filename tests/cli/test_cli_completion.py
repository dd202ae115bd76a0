"""``mlp-xp completion``: what a shell is offered."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest
from shell import ENVIRONMENT, IN_A_TERMINAL_OF_ITS_OWN, run

pytest.importorskip("click", reason="the command needs click, which the extra 'cli' installs")

cli = import_module("mlp_xp.cli")

DATA = "|".join((*import_module("mlp_xp.data").TABLES, ".npz"))
"""How the names of files with data end."""

pytestmark = pytest.mark.only("numpy")


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
        ("mlp-xp train --activation relu,ge", ["relu,gelu"]),
        ("mlp-xp train --class-weight ", ["balanced"]),
        ("mlp-xp train wi", ["wine", DATA]),
        ("mlp-xp evaluate m.safetensors di", ["digits", "diabetes", DATA]),
        ("mlp-xp tune x --config ", [".toml"]),
        ("mlp-xp inspect ", ["digits", "iris", "wine", "breast_cancer", "diabetes", f".safetensors|{DATA}"]),
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


TEXTS = {
    "target", "drop", "category", "device", "sizes", "quantiles", "quantile", "hidden_layer_sizes", "scoring", "keep",
    "sep", "decimal", "encoding", "na", "separator",
}  # fmt: skip
"""Options that take any text, such as the name of a column."""


@pytest.mark.parametrize("command", cli._MODULES)
def test_every_option_with_names_or_files_is_completed(command: str) -> None:
    click = import_module("click")
    shown = import_module(f"mlp_xp.cli.{command}").command
    context = click.Context(shown)
    for parameter in shown.params:
        if getattr(parameter, "is_flag", False) or isinstance(
            parameter.type, click.types.IntParamType | click.types.FloatParamType
        ):
            continue
        offered = parameter.shell_complete(context, "")
        assert offered or parameter.name in TEXTS, parameter.name


# --- in real shells ----------------------------------------------------------------------------------------------

PROGRAM = f"""#!/bin/sh
if [ -n "$_MLP_XP_COMPLETE" ] || [ "$1" = completion ]; then exec "{sys.executable}" -m mlp_xp "$@"; fi
printf '<%s>' "$@"; echo .
"""
"""The command, which prints its arguments instead of doing what they say."""

SHELLS = {
    "bash": ("bash --norc --noprofile -i", 'eval "$(mlp-xp completion bash)"'),
    "zsh": ("zsh -f -i", 'autoload -Uz compinit; compinit -u -D; eval "$(mlp-xp completion zsh)"'),
    "fish": ("fish --no-config -i", "mlp-xp completion fish | source"),
}

TYPED = [
    ("train ./my\\ \t", "<train><./my table.tsv>"),
    ("predict m\t brea\t", "<predict><m.safetensors><breast_cancer>"),
    ("tune --class\t bal\t --activation=gel\t", "<tune><--class-weight><balanced><--activation=gelu>"),
    ("train --config=r\t", "<train><--config=r.toml>"),
]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_with_its_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    for name in ("houses.csv", "my table.tsv", "m.safetensors", "r.toml", "readme.md", "bin/mlp-xp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(PROGRAM)
    (tmp_path / "bin" / "mlp-xp").chmod(0o755)
    (tmp_path / "home").mkdir()
    paths = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path / "home")}
    command, load = SHELLS[shell]
    with typing(command.split(), tmp_path, {**ENVIRONMENT, **paths, "TERM": "xterm", "PS1": "> "}) as send:
        send(f"{load}; echo loa''ded.", "loaded.")
        for typed, arguments in TYPED:
            assert arguments in send(f"mlp-xp {typed}", ">.")


@contextmanager
def typing(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[Callable[[str, str], str]]:
    """A shell in a terminal: ``send(line, until)`` types a line and returns what is shown until that text comes."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        (sys.executable, "-c", IN_A_TERMINAL_OF_ITS_OWN, *command),
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)

    def send(line: str, until: str) -> str:
        os.write(ours, f"{line}\n".encode())
        shown, end = b"", time.monotonic() + 30
        while until.encode() not in shown.replace(b"\r", b"") and time.monotonic() < end:
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 65536)
        return shown.decode(errors="replace")

    try:
        yield send
    finally:
        process.kill()
        process.wait()
        os.close(ours)
