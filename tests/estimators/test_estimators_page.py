"""The page of the estimators runs as it is printed; its CuPy runs here with NumPy in CuPy's place."""

from __future__ import annotations

import re
import warnings
from importlib import import_module
from pathlib import Path

import pytest

import mlp_xp

PAGE = Path(mlp_xp.__file__).parent.joinpath("estimators", "README.md")


@pytest.mark.only("numpy")
def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="the page draws, and only the sessions with the command have Matplotlib")
    import_module("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn|mlp_xp")
        for block in blocks:
            exec(block.replace("import cupy as cp", "import numpy as cp"), names)
    import_module("matplotlib.pyplot").close("all")
    assert [path.name for path in tmp_path.iterdir()] == ["iris.safetensors"]
    printed = capsys.readouterr().out.splitlines()
    assert float(printed[0]) > 0.9  # the cross-validated accuracy; a constant scores a third
    assert float(printed[-1].split()[1]) > 0.9  # the accuracy of the loop's network
