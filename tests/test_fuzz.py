"""The fuzzer knows the whole public API and every format, and sees each kind of bad answer."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("runs")  # which skips the module where the command is not installed

import fuzz
import fuzz_calls
import fuzz_commands
import fuzz_files
from fuzz_trials import Trial, answer

pytestmark = [
    pytest.mark.only("numpy"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return list(fuzz_calls.entries(tmp_path_factory.mktemp("calls")))


def test_every_public_function_and_each_of_its_arguments_is_known(table):
    assert fuzz_calls.unknown(iter(table)) == []


def test_a_function_that_is_not_in_the_table_is_missed(table):
    known = [entry for entry in table if fuzz_calls.name_of(entry.function) != "optim.adam"]
    assert fuzz_calls.unknown(iter(known)) == ["optim.adam"]
    known = [entry._replace(options={}) if entry.function.__name__ == "huber" else entry for entry in table]
    assert fuzz_calls.unknown(iter(known)) == ["losses.huber delta"]


def test_what_is_called_right_is_right(table):
    for entry in table:
        fuzz_calls.called(entry)
        for key, kind in fuzz_calls.kinds_of(entry).items():
            assert not kind.refuses(kind.right), (fuzz_calls.name_of(entry.function), key)


def test_whole_files_and_right_command_lines_are_taken(tmp_path):
    with fuzz.in_a_folder():
        fuzz_commands.prepare()
        for line in fuzz_commands.lines():
            assert fuzz_commands.asked(*line) == 0, line
        for number, kind in enumerate(fuzz_files.FORMATS):
            folder = tmp_path / str(number)
            folder.mkdir()
            kind.write(folder / kind.name)
            kind.read(folder / kind.name)


def raising(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "refused", "kind"),
    [
        (lambda: None, False, "taken"),
        (lambda: None, True, "silent"),
        (raising(ValueError("lr must be positive, got -1")), True, "right"),
        (raising(ValueError("it must be positive, got -1")), True, "unnamed"),
        (raising(KeyError("lr")), True, "crash"),
        (raising(ZeroDivisionError("lr")), True, "crash"),
        (lambda: time.sleep(1), False, "crash"),
    ],
)
def test_each_kind_of_answer_is_told(run, refused, kind):
    assert answer(Trial("f lr", "-1", run, r"\blr\b", refused), seconds=0.1).partition(":")[0] == kind


@pytest.mark.parametrize("answers", [{"silent": 1}, {"crash": 1}, {"unnamed": 2}])
def test_one_bad_answer_in_a_hundred_is_too_many(answers):
    right = Counter(right=100, taken=100, unnamed=1)
    assert fuzz.is_well({"answers": {"calls": right}})
    assert not fuzz.is_well({"answers": {"calls": right, "files": Counter(answers)}})


def test_a_turn_finds_nothing_bad():
    result = fuzz.survey(minutes=2.0, start=0, turns=1)
    assert not result["bad"], result["bad"]
    assert {of: counts.total() for of, counts in result["answers"].items()} == {
        "calls": fuzz.CALLS, "command lines": fuzz.LINES, "files": fuzz.FILES,
    }  # fmt: skip
    assert Path.cwd().exists()
