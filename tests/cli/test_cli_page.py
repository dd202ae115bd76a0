"""The page of the command, mlp_xp/cli/README.md: its examples print what the page says.

Numbers with a decimal point, times and speeds depend on the machine and are not compared; ``...`` stands for any lines.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import runs

import mlp_xp

PAGE = Path(mlp_xp.__file__).with_name("cli").joinpath("README.md").read_text()

pytestmark = pytest.mark.only("numpy")


def plain(line: str) -> str:
    """A line without what depends on the machine."""
    line = re.sub(r"[\d,]+ rows/s|[\d,.]+ M rows/s", "# rows/s", line)
    line = re.sub(r"(RMSE|MAE|±|rows for) [\d.]+", r"\1 #", line)  # some of which have no decimal point
    line = re.sub("─+", "─", line)  # as wide as the numbers below it
    return " ".join(re.sub(r"[-+]?\d[\d,]*(\.\d+(e[-+]?\d+)?|e[-+]?\d+)", "#", line).split())


def matches(shown: list[str], printed: list[str]) -> bool:
    """Whether the printed lines are those of the page, ``...`` being any number of lines."""
    printed = [line for line in printed if line.strip()]
    pattern = "".join(r"(.*\n)*" if line == "..." else f"{re.escape(plain(line))}\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{plain(line)}\n" for line in printed)) is not None


def examples() -> list[tuple[str, list[str]]]:
    """Each command line of the page, and the lines below it."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        for part in block.split("$ mlp-xp ")[1:]:
            command, *lines = part.splitlines()
            found.append((command, lines))
    return found


def test_the_examples_of_the_page_print_what_it_shows(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    for script in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(script, {})
    assert len(examples()) >= 15
    for command, shown in examples():
        status = runs.cli.main(shlex.split(command))
        expected = 2 if shown and shown[0].startswith("error: ") else 0
        printed = "".join(capfd.readouterr())
        assert status == expected, printed
        assert matches(shown, printed.splitlines()), f"mlp-xp {command} printed\n{printed}"


def test_the_page_names_every_command() -> None:
    commands = runs.cli._MODULES
    section = PAGE.partition("## Every command")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)", section, re.MULTILINE) == list(commands)
