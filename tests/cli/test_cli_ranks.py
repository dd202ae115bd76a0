"""``mlp-xp train`` as two ranks of mpirun: both learn, one speaks and writes, and what one can't do ends both."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import runs
from engines import SECONDS, running, started
from start_ranks import children_of, kill

from mlp_xp import estimators
from mlp_xp._lib import files
from mlp_xp.cli._training import check_together
from mlp_xp.ranks import Ranks

if find_spec("mpi4py") is None:
    pytest.skip("mpi4py is not installed, which the session tests(numpy) installs", allow_module_level=True)

TRAIN = ("-m", "mlp_xp", "train")


def test_two_ranks_train_one_network(tmp_path):
    name = runs.write_table(tmp_path)
    printed, _ = started("mpi", *TRAIN, name, "--epochs", "3", "--picture", "none", folder=tmp_path)
    assert printed.count("again: mlp-xp train houses.csv") == 1
    assert "refitted on all 120 rows for 3 epochs" in printed
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["houses.csv", "houses.safetensors"]
    model = estimators.load(tmp_path / "houses.safetensors")
    assert model.t_ == 3 * 120  # the rows of both ranks, three times


COUNTED = """
import json, sys, tempfile
from pathlib import Path
from mlp_xp.cli import _prepare, main
from mlp_xp.data import recipe
from mlp_xp.estimators import MLPRegressor
from mlp_xp.ranks import started

rank, learn, rows, fit, seen = started().rank, recipe.learn, recipe.Recipe.rows, MLPRegressor.fit, {}

def counting(what, count, function):
    def counted(*given, **options):
        seen.setdefault(what, []).append(count(given))
        return function(*given, **options)
    return counted

_prepare.open_data = counting("opened", lambda given: given[0], _prepare.open_data)
recipe.learn = counting("looked at", lambda given: given[0].name, learn)
recipe.Recipe.rows = counting("read", lambda given: len(given[2].X), rows)
MLPRegressor.fit = counting("learned from", lambda given: len(given[1]), fit)
found = []
for machines in (1, 2):
    if machines == 2:
        tempfile.tempdir = tempfile.mkdtemp()
    seen.clear()
    options = ["--epochs", "3", "--picture", "none", "--missing", "fill", "-o", f"{machines}.safetensors"]
    assert main(["train", sys.argv[1], *options]) == 0
    found.append({**seen, "left": [path.name for path in Path(tempfile.gettempdir()).glob("mlp_xp_*")]})
Path(f"{rank}.json").write_text(json.dumps(found))
"""


def test_one_rank_of_a_machine_reads_the_rows_and_each_takes_its_share(tmp_path, monkeypatch):
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(own))
    started("mpi", "-c", COUNTED, runs.write_table(tmp_path), folder=tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    learned_from = [86 // 2, 120 // 2]  # without the rows to test and to validate, then all of them
    of_first = {
        "opened": ["houses.csv"],
        "looked at": ["houses"],
        "read": [120],
        "learned from": learned_from,
        "left": [],
    }
    of_second = {"learned from": learned_from, "left": []}
    assert first == [of_first] * 2
    assert second == [
        of_second,
        {**of_second, "opened": ["houses.csv"], "read": [120]},
    ]  # as on another machine, it reads for itself
    one, two = (estimators.load(tmp_path / f"{machines}.safetensors") for machines in (1, 2))
    assert all((a == b).all() for a, b in zip(one.coefs_, two.coefs_, strict=True))


def test_what_the_command_refuses_ends_both_ranks(tmp_path):
    _, said = started("mpi", *TRAIN, "nowhere.csv", folder=tmp_path, status=2)
    assert "error: nowhere.csv" in said
    assert "Traceback" not in said


def test_standard_input_is_refused(tmp_path):
    _, said = started("mpi", *TRAIN, "-", folder=tmp_path, status=2)
    assert "error: DATA must be a file where there are 2 processes, got - for standard input" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["backend", "numbers"])
def test_what_each_rank_would_choose_for_itself_is_refused(name):
    options = {"data": "houses.csv", "backend": "numpy", "numbers": "plain", name: "auto"}
    with pytest.raises(ValueError, match=rf"--{name} auto is chosen by one process, and there are 2"):
        check_together(options, Ranks(0, 2, lambda arrays: arrays))


# --- signals -----------------------------------------------------------------------------------------------------

LONG = (
    "--max-iter", "1000000", "--no-early-stopping", "--hidden", "8", "--preset", "medium", "--picture", "none",
    "--no-check-gradients",
)  # fmt: skip


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be looked at does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ended(folder: Path, send: Callable[[int], object]) -> tuple[int, str, list[int]]:
    """Train for some epochs, then call ``send(pid)`` with the launcher's; its status, stderr, and the ranks it had."""
    state = "state.safetensors"
    line = (*TRAIN, runs.write_table(folder), *LONG, "--checkpoint", state)
    with running("mpi", *line, folder=folder, TERM="dumb") as run:  # mpirun gives its ranks a terminal
        deadline, written = time.monotonic() + SECONDS, set()
        while len(written) < 3:
            assert run.poll() is None
            assert time.monotonic() < deadline
            written |= {each.stat().st_mtime_ns for each in folder.glob(state)}
            time.sleep(0.002)
        ranks = children_of(run.pid)
        send(run.pid)
        _, said = run.communicate(timeout=SECONDS)
    return run.returncode, said, ranks


def test_sigterm_to_the_ranks_saves_the_best_model_so_far(tmp_path):
    """As ``srun`` and a batch system send it, to each process of the job."""
    status, said, _ = ended(tmp_path, lambda pid: [os.kill(rank, signal.SIGTERM) for rank in children_of(pid)])
    assert status == 143
    assert "the best model so far" in said
    assert "Traceback" not in said
    assert estimators.load(tmp_path / "houses.safetensors").n_iter_ >= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["houses.csv", "houses.safetensors", "state.safetensors"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_to_mpirun_ends_all_and_leaves_a_checkpoint(tmp_path, number):
    """Open MPI 5 sends its ranks SIGTERM, kills them a quarter of a second later, and ends with a status of its own."""
    status, said, ranks = ended(tmp_path, lambda pid: os.kill(pid, number))
    assert status in (1, 143)
    assert "Traceback" not in said
    deadline = time.monotonic() + SECONDS
    while any(map(is_there, ranks)) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = [pid for pid in ranks if is_there(pid) and kill(pid)]
    assert not left
    assert files.read(tmp_path / "state.safetensors", "checkpoint")
