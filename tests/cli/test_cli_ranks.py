"""``mlp-xp train`` as two ranks of mpirun: both learn, one speaks and writes, and what one can't do ends both."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import runs
from engines import started

from mlp_xp import estimators
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


def test_what_the_command_refuses_ends_both_ranks(tmp_path):
    _, said = started("mpi", *TRAIN, "nowhere.csv", folder=tmp_path, status=2)
    assert "error: nowhere.csv" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["backend", "numbers"])
def test_what_each_rank_would_choose_for_itself_is_refused(name):
    options = {"backend": "numpy", "numbers": "plain", name: "auto"}
    with pytest.raises(ValueError, match=rf"--{name} auto is chosen by one process, and there are 2"):
        check_together(options, Ranks(0, 2, lambda arrays: arrays))
