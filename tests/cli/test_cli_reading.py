"""How text is read, said on the command line: the options of train, predict and evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest
import runs

from mlp_xp import cli
from mlp_xp.cli._options import reading_of

pytestmark = pytest.mark.only("numpy")

NOTHING = {"sep": None, "decimal": None, "encoding": None, "header": None, "na": ()}
QUICK = ("--epochs", "2", "--hidden", "4", "--picture", "none", "--no-check-gradients", "--force")


def test_the_options_become_a_reading() -> None:
    data = pytest.importorskip("mlp_xp.data")
    assert reading_of(NOTHING) == data.Reading()
    given = {"sep": "tab", "decimal": ",", "encoding": "cp1252", "header": False, "na": ("-9", "x")}
    assert reading_of(given) == data.Reading("\t", ",", "cp1252", False, ("-9", "x"))
    assert reading_of({**NOTHING, "sep": "\\t"}).separator == "\t"
    assert reading_of({**NOTHING, "sep": "blank"}).separator == " "


def test_a_table_without_a_header_trains_and_predicts(folder: Path) -> None:
    rows = [f"{i % 7};{i % 3},5;{'xy'[i % 7 > 3]}" for i in range(40)]
    (folder / "plain.txt").write_text("\n".join(rows))
    assert cli.main(["train", "plain.txt", *QUICK]) == 0
    (folder / "new.txt").write_text("3;1,5\n")
    assert cli.main(["predict", "plain.safetensors", "new.txt", "-o", "out.csv"]) == 0
    assert len(Path("out.csv").read_text().splitlines()) == 2
    assert cli.main(["evaluate", "plain.safetensors", "plain.txt"]) == 0


def test_the_options_decide_for_every_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "odd.csv").write_text("\n".join(["a:b", *(f"{i}:{'xy'[i % 2]}" for i in range(30))]))
    (folder / "new.csv").write_text("a:b\n1:x\n3:y\n")
    assert cli.main(["train", "odd.csv", "--sep", ":", *QUICK]) == 0
    assert cli.main(["predict", "odd.safetensors", "new.csv", "--sep", ":", "-o", "out.csv"]) == 0
    assert cli.main(["evaluate", "odd.safetensors", "new.csv", "--sep", ":"]) == 0
    capsys.readouterr()
    for command in (["train", "odd.csv", "-o", "b.safetensors"], ["predict", "odd.safetensors", "odd.csv"]):
        sentence = runs.refused(capsys, *command, "--sep", "::")
        assert sentence == "--sep must be one character, such as ';', or tab, got '::'"


def test_settings_keep_how_the_text_is_read(folder: Path) -> None:
    (folder / "odd.csv").write_text("\n".join(["a:b", *(f"{i}:{'xy'[i % 2]}" for i in range(30))]))
    options = ["--sep", ":", "--na", "?", "--na", "-9", "--header"]
    assert cli.main(["train", "odd.csv", *options, "--save-config", "run.toml", *QUICK]) == 0
    assert cli.main(["train", "--config", "run.toml", "--force", "--quiet"]) == 0
