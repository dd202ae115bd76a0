"""The README's Python runs as it is printed; its CuPy runs here with NumPy in CuPy's place."""

from __future__ import annotations

import numpy as np
import pytest
from pages import ROOT, blocks, run_page


@pytest.mark.only("numpy")
def test_the_readmes_python_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    names: dict[str, object] = {
        "X_train": random.normal(size=(60, 4)), "X_test": np.ones((3, 4)), "y_train": random.choice(["a", "b"], 60),
    }  # fmt: skip
    assert len(blocks("README.md", "python")) == 5
    printed = run_page("README.md", names)
    assert "the gradient is 1/8 times the true one" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.safetensors", "run.safetensors"]


@pytest.mark.only("numpy")
def test_the_readme_has_160_lines_at_most():
    assert len(ROOT.joinpath("README.md").read_text().splitlines()) <= 160
