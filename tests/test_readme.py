"""The Python of the README and of the learner's page runs as it is printed; its CuPy runs here with NumPy instead."""

from __future__ import annotations

import pkgutil
import re
from textwrap import indent

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


LEARNERS_PAGE = "mlp_xp/README.md"


@pytest.mark.only("numpy")
def test_the_learners_pages_python_prints_what_the_page_says():
    assert len(blocks(LEARNERS_PAGE, "output")) == 2
    run_page(LEARNERS_PAGE)


@pytest.mark.only("numpy")
def test_the_learners_page_quotes_the_backward_loop():
    (quote,) = blocks(LEARNERS_PAGE, "python skip")
    assert indent(quote, "    ") in ROOT.joinpath("mlp_xp", "mlp.py").read_text()


@pytest.mark.only("numpy")
def test_everything_that_the_learners_page_names_exists():
    text = ROOT.joinpath(LEARNERS_PAGE).read_text()
    functions = set(re.findall(r"`(?:mx|mlp_xp)\.([\w.]+)", text))
    tests = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text))
    assert len(functions) > 25
    assert len(tests) > 35
    for name in sorted(functions):
        pkgutil.resolve_name(f"mlp_xp:{name}")
    for path, name in sorted(tests):
        assert f"\ndef {name}(" in ROOT.joinpath(path).read_text(), f"{path} has no {name}"
