"""How the process of a command ends: SIGTERM, what nobody foresaw, and what it leaves behind."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import runs
import shell

import mlp_xp
from mlp_xp import cli, estimators

LONG = ("--max-iter", "1000000", "--no-early-stopping", "--patience", "1000000", "--hidden", "8", "--preset", "medium")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that a program sends another")


def ended(folder: Path, *arguments: str, at: str, again: bool = False) -> subprocess.CompletedProcess[str]:
    """The command, to which SIGTERM is sent once this text is printed; or twice."""
    command = (*shell.COMMAND, *arguments)
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = {**shell.ENVIRONMENT, "TMPDIR": str(folder)}
    with subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if at in line:
                break
        for _ in range(1 + again):
            run.send_signal(signal.SIGTERM)
        printed, said = run.communicate(timeout=60)
    return subprocess.CompletedProcess(command, run.returncode, printed, said)


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_sigterm_saves_the_best_model_so_far(tmp_path, again):
    name = runs.write_table(tmp_path)
    run = ended(tmp_path, "train", name, *LONG, "--picture", "none", at="epoch 3/", again=again)
    assert run.returncode == 143, run.stderr
    assert "Traceback" not in run.stderr
    assert estimators.load(tmp_path / "houses.safetensors").n_iter_ >= 2  # the last one that had ended
    assert sorted(path.name for path in tmp_path.iterdir()) == ["houses.csv", "houses.safetensors"]


def test_sigterm_leaves_no_half_of_what_is_written(tmp_path):
    """What waits for rows from a pipe ends at once, and removes what it has."""
    model = tmp_path / "model"
    model.mkdir()
    assert runs.run(model, "train", runs.write_table(model), *runs.QUICK).returncode == 0
    command = (*shell.COMMAND, "predict", "houses.safetensors", "-", "-o", "said.csv")
    environment = {**shell.ENVIRONMENT, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=model, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdin is not None
        assert run.stderr is not None
        run.stdin.write(b"area,rooms,district\n")
        run.stdin.flush()
        while not any(tmp_path.glob("mlp_xp_*")):  # rows are copied there
            assert run.poll() is None
        run.send_signal(signal.SIGTERM)
        assert run.wait(timeout=60) == 143
        assert run.stderr.read().strip() == b"interrupted"
    assert not list(tmp_path.glob("mlp_xp_*"))
    assert sorted(path.name for path in model.iterdir()) == ["houses.csv", "houses.safetensors"]


def test_one_command_line_starts_and_goes_on(folder):
    data = runs.write_classes(folder)
    line = (data, "--checkpoint", "state.safetensors", "--resume", "--force", "--no-refit", "--patience", "99")
    runs.train_quickly(*line)
    assert estimators.load("small.safetensors").n_iter_ == 3
    runs.train_quickly(*line, "--max-iter", "5")
    assert estimators.load("small.safetensors").n_iter_ == 5


class Unforeseen(Exception):
    pass


@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["", "--debug"])
@pytest.mark.parametrize("error", [KeyError("width"), IndexError(), Unforeseen("what\nis\nthis")], ids=repr)
def test_what_nobody_foresaw_is_one_line(monkeypatch, capsys, error, debug):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("mlp_xp.cli.cost.step_cost", fail)
    assert cli.main(["cost", "4", "3", "--n", "2", *debug]) == 70
    said = capsys.readouterr().err
    *before, line = said.splitlines()
    assert line.startswith(f"error: {type(error).__name__}")
    assert "a fault of mlp-xp: please say at https://" in line
    assert bool(before) == bool(debug)
    assert ("Traceback" in said) == bool(debug)


def test_where_bad_input_came_from_can_be_shown(capsys):
    assert cli.main(["inspect", "nowhere.csv", "--debug"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.splitlines()[-1].startswith("error: nowhere.csv can't be read")


# --- reserved files ----------------------------------------------------------------------------------------------


def test_a_lock_that_a_dead_process_left_holds_up_nobody(tmp_path):
    lock, path = tmp_path / ".a.csv.lock", tmp_path / "a.csv"
    lock.touch()
    with cli._output.claimed(path, force=False):
        with pytest.raises(ValueError, match="is being written by another run"), cli._output.claimed(path, force=False):
            pass
        assert lock.exists()
    assert not lock.exists()


def test_without_locks_files_are_written_all_the_same(tmp_path, monkeypatch):
    """As on Windows, which has no ``fcntl``."""
    monkeypatch.setattr("mlp_xp.cli._output.fcntl", None)
    monkeypatch.setattr("mlp_xp._lib.files.fcntl", None)
    from mlp_xp._lib.files import write_whole

    path = tmp_path / "a.csv"
    path.with_name(".a.csv.12.part").touch()
    with cli._output.claimed(path, force=False):
        write_whole(path, b"1\n")
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


# --- standard output ---------------------------------------------------------------------------------------------


def test_predictions_go_to_a_stream_that_holds_no_bytes(model, monkeypatch):
    monkeypatch.chdir(model)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert cli.main(["predict", "houses.safetensors", "houses.csv"]) == 0
    first, *rows = printed.getvalue().splitlines()
    assert first == "predicted_district"
    assert len(rows) == 120
    assert {*rows} <= {"north", "south"}


@pytest.mark.parametrize(("broken", "status"), [("", 0), (errno.EPIPE, 0), (errno.ENOSPC, 2)], ids=str)
def test_predictions_end_where_nobody_reads_them(model, tmp_path, monkeypatch, capsys, broken, status):
    """A closed stdout and a pipe whose reader has gone lose nothing; a full disk does."""
    header, *rows = (model / "houses.csv").read_text().splitlines()
    (tmp_path / "many.csv").write_text("\n".join([header, *rows * 50]))  # more than what is kept before it is written

    class Broken(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            raise OSError(broken, os.strerror(broken))

    batches, usual = [], mlp_xp.cli._model.Model.predict
    monkeypatch.setattr(mlp_xp.cli._model.Model, "predict", lambda self, X: batches.append(X) or usual(self, X))
    stream = io.TextIOWrapper(io.BufferedWriter(Broken()), encoding="utf-8") if broken else None
    monkeypatch.setattr(sys, "stdout", stream)
    line = ("predict", str(model / "houses.safetensors"), str(tmp_path / "many.csv"), "--rows", "500")
    assert cli.main(line) == status
    said = "error: standard output can't be written: No space left on device\n" if status else ""
    assert capsys.readouterr().err == said
    assert len(batches) < 12


def test_what_follows_two_dashes_is_no_option(folder, capsys):
    assert cli.main(["inspect", "--", "--debug"]) == 2
    assert capsys.readouterr().err.startswith("error: --debug can't be read: No such file or directory")
