"""The page of the estimators runs as it is printed; its CuPy runs here with NumPy in CuPy's place."""

from __future__ import annotations

from importlib import import_module

import pytest
from pages import blocks, run_page

PAGE = "mlp_xp/estimators/README.md"


@pytest.mark.only("numpy")
def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="the page draws, and only the sessions with the command have Matplotlib")
    import_module("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    assert len(blocks(PAGE, "python")) >= 6
    printed = run_page(PAGE).splitlines()
    import_module("matplotlib.pyplot").close("all")
    assert {path.name for path in tmp_path.iterdir()} == {"X.npy", "iris.csv", "iris.safetensors"}
    assert float(printed[0]) > 0.9  # the cross-validated accuracy; a constant scores a third
    (held,) = [float(line.split()[1]) for line in printed if line.startswith("held:")]
    assert 0.75 <= held <= 1.0  # 0.9 of 122 rows, by 120 others: four standard deviations of the difference
    (read,) = [float(line.split()[1]) for line in printed if line.startswith("read:")]
    assert read > 0.9  # as in memory
    assert float(printed[-1].split()[1]) > 0.9  # the accuracy of the loop's network
