"""What reaches the screen: text that a terminal can't encode, streams that fail, bars and lines, other libraries."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import runs
import shell
from runs import cli
from shell import COMMAND, ENVIRONMENT

output, streams = import_module("mlp_xp.cli._output"), import_module("mlp_xp.cli._process")

pytestmark = pytest.mark.only("numpy")

TRAIN = ("train", "cities.csv", "--max-iter", "2", "--hidden", "4", "--no-check-gradients", "--picture", "none",
         "--no-refit")  # fmt: skip


@pytest.fixture
def cities(folder: Path) -> Path:
    """A table with a class that ASCII does not have."""
    rows = [f"{number},{'Köln' if number % 2 else 'Bonn'}" for number in range(40)]
    (folder / "cities.csv").write_text("\n".join(["a,city", *rows]), encoding="utf-8")
    return folder


def in_shell(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command line of bash in which ``$MLP_XP`` is the command."""
    command = " ".join(f"'{word}'" for word in COMMAND)
    return subprocess.run(
        ("/bin/bash", "-c", line.replace("$MLP_XP", command)), cwd=folder, env={**ENVIRONMENT, **environment},
        capture_output=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_text_that_the_terminal_cannot_encode_is_replaced(
    cities: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # strict: it raises for what it can't encode
    monkeypatch.setattr(sys, "stdout", shown)
    assert cli.main([*TRAIN, "-q"]) == 0
    assert cli.main(["evaluate", "cities.safetensors", "cities.csv"]) == 0
    assert cli.main(["evaluate", "cities.safetensors", "cities.csv", "--json"]) == 0
    printed = shown.buffer.getvalue()  # type: ignore[attr-defined]
    assert {"ascii": b"K?ln", "cp1252": b"K\xf6ln"}[encoding] in printed
    assert json.loads(printed.splitlines()[-1])["rows"] == 8


class Failing(io.RawIOBase):
    """A stream that takes ``room`` bytes, and then raises."""

    def __init__(self, room: int, error: int) -> None:
        self.room, self.error, self.taken = room, error, b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if len(self.taken) + len(data) > self.room:
            raise OSError(self.error, "No space left on device")
        self.taken += bytes(data)
        return len(data)


@pytest.mark.parametrize("arguments", [(), ("--json",)])
@pytest.mark.parametrize(
    ("error", "room", "status", "said"),
    [
        (28, 0, 2, "error: standard output can't be written: No space left on device\n"),
        (28, 200, 2, "error: standard output can't be written: No space left on device\n"),
        (32, 100, 0, ""),  # nobody reads any more
    ],
)
def test_a_model_is_saved_whatever_becomes_of_what_is_printed(
    error: int, room: int, status: int, said: str, arguments: tuple[str, ...], cities: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    raw = Failing(room, error)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8"))
    assert cli.main([*TRAIN, *arguments]) == status
    assert capsys.readouterr().err == said
    assert (cities / "cities.safetensors").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full, a disk that is full")
@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("$MLP_XP cost 3 2 | true; exit ${PIPESTATUS[0]}", 0, b""),
        ("$MLP_XP train --help | true; exit ${PIPESTATUS[0]}", 0, b""),
        ("$MLP_XP cost 3 2 >&- 2>&-", 0, b""),
        ("$MLP_XP cost 3 2 > /dev/full", 2, b"error: standard output can't be written: No space left on device\n"),
    ],
)
def test_a_process_whose_output_goes_nowhere_ends_as_it_would(
    line: str, status: int, said: bytes, folder: Path
) -> None:
    ended = in_shell(folder, line)
    assert (ended.returncode, ended.stderr) == (status, said)


@pytest.mark.parametrize(("error", "lost"), [(28, "No space left on device"), (32, None)])
def test_after_a_failure_nothing_more_is_written(error: int, lost: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Failing(14, error)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8"))
    with streams.on_screen() as why:
        screen = output.Screen()
        screen.say("first line")
        assert why() is None
        screen.say("a line too long")
        screen.say("a")
        screen.show(output.Table("title", ("a",), [("1",)]))
        assert why() == lost
    assert raw.taken == b"first line\n"


def drawn(columns: int, table: Any) -> list[str]:
    """The lines of a table in a terminal of that width."""
    from rich.console import Console

    console = Console(width=columns, file=io.StringIO())
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]  # type: ignore[attr-defined]


def test_a_table_wider_than_the_terminal_is_printed_in_parts() -> None:
    rows = [(f"class {row}", *(f"{row * column}" for column in range(30)), f"{row}.5%") for row in range(3)]
    table = output.Table("a title", ("label", *(f"c{column}" for column in range(30)), "right"), rows, range(1, 32))
    lines = drawn(50, table)
    assert lines[0] == "a title"
    assert max(map(len, lines)) <= 50
    assert " ".join(lines).count("class 1") > 1  # each part names its rows
    cells = [cell for line in lines if "class 2" in line for cell in line.split()[2:]]
    assert cells == [*(f"{2 * column}" for column in range(30)), "2.5%"]  # in order, and none is cut
    assert sum("class 2" in line for line in drawn(400, table)) == 1


def test_a_long_text_in_a_narrow_terminal_is_broken_into_lines() -> None:
    lines = drawn(30, output.Table("facts", ("", ""), [("again", "mlp-xp train digits --max-iter 2000")]))
    assert "…" not in "".join(lines)
    assert max(map(len, lines)) <= 30


def test_what_is_said_stands_on_lines_of_its_own_beside_a_bar(folder: Path) -> None:
    data = runs.write_classes(folder)
    text = shell.in_terminal(70, "train", data, *TRAIN[2:6], "--picture", "none", folder=folder)
    left = [line.rpartition("\r\x1b[2K")[2] for line in text.split("\r\n")]  # a line that is drawn anew is erased
    lines = [line.strip() for line in shell.plain("\n".join(left)) if line.strip()]
    assert re.fullmatch(r"epoch 2/2 .*loss .*rows/s.*", next(line for line in lines if "2/2" in line))
    for begins in ("gradients on", "note: the 5 networks", "test set", "test accuracy", "wrote ", "again: "):
        assert sum(begins in line for line in lines) == sum(line.startswith(begins) for line in lines) == 1, begins


def test_ctrl_c_in_the_middle_of_a_bar_leaves_a_whole_line_a_cursor_and_a_model(folder: Path) -> None:
    endless = ("--max-iter", "1000000", "--patience", "1000000", "--no-check-gradients", "--picture", "none")
    arguments = ("train", runs.write_classes(folder), *endless)
    text = shell.in_terminal(70, *arguments, folder=folder, ctrl_c_at="/1000000 loss")  # status 130
    before, typed, after = text.partition("^C")
    assert typed
    assert before.rpartition("\r")[2].startswith("\x1b[2Kepoch ")  # the bar, whose line it did not end
    assert before.rfind("\x1b[?25l") > before.rfind("\x1b[?25h")  # the cursor is hidden
    first, ends, rest = after.partition("\n")
    assert first.startswith("\r\x1b[2Kepoch ")
    assert ends
    assert rest.startswith("\x1b[?25h")
    assert "\x1b[?25l" not in rest
    said = [line for line in shell.plain(rest) if "interrupted" in line]
    assert len(said) == 1
    assert re.fullmatch(r"interrupted after epoch \d+: the best model so far, of .* is in small.safetensors", said[0])
    assert len(runs.estimators.load(folder / "small.safetensors").coefs_) == 2


def test_numbers_that_json_has_not_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    output.Screen(as_json=True).record({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (None, -float("inf"))}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "c": {"d": [None, None]}}


def test_a_warning_of_another_library_reaches_no_user(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        shown = warnings.showwarning
        with streams.on_screen():
            warnings.warn("Falling back to the 'python' engine", UserWarning, stacklevel=1)
        assert warnings.showwarning is shown
    assert capsys.readouterr() == ("", "")


def test_numbers_at_the_end_of_their_range_give_a_sentence_and_no_warning(folder: Path) -> None:
    rows = [f"{'-' * (i % 2)}1e308,{i},{i % 3 + 0.5}" for i in range(40)]
    (folder / "huge.csv").write_text("\n".join(["a,b,y", *rows]))
    ended = runs.run(folder, "train", "huge.csv", *TRAIN[2:])  # Python shows warnings here, as it does to a user
    assert ended.returncode in (0, 2)
    assert ended.stderr.count("\n") == (ended.returncode == 2)
    assert "Warning" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("rows", [[f"{i},{i % 7},2.5" for i in range(40)], ["1,2,3.5"]])
def test_a_target_without_two_values_is_refused(
    rows: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "odd.csv").write_text("\n".join(["a,b,y", *rows]))
    assert "must have at least 2 different values" in runs.refused(capsys, "train", "odd.csv", *TRAIN[2:])
