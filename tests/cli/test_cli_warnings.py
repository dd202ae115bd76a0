"""No warning of a library reaches the user: tables that make libraries warn, through every command that reads one."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from runs import QUICK, cli, estimators, write_classes

pytestmark = pytest.mark.only("numpy")

N = 40
COUNT, LINE = range(N), [i + 0.5 for i in range(N)]

COLUMNS: dict[str, Sequence[object]] = {
    "count": COUNT,
    "huge": ("1e308", "-1e308"),
    "large": ("1e200", "-1e200"),
    "tiny": ("5e-324", "-5e-324"),
    "constant": ("7.5",),
    "zero": ("0",),
    "nothing": ("",),
    "one_value": ("1", *[""] * (N - 1)),
    "whole": [10**30 + i for i in COUNT],
    "whole64": [2**63 + i for i in COUNT],
    "date": [f"{i % 28 + 1:02}/02/{1 + 250 * i:04}" for i in COUNT],
    "time": [f"2024-01-01 00:00:{i:02}+01:00" for i in COUNT],
    "text": ("東京", "Köln\u2028", "\x07"),
}


def table(target: Sequence[object], *names: str) -> str:
    """A table of N rows: these columns, and the target; a column is repeated until it is long enough."""
    columns = [islice(cycle(each), N) for each in (*(COLUMNS[name] for name in names), target)]
    return "\n".join([",".join((*names, "y")), *(",".join(map(str, row)) for row in zip(*columns, strict=True))])


SIGNS, DOUBLE = ("1e308", "-1e308"), ("--dtype", "float64")
DIVERGES = ("--solver", "sgd", "--lr", "1e30", "--activation", "relu")
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "columns of every kind": (table(LINE, *COLUMNS), DOUBLE),
    "columns of every kind, and classes": (table(["東京", "x"], *COLUMNS), DOUBLE),
    "what float32 does not reach": (table(LINE, "huge", "count"), ()),
    "a target of 1e308": (table(SIGNS, "count", "tiny"), (*DOUBLE, "--task", "regression")),
    "classes of 1e308": (table(SIGNS, "count"), DOUBLE),
    "a target of large whole numbers": (table([10**25 + i for i in COUNT], "count"), ()),
    "a row of each class": (table([f"c{i}" for i in COUNT], "count"), ()),
    "a class of one row": (table(["x", *["y", "z"] * N], "count"), ()),
    "many classes": (table([f"c{i % 19}" for i in COUNT], "count"), ()),
    "a rate that diverges": (table(LINE, "count"), DIVERGES),
    "a rate that diverges, and classes": (table(["x", "y"], "count", "text"), DIVERGES),
    "lbfgs": (table(LINE, "large", "count"), (*DOUBLE, "--solver", "lbfgs", "--no-standardise")),
    "newton-cg": (table(LINE, "large", "count"), (*DOUBLE, "--solver", "newton-cg", "--no-standardise")),
    "a distribution": (table(["1e30", "-1e30"], "count", "tiny"), ("--task", "regression", "--loss", "gaussian")),
    "rates": (table([10**i for i in COUNT], "count"), ("--loss", "poisson", *DOUBLE)),
}  # fmt: skip
"""A name -> a table, and options with which it is learned."""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python prints each warning, as it does for a user; pytest would raise it."""

    def show(message: Warning, category: type[Warning], filename: str, line: int, *_: object, **__: object) -> None:
        print(warnings.formatwarning(message, category, filename, line), file=sys.stderr)

    monkeypatch.setattr(warnings, "showwarning", show)
    monkeypatch.setattr(sys, "warnoptions", [])


@pytest.mark.filterwarnings("always")
def test_what_other_libraries_warn_of_while_it_learns_is_no_note(
    shown: None, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = estimators.MLPClassifier.fit

    def fit(self: Any, *arguments: Any, **more: Any) -> Any:
        warnings.warn("The given NumPy array is not writable", UserWarning, stacklevel=1)
        return usual(self, *arguments, **more)

    monkeypatch.setattr("mlp_xp.estimators.MLPClassifier.fit", fit)
    assert cli.main(["train", write_classes(folder), *QUICK, "--solver", "lbfgs"]) == 0
    printed = capsys.readouterr()
    assert "writable" not in printed.out + printed.err
    assert "note: lbfgs failed to converge" in printed.out


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("name", TABLES)
def test_no_warning_of_a_library_reaches_the_user(
    name: str, shown: None, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text, options = TABLES[name]
    (folder / "t.csv").write_text(text, encoding="utf-8")
    learn = ("--preset", "medium", "--max-iter", "3", "--hidden", "4", "--force", *options)
    for line in (
        ("inspect", "t.csv"),
        ("train", "t.csv", *learn, "--importance", "--no-check-gradients"),
        ("tune", "t.csv", *learn, "--tries", "2", "--cv", "2"),
        ("evaluate", "t.safetensors", "t.csv", "--importance"),
        ("predict", "t.safetensors", "t.csv"),
        ("inspect", "t.safetensors"),
        ("export", "t.safetensors", "t.onnx"),
    ):
        assert cli.main(line) in (0, 2), line
        printed = capfd.readouterr()
        assert re.fullmatch(r"((note|error): .*\n)*", printed.err), (line, printed.err)
        assert not re.search(r"Warning|encountered|\.py\b", printed.out + printed.err), (line, printed)
