"""The README's Python runs as it is printed; its CuPy runs here with NumPy in CuPy's place."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1].joinpath("README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.mark.only("numpy")
def test_the_readmes_python_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    names: dict[str, object] = {
        "X_train": random.normal(size=(60, 4)), "X_test": np.ones((3, 4)), "y_train": random.choice(["a", "b"], 60),
    }  # fmt: skip
    assert len(BLOCKS) >= 5
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn|mlp_xp")
        for block in BLOCKS:
            exec(block.replace("import cupy as cp", "import numpy as cp"), names)
    said = capsys.readouterr().out
    assert "the gradient is 1/8 times the true one" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.safetensors", "run.safetensors"]
