"""The checker's page: its Python runs from top to bottom as it stands there, and prints the report shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mlp_xp

PAGE = Path(mlp_xp.__file__).parent / "gradcheck" / "README.md"


def without_numbers(text: str) -> list[list[str]]:
    """The words of each line: the last digits of numbers depend on the machine."""
    return [re.sub(r"\S*\d\S*", "#", line).split() for line in text.strip().splitlines()]


@pytest.mark.only("numpy")
def test_the_pages_python_runs_from_top_to_bottom_and_prints_the_report_shown(capsys):
    page = PAGE.read_text()
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(block, names)
    (shown,) = re.findall(r"```\n(gradient check.*?)```", page, re.S)
    printed = without_numbers(capsys.readouterr().out)
    report, rest = printed[:5], printed[5:]
    assert report == without_numbers(shown)
    assert rest[0][:2] == ["fail", "b"]
    assert rest[1] == report[0]
    assert rest[2:] == [["True"], ["b", "taken", "for", "a", "constant"]]


def test_the_files_that_the_page_refers_to_exist():
    links = re.findall(r"\]\((?!http)([^)]+)\)", PAGE.read_text())
    if not (PAGE.parents[2] / "scripts").is_dir():
        pytest.skip("the package is installed: its pages are read where the scripts are")
    assert links
    assert all((PAGE.parent / link).is_file() for link in links)
