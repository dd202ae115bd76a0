"""``mlp-xp cost``: the numbers of ``step_cost``, in units that can be read."""

from __future__ import annotations

import pytest
from runs import cli

import mlp_xp
from mlp_xp._lib import wording
from mlp_xp.cost import ALGORITHMS, scaling

pytestmark = pytest.mark.only("numpy")


def test_cost_prints_what_step_cost_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cost", "784", "800", "10", "--n", "256", "--dtype", "float64"]) == 0
    printed = capsys.readouterr().out
    cost = mlp_xp.step_cost((784, 800, 10), 256, "float64")
    for figure in cost:
        assert f"{figure:,}" in printed
    assert "636 k" in printed
    assert "MFLOP" in printed
    assert "5.09 MB" in printed


def test_cost_prints_what_ranks_would_take(capsys: pytest.CaptureFixture[str]) -> None:
    rates = ["--flops", "1e12", "--bandwidth", "1e10", "--latency", "1e-5"]
    assert cli.main(["cost", "784", "1024", "10", "--n", "512", "--ranks", "8", *rates]) == 0
    _, printed = capsys.readouterr().out.split("the same on each of 8 ranks")
    cost = mlp_xp.step_cost((784, 1024, 10), 512)
    for algorithm in ALGORITHMS:
        stated = scaling(cost, 8, flops_per_second=1e12, bandwidth=1e10, latency=1e-5, algorithm=algorithm)
        (row,) = [line.split() for line in printed.splitlines() if line.split()[:1] == [algorithm]]
        assert row[1::2][:2] == [f"{stated.sent_bytes / 1e6:.3g}", f"{1e3 * stated.collective_seconds:.3g}"]
        assert row[5:] == [f"{1e3 * stated.step_seconds:.3g}", "ms", f"{stated.efficiency:.3f}"]


@pytest.mark.parametrize("given", ["--ranks 2", "--ranks 2 --flops 1e12 --latency 0", "--bandwidth 1e9"])
def test_ranks_need_all_rates(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cost", "3", "2", *given.split()]) == 2
    assert capsys.readouterr().err == "error: several ranks need --flops, --bandwidth and --latency\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1 kB"),
        (1000, "1 kB"),
        (1234567, "1.23 MB"),
        (5e12, "5 TB"),
        (10**400, "1e+285 PB"),
    ],
)
def test_figures_have_three_digits_and_a_prefix(value: float, text: str) -> None:
    assert wording.readable(value, "B") == text
