"""``mlp-xp export``: onnxruntime predicts what the model predicts."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import runs
from runs import cli

pytestmark = pytest.mark.only("numpy")


@pytest.mark.parametrize("target", ["price", "district"])
def test_an_exported_model_predicts_the_same_from_raw_columns(folder: Path, target: str) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="without onnxruntime nothing runs the exported model")
    pytest.importorskip("ndonnx", reason="ndonnx writes the exported model")
    data = runs.write_table(folder)
    runs.train_quickly(data, "--target", target, "--max-iter", "20", "--dtype", "float64")
    assert cli.main(["export", "houses.safetensors", "houses.onnx"]) == 0
    opened = import_module("mlp_xp.cli._model").open_model("houses.safetensors")
    _, (X, *_) = next(opened.chunks(import_module("mlp_xp.data").open_data(data)))
    session = runtime.InferenceSession("houses.onnx")
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"X": X}), strict=True))
    if target == "price":
        np.testing.assert_allclose(found["output"], opened.predict(X), rtol=1e-10)
    else:
        assert (found["label"] == opened.predict(X)).all()


def test_without_ndonnx_the_extra_that_brings_it_is_named(folder: Path, monkeypatch, capsys) -> None:
    runs.train_quickly(runs.write_table(folder), "--target", "price", "--max-iter", "1")
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "ndonnx", None)
    assert cli.main(["export", "houses.safetensors", "houses.onnx"]) == 2
    assert capsys.readouterr().err == "error: an ONNX model is made with ndonnx: pip install 'mlp_xp[onnx]'\n"
    assert not Path("houses.onnx").exists()
