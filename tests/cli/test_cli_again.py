"""A run is repeated by the line that it prints and by the file of settings that it writes."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import runs

runs_of, train = import_module("mlp_xp.cli._run"), import_module("mlp_xp.cli.train")

pytestmark = pytest.mark.only("numpy")

AWKWARD = (
    "my table.csv", "it's.csv", 'say "x".csv', "$HOME.csv", "a\nb.csv", "`id`.csv", "back\\slash.csv", "*.csv",
    "-x.csv",    "Köln \N{GRINNING FACE}.csv", "#1.csv", "~.csv", "a\x7f\x01.csv", "-",
)  # fmt: skip
SETTINGS = [
    *({"data": name, "target": name, "drop": (name, "b")} for name in AWKWARD),
    {"data": "a.csv", "standardise": False, "early_stopping": False, "nesterovs_momentum": False, "seed": 3},
    {"data": "a.csv", "learning_rate_init": 1e-05, "class_weight": "-1=2.0,1=3"},
    {"data": "a.csv", "category": ("-1", ""), "hidden_layer_sizes": "64,32", "dropout": 0.25},
]
PRINT_WORDS = "import json, sys; print(json.dumps(sys.argv[1:]))"


def asked(words: list[str]) -> dict[str, Any]:
    """What ``train`` takes these words of the command line for."""
    values: dict[str, Any] = train.command.make_context("train", list(words)).params
    return values


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="there is no bash")
def test_the_line_that_a_run_prints_repeats_it_in_a_shell() -> None:
    lines = [runs_of.command_line(train.command, settings) for settings in SETTINGS]
    printer = f"mlp-xp() {{ '{sys.executable}' -c '{PRINT_WORDS}' \"$@\"; }}\n"
    ended = subprocess.run(
        ("/bin/bash", "-c", printer + "\n".join(lines)), capture_output=True, text=True, check=True, timeout=60
    )
    shown = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(shown) == len(SETTINGS)
    for words, settings in zip(shown, SETTINGS, strict=True):
        assert words[0] == "train"
        values = asked(words[1:])
        assert {name: values[name] for name in settings} == settings


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: repr(settings)[:40])
def test_the_file_that_a_run_writes_repeats_it(settings: dict[str, Any], folder: Path) -> None:
    text = runs_of.as_toml(settings)
    assert tomllib.loads(text) == {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
    Path("run.toml").write_text(text, encoding="utf-8")
    values = asked(["--config", "run.toml"])
    assert {name: values[name] for name in settings} == settings


def test_one_text_in_a_file_of_settings_is_one_column(folder: Path) -> None:
    Path("run.toml").write_text('drop = "name"\ncategory = ["a", "b"]\nhidden = [64, 32]\nlr = 0.1\nepochs = 7\n')
    values = asked(["a.csv", "--config", "run.toml"])
    assert (values["drop"], values["category"]) == (("name",), ("a", "b"))
    assert (values["hidden_layer_sizes"], values["learning_rate_init"], values["max_iter"]) == ("64,32", 0.1, 7)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dropuot = 0.1", "run.toml: a setting must be .* got 'dropuot'; did you mean 'dropout'"),
        ("max-itre = 3", "did you mean 'max_iter'"),
        (
            "seed = 1\nlr = [",
            r"run.toml, line 2, must be TOML, .* such as lr = 0.01 or hidden = \[64, 32\], got 'lr = \['$",
        ),
        ("lr = 1\nlr = 2", "run.toml, line 2, must be TOML, NAME = VALUE, each name once, .* got 'lr = 2'$"),
        ("lr = 1\nepochs = 3.7", "run.toml, line 2: epochs must be a whole number of at least 1, got 3.7$"),
        ("max_iter = inf", "run.toml, line 1: max_iter must be a whole number of at least 1, got inf$"),
        (
            "seed = true",
            "run.toml, line 1: seed must be a whole number of at least 0 and at most 2147483647, got True$",
        ),
        ("dropout = 'much'", "run.toml, line 1: dropout must be a number of at least 0 and below 1, got 'much'$"),
        ("lr = 'fast'", "run.toml, line 1: lr must be a number above 0, got 'fast'$"),
        ("lr = true", "run.toml, line 1: lr must be a number above 0, got True$"),
        ("lr = nan", "run.toml, line 1: lr must be a number above 0, got nan$"),
    ],
)
def test_a_wrong_setting_in_a_file_is_one_sentence(
    text: str, sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run.toml").write_text(text)
    assert re.search(sentence, runs.refused(capsys, "train", "iris", "--config", "run.toml"))


def test_a_file_of_settings_in_another_encoding_names_the_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run.toml").write_bytes(b"seed = 1\ntarget = '\xff'\n")
    sentence = runs.refused(capsys, "train", "iris", "--config", "run.toml")
    assert sentence == "run.toml, line 2, must be text in UTF-8"


def test_a_number_without_limit_is_inf_in_a_file_and_on_the_command_line(folder: Path) -> None:
    Path("run.toml").write_text("n_iter_no_change = inf\n")
    for values in (asked(["a.csv", "--config", "run.toml"]), asked(["a.csv", "--patience", "inf"])):
        settings = train.chosen_of(values, {"n_iter_no_change"})
        assert settings["n_iter_no_change"] == math.inf
        assert tomllib.loads(runs_of.as_toml(settings))["n_iter_no_change"] == math.inf
