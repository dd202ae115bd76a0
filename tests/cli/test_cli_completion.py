"""``mlp-xp completion``: what a shell is offered."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from shell import ENVIRONMENT, run

pytest.importorskip("click", reason="the command needs click, which the extra 'cli' installs")

cli = import_module("mlp_xp.cli")

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
