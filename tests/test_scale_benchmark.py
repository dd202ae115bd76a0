"""The scripts that time ranks and kill them: what is predicted from a row, what is judged, and that nothing is left."""

from __future__ import annotations

import sys
import time
from typing import Any

import kill_ranks
import pytest
import scale_benchmark as scale
from scale_ranks import Task
from start_ranks import children_of, kill, started

import mlp_xp as mx

pytestmark = pytest.mark.only("numpy")

SIZE = (4096, 784, 1024, 10)


def row_of(**changes: Any) -> dict[str, Any]:
    """Two ranks of which each step takes 100 ms of one process, half of it apart, and 5 ms in the engine together."""
    seconds = {"alone": [0.1, 0.12, 0.08], "apart": [0.05, 0.06, 0.04], "together": [0.0625, 0.075, 0.05]}
    sums = {
        "sum": [4e-3],
        "small_sum": [0.0],
        "update": [0.0],
        "inside": [5e-3],
        "inside_cpu": [1e-3],
        "sent": [3.3e6, 3.26e6],
        "start": 2.0,
    }
    what = {"engine": "torch-numpy", "ranks": 2, "size": list(SIZE), "optimizer": "sgd", "refused": None}
    return {**what, "seconds": seconds, "cpu": seconds, **sums, "exact": {"difference": 0.0, "alike": True}, **changes}


def test_the_prediction_is_the_step_of_one_process_divided_and_a_sum_more():
    model = scale.predicted(row_of())
    own, whole = (mx.step_cost(SIZE[1:], n) for n in (2048, 4096))
    flops = [cost.forward_flops + cost.backward_flops for cost in (own, whole)]
    assert model.collective_seconds == pytest.approx(4e-3)
    assert model.step_seconds == pytest.approx(0.1 * flops[0] / flops[1] + 4e-3)
    assert model.sent_bytes == 4 * (own.parameters + 4)


def test_ratios_are_judged_round_by_round():
    good, bad = row_of(), row_of(inside=[2e-3], cpu={}, seconds={"alone": [0.1], "apart": [0.1], "together": [0.1]})
    assert scale.verdicts([good]).endswith(
        "efficiency 0.80, at least 0.85: below; 5.0 ms in the engine, below 3.0: over"
    )
    assert scale.verdicts([bad]).endswith("efficiency 0.50, at least 0.85: below; 2.0 ms in the engine, below 3.0: ok")
    assert scale.verdicts([row_of(ranks=4), row_of(refused="it is not installed")]) == ""
    line = scale.table([good]).splitlines()[-1]
    assert line.startswith("| torch-numpy | 2 | sgd | 40,960 | 65,536 | 0.80 | 1.00 | 0.93 |")
    assert line.endswith("| 5.0 | 1.0 | 4.0 | 3.26 | 3.26 | 2.0 | 0e+00 |")


@pytest.mark.only("torch")
@pytest.mark.skipif(sys.platform == "win32", reason="ranks are asked over a socket of Unix")
def test_workers_of_dask_are_measured_as_other_ranks_are():
    pytest.importorskip("distributed", reason="the session tests(torch) installs it")
    task, rows = Task((64, 64, 1024, 10), "adam"), []
    with scale.group_of("dask", 2) as group:
        scale.measure([group], [task], 1, rows, lambda: None)
        group.pipes[1].send(None)  # a rank that ends too early
        with pytest.raises(scale.Refused, match="a process has ended"):
            group.ask("epoch", task, "alone")
    (row,) = rows
    assert row["refused"] is None
    assert row["exact"]["alike"]
    assert row["exact"]["difference"] < 1e-12
    assert {run: len(seconds) for run, seconds in row["seconds"].items()} == dict.fromkeys(scale.RUNS, 1)
    assert min(row["start"], *row["inside"]) > 0
    assert sys.platform != "linux" or row["sent"][0] >= scale.predicted(row).sent_bytes  # others use the network too
    assert f"| dask | 2 | adam | {64 / row['seconds']['alone'][0]:,.0f} |" in scale.table(rows)


def test_two_ranks_are_killed_on_the_way_to_each_epoch():
    plan = kill_ranks.moments_of(0, epochs=50)
    assert [len(moments) for moments in plan] == [2] * 50
    assert {moment.kind for moments in plan for moment in moments} == set(kill_ranks.KINDS)
    assert {moment.rank for moments in plan for moment in moments} == {0, 1}
    assert plan == kill_ranks.moments_of(0, epochs=50)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells which processes a process has started")
def test_no_process_is_left(tmp_path):
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with (tmp_path / "log").open("wb") as said, started([sys.executable, "-c", program], None, said) as process:
        until = time.monotonic() + 30
        while not (children := children_of(process.pid)) and time.monotonic() < until:
            time.sleep(0.01)
        (child,) = children
    assert process.returncode is not None
    for _ in range(500):  # init takes a while to bury it
        if not kill(child):
            break
        time.sleep(0.01)
    assert not kill(child)
