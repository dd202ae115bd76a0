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
from shell import ENVIRONMENT, IN_A_TERMINAL_OF_ITS_OWN

pytest.importorskip("click", reason="the command needs click, which the extra 'cli' installs")

cli = import_module("mlp_xp.cli")

DATA = "|".join((*import_module("mlp_xp.data").TABLES, ".npz"))
"""How the names of files with data end."""

pytestmark = pytest.mark.only("numpy")


def completed(line: str, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a shell is offered for the last word of ``line``, as its script asks for it."""
    patch.setenv("_MLP_XP_COMPLETE", "fish_complete")
    patch.setenv("COMP_WORDS", line)
    patch.setenv("COMP_CWORD", line.rpartition(" ")[2])
    with pytest.raises(SystemExit) as ended:
        cli.main(["mlp-xp"])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert not printed.err
    return [item.partition(",")[2].partition("\t")[0] for item in printed.out.splitlines() if "," in item]


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
        ("mlp-xp train houses.csv --target ", ["area", "living area", "price"]),
        ("mlp-xp train --sep ; houses.csv --drop area --drop a", ["area"]),
        ("mlp-xp tune houses.csv --category=l", ["living area"]),
        ("mlp-xp inspect houses.csv --target p", ["price"]),
        ("mlp-xp predict m.safetensors houses.csv --keep a", ["area", "all"]),
        ("mlp-xp train none.csv --target ", []),
        ("mlp-xp train broken.csv --target ", []),
        ("mlp-xp train --target ", []),
        ("mlp-xp train wine --target ", []),
        ("mlp-xp inspect ", ["digits", "iris", "wine", "breast_cancer", "diabetes", f".safetensors|{DATA}"]),
    ],
)
def test_a_shell_is_offered_commands_options_and_names(
    line: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "houses.csv").write_text("area;living area;price\n1;2;3,5\n")
    (tmp_path / "broken.csv").write_bytes(b"\0\1\2\3")
    monkeypatch.chdir(tmp_path)
    assert completed(line, monkeypatch, capsys) == offered


def test_the_header_of_a_large_file_is_read_without_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, text = import_module("mlp_xp.cli._options"), import_module("mlp_xp.data.text")
    monkeypatch.setattr(options, "_SMALL", 10)
    monkeypatch.setattr(text, "_blocks", lambda file: pytest.fail("the whole file was read"))
    click = import_module("click")
    for name, offered in (("a.csv", ["area"]), ("a.json", [])):
        (tmp_path / name).write_text("area;rooms\n1;2\n" if name == "a.csv" else '[{"area": 1, "rooms": 2}]')
        command = import_module("mlp_xp.cli.inspect").command
        context = command.make_context("inspect", [str(tmp_path / name)])
        items = options.ColumnName().shell_complete(context, click.Option(["--target"]), "a")
        assert [item.value for item in items] == offered


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
    ("train my\\ table.tsv --target liv\t --drop=pr\t", "<train><my table.tsv><--target><living area><--drop=price>"),
    (
        "predict m.safetensors 'my table.tsv' --keep 'liv\t",
        "<predict><m.safetensors><my table.tsv><--keep><living area>",
    ),
]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_with_its_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    for name in ("houses.csv", "my table.tsv", "m.safetensors", "r.toml", "readme.md", "bin/mlp-xp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(PROGRAM)
    (tmp_path / "my table.tsv").write_text("living area\tprice\n1\t2\n")
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
