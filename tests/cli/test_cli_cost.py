"""``mlp-xp cost``: the numbers of ``step_cost``, in units that can be read."""

from __future__ import annotations

from importlib import import_module

import pytest
from runs import cli

import mlp_xp

output = import_module("mlp_xp.cli._output")

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


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (999.6, "1 kB"), (1000, "1 kB"), (1234567, "1.23 MB"), (5e12, "5 TB")],
)
def test_readable_figures(value: float, text: str) -> None:
    assert output.readable(value, "B") == text
